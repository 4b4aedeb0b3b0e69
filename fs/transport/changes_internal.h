/* Requests that may wait for a commit, or for another change of the same name: which of them are served now.
 *
 * Reads never wait behind them: at most FS_CHANGES are served at a time, and half of them of one user. The others are
 * put aside as copies; users take turns, and the changes of one stay in order. Whoever has served one asks for the
 * next. So while any is aside, others are being served. The loop's lock is held in all functions. */
#ifndef KVFS_FS_TRANSPORT_CHANGES_INTERNAL_H
#define KVFS_FS_TRANSPORT_CHANGES_INTERNAL_H

#include "fs/base/fs.h"

struct changes_user;

/* All zero at the begin, and at the end. */
struct changes {
    unsigned running;
    struct changes_user *users; /* by uid: those with changes */
    struct changes_user *turns; /* those that can go on with what they have aside, in turn, and some that cannot */
};

/* What was put aside, to be freed by whoever gets it. */
struct change {
    struct change *next, *prev;
    int64_t since_ns; /* monotonic */
    size_t size;
    char bytes[]; /* as read from the kernel */
};

/* A request has come, as read from the kernel. Without memory it is served at once.
 * returns  true: it is to be served. *user is not NULL where it is a change, which changes_next_locked() ends;
 *          false: it was put aside */
bool changes_enter_locked(struct changes *changes, const struct fuse_buf *request, struct changes_user **user);

/* A change of *user was served.
 * returns  the next one, which is of *user then; NULL: there is none that may be served */
struct change *changes_next_locked(struct changes *changes, struct changes_user **user);

int64_t changes_now_ns(void);

#endif
