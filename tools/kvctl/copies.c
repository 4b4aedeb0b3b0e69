#include "tools/kvctl/copies.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SHOWN_EVERY_NS 100000000
#define MIB (1024.0 * 1024.0)

/* -------------------------------------------------------------------------- progress */

static void progress_tell(void *arg, uint64_t done, uint64_t total)
{
    struct ctl_progress *progress = arg;
    int64_t now_ns = ctl_now_ns(CLOCK_MONOTONIC);

    if (!progress->terminal || now_ns < progress->next_ns)
        return;
    progress->next_ns = now_ns + SHOWN_EVERY_NS;
    progress->shown = true;
    if (total > 0)
        fprintf(stderr, "\r%s: %.1f of %.1f MiB, %.0f%% \033[K", progress->what, (double)done / MIB,
                (double)total / MIB, 100.0 * (double)done / (double)total);
    else
        fprintf(stderr, "\r%s: %.1f MiB \033[K", progress->what, (double)done / MIB);
    fflush(stderr);
}

const struct kv_progress *ctl_progress_begin(struct ctl_progress *progress, const char *what)
{
    *progress = (struct ctl_progress){
        .tell = {progress_tell, progress}, .what = what, .terminal = isatty(STDERR_FILENO) == 1};
    return &progress->tell;
}

void ctl_progress_end(struct ctl_progress *progress)
{
    if (progress->shown)
        fputs("\r\033[K", stderr);
    progress->shown = false;
}

/* -------------------------------------------------------------------------- checking */

struct copy_findings {
    uint64_t count;
    char first[700];
};

static void copy_found(void *arg, const struct kv_finding *finding)
{
    struct copy_findings *findings = arg;

    if (findings->count++ == 0)
        snprintf(findings->first, sizeof(findings->first), "%s: %.100s", finding->where, finding->what);
}

int ctl_check_copy(const struct ctl_request *request, const char *dir, const char *name, const char *kept)
{
    struct copy_findings findings = {0};
    const struct kv_check_options check = {.found = copy_found, .arg = &findings};
    const struct kv_options options = ctl_store_options(request);
    struct kv_check_report report;
    struct kv_error error = {""};
    struct kv_store *store;
    int rc;

    if (kv_open(dir, &options, &store, &error) < 0)
        return ctl_fail("%s: the copy cannot be verified: %s", name, error.text);
    rc = kv_check(store, &check, &report);
    kv_close(store);
    if (rc < 0)
        return ctl_fail("%s: the copy cannot be verified: %s", name, strerror(-rc));
    if (findings.count == 0)
        return CTL_OK;
    (void)ctl_fail("%s: a check found %" PRIu64 " things wrong, first %s; %s", name, findings.count,
                   findings.first, kept);
    return CTL_NO;
}

/* ------------------------------------------------------------------------ directories */

int ctl_check_target(const char *dir)
{
    DIR *list = opendir(dir);
    struct dirent *entry;
    size_t count = 0;

    if (list == NULL && errno == ENOENT)
        return CTL_OK;
    if (list == NULL && errno == ENOTDIR)
        return ctl_fail("%s: there is a file already; choose a new name", dir);
    if (list == NULL)
        return ctl_fail("%s: it cannot be read: %s", dir, strerror(errno));
    while (count <= 2 && (entry = readdir(list)) != NULL)
        count++;
    closedir(list);
    return count > 2 ? ctl_fail("%s: the directory is not empty; choose a new name, or an empty one", dir)
                     : CTL_OK;
}

int ctl_flush_directory(int fd, const char *name)
{
    return fsync(fd) == 0 || errno == EINVAL ? CTL_OK
                                             : ctl_fail("%s: it could not be flushed: %s", name, strerror(errno));
}
