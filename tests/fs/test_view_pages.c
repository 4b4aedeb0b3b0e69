/* How many keys of a namespace are visited to list a few of them: those, and the one behind them. */
#include "fs/names/listing_internal.h"
#include "fs/nodes/view.h"

#include "tests/support/store.h"

#include <stdio.h>
#include <stdlib.h>

enum { KEYS = 3000, ROOM = 1 << 20 };

static struct fs fs;
static struct fs_inode *account, *namespace;
static size_t scans, visits;

/* The linker has all calls of kv_scan() come here. */
struct counted {
    kv_key_visit *visit;
    void *arg;
};

static int count_visit(void *arg, const char *key, size_t size, const struct kv_meta *meta)
{
    const struct counted *counted = arg;

    visits++;
    return counted->visit(counted->arg, key, size, meta);
}

int __real_kv_scan(struct kv_store *store, uint64_t namespace_id, const char *from, size_t size, bool after,
                   kv_key_visit *visit, void *arg);
int __wrap_kv_scan(struct kv_store *store, uint64_t namespace_id, const char *from, size_t size, bool after,
                   kv_key_visit *visit, void *arg);
int __wrap_kv_scan(struct kv_store *store, uint64_t namespace_id, const char *from, size_t size, bool after,
                   kv_key_visit *visit, void *arg)
{
    struct counted counted = {visit, arg};

    scans++;
    return __real_kv_scan(store, namespace_id, from, size, after, count_visit, &counted);
}

static int setup(void **state)
{
    struct test_store *test;
    char key[16];

    if (test_setup_memory(state) < 0)
        return -1;
    test = *state;
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof(key), "k%04d", i);
        test_put(test, key, "v");
    }
    test_put(test, "user_1", "v");
    test_put(test, "user_2", "v");
    test_put(test, "user_33", "v");
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof(key), "z%04d", i);
        test_put(test, key, "v");
    }
    fs = (struct fs){.store = test->kv};
    assert_int_equal(fs_nodes_new(&fs), 0);
    assert_int_equal(fs_inode_of_node(&fs, fs_root(&fs), &test->account, &account), 0);
    assert_int_equal(fs_inode_of_node(&fs, account, &test->namespace, &namespace), 0);
    return 0;
}

static int teardown(void **state)
{
    fs_inode_put(&fs, namespace);
    fs_inode_put(&fs, account);
    assert_int_equal(atomic_load(&fs.inodes), 1);
    fs_nodes_free(&fs);
    return test_teardown(state);
}

/* The keys behind `last` that a view shows in one page. returns  how many; the first of them is `first` */
static size_t list(const char *above, const char *name, const char *last, const char *first)
{
    struct fs_inode *views, *view;
    struct listing_page page = {.room = ROOM};
    size_t count;

    assert_int_equal(fs_inode_of_view(&fs, namespace, above, &views), 0);
    assert_int_equal(fs_inode_of_view(&fs, views, name, &view), 0);
    assert_int_equal(listing_page_new(&page), 0);
    scans = visits = 0;
    assert_int_equal(listing_page_load(&fs, view, last, true, &page), 0);
    count = page.count;
    if (count > 0)
        assert_string_equal(page.entries[0].name, first);
    listing_page_free(&page);
    fs_inode_put(&fs, view);
    fs_inode_put(&fs, views);
    return count;
}

static void a_prefix_is_listed_without_the_rest_of_the_namespace(void **state)
{
    (void)state;
    assert_int_equal(list(".prefix", "user_", "", "user_1"), 3);
    assert_int_equal(scans, 1);
    assert_int_equal(visits, 4);
    assert_int_equal(list(".prefix", "user_", "user_1", "user_2"), 2);
    assert_in_range(visits, 3, 4);
    assert_int_equal(list(".prefix", "user_", "user_33", NULL), 0);
    assert_in_range(visits, 1, 4);
    assert_int_equal(list(".prefix", "m", "", NULL), 0);
    assert_in_range(visits, 1, 2);
    assert_int_equal(list(".prefix", "zz", "", NULL), 0);
    assert_int_equal(visits, 0);
}

static void what_comes_before_a_key_is_not_visited(void **state)
{
    (void)state;
    assert_int_equal(list(".from", "z2998", "", "z2998"), 2);
    assert_int_equal(visits, 2);
    assert_int_equal(list(".from", "user_", "", "user_1"), LISTING_ENTRIES);
    assert_in_range(visits, LISTING_ENTRIES, LISTING_ENTRIES + 1);
    assert_int_equal(list(".from", "user_1", "user_2", "user_33"), LISTING_ENTRIES);
    assert_in_range(visits, LISTING_ENTRIES, LISTING_ENTRIES + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_prefix_is_listed_without_the_rest_of_the_namespace, setup, teardown),
        cmocka_unit_test_setup_teardown(what_comes_before_a_key_is_not_visited, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
