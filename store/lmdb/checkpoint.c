/* Checkpoints, pins, and what makes a commit durable. README.md has the model; here is how each rule is kept.
 *
 * All but lmdb_flush() runs with the right to write, so checkpoints, commits and appends of all processes exclude each
 * other. */
#include "store/lmdb/format_internal.h"
#include "store/lmdb/lmdb_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAMES_OLD_S 4 /* no file system's clock has longer ticks */

#define MARK_KEY "mark"

/* ------------------------------------------------------------------------- the mark */

int lmdb_mark_read(MDB_dbi table, MDB_txn *txn, struct lmdb_mark *out)
{
    MDB_val key = {sizeof(MARK_KEY) - 1, MARK_KEY}, value;
    int rc = lmdb_errno(lmdb_guarded_get(txn, table, &key, &value));

    if (rc == -ENOENT || (rc == 0 && value.mv_size != sizeof(*out)))
        return -EIO;
    if (rc == 0)
        memcpy(out, value.mv_data, sizeof(*out));
    return rc;
}

int lmdb_mark_write(MDB_dbi table, MDB_txn *txn, const struct lmdb_mark *mark)
{
    MDB_val key = {sizeof(MARK_KEY) - 1, MARK_KEY}, value = {sizeof(*mark), (void *)mark};

    return mdb_put(txn, table, &key, &value, 0);
}

/* --------------------------------------------------------------------------- headers */

int lmdb_header_read(int data_fd, uint64_t page_size, uint64_t txn, uint8_t *out)
{
    ssize_t got = pread(data_fd, out, LOG_HEADER, (off_t)(txn % 2 * page_size));

    return got == LOG_HEADER && format_u64(out + META_TXN) == txn ? 0 : -EIO;
}

/* ---------------------------------------------------------------------- a checkpoint */

/* A flush failed: what the disk has is open, and a second flush would not tell. */
int lmdb_fail(struct lmdb *lmdb)
{
    __atomic_store_n(&lmdb->failed, true, __ATOMIC_RELEASE);
    lmdb_writer_fail(lmdb);
    log_fail(lmdb->log_fd);
    return -EIO;
}

/* Has a flush failed, of this process or another? */
static bool checkpoint_has_failed(struct lmdb *lmdb)
{
    return __atomic_load_n(&lmdb->failed, __ATOMIC_ACQUIRE) || lmdb_writer_has_failed(lmdb);
}

static bool checkpoint_has_name(const struct lmdb *lmdb, const char *name, uint64_t inode)
{
    struct stat is;

    return fstatat(lmdb->dir_fd, name, &is, AT_SYMLINK_NOFOLLOW) == 0 && is.st_ino == inode;
}

/* Are the files that this process has open those that others find by name? Otherwise they do not know of its
 * readers, and it not of theirs. */
static bool checkpoint_has_names(const struct lmdb *lmdb)
{
    return checkpoint_has_name(lmdb, LOCK_FILE, lmdb->lock_ino) &&
           checkpoint_has_name(lmdb, DATA_FILE, lmdb->data_ino) &&
           checkpoint_has_name(lmdb, LOG_FILE, lmdb->log_ino) &&
           checkpoint_has_name(lmdb, WRITER_FILE, lmdb->writer_ino);
}

void lmdb_checkpoint_usage(struct lmdb *lmdb, struct kv_storage *out)
{
    out->checkpoint_age_ms = lmdb_writer_checkpoint_age_ms(lmdb);
    out->failed = log_has_failed(lmdb->log_fd) ||
                  (!lmdb->read_only && (checkpoint_has_failed(lmdb) || !checkpoint_has_names(lmdb)));
}

/* The slot is read after the transaction has begun, so it may be newer, but not older than what that sees. */
void lmdb_log_usage(struct lmdb_txn *txn, struct kv_storage *out)
{
    struct lmdb *lmdb = txn->lmdb;
    struct lmdb_mark mark;
    struct log_slot slot;

    if (lmdb_mark_read(lmdb->marks, txn->mdb, &mark) < 0 || log_slot_read(lmdb->log_fd, &slot) < 0)
        return;
    out->log_bytes = mark.pos > slot.pos ? mark.pos - slot.pos : 0;
    out->log_limit_bytes = slot.ring;
}

/* One at a time: of two threads that flush at once only the first hears that it failed, and the other would believe. */
int lmdb_flush_log(struct lmdb *lmdb)
{
    int rc;

    pthread_mutex_lock(&lmdb->flush_lock);
    rc = fdatasync(lmdb->log_fd) == 0 ? 0 : lmdb_fail(lmdb);
    pthread_mutex_unlock(&lmdb->flush_lock);
    return rc == 0 && checkpoint_has_failed(lmdb) ? -EIO : rc;
}

/* Make the state of the last commit, which a read transaction has, durable; then write down that it is. */
static int checkpoint_write(struct lmdb *lmdb, uint64_t txn, const struct lmdb_mark *mark)
{
    struct log_slot slot = lmdb->slot;

    slot.number++;
    slot.txn = txn;
    slot.pos = mark->pos;
    slot.seq = mark->seq;
    slot.data_ino = lmdb->data_ino;
    if (lmdb_header_read(lmdb->data_fd, lmdb->page_size, slot.txn, slot.header) < 0)
        return -EIO;
    if (fdatasync(lmdb->data_fd) != 0 || log_slot_write(lmdb->log_fd, &slot) < 0)
        return lmdb_fail(lmdb);
    if (lmdb_flush_log(lmdb) < 0)
        return -EIO;
    lmdb->slot = slot;
    lmdb_writer_set_checkpoint(lmdb, &(struct lmdb_checkpoint){slot.number, slot.seq, slot.txn, mark->volume});
    lmdb_writer_settle(lmdb);
    lmdb_writer_tell_checkpoint(lmdb);
    return 0;
}

int lmdb_checkpoint(struct lmdb *lmdb)
{
    struct lmdb_txn *pin;
    struct lmdb_mark mark;
    int rc = lmdb_turn(lmdb);

    if (rc == 0)
        rc = lmdb_txn_begin(lmdb, false, &pin);
    if (rc < 0)
        return rc;
    rc = lmdb_mark_read(lmdb->marks, pin->mdb, &mark);
    if (rc == 0 && mark.salt != lmdb->slot.salt)
        rc = -EIO; /* the log of another store */
    if (rc == 0 && (mdb_txn_id(pin->mdb) != lmdb->slot.txn || lmdb_writer_is_heir(lmdb)))
        rc = checkpoint_write(lmdb, mdb_txn_id(pin->mdb), &mark);
    if (rc < 0) {
        lmdb_txn_abort(pin);
        return rc;
    }
    lmdb_pin(lmdb, pin, mark.volume);
    return 0;
}

/* ------------------------------------------------------------------- what keeps the rules */

/* checkpoint_has_names(), for each write. A name changes with the time of its directory, which says nothing of what
 * follows within a tick of the file system's clock: so it is only believed once it is old. */
static bool checkpoint_files_are_ours(struct lmdb *lmdb)
{
    struct timespec now;
    struct stat dir;

    if (fstat(lmdb->dir_fd, &dir) != 0)
        return false;
    if (dir.st_mtim.tv_sec == lmdb->names_as_of.tv_sec && dir.st_mtim.tv_nsec == lmdb->names_as_of.tv_nsec)
        return true;
    clock_gettime(CLOCK_REALTIME, &now);
    lmdb->names_as_of = (struct timespec){0};
    if (!checkpoint_has_names(lmdb))
        return false;
    if (now.tv_sec - dir.st_mtim.tv_sec > NAMES_OLD_S)
        lmdb->names_as_of = dir.st_mtim;
    return true;
}

/* See which checkpoint is the newest. returns 0; -EIO, also where a flush has failed */
static int checkpoint_look(struct lmdb *lmdb)
{
    struct log_slot *slot = &lmdb->slot;

    if (checkpoint_has_failed(lmdb))
        return -EIO;
    if (lmdb_writer_checkpoint(lmdb).number == slot->number)
        return 0;
    if (log_slot_read(lmdb->log_fd, slot) < 0)
        return -EIO;
    lmdb_writer_set_checkpoint(lmdb, &(struct lmdb_checkpoint){slot->number, slot->seq, slot->txn, 0});
    return 0;
}

int lmdb_protect(struct lmdb *lmdb)
{
    if (checkpoint_look(lmdb) < 0 || !checkpoint_files_are_ours(lmdb))
        return -EIO;
    return !lmdb_is_pinned(lmdb) || lmdb_writer_is_heir(lmdb) ? lmdb_checkpoint(lmdb) : 0;
}

bool lmdb_is_due(const struct lmdb *lmdb, const struct lmdb_mark *mark, bool near_end, uint64_t txn)
{
    return mark->pos - lmdb->slot.pos > lmdb->slot.ring / 2 ||
           mark->volume - lmdb->pin_volume > LMDB_PINNED_MOST || (near_end && lmdb->pin_txn + 1 < txn);
}

/* Does what this process has committed need a checkpoint to be durable? */
static bool flush_needs_checkpoint(struct lmdb *lmdb)
{
    uint64_t incomplete = __atomic_load_n(&lmdb->incomplete, __ATOMIC_ACQUIRE);

    return incomplete != 0 && lmdb_writer_checkpoint(lmdb).seq <= incomplete;
}

int lmdb_flush(struct engine *engine, int64_t wait_ns)
{
    struct lmdb *lmdb = (struct lmdb *)engine;
    int rc = 0;

    if (lmdb->read_only)
        return 0;
    if (flush_needs_checkpoint(lmdb)) {
        rc = lmdb_writer_acquire(lmdb, wait_ns);
        if (rc < 0)
            return rc;
        rc = lmdb_protect(lmdb);
        if (rc == 0 && flush_needs_checkpoint(lmdb))
            rc = lmdb_checkpoint(lmdb);
        lmdb_writer_release(lmdb);
    }
    return rc == 0 ? lmdb_flush_log(lmdb) : rc;
}

/* With the right to write. */
static int rest_unpin(struct lmdb *lmdb)
{
    int rc;

    if (!lmdb_is_pinned(lmdb))
        return 0;
    rc = checkpoint_look(lmdb);
    if (rc == 0 && (lmdb->last_txn > lmdb->slot.txn || lmdb_writer_is_heir(lmdb)))
        rc = lmdb_checkpoint(lmdb);
    if (rc == 0 || rc == -EIO)
        lmdb_unpin(lmdb);
    return rc;
}

int lmdb_rest(struct engine *engine)
{
    struct lmdb *lmdb = (struct lmdb *)engine;
    int rc = lmdb->read_only ? 0 : lmdb_writer_acquire(lmdb, 0);

    if (rc < 0 || lmdb->read_only)
        return rc;
    rc = rest_unpin(lmdb);
    lmdb_writer_release(lmdb);
    return rc;
}
