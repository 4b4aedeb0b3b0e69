/* What one user may take: handles, control files, locks, lines in errors, room of an account. Others have theirs. */
#include "tests/support/setting.h"
#include "tests/support/users.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#define NODE(i) (&((struct mount_test *)*state)->nodes[i])
#define A(...) mount_path(NODE(0), __VA_ARGS__)
#define B(...) mount_path(NODE(1), __VA_ARGS__)

enum { DESCRIPTORS = 20000 };
static int *fds;
static size_t fd_count;

static int room_for_descriptors(void **state)
{
    struct rlimit limit;

    (void)state;
    fds = calloc(DESCRIPTORS, sizeof(*fds));
    if (fds == NULL || getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_max < DESCRIPTORS)
        return -1;
    limit.rlim_cur = DESCRIPTORS;
    return setrlimit(RLIMIT_NOFILE, &limit);
}

/* What a test that failed left open was closed behind it. */
static int setup(void **state)
{
    fd_count = 0;
    return users_setup(state);
}
#define BOUNDS_TEST(f)                              \
    {                                               \
#f, f, setup, mount_teardown, "allow_other" \
    }

static void close_all(void)
{
    while (fd_count > 0)
        close(fds[--fd_count]);
}

/* Open a file as a user until that fails, at most `most` times. returns  how often; errno tells why it ended */
static size_t open_many(uid_t uid, const char *path, int flags, size_t most)
{
    size_t before = fd_count;

    assert_true(before + most <= DESCRIPTORS);
    errno = 0;
    while (fd_count - before < most) {
        int fd = (int)AS(uid, open(path, flags | O_CLOEXEC, 0644));

        if (fd < 0)
            break;
        fds[fd_count++] = fd;
    }
    return fd_count - before;
}

/* What was closed is given back, although a little later. */
static void wait_for_open(uid_t uid, const char *path)
{
    for (int64_t end = mount_now_ms() + 20000; open_many(uid, path, O_RDONLY, 1) == 0; mount_pause_ms(10))
        assert_true(mount_now_ms() < end);
}

/* ---------------------------------------------------------------------------- handles */

static void a_user_has_so_many_handles(void **state)
{
    enum { MOST = 16384 };

    mount_write_text(A("a/n/key"), "value");
    assert_int_equal(open_many(ONE, A("a/n/key"), O_RDONLY, MOST + 1), MOST);
    assert_int_equal(errno, ENFILE);
    assert_int_equal(open_many(OTHER, A("a/n/key"), O_RDONLY, 10), 10);
    assert_int_equal(open_many(0, A("a/n/key"), O_RDONLY, 10), 10);
    MOUNT_FAILS(ENFILE, AS(ONE, open(A("a/n/new"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644)));
    close_all();
    wait_for_open(ONE, A("a/n/key"));
    close_all();
}

/* Each version that somebody has open is in memory, or on the disk: that is for who opened it to pay. */
static void who_has_old_versions_open_is_in_no_others_way(void **state)
{
    enum { VALUE = 900000, MOST = 140 };
    char *value = calloc(1, VALUE);
    size_t opened = 0;

    assert_non_null(value);
    mount_start(*state, "allow_other,cache_ttl=0");
    MOUNT_KVCTL(*state, "account", "limit", "a", "--bytes", "1M");
    MOUNT_OK(AS(OTHER, users_write(A("a/n/key"), "", 0644)));
    for (int i = 0; i < MOST && opened == (size_t)i; i++) {
        int fd = (int)MOUNT_OK(AS(OTHER, open(A("a/n/key"), O_WRONLY | O_TRUNC | O_CLOEXEC)));

        MOUNT_OK(AS(OTHER, pwrite(fd, value, VALUE, 0)));
        MOUNT_OK(AS(OTHER, close(fd)));
        opened += open_many(ONE, B("a/n/key"), O_RDONLY, 1);
    }
    print_message("%zu versions open, then errno %d\n", opened, errno);
    assert_int_equal(errno, ENFILE);
    assert_in_range(opened, 100, MOST - 1);
    assert_int_equal(open_many(OTHER, B("a/n/key"), O_RDWR, 1), 1);
    close_all();
    free(value);
}

static void root_has_as_many_handles_as_it_needs(void **state)
{
    enum { MANY = 18000 };

    mount_write_text(A("a/n/key"), "value");
    assert_int_equal(open_many(0, A("a/n/key"), O_RDONLY, MANY), MANY);
    close_all();
}

static void a_user_has_so_many_control_files(void **state)
{
    enum { MOST = 64 };
    const char *const files[] = {".kvfs/stats", ".kvfs/errors"};

    for (int i = 0; i < 2; i++) {
        assert_int_equal(open_many(ONE, A("%s", files[i]), O_RDONLY, MOST + 1), MOST);
        assert_int_equal(errno, EMFILE);
        assert_int_equal(open_many(OTHER, A("%s", files[i]), O_RDONLY, 10), 10);
        close_all();
        wait_for_open(ONE, A("%s", files[i]));
        close_all();
    }
}

static void a_user_has_so_many_locks(void **state)
{
    enum { MOST = 1024 };
    size_t locked = 0;

    mount_write_text(A("a/n/key"), "value");
    assert_int_equal(open_many(ONE, A("a/n/key"), O_RDONLY, MOST + 2), MOST + 2);
    while (locked < fd_count && AS(ONE, flock(fds[locked], LOCK_SH | LOCK_NB)) == 0)
        locked++;
    assert_int_equal(errno, ENOLCK);
    assert_int_equal(locked, MOST);
    assert_int_equal(open_many(OTHER, A("a/n/key"), O_RDONLY, 1), 1);
    MOUNT_OK(AS(OTHER, flock(fds[fd_count - 1], LOCK_SH | LOCK_NB)));
    MOUNT_OK(AS(ONE, flock(fds[0], LOCK_UN)));
    MOUNT_OK(AS(ONE, flock(fds[locked], LOCK_SH | LOCK_NB)));
    close_all();
}

/* ------------------------------------------------------------------------------ memory */

static size_t memory_of(const struct mount_node *node)
{
    char path[64], line[256];
    size_t kib = 0;
    FILE *status;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)node->daemon);
    status = fopen(path, "r");
    assert_non_null(status);
    while (fgets(line, sizeof(line), status) != NULL)
        (void)sscanf(line, "RssAnon: %zu kB", &kib);
    fclose(status);
    return kib * 1024;
}

/* Names of keys that were never put are listed from what the node knows, without copies for each who lists. */
static void listings_of_names_that_were_never_put_take_no_memory(void **state)
{
    enum { NAMES = 3000, LISTERS = 150, BOUND = 160 << 20 };
    DIR *dirs[LISTERS];
    size_t before;
    char name[501];

    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    for (int i = 0; i < NAMES; i++)
        assert_int_equal(open_many(ONE, A("a/n/%s%06d", name, i), O_WRONLY | O_CREAT, 1), 1);
    before = memory_of(NODE(0));
    for (int i = 0; i < LISTERS; i++) {
        users_become(ONE);
        dirs[i] = opendir(A("a/n"));
        (void)users_return(0);
        assert_non_null(dirs[i]);
        assert_non_null(readdir(dirs[i]));
    }
    printf("%zu MiB before, %zu MiB with the listings\n", before >> 20, memory_of(NODE(0)) >> 20);
    assert_true(memory_of(NODE(0)) < before + BOUND);
    for (int i = 0; i < LISTERS; i++)
        MOUNT_OK(closedir(dirs[i]));
    close_all();
}

/* ------------------------------------------------------------------------------ errors */

/* The lines of errors, as a user reads them, that have these words. */
static size_t lines_with(void **state, uid_t uid, const char *words)
{
    size_t count = 0, size = 0;
    char *line = NULL;
    FILE *file;

    users_become(uid);
    file = fopen(A(".kvfs/errors"), "r");
    (void)users_return(0);
    assert_non_null(file);
    while (getline(&line, &size, file) > 0)
        count += strstr(line, words) != NULL;
    free(line);
    fclose(file);
    return count;
}

static void refuse(void **state, uid_t uid, const char *name)
{
    MOUNT_FAILS(EINVAL, AS(uid, open(A("a/n/%s", name), O_WRONLY | O_CREAT | O_CLOEXEC, 0644)));
}

static void each_user_reads_the_errors_of_own_requests(void **state)
{
    assert_int_equal(mount_stat(A(".kvfs/errors")).st_mode & 07777, 0444);
    refuse(state, ONE, "mine.of.one");
    refuse(state, OTHER, "mine.of.other");
    MOUNT_FAILS(EPERM, AS(ONE, mkdir(A("a/n/dir_of_one"), 0755)));
    MOUNT_FAILS(EPERM, AS(ONE, mknod(A("a/n/fifo_of_one"), S_IFIFO | 0644, 0)));
    assert_int_equal(lines_with(state, ONE, "a/n/mine.of.one"), 1);
    assert_int_equal(lines_with(state, ONE, "a/n/dir_of_one"), 1);
    assert_int_equal(lines_with(state, ONE, "a/n/fifo_of_one"), 1);
    assert_int_equal(lines_with(state, ONE, "other"), 0);
    assert_int_equal(lines_with(state, OTHER, "a/n/mine.of.other"), 1);
    assert_int_equal(lines_with(state, OTHER, "of_one"), 0);
    assert_int_equal(lines_with(state, OTHER, "of.one"), 0);
    assert_int_equal(lines_with(state, 0, "of.one"), 1);
    assert_int_equal(lines_with(state, 0, "of.other"), 1);
    MOUNT_FAILS(EACCES, AS(ONE, open(A(".kvfs/errors"), O_WRONLY | O_CLOEXEC)));
}

static void the_errors_of_one_user_do_not_push_out_those_of_another(void **state)
{
    enum { MANY = 1200, MOST = 200 };

    refuse(state, OTHER, "only.one");
    for (int i = 0; i < MANY; i++) {
        char name[32];

        snprintf(name, sizeof(name), "many.%d.end", i);
        refuse(state, ONE, name);
    }
    assert_int_equal(lines_with(state, OTHER, "only.one"), 1);
    assert_int_equal(lines_with(state, ONE, "a/n/many."), MOST);
    assert_int_equal(lines_with(state, 0, "a/n/many."), MOST);
    assert_int_equal(lines_with(state, ONE, "many.1199.end"), 1); /* the newest ones are kept */
}

static void what_is_not_printable_is_escaped_in_errors(void **state)
{
    refuse(state, ONE, "two\nlines");
    refuse(state, ONE, "color\x1b[31m");
    refuse(state, ONE, "latin\xe9\x7f");
    refuse(state, ONE, "back\\x41slash");
    assert_int_equal(lines_with(state, ONE, "a/n/two\\x0alines"), 1);
    assert_int_equal(lines_with(state, ONE, "a/n/color\\x1b[31m"), 1);
    assert_int_equal(lines_with(state, ONE, "a/n/latin\\xe9\\x7f"), 1);
    assert_int_equal(lines_with(state, ONE, "a/n/back\\\\x41slash"), 1);
    for (const char *text = mount_text(A(".kvfs/errors")); *text != '\0'; text++)
        assert_true(*text == '\n' || (*text >= ' ' && *text <= '~'));
}

/* ------------------------------------------------------------------------- open bytes */

/* What is written and not put yet counts: it is said at the write, not at the close. */
static void open_bytes_of_all_handles_count_against_the_account(void **state)
{
    enum { PART = 600000 };
    char *bytes = calloc(1, PART);
    int first, second;

    assert_non_null(bytes);
    MOUNT_KVCTL(*state, "account", "limit", "a", "--bytes", "1M");
    first = (int)MOUNT_OK(AS(ONE, open(A("a/n/first"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644)));
    second = (int)MOUNT_OK(AS(OTHER, open(A("a/n/second"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644)));
    assert_int_equal(MOUNT_OK(AS(ONE, write(first, bytes, PART))), PART);
    MOUNT_FAILS(EDQUOT, AS(OTHER, write(second, bytes, PART)));
    MOUNT_OK(AS(ONE, close(first)));
    MOUNT_FAILS(EDQUOT, AS(OTHER, close(second)));
    assert_int_equal(mount_stat(A("a/n/first")).st_size, PART);

    /* What will not be put does not count any more. */
    MOUNT_OK(unlink(A("a/n/first")));
    first = (int)MOUNT_OK(AS(ONE, open(A("a/n/first"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644)));
    assert_int_equal(MOUNT_OK(AS(ONE, write(first, bytes, PART))), PART);
    MOUNT_OK(unlink(A("a/n/first")));
    MOUNT_OK(AS(ONE, close(first)));
    second = (int)MOUNT_OK(AS(OTHER, open(A("a/n/second"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644)));
    for (int64_t end = mount_now_ms() + 10000; AS(OTHER, pwrite(second, bytes, PART, 0)) < 0;) {
        assert_true(mount_now_ms() < end);
        MOUNT_FAILS(EDQUOT, AS(OTHER, close(second)));
        second = (int)MOUNT_OK(AS(OTHER, open(A("a/n/second"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644)));
    }
    MOUNT_OK(AS(OTHER, close(second)));
    free(bytes);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        BOUNDS_TEST(a_user_has_so_many_handles),
        BOUNDS_TEST(who_has_old_versions_open_is_in_no_others_way),
        BOUNDS_TEST(root_has_as_many_handles_as_it_needs),
        BOUNDS_TEST(a_user_has_so_many_control_files),
        BOUNDS_TEST(a_user_has_so_many_locks),
        BOUNDS_TEST(listings_of_names_that_were_never_put_take_no_memory),
        BOUNDS_TEST(each_user_reads_the_errors_of_own_requests),
        BOUNDS_TEST(the_errors_of_one_user_do_not_push_out_those_of_another),
        BOUNDS_TEST(what_is_not_printable_is_escaped_in_errors),
        BOUNDS_TEST(open_bytes_of_all_handles_count_against_the_account),
    };

    return cmocka_run_group_tests(tests, room_for_descriptors, NULL);
}

int main(void) { return users_tests("bounds", run); }
