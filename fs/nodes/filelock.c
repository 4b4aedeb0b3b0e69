#include "fs/nodes/filelock.h"

#include "fs/base/ledger.h"
#include "fs/nodes/nodes_internal.h"
#include "fs/nodes/told.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <utlist.h>

#define INTERRUPT SIGUSR2
#define INTERRUPT_AGAIN_NS 5000000 /* the signal can come just before the wait */

/* -------------------------------------------------------------------------------- holds */

/* Of one handle, or with NULL of any. An open file's flock is of its handle: the kernel may give its owner's
 * number to another open file before the RELEASE comes. */
static struct fs_filelock *filelock_find_locked(struct fs_name *name, uint64_t owner,
                                                const struct fs_filelocks *list)
{
    struct fs_filelock *lock;

    DL_FOREACH(name->locks, lock)
        if (lock->owner == owner && (list == NULL || lock->list == list))
            return lock;
    return NULL;
}

static const struct fs_filelocks *filelock_scope(const struct kv_lock_range *range,
                                                 const struct fs_filelocks *list)
{
    return range->kind == KV_LOCK_FLOCK ? list : NULL;
}

static void filelock_free(struct fs *fs, struct fs_filelock *lock)
{
    if (lock->held != NULL)
        kv_lock_close(lock->held);
    fs_ledger_release(fs->users, lock->uid, FS_LOCKS, 1);
    fs_name_put(fs, lock->name);
    free(lock);
}

static void filelock_unref(struct fs *fs, struct fs_filelock *lock)
{
    bool last;

    pthread_mutex_lock(&fs->nodes->lock);
    last = --lock->refs == 0;
    pthread_mutex_unlock(&fs->nodes->lock);
    if (last)
        filelock_free(fs, lock);
}

static struct fs_filelock *filelock_find(struct fs *fs, struct fs_inode *inode, uint64_t owner,
                                         const struct fs_filelocks *scope)
{
    struct fs_filelock *lock;

    pthread_mutex_lock(&fs->nodes->lock);
    lock = filelock_find_locked(inode->name, owner, scope);
    if (lock != NULL)
        lock->refs++;
    pthread_mutex_unlock(&fs->nodes->lock);
    return lock;
}

static void filelock_attach_locked(struct fs_filelock *lock)
{
    DL_APPEND(lock->name->locks, lock);
    DL_APPEND2(lock->list->first, lock, handle_prev, handle_next);
    lock->attached = true;
}

/* A new hold of an owner; if another thread of the same owner made one meanwhile, that. */
static int filelock_new(struct fs *fs, struct fs_inode *inode, struct fs_filelocks *list, uint64_t owner,
                        uid_t uid, const struct fs_filelocks *scope, struct fs_filelock **out)
{
    struct fs_filelock *lock = calloc(1, sizeof(*lock)), *other;
    struct kv_ref ref;
    int rc;

    if (lock == NULL)
        return -ENOMEM;
    if (fs_ledger_charge(fs->users, uid, FS_LOCKS, 1, fs_limit_of(uid, FS_LOCKS_MAX)) < 0) {
        free(lock);
        return fs_because(-ENOLCK, "a user may have 1024 files locked: give some back");
    }
    *lock =
        (struct fs_filelock){.owner = owner, .name = fs_name_of(fs, inode), .list = list, .refs = 2, .uid = uid};
    ref = kv_ref_key(lock->name->node, lock->name->key, lock->name->size);
    rc = kv_lock_open(fs->store, &ref, &lock->held);
    if (rc < 0) {
        filelock_free(fs, lock);
        return rc;
    }
    pthread_mutex_lock(&fs->nodes->lock);
    other = filelock_find_locked(lock->name, owner, scope);
    if (other != NULL) {
        other->refs++;
    } else {
        filelock_attach_locked(lock);
    }
    pthread_mutex_unlock(&fs->nodes->lock);
    if (other != NULL)
        filelock_free(fs, lock);
    *out = other != NULL ? other : lock;
    return 0;
}

static int filelock_get(struct fs *fs, struct fs_inode *inode, struct fs_filelocks *list, uint64_t owner,
                        uid_t uid, const struct kv_lock_range *range, struct fs_filelock **out)
{
    const struct fs_filelocks *scope = filelock_scope(range, list);

    *out = filelock_find(fs, inode, owner, scope);
    return *out != NULL ? 0 : filelock_new(fs, inode, list, owner, uid, scope, out);
}

static void filelock_take_off_locked(struct fs_filelock *lock, struct fs_filelock **gone)
{
    DL_DELETE2(lock->list->first, lock, handle_prev, handle_next);
    DL_DELETE(lock->name->locks, lock);
    lock->attached = false;
    LL_PREPEND(*gone, lock);
}

static void filelocks_unref(struct fs *fs, struct fs_filelock *gone)
{
    struct fs_filelock *lock, *next;

    LL_FOREACH_SAFE(gone, lock, next) {
        const struct kv_lock_range all[] = {{KV_LOCK_FLOCK, F_UNLCK, 0, 0},
                                            {KV_LOCK_RANGE, F_UNLCK, 0, UINT64_MAX}};

        for (int i = 0; i < 2;
             i++) /* at once, though a call that was just answered may keep the hold a little longer */
            (void)!kv_lock_set(lock->held, &all[i], false);
        filelock_unref(fs, lock);
    }
}

/* Closing any descriptor of a file gives back what its owner has of it; a rename can have changed the inode's
 * name. */
static void filelocks_drop_owner(struct fs *fs, struct fs_inode *inode, struct fs_filelocks *list, uint64_t owner,
                                 const struct fs_filelocks *scope)
{
    struct fs_filelock *lock, *next, *gone = NULL;

    pthread_mutex_lock(&fs->nodes->lock);
    lock = filelock_find_locked(inode->name, owner, scope);
    if (lock != NULL)
        filelock_take_off_locked(lock, &gone);
    DL_FOREACH_SAFE2(list->first, lock, next, handle_next)
        if (lock->owner == owner)
            filelock_take_off_locked(lock, &gone);
    pthread_mutex_unlock(&fs->nodes->lock);
    filelocks_unref(fs, gone);
}

void fs_filelocks_drop_owner(struct fs *fs, struct fs_inode *inode, struct fs_filelocks *list, uint64_t owner)
{
    filelocks_drop_owner(fs, inode, list, owner, NULL);
}

void fs_filelocks_drop(struct fs *fs, struct fs_filelocks *list)
{
    struct fs_filelock *lock, *next, *gone = NULL;

    pthread_mutex_lock(&fs->nodes->lock);
    DL_FOREACH_SAFE2(list->first, lock, next, handle_next)
        filelock_take_off_locked(lock, &gone);
    pthread_mutex_unlock(&fs->nodes->lock);
    filelocks_unref(fs, gone);
}

/* -------------------------------------------------------------------------------- waits */

struct lock_wait {
    struct fs *fs;
    fuse_req_t req;
    struct fs_filelock *lock;
    struct kv_lock_range range;
    uid_t uid;        /* who is charged */
    uintptr_t number; /* not 0. Interrupts say it: they can come late, when another wait has the memory */
    pthread_t thread;
    bool begun;
    int end; /* 0; or that it is to end, with this answer */
    struct lock_wait *prev, *next;
};

enum { EVERY_WAIT = 0 };

static struct {
    pthread_mutex_t lock;
    struct lock_wait *first;
    size_t count;
    uintptr_t last_number;
} lock_waits = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* End a wait, or EVERY_WAIT, with this answer. The signal can come just before the system call, so it is sent until the
 * wait is over; one that has not begun will not begin. */
static void lock_waits_end(uintptr_t number, int rc)
{
    const struct timespec again = {.tv_nsec = INTERRUPT_AGAIN_NS};
    struct lock_wait *each;
    bool found = true;

    while (found) {
        found = false;
        pthread_mutex_lock(&lock_waits.lock);
        DL_FOREACH(lock_waits.first, each) {
            if (number != EVERY_WAIT && each->number != number)
                continue;
            each->end = rc;
            if (each->begun)
                pthread_kill(each->thread, INTERRUPT);
            found |= each->begun || number == EVERY_WAIT;
        }
        pthread_mutex_unlock(&lock_waits.lock);
        if (found)
            nanosleep(&again, NULL);
    }
}

static void lock_wait_interrupted(fuse_req_t req, void *arg)
{
    (void)req;
    lock_waits_end((uintptr_t)arg, -EINTR);
}

static void lock_reply(fuse_req_t req, struct fs_filelock *lock, const struct kv_lock_range *range, int rc)
{
    struct kv_lock_range undo = *range;

    undo.type = F_UNLCK;
    if (fuse_reply_err(req, -rc) != 0 && rc == 0) /* interrupted: whoever asked does not know that it has it */
        (void)!kv_lock_set(lock->held, &undo, false);
}

/* A wait has ended with the lock. Another thread can have given the owner's hold back meanwhile: it has it again. The
 * handle is there, as a request of it is under way. */
static void filelock_have(struct fs *fs, struct fs_filelock *lock)
{
    pthread_mutex_lock(&fs->nodes->lock);
    if (!lock->attached) {
        filelock_attach_locked(lock);
        lock->refs++;
    }
    pthread_mutex_unlock(&fs->nodes->lock);
}

/* returns  0; what it was to end with; else as kv_lock_set(). Nobody signals the thread any more. */
static int lock_wait_for(struct lock_wait *wait)
{
    int end, rc = 0;

    pthread_mutex_lock(&lock_waits.lock);
    wait->thread = pthread_self();
    while ((end = wait->end) == 0) {
        wait->begun = true;
        pthread_mutex_unlock(&lock_waits.lock);
        rc = kv_lock_set(wait->lock->held, &wait->range, true);
        pthread_mutex_lock(&lock_waits.lock);
        wait->begun = false;
        if (rc != -EINTR)
            break;
    }
    pthread_mutex_unlock(&lock_waits.lock);
    return end < 0 ? end : rc;
}

static void *lock_wait_run(void *arg)
{
    struct lock_wait *wait = arg;
    int rc = lock_wait_for(wait);

    if (rc == 0)
        filelock_have(wait->fs, wait->lock);
    lock_reply(wait->req, wait->lock, &wait->range, rc);
    filelock_unref(wait->fs, wait->lock);
    fs_ledger_release(wait->fs->users, wait->uid, FS_LOCK_WAITERS, 1);
    pthread_mutex_lock(&lock_waits.lock);
    DL_DELETE(lock_waits.first, wait);
    lock_waits.count--;
    pthread_mutex_unlock(&lock_waits.lock);
    free(wait);
    return NULL;
}

static void lock_wait_handler(int number) { (void)number; }

/* How many processes of a user may wait, while `count` do of all: no more than there is room for others then, so that
 * some users together do not keep out everybody else. */
static uint64_t lock_waits_limit(const struct fs *fs, uid_t uid, size_t count)
{
    size_t most = fs->options->io_uring ? FS_LOCK_WAITS_URING : FS_LOCK_WAITS;
    uint64_t room = most > count ? most - count : 0, limit = fs_limit_of(uid, FS_LOCK_WAITERS_MAX);

    return limit < room ? limit : room;
}

/* Wait in a thread of its own, which takes over the request and the reference to `lock`.
 * returns  0; -ENOLCK */
static int lock_wait_start(struct fs *fs, fuse_req_t req, struct fs_filelock *lock,
                           const struct kv_lock_range *range)
{
    const struct sigaction action = {.sa_handler = lock_wait_handler};
    struct lock_wait *wait = calloc(1, sizeof(*wait));
    uid_t uid = fuse_req_ctx(req)->uid;
    uintptr_t number = 0;
    pthread_t thread;

    if (wait == NULL)
        return -ENOLCK;
    pthread_mutex_lock(&lock_waits.lock);
    if (fs_ledger_charge(fs->users, uid, FS_LOCK_WAITERS, 1, lock_waits_limit(fs, uid, lock_waits.count)) == 0) {
        *wait = (struct lock_wait){.fs = fs, .req = req, .lock = lock, .range = *range, .uid = uid};
        number = wait->number = ++lock_waits.last_number;
        DL_APPEND(lock_waits.first, wait);
        lock_waits.count++;
    }
    pthread_mutex_unlock(&lock_waits.lock);
    if (number != 0) {
        sigaction(INTERRUPT, &action, NULL);
        fuse_req_interrupt_func(req, lock_wait_interrupted, (void *)number);
        if (pthread_create(&thread, NULL, lock_wait_run, wait) == 0) {
            pthread_detach(thread);
            return 0;
        }
        fuse_req_interrupt_func(req, NULL, NULL);
        pthread_mutex_lock(&lock_waits.lock);
        DL_DELETE(lock_waits.first, wait);
        lock_waits.count--;
        pthread_mutex_unlock(&lock_waits.lock);
        fs_ledger_release(fs->users, uid, FS_LOCK_WAITERS, 1);
    }
    free(wait);
    return fs_because(-ENOLCK, "too many processes wait for locks here, of the user (256) or of all: end some");
}

void fs_filelock_set(struct fs *fs, fuse_req_t req, struct fs_inode *inode, struct fs_filelocks *list,
                     uint64_t owner, const struct kv_lock_range *range, bool wait)
{
    uid_t uid = fuse_req_ctx(req)->uid;
    struct fs_filelock *lock = NULL;
    int rc = 0;

    if (range->type == F_UNLCK &&
        range->kind == KV_LOCK_FLOCK) /* an open file has one lock: its hold goes with it */
        filelocks_drop_owner(fs, inode, list, owner, list);
    else if (range->type == F_UNLCK)
        lock = filelock_find(fs, inode, owner, NULL); /* who has none gives none back */
    else
        rc = filelock_get(fs, inode, list, owner, uid, range, &lock);
    if (lock != NULL)
        rc = kv_lock_set(lock->held, range, false);
    if (rc == -EAGAIN && wait) {
        rc = lock_wait_start(fs, req, lock, range);
        if (rc == 0)
            return;
    }
    if (rc < 0)
        fs_note(fs, uid, inode, NULL, "lock", rc);
    if (lock == NULL) {
        fs_reply_error(req, rc);
        return;
    }
    lock_reply(req, lock, range, rc);
    filelock_unref(fs, lock);
}

int fs_filelock_test(struct fs *fs, struct fs_inode *inode, struct fs_filelocks *list, uint64_t owner, uid_t uid,
                     struct kv_lock_range *range)
{
    struct fs_filelock *lock;
    int rc = filelock_get(fs, inode, list, owner, uid, range, &lock);

    if (rc < 0)
        return rc;
    rc = kv_lock_test(lock->held, range);
    filelock_unref(fs, lock);
    return rc;
}

void fs_filelock_waits_end(void) { lock_waits_end(EVERY_WAIT, -ENOTCONN); }
