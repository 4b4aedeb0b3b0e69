#include "fs/ops.h"

#include "fs/attr.h"
#include "fs/base/options.h"
#include "fs/control/control.h"
#include "fs/dir.h"
#include "fs/file.h"
#include "fs/holder.h"
#include "fs/lookup.h"
#include "fs/scratch.h"
#include "fs/tree.h"
#include "fs/xattr.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_WRITE (1u << 20)

/* -------------------------------------------------------------------------- session */

static void fs_op_init(void *userdata, struct fuse_conn_info *conn)
{
    /* No writeback cache: the kernel would trust its own sizes and times over other nodes' changes. No
     * automatic invalidation: an incarnation's pages are right or dropped (inode.h). No splicing: requests
     * are read by channel.c. */
    conn->want = FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
                 FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_ASYNC_DIO;
    conn->want &= conn->capable;
    conn->max_write = MAX_WRITE;
    conn->max_readahead = MAX_WRITE;
    conn->max_background = 64;
    conn->time_gran = 1;
    fs_holder_know_mount(userdata);
}

/* Answer that an operation on an inode (or on the name `child` in it) failed: where that is the store's failure, it is
 * noted. Changes note theirs themselves. */
static void reply_failure(fuse_req_t req, fuse_ino_t ino, const char *child, const char *operation, int rc)
{
    fs_errors_note(fs_of(req), fs_inode_of(fs_of(req), ino), child, operation, rc);
    fs_reply_error(req, rc);
}

/* ---------------------------------------------------------------------------- names */

static void reply_entry(fuse_req_t req, int rc, const struct fuse_entry_param *entry)
{
    struct fs *fs = fs_of(req);

    if (rc < 0)
        fs_reply_error(req, rc);
    else if (fuse_reply_entry(req, entry) == -ENOENT) /* interrupted: the kernel has no reference */
        fs_inode_forget(fs, fs_inode_of(fs, entry->ino), 1);
}

static void fs_op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param entry = {0};
    int rc = fs_lookup(fs_of(req), fs_inode_of(fs_of(req), parent), name, &entry);

    if (rc == -ENOENT && entry.entry_timeout > 0) {
        entry.ino = 0; /* "not there" may be remembered */
        fuse_reply_entry(req, &entry);
    } else if (rc < 0) {
        reply_failure(req, parent, name, "lookup", rc);
    } else {
        reply_entry(req, 0, &entry);
    }
}

static void fs_op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups)
{
    fs_inode_forget(fs_of(req), fs_inode_of(fs_of(req), ino), lookups);
    fuse_reply_none(req);
}

static void fs_op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        fs_inode_forget(fs_of(req), fs_inode_of(fs_of(req), forgets[i].ino), forgets[i].nlookup);
    fuse_reply_none(req);
}

/* Owner and mode of what a request creates: a set-group-id directory passes its group on. */
static int new_attr(fuse_req_t req, struct fs_inode *parent, mode_t mode, struct kv_attr *out)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    struct kv_node node;
    int rc;

    *out = (struct kv_attr){.mode = mode & 07777, .uid = ctx->uid, .gid = ctx->gid};
    out->atime_ns = out->mtime_ns = out->ctime_ns = out->btime_ns = fs_now_ns();
    if (parent->kind != FS_NODE)
        return -EPERM;
    rc = kv_node_get(fs_of(req)->store, parent->id, &node);
    if (rc < 0)
        return rc;
    if (node.attr.mode & S_ISGID) {
        out->gid = node.attr.gid;
        if (S_ISDIR(mode))
            out->mode |= S_ISGID;
    }
    return 0;
}

static void fs_op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct fs_inode *directory = fs_inode_of(fs_of(req), parent);
    struct fuse_entry_param entry = {0};
    struct kv_attr attr;
    int rc = new_attr(req, directory, mode | S_IFDIR, &attr);

    if (rc == 0)
        rc = fs_tree_mkdir(fs_of(req), directory, name, &attr, &entry);
    reply_entry(req, rc, &entry);
}

static void fs_op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    struct fs_inode *directory = fs_inode_of(fs_of(req), parent);
    struct fuse_entry_param entry = {0};
    struct kv_attr attr;
    int rc = new_attr(req, directory, 0777, &attr);

    if (rc == 0)
        rc = fs_tree_symlink(fs_of(req), directory, name, target, &attr, &entry);
    reply_entry(req, rc, &entry);
}

static void fs_op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    char target[FS_TARGET_MAX];
    int rc = fs_tree_readlink(fs_of(req), fs_inode_of(fs_of(req), ino), target);

    if (rc < 0)
        reply_failure(req, ino, NULL, "readlink", rc);
    else
        fuse_reply_readlink(req, target);
}

static void fs_op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    fs_reply_error(req, fs_tree_rmdir(fs_of(req), fs_inode_of(fs_of(req), parent), name));
}

static void fs_op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    fs_reply_error(req, fs_tree_unlink(fs_of(req), fs_inode_of(fs_of(req), parent), name));
}

static void fs_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent,
                         const char *to_name, unsigned flags)
{
    struct fs *fs = fs_of(req);

    fs_reply_error(req,
                   fs_tree_rename(fs, fs_inode_of(fs, parent), name, fs_inode_of(fs, to_parent), to_name, flags));
}

static void fs_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t to_parent, const char *to_name)
{
    (void)ino;
    (void)to_parent;
    (void)to_name;
    fs_reply_error(req, -EPERM);
}

/* ----------------------------------------------------------------------- attributes */

static void reply_attr(fuse_req_t req, fuse_ino_t ino)
{
    struct stat attr;
    double timeout;
    int rc = fs_attr_get(fs_of(req), fs_inode_of(fs_of(req), ino), &attr, &timeout);

    if (rc < 0)
        reply_failure(req, ino, NULL, "getattr", rc);
    else
        fuse_reply_attr(req, &attr, timeout);
}

static void fs_op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)fi;
    reply_attr(req, ino);
}

/* Times beyond what can be kept, 292 years around 1970, become the nearest that can, as on other file systems. */
static int64_t ns_of(struct timespec time)
{
    const time_t most = INT64_MAX / 1000000000 - 1;

    if (time.tv_sec > most || time.tv_sec < -most)
        return (time.tv_sec < 0 ? -most : most) * 1000000000;
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* What a SETATTR changes besides the size. */
static unsigned setattr_mask(const struct stat *attr, int to_set, struct kv_attr *out)
{
    int64_t now_ns = fs_now_ns();
    unsigned mask = 0;

    if (to_set & FUSE_SET_ATTR_MODE)
        mask |= KV_MODE;
    if (to_set & FUSE_SET_ATTR_UID)
        mask |= KV_UID;
    if (to_set & FUSE_SET_ATTR_GID)
        mask |= KV_GID;
    if (to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW))
        mask |= KV_ATIME;
    if (to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW))
        mask |= KV_MTIME;
    *out = (struct kv_attr){.mode = attr->st_mode & 07777, .uid = attr->st_uid, .gid = attr->st_gid};
    out->atime_ns = to_set & FUSE_SET_ATTR_ATIME_NOW ? now_ns : ns_of(attr->st_atim);
    out->mtime_ns = to_set & FUSE_SET_ATTR_MTIME_NOW ? now_ns : ns_of(attr->st_mtim);
    return mask;
}

/* truncate(2): a change of its own where no open handle carries it. */
static int set_size(struct fs *fs, struct fs_inode *inode, uint64_t size, const struct fuse_file_info *fi)
{
    struct fs_file *file;
    int rc;

    if (inode->kind != FS_KEY)
        return inode->kind == FS_NODE ? -EISDIR : -EPERM;
    if (fi != NULL)
        return fs_file_truncate(fs, (struct fs_file *)(uintptr_t)fi->fh, size);
    if (fs_file_has_size(fs, inode, size))
        return 0; /* a size that does not change leaves the times as they are */
    rc = fs_file_open(fs, inode, O_WRONLY | (size == 0 ? O_TRUNC : 0), &file);
    fs_errors_note(fs, inode, NULL, "truncate", rc);
    if (rc < 0)
        return rc;
    rc = fs_file_truncate(fs, file, size);
    if (rc == 0)
        rc = fs_file_put_wait(fs, file);
    fs_file_close(fs, file);
    return rc;
}

static void fs_op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
    struct fs_inode *inode = fs_inode_of(fs_of(req), ino);
    struct kv_attr wanted;
    unsigned mask = setattr_mask(attr, to_set, &wanted);
    int rc = 0;

    if (to_set & FUSE_SET_ATTR_SIZE)
        rc = set_size(fs_of(req), inode, (uint64_t)attr->st_size, fi);
    if (rc == 0 && mask != 0)
        rc = fs_attr_set(fs_of(req), inode, &wanted, mask);
    if (rc < 0)
        fs_reply_error(req, rc);
    else
        reply_attr(req, ino);
}

static void fs_op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct statvfs result;
    int rc = fs_attr_statfs(fs_of(req), fs_inode_of(fs_of(req), ino), &result);

    if (rc < 0)
        reply_failure(req, ino, NULL, "statfs", rc);
    else
        fuse_reply_statfs(req, &result);
}

/* ---------------------------------------------------------------------- open files */

static struct fs_file *file_of(const struct fuse_file_info *fi) { return (struct fs_file *)(uintptr_t)fi->fh; }

static struct fs_control_handle *text_of(const struct fuse_file_info *fi)
{
    return (struct fs_control_handle *)(uintptr_t)fi->fh;
}

static void open_control(fuse_req_t req, struct fs_inode *inode, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    bool writes = (fi->flags & O_ACCMODE) != O_RDONLY || fi->flags & O_TRUNC; /* root may, says their mode */
    struct fs_control_handle *text;
    int rc = writes ? -EPERM : fs_control_open(fs, (int)inode->id - 3, fuse_req_ctx(req)->uid, &text);

    if (rc < 0) {
        fs_reply_error(req, rc);
        return;
    }
    fi->fh = (uintptr_t)text;
    fi->direct_io = 1; /* its size is not known before */
    fi->noflush = 1;
    if (fuse_reply_open(req, fi) == -ENOENT)
        fs_control_close(fs, text);
}

static void set_open_flags(struct fs_file *file, struct fuse_file_info *fi)
{
    fi->fh = (uintptr_t)file;
    fi->keep_cache = 1; /* inode.h: its pages are always those of its content */
    fi->noflush = (fi->flags & O_ACCMODE) == O_RDONLY && file->emptied == 0; /* nothing can become dirty */
}

static void fs_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    struct fs_inode *inode = fs_inode_of(fs, ino);
    struct fs_file *file;
    int rc;

    if (inode->kind == FS_CONTROL_FILE) {
        open_control(req, inode, fi);
        return;
    }
    rc = fs_file_open(fs, inode, fi->flags, &file);
    if (rc < 0) {
        reply_failure(req, ino, NULL, "open", rc);
        return;
    }
    set_open_flags(file, fi);
    if (fuse_reply_open(req, fi) == -ENOENT)
        fs_file_close(fs, file); /* interrupted: no release will follow */
}

static int create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, int flags,
                  struct fuse_entry_param *entry, struct fs_file **file)
{
    struct fs_inode *directory = fs_inode_of(fs_of(req), parent), *inode;
    struct kv_attr attr;
    double timeout;
    bool scratch;
    int rc;

    if (directory->kind != FS_NODE || directory->node_kind != KV_NAMESPACE)
        return -EPERM; /* only namespaces hold files */
    rc = new_attr(req, directory, mode, &attr);
    if (rc < 0)
        return rc;
    scratch = fs_scratch_is_wanted(name, flags, mode);
    if (scratch)
        rc = fs_file_create_scratch(fs_of(req), directory, name, strlen(name), &attr, &inode, file);
    else if ((rc = fs_tree_check_key(fs_of(req), directory, name, "create")) == 0)
        rc = fs_file_create(fs_of(req), directory, name, strlen(name), flags, &attr, &inode, file);
    if (rc == -ENOSPC && scratch)
        fs_errors_add_reason(fs_of(req), directory, name, "create", FS_SCRATCH_FULL);
    else
        fs_errors_note(fs_of(req), directory, name, "create", rc);
    if (rc < 0)
        return rc;
    rc = fs_attr_get(fs_of(req), inode, &entry->attr, &timeout);
    if (rc < 0) {
        fs_file_close(fs_of(req), *file);
        fs_inode_put(fs_of(req), inode);
        return rc;
    }
    entry->ino = fs_inode_id(inode);
    entry->attr_timeout = entry->entry_timeout = timeout;
    fs_inode_to_kernel(fs_of(req), inode);
    return 0;
}

static void fs_op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                         struct fuse_file_info *fi)
{
    struct fuse_entry_param entry = {0};
    struct fs *fs = fs_of(req);
    struct fs_file *file;
    int rc = create(req, parent, name, mode, fi->flags, &entry, &file);

    if (rc < 0) {
        fs_reply_error(req, rc);
        return;
    }
    set_open_flags(file, fi);
    if (fuse_reply_create(req, &entry, fi) == -ENOENT) {
        fs_file_close(fs, file);
        fs_inode_forget(fs, fs_inode_of(fs, entry.ino), 1);
    }
}

/* mknod(2) of a plain file is a create and a close. Devices, fifos and sockets are nothing that a
 * key-value store has. */
static void fs_op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    struct fuse_entry_param entry = {0};
    struct fs *fs = fs_of(req);
    struct fs_file *file;
    int rc = S_ISREG(mode) ? create(req, parent, name, mode, O_EXCL | O_WRONLY, &entry, &file) : -EPERM;

    (void)rdev;
    if (rc == 0) {
        rc = fs_file_put_wait(fs, file);
        fs_file_close(fs, file);
        if (rc < 0)
            fs_inode_forget(fs, fs_inode_of(fs, entry.ino), 1);
    }
    reply_entry(req, rc, &entry);
}

static void reply_read(void *arg, const void *bytes, size_t size) { fuse_reply_buf(arg, bytes, size); }

static void fs_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    if (fs_inode_of(fs_of(req), ino)->kind == FS_CONTROL_FILE) {
        fs_control_read(text_of(fi), req, size, offset);
        return;
    }
    fs_file_read(fs_of(req), file_of(fi), size, (uint64_t)offset, reply_read, req);
}

static void fs_op_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t offset,
                        struct fuse_file_info *fi)
{
    int rc = fs_file_write(fs_of(req), file_of(fi), bytes, size, (uint64_t)offset, fi->writepage);

    (void)ino;
    if (rc < 0)
        fs_reply_error(req, rc);
    else
        fuse_reply_write(req, size);
}

static void fs_op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t size,
                            struct fuse_file_info *fi)
{
    (void)ino;
    fs_reply_error(req, fs_file_allocate(fs_of(req), file_of(fi), mode, (uint64_t)offset, (uint64_t)size));
}

static void fs_op_copy_file_range(fuse_req_t req, fuse_ino_t from_ino, off_t from_offset,
                                  struct fuse_file_info *from, fuse_ino_t to_ino, off_t to_offset,
                                  struct fuse_file_info *to, size_t size, int flags)
{
    size_t copied;
    int rc;

    (void)to_ino;
    (void)flags;
    if (fs_inode_of(fs_of(req), from_ino)->kind == FS_CONTROL_FILE)
        rc = -EXDEV; /* its bytes are not a value: the caller copies them itself */
    else
        rc = fs_file_copy(fs_of(req), file_of(from), (uint64_t)from_offset, file_of(to), (uint64_t)to_offset, size,
                          &copied);
    if (rc < 0)
        fs_reply_error(req, rc);
    else
        fuse_reply_write(req, copied);
}

static void reply_put(void *arg, int rc) { fs_reply_error(arg, rc); }

static void fs_op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct fs_file *file = file_of(fi);
    struct fs *fs = fs_of(req);
    uint64_t st_ino;

    (void)ino;
    if (fs_file_awaits_writes(file, &st_ino) && fs_holder_has_more(fs, st_ino, fuse_req_ctx(req)->pid))
        fs_reply_error(req, 0); /* one of several closes, and the writes are still to come */
    else
        fs_file_put(fs, file, reply_put, req);
}

static void fs_op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)datasync;
    if (fs_inode_of(fs_of(req), ino)->kind == FS_CONTROL_FILE)
        fs_reply_error(req, 0);
    else
        fs_file_sync(fs_of(req), file_of(fi), reply_put, req);
}

static void fs_op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (fs_inode_of(fs_of(req), ino)->kind == FS_CONTROL_FILE)
        fs_control_close(fs_of(req), text_of(fi));
    else
        fs_file_close(fs_of(req), file_of(fi));
    fs_reply_error(req, 0);
}

/* ---------------------------------------------------------------------- directories */

static struct fs_dir *dir_of(const struct fuse_file_info *fi) { return (struct fs_dir *)(uintptr_t)fi->fh; }

static void fs_op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    struct fs_dir *dir;
    int rc = fs_dir_open(fs, fs_inode_of(fs, ino), &dir);

    if (rc < 0) {
        reply_failure(req, ino, NULL, "opendir", rc);
        return;
    }
    fi->fh = (uintptr_t)dir;
    if (fuse_reply_open(req, fi) == -ENOENT)
        fs_dir_close(fs, dir);
}

static void read_dir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi,
                     bool plus)
{
    char *buffer = malloc(size);
    int rc = buffer == NULL ? -ENOMEM : fs_dir_read(fs_of(req), dir_of(fi), req, buffer, size, offset, plus);

    if (rc < 0)
        reply_failure(req, ino, NULL, "readdir", rc);
    else
        fuse_reply_buf(req, buffer, (size_t)rc);
    free(buffer);
}

static void fs_op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    read_dir(req, ino, size, offset, fi, false);
}

static void fs_op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    read_dir(req, ino, size, offset, fi, true);
}

static void fs_op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    fs_dir_close(fs_of(req), dir_of(fi));
    fs_reply_error(req, 0);
}

/* Changes of names are durable when they return. */
static void fs_op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)ino;
    (void)datasync;
    (void)fi;
    fs_reply_error(req, kv_sync(fs_of(req)->store));
}

/* --------------------------------------------------------------- extended attributes */

static void reply_xattr(fuse_req_t req, fuse_ino_t ino, int rc, const char *bytes, size_t capacity)
{
    if (rc < 0)
        reply_failure(req, ino, NULL, "getxattr", rc);
    else if (capacity == 0)
        fuse_reply_xattr(req, (size_t)rc);
    else
        fuse_reply_buf(req, bytes, (size_t)rc);
}

static void fs_op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    char value[KV_XATTR_MAX];
    size_t capacity = size < sizeof(value) ? size : sizeof(value);

    reply_xattr(req, ino, fs_xattr_get(fs_of(req), fs_inode_of(fs_of(req), ino), name, value, capacity), value,
                size);
}

static void fs_op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    char names[2 * KV_XATTR_MAX];
    size_t capacity = size < sizeof(names) ? size : sizeof(names);

    reply_xattr(req, ino, fs_xattr_list(fs_of(req), fs_inode_of(fs_of(req), ino), names, capacity), names, size);
}

static void fs_op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
                           int flags)
{
    fs_reply_error(req, fs_xattr_set(fs_of(req), fs_inode_of(fs_of(req), ino), name, value, size, flags));
}

static void fs_op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    fs_reply_error(req, fs_xattr_set(fs_of(req), fs_inode_of(fs_of(req), ino), name, NULL, 0, 0));
}

const struct fuse_lowlevel_ops fs_ops = {
    .init = fs_op_init,
    .lookup = fs_op_lookup,
    .forget = fs_op_forget,
    .forget_multi = fs_op_forget_multi,
    .getattr = fs_op_getattr,
    .setattr = fs_op_setattr,
    .readlink = fs_op_readlink,
    .mknod = fs_op_mknod,
    .mkdir = fs_op_mkdir,
    .unlink = fs_op_unlink,
    .rmdir = fs_op_rmdir,
    .symlink = fs_op_symlink,
    .rename = fs_op_rename,
    .link = fs_op_link,
    .open = fs_op_open,
    .create = fs_op_create,
    .read = fs_op_read,
    .write = fs_op_write,
    .flush = fs_op_flush,
    .fsync = fs_op_fsync,
    .release = fs_op_release,
    .opendir = fs_op_opendir,
    .readdir = fs_op_readdir,
    .readdirplus = fs_op_readdirplus,
    .releasedir = fs_op_releasedir,
    .fsyncdir = fs_op_fsyncdir,
    .statfs = fs_op_statfs,
    .fallocate = fs_op_fallocate,
    .copy_file_range = fs_op_copy_file_range,
    .setxattr = fs_op_setxattr,
    .getxattr = fs_op_getxattr,
    .listxattr = fs_op_listxattr,
    .removexattr = fs_op_removexattr,
};
