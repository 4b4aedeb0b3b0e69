/* Changing names: making, removing and renaming keys, nodes and bindings.
 *
 * Each function makes one change in the central, durably, and then lets the inodes of this node follow.
 * All return 0 or a negative errno of the store or of design's error table. */
#ifndef KVFS_FS_TREE_H
#define KVFS_FS_TREE_H

#include "fs/attr.h"

/* Can a key have this name? Where not, it is noted. returns 0; -EINVAL, -ENAMETOOLONG */
KV_CHECKED int fs_tree_check_key(struct fs *fs, struct fs_inode *namespace, const char *name,
                                 const char *operation);

/* attr.mode, uid and gid of the new object; the other fields are chosen here. */
KV_CHECKED int fs_tree_mkdir(struct fs *fs, struct fs_inode *parent, const char *name, const struct kv_attr *attr,
                             struct fuse_entry_param *entry);
KV_CHECKED int fs_tree_symlink(struct fs *fs, struct fs_inode *parent, const char *name, const char *target,
                               const struct kv_attr *attr, struct fuse_entry_param *entry);
/* The path of a binding's namespace (fs_attr_target()). returns -EINVAL where it is no binding; -ESTALE it is gone */
KV_CHECKED int fs_tree_readlink(struct fs *fs, struct fs_inode *inode, char out[FS_TARGET_MAX]);
KV_CHECKED int fs_tree_rmdir(struct fs *fs, struct fs_inode *parent, const char *name);
KV_CHECKED int fs_tree_unlink(struct fs *fs, struct fs_inode *parent, const char *name);
/* flags of renameat2(2) */
KV_CHECKED int fs_tree_rename(struct fs *fs, struct fs_inode *parent, const char *name, struct fs_inode *to_parent,
                              const char *to_name, unsigned flags);

#endif
