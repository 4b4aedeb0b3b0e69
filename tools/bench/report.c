#include "tools/bench/report.h"

#include "tools/bench/figures.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void report_print_head(const struct bench_results *results)
{
    const struct bench_options *options = results->options;
    const struct bench_facts *facts = &results->facts;

    printf(
        "%lu rounds; %lu files of %lu bytes, %lu of %lu, %lu writers, %lu keys in kvfs-many, %lu of the shell\n",
        (unsigned long)options->rounds, (unsigned long)options->files, (unsigned long)options->size,
        (unsigned long)options->large_files, (unsigned long)options->large_size, (unsigned long)options->writers,
        (unsigned long)options->many, (unsigned long)options->shell);
    printf("%s%s%s; Linux %s; %ld CPUs, %s; load before %.2f\n", facts->type,
           facts->journal[0] == '\0' ? "" : ", ", facts->journal, facts->kernel, facts->cpus, facts->cpu,
           facts->load);
    for (unsigned subject = 0; subject < BENCH_SUBJECTS; subject++)
        if (results->left_out[subject][0] != '\0')
            printf("left out: %s: %s\n", bench_name(results, subject), results->left_out[subject]);
    printf("\n%-13s  %-7s  %-11s  %9s  %9s .. %-9s  %7s  %7s\n", "workload", "unit", "of", "median", "least",
           "most", "/floor", "/peer");
}

static void report_print_ratio(const struct bench_results *results, enum bench_workload workload,
                               enum bench_subject subject, enum bench_subject other)
{
    struct figures_spread ratio;

    if (other != BENCH_SUBJECTS && figures_ratio(results, workload, subject, other, &ratio))
        printf("  %7.2f", ratio.median);
    else
        printf("  %7s", "-");
}

static void report_print_row(const struct bench_results *results, enum bench_workload workload,
                             enum bench_subject subject)
{
    struct figures_spread figure = figures_of(results, workload, subject);
    enum bench_subject peer = figures_best_peer(results, workload);

    printf("%-13s  %-7s  %-11s  %9.1f  %9.1f .. %-9.1f", bench_workloads[workload].name,
           bench_units[bench_workloads[workload].unit], bench_name(results, subject), figure.median, figure.least,
           figure.most);
    report_print_ratio(results, workload, subject, BENCH_FLOOR);
    report_print_ratio(results, workload, subject, peer);
    printf("%s\n", subject == peer ? "  best peer" : "");
}

static void report_print_bars(const struct bench_results *results)
{
    bool headed = false;

    for (size_t i = 0; i < figures_bars_count; i++) {
        const struct figures_bar *bar = &figures_bars[i];
        struct figures_spread ratio;
        char text[FIGURES_BAR_TEXT];

        if (!figures_of_bar(results, bar, text, &ratio))
            continue;
        if (!headed)
            printf("\n%-44s  %6s  %6s .. %-6s  %8s  %s\n", "bar", "ratio", "least", "most", "bar", "within");
        headed = true;
        printf("%-44s  %6.2f  %6.2f .. %-6.2f  %s %5.1f  %s\n", text, ratio.median, ratio.least, ratio.most,
               bar->at_least ? ">=" : "<=", bar->limit, figures_within(bar, ratio.median) ? "yes" : "NO");
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
