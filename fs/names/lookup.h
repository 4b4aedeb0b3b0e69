/* Looking names up: from a name in a directory to an inode and what the kernel may know of it. */
#ifndef KVFS_FS_NAMES_LOOKUP_H
#define KVFS_FS_NAMES_LOOKUP_H

#include "fs/content/attr.h"

/* Find a name for user `uid`. On success the entry carries a reference of the kernel.
 * returns  0 and the entry; -ENOENT, and entry->entry_timeout says how long that may be believed; -ENAMETOOLONG;
 *          -ENOTDIR; -ESTALE the directory is gone, or not as the kernel was told; -EIO, -ENOMEM */
KV_CHECKED int fs_lookup(struct fs *fs, struct fs_inode *parent, const char *name, uid_t uid,
                         struct fuse_entry_param *entry);

/* The entry of what a listing has just found: a key; with meta NULL one that maybe only this node knows, or a
 * temporary file; or a node. */
KV_CHECKED int fs_lookup_listed_key(struct fs *fs, struct fs_inode *namespace, const char *key, size_t size,
                                    const struct kv_meta *meta, struct fuse_entry_param *entry);
KV_CHECKED int fs_lookup_node(struct fs *fs, struct fs_inode *parent, const struct kv_node *node,
                              struct fuse_entry_param *entry);
/* The entry of an inode that was just made or opened; takes over the reference, also on failure. */
KV_CHECKED int fs_lookup_made(struct fs *fs, struct fs_inode *inode, struct fuse_entry_param *entry);

/* Is this the name of /.kvfs, or of something in it? */
bool fs_is_control_name(struct fs *fs, const struct fs_inode *parent, const char *name);

#endif
