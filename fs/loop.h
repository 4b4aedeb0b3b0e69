/* The threads that take requests from the kernel and serve them, until the file system is unmounted or a signal asks
 * for the end. In place of libfuse's loop, whose threads can take a request along unanswered when they end: whoever
 * made it may hold locks in the kernel that all that follows waits for. */
#ifndef KVFS_FS_LOOP_H
#define KVFS_FS_LOOP_H

#include "fs/fs.h"

/* Block the signals that ask for the end (but for those that are ignored), in this thread and all that it starts: only the loop is told of them. Before
 * any other thread is started. */
void fs_loop_block_signals(void);

/* Serve. Every request that was taken is served to its end before this returns. Where memory is short, fewer threads
 * serve, and what is not taken yet waits in the kernel.
 * returns  0 unmounted; >0 the signal that asked for the end; <0 an error of the session
 * threads  once, from the main thread */
KV_CHECKED int fs_loop(struct fuse_session *session);

#endif
