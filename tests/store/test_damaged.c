/* Damaged keys: they read as -EIO, and can be removed and replaced all the same. */
#include "store/base/name.h"
#include "store/base/record.h"
#include "tests/support/store.h"

#include <errno.h>
#include <stdlib.h>

/* -------------------------------------------------------------------------- records */

static void put_record(struct engine *engine, enum engine_table table, struct slice name, struct slice value)
{
    struct engine_txn *txn;

    assert_int_equal(engine->ops->begin(engine, true, &txn), 0);
    assert_int_equal(txn->ops->put(txn, table, name, value), 0);
    assert_int_equal(txn->ops->commit(txn), 0);
}

static struct name key_name(struct test_store *test, const char *key)
{
    struct name name;

    assert_int_equal(name_of_key(test->namespace.id, key, strlen(key), &name), 0);
    return name;
}

/* Flip a bit of a key's owner. */
static void damage(struct test_store *test, const char *key)
{
    struct name name = key_name(test, key);
    uint8_t bytes[RECORD_MAX];
    struct engine_txn *txn;
    struct slice found;

    assert_int_equal(test->inner->ops->begin(test->inner, false, &txn), 0);
    assert_int_equal(txn->ops->get(txn, ENGINE_KEYS, name_slice(&name), &found), 0);
    memcpy(bytes, found.data, found.size);
    txn->ops->abort(txn);
    bytes[14] ^= 4;
    put_record(test->inner, ENGINE_KEYS, name_slice(&name), slice_of(bytes, found.size));
    test_store_pass_ms(test, test->options.cache_ttl_ms + 1);
}

static void expect_damaged(struct test_store *test, const char *key)
{
    struct kv_ref ref = test_key(test, key);
    struct kv_value *value;
    struct kv_meta meta;
    struct kv_list list;

    assert_int_equal(kv_get(test->kv, &ref, &meta, &value, NULL), -EIO);
    assert_int_equal(kv_stat(test->kv, &ref, &meta, NULL), -EIO);
    assert_int_equal(kv_list(test->kv, test->namespace.id, NULL, NULL, 10, &list), -EIO);
}

/* Look; answer how many findings there are. */
static uint64_t check(struct test_store *test, bool repair)
{
    struct kv_check_options options = {.repair = repair};
    struct kv_check_report report;

    assert_int_equal(kv_check(test->kv, &options, &report), 0);
    return report.findings;
}

/* a: 1 + 10, long: 4 + 20000 in parts, marked: 6 + 5 and an attribute of 9 + 4 */
static void make_keys(struct test_store *test)
{
    struct kv_ref ref = test_key(test, "long");

    test_put(test, "a", "0123456789");
    test_put_bytes(test, &ref, 20000, 1);
    test_put(test, "marked", "value");
    test_set_mark(test, "marked", 4);
    test_expect_use(test, 3, 11 + 20004 + 24);
}

/* ----------------------------------------------------------------------------- keys */

static void a_damaged_key_can_be_deleted(void **state)
{
    struct test_store *test = *state;
    struct kv_ref ref = test_key(test, "marked");

    make_keys(test);
    damage(test, "marked");
    expect_damaged(test, "marked");
    assert_int_equal(kv_delete(test->kv, &ref), 0);
    test_expect_use(test, 2, 11 + 20004);
    test_expect_absent(test, &ref);
    assert_int_equal(kv_delete(test->kv, &ref), -ENOENT);
    test_expect_sound(test->inner);
    assert_int_equal(check(test, false), 0);
}

static void a_damaged_key_can_be_replaced_by_a_put(void **state)
{
    struct test_store *test = *state;
    struct kv_ref ref = test_key(test, "marked");
    struct kv_xattrs xattrs;
    uint64_t ino;

    make_keys(test);
    ino = test_stat(test, &ref).attr.ino;
    damage(test, "marked");
    test_put(test, "marked", "new");
    test_expect_text(test, "marked", "new");
    test_expect_use(test, 3, 11 + 20004 + 9);
    assert_true(test_stat(test, &ref).attr.ino != ino); /* it is another object, without attributes */
    assert_int_equal(kv_xattrs_get(test->kv, &ref, &xattrs), 0);
    assert_int_equal(xattrs.size, 0);
    test_expect_sound(test->inner);
    assert_int_equal(check(test, false), 0);
}

static void a_damaged_key_can_be_replaced_by_a_rename_and_not_be_renamed(void **state)
{
    struct test_store *test = *state;
    struct kv_change change = {.kind = KV_RENAME, .ref = test_key(test, "a"), .to = test_key(test, "marked")};

    make_keys(test);
    damage(test, "marked");
    change.flags = KV_EXCHANGE;
    assert_int_equal(kv_apply(test->kv, &change), -EIO);
    change.flags = KV_NOREPLACE;
    assert_int_equal(kv_apply(test->kv, &change), -EEXIST);
    change.flags = 0;
    change.ref = test_key(test, "marked");
    change.to = test_key(test, "other");
    assert_int_equal(kv_apply(test->kv, &change), -EIO);
    test_expect_use(test, 3, 11 + 20004 + 24);
    change.ref = test_key(test, "a");
    change.to = test_key(test, "marked");
    assert_int_equal(kv_apply(test->kv, &change), 0);
    test_expect_text(test, "marked", "0123456789");
    test_expect_use(test, 2, 20004 + 16);
    test_expect_sound(test->inner);
}

static void parts_of_a_damaged_key_stay_until_a_repair(void **state)
{
    struct test_store *test = *state;
    struct kv_ref ref = test_key(test, "long");

    make_keys(test);
    damage(test, "long");
    assert_int_equal(kv_delete(test->kv, &ref), 0);
    test_expect_use(test, 2, 11 + 24);
    assert_int_equal(test_records(test->inner, ENGINE_CHUNKS), 1);
    assert_int_equal(check(test, true), 1);
    assert_int_equal(test_records(test->inner, ENGINE_CHUNKS), 0);
    test_expect_sound(test->inner);
}

/* One that stays damaged counts as a key without bytes. */
static void a_recount_takes_damaged_keys_for_keys_without_bytes(void **state)
{
    struct test_store *test = *state;
    struct kv_ref marked = test_key(test, "marked"), a = test_key(test, "a");

    make_keys(test);
    damage(test, "marked");
    damage(test, "a");
    assert_int_equal(kv_delete(test->kv, &marked), 0);
    test_expect_use(test, 2, 20004);
    assert_int_equal(check(test, true), 1); /* the other one */
    test_expect_use(test, 2, 20004);
    test_put(test, "b", "1"); /* what is whole is counted as ever */
    test_expect_use(test, 3, 20006);
    assert_int_equal(kv_delete(test->kv, &a), 0);
    test_expect_use(test, 2, 20006);
    test_expect_sound(test->inner);
}

/* More than can be counted may be right while there is a damaged key; less is not. */
static void a_sum_below_what_can_be_counted_is_found_beside_a_damaged_key(void **state)
{
    struct test_store *test = *state;
    struct record_node record = {.node = test_node(test, test->namespace.id)};
    struct kv_ref marked = test_key(test, "marked");
    struct record_bytes bytes;
    struct name name;

    make_keys(test);
    damage(test, "marked");
    assert_int_equal(check(test, false), 1);
    record.node = test_node(test, test->namespace.id);
    record.node.bytes = 11 + 20004 - 1;
    name_of_node(record.node.id, &name);
    record_encode_node(name_slice(&name), &record, &bytes);
    put_record(test->inner, ENGINE_NODES, name_slice(&name), record_slice(&bytes));
    assert_int_equal(check(test, true), 2);
    assert_int_equal(test_node(test, test->namespace.id).bytes, 11 + 20004);
    assert_int_equal(test_node(test, test->account.id).bytes, 11 + 20004 + 24); /* as it may be */
    assert_int_equal(check(test, false), 1);
    assert_int_equal(kv_delete(test->kv, &marked), 0);
    assert_int_equal(check(test, true), 2); /* the account's and the root's */
    test_expect_use(test, 2, 11 + 20004);
}

static void what_depends_on_what_a_damaged_key_was_is_refused(void **state)
{
    struct test_store *test = *state;
    struct kv_seen seen = {.node = test->namespace.id};
    struct kv_attr object = {.ino = 5000};
    struct kv_change put = {.kind = KV_PUT, .ref = test_key(test, "a"), .conditional = true};
    struct kv_change remove = {.kind = KV_DELETE, .ref = test_key(test, "a"), .seen = &seen, .seen_count = 1};
    struct kv_change edit = {.kind = KV_SETATTR, .ref = test_key(test, "a"), .attr_mask = KV_MODE};
    struct kv_change sticky = {
        .kind = KV_SETATTR, .attr_mask = KV_MODE, .attr = {.mode = 01777}, .ref = kv_ref_node(seen.node)};
    struct test_dump before, after;

    make_keys(test);
    assert_int_equal(kv_apply(test->kv, &sticky), 0);
    seen.mode = 01777;
    seen.uid = sticky.node.attr.uid;
    seen.gid = sticky.node.attr.gid;
    damage(test, "a");
    before = test_dump(test->inner);
    assert_int_equal(kv_value_copy("x", 1, &put.value), 0);
    assert_int_equal(kv_apply(test->kv, &put), -EEXIST);
    put.if_version = 5000;
    assert_int_equal(kv_apply(test->kv, &put), -ECANCELED);
    put.conditional = false;
    put.object = &object;
    assert_int_equal(kv_apply(test->kv, &put), -EIO);
    put.seen = &seen;
    put.seen_count = 1;
    put.replace = true;
    assert_int_equal(kv_apply(test->kv, &put), -EIO);
    assert_int_equal(kv_apply(test->kv, &remove), -EIO);
    assert_int_equal(kv_apply(test->kv, &edit), -EIO);
    after = test_dump(test->inner);
    assert_true(test_same(&before, &after));
    free(before.data);
    free(after.data);
    kv_value_unref(put.value);
    remove.seen_count = 0;
    assert_int_equal(kv_apply(test->kv, &remove), 0);
}

static int set_limits(struct test_store *test, uint64_t bytes, uint64_t keys)
{
    struct kv_change change = {.kind = KV_NODE_LIMITS, .node = test_node(test, test->account.id)};

    change.node.limit_bytes = bytes;
    change.node.limit_keys = keys;
    return kv_apply(test->kv, &change);
}

static void the_limits_hold_for_what_replaces_a_damaged_key(void **state)
{
    struct test_store *test = *state;
    struct kv_ref ref = test_key(test, "a");
    struct test_dump before, after;

    make_keys(test);
    assert_int_equal(set_limits(test, 11 + 20004 + 24, 3), 0);
    damage(test, "a");
    before = test_dump(test->inner);
    assert_int_equal(kv_put(test->kv, &ref, "0123456789A", 11), -EDQUOT); /* as if it were whole */
    after = test_dump(test->inner);
    assert_true(test_same(&before, &after));
    free(before.data);
    free(after.data);
    assert_int_equal(kv_put(test->kv, &ref, "9876543210", 10), 0);
    test_expect_use(test, 3, 11 + 20004 + 24);
    test_expect_sound(test->inner);
}

/* ------------------------------------------------------------------- all of a namespace */

static struct kv_change drop(struct test_store *test)
{
    struct kv_change change = {.kind = KV_DROP_BROKEN, .node = {.id = test->namespace.id}};

    assert_int_equal(kv_apply(test->kv, &change), 0);
    return change;
}

static void damaged_keys_of_any_name_can_be_dropped_together(void **state)
{
    struct test_store *test = *state;
    struct name name;
    struct kv_change change;

    make_keys(test);
    change = drop(test);
    assert_int_equal(change.dropped, 0);
    test_expect_use(test, 3, 11 + 20004 + 24);

    damage(test, "a");
    damage(test, "long");
    name = key_name(test, "zz");
    name.data[name.size++] = 0xff; /* no key has such a name */
    put_record(test->inner, ENGINE_KEYS, name_slice(&name), slice_of("x", 1));
    name_of_node(test->namespace.id, &name); /* nor none */
    put_record(test->inner, ENGINE_KEYS, name_slice(&name), slice_of("x", 1));
    change = drop(test);
    assert_int_equal(change.dropped, 4);
    assert_int_equal(change.node.keys, 1);
    test_expect_use(test, 1, 24);
    test_expect_text(test, "marked", "value");
    assert_int_equal(check(test, true), 1); /* the parts of "long" */
    test_expect_sound(test->inner);

    change = (struct kv_change){.kind = KV_DROP_BROKEN, .node = {.id = test->account.id}};
    assert_int_equal(kv_apply(test->kv, &change), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_ON_MEMORY(a_damaged_key_can_be_deleted),
        TEST_ON_LMDB(a_damaged_key_can_be_deleted),
        TEST_ON_MEMORY(a_damaged_key_can_be_replaced_by_a_put),
        TEST_ON_LMDB(a_damaged_key_can_be_replaced_by_a_put),
        TEST_ON_MEMORY(a_damaged_key_can_be_replaced_by_a_rename_and_not_be_renamed),
        TEST_ON_MEMORY(parts_of_a_damaged_key_stay_until_a_repair),
        TEST_ON_MEMORY(a_recount_takes_damaged_keys_for_keys_without_bytes),
        TEST_ON_MEMORY(a_sum_below_what_can_be_counted_is_found_beside_a_damaged_key),
        TEST_ON_MEMORY(what_depends_on_what_a_damaged_key_was_is_refused),
        TEST_ON_MEMORY(the_limits_hold_for_what_replaces_a_damaged_key),
        TEST_ON_MEMORY(damaged_keys_of_any_name_can_be_dropped_together),
        TEST_ON_LMDB(damaged_keys_of_any_name_can_be_dropped_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
