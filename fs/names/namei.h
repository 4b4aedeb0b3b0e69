/* Changing names: making, removing and renaming keys, nodes and bindings.
 *
 * Each function makes one change in the central storage, durably, and then lets the inodes of this node follow.
 * Each change carries the directories that the kernel checked (told.h). All return 0 or a negative errno of the
 * store or of the table in README.md; -ESTALE: the kernel is to look the path up again. */
#ifndef KVFS_FS_NAMES_NAMEI_H
#define KVFS_FS_NAMES_NAMEI_H

#include "fs/content/handle.h"
#include "fs/names/lookup.h"

/* Owner and mode of what a request makes in a directory: a set-group-id directory passes its group on. */
KV_CHECKED int fs_new_attr(struct fs *fs, struct fs_inode *parent, const struct fuse_ctx *who, mode_t mode,
                           struct kv_attr *out);

/* attr.mode, uid and gid of the new object; the other fields are chosen here. */
KV_CHECKED int fs_mkdir(struct fs *fs, struct fs_inode *parent, const char *name, const struct kv_attr *attr,
                        struct fuse_entry_param *entry);
KV_CHECKED int fs_symlink(struct fs *fs, struct fs_inode *parent, const char *name, const char *target,
                          const struct kv_attr *attr, struct fuse_entry_param *entry);
/* The path of a binding's namespace (fs_binding_target()).
 * returns  0; -EINVAL where it is no binding; -ESTALE it is gone */
KV_CHECKED int fs_readlink(struct fs *fs, struct fs_inode *inode, char out[FS_TARGET_MAX]);
KV_CHECKED int fs_rmdir(struct fs *fs, struct fs_inode *parent, const char *name);
KV_CHECKED int fs_unlink(struct fs *fs, struct fs_inode *parent, const char *name);
/* flags of renameat2(2); uid: who asks */
KV_CHECKED int fs_rename(struct fs *fs, struct fs_inode *parent, const char *name, struct fs_inode *to_parent,
                         const char *to_name, unsigned flags, uid_t uid);

/* Can a key have this name? returns 0; -EINVAL, -ENAMETOOLONG, with the rule as reason */
KV_CHECKED int fs_check_key(const char *name);
/* Make a file: a key, or a temporary file.
 * returns  0, a reference in *inode, and a handle; -EPERM outside of a namespace; else as fs_create() */
KV_CHECKED int fs_make_file(struct fs *fs, struct fs_inode *parent, const char *name, mode_t mode, int flags,
                            const struct fuse_ctx *who, struct fs_inode **inode, struct fs_handle **out);

#endif
