/* FUSE over io_uring: can it be had? */
#ifndef KVFS_FS_TRANSPORT_URING_H
#define KVFS_FS_TRANSPORT_URING_H

#include "store/kv.h"

/* Ask the kernel for what the option io_uring needs, as the user that will serve.
 * error    filled on failure: one line that says what to do
 * returns  0; -EOPNOTSUPP the kernel has it not, or switched off; another negative errno: this process may not */
KV_CHECKED int fs_uring_check(struct kv_error *error);

#endif
