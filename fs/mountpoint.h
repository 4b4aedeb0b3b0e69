/* The mount point before it is mounted on. */
#ifndef KVFS_FS_MOUNTPOINT_H
#define KVFS_FS_MOUNTPOINT_H

#include "store/kv.h"

/* Check that `path` can be mounted on; a mount that a dead daemon left there is taken away.
 * error    filled on failure: one line for the user
 * returns  0; -EBUSY mounted already; -ENOTDIR, -ENOENT, -EACCES ... */
KV_CHECKED int fs_mountpoint_prepare(const char *path, const char *store, struct kv_error *error);

#endif
