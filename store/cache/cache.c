/* The edge cache; its model is in cache.h.
 *
 * Structures, all under the one lock
 *
 *   index    a chained hash table of entries. Its size follows from the capacity and never changes, so
 *            no insertion has to wait for a table that grows (pages nobody touches cost nothing)
 *   queues   every entry is in exactly one, oldest first: SMALL or MAIN. Their bytes together never pass the capacity
 *   ghost    fingerprints of entries evicted from SMALL. One that is younger, in evictions, than the cache
 *            has entries sends its key straight to MAIN when it comes back
 *   fetches  the *current* fetches: those whose answer may still be kept and shared. Whatever makes such
 *            an answer doubtful takes the fetch off this list (overtake) and lets its waiters look again
 *   told     for each hash of keys the last news: fills, notes and drops are numbered. An own change that was queued
 *            before the last news of its key is not kept (keys that share a slot cost each other a fetch)
 *
 * The lock is never held for long: not across a fetch, not while memory of values is freed, and a long
 * eviction lets others in between. It is a leaf; only the clock is called under it.
 */
#include "store/cache/cache.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include <xxhash.h>

#define USES_MAX 3
#define SMALL_SHARE 10       /* SMALL is meant to have a tenth of the capacity */
#define VALUE_SHARE 8        /* a value may have an eighth of it */
#define BYTES_PER_BUCKET 256 /* about what an entry without a value takes */
#define BUCKETS_MIN 64
#define BUCKETS_MAX ((size_t)1 << 22)
#define GHOST_WAYS 8 /* fingerprints in a bucket: one cache line */
#define EVICTIONS_AT_A_TIME 64
#define TOLD_SLOTS 1024 /* a power of 2 */

enum queue_name { SMALL, MAIN, QUEUES };

struct entry {
    struct entry *chain;       /* in its bucket */
    struct entry *prev, *next; /* in its queue */
    struct kv_value *value;    /* NULL: not known */
    struct kv_meta meta;
    int64_t fetched_ns; /* what it says was so then, or later */
    int64_t learned_ns; /* and was so before this */
    uint64_t hash, node;
    uint16_t size;
    uint8_t queue;
    uint8_t uses; /* up to USES_MAX */
    bool absent;
    char key[];
};

struct queue {
    struct entry *head;
    size_t bytes;
};

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
    size_t capacity;
    int64_t ttl_ns;
    bool keeps; /* neither of them is 0 */
    const struct kv_clock *clock;

    pthread_mutex_t lock;
    struct entry **index;
    uint64_t *ghost;      /* fingerprint and time of eviction, 32 bits each */
    size_t buckets;       /* of the index, and slots of the ghost; a power of 2 */
    uint32_t ghost_clock; /* counts evictions from SMALL */
    struct queue queues[QUEUES];
    struct cache_fetch *fetches;
    uint64_t news; /* counts them */
    uint64_t told[TOLD_SLOTS];
    struct cache_stats stats; /* bytes: not used */
};

struct key {
    uint64_t node, hash;
    const char *data;
    size_t size;
};

/* What an operation took out of the cache, to be freed without the lock. */
struct garbage {
    struct entry *entries;  /* linked by `next` */
    struct kv_value *value; /* that was replaced */
};

static struct key key_of(uint64_t node, const char *data, size_t size)
{
    return (struct key){node, XXH3_64bits_withSeed(data, size, node), data, size};
}

static struct key key_of_ref(const struct kv_ref *ref) { return key_of(ref->node, ref->key, ref->size); }

static int64_t now_ns(const struct cache *cache) { return cache->clock->mono_ns(cache->clock->arg); }

/* What an entry takes, with what malloc, the index and the ghost add to it. */
static size_t cost(size_t key_size, const struct kv_value *value)
{
    const size_t around_entry = 32, around_value = sizeof(struct kv_value) + 32;

    return offsetof(struct entry, key) + key_size + around_entry +
           (value != NULL ? around_value + value->size : 0);
}

/* ------------------------------------------------------------------- ghost */

static uint64_t *ghost_bucket(struct cache *cache, uint64_t hash)
{
    return &cache->ghost[hash & (cache->buckets - 1) & ~(uint64_t)(GHOST_WAYS - 1)];
}

static uint32_t ghost_age(const struct cache *cache, uint64_t slot) { return cache->ghost_clock - (uint32_t)slot; }

static void ghost_add(struct cache *cache, uint64_t hash)
{
    uint64_t *bucket = ghost_bucket(cache, hash), *oldest = bucket;

    for (size_t i = 0; i < GHOST_WAYS; i++) {
        if (bucket[i] == 0) {
            oldest = &bucket[i];
            break;
        }
        if (ghost_age(cache, bucket[i]) > ghost_age(cache, *oldest))
            oldest = &bucket[i];
    }
    cache->ghost_clock++;
    *oldest = (hash & ~(uint64_t)UINT32_MAX) | cache->ghost_clock;
}

/* Was this evicted from SMALL lately? It is forgotten thereby. */
static bool ghost_take(struct cache *cache, uint64_t hash)
{
    uint64_t *bucket = ghost_bucket(cache, hash);

    for (size_t i = 0; i < GHOST_WAYS; i++) {
        if (bucket[i] != 0 && bucket[i] >> 32 == hash >> 32) {
            bool lately = ghost_age(cache, bucket[i]) <= cache->stats.entries;

            bucket[i] = 0;
            return lately;
        }
    }
    return false;
}

/* ----------------------------------------------------------------- entries */

static struct entry **bucket_of(struct cache *cache, uint64_t hash)
{
    return &cache->index[hash & (cache->buckets - 1)];
}

static struct entry *find(struct cache *cache, const struct key *key)
{
    struct entry *entry = cache->stats.entries > 0 ? *bucket_of(cache, key->hash) : NULL;

    while (entry != NULL && (entry->hash != key->hash || entry->node != key->node || entry->size != key->size ||
                             memcmp(entry->key, key->data, key->size) != 0))
        entry = entry->chain;
    return entry;
}

static void enqueue(struct cache *cache, struct entry *entry, enum queue_name queue)
{
    DL_APPEND(cache->queues[queue].head, entry);
    cache->queues[queue].bytes += cost(entry->size, entry->value);
    entry->queue = (uint8_t)queue;
}

static void dequeue(struct cache *cache, struct entry *entry)
{
    DL_DELETE(cache->queues[entry->queue].head, entry);
    cache->queues[entry->queue].bytes -= cost(entry->size, entry->value);
}

static void requeue(struct cache *cache, struct entry *entry, enum queue_name queue)
{
    dequeue(cache, entry);
    enqueue(cache, entry, queue);
}

/* A new entry that says nothing yet. NULL: no memory */
static struct entry *add(struct cache *cache, const struct key *key)
{
    struct entry *entry = calloc(1, offsetof(struct entry, key) + key->size);
    struct entry **bucket = bucket_of(cache, key->hash);

    if (entry == NULL)
        return NULL;
    entry->hash = key->hash;
    entry->node = key->node;
    entry->size = (uint16_t)key->size;
    memcpy(entry->key, key->data, key->size);
    entry->chain = *bucket;
    *bucket = entry;
    enqueue(cache, entry, ghost_take(cache, key->hash) ? MAIN : SMALL);
    cache->stats.entries++;
    return entry;
}

static void discard(struct cache *cache, struct entry *entry, struct garbage *garbage)
{
    struct entry **link = bucket_of(cache, entry->hash);

    while (*link != entry)
        link = &(*link)->chain;
    *link = entry->chain;
    dequeue(cache, entry);
    cache->stats.entries--;
    entry->next = garbage->entries;
    garbage->entries = entry;
}

static void set_value(struct cache *cache, struct entry *entry, struct kv_value *value, struct garbage *garbage)
{
    struct queue *queue = &cache->queues[entry->queue];

    if (value == entry->value)
        return;
    queue->bytes -= cost(entry->size, entry->value);
    garbage->value = entry->value;
    entry->value = value != NULL ? kv_value_ref(value) : NULL;
    queue->bytes += cost(entry->size, entry->value);
}

static void free_garbage(struct garbage *garbage)
{
    struct entry *entry;

    while ((entry = garbage->entries) != NULL) {
        garbage->entries = entry->next;
        kv_value_unref(entry->value);
        free(entry);
    }
    kv_value_unref(garbage->value);
    garbage->value = NULL;
}

static void unlock_and_free(struct cache *cache, struct garbage *garbage)
{
    pthread_mutex_unlock(&cache->lock);
    free_garbage(garbage);
}

/* ---------------------------------------------------------------- eviction */

static void evict(struct cache *cache, struct garbage *garbage)
{
    struct queue *small = &cache->queues[SMALL], *main_queue = &cache->queues[MAIN];
    struct entry *entry = main_queue->head;

    if (entry == NULL || (small->head != NULL && small->bytes > cache->capacity / SMALL_SHARE))
        entry = small->head;
    if (entry->queue == SMALL && entry->uses > 1) {
        entry->uses = 0;
        requeue(cache, entry, MAIN);
    } else if (entry->queue == MAIN && entry->uses > 0) {
        entry->uses--;
        requeue(cache, entry, MAIN);
    } else {
        if (entry->queue == SMALL)
            ghost_add(cache, entry->hash);
        discard(cache, entry, garbage);
        cache->stats.evictions++;
    }
}

/* Evict until there is room for `bytes` more. The lock is held before and after, not all the time between. */
static void make_room(struct cache *cache, size_t bytes, struct garbage *garbage)
{
    unsigned steps = 0;

    while (cache->queues[SMALL].bytes + cache->queues[MAIN].bytes + bytes > cache->capacity &&
           (cache->queues[SMALL].head != NULL || cache->queues[MAIN].head != NULL)) {
        if (steps++ == EVICTIONS_AT_A_TIME) {
            unlock_and_free(cache, garbage);
            pthread_mutex_lock(&cache->lock);
            steps = 0;
        } else {
            evict(cache, garbage);
        }
    }
}

/* The value as far as it may be kept. */
static struct kv_value *keepable(const struct cache *cache, struct kv_value *value)
{
    return value != NULL && value->size <= cache->capacity / VALUE_SHARE ? value : NULL;
}

/* Can an entry with this value be kept at all? */
static bool fits(const struct cache *cache, size_t key_size, const struct kv_value *value)
{
    return cache->keeps && cost(key_size, value) <= cache->capacity;
}

/* Take the lock, and make room for what keep() is going to be told. */
static void lock_with_room(struct cache *cache, const struct key *key, struct kv_value *value,
                           struct garbage *garbage)
{
    value = keepable(cache, value);
    pthread_mutex_lock(&cache->lock);
    if (fits(cache, key->size, value))
        make_room(cache, cost(key->size, value), garbage);
}

/* Make the entry of a key say this. There is room for it; where it cannot be kept the entry goes. */
static void keep(struct cache *cache, const struct key *key, const struct cache_answer *what,
                 struct garbage *garbage)
{
    struct entry *entry = find(cache, key);
    struct kv_value *value = what->absent ? NULL : keepable(cache, what->value);

    if (value == NULL && entry != NULL && !what->absent && entry->meta.version == what->meta.version)
        value = keepable(cache, entry->value); /* of an absence NULL */
    if (!fits(cache, key->size, value)) {
        if (entry != NULL)
            discard(cache, entry, garbage);
        return;
    }
    if (entry == NULL)
        entry = add(cache, key);
    if (entry == NULL)
        return;
    entry->absent = what->absent;
    entry->meta = what->meta;
    entry->fetched_ns = what->fetched_ns;
    entry->learned_ns = now_ns(cache);
    set_value(cache, entry, value, garbage);
}

static bool same_meta(const struct kv_meta *a, const struct kv_meta *b)
{
    return a->version == b->version && a->size == b->size && a->has_xattrs == b->has_xattrs &&
           a->expires_ns == b->expires_ns && a->attr.ino == b->attr.ino && a->attr.mode == b->attr.mode &&
           a->attr.uid == b->attr.uid && a->attr.gid == b->attr.gid && a->attr.atime_ns == b->attr.atime_ns &&
           a->attr.mtime_ns == b->attr.mtime_ns && a->attr.ctime_ns == b->attr.ctime_ns;
}

/* Something was learned of a key at the time when its entry was. Where they differ nobody can tell which is
 * newer: so the entry goes. */
static void doubt(struct cache *cache, struct entry *entry, const struct cache_answer *what,
                  struct garbage *garbage)
{
    if (entry == NULL)
        return;
    if (entry->absent != what->absent || (!entry->absent && !same_meta(&entry->meta, &what->meta)))
        discard(cache, entry, garbage);
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
    fetch->current = cache->keeps && find_fetch(cache, key) == NULL;
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
        struct entry *entry = find(cache, &key);
        bool valid = entry != NULL && is_valid(cache, entry, at_ns);

        if (valid && (entry->absent || !want_value || entry->value != NULL)) {
            if (entry->uses < USES_MAX)
                entry->uses++;
            *answer = answer_of(entry, want_value);
            rc = 1;
            break;
        }
        running = find_fetch(cache, &key);
        if (running == NULL) {
            rc = begin(cache, ref, &key, at_ns, fetch);
            cache->stats.misses += rc == 0;
            cache->stats.expired += rc == 0 && entry != NULL && !valid;
            break;
        }
        rc = share(cache, running, want_value, answer);
        if (rc != 0)
            break;
        at_ns = now_ns(cache);
    }
    cache->stats.hits += rc == 1;
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
    entry = find(cache, &key);
    if (entry != NULL)
        *answer = answer_of(entry, want_value);
    rc = begin(cache, ref, &key, at_ns, fetch);
    cache->stats.misses += rc == 0;
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
        keep(cache, &key, answer, &garbage);
        announce(cache, fetch, 0, answer);
    } else {
        overtake(cache, &key);
        doubt(cache, find(cache, &key), answer, &garbage);
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
    entry = find(cache, &key);
    valid = entry != NULL && is_valid(cache, entry, at_ns);
    if (valid)
        *answer = answer_of(entry, false);
    pthread_mutex_unlock(&cache->lock);
    return valid;
}

/* ------------------------------------------------------------------- changes */

/* Let nothing be known of a key. */
static void forget(struct cache *cache, const struct key *key, struct garbage *garbage)
{
    struct entry *entry = find(cache, key);

    if (entry != NULL)
        discard(cache, entry, garbage);
}

static void learn(struct cache *cache, const struct kv_ref *ref, struct cache_answer what,
                  struct cache_since since)
{
    struct key key = key_of_ref(ref);
    struct garbage garbage = {0};

    what.fetched_ns = since.at_ns;
    lock_with_room(cache, &key, what.value, &garbage);
    overtake(cache, &key);
    if (has_heard(cache, &key, since))
        forget(cache, &key, &garbage);
    else
        keep(cache, &key, &what, &garbage);
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
    forget(cache, &key, &garbage);
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
    for (size_t i = 0; i < QUEUES; i++)
        while (cache->queues[i].head != NULL)
            discard(cache, cache->queues[i].head, &garbage);
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
    entry = find(cache, &key);
    if (entry != NULL && entry->learned_ns < seen_ns)
        keep(cache, &key, &what, &garbage);
    else
        doubt(cache, entry, &what, &garbage);
    unlock_and_free(cache, &garbage);
}

/* ------------------------------------------------------------- the whole cache */

static size_t buckets_for(size_t capacity)
{
    size_t buckets = BUCKETS_MIN;

    while (buckets < BUCKETS_MAX && buckets < capacity / BYTES_PER_BUCKET)
        buckets *= 2;
    return buckets;
}

int cache_new(size_t capacity_bytes, int64_t ttl_ns, const struct kv_clock *clock, struct cache **out)
{
    struct cache *cache = calloc(1, sizeof(*cache));

    if (cache == NULL)
        return -ENOMEM;
    cache->capacity = capacity_bytes;
    cache->ttl_ns = ttl_ns;
    cache->keeps = capacity_bytes > 0 && ttl_ns > 0;
    cache->clock = clock;
    cache->buckets = buckets_for(cache->keeps ? capacity_bytes : 0);
    pthread_mutex_init(&cache->lock, NULL);
    cache->index = calloc(cache->buckets, sizeof(*cache->index));
    cache->ghost = calloc(cache->buckets, sizeof(*cache->ghost));
    if (cache->index == NULL || cache->ghost == NULL) {
        cache_free(cache);
        return -ENOMEM;
    }
    *out = cache;
    return 0;
}

void cache_free(struct cache *cache)
{
    struct garbage garbage = {0};

    assert(cache->fetches == NULL);
    for (size_t i = 0; i < QUEUES; i++) {
        while (cache->queues[i].head != NULL)
            discard(cache, cache->queues[i].head, &garbage);
    }
    free_garbage(&garbage);
    free(cache->index);
    free(cache->ghost);
    pthread_mutex_destroy(&cache->lock);
    free(cache);
}

void cache_stats(struct cache *cache, struct cache_stats *out)
{
    pthread_mutex_lock(&cache->lock);
    *out = cache->stats;
    out->bytes = 0;
    for (size_t i = 0; i < QUEUES; i++)
        out->bytes += cache->queues[i].bytes;
    pthread_mutex_unlock(&cache->lock);
}
