#include "tools/bench/daemon.h"

#include "tools/bench/bench.h"
#include "tools/bench/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_SECONDS 60.0
#define STOP_SECONDS 60.0 /* what is queued is put on disk first */
#define DETACH_SECONDS 20.0
#define LOOK_SECONDS 0.0002
#define FORMER_STATUS (128 + SIGTERM) /* of programs that end so when they are asked to */

/* Is something mounted there? The file system itself is not asked: its daemon may be gone, or hang. */
static bool daemon_is_mounted(const char *path)
{
    struct statx st;

    if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_SYMLINK_NOFOLLOW, STATX_TYPE, &st) < 0)
        return errno != ENOENT;
    return st.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

/* A path may be longer than the name of a socket can be, so it is reached through its directory. */
static bool daemon_listens(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int dir = -1, fd = -1;
    char above[PATH_MAX];
    char *name;
    bool done;

    snprintf(above, sizeof(above), "%s", path);
    name = strrchr(above, '/');
    *name++ = '\0';
    dir = open(above, O_PATH | O_DIRECTORY | O_CLOEXEC);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%.32s", dir, name);
    done = dir >= 0 && fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    if (dir >= 0)
        close(dir);
    if (fd >= 0)
        close(fd);
    return done;
}

static bool daemon_is_ready(const struct daemon *daemon)
{
    return daemon->kind == DAEMON_SOCKET ? daemon_listens(daemon->path) : daemon_is_mounted(daemon->path);
}

int daemon_start(struct daemon *daemon, char *const argv[])
{
    double end = process_now() + START_SECONDS;
    int status = 0, rc;
    struct stat st;

    daemon->pid = process_spawn(argv, SIGTERM, NULL, daemon->log, daemon->log);
    if (daemon->pid < 0) {
        rc = daemon->pid;
        daemon->pid = 0;
        bench_say("%s: %s", argv[0], strerror(-rc));
        return rc;
    }
    while (!daemon_is_ready(daemon)) {
        rc = process_wait(daemon->pid, 0, &status);
        if (rc == -ETIMEDOUT && process_now() < end) {
            process_pause(LOOK_SECONDS);
            continue;
        }
        if (rc == 0)
            daemon->pid = 0;
        if (rc != -EINTR && daemon->log < 0)
            bench_say("%s: mounts nothing at %s", argv[0], daemon->path);
        (void)daemon_stop(daemon);
        return rc < 0 ? rc : -EIO;
    }
    if (daemon->kind == DAEMON_MOUNT &&
        stat(daemon->path, &st) < 0) /* it serves: else a stop could come too early */
        return -errno;
    return 0;
}

/* The mount of a daemon that was killed. Root may do that alone; others have a program for it. */
static void daemon_detach(const char *path)
{
    char *const argv[] = {"fusermount3", "-u", "-z", "-q", (char *)path, NULL};
    int status;
    pid_t child;

    if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
        return;
    child = process_spawn(argv, SIGKILL, NULL, -1, -1);
    if (child > 0 && process_wait(child, DETACH_SECONDS, &status) < 0)
        (void)process_end(child, SIGKILL, 0, &status);
}

/* Does a status tell of an end as it was asked for? */
static bool daemon_ended_well(const struct daemon *daemon, int status)
{
    return status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM) ||
           (WIFEXITED(status) && (daemon->foreign || WEXITSTATUS(status) == FORMER_STATUS));
}

int daemon_stop(struct daemon *daemon)
{
    int status = 0, rc = 0;

    if (daemon->pid > 0) {
        rc = process_end(daemon->pid, SIGTERM, STOP_SECONDS, &status);
        daemon->pid = 0;
        if (rc < 0)
            bench_say("the daemon of %s does not end", daemon->path);
        else if (!daemon_ended_well(daemon, status))
            bench_say("the daemon of %s failed, or had to be killed", daemon->path);
    }
    if (daemon->kind == DAEMON_MOUNT && daemon_is_mounted(daemon->path)) {
        daemon_detach(daemon->path);
        if (daemon_is_mounted(daemon->path)) {
            bench_say("%s cannot be unmounted", daemon->path);
            rc = -EBUSY;
        }
    }
    return rc == 0 && !daemon_ended_well(daemon, status) ? -EIO : rc;
}

/* ---------------------------------------------------------------- what the kernel counts of it */

/* Add up the numbers of the lines that begin with a word, as "syscr: 12". returns 0; -errno */
static int daemon_add(const char *path, const char *const words[2], uint64_t *sum)
{
    FILE *file = fopen(path, "re");
    char line[256];
    int rc = 0;

    if (file == NULL)
        return -errno;
    while (fgets(line, sizeof(line), file) != NULL)
        for (int i = 0; i < 2 && words[i] != NULL; i++)
            if (strncmp(line, words[i], strlen(words[i])) == 0)
                *sum += strtoull(line + strlen(words[i]), NULL, 10);
    if (ferror(file))
        rc = errno != 0 ? -errno : -EIO;
    fclose(file);
    return rc;
}

int daemon_memory(const struct daemon *daemon, uint64_t *out)
{
    static const char *const words[2] = {"RssAnon:"};
    char path[64];
    int rc;

    *out = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)daemon->pid);
    rc = daemon_add(path, words, out);
    *out *= 1024;
    return rc;
}

int daemon_calls(const struct daemon *daemon, uint64_t *out)
{
    static const char *const words[2] = {"syscr:", "syscw:"};
    char path[64];

    *out = 0;
    snprintf(path, sizeof(path), "/proc/%d/io", (int)daemon->pid);
    return daemon_add(path, words, out);
}

int daemon_switches(const struct daemon *daemon, uint64_t *out)
{
    static const char *const words[2] = {"voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"};
    char path[sizeof("/proc//task//status") + 2 * NAME_MAX];
    struct dirent *entry;
    DIR *dir;

    *out = 0;
    snprintf(path, sizeof(path), "/proc/%d/task", (int)daemon->pid);
    dir = opendir(path);
    if (dir == NULL)
        return -errno;
    while ((entry = readdir(dir)) != NULL) { /* a thread that has ended meanwhile has not woken up */
        snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)daemon->pid, entry->d_name);
        if (entry->d_name[0] != '.')
            (void)daemon_add(path, words, out);
    }
    closedir(dir);
    return 0;
}
