#include "tools/bench/report.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

struct report_spread {
    double median, least, most;
};

/* What kvfs is to reach: the figure of one subject in relation to others, of the same round. */
static const struct report_bar {
    const char *text;
    enum bench_workload workload;
    enum bench_subject subject, other;
    bool plus_floor; /* the other's figure and the floor's */
    bool at_least;
    double bar;
} report_bars[] = {
    {"kvfs close create / local create+write+fsync+close", BENCH_CREATE, BENCH_KVFS_CLOSE, BENCH_LOCAL_FSYNC,
     false, false, 0.9},
    {"kvfs close writers / local writers with fsync", BENCH_WRITERS, BENCH_KVFS_CLOSE, BENCH_LOCAL_FSYNC, false,
     true, 1.5},
    {"kvfs fsync create / (local create + floor create)", BENCH_CREATE, BENCH_KVFS_FSYNC, BENCH_LOCAL, true, false,
     1.3},
    {"kvfs close large-put / local large-put with fsync", BENCH_LARGE_PUT, BENCH_KVFS_CLOSE, BENCH_LOCAL_FSYNC,
     false, true, 0.8},
};

#define REPORT_BARS (sizeof(report_bars) / sizeof(report_bars[0]))

static const char *const report_units[] = {
    [BENCH_MICROSECONDS] = "us", [BENCH_PER_SECOND] = "1/s", [BENCH_MIB_PER_SECOND] = "MiB/s"};

static const char *const report_subjects[BENCH_SUBJECTS] = {[BENCH_KVFS_CLOSE] = "kvfs close",
                                                            [BENCH_KVFS_FSYNC] = "kvfs fsync",
                                                            [BENCH_TMPFS] = "tmpfs",
                                                            [BENCH_FLOOR] = "floor"};

const char *bench_subject_name(const char *local, enum bench_subject subject, char name[BENCH_NAME_MAX])
{
    if (report_subjects[subject] != NULL)
        return report_subjects[subject];
    snprintf(name, BENCH_NAME_MAX, "%s%s", local, subject == BENCH_LOCAL_FSYNC ? " fsync" : "");
    return name;
}

static int report_compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

/* Sorts the values. */
static struct report_spread report_spread(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), report_compare);
    return (struct report_spread){(values[(count - 1) / 2] + values[count / 2]) / 2, values[0], values[count - 1]};
}

static double report_over(const struct bench_results *results, const struct report_bar *ratio, size_t round)
{
    double over = results->samples[ratio->workload][ratio->other][round];

    return ratio->plus_floor ? over + results->samples[ratio->workload][BENCH_FLOOR][round] : over;
}

/* The speed of a machine changes from round to round, so figures of one round are compared with each other.
 * returns  false where a figure is missing */
static bool report_ratio(const struct bench_results *results, const struct report_bar *ratio,
                         struct report_spread *out)
{
    size_t count = results->options->rounds;
    unsigned measured = results->measured[ratio->workload];
    double values[BENCH_ROUNDS_MAX];

    if (!bench_has(measured, ratio->subject) || !bench_has(measured, ratio->other) ||
        (ratio->plus_floor && !bench_has(measured, BENCH_FLOOR)))
        return false;
    for (size_t i = 0; i < count; i++)
        values[i] = results->samples[ratio->workload][ratio->subject][i] / report_over(results, ratio, i);
    *out = report_spread(values, count);
    return true;
}

/* What a row is set against: the local file system, with fsync where the row is durable and there is such a row. */
static enum bench_subject report_local_of(const struct bench_results *results, enum bench_workload workload,
                                          enum bench_subject subject)
{
    bool durable = subject == BENCH_KVFS_CLOSE || subject == BENCH_LOCAL_FSYNC;
    enum bench_subject wanted = durable ? BENCH_LOCAL_FSYNC : BENCH_LOCAL;

    if (bench_has(results->measured[workload], wanted))
        return wanted;
    return durable ? BENCH_LOCAL : BENCH_LOCAL_FSYNC;
}

struct report_row {
    struct report_spread spread;
    double to_floor, to_local; /* NAN: not measured */
};

static struct report_row report_row(const struct bench_results *results, enum bench_workload workload,
                                    enum bench_subject subject)
{
    struct report_bar ratio = {.workload = workload, .subject = subject, .other = BENCH_FLOOR};
    struct report_row row = {.to_floor = NAN, .to_local = NAN};
    size_t count = results->options->rounds;
    double values[BENCH_ROUNDS_MAX];
    struct report_spread spread;

    memcpy(values, results->samples[workload][subject], count * sizeof(*values));
    row.spread = report_spread(values, count);
    if (report_ratio(results, &ratio, &spread))
        row.to_floor = spread.median;
    ratio.other = report_local_of(results, workload, subject);
    if (report_ratio(results, &ratio, &spread))
        row.to_local = spread.median;
    return row;
}

static void report_print_head(const struct bench_results *results)
{
    const struct bench_options *options = results->options;
    char to_local[BENCH_NAME_MAX];
    struct utsname system;

    uname(&system);
    snprintf(to_local, sizeof(to_local), "/%s", results->local);
    printf("%lu rounds; %lu files of %lu bytes, %lu of %lu, %lu writers; %s, Linux %s, %ld CPUs\n\n",
           (unsigned long)options->rounds, (unsigned long)options->files, (unsigned long)options->size,
           (unsigned long)options->large_files, (unsigned long)options->large_size,
           (unsigned long)options->writers, results->local, system.release, sysconf(_SC_NPROCESSORS_ONLN));
    printf("%-10s  %-5s  %-12s  %9s  %9s .. %-9s  %8s  %8s\n", "workload", "unit", "of", "median", "least", "most",
           "/floor", to_local);
}

static void report_print_row(const struct bench_results *results, enum bench_workload workload,
                             enum bench_subject subject)
{
    struct report_row row = report_row(results, workload, subject);
    char name[BENCH_NAME_MAX];

    printf("%-10s  %-5s  %-12s  %9.1f  %9.1f .. %-9.1f  %8.2f  %8.2f\n", bench_workloads[workload].name,
           report_units[bench_workloads[workload].unit], bench_subject_name(results->local, subject, name),
           row.spread.median, row.spread.least, row.spread.most, row.to_floor, row.to_local);
}

static bool report_within(const struct report_bar *bar, double ratio)
{
    return bar->at_least ? ratio >= bar->bar : ratio <= bar->bar;
}

static void report_print_bars(const struct bench_results *results)
{
    bool headed = false;

    for (size_t i = 0; i < REPORT_BARS; i++) {
        const struct report_bar *bar = &report_bars[i];
        struct report_spread ratio;

        if (!report_ratio(results, bar, &ratio))
            continue;
        if (!headed)
            printf("\n%-52s  %5s  %5s .. %-5s  %6s  %s\n", "bar", "ratio", "least", "most", "bar", "within");
        headed = true;
        printf("%-52s  %5.2f  %5.2f .. %-5.2f  %s %.1f  %s\n", bar->text, ratio.median, ratio.least, ratio.most,
               bar->at_least ? ">=" : "<=", bar->bar, report_within(bar, ratio.median) ? "yes" : "NO");
    }
}

bool report_print(const struct bench_results *results)
{
    report_print_head(results);
    for (unsigned workload = 0; workload < BENCH_WORKLOADS; workload++)
        for (unsigned subject = 0; subject < BENCH_SUBJECTS; subject++)
            if (bench_has(results->measured[workload], subject))
                report_print_row(results, workload, subject);
    report_print_bars(results);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return true;
    bench_say("the table cannot be written: %s", strerror(errno));
    return false;
}

/* ---------------------------------------------------------------------------------------- JSON */

static json_t *report_json_ratio(double ratio) { return isnan(ratio) ? json_null() : json_real(ratio); }

static json_t *report_json_row(const struct bench_results *results, enum bench_workload workload,
                               enum bench_subject subject)
{
    struct report_row row = report_row(results, workload, subject);
    json_t *values = json_array();
    char name[BENCH_NAME_MAX];

    for (size_t i = 0; i < results->options->rounds; i++)
        json_array_append_new(values, json_real(results->samples[workload][subject][i]));
    return json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:o, s:o, s:o}", "workload", bench_workloads[workload].name,
                     "unit", report_units[bench_workloads[workload].unit], "of",
                     bench_subject_name(results->local, subject, name), "median", row.spread.median, "least",
                     row.spread.least, "most", row.spread.most, "to_floor", report_json_ratio(row.to_floor),
                     "to_local", report_json_ratio(row.to_local), "rounds", values);
}

static json_t *report_json_rows(const struct bench_results *results)
{
    json_t *rows = json_array();

    for (unsigned workload = 0; workload < BENCH_WORKLOADS; workload++)
        for (unsigned subject = 0; subject < BENCH_SUBJECTS; subject++)
            if (bench_has(results->measured[workload], subject))
                json_array_append_new(rows, report_json_row(results, workload, subject));
    return rows;
}

static json_t *report_json_bars(const struct bench_results *results)
{
    json_t *bars = json_array();
    struct report_spread ratio;

    for (size_t i = 0; i < REPORT_BARS; i++) {
        const struct report_bar *bar = &report_bars[i];

        if (report_ratio(results, bar, &ratio))
            json_array_append_new(bars, json_pack("{s:s, s:f, s:f, s:f, s:f, s:b, s:b}", "bar", bar->text, "ratio",
                                                  ratio.median, "least", ratio.least, "most", ratio.most, "limit",
                                                  bar->bar, "at_least", bar->at_least, "within",
                                                  report_within(bar, ratio.median)));
    }
    return bars;
}

bool report_write_json(const struct bench_results *results, const char *path)
{
    const struct bench_options *options = results->options;
    struct utsname system;
    json_t *all;
    bool done;

    uname(&system);
    all = json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "version", KVFS_VERSION, "kernel",
        system.release, "local", results->local, "cpus", (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "rounds",
        (json_int_t)options->rounds, "files", (json_int_t)options->files, "size", (json_int_t)options->size,
        "large_files", (json_int_t)options->large_files, "large_size", (json_int_t)options->large_size, "writers",
        (json_int_t)options->writers, "rows", report_json_rows(results), "bars", report_json_bars(results));
    done = all != NULL && json_dump_file(all, path, JSON_INDENT(2)) == 0;
    if (!done)
        bench_say("%s: cannot be written: %s", path, strerror(errno));
    json_decref(all);
    return done;
}
