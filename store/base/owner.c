#include "store/base/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* returns  1 the directory is another user's, and this process can act for that one; 0; negative errno */
static int owner_is_other(int dir_fd, struct stat *dir)
{
    if (fstat(dir_fd, dir) != 0)
        return -errno;
    return geteuid() == 0 && dir->st_uid != 0;
}

int owner_give(int dir_fd, int fd)
{
    struct stat dir;
    int rc = owner_is_other(dir_fd, &dir);

    if (rc <= 0)
        return rc;
    return fchown(fd, dir.st_uid, dir.st_gid) == 0 ? 0 : -errno;
}

int owner_open_directory(int dir_fd, const char *name, bool make)
{
    bool made = make && mkdirat(dir_fd, name, 0700) == 0;
    int fd, rc = 0;

    if (make && !made && errno != EEXIST)
        return -errno;
    fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (made)
        rc = owner_give(dir_fd, fd);
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

/* glibc's setgroups() is for all threads; the system call is for this one. */
static int owner_set_groups(int count, const gid_t *groups)
{
    return syscall(SYS_setgroups, (size_t)count, groups) == 0 ? 0 : -errno;
}

/* setfsuid() and setfsgid() do not say whether they did it; asked for an impossible id they say what is in force. */
static bool owner_set_ids(uid_t uid, gid_t gid)
{
    setfsgid(gid);
    setfsuid(uid);
    return setfsuid((uid_t)-1) == (int)uid && setfsgid((gid_t)-1) == (int)gid;
}

static int owner_save_groups(struct owner_rights *before)
{
    before->count = getgroups(0, NULL);
    if (before->count < 0)
        return -errno;
    before->groups = calloc((size_t)before->count + 1, sizeof(*before->groups));
    if (before->groups == NULL)
        return -ENOMEM;
    before->count = getgroups(before->count, before->groups);
    return before->count < 0 ? -errno : 0;
}

int owner_begin(int dir_fd, struct owner_rights *before)
{
    struct stat dir;
    int rc = owner_is_other(dir_fd, &dir);

    *before = (struct owner_rights){.uid = geteuid(), .gid = getegid()};
    if (rc <= 0)
        return rc;
    rc = owner_save_groups(before);
    if (rc == 0 && before->count > 0)
        rc = owner_set_groups(0, NULL);
    if (rc == 0) {
        before->changed = true;
        if (owner_set_ids(dir.st_uid, dir.st_gid))
            return 0;
        owner_end(before);
        return -EPERM;
    }
    free(before->groups);
    return rc;
}

void owner_end(struct owner_rights *before)
{
    if (!before->changed)
        return;
    /* It had these rights before, and CAP_SETGID all along. Should the kernel refuse, the thread has less than it
     * had, and the next access says so. */
    (void)owner_set_ids(before->uid, before->gid);
    if (before->count > 0)
        (void)owner_set_groups(before->count, before->groups);
    free(before->groups);
    before->changed = false;
}
