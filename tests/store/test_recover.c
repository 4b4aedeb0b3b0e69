/* Opening a store that was not closed, and what is refused.
 *
 * Environment: KVFS_TEST_RECOVER_KEYS (100,000: keys of the large store) */
#include "tests/store/recover_test.h"
#include "tests/support/setting.h"

#include <inttypes.h>

/* ---------------------------------------------------------------------- what is recovered */

static void what_a_killed_process_committed_is_there(void **state)
{
    struct engine *engine = create();

    (void)state;
    close_store(engine);
    die_after(put_some);
    engine = open_store(home, (struct lmdb_options){.create = false});
    expect_one(engine, "key_0", "value");
    expect_one(engine, "key_7", "other");
    expect_one(engine, "key_49", "value");
    put_one(engine, "key_7", "third");
    close_store(engine);
}

/* Whatever the disk has of the data. */
static void what_was_flushed_is_there(void **state)
{
    struct engine *engine = create();

    (void)state;
    put_one(engine, "before", "1");
    assert_int_equal(engine_rest(engine), 0);
    take("data.mdb");
    put_some(engine);
    take("log");
    close_store(engine);
    for (int lap = 0; lap < 2; lap++) { /* a recovered store is a store */
        engine = open_image();
        expect_one(engine, "before", "1");
        expect_one(engine, "key_7", "other");
        expect_one(engine, "key_49", "value");
        close_store(engine);
    }
}

static void a_torn_last_record_is_left_out(void **state)
{
    struct engine *engine = create();
    struct log_record record = {0};
    struct log_slot slot;
    uint64_t pos, seq;
    int fd;

    (void)state;
    put_one(engine, "a", "1");
    put_one(engine, "b", "2");
    take_both();
    close_store(engine);
    fd = open_log(image);
    assert_int_equal(log_slot_read(fd, &slot), 0);
    for (pos = slot.pos, seq = slot.seq; log_read(fd, &slot, pos, seq, &record) == 0; seq++)
        pos = record.next;
    assert_int_equal(seq, slot.seq + 2);
    assert_int_equal(pwrite(fd, "?", 1, 12288 + (off_t)(pos % slot.ring) - 8), 1);
    close(fd);
    free(record.payload);
    engine = open_image();
    expect_one(engine, "a", "1");
    expect_one(engine, "b", NULL);
    put_one(engine, "b", "3");
    expect_one(engine, "b", "3");
    close_store(engine);
}

/* The disk kept a record, but not the one before it. Whatever comes in the place of that, the old one never follows. */
static void a_record_that_was_left_over_never_follows_a_new_one(void **state)
{
    (void)state;
    for (int unclean = 0; unclean < 2; unclean++) {
        struct engine *engine = open_store(home, (struct lmdb_options){.create = true});
        struct log_slot slot;
        int fd;

        assert_int_equal(engine_rest(engine), 0);
        put_one(engine, "first", "0");
        assert_int_equal(engine_rest(engine), 0);
        if (!unclean)
            take("data.mdb");
        put_one(engine, "key", "old");
        put_one(engine, "stale", "old");
        take("log");
        if (unclean)
            take("data.mdb");
        close_store(engine);
        fd = open_log(image);
        assert_int_equal(log_slot_read(fd, &slot), 0);
        assert_int_equal(log_erase(fd, &slot, slot.pos), 0);
        close(fd);

        swap();
        engine = open_store(home, (struct lmdb_options){.copied = true});
        expect_one(engine, "key", NULL);
        expect_one(engine, "stale", NULL);
        put_one(engine, "key", "new");
        flush(engine);
        take_both();
        close_store(engine);
        swap();
        engine = open_store(home, (struct lmdb_options){.copied = true});
        expect_one(engine, "key", "new");
        expect_one(engine, "stale", NULL);
        close_store(engine);
        remove_store(home);
        assert_int_equal(mkdir(home, 0700), 0);
    }
}

/* Half of the ring makes a checkpoint due: so no record is written over that a recovery needs. */
static void a_recovery_finds_all_records_of_many_laps(void **state)
{
    struct engine *engine = create();
    char key[16];

    (void)state;
    for (int i = 0; i < 60; i++) {
        snprintf(key, sizeof(key), "%08d", i);
        assert_int_equal(commit_bytes(engine, key, 100000), 0);
        flush(engine);
        if (i % 6 != 0)
            continue;
        take_both();
        close_store(engine);
        engine = open_image();
        for (int j = 0; j <= i; j++) {
            snprintf(key, sizeof(key), "%08d", j);
            assert_true(has_bytes(engine, key, 100000));
        }
        close_store(engine);
        engine = open_store(home, (struct lmdb_options){.create = false});
    }
    close_store(engine);
}

static void a_ring_that_went_round_without_a_close_is_recovered(void **state)
{
    struct engine *engine = create();
    char key[16];

    (void)state;
    for (int i = 0; i < 16; i++) {
        snprintf(key, sizeof(key), "%08d", i);
        assert_int_equal(commit_bytes(engine, key, 100000), 0);
    }
    flush(engine);
    take_both();
    close_store(engine);
    engine = open_image();
    for (int i = 0; i < 16; i++) {
        snprintf(key, sizeof(key), "%08d", i);
        assert_true(has_bytes(engine, key, 100000));
    }
    close_store(engine);
}

/* What the log has no room for is durable by a flush, too, and so is what another process commits after it. */
static void put_small_after_large(struct engine *engine)
{
    put_one(engine, "small", "1");
    flush(engine);
}

static void what_is_too_large_for_the_log_is_durable_by_a_flush(void **state)
{
    struct engine *engine = create();

    (void)state;
    put_one(engine, "before", "1");
    assert_int_equal(commit_bytes(engine, "large", RING / 2), 0);
    put_one(engine, "after", "1");
    take_both();
    flush(engine);
    close_store(engine);
    engine = open_image(); /* before the flush: all up to it */
    expect_one(engine, "before", "1");
    assert_false(has_bytes(engine, "large", RING / 2));
    expect_one(engine, "after", NULL);
    close_store(engine);

    engine = open_store(home, (struct lmdb_options){.create = false});
    assert_int_equal(commit_bytes(engine, "larger", RING / 2 + 1), 0);
    die_after(put_small_after_large);
    take_both();
    close_store(engine);
    engine = open_image();
    assert_true(has_bytes(engine, "large", RING / 2));
    assert_true(has_bytes(engine, "larger", RING / 2 + 1));
    expect_one(engine, "small", "1");
    close_store(engine);
}

/* -------------------------------------------------------------------------- what is opened */

static void a_copy_of_a_store_in_use_is_refused(void **state)
{
    struct engine *engine = create();

    (void)state;
    put_some(engine);
    take_both();
    close_store(engine);
    expect_refused(image, (struct lmdb_options){.create = false}, -EIO, "in use while it was copied");
    expect_refused(image, (struct lmdb_options){.read_only = true}, -EIO, "in use while it was copied");
}

static void a_copy_of_a_store_at_rest_is_a_store(void **state)
{
    struct engine *engine = create();

    (void)state;
    put_some(engine);
    close_store(engine);
    take_both();
    swap();
    engine = open_store(home, (struct lmdb_options){.create = false});
    expect_one(engine, "key_7", "other");
    close_store(engine);
    die_after(put_some); /* with nothing but this in the copy */
    engine = open_store(home, (struct lmdb_options){.create = false});
    expect_one(engine, "key_49", "value");
    close_store(engine);
}

static void a_store_without_its_log_is_refused(void **state)
{
    struct engine *engine = create();

    (void)state;
    close_store(engine);
    take("data.mdb");
    expect_refused(image, (struct lmdb_options){.create = true}, -EIO, "log is missing");
}

static void the_log_of_another_store_is_refused(void **state)
{
    struct engine *engine = create();

    (void)state;
    put_one(engine, "key", "value");
    close_store(engine);
    take("data.mdb");
    remove_store(home);
    assert_int_equal(mkdir(home, 0700), 0);
    engine = create();
    put_some(engine);
    close_store(engine);
    take("log");
    expect_refused(image, (struct lmdb_options){.copied = true}, -EIO, "cannot be recovered");
}

static void a_damaged_log_is_refused(void **state)
{
    struct engine *engine = create();
    int fd;

    (void)state;
    close_store(engine);
    fd = open_log(home);
    for (off_t at = 64; at < 8192; at += 4096)
        assert_int_equal(pwrite(fd, "????????", 8, at), 8);
    close(fd);
    expect_refused(home, (struct lmdb_options){.create = false}, -EIO, "log is damaged");
}

static void who_only_reads_recovers_the_store_too(void **state)
{
    struct engine *engine = create();

    (void)state;
    close_store(engine);
    die_after(put_some);
    engine = open_store(home, (struct lmdb_options){.read_only = true});
    expect_one(engine, "key_7", "other");
    close_store(engine);
}

static void who_must_not_write_is_told_that_the_store_was_not_closed(void **state)
{
    struct engine *engine = create();
    pid_t child;
    int status;

    (void)state;
    close_store(engine);
    die_after(put_some);
    assert_int_equal(chmod(home, 0755), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        static const char *const names[] = {"data.mdb", "log"};
        struct kv_error error;
        char path[PATH_MAX + 16];
        int rc;

        for (int i = 0; i < 2; i++) {
            snprintf(path, sizeof(path), "%s/%s", home, names[i]);
            if (chmod(path, 0444) != 0)
                _exit(2);
        }
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
            _exit(3);
        rc = try_open(home, (struct lmdb_options){.read_only = true, .foreign = true}, &engine, &error);
        _exit(rc == -EROFS && strstr(error.text, "open it once for writing") != NULL ? 0 : 4);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* ------------------------------------------------------------------------------ how long */

enum { MANY = 100000, GROUP = 500, CHANGED = 40, CHUNK = 100000 };

static int64_t many; /* keys */

static void put_many(struct engine *engine)
{
    char key[32];

    for (int64_t i = 0; i < many; i += GROUP) {
        struct engine_txn *txn = begin(engine, true);

        for (int64_t j = i; j < i + GROUP; j++) {
            snprintf(key, sizeof(key), "key_%07" PRId64, j);
            if (put(txn, ENGINE_KEYS, key, "a value of some forty bytes, as records have") < 0)
                return;
        }
        if (txn->ops->commit(txn) < 0)
            return;
    }
}

/* Change keys from all over the store, and a chunk of a value. */
static void change_some(struct engine *engine, uint64_t turn)
{
    struct engine_txn *txn = begin(engine, true);
    static const uint8_t chunk[CHUNK];
    char key[32], value[32];

    snprintf(value, sizeof(value), "changed %" PRIu64, turn);
    if (txn->ops->put(txn, ENGINE_CHUNKS, text("chunk"), slice_of(chunk, sizeof(chunk))) < 0)
        return;
    for (int64_t i = 0; i < CHANGED; i++) {
        snprintf(key, sizeof(key), "key_%07" PRId64, i * (many / CHANGED));
        if (put(txn, ENGINE_KEYS, key, value) < 0)
            return;
    }
    (void)!txn->ops->commit(txn);
}

/* With as much in the log as can be there, which is one change less than comes between two checkpoints. */
static void fill_the_log(struct engine *engine)
{
    int fd = open_log(home);
    struct log_slot before, now;
    uint64_t turn = 0, from = 0;

    put_many(engine);
    if (engine_rest(engine) < 0)
        return;
    for (int checkpoints = 0; checkpoints < 2; checkpoints++) {
        from = turn;
        for (before = now = (struct log_slot){0}; before.number == now.number; turn++) {
            if (log_slot_read(fd, &before) < 0)
                return;
            change_some(engine, turn);
            if (log_slot_read(fd, &now) < 0)
                return;
        }
    }
    for (uint64_t end = turn + (turn - from) - 2; turn < end; turn++)
        change_some(engine, turn);
    put_one(engine, "last", "1");
}

/* Bytes of records after the newest checkpoint. */
static uint64_t size_of_log(void)
{
    struct log_record record = {0};
    int fd = open_log(home);
    struct log_slot slot;
    uint64_t pos, seq;

    assert_int_equal(log_slot_read(fd, &slot), 0);
    for (pos = slot.pos, seq = slot.seq; log_read(fd, &slot, pos, seq, &record) == 0; seq++)
        pos = record.next;
    free(record.payload);
    close(fd);
    return pos - slot.pos;
}

/* As if it had been off. */
static void forget_what_is_in_memory(const char *name)
{
    char path[PATH_MAX + 16];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", home, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fdatasync(fd), 0);
    assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    close(fd);
}

static void a_large_store_with_a_full_log_is_recovered(void **state)
{
    struct timespec from, to;
    struct engine *engine;
    uint64_t size;

    (void)state;
    many = (int64_t)test_setting("KVFS_TEST_RECOVER_KEYS", MANY) / GROUP * GROUP;
    map_bytes = (size_t)8 << 30;
    close_store(create());
    die_after(fill_the_log);
    size = size_of_log();
    assert_true(size > (uint64_t)4 << 20);
    forget_what_is_in_memory("data.mdb");
    forget_what_is_in_memory("log");
    clock_gettime(CLOCK_MONOTONIC, &from);
    engine = open_store(home, (struct lmdb_options){.create = false});
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%" PRId64 " keys, %" PRIu64 " KiB in the log: recovered within %ld ms\n", many, size >> 10,
           (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000);
    expect_one(engine, "last", "1");
    assert_committed(engine, ENGINE_KEYS, "key_0000001", "a value of some forty bytes, as records have");
    close_store(engine);
    map_bytes = MAP;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RECOVER_TEST(what_a_killed_process_committed_is_there),
        RECOVER_TEST(what_was_flushed_is_there),
        RECOVER_TEST(a_torn_last_record_is_left_out),
        RECOVER_TEST(a_record_that_was_left_over_never_follows_a_new_one),
        RECOVER_TEST(a_recovery_finds_all_records_of_many_laps),
        RECOVER_TEST(a_ring_that_went_round_without_a_close_is_recovered),
        RECOVER_TEST(what_is_too_large_for_the_log_is_durable_by_a_flush),
        RECOVER_TEST(a_copy_of_a_store_in_use_is_refused),
        RECOVER_TEST(a_copy_of_a_store_at_rest_is_a_store),
        RECOVER_TEST(a_store_without_its_log_is_refused),
        RECOVER_TEST(the_log_of_another_store_is_refused),
        RECOVER_TEST(a_damaged_log_is_refused),
        RECOVER_TEST(who_only_reads_recovers_the_store_too),
        RECOVER_TEST(who_must_not_write_is_told_that_the_store_was_not_closed),
        RECOVER_TEST(a_large_store_with_a_full_log_is_recovered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
