/* The mount point: what it has to be, and mounting there. */
#ifndef KVFS_FS_TRANSPORT_MOUNTPOINT_H
#define KVFS_FS_TRANSPORT_MOUNTPOINT_H

#include "fs/base/fs.h"

/* Check that `path` can be mounted on; a mount that a dead daemon left there is taken away, one of another program not.
 * error    filled on failure: one line for the user
 * returns  0; -EBUSY mounted already; -ENOTDIR, -ENOENT, -EACCES ... */
KV_CHECKED int fs_mountpoint_prepare(const char *path, const char *store, struct kv_error *error);

/* Mount on it. Nothing is printed.
 * error    filled on failure: one line for the user, with the reason that libfuse or fusermount3 gave
 * returns  0; -EIO; another negative errno where it could not be tried */
KV_CHECKED int fs_mountpoint_mount(struct fuse_session *session, const char *path, struct kv_error *error);

/* Undo that; also where somebody else has. */
void fs_mountpoint_unmount(struct fuse_session *session);

#endif
