/* Listing directories.
 *
 * A handle remembers where it is, the name that it gave last and the offset behind it, and the
 * names of its last two answers: so a million keys cost nothing to list. Each READDIR is one short
 * scan of the central from a name. Offsets count entries. Going on within the last two answers is
 * exact, whatever is created and deleted meanwhile: the kernel goes back there when its caller's
 * buffer took only a part. An older offset (telldir, and much later seekdir) is found by counting
 * from the start.
 *
 * Order: ".", "..", then names that only this node knows (created, not put yet) as they were
 * at offset 0, then the central's names.
 */
#ifndef KVFS_FS_DIR_H
#define KVFS_FS_DIR_H

#include "fs/inode.h"

struct fs_dir;

KV_CHECKED int fs_dir_open(struct fs *fs, struct fs_inode *inode, struct fs_dir **out);
void fs_dir_close(struct fs *fs, struct fs_dir *dir);
/* At the end of the session: close those whose RELEASEDIR the kernel did not send any more. */
void fs_dirs_end(struct fs *fs);

/* Fill `size` bytes of `buffer` with entries from `offset` on; `plus`: each with its attributes, and a reference
 * of the kernel. returns the bytes used, 0 at the end; -ENOENT, -EIO, -ENOMEM */
KV_CHECKED int fs_dir_read(struct fs *fs, struct fs_dir *dir, fuse_req_t req, char *buffer, size_t size,
                           off_t offset, bool plus);

#endif
