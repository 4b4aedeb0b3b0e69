/* A disk that fails once: each write and each flush that a put makes, with the checkpoint before it and the one at the
 * close, and each of those of a recovery. Whatever it is, the put that met it is told; what is there is what was before
 * or what was put, as a whole; and what was acknowledged later is durable. After a failed flush nothing is acknowledged
 * until the store was closed by all and opened again.
 *
 * Environment: KVFS_TEST_FAULTS (6: of each kind of call so many are let fail, one in each trial). */
#include "tests/store/record_io.h"
#include "tests/support/setting.h"
#include "tests/support/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAP = 64 << 20, FAULTS = 6, SIZES = 3 };
static const size_t sizes[SIZES] = {100, 100000, 600000}; /* the last one is too large for the log */

static char clean[PATH_MAX], unclean[PATH_MAX], home[PATH_MAX], image[PATH_MAX];
static struct kv_store *kv;
static struct kv_ref ref;

/* ------------------------------------------------------------------------------- stores */

static void make_directory(char *dir)
{
    const char *parent = getenv("TMPDIR");
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/kvfs-io-XXXXXX", parent != NULL ? parent : "/tmp");
    assert_non_null(mkdtemp(path));
    assert_non_null(realpath(path, dir));
}

static void empty(const char *dir)
{
    static const char *const names[] = {"data.mdb", "lock.mdb", "writer", "log"};
    char path[PATH_MAX + 16];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
    }
}

static void copy_store(const char *from_dir, const char *to_dir)
{
    empty(to_dir);
    for (int i = 0; i < RECORD_IO_FILES; i++) {
        char from[PATH_MAX + 16], to[PATH_MAX + 16];
        int in, out;

        snprintf(from, sizeof(from), "%s/%s", from_dir, record_io_names[i]);
        snprintf(to, sizeof(to), "%s/%s", to_dir, record_io_names[i]);
        in = open(from, O_RDONLY | O_CLOEXEC);
        out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (in < 0 || out < 0)
            abort();
        while (copy_file_range(in, NULL, out, NULL, 1 << 24, 0) > 0)
            ;
        close(in);
        close(out);
    }
}

static int try_open(const char *dir, struct kv_store **out)
{
    struct kv_options options = kv_options_default();
    struct kv_error error = {""};
    int rc;

    options.map_bytes = MAP;
    options.cache_bytes = 0;
    options.copied = true;
    options.create = dir == clean;
    rc = kv_open(dir, &options, out, &error);
    assert_true(rc == 0 || error.text[0] != '\0');
    return rc;
}

/* Those of the first size by themselves, larger ones in a transaction, and so that they expire some day. */
static int put(struct kv_store *store, size_t size, int byte)
{
    struct kv_change changes[] = {
        {.kind = KV_CHECK, .ref = kv_ref_key(ref.node, "absent", 6), .conditional = true},
        {.kind = KV_PUT, .ref = ref, .attr.mode = 0644}};
    int rc;

    if (kv_value_new(size, &changes[1].value) < 0)
        abort();
    memset(changes[1].value->data, byte, size);
    if (size > sizes[0]) {
        changes[1].expiry = KV_EXPIRY_SET;
        changes[1].expires_ns = INT64_MAX - byte;
    }
    rc = size > sizes[0] ? kv_apply_all(store, changes, 2) : kv_apply(store, &changes[1]);
    kv_value_unref(changes[1].value);
    return rc;
}

/* The first byte of the value, which is whole. */
static int value_of(struct kv_store *store, size_t size)
{
    struct kv_value *value;
    struct kv_meta meta;
    int byte;

    assert_int_equal(kv_get(store, &ref, &meta, &value, NULL), 0);
    assert_int_equal(value->size, size);
    byte = value->data[0];
    for (size_t i = 0; i < size; i++)
        assert_int_equal(value->data[i], byte);
    kv_value_unref(value);
    return byte;
}

static void expect_sound(struct kv_store *store)
{
    struct kv_check_options options = {0};
    struct kv_check_report report;

    assert_int_equal(kv_check(store, &options, &report), 0);
    assert_int_equal(report.findings, 0);
}

/* ------------------------------------------------------------------------ another process
 *
 * It was forked before this one had a store open. */
static int to_other[2], from_other[2];
static pid_t other;

struct order {
    size_t size; /* of a value to put; 0: none */
    bool stay;   /* keep the store open */
};

__attribute__((noreturn)) static void be_other(void)
{
    struct kv_store *store = NULL;
    struct order order;

    while (read(to_other[0], &order, sizeof(order)) == sizeof(order)) {
        int rc = store == NULL ? try_open(home, &store) : 0;

        if (rc == 0 && order.size > 0)
            rc = put(store, order.size, 'x');
        if (store != NULL && !order.stay) {
            kv_close(store);
            store = NULL;
        }
        if (write(from_other[1], &rc, sizeof(rc)) != sizeof(rc))
            break;
    }
    _exit(0);
}

static int let_other(size_t size, bool stay)
{
    struct order order = {size, stay};
    int rc;

    assert_int_equal(write(to_other[1], &order, sizeof(order)), sizeof(order));
    assert_int_equal(read(from_other[0], &rc, sizeof(rc)), sizeof(rc));
    return rc;
}

static int put_by_other(size_t size) { return let_other(size, false); }

/* Put without a close. */
static void be_killed(size_t size)
{
    pid_t child = fork();
    int status;

    assert_true(child >= 0);
    if (child == 0) {
        if (try_open(home, &kv) == 0 && put(kv, size, 'o') == 0 && put(kv, 50, 'o') == 0 &&
            put(kv, size, 'o') == 0)
            kill(getpid(), SIGKILL);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
}

static int group_setup(void **state)
{
    struct kv_node account, namespace;

    (void)state;
    make_directory(clean);
    make_directory(unclean);
    make_directory(home);
    make_directory(image);
    if (try_open(clean, &kv) < 0 || kv_node_make(kv, KV_ACCOUNT, KV_ROOT_ID, "acme", 0, &account) < 0 ||
        kv_node_make(kv, KV_NAMESPACE, account.id, "main", 0, &namespace) < 0)
        return -1;
    ref = kv_ref_key(namespace.id, "key", 3);
    kv_close(kv);
    if (pipe2(to_other, O_CLOEXEC) != 0 || pipe2(from_other, O_CLOEXEC) != 0)
        return -1;
    other = fork();
    if (other == 0) {
        close(to_other[1]);
        be_other();
    }
    return other > 0 ? 0 : -1;
}

static int group_teardown(void **state)
{
    const char *const dirs[] = {clean, unclean, home, image};

    (void)state;
    close(to_other[1]);
    waitpid(other, NULL, 0);
    for (int i = 0; i < 4; i++) {
        empty(dirs[i]);
        rmdir(dirs[i]);
    }
    return 0;
}

/* -------------------------------------------------------------------------------- faults */

struct kind {
    struct record_io_calls calls;
    int error;
    bool kept;
    unsigned times;
};

static const struct kind kinds[] = {
    {{RECORD_IO_WRITE, RECORD_IO_LOG, RECORD_IO_BODY, 0}, EIO, false, 1},
    {{RECORD_IO_WRITE, RECORD_IO_LOG, RECORD_IO_BODY, 0}, EIO, true, 1},
    {{RECORD_IO_WRITE, RECORD_IO_LOG, RECORD_IO_BODY, 0}, ENOSPC, false, 1},
    {{RECORD_IO_WRITE, RECORD_IO_LOG, RECORD_IO_BODY, 0}, 0, false, 1},
    {{RECORD_IO_WRITE, RECORD_IO_LOG, RECORD_IO_HEAD, 0}, EIO, false, 1},
    {{RECORD_IO_WRITE, RECORD_IO_LOG, RECORD_IO_HEAD, 0}, EIO, true, 1},
    {{RECORD_IO_WRITE, RECORD_IO_LOG, RECORD_IO_HEAD, 0}, 0, false, 1},
    {{RECORD_IO_WRITE, RECORD_IO_DATA, RECORD_IO_BODY, 0}, EIO, false, 1},
    {{RECORD_IO_WRITE, RECORD_IO_DATA, RECORD_IO_BODY, 0}, ENOSPC, false, 1},
    {{RECORD_IO_WRITE, RECORD_IO_DATA, RECORD_IO_BODY, 0}, 0, false, 1},
    {{RECORD_IO_WRITE, RECORD_IO_DATA, RECORD_IO_HEAD, 0}, EIO, false, 1},
    {{RECORD_IO_WRITE, RECORD_IO_DATA, RECORD_IO_HEAD, 0}, ENOSPC, false, 1},
    {{RECORD_IO_WRITE, RECORD_IO_DATA, RECORD_IO_HEAD, 0}, 0, false, 1},
    {{RECORD_IO_WRITE, RECORD_IO_DATA, RECORD_IO_HEAD, 0}, EIO, true, 1},
    {{RECORD_IO_WRITE, RECORD_IO_DATA, RECORD_IO_HEAD, 0}, EIO, true, 2}, /* LMDB cannot put the old one back */
    {{RECORD_IO_FLUSH, RECORD_IO_LOG, RECORD_IO_ANYWHERE, 0}, EIO, false, 1},
    {{RECORD_IO_FLUSH, RECORD_IO_DATA, RECORD_IO_ANYWHERE, 0}, EIO, false, 1},
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static void arm(const struct kind *kind, unsigned skip)
{
    struct record_io_fault fault = {kind->calls, kind->error, kind->kept, NULL, kind->times};

    fault.calls.skip = skip;
    record_io_fail(fault);
}

/* returns whether the fault was met */
static bool disarm(const struct kind *kind) { return record_io_fail((struct record_io_fault){0}) < kind->times; }

static void stop_recording(void)
{
    struct record_io_log log = record_io_stop();

    record_io_free(&log);
}

/* The value before or the new one, as the answer to its put says. */
static void expect_allowed(int byte, int rc)
{
    assert_true(rc == 0 ? byte == 'n' : byte == 'o' || (rc != -ENOSPC && byte == 'n'));
}

/* All processes die now: what has the store then? */
static void look_at_image(size_t size, int rc)
{
    struct kv_store *store;

    copy_store(home, image);
    assert_int_equal(try_open(image, &store), 0);
    expect_allowed(value_of(store, size), rc);
    expect_sound(store);
    assert_int_equal(put(store, size, 'p'), 0);
    assert_int_equal(value_of(store, size), 'p');
    kv_close(store);
}

/* A put meets a fault, or the close after it does. returns whether one was met */
static bool meet(const struct kind *kind, unsigned skip, size_t size)
{
    bool met, by_put;
    int rc;

    copy_store(clean, home);
    assert_int_equal(try_open(home, &kv), 0);
    assert_int_equal(put(kv, size, 'o'), 0);
    kv_close(kv);

    assert_int_equal(try_open(home, &kv), 0);
    assert_int_equal(let_other(0, true), 0);
    record_io_start(home);
    arm(kind, skip);
    rc = put(kv, size, 'n');
    by_put = record_io_fail((struct record_io_fault){0}) < kind->times;
    assert_true(rc == 0 || (by_put && (rc == -EIO || rc == -ENOSPC)));
    expect_allowed(value_of(kv, size), rc);
    expect_sound(kv);
    look_at_image(size, rc);
    if (by_put && kind->calls.kind == RECORD_IO_FLUSH) { /* this one or another: all the same */
        assert_int_equal(rc, -EIO);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(put(kv, size, 'x'), -EIO);
            assert_int_equal(put_by_other(size), -EIO); /* first who had the store open before */
        }
        assert_int_equal(kv_sync(kv), -EIO);
    }
    (void)let_other(0, false);
    met = by_put;
    if (!by_put) {
        arm(kind, skip);
        kv_close(kv);
        met = disarm(kind);
    } else {
        kv_close(kv);
    }
    stop_recording();

    assert_int_equal(try_open(home, &kv), 0);
    expect_allowed(value_of(kv, size), rc);
    expect_sound(kv);
    assert_int_equal(put(kv, size, 'q'), 0);
    kv_close(kv);
    assert_int_equal(put_by_other(size), 0);
    return met;
}

static void whatever_fails_once_is_told_and_the_value_is_the_old_or_the_new(void **state)
{
    unsigned most = (unsigned)test_setting("KVFS_TEST_FAULTS", FAULTS);
    size_t count = 0;

    (void)state;
    for (size_t i = 0; i < KINDS; i++)
        for (size_t j = 0; j < SIZES; j++)
            for (unsigned skip = 0; skip < most && meet(&kinds[i], skip, sizes[j]); skip++)
                count++;
    printf("%zu faults were met\n", count);
}

/* ------------------------------------------------------------------------------ recovery */

static bool meet_recovering(const struct kind *kind, unsigned skip, size_t size)
{
    bool met;
    int rc;

    copy_store(unclean, home);
    record_io_start(home);
    arm(kind, skip);
    rc = try_open(home, &kv);
    met = disarm(kind);
    assert_true(rc == 0 || (met && (rc == -EIO || rc == -ENOSPC)));
    if (rc == 0)
        kv_close(kv);
    assert_int_equal(try_open(home, &kv), 0);
    stop_recording();
    assert_int_equal(value_of(kv, size), 'o');
    expect_sound(kv);
    assert_int_equal(put(kv, size, 'n'), 0);
    kv_close(kv);
    return met;
}

static void a_recovery_that_fails_is_told_and_can_be_done_again(void **state)
{
    unsigned most = (unsigned)test_setting("KVFS_TEST_FAULTS", FAULTS);
    size_t count = 0;

    (void)state;
    for (size_t j = 0; j < SIZES; j++) {
        copy_store(clean, home);
        be_killed(sizes[j]);
        copy_store(home, unclean);
        for (size_t i = 0; i < KINDS; i++)
            for (unsigned skip = 0; skip < most && meet_recovering(&kinds[i], skip, sizes[j]); skip++)
                count++;
    }
    printf("%zu faults were met\n", count);
}

/* A flush that failed may have lost anything, though it can still be read: so the next open begins with a recovery. */
static void what_a_failed_recovery_wrote_is_not_believed(void **state)
{
    static const enum record_io_file files[] = {RECORD_IO_DATA, RECORD_IO_LOG};

    (void)state;
    copy_store(clean, home);
    be_killed(100);
    copy_store(home, unclean);
    for (int i = 0; i < 2; i++)
        for (unsigned skip = 0; skip < 2; skip++) {
            struct kind kind = {{RECORD_IO_FLUSH, files[i], RECORD_IO_ANYWHERE, 0}, EIO, false, 1};
            size_t flushes[RECORD_IO_FILES] = {0};
            struct record_io_log log;
            size_t from;

            copy_store(unclean, home);
            record_io_start(home);
            arm(&kind, skip);
            assert_int_equal(try_open(home, &kv), -EIO);
            assert_true(disarm(&kind));
            from = record_io_position();
            assert_int_equal(try_open(home, &kv), 0);
            log = record_io_stop();
            for (size_t j = from; j < log.count; j++)
                flushes[log.events[j].file] += log.events[j].kind == RECORD_IO_FLUSH;
            assert_true(flushes[RECORD_IO_DATA] >= 2 && flushes[RECORD_IO_LOG] >= 2);
            record_io_free(&log);
            kv_close(kv);
        }
}

/* ------------------------------------------------------------------------------- readers */

enum { READERS = 3 };

struct reading {
    const bool *stop;
    _Atomic unsigned reads;
    _Atomic int rc;
};

static void *read_on(void *arg)
{
    struct reading *reading = arg;
    struct kv_meta meta;

    while (!__atomic_load_n(reading->stop, __ATOMIC_ACQUIRE) && reading->rc == 0) {
        reading->rc = kv_stat(kv, &ref, &meta, NULL);
        reading->reads++;
    }
    return NULL;
}

static void wait_for_reads(struct reading *readings)
{
    for (int i = 0; i < READERS; i++)
        for (unsigned from = readings[i].reads; readings[i].reads < from + 3 && readings[i].rc == 0;)
            sched_yield();
}

/* LMDB's environment is opened anew under them. */
static void readers_are_answered_though_nothing_can_be_written(void **state)
{
    struct kind kind = {{RECORD_IO_WRITE, RECORD_IO_DATA, RECORD_IO_HEAD, 0}, EIO, false, 1};
    struct reading readings[READERS];
    pthread_t threads[READERS];

    (void)state;
    for (int round = 0; round < 20; round++) {
        bool stop = false;

        copy_store(clean, home);
        assert_int_equal(try_open(home, &kv), 0);
        assert_int_equal(put(kv, 10, 'o'), 0);
        record_io_start(home);
        for (int i = 0; i < READERS; i++) {
            readings[i].stop = &stop;
            readings[i].reads = 0;
            readings[i].rc = 0;
            assert_int_equal(pthread_create(&threads[i], NULL, read_on, &readings[i]), 0);
        }
        wait_for_reads(readings);
        arm(&kind, 0);
        assert_int_equal(put(kv, 10, 'n'), -EIO);
        assert_true(disarm(&kind));
        assert_int_equal(put(kv, 10, 'n'), -EIO);
        wait_for_reads(readings);
        __atomic_store_n(&stop, true, __ATOMIC_RELEASE);
        for (int i = 0; i < READERS; i++) {
            pthread_join(threads[i], NULL);
            assert_int_equal(readings[i].rc, 0);
        }
        assert_int_equal(value_of(kv, 10), 'o');
        kv_close(kv);
        stop_recording();
    }
}

/* Where the directory was changed last a moment ago, or long ago. */
static void another_store_in_its_place_is_not_written_to(void **state)
{
    static const char *const names[] = {"data.mdb", "log", "lock.mdb", "writer"};
    const struct timespec then[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};

    (void)state;
    for (int i = 0; i < 8; i++) {
        char path[PATH_MAX + 16], aside[PATH_MAX + 16];

        copy_store(clean, home);
        assert_int_equal(try_open(home, &kv), 0);
        if (i >= 4)
            assert_int_equal(utimensat(AT_FDCWD, home, then, 0), 0);
        assert_int_equal(put(kv, 10, 'o'), 0);
        snprintf(path, sizeof(path), "%s/%s", home, names[i % 4]);
        snprintf(aside, sizeof(aside), "%s/aside", home);
        assert_int_equal(rename(path, aside), 0);
        assert_int_equal(put(kv, 10, 'n'), -EIO);
        assert_int_equal(access(path, F_OK), -1); /* none is made */
        assert_int_equal(rename(aside, path), 0);
        assert_int_equal(put(kv, 10, 'n'), 0);
        kv_close(kv);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_fails_once_is_told_and_the_value_is_the_old_or_the_new),
        cmocka_unit_test(a_recovery_that_fails_is_told_and_can_be_done_again),
        cmocka_unit_test(what_a_failed_recovery_wrote_is_not_believed),
        cmocka_unit_test(readers_are_answered_though_nothing_can_be_written),
        cmocka_unit_test(another_store_in_its_place_is_not_written_to),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
