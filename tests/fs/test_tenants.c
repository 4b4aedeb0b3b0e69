/* A user who blocks whatever a user can block stops nobody else: not the closes, puts and lookups of others, not other
 * nodes, not the unmount.
 *
 * What blocks them is memory mapped from a key of a node that is stopped: a system call that copies to or from it
 * waits, and keeps the locks that it has in the kernel. */
#include "tests/support/users.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NODE(i) (&((struct mount_test *)*state)->nodes[i])
#define A(...) mount_path(NODE(0), __VA_ARGS__)
#define B(...) mount_path(NODE(1), __VA_ARGS__)

enum { TRAP_SIZE = 4 << 20, TRAPS = 4, TRAPPED = 65536 };

/* ------------------------------------------------------------------------- what blocks */

/* Another two nodes, the second of which is stopped. returns  memory of it, for children; the test must not touch it */
static void *trap_set(void **state)
{
    struct mount_node *node;
    void *memory, *zeros = calloc(1, TRAP_SIZE);
    int fd;

    assert_non_null(zeros);
    mount_start(*state, "allow_other,cache_ttl=0");
    node = mount_start(*state, "allow_other");
    mount_write(A("a/n/trap"), zeros, TRAP_SIZE);
    free(zeros);
    MOUNT_OK(chmod(A("a/n/trap"), 0777));
    fd = (int)MOUNT_OK(open(mount_path(node, "a/n/trap"), O_RDWR | O_CLOEXEC));
    memory = mmap(NULL, TRAP_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    MOUNT_OK(close(fd));
    MOUNT_OK(kill(node->daemon, SIGSTOP));
    return memory;
}

/* Memory that nobody has touched; the first pages may have come with the open. */
static char *trap(void *memory, int number) { return (char *)memory + TRAP_SIZE / (TRAPS + 1) * (number + 1); }

/* A thread of the process is in a system call of this number, and does not come back from it. */
static bool is_within(pid_t pid, long number)
{
    char path[64], text[256];
    long is = -1;

    snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
    (void)users_read(path, text, sizeof(text));
    return sscanf(text, "%ld", &is) == 1 && is == number;
}

static void wait_until_within(pid_t pid, long number)
{
    int64_t end = mount_now_ms() + USERS_PATIENCE_MS;

    for (int seen = 0; seen < 5; seen = is_within(pid, number) ? seen + 1 : 0) {
        assert_true(mount_now_ms() < end);
        mount_pause_ms(20);
    }
}

/* ------------------------------------------------------------------- what others do */

static void work(const struct mount_node *node)
{
    char text[16];
    int fd;

    for (int i = 0; i < 3; i++) {
        users_must(users_write(mount_path(node, "a/m/key%d", i), "value", 0666) == 0, "create and close");
        users_must(users_read(mount_path(node, "a/m/key%d", i), text, sizeof(text)) == 5, "read");
        users_must(rename(mount_path(node, "a/m/key%d", i), mount_path(node, "a/m/renamed")) == 0, "rename");
        users_must(unlink(mount_path(node, "a/m/renamed")) == 0, "unlink");
        fd = open(mount_path(node, "a/n/known"), O_WRONLY | O_TRUNC);
        users_must(fd >= 0 && write(fd, "again", 5) == 5, "write of a known key");
        users_must(fsync(fd) == 0, "fsync of a known key");
        users_must(close(fd) == 0, "close of a known key");
        users_must(users_read(mount_path(node, "a/n/known"), text, sizeof(text)) == 5, "read of a known key");
        users_must(chmod(mount_path(node, "a/n/known"), i % 2 ? 0666 : 0644) == 0, "chmod of a known key");
        free(mount_list(mount_path(node, "a/m")));
    }
}

static void prepare(void **state)
{
    MOUNT_OK(mkdir(A("a/m"), 0777));
    MOUNT_OK(chmod(A("a/m"), 0777));
    MOUNT_OK(users_write(A("a/n/known"), "value", 0666));
    MOUNT_OK(users_write(A("a/n/replaced"), "value", 0666));
    MOUNT_OK(users_write(A("a/n/held"), "value", 0666));
    MOUNT_OK(chmod(A("a/n/held"), 0666));
}

/* On this node and on another one, which replaces and removes what this one knows; and the unmount. */
static void expect_others_go_on(void **state)
{
    for (int i = 0; i < 4; i++) {
        pid_t child = mount_fork(*state);

        if (child == 0) {
            work(NODE(i % 2));
            if (i == 1) {
                users_must(users_write(B("a/n/replaced"), "newer", 0666) == 0, "put on another node");
                users_must(unlink(B("a/n/replaced")) == 0, "unlink on another node");
            }
            _exit(0);
        }
        users_expect_end(state, child, i % 2 ? "others on another node" : "others on this node");
    }
}

/* ------------------------------------------------------------------------ blocked clients */

typedef void blocker(void **state, void *memory);

/* Has made a key that another node makes first, and hears of it when it closes; it stops before. */
static pid_t start_loser(void **state)
{
    pid_t child = mount_fork(*state);
    int status;

    if (child == 0) {
        int fd = open(A("a/n/late"), O_WRONLY | O_CREAT | O_EXCL, 0644);

        users_must(fd >= 0 && write(fd, "late", 4) == 4, "write of a new key");
        raise(SIGSTOP);
        (void)close(fd);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFSTOPPED(status));
    mount_write_text(B("a/n/late"), "early");
    return child;
}

/* A user blocks itself in a system call; others go on; then the node ends although the user is still blocked. */
static void others_go_on_while(void **state, blocker *block, long within)
{
    pid_t child, loser;
    void *memory;

    prepare(state);
    memory = trap_set(state);
    loser = start_loser(state);
    for (int i = 0; i < 2; i++)
        assert_int_equal(users_write(i == 0 ? A("a/n/known") : B("a/n/known"), "value", 0666), 0);
    child = mount_fork(*state);
    if (child == 0) {
        users_become(ONE);
        block(state, memory);
        _exit(1);
    }
    MOUNT_OK(munmap(memory, TRAP_SIZE));
    wait_until_within(child, within);
    MOUNT_OK(kill(loser, SIGCONT));
    users_expect_end(state, loser, "a close that is refused");
    expect_others_go_on(state);
    mount_signal(NODE(0), SIGTERM);
    assert_int_equal(waitpid(child, NULL, WNOHANG), 0); /* it was blocked all the time */
}

/* The directory's lock is held. */
static void list_into(void **state, void *memory)
{
    int fd = open(A("a/n"), O_RDONLY | O_DIRECTORY);

    (void)syscall(SYS_getdents64, fd, trap(memory, 0), TRAPPED);
}

static void a_lister_that_blocks_stops_nobody(void **state)
{
    others_go_on_while(state, list_into, SYS_getdents64);
}

/* The key's lock is held. */
static void write_from(void **state, void *memory)
{
    int fd = open(A("a/n/held"), O_WRONLY);

    (void)!write(fd, "begun", 5);
    (void)!pwrite64(fd, trap(memory, 0), TRAPPED, 5);
}

static void a_writer_that_blocks_stops_nobody(void **state)
{
    others_go_on_while(state, write_from, SYS_pwrite64);
}

/* A script whose interpreter cannot be opened, started by somebody who has a key open for writing. */
static void execute(void **state, void *memory)
{
    int fd = open(A("a/n/held"), O_WRONLY);

    (void)memory;
    (void)!write(fd, "begun", 5);
    if (fork() == 0)
        _exit(0); /* it had inherited the descriptor */
    execl(A("../script"), "script", NULL);
}

static void who_blocks_in_exec_stops_nobody(void **state)
{
    FILE *script = fopen(A("../script"), "w");

    assert_non_null(script);
    fprintf(script, "#!%s/C/a/n/trap\n", ((struct mount_test *)*state)->dir);
    MOUNT_OK(fchmod(fileno(script), 0755));
    assert_int_equal(fclose(script), 0);
    others_go_on_while(state, execute, SYS_execve);
}

/* One lists a directory and does not end; another one waits for the directory's lock, and all who come later, too. */
struct jam {
    const char *dir;
    char *memory;
};

static void *jam_list(void *arg)
{
    struct jam *jam = arg;
    int fd = open(jam->dir, O_RDONLY | O_DIRECTORY);

    (void)syscall(SYS_getdents64, fd, jam->memory, TRAPPED);
    return NULL;
}

static void *jam_make(void *arg)
{
    struct jam *jam = arg;
    char path[64];

    snprintf(path, sizeof(path), "%s/x", jam->dir);
    (void)mkdir(path, 0755);
    return NULL;
}

static void *jam_close(void *fd)
{
    close((int)(intptr_t)fd);
    return NULL;
}

/* Nothing that the client has in /proc can be looked at any more, and then its threads close what they have open. */
static void jam_proc(void **state, void *memory)
{
    enum { CLOSERS = 200 };
    struct jam jams[] = {
        {"/proc/self/task", trap(memory, 0)},
        {"/proc/self/fdinfo", trap(memory, 1)},
        {"/proc/self/fd", trap(memory, 2)},
    };
    int written = open(A("a/n/held"), O_WRONLY),
        emptied = open(A("a/n/emptied"), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    int fds[CLOSERS];
    pthread_t thread;

    (void)!write(written, "begun", 5);
    for (int i = 0; i < CLOSERS; i++)
        fds[i] = dup(i % 2 ? written : emptied);
    for (int i = 0; i < 3; i++)
        pthread_create(&thread, NULL, jam_list, &jams[i]);
    usleep(300000);
    for (int i = 0; i < 3; i++)
        pthread_create(&thread, NULL, jam_make, &jams[i]);
    usleep(300000);
    for (int i = 0; i < CLOSERS; i++)
        pthread_create(&thread, NULL, jam_close, (void *)(intptr_t)fds[i]);
    usleep(300000);
    close(written);
    close(emptied);
    pause();
}

static void who_blocks_its_directories_in_proc_stops_nobody(void **state)
{
    others_go_on_while(state, jam_proc, SYS_pause);
}

/* --------------------------------------------------------------------- stopped clients */

/* With descriptors of all kinds open, bytes not put, a lock held, and names that were never put. */
static void stop_amidst(void **state, void *memory)
{
    int fd = open(A("a/n/held"), O_RDWR), dir = open(A("a/n"), O_RDONLY | O_DIRECTORY);
    char entries[128];

    (void)memory;
    (void)open(A("a/n/new"), O_WRONLY | O_CREAT, 0644);
    (void)open(A("a/n/.temporary"), O_RDWR | O_CREAT | O_EXCL, 0600);
    (void)!write(fd, "begun", 5);
    (void)syscall(SYS_getdents64, dir, entries, sizeof(entries));
    raise(SIGSTOP);
}

static void a_stopped_client_stops_nobody(void **state)
{
    int status;
    pid_t child;

    prepare(state);
    mount_start(*state, "allow_other,cache_ttl=0");
    child = mount_fork(*state);
    if (child == 0) {
        users_become(ONE);
        stop_amidst(state, NULL);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFSTOPPED(status));
    expect_others_go_on(state);
    mount_expect_text(B("a/n/held"), "value"); /* nothing unfinished is published */
    assert_false(mount_is_there(B("a/n/new")));
    mount_expect_text(A("a/n/held"), "begun");
    mount_signal(NODE(0), SIGTERM);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        USERS_TEST("allow_other", a_lister_that_blocks_stops_nobody),
        USERS_TEST("allow_other", a_writer_that_blocks_stops_nobody),
        USERS_TEST("allow_other", who_blocks_in_exec_stops_nobody),
        USERS_TEST("allow_other", who_blocks_its_directories_in_proc_stops_nobody),
        USERS_TEST("allow_other", a_stopped_client_stops_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return users_tests("tenants", run); }
