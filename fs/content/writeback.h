/* Writing back: puts of open keys, from a close or a sync (or what else has the central storage know the content)
 * to its answer.
 *
 * A put is submitted under the lock of its name, and answered on the thread that commits it. The store applies changes
 * in the order of their submission: so a put comes before or after a change of its name as the lock was taken. A
 * put that succeeds makes its inode CURRENT; one that fails displaces it, and lookups of the name ask the central
 * storage again. */
#ifndef KVFS_FS_CONTENT_WRITEBACK_H
#define KVFS_FS_CONTENT_WRITEBACK_H

#include "fs/content/handle.h"

/* A put, or the failure to make one, has ended. Called on any thread, maybe before the function that started it
 * returns. */
typedef void fs_put_done(void *arg, int rc);

/* A descriptor of the handle is closed by thread `closer`. */
void fs_flush(struct fs *fs, struct fs_handle *handle, pid_t closer, fs_put_done *done, void *arg);
/* Make durable what any handle has written. */
void fs_sync(struct fs *fs, struct fs_handle *handle, fs_put_done *done, void *arg);
/* Put what the handle wrote, and wait.
 * returns  0 or why not */
KV_CHECKED int fs_put_wait(struct fs *fs, struct fs_handle *handle);
/* Put what no close has put, up to the generation `needed`, and tell nobody. */
void fs_put_left(struct fs *fs, struct fs_handle *handle, uint64_t needed);

/* Make the central storage have what a pinned body holds. The lock of its name is held.
 * returns  0 or why not */
KV_CHECKED int fs_body_settle(struct fs *fs, struct fs_body *body, uid_t uid);

#endif
