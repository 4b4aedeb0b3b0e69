/* The threads that take requests from the kernel and serve them, until the file system is unmounted or a signal asks
 * for the end. loop.c says why libfuse's own loop is not enough. */
#ifndef KVFS_FS_TRANSPORT_LOOP_H
#define KVFS_FS_TRANSPORT_LOOP_H

#include "fs/base/fs.h"

#define FS_CHANGES 128 /* requests that may wait for a commit or for a lock of a name: served at a time */

/* Block the signals that ask for the end (but for those that are ignored), in this thread and all that it starts: only
 * the loop is told of them. Before any other thread is started. */
void fs_loop_block_signals(void);

/* Serve. Every request that was taken is answered before this returns. Where memory is short, fewer threads
 * serve, and what is not taken yet waits in the kernel.
 * returns  0 unmounted; >0 the signal that asked for the end; <0 an error of the session
 * threads  once, from the main thread */
KV_CHECKED int fs_loop(struct fs *fs);

#endif
