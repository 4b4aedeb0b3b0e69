/* Edge cache: what this node knows of keys, and for how long it may say so.
 *
 * An entry is one key's metadata, with or without its value, or the knowledge
 * that the key is absent. It is valid for ttl_ns after it was *fetched* (the
 * time at which the central began to be asked). Entries never hold a key open:
 * whoever gets a value holds a reference of its own.
 *
 * Model of a key's entry
 *
 *     NONE --miss--> FETCHING --fill--> FRESH --ttl--> EXPIRED --miss--> FETCHING
 *                        \--fail--> (as it was before)
 *
 *   - One fetch per key at a time: a second reader of a key that is FETCHING waits
 *     and shares the answer, if that answers its question (a reader that wants the
 *     value is not served by a fetch of the metadata).
 *   - An own write or delete (cache_write) makes the entry FRESH at once and marks
 *     a fetch under way as overtaken: its fill is answered to its own reader but
 *     is not kept, and waiting readers look again. It may be newer than the entry
 *     or the next fetch, and has been shown: so an entry that differs goes, too, and
 *     a fetch under way is overtaken in its turn. No answer is older than an earlier one.
 *   - A failure is never cached, and is told to everybody who waited for it.
 *   - That a key has an expiry is nothing to the cache: an entry holds what was put, and who asks compares the times.
 *   - A value belongs to its version: when metadata comes without a value, a
 *     cached value of the same version stays, any other goes.
 *   - Eviction is S3-FIFO (Yang et al., SOSP 2023): a small queue for newcomers, a
 *     main queue, and a ghost queue of fingerprints; a scan flows through the small
 *     queue only. Only a hit counts as a use. Bytes counted: entry, key and value. A
 *     value larger than an eighth of the budget is not kept (its metadata is).
 *
 * With ttl 0 or capacity 0 nothing is kept and no fetch is
 * shared: every other lookup is a miss. (With ttl 0 a reader must not share a
 * fetch that began before it asked.)
 */
#ifndef KVFS_STORE_CACHE_H
#define KVFS_STORE_CACHE_H

#include "store/kv.h"

struct cache;
struct cache_fetch; /* a fetch under way; owned by the reader that does it */

/* The clock is borrowed. returns 0 and *out; -ENOMEM */
KV_CHECKED int cache_new(size_t capacity_bytes, int64_t ttl_ns, const struct kv_clock *clock, struct cache **out);
/* No other call, and no fetch, may be under way. */
void cache_free(struct cache *cache);

/* What the cache, or a fetch, says of a key. */
struct cache_answer {
    bool absent;            /* the key is known not to be there */
    struct kv_meta meta;    /* where not absent */
    struct kv_value *value; /* a reference for the caller, where it wanted one; else NULL */
    int64_t fetched_ns;     /* clock->mono_ns when the fetch began */
    bool from_cache;        /* false: from a fetch, this reader's own or a shared one */
};

/* Look a key up.
 * returns  1 hit: *answer is filled, the caller owns answer->value
 *          0 miss: the caller must fetch from the central and end *fetch with exactly one of
 *            cache_fill() and cache_fail()
 *          <0 another reader's fetch, which this one waited for, failed with this errno; -ENOMEM */
KV_CHECKED int cache_lookup(struct cache *cache, const struct kv_ref *ref, bool want_value,
                            struct cache_answer *answer, struct cache_fetch **fetch);

/* Begin a fetch whatever the cache holds: the answer is to be what the central has from now on, so a fetch under way is
 * not shared. What it finds is kept, unless another fetch was under way already.
 * returns  0 fetch, and end *fetch as after cache_lookup(). answer->meta and ->value are what was known of the key,
 *            however old that is, ->value NULL where it was not wanted or not known
 *          -ENOMEM */
KV_CHECKED int cache_fetch_newest(struct cache *cache, const struct kv_ref *ref, bool want_value,
                                  struct cache_answer *answer, struct cache_fetch **fetch);

/* End a fetch with what the central said. answer->{absent,meta,value} are read (references are taken,
 * not consumed); fetched_ns and from_cache are filled in for the caller. */
void cache_fill(struct cache *cache, struct cache_fetch *fetch, struct cache_answer *answer);
/* End a fetch that failed; rc is told to those who wait. */
void cache_fail(struct cache *cache, struct cache_fetch *fetch, int rc);

/* A moment in the life of the cache, taken before an own change is queued. The ttl of what the change does counts
 * from there. And where the central told this node anything of the key after it, or the key was dropped,
 * nobody can tell which is newer: then the change leaves no entry, and the next lookup is a miss. So
 * another node's write that came right after the change, and was shown here before the change is
 * known to be done, is never taken back. */
struct cache_since {
    int64_t at_ns;
    uint64_t news; /* how often anything was told of keys */
};
struct cache_since cache_now(struct cache *cache);

/* The central now has this (an own write, in commit order). value NULL: the metadata changed, the
 * value did not: a cached value of the same version stays. Never fails: where memory is short
 * the entry is dropped instead. */
void cache_write(struct cache *cache, const struct kv_ref *ref, const struct kv_meta *meta, struct kv_value *value,
                 struct cache_since since);
/* The central now has no such key (an own delete, or the old name of a rename). */
void cache_write_absent(struct cache *cache, const struct kv_ref *ref, struct cache_since since);
/* Forget one key: the next lookup is a miss. Overtakes a fetch under way. */
void cache_drop(struct cache *cache, const struct kv_ref *ref);

/* Forget every key: anything may have changed. Overtakes all fetches under way. */
void cache_clear(struct cache *cache);

/* A listing saw this in the central at time seen_ns (taken before its transaction began). Corrects an
 * entry that was learned before that time; adds none. One learned at or after it that differs is dropped,
 * and a fetch under way is overtaken, because nobody can tell who of the two saw the newer state. So no
 * later answer is older than what the listing showed. */
void cache_note(struct cache *cache, uint64_t namespace_id, const char *key, size_t size,
                const struct kv_meta *meta, int64_t seen_ns);

/* Look without waiting and without counting as a use. returns 1 and *answer (value always NULL) where
 * a valid entry is there; 0 else */
int cache_peek(struct cache *cache, const struct kv_ref *ref, struct cache_answer *answer);

struct cache_stats {
    uint64_t hits;      /* lookups answered without a fetch of their own */
    uint64_t misses;    /* fetches begun */
    uint64_t expired;   /* of these: the entry was there, but too old */
    uint64_t evictions; /* entries that made room for others */
    uint64_t bytes, entries;
};
void cache_stats(struct cache *cache, struct cache_stats *out);

#endif
