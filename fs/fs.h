/* One mounted node: what the rooms of fs/ share. Private to fs/. */
#ifndef KVFS_FS_FS_H
#define KVFS_FS_FS_H

#define FUSE_USE_VERSION 312

#include "store/kv.h"

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>

struct fs_body;
struct fs_dir;
struct fs_errors;
struct fs_file;
struct fs_inode;
struct fs_loss;
struct fs_notifier;
struct fs_offer;
struct fs_options;
struct fs_text;

#define FS_LOCKS 1024 /* striped inode locks, see inode.h */

struct fs {
    struct kv_store *store;
    const struct fs_options *options;
    struct fuse_session *session;
    struct fs_errors *errors;
    struct fs_notifier *notifier;
    uint64_t mount_id; /* of the kernel's; 0: not known */

    pthread_mutex_t lock;    /* inode table, see inode.h */
    struct fs_inode *table;  /* by name */
    struct fs_inode *inodes; /* all */
    struct fs_inode *loose;  /* keys that were detached, see inode.h */
    size_t inodes_count;
    struct fs_inode *root;
    struct fs_file *files;  /* open handles of keys */
    struct fs_dir *dirs;    /* open directories */
    struct fs_text *texts;  /* open control files */
    struct fs_body *locals; /* open keys that the central does not have yet, and scratch files */
    struct fs_loss *losses; /* see loss.h */
    pthread_mutex_t inode_locks[FS_LOCKS];

    /* Counts changes of names and metadata that this node made: a listing that was read before one of
     * them cannot be trusted after it. */
    atomic_uint_fast64_t changes;

    atomic_size_t scratch_bytes; /* in scratch files, see scratch.h */

    void (*mounted)(void *arg); /* called once, when the kernel has taken the answer to INIT */
    void *mounted_arg;
};

/* Answer a request with a negative errno (or 0). */
static inline void fs_reply_error(fuse_req_t req, int rc) { fuse_reply_err(req, -rc); }

static inline struct fs *fs_of(fuse_req_t req) { return fuse_req_userdata(req); }

/* Real time, ns since the epoch. */
int64_t fs_now_ns(void);

#endif
