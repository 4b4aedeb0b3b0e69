/* Write transactions, from the checkpoint that may be due before one to the record and the mark that it leaves.
 * README.md has the rules. */
#include "store/lmdb/lmdb_internal.h"

#include <errno.h>

enum { COMMIT_PAGES = 8 /* that a commit takes beside those of the records: branches, roots, the free list */ };

/* LMDB calls a short write an I/O error. */
static int commit_to_lmdb(struct lmdb_txn *txn)
{
    int rc = lmdb_errno(mdb_txn_commit(txn->mdb));

    txn->mdb = NULL;
    return rc == -EIO && lmdb_disk_full(txn->lmdb) ? -ENOSPC : rc;
}

int lmdb_turn(struct lmdb *lmdb)
{
    struct lmdb_txn *txn;
    int rc = lmdb_txn_begin(lmdb, true, &txn);

    if (rc < 0)
        return rc;
    /* Without a pin nothing is committed before the checkpoint. */
    if (lmdb_is_pinned(lmdb) && !lmdb_writer_is_heir(lmdb) && lmdb_space_is_unripe(lmdb)) {
        rc = lmdb_mark_read(lmdb->marks, txn->mdb, &txn->mark);
        if (rc == 0)
            rc = lmdb_errno(lmdb_mark_write(lmdb->marks, txn->mdb, &txn->mark));
        if (rc == 0) {
            lmdb->last_txn = mdb_txn_id(txn->mdb);
            rc = commit_to_lmdb(txn);
        }
    }
    lmdb_txn_abort(txn);
    return rc == -ENOSPC ? 0 : rc; /* then the pages have to wait */
}

/* Begin one transaction. *due: a checkpoint should come before it */
static int commit_begin(struct lmdb *lmdb, struct lmdb_txn **out, bool *due)
{
    struct lmdb_txn *txn;
    bool near_end;
    int rc = lmdb_txn_begin(lmdb, true, &txn);

    if (rc < 0)
        return rc;
    /* The environment, and the pin with it, may have been closed since lmdb_protect(). */
    rc = __atomic_load_n(&lmdb->failed, __ATOMIC_ACQUIRE) ? -EIO
                                                          : lmdb_mark_read(lmdb->marks, txn->mdb, &txn->mark);
    if (rc < 0) {
        lmdb_txn_abort(txn);
        return rc;
    }
    near_end = lmdb_near_end(lmdb);
    *due =
        lmdb_is_due(lmdb, &txn->mark, near_end, mdb_txn_id(txn->mdb)) || (near_end && lmdb_space_is_unripe(lmdb));
    *out = txn;
    return 0;
}

int lmdb_begin_write(struct lmdb *lmdb, struct lmdb_txn **out)
{
    struct lmdb_txn *txn;
    bool due;
    int rc = lmdb_protect(lmdb);

    if (rc == 0)
        rc = commit_begin(lmdb, &txn, &due);
    if (rc == 0 && due) {
        lmdb_txn_abort(txn);
        rc = lmdb_checkpoint(lmdb);
        if (rc == 0)
            rc = commit_begin(lmdb, &txn, &due);
    }
    if (rc < 0)
        return rc;
    log_changes_clear(&lmdb->changes, LOG_RECORD_MAX(lmdb->slot.ring));
    lmdb_check_readers(lmdb);
    lmdb_space_begin(lmdb);
    *out = txn;
    return 0;
}

/* -------------------------------------------------------------------------- the commit */

/* What goes into the log, and the mark behind it. */
static int commit_record(struct lmdb_txn *txn, struct lmdb_mark *mark)
{
    struct lmdb *lmdb = txn->lmdb;
    const struct log_changes *changes = &lmdb->changes;
    uint32_t flags = changes->incomplete ? LOG_INCOMPLETE : 0;
    int rc;

    *mark = txn->mark;
    mark->pos += log_record_size(changes->size);
    mark->volume += txn->grown + COMMIT_PAGES * lmdb->page_size;
    if (changes->incomplete)
        mark->incomplete = mark->seq;
    mark->seq++;
    rc = changes->failed ? -ENOMEM : lmdb_errno(lmdb_mark_write(lmdb->marks, txn->mdb, mark));
    return rc == 0 ? log_append(lmdb->log_fd, &lmdb->slot, txn->mark.pos, txn->mark.seq, lmdb->origin, flags,
                                slice_of(changes->bytes, changes->size))
                   : rc;
}

/* The commit failed with its record written: nobody may do it again. */
static int commit_undone(struct lmdb *lmdb, uint64_t pos, int rc)
{
    if (log_erase(lmdb->log_fd, &lmdb->slot, pos) < 0)
        return lmdb_fail(lmdb);
    return lmdb_flush_log(lmdb) == 0 ? rc : -EIO;
}

/* Whoever follows what others commit need not read this record. */
static void commit_note_own(struct lmdb *lmdb, const struct lmdb_mark *before, const struct lmdb_mark *mark)
{
    pthread_mutex_lock(&lmdb->lock);
    if (lmdb->own.to != before->pos)
        lmdb->own.from = before->pos;
    lmdb->own.to = mark->pos;
    lmdb->own.seq = mark->seq;
    pthread_mutex_unlock(&lmdb->lock);
}

int lmdb_commit_changes(struct lmdb_txn *txn)
{
    struct lmdb *lmdb = txn->lmdb;
    size_t id = mdb_txn_id(txn->mdb);
    struct lmdb_mark mark;
    int rc = commit_record(txn, &mark);

    if (rc < 0)
        return commit_undone(lmdb, txn->mark.pos, rc);
    rc = commit_to_lmdb(txn);
    if (rc < 0 && lmdb_newest(lmdb) >= id) /* it is kept, and the header is in doubt */
        return lmdb_fail(lmdb);
    if (rc < 0)
        return commit_undone(lmdb, txn->mark.pos, rc);
    lmdb->last_txn = id;
    commit_note_own(lmdb, &txn->mark, &mark);
    lmdb_writer_tell(lmdb, false);
    __atomic_store_n(&lmdb->incomplete, mark.incomplete, __ATOMIC_RELEASE);
    return 0;
}
