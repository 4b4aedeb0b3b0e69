/* An older version that is open beside the newer one, and what this node wrote beside what it lists. */
#include "tests/support/mount.h"
#include "tests/support/setting.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#define NODE(i) (&((struct mount_test *)*state)->nodes[i])
#define A(...) mount_path(NODE(0), __VA_ARGS__)
#define B(...) mount_path(NODE(1), __VA_ARGS__)

/* ----------------------------------------------------------------- displaced handles */

static void attributes_that_an_older_handle_sets_survive_its_put(void **state)
{
    char value[8];
    int fd;

    mount_start(*state, "cache_ttl=0");
    mount_write_text(A("a/n/key"), "first");
    fd = (int)MOUNT_OK(open(A("a/n/key"), O_RDWR | O_CLOEXEC));
    mount_write_text(B("a/n/key"), "second");
    mount_expect_text(A("a/n/key"), "second"); /* so the handle's version is not the newest */
    MOUNT_OK(fchmod(fd, 0640));
    MOUNT_OK(fsetxattr(fd, "user.x", "1", 1, 0));
    MOUNT_OK(pwrite(fd, "third", 5, 0));
    MOUNT_OK(close(fd));
    for (int i = 0; i < 2; i++) {
        const char *key = i == 0 ? A("a/n/key") : B("a/n/key");

        mount_expect_text(key, "third");
        assert_int_equal(mount_stat(key).st_mode & 07777, 0640);
        assert_int_equal(MOUNT_OK(getxattr(key, "user.x", value, sizeof(value))), 1);
    }
}

/* tail -F, nginx and others take the same number for the same bytes. */
static void another_version_shows_another_inode_number_while_the_older_one_is_open(void **state)
{
    struct stat older, newer;
    int fd;

    mount_start(*state, "cache_ttl=0");
    mount_write_text(A("a/n/key"), "older");
    fd = (int)MOUNT_OK(open(A("a/n/key"), O_RDONLY | O_CLOEXEC));
    mount_write_text(B("a/n/key"), "newer!");
    newer = mount_stat(A("a/n/key"));
    MOUNT_OK(fstat(fd, &older));
    assert_int_equal(newer.st_size, 6);
    assert_int_equal(older.st_size, 5);
    assert_int_not_equal(newer.st_ino, older.st_ino);
    MOUNT_OK(close(fd));
    mount_expect_text(A("a/n/key"), "newer!");
    fd = (int)MOUNT_OK(open(A("a/n/key"), O_RDONLY | O_CLOEXEC));
    MOUNT_OK(fstat(fd, &older));
    assert_int_equal(older.st_ino, mount_stat(A("a/n/key")).st_ino);
    MOUNT_OK(close(fd));
}

static void append_line(const char *path, const char *line)
{
    int fd = (int)MOUNT_OK(open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644));

    assert_int_equal(MOUNT_OK(write(fd, line, strlen(line))), strlen(line));
    MOUNT_OK(close(fd));
}

static void tail_follows_what_another_node_appends(void **state)
{
    const char *out = strdup(mount_path(NODE(0), "../out"));
    const char *text = "";
    pid_t tail;

    mount_start(*state, "cache_ttl=0");
    append_line(B("a/n/log"), "line 1\n");
    tail = mount_fork(*state);
    if (tail == 0) {
        int fd = open(out, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

        dup2(fd, STDOUT_FILENO);
        execlp("tail", "tail", "-n", "+1", "-s", "0.1", "-F", A("a/n/log"), NULL);
        _exit(127);
    }
    for (int line = 2; line <= 4; line++) {
        char wanted[32], last[32];
        int64_t end = mount_now_ms() + 20000;

        snprintf(last, sizeof(last), "line %d\n", line - 1);
        while (!mount_is_there(out) || strstr(text = mount_text(out), last) == NULL) {
            if (mount_now_ms() > end)
                fail_msg("tail does not show '%.6s'; it shows: %s", last, text);
            mount_pause_ms(20);
        }
        snprintf(wanted, sizeof(wanted), "line %d\n", line);
        append_line(B("a/n/log"), wanted);
    }
    MOUNT_OK(kill(tail, SIGKILL));
    (void)mount_wait(*state, tail);
    free((char *)out);
}

/* --------------------------------------------------------------------------- listings */

struct lister {
    const char *dir;
    atomic_bool over;
};

static void *list_for_ever(void *arg)
{
    struct lister *lister = arg;

    while (!lister->over) {
        DIR *dir = opendir(lister->dir);
        struct dirent *entry;
        struct stat attr;

        while (dir != NULL && (entry = readdir(dir)) != NULL)
            (void)fstatat(dirfd(dir), entry->d_name, &attr, 0);
        if (dir != NULL)
            closedir(dir);
    }
    return NULL;
}

static void a_listing_does_not_take_back_what_was_written(void **state)
{
    enum { KEYS = 40 };
    struct lister lister = {.dir = strdup(A("a/n"))};
    unsigned rounds = (unsigned)test_setting("KVFS_TEST_ROUNDS", 600);
    pthread_t threads[2];

    for (unsigned i = 0; i < KEYS; i++)
        mount_write_text(A("a/n/k%02u", i), "1");
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, list_for_ever, &lister), 0);
    for (unsigned round = 0; round < rounds; round++) {
        const char *key = A("a/n/k%02u", round % KEYS);
        char text[32];
        int size = snprintf(text, sizeof(text), "%*u", (int)(round % 20) + 8, round);

        mount_write_text(key, text);
        assert_int_equal(mount_stat(key).st_size, size);
        mount_expect_text(key, text);
        MOUNT_OK(chmod(key, round % 2 ? 0600 : 0644));
        assert_int_equal(mount_stat(key).st_mode & 0777, round % 2 ? 0600 : 0644);
    }
    lister.over = true;
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    free((char *)lister.dir);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        MOUNT_TEST_WITH("cache_ttl=0", attributes_that_an_older_handle_sets_survive_its_put),
        MOUNT_TEST_WITH("cache_ttl=0", another_version_shows_another_inode_number_while_the_older_one_is_open),
        MOUNT_TEST_WITH("cache_ttl=0", tail_follows_what_another_node_appends),
        MOUNT_TEST(a_listing_does_not_take_back_what_was_written),
        MOUNT_TEST_WITH("cache_ttl=0", a_listing_does_not_take_back_what_was_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return mount_tests("versions", run); }
