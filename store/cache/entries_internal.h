/* Private to cache/: the entries, their index, the queues by which they are evicted, and the ghost.
 *
 *   index   a chained hash table of entries. Its size follows from the capacity and never changes, so
 *           no insertion has to wait for a table that grows (pages nobody touches cost nothing)
 *   queues  every entry is in exactly one, oldest first: SMALL or MAIN. Their bytes together never pass the capacity
 *   ghost   fingerprints of entries evicted from SMALL. One that is younger, in evictions, than there are
 *           entries sends its key straight to MAIN when it comes back
 *
 * Not safe from threads: the cache's lock is held for every call but those that begin and end, and garbage_free().
 */
#ifndef KVFS_STORE_CACHE_ENTRIES_INTERNAL_H
#define KVFS_STORE_CACHE_ENTRIES_INTERNAL_H

#include "store/cache/cache.h"

#define ENTRY_USES_MAX 3

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
    uint8_t uses; /* up to ENTRY_USES_MAX */
    bool absent;
    char key[];
};

struct queue {
    struct entry *head;
    size_t bytes;
};

struct entries {
    size_t capacity; /* bytes; 0: nothing is kept */
    struct entry **index;
    uint64_t *ghost;      /* fingerprint and time of eviction, 32 bits each */
    size_t buckets;       /* of the index, and slots of the ghost; a power of 2 */
    uint32_t ghost_clock; /* counts evictions from SMALL */
    struct queue queues[QUEUES];
    uint64_t count, evictions;
};

struct key {
    uint64_t node, hash;
    const char *data; /* borrowed */
    size_t size;
};

/* What was taken out of the entries, to be freed without the lock. */
struct garbage {
    struct entry *entries;  /* linked by `next` */
    struct kv_value *value; /* that was replaced */
};
void garbage_free(struct garbage *garbage);

/* *entries is zeroed. returns 0; -ENOMEM: entries_free() all the same */
KV_CHECKED int entries_init(struct entries *entries, size_t capacity);
void entries_free(struct entries *entries);

/* NULL: there is none. Valid until the lock is let go of, or something is kept or discarded. */
struct entry *entries_find(const struct entries *entries, const struct key *key);
/* A lookup was answered by it. */
static inline void entry_use(struct entry *entry)
{
    if (entry->uses < ENTRY_USES_MAX)
        entry->uses++;
}

/* Evict until there is room for what entries_keep() is going to be told, but no more than some at a time.
 * returns  false: there is not yet; let others have the lock, free the garbage, and call again */
KV_CHECKED bool entries_make_room(struct entries *entries, const struct key *key, struct kv_value *value,
                                  struct garbage *garbage);
/* Make the entry of a key say this. There is room for it; where it cannot be kept the entry goes.
 * what        fetched_ns as the entry's; the value is referenced, not consumed. None: one of the same version stays
 * learned_ns  as the entry's */
void entries_keep(struct entries *entries, const struct key *key, const struct cache_answer *what,
                  int64_t learned_ns, struct garbage *garbage);
/* Something was learned of a key at the time when its entry was. Where they differ nobody can tell which is
 * newer: so the entry goes. entry NULL: there is none */
void entries_doubt(struct entries *entries, struct entry *entry, const struct cache_answer *what,
                   struct garbage *garbage);
/* Let nothing be known of a key; of any key. */
void entries_forget(struct entries *entries, const struct key *key, struct garbage *garbage);
void entries_clear(struct entries *entries, struct garbage *garbage);

/* What all of them take, with what is around them. */
static inline size_t entries_bytes(const struct entries *entries)
{
    return entries->queues[SMALL].bytes + entries->queues[MAIN].bytes;
}

#endif
