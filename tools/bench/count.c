#include "tools/bench/count.h"

#include "tools/bench/bench.h"
#include "tools/bench/process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define COUNT_SECONDS 60.0

static bool count_is_waited_for(const char *kind)
{
    return strcmp(kind, "release") != 0 && strcmp(kind, "releasedir") != 0 && strstr(kind, "forget") == NULL &&
           strcmp(kind, "interrupt") != 0;
}

/* Lines as: kvfs_fuse_requests_total{kind="lookup"} 1 */
static int count_read(const void *arg, void *out)
{
    char path[PATH_MAX], line[256], kind[64];
    struct count *count = out;
    double value;
    FILE *file;

    if (snprintf(path, sizeof(path), "%s/.kvfs/stats", (const char *)arg) >= PATH_MAX)
        return -ENAMETOOLONG;
    file = fopen(path, "re");
    if (file == NULL)
        return -errno;
    while (fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "kvfs_fuse_requests_total{kind=\"%63[a-z_0-9]\"} %lf", kind, &value) == 2)
            count->requests += count_is_waited_for(kind) ? value : 0;
        if (sscanf(line, "kvfs_fuse_notifications_total{kind=\"%63[a-z_0-9]\"} %lf", kind, &value) == 2)
            count->notifications += value;
        if (sscanf(line, "kvfs_cache_bytes %lf", &value) == 1)
            count->cache_bytes = value;
    }
    fclose(file);
    return 0;
}

int count_take(const struct daemon *daemon, const char *mountpoint, struct count *out)
{
    uint64_t calls;
    int rc;

    *out = (struct count){0};
    rc = process_ask(count_read, mountpoint, out, sizeof(*out), COUNT_SECONDS);
    if (rc < 0) {
        bench_say("%s/.kvfs/stats: %s", mountpoint, strerror(-rc));
        return rc;
    }
    rc = daemon_calls(daemon, &calls);
    out->calls = rc == 0 ? (double)calls : -1;
    return 0;
}
