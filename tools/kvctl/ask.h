/* kvctl: asking the daemon of a mount, which may be stopped or stuck.
 *
 * Who asks a file system waits for its answer, and not even SIGKILL ends that where the daemon has taken the request.
 * So a child asks, and is left behind where it takes too long: it holds nothing of this process, its output least. */
#ifndef KVFS_TOOLS_KVCTL_ASK_H
#define KVFS_TOOLS_KVCTL_ASK_H

#include "tools/kvctl/common.h"

enum ask_state {
    ASK_IDLE, /* nothing was asked, or ask_end() has ended it */
    ASK_WAITS,
    ASK_ANSWERED, /* stats and errors are there */
    ASK_FAILED,   /* reason tells why */
    ASK_REFUSED,  /* the same: the mount is not for this user */
};

/* Zeroed: nothing was asked yet. All texts are the question's, until ask_end(). */
struct ask {
    enum ask_state state;
    int fd;             /* ASK_WAITS: poll it for input, and call ask_look() */
    char *stats;        /* the text of /.kvfs/stats */
    const char *errors; /* the last lines of /.kvfs/errors, where they were asked for */
    const char *reason;
    /* private */
    pid_t child;
    char *text;
    size_t size, room;
};

/* Ask the mount at a mount point. The state says what comes of it. Call it without threads. */
void ask_start(struct ask *ask, const char *mount, bool errors);
/* Take what there is, without waiting. */
void ask_look(struct ask *ask);
/* Wait for the answer: then the state is another one than ASK_WAITS, but where the time is over. */
void ask_wait(struct ask *ask, int64_t timeout_ms);
/* The mount point, by its name for the kernel; borrowed. NULL: it is not known. */
const char *ask_point(const struct ask *ask);
/* Give it up, and free everything. */
void ask_end(struct ask *ask);

#endif
