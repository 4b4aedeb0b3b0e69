/* kvctl backup: a copy of a store that may be in use.
 *
 * A backup DIR is made as DIR.part, verified there, and renamed: so what has the name is whole. DIR.part is locked
 * for as long as somebody makes it. One that is not locked is what a kill has left, and the next backup begins it
 * anew. */
#include "tools/kvctl/copies.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct backup {
    struct ctl_request *request;
    const char *target;
    char *part;  /* TARGET.part */
    int part_fd; /* with the lock on it */
    struct ctl_progress progress;
};

/* ------------------------------------------------------------------ to standard output */

static int backup_to_output(struct ctl_request *request)
{
    struct ctl_progress progress;
    struct kv_error error;
    uint64_t bytes;
    struct stat file;
    int rc;

    if (isatty(STDOUT_FILENO))
        return ctl_fail("-: a terminal cannot show a backup; send it to a file or a program");
    rc = kv_copy(request->store, STDOUT_FILENO, ctl_progress_begin(&progress, "backup"), &bytes, &error);
    ctl_progress_end(&progress);
    if (rc < 0)
        return ctl_fail("%s: %s; what was written is no backup", request->store_dir, error.text);
    if (fstat(STDOUT_FILENO, &file) == 0 && S_ISREG(file.st_mode) && fsync(STDOUT_FILENO) != 0)
        return ctl_fail("standard output: it could not be flushed: %s; what was written is no backup",
                        strerror(errno));
    return CTL_OK;
}

/* ----------------------------------------------------------------------- to a directory */

/* The name without slashes at its end, to be freed. NULL, and said: it is no name that a directory can get. */
static char *backup_name(const char *text)
{
    size_t size = strlen(text);
    const char *last;
    char *name;

    while (size > 0 && text[size - 1] == '/')
        size--;
    name = strndup(text, size);
    if (name == NULL) {
        (void)ctl_fail("out of memory");
        return NULL;
    }
    last = strrchr(name, '/') != NULL ? strrchr(name, '/') + 1 : name;
    if (*last == '\0' || strcmp(last, ".") == 0 || strcmp(last, "..") == 0) {
        (void)ctl_fail("'%s': a backup needs a name of its own; name a directory that is to be made", text);
        free(name);
        return NULL;
    }
    return name;
}

/* Make DIR.part, or take over what is left of one. returns a status; the lock is held */
static int backup_claim(struct backup *backup)
{
    mode_t before = umask(0);
    int rc = mkdir(backup->part, 0700) == 0 ? 0 : errno;
    struct stat named, opened;

    umask(before);
    if (rc != 0 && rc != EEXIST)
        return ctl_fail("%s: it cannot be made: %s", backup->part, strerror(rc));
    backup->part_fd = open(backup->part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (backup->part_fd < 0)
        return ctl_fail("%s: it cannot be opened: %s; remove it", backup->part, strerror(errno));
    if (flock(backup->part_fd, LOCK_EX | LOCK_NB) != 0)
        return ctl_fail("%s: another backup of this name is being made; wait for it, or choose another name",
                        backup->target);
    /* The other one may have renamed it just now. */
    if (fstat(backup->part_fd, &opened) != 0 || lstat(backup->part, &named) != 0 || named.st_ino != opened.st_ino)
        return ctl_fail("%s: another backup of this name was being made; choose another name", backup->target);
    rc = kv_discard(backup->part);
    return rc == 0 ? CTL_OK : ctl_fail("%s: it is in the way: %s; remove it", backup->part, strerror(-rc));
}

static int backup_fill(void *arg, int fd, struct kv_error *error)
{
    struct backup *backup = arg;
    struct kv_error why;
    uint64_t bytes;
    int rc = kv_copy(backup->request->store, fd, ctl_progress_begin(&backup->progress, "backup"), &bytes, &why);

    if (rc < 0)
        snprintf(error->text, sizeof(error->text), "%.100s: %.380s",
                 rc == -EIO ? backup->request->store_dir : backup->target, why.text);
    return rc;
}

/* Give the whole copy its name. returns a status */
static int backup_finish(struct backup *backup)
{
    int parent = openat(backup->part_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC), status;

    if (parent < 0)
        return ctl_fail("%s: the directory above it cannot be opened: %s", backup->target, strerror(errno));
    status = ctl_flush_directory(backup->part_fd, backup->target);
    if (status == CTL_OK && rename(backup->part, backup->target) != 0)
        status = ctl_fail("%s: the finished backup cannot get this name: %s", backup->target, strerror(errno));
    if (status == CTL_OK)
        status = ctl_flush_directory(parent, backup->target);
    close(parent);
    return status;
}

/* With DIR.part locked and empty. returns a status */
static int backup_make(struct backup *backup)
{
    const struct kv_restore_options options = {.small_log = true, .fill = backup_fill, .arg = backup};
    struct kv_error error;
    int rc = kv_restore(backup->part, &options, &error), checked, status;

    ctl_progress_end(&backup->progress);
    if (rc < 0)
        return ctl_fail("%s", error.text);
    ctl_close(backup->request);
    checked = ctl_check_copy(backup->request, backup->part, backup->target,
                             "it was copied as it is; kvctl check on the store tells all");
    if (checked == CTL_ERROR)
        return checked;
    status = backup_finish(backup);
    return status == CTL_OK ? checked : status;
}

static int backup_to_directory(struct backup *backup)
{
    int status = backup_claim(backup);

    if (status != CTL_OK)
        return status;
    status = backup_make(backup);
    if (status == CTL_ERROR && kv_discard(backup->part) == 0)
        (void)rmdir(backup->part); /* where it has its name already there is none */
    return status;
}

int ctl_backup(struct ctl_request *request)
{
    struct backup backup = {.request = request, .part_fd = -1};
    char *name;
    int status;

    if (strcmp(request->args[0], "-") == 0)
        return backup_to_output(request);
    name = backup_name(request->args[0]);
    if (name == NULL)
        return CTL_ERROR;
    backup.target = name;
    status = ctl_check_target(name);
    if (status == CTL_OK && asprintf(&backup.part, "%s.part", name) < 0) {
        backup.part = NULL;
        status = ctl_fail("out of memory");
    }
    if (status == CTL_OK)
        status = backup_to_directory(&backup);
    if (backup.part_fd >= 0)
        close(backup.part_fd);
    free(backup.part);
    free(name);
    return status;
}
