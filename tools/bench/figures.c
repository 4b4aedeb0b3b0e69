#include "tools/bench/figures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIGURES_MEMORY_KEYS 100000u /* of fewer, what each thread has for itself is more than what the keys take */

#define AT_MOST false
#define AT_LEAST true

const struct figures_bar figures_bars[] = {
    {BENCH_HOT_GET, BENCH_KVFS_FSYNC, BENCH_FLOOR, AT_MOST, 1.2},
    {BENCH_COLD_GET, BENCH_KVFS_FSYNC, BENCH_FLOOR, AT_MOST, 1.2},
    {BENCH_CREATE, BENCH_KVFS_FSYNC, BENCH_FLOOR, AT_MOST, 1.2},
    {BENCH_OVERWRITE, BENCH_KVFS_FSYNC, BENCH_FLOOR, AT_MOST, 1.2},
    {BENCH_UNLINK, BENCH_KVFS_FSYNC, BENCH_FLOOR, AT_MOST, 1.2},
    {BENCH_HOT_GET, BENCH_KVFS_RING, BENCH_KVFS_FSYNC, AT_MOST, 0.5},
    {BENCH_HOT_GET, BENCH_KVFS_RING, BENCH_FLOOR_RING, AT_MOST, 1.2},
    {BENCH_COLD_GET, BENCH_KVFS_RING, BENCH_FLOOR_RING, AT_MOST, 1.2},
    {BENCH_CREATE, BENCH_KVFS_RING, BENCH_FLOOR_RING, AT_MOST, 1.2},
    {BENCH_OVERWRITE, BENCH_KVFS_RING, BENCH_FLOOR_RING, AT_MOST, 1.2},
    {BENCH_UNLINK, BENCH_KVFS_RING, BENCH_FLOOR_RING, AT_MOST, 1.2},
    {BENCH_DURABLE_PUT, BENCH_KVFS_CLOSE, BENCH_LOCAL, AT_MOST, 0.9},
    {BENCH_WRITERS, BENCH_KVFS_CLOSE, BENCH_FLOOR, AT_LEAST, 0.8},
    {BENCH_WRITERS, BENCH_KVFS_CLOSE, BENCH_LOCAL, AT_LEAST, 2.0},
    {BENCH_HOT_GET, BENCH_KVFS_RO, BENCH_TMPFS, AT_MOST, 2.0},
    {BENCH_LIST, BENCH_KVFS_MANY, BENCH_LOCAL, AT_MOST, 1.0},
    {BENCH_LIST_LONG, BENCH_KVFS_MANY, BENCH_LOCAL, AT_MOST, 3.0},
    {BENCH_PAGE, BENCH_KVFS_MANY, BENCH_KVFS_FEW, AT_MOST, 1.5},
    {BENCH_SCALE_GET, BENCH_KVFS_MANY, BENCH_KVFS_FEW, AT_MOST, 1.5},
    {BENCH_SCALE_PUT, BENCH_KVFS_MANY, BENCH_KVFS_FEW, AT_MOST, 1.5},
    {BENCH_MOUNT, BENCH_KVFS_MANY, BENCH_KVFS_FEW, AT_MOST, 1.5},
    {BENCH_LARGE_PUT, BENCH_KVFS_CLOSE, BENCH_LOCAL, AT_LEAST, 0.8},
    {BENCH_LARGE_GET, BENCH_KVFS_FSYNC, BENCH_LOCAL, AT_LEAST, 0.8},
    {BENCH_LARGE_HOT_GET, BENCH_KVFS_FSYNC, BENCH_LOCAL, AT_LEAST, 0.8},
    {BENCH_MEMORY, BENCH_KVFS_MANY, BENCH_SUBJECTS, AT_MOST, 250.0},
    {BENCH_IDLE, BENCH_KVFS_CLOSE, BENCH_SUBJECTS, AT_MOST, 0.0},
    {BENCH_IDLE, BENCH_KVFS_FSYNC, BENCH_SUBJECTS, AT_MOST, 0.0},
    {BENCH_SHELL_PUT, BENCH_KVFS_CLOSE, BENCH_REDIS, AT_MOST, 1.0},
    {BENCH_SHELL_PUT, BENCH_KVFS_CLOSE, BENCH_SQLITE, AT_MOST, 1.0},
    {BENCH_SHELL_GET, BENCH_KVFS_CLOSE, BENCH_REDIS, AT_MOST, 1.0},
    {BENCH_SHELL_GET, BENCH_KVFS_CLOSE, BENCH_SQLITE, AT_MOST, 1.0},
};

const size_t figures_bars_count = sizeof(figures_bars) / sizeof(figures_bars[0]);

static int figures_compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

/* Sorts the values. */
static struct figures_spread figures_spread(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), figures_compare);
    return (struct figures_spread){(values[(count - 1) / 2] + values[count / 2]) / 2, values[0],
                                   values[count - 1]};
}

struct figures_spread figures_of(const struct bench_results *results, enum bench_workload workload,
                                 enum bench_subject subject)
{
    size_t count = results->options->rounds;
    double values[BENCH_ROUNDS_MAX];

    memcpy(values, results->samples[workload][subject], count * sizeof(*values));
    return figures_spread(values, count);
}

bool figures_ratio(const struct bench_results *results, enum bench_workload workload, enum bench_subject subject,
                   enum bench_subject other, struct figures_spread *out)
{
    size_t count = results->options->rounds;
    unsigned measured = results->measured[workload];
    double values[BENCH_ROUNDS_MAX];

    if (!bench_has(measured, subject) || !bench_has(measured, other))
        return false;
    for (size_t i = 0; i < count; i++) {
        values[i] = results->samples[workload][subject][i] / results->samples[workload][other][i];
        if (!isfinite(values[i]))
            return false;
    }
    *out = figures_spread(values, count);
    return true;
}

bool figures_more_is_better(enum bench_unit unit)
{
    return unit == BENCH_PER_SECOND || unit == BENCH_MIB_PER_SECOND;
}

enum bench_subject figures_best_peer(const struct bench_results *results, enum bench_workload workload)
{
    bool more = figures_more_is_better(bench_workloads[workload].unit);
    enum bench_subject best = BENCH_SUBJECTS;
    double figure = 0;

    for (unsigned subject = 0; subject < BENCH_SUBJECTS; subject++) {
        double median;

        if (!bench_has(results->measured[workload] & BENCH_PEERS, subject))
            continue;
        median = figures_of(results, workload, subject).median;
        if (best == BENCH_SUBJECTS || (more ? median > figure : median < figure)) {
            best = subject;
            figure = median;
        }
    }
    return best;
}

bool figures_of_bar(const struct bench_results *results, const struct figures_bar *bar,
                    char text[FIGURES_BAR_TEXT], struct figures_spread *out)
{
    const char *name = bench_workloads[bar->workload].name, *of = bench_name(results, bar->subject);

    if (bar->other != BENCH_SUBJECTS) {
        snprintf(text, FIGURES_BAR_TEXT, "%s: %s / %s", name, of, bench_name(results, bar->other));
        return figures_ratio(results, bar->workload, bar->subject, bar->other, out);
    }
    snprintf(text, FIGURES_BAR_TEXT, "%s: %s, %s", name, of, bench_units[bench_workloads[bar->workload].unit]);
    if (!bench_has(results->measured[bar->workload], bar->subject) ||
        (bar->workload == BENCH_MEMORY && results->options->many < FIGURES_MEMORY_KEYS))
        return false;
    *out = figures_of(results, bar->workload, bar->subject);
    return true;
}

bool figures_within(const struct figures_bar *bar, double ratio)
{
    return bar->at_least ? ratio >= bar->limit : ratio <= bar->limit;
}
