/* The edge cache: fetches, and what is told of keys. Its model is in cache.h.
 *
 * All under the one lock
 *
 *   entries  what is known: entries_internal.h
 *   fetches  the *current* fetches: those whose answer may still be kept and shared. Whatever makes such
 *            an answer doubtful takes the fetch off this list (overtake) and lets its waiters look again
 *   told     for each hash of keys the last news: fills, notes and drops are numbered. An own change that was queued
 *            before the last news of its key is not kept (keys that share a slot cost each other a fetch)
 *
 * The lock is never held for long: not across a fetch, not while memory of values is freed, and a long
 * eviction lets others in between. It is a leaf; only the clock is called under it.
 */
#include "store/cache/entries_internal.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include <xxhash.h>

#define TOLD_SLOTS 1024 /* a power of 2 */

struct cache_fetch {
    struct cache_fetch *prev, *next; /* in fetches, while current */
    struct kv_ref ref;
    uint64_t hash;
    int64_t began_ns;
    bool current;
    bool answered;       /* rc and answer are for those who wait */
    unsigned users;      /* its reader, and those who wait */
    pthread_cond_t over; /* no longer current */
    int rc;
    struct cache_answer answer;
};

struct cache {
    int64_t ttl_ns;
    const struct kv_clock *clock;

    pthread_mutex_t lock;
    struct entries entries; /* with ttl 0 of capacity 0, too */
    struct cache_fetch *fetches;
    uint64_t news; /* counts them */
    uint64_t told[TOLD_SLOTS];
    uint64_t hits, misses, expired;
};

static struct key key_of(uint64_t node, const char *data, size_t size)
{
    return (struct key){node, XXH3_64bits_withSeed(data, size, node), data, size};
}

static struct key key_of_ref(const struct kv_ref *ref) { return key_of(ref->node, ref->key, ref->size); }

static int64_t now_ns(const struct cache *cache) { return cache->clock->mono_ns(cache->clock->arg); }

static void unlock_and_free(struct cache *cache, struct garbage *garbage)
{
    pthread_mutex_unlock(&cache->lock);
    garbage_free(garbage);
}

/* Take the lock, and make room for what entries_keep() is going to be told. */
static void lock_with_room(struct cache *cache, const struct key *key, struct kv_value *value,
                           struct garbage *garbage)
{
    pthread_mutex_lock(&cache->lock);
    while (!entries_make_room(&cache->entries, key, value, garbage)) {
        unlock_and_free(cache, garbage);
        pthread_mutex_lock(&cache->lock);
    }
}

/* ----------------------------------------------------------------- fetches */

static struct cache_fetch *find_fetch(struct cache *cache, const struct key *key)
{
    struct cache_fetch *fetch;

    DL_FOREACH(cache->fetches, fetch) {
        if (fetch->hash == key->hash && fetch->ref.node == key->node && fetch->ref.size == key->size &&
            memcmp(fetch->ref.key, key->data, key->size) == 0)
            break;
    }
    return fetch;
}

static int begin(struct cache *cache, const struct kv_ref *ref, const struct key *key, int64_t began_ns,
                 struct cache_fetch **out)
{
    struct cache_fetch *fetch = malloc(sizeof(*fetch));

    if (fetch == NULL)
        return -ENOMEM;
    *fetch = (struct cache_fetch){.ref = *ref, .hash = key->hash, .began_ns = began_ns, .users = 1};
    pthread_cond_init(&fetch->over, NULL);
    fetch->current = cache->entries.capacity > 0 && find_fetch(cache, key) == NULL;
    if (fetch->current)
        DL_APPEND(cache->fetches, fetch);
    *out = fetch;
    return 0;
}

/* No longer current: those who wait go on. */
static void retire(struct cache *cache, struct cache_fetch *fetch)
{
    DL_DELETE(cache->fetches, fetch);
    fetch->current = false;
    pthread_cond_broadcast(&fetch->over);
}

static void overtake(struct cache *cache, const struct key *key)
{
    struct cache_fetch *fetch = find_fetch(cache, key);

    if (fetch != NULL)
        retire(cache, fetch);
}

/* Be done with a fetch. Lets go of the lock where it has to free it. */
static void leave(struct cache *cache, struct cache_fetch *fetch)
{
    if (--fetch->users > 0)
        return;
    pthread_mutex_unlock(&cache->lock);
    kv_value_unref(fetch->answer.value);
    pthread_cond_destroy(&fetch->over);
    free(fetch);
    pthread_mutex_lock(&cache->lock);
}

/* Tell those who wait how a current fetch ended. */
static void announce(struct cache *cache, struct cache_fetch *fetch, int rc, const struct cache_answer *answer)
{
    fetch->answered = true;
    fetch->rc = rc;
    if (answer != NULL && fetch->users > 1) {
        fetch->answer = *answer;
        if (answer->value != NULL)
            kv_value_ref(answer->value);
    }
    retire(cache, fetch);
}

/* Wait for another reader's fetch.
 * returns  1 and *answer; 0 it does not answer this reader: look again; <0 it failed */
static int share(struct cache *cache, struct cache_fetch *fetch, bool want_value, struct cache_answer *answer)
{
    const struct cache_answer *told = &fetch->answer;
    int rc = 0;

    fetch->users++;
    while (fetch->current)
        pthread_cond_wait(&fetch->over, &cache->lock);
    if (fetch->answered && fetch->rc < 0) {
        rc = fetch->rc;
    } else if (fetch->answered && now_ns(cache) - fetch->began_ns < cache->ttl_ns &&
               (told->absent || !want_value || told->value != NULL)) {
        *answer = *told;
        answer->value = want_value && told->value != NULL ? kv_value_ref(told->value) : NULL;
        rc = 1;
    }
    leave(cache, fetch);
    return rc;
}

/* -------------------------------------------------------------------- news */

static uint64_t *told_slot(struct cache *cache, const struct key *key)
{
    return &cache->told[key->hash >> 32 & (TOLD_SLOTS - 1)];
}

/* This node hears of a key, from elsewhere than an own change. */
static void hear(struct cache *cache, const struct key *key) { *told_slot(cache, key) = ++cache->news; }

static bool has_heard(struct cache *cache, const struct key *key, struct cache_since since)
{
    return *told_slot(cache, key) > since.news;
}

struct cache_since cache_now(struct cache *cache)
{
    struct cache_since since = {.at_ns = now_ns(cache)};

    pthread_mutex_lock(&cache->lock);
    since.news = cache->news;
    pthread_mutex_unlock(&cache->lock);
    return since;
}

/* ------------------------------------------------------------------ lookups */

static bool is_valid(const struct cache *cache, const struct entry *entry, int64_t at_ns)
{
    return at_ns - entry->fetched_ns < cache->ttl_ns;
}

static struct cache_answer answer_of(const struct entry *entry, bool want_value)
{
    return (struct cache_answer){
        .absent = entry->absent,
        .meta = entry->meta,
        .value = want_value && entry->value != NULL ? kv_value_ref(entry->value) : NULL,
        .fetched_ns = entry->fetched_ns,
        .from_cache = true,
    };
}

int cache_lookup(struct cache *cache, const struct kv_ref *ref, bool want_value, struct cache_answer *answer,
                 struct cache_fetch **fetch)
{
    struct key key = key_of_ref(ref);
    int64_t at_ns = now_ns(cache);
    struct cache_fetch *running;
    int rc;

    pthread_mutex_lock(&cache->lock);
    for (;;) {
        struct entry *entry = entries_find(&cache->entries, &key);
        bool valid = entry != NULL && is_valid(cache, entry, at_ns);

        if (valid && (entry->absent || !want_value || entry->value != NULL)) {
            entry_use(entry);
            *answer = answer_of(entry, want_value);
            rc = 1;
            break;
        }
        running = find_fetch(cache, &key);
        if (running == NULL) {
            rc = begin(cache, ref, &key, at_ns, fetch);
            cache->misses += rc == 0;
            cache->expired += rc == 0 && entry != NULL && !valid;
            break;
        }
        rc = share(cache, running, want_value, answer);
        if (rc != 0)
            break;
        at_ns = now_ns(cache);
    }
    cache->hits += rc == 1;
    pthread_mutex_unlock(&cache->lock);
    return rc;
}

int cache_fetch_newest(struct cache *cache, const struct kv_ref *ref, bool want_value, struct cache_answer *answer,
                       struct cache_fetch **fetch)
{
    struct key key = key_of_ref(ref);
    int64_t at_ns = now_ns(cache);
    struct entry *entry;
    int rc;

    pthread_mutex_lock(&cache->lock);
    entry = entries_find(&cache->entries, &key);
    if (entry != NULL)
        *answer = answer_of(entry, want_value);
    rc = begin(cache, ref, &key, at_ns, fetch);
    cache->misses += rc == 0;
    pthread_mutex_unlock(&cache->lock);
    if (rc < 0)
        kv_value_unref(answer->value);
    return rc;
}

void cache_fill(struct cache *cache, struct cache_fetch *fetch, struct cache_answer *answer)
{
    struct key key = key_of_ref(&fetch->ref);
    struct garbage garbage = {0};

    answer->fetched_ns = fetch->began_ns;
    answer->from_cache = false;
    lock_with_room(cache, &key, answer->value, &garbage);
    hear(cache, &key);
    if (fetch->current) {
        entries_keep(&cache->entries, &key, answer, now_ns(cache), &garbage);
        announce(cache, fetch, 0, answer);
    } else {
        overtake(cache, &key);
        entries_doubt(&cache->entries, entries_find(&cache->entries, &key), answer, &garbage);
    }
    leave(cache, fetch);
    unlock_and_free(cache, &garbage);
}

void cache_fail(struct cache *cache, struct cache_fetch *fetch, int rc)
{
    pthread_mutex_lock(&cache->lock);
    if (fetch->current)
        announce(cache, fetch, rc, NULL);
    leave(cache, fetch);
    pthread_mutex_unlock(&cache->lock);
}

int cache_peek(struct cache *cache, const struct kv_ref *ref, struct cache_answer *answer)
{
    struct key key = key_of_ref(ref);
    int64_t at_ns = now_ns(cache);
    const struct entry *entry;
    bool valid;

    pthread_mutex_lock(&cache->lock);
    entry = entries_find(&cache->entries, &key);
    valid = entry != NULL && is_valid(cache, entry, at_ns);
    if (valid)
        *answer = answer_of(entry, false);
    pthread_mutex_unlock(&cache->lock);
    return valid;
}

/* ------------------------------------------------------------------- changes */

static void learn(struct cache *cache, const struct kv_ref *ref, struct cache_answer what,
                  struct cache_since since)
{
    struct key key = key_of_ref(ref);
    struct garbage garbage = {0};

    what.fetched_ns = since.at_ns;
    lock_with_room(cache, &key, what.value, &garbage);
    overtake(cache, &key);
    if (has_heard(cache, &key, since))
        entries_forget(&cache->entries, &key, &garbage);
    else
        entries_keep(&cache->entries, &key, &what, now_ns(cache), &garbage);
    unlock_and_free(cache, &garbage);
}

void cache_write(struct cache *cache, const struct kv_ref *ref, const struct kv_meta *meta, struct kv_value *value,
                 struct cache_since since)
{
    learn(cache, ref, (struct cache_answer){.meta = *meta, .value = value}, since);
}

void cache_write_absent(struct cache *cache, const struct kv_ref *ref, struct cache_since since)
{
    learn(cache, ref, (struct cache_answer){.absent = true}, since);
}

void cache_drop(struct cache *cache, const struct kv_ref *ref)
{
    struct key key = key_of_ref(ref);
    struct garbage garbage = {0};

    pthread_mutex_lock(&cache->lock);
    overtake(cache, &key);
    hear(cache, &key);
    entries_forget(&cache->entries, &key, &garbage);
    unlock_and_free(cache, &garbage);
}

void cache_clear(struct cache *cache)
{
    struct garbage garbage = {0};

    pthread_mutex_lock(&cache->lock);
    while (cache->fetches != NULL)
        retire(cache, cache->fetches);
    cache->news++;
    for (size_t i = 0; i < TOLD_SLOTS; i++)
        cache->told[i] = cache->news;
    entries_clear(&cache->entries, &garbage);
    unlock_and_free(cache, &garbage);
}

void cache_note(struct cache *cache, uint64_t namespace_id, const char *name, size_t size,
                const struct kv_meta *meta, int64_t seen_ns)
{
    struct key key = key_of(namespace_id, name, size);
    struct cache_answer what = {.meta = *meta, .fetched_ns = seen_ns};
    struct garbage garbage = {0};
    struct entry *entry;

    pthread_mutex_lock(&cache->lock);
    overtake(cache, &key);
    hear(cache, &key);
    entry = entries_find(&cache->entries, &key);
    if (entry != NULL && entry->learned_ns < seen_ns)
        entries_keep(&cache->entries, &key, &what, now_ns(cache), &garbage);
    else
        entries_doubt(&cache->entries, entry, &what, &garbage);
    unlock_and_free(cache, &garbage);
}

/* ------------------------------------------------------------- the whole cache */

int cache_new(size_t capacity_bytes, int64_t ttl_ns, const struct kv_clock *clock, struct cache **out)
{
    struct cache *cache = calloc(1, sizeof(*cache));

    if (cache == NULL)
        return -ENOMEM;
    cache->ttl_ns = ttl_ns;
    cache->clock = clock;
    pthread_mutex_init(&cache->lock, NULL);
    if (entries_init(&cache->entries, ttl_ns > 0 ? capacity_bytes : 0) < 0) {
        cache_free(cache);
        return -ENOMEM;
    }
    *out = cache;
    return 0;
}

void cache_free(struct cache *cache)
{
    assert(cache->fetches == NULL);
    entries_free(&cache->entries);
    pthread_mutex_destroy(&cache->lock);
    free(cache);
}

void cache_stats(struct cache *cache, struct cache_stats *out)
{
    const struct entries *entries = &cache->entries;

    pthread_mutex_lock(&cache->lock);
    *out = (struct cache_stats){
        .hits = cache->hits,
        .misses = cache->misses,
        .expired = cache->expired,
        .evictions = entries->evictions,
        .bytes = entries_bytes(entries),
        .entries = entries->count,
    };
    pthread_mutex_unlock(&cache->lock);
}
