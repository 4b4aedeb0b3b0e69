#include "tools/bench/mounted.h"

#include "tools/bench/bench.h"
#include "tools/bench/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_SECONDS 60.0
#define STOP_SECONDS 60.0 /* what is queued is put on disk first */
#define DETACH_SECONDS 20.0
#define LOOK_SECONDS 0.002

/* Is something mounted there? The file system itself is not asked: its daemon may be gone, or hang. */
static bool mounted_is(const char *path)
{
    struct statx st;

    if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_SYMLINK_NOFOLLOW, STATX_TYPE, &st) < 0)
        return errno != ENOENT;
    return st.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

int mounted_start(struct mounted *mounted, char *const argv[])
{
    double end = process_now() + START_SECONDS;
    int status = 0, rc;

    mounted->pid = process_spawn(argv, SIGTERM);
    if (mounted->pid < 0) {
        rc = mounted->pid;
        mounted->pid = 0;
        bench_say("%s: %s", argv[0], strerror(-rc));
        return rc;
    }
    while (!mounted_is(mounted->path)) {
        rc = process_wait(mounted->pid, 0, &status);
        if (rc == -ETIMEDOUT && process_now() < end) {
            process_pause(LOOK_SECONDS);
            continue;
        }
        if (rc == 0)
            mounted->pid = 0;
        if (rc != -EINTR)
            bench_say("%s: mounts nothing at %s", argv[0], mounted->path);
        (void)mounted_stop(mounted);
        return rc < 0 ? rc : -EIO;
    }
    return 0;
}

/* The mount of a daemon that was killed. Root may do that alone; others have a program for it. */
static void mounted_detach(const char *path)
{
    char *const argv[] = {"fusermount3", "-u", "-z", "-q", (char *)path, NULL};
    int status;
    pid_t child;

    if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
        return;
    child = process_spawn(argv, SIGKILL);
    if (child > 0 && process_wait(child, DETACH_SECONDS, &status) < 0)
        (void)process_end(child, SIGKILL, 0, &status);
}

int mounted_stop(struct mounted *mounted)
{
    int status = 0, rc = 0;

    if (mounted->pid > 0) {
        rc = process_end(mounted->pid, SIGTERM, STOP_SECONDS, &status);
        mounted->pid = 0;
        if (rc < 0)
            bench_say("the daemon of %s does not end", mounted->path);
        else if (status != 0)
            bench_say("the daemon of %s failed, or had to be killed", mounted->path);
    }
    if (mounted_is(mounted->path)) {
        mounted_detach(mounted->path);
        if (mounted_is(mounted->path)) {
            bench_say("%s cannot be unmounted", mounted->path);
            rc = -EBUSY;
        }
    }
    return rc == 0 && status != 0 ? -EIO : rc;
}
