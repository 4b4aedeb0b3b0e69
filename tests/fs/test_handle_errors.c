/* A refused write changes nothing and belongs to the handle that made it: later writes through that one fail at
 * once, its close or fsync tells, nothing of it is put, and every other handle saves what it wrote. */
#include "tests/support/mount.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define P(...) mount_path(&((struct mount_test *)*state)->nodes[0], __VA_ARGS__)
#define TOO_FAR ((off_t)26 << 20)
#define ROOM "20000" /* bytes of the account; */
#define MORE 60000   /* than it has room for */

static char bytes[MORE];

static struct mount_node *elsewhere(void **state) { return mount_start(*state, "cache_ttl=0"); }
static int open_key(const char *path, int flags) { return (int)MOUNT_OK(open(path, flags | O_CLOEXEC, 0666)); }

/* ------------------------------------------------------------------- what is refused */

static long write_too_far(int fd) { return pwrite(fd, "x", 1, TOO_FAR); }
static long truncate_too_far(int fd) { return ftruncate(fd, TOO_FAR); }
static long allocate_too_far(int fd) { return fallocate(fd, 0, 0, TOO_FAR); }

/* The kernel makes one request of it, since it begins with a page. */
static long write_more_than_the_account_has(int fd) { return pwrite(fd, bytes, sizeof(bytes), 4096); }

/* A change of size that is refused spoils what was being saved; where nothing was, only the call itself fails. */
static const struct {
    long (*act)(int fd);
    int error;
    bool resizes;
} refused[] = {
    {write_too_far, EFBIG, false},
    {truncate_too_far, EFBIG, true},
    {allocate_too_far, EFBIG, true},
    {write_more_than_the_account_has, EDQUOT, false},
};

enum { REFUSED = sizeof(refused) / sizeof(*refused) };

/* A write that changes no byte. */
static void write_what_is_there(int fd)
{
    char byte;

    assert_int_equal(MOUNT_OK(pread(fd, &byte, 1, 0)), 1);
    assert_int_equal(MOUNT_OK(pwrite(fd, &byte, 1, 0)), 1);
}

static void refuse(int fd, size_t which)
{
    if (refused[which].resizes)
        write_what_is_there(fd);
    MOUNT_FAILS(refused[which].error, refused[which].act(fd));
}

/* ----------------------------------------------------------------------- two handles */

enum {
    BAD_OPENS_FIRST = 1,
    GOOD_WRITES_FIRST = 2,
    GOOD_CLOSES_FIRST = 4,
    GOOD_APPENDS = 8,
    BAD_WROTE = 16,
    WAYS = 32
};

/* returns  whether the handle that failed was told so by its next write and by its close, and the other one saved
 */
static bool meet(void **state, const struct mount_node *other, size_t which, int way)
{
    int flags = O_RDWR | (way & GOOD_APPENDS ? O_APPEND : 0), good = -1, bad = -1, error = refused[which].error;
    const char *value = way & GOOD_APPENDS ? "oldnew" : "new";
    bool told, closed, saved;

    mount_write_text(P("a/n/key"), "old");
    for (int i = 0; i < 2; i++)
        if ((i == 0) == ((way & BAD_OPENS_FIRST) != 0))
            bad = open_key(P("a/n/key"), O_RDWR);
        else
            good = open_key(P("a/n/key"), flags);
    if (way & GOOD_WRITES_FIRST)
        MOUNT_OK(write(good, "new", 3));
    if (way & BAD_WROTE)
        write_what_is_there(bad);
    refuse(bad, which);
    if (!(way & GOOD_WRITES_FIRST))
        MOUNT_OK(write(good, "new", 3));
    told = pwrite(bad, "x", 1, 0) < 0 && errno == error;
    saved = true;
    if (way & GOOD_CLOSES_FIRST)
        saved = close(good) == 0;
    closed = close(bad) < 0 && errno == error;
    if (!(way & GOOD_CLOSES_FIRST))
        saved = close(good) == 0;
    if (saved) {
        mount_expect_text(P("a/n/key"), value);
        mount_expect_text(mount_path(other, "a/n/key"), value);
    }
    if (!told || !closed || !saved)
        printf("operation %zu, way %#x: told %d at the next write, %d at close; the other saved %d\n", which,
               (unsigned)way, told, closed, saved);
    return told && closed && saved;
}

static void a_refused_write_harms_no_other_handle(void **state)
{
    struct mount_node *other = elsewhere(state);
    bool good = true;

    MOUNT_KVCTL(*state, "account", "limit", "a", "--bytes", ROOM);
    for (size_t which = 0; which < REFUSED; which++)
        for (int way = 0; way < WAYS; way++)
            good = meet(state, other, which, way) && good;
    assert_true(good);
}

static void each_handle_is_told_of_its_own_failure(void **state)
{
    struct mount_node *other = elsewhere(state);

    MOUNT_KVCTL(*state, "account", "limit", "a", "--bytes", ROOM);
    mount_write_text(P("a/n/key"), "old");
    for (size_t i = 0; i < REFUSED; i++)
        for (size_t k = 0; k < REFUSED; k++) {
            int first = open_key(P("a/n/key"), O_RDWR), second = open_key(P("a/n/key"), O_RDWR);

            refuse(first, i);
            refuse(second, k);
            MOUNT_FAILS(refused[i].error, pwrite(first, "x", 1, 0));
            MOUNT_FAILS(refused[k].error, close(second));
            MOUNT_FAILS(refused[i].error, close(first));
            mount_expect_text(P("a/n/key"), "old");
            mount_expect_text(mount_path(other, "a/n/key"), "old");
        }
}

/* The first put finds no room, the second one finds it again. */
static void a_put_that_failed_is_not_the_other_handles_failure(void **state)
{
    struct mount_node *other = elsewhere(state);
    char got[3001];
    int first, second;

    mount_write_text(P("a/n/key"), "12345");
    first = open_key(P("a/n/key"), O_RDWR);
    second = open_key(P("a/n/key"), O_RDWR);
    MOUNT_OK(pwrite(first, bytes, 1000, 5));
    MOUNT_OK(pwrite(second, bytes, 2000, 1000));
    MOUNT_KVCTL(*state, "account", "limit", "a", "--bytes", "1000");
    MOUNT_FAILS(EDQUOT, close(first));
    mount_expect_text(mount_path(other, "a/n/key"), "12345");
    MOUNT_KVCTL(*state, "account", "limit", "a", "--bytes", ROOM);
    MOUNT_OK(close(second));
    assert_int_equal(mount_read(mount_path(other, "a/n/key"), got, sizeof(got)), 3000);
    assert_memory_equal(got, "12345", 5);
    assert_memory_equal(got + 1000, bytes, 2000);
}

/* ------------------------------------------------------------------------- one handle */

static void a_refused_write_changes_nothing(void **state)
{
    struct mount_node *other = elsewhere(state);

    MOUNT_KVCTL(*state, "account", "limit", "a", "--bytes", ROOM);
    for (size_t i = 0; i < REFUSED; i++) {
        struct stat attr;
        char got[16];
        int fd;

        mount_write_text(P("a/n/key"), "old");
        fd = open_key(P("a/n/key"), O_RDWR | O_TRUNC);
        MOUNT_OK(write(fd, "accepted", 8));
        refuse(fd, i);
        MOUNT_OK(fstat(fd, &attr));
        assert_int_equal(attr.st_size, 8);
        assert_int_equal(MOUNT_OK(pread(fd, got, sizeof(got), 0)), 8);
        assert_memory_equal(got, "accepted", 8);
        mount_expect_text(mount_path(other, "a/n/key"), "old");
        MOUNT_FAILS(refused[i].error, close(fd));
        mount_expect_text(mount_path(other, "a/n/key"), "old");
        mount_expect_text(P("a/n/key"), "old");
    }
}

static void a_handle_starts_anew_after_fsync_told_it(void **state)
{
    struct mount_node *other = elsewhere(state);

    MOUNT_KVCTL(*state, "account", "limit", "a", "--bytes", ROOM);
    for (size_t i = 0; i < REFUSED; i++) {
        int fd;

        mount_write_text(P("a/n/key"), "old");
        fd = open_key(P("a/n/key"), O_RDWR);
        refuse(fd, i);
        MOUNT_FAILS(refused[i].error, pwrite(fd, "x", 1, 0));
        MOUNT_FAILS(refused[i].error, fsync(fd));
        mount_expect_text(mount_path(other, "a/n/key"), "old");
        MOUNT_OK(pwrite(fd, "new", 3, 0));
        MOUNT_OK(fsync(fd));
        mount_expect_text(mount_path(other, "a/n/key"), "new");
        MOUNT_OK(pwrite(fd, "newer", 5, 0));
        MOUNT_OK(close(fd));
        mount_expect_text(mount_path(other, "a/n/key"), "newer");
    }
}

static void a_refused_change_of_size_alone_spoils_nothing(void **state)
{
    struct mount_node *other = elsewhere(state);

    mount_write_text(P("a/n/key"), "old");
    for (size_t i = 0; i < REFUSED; i++) {
        int fd = open_key(P("a/n/key"), O_RDWR);

        if (refused[i].resizes) {
            MOUNT_FAILS(EFBIG, refused[i].act(fd));
            MOUNT_OK(pwrite(fd, "new", 3, 0));
        }
        MOUNT_OK(close(fd));
    }
    mount_expect_text(mount_path(other, "a/n/key"), "new");
}

/* They are one handle. */
static void duplicated_descriptors_share_the_failure(void **state)
{
    struct mount_node *other = elsewhere(state);
    int fd, copy;

    mount_write_text(P("a/n/key"), "old");
    fd = open_key(P("a/n/key"), O_RDWR);
    copy = (int)MOUNT_OK(fcntl(fd, F_DUPFD_CLOEXEC, 0));
    MOUNT_FAILS(EFBIG, write_too_far(fd));
    MOUNT_FAILS(EFBIG, pwrite(copy, "x", 1, 0));
    MOUNT_FAILS(EFBIG, close(copy));
    MOUNT_OK(pwrite(fd, "new", 3, 0));
    MOUNT_OK(close(fd));
    mount_expect_text(mount_path(other, "a/n/key"), "new");
}

static void the_opener_is_told_though_a_child_closed_first(void **state)
{
    struct mount_node *other = elsewhere(state);
    int fd;
    pid_t child;

    mount_write_text(P("a/n/key"), "old");
    fd = open_key(P("a/n/key"), O_RDWR | O_TRUNC);
    MOUNT_FAILS(EFBIG, write_too_far(fd));
    child = mount_fork(*state);
    if (child == 0) {
        close(fd);
        _exit(0);
    }
    assert_int_equal(mount_wait(*state, child), 0);
    MOUNT_FAILS(EFBIG, pwrite(fd, "x", 1, 0));
    MOUNT_FAILS(EFBIG, close(fd));
    mount_expect_text(mount_path(other, "a/n/key"), "old");
}

static void nothing_is_put_of_a_failed_handle_that_nobody_closed(void **state)
{
    struct mount_node *other = elsewhere(state);
    pid_t child;
    int dir;

    mount_write_text(P("a/n/key"), "old");
    child = mount_fork(*state);
    if (child == 0) {
        int fd = open(P("a/n/key"), O_WRONLY | O_TRUNC);

        if (write(fd, "half", 4) == 4 && write_too_far(fd) < 0)
            raise(SIGKILL);
        _exit(1);
    }
    assert_int_equal(mount_wait(*state, child), SIGKILL);
    dir = open_key(P("a/n"), O_RDONLY | O_DIRECTORY);
    MOUNT_OK(fsync(dir));
    MOUNT_OK(close(dir));
    mount_expect_text(mount_path(other, "a/n/key"), "old");
    mount_expect_text(P("a/n/key"), "old");
}

/* What write() accepts after the failure was told is kept; before, nothing is accepted. */
static void a_log_goes_on_after_room_was_made(void **state)
{
    for (int told_by_fsync = 0; told_by_fsync < 2; told_by_fsync++) {
        struct mount_node *other = elsewhere(state);
        const char *text;
        ssize_t wrote;
        int log;

        MOUNT_KVCTL(*state, "account", "limit", "a", "--bytes", ROOM);
        mount_write(P("a/n/filler"), bytes, 15000);
        mount_write_text(P("a/n/log"), "line0\n");
        log = open_key(P("a/n/log"), O_WRONLY | O_APPEND);
        MOUNT_OK(write(log, "line1\n", 6));
        while ((wrote = write(log, bytes, 4000)) > 0) /* the rest of a page is a request of its own */
            ;
        MOUNT_FAILS(EDQUOT, wrote);
        MOUNT_OK(unlink(P("a/n/filler")));
        MOUNT_FAILS(EDQUOT, write(log, "line2\n", 6));
        if (told_by_fsync) {
            MOUNT_FAILS(EDQUOT, fsync(log));
        } else {
            MOUNT_FAILS(EDQUOT, close(log));
            mount_expect_text(P("a/n/log"), "line0\n");
            log = open_key(P("a/n/log"), O_WRONLY | O_APPEND);
        }
        MOUNT_OK(write(log, "line3\n", 6));
        MOUNT_OK(fsync(log));
        MOUNT_OK(write(log, "line4\n", 6));
        MOUNT_OK(close(log));
        text = mount_text(mount_path(other, "a/n/log"));
        assert_memory_equal(text, "line0\n", 6);
        assert_non_null(strstr(text, "line3\nline4\n"));
        assert_null(strstr(text, "line2"));
    }
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        MOUNT_TEST(a_refused_write_harms_no_other_handle),
        MOUNT_TEST(each_handle_is_told_of_its_own_failure),
        MOUNT_TEST(a_put_that_failed_is_not_the_other_handles_failure),
        MOUNT_TEST(a_refused_write_changes_nothing),
        MOUNT_TEST(a_handle_starts_anew_after_fsync_told_it),
        MOUNT_TEST(a_refused_change_of_size_alone_spoils_nothing),
        MOUNT_TEST(duplicated_descriptors_share_the_failure),
        MOUNT_TEST(the_opener_is_told_though_a_child_closed_first),
        MOUNT_TEST(nothing_is_put_of_a_failed_handle_that_nobody_closed),
        MOUNT_TEST(a_log_goes_on_after_room_was_made),
    };

    memset(bytes, 'b', sizeof(bytes));
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return mount_tests("handle_errors", run); }
