/* kvctl restore: a store of what kvctl backup has written, or of another store. */
#include "tools/cli/cli.h"
#include "tools/kvctl/copies.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER ((size_t)1 << 20)

struct restore {
    struct ctl_request *request;
    const char *source;
    int fd;         /* of a source that is a file or a pipe; -1: request->store is the source */
    uint64_t total; /* its size; 0: not known */
    struct ctl_progress progress;
};

static int restore_say(struct kv_error *error, const char *subject, const char *what, int rc)
{
    snprintf(error->text, sizeof(error->text), "%.200s: %s: %s", subject, what, strerror(-rc));
    return rc;
}

static int restore_write(int fd, const char *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t written = write(fd, bytes + done, size - done);

        if (written < 0 && errno != EINTR)
            return errno == EDQUOT || errno == EFBIG ? -ENOSPC : -errno;
        done += written > 0 ? (size_t)written : 0;
    }
    return 0;
}

static int restore_bytes(struct restore *restore, int fd, char *buffer, struct kv_error *error)
{
    const struct kv_progress *progress = ctl_progress_begin(&restore->progress, "restore");
    uint64_t done = 0;
    ssize_t got;

    while ((got = TEMP_FAILURE_RETRY(read(restore->fd, buffer, BUFFER))) > 0) {
        int rc = restore_write(fd, buffer, (size_t)got);

        if (rc < 0)
            return restore_say(error, restore->request->args[1], "it could not be written", rc);
        done += (uint64_t)got;
        progress->tell(progress->arg, done, restore->total);
    }
    return got < 0 ? restore_say(error, restore->source, "it could not be read", -errno) : 0;
}

static int restore_fill(void *arg, int fd, struct kv_error *error)
{
    struct restore *restore = arg;
    struct kv_error why;
    uint64_t copied;
    char *buffer;
    int rc;

    if (restore->fd < 0) {
        rc =
            kv_copy(restore->request->store, fd, ctl_progress_begin(&restore->progress, "restore"), &copied, &why);
        if (rc < 0)
            snprintf(error->text, sizeof(error->text), "%.100s: %.380s",
                     rc == -EIO ? restore->source : restore->request->args[1], why.text);
        return rc;
    }
    buffer = malloc(BUFFER);
    if (buffer == NULL)
        return restore_say(error, restore->source, "it could not be read", -ENOMEM);
    rc = restore_bytes(restore, fd, buffer, error);
    free(buffer);
    return rc;
}

/* A directory is a store, of a backup or another one. returns a status */
static int restore_open_store(struct restore *restore)
{
    const struct kv_options options = ctl_store_options(restore->request);
    struct kv_error error;

    return cli_open_store(restore->source, &options, &restore->request->store, &error) < 0
               ? ctl_fail("%s", error.text)
               : CTL_OK;
}

static int restore_open(struct restore *restore)
{
    struct stat file;

    if (strcmp(restore->source, "-") == 0) {
        restore->fd = STDIN_FILENO;
        return isatty(STDIN_FILENO) ? ctl_fail("-: a terminal has no backup; give a file or a program's output")
                                    : CTL_OK;
    }
    restore->fd = open(restore->source, O_RDONLY | O_CLOEXEC);
    if (restore->fd < 0 || fstat(restore->fd, &file) != 0)
        return ctl_fail("%s: it cannot be opened: %s", restore->source, strerror(errno));
    if (!S_ISDIR(file.st_mode)) {
        restore->total = S_ISREG(file.st_mode) ? (uint64_t)file.st_size : 0;
        return CTL_OK;
    }
    close(restore->fd);
    restore->fd = -1;
    return restore_open_store(restore);
}

int ctl_restore(struct ctl_request *request)
{
    struct restore restore = {.request = request, .source = request->args[0], .fd = -1};
    const char *target = request->args[1];
    int status = restore_open(&restore);
    const struct kv_restore_options options = {
        .foreign_store = ctl_given(request, CTL_FOREIGN_STORE), .fill = restore_fill, .arg = &restore};
    struct kv_error error;

    if (status == CTL_OK) {
        int rc = kv_restore(target, &options, &error);

        ctl_progress_end(&restore.progress);
        status = rc < 0 ? ctl_fail("%s", error.text) : CTL_OK;
    }
    if (restore.fd > STDIN_FILENO)
        close(restore.fd);
    ctl_close(request);
    return status == CTL_OK ? ctl_check_copy(request, target, target,
                                             "it was restored all the same; kvctl check on it tells all")
                            : status;
}
