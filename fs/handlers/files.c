#include "fs/content/data.h"
#include "fs/content/way.h"
#include "fs/handlers/handlers_internal.h"
#include "fs/names/namei.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>

static struct fs_handle *op_file(const struct fuse_file_info *fi) { return op_handle(fi, FS_HANDLE_FILE); }

/* ------------------------------------------------------------------------------- opening */

static void op_open_control(fuse_req_t req, fuse_ino_t ino, struct fs_inode *inode, struct fuse_file_info *fi)
{
    bool writes = (fi->flags & O_ACCMODE) != O_RDONLY || fi->flags & O_TRUNC; /* root may, says their mode */
    int index = op_control_index(inode);
    struct fs_control_handle *handle;
    struct fs *fs = fs_of(req);
    int rc = writes ? -EPERM : fs_control_open(fs, index, fuse_req_ctx(req), &handle);

    if (rc < 0) {
        op_reply(req, ino, NULL, "open", rc);
        return;
    }
    fi->fh = (uintptr_t)handle;
    fi->direct_io = 1; /* its size is not known before */
    fi->noflush = 1;
    if (fuse_reply_open(req, fi) != 0)
        fs_control_close(fs, handle);
}

static void op_set_open(struct fs *fs, struct fs_handle *handle, struct fuse_file_info *fi)
{
    fi->fh = (uintptr_t)handle;
    fi->direct_io = fs_way_choose(fs, handle, fi->flags);
    fi->keep_cache = 1; /* nodes/inode.h: an inode's pages are always those of its content */
    fi->noflush = !handle->writes && handle->state == FS_CLEAN; /* nothing can become dirty */
}

void fs_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct fs_inode *inode = op_inode(req, ino);
    struct fs *fs = fs_of(req);
    struct fs_handle *handle;
    int rc = inode->kind == FS_KEY ? 0 : fs_node_of(inode) != NULL ? -EISDIR : -ESTALE;

    if (inode->kind == FS_CONTROL_FILE) {
        op_open_control(req, ino, inode, fi);
        return;
    }
    if (rc == 0)
        rc = fs_open(fs, inode, fi->flags, fuse_req_ctx(req), &handle);
    if (rc < 0) {
        op_reply(req, ino, NULL, "open", rc);
        return;
    }
    op_set_open(fs, handle, fi);
    if (fuse_reply_open(req, fi) != 0)
        fs_close(fs, handle); /* interrupted: no release will follow */
}

void fs_op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
    struct fuse_entry_param entry = {0};
    struct fs *fs = fs_of(req);
    struct fs_handle *handle;
    struct fs_inode *inode;
    int rc = fs_make_file(fs, op_inode(req, parent), name, mode, fi->flags, fuse_req_ctx(req), &inode, &handle);

    if (rc == 0 && (rc = fs_lookup_made(fs, inode, &entry)) < 0)
        fs_close(fs, handle);
    if (rc < 0) {
        op_reply(req, parent, name, "create", rc);
        return;
    }
    op_set_open(fs, handle, fi);
    if (fuse_reply_create(req, &entry, fi) != 0) {
        fs_close(fs, handle);
        fs_inode_forget(fs, entry.ino, 1);
    }
}

/* ---------------------------------------------------------------------------------- data */

static void op_reply_read(void *arg, const void *bytes, size_t size) { fuse_reply_buf(arg, bytes, size); }

/* Can it be that pages of the cache are read? Through a descriptor with O_DIRECT, too, where it is mapped; then they
 * are whole pages. */
static bool op_reads_pages(const struct fuse_file_info *fi, size_t size, off_t offset)
{
    return !(fi->flags & O_DIRECT) || (size | (size_t)offset) % FS_PAGE == 0;
}

void fs_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    struct fs_control_handle *control = op_handle(fi, FS_HANDLE_CONTROL);
    struct fs_handle *handle = op_file(fi);

    if (handle != NULL)
        fs_read(fs_of(req), handle, size, (uint64_t)offset, op_reads_pages(fi, size, offset), op_reply_read, req);
    else if (control != NULL)
        fs_control_read(control, req, size, offset);
    else
        op_reply(req, ino, NULL, "read", -EBADF);
}

/* A write that is answered when it is synced. */
struct op_written {
    fuse_req_t req;
    size_t size;
};

static void op_reply_synced(void *arg, int rc)
{
    struct op_written written = *(struct op_written *)arg;

    free(arg);
    if (rc < 0)
        fs_reply_error(written.req, rc);
    else
        fuse_reply_write(written.req, written.size);
}

static void op_sync_written(fuse_req_t req, struct fs_handle *handle, size_t size)
{
    struct op_written *written = malloc(sizeof(*written));

    if (written == NULL) {
        fs_reply_error(req, -ENOMEM);
        return;
    }
    *written = (struct op_written){req, size};
    fs_sync(fs_of(req), handle, op_reply_synced, written);
}

void fs_op_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t offset,
                 struct fuse_file_info *fi)
{
    struct fs_handle *handle = op_file(fi);
    int rc = -EBADF;

    (void)ino;
    if (handle != NULL)
        rc = fs_write(fs_of(req), handle, bytes, size, (uint64_t)offset, fi->writepage);
    if (rc < 0)
        fs_reply_error(req, rc); /* it is noted already */
    else if (handle->way == FS_WAY_PAST && fi->flags & O_DSYNC)
        op_sync_written(req, handle, size);
    else
        fuse_reply_write(req, size);
}

void fs_op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t size, struct fuse_file_info *fi)
{
    struct fs_handle *handle = op_file(fi);
    int rc = -EBADF;

    (void)ino;
    if (handle != NULL)
        rc = fs_allocate(fs_of(req), handle, mode, (uint64_t)offset, (uint64_t)size);
    fs_reply_error(req, rc);
}

void fs_op_copy_file_range(fuse_req_t req, fuse_ino_t from_ino, off_t from_offset, struct fuse_file_info *from,
                           fuse_ino_t to_ino, off_t to_offset, struct fuse_file_info *to, size_t size, int flags)
{
    struct fs_handle *source = op_file(from), *target = op_file(to);
    size_t copied;
    int rc = -EXDEV; /* a control file's bytes are not a value: the caller copies them itself */

    (void)from_ino;
    (void)to_ino;
    (void)flags;
    if (source != NULL && target != NULL)
        rc = fs_copy(fs_of(req), source, (uint64_t)from_offset, target, (uint64_t)to_offset, size, &copied);
    if (rc < 0)
        fs_reply_error(req, rc);
    else
        fuse_reply_write(req, copied);
}

/* ------------------------------------------------------------------------------- closing */

static void op_reply_put(void *arg, int rc) { fs_reply_error(arg, rc); } /* a failure is noted already */

void fs_op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct fs_handle *handle = op_file(fi);
    struct fs *fs = fs_of(req);

    if (handle == NULL) {
        fs_reply_error(req, 0);
        return;
    }
    fs_filelocks_drop_owner(fs, op_inode(req, ino), &handle->locks, fi->lock_owner);
    fs_flush(fs, handle, fuse_req_ctx(req)->pid, op_reply_put, req);
}

void fs_op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct fs_handle *handle = op_file(fi);

    (void)ino;
    (void)datasync;
    if (handle == NULL)
        fs_reply_error(req, 0);
    else
        fs_sync(fs_of(req), handle, op_reply_put, req);
}

void fs_op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct fs_control_handle *control = op_handle(fi, FS_HANDLE_CONTROL);
    struct fs_handle *handle = op_file(fi);
    struct fs *fs = fs_of(req);

    (void)ino;
    fs_reply_error(req, 0); /* first: the kernel lets only so many requests wait in the background */
    if (handle != NULL)
        fs_close(fs, handle);
    else if (control != NULL)
        fs_control_close(fs, control);
}

/* ---------------------------------------------------------------------------------- locks */

static struct kv_lock_range op_lock_range(const struct flock *lock)
{
    uint64_t start = (uint64_t)lock->l_start;

    return (struct kv_lock_range){.kind = KV_LOCK_RANGE,
                                  .type = lock->l_type,
                                  .start = start,
                                  .end = lock->l_len == 0 ? UINT64_MAX : start + (uint64_t)lock->l_len - 1};
}

void fs_op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
    struct kv_lock_range range = op_lock_range(lock);
    struct fs_handle *handle = op_file(fi);
    int rc = -EBADF;

    if (handle != NULL)
        rc = fs_filelock_test(fs_of(req), op_inode(req, ino), &handle->locks, fi->lock_owner,
                              fuse_req_ctx(req)->uid, &range);
    if (rc < 0) {
        op_reply(req, ino, NULL, "lock", rc);
        return;
    }
    lock->l_type = (short)range.type;
    lock->l_start = (off_t)range.start;
    lock->l_len = range.end >= INT64_MAX ? 0 : (off_t)(range.end - range.start + 1);
    lock->l_pid = 0; /* maybe a process of another node */
    fuse_reply_lock(req, lock);
}

static void op_lock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, const struct kv_lock_range *range,
                    bool wait)
{
    struct fs_handle *handle = op_file(fi);

    if (handle == NULL)
        op_reply(req, ino, NULL, "lock", -EBADF);
    else
        fs_filelock_set(fs_of(req), req, op_inode(req, ino), &handle->locks, fi->lock_owner, range, wait);
}

void fs_op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock, int sleep)
{
    struct kv_lock_range range = op_lock_range(lock);

    op_lock(req, ino, fi, &range, sleep);
}

void fs_op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op)
{
    int what = op & ~LOCK_NB;
    struct kv_lock_range range = {.kind = KV_LOCK_FLOCK,
                                  .type = what == LOCK_EX   ? F_WRLCK
                                          : what == LOCK_SH ? F_RDLCK
                                                            : F_UNLCK};

    op_lock(req, ino, fi, &range, !(op & LOCK_NB));
}
