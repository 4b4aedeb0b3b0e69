/* Daemons that the benchmark starts, file systems and servers: each in the foreground, a child of this process. */
#ifndef KVFS_TOOLS_BENCH_DAEMON_H
#define KVFS_TOOLS_BENCH_DAEMON_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum daemon_kind { DAEMON_MOUNT, DAEMON_SOCKET };

struct daemon {
    enum daemon_kind kind;
    const char *path; /* the mount point, or the socket that it listens on */
    int log;      /* where its output goes; -1: to this process's standard error, with what is said of it here */
    pid_t pid;    /* 0: none runs */
    bool foreign; /* of another project: its exit status, when it is asked to end, tells nothing */
};

/* Start argv, and wait until something is mounted at the path, or answers there.
 * returns 0; -errno, and said why where there is no log: nothing is mounted, nothing runs */
int daemon_start(struct daemon *daemon, char *const argv[]);

/* End and unmount it, whatever state it is in. Does nothing where nothing runs and is mounted.
 * returns  0; -errno, and said why: the daemon failed, or had to be killed; maybe something is still mounted */
int daemon_stop(struct daemon *daemon);

/* How often its threads went to sleep or were sent to sleep since they began. returns 0; -errno */
int daemon_switches(const struct daemon *daemon, uint64_t *out);

/* Its memory that no file is behind, in bytes. returns 0; -errno */
int daemon_memory(const struct daemon *daemon, uint64_t *out);

/* How many system calls that read or write it has made. returns 0; -EACCES: this is not for everybody to see; -errno */
int daemon_calls(const struct daemon *daemon, uint64_t *out);

#endif
