/* kvctl: a screen of what mounts do, as top(1) has one for processes.
 *
 * Mounts are asked side by side, each by a process of its own (ask.h). So the screen goes on where a daemon is stopped:
 * its mount then shows the figures that it had, and that it does not answer. */
#include "tools/kvctl/polled.h"
#include "tools/kvctl/screen.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define ENTER "\033[?1049h\033[?25l" /* the other screen, without a cursor */
#define LEAVE "\033[?25h\033[?1049l"
#define HOME "\033[H"
#define END_OF_LINE "\033[K"
#define END_OF_SCREEN "\033[J"

struct top_mount {
    char *errors, *reason;  /* what the screen shows of it */
    double asked_s, read_s; /* when the question was asked, and when that was whose answer is shown */
};

struct top {
    struct polled polled;
    struct screen_mount *mounts; /* as many */
    struct top_mount *states;    /* theirs */
    int signals;                 /* a signalfd */
    struct termios before;       /* of the terminal */
    double timeout_s;
};

static double top_clock_s(clockid_t clock) { return (double)ctl_now_ns(clock) / 1e9; }

/* ------------------------------------------------------------------------- the mounts */

static int top_begin(struct top *top, const struct ctl_request *request)
{
    int status = polled_begin(&top->polled, request);
    size_t count = top->polled.count;

    if (status != CTL_OK)
        return status;
    top->mounts = calloc(count, sizeof(*top->mounts));
    top->states = calloc(count, sizeof(*top->states));
    if (top->mounts == NULL || top->states == NULL)
        return ctl_fail("out of memory");
    for (size_t i = 0; i < count; i++)
        top->mounts[i].point = top->polled.mounts[i];
    return CTL_OK;
}

static void top_end(struct top *top)
{
    for (size_t i = 0; i < top->polled.count && top->mounts != NULL && top->states != NULL; i++) {
        figures_free(&top->mounts[i].figures);
        figures_free(&top->mounts[i].before);
        free(top->states[i].errors);
        free(top->states[i].reason);
    }
    free(top->mounts);
    free(top->states);
    polled_end(&top->polled);
}

static void top_ask(struct top *top)
{
    double now_s = top_clock_s(CLOCK_MONOTONIC);

    for (size_t i = 0; i < top->polled.count; i++)
        if (top->polled.asks[i].state == ASK_IDLE)
            top->states[i].asked_s = now_s;
    polled_start(&top->polled, true);
}

static void top_take_answer(struct top *top, size_t which)
{
    struct screen_mount *mount = &top->mounts[which];
    struct top_mount *state = &top->states[which];
    const struct ask *ask = &top->polled.asks[which];
    struct figures figures;

    if (figures_parse(&figures, ask->stats) < 0)
        return;
    figures_free(&mount->before);
    /* A node that was started anew counts from 0. */
    if (figures_value(&figures, "kvfs_start_time_seconds", NULL, NULL) ==
        figures_value(&mount->figures, "kvfs_start_time_seconds", NULL, NULL))
        mount->before = mount->figures;
    else
        figures_free(&mount->figures);
    mount->figures = figures;
    mount->seconds = state->asked_s - state->read_s;
    state->read_s = state->asked_s;
    free(state->errors);
    mount->errors = state->errors = strdup(ask->errors);
    mount->trouble = NULL;
}

static void top_take_failure(struct top *top, size_t which)
{
    struct top_mount *state = &top->states[which];

    free(state->reason);
    state->reason = strdup(top->polled.asks[which].reason);
    top->mounts[which].trouble = state->reason != NULL ? state->reason : "no answer";
}

/* Take the answers that have come. returns true: nobody is waited for any more */
static bool top_take(struct top *top)
{
    double now_s = top_clock_s(CLOCK_MONOTONIC);
    bool all = true;

    for (size_t i = 0; i < top->polled.count; i++) {
        struct ask *ask = &top->polled.asks[i];

        ask_look(ask);
        if (ask->state == ASK_WAITS && now_s - top->states[i].asked_s > top->timeout_s)
            top->mounts[i].trouble = "no answer";
        else if (ask->state == ASK_WAITS)
            all = false;
        if (ask->state == ASK_ANSWERED)
            top_take_answer(top, i);
        if (ask->state == ASK_FAILED || ask->state == ASK_REFUSED)
            top_take_failure(top, i);
        if (ask->state != ASK_WAITS)
            ask_end(ask);
    }
    return all;
}

/* ------------------------------------------------------------------------ the terminal */

static void top_enter(struct top *top)
{
    struct termios raw = top->before;

    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    fputs(ENTER, stdout);
}

static void top_leave(const struct top *top)
{
    fputs(LEAVE, stdout);
    fflush(stdout);
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &top->before);
}

static int top_draw(const struct top *top)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    char *text = NULL;
    size_t length;
    FILE *out;
    int rc;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0)
        size = (struct winsize){.ws_row = 24, .ws_col = 80};
    out = open_memstream(&text, &length);
    if (out == NULL)
        return -ENOMEM;
    rc = screen_write(out, top->mounts, top->polled.count, size.ws_row, size.ws_col, top_clock_s(CLOCK_REALTIME));
    if (fclose(out) != 0)
        rc = -ENOMEM;
    fputs(HOME, stdout);
    for (const char *line = text; rc == 0 && *line != '\0'; line += strcspn(line, "\n"), line += *line == '\n') {
        size_t bytes = strcspn(line, "\n");

        /* The last line ends without an end, which would move all up. */
        printf("%s%.*s" END_OF_LINE, line == text ? "" : "\r\n", (int)bytes, line);
    }
    fputs(END_OF_SCREEN, stdout);
    if (fflush(stdout) != 0)
        rc = -EIO;
    free(text);
    return rc;
}

/* They are read from a descriptor, so that the terminal is put back wherever they come. */
static int top_catch_signals(struct top *top)
{
    sigset_t caught;

    sigemptyset(&caught);
    sigaddset(&caught, SIGINT);
    sigaddset(&caught, SIGTERM);
    sigaddset(&caught, SIGHUP);
    sigaddset(&caught, SIGQUIT);
    sigaddset(&caught, SIGTSTP);
    sigaddset(&caught, SIGWINCH);
    if (sigprocmask(SIG_BLOCK, &caught, NULL) < 0)
        return -errno;
    top->signals = signalfd(-1, &caught, SFD_CLOEXEC | SFD_NONBLOCK);
    return top->signals < 0 ? -errno : 0;
}

/* Obey signals and keys. returns false: it is the end */
static bool top_obey(struct top *top)
{
    struct signalfd_siginfo signal;
    char keys[32];
    ssize_t count;

    while (read(top->signals, &signal, sizeof(signal)) == sizeof(signal)) {
        if (signal.ssi_signo == SIGTSTP) {
            top_leave(top);
            (void)raise(SIGSTOP);
            top_enter(top);
        } else if (signal.ssi_signo != SIGWINCH) {
            return false;
        }
    }
    count = read(STDIN_FILENO, keys, sizeof(keys));
    for (ssize_t i = 0; i < count; i++)
        if (keys[i] == 'q' || keys[i] == 'Q')
            return false;
    return true;
}

/* Wait for a key, a signal or an answer, until the next question is due. */
static void top_wait(struct top *top, struct pollfd *fds, double until_s)
{
    double left_s = until_s - top_clock_s(CLOCK_MONOTONIC);
    nfds_t count = 2;

    fds[0] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = top->signals, .events = POLLIN};
    for (size_t i = 0; i < top->polled.count; i++)
        if (top->polled.asks[i].state == ASK_WAITS)
            fds[count++] = (struct pollfd){.fd = top->polled.asks[i].fd, .events = POLLIN};
    (void)poll(fds, count, left_s > 0 ? (int)(left_s * 1000) + 1 : 0);
}

static int top_run(struct top *top, double interval_s)
{
    struct pollfd *fds = calloc(top->polled.count + 2, sizeof(*fds));
    double next_s = 0;
    bool drawn = false;
    int rc = fds == NULL ? -ENOMEM : 0;

    while (rc == 0) {
        if (top_clock_s(CLOCK_MONOTONIC) >= next_s) {
            next_s = top_clock_s(CLOCK_MONOTONIC) + interval_s;
            top_ask(top);
            drawn = false;
        }
        top_wait(top, fds, next_s);
        if (!top_obey(top) || (fds[0].revents & (POLLHUP | POLLERR)) != 0)
            break;
        if (top_take(top) || !drawn)
            rc = top_draw(top);
        drawn = true;
    }
    free(fds);
    return rc;
}

/* -------------------------------------------------------------------------- the command */

static int top_once(struct top *top)
{
    int rc, status = CTL_OK;

    top_ask(top);
    polled_wait(&top->polled, (int64_t)(top->timeout_s * 1000));
    top->timeout_s = -1; /* who has not answered does not count */
    (void)top_take(top);
    rc = screen_write(stdout, top->mounts, top->polled.count, 0, 0, top_clock_s(CLOCK_REALTIME));
    for (size_t i = 0; i < top->polled.count; i++)
        if (top->mounts[i].trouble != NULL)
            status = CTL_NO;
    return rc < 0 ? ctl_fail("out of memory") : status;
}

int ctl_top(struct ctl_request *request)
{
    struct top top = {.signals = -1, .timeout_s = 5};
    bool once = ctl_given(request, CTL_ONCE) || isatty(STDIN_FILENO) != 1 || isatty(STDOUT_FILENO) != 1;
    int status = top_begin(&top, request), rc;

    if (status == CTL_OK && once) {
        status = top_once(&top);
    } else if (status == CTL_OK) {
        rc = tcgetattr(STDIN_FILENO, &top.before) < 0 ? -errno : top_catch_signals(&top);
        if (rc == 0) {
            top_enter(&top);
            rc = top_run(&top, (double)request->interval_ms / 1000);
            top_leave(&top);
        }
        if (rc < 0)
            status = ctl_fail("the terminal: %s", strerror(-rc));
    }
    if (top.signals >= 0)
        close(top.signals);
    top_end(&top);
    return status;
}
