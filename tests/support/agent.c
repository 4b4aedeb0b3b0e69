#include "tests/support/agent.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void agent_interrupt(int number) { (void)number; }

/* The run's directory and the test's are closed to others when they are made. */
static void agent_open_directories(const struct mount_test *test)
{
    char parent[MOUNT_PATH];

    snprintf(parent, sizeof(parent), "%s/..", test->dir);
    MOUNT_OK(chmod(parent, 0755));
    MOUNT_OK(chmod(test->dir, 0755));
}

__attribute__((noreturn)) static void agent_serve(int fd, struct agent_memory *memory)
{
    const long *a = memory->arguments;
    ssize_t got;
    char byte;

    while ((got = read(fd, &byte, 1)) != 0) {
        if (got < 0)
            continue; /* a signal between two calls */
        errno = 0;
        memory->result = syscall(memory->number, a[0], a[1], a[2], a[3], a[4]);
        memory->error = errno;
        if (write(fd, "", 1) != 1)
            break;
    }
    _exit(0);
}

struct agent agent_start(struct mount_test *test, uid_t uid, gid_t group)
{
    struct agent_memory *memory =
        mmap(NULL, sizeof(*memory), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct agent agent = {.test = test, .memory = memory, .bytes = memory->bytes};
    struct sigaction interrupt = {.sa_handler = agent_interrupt};
    int ends[2];

    assert_true(memory != MAP_FAILED);
    agent_open_directories(test);
    MOUNT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
    agent.pid = mount_fork(test);
    agent.fd = ends[0];
    if (agent.pid > 0) {
        close(ends[1]);
        return agent;
    }
    dup2(ends[1], test->first_fd); /* of the test's descriptors it keeps none */
    close_range((unsigned)test->first_fd + 1, ~0u, 0);
    sigaction(AGENT_SIGNAL, &interrupt, NULL);
    umask(0);
    if (setgroups(group != 0, &group) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
        _exit(1);
    agent_serve(test->first_fd, memory);
}

void agent_kill(struct agent *agent, int number)
{
    MOUNT_OK(kill(agent->pid, number));
    (void)mount_wait(agent->test, agent->pid);
    close(agent->fd);
    agent->pid = 0;
}

const char *agent_text(struct agent *agent, const char *text)
{
    static unsigned last;
    char *copy = agent->memory->texts[++last % AGENT_TEXTS];

    snprintf(copy, sizeof(agent->memory->texts[0]), "%s", text);
    return copy;
}

void agent_begin(struct agent *agent, const long *numbers)
{
    memcpy(agent->memory->arguments, numbers + 1, 5 * sizeof(*numbers));
    agent->memory->number = numbers[0];
    MOUNT_OK(write(agent->fd, "", 1));
}

bool agent_answers(const struct agent *agent, int within_ms)
{
    struct pollfd wait = {.fd = agent->fd, .events = POLLIN};

    return poll(&wait, 1, within_ms) == 1;
}

long agent_end(struct agent *agent)
{
    char byte;

    if (!agent_answers(agent, AGENT_MS) || read(agent->fd, &byte, 1) != 1)
        fail_msg("system call %ld of process %d does not end", agent->memory->number, agent->pid);
    errno = agent->memory->error;
    return agent->memory->result;
}

long agent_call(struct agent *agent, const long *numbers)
{
    agent_begin(agent, numbers);
    return agent_end(agent);
}

int agent_open(struct agent *agent, const char *path, int flags, mode_t mode)
{
    const char *text = agent_text(agent, path);

    return (int)AGENT(agent, SYS_openat, AT_FDCWD, (long)text, flags | O_CLOEXEC, mode);
}

long agent_close(struct agent *agent, int fd) { return AGENT(agent, SYS_close, fd); }
