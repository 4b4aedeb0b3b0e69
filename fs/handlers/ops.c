#include "fs/handlers/ops.h"

#include "fs/handlers/handlers_internal.h"

#include <errno.h>

#define MAX_WRITE (1u << 20)
#define DROPS_PAGES_MINOR 45 /* of the protocol of Linux 6.18 */

void fs_op_init(void *userdata, struct fuse_conn_info *conn)
{
    struct fs *fs = userdata;

    /* No writeback cache: the kernel would trust its own sizes and times over other nodes' changes. No automatic
     * invalidation: an inode's pages are right or dropped (nodes/inode.h). No asynchronous direct I/O: the kernel
     * does not drop the pages that a buffered read made meanwhile. No splicing: transport/channel.c reads the
     * requests. No OPEN is answered with ENOSYS, which would end them, and RELEASEs, for good, and spare a mount for
     * reading all requests of a hot get: with the RELEASE comes the end of a flock, and with the OPEN the version
     * that has to be kept for the handle's later reads. */
    conn->want = FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
                 FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_POSIX_LOCKS |
                 FUSE_CAP_FLOCK_LOCKS;
    conn->want &= conn->capable;
    conn->max_write = MAX_WRITE;
    conn->max_readahead = MAX_WRITE;
    conn->max_background = 64;
    conn->time_gran = 1;
    fs->drops_pages = conn->proto_minor >= DROPS_PAGES_MINOR;
}

void *op_handle(const struct fuse_file_info *fi, enum fs_handle_kind kind)
{
    enum fs_handle_kind *handle = fi != NULL ? (void *)(uintptr_t)fi->fh : NULL;

    return handle != NULL && *handle == kind ? handle : NULL;
}

void op_reply(fuse_req_t req, fuse_ino_t ino, const char *child, const char *operation, int rc)
{
    if (rc < 0)
        fs_note(fs_of(req), fuse_req_ctx(req)->uid, op_inode(req, ino), child, operation, rc);
    fs_reply_error(req, rc);
}

void op_reply_entry(fuse_req_t req, fuse_ino_t parent, const char *name, const char *operation, int rc,
                    const struct fuse_entry_param *entry)
{
    struct fs *fs = fs_of(req);

    if (rc < 0)
        op_reply(req, parent, name, operation, rc);
    else if (fuse_reply_entry(req, entry) != 0) /* interrupted: the kernel has no reference */
        fs_inode_forget(fs, entry->ino, 1);
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
    .getlk = fs_op_getlk,
    .setlk = fs_op_setlk,
    .flock = fs_op_flock,
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
