/* mount(8) tells its helper, and the helper the kernel, which tells the daemon nothing of it. So `ro` keeps writers out
 * before they come to the daemon, and the daemon goes on as it was. */
#include "fs/cli/remount.h"

#include "fs/cli/say.h"
#include "tools/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* fs_say(), and an answer that goes with it. */
#define REFUSE(...) (fs_say(__VA_ARGS__), false)

/* What the kernel keeps. */
static const struct {
    const char *name;
    unsigned long set, clear;
} remount_flags[] = {
    {"ro", MS_RDONLY, 0},
    {"rw", 0, MS_RDONLY},
    {"nosuid", MS_NOSUID, 0},
    {"suid", 0, MS_NOSUID},
    {"nodev", MS_NODEV, 0},
    {"dev", 0, MS_NODEV},
    {"noexec", MS_NOEXEC, 0},
    {"exec", 0, MS_NOEXEC},
    {"noatime", MS_NOATIME, MS_RELATIME | MS_STRICTATIME},
    {"atime", 0, MS_NOATIME},
    {"nodiratime", MS_NODIRATIME, 0},
    {"diratime", 0, MS_NODIRATIME},
    {"relatime", MS_RELATIME, MS_NOATIME | MS_STRICTATIME},
    {"strictatime", MS_STRICTATIME, MS_NOATIME | MS_RELATIME},
    {"sync", MS_SYNCHRONOUS, 0},
    {"async", 0, MS_SYNCHRONOUS},
};

static unsigned long remount_flags_now(const struct statvfs *mount)
{
    static const struct {
        unsigned long shown, flag;
    } pairs[] = {{ST_RDONLY, MS_RDONLY},     {ST_NOSUID, MS_NOSUID},          {ST_NODEV, MS_NODEV},
                 {ST_NOEXEC, MS_NOEXEC},     {ST_NOATIME, MS_NOATIME},        {ST_NODIRATIME, MS_NODIRATIME},
                 {ST_RELATIME, MS_RELATIME}, {ST_SYNCHRONOUS, MS_SYNCHRONOUS}};
    unsigned long flags = 0;

    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
        if (mount->f_flag & pairs[i].shown)
            flags |= pairs[i].flag;
    return flags;
}

/* Numbers can be written in several ways: 5 and 5.000, 1M and 1048576. */
static bool remount_is_same(const char *asked, const char *now, size_t size)
{
    char text[256], *end;
    uint64_t bytes;
    double number;

    if (size >= sizeof(text))
        return false;
    memcpy(text, now, size);
    text[size] = '\0';
    if (strcmp(asked, text) == 0)
        return true;
    number = strtod(asked, &end);
    if (end != asked && *end == '\0')
        return number == strtod(text, NULL);
    return cli_parse_number(asked, true, &bytes) && (double)bytes == strtod(text, NULL);
}

/* An option NAME=VALUE of the daemon has to be what it is; all others are not the daemon's, or cannot be told. */
static bool remount_keeps(const char *config, const char *option)
{
    const char *value = strchr(option, '=');
    const char *now = value == NULL ? NULL : cli_setting(config, option, (size_t)(value - option));

    if (now == NULL || remount_is_same(value + 1, now, strcspn(now, "\n")))
        return true;
    return REFUSE("-o %s: in this mount it is %.*s, and only an unmount and a new mount change that", option,
                  (int)strcspn(now, "\n"), now);
}

/* Take one option. returns  false after a line on standard error */
static bool remount_take(const char *config, const char *option, unsigned long *flags)
{
    for (size_t i = 0; i < sizeof(remount_flags) / sizeof(remount_flags[0]); i++)
        if (strcmp(option, remount_flags[i].name) == 0) {
            *flags = (*flags & ~remount_flags[i].clear) | remount_flags[i].set;
            return true;
        }
    return remount_keeps(config, option);
}

static bool remount_take_all(const char *config, const char *options, unsigned long *flags)
{
    char *list = strdup(options), *rest = list, *option;
    bool ok = list != NULL || REFUSE("out of memory");

    while (ok && (option = strsep(&rest, ",")) != NULL)
        ok = remount_take(config, option, flags);
    free(list);
    return ok;
}

static bool remount_apply(const char *path, const char *config, const struct statvfs *mount_now,
                          const char *options)
{
    unsigned long flags = remount_flags_now(mount_now);
    const char *read_only = cli_setting(config, "ro", strlen("ro"));

    if (!remount_take_all(config, options, &flags))
        return false;
    if ((flags & MS_RDONLY) == 0 && read_only != NULL && strncmp(read_only, "yes", 3) == 0)
        return REFUSE("%s: the store was opened read-only; unmount it, and mount it without ro", path);
    if (mount("none", path, NULL, flags | MS_REMOUNT, NULL) < 0)
        return REFUSE("%s: cannot remount: %s", path, strerror(errno));
    return true;
}

int fs_remount(const char *path, const char *options)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct statvfs mount_now;
    char *config = NULL;
    struct stat attr;
    bool ok = fd >= 0 && fstat(fd, &attr) == 0 && fstatvfs(fd, &mount_now) == 0;

    if (!ok)
        fs_say("%s: %s", path, strerror(errno));
    else if ((config = cli_read_config(fd, attr.st_dev)) == NULL)
        ok = REFUSE("%s: no kvfs is mounted here", path);
    if (fd >= 0)
        close(fd);
    ok = ok && remount_apply(path, config, &mount_now, options);
    free(config);
    return ok ? 0 : -1;
}
