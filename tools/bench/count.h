/* What a daemon of kvfs has been asked, and has done: exact, whatever else the machine does. */
#ifndef KVFS_TOOLS_BENCH_COUNT_H
#define KVFS_TOOLS_BENCH_COUNT_H

#include "tools/bench/daemon.h"

struct count {
    /* Requests that somebody waited for: without releases and forgets, which the kernel sends when it likes. */
    double requests;
    double notifications;
    double cache_bytes; /* that the edge cache has now */
    double calls;       /* system calls that read or write; -1: this user may not see them */
};

/* What a work took: sums over so many steps. */
struct count_each {
    struct count sum;
    double steps;
};

/* Read what there is so far.
 * mountpoint  of kvfs, whose daemon this is
 * returns     0; -errno, and said why */
int count_take(const struct daemon *daemon, const char *mountpoint, struct count *out);

#endif
