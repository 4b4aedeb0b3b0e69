#include "fs/handlers/handlers_internal.h"
#include "fs/names/namei.h"
#include "fs/nodes/push.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

void fs_op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fs_inode *dir = op_inode(req, parent);
    struct fuse_entry_param entry = {0};
    uint64_t before = fs_push_before(fs_of(req));
    int rc = fs_lookup(fs_of(req), dir, name, fuse_req_ctx(req)->uid, &entry);

    if (rc == 0)
        fs_push_present(fs_of(req), before, &entry);
    if (rc == -ENOENT && entry.entry_timeout > 0)
        entry.entry_timeout = fs_push_absent(fs_of(req), dir, before, entry.entry_timeout);
    if (rc == -ENOENT && entry.entry_timeout > 0)
        fuse_reply_entry(req, &entry); /* without an inode: "not there" may be remembered */
    else
        op_reply_entry(req, parent, name, "lookup", rc, &entry);
}

void fs_op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups)
{
    fs_inode_forget(fs_of(req), ino, lookups);
    fuse_reply_none(req);
}

void fs_op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        fs_inode_forget(fs_of(req), forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(req);
}

void fs_op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct fs_inode *directory = op_inode(req, parent);
    struct fuse_entry_param entry = {0};
    struct kv_attr attr;
    int rc = fs_new_attr(fs_of(req), directory, fuse_req_ctx(req), mode | S_IFDIR, &attr);

    if (rc == 0)
        rc = fs_mkdir(fs_of(req), directory, name, &attr, &entry);
    op_reply_entry(req, parent, name, "create", rc, &entry);
}

void fs_op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    struct fs_inode *directory = op_inode(req, parent);
    struct fuse_entry_param entry = {0};
    struct kv_attr attr;
    int rc = fs_new_attr(fs_of(req), directory, fuse_req_ctx(req), 0777, &attr);

    if (rc == 0)
        rc = fs_symlink(fs_of(req), directory, name, target, &attr, &entry);
    op_reply_entry(req, parent, name, "create", rc, &entry);
}

void fs_op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    char target[FS_TARGET_MAX];
    int rc = fs_readlink(fs_of(req), op_inode(req, ino), target);

    if (rc < 0)
        op_reply(req, ino, NULL, "readlink", rc);
    else
        fuse_reply_readlink(req, target);
}

void fs_op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    op_reply(req, parent, name, "delete", fs_rmdir(fs_of(req), op_inode(req, parent), name));
}

void fs_op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    op_reply(req, parent, name, "delete", fs_unlink(fs_of(req), op_inode(req, parent), name));
}

void fs_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent, const char *to_name,
                  unsigned flags)
{
    uid_t uid = fuse_req_ctx(req)->uid;
    int rc = fs_rename(fs_of(req), op_inode(req, parent), name, op_inode(req, to_parent), to_name, flags, uid);

    op_reply(req, to_parent, to_name, "rename", rc);
}

void fs_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t to_parent, const char *to_name)
{
    (void)ino;
    op_reply(req, to_parent, to_name, "link", fs_because(-EPERM, "a key has one name: there are no hard links"));
}

/* mknod(2) of a plain file is a create and a close. */
static int op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                    struct fuse_entry_param *entry)
{
    struct fs *fs = fs_of(req);
    struct fs_handle *handle;
    struct fs_inode *inode;
    int rc;

    if (!S_ISREG(mode))
        return fs_because(-EPERM, "there are no devices, fifos and sockets: a key holds bytes");
    rc =
        fs_make_file(fs, op_inode(req, parent), name, mode, O_EXCL | O_WRONLY, fuse_req_ctx(req), &inode, &handle);
    if (rc < 0)
        return rc;
    rc = fs_put_wait(fs, handle);
    fs_close(fs, handle);
    if (rc < 0)
        fs_inode_put(fs, inode);
    return rc < 0 ? rc : fs_lookup_made(fs, inode, entry);
}

void fs_op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    struct fuse_entry_param entry = {0};
    int rc = op_mknod(req, parent, name, mode, &entry);

    (void)rdev;
    op_reply_entry(req, parent, name, "create", rc, &entry);
}
