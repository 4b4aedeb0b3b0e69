#include "fs/base/notify.h"

#include <errno.h>
#include <linux/fuse.h>

#define NOTIFY_INC_EPOCH 8 /* FUSE_NOTIFY_INC_EPOCH, in headers from 6.16 on */

static atomic_uint_fast64_t notify_counts[FS_NOTIFICATIONS];

static void notify_add(enum fs_notification kind)
{
    atomic_fetch_add_explicit(&notify_counts[kind], 1, memory_order_relaxed);
}

uint64_t fs_notify_count(enum fs_notification kind)
{
    return atomic_load_explicit(&notify_counts[kind], memory_order_relaxed);
}

int fs_notify_attr(struct fs *fs, fuse_ino_t ino)
{
    notify_add(FS_NOTIFY_ATTR);
    return fuse_lowlevel_notify_inval_inode(fs->session, ino, -1, 0);
}

int fs_notify_entry(struct fs *fs, fuse_ino_t directory, const char *name, size_t size)
{
    notify_add(FS_NOTIFY_ENTRY);
    return fuse_lowlevel_notify_inval_entry(fs->session, directory, name, size);
}

int fs_notify_epoch(struct fs *fs)
{
    static const struct fuse_out_header notification = {.len = sizeof(notification), .error = NOTIFY_INC_EPOCH};
    static atomic_bool unknown;

    if (atomic_load_explicit(&unknown, memory_order_relaxed))
        return -ENOSYS;
    notify_add(FS_NOTIFY_EPOCH);
    if (write(fuse_session_fd(fs->session), &notification, sizeof(notification)) >= 0)
        return 0;
    if (errno != EINVAL)
        return -errno;
    atomic_store_explicit(&unknown, true, memory_order_relaxed);
    return -ENOSYS;
}

void fs_notify_store(struct fs *fs, fuse_ino_t ino, const void *bytes, size_t size)
{
    struct fuse_bufvec parts = FUSE_BUFVEC_INIT(size);

    parts.buf[0].mem = (void *)(uintptr_t)bytes; /* which is only read */
    notify_add(FS_NOTIFY_STORE);
    (void)fuse_lowlevel_notify_store(fs->session, ino, 0, &parts, 0);
}
