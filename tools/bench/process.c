#include "tools/bench/process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KILLED_SECONDS 10.0 /* within which a killed child is gone */

static sigset_t process_awaited, process_before; /* what waits take; the mask that children get back */
static int process_signal;

void process_start(void)
{
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    struct sigaction before;

    signal(SIGCHLD, SIG_DFL); /* where it is ignored, nothing is left of a child to wait for */
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&process_awaited);
    sigaddset(&process_awaited, SIGCHLD);
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) /* what nohup has ignored stays so */
        if (sigaction(ends[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaddset(&process_awaited, ends[i]);
    sigprocmask(SIG_BLOCK, &process_awaited, &process_before);
}

int process_interrupted(void) { return process_signal; }

double process_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

pid_t process_fork(int farewell)
{
    pid_t parent = getpid(), child = fork();

    if (child != 0)
        return child < 0 ? -errno : child;
    setpgid(0, 0); /* a terminal's ^C is for the parent alone */
    if (prctl(PR_SET_PDEATHSIG, farewell) < 0 || getppid() != parent)
        _exit(EXIT_FAILURE);
    sigprocmask(SIG_SETMASK, &process_before, NULL);
    return 0;
}

pid_t process_spawn(char *const argv[], int farewell, const char *dir, int out, int err)
{
    pid_t child = process_fork(farewell);

    if (child != 0)
        return child;
    if ((out < 0 || dup2(out, STDOUT_FILENO) >= 0) && (err < 0 || dup2(err, STDERR_FILENO) >= 0) &&
        (dir == NULL || chdir(dir) == 0))
        execvp(argv[0], argv);
    dprintf(STDERR_FILENO, "kvfs-bench: %s: %s\n", argv[0], strerror(errno));
    _exit(EXIT_FAILURE);
}

bool process_finds(const char *program)
{
    const char *path = getenv("PATH");
    char name[PATH_MAX];

    if (strchr(program, '/') != NULL)
        return access(program, X_OK) == 0;
    while (path != NULL && *path != '\0') {
        int size = (int)strcspn(path, ":");

        if (snprintf(name, sizeof(name), "%.*s/%s", size, path, program) < PATH_MAX && access(name, X_OK) == 0)
            return true;
        path += size + (path[size] == ':');
    }
    return false;
}

/* Take the next signal. returns false after `seconds` without one */
static bool process_take_signal(double seconds)
{
    struct timespec left = {.tv_sec = (time_t)seconds};
    int number;

    left.tv_nsec = (long)((seconds - (double)left.tv_sec) * 1e9);
    number = sigtimedwait(&process_awaited, NULL, &left);
    if (number > 0 && number != SIGCHLD)
        process_signal = number;
    return number > 0;
}

static int process_wait_heeding(pid_t pid, double seconds, bool heeds, int *status)
{
    double end = process_now() + seconds, left;

    for (;;) {
        pid_t got = waitpid(pid, status, WNOHANG);

        if (got != 0)
            return got < 0 ? -errno : 0;
        if (heeds && process_signal != 0)
            return -EINTR;
        left = end - process_now();
        if (left <= 0)
            return -ETIMEDOUT;
        (void)process_take_signal(left);
    }
}

int process_wait(pid_t pid, double seconds, int *status)
{
    return process_wait_heeding(pid, seconds, true, status);
}

void process_pause(double seconds) { (void)process_take_signal(seconds); }

int process_end(pid_t pid, int signal, double seconds, int *status)
{
    int rc;

    kill(pid, signal);
    rc = process_wait_heeding(pid, seconds, false, status);
    if (rc == -ETIMEDOUT) {
        if (kill(-pid, SIGKILL) < 0)
            kill(pid, SIGKILL);
        rc = process_wait_heeding(pid, KILLED_SECONDS, false, status);
    }
    return rc;
}

int process_ask(int (*run)(const void *arg, void *out), const void *arg, void *out, size_t size, double seconds)
{
    int ends[2], status, rc;
    pid_t child;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    child = process_fork(SIGKILL);
    if (child == 0) {
        rc = run(arg, out);
        if (rc == 0 && write(ends[1], out, size) != (ssize_t)size)
            rc = -EIO;
        _exit(-rc);
    }
    close(ends[1]);
    rc = child < 0 ? child : process_wait(child, seconds, &status);
    if (child > 0 && rc < 0)
        (void)process_end(child, SIGKILL, KILLED_SECONDS, &status);
    else if (rc == 0 && status != 0)
        rc = WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
    else if (rc == 0 && read(ends[0], out, size) != (ssize_t)size) /* it was put there before the end */
        rc = -EIO;
    close(ends[0]);
    return rc;
}

void process_reap(double seconds)
{
    double end = process_now() + seconds;
    int status;

    while (end > process_now() && process_wait_heeding(-1, end - process_now(), false, &status) == 0)
        ;
}
