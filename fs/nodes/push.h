/* Pushing: what other processes commit is invalidated in the kernel's caches at once.
 *
 * A thread waits for commits, reads what they changed, and has the kernel ask anew: for the attributes of inodes that it
 * knows, and for names where it was told lately, of the same directory, that one is not there (any name: it is not known
 * which ones were). The edge cache follows by itself, at each answer. What is missed here, also on kernels that cannot
 * be told about names, ends with its timeout. */
#ifndef KVFS_FS_NODES_PUSH_H
#define KVFS_FS_NODES_PUSH_H

#include "fs/nodes/inode.h"

struct fs_push;

/* Start the thread, where the mount's options want one: else *out is NULL. returns 0; -EAGAIN, -ENOMEM */
KV_CHECKED int fs_push_start(struct fs *fs, struct fs_push **out);
/* End it, within PUSH_WAIT_MS. NULL is allowed. */
void fs_push_stop(struct fs_push *push);

/* A lookup begins. returns what fs_push_absent() is to be told */
uint64_t fs_push_before(struct fs *fs);
/* A lookup in a directory found nothing, and the kernel is going to be told so for `timeout` seconds.
 * returns  for how long it may be told so: 0 where something was committed since the lookup began */
double fs_push_absent(struct fs *fs, struct fs_inode *dir, uint64_t before, double timeout);

#endif
