/* The channel to the kernel: libfuse's reads and writes of /dev/fuse, through our hands.
 *
 * The answer to INIT is completed: libfuse 3.14 cannot offer FUSE_HANDLE_KILLPRIV_V2, without which the kernel asks
 * for the attribute security.capability before every write, nor FUSE over io_uring. Answers to what came through a ring
 * (uring_internal.h) go back there. */
#ifndef KVFS_FS_TRANSPORT_CHANNEL_H
#define KVFS_FS_TRANSPORT_CHANNEL_H

#include "fs/base/fs.h"

/* Use it for a mounted session, whose userdata is its struct fs, before its loop starts.
 * returns  0 or a negative errno */
KV_CHECKED int fs_channel_use(struct fuse_session *session);

enum fs_channel_state {
    FS_CHANNEL_WAITS,    /* for INIT */
    FS_CHANNEL_ACCEPTED, /* the kernel has taken the answer to INIT: the mount works */
    FS_CHANNEL_URING,    /* ... when rings are registered, through which requests will come */
};

/* threads  who has served INIT, and all behind it */
enum fs_channel_state fs_channel_state(void);

/* FS_CHANNEL_URING: the bytes that an entry needs for what comes with a request or an answer. */
size_t fs_channel_payload(void);

/* Answer a request without libfuse. It fails where the request was withdrawn. */
void fs_channel_refuse(struct fs *fs, uint64_t unique, int rc);

#endif
