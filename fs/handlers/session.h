/* A node's session, from its open store to its end: all of the daemon but its options, mount and loop. */
#ifndef KVFS_FS_HANDLERS_SESSION_H
#define KVFS_FS_HANDLERS_SESSION_H

#include "fs/base/fs.h"

/* Set up what a session needs. fs->options (with the node's name) and fs->store are there.
 * args     what libfuse gets of the command line; it takes out what it knows
 * returns  0 and fs->session, to be mounted; -EINVAL libfuse refused the arguments, and has said why; -ENOMEM;
 *          on failure nothing is left but the store */
KV_CHECKED int fs_session_start(struct fs *fs, struct fuse_args *args);

/* Nothing is served any more: answer every close that waits, and close what the kernel left open.
 * abandon  the session was ended under its users: drop what they have not closed
 * returns  0; -EIO, -ETIMEDOUT not all that was saved is durable */
KV_CHECKED int fs_session_end(struct fs *fs, bool abandon);

/* Close the store, and free all that was set up. */
void fs_session_free(struct fs *fs);

#endif
