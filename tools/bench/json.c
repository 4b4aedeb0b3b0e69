#include "tools/bench/figures.h"
#include "tools/bench/report.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

static json_t *json_ratio(const struct bench_results *results, enum bench_workload workload,
                          enum bench_subject subject, enum bench_subject other)
{
    struct figures_spread ratio;

    return other != BENCH_SUBJECTS && figures_ratio(results, workload, subject, other, &ratio)
               ? json_real(ratio.median)
               : json_null();
}

static json_t *json_row(const struct bench_results *results, enum bench_workload workload,
                        enum bench_subject subject)
{
    struct figures_spread figure = figures_of(results, workload, subject);
    enum bench_subject peer = figures_best_peer(results, workload);
    json_t *values = json_array();

    for (size_t i = 0; i < results->options->rounds; i++)
        json_array_append_new(values, json_real(results->samples[workload][subject][i]));
    return json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:o, s:s?, s:o, s:o}", "workload",
                     bench_workloads[workload].name, "unit", bench_units[bench_workloads[workload].unit], "of",
                     bench_name(results, subject), "median", figure.median, "least", figure.least, "most",
                     figure.most, "to_floor", json_ratio(results, workload, subject, BENCH_FLOOR), "best_peer",
                     peer == BENCH_SUBJECTS ? NULL : bench_name(results, peer), "to_best_peer",
                     json_ratio(results, workload, subject, peer), "rounds", values);
}

static json_t *json_rows(const struct bench_results *results)
{
    json_t *rows = json_array();

    for (unsigned workload = 0; workload < BENCH_WORKLOADS; workload++)
        for (unsigned subject = 0; subject < BENCH_SUBJECTS; subject++)
            if (bench_has(results->measured[workload], subject))
                json_array_append_new(rows, json_row(results, workload, subject));
    return rows;
}

static json_t *json_bars(const struct bench_results *results)
{
    json_t *bars = json_array();
    struct figures_spread ratio;
    char text[FIGURES_BAR_TEXT];

    for (size_t i = 0; i < figures_bars_count; i++) {
        const struct figures_bar *bar = &figures_bars[i];

        if (figures_of_bar(results, bar, text, &ratio))
            json_array_append_new(bars, json_pack("{s:s, s:f, s:f, s:f, s:f, s:b, s:b}", "bar", text, "ratio",
                                                  ratio.median, "least", ratio.least, "most", ratio.most, "limit",
                                                  bar->limit, "at_least", bar->at_least, "within",
                                                  figures_within(bar, ratio.median)));
    }
    return bars;
}

static json_t *json_left_out(const struct bench_results *results)
{
    json_t *all = json_object();

    for (unsigned subject = 0; subject < BENCH_SUBJECTS; subject++)
        if (results->left_out[subject][0] != '\0') {
            json_t *why = json_string(results->left_out[subject]);

            json_object_set_new(all, bench_name(results, subject), why != NULL ? why : json_string("it failed"));
        }
    return all;
}

static json_t *json_options(const struct bench_options *options)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "rounds", (json_int_t)options->rounds,
                     "files", (json_int_t)options->files, "size", (json_int_t)options->size, "writers",
                     (json_int_t)options->writers, "large_files", (json_int_t)options->large_files, "large_size",
                     (json_int_t)options->large_size, "many", (json_int_t)options->many, "shell",
                     (json_int_t)options->shell, "idle", (json_int_t)options->idle);
}

bool report_write_json(const struct bench_results *results, const char *path)
{
    const struct bench_facts *facts = &results->facts;
    json_t *all =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:f, s:o, s:o, s:o, s:o}", "version", KVFS_VERSION, "filesystem",
                  facts->type, "journal", facts->journal, "kernel", facts->kernel, "cpus", (json_int_t)facts->cpus,
                  "cpu", facts->cpu, "load", facts->load, "options", json_options(results->options), "left_out",
                  json_left_out(results), "rows", json_rows(results), "bars", json_bars(results));
    bool done = all != NULL && json_dump_file(all, path, JSON_INDENT(2)) == 0;

    if (!done)
        bench_say("%s: cannot be written: %s", path, strerror(errno));
    json_decref(all);
    return done;
}
