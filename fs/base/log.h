/* Where the daemon's lines go: its log file, the journal, or the system log; in the foreground standard error, too.
 *
 * Of the process, as the system log is: set up once, before there are other threads. A line can have to wait for
 * whoever reads the log, so only the thread of errorlog.h writes while the node serves. */
#ifndef KVFS_FS_BASE_LOG_H
#define KVFS_FS_BASE_LOG_H

#include "fs/base/options.h"

/* returns  "error", "warning" or "info" */
const char *fs_log_level_name(enum fs_log_level level);

/* Choose where lines go: options->log_file, if it is given; standard error with the priorities of sd-daemon(3), if the
 * journal reads it in the foreground; else the system log.
 * returns  0; a negative errno: the file cannot be opened */
KV_CHECKED int fs_log_open(const struct fs_options *options);

/* Open the log file anew, by its name, after somebody has moved it away. Where that fails the old one is written to.
 * threads  any, with any lock
 * returns  0, also where there is no log file; a negative errno */
KV_CHECKED int fs_log_reopen(void);

/* Write a line, unless it is of less importance than the level asked for. Failures are not told: there is nowhere. */
void fs_log_write(enum fs_log_level level, const char *text);

/* Does the journal read standard error? Then it knows from "<3>" before a line that it is an error. */
bool fs_log_is_journal(void);

#endif
