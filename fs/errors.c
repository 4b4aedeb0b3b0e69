#include "fs/inode.h"

#include <errno.h>

void fs_errors_add_reason(struct fs *fs, struct fs_inode *inode, const char *child, const char *operation,
                          const char *reason)
{
    char path[2 * KV_NAME_MAX + KV_KEY_MAX + 8];

    fs_inode_path(fs, inode, child, path, sizeof(path));
    fs_error_log_add(fs->error_log, 0, path, operation, reason);
}

void fs_errors_add(struct fs *fs, struct fs_inode *inode, const char *child, const char *operation, int rc)
{
    fs_errors_add_reason(fs, inode, child, operation, fs_reason_of(rc));
}

void fs_errors_note(struct fs *fs, struct fs_inode *inode, const char *child, const char *operation, int rc)
{
    if (rc == -EIO || rc == -ETIMEDOUT || rc == -ENOMEM || rc == -ENOSPC || rc == -EDQUOT)
        fs_errors_add(fs, inode, child, operation, rc);
}
