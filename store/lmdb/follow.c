/* Following: what other processes have committed, by the log.
 *
 * A record counts once the transaction of its commit is visible, which the mark tells: so nothing is read that was
 * appended and not committed. Records are read without a lock; one that is written over meanwhile is none, and then
 * whoever follows has fallen behind by more than the ring holds. */
#include "store/lmdb/lmdb_internal.h"

#include <errno.h>
#include <stdlib.h>

uint64_t lmdb_epoch(struct engine *engine)
{
    struct lmdb *lmdb = (struct lmdb *)engine;
    uint64_t epoch;

    (void)lmdb_enter(lmdb, false); /* the map must stay where it is */
    epoch = lmdb->env != NULL ? lmdb_newest(lmdb) : 0;
    (void)lmdb_leave(lmdb, NULL);
    return epoch;
}

/* Which state does a transaction see that begins now? LMDB shows a header (lmdb_epoch()) before that.
 * mark     of that state; may be NULL
 * returns  0; -EIO, and after a failed one whoever waits must not look all the time */
static int follow_seen(struct lmdb *lmdb, uint64_t *epoch, struct lmdb_mark *mark)
{
    struct lmdb_txn *txn;
    int rc = lmdb_txn_begin(lmdb, false, &txn);

    if (rc < 0)
        return rc;
    *epoch = mdb_txn_id(txn->mdb);
    if (mark != NULL)
        rc = lmdb_mark_read(lmdb->marks, txn->mdb, mark);
    lmdb_txn_abort(txn);
    return rc;
}

int lmdb_wait(struct engine *engine, uint64_t epoch, int64_t timeout_ns)
{
    struct lmdb *lmdb = (struct lmdb *)engine;
    uint32_t told = lmdb_writer_told(lmdb);
    uint64_t seen = epoch;
    int rc = follow_seen(lmdb, &seen, NULL);

    if (rc < 0 || seen == epoch) {
        lmdb_writer_wait(lmdb, told, timeout_ns);
        rc = follow_seen(lmdb, &seen, NULL);
    }
    return rc == 0 && seen == epoch ? -ETIMEDOUT : rc;
}

void lmdb_wake(struct engine *engine)
{
    struct lmdb *lmdb = (struct lmdb *)engine;

    if (lmdb->writer != NULL)
        lmdb_writer_tell(lmdb, true);
}

static int follow_record(const struct log_record *record, const struct kv_feed *at, engine_changed *visit,
                         void *arg)
{
    struct slice payload = slice_of(record->payload, record->size);
    struct log_change change;
    size_t pos = 0;
    int rc = 0, more;

    if (record->size == 0 && record->flags & LOG_INCOMPLETE)
        return -ESTALE;
    while (rc == 0 && (more = log_changes_next(payload, &pos, &change)) != 0)
        rc = more < 0 ? more : visit(arg, at, change.table, change.key, change.removed ? NULL : &change.value);
    return rc;
}

/* Is there nothing from a place on, for a while, but this process's own records? Then step over them, but not beyond
 * the state of a mark. */
static bool follow_skip_own(struct lmdb *lmdb, const struct lmdb_mark *mark, struct kv_feed *place)
{
    bool skip;

    pthread_mutex_lock(&lmdb->lock);
    skip = place->pos >= lmdb->own.from && place->pos < lmdb->own.to;
    if (skip && lmdb->own.to < mark->pos) {
        place->pos = lmdb->own.to;
        place->seq = lmdb->own.seq;
    } else if (skip) {
        place->pos = mark->pos;
        place->seq = mark->seq;
    }
    pthread_mutex_unlock(&lmdb->lock);
    return skip;
}

int lmdb_follow(struct engine *engine, struct kv_feed *place, bool own, engine_changed *visit, void *arg)
{
    struct lmdb *lmdb = (struct lmdb *)engine;
    struct log_record record = {0};
    struct log_slot ring = {.ring = lmdb->ring};
    struct lmdb_mark mark;
    uint64_t epoch = 0;
    int rc = follow_seen(lmdb, &epoch, &mark);

    if (rc < 0)
        return rc;
    ring.salt = mark.salt;
    if (place->salt == 0)
        *place = (struct kv_feed){mark.salt, mark.pos, mark.seq, epoch};
    if (place->salt != mark.salt || place->pos > mark.pos || mark.pos - place->pos > lmdb->ring)
        rc = -ESTALE;
    while (rc == 0 && place->pos < mark.pos) {
        struct kv_feed next;

        if (!own && follow_skip_own(lmdb, &mark, place))
            continue;
        rc = log_read(lmdb->log_fd, &ring, place->pos, place->seq, &record);
        if (rc == -ENOENT)
            rc = -ESTALE;
        if (rc < 0)
            break;
        next = (struct kv_feed){mark.salt, record.next, record.seq + 1, place->epoch};
        if (own || record.origin != lmdb->origin)
            rc = follow_record(&record, &next, visit, arg);
        if (rc == 0)
            *place = next;
    }
    if (rc == 0)
        place->epoch = epoch;
    if (rc == -ESTALE)
        *place = (struct kv_feed){mark.salt, mark.pos, mark.seq, epoch};
    free(record.payload);
    return rc;
}
