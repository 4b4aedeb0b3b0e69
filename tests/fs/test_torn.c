/* No torn value, ever: writers on two nodes overwrite one large key in a loop, while readers on other nodes
 * check every byte that they get. KVFS_TEST_ROUNDS says how often each writer writes (20).
 *
 * A value tells of each of its words where it belongs: word i is mix(seed + i). The first three words are the
 * seed, the size and their mix. The seed is writer and round, so that a reader can also tell whether a node
 * went back to an older value than it had shown. */
#include "tests/support/mount.h"
#include "tests/support/setting.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { VALUE_MAX = 26214400, VALUE_MIN = 24000000, WRITERS = 2, ROUNDS = 20, HEADER = 3, CHUNK = 1 << 20 };

static unsigned rounds(void) { return (unsigned)test_setting("KVFS_TEST_ROUNDS", ROUNDS); }

/* ------------------------------------------------------------------------ values */

static uint64_t mix(uint64_t number)
{
    number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9u;
    number = (number ^ (number >> 27)) * 0x94d049bb133111ebu;
    return number ^ (number >> 31);
}

static uint64_t seed_of(unsigned writer, unsigned round) { return (uint64_t)writer << 56 | (uint64_t)round << 32; }

/* Every other value has a size of its own, so that a size of one with bytes of another is seen; the others
 * cannot be told apart by their size. */
static size_t size_of(uint64_t seed)
{
    if (seed >> 32 & 1)
        return VALUE_MAX;
    return (VALUE_MIN + mix(seed) % (VALUE_MAX - VALUE_MIN + 1)) & ~(size_t)7;
}

static void fill(uint64_t *words, uint64_t seed)
{
    size_t size = size_of(seed);

    words[0] = seed;
    words[1] = size;
    words[2] = mix(seed ^ size);
    for (size_t i = HEADER; i < size / 8; i++)
        words[i] = mix(seed + i);
}

struct reader {
    const char *path, *name;
    unsigned seen[WRITERS]; /* each writer's latest round that was shown */
    unsigned values;
};

static int complain(const struct reader *reader, const char *what, size_t at)
{
    printf("%s: %s at word %zu (after %u values)\n", reader->name, what, at, reader->values);
    return -1;
}

/* Is this one whole value, and not older than what was shown before? */
static int check(struct reader *reader, const uint64_t *words, size_t size)
{
    uint64_t seed = words[0];
    unsigned writer = (unsigned)(seed >> 56), round = (unsigned)(seed >> 32) & 0xffffff;

    if (size < 8 * HEADER || words[1] != size || words[2] != mix(seed ^ size) || size != size_of(seed))
        return complain(reader, "no header of a value of this size", 0);
    for (size_t i = HEADER; i < size / 8; i++)
        if (words[i] != mix(seed + i))
            return complain(reader, "bytes of another value", i);
    if (writer >= WRITERS || round < reader->seen[writer])
        return complain(reader, "an older value than before", 0);
    reader->seen[writer] = round;
    reader->values++;
    return 0;
}

/* ---------------------------------------------------------------------- readers */

static int open_value(const struct reader *reader, int *fd, size_t *size)
{
    struct stat attr;

    *fd = open(reader->path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0 || fstat(*fd, &attr) < 0)
        return complain(reader, strerror(errno), 0);
    *size = (size_t)attr.st_size;
    return 0;
}

/* In small steps, so that the value is replaced meanwhile. */
static int read_value(struct reader *reader, uint64_t *words)
{
    size_t size, at = 0;
    ssize_t got = 1;
    int fd, rc = open_value(reader, &fd, &size);

    while (rc == 0 && got > 0) {
        got = pread(fd, (char *)words + at, at + CHUNK < VALUE_MAX + 8 ? CHUNK : VALUE_MAX + 8 - at, (off_t)at);
        if (got < 0)
            rc = complain(reader, strerror(errno), at / 8);
        at += got > 0 ? (size_t)got : 0;
    }
    if (rc == 0 && at != size)
        rc = complain(reader, "another size than fstat said", at / 8);
    if (rc == 0)
        rc = check(reader, words, size);
    if (fd >= 0)
        close(fd);
    return rc;
}

/* The mapping is checked twice: it shows the same value after others have replaced it. */
static int map_value(struct reader *reader, uint64_t *words)
{
    uint64_t *map, seed = 0;
    size_t size;
    int fd, rc = open_value(reader, &fd, &size);

    (void)words;
    if (rc < 0)
        return rc;
    map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        return complain(reader, strerror(errno), 0);
    for (int pass = 0; pass < 2 && rc == 0; pass++) {
        rc = check(reader, map, size);
        if (pass == 0)
            seed = map[0];
        else if (rc == 0 && map[0] != seed)
            rc = complain(reader, "another value than at first", 0);
    }
    munmap(map, size);
    return rc;
}

typedef int read_function(struct reader *reader, uint64_t *words);

/* Read until the pipe says that the writers are done, and then once more. Never returns. */
static void run_reader(const char *name, const char *path, read_function *read_once, int writers_done)
{
    struct reader reader = {.path = path, .name = name};
    uint64_t *words = malloc(VALUE_MAX + 8);
    bool last = false;
    char byte;
    int rc = words == NULL ? -1 : 0;

    while (rc == 0 && !last) {
        last = read(writers_done, &byte, 1) == 0;
        rc = read_once(&reader, words);
    }
    printf("  %s: %u values\n", name, reader.values);
    fflush(stdout);
    _exit(rc == 0 ? 0 : 1);
}

/* ---------------------------------------------------------------------- writers */

static int write_value(const char *path, const uint64_t *words, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

    if (fd < 0)
        return -1;
    for (size_t at = 0; at < size;) {
        ssize_t got = write(fd, (const char *)words + at, size - at < CHUNK ? size - at : CHUNK);

        if (got < 0) {
            close(fd);
            return -1;
        }
        at += (size_t)got;
    }
    return close(fd);
}

/* Over the old value, without emptying it first. */
static int map_over(const char *path, const uint64_t *words, size_t size)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666), rc;
    void *map;

    if (fd < 0)
        return -1;
    rc = ftruncate(fd, (off_t)size);
    map = rc < 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED) {
        memcpy(map, words, size);
        rc = munmap(map, size); /* its pages are written before the close puts the value */
    }
    return close(fd) < 0 || map == MAP_FAILED ? -1 : rc;
}

static void run_writer(unsigned writer, const char *path)
{
    uint64_t *words = malloc(VALUE_MAX);
    int rc = words == NULL ? -1 : 0;

    for (unsigned round = 1; rc == 0 && round <= rounds(); round++) {
        uint64_t seed = seed_of(writer, round);

        fill(words, seed);
        rc = round % 4 == 0 ? map_over(path, words, size_of(seed)) : write_value(path, words, size_of(seed));
        if (rc < 0)
            printf("writer %u, round %u: %s\n", writer, round, strerror(errno));
    }
    fflush(stdout);
    _exit(rc == 0 ? 0 : 1);
}

/* ------------------------------------------------------------------------- the test */

static pid_t start_reader(struct mount_test *test, const char *name, const struct mount_node *node,
                          read_function *read_once, const int writers_done[2])
{
    pid_t child = mount_fork(test);

    if (child == 0) {
        close(writers_done[1]);
        run_reader(name, mount_path(node, "a/n/key"), read_once, writers_done[0]);
    }
    return child;
}

static void readers_elsewhere_see_whole_values_only(void **state)
{
    static const struct {
        const char *options, *read_name, *map_name;
    } kinds[] = {
        {"cache_ttl=60", "ttl 60, read", "ttl 60, mmap"},
        {"cache_ttl=1", "ttl 1, read", "ttl 1, mmap"},
        {"cache_ttl=0", "ttl 0, read", "ttl 0, mmap"},
    };
    struct mount_test *test = *state;
    struct mount_node *nodes[3], *second = mount_start(test, NULL);
    uint64_t *words = malloc(VALUE_MAX + 8);
    pid_t writers[WRITERS], readers[6];
    struct reader last = {.name = "at last"};
    int done[2];

    alarm(60 + rounds() * 20);
    assert_non_null(words);
    fill(words, seed_of(0, 0));
    mount_write(mount_path(&test->nodes[0], "a/n/key"), words, size_of(seed_of(0, 0)));
    MOUNT_OK(pipe2(done, O_CLOEXEC | O_NONBLOCK)); /* closed when the writers are done */
    for (int i = 0; i < 3; i++) {
        nodes[i] = mount_start(test, kinds[i].options);
        readers[2 * i] = start_reader(test, kinds[i].read_name, nodes[i], read_value, done);
        readers[2 * i + 1] = start_reader(test, kinds[i].map_name, nodes[i], map_value, done);
    }
    close(done[0]);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = mount_fork(test);
        if (writers[i] == 0) {
            close(done[1]);
            run_writer(i, mount_path(i == 0 ? &test->nodes[0] : second, "a/n/key"));
        }
    }
    for (unsigned i = 0; i < WRITERS; i++)
        assert_int_equal(mount_wait(test, writers[i]), 0);
    close(done[1]);
    for (int i = 0; i < 6; i++)
        assert_int_equal(mount_wait(test, readers[i]), 0);

    last.path = mount_path(nodes[2], "a/n/key");
    assert_int_equal(read_value(&last, words), 0);
    assert_true(last.seen[0] == rounds() || last.seen[1] == rounds()); /* the last one won */
    free(words);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {MOUNT_TEST(readers_elsewhere_see_whole_values_only)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return mount_tests("torn", run); }
