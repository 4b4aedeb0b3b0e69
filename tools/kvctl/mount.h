/* kvctl: the place where the store is mounted. */
#ifndef KVFS_TOOLS_KVCTL_MOUNT_H
#define KVFS_TOOLS_KVCTL_MOUNT_H

#include "tools/kvctl/common.h"

/* Check that --mount is the mount point of the request's store, served by a daemon of root, the caller or the store's
 * owner, and make it absolute: request->mount_path. Links are not resolved: a link may later lead elsewhere.
 * The daemon is asked: this waits where it is stopped.
 * returns  a status */
KV_CHECKED int ctl_use_mount(struct ctl_request *request);

#endif
