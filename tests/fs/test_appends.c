/* Appends start from the newest value that the store has, and land behind a whole one, whatever other nodes put.
 *
 * Environment: KVFS_TEST_ROUNDS (300). */
#include "tests/support/mount.h"
#include "tests/support/setting.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ROUNDS = 300, TURNS = 20, VALUE_MAX = 9000, LINE = 8, READ_MAX = 1 << 20 };

#define P(...) mount_path(&((struct mount_test *)*state)->nodes[0], __VA_ARGS__)

/* ------------------------------------------------------------------------- the values */

/* What is put: its number and size, that many x and a newline. */
static size_t make_value(unsigned number, char *out)
{
    unsigned filler = number * 2654435761u % VALUE_MAX;
    int head = sprintf(out, "=%06u:%04u:", number, filler);

    memset(out + head, 'x', filler);
    out[head + (int)filler] = '\n';
    return (size_t)head + filler + 1;
}

/* A whole value, and whole appended lines behind it? */
static bool is_whole(const char *bytes, size_t size)
{
    unsigned number, filler, line;
    size_t at;

    if (sscanf(bytes, "=%6u:%4u:", &number, &filler) != 2)
        return false;
    at = 13;
    for (; at < size && bytes[at] == 'x'; at++)
        ;
    if (at != 13 + filler || at >= size || bytes[at] != '\n')
        return false;
    for (at++; at + LINE <= size; at += LINE)
        if (sscanf(bytes + at, "+%6u", &line) != 1 || bytes[at + LINE - 1] != '\n')
            return false;
    return at == size;
}

static void show(const char *who, const char *bytes, size_t size)
{
    printf("%s: %zu bytes:", who, size);
    for (size_t at = 0; at < size && at < 100000; at++)
        if (bytes[at] != 'x')
            putchar(bytes[at]);
    printf("\n");
}

/* ------------------------------------------------------------------- those who do it */

static atomic_bool *over; /* shared with children, who end well then */

/* A child that puts one value after the other on its node: over the old one, or as another key that is moved. */
__attribute__((noreturn)) static void replace_all_the_time(const struct mount_node *node)
{
    static char bytes[VALUE_MAX + 64];

    for (unsigned number = 0; !atomic_load(over); number++) {
        const char *path = mount_path(node, number % 2 == 0 ? "a/n/key" : "a/n/t");
        size_t size = make_value(number, bytes);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

        if (fd < 0 || write(fd, bytes, size) != (ssize_t)size || close(fd) < 0 ||
            (number % 2 != 0 && rename(path, mount_path(node, "a/n/key")) < 0))
            _exit(1);
    }
    _exit(0);
}

/* A child that reads on the node that appends. */
__attribute__((noreturn)) static void read_all_the_time(const struct mount_node *node)
{
    static char bytes[READ_MAX];

    while (!atomic_load(over)) {
        int fd = open(mount_path(node, "a/n/key"), O_RDONLY | O_CLOEXEC);
        ssize_t size = fd < 0 ? -1 : read(fd, bytes, sizeof(bytes) - 1);

        if (size < 0)
            _exit(1);
        close(fd);
        bytes[size] = '\0';
        if (!is_whole(bytes, (size_t)size)) {
            show("read", bytes, (size_t)size);
            fflush(stdout);
            _exit(2);
        }
    }
    _exit(0);
}

static void expect_whole(struct mount_test *test, const struct mount_node *node)
{
    const char *text = mount_text(mount_path(node, "a/n/key"));

    if (!is_whole(text, strlen(text))) {
        show(node->path + strlen(test->dir), text, strlen(text));
        fail();
    }
}

/* ------------------------------------------------------------------------------ tests */

/* closes_each: each line by an open and a close of its own; otherwise one handle, and an fsync after each line */
static void append(void **state, bool closes_each)
{
    struct mount_test *test = *state;
    struct mount_node *here = &test->nodes[0], *other = mount_start(test, "cache_ttl=0"),
                      *third = mount_start(test, "cache_ttl=0");
    unsigned rounds = (unsigned)test_setting("KVFS_TEST_ROUNDS", ROUNDS);
    char bytes[VALUE_MAX + 64], line[LINE + 1];
    pid_t replacer, reader;
    int fd = -1;

    over = mmap(NULL, sizeof(*over), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true((void *)over != MAP_FAILED);
    mount_write(P("a/n/key"), bytes, make_value(1, bytes));
    replacer = mount_fork(test);
    if (replacer == 0)
        replace_all_the_time(other);
    reader = mount_fork(test);
    if (reader == 0)
        read_all_the_time(here);
    for (unsigned round = 0; round < rounds; round++) {
        snprintf(line, sizeof(line), "+%06u\n", round % 1000000);
        if (closes_each || round == 0)
            fd = (int)MOUNT_OK(open(P("a/n/key"), O_WRONLY | O_APPEND | O_CLOEXEC));
        assert_int_equal(MOUNT_OK(write(fd, line, LINE)), LINE);
        MOUNT_OK(closes_each ? close(fd) : fsync(fd));
        expect_whole(test, third);
    }
    atomic_store(over, true);
    assert_int_equal(mount_wait(test, replacer), 0);
    assert_int_equal(mount_wait(test, reader), 0);
    if (!closes_each)
        MOUNT_OK(close(fd));
    expect_whole(test, here);
    expect_whole(test, other);
    mount_kvctl(test, (const char *const[]){"get", "a/n/key", NULL});
    assert_true(is_whole(test->output, strlen(test->output)));
}

static void appends_land_behind_whole_values(void **state) { append(state, true); }
static void a_log_that_is_synced_stays_whole(void **state) { append(state, false); }

/* Answers can overtake each other on their way to the kernel: it may have the size of the one and open the other. */
static void a_descriptor_that_has_shown_two_values_opens_neither(void **state)
{
    struct mount_node *other = mount_start(*state, "cache_ttl=0");
    struct stat attr;
    char again[64];
    int fd;

    mount_write_text(mount_path(other, "a/n/key"), "first");
    fd = (int)MOUNT_OK(open(P("a/n/key"), O_PATH | O_CLOEXEC));
    MOUNT_OK(fstat(fd, &attr));
    assert_int_equal(attr.st_size, 5);
    mount_write_text(mount_path(other, "a/n/key"), "the second");
    MOUNT_OK(fstat(fd, &attr));
    assert_int_equal(attr.st_size, 10);
    snprintf(again, sizeof(again), "/proc/self/fd/%d", fd);
    MOUNT_FAILS(ESTALE, open(again, O_WRONLY | O_APPEND | O_CLOEXEC));
    MOUNT_FAILS(ESTALE, open(again, O_RDONLY | O_CLOEXEC));
    MOUNT_OK(close(fd));
    fd = (int)MOUNT_OK(open(P("a/n/key"), O_WRONLY | O_APPEND | O_CLOEXEC));
    assert_int_equal(MOUNT_OK(write(fd, " is whole", 9)), 9);
    MOUNT_OK(close(fd));
    mount_expect_text(mount_path(other, "a/n/key"), "the second is whole");
}

/* ----------------------------------------------------------------------------- in turn */

static void append_by_flag(const char *path, const char *line)
{
    int fd = (int)MOUNT_OK(open(path, O_WRONLY | O_APPEND | O_CLOEXEC));

    assert_int_equal(MOUNT_OK(write(fd, line, LINE)), LINE);
    MOUNT_OK(close(fd));
}

static void append_by_seeking(const char *path, const char *line)
{
    int fd = (int)MOUNT_OK(open(path, O_RDWR | O_CLOEXEC));

    MOUNT_OK(lseek(fd, 0, SEEK_END));
    assert_int_equal(MOUNT_OK(write(fd, line, LINE)), LINE);
    MOUNT_OK(close(fd));
}

/* Reads what is there first, as an editor does. */
static void append_by_writing_all(const char *path, const char *line)
{
    char bytes[LINE * TURNS * 4];
    int fd = (int)MOUNT_OK(open(path, O_RDWR | O_CLOEXEC));
    ssize_t size = MOUNT_OK(read(fd, bytes, sizeof(bytes) - LINE));

    memcpy(bytes + size, line, LINE);
    assert_int_equal(MOUNT_OK(pwrite(fd, bytes, (size_t)size + LINE, 0)), size + LINE);
    MOUNT_OK(close(fd));
}

/* Two nodes append, each after the other's close. What the nodes have read, and keep open, is no matter. */
static void take_turns(void **state, void (*append_line)(const char *, const char *), bool is_open, bool looks)
{
    struct mount_test *test = *state;
    struct mount_node *nodes[] = {&test->nodes[0], mount_start(test, NULL)};
    char wanted[LINE * (1 + TURNS * 2) + 1] = "+begins\n", line[LINE + 1];

    mount_write_text(P("a/n/log"), wanted);
    for (int i = 0; is_open && i < 2; i++)
        MOUNT_OK(open(mount_path(nodes[i], "a/n/log"), O_RDONLY | O_CLOEXEC)); /* closed at the end of the test */
    for (unsigned turn = 0; turn < 2 * TURNS; turn++) {
        const char *path = mount_path(nodes[turn % 2], "a/n/log");

        if (looks) {
            (void)mount_stat(path);
            (void)mount_text(path);
        }
        snprintf(line, sizeof(line), "+%06u\n", turn % 1000000);
        memcpy(wanted + (1 + turn) * LINE, line, LINE + 1);
        append_line(path, line);
        MOUNT_KVCTL(test, "get", "a/n/log");
        assert_string_equal(test->output, wanted);
    }
}

static void appends_in_turn_are_all_kept(void **state) { take_turns(state, append_by_flag, false, false); }
static void appends_in_turn_are_kept_though_it_was_read(void **state)
{
    take_turns(state, append_by_flag, false, true);
}
static void appends_in_turn_are_kept_though_it_is_open(void **state)
{
    take_turns(state, append_by_flag, true, true);
}
static void a_writer_that_seeks_the_end_starts_from_the_newest_value(void **state)
{
    take_turns(state, append_by_seeking, true, true);
}
static void a_writer_that_reads_first_starts_from_the_newest_value(void **state)
{
    take_turns(state, append_by_writing_all, true, true);
}

static void shells_append_in_turn(void **state)
{
    struct mount_test *test = *state;
    struct mount_node *other = mount_start(test, NULL);

    assert_int_equal(
        MOUNT_RUN(test, "bash", "-c",
                  "for i in 0 1 2 3 4 5 6 7 8 9; do echo a$i >> $0/a/n/log; cat $0/a/n/log > /dev/null;"
                  "echo b$i >> $1/a/n/log; cat $1/a/n/log > /dev/null; done",
                  test->nodes[0].path, other->path),
        0);
    MOUNT_KVCTL(test, "get", "a/n/log");
    assert_string_equal(test->output,
                        "a0\nb0\na1\nb1\na2\nb2\na3\nb3\na4\nb4\na5\nb5\na6\nb6\na7\nb7\na8\nb8\na9\nb9\n");
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        MOUNT_TEST(appends_land_behind_whole_values),
        MOUNT_TEST_WITH("cache_ttl=0", appends_land_behind_whole_values),
        MOUNT_TEST(a_log_that_is_synced_stays_whole),
        MOUNT_TEST_WITH("cache_ttl=0", a_log_that_is_synced_stays_whole),
        MOUNT_TEST_WITH("cache_ttl=0", a_descriptor_that_has_shown_two_values_opens_neither),
        MOUNT_TEST(appends_in_turn_are_all_kept),
        MOUNT_TEST(appends_in_turn_are_kept_though_it_was_read),
        MOUNT_TEST(appends_in_turn_are_kept_though_it_is_open),
        MOUNT_TEST(a_writer_that_seeks_the_end_starts_from_the_newest_value),
        MOUNT_TEST(a_writer_that_reads_first_starts_from_the_newest_value),
        MOUNT_TEST(shells_append_in_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return mount_tests("appends", run); }
