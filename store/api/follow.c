/* Following what other processes commit: the edge cache, and whoever asks. */
#include "store/api/store.h"
#include "store/base/name.h"
#include "store/base/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --------------------------------------------------------------------------- the cache */

/* Which key is it that a record is kept under? returns 0; -EIO none */
static int follow_ref(struct slice key, struct kv_ref *out)
{
    char name[KV_KEY_MAX + 1];
    int size = key.size < 8 ? -EIO : name_unpack((const uint8_t *)key.data + 8, key.size - 8, name);

    if (size < 0)
        return size;
    *out = kv_ref_key(name_get_u64(key.data), name, (size_t)size);
    return 0;
}

static int follow_drop(void *arg, const struct kv_feed *at, enum engine_table table, struct slice key,
                       const struct slice *value)
{
    struct kv_store *store = arg;
    struct kv_ref ref;

    (void)at;
    (void)value;
    if (table != ENGINE_KEYS || follow_ref(key, &ref) < 0)
        return 0; /* no key of ours */
    cache_drop(store->cache, &ref);
    return 0;
}

/* The epoch that counts is that of what was followed: engine_epoch() can be ahead of it. Where it cannot be followed
 * (in a damaged store, which is read all the same) nothing stays cached, and the next read tries again. */
static void follow_cache(struct kv_store *store)
{
    bool begins = store->follow.place.salt == 0;
    int rc = store->engine->ops->follow(store->engine, &store->follow.place, false, follow_drop, store);

    if (rc < 0 || begins)
        cache_clear(store->cache);
    if (rc == 0 || rc == -ESTALE)
        atomic_store(&store->follow.epoch, store->follow.place.epoch);
}

void store_follow(struct kv_store *store, bool on)
{
    store->follow.on = on && store->engine->ops->follow != NULL;
    if (store->follow.on)
        follow_cache(store);
}

void store_catch_up(struct kv_store *store)
{
    if (!store->follow.on || engine_epoch(store->engine) == atomic_load(&store->follow.epoch))
        return;
    pthread_mutex_lock(&store->follow.lock);
    if (engine_epoch(store->engine) != atomic_load(&store->follow.epoch))
        follow_cache(store);
    pthread_mutex_unlock(&store->follow.lock);
}

/* --------------------------------------------------------------------------- whoever asks */

struct following {
    kv_changed_visit *visit;
    void *arg;
};

static int follow_key(struct kv_changed *changed, struct slice key, const struct slice *value)
{
    struct record_key record;
    int rc = follow_ref(key, &changed->ref);

    if (rc < 0)
        return rc;
    changed->kind = KV_CHANGED_KEY;
    changed->known = value != NULL && value->size > 0 && record_decode_key(key, *value, &record) == 0;
    if (changed->known)
        changed->meta = record.meta;
    return 0;
}

static int follow_node(struct kv_changed *changed, struct slice key, const struct slice *value)
{
    struct record_node record;

    if (key.size != 8)
        return -EIO;
    changed->kind = KV_CHANGED_NODE;
    changed->ref = kv_ref_node(name_get_u64(key.data));
    changed->known = value != NULL && value->size > 0 && record_decode_node(key, *value, &record) == 0;
    if (changed->known)
        changed->node = record.node;
    return 0;
}

static int follow_name(struct kv_changed *changed, struct slice key, const struct slice *value)
{
    size_t size = key.size - 8;
    uint64_t id = 0;

    if (key.size < 8 || size > KV_NAME_MAX ||
        (value != NULL && record_decode_number(ENGINE_NAMES, key, *value, &id) < 0))
        return -EIO;
    changed->known = value != NULL;
    changed->node.id = id;
    changed->kind = KV_CHANGED_NAME;
    changed->ref = kv_ref_node(name_get_u64(key.data));
    memcpy(changed->node.name, (const char *)key.data + 8, size);
    changed->node.name[size] = '\0';
    return 0;
}

static int follow_tell(void *arg, const struct kv_feed *at, enum engine_table table, struct slice key,
                       const struct slice *value)
{
    const struct following *following = arg;
    struct kv_changed changed = {.removed = value == NULL, .at = at};
    int rc;

    switch (table) {
    case ENGINE_KEYS:
        rc = follow_key(&changed, key, value);
        break;
    case ENGINE_NODES:
        rc = follow_node(&changed, key, value);
        break;
    case ENGINE_NAMES:
        rc = follow_name(&changed, key, value);
        break;
    default:
        return 0;
    }
    return rc < 0 ? rc : following->visit(following->arg, &changed);
}

int kv_follow(struct kv_store *store, struct kv_feed *feed, bool own, kv_changed_visit *visit, void *arg)
{
    struct following following = {.visit = visit, .arg = arg};

    if (store->engine->ops->follow == NULL)
        return 0;
    return store->engine->ops->follow(store->engine, feed, own, follow_tell, &following);
}

uint64_t kv_epoch(struct kv_store *store) { return engine_epoch(store->engine); }

int kv_wait(struct kv_store *store, uint64_t epoch, int64_t timeout_ms)
{
    const struct timespec nap = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};

    if (store->engine->ops->wait != NULL)
        return store->engine->ops->wait(store->engine, epoch, timeout_ms * 1000000);
    nanosleep(&nap, NULL);
    return -ETIMEDOUT;
}

void kv_wake(struct kv_store *store)
{
    if (store->engine->ops->wake != NULL)
        store->engine->ops->wake(store->engine);
}
