/* What was measured, as a table and as JSON. */
#ifndef KVFS_TOOLS_BENCH_REPORT_H
#define KVFS_TOOLS_BENCH_REPORT_H

#include "tools/bench/bench.h"

#include <stdbool.h>

/* On standard output: a line for each workload and subject, and one for each bar whose figures are there.
 * returns  false, and said why, where it cannot be written */
bool report_print(const struct bench_results *results);

/* returns as report_print() */
bool report_write_json(const struct bench_results *results, const char *path);

#endif
