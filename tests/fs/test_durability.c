/* What a close, an fsync and an msync promise, with either durability: another node sees the value then, whoever wrote
 * it and however; and where it cannot be kept, whoever closes or syncs is told. */
#include "tests/support/mount.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#define P(...) mount_path(&((struct mount_test *)*state)->nodes[0], __VA_ARGS__)

/* Another node, which asks the store each time. */
static struct mount_node *elsewhere(void **state) { return mount_start(*state, "cache_ttl=0"); }

static int open_key(const char *path, int flags) { return (int)MOUNT_OK(open(path, flags | O_CLOEXEC, 0666)); }

static char *map_key(int fd, size_t size)
{
    char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    assert_ptr_not_equal(map, MAP_FAILED);
    return map;
}

static void write_text(int fd, const char *text)
{
    assert_int_equal(MOUNT_OK(write(fd, text, strlen(text))), strlen(text));
}

/* As sync(1) does. */
static void fsync_key(const char *path)
{
    int fd = open_key(path, O_RDONLY);

    MOUNT_OK(fsync(fd));
    MOUNT_OK(close(fd));
}

/* -------------------------------------------------------------------- whose write it was */

static void an_fsync_makes_durable_what_others_wrote(void **state)
{
    struct mount_node *other = elsewhere(state);
    int writer, syncer;

    mount_write_text(P("a/n/key"), "old");
    writer = open_key(P("a/n/key"), O_WRONLY);
    write_text(writer, "new");
    mount_expect_text(mount_path(other, "a/n/key"), "old");
    syncer = open_key(P("a/n/key"), O_RDONLY); /* as sync(1) does */
    MOUNT_OK(fsync(syncer));
    mount_expect_text(mount_path(other, "a/n/key"), "new");
    MOUNT_OK(close(syncer));
    MOUNT_OK(close(writer));
}

/* The kernel writes pages back through any of the handles. */
static void a_sync_or_close_covers_a_mapping_of_another_handle(void **state)
{
    struct mount_node *other = elsewhere(state);
    int fds[2];
    char *maps[2];

    mount_write_text(P("a/n/key"), "0000");
    for (int i = 0; i < 2; i++) {
        fds[i] = open_key(P("a/n/key"), O_RDWR);
        maps[i] = map_key(fds[i], 4);
    }
    maps[0][0] = '1';
    MOUNT_OK(msync(maps[0], 4, MS_SYNC));
    mount_expect_text(mount_path(other, "a/n/key"), "1000");
    maps[1][1] = '2';
    MOUNT_OK(msync(maps[1], 4, MS_SYNC));
    mount_expect_text(mount_path(other, "a/n/key"), "1200");
    maps[0][2] = '3';
    MOUNT_OK(fsync(fds[1]));
    mount_expect_text(mount_path(other, "a/n/key"), "1230");
    maps[0][3] = '4';
    MOUNT_OK(close(fds[0]));
    mount_expect_text(mount_path(other, "a/n/key"), "1234");
    maps[0][0] = '5';
    MOUNT_OK(close(fds[1]));
    mount_expect_text(mount_path(other, "a/n/key"), "5234");
    maps[1][0] = '6';
    MOUNT_OK(msync(maps[1], 4, MS_SYNC));
    mount_expect_text(mount_path(other, "a/n/key"), "6234");
    MOUNT_OK(munmap(maps[0], 4));
    MOUNT_OK(munmap(maps[1], 4));
}

static void a_close_that_wrote_nothing_puts_nothing(void **state)
{
    struct mount_node *other = elsewhere(state);
    int writer = open_key(P("a/n/key"), O_RDWR | O_CREAT);

    write_text(writer, "first half ");
    MOUNT_OK(close(open_key(P("a/n/key"), O_RDWR)));
    MOUNT_FAILS(ENOENT, access(mount_path(other, "a/n/key"), F_OK));
    write_text(writer, "second half");
    MOUNT_OK(close(writer));
    mount_await_text(mount_path(other, "a/n/key"), "first half second half");
}

/* ----------------------------------------------------------- closes before the first write */

/* A close that comes with an exec waits for its answer while nobody may look at the process. */
static void a_process_that_execs_with_an_emptied_key_open_goes_on(void **state)
{
    static const int flags[] = {O_WRONLY | O_TRUNC, O_RDWR | O_CREAT, O_RDONLY | O_TRUNC};
    struct mount_node *other = elsewhere(state);

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        const char *path = P("a/n/key_%zu", i);
        int fd = open_key(path, flags[i] | O_CREAT);
        pid_t child = mount_fork(*state);

        if (child == 0) {
            if (dup(fd) >= 0) /* without O_CLOEXEC: it stays open */
                execlp("true", "true", NULL);
            _exit(1);
        }
        assert_int_equal(mount_wait(*state, child), 0);
        if (i < 2)
            write_text(fd, "value");
        MOUNT_OK(close(fd));
        mount_await_text(mount_path(other, "a/n/key_%zu", i), i < 2 ? "value" : "");
    }
}

static void an_emptied_key_is_put_by_a_close_though_it_is_open_for_reading(void **state)
{
    struct mount_node *other = elsewhere(state);
    int reader, writer;

    mount_write_text(P("a/n/key"), "old");
    reader = open_key(P("a/n/key"), O_RDONLY);
    writer = open_key(P("a/n/key"), O_WRONLY | O_TRUNC);
    MOUNT_OK(close(writer));
    mount_await_text(mount_path(other, "a/n/key"), "");
    MOUNT_OK(close(reader));
}

static void an_emptied_key_is_put_by_a_close_though_another_handle_can_write(void **state)
{
    struct mount_node *other = elsewhere(state);
    int first, second;

    mount_write_text(P("a/n/key"), "old");
    first = open_key(P("a/n/key"), O_WRONLY | O_TRUNC);
    second = open_key(P("a/n/key"), O_RDWR);
    MOUNT_OK(close(first));
    mount_await_text(mount_path(other, "a/n/key"), "");
    MOUNT_OK(close(second));
}

/* --------------------------------------------------------- with durability=fsync, too
 *
 * With a long interval nothing is flushed that nobody asks for. What is refused is refused at once all the same. */

#define LATE "durability=fsync,commit_interval_ms=600000"
#define SMALL_MAP ",map_size=8M,cache_ttl=60"

static void what_returned_is_seen_by_other_nodes_at_once(void **state)
{
    struct mount_node *other = elsewhere(state);

    for (int i = 0; i < 20; i++) {
        char text[32];

        snprintf(text, sizeof(text), "value %d", i);
        mount_write_text(P("a/n/key"), text);
        mount_expect_text(mount_path(other, "a/n/key"), text);
    }
    MOUNT_OK(chmod(P("a/n/key"), 0604));
    assert_int_equal(mount_stat(mount_path(other, "a/n/key")).st_mode & 0777, 0604);
    MOUNT_OK(setxattr(P("a/n/key"), "user.a", "12", 2, 0));
    assert_int_equal(MOUNT_OK(getxattr(mount_path(other, "a/n/key"), "user.a", NULL, 0)), 2);
    MOUNT_OK(truncate(P("a/n/key"), 5));
    mount_expect_text(mount_path(other, "a/n/key"), "value");
    MOUNT_OK(rename(P("a/n/key"), P("a/n/renamed")));
    mount_expect_list(mount_path(other, "a/n"), "renamed");
    mount_expect_text(mount_path(other, "a/n/renamed"), "value");
    MOUNT_OK(mkdir(P("a/m"), 0755));
    assert_true(mount_is_there(mount_path(other, "a/m")));
    MOUNT_OK(unlink(P("a/n/renamed")));
    assert_false(mount_is_there(mount_path(other, "a/n/renamed")));
}

/* Put values through another node until none fits any more. */
static void fill_map(struct mount_node *node)
{
    uint8_t *bytes = mount_bytes(1, 1 << 20);
    unsigned number = 0;

    for (size_t size = 1 << 20; size >= 4096; size /= 4)
        for (bool full = false; !full;) {
            int fd = open_key(mount_path(node, "a/n/fill_%u", number++), O_WRONLY | O_CREAT);

            full = write(fd, bytes, size) < 0;
            full = close(fd) < 0 || full;
        }
    free(bytes);
}

/* Begin to save, and let others take the room for it. returns the handle that is still to be closed */
static int write_and_fill(const char *path, struct mount_node *other, const uint8_t *bytes, size_t size)
{
    int fd = open_key(path, O_RDWR | O_CREAT);

    assert_int_equal(MOUNT_OK(write(fd, bytes, size)), size);
    fill_map(other);
    return fd;
}

static void a_put_that_does_not_fit_is_told_by_its_close_and_the_old_value_stays(void **state)
{
    struct mount_node *other = mount_start(*state, "cache_ttl=0,map_size=8M");
    uint8_t *bytes = mount_bytes(2, 300000);
    int fd;

    mount_write_text(P("a/n/key"), "old");
    fd = write_and_fill(P("a/n/key"), other, bytes, 300000);
    MOUNT_FAILS(ENOSPC, close(fd));
    assert_int_equal(mount_stat(P("a/n/key")).st_size, 3);
    mount_expect_text(P("a/n/key"), "old");
    mount_expect_text(mount_path(other, "a/n/key"), "old");
    assert_non_null(strstr(mount_text(P(".kvfs/errors")), "a/n/key close: "));
    fsync_key(P("a/n/key")); /* whoever closed was told; what is there is durable */
    free(bytes);
}

static void a_put_over_the_limit_is_told_by_its_close(void **state)
{
    struct mount_node *other = elsewhere(state);
    char bytes[700] = "", half[400] = "";
    int fd;

    MOUNT_KVCTL(*state, "account", "limit", "a", "--bytes", "1000");
    mount_write_text(P("a/n/key"), "old");
    fd = open_key(P("a/n/key"), O_WRONLY);
    assert_int_equal(MOUNT_OK(write(fd, bytes, sizeof(bytes))), sizeof(bytes));
    mount_write(mount_path(other, "a/n/more"), half, sizeof(half));
    MOUNT_FAILS(EDQUOT, close(fd));
    mount_expect_text(P("a/n/key"), "old");
    mount_expect_text(mount_path(other, "a/n/key"), "old");
}

/* What it would move is not what this node shows. */
static void a_rename_of_a_key_whose_put_does_not_fit_fails_and_moves_nothing(void **state)
{
    struct mount_node *other = mount_start(*state, "cache_ttl=0,map_size=8M");
    uint8_t *bytes = mount_bytes(4, 300000);
    int fd;

    mount_write_text(P("a/n/key"), "kept");
    mount_write_text(P("a/n/key_tmp"), "old");
    fd = write_and_fill(P("a/n/key_tmp"), other, bytes, 300000);
    MOUNT_FAILS(ENOSPC, rename(P("a/n/key_tmp"), P("a/n/key")));
    mount_expect_text(P("a/n/key"), "kept");
    mount_expect_text(P("a/n/key_tmp"), "old");
    MOUNT_OK(rename(P("a/n/key_tmp"), P("a/n/key"))); /* that is what it shows now */
    mount_expect_text(mount_path(other, "a/n/key"), "old");
    close(fd); /* which is told, or saved under its name if there was room by then */
    free(bytes);
}

static void a_new_key_whose_namespace_was_removed_elsewhere_is_told_by_its_close(void **state)
{
    struct mount_node *other = elsewhere(state);
    int fd = open_key(P("a/n/key"), O_WRONLY | O_CREAT);

    write_text(fd, "value");
    assert_true(mount_is_there(P("a/n/key")));
    MOUNT_OK(rmdir(mount_path(other, "a/n"))); /* there the namespace is empty */
    MOUNT_FAILS(ESTALE, close(fd));
    assert_false(mount_is_there(P("a/n/key")));
    assert_non_null(strstr(mount_text(P(".kvfs/errors")), "key close: "));
    MOUNT_OK(mkdir(P("a/n"), 0755));
    mount_write_text(P("a/n/key"), "value");
    MOUNT_FAILS(ENOTEMPTY, rmdir(mount_path(other, "a/n"))); /* as soon as it is closed it counts everywhere */
}

static void a_new_key_that_does_not_fit_can_be_tried_again(void **state)
{
    struct mount_node *other = mount_start(*state, "cache_ttl=0,map_size=8M");
    uint8_t *bytes = mount_bytes(3, 300000);
    int fd = write_and_fill(P("a/n/key"), other, bytes, 300000);

    MOUNT_FAILS(ENOSPC, fsync(fd));
    assert_false(mount_is_there(mount_path(other, "a/n/key")));
    MOUNT_OK(fsetxattr(fd, "user.a", "1", 1, 0));
    for (unsigned i = 0; i < 4; i++)
        MOUNT_OK(unlink(mount_path(other, "a/n/fill_%u", i)));
    MOUNT_OK(fsync(fd));
    assert_int_equal(MOUNT_OK(getxattr(mount_path(other, "a/n/key"), "user.a", NULL, 0)), 1);
    mount_expect(mount_path(other, "a/n/key"), bytes, 300000);
    MOUNT_OK(close(fd));
    free(bytes);
}

/* -------------------------------------------------------------------- a disk that fails
 *
 * The flush of one process fails; all that have the store open hear of it. */

static bool disk_fails; /* of this process */

int fdatasync(int fd)
{
    if (disk_fails) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

static void fail_the_disk(void **state)
{
    struct mount_test *test = *state;
    pid_t child = mount_fork(test);

    if (child == 0) {
        struct kv_options options = kv_options_default();
        struct kv_node account;
        struct kv_store *store;
        struct kv_error error;

        if (kv_open(test->store, &options, &store, &error) < 0)
            _exit(2);
        disk_fails = true;
        _exit(kv_node_make(store, KV_ACCOUNT, KV_ROOT_ID, "unlucky", 0, &account) == -EIO ? 0 : 3);
    }
    assert_int_equal(mount_wait(test, child), 0);
}

static void expect_no_change(const struct mount_node *node)
{
    int fd = open_key(mount_path(node, "a/n/key"), O_WRONLY | O_TRUNC);

    write_text(fd, "new");
    MOUNT_FAILS(EIO, close(fd));
    MOUNT_FAILS(EIO, mkdir(mount_path(node, "a/m"), 0755));
    MOUNT_FAILS(EIO, unlink(mount_path(node, "a/n/key")));
    MOUNT_FAILS(EIO, chmod(mount_path(node, "a/n/key"), 0604));
}

static void after_a_failed_disk_all_changes_fail_until_all_nodes_have_ended(void **state)
{
    struct mount_test *test = *state;
    struct mount_node *other = elsewhere(state);

    mount_write_text(P("a/n/key"), "kept");
    fsync_key(P("a/n/key"));
    fail_the_disk(state);
    for (int i = 0; i < 2; i++) { /* it does not go away by itself */
        expect_no_change(&test->nodes[0]);
        expect_no_change(other);
    }
    mount_expect_text(P("a/n/key"), "kept");
    mount_expect_text(mount_path(other, "a/n/key"), "kept");
    mount_expect_list(P("a/n"), "key");
    assert_non_null(strstr(mount_text(P(".kvfs/errors")), "a/n/key close: "));
    mount_stop_with(other, 1);
    expect_no_change(&test->nodes[0]);
    mount_again(other, NULL); /* the other one is still there */
    expect_no_change(other);
    mount_stop_with(other, 1);
    mount_stop_with(&test->nodes[0], 1);
    mount_again(&test->nodes[0], NULL);
    mount_expect_text(P("a/n/key"), "kept");
    mount_write_text(P("a/n/key"), "new");
    mount_expect_text(P("a/n/key"), "new");
    assert_false(mount_is_there(P("a/m")));
}

/* With durability=fsync nobody was told yet of what may be lost. */
static void after_a_failed_disk_no_fsync_succeeds(void **state)
{
    struct mount_test *test = *state;
    int fd, dir;

    mount_write_text(P("a/n/key"), "kept");
    fsync_key(P("a/n/key"));
    mount_write_text(P("a/n/later"), "closed");
    fail_the_disk(state);
    mount_expect_text(P("a/n/later"), "closed");
    fd = open_key(P("a/n/later"), O_RDONLY);
    dir = open_key(P("a/n"), O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < 2; i++) {
        MOUNT_FAILS(EIO, fsync(fd));
        MOUNT_FAILS(EIO, fsync(dir));
    }
    assert_non_null(strstr(mount_text(P(".kvfs/errors")), "a/n/later fsync: "));
    assert_non_null(strstr(mount_text(P(".kvfs/errors")), "the disk has failed"));
    MOUNT_OK(close(fd));
    MOUNT_OK(close(dir));
    mount_stop_with(&test->nodes[0], 1); /* once more, to whoever stops it */
    mount_again(&test->nodes[0], LATE);
    mount_expect_text(P("a/n/key"), "kept");
    mount_write_text(P("a/n/key"), "new");
    fsync_key(P("a/n/key"));
}

/* -------------------------------------------------------- handles whose key went its own way */

/* A save that failed leaves its handle without the name.
 * returns  the handle; there is room for another try */
static int fail_to_save_key(void **state, const struct mount_node *other, const char *bytes, size_t size)
{
    char half[400] = "";
    int fd;

    MOUNT_KVCTL(*state, "account", "limit", "a", "--bytes", "1000");
    mount_write(P("a/n/key"), half, sizeof(half));
    fd = open_key(P("a/n/key"), O_WRONLY);
    assert_int_equal(write(fd, bytes, size), size);
    mount_write(mount_path(other, "a/n/more"), half, sizeof(half));
    MOUNT_FAILS(EDQUOT, fsync(fd));
    MOUNT_OK(unlink(mount_path(other, "a/n/more")));
    return fd;
}

/* Who removes the key then means that one, too. */
static void a_key_removed_after_a_failed_fsync_does_not_come_back(void **state)
{
    struct mount_node *other = elsewhere(state);
    char bytes[700] = "";
    int fd = fail_to_save_key(state, other, bytes, sizeof(bytes));

    MOUNT_OK(unlink(P("a/n/key")));
    MOUNT_OK(close(fd));
    assert_false(mount_is_there(P("a/n/key")));
    assert_false(mount_is_there(mount_path(other, "a/n/key")));
}

/* ... and who renames it, too. */
static void a_key_renamed_after_a_failed_fsync_is_saved_under_its_new_name(void **state)
{
    struct mount_node *other = elsewhere(state);
    char bytes[700] = "";
    int fd = fail_to_save_key(state, other, bytes, sizeof(bytes));

    mount_write_text(P("a/n/swapped"), "swapped");
    MOUNT_OK(rename(P("a/n/key"), P("a/n/renamed")));
    MOUNT_OK(renameat2(AT_FDCWD, P("a/n/renamed"), AT_FDCWD, P("a/n/swapped"), RENAME_EXCHANGE));
    MOUNT_OK(close(fd));
    assert_false(mount_is_there(P("a/n/key")));
    mount_expect(mount_path(other, "a/n/swapped"), bytes, sizeof(bytes));
    mount_expect_text(mount_path(other, "a/n/renamed"), "swapped");
}

static void a_key_that_another_node_replaced_and_this_one_removed_stays_away(void **state)
{
    struct mount_node *other = elsewhere(state), *third = elsewhere(state);
    const char *path = mount_path(other, "a/n/key");
    int fd;

    mount_write_text(path, "old");
    fd = open_key(path, O_RDWR);
    mount_write_text(mount_path(third, "a/n/key"), "new");
    mount_expect_text(mount_path(other, "a/n/key"), "new");
    MOUNT_OK(unlink(mount_path(other, "a/n/key")));
    write_text(fd, "late");
    MOUNT_OK(close(fd));
    assert_false(mount_is_there(mount_path(third, "a/n/key")));
}

/* umount -f cuts the connection under those who still write. */
static void a_forced_unmount_puts_nothing_half_written(void **state)
{
    struct mount_test *test = *state;
    struct mount_node *node = &test->nodes[0];
    int fd;

    if (geteuid() != 0) {
        printf("skipped: only root can force an unmount\n");
        skip();
    }
    mount_write_text(P("a/n/key"), "the whole old value");
    fd = open_key(P("a/n/key"), O_WRONLY | O_TRUNC);
    write_text(fd, "HALF");
    umount2(node->path, MNT_FORCE); /* busy, and cut all the same */
    close(fd);
    umount2(node->path, MNT_DETACH);
    mount_ended(node);
    mount_again(node, NULL);
    mount_expect_text(P("a/n/key"), "the whole old value");
}

/* ---------------------------------------------------------------------------- races */

/* Opens a key that is there, writes and closes, each time it is told to. */
static void write_when_told(const char *path, int told)
{
    char byte;

    while (read(told, &byte, 1) == 1) {
        int fd = open(path, O_WRONLY | O_CLOEXEC);

        if (fd >= 0) {
            (void)!write(fd, "written", 7);
            close(fd);
        }
        (void)!write(told, "", 1);
    }
    _exit(0);
}

/* Whoever has opened it by then writes to a file that has no name any more. */
static void a_removed_key_does_not_come_back(void **state)
{
    enum { ROUNDS = 400 };
    char *key = strdup(P("a/n/key")), byte;
    int ends[2];
    pid_t child;

    MOUNT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
    child = mount_fork(*state);
    if (child == 0) {
        close(ends[0]);
        write_when_told(key, ends[1]);
    }
    close(ends[1]);
    for (int round = 0; round < ROUNDS; round++) {
        mount_write_text(key, "made");
        MOUNT_OK(write(ends[0], "", 1));
        if (round % 4 > 0)
            usleep((useconds_t)(round % 4) * 60); /* where the two meet */
        if (round % 2 == 0) {
            MOUNT_OK(unlink(key));
        } else {
            MOUNT_OK(rename(key, P("a/n/renamed")));
        }
        assert_int_equal(MOUNT_OK(read(ends[0], &byte, 1)), 1);
        assert_false(mount_is_there(key));
        mount_expect_list(P("a/n"), round == 0 ? "" : "renamed");
    }
    close(ends[0]);
    assert_int_equal(mount_wait(*state, child), 0);
    free(key);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        MOUNT_TEST(an_fsync_makes_durable_what_others_wrote),
        MOUNT_TEST_WITH(LATE, an_fsync_makes_durable_what_others_wrote),
        MOUNT_TEST(a_sync_or_close_covers_a_mapping_of_another_handle),
        MOUNT_TEST_WITH(LATE, a_sync_or_close_covers_a_mapping_of_another_handle),
        MOUNT_TEST(a_close_that_wrote_nothing_puts_nothing),
        MOUNT_TEST_WITH(LATE, a_close_that_wrote_nothing_puts_nothing),
        MOUNT_TEST(a_process_that_execs_with_an_emptied_key_open_goes_on),
        MOUNT_TEST(an_emptied_key_is_put_by_a_close_though_it_is_open_for_reading),
        MOUNT_TEST_WITH(LATE, an_emptied_key_is_put_by_a_close_though_it_is_open_for_reading),
        MOUNT_TEST(an_emptied_key_is_put_by_a_close_though_another_handle_can_write),
        MOUNT_TEST(what_returned_is_seen_by_other_nodes_at_once),
        MOUNT_TEST_WITH(LATE, what_returned_is_seen_by_other_nodes_at_once),
        MOUNT_TEST_WITH("durability=close" SMALL_MAP,
                        a_put_that_does_not_fit_is_told_by_its_close_and_the_old_value_stays),
        MOUNT_TEST_WITH(LATE SMALL_MAP, a_put_that_does_not_fit_is_told_by_its_close_and_the_old_value_stays),
        MOUNT_TEST_WITH(LATE, a_put_over_the_limit_is_told_by_its_close),
        MOUNT_TEST_WITH("durability=close" SMALL_MAP,
                        a_rename_of_a_key_whose_put_does_not_fit_fails_and_moves_nothing),
        MOUNT_TEST_WITH(LATE SMALL_MAP, a_rename_of_a_key_whose_put_does_not_fit_fails_and_moves_nothing),
        MOUNT_TEST(a_new_key_whose_namespace_was_removed_elsewhere_is_told_by_its_close),
        MOUNT_TEST_WITH(LATE, a_new_key_whose_namespace_was_removed_elsewhere_is_told_by_its_close),
        MOUNT_TEST_WITH("durability=close" SMALL_MAP, a_new_key_that_does_not_fit_can_be_tried_again),
        MOUNT_TEST_WITH(LATE SMALL_MAP, a_new_key_that_does_not_fit_can_be_tried_again),
        MOUNT_TEST(after_a_failed_disk_all_changes_fail_until_all_nodes_have_ended),
        MOUNT_TEST_WITH(LATE, after_a_failed_disk_all_changes_fail_until_all_nodes_have_ended),
        MOUNT_TEST_WITH(LATE, after_a_failed_disk_no_fsync_succeeds),
        MOUNT_TEST(a_key_removed_after_a_failed_fsync_does_not_come_back),
        MOUNT_TEST_WITH(LATE, a_key_removed_after_a_failed_fsync_does_not_come_back),
        MOUNT_TEST(a_key_renamed_after_a_failed_fsync_is_saved_under_its_new_name),
        MOUNT_TEST_WITH(LATE, a_key_renamed_after_a_failed_fsync_is_saved_under_its_new_name),
        MOUNT_TEST(a_key_that_another_node_replaced_and_this_one_removed_stays_away),
        MOUNT_TEST(a_forced_unmount_puts_nothing_half_written),
        MOUNT_TEST(a_removed_key_does_not_come_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return mount_tests("durability", run); }
