/* The content of open keys: reading and changing it. */
#ifndef KVFS_FS_CONTENT_DATA_H
#define KVFS_FS_CONTENT_DATA_H

#include "fs/content/handle.h"

/* Hand what the content holds at an offset to `reply`, which must not keep the pointer. cached: the bytes can go into
 * the page cache. */
typedef void fs_read_reply(void *arg, const void *bytes, size_t size);
void fs_read(struct fs *fs, struct fs_handle *handle, size_t size, uint64_t offset, bool cached,
             fs_read_reply *reply, void *arg);

/* Write at an offset; `mapped`: the bytes are a page of a shared mapping.
 * returns  0; -EFBIG, -EDQUOT, -ENOSPC, -ENOMEM: refused, nothing was changed; FAILED before: its error again */
KV_CHECKED int fs_write(struct fs *fs, struct fs_handle *handle, const void *bytes, size_t size, uint64_t offset,
                        bool mapped);
KV_CHECKED int fs_truncate(struct fs *fs, struct fs_handle *handle, uint64_t size);
/* The same within an open. body->io is held for writing. */
KV_CHECKED int fs_truncate_locked(struct fs *fs, struct fs_handle *handle, size_t size);
/* fallocate(2) with mode 0, KEEP_SIZE, PUNCH_HOLE or ZERO_RANGE. returns as fs_write(); -EOPNOTSUPP */
KV_CHECKED int fs_allocate(struct fs *fs, struct fs_handle *handle, int mode, uint64_t offset, uint64_t size);
/* Copy bytes between open keys without showing them to the caller.
 * returns  0 and how many in *copied, less at the end of the source; else as fs_write() */
KV_CHECKED int fs_copy(struct fs *fs, struct fs_handle *from, uint64_t from_offset, struct fs_handle *to,
                       uint64_t to_offset, size_t size, size_t *copied);

#endif
