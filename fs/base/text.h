/* Text of others in lines of ours. */
#ifndef KVFS_FS_BASE_TEXT_H
#define KVFS_FS_BASE_TEXT_H

#include <stddef.h>
#include <stdio.h>

/* Bytes of the printable symbol of UTF-8 that a text begins with; 0: it begins with none. */
size_t fs_text_printable(const char *text);

/* Write a text, with a backslash before each symbol of `quoted`, and what is not printable UTF-8 as \xNN, where a
 * backslash that is in `quoted` is doubled. */
void fs_text_write(FILE *out, const char *text, const char *quoted);

#endif
