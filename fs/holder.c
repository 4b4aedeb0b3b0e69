#include "fs/holder.h"

#include "fs/base/options.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A shell has few, and the ones that it works with come first; a process with thousands is not worth the time. */
enum { LOOKED_AT = 64 };

struct descriptor {
    uint64_t mount, ino;
    unsigned flags;
};

/* Read what fdinfo tells of a descriptor. returns false where it cannot be told */
static bool read_descriptor(int dir, const char *name, struct descriptor *out)
{
    char text[256];
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    if (fd >= 0)
        close(fd);
    if (size <= 0)
        return false;
    text[size] = '\0';
    return sscanf(text, "pos: %*u flags: %o mnt_id: %" SCNu64 " ino: %" SCNu64, &out->flags, &out->mount,
                  &out->ino) == 3;
}

void fs_holder_know_mount(struct fs *fs)
{
    int fd = open(fs->options->mountpoint, O_PATH | O_CLOEXEC),
        own = open("/proc/self/fdinfo", O_PATH | O_CLOEXEC);
    struct descriptor root;
    char name[16];

    snprintf(name, sizeof(name), "%d", fd);
    if (fd >= 0 && own >= 0 && read_descriptor(own, name, &root))
        fs->nodes->mount_id = root.mount;
    if (own >= 0)
        close(own);
    if (fd >= 0)
        close(fd);
}

bool fs_holder_has_more(const struct fs *fs, uint64_t ino, pid_t pid)
{
    struct descriptor other;
    struct dirent *entry;
    char name[32];
    bool found = false;
    DIR *dir;

    if (pid <= 0 || fs->nodes->mount_id == 0)
        return false;
    snprintf(name, sizeof(name), "/proc/%ld/fdinfo", (long)pid);
    dir = opendir(name);
    if (dir == NULL)
        return false;
    for (int i = 0; !found && i < LOOKED_AT && (entry = readdir(dir)) != NULL; i++)
        found = entry->d_name[0] != '.' && read_descriptor(dirfd(dir), entry->d_name, &other) &&
                other.mount == fs->nodes->mount_id && other.ino == ino && (other.flags & O_ACCMODE) != O_RDONLY;
    closedir(dir);
    return found;
}
