/* The last failures of this node in words: /.kvfs/errors, and the log (syslog; with -f standard error, too). */
#ifndef KVFS_FS_ERRORS_H
#define KVFS_FS_ERRORS_H

#include "fs/fs.h"

#define FS_ERRORS_KEPT 1000

KV_CHECKED int fs_errors_new(struct fs_errors **out);
void fs_errors_free(struct fs_errors *errors);

/* Note that an operation on an inode (or on the name `child` in it) failed with -rc. */
void fs_errors_add(struct fs *fs, struct fs_inode *inode, const char *child, const char *operation, int rc);

/* The same, unless rc is 0 or the caller's own affair: only where the store failed, or has no room. */
void fs_errors_note(struct fs *fs, struct fs_inode *inode, const char *child, const char *operation, int rc);

/* As fs_errors_add(), with words for this one case. */
void fs_errors_add_reason(struct fs *fs, struct fs_inode *inode, const char *child, const char *operation,
                          const char *reason);

/* All kept lines, oldest first: "TIME PATH OPERATION: REASON". *out is to be freed by the caller. */
KV_CHECKED int fs_errors_text(struct fs_errors *errors, char **out, size_t *size);

#endif
