/* Attributes and extended attributes of keys and nodes, as this node sees them.
 *
 * Extended attributes:
 *   user.*       kept by the store with the key, namespace or account
 *   user.kvfs.*  computed, read-only, never listed, so that copying tools do not carry them along:
 *                keys: version, age_ms, source; namespaces and accounts: keys, bytes, quota_bytes
 *   others       ENOTSUP
 */
#ifndef KVFS_FS_CONTENT_ATTR_H
#define KVFS_FS_CONTENT_ATTR_H

#include "fs/content/body.h"

/* The attributes of a key's or node's inode, which the kernel is going to be told.
 * returns  0; -ESTALE what it stood for is gone, look the name up again; -EIO, -ENOMEM */
KV_CHECKED int fs_getattr(struct fs *fs, struct fs_inode *inode, struct stat *out, double *timeout);

/* Change the attributes that `mask` names (KV_MODE ...).
 * strict  the kernel asked for more than the owner: the mode must be what it was told, too
 * returns  0; -ESTALE it is not the object that the kernel checked; else as kv_apply() */
KV_CHECKED int fs_setattr(struct fs *fs, struct fs_inode *inode, const struct kv_attr *attr, unsigned mask,
                          bool strict);

/* Extended attributes. All return 0 or a size, or -ENODATA, -ENOTSUP, -ERANGE a buffer that is too small (capacity
 * 0 asks for the size), -EPERM a computed one, -ENOSPC, -EEXIST, -ESTALE, -EIO. */
KV_CHECKED int fs_getxattr(struct fs *fs, struct fs_inode *inode, const char *name, char *out, size_t capacity);
KV_CHECKED int fs_listxattr(struct fs *fs, struct fs_inode *inode, char *out, size_t capacity);
/* value NULL removes; flags as setxattr(2); uid: who asks. An expiry is set by the key's owner, else it is -EPERM */
KV_CHECKED int fs_setxattr(struct fs *fs, struct fs_inode *inode, const char *name, const void *value, size_t size,
                           int flags, uid_t uid);

/* The object of a name is about to go, by a change that may still fail: who has it open keeps its attributes.
 * returns  whether that is so only for this change
 * inode  the name's current one, or NULL; the name is locked */
bool fs_xattr_keep(struct fs *fs, struct fs_inode *inode);
/* That change has failed: the store's count again. */
void fs_xattr_drop(struct fs *fs, struct fs_inode *inode);

#endif
