#include "fs/transport/mountpoint.h"

#include "fs/transport/privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define KVFS_TYPE "fuse.kvfs" /* as /proc/self/mounts has it */
#define TYPE_BYTES 64

extern char **environ;

#define FAIL(error, rc, ...) (snprintf((error)->text, sizeof((error)->text), __VA_ARGS__), (rc))

/* Root can unmount by itself; everybody else has fusermount3 for it. */
static void mountpoint_detach(const char *path)
{
    char *const argv[] = {"fusermount3", "-u", "-z", "-q", (char *)path, NULL};
    int status;
    pid_t pid;

    if (umount2(path, MNT_DETACH) == 0)
        return;
    if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) == 0)
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
}

/* The type of what is mounted at `path`, on top of what may be below it; "" nothing */
static void mountpoint_type(const char *path, char type[TYPE_BYTES])
{
    FILE *mounts = setmntent("/proc/self/mounts", "r");
    struct mntent *entry;

    type[0] = '\0';
    if (mounts == NULL)
        return;
    while ((entry = getmntent(mounts)) != NULL)
        if (strcmp(entry->mnt_dir, path) == 0)
            snprintf(type, TYPE_BYTES, "%s", entry->mnt_type);
    endmntent(mounts);
}

/* Is `path` the directory `above`, or below it? */
static bool mountpoint_is_within(const char *path, const char *above)
{
    size_t size = strlen(above);

    return strncmp(path, above, size) == 0 && (path[size] == '\0' || path[size] == '/' || size == 1);
}

/* stat(2) may be answered from the kernel's cache; statvfs(2) always asks the daemon. ECANCELED and ECONNABORTED are
 * what the kernel says for one that was killed just now and had io_uring. */
static bool mountpoint_is_dead(const char *path)
{
    struct statvfs space;

    return statvfs(path, &space) < 0 && (errno == ENOTCONN || errno == ECANCELED || errno == ECONNABORTED);
}

/* Who needs fusermount3 may mount on what he could fill with files. */
static bool mountpoint_may_mount(const char *path, const struct stat *attr)
{
    if (fs_privileges_may_mount())
        return true;
    return access(path, W_OK) == 0 && ((attr->st_mode & S_ISVTX) == 0 || attr->st_uid == geteuid());
}

int fs_mountpoint_prepare(const char *path, const char *store, struct kv_error *error)
{
    char type[TYPE_BYTES];
    struct stat attr;

    mountpoint_type(path, type);
    for (int mounts = 0; mounts < 16 && strcmp(type, KVFS_TYPE) == 0 && mountpoint_is_dead(path); mounts++) {
        mountpoint_detach(path);
        mountpoint_type(path, type);
    }
    if (stat(path, &attr) < 0) {
        if (errno == ENOENT)
            return FAIL(error, -ENOENT, "%s: there is no such directory; make the mount point with mkdir", path);
        if (errno == ENOTCONN)
            return FAIL(error, -EBUSY,
                        "%s: a dead mount (%s) is in the way; unmount it with: fusermount3 -u -z %s", path, type,
                        path);
        return FAIL(error, -errno, "%s: %s; choose a mount point that you can reach", path, strerror(errno));
    }
    if (!S_ISDIR(attr.st_mode))
        return FAIL(error, -ENOTDIR, "%s: a mount point must be a directory; choose another one", path);
    if (strcmp(type, KVFS_TYPE) == 0)
        return FAIL(error, -EBUSY, "%s: a kvfs is mounted here already; unmount it with: fusermount3 -u %s", path,
                    path);
    if (mountpoint_is_within(store, path) || mountpoint_is_within(path, store))
        return FAIL(error, -EINVAL, "%s: the mount point and the store %s must not lie within each other", path,
                    store);
    if (!mountpoint_may_mount(path, &attr))
        return FAIL(
            error, -EACCES,
            "%s: you may not mount here; a mount point must be a directory that you can write to, and your "
            "own where others can, too; choose another one",
            path);
    if (faccessat(AT_FDCWD, "/dev/fuse", R_OK | W_OK, AT_EACCESS) < 0)
        return FAIL(error, -errno,
                    "/dev/fuse: %s; the kernel's fuse module must be loaded, and you allowed to use it",
                    strerror(errno));
    return 0;
}

/* The last line of a file, which is cut where it is long. */
static void mountpoint_last_line(int fd, char *line, size_t size)
{
    ssize_t got = pread(fd, line, size - 1, 0);
    char *start;

    line[got > 0 ? got : 0] = '\0';
    for (ssize_t end = got; end > 0 && line[end - 1] == '\n'; end--)
        line[end - 1] = '\0';
    start = strrchr(line, '\n');
    if (start != NULL)
        memmove(line, start + 1, strlen(start));
}

/* The number that the second next descriptor gets; -1 */
static int mountpoint_second_free(int any)
{
    int first = fcntl(any, F_DUPFD_CLOEXEC, 0), second = fcntl(any, F_DUPFD_CLOEXEC, 0);

    if (first >= 0)
        close(first);
    if (second >= 0)
        close(second);
    return second;
}

/* With auto_unmount, fusermount3 waits until the socket is closed that libfuse has left open, and then unmounts what is
 * dead; what is not yet dead stays for ever. The kernel closes what a killed process has open from the highest number
 * down, and the socket, one of a pair made first, is above /dev/fuse. So it gets a number below. */
static void mountpoint_close_last(int socket, int below)
{
    struct stat attr;

    if (fstat(socket, &attr) == 0 && S_ISSOCK(attr.st_mode) && dup3(socket, below, O_CLOEXEC) >= 0)
        close(socket);
    else
        close(below);
}

/* fusermount3 says only on standard error why it cannot mount, and so does a part of libfuse. So a file is put in
 * its place meanwhile. */
int fs_mountpoint_mount(struct fuse_session *session, const char *path, struct kv_error *error)
{
    int said = memfd_create("kvfs-mount", MFD_CLOEXEC), kept = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
    int socket = mountpoint_second_free(STDERR_FILENO);
    char reason[256] = "";
    int rc = said < 0 || kept < 0 || dup2(said, STDERR_FILENO) < 0 ? -errno : 0;

    if (rc == 0) {
        fs_privileges_raise();
        rc = fuse_session_mount(session, path) < 0 ? -EIO : 0;
        fs_privileges_lower();
        dup2(kept, STDERR_FILENO);
        mountpoint_last_line(said, reason, sizeof(reason));
    }
    if (said >= 0)
        mountpoint_close_last(socket, said);
    if (kept >= 0)
        close(kept);
    if (rc < 0)
        return FAIL(error, rc, "%s: cannot mount here: %s", path, reason[0] != '\0' ? reason : strerror(-rc));
    return 0;
}

void fs_mountpoint_unmount(struct fuse_session *session)
{
    fs_privileges_raise();
    fuse_session_unmount(session);
    fs_privileges_lower();
}
