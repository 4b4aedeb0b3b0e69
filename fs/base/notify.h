/* Telling the kernel that what it knows is not so any more. None of these waits for a lock that a client can hold,
 * so any thread may call them. A failure says only that the kernel does not know the inode, or that the mount is
 * gone. */
#ifndef KVFS_FS_BASE_NOTIFY_H
#define KVFS_FS_BASE_NOTIFY_H

#include "fs/base/fs.h"

/* Attributes of one inode are asked for anew.
 * returns  0; -ENOENT the kernel does not know the inode, or an answer that names it is still under way; another
 *          negative
 *          errno */
int fs_notify_attr(struct fs *fs, fuse_ino_t ino);

/* Every directory entry that the kernel knows is looked up anew before it is used (FUSE_NOTIFY_INC_EPOCH,
 * Linux 6.16).
 * returns  0; -ENOSYS the kernel cannot: entries end with their timeouts; another negative errno */
int fs_notify_epoch(struct fs *fs);

#endif
