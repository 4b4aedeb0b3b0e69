/* Handles: one open(2) each, and how they begin and end.
 *
 * States
 *
 *   CLEAN    nothing to put
 *   EMPTIED  its open created or truncated the key, and nothing was written through it since
 *   WRITTEN  something was
 *   FAILED   a write was refused, with `error`. The content was not changed by it, but lacks it: later writes fail at
 *            once, and the close, or an fsync, tells the error and puts nothing of this handle. Other handles are not
 *            harmed.
 *
 *   CLEAN, EMPTIED --write--> WRITTEN;  any --refused write--> FAILED --told--> CLEAN
 *
 * An open for writing begins with the newest central value, under the lock of its name; one for reading with what
 * this node may serve, and waits for no change. The inode that the kernel opens can have lost its name, or stand
 * for another version than the one that is loaded. Then the kernel is told to look the name up again, which it
 * does once. So where that just happened, the lookup opens the key *ahead*: for a second, or until the open that
 * follows, which then finds what the lookup has told.
 */
#ifndef KVFS_FS_CONTENT_HANDLE_H
#define KVFS_FS_CONTENT_HANDLE_H

#include "fs/content/body.h"
#include "fs/nodes/filelock.h"

enum fs_handle_state { FS_CLEAN, FS_EMPTIED, FS_WRITTEN, FS_FAILED };

struct fs_handle {
    enum fs_handle_kind kind; /* first: see base/fs.h */
    struct fs_inode *inode;   /* whose body it is pinned to */
    bool writes;
    enum fs_way way; /* way.h */
    uid_t uid;       /* who opened it */
    pid_t opener;    /* process; 0: not known */
    struct fs_filelocks locks;

    enum fs_handle_state state;    /* body->io guards the rest */
    int error;                     /* FAILED */
    uint64_t written;              /* generation of its last change */
    uint64_t flushed;              /* the same as of the last close of a descriptor */
    uint64_t told;                 /* the newest one whose failure a close has told */
    struct fs_handle *prev, *next; /* all of the node */
};

/* Open a key, or a temporary file.
 * flags    of open(2)
 * returns  0 and a handle, for fs_close(); -ESTALE the kernel is to look the path up again; -ENFILE; -EIO, -ENOMEM,
 *          -ENOSPC */
KV_CHECKED int fs_open(struct fs *fs, struct fs_inode *inode, int flags, const struct fuse_ctx *who,
                       struct fs_handle **out);

/* Open the inode that a lookup has found ahead of the open that follows. uid: who looks it up.
 * returns  0; -ESTALE its name leads to something else by now; else as fs_open() */
KV_CHECKED int fs_open_ahead(struct fs *fs, struct fs_inode *inode, const struct kv_usage *usage, uid_t uid);
/* Close those that nobody opened within a second, or all. */
void fs_opened_ahead_end(struct fs *fs, bool all);

/* Make a key that the kernel believes not to be there.
 * attr     of the new key; ino is chosen here
 * returns  0, a handle, and a reference to its inode; -EEXIST with O_EXCL; -ESTALE it is there; else as fs_open() */
KV_CHECKED int fs_create(struct fs *fs, struct fs_inode *namespace, const char *key, int flags,
                         const struct kv_attr *attr, const struct fuse_ctx *who, struct fs_inode **inode,
                         struct fs_handle **out);
/* The same for a temporary file: it lives while it has a name or a handle. -EEXIST; -EDQUOT, -ENOSPC */
KV_CHECKED int fs_create_temporary(struct fs *fs, struct fs_inode *namespace, const char *name,
                                   const struct kv_attr *attr, const struct fuse_ctx *who, struct fs_inode **inode,
                                   struct fs_handle **out);

/* truncate(2): one put of its own. *shown: what the kernel is to be told of what was changed. */
KV_CHECKED int fs_truncate_path(struct fs *fs, struct fs_inode *inode, uint64_t size, const struct fuse_ctx *who,
                                struct stat *shown, double *timeout);

/* The last descriptor of a handle is gone: what it wrote and no close has put is put in the background. */
void fs_close(struct fs *fs, struct fs_handle *handle);

/* At the end of the session: close what the kernel does not release any more. What was written and not closed is
 * dropped, since the connection was cut; only what came through mappings needs no close, unless the users were cut
 * off (`abandon`). */
void fs_handles_end(struct fs *fs, bool abandon);
/* Then, when no put is under way: free the bodies that are left, of temporary files. */
void fs_bodies_end(struct fs *fs);

#endif
