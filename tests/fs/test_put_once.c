/* A value is put once, at the close that ends its writing: another node never sees an unfinished one, whoever inherited
 * the descriptor and exits meanwhile. */
#include "tests/support/mount.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 3, SOON_MS = 10000, LOOK_MS = 5 };

#define P(...) mount_path(&((struct mount_test *)*state)->nodes[0], __VA_ARGS__)

/* Another node, which asks the store each time. */
static struct mount_node *elsewhere(void **state) { return mount_start(*state, "cache_ttl=0"); }

static int open_key(const char *path, int flags) { return (int)MOUNT_OK(open(path, flags | O_CLOEXEC, 0666)); }

static void write_text(int fd, const char *text)
{
    assert_int_equal(MOUNT_OK(write(fd, text, strlen(text))), strlen(text));
}

/* How many values the first node has put, after all that waited. */
static unsigned puts_of(void **state)
{
    int dir = open_key(P("a/n"), O_RDONLY | O_DIRECTORY);
    const char *line;
    unsigned count;

    MOUNT_OK(fsync(dir));
    MOUNT_OK(close(dir));
    line = strstr(mount_text(P(".kvfs/stats")), "\nkvfs_central_writes_total{");
    assert_non_null(line);
    assert_int_equal(sscanf(line, "\nkvfs_central_writes_total{%*[^}]} %u", &count), 1);
    return count;
}

/* A put that nobody waits for comes soon. */
static void expect_soon(const char *path, const char *text)
{
    int64_t end_ms = mount_now_ms() + SOON_MS;

    while (mount_now_ms() < end_ms) {
        if (mount_is_there(path) && strcmp(mount_text(path), text) == 0)
            return;
        mount_pause_ms(LOOK_MS);
    }
    mount_expect_text(path, text);
}

/* ------------------------------------------------------------------------- shells */

/* Programs in which children inherit the descriptor and exit. `look` shows what another node has meanwhile. */
static const struct {
    const char *script, *value;
} scripts[] = {
    {"{ echo head; /bin/true; look; echo tail; } > $HERE", "head\ntail\n"},
    {"{ echo head; (echo middle); look; /bin/echo tail; } > $HERE", "head\nmiddle\ntail\n"},
    {"(echo head; /bin/true; look; echo tail) > $HERE", "head\ntail\n"},
    {"(/bin/echo head; look; /bin/echo tail) > $HERE", "head\ntail\n"},
    {"for i in 1 2 3; do /bin/echo $i; look; done > $HERE", "1\n2\n3\n"},
    {"seq 3 | while read i; do /bin/echo $i; look; done > $HERE", "1\n2\n3\n"},
    {"seq 3 | xargs -I N bash -c 'echo N; look' > $HERE", "1\n2\n3\n"},
    {"bash -c 'echo head; /bin/true; look; echo tail' > $HERE", "head\ntail\n"},
    {"bash -c 'exec 5>&1; /bin/echo head >&5; look; exec /bin/echo tail' > $HERE", "head\ntail\n"},
    {"exec 5> $HERE; /bin/echo head >&5; look; (echo tail >&5); look; exec 5>&-", "head\ntail\n"},
    {"x=$({ /bin/echo head; look; /bin/echo tail >&2; } 2>&1); echo \"$x\" > $HERE", "head\ntail\n"},
    {"{ /bin/echo head; look; /bin/true & wait; echo tail; } > $HERE", "head\ntail\n"},
    {"f() { echo head; /bin/true; look; echo tail; }; f > $HERE", "head\ntail\n"},
    {"{ /bin/echo -n head | cat; look; echo | cat; } > $HERE", "head\n"},
    {"seq 3 | split -l 1 --filter='cat; look' - > $HERE", "1\n2\n3\n"},
    {"find /bin/true -exec echo {} \\; -exec bash -c 'look' \\; > $HERE", "/bin/true\n"},
    {"timeout 20 bash -c 'echo head; /bin/true; look; echo tail' > $HERE", "head\ntail\n"},
};

/* A number of whole copies of `old`, and nothing else? */
static bool saw_only(const char *seen, const char *old)
{
    size_t size = strlen(old);

    while (strncmp(seen, old, size) == 0)
        seen += size;
    return *seen == '\0';
}

static bool run_script(void **state, const struct mount_node *other, size_t number, bool appends)
{
    const char *script = scripts[number].script, *redirection = strstr(script, "> $HERE"), *old = "old\n";
    unsigned before, puts;
    char text[1024];

    snprintf(text, sizeof(text), "look() { cat $THERE >> $SEEN; }; export -f look; %.*s%s%s",
             (int)(redirection - script), script, appends ? ">" : "", redirection);
    mount_write_text(getenv("HERE"), old);
    mount_write_text(getenv("SEEN"), "");
    before = puts_of(state);
    assert_int_equal(MOUNT_RUN(*state, "bash", "-c", text), 0);
    puts = puts_of(state) - before;
    snprintf(text, sizeof(text), "%s%s", appends ? old : "", scripts[number].value);
    mount_expect_text(mount_path(other, "a/n/key"), text);
    if (puts == 1 && saw_only(mount_text(getenv("SEEN")), old))
        return true;
    printf("%s: %u puts; another node saw: %s\n", script, puts, mount_text(getenv("SEEN")));
    return false;
}

static void run_scripts(void **state, bool appends)
{
    struct mount_node *other = elsewhere(state);
    bool good = true;

    setenv("SHELL", "/bin/bash", 1); /* which split --filter asks for */
    setenv("HERE", P("a/n/key"), 1);
    setenv("THERE", mount_path(other, "a/n/key"), 1);
    setenv("SEEN", mount_path(other, "../seen"), 1);
    for (size_t i = 0; i < sizeof(scripts) / sizeof(*scripts); i++)
        for (int round = 0; round < ROUNDS; round++)
            good = run_script(state, other, i, appends) && good;
    assert_true(good);
}

static void scripts_put_what_they_write_once(void **state) { run_scripts(state, false); }
static void scripts_put_what_they_append_once(void **state) { run_scripts(state, true); }

/* ----------------------------------------------------------------------- children */

static void child_exits(struct mount_test *test, int fd)
{
    pid_t child = mount_fork(test);

    (void)fd;
    if (child == 0)
        _exit(0);
    assert_int_equal(mount_wait(test, child), 0);
}

static void child_closes(struct mount_test *test, int fd)
{
    pid_t child = mount_fork(test);

    if (child == 0)
        _exit(close(fd) == 0 ? 0 : 1);
    assert_int_equal(mount_wait(test, child), 0);
}

static void child_is_killed(struct mount_test *test, int fd)
{
    pid_t child = mount_fork(test);

    (void)fd;
    if (child == 0)
        pause();
    MOUNT_OK(kill(child, SIGKILL));
    (void)mount_wait(test, child);
}

/* close-on-exec closes it in the child */
static void child_is_spawned(struct mount_test *test, int fd)
{
    (void)fd;
    assert_int_equal(MOUNT_RUN(test, "true"), 0);
}

static void child_is_spawned_with_it(struct mount_test *test, int fd)
{
    int copy = (int)MOUNT_OK(dup2(fd, 200)); /* without close-on-exec */

    assert_int_equal(MOUNT_RUN(test, "true"), 0);
    MOUNT_OK(fcntl(copy, F_SETFD, FD_CLOEXEC));
}

static void child_has_mapped_it(struct mount_test *test, int fd)
{
    void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    pid_t child;

    assert_ptr_not_equal(map, MAP_FAILED);
    child = mount_fork(test);
    if (child == 0)
        _exit(munmap(map, 4096));
    assert_int_equal(mount_wait(test, child), 0);
    MOUNT_OK(munmap(map, 4096));
}

static void a_child_that_exits_puts_nothing(void **state)
{
    void (*const children[])(struct mount_test *, int) = {
        child_exits,        child_closes, child_is_killed, child_is_spawned, child_is_spawned_with_it,
        child_has_mapped_it};
    struct mount_node *other = elsewhere(state);
    bool bad = false;

    for (size_t i = 0; i < sizeof(children) / sizeof(*children); i++) {
        unsigned before = puts_of(state);
        int fd = open_key(P("a/n/key"), O_RDWR | O_CREAT | O_TRUNC);

        write_text(fd, "half ");
        children[i](*state, fd);
        if (mount_is_there(mount_path(other, "a/n/key"))) {
            printf("child %zu: half a value is there\n", i);
            bad = true;
        }
        write_text(fd, "whole");
        close(200);
        MOUNT_OK(close(fd));
        mount_expect_text(mount_path(other, "a/n/key"), "half whole");
        bad = bad || puts_of(state) - before != 1;
        MOUNT_OK(unlink(P("a/n/key")));
    }
    assert_false(bad);
}

static void what_a_child_wrote_is_put_at_the_openers_close(void **state)
{
    struct mount_node *other = elsewhere(state);
    unsigned before = puts_of(state);
    int fd = open_key(P("a/n/key"), O_WRONLY | O_CREAT | O_TRUNC);
    pid_t child = mount_fork(*state);

    if (child == 0) {
        bool wrote = write(fd, "by the child", 12) == 12;

        _exit(wrote && close(fd) == 0 ? 0 : 1);
    }
    assert_int_equal(mount_wait(*state, child), 0);
    assert_false(mount_is_there(mount_path(other, "a/n/key")));
    MOUNT_OK(close(fd));
    mount_expect_text(mount_path(other, "a/n/key"), "by the child");
    assert_int_equal(puts_of(state) - before, 1);
}

static void what_a_child_writes_later_is_put_when_it_ends(void **state)
{
    for (int killed = 0; killed < 2; killed++) {
        struct mount_node *other = elsewhere(state);
        int fd = open_key(P("a/n/key"), O_WRONLY | O_CREAT | O_TRUNC), go[2];
        pid_t child;
        char byte;

        write_text(fd, "opener ");
        MOUNT_OK(pipe(go));
        child = mount_fork(*state);
        if (child == 0) {
            bool wrote = read(go[0], &byte, 1) == 1 && write(fd, "child", 5) == 5;

            if (killed)
                raise(SIGKILL);
            _exit(wrote ? 0 : 1);
        }
        MOUNT_OK(close(fd));
        mount_expect_text(mount_path(other, "a/n/key"), "opener ");
        write_text(go[1], "g");
        assert_int_equal(mount_wait(*state, child), killed ? SIGKILL : 0);
        expect_soon(mount_path(other, "a/n/key"), "opener child");
        mount_expect_text(P("a/n/key"), "opener child");
    }
}

static void what_a_killed_process_wrote_is_put(void **state)
{
    struct mount_node *other = elsewhere(state);
    pid_t child = mount_fork(*state);

    if (child == 0) {
        int fd = open(P("a/n/key"), O_WRONLY | O_CREAT, 0666);

        if (write(fd, "last words", 10) == 10)
            raise(SIGKILL);
        _exit(1);
    }
    assert_int_equal(mount_wait(*state, child), SIGKILL);
    expect_soon(mount_path(other, "a/n/key"), "last words");
}

static void pass_fd(int socket, int fd)
{
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec byte = {.iov_base = "", .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &byte, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);

    *head = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(head), &fd, sizeof(fd));
    MOUNT_OK(sendmsg(socket, &message, 0));
}

/* In the child: the descriptor that comes. */
static int receive_fd(int socket)
{
    char control[CMSG_SPACE(sizeof(int))], byte;
    struct iovec text = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &text, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    int fd;

    if (recvmsg(socket, &message, 0) != 1)
        _exit(1);
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
    return fd;
}

static void a_descriptor_handed_to_another_process_is_put_there(void **state)
{
    struct mount_node *other = elsewhere(state);
    int ends[2], fd;
    pid_t child;

    MOUNT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    child = mount_fork(*state);
    if (child == 0) {
        fd = receive_fd(ends[1]);
        _exit(write(fd, "by another process", 18) == 18 && close(fd) == 0 ? 0 : 1);
    }
    fd = open_key(P("a/n/key"), O_WRONLY | O_CREAT);
    pass_fd(ends[0], fd);
    MOUNT_OK(close(fd));
    assert_int_equal(mount_wait(*state, child), 0);
    expect_soon(mount_path(other, "a/n/key"), "by another process");
}

/* ------------------------------------------------------------------------- threads */

struct hands {
    const char *path;
    int fd;
};

static void *open_and_write(void *arg)
{
    struct hands *hands = arg;

    hands->fd = open(hands->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return hands->fd >= 0 && write(hands->fd, "thread", 6) == 6 ? NULL : arg;
}

static void *close_it(void *arg) { return close(((struct hands *)arg)->fd) == 0 ? NULL : arg; }

static void in_a_thread(void *(*act)(void *), struct hands *hands)
{
    pthread_t thread;
    void *failed;

    assert_int_equal(pthread_create(&thread, NULL, act, hands), 0);
    pthread_join(thread, &failed);
    assert_null(failed);
}

/* The thread that opened has ended when another one closes. */
static void a_close_by_any_thread_of_the_opener_is_durable(void **state)
{
    struct mount_test *test = *state;
    struct hands hands = {.path = strdup(P("a/n/key"))};

    for (int round = 0; round < 20; round++) {
        unsigned before = puts_of(state);

        if (round % 3 == 0)
            assert_null(open_and_write(&hands));
        else
            in_a_thread(open_and_write, &hands);
        if (round % 3 == 1)
            assert_null(close_it(&hands));
        else
            in_a_thread(close_it, &hands);
        MOUNT_KVCTL(test, "get", "a/n/key");
        assert_string_equal(test->output, "thread");
        assert_int_equal(puts_of(state) - before, 1);
        MOUNT_KVCTL(test, "delete", "a/n/key");
    }
    free((char *)hands.path);
}

static void *close_it_and_end(void *arg) { _exit(close_it(arg) == NULL ? 0 : 1); }

/* The main thread has ended, and the process lives on in the others. */
static void a_close_after_the_main_thread_has_ended_is_durable(void **state)
{
    struct mount_test *test = *state;
    struct hands hands = {.path = P("a/n/key")};
    pid_t child = mount_fork(test);

    if (child == 0) {
        pthread_t thread;

        if (open_and_write(&hands) != NULL || pthread_create(&thread, NULL, close_it_and_end, &hands) != 0)
            _exit(1);
        pthread_exit(NULL);
    }
    assert_int_equal(mount_wait(test, child), 0);
    MOUNT_KVCTL(test, "get", "a/n/key");
    assert_string_equal(test->output, "thread");
}

/* ------------------------------------------------------- opened, and nothing written */

static void an_opener_that_duplicated_and_closed_puts_nothing_yet(void **state)
{
    struct mount_node *other = elsewhere(state);
    unsigned before;
    int fd, copy;

    for (int exists = 0; exists < 2; exists++) {
        before = puts_of(state);
        fd = open_key(P("a/n/key"), O_WRONLY | O_CREAT | O_TRUNC);
        copy = (int)MOUNT_OK(fcntl(fd, F_DUPFD_CLOEXEC, 0));
        MOUNT_OK(close(fd));
        if (exists)
            mount_expect_text(mount_path(other, "a/n/key"), "written");
        else
            assert_false(mount_is_there(mount_path(other, "a/n/key")));
        assert_int_equal(puts_of(state), before);
        write_text(copy, "written");
        MOUNT_OK(close(copy));
        mount_expect_text(mount_path(other, "a/n/key"), "written");
        assert_int_equal(puts_of(state) - before, 1);
    }
}

static void what_was_only_created_or_emptied_is_put_soon(void **state)
{
    struct mount_node *other = elsewhere(state);

    MOUNT_OK(close(open_key(P("a/n/created"), O_WRONLY | O_CREAT)));
    expect_soon(mount_path(other, "a/n/created"), "");
    mount_write_text(P("a/n/emptied"), "old");
    MOUNT_OK(close(open_key(P("a/n/emptied"), O_WRONLY | O_TRUNC)));
    expect_soon(mount_path(other, "a/n/emptied"), "");
    assert_int_equal(MOUNT_RUN(*state, "sh", "-c", "cd $0; : > colon; touch touched", P("a/n")), 0);
    expect_soon(mount_path(other, "a/n/colon"), "");
    expect_soon(mount_path(other, "a/n/touched"), "");
    mount_expect_text(P("a/n/emptied"), "");
}

static void an_open_that_changes_nothing_puts_nothing(void **state)
{
    unsigned before;

    mount_write_text(P("a/n/key"), "value");
    before = puts_of(state);
    MOUNT_OK(close(open_key(P("a/n/key"), O_RDWR)));
    MOUNT_OK(close(open_key(P("a/n/key"), O_WRONLY | O_APPEND)));
    MOUNT_OK(close(open_key(P("a/n/key"), O_WRONLY | O_CREAT)));
    assert_int_equal(puts_of(state), before);
}

static void an_fsync_puts_what_is_written_so_far(void **state)
{
    struct mount_node *other = elsewhere(state);
    unsigned before = puts_of(state);
    int fd = open_key(P("a/n/key"), O_WRONLY | O_CREAT);

    write_text(fd, "half ");
    MOUNT_OK(fsync(fd));
    mount_expect_text(mount_path(other, "a/n/key"), "half ");
    write_text(fd, "whole");
    mount_expect_text(mount_path(other, "a/n/key"), "half ");
    MOUNT_OK(close(fd));
    mount_expect_text(mount_path(other, "a/n/key"), "half whole");
    assert_int_equal(puts_of(state) - before, 2);
}

/* Whatever says that a write is synchronous: others see it when it has returned, and the descriptor stays open. */
static void a_synchronous_write_is_put_before_it_returns(void **state)
{
    static const struct {
        int open_flags, write_flags;
    } kinds[] = {{O_SYNC, 0}, {O_DSYNC, 0}, {0, RWF_DSYNC}, {0, RWF_SYNC}};
    struct mount_node *other = elsewhere(state);

    for (int i = 0; i < 8; i++) {
        struct iovec bytes = {.iov_base = (char[]){"value"}, .iov_len = 5};
        int flags = kinds[i / 2].open_flags | (i % 2 == 0 ? O_WRONLY : O_RDWR) | O_CREAT;
        int fd = open_key(P("a/n/key_%d", i), flags);

        assert_int_equal(MOUNT_OK(pwritev2(fd, &bytes, 1, 0, kinds[i / 2].write_flags)), 5);
        mount_expect_text(mount_path(other, "a/n/key_%d", i), "value");
        memcpy(bytes.iov_base, "VALUE", 5);
        assert_int_equal(MOUNT_OK(pwritev2(fd, &bytes, 1, 0, kinds[i / 2].write_flags)), 5);
        mount_expect_text(mount_path(other, "a/n/key_%d", i), "VALUE");
        MOUNT_OK(close(fd));
    }
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        MOUNT_TEST(a_synchronous_write_is_put_before_it_returns),
        MOUNT_TEST(scripts_put_what_they_write_once),
        MOUNT_TEST(scripts_put_what_they_append_once),
        MOUNT_TEST(a_child_that_exits_puts_nothing),
        MOUNT_TEST(what_a_child_wrote_is_put_at_the_openers_close),
        MOUNT_TEST(what_a_child_writes_later_is_put_when_it_ends),
        MOUNT_TEST(what_a_killed_process_wrote_is_put),
        MOUNT_TEST(a_descriptor_handed_to_another_process_is_put_there),
        MOUNT_TEST(a_close_by_any_thread_of_the_opener_is_durable),
        MOUNT_TEST(a_close_after_the_main_thread_has_ended_is_durable),
        MOUNT_TEST(an_opener_that_duplicated_and_closed_puts_nothing_yet),
        MOUNT_TEST(what_was_only_created_or_emptied_is_put_soon),
        MOUNT_TEST(an_open_that_changes_nothing_puts_nothing),
        MOUNT_TEST(an_fsync_puts_what_is_written_so_far),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return mount_tests("put_once", run); }
