/* Values: what kv.h promises of their bytes, wherever the buffers are. */
#include "store/base/value.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define PLENTY (256 * MIB)
#define NOTHING 1 /* a budget that has room for no large value */

static char spill_dir[] = "/tmp/kvfs-test-value-XXXXXX";

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(spill_dir) == NULL ? -1 : 0;
}

static int remove_dir(void **state)
{
    (void)state;
    return rmdir(spill_dir);
}

static uint64_t live_bytes(void)
{
    uint64_t live, spilled;

    value_usage(&live, &spilled);
    return live;
}

static uint64_t spilled_bytes(void)
{
    uint64_t live, spilled;

    value_usage(&live, &spilled);
    return spilled;
}

static int use_plenty(void **state)
{
    (void)state;
    value_configure(spill_dir, PLENTY);
    return 0;
}

static int nothing_is_left(void **state)
{
    (void)state;
    return live_bytes() == 0 && spilled_bytes() == 0 ? 0 : -1;
}

static struct kv_value *new_value(size_t size)
{
    struct kv_value *value;

    assert_int_equal(kv_value_new(size, &value), 0);
    assert_int_equal(value->size, size);
    return value;
}

/* A byte that differs with its place. */
static uint8_t byte_at(size_t at) { return (uint8_t)(1 + at * 7 % 251); }

static void fill(struct kv_value *value, size_t from)
{
    for (size_t at = from; at < value->size; at++)
        value->data[at] = byte_at(at);
}

static void assert_filled(const struct kv_value *value, size_t size)
{
    for (size_t at = 0; at < size; at++) {
        if (value->data[at] != byte_at(at))
            fail_msg("byte %zu is %u", at, value->data[at]);
    }
}

static void assert_zeros(const struct kv_value *value, size_t from)
{
    for (size_t at = from; at < value->size; at++) {
        if (value->data[at] != 0)
            fail_msg("byte %zu is %u", at, value->data[at]);
    }
}

static void a_new_value_is_zeros(void **state)
{
    const size_t sizes[] = {0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, KV_VALUE_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct kv_value *value = new_value(sizes[i]);

        assert_zeros(value, 0);
        kv_value_unref(value);
    }
    kv_value_unref(NULL);
}

static void a_copy_has_the_bytes(void **state)
{
    const size_t sizes[] = {1, 100, 64 * KIB - 1, 64 * KIB, MIB + 3};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct kv_value *from = new_value(sizes[i]), *to;

        fill(from, 0);
        assert_int_equal(kv_value_copy(from->data, from->size, &to), 0);
        memset(from->data, 0, from->size);
        assert_int_equal(to->size, sizes[i]);
        assert_filled(to, to->size);
        kv_value_unref(from);
        kv_value_unref(to);
    }
}

static void a_value_over_the_limit_is_refused(void **state)
{
    struct kv_value *value = NULL;

    (void)state;
    assert_int_equal(kv_value_new(KV_VALUE_MAX + 1, &value), -EFBIG);
    assert_int_equal(kv_value_copy("", KV_VALUE_MAX + 1, &value), -EFBIG);
    assert_null(value);

    value = new_value(3);
    fill(value, 0);
    assert_int_equal(kv_value_resize(&value, KV_VALUE_MAX + 1), -EFBIG);
    assert_int_equal(value->size, 3);
    assert_filled(value, 3);
    assert_int_equal(kv_value_resize(&value, KV_VALUE_MAX), 0);
    assert_true(value->capacity <= KV_VALUE_MAX);
    kv_value_unref(value);
}

static void growing_keeps_the_bytes_and_adds_zeros(void **state)
{
    const size_t budgets[] = {PLENTY, NOTHING};
    const size_t sizes[] = {0, 1, 1000, 64 * KIB - 1, 64 * KIB, 200 * KIB, MIB, 10 * MIB, KV_VALUE_MAX};

    (void)state;
    for (size_t b = 0; b < 2; b++) {
        struct kv_value *value;
        size_t had = 0;

        value_configure(spill_dir, budgets[b]);
        value = new_value(0);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            assert_int_equal(kv_value_resize(&value, sizes[i]), 0);
            assert_int_equal(value->size, sizes[i]);
            assert_filled(value, had);
            assert_zeros(value, had);
            fill(value, had);
            had = sizes[i];
        }
        assert_int_equal(spilled_bytes(), b == 0 ? 0 : KV_VALUE_MAX);
        kv_value_unref(value);
    }
}

static void bytes_cut_off_do_not_come_back(void **state)
{
    const size_t budgets[] = {PLENTY, NOTHING};
    const size_t cuts[][2] = {{100, 99},
                              {100, 0},
                              {64 * KIB, 64 * KIB - 1},
                              {64 * KIB, 10},
                              {MIB, MIB - 1},
                              {MIB, MIB - 5000},
                              {MIB, 600 * KIB + 1},
                              {MIB, 64 * KIB},
                              {MIB, 64 * KIB - 1},
                              {MIB, 1},
                              {MIB, 0}};

    (void)state;
    for (size_t b = 0; b < 2; b++) {
        value_configure(spill_dir, budgets[b]);
        for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
            struct kv_value *value = new_value(cuts[i][0]);

            fill(value, 0);
            assert_int_equal(kv_value_resize(&value, cuts[i][1]), 0);
            assert_int_equal(kv_value_resize(&value, cuts[i][0] + 10), 0);
            assert_filled(value, cuts[i][1]);
            assert_zeros(value, cuts[i][1]);
            kv_value_unref(value);
        }
    }
}

static void resizing_a_shared_value_leaves_the_other_reference_alone(void **state)
{
    const size_t budgets[] = {PLENTY, NOTHING};
    const size_t sizes[] = {0, 50, 100, 101, MIB, 2 * MIB};

    (void)state;
    for (size_t b = 0; b < 2; b++) {
        value_configure(spill_dir, budgets[b]);
        for (size_t from = 0; from < sizeof(sizes) / sizeof(sizes[0]); from++) {
            for (size_t to = 0; to < sizeof(sizes) / sizeof(sizes[0]); to++) {
                struct kv_value *reader = new_value(sizes[from]), *writer = kv_value_ref(reader);
                size_t kept = sizes[to] < sizes[from] ? sizes[to] : sizes[from];

                fill(reader, 0);
                assert_int_equal(kv_value_resize(&writer, sizes[to]), 0);
                assert_ptr_not_equal(writer, reader);
                assert_filled(writer, kept);
                assert_zeros(writer, kept);
                if (writer->size > 0)
                    memset(writer->data, 0xff, writer->size);
                assert_int_equal(reader->size, sizes[from]);
                assert_filled(reader, reader->size);
                kv_value_unref(writer);
                kv_value_unref(reader);
            }
        }
    }
}

static void a_value_held_once_is_resized_in_place(void **state)
{
    struct kv_value *value = new_value(MIB), *before = value;

    (void)state;
    kv_value_unref(kv_value_ref(value));
    assert_int_equal(kv_value_resize(&value, 2 * MIB), 0);
    assert_ptr_equal(value, before);
    kv_value_unref(value);
}

static void small_appends_seldom_move_the_value(void **state)
{
    const struct {
        size_t piece, pieces, moves;
    } cases[] = {{100, 100000, 80}, {MIB, 25, 16}};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct kv_value *value = new_value(0);
        size_t moves = 0;

        for (size_t piece = 0; piece < cases[i].pieces; piece++) {
            size_t capacity = value->capacity, from = value->size;

            assert_int_equal(kv_value_resize(&value, from + cases[i].piece), 0);
            moves += value->capacity != capacity;
            fill(value, from);
        }
        assert_true(moves <= cases[i].moves);
        assert_filled(value, value->size);
        kv_value_unref(value);
    }
}

static void at_most_a_quarter_of_a_value_is_unused(void **state)
{
    struct kv_value *value = new_value(0);
    size_t size = 0;

    (void)state;
    for (size_t step = 1; size + step < KV_VALUE_MAX; step += step / 9 + 1) {
        size += step;
        assert_int_equal(kv_value_resize(&value, size), 0);
        assert_true(value->capacity <= KV_VALUE_MAX);
        assert_true(value->capacity - size <= size / 4 + (size < 6 * MIB ? 64 * KIB : 2 * MIB));
    }
    for (; size > 0; size -= size / 11 + 1) {
        assert_int_equal(kv_value_resize(&value, size), 0);
        assert_true(value->capacity - size <= size / 4 + 64 * KIB);
    }
    assert_int_equal(kv_value_resize(&value, 0), 0);
    assert_true(live_bytes() <= 64);
    kv_value_unref(value);
}

static void values_over_the_budget_are_in_files(void **state)
{
    struct kv_value *values[4];
    struct kv_value *small;

    (void)state;
    value_configure(spill_dir, 2 * MIB);
    for (size_t i = 0; i < 4; i++) {
        values[i] = new_value(MIB);
        fill(values[i], 0);
    }
    assert_int_equal(live_bytes(), 4 * MIB);
    assert_int_equal(spilled_bytes(), 2 * MIB);
    small = new_value(64 * KIB - 1);
    assert_int_equal(spilled_bytes(), 2 * MIB);
    for (size_t i = 0; i < 4; i++) {
        assert_filled(values[i], MIB);
        kv_value_unref(values[i]);
    }
    assert_int_equal(live_bytes(), 64 * KIB - 1);
    kv_value_unref(small);
    assert_int_equal(live_bytes(), 0);

    values[0] = new_value(MIB);
    assert_int_equal(spilled_bytes(), 0);
    kv_value_unref(values[0]);
}

static void a_value_that_outgrows_the_budget_moves_to_a_file(void **state)
{
    struct kv_value *value;

    (void)state;
    value_configure(spill_dir, 2 * MIB);
    value = new_value(MIB);
    fill(value, 0);
    assert_int_equal(kv_value_resize(&value, 3 * MIB), 0);
    assert_int_equal(live_bytes(), 3 * MIB);
    assert_int_equal(spilled_bytes(), 3 * MIB);
    assert_filled(value, MIB);
    assert_zeros(value, MIB);
    assert_int_equal(kv_value_resize(&value, MIB), 0);
    assert_int_equal(spilled_bytes(), 0);
    assert_filled(value, MIB);
    kv_value_unref(value);
}

static void files_of_values_have_no_names_and_no_descriptors(void **state)
{
    struct kv_value *values[8];
    struct dirent *entry;
    int before, after;
    DIR *dir;

    (void)state;
    value_configure(spill_dir, NOTHING);
    before = dup(0);
    for (size_t i = 0; i < 8; i++)
        values[i] = new_value(MIB);
    after = dup(0);
    assert_int_equal(after, before + 1);
    close(before);
    close(after);
    dir = opendir(spill_dir);
    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL)
        assert_int_equal(entry->d_name[0], '.');
    closedir(dir);
    for (size_t i = 0; i < 8; i++)
        kv_value_unref(values[i]);
}

static void an_unusable_spill_directory_is_an_error_that_changes_nothing(void **state)
{
    struct kv_value *value = NULL;

    (void)state;
    value_configure("/nonexistent/kvfs", NOTHING);
    assert_int_equal(kv_value_new(MIB, &value), -EIO);
    assert_null(value);
    value = new_value(1000);
    fill(value, 0);
    assert_int_equal(kv_value_resize(&value, MIB), -EIO);
    assert_int_equal(value->size, 1000);
    assert_filled(value, 1000);
    kv_value_unref(value);
}

enum {
    SMALL = 60000,
    SMALLS = 2000
}; /* bytes of a value that is not spilled readily, and how many are too many */

static void small_values_in_great_number_are_in_files_too(void **state)
{
    static struct kv_value *values[SMALLS];
    uint64_t in_memory;

    (void)state;
    value_configure(spill_dir, MIB);
    for (size_t i = 0; i < SMALLS; i++) {
        values[i] = new_value(SMALL);
        fill(values[i], 0);
    }
    in_memory = live_bytes() - spilled_bytes();
    assert_true(in_memory >= 64 * MIB && in_memory <= 65 * MIB);
    for (size_t i = 0; i < SMALLS; i++) {
        size_t size = i % 3 * SMALL / 2 + 1;

        assert_filled(values[i], SMALL);
        assert_int_equal(kv_value_resize(&values[i], size), 0);
        assert_filled(values[i], size < SMALL ? size : SMALL);
    }
    assert_true(live_bytes() - spilled_bytes() <= 65 * MIB);
    for (size_t i = 0; i < SMALLS; i++)
        kv_value_unref(values[i]);
}

static void more_files_than_a_process_can_map_are_not_made(void **state)
{
    enum { MOST = 32768 };
    static struct kv_value *values[SMALLS + MOST + 64];
    struct kv_value *stored;
    size_t count = 0;
    int rc = 0;

    (void)state;
    value_configure(spill_dir, NOTHING);
    while (spilled_bytes() == 0 && count < SMALLS)
        values[count++] = new_value(SMALL);
    while (count < sizeof(values) / sizeof(values[0]) && (rc = kv_value_new(KIB, &values[count])) == 0)
        count++;
    assert_int_equal(rc, -ENOMEM);
    assert_in_range(count, MOST, SMALLS + MOST + 63);
    assert_int_equal(value_new_to_read(KIB, &stored), 0); /* reading goes on */
    kv_value_unref(stored);
    kv_value_unref(values[--count]);
    while (count > 0)
        kv_value_unref(values[--count]);
    kv_value_unref(new_value(SMALL));
}

/* Whoever reads what is stored gets memory where nothing can spill; not without end. */
static int read_on_a_full_disk(void)
{
    struct kv_value *values[8];
    size_t count = 0;
    int rc = 0;

    while (count < 8 && (rc = value_new_to_read(KV_VALUE_MAX, &values[count])) == 0) {
        memset(values[count]->data, 1, KV_VALUE_MAX);
        count++;
    }
    for (size_t i = 0; i < count; i++)
        kv_value_unref(values[i]);
    return count >= 4 && count < 8 && rc == -ENOSPC ? 0 : 9;
}

/* Runs in a child with a file system of 1 MiB at spill_dir. Never touches cmocka's state. */
static int on_a_full_disk(void)
{
    struct kv_value *value, *refused = NULL;

    value_configure(spill_dir, NOTHING);
    if (kv_value_new(2 * MIB, &refused) != -ENOSPC || refused != NULL)
        return 1;
    if (kv_value_new(600 * KIB, &value) != 0)
        return 2;
    fill(value, 0); /* every page has its block */
    if (kv_value_resize(&value, MIB) != -ENOSPC || value->size != 600 * KIB)
        return 3;
    for (size_t at = 0; at < value->size; at++) {
        if (value->data[at] != byte_at(at))
            return 4;
    }
    if (kv_value_resize(&value, 450 * KIB) != 0 || value->size != 450 * KIB)
        return 5; /* a value can always be cut */
    if (kv_value_resize(&value, 460 * KIB) != 0)
        return 6;
    for (size_t at = 0; at < value->size; at++) {
        if (value->data[at] != (at < 450 * KIB ? byte_at(at) : 0))
            return 7;
    }
    kv_value_unref(value);
    if (kv_value_new(600 * KIB, &value) != 0)
        return 8; /* the room is there again */
    kv_value_unref(value);
    return read_on_a_full_disk();
}

enum { SKIPPED = 77 };

static void a_full_disk_is_an_error_and_no_signal(void **state)
{
    pid_t child = fork();
    int status;

    (void)state;
    assert_true(child >= 0);
    if (child == 0) {
        if ((unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) ||
            mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("none", spill_dir, "tmpfs", 0, "size=1m,mode=1777") < 0)
            _exit(SKIPPED);
        _exit(on_a_full_disk());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == SKIPPED) {
        print_message("skipped: may not mount a small tmpfs in a namespace of its own\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void *hold_and_give_back(void *arg)
{
    for (int i = 0; i < 20000; i++) {
        struct kv_value *value = kv_value_ref(arg);

        if (value->data[0] != byte_at(0))
            abort();
        kv_value_unref(value);
    }
    kv_value_unref(arg);
    return NULL;
}

static void references_are_counted_from_many_threads(void **state)
{
    struct kv_value *value = new_value(100);
    pthread_t threads[4];

    (void)state;
    fill(value, 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hold_and_give_back, kv_value_ref(value)), 0);
    kv_value_unref(value);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(live_bytes(), 0);
}

/* Random resizes and writes of a few values, each checked against a plain array. */
static void random_changes_agree_with_plain_arrays(void **state)
{
    enum { VALUES = 6, STEPS = 4000 };
    const size_t most = 400 * KIB;
    unsigned seed = 20240611;
    struct kv_value *values[VALUES];
    uint8_t *models[VALUES];

    (void)state;
    value_configure(spill_dir, 600 * KIB); /* so that values move between all kinds of memory */
    for (size_t i = 0; i < VALUES; i++) {
        values[i] = new_value(0);
        models[i] = calloc(1, most);
        assert_non_null(models[i]);
    }
    for (int step = 0; step < STEPS; step++) {
        size_t i = (size_t)rand_r(&seed) % VALUES;
        size_t size = (size_t)rand_r(&seed) % (rand_r(&seed) % 2 ? most : 2000);
        struct kv_value *other = rand_r(&seed) % 8 == 0 ? kv_value_ref(values[i]) : NULL;

        assert_int_equal(kv_value_resize(&values[i], size), 0);
        memset(models[i] + size, 0, most - size);
        assert_int_equal(values[i]->size, size);
        assert_memory_equal(values[i]->data, models[i], size);
        if (size > 0) {
            size_t from = (size_t)rand_r(&seed) % size, length = (size_t)rand_r(&seed) % (size - from) + 1;
            int byte = rand_r(&seed) % 256;

            memset(values[i]->data + from, byte, length);
            memset(models[i] + from, byte, length);
        }
        kv_value_unref(other);
    }
    for (size_t i = 0; i < VALUES; i++) {
        kv_value_unref(values[i]);
        free(models[i]);
    }
}

#define VALUE_TEST(name) cmocka_unit_test_setup_teardown(name, use_plenty, nothing_is_left)

int main(void)
{
    const struct CMUnitTest tests[] = {
        VALUE_TEST(a_new_value_is_zeros),
        VALUE_TEST(a_copy_has_the_bytes),
        VALUE_TEST(a_value_over_the_limit_is_refused),
        VALUE_TEST(growing_keeps_the_bytes_and_adds_zeros),
        VALUE_TEST(bytes_cut_off_do_not_come_back),
        VALUE_TEST(resizing_a_shared_value_leaves_the_other_reference_alone),
        VALUE_TEST(a_value_held_once_is_resized_in_place),
        VALUE_TEST(small_appends_seldom_move_the_value),
        VALUE_TEST(at_most_a_quarter_of_a_value_is_unused),
        VALUE_TEST(values_over_the_budget_are_in_files),
        VALUE_TEST(a_value_that_outgrows_the_budget_moves_to_a_file),
        VALUE_TEST(small_values_in_great_number_are_in_files_too),
        VALUE_TEST(more_files_than_a_process_can_map_are_not_made),
        VALUE_TEST(files_of_values_have_no_names_and_no_descriptors),
        VALUE_TEST(an_unusable_spill_directory_is_an_error_that_changes_nothing),
        VALUE_TEST(a_full_disk_is_an_error_and_no_signal),
        VALUE_TEST(references_are_counted_from_many_threads),
        VALUE_TEST(random_changes_agree_with_plain_arrays),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
