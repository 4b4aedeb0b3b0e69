/* kvctl: mounts, as the kernel and their daemons tell of them, and paths of files in them. */
#ifndef KVFS_TOOLS_KVCTL_MOUNT_H
#define KVFS_TOOLS_KVCTL_MOUNT_H

#include "tools/kvctl/common.h"

#include <sys/stat.h>

/* What /proc/self/mountinfo says of a mount. */
struct mount_info {
    bool is_kvfs;
    bool is_whole;      /* not a directory within it, mounted once more */
    unsigned long user; /* who mounted it */
    char *point;        /* where; to be freed */
};

/* The number of the mount that an open file lies in; -1 unknown. */
long mount_number(int fd);
/* What is known of that mount. returns false: nothing */
bool mount_find(int fd, struct mount_info *out);

/* The mount points of kvfs that this process sees. */
struct mount_points {
    char **items;
    size_t count;
};
struct mount_points mount_all(void);
void mount_points_free(struct mount_points *points);

/* Which store the daemon of a mount says that it serves. */
struct mount_served {
    char *dir; /* to be freed */
    dev_t device;
    ino_t inode;
};
/* Ask it: this waits where the daemon is stopped.
 * subject  what the user named, for messages
 * root     the open root of the mount
 * returns  a status */
KV_CHECKED int mount_ask(const char *subject, int root, struct mount_served *out);

/* Has the mount been made by root, the caller, or the store's owner? What another user's daemon says is not obeyed.
 * returns  a status */
KV_CHECKED int mount_check_user(const char *subject, const struct mount_info *mount, uid_t store_owner);

/* Check that --mount is the mount point of the request's store, served by a daemon of root, the caller or the store's
 * owner, and make it absolute: request->mount_path. Links are not resolved: a link may later lead elsewhere.
 * The daemon is asked: this waits where it is stopped.
 * returns  a status */
KV_CHECKED int ctl_use_mount(struct ctl_request *request);

/* Does this argument name a file, and no object by its names? It does if it begins with a '/', "./" or "../" (which no
 * name can), or if no store is named. */
bool ctl_is_file(const struct ctl_request *request, const char *text);
/* Make the names of what a file below a mount stands for, as in "ACCOUNT/NAMESPACE/KEY", and the mount's store the
 * request's; where the request has a store already, it has to be the same. Neither name nor object need be valid, or
 * there.
 * names    to be freed; "" stands for the root
 * returns  a status */
KV_CHECKED int ctl_names_of_file(struct ctl_request *request, enum ctl_form form, const char *text, char **names);

#endif
