/* The children of the benchmark: each ends with it, is waited for no longer than said, and is killed by its own
 * number only. SIGINT, SIGTERM, SIGHUP and SIGQUIT end the waits, not this process: it has to clean up. One thread. */
#ifndef KVFS_TOOLS_BENCH_PROCESS_H
#define KVFS_TOOLS_BENCH_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Call it first: blocks those signals here. */
void process_start(void);

/* The signal that asked for the end; 0: none did. */
int process_interrupted(void);

/* As fork(), of a child in a process group of its own, which gets signal `farewell` when this process is gone.
 * returns  its number; 0 in the child; -errno */
pid_t process_fork(int farewell);

/* Run a program as execvp() does.
 * dir       where it starts; NULL: here
 * out, err  its standard output and error; -1: those of this process
 * returns   as process_fork() */
pid_t process_spawn(char *const argv[], int farewell, const char *dir, int out, int err);

/* Is there such a program, as execvp() would find it? */
bool process_finds(const char *program);

/* Wait for a child's end. returns 0 and its status as of waitpid(); -ETIMEDOUT, -EINTR: it runs on; -errno */
int process_wait(pid_t pid, double seconds, int *status);

/* Let some time pass, or less where a child ends. */
void process_pause(double seconds);

/* End a child: with a signal, and where it has not ended `seconds` later, with SIGKILL, and all of its group.
 * returns  0 and its status; -ETIMEDOUT: not even that ended it yet */
int process_end(pid_t pid, int signal, double seconds, int *status);

/* Have a child do something that may never end, as what asks a file system.
 * run      called in the child; fills `out`, and returns 0 or -errno
 * out      of `size` bytes, at most PIPE_BUF
 * returns  what run() did; -ETIMEDOUT, -EINTR: the child was killed; -EIO it ended otherwise; another -errno */
int process_ask(int (*run)(const void *arg, void *out), const void *arg, void *out, size_t size, double seconds);

/* Wait for all children that are left, which were killed. */
void process_reap(double seconds);

double process_now(void); /* seconds, of a clock that is never set */

#endif
