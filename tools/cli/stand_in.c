/* Going on in a child, because the store cannot tell this process from one of another container: LMDB knows its users
 * by their process ids, and the first process of each container has the same. */
#include "tools/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILDREN_MAX 16

static const int forwarded[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT};

/* The signals that the parent waits for. */
static sigset_t stand_in_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    for (size_t i = 0; i < sizeof(forwarded) / sizeof(forwarded[0]); i++)
        sigaddset(&set, forwarded[i]);
    return set;
}

/* End as the child did. The first process of a container is not killed by its own signals. */
__attribute__((noreturn)) static void stand_in_end(int status)
{
    sigset_t all;

    if (WIFSIGNALED(status)) {
        signal(WTERMSIG(status), SIG_DFL);
        sigfillset(&all);
        sigprocmask(SIG_UNBLOCK, &all, NULL);
        raise(WTERMSIG(status));
    }
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* Look after children: the first process of a container inherits those of others. */
static void stand_in_reap(pid_t child)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
        if (pid == child && WIFSTOPPED(status))
            raise(SIGSTOP);
        else if (pid == child)
            stand_in_end(status);
    }
}

/* What a terminal sends reaches the child by itself. Standard input and output are the child's only: who waits for
 * their end waits for the child's. */
__attribute__((noreturn)) static void stand_in_serve(pid_t child, const sigset_t *signals)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    siginfo_t info;

    for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++)
        dup2(null, fd);
    for (;;) {
        int signal = sigwaitinfo(signals, &info);

        if (signal == SIGCHLD)
            stand_in_reap(child);
        else if (signal > 0 && (info.si_code <= 0 || signal == SIGCONT))
            kill(child, signal);
    }
}

/* Fork, and open in the child. returns there, whatever the open says but -EAGAIN; here -EAGAIN, or why there is no
 * child. The pipe tells the parent which it is: the child writes a byte where it goes on. */
static int stand_in_try(const char *dir, const struct kv_options *options, struct kv_store **out,
                        struct kv_error *error)
{
    sigset_t signals = stand_in_signals(), before;
    pid_t child, parent = getpid();
    int ends[2], rc;
    ssize_t got;
    char byte;

    if (pipe(ends) < 0)
        return -errno;
    sigprocmask(SIG_BLOCK, &signals, &before);
    signal(SIGCHLD, SIG_DFL); /* who started this program may have ignored it */
    child = fork();
    if (child == 0) {
        close(ends[0]);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        sigprocmask(SIG_SETMASK, &before, NULL);
        rc = getppid() == parent ? kv_open(dir, options, out, error) : -EINTR;
        if (rc == -EAGAIN || write(ends[1], "", 1) != 1)
            _exit(EXIT_FAILURE);
        close(ends[1]);
        return rc;
    }
    rc = child < 0 ? -errno : -EAGAIN;
    close(ends[1]);
    got = TEMP_FAILURE_RETRY(read(ends[0], &byte, 1));
    close(ends[0]);
    if (got == 1)
        stand_in_serve(child, &signals);
    if (child > 0)
        waitpid(child, NULL, 0);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return rc;
}

int cli_open_store(const char *dir, const struct kv_options *options, struct kv_store **out,
                   struct kv_error *error)
{
    int rc = kv_open(dir, options, out, error);

    for (int children = 0; rc == -EAGAIN && children < CHILDREN_MAX; children++)
        rc = stand_in_try(dir, options, out, error);
    return rc;
}
