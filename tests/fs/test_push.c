/* Two mounts of one store, each of which keeps what it knows for a minute: what is changed on one is seen on the other
 * long before. Each test lets A know how it was, changes it elsewhere, and looks on A until it is seen. */
#include "tests/support/mount.h"
#include "tests/support/setting.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <sys/xattr.h>
#include <unistd.h>

#define LONG "cache_ttl=60"
#define SMALL "cache_ttl=60,map_size=64M" /* the log is a ring of 1 MiB */
enum { PATIENCE_MS = 15000, TTL_MS = 3000 };

#define NODE(i) (&((struct mount_test *)*state)->nodes[i])
#define A(...) mount_path(NODE(0), __VA_ARGS__)
#define B(...) mount_path(NODE(1), __VA_ARGS__)

/* Look until it is so, which is sooner than the minute. */
#define AWAIT(condition)                                        \
    do {                                                        \
        int64_t end_ms = mount_now_ms() + PATIENCE_MS;          \
                                                                \
        while (!(condition)) {                                  \
            if (mount_now_ms() > end_ms)                        \
                fail_msg("it is not seen that %s", #condition); \
            mount_pause_ms(1);                                  \
        }                                                       \
    } while (0)

static bool size_is(const char *path, off_t size)
{
    struct stat attr;

    return stat(path, &attr) == 0 && attr.st_size == size;
}

static bool mode_is(const char *path, mode_t mode)
{
    struct stat attr;

    return stat(path, &attr) == 0 && (attr.st_mode & 07777) == mode;
}

/* By open and read. */
static bool text_is(const char *path, const char *text)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char got[64];
    ssize_t size = fd < 0 ? -1 : read(fd, got, sizeof(got));

    if (fd >= 0)
        close(fd);
    return size == (ssize_t)strlen(text) && memcmp(got, text, (size_t)size) == 0;
}

static bool link_is(const char *path, const char *target)
{
    char got[256];
    ssize_t size = readlink(path, got, sizeof(got));

    return size == (ssize_t)strlen(target) && memcmp(got, target, (size_t)size) == 0;
}

static long number(const char *path, const char *name)
{
    char text[32] = "";

    (void)MOUNT_OK(getxattr(path, name, text, sizeof(text) - 1));
    return strtol(text, NULL, 10);
}

/* Kernels before 6.16 cannot be told that names lead elsewhere. */
static void need_names(void)
{
    struct utsname system;
    unsigned major = 0, minor = 0;

    assert_int_equal(uname(&system), 0);
    if (sscanf(system.release, "%u.%u", &major, &minor) == 2 && (major < 6 || (major == 6 && minor < 16)))
        skip();
}

/* --------------------------------------------------------------------------------- values */

static void another_value_is_seen(void **state)
{
    mount_start(*state, LONG);
    mount_write_text(B("a/n/key"), "1");
    mount_expect_text(A("a/n/key"), "1");
    mount_write_text(B("a/n/key"), "second");
    assert_true(text_is(A("a/n/key"), "second")); /* an open asks the node, and that is never behind */
    AWAIT(size_is(A("a/n/key"), 6));
    mount_write_text(A("a/n/key"), "3");
    assert_true(text_is(B("a/n/key"), "3"));
    AWAIT(size_is(B("a/n/key"), 1));
}

static void what_kvctl_puts_is_seen(void **state)
{
    mount_write_text(A("a/n/key"), "1");
    assert_true(size_is(A("a/n/key"), 1));
    MOUNT_KVCTL(*state, "put", "a/n/key", "second");
    assert_true(text_is(A("a/n/key"), "second"));
    AWAIT(size_is(A("a/n/key"), 6));
    MOUNT_KVCTL(*state, "delete", "a/n/key");
    AWAIT(!mount_is_there(A("a/n/key")));
}

static void attributes_are_seen(void **state)
{
    char value[8];

    mount_start(*state, LONG);
    mount_write_text(B("a/n/key"), "1");
    assert_true(mode_is(A("a/n/key"), 0644));
    assert_true(mode_is(A("a/n"), 0755));
    MOUNT_FAILS(ENODATA, getxattr(A("a/n/key"), "user.x", value, sizeof(value)));
    MOUNT_OK(chmod(B("a/n/key"), 0600));
    AWAIT(mode_is(A("a/n/key"), 0600));
    MOUNT_OK(setxattr(B("a/n/key"), "user.x", "12", 2, 0));
    AWAIT(getxattr(A("a/n/key"), "user.x", value, sizeof(value)) == 2);
    MOUNT_OK(chmod(B("a/n"), 0700));
    AWAIT(mode_is(A("a/n"), 0700));
    MOUNT_OK(setxattr(B("a/n"), "user.x", "123", 3, 0));
    AWAIT(getxattr(A("a/n"), "user.x", value, sizeof(value)) == 3);
    mount_expect_text(A("a/n/key"), "1");
}

/* Also while a program on A has the older one open, which goes on with it. */
static void another_value_is_seen_while_the_older_one_is_open(void **state)
{
    struct stat older;
    char byte;
    int fd;

    need_names();
    mount_start(*state, LONG);
    for (int i = 0; i < 10; i++) {
        mount_write_text(B("a/n/key"), "1");
        AWAIT(size_is(A("a/n/key"), 1)); /* that it was absent is told by the kernel itself */
        fd = (int)MOUNT_OK(open(A("a/n/key"), O_RDONLY | O_CLOEXEC));
        mount_write_text(B("a/n/key"), "second");
        assert_true(text_is(A("a/n/key"), "second"));
        AWAIT(size_is(A("a/n/key"), 6));
        MOUNT_OK(fstat(fd, &older));
        assert_int_equal(older.st_size, 1);
        assert_int_equal(MOUNT_OK(pread(fd, &byte, 1, 0)), 1);
        assert_int_equal(byte, '1');
        MOUNT_OK(close(fd));

        fd = (int)MOUNT_OK(open(A("a/n/key"), O_RDONLY | O_CLOEXEC));
        mount_write_text(B("a/n/key"), "3");
        AWAIT(size_is(A("a/n/key"), 1)); /* no open in between */
        MOUNT_OK(unlink(B("a/n/key")));
        AWAIT(!mount_is_there(A("a/n/key")));
        MOUNT_OK(close(fd));
    }
}

/* ---------------------------------------------------------------------------------- names */

static void a_name_that_was_absent_is_seen(void **state)
{
    need_names();
    mount_start(*state, LONG);
    for (int i = 0; i < 20; i++) {
        for (int look = 0; look < 3; look++)
            assert_false(mount_is_there(A("a/n/key%d", i)));
        mount_write_text(B("a/n/key%d", i), "1");
        AWAIT(size_is(A("a/n/key%d", i), 1));
        mount_expect_text(A("a/n/key%d", i), "1");
    }
}

static void a_name_that_is_gone_is_seen(void **state)
{
    mount_start(*state, LONG);
    mount_write_text(B("a/n/key"), "1");
    mount_write_text(B("a/n/other"), "other");
    assert_true(size_is(A("a/n/key"), 1));
    assert_true(size_is(A("a/n/other"), 5));
    MOUNT_OK(unlink(B("a/n/key")));
    AWAIT(!mount_is_there(A("a/n/key")));
    MOUNT_FAILS(ENOENT, open(A("a/n/key"), O_RDONLY));
    mount_expect_list(A("a/n"), "other");
    MOUNT_OK(close((int)MOUNT_OK(open(A("a/n/key"), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644))));
}

static void a_rename_is_seen(void **state)
{
    need_names();
    mount_start(*state, LONG);
    mount_write_text(B("a/n/key"), "1");
    assert_true(size_is(A("a/n/key"), 1));
    assert_false(mount_is_there(A("a/n/other")));
    MOUNT_OK(rename(B("a/n/key"), B("a/n/other")));
    AWAIT(!mount_is_there(A("a/n/key")));
    AWAIT(size_is(A("a/n/other"), 1));
    mount_write_text(B("a/n/third"), "third");
    MOUNT_OK(rename(B("a/n/third"), B("a/n/other")));
    assert_true(text_is(A("a/n/other"), "third"));
    AWAIT(size_is(A("a/n/other"), 5));
}

static void directories_and_bindings_are_seen(void **state)
{
    need_names();
    mount_start(*state, LONG);
    assert_false(mount_is_there(A("a/m")));
    MOUNT_OK(mkdir(B("a/m"), 0755));
    AWAIT(mount_is_there(A("a/m")));
    MOUNT_OK(mkdir(B("a/.projects/web"), 0755));
    AWAIT(mount_is_there(A("a/.projects/web")));
    assert_false(link_is(A("a/.projects/web/V"), "../../m"));
    MOUNT_OK(symlink("../../m", B("a/.projects/web/V")));
    AWAIT(link_is(A("a/.projects/web/V"), "../../m"));
    mount_write_text(B("a/m/key"), "1");
    mount_expect_text(A("a/m/key"), "1");

    MOUNT_OK(rename(B("a/m"), B("a/o")));
    AWAIT(!mount_is_there(A("a/m")));
    AWAIT(size_is(A("a/o/key"), 1));
    AWAIT(link_is(A("a/.projects/web/V"), "../../o"));
    MOUNT_OK(unlink(B("a/o/key")));
    MOUNT_OK(rmdir(B("a/o")));
    AWAIT(!mount_is_there(A("a/o")));
    AWAIT(!link_is(A("a/.projects/web/V"), "../../o"));
    MOUNT_OK(rmdir(B("a/.projects/web")));
    AWAIT(!mount_is_there(A("a/.projects/web")));
}

static void what_a_listing_told_is_corrected(void **state)
{
    const char *const list[] = {"ls", "-l", A("a/n"), NULL};

    mount_start(*state, LONG);
    for (int i = 0; i < 20; i++)
        mount_write_text(B("a/n/key%d", i), "1");
    assert_int_equal(mount_run(*state, list), 0);
    for (int i = 0; i < 20; i++)
        mount_write_text(B("a/n/key%d", i), "second");
    for (int i = 0; i < 20; i++)
        AWAIT(size_is(A("a/n/key%d", i), 6));
}

/* ------------------------------------------------------------------------ under way on both */

static _Atomic uint64_t *shared; /* with a child: how far it is */

/* The kernel of A looks a key up for the first time just when B replaces its value. */
static void a_first_look_at_what_changes_is_corrected(void **state)
{
    unsigned keys = (unsigned)test_setting("KVFS_TEST_ROUNDS", 300);
    pid_t child;

    mount_start(*state, LONG);
    atomic_store(shared, 0);
    for (unsigned i = 0; i < keys; i++)
        mount_write_text(B("a/n/key%u", i), "1");
    child = mount_fork(*state);
    if (child == 0) {
        for (unsigned i = 0; i < keys; i++) {
            int fd = open(B("a/n/key%u", i), O_WRONLY | O_TRUNC | O_CLOEXEC);

            if (fd < 0 || write(fd, "second", 6) != 6)
                _exit(1);
            atomic_store(shared, i + 1);
            if (close(fd) < 0)
                _exit(1);
        }
        _exit(0);
    }
    for (unsigned i = 0; i < keys; i++) {
        while (atomic_load(shared) <= i)
            ;
        for (unsigned spin = 0; spin < i * 100; spin++) /* at another moment of the put each time */
            (void)atomic_load(shared);
        assert_true(mount_is_there(A("a/n/key%u", i)));
    }
    assert_int_equal(mount_wait(*state, child), 0);
    for (unsigned i = 0; i < keys; i++)
        AWAIT(size_is(A("a/n/key%u", i), 6));
}

/* The same, and a listing tells of many at once. */
static void a_listing_of_what_changes_is_corrected(void **state)
{
    enum { ROUNDS = 9, KEYS = 60 };

    mount_start(*state, LONG);
    for (unsigned round = 0; round < ROUNDS; round++) {
        const char *const list[] = {"ls", "-l", A("a/n%u", round), NULL};
        pid_t child;

        MOUNT_OK(mkdir(B("a/n%u", round), 0755));
        for (unsigned i = 0; i < KEYS; i++)
            mount_write_text(B("a/n%u/key%u", round, i), "1");
        child = mount_fork(*state);
        if (child == 0) {
            for (unsigned i = 0; i < KEYS; i++)
                mount_write_text(B("a/n%u/key%u", round, i), "second");
            _exit(0);
        }
        assert_int_equal(mount_run(*state, list), 0);
        assert_int_equal(mount_wait(*state, child), 0);
        for (unsigned i = 0; i < KEYS; i++)
            AWAIT(size_is(A("a/n%u/key%u", round, i), 6));
    }
}

/* No read that begins after a close has returned is older than that. */
static void no_read_is_older_than_a_close_before_it(void **state)
{
    uint64_t rounds = test_setting("KVFS_TEST_ROUNDS", 500), seen = 0;
    pid_t child;

    mount_start(*state, LONG);
    atomic_store(shared, 0);
    mount_write(B("a/n/count"), &seen, sizeof(seen));
    child = mount_fork(*state);
    if (child == 0) {
        for (uint64_t i = 1; i <= rounds; i++) {
            int fd = open(B("a/n/count_new"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

            if (fd < 0 || write(fd, &i, sizeof(i)) != (ssize_t)sizeof(i) || close(fd) < 0 ||
                rename(B("a/n/count_new"), B("a/n/count")) < 0)
                _exit(1);
            atomic_store(shared, i);
        }
        _exit(0);
    }
    while (seen < rounds) {
        uint64_t least = atomic_load(shared);

        assert_int_equal(mount_read(A("a/n/count"), &seen, sizeof(seen)), sizeof(seen));
        if (seen < least)
            fail_msg("read %u after %u was there", (unsigned)seen, (unsigned)least);
    }
    assert_int_equal(mount_wait(*state, child), 0);
}

static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static int64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void how_soon_a_stat_sees_a_put(void **state)
{
    enum { PUTS = 200 };
    int64_t took_us[PUTS];

    mount_start(*state, LONG);
    mount_write_text(B("a/n/key"), "");
    for (int i = 0; i < PUTS; i++) {
        const char *a = A("a/n/key"), *b = B("a/n/key");
        char text[PUTS + 2];
        int64_t closed_us;

        assert_true(size_is(a, i));
        memset(text, 'x', (size_t)i + 1);
        mount_write(b, text, (size_t)i + 1);
        closed_us = now_us();
        while (!size_is(a, i + 1))
            if (now_us() - closed_us > (int64_t)PATIENCE_MS * 1000)
                fail_msg("put %d is not seen", i);
        took_us[i] = now_us() - closed_us;
    }
    qsort(took_us, PUTS, sizeof(took_us[0]), compare_times);
    printf("a stat on A sees a put on B after its close: median %.3f ms, of 100 the slowest %.3f ms, at most %.3f "
           "ms\n",
           (double)took_us[PUTS / 2] / 1000, (double)took_us[PUTS * 99 / 100] / 1000,
           (double)took_us[PUTS - 1] / 1000);
}

/* ------------------------------------------------------------------------------ otherwise */

static void with_ttl_alone_what_is_known_stays_until_then(void **state)
{
    int64_t began_ms;

    mount_start(*state, "cache_ttl=3,invalidate=ttl");
    mount_write_text(B("a/n/key"), "1");
    began_ms = mount_now_ms();
    mount_expect_text(A("a/n/key"), "1");
    mount_write_text(B("a/n/key"), "second");
    for (bool is_old = true; is_old; mount_pause_ms(10)) {
        is_old = text_is(A("a/n/key"), "1");
        assert_true(is_old || text_is(A("a/n/key"), "second"));
        assert_true(is_old || mount_now_ms() - began_ms >= TTL_MS);
        assert_true(mount_now_ms() - began_ms < PATIENCE_MS);
    }
    AWAIT(size_is(A("a/n/key"), 6));
}

static void the_age_is_that_of_what_is_shown(void **state)
{
    int64_t began_ms, put_ms;
    long age;

    mount_start(*state, LONG);
    mount_write_text(B("a/n/key"), "1");
    began_ms = mount_now_ms();
    mount_expect_text(A("a/n/key"), "1");
    put_ms = mount_now_ms();
    mount_pause_ms(300);
    age = number(A("a/n/key"), "user.kvfs.age_ms");
    assert_in_range(age, 300, mount_now_ms() - began_ms);
    put_ms = mount_now_ms();
    mount_write_text(B("a/n/key"), "second");
    mount_expect_text(A("a/n/key"), "second");
    age = number(A("a/n/key"), "user.kvfs.age_ms");
    assert_in_range(age, 0, mount_now_ms() - put_ms);
}

static void a_stopped_node_changes_nothing_for_others(void **state)
{
    mount_start(*state, LONG);
    mount_start(*state, LONG);
    mount_write_text(A("a/n/key"), "1");
    mount_expect_text(B("a/n/key"), "1");
    MOUNT_OK(kill(NODE(1)->daemon, SIGSTOP));
    for (int i = 0; i < 20; i++) {
        const char *third = mount_path(NODE(2), "a/n/key");
        char text[32];

        memset(text, 'x', sizeof(text));
        text[i + 2] = '\0';
        mount_write_text(A("a/n/key"), text);
        assert_true(text_is(third, text));
        AWAIT(size_is(third, (off_t)strlen(text)));
    }
    MOUNT_OK(kill(NODE(1)->daemon, SIGCONT));
    AWAIT(size_is(B("a/n/key"), 21));
}

static void a_read_only_mount_follows_too(void **state)
{
    need_names();
    mount_write_text(A("a/n/key"), "1");
    mount_start(*state, LONG ",ro");
    mount_expect_text(B("a/n/key"), "1");
    assert_false(mount_is_there(B("a/n/other")));
    mount_write_text(A("a/n/key"), "second");
    mount_write_text(A("a/n/other"), "other");
    assert_true(text_is(B("a/n/key"), "second"));
    AWAIT(size_is(B("a/n/key"), 6));
    AWAIT(size_is(B("a/n/other"), 5));
}

static void who_has_fallen_behind_drops_all_that_was_known(void **state)
{
    uint8_t *bytes = mount_bytes(1, 8000);

    need_names();
    mount_start(*state, SMALL);
    mount_write_text(A("a/n/key"), "1");
    mount_write_text(A("a/n/gone"), "1");
    assert_true(size_is(A("a/n/key"), 1));
    assert_true(size_is(A("a/n/gone"), 1));
    assert_false(mount_is_there(A("a/n/other")));
    MOUNT_OK(kill(NODE(0)->daemon, SIGSTOP));
    mount_write_text(B("a/n/key"), "second");
    mount_write_text(B("a/n/other"), "other");
    MOUNT_OK(unlink(B("a/n/gone")));
    for (int i = 0; i < 200; i++) /* more than the log holds */
        mount_write(B("a/n/filler"), bytes, 8000);
    MOUNT_OK(kill(NODE(0)->daemon, SIGCONT));
    assert_true(text_is(A("a/n/key"), "second"));
    AWAIT(size_is(A("a/n/key"), 6));
    AWAIT(size_is(A("a/n/other"), 5));
    AWAIT(!mount_is_there(A("a/n/gone")));
    free(bytes);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        MOUNT_TEST_WITH(LONG, another_value_is_seen),
        MOUNT_TEST_WITH(LONG, another_value_is_seen_while_the_older_one_is_open),
        MOUNT_TEST_WITH(LONG, what_kvctl_puts_is_seen),
        MOUNT_TEST_WITH(LONG, attributes_are_seen),
        MOUNT_TEST_WITH(LONG, a_name_that_was_absent_is_seen),
        MOUNT_TEST_WITH(LONG, a_name_that_is_gone_is_seen),
        MOUNT_TEST_WITH(LONG, a_rename_is_seen),
        MOUNT_TEST_WITH(LONG, directories_and_bindings_are_seen),
        MOUNT_TEST_WITH(LONG, what_a_listing_told_is_corrected),
        MOUNT_TEST_WITH(LONG, a_first_look_at_what_changes_is_corrected),
        MOUNT_TEST_WITH(LONG, a_listing_of_what_changes_is_corrected),
        MOUNT_TEST_WITH(LONG, no_read_is_older_than_a_close_before_it),
        MOUNT_TEST_WITH(LONG, how_soon_a_stat_sees_a_put),
        MOUNT_TEST_WITH("cache_ttl=3,invalidate=ttl", with_ttl_alone_what_is_known_stays_until_then),
        MOUNT_TEST_WITH(LONG, the_age_is_that_of_what_is_shown),
        MOUNT_TEST_WITH(LONG, a_stopped_node_changes_nothing_for_others),
        MOUNT_TEST_WITH(LONG, a_read_only_mount_follows_too),
        MOUNT_TEST_WITH(SMALL, who_has_fallen_behind_drops_all_that_was_known),
    };

    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return shared == MAP_FAILED ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return mount_tests("push", run); }
