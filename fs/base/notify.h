/* Notifications: telling the kernel what it has not asked.
 *
 * Who is told what, and when:
 *
 *   attributes   another process of the machine has changed them, and the kernel was told them since it was notified
 *                last (nodes/push.h); what it was told is not what the central storage has, or it does not count as
 *                told (nodes/told.h); a write has taken set-id bits away; a key has got an expiry
 *   names        another process has changed one that the kernel may know, or know to be absent (nodes/push.h); a
 *                name leads to another inode, because a put has failed or a displaced one was put (content/); an open
 *                key has got an expiry
 *   a name       of a view, of which it knows many (nodes/viewlimit.c)
 *   pages        a small value is opened, and the kernel lacks pages of it
 *
 * Of what a request changes the kernel is not notified: it forgets that by itself. After a WRITE these are size and
 * times; after a CREATE, UNLINK or RENAME all attributes of the directory (so the next look into it begins with a
 * GETATTR: the mode is among them, which permission is checked by; later kernels forget only size, times and links).
 * What is committed in the background, as a key that was only created, is shown before it is committed.
 *
 * None of these functions but fs_notify_entry() waits for a lock that a client can hold, so any thread may call them. A
 * failure says only that the kernel does not know the inode, or that the mount is gone. */
#ifndef KVFS_FS_BASE_NOTIFY_H
#define KVFS_FS_BASE_NOTIFY_H

#include "fs/base/fs.h"

/* Attributes of one inode are asked for anew.
 * returns  0; -ENOENT the kernel does not know the inode, or an answer that names it is still under way; another
 *          negative errno */
int fs_notify_attr(struct fs *fs, fuse_ino_t ino);

/* Every directory entry that the kernel knows is looked up anew before it is used (FUSE_NOTIFY_INC_EPOCH,
 * Linux 6.16).
 * returns  0; -ENOSYS the kernel cannot: entries end with their timeouts; another negative errno */
int fs_notify_epoch(struct fs *fs);

/* The kernel forgets one name in a directory. It takes the directory's lock first, which whoever looks a name up or
 * makes one there holds while it waits for the answer: so only a thread may call this that no request waits for.
 * returns  0; -ENOENT it does not know the name; another negative errno */
int fs_notify_entry(struct fs *fs, fuse_ino_t directory, const char *name, size_t size);

/* Bytes of an inode's content, from its beginning on, go into the page cache. Only while no page of it can be locked
 * by a client that waits for this node. */
void fs_notify_store(struct fs *fs, fuse_ino_t ino, const void *bytes, size_t size);

/* How many there were of each kind. */
enum fs_notification { FS_NOTIFY_ATTR, FS_NOTIFY_ENTRY, FS_NOTIFY_EPOCH, FS_NOTIFY_STORE, FS_NOTIFICATIONS };
uint64_t fs_notify_count(enum fs_notification kind);

#endif
