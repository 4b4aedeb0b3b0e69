/* What processes leave to each other, and to a recovery: those that die while they write, and commits that fail. */
#include "tests/store/recover_test.h"

static void die_with_the_record_written(struct engine *engine)
{
    record_io_die((struct record_io_calls){RECORD_IO_WRITE, RECORD_IO_LOG, RECORD_IO_BODY, 0});
    put_one(engine, "key", "dead");
}

static void stop_recording(void)
{
    struct record_io_log log = record_io_stop();

    record_io_free(&log);
}

/* Its record is nobody's: not after the next one's checkpoint, nor in the place of the next record. */
static void the_record_of_a_dead_writer_is_not_done(void **state)
{
    struct engine *engine = create();
    struct log_record record = {0};
    struct log_slot slot, now;
    uint8_t dead[4096];
    size_t size;
    int fd;

    (void)state;
    put_one(engine, "first", "0");
    assert_int_equal(engine_rest(engine), 0);
    fd = open_log(home);
    record_io_start(home);
    die_after(die_with_the_record_written);
    stop_recording();
    assert_int_equal(log_slot_read(fd, &slot), 0);
    assert_int_equal(log_read(fd, &slot, slot.pos, slot.seq, &record), 0);
    size = log_record_size(record.size);
    free(record.payload);
    assert_int_equal(pread(fd, dead, size, 12288 + (off_t)(slot.pos % slot.ring)), (ssize_t)size);

    put_one(engine, "key", "mine");
    put_one(engine, "more", "mine");
    take_both();
    close(fd);
    close_store(engine);
    fd = open_log(image);
    assert_int_equal(log_slot_read(fd, &now), 0);
    assert_int_equal(pwrite(fd, dead, size, 12288 + (off_t)(now.pos % now.ring)), (ssize_t)size);
    close(fd);
    engine = open_image(); /* the disk has that of the dead, and not the one that is written over it */
    expect_one(engine, "first", "0");
    expect_one(engine, "key", NULL);
    expect_one(engine, "more", NULL);
    close_store(engine);
}

static void die_with_the_header_written(struct engine *engine)
{
    record_io_die((struct record_io_calls){RECORD_IO_WRITE, RECORD_IO_DATA, RECORD_IO_HEAD, 0});
    put_one(engine, "key", "dead");
}

/* Then it did commit; and what comes after it builds on that. */
static void the_heir_of_a_writer_that_died_committing_goes_on_from_its_commit(void **state)
{
    struct engine *engine = create();

    (void)state;
    put_one(engine, "first", "0");
    record_io_start(home);
    die_after(die_with_the_header_written);
    stop_recording();
    put_one(engine, "more", "mine");
    flush(engine);
    expect_one(engine, "key", "dead");
    take_both();
    close_store(engine);
    engine = open_image();
    expect_one(engine, "first", "0");
    expect_one(engine, "key", "dead");
    expect_one(engine, "more", "mine");
    close_store(engine);
}

/* One that has the store open, and has committed nothing since the newest checkpoint, makes one before it does. */
static void who_begins_to_write_after_another_spoils_nothing(void **state)
{
    struct engine *engine = create();
    int ready[2], go[2], status;
    pid_t child;
    char byte = 0;

    (void)state;
    put_one(engine, "first", "0");
    assert_int_equal(engine_rest(engine), 0);
    assert_int_equal(pipe2(ready, O_CLOEXEC) + pipe2(go, O_CLOEXEC), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct engine *mine;
        struct kv_error error;

        if (try_open(home, (struct lmdb_options){.create = false}, &mine, &error) < 0 ||
            write(ready[1], &byte, 1) != 1 || read(go[0], &byte, 1) != 1)
            _exit(1);
        for (int i = 0; i < 4; i++)
            put_some(mine);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    put_some(engine);
    assert_int_equal(engine_rest(engine), 0);
    assert_int_equal(write(go[1], &byte, 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    take_both();
    close_store(engine);
    for (int i = 0; i < 2; i++)
        assert_int_equal(close(ready[i]) + close(go[i]), 0);
    engine = open_image();
    expect_one(engine, "first", "0");
    expect_one(engine, "key_7", "other");
    expect_one(engine, "key_49", "value");
    close_store(engine);
}

static void put_large(struct engine *engine)
{
    if (commit_bytes(engine, "large", 200000) == 0 && commit_bytes(engine, "large", 200001) == 0)
        flush(engine);
}

/* Nobody's pin keeps the pages that the newest checkpoint needs. */
static void who_has_no_pin_writes_no_page_before_its_checkpoint(void **state)
{
    struct engine *engine = create();
    struct record_io_log log;
    bool checkpoint = false;
    size_t from;

    (void)state;
    assert_int_equal(engine_rest(engine), 0);
    die_after(put_large);
    record_io_start(home);
    from = record_io_position();
    put_one(engine, "small", "1");
    log = record_io_stop();
    for (size_t i = from; i < log.count; i++) {
        const struct record_io_event *event = &log.events[i];

        checkpoint |= event->kind == RECORD_IO_WRITE && event->file == RECORD_IO_LOG && event->at < 8192;
        assert_true(checkpoint || event->kind != RECORD_IO_WRITE || event->file != RECORD_IO_DATA);
    }
    assert_true(checkpoint);
    record_io_free(&log);
    close_store(engine);
}

/* It was told that nothing of it is kept, and so it is, whatever becomes of the process. */
static void a_commit_that_failed_is_not_done_by_a_recovery(void **state)
{
    struct record_io_fault fault = {
        .calls = {RECORD_IO_WRITE, RECORD_IO_DATA, RECORD_IO_BODY, 0}, .error = ENOSPC, .times = 1};
    struct engine *engine = create();
    struct engine_txn *txn;

    (void)state;
    put_one(engine, "key", "before");
    record_io_start(home);
    txn = begin(engine, true);
    assert_int_equal(put(txn, ENGINE_META, "key", "failed"), 0);
    record_io_fail(fault);
    assert_int_equal(txn->ops->commit(txn), -ENOSPC);
    assert_int_equal(record_io_fail((struct record_io_fault){.times = 0}), 0);
    stop_recording();
    take_both();
    expect_one(engine, "key", "before");
    close_store(engine);
    engine = open_image();
    expect_one(engine, "key", "before");
    close_store(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RECOVER_TEST(the_record_of_a_dead_writer_is_not_done),
        RECOVER_TEST(the_heir_of_a_writer_that_died_committing_goes_on_from_its_commit),
        RECOVER_TEST(who_begins_to_write_after_another_spoils_nothing),
        RECOVER_TEST(who_has_no_pin_writes_no_page_before_its_checkpoint),
        RECOVER_TEST(a_commit_that_failed_is_not_done_by_a_recovery),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
