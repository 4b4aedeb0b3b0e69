/* A counter that several processes on two nodes count up under a lock counts right. */
#include "tests/support/mount.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

enum { COUNTERS = 4, COUNTS = 50 };

/* Read, add one and write, under a lock of the key itself or of another one. */
static void count_up(const struct mount_node *node, const char *lock, bool is_flock)
{
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char text[32] = "";

    for (int i = 0; i < COUNTS; i++) {
        int held = open(mount_path(node, "a/n/%s", lock), O_RDWR | O_CLOEXEC), fd, size;

        if (held < 0 || (is_flock ? flock(held, LOCK_EX) : fcntl(held, F_SETLKW, &range)) < 0)
            _exit(1);
        fd = open(mount_path(node, "a/n/counter"), O_RDWR | O_CLOEXEC);
        if (fd < 0 || pread(fd, text, sizeof(text) - 1, 0) <= 0)
            _exit(2);
        size = snprintf(text, sizeof(text), "%d", atoi(text) + 1);
        if (pwrite(fd, text, (size_t)size, 0) != size || close(fd) < 0)
            _exit(3);
        if (close(held) < 0)
            _exit(4);
    }
    _exit(0);
}

static void expect_right_count(void **state, const char *lock, bool is_flock)
{
    struct mount_test *test = *state;
    struct mount_node *nodes[] = {&test->nodes[0], mount_start(test, NULL)};
    pid_t counters[COUNTERS];
    char wanted[16];

    mount_write_text(mount_path(nodes[0], "a/n/counter"), "0");
    mount_write_text(mount_path(nodes[0], "a/n/lock"), "no matter what");
    for (int i = 0; i < COUNTERS; i++) {
        counters[i] = mount_fork(test);
        if (counters[i] == 0)
            count_up(nodes[i % 2], lock, is_flock);
    }
    for (int i = 0; i < COUNTERS; i++)
        assert_int_equal(mount_wait(test, counters[i]), 0);
    snprintf(wanted, sizeof(wanted), "%d", COUNTERS * COUNTS);
    MOUNT_KVCTL(test, "get", "a/n/counter");
    assert_string_equal(test->output, wanted);
}

static void a_counter_under_flock_counts_right(void **state) { expect_right_count(state, "lock", true); }
static void a_counter_under_its_own_flock_counts_right(void **state)
{
    expect_right_count(state, "counter", true);
}
static void a_counter_under_fcntl_counts_right(void **state) { expect_right_count(state, "lock", false); }

static int run(void)
{
    const struct CMUnitTest tests[] = {
        MOUNT_TEST(a_counter_under_flock_counts_right),
        MOUNT_TEST(a_counter_under_its_own_flock_counts_right),
        MOUNT_TEST(a_counter_under_fcntl_counts_right),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return mount_tests("locks_counter", run); }
