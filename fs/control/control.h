/* The control files of this node: /.kvfs/config, errors and stats. Found by name, never listed in the root.
 *
 * They are numbered from 0; FS_CONTROL_TOP is the directory. Inode numbers are below the store's first. */
#ifndef KVFS_FS_CONTROL_CONTROL_H
#define KVFS_FS_CONTROL_CONTROL_H

#include "fs/base/fs.h"

#define FS_CONTROL_TOP (-1)     /* index of the directory */
#define FS_CONTROL_FIRST_INO 2u /* of the directory; file n has FS_CONTROL_FIRST_INO + 1 + n */

/* returns  the index of the file with this name in the directory; -1 there is none */
int fs_control_find(const char *name);

/* Attributes of a file or of the directory. They are the mounting user's, and constant but for the times. */
void fs_control_stat(const struct fs *fs, int index, struct stat *out);

/* The names in the directory: entry n, or NULL behind the last one. *ino: its inode number. */
const char *fs_control_name(size_t n, uint64_t *ino);

/* An open control file: its text as it was at the open. It begins with FS_HANDLE_CONTROL (base/fs.h). */
struct fs_control_handle;

/* who      opens it: `errors` has their lines, and `stats` accounts that they may read; both have all for operators
 * returns  0; -EMFILE the user has FS_CONTROL_HANDLES_MAX open; -ENOMEM */
KV_CHECKED int fs_control_open(struct fs *fs, int index, const struct fuse_ctx *who,
                               struct fs_control_handle **out);
/* Answer a READ. */
void fs_control_read(struct fs_control_handle *handle, fuse_req_t req, size_t size, off_t offset);
void fs_control_close(struct fs *fs, struct fs_control_handle *handle);
/* Tell other processes that this node has the store open, and where it serves it; a failure goes to the log. */
void fs_control_announce(struct fs *fs);
/* At the end of the session: close those whose RELEASE the kernel did not send any more. */
void fs_controls_end(struct fs *fs);

#endif
