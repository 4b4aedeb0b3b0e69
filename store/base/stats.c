#include "store/base/stats.h"

static void add(atomic_uint_fast64_t *counter, uint64_t amount)
{
    atomic_fetch_add_explicit(counter, amount, memory_order_relaxed);
}

static uint64_t value_of(atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void stats_record(struct stats_histogram *histogram, int64_t duration_ns)
{
    uint64_t us = duration_ns > 0 ? (uint64_t)duration_ns / 1000 : 0;
    unsigned bucket = us == 0 ? 0 : 64 - (unsigned)__builtin_clzll(us);

    add(&histogram->bucket[bucket < KV_HISTOGRAM_BUCKETS ? bucket : KV_HISTOGRAM_BUCKETS - 1], 1);
    add(&histogram->sum_us, us);
    add(&histogram->count, 1);
}

void stats_commit(struct stats *stats, uint64_t puts, int64_t duration_ns)
{
    add(&stats->commits, 1);
    add(&stats->central_writes, puts);
    stats_record(&stats->commit, duration_ns);
}

void stats_commit_failure(struct stats *stats) { add(&stats->commit_failures, 1); }

void stats_central_read(struct stats *stats) { add(&stats->central_reads, 1); }

static void snapshot(struct stats_histogram *histogram, struct kv_histogram *out)
{
    out->count = value_of(&histogram->count);
    out->sum_us = value_of(&histogram->sum_us);
    for (int i = 0; i < KV_HISTOGRAM_BUCKETS; i++)
        out->bucket[i] = value_of(&histogram->bucket[i]);
}

void stats_snapshot(struct stats *stats, struct kv_stats *out)
{
    out->central_reads = value_of(&stats->central_reads);
    out->central_writes = value_of(&stats->central_writes);
    out->commits = value_of(&stats->commits);
    out->commit_failures = value_of(&stats->commit_failures);
    snapshot(&stats->get, &out->get);
    snapshot(&stats->put, &out->put);
    snapshot(&stats->commit, &out->commit);
}
