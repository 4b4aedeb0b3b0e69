/* Following what other processes commit: the edge cache, and whoever asks. */
#include "store/api/store.h"

#include <errno.h>
#include <time.h>

static int follow_run(struct kv_store *store, struct kv_feed *place, bool own, kv_changed_visit *visit, void *arg)
{
    struct backend_follow follow = {.place = place, .own = own, .visit = visit, .arg = arg};

    return backend_ask(store->backend, BACKEND_FOLLOW, store->timeout_ns, &follow.call);
}

/* --------------------------------------------------------------------------- the cache */

static int follow_drop(void *arg, const struct kv_changed *changed)
{
    struct kv_store *store = arg;

    if (changed->kind == KV_CHANGED_KEY)
        cache_drop(store->cache, &changed->ref);
    return 0;
}

/* The epoch that counts is that of what was followed: the backend's can be ahead of it. Where it cannot be followed
 * (in a damaged store, which is read all the same) nothing stays cached, and the next read tries again. */
static void follow_cache(struct kv_store *store)
{
    bool begins = store->follow.place.salt == 0;
    int rc = follow_run(store, &store->follow.place, false, follow_drop, store);

    if (rc < 0 || begins)
        cache_clear(store->cache);
    if (rc == 0 || rc == -ESTALE)
        atomic_store(&store->follow.epoch, store->follow.place.epoch);
}

void store_follow(struct kv_store *store, bool on)
{
    store->follow.on = on && store->backend->follows;
    if (store->follow.on)
        follow_cache(store);
}

void store_catch_up(struct kv_store *store)
{
    if (!store->follow.on || kv_epoch(store) == atomic_load(&store->follow.epoch))
        return;
    pthread_mutex_lock(&store->follow.lock);
    if (kv_epoch(store) != atomic_load(&store->follow.epoch))
        follow_cache(store);
    pthread_mutex_unlock(&store->follow.lock);
}

/* --------------------------------------------------------------------------- whoever asks */

int kv_follow(struct kv_store *store, struct kv_feed *feed, bool own, kv_changed_visit *visit, void *arg)
{
    return store->backend->follows ? follow_run(store, feed, own, visit, arg) : 0;
}

uint64_t kv_epoch(struct kv_store *store) { return store->backend->ops->epoch(store->backend); }

int kv_wait(struct kv_store *store, uint64_t epoch, int64_t timeout_ms)
{
    const struct timespec nap = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};

    if (store->backend->follows)
        return store->backend->ops->wait(store->backend, epoch, timeout_ms * 1000000);
    nanosleep(&nap, NULL);
    return -ETIMEDOUT;
}

void kv_wake(struct kv_store *store)
{
    if (store->backend->follows)
        store->backend->ops->wake(store->backend);
}
