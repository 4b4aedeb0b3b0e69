/* What the samples say. The speed of a machine changes from round to round, so ratios are made within each round. */
#ifndef KVFS_TOOLS_BENCH_FIGURES_H
#define KVFS_TOOLS_BENCH_FIGURES_H

#include "tools/bench/bench.h"

#include <stddef.h>

struct figures_spread {
    double median, least, most;
};

/* Of one subject. It has to be measured. */
struct figures_spread figures_of(const struct bench_results *results, enum bench_workload workload,
                                 enum bench_subject subject);

/* Of a subject's figure over that of another one. returns false where there are none, or they are no numbers */
bool figures_ratio(const struct bench_results *results, enum bench_workload workload, enum bench_subject subject,
                   enum bench_subject other, struct figures_spread *out);

/* The peer with the best median. returns BENCH_SUBJECTS where none is measured */
enum bench_subject figures_best_peer(const struct bench_results *results, enum bench_workload workload);

/* Is more of it better? */
bool figures_more_is_better(enum bench_unit unit);

/* What kvfs is to reach: a ratio, or where there is no other subject (BENCH_SUBJECTS) the figure itself. */
struct figures_bar {
    enum bench_workload workload;
    enum bench_subject subject, other;
    bool at_least;
    double limit;
};

extern const struct figures_bar figures_bars[];
extern const size_t figures_bars_count;

#define FIGURES_BAR_TEXT 96

/* What it is about, in words. returns false where it was not measured */
bool figures_of_bar(const struct bench_results *results, const struct figures_bar *bar,
                    char text[FIGURES_BAR_TEXT], struct figures_spread *out);
bool figures_within(const struct figures_bar *bar, double ratio);

#endif
