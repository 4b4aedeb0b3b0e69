/* Pushing: what other processes commit is invalidated in the kernel's caches at once.
 *
 * A thread waits for commits, reads what they changed, and has the kernel ask anew: for the attributes of inodes that
 * it was told since it was had to ask for them last, and for names where it was told lately, of the same directory,
 * that one is not there (any name: it is not known which ones were). The edge cache follows by itself, at each
 * answer. What is missed here, also on kernels that cannot be told about names, ends with its timeout. */
#ifndef KVFS_FS_NODES_PUSH_H
#define KVFS_FS_NODES_PUSH_H

#include "fs/nodes/inode.h"

struct fs_push;

/* Start the thread, where the mount's options want one: else *out is NULL. returns 0; -EAGAIN, -ENOMEM */
KV_CHECKED int fs_push_start(struct fs *fs, struct fs_push **out);
/* End it. NULL is allowed. */
void fs_push_stop(struct fs_push *push);

/* The store is going to be asked for what the kernel is then told for some time. returns what fs_push_absent() and
 * fs_push_present() want: up to where others' changes were pushed. Later ones may be pushed before the kernel knows
 * what they are about. */
uint64_t fs_push_before(struct fs *fs);
/* This is found, and the kernel is going to be told of it: for no time where something was committed since. */
void fs_push_present(struct fs *fs, uint64_t before, struct fuse_entry_param *entry);
/* A lookup in a directory found nothing, and the kernel is going to be told so for `timeout` seconds.
 * returns  for how long it may be told so: 0 where something was committed since */
double fs_push_absent(struct fs *fs, struct fs_inode *dir, uint64_t before, double timeout);

#endif
