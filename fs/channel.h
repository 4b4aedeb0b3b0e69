/* The channel to the kernel: libfuse's reads and writes of /dev/fuse, through our hands.
 *
 * Three things need it. Every request passes here, so here they are counted. The
 * answer to INIT is completed: libfuse 3.14 cannot offer FUSE_HANDLE_KILLPRIV_V2, without which the
 * kernel asks for the attribute security.capability before every write. And when that answer has been taken
 * the mount works: fs->mounted() is called. */
#ifndef KVFS_FS_CHANNEL_H
#define KVFS_FS_CHANNEL_H

#include "fs/fs.h"

/* Use it for a mounted session, whose userdata is its struct fs, before its loop starts.
 * returns  0 or a negative errno */
KV_CHECKED int fs_channel_use(struct fuse_session *session);

/* After the loop has ended by a signal requests still come, and whoever makes them may hold locks in the kernel that
 * notifications of ours wait for. Refuse them all, with ENOTCONN, by a thread of its own, until it is stopped.
 * returns  0 and *out; -ENOMEM, -EAGAIN */
struct fs_channel_refuser;
KV_CHECKED int fs_channel_refuse(struct fuse_session *session, struct fs_channel_refuser **out);
void fs_channel_refuse_stop(struct fs_channel_refuser *refuser);

#endif
