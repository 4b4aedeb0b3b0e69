/* The work on LMDB itself, with no file system between: what the store's engine alone takes. As durable as a store is,
 * with its defaults, in a database data.mdb in the directory of the work. */
#include "tools/bench/work.h"

#include "tools/bench/process.h"

#include <errno.h>
#include <lmdb.h>
#include <stdlib.h>
#include <string.h>

#define LMDB_ROOM ((size_t)64 << 30) /* of addresses */

struct lmdb {
    const struct work *work;
    MDB_env *env;
    MDB_dbi dbi;
    char *value;
};

static int lmdb_errno(int rc) { return rc == 0 ? 0 : rc == MDB_NOTFOUND ? -ENOENT : rc < 0 ? -EIO : -rc; }

static MDB_val lmdb_key(const struct work *work, uint64_t n, char name[WORK_NAME_MAX])
{
    work_name(work, n, name);
    return (MDB_val){strlen(name), name};
}

/* Change the n-th: returns what LMDB does */
static int lmdb_change(const struct lmdb *lmdb, MDB_txn *txn, uint64_t n)
{
    MDB_val value = {lmdb->work->size, lmdb->value};
    char name[WORK_NAME_MAX];
    MDB_val key = lmdb_key(lmdb->work, n, name);

    return lmdb->work->action == WORK_PUT ? mdb_put(txn, lmdb->dbi, &key, &value, 0)
                                          : mdb_del(txn, lmdb->dbi, &key, NULL);
}

static int lmdb_change_all(const struct lmdb *lmdb)
{
    uint64_t total = lmdb->work->count * lmdb->work->threads;
    int rc = 0;

    for (uint64_t n = 0; n < total && rc == 0;) {
        MDB_txn *txn;

        rc = mdb_txn_begin(lmdb->env, NULL, 0, &txn);
        if (rc != 0)
            return rc;
        for (uint64_t i = 0; i < lmdb->work->threads && rc == 0; i++)
            rc = lmdb_change(lmdb, txn, n++);
        if (rc == 0)
            rc = mdb_txn_commit(txn);
        else
            mdb_txn_abort(txn);
    }
    return rc;
}

static int lmdb_get(const struct lmdb *lmdb, MDB_txn *txn, MDB_val *key)
{
    MDB_val value;
    int rc = mdb_get(txn, lmdb->dbi, key, &value);

    if (rc != 0)
        return rc;
    if (value.mv_size != lmdb->work->size)
        return EBADMSG;
    memcpy(lmdb->value, value.mv_data, value.mv_size);
    return lmdb->value[value.mv_size - 1] == WORK_BYTE ? 0 : EBADMSG;
}

static int lmdb_page(const struct lmdb *lmdb, MDB_txn *txn, MDB_val *key)
{
    char names[WORK_PAGE_KEYS][WORK_NAME_MAX];
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, lmdb->dbi, &cursor);
    MDB_val value;

    if (rc != 0)
        return rc;
    rc = mdb_cursor_get(cursor, key, &value, MDB_SET_RANGE);
    for (unsigned i = 0; i < WORK_PAGE_KEYS && rc == 0 && key->mv_size < WORK_NAME_MAX; i++) {
        if (strncmp(key->mv_data, lmdb->work->prefix, strlen(lmdb->work->prefix)) != 0)
            break;
        memcpy(names[i], key->mv_data, key->mv_size);
        rc = mdb_cursor_get(cursor, key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* One transaction each, as a read of the store is. */
static int lmdb_read_all(const struct lmdb *lmdb)
{
    char name[WORK_NAME_MAX];
    MDB_txn *txn;
    int rc = mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, &txn);

    if (rc != 0)
        return rc;
    for (uint64_t n = 0; n < lmdb->work->count && rc == 0; n++) {
        MDB_val key = lmdb_key(lmdb->work, n, name);

        mdb_txn_reset(txn);
        rc = mdb_txn_renew(txn);
        if (rc == 0)
            rc = lmdb->work->action == WORK_GET ? lmdb_get(lmdb, txn, &key) : lmdb_page(lmdb, txn, &key);
    }
    mdb_txn_abort(txn);
    return rc;
}

static int lmdb_pass(const struct lmdb *lmdb)
{
    bool changes = lmdb->work->action == WORK_PUT || lmdb->work->action == WORK_UNLINK;

    return changes ? lmdb_change_all(lmdb) : lmdb_read_all(lmdb);
}

static int lmdb_open(struct lmdb *lmdb)
{
    int rc = mdb_env_create(&lmdb->env);
    MDB_txn *txn;

    if (rc != 0)
        return rc;
    rc = mdb_env_set_mapsize(lmdb->env, LMDB_ROOM);
    if (rc == 0)
        rc = mdb_env_open(lmdb->env, ".", 0, 0600);
    if (rc == 0)
        rc = mdb_txn_begin(lmdb->env, NULL, 0, &txn);
    if (rc != 0)
        return rc;
    rc = mdb_dbi_open(txn, NULL, 0, &lmdb->dbi);
    if (rc == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return rc;
}

int work_lmdb(const struct work *work, double *seconds)
{
    struct lmdb lmdb = {.work = work, .value = malloc(work->size)};
    int rc = lmdb.value == NULL ? ENOMEM : lmdb_open(&lmdb);

    if (rc == 0) {
        memset(lmdb.value, WORK_BYTE, work->size);
        if (work->warmed)
            rc = lmdb_pass(&lmdb);
        *seconds = -process_now();
        for (uint64_t i = 0; i < work->passes && rc == 0; i++)
            rc = lmdb_pass(&lmdb);
        *seconds += process_now();
    }
    if (lmdb.env != NULL)
        mdb_env_close(lmdb.env);
    free(lmdb.value);
    return lmdb_errno(rc);
}
