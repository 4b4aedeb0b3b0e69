/* Extended attributes.
 *
 *   user.*       kept by the store with the key, namespace or account
 *   user.kvfs.*  computed, read-only, never listed, so that copying tools do not carry them along:
 *                keys: version, age_ms, source; namespaces and accounts: keys, bytes, quota_bytes
 *   others       ENOTSUP
 */
#ifndef KVFS_FS_XATTR_H
#define KVFS_FS_XATTR_H

#include "fs/file.h"

/* All return 0 or a size, or a negative errno: -ENODATA, -ENOTSUP, -ERANGE a buffer that is too small
 * (capacity 0 asks for the size), -EPERM a computed one, -ENOSPC, -EEXIST, -ESTALE, -EIO. */
KV_CHECKED int fs_xattr_get(struct fs *fs, struct fs_inode *inode, const char *name, char *out, size_t capacity);
KV_CHECKED int fs_xattr_list(struct fs *fs, struct fs_inode *inode, char *out, size_t capacity);
/* value NULL removes; flags as setxattr(2) */
KV_CHECKED int fs_xattr_set(struct fs *fs, struct fs_inode *inode, const char *name, const void *value,
                            size_t size, int flags);

/* A key is about to lose its name for good, by a change that may still fail: who has it open keeps its attributes.
 * body    pinned, and its inode's `naming` held; NULL: nobody has it open */
void fs_xattr_keep(struct fs *fs, struct fs_body *body, const struct kv_ref *ref);

#endif
