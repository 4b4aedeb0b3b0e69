#include "fs/control/stats_internal.h"

#include "fs/base/errorlog.h"
#include "fs/base/ledger.h"
#include "fs/base/notify.h"
#include "fs/base/request.h"
#include "fs/base/text.h"

#include <inttypes.h>
#include <string.h>

/* ------------------------------------------------------------------------- the format */

void fs_stats_family(FILE *text, const char *name, const char *type, const char *help)
{
    fprintf(text, "# HELP kvfs_%s %s\n# TYPE kvfs_%s %s\n", name, help, name, type);
}

void fs_stats_begin(const struct fs *fs, FILE *text, const char *name)
{
    fprintf(text, "kvfs_%s{mount=\"", name);
    fs_text_write(text, fs->options->mountpoint, "\"\\");
    putc('"', text);
}

void fs_stats_number(const struct fs *fs, FILE *text, const char *name, const char *type, const char *help,
                     uint64_t value)
{
    fs_stats_family(text, name, type, help);
    fs_stats_begin(fs, text, name);
    fprintf(text, "} %" PRIu64 "\n", value);
}

static void stats_seconds(const struct fs *fs, FILE *text, const char *name, const char *help, int64_t ms)
{
    fs_stats_family(text, name, "gauge", help);
    fs_stats_begin(fs, text, name);
    fprintf(text, "} %" PRId64 ".%03" PRId64 "\n", ms / 1000, ms % 1000);
}

static void stats_histogram(const struct fs *fs, FILE *text, const char *name, const char *help,
                            const struct kv_histogram *values)
{
    uint64_t sum = 0;
    char part[64];

    fs_stats_family(text, name, "histogram", help);
    snprintf(part, sizeof(part), "%s_bucket", name);
    for (int i = 0; i < KV_HISTOGRAM_BUCKETS; i++) {
        sum += values->bucket[i];
        fs_stats_begin(fs, text, part);
        if (i < KV_HISTOGRAM_BUCKETS - 1)
            fprintf(text, ",le=\"%g\"} %" PRIu64 "\n", (double)(1u << i) / 1e6, sum);
        else
            fprintf(text, ",le=\"+Inf\"} %" PRIu64 "\n", sum);
    }
    snprintf(part, sizeof(part), "%s_sum", name);
    fs_stats_begin(fs, text, part);
    fprintf(text, "} %.6f\n", (double)values->sum_us / 1e6);
    snprintf(part, sizeof(part), "%s_count", name);
    fs_stats_begin(fs, text, part);
    fprintf(text, "} %" PRIu64 "\n", sum);
}

/* ------------------------------------------------------------------------- the parts */

static void stats_node(const struct fs *fs, FILE *text)
{
    const struct fs_options *options = fs->options;

    fs_stats_family(text, "node_info", "gauge", "Always 1: its labels tell which node serves which store here.");
    fs_stats_begin(fs, text, "node_info");
    fputs(",node=\"", text);
    fs_text_write(text, options->node, "\"\\");
    fputs("\",store=\"", text);
    fs_text_write(text, options->store, "\"\\");
    fprintf(text, "\",mode=\"%s\",version=\"" KVFS_VERSION "\"} 1\n", options->read_only ? "ro" : "rw");
    stats_seconds(fs, text, "start_time_seconds", "When the node began to serve, in seconds since 1970.",
                  fs->started_ns / 1000000);
}

static void stats_cache(const struct fs *fs, FILE *text, const struct kv_stats *stats)
{
    fs_stats_number(fs, text, "cache_hits_total", "counter", "Reads that the edge cache answered.",
                    stats->cache_hits);
    fs_stats_number(fs, text, "cache_misses_total", "counter", "Reads that had to ask the store.",
                    stats->cache_misses);
    fs_stats_number(fs, text, "cache_expired_total", "counter", "Misses because what the cache had was too old.",
                    stats->cache_expired);
    fs_stats_number(fs, text, "cache_evictions_total", "counter", "Entries that left the cache to make room.",
                    stats->cache_evictions);
    fs_stats_number(fs, text, "cache_bytes", "gauge", "Bytes that the edge cache holds.", stats->cache_bytes);
    fs_stats_number(fs, text, "cache_limit_bytes", "gauge", "The most that the edge cache may hold.",
                    fs->options->cache_bytes);
    fs_stats_number(fs, text, "cache_entries", "gauge", "Keys that the edge cache knows.", stats->cache_entries);
    fs_stats_number(fs, text, "value_bytes", "gauge",
                    "Bytes of values that the node holds, in memory or in files.", stats->value_bytes);
    fs_stats_number(fs, text, "spilled_bytes", "gauge", "Bytes of values that memory has no room for: in files.",
                    stats->spilled_bytes);
}

static void stats_store(const struct fs *fs, FILE *text, const struct kv_stats *stats)
{
    const struct kv_storage *storage = &stats->storage;

    fs_stats_number(fs, text, "central_reads_total", "counter", "Reads that the node made from the store.",
                    stats->central_reads);
    fs_stats_number(fs, text, "central_writes_total", "counter", "Values that the node put into the store.",
                    stats->central_writes);
    fs_stats_number(fs, text, "commits_total", "counter",
                    "Transactions in which it did so, with all other changes.", stats->commits);
    fs_stats_number(fs, text, "commit_failures_total", "counter", "Changes that the store failed to make.",
                    stats->commit_failures);
    fs_stats_number(fs, text, "queue_changes", "gauge", "Changes of this node that wait for the store.",
                    stats->queue_changes);
    stats_seconds(fs, text, "queue_age_seconds", "How long the oldest of them has waited.", stats->queue_age_ms);
    fs_stats_number(
        fs, text, "store_failed", "gauge",
        "1: the store takes no change until all programs close it: its disk has failed, or its files are gone.",
        storage->failed);
    fs_stats_number(fs, text, "database_used_bytes", "gauge",
                    "Bytes of the database file that are in use, or were.", storage->used_bytes);
    fs_stats_number(fs, text, "database_free_bytes", "gauge",
                    "Bytes of these, at least, in pages that are free for what is put next.", storage->free_bytes);
    fs_stats_number(fs, text, "database_limit_bytes", "gauge", "How large the database file can become.",
                    storage->limit_bytes);
    fs_stats_number(fs, text, "log_bytes", "gauge", "Bytes of the log that came after the newest checkpoint.",
                    storage->log_bytes);
    fs_stats_number(fs, text, "log_limit_bytes", "gauge", "Size of the log; at half of it a checkpoint is made.",
                    storage->log_limit_bytes);
    stats_seconds(fs, text, "checkpoint_age_seconds",
                  "Time since the newest checkpoint; an idle store makes none, and has no log_bytes.",
                  storage->checkpoint_age_ms);
}

static void stats_open(const struct fs *fs, FILE *text)
{
    fs_stats_number(fs, text, "inodes", "gauge",
                    "Files and directories that the kernel knows or programs have open.",
                    atomic_load(&fs->inodes));
    fs_stats_number(fs, text, "open_handles", "gauge", "Open files and directories.",
                    fs_ledger_total(fs->users, FS_HANDLES));
    fs_stats_number(fs, text, "open_bytes", "gauge", "Bytes of values that programs have open.",
                    fs_ledger_total(fs->users, FS_OPEN_BYTES));
    fs_stats_number(fs, text, "unsaved_bytes", "gauge",
                    "Bytes of values that were written and are not in the store.",
                    fs_ledger_total(fs->accounts, FS_DIRTY_BYTES));
    fs_stats_number(fs, text, "temporary_bytes", "gauge", "Bytes of temporary files.",
                    fs_ledger_used(fs->accounts, FS_LEDGER_NODE, FS_TEMP_BYTES));
    fs_stats_number(fs, text, "locks", "gauge", "Files that programs hold locks of.",
                    fs_ledger_total(fs->users, FS_LOCKS));
    fs_stats_number(fs, text, "lock_waiters", "gauge", "Processes that wait for a lock of a file.",
                    fs_ledger_total(fs->users, FS_LOCK_WAITERS));
}

/* By enum fuse_opcode, from 1 on; "-" is not asked of this file system. */
static const char stats_kinds[] =
    "lookup forget getattr setattr readlink symlink - mknod mkdir unlink rmdir rename link open read "
    "write statfs release - fsync setxattr getxattr listxattr removexattr flush init opendir readdir "
    "releasedir fsyncdir getlk setlk setlkw - create interrupt - - - - - batch_forget fallocate "
    "readdirplus rename2 lseek copy_file_range";

static void stats_requests(const struct fs *fs, FILE *text)
{
    static const char *const names[FS_NOTIFICATIONS] = {"attr", "entry", "epoch", "store"};
    const char *name = stats_kinds;
    int size;

    fs_stats_family(text, "fuse_requests_total", "counter", "Requests of the kernel, by kind.");
    for (uint32_t opcode = 1; *name != '\0'; opcode++) {
        size = (int)strcspn(name, " ");
        if (name[0] != '-') {
            fs_stats_begin(fs, text, "fuse_requests_total");
            fprintf(text, ",kind=\"%.*s\"} %" PRIu64 "\n", size, name, fs_request_count(opcode));
        }
        name += size + (name[size] == ' ');
    }
    fs_stats_family(text, "fuse_notifications_total", "counter", "What the kernel was told without a request.");
    for (int kind = 0; kind < FS_NOTIFICATIONS; kind++) {
        fs_stats_begin(fs, text, "fuse_notifications_total");
        fprintf(text, ",kind=\"%s\"} %" PRIu64 "\n", names[kind], fs_notify_count((enum fs_notification)kind));
    }
}

static void stats_errors(const struct fs *fs, FILE *text)
{
    fs_stats_family(text, "errors_total", "counter", "Requests that failed in a way that is noted in errors.");
    for (size_t i = 0; i < FS_ERROR_KINDS; i++) {
        fs_stats_begin(fs, text, "errors_total");
        fprintf(text, ",errno=\"%s\"} %" PRIu64 "\n", fs_error_kind(i), fs_error_count(fs->error_log, i));
    }
}

void fs_stats_write(struct fs *fs, const struct fuse_ctx *who, FILE *text)
{
    struct kv_stats stats;

    kv_stats(fs->store, &stats);
    stats_node(fs, text);
    stats_requests(fs, text);
    stats_errors(fs, text);
    stats_histogram(fs, text, "get_seconds", "Time to read a value from cache or store.", &stats.get);
    stats_histogram(fs, text, "put_seconds", "Time from the end of a put's write to its answer.", &stats.put);
    stats_histogram(fs, text, "commit_seconds", "Time of a transaction of the store.", &stats.commit);
    stats_cache(fs, text, &stats);
    stats_store(fs, text, &stats);
    stats_open(fs, text);
    fs_stats_accounts(fs, who, text);
}
