#include "tools/bench/process.h"
#include "tools/bench/run.h"
#include "tools/bench/shell.h"
#include "tools/bench/work.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLACE_REAP_SECONDS 10.0
#define PLACE_FILL_SECONDS 120.0
#define PLACE_FILL_SECONDS_A_KEY 0.01
#define PLACE_ARGS 24
#define PLACE_NUMBER 24

enum place_kind { PLACE_KVFS, PLACE_FLOOR, PLACE_OVER, PLACE_FILES, PLACE_SERVER, PLACE_ALONE };

/* What a subject is: kvfs with options; the floor with options; a file system over a directory of the disk; a
 * directory; a server with a socket; or nothing that runs. And the program that it needs. */
static const struct place_info {
    enum place_kind kind;
    const char *options, *program;
} places[BENCH_SUBJECTS] = {
    [BENCH_KVFS_CLOSE] = {PLACE_KVFS, "durability=close,log_level=warning", NULL},
    [BENCH_KVFS_FSYNC] = {PLACE_KVFS, "durability=fsync,log_level=warning", NULL},
    [BENCH_KVFS_RING] = {PLACE_KVFS, "durability=fsync,log_level=warning,io_uring", NULL},
    [BENCH_KVFS_RO] = {PLACE_KVFS, "durability=fsync,log_level=warning", NULL}, /* until it has its files */
    [BENCH_KVFS_FEW] = {PLACE_KVFS, "durability=close,log_level=warning", NULL},
    [BENCH_KVFS_MANY] = {PLACE_KVFS, "durability=close,log_level=warning", NULL},
    [BENCH_FLOOR] = {PLACE_FLOOR, NULL, NULL},
    [BENCH_FLOOR_RING] = {PLACE_FLOOR, "io_uring", NULL},
    [BENCH_PASSTHROUGH] = {PLACE_OVER, NULL, "passthrough_ll"},
    [BENCH_BINDFS] = {PLACE_OVER, NULL, "bindfs"},
    [BENCH_RCLONE] = {PLACE_OVER, NULL, "rclone"},
    [BENCH_LOCAL] = {PLACE_FILES, NULL, NULL},
    [BENCH_TMPFS] = {PLACE_FILES, NULL, NULL},
    [BENCH_LMDB] = {PLACE_ALONE, NULL, NULL},
    [BENCH_REDIS] = {PLACE_SERVER, NULL, "redis-server"},
    [BENCH_SQLITE] = {PLACE_ALONE, NULL, "sqlite3"},
};

bool place_is_kvfs(enum bench_subject subject) { return places[subject].kind == PLACE_KVFS; }

bool place_is_mounted(enum bench_subject subject)
{
    enum place_kind kind = places[subject].kind;

    return kind == PLACE_KVFS || kind == PLACE_FLOOR || kind == PLACE_OVER;
}

uint64_t place_listed(const struct run *run, enum bench_subject subject)
{
    return subject == BENCH_KVFS_FEW ? BENCH_FEW_KEYS : run->options->many;
}

/* Join two paths. returns false, and said why, where the result is too long */
static bool place_path(char out[PATH_MAX], const char *dir, const char *name)
{
    if (snprintf(out, PATH_MAX, "%s/%s", dir, name) < PATH_MAX)
        return true;
    bench_say("%s: %s", dir, strerror(ENAMETOOLONG));
    return false;
}

/* -------------------------------------------------------------------------------- starting one */

static int place_start_kvfs(struct run *run, enum bench_subject subject)
{
    bool read_only = subject == BENCH_KVFS_RO && run->places[subject].has[RUN_SMALL];
    struct run_place *place = &run->places[subject];
    char *const argv[] = {
        run->kvfs, place->store, place->mountpoint,
        "-f",      "-o",         read_only ? "ro,log_level=warning" : (char *)places[subject].options,
        NULL};

    return daemon_start(&place->daemon, argv);
}

/* Its files are as they were put: it is born with them. */
static int place_start_floor(struct run *run, enum bench_subject subject)
{
    static const enum run_set sets[] = {RUN_SMALL, RUN_LARGE, RUN_WRITERS};
    struct run_place *place = &run->places[subject];
    char numbers[sizeof(sets) / sizeof(sets[0])][2][PLACE_NUMBER];
    char *argv[PLACE_ARGS] = {run->floor};
    size_t used = 1;

    if (places[subject].options != NULL) {
        argv[used++] = "-o";
        argv[used++] = (char *)places[subject].options;
    }
    argv[used++] = place->mountpoint;
    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
        struct work work = measure_work(run, subject, sets[i]);

        snprintf(numbers[i][0], PLACE_NUMBER, "%lu",
                 place->has[sets[i]] ? (unsigned long)(work.count * work.threads) : 0ul);
        snprintf(numbers[i][1], PLACE_NUMBER, "%lu", (unsigned long)work.size);
        argv[used++] = (char *)run_prefixes[sets[i]];
        argv[used++] = numbers[i][0];
        argv[used++] = numbers[i][1];
    }
    return daemon_start(&place->daemon, argv);
}

/* As they come, but rclone writes at once, and keeps what it needs here. */
static int place_start_over(struct run *run, enum bench_subject subject)
{
    struct run_place *place = &run->places[subject];
    char source[PATH_MAX + sizeof("source=,cache=always")], config[PATH_MAX], cache[PATH_MAX];
    char *const bindfs[] = {"bindfs", "-f", place->source, place->mountpoint, NULL};
    char *const passthrough[] = {(char *)run->options->passthrough, "-f", "-o", source, place->mountpoint, NULL};
    char *const rclone[] = {"rclone",
                            "mount",
                            place->source,
                            place->mountpoint,
                            "--config",
                            config,
                            "--cache-dir",
                            cache,
                            "--vfs-cache-mode",
                            "full",
                            "--vfs-write-back",
                            "0",
                            NULL};

    snprintf(source, sizeof(source), "source=%s,cache=always", place->source);
    if (!place_path(config, place->top, "rclone.conf") || !place_path(cache, place->top, "cache"))
        return -ENAMETOOLONG;
    return daemon_start(&place->daemon, subject == BENCH_BINDFS   ? bindfs
                                        : subject == BENCH_RCLONE ? rclone
                                                                  : passthrough);
}

static int place_start_redis(struct run *run)
{
    struct run_place *place = &run->places[BENCH_REDIS];
    char *const argv[] = {"redis-server",
                          "--port",
                          "0",
                          "--unixsocket",
                          "redis.sock",
                          "--dir",
                          place->top,
                          "--save",
                          "",
                          "--appendonly",
                          "yes",
                          "--appendfsync",
                          "always",
                          "--daemonize",
                          "no",
                          NULL};

    return daemon_start(&place->daemon, argv);
}

int place_mount(struct run *run, enum bench_subject subject)
{
    switch (places[subject].kind) {
    case PLACE_KVFS:
        return place_start_kvfs(run, subject);
    case PLACE_FLOOR:
        return place_start_floor(run, subject);
    case PLACE_OVER:
        return place_start_over(run, subject);
    case PLACE_SERVER:
        return place_start_redis(run);
    case PLACE_FILES:
    case PLACE_ALONE:
        break;
    }
    return 0;
}

/* ------------------------------------------------------------------------------------ leaving out */

/* The last line that it said. */
static void place_last_line(const struct run_place *place, char *out, size_t size)
{
    char path[PATH_MAX], line[256];
    FILE *file = place_path(path, place->top, "said") ? fopen(path, "re") : NULL;

    snprintf(out, size, "it failed");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        if (line[strspn(line, " \n")] != '\0')
            snprintf(out, size, "%.*s", (int)strcspn(line, "\n"), line);
    if (file != NULL)
        fclose(file);
}

int place_leave_out(struct run *run, enum bench_subject subject, int rc)
{
    struct run_place *place = &run->places[subject];
    char *why = run->results->left_out[subject];

    if (!bench_has(BENCH_OPTIONAL, subject) || process_interrupted() != 0)
        return rc;
    if (why[0] == '\0')
        place_last_line(place, why, sizeof(run->results->left_out[subject]));
    run->subjects &= ~BENCH_BIT(subject);
    for (unsigned i = 0; i < BENCH_WORKLOADS; i++)
        run->results->measured[i] &= ~BENCH_BIT(subject);
    return place->daemon.path == NULL ? 0 : daemon_stop(&place->daemon);
}

static int place_needs(struct run *run, enum bench_subject subject)
{
    const char *program = subject == BENCH_PASSTHROUGH ? run->options->passthrough : places[subject].program;
    const char *missing = program == NULL || process_finds(program) ? NULL : program;

    if (subject == BENCH_REDIS && missing == NULL && !process_finds("redis-cli"))
        missing = "redis-cli";
    if (missing == NULL)
        return 0;
    snprintf(run->results->left_out[subject], sizeof(run->results->left_out[subject]), "%s is not installed",
             missing);
    return -ENOENT;
}

/* ------------------------------------------------------------------------- setting up, and down */

static int place_fill(struct run *run, enum bench_subject subject)
{
    struct run_place *place = &run->places[subject];
    char keys[PLACE_NUMBER];
    char *value = malloc(run->options->size + 1);
    const char *args[] = {run->kvctl, place->store, keys, value, NULL};
    double seconds, bound = PLACE_FILL_SECONDS + PLACE_FILL_SECONDS_A_KEY * (double)place_listed(run, subject);
    int rc;

    if (value == NULL)
        return -ENOMEM;
    memset(value, WORK_BYTE, run->options->size);
    value[run->options->size] = '\0';
    snprintf(keys, sizeof(keys), "%lu", (unsigned long)place_listed(run, subject));
    rc = shell_run(SHELL_FILL, args, place->top, -1, bound, &seconds);
    if (rc < 0)
        bench_say("%s: cannot be filled: %s", place->store, strerror(-rc));
    place->has[RUN_LISTED] = rc == 0;
    free(value);
    return rc;
}

static bool place_make_dir(const char *path)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return true;
    bench_say("%s: %s", path, strerror(errno));
    return false;
}

static bool place_make_dirs(struct run *run, enum bench_subject subject)
{
    const char *top = subject == BENCH_TMPFS ? run->tmpfs_top : run->top;
    enum place_kind kind = places[subject].kind;
    struct run_place *place = &run->places[subject];
    char said[PATH_MAX];

    if (!place_path(place->top, top, bench_subjects[subject]) ||
        !place_path(place->mountpoint, place->top, "mnt") || !place_path(place->store, place->top, "store") ||
        !place_path(place->source, place->top, "source") || !place_path(place->socket, place->top, "redis.sock") ||
        !place_path(place->listed, place->top, "listed") || !place_path(said, place->top, "said") ||
        !place_make_dir(place->top))
        return false;
    if (!place_path(place->dir, place_is_mounted(subject) ? place->mountpoint : place->top,
                    kind == PLACE_KVFS    ? "bench/bench"
                    : kind == PLACE_FILES ? "files"
                                          : "."))
        return false;
    if (kind == PLACE_FILES)
        return place_make_dir(place->dir) && place_make_dir(place->listed);
    memcpy(place->listed, place->dir, sizeof(place->listed));
    place->daemon.log =
        bench_has(BENCH_OPTIONAL, subject) ? open(said, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600) : -1;
    return !place_is_mounted(subject) || (place_make_dir(place->mountpoint) && place_make_dir(place->source));
}

static int place_make_store_dir(struct run *run, enum bench_subject subject)
{
    struct work work = measure_work(run, subject, RUN_SMALL);
    double seconds;

    work.action = WORK_MAKE_DIR;
    return work_run(&work, &seconds);
}

static int place_start(struct run *run, enum bench_subject subject)
{
    bool filled = subject == BENCH_KVFS_FEW || subject == BENCH_KVFS_MANY;
    struct run_place *place = &run->places[subject];
    static const char *const none[] = {NULL};
    double seconds;
    int rc = place_needs(run, subject);

    if (rc < 0)
        return rc;
    place->daemon.log = -1;
    if (!place_make_dirs(run, subject))
        return -EIO;
    if (filled)
        rc = place_fill(run, subject);
    if (subject == BENCH_SQLITE)
        rc = shell_run(SHELL_MAKE_SQLITE, none, place->top, place->daemon.log, PLACE_FILL_SECONDS, &seconds);
    if (rc < 0 || places[subject].kind == PLACE_FILES || places[subject].kind == PLACE_ALONE)
        return rc;
    place->daemon.kind = places[subject].kind == PLACE_SERVER ? DAEMON_SOCKET : DAEMON_MOUNT;
    place->daemon.foreign = places[subject].kind == PLACE_OVER;
    place->daemon.path = places[subject].kind == PLACE_SERVER ? place->socket : place->mountpoint;
    rc = place_mount(run, subject);
    if (rc == 0 && place_is_kvfs(subject) && !filled)
        rc = place_make_store_dir(run, subject);
    return rc;
}

static bool place_find_programs(struct run *run)
{
    char here[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", here, sizeof(here) - 1);

    if (size < 0) {
        bench_say("/proc/self/exe: %s", strerror(errno));
        return false;
    }
    here[size] = '\0';
    dirname(here);
    if (run->options->kvfs != NULL)
        snprintf(run->kvfs, sizeof(run->kvfs), "%s", run->options->kvfs);
    else if (!place_path(run->kvfs, here, "../fs/kvfs"))
        return false;
    return place_path(run->floor, here, "kvfs-bench-floor") && place_path(run->kvctl, here, "kvctl");
}

/* A new directory in `in`, by its full path. Empty where it failed, and said why. */
static bool place_make_top(char top[PATH_MAX], const char *in)
{
    char path[PATH_MAX];

    if (!place_path(path, in, "kvfs-bench.XXXXXX"))
        return false;
    if (mkdtemp(path) != NULL && realpath(path, top) != NULL)
        return true;
    bench_say("%s: no directory can be made there: %s", in, strerror(errno));
    top[0] = '\0';
    return false;
}

/* tmpfs is measured where there is one, and the disk is none itself. */
static void place_look_for_tmpfs(struct run *run)
{
    struct bench_facts facts;

    bench_facts(run->options->tmpfs, &facts);
    if (strcmp(facts.type, "tmpfs") == 0 && strcmp(run->results->facts.type, "tmpfs") != 0)
        return;
    snprintf(run->results->left_out[BENCH_TMPFS], sizeof(run->results->left_out[BENCH_TMPFS]),
             strcmp(facts.type, "tmpfs") == 0 ? "--dir is one itself" : "--tmpfs is none");
    run->subjects &= ~BENCH_BIT(BENCH_TMPFS);
}

int place_start_all(struct run *run)
{
    for (unsigned i = 0; i < BENCH_WORKLOADS; i++)
        if (run->options->only >> i & 1)
            run->subjects |= bench_workloads[i].subjects & run->options->of;
    if (bench_has(run->subjects, BENCH_TMPFS))
        place_look_for_tmpfs(run);
    if (!place_find_programs(run) || !place_make_top(run->top, run->options->dir) ||
        (bench_has(run->subjects, BENCH_TMPFS) && !place_make_top(run->tmpfs_top, run->options->tmpfs)))
        return -EIO;
    for (unsigned subject = 0; subject < BENCH_SUBJECTS; subject++) {
        int rc = bench_has(run->subjects, subject) ? place_start(run, subject) : 0;

        if (rc < 0)
            rc = place_leave_out(run, subject, rc);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int place_remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st, (void)type, (void)where;
    return remove(path);
}

/* Never what is in a file system that is still mounted there. */
static bool place_remove(const char *top)
{
    if (top[0] == '\0' || nftw(top, place_remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == 0)
        return true;
    bench_say("%s: cannot be removed: %s", top, strerror(errno));
    return false;
}

int place_stop_all(struct run *run)
{
    int rc = 0;

    for (unsigned subject = 0; subject < BENCH_SUBJECTS; subject++)
        if (run->places[subject].daemon.path != NULL && daemon_stop(&run->places[subject].daemon) < 0)
            rc = -EIO;
    process_reap(PLACE_REAP_SECONDS);
    if (!place_remove(run->top) || !place_remove(run->tmpfs_top))
        rc = -EIO;
    return rc;
}
