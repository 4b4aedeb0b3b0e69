/* The log of errors: whose lines are kept, how they are written, and that nobody ever waits for the system log.
 *
 * The program has a /dev of its own, with a /dev/log that nobody reads unless a test does: syslog(3) blocks there. */
#include "fs/base/errorlog.h"

#include "tests/support/mount.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

enum { USERS = 10, BLOCKED_MS = 3000, QUIET_MS = 1500, REFUSED = 300 };

static int dev_log = -1; /* the reading end of /dev/log; -1: this is not root */

/* ------------------------------------------------------------------------------- /dev */

static bool make_device(const char *dir, const char *name, unsigned major_number, unsigned minor_number)
{
    char path[MOUNT_PATH];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return mknod(path, S_IFCHR | 0666, makedev(major_number, minor_number)) == 0 && chmod(path, 0666) == 0;
}

/* returns  the reading end of the new /dev/log; -1 it cannot be made here */
static int make_dev(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
    char dir[] = "/tmp/kvfs-dev.XXXXXX";
    bool made;
    int fd;

    if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return -1;
    if (mkdtemp(dir) == NULL)
        return -1;
    made = mount("dev", dir, "tmpfs", 0, "mode=755") == 0 && make_device(dir, "null", 1, 3) &&
           make_device(dir, "zero", 1, 5) && make_device(dir, "urandom", 1, 9) &&
           make_device(dir, "fuse", 10, 229) && mount(dir, "/dev", NULL, MS_MOVE, NULL) == 0;
    umount2(dir, MNT_DETACH);
    rmdir(dir);
    fd = made ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    if (fd >= 0 && bind(fd, (struct sockaddr *)&name, sizeof(name)) == 0)
        return fd;
    return -1;
}

/* The next line in /dev/log, within `ms`, without what syslog(3) puts before it. returns false: there is none */
static bool next_logged(char *line, size_t size, int ms)
{
    struct pollfd wait = {.fd = dev_log, .events = POLLIN};
    char buffer[4096];
    const char *text;
    ssize_t got;

    if (poll(&wait, 1, ms) != 1)
        return false;
    got = recv(dev_log, buffer, sizeof(buffer) - 1, 0);
    assert_true(got > 0);
    buffer[got] = '\0';
    text = strstr(buffer, "]: ");
    assert_non_null(text);
    snprintf(line, size, "%s", text + 3);
    return true;
}

static void need_dev_log(void)
{
    char line[64];

    if (dev_log < 0)
        skip();
    while (next_logged(line, sizeof(line), QUIET_MS)) /* what threads of earlier tests wait to say */
        ;
}

/* --------------------------------------------------------------------------- the log alone */

static struct fs_error_log *new_log(void)
{
    struct fs_error_log *log;

    assert_int_equal(fs_error_log_new(&log), 0);
    return log;
}

static void add_lines(struct fs_error_log *log, uid_t uid, int from, int to)
{
    char reason[64];

    for (int i = from; i < to; i++) {
        snprintf(reason, sizeof(reason), "reason %d", i);
        fs_error_log_add(log, uid, "a/n/key", "close", reason);
    }
}

/* Lines that a user may read; *first is the number in the first one, of add_lines(). */
static int count_lines(struct fs_error_log *log, uid_t uid, bool all, int *first)
{
    int count = 0;
    size_t size;
    char *text;

    assert_int_equal(fs_error_log_text(log, uid, all, &text, &size), 0);
    *first = -1;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
        if (count++ == 0)
            assert_int_equal(sscanf(line, "%*s a/n/key close: reason %d", first), 1);
    free(text);
    return count;
}

static void users_see_their_own_lines(void **state)
{
    struct fs_error_log *log = new_log();
    int first;

    (void)state;
    add_lines(log, 1, 0, 10);
    add_lines(log, 2, 10, 30);
    assert_int_equal(count_lines(log, 1, false, &first), 10);
    assert_int_equal(first, 0);
    assert_int_equal(count_lines(log, 2, false, &first), 20);
    assert_int_equal(first, 10);
    assert_int_equal(count_lines(log, 3, false, &first), 0);
    assert_int_equal(count_lines(log, 3, true, &first), 30);
    fs_error_log_free(log);
}

static void a_user_who_fills_the_log_pushes_out_only_own_lines(void **state)
{
    struct fs_error_log *log = new_log();
    int first;

    (void)state;
    add_lines(log, 1, 0, 100);
    add_lines(log, 2, 0, 5000);
    assert_int_equal(count_lines(log, 1, false, &first), 100);
    assert_int_equal(count_lines(log, 2, false, &first), FS_ERROR_LINES_USER);
    assert_int_equal(first, 5000 - FS_ERROR_LINES_USER);
    fs_error_log_free(log);
}

static void of_all_lines_the_last_thousand_are_kept(void **state)
{
    struct fs_error_log *log = new_log();
    int first;

    (void)state;
    for (int i = 0; i < 2 * FS_ERROR_LINES; i++)
        add_lines(log, (uid_t)(i % (2 * USERS)), i, i + 1);
    assert_int_equal(count_lines(log, 0, true, &first), FS_ERROR_LINES);
    assert_int_equal(first, FS_ERROR_LINES);
    fs_error_log_free(log);
}

static void what_is_not_printable_is_escaped(void **state)
{
    struct fs_error_log *log = new_log();
    size_t size;
    char *text;

    (void)state;
    fs_error_log_add(log, 1, "a/n/\n2026 b\x7f\xc3\xa4\\x", "create", "no\r\033[1m");
    assert_int_equal(fs_error_log_text(log, 1, false, &text, &size), 0);
    assert_string_equal(strchr(text, ' ') + 1, "a/n/\\x0a2026 b\\x7f\\xc3\\xa4\\\\x create: no\\x0d\\x1b[1m\n");
    free(text);
    fs_error_log_free(log);
}

static void a_long_name_leaves_room_for_the_reason(void **state)
{
    struct fs_error_log *log = new_log();
    char name[4096];
    size_t size;
    char *text;

    (void)state;
    memset(name, '\x01', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    fs_error_log_add(log, 1, name, "create", "outside the rules");
    assert_int_equal(fs_error_log_text(log, 1, false, &text, &size), 0);
    assert_non_null(strstr(text, "\\x01 create: outside the rules\n"));
    assert_true(size < 1100);
    free(text);
    fs_error_log_free(log);
}

static void lines_reach_the_system_log(void **state)
{
    struct fs_error_log *log;
    char line[128];

    (void)state;
    need_dev_log();
    log = new_log();
    add_lines(log, 1, 7, 8);
    fs_error_log_say(log, FS_LOG_INFO, "%s", "stopped");
    assert_true(next_logged(line, sizeof(line), BLOCKED_MS));
    assert_string_equal(line, "a/n/key close: reason 7");
    assert_true(next_logged(line, sizeof(line), BLOCKED_MS));
    assert_string_equal(line, "stopped");
    fs_error_log_free(log);
}

static void a_user_cannot_flood_the_system_log(void **state)
{
    int lines = 0, dropped = 0, number;
    struct fs_error_log *log;
    char line[128];

    (void)state;
    need_dev_log();
    log = new_log();
    add_lines(log, 1, 0, 1000);
    add_lines(log, 2, 5000, 5001);
    while (next_logged(line, sizeof(line), QUIET_MS))
        if (sscanf(line, "%d lines were dropped", &number) == 1)
            dropped += number;
        else
            lines++;
    fs_error_log_free(log);
    assert_in_range(lines, 51, 60);
    assert_int_equal(lines + dropped, 1001);
}

static void nobody_waits_for_a_system_log_that_nobody_reads(void **state)
{
    int64_t start_ms = mount_now_ms();
    int lines = 0, dropped = 0, number, first;
    struct fs_error_log *log;
    char line[128];

    (void)state;
    need_dev_log();
    log = new_log();
    for (uid_t uid = 0; uid < USERS; uid++)
        add_lines(log, uid, 0, 100);
    assert_int_equal(count_lines(log, 0, true, &first), FS_ERROR_LINES);
    fs_error_log_free(log);
    assert_true(mount_now_ms() - start_ms < BLOCKED_MS);
    /* The thread that was left goes on now, and ends. */
    while (next_logged(line, sizeof(line), QUIET_MS))
        if (sscanf(line, "%d lines were dropped", &number) == 1)
            dropped += number;
        else
            lines++;
    assert_true(lines >= 256);
    assert_int_equal(lines + dropped, USERS * 100);
}

/* ------------------------------------------------------------------------------ a node */

static void a_node_works_while_nobody_reads_the_system_log(void **state)
{
    struct mount_test *test = *state;
    struct mount_node *node = &test->nodes[0];
    int64_t start_ms;
    char large[4096] = {0};

    need_dev_log();
    mount_write_text(mount_path(node, "a/n/key"), "value");
    MOUNT_KVCTL(test, "account", "limit", "a", "--bytes", "100");
    start_ms = mount_now_ms();
    for (int i = 0; i < REFUSED; i++) {
        int fd = (int)MOUNT_OK(open(mount_path(node, "a/n/large_%d", i), O_WRONLY | O_CREAT, 0600));
        bool refused = write(fd, large, sizeof(large)) < 0;

        refused |= close(fd) < 0;
        assert_true(refused);
    }
    mount_expect_text(mount_path(node, "a/n/key"), "value");
    assert_true(mount_stat(mount_path(node, ".kvfs/errors")).st_mode == (S_IFREG | 0444));
    assert_non_null(strstr(mount_text(mount_path(node, ".kvfs/errors")), "a/n/large_299"));
    mount_stop(node);
    assert_true(mount_now_ms() - start_ms < 20 * BLOCKED_MS);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(users_see_their_own_lines),
        cmocka_unit_test(a_user_who_fills_the_log_pushes_out_only_own_lines),
        cmocka_unit_test(of_all_lines_the_last_thousand_are_kept),
        cmocka_unit_test(what_is_not_printable_is_escaped),
        cmocka_unit_test(a_long_name_leaves_room_for_the_reason),
        cmocka_unit_test(lines_reach_the_system_log),
        cmocka_unit_test(a_user_cannot_flood_the_system_log),
        cmocka_unit_test(nobody_waits_for_a_system_log_that_nobody_reads),
        MOUNT_TEST(a_node_works_while_nobody_reads_the_system_log),
    };

    openlog("kvfs", LOG_PID, LOG_DAEMON); /* not later: it waits for a syslog(3) that waits */
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    dev_log = make_dev();
    if (dev_log < 0)
        printf("skipped: a /dev/log that nobody reads, which takes root and a mount namespace\n");
    return mount_tests("log", run);
}
