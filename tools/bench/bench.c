/* kvfs-bench: how fast kvfs is, beside the file system that its store is on, tmpfs, and an empty file system of the
 * same kind (floor.c).
 *
 * Machines differ, and one machine differs from minute to minute: a figure means nothing without its neighbours. So
 * each round does every workload on every subject, one right behind the other, in an order that changes from round to
 * round, and what counts are ratios within a round (report.c). Behind each work the disk is made idle.
 *
 * Works run in processes of their own (work.c), and file systems are daemons that this program starts (mounted.c). It
 * never touches them itself, waits for all for a bounded time only, and takes everything away at its end, also when
 * it is interrupted. */
#include "tools/bench/bench.h"

#include "tools/bench/mounted.h"
#include "tools/bench/process.h"
#include "tools/bench/report.h"
#include "tools/bench/work.h"
#include "tools/cli/cli.h"

#include <errno.h>
#include <ftw.h>
#include <libgen.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define ZFS_MAGIC 0x2fc12fc1 /* not in linux/magic.h */

#define BENCH_REAP_SECONDS 10.0
#define BENCH_PASSES 10 /* of works that are over at once */
#define BENCH_WRITERS_FILES 4

#define BIT(subject) (1u << (subject))
#define READ_SUBJECTS (BIT(BENCH_KVFS_CLOSE) | BIT(BENCH_LOCAL) | BIT(BENCH_TMPFS) | BIT(BENCH_FLOOR))
#define ALL_SUBJECTS ((1u << BENCH_SUBJECTS) - 1)

const struct bench_workload_info bench_workloads[BENCH_WORKLOADS] = {
    [BENCH_CREATE] = {"create", BENCH_MICROSECONDS, ALL_SUBJECTS},
    [BENCH_OVERWRITE] = {"overwrite", BENCH_MICROSECONDS, ALL_SUBJECTS},
    [BENCH_COLD_GET] = {"cold-get", BENCH_MICROSECONDS, READ_SUBJECTS},
    [BENCH_HOT_GET] = {"hot-get", BENCH_MICROSECONDS, READ_SUBJECTS},
    [BENCH_STAT] = {"stat", BENCH_MICROSECONDS, READ_SUBJECTS},
    [BENCH_UNLINK] = {"unlink", BENCH_MICROSECONDS, ALL_SUBJECTS},
    [BENCH_WRITERS] = {"writers", BENCH_PER_SECOND,
                       BIT(BENCH_KVFS_CLOSE) | BIT(BENCH_LOCAL_FSYNC) | BIT(BENCH_FLOOR)},
    [BENCH_LARGE_PUT] = {"large-put", BENCH_MIB_PER_SECOND, ALL_SUBJECTS},
    [BENCH_LARGE_GET] = {"large-get", BENCH_MIB_PER_SECOND, READ_SUBJECTS},
};

enum bench_set { BENCH_SMALL, BENCH_LARGE, BENCH_MANY, BENCH_SETS };

static const char *const bench_prefixes[BENCH_SETS] = {"key_", "large_", "many_"};

/* What is done, to which files, which are there before and behind it. */
static const struct bench_plan {
    enum work_action action;
    enum bench_set set;
    bool before, behind;
    bool cold, repeated;
} bench_plans[BENCH_WORKLOADS] = {
    [BENCH_CREATE] = {WORK_PUT, BENCH_SMALL, false, true, false, false},
    [BENCH_OVERWRITE] = {WORK_PUT, BENCH_SMALL, true, true, false, false},
    [BENCH_COLD_GET] = {WORK_GET, BENCH_SMALL, true, true, true, false},
    [BENCH_HOT_GET] = {WORK_GET, BENCH_SMALL, true, true, false, true},
    [BENCH_STAT] = {WORK_STAT, BENCH_SMALL, true, true, false, true},
    [BENCH_UNLINK] = {WORK_UNLINK, BENCH_SMALL, true, false, false, false},
    [BENCH_WRITERS] = {WORK_PUT, BENCH_MANY, false, true, false, false},
    [BENCH_LARGE_PUT] = {WORK_PUT, BENCH_LARGE, false, true, false, false},
    [BENCH_LARGE_GET] = {WORK_GET, BENCH_LARGE, true, true, true, false},
};

struct bench_place {
    char top[PATH_MAX]; /* of all that belongs to it */
    char dir[PATH_MAX]; /* of its files */
    char mountpoint[PATH_MAX], store[PATH_MAX];
    struct mounted mounted;
    bool has[BENCH_SETS];
};

struct bench {
    const struct bench_options *options;
    struct bench_results *results;
    unsigned subjects;   /* that are used */
    char here[PATH_MAX]; /* the directory of this program */
    char kvfs[PATH_MAX], floor[PATH_MAX];
    char top[PATH_MAX], tmpfs_top[PATH_MAX]; /* empty: not made */
    struct bench_place places[BENCH_SUBJECTS];
};

void bench_say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    cli_say("kvfs-bench", format, args);
    va_end(args);
}

/* Join two paths. returns false, and said why, where the result is too long */
static bool bench_path(char out[PATH_MAX], const char *dir, const char *name)
{
    if (snprintf(out, PATH_MAX, "%s/%s", dir, name) < PATH_MAX)
        return true;
    bench_say("%s: %s", dir, strerror(ENAMETOOLONG));
    return false;
}

static const char *bench_name(const struct bench *bench, enum bench_subject subject, char name[BENCH_NAME_MAX])
{
    return bench_subject_name(bench->results->local, subject, name);
}

/* ------------------------------------------------------------------------------ work and mounts */

static bool bench_is_kvfs(enum bench_subject subject)
{
    return subject == BENCH_KVFS_CLOSE || subject == BENCH_KVFS_FSYNC;
}

static bool bench_is_mounted(enum bench_subject subject)
{
    return bench_is_kvfs(subject) || subject == BENCH_FLOOR;
}

static struct work bench_work(const struct bench *bench, enum bench_subject subject, enum bench_set set,
                              enum work_action action)
{
    const struct bench_options *options = bench->options;
    struct work work = {.dir = bench->places[subject].dir,
                        .local = bench->top,
                        .prefix = bench_prefixes[set],
                        .action = action,
                        .count = options->files,
                        .threads = 1,
                        .size = options->size,
                        .passes = 1};

    if (set == BENCH_LARGE) {
        work.count = options->large_files;
        work.size = options->large_size;
    } else if (set == BENCH_MANY) {
        work.threads = options->writers;
        work.count = (BENCH_WRITERS_FILES * options->files + work.threads - 1) / work.threads;
    }
    return work;
}

static int bench_do(const struct bench *bench, enum bench_subject subject, struct work *work, double *seconds)
{
    char name[BENCH_NAME_MAX];

    work->subject = bench_name(bench, subject, name);
    return work_run(work, seconds);
}

static int bench_mount_kvfs(struct bench *bench, enum bench_subject subject)
{
    char *durability =
        subject == BENCH_KVFS_CLOSE ? "durability=close,log_level=warning" : "durability=fsync,log_level=warning";
    struct bench_place *place = &bench->places[subject];
    char *const argv[] = {bench->kvfs, place->store, place->mountpoint, "-f", "-o", durability, NULL};
    struct work work = bench_work(bench, subject, BENCH_SMALL, WORK_MAKE_DIR);
    double seconds;
    int rc = mounted_start(&place->mounted, argv);

    return rc < 0 ? rc : bench_do(bench, subject, &work, &seconds);
}

/* Its files are as they were put: it is born with them. */
static int bench_mount_floor(struct bench *bench)
{
    struct bench_place *place = &bench->places[BENCH_FLOOR];
    char numbers[BENCH_SETS][2][24];
    char *argv[3 + 3 * BENCH_SETS] = {bench->floor, place->mountpoint};

    for (unsigned set = 0; set < BENCH_SETS; set++) {
        struct work work = bench_work(bench, BENCH_FLOOR, set, WORK_PUT);

        snprintf(numbers[set][0], sizeof(numbers[set][0]), "%lu",
                 place->has[set] ? (unsigned long)(work.count * work.threads) : 0ul);
        snprintf(numbers[set][1], sizeof(numbers[set][1]), "%lu", (unsigned long)work.size);
        argv[2 + 3 * set] = (char *)work.prefix;
        argv[3 + 3 * set] = numbers[set][0];
        argv[4 + 3 * set] = numbers[set][1];
    }
    return mounted_start(&place->mounted, argv);
}

static int bench_mount(struct bench *bench, enum bench_subject subject)
{
    return bench_is_kvfs(subject) ? bench_mount_kvfs(bench, subject) : bench_mount_floor(bench);
}

/* ----------------------------------------------------------------------------------- measuring */

static int bench_prepare(struct bench *bench, enum bench_subject subject, const struct bench_plan *plan)
{
    struct bench_place *place = &bench->places[subject];
    struct work work = bench_work(bench, subject, plan->set, plan->before ? WORK_PUT : WORK_UNLINK);
    double seconds;
    int rc = 0;

    if (place->has[plan->set] != plan->before)
        rc = bench_do(bench, subject, &work, &seconds);
    if (rc < 0)
        return rc;
    place->has[plan->set] = plan->before;
    if (plan->cold && bench_is_mounted(subject)) {
        rc = mounted_stop(&place->mounted);
        if (rc == 0)
            rc = bench_mount(bench, subject);
    }
    return rc;
}

static double bench_figure(const struct work *work, enum bench_unit unit, double seconds)
{
    double steps = (double)(work->count * work->threads * work->passes);

    switch (unit) {
    case BENCH_MICROSECONDS:
        return seconds * 1e6 / steps;
    case BENCH_PER_SECOND:
        return steps / seconds;
    case BENCH_MIB_PER_SECOND:
        break;
    }
    return steps * (double)work->size / (1 << 20) / seconds;
}

static int bench_measure(struct bench *bench, enum bench_workload workload, enum bench_subject subject,
                         unsigned round)
{
    const struct bench_plan *plan = &bench_plans[workload];
    struct work work = bench_work(bench, subject, plan->set, plan->action);
    double seconds = 0;
    int rc = bench_prepare(bench, subject, plan);

    work.passes = plan->repeated ? BENCH_PASSES : 1;
    work.warmed = plan->repeated;
    work.fsync = subject == BENCH_LOCAL_FSYNC;
    if (rc == 0)
        rc = bench_do(bench, subject, &work, &seconds);
    if (rc < 0)
        return rc;
    bench->places[subject].has[plan->set] = plan->behind;
    bench->results->samples[workload][subject][round] =
        bench_figure(&work, bench_workloads[workload].unit, seconds);
    bench->results->measured[workload] |= BIT(subject);
    return 0;
}

static void bench_progress(const struct bench *bench, enum bench_workload workload, enum bench_subject subject,
                           unsigned round)
{
    char name[BENCH_NAME_MAX];

    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[Kround %u of %lu: %s, %s", round + 1, (unsigned long)bench->options->rounds,
                bench_workloads[workload].name, bench_name(bench, subject, name));
}

/* Nobody always follows the same one: the order is turned on by one each round, and every second round goes
 * backwards. */
static int bench_measure_all_of(struct bench *bench, enum bench_workload workload, unsigned round)
{
    for (unsigned i = 0; i < BENCH_SUBJECTS; i++) {
        enum bench_subject subject = (round + (round % 2 == 0 ? i : BENCH_SUBJECTS - 1 - i)) % BENCH_SUBJECTS;
        int rc;

        if (!bench_has(bench->subjects & bench_workloads[workload].subjects, subject))
            continue;
        bench_progress(bench, workload, subject, round);
        rc = bench_measure(bench, workload, subject, round);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int bench_measure_all(struct bench *bench)
{
    int rc = 0;

    for (unsigned round = 0; round < bench->options->rounds && rc == 0; round++)
        for (unsigned workload = 0; workload < BENCH_WORKLOADS && rc == 0; workload++)
            if (bench->options->only >> workload & 1)
                rc = bench_measure_all_of(bench, workload, round);
    return rc;
}

/* ----------------------------------------------------------------------------- setting up, and down */

static const char *bench_type(const char *dir)
{
    struct statfs st;

    if (statfs(dir, &st) < 0)
        return "local";
    switch (st.f_type) {
    case EXT4_SUPER_MAGIC:
        return "ext4";
    case BTRFS_SUPER_MAGIC:
        return "btrfs";
    case TMPFS_MAGIC:
        return "tmpfs";
    case XFS_SUPER_MAGIC:
        return "xfs";
    case ZFS_MAGIC:
        return "zfs";
    default:
        return "local";
    }
}

/* A new directory in `in`, by its full path. Empty where it failed, and said why. */
static bool bench_make_top(char top[PATH_MAX], const char *in)
{
    char path[PATH_MAX];

    if (!bench_path(path, in, "kvfs-bench.XXXXXX"))
        return false;
    if (mkdtemp(path) != NULL && realpath(path, top) != NULL)
        return true;
    bench_say("%s: no directory can be made there: %s", in, strerror(errno));
    top[0] = '\0';
    return false;
}

static bool bench_make_dir(const char *path)
{
    if (mkdir(path, 0700) == 0)
        return true;
    bench_say("%s: %s", path, strerror(errno));
    return false;
}

/* Directories of a subject, and its mount. */
static int bench_start_one(struct bench *bench, enum bench_subject subject)
{
    static const char *const names[BENCH_SUBJECTS] = {"kvfs_close", "kvfs_fsync", "local_fsync",
                                                      "local",      "tmpfs",      "floor"};
    struct bench_place *place = &bench->places[subject];
    const char *top = subject == BENCH_TMPFS ? bench->tmpfs_top : bench->top;

    if (!bench_path(place->top, top, names[subject]) || !bench_path(place->mountpoint, place->top, "mnt") ||
        !bench_path(place->store, place->top, "store") ||
        !bench_path(place->dir, bench_is_mounted(subject) ? place->mountpoint : place->top,
                    bench_is_kvfs(subject) ? "bench/bench" : ".") ||
        !bench_make_dir(place->top))
        return -EIO;
    if (!bench_is_mounted(subject))
        return 0;
    if (!bench_make_dir(place->mountpoint))
        return -EIO;
    place->mounted.path = place->mountpoint;
    return bench_mount(bench, subject);
}

static bool bench_find_programs(struct bench *bench)
{
    ssize_t size = readlink("/proc/self/exe", bench->here, sizeof(bench->here) - 1);

    if (size < 0) {
        bench_say("/proc/self/exe: %s", strerror(errno));
        return false;
    }
    dirname(bench->here);
    if (!bench_path(bench->floor, bench->here, "kvfs-bench-floor"))
        return false;
    if (bench->options->kvfs != NULL)
        snprintf(bench->kvfs, sizeof(bench->kvfs), "%s", bench->options->kvfs);
    else if (!bench_path(bench->kvfs, bench->here, "../fs/kvfs"))
        return false;
    return true;
}

static int bench_start(struct bench *bench)
{
    int rc = 0;

    for (unsigned i = 0; i < BENCH_WORKLOADS; i++)
        if (bench->options->only >> i & 1)
            bench->subjects |= bench_workloads[i].subjects;
    bench->results->local = bench_type(bench->options->dir);
    if (strcmp(bench->results->local, "tmpfs") == 0 || strcmp(bench_type(bench->options->tmpfs), "tmpfs") != 0)
        bench->subjects &= ~BIT(BENCH_TMPFS);
    if (!bench_find_programs(bench) || !bench_make_top(bench->top, bench->options->dir) ||
        (bench_has(bench->subjects, BENCH_TMPFS) && !bench_make_top(bench->tmpfs_top, bench->options->tmpfs)))
        return -EIO;
    for (unsigned subject = 0; subject < BENCH_SUBJECTS && rc == 0; subject++)
        if (bench_has(bench->subjects, subject))
            rc = bench_start_one(bench, subject);
    return rc;
}

static int bench_remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st, (void)type, (void)where;
    return remove(path);
}

/* Never what is in a file system that is still mounted there. */
static bool bench_remove(const char *top)
{
    if (top[0] == '\0' || nftw(top, bench_remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == 0)
        return true;
    bench_say("%s: cannot be removed: %s", top, strerror(errno));
    return false;
}

static int bench_stop(struct bench *bench)
{
    int rc = 0;

    for (unsigned subject = 0; subject < BENCH_SUBJECTS; subject++) {
        struct mounted *mounted = &bench->places[subject].mounted;

        if (mounted->path != NULL && mounted_stop(mounted) < 0)
            rc = -EIO;
    }
    process_reap(BENCH_REAP_SECONDS);
    if (!bench_remove(bench->top) || !bench_remove(bench->tmpfs_top))
        rc = -EIO;
    return rc;
}

static bool bench_report(const struct bench_results *results)
{
    bool done = report_print(results);

    if (results->options->json != NULL && !report_write_json(results, results->options->json))
        done = false;
    return done;
}

int main(int argc, char **argv)
{
    static struct bench_results results;
    static struct bench bench;
    struct bench_options options;
    int status, rc;

    if (!bench_options_parse(argc, argv, &options, &status))
        return status;
    results.options = bench.options = &options;
    bench.results = &results;
    process_start();
    rc = bench_start(&bench);
    if (rc == 0)
        rc = bench_measure_all(&bench);
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K");
    if (process_interrupted() != 0)
        bench_say("interrupted");
    status = bench_stop(&bench) < 0 || rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    return rc == 0 && !bench_report(&results) ? EXIT_FAILURE : status;
}
