#include "fs/transport/changes_internal.h"

#include "fs/transport/loop.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uthash.h>
#include <utlist.h>

struct changes_user {
    uid_t uid;
    unsigned running, waiting;        /* waiting: aside, of rings */
    struct change *aside;             /* oldest first */
    struct changes_user *prev, *next; /* in changes->turns, while anything is aside */
    UT_hash_handle hh;
};

static bool changes_has(const struct fuse_buf *request)
{
    const struct fuse_in_header *header = request->mem;
    const struct fuse_open_in *open = (const void *)(header + 1);
    const struct fuse_write_in *write = (const void *)(header + 1);

    switch (header->opcode) {
    case FUSE_SETATTR:
    case FUSE_MKNOD:
    case FUSE_MKDIR:
    case FUSE_SYMLINK:
    case FUSE_UNLINK:
    case FUSE_RMDIR:
    case FUSE_RENAME:
    case FUSE_RENAME2:
    case FUSE_SETXATTR:
    case FUSE_REMOVEXATTR:
    case FUSE_CREATE:
    case FUSE_FSYNC:
    case FUSE_FSYNCDIR:
    case FUSE_FLUSH:
    case FUSE_RELEASE:
    case FUSE_COPY_FILE_RANGE:
        return true;
    case FUSE_OPEN:
        return request->size >= sizeof(*header) + sizeof(*open) &&
               ((open->flags & O_ACCMODE) != O_RDONLY || open->flags & O_TRUNC);
    case FUSE_WRITE: /* a page of a mapping never waits */
        return request->size >= sizeof(*header) + sizeof(*write) && write->flags & O_DSYNC &&
               !(write->write_flags & FUSE_WRITE_CACHE);
    default:
        return false;
    }
}

static struct changes_user *changes_user_locked(struct changes *changes, uid_t uid)
{
    struct changes_user *user;

    HASH_FIND(hh, changes->users, &uid, sizeof(uid), user);
    if (user != NULL || (user = calloc(1, sizeof(*user))) == NULL)
        return user;
    user->uid = uid;
    HASH_ADD(hh, changes->users, uid, sizeof(uid), user);
    return user;
}

/* A change that is put aside: with its bytes, but where its own thread will serve it. */
static struct change *changes_keep(const struct fuse_buf *request, sem_t *turn)
{
    size_t size = turn == NULL ? request->size : 0;
    struct change *change = malloc(sizeof(*change) + size);

    if (change == NULL)
        return NULL;
    change->since_ns = fs_clock_ns(CLOCK_MONOTONIC);
    change->turn = turn;
    change->size = size;
    memcpy(change->bytes, request->mem, size);
    return change;
}

static void changes_run_locked(struct changes *changes, struct changes_user *user)
{
    changes->running++;
    user->running++;
}

/* Whoever has none any more is forgotten. */
static void changes_leave_locked(struct changes *changes, struct changes_user *user)
{
    if (user->running > 0 || user->aside != NULL)
        return;
    HASH_DEL(changes->users, user);
    free(user);
}

enum changes_verdict changes_enter_locked(struct changes *changes, const struct fuse_buf *request, sem_t *turn,
                                          struct changes_user **user)
{
    const struct fuse_in_header *header = request->mem;
    struct change *change = NULL;

    *user = changes_has(request) ? changes_user_locked(changes, header->uid) : NULL;
    if (*user == NULL)
        return CHANGES_SERVE;
    if (changes->running >= FS_CHANGES || (*user)->running >= FS_CHANGES / 2) {
        /* a release gives back, and the kernel lets only few of them wait */
        if (turn != NULL && header->opcode != FUSE_RELEASE &&
            changes->aside + (*user)->waiting >= CHANGES_ASIDE_MAX) {
            changes_leave_locked(changes, *user);
            return CHANGES_REFUSE;
        }
        change = changes_keep(request, turn);
    }
    if (change == NULL) {
        changes_run_locked(changes, *user);
        return CHANGES_SERVE;
    }
    if ((*user)->aside == NULL)
        DL_APPEND(changes->turns, *user);
    DL_APPEND((*user)->aside, change);
    changes->aside += turn != NULL;
    (*user)->waiting += turn != NULL;
    return CHANGES_ASIDE;
}

struct change *changes_next_locked(struct changes *changes, struct changes_user **user)
{
    struct changes_user *next;
    struct change *change;

    changes->running--;
    (*user)->running--;
    changes_leave_locked(changes, *user);
    if (changes->running >= FS_CHANGES) /* without memory there can be more */
        return NULL;
    DL_FOREACH(changes->turns, next) /* no two users have their half now */
        if (next->running < FS_CHANGES / 2)
            break;
    if (next == NULL)
        return NULL;
    change = next->aside;
    DL_DELETE(next->aside, change);
    DL_DELETE(changes->turns, next);
    if (next->aside != NULL)
        DL_APPEND(changes->turns, next);
    changes->aside -= change->turn != NULL;
    next->waiting -= change->turn != NULL;
    changes_run_locked(changes, next);
    *user = next;
    return change;
}
