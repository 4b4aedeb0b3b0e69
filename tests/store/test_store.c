/* The store as a whole: opening, formats, damage. */
#include "tests/support/store.h"

#include "store/base/name.h"
#include "store/base/record.h"

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

/* What a store of this format begins with. Format 1 had no seal. */
static void put_format(struct engine *engine, uint8_t version, bool sealed)
{
    struct record_bytes bytes = {.size = 14, .data = "kvfs store"};
    struct slice name = slice_of("format", 6);
    struct engine_txn *txn;

    bytes.data[10] = version;
    if (sealed)
        record_seal(ENGINE_META, name, &bytes);
    assert_int_equal(engine->ops->begin(engine, true, &txn), 0);
    assert_int_equal(txn->ops->put(txn, ENGINE_META, name, record_slice(&bytes)), 0);
    assert_int_equal(txn->ops->commit(txn), 0);
}

static void a_store_of_another_format_is_refused_with_its_number(void **state)
{
    struct kv_options options = kv_options_default();
    struct kv_error error = {""};
    struct kv_store *store;
    struct engine *engine;

    (void)state;
    assert_int_equal(engine_memory_open(&engine), 0);
    options.backend = test_backend(engine);
    options.create = false;
    assert_int_equal(kv_open("elsewhere", &options, &store, &error), -EIO); /* nothing there */
    assert_non_null(strstr(error.text, "elsewhere"));

    options.create = true;
    put_format(engine, 77, true);
    assert_int_equal(kv_open("elsewhere", &options, &store, &error), -EPROTONOSUPPORT);
    assert_string_equal(error.text,
                        "elsewhere: the store has format 77, which is newer than this program; use a newer kvfs");
    put_format(engine, 1, false);
    assert_int_equal(kv_open("elsewhere", &options, &store, &error), -EPROTONOSUPPORT);
    assert_non_null(
        strstr(error.text, "elsewhere: the store has format 1, of a version before the first release"));
    assert_non_null(strstr(error.text, "make a new store"));
    put_format(engine, 2, false);
    assert_int_equal(kv_open("elsewhere", &options, &store, &error), -EIO); /* damaged */
    put_format(engine, 77, false);
    assert_int_equal(kv_open("elsewhere", &options, &store, &error), -EIO);
    options.backend->ops->close(options.backend); /* still the caller's after a failure */
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

/* Everything that wants to know of what is damaged says -EIO, and changes nothing. (What does not: test_damaged.c) */
static void expect_damaged(struct test_store *test)
{
    struct kv_ref key = test_key(test, "key");
    struct kv_change xattr = {.kind = KV_SETXATTR,
                              .ref = key,
                              .xattr_name = "a",
                              .xattr_name_size = 1,
                              .xattr_value = "",
                              .xattr_value_size = 0};
    struct kv_change rename = {.kind = KV_RENAME, .ref = key, .to = test_key(test, "other")};
    struct test_dump before = test_dump(test->inner), after;

    assert_int_equal(kv_apply(test->kv, &xattr), -EIO);
    assert_int_equal(kv_apply(test->kv, &rename), -EIO);
    after = test_dump(test->inner);
    assert_true(test_same(&before, &after));
    free(before.data);
    free(after.data);
}

/* The same of changes that need a namespace's node. */
static void expect_namespace_damaged(struct test_store *test)
{
    struct kv_ref key = test_key(test, "key");
    struct test_dump before = test_dump(test->inner), after;
    struct kv_node node;
    struct kv_list list;

    assert_int_equal(kv_put(test->kv, &key, "new", 3), -EIO);
    assert_int_equal(kv_delete(test->kv, &key), -EIO);
    assert_int_equal(kv_node_find(test->kv, test->account.id, "main", 4, &node), -EIO);
    assert_int_equal(kv_node_get(test->kv, test->namespace.id, &node), -EIO);
    assert_int_equal(kv_node_make(test->kv, KV_NAMESPACE, test->account.id, "main", 0, &node), -EIO);
    assert_int_equal(kv_node_remove(test->kv, test->account.id, "main"), -EIO);
    assert_int_equal(kv_list(test->kv, test->namespace.id, NULL, NULL, 10, &list), -EIO);
    after = test_dump(test->inner);
    assert_true(test_same(&before, &after));
    free(before.data);
    free(after.data);
}

static int nothing(void *arg, const struct kv_node *node)
{
    (void)arg;
    (void)node;
    return 0;
}

static void expect_name_damaged(struct test_store *test)
{
    struct kv_node node;

    assert_int_equal(kv_node_find(test->kv, test->account.id, "main", 4, &node), -EIO);
    assert_int_equal(kv_node_make(test->kv, KV_NAMESPACE, test->account.id, "main", 0, &node), -EIO);
    assert_int_equal(kv_node_remove(test->kv, test->account.id, "main"), -EIO);
    assert_int_equal(kv_node_scan(test->kv, test->account.id, NULL, 0, false, nothing, NULL), -EIO);
}

/* No id can be given out, so nothing can be changed. */
static void expect_no_ids(struct test_store *test)
{
    struct kv_ref key = test_key(test, "key");
    struct kv_node node;
    uint64_t ino;

    expect_damaged(test);
    assert_int_equal(kv_put(test->kv, &key, "new", 3), -EIO);
    assert_int_equal(kv_delete(test->kv, &key), -EIO);
    assert_int_equal(kv_node_make(test->kv, KV_ACCOUNT, KV_ROOT_ID, "new", 0, &node), -EIO);
    assert_int_equal(kv_new_ino(test->kv, &ino), -EIO);
    test_expect_value(test, &key, "old", 3); /* reading goes on */
}

/* Put other bytes into a record (none: take it away), look, and put the old ones back. */
static void with_other_bytes(struct test_store *test, enum engine_table table, const struct name *name,
                             struct slice bytes, void (*look)(struct test_store *test))
{
    struct engine_txn *txn;
    struct slice old;
    uint8_t *kept;

    assert_int_equal(test->inner->ops->begin(test->inner, true, &txn), 0);
    assert_int_equal(txn->ops->get(txn, table, name_slice(name), &old), 0);
    kept = malloc(old.size);
    assert_non_null(kept);
    memcpy(kept, old.data, old.size);
    old.data = kept;
    if (bytes.data == NULL)
        assert_int_equal(txn->ops->del(txn, table, name_slice(name)), 0);
    else
        assert_int_equal(txn->ops->put(txn, table, name_slice(name), bytes), 0);
    assert_int_equal(txn->ops->commit(txn), 0);
    test_store_pass_ms(test, 61000);
    look(test);
    put_record(test, table, name_slice(name), old);
    free(kept);
}

static void damaged_records_say_eio_and_are_left_alone(void **state)
{
    static const uint8_t junk[RECORD_MAX + 1], id_of_nothing[8] = {9, 9, 9, 9, 9, 9, 9, 9};
    struct test_store *test = *state;
    struct name key, node, name, next_id = {.size = 7};

    test_put(test, "key", "old");
    assert_int_equal(name_of_key(test->namespace.id, "key", 3, &key), 0);
    name_of_node(test->namespace.id, &node);
    name_of_child(test->account.id, "main", 4, &name);
    memcpy(next_id.data, "next_id", 7);

    with_other_bytes(test, ENGINE_KEYS, &key, slice_of(junk, 100), expect_damaged);
    with_other_bytes(test, ENGINE_KEYS, &key, slice_of(junk, sizeof(junk)), expect_damaged);
    with_other_bytes(test, ENGINE_NODES, &node, slice_of(junk, 100), expect_namespace_damaged);
    with_other_bytes(test, ENGINE_NAMES, &name, slice_of(junk, 7), expect_name_damaged);
    with_other_bytes(test, ENGINE_NAMES, &name, slice_of(id_of_nothing, 8), expect_name_damaged);
    with_other_bytes(test, ENGINE_META, &next_id, slice_of(junk, 7), expect_no_ids);
    with_other_bytes(test, ENGINE_META, &next_id, slice_of(NULL, 0), expect_no_ids);
    test_expect_text(test, "key", "old");
}

/* The record of one node under the name of another one: it decodes, and is still wrong. */
static void a_node_in_the_place_of_another_says_eio(void **state)
{
    struct test_store *test = *state;
    struct record_node record = {.node = test_node(test, test->account.id)};
    struct record_bytes bytes;
    struct name node;

    test_put(test, "key", "old");
    name_of_node(test->namespace.id, &node);
    record_encode_node(name_slice(&node), &record, &bytes);
    with_other_bytes(test, ENGINE_NODES, &node, slice_of(bytes.data, bytes.size), expect_namespace_damaged);
}

static void expect_wrong_count(struct test_store *test)
{
    struct kv_ref key = test_key(test, "key");
    struct test_dump before = test_dump(test->inner), after;

    assert_int_equal(kv_delete(test->kv, &key), -EIO);
    assert_int_equal(kv_put(test->kv, &key, "", 0), -EIO);
    after = test_dump(test->inner);
    assert_true(test_same(&before, &after));
    free(before.data);
    free(after.data);
}

static void counts_never_go_below_zero(void **state)
{
    struct test_store *test = *state;
    struct record_node record;
    struct record_bytes bytes;
    struct name node;

    test_put(test, "key", "old");
    record = (struct record_node){.node = test_node(test, test->namespace.id)};
    record.node.keys = record.node.bytes = 0;
    name_of_node(test->namespace.id, &node);
    record_encode_node(name_slice(&node), &record, &bytes);
    with_other_bytes(test, ENGINE_NODES, &node, slice_of(bytes.data, bytes.size), expect_wrong_count);
}

static void a_key_name_that_cannot_be_says_eio_in_a_listing(void **state)
{
    struct test_store *test = *state;
    struct kv_list list;
    struct engine_txn *txn;
    struct name name;

    test_put(test, "key", "old");
    name_of_node(test->namespace.id, &name);
    name.data[name.size++] = 0xff; /* 6 bits of a symbol, and padding that is not zero */
    put_record(test, ENGINE_KEYS, name_slice(&name), slice_of("x", 1));
    assert_int_equal(kv_list(test->kv, test->namespace.id, NULL, NULL, 10, &list), -EIO);
    test_expect_text(test, "key", "old");
    assert_int_equal(test->inner->ops->begin(test->inner, true, &txn), 0);
    assert_int_equal(txn->ops->del(txn, ENGINE_KEYS, name_slice(&name)), 0);
    assert_int_equal(txn->ops->commit(txn), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_ON_LMDB(values_outlive_the_store_that_wrote_them),
        TEST_ON_LMDB(a_store_in_a_directory_opens_again_with_what_it_had),
        TEST_ON_MEMORY(a_store_of_another_format_is_refused_with_its_number),
        TEST_ON_MEMORY(a_damaged_value_says_eio_and_is_never_shown),
        TEST_ON_MEMORY(damaged_records_say_eio_and_are_left_alone),
        TEST_ON_LMDB(damaged_records_say_eio_and_are_left_alone),
        TEST_ON_MEMORY(a_node_in_the_place_of_another_says_eio),
        TEST_ON_MEMORY(counts_never_go_below_zero),
        TEST_ON_MEMORY(a_key_name_that_cannot_be_says_eio_in_a_listing),
        TEST_ON_MEMORY(a_value_that_lost_a_chunk_says_eio_and_can_be_replaced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
