/* What the daemon tells its user, before it has a log. */
#ifndef KVFS_FS_CLI_SAY_H
#define KVFS_FS_CLI_SAY_H

/* Print one line on standard error: "kvfs: " and the message, control bytes made visible. */
void fs_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
