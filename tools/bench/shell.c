#include "tools/bench/shell.h"

#include "tools/bench/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SHELL_ARGS 6
#define SHELL_KILLED_SECONDS 5.0

#define LOOP(body) "for ((i = 0; i < $1; i++)); do " body " || exit 1; done"

static const char *const shell_loops[BENCH_SUBJECTS][2] = {
    /* get, put */
    [BENCH_KVFS_CLOSE] = {LOOP("x=$(<shell_${2}_$i) && [ \"$x\" = v ]"), LOOP("echo v > shell_${2}_$i")},
    [BENCH_KVFS_FSYNC] = {LOOP("x=$(<shell_${2}_$i) && [ \"$x\" = v ]"),
                          LOOP("echo v > shell_${2}_$i && sync shell_${2}_$i")},
    [BENCH_FLOOR] = {LOOP("x=$(<shell_${2}_$i) && [ \"$x\" = v ]"), LOOP("echo v > shell_${2}_$i")},
    [BENCH_LOCAL] = {LOOP("x=$(<shell_${2}_$i) && [ \"$x\" = v ]"),
                     LOOP("echo v > shell_${2}_$i && sync shell_${2}_$i")},
    [BENCH_TMPFS] = {LOOP("x=$(<shell_${2}_$i) && [ \"$x\" = v ]"), LOOP("echo v > shell_${2}_$i")},
    [BENCH_REDIS] = {LOOP("x=$(redis-cli -s redis.sock GET shell_${2}_$i) && [ \"$x\" = v ]"),
                     LOOP("x=$(redis-cli -s redis.sock SET shell_${2}_$i v) && [ \"$x\" = OK ]")},
    [BENCH_SQLITE] = {LOOP("x=$(sqlite3 db \"SELECT v FROM kv WHERE k = 'shell_${2}_$i'\") && [ \"$x\" = v ]"),
                      LOOP(
                          "sqlite3 db \"PRAGMA synchronous=FULL; REPLACE INTO kv VALUES('shell_${2}_$i', 'v')\"")},
};

const char *shell_loop(enum bench_subject subject, bool put) { return shell_loops[subject][put]; }

/* Read microseconds, and wait for the end. */
static int shell_wait(pid_t child, int from, double bound, double *seconds)
{
    int status, rc = process_wait(child, bound, &status);
    char text[64];
    ssize_t size;

    if (rc < 0) {
        (void)process_end(child, SIGKILL, SHELL_KILLED_SECONDS, &status);
        return rc;
    }
    size = status == 0 ? read(from, text, sizeof(text) - 1) : -1;
    if (size <= 0)
        return -EIO;
    text[size] = '\0';
    *seconds = strtod(text, NULL) / 1e6;
    return 0;
}

int shell_run(const char *body, const char *const *args, const char *dir, int log, double bound, double *seconds)
{
    char *argv[4 + SHELL_ARGS + 1] = {"bash", "-c", NULL, "kvfs-bench"};
    int ends[2], rc;
    pid_t child;

    for (int i = 0; i < SHELL_ARGS && args[i] != NULL; i++)
        argv[4 + i] = (char *)args[i];
    if (asprintf(&argv[2],
                 "LC_ALL=C; since=$EPOCHREALTIME; { %s; } || exit 1; until=$EPOCHREALTIME; "
                 "echo $((${until/./} - ${since/./}))",
                 body) < 0)
        return -ENOMEM;
    rc = pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0;
    if (rc == 0) {
        child = process_spawn(argv, SIGKILL, dir, ends[1], log);
        close(ends[1]);
        rc = child < 0 ? child : shell_wait(child, ends[0], bound, seconds);
        close(ends[0]);
    }
    free(argv[2]);
    return rc;
}
