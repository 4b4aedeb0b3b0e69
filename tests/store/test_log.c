/* The file of the log: slots, records, payloads. */
#include "store/lmdb/log.h"
#include "tests/store/engine_test.h"
#include "tests/support/store.h"

#include <fcntl.h>

#define RING ((uint64_t)1 << 20)
#define HEADER_BYTES 40u
#define RING_AT 12288

struct test {
    char dir[256];
    int dir_fd, fd;
    struct log_slot slot;
    struct log_record record;
};

static int setup(void **state)
{
    struct test *test = calloc(1, sizeof(*test));

    assert_non_null(test);
    make_directory(test->dir, sizeof(test->dir));
    test->slot = (struct log_slot){.number = 1, .salt = 77, .ring = RING, .seq = 1};
    test->dir_fd = open(test->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(test->dir_fd >= 0);
    assert_int_equal(log_create(test->dir_fd, LOG_FILE, &test->slot, &test->fd), 0);
    *state = test;
    return 0;
}

static int teardown(void **state)
{
    struct test *test = *state;

    close(test->fd);
    close(test->dir_fd);
    remove_store(test->dir);
    free(test->record.payload);
    free(test);
    return 0;
}

/* Change a byte of the file. */
static void spoil(const struct test *test, off_t at)
{
    uint8_t byte;

    assert_int_equal(pread(test->fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(test->fd, &byte, 1, at), 1);
}

static void append(const struct test *test, uint64_t pos, uint64_t seq, size_t size)
{
    uint8_t *payload = malloc(size + 1);

    assert_non_null(payload);
    test_random_fill(&(struct test_random){seq}, payload, size);
    assert_int_equal(log_append(test->fd, &test->slot, pos, seq, 7, 0, slice_of(payload, size)), 0);
    free(payload);
}

static void expect_record(struct test *test, uint64_t pos, uint64_t seq, size_t size)
{
    uint8_t *payload = malloc(size + 1);

    assert_non_null(payload);
    test_random_fill(&(struct test_random){seq}, payload, size);
    assert_int_equal(log_read(test->fd, &test->slot, pos, seq, &test->record), 0);
    assert_int_equal(test->record.size, size);
    assert_memory_equal(test->record.payload, payload, size);
    assert_int_equal(test->record.next, pos + log_record_size(size));
    assert_int_equal(test->record.checkpoint, test->slot.number);
    free(payload);
}

static void expect_none(struct test *test, uint64_t pos, uint64_t seq)
{
    assert_int_equal(log_read(test->fd, &test->slot, pos, seq, &test->record), -ENOENT);
}

/* ----------------------------------------------------------------------------- slots */

static void a_torn_slot_leaves_the_one_before_it(void **state)
{
    struct test *test = *state;
    struct log_slot slot = test->slot, is;

    for (uint64_t number = 2; number < 5; number++) {
        slot.number = number;
        slot.txn = 10 * number;
        assert_int_equal(log_slot_write(test->fd, &slot), 0);
        assert_int_equal(log_slot_read(test->fd, &is), 0);
        assert_memory_equal(&is, &slot, sizeof(slot));
    }
    for (size_t at = 0; at < sizeof(slot) + 16; at += 7) {
        spoil(test, (off_t)at); /* number 4 */
        assert_int_equal(log_slot_read(test->fd, &is), 0);
        assert_int_equal(is.number, 3);
        assert_int_equal(is.txn, 30);
        spoil(test, (off_t)at);
    }
    spoil(test, 100);
    spoil(test, 4096 + 100);
    assert_int_equal(log_slot_read(test->fd, &is), -EIO);
}

static void a_failed_disk_is_remembered_until_it_is_forgotten(void **state)
{
    struct test *test = *state;

    assert_false(log_has_failed(test->fd));
    log_fail(test->fd);
    assert_true(log_has_failed(test->fd));
    assert_int_equal(log_unfail(test->fd), 0);
    assert_false(log_has_failed(test->fd));
}

static void a_log_is_not_made_where_one_is(void **state)
{
    struct test *test = *state;
    int fd;

    assert_int_equal(log_create(test->dir_fd, LOG_FILE, &test->slot, &fd), -EEXIST);
}

/* --------------------------------------------------------------------------- records */

static void records_are_read_as_they_were_written(void **state)
{
    static const size_t sizes[] = {0, 1, 7, 8, 9, 4096, 100000, RING / 4};
    struct test *test = *state;
    uint64_t pos = 0;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        expect_none(test, pos, i + 1);
        append(test, pos, i + 1, sizes[i]);
        expect_record(test, pos, i + 1, sizes[i]);
        expect_none(test, pos, i + 2);
        pos = test->record.next;
    }
}

static void a_torn_record_is_none(void **state)
{
    struct test *test = *state;

    append(test, 0, 1, 3000);
    for (off_t at = 0; at < (off_t)HEADER_BYTES + 3000; at += 11) {
        spoil(test, RING_AT + at);
        expect_none(test, 0, 1);
        spoil(test, RING_AT + at);
    }
    expect_record(test, 0, 1, 3000);
}

/* A header without its payload, and the other way round, as a disk may leave them. */
static void a_part_of_a_record_over_an_older_one_is_none(void **state)
{
    struct test *test = *state;
    uint8_t old[2048], new[2048];

    for (size_t cut = 16; cut < sizeof(old); cut += 8) { /* they begin alike */
        append(test, 0, 1, 2000);
        assert_int_equal(pread(test->fd, old, sizeof(old), RING_AT), sizeof(old));
        append(test, 0, 2, 2000);
        assert_int_equal(pread(test->fd, new, sizeof(new), RING_AT), sizeof(new));
        assert_int_equal(pwrite(test->fd, old, cut, RING_AT), (ssize_t)cut);
        if (cut < 2000 + HEADER_BYTES) {
            expect_none(test, 0, 1);
            expect_none(test, 0, 2);
        }
        assert_int_equal(pwrite(test->fd, new, cut, RING_AT), (ssize_t)cut);
        expect_record(test, 0, 2, 2000);
    }
}

static void a_record_of_an_earlier_lap_or_with_another_salt_is_none(void **state)
{
    struct test *test = *state;

    append(test, 800, 5, 100);
    expect_none(test, 800 + RING, 6); /* the same bytes */
    test->slot.salt++;
    expect_none(test, 800, 5);
    test->slot.salt--;
    expect_record(test, 800, 5, 100);
}

static void a_record_tells_the_checkpoint_that_it_follows(void **state)
{
    struct test *test = *state;

    append(test, 0, 1, 100);
    test->slot.number = 2;
    assert_int_equal(log_read(test->fd, &test->slot, 0, 1, &test->record), 0);
    assert_int_equal(test->record.checkpoint, 1);
}

/* Many laps, with every place of the end of the ring in a record. */
static void records_wrap_around_the_end_of_the_ring(void **state)
{
    struct test *test = *state;
    uint64_t pos = 0, seq = 1;

    while (pos < 4 * RING) {
        append(test, pos, seq, 50000);
        expect_record(test, pos, seq, 50000);
        pos = test->record.next;
        seq++;
    }
    for (uint64_t before = 0; before <= HEADER_BYTES + 16; before += 8) {
        pos = 5 * RING - before;
        append(test, pos, seq, 8);
        append(test, pos + log_record_size(8), seq + 1, 100);
        expect_record(test, pos, seq, 8);
        expect_record(test, pos + log_record_size(8), seq + 1, 100);
        assert_int_equal(log_erase(test->fd, &test->slot, pos), 0);
        expect_none(test, pos, seq);
        expect_record(test, pos + log_record_size(8), seq + 1, 100);
    }
}

static void the_first_lap_spoils_no_record_before_it(void **state)
{
    struct test *test = *state;
    uint64_t pos[8];

    pos[0] = 0;
    for (uint64_t i = 0; i < 7; i++) {
        append(test, pos[i], i + 1, 140000);
        pos[i + 1] = pos[i] + log_record_size(140000);
    }
    for (uint64_t i = 0; i < 7; i++)
        expect_record(test, pos[i], i + 1, 140000);
}

static void what_was_erased_is_none(void **state)
{
    struct test *test = *state;

    append(test, 0, 1, 100);
    append(test, log_record_size(100), 2, 100);
    assert_int_equal(log_erase(test->fd, &test->slot, 0), 0);
    expect_none(test, 0, 1);
    expect_record(test, log_record_size(100), 2, 100);
}

static void a_log_that_was_cut_off_is_told(void **state)
{
    struct test *test = *state;

    assert_int_equal(ftruncate(test->fd, RING_AT + 100), 0);
    assert_int_equal(log_read(test->fd, &test->slot, 200, 1, &test->record), -EIO);
}

/* -------------------------------------------------------------------------- payloads */

static struct log_change change(enum engine_table table, const char *key, const char *value)
{
    return (struct log_change){table, value == NULL, false, text(key), text(value == NULL ? "" : value)};
}

/* The next change of a payload is this. */
static void expect_change(const struct log_changes *changes, size_t *at, const struct log_change *should)
{
    struct log_change is;

    assert_int_equal(log_changes_next(slice_of(changes->bytes, changes->size), at, &is), 1);
    assert_int_equal(is.table, should->table);
    assert_int_equal(is.removed, should->removed);
    assert_int_equal(is.partial, should->partial);
    assert_slice(is.key, should->key);
    assert_slice(is.value, should->value);
}

static void expect_end(const struct log_changes *changes, size_t at)
{
    struct log_change is;

    assert_int_equal(log_changes_next(slice_of(changes->bytes, changes->size), &at, &is), 0);
}

static void changes_are_read_in_their_order(void **state)
{
    struct log_change some[] = {change(ENGINE_KEYS, "b", "1"), change(ENGINE_KEYS, "a", NULL),
                                change(ENGINE_META, "b", ""), change(ENGINE_CHUNKS, "c", "chunk")};
    struct log_changes changes = {0};
    size_t at = 0;

    (void)state;
    for (int lap = 0; lap < 2; lap++) {
        log_changes_clear(&changes, 1000);
        for (size_t i = 0; i < 4; i++)
            log_changes_add(&changes, &some[i]);
        assert_false(changes.incomplete);
        at = 0;
        for (size_t i = 0; i < 4; i++)
            expect_change(&changes, &at, &some[i]);
        expect_end(&changes, at);
    }
    free(changes.bytes);
}

/* What does not fit leaves its keys: chunks and long values go, also of what was there before. */
static void what_is_too_large_tells_what_changed(void **state)
{
    static char large[2000];
    struct log_change before = change(ENGINE_KEYS, "before", "1"), after = change(ENGINE_KEYS, "after", NULL);
    struct log_change chunk = change(ENGINE_CHUNKS, "chunk", "bytes"), long_value;
    struct log_changes changes = {0};
    size_t at = 0;

    (void)state;
    log_changes_clear(&changes, 1500);
    log_changes_add(&changes, &before);
    log_changes_add(&changes, &chunk);
    long_value = (struct log_change){ENGINE_KEYS, false, false, text("long"), slice_of(large, sizeof(large))};
    log_changes_add(&changes, &long_value);
    log_changes_add(&changes, &chunk);
    log_changes_add(&changes, &after);
    assert_true(changes.incomplete);
    assert_false(changes.trimmed);
    long_value.partial = true;
    long_value.value.size = 0;
    expect_change(&changes, &at, &before);
    expect_change(&changes, &at, &long_value);
    expect_change(&changes, &at, &after);
    expect_end(&changes, at);
    free(changes.bytes);
}

static void what_has_too_many_keys_tells_nothing(void **state)
{
    struct log_changes changes = {0};
    char key[16];

    (void)state;
    log_changes_clear(&changes, 1500);
    for (int i = 0; i < 300; i++) {
        snprintf(key, sizeof(key), "key_%d", i);
        log_changes_add(&changes, &(struct log_change){ENGINE_KEYS, true, false, text(key), text("")});
    }
    assert_true(changes.incomplete && changes.trimmed);
    assert_int_equal(changes.size, 0);
    log_changes_clear(&changes, 1500);
    assert_false(changes.incomplete || changes.trimmed);
    free(changes.bytes);
}

static void a_payload_that_is_none_is_told(void **state)
{
    struct log_change some = change(ENGINE_KEYS, "key", "value"), is;
    struct log_changes changes = {0};

    (void)state;
    log_changes_clear(&changes, 1000);
    log_changes_add(&changes, &some);
    for (size_t size = 1; size < changes.size; size++) {
        size_t at = 0;

        assert_int_equal(log_changes_next(slice_of(changes.bytes, size), &at, &is), -EIO);
    }
    changes.bytes[0] = ENGINE_TABLES;
    assert_int_equal(log_changes_next(slice_of(changes.bytes, changes.size), &(size_t){0}, &is), -EIO);
    free(changes.bytes);
}

#define LOG_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOG_TEST(a_torn_slot_leaves_the_one_before_it),
        LOG_TEST(a_failed_disk_is_remembered_until_it_is_forgotten),
        LOG_TEST(a_log_is_not_made_where_one_is),
        LOG_TEST(records_are_read_as_they_were_written),
        LOG_TEST(a_torn_record_is_none),
        LOG_TEST(a_part_of_a_record_over_an_older_one_is_none),
        LOG_TEST(a_record_of_an_earlier_lap_or_with_another_salt_is_none),
        LOG_TEST(a_record_tells_the_checkpoint_that_it_follows),
        LOG_TEST(records_wrap_around_the_end_of_the_ring),
        LOG_TEST(the_first_lap_spoils_no_record_before_it),
        LOG_TEST(what_was_erased_is_none),
        LOG_TEST(a_log_that_was_cut_off_is_told),
        cmocka_unit_test(changes_are_read_in_their_order),
        cmocka_unit_test(what_is_too_large_tells_what_changed),
        cmocka_unit_test(what_has_too_many_keys_tells_nothing),
        cmocka_unit_test(a_payload_that_is_none_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
