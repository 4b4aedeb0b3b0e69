/* Looking names up: from a name in a directory to an inode and what the kernel may know of it. */
#ifndef KVFS_FS_LOOKUP_H
#define KVFS_FS_LOOKUP_H

#include "fs/inode.h"

/* Find a name. On success the entry carries a reference of the kernel.
 * returns  0 and the entry; -ENOENT, and entry->entry_timeout says how long that may be believed;
 *          -ENAMETOOLONG; -ENOTDIR; -ESTALE the directory is gone; -EIO, -ENOMEM */
KV_CHECKED int fs_lookup(struct fs *fs, struct fs_inode *parent, const char *name, struct fuse_entry_param *entry);

/* The same for a key or node that a listing has just found; nothing of this node changed since. */
KV_CHECKED int fs_lookup_listed_key(struct fs *fs, struct fs_inode *namespace, const char *key, size_t size,
                                    const struct kv_meta *meta, struct fuse_entry_param *entry);
KV_CHECKED int fs_lookup_node(struct fs *fs, struct fs_inode *parent, const struct kv_node *node,
                              struct fuse_entry_param *entry);

#endif
