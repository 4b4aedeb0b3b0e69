/* flock(2) and fcntl(2) locks belong to a key's name: they hold between all processes of all nodes of a store, whatever
 * becomes of the value meanwhile. */
#include "tests/support/agent.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SHORTLY_MS = 200, AGAIN_MS = 10, WAITS = 100, WAITERS = 80, LOCKED_KEYS = 1024 };

/* Two nodes, and a process on each; z is one more on the first. */
struct scene {
    struct mount_test *test;
    struct mount_node *a, *b;
    struct agent x, y, z;
    int fx, fy, fz; /* descriptors of a/n/key */
};

static struct scene scene_of(void **state, int flags)
{
    struct scene s = {.test = *state, .a = &s.test->nodes[0]};

    s.b = mount_start(s.test, "cache_ttl=0");
    mount_write_text(mount_path(s.a, "a/n/key"), "value");
    s.x = agent_start(s.test, 0, 0);
    s.y = agent_start(s.test, 0, 0);
    s.z = agent_start(s.test, 0, 0);
    s.fx = (int)MOUNT_OK(agent_open(&s.x, mount_path(s.a, "a/n/key"), flags, 0));
    s.fy = (int)MOUNT_OK(agent_open(&s.y, mount_path(s.b, "a/n/key"), flags, 0));
    s.fz = (int)MOUNT_OK(agent_open(&s.z, mount_path(s.a, "a/n/key"), flags, 0));
    return s;
}

/* ---------------------------------------------------------------- the two kinds */

static long lock_flock(struct agent *agent, int fd, int how) { return AGENT(agent, SYS_flock, fd, how); }

static struct flock *lock_range(struct agent *agent, short type, off_t start, off_t size)
{
    struct flock *range = (struct flock *)agent->bytes;

    *range = (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = size};
    return range;
}

static long lock_fcntl(struct agent *agent, int fd, short type, off_t start, off_t size)
{
    return AGENT(agent, SYS_fcntl, fd, F_SETLK, (long)lock_range(agent, type, start, size));
}

/* Exclusively and without waiting, the whole key. */
static long lock_take(struct agent *agent, int fd, bool is_flock)
{
    return is_flock ? lock_flock(agent, fd, LOCK_EX | LOCK_NB) : lock_fcntl(agent, fd, F_WRLCK, 0, 0);
}

static long lock_let_go(struct agent *agent, int fd, bool is_flock)
{
    return is_flock ? lock_flock(agent, fd, LOCK_UN) : lock_fcntl(agent, fd, F_UNLCK, 0, 0);
}

static void lock_begin(struct agent *agent, int fd, bool is_flock)
{
    if (is_flock)
        AGENT_BEGIN(agent, SYS_flock, fd, LOCK_EX);
    else
        AGENT_BEGIN(agent, SYS_fcntl, fd, F_SETLKW, (long)lock_range(agent, F_WRLCK, 0, 0));
}

static void expect_waiting(struct agent *agent, int for_ms)
{
    if (agent_answers(agent, for_ms))
        fail_msg("answered with %ld, errno %d", agent->memory->result, agent->memory->error);
}

/* How many calls that may wait for a lock a node has been asked for. */
static long waits_begun(const struct mount_node *node)
{
    const char *line = strstr(mount_text(mount_path(node, ".kvfs/stats")), ",kind=\"setlkw\"} ");

    assert_non_null(line);
    return strtol(strchr(line, ' ') + 1, NULL, 10);
}

/* Begin to wait, and be heard: over io_uring the kernel forgets a signal that comes before the daemon has the call. */
static void lock_begin_at(const struct mount_node *node, struct agent *agent, int fd, bool is_flock)
{
    long begun = waits_begun(node);
    int64_t end = mount_now_ms() + AGENT_MS;

    lock_begin(agent, fd, is_flock);
    for (; waits_begun(node) == begun; mount_pause_ms(1))
        assert_true(mount_now_ms() < end);
}

/* Begin to wait for it. */
static void lock_wait(struct agent *agent, int fd, bool is_flock)
{
    lock_begin(agent, fd, is_flock);
    expect_waiting(agent, SHORTLY_MS);
}

/* A signal can come just before the call waits, and then ends nothing: so it is sent again. Of a call that waits the
 * kernel tells the daemon once. */
static void lock_interrupt(struct agent *agent)
{
    int ms = 0;

    do
        MOUNT_OK(kill(agent->pid, AGENT_SIGNAL));
    while (!agent_answers(agent, AGAIN_MS) && (ms += AGAIN_MS) < AGENT_MS);
    MOUNT_FAILS(EINTR, agent_end(agent));
}

/* A process that has nothing open yet gets no lock, on either node. */
static void expect_held(struct scene *s, bool is_flock)
{
    struct agent *agents[] = {&s->y, &s->z};
    struct mount_node *nodes[] = {s->b, s->a};

    for (int i = 0; i < 2; i++) {
        int fd = (int)MOUNT_OK(agent_open(agents[i], mount_path(nodes[i], "a/n/key"), O_RDWR, 0));

        MOUNT_FAILS(EAGAIN, lock_take(agents[i], fd, is_flock));
        MOUNT_OK(agent_close(agents[i], fd));
    }
}

/* -------------------------------------------------------------------- excluding */

static void flock_excludes_and_shares_between_nodes(void **state)
{
    struct scene s = scene_of(state, O_RDONLY);

    MOUNT_OK(lock_flock(&s.x, s.fx, LOCK_EX | LOCK_NB));
    MOUNT_FAILS(EAGAIN, lock_flock(&s.y, s.fy, LOCK_EX | LOCK_NB));
    MOUNT_FAILS(EAGAIN, lock_flock(&s.y, s.fy, LOCK_SH | LOCK_NB));
    MOUNT_FAILS(EAGAIN, lock_flock(&s.z, s.fz, LOCK_SH | LOCK_NB));
    MOUNT_OK(lock_flock(&s.x, s.fx, LOCK_SH | LOCK_NB)); /* down */
    MOUNT_OK(lock_flock(&s.y, s.fy, LOCK_SH | LOCK_NB));
    MOUNT_FAILS(EAGAIN, lock_flock(&s.z, s.fz, LOCK_EX | LOCK_NB));
    MOUNT_OK(lock_flock(&s.x, s.fx, LOCK_UN));
    MOUNT_FAILS(EAGAIN, lock_flock(&s.z, s.fz, LOCK_EX | LOCK_NB));
    MOUNT_OK(lock_flock(&s.y, s.fy, LOCK_EX | LOCK_NB)); /* up */
    MOUNT_FAILS(EAGAIN, lock_flock(&s.x, s.fx, LOCK_SH | LOCK_NB));
    MOUNT_OK(agent_close(&s.y, s.fy));
    MOUNT_OK(lock_flock(&s.x, s.fx, LOCK_EX)); /* the kernel tells of a last close a moment later */
}

static void an_upgrade_that_is_refused_lets_nobody_else_in_exclusively(void **state)
{
    struct scene s = scene_of(state, O_RDONLY);

    MOUNT_OK(lock_flock(&s.x, s.fx, LOCK_SH | LOCK_NB));
    MOUNT_OK(lock_flock(&s.y, s.fy, LOCK_SH | LOCK_NB));
    MOUNT_FAILS(EAGAIN, lock_flock(&s.x, s.fx, LOCK_EX | LOCK_NB));
    MOUNT_FAILS(EAGAIN, lock_flock(&s.z, s.fz, LOCK_EX | LOCK_NB)); /* y still shares */
}

static void fcntl_locks_exclude_by_ranges_between_nodes(void **state)
{
    struct scene s = scene_of(state, O_RDWR);

    MOUNT_OK(lock_fcntl(&s.x, s.fx, F_WRLCK, 0, 10));
    MOUNT_OK(lock_fcntl(&s.y, s.fy, F_WRLCK, 10, 10));
    MOUNT_FAILS(EAGAIN, lock_fcntl(&s.y, s.fy, F_RDLCK, 9, 1));
    MOUNT_FAILS(EAGAIN, lock_fcntl(&s.x, s.fx, F_WRLCK, 5, 0)); /* to the end, whatever that is */
    MOUNT_FAILS(EAGAIN, lock_fcntl(&s.z, s.fz, F_RDLCK, 0, 1));
    MOUNT_OK(lock_fcntl(&s.x, s.fx, F_UNLCK, 3, 2)); /* a hole in the middle */
    MOUNT_OK(lock_fcntl(&s.y, s.fy, F_WRLCK, 3, 2));
    MOUNT_FAILS(EAGAIN, lock_fcntl(&s.y, s.fy, F_WRLCK, 2, 2));
    MOUNT_FAILS(EAGAIN, lock_fcntl(&s.z, s.fz, F_WRLCK, 4, 1));
    MOUNT_OK(lock_fcntl(&s.x, s.fx, F_RDLCK, 0, 3)); /* down */
    MOUNT_OK(lock_fcntl(&s.y, s.fy, F_RDLCK, 0, 3));
    MOUNT_OK(lock_fcntl(&s.z, s.fz, F_RDLCK, 1, 1));
    MOUNT_FAILS(EAGAIN, lock_fcntl(&s.y, s.fy, F_WRLCK, 0, 3));
    MOUNT_OK(agent_close(&s.x, s.fx));
    MOUNT_OK(lock_fcntl(&s.z, s.fz, F_WRLCK, 5, 5));
    MOUNT_OK(lock_fcntl(&s.z, s.fz, F_WRLCK, 100, 0));
    MOUNT_FAILS(EAGAIN, lock_fcntl(&s.y, s.fy, F_WRLCK, 1L << 40, 1));
}

static void fcntl_tells_who_is_in_the_way(void **state)
{
    struct scene s = scene_of(state, O_RDWR);
    struct agent *others[] = {&s.y, &s.z};
    int fds[] = {s.fy, s.fz};

    MOUNT_OK(lock_fcntl(&s.x, s.fx, F_WRLCK, 10, 10));
    for (int i = 0; i < 2; i++) {
        struct flock *range = lock_range(others[i], F_RDLCK, 15, 100);

        MOUNT_OK(AGENT(others[i], SYS_fcntl, fds[i], F_GETLK, (long)range));
        assert_int_equal(range->l_type, F_WRLCK);
        assert_true(range->l_start < 115 && (range->l_len == 0 || range->l_start + range->l_len > 15));
        range = lock_range(others[i], F_WRLCK, 20, 0);
        MOUNT_OK(AGENT(others[i], SYS_fcntl, fds[i], F_GETLK, (long)range));
        assert_int_equal(range->l_type, F_UNLCK);
    }
}

static void locks_of_other_names_are_others(void **state)
{
    struct scene s = scene_of(state, O_RDWR);
    int fd;

    MOUNT_OK(mkdir(mount_path(s.a, "a/m"), 0755));
    mount_write_text(mount_path(s.a, "a/m/key"), "value");
    mount_write_text(mount_path(s.a, "a/n/key2"), "value");
    MOUNT_OK(lock_take(&s.x, s.fx, true));
    MOUNT_OK(lock_take(&s.x, s.fx, false)); /* the two kinds do not know each other */
    for (int i = 0; i < 2; i++) {
        fd = (int)MOUNT_OK(agent_open(&s.y, mount_path(s.b, i == 0 ? "a/m/key" : "a/n/key2"), O_RDWR, 0));
        MOUNT_OK(lock_take(&s.y, fd, true));
        MOUNT_OK(lock_take(&s.y, fd, false));
    }
    expect_held(&s, true);
    expect_held(&s, false);
}

/* --------------------------------------------------------------------- waiting */

static void whoever_waits_gets_the_lock_when_it_is_let_go(void **state)
{
    struct scene s = scene_of(state, O_RDWR);

    for (int round = 0; round < 8; round++) {
        bool is_flock = round % 2 == 0, is_here = round < 4;
        struct agent *waiter = is_here ? &s.z : &s.y;
        int fd = is_here ? s.fz : s.fy;

        MOUNT_OK(lock_take(&s.x, s.fx, is_flock));
        lock_wait(waiter, fd, is_flock);
        if (round % 4 < 2) {
            MOUNT_OK(lock_let_go(&s.x, s.fx, is_flock));
        } else {
            MOUNT_OK(agent_close(&s.x, s.fx));
            s.fx = (int)MOUNT_OK(agent_open(&s.x, mount_path(s.a, "a/n/key"), O_RDWR, 0));
        }
        MOUNT_OK(agent_end(waiter));
        MOUNT_FAILS(EAGAIN, lock_take(&s.x, s.fx, is_flock));
        MOUNT_OK(lock_let_go(waiter, fd, is_flock));
    }
}

static void a_signal_ends_the_waiting(void **state)
{
    struct scene s = scene_of(state, O_RDWR);

    for (int round = 0; round < 4; round++) {
        bool is_flock = round % 2 == 0;
        struct agent *waiter = round < 2 ? &s.y : &s.z;
        int fd = round < 2 ? s.fy : s.fz;

        MOUNT_OK(lock_take(&s.x, s.fx, is_flock));
        lock_begin_at(round < 2 ? s.b : s.a, waiter, fd, is_flock);
        expect_waiting(waiter, SHORTLY_MS);
        lock_interrupt(waiter);
        MOUNT_OK(lock_let_go(&s.x, s.fx, is_flock));
        MOUNT_OK(lock_take(&s.x, s.fx, is_flock)); /* nobody waits any more */
        MOUNT_OK(lock_let_go(&s.x, s.fx, is_flock));
    }
}

/* Not another wait that begins before the daemon is done with the signal, either. */
static void a_signal_ends_one_wait_only(void **state)
{
    struct scene s = scene_of(state, O_RDWR);

    MOUNT_OK(lock_take(&s.x, s.fx, true));
    MOUNT_OK(lock_take(&s.x, s.fx, false));
    for (int i = 0; i < WAITS; i++) {
        lock_begin_at(s.a, &s.z, s.fz, i % 2 == 0);
        expect_waiting(&s.z, AGAIN_MS);
        lock_interrupt(&s.z);
    }
}

/* Nobody interrupted it: the kernel would pass a wrong word on. */
static void the_end_of_a_node_ends_the_waiting(void **state)
{
    for (int is_flock = 0; is_flock < 2; is_flock++) {
        struct scene s = scene_of(state, O_RDWR);

        MOUNT_OK(lock_take(&s.x, s.fx, is_flock));
        lock_wait(&s.y, s.fy, is_flock);
        mount_signal(s.b, SIGTERM);
        MOUNT_FAILS(ENOTCONN, agent_end(&s.y));
        MOUNT_OK(lock_let_go(&s.x, s.fx, is_flock));
        MOUNT_OK(lock_take(&s.z, s.fz, is_flock));
        MOUNT_OK(agent_close(&s.z, s.fz));
    }
}

/* Also one that waits. */
static void a_killed_process_lets_go(void **state)
{
    for (int is_flock = 0; is_flock < 2; is_flock++) {
        struct scene s = scene_of(state, O_RDWR);

        MOUNT_OK(lock_take(&s.x, s.fx, is_flock));
        lock_wait(&s.y, s.fy, is_flock);
        lock_wait(&s.z, s.fz, is_flock);
        agent_kill(&s.z, SIGKILL);
        agent_kill(&s.x, SIGKILL);
        MOUNT_OK(agent_end(&s.y));
        agent_kill(&s.y, SIGKILL);
    }
}

static void a_killed_node_lets_go(void **state)
{
    struct scene s = scene_of(state, O_RDWR);

    MOUNT_OK(lock_take(&s.x, s.fx, true));
    lock_wait(&s.y, s.fy, true);
    MOUNT_OK(kill(s.a->daemon, SIGKILL));
    MOUNT_OK(waitpid(s.a->daemon, NULL, 0));
    s.a->daemon = 0;
    MOUNT_OK(umount2(s.a->path, MNT_DETACH));
    MOUNT_OK(agent_end(&s.y));
}

/* In clock ticks, of which a second has 100. */
static unsigned long cpu_of(const struct mount_node *node)
{
    unsigned long user, kernel;
    char path[64], *after_name;

    snprintf(path, sizeof(path), "/proc/%d/stat", node->daemon);
    after_name = strrchr(mount_text(path), ')');
    assert_int_equal(
        sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel), 2);
    return user + kernel;
}

static void waiting_costs_no_cpu(void **state)
{
    struct scene s = scene_of(state, O_RDWR);
    unsigned long before;

    MOUNT_OK(lock_take(&s.x, s.fx, true));
    MOUNT_OK(lock_take(&s.x, s.fx, false));
    lock_wait(&s.y, s.fy, true);
    lock_wait(&s.z, s.fz, false);
    before = cpu_of(s.a) + cpu_of(s.b);
    mount_pause_ms(1000); /* what is measured */
    assert_in_range(cpu_of(s.a) + cpu_of(s.b) - before, 0, 5);
    MOUNT_OK(agent_close(&s.x, s.fx));
    MOUNT_OK(agent_end(&s.y));
    MOUNT_OK(agent_end(&s.z));
}

struct waiter {
    pthread_t thread;
    int fd;
};

static void *wait_and_let_go(void *arg)
{
    const struct waiter *waiter = arg;
    int rc = flock(waiter->fd, LOCK_EX);

    close(waiter->fd);
    return rc == 0 ? NULL : arg;
}

static void many_who_wait_are_in_nobodys_way(void **state)
{
    struct scene s = scene_of(state, O_RDWR);
    struct waiter waiters[WAITERS];
    void *failed;

    MOUNT_OK(lock_take(&s.x, s.fx, true));
    for (int i = 0; i < WAITERS; i++) {
        waiters[i].fd = (int)MOUNT_OK(open(mount_path(s.a, "a/n/key"), O_RDONLY | O_CLOEXEC));
        assert_int_equal(pthread_create(&waiters[i].thread, NULL, wait_and_let_go, &waiters[i]), 0);
    }
    mount_write_text(mount_path(s.a, "a/n/other"), "written while they wait");
    mount_expect_text(mount_path(s.b, "a/n/other"), "written while they wait");
    MOUNT_OK(lock_let_go(&s.x, s.fx, true));
    for (int i = 0; i < WAITERS; i++) {
        pthread_join(waiters[i].thread, &failed);
        assert_null(failed);
    }
    MOUNT_OK(lock_flock(&s.y, s.fy, LOCK_EX)); /* the kernel tells of a last close a moment later */
}

static void *wait_for_lock(void *arg)
{
    const struct waiter *waiter = arg;

    return flock(waiter->fd, LOCK_EX) == 0 ? NULL : arg;
}

static void who_waited_has_the_lock_though_another_thread_let_go_meanwhile(void **state)
{
    struct scene s = scene_of(state, O_RDWR);
    struct waiter waiter = {.fd = (int)MOUNT_OK(open(mount_path(s.a, "a/n/key"), O_RDWR | O_CLOEXEC))};
    /* Where it does not wait yet, less is shown. */
    const struct timespec shortly = {.tv_nsec = SHORTLY_MS * 1000000L};
    void *failed;

    MOUNT_OK(lock_take(&s.x, s.fx, true));
    assert_int_equal(pthread_create(&waiter.thread, NULL, wait_for_lock, &waiter), 0);
    nanosleep(&shortly, NULL);
    MOUNT_OK(flock(waiter.fd, LOCK_UN));
    MOUNT_OK(lock_let_go(&s.x, s.fx, true));
    pthread_join(waiter.thread, &failed);
    assert_null(failed);
    expect_held(&s, true);
    MOUNT_OK(close(waiter.fd));
    MOUNT_OK(lock_flock(&s.y, s.fy, LOCK_EX));
}

/* ----------------------------------------------------------- descriptors that are shared */

static void the_end_of_a_child_keeps_the_locks_of_its_parent(void **state)
{
    struct scene s = scene_of(state, O_RDWR);
    int fd = (int)MOUNT_OK(open(mount_path(s.a, "a/n/key"), O_RDWR | O_CLOEXEC));
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    pid_t child;

    MOUNT_OK(flock(fd, LOCK_EX | LOCK_NB));
    MOUNT_OK(fcntl(fd, F_SETLK, &range));
    child = mount_fork(s.test);
    if (child == 0) {
        close(fd);
        _exit(0);
    }
    assert_int_equal(mount_wait(s.test, child), 0);
    assert_int_equal(MOUNT_RUN(s.test, "true"), 0);
    expect_held(&s, true);
    expect_held(&s, false);
    MOUNT_OK(close(fd));
    MOUNT_OK(lock_flock(&s.y, s.fy, LOCK_EX));
    MOUNT_OK(lock_take(&s.y, s.fy, false));
}

/* A child that inherited the descriptor has the flock too; fcntl locks are the parent's only. */
static void flock_lasts_until_the_last_descriptor_is_closed(void **state)
{
    struct scene s = scene_of(state, O_RDWR);
    int fd = (int)MOUNT_OK(open(mount_path(s.a, "a/n/key"), O_RDWR | O_CLOEXEC));
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    pid_t child;

    MOUNT_OK(flock(fd, LOCK_EX | LOCK_NB));
    MOUNT_OK(fcntl(fd, F_SETLK, &range));
    child = mount_fork(s.test);
    if (child == 0) {
        pause();
        _exit(0);
    }
    MOUNT_OK(close(fd));
    expect_held(&s, true);
    MOUNT_OK(lock_take(&s.y, s.fy, false));
    lock_wait(&s.z, s.fz, true);
    MOUNT_OK(kill(child, SIGKILL));
    (void)mount_wait(s.test, child);
    MOUNT_OK(agent_end(&s.z));
}

/* -------------------------------------------------------- what becomes of the value */

static void put_elsewhere(struct scene *s)
{
    mount_write_text(mount_path(s->b, "a/n/key"), "put by the other node");
    mount_expect_text(mount_path(s->a, "a/n/key"), "put by the other node");
}

static void put_here(struct scene *s) { mount_write_text(mount_path(s->a, "a/n/key"), "put by this node"); }
static void put_by_kvctl(struct scene *s) { MOUNT_KVCTL(s->test, "put", "a/n/key", "put by kvctl"); }

static void save_in_vain(struct scene *s)
{
    for (int i = 0; i < 2; i++) {
        int fd = (int)MOUNT_OK(open(mount_path(i == 0 ? s->a : s->b, "a/n/key"), O_WRONLY | O_CLOEXEC));

        MOUNT_FAILS(EFBIG, pwrite(fd, "x", 1, 30 << 20));
        MOUNT_FAILS(EFBIG, close(fd));
    }
}

static void move_over_it_here(struct scene *s)
{
    mount_write_text(mount_path(s->a, "a/n/t"), "moved over");
    MOUNT_OK(rename(mount_path(s->a, "a/n/t"), mount_path(s->a, "a/n/key")));
}

static void move_over_it_elsewhere(struct scene *s)
{
    mount_write_text(mount_path(s->b, "a/n/t"), "moved over elsewhere");
    MOUNT_OK(rename(mount_path(s->b, "a/n/t"), mount_path(s->b, "a/n/key")));
}

static void a_lock_holds_whatever_becomes_of_the_value(void **state)
{
    void (*const changes[])(struct scene *) = {put_here,     put_elsewhere,     save_in_vain,
                                               put_by_kvctl, move_over_it_here, move_over_it_elsewhere};
    struct scene s = scene_of(state, O_RDWR);
    for (int is_flock = 0; is_flock < 2; is_flock++) {
        for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
            int fd = (int)MOUNT_OK(agent_open(&s.x, mount_path(s.a, "a/n/key"), O_RDWR, 0));

            MOUNT_OK(lock_take(&s.x, fd, is_flock));
            changes[i](&s);
            expect_held(&s, is_flock);
            lock_wait(&s.y, s.fy, is_flock);
            MOUNT_OK(agent_close(&s.x, fd));
            MOUNT_OK(agent_end(&s.y));
            MOUNT_OK(lock_let_go(&s.y, s.fy, is_flock));
        }
    }
}

/* --------------------------------------------------------------------------- bounds */

static void a_node_that_cannot_write_locks_too(void **state)
{
    struct scene s = scene_of(state, O_RDONLY);
    struct mount_node *reader = mount_start(s.test, "ro");
    int fd = (int)MOUNT_OK(agent_open(&s.z, mount_path(reader, "a/n/key"), O_RDONLY, 0));

    MOUNT_OK(lock_flock(&s.z, fd, LOCK_EX | LOCK_NB));
    MOUNT_FAILS(EAGAIN, lock_flock(&s.x, s.fx, LOCK_SH | LOCK_NB));
    lock_wait(&s.y, s.fy, true);
    MOUNT_OK(lock_flock(&s.z, fd, LOCK_UN));
    MOUNT_OK(agent_end(&s.y));
    MOUNT_FAILS(EAGAIN, lock_flock(&s.z, fd, LOCK_SH | LOCK_NB));
    MOUNT_OK(lock_fcntl(&s.z, fd, F_RDLCK, 0, 1));
    MOUNT_FAILS(EBADF, lock_fcntl(&s.z, fd, F_WRLCK, 0, 1));
    MOUNT_OK(lock_fcntl(&s.x, s.fx, F_RDLCK, 0, 1));
    MOUNT_OK(agent_close(&s.x, s.fx));
    s.fx = (int)MOUNT_OK(agent_open(&s.x, mount_path(s.a, "a/n/key"), O_RDWR, 0));
    MOUNT_FAILS(EAGAIN, lock_fcntl(&s.x, s.fx, F_WRLCK, 0, 1));
}

static void a_user_who_locks_too_many_keys_is_refused_alone(void **state)
{
    struct rlimit files = {4 * LOCKED_KEYS, 4 * LOCKED_KEYS};
    struct scene s = scene_of(state, O_RDWR);
    struct agent greedy;
    int fds[2 * LOCKED_KEYS], held = -1;

    MOUNT_OK(setrlimit(RLIMIT_NOFILE, &files));
    greedy = agent_start(s.test, 5001, 0);
    MOUNT_OK(chmod(mount_path(s.a, "a"), 0755)); /* an account is its maker's at first */
    MOUNT_OK(chmod(mount_path(s.a, "a/n"), 0777));
    do {
        assert_in_range(++held, 0, 2 * LOCKED_KEYS - 1);
        fds[held] = (int)MOUNT_OK(agent_open(&greedy, mount_path(s.a, "a/n/k%d", held), O_RDWR | O_CREAT, 0600));
    } while (lock_take(&greedy, fds[held], held % 2 == 0) == 0);
    assert_int_equal(errno, ENOLCK);
    assert_in_range(held, LOCKED_KEYS / 2, LOCKED_KEYS);
    MOUNT_OK(lock_take(&s.x, s.fx, false));
    MOUNT_OK(lock_take(&s.y, s.fy, true));
    MOUNT_OK(agent_close(&greedy, fds[1]));
    MOUNT_OK(lock_take(&greedy, fds[held], false));
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        MOUNT_TEST_WITH("cache_ttl=0", flock_excludes_and_shares_between_nodes),
        MOUNT_TEST_WITH("cache_ttl=0", an_upgrade_that_is_refused_lets_nobody_else_in_exclusively),
        MOUNT_TEST_WITH("cache_ttl=0", fcntl_locks_exclude_by_ranges_between_nodes),
        MOUNT_TEST_WITH("cache_ttl=0", fcntl_tells_who_is_in_the_way),
        MOUNT_TEST_WITH("cache_ttl=0", locks_of_other_names_are_others),
        MOUNT_TEST_WITH("cache_ttl=0", whoever_waits_gets_the_lock_when_it_is_let_go),
        MOUNT_TEST_WITH("cache_ttl=0", a_signal_ends_the_waiting),
        MOUNT_TEST_WITH("cache_ttl=0", a_signal_ends_one_wait_only),
        MOUNT_TEST_WITH("cache_ttl=0", the_end_of_a_node_ends_the_waiting),
        MOUNT_TEST_WITH("cache_ttl=0", a_killed_process_lets_go),
        MOUNT_TEST_WITH("cache_ttl=0", a_killed_node_lets_go),
        MOUNT_TEST_WITH("cache_ttl=0", waiting_costs_no_cpu),
        MOUNT_TEST_WITH("cache_ttl=0", many_who_wait_are_in_nobodys_way),
        MOUNT_TEST_WITH("cache_ttl=0", who_waited_has_the_lock_though_another_thread_let_go_meanwhile),
        MOUNT_TEST_WITH("cache_ttl=0", the_end_of_a_child_keeps_the_locks_of_its_parent),
        MOUNT_TEST_WITH("cache_ttl=0", flock_lasts_until_the_last_descriptor_is_closed),
        MOUNT_TEST_WITH("cache_ttl=0", a_lock_holds_whatever_becomes_of_the_value),
        MOUNT_TEST_WITH("cache_ttl=0", a_node_that_cannot_write_locks_too),
        MOUNT_TEST_WITH("cache_ttl=0,allow_other", a_user_who_locks_too_many_keys_is_refused_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return mount_tests("locks", run); }
