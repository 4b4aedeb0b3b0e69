/* Listing: pages and scans against a sorted array. */
#include "tests/support/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Keys in byte order: what a listing has to agree with. */
struct model {
    char (*keys)[KV_KEY_MAX + 1];
    size_t count;
};

static int compare_keys(const void *a, const void *b) { return strcmp(a, b); }

static void put_key(struct test_store *test, uint64_t namespace, const char *key)
{
    struct kv_ref ref = kv_ref_key(namespace, key, strlen(key));

    assert_int_equal(kv_put(test->kv, &ref, key, strlen(key)), 0);
}

static void delete_key(struct test_store *test, uint64_t namespace, const char *key)
{
    struct kv_ref ref = kv_ref_key(namespace, key, strlen(key));

    assert_int_equal(kv_delete(test->kv, &ref), 0);
}

/* Put `count` different random keys; they share prefixes often. */
static void fill(struct test_store *test, uint64_t namespace, size_t count, uint64_t seed, struct model *out)
{
    struct test_random random = {seed};

    out->keys = calloc(count + 1, sizeof(*out->keys));
    assert_non_null(out->keys);
    out->count = 0;
    while (out->count < count) {
        char *key = out->keys[out->count];
        bool again = false;

        test_random_key(&random, test_random_below(&random, 50) == 0 ? KV_KEY_MAX : 5, key);
        if (test_random_below(&random, 2) == 0)
            key[0] = 'a';
        for (size_t i = 0; i < out->count; i++)
            again = again || strcmp(out->keys[i], key) == 0;
        if (again)
            continue;
        put_key(test, namespace, key);
        out->count++;
    }
    qsort(out->keys, count, sizeof(*out->keys), compare_keys);
}

/* One page is what the array says, and the place of the next page. */
static void expect_page(struct test_store *test, const struct model *model, const char *prefix, const char *cursor,
                        size_t limit, char *next)
{
    size_t at = 0, count = 0;
    struct kv_list list;

    assert_int_equal(kv_list(test->kv, test->namespace.id, prefix, cursor, limit, &list), 0);
    for (; at < model->count; at++) {
        const char *key = model->keys[at];

        if (strncmp(key, prefix, strlen(prefix)) != 0 || strcmp(key, cursor) < 0)
            continue;
        if (count == limit)
            break;
        assert_true(count < list.count);
        assert_string_equal(list.keys[count], key);
        count++;
    }
    assert_int_equal(list.count, count);
    assert_int_equal(list.complete, at == model->count);
    assert_string_equal(list.cursor, at == model->count ? "" : model->keys[at]);
    memcpy(next, list.cursor, sizeof(list.cursor));
    kv_list_free(&list);
}

/* All pages of a prefix are what the array says. */
static void expect_pages(struct test_store *test, const struct model *model, const char *prefix, size_t limit)
{
    char cursor[KV_KEY_MAX + 1] = "";
    size_t pages = 0;

    do {
        expect_page(test, model, prefix, cursor, limit, cursor);
        assert_true(++pages <= model->count + 1);
    } while (cursor[0] != '\0');
}

static void pages_agree_with_a_sorted_array(void **state)
{
    static const size_t limits[] = {1, 2, 7, 255, 256};
    struct test_store *test = *state;
    struct test_random random = {2};
    struct model model;

    fill(test, test->namespace.id, 600, 1, &model);
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
        expect_pages(test, &model, "", limits[i]);
    for (int i = 0; i < 2000; i++) { /* any prefix with any cursor */
        const char *from = model.keys[test_random_below(&random, model.count)];
        char prefix[KV_KEY_MAX + 1] = "", cursor[KV_KEY_MAX + 1], next[KV_KEY_MAX + 1];

        memcpy(prefix, from, test_random_below(&random, strlen(from) + 1));
        if (i % 4 == 0)
            test_random_key(&random, 4, cursor);
        else
            strcpy(cursor, model.keys[test_random_below(&random, model.count)]);
        expect_page(test, &model, prefix, cursor, 1 + test_random_below(&random, 256), next);
    }
    free(model.keys);
}

static void prefixes_list_exactly_the_keys_that_start_with_them(void **state)
{
    static const char *const keys[] = {"a", "aa", "aaa", "ab", "az", "b", "ba", "Z", "_", "0", "a0", "A", "zz"};
    static const char *const prefixes[] = {"",  "a", "aa", "aaa", "aaaa", "az", "b",
                                           "c", "z", "zz", "zzz", "0",    "_",  "Z"};
    struct test_store *test = *state;
    struct model model = {calloc(20, sizeof(*model.keys)), sizeof(keys) / sizeof(keys[0])};

    assert_non_null(model.keys);
    for (size_t i = 0; i < model.count; i++) {
        put_key(test, test->namespace.id, keys[i]);
        strcpy(model.keys[i], keys[i]);
    }
    qsort(model.keys, model.count, sizeof(*model.keys), compare_keys);
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
        for (size_t limit = 1; limit <= model.count + 1; limit++)
            expect_pages(test, &model, prefixes[i], limit);
    free(model.keys);
}

/* What list answers, as text: "key key ... |cursor", for tests that say all of it. */
static void expect_list(struct test_store *test, const char *prefix, const char *cursor, size_t limit,
                        const char *text)
{
    struct kv_list list;
    char found[4096] = "";

    assert_int_equal(kv_list(test->kv, test->namespace.id, prefix, cursor, limit, &list), 0);
    for (size_t i = 0; i < list.count; i++) {
        strcat(found, list.keys[i]);
        strcat(found, " ");
    }
    strcat(found, "|");
    strcat(found, list.complete ? "complete" : list.cursor);
    assert_int_equal(list.complete, list.cursor[0] == '\0');
    kv_list_free(&list);
    assert_string_equal(found, text);
}

static void a_cursor_is_inclusive_and_may_lie_before_or_behind_the_prefix(void **state)
{
    struct test_store *test = *state;
    static const char *const keys[] = {"a1", "a2", "b1", "b2", "b3", "c1"};

    for (size_t i = 0; i < 6; i++)
        put_key(test, test->namespace.id, keys[i]);
    expect_list(test, "b", "b2", 10, "b2 b3 |complete");
    expect_list(test, "b", "a1", 10, "b1 b2 b3 |complete"); /* before the range */
    expect_list(test, "b", "b", 10, "b1 b2 b3 |complete");
    expect_list(test, "b", "b0", 1, "b1 |b2");
    expect_list(test, "b", "c1", 10, "|complete"); /* behind it */
    expect_list(test, "b", "b4", 10, "|complete");
    expect_list(test, "b2", "b", 10, "b2 |complete"); /* the prefix is longer than the cursor */
    expect_list(test, "b2", "b1", 10, "b2 |complete");
    expect_list(test, "b2", "b3", 10, "|complete");
    expect_list(test, "", "b3", 10, "b3 c1 |complete");
    expect_list(test, NULL, NULL, 2, "a1 a2 |b1");
    expect_list(test, "zzz", NULL, 2, "|complete");
}

static void a_cursor_whose_key_was_deleted_goes_on_with_the_next_one(void **state)
{
    struct test_store *test = *state;
    static const char *const keys[] = {"a", "b", "c", "d"};

    for (size_t i = 0; i < 4; i++)
        put_key(test, test->namespace.id, keys[i]);
    expect_list(test, "", "", 2, "a b |c");
    delete_key(test, test->namespace.id, "c");
    expect_list(test, "", "c", 2, "d |complete");
    delete_key(test, test->namespace.id, "d");
    expect_list(test, "", "c", 2, "|complete");
    put_key(test, test->namespace.id, "c1");
    expect_list(test, "", "c", 2, "c1 |complete");
}

static void a_page_that_ends_with_the_last_key_is_complete(void **state)
{
    struct test_store *test = *state;
    static const char *const keys[] = {"p1", "p2", "p3", "q"};

    expect_list(test, "", "", 1, "|complete"); /* an empty namespace */
    for (size_t i = 0; i < 4; i++)
        put_key(test, test->namespace.id, keys[i]);
    expect_list(test, "", "", 4, "p1 p2 p3 q |complete");
    expect_list(test, "", "", 3, "p1 p2 p3 |q");
    expect_list(test, "p", "", 3, "p1 p2 p3 |complete"); /* though q follows */
    expect_list(test, "p", "", 2, "p1 p2 |p3");
    expect_list(test, "p", "p3", 1, "p3 |complete");
}

static void the_largest_page_has_256_keys(void **state)
{
    struct test_store *test = *state;
    struct kv_list list;
    char key[16];

    for (int i = 0; i < 257; i++) {
        snprintf(key, sizeof(key), "k%03d", i);
        put_key(test, test->namespace.id, key);
    }
    assert_int_equal(kv_list(test->kv, test->namespace.id, "", "", 256, &list), 0);
    assert_int_equal(list.count, 256);
    assert_false(list.complete);
    assert_string_equal(list.cursor, "k256");
    kv_list_free(&list);
    delete_key(test, test->namespace.id, "k256");
    assert_int_equal(kv_list(test->kv, test->namespace.id, "", "", 256, &list), 0);
    assert_int_equal(list.count, 256);
    assert_true(list.complete);
    kv_list_free(&list);
}

static void limits_outside_1_to_256_are_refused(void **state)
{
    struct test_store *test = *state;
    struct kv_list list = {.count = 77};

    put_key(test, test->namespace.id, "a");
    assert_int_equal(kv_list(test->kv, test->namespace.id, "", "", 0, &list), -EINVAL);
    assert_int_equal(kv_list(test->kv, test->namespace.id, "", "", 257, &list), -EINVAL);
    assert_int_equal(kv_list(test->kv, test->namespace.id, "", "", SIZE_MAX, &list), -EINVAL);
    assert_int_equal(list.count, 77);
    expect_list(test, "", "", 1, "a |complete");
    expect_list(test, "", "", 256, "a |complete");
}

static void a_prefix_or_cursor_that_no_key_can_have_is_refused(void **state)
{
    static const char *const names[] = {"a.b", "-", "a b", ".", "caf\u00e9"};
    struct test_store *test = *state;
    char longest[KV_KEY_MAX + 2];
    struct kv_list list;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(kv_list(test->kv, test->namespace.id, names[i], "", 10, &list), -EINVAL);
        assert_int_equal(kv_list(test->kv, test->namespace.id, "", names[i], 10, &list), -EINVAL);
    }
    memset(longest, 'x', sizeof(longest));
    longest[KV_KEY_MAX + 1] = '\0';
    assert_int_equal(kv_list(test->kv, test->namespace.id, longest, "", 10, &list), -EINVAL);
    assert_int_equal(kv_list(test->kv, test->namespace.id, "", longest, 10, &list), -EINVAL);
    longest[KV_KEY_MAX] = '\0';
    put_key(test, test->namespace.id, longest);
    assert_int_equal(kv_list(test->kv, test->namespace.id, longest, longest, 10, &list), 0);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.keys[0], longest);
    kv_list_free(&list);
}

static int must_not_visit(void *arg, const char *key, size_t size, const struct kv_meta *meta)
{
    (void)arg;
    (void)size;
    (void)meta;
    fail_msg("visited %s", key);
    return 0;
}

static void listing_what_is_no_namespace_says_enoent(void **state)
{
    struct test_store *test = *state;
    struct kv_node gone = test_make(test, KV_NAMESPACE, test->account.id, "gone");
    uint64_t ids[] = {999999, 0, gone.id, test->account.id, KV_ROOT_ID, test_projects(test, test->account.id).id};
    struct kv_list list;

    assert_int_equal(kv_node_remove(test->kv, test->account.id, "gone"), 0);
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        assert_int_equal(kv_list(test->kv, ids[i], "", "", 10, &list), -ENOENT);
        assert_int_equal(kv_scan(test->kv, ids[i], "", 0, false, must_not_visit, NULL), -ENOENT);
    }
}

static void keys_never_leak_into_the_listing_of_a_neighbour(void **state)
{
    struct test_store *test = *state;
    struct kv_node spaces[4];
    char name[16], key[32], longest[KV_KEY_MAX + 1];

    memset(longest, 'z', KV_KEY_MAX);
    longest[KV_KEY_MAX] = '\0';
    for (int i = 0; i < 4; i++) { /* with neighbouring ids */
        snprintf(name, sizeof(name), "n%d", i);
        spaces[i] = test_make(test, KV_NAMESPACE, test->account.id, name);
    }
    for (int i = 0; i < 4; i++) {
        if (i == 2)
            continue; /* one stays empty */
        for (int j = 0; j < 10; j++) {
            snprintf(key, sizeof(key), "k%d_%d", i, j);
            put_key(test, spaces[i].id, key);
        }
        put_key(test, spaces[i].id, "0");
        put_key(test, spaces[i].id, longest);
    }
    for (int i = 0; i < 4; i++) {
        struct kv_list list;

        assert_int_equal(kv_list(test->kv, spaces[i].id, "", "", 256, &list), 0);
        assert_true(list.complete);
        assert_int_equal(list.count, i == 2 ? 0 : 12);
        for (size_t j = 0; i != 2 && j < 10; j++) {
            snprintf(key, sizeof(key), "k%d_%d", i, (int)j);
            assert_string_equal(list.keys[1 + j], key);
        }
        kv_list_free(&list);
        assert_int_equal(kv_list(test->kv, spaces[i].id, "", longest, 256, &list), 0);
        assert_int_equal(list.count, i == 2 ? 0 : 1);
        kv_list_free(&list);
    }
}

static void listing_stays_right_while_keys_come_and_go(void **state)
{
    struct test_store *test = *state;
    struct test_random random = {3};
    struct model model = {calloc(300, sizeof(*model.keys)), 0};

    assert_non_null(model.keys);
    for (int i = 0; i < 1500; i++) {
        char key[KV_KEY_MAX + 1], next[KV_KEY_MAX + 1];
        size_t at = 0;

        test_random_key(&random, 2, key);
        key[0] = (char)('a' + key[0] % 4);
        while (at < model.count && strcmp(model.keys[at], key) != 0)
            at++;
        if (at < model.count) {
            delete_key(test, test->namespace.id, key);
            memcpy(model.keys[at], model.keys[--model.count], sizeof(*model.keys));
        } else {
            put_key(test, test->namespace.id, key);
            strcpy(model.keys[model.count++], key);
        }
        qsort(model.keys, model.count, sizeof(*model.keys), compare_keys);
        key[1] = '\0';
        expect_page(test, &model, i % 2 == 0 ? key : "", i % 3 == 0 ? "b" : "", 1 + (size_t)i % 256, next);
    }
    expect_pages(test, &model, "", 3);
    free(model.keys);
}

/* -------------------------------------------------------------------- scans */

struct visits {
    unsigned count, stop_at;
    int answer;
    char first[KV_KEY_MAX + 1], last[KV_KEY_MAX + 1];
    uint64_t bytes;
};

static int visit(void *arg, const char *key, size_t size, const struct kv_meta *meta)
{
    struct visits *visits = arg;

    assert_int_equal(strlen(key), size);
    if (visits->count++ == 0)
        strcpy(visits->first, key);
    strcpy(visits->last, key);
    visits->bytes += meta->size;
    return visits->count == visits->stop_at ? visits->answer : 0;
}

static void a_scan_starts_at_or_after_a_name_and_ends_where_the_visitor_says(void **state)
{
    struct test_store *test = *state;
    static const char *const keys[] = {"a", "b", "bb", "c"};
    const int answers[] = {1, 2, 77, -EINTR};
    struct visits visits = {0};

    for (size_t i = 0; i < 4; i++)
        put_key(test, test->namespace.id, keys[i]);
    assert_int_equal(kv_scan(test->kv, test->namespace.id, NULL, 0, false, visit, &visits), 0);
    assert_int_equal(visits.count, 4);
    assert_string_equal(visits.first, "a");
    assert_string_equal(visits.last, "c");
    assert_int_equal(visits.bytes, 1 + 1 + 2 + 1);

    visits = (struct visits){0};
    assert_int_equal(kv_scan(test->kv, test->namespace.id, "b", 1, false, visit, &visits), 0);
    assert_string_equal(visits.first, "b");
    assert_int_equal(visits.count, 3);
    visits = (struct visits){0};
    assert_int_equal(kv_scan(test->kv, test->namespace.id, "b", 1, true, visit, &visits), 0);
    assert_string_equal(visits.first, "bb");
    assert_int_equal(visits.count, 2);
    visits = (struct visits){0};
    assert_int_equal(kv_scan(test->kv, test->namespace.id, "ba", 2, true, visit, &visits), 0);
    assert_string_equal(visits.first, "bb");
    visits = (struct visits){0};
    assert_int_equal(kv_scan(test->kv, test->namespace.id, "c", 1, true, visit, &visits), 0);
    assert_int_equal(visits.count, 0);

    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        visits = (struct visits){.stop_at = 2, .answer = answers[i]};
        assert_int_equal(kv_scan(test->kv, test->namespace.id, NULL, 0, false, visit, &visits), answers[i]);
        assert_int_equal(visits.count, 2);
    }
}

static void a_scan_shows_the_metadata_that_a_stat_shows(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    struct visits visits = {0};

    assert_int_equal(kv_put(test->kv, &key, "12345", 5), 0);
    assert_int_equal(kv_scan(test->kv, test->namespace.id, NULL, 0, false, visit, &visits), 0);
    assert_int_equal(visits.bytes, test_stat(test, &key).size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_ON_MEMORY(pages_agree_with_a_sorted_array),
        TEST_ON_LMDB(pages_agree_with_a_sorted_array),
        TEST_ON_MEMORY(prefixes_list_exactly_the_keys_that_start_with_them),
        TEST_ON_MEMORY(a_cursor_is_inclusive_and_may_lie_before_or_behind_the_prefix),
        TEST_ON_LMDB(a_cursor_is_inclusive_and_may_lie_before_or_behind_the_prefix),
        TEST_ON_MEMORY(a_cursor_whose_key_was_deleted_goes_on_with_the_next_one),
        TEST_ON_MEMORY(a_page_that_ends_with_the_last_key_is_complete),
        TEST_ON_MEMORY(the_largest_page_has_256_keys),
        TEST_ON_MEMORY(limits_outside_1_to_256_are_refused),
        TEST_ON_MEMORY(a_prefix_or_cursor_that_no_key_can_have_is_refused),
        TEST_ON_MEMORY(listing_what_is_no_namespace_says_enoent),
        TEST_ON_MEMORY(keys_never_leak_into_the_listing_of_a_neighbour),
        TEST_ON_LMDB(keys_never_leak_into_the_listing_of_a_neighbour),
        TEST_ON_MEMORY(listing_stays_right_while_keys_come_and_go),
        TEST_ON_MEMORY(a_scan_starts_at_or_after_a_name_and_ends_where_the_visitor_says),
        TEST_ON_MEMORY(a_scan_shows_the_metadata_that_a_stat_shows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
