/* One mounted node: what the folders of fs/ share. */
#ifndef KVFS_FS_BASE_FS_H
#define KVFS_FS_BASE_FS_H

#define FUSE_USE_VERSION 312

#include "fs/base/options.h"
#include "store/kv.h"

#include <fuse_lowlevel.h>
#include <stdatomic.h>
#include <unistd.h>

struct fs_error_log; /* errorlog.h */
struct fs_ledger;    /* ledger.h */
struct fs_nodes;     /* nodes/ */

/* All pointers are set before the first request and stay until the loop has ended. */
struct fs {
    struct kv_store *store;
    const struct fs_options *options;
    struct fuse_session *session;
    struct fs_error_log *error_log;
    struct fs_ledger *users;    /* by uid */
    struct fs_ledger *accounts; /* by the account's id; 0: the node as a whole */
    struct fs_nodes *nodes;
    bool drops_pages;           /* the kernel has no old page behind a write past its cache: Linux 6.18 */
    int64_t started_ns;         /* real time */
    atomic_size_t inodes;       /* kernel inodes that there are: kept by nodes/, shown by control/ */
    void (*mounted)(void *arg); /* called once, when the kernel has taken the answer to INIT */
    void *mounted_arg;
};

/* What a fuse_file_info's fh points to begins with its kind, and a handler looks at it before it uses the rest:
 * `*(enum fs_handle_kind *)(uintptr_t)fi->fh`. A kernel inode's kind alone does not tell. */
enum fs_handle_kind { FS_HANDLE_FILE = 1, FS_HANDLE_DIR, FS_HANDLE_CONTROL };

/* Answer a request with a negative errno (or 0), and be done with it: `req` is gone then. */
static inline void fs_reply_error(fuse_req_t req, int rc) { fuse_reply_err(req, -rc); }

static inline struct fs *fs_of(fuse_req_t req) { return fuse_req_userdata(req); }

/* Root and the user who mounted: read all of /.kvfs/errors, and have no limit where others have one. */
static inline bool fs_is_operator(uid_t uid) { return uid == 0 || uid == getuid(); }

/* May who makes a request list what is in this directory? By its mode bits alone: the groups that a process has besides
 * its own are not looked at, since finding them could wait for it. */
bool fs_may_look(const struct kv_attr *attr, const struct fuse_ctx *who);

/* What a clock shows, in ns. These never fail and never wait.
 * threads  any */
int64_t fs_clock_ns(clockid_t clock);
/* Time that never goes back, and goes on in a suspend (CLOCK_BOOTTIME), in ns: for how long something holds. */
int64_t fs_mono_ns(void);
/* Real time, in ns since the epoch: for attributes, and what users read. */
int64_t fs_now_ns(void);
/* Until when to wait, on CLOCK_MONOTONIC: so many ns from now, 0 or more. */
struct timespec fs_after_ns(int64_t ns);

#endif
