#include "tools/kvctl/ask.h"

#include "tools/cli/cli.h"
#include "tools/kvctl/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ASK_MOST ((size_t)16 << 20) /* bytes of a stats text */
#define ASK_ERRORS 8192u            /* bytes of errors: of its last lines */

/* ------------------------------------------------------------------------ the child
 *
 * It says where the mount is, and a NUL; then 'T', the stats, a NUL and the errors; or 'E', or 'R' where
 * it is not for this user, and why there is none. */

static void child_write(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, bytes, size);

        if (written <= 0)
            _exit(1);
        bytes += written;
        size -= (size_t)written;
    }
}

/* error  why: a positive errno, or 0 */
static void child_fail(int fd, int error, const char *reason)
{
    child_write(fd, error == EACCES ? "R" : "E", 1);
    child_write(fd, reason, strlen(reason));
    _exit(0);
}

static const char *child_reason(int error)
{
    switch (error) {
    case ENOTCONN:
        return "its daemon has ended, and the mount is left behind: unmount it with fusermount3 -u";
    case ENOENT:
        return "this is not the mount point itself, or a kvfs of another version serves it";
    case EACCES:
        return "the mount is another user's, and not for all (allow_other)";
    default:
        return strerror(error);
    }
}

/* Read a file to its end. returns the text, to be freed; NULL with errno */
static char *child_read(int dir, const char *name, size_t *size)
{
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    char *text = fd >= 0 ? malloc(ASK_MOST) : NULL;
    ssize_t got = -1;

    *size = 0;
    while (text != NULL && *size < ASK_MOST && (got = read(fd, text + *size, ASK_MOST - *size)) > 0)
        *size += (size_t)got;
    if (text != NULL)
        cli_tame(text, *size, true);
    return got == 0 ? text : NULL;
}

static void child_answer(int fd, const char *mount, bool errors)
{
    int dir = open(mount, O_PATH | O_DIRECTORY | O_CLOEXEC); /* this alone asks nobody */
    struct mount_info info;
    int error = dir < 0 ? errno : 0;
    size_t size, skip = 0;
    char *text;

    if (dir < 0 || !mount_find(dir, &info) || !info.is_kvfs) {
        child_write(fd, "", 1);
        child_fail(fd, error,
                   error == ENOENT ? strerror(error)
                   : error != 0    ? child_reason(error)
                                   : "no kvfs is mounted there");
    }
    child_write(fd, info.point, strlen(info.point) + 1);
    text = child_read(dir, ".kvfs/stats", &size);
    if (text == NULL)
        child_fail(fd, errno, child_reason(errno));
    child_write(fd, "T", 1);
    child_write(fd, text, strnlen(text, size));
    text = errors ? child_read(dir, ".kvfs/errors", &size) : NULL;
    if (text == NULL)
        _exit(0);
    for (const char *end; size - skip > ASK_ERRORS; skip = (size_t)(end + 1 - text)) {
        end = memchr(text + skip, '\n', size - skip);
        if (end == NULL)
            _exit(0);
    }
    child_write(fd, "", 1);
    child_write(fd, text + skip, size - skip);
    _exit(0);
}

/* Nobody who waits for the end of this program's output waits for the child's. */
static void child_run(int fd, const char *mount, bool errors)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    sigset_t none;

    for (int standard = STDIN_FILENO; standard <= STDERR_FILENO; standard++)
        if (null < 0 || dup2(null, standard) < 0)
            _exit(1);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    child_answer(fd, mount, errors);
}

/* ----------------------------------------------------------------------- the parent */

static void ask_fail(struct ask *ask, const char *reason)
{
    ask->state = ASK_FAILED;
    ask->reason = reason;
}

void ask_start(struct ask *ask, const char *mount, bool errors)
{
    int ends[2];

    *ask = (struct ask){.fd = -1};
    if (pipe2(ends, O_CLOEXEC) < 0) {
        ask_fail(ask, strerror(errno));
        return;
    }
    fflush(stdout);
    ask->child = fork();
    if (ask->child == 0) {
        close(ends[0]);
        child_run(ends[1], mount, errors);
    }
    close(ends[1]);
    if (ask->child < 0) {
        close(ends[0]);
        ask_fail(ask, strerror(errno));
        return;
    }
    (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
    ask->fd = ends[0];
    ask->state = ASK_WAITS;
}

/* The child has said all. */
static void ask_take(struct ask *ask)
{
    char *text = ask->text + strlen(ask->text) + 1;
    size_t size = ask->size - strlen(ask->text);

    switch (text[0]) {
    case 'T':
        ask->state = ASK_ANSWERED;
        ask->stats = text + 1;
        ask->errors = strlen(text) + 1 < size ? text + strlen(text) + 1 : "";
        break;
    case 'E':
    case 'R':
        ask->state = text[0] == 'E' ? ASK_FAILED : ASK_REFUSED;
        ask->reason = text + 1;
        break;
    default:
        ask->state = ASK_FAILED;
        ask->reason = "the process that asks it was ended";
        break;
    }
}

const char *ask_point(const struct ask *ask)
{
    return ask->text != NULL && ask->text[0] != '\0' && memchr(ask->text, '\0', ask->size) != NULL ? ask->text
                                                                                                   : NULL;
}

/* With room for two NULs behind what is read. */
static bool ask_make_room(struct ask *ask)
{
    size_t room = ask->room > 0 ? 2 * ask->room : 65536;
    char *text;

    if (ask->room > ask->size + 2)
        return true;
    text = room <= 2 * ASK_MOST ? realloc(ask->text, room) : NULL;
    if (text == NULL)
        return false;
    ask->text = text;
    ask->room = room;
    return true;
}

void ask_look(struct ask *ask)
{
    ssize_t got = -1;

    while (ask->state == ASK_WAITS) {
        if (!ask_make_room(ask)) {
            ask_fail(ask, "its answer is too long");
            return;
        }
        got = read(ask->fd, ask->text + ask->size, ask->room - 2 - ask->size);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got > 0) {
            ask->size += (size_t)got;
            continue;
        }
        ask->text[ask->size] = ask->text[ask->size + 1] = '\0';
        ask_take(ask);
    }
}

void ask_wait(struct ask *ask, int64_t timeout_ms)
{
    int64_t end_ms = ctl_now_ms() + timeout_ms, left_ms;
    struct pollfd pollfd = {.fd = ask->fd, .events = POLLIN};

    while (ask->state == ASK_WAITS && (left_ms = end_ms - ctl_now_ms()) >= 0) {
        (void)poll(&pollfd, 1, left_ms < 1000 ? (int)left_ms : 1000); /* whatever it says, we look */
        ask_look(ask);
    }
}

void ask_end(struct ask *ask)
{
    if (ask->child > 0) {
        kill(ask->child, SIGKILL);
        (void)waitpid(ask->child, NULL, WNOHANG); /* it may wait for the daemon for ever, and then stays behind */
    }
    if (ask->fd >= 0 && ask->state != ASK_IDLE)
        close(ask->fd);
    free(ask->text);
    *ask = (struct ask){.fd = -1};
}
