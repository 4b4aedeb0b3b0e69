/* The threads that take requests from the kernel and serve them, until the file system is unmounted or a signal asks
 * for the end. loop.c says why libfuse's own loop is not enough. */
#ifndef KVFS_FS_TRANSPORT_LOOP_H
#define KVFS_FS_TRANSPORT_LOOP_H

#include "fs/base/fs.h"

#define FS_CHANGES 128 /* requests that may wait for a commit or for a lock of a name: served at a time */

/* Block the signals that ask for something (but for those that are ignored), in this thread and all that it starts:
 * only the loop is told of them. Before any other thread is started. */
void fs_loop_block_signals(void);

/* Serve. Every request that was taken is served before this returns. Where memory is short, fewer threads
 * serve, and what is not taken yet waits in the kernel.
 * reload   is called for each SIGHUP, which asks for the end only where the process has a terminal, which hangs up
 * end      is called when the last request has been served, once; the requests that come then and until it returns are
 *          refused. abandon: the session was ended under its users
 * returns  0 unmounted; >0 the signal that asked for the end; <0 an error of the session, -EIO also one of `end`
 * threads  once, from the main thread */
KV_CHECKED int fs_loop(struct fs *fs, void (*reload)(struct fs *fs), int (*end)(struct fs *fs, bool abandon));

#endif
