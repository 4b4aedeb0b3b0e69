/* Private to the store: what a kv_store is made of.
 *
 *   store.c   open, close, statistics
 *   edge.c    reading keys through the edge cache
 *   change.c  submitting changes, the simple forms
 *   locks.c   locks of names
 *   lease.c   ids from the central in blocks
 *   follow.c  what others have changed
 *   list.c    pages of keys
 *   mounts.c  what processes have it open for
 *   sweep.c   removing keys that have expired
 *   look.c    looking for damaged pages
 *   copy.c    copies, restoring and compacting: with store.c the one that knows that a store is an LMDB
 *
 * Lock order: follow.lock before the cache's; lease.lock, lines.lock, the queue's and the cache's are leaves.
 */
#ifndef KVFS_STORE_STORE_H
#define KVFS_STORE_STORE_H

#include "store/api/lease.h"
#include "store/api/locks.h"
#include "store/backend.h"
#include "store/base/stats.h"
#include "store/cache/cache.h"
#include "store/commit/commit.h"

#include <pthread.h>
#include <stdatomic.h>

struct store_home;

struct kv_store {
    struct backend *backend;
    struct kv_clock clock;
    struct cache *cache;
    struct commit_queue *queue; /* NULL: read-only */
    struct stats stats;
    mode_t umask;
    uint32_t format; /* version */
    int announced;   /* the file of kv_announce(); -1: there is none */
    int64_t ttl_ns;
    int64_t timeout_ns; /* of a call of the backend */

    struct lease lease;
    struct locks locks;
    struct {
        bool on;                /* KV_INVALIDATE_PUSH, with a cache */
        _Atomic uint64_t epoch; /* of the state up to which the cache knows of all commits */
        pthread_mutex_t lock;   /* held while the cache is told of others' changes; the cache's comes after it */
        struct kv_feed place;
    } follow;
    struct {
        pthread_mutex_t lock;
        struct store_home *homes; /* accounts by namespace */
    } lines;
    struct store_sweeper *sweeper; /* NULL: this process does not sweep */
};

static inline int64_t store_now_ns(struct kv_store *store) { return store->clock.mono_ns(store->clock.arg); }

static inline int64_t store_real_ns(struct kv_store *store) { return store->clock.real_ns(store->clock.arg); }

/* Start the thread that sweeps, and end it. It is freed once no change is under way any more.
 * returns  0; -EAGAIN, -ENOMEM */
KV_CHECKED int store_sweep_start(struct kv_store *store);
void store_sweep_stop(struct kv_store *store);
void store_sweep_free(struct kv_store *store);
/* A key expires then, by a change of this process, which is committed; 0: never. */
void store_sweep_hear(struct kv_store *store, int64_t expires_ns);

/* Let the cache follow from now on, or not at all. */
void store_follow(struct kv_store *store, bool on);
/* Let it hear of what others have committed, where it follows. */
void store_catch_up(struct kv_store *store);

void store_forget_homes(struct kv_store *store);

/* What was announced is not so any more. The backend is open. */
void mounts_end(struct kv_store *store);

/* commit_settled: tells the edge cache what a change did. */
void store_settled(void *arg, const struct kv_change *change, int rc);

#endif
