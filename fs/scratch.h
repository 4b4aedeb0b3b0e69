/* Scratch files: the temporary files of editors and copiers, whose names no key can have.
 *
 * vim's .k.swp and rsync's .k.AbC123 exist if, and only if, they are created the way mkstemp does it
 * (O_CREAT | O_EXCL | O_RDWR, mode 0600 or 0700) in a namespace and begin with a dot; every other name
 * that no key can have is refused, so that nothing is lost unnoticed. A scratch file is a body (file.h) that
 * is never put: this node's memory has it, the central never hears of it, it counts for no limit but its own,
 * only this node lists it, and it is gone at the unmount. Its body is pinned by its name. Renamed onto a key it
 * becomes that key: one atomic put with its mode, owner, times and attributes. */
#ifndef KVFS_FS_SCRATCH_H
#define KVFS_FS_SCRATCH_H

#include "fs/file.h"

#define FS_SCRATCH_MAX (256u << 20) /* bytes in all scratch files of a node, and what they cost besides */
#define FS_SCRATCH_COST 4096u       /* of each, without its bytes */
/* What ENOSPC means there. */
#define FS_SCRATCH_FULL                                                                                        \
    "temporary files, whose names no key can have, may take 256 MiB on a node, and there must be room on the " \
    "disk: remove some, or write them elsewhere"

/* Does this create ask for a scratch file? */
bool fs_scratch_is_wanted(const char *name, int flags, mode_t mode);

/* May scratch files grow by `more` bytes? returns 0; -ENOSPC */
KV_CHECKED int fs_scratch_room(struct fs *fs, size_t more);
/* A scratch body is charged for itself and `size` bytes from now on; for nothing. body->io is held, or nobody else
 * has it. */
void fs_scratch_charge(struct fs *fs, struct fs_body *body, size_t size);
void fs_scratch_discharge(struct fs *fs, struct fs_body *body);

/* As their namesakes for keys; the name begins with a dot. */
KV_CHECKED int fs_scratch_lookup(struct fs *fs, struct fs_inode *namespace, const char *name,
                                 struct fuse_entry_param *entry);
KV_CHECKED int fs_scratch_unlink(struct fs *fs, struct fs_inode *namespace, const char *name);
KV_CHECKED int fs_scratch_rename(struct fs *fs, struct fs_inode *namespace, const char *name,
                                 struct fs_inode *to_namespace, const char *to_name, unsigned flags);

#endif
