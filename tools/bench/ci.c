#include "tools/bench/ci.h"

#include "tools/bench/figures.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CI_ROUNDS 7u
#define CI_FILES 200u
#define CI_RATIO_LIMIT 1.5
#define CI_COUNT_SLACK 0.15 /* for each step: what is looked up once, and comes when it likes */
#define CI_CALLS_LIMIT 1.05 /* how many changes share a commit differs a little */

#define CI_BIT(workload) (1u << BENCH_##workload)
#define CI_COUNTED                                                                                             \
    (CI_BIT(CREATE) | CI_BIT(OVERWRITE) | CI_BIT(COLD_GET) | CI_BIT(HOT_GET) | CI_BIT(STAT) | CI_BIT(UNLINK) | \
     CI_BIT(DURABLE_PUT) | CI_BIT(CREATE_FSYNC))
/* Of one daemon to another: no disk is waited for. */
#define CI_TIMED (CI_BIT(CREATE) | CI_BIT(OVERWRITE) | CI_BIT(COLD_GET) | CI_BIT(HOT_GET) | CI_BIT(UNLINK))
#define CI_KVFS (BENCH_BIT(BENCH_KVFS_CLOSE) | BENCH_BIT(BENCH_KVFS_FSYNC))

/* Of each step, or NAN where it is not known. */
struct ci_line {
    double requests, notifications, calls, ratio;
};

struct ci {
    struct ci_line lines[BENCH_WORKLOADS][BENCH_SUBJECTS];
    bool has[BENCH_WORKLOADS][BENCH_SUBJECTS];
    int major, minor; /* the kernel's */
};

void ci_choose(struct bench_options *options)
{
    bool timed = options->mode != BENCH_COUNTS;

    options->rounds = timed ? CI_ROUNDS : 1;
    options->files = CI_FILES;
    options->only = timed ? CI_COUNTED | CI_TIMED : CI_COUNTED;
    options->of = timed ? CI_KVFS | BENCH_BIT(BENCH_FLOOR) : CI_KVFS;
}

/* --------------------------------------------------------------------------------------- now */

/* The smaller one of the median of ratios, and the ratio of the best rounds: what else runs on the machine spoils each
 * of them, but seldom both. */
static double ci_ratio(const struct run *run, enum bench_workload workload, enum bench_subject subject)
{
    const struct bench_results *results = run->results;
    struct figures_spread ratio;
    double best;

    if (subject != BENCH_KVFS_FSYNC || !(CI_TIMED >> workload & 1) ||
        !figures_ratio(results, workload, subject, BENCH_FLOOR, &ratio))
        return NAN;
    best = figures_of(results, workload, subject).least / figures_of(results, workload, BENCH_FLOOR).least;
    return best < ratio.median ? best : ratio.median;
}

static struct ci ci_now(const struct run *run)
{
    struct ci now = {.major = 0};

    if (sscanf(run->results->facts.kernel, "%d.%d", &now.major, &now.minor) != 2)
        now.major = now.minor = 0;
    for (unsigned workload = 0; workload < BENCH_WORKLOADS; workload++)
        for (unsigned subject = 0; subject < BENCH_SUBJECTS; subject++) {
            const struct count_each *each = &run->counts[workload][subject];

            now.has[workload][subject] = each->steps > 0;
            if (each->steps > 0)
                now.lines[workload][subject] = (struct ci_line){
                    each->sum.requests / each->steps, each->sum.notifications / each->steps,
                    each->sum.calls < 0 ? NAN : each->sum.calls / each->steps, ci_ratio(run, workload, subject)};
        }
    return now;
}

/* ---------------------------------------------------------------------------------- recorded */

static int ci_find(const char *const *names, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

/* returns  false where it is no line as ci_record() writes them */
static bool ci_read_line(const char *line, struct ci *out)
{
    const char *workloads[BENCH_WORKLOADS];
    char workload[32], subject[32];
    struct ci_line read;
    int i, j;

    if (line[0] == '#' || line[0] == '\n')
        return true;
    if (sscanf(line, "kernel %d.%d", &out->major, &out->minor) == 2)
        return true;
    if (sscanf(line, "%31s %31s %lf %lf %lf %lf", workload, subject, &read.requests, &read.notifications,
               &read.calls, &read.ratio) != 6)
        return false;
    for (i = 0; i < BENCH_WORKLOADS; i++)
        workloads[i] = bench_workloads[i].name;
    i = ci_find(workloads, BENCH_WORKLOADS, workload);
    j = ci_find(bench_subjects, BENCH_SUBJECTS, subject);
    if (i < 0 || j < 0)
        return false;
    out->lines[i][j] = read;
    out->has[i][j] = true;
    return true;
}

static int ci_read(const char *path, struct ci *out)
{
    FILE *file = fopen(path, "re");
    char line[256];
    int number = 0, rc = 0;

    *out = (struct ci){.major = 0};
    if (file == NULL) {
        rc = -errno;
        bench_say("%s: %s", path, strerror(-rc));
        return rc;
    }
    while (rc == 0 && fgets(line, sizeof(line), file) != NULL) {
        number++;
        if (!ci_read_line(line, out)) {
            bench_say("%s: line %d is none that --record writes", path, number);
            rc = -EINVAL;
        }
    }
    fclose(file);
    return rc;
}

static int ci_record(const char *path, const struct ci *now)
{
    FILE *file = fopen(path, "we");
    int rc = file == NULL ? -errno : 0;

    if (rc == 0) {
        fprintf(file,
                "# What `kvfs-bench --record` found: of each operation the requests that somebody waits for, the\n"
                "# notifications, the daemon's system calls that read or write, and the ratio to the floor.\n"
                "kernel %d.%d\n",
                now->major, now->minor);
        for (unsigned workload = 0; workload < BENCH_WORKLOADS; workload++)
            for (unsigned subject = 0; subject < BENCH_SUBJECTS; subject++) {
                const struct ci_line *line = &now->lines[workload][subject];

                if (now->has[workload][subject])
                    fprintf(file, "%-12s  %-10s  %5.2f  %5.2f  %6.2f  %5.2f\n", bench_workloads[workload].name,
                            bench_subjects[subject], line->requests, line->notifications, line->calls,
                            line->ratio);
            }
        if (ferror(file) || fclose(file) != 0)
            rc = -EIO;
    }
    if (rc < 0)
        bench_say("%s: %s", path, strerror(-rc));
    return rc;
}

/* ---------------------------------------------------------------------------------- comparing */

/* One figure beside what is recorded. (Less can be recorded anew.) returns whether it is too much */
static bool ci_over(const char *what, double now, double recorded, double limit)
{
    bool over = now > limit; /* never of what is no number */

    printf("  %s %.2f (%.2f)%s", what, now, recorded,
           over                              ? " MORE"
           : now + CI_COUNT_SLACK < recorded ? " less"
                                             : "");
    return over;
}

/* Counts depend on what the kernel asks for: an older one asks more. */
static bool ci_counts_compare(const struct ci *now, const struct ci *recorded)
{
    return now->major > recorded->major || (now->major == recorded->major && now->minor >= recorded->minor);
}

/* returns  whether a count has grown */
static bool ci_compare_counts(const struct ci *now, const struct ci *recorded)
{
    bool over = false;

    if (!ci_counts_compare(now, recorded)) {
        printf("recorded with Linux %d.%d, and this one is older: counts are not compared\n", recorded->major,
               recorded->minor);
        return false;
    }
    printf("of each operation, in brackets as recorded:\n");
    for (unsigned workload = 0; workload < BENCH_WORKLOADS; workload++)
        for (unsigned subject = 0; subject < BENCH_SUBJECTS; subject++) {
            const struct ci_line *is = &now->lines[workload][subject], *was = &recorded->lines[workload][subject];

            if (!now->has[workload][subject] || !recorded->has[workload][subject])
                continue;
            printf("%-12s  %-10s", bench_workloads[workload].name, bench_subjects[subject]);
            over |= ci_over("requests", is->requests, was->requests, was->requests + CI_COUNT_SLACK);
            over |= ci_over("notifications", is->notifications, was->notifications,
                            was->notifications + CI_COUNT_SLACK);
            over |= ci_over("calls", is->calls, was->calls, was->calls * CI_CALLS_LIMIT + CI_COUNT_SLACK);
            printf("\n");
        }
    return over;
}

/* returns  workloads, a bit for each, of which the ratio is too large */
static unsigned ci_compare_ratios(const struct ci *now, const struct ci *recorded, unsigned workloads)
{
    unsigned over = 0;

    for (unsigned workload = 0; workload < BENCH_WORKLOADS; workload++) {
        const struct ci_line *is = &now->lines[workload][BENCH_KVFS_FSYNC];
        const struct ci_line *was = &recorded->lines[workload][BENCH_KVFS_FSYNC];

        if (!(workloads >> workload & 1) || isnan(is->ratio) || !recorded->has[workload][BENCH_KVFS_FSYNC] ||
            isnan(was->ratio))
            continue;
        printf("%-12s  %-10s", bench_workloads[workload].name, bench_subjects[BENCH_KVFS_FSYNC]);
        if (ci_over("ratio to the floor", is->ratio, was->ratio, was->ratio * CI_RATIO_LIMIT))
            over |= 1u << workload;
        printf("\n");
    }
    return over;
}

int ci_judge(struct run *run, int (*again)(struct run *run, unsigned workloads))
{
    const struct bench_options *options = run->options;
    struct ci now = ci_now(run), recorded;
    unsigned slow;
    bool more;
    int rc;

    if (options->mode == BENCH_RECORD)
        return ci_record(options->recorded, &now);
    rc = ci_read(options->recorded, &recorded);
    if (rc < 0)
        return rc;
    more = ci_compare_counts(&now, &recorded);
    slow = options->mode == BENCH_CI ? ci_compare_ratios(&now, &recorded, CI_TIMED) : 0;
    if (slow != 0) {
        printf("once more:\n");
        rc = again(run, slow);
        if (rc < 0)
            return rc;
        now = ci_now(run);
        slow = ci_compare_ratios(&now, &recorded, slow);
    }
    return more || slow != 0 ? -EDOM : 0;
}
