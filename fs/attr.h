/* Attributes and timeouts as the kernel wants them. */
#ifndef KVFS_FS_ATTR_H
#define KVFS_FS_ATTR_H

#include "fs/inode.h"

#include <sys/statvfs.h>

/* How long the kernel may use an answer, in seconds. */
double fs_timeout_of(const struct kv_fresh *fresh);
/* For an answer that this node just made or got from the central. */
double fs_timeout_full(const struct fs *fs);

/* The path of a binding's namespace: "../../NAMESPACE". returns 0; -ENOENT; -EIO */
#define FS_TARGET_MAX (KV_NAME_MAX + sizeof("../../"))
KV_CHECKED int fs_attr_target(struct fs *fs, const struct kv_node *binding, char out[FS_TARGET_MAX]);

void fs_attr_of_node(struct fs *fs, const struct kv_node *node, struct stat *out);
void fs_attr_of_key(const struct kv_meta *meta, struct stat *out);
void fs_attr_of_control(const struct fs_inode *inode, struct stat *out);

/* The attributes of an inode as this node sees them now.
 * returns  0; -ESTALE what it stood for is gone, look the name up again; -EIO, -ENOMEM */
KV_CHECKED int fs_attr_get(struct fs *fs, struct fs_inode *inode, struct stat *out, double *timeout);

/* Change attributes of a node or key: `mask` of KV_MODE ... names the fields. */
KV_CHECKED int fs_attr_set(struct fs *fs, struct fs_inode *inode, const struct kv_attr *attr, unsigned mask);

/* Space: of an account, and of all below it, its limit and use; of the root, the store's. */
KV_CHECKED int fs_attr_statfs(struct fs *fs, struct fs_inode *inode, struct statvfs *out);

#endif
