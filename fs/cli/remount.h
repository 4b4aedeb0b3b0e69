/* Changing a mount that is there: mount -o remount. */
#ifndef KVFS_FS_CLI_REMOUNT_H
#define KVFS_FS_CLI_REMOUNT_H

#include "store/kv.h"

/* Change what the kernel keeps of a kvfs mount: ro, rw, and whether set-user-id bits, devices, programs and access
 * times count. The daemon's own options are fixed while it serves: they may be said again as they are, as /etc/fstab
 * does.
 * path     the mount point
 * options  comma separated, as mount(8) has them, "remount" among them
 * returns  0; -1 after one line on standard error */
KV_CHECKED int fs_remount(const char *path, const char *options);

#endif
