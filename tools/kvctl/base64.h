/* Base64 of RFC 4648, with padding. */
#ifndef KVFS_TOOLS_KVCTL_BASE64_H
#define KVFS_TOOLS_KVCTL_BASE64_H

#include "store/kv.h"

/* returns  text with a NUL, to be freed; NULL: no memory */
char *base64_encode(const void *bytes, size_t size);

/* How many bytes a text of this size can stand for, at most. */
static inline size_t base64_bound(size_t size) { return size / 4 * 3; }

/* Decode, strictly: whole groups of four, padded, no other symbols, and no bits that mean nothing.
 * out      room for base64_bound(size) bytes
 * returns  false: it is no base64 */
bool base64_decode(const char *text, size_t size, uint8_t *out, size_t *out_size);

#endif
