/* KV_DURABILITY_FSYNC: puts that are done before they are durable. */
#include "tests/support/store.h"

#include "store/base/record.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define A_DAY_MS (24 * 60 * 60 * 1000)

/* What options.lost told. */
struct lost {
    pthread_mutex_t lock;
    unsigned count;
    int rc;
    char key[KV_KEY_MAX + 1];
};

static struct lost lost = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void note_lost(void *arg, const struct kv_ref *ref, uint64_t version, int rc)
{
    struct lost *told = arg;

    assert_int_not_equal(version, 0);
    pthread_mutex_lock(&told->lock);
    told->count++;
    told->rc = rc;
    memcpy(told->key, ref->key, sizeof(told->key));
    pthread_mutex_unlock(&told->lock);
}

/* From here on puts are accepted: no other change is under way. */
static void calm(struct test_store *test) { assert_int_equal(kv_sync(test->kv), 0); }

/* A store whose puts stay in the queue until something else needs a commit. */
static struct test_store *open_staged(enum test_engine kind, int64_t interval_ms)
{
    struct kv_options options = kv_options_default();
    struct test_store *test;
    uint64_t ino;

    options.durability = KV_DURABILITY_FSYNC;
    options.commit_interval_ms = interval_ms;
    options.lost = note_lost;
    options.lost_arg = &lost;
    lost.count = 0;
    test = test_store_open(kind, &options);
    assert_int_equal(kv_new_ino(test->kv, &ino), 0); /* the first ids are on their way */
    calm(test);
    return test;
}

static int setup(void **state)
{
    *state = open_staged(TEST_MEMORY, A_DAY_MS);
    return 0;
}

static int setup_lmdb(void **state)
{
    *state = open_staged(TEST_LMDB, A_DAY_MS);
    return 0;
}

static int teardown(void **state)
{
    struct test_store *test = *state;

    assert_int_equal(kv_sync(test->kv), 0);
    return test_teardown(state);
}

#define TEST_STAGED(f)               \
    {                                \
#f, f, setup, teardown, NULL \
    }
#define TEST_STAGED_LMDB(f)                         \
    {                                               \
#f " (lmdb)", f, setup_lmdb, teardown, NULL \
    }

static uint64_t stored_keys(struct test_store *test) { return test_records(test->inner, ENGINE_KEYS); }

static void set_limit(struct test_store *test, uint64_t bytes)
{
    struct kv_change change = {.kind = KV_NODE_LIMITS};

    change.node.id = test->account.id;
    change.node.limit_bytes = bytes;
    change.node.limit_namespaces = 10;
    assert_int_equal(kv_apply(test->kv, &change), 0);
}

static void an_accepted_put_is_seen_at_once_and_stored_at_the_next_sync(void **state)
{
    struct test_store *test = *state;

    test_put(test, "key", "value");
    assert_int_equal(stored_keys(test), 0);
    test_expect_text(test, "key", "value");
    test_store_pass_ms(test, 10 * 60000); /* it stays what this node knows, however long that takes */
    test_expect_text(test, "key", "value");
    assert_int_equal(stored_keys(test), 0);
    assert_int_equal(kv_sync(test->kv), 0);
    assert_int_equal(stored_keys(test), 1);
    test_store_pass_ms(test, 10 * 60000);
    test_expect_text(test, "key", "value");
}

static void many_accepted_puts_share_one_commit(void **state)
{
    struct test_store *test = *state;
    uint64_t before;
    char key[16];

    before = engine_fault_calls(test->fault, ENGINE_COMMIT);
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        test_put(test, key, key);
    }
    assert_int_equal(engine_fault_calls(test->fault, ENGINE_COMMIT), before);
    assert_int_equal(kv_sync(test->kv), 0);
    assert_int_equal(engine_fault_calls(test->fault, ENGINE_COMMIT), before + 1);
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        test_expect_text(test, key, key);
    }
}

static void closing_stores_what_was_accepted(void **state)
{
    struct test_store *test = *state;
    struct kv_ref large = test_key(test, "large");

    test_put(test, "key", "value");
    test_put_bytes(test, &large, 3 * RECORD_CHUNK, 1);
    test_store_reopen(test);
    test_expect_text(test, "key", "value");
    test_expect_bytes(test, &large, 3 * RECORD_CHUNK, 1);
}

static void an_accepted_put_is_stored_by_itself_after_the_interval(void **state)
{
    struct test_store *test = open_staged(TEST_MEMORY, 1);
    struct timespec pause = {0, 1000000};
    int tries = 0;

    (void)state;
    test_put(test, "key", "value");
    while (stored_keys(test) == 0 && tries++ < 20000) /* only a store that never does it waits for long */
        nanosleep(&pause, NULL);
    assert_int_equal(stored_keys(test), 1);
    test_store_close(test);
}

static void many_accepted_puts_do_not_wait_for_the_interval(void **state)
{
    enum { MANY = 1100 }; /* more than a transaction takes */
    struct test_store *test = *state;
    struct timespec pause = {0, 1000000};
    char key[16];
    int tries = 0;

    for (int i = 0; i < MANY; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        test_put(test, key, key);
    }
    while (stored_keys(test) < 1000 && tries++ < 20000)
        nanosleep(&pause, NULL);
    assert_true(stored_keys(test) >= 1000);
}

static void what_was_promised_is_what_is_stored(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    struct kv_change change = {.kind = KV_PUT, .ref = key};
    struct kv_meta promised, shown, stored;

    change.attr = (struct kv_attr){
        .mode = 0640, .uid = 1, .gid = 2, .atime_ns = 3, .mtime_ns = 4, .ctime_ns = 5, .btime_ns = 6};
    for (int i = 0; i < 3; i++) { /* a new key, an overwrite of what is pending, one of what is stored */
        assert_int_equal(kv_value_new((size_t)i * 10000, &change.value), 0);
        assert_int_equal(kv_apply(test->kv, &change), 0);
        kv_value_unref(change.value);
        promised = change.meta;
        shown = test_stat(test, &key);
        test_expect_same_meta(&promised, &shown);
        if (i == 0)
            continue;
        assert_int_equal(kv_sync(test->kv), 0);
        test_store_pass_ms(test, 61000);
        stored = test_stat(test, &key);
        test_expect_same_meta(&promised, &stored);
        change.attr.mode = 0600;
        change.attr.mtime_ns = 14;
    }
}

static void every_put_has_a_version_of_its_own_whatever_its_way(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    uint64_t versions[12];

    for (int i = 0; i < 12; i++) {
        struct kv_change change = {.kind = KV_PUT, .ref = key, .conditional = i % 3 == 1};
        struct kv_change chmod = {.kind = KV_SETATTR, .ref = key, .attr = {.mode = 0600}, .attr_mask = KV_MODE};

        change.if_version = i > 0 ? versions[i - 1] : 0;
        assert_int_equal(kv_value_new((size_t)i, &change.value), 0);
        assert_int_equal(kv_apply(test->kv, &change), 0);
        kv_value_unref(change.value);
        versions[i] = change.meta.version;
        for (int j = 0; j < i; j++)
            assert_true(versions[j] != versions[i]);
        if (i % 4 == 3)
            assert_int_equal(kv_apply(test->kv, &chmod), 0);
        assert_int_equal(test_stat(test, &key).version, versions[i]);
    }
    assert_int_equal(kv_sync(test->kv), 0);
    test_store_pass_ms(test, 61000);
    assert_int_equal(test_stat(test, &key).version, versions[11]);
}

static void a_condition_needs_the_word_of_the_central(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    struct kv_change change = {.kind = KV_PUT, .ref = key, .conditional = true, .if_version = 0};

    test_put(test, "key", "value");
    assert_int_equal(kv_value_copy("other", 5, &change.value), 0);
    assert_int_equal(kv_apply(test->kv, &change), -EEXIST); /* it sees what was accepted before it */
    change.if_version = test_stat(test, &key).version;
    assert_int_equal(kv_apply(test->kv, &change), 0);
    kv_value_unref(change.value);
    test_expect_text(test, "key", "other");
}

static void later_changes_find_what_was_accepted(void **state)
{
    struct test_store *test = *state;
    struct kv_ref a = test_key(test, "a"), b = test_key(test, "b");
    struct kv_change rename = {.kind = KV_RENAME, .ref = a, .to = b};
    struct kv_change chmod = {.kind = KV_SETATTR, .ref = b, .attr = {.mode = 0400}, .attr_mask = KV_MODE};

    test_put(test, "a", "one");
    assert_int_equal(kv_apply(test->kv, &rename), 0);
    test_expect_absent(test, &a);
    test_expect_text(test, "b", "one");
    test_put(test, "b", "two");
    assert_int_equal(kv_apply(test->kv, &chmod), 0);
    assert_int_equal(test_stat(test, &b).attr.mode, 0400);
    test_expect_text(test, "b", "two");
    test_put(test, "b", "three");
    assert_int_equal(kv_node_remove(test->kv, test->account.id, "main"), -ENOTEMPTY);
    assert_int_equal(kv_delete(test->kv, &b), 0);
    test_expect_absent(test, &b);
    test_store_pass_ms(test, 61000);
    test_expect_absent(test, &b);
}

static int count_key(void *arg, const char *key, size_t size, const struct kv_meta *meta)
{
    (void)key;
    (void)size;
    *(uint64_t *)arg += meta->size;
    return 0;
}

static void a_listing_shows_what_was_accepted(void **state)
{
    struct test_store *test = *state;
    struct kv_list list;
    uint64_t bytes = 0;

    test_put(test, "key", "12345");
    assert_int_equal(kv_list(test->kv, test->namespace.id, NULL, NULL, 10, &list), 0);
    assert_int_equal(list.count, 1);
    kv_list_free(&list);
    test_put(test, "key", "1234567");
    assert_int_equal(kv_scan(test->kv, test->namespace.id, NULL, 0, false, count_key, &bytes), 0);
    assert_int_equal(bytes, 7);
    test_expect_text(test, "key", "1234567");
}

static void attributes_of_what_was_accepted_can_be_read(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    struct kv_xattrs xattrs;

    test_put(test, "key", "value");
    assert_int_equal(kv_xattrs_get(test->kv, &key, &xattrs), 0);
    assert_int_equal(xattrs.size, 0);
}

static void what_is_accepted_counts_for_the_limit(void **state)
{
    struct test_store *test = *state;
    struct kv_ref a = test_key(test, "a"), b = test_key(test, "b"), c = test_key(test, "c");
    static const char bytes[1000];

    set_limit(test, 1000);
    assert_int_equal(kv_put(test->kv, &a, bytes, 499), 0);
    assert_int_equal(kv_put(test->kv, &b, bytes, 500), -EDQUOT); /* told at once, and not lost later */
    calm(test);
    assert_int_equal(kv_quota_check(test->kv, &b, 499, 0), 0);
    assert_int_equal(kv_put(test->kv, &b, bytes, 499), 0);
    assert_int_equal(kv_quota_check(test->kv, &b, 499, 0),
                     0); /* though it is accepted, and not in the central yet */
    assert_int_equal(kv_put(test->kv, &c, bytes, 0), -EDQUOT);
    assert_int_equal(kv_put(test->kv, &a, bytes, 399), 0);
    assert_int_equal(kv_put(test->kv, &c, bytes, 99), 0);
    assert_int_equal(kv_put(test->kv, &c, bytes, 100), -EDQUOT);
    assert_int_equal(kv_quota_check(test->kv, &c, 99, 0), 0);
    assert_int_equal(kv_quota_check(test->kv, &c, 100, 0), -EDQUOT);
    assert_int_equal(kv_sync(test->kv), 0);
    assert_int_equal(test_node(test, test->account.id).bytes, 1000);
    assert_int_equal(lost.count, 0);
}

static void what_can_be_refused_is_refused_at_once(void **state)
{
    struct test_store *test = *state;
    struct kv_ref nowhere = kv_ref_key(999999, "key", 3), bad = test_key(test, "a.b");
    struct kv_change change = {.kind = KV_PUT, .ref = test_key(test, "key")};
    struct kv_value too_big = {
        .data = calloc(1, (size_t)KV_VALUE_MAX + 1), .size = (size_t)KV_VALUE_MAX + 1, .refs = 1};

    assert_non_null(too_big.data);
    change.value = &too_big;
    assert_int_equal(kv_apply(test->kv, &change), -EFBIG);
    free(too_big.data);
    assert_int_equal(kv_put(test->kv, &nowhere, "value", 5), -ENOENT);
    assert_int_equal(kv_put(test->kv, &bad, "value", 5), -EINVAL);
    assert_int_equal(kv_sync(test->kv), 0);
    assert_int_equal(lost.count, 0);
}

static void a_put_that_is_lost_is_told_and_the_old_value_shows_again(void **state)
{
    struct test_store *test = *state;
    struct kv_ref fresh = test_key(test, "fresh");

    test_put(test, "key", "old");
    assert_int_equal(kv_sync(test->kv), 0);
    test_put(test, "key", "new");
    test_expect_text(test, "key", "new");
    engine_fault_arm(test->fault, ENGINE_COMMIT, 1, 1000, -ENOSPC);
    assert_int_equal(kv_sync(test->kv), -ENOSPC);
    assert_int_equal(lost.count, 1);
    assert_int_equal(lost.rc, -ENOSPC);
    assert_string_equal(lost.key, "key");
    test_expect_text(test, "key", "old");
    assert_int_equal(kv_sync(test->kv), 0); /* told once */

    test_put(test, "fresh", "new");
    assert_int_equal(kv_sync(test->kv), -ENOSPC);
    assert_int_equal(lost.count, 2);
    test_expect_absent(test, &fresh);

    engine_fault_arm(test->fault, ENGINE_COMMIT, 0, 0, 0);
    test_put(test, "key", "newer");
    assert_int_equal(kv_sync(test->kv), 0);
    test_expect_text(test, "key", "newer");
    assert_int_equal(lost.count, 2);
}

static void a_lost_put_gives_back_the_room_that_it_held(void **state)
{
    struct test_store *test = *state;
    struct kv_ref a = test_key(test, "a");
    static const char bytes[1000];

    set_limit(test, 1000);
    calm(test);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(kv_put(test->kv, &a, bytes, 999), 0);
        engine_fault_arm(test->fault, ENGINE_COMMIT, 1, 1000, -EIO);
        assert_int_equal(kv_sync(test->kv), -EIO);
        engine_fault_arm(test->fault, ENGINE_COMMIT, 0, 0, 0);
    }
    assert_int_equal(kv_put(test->kv, &a, bytes, 999), 0);
    assert_int_equal(kv_sync(test->kv), 0);
    assert_int_equal(kv_put(test->kv, &a, bytes, 1000), -EDQUOT);
}

/* ------------------------------------------------------------------- threads */

enum { THREADS = 6, ROUNDS = 200 };

struct worker {
    struct test_store *test;
    int number, rc;
};

static int work_once(struct worker *worker, int round)
{
    char name[16], text[32];
    struct kv_value *value;
    struct kv_ref key;
    struct kv_meta meta;
    int rc;

    snprintf(name, sizeof(name), "t%d_%d", worker->number, round % 7);
    snprintf(text, sizeof(text), "%s: %d", name, round);
    key = test_key(worker->test, name);
    rc = kv_put(worker->test->kv, &key, text, strlen(text));
    if (rc == 0)
        rc = kv_get(worker->test->kv, &key, &meta, &value, NULL);
    if (rc < 0)
        return rc;
    if (value->size != strlen(text) || memcmp(value->data, text, value->size) != 0)
        rc = -EBADMSG;
    kv_value_unref(value);
    if (rc == 0 && round % 11 == 0)
        rc = kv_delete(worker->test->kv, &key);
    return rc == 0 && round % 37 == 0 ? kv_sync(worker->test->kv) : rc;
}

static void *work(void *arg)
{
    struct worker *worker = arg;

    for (int i = 0; i < ROUNDS && worker->rc == 0; i++)
        worker->rc = work_once(worker, i);
    return NULL;
}

static void threads_always_see_their_own_puts(void **state)
{
    struct test_store *test = open_staged(TEST_MEMORY, 1);
    struct worker workers[THREADS];
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){test, i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].rc, 0);
    }
    assert_int_equal(kv_sync(test->kv), 0);
    test_expect_sound(test->inner);
    test_store_close(test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_STAGED(an_accepted_put_is_seen_at_once_and_stored_at_the_next_sync),
        TEST_STAGED_LMDB(an_accepted_put_is_seen_at_once_and_stored_at_the_next_sync),
        TEST_STAGED(many_accepted_puts_share_one_commit),
        TEST_STAGED_LMDB(closing_stores_what_was_accepted),
        cmocka_unit_test(an_accepted_put_is_stored_by_itself_after_the_interval),
        TEST_STAGED(many_accepted_puts_do_not_wait_for_the_interval),
        TEST_STAGED(what_was_promised_is_what_is_stored),
        TEST_STAGED(every_put_has_a_version_of_its_own_whatever_its_way),
        TEST_STAGED(a_condition_needs_the_word_of_the_central),
        TEST_STAGED(later_changes_find_what_was_accepted),
        TEST_STAGED(a_listing_shows_what_was_accepted),
        TEST_STAGED(attributes_of_what_was_accepted_can_be_read),
        TEST_STAGED(what_is_accepted_counts_for_the_limit),
        TEST_STAGED(what_can_be_refused_is_refused_at_once),
        TEST_STAGED(a_put_that_is_lost_is_told_and_the_old_value_shows_again),
        TEST_STAGED(a_lost_put_gives_back_the_room_that_it_held),
        cmocka_unit_test(threads_always_see_their_own_puts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
