/* Opening a store: its files, its lock, what is looked at before LMDB is trusted with it. */
#include "store/base/owner.h"
#include "store/lmdb/lmdb_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_TRIES 2000 /* of 5 ms: what a recovery of a full log may take, many times over */
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
/* The map is address space, neither memory nor disk. 1 TiB fits everywhere but under the thread
 * sanitizer (512 GiB) and valgrind (32 GiB); where it does not fit it is halved down to MAP_LEAST. */
#define MAP_DEFAULT (1024 * GIB)
#define MAP_LEAST (1 * GIB)
#define MAP_SMALLEST (4 * MIB) /* that a caller can ask for */
#define MAP_STEP 65536         /* a multiple of every page size */

/* Lock data.mdb, or lock it otherwise. returns 0; -EWOULDBLOCK another process has it locked */
int lmdb_lock_data(struct lmdb *lmdb, int how)
{
    int rc;

    do
        rc = flock(lmdb->data_fd, how | LOCK_NB) == 0 ? 0 : -errno;
    while (rc == -EINTR);
    return rc;
}

/* The map's size for a caller that leaves it to us. */
static uint64_t open_default_map(void)
{
    uint64_t size = MAP_DEFAULT;

    while (size > MAP_LEAST && !lmdb_map_fits(size))
        size /= 2;
    return size;
}

/* Is the database one that this program can use? */
static int open_check_environment(struct lmdb *lmdb, const char *dir, struct kv_error *error)
{
    struct stat theirs, lock;
    MDB_stat stat;
    int fd, rc = mdb_env_stat(lmdb->env, &stat);

    mdb_env_get_fd(lmdb->env, &fd);
    if (rc != 0)
        return lmdb_refuse_answer(error, dir, rc);
    if (fstat(fd, &theirs) != 0 || theirs.st_ino != lmdb->data_ino)
        return lmdb_refuse(error, -EIO, dir, "was replaced while it was opened: try again");
    if (mdb_env_get_maxkeysize(lmdb->env) < ENGINE_KEY_MAX)
        return lmdb_refuse(error, -EIO, dir, "this LMDB library is built for keys of %d bytes, %d are needed",
                           mdb_env_get_maxkeysize(lmdb->env), ENGINE_KEY_MAX);
    if (fstatat(lmdb->dir_fd, LOCK_FILE, &lock, AT_SYMLINK_NOFOLLOW) == 0)
        lmdb->lock_ino = lock.st_ino;
    lmdb->page_size = stat.ms_psize;
    lmdb_check_readers(lmdb);
    return 0;
}

/* Open a file of the store; for reading only where it cannot be written, if that suffices. returns a descriptor */
static int open_file(const struct lmdb *lmdb, const char *name)
{
    int fd = openat(lmdb->dir_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0 && lmdb->read_only && (errno == EACCES || errno == EROFS || errno == EPERM))
        fd = openat(lmdb->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

static int open_files(struct lmdb *lmdb, const char *dir, struct kv_error *error)
{
    struct stat data, log;

    lmdb->data_fd = open_file(lmdb, DATA_FILE);
    if (lmdb->data_fd < 0 || fstat(lmdb->data_fd, &data) != 0)
        return lmdb_refuse_answer(error, dir, lmdb->data_fd < 0 ? -lmdb->data_fd : errno);
    lmdb->data_ino = data.st_ino;
    lmdb->log_fd = open_file(lmdb, LOG_FILE);
    if (lmdb->log_fd == -ENOENT)
        return lmdb_refuse(error, -EIO, dir,
                           LOG_FILE " is missing, which belongs to " DATA_FILE ": restore both from a copy");
    if (lmdb->log_fd < 0 || fstat(lmdb->log_fd, &log) != 0)
        return lmdb_refuse_answer(error, dir, lmdb->log_fd < 0 ? -lmdb->log_fd : errno);
    lmdb->log_ino = log.st_ino;
    return 0;
}

/* Another file has become data.mdb while this process waited for the lock: the store was compacted. */
static int open_data_again(struct lmdb *lmdb)
{
    struct stat data;

    close(lmdb->data_fd);
    lmdb->data_fd = open_file(lmdb, DATA_FILE);
    if (lmdb->data_fd < 0 || fstat(lmdb->data_fd, &data) != 0)
        return lmdb->data_fd < 0 ? lmdb->data_fd : -errno;
    lmdb->data_ino = data.st_ino;
    return -EWOULDBLOCK;
}

/* Lock data.mdb as one of its users; recover the store where this is the only one. */
static int open_lock_and_recover(struct lmdb *lmdb, const char *dir, bool copied, struct kv_error *error)
{
    const struct timespec nap = {.tv_nsec = 5000000};
    int rc = -EWOULDBLOCK;

    for (int tries = 0; rc == -EWOULDBLOCK && tries < LOCK_TRIES; tries++) {
        if (tries > 0)
            nanosleep(&nap, NULL);
        rc = lmdb_lock_data(lmdb, LOCK_EX);
        if (rc == 0 && !lmdb_is_data(lmdb->dir_fd, lmdb->data_fd)) {
            rc = open_data_again(lmdb);
            continue;
        }
        if (rc == 0) {
            rc = lmdb_recover(lmdb, copied, error);
            if (rc < 0)
                return rc;
            if (!lmdb->read_only)
                (void)unlinkat(lmdb->dir_fd, NEW_FILE,
                               0); /* of who was cut off: nobody makes one under this lock */
        }
        if (rc == 0 || rc == -EWOULDBLOCK) /* there may be a moment without any lock between the two */
            rc = lmdb_lock_data(lmdb, LOCK_SH);
        if (rc == 0 && log_slot_read(lmdb->log_fd, &lmdb->slot) < 0)
            return lmdb_refuse(error, -EIO, dir, LOG_FILE " is damaged: restore the store from a copy");
        if (rc == 0 && (rc = lmdb_check_header(lmdb->data_fd, dir, error)) < 0)
            return rc;
    }
    if (rc == -EWOULDBLOCK)
        return lmdb_refuse(error, -EBUSY, dir,
                           "being recovered, repaired or compacted just now: try again when that is done");
    return rc < 0 ? lmdb_refuse_answer(error, dir, -rc) : 0;
}

/* Where somebody else writes just now, this process looks after the space before its first change. */
static int open_prepare_to_write(struct lmdb *lmdb)
{
    struct lmdb_txn *txn;
    int rc = lmdb_writer_open(lmdb);

    if (rc == 0)
        rc = owner_give(lmdb->dir_fd, lmdb->writer_fd);
    if (rc < 0)
        return rc;
    rc = lmdb_writer_acquire(lmdb, 0);
    if (rc < 0)
        return rc == -ETIMEDOUT ? 0 : rc;
    rc = lmdb_txn_begin(lmdb, true, &txn);
    if (rc == 0) {
        lmdb_space_allocate(lmdb);
        lmdb_txn_abort(txn);
    }
    lmdb_writer_release(lmdb);
    return rc;
}

static struct lmdb *lmdb_new(const struct lmdb_options *options)
{
    struct lmdb *lmdb = calloc(1, sizeof(*lmdb));

    if (lmdb == NULL)
        return NULL;
    lmdb->base.ops = &lmdb_ops;
    lmdb->dir_fd = lmdb->data_fd = lmdb->log_fd = lmdb->writer_fd = -1;
    lmdb->read_only = options->read_only;
    if (getrandom(&lmdb->origin, sizeof(lmdb->origin), 0) != (ssize_t)sizeof(lmdb->origin)) {
        free(lmdb);
        return NULL;
    }
    lmdb->limit = options->map_bytes == 0             ? open_default_map()
                  : options->map_bytes < MAP_SMALLEST ? MAP_SMALLEST
                                                      : options->map_bytes;
    lmdb->limit -= lmdb->limit % MAP_STEP;
    pthread_mutex_init(&lmdb->lock, NULL);
    pthread_mutex_init(&lmdb->writing, NULL);
    pthread_mutex_init(&lmdb->flush_lock, NULL);
    pthread_cond_init(&lmdb->none_open, NULL);
    return lmdb;
}

static int lmdb_open(struct lmdb *lmdb, const char *dir, const struct lmdb_options *options,
                     struct kv_error *error)
{
    int rc;

    lmdb->dir_fd = lmdb_directory(dir, options, error);
    if (lmdb->dir_fd < 0)
        return lmdb->dir_fd;
    lmdb->dir = realpath(dir, NULL);
    if (lmdb->dir == NULL)
        return lmdb_refuse_answer(error, dir, errno);
    if (!lmdb_map_fits(lmdb->limit))
        return lmdb_refuse_answer(error, dir, ENOMEM);
    rc = open_files(lmdb, dir, error);
    if (rc == 0)
        rc = open_lock_and_recover(lmdb, dir, options->copied, error);
    if (rc == 0)
        rc = lmdb_open_environment(lmdb, dir, error);
    if (rc == 0)
        rc = open_check_environment(lmdb, dir, error);
    if (rc == 0)
        rc = lmdb_open_tables(lmdb, dir, error);
    if (rc < 0)
        return rc;
    lmdb->ring = lmdb->slot.ring;
    lmdb_space_choose(lmdb);
    rc = lmdb_widen_map(lmdb);
    if (lmdb->read_only)
        lmdb_writer_look(lmdb);
    else if (rc == 0)
        rc = open_prepare_to_write(lmdb);
    return rc < 0 ? lmdb_refuse_answer(error, dir, -rc) : 0;
}

static void open_close_file(int fd)
{
    if (fd >= 0)
        close(fd);
}

void lmdb_close(struct engine *engine)
{
    struct lmdb *lmdb = (struct lmdb *)engine;

    /* Where somebody else writes just now, who comes next recovers the store, or has no need to. */
    lmdb_pin_end(lmdb);
    if (lmdb_is_pinned(lmdb))
        (void)!lmdb_rest(engine);
    lmdb_close_environment(lmdb);
    lmdb_writer_close(lmdb);
    open_close_file(lmdb->log_fd);
    open_close_file(lmdb->data_fd);
    if (lmdb->dir_fd >= 0)
        lmdb_directory_close(lmdb->dir_fd);
    pthread_cond_destroy(&lmdb->none_open);
    pthread_mutex_destroy(&lmdb->lock);
    pthread_mutex_destroy(&lmdb->flush_lock);
    pthread_mutex_destroy(&lmdb->writing);
    free(lmdb->changes.bytes);
    free(lmdb->dir);
    free(lmdb);
}

int engine_lmdb_open(const char *dir, const struct lmdb_options *options, struct engine **out,
                     struct kv_error *error)
{
    struct lmdb *lmdb = lmdb_new(options);
    int rc = lmdb == NULL ? lmdb_refuse_answer(error, dir, ENOMEM) : lmdb_open(lmdb, dir, options, error);

    if (rc == 0)
        *out = &lmdb->base;
    else if (lmdb != NULL)
        lmdb_close(&lmdb->base);
    return rc;
}
