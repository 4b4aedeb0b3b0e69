#include "fs/holder.h"

#include "fs/options.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool fs_holder_has_more(struct fs *fs, struct fs_inode *inode, pid_t pid)
{
    char path[2 * KV_NAME_MAX + KV_KEY_MAX + 8], wanted[PATH_MAX + sizeof(path)], link[sizeof(wanted)],
        dir_name[32];
    struct dirent *entry;
    bool found = false;
    DIR *dir;

    if (pid <= 0)
        return false;
    fs_inode_path(fs, inode, NULL, path, sizeof(path));
    snprintf(wanted, sizeof(wanted), "%s/%s", fs->options->mountpoint, path);
    snprintf(dir_name, sizeof(dir_name), "/proc/%ld/fd", (long)pid);
    dir = opendir(dir_name);
    if (dir == NULL)
        return false;
    while (!found && (entry = readdir(dir)) != NULL) {
        ssize_t size = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);

        if (size > 0) {
            link[size] = '\0';
            found = strcmp(link, wanted) == 0;
        }
    }
    closedir(dir);
    return found;
}
