/* Opening a store that was not closed: back to the newest checkpoint, and from there on by the log.
 *
 * This process is the only one that has the store open (it holds the lock of data.mdb alone), and LMDB does not
 * have it open yet. Whatever fails, or cuts this off, leaves a store that can be recovered again: the pages of
 * the checkpoint are never written, and its slot holds until the next one does.
 *
 * A store that was copied while it was in use has pages of different times, and nothing in them tells. So a
 * checkpoint names the inode of its data.mdb, and a store that is not clean is only recovered where it is that one. */
#include "store/lmdb/format_internal.h"
#include "store/lmdb/lmdb_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REPLAY_MOST ((uint64_t)64 << 20) /* bytes of pages that a replay writes, and more */

/* The transaction of the newest header; 0: there is none. LMDB looks at both in this way. */
static uint64_t recover_newest(int data_fd, uint64_t page_size)
{
    uint64_t newest = 0;

    for (uint64_t i = 0; i < 2; i++) {
        uint8_t page[LOG_HEADER];

        if (pread(data_fd, page, sizeof(page), (off_t)(i * page_size)) != (ssize_t)sizeof(page))
            continue;
        if (format_u32(page + META_MAGIC) == FORMAT_MAGIC && format_u64(page + META_TXN) > newest)
            newest = format_u64(page + META_TXN);
    }
    return newest;
}

/* What a flush lost may still be read, and a second one would not tell: so the next recovery shall begin anew. */
static int recover_flush(const struct lmdb *lmdb, int fd)
{
    if (fdatasync(fd) == 0)
        return 0;
    log_fail(lmdb->log_fd);
    return -EIO;
}

/* The slot that was read may not be on the disk: whoever wrote it died, or its flush failed. So it is written again,
 * where it is, before anything is changed that the one before it needs. */
static int recover_slot(const struct lmdb *lmdb)
{
    int rc = log_slot_write(lmdb->log_fd, &lmdb->slot);

    return rc == 0 ? recover_flush(lmdb, lmdb->log_fd) : rc;
}

/* Bytes of the file that the checkpoint's state uses. */
static uint64_t recover_used(const struct log_slot *slot)
{
    return (format_u64(slot->header + META_LAST) + 1) * slot->page_size;
}

/* Let both headers be that of the checkpoint: LMDB takes the one with the higher transaction. */
static int recover_headers(const struct lmdb *lmdb)
{
    for (uint64_t i = 0; i < 2; i++) {
        uint8_t page[LOG_HEADER];
        uint64_t txn = lmdb->slot.txn - (lmdb->slot.txn % 2 != i);

        memcpy(page, lmdb->slot.header, sizeof(page));
        memcpy(page, &i, sizeof(i)); /* the number of the page */
        memcpy(page + META_TXN, &txn, sizeof(txn));
        if (pwrite(lmdb->data_fd, page, sizeof(page), (off_t)(i * lmdb->slot.page_size)) != (ssize_t)sizeof(page))
            return -EIO;
    }
    return recover_flush(lmdb, lmdb->data_fd);
}

/* ---------------------------------------------------------------------------- replay */

struct recover {
    struct lmdb *lmdb;
    MDB_txn *txn;
    MDB_dbi tables[ENGINE_TABLES], marks;
};

static int recover_change(struct recover *recover, const struct log_change *change)
{
    MDB_val key = {change->key.size, (void *)change->key.data};
    MDB_val value = {change->value.size, (void *)change->value.data};
    MDB_dbi table = recover->tables[change->table];
    int rc =
        change->removed ? mdb_del(recover->txn, table, &key, NULL) : mdb_put(recover->txn, table, &key, &value, 0);

    return rc == MDB_NOTFOUND ? -EIO : lmdb_errno(rc); /* what was removed was there */
}

/* Read the next record. returns 0; -ENOENT there is none that followed this checkpoint; -EIO; -ENOMEM */
static int recover_read(const struct lmdb *lmdb, uint64_t pos, uint64_t seq, struct log_record *record)
{
    int rc = log_read(lmdb->log_fd, &lmdb->slot, pos, seq, record);

    return rc == 0 && record->checkpoint != lmdb->slot.number ? -ENOENT : rc;
}

/* Do again what the log holds, up to the first record that is none or that needed a checkpoint. */
static int recover_records(struct recover *recover, struct lmdb_mark *mark)
{
    struct lmdb *lmdb = recover->lmdb;
    struct log_record record = {0};
    struct log_change change;
    int rc = 0;

    while (rc == 0) {
        size_t at = 0;
        int more;

        rc = recover_read(lmdb, mark->pos, mark->seq, &record);
        if (rc < 0 || record.flags & LOG_INCOMPLETE)
            break;
        while (rc == 0 && (more = log_changes_next(slice_of(record.payload, record.size), &at, &change)) != 0)
            rc = more < 0 ? more : recover_change(recover, &change);
        mark->pos = record.next;
        mark->seq++;
    }
    free(record.payload);
    return rc == -ENOENT ? 0 : rc;
}

/* One transaction, which writes no page of the checkpoint's. *slot: what to write down when it is on the disk. */
static int recover_replay(struct recover *recover, struct log_slot *slot)
{
    struct lmdb_mark mark;
    int rc = lmdb_find_tables(recover->txn, false, recover->tables, &recover->marks) == 0 ? 0 : -EIO;

    if (rc == 0)
        rc = lmdb_mark_read(recover->marks, recover->txn, &mark);
    if (rc == 0 && (mark.salt != slot->salt || mark.pos != slot->pos || mark.seq != slot->seq))
        rc = -EIO;
    if (rc == 0)
        rc = recover_records(recover, &mark);
    if (rc == 0) {
        mark.incomplete = 0;
        rc = lmdb_errno(lmdb_mark_write(recover->marks, recover->txn, &mark));
    }
    if (rc < 0)
        return rc;
    slot->number++;
    slot->txn = mdb_txn_id(recover->txn);
    slot->pos = mark.pos;
    slot->seq = mark.seq;
    return 0;
}

/* The map that is needed: what is done again takes no more pages than it did, which is what checkpoints allow (README,
 * rule 10) and a transaction. It may go beyond the limit, as the reserve does. */
static uint64_t recover_map(const struct lmdb *lmdb)
{
    uint64_t needed = recover_used(&lmdb->slot) + REPLAY_MOST;

    return lmdb->limit > needed ? lmdb->limit : needed - needed % lmdb->slot.page_size;
}

static int recover_environment(struct lmdb *lmdb, MDB_env **out)
{
    char path[LMDB_PATH_SIZE];
    MDB_env *env;
    int rc = mdb_env_create(&env);

    if (rc != 0)
        return lmdb_errno(rc);
    rc = mdb_env_set_maxdbs(env, ENGINE_TABLES + 1);
    if (rc == 0)
        rc = mdb_env_set_mapsize(env, recover_map(lmdb));
    if (rc == 0)
        rc = mdb_env_open(env, lmdb_path(lmdb->dir_fd, "/" DATA_FILE, path),
                          MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC, 0600);
    if (rc == 0)
        rc = lmdb_guard(env);
    if (rc != 0) {
        mdb_env_close(env);
        return lmdb_errno(rc);
    }
    *out = env;
    return 0;
}

/* From the checkpoint in the headers to the end of the log. */
static int recover_forward(struct lmdb *lmdb)
{
    struct recover recover = {.lmdb = lmdb};
    struct log_slot slot = lmdb->slot;
    MDB_env *env = NULL;
    int rc = recover_environment(lmdb, &env);

    if (rc < 0)
        return rc;
    rc = lmdb_errno(mdb_txn_begin(env, NULL, 0, &recover.txn));
    if (rc == 0) {
        rc = recover_replay(&recover, &slot);
        if (rc == 0)
            rc = lmdb_errno(mdb_txn_commit(recover.txn));
        else
            mdb_txn_abort(recover.txn);
    }
    mdb_env_close(env);
    if (rc == 0)
        rc = recover_flush(lmdb, lmdb->data_fd);
    if (rc == 0)
        rc = lmdb_header_read(lmdb->data_fd, slot.page_size, slot.txn, slot.header);
    if (rc < 0)
        return rc;
    slot.data_ino = lmdb->data_ino;
    lmdb->slot = slot;
    rc = recover_slot(lmdb);
    return rc == 0 ? log_unfail(lmdb->log_fd) : rc;
}

/* Is the state of the last commit that of the newest checkpoint, with nothing after it in the log?
 * returns  1, 0; -EIO */
static int recover_is_clean(const struct lmdb *lmdb)
{
    struct log_record record = {0};
    int rc = recover_read(lmdb, lmdb->slot.pos, lmdb->slot.seq, &record);

    free(record.payload);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    return rc == -ENOENT && recover_newest(lmdb->data_fd, lmdb->slot.page_size) == lmdb->slot.txn &&
           !log_has_failed(lmdb->log_fd);
}

static bool recover_is_read_only(int fd) { return (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY; }

int lmdb_recover(struct lmdb *lmdb, bool copied, struct kv_error *error)
{
    const char *dir = lmdb->dir;
    struct stat data;
    int rc;

    if (log_slot_read(lmdb->log_fd, &lmdb->slot) < 0)
        return lmdb_refuse(error, -EIO, dir,
                           LOG_FILE " is damaged, or is not the log of a store: restore the store "
                                    "from a copy");
    if (fstat(lmdb->data_fd, &data) != 0)
        return lmdb_refuse_answer(error, dir, errno);
    rc = recover_is_clean(lmdb);
    if (rc > 0)
        return 0;
    if (rc == 0 && lmdb->data_ino != lmdb->slot.data_ino && !copied)
        return lmdb_refuse(
            error, -EIO, dir,
            "a copy of a store that was in use while it was copied: its files are of different times; "
            "make a copy while nobody uses the store");
    if (rc == 0 && (recover_is_read_only(lmdb->log_fd) || recover_is_read_only(lmdb->data_fd)))
        return lmdb_refuse(error, -EROFS, dir,
                           "was not closed, and cannot be recovered where it cannot be written: open it once for "
                           "writing");
    if (rc == 0 && recover_used(&lmdb->slot) > (uint64_t)data.st_size) /* LMDB would answer with a signal */
        return lmdb_refuse(error, -EIO, dir, DATA_FILE " was cut off: restore it from a copy");
    if (rc == 0)
        rc = recover_slot(lmdb);
    if (rc == 0)
        rc = recover_headers(lmdb);
    if (rc == 0 && (rc = lmdb_check_header(lmdb->data_fd, dir, error)) < 0)
        return rc;
    if (rc == 0)
        rc = recover_forward(lmdb);
    if (rc == -ENOSPC)
        return lmdb_refuse_answer(error, dir, ENOSPC);
    return rc == 0
               ? 0
               : lmdb_refuse(error, rc, dir, "was not closed, and cannot be recovered: %s; restore it from a copy",
                             strerror(-rc));
}
