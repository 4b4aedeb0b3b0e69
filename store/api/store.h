/* Private to the store: what a kv_store is made of.
 *
 *   store.c   open, close, statistics
 *   edge.c    reading keys through the edge cache
 *   change.c  submitting changes, the simple forms
 *   locks.c   locks of names
 *   lease.c   ids from the central in blocks
 *   stage.c   puts that are done before they are durable
 *   list.c    pages of keys
 *
 * Lock order: stage.lock; then stage.list_lock or lease.lock, leaves, or the queue's; then the cache's, a leaf.
 */
#ifndef KVFS_STORE_STORE_H
#define KVFS_STORE_STORE_H

#include "store/api/lease.h"
#include "store/api/locks.h"
#include "store/base/engine.h"
#include "store/base/stats.h"
#include "store/cache/cache.h"
#include "store/commit/commit.h"

#include <pthread.h>

struct kv_store {
    struct engine *engine;
    struct kv_clock clock;
    struct cache *cache;
    struct commit_queue *queue; /* NULL: read-only */
    struct stats stats;
    mode_t umask;
    int64_t ttl_ns;
    int64_t commit_timeout_ns;

    struct lease lease;
    struct locks locks;
    struct {
        bool on; /* KV_DURABILITY_FSYNC */
        pthread_mutex_t lock;
        struct stage_account *accounts;
        size_t count, bytes;       /* of accepted values that are not settled */
        int lost_rc;               /* the first failure that nobody was told yet */
        pthread_mutex_t list_lock; /* a leaf; guards what follows */
        struct staged *staged;
        struct stage_watch *watches;
    } stage; /* see stage.h */
    void (*lost)(void *arg, const struct kv_ref *ref, uint64_t version, int rc);
    void *lost_arg;
};

static inline int64_t store_now_ns(struct kv_store *store) { return store->clock.mono_ns(store->clock.arg); }

/* commit_settled: tells the edge cache what a change did. */
void store_settled(void *arg, const struct kv_change *change, int rc);

#endif
