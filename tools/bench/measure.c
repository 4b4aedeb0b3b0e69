/* How each workload is measured. README.md says what the rows are. */
#include "tools/bench/process.h"
#include "tools/bench/run.h"
#include "tools/bench/shell.h"
#include "tools/bench/work.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MEASURE_PASSES 10 /* of works that are over at once */
#define MEASURE_LARGE_PASSES 2
#define MEASURE_WRITERS_FILES 4
#define MEASURE_PAGES 50
#define MEASURE_READ_KEYS 100000u /* of those that memory is measured with */
#define MEASURE_SHELL_SECONDS 120.0
#define MEASURE_SHELL_SECONDS_A_KEY 1.0
#define MEASURE_LIST_SECONDS_A_KEY 0.01
#define MEASURE_LMDB_BATCH 1000u

#define BIT(subject) BENCH_BIT(BENCH_##subject)
#define OVER_FUSE                                                                                       \
    (BIT(KVFS_FSYNC) | BIT(KVFS_RING) | BIT(FLOOR) | BIT(FLOOR_RING) | BIT(PASSTHROUGH) | BIT(BINDFS) | \
     BIT(RCLONE))
#define FILES (OVER_FUSE | BIT(LOCAL) | BIT(TMPFS))
#define SCALED (BIT(KVFS_FEW) | BIT(KVFS_MANY))
#define SHELLS \
    (BIT(KVFS_CLOSE) | BIT(KVFS_FSYNC) | BIT(FLOOR) | BIT(LOCAL) | BIT(TMPFS) | BIT(REDIS) | BIT(SQLITE))

/* What a put of these has made durable when it returns, or nothing ever makes durable. */
#define WITHOUT_FSYNC (BIT(KVFS_CLOSE) | SCALED | BIT(FLOOR) | BIT(FLOOR_RING) | BIT(TMPFS) | BIT(LMDB))

const struct bench_workload_info bench_workloads[BENCH_WORKLOADS] = {
    [BENCH_CREATE] = {"create", BENCH_MICROSECONDS, FILES | BIT(KVFS_CLOSE)},
    [BENCH_OVERWRITE] = {"overwrite", BENCH_MICROSECONDS, FILES | BIT(KVFS_CLOSE)},
    [BENCH_COLD_GET] = {"cold-get", BENCH_MICROSECONDS, FILES | BIT(LMDB)},
    [BENCH_HOT_GET] = {"hot-get", BENCH_MICROSECONDS, FILES | BIT(KVFS_RO) | BIT(LMDB)},
    [BENCH_STAT] = {"stat", BENCH_MICROSECONDS, FILES | BIT(KVFS_RO)},
    [BENCH_UNLINK] = {"unlink", BENCH_MICROSECONDS, FILES | BIT(KVFS_CLOSE)},
    [BENCH_DURABLE_PUT] = {"durable-put", BENCH_MICROSECONDS,
                           BIT(KVFS_CLOSE) | BIT(FLOOR) | BIT(PASSTHROUGH) | BIT(BINDFS) | BIT(LOCAL) | BIT(LMDB)},
    [BENCH_CREATE_FSYNC] = {"create-fsync", BENCH_MICROSECONDS,
                            BIT(KVFS_CLOSE) | BIT(KVFS_FSYNC) | BIT(FLOOR) | BIT(LOCAL)},
    [BENCH_WRITERS] = {"writers", BENCH_PER_SECOND, BIT(KVFS_CLOSE) | BIT(FLOOR) | BIT(LOCAL) | BIT(LMDB)},
    [BENCH_LARGE_PUT] = {"large-put", BENCH_MIB_PER_SECOND,
                         BIT(KVFS_CLOSE) | BIT(FLOOR) | BIT(PASSTHROUGH) | BIT(BINDFS) | BIT(LOCAL)},
    [BENCH_LARGE_GET] = {"large-get", BENCH_MIB_PER_SECOND, FILES},
    [BENCH_LARGE_HOT_GET] = {"large-hot-get", BENCH_MIB_PER_SECOND, FILES},
    [BENCH_LIST] = {"list", BENCH_MILLISECONDS, BIT(KVFS_MANY) | BIT(LOCAL) | BIT(TMPFS)},
    [BENCH_LIST_LONG] = {"list-long", BENCH_MILLISECONDS, BIT(KVFS_MANY) | BIT(LOCAL) | BIT(TMPFS)},
    [BENCH_PAGE] = {"page", BENCH_MICROSECONDS, SCALED | BIT(LMDB)},
    [BENCH_SCALE_GET] = {"scale-get", BENCH_MICROSECONDS, SCALED},
    [BENCH_SCALE_PUT] = {"scale-put", BENCH_MICROSECONDS, SCALED},
    [BENCH_MOUNT] = {"mount", BENCH_MILLISECONDS, SCALED | BIT(FLOOR) | BIT(BINDFS) | BIT(RCLONE)},
    [BENCH_MEMORY] = {"memory", BENCH_BYTES_A_KEY, BIT(KVFS_MANY)},
    [BENCH_IDLE] = {"idle", BENCH_WAKE_UPS,
                    BIT(KVFS_CLOSE) | BIT(KVFS_FSYNC) | BIT(KVFS_RING) | BIT(FLOOR) | BIT(BINDFS) | BIT(RCLONE) |
                        BIT(REDIS)},
    [BENCH_SHELL_PUT] = {"shell-put", BENCH_MICROSECONDS, SHELLS},
    [BENCH_SHELL_GET] = {"shell-get", BENCH_MICROSECONDS, SHELLS & ~BIT(KVFS_FSYNC)},
};

const char *const run_prefixes[RUN_SETS] = {
    [RUN_SMALL] = "key_", [RUN_LARGE] = "large_", [RUN_WRITERS] = "many_", [RUN_LISTED] = "listed_"};

enum plan_kind { PLAN_WORK, PLAN_LIST, PLAN_SHELL, PLAN_MOUNT, PLAN_MEMORY, PLAN_IDLE };
enum plan_fsync { FSYNC_NEVER, FSYNC_IF_NEEDED, FSYNC_ALWAYS };

/* What is done, to which files, which are there before and behind it. */
static const struct plan {
    enum plan_kind kind;
    enum run_set set;
    enum work_action action;
    bool before, behind;
    bool cold, repeated;
    enum plan_fsync fsync;
    const char *program; /* of lists */
} plans[BENCH_WORKLOADS] = {
    [BENCH_CREATE] = {.set = RUN_SMALL, .action = WORK_PUT, .behind = true},
    [BENCH_OVERWRITE] = {.set = RUN_SMALL, .action = WORK_PUT, .before = true, .behind = true},
    [BENCH_COLD_GET] = {.set = RUN_SMALL, .action = WORK_GET, .before = true, .behind = true, .cold = true},
    [BENCH_HOT_GET] = {.set = RUN_SMALL, .action = WORK_GET, .before = true, .behind = true, .repeated = true},
    [BENCH_STAT] = {.set = RUN_SMALL, .action = WORK_STAT, .before = true, .behind = true, .repeated = true},
    [BENCH_UNLINK] = {.set = RUN_SMALL, .action = WORK_UNLINK, .before = true},
    [BENCH_DURABLE_PUT] = {.set = RUN_SMALL, .action = WORK_PUT, .behind = true, .fsync = FSYNC_IF_NEEDED},
    [BENCH_CREATE_FSYNC] = {.set = RUN_SMALL, .action = WORK_PUT, .behind = true, .fsync = FSYNC_ALWAYS},
    [BENCH_WRITERS] = {.set = RUN_WRITERS, .action = WORK_PUT, .behind = true, .fsync = FSYNC_IF_NEEDED},
    [BENCH_LARGE_PUT] = {.set = RUN_LARGE, .action = WORK_PUT, .behind = true, .fsync = FSYNC_IF_NEEDED},
    [BENCH_LARGE_GET] = {.set = RUN_LARGE, .action = WORK_GET, .before = true, .behind = true, .cold = true},
    [BENCH_LARGE_HOT_GET] =
        {.set = RUN_LARGE, .action = WORK_GET, .before = true, .behind = true, .repeated = true},
    [BENCH_LIST] =
        {.kind = PLAN_LIST, .set = RUN_LISTED, .before = true, .cold = true, .program = "ls -f > /dev/null"},
    [BENCH_LIST_LONG] =
        {.kind = PLAN_LIST, .set = RUN_LISTED, .before = true, .cold = true, .program = "ls -l > /dev/null"},
    [BENCH_PAGE] = {.set = RUN_LISTED, .action = WORK_PAGE, .before = true, .behind = true},
    [BENCH_SCALE_GET] = {.set = RUN_LISTED, .action = WORK_GET, .before = true, .behind = true, .cold = true},
    [BENCH_SCALE_PUT] = {.set = RUN_LISTED, .action = WORK_PUT, .before = true, .behind = true},
    [BENCH_MOUNT] = {.kind = PLAN_MOUNT, .set = RUN_LISTED},
    [BENCH_MEMORY] = {.kind = PLAN_MEMORY, .set = RUN_LISTED, .before = true, .program = "ls -l > /dev/null"},
    [BENCH_IDLE] = {.kind = PLAN_IDLE, .set = RUN_SMALL},
    [BENCH_SHELL_PUT] = {.kind = PLAN_SHELL},
    [BENCH_SHELL_GET] = {.kind = PLAN_SHELL, .before = true},
};

/* ------------------------------------------------------------------------------ ready for a work */

static void measure_listed(const struct run *run, enum bench_subject subject, struct work *work)
{
    uint64_t keys = place_listed(run, subject);

    work->dir = run->places[subject].listed;
    work->threads = subject == BENCH_LMDB ? MEASURE_LMDB_BATCH : run->options->writers;
    work->count = (keys + work->threads - 1) / work->threads;
}

struct work measure_work(const struct run *run, enum bench_subject subject, enum run_set set)
{
    const struct bench_options *options = run->options;
    struct work work = {.subject = bench_name(run->results, subject),
                        .dir = run->places[subject].dir,
                        .local = run->top,
                        .prefix = run_prefixes[set],
                        .count = options->files,
                        .threads = 1,
                        .size = options->size,
                        .passes = 1,
                        .on = subject == BENCH_LMDB ? WORK_ON_LMDB : WORK_ON_FILES,
                        .quiet = bench_has(BENCH_OPTIONAL, subject)};

    if (set == RUN_LARGE) {
        work.count = options->large_files;
        work.size = options->large_size;
    } else if (set == RUN_WRITERS) {
        work.threads = options->writers;
        work.count = (MEASURE_WRITERS_FILES * options->files + work.threads - 1) / work.threads;
    } else if (set == RUN_LISTED) {
        measure_listed(run, subject, &work);
    }
    return work;
}

/* Some of many keys, over all of them. */
static void measure_spread(const struct run *run, enum bench_subject subject, uint64_t most, struct work *work)
{
    uint64_t keys = place_listed(run, subject);

    work->threads = 1;
    work->count = keys < most ? keys : most;
    work->stride = keys / work->count;
}

static int measure_mount_anew(struct run *run, enum bench_subject subject)
{
    int rc = daemon_stop(&run->places[subject].daemon);

    return rc < 0 ? rc : place_mount(run, subject);
}

static int measure_prepare(struct run *run, enum bench_subject subject, const struct plan *plan)
{
    struct run_place *place = &run->places[subject];
    struct work work = measure_work(run, subject, plan->set);
    bool mounts = plan->cold && place_is_mounted(subject);
    double seconds;
    int rc = 0;

    work.action = plan->before ? WORK_PUT : WORK_UNLINK;
    if (place->has[plan->set] != plan->before) {
        rc = work_run(&work, &seconds);
        mounts |= subject == BENCH_KVFS_RO; /* from now on */
    }
    if (rc < 0)
        return rc;
    place->has[plan->set] = plan->before;
    return mounts ? measure_mount_anew(run, subject) : 0;
}

static double measure_figure(const struct work *work, enum bench_unit unit, double seconds)
{
    double steps = (double)(work->count * work->threads * work->passes);

    switch (unit) {
    case BENCH_MICROSECONDS:
        return seconds * 1e6 / steps;
    case BENCH_PER_SECOND:
        return steps / seconds;
    default:
        return steps * (double)work->size / (1 << 20) / seconds;
    }
}

/* -------------------------------------------------------------------------------------- by work */

uint64_t measure_steps(const struct run *run, enum bench_workload workload)
{
    return run->options->files *
           (plans[workload].repeated ? MEASURE_PASSES + 1 : 1); /* nothing large is counted */
}

/* Keep what a work took, of which the counts were taken twice before. What taking them takes comes off. */
static int measure_count(struct run *run, enum bench_workload workload, enum bench_subject subject,
                         const struct count since[2])
{
    struct count_each *each = &run->counts[workload][subject];
    struct run_place *place = &run->places[subject];
    struct count now;
    int rc = count_take(&place->daemon, place->mountpoint, &now);

    if (rc < 0)
        return rc;
    each->steps = (double)measure_steps(run, workload);
    each->sum.requests = now.requests - 2 * since[1].requests + since[0].requests;
    each->sum.notifications = now.notifications - 2 * since[1].notifications + since[0].notifications;
    each->sum.calls = now.calls < 0 ? -1 : now.calls - 2 * since[1].calls + since[0].calls;
    return 0;
}

static int measure_by_work(struct run *run, enum bench_workload workload, enum bench_subject subject,
                           double *figure)
{
    const struct plan *plan = &plans[workload];
    struct run_place *place = &run->places[subject];
    struct work work = measure_work(run, subject, plan->set);
    bool counts = run->counting && place_is_kvfs(subject);
    struct count since[2];
    double seconds = 0;
    int rc = 0;

    work.action = plan->action;
    work.passes = !plan->repeated ? 1 : plan->set == RUN_LARGE ? MEASURE_LARGE_PASSES : MEASURE_PASSES;
    work.warmed = plan->repeated;
    work.fsync =
        plan->fsync == FSYNC_ALWAYS || (plan->fsync == FSYNC_IF_NEEDED && !bench_has(WITHOUT_FSYNC, subject));
    if (plan->set == RUN_LISTED)
        measure_spread(run, subject, plan->action == WORK_PAGE ? MEASURE_PAGES : run->options->files, &work);
    if (plan->action == WORK_PAGE && subject != BENCH_LMDB) {
        work.on = WORK_ON_STORE;
        work.dir = place->store;
    }
    for (int i = 0; counts && i < 2 && rc == 0; i++)
        rc = count_take(&place->daemon, place->mountpoint, &since[i]);
    if (rc == 0)
        rc = work_run(&work, &seconds);
    if (rc == 0 && counts)
        rc = measure_count(run, workload, subject, since);
    if (rc < 0)
        return rc;
    place->has[plan->set] = plan->behind;
    *figure = measure_figure(&work, bench_workloads[workload].unit, seconds);
    return 0;
}

/* ------------------------------------------------------------------------------------- by a shell */

/* The listing is as long as it has to be. */
static int measure_list(struct run *run, enum bench_workload workload, enum bench_subject subject, double *figure)
{
    static const char *const none[] = {NULL};
    double bound = MEASURE_SHELL_SECONDS + MEASURE_LIST_SECONDS_A_KEY * (double)place_listed(run, subject);
    char check[96];
    double ignored;
    int rc = shell_run(plans[workload].program, none, run->places[subject].listed, -1, bound, figure);

    snprintf(check, sizeof(check), "[ $(ls -f | wc -l) -ge %lu ]", (unsigned long)place_listed(run, subject));
    if (rc == 0)
        rc = shell_run(check, none, run->places[subject].listed, -1, bound, &ignored);
    if (rc < 0)
        bench_say("%s: %s: %s", bench_name(run->results, subject), plans[workload].program, strerror(-rc));
    *figure *= 1e3;
    return rc;
}

static int measure_loop(struct run *run, enum bench_subject subject, bool put, unsigned round, double *figure)
{
    struct run_place *place = &run->places[subject];
    bool files = subject != BENCH_REDIS && subject != BENCH_SQLITE;
    char keys[24], of[24];
    const char *args[] = {keys, of, NULL};
    double seconds = 0, bound = MEASURE_SHELL_SECONDS + MEASURE_SHELL_SECONDS_A_KEY * (double)run->options->shell;
    int rc;

    snprintf(keys, sizeof(keys), "%lu", (unsigned long)run->options->shell);
    snprintf(of, sizeof(of), "%u", round);
    rc = shell_run(shell_loop(subject, put), args, files ? place->dir : place->top, place->daemon.log, bound,
                   &seconds);
    if (rc < 0 && !bench_has(BENCH_OPTIONAL, subject))
        bench_say("%s: the shell's loop: %s", bench_name(run->results, subject), strerror(-rc));
    *figure = seconds * 1e6 / (double)run->options->shell;
    if (rc == 0)
        place->shell_round = round;
    return rc;
}

/* Each round puts keys that are new. */
static int measure_shell(struct run *run, enum bench_workload workload, enum bench_subject subject, unsigned round,
                         double *figure)
{
    unsigned had = run->places[subject].shell_round;
    int rc;

    if (!plans[workload].before)
        return measure_loop(run, subject, true, round + 1, figure);
    rc = had > 0 ? 0 : measure_loop(run, subject, true, round + 1, figure);
    return rc < 0 ? rc : measure_loop(run, subject, false, had > 0 ? had : round + 1, figure);
}

/* ------------------------------------------------------------------------------- of the daemon */

static int measure_mount(struct run *run, enum bench_subject subject, double *figure)
{
    int rc = daemon_stop(&run->places[subject].daemon);

    if (rc < 0)
        return rc;
    *figure = -process_now();
    rc = place_mount(run, subject);
    *figure = (*figure + process_now()) * 1e3;
    return rc;
}

/* What a listing with attributes, and reading some, adds; without the edge cache, which has bounds of its own. */
static int measure_memory(struct run *run, enum bench_workload workload, enum bench_subject subject,
                          double *figure)
{
    struct run_place *place = &run->places[subject];
    struct work work = measure_work(run, subject, RUN_LISTED);
    uint64_t before, behind;
    struct count count;
    double ignored;
    int rc = measure_mount_anew(run, subject);

    work.action = WORK_GET;
    measure_spread(run, subject, MEASURE_READ_KEYS, &work);
    if (rc == 0)
        rc = daemon_memory(&place->daemon, &before);
    if (rc == 0)
        rc = measure_list(run, workload, subject, &ignored);
    if (rc == 0)
        rc = work_run(&work, &ignored);
    if (rc == 0)
        rc = count_take(&place->daemon, place->mountpoint, &count);
    if (rc == 0)
        rc = daemon_memory(&place->daemon, &behind);
    if (rc == 0)
        *figure = ((double)behind - (double)before - count.cache_bytes) / (double)place_listed(run, subject);
    return rc;
}

static int measure_idle(struct run *run, enum bench_subject subject, double *figure)
{
    double since = process_now(), end = since + (double)run->options->idle;
    struct daemon *daemon = &run->places[subject].daemon;
    uint64_t before, behind;
    int rc = daemon_switches(daemon, &before);

    while (rc == 0 && process_now() < end && process_interrupted() == 0)
        process_pause(end - process_now());
    if (rc == 0)
        rc = process_interrupted() != 0 ? -EINTR : daemon_switches(daemon, &behind);
    if (rc == 0)
        *figure = ((double)behind - (double)before) / (process_now() - since);
    return rc;
}

int measure(struct run *run, enum bench_workload workload, enum bench_subject subject, unsigned round)
{
    const struct plan *plan = &plans[workload];
    double figure = 0;
    int rc = 0;

    if (plan->kind == PLAN_WORK || plan->kind == PLAN_LIST)
        rc = measure_prepare(run, subject, plan);
    if (rc < 0)
        return rc;
    switch (plan->kind) {
    case PLAN_WORK:
        rc = measure_by_work(run, workload, subject, &figure);
        break;
    case PLAN_LIST:
        rc = measure_list(run, workload, subject, &figure);
        break;
    case PLAN_SHELL:
        rc = measure_shell(run, workload, subject, round, &figure);
        break;
    case PLAN_MOUNT:
        rc = measure_mount(run, subject, &figure);
        break;
    case PLAN_MEMORY:
        rc = measure_memory(run, workload, subject, &figure);
        break;
    case PLAN_IDLE:
        rc = measure_idle(run, subject, &figure);
        break;
    }
    if (rc < 0)
        return rc;
    run->results->samples[workload][subject][round] = figure;
    run->results->measured[workload] |= BENCH_BIT(subject);
    return 0;
}
