/* Extended attributes: the flat set, and attributes of keys and nodes in the store. */
#include "tests/support/store.h"

#include <errno.h>

/* ------------------------------------------------------------------- the set */

static int set_text(struct kv_xattrs *set, const char *name, const char *value, int flags)
{
    return kv_xattrs_set(set, name, strlen(name), value, strlen(value), flags);
}

static int drop(struct kv_xattrs *set, const char *name)
{
    return kv_xattrs_set(set, name, strlen(name), NULL, 0, 0);
}

/* How often a name is in the set; the size of its value, and where it is. */
static unsigned find(const struct kv_xattrs *set, const char *name, size_t name_size, const void **value,
                     size_t *value_size)
{
    const char *other;
    const void *other_value;
    size_t pos = 0, other_size, other_value_size;
    unsigned found = 0;

    while (kv_xattrs_next(set, &pos, &other, &other_size, &other_value, &other_value_size)) {
        if (other_size != name_size || memcmp(other, name, name_size) != 0)
            continue;
        *value = other_value;
        *value_size = other_value_size;
        found++;
    }
    assert_int_equal(pos, set->size); /* nothing but entries */
    return found;
}

static void expect_text(const struct kv_xattrs *set, const char *name, const char *text)
{
    const void *value = NULL;
    size_t size = 0;

    assert_int_equal(find(set, name, strlen(name), &value, &size), 1);
    assert_int_equal(size, strlen(text));
    assert_memory_equal(value, text, size);
}

static void expect_none(const struct kv_xattrs *set, const char *name)
{
    const void *value;
    size_t size;

    assert_int_equal(find(set, name, strlen(name), &value, &size), 0);
}

static void an_attribute_that_was_set_is_found(void **state)
{
    struct kv_xattrs set = {0};

    (void)state;
    assert_int_equal(set_text(&set, "user.colour", "red", 0), 0);
    assert_int_equal(set_text(&set, "user.size", "", 0), 0);
    expect_text(&set, "user.colour", "red");
    expect_text(&set, "user.size", "");
    expect_none(&set, "user.colou");
    expect_none(&set, "user.colours");
}

static void setting_again_replaces_the_value_and_leaves_the_others(void **state)
{
    struct kv_xattrs set = {0};

    (void)state;
    assert_int_equal(set_text(&set, "a", "1", 0), 0);
    assert_int_equal(set_text(&set, "b", "22", 0), 0);
    assert_int_equal(set_text(&set, "c", "333", 0), 0);
    assert_int_equal(set_text(&set, "b", "a longer value than before", 0), 0);
    expect_text(&set, "a", "1");
    expect_text(&set, "b", "a longer value than before");
    expect_text(&set, "c", "333");
    assert_int_equal(set_text(&set, "a", "", 0), 0);
    expect_text(&set, "a", "");
    expect_text(&set, "c", "333");
}

static void a_removed_attribute_is_gone_and_the_others_stay(void **state)
{
    struct kv_xattrs set = {0};

    (void)state;
    assert_int_equal(set_text(&set, "a", "1", 0), 0);
    assert_int_equal(set_text(&set, "b", "22", 0), 0);
    assert_int_equal(set_text(&set, "c", "333", 0), 0);
    assert_int_equal(drop(&set, "b"), 0);
    expect_none(&set, "b");
    expect_text(&set, "a", "1");
    expect_text(&set, "c", "333");
    assert_int_equal(drop(&set, "b"), -ENODATA);
    assert_int_equal(drop(&set, "a"), 0);
    assert_int_equal(drop(&set, "c"), 0);
    assert_int_equal(set.size, 0);
}

static void create_refuses_what_is_there_and_replace_what_is_not(void **state)
{
    struct kv_xattrs set = {0};

    (void)state;
    assert_int_equal(set_text(&set, "a", "1", KV_XATTR_REPLACE), -ENODATA);
    assert_int_equal(set.size, 0);
    assert_int_equal(set_text(&set, "a", "1", KV_XATTR_CREATE), 0);
    assert_int_equal(set_text(&set, "a", "2", KV_XATTR_CREATE), -EEXIST);
    expect_text(&set, "a", "1");
    assert_int_equal(set_text(&set, "a", "2", KV_XATTR_REPLACE), 0);
    expect_text(&set, "a", "2");
}

static void values_are_bytes(void **state)
{
    static const char bytes[] = {'a', '\0', '%', 's', '\n', (char)0xff};
    struct kv_xattrs set = {0};
    const void *value = NULL;
    size_t size = 0;

    (void)state;
    assert_int_equal(kv_xattrs_set(&set, "user.bin", 8, bytes, sizeof(bytes), 0), 0);
    assert_int_equal(find(&set, "user.bin", 8, &value, &size), 1);
    assert_int_equal(size, sizeof(bytes));
    assert_memory_equal(value, bytes, size);
}

static void names_have_1_to_255_bytes(void **state)
{
    struct kv_xattrs set = {0};
    const void *value;
    char name[256];
    size_t size;

    (void)state;
    memset(name, 'n', sizeof(name));
    assert_int_equal(kv_xattrs_set(&set, name, 0, "v", 1, 0), -ERANGE);
    assert_int_equal(kv_xattrs_set(&set, name, 256, "v", 1, 0), -ERANGE);
    assert_int_equal(set.size, 0);
    assert_int_equal(kv_xattrs_set(&set, name, 255, "v", 1, 0), 0);
    assert_int_equal(find(&set, name, 255, &value, &size), 1);
    assert_int_equal(find(&set, name, 254, &value, &size), 0);
    assert_int_equal(kv_xattrs_set(&set, name, 255, NULL, 0, 0), 0);
}

static void names_and_values_sum_up_to_1024_bytes_and_no_more(void **state)
{
    static const char bytes[KV_XATTR_MAX + 1];
    struct kv_xattrs set = {0};

    (void)state;
    assert_int_equal(kv_xattrs_set(&set, "abcd", 4, bytes, KV_XATTR_MAX - 3, 0), -ENOSPC);
    assert_int_equal(kv_xattrs_set(&set, "abcd", 4, bytes, KV_XATTR_MAX + 1, 0), -ENOSPC);
    assert_int_equal(kv_xattrs_set(&set, "abcd", 4, bytes, 70000, 0), -ENOSPC);
    assert_int_equal(set.size, 0);
    assert_int_equal(kv_xattrs_set(&set, "abcd", 4, bytes, KV_XATTR_MAX - 4, 0), 0);
    assert_int_equal(set_text(&set, "e", "", 0), -ENOSPC);
    assert_int_equal(kv_xattrs_set(&set, "abcd", 4, bytes, KV_XATTR_MAX - 5, 0), 0);
    assert_int_equal(set_text(&set, "e", "", 0), 0);
    assert_int_equal(set_text(&set, "e", "f", 0), -ENOSPC);
    assert_int_equal(set_text(&set, "f", "", 0), -ENOSPC);
    expect_text(&set, "e", "");
}

/* A replacement is measured without what it replaces. */
static void a_full_set_takes_a_replacement_of_the_same_size(void **state)
{
    char bytes[KV_XATTR_MAX];
    struct kv_xattrs set = {0};
    const void *value = NULL;
    size_t size = 0;

    (void)state;
    memset(bytes, '1', sizeof(bytes));
    assert_int_equal(kv_xattrs_set(&set, "k", 1, bytes, KV_XATTR_MAX - 1, 0), 0);
    memset(bytes, '2', sizeof(bytes));
    assert_int_equal(kv_xattrs_set(&set, "k", 1, bytes, KV_XATTR_MAX - 1, 0), 0);
    assert_int_equal(kv_xattrs_set(&set, "k", 1, bytes, KV_XATTR_MAX, 0), -ENOSPC);
    assert_int_equal(find(&set, "k", 1, &value, &size), 1);
    assert_int_equal(size, KV_XATTR_MAX - 1);
    assert_memory_equal(value, bytes, size);
}

static void a_refusal_leaves_the_set_as_it_was(void **state)
{
    static const char bytes[KV_XATTR_MAX];
    struct kv_xattrs set = {0}, before;

    (void)state;
    assert_int_equal(set_text(&set, "a", "1", 0), 0);
    assert_int_equal(set_text(&set, "b", "2", 0), 0);
    before = set;
    assert_int_equal(kv_xattrs_set(&set, "a", 1, bytes, sizeof(bytes), 0), -ENOSPC);
    assert_int_equal(set_text(&set, "a", "3", KV_XATTR_CREATE), -EEXIST);
    assert_int_equal(set_text(&set, "c", "3", KV_XATTR_REPLACE), -ENODATA);
    assert_int_equal(drop(&set, "c"), -ENODATA);
    assert_int_equal(set.size, before.size);
    assert_memory_equal(set.data, before.data, set.size);
}

/* Random sets and removals against an array. */
static void a_set_agrees_with_a_model(void **state)
{
    struct test_random random = {1};
    struct kv_xattrs set = {0};
    char model[20][40];
    bool there[20] = {false};

    (void)state;
    for (int i = 0; i < 20000; i++) {
        size_t at = test_random_below(&random, 20);
        size_t sum = 0, size = test_random_below(&random, 40);
        char name[2] = {(char)('a' + at), '\0'}, value[40];
        int rc;

        if (test_random_below(&random, 3) == 0) {
            assert_int_equal(drop(&set, name), there[at] ? 0 : -ENODATA);
            there[at] = false;
            continue;
        }
        memset(value, 'a' + i % 26, size);
        if (size == sizeof(value))
            size--;
        value[size] = '\0';
        for (size_t j = 0; j < 20; j++)
            sum += there[j] && j != at ? 1 + strlen(model[j]) : 0;
        rc = set_text(&set, name, value, 0);
        assert_int_equal(rc, sum + 1 + size <= KV_XATTR_MAX ? 0 : -ENOSPC);
        if (rc == 0) {
            there[at] = true;
            memcpy(model[at], value, size + 1);
        }
        for (size_t j = 0; j < 20; j++) {
            char other[2] = {(char)('a' + j), '\0'};

            if (there[j])
                expect_text(&set, other, model[j]);
            else
                expect_none(&set, other);
        }
    }
}

static void stepping_through_broken_bytes_ends(void **state)
{
    struct test_random random = {2};

    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct kv_xattrs set;
        const char *name;
        const void *value;
        size_t pos = 0, name_size, value_size;

        set.size = test_random_below(&random, sizeof(set.data) + 1);
        test_random_fill(&random, set.data, set.size < 64 ? set.size : 64);
        if (set.size > 64)
            memset(set.data + 64, 0, set.size - 64);
        while (kv_xattrs_next(&set, &pos, &name, &name_size, &value, &value_size)) {
            assert_true((const uint8_t *)value + value_size <= set.data + set.size);
            assert_true(pos <= set.size);
        }
    }
}

/* ------------------------------------------------------------- in the store */

static int store_set(struct test_store *test, const struct kv_ref *ref, const char *name, const char *value,
                     int flags)
{
    struct kv_change change = {.kind = KV_SETXATTR,
                               .ref = *ref,
                               .xattr_name = name,
                               .xattr_name_size = strlen(name),
                               .xattr_value = value,
                               .xattr_value_size = value != NULL ? strlen(value) : 0,
                               .xattr_flags = flags};

    return kv_apply(test->kv, &change);
}

static void expect_stored(struct test_store *test, const struct kv_ref *ref, const char *name, const char *value)
{
    struct kv_xattrs set;

    assert_int_equal(kv_xattrs_get(test->kv, ref, &set), 0);
    if (value != NULL)
        expect_text(&set, name, value);
    else
        expect_none(&set, name);
}

static void attributes_of_keys_and_nodes_are_kept(void **state)
{
    struct test_store *test = *state;
    struct kv_node project = test_make(test, KV_PROJECT, test_projects(test, test->account.id).id, "web");
    struct kv_ref refs[5];

    test_put(test, "key", "value");
    refs[0] = test_key(test, "key");
    refs[1] = kv_ref_node(test->namespace.id);
    refs[2] = kv_ref_node(test->account.id);
    refs[3] = kv_ref_node(project.id);
    refs[4] = kv_ref_node(KV_ROOT_ID);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(store_set(test, &refs[i], "user.a", "1", 0), 0);
        assert_int_equal(store_set(test, &refs[i], "user.b", "2", KV_XATTR_CREATE), 0);
        assert_int_equal(store_set(test, &refs[i], "user.a", "3", KV_XATTR_REPLACE), 0);
        expect_stored(test, &refs[i], "user.a", "3");
        expect_stored(test, &refs[i], "user.b", "2");
        assert_int_equal(store_set(test, &refs[i], "user.b", "4", KV_XATTR_CREATE), -EEXIST);
        assert_int_equal(store_set(test, &refs[i], "user.c", "4", KV_XATTR_REPLACE), -ENODATA);
        assert_int_equal(store_set(test, &refs[i], "user.b", NULL, 0), 0);
        assert_int_equal(store_set(test, &refs[i], "user.b", NULL, 0), -ENODATA);
        expect_stored(test, &refs[i], "user.b", NULL);
    }
    test_expect_text(test, "key", "value");
}

static void has_xattrs_tells_whether_there_are_any(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key"), node = kv_ref_node(test->namespace.id);
    struct kv_meta meta;

    test_put(test, "key", "value");
    assert_int_equal(kv_stat(test->kv, &key, &meta, NULL), 0);
    assert_false(meta.has_xattrs);
    assert_false(test_node(test, node.node).has_xattrs);

    assert_int_equal(store_set(test, &key, "user.a", "", 0), 0);
    assert_int_equal(store_set(test, &node, "user.a", "", 0), 0);
    assert_int_equal(kv_stat(test->kv, &key, &meta, NULL), 0);
    assert_true(meta.has_xattrs);
    assert_true(test_node(test, node.node).has_xattrs);

    assert_int_equal(store_set(test, &key, "user.a", NULL, 0), 0);
    assert_int_equal(store_set(test, &node, "user.a", NULL, 0), 0);
    assert_int_equal(kv_stat(test->kv, &key, &meta, NULL), 0);
    assert_false(meta.has_xattrs);
    assert_false(test_node(test, node.node).has_xattrs);
}

static void setting_an_attribute_moves_ctime_and_nothing_else(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    struct kv_meta before, after;

    test_put(test, "key", "value");
    assert_int_equal(kv_stat(test->kv, &key, &before, NULL), 0);
    test_store_pass_ms(test, 1500);
    assert_int_equal(store_set(test, &key, "user.a", "1", 0), 0);
    assert_int_equal(kv_stat(test->kv, &key, &after, NULL), 0);
    assert_int_equal(after.attr.ctime_ns - before.attr.ctime_ns, 1500000000);
    assert_int_equal(after.attr.mtime_ns, before.attr.mtime_ns);
    assert_int_equal(after.version, before.version);
    assert_int_equal(after.size, before.size);
}

static void overwriting_a_key_keeps_its_attributes(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");

    test_put(test, "key", "value");
    assert_int_equal(store_set(test, &key, "user.a", "1", 0), 0);
    test_put(test, "key", "another");
    expect_stored(test, &key, "user.a", "1");
}

static void a_put_can_replace_all_attributes(void **state)
{
    struct test_store *test = *state;
    struct kv_xattrs set = {0}, none = {0};
    struct kv_change put = {.kind = KV_PUT, .ref = test_key(test, "key"), .xattrs = &set};

    assert_int_equal(kv_value_copy("value", 5, &put.value), 0);
    assert_int_equal(set_text(&set, "user.b", "2", 0), 0);
    assert_int_equal(kv_apply(test->kv, &put), 0);
    assert_true(put.meta.has_xattrs);
    expect_stored(test, &put.ref, "user.b", "2");

    assert_int_equal(store_set(test, &put.ref, "user.a", "1", 0), 0);
    assert_int_equal(kv_apply(test->kv, &put), 0);
    expect_stored(test, &put.ref, "user.a", NULL);
    expect_stored(test, &put.ref, "user.b", "2");

    put.xattrs = &none;
    assert_int_equal(kv_apply(test->kv, &put), 0);
    assert_false(put.meta.has_xattrs);
    expect_stored(test, &put.ref, "user.b", NULL);
    kv_value_unref(put.value);
}

static void a_deleted_key_takes_its_attributes_along(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");

    test_put(test, "key", "value");
    assert_int_equal(store_set(test, &key, "user.a", "1", 0), 0);
    assert_int_equal(kv_delete(test->kv, &key), 0);
    test_put(test, "key", "value");
    expect_stored(test, &key, "user.a", NULL);
}

static void attributes_of_what_is_not_there_say_enoent(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "nothing"), node = kv_ref_node(999999);
    struct kv_xattrs set;

    assert_int_equal(kv_xattrs_get(test->kv, &key, &set), -ENOENT);
    assert_int_equal(kv_xattrs_get(test->kv, &node, &set), -ENOENT);
    assert_int_equal(store_set(test, &key, "user.a", "1", 0), -ENOENT);
    assert_int_equal(store_set(test, &node, "user.a", "1", 0), -ENOENT);
}

static void the_largest_set_fits_beside_the_largest_inline_value(void **state)
{
    static char value[8192], bytes[KV_XATTR_MAX];
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    struct kv_change change = {.kind = KV_SETXATTR, .ref = key, .xattr_value = bytes};
    struct kv_xattrs set;

    assert_int_equal(kv_put(test->kv, &key, value, sizeof(value)), 0);
    for (char c = 'a'; c < 'a' + 16; c++) { /* 16 attributes of 64 bytes */
        change.xattr_name = &c;
        change.xattr_name_size = 1;
        change.xattr_value_size = 63;
        assert_int_equal(kv_apply(test->kv, &change), 0);
    }
    change.xattr_name = "z";
    change.xattr_value_size = 0;
    assert_int_equal(kv_apply(test->kv, &change), -ENOSPC);
    assert_int_equal(kv_xattrs_get(test->kv, &key, &set), 0);
    assert_int_equal(set.size, KV_XATTR_MAX + 16 * 3);
    test_expect_value(test, &key, value, sizeof(value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_attribute_that_was_set_is_found),
        cmocka_unit_test(setting_again_replaces_the_value_and_leaves_the_others),
        cmocka_unit_test(a_removed_attribute_is_gone_and_the_others_stay),
        cmocka_unit_test(create_refuses_what_is_there_and_replace_what_is_not),
        cmocka_unit_test(values_are_bytes),
        cmocka_unit_test(names_have_1_to_255_bytes),
        cmocka_unit_test(names_and_values_sum_up_to_1024_bytes_and_no_more),
        cmocka_unit_test(a_full_set_takes_a_replacement_of_the_same_size),
        cmocka_unit_test(a_refusal_leaves_the_set_as_it_was),
        cmocka_unit_test(a_set_agrees_with_a_model),
        cmocka_unit_test(stepping_through_broken_bytes_ends),
        TEST_ON_MEMORY(attributes_of_keys_and_nodes_are_kept),
        TEST_ON_LMDB(attributes_of_keys_and_nodes_are_kept),
        TEST_ON_MEMORY(has_xattrs_tells_whether_there_are_any),
        TEST_ON_MEMORY(setting_an_attribute_moves_ctime_and_nothing_else),
        TEST_ON_MEMORY(overwriting_a_key_keeps_its_attributes),
        TEST_ON_MEMORY(a_put_can_replace_all_attributes),
        TEST_ON_MEMORY(a_deleted_key_takes_its_attributes_along),
        TEST_ON_MEMORY(attributes_of_what_is_not_there_say_enoent),
        TEST_ON_MEMORY(the_largest_set_fits_beside_the_largest_inline_value),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
