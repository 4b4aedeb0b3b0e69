/* Private to content/: how handles are opened. */
#ifndef KVFS_FS_CONTENT_OPEN_INTERNAL_H
#define KVFS_FS_CONTENT_OPEN_INTERNAL_H

#include "fs/content/handle.h"

#include <fcntl.h>

/* An open under way. */
struct opening {
    struct fs *fs;
    int flags;
    struct fs_handle *handle;
    struct kv_usage usage; /* of the account */
};

static inline bool opens_to_write(int flags) { return (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC; }

/* A handle that stands for nothing yet. returns 0; -ENFILE the user has too many; -ENOMEM */
KV_CHECKED int handle_new(struct fs *fs, int flags, const struct fuse_ctx *who, struct fs_handle **out);
void handle_free(struct fs *fs, struct fs_handle *handle);

#endif
