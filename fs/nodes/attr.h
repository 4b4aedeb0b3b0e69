/* Attributes and timeouts as the kernel wants them. */
#ifndef KVFS_FS_NODES_ATTR_H
#define KVFS_FS_NODES_ATTR_H

#include "fs/nodes/inode.h"

/* How long the kernel may use an answer, in seconds. */
double fs_timeout_of(const struct kv_fresh *fresh);
/* For an answer that this node just made or got from the central storage. */
double fs_timeout_full(const struct fs *fs);
/* The same of a key: not beyond its expiry. */
double fs_timeout_of_key(const struct fs *fs, const struct kv_meta *meta);

/* Size and links of a directory tell nothing: who may not read it sees them, too. */
void fs_stat_of_node(struct fs *fs, const struct kv_node *node, struct stat *out);
void fs_stat_of_key(const struct kv_meta *meta, struct stat *out);

/* The path of a binding's namespace: "../../NAMESPACE". returns 0; -ENOENT; -EIO */
#define FS_TARGET_MAX (KV_NAME_MAX + sizeof("../../"))
KV_CHECKED int fs_binding_target(struct fs *fs, const struct kv_node *binding, char out[FS_TARGET_MAX]);

#endif
