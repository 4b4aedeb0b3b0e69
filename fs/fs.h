/* What the flat files of this folder share: goes with them. */
#ifndef KVFS_FS_FS_H
#define KVFS_FS_FS_H

#include "fs/base/errorlog.h"
#include "fs/base/fs.h"

#include <pthread.h>

struct fs_body;
struct fs_dir;
struct fs_file;
struct fs_inode;
struct fs_loss;
struct fs_notifier;
struct fs_offer;

#define FS_LOCKS_STRIPES 1024 /* striped inode locks, see inode.h */

struct fs_nodes {
    struct fs_notifier *notifier;
    uint64_t mount_id; /* of the kernel's; 0: not known */

    pthread_mutex_t lock;    /* inode table, see inode.h */
    struct fs_inode *table;  /* by name */
    struct fs_inode *inodes; /* all */
    struct fs_inode *loose;  /* keys that were detached, see inode.h */
    struct fs_inode *root;
    struct fs_file *files;  /* open handles of keys */
    struct fs_dir *dirs;    /* open directories */
    struct fs_body *locals; /* open keys that the central does not have yet, and scratch files */
    struct fs_loss *losses; /* see loss.h */
    pthread_mutex_t inode_locks[FS_LOCKS_STRIPES];

    /* Counts changes of names and metadata that this node made: a listing that was read before one of
     * them cannot be trusted after it. */
    atomic_uint_fast64_t changes;

    atomic_size_t scratch_bytes; /* in scratch files, see scratch.h */
};

void fs_errors_add(struct fs *fs, struct fs_inode *inode, const char *child, const char *operation, int rc);
void fs_errors_note(struct fs *fs, struct fs_inode *inode, const char *child, const char *operation, int rc);
void fs_errors_add_reason(struct fs *fs, struct fs_inode *inode, const char *child, const char *operation,
                          const char *reason);

#endif
