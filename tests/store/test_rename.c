/* Renaming keys. */
#include "tests/support/store.h"

#include "store/base/record.h"

#include <errno.h>
#include <stdlib.h>

static int rename_ref(struct test_store *test, const struct kv_ref *from, const struct kv_ref *to, unsigned flags,
                      struct kv_meta *meta)
{
    struct kv_change change = {.kind = KV_RENAME, .ref = *from, .to = *to, .flags = flags};
    int rc = kv_apply(test->kv, &change);

    if (rc == 0 && meta != NULL)
        *meta = change.meta;
    return rc;
}

static int rename_key(struct test_store *test, const char *from, const char *to, unsigned flags)
{
    struct kv_ref from_ref = test_key(test, from), to_ref = test_key(test, to);

    return rename_ref(test, &from_ref, &to_ref, flags, NULL);
}

static void expect_none(struct test_store *test, const char *key)
{
    struct kv_ref ref = test_key(test, key);

    test_expect_absent(test, &ref);
}

/* Once as the edge cache has it, once as the central. */
static void expect_text(struct test_store *test, const struct kv_ref *ref, const char *text)
{
    test_expect_value(test, ref, text, strlen(text));
    test_store_pass_ms(test, 61000);
    test_expect_value(test, ref, text, strlen(text));
}

static void a_renamed_key_is_at_its_new_name_only(void **state)
{
    struct test_store *test = *state;

    test_put(test, "old", "value");
    test_expect_text(test, "old", "value"); /* in the edge cache, as is the absence of the new one */
    expect_none(test, "new");
    assert_int_equal(rename_key(test, "old", "new", 0), 0);
    test_expect_text(test, "new", "value");
    expect_none(test, "old");
    test_store_pass_ms(test, 61000);
    test_expect_text(test, "new", "value");
    expect_none(test, "old");
}

static void a_rename_replaces_the_target_and_its_chunks(void **state)
{
    struct test_store *test = *state;
    struct kv_ref from = test_key(test, "from"), to = test_key(test, "to");

    test_put_bytes(test, &from, 2 * RECORD_CHUNK, 1);
    test_put_bytes(test, &to, 5 * RECORD_CHUNK, 2);
    assert_int_equal(rename_ref(test, &from, &to, 0, NULL), 0);
    test_expect_bytes(test, &to, 2 * RECORD_CHUNK, 1);
    test_expect_absent(test, &from);
    assert_int_equal(test_records(test->inner, ENGINE_CHUNKS), 2);
    assert_int_equal(test_node(test, test->namespace.id).keys, 1);

    test_put_bytes(test, &from, 10, 3);
    assert_int_equal(rename_ref(test, &from, &to, 0, NULL), 0);
    test_expect_bytes(test, &to, 10, 3);
    assert_int_equal(test_records(test->inner, ENGINE_CHUNKS), 0);
}

static void a_key_moves_between_namespaces_of_its_account(void **state)
{
    struct test_store *test = *state;
    struct kv_node other = test_make(test, KV_NAMESPACE, test->account.id, "other");
    struct kv_ref from = test_key(test, "key"), to = kv_ref_key(other.id, "key", 3);

    test_put(test, "key", "value");
    assert_int_equal(rename_ref(test, &from, &to, 0, NULL), 0);
    test_expect_absent(test, &from);
    expect_text(test, &to, "value");
    assert_int_equal(test_node(test, test->namespace.id).keys, 0);
    assert_int_equal(test_node(test, test->namespace.id).bytes, 0);
    assert_int_equal(test_node(test, other.id).keys, 1);
    assert_int_equal(test_node(test, other.id).bytes, 8);
    assert_int_equal(test_node(test, test->account.id).bytes, 8);
}

static void a_key_does_not_move_to_another_account(void **state)
{
    struct test_store *test = *state;
    struct kv_node other = test_make(test, KV_ACCOUNT, KV_ROOT_ID, "other");
    struct kv_node theirs = test_make(test, KV_NAMESPACE, other.id, "main");
    struct kv_ref from = test_key(test, "key"), to = kv_ref_key(theirs.id, "key", 3);

    test_put(test, "key", "value");
    assert_int_equal(rename_ref(test, &from, &to, 0, NULL), -EXDEV);
    assert_int_equal(rename_ref(test, &from, &to, KV_NOREPLACE, NULL), -EXDEV);
    assert_int_equal(kv_put(test->kv, &to, "theirs", 6), 0);
    assert_int_equal(rename_ref(test, &from, &to, KV_EXCHANGE, NULL), -EXDEV);
    expect_text(test, &from, "value");
    expect_text(test, &to, "theirs");
}

static void inode_version_owner_and_times_move_along(void **state)
{
    struct test_store *test = *state;
    struct kv_ref from = test_key(test, "from"), to = test_key(test, "to");
    struct kv_change chown = {.kind = KV_SETATTR,
                              .ref = from,
                              .attr = {.mode = 0640, .uid = 7, .gid = 8},
                              .attr_mask = KV_MODE | KV_UID | KV_GID};
    struct kv_meta before, after, answered;

    test_put(test, "from", "value");
    assert_int_equal(kv_apply(test->kv, &chown), 0);
    before = test_stat(test, &from);
    test_store_pass_ms(test, 2000);
    assert_int_equal(rename_ref(test, &from, &to, 0, &answered), 0);
    after = test_stat(test, &to);
    test_expect_same_meta(&after, &answered);
    assert_int_equal(after.attr.ctime_ns - before.attr.ctime_ns, 2000000000);
    after.attr.ctime_ns = before.attr.ctime_ns;
    test_expect_same_meta(&after, &before);
}

static void attributes_move_along(void **state)
{
    struct test_store *test = *state;
    struct kv_ref from = test_key(test, "from"), to = test_key(test, "to");
    struct kv_change change = {.kind = KV_SETXATTR,
                               .ref = from,
                               .xattr_name = "user.a",
                               .xattr_name_size = 6,
                               .xattr_value = "1",
                               .xattr_value_size = 1};
    struct kv_xattrs before, after;

    test_put(test, "from", "value");
    assert_int_equal(kv_apply(test->kv, &change), 0);
    assert_int_equal(kv_xattrs_get(test->kv, &from, &before), 0);
    assert_int_equal(rename_ref(test, &from, &to, 0, NULL), 0);
    assert_int_equal(kv_xattrs_get(test->kv, &to, &after), 0);
    assert_int_equal(after.size, before.size);
    assert_memory_equal(after.data, before.data, after.size);
    assert_int_equal(kv_xattrs_get(test->kv, &from, &after), -ENOENT);
}

static void noreplace_leaves_a_target_alone(void **state)
{
    struct test_store *test = *state;

    test_put(test, "a", "1");
    test_put(test, "b", "2");
    assert_int_equal(rename_key(test, "a", "b", KV_NOREPLACE), -EEXIST);
    test_expect_text(test, "a", "1");
    test_expect_text(test, "b", "2");
    assert_int_equal(rename_key(test, "a", "c", KV_NOREPLACE), 0);
    test_expect_text(test, "c", "1");
    expect_none(test, "a");
}

static void exchange_swaps_two_keys(void **state)
{
    struct test_store *test = *state;
    struct kv_node other = test_make(test, KV_NAMESPACE, test->account.id, "other");
    struct kv_ref a = test_key(test, "a"), b = kv_ref_key(other.id, "bbb", 3);
    struct kv_meta a_before, b_before, a_after, b_after;

    test_put_bytes(test, &a, 2 * RECORD_CHUNK, 1);
    assert_int_equal(kv_put(test->kv, &b, "small", 5), 0);
    a_before = test_stat(test, &a);
    b_before = test_stat(test, &b);
    assert_int_equal(rename_ref(test, &a, &b, KV_EXCHANGE, NULL), 0);
    a_after = test_stat(test, &a);
    b_after = test_stat(test, &b);
    assert_int_equal(b_after.version, a_before.version);
    assert_int_equal(b_after.attr.ino, a_before.attr.ino);
    assert_int_equal(a_after.version, b_before.version);
    assert_int_equal(a_after.attr.ino, b_before.attr.ino);
    test_expect_bytes(test, &b, 2 * RECORD_CHUNK, 1);
    expect_text(test, &a, "small");
    assert_int_equal(test_node(test, test->namespace.id).bytes, 1 + 5);
    assert_int_equal(test_node(test, other.id).bytes, 3 + 2 * RECORD_CHUNK);

    assert_int_equal(rename_ref(test, &b, &a, KV_EXCHANGE, NULL), 0); /* and back */
    test_expect_bytes(test, &a, 2 * RECORD_CHUNK, 1);
    expect_text(test, &b, "small");
}

static void exchange_with_a_key_that_is_not_there_says_enoent(void **state)
{
    struct test_store *test = *state;

    test_put(test, "a", "1");
    assert_int_equal(rename_key(test, "a", "b", KV_EXCHANGE), -ENOENT);
    assert_int_equal(rename_key(test, "b", "a", KV_EXCHANGE), -ENOENT);
    test_expect_text(test, "a", "1");
    expect_none(test, "b");
}

static void exchange_in_a_full_account_is_no_growth(void **state)
{
    struct test_store *test = *state;
    struct kv_change limits = {.kind = KV_NODE_LIMITS};

    limits.node.id = test->account.id;
    test_put(test, "a", "12345678");
    test_put(test, "bbbb", "1");
    assert_int_equal(kv_apply(test->kv, &limits), 0); /* no byte more */
    assert_int_equal(rename_key(test, "a", "bbbb", KV_EXCHANGE), 0);
    test_expect_text(test, "bbbb", "12345678");
    test_expect_text(test, "a", "1");
}

static void a_rename_onto_itself_changes_nothing(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    struct kv_meta before, answered;
    struct test_dump old, now;

    test_put_bytes(test, &key, 2 * RECORD_CHUNK, 1);
    before = test_stat(test, &key);
    old = test_dump(test->inner);
    assert_int_equal(rename_ref(test, &key, &key, 0, &answered), 0);
    test_expect_same_meta(&before, &answered);
    assert_int_equal(rename_ref(test, &key, &key, KV_EXCHANGE, NULL), 0);
    assert_int_equal(rename_ref(test, &key, &key, KV_NOREPLACE, NULL), -EEXIST);
    now = test_dump(test->inner);
    assert_true(test_same(&old, &now));
    free(old.data);
    free(now.data);
    test_expect_bytes(test, &key, 2 * RECORD_CHUNK, 1);
    assert_int_equal(rename_key(test, "absent", "absent", 0), -ENOENT);
}

static void renaming_what_is_not_there_says_enoent(void **state)
{
    struct test_store *test = *state;
    struct kv_ref here = test_key(test, "key"), nowhere = kv_ref_key(999999, "key", 3);

    assert_int_equal(rename_key(test, "absent", "key", 0), -ENOENT);
    test_put(test, "key", "value");
    assert_int_equal(rename_key(test, "absent", "key", 0), -ENOENT);
    assert_int_equal(rename_ref(test, &nowhere, &here, 0, NULL), -ENOENT);
    assert_int_equal(rename_ref(test, &here, &nowhere, 0, NULL), -ENOENT);
    test_expect_text(test, "key", "value");
}

static void a_key_does_not_get_a_name_outside_the_rules(void **state)
{
    struct test_store *test = *state;
    struct kv_ref from = test_key(test, "key"), empty = kv_ref_node(test->namespace.id);

    test_put(test, "key", "value");
    assert_int_equal(rename_key(test, "key", "a.b", 0), -EINVAL);
    assert_int_equal(rename_key(test, "a.b", "key", 0), -EINVAL);
    assert_int_equal(rename_ref(test, &from, &empty, 0, NULL), -EINVAL);
    test_expect_text(test, "key", "value");
}

static void a_rename_moves_the_times_of_both_namespaces(void **state)
{
    struct test_store *test = *state;
    struct kv_node other = test_make(test, KV_NAMESPACE, test->account.id, "other");
    struct kv_node third = test_make(test, KV_NAMESPACE, test->account.id, "third");
    struct kv_ref from = test_key(test, "key"), to = kv_ref_key(other.id, "key", 3);
    int64_t before;

    test_put(test, "key", "value");
    before = test_node(test, third.id).attr.mtime_ns;
    test_store_pass_ms(test, 5000);
    assert_int_equal(rename_ref(test, &from, &to, 0, NULL), 0);
    assert_int_equal(test_node(test, test->namespace.id).attr.mtime_ns - before, 5000000000);
    assert_int_equal(test_node(test, other.id).attr.mtime_ns - before, 5000000000);
    assert_int_equal(test_node(test, third.id).attr.mtime_ns, before);
}

/* As editors save: a new key, renamed over the old one, many times. */
static void saving_by_rename_again_and_again_leaks_nothing(void **state)
{
    struct test_store *test = *state;
    struct kv_ref temporary = test_key(test, "temporary"), key = test_key(test, "key");

    for (uint64_t i = 0; i < 20; i++) {
        test_put_bytes(test, &temporary, i % 3 * RECORD_CHUNK + 10, i);
        assert_int_equal(rename_ref(test, &temporary, &key, 0, NULL), 0);
        test_expect_bytes(test, &key, i % 3 * RECORD_CHUNK + 10, i);
    }
    assert_int_equal(test_records(test->inner, ENGINE_KEYS), 1);
    assert_int_equal(test_records(test->inner, ENGINE_CHUNKS), record_chunks(19 % 3 * RECORD_CHUNK + 10, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_ON_MEMORY(a_renamed_key_is_at_its_new_name_only),
        TEST_ON_LMDB(a_renamed_key_is_at_its_new_name_only),
        TEST_ON_MEMORY(a_rename_replaces_the_target_and_its_chunks),
        TEST_ON_LMDB(a_rename_replaces_the_target_and_its_chunks),
        TEST_ON_MEMORY(a_key_moves_between_namespaces_of_its_account),
        TEST_ON_MEMORY(a_key_does_not_move_to_another_account),
        TEST_ON_MEMORY(inode_version_owner_and_times_move_along),
        TEST_ON_MEMORY(attributes_move_along),
        TEST_ON_MEMORY(noreplace_leaves_a_target_alone),
        TEST_ON_MEMORY(exchange_swaps_two_keys),
        TEST_ON_LMDB(exchange_swaps_two_keys),
        TEST_ON_MEMORY(exchange_with_a_key_that_is_not_there_says_enoent),
        TEST_ON_MEMORY(exchange_in_a_full_account_is_no_growth),
        TEST_ON_MEMORY(a_rename_onto_itself_changes_nothing),
        TEST_ON_MEMORY(renaming_what_is_not_there_says_enoent),
        TEST_ON_MEMORY(a_key_does_not_get_a_name_outside_the_rules),
        TEST_ON_MEMORY(a_rename_moves_the_times_of_both_namespaces),
        TEST_ON_MEMORY(saving_by_rename_again_and_again_leaks_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
