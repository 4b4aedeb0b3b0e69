/* Telling the kernel that what it knows of a directory is not so any more.
 *
 * For an entry the kernel takes the directory's lock, which a request of the same
 * directory may hold while it waits for this daemon. So a thread of its own does
 * it, which nobody who serves requests or commits ever waits for: whoever must
 * answer only after the notification gives a continuation along. */
#ifndef KVFS_FS_NOTIFY_H
#define KVFS_FS_NOTIFY_H

#include "fs/inode.h"

KV_CHECKED int fs_notifier_new(struct fs *fs);
/* Run what is queued, stop, free. */
void fs_notifier_free(struct fs *fs);

/* Drop the kernel's entry `name`, which led to the inode, then call then(arg) on the notifier's thread. Never fails:
 * without memory the continuation is called at once, and the entry ends with its timeout. */
void fs_notify_entry(struct fs *fs, struct fs_inode *inode, const char *name, void (*then)(void *arg), void *arg);

/* The size of something below an inode changed: drop the attributes that the kernel has of the directories
 * above it. Takes no lock in the kernel, so any thread may. */
void fs_notify_sizes(struct fs *fs, struct fs_inode *inode);

#endif
