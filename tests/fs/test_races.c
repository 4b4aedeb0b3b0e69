/* Two threads at one key at the same moment: opens, closes and syncs while the key is removed, renamed, exchanged or
 * gets other attributes. What was acknowledged stays, and nobody waits for ever.
 *
 * Environment: KVFS_TEST_ROUNDS (300 of each). */
#include "tests/support/mount.h"
#include "tests/support/setting.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/xattr.h>
#include <unistd.h>

#define P(...) mount_path(&((struct mount_test *)*state)->nodes[0], __VA_ARGS__)

static unsigned rounds(void) { return (unsigned)test_setting("KVFS_TEST_ROUNDS", 300); }

/* A second thread that does one thing a round, a little later each time, up to where it comes last. */
struct other {
    void (*act)(struct other *other);
    const char *key, *key2;
    int fd;
    unsigned round;
    bool over;
    pthread_barrier_t meet;
    pthread_t thread;
};

static void wait_a_little(unsigned round)
{
    struct timespec pause = {.tv_nsec = (long)(round % 40) * 25000};

    if (pause.tv_nsec > 0)
        nanosleep(&pause, NULL);
}

static void *act_each_round(void *arg)
{
    struct other *other = arg;

    while (pthread_barrier_wait(&other->meet), !other->over) {
        wait_a_little(other->round);
        other->act(other);
        pthread_barrier_wait(&other->meet);
    }
    return NULL;
}

static void other_start(struct other *other)
{
    pthread_barrier_init(&other->meet, NULL, 2);
    assert_int_equal(pthread_create(&other->thread, NULL, act_each_round, other), 0);
}

static void other_begin(struct other *other, unsigned round)
{
    other->round = round;
    pthread_barrier_wait(&other->meet);
}

static void other_finish(struct other *other) { pthread_barrier_wait(&other->meet); }

static void other_stop(struct other *other)
{
    other->over = true;
    pthread_barrier_wait(&other->meet);
    pthread_join(other->thread, NULL);
    pthread_barrier_destroy(&other->meet);
}

static int open_key(const char *path, int flags) { return (int)MOUNT_OK(open(path, flags | O_CLOEXEC, 0666)); }

/* ---------------------------------------------------------------------------- removing */

static void write_and_close(struct other *other)
{
    (void)!write(other->fd, "b", 1);
    close(other->fd);
}

/* The first put of a new key, the next one, and the removal come together. */
static void a_new_key_that_was_removed_does_not_come_back(void **state)
{
    struct mount_node *elsewhere = mount_start(*state, "cache_ttl=0");
    struct other other = {.act = write_and_close, .key = strdup(P("a/n/key"))};

    other_start(&other);
    for (unsigned round = 0; round < rounds(); round++) {
        int first = open_key(other.key, O_RDWR | O_CREAT | O_EXCL);

        other.fd = open_key(other.key, O_RDWR);
        assert_int_equal(write(first, "a", 1), 1);
        other_begin(&other, round);
        wait_a_little(round * 7);
        close(first);
        MOUNT_OK(unlink(other.key));
        other_finish(&other);
        assert_false(mount_is_there(other.key));
        MOUNT_FAILS(ENOENT, access(mount_path(elsewhere, "a/n/key"), F_OK));
    }
    other_stop(&other);
    free((char *)other.key);
}

static void remove_key(struct other *other)
{
    if (other->round % 2 == 0)
        unlink(other->key);
    else
        rename(other->key, other->key2);
}

/* A sync holds the file's lock in the kernel, which the removal waits for with the directory's. */
static void a_failing_sync_and_a_removal_both_end(void **state)
{
    static const char bytes[5000];
    struct other other = {.act = remove_key, .key = strdup(P("a/n/key")), .key2 = strdup(P("a/n/key2"))};

    MOUNT_KVCTL(*state, "account", "limit", "a", "--bytes", "1000");
    other_start(&other);
    for (unsigned round = 0; round < rounds(); round++) {
        int fd = open_key(other.key, O_RDWR | O_CREAT);

        assert_int_equal(write(fd, bytes, sizeof(bytes)), -1);
        other_begin(&other, round);
        assert_true(fsync(fd) == 0 || errno == EDQUOT); /* what was removed before has nothing to put */
        other_finish(&other);
        close(fd);
    }
    other_stop(&other);
    free((char *)other.key);
    free((char *)other.key2);
}

/* -------------------------------------------------------------------------- attributes */

static void open_for_a_while(struct other *other)
{
    int fd = open(other->key, O_RDONLY | O_CLOEXEC);

    usleep(400);
    close(fd);
}

static void changed_attributes_are_seen_though_the_key_is_being_opened(void **state)
{
    struct other other = {.act = open_for_a_while, .key = strdup(P("a/n/key"))};
    char value[8];

    mount_write_text(other.key, "value");
    other_start(&other);
    for (unsigned round = 0; round < rounds(); round++) {
        mode_t mode = round % 2 == 0 ? 0600 : 0644;

        other_begin(&other, round);
        MOUNT_OK(chmod(other.key, mode));
        assert_int_equal(mount_stat(other.key).st_mode & 0777, mode);
        other_finish(&other);
        assert_int_equal(mount_stat(other.key).st_mode & 0777, mode);
        mount_write_text(other.key, "without");
        if (round > 0)
            MOUNT_OK(removexattr(other.key, "user.a"));
        other_begin(&other, round);
        MOUNT_OK(setxattr(other.key, "user.a", "1", 1, 0));
        assert_int_equal(MOUNT_OK(getxattr(other.key, "user.a", value, sizeof(value))), 1);
        other_finish(&other);
    }
    other_stop(&other);
    free((char *)other.key);
}

/* -------------------------------------------------------------------------- exchanging */

static void exchanged_keys_are_exchanged_though_one_is_being_opened(void **state)
{
    struct other other = {.act = open_for_a_while, .key = strdup(P("a/n/key"))};
    char *key2 = strdup(P("a/n/key2"));

    mount_write_text(other.key, "1");
    mount_write_text(key2, "2");
    other_start(&other);
    for (unsigned round = 0; round < rounds(); round++) {
        other_begin(&other, round);
        MOUNT_OK(renameat2(AT_FDCWD, other.key, AT_FDCWD, key2, RENAME_EXCHANGE));
        mount_expect_text(other.key, round % 2 == 0 ? "2" : "1");
        mount_expect_text(key2, round % 2 == 0 ? "1" : "2");
        other_finish(&other);
    }
    other_stop(&other);
    free((char *)other.key);
    free(key2);
}

/* ----------------------------------------------------------------------------- the end */

static void write_what_fails(const struct mount_node *node, unsigned number)
{
    static const char bytes[3000];

    for (unsigned i = 0; i < 1000000; i++) {
        int fd = open(mount_path(node, "a/n/k%u_%u", number, i), O_RDWR | O_CREAT | O_CLOEXEC, 0644);

        if (fd < 0)
            _exit(errno == ENOTCONN || errno == ECONNABORTED || errno == ECANCELED || errno == ENOENT ? 0 : 1);
        (void)!write(fd, bytes, sizeof(bytes));
        close(fd);
    }
    _exit(2);
}

/* Failed closes wait until the kernel has forgotten the name, which those who are not served any more may prevent. */
static void a_daemon_ends_by_a_signal_while_closes_fail(void **state)
{
    enum { WRITERS = 6, TIMES = 3 };
    struct mount_test *test = *state;
    pid_t writers[WRITERS];

    MOUNT_KVCTL(test, "account", "limit", "a", "--bytes", "1000");
    for (int time = 0; time < TIMES; time++) {
        for (unsigned i = 0; i < WRITERS; i++) {
            writers[i] = mount_fork(test);
            if (writers[i] == 0)
                write_what_fails(&test->nodes[0], i);
        }
        mount_pause_ms(300);
        mount_signal(&test->nodes[0], SIGTERM);
        for (unsigned i = 0; i < WRITERS; i++)
            assert_int_equal(mount_wait(test, writers[i]), 0);
        mount_again(&test->nodes[0], NULL);
    }
}

/* ---------------------------------------------------------------------------- appending */

/* Puts values of changing sizes until the test ends. */
static void replace_for_ever(const char *path)
{
    for (unsigned round = 0;; round++) {
        int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

        if (fd < 0 || write(fd, "0000000000", 1 + round % 10) < 0 || close(fd) < 0)
            _exit(1);
    }
}

/* The kernel appends at the end that it knows, of a value that may be replaced at that moment. */
static void a_key_can_be_appended_to_while_another_node_replaces_it(void **state)
{
    enum { APPENDS = 8 };
    struct mount_node *elsewhere = mount_start(*state, "cache_ttl=0");
    pid_t child;

    mount_write_text(P("a/n/key"), "0");
    child = mount_fork(*state);
    if (child == 0)
        replace_for_ever(mount_path(elsewhere, "a/n/key"));
    for (unsigned round = 0; round < rounds(); round++) {
        const char *text;

        for (int i = 0; i < APPENDS; i++) {
            int fd = open_key(P("a/n/key"), O_WRONLY | O_APPEND);

            assert_int_equal(MOUNT_OK(write(fd, "+", 1)), 1);
            MOUNT_OK(close(fd));
        }
        text = mount_text(P("a/n/key"));
        assert_in_range(strspn(text, "0"), 1, 10);
        assert_string_equal(text + strspn(text, "0") + strspn(text + strspn(text, "0"), "+"), "");
    }
    MOUNT_OK(kill(child, SIGKILL));
    (void)mount_wait(*state, child);
}

/* -------------------------------------------------------------------------- replacing */

static void rename_for_ever(const char *temporary, const char *key)
{
    for (;;) {
        int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        if (fd < 0 || write(fd, "value", 5) < 0 || close(fd) < 0 || rename(temporary, key) < 0)
            _exit(1);
    }
}

static long change_key(const char *key, unsigned how)
{
    static const int flags[] = {O_WRONLY, O_WRONLY | O_APPEND, O_RDWR | O_CREAT, O_WRONLY | O_TRUNC, O_RDONLY};
    enum { OPENS = sizeof(flags) / sizeof(flags[0]) };
    int fd;

    if (how % (OPENS + 1) == OPENS)
        return truncate(key, 3);
    fd = open(key, flags[how % (OPENS + 1)] | O_CLOEXEC, 0644);
    if (fd >= 0)
        close(fd);
    return fd;
}

/* It opens, and changes, what is there before or after; the path is there all the time. */
static void change_while_it_is_replaced(void **state, const struct mount_node *replacing)
{
    pid_t child;

    mount_write_text(P("a/n/key"), "value");
    child = mount_fork(*state);
    if (child == 0)
        rename_for_ever(mount_path(replacing, "a/n/temporary"), mount_path(replacing, "a/n/key"));
    for (unsigned round = 0; round < rounds() * 10; round++)
        if (change_key(P("a/n/key"), round) < 0)
            fail_msg("round %u: %s", round, strerrorname_np(errno));
    MOUNT_OK(kill(child, SIGKILL));
    (void)mount_wait(*state, child);
}

static void a_key_can_be_changed_while_it_is_replaced_by_renames(void **state)
{
    change_while_it_is_replaced(state, &((struct mount_test *)*state)->nodes[0]);
}

static void a_key_can_be_changed_while_another_node_replaces_it_by_renames(void **state)
{
    change_while_it_is_replaced(state, mount_start(*state, NULL));
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        MOUNT_TEST(a_new_key_that_was_removed_does_not_come_back),
        MOUNT_TEST_WITH("durability=fsync", a_new_key_that_was_removed_does_not_come_back),
        MOUNT_TEST(a_failing_sync_and_a_removal_both_end),
        MOUNT_TEST_WITH("durability=fsync", a_failing_sync_and_a_removal_both_end),
        MOUNT_TEST(changed_attributes_are_seen_though_the_key_is_being_opened),
        MOUNT_TEST(exchanged_keys_are_exchanged_though_one_is_being_opened),
        MOUNT_TEST(a_daemon_ends_by_a_signal_while_closes_fail),
        MOUNT_TEST(a_key_can_be_changed_while_it_is_replaced_by_renames),
        MOUNT_TEST(a_key_can_be_changed_while_another_node_replaces_it_by_renames),
        MOUNT_TEST_WITH("cache_ttl=0", a_key_can_be_changed_while_another_node_replaces_it_by_renames),
        MOUNT_TEST_WITH("cache_ttl=0", a_key_can_be_appended_to_while_another_node_replaces_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return mount_tests("races", run); }
