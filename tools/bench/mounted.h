/* File systems that the benchmark mounts: each is a daemon in the foreground, a child of this process. */
#ifndef KVFS_TOOLS_BENCH_MOUNTED_H
#define KVFS_TOOLS_BENCH_MOUNTED_H

#include <sys/types.h>

struct mounted {
    const char *path; /* the mount point */
    pid_t pid;        /* the daemon; 0: none runs */
};

/* Start argv, and wait until something is mounted at the path. returns 0; -errno, and said why: nothing is mounted */
int mounted_start(struct mounted *mounted, char *const argv[]);

/* Unmount, whatever state it is in. Does nothing where nothing is mounted.
 * returns  0; -errno, and said why: the daemon failed, or had to be killed; maybe something is still mounted */
int mounted_stop(struct mounted *mounted);

#endif
