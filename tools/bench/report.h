/* What was measured, as a table, as JSON, and as a picture. */
#ifndef KVFS_TOOLS_BENCH_REPORT_H
#define KVFS_TOOLS_BENCH_REPORT_H

#include "tools/bench/bench.h"

#include <stdbool.h>

/* On standard output: where it was measured, what was left out, a line for each workload and subject, and one for each
 * bar whose figures are there.
 * returns  false, and said why, where it cannot be written */
bool report_print(const struct bench_results *results);

/* returns as report_print() */
bool report_write_json(const struct bench_results *results, const char *path);

/* Bars of a put and a get, from a program and from a shell, as SVG. returns as report_print() */
bool report_write_plot(const struct bench_results *results, const char *path);

#endif
