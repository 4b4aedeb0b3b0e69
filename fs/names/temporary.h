/* Temporary files: siblings of keys, with names that no key can have, which programs write first and then rename
 * onto the key.
 *
 * They are let through where they were created as mkstemp(3) does it (O_RDWR, O_EXCL, mode 0600; mv(1) and
 * compressors open what they make for writing only, and would lose it), or have a key's name with a suffix that
 * only temporary files have. Every other name that no key can have is refused, so that nothing is lost unnoticed.
 * A temporary file is a body that is never put: this node's memory has it, the central storage never hears of it,
 * its account pays for it, only this node lists it, and it is gone at the unmount. Its name pins the body. Renamed
 * onto a key it becomes that key: one atomic put with its mode, owner, times and attributes. */
#ifndef KVFS_FS_NAMES_TEMPORARY_H
#define KVFS_FS_NAMES_TEMPORARY_H

#include "fs/content/handle.h"

/* May this name be created as a temporary file? It is none that a key can have. */
bool fs_is_temporary(const char *name, int flags, mode_t mode);

/* As their namesakes for keys. */
KV_CHECKED int fs_unlink_temporary(struct fs *fs, struct fs_inode *namespace, const char *name);
KV_CHECKED int fs_rename_temporary(struct fs *fs, struct fs_inode *namespace, const char *name,
                                   struct fs_inode *to_namespace, const char *to_name, unsigned flags);

#endif
