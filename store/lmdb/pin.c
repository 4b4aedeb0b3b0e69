/* Pins: read transactions that nothing is read through, so that LMDB writes over no page of a checkpoint. A pin does
 * not count as open: the map may change under it. Where the environment is closed it ends, too, so `lock` guards it.
 *
 * An old pin keeps all pages that were replaced since, also by others. Who commits makes a new checkpoint in time, and
 * pins that instead. Who does not commit for a moment has a thread that gives the pin back, once others have made a
 * checkpoint after the last commit of this process: its next one comes after a checkpoint of its own then. */
#include "store/lmdb/lmdb_internal.h"

#include <signal.h>

/* Bytes of pages: a pin that keeps less of them is not given back before its process rests. */
#define PIN_SMALL (LMDB_PINNED_MOST / 4)

static void pin_replace_locked(struct lmdb *lmdb, struct lmdb_txn *instead)
{
    if (lmdb->pin != NULL)
        lmdb_free_txn(lmdb->pin);
    lmdb->pin = instead;
}

static void pin_replace(struct lmdb *lmdb, struct lmdb_txn *instead)
{
    pthread_mutex_lock(&lmdb->lock);
    pin_replace_locked(lmdb, instead);
    pthread_mutex_unlock(&lmdb->lock);
}

bool lmdb_is_pinned(struct lmdb *lmdb)
{
    bool is;

    pthread_mutex_lock(&lmdb->lock);
    is = lmdb->pin != NULL;
    pthread_mutex_unlock(&lmdb->lock);
    return is;
}

void lmdb_unpin(struct lmdb *lmdb) { pin_replace(lmdb, NULL); }

void lmdb_forget_pin_locked(struct lmdb *lmdb) { pin_replace_locked(lmdb, NULL); }

/* Does nothing of this process's need the pin, and does it keep much? The process is not committing. */
static bool pin_is_in_the_way(const struct lmdb *lmdb)
{
    struct lmdb_checkpoint newest = lmdb_writer_checkpoint(lmdb);

    return lmdb->last_txn <= newest.txn && newest.volume > lmdb->pin_volume + PIN_SMALL;
}

static void *pin_keeper(void *arg)
{
    struct lmdb *lmdb = arg;
    uint32_t told = 0;

    while (!__atomic_load_n(&lmdb->closing, __ATOMIC_ACQUIRE)) {
        /* A thread that commits looks after the pin itself. */
        if (pthread_mutex_trylock(&lmdb->writing) == 0) {
            if (pin_is_in_the_way(lmdb))
                lmdb_unpin(lmdb);
            pthread_mutex_unlock(&lmdb->writing);
        }
        told = lmdb_writer_wait_checkpoint(lmdb, told);
    }
    return NULL;
}

/* Without the thread others have to wait until this process rests. */
static void pin_start_keeper(struct lmdb *lmdb)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    lmdb->has_keeper = pthread_create(&lmdb->keeper, NULL, pin_keeper, lmdb) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void lmdb_pin(struct lmdb *lmdb, struct lmdb_txn *txn, uint64_t volume)
{
    lmdb->pin_txn = mdb_txn_id(txn->mdb);
    lmdb->pin_volume = volume;
    pin_replace(lmdb, txn);
    (void)lmdb_leave(lmdb, NULL);
    if (!lmdb->has_keeper)
        pin_start_keeper(lmdb);
}

void lmdb_pin_end(struct lmdb *lmdb)
{
    if (!lmdb->has_keeper)
        return;
    __atomic_store_n(&lmdb->closing, true, __ATOMIC_RELEASE);
    lmdb_writer_tell_checkpoint(lmdb);
    pthread_join(lmdb->keeper, NULL);
}
