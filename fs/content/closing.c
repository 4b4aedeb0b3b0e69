#include "fs/content/closing.h"

#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

pid_t fs_process_of(pid_t thread)
{
    int fd = thread > 0 ? (int)syscall(SYS_pidfd_open, thread, 0) : -1;
    char path[32], line[128];
    int process = thread;
    FILE *status;

    if (fd >= 0)
        close(fd); /* only a process's first thread has such a descriptor */
    if (fd >= 0 || thread <= 0)
        return thread;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)thread);
    status = fopen(path, "re");
    if (status == NULL)
        return thread;
    while (fgets(line, sizeof(line), status) != NULL && sscanf(line, "Tgid: %d", &process) != 1)
        ;
    fclose(status);
    return process;
}

bool fs_process_has(pid_t process, pid_t thread)
{
    char path[64];

    if (process <= 0 || thread <= 0 || process == thread)
        return true;
    snprintf(path, sizeof(path), "/proc/%d/task/%d", (int)process, (int)thread);
    return access(path, F_OK) == 0;
}
