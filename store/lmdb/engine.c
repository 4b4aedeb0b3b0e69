/* The LMDB engine: transactions and their records. README.md has the model of what makes them durable.
 *
 * With MDB_NOTLS a read transaction belongs to no thread; ended ones are reset and kept in `idle`, where they keep
 * their slot in lock.mdb, so that the next begin only renews one. Slots of dead processes are freed at open, every
 * READER_CHECK_S seconds by whoever begins a write, and when the table (LMDB_READERS_MAX, for all processes together)
 * is full; if that frees none, begin answers -ETIMEDOUT.
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
 *   - when the end is near and the last commit freed pages, begin(write) makes a checkpoint first, which an empty
 *     commit precedes: so what `rm` gave back can be used by the very next put.
 *   The file always covers the pages that its header counts; one that is shorter was cut off.
 *   This does not hold on filesystems that copy on write (btrfs): there a full disk can refuse deletes.
 *
 * Locks: the right to write (writer.c), and `writing` with it, then LMDB's writer lock, then `lock`. The struct says
 * which guards what. Between processes: whoever has the store open holds flock() on data.mdb, shared; alone while it
 * recovers the store or has claimed it for itself.
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
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { READER_CHECK_S = 30 };

#define WRITE_WAIT_NS ((int64_t)30 * 1000000000) /* for who begins to write without the right to */

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

void lmdb_free_txn(struct lmdb_txn *txn)
{
    if (txn->mdb != NULL)
        mdb_txn_abort(txn->mdb);
    free(txn);
}

/* ------------------------------------------------------------- begin, abort and commit */

uint64_t lmdb_newest(const struct lmdb *lmdb)
{
    MDB_envinfo info;

    mdb_env_info(lmdb->env, &info);
    return info.me_last_txnid;
}

/* LMDB keeps two headers in turn. A reader that is held up between choosing one and copying it can get that
 * of a commit under way, two commits later, and, where the copy met the writing, none at all. Then the newest header
 * is two ahead of what was chosen. */
static bool was_overtaken(const struct lmdb_txn *txn) { return lmdb_newest(txn->lmdb) > mdb_txn_id(txn->mdb) + 1; }

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
            lmdb_leave(lmdb, NULL);
            rc = lmdb_follow_growth(lmdb);
            lmdb_enter(lmdb, false);
            if (rc < 0)
                return rc;
        } else if (rc == MDB_PANIC) {
            const MDB_env *broken = lmdb->env;

            mdb_txn_abort(txn->mdb);
            txn->mdb = NULL;
            lmdb_leave(lmdb, NULL);
            rc = lmdb_reopen(lmdb, broken);
            lmdb_enter(lmdb, false);
            if (rc == 0 && txn->write)
                rc = -EIO;
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

int lmdb_txn_begin(struct lmdb *lmdb, bool write, struct lmdb_txn **out)
{
    struct lmdb_txn *txn = lmdb_enter(lmdb, !write);
    int rc;

    if (txn == NULL) {
        txn = calloc(1, sizeof(*txn));
        if (txn == NULL) {
            lmdb_leave(lmdb, NULL);
            return -ENOMEM;
        }
        txn->base.ops = lmdb->base.ops;
        txn->lmdb = lmdb;
        txn->write = write;
    }
    rc = begin_any(txn);
    if (rc < 0) {
        lmdb_free_txn(txn);
        lmdb_leave(lmdb, NULL);
        return rc;
    }
    *out = txn;
    return 0;
}

void lmdb_txn_abort(struct lmdb_txn *txn)
{
    struct lmdb *lmdb = txn->lmdb;

    if (txn->write) {
        lmdb_free_txn(txn);
        lmdb_leave(lmdb, NULL);
        return;
    }
    mdb_txn_reset(txn->mdb);
    if (!lmdb_leave(lmdb, txn))
        lmdb_free_txn(txn);
}

void lmdb_check_readers(struct lmdb *lmdb)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (lmdb->readers_checked_s != 0 && now.tv_sec - lmdb->readers_checked_s < READER_CHECK_S)
        return;
    lmdb->readers_checked_s = now.tv_sec;
    mdb_reader_check(lmdb->env, NULL);
}

static int lmdb_begin(struct engine *engine, bool write, struct engine_txn **out)
{
    struct lmdb *lmdb = lmdb_of(engine);
    struct lmdb_txn *txn = NULL;
    bool borrowed;
    int rc;

    if (!write) {
        rc = lmdb_txn_begin(lmdb, false, &txn);
    } else if (lmdb->read_only) {
        rc = -EROFS;
    } else {
        borrowed = !lmdb_writer_is_mine(lmdb);
        rc = borrowed ? lmdb_writer_acquire(lmdb, WRITE_WAIT_NS) : 0;
        if (rc < 0)
            return rc;
        rc = lmdb_begin_write(lmdb, &txn);
        if (rc == 0)
            txn->borrowed = borrowed;
        else if (borrowed)
            lmdb_writer_release(lmdb);
    }
    if (rc == 0)
        *out = &txn->base;
    return rc;
}

/* End a transaction, and with it the right to write where it was taken for this one only. */
static void end(struct lmdb_txn *txn)
{
    struct lmdb *lmdb = txn->lmdb;
    bool borrowed = txn->borrowed;

    lmdb_txn_abort(txn);
    if (borrowed)
        lmdb_writer_release(lmdb);
}

static void lmdb_abort(struct engine_txn *txn) { end(txn_of(txn)); }

static int lmdb_commit(struct engine_txn *base)
{
    struct lmdb_txn *txn = txn_of(base);
    const struct log_changes *changes = &txn->lmdb->changes;
    int rc = !txn->write ? -EINVAL : txn->failed;

    if (rc == 0 &&
        (changes->size > 0 || changes->incomplete || changes->failed)) /* else there is nothing to commit */
        rc = lmdb_commit_changes(txn);
    end(txn);
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
    struct lmdb_watch watch;
    MDB_cursor *cursor;
    int rc, answer = 0;

    if (txn->failed < 0)
        return txn->failed;
    if (from.size > ENGINE_KEY_MAX)
        return -EINVAL;
    rc = lmdb_errno(mdb_cursor_open(txn->mdb, txn->lmdb->tables[table], &cursor));
    if (rc < 0)
        return rc;
    lmdb_watch_begin(&watch);
    rc = lmdb_errno(lmdb_guarded_step(cursor, &key, &value, from.size > 0 ? MDB_SET_RANGE : MDB_FIRST));
    while (rc == 0) {
        answer = visit(arg, slice_of(key.mv_data, key.mv_size), slice_of(value.mv_data, value.mv_size));
        if (answer != 0)
            break;
        rc = lmdb_errno(lmdb_guarded_step(cursor, &key, &value, MDB_NEXT));
    }
    lmdb_watch_end(&watch);
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
    if (rc == 0)
        log_changes_add(&txn->lmdb->changes, &(struct log_change){table, false, false, key, value});
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
    if (rc == 0)
        log_changes_add(&txn->lmdb->changes, &(struct log_change){table, true, false, key, slice_of(NULL, 0)});
    return rc;
}

static int lmdb_room(struct engine_txn *base, uint64_t bytes, size_t part)
{
    struct lmdb_txn *txn = txn_of(base);

    if (txn->failed < 0)
        return txn->failed;
    return txn->write ? lmdb_space_room(txn, bytes, part) : -EINVAL;
}

static void lmdb_usage(struct engine *engine, struct kv_storage *out)
{
    struct lmdb *lmdb = lmdb_of(engine);
    struct lmdb_txn *txn;

    lmdb_enter(lmdb, false); /* the map must stay where it is */
    if (lmdb->env != NULL) {
        out->used_bytes = lmdb_used(lmdb);
        out->limit_bytes = lmdb->limit;
    }
    lmdb_leave(lmdb, NULL);
    lmdb_checkpoint_usage(lmdb, out);
    if (lmdb_txn_begin(lmdb, false, &txn) < 0)
        return;
    out->free_bytes = lmdb_space_free(txn);
    lmdb_log_usage(txn, out);
    lmdb_txn_abort(txn);
}

static int lmdb_acquire(struct engine *engine, int64_t wait_ns)
{
    struct lmdb *lmdb = lmdb_of(engine);

    return lmdb->read_only ? -EROFS : lmdb_writer_acquire(lmdb, wait_ns);
}

static void lmdb_release(struct engine *engine) { lmdb_writer_release(lmdb_of(engine)); }

static pid_t lmdb_writer(struct engine *engine) { return lmdb_writer_pid(lmdb_of(engine)); }

int lmdb_claim(struct engine *engine)
{
    struct lmdb *lmdb = lmdb_of(engine);
    int rc = lmdb_lock_data(lmdb, LOCK_EX);

    if (rc != -EWOULDBLOCK)
        return rc;
    if (lmdb_lock_data(lmdb, LOCK_SH) < 0) /* the attempt gave the lock up, and now somebody recovers the store */
        __atomic_store_n(&lmdb->failed, true, __ATOMIC_RELEASE);
    return -EBUSY;
}

static int lmdb_directory_fd(struct engine *engine) { return lmdb_of(engine)->dir_fd; }

const struct engine_ops lmdb_ops = {
    .name = "lmdb",
    .close = lmdb_close,
    .directory = lmdb_directory_fd,
    .begin = lmdb_begin,
    .commit = lmdb_commit,
    .abort = lmdb_abort,
    .get = lmdb_get,
    .scan = lmdb_scan,
    .put = lmdb_put,
    .del = lmdb_del,
    .room = lmdb_room,
    .flush = lmdb_flush,
    .rest = lmdb_rest,
    .epoch = lmdb_epoch,
    .wait = lmdb_wait,
    .wake = lmdb_wake,
    .follow = lmdb_follow,
    .usage = lmdb_usage,
    .acquire = lmdb_acquire,
    .release = lmdb_release,
    .writer = lmdb_writer,
    .claim = lmdb_claim,
    .verify = lmdb_verify,
    .copy = lmdb_copy,
    .compact = lmdb_compact,
};
