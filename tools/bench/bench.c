/* kvfs-bench: how fast kvfs is, beside the file system that its store is on, tmpfs, an empty file system of the same
 * kind (floor.c), and what else does the same job and is installed. README.md says how to read it.
 *
 * Machines differ, and one machine differs from minute to minute: a figure means nothing without its neighbours. So
 * each round does every workload on every subject, one right behind the other, in an order that changes from round to
 * round, and what counts are ratios within a round (figures.c). Behind each work the disk is made idle.
 *
 * Works run in processes of their own (work.c, shell.c), and file systems and servers are daemons that this program
 * starts (daemon.c, place.c). It never touches them itself, waits for all for a bounded time only, and takes everything
 * away at its end, also when it is interrupted. */
#include "tools/bench/bench.h"

#include "tools/bench/ci.h"
#include "tools/bench/process.h"
#include "tools/bench/report.h"
#include "tools/bench/run.h"
#include "tools/cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *const bench_units[BENCH_UNITS] = {
    [BENCH_MICROSECONDS] = "us",      [BENCH_MILLISECONDS] = "ms",   [BENCH_PER_SECOND] = "1/s",
    [BENCH_MIB_PER_SECOND] = "MiB/s", [BENCH_BYTES_A_KEY] = "B/key", [BENCH_WAKE_UPS] = "wakes/s"};

const char *const bench_subjects[BENCH_SUBJECTS] = {[BENCH_KVFS_CLOSE] = "kvfs-close",
                                                    [BENCH_KVFS_FSYNC] = "kvfs-fsync",
                                                    [BENCH_KVFS_RING] = "kvfs-ring",
                                                    [BENCH_KVFS_RO] = "kvfs-ro",
                                                    [BENCH_KVFS_FEW] = "kvfs-few",
                                                    [BENCH_KVFS_MANY] = "kvfs-many",
                                                    [BENCH_FLOOR] = "floor",
                                                    [BENCH_FLOOR_RING] = "floor-ring",
                                                    [BENCH_PASSTHROUGH] = "passthrough",
                                                    [BENCH_BINDFS] = "bindfs",
                                                    [BENCH_RCLONE] = "rclone",
                                                    [BENCH_LOCAL] = "local",
                                                    [BENCH_TMPFS] = "tmpfs",
                                                    [BENCH_LMDB] = "lmdb",
                                                    [BENCH_REDIS] = "redis",
                                                    [BENCH_SQLITE] = "sqlite"};

const char *bench_name(const struct bench_results *results, enum bench_subject subject)
{
    return subject == BENCH_LOCAL ? results->facts.type : bench_subjects[subject];
}

void bench_say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    cli_say("kvfs-bench", format, args);
    va_end(args);
}

static void bench_progress(const struct run *run, const char *workload, const char *subject, unsigned round)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[Kround %u of %lu: %s, %s", round + 1, (unsigned long)run->options->rounds,
                workload, subject);
}

static void bench_no_progress(void)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K");
}

/* Nobody always follows the same one: the order is turned on by one each round, and every second round goes
 * backwards. */
static int bench_measure_all_of(struct run *run, enum bench_workload workload, unsigned round)
{
    for (unsigned i = 0; i < BENCH_SUBJECTS; i++) {
        enum bench_subject subject = (round + (round % 2 == 0 ? i : BENCH_SUBJECTS - 1 - i)) % BENCH_SUBJECTS;
        int rc;

        if (!bench_has(run->subjects & bench_workloads[workload].subjects, subject))
            continue;
        bench_progress(run, bench_workloads[workload].name, bench_name(run->results, subject), round);
        rc = measure(run, workload, subject, round);
        if (rc < 0)
            rc = place_leave_out(run, subject, rc);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Measure these workloads, a bit for each. */
static int bench_measure_all(struct run *run, unsigned workloads)
{
    int rc = 0;

    for (unsigned round = 0; round < run->options->rounds && rc == 0; round++) {
        for (unsigned workload = 0; workload < BENCH_WORKLOADS && rc == 0; workload++)
            if (workloads >> workload & 1)
                rc = bench_measure_all_of(run, workload, round);
        run->counting = false; /* counts are the same in each round */
    }
    bench_no_progress();
    return rc;
}

static int bench_report(const struct bench_results *results)
{
    bool done = report_print(results);

    if (results->options->json != NULL && !report_write_json(results, results->options->json))
        done = false;
    if (results->options->plot != NULL && !report_write_plot(results, results->options->plot))
        done = false;
    return done ? 0 : -EIO;
}

int main(int argc, char **argv)
{
    static struct bench_results results;
    static struct bench_options options;
    static struct run run = {.options = &options, .results = &results};
    int status, rc;

    if (!bench_options_parse(argc, argv, &options, &status))
        return status;
    if (options.mode != BENCH_TABLE)
        ci_choose(&options);
    results.options = &options;
    run.counting = options.mode != BENCH_TABLE;
    bench_facts(options.dir, &results.facts);
    process_start();
    bench_progress(&run, "starting", "all", 0);
    rc = place_start_all(&run);
    if (rc == 0)
        rc = bench_measure_all(&run, options.only);
    if (rc == 0 && options.mode != BENCH_TABLE)
        rc = ci_judge(&run, bench_measure_all);
    bench_no_progress();
    if (process_interrupted() != 0)
        bench_say("interrupted");
    if (place_stop_all(&run) < 0 && rc == 0)
        rc = -EIO;
    if (rc == 0 && options.mode == BENCH_TABLE)
        rc = bench_report(&results);
    return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
