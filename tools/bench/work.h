/* The work that is measured. A process of its own does it, so that a file system which does not answer holds up
 * nobody else. */
#ifndef KVFS_TOOLS_BENCH_WORK_H
#define KVFS_TOOLS_BENCH_WORK_H

#include <stdbool.h>
#include <stdint.h>

#define WORK_BYTE 'k' /* what values consist of */

enum work_action {
    WORK_MAKE_DIR, /* the directory, and the one it is in */
    WORK_PUT,      /* open to write, make or empty; write; close: as a shell's redirection */
    WORK_GET,
    WORK_STAT,
    WORK_UNLINK,
};

/* Files are PREFIX<n>, of `count` names for each thread: thread t has those from t * count on. */
struct work {
    const char *subject, *dir; /* for messages; where the files are */
    const char *local;         /* a directory of the disk, which is to be quiet behind the work */
    const char *prefix;
    uint64_t count, threads, size;
    uint64_t passes; /* over all files */
    enum work_action action;
    bool fsync;  /* what is put, or the directory where something is unlinked */
    bool warmed; /* one pass more before, not measured */
};

/* Do it. Behind it all of it is on disk, so that the next work finds an idle one.
 * returns  0 and the seconds that it took, without what was made ready for it; -errno, and said why */
int work_run(const struct work *work, double *seconds);

#endif
