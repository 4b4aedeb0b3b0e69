/* The channel to the kernel: libfuse's reads and writes of /dev/fuse, through our hands.
 *
 * The answer to INIT is completed: libfuse 3.14 cannot offer FUSE_HANDLE_KILLPRIV_V2, without which the kernel asks
 * for the attribute security.capability before every write. And when that answer has been taken the mount works:
 * fs->mounted() is called. */
#ifndef KVFS_FS_TRANSPORT_CHANNEL_H
#define KVFS_FS_TRANSPORT_CHANNEL_H

#include "fs/base/fs.h"

/* Use it for a mounted session, whose userdata is its struct fs, before its loop starts.
 * returns  0 or a negative errno */
KV_CHECKED int fs_channel_use(struct fuse_session *session);

#endif
