/* flock(2) and fcntl(2) locks.
 *
 * They belong to the name: they stay while its value is replaced, put or refused, and all nodes of the machine
 * share them (kv_lock_*). Each owner that the kernel tells of has a hold of its own on the name, which goes when
 * it closes, or with the handle that it was made through. Who waits has a thread of its own, and is answered from
 * there; an interrupt ends the wait by a signal. */
#ifndef KVFS_FS_NODES_FILELOCK_H
#define KVFS_FS_NODES_FILELOCK_H

#include "fs/nodes/inode.h"

/* On a node. Over io_uring each keeps a thread of the transport, too. */
#define FS_LOCK_WAITS 2048
#define FS_LOCK_WAITS_URING 512

struct fs_filelocks;

/* One owner's hold on a name. */
struct fs_filelock {
    uint64_t owner; /* of the kernel: a process's files, or an open file */
    struct fs_name *name;
    struct kv_lock *held;
    struct fs_filelocks *list;                     /* of the handle that it was made through */
    unsigned refs;                                 /* the owner's, and of calls under way */
    uid_t uid;                                     /* who is charged */
    bool attached;                                 /* in both lists */
    struct fs_filelock *prev, *next;               /* in name->locks */
    struct fs_filelock *handle_prev, *handle_next; /* in list */
};

/* The locks that were made through a handle. */
struct fs_filelocks {
    struct fs_filelock *first;
};

/* Take or give back a lock, and answer the request: at once, or when it was waited for.
 * list  of the handle */
void fs_filelock_set(struct fs *fs, fuse_req_t req, struct fs_inode *inode, struct fs_filelocks *list,
                     uint64_t owner, const struct kv_lock_range *range, bool wait);
/* What is in the way of a lock? *range becomes that, or of type F_UNLCK.
 * returns  0; -ENOLCK, -EIO */
KV_CHECKED int fs_filelock_test(struct fs *fs, struct fs_inode *inode, struct fs_filelocks *list, uint64_t owner,
                                uid_t uid, struct kv_lock_range *range);
/* An owner closes a descriptor of an inode; a handle ends. */
void fs_filelocks_drop_owner(struct fs *fs, struct fs_inode *inode, struct fs_filelocks *list, uint64_t owner);
void fs_filelocks_drop(struct fs *fs, struct fs_filelocks *list);
/* The session ends: nobody waits any more. */
void fs_filelock_waits_end(void);

#endif
