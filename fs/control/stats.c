#include "fs/control/stats_internal.h"

#include "fs/base/notify.h"
#include "fs/base/request.h"

#include <inttypes.h>
#include <string.h>

/* By enum fuse_opcode, from 1 on; "-" is not asked of this file system. */
static const char stats_kinds[] =
    "lookup forget getattr setattr readlink symlink - mknod mkdir unlink rmdir rename link open read "
    "write statfs release - fsync setxattr getxattr listxattr removexattr flush init opendir readdir "
    "releasedir fsyncdir getlk setlk setlkw - create interrupt - - - - - batch_forget fallocate "
    "readdirplus rename2 lseek copy_file_range";

static void stats_write_requests(FILE *text)
{
    const char *name = stats_kinds;
    int size;

    fprintf(text,
            "# HELP kvfs_fuse_requests_total Requests of the kernel.\n# TYPE kvfs_fuse_requests_total counter\n");
    for (uint32_t opcode = 1; *name != '\0'; opcode++) {
        size = (int)strcspn(name, " ");
        if (name[0] != '-')
            fprintf(text, "kvfs_fuse_requests_total{kind=\"%.*s\"} %" PRIu64 "\n", size, name,
                    fs_request_count(opcode));
        name += size + (name[size] == ' ');
    }
}

static void stats_write_notifications(FILE *text)
{
    static const char *const names[FS_NOTIFICATIONS] = {"attr", "epoch", "store"};

    fprintf(text, "# HELP kvfs_fuse_notifications_total What the kernel was told without a request.\n"
                  "# TYPE kvfs_fuse_notifications_total counter\n");
    for (int kind = 0; kind < FS_NOTIFICATIONS; kind++)
        fprintf(text, "kvfs_fuse_notifications_total{kind=\"%s\"} %" PRIu64 "\n", names[kind],
                fs_notify_count((enum fs_notification)kind));
}

static void stats_number(FILE *text, const char *name, const char *type, const char *help, uint64_t value)
{
    fprintf(text, "# HELP kvfs_%s %s\n# TYPE kvfs_%s %s\nkvfs_%s %" PRIu64 "\n", name, help, name, type, name,
            value);
}

static void stats_histogram(FILE *text, const char *name, const char *help, const struct kv_histogram *values)
{
    uint64_t sum = 0;

    fprintf(text, "# HELP kvfs_%s_seconds %s\n# TYPE kvfs_%s_seconds histogram\n", name, help, name);
    for (int i = 0; i < KV_HISTOGRAM_BUCKETS; i++) {
        sum += values->bucket[i];
        if (i < KV_HISTOGRAM_BUCKETS - 1)
            fprintf(text, "kvfs_%s_seconds_bucket{le=\"%g\"} %" PRIu64 "\n", name, (double)(1u << i) / 1e6, sum);
    }
    fprintf(text, "kvfs_%s_seconds_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, sum);
    fprintf(text, "kvfs_%s_seconds_sum %.6f\n", name, (double)values->sum_us / 1e6);
    fprintf(text, "kvfs_%s_seconds_count %" PRIu64 "\n", name, sum);
}

void fs_stats_write(struct fs *fs, FILE *text)
{
    struct kv_stats stats;

    kv_stats(fs->store, &stats);
    fprintf(text, "# HELP kvfs_node_info This edge node.\n# TYPE kvfs_node_info gauge\n");
    fprintf(text, "kvfs_node_info{node=\"%s\",version=\"%s\"} 1\n", fs->options->node, KVFS_VERSION);
    stats_number(text, "cache_hits_total", "counter", "Reads answered from the edge cache.", stats.cache_hits);
    stats_number(text, "cache_misses_total", "counter", "Reads that had to ask the central.", stats.cache_misses);
    stats_number(text, "cache_expired_total", "counter", "Misses because the entry was too old.",
                 stats.cache_expired);
    stats_number(text, "cache_evictions_total", "counter", "Entries that made room for others.",
                 stats.cache_evictions);
    stats_number(text, "cache_bytes", "gauge", "Bytes held by the edge cache.", stats.cache_bytes);
    stats_number(text, "cache_entries", "gauge", "Keys known to the edge cache.", stats.cache_entries);
    stats_number(text, "central_reads_total", "counter", "Reads made from the central.", stats.central_reads);
    stats_number(text, "central_writes_total", "counter", "Puts made durable in the central.",
                 stats.central_writes);
    stats_number(text, "commits_total", "counter", "Transactions of the central.", stats.commits);
    stats_number(text, "commit_failures_total", "counter", "Changes that the central failed to commit.",
                 stats.commit_failures);
    fprintf(text, "# HELP kvfs_puts_per_commit Mean over all commits.\n# TYPE kvfs_puts_per_commit gauge\n");
    fprintf(text, "kvfs_puts_per_commit %.3f\n",
            stats.commits > 0 ? (double)stats.central_writes / (double)stats.commits : 0.0);
    stats_number(text, "value_bytes", "gauge", "Bytes of values in memory or spilled.", stats.value_bytes);
    stats_number(text, "spilled_bytes", "gauge", "Of these, bytes in unlinked files.", stats.spilled_bytes);
    stats_number(text, "disk_bytes", "gauge", "Size of the database file in use.", stats.disk_bytes);
    stats_number(text, "inodes", "gauge", "Inodes that the kernel or open files refer to.",
                 atomic_load(&fs->inodes));
    stats_write_requests(text);
    stats_write_notifications(text);
    stats_histogram(text, "get", "Time to read a value.", &stats.get);
    stats_histogram(text, "put", "Time from the submission of a put to its durability.", &stats.put);
    stats_histogram(text, "commit", "Time of a transaction of the central.", &stats.commit);
}
