/* A store on a disk that gets full, and one whose map gets full, through the mount.
 *
 * Each round fills the store with values of all sizes, new ones and larger ones over smaller ones, until nothing
 * fits; then looks at everything, makes room by deleting, and empties the store. The kernel's and the node's caches
 * are off (cache_ttl=0), so that everything is asked of the disk.
 *
 * Environment: KVFS_TEST_ROUNDS (2), KVFS_TEST_SEED (chosen at random, and printed). */
#include "tests/support/history.h"
#include "tests/support/mount.h"
#include "tests/support/setting.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define ROUNDS 2
#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define VALUE_MAX (3 * MIB)
#define TRADED (512 * KIB)
#define DISK_MIB 40

enum { KEYS = 4096, FAILURES = 3, TRADES = 5 };

struct key {
    uint64_t id; /* of its value; 0: it is absent */
    size_t size;
};

struct tester {
    struct mount_test *test;
    struct mount_node *node;
    const char *options;
    bool syncs; /* a close alone promises nothing */
    struct test_random random;
    uint64_t last_id;
    struct key keys[KEYS];
    unsigned used; /* keys from here on were never put */
    uint8_t *bytes;
    size_t puts, refused[3]; /* at write, fsync, close */
    char disk[MOUNT_PATH];   /* "": the system's */
};

static const char *path_of(const struct tester *tester, unsigned key)
{
    return mount_path(tester->node, "a/n/key_%u", key);
}

/* ------------------------------------------------------------------------------ a small disk */

/* ext4 on a loop device, else a tmpfs of that size. Skips the test where neither can be mounted. */
static void mount_disk(struct tester *tester)
{
    struct mount_test *test = tester->test;
    char command[4 * MOUNT_PATH];

    snprintf(tester->disk, sizeof(tester->disk), "%s/disk", test->dir);
    assert_int_equal(mkdir(tester->disk, 0755), 0);
    snprintf(command, sizeof(command),
             "PATH=$PATH:/sbin:/usr/sbin; cd '%s' && truncate -s %dM image && mkfs.ext4 -q -m 0 image && "
             "mount -o loop image disk",
             test->dir, DISK_MIB);
    if (MOUNT_RUN(test, "sh", "-c", command) != 0) {
        printf("no ext4 on a loop device, so a tmpfs: %s", test->output);
        snprintf(command, sizeof(command), "size=%dm", DISK_MIB);
        if (mount("none", tester->disk, "tmpfs", 0, command) != 0) {
            printf("skipped, no small filesystem can be mounted: %s\n", strerror(errno));
            skip();
        }
    }
    snprintf(test->store, sizeof(test->store), "%.200s/store", tester->disk);
}

static void begin(struct tester *tester, void **state, bool small_disk, const char *options)
{
    *tester = (struct tester){.test = *state, .options = options, .random = {test_seed()}};
    tester->syncs = strstr(options, "fsync") != NULL;
    tester->bytes = malloc(VALUE_MAX + 1);
    assert_non_null(tester->bytes);
    if (small_disk)
        mount_disk(tester);
    tester->node = mount_start(tester->test, options);
    MOUNT_OK(mkdir(mount_path(tester->node, "a"), 0755));
    MOUNT_OK(mkdir(mount_path(tester->node, "a/n"), 0755));
}

static void end(struct tester *tester)
{
    printf("%zu puts; refused at write %zu, at fsync %zu, at close %zu\n", tester->puts, tester->refused[0],
           tester->refused[1], tester->refused[2]);
    mount_stop(tester->node);
    if (tester->disk[0] != '\0')
        MOUNT_OK(umount(tester->disk));
    free(tester->bytes);
}

/* ----------------------------------------------------------------------------------- puts */

/* Only the disk may refuse. returns whether it did */
static bool is_refused(struct tester *tester, int step, long result)
{
    if (result < 0 && errno != ENOSPC)
        fail_msg("%s: %s", ((const char *const[]){"write", "fsync", "close"})[step], strerrorname_np(errno));
    if (result < 0)
        tester->refused[step]++;
    return result < 0;
}

/* A close after a failed fsync tries again. Hear how that went: the daemon would complain of it at the unmount.
 * returns whether nothing was refused */
static bool sync_directory(struct tester *tester)
{
    int fd = (int)MOUNT_OK(open(mount_path(tester->node, "a/n"), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    bool refused = is_refused(tester, 1, fsync(fd));

    MOUNT_OK(close(fd));
    return !refused;
}

/* Put a value of so many bytes. A put that is refused leaves the key as it is. returns whether it was done */
static bool put(struct tester *tester, unsigned key, size_t size)
{
    uint64_t id = ++tester->last_id;
    bool refused = false, spoiled, closed, syncs = tester->syncs || test_random_below(&tester->random, 3) == 0;
    int fd = (int)MOUNT_OK(open(path_of(tester, key), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));

    history_fill(id, tester->bytes, size);
    for (size_t at = 0; at < size && !refused;) {
        ssize_t written = write(fd, tester->bytes + at, size - at);

        refused = is_refused(tester, 0, written);
        at += refused ? 0 : (size_t)written;
    }
    spoiled = refused;
    if (syncs && !refused)
        refused = is_refused(tester, 1, fsync(fd));
    closed = close(fd) == 0;
    if (!closed && !refused) /* after a failure it may say it again */
        refused = is_refused(tester, 2, -1);
    if (refused && tester->syncs)
        closed &= sync_directory(tester);
    if (refused && (spoiled || !closed)) /* else the close had more luck than the fsync */
        return false;
    tester->keys[key] = (struct key){id, size};
    tester->puts++;
    return true;
}

static size_t choose_size(struct tester *tester, size_t most)
{
    size_t size = HISTORY_VALUE_MIN + test_random_below(&tester->random, 300);

    switch (test_random_below(&tester->random, 4)) {
    case 0:
    case 1:
        size = most / 3 + test_random_below(&tester->random, most / 3 * 2);
        break;
    case 2:
        size = 20 * KIB;
        break;
    }
    return size < most ? size : most;
}

/* Put a new value, or a larger one over an old one. returns whether it was done */
static bool put_more(struct tester *tester, size_t most)
{
    size_t size = choose_size(tester, most);
    unsigned key = tester->used;

    if (tester->used > 0 && test_random_below(&tester->random, 3) == 0) {
        key = (unsigned)test_random_below(&tester->random, tester->used);
        size += tester->keys[key].size;
        size = size < VALUE_MAX ? size : VALUE_MAX;
    } else {
        assert_true(tester->used < KEYS);
        tester->used++;
    }
    return put(tester, key, size);
}

/* Values that get smaller and smaller, until nothing fits. */
static void fill(struct tester *tester)
{
    static const size_t sizes[] = {VALUE_MAX, 300 * KIB, 20 * KIB, 5 * KIB, 100};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (unsigned failures = 0; failures < FAILURES;)
            failures += !put_more(tester, sizes[i]);
}

/* --------------------------------------------------------------------------------- looking */

static void expect_all(struct tester *tester)
{
    size_t present = 0, listed = 0;
    char *names = mount_list(mount_path(tester->node, "a/n"));

    for (unsigned key = 0; key < tester->used; key++) {
        const struct key *wanted = &tester->keys[key];
        size_t size;

        if (mount_is_there(path_of(tester, key)) != (wanted->id != 0))
            fail_msg("key_%u is %s", key, wanted->id != 0 ? "lost" : "there");
        if (wanted->id == 0)
            continue;
        size = mount_read(path_of(tester, key), tester->bytes, VALUE_MAX + 1);
        if (size != wanted->size || history_id(tester->bytes, size) != wanted->id)
            fail_msg("key_%u has %zu bytes of value %" PRIu64 ", not %zu of value %" PRIu64, key, size,
                     history_id(tester->bytes, size), wanted->size, wanted->id);
        present++;
    }
    for (const char *at = names; *at != '\0'; at += strcspn(at, " "), at += *at != '\0')
        listed++;
    free(names);
    assert_int_equal(listed, present);
}

static void expect_line_in_errors(struct tester *tester)
{
    assert_non_null(strstr(mount_text(mount_path(tester->node, ".kvfs/errors")), "full"));
}

/* ------------------------------------------------------------------------------ making room */

static void delete_key(struct tester *tester, unsigned key)
{
    MOUNT_OK(unlink(path_of(tester, key)));
    tester->keys[key].id = 0;
}

/* What some keys give back is enough for a value of half their size. */
static void trade(struct tester *tester)
{
    for (int i = 0; i < TRADES; i++) {
        size_t freed = 0;

        while (freed < TRADED) {
            unsigned key = (unsigned)test_random_below(&tester->random, tester->used);

            if (tester->keys[key].id == 0)
                continue;
            freed += tester->keys[key].size;
            delete_key(tester, key);
        }
        assert_true(tester->used < KEYS);
        if (!put(tester, tester->used++, freed / 2))
            fail_msg("%zu bytes were deleted, and a value of half of that is refused", freed);
    }
}

static void delete_all(struct tester *tester)
{
    for (unsigned key = 0; key < tester->used; key++)
        if (tester->keys[key].id != 0)
            delete_key(tester, key);
    tester->used = 0;
}

/* The names and attributes of keys can be changed although nothing grows any more. */
static void rename_and_chmod(struct tester *tester)
{
    unsigned key = 0;

    while (tester->keys[key].id == 0)
        key++;
    MOUNT_OK(chmod(path_of(tester, key), 0600));
    MOUNT_OK(rename(path_of(tester, key), path_of(tester, tester->used)));
    tester->keys[tester->used++] = tester->keys[key];
    tester->keys[key].id = 0;
}

static uint64_t stored_bytes(const struct tester *tester)
{
    uint64_t bytes = 0;

    for (unsigned key = 0; key < tester->used; key++)
        if (tester->keys[key].id != 0)
            bytes += tester->keys[key].size;
    return bytes;
}

static void fill_and_empty(struct tester *tester)
{
    uint64_t rounds = test_setting("KVFS_TEST_ROUNDS", ROUNDS);
    uint64_t first_bytes = 0;

    for (uint64_t round = 0; round < rounds; round++) {
        alarm(2 * MOUNT_SECONDS);
        fill(tester);
        if (round == 0)
            first_bytes = stored_bytes(tester);
        assert_true(stored_bytes(tester) > first_bytes / 10 * 9); /* nothing was used up for good */
        expect_all(tester);
        expect_line_in_errors(tester);
        rename_and_chmod(tester);
        mount_stop(tester->node); /* a full store can be opened, too */
        mount_again(tester->node, tester->options);
        expect_all(tester);
        trade(tester);
        expect_all(tester);
        delete_all(tester);
        assert_true(put(tester, 0, VALUE_MAX));
        tester->used = 1;
        expect_all(tester);
    }
}

/* ----------------------------------------------------------------------------------- tests */

static void a_full_disk_is_survived(void **state)
{
    struct tester tester;

    begin(&tester, state, true, "cache_ttl=0");
    fill_and_empty(&tester);
    end(&tester);
}

static void a_full_disk_is_survived_with_durability_fsync(void **state)
{
    struct tester tester;

    begin(&tester, state, true, "cache_ttl=0,durability=fsync");
    fill_and_empty(&tester);
    end(&tester);
}

/* What is open and does not fit in memory is in files beside the store, and may fill the disk, too. */
static void open_values_that_fill_the_disk_stop_neither_readers_nor_deletes(void **state)
{
    struct tester tester;
    int open_fds[DISK_MIB], opened = 0;
    bool refused = false;

    begin(&tester, state, true, "cache_ttl=0,memory_size=8M");
    while (tester.used < 5)
        assert_true(put_more(&tester, VALUE_MAX));
    while (!refused) {
        const char *path = mount_path(tester.node, "a/n/open_%d", opened);

        assert_true(opened < DISK_MIB); /* it cannot hold all of them */
        open_fds[opened] = (int)MOUNT_OK(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
        for (size_t at = 0; at < MIB && !refused; at += MIB / 8)
            refused = is_refused(&tester, 0, write(open_fds[opened], tester.bytes, MIB / 8));
        MOUNT_OK(unlink(path)); /* so it will never be put */
        opened++;
    }
    assert_true(opened > 8);
    expect_line_in_errors(&tester);
    expect_all(&tester);
    delete_key(&tester, 0);
    expect_all(&tester);
    while (opened > 0)
        MOUNT_OK(close(open_fds[--opened]));
    assert_true(put(&tester, 0, VALUE_MAX));
    expect_all(&tester);
    end(&tester);
}

static void a_full_map_is_survived(void **state)
{
    struct tester tester;

    begin(&tester, state, false, "cache_ttl=0,map_size=32M");
    fill_and_empty(&tester);
    end(&tester);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        MOUNT_TEST_EMPTY(a_full_disk_is_survived),
        MOUNT_TEST_EMPTY(a_full_disk_is_survived_with_durability_fsync),
        MOUNT_TEST_EMPTY(open_values_that_fill_the_disk_stop_neither_readers_nor_deletes),
        MOUNT_TEST_EMPTY(a_full_map_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return mount_tests("disk-full", run); }
