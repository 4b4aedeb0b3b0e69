/* The last failures of this node in words: /.kvfs/errors, and the log (log.h).
 *
 * A line is "TIME PATH OPERATION: REASON". It belongs to the user whose request failed. 1,000 lines are kept, 200 of
 * one user: then the oldest of that user goes.
 *
 * Whoever reads the log can keep its writer waiting. So only a thread of ours writes, from a queue of 256 lines;
 * what has no room there, and what of one user comes faster than 10 lines a second (50 at once), is counted and
 * dropped. Nobody who adds a line ever waits for it. */
#ifndef KVFS_FS_BASE_ERRORLOG_H
#define KVFS_FS_BASE_ERRORLOG_H

#include "fs/base/fs.h"
#include "fs/base/log.h"

#define FS_ERROR_LINES 1000
#define FS_ERROR_LINES_USER 200

/* Call fs_log_open() before. returns 0; -ENOMEM, -EAGAIN */
KV_CHECKED int fs_error_log_new(struct fs_error_log **out);
/* Nobody adds lines any more. What is queued is given 1 s to reach the log. May be NULL. */
void fs_error_log_free(struct fs_error_log *log);

/* Note that an operation failed, and why. `path`, relative to the mount, and `reason` can be any bytes: what is not
 * printable ASCII is shown as \xNN, and \ as \\. Without memory the line is lost.
 * threads  any, with any lock */
void fs_error_log_add(struct fs_error_log *log, uid_t uid, const char *path, const char *operation,
                      const char *reason);

/* The same for an operation that ended in the negative errno `rc`, and count it.
 * reason   NULL: the words for it; -ETIMEDOUT says which process holds the store */
void fs_error_log_add_rc(struct fs *fs, uid_t uid, const char *path, const char *operation, int rc,
                         const char *reason);

/* What was counted, by kinds of errors: the errnos of fs_reason_of(), and all others. */
#define FS_ERROR_KINDS 18u
/* "EIO", "other" */
const char *fs_error_kind(size_t kind);
uint64_t fs_error_count(const struct fs_error_log *log, size_t kind);

/* A message of the daemon itself, for the log only. Its level is not looked at here.
 * threads  any, with any lock */
void fs_error_log_say(struct fs_error_log *log, enum fs_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The kept lines of requests of `uid`, or all, oldest first. *out is to be freed by the caller.
 * returns  0; -ENOMEM */
KV_CHECKED int fs_error_log_text(struct fs_error_log *log, uid_t uid, bool all, char **out, size_t *size);

/* A negative errno of this file system in words: what was wrong, the rule, what to do. */
const char *fs_reason_of(int rc);

#endif
