#include "fs/content/closing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* In headers from Linux 6.9 and 6.13 on. */
#define PIDFD_OF_THREAD O_EXCL
struct closing_info {
    uint64_t mask, cgroup;
    uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid, spare;
};
#define CLOSING_GET_INFO _IOWR(0xff, 11, struct closing_info)

/* Is there such a thread in such a process? (No signal is sent.) */
static bool closing_has(pid_t process, pid_t thread)
{
    return syscall(SYS_tgkill, process, thread, 0) == 0 || errno != ESRCH;
}

/* A process has the number of its first thread. */
static bool closing_is_first(pid_t thread) { return closing_has(thread, thread); }

pid_t fs_process_of(pid_t thread)
{
    struct closing_info info = {.mask = 1};
    int fd, rc;

    if (thread <= 0 || closing_is_first(thread))
        return thread;
    fd = (int)syscall(SYS_pidfd_open, thread, PIDFD_OF_THREAD);
    rc = fd < 0 ? -1 : ioctl(fd, CLOSING_GET_INFO, &info);
    if (fd >= 0)
        close(fd);
    return rc == 0 && info.tgid > 0 ? (pid_t)info.tgid : -thread;
}

bool fs_process_has(pid_t process, pid_t thread)
{
    if (process == 0 || thread <= 0)
        return true;
    if (process > 0)
        return process == thread || closing_has(process, thread);
    return closing_has(thread, -process) || !closing_is_first(thread);
}
