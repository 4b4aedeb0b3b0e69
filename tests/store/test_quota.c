/* Limits of accounts: bytes, keys, namespaces, projects and bindings, exact to the byte. */
#include "tests/support/store.h"

#include <errno.h>
#include <stdio.h>

static int set_limits(struct test_store *test, uint64_t bytes, uint64_t namespaces)
{
    struct kv_change change = {.kind = KV_NODE_LIMITS, .node = test_node(test, test->account.id)};

    change.node.limit_bytes = bytes;
    change.node.limit_namespaces = namespaces;
    return kv_apply(test->kv, &change);
}

static int set_more_limits(struct test_store *test, uint64_t keys, uint64_t bindings)
{
    struct kv_change change = {.kind = KV_NODE_LIMITS, .node = test_node(test, test->account.id)};

    change.node.limit_keys = keys;
    change.node.limit_bindings = bindings;
    return kv_apply(test->kv, &change);
}

static int put_size(struct test_store *test, uint64_t namespace, const char *key, size_t size)
{
    static const char bytes[100000];
    struct kv_ref ref = kv_ref_key(namespace, key, strlen(key));

    assert_true(size <= sizeof(bytes));
    return kv_put(test->kv, &ref, bytes, size);
}

/* In the test's own namespace. */
static int put(struct test_store *test, const char *key, size_t size)
{
    return put_size(test, test->namespace.id, key, size);
}

static int rename_key(struct test_store *test, const char *from, const char *to)
{
    struct kv_change change = {.kind = KV_RENAME, .ref = test_key(test, from), .to = test_key(test, to)};

    return kv_apply(test->kv, &change);
}

static void expect_size(struct test_store *test, const char *key, size_t size)
{
    struct kv_ref ref = test_key(test, key);

    assert_int_equal(test_stat(test, &ref).size, size);
}

static void an_account_begins_with_the_default_limits_and_empty(void **state)
{
    struct test_store *test = *state;
    struct kv_node account = test_node(test, test->account.id);

    assert_int_equal(account.limit_bytes, 1u << 30);
    assert_int_equal(account.limit_namespaces, 10);
    assert_int_equal(account.limit_keys, 0);
    assert_int_equal(account.limit_bindings, 1024);
    assert_int_equal(account.bindings, 0);
    test_expect_use(test, 0, 0);
}

static void bytes_are_those_of_keys_and_values(void **state)
{
    struct test_store *test = *state;

    assert_int_equal(put(test, "abc", 100), 0);
    test_expect_use(test, 1, 103);
    assert_int_equal(put(test, "d", 0), 0);
    test_expect_use(test, 2, 104);
    assert_int_equal(put(test, "abc", 20000), 0); /* cut into chunks */
    test_expect_use(test, 2, 20004);
    assert_int_equal(put(test, "abc", 5), 0);
    test_expect_use(test, 2, 9);
}

static void an_account_takes_its_limit_and_not_one_byte_more(void **state)
{
    struct test_store *test = *state;
    struct kv_ref absent = test_key(test, "b");

    assert_int_equal(set_limits(test, 1000, 10), 0);
    assert_int_equal(put(test, "a", 1000), -EDQUOT);
    test_expect_use(test, 0, 0);
    assert_int_equal(put(test, "a", 999), 0);
    test_expect_use(test, 1, 1000);
    assert_int_equal(put(test, "b", 0), -EDQUOT); /* the name itself costs a byte */
    test_expect_absent(test, &absent);
    assert_int_equal(put(test, "a", 1000), -EDQUOT);
    expect_size(test, "a", 999);
    assert_int_equal(put(test, "a", 998), 0);
    assert_int_equal(put(test, "b", 1), -EDQUOT);
    assert_int_equal(put(test, "b", 0), 0);
    test_expect_use(test, 2, 1000);
}

static void an_overwrite_pays_the_difference(void **state)
{
    struct test_store *test = *state;

    assert_int_equal(set_limits(test, 1000, 10), 0);
    assert_int_equal(put(test, "a", 999), 0);
    assert_int_equal(put(test, "a", 999), 0); /* full, and the same size again */
    assert_int_equal(put(test, "a", 10), 0);
    assert_int_equal(put(test, "a", 999), 0);
    test_expect_use(test, 1, 1000);
}

static void deleting_frees_what_it_held(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "a");

    assert_int_equal(set_limits(test, 1000, 10), 0);
    assert_int_equal(put(test, "a", 999), 0);
    assert_int_equal(put(test, "b", 500), -EDQUOT);
    assert_int_equal(kv_delete(test->kv, &key), 0);
    test_expect_use(test, 0, 0);
    assert_int_equal(put(test, "b", 999), 0);
}

static void the_limit_holds_over_all_namespaces_of_the_account_only(void **state)
{
    struct test_store *test = *state;
    struct kv_node second = test_make(test, KV_NAMESPACE, test->account.id, "second");
    struct kv_node other = test_make(test, KV_ACCOUNT, KV_ROOT_ID, "other");
    struct kv_node theirs = test_make(test, KV_NAMESPACE, other.id, "main");

    assert_int_equal(set_limits(test, 1000, 10), 0);
    assert_int_equal(put(test, "a", 599), 0);
    assert_int_equal(put_size(test, second.id, "a", 400), -EDQUOT);
    assert_int_equal(put_size(test, second.id, "a", 399), 0);
    assert_int_equal(put_size(test, theirs.id, "a", 50000), 0);
    assert_int_equal(test_node(test, test->namespace.id).bytes, 600);
    assert_int_equal(test_node(test, second.id).bytes, 400);
    assert_int_equal(test_node(test, test->account.id).bytes, 1000);
    assert_int_equal(test_node(test, other.id).bytes, 50001);
    assert_int_equal(test_node(test, KV_ROOT_ID).bytes, 51001);
    assert_int_equal(test_node(test, KV_ROOT_ID).keys, 3);
}

static void renaming_to_a_longer_name_counts(void **state)
{
    struct test_store *test = *state;

    assert_int_equal(set_limits(test, 1000, 10), 0);
    assert_int_equal(put(test, "aaa", 990), 0);
    assert_int_equal(rename_key(test, "aaa", "aaaaaaaaaaa"), -EDQUOT); /* 11 + 990 */
    expect_size(test, "aaa", 990);
    test_expect_use(test, 1, 993);
    assert_int_equal(rename_key(test, "aaa", "aaaaaaaaaa"), 0);
    test_expect_use(test, 1, 1000);
    assert_int_equal(rename_key(test, "aaaaaaaaaa", "a"), 0);
    test_expect_use(test, 1, 991);
}

static void renaming_over_a_key_frees_what_it_held(void **state)
{
    struct test_store *test = *state;

    assert_int_equal(set_limits(test, 1000, 10), 0);
    assert_int_equal(put(test, "a", 499), 0);
    assert_int_equal(put(test, "b", 499), 0);
    test_expect_use(test, 2, 1000);
    assert_int_equal(rename_key(test, "a", "b"), 0);
    test_expect_use(test, 1, 500);
    assert_int_equal(rename_key(test, "b", "b"), 0);
    test_expect_use(test, 1, 500);
    assert_int_equal(put(test, "cccc", 496), 0); /* full again: what is replaced makes room for the longer name */
    assert_int_equal(rename_key(test, "b", "cccc"), 0);
    test_expect_use(test, 1, 503);
}

static void lowered_limits_stop_growth_and_nothing_else(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "a");

    assert_int_equal(put(test, "a", 999), 0);
    assert_int_equal(put(test, "b", 999), 0);
    assert_int_equal(set_limits(test, 500, 10), 0);
    assert_int_equal(put(test, "c", 0), -EDQUOT);
    assert_int_equal(put(test, "a", 1000), -EDQUOT);
    assert_int_equal(put(test, "a", 999), 0); /* as large as before */
    assert_int_equal(put(test, "a", 998), 0); /* smaller, though still over the limit */
    assert_int_equal(rename_key(test, "b", "d"), 0);
    assert_int_equal(rename_key(test, "d", "longer"), -EDQUOT);
    test_expect_value(test, &key, (const char[998]){0}, 998);
    assert_int_equal(kv_delete(test->kv, &key), 0);
    assert_int_equal(put(test, "c", 0), -EDQUOT);
    assert_int_equal(set_limits(test, 1002, 10), 0);
    assert_int_equal(put(test, "c", 2), -EDQUOT);
    assert_int_equal(put(test, "c", 1), 0);
    assert_int_equal(set_limits(test, 0, 10), 0);
    assert_int_equal(put(test, "c", 1), 0);
    assert_int_equal(put(test, "c", 2), -EDQUOT);
}

static void the_eleventh_namespace_says_edquot(void **state)
{
    struct test_store *test = *state;
    struct kv_node node;
    char name[16];

    for (int i = 2; i <= 10; i++) { /* the first is the test's */
        snprintf(name, sizeof(name), "n%d", i);
        test_make(test, KV_NAMESPACE, test->account.id, name);
    }
    assert_int_equal(kv_node_make(test->kv, KV_NAMESPACE, test->account.id, "n11", 0, &node), -EDQUOT);
    assert_int_equal(kv_node_find(test->kv, test->account.id, "n11", 3, &node), -ENOENT);
    assert_int_equal(test_node(test, test->account.id).children, 10);
    assert_int_equal(kv_node_make(test->kv, KV_NAMESPACE, test->account.id, "n10", 0, &node), -EEXIST);
    assert_int_equal(kv_node_remove(test->kv, test->account.id, "n5"), 0);
    test_make(test, KV_NAMESPACE, test->account.id, "n11");
    assert_int_equal(kv_node_make(test->kv, KV_NAMESPACE, test->account.id, "n5", 0, &node), -EDQUOT);
}

static void limits_beyond_what_can_be_kept_are_refused(void **state)
{
    struct test_store *test = *state;
    struct kv_node account;

    assert_int_equal(set_limits(test, KV_LIMIT_MAX, KV_LIMIT_MAX), 0);
    assert_int_equal(set_limits(test, KV_LIMIT_MAX + 1, 10), -EFBIG);
    assert_int_equal(set_limits(test, 1000, KV_LIMIT_MAX + 1), -EFBIG);
    assert_int_equal(set_more_limits(test, KV_LIMIT_MAX + 1, 1), -EFBIG);
    assert_int_equal(set_more_limits(test, 1, KV_LIMIT_MAX + 1), -EFBIG);
    account = test_node(test, test->account.id);
    assert_true(account.limit_bytes == KV_LIMIT_MAX && account.limit_namespaces == KV_LIMIT_MAX);
}

static void the_namespace_limit_can_be_raised_and_lowered(void **state)
{
    struct test_store *test = *state;
    struct kv_node node;

    assert_int_equal(set_limits(test, KV_ACCOUNT_BYTES, 2), 0);
    test_make(test, KV_NAMESPACE, test->account.id, "second");
    assert_int_equal(kv_node_make(test->kv, KV_NAMESPACE, test->account.id, "third", 0, &node), -EDQUOT);
    assert_int_equal(set_limits(test, KV_ACCOUNT_BYTES, 3), 0);
    test_make(test, KV_NAMESPACE, test->account.id, "third");
    assert_int_equal(set_limits(test, KV_ACCOUNT_BYTES, 1), 0); /* what is there stays */
    assert_int_equal(test_node(test, test->account.id).children, 3);
    assert_int_equal(kv_node_remove(test->kv, test->account.id, "third"), 0);
    assert_int_equal(kv_node_make(test->kv, KV_NAMESPACE, test->account.id, "third", 0, &node), -EDQUOT);
}

static void projects_and_bindings_do_not_count_as_namespaces(void **state)
{
    struct test_store *test = *state;
    uint64_t projects = test_projects(test, test->account.id).id;
    struct kv_node project, binding;

    assert_int_equal(set_limits(test, KV_ACCOUNT_BYTES, 1), 0);
    project = test_make(test, KV_PROJECT, projects, "web");
    assert_int_equal(kv_node_make(test->kv, KV_BINDING, project.id, "KV", test->namespace.id, &binding), 0);
    assert_int_equal(test_node(test, test->account.id).children, 1);
}

static void limits_are_answered_and_kept(void **state)
{
    struct test_store *test = *state;
    struct kv_change change = {.kind = KV_NODE_LIMITS};
    struct kv_node account;

    change.node.id = test->account.id;
    change.node.limit_bytes = 5ull << 40;
    change.node.limit_namespaces = 1000;
    assert_int_equal(kv_apply(test->kv, &change), 0);
    assert_string_equal(change.node.name, "acme");
    assert_int_equal(change.node.limit_bytes, 5ull << 40);
    account = test_node(test, test->account.id);
    assert_int_equal(account.limit_bytes, 5ull << 40);
    assert_int_equal(account.limit_namespaces, 1000);
}

static void only_accounts_have_limits(void **state)
{
    struct test_store *test = *state;
    const uint64_t ids[] = {test->namespace.id, KV_ROOT_ID, 999999};

    for (size_t i = 0; i < 3; i++) {
        struct kv_change change = {.kind = KV_NODE_LIMITS};

        change.node.id = ids[i];
        assert_int_equal(kv_apply(test->kv, &change), -ENOENT);
    }
}

static void a_quota_check_foresees_what_a_put_would_say(void **state)
{
    struct test_store *test = *state;
    struct kv_ref a = test_key(test, "a"), b = test_key(test, "bbb"), nowhere = kv_ref_key(999999, "a", 1);

    assert_int_equal(set_limits(test, 1000, 10), 0);
    assert_int_equal(kv_quota_check(test->kv, &a, 999, 0), 0);
    assert_int_equal(kv_quota_check(test->kv, &a, 1000, 0), -EDQUOT);
    assert_int_equal(put(test, "a", 499), 0);
    assert_int_equal(kv_quota_check(test->kv, &a, 999, 0), 0);
    assert_int_equal(kv_quota_check(test->kv, &a, 1000, 0), -EDQUOT);
    assert_int_equal(kv_quota_check(test->kv, &b, 497, 0), 0);
    assert_int_equal(kv_quota_check(test->kv, &b, 498, 0), -EDQUOT);
    assert_int_equal(set_limits(test, 100, 10), 0);
    assert_int_equal(kv_quota_check(test->kv, &a, 499, 0), 0); /* not larger than it is */
    assert_int_equal(kv_quota_check(test->kv, &a, 500, 0), -EDQUOT);
    assert_int_equal(kv_quota_check(test->kv, &b, 0, 0), -EDQUOT);
    assert_int_equal(kv_quota_check(test->kv, &nowhere, 0, 0), -ENOENT);
}

/* ---------------------------------------------------------------------- attributes */

static int set_xattr(struct test_store *test, const struct kv_ref *ref, const char *name, size_t size)
{
    static const char value[KV_XATTR_MAX];
    struct kv_change change = {.kind = KV_SETXATTR,
                               .ref = *ref,
                               .xattr_name = name,
                               .xattr_name_size = strlen(name),
                               .xattr_value = size == SIZE_MAX ? NULL : value,
                               .xattr_value_size = size == SIZE_MAX ? 0 : size};

    return kv_apply(test->kv, &change);
}

static void attributes_count_and_those_of_namespaces_do_not(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "a"), space = kv_ref_node(test->namespace.id);

    assert_int_equal(put(test, "a", 10), 0);
    assert_int_equal(set_xattr(test, &key, "user.b", 100), 0);
    test_expect_use(test, 1, 11 + 106);
    assert_int_equal(set_xattr(test, &key, "user.b", 7), 0);
    assert_int_equal(set_xattr(test, &key, "user.cc", 0), 0);
    test_expect_use(test, 1, 11 + 13 + 7);
    assert_int_equal(put(test, "a", 20), 0); /* keeps them */
    test_expect_use(test, 1, 21 + 20);
    assert_int_equal(set_xattr(test, &key, "user.b", SIZE_MAX), 0);
    test_expect_use(test, 1, 21 + 7);
    assert_int_equal(set_xattr(test, &space, "user.b", 100), 0);
    test_expect_use(test, 1, 21 + 7);
    assert_int_equal(rename_key(test, "a", "abc"), 0);
    test_expect_use(test, 1, 23 + 7);
    key = test_key(test, "abc");
    assert_int_equal(kv_delete(test->kv, &key), 0);
    test_expect_use(test, 0, 0);
}

static void an_attribute_over_the_limit_says_edquot(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "a");
    struct kv_change chmod = {.kind = KV_SETATTR, .ref = key, .attr_mask = KV_MODE, .attr = {.mode = 0600}};

    assert_int_equal(set_limits(test, 1000, 10), 0);
    assert_int_equal(put(test, "a", 900), 0);
    assert_int_equal(set_xattr(test, &key, "user.b", 94), -EDQUOT);
    assert_false(test_stat(test, &key).has_xattrs);
    test_expect_use(test, 1, 901);
    assert_int_equal(set_xattr(test, &key, "user.b", 93), 0);
    test_expect_use(test, 1, 1000);
    assert_int_equal(set_xattr(test, &key, "user.c", 0), -EDQUOT);
    assert_int_equal(set_xattr(test, &key, "user.b", 93), 0);
    assert_int_equal(put(test, "a", 901), -EDQUOT);
    assert_int_equal(kv_quota_check(test->kv, &key, 901, 0), -EDQUOT);
    assert_int_equal(kv_quota_check(test->kv, &key, 900, 0), 0);
    assert_int_equal(set_limits(test, 10, 10), 0);
    assert_int_equal(kv_apply(test->kv, &chmod), 0); /* over the limit, and does not grow */
    assert_int_equal(set_xattr(test, &key, "user.b", 92), 0);
    assert_int_equal(set_xattr(test, &key, "user.b", 93), -EDQUOT);
}

static void a_put_pays_for_the_attributes_that_it_brings(void **state)
{
    struct test_store *test = *state;
    struct kv_xattrs xattrs = {0};
    struct kv_change change = {.kind = KV_PUT, .ref = test_key(test, "a"), .xattrs = &xattrs};

    assert_int_equal(kv_xattrs_set(&xattrs, "user.b", 6, "1234", 4, 0), 0);
    assert_int_equal(kv_value_copy("value", 5, &change.value), 0);
    assert_int_equal(set_limits(test, 15, 10), 0);
    assert_int_equal(kv_apply(test->kv, &change), -EDQUOT);
    assert_int_equal(set_limits(test, 16, 10), 0);
    assert_int_equal(kv_apply(test->kv, &change), 0);
    test_expect_use(test, 1, 16);
    xattrs.size = 0;
    assert_int_equal(kv_apply(test->kv, &change), 0);
    test_expect_use(test, 1, 6);
    kv_value_unref(change.value);
}

static void exchanged_keys_take_their_attributes_along(void **state)
{
    struct test_store *test = *state;
    struct kv_node second = test_make(test, KV_NAMESPACE, test->account.id, "second");
    struct kv_change change = {.kind = KV_RENAME, .ref = test_key(test, "a"), .flags = KV_EXCHANGE};

    change.to = kv_ref_key(second.id, "bb", 2);
    assert_int_equal(put(test, "a", 10), 0);
    assert_int_equal(put_size(test, second.id, "bb", 20), 0);
    assert_int_equal(set_xattr(test, &change.ref, "user.b", 4), 0);
    assert_int_equal(kv_apply(test->kv, &change), 0);
    assert_int_equal(test_node(test, test->namespace.id).bytes, 21);
    assert_int_equal(test_node(test, second.id).bytes, 22);
    assert_int_equal(test_node(test, test->account.id).bytes, 43);
}

/* ---------------------------------------------------------------------------- keys */

static void an_account_takes_as_many_keys_as_its_limit_says(void **state)
{
    struct test_store *test = *state;
    struct kv_node second = test_make(test, KV_NAMESPACE, test->account.id, "second");
    struct kv_ref absent = test_key(test, "c"), a = test_key(test, "a");

    assert_int_equal(set_more_limits(test, 2, 1024), 0);
    assert_int_equal(test_node(test, test->account.id).limit_keys, 2);
    assert_int_equal(put(test, "a", 1), 0);
    assert_int_equal(kv_quota_check(test->kv, &absent, 0, 0), 0);
    assert_int_equal(put_size(test, second.id, "b", 1), 0);
    assert_int_equal(kv_quota_check(test->kv, &absent, 0, 0), -EDQUOT);
    assert_int_equal(kv_quota_check(test->kv, &a, 100, 0), 0);
    assert_int_equal(put(test, "c", 0), -EDQUOT);
    assert_int_equal(put_size(test, second.id, "c", 0), -EDQUOT);
    test_expect_absent(test, &absent);
    assert_int_equal(put(test, "a", 100), 0);
    assert_int_equal(rename_key(test, "a", "c"), 0);
    assert_int_equal(set_more_limits(test, 1, 1024), 0); /* what is there stays */
    assert_int_equal(put(test, "c", 200), 0);
    assert_int_equal(put(test, "a", 0), -EDQUOT);
    assert_int_equal(kv_delete(test->kv, &absent), 0);
    assert_int_equal(put(test, "a", 0), -EDQUOT);
    assert_int_equal(set_more_limits(test, 0, 1024), 0); /* none */
    assert_int_equal(put(test, "a", 0), 0);
}

/* -------------------------------------------------------------- projects and bindings */

static void projects_and_bindings_have_a_limit_together(void **state)
{
    struct test_store *test = *state;
    uint64_t projects = test_projects(test, test->account.id).id;
    struct kv_change rename = {.kind = KV_NODE_RENAME, .node = {.name = "KV"}, .to_name = "KV2"};
    struct kv_node web, app, node;

    assert_int_equal(set_more_limits(test, 0, 3), 0);
    web = test_make(test, KV_PROJECT, projects, "web");
    app = test_make(test, KV_PROJECT, projects, "app");
    assert_int_equal(kv_node_make(test->kv, KV_BINDING, web.id, "KV", test->namespace.id, &node), 0);
    assert_int_equal(test_node(test, test->account.id).bindings, 3);
    assert_int_equal(kv_node_make(test->kv, KV_BINDING, app.id, "KV", test->namespace.id, &node), -EDQUOT);
    assert_int_equal(kv_node_make(test->kv, KV_PROJECT, projects, "more", 0, &node), -EDQUOT);
    assert_int_equal(kv_node_make(test->kv, KV_PROJECT, projects, "web", 0, &node), -EEXIST);
    rename.node.parent = web.id; /* a rename is no more */
    rename.to_parent = app.id;
    assert_int_equal(kv_apply(test->kv, &rename), 0);
    assert_int_equal(kv_node_remove(test->kv, projects, "web"), 0);
    assert_int_equal(test_node(test, test->account.id).bindings, 2);
    assert_int_equal(kv_node_make(test->kv, KV_BINDING, app.id, "KV", test->namespace.id, &node), 0);
    rename.node.parent = rename.to_parent = app.id; /* one over the other is one less */
    assert_int_equal(kv_apply(test->kv, &rename), 0);
    assert_int_equal(test_node(test, test->account.id).bindings, 2);
    assert_int_equal(kv_node_remove(test->kv, test->account.id, "main"), 0); /* with the bindings to it */
    assert_int_equal(test_node(test, test->account.id).bindings, 1);
    assert_int_equal(set_more_limits(test, 0, 0), 0); /* none */
    test_make(test, KV_PROJECT, projects, "more");
    test_make(test, KV_PROJECT, projects, "and_more");
    test_make(test, KV_PROJECT, projects, "and_more_again");
    test->namespace = test_make(test, KV_NAMESPACE, test->account.id, "main");
}

/* Whatever is done, by whomever it is refused: the sums are those of a recount. */
static void sums_always_equal_a_recount(void **state)
{
    static const size_t sizes[] = {0, 1, 100, 8192, 8193, 20000};
    struct test_store *test = *state;
    struct test_random random = {1};
    struct kv_node spaces[4] = {test->namespace};
    struct kv_node other = test_make(test, KV_ACCOUNT, KV_ROOT_ID, "other");
    unsigned refused = 0, done = 0;

    spaces[1] = test_make(test, KV_NAMESPACE, test->account.id, "second");
    spaces[2] = test_make(test, KV_NAMESPACE, other.id, "main");
    spaces[3] = test_make(test, KV_NAMESPACE, other.id, "second");
    assert_int_equal(set_limits(test, 100000, 10), 0);
    for (int i = 0; i < 1500; i++) {
        char from[4], to[8];
        struct kv_change change = {.flags = (unsigned)test_random_below(&random, 3)};
        int rc;

        test_random_key(&random, 1, from);
        test_random_key(&random, 6, to);
        from[0] = (char)('a' + from[0] % 8);
        to[0] = (char)('a' + to[0] % 8);
        if (test_random_below(&random, 2) == 0)
            to[1] = '\0';
        change.ref = kv_ref_key(spaces[test_random_below(&random, 4)].id, from, 1);
        change.to = kv_ref_key(spaces[test_random_below(&random, 4)].id, to, strlen(to));
        switch (test_random_below(&random, 5)) {
        case 4:
            rc = set_xattr(test, &change.ref, "user.b", test_random_below(&random, 500));
            break;
        case 0:
            change.kind = KV_DELETE;
            rc = kv_apply(test->kv, &change);
            break;
        case 1:
            change.kind = KV_RENAME;
            rc = kv_apply(test->kv, &change);
            break;
        default:
            rc = put_size(test, change.ref.node, from, sizes[test_random_below(&random, 6)]);
        }
        refused += rc < 0;
        done += rc == 0;
        if (i % 10 == 0)
            test_expect_sound(test->inner);
        assert_true(test_node(test, test->account.id).bytes <= 100000);
    }
    assert_true(refused > 100 && done > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_ON_MEMORY(an_account_begins_with_the_default_limits_and_empty),
        TEST_ON_MEMORY(bytes_are_those_of_keys_and_values),
        TEST_ON_MEMORY(an_account_takes_its_limit_and_not_one_byte_more),
        TEST_ON_LMDB(an_account_takes_its_limit_and_not_one_byte_more),
        TEST_ON_MEMORY(attributes_count_and_those_of_namespaces_do_not),
        TEST_ON_MEMORY(an_attribute_over_the_limit_says_edquot),
        TEST_ON_MEMORY(a_put_pays_for_the_attributes_that_it_brings),
        TEST_ON_MEMORY(exchanged_keys_take_their_attributes_along),
        TEST_ON_MEMORY(an_account_takes_as_many_keys_as_its_limit_says),
        TEST_ON_MEMORY(projects_and_bindings_have_a_limit_together),
        TEST_ON_MEMORY(an_overwrite_pays_the_difference),
        TEST_ON_MEMORY(deleting_frees_what_it_held),
        TEST_ON_MEMORY(the_limit_holds_over_all_namespaces_of_the_account_only),
        TEST_ON_MEMORY(renaming_to_a_longer_name_counts),
        TEST_ON_MEMORY(renaming_over_a_key_frees_what_it_held),
        TEST_ON_MEMORY(lowered_limits_stop_growth_and_nothing_else),
        TEST_ON_MEMORY(the_eleventh_namespace_says_edquot),
        TEST_ON_MEMORY(limits_beyond_what_can_be_kept_are_refused),
        TEST_ON_MEMORY(the_namespace_limit_can_be_raised_and_lowered),
        TEST_ON_MEMORY(projects_and_bindings_do_not_count_as_namespaces),
        TEST_ON_MEMORY(limits_are_answered_and_kept),
        TEST_ON_MEMORY(only_accounts_have_limits),
        TEST_ON_MEMORY(a_quota_check_foresees_what_a_put_would_say),
        TEST_ON_MEMORY(sums_always_equal_a_recount),
        TEST_ON_LMDB(sums_always_equal_a_recount),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
