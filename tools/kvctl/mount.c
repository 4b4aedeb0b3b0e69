/* What a program is given as its mount decides where it reads and writes. So a directory of the right name is not
 * enough: it may be the empty mount point of a daemon that is not running, the mount of another store, or a file system
 * that another user has mounted there. The kernel knows the type, the mount point and the mounting user; which store it
 * is, the daemon says in /.kvfs/config. */
#include "tools/kvctl/mount.h"

#include "tools/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#define MOUNT_FUSE_MAGIC 0x65735546
#define MOUNT_TYPE "fuse.kvfs"
#define MOUNT_RULE "it takes the directory where kvfs mounted the store"

/* What /proc/self/mountinfo says of a mount. */
struct mount_info {
    bool is_kvfs;
    bool is_whole;      /* not a directory within it, mounted once more */
    unsigned long user; /* who mounted it */
};

/* The number of the mount that an open file lies in; -1 unknown. */
static long mount_number(int fd)
{
    char path[64], line[128];
    long number = -1;
    FILE *info;

    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    info = fopen(path, "re");
    if (info == NULL)
        return -1;
    while (fgets(line, sizeof(line), info) != NULL)
        if (sscanf(line, "mnt_id: %ld", &number) == 1)
            break;
    fclose(info);
    return number;
}

/* A line of /proc/self/mountinfo: NUMBER PARENT DEVICE ROOT POINT OPTIONS [FIELD...] - TYPE SOURCE OPTIONS
 * returns  false where it is of another mount */
static bool mount_parse(char *line, long number, struct mount_info *out)
{
    char *rest = strstr(line, " - "), *root = NULL, *type, *options, *user;
    long found;
    int at = 0;

    if (rest == NULL || sscanf(line, "%ld %*d %*s %n", &found, &at) != 1 || found != number || at == 0)
        return false;
    root = line + at;
    type = strtok_r(rest + 3, " \n", &rest);
    options = type != NULL && strtok_r(NULL, " \n", &rest) != NULL ? strtok_r(NULL, " \n", &rest) : NULL;
    user = options != NULL ? strstr(options, "user_id=") : NULL;
    out->is_kvfs = type != NULL && strcmp(type, MOUNT_TYPE) == 0 && user != NULL;
    out->is_whole = strncmp(root, "/ ", 2) == 0;
    out->user = user != NULL ? strtoul(user + strlen("user_id="), NULL, 10) : 0;
    return true;
}

/* returns  false where nothing is known of it */
static bool mount_find(int fd, struct mount_info *out)
{
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    long number = mount_number(fd);
    bool found = false;
    char *line = NULL;
    size_t size = 0;

    if (mounts == NULL)
        return false;
    while (!found && number >= 0 && getline(&line, &size, mounts) > 0)
        found = mount_parse(line, number, out);
    free(line);
    fclose(mounts);
    return found;
}

/* Does the daemon serve the store that this command has open? */
static int mount_check_store(struct ctl_request *request, int fd, dev_t device, const struct stat *store)
{
    const char *dir = request->mount, *number, *inode, *other;
    unsigned major, minor;
    uint64_t ino;
    char *config = cli_read_config(fd, device);
    int status = CTL_OK;

    if (config == NULL)
        return ctl_fail("--mount %s: its daemon does not say in .kvfs/config which store it serves", dir);
    number = cli_setting(config, "store_device", strlen("store_device"));
    inode = cli_setting(config, "store_inode", strlen("store_inode"));
    other = cli_setting(config, "store", strlen("store"));
    if (number == NULL || inode == NULL || other == NULL || sscanf(number, "%u:%u", &major, &minor) != 2 ||
        sscanf(inode, "%" SCNu64, &ino) != 1)
        status = ctl_fail("--mount %s: a kvfs of another version serves it; mount the store anew", dir);
    else if (makedev(major, minor) != store->st_dev || ino != store->st_ino)
        status = ctl_fail("--mount %s: another store is mounted here, %.*s; " MOUNT_RULE, dir,
                          (int)strcspn(other, "\n"), other);
    free(config);
    return status;
}

static int mount_check(struct ctl_request *request, int fd)
{
    const char *dir = request->mount;
    struct mount_info mount;
    struct stat root, store;
    struct statfs type;

    if (fstatfs(fd, &type) < 0 || fstat(fd, &root) < 0)
        return ctl_fail("--mount %s: %s; " MOUNT_RULE, dir, strerror(errno));
    if (stat(request->store_dir, &store) < 0)
        return ctl_fail("%s: %s", request->store_dir, strerror(errno));
    if (type.f_type != MOUNT_FUSE_MAGIC)
        return ctl_fail("--mount %s: no kvfs is mounted here; mount the store with: kvfs %s %s", dir,
                        request->store_dir, dir);
    if (!mount_find(fd, &mount))
        return ctl_fail("--mount %s: /proc/self/mountinfo does not say what is mounted here", dir);
    if (!mount.is_kvfs)
        return ctl_fail("--mount %s: another file system than kvfs is mounted here; " MOUNT_RULE, dir);
    if (!mount.is_whole || root.st_ino != KV_ROOT_ID)
        return ctl_fail("--mount %s: this is a directory within a mount; " MOUNT_RULE, dir);
    if (mount.user != 0 && mount.user != geteuid() && mount.user != store.st_uid)
        return ctl_fail("--mount %s: user %lu has mounted it, who is neither root, nor you, nor the store's owner",
                        dir, mount.user);
    return mount_check_store(request, fd, root.st_dev, &store);
}

static int mount_make_absolute(struct ctl_request *request)
{
    const char *dir = request->mount;
    char *cwd, *path;
    size_t size;

    while (dir[0] == '.' && dir[1] == '/')
        for (dir += 2; *dir == '/'; dir++)
            ;
    cwd = *dir == '/' ? strdup("") : get_current_dir_name();
    if (cwd == NULL)
        return ctl_fail("the working directory: %s", strerror(errno));
    if (strcmp(dir, ".") == 0)
        dir = "";
    if (asprintf(&path, "%s%s%s", cwd, *dir == '/' || *dir == '\0' ? "" : "/", dir) < 0)
        path = NULL;
    free(cwd);
    if (path == NULL)
        return ctl_fail("out of memory");
    for (size = strlen(path); size > 0 && path[size - 1] == '/'; size--)
        path[size - 1] = '\0';
    request->mount_path = path;
    return CTL_OK;
}

int ctl_use_mount(struct ctl_request *request)
{
    int status, fd = open(request->mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return ctl_fail("--mount %s: %s; " MOUNT_RULE, request->mount, strerror(errno));
    status = mount_check(request, fd);
    close(fd);
    return status == CTL_OK ? mount_make_absolute(request) : status;
}
