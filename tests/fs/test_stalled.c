/* A process that is stopped within a commit, as by SIGSTOP, Ctrl-Z or docker pause: reads go on, changes end in
 * ETIMEDOUT within commit_timeout, and errors says who has the store. */
#include "tests/support/users.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define NODE(i) (&((struct mount_test *)*state)->nodes[i])
#define A(...) mount_path(NODE(0), __VA_ARGS__)

static void put_done(struct kv_change *change, int rc)
{
    (void)change;
    (void)rc;
}

/* A node that is stopped within a commit; it never comes back. */
static void stop_within_commit(const struct mount_test *test)
{
    struct kv_options options = kv_options_default();
    struct kv_change change = {.kind = KV_PUT, .done = put_done, .attr.mode = 0644};
    struct engine *engine;
    struct kv_node account, namespace;
    struct kv_store *store;
    struct kv_error error;

    if (engine_lmdb_open(test->store, &(struct lmdb_options){.create = false}, &engine, &error) < 0 ||
        engine_fault_open(engine, &engine) < 0)
        _exit(2);
    options.backend = test_backend(engine);
    if (kv_open("", &options, &store, &error) < 0 || kv_node_find(store, KV_ROOT_ID, "a", 1, &account) < 0 ||
        kv_node_find(store, account.id, "n", 1, &namespace) < 0 || kv_value_copy("1", 1, &change.value) < 0)
        _exit(3);
    change.ref = kv_ref_key(namespace.id, "stalled", 7);
    engine_fault_delay(engine, ENGINE_COMMIT, 1000000);
    kv_submit(store, &change);
    while (engine_fault_calls(engine, ENGINE_COMMIT) == 0)
        usleep(1000);
    raise(SIGSTOP);
    _exit(4);
}

enum { CHANGES = 105 };

struct changer {
    const struct mount_node *node;
    int number, result;
    pthread_t thread;
};

/* Each in a place of its own: the kernel lets one after the other change a directory or an inode. */
static void *change_something(void *arg)
{
    struct changer *changer = arg;
    const struct mount_node *node = changer->node;
    int i = changer->number;
    char path[MOUNT_PATH + 32];

    long result;

    switch (i) {
    case 0:
        result = users_write(mount_path(node, "a/c0/new"), "value", 0644);
        break;
    case 1:
        result = unlink(mount_path(node, "a/c1/key"));
        break;
    case 2:
        result = rename(mount_path(node, "a/c2/key"), mount_path(node, "a/c2/new"));
        break;
    case 3:
        result = mkdir(mount_path(node, "b/new"), 0755);
        break;
    case 4:
        result = rmdir(mount_path(node, "c"));
        break;
    default:
        snprintf(path, sizeof(path), "%s/a/n/f%d", node->path, i);
        result = chmod(path, 0600);
    }
    changer->result = result < 0 ? errno : 0;
    return NULL;
}

/* All at once, and each ends in ETIMEDOUT. */
static void change_in_vain(const struct mount_node *node)
{
    static struct changer changers[CHANGES];

    for (int i = 0; i < CHANGES; i++) {
        changers[i] = (struct changer){.node = node, .number = i};
        pthread_create(&changers[i].thread, NULL, change_something, &changers[i]);
    }
    for (int i = 0; i < CHANGES; i++) {
        pthread_join(changers[i].thread, NULL);
        errno = changers[i].result;
        if (errno != ETIMEDOUT)
            printf("change %d\n", i);
        users_must(errno == ETIMEDOUT, "not ETIMEDOUT");
    }
    _exit(0);
}

static long figure_of(const char *path, const char *name)
{
    const char *line = strstr(mount_text(path), name);

    assert_non_null(line);
    return strtol(strstr(line, "} ") + 2, NULL, 10);
}

/* More changes wait than a node serves at a time; reads go on; each change ends in time, and errors tells who it is. */
static void a_node_that_is_stopped_within_a_commit_stops_no_reader(void **state)
{
    enum { SECONDS = 2 };
    struct mount_test *test = *state;
    pid_t stalled, changers, reader;
    char pid[32];
    long waiting = 0;
    int64_t begun;
    int status;

    MOUNT_OK(mkdir(A("b"), 0755));
    MOUNT_OK(mkdir(A("c"), 0755));
    for (int i = 0; i < 3; i++) {
        MOUNT_OK(mkdir(A("a/c%d", i), 0755));
        mount_write_text(A("a/c%d/key", i), "value");
    }
    for (int i = 0; i < CHANGES; i++)
        mount_write_text(A("a/n/f%d", i), "value");
    mount_write_text(A("a/n/known"), "value");
    mount_write_text(A("a/n/held"), "value");
    mount_expect_text(A("a/n/known"), "value");
    stalled = mount_fork(test);
    if (stalled == 0)
        stop_within_commit(test);
    assert_int_equal(waitpid(stalled, &status, WUNTRACED), stalled);
    if (!WIFSTOPPED(status))
        fail_msg("the process that was to stall has ended: %#x", (unsigned)status);
    begun = mount_now_ms();
    changers = mount_fork(test);
    if (changers == 0)
        change_in_vain(NODE(0));
    while (mount_now_ms() - begun < (waiting > 0 ? 500 : 1000) * SECONDS) {
        int64_t before = mount_now_ms();

        if (waiting == 0)
            waiting = figure_of(A(".kvfs/stats"), "\nkvfs_queue_changes{");

        reader = mount_fork(test);
        if (reader == 0) {
            char text[16];

            users_must(users_read(A("a/n/known"), text, sizeof(text)) == 5, "read of what is known");
            users_must(users_read(A("a/n/held"), text, sizeof(text)) == 5, "read of what is not known");
            users_must(access(A("a/n/absent%d", (int)(before % 1000)), F_OK) < 0 && errno == ENOENT, "lookup");
            free(mount_list(A("a/n")));
            free(mount_list(A("a")));
            _exit(0);
        }
        users_expect_end(state, reader, "reads");
        assert_true(mount_now_ms() - before < 1000);
    }
    assert_true(waiting > 0);
    users_expect_end(state, changers, "changes");
    assert_true(mount_now_ms() - begun < (SECONDS + 6) * 1000);
    snprintf(pid, sizeof(pid), "%d", (int)stalled);
    assert_non_null(strstr(mount_text(A(".kvfs/errors")), pid));
    MOUNT_OK(kill(stalled, SIGKILL));
    (void)mount_wait(test, stalled);
    assert_int_equal(figure_of(A(".kvfs/stats"), "\nkvfs_queue_changes{"), 0);
    mount_write_text(A("a/n/after"), "value");
    mount_expect_text(A("a/n/after"), "value");
    mount_expect_text(A("a/c1/key"), "value");
    mount_expect_text(A("a/c2/key"), "value");
    assert_int_equal(mount_stat(A("a/n/f10")).st_mode & 0777, 0644);
    assert_false(mount_is_there(A("a/c0/new")));
    assert_false(mount_is_there(A("a/n/stalled")));
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        MOUNT_TEST_WITH("commit_timeout=2", a_node_that_is_stopped_within_a_commit_stops_no_reader),
        MOUNT_TEST_WITH("commit_timeout=2,cache_ttl=0", a_node_that_is_stopped_within_a_commit_stops_no_reader),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return mount_tests("stalled", run); }
