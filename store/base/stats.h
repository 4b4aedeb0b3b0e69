/* Counters of one store; all functions are safe from any thread and never wait. */
#ifndef KVFS_STORE_STATS_H
#define KVFS_STORE_STATS_H

#include "store/kv.h"

#include <stdatomic.h>

struct stats_histogram {
    atomic_uint_fast64_t count, sum_us, bucket[KV_HISTOGRAM_BUCKETS];
};

struct stats {
    atomic_uint_fast64_t central_reads, central_writes, commits, commit_failures;
    struct stats_histogram get, put, commit;
};

void stats_record(struct stats_histogram *histogram, int64_t duration_ns);
/* A transaction with this many puts became durable. */
void stats_commit(struct stats *stats, uint64_t puts, int64_t duration_ns);
void stats_commit_failure(struct stats *stats);
void stats_central_read(struct stats *stats);
/* Copy the counters that are kept here. */
void stats_snapshot(struct stats *stats, struct kv_stats *out);

#endif
