/* Records: how objects are written as bytes in the engine's tables.
 *
 * All integers are little endian. A record starts with its format byte; what
 * does not decode is -EIO, whatever the bytes are: a damaged database page must
 * never become a wrong answer or a crash.
 */
#ifndef KVFS_STORE_RECORD_H
#define KVFS_STORE_RECORD_H

#include "store/base/engine.h"

/* A value up to this size lives inside its key's record. */
#define RECORD_INLINE_MAX 8192u
/* A larger one is cut into chunks; each fills whole overflow pages of LMDB (64 pages of 4 KiB less the
 * 16 byte header of the first). Where no such room is left it is cut finer: into 16, 4 or single pages. */
#define RECORD_CHUNK (256u * 1024 - 16)
#define RECORD_CUTS 4u

#define RECORD_MAX (160 + sizeof(((struct kv_xattrs *)0)->data) + RECORD_INLINE_MAX)

struct record_bytes {
    size_t size;
    uint8_t data[RECORD_MAX];
};

struct record_key {
    struct kv_meta meta;
    uint64_t checksum;    /* XXH3 of the value */
    struct slice xattrs;  /* an encoded kv_xattrs; may be empty */
    struct slice inlined; /* the value, where meta.size <= RECORD_INLINE_MAX; else empty */
    uint8_t cut;          /* how fine the value is cut: 0 (the least) .. RECORD_CUTS - 1; 0 where it is inline */
};

struct record_node {
    struct kv_node node;
    struct slice xattrs;
};

/* Encoding takes consistent structures and cannot fail. Decoding fills all of *out; its slices are
 * borrowed from `bytes`. returns 0; -EIO */
void record_encode_key(const struct record_key *key, struct record_bytes *out);
KV_CHECKED int record_decode_key(struct slice bytes, struct record_key *out);
void record_encode_node(const struct record_node *node, struct record_bytes *out);
KV_CHECKED int record_decode_node(struct slice bytes, struct record_node *out);

/* Copy an encoded attribute set out of a record. returns 0; -EIO */
KV_CHECKED int record_xattrs(struct slice encoded, struct kv_xattrs *out);

/* The size of all chunks of a value but the last. */
size_t record_chunk_most(uint8_t cut);
/* How many chunks hold a value of this size; 0 where it is inline. */
uint32_t record_chunks(uint64_t size, uint8_t cut);
/* The size of chunk `number` of a value. */
size_t record_chunk_size(uint64_t size, uint8_t cut, uint32_t number);
uint64_t record_checksum(const void *bytes, size_t size);

/* Is the node as whoever checked permissions was told? */
static inline bool record_is_as_seen(const struct kv_node *node, const struct kv_seen *seen)
{
    return ((node->attr.mode ^ seen->mode) & 07777) == 0 && node->attr.uid == seen->uid &&
           node->attr.gid == seen->gid;
}

#endif
