/* kvfs as the helper of mount(8) for file systems of the type fuse.kvfs: under the name mount.fuse.kvfs. */
#ifndef KVFS_FS_CLI_HELPER_H
#define KVFS_FS_CLI_HELPER_H

#include "store/kv.h"

enum fs_helper {
    FS_HELPER_NOT,   /* this is kvfs itself; nothing was done */
    FS_HELPER_MOUNT, /* *argc and *argv are arguments of kvfs now, which live as long as the process */
    FS_HELPER_DONE,  /* all that was asked for is done, as a remount */
    FS_HELPER_FAILED /* after one line on standard error */
};

/* Look whether mount(8) has started this program, and make its arguments those of kvfs. A mount made so has `nocreate`:
 * where a line of /etc/fstab names a store, a disk that is not there must not become a new one.
 * threads  once, before there are others */
KV_CHECKED enum fs_helper fs_helper(int *argc, char ***argv);

#endif
