/* Requests that may wait for a commit, or for another change of the same name: which of them are served now.
 *
 * Reads never wait behind them: at most FS_CHANGES are served at a time, and half of them of one user. The others are
 * put aside; users take turns, and the changes of one stay in order. Whoever has served one asks for the next. So while
 * any is aside, others are being served. The loop's lock is held in all functions.
 *
 * What came through /dev/fuse is put aside as a copy, and whoever asks for the next serves it. What came through a ring
 * keeps its thread, which waits for its turn. So of these there are at most ASIDE_MAX, and of a user no more than
 * there is room for others then: some users together do not keep out everybody else. */
#ifndef KVFS_FS_TRANSPORT_CHANGES_INTERNAL_H
#define KVFS_FS_TRANSPORT_CHANGES_INTERNAL_H

#include "fs/base/fs.h"

#include <semaphore.h>

#define CHANGES_ASIDE_MAX 1024

struct changes_user;

/* All zero at the begin, and at the end. */
struct changes {
    unsigned running, aside;    /* aside: those of rings */
    struct changes_user *users; /* by uid: those with changes */
    struct changes_user *turns; /* those that can go on with what they have aside, in turn, and some that cannot */
};

/* What was put aside, to be freed by whoever gets it. */
struct change {
    struct change *next, *prev;
    int64_t since_ns; /* monotonic */
    sem_t *turn;      /* to be posted; NULL: to be served */
    size_t size;
    char bytes[]; /* as read from the kernel */
};

enum changes_verdict { CHANGES_SERVE, CHANGES_ASIDE, CHANGES_REFUSE };

/* A request has come, as read from the kernel. Without memory it is served at once.
 * turn     of the ring that it came through, or NULL
 * returns  CHANGES_SERVE. *user is not NULL where it is a change, which changes_next_locked() ends
 *          CHANGES_ASIDE. With a turn: to be waited for; then it is as with CHANGES_SERVE
 *          CHANGES_REFUSE too many of rings are aside */
enum changes_verdict changes_enter_locked(struct changes *changes, const struct fuse_buf *request, sem_t *turn,
                                          struct changes_user **user);

/* A change of *user was served.
 * returns  the next one, which is of *user then; NULL: there is none that may be served */
struct change *changes_next_locked(struct changes *changes, struct changes_user **user);

#endif
