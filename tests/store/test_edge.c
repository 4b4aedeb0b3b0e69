/* Reading through the edge cache: how old an answer may be, and what corrects it.
 *
 * The node under test shares its central with another node, whose writes it does not hear of. */
#include "tests/support/store.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define TTL_MS 60000

/* The engine of the other node: the central of the first one, which outlives it. */
struct shared {
    struct engine base;
    struct engine *central;
};

static int shared_begin(struct engine *engine, bool write, struct engine_txn **out)
{
    struct engine *central = ((struct shared *)engine)->central;

    return central->ops->begin(central, write, out);
}

static void shared_close(struct engine *engine) { free(engine); }

static void shared_usage(struct engine *engine, struct kv_storage *out)
{
    struct engine *central = ((struct shared *)engine)->central;

    central->ops->usage(central, out);
}

/* The rest is called through the transaction's own table. */
static const struct engine_ops shared_ops = {
    .name = "shared", .close = shared_close, .begin = shared_begin, .usage = shared_usage};

struct nodes {
    struct test_store *test; /* the node under test */
    struct kv_store *other;
};

static void open_nodes(struct nodes *nodes, enum test_engine kind, const struct kv_options *given)
{
    struct kv_options options = given != NULL ? *given : kv_options_default();
    struct shared *shared = calloc(1, sizeof(*shared));
    struct kv_error error;

    nodes->test = test_store_open(kind, &options);
    assert_non_null(shared);
    shared->base.ops = &shared_ops;
    shared->central = nodes->test->inner;
    options.backend = test_backend(&shared->base);
    options.clock = &nodes->test->clock;
    assert_int_equal(kv_open("other", &options, &nodes->other, &error), 0);
}

static void close_nodes(struct nodes *nodes)
{
    kv_close(nodes->other);
    test_expect_sound(nodes->test->inner);
    test_store_close(nodes->test);
}

static int setup_kind(void **state, enum test_engine kind)
{
    struct nodes *nodes = calloc(1, sizeof(*nodes));

    assert_non_null(nodes);
    open_nodes(nodes, kind, NULL);
    *state = nodes;
    return 0;
}

static int setup(void **state) { return setup_kind(state, TEST_MEMORY); }
static int setup_lmdb(void **state) { return setup_kind(state, TEST_LMDB); }

static int teardown(void **state)
{
    close_nodes(*state);
    free(*state);
    return 0;
}

#define TEST_WITH_NODES(f)           \
    {                                \
#f, f, setup, teardown, NULL \
    }
#define TEST_WITH_NODES_LMDB(f)                     \
    {                                               \
#f " (lmdb)", f, setup_lmdb, teardown, NULL \
    }

/* The other node puts a text. */
static void other_puts(struct nodes *nodes, const char *key, const char *text)
{
    struct kv_ref ref = test_key(nodes->test, key);

    assert_int_equal(kv_put(nodes->other, &ref, text, strlen(text)), 0);
}

static void other_deletes(struct nodes *nodes, const char *key)
{
    struct kv_ref ref = test_key(nodes->test, key);

    assert_int_equal(kv_delete(nodes->other, &ref), 0);
}

static struct kv_fresh fresh_of(struct nodes *nodes, const char *key, int expected)
{
    struct kv_fresh fresh = {.age_ms = -1, .remaining_ms = -1};
    struct kv_ref ref = test_key(nodes->test, key);
    struct kv_value *value;
    struct kv_meta meta;
    int rc = kv_get(nodes->test->kv, &ref, &meta, &value, &fresh);

    assert_int_equal(rc, expected);
    if (rc == 0)
        kv_value_unref(value);
    return fresh;
}

static uint64_t central_reads(struct nodes *nodes)
{
    return engine_fault_calls(nodes->test->fault, ENGINE_BEGIN_READ);
}

static void expect_fresh(struct kv_fresh fresh, bool from_cache, int64_t age_ms, int64_t remaining_ms)
{
    assert_int_equal(fresh.from_cache, from_cache);
    assert_int_equal(fresh.age_ms, age_ms);
    assert_int_equal(fresh.remaining_ms, remaining_ms);
}

static void expect_absent(struct nodes *nodes, const char *key) { (void)fresh_of(nodes, key, -ENOENT); }

/* -------------------------------------------------------------------- the ttl */

static void a_value_is_served_from_the_cache_until_its_time_is_over(void **state)
{
    struct nodes *nodes = *state;
    uint64_t before;

    other_puts(nodes, "key", "value");
    expect_fresh(fresh_of(nodes, "key", 0), false, 0, TTL_MS);
    before = central_reads(nodes);
    expect_fresh(fresh_of(nodes, "key", 0), true, 0, TTL_MS);
    test_store_pass_ms(nodes->test, 10000);
    expect_fresh(fresh_of(nodes, "key", 0), true, 10000, 50000);
    test_store_pass_ms(nodes->test, 49999);
    expect_fresh(fresh_of(nodes, "key", 0), true, 59999, 1);
    assert_int_equal(central_reads(nodes), before);
    test_store_pass_ms(nodes->test, 2);
    expect_fresh(fresh_of(nodes, "key", 0), false, 0, TTL_MS);
    assert_int_equal(central_reads(nodes), before + 1);
}

static void another_nodes_write_is_seen_when_the_time_is_over(void **state)
{
    struct nodes *nodes = *state;

    other_puts(nodes, "key", "old");
    test_expect_text(nodes->test, "key", "old");
    other_puts(nodes, "key", "new");
    test_store_pass_ms(nodes->test, 59999);
    test_expect_text(nodes->test, "key", "old"); /* eventual consistency */
    test_store_pass_ms(nodes->test, 2);
    test_expect_text(nodes->test, "key", "new");
}

static void a_read_from_the_cache_does_not_prolong_its_time(void **state)
{
    struct nodes *nodes = *state;

    other_puts(nodes, "key", "old");
    test_expect_text(nodes->test, "key", "old");
    other_puts(nodes, "key", "new");
    for (int i = 0; i < 5; i++) {
        test_store_pass_ms(nodes->test, 11999);
        test_expect_text(nodes->test, "key", "old");
    }
    test_store_pass_ms(nodes->test, 11999);
    test_expect_text(nodes->test, "key", "new");
}

static void absence_is_known_as_long_as_a_value_is(void **state)
{
    struct nodes *nodes = *state;
    uint64_t before;

    expect_fresh(fresh_of(nodes, "key", -ENOENT), false, 0, TTL_MS);
    before = central_reads(nodes);
    other_puts(nodes, "key", "value");
    test_store_pass_ms(nodes->test, 59000);
    expect_fresh(fresh_of(nodes, "key", -ENOENT), true, 59000, 1000);
    assert_int_equal(central_reads(nodes), before);
    test_store_pass_ms(nodes->test, 1001);
    test_expect_text(nodes->test, "key", "value");
}

static void another_nodes_deletion_is_seen_when_the_time_is_over(void **state)
{
    struct nodes *nodes = *state;

    other_puts(nodes, "key", "value");
    test_expect_text(nodes->test, "key", "value");
    other_deletes(nodes, "key");
    test_expect_text(nodes->test, "key", "value");
    test_store_pass_ms(nodes->test, 60001);
    expect_absent(nodes, "key");
}

static void metadata_alone_does_not_answer_for_the_value(void **state)
{
    struct nodes *nodes = *state;
    struct kv_ref key = test_key(nodes->test, "key");
    struct kv_fresh fresh;
    struct kv_meta meta;
    uint64_t before;

    other_puts(nodes, "key", "value");
    assert_int_equal(kv_stat(nodes->test->kv, &key, &meta, &fresh), 0);
    assert_false(fresh.from_cache);
    before = central_reads(nodes);
    assert_int_equal(kv_stat(nodes->test->kv, &key, &meta, &fresh), 0);
    assert_true(fresh.from_cache);
    assert_int_equal(central_reads(nodes), before);
    assert_false(fresh_of(nodes, "key", 0).from_cache);
    assert_int_equal(central_reads(nodes), before + 1);
    assert_int_equal(kv_stat(nodes->test->kv, &key, &meta, &fresh), 0); /* but the value for the metadata */
    assert_true(fresh.from_cache);
    assert_true(fresh_of(nodes, "key", 0).from_cache);
    assert_int_equal(central_reads(nodes), before + 1);
}

static void a_name_that_no_key_can_have_is_absent_for_good(void **state)
{
    struct nodes *nodes = *state;
    uint64_t before = central_reads(nodes);
    struct kv_fresh fresh = fresh_of(nodes, "a.swp", -ENOENT);

    assert_int_equal(central_reads(nodes), before);
    assert_true(fresh.age_ms >= 0 && fresh.remaining_ms >= 0); /* filled in */
}

/* --------------------------------------------------------------- own changes */

static void own_writes_are_seen_at_once_and_need_no_reading(void **state)
{
    struct nodes *nodes = *state;
    uint64_t before;

    other_puts(nodes, "key", "old");
    test_expect_text(nodes->test, "key", "old");
    test_store_pass_ms(nodes->test, 30000);
    test_put(nodes->test, "key", "mine");
    before = central_reads(nodes);
    test_expect_text(nodes->test, "key", "mine");
    expect_fresh(fresh_of(nodes, "key", 0), true, 0, TTL_MS);
    assert_int_equal(central_reads(nodes), before);
    test_store_pass_ms(nodes->test, 45000); /* beyond the end of what was fetched first */
    test_expect_text(nodes->test, "key", "mine");
}

static void an_own_write_ends_a_known_absence(void **state)
{
    struct nodes *nodes = *state;

    expect_absent(nodes, "key");
    test_put(nodes->test, "key", "mine");
    test_expect_text(nodes->test, "key", "mine");
}

static void an_own_deletion_is_seen_at_once_and_needs_no_reading(void **state)
{
    struct nodes *nodes = *state;
    struct kv_ref key = test_key(nodes->test, "key");
    uint64_t before;

    other_puts(nodes, "key", "value");
    test_expect_text(nodes->test, "key", "value");
    assert_int_equal(kv_delete(nodes->test->kv, &key), 0);
    before = central_reads(nodes);
    expect_fresh(fresh_of(nodes, "key", -ENOENT), true, 0, TTL_MS);
    assert_int_equal(central_reads(nodes), before);
}

static void a_refused_change_lets_the_central_be_asked_again(void **state)
{
    struct nodes *nodes = *state;
    struct kv_ref key = test_key(nodes->test, "key");
    struct kv_change change = {.kind = KV_PUT, .ref = key, .conditional = true, .if_version = 0};

    expect_absent(nodes, "key");
    other_puts(nodes, "key", "theirs");
    expect_absent(nodes, "key");
    assert_int_equal(kv_value_copy("mine", 4, &change.value), 0);
    assert_int_equal(kv_apply(nodes->test->kv, &change), -EEXIST);
    kv_value_unref(change.value);
    test_expect_text(nodes->test, "key", "theirs"); /* what it collided with */

    other_deletes(nodes, "key");
    assert_int_equal(kv_delete(nodes->test->kv, &key), -ENOENT);
    expect_absent(nodes, "key");
}

static void own_renames_are_seen_at_once_under_both_names(void **state)
{
    struct nodes *nodes = *state;
    struct kv_change change = {
        .kind = KV_RENAME, .ref = test_key(nodes->test, "a"), .to = test_key(nodes->test, "b"), .flags = 0};

    other_puts(nodes, "a", "first");
    other_puts(nodes, "b", "second");
    test_expect_text(nodes->test, "a", "first");
    test_expect_text(nodes->test, "b", "second");
    change.flags = KV_EXCHANGE;
    assert_int_equal(kv_apply(nodes->test->kv, &change), 0);
    test_expect_text(nodes->test, "a", "second");
    test_expect_text(nodes->test, "b", "first");
    change.flags = 0;
    assert_int_equal(kv_apply(nodes->test->kv, &change), 0);
    expect_absent(nodes, "a");
    test_expect_text(nodes->test, "b", "second");
}

static void own_attributes_are_seen_at_once_and_the_value_stays_cached(void **state)
{
    struct nodes *nodes = *state;
    struct kv_ref key = test_key(nodes->test, "key");
    struct kv_change change = {.kind = KV_SETATTR, .ref = key, .attr = {.mode = 0400}, .attr_mask = KV_MODE};
    uint64_t before;

    other_puts(nodes, "key", "value");
    test_expect_text(nodes->test, "key", "value");
    assert_int_equal(kv_apply(nodes->test->kv, &change), 0);
    before = central_reads(nodes);
    assert_int_equal(test_stat(nodes->test, &key).attr.mode, 0400);
    test_expect_text(nodes->test, "key", "value");
    assert_int_equal(central_reads(nodes), before);
}

/* The own change of the attributes finds what the other node put meanwhile. */
static void own_attributes_never_bring_an_old_value_back(void **state)
{
    struct nodes *nodes = *state;
    struct kv_ref key = test_key(nodes->test, "key");
    struct kv_change change = {.kind = KV_SETATTR, .ref = key, .attr = {.mode = 0400}, .attr_mask = KV_MODE};
    struct kv_meta meta;

    other_puts(nodes, "key", "old");
    test_expect_text(nodes->test, "key", "old");
    other_puts(nodes, "key", "newer");
    assert_int_equal(kv_apply(nodes->test->kv, &change), 0);
    meta = test_stat(nodes->test, &key);
    assert_int_equal(meta.size, 5);
    assert_int_equal(meta.version, change.meta.version);
    test_expect_text(nodes->test, "key", "newer");
}

/* ------------------------------------------------------------------- listings */

static void list_all(struct nodes *nodes, const char *expected)
{
    struct kv_list list;
    char text[200] = "";

    assert_int_equal(kv_list(nodes->test->kv, nodes->test->namespace.id, NULL, NULL, 256, &list), 0);
    for (size_t i = 0; i < list.count; i++) {
        strcat(text, list.keys[i]);
        strcat(text, " ");
    }
    kv_list_free(&list);
    assert_string_equal(text, expected);
}

static void a_listing_corrects_what_the_cache_knew(void **state)
{
    struct nodes *nodes = *state;

    other_puts(nodes, "a", "old");
    test_expect_text(nodes->test, "a", "old");
    expect_absent(nodes, "b");
    other_puts(nodes, "a", "newer");
    other_puts(nodes, "b", "new");
    test_expect_text(nodes->test, "a", "old");
    expect_absent(nodes, "b");
    test_store_pass_ms(nodes->test, 1);
    list_all(nodes, "a b ");
    test_expect_text(nodes->test, "a", "newer");
    test_expect_text(nodes->test, "b", "new");
}

/* No time passes between the fetch and the listing: it still must not be older than what the listing showed. */
static void a_listing_in_the_moment_of_the_fetch_corrects_it_too(void **state)
{
    struct nodes *nodes = *state;
    struct kv_ref a = test_key(nodes->test, "a");

    other_puts(nodes, "a", "old");
    test_expect_text(nodes->test, "a", "old");
    other_puts(nodes, "a", "newer");
    list_all(nodes, "a ");
    assert_int_equal(test_stat(nodes->test, &a).size, 5);
    test_expect_text(nodes->test, "a", "newer");
}

static void a_listing_that_agrees_leaves_the_value_in_the_cache(void **state)
{
    struct nodes *nodes = *state;
    uint64_t before;

    other_puts(nodes, "a", "value");
    test_expect_text(nodes->test, "a", "value");
    test_store_pass_ms(nodes->test, 1);
    list_all(nodes, "a ");
    before = central_reads(nodes);
    test_expect_text(nodes->test, "a", "value");
    assert_int_equal(central_reads(nodes), before);
}

/* --------------------------------------------------------------- peek, forget */

static void a_peek_tells_what_the_cache_knows_and_asks_nobody(void **state)
{
    struct nodes *nodes = *state;
    struct kv_ref key = test_key(nodes->test, "key"), absent = test_key(nodes->test, "absent");
    struct kv_meta meta = {.version = 77};
    struct kv_fresh fresh = {.age_ms = 77};
    uint64_t before;

    other_puts(nodes, "key", "value");
    before = central_reads(nodes);
    assert_int_equal(kv_peek(nodes->test->kv, &key, &meta, &fresh), -ENOENT);
    assert_int_equal(meta.version, 77);
    assert_int_equal(fresh.age_ms, 77);
    assert_int_equal(central_reads(nodes), before);

    test_expect_text(nodes->test, "key", "value");
    expect_absent(nodes, "absent");
    before = central_reads(nodes);
    test_store_pass_ms(nodes->test, 5000);
    assert_int_equal(kv_peek(nodes->test->kv, &key, &meta, &fresh), 0);
    assert_int_equal(meta.size, 5);
    expect_fresh(fresh, true, 5000, 55000);
    assert_int_equal(kv_peek(nodes->test->kv, &absent, &meta, &fresh), -ENOENT);
    test_store_pass_ms(nodes->test, 55001);
    assert_int_equal(kv_peek(nodes->test->kv, &key, &meta, &fresh), -ENOENT);
    assert_int_equal(central_reads(nodes), before);

    test_put(nodes->test, "key", "mine");
    assert_int_equal(kv_peek(nodes->test->kv, &key, &meta, &fresh), 0);
    assert_int_equal(meta.size, 4);
}

static void a_forgotten_key_is_asked_for_again(void **state)
{
    struct nodes *nodes = *state;
    struct kv_ref key = test_key(nodes->test, "key");
    struct kv_meta meta;
    struct kv_fresh fresh;

    other_puts(nodes, "key", "old");
    test_expect_text(nodes->test, "key", "old");
    other_puts(nodes, "key", "new");
    kv_forget(nodes->test->kv, &key);
    assert_int_equal(kv_peek(nodes->test->kv, &key, &meta, &fresh), -ENOENT);
    test_expect_text(nodes->test, "key", "new");
    kv_forget(nodes->test->kv, &(struct kv_ref){.node = 999999, .size = 1, .key = "k"}); /* nothing to forget */
}

/* ------------------------------------------------------- the central is away */

static void within_its_time_a_value_is_served_though_the_central_is_away(void **state)
{
    struct nodes *nodes = *state;

    other_puts(nodes, "key", "value");
    test_expect_text(nodes->test, "key", "value");
    engine_fault_arm(nodes->test->fault, ENGINE_BEGIN_READ, 1, 1000, -ETIMEDOUT);
    test_store_pass_ms(nodes->test, 59000);
    test_expect_text(nodes->test, "key", "value");
    engine_fault_arm(nodes->test->fault, ENGINE_BEGIN_READ, 0, 0, 0);
}

static void what_is_too_old_is_not_served_though_the_central_is_away(void **state)
{
    struct nodes *nodes = *state;
    struct kv_ref key = test_key(nodes->test, "key"), absent = test_key(nodes->test, "absent");
    struct kv_meta meta;

    other_puts(nodes, "key", "value");
    test_expect_text(nodes->test, "key", "value");
    expect_absent(nodes, "absent");
    test_store_pass_ms(nodes->test, 60001);
    engine_fault_arm(nodes->test->fault, ENGINE_BEGIN_READ, 1, 1000, -ETIMEDOUT);
    (void)fresh_of(nodes, "key", -ETIMEDOUT);
    (void)fresh_of(nodes, "absent", -ETIMEDOUT);
    assert_int_equal(kv_stat(nodes->test->kv, &key, &meta, NULL), -ETIMEDOUT);
    assert_int_equal(kv_stat(nodes->test->kv, &absent, &meta, NULL), -ETIMEDOUT);
    engine_fault_arm(nodes->test->fault, ENGINE_BEGIN_READ, 0, 0, 0);
    test_expect_text(nodes->test, "key", "value");
    expect_absent(nodes, "absent");
}

/* ------------------------------------------------------------- other settings */

static void without_a_ttl_every_read_sees_the_newest_value(void **state)
{
    struct kv_options options = kv_options_default();
    struct nodes nodes;
    uint64_t before;

    (void)state;
    options.cache_ttl_ms = 0;
    open_nodes(&nodes, TEST_MEMORY, &options);
    expect_absent(&nodes, "key");
    other_puts(&nodes, "key", "old");
    test_expect_text(nodes.test, "key", "old");
    other_puts(&nodes, "key", "new");
    test_expect_text(nodes.test, "key", "new");
    test_put(nodes.test, "key", "mine");
    before = central_reads(&nodes);
    expect_fresh(fresh_of(&nodes, "key", 0), false, 0, 0);
    assert_int_equal(central_reads(&nodes), before + 1);
    other_deletes(&nodes, "key");
    expect_fresh(fresh_of(&nodes, "key", -ENOENT), false, 0, 0);
    close_nodes(&nodes);
}

static void without_memory_for_a_cache_every_read_sees_the_newest_value(void **state)
{
    struct kv_options options = kv_options_default();
    struct nodes nodes;

    (void)state;
    options.cache_bytes = 0;
    open_nodes(&nodes, TEST_MEMORY, &options);
    other_puts(&nodes, "key", "old");
    test_expect_text(nodes.test, "key", "old");
    other_puts(&nodes, "key", "new");
    test_expect_text(nodes.test, "key", "new");
    assert_false(fresh_of(&nodes, "key", 0).from_cache);
    close_nodes(&nodes);
}

static void the_ttl_is_the_one_that_was_asked_for(void **state)
{
    struct kv_options options = kv_options_default();
    struct nodes nodes;

    (void)state;
    options.cache_ttl_ms = 250;
    open_nodes(&nodes, TEST_MEMORY, &options);
    other_puts(&nodes, "key", "old");
    test_expect_text(nodes.test, "key", "old");
    other_puts(&nodes, "key", "new");
    test_store_pass_ms(nodes.test, 249);
    expect_fresh(fresh_of(&nodes, "key", 0), true, 249, 1);
    test_store_pass_ms(nodes.test, 2);
    test_expect_text(nodes.test, "key", "new");
    close_nodes(&nodes);
}

/* -------------------------------------------------------------------- threads */

enum { READERS = 8 };

struct one_read {
    struct test_store *test;
    pthread_barrier_t *start;
    int rc;
    size_t size;
};

static void *read_once(void *arg)
{
    struct one_read *one = arg;
    struct kv_ref key = test_key(one->test, "key");
    struct kv_value *value;
    struct kv_meta meta;

    pthread_barrier_wait(one->start);
    one->rc = kv_get(one->test->kv, &key, &meta, &value, NULL);
    if (one->rc == 0) {
        one->size = value->size;
        kv_value_unref(value);
    }
    return NULL;
}

/* They come while it is fetched, or after it was: never is there a second fetch. */
static void many_readers_of_a_key_ask_the_central_once(void **state)
{
    struct nodes *nodes = *state;
    struct one_read reads[READERS];
    pthread_t threads[READERS];
    pthread_barrier_t start;
    uint64_t before;

    other_puts(nodes, "key", "value");
    before = central_reads(nodes);
    engine_fault_delay(nodes->test->fault, ENGINE_BEGIN_READ, 50);
    pthread_barrier_init(&start, NULL, READERS);
    for (int i = 0; i < READERS; i++) {
        reads[i] = (struct one_read){nodes->test, &start, -1, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, read_once, &reads[i]), 0);
    }
    for (int i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(reads[i].rc, 0);
        assert_int_equal(reads[i].size, 5);
    }
    pthread_barrier_destroy(&start);
    assert_int_equal(central_reads(nodes), before + 1);
}

/* ------------------------------------------------------------------ at random */

/* What the central had, and until when: a state ends where the next one begins. 0 is absence. */
struct history {
    uint64_t version[3000];
    int64_t since_ns[3000];
    size_t count;
};

static void note_state(struct history *history, struct test_store *test, uint64_t version)
{
    assert_true(history->count < 3000);
    history->version[history->count] = version;
    history->since_ns[history->count++] = atomic_load(&test->now_ns);
}

/* The index of the state that a read told; it must have been so within the last ttl, and not before `oldest`. */
static size_t expect_recent(const struct history *history, struct test_store *test, uint64_t version,
                            size_t oldest)
{
    int64_t limit_ns = atomic_load(&test->now_ns) - TTL_MS * 1000000ll;

    for (size_t i = history->count; i-- > oldest;) {
        if (history->version[i] == version)
            return i;
        if (history->since_ns[i] < limit_ns)
            break; /* it replaced what was before it too long ago */
    }
    fail_msg("version %llu was shown though it is too old", (unsigned long long)version);
    return 0;
}

static uint64_t read_version(struct nodes *nodes, struct kv_ref key, bool stat_only)
{
    struct kv_value *value;
    struct kv_meta meta;
    int rc = stat_only ? kv_stat(nodes->test->kv, &key, &meta, NULL)
                       : kv_get(nodes->test->kv, &key, &meta, &value, NULL);

    if (rc == -ENOENT)
        return 0;
    assert_int_equal(rc, 0);
    if (!stat_only)
        kv_value_unref(value);
    return meta.version;
}

static int found_version(void *arg, const char *key, size_t size, const struct kv_meta *meta)
{
    (void)key;
    (void)size;
    *(uint64_t *)arg = meta->version;
    return 0;
}

static uint64_t central_version(struct nodes *nodes, struct kv_ref key)
{
    struct kv_meta meta;

    kv_forget(nodes->other, &key);
    return kv_stat(nodes->other, &key, &meta, NULL) == 0 ? meta.version : 0;
}

static void random_reads_are_never_too_old_and_never_go_back(void **state)
{
    struct nodes *nodes = *state;
    struct test_store *test = nodes->test;
    struct kv_ref key = test_key(test, "key");
    struct test_random random = {1};
    struct history *history = calloc(1, sizeof(*history));
    size_t newest = 0; /* the state that this node showed last */

    assert_non_null(history);
    note_state(history, test, 0);
    for (int i = 0; i < 6000; i++) {
        struct kv_store *writer = test_random_below(&random, 2) == 0 ? nodes->other : test->kv;
        uint64_t version;

        if (test_random_below(&random, 3) == 0)
            test_store_pass_ms(test, (int64_t)test_random_below(&random, 30000));
        switch (test_random_below(&random, 8)) {
        case 0:
        case 1:
            assert_int_equal(kv_put(writer, &key, "value", 5), 0);
            note_state(history, test, central_version(nodes, key));
            newest = writer == test->kv ? history->count - 1 : newest;
            break;
        case 2:
            if (kv_delete(writer, &key) == 0)
                note_state(history, test, 0);
            newest = writer == test->kv ? history->count - 1 : newest;
            break;
        case 3:
            version = 0;
            assert_int_equal(kv_scan(test->kv, key.node, NULL, 0, false, found_version, &version), 0);
            assert_int_equal(version, history->version[history->count - 1]); /* a listing is always new */
            if (version != 0) /* an absence does not get into the cache */
                newest = history->count - 1;
            break;
        default:
            version = read_version(nodes, key, test_random_below(&random, 2) == 0);
            newest = expect_recent(history, test, version, version == 0 ? 0 : newest);
        }
    }
    assert_true(history->count > 500);
    free(history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_WITH_NODES(a_value_is_served_from_the_cache_until_its_time_is_over),
        TEST_WITH_NODES_LMDB(a_value_is_served_from_the_cache_until_its_time_is_over),
        TEST_WITH_NODES(another_nodes_write_is_seen_when_the_time_is_over),
        TEST_WITH_NODES(a_read_from_the_cache_does_not_prolong_its_time),
        TEST_WITH_NODES(absence_is_known_as_long_as_a_value_is),
        TEST_WITH_NODES(another_nodes_deletion_is_seen_when_the_time_is_over),
        TEST_WITH_NODES(metadata_alone_does_not_answer_for_the_value),
        TEST_WITH_NODES(a_name_that_no_key_can_have_is_absent_for_good),
        TEST_WITH_NODES(own_writes_are_seen_at_once_and_need_no_reading),
        TEST_WITH_NODES(an_own_write_ends_a_known_absence),
        TEST_WITH_NODES(an_own_deletion_is_seen_at_once_and_needs_no_reading),
        TEST_WITH_NODES(a_refused_change_lets_the_central_be_asked_again),
        TEST_WITH_NODES(own_renames_are_seen_at_once_under_both_names),
        TEST_WITH_NODES(own_attributes_are_seen_at_once_and_the_value_stays_cached),
        TEST_WITH_NODES(own_attributes_never_bring_an_old_value_back),
        TEST_WITH_NODES(a_listing_corrects_what_the_cache_knew),
        TEST_WITH_NODES(a_listing_in_the_moment_of_the_fetch_corrects_it_too),
        TEST_WITH_NODES(a_listing_that_agrees_leaves_the_value_in_the_cache),
        TEST_WITH_NODES(a_peek_tells_what_the_cache_knows_and_asks_nobody),
        TEST_WITH_NODES(a_forgotten_key_is_asked_for_again),
        TEST_WITH_NODES(within_its_time_a_value_is_served_though_the_central_is_away),
        TEST_WITH_NODES(what_is_too_old_is_not_served_though_the_central_is_away),
        cmocka_unit_test(without_a_ttl_every_read_sees_the_newest_value),
        cmocka_unit_test(without_memory_for_a_cache_every_read_sees_the_newest_value),
        cmocka_unit_test(the_ttl_is_the_one_that_was_asked_for),
        TEST_WITH_NODES(many_readers_of_a_key_ask_the_central_once),
        TEST_WITH_NODES(random_reads_are_never_too_old_and_never_go_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
