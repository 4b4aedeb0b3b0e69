/* The forms that say whether kvfs has become dearer: counts and ratios beside those that are recorded.
 *
 * Counts are exact: a request more per operation is seen, whatever the machine does. Ratios to the floor are not, so
 * one fails only if it is CI_RATIO_LIMIT of what is recorded in two runs, one behind the other. */
#ifndef KVFS_TOOLS_BENCH_CI_H
#define KVFS_TOOLS_BENCH_CI_H

#include "tools/bench/run.h"

/* Set what these modes measure, and how often, whatever else the options say of that. */
void ci_choose(struct bench_options *options);

/* Behind a first run: compare with what is recorded, print a line for each, and measure again what is too slow; or
 * record it.
 * again    measures these workloads anew: a bit for each
 * returns  0; -EDOM it has become dearer; another -errno, and said why */
int ci_judge(struct run *run, int (*again)(struct run *run, unsigned workloads));

#endif
