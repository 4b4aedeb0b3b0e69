/* Two daemons of one store, of which one is killed, or both, again and again, while several processes write.
 *
 * Each writer has namespaces of its own (tests/support/history.h), of which some keys expire and are swept, and notes
 * its steps in memory that outlives it and the daemon: what it is going to do, what was acknowledged (the call returned
 * 0), and what is promised to be durable. With durability=close these two are the same; with durability=fsync all that
 * the writer did up to an fsync is durable when that returned. What it did after that may be gone, but only from the
 * end: changes of an account are committed, and recovered, in their order. Where one daemon lives on, all that was
 * acknowledged is there, with either durability.
 *
 * After each kill the store is mounted again at the same place, over the dead mount, which somebody may still
 * be using. The writers of a daemon that lives on go on all the time. Then each writer first compares its keys with its
 * notes: they must be as after some of its steps, from what was durable up to what was begun. Values that are neither
 * wholly old nor wholly new have no id.
 *
 * Environment: KVFS_TEST_KILLS (200 of one or both, in all), KVFS_TEST_SEED (chosen at random, and printed). */
#include "tests/support/hand.h"
#include "tests/support/setting.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define KILLS 200
#define STEPS 4096 /* of a writer between two kills: more than it can make */

enum { NODES = 2, WRITERS = 4, LIFE_MAX_STEPS = 60, LIFE_MAX_MS = 2000, LAST_STEP_US = 4000, CHECK_EVERY = 10 };

struct writer {
    struct test_random random;
    uint32_t number, steps_ever;
    bool durability_fsync;

    struct history_state base; /* the state before the steps */
    struct history_step steps[STEPS];
    size_t begun, acknowledged, durable; /* steps */
    uint64_t acknowledged_ever, undone_ever, in_doubt_ever;
    bool compared; /* since the last kill */
};

/* Shared by all processes of the test. */
struct world {
    struct writer writers[WRITERS];
    volatile bool killed[NODES]; /* the daemon will be, or was */
    volatile bool stop;          /* the writers shall end */
};

struct tester {
    struct mount_test *test;
    struct mount_node *nodes[NODES];
    const char *options;
    struct world *world;
    struct test_random random;
    unsigned killed_daemons;
};

/* A writer stays with one daemon. */
static unsigned node_of(const struct writer *writer) { return writer->number % NODES; }

/* ------------------------------------------------------------------------ in a writer's process */

static struct history_state state_after(const struct writer *writer, size_t steps)
{
    struct history_state state = writer->base;

    for (size_t i = 0; i < steps; i++)
        history_apply(&state, &writer->steps[i]);
    return state;
}

static void write_until_killed(const struct hand *hand, const struct world *world, struct writer *writer)
{
    struct history_state state = state_after(writer, writer->begun);

    umask(0);
    while (!world->stop && writer->begun < STEPS) {
        struct history_step *step = &writer->steps[writer->begun];

        *step = history_choose(&state, &writer->random, writer->number, ++writer->steps_ever);
        step->size = hand_choose_size(&writer->random);
        writer->begun++;
        if (hand_do(hand, step) || !writer->durability_fsync)
            writer->durable = writer->begun;
        writer->acknowledged = writer->begun;
        __atomic_add_fetch(&writer->acknowledged_ever, 1, __ATOMIC_RELAXED);
        history_apply(&state, step);
    }
}

/* ---------------------------------------------------------------- comparing with the notes */

static void compare(const struct hand *hand, struct writer *writer)
{
    struct history_state is, wanted = state_after(writer, writer->durable);
    size_t done = 0;

    hand_read_all(hand, &is);
    for (size_t i = writer->durable; !history_same(&is, &wanted); i++) {
        if (i == writer->begun) {
            wanted = state_after(writer, writer->durable);
            hand_say("what was durable", &wanted);
            hand_say("what is there", &is);
            for (size_t j = 0; j < writer->begun; j++)
                printf("  step %zu: kind %d, %u/%u to %u/%u, %x, value %" PRIx64 "\n", j, writer->steps[j].kind,
                       writer->steps[j].at.namespace, writer->steps[j].at.key, writer->steps[j].to.namespace,
                       writer->steps[j].to.key, writer->steps[j].number, writer->steps[j].id);
            hand_stop(hand, "%zu steps begun, %zu acknowledged, %zu durable: its keys are as after none of these",
                      writer->begun, writer->acknowledged, writer->durable);
        }
        history_apply(&wanted, &writer->steps[i]);
        done++;
    }
    writer->undone_ever += writer->begun - writer->durable - done;
    writer->in_doubt_ever += writer->begun - writer->durable;
    writer->base = is;
    writer->begun = writer->acknowledged = writer->durable = 0;
    writer->compared = true;
}

static pid_t start_writer(struct tester *tester, struct writer *writer, bool writes)
{
    pid_t pid = mount_fork(tester->test);
    struct hand hand;

    if (pid > 0)
        return pid;
    hand = hand_of(tester->nodes[node_of(writer)], writer->number, &writer->random,
                   &tester->world->killed[node_of(writer)]);
    if (!writer->compared)
        compare(&hand, writer);
    if (writes)
        write_until_killed(&hand, tester->world, writer);
    _exit(0);
}

/* ---------------------------------------------------------------------------- the test's process */

static void pause_us(size_t us)
{
    struct timespec time = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};

    nanosleep(&time, NULL);
}

/* Those of daemons that were killed, or the others. */
static void wait_for_writers(struct tester *tester, const pid_t *pids, bool killed)
{
    int bad = 0;

    for (int i = 0; i < WRITERS; i++)
        if (tester->world->killed[node_of(&tester->world->writers[i])] == killed)
            bad |= mount_wait(tester->test, pids[i]);
    assert_int_equal(bad, 0);
}

static void check(struct tester *tester) { MOUNT_KVCTL(tester->test, "check"); }

static uint64_t acknowledged_ever(const struct tester *tester)
{
    uint64_t count = 0;

    for (int i = 0; i < WRITERS; i++)
        count += __atomic_load_n(&tester->world->writers[i].acknowledged_ever, __ATOMIC_RELAXED);
    return count;
}

/* Let some steps be done, more often few than many, and then some time pass. */
static void live(struct tester *tester)
{
    size_t steps = test_random_below(&tester->random, 1 + test_random_below(&tester->random, LIFE_MAX_STEPS));
    uint64_t until = acknowledged_ever(tester) + steps;
    int64_t end_ms = mount_now_ms() + LIFE_MAX_MS;

    while (acknowledged_ever(tester) < until && mount_now_ms() < end_ms)
        pause_us(200);
    pause_us(test_random_below(&tester->random, LAST_STEP_US));
}

static void kill_daemon(struct tester *tester, int number)
{
    struct mount_node *node = tester->nodes[number];
    int status;

    assert_int_equal(kill(node->daemon, SIGKILL), 0);
    assert_int_equal(waitpid(node->daemon, &status, 0), node->daemon);
    node->daemon = 0;
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL); /* it had not died before */
    tester->killed_daemons++;
}

/* Commit something and sync: that keeps what was committed before, by whomever. */
static void make_all_durable(const struct mount_node *node, mode_t mode)
{
    int fd;

    MOUNT_OK(chmod(mount_path(node, "a"), mode));
    fd = (int)MOUNT_OK(open(mount_path(node, "a"), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    MOUNT_OK(fsync(fd));
    close(fd);
}

static void begin_writing(struct world *world)
{
    world->stop = false;
    for (int i = 0; i < NODES; i++)
        world->killed[i] = false;
}

/* Write, kill, mount again. */
static void kill_once(struct tester *tester)
{
    struct world *world = tester->world;
    size_t victim = test_random_below(&tester->random, NODES + 1); /* NODES: all of them */
    pid_t pids[WRITERS];
    int bystanders[NODES];

    begin_writing(world);
    for (int i = 0; i < WRITERS; i++)
        pids[i] = start_writer(tester, &world->writers[i], true);
    for (int i = 0; i < NODES; i++)
        bystanders[i] = (int)MOUNT_OK(open(tester->nodes[i]->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    live(tester);

    for (size_t i = 0; i < NODES; i++)
        world->killed[i] = victim == NODES || victim == i;
    for (int i = 0; i < NODES; i++)
        if (world->killed[i])
            kill_daemon(tester, i);
    world->stop = victim == NODES;
    wait_for_writers(tester, pids, true);
    for (int i = 0; i < NODES; i++)
        if (world->killed[i])
            mount_again(tester->nodes[i], tester->options);
    world->stop = true;
    wait_for_writers(tester, pids, false);
    if (victim != NODES)
        make_all_durable(tester->nodes[!victim], 0700 | (mode_t)test_random_below(&tester->random, 010));
    for (int i = 0; i < WRITERS; i++) {
        if (victim != NODES && world->writers[i].compared) /* else its notes are of an earlier kill */
            world->writers[i].durable = world->writers[i].acknowledged;
        world->writers[i].compared = false;
    }
    for (int i = 0; i < NODES; i++)
        close(bystanders[i]);
}

static void compare_all(struct tester *tester)
{
    pid_t pids[WRITERS];

    begin_writing(tester->world);
    for (int i = 0; i < WRITERS; i++)
        pids[i] = start_writer(tester, &tester->world->writers[i], false);
    wait_for_writers(tester, pids, false);
}

/* All that was acknowledged is durable after an unmount. */
static void stop_well(struct tester *tester)
{
    compare_all(tester);
    for (int i = 0; i < NODES; i++)
        mount_stop(tester->nodes[i]);
    for (int i = 0; i < NODES; i++)
        mount_again(tester->nodes[i], tester->options);
    for (int i = 0; i < WRITERS; i++)
        tester->world->writers[i].compared = false;
    compare_all(tester);
    check(tester);
}

static void begin(struct tester *tester, void **state, const char *options, uint64_t seed)
{
    char limit[16];

    *tester = (struct tester){.test = *state, .options = options, .random = {seed}};
    for (int i = 0; i < NODES; i++)
        tester->nodes[i] = mount_start(tester->test, options);
    tester->world = mmap(NULL, sizeof(*tester->world), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(tester->world, MAP_FAILED);
    MOUNT_OK(mkdir(mount_path(tester->nodes[0], "a"), 0755));
    snprintf(limit, sizeof(limit), "%d", WRITERS * HISTORY_NAMESPACES);
    MOUNT_KVCTL(tester->test, "account", "limit", "a", "--namespaces", limit);
    for (uint32_t i = 0; i < WRITERS; i++) {
        struct writer *writer = &tester->world->writers[i];

        writer->number = i;
        writer->random.state = seed + i + 1;
        writer->durability_fsync = strstr(options, "fsync") != NULL;
        for (unsigned j = 0; j < HISTORY_LAST; j++) {
            char name[16];

            history_name_namespace(i, j, name);
            MOUNT_OK(mkdir(mount_path(tester->nodes[0], "a/%s", name), 0755));
        }
    }
}

/* Nothing of a killed daemon is left beside the database: what tells of a mount is of one that there is. */
static void expect_clean_store(const struct tester *tester)
{
    char path[MOUNT_PATH + 16], *mounts;
    unsigned count = 0;

    mount_expect_list(tester->test->store, "data.mdb lock.mdb log mounts writer");
    snprintf(path, sizeof(path), "%s/mounts", tester->test->store);
    mounts = mount_list(path);
    for (const char *name = mounts; *name != '\0'; name += strcspn(name, " "), name += *name == ' ')
        count++;
    free(mounts);
    assert_int_equal(count, NODES);
}

static void survive_kills(void **state, const char *options)
{
    uint64_t kills = test_setting("KVFS_TEST_KILLS", KILLS) / 2, in_doubt = 0, undone = 0;
    struct tester tester;
    int64_t began_ms = mount_now_ms();

    begin(&tester, state, options, test_seed());
    for (uint64_t i = 0; i < kills; i++) {
        alarm(MOUNT_SECONDS);
        kill_once(&tester);
        if (i % CHECK_EVERY == 0)
            check(&tester);
    }
    alarm(MOUNT_SECONDS);
    stop_well(&tester);
    expect_clean_store(&tester);
    for (int i = 0; i < WRITERS; i++) {
        in_doubt += tester.world->writers[i].in_doubt_ever;
        undone += tester.world->writers[i].undone_ever;
    }
    printf("%" PRIu64 " kills, of %u daemons, in %.1f s, %" PRIu64 " steps acknowledged, %" PRIu64
           " in doubt at a kill, %" PRIu64 " of these not done\n",
           kills, tester.killed_daemons, (double)(mount_now_ms() - began_ms) / 1000, acknowledged_ever(&tester),
           in_doubt, undone);
    munmap(tester.world, sizeof(*tester.world));
}

static void what_was_closed_survives_a_kill(void **state) { survive_kills(state, "durability=close"); }

static void what_was_synced_survives_a_kill_with_durability_fsync(void **state)
{
    survive_kills(state, "durability=fsync");
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        MOUNT_TEST_EMPTY(what_was_closed_survives_a_kill),
        MOUNT_TEST_EMPTY(what_was_synced_survives_a_kill_with_durability_fsync),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return mount_tests("kill", run); }
