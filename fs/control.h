/* The control files of this node: /.kvfs/stats, errors and config. Found by name, never listed in the root. */
#ifndef KVFS_FS_CONTROL_H
#define KVFS_FS_CONTROL_H

#include "fs/inode.h"

#define FS_CONTROL_NAME ".kvfs"

/* As fs_lookup(), in the root (for FS_CONTROL_NAME) or in the control directory. */
KV_CHECKED int fs_control_lookup(struct fs *fs, struct fs_inode *parent, const char *name,
                                 struct fuse_entry_param *entry);

/* An open control file: its text as it was at the open. */
struct fs_text;
KV_CHECKED int fs_text_open(struct fs *fs, const struct fs_inode *inode, struct fs_text **out);
void fs_text_close(struct fs *fs, struct fs_text *text);
/* Answer a READ. */
void fs_text_read(struct fs_text *text, fuse_req_t req, size_t size, off_t offset);
/* At the end of the session: close those whose RELEASE the kernel did not send any more. */
void fs_texts_end(struct fs *fs);

/* Permissions of the file with this inode number. */
mode_t fs_control_mode(uint64_t ino);
/* The names in the control directory: entry n, or NULL behind the last one. *ino: its inode number. */
const char *fs_control_name(size_t n, uint64_t *ino);

#endif
