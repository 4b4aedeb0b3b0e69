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

long mount_number(int fd)
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

/* Undo the escapes of /proc/self/mountinfo, of three octal digits, in place. */
static void mount_unescape(char *text)
{
    char *to = text;
    unsigned code;

    for (const char *from = text; *from != '\0'; to++) {
        bool escaped = *from == '\\' && sscanf(from + 1, "%3o", &code) == 1;

        *to = escaped ? (char)code : *from;
        from += escaped ? 4 : 1;
    }
    *to = '\0';
}

/* A line of /proc/self/mountinfo: NUMBER PARENT DEVICE ROOT POINT OPTIONS [FIELD...] - TYPE SOURCE OPTIONS
 * returns  false where it is none, or there is no memory */
static bool mount_parse(char *line, long *number, struct mount_info *out)
{
    char *rest = strstr(line, " - "), *root, *point, *type, *options, *user;
    int at = 0;

    if (rest == NULL || sscanf(line, "%ld %*d %*s %n", number, &at) != 1 || at == 0)
        return false;
    *rest = '\0';
    type = strtok_r(rest + 3, " \n", &rest);
    options = type != NULL && strtok_r(NULL, " \n", &rest) != NULL ? strtok_r(NULL, " \n", &rest) : NULL;
    user = options != NULL ? strstr(options, "user_id=") : NULL;
    root = strtok_r(line + at, " ", &rest);
    point = root != NULL ? strtok_r(NULL, " ", &rest) : NULL;
    out->is_kvfs = type != NULL && strcmp(type, MOUNT_TYPE) == 0 && user != NULL;
    out->is_whole = root != NULL && strcmp(root, "/") == 0;
    out->user = user != NULL ? strtoul(user + strlen("user_id="), NULL, 10) : 0;
    out->point = strdup(point != NULL ? point : "");
    if (out->point != NULL)
        mount_unescape(out->point);
    return out->point != NULL;
}

/* Visit mounts until `visit` answers true. A mount's point is its own to free, or to keep. returns its last answer */
static bool mount_visit(bool (*visit)(void *arg, long number, struct mount_info *mount), void *arg)
{
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    struct mount_info mount;
    bool found = false;
    char *line = NULL;
    size_t size = 0;
    long number;

    if (mounts == NULL)
        return false;
    while (!found && getline(&line, &size, mounts) > 0)
        if (mount_parse(line, &number, &mount))
            found = visit(arg, number, &mount);
    free(line);
    fclose(mounts);
    return found;
}

struct mount_wanted {
    long number;
    struct mount_info *out;
};

static bool mount_is_wanted(void *arg, long number, struct mount_info *mount)
{
    struct mount_wanted *wanted = arg;

    if (number == wanted->number)
        *wanted->out = *mount;
    else
        free(mount->point);
    return number == wanted->number;
}

bool mount_find(int fd, struct mount_info *out)
{
    struct mount_wanted wanted = {mount_number(fd), out};

    return wanted.number >= 0 && mount_visit(mount_is_wanted, &wanted);
}

static bool mount_add(void *arg, long number, struct mount_info *mount)
{
    struct mount_points *points = arg;
    char **items = NULL;

    (void)number;
    if (mount->is_kvfs && mount->is_whole)
        items = reallocarray(points->items, points->count + 1, sizeof(*items));
    if (items == NULL) {
        free(mount->point);
        return false;
    }
    points->items = items;
    points->items[points->count++] = mount->point;
    return false;
}

struct mount_points mount_all(void)
{
    struct mount_points points = {.items = NULL};

    (void)mount_visit(mount_add, &points);
    return points;
}

void mount_points_free(struct mount_points *points)
{
    for (size_t i = 0; i < points->count; i++)
        free(points->items[i]);
    free(points->items);
}

int mount_ask(const char *subject, int root, struct mount_served *out)
{
    const char *number, *inode, *dir;
    unsigned major, minor;
    struct stat attr;
    uint64_t ino;
    char *config = fstat(root, &attr) == 0 ? cli_read_config(root, attr.st_dev) : NULL;
    int status = CTL_OK;

    if (config == NULL)
        return ctl_fail("%s: its daemon does not say in .kvfs/config which store it serves", subject);
    number = cli_setting(config, "store_device", strlen("store_device"));
    inode = cli_setting(config, "store_inode", strlen("store_inode"));
    dir = cli_setting(config, "store", strlen("store"));
    if (number == NULL || inode == NULL || dir == NULL || sscanf(number, "%u:%u", &major, &minor) != 2 ||
        sscanf(inode, "%" SCNu64, &ino) != 1) {
        status = ctl_fail("%s: a kvfs of another version serves it; mount the store anew", subject);
    } else {
        *out = (struct mount_served){strndup(dir, strcspn(dir, "\n")), makedev(major, minor), ino};
        if (out->dir == NULL)
            status = ctl_fail("out of memory");
    }
    free(config);
    return status;
}

int mount_check_user(const char *subject, const struct mount_info *mount, uid_t store_owner)
{
    if (mount->user == 0 || mount->user == geteuid() || mount->user == store_owner)
        return CTL_OK;
    return ctl_fail("%s: user %lu has mounted it, who is neither root, nor you, nor the store's owner", subject,
                    mount->user);
}

/* Does the daemon serve the store that this command has open? */
static int mount_check_store(const char *subject, int root, const struct stat *store)
{
    struct mount_served served;
    int status = mount_ask(subject, root, &served);

    if (status != CTL_OK)
        return status;
    if (served.device != store->st_dev || served.inode != store->st_ino)
        status = ctl_fail("%s: another store is mounted here, %s; " MOUNT_RULE, subject, served.dir);
    free(served.dir);
    return status;
}

static int mount_check(struct ctl_request *request, const char *subject, int fd)
{
    struct mount_info mount;
    struct stat root, store;
    struct statfs type;
    int status = CTL_OK;

    if (fstatfs(fd, &type) < 0 || fstat(fd, &root) < 0)
        return ctl_fail("%s: %s; " MOUNT_RULE, subject, strerror(errno));
    if (stat(request->store_dir, &store) < 0)
        return ctl_fail("%s: %s", request->store_dir, strerror(errno));
    if (type.f_type != MOUNT_FUSE_MAGIC)
        return ctl_fail("%s: no kvfs is mounted here; mount the store with: kvfs %s %s", subject,
                        request->store_dir, request->mount);
    if (!mount_find(fd, &mount))
        return ctl_fail("%s: /proc/self/mountinfo does not say what is mounted here", subject);
    if (!mount.is_kvfs)
        status = ctl_fail("%s: another file system than kvfs is mounted here; " MOUNT_RULE, subject);
    else if (!mount.is_whole || root.st_ino != KV_ROOT_ID)
        status = ctl_fail("%s: this is a directory within a mount; " MOUNT_RULE, subject);
    else
        status = mount_check_user(subject, &mount, store.st_uid);
    free(mount.point);
    return status == CTL_OK ? mount_check_store(subject, fd, &store) : status;
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
    char *subject;

    if (fd < 0)
        return ctl_fail("--mount %s: %s; " MOUNT_RULE, request->mount, strerror(errno));
    if (asprintf(&subject, "--mount %s", request->mount) < 0) {
        close(fd);
        return ctl_fail("out of memory");
    }
    status = mount_check(request, subject, fd);
    free(subject);
    close(fd);
    return status == CTL_OK ? mount_make_absolute(request) : status;
}
