/* The control files of this node: /.kvfs/stats, errors and config. Found by name, never listed in the root. */
#ifndef KVFS_FS_CONTROL_H
#define KVFS_FS_CONTROL_H

#include "fs/inode.h"

#define FS_CONTROL_NAME ".kvfs"

/* As fs_lookup(), in the root (for FS_CONTROL_NAME) or in the control directory. */
KV_CHECKED int fs_control_lookup(struct fs *fs, struct fs_inode *parent, const char *name,
                                 struct fuse_entry_param *entry);

/* The text of a control file as it is now. *out is to be freed by the caller. returns 0; -ENOMEM */
KV_CHECKED int fs_control_text(struct fs *fs, const struct fs_inode *inode, char **out, size_t *size);

/* The names in the control directory: entry n, or NULL behind the last one. *ino: its inode number. */
const char *fs_control_name(size_t n, uint64_t *ino);

#endif
