/* The right to write, which is waited for no longer than the caller says.
 *
 * LMDB's own lock of the writer waits without end, also for a process that is stopped. So it is taken only by
 * who holds this one: a robust mutex in STORE/writer, that all processes map, with the pid of its holder beside it.
 * A holder that dies leaves it to the next one, who makes a checkpoint before anything else (`heir`): what the dead one
 * wrote may not be on the disk, and its readers are gone. Who makes the file is the heir of all who wrote before.
 *
 * What all writers have to know before each commit stands beside the mutex, so that nobody has to ask the log for it:
 * which checkpoint is the newest, and whether a flush has failed. So does how much of the database somebody has looked
 * through who found it sound, for others who open it meanwhile.
 *
 * What the file holds means nothing to processes of another boot. So each process that has the file open holds a lock
 * on it (an open file description lock, shared); who gets that exclusively is alone, and makes the
 * mutex anew. `layout` is set last: without it whoever did so died half way, and it is done again. It comes first in
 * the file, so that another version, which has other fields behind it, finds it where it looks: versions that do not
 * mean the same by the file must not have it open at once, and the second one is refused.
 */
#include "store/base/clock.h"
#include "store/lmdb/lmdb_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WRITER_LAYOUT 0x6b767733u /* another one with each change of the struct, or of what a field means */
#define WRITER_NAP_NS 5000000     /* of who can only look now and then */
#define WRITER_TRIES 1000         /* a millisecond each, for who makes the mutex */

struct lmdb_writer {
    _Atomic uint32_t layout;
    pthread_mutex_t mutex;
    _Atomic pid_t holder; /* 0: none */
    atomic_bool heir;     /* a holder died, and no checkpoint was made since */
    atomic_bool failed;   /* a flush, of any process */
    _Atomic uint64_t checkpoint, checkpoint_seq, checkpoint_txn, checkpoint_volume; /* struct lmdb_checkpoint */
    _Atomic uint32_t checkpoints;                                                   /* counts them; a futex */
    _Atomic int64_t checkpoint_ns;                                                  /* CLOCK_BOOTTIME */
    _Atomic uint64_t sound;                                                         /* pages */
    _Atomic uint32_t told;                                                          /* counts commits; a futex */
    _Atomic uint32_t waiting; /* threads that wait for it, of all processes */
};

_Static_assert(sizeof(struct lmdb_writer) - sizeof(pthread_mutex_t) == 80 && WRITER_LAYOUT == 0x6b767733u,
               "with other fields comes another WRITER_LAYOUT");

static int writer_lock_file(int fd, short type)
{
    struct flock all = {.l_type = type, .l_whence = SEEK_SET};

    return fcntl(fd, F_OFD_SETLK, &all) == 0 ? 0 : -errno;
}

/* Bytes of the file's own, so that no write through the map meets a full disk. The layout goes with the first one. */
static int writer_clear(int fd)
{
    static const struct lmdb_writer nothing;
    ssize_t written = pwrite(fd, &nothing, sizeof(nothing), 0);

    if (written < 0)
        return -errno;
    return (size_t)written == sizeof(nothing) ? 0 : -ENOSPC;
}

static int writer_make(struct lmdb_writer *writer)
{
    pthread_mutexattr_t attr;
    int rc;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    rc = -pthread_mutex_init(&writer->mutex, &attr);
    pthread_mutexattr_destroy(&attr);
    atomic_store(&writer->heir, true);
    atomic_store(&writer->checkpoint_ns, clock_ns(CLOCK_BOOTTIME));
    if (rc == 0)
        atomic_store(&writer->layout, WRITER_LAYOUT);
    return rc;
}

/* Who only reads has no lock on the file, and may see it made anew, by another version, too. */
static bool writer_is_made(const struct lmdb_writer *writer)
{
    return atomic_load(&writer->layout) == WRITER_LAYOUT;
}

/* returns 0 and *out; -EAGAIN the file is too small */
static int writer_map(int fd, bool writable, struct lmdb_writer **out)
{
    struct stat file;
    void *map;

    if (fstat(fd, &file) != 0)
        return -errno;
    if ((size_t)file.st_size < sizeof(**out)) /* behind its end is SIGBUS */
        return -EAGAIN;
    map = mmap(NULL, sizeof(**out), PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);

    if (map == MAP_FAILED)
        return -errno;
    *out = map;
    return 0;
}

/* Alone: make the mutex. Else see whether it is made. returns 0 and *out; -EAGAIN not yet. *out is NULL on failure */
static int writer_enter(int fd, struct lmdb_writer **out)
{
    bool alone = writer_lock_file(fd, F_WRLCK) == 0;
    int rc = alone ? writer_clear(fd) : writer_lock_file(fd, F_RDLCK);

    if (rc == 0)
        rc = writer_map(fd, true, out);
    if (rc < 0)
        return rc;
    if (alone)
        rc = writer_make(*out);
    else if (!writer_is_made(*out))
        rc = -EAGAIN;
    if (rc == 0 && alone)
        rc = writer_lock_file(fd, F_RDLCK);
    if (rc < 0) {
        munmap(*out, sizeof(**out));
        *out = NULL;
    }
    return rc;
}

int lmdb_writer_open(struct lmdb *lmdb)
{
    const struct timespec nap = {.tv_nsec = 1000000};
    struct stat data, file;
    int rc = -EAGAIN;

    lmdb->process = getpid();
    if (fstat(lmdb->data_fd, &data) != 0)
        return -errno;
    /* Whoever may write the data may hold its lock. */
    lmdb->writer_fd =
        openat(lmdb->dir_fd, WRITER_FILE, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, data.st_mode & 0666);
    if (lmdb->writer_fd < 0)
        return -errno;
    (void)fchmod(lmdb->writer_fd, data.st_mode & 0666); /* whatever the umask is; only its owner can */
    if (fstat(lmdb->writer_fd, &file) != 0)
        return -errno;
    lmdb->writer_ino = file.st_ino;
    for (int tries = 0; rc == -EAGAIN && tries < WRITER_TRIES; tries++) {
        rc = writer_enter(lmdb->writer_fd, &lmdb->writer);
        if (rc == -EAGAIN) {
            (void)writer_lock_file(lmdb->writer_fd, F_UNLCK); /* so that somebody can be alone */
            nanosleep(&nap, NULL);
        }
    }
    lmdb->writer_counts = rc == 0;
    /* Of who had the store open before, and somebody who only reads it has kept it from being recovered since. */
    if (rc == 0 && log_has_failed(lmdb->log_fd))
        lmdb_writer_fail(lmdb);
    return rc == -EAGAIN ? -EBUSY : rc;
}

void lmdb_writer_close(struct lmdb *lmdb)
{
    if (lmdb->writer != NULL)
        munmap(lmdb->writer, sizeof(*lmdb->writer));
    if (lmdb->writer_fd >= 0)
        close(lmdb->writer_fd);
}

/* What a mutex answers. returns 0 it is this thread's; negative errno */
static int writer_answer(struct lmdb *lmdb, int rc)
{
    if (rc == EOWNERDEAD) {
        rc = pthread_mutex_consistent(&lmdb->writer->mutex);
        atomic_store(&lmdb->writer->checkpoint, 0); /* it may have died between writing one and telling it */
        atomic_store(&lmdb->writer->heir, true);
    }
    return rc == ENOTRECOVERABLE ? -EIO : -rc;
}

void lmdb_writer_look(struct lmdb *lmdb)
{
    bool writable;

    lmdb->writer_fd = openat(lmdb->dir_fd, WRITER_FILE, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    writable = lmdb->writer_fd >= 0;
    if (!writable)
        lmdb->writer_fd = openat(lmdb->dir_fd, WRITER_FILE, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (lmdb->writer_fd >= 0 && writer_map(lmdb->writer_fd, writable, &lmdb->writer) == 0)
        lmdb->writer_counts = writable;
}

void lmdb_writer_tell(struct lmdb *lmdb, bool own)
{
    struct lmdb_writer *writer = lmdb->writer;

    if (lmdb->writer_counts && writer_is_made(writer))
        atomic_fetch_add(&writer->told, 1);
    /* Who died while it waited is counted for ever: then others are woken in vain. */
    if (own || atomic_load(&writer->waiting) > atomic_load(&lmdb->waiting))
        syscall(SYS_futex, &writer->told, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

uint32_t lmdb_writer_told(const struct lmdb *lmdb)
{
    return lmdb->writer != NULL ? atomic_load(&lmdb->writer->told) : 0;
}

void lmdb_writer_wait(struct lmdb *lmdb, uint32_t told, int64_t timeout_ns)
{
    const struct timespec timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    const struct timespec nap = {.tv_nsec = WRITER_NAP_NS};

    if (!lmdb->writer_counts || !writer_is_made(lmdb->writer)) {
        nanosleep(timeout_ns < WRITER_NAP_NS ? &timeout : &nap, NULL);
        return;
    }
    atomic_fetch_add(&lmdb->waiting, 1);
    atomic_fetch_add(&lmdb->writer->waiting, 1);
    syscall(SYS_futex, &lmdb->writer->told, FUTEX_WAIT, told, &timeout, NULL, 0);
    atomic_fetch_sub(&lmdb->writer->waiting, 1);
    atomic_fetch_sub(&lmdb->waiting, 1);
}

bool lmdb_writer_is_heir(const struct lmdb *lmdb) { return atomic_load(&lmdb->writer->heir); }

void lmdb_writer_settle(struct lmdb *lmdb) { atomic_store(&lmdb->writer->heir, false); }

void lmdb_writer_fail(struct lmdb *lmdb)
{
    if (lmdb->writer != NULL && !lmdb->read_only)
        atomic_store(&lmdb->writer->failed, true);
}

bool lmdb_writer_has_failed(const struct lmdb *lmdb) { return atomic_load(&lmdb->writer->failed); }

void lmdb_writer_set_checkpoint(struct lmdb *lmdb, const struct lmdb_checkpoint *checkpoint)
{
    struct lmdb_writer *writer = lmdb->writer;

    atomic_store(&writer->checkpoint_volume, checkpoint->volume);
    atomic_store(&writer->checkpoint_txn, checkpoint->txn);
    atomic_store(&writer->checkpoint_seq, checkpoint->seq);
    atomic_store(&writer->checkpoint, checkpoint->number);
}

struct lmdb_checkpoint lmdb_writer_checkpoint(const struct lmdb *lmdb)
{
    const struct lmdb_writer *writer = lmdb->writer;

    return (struct lmdb_checkpoint){atomic_load(&writer->checkpoint), atomic_load(&writer->checkpoint_seq),
                                    atomic_load(&writer->checkpoint_txn), atomic_load(&writer->checkpoint_volume)};
}

void lmdb_writer_tell_checkpoint(struct lmdb *lmdb)
{
    atomic_store(&lmdb->writer->checkpoint_ns, clock_ns(CLOCK_BOOTTIME));
    atomic_fetch_add(&lmdb->writer->checkpoints, 1);
    syscall(SYS_futex, &lmdb->writer->checkpoints, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

uint32_t lmdb_writer_wait_checkpoint(struct lmdb *lmdb, uint32_t told)
{
    syscall(SYS_futex, &lmdb->writer->checkpoints, FUTEX_WAIT, told, NULL, NULL, 0);
    return atomic_load(&lmdb->writer->checkpoints);
}

void lmdb_writer_set_sound(struct lmdb *lmdb, uint64_t pages)
{
    if (lmdb->writer_counts && !lmdb->read_only && pages > lmdb_writer_sound(lmdb))
        atomic_store(&lmdb->writer->sound, pages);
}

/* Who only reads may have found a file that nobody uses any more. */
static bool writer_is_in_use(const struct lmdb *lmdb)
{
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (lmdb->writer == NULL || !writer_is_made(lmdb->writer))
        return false;
    return !lmdb->read_only || (fcntl(lmdb->writer_fd, F_OFD_GETLK, &all) == 0 && all.l_type != F_UNLCK);
}

uint64_t lmdb_writer_sound(const struct lmdb *lmdb)
{
    return writer_is_in_use(lmdb) ? atomic_load(&lmdb->writer->sound) : 0;
}

int64_t lmdb_writer_checkpoint_age_ms(const struct lmdb *lmdb)
{
    return writer_is_in_use(lmdb)
               ? (clock_ns(CLOCK_BOOTTIME) - atomic_load(&lmdb->writer->checkpoint_ns)) / 1000000
               : 0;
}

static _Thread_local const struct lmdb *writer_mine;

bool lmdb_writer_is_mine(const struct lmdb *lmdb) { return writer_mine == lmdb; }

int lmdb_writer_acquire(struct lmdb *lmdb, int64_t wait_ns)
{
    struct lmdb_writer *writer = lmdb->writer;
    struct timespec until;
    int rc = writer_answer(lmdb, pthread_mutex_trylock(&writer->mutex));

    if (rc == -EBUSY && wait_ns > 0) {
        until = clock_after_ns(wait_ns);
        rc = writer_answer(lmdb, pthread_mutex_clocklock(&writer->mutex, CLOCK_MONOTONIC, &until));
    }
    if (rc == 0) {
        pthread_mutex_lock(&lmdb->writing);
        atomic_store(&writer->holder, lmdb->process);
        writer_mine = lmdb;
    }
    return rc == -EBUSY ? -ETIMEDOUT : rc;
}

void lmdb_writer_release(struct lmdb *lmdb)
{
    writer_mine = NULL;
    atomic_store(&lmdb->writer->holder, 0);
    pthread_mutex_unlock(&lmdb->writing);
    pthread_mutex_unlock(&lmdb->writer->mutex);
}

/* A holder that died is none. Who only reads cannot try the mutex, and takes its word until somebody writes again. */
pid_t lmdb_writer_pid(struct lmdb *lmdb)
{
    struct lmdb_writer *writer = lmdb->writer;
    int rc;

    if (!writer_is_in_use(lmdb))
        return 0;
    if (lmdb->read_only)
        return atomic_load(&writer->holder);
    rc = writer_answer(lmdb, pthread_mutex_trylock(&writer->mutex));
    if (rc == 0) {
        atomic_store(&writer->holder, 0);
        pthread_mutex_unlock(&writer->mutex);
    }
    return rc == -EBUSY ? atomic_load(&writer->holder) : 0;
}
