/* Reading through the edge cache, and the reads that need none. */
#include "store/api/store.h"

#include <errno.h>

static void fill_fresh(struct kv_store *store, const struct cache_answer *answer, int64_t real_ns,
                       struct kv_fresh *fresh)
{
    int64_t age_ns, remaining_ns, expires_ns = answer->absent ? 0 : answer->meta.expires_ns;

    if (fresh == NULL)
        return;
    age_ns = store_now_ns(store) - answer->fetched_ns;
    remaining_ns = age_ns < store->ttl_ns ? store->ttl_ns - age_ns : 0;
    if (expires_ns != 0 && expires_ns - real_ns < remaining_ns)
        remaining_ns = expires_ns > real_ns ? expires_ns - real_ns : 0;
    fresh->age_ms = age_ns / 1000000;
    fresh->remaining_ms = remaining_ns / 1000000;
    fresh->from_cache = answer->from_cache;
}

/* The cache, and the central until it is swept, still tell of a key that has expired: nobody else is told of it.
 * real_ns: before it was looked for. What had expired then was so when it was found, and the key was absent; what has
 * expired since may have been replaced in time. */
static void edge_expire(struct cache_answer *answer, int64_t real_ns)
{
    if (answer->absent || !kv_expired(&answer->meta, real_ns))
        return;
    kv_value_unref(answer->value);
    answer->value = NULL;
    answer->absent = true;
}

/* Has what is known of a key expired, while the key may not have? A cache that hears nothing of other processes may not
 * have heard that its end was moved, and then it was never gone. */
static bool edge_may_live(const struct kv_store *store, const struct cache_answer *answer, int64_t real_ns)
{
    return !store->follow.on && !answer->absent && kv_expired(&answer->meta, real_ns);
}

/* Ask the central, and let the cache and its waiters know. */
static int fetch(struct kv_store *store, const struct kv_ref *ref, bool want_value, struct cache_fetch *fetch,
                 struct cache_answer *answer)
{
    struct backend_get get = {.ref = ref, .want_value = want_value, .meta = answer->meta, .value = answer->value};
    int rc = backend_ask(store->backend, BACKEND_GET, store->timeout_ns, &get.call);

    stats_central_read(&store->stats);
    answer->meta = get.meta;
    answer->value = get.value;
    if (rc < 0 && rc != -ENOENT) {
        cache_fail(store->cache, fetch, rc);
        return rc;
    }
    answer->absent = rc == -ENOENT;
    cache_fill(store->cache, fetch, answer);
    return 0;
}

/* What begins a fetch: cache_lookup() or cache_fetch_newest(). */
typedef int begin_fetch(struct cache *cache, const struct kv_ref *ref, bool want_value,
                        struct cache_answer *answer, struct cache_fetch **fetch);

static int look_up(struct kv_store *store, begin_fetch *begin, const struct kv_ref *ref, bool want_value,
                   struct cache_answer *answer, struct kv_fresh *fresh)
{
    struct cache_fetch *under_way;
    int rc = kv_name_check(KV_NAME_KEY, ref->key, ref->size);
    int64_t real_ns = store_real_ns(store);

    *answer = (struct cache_answer){.fetched_ns = store_now_ns(store)};
    if (rc < 0) { /* no such key can be there */
        fill_fresh(store, answer, 0, fresh);
        return -ENOENT;
    }
    store_catch_up(store);
    rc = begin(store->cache, ref, want_value, answer, &under_way);
    if (rc > 0 && edge_may_live(store, answer, real_ns)) {
        kv_value_unref(answer->value);
        *answer = (struct cache_answer){.fetched_ns = store_now_ns(store)};
        rc = cache_fetch_newest(store->cache, ref, want_value, answer, &under_way);
    }
    if (rc == 0)
        rc = fetch(store, ref, want_value, under_way, answer);
    if (rc < 0)
        return rc;
    edge_expire(answer, real_ns);
    fill_fresh(store, answer, store_real_ns(store), fresh);
    return answer->absent ? -ENOENT : 0;
}

int kv_stat(struct kv_store *store, const struct kv_ref *ref, struct kv_meta *meta, struct kv_fresh *fresh)
{
    struct cache_answer answer;
    int rc = look_up(store, cache_lookup, ref, false, &answer, fresh);

    if (rc == 0)
        *meta = answer.meta;
    return rc;
}

int kv_get(struct kv_store *store, const struct kv_ref *ref, struct kv_meta *meta, struct kv_value **value,
           struct kv_fresh *fresh)
{
    int64_t start_ns = store_now_ns(store);
    struct cache_answer answer;
    int rc = look_up(store, cache_lookup, ref, true, &answer, fresh);

    if (rc == 0) {
        *meta = answer.meta;
        *value = answer.value;
    }
    stats_record(&store->stats.get, store_now_ns(store) - start_ns);
    return rc;
}

int kv_get_newest(struct kv_store *store, const struct kv_ref *ref, struct kv_meta *meta, struct kv_value **value)
{
    struct cache_answer answer;
    int rc = look_up(store, cache_fetch_newest, ref, value != NULL, &answer, NULL);

    if (rc == 0) {
        *meta = answer.meta;
        if (value != NULL)
            *value = answer.value;
    }
    return rc;
}

int kv_peek(struct kv_store *store, const struct kv_ref *ref, struct kv_meta *meta, struct kv_fresh *fresh)
{
    struct cache_answer answer = {0};
    int64_t real_ns = store_real_ns(store);

    store_catch_up(store);
    if (!cache_peek(store->cache, ref, &answer) || answer.absent || kv_expired(&answer.meta, real_ns))
        return -ENOENT;
    *meta = answer.meta;
    fill_fresh(store, &answer, real_ns, fresh);
    return 0;
}

void kv_forget(struct kv_store *store, const struct kv_ref *ref) { cache_drop(store->cache, ref); }

int kv_node_find(struct kv_store *store, uint64_t parent, const char *name, size_t size, struct kv_node *out)
{
    struct backend_node child = {.id = parent, .name = name, .size = size, .node = out};

    return backend_ask(store->backend, BACKEND_CHILD, store->timeout_ns, &child.call);
}

int kv_node_get(struct kv_store *store, uint64_t id, struct kv_node *out)
{
    struct backend_node node = {.id = id, .node = out};

    return backend_ask(store->backend, BACKEND_NODE, store->timeout_ns, &node.call);
}

int kv_check_seen(struct kv_store *store, const struct kv_seen *seen, size_t count, struct kv_usage *usage)
{
    struct backend_seen check = {.seen = seen, .count = count};
    int rc = backend_ask(store->backend, BACKEND_SEEN, store->timeout_ns, &check.call);

    if (rc == 0 && usage != NULL)
        *usage = check.usage;
    return rc;
}

int kv_xattrs_get(struct kv_store *store, const struct kv_ref *ref, struct kv_xattrs *out)
{
    int64_t real_ns = store_real_ns(store);
    struct kv_xattrs found;
    struct backend_xattrs xattrs = {.ref = ref, .xattrs = &found};
    int rc = backend_ask(store->backend, BACKEND_XATTRS, store->timeout_ns, &xattrs.call);

    if (rc == 0 && kv_expired(&xattrs.meta, real_ns))
        rc = -ENOENT;
    if (rc == 0)
        *out = found;
    return rc;
}

struct key_scan {
    struct kv_store *store;
    uint64_t namespace_id;
    int64_t seen_ns, real_ns;
    kv_key_visit *visit;
    void *arg;
};

static int note_key(void *arg, const char *key, size_t size, const struct kv_meta *meta)
{
    struct key_scan *scan = arg;

    cache_note(scan->store->cache, scan->namespace_id, key, size, meta, scan->seen_ns);
    return kv_expired(meta, scan->real_ns) ? 0 : scan->visit(scan->arg, key, size, meta);
}

int kv_scan(struct kv_store *store, uint64_t namespace_id, const char *from, size_t size, bool after,
            kv_key_visit *visit, void *arg)
{
    struct key_scan scan = {store, namespace_id, store_now_ns(store), store_real_ns(store), visit, arg};
    struct backend_list list = {
        .parent = namespace_id, .from = from, .size = size, .after = after, .visit_key = note_key, .arg = &scan};

    stats_central_read(&store->stats);
    return backend_ask(store->backend, BACKEND_LIST_KEYS, store->timeout_ns, &list.call);
}

int kv_node_scan(struct kv_store *store, uint64_t parent, const char *from, size_t size, bool after,
                 kv_node_visit *visit, void *arg)
{
    struct backend_list list = {
        .parent = parent, .from = from, .size = size, .after = after, .visit_node = visit, .arg = arg};

    return backend_ask(store->backend, BACKEND_LIST_NODES, store->timeout_ns, &list.call);
}
