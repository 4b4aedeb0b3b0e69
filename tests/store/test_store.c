/* The store as a whole: opening, formats, damage. */
#include "tests/support/store.h"

#include "store/record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---------------------------------------------------------------------- opening */

static void values_outlive_the_store_that_wrote_them(void **state)
{
    struct test_store *test = *state;
    struct kv_ref small = test_key(test, "small"), large = test_key(test, "large"), gone = test_key(test, "gone");
    struct kv_meta before, after;

    test_put_bytes(test, &small, 100, 1);
    test_put_bytes(test, &large, 3 * RECORD_CHUNK + 5, 2);
    test_put_bytes(test, &gone, 5, 3);
    assert_int_equal(kv_delete(test->kv, &gone), 0);
    before = test_stat(test, &small);
    test_store_reopen(test);
    test_expect_bytes(test, &small, 100, 1);
    test_expect_bytes(test, &large, 3 * RECORD_CHUNK + 5, 2);
    test_expect_absent(test, &gone);
    after = test_stat(test, &small);
    test_expect_same_meta(&before, &after);
    test_put(test, "gone", "new");
    assert_true(test_stat(test, &gone).version > before.version);
}

static void a_store_in_a_directory_opens_again_with_what_it_had(void **state)
{
    struct test_store *test = *state; /* for its directory, which is put aside */
    struct kv_options options = kv_options_default();
    struct kv_error error;
    struct kv_store *store;
    struct kv_node account, namespace;
    struct kv_ref key;
    struct kv_change put = {.kind = KV_PUT};
    char dir[sizeof(test->dir) + 8];

    snprintf(dir, sizeof(dir), "%s/new", test->dir);
    options.create = false;
    assert_int_equal(kv_open(dir, &options, &store, &error), -ENOENT);
    assert_non_null(strstr(error.text, dir));
    options.create = true;
    assert_int_equal(kv_open(dir, &options, &store, &error), 0);
    assert_int_equal(kv_node_make(store, KV_ACCOUNT, KV_ROOT_ID, "a", 0, &account), 0);
    assert_int_equal(kv_node_make(store, KV_NAMESPACE, account.id, "n", 0, &namespace), 0);
    key = kv_ref_key(namespace.id, "key", 3);
    assert_int_equal(kv_put(store, &key, "value", 5), 0);
    kv_close(store);

    options.create = false;
    options.read_only = true;
    assert_int_equal(kv_open(dir, &options, &store, &error), 0);
    assert_int_equal(kv_stat(store, &key, &put.meta, NULL), 0);
    assert_int_equal(put.meta.size, 5);
    assert_int_equal(kv_put(store, &key, "other", 5), -EROFS);
    assert_int_equal(kv_delete(store, &key), -EROFS);
    assert_int_equal(kv_node_remove(store, KV_ROOT_ID, "a"), -EROFS);
    assert_int_equal(kv_sync(store), 0);
    kv_close(store);
}

static void a_store_of_another_format_is_refused_with_its_number(void **state)
{
    struct test_store *test = *state;
    struct kv_options options = kv_options_default();
    struct kv_error error = {""};
    struct engine *engine;
    struct engine_txn *txn;
    struct kv_store *store;
    struct slice format;
    uint8_t bytes[64];

    (void)test;
    assert_int_equal(engine_memory_open(&engine), 0);
    options.engine = engine;
    options.create = false;
    assert_int_equal(kv_open("elsewhere", &options, &store, &error), -EIO); /* nothing there */
    assert_non_null(strstr(error.text, "elsewhere"));

    assert_int_equal(test->inner->ops->begin(test->inner, false, &txn), 0);
    assert_int_equal(txn->ops->get(txn, ENGINE_META, slice_of("format", 6), &format), 0);
    assert_true(format.size <= sizeof(bytes));
    memcpy(bytes, format.data, format.size);
    txn->ops->abort(txn);
    bytes[format.size - 4] = 77;

    assert_int_equal(engine->ops->begin(engine, true, &txn), 0);
    assert_int_equal(txn->ops->put(txn, ENGINE_META, slice_of("format", 6), slice_of(bytes, format.size)), 0);
    assert_int_equal(txn->ops->commit(txn), 0);
    options.create = true;
    assert_int_equal(kv_open("elsewhere", &options, &store, &error), -EPROTONOSUPPORT);
    assert_non_null(strstr(error.text, "77"));

    assert_int_equal(engine->ops->begin(engine, true, &txn), 0);
    bytes[0] ^= 1;
    assert_int_equal(txn->ops->put(txn, ENGINE_META, slice_of("format", 6), slice_of(bytes, format.size)), 0);
    assert_int_equal(txn->ops->commit(txn), 0);
    assert_int_equal(kv_open("elsewhere", &options, &store, &error), -EIO);
    engine->ops->close(engine); /* still the caller's after a failure */
}

/* ------------------------------------------------------------------- damage */

static void put_record(struct test_store *test, enum engine_table table, struct slice name, struct slice value)
{
    struct engine_txn *txn;

    assert_int_equal(test->inner->ops->begin(test->inner, true, &txn), 0);
    assert_int_equal(txn->ops->put(txn, table, name, value), 0);
    assert_int_equal(txn->ops->commit(txn), 0);
}

struct found {
    uint8_t name[ENGINE_KEY_MAX], *value;
    size_t name_size, value_size;
};

static int visit_found(void *arg, struct slice name, struct slice value)
{
    struct found *found = arg;

    memcpy(found->name, name.data, name.size);
    found->name_size = name.size;
    found->value = malloc(value.size);
    assert_non_null(found->value);
    memcpy(found->value, value.data, value.size);
    found->value_size = value.size;
    return 1;
}

/* Flip one byte of the first record of a table, look, and mend it. */
static void with_a_damaged_record(struct test_store *test, enum engine_table table, size_t at,
                                  void (*look)(struct test_store *test))
{
    struct engine_txn *txn;
    struct found found;

    assert_int_equal(test->inner->ops->begin(test->inner, false, &txn), 0);
    assert_int_equal(txn->ops->scan(txn, table, slice_of("", 0), visit_found, &found), 1);
    txn->ops->abort(txn);
    test_store_pass_ms(test, test->options.cache_ttl_ms + 1);
    found.value[at] ^= 1;
    put_record(test, table, slice_of(found.name, found.name_size), slice_of(found.value, found.value_size));
    look(test);
    found.value[at] ^= 1;
    put_record(test, table, slice_of(found.name, found.name_size), slice_of(found.value, found.value_size));
    free(found.value);
}

static void expect_value_damaged(struct test_store *test)
{
    struct kv_ref key = test_key(test, "key");
    struct kv_value *value;
    struct kv_meta meta;

    assert_int_equal(kv_get(test->kv, &key, &meta, &value, NULL), -EIO);
}

static void expect_key_damaged(struct test_store *test)
{
    struct kv_ref key = test_key(test, "key");
    struct kv_meta meta;
    struct kv_list list;

    expect_value_damaged(test);
    assert_int_equal(kv_stat(test->kv, &key, &meta, NULL), -EIO);
    assert_int_equal(kv_list(test->kv, test->namespace.id, NULL, NULL, 10, &list), -EIO);
}

static void a_damaged_value_says_eio_and_is_never_shown(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");

    test_put_bytes(test, &key, 3 * RECORD_CHUNK, 1);
    with_a_damaged_record(test, ENGINE_CHUNKS, 1000, expect_value_damaged);
    test_expect_bytes(test, &key, 3 * RECORD_CHUNK, 1);

    test_put_bytes(test, &key, 100, 2);
    with_a_damaged_record(test, ENGINE_KEYS, 100, expect_value_damaged);
    with_a_damaged_record(test, ENGINE_KEYS, 0, expect_key_damaged);
    test_expect_bytes(test, &key, 100, 2);
}

static void a_value_that_lost_a_chunk_says_eio_and_can_be_replaced(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    struct engine_txn *txn;
    struct found found;

    test_put_bytes(test, &key, 3 * RECORD_CHUNK, 1);
    assert_int_equal(test->inner->ops->begin(test->inner, true, &txn), 0);
    assert_int_equal(txn->ops->scan(txn, ENGINE_CHUNKS, slice_of("", 0), visit_found, &found), 1);
    assert_int_equal(txn->ops->del(txn, ENGINE_CHUNKS, slice_of(found.name, found.name_size)), 0);
    assert_int_equal(txn->ops->commit(txn), 0);
    free(found.value);
    test_store_pass_ms(test, 61000);
    expect_value_damaged(test);
    test_put_bytes(test, &key, 50, 2);
    test_expect_bytes(test, &key, 50, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_ON_LMDB(values_outlive_the_store_that_wrote_them),
        TEST_ON_LMDB(a_store_in_a_directory_opens_again_with_what_it_had),
        TEST_ON_MEMORY(a_store_of_another_format_is_refused_with_its_number),
        TEST_ON_MEMORY(a_damaged_value_says_eio_and_is_never_shown),
        TEST_ON_MEMORY(a_value_that_lost_a_chunk_says_eio_and_can_be_replaced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
