/* One run: the places where subjects have their files, and what measures them there. */
#ifndef KVFS_TOOLS_BENCH_RUN_H
#define KVFS_TOOLS_BENCH_RUN_H

#include "tools/bench/bench.h"
#include "tools/bench/count.h"
#include "tools/bench/daemon.h"

#include <limits.h>

/* Files that belong together: PREFIX0, PREFIX1 ... */
enum run_set { RUN_SMALL, RUN_LARGE, RUN_WRITERS, RUN_LISTED, RUN_SETS };

extern const char *const run_prefixes[RUN_SETS];

struct run_place {
    char top[PATH_MAX];    /* of all that belongs to it; empty: not made */
    char dir[PATH_MAX];    /* of its files */
    char listed[PATH_MAX]; /* and of those of RUN_LISTED */
    char mountpoint[PATH_MAX], store[PATH_MAX], source[PATH_MAX], socket[PATH_MAX];
    struct daemon daemon;
    bool has[RUN_SETS];
    unsigned shell_round; /* the last one that has put the keys of the shell's loop, counted from 1; 0: none */
};

struct run {
    const struct bench_options *options;
    struct bench_results *results;
    unsigned subjects; /* that are used */
    char kvfs[PATH_MAX], kvctl[PATH_MAX], floor[PATH_MAX];
    char top[PATH_MAX], tmpfs_top[PATH_MAX]; /* empty: not made */
    struct run_place places[BENCH_SUBJECTS];
    bool counting;                                             /* what measuring takes */
    struct count_each counts[BENCH_WORKLOADS][BENCH_SUBJECTS]; /* .steps 0: not counted */
};

/* ------------------------------------------------------------------------------ place.c */

/* Make the directories, and start what the subjects are. Who is optional and cannot be had is left out.
 * returns  0; -errno, and said why */
int place_start_all(struct run *run);

/* End and remove everything. returns 0; -errno, and said why */
int place_stop_all(struct run *run);

/* Mount a subject, or start its server. returns as daemon_start() */
int place_mount(struct run *run, enum bench_subject subject);

/* returns  whether it is a file system that is mounted, or has one */
bool place_is_mounted(enum bench_subject subject);
bool place_is_kvfs(enum bench_subject subject);

/* The keys of RUN_LISTED that a subject has. */
uint64_t place_listed(const struct run *run, enum bench_subject subject);

/* Go on without a subject that failed.
 * returns  0; where it is not optional, or the run was interrupted, rc */
int place_leave_out(struct run *run, enum bench_subject subject, int rc);

/* ---------------------------------------------------------------------------- measure.c */

/* One workload of one subject: the figure goes into the results. returns 0; -errno, and said why */
int measure(struct run *run, enum bench_workload workload, enum bench_subject subject, unsigned round);

/* How often each step of a workload is repeated, what warms up included. */
uint64_t measure_steps(const struct run *run, enum bench_workload workload);

struct work;

/* The work of one set that a subject is ready for: its directory, names, counts and sizes. */
struct work measure_work(const struct run *run, enum bench_subject subject, enum run_set set);

#endif
