#include "tools/kvctl/watch_give.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_MS 1000 /* where a signal came right before a wait */

/* ------------------------------------------------------------------------------- signals */

static volatile sig_atomic_t stopping;
static volatile pid_t child; /* 0: none */

static void stop(int number)
{
    (void)number;
    stopping = 1;
    if (child > 0)
        kill(child, SIGTERM);
}

/* A reader that goes away is told by an error, and not by a signal. */
void watch_catch_signals(void)
{
    struct sigaction ends = {.sa_handler = stop}, ignored = {.sa_handler = SIG_IGN};

    sigaction(SIGINT, &ends, NULL);
    sigaction(SIGTERM, &ends, NULL);
    sigaction(SIGPIPE, &ignored, NULL);
}

/* -------------------------------------------------------------------------------- output */

/* Is somebody there to read? Waits until there is room for a line, if that is wanted.
 * returns  0; WATCH_STOPPED */
static int look_at_output(bool wait_for_room)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = wait_for_room ? POLLOUT : 0};

    do {
        out.revents = 0;
        (void)poll(&out, 1, wait_for_room ? LOOK_MS : 0);
    } while (!stopping && wait_for_room && out.revents == 0);
    return stopping || out.revents & (POLLERR | POLLHUP) ? WATCH_STOPPED : 0;
}

static int print_text(const char *text)
{
    size_t left = strlen(text);
    int rc = look_at_output(true);

    while (rc == 0 && left > 0) {
        ssize_t written = write(STDOUT_FILENO, text, left);

        if (written < 0 && errno == EPIPE)
            return WATCH_STOPPED;
        if (written < 0 && errno != EINTR && errno != EAGAIN) {
            (void)ctl_fail("standard output: it could not be written: %s", strerror(errno));
            return WATCH_FAILED;
        }
        if (written > 0) {
            text += written;
            left -= (size_t)written;
        }
        if (left > 0)
            rc = look_at_output(true);
    }
    return rc;
}

/* What a command finds as its standard input. returns a descriptor, or a negative errno */
static int open_input(const char *text)
{
    int ends[2];
    ssize_t written;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    written = write(ends[1], text, strlen(text)); /* a pipe holds more than a line */
    close(ends[1]);
    if (written == (ssize_t)strlen(text))
        return ends[0];
    close(ends[0]);
    return -EIO;
}

static int set_environment(const json_t *line)
{
    static const char *const names[][2] = {
        {"KVFS_OP", "op"}, {"KVFS_ACCOUNT", "account"}, {"KVFS_NAMESPACE", "namespace"}, {"KVFS_KEY", "key"}};
    int rc = 0;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && rc == 0; i++) {
        const char *value = json_string_value(json_object_get(line, names[i][1]));

        rc = setenv(names[i][0], value != NULL ? value : "", 1) == 0 ? 0 : -errno;
    }
    return rc;
}

/* Start the command. Signals wait until it is known which process is to be ended by them. */
static int start_command(const char *command, int input)
{
    char *const argv[] = {"sh", "-c", (char *)(uintptr_t)command, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t ends, pipe, before;
    pid_t pid = 0;
    int rc;

    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    posix_spawnattr_init(&attr);
    sigprocmask(SIG_BLOCK, &ends, &before);
    posix_spawnattr_setsigmask(&attr, &before);
    posix_spawnattr_setsigdefault(&attr, &pipe);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    rc = posix_spawn(&pid, "/bin/sh", &actions, &attr, argv, environ);
    child = rc == 0 ? pid : 0;
    sigprocmask(SIG_SETMASK, &before, NULL);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return -rc;
}

/* Run the command for a line. returns 0, also where it failed; WATCH_STOPPED */
static int run_command(const char *command, const json_t *line, const char *text)
{
    int input = open_input(text), status = 0, rc = input < 0 ? input : set_environment(line);
    siginfo_t info;
    pid_t pid;
    int size;

    if (rc == 0 && !stopping)
        rc = start_command(command, input);
    if (input >= 0)
        close(input);
    pid = child;
    while (pid > 0 && waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        ;
    child = 0; /* before the number can be another process's */
    if (pid > 0)
        (void)waitpid(pid, &status, 0);
    if (stopping)
        return WATCH_STOPPED;
    size = (int)strlen(text) - 1; /* without its end */
    if (rc < 0)
        (void)ctl_fail("--exec: the command cannot be run: %s", strerror(-rc));
    else if (WIFSIGNALED(status))
        (void)ctl_fail("--exec: the command was ended by signal %d, for %.*s", WTERMSIG(status), size, text);
    else if (WEXITSTATUS(status) != 0)
        (void)ctl_fail("--exec: the command ended with status %d, for %.*s", WEXITSTATUS(status), size, text);
    return 0;
}

int watch_look(void) { return look_at_output(false); }

int watch_give(const char *command, const json_t *line)
{
    char *json = json_dumps(line, 0), *text = NULL;
    int rc = json == NULL || asprintf(&text, "%s\n", json) < 0 ? -ENOMEM : 0;

    if (rc == 0 && command != NULL && json_object_get(line, "op") != NULL)
        rc = run_command(command, line, text);
    if (rc == 0)
        rc = print_text(text);
    free(json);
    free(text);
    return rc;
}
