/* Private to watch: giving a line to whoever reads, and to the command of --exec. */
#ifndef KVFS_TOOLS_KVCTL_WATCH_GIVE_H
#define KVFS_TOOLS_KVCTL_WATCH_GIVE_H

#include "tools/kvctl/common.h"

/* Why watching ends, where that is no failure of the store. */
enum {
    WATCH_STOPPED = 1, /* by a signal, or nobody reads any more */
    WATCH_FAILED = 2   /* the output; that is told already */
};

/* From now on SIGINT and SIGTERM stop the watch, and the command that runs. */
void watch_catch_signals(void);
/* Is somebody there to read, and no signal? returns 0; WATCH_STOPPED */
int watch_look(void);
/* Give one line: first, where it is about a change and `command` is not NULL, to the command.
 * returns  0, also where the command failed, which is told; WATCH_STOPPED, WATCH_FAILED; -ENOMEM */
int watch_give(const char *command, const json_t *line);

#endif
