/* The handlers: each decodes a request of the kernel, makes one call and replies. */
#ifndef KVFS_FS_HANDLERS_OPS_H
#define KVFS_FS_HANDLERS_OPS_H

#include "fs/base/fs.h"

extern const struct fuse_lowlevel_ops fs_ops;

#endif
