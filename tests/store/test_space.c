/* How large a store becomes whose values are replaced all the time, by two processes at once, while a third one has it
 * open and does nothing: no larger than twice what is live, and 64 MiB.
 *
 * Environment: KVFS_TEST_SPACE_MIB (100: so much is written, in each test) */
#include "tests/support/setting.h"
#include "tests/support/store.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)

enum { WRITERS = 2, KEYS = 120, WRITTEN_MIB = 100, LOOK_MS = 5, NAME_MAX_SIZE = 16 };

static const size_t sizes[] = {100, 20 << 10, 300 << 10}; /* of the values, by turns */

/* Shared by all processes. */
static struct world {
    _Atomic uint64_t written; /* bytes that replaced others */
    atomic_bool stop;
} * world;

static char directory[256];
static uint64_t spaces[WRITERS];

static void pause_ms(unsigned ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000L};

    nanosleep(&time, NULL);
}

/* returns NULL: it cannot be opened, and why is printed */
static struct kv_store *open_store(bool create)
{
    struct kv_options options = kv_options_default();
    struct kv_error error = {""};
    struct kv_store *kv;

    options.create = create;
    options.durability = KV_DURABILITY_FSYNC;
    if (kv_open(directory, &options, &kv, &error) == 0)
        return kv;
    printf("%s\n", error.text);
    return NULL;
}

static size_t size_of(size_t key) { return sizes[key % (sizeof(sizes) / sizeof(sizes[0]))]; }

static int put(struct kv_store *kv, uint64_t space, size_t key, int byte)
{
    static uint8_t bytes[300 << 10];
    char name[NAME_MAX_SIZE];
    struct kv_ref ref;

    snprintf(name, sizeof(name), "key_%zu", key);
    ref = kv_ref_key(space, name, strlen(name));
    memset(bytes, byte, size_of(key));
    return kv_put(kv, &ref, bytes, size_of(key));
}

/* A process of its own. between_ms: puts */
static void write_on(uint64_t space, unsigned between_ms)
{
    struct test_random random = {space};
    struct kv_store *kv = open_store(false);
    int rc = kv != NULL ? 0 : -1;

    for (size_t key = 0; rc == 0 && key < KEYS; key++)
        rc = put(kv, space, key, 0);
    while (rc == 0 && !world->stop) {
        size_t key = test_random_below(&random, KEYS);

        rc = put(kv, space, key, (int)key);
        world->written += size_of(key);
        if (between_ms > 0)
            pause_ms(between_ms);
    }
    if (kv != NULL)
        kv_close(kv);
    _exit(rc != 0);
}

static uint64_t size_on_disk(void)
{
    static const char *const names[] = {"data.mdb", "log"};
    uint64_t size = 0;

    for (int i = 0; i < 2; i++) {
        char path[sizeof(directory) + 16];
        struct stat file;

        snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
        assert_int_equal(stat(path, &file), 0);
        size += (uint64_t)file.st_blocks * 512;
    }
    return size;
}

static uint64_t make_store(void)
{
    struct kv_store *kv = open_store(true);
    struct kv_node account, space;
    uint64_t live = 0;

    assert_non_null(kv);
    assert_int_equal(kv_node_make(kv, KV_ACCOUNT, KV_ROOT_ID, "acme", 0, &account), 0);
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(kv_node_make(kv, KV_NAMESPACE, account.id, i == 0 ? "one" : "other", 0, &space), 0);
        spaces[i] = space.id;
        for (size_t key = 0; key < KEYS; key++)
            live += size_of(key);
    }
    kv_close(kv);
    return live;
}

/* between_ms: of the second writer, the first one makes no pause */
static void replace_values(unsigned between_ms)
{
    uint64_t to_write = test_setting("KVFS_TEST_SPACE_MIB", WRITTEN_MIB) * MIB, live = make_store(), largest = 0;
    struct kv_store *idle;
    pid_t writers[WRITERS];
    bool ended = false;
    int status;

    *world = (struct world){0};
    fflush(NULL);
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = fork();
        assert_true(writers[i] >= 0);
        if (writers[i] == 0)
            write_on(spaces[i], i == 0 ? 0 : between_ms);
    }
    idle = open_store(false);
    assert_non_null(idle);
    while (world->written < to_write && !ended) {
        siginfo_t one = {.si_pid = 0};
        uint64_t size = size_on_disk();

        largest = size > largest ? size : largest;
        pause_ms(LOOK_MS);
        ended = waitid(P_ALL, 0, &one, WEXITED | WNOHANG | WNOWAIT) != 0 || one.si_pid != 0;
    }
    world->stop = true;
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(waitpid(writers[i], &status, 0), writers[i]);
        assert_int_equal(status, 0);
    }
    kv_close(idle);
    printf("%zu MiB of values, %zu MiB written, %zu MiB on the disk at most\n", (size_t)(live / MIB),
           (size_t)(world->written / MIB), (size_t)(largest / MIB));
    assert_false(ended);
    assert_true(largest <= 2 * live + 64 * MIB);
}

static void a_store_whose_values_are_replaced_stays_small(void **state)
{
    (void)state;
    replace_values(0);
}

/* It is never at rest, and has nothing to do for most of the time. */
static void one_who_seldom_writes_does_not_keep_what_others_replace(void **state)
{
    (void)state;
    replace_values(900);
}

static int setup(void **state)
{
    const char *above = getenv("TMPDIR");

    (void)state;
    snprintf(directory, sizeof(directory), "%s/kvfs-test-space-XXXXXX", above != NULL ? above : "/tmp");
    world = mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return mkdtemp(directory) != NULL && world != MAP_FAILED ? 0 : -1;
}

static int teardown(void **state)
{
    static const char *const names[] = {"data.mdb", "lock.mdb", "writer", "log"};
    char path[sizeof(directory) + 16];

    (void)state;
    munmap(world, sizeof(*world));
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
        unlink(path);
    }
    return rmdir(directory);
}

#define SPACE_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPACE_TEST(a_store_whose_values_are_replaced_stays_small),
        SPACE_TEST(one_who_seldom_writes_does_not_keep_what_others_replace),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
