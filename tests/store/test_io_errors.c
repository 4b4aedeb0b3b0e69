/* A disk that fails once: LMDB's writes and flushes of pages, and its writes of the header. Whatever it is, the put
 * that met it is told, what it would have replaced or the new value is there as a whole, and the store goes on. */
#include "tests/store/record_io.h"
#include "tests/support/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LARGE = 600000, SIZES = 2 };
static const size_t sizes[SIZES] = {100, LARGE};

static int setup(void **state)
{
    struct test_store *test = test_store_open(TEST_LMDB, NULL);
    char path[PATH_MAX];

    if (realpath(test->dir, path) == NULL)
        return -1;
    record_io_start(path);
    *state = test;
    return 0;
}

static void stop_recording(void)
{
    struct record_io_log log = record_io_stop();

    record_io_free(&log);
}

static int teardown(void **state)
{
    test_store_close(*state);
    stop_recording();
    return 0;
}

static bool has(struct test_store *test, const struct kv_ref *ref, size_t size, int byte)
{
    struct kv_value *value;
    struct kv_meta meta;
    bool same;

    test_store_pass_ms(test, 10 * 60000); /* the central is asked */
    assert_int_equal(kv_get(test->kv, ref, &meta, &value, NULL), 0);
    same = value->size == size;
    for (size_t i = 0; same && i < size; i++)
        same = value->data[i] == byte;
    kv_value_unref(value);
    return same;
}

static int put(struct test_store *test, const struct kv_ref *ref, size_t size, int byte)
{
    void *bytes = malloc(size);
    int rc;

    assert_non_null(bytes);
    memset(bytes, byte, size);
    rc = kv_put(test->kv, ref, bytes, size);
    free(bytes);
    return rc;
}

/* Puts that meet the fault, and what is there after them. either: the new value may be there in spite of it */
static void meet(struct test_store *test, struct record_io_fault fault, int rc, bool either)
{
    struct kv_ref ref = test_key(test, "key");

    for (size_t i = 0; i < SIZES; i++) {
        assert_int_equal(put(test, &ref, sizes[i], 'o'), 0);
        record_io_fail(fault);
        assert_int_equal(put(test, &ref, sizes[i], 'n'), rc);
        assert_int_equal(record_io_fail((struct record_io_fault){0}), 0);
        assert_true(has(test, &ref, sizes[i], 'o') || (either && has(test, &ref, sizes[i], 'n')));
        test_expect_sound(test->inner);
        for (int j = 0; j < 3; j++) {
            assert_int_equal(put(test, &ref, sizes[i], '0' + j), 0);
            assert_true(has(test, &ref, sizes[i], '0' + j));
        }
        test_expect_sound(test->inner);
    }
}

static void a_failed_write_of_pages_is_told_and_nothing_of_it_stays(void **state)
{
    static const struct {
        int error, rc;
    } faults[] = {{EIO, -EIO}, {0, -EIO}, {ENOSPC, -ENOSPC}, {EDQUOT, -ENOSPC}};

    for (size_t i = 0; i < 4; i++)
        meet(*state, (struct record_io_fault){.kind = RECORD_IO_WRITE, .error = faults[i].error, .times = 1},
             faults[i].rc, false);
}

/* What the kernel may do where a flush fails: the file is as it was before the writes. */
static char data_path[PATH_MAX], copy_path[PATH_MAX];

static void copy(const char *from, const char *to)
{
    int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    if (in < 0 || out < 0)
        abort();
    while (copy_file_range(in, NULL, out, NULL, 1 << 20, 0) > 0)
        ;
    close(in);
    close(out);
}

static void drop_writes(void) { copy(copy_path, data_path); }

static void a_failed_flush_of_pages_is_told_and_the_next_commit_writes_them_anew(void **state)
{
    struct test_store *test = *state;
    struct record_io_fault fault = {.kind = RECORD_IO_FLUSH, .error = EIO, .then = drop_writes, .times = 1};
    struct kv_ref ref = test_key(test, "key");

    snprintf(data_path, sizeof(data_path), "%s/data.mdb", test->dir);
    snprintf(copy_path, sizeof(copy_path), "%s/copy", test->dir);
    for (size_t i = 0; i < SIZES; i++) {
        assert_int_equal(put(test, &ref, sizes[i], 'o'), 0);
        copy(data_path, copy_path);
        record_io_fail(fault);
        assert_int_equal(put(test, &ref, sizes[i], 'n'), -EIO);
        assert_int_equal(record_io_fail((struct record_io_fault){0}), 0);
        assert_int_equal(unlink(copy_path), 0);
        assert_true(has(test, &ref, sizes[i], 'o'));
        assert_int_equal(put(test, &ref, sizes[i], 'n'), 0);
        assert_true(has(test, &ref, sizes[i], 'n'));
        test_expect_sound(test->inner);
    }
}

static void after_a_failed_write_of_the_header_the_store_goes_on(void **state)
{
    static const int errors[] = {EIO, 0, ENOSPC};
    struct test_store *test = *state;
    struct kv_ref ref = test_key(test, "key");

    for (size_t i = 0; i < 3; i++)
        for (unsigned times = 1; times <= 2; times++) /* the second is LMDB's attempt to put the old one back */
            for (int kept = 0; kept < 2; kept++) {
                bool is_new = kept && times == 2 && errors[i] != 0;

                meet(
                    test,
                    (struct record_io_fault){
                        .kind = RECORD_IO_WRITE, .header = true, .error = errors[i], .kept = kept, .times = times},
                    errors[i] == ENOSPC && !is_new ? -ENOSPC : -EIO, is_new);
            }
    test_store_reopen(test);
    assert_true(has(test, &ref, LARGE, '2'));
}

/* A header that the disk does not take stays in doubt: no commit builds on it before the disk has it. */
static void a_header_in_doubt_is_written_again_before_the_next_commit(void **state)
{
    struct test_store *test = *state;
    struct kv_ref ref = test_key(test, "key");

    assert_int_equal(put(test, &ref, 10, 'o'), 0);
    record_io_fail(
        (struct record_io_fault){.kind = RECORD_IO_WRITE, .header = true, .error = EIO, .kept = true, .times = 3});
    assert_int_equal(put(test, &ref, 10, 'n'), -EIO); /* and what LMDB does then */
    assert_int_equal(put(test, &ref, 10, 'm'), -EIO);
    assert_int_equal(record_io_fail((struct record_io_fault){.kind = RECORD_IO_FLUSH, .error = EIO, .times = 1}),
                     0);
    assert_int_equal(put(test, &ref, 10, 'm'), -EIO);
    assert_int_equal(record_io_fail((struct record_io_fault){0}), 0);
    assert_true(has(test, &ref, 10, 'n'));
    assert_int_equal(put(test, &ref, 10, 'm'), 0);
    assert_true(has(test, &ref, 10, 'm'));
}

static void another_store_in_its_place_is_not_gone_on_with(void **state)
{
    struct test_store *test = *state;
    struct kv_ref ref = test_key(test, "key");
    char data[PATH_MAX], aside[PATH_MAX];

    snprintf(data, sizeof(data), "%s/data.mdb", test->dir);
    snprintf(aside, sizeof(aside), "%s/aside", test->dir);
    assert_int_equal(put(test, &ref, 10, 'o'), 0);
    record_io_fail((struct record_io_fault){.kind = RECORD_IO_WRITE, .header = true, .error = EIO, .times = 1});
    assert_int_equal(put(test, &ref, 10, 'n'), -EIO);
    assert_int_equal(rename(data, aside), 0);
    assert_int_equal(put(test, &ref, 10, 'n'), -EIO); /* none is there */
    assert_int_equal(access(data, F_OK), -1);         /* and none is made */
    copy(aside, data);
    assert_int_equal(put(test, &ref, 10, 'n'), -EIO);
    assert_int_equal(rename(aside, data), 0);
    assert_int_equal(put(test, &ref, 10, 'n'), 0);
    assert_true(has(test, &ref, 10, 'n'));
}

/* ------------------------------------------------------------------------- threads */

enum { READERS = 3, ROUNDS = 60 };

struct reading {
    struct test_store *test;
    const bool *stop;
    unsigned reads;
    int rc;
};

static void *read_on(void *arg)
{
    struct reading *reading = arg;
    struct kv_ref ref = test_key(reading->test, "key");
    struct kv_meta meta;

    while (!__atomic_load_n(reading->stop, __ATOMIC_ACQUIRE) && reading->rc == 0) {
        reading->rc = kv_stat(reading->test->kv, &ref, &meta, NULL);
        reading->reads++;
    }
    return NULL;
}

static void readers_beside_failing_commits_are_answered(void **state)
{
    struct kv_options options = kv_options_default();
    struct reading readings[READERS];
    struct test_store *test = *state;
    pthread_t threads[READERS];
    struct kv_ref ref;
    bool stop = false;

    options.cache_ttl_ms = 0;
    options.cache_bytes = 0;
    test_store_close(test);
    stop_recording();
    test = *state = test_store_open(TEST_LMDB, &options);
    record_io_start(test->dir);
    ref = test_key(test, "key");
    assert_int_equal(put(test, &ref, 10, 'o'), 0);
    for (int i = 0; i < READERS; i++) {
        readings[i] = (struct reading){test, &stop, 0, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &readings[i]), 0);
    }
    for (int i = 0; i < ROUNDS; i++) {
        record_io_fail(
            (struct record_io_fault){.kind = RECORD_IO_WRITE, .header = true, .error = EIO, .times = 1});
        assert_int_equal(put(test, &ref, 10, 'n'), -EIO);
        assert_int_equal(put(test, &ref, 10, 'm'), 0);
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELEASE);
    for (int i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(readings[i].rc, 0);
        assert_true(readings[i].reads > 0);
    }
}

#define IO_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IO_TEST(a_failed_write_of_pages_is_told_and_nothing_of_it_stays),
        IO_TEST(a_failed_flush_of_pages_is_told_and_the_next_commit_writes_them_anew),
        IO_TEST(after_a_failed_write_of_the_header_the_store_goes_on),
        IO_TEST(a_header_in_doubt_is_written_again_before_the_next_commit),
        IO_TEST(another_store_in_its_place_is_not_gone_on_with),
        IO_TEST(readers_beside_failing_commits_are_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
