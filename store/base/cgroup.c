/* Version 2 has one tree of groups, which a line "0::PATH" of /proc/self/cgroup is about, and files memory.max and
 * memory.high; version 1 a tree of its own for memory, a line "N:memory:PATH", and memory.limit_in_bytes. A limit holds
 * for all that is below it. In a container that sees only its own part of the tree the path can be one of outside;
 * then the group that is mounted, at the root, is the container's. */
#include "store/base/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CGROUP_TEXT = 4096 };

/* Read a small file as a text. returns  false where it cannot be read, or is larger */
static bool cgroup_read(const char *path, char out[CGROUP_TEXT])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t size = 0;
    ssize_t got;

    if (fd < 0)
        return false;
    do {
        got = read(fd, out + size, CGROUP_TEXT - 1 - size);
        size += got > 0 ? (size_t)got : 0;
    } while ((got > 0 && size < CGROUP_TEXT - 1) || (got < 0 && errno == EINTR));
    close(fd);
    out[size] = '\0';
    return got == 0;
}

uint64_t cgroup_parse(const char *text)
{
    unsigned long long bytes;
    char *end;

    if (text[0] < '0' || text[0] > '9')
        return CGROUP_NO_LIMIT; /* "max" */
    errno = 0;
    bytes = strtoull(text, &end, 10);
    return errno != 0 || (*end != '\0' && *end != '\n') ? CGROUP_NO_LIMIT : bytes;
}

/* Is `name` one of the names in a list with commas? */
static bool cgroup_lists(const char *list, size_t size, const char *name)
{
    size_t length = strlen(name);

    for (size_t at = 0; at + length <= size; at++) {
        bool begins = at == 0 || list[at - 1] == ',', ends = at + length == size || list[at + length] == ',';

        if (begins && ends && memcmp(list + at, name, length) == 0)
            return true;
    }
    return false;
}

/* The least limit in `file` from root/path up to the root. */
static uint64_t cgroup_least(const char *root, const char *path, size_t size, const char *file)
{
    uint64_t least = CGROUP_NO_LIMIT;
    char name[PATH_MAX], text[CGROUP_TEXT];

    for (;;) {
        while (size > 0 && path[size - 1] == '/')
            size--;
        if (snprintf(name, sizeof(name), "%s%.*s/%s", root, (int)size, path, file) < (int)sizeof(name) &&
            cgroup_read(name, text)) {
            uint64_t limit = cgroup_parse(text);

            least = limit < least ? limit : least;
        }
        if (size == 0)
            return least;
        while (size > 0 && path[size - 1] != '/')
            size--;
    }
}

/* Of one line: number, names of controllers (none: version 2), path. */
static uint64_t cgroup_of_line(const char *line, size_t size, const char *root)
{
    const char *names = memchr(line, ':', size), *path;
    uint64_t least = CGROUP_NO_LIMIT, high;
    char below[PATH_MAX];

    path = names == NULL ? NULL : memchr(names + 1, ':', size - (size_t)(names + 1 - line));
    if (path == NULL)
        return CGROUP_NO_LIMIT;
    names++;
    if (names == path) {
        size -= (size_t)(path + 1 - line);
        least = cgroup_least(root, path + 1, size, "memory.max");
        high = cgroup_least(root, path + 1, size, "memory.high");
        return high < least ? high : least;
    }
    if (!cgroup_lists(names, (size_t)(path - names), "memory") ||
        snprintf(below, sizeof(below), "%s/memory", root) >= (int)sizeof(below))
        return CGROUP_NO_LIMIT;
    return cgroup_least(below, path + 1, size - (size_t)(path + 1 - line), "memory.limit_in_bytes");
}

uint64_t cgroup_limit(const char *groups, const char *root)
{
    uint64_t least = CGROUP_NO_LIMIT;

    while (*groups != '\0') {
        size_t size = strcspn(groups, "\n");
        uint64_t limit = cgroup_of_line(groups, size, root);

        least = limit < least ? limit : least;
        groups += size + (groups[size] == '\n');
    }
    return least;
}

uint64_t cgroup_own_limit(void)
{
    char groups[CGROUP_TEXT];

    return cgroup_read("/proc/self/cgroup", groups) ? cgroup_limit(groups, "/sys/fs/cgroup") : CGROUP_NO_LIMIT;
}
