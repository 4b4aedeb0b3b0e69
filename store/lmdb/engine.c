/* The LMDB engine: a directory with data.mdb and lock.mdb.
 *
 * Transactions
 *   Each commit flushes data, then the header: LMDB's default durability. With MDB_NOTLS a read
 *   transaction belongs to no thread; ended ones are reset and kept in `idle`, where they keep their
 *   slot in lock.mdb, so that the next begin only renews one. Slots of dead processes are freed at
 *   open, every READER_CHECK_S seconds by whoever begins a write, and when the table (LMDB_READERS_MAX,
 *   for all processes together) is full; if that frees none, begin answers -ETIMEDOUT.
 *
 *   `open_txns` counts what may look at the map. Where another process has a larger map and uses it,
 *   begin meets MDB_MAP_RESIZED, waits until nothing is open in this process, and maps anew.
 *
 * Failures of the disk
 *   A commit writes its pages, flushes them, and writes one of the two headers through to the disk. Where the pages
 *   cannot be written or flushed, the last header still counts. The kernel may have dropped pages whose flush failed
 *   and call them clean from then on, so that no later flush tells; but nothing relies on those: the pages of the last
 *   state were flushed before its header was written, and the next commit writes all of its own again.
 *
 *   Where the header cannot be written, LMDB writes the old one back and refuses to go on (MDB_PANIC). Which of the two
 *   the file has then, and which the disk, is open, but both states are whole. begin meets MDB_PANIC, waits until
 *   nothing is open in this process, and opens the environment anew, with what the file has. Before the next commit
 *   builds on that (and takes the pages that it does not use any more) the headers are written and flushed again.
 *
 * Space (space.c)
 *   LMDB never writes a page that the last commit uses: whoever changes a page, also by deleting from
 *   it, needs another one first. It takes that from the free list, whose pages are usable from the
 *   second commit after the one that freed them, or else from the end:
 *
 *     0 ......... used pages and free list ......... last |....... tail .......| end
 *                                                         |-- growth --|-reserve-|
 *
 *   `end` is where the map or the disk ends. The file is extended ahead (fallocate), so that everything
 *   before `allocated` can be written when the disk is full; where more cannot be had, the tail ends
 *   there. The last `reserve` bytes of the tail are for changes that do not grow the store. So:
 *   - room() accepts growth that fits the tail above the reserve, without asking the free list;
 *   - else it counts the free list (once per transaction). Large records need runs of adjacent pages, so
 *     these must fit long enough runs and what the tail has above the reserve: told no, the store asks again for
 *     smaller records, down to a page each. And all growth must leave free pages and tail of the reserve's
 *     size together. Three quarters of it do once something was committed after a refusal: what `rm` gave back
 *     shall not be refused for a few copied pages;
 *   - when the end is near and the last commit freed pages, begin(write) makes an empty commit first:
 *     so what `rm` gave back can be used by the very next put.
 *   The file always covers the pages that its header counts; one that is shorter was cut off.
 *   This does not hold on filesystems that copy on write (btrfs): there a full disk can refuse deletes.
 *
 * Locks: the right to write (writer.c), then LMDB's writer lock, then `lock`. The struct says which guards
 * what. Between processes: whoever has the
 * store open holds flock() on data.mdb, shared, or exclusive once it has claimed the store for itself.
 *
 * A process opens a directory once, after its last fork: closing a second environment would drop the
 * locks of the first.
 */
#include "store/lmdb/lmdb_internal.h"

#include "store/base/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    IDLE_MAX = 32, /* read transactions kept for the next begin */
    READER_CHECK_S = 30,
    UNUSED_WAIT_S = 10 /* for the transactions of this process to end */
};

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
/* The map is address space, neither memory nor disk. 1 TiB fits everywhere but under the thread
 * sanitizer (512 GiB) and valgrind (32 GiB); where it does not fit it is halved down to MAP_LEAST. */
#define MAP_DEFAULT (1024 * GIB)
#define MAP_LEAST (1 * GIB)
#define MAP_SMALLEST (4 * MIB) /* that a caller can ask for */
#define MAP_STEP 65536         /* a multiple of every page size */

static struct lmdb *lmdb_of(struct engine *engine) { return (struct lmdb *)engine; }
static struct lmdb_txn *txn_of(struct engine_txn *txn) { return (struct lmdb_txn *)txn; }

int lmdb_errno(int rc)
{
    switch (rc) {
    case MDB_SUCCESS:
        return 0;
    case MDB_NOTFOUND:
        return -ENOENT;
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
    case EDQUOT: /* of the disk: an account's limits are not known here */
    case EFBIG:
        return -ENOSPC;
    case MDB_READERS_FULL:
        return -ETIMEDOUT;
    case MDB_BAD_VALSIZE:
        return -EINVAL;
    default:
        return rc > 0 ? -rc : -EIO;
    }
}

/* ---------------------------------------------------------------------------- the map */

bool lmdb_map_fits(uint64_t size)
{
    void *probe = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (probe == MAP_FAILED)
        return false;
    munmap(probe, size);
    return true;
}

/* Make the map hold what is used and what deletes need. No transaction may be open. LMDB cannot go on
 * after a mapping that failed, so it is tried beside the old one first. */
static int widen_map(struct lmdb *lmdb)
{
    MDB_envinfo info;
    uint64_t used, size;

    mdb_env_info(lmdb->env, &info);
    used = lmdb_used(lmdb);
    if (info.me_mapsize >= used + 2 * lmdb->reserve)
        return 0;
    size = used + used / 4 + 4 * lmdb->reserve;
    size -= size % lmdb->page_size;
    if (!lmdb_map_fits(size))
        return -ENOMEM;
    return lmdb_errno(mdb_env_set_mapsize(lmdb->env, size));
}

/* Wait until nothing is open in this process. The lock is held. returns 0; -ETIMEDOUT */
static int wait_until_unused(struct lmdb *lmdb)
{
    struct timespec deadline;
    int rc = 0;

    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += UNUSED_WAIT_S;
    while (rc == 0 && lmdb->open_txns > 0)
        rc = -pthread_cond_timedwait(&lmdb->none_open, &lmdb->lock, &deadline);
    return rc;
}

/* Another process has made the file larger than this one's map. */
static int follow_growth(struct lmdb *lmdb)
{
    int rc;

    pthread_mutex_lock(&lmdb->lock);
    rc = wait_until_unused(lmdb);
    if (rc == 0)
        rc = widen_map(lmdb);
    pthread_mutex_unlock(&lmdb->lock);
    return rc;
}

/* ----------------------------------------------------------------------- transactions */

/* Count a transaction in. returns a reset one where there is one and the caller wants it, else NULL */
static struct lmdb_txn *enter(struct lmdb *lmdb, bool want_idle)
{
    struct lmdb_txn *txn = NULL;

    pthread_mutex_lock(&lmdb->lock);
    lmdb->open_txns++;
    if (want_idle && lmdb->idle != NULL) {
        txn = lmdb->idle;
        lmdb->idle = txn->next_idle;
        lmdb->idle_count--;
    }
    pthread_mutex_unlock(&lmdb->lock);
    return txn;
}

/* Count a transaction out. returns true where it keeps the one that was reset (which may be NULL) */
static bool leave(struct lmdb *lmdb, struct lmdb_txn *reset)
{
    bool keep;

    pthread_mutex_lock(&lmdb->lock);
    if (--lmdb->open_txns == 0)
        pthread_cond_broadcast(&lmdb->none_open);
    keep = reset != NULL && lmdb->idle_count < IDLE_MAX;
    if (keep) {
        reset->next_idle = lmdb->idle;
        lmdb->idle = reset;
        lmdb->idle_count++;
    }
    pthread_mutex_unlock(&lmdb->lock);
    return keep;
}

static void free_txn(struct lmdb_txn *txn)
{
    if (txn->mdb != NULL)
        mdb_txn_abort(txn->mdb);
    free(txn);
}

/* ------------------------------------------------------------------- the environment */

static int open_environment(struct lmdb *lmdb, const char *dir, struct kv_error *error)
{
    unsigned flags = MDB_NOTLS | (lmdb->read_only ? MDB_RDONLY : 0);
    struct owner_rights rights;
    char path[LMDB_PATH_SIZE];
    int rc = lmdb_allocate_lock(lmdb->dir_fd, dir, lmdb->read_only, error);

    if (rc < 0)
        return rc;
    rc = -owner_begin(lmdb->dir_fd, &rights);
    if (rc != 0)
        return lmdb_refuse_answer(error, dir, rc);
    rc = mdb_env_create(&lmdb->env);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(lmdb->env, ENGINE_TABLES);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(lmdb->env, LMDB_READERS_MAX);
    if (rc == 0)
        rc = mdb_env_set_mapsize(lmdb->env, lmdb->limit);
    if (rc == 0)
        rc = mdb_env_open(lmdb->env, lmdb_path(lmdb->dir_fd, "", path), flags, 0600);
    owner_end(&rights);
    if (rc == 0)
        rc = lmdb_guard(lmdb->env);
    return rc == 0 ? 0 : lmdb_refuse_answer(error, dir, rc);
}

/* Open tables that are there. returns 0; -ENOTEMPTY the database is somebody else's */
static int open_tables(struct lmdb *lmdb, const char *dir, struct kv_error *error)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, &txn);

    if (rc != 0)
        return lmdb_refuse_answer(error, dir, rc);
    for (int i = 0; rc == 0 && i < ENGINE_TABLES; i++)
        rc = lmdb_guarded_open(txn, lmdb_table_names[i], &lmdb->tables[i]);
    if (rc == 0)
        rc = mdb_txn_commit(txn);
    else
        mdb_txn_abort(txn);
    if (rc == MDB_NOTFOUND || rc == MDB_INCOMPATIBLE)
        return lmdb_refuse(
            error, -ENOTEMPTY, dir,
            "holds the database of another program, or a damaged one: choose another directory, or restore "
            "the store from a copy");
    return rc == 0 ? 0 : lmdb_refuse_answer(error, dir, rc);
}

/* Close the environment, which may be none. No transaction may be open. */
static void close_environment(struct lmdb *lmdb)
{
    struct lmdb_txn *txn;

    while ((txn = lmdb->idle) != NULL) {
        lmdb->idle = txn->next_idle;
        free_txn(txn);
    }
    lmdb->idle_count = 0;
    if (lmdb->env != NULL)
        mdb_env_close(lmdb->env);
    lmdb->env = NULL;
}

/* Begin met this environment, of which LMDB says that it can only be closed. Where the new one cannot be opened the
 * next begin tries again. returns 0; -EIO; -ETIMEDOUT */
static int reopen(struct lmdb *lmdb, const MDB_env *broken)
{
    struct kv_error error;
    int rc;

    pthread_mutex_lock(&lmdb->lock);
    rc = wait_until_unused(lmdb);
    if (rc == 0 && lmdb->env == broken) {
        close_environment(lmdb);
        lmdb->header_unsure = true;
        if (!lmdb_is_data(lmdb->dir_fd, lmdb->data_fd) || open_environment(lmdb, lmdb->dir, &error) < 0 ||
            open_tables(lmdb, lmdb->dir, &error) < 0 || widen_map(lmdb) < 0) {
            close_environment(lmdb);
            rc = -EIO;
        }
    }
    pthread_mutex_unlock(&lmdb->lock);
    return rc;
}

/* Write both headers as the file has them now, and flush them. LMDB's writer lock is held. */
static int settle_header(struct lmdb *lmdb)
{
    size_t size = 2 * lmdb->page_size;
    uint8_t *bytes = malloc(size);
    int rc = bytes == NULL ? -ENOMEM : 0;

    if (rc == 0 && (pread(lmdb->data_fd, bytes, size, 0) != (ssize_t)size ||
                    pwrite(lmdb->data_fd, bytes, size, 0) != (ssize_t)size || fdatasync(lmdb->data_fd) != 0))
        rc = -EIO;
    free(bytes);
    lmdb->header_unsure = rc < 0;
    return rc;
}

/* ------------------------------------------------------------- begin, abort and commit */

/* The id of the transaction that the newest header is of. */
static size_t newest(const struct lmdb *lmdb)
{
    MDB_envinfo info;

    mdb_env_info(lmdb->env, &info);
    return info.me_last_txnid;
}

/* LMDB keeps two headers in turn. A reader that is held up between choosing one and copying it can get that
 * of a commit under way, two commits later: a state that is not durable yet, and, where the copy met the
 * writing, none at all. Then the newest header is two ahead of what was chosen. */
static bool was_overtaken(const struct lmdb_txn *txn) { return newest(txn->lmdb) > mdb_txn_id(txn->mdb) + 1; }

/* Begin or, where txn->mdb is set, renew. The transaction is counted in, and stays so whatever is answered. */
static int begin_any(struct lmdb_txn *txn)
{
    struct lmdb *lmdb = txn->lmdb;
    bool readers_checked = false;

    for (;;) {
        int rc;

        if (lmdb->env == NULL)
            rc = MDB_PANIC;
        else if (txn->mdb != NULL)
            rc = mdb_txn_renew(txn->mdb);
        else
            rc = mdb_txn_begin(lmdb->env, NULL, txn->write ? 0 : MDB_RDONLY, &txn->mdb);
        if (rc == 0 && !txn->write && was_overtaken(txn)) {
            mdb_txn_reset(txn->mdb);
        } else if (rc == MDB_MAP_RESIZED) {
            leave(lmdb, NULL);
            rc = follow_growth(lmdb);
            enter(lmdb, false);
            if (rc < 0)
                return rc;
        } else if (rc == MDB_PANIC) {
            const MDB_env *broken = lmdb->env;

            mdb_txn_abort(txn->mdb);
            txn->mdb = NULL;
            leave(lmdb, NULL);
            rc = reopen(lmdb, broken);
            enter(lmdb, false);
            if (rc < 0)
                return rc;
        } else if (rc == MDB_READERS_FULL && !readers_checked) {
            readers_checked = true;
            rc = mdb_reader_check(lmdb->env, NULL);
            if (rc != 0)
                return lmdb_errno(rc);
        } else {
            return lmdb_errno(rc);
        }
    }
}

static int begin_mdb(struct lmdb_txn *txn)
{
    int rc = begin_any(txn);

    if (rc == 0 && txn->write && txn->lmdb->header_unsure) {
        rc = settle_header(txn->lmdb);
        if (rc < 0) {
            mdb_txn_abort(txn->mdb);
            txn->mdb = NULL;
        }
    }
    return rc;
}

int lmdb_txn_begin(struct lmdb *lmdb, bool write, struct lmdb_txn **out)
{
    struct lmdb_txn *txn = enter(lmdb, !write);
    int rc;

    if (txn == NULL) {
        txn = calloc(1, sizeof(*txn));
        if (txn == NULL) {
            leave(lmdb, NULL);
            return -ENOMEM;
        }
        txn->base.ops = lmdb->base.ops;
        txn->lmdb = lmdb;
        txn->write = write;
    }
    rc = begin_mdb(txn);
    if (rc < 0) {
        free_txn(txn);
        leave(lmdb, NULL);
        return rc;
    }
    *out = txn;
    return 0;
}

int lmdb_txn_again(struct lmdb_txn *txn) { return begin_mdb(txn); }

void lmdb_txn_abort(struct lmdb_txn *txn)
{
    struct lmdb *lmdb = txn->lmdb;

    if (txn->write) {
        free_txn(txn);
        leave(lmdb, NULL);
        return;
    }
    mdb_txn_reset(txn->mdb);
    if (!leave(lmdb, txn))
        free_txn(txn);
}

/* Free the slots of dead readers, now and then: they would pin what was freed since. */
static void check_readers(struct lmdb *lmdb)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec - lmdb->readers_checked_s < READER_CHECK_S)
        return;
    lmdb->readers_checked_s = now.tv_sec;
    mdb_reader_check(lmdb->env, NULL);
}

static int lmdb_begin(struct engine *engine, bool write, struct engine_txn **out)
{
    struct lmdb *lmdb = lmdb_of(engine);
    struct lmdb_txn *txn;
    int rc = write && lmdb->read_only ? -EROFS : lmdb_txn_begin(lmdb, write, &txn);

    if (rc < 0)
        return rc;
    if (write) {
        check_readers(lmdb);
        rc = lmdb_space_begin(txn);
        if (rc < 0) {
            lmdb_txn_abort(txn);
            return rc;
        }
    }
    *out = &txn->base;
    return 0;
}

static void lmdb_abort(struct engine_txn *txn) { lmdb_txn_abort(txn_of(txn)); }

static int lmdb_commit(struct engine_txn *base)
{
    struct lmdb_txn *txn = txn_of(base);
    int rc = !txn->write ? -EINVAL : txn->failed;

    if (rc == 0) {
        size_t id = mdb_txn_id(txn->mdb);

        rc = lmdb_errno(mdb_txn_commit(txn->mdb));
        txn->mdb = NULL;
        /* LMDB calls a short write an I/O error. */
        if (rc == -EIO && lmdb_disk_full(txn->lmdb))
            rc = -ENOSPC;
        if (rc == -ENOSPC && newest(txn->lmdb) >= id) /* it is kept */
            rc = -EIO;
    }
    lmdb_txn_abort(txn);
    return rc;
}

/* ------------------------------------------------------------------------- records */

static MDB_val val_of(struct slice slice) { return (MDB_val){slice.size, (void *)slice.data}; }

/* May a call with this key be made? */
static int check(const struct lmdb_txn *txn, bool write, struct slice key)
{
    if (txn->failed < 0)
        return txn->failed;
    if ((write && !txn->write) || key.size == 0 || key.size > ENGINE_KEY_MAX)
        return -EINVAL;
    return 0;
}

static int lmdb_get(struct engine_txn *base, enum engine_table table, struct slice key, struct slice *out)
{
    struct lmdb_txn *txn = txn_of(base);
    MDB_val name = val_of(key), value;
    int rc = check(txn, false, key);

    if (rc == 0)
        rc = lmdb_errno(lmdb_guarded_get(txn->mdb, txn->lmdb->tables[table], &name, &value));
    if (rc == 0)
        *out = slice_of(value.mv_data, value.mv_size);
    return rc;
}

static int lmdb_scan(struct engine_txn *base, enum engine_table table, struct slice from, engine_visit *visit,
                     void *arg)
{
    struct lmdb_txn *txn = txn_of(base);
    MDB_val key = val_of(from), value;
    MDB_cursor *cursor;
    int rc, answer = 0;

    if (txn->failed < 0)
        return txn->failed;
    if (from.size > ENGINE_KEY_MAX)
        return -EINVAL;
    rc = lmdb_errno(mdb_cursor_open(txn->mdb, txn->lmdb->tables[table], &cursor));
    if (rc < 0)
        return rc;
    rc = lmdb_errno(lmdb_guarded_step(cursor, &key, &value, from.size > 0 ? MDB_SET_RANGE : MDB_FIRST));
    while (rc == 0) {
        answer = visit(arg, slice_of(key.mv_data, key.mv_size), slice_of(value.mv_data, value.mv_size));
        if (answer != 0)
            break;
        rc = lmdb_errno(lmdb_guarded_step(cursor, &key, &value, MDB_NEXT));
    }
    mdb_cursor_close(cursor);
    return rc < 0 && rc != -ENOENT ? rc : answer;
}

static int lmdb_put(struct engine_txn *base, enum engine_table table, struct slice key, struct slice value)
{
    struct lmdb_txn *txn = txn_of(base);
    MDB_val name = val_of(key), bytes = val_of(value);
    int rc = check(txn, true, key);

    if (rc < 0)
        return rc;
    rc = lmdb_errno(mdb_put(txn->mdb, txn->lmdb->tables[table], &name, &bytes, 0));
    txn->failed = rc;
    lmdb_space_put(txn, table, key, value.size);
    return rc;
}

static int lmdb_del(struct engine_txn *base, enum engine_table table, struct slice key)
{
    struct lmdb_txn *txn = txn_of(base);
    MDB_val name = val_of(key);
    int rc = check(txn, true, key);

    if (rc < 0)
        return rc;
    rc = lmdb_errno(mdb_del(txn->mdb, txn->lmdb->tables[table], &name, NULL));
    if (rc != -ENOENT)
        txn->failed = rc;
    lmdb_space_del(txn, table, key);
    return rc;
}

static int lmdb_room(struct engine_txn *base, uint64_t bytes, size_t part)
{
    struct lmdb_txn *txn = txn_of(base);

    if (txn->failed < 0)
        return txn->failed;
    return txn->write ? lmdb_space_room(txn, bytes, part) : -EINVAL;
}

static void lmdb_usage(struct engine *engine, uint64_t *used, uint64_t *limit)
{
    struct lmdb *lmdb = lmdb_of(engine);

    enter(lmdb, false); /* the map must stay where it is */
    *used = lmdb->env != NULL ? lmdb_used(lmdb) : 0;
    *limit = lmdb->env != NULL ? lmdb->limit : 0;
    leave(lmdb, NULL);
}

/* Lock data.mdb, or lock it otherwise. returns 0; -EWOULDBLOCK another process has it locked */
static int lock_data(struct lmdb *lmdb, int how)
{
    int rc;

    do
        rc = flock(lmdb->data_fd, how | LOCK_NB) == 0 ? 0 : -errno;
    while (rc == -EINTR);
    return rc;
}

static int lmdb_acquire(struct engine *engine, int64_t wait_ns)
{
    struct lmdb *lmdb = lmdb_of(engine);

    return lmdb->read_only ? -EROFS : lmdb_writer_acquire(lmdb, wait_ns);
}

static void lmdb_release(struct engine *engine) { lmdb_writer_release(lmdb_of(engine)); }

static pid_t lmdb_writer(struct engine *engine) { return lmdb_writer_pid(lmdb_of(engine)); }

static int lmdb_claim(struct engine *engine)
{
    int rc = lock_data(lmdb_of(engine), LOCK_EX);

    return rc == -EWOULDBLOCK ? -EBUSY : rc;
}

static void lmdb_close(struct engine *engine)
{
    struct lmdb *lmdb = lmdb_of(engine);

    close_environment(lmdb);
    lmdb_writer_close(lmdb);
    if (lmdb->data_fd >= 0)
        close(lmdb->data_fd);
    lmdb_directory_close(lmdb->dir_fd);
    pthread_cond_destroy(&lmdb->none_open);
    pthread_mutex_destroy(&lmdb->lock);
    free(lmdb->dir);
    free(lmdb);
}

static const struct engine_ops lmdb_ops = {
    .name = "lmdb",
    .close = lmdb_close,
    .begin = lmdb_begin,
    .commit = lmdb_commit,
    .abort = lmdb_abort,
    .get = lmdb_get,
    .scan = lmdb_scan,
    .put = lmdb_put,
    .del = lmdb_del,
    .room = lmdb_room,
    .usage = lmdb_usage,
    .acquire = lmdb_acquire,
    .release = lmdb_release,
    .writer = lmdb_writer,
    .claim = lmdb_claim,
    .verify = lmdb_verify,
};

/* --------------------------------------------------------------------------- opening */

/* The map's size for a caller that leaves it to us. */
static uint64_t default_map(void)
{
    uint64_t size = MAP_DEFAULT;

    while (size > MAP_LEAST && !lmdb_map_fits(size))
        size /= 2;
    return size;
}

/* LMDB would answer a page behind the end of the file with a signal. */
static int check_size(struct lmdb *lmdb, const char *dir, struct kv_error *error)
{
    uint64_t used = lmdb_used(lmdb);
    struct stat file;

    if (fstat(lmdb->data_fd, &file) != 0)
        return lmdb_refuse_answer(error, dir, errno);
    if ((uint64_t)file.st_size < used)
        return lmdb_refuse(error, -EIO, dir,
                           "data.mdb was cut off (%llu of %llu bytes are there): restore it from a copy",
                           (unsigned long long)file.st_size, (unsigned long long)used);
    return 0;
}

/* Lock data.mdb, and see to it that it is one that this program can use. */
static int check_environment(struct lmdb *lmdb, const char *dir, struct kv_error *error)
{
    MDB_stat stat;
    int fd, rc;

    mdb_env_get_fd(lmdb->env, &fd);
    lmdb->data_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (lmdb->data_fd < 0)
        return lmdb_refuse_answer(error, dir, errno);
    if (!lmdb_is_data(lmdb->dir_fd, lmdb->data_fd)) /* what was looked at, and not what a link led to meanwhile */
        return lmdb_refuse_answer(error, dir, ELOOP);
    rc = lock_data(lmdb, LOCK_SH);
    if (rc == -EWOULDBLOCK)
        return lmdb_refuse(error, -EBUSY, dir, "being repaired just now: try again when that is done");
    rc = rc < 0 ? -rc : mdb_env_stat(lmdb->env, &stat);
    if (rc != 0)
        return lmdb_refuse_answer(error, dir, rc);
    if (mdb_env_get_maxkeysize(lmdb->env) < ENGINE_KEY_MAX)
        return lmdb_refuse(error, -EIO, dir, "this LMDB library is built for keys of %d bytes, %d are needed",
                           mdb_env_get_maxkeysize(lmdb->env), ENGINE_KEY_MAX);
    lmdb->page_size = stat.ms_psize;
    lmdb->readers_checked_s = -READER_CHECK_S;
    check_readers(lmdb);
    return 0;
}

/* Where somebody else writes just now, this process looks after the space before its first change. */
static int prepare_to_write(struct lmdb *lmdb)
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

int engine_lmdb_open_with(const char *dir, const struct lmdb_options *options, struct engine **out,
                          struct kv_error *error)
{
    size_t map_bytes = options->map_bytes;
    bool read_only = options->read_only;
    pthread_condattr_t attr;
    struct lmdb *lmdb;
    int rc = 0, dir_fd = lmdb_directory(dir, options, error);

    if (dir_fd < 0)
        return dir_fd;
    lmdb = calloc(1, sizeof(*lmdb));
    if (lmdb == NULL) {
        lmdb_directory_close(dir_fd);
        return lmdb_refuse_answer(error, dir, ENOMEM);
    }
    lmdb->dir_fd = dir_fd;
    lmdb->base.ops = &lmdb_ops;
    lmdb->data_fd = lmdb->writer_fd = -1;
    lmdb->read_only = read_only;
    lmdb->limit = map_bytes == 0 ? default_map() : map_bytes < MAP_SMALLEST ? MAP_SMALLEST : map_bytes;
    lmdb->limit -= lmdb->limit % MAP_STEP;
    pthread_mutex_init(&lmdb->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&lmdb->none_open, &attr);
    pthread_condattr_destroy(&attr);

    lmdb->dir = realpath(dir, NULL);
    if (lmdb->dir == NULL)
        rc = lmdb_refuse_answer(error, dir, errno);
    else if (!lmdb_map_fits(lmdb->limit))
        rc = lmdb_refuse_answer(error, dir, ENOMEM);
    else
        rc = open_environment(lmdb, dir, error);
    if (rc == 0)
        rc = check_environment(lmdb, dir, error);
    if (rc == 0)
        rc = check_size(lmdb, dir, error);
    if (rc == 0)
        rc = open_tables(lmdb, dir, error);
    if (rc == 0) {
        lmdb_space_choose(lmdb);
        rc = widen_map(lmdb);
        if (rc == 0 && !read_only)
            rc = prepare_to_write(lmdb);
        if (rc < 0)
            lmdb_refuse_answer(error, dir, -rc);
    }
    if (rc < 0) {
        lmdb_close(&lmdb->base);
        return rc;
    }
    *out = &lmdb->base;
    return 0;
}
