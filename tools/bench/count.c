#include "tools/bench/count.h"

#include "tools/bench/bench.h"
#include "tools/bench/process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_SECONDS 60.0

static bool count_is_waited_for(const char *kind)
{
    return strcmp(kind, "release") != 0 && strcmp(kind, "releasedir") != 0 && strstr(kind, "forget") == NULL &&
           strcmp(kind, "interrupt") != 0;
}

/* The number of a line as: NAME{mount="...",kind="KIND"} NUMBER
 * returns  the kind, "" where the line has none; NULL where it is of another name */
static const char *count_line(char *line, const char *name, double *number)
{
    char *kind = strstr(line, ",kind=\""), *last = strrchr(line, ' ');

    if (strncmp(line, name, strlen(name)) != 0 || line[strlen(name)] != '{' || last == NULL)
        return NULL;
    *number = strtod(last, NULL);
    if (kind == NULL)
        return "";
    kind += strlen(",kind=\"");
    kind[strcspn(kind, "\"")] = '\0';
    return kind;
}

static int count_read_file(FILE *file, struct count *count)
{
    char *line = NULL;
    size_t room = 0;
    bool any = false;

    while (getline(&line, &room, file) >= 0) {
        const char *kind;
        double number;

        if ((kind = count_line(line, "kvfs_fuse_requests_total", &number)) != NULL) {
            any = true;
            count->requests += count_is_waited_for(kind) ? number : 0;
        } else if (count_line(line, "kvfs_fuse_notifications_total", &number) != NULL) {
            count->notifications += number;
        } else if (count_line(line, "kvfs_cache_bytes", &number) != NULL) {
            count->cache_bytes = number;
        }
    }
    free(line);
    return any ? 0 : -EPROTO;
}

static int count_read(const void *arg, void *out)
{
    char path[PATH_MAX];
    FILE *file;
    int rc;

    if (snprintf(path, sizeof(path), "%s/.kvfs/stats", (const char *)arg) >= PATH_MAX)
        return -ENAMETOOLONG;
    file = fopen(path, "re");
    if (file == NULL)
        return -errno;
    rc = count_read_file(file, out);
    fclose(file);
    return rc;
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
