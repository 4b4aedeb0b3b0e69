/* The edge cache alone, with a clock of its own and no central behind it. */
#include "store/cache/cache.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MS ((int64_t)1000000)
#define TTL (60000 * MS)
#define MIB ((size_t)1 << 20)
#define NS 7 /* some namespace */

/* --------------------------------------------------------------- tools */

static int64_t clock_now;  /* what the clock of the tests says */
static int64_t clock_step; /* added by each look at it */

static int64_t test_clock(void *arg)
{
    (void)arg;
    return __atomic_add_fetch(&clock_now, clock_step, __ATOMIC_SEQ_CST);
}

static const struct kv_clock test_time = {test_clock, test_clock, NULL};

static void pass(int64_t ns) { __atomic_add_fetch(&clock_now, ns, __ATOMIC_SEQ_CST); }

static int start_clock(void **state)
{
    (void)state;
    clock_now = 1000 * MS;
    clock_step = 0;
    return 0;
}

static struct cache *new_cache(size_t capacity, int64_t ttl_ns)
{
    struct cache *cache;

    assert_int_equal(cache_new(capacity, ttl_ns, &test_time, &cache), 0);
    return cache;
}

static struct kv_ref key(const char *name)
{
    struct kv_ref ref = {.node = NS, .size = strlen(name)};

    memcpy(ref.key, name, ref.size);
    return ref;
}

static struct kv_ref numbered(const char *prefix, unsigned number)
{
    char name[32];

    snprintf(name, sizeof(name), "%s%u", prefix, number);
    return key(name);
}

static struct kv_meta meta_of(uint64_t version, size_t size)
{
    return (struct kv_meta){.attr = {.ino = 99, .mode = 0644}, .version = version, .size = size};
}

/* A value whose bytes tell its version. */
static struct kv_value *value_of(uint64_t version, size_t size)
{
    struct kv_value *value;

    if (kv_value_new(size, &value) < 0)
        abort();
    if (size > 0)
        memset(value->data, (int)(version % 251), size);
    return value;
}

static bool is_value_of(const struct kv_value *value, uint64_t version)
{
    for (size_t at = 0; at < value->size; at++) {
        if (value->data[at] != version % 251)
            return false;
    }
    return true;
}

/* An answer that no lookup gave. */
static const struct cache_answer no_answer = {.meta = {.version = 12345}};

enum want { META, VALUE };
enum outcome { MISS, ABSENT, PRESENT };

struct seen {
    enum outcome outcome;
    uint64_t version;
    size_t value_size; /* where one came */
    int64_t age_ns;
    bool has_value, from_cache;
};

static struct seen seen_of(const struct cache_answer *answer, uint64_t version_of_value)
{
    struct seen seen = {answer->absent ? ABSENT : PRESENT, answer->meta.version,  0,
                        clock_now - answer->fetched_ns,    answer->value != NULL, answer->from_cache};

    if (answer->value != NULL) {
        assert_true(is_value_of(answer->value, version_of_value));
        seen.value_size = answer->value->size;
    }
    return seen;
}

/* Look, and give up a fetch that is needed. */
static struct seen look(struct cache *cache, struct kv_ref ref, enum want want)
{
    struct cache_answer answer = no_answer;
    struct cache_fetch *fetch;
    struct seen seen = {.outcome = MISS};
    int rc = cache_lookup(cache, &ref, want == VALUE, &answer, &fetch);

    assert_in_range(rc, 0, 1);
    if (rc == 0) {
        cache_fail(cache, fetch, -ECANCELED);
        return seen;
    }
    seen = seen_of(&answer, answer.meta.version);
    kv_value_unref(answer.value);
    return seen;
}

static struct cache_fetch *miss(struct cache *cache, struct kv_ref ref, enum want want)
{
    struct cache_answer answer = no_answer;
    struct cache_fetch *fetch = NULL;

    assert_int_equal(cache_lookup(cache, &ref, want == VALUE, &answer, &fetch), 0);
    assert_non_null(fetch);
    return fetch;
}

/* The central's answers. */
static void fill_value(struct cache *cache, struct cache_fetch *fetch, uint64_t version, size_t size)
{
    struct cache_answer answer = {.meta = meta_of(version, size), .value = value_of(version, size)};

    cache_fill(cache, fetch, &answer);
    assert_false(answer.from_cache);
    kv_value_unref(answer.value);
}

static void fill_meta(struct cache *cache, struct cache_fetch *fetch, uint64_t version)
{
    struct cache_answer answer = {.meta = meta_of(version, 10)};

    cache_fill(cache, fetch, &answer);
}

static void fill_absent(struct cache *cache, struct cache_fetch *fetch)
{
    struct cache_answer answer = {.absent = true};

    cache_fill(cache, fetch, &answer);
}

static void load(struct cache *cache, struct kv_ref ref, uint64_t version, size_t size)
{
    fill_value(cache, miss(cache, ref, VALUE), version, size);
}

static void load_meta(struct cache *cache, struct kv_ref ref, uint64_t version)
{
    fill_meta(cache, miss(cache, ref, META), version);
}

static void write_value(struct cache *cache, struct kv_ref ref, uint64_t version, size_t size)
{
    struct kv_meta meta = meta_of(version, size);
    struct kv_value *value = value_of(version, size);

    cache_write(cache, &ref, &meta, value, cache_now(cache));
    kv_value_unref(value);
}

static void note(struct cache *cache, struct kv_ref ref, uint64_t version, int64_t seen_ns)
{
    struct kv_meta meta = meta_of(version, 10);

    cache_note(cache, ref.node, ref.key, ref.size, &meta, seen_ns);
}

static struct cache_stats stats_of(struct cache *cache)
{
    struct cache_stats stats;

    cache_stats(cache, &stats);
    return stats;
}

#define assert_miss(seen_) assert_int_equal((seen_).outcome, MISS)
#define assert_absent(seen_) assert_int_equal((seen_).outcome, ABSENT)

static void assert_version(struct seen seen, uint64_t version)
{
    assert_int_equal(seen.outcome, PRESENT);
    assert_int_equal(seen.version, version);
}

/* ------------------------------------------------------------------ validity */

static void an_entry_is_valid_until_its_ttl_has_passed(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);

    (void)state;
    assert_miss(look(cache, key("a"), VALUE));
    load(cache, key("a"), 5, 100);
    assert_version(look(cache, key("a"), VALUE), 5);
    pass(TTL - MS);
    assert_version(look(cache, key("a"), VALUE), 5);
    assert_version(look(cache, key("a"), META), 5);
    pass(MS);
    assert_miss(look(cache, key("a"), META));
    load(cache, key("a"), 6, 100);
    assert_version(look(cache, key("a"), VALUE), 6);
    cache_free(cache);
}

static void absence_is_cached_and_expires(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);

    (void)state;
    fill_absent(cache, miss(cache, key("a"), META));
    assert_absent(look(cache, key("a"), META));
    assert_absent(look(cache, key("a"), VALUE));
    pass(TTL - MS);
    assert_absent(look(cache, key("a"), VALUE));
    pass(MS);
    load(cache, key("a"), 1, 10);
    assert_version(look(cache, key("a"), VALUE), 1);
    cache_free(cache);
}

static void validity_counts_from_the_begin_of_the_fetch(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    struct cache_answer answer = {.meta = meta_of(5, 1)};
    struct cache_fetch *fetch;
    int64_t began_ns = clock_now;

    (void)state;
    fetch = miss(cache, key("a"), META);
    pass(5000 * MS);
    cache_fill(cache, fetch, &answer);
    assert_int_equal(answer.fetched_ns, began_ns);
    assert_int_equal(look(cache, key("a"), META).age_ns, 5000 * MS);
    pass(TTL - 5000 * MS - MS);
    assert_version(look(cache, key("a"), META), 5);
    pass(MS);
    assert_miss(look(cache, key("a"), META));
    cache_free(cache);
}

static void answers_say_where_they_come_from(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);

    (void)state;
    load(cache, key("a"), 5, 100); /* fill_value() checks the other case */
    assert_true(look(cache, key("a"), VALUE).from_cache);
    cache_free(cache);
}

static void keys_of_other_namespaces_and_nodes_are_others(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    struct kv_ref here = key("a"), there = key("a"), node = {.node = NS},
                  longest = {.node = NS, .size = KV_KEY_MAX};

    (void)state;
    there.node = NS + 1;
    memset(longest.key, 'a', longest.size);
    load(cache, here, 1, 10);
    assert_miss(look(cache, there, VALUE));
    assert_miss(look(cache, node, VALUE));
    assert_miss(look(cache, longest, VALUE));
    load(cache, there, 2, 10);
    load(cache, node, 3, 10);
    load(cache, longest, 4, 10);
    assert_version(look(cache, here, VALUE), 1);
    assert_version(look(cache, there, VALUE), 2);
    assert_version(look(cache, node, VALUE), 3);
    assert_version(look(cache, longest, VALUE), 4);
    longest.key[KV_KEY_MAX - 1] = 'b';
    assert_miss(look(cache, longest, VALUE));
    cache_free(cache);
}

/* ----------------------------------------------------------- values and metadata */

static void metadata_alone_answers_no_question_for_the_value(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);

    (void)state;
    load_meta(cache, key("a"), 5);
    assert_version(look(cache, key("a"), META), 5);
    load(cache, key("a"), 5, 100);
    assert_version(look(cache, key("a"), VALUE), 5);
    assert_int_equal(look(cache, key("a"), VALUE).value_size, 100);
    assert_false(look(cache, key("a"), META).has_value);
    cache_free(cache);
}

static void a_fill_with_the_value_of_a_newer_version_replaces_metadata(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);

    (void)state;
    load_meta(cache, key("a"), 5);
    pass(TTL - MS);
    load(cache, key("a"), 6, 100);
    pass(MS);
    assert_version(look(cache, key("a"), META), 6);
    assert_version(look(cache, key("a"), VALUE), 6);
    cache_free(cache);
}

static void metadata_of_the_same_version_makes_the_value_valid_again(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);

    (void)state;
    load(cache, key("a"), 5, 100);
    pass(TTL);
    load_meta(cache, key("a"), 5);
    assert_version(look(cache, key("a"), VALUE), 5);
    pass(TTL);
    load_meta(cache, key("a"), 6);
    assert_version(look(cache, key("a"), META), 6);
    assert_miss(look(cache, key("a"), VALUE));
    cache_free(cache);
}

static void a_value_over_an_eighth_of_the_budget_is_not_kept_but_its_metadata_is(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);

    (void)state;
    load(cache, key("a"), 5, MIB / 8 + 1);
    assert_version(look(cache, key("a"), META), 5);
    assert_miss(look(cache, key("a"), VALUE));
    load(cache, key("b"), 6, MIB / 8);
    assert_version(look(cache, key("b"), VALUE), 6);
    write_value(cache, key("b"), 7, MIB / 8 + 1);
    assert_version(look(cache, key("b"), META), 7);
    assert_miss(look(cache, key("b"), VALUE));
    cache_free(cache);
}

static void a_value_handed_out_outlives_its_entry(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    struct kv_ref ref = key("a");
    struct cache_answer answer;
    struct cache_fetch *fetch;

    (void)state;
    load(cache, ref, 5, 100);
    assert_int_equal(cache_lookup(cache, &ref, true, &answer, &fetch), 1);
    write_value(cache, ref, 6, 100);
    cache_free(cache);
    assert_true(is_value_of(answer.value, 5));
    kv_value_unref(answer.value);
}

/* ------------------------------------------------------------------- own changes */

static void an_own_write_is_visible_at_once(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    struct kv_ref ref = key("a");

    (void)state;
    write_value(cache, ref, 5, 100);
    assert_version(look(cache, ref, VALUE), 5);
    pass(TTL - MS);
    write_value(cache, ref, 6, 200);
    assert_version(look(cache, ref, VALUE), 6);
    assert_int_equal(look(cache, ref, VALUE).age_ns, 0);
    cache_write_absent(cache, &ref, cache_now(cache));
    assert_absent(look(cache, ref, VALUE));
    write_value(cache, ref, 7, 0);
    assert_version(look(cache, ref, VALUE), 7);
    pass(TTL - MS);
    assert_version(look(cache, ref, VALUE), 7);
    pass(MS);
    assert_miss(look(cache, ref, VALUE));
    cache_free(cache);
}

static void an_own_change_of_metadata_keeps_the_value_of_the_same_version_only(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    struct kv_ref ref = key("a");
    struct kv_meta meta = meta_of(5, 100);

    (void)state;
    meta.attr.mode = 0600;
    load(cache, ref, 5, 100);
    cache_write(cache, &ref, &meta, NULL, cache_now(cache));
    assert_version(look(cache, ref, VALUE), 5);
    meta.version = 6;
    cache_write(cache, &ref, &meta, NULL, cache_now(cache));
    assert_version(look(cache, ref, META), 6);
    assert_miss(look(cache, ref, VALUE));
    cache_free(cache);
}

static void a_dropped_key_is_fetched_again(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    struct kv_ref ref = key("a");

    (void)state;
    load(cache, ref, 5, 100);
    cache_drop(cache, &ref);
    assert_miss(look(cache, ref, META));
    cache_drop(cache, &ref);
    cache_free(cache);
}

static void change_write(struct cache *cache, struct kv_ref ref) { write_value(cache, ref, 6, 10); }
static void change_delete(struct cache *cache, struct kv_ref ref)
{
    cache_write_absent(cache, &ref, cache_now(cache));
}
static void change_drop(struct cache *cache, struct kv_ref ref) { cache_drop(cache, &ref); }
static void change_note(struct cache *cache, struct kv_ref ref) { note(cache, ref, 6, clock_now); }
static void a_fetch_that_an_own_change_overtook_is_not_kept(void **state)
{
    static void (*const changes[])(struct cache *, struct kv_ref) = {change_write, change_delete, change_drop,
                                                                     change_note};

    (void)state;
    for (size_t i = 0; i < 8; i++) {
        struct cache *cache = new_cache(MIB, TTL);
        struct cache_answer answer = {.meta = meta_of(5, 10), .value = value_of(5, 10)};
        struct cache_fetch *fetch = miss(cache, key("a"), VALUE);

        pass(MS);
        changes[i % 4](cache, key("a"));
        pass(MS);
        if (i < 4) {
            cache_fill(cache, fetch, &answer);
            assert_int_equal(answer.meta.version, 5); /* its own reader gets it */
            assert_true(is_value_of(answer.value, 5));
        } else {
            fill_value(cache, fetch, 6, 10); /* it saw the change, as far as that was a write */
        }
        kv_value_unref(answer.value);
        if (i < 4 || changes[i % 4] == change_delete)
            assert_miss(look(cache, key("a"), VALUE)); /* which of the two was the newer one? */
        else if (changes[i % 4] == change_write)
            assert_version(look(cache, key("a"), VALUE), 6);
        cache_free(cache);
    }
}

static void hear_by_fetch(struct cache *cache, struct kv_ref ref)
{
    cache_drop(cache, &ref);
    load(cache, ref, 6, 10);
}

/* Between its commit and its end another node's change may come, and be seen here. */
static void an_own_change_is_not_kept_where_its_key_was_heard_of_since_it_was_queued(void **state)
{
    static void (*const heard[])(struct cache *, struct kv_ref) = {hear_by_fetch, change_drop, change_note};
    struct cache *cache = new_cache(MIB, TTL);
    struct kv_meta meta = meta_of(5, 10);
    struct kv_value *value = value_of(5, 10);

    (void)state;
    for (size_t i = 0; i < 9; i++) {
        struct kv_ref ref = key("a");
        struct cache_since since = cache_now(cache);

        load(cache, key("b"), 4, 10); /* of another key: no matter */
        if (i < 6)
            heard[i % 3](cache, ref);
        if (i % 2 == 0)
            cache_write(cache, &ref, &meta, value, since);
        else
            cache_write_absent(cache, &ref, since);
        assert_int_equal(look(cache, ref, META).outcome, i < 6 ? MISS : i % 2 == 0 ? PRESENT : ABSENT);
        cache_drop(cache, &ref);
        cache_drop(cache, &(struct kv_ref){.node = NS, .size = 1, .key = "b"});
    }
    kv_value_unref(value);
    cache_free(cache);
}

static void the_ttl_of_an_own_change_counts_from_its_queueing(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    struct cache_since since = cache_now(cache);
    struct kv_ref ref = key("a");

    (void)state;
    pass(TTL - MS);
    cache_write_absent(cache, &ref, since);
    assert_int_equal(look(cache, ref, META).outcome, ABSENT);
    pass(MS);
    assert_int_equal(look(cache, ref, META).outcome, MISS);
    cache_free(cache);
}

static void a_new_fetch_may_begin_while_an_overtaken_one_is_under_way(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    struct kv_ref ref = key("a");
    struct cache_fetch *old = miss(cache, ref, VALUE), *new;

    (void)state;
    cache_drop(cache, &ref);
    new = miss(cache, ref, VALUE);
    fill_value(cache, new, 6, 10);
    fill_value(cache, old, 6, 10);
    assert_version(look(cache, ref, VALUE), 6);
    cache_drop(cache, &ref);
    cache_fail(cache, miss(cache, ref, VALUE), -EIO);
    cache_free(cache);
}

/* ---------------------------------------------------------------------- listings */

static void a_listing_corrects_an_older_entry(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);

    (void)state;
    load(cache, key("a"), 5, 10);
    load(cache, key("b"), 5, 10);
    fill_absent(cache, miss(cache, key("c"), META));
    pass(TTL - MS);
    note(cache, key("a"), 6, clock_now);
    note(cache, key("b"), 5, clock_now);
    note(cache, key("c"), 6, clock_now);
    assert_version(look(cache, key("a"), META), 6);
    assert_miss(look(cache, key("a"), VALUE));
    assert_version(look(cache, key("b"), VALUE), 5);
    assert_version(look(cache, key("c"), META), 6);
    pass(TTL - MS); /* as if they had been fetched when the listing was begun */
    assert_version(look(cache, key("a"), META), 6);
    assert_version(look(cache, key("b"), VALUE), 5);
    assert_version(look(cache, key("c"), META), 6);
    pass(MS);
    assert_miss(look(cache, key("a"), META));
    assert_miss(look(cache, key("b"), META));
    assert_miss(look(cache, key("c"), META));
    cache_free(cache);
}

static void a_listing_makes_an_expired_entry_valid_again(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);

    (void)state;
    load(cache, key("a"), 5, 10);
    pass(2 * TTL);
    note(cache, key("a"), 5, clock_now);
    assert_version(look(cache, key("a"), VALUE), 5);
    cache_free(cache);
}

static void a_listing_adds_no_entry(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);

    (void)state;
    note(cache, key("a"), 5, clock_now);
    assert_miss(look(cache, key("a"), META));
    assert_int_equal(stats_of(cache).entries, 0);
    cache_free(cache);
}

static void a_listing_never_brings_back_what_an_own_write_replaced(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    struct kv_ref ref = key("a");
    int64_t seen_ns;

    (void)state;
    load(cache, ref, 5, 10);
    pass(MS);
    seen_ns = clock_now;
    write_value(cache, ref, 6, 10); /* in the same instant */
    note(cache, ref, 5, seen_ns);
    assert_miss(look(cache, ref, META));

    pass(MS);
    write_value(cache, ref, 7, 10);
    note(cache, ref, 5, seen_ns);
    assert_miss(look(cache, ref, META));

    write_value(cache, ref, 8, 10);
    cache_write_absent(cache, &ref, cache_now(cache));
    note(cache, ref, 8, seen_ns);
    assert_miss(look(cache, ref, META));

    write_value(cache, ref, 9, 10);
    note(cache, ref, 9, seen_ns); /* tells nothing new */
    assert_version(look(cache, ref, VALUE), 9);
    cache_free(cache);
}

static void a_listing_that_ran_beside_a_fetch_cannot_be_older_than_later_answers(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    struct cache_fetch *fetch;
    int64_t seen_ns;

    (void)state;
    seen_ns = clock_now;
    pass(MS);
    fetch = miss(cache, key("a"), META); /* its transaction began before that of the listing */
    fill_meta(cache, fetch, 5);
    pass(MS);
    note(cache, key("a"), 6, seen_ns);
    assert_miss(look(cache, key("a"), META));

    fetch = miss(cache, key("a"), META);
    pass(MS);
    seen_ns = clock_now;
    pass(MS);
    fill_meta(cache, fetch, 7); /* this one's after that */
    note(cache, key("a"), 6, seen_ns);
    assert_miss(look(cache, key("a"), META));
    cache_free(cache);
}

static void a_listing_that_differs_in_attributes_corrects_them(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    struct kv_ref ref = key("a");
    struct kv_meta meta = meta_of(5, 10);
    struct cache_answer answer;

    (void)state;
    load(cache, ref, 5, 10);
    pass(MS);
    meta.attr.mode = 0600;
    cache_note(cache, ref.node, ref.key, ref.size, &meta, clock_now);
    assert_int_equal(cache_peek(cache, &ref, &answer), 1);
    assert_int_equal(answer.meta.attr.mode, 0600);
    assert_version(look(cache, ref, VALUE), 5);
    cache_free(cache);
}

/* -------------------------------------------------------------------------- peek */

static void peeking_sees_only_what_is_valid(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    struct kv_ref a = key("a"), b = key("b");
    struct cache_answer answer = no_answer;

    (void)state;
    assert_int_equal(cache_peek(cache, &a, &answer), 0);
    assert_int_equal(answer.meta.version, no_answer.meta.version);
    load(cache, a, 5, 10);
    fill_absent(cache, miss(cache, b, META));
    pass(TTL - MS);
    assert_int_equal(cache_peek(cache, &a, &answer), 1);
    assert_int_equal(answer.meta.version, 5);
    assert_null(answer.value);
    assert_true(answer.from_cache);
    assert_int_equal(clock_now - answer.fetched_ns, TTL - MS);
    assert_int_equal(cache_peek(cache, &b, &answer), 1);
    assert_true(answer.absent);
    pass(MS);
    assert_int_equal(cache_peek(cache, &a, &answer), 0);
    assert_int_equal(cache_peek(cache, &b, &answer), 0);
    cache_free(cache);
}

static void peeking_while_a_fetch_is_under_way_does_not_wait(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    struct kv_ref ref = key("a");
    struct cache_answer answer;
    struct cache_fetch *fetch = miss(cache, ref, META);

    (void)state;
    assert_int_equal(cache_peek(cache, &ref, &answer), 0);
    cache_fail(cache, fetch, -EIO);
    cache_free(cache);
}

static void peeking_is_no_use_and_not_counted(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    struct kv_ref peeked = key("peeked"), used = key("used");
    struct cache_stats before;
    struct cache_answer answer;

    (void)state;
    load(cache, peeked, 1, 1000);
    load(cache, used, 2, 1000);
    before = stats_of(cache);
    for (int i = 0; i < 10; i++)
        assert_int_equal(cache_peek(cache, &peeked, &answer), 1);
    assert_int_equal(stats_of(cache).hits, before.hits);
    assert_int_equal(stats_of(cache).misses, before.misses);
    for (int i = 0; i < 10; i++)
        assert_version(look(cache, used, VALUE), 2);
    for (unsigned i = 0; i < 2000; i++)
        load(cache, numbered("scan", i), 3, 1000);
    assert_miss(look(cache, peeked, META));
    assert_version(look(cache, used, VALUE), 2);
    cache_free(cache);
}

/* ------------------------------------------------------------- bytes and eviction */

static void bytes_are_counted_exactly(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    struct kv_ref a = key("a"), bcd = key("bcd");
    uint64_t entry, value;

    (void)state;
    assert_int_equal(stats_of(cache).bytes, 0);
    load_meta(cache, a, 1);
    entry = stats_of(cache).bytes - 1; /* what an entry takes beside its key */
    assert_in_range(entry, 100, 256);
    load(cache, a, 1, 0);
    value = stats_of(cache).bytes - entry - 1; /* and a value beside its bytes */
    assert_in_range(value, 1, 128);
    load(cache, bcd, 2, 1000);
    assert_int_equal(stats_of(cache).bytes, 2 * entry + 1 + 3 + 2 * value + 1000);
    write_value(cache, bcd, 3, 10);
    assert_int_equal(stats_of(cache).bytes, 2 * entry + 1 + 3 + 2 * value + 10);
    cache_write_absent(cache, &bcd, cache_now(cache));
    assert_int_equal(stats_of(cache).bytes, 2 * entry + 1 + 3 + value);
    write_value(cache, bcd, 4, 5000);
    assert_int_equal(stats_of(cache).bytes, 2 * entry + 1 + 3 + 2 * value + 5000);
    pass(MS);
    note(cache, bcd, 5, clock_now);
    assert_int_equal(stats_of(cache).bytes, 2 * entry + 1 + 3 + value);
    assert_int_equal(stats_of(cache).entries, 2);
    cache_drop(cache, &a);
    cache_drop(cache, &bcd);
    assert_int_equal(stats_of(cache).bytes, 0);
    assert_int_equal(stats_of(cache).entries, 0);
    cache_free(cache);
}

static void bytes_never_pass_the_capacity(void **state)
{
    const size_t capacities[] = {1, 100, 300, 1000, 20000, MIB};
    unsigned seed = 7;

    (void)state;
    for (size_t c = 0; c < sizeof(capacities) / sizeof(capacities[0]); c++) {
        struct cache *cache = new_cache(capacities[c], TTL);

        for (uint64_t version = 1; version < 3000; version++) {
            struct kv_ref ref = numbered("k", (unsigned)rand_r(&seed) % 200);
            size_t size = (size_t)rand_r(&seed) % (rand_r(&seed) % 4 == 0 ? MIB / 8 : 500);

            switch (rand_r(&seed) % 3) {
            case 0:
                write_value(cache, ref, version, size);
                break;
            case 2:
                cache_drop(cache, &ref);
                load(cache, ref, version, size);
                break;
            default:
                look(cache, ref, VALUE);
            }
            assert_true(stats_of(cache).bytes <= capacities[c]);
        }
        assert_true(capacities[c] < 1000 || stats_of(cache).evictions > 0);
        cache_free(cache);
    }
}

static void an_own_write_that_does_not_fit_leaves_no_older_entry(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    struct kv_ref ref = key("a");
    size_t alone;

    (void)state;
    load_meta(cache, ref, 5);
    alone = stats_of(cache).bytes;
    cache_free(cache);
    cache = new_cache(alone + 20, TTL); /* an entry with a value is larger than this cache */
    load_meta(cache, ref, 5);
    write_value(cache, ref, 6, 10);
    assert_miss(look(cache, ref, META));
    load_meta(cache, ref, 7);
    assert_version(look(cache, ref, META), 7);
    write_value(cache, ref, 8, 10);
    assert_miss(look(cache, ref, META));
    cache_free(cache);
}

static void a_hot_set_survives_a_scan(void **state)
{
    enum { HOT = 500, SCAN = 100000 };
    struct cache *cache = new_cache(4 * MIB, TTL);
    unsigned left = 0;

    (void)state;
    for (unsigned i = 0; i < HOT; i++)
        load(cache, numbered("hot", i), 1, 1000);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < HOT; i++)
            assert_version(look(cache, numbered("hot", i), VALUE), 1);
    }
    for (unsigned i = 0; i < SCAN; i++)
        load(cache, numbered("scan", i), 2, 1000);
    for (unsigned i = 0; i < HOT; i++)
        left += look(cache, numbered("hot", i), VALUE).outcome == PRESENT;
    assert_int_equal(left, HOT);
    assert_miss(look(cache, numbered("scan", 0), META));
    assert_true(stats_of(cache).evictions > SCAN / 2);
    cache_free(cache);
}

static void stat_and_read_of_each_key_are_no_use_of_it_yet(void **state)
{
    enum { HOT = 500, SCAN = 20000 };
    struct cache *cache = new_cache(4 * MIB, TTL);

    (void)state;
    for (unsigned i = 0; i < HOT; i++) {
        load(cache, numbered("hot", i), 1, 1000);
        look(cache, numbered("hot", i), VALUE);
        look(cache, numbered("hot", i), VALUE);
    }
    for (unsigned i = 0; i < SCAN; i++) {
        load_meta(cache, numbered("scan", i), 2);
        load(cache, numbered("scan", i), 2, 1000);
        write_value(cache, numbered("scan", i), 3, 1000);
        assert_version(look(cache, numbered("scan", i), VALUE), 3);
    }
    for (unsigned i = 0; i < HOT; i++)
        assert_version(look(cache, numbered("hot", i), VALUE), 1);
    cache_free(cache);
}

static void a_newcomer_has_its_time_in_a_cache_full_of_used_keys(void **state)
{
    enum { USED = 3000, NEW = 30 };
    struct cache *cache = new_cache(MIB, TTL);

    (void)state;
    for (unsigned i = 0; i < USED; i++) {
        load(cache, numbered("used", i), 1, 1000);
        look(cache, numbered("used", i), VALUE);
        look(cache, numbered("used", i), VALUE);
    }
    for (unsigned i = 0; i < NEW; i++)
        load(cache, numbered("new", i), 1, 1000);
    for (unsigned i = 0; i < NEW; i++)
        assert_version(look(cache, numbered("new", i), VALUE), 1);
    cache_free(cache);
}

static void newcomers_leave_in_the_order_of_their_coming(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    unsigned first = 0, count = 0;

    (void)state;
    while (stats_of(cache).evictions == 0)
        load(cache, numbered("k", count++), 1, 1000);
    for (; count < 3000; count++)
        load(cache, numbered("k", count), 1, 1000);
    while (look(cache, numbered("k", first), META).outcome == MISS)
        first++;
    assert_in_range(count - first, MIB / 1400, MIB / 1000);
    for (unsigned i = first; i < count; i++)
        assert_version(look(cache, numbered("k", i), META), 1);
    cache_free(cache);
}

static void a_key_that_comes_back_soon_after_its_eviction_is_no_newcomer(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    struct kv_ref ref = key("back");
    struct cache_answer answer;

    (void)state;
    load(cache, ref, 1, 1000);
    for (unsigned i = 0; cache_peek(cache, &ref, &answer); i++) {
        assert_true(i < 3000);
        load(cache, numbered("k", i), 1, 1000);
    }
    load(cache, ref, 2, 1000);
    for (unsigned i = 0; i < 3000; i++)
        load(cache, numbered("scan", i), 1, 1000);
    assert_version(look(cache, ref, VALUE), 2);
    cache_free(cache);
}

static void what_is_no_longer_used_leaves_the_main_queue(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    unsigned old = 0, fresh = 0;

    (void)state;
    for (unsigned set = 0; set < 4; set++) {
        for (unsigned round = 0; round < 4; round++) {
            for (unsigned i = 0; i < 600; i++) {
                struct kv_ref ref = numbered(set == 0 ? "old" : set == 1 ? "mid" : set == 2 ? "late" : "fresh", i);

                if (look(cache, ref, VALUE).outcome == MISS)
                    load(cache, ref, 1, 1000);
            }
        }
    }
    for (unsigned i = 0; i < 600; i++) {
        old += look(cache, numbered("old", i), META).outcome == PRESENT;
        fresh += look(cache, numbered("fresh", i), META).outcome == PRESENT;
    }
    assert_true(fresh > 500);
    assert_true(old < 100);
    cache_free(cache);
}

/* ------------------------------------------------------------- ttl 0, capacity 0 */

static void without_ttl_or_capacity_nothing_is_kept_and_no_fetch_is_shared(void **state)
{
    const struct {
        size_t capacity;
        int64_t ttl_ns;
    } cases[] = {{MIB, 0}, {0, TTL}, {0, 0}};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct cache *cache = new_cache(cases[i].capacity, cases[i].ttl_ns);
        struct cache_fetch *first = miss(cache, key("a"), VALUE), *second = miss(cache, key("a"), VALUE);
        struct cache_answer answer;
        struct kv_ref ref = key("a");

        fill_value(cache, second, 6, 10);
        fill_value(cache, first, 5, 10);
        assert_miss(look(cache, ref, META));
        fill_absent(cache, miss(cache, ref, VALUE));
        assert_miss(look(cache, ref, META));
        write_value(cache, ref, 7, 10);
        assert_miss(look(cache, ref, META));
        cache_write_absent(cache, &ref, cache_now(cache));
        assert_miss(look(cache, ref, META));
        note(cache, ref, 8, clock_now);
        cache_drop(cache, &ref);
        assert_int_equal(cache_peek(cache, &ref, &answer), 0);
        assert_int_equal(stats_of(cache).entries, 0);
        assert_int_equal(stats_of(cache).bytes, 0);
        cache_free(cache);
    }
}

/* -------------------------------------------------------------------- statistics */

static void lookups_are_counted(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    struct cache_stats stats;

    (void)state;
    load_meta(cache, key("a"), 1); /* miss */
    look(cache, key("a"), META);   /* hit */
    look(cache, key("a"), VALUE);  /* miss */
    fill_absent(cache, miss(cache, key("b"), META));
    look(cache, key("b"), META); /* hit */
    pass(TTL);
    look(cache, key("a"), META); /* miss, expired */
    stats = stats_of(cache);
    assert_int_equal(stats.hits, 2);
    assert_int_equal(stats.misses, 4);
    assert_int_equal(stats.expired, 1);
    assert_int_equal(stats.evictions, 0);
    assert_int_equal(stats.entries, 2);
    cache_free(cache);
}

/* ----------------------------------------------------------------------- threads */

struct reader {
    pthread_t thread;
    struct cache *cache;
    struct kv_ref ref;
    enum want want;
    pid_t tid; /* once it runs */
    int rc;
    struct cache_answer answer;
    struct cache_fetch *fetch;
};

static void *read_once(void *arg)
{
    struct reader *reader = arg;

    __atomic_store_n(&reader->tid, gettid(), __ATOMIC_SEQ_CST);
    reader->rc = cache_lookup(reader->cache, &reader->ref, reader->want == VALUE, &reader->answer, &reader->fetch);
    return NULL;
}

static char state_of(pid_t tid)
{
    char path[64], line[256] = "", *after_name;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
    file = fopen(path, "r");
    if (file == NULL)
        return '?';
    if (fgets(line, sizeof(line), file) == NULL)
        line[0] = '\0';
    fclose(file);
    after_name = strrchr(line, ')');
    return after_name != NULL ? after_name[2] : '?';
}

/* Start a reader of a key that is being fetched, and come back when it waits. */
static void start_waiting(struct reader *reader, struct cache *cache, struct kv_ref ref, enum want want)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    int moments = 0;
    pid_t tid;

    *reader = (struct reader){.cache = cache, .ref = ref, .want = want};
    assert_int_equal(pthread_create(&reader->thread, NULL, read_once, reader), 0);
    while ((tid = __atomic_load_n(&reader->tid, __ATOMIC_SEQ_CST)) == 0 || state_of(tid) != 'S') {
        assert_true(moments++ < 20000);
        nanosleep(&moment, NULL);
    }
}

/* returns  what its lookup returned */
static int finish(struct reader *reader)
{
    pthread_join(reader->thread, NULL);
    return reader->rc;
}

static void concurrent_misses_of_a_key_make_one_fetch(void **state)
{
    enum { READERS = 8 };
    struct cache *cache = new_cache(MIB, TTL);
    struct reader readers[READERS], other;
    struct cache_fetch *fetch = miss(cache, key("a"), VALUE);

    (void)state;
    for (unsigned i = 0; i < READERS; i++)
        start_waiting(&readers[i], cache, key("a"), i % 2 == 0 ? VALUE : META);
    other = (struct reader){.cache = cache, .ref = key("b"), .want = META};
    read_once(&other); /* of another key: it does not wait */
    assert_int_equal(other.rc, 0);
    cache_fail(cache, other.fetch, -EIO);

    fill_value(cache, fetch, 5, 100);
    for (unsigned i = 0; i < READERS; i++) {
        struct cache_answer *answer = &readers[i].answer;

        assert_int_equal(finish(&readers[i]), 1);
        assert_int_equal(answer->meta.version, 5);
        assert_int_equal(answer->value != NULL, i % 2 == 0);
        assert_true(answer->value == NULL || is_value_of(answer->value, 5));
        assert_false(answer->from_cache);
        kv_value_unref(answer->value);
    }
    assert_int_equal(stats_of(cache).misses, 2);
    assert_int_equal(stats_of(cache).hits, READERS);
    cache_free(cache);
}

static void a_value_too_large_to_keep_is_shared_with_those_who_wait(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    struct cache_fetch *fetch = miss(cache, key("a"), VALUE);
    struct reader reader;

    (void)state;
    start_waiting(&reader, cache, key("a"), VALUE);
    fill_value(cache, fetch, 5, 2 * MIB);
    assert_int_equal(finish(&reader), 1);
    assert_true(is_value_of(reader.answer.value, 5));
    kv_value_unref(reader.answer.value);
    cache_free(cache);
}

static void a_failed_fetch_is_told_to_all_who_wait_and_not_cached(void **state)
{
    enum { READERS = 4 };
    struct cache *cache = new_cache(MIB, TTL);
    struct reader readers[READERS];
    struct cache_fetch *fetch;

    (void)state;
    load(cache, key("a"), 5, 10);
    pass(TTL);
    fetch = miss(cache, key("a"), META);
    for (unsigned i = 0; i < READERS; i++)
        start_waiting(&readers[i], cache, key("a"), i % 2 == 0 ? VALUE : META);
    cache_fail(cache, fetch, -ETIMEDOUT);
    for (unsigned i = 0; i < READERS; i++)
        assert_int_equal(finish(&readers[i]), -ETIMEDOUT);
    assert_int_equal(stats_of(cache).misses, 2);
    load(cache, key("a"), 6, 10);
    assert_version(look(cache, key("a"), VALUE), 6);
    cache_free(cache);
}

static void a_reader_of_the_value_is_not_served_by_a_fetch_of_the_metadata(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    struct cache_fetch *fetch = miss(cache, key("a"), META);
    struct reader reader;

    (void)state;
    start_waiting(&reader, cache, key("a"), VALUE);
    fill_meta(cache, fetch, 5);
    assert_int_equal(finish(&reader), 0);
    fill_value(cache, reader.fetch, 5, 10);
    assert_version(look(cache, key("a"), VALUE), 5);

    fetch = miss(cache, key("b"), META); /* but an absence says it all */
    start_waiting(&reader, cache, key("b"), VALUE);
    fill_absent(cache, fetch);
    assert_int_equal(finish(&reader), 1);
    assert_true(reader.answer.absent);
    cache_free(cache);
}

/* What the first one showed may be newer than what the second one reads. */
static void an_overtaken_fetch_overtakes_the_next_one(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    struct kv_ref ref = key("a");
    struct cache_fetch *first = miss(cache, ref, META), *second;
    struct reader reader;

    (void)state;
    cache_drop(cache, &ref);
    second = miss(cache, ref, META);
    start_waiting(&reader, cache, ref, META);
    fill_meta(cache, first, 6);
    assert_int_equal(finish(&reader), 0);
    fill_meta(cache, second, 5);
    fill_meta(cache, reader.fetch, 6);
    assert_miss(look(cache, ref, META));
    cache_free(cache);
}

static void readers_that_wait_for_a_fetch_see_the_own_write_that_overtook_it(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    struct cache_fetch *fetch = miss(cache, key("a"), VALUE);
    struct reader reader;

    (void)state;
    start_waiting(&reader, cache, key("a"), VALUE);
    write_value(cache, key("a"), 6, 10);
    assert_int_equal(finish(&reader), 1); /* without waiting for the fetch */
    assert_int_equal(reader.answer.meta.version, 6);
    assert_true(is_value_of(reader.answer.value, 6));
    assert_true(reader.answer.from_cache);
    kv_value_unref(reader.answer.value);
    fill_value(cache, fetch, 5, 10);
    assert_miss(look(cache, key("a"), VALUE)); /* was it older? Ask again */
    cache_free(cache);
}

static void readers_that_wait_for_a_fetch_of_a_dropped_key_fetch_themselves(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    struct kv_ref ref = key("a");
    struct cache_fetch *fetch = miss(cache, ref, VALUE);
    struct reader reader;

    (void)state;
    start_waiting(&reader, cache, ref, VALUE);
    cache_drop(cache, &ref);
    assert_int_equal(finish(&reader), 0);
    fill_value(cache, reader.fetch, 6, 10);
    fill_value(cache, fetch, 6, 10);
    assert_version(look(cache, ref, VALUE), 6);
    cache_free(cache);
}

static void an_answer_that_came_after_its_ttl_is_not_shared(void **state)
{
    struct cache *cache = new_cache(MIB, TTL);
    struct cache_fetch *fetch = miss(cache, key("a"), META);
    struct reader reader;

    (void)state;
    start_waiting(&reader, cache, key("a"), META);
    pass(TTL);
    fill_meta(cache, fetch, 5);
    assert_int_equal(finish(&reader), 0);
    fill_meta(cache, reader.fetch, 6);
    assert_version(look(cache, key("a"), META), 6);
    cache_free(cache);
}

/* ----------------------------------------------- random runs against a simple model
 *
 * The central is a history: step h of a key was its state from `from` of h to `from` of h + 1. Each step has
 * a version of its own, or is an absence. */

enum { HISTORY = 4096 };

struct history {
    size_t last;
    struct {
        uint64_t version; /* 0: absent */
        int64_t from;
    } steps[HISTORY];
};

static void change_central(struct history *central, bool absent)
{
    size_t step = central->last + 1;

    assert_true(step < HISTORY);
    central->steps[step].version = absent ? 0 : step;
    central->steps[step].from = clock_now;
    central->last = step;
}

/* May a read at this time, that began after `floor` was known, answer with this version? */
static bool is_allowed(const struct history *central, size_t floor, uint64_t version)
{
    for (size_t step = floor; step <= central->last; step++) {
        bool lately = step == central->last || central->steps[step + 1].from > clock_now - TTL;

        if (central->steps[step].version == version && lately)
            return true;
    }
    return false;
}

/* One node among others that write too, on one key, in one thread: transactions of fetches and listings
 * overlap in every order. What an own write or a listing has shown is never taken back, and nothing is
 * served that was replaced a ttl ago. */
static void no_answer_is_too_old_or_older_than_what_was_shown(void **state)
{
    enum { RUNS = 300, STEPS = 400, OPEN = 3 };
    unsigned seed = 20240612;
    struct history *central = malloc(sizeof(*central));

    (void)state;
    assert_non_null(central);
    for (int run = 0; run < RUNS; run++) {
        struct cache *cache = new_cache(MIB, TTL);
        struct kv_ref ref = key("a");
        struct {
            struct cache_fetch *fetch;
            size_t read; /* history step that it read; 0: not yet */
            bool current, want_value;
        } open[OPEN] = {0};
        struct {
            bool running;
            int64_t seen_ns;
            size_t read;
        } listing = {0};
        size_t floor = 1, hits = 0;

        central->last = 0;
        change_central(central, false);
        for (int step = 0; step < STEPS; step++) {
            size_t slot = (size_t)rand_r(&seed) % OPEN;
            bool any_current = false;

            for (size_t i = 0; i < OPEN; i++)
                any_current |= open[i].fetch != NULL && open[i].current;
            pass(rand_r(&seed) % 3 == 0 ? rand_r(&seed) % (rand_r(&seed) % 20 == 0 ? TTL : 5 * MS) : 0);
            switch (rand_r(&seed) % 10) {
            case 0: /* another node */
                change_central(central, rand_r(&seed) % 4 == 0);
                break;
            case 1: /* this node */
                change_central(central, rand_r(&seed) % 4 == 0);
                floor = central->last;
                if (central->steps[floor].version == 0)
                    cache_write_absent(cache, &ref, cache_now(cache));
                else if (rand_r(&seed) % 3 == 0)
                    change_drop(cache, ref);
                else
                    write_value(cache, ref, central->steps[floor].version, 10);
                for (size_t i = 0; i < OPEN; i++)
                    open[i].current = false;
                break;
            case 2:
            case 3: /* a listing, in three steps */
                if (!listing.running) {
                    listing.running = true;
                    listing.seen_ns = clock_now;
                    listing.read = 0;
                } else if (listing.read == 0) {
                    listing.read = central->last;
                } else {
                    listing.running = false;
                    if (central->steps[listing.read].version == 0)
                        break;
                    note(cache, ref, central->steps[listing.read].version, listing.seen_ns);
                    if (floor < listing.read)
                        floor = listing.read;
                    for (size_t i = 0; i < OPEN; i++)
                        open[i].current = false;
                }
                break;
            default: /* a reader, in three steps where it has to fetch */
                if (open[slot].fetch == NULL && !any_current) {
                    struct cache_answer answer;
                    bool want_value = rand_r(&seed) % 2;

                    if (cache_lookup(cache, &ref, want_value, &answer, &open[slot].fetch) == 1) {
                        uint64_t version = answer.absent ? 0 : answer.meta.version;

                        assert_true(is_allowed(central, floor, version));
                        assert_true(answer.value == NULL || is_value_of(answer.value, version));
                        kv_value_unref(answer.value);
                        hits++;
                    } else {
                        open[slot].current = true;
                        open[slot].read = 0;
                        open[slot].want_value = want_value;
                    }
                } else if (open[slot].fetch != NULL && open[slot].read == 0) {
                    open[slot].read = central->last;
                } else if (open[slot].fetch != NULL) {
                    uint64_t version = central->steps[open[slot].read].version;

                    if (rand_r(&seed) % 10 == 0)
                        cache_fail(cache, open[slot].fetch, -EIO);
                    else if (version == 0)
                        fill_absent(cache, open[slot].fetch);
                    else if (open[slot].want_value)
                        fill_value(cache, open[slot].fetch, version, 10);
                    else
                        fill_meta(cache, open[slot].fetch, version);
                    open[slot].fetch = NULL;
                }
            }
        }
        assert_true(hits > 0);
        for (size_t i = 0; i < OPEN; i++) {
            if (open[i].fetch != NULL)
                cache_fail(cache, open[i].fetch, -EIO);
        }
        cache_free(cache);
    }
    free(central);
}

/* Many threads on one node that is the only writer: whatever was acknowledged before a read began is the
 * least that it may answer with. Generation g of a key is an absence where g % 7 is 0. */

enum { STRESS_KEYS = 24, STRESS_WRITERS = 2, STRESS_READERS = 3, STRESS_STEPS = 15000 };

struct stress_key {
    pthread_mutex_t order; /* of changes, as the commit queue has it */
    uint64_t central, acknowledged;
};

struct stress {
    struct cache *cache;
    struct stress_key keys[STRESS_KEYS];
    unsigned next_seed;
};

static uint64_t load_u64(const uint64_t *from) { return __atomic_load_n(from, __ATOMIC_SEQ_CST); }
static void store_u64(uint64_t *to, uint64_t value) { __atomic_store_n(to, value, __ATOMIC_SEQ_CST); }
static size_t stress_size(uint64_t generation) { return generation * 131 % 3000; }

static void stress_failed(const char *what, uint64_t floor, uint64_t got)
{
    fprintf(stderr, "%s: generation %llu after %llu was acknowledged\n", what, (unsigned long long)got,
            (unsigned long long)floor);
    abort();
}

static void *stress_write(void *arg)
{
    struct stress *stress = arg;
    unsigned seed = __atomic_add_fetch(&stress->next_seed, 1, __ATOMIC_SEQ_CST);

    for (int step = 0; step < STRESS_STEPS; step++) {
        unsigned number = (unsigned)rand_r(&seed) % STRESS_KEYS;
        struct stress_key *at = &stress->keys[number];
        struct kv_ref ref = numbered("k", number);
        uint64_t generation;
        struct cache_since since;
        struct kv_meta meta;
        struct kv_value *value;

        pthread_mutex_lock(&at->order);
        since = cache_now(stress->cache);
        generation = at->central + 1;
        meta = meta_of(generation, stress_size(generation));
        value = value_of(generation, stress_size(generation));
        if (generation % 7 == 0) {
            store_u64(&at->central, generation);
            cache_write_absent(stress->cache, &ref, since);
        } else if (generation % 11 == 0) {
            store_u64(&at->central, generation);
            cache_drop(stress->cache, &ref);
        } else {
            store_u64(&at->central, generation);
            cache_write(stress->cache, &ref, &meta, value, since);
        }
        store_u64(&at->acknowledged, generation);
        pthread_mutex_unlock(&at->order);
        kv_value_unref(value);
    }
    return NULL;
}

static void stress_check(struct stress_key *at, const struct cache_answer *answer, uint64_t floor)
{
    if (answer->absent) {
        uint64_t absence = (floor + 6) / 7 * 7;

        /* A write in progress is in the central, or pending, before it is acknowledged. */
        if (absence > load_u64(&at->central))
            stress_failed("absent", floor, load_u64(&at->central));
        return;
    }
    if (answer->meta.version < floor)
        stress_failed("metadata", floor, answer->meta.version);
    if (answer->value != NULL && (answer->value->size != stress_size(answer->meta.version) ||
                                  !is_value_of(answer->value, answer->meta.version)))
        stress_failed("another version's value", floor, answer->meta.version);
}

static void *stress_read(void *arg)
{
    struct stress *stress = arg;
    unsigned seed = __atomic_add_fetch(&stress->next_seed, 1, __ATOMIC_SEQ_CST);

    for (int step = 0; step < STRESS_STEPS; step++) {
        unsigned number = (unsigned)rand_r(&seed) % STRESS_KEYS;
        struct stress_key *at = &stress->keys[number];
        struct kv_ref ref = numbered("k", number);
        bool want_value = rand_r(&seed) % 2;
        uint64_t floor = load_u64(&at->acknowledged), generation;
        struct cache_answer answer = {0};
        struct cache_fetch *fetch;
        int rc;

        if (rand_r(&seed) % 8 == 0) { /* a listing */
            int64_t seen_ns = test_clock(NULL);
            struct kv_meta meta;

            generation = load_u64(&at->central);
            meta = meta_of(generation, stress_size(generation));
            if (generation % 7 != 0)
                cache_note(stress->cache, NS, ref.key, ref.size, &meta, seen_ns);
            continue;
        }
        if (rand_r(&seed) % 8 == 0) {
            if (cache_peek(stress->cache, &ref, &answer))
                stress_check(at, &answer, floor);
            continue;
        }
        rc = cache_lookup(stress->cache, &ref, want_value, &answer, &fetch);
        if (rc == 0) {
            generation = load_u64(&at->central);
            if (rand_r(&seed) % 16 == 0) {
                cache_fail(stress->cache, fetch, -EIO);
                continue;
            }
            answer.absent = generation % 7 == 0;
            if (!answer.absent) {
                answer.meta = meta_of(generation, stress_size(generation));
                answer.value = want_value ? value_of(generation, stress_size(generation)) : NULL;
            }
            cache_fill(stress->cache, fetch, &answer);
        } else if (rc == 1) {
            if (want_value && !answer.absent && answer.value == NULL)
                stress_failed("no value", floor, answer.meta.version);
            if (!want_value && answer.value != NULL)
                stress_failed("a value unasked", floor, answer.meta.version);
            stress_check(at, &answer, floor);
        } else if (rc != -EIO) {
            stress_failed("error", floor, 0);
        }
        kv_value_unref(answer.value);
    }
    return NULL;
}

static void no_thread_reads_what_an_acknowledged_write_replaced(void **state)
{
    const struct {
        size_t capacity;
        int64_t ttl_ns;
    } cases[] = {{20000, 300}, {MIB, 1000}, {MIB, 0}, {0, 1000}};

    (void)state;
    clock_step = 1; /* no two events at the same time */
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        pthread_t threads[STRESS_WRITERS + STRESS_READERS];
        struct stress stress = {.cache = new_cache(cases[i].capacity, cases[i].ttl_ns)};
        struct cache_stats stats;

        for (size_t k = 0; k < STRESS_KEYS; k++)
            pthread_mutex_init(&stress.keys[k].order, NULL);
        for (size_t t = 0; t < STRESS_WRITERS + STRESS_READERS; t++)
            assert_int_equal(
                pthread_create(&threads[t], NULL, t < STRESS_WRITERS ? stress_write : stress_read, &stress), 0);
        for (size_t t = 0; t < STRESS_WRITERS + STRESS_READERS; t++)
            pthread_join(threads[t], NULL);
        stats = stats_of(stress.cache);
        assert_true(stats.misses > 0 && (stats.hits > 0 || cases[i].ttl_ns == 0 || cases[i].capacity == 0));
        assert_true(stats.bytes <= cases[i].capacity);
        if (i == 0)
            assert_true(stats.evictions > 0 && stats.expired > 0);
        for (unsigned k = 0; k < STRESS_KEYS; k++) {
            struct kv_ref ref = numbered("k", k);

            cache_drop(stress.cache, &ref);
            pthread_mutex_destroy(&stress.keys[k].order);
        }
        assert_int_equal(stats_of(stress.cache).bytes, 0);
        cache_free(stress.cache);
    }
}

#define CACHE_TEST(name) cmocka_unit_test_setup(name, start_clock)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CACHE_TEST(an_entry_is_valid_until_its_ttl_has_passed),
        CACHE_TEST(absence_is_cached_and_expires),
        CACHE_TEST(validity_counts_from_the_begin_of_the_fetch),
        CACHE_TEST(answers_say_where_they_come_from),
        CACHE_TEST(keys_of_other_namespaces_and_nodes_are_others),
        CACHE_TEST(metadata_alone_answers_no_question_for_the_value),
        CACHE_TEST(a_fill_with_the_value_of_a_newer_version_replaces_metadata),
        CACHE_TEST(metadata_of_the_same_version_makes_the_value_valid_again),
        CACHE_TEST(a_value_over_an_eighth_of_the_budget_is_not_kept_but_its_metadata_is),
        CACHE_TEST(a_value_handed_out_outlives_its_entry),
        CACHE_TEST(an_own_write_is_visible_at_once),
        CACHE_TEST(an_own_change_of_metadata_keeps_the_value_of_the_same_version_only),
        CACHE_TEST(a_dropped_key_is_fetched_again),
        CACHE_TEST(a_fetch_that_an_own_change_overtook_is_not_kept),
        CACHE_TEST(an_own_change_is_not_kept_where_its_key_was_heard_of_since_it_was_queued),
        CACHE_TEST(the_ttl_of_an_own_change_counts_from_its_queueing),
        CACHE_TEST(a_new_fetch_may_begin_while_an_overtaken_one_is_under_way),
        CACHE_TEST(a_listing_corrects_an_older_entry),
        CACHE_TEST(a_listing_makes_an_expired_entry_valid_again),
        CACHE_TEST(a_listing_adds_no_entry),
        CACHE_TEST(a_listing_never_brings_back_what_an_own_write_replaced),
        CACHE_TEST(a_listing_that_ran_beside_a_fetch_cannot_be_older_than_later_answers),
        CACHE_TEST(a_listing_that_differs_in_attributes_corrects_them),
        CACHE_TEST(peeking_sees_only_what_is_valid),
        CACHE_TEST(peeking_while_a_fetch_is_under_way_does_not_wait),
        CACHE_TEST(peeking_is_no_use_and_not_counted),
        CACHE_TEST(bytes_are_counted_exactly),
        CACHE_TEST(bytes_never_pass_the_capacity),
        CACHE_TEST(an_own_write_that_does_not_fit_leaves_no_older_entry),
        CACHE_TEST(a_hot_set_survives_a_scan),
        CACHE_TEST(stat_and_read_of_each_key_are_no_use_of_it_yet),
        CACHE_TEST(a_newcomer_has_its_time_in_a_cache_full_of_used_keys),
        CACHE_TEST(newcomers_leave_in_the_order_of_their_coming),
        CACHE_TEST(a_key_that_comes_back_soon_after_its_eviction_is_no_newcomer),
        CACHE_TEST(what_is_no_longer_used_leaves_the_main_queue),
        CACHE_TEST(without_ttl_or_capacity_nothing_is_kept_and_no_fetch_is_shared),
        CACHE_TEST(lookups_are_counted),
        CACHE_TEST(concurrent_misses_of_a_key_make_one_fetch),
        CACHE_TEST(a_value_too_large_to_keep_is_shared_with_those_who_wait),
        CACHE_TEST(a_failed_fetch_is_told_to_all_who_wait_and_not_cached),
        CACHE_TEST(a_reader_of_the_value_is_not_served_by_a_fetch_of_the_metadata),
        CACHE_TEST(an_overtaken_fetch_overtakes_the_next_one),
        CACHE_TEST(readers_that_wait_for_a_fetch_see_the_own_write_that_overtook_it),
        CACHE_TEST(readers_that_wait_for_a_fetch_of_a_dropped_key_fetch_themselves),
        CACHE_TEST(an_answer_that_came_after_its_ttl_is_not_shared),
        CACHE_TEST(no_answer_is_too_old_or_older_than_what_was_shown),
        CACHE_TEST(no_thread_reads_what_an_acknowledged_write_replaced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
