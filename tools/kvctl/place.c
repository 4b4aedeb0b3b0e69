/* kvctl: the path of a file below a mount, in place of a store and the names in it. */
#include "tools/kvctl/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLACE_PROJECTS ".projects/"

/* What a path leads to. */
struct place {
    char *path;       /* absolute, without links; its last part need not be there */
    char *dir;        /* the path or, where that is no directory, the one above it */
    const char *text; /* as given, for messages */
    int rc;           /* why path cannot be looked at: it can be a mount that lets nobody in, or a dead one */
};

static bool place_no_store(const struct ctl_request *request)
{
    return request->store_dir == NULL || *request->store_dir == '\0';
}

bool ctl_is_file(const struct ctl_request *request, const char *text)
{
    static const char *const begins[] = {"/", "./", "../"};

    for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++)
        if (strncmp(text, begins[i], strlen(begins[i])) == 0)
            return true;
    return strcmp(text, ".") == 0 || strcmp(text, "..") == 0 || request->only_files || place_no_store(request);
}

static void place_free(struct place *place)
{
    free(place->path);
    free(place->dir);
}

/* Split a path before its last part.
 * returns  false where there is no such part, or no memory */
static bool place_split(const char *text, char **above, const char **last)
{
    const char *slash = strrchr(text, '/');
    size_t size = slash == NULL ? 0 : slash == text ? 1 : (size_t)(slash - text);

    *last = slash == NULL ? text : slash + 1;
    if (**last == '\0' || strcmp(*last, ".") == 0 || strcmp(*last, "..") == 0)
        return false;
    *above = size > 0 ? strndup(text, size) : strdup(".");
    return *above != NULL;
}

/* Follow all links. Where the last part is not there, or can be no name, it is left as it is.
 * returns  0; a positive errno */
static int place_resolve(struct place *place)
{
    struct stat attr;
    const char *last;
    char *above;
    bool found;
    int rc;

    place->path = realpath(place->text, NULL);
    found = place->path != NULL && stat(place->path, &attr) == 0;
    rc = errno;
    if (found && S_ISDIR(attr.st_mode))
        return (place->dir = strdup(place->path)) != NULL ? 0 : ENOMEM;
    place->rc = found ? 0 : rc;
    if (!place_split(place->path != NULL ? place->path : place->text, &above, &last))
        return rc;
    place->dir = realpath(above, NULL);
    rc = place->dir == NULL ? errno : 0;
    free(above);
    if (rc == 0 && place->path == NULL &&
        asprintf(&place->path, "%s/%s", strcmp(place->dir, "/") == 0 ? "" : place->dir, last) < 0) {
        place->path = NULL;
        rc = ENOMEM;
    }
    return rc;
}

/* No kvfs is mounted there. */
static int place_fail(const struct ctl_request *request, enum ctl_form form, const char *text)
{
    if (place_no_store(request))
        return ctl_fail_usage(request, CTL_STORE,
                              "%s: no store is named, and this is no file below a mount; use --store DIR, or set "
                              "KVFS_STORE in the environment",
                              text);
    if (form == CTL_FORM_STORE)
        return ctl_fail("%s: no kvfs is mounted there; name the mount point of one, or a store by --store DIR",
                        text);
    return ctl_fail("%s: no kvfs is mounted there; type MOUNTPOINT/%s, or %s of the store", text,
                    ctl_form_text(form), ctl_form_text(form));
}

/* Use the store of the mount, or compare it with that which the request has. */
static int place_use_store(struct ctl_request *request, const char *text, const struct mount_info *mount,
                           struct mount_served *served)
{
    bool chosen = ctl_given(request, CTL_STORE) || request->mounted_dir != NULL || request->store != NULL;
    struct stat store;
    int status;

    if (stat(chosen ? request->store_dir : served->dir, &store) < 0)
        return ctl_fail("%s: its store cannot be opened here: %s: %s", text,
                        chosen ? request->store_dir : served->dir, strerror(errno));
    if (served->device != store.st_dev || served->inode != store.st_ino)
        return chosen
                   ? ctl_fail("%s: this is in another store, %s, than %s", text, served->dir, request->store_dir)
                   : ctl_fail("%s: %s is another store here than for the daemon of the mount", text, served->dir);
    status = mount_check_user(text, mount, store.st_uid);
    if (status == CTL_OK && !chosen) {
        request->only_files = place_no_store(request);
        request->store_dir = request->mounted_dir = served->dir;
        served->dir = NULL;
    }
    return status;
}

/* Find the mount that a directory lies in, and take its store. */
static int place_use_mount(struct ctl_request *request, enum ctl_form form, const struct place *place, int dir,
                           struct mount_info *mount)
{
    int root, status;
    struct mount_served served = {.dir = NULL};
    struct stat attr;

    if (!mount_find(dir, mount))
        return ctl_fail("%s: /proc/self/mountinfo does not say what is mounted there", place->text);
    if (!mount->is_kvfs)
        return place->rc == EACCES || place->rc == ENOTCONN ? ctl_fail("%s: %s", place->text, strerror(place->rc))
                                                            : place_fail(request, form, place->text);
    root = open(mount->point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!mount->is_whole || root < 0 || mount_number(root) != mount_number(dir) || fstat(root, &attr) < 0 ||
        attr.st_ino != KV_ROOT_ID)
        status = ctl_fail("%s: the mount's own root cannot be reached here; use --store DIR and the names",
                          place->text);
    else
        status = mount_ask(place->text, root, &served);
    if (root >= 0)
        close(root);
    if (status == CTL_OK)
        status = place_use_store(request, place->text, mount, &served);
    free(served.dir);
    return status;
}

/* The names behind the mount point. A project lies in a directory of its account. */
static char *place_names(enum ctl_form form, const struct place *place, const char *point)
{
    size_t size = strcmp(point, "/") == 0 ? 0 : strlen(point);
    char *names = strdup(place->path[size] == '/' ? place->path + size + 1 : ""), *second;

    if (names == NULL || form != CTL_FORM_PROJECT)
        return names;
    second = strchr(names, '/');
    if (second != NULL && strncmp(second + 1, PLACE_PROJECTS, strlen(PLACE_PROJECTS)) == 0)
        memmove(second + 1, second + 1 + strlen(PLACE_PROJECTS), strlen(second + strlen(PLACE_PROJECTS)));
    return names;
}

int ctl_names_of_file(struct ctl_request *request, enum ctl_form form, const char *text, char **names)
{
    struct place place = {.text = text};
    struct mount_info mount = {.point = NULL};
    int rc = place_resolve(&place), dir = -1, status = CTL_OK;

    if (rc == 0) {
        dir = open(place.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        rc = dir < 0 ? errno : 0;
    }
    if (rc != 0)
        status = rc == ENOENT || rc == ENOTDIR ? place_fail(request, form, text)
                                               : ctl_fail("%s: %s", text, strerror(rc));
    if (status == CTL_OK)
        status = place_use_mount(request, form, &place, dir, &mount);
    if (status == CTL_OK && (*names = place_names(form, &place, mount.point)) == NULL)
        status = ctl_fail("out of memory");
    if (dir >= 0)
        close(dir);
    free(mount.point);
    place_free(&place);
    return status;
}
