/* Locks of names, by files in STORE/locks/.
 *
 * A name that somebody has a kv_lock of has a file there. Each kv_lock has an open file description of its own on it,
 * and the kernel does the rest: locks of ranges are open file description locks, those of the whole file flock(2)'s.
 *
 *     byte  0 ................................. LAST | GUARD
 *           ranges that users lock                   | shared: the file is in use; exclusive: it is being removed
 *
 * Who opens a file takes the guard shared, and then looks whether the file still has a name: if not, it was removed
 * in between, and is opened anew. Who closes tries to make the guard exclusive; nobody else uses the file where
 * that succeeds, and it is removed. What a killed process leaves behind goes when the name is used
 * again, or when another process first uses the directory.
 *
 * Where there can be no file, a memfd stands in for it, of which each kv_lock opens a description of its own.
 */
#include "store/api/locks.h"

#include "store/api/store.h"
#include "store/base/owner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <uthash.h>
#include <xxhash.h>

#define DIRECTORY "locks"
#define GUARD (INT64_MAX - 1)
#define LAST (INT64_MAX - 2)
#define GUARD_TRIES 1000 /* a millisecond each: until who removes a file has done so */

enum { FILE_NAME = 16 + 1 + 32 + 1 };

struct locks_memory {
    char name[FILE_NAME];
    int fd;
    unsigned users;
    UT_hash_handle hh;
};

struct kv_lock {
    struct locks *locks;
    int fd;
    struct locks_memory *memory; /* NULL: a file */
    char name[FILE_NAME];
};

static void locks_name_file(const struct kv_ref *ref, char *out)
{
    XXH128_hash_t hash = XXH3_128bits(ref->key, ref->size);

    snprintf(out, FILE_NAME, "%016" PRIx64 "-%016" PRIx64 "%016" PRIx64, ref->node, (uint64_t)hash.high64,
             (uint64_t)hash.low64);
}

/* ----------------------------------------------------------------------- the guard */

/* returns  0; -EAGAIN others hold it, in a way that excludes this one */
static int locks_guard(int fd, short type)
{
    struct flock guard = {.l_type = type, .l_whence = SEEK_SET, .l_start = GUARD, .l_len = 1};

    return fcntl(fd, F_OFD_SETLK, &guard) == 0 ? 0 : -errno;
}

/* Take the guard of a file that was just opened. returns 0; -ESTALE it has been removed; -ENOLCK; -EIO */
static int locks_enter(int fd)
{
    const struct timespec nap = {.tv_nsec = 1000000};
    struct stat file;
    int rc = -EAGAIN;

    for (int tries = 0; rc == -EAGAIN && tries < GUARD_TRIES; tries++) {
        rc = locks_guard(fd, F_RDLCK);
        if (rc == -EAGAIN)
            nanosleep(&nap, NULL);
    }
    if (rc < 0)
        return rc == -EAGAIN ? -ENOLCK : rc;
    if (fstat(fd, &file) != 0)
        return -EIO;
    return file.st_nlink > 0 ? 0 : -ESTALE;
}

/* Remove a file that nobody else uses, and close it. The guard is let go of first: of two who leave at once neither
 * would be the last otherwise. */
static void locks_leave(int dir_fd, const char *name, int fd)
{
    struct stat file;

    if (locks_guard(fd, F_UNLCK) == 0 && locks_guard(fd, F_WRLCK) == 0 && fstat(fd, &file) == 0 &&
        file.st_nlink > 0)
        unlinkat(dir_fd, name, 0);
    close(fd);
}

/* ------------------------------------------------------------------- the directory */

/* What open(2) says, in the interface's words. */
static int locks_refused(int error)
{
    switch (error) {
    case EROFS:
    case EACCES:
    case EPERM:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOSPC:
        return -error;
    case EDQUOT:
        return -ENOSPC;
    default:
        return -EIO;
    }
}

static int locks_open_at(int dir_fd, const char *name, int flags)
{
    int fd = openat(dir_fd, name, flags | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0600), rc;

    if (fd < 0)
        return locks_refused(errno);
    rc = flags & O_CREAT ? owner_give(dir_fd, fd) : 0;
    if (rc == 0)
        return fd;
    close(fd);
    return locks_refused(-rc);
}

/* Remove what killed processes left behind. */
static void locks_sweep(int dir_fd)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;

    if (list == NULL) {
        if (fd >= 0)
            close(fd);
        return;
    }
    while ((entry = readdir(list)) != NULL) {
        int left = strlen(entry->d_name) == FILE_NAME - 1 ? locks_open_at(dir_fd, entry->d_name, 0) : -1;

        if (left >= 0)
            locks_leave(dir_fd, entry->d_name, left);
    }
    closedir(list);
}

/* STORE/locks, made where it is absent. returns a descriptor; negative errno */
static int locks_directory_locked(struct locks *locks)
{
    int fd;

    if (locks->dir_fd >= 0)
        return locks->dir_fd;
    if (locks->store_fd < 0)
        return -EROFS;
    fd = owner_open_directory(locks->store_fd, DIRECTORY, true);
    if (fd < 0)
        return locks_refused(-fd);
    locks->dir_fd = fd;
    locks_sweep(fd);
    return fd;
}

static int locks_open_file(struct kv_lock *lock)
{
    int fd, rc, dir_fd;

    pthread_mutex_lock(&lock->locks->lock);
    dir_fd = locks_directory_locked(lock->locks);
    pthread_mutex_unlock(&lock->locks->lock);
    if (dir_fd < 0)
        return dir_fd;
    do {
        fd = locks_open_at(dir_fd, lock->name, O_CREAT);
        if (fd < 0)
            return fd;
        rc = locks_enter(fd);
        if (rc < 0)
            close(fd);
    } while (rc == -ESTALE);
    if (rc == 0)
        lock->fd = fd;
    return rc;
}

/* ------------------------------------------------------------------- without a file */

static int locks_memory_new(const char *name, struct locks_memory **out)
{
    struct locks_memory *memory = calloc(1, sizeof(*memory));

    if (memory == NULL)
        return -ENOMEM;
    memcpy(memory->name, name, FILE_NAME);
    memory->fd = memfd_create("kvfs-lock", MFD_CLOEXEC);
    if (memory->fd < 0) {
        int rc = locks_refused(errno);

        free(memory);
        return rc;
    }
    *out = memory;
    return 0;
}

static void locks_memory_unref_locked(struct locks *locks, struct locks_memory *memory)
{
    if (--memory->users > 0)
        return;
    HASH_DEL(locks->memory, memory);
    close(memory->fd);
    free(memory);
}

static int locks_open_memory_locked(struct kv_lock *lock)
{
    struct locks *locks = lock->locks;
    struct locks_memory *memory;
    char path[32];
    int rc;

    HASH_FIND_STR(locks->memory, lock->name, memory);
    if (memory == NULL) {
        rc = locks_memory_new(lock->name, &memory);
        if (rc < 0)
            return rc;
        HASH_ADD_STR(locks->memory, name, memory);
    }
    memory->users++;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", memory->fd);
    lock->fd = open(path, O_RDWR | O_CLOEXEC);
    if (lock->fd < 0) {
        rc = locks_refused(errno);
        locks_memory_unref_locked(locks, memory);
        return rc;
    }
    lock->memory = memory;
    return 0;
}

/* -------------------------------------------------------------------- the interface */

static bool locks_is_read_only(int rc) { return rc == -EROFS || rc == -EACCES || rc == -EPERM; }

int kv_lock_open(struct kv_store *store, const struct kv_ref *ref, struct kv_lock **out)
{
    struct kv_lock *lock = calloc(1, sizeof(*lock));
    int rc;

    if (lock == NULL)
        return -ENOMEM;
    lock->locks = &store->locks;
    locks_name_file(ref, lock->name);
    rc = locks_open_file(lock);
    if (locks_is_read_only(rc)) {
        pthread_mutex_lock(&lock->locks->lock);
        rc = locks_open_memory_locked(lock);
        pthread_mutex_unlock(&lock->locks->lock);
    }
    if (rc < 0) {
        free(lock);
        return rc;
    }
    *out = lock;
    return 0;
}

/* What the kernel says, in the interface's words. */
static int locks_answer(int rc)
{
    if (rc == 0)
        return 0;
    return errno == EAGAIN || errno == EACCES                     ? -EAGAIN
           : errno == EINTR || errno == ENOLCK || errno == EINVAL ? -errno
           : errno == ENOMEM                                      ? -ENOLCK
                                                                  : -EIO;
}

static int locks_set_whole(int fd, int type, bool wait)
{
    int operation = type == F_RDLCK ? LOCK_SH : type == F_WRLCK ? LOCK_EX : LOCK_UN;

    return locks_answer(flock(fd, operation | (wait ? 0 : LOCK_NB)));
}

/* returns  0; -EINVAL no such range can be locked */
static int locks_range(const struct kv_lock_range *range, struct flock *out)
{
    uint64_t end = range->end < LAST ? range->end : LAST;

    if (range->start > end)
        return -EINVAL;
    *out = (struct flock){.l_type = (short)range->type,
                          .l_whence = SEEK_SET,
                          .l_start = (off_t)range->start,
                          .l_len = (off_t)(end - range->start + 1)};
    return 0;
}

int kv_lock_set(struct kv_lock *lock, const struct kv_lock_range *range, bool wait)
{
    struct flock flock;
    int rc;

    if (range->kind == KV_LOCK_FLOCK)
        return locks_set_whole(lock->fd, range->type, wait);
    rc = locks_range(range, &flock);
    return rc < 0 ? rc : locks_answer(fcntl(lock->fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &flock));
}

int kv_lock_test(struct kv_lock *lock, struct kv_lock_range *range)
{
    struct flock flock;
    int rc = locks_range(range, &flock);

    if (rc == 0)
        rc = locks_answer(fcntl(lock->fd, F_OFD_GETLK, &flock));
    if (rc < 0)
        return rc;
    range->type = flock.l_type;
    if (flock.l_type == F_UNLCK)
        return 0;
    range->start = (uint64_t)flock.l_start;
    range->end = flock.l_len == 0 ? INT64_MAX : (uint64_t)(flock.l_start + flock.l_len - 1);
    if (range->end >= LAST) /* the guard can have joined it */
        range->end = INT64_MAX;
    return 0;
}

void kv_lock_close(struct kv_lock *lock)
{
    struct locks *locks = lock->locks;

    if (lock->memory == NULL) {
        locks_leave(locks->dir_fd, lock->name, lock->fd);
    } else {
        close(lock->fd);
        pthread_mutex_lock(&locks->lock);
        locks_memory_unref_locked(locks, lock->memory);
        pthread_mutex_unlock(&locks->lock);
    }
    free(lock);
}

void locks_init(struct locks *locks, int store_fd)
{
    *locks = (struct locks){.store_fd = store_fd, .dir_fd = -1};
    pthread_mutex_init(&locks->lock, NULL);
}

void locks_destroy(struct locks *locks)
{
    if (locks->dir_fd >= 0)
        close(locks->dir_fd);
    pthread_mutex_destroy(&locks->lock);
}
