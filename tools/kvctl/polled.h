/* kvctl: several mounts that are asked side by side. */
#ifndef KVFS_TOOLS_KVCTL_POLLED_H
#define KVFS_TOOLS_KVCTL_POLLED_H

#include "tools/kvctl/ask.h"
#include "tools/kvctl/mount.h"

struct polled {
    struct mount_points points; /* of mount_all(), where none is named */
    char **mounts;              /* borrowed */
    struct ask *asks;           /* one a mount */
    size_t count;
};

/* Take the mounts that the request names, or all. Returns a status; polled_end() is called whatever it is. */
KV_CHECKED int polled_begin(struct polled *polled, const struct ctl_request *request);
/* Ask those that are not asked yet. */
void polled_start(struct polled *polled, bool errors);
/* Wait until all have answered, or the time is over. */
void polled_wait(struct polled *polled, int64_t timeout_ms);
/* The mount point, by its name for the kernel, or else as it was given. */
const char *polled_point(const struct polled *polled, size_t which);
/* Is it one that counts? Of those that nobody named, not what is another user's. */
bool polled_counts(const struct polled *polled, size_t which);
void polled_end(struct polled *polled);

#endif
