/* Random operations on a mount and on a tmpfs, which must not be told apart (tests/support/pair.h).
 *
 * An episode begins with two empty directories and no open file, makes a few thousand operations, closes
 * everything and compares all files; some episodes compare once more after an unmount and a mount. An episode
 * that fails is repeated with some of its operations left out, again and again, and the shortest sequence that
 * still fails is printed.
 *
 * Environment: KVFS_TEST_STEPS (100000), KVFS_TEST_SEED (chosen at random, and printed). */
#include "tests/support/mount.h"
#include "tests/support/pair.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/magic.h>

#define STEPS 100000
#define EPISODE 2000
#define EPISODE_SECONDS 100
#define REMOUNT_EVERY 5 /* episodes */
#define SHRINK_MS 60000

struct tester {
    struct mount_test *test;
    struct mount_node *node;
    const char *options;
    char tmpfs[MOUNT_PATH];
    bool tmpfs_is_mounted;
    struct pair pair;
    unsigned episodes; /* each has directories of its own */
};

static uint64_t number(const char *variable, uint64_t otherwise)
{
    const char *text = getenv(variable);

    return text != NULL && *text != '\0' ? strtoull(text, NULL, 0) : otherwise;
}

/* ---------------------------------------------------------------------------------------- both sides */

/* A tmpfs of this test, or, where it may not mount one, a directory in the system's. */
static void make_tmpfs(struct tester *tester)
{
    struct statfs attr;

    snprintf(tester->tmpfs, sizeof(tester->tmpfs), "%s/tmpfs", tester->test->dir);
    assert_int_equal(mkdir(tester->tmpfs, 0755), 0);
    tester->tmpfs_is_mounted = mount("tmpfs", tester->tmpfs, "tmpfs", 0, "mode=0755") == 0;
    if (tester->tmpfs_is_mounted)
        return;
    snprintf(tester->tmpfs, sizeof(tester->tmpfs), "/dev/shm/kvfs-random.XXXXXX");
    assert_non_null(mkdtemp(tester->tmpfs));
    assert_int_equal(statfs(tester->tmpfs, &attr), 0);
    assert_int_equal(attr.f_type, TMPFS_MAGIC);
}

static void remove_tmpfs(struct tester *tester)
{
    if (tester->tmpfs_is_mounted)
        MOUNT_OK(umount2(tester->tmpfs, MNT_DETACH));
    else
        assert_int_equal(MOUNT_RUN(tester->test, "rm", "-rf", tester->tmpfs), 0);
}

static void tester_init(struct tester *tester, struct mount_test *test, const char *options)
{
    *tester = (struct tester){.test = test, .options = options};
    make_tmpfs(tester);
    tester->node = mount_start(test, options);
    MOUNT_OK(mkdir(mount_path(tester->node, "a"), 0755));
    pair_init(&tester->pair);
}

static void tester_free(struct tester *tester)
{
    pair_free(&tester->pair);
    remove_tmpfs(tester);
}

/* A daemon that died is replaced, so that the sequence that killed it can be found. */
static void revive(struct tester *tester)
{
    struct mount_node *node = tester->node;
    struct statfs attr;

    if (statfs(node->path, &attr) == 0)
        return;
    umount2(node->path, MNT_DETACH);
    kill(node->daemon, SIGKILL);
    waitpid(node->daemon, NULL, 0);
    node->daemon = 0;
    mount_again(node, tester->options);
}

static void open_dirs(struct tester *tester)
{
    char name[32];

    snprintf(name, sizeof(name), "n%u_", tester->episodes);
    pair_open_dirs(&tester->pair, tester->tmpfs, mount_path(tester->node, "a"), name);
}

static bool remount(struct tester *tester)
{
    pair_close_dirs(&tester->pair);
    mount_stop(tester->node);
    mount_again(tester->node, tester->options);
    open_dirs(tester);
    return pair_compare(&tester->pair) && pair_compare_usage(&tester->pair);
}

static bool remove_dirs(struct tester *tester)
{
    bool same = pair_remove_files(&tester->pair);

    pair_close_dirs(&tester->pair);
    for (unsigned i = 0; i < PAIR_DIRS; i++) {
        char path[MOUNT_PATH + 64];

        snprintf(path, sizeof(path), "%s/n%u_%u", tester->tmpfs, tester->episodes, i);
        MOUNT_OK(rmdir(path));
        same = rmdir(mount_path(tester->node, "a/n%u_%u", tester->episodes, i)) == 0 && same;
    }
    return same;
}

/* ------------------------------------------------------------------------------------------- episodes */

struct episode {
    struct op ops[EPISODE];
    size_t count;
    bool remounts;
};

/* made         the operations as they were made, with decided slots and offsets
 * difference   of the sides; untouched where there is none
 * returns      how many operations were made before the sides differed: the count and one more if they never did */
static size_t play(struct tester *tester, const struct episode *episode, struct op *made, char *difference)
{
    struct pair *pair = &tester->pair;
    size_t at = 0;
    bool same = true;

    alarm(EPISODE_SECONDS);
    revive(tester);
    tester->episodes++;
    open_dirs(tester);
    while (same && at < episode->count) {
        same = pair_step(pair, &episode->ops[at], &made[at]);
        at += same;
    }
    same = same && pair_close_files(pair) && pair_compare(pair) && (!episode->remounts || remount(tester));
    if (!same)
        strcpy(difference, pair->difference);
    (void)pair_close_files(pair);
    if (!remove_dirs(tester) && same) {
        same = false;
        strcpy(difference, pair->difference);
    }
    return at + same;
}

/* The operations of `from` without `size` of them at `at`. */
static void leave_out(const struct episode *from, size_t at, size_t size, struct episode *out)
{
    out->count = from->count - size;
    out->remounts = from->remounts;
    memcpy(out->ops, from->ops, at * sizeof(*out->ops));
    memcpy(out->ops + at, from->ops + at + size, (out->count - at) * sizeof(*out->ops));
}

/* Leave out what is not needed for a failure, in ever smaller pieces. `made` and `difference` are those of the
 * result. */
static void shrink(struct tester *tester, struct episode *episode, struct op *made, char *difference)
{
    int64_t end_ms = mount_now_ms() + SHRINK_MS;
    static struct op tried[EPISODE];
    static struct episode less;
    bool shrunk = true;

    for (size_t size = (episode->count + 1) / 2; size > 1 || shrunk; size = size > 1 ? size / 2 : 1) {
        shrunk = false;
        for (size_t at = 0; at + size <= episode->count && mount_now_ms() < end_ms;) {
            size_t failed;

            leave_out(episode, at, size, &less);
            failed = play(tester, &less, tried, difference);
            if (failed > less.count) {
                at += size;
                continue;
            }
            less.count = failed < less.count ? failed + 1 : less.count;
            *episode = less;
            memcpy(made, tried, less.count * sizeof(*made));
            shrunk = true;
        }
    }
}

static void print_ops(const struct op *made, size_t count)
{
    char line[512];

    for (size_t i = 0; i < count; i++) {
        if (made[i].kind == OP_NONE)
            continue;
        op_print(&made[i], line, sizeof(line));
        printf("    %s\n", line);
    }
}

static void report(struct tester *tester, struct episode *episode, struct op *made, size_t failed,
                   char *difference)
{
    size_t last = episode->count < 40 ? episode->count : 40;

    printf("the sides differ after %zu operations: %s\n", failed, difference);
    if (failed < episode->count)
        episode->count = failed + 1;
    if (play(tester, episode, made, difference) > episode->count) {
        printf("it did not happen again; the last operations were\n");
        print_ops(made + episode->count - last, last);
        return;
    }
    shrink(tester, episode, made, difference);
    printf("a short sequence:\n");
    print_ops(made, episode->count);
    printf("%s: %s\n", episode->remounts ? "the files closed, unmounted and mounted" : "the files closed",
           difference);
}

static void compare(struct mount_test *test, const char *options, uint64_t steps)
{
    uint64_t seed = number("KVFS_TEST_SEED", 0), episodes = steps > 0 ? (steps + EPISODE - 1) / EPISODE : 1;
    static struct episode episode;
    static struct op made[EPISODE];
    struct tester tester;
    char difference[sizeof(tester.pair.difference)];

    tester_init(&tester, test, options);
    for (uint64_t i = 0; i < episodes; i++) {
        struct test_random random = {seed + i};
        size_t failed;

        episode.count = EPISODE;
        episode.remounts = i % REMOUNT_EVERY == 0 || i + 1 == episodes;
        for (size_t at = 0; at < EPISODE; at++)
            episode.ops[at] = op_random(&random);
        failed = play(&tester, &episode, made, difference);
        if (failed <= episode.count) {
            printf("options '%s', to be repeated with KVFS_TEST_SEED=%" PRIu64 " KVFS_TEST_STEPS=1\n",
                   options != NULL ? options : "", seed + i);
            report(&tester, &episode, made, failed, difference);
            fail();
        }
    }
    tester_free(&tester);
}

/* --------------------------------------------------------------------------------------------- tests */

/* Each gets a share of the steps. */
static void a_mount_answers_as_tmpfs_does(void **state)
{
    compare(*state, NULL, number("KVFS_TEST_STEPS", STEPS) / 2);
}

static void a_mount_without_a_cache_answers_as_tmpfs_does(void **state)
{
    compare(*state, "cache_ttl=0", number("KVFS_TEST_STEPS", STEPS) / 5);
}

static void a_mount_that_commits_later_answers_as_tmpfs_does(void **state)
{
    compare(*state, "durability=fsync", number("KVFS_TEST_STEPS", STEPS) / 5);
}

static void a_mount_with_little_memory_answers_as_tmpfs_does(void **state)
{
    compare(*state, "cache_size=64K,memory_size=64K", number("KVFS_TEST_STEPS", STEPS) / 10);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        MOUNT_TEST_EMPTY(a_mount_answers_as_tmpfs_does),
        MOUNT_TEST_EMPTY(a_mount_without_a_cache_answers_as_tmpfs_does),
        MOUNT_TEST_EMPTY(a_mount_that_commits_later_answers_as_tmpfs_does),
        MOUNT_TEST_EMPTY(a_mount_with_little_memory_answers_as_tmpfs_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    uint32_t chosen = 0;
    char seed[24];

    if (getrandom(&chosen, sizeof(chosen), 0) < 0)
        perror("getrandom");
    snprintf(seed, sizeof(seed), "%" PRIu64, number("KVFS_TEST_SEED", chosen));
    setenv("KVFS_TEST_SEED", seed, 1);
    printf("KVFS_TEST_SEED=%s\n", seed);
    return mount_tests("random", run);
}
