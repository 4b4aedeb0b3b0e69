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
#include "tests/support/setting.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/magic.h>

#define STEPS 100000
#define EPISODE 2000
#define EPISODE_SECONDS 100
#define REMOUNT_EVERY 5 /* episodes */
#define SHRINK_MS 90000

struct tester {
    struct mount_test *test;
    struct mount_node *node;
    const char *options;
    char tmpfs[MOUNT_PATH - 8];
    bool tmpfs_is_mounted;
    struct pair pair;
    unsigned episodes; /* each has directories of its own */
};

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
    snprintf(test->store, sizeof(test->store), "%s/store", tester->tmpfs); /* nothing here depends on a disk */
    tester->node = mount_start(test, options);
    MOUNT_OK(mkdir(mount_path(tester->node, "a"), 0755));
    pair_init(&tester->pair);
}

static void tester_free(struct tester *tester)
{
    pair_free(&tester->pair);
    remove_tmpfs(tester);
}

static bool is_alive(const struct tester *tester)
{
    struct statfs attr;

    return statfs(tester->node->path, &attr) == 0;
}

/* A daemon that died is replaced, so that the sequence that killed it can be found. */
static void revive(struct tester *tester)
{
    struct mount_node *node = tester->node;

    if (is_alive(tester))
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
    if (!is_alive(tester))
        return false;
    pair_close_dirs(&tester->pair);
    mount_stop(tester->node);
    mount_again(tester->node, tester->options);
    open_dirs(tester);
    return pair_compare_mounted(&tester->pair);
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

struct failure {
    size_t at;     /* the operation that failed; the count: after all */
    unsigned kind; /* of that operation */
    const char *kind_of_difference;
    char difference[sizeof(((struct pair *)NULL)->difference)];
};

static void note(const struct pair *pair, size_t at, unsigned kind, struct failure *failure)
{
    *failure = (struct failure){.at = at, .kind = kind, .kind_of_difference = pair->kind_of_difference};
    memcpy(failure->difference, pair->difference, sizeof(failure->difference));
}

/* made     the operations as they were made, with slots and offsets decided
 * returns  true: the sides were the same; false and *failure */
static bool play(struct tester *tester, const struct episode *episode, struct op *made, struct failure *failure)
{
    struct pair *pair = &tester->pair;
    bool same = true;

    alarm(EPISODE_SECONDS);
    revive(tester);
    tester->episodes++;
    open_dirs(tester);
    for (size_t i = 0; same && i < episode->count; i++) {
        same = pair_step(pair, &episode->ops[i], &made[i]);
        if (!same)
            note(pair, i, made[i].kind, failure);
    }
    if (same) {
        same = pair_close_files(pair) && pair_compare(pair) && (!episode->remounts || remount(tester));
        if (!same)
            note(pair, episode->count, OP_NONE, failure);
    }
    (void)pair_close_files(pair);
    if (!remove_dirs(tester) && same) {
        same = false;
        note(pair, episode->count, OP_NONE, failure);
    }
    return same;
}

/* The operations of `from` without `size` of them at `at`. */
static void leave_out(const struct episode *from, size_t at, size_t size, struct episode *out)
{
    out->count = from->count - size;
    out->remounts = from->remounts;
    memcpy(out->ops, from->ops, at * sizeof(*out->ops));
    memcpy(out->ops + at, from->ops + at + size, (out->count - at) * sizeof(*out->ops));
}

/* The episode ends with the operation that failed. */
static void cut(struct episode *episode, const struct failure *failure)
{
    if (failure->at < episode->count)
        episode->count = failure->at + 1;
}

/* Leave out what is not needed for a failure of the same kind, in ever smaller pieces. `made` and `failure` are
 * those of the result. */
static void shrink(struct tester *tester, struct episode *episode, struct op *made, struct failure *failure)
{
    int64_t end_ms = mount_now_ms() + SHRINK_MS;
    static struct op tried[EPISODE];
    static struct episode less;
    bool shrunk = true;

    for (size_t size = (episode->count + 1) / 2; size > 1 || shrunk; size = size > 1 ? size / 2 : 1) {
        shrunk = false;
        for (size_t at = 0; at + size <= episode->count && mount_now_ms() < end_ms;) {
            struct failure found;

            leave_out(episode, at, size, &less);
            if (play(tester, &less, tried, &found) || found.kind != failure->kind ||
                found.kind_of_difference != failure->kind_of_difference) {
                at += size;
                continue;
            }
            cut(&less, &found);
            *episode = less;
            *failure = found;
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

static void report(struct tester *tester, struct episode *episode, struct op *made, struct failure *failure)
{
    size_t last;

    printf("the sides differ after %zu operations: %s\n", failure->at, failure->difference);
    cut(episode, failure);
    if (play(tester, episode, made, failure)) {
        last = episode->count < 40 ? episode->count : 40;
        printf("it did not happen again; the last operations were\n");
        print_ops(made + episode->count - last, last);
        return;
    }
    cut(episode, failure);
    shrink(tester, episode, made, failure);
    printf("a short sequence:\n");
    print_ops(made, episode->count);
    if (failure->kind == OP_NONE)
        printf("    all files closed%s\n", episode->remounts ? ", maybe unmounted and mounted" : "");
    printf("%s\n", failure->difference);
}

static void compare(struct mount_test *test, const char *options, uint64_t steps)
{
    uint64_t seed = test_seed(), episodes = steps > 0 ? (steps + EPISODE - 1) / EPISODE : 1;
    static struct episode episode;
    static struct op made[EPISODE];
    struct failure failure;
    struct tester tester;
    bool same = true;

    tester_init(&tester, test, options);
    for (uint64_t i = 0; same && i < episodes; i++) {
        struct test_random random = {seed + i};

        printf("options '%s': to be repeated with KVFS_TEST_SEED=%" PRIu64 " KVFS_TEST_STEPS=1\n",
               options != NULL ? options : "", seed + i);
        episode.count = EPISODE;
        episode.remounts = i % REMOUNT_EVERY == 0 || i + 1 == episodes;
        for (size_t at = 0; at < EPISODE; at++)
            episode.ops[at] = op_random(&random);
        same = play(&tester, &episode, made, &failure);
        if (!same)
            report(&tester, &episode, made, &failure);
    }
    tester_free(&tester);
    assert_true(same);
}

/* --------------------------------------------------------------------------------------------- tests */

/* Each gets a share of the steps. */
static void a_mount_answers_as_tmpfs_does(void **state)
{
    compare(*state, NULL, test_setting("KVFS_TEST_STEPS", STEPS) / 2);
}

static void a_mount_without_a_cache_answers_as_tmpfs_does(void **state)
{
    compare(*state, "cache_ttl=0", test_setting("KVFS_TEST_STEPS", STEPS) / 5);
}

static void a_mount_that_commits_later_answers_as_tmpfs_does(void **state)
{
    compare(*state, "durability=fsync", test_setting("KVFS_TEST_STEPS", STEPS) / 5);
}

static void a_mount_with_little_memory_answers_as_tmpfs_does(void **state)
{
    compare(*state, "cache_size=32K,memory_size=64K", test_setting("KVFS_TEST_STEPS", STEPS) / 10);
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

int main(void) { return mount_tests("random", run); }
