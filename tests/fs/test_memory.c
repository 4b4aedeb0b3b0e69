/* What the daemon needs memory for, and how much: many large values open at once, many handles, many names that
 * many processes list at once, many inodes that the kernel knows; and what it does when it gets none.
 *
 * Bounds are for the anonymous memory of the daemon (RssAnon): pages of files, the database's and those of values that
 * were spilled, are the kernel's to drop. Sanitizers need several times as much; with them only what grows without
 * end is found.
 *
 * Environment: KVFS_TEST_VALUES (60; the long run: 1000), KVFS_TEST_HANDLES (20000; 100000), KVFS_TEST_NAMES (100000;
 * 1000000), KVFS_TEST_LISTERS (10; 50). */
#include "tests/support/keys.h"
#include "tests/support/setting.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

/* How many times as much memory a sanitizer needs. */
#if defined(__SANITIZE_THREAD__)
#define SANITIZED 8
#elif defined(__SANITIZE_ADDRESS__)
#define SANITIZED 3
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SANITIZED 8
#elif __has_feature(address_sanitizer)
#define SANITIZED 3
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#define MIB ((size_t)1 << 20)
#define VALUES 60
#define HANDLES 20000
#define NAMES 100000
#define LISTERS 10

/* The bounds. */
#define BASE (64 * MIB)    /* buffers of a daemon's threads, and what malloc keeps */
#define COMMIT (128 * MIB) /* a group of puts that is being committed: twice 64 MiB, or 25 MiB more than that */
#define OF_A_HANDLE 512    /* bytes of an open handle of a key that others have open, too */
#define OF_AN_INODE 250    /* bytes of an inode with its name */
#define OF_A_LISTER 262144 /* bytes of an open directory that is being read */

enum { STORED = 8, OPENERS = 20, KEYS = 1000, PUTTERS = 6, LONG_SECONDS = 280 };

/* ----------------------------------------------------------------------------- the daemon's memory */

/* A line of /proc/PID/status, in bytes. */
static size_t status_of(const struct mount_node *node, const char *name)
{
    char path[64], line[256];
    size_t kib = 0;
    FILE *status;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)node->daemon);
    status = fopen(path, "r");
    assert_non_null(status); /* else it has died */
    while (fgets(line, sizeof(line), status) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            sscanf(line + strlen(name), ": %zu kB", &kib);
    fclose(status);
    return kib * 1024;
}

static void expect_memory_below(const struct mount_node *node, const char *when, size_t bytes)
{
    size_t is = status_of(node, "RssAnon"), bound = SANITIZED > 0 ? SANITIZED * bytes + 256 * MIB : bytes;

    printf("%s: %zu MiB, bound %zu MiB%s; at its highest, with pages of files, %zu MiB\n", when, is / MIB,
           bound / MIB, SANITIZED > 0 ? " (sanitized)" : "", status_of(node, "VmHWM") / MIB);
    if (is > bound)
        fail_msg("that is too much");
}

/* ---------------------------------------------------------------------- many processes at once */

/* Children work, say so, and wait for the end. */
struct crowd {
    struct mount_test *test;
    size_t count;
    pid_t pids[MOUNT_CHILDREN];
    int go[2], leave[2];       /* pipes */
    int ready[MOUNT_CHILDREN]; /* a pipe's end for each: who fails closes it without a word */
};

typedef void crowd_work(const struct mount_node *node, size_t number, size_t count);

/* In a child nothing may fail quietly. */
#define CHILD_OK(call) child_ok((call), #call)
static long child_ok(long result, const char *call)
{
    if (result < 0) {
        printf("%s: %s\n", call, strerrorname_np(errno));
        fflush(stdout);
        _exit(1);
    }
    return result;
}

static void crowd_start(struct crowd *crowd, const struct mount_node *node, size_t count, crowd_work *work)
{
    char byte;

    *crowd = (struct crowd){.test = node->test, .count = count};
    assert_true(count <= MOUNT_CHILDREN);
    assert_int_equal(pipe2(crowd->go, O_CLOEXEC) | pipe2(crowd->leave, O_CLOEXEC), 0);
    for (size_t i = 0; i < count; i++) {
        int ready[2];

        assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
        crowd->ready[i] = ready[0];
        crowd->pids[i] = mount_fork(crowd->test);
        if (crowd->pids[i] > 0) {
            close(ready[1]);
            continue;
        }
        close(crowd->go[1]);
        close(crowd->leave[1]);
        if (read(crowd->go[0], &byte, 1) < 0)
            _exit(1);
        work(node, i, count);
        CHILD_OK(write(ready[1], "", 1));
        if (read(crowd->leave[0], &byte, 1) < 0)
            _exit(1);
        _exit(0);
    }
    close(crowd->go[1]);
    for (size_t i = 0; i < count; i++)
        if (read(crowd->ready[i], &byte, 1) != 1)
            fail_msg("a process of the crowd has failed");
}

static void crowd_end(struct crowd *crowd)
{
    close(crowd->leave[1]);
    for (size_t i = 0; i < crowd->count; i++) {
        assert_int_equal(mount_wait(crowd->test, crowd->pids[i]), 0);
        close(crowd->ready[i]);
    }
    close(crowd->go[0]);
    close(crowd->leave[0]);
}

/* --------------------------------------------------------------------------------- large values */

/* As many as the disk has room for. */
static size_t affordable_values(const struct mount_test *test)
{
    size_t wanted = test_setting("KVFS_TEST_VALUES", VALUES), room;
    struct statvfs disk;

    assert_int_equal(statvfs(test->dir, &disk), 0);
    room = (size_t)(disk.f_bavail * disk.f_frsize / 2 / KV_VALUE_MAX);
    if (room < wanted)
        printf("the disk has room for %zu values, not for %zu\n", room, wanted);
    return room < wanted ? room : wanted;
}

static void values_beyond_the_memory_size_are_not_in_memory(void **state)
{
    struct mount_test *test = *state;
    struct mount_node *node = &test->nodes[0];
    size_t count = affordable_values(test);
    int *fds = calloc(count + STORED, sizeof(*fds));
    uint8_t *bytes = mount_bytes(0, KV_VALUE_MAX);

    alarm(LONG_SECONDS);
    assert_non_null(fds);
    for (size_t i = 0; i < count; i++) {
        const char *path = mount_path(node, "a/n/dirty_%zu", i);

        fds[i] = (int)MOUNT_OK(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644));
        MOUNT_OK(ftruncate(fds[i], KV_VALUE_MAX));
        assert_int_equal(pwrite(fds[i], "end", 3, KV_VALUE_MAX - 3), 3);
        if (i < STORED) /* they need their memory, or blocks */
            assert_int_equal(pwrite(fds[i], bytes, KV_VALUE_MAX - 3, 0), KV_VALUE_MAX - 3);
        MOUNT_OK(unlink(path)); /* it is never put */
    }
    expect_memory_below(node, "with the values being written open", 64 * MIB + COMMIT + BASE);
    for (size_t i = 0; i < count; i++) {
        char end[3];

        assert_int_equal(pread(fds[i], end, 3, KV_VALUE_MAX - 3), 3);
        assert_memory_equal(end, "end", 3);
        MOUNT_OK(close(fds[i]));
    }

    for (size_t i = 0; i < STORED; i++) {
        bytes[0] = (uint8_t)i;
        mount_write(mount_path(node, "a/n/stored_%zu", i), bytes, KV_VALUE_MAX);
    }
    for (size_t i = 0; i < STORED; i++) {
        bytes[0] = (uint8_t)i;
        fds[i] = (int)MOUNT_OK(open(mount_path(node, "a/n/stored_%zu", i), O_RDONLY | O_CLOEXEC));
        mount_expect(mount_path(node, "a/n/stored_%zu", i), bytes, KV_VALUE_MAX);
    }
    expect_memory_below(node, "with stored values open", 64 * MIB + COMMIT + BASE);
    for (size_t i = 0; i < STORED; i++)
        MOUNT_OK(close(fds[i]));
    free(bytes);
    free(fds);
}

/* ------------------------------------------------------------------------------------- handles */

static size_t handles_of(size_t number, size_t count)
{
    size_t all = test_setting("KVFS_TEST_HANDLES", HANDLES);

    return all / count + (number < all % count);
}

static void open_handles(const struct mount_node *node, size_t number, size_t count)
{
    size_t handles = handles_of(number, count);
    struct rlimit limit = {handles + 64, handles + 64};

    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
        limit.rlim_max = handles + 64;
        CHILD_OK(getrlimit(RLIMIT_NOFILE, &limit));
        limit.rlim_cur = limit.rlim_max;
        CHILD_OK(setrlimit(RLIMIT_NOFILE, &limit));
    }
    for (size_t i = 0; i < handles; i++)
        CHILD_OK(open(mount_path(node, "a/n/k%07zu", (number * handles + i) % KEYS), O_RDWR | O_CLOEXEC));
}

static void each_open_handle_needs_little(void **state)
{
    struct mount_test *test = *state;
    struct mount_node *node;
    struct crowd crowd;
    size_t handles = test_setting("KVFS_TEST_HANDLES", HANDLES);

    alarm(LONG_SECONDS);
    mount_make_keys(test, KEYS);
    node = mount_start(test, "cache_size=16M");
    crowd_start(&crowd, node, handles > 50000 ? 50 : OPENERS, open_handles);
    printf("%zu handles are open\n", handles);
    expect_memory_below(node, "with the handles open", handles * OF_A_HANDLE + 16 * MIB + BASE);
    mount_write_text(mount_path(node, "a/n/more"), "works");
    mount_expect_text(mount_path(node, "a/n/more"), "works");
    crowd_end(&crowd);
}

/* ------------------------------------------------------------------------ listings and inodes */

static void list_all(const struct mount_node *node, size_t number, size_t count)
{
    size_t names = test_setting("KVFS_TEST_NAMES", NAMES), found = 0;
    DIR *dir = opendir(mount_path(node, "a/n"));
    struct dirent *entry;
    char wanted[32];

    (void)number;
    (void)count;
    CHILD_OK(dir != NULL ? 0 : -1);
    while (errno = 0, (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(wanted, sizeof(wanted), "k%07zu", found++);
        if (strcmp(entry->d_name, wanted) != 0) {
            printf("listed %s, not %s\n", entry->d_name, wanted);
            _exit(1);
        }
    }
    if (errno != 0 || found != names) {
        printf("listed %zu names, not %zu: %s\n", found, names, strerror(errno));
        _exit(1);
    }
}

static void look_up(const struct mount_node *node, size_t number, size_t count)
{
    size_t names = test_setting("KVFS_TEST_NAMES", NAMES);
    int dir = (int)CHILD_OK(open(mount_path(node, "a/n"), O_RDONLY | O_DIRECTORY | O_CLOEXEC));

    for (size_t i = number; i < names; i += count) {
        struct stat attr;
        char name[32];

        snprintf(name, sizeof(name), "k%07zu", i);
        CHILD_OK(fstatat(dir, name, &attr, 0));
    }
}

static void many_listings_and_inodes_at_once_stay_bounded(void **state)
{
    struct mount_test *test = *state;
    size_t names = test_setting("KVFS_TEST_NAMES", NAMES), listers = test_setting("KVFS_TEST_LISTERS", LISTERS);
    struct mount_node *node;
    struct crowd crowd;

    alarm(LONG_SECONDS);
    mount_make_keys(test, names);
    node = mount_start(test, "cache_size=16M");
    crowd_start(&crowd, node, listers, list_all);
    printf("%zu names, listed by %zu processes at once\n", names, listers);
    expect_memory_below(node, "with the listings at their ends",
                        names * OF_AN_INODE + listers * OF_A_LISTER + 16 * MIB + BASE);
    crowd_end(&crowd);
    crowd_start(&crowd, node, 4, look_up);
    crowd_end(&crowd);
    expect_memory_below(node, "with all names looked up", names * OF_AN_INODE + 16 * MIB + BASE);
    mount_write_text(mount_path(node, "a/n/more"), "works");
    mount_expect_text(mount_path(node, "a/n/more"), "works");
}

/* ------------------------------------------------------------------------------------ no memory */

/* returns 0, or the errno that a put of so many bytes ended with */
static int try_put(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), error = 0;

    if (fd < 0)
        return errno;
    for (size_t at = 0; at < size && error == 0;) {
        ssize_t written = write(fd, (const uint8_t *)bytes + at, size - at);

        error = written < 0 ? errno : 0;
        at += written > 0 ? (size_t)written : 0;
    }
    if (close(fd) < 0 && error == 0)
        error = errno;
    return error;
}

/* Puts of large values from several processes, of keys of their own; they may fail for want of memory. */
static void put_what_does_not_fit(const struct mount_node *node, size_t number, size_t count)
{
    uint8_t *bytes = mount_bytes(number, KV_VALUE_MAX);

    (void)count;
    for (int i = 0; i < 3; i++) {
        int error = try_put(mount_path(node, "a/n/old_%zu", number), bytes + 1, KV_VALUE_MAX - 1);

        if (error != ENOMEM) {
            printf("%s, not ENOMEM\n", error != 0 ? strerrorname_np(error) : "no error");
            _exit(1);
        }
    }
    free(bytes);
}

/* Let the daemon have only so many bytes. */
static void starve(struct mount_node *node, size_t bytes)
{
    struct rlimit limit, none;
    struct crowd crowd;

    assert_int_equal(prlimit(node->daemon, RLIMIT_DATA, NULL, &limit), 0);
    none = (struct rlimit){bytes, limit.rlim_max};
    assert_int_equal(prlimit(node->daemon, RLIMIT_DATA, &none, NULL), 0);
    crowd_start(&crowd, node, PUTTERS, put_what_does_not_fit);
    crowd_end(&crowd);
    assert_int_equal(prlimit(node->daemon, RLIMIT_DATA, &limit, NULL), 0);
}

static void a_daemon_that_gets_no_memory_refuses_and_lives_on(void **state)
{
    struct mount_test *test = *state;
    struct mount_node *node = &test->nodes[0];
    uint8_t *bytes;
    size_t idle;

    if (SANITIZED > 0) {
        printf("skipped: a sanitizer ends the program when it gets no memory\n");
        skip();
    }
    for (unsigned i = 0; i < PUTTERS; i++)
        mount_write_text(mount_path(node, "a/n/old_%u", i), "old");
    idle = status_of(node, "VmData"); /* not later: what a close has released goes when the kernel comes to it */
    for (size_t more = 16 * MIB; more > 4096; more /= 4)
        starve(node, idle + more);
    assert_non_null(strstr(mount_text(mount_path(node, ".kvfs/errors")), "a/n/old"));
    bytes = mount_bytes(1, KV_VALUE_MAX);
    for (unsigned i = 0; i < PUTTERS; i++) {
        mount_expect_text(mount_path(node, "a/n/old_%u", i), "old");
        mount_write(mount_path(node, "a/n/old_%u", i), bytes, KV_VALUE_MAX);
        mount_expect(mount_path(node, "a/n/old_%u", i), bytes, KV_VALUE_MAX);
    }
    free(bytes);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        MOUNT_TEST_WITH("memory_size=64M", values_beyond_the_memory_size_are_not_in_memory),
        MOUNT_TEST_EMPTY(each_open_handle_needs_little),
        MOUNT_TEST_EMPTY(many_listings_and_inodes_at_once_stay_bounded),
        MOUNT_TEST(a_daemon_that_gets_no_memory_refuses_and_lives_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return mount_tests("memory", run); }
