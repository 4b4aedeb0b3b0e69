/* Work that a shell does. */
#ifndef KVFS_TOOLS_BENCH_SHELL_H
#define KVFS_TOOLS_BENCH_SHELL_H

#include "tools/bench/bench.h"

#include <stdbool.h>

/* Run a script of bash, and wait no longer than `bound` seconds for its end. It has `body` between the two looks at the
 * clock, in the directory `dir`, with the arguments, NULL behind the last of at most 6, as $1 and so on.
 * log      where its errors go; -1: to this process's
 * returns  0 and the seconds that the body took; -EIO it failed; -ETIMEDOUT, -EINTR, another -errno */
int shell_run(const char *body, const char *const *args, const char *dir, int log, double bound, double *seconds);

/* The loop over $1 keys of a subject, which are named by the number $2. It runs where the files are, or the server's
 * socket, or the database.
 * returns  NULL where it is measured in none */
const char *shell_loop(enum bench_subject subject, bool put);

/* Make what the loop of SQLite works on, in its directory; a body of no arguments. */
#define SHELL_MAKE_SQLITE \
    "sqlite3 db 'PRAGMA journal_mode=WAL; CREATE TABLE kv(k TEXT PRIMARY KEY, v TEXT) WITHOUT ROWID' >&2"

/* Make a store $2 by kvctl $1, with $3 keys listed_0, listed_1 ... of value $4 in bench/bench. */
#define SHELL_FILL                                                                                 \
    "set -o pipefail; kv=(\"$1\" --store \"$2\"); \"${kv[@]}\" account create bench && "           \
    "\"${kv[@]}\" account limit bench --bytes 1T && \"${kv[@]}\" namespace create bench/bench && " \
    "seq 0 $(($3 - 1)) | awk -v \"v=$4\" '{ print \"listed_\" $1 \"=\" v }' | "                    \
    "\"${kv[@]}\" load bench/bench --format env >&2"

#endif
