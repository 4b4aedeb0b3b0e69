/* What the daemon may do beyond what its user may: little, and after the mount still less.
 *
 *   started by root            root, with the capability to mount and unmount at hand, and that to find its way to the
 *                              store and the mount point; with `foreign_store` also those to work in another user's
 *   ... with `run_as`          that user, with no capability once it has mounted: fusermount3 unmounts
 *   ... by systemd, as a user  that user, with the capability to mount and unmount at hand
 *       with CAP_SYS_ADMIN
 *   started by a user          that user; fusermount3, which is set-user-ID, mounts and unmounts
 *
 * Where no fusermount3 is needed, no program that is started can gain anything (PR_SET_NO_NEW_PRIVS). The memory, which
 * holds values of others, is not dumped, and nobody but root may trace the process, unless it runs with `debug`. */
#ifndef KVFS_FS_TRANSPORT_PRIVILEGES_H
#define KVFS_FS_TRANSPORT_PRIVILEGES_H

#include "fs/base/fs.h"

/* Become the user to run as, and give up all that is not needed for a mount. Before the store is opened, and before
 * there are other threads.
 * error    filled on failure: one line for the user
 * returns  0; -ENOENT there is no such user; -EPERM only root can become another one; another negative errno */
KV_CHECKED int fs_privileges_begin(const struct fs_options *options, struct kv_error *error);

/* Have the privilege to mount or unmount, in this thread, until fs_privileges_lower(). Nothing happens where there is
 * none. */
void fs_privileges_raise(void);
void fs_privileges_lower(void);

/* It is mounted: give up what is not needed any more, for good, in all threads.
 * returns  0; a negative errno: the process still has it, and must not serve */
KV_CHECKED int fs_privileges_end(const struct fs_options *options);

/* Can this process mount by itself, where a user needs fusermount3? */
bool fs_privileges_may_mount(void);

#endif
