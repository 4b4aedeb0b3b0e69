/* Stores for tests.
 *
 * A test_store is a store over an engine of the wanted kind, with a clock that only the test moves,
 * one account and one namespace. The store's engine is the fault engine, which passes every call on
 * until a test arms it; `inner` is the engine below it: what the central really has.
 *
 * All functions fail the running test where they cannot do their job, so they are for the test's own
 * thread only.
 */
#ifndef KVFS_TESTS_SUPPORT_STORE_H
#define KVFS_TESTS_SUPPORT_STORE_H

#include "tests/support/engines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>

#include <cmocka.h>

#define TEST_CLOCK_START_NS 1700000000000000000ll

enum test_engine { TEST_MEMORY, TEST_LMDB };

struct test_store {
    struct kv_store *kv;
    struct engine *fault, *inner;
    struct kv_options options; /* what it was opened with */
    enum test_engine kind;
    char dir[256]; /* TEST_LMDB */
    struct kv_clock clock;
    _Atomic int64_t now_ns; /* of the clock; the real time is TEST_CLOCK_START_NS + this */
    struct kv_node account, namespace;
};

/* A new store; options may be NULL, and its clock and engine are ignored. */
struct test_store *test_store_open(enum test_engine kind, const struct kv_options *options);
/* Close the store and open it again (TEST_LMDB). */
void test_store_reopen(struct test_store *test);
/* NULL is allowed. */
void test_store_close(struct test_store *test);
/* Remove a directory with all in it. */
void test_remove_tree(const char *dir);
/* Move the clock. */
void test_store_pass_ms(struct test_store *test, int64_t ms);

/* Tests of a group that each get a new store (with default options) in *state. */
int test_setup_memory(void **state);
int test_setup_lmdb(void **state);
int test_teardown(void **state);
#define TEST_ON_MEMORY(f)                             \
    {                                                 \
#f, f, test_setup_memory, test_teardown, NULL \
    }
#define TEST_ON_LMDB(f)                                       \
    {                                                         \
#f " (lmdb)", f, test_setup_lmdb, test_teardown, NULL \
    }

/* Short forms. */
struct kv_ref test_key(const struct test_store *test, const char *key);
struct kv_node test_make(struct test_store *test, enum kv_node_kind kind, uint64_t parent, const char *name);
/* The node that an account's projects live under. */
struct kv_node test_projects(struct test_store *test, uint64_t account);
/* Put a text as the value of a key in the test's namespace. */
void test_put(struct test_store *test, const char *key, const char *text);
/* The key's value is this. */
void test_expect_value(struct test_store *test, const struct kv_ref *ref, const void *bytes, size_t size);
void test_expect_text(struct test_store *test, const char *key, const char *text);
/* Put, and expect, `size` bytes that are the same for the same seed. Expecting lets the edge cache's time
 * pass, so that the central is asked too. */
void test_put_bytes(struct test_store *test, const struct kv_ref *ref, size_t size, uint64_t seed);
void test_expect_bytes(struct test_store *test, const struct kv_ref *ref, size_t size, uint64_t seed);
struct kv_meta test_stat(struct test_store *test, const struct kv_ref *ref);
/* The central says that there is no such key. */
void test_expect_absent(struct test_store *test, const struct kv_ref *ref);
struct kv_node test_node(struct test_store *test, uint64_t id);

/* All that is known of the key is the same. */
void test_expect_same_meta(const struct kv_meta *a, const struct kv_meta *b);

/* Check everything that is stored: every record decodes, names lead to nodes and nodes have names, counts
 * and sums are those of a recount, values have all of their chunks, chunks have a value, versions are
 * unique, and no id is still to be given out. */
void test_expect_sound(struct engine *engine);

/* All records of an engine: equal states have equal dumps, and others do not. Free `data`. */
struct test_dump {
    uint8_t *data;
    size_t size;
};
struct test_dump test_dump(struct engine *engine);
bool test_same(const struct test_dump *a, const struct test_dump *b);
uint64_t test_records(struct engine *engine, enum engine_table table);

/* Reproducible random numbers: the same sequence for the same seed. */
struct test_random {
    uint64_t state;
};
uint64_t test_random(struct test_random *random);
/* 0 .. below - 1 */
size_t test_random_below(struct test_random *random, size_t below);
/* A key of 1 .. max symbols. `out` has room for max + 1 bytes. */
size_t test_random_key(struct test_random *random, size_t max, char *out);
void test_random_fill(struct test_random *random, void *bytes, size_t size);

/* Set the attribute user.mark of a key to so many bytes. */
void test_set_mark(struct test_store *test, const char *key, size_t size);
/* Keys and bytes of the namespace, the account and the root. */
void test_expect_use(struct test_store *test, uint64_t keys, uint64_t bytes);

#endif
