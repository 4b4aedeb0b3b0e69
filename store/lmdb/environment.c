/* LMDB's environment: its map, its tables, and opening it again.
 *
 * `open_txns` counts what may look at the map. Where another process has a larger map and uses it, begin meets
 * MDB_MAP_RESIZED, waits until nothing is open in this process, and maps anew. (A pin is open all the time, but never
 * looked through.)
 *
 * Where LMDB cannot write its header it refuses to go on (MDB_PANIC). Then begin waits until nothing is open in
 * this process, and opens the environment anew, for reading: what the disk has of the header is open, so the store
 * takes no more changes until it was recovered. */
#include "store/base/clock.h"
#include "store/base/owner.h"
#include "store/lmdb/lmdb_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    IDLE_MAX = 32,     /* read transactions kept for the next begin */
    UNUSED_WAIT_S = 10 /* for the transactions of this process to end */
};

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
int lmdb_widen_map(struct lmdb *lmdb)
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
static int environment_wait_until_unused(struct lmdb *lmdb)
{
    const struct timespec deadline = clock_after_ns(UNUSED_WAIT_S * CLOCK_SECOND_NS);
    int rc = 0;

    while (rc == 0 && lmdb->open_txns > 0)
        rc = -pthread_cond_clockwait(&lmdb->none_open, &lmdb->lock, CLOCK_MONOTONIC, &deadline);
    return rc;
}

/* Another process has made the file larger than this one's map. */
int lmdb_follow_growth(struct lmdb *lmdb)
{
    int rc;

    pthread_mutex_lock(&lmdb->lock);
    rc = environment_wait_until_unused(lmdb);
    if (rc == 0)
        rc = lmdb_widen_map(lmdb);
    pthread_mutex_unlock(&lmdb->lock);
    return rc;
}

/* ----------------------------------------------------------------------- transactions */

/* Count a transaction in. returns a reset one where there is one and the caller wants it, else NULL */
struct lmdb_txn *lmdb_enter(struct lmdb *lmdb, bool want_idle)
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
bool lmdb_leave(struct lmdb *lmdb, struct lmdb_txn *reset)
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

/* ------------------------------------------------------------------- the environment */

int lmdb_open_environment(struct lmdb *lmdb, const char *dir, struct kv_error *error)
{
    unsigned flags = MDB_NOTLS | MDB_NOSYNC | (lmdb->read_only ? MDB_RDONLY : 0);
    struct owner_rights rights;
    char path[LMDB_PATH_SIZE];
    int rc = lmdb_allocate_lock(lmdb->dir_fd, dir, lmdb->read_only, error), fd;

    if (rc < 0)
        return rc;
    rc = -owner_begin(lmdb->dir_fd, &rights);
    if (rc != 0)
        return lmdb_refuse_answer(error, dir, rc);
    rc = mdb_env_create(&lmdb->env);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(lmdb->env, ENGINE_TABLES + 1);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(lmdb->env, LMDB_READERS_MAX);
    if (rc == 0)
        rc = mdb_env_set_mapsize(lmdb->env, lmdb->limit);
    if (rc == 0)
        rc = mdb_env_open(lmdb->env, lmdb_path(lmdb->dir_fd, "", path), flags, 0600);
    owner_end(&rights);
    if (rc == 0)
        rc = lmdb_guard(lmdb->env);
    if (rc == 0 && mdb_env_get_fd(lmdb->env, &fd) == 0)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC); /* programs that this process starts do not get it */
    return rc == 0 ? 0 : lmdb_refuse_answer(error, dir, rc);
}

int lmdb_find_tables(MDB_txn *txn, bool create, MDB_dbi tables[ENGINE_TABLES], MDB_dbi *marks)
{
    int rc = 0;

    for (int i = 0; rc == 0 && i <= ENGINE_TABLES; i++) {
        const char *name = i < ENGINE_TABLES ? lmdb_table_names[i] : LMDB_MARKS;
        MDB_dbi *table = i < ENGINE_TABLES ? &tables[i] : marks;

        rc = create ? mdb_dbi_open(txn, name, MDB_CREATE, table) : lmdb_guarded_open(txn, name, table);
    }
    return rc;
}

/* Open tables that are there. returns 0; -ENOTEMPTY the database is somebody else's */
int lmdb_open_tables(struct lmdb *lmdb, const char *dir, struct kv_error *error)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, &txn);

    if (rc != 0)
        return lmdb_refuse_answer(error, dir, rc);
    rc = lmdb_find_tables(txn, false, lmdb->tables, &lmdb->marks);
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
void lmdb_close_environment(struct lmdb *lmdb)
{
    struct lmdb_txn *txn;

    while ((txn = lmdb->idle) != NULL) {
        lmdb->idle = txn->next_idle;
        lmdb_free_txn(txn);
    }
    lmdb->idle_count = 0;
    lmdb_forget_pin_locked(lmdb);
    if (lmdb->env != NULL)
        mdb_env_close(lmdb->env);
    lmdb->env = NULL;
}

/* Begin met this environment, of which LMDB says that it can only be closed. Where the new one cannot be opened the
 * next begin tries again. returns 0; -EIO; -ETIMEDOUT */
int lmdb_reopen(struct lmdb *lmdb, const MDB_env *broken)
{
    struct kv_error error;
    int rc;

    pthread_mutex_lock(&lmdb->lock);
    rc = environment_wait_until_unused(lmdb);
    if (rc == 0 && lmdb->env == broken) {
        lmdb_close_environment(lmdb);
        (void)lmdb_fail(lmdb);
        if (!lmdb_is_data(lmdb->dir_fd, lmdb->data_fd) || lmdb_open_environment(lmdb, lmdb->dir, &error) < 0 ||
            lmdb_open_tables(lmdb, lmdb->dir, &error) < 0 || lmdb_widen_map(lmdb) < 0) {
            lmdb_close_environment(lmdb);
            rc = -EIO;
        }
    }
    pthread_mutex_unlock(&lmdb->lock);
    return rc;
}
