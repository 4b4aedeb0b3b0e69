/* Many processes that do mixed work on one mount for a while, each beside a model of what it does.
 *
 * Each process has namespaces of its own: after each step it compares what it touched, now and then everything, and
 * at the end, also after an unmount, everything again. And all share a few keys: they replace them, each time by a
 * rename of a temporary key, and whoever reads one finds a whole value that somebody has put there, never an older one
 * than it has seen of that writer; and they count under a lock.
 *
 * Environment: KVFS_TEST_SECONDS (5; the long run: 60), KVFS_TEST_PROCESSES (64), KVFS_TEST_SEED. */
#include "tests/support/hand.h"
#include "tests/support/setting.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PROCESSES = MOUNT_CHILDREN, SECONDS = 5, SHARED = 4, SHARED_SIZE = 5000, LOOK_EVERY = 40, MARGIN_S = 120 };

/* Shared by all processes of the test. */
struct crowd {
    struct history_state state[PROCESSES]; /* that each has left behind */
    uint64_t steps[PROCESSES], counted[PROCESSES];
    int64_t end_ms;
};

struct member {
    struct hand hand;
    struct crowd *crowd;
    struct test_random random;
    struct history_state state;
    uint64_t seen[PROCESSES][SHARED]; /* the newest value of each other in each shared key */
    uint32_t number, steps, puts;
};

static bool same_slot(struct history_slot a, struct history_slot b)
{
    return a.id == b.id && a.mode == b.mode && a.mark == b.mark;
}

/* -------------------------------------------------------------------------- a member's own keys */

static void look_at(struct member *member, struct history_place place)
{
    struct history_slot wanted = member->state.slots[place.namespace][place.key], is;

    if (wanted.id == 0) {
        if (hand_is_there(&member->hand, place))
            hand_stop(&member->hand, "after step %u key %u/%u should not be there", member->steps, place.namespace,
                      place.key);
        return;
    }
    is = hand_read(&member->hand, place);
    if (!same_slot(is, wanted))
        hand_stop(&member->hand,
                  "after step %u key %u/%u has value %" PRIx64 " (%o, %u), not %" PRIx64 " (%o, %u)",
                  member->steps, place.namespace, place.key, is.id, is.mode, is.mark, wanted.id, wanted.mode,
                  wanted.mark);
}

static void look_at_all(struct member *member)
{
    struct history_state is;

    hand_read_all(&member->hand, &is);
    if (history_same(&is, &member->state))
        return;
    hand_say("there should be", &member->state);
    hand_say("there is", &is);
    hand_stop(&member->hand, "after step %u its keys are not as they should be", member->steps);
}

static void do_own(struct member *member)
{
    struct history_step step = history_choose(&member->state, &member->random, member->number, ++member->steps);

    step.size = hand_choose_size(&member->random);
    (void)hand_do(&member->hand, &step);
    history_apply(&member->state, &step);
    look_at(member, step.at);
    if (step.kind == HISTORY_RENAME || step.kind == HISTORY_EXCHANGE)
        look_at(member, step.to);
    if (member->steps % LOOK_EVERY == 0)
        look_at_all(member);
}

/* ---------------------------------------------------------------------------------- shared keys */

static const char *shared_path(const struct member *member, unsigned key)
{
    return mount_path(member->hand.node, "a/shared/key_%u", key);
}

/* Ids tell their writer and grow with each of its puts. */
static void put_shared(struct member *member, unsigned key)
{
    const char *path = mount_path(member->hand.node, "a/shared/of_%u", member->number);
    uint64_t id = (uint64_t)member->number << 32 | ++member->puts;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    hand_succeed(&member->hand, fd, "open of a temporary key");
    history_fill(id, member->hand.bytes, SHARED_SIZE);
    hand_succeed(&member->hand, write(fd, member->hand.bytes, SHARED_SIZE), "write of a temporary key");
    hand_succeed(&member->hand, close(fd), "close of a temporary key");
    hand_succeed(&member->hand, rename(path, shared_path(member, key)), "rename to a shared key");
}

static void read_shared(struct member *member, unsigned key)
{
    int fd = open(shared_path(member, key), O_RDONLY | O_CLOEXEC);
    uint64_t id;
    ssize_t size;

    hand_succeed(&member->hand, fd, "open of a shared key");
    size = read(fd, member->hand.bytes, HAND_VALUE_MAX);
    close(fd);
    id = size == SHARED_SIZE ? history_id(member->hand.bytes, SHARED_SIZE) : 0;
    if (id == 0 || id >> 32 >= PROCESSES)
        hand_stop(&member->hand, "shared key %u: %zd bytes that are no value", key, size);
    if (id < member->seen[id >> 32][key])
        hand_stop(&member->hand, "shared key %u: value %" PRIx64 " again, after %" PRIx64, key, id,
                  member->seen[id >> 32][key]);
    member->seen[id >> 32][key] = id;
}

static void count(struct member *member)
{
    int lock = open(mount_path(member->hand.node, "a/shared/lock"), O_RDONLY | O_CLOEXEC), fd;
    char text[32] = "";

    hand_succeed(&member->hand, lock, "open of the lock");
    hand_succeed(&member->hand, flock(lock, LOCK_EX), "flock");
    fd = open(mount_path(member->hand.node, "a/shared/count"), O_RDWR | O_CLOEXEC);
    hand_succeed(&member->hand, fd, "open of the count");
    hand_succeed(&member->hand, pread(fd, text, sizeof(text) - 1, 0), "read of the count");
    snprintf(text, sizeof(text), "%llu", strtoull(text, NULL, 10) + 1);
    hand_succeed(&member->hand, pwrite(fd, text, strlen(text), 0), "write of the count");
    hand_succeed(&member->hand, close(fd), "close of the count");
    close(lock);
    member->crowd->counted[member->number]++;
}

/* ------------------------------------------------------------------------------------ the crowd */

static void live(struct member *member)
{
    while (mount_now_ms() < member->crowd->end_ms) {
        unsigned die = (unsigned)test_random_below(&member->random, 16);
        unsigned key = (unsigned)test_random_below(&member->random, SHARED);

        if (die == 0)
            put_shared(member, key);
        else if (die == 1)
            count(member);
        else if (die < 5)
            read_shared(member, key);
        else
            do_own(member);
        member->crowd->steps[member->number]++;
    }
    look_at_all(member);
    member->crowd->state[member->number] = member->state;
}

static void only_look(struct member *member)
{
    member->state = member->crowd->state[member->number];
    look_at_all(member);
}

static void each_process(struct mount_test *test, struct crowd *crowd, unsigned processes, uint64_t seed,
                         void (*act)(struct member *member))
{
    pid_t pids[PROCESSES];
    int bad = 0;

    for (unsigned i = 0; i < processes; i++) {
        pids[i] = mount_fork(test);
        if (pids[i] == 0) {
            struct member *member = calloc(1, sizeof(*member));

            if (member == NULL)
                _exit(1);
            umask(0);
            member->crowd = crowd;
            member->number = i;
            member->random.state = seed + i;
            member->hand = hand_of(&test->nodes[0], i, &member->random, NULL);
            act(member);
            _exit(0);
        }
    }
    for (unsigned i = 0; i < processes; i++)
        bad |= mount_wait(test, pids[i]);
    assert_int_equal(bad, 0);
}

static void make_tree(struct mount_test *test, unsigned processes)
{
    const struct mount_node *node = &test->nodes[0];
    uint8_t bytes[SHARED_SIZE];
    char limit[16], name[16];

    snprintf(limit, sizeof(limit), "%u", processes * HISTORY_NAMESPACES + 2);
    MOUNT_KVCTL(test, "account", "limit", "a", "--namespaces", limit);
    MOUNT_OK(mkdir(mount_path(node, "a/shared"), 0755));
    for (unsigned i = 0; i < SHARED; i++) {
        history_fill((uint64_t)(i + 1) << 32, bytes, sizeof(bytes));
        mount_write(mount_path(node, "a/shared/key_%u", i), bytes, sizeof(bytes));
    }
    mount_write_text(mount_path(node, "a/shared/lock"), "");
    mount_write_text(mount_path(node, "a/shared/count"), "0");
    for (unsigned i = 0; i < processes; i++)
        for (unsigned j = 0; j < HISTORY_LAST; j++) {
            history_name_namespace(i, j, name);
            MOUNT_OK(mkdir(mount_path(node, "a/%s", name), 0755));
        }
}

static void every_process_sees_what_it_did(void **state)
{
    unsigned processes = (unsigned)test_setting("KVFS_TEST_PROCESSES", PROCESSES);
    uint64_t seconds = test_setting("KVFS_TEST_SECONDS", SECONDS), seed, steps = 0, counted = 0;
    struct mount_test *test = *state;
    struct crowd *crowd = mmap(NULL, sizeof(*crowd), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(crowd, MAP_FAILED);
    assert_in_range(processes, 1, PROCESSES);
    alarm((unsigned)seconds + MARGIN_S);
    seed = test_seed();
    make_tree(test, processes);
    crowd->end_ms = mount_now_ms() + (int64_t)seconds * 1000;
    each_process(test, crowd, processes, seed, live);
    for (unsigned i = 0; i < processes; i++) {
        steps += crowd->steps[i];
        counted += crowd->counted[i];
    }
    printf("%u processes, %" PRIu64 " s: %" PRIu64 " steps, counted to %" PRIu64 "\n", processes, seconds, steps,
           counted);
    assert_int_equal(strtoull(mount_text(mount_path(&test->nodes[0], "a/shared/count")), NULL, 10), counted);
    MOUNT_KVCTL(test, "check");
    mount_stop(&test->nodes[0]);
    mount_again(&test->nodes[0], NULL);
    each_process(test, crowd, processes, seed, only_look);
    munmap(crowd, sizeof(*crowd));
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        MOUNT_TEST(every_process_sees_what_it_did),
        MOUNT_TEST_WITH("durability=fsync", every_process_sees_what_it_did),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return mount_tests("crowd", run); }
