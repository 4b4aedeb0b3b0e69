/* Private to handlers/: what the handlers have in common. Each decodes a request, makes one call and replies. */
#ifndef KVFS_FS_HANDLERS_HANDLERS_INTERNAL_H
#define KVFS_FS_HANDLERS_HANDLERS_INTERNAL_H

#include "fs/content/writeback.h"
#include "fs/control/control.h"
#include "fs/names/lookup.h"

/* The inode of a request. */
static inline struct fs_inode *op_inode(fuse_req_t req, fuse_ino_t ino) { return fs_inode_of(fs_of(req), ino); }

static inline bool op_is_control(const struct fs_inode *inode)
{
    return inode->kind == FS_CONTROL_DIR || inode->kind == FS_CONTROL_FILE;
}

/* Which control file it is, for fs_control_*(). */
static inline int op_control_index(const struct fs_inode *inode)
{
    return (int)(inode->name->node - FS_CONTROL_FIRST_INO) - 1;
}

/* The handle of a kind that a request comes with, or NULL: a handle of another kind, or none. */
void *op_handle(const struct fuse_file_info *fi, enum fs_handle_kind kind);

/* Answer that an operation on an inode (or on the name `child` in it) ended with rc; a failure is noted. */
void op_reply(fuse_req_t req, fuse_ino_t ino, const char *child, const char *operation, int rc);
/* Answer with an entry, or as op_reply(). */
void op_reply_entry(fuse_req_t req, fuse_ino_t parent, const char *name, const char *operation, int rc,
                    const struct fuse_entry_param *entry);

void fs_op_init(void *userdata, struct fuse_conn_info *conn);

/* names.c */
void fs_op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups);
void fs_op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void fs_op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void fs_op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void fs_op_readlink(fuse_req_t req, fuse_ino_t ino);
void fs_op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent, const char *to_name,
                  unsigned flags);
void fs_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t to_parent, const char *to_name);
void fs_op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);

/* attributes.c */
void fs_op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi);
void fs_op_statfs(fuse_req_t req, fuse_ino_t ino);
void fs_op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void fs_op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void fs_op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags);
void fs_op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

/* files.c */
void fs_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void fs_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void fs_op_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t offset,
                 struct fuse_file_info *fi);
void fs_op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t size,
                     struct fuse_file_info *fi);
void fs_op_copy_file_range(fuse_req_t req, fuse_ino_t from_ino, off_t from_offset, struct fuse_file_info *from,
                           fuse_ino_t to_ino, off_t to_offset, struct fuse_file_info *to, size_t size, int flags);
void fs_op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void fs_op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock);
void fs_op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock, int sleep);
void fs_op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op);

/* directories.c */
void fs_op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void fs_op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void fs_op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);

#endif
