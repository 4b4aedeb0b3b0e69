/* statfs(2). */
#ifndef KVFS_FS_NAMES_SPACE_H
#define KVFS_FS_NAMES_SPACE_H

#include "fs/nodes/told.h"

#include <sys/statvfs.h>

/* Space: of an account, and of all below it, its limit and use, for who may read it; else the store's.
 * returns  0; -ESTALE; -EIO, -ENOMEM */
KV_CHECKED int fs_statfs(struct fs *fs, struct fs_inode *inode, const struct fuse_ctx *who, struct statvfs *out);

#endif
