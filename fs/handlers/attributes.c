#include "fs/content/data.h"
#include "fs/handlers/handlers_internal.h"
#include "fs/names/space.h"

#include <errno.h>

/* What the kernel is told of an inode. */
struct op_shown {
    struct stat attr;
    double timeout;
};

void fs_op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct fs_inode *inode = op_inode(req, ino);
    struct op_shown shown = {.timeout = 0};
    int rc = -ESTALE;

    (void)fi;
    if (op_is_control(inode)) {
        fs_control_stat(fs_of(req), op_control_index(inode), &shown.attr);
        rc = 0;
    } else if (inode->kind != FS_GONE) {
        rc = fs_getattr(fs_of(req), inode, &shown.attr, &shown.timeout);
    }
    if (rc < 0)
        op_reply(req, ino, NULL, "getattr", rc);
    else
        fuse_reply_attr(req, &shown.attr, shown.timeout);
}

/* Times beyond what can be kept, 292 years around 1970, become the nearest that can, as on other file systems. */
static int64_t op_ns_of(struct timespec time)
{
    const time_t most = INT64_MAX / 1000000000 - 1;

    if (time.tv_sec > most || time.tv_sec < -most)
        return (time.tv_sec < 0 ? -most : most) * 1000000000;
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* What a SETATTR changes besides the size. */
static unsigned op_setattr_mask(const struct stat *attr, int to_set, struct kv_attr *out)
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
    out->atime_ns = to_set & FUSE_SET_ATTR_ATIME_NOW ? now_ns : op_ns_of(attr->st_atim);
    out->mtime_ns = to_set & FUSE_SET_ATTR_MTIME_NOW ? now_ns : op_ns_of(attr->st_mtim);
    return mask;
}

/* Change the size, through a handle or by a put of its own, and find what to tell. */
static int op_set_size(fuse_req_t req, struct fs_inode *inode, uint64_t size, const struct fuse_file_info *fi,
                       struct op_shown *shown)
{
    struct fs_handle *handle = op_handle(fi, FS_HANDLE_FILE);
    struct fs *fs = fs_of(req);
    int rc;

    if (inode->kind != FS_KEY)
        return fs_node_of(inode) != NULL ? -EISDIR : -EPERM;
    if (handle == NULL)
        return fs_truncate_path(fs, inode, size, fuse_req_ctx(req), &shown->attr, &shown->timeout);
    rc = fs_truncate(fs, handle, size);
    return rc < 0 ? rc : fs_getattr(fs, handle->inode, &shown->attr, &shown->timeout);
}

/* Change what `mask` names, and find what to tell. */
static int op_set_others(fuse_req_t req, struct fs_inode *inode, const struct kv_attr *wanted, unsigned mask,
                         struct op_shown *shown)
{
    bool by_owner = mask & (KV_MODE | KV_UID | KV_GID);
    uid_t uid = fuse_req_ctx(req)->uid;
    struct fs *fs = fs_of(req);
    int rc;

    if (inode->kind == FS_VIEW)
        return fs_because(-EPERM, "a view is as its namespace: change the namespace");
    if (inode->kind != FS_KEY && inode->kind != FS_NODE)
        return inode->kind == FS_GONE ? -ESTALE : -EPERM;
    if (by_owner && inode->kind == FS_NODE && uid != 0 && uid != fs_told(fs, inode).uid)
        return -EPERM; /* the kernel may have checked with an owner from before */
    rc = mask != 0 ? fs_setattr(fs, inode, wanted, mask, !by_owner) : 0;
    return rc < 0 ? rc : fs_getattr(fs, inode, &shown->attr, &shown->timeout);
}

void fs_op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
    struct fs_inode *inode = op_inode(req, ino);
    bool sets_size = to_set & FUSE_SET_ATTR_SIZE;
    struct op_shown shown;
    struct kv_attr wanted;
    unsigned mask = op_setattr_mask(attr, to_set, &wanted);
    int rc = 0;

    if (sets_size)
        rc = op_set_size(req, inode, (uint64_t)attr->st_size, fi, &shown);
    if (rc == 0 && (mask != 0 || !sets_size))
        rc = op_set_others(req, inode, &wanted, mask, &shown);
    if (rc < 0)
        op_reply(req, ino, NULL, sets_size ? "truncate" : "setattr", rc);
    else
        fuse_reply_attr(req, &shown.attr, shown.timeout);
}

void fs_op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct statvfs result;
    int rc = fs_statfs(fs_of(req), op_inode(req, ino), fuse_req_ctx(req), &result);

    if (rc < 0)
        op_reply(req, ino, NULL, "statfs", rc);
    else
        fuse_reply_statfs(req, &result);
}

/* -------------------------------------------------------------------- extended attributes */

/* Control files and views have none. */
static bool op_has_xattrs(const struct fs_inode *inode) { return inode->kind == FS_NODE || inode->kind == FS_KEY; }

static int op_xattr_check(const struct fs_inode *inode)
{
    return inode->kind == FS_GONE ? -ESTALE : op_has_xattrs(inode) ? 0 : -ENOTSUP;
}

static void op_reply_xattr(fuse_req_t req, fuse_ino_t ino, int rc, const char *bytes, size_t capacity)
{
    if (rc < 0)
        op_reply(req, ino, NULL, "getxattr", rc);
    else if (capacity == 0)
        fuse_reply_xattr(req, (size_t)rc);
    else
        fuse_reply_buf(req, bytes, (size_t)rc);
}

void fs_op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    struct fs_inode *inode = op_inode(req, ino);
    char value[KV_XATTR_MAX];
    int rc = op_xattr_check(inode);

    if (rc == 0)
        rc = fs_getxattr(fs_of(req), inode, name, value, size < sizeof(value) ? size : sizeof(value));
    op_reply_xattr(req, ino, rc, value, size);
}

void fs_op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    struct fs_inode *inode = op_inode(req, ino);
    char names[2 * KV_XATTR_MAX];
    int rc = inode->kind == FS_GONE ? -ESTALE : 0;

    if (op_has_xattrs(inode))
        rc = fs_listxattr(fs_of(req), inode, names, size < sizeof(names) ? size : sizeof(names));
    op_reply_xattr(req, ino, rc, names, size);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
                        int flags)
{
    struct fs_inode *inode = op_inode(req, ino);
    int rc = op_xattr_check(inode);

    if (rc == 0)
        rc = fs_setxattr(fs_of(req), inode, name, value, size, flags, fuse_req_ctx(req)->uid);
    op_reply(req, ino, NULL, "setxattr", rc);
}

void fs_op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
    op_setxattr(req, ino, name, value, size, flags);
}

void fs_op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    op_setxattr(req, ino, name, NULL, 0, 0);
}
