#include "fs/base/notify.h"

#include <errno.h>
#include <linux/fuse.h>

#define NOTIFY_INC_EPOCH 8 /* FUSE_NOTIFY_INC_EPOCH, in headers from 6.16 on */

int fs_notify_attr(struct fs *fs, fuse_ino_t ino)
{
    return fuse_lowlevel_notify_inval_inode(fs->session, ino, -1, 0);
}

int fs_notify_epoch(struct fs *fs)
{
    static const struct fuse_out_header notification = {.len = sizeof(notification), .error = NOTIFY_INC_EPOCH};
    static atomic_bool unknown;

    if (atomic_load_explicit(&unknown, memory_order_relaxed))
        return -ENOSYS;
    if (write(fuse_session_fd(fs->session), &notification, sizeof(notification)) >= 0)
        return 0;
    if (errno != EINVAL)
        return -errno;
    atomic_store_explicit(&unknown, true, memory_order_relaxed);
    return -ENOSYS;
}
