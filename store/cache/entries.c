/* The entries of the cache, and which of them make room for others. */
#include "store/cache/entries_internal.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define SMALL_SHARE 10       /* SMALL is meant to have a tenth of the capacity */
#define VALUE_SHARE 8        /* a value may have an eighth of it */
#define BYTES_PER_BUCKET 256 /* about what an entry without a value takes */
#define BUCKETS_MIN 64
#define BUCKETS_MAX ((size_t)1 << 22)
#define GHOST_WAYS 8 /* fingerprints in a bucket: one cache line */
#define EVICTIONS_AT_A_TIME 64

/* What an entry takes, with what malloc, the index and the ghost add to it. */
static size_t cost(size_t key_size, const struct kv_value *value)
{
    const size_t around_entry = 32, around_value = sizeof(struct kv_value) + 32;

    return offsetof(struct entry, key) + key_size + around_entry +
           (value != NULL ? around_value + value->size : 0);
}

/* ------------------------------------------------------------------- ghost */

static uint64_t *ghost_bucket(struct entries *entries, uint64_t hash)
{
    return &entries->ghost[hash & (entries->buckets - 1) & ~(uint64_t)(GHOST_WAYS - 1)];
}

static uint32_t ghost_age(const struct entries *entries, uint64_t slot)
{
    return entries->ghost_clock - (uint32_t)slot;
}

static void ghost_add(struct entries *entries, uint64_t hash)
{
    uint64_t *bucket = ghost_bucket(entries, hash), *oldest = bucket;

    for (size_t i = 0; i < GHOST_WAYS; i++) {
        if (bucket[i] == 0) {
            oldest = &bucket[i];
            break;
        }
        if (ghost_age(entries, bucket[i]) > ghost_age(entries, *oldest))
            oldest = &bucket[i];
    }
    entries->ghost_clock++;
    *oldest = (hash & ~(uint64_t)UINT32_MAX) | entries->ghost_clock;
}

/* Was this evicted from SMALL lately? It is forgotten thereby. */
static bool ghost_take(struct entries *entries, uint64_t hash)
{
    uint64_t *bucket = ghost_bucket(entries, hash);

    for (size_t i = 0; i < GHOST_WAYS; i++) {
        if (bucket[i] != 0 && bucket[i] >> 32 == hash >> 32) {
            bool lately = ghost_age(entries, bucket[i]) <= entries->count;

            bucket[i] = 0;
            return lately;
        }
    }
    return false;
}

/* -------------------------------------------------------- index and queues */

static struct entry **bucket_of(const struct entries *entries, uint64_t hash)
{
    return &entries->index[hash & (entries->buckets - 1)];
}

struct entry *entries_find(const struct entries *entries, const struct key *key)
{
    struct entry *entry = entries->count > 0 ? *bucket_of(entries, key->hash) : NULL;

    while (entry != NULL && (entry->hash != key->hash || entry->node != key->node || entry->size != key->size ||
                             memcmp(entry->key, key->data, key->size) != 0))
        entry = entry->chain;
    return entry;
}

static void enqueue(struct entries *entries, struct entry *entry, enum queue_name queue)
{
    DL_APPEND(entries->queues[queue].head, entry);
    entries->queues[queue].bytes += cost(entry->size, entry->value);
    entry->queue = (uint8_t)queue;
}

static void dequeue(struct entries *entries, struct entry *entry)
{
    DL_DELETE(entries->queues[entry->queue].head, entry);
    entries->queues[entry->queue].bytes -= cost(entry->size, entry->value);
}

static void requeue(struct entries *entries, struct entry *entry, enum queue_name queue)
{
    dequeue(entries, entry);
    enqueue(entries, entry, queue);
}

/* A new entry that says nothing yet. NULL: no memory */
static struct entry *add(struct entries *entries, const struct key *key)
{
    struct entry *entry = calloc(1, offsetof(struct entry, key) + key->size);
    struct entry **bucket = bucket_of(entries, key->hash);

    if (entry == NULL)
        return NULL;
    entry->hash = key->hash;
    entry->node = key->node;
    entry->size = (uint16_t)key->size;
    memcpy(entry->key, key->data, key->size);
    entry->chain = *bucket;
    *bucket = entry;
    enqueue(entries, entry, ghost_take(entries, key->hash) ? MAIN : SMALL);
    entries->count++;
    return entry;
}

static void discard(struct entries *entries, struct entry *entry, struct garbage *garbage)
{
    struct entry **link = bucket_of(entries, entry->hash);

    while (*link != entry)
        link = &(*link)->chain;
    *link = entry->chain;
    dequeue(entries, entry);
    entries->count--;
    entry->next = garbage->entries;
    garbage->entries = entry;
}

void garbage_free(struct garbage *garbage)
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

/* ---------------------------------------------------------------- eviction */

static void evict(struct entries *entries, struct garbage *garbage)
{
    struct queue *small = &entries->queues[SMALL], *main_queue = &entries->queues[MAIN];
    struct entry *entry = main_queue->head;

    if (entry == NULL || (small->head != NULL && small->bytes > entries->capacity / SMALL_SHARE))
        entry = small->head;
    if (entry->queue == SMALL && entry->uses > 1) {
        entry->uses = 0;
        requeue(entries, entry, MAIN);
    } else if (entry->queue == MAIN && entry->uses > 0) {
        entry->uses--;
        requeue(entries, entry, MAIN);
    } else {
        if (entry->queue == SMALL)
            ghost_add(entries, entry->hash);
        discard(entries, entry, garbage);
        entries->evictions++;
    }
}

/* The value as far as it may be kept. */
static struct kv_value *keepable(const struct entries *entries, struct kv_value *value)
{
    return value != NULL && value->size <= entries->capacity / VALUE_SHARE ? value : NULL;
}

/* Can an entry with this value be kept at all? */
static bool fits(const struct entries *entries, size_t key_size, const struct kv_value *value)
{
    return cost(key_size, value) <= entries->capacity;
}

bool entries_make_room(struct entries *entries, const struct key *key, struct kv_value *value,
                       struct garbage *garbage)
{
    unsigned steps = 0;

    value = keepable(entries, value);
    if (!fits(entries, key->size, value))
        return true; /* it is not going to be kept */
    while (entries->count > 0 && entries_bytes(entries) + cost(key->size, value) > entries->capacity) {
        if (steps++ == EVICTIONS_AT_A_TIME)
            return false;
        evict(entries, garbage);
    }
    return true;
}

/* --------------------------------------------------------------- knowledge */

static void set_value(struct entries *entries, struct entry *entry, struct kv_value *value,
                      struct garbage *garbage)
{
    struct queue *queue = &entries->queues[entry->queue];

    if (value == entry->value)
        return;
    queue->bytes -= cost(entry->size, entry->value);
    garbage->value = entry->value;
    entry->value = value != NULL ? kv_value_ref(value) : NULL;
    queue->bytes += cost(entry->size, entry->value);
}

void entries_keep(struct entries *entries, const struct key *key, const struct cache_answer *what,
                  int64_t learned_ns, struct garbage *garbage)
{
    struct entry *entry = entries_find(entries, key);
    struct kv_value *value = what->absent ? NULL : keepable(entries, what->value);

    if (value == NULL && entry != NULL && !what->absent && entry->meta.version == what->meta.version)
        value = keepable(entries, entry->value); /* of an absence NULL */
    if (!fits(entries, key->size, value)) {
        if (entry != NULL)
            discard(entries, entry, garbage);
        return;
    }
    if (entry == NULL)
        entry = add(entries, key);
    if (entry == NULL)
        return;
    entry->absent = what->absent;
    entry->meta = what->meta;
    entry->fetched_ns = what->fetched_ns;
    entry->learned_ns = learned_ns;
    set_value(entries, entry, value, garbage);
}

static bool same_meta(const struct kv_meta *a, const struct kv_meta *b)
{
    return a->version == b->version && a->size == b->size && a->has_xattrs == b->has_xattrs &&
           a->expires_ns == b->expires_ns && a->attr.ino == b->attr.ino && a->attr.mode == b->attr.mode &&
           a->attr.uid == b->attr.uid && a->attr.gid == b->attr.gid && a->attr.atime_ns == b->attr.atime_ns &&
           a->attr.mtime_ns == b->attr.mtime_ns && a->attr.ctime_ns == b->attr.ctime_ns;
}

void entries_doubt(struct entries *entries, struct entry *entry, const struct cache_answer *what,
                   struct garbage *garbage)
{
    if (entry == NULL)
        return;
    if (entry->absent != what->absent || (!entry->absent && !same_meta(&entry->meta, &what->meta)))
        discard(entries, entry, garbage);
}

void entries_forget(struct entries *entries, const struct key *key, struct garbage *garbage)
{
    struct entry *entry = entries_find(entries, key);

    if (entry != NULL)
        discard(entries, entry, garbage);
}

void entries_clear(struct entries *entries, struct garbage *garbage)
{
    for (size_t i = 0; i < QUEUES; i++)
        while (entries->queues[i].head != NULL)
            discard(entries, entries->queues[i].head, garbage);
}

/* ------------------------------------------------------------ the whole of it */

static size_t buckets_for(size_t capacity)
{
    size_t buckets = BUCKETS_MIN;

    while (buckets < BUCKETS_MAX && buckets < capacity / BYTES_PER_BUCKET)
        buckets *= 2;
    return buckets;
}

int entries_init(struct entries *entries, size_t capacity)
{
    entries->capacity = capacity;
    entries->buckets = buckets_for(capacity);
    entries->index = calloc(entries->buckets, sizeof(*entries->index));
    entries->ghost = calloc(entries->buckets, sizeof(*entries->ghost));
    return entries->index != NULL && entries->ghost != NULL ? 0 : -ENOMEM;
}

void entries_free(struct entries *entries)
{
    struct garbage garbage = {0};

    entries_clear(entries, &garbage);
    garbage_free(&garbage);
    free(entries->index);
    free(entries->ghost);
}
