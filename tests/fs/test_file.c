/* Keys as files: what programs do with open files, and when what they wrote is put.
 *
 * "Elsewhere" in a test is a second node that always asks the central: it shows what has been put. */
#include "tests/support/mount.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define VALUE_MAX 26214400

#define NODE(state) (&((struct mount_test *)*(state))->nodes[0])
#define P(...) mount_path(NODE(state), __VA_ARGS__)

static struct mount_node *elsewhere(void **state) { return mount_start(*state, "cache_ttl=0"); }

static int open_key(const char *path, int flags) { return (int)MOUNT_OK(open(path, flags | O_CLOEXEC, 0666)); }

static void write_text(int fd, const char *text)
{
    assert_int_equal(MOUNT_OK(write(fd, text, strlen(text))), strlen(text));
}

/* What an open file holds from its start. */
static void expect_open(int fd, const char *text)
{
    char got[256] = "";

    assert_int_equal(MOUNT_OK(pread(fd, got, sizeof(got), 0)), strlen(text));
    assert_memory_equal(got, text, strlen(text));
}

/* ------------------------------------------------------------------------- values */

static const size_t sizes[] = {0,      1,      4095,   4096,    4097,    8191,    8192,          8193,
                               262143, 262144, 262145, 1048575, 1048576, 1048577, VALUE_MAX - 1, VALUE_MAX};
enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };

static void values_of_all_sizes_are_read_as_they_were_written(void **state)
{
    struct mount_node *other = elsewhere(state);

    for (size_t i = 0; i < SIZES; i++) {
        uint8_t *bytes = mount_bytes(i, sizes[i]);

        mount_write(P("a/n/key"), bytes, sizes[i]);
        mount_expect(P("a/n/key"), bytes, sizes[i]);
        mount_expect(mount_path(other, "a/n/key"), bytes, sizes[i]);
        free(bytes);
    }
}

static void values_of_all_sizes_are_written_and_read_by_mmap(void **state)
{
    struct mount_node *other = elsewhere(state);

    for (size_t i = 1; i < SIZES; i++) {
        uint8_t *bytes = mount_bytes(i, sizes[i]), *map;
        int fd = open_key(P("a/n/key"), O_RDWR | O_CREAT | O_TRUNC);

        MOUNT_OK(ftruncate(fd, (off_t)sizes[i]));
        map = mmap(NULL, sizes[i], PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        assert_ptr_not_equal(map, MAP_FAILED);
        memcpy(map, bytes, sizes[i]);
        MOUNT_OK(msync(map, sizes[i], MS_SYNC));
        MOUNT_OK(munmap(map, sizes[i]));
        MOUNT_OK(close(fd));
        mount_expect(mount_path(other, "a/n/key"), bytes, sizes[i]);

        fd = open_key(mount_path(other, "a/n/key"), O_RDONLY);
        map = mmap(NULL, sizes[i], PROT_READ, MAP_PRIVATE, fd, 0);
        assert_ptr_not_equal(map, MAP_FAILED);
        assert_memory_equal(map, bytes, sizes[i]);
        MOUNT_OK(munmap(map, sizes[i]));
        MOUNT_OK(close(fd));
        free(bytes);
    }
}

static void one_byte_more_than_the_limit_leaves_the_old_value(void **state)
{
    static uint8_t bytes[1 << 20];
    size_t written = 0;
    ssize_t got = 1;
    int fd;

    mount_write_text(P("a/n/key"), "old");
    fd = open_key(P("a/n/key"), O_WRONLY | O_TRUNC);
    while (got > 0 && written < VALUE_MAX) {
        size_t size = VALUE_MAX - written < sizeof(bytes) ? VALUE_MAX - written : sizeof(bytes);

        got = MOUNT_OK(write(fd, bytes, size));
        written += (size_t)got;
    }
    MOUNT_FAILS(EFBIG, write(fd, bytes, 1));
    MOUNT_FAILS(EFBIG, close(fd));
    mount_expect_text(P("a/n/key"), "old");
    assert_non_null(
        strstr(mount_text(P(".kvfs/errors")), "a/n/key write: the value is over the limit of 26214400"));
    mount_write_text(P("a/n/key"), "new");
    mount_expect_text(P("a/n/key"), "new");
}

/* The file is sparse, or it is not: cp sets the size of the former, and writes the latter. */
static void cp_too_much(void **state, bool sparse)
{
    struct mount_test *test = *state;
    char file[MOUNT_PATH + 8];

    mount_write_text(P("a/n/key"), "old");
    snprintf(file, sizeof(file), "%s/file", test->dir);
    if (sparse) {
        mount_write_text(file, "");
        MOUNT_OK(truncate(file, VALUE_MAX + 1));
    } else {
        uint8_t *bytes = mount_bytes(1, VALUE_MAX + 1);

        mount_write(file, bytes, VALUE_MAX + 1);
        free(bytes);
    }
    assert_int_not_equal(MOUNT_RUN(test, "cp", file, P("a/n/key")), 0);
    assert_non_null(strstr(test->output, "File too large"));
    mount_expect_text(P("a/n/key"), "old");
    MOUNT_OK(truncate(file, VALUE_MAX));
    assert_int_equal(MOUNT_RUN(test, "cp", file, P("a/n/key")), 0);
    assert_int_equal(MOUNT_RUN(test, "cmp", file, P("a/n/key")), 0);
}

static void cp_of_one_byte_too_many_fails(void **state) { cp_too_much(state, false); }

static void cp_of_a_sparse_file_with_one_byte_too_many_fails(void **state) { cp_too_much(state, true); }

/* -------------------------------------------------------------------------- opening */

static void a_key_is_made_by_creating_it_and_is_empty_then(void **state)
{
    struct mount_node *other = elsewhere(state);

    MOUNT_OK(close(open_key(P("a/n/key"), O_WRONLY | O_CREAT | O_EXCL)));
    mount_expect_text(P("a/n/key"), "");
    mount_await_text(mount_path(other, "a/n/key"), "");
    MOUNT_OK(mknod(P("a/n/node"), S_IFREG | 0640, 0));
    mount_expect_text(mount_path(other, "a/n/node"), "");
    assert_int_equal(mount_stat(P("a/n/node")).st_mode, S_IFREG | 0640);
    MOUNT_FAILS(ENOENT, open(P("a/n/absent"), O_RDWR | O_CLOEXEC));
    MOUNT_FAILS(ENOENT, truncate(P("a/n/absent"), 0));
    MOUNT_FAILS(EOPNOTSUPP, open(P("a/n"), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    mount_expect_list(P("a/n"), "key node");
}

static void truncation_at_open_is_a_change_of_its_own(void **state)
{
    struct mount_node *other = elsewhere(state);

    mount_write_text(P("a/n/key"), "value");
    MOUNT_OK(close(open_key(P("a/n/key"), O_WRONLY | O_TRUNC)));
    mount_expect_text(P("a/n/key"), "");
    mount_await_text(mount_path(other, "a/n/key"), "");
}

static void truncate_cuts_and_grows_with_zeros(void **state)
{
    struct mount_node *other = elsewhere(state);
    int fd;

    mount_write_text(P("a/n/key"), "0123456789");
    MOUNT_OK(truncate(P("a/n/key"), 4));
    mount_expect_text(mount_path(other, "a/n/key"), "0123");
    mount_expect_text(P("a/n/key"), "0123");
    MOUNT_OK(truncate(P("a/n/key"), 6));
    mount_expect(mount_path(other, "a/n/key"), "0123\0\0", 6);
    mount_expect(P("a/n/key"), "0123\0\0", 6);
    fd = open_key(P("a/n/key"), O_RDWR);
    MOUNT_OK(ftruncate(fd, 2));
    expect_open(fd, "01");
    MOUNT_OK(ftruncate(fd, 3));
    mount_expect(P("a/n/key"), "01\0", 3);
    MOUNT_OK(close(fd));
    mount_expect(mount_path(other, "a/n/key"), "01\0", 3);
}

static void writes_go_where_they_are_told_to(void **state)
{
    int fd = open_key(P("a/n/key"), O_RDWR | O_CREAT);

    write_text(fd, "hello world");
    MOUNT_OK(pwrite(fd, "W", 1, 6));
    MOUNT_OK(lseek(fd, -1, SEEK_END));
    write_text(fd, "D!");
    expect_open(fd, "hello WorlD!");
    MOUNT_OK(close(fd));
    mount_expect_text(P("a/n/key"), "hello WorlD!");
}

static void holes_read_as_zeros(void **state)
{
    int fd = open_key(P("a/n/key"), O_RDWR | O_CREAT);
    uint8_t *zeros = calloc(1, 3000001);

    assert_non_null(zeros);
    MOUNT_OK(pwrite(fd, "x", 1, 3000000));
    MOUNT_OK(close(fd));
    zeros[3000000] = 'x';
    mount_expect(P("a/n/key"), zeros, 3000001);
    mount_stop(NODE(state));
    mount_again(NODE(state), NULL);
    mount_expect(P("a/n/key"), zeros, 3000001);
    free(zeros);
}

static void reads_end_at_the_end(void **state)
{
    char bytes[16];
    int fd;

    mount_write_text(P("a/n/key"), "value");
    fd = open_key(P("a/n/key"), O_RDONLY);
    assert_int_equal(MOUNT_OK(pread(fd, bytes, sizeof(bytes), 3)), 2);
    assert_int_equal(MOUNT_OK(pread(fd, bytes, sizeof(bytes), 5)), 0);
    assert_int_equal(MOUNT_OK(pread(fd, bytes, sizeof(bytes), 1 << 20)), 0);
    assert_int_equal(MOUNT_OK(lseek(fd, 0, SEEK_END)), 5);
    MOUNT_FAILS(EBADF, write(fd, "x", 1));
    MOUNT_OK(close(fd));
}

static void appends_go_to_the_end(void **state)
{
    int first, second;

    mount_write_text(P("a/n/key"), "begin ");
    first = open_key(P("a/n/key"), O_WRONLY | O_APPEND);
    second = open_key(P("a/n/key"), O_WRONLY | O_APPEND);
    write_text(first, "1 ");
    write_text(second, "2 ");
    write_text(first, "3 ");
    MOUNT_OK(close(first));
    write_text(second, "4");
    MOUNT_OK(close(second));
    mount_expect_text(P("a/n/key"), "begin 1 2 3 4");
}

static void appends_of_several_processes_lose_nothing(void **state)
{
    enum { PROCESSES = 4, LINES = 100 };
    pid_t children[PROCESSES];
    char *path = strdup(P("a/n/log"));
    bool seen[PROCESSES][LINES] = {{false}};
    int count = 0, writer, line;

    for (int i = 0; i < PROCESSES; i++) {
        children[i] = mount_fork(*state);
        for (int j = 0; children[i] == 0; j++) {
            int fd = open(path, O_WRONLY | O_APPEND | O_CREAT, 0666);

            if (fd < 0 || dprintf(fd, "%d %d\n", i, j) < 0 || close(fd) < 0)
                _exit(1);
            if (j == LINES - 1)
                _exit(0);
        }
    }
    for (int i = 0; i < PROCESSES; i++)
        assert_int_equal(mount_wait(*state, children[i]), 0);
    for (const char *text = mount_text(path); sscanf(text, "%d %d\n", &writer, &line) == 2;) {
        assert_in_range(writer, 0, PROCESSES - 1);
        assert_in_range(line, 0, LINES - 1);
        assert_false(seen[writer][line]);
        seen[writer][line] = true;
        count++;
        text = strchr(text, '\n') + 1;
    }
    assert_int_equal(count, PROCESSES * LINES);
    free(path);
}

/* ------------------------------------------------------------------- when it is put */

static void until_the_close_other_nodes_see_the_old_value(void **state)
{
    struct mount_node *other = elsewhere(state);
    int fd;

    mount_write_text(P("a/n/key"), "old");
    fd = open_key(P("a/n/key"), O_WRONLY | O_TRUNC);
    mount_expect_text(mount_path(other, "a/n/key"), "old");
    write_text(fd, "new");
    mount_expect_text(mount_path(other, "a/n/key"), "old");
    mount_expect_text(P("a/n/key"), "new"); /* as POSIX says, on its own node */
    MOUNT_OK(close(fd));
    mount_expect_text(mount_path(other, "a/n/key"), "new");
}

static void until_the_close_other_nodes_do_not_see_a_new_key(void **state)
{
    struct mount_node *other = elsewhere(state);
    int fd = open_key(P("a/n/key"), O_WRONLY | O_CREAT);

    write_text(fd, "new");
    assert_false(mount_is_there(mount_path(other, "a/n/key")));
    mount_expect_list(mount_path(other, "a/n"), "");
    mount_expect_text(P("a/n/key"), "new");
    MOUNT_OK(close(fd));
    mount_expect_text(mount_path(other, "a/n/key"), "new");
    mount_expect_list(mount_path(other, "a/n"), "key");
}

static void fsync_puts_what_was_written_so_far(void **state)
{
    struct mount_node *other = elsewhere(state);
    int fd = open_key(P("a/n/key"), O_WRONLY | O_CREAT);

    write_text(fd, "one");
    MOUNT_OK(fsync(fd));
    mount_expect_text(mount_path(other, "a/n/key"), "one");
    write_text(fd, " two");
    mount_expect_text(mount_path(other, "a/n/key"), "one");
    MOUNT_OK(fdatasync(fd));
    mount_expect_text(mount_path(other, "a/n/key"), "one two");
    MOUNT_OK(fsync(fd)); /* nothing is new */
    MOUNT_OK(close(fd));
    mount_expect_text(mount_path(other, "a/n/key"), "one two");
}

static void each_close_of_a_duplicated_descriptor_puts(void **state)
{
    struct mount_node *other = elsewhere(state);
    int fd = open_key(P("a/n/key"), O_WRONLY | O_CREAT), second = (int)MOUNT_OK(dup(fd));

    write_text(fd, "one");
    MOUNT_OK(close(fd));
    mount_expect_text(mount_path(other, "a/n/key"), "one");
    write_text(second, " two");
    mount_expect_text(P("a/n/key"), "one two");
    mount_expect_text(mount_path(other, "a/n/key"), "one");
    MOUNT_OK(close(second));
    mount_expect_text(mount_path(other, "a/n/key"), "one two");
}

/* A shell's redirection opens, duplicates and closes before it runs the command: no empty value may be seen. */
static void a_shells_redirection_shows_no_empty_value(void **state)
{
    struct mount_node *other = elsewhere(state);
    char *commands;

    mount_write_text(P("a/n/key"), "old");
    assert_true(asprintf(&commands, "{ echo one; cat '%s'; echo two; } > '%s'", mount_path(other, "a/n/key"),
                         P("a/n/key")) > 0);
    assert_int_equal(MOUNT_RUN(*state, "bash", "-c", commands), 0);
    mount_expect_text(P("a/n/key"), "one\noldtwo\n");
    mount_expect_text(mount_path(other, "a/n/key"), "one\noldtwo\n");
    free(commands);
}

static void writing_through_a_mapping_after_the_last_close_is_put(void **state)
{
    struct mount_node *other = elsewhere(state);
    int fd = open_key(P("a/n/key"), O_RDWR | O_CREAT);
    int64_t deadline = mount_now_ms() + 20000;
    char *map;

    write_text(fd, "old value");
    map = mmap(NULL, 9, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    MOUNT_OK(close(fd));
    memcpy(map, "new", 3);
    MOUNT_OK(munmap(map, 9));
    mount_expect_text(P("a/n/key"), "new value");
    while (strcmp(mount_text(mount_path(other, "a/n/key")), "new value") != 0) {
        assert_true(mount_now_ms() < deadline);
        mount_pause_ms(10);
    }
}

/* ----------------------------------------------------------------- several handles */

static void handles_of_a_node_see_each_others_writes(void **state)
{
    int writer, reader;

    mount_write_text(P("a/n/key"), "old");
    reader = open_key(P("a/n/key"), O_RDONLY);
    expect_open(reader, "old");
    writer = open_key(P("a/n/key"), O_WRONLY);
    write_text(writer, "new value");
    expect_open(reader, "new value");
    MOUNT_OK(ftruncate(writer, 2));
    expect_open(reader, "ne");
    MOUNT_OK(close(writer));
    expect_open(reader, "ne");
    MOUNT_OK(close(reader));
}

static void a_mapping_sees_what_is_written(void **state)
{
    char *map;
    int fd;

    mount_write_text(P("a/n/key"), "old value");
    fd = open_key(P("a/n/key"), O_RDWR);
    map = mmap(NULL, 9, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    assert_memory_equal(map, "old value", 9);
    MOUNT_OK(pwrite(fd, "new", 3, 0));
    assert_memory_equal(map, "new value", 9);
    memcpy(map + 4, "VALUE", 5);
    expect_open(fd, "new VALUE");
    MOUNT_OK(munmap(map, 9));
    MOUNT_OK(close(fd));
    mount_expect_text(P("a/n/key"), "new VALUE");
}

static void hundreds_of_keys_can_be_open_at_once(void **state)
{
    enum { KEYS = 500 };
    int fds[KEYS];
    char text[32];

    for (int i = 0; i < KEYS; i++) {
        fds[i] = open_key(P("a/n/key_%03d", i), O_RDWR | O_CREAT);
        snprintf(text, sizeof(text), "value %d", i);
        write_text(fds[i], text);
    }
    for (int i = KEYS - 1; i >= 0; i--) {
        snprintf(text, sizeof(text), "value %d", i);
        expect_open(fds[i], text);
        MOUNT_OK(close(fds[i]));
    }
    for (int i = 0; i < KEYS; i++) {
        snprintf(text, sizeof(text), "value %d", i);
        mount_expect_text(P("a/n/key_%03d", i), text);
    }
}

static void a_key_can_be_open_hundreds_of_times(void **state)
{
    enum { HANDLES = 300 };
    int fds[HANDLES];
    char expected[2 * HANDLES + 1] = "";

    for (int i = 0; i < HANDLES; i++)
        fds[i] = open_key(P("a/n/key"), O_RDWR | O_CREAT | O_APPEND);
    for (int i = 0; i < HANDLES; i++) {
        write_text(fds[i], i % 2 == 0 ? "a" : "b");
        strcat(expected, i % 2 == 0 ? "a" : "b");
    }
    for (int i = 0; i < HANDLES; i++) {
        MOUNT_OK(close(fds[(i * 7) % HANDLES]));
    }
    mount_expect_text(P("a/n/key"), expected);
}

/* ----------------------------------------------------------- names of open files change */

static void an_unlinked_open_file_stays_usable_and_is_never_put(void **state)
{
    struct mount_node *other = elsewhere(state);
    struct stat attr;
    int fd;

    mount_write_text(P("a/n/key"), "old");
    fd = open_key(P("a/n/key"), O_RDWR);
    MOUNT_OK(unlink(P("a/n/key")));
    assert_false(mount_is_there(P("a/n/key")));
    assert_false(mount_is_there(mount_path(other, "a/n/key")));
    expect_open(fd, "old");
    write_text(fd, "new value");
    expect_open(fd, "new value");
    MOUNT_OK(fstat(fd, &attr));
    assert_int_equal(attr.st_nlink, 0);
    assert_int_equal(attr.st_size, 9);
    MOUNT_OK(fsync(fd));
    assert_false(mount_is_there(mount_path(other, "a/n/key")));
    MOUNT_OK(fchmod(fd, 0600));
    MOUNT_OK(ftruncate(fd, 3));
    expect_open(fd, "new");
    MOUNT_OK(close(fd));
    assert_false(mount_is_there(P("a/n/key")));
    mount_expect_list(mount_path(other, "a/n"), "");
}

static void a_file_unlinked_before_its_first_put_is_never_seen(void **state)
{
    struct mount_node *other = elsewhere(state);
    int fd = open_key(P("a/n/key"), O_RDWR | O_CREAT);

    write_text(fd, "value");
    MOUNT_OK(unlink(P("a/n/key")));
    MOUNT_FAILS(ENOENT, unlink(P("a/n/key")));
    mount_expect_list(P("a/n"), "");
    expect_open(fd, "value");
    MOUNT_OK(close(fd));
    assert_false(mount_is_there(P("a/n/key")));
    assert_false(mount_is_there(mount_path(other, "a/n/key")));
}

static void a_new_file_at_the_name_of_an_unlinked_one_is_its_own(void **state)
{
    struct mount_node *other = elsewhere(state);
    int old, new;

    mount_write_text(P("a/n/key"), "old");
    old = open_key(P("a/n/key"), O_RDWR);
    MOUNT_OK(unlink(P("a/n/key")));
    new = open_key(P("a/n/key"), O_RDWR | O_CREAT | O_EXCL);
    write_text(new, "new");
    MOUNT_OK(pwrite(old, "OLD", 3, 0));
    expect_open(old, "OLD");
    expect_open(new, "new");
    MOUNT_OK(close(new));
    MOUNT_OK(close(old));
    mount_expect_text(P("a/n/key"), "new");
    mount_expect_text(mount_path(other, "a/n/key"), "new");
}

static void an_open_file_keeps_its_content_when_another_is_renamed_over_it(void **state)
{
    struct stat attr;
    char *map;
    int fd;

    mount_write_text(P("a/n/key"), "old");
    mount_write_text(P("a/n/temporary"), "new");
    fd = open_key(P("a/n/key"), O_RDWR);
    map = mmap(NULL, 3, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    MOUNT_OK(rename(P("a/n/temporary"), P("a/n/key")));
    mount_expect_text(P("a/n/key"), "new");
    expect_open(fd, "old");
    assert_memory_equal(map, "old", 3);
    MOUNT_OK(fstat(fd, &attr));
    assert_int_equal(attr.st_nlink, 0);
    MOUNT_OK(pwrite(fd, "OLD", 3, 0));
    assert_memory_equal(map, "OLD", 3);
    MOUNT_OK(munmap(map, 3));
    MOUNT_OK(close(fd));
    mount_expect_text(P("a/n/key"), "new");
    mount_expect_list(P("a/n"), "key");
}

static void an_open_file_goes_along_with_its_rename(void **state)
{
    struct mount_node *other = elsewhere(state);
    int fd;

    MOUNT_OK(mkdir(P("a/m"), 0755));
    fd = open_key(P("a/n/key"), O_RDWR | O_CREAT);
    write_text(fd, "one");
    MOUNT_OK(rename(P("a/n/key"), P("a/m/moved"))); /* before it was ever put */
    assert_false(mount_is_there(P("a/n/key")));
    mount_expect_text(P("a/m/moved"), "one");
    write_text(fd, " two");
    mount_expect_text(P("a/m/moved"), "one two");
    MOUNT_OK(rename(P("a/m/moved"), P("a/n/again")));
    MOUNT_OK(close(fd));
    mount_expect_text(P("a/n/again"), "one two");
    mount_expect_list(mount_path(other, "a/m"), "");
    mount_expect_list(mount_path(other, "a/n"), "again");
    mount_expect_text(mount_path(other, "a/n/again"), "one two");
}

static void exchanged_open_files_keep_their_content(void **state)
{
    int one, two;

    mount_write_text(P("a/n/one"), "1");
    mount_write_text(P("a/n/two"), "2");
    one = open_key(P("a/n/one"), O_RDWR);
    two = open_key(P("a/n/two"), O_RDWR);
    write_text(one, "1 changed");
    MOUNT_OK(renameat2(AT_FDCWD, P("a/n/one"), AT_FDCWD, P("a/n/two"), RENAME_EXCHANGE));
    expect_open(one, "1 changed");
    expect_open(two, "2");
    mount_expect_text(P("a/n/two"), "1 changed");
    mount_expect_text(P("a/n/one"), "2");
    write_text(two, "2 changed");
    MOUNT_OK(close(one));
    MOUNT_OK(close(two));
    mount_expect_text(P("a/n/two"), "1 changed");
    mount_expect_text(P("a/n/one"), "2 changed");
}

/* ------------------------------------------------------------------------ attributes */

static void new_keys_have_the_mode_owner_and_times_of_their_making(void **state)
{
    struct timespec before, after;
    struct stat attr;

    clock_gettime(CLOCK_REALTIME, &before);
    MOUNT_OK(close((int)MOUNT_OK(open(P("a/n/key"), O_WRONLY | O_CREAT | O_CLOEXEC, 0676))));
    clock_gettime(CLOCK_REALTIME, &after);
    attr = mount_stat(P("a/n/key"));
    assert_int_equal(attr.st_mode, S_IFREG | 0654); /* umask 022 */
    assert_int_equal(attr.st_uid, geteuid());
    assert_int_equal(attr.st_gid, getegid());
    assert_in_range(attr.st_mtim.tv_sec, before.tv_sec, after.tv_sec);
    assert_in_range(attr.st_ctim.tv_sec, before.tv_sec, after.tv_sec);
    assert_in_range(attr.st_atim.tv_sec, before.tv_sec, after.tv_sec);
}

static void expect_mode(void **state, struct mount_node *other, mode_t mode)
{
    assert_int_equal(mount_stat(P("a/n/key")).st_mode, S_IFREG | mode);
    assert_int_equal(mount_stat(mount_path(other, "a/n/key")).st_mode, S_IFREG | mode);
}

static void chmod_of_closed_open_and_new_files(void **state)
{
    struct mount_node *other = elsewhere(state);
    int fd = open_key(P("a/n/key"), O_WRONLY | O_CREAT);

    MOUNT_OK(fchmod(fd, 0600)); /* it is not in the central yet */
    write_text(fd, "value");
    MOUNT_OK(close(fd));
    expect_mode(state, other, 0600);
    MOUNT_OK(chmod(P("a/n/key"), 0444));
    expect_mode(state, other, 0444);
    MOUNT_OK(chmod(P("a/n/key"), 0644));
    fd = open_key(P("a/n/key"), O_WRONLY);
    write_text(fd, "VALUE");
    MOUNT_OK(chmod(P("a/n/key"), 0640));
    expect_mode(state, other, 0640); /* durable when it returns, although the value is not */
    mount_expect_text(mount_path(other, "a/n/key"), "value");
    MOUNT_OK(close(fd));
    expect_mode(state, other, 0640);
    mount_expect_text(mount_path(other, "a/n/key"), "VALUE");
}

static void chown_changes_owner_and_group(void **state)
{
    struct mount_node *other;
    struct stat attr;

    if (geteuid() != 0) {
        printf("skipped: only root may give files away\n");
        skip();
    }
    other = elsewhere(state);
    mount_write_text(P("a/n/key"), "value");
    MOUNT_OK(chown(P("a/n/key"), 1234, 5678));
    attr = mount_stat(mount_path(other, "a/n/key"));
    assert_int_equal(attr.st_uid, 1234);
    assert_int_equal(attr.st_gid, 5678);
    MOUNT_OK(chown(P("a/n/key"), (uid_t)-1, 99));
    MOUNT_OK(chown(P("a/n"), 7, 8));
    MOUNT_OK(chown(P("a"), 9, (gid_t)-1));
    mount_write_text(P("a/n/key"), "a new value, the same owner");
    attr = mount_stat(mount_path(other, "a/n/key"));
    assert_int_equal(attr.st_uid, 1234);
    assert_int_equal(attr.st_gid, 99);
    assert_int_equal(mount_stat(mount_path(other, "a/n")).st_uid, 7);
    assert_int_equal(mount_stat(mount_path(other, "a/n")).st_gid, 8);
    assert_int_equal(mount_stat(mount_path(other, "a")).st_uid, 9);
}

static const struct timespec old_times[2] = {{1234567890, 123456789}, {987654321, 987654321}};

static void expect_times(const char *path, const struct timespec times[2])
{
    struct stat attr = mount_stat(path);

    assert_int_equal(attr.st_atim.tv_sec, times[0].tv_sec);
    assert_int_equal(attr.st_atim.tv_nsec, times[0].tv_nsec);
    assert_int_equal(attr.st_mtim.tv_sec, times[1].tv_sec);
    assert_int_equal(attr.st_mtim.tv_nsec, times[1].tv_nsec);
}

static void times_are_kept_to_the_nanosecond(void **state)
{
    static const struct timespec early[2] = {{-1234567890, 1}, {-1, 999999999}};
    struct mount_node *other = elsewhere(state);
    const struct timespec omitted[2] = {{0, UTIME_OMIT}, {1, 5}}, expected[2] = {early[0], {1, 5}};

    mount_write_text(P("a/n/key"), "value");
    MOUNT_OK(utimensat(AT_FDCWD, P("a/n/key"), old_times, 0));
    expect_times(P("a/n/key"), old_times);
    expect_times(mount_path(other, "a/n/key"), old_times);
    MOUNT_OK(utimensat(AT_FDCWD, P("a/n/key"), early, 0));
    expect_times(P("a/n/key"), early);
    expect_times(mount_path(other, "a/n/key"), early);
    MOUNT_OK(utimensat(AT_FDCWD, P("a/n/key"), omitted, 0));
    expect_times(P("a/n/key"), expected);
    MOUNT_OK(utimensat(AT_FDCWD, P("a/n/key"), NULL, 0));
    assert_in_range(mount_stat(P("a/n/key")).st_mtim.tv_sec, time(NULL) - 60, time(NULL));
    MOUNT_OK(utimensat(AT_FDCWD, P("a/n"), old_times, 0));
    expect_times(P("a/n"), old_times);
    expect_times(mount_path(other, "a/n"), old_times);
}

/* As cp -p, tar and rsync do it: the times that were set stay although the value is put later. */
static void times_that_were_set_before_the_close_stay(void **state)
{
    struct mount_node *other = elsewhere(state);
    int fd = open_key(P("a/n/key"), O_WRONLY | O_CREAT);

    write_text(fd, "value");
    MOUNT_OK(futimens(fd, old_times));
    expect_times(P("a/n/key"), old_times);
    MOUNT_OK(close(fd));
    expect_times(P("a/n/key"), old_times);
    expect_times(mount_path(other, "a/n/key"), old_times);

    fd = open_key(P("a/n/key"), O_WRONLY);
    write_text(fd, "VALUE");
    MOUNT_OK(futimens(fd, old_times));
    MOUNT_OK(close(fd));
    expect_times(P("a/n/key"), old_times);
    expect_times(mount_path(other, "a/n/key"), old_times);
    mount_expect_text(mount_path(other, "a/n/key"), "VALUE");
}

static void writing_moves_mtime_and_reading_does_not(void **state)
{
    mount_write_text(P("a/n/key"), "value");
    MOUNT_OK(utimensat(AT_FDCWD, P("a/n/key"), old_times, 0));
    mount_expect_text(P("a/n/key"), "value");
    MOUNT_OK(close(open_key(P("a/n/key"), O_RDWR)));
    assert_int_equal(mount_stat(P("a/n/key")).st_mtim.tv_sec, old_times[1].tv_sec);
    mount_write_text(P("a/n/key"), "VALUE");
    assert_in_range(mount_stat(P("a/n/key")).st_mtim.tv_sec, time(NULL) - 60, time(NULL));
    MOUNT_OK(utimensat(AT_FDCWD, P("a/n/key"), old_times, 0));
    MOUNT_OK(truncate(P("a/n/key"), 2));
    assert_in_range(mount_stat(P("a/n/key")).st_mtim.tv_sec, time(NULL) - 60, time(NULL));
}

/* Becomes somebody else, with a namespace's descriptor as the only way in: the test's directories above the
 * mount are closed to others. */
static int try_as_nobody(int dir)
{
    if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
        return 1;
    if (openat(dir, "public", O_RDONLY) < 0)
        return 2;
    if (openat(dir, "public", O_WRONLY) >= 0 || errno != EACCES)
        return 3;
    if (openat(dir, "secret", O_RDONLY) >= 0 || errno != EACCES)
        return 4;
    if (openat(dir, "new", O_WRONLY | O_CREAT, 0666) >= 0 || errno != EACCES)
        return 5;
    if (unlinkat(dir, "public", 0) == 0 || errno != EACCES)
        return 6;
    if (fchmodat(dir, "public", 0777, 0) == 0 || errno != EPERM)
        return 7;
    return 0;
}

static void users_may_do_what_the_modes_say(void **state)
{
    pid_t child;

    if (geteuid() != 0) {
        printf("skipped: only root can become another user\n");
        skip();
    }
    mount_write_text(P("a/n/public"), "value");
    mount_write_text(P("a/n/secret"), "value");
    MOUNT_OK(chmod(P("a/n/secret"), 0600));
    child = mount_fork(*state);
    if (child == 0)
        _exit(try_as_nobody(open(P("a/n"), O_PATH | O_DIRECTORY)));
    assert_int_equal(mount_wait(*state, child), 0);
    mount_expect_text(P("a/n/public"), "value");
    mount_expect_list(P("a/n"), "public secret");
}

static void extended_attributes_of_a_user_are_kept(void **state)
{
    struct mount_node *other = elsewhere(state);
    char value[64] = "", names[64] = "";
    int fd = open_key(P("a/n/key"), O_WRONLY | O_CREAT);

    MOUNT_OK(fsetxattr(fd, "user.type", "text/plain", 10, 0)); /* before it was ever put */
    write_text(fd, "value");
    MOUNT_OK(close(fd));
    assert_int_equal(MOUNT_OK(getxattr(mount_path(other, "a/n/key"), "user.type", value, sizeof(value))), 10);
    assert_string_equal(value, "text/plain");
    MOUNT_OK(setxattr(P("a/n/key"), "user.empty", "", 0, XATTR_CREATE));
    MOUNT_FAILS(EEXIST, setxattr(P("a/n/key"), "user.empty", "x", 1, XATTR_CREATE));
    MOUNT_FAILS(ENODATA, setxattr(P("a/n/key"), "user.absent", "x", 1, XATTR_REPLACE));
    assert_int_equal(MOUNT_OK(listxattr(P("a/n/key"), names, sizeof(names))), 21);
    MOUNT_OK(removexattr(P("a/n/key"), "user.type"));
    MOUNT_FAILS(ENODATA, getxattr(P("a/n/key"), "user.type", value, sizeof(value)));
    assert_int_equal(MOUNT_OK(listxattr(P("a/n/key"), names, sizeof(names))), 11);
    assert_string_equal(names, "user.empty");
    MOUNT_FAILS(EOPNOTSUPP, setxattr(P("a/n/key"), "trusted.x", "x", 1, 0));
    mount_write_text(P("a/n/key"), "another value, the same attributes");
    assert_int_equal(MOUNT_OK(getxattr(mount_path(other, "a/n/key"), "user.empty", value, sizeof(value))), 0);
    MOUNT_OK(setxattr(P("a/n"), "user.owner", "me", 2, 0));
    assert_int_equal(MOUNT_OK(getxattr(mount_path(other, "a/n"), "user.owner", value, sizeof(value))), 2);
}

/* -------------------------------------------------------------------- failures */

/* A key whose put cannot succeed, because another one has taken the room meanwhile. */
static int fill_account_under(void **state)
{
    static const char bytes[600];
    struct mount_node *other = mount_start(*state, "cache_ttl=0");
    int fd;

    MOUNT_KVCTL(*state, "account", "limit", "a", "--bytes", "1000");
    fd = open_key(P("a/n/key"), O_WRONLY | O_CREAT);
    MOUNT_OK(write(fd, bytes, sizeof(bytes)));
    mount_write(mount_path(other, "a/n/other"), bytes, sizeof(bytes));
    return fd;
}

static void temporary_files_have_a_bound_of_their_own(void **state)
{
    enum { SIZE = 25 << 20, MOST = 64 / 25 };
    uint8_t *bytes = mount_bytes(1, SIZE);
    int fds[MOST + 1];

    for (int i = 0; i <= MOST; i++) {
        fds[i] = (int)MOUNT_OK(open(P("a/n/.temporary_%d", i), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
        if (i < MOST)
            assert_int_equal(MOUNT_OK(write(fds[i], bytes, SIZE)), SIZE);
    }
    MOUNT_FAILS(EDQUOT, pwrite(fds[MOST], bytes, 1 << 20, 14 << 20));
    assert_non_null(
        strstr(mount_text(P(".kvfs/errors")),
               "a/n/.temporary_2 write: temporary files, whose names no key can have, may take 64 MiB"));
    MOUNT_OK(unlink(P("a/n/.temporary_0")));
    MOUNT_OK(close(fds[0]));
    MOUNT_FAILS(EDQUOT, pwrite(fds[MOST], bytes, 1, 0)); /* until its close has told it */
    MOUNT_FAILS(EDQUOT, close(fds[MOST]));
    fds[MOST] = open_key(P("a/n/.temporary_2"), O_RDWR);
    assert_int_equal(MOUNT_OK(pwrite(fds[MOST], bytes, SIZE, 0)), SIZE);
    for (int i = 1; i <= MOST; i++)
        MOUNT_OK(close(fds[i]));
    free(bytes);
}

static void a_failed_put_can_be_tried_again(void **state)
{
    static const char bytes[600];
    struct mount_node *other = elsewhere(state);
    int fd = fill_account_under(state), second = (int)MOUNT_OK(dup(fd));

    MOUNT_FAILS(EDQUOT, fsync(fd));
    MOUNT_FAILS(EDQUOT, close(second));
    assert_false(mount_is_there(mount_path(other, "a/n/key")));
    assert_false(mount_is_there(P("a/n/key"))); /* nobody else is shown what could not be put */
    MOUNT_OK(unlink(P("a/n/other")));
    MOUNT_OK(close(fd));
    mount_expect(mount_path(other, "a/n/key"), bytes, sizeof(bytes));
    mount_expect(P("a/n/key"), bytes, sizeof(bytes));
}

static void every_failed_put_leaves_a_line_in_words(void **state)
{
    const char *text;
    int year = 0, length = 0, fd = fill_account_under(state);

    MOUNT_FAILS(EDQUOT, close(fd));
    text = mount_text(P(".kvfs/errors"));
    (void)sscanf(text, "%d-%*d-%*dT%*d:%*d:%*dZ a/n/key close: the account is full%*[^\n]%n", &year, &length);
    assert_true(year >= 2024);
    assert_string_equal(text + length, "\n"); /* one line, and no other */
}

static void a_key_whose_namespace_is_removed_elsewhere_fails_to_close(void **state)
{
    struct mount_node *other = elsewhere(state);
    int fd = open_key(P("a/n/key"), O_WRONLY | O_CREAT);

    write_text(fd, "value");
    MOUNT_OK(rmdir(mount_path(other, "a/n")));
    MOUNT_FAILS(ESTALE, close(fd));
    assert_non_null(strstr(mount_text(P(".kvfs/errors")), "a/n/key close: "));
}

static void exclusive_creation_on_two_nodes_succeeds_once(void **state)
{
    struct mount_node *other = mount_start(*state, NULL);
    int first, second;

    assert_false(mount_is_there(P("a/n/key")));
    assert_false(mount_is_there(mount_path(other, "a/n/key")));
    first = open_key(P("a/n/key"), O_WRONLY | O_CREAT | O_EXCL);
    second = open_key(mount_path(other, "a/n/key"), O_WRONLY | O_CREAT | O_EXCL);
    write_text(first, "first");
    write_text(second, "second");
    MOUNT_OK(close(first));
    MOUNT_FAILS(EEXIST, close(second));
    mount_expect_text(P("a/n/key"), "first");
    mount_expect_text(mount_path(other, "a/n/key"), "first");
    MOUNT_FAILS(EEXIST, open(mount_path(other, "a/n/key"), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
}

/* ---------------------------------------------------------------------- locks and deaths */

static void locks_exclude_processes_of_a_node(void **state)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char *path = strdup(P("a/n/key"));
    pid_t child;
    int fd;

    mount_write_text(path, "value");
    fd = open_key(path, O_RDWR);
    MOUNT_OK(flock(fd, LOCK_EX));
    MOUNT_OK(fcntl(fd, F_SETLK, &lock));
    child = mount_fork(*state);
    if (child == 0) {
        int own = open(path, O_RDWR);

        if (flock(own, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK || fcntl(own, F_SETLK, &lock) == 0)
            _exit(1);
        _exit(0);
    }
    assert_int_equal(mount_wait(*state, child), 0);
    MOUNT_OK(close(fd));
    free(path);
}

/* A writer that says on a pipe that it has written, and is killed before it closes. */
static void kill_writer(void **state, const char *path, const uint8_t *bytes, size_t size)
{
    int ends[2];
    pid_t child;
    char byte;

    MOUNT_OK(pipe2(ends, O_CLOEXEC));
    child = mount_fork(*state);
    if (child == 0) {
        int fd = open(path, O_WRONLY);

        for (size_t at = 0; at < size;) {
            ssize_t got = write(fd, bytes + at, size - at);

            if (got < 0)
                _exit(1);
            at += (size_t)got;
        }
        if (write(ends[1], "", 1) == 1)
            pause();
        _exit(1);
    }
    close(ends[1]);
    assert_int_equal(MOUNT_OK(read(ends[0], &byte, 1)), 1);
    close(ends[0]);
    MOUNT_OK(kill(child, SIGKILL));
    assert_int_equal(mount_wait(*state, child), SIGKILL);
}

static void the_value_of_a_killed_writer_is_put_or_not_but_whole(void **state)
{
    enum { SIZE = 3000000 };
    struct mount_node *other = elsewhere(state);
    uint8_t *old = mount_bytes(1, SIZE), *new = mount_bytes(2, SIZE), *got = malloc(SIZE + 1);

    for (int round = 0; round < 5; round++) {
        mount_write(P("a/n/key"), old, SIZE);
        kill_writer(state, P("a/n/key"), new, SIZE);
        assert_int_equal(mount_read(P("a/n/key"), got, SIZE + 1), SIZE);
        assert_true(memcmp(got, old, SIZE) == 0 || memcmp(got, new, SIZE) == 0);
        mount_expect(mount_path(other, "a/n/key"), got, SIZE);
    }
    free(old);
    free(new);
    free(got);
}

static void what_was_closed_survives_a_killed_daemon(void **state)
{
    struct mount_node *node = NODE(state);
    uint8_t *bytes = mount_bytes(1, 1000000);
    int fd, status;

    mount_write(P("a/n/large"), bytes, 1000000);
    mount_write_text(P("a/n/small"), "value");
    mount_write_text(P("a/n/key"), "old");
    fd = open_key(P("a/n/key"), O_WRONLY);
    write_text(fd, "never closed");
    MOUNT_OK(kill(node->daemon, SIGKILL));
    assert_int_equal(waitpid(node->daemon, &status, 0), node->daemon);
    node->daemon = 0;
    for (int tries = 0; open(P("a/n/key"), O_RDONLY | O_CLOEXEC) < 0 && errno == ECANCELED && tries < 1000;
         tries++)
        mount_pause_ms(10); /* over io_uring, while the kernel still cleans up behind it */
    MOUNT_FAILS(ENOTCONN, open(P("a/n/key"), O_RDONLY | O_CLOEXEC));
    MOUNT_FAILS(ENOTCONN, close(fd));
    mount_again(node, NULL); /* a dead mount in the way is no hindrance */
    mount_expect(P("a/n/large"), bytes, 1000000);
    mount_expect_text(P("a/n/small"), "value");
    mount_expect_text(P("a/n/key"), "old");
    mount_write_text(P("a/n/key"), "new");
    mount_expect_text(P("a/n/key"), "new");
    free(bytes);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        MOUNT_TEST(values_of_all_sizes_are_read_as_they_were_written),
        MOUNT_TEST(values_of_all_sizes_are_written_and_read_by_mmap),
        MOUNT_TEST(one_byte_more_than_the_limit_leaves_the_old_value),
        MOUNT_TEST(cp_of_one_byte_too_many_fails),
        MOUNT_TEST(cp_of_a_sparse_file_with_one_byte_too_many_fails),
        MOUNT_TEST(a_key_is_made_by_creating_it_and_is_empty_then),
        MOUNT_TEST(truncation_at_open_is_a_change_of_its_own),
        MOUNT_TEST(truncate_cuts_and_grows_with_zeros),
        MOUNT_TEST(writes_go_where_they_are_told_to),
        MOUNT_TEST(holes_read_as_zeros),
        MOUNT_TEST(reads_end_at_the_end),
        MOUNT_TEST(appends_go_to_the_end),
        MOUNT_TEST(appends_of_several_processes_lose_nothing),
        MOUNT_TEST(until_the_close_other_nodes_see_the_old_value),
        MOUNT_TEST(until_the_close_other_nodes_do_not_see_a_new_key),
        MOUNT_TEST(fsync_puts_what_was_written_so_far),
        MOUNT_TEST(each_close_of_a_duplicated_descriptor_puts),
        MOUNT_TEST(a_shells_redirection_shows_no_empty_value),
        MOUNT_TEST(writing_through_a_mapping_after_the_last_close_is_put),
        MOUNT_TEST(handles_of_a_node_see_each_others_writes),
        MOUNT_TEST(a_mapping_sees_what_is_written),
        MOUNT_TEST(hundreds_of_keys_can_be_open_at_once),
        MOUNT_TEST(a_key_can_be_open_hundreds_of_times),
        MOUNT_TEST(an_unlinked_open_file_stays_usable_and_is_never_put),
        MOUNT_TEST(a_file_unlinked_before_its_first_put_is_never_seen),
        MOUNT_TEST(a_new_file_at_the_name_of_an_unlinked_one_is_its_own),
        MOUNT_TEST(an_open_file_keeps_its_content_when_another_is_renamed_over_it),
        MOUNT_TEST(an_open_file_goes_along_with_its_rename),
        MOUNT_TEST(exchanged_open_files_keep_their_content),
        MOUNT_TEST(new_keys_have_the_mode_owner_and_times_of_their_making),
        MOUNT_TEST(chmod_of_closed_open_and_new_files),
        MOUNT_TEST(chown_changes_owner_and_group),
        MOUNT_TEST(times_are_kept_to_the_nanosecond),
        MOUNT_TEST(times_that_were_set_before_the_close_stay),
        MOUNT_TEST(writing_moves_mtime_and_reading_does_not),
        MOUNT_TEST_WITH("allow_other", users_may_do_what_the_modes_say),
        MOUNT_TEST(extended_attributes_of_a_user_are_kept),
        MOUNT_TEST(temporary_files_have_a_bound_of_their_own),
        MOUNT_TEST(a_failed_put_can_be_tried_again),
        MOUNT_TEST(every_failed_put_leaves_a_line_in_words),
        MOUNT_TEST(a_key_whose_namespace_is_removed_elsewhere_fails_to_close),
        MOUNT_TEST(exclusive_creation_on_two_nodes_succeeds_once),
        MOUNT_TEST(locks_exclude_processes_of_a_node),
        MOUNT_TEST(the_value_of_a_killed_writer_is_put_or_not_but_whole),
        MOUNT_TEST(what_was_closed_survives_a_killed_daemon),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return mount_tests("file", run); }
