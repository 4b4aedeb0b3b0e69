/* What backup, restore and compact have in common. */
#ifndef KVFS_TOOLS_KVCTL_COPIES_H
#define KVFS_TOOLS_KVCTL_COPIES_H

#include "tools/kvctl/common.h"

/* How far a copy is: a line on standard error, where that is a terminal. */
struct ctl_progress {
    struct kv_progress tell;
    const char *what; /* borrowed */
    bool terminal, shown;
    int64_t next_ns; /* not before it is shown again */
};
/* returns  for the store to tell: it belongs to *progress */
const struct kv_progress *ctl_progress_begin(struct ctl_progress *progress, const char *what);
/* Take the line away, before anything else is said. */
void ctl_progress_end(struct ctl_progress *progress);

/* Verify the whole store in `dir`, which nobody else has open, and say what is wrong.
 * name     how the user knows it
 * kept     what becomes of it if something is wrong, for the message
 * returns  CTL_OK; CTL_NO something is wrong; CTL_ERROR it could not be verified */
KV_CHECKED int ctl_check_copy(const struct ctl_request *request, const char *dir, const char *name,
                              const char *kept);

/* Where a path is no directory, or one with something in it, say so. Returns a status. */
KV_CHECKED int ctl_check_target(const char *dir);

/* Flush a directory's names. Returns a status; `name` is for the message. */
KV_CHECKED int ctl_flush_directory(int fd, const char *name);

#endif
