/* The work that is measured. A process of its own does it, so that a file system which does not answer holds up
 * nobody else. */
#ifndef KVFS_TOOLS_BENCH_WORK_H
#define KVFS_TOOLS_BENCH_WORK_H

#include <stdbool.h>
#include <stdint.h>

#define WORK_BYTE 'k' /* what values consist of */
#define WORK_PAGE_KEYS 256u

enum work_action {
    WORK_MAKE_DIR, /* the directory, and the one it is in */
    WORK_PUT,      /* open to write, make or empty; write; close: as a shell's redirection */
    WORK_GET,
    WORK_STAT,
    WORK_UNLINK,
    WORK_PAGE, /* names of WORK_PAGE_KEYS keys, from one on, that have the prefix */
};

enum work_on {
    WORK_ON_FILES,
    WORK_ON_LMDB, /* LMDB itself: one transaction puts as many as there are threads, and nothing else is threaded */
    WORK_ON_STORE /* pages only, of account bench, namespace bench, by store/kv.h */
};

/* Files are PREFIX<n>, of `count` names for each thread: thread t has those from t * count on. */
struct work {
    const char *subject, *dir; /* for messages; where the files, the database or the store are */
    const char *local;         /* a directory of the disk, which is to be quiet behind the work */
    const char *prefix;
    uint64_t count, threads, size;
    uint64_t stride; /* from each n to the next one; 0: 1 */
    uint64_t passes; /* over all files */
    enum work_action action;
    enum work_on on;
    bool fsync;  /* what is put */
    bool warmed; /* one pass more before, not measured */
    bool quiet;  /* who calls says what went wrong */
};

/* Do it. Behind it all of it is on disk, so that the next work finds an idle one.
 * returns  0 and the seconds that it took, without what was made ready for it; -errno, and said why */
int work_run(const struct work *work, double *seconds);

/* For the files that do the work, in the child. */

#define WORK_NAME_MAX 64

/* Write the name of the n-th file. */
void work_name(const struct work *work, uint64_t n, char name[WORK_NAME_MAX]);

/* Do what is on LMDB, and what is on the store. returns as work_run(), without a word */
int work_lmdb(const struct work *work, double *seconds);
int work_store(const struct work *work, double *seconds);

#endif
