/* Creating keys and temporary files. */
#include "fs/base/ledger.h"
#include "fs/content/open_internal.h"

#include <errno.h>
#include <string.h>

/* Does the account surely have no room for one more key? */
static int create_check_account(const struct opening *opening, size_t size)
{
    const struct kv_usage *usage = &opening->usage;
    uint64_t dirty = fs_ledger_used(opening->fs->accounts, usage->account, FS_DIRTY_BYTES);

    if (usage->limit_keys != 0 && usage->keys >= usage->limit_keys)
        return -EDQUOT;
    return usage->bytes + dirty + size > usage->limit_bytes ? -EDQUOT : 0;
}

/* Give a new inode a body that only this node knows. The inode's lock is held. */
static int create_body_locked(const struct opening *opening, struct fs_inode *inode, const struct kv_attr *attr,
                              bool temporary)
{
    struct fs *fs = opening->fs;
    struct fs_body *body;
    int rc = fs_body_new(inode, &opening->usage, opening->handle->uid, &body);

    if (rc == 0) {
        body->meta.attr = *attr;
        body->exclusive = opening->flags & O_EXCL;
        body->state = FS_BODY_NEW;
        rc = kv_value_new(0, &body->value);
        if (rc == 0 && temporary)
            rc = fs_body_charge_temporary(fs, body);
        if (rc < 0)
            fs_body_free(fs, body);
    }
    if (rc < 0)
        return rc;
    body->written = opening->handle->written = 1;
    body->writers = opening->handle->writes;
    opening->handle->state = FS_EMPTIED;
    opening->handle->inode = inode;
    fs_inode_set_body_locked(fs, inode, body);
    (void)fs_way_begin(opening->handle);
    inode->opens = temporary ? 2 : 1; /* a temporary file is pinned by its name */
    inode->pages = FS_PAGES_SOME;
    fs_inode_set_local(fs, inode, true);
    return 0;
}

/* Is the key there, against what the kernel believes? Its name is locked.
 * returns  0 no; -EEXIST, -ESTALE */
static int create_check_absent(const struct opening *opening, struct fs_inode *namespace, struct fs_name *name,
                               bool temporary)
{
    struct kv_ref ref = kv_ref_key(name->node, name->key, name->size);
    struct fs_inode *inode = fs_name_current(opening->fs, name);
    bool there = false;
    struct kv_meta meta;
    int rc = temporary ? -ENOENT : kv_get_newest(opening->fs->store, &ref, &meta, NULL);

    if (inode != NULL) {
        fs_inode_lock(opening->fs, inode);
        there = inode->body != NULL && fs_body_is_local(inode->body);
        if (!there && rc == -ENOENT) /* what it stood for is gone */
            fs_inode_displace(opening->fs, inode);
        fs_inode_unlock(opening->fs, inode);
        fs_inode_put(opening->fs, inode);
    }
    if (!there && rc < 0)
        return rc == -ENOENT ? 0 : rc;
    return opening->flags & O_EXCL ? -EEXIST : fs_stale(opening->fs, namespace);
}

/* Make the inode of a locked name that nothing has, with its body. A lookup can take the name's inode away
 * meanwhile. */
static int create_inode(const struct opening *opening, struct fs_inode *namespace, struct fs_name *name,
                        const struct kv_attr *attr, bool temporary, struct fs_inode **out)
{
    bool current = false;
    int rc = 0;

    while (rc == 0 && !current) {
        rc = fs_inode_of_key(opening->fs, namespace, name->key, name->size, out);
        if (rc < 0)
            return rc;
        fs_inode_lock(opening->fs, *out);
        current = fs_inode_state(opening->fs, *out) == FS_CURRENT;
        if (current && (*out)->body != NULL) /* another node has made it, and a lookup has opened that ahead */
            rc = opening->flags & O_EXCL ? -EEXIST : fs_stale(opening->fs, namespace);
        else if (current)
            rc = create_body_locked(opening, *out, attr, temporary);
        fs_inode_unlock(opening->fs, *out);
        if (!current || rc < 0)
            fs_inode_put(opening->fs, *out);
    }
    return rc;
}

static int create(struct opening *opening, struct fs_inode *namespace, const char *key, const struct kv_attr *attr,
                  const struct fuse_ctx *who, bool temporary, struct fs_inode **out)
{
    struct fs *fs = opening->fs;
    struct kv_attr own = *attr;
    struct fs_name *name;
    int rc = fs_check_seen(fs, namespace, &opening->usage);

    if (rc == 0 && !temporary)
        rc = create_check_account(opening, strlen(key));
    if (rc == 0)
        rc = kv_new_ino(fs->store, &own.ino);
    if (rc == 0)
        rc = handle_new(fs, opening->flags, who, &opening->handle);
    if (rc < 0)
        return rc;
    name = fs_name_lock(fs, namespace->name->node, key);
    rc = name == NULL ? -ENOMEM : create_check_absent(opening, namespace, name, temporary);
    if (rc == 0)
        rc = create_inode(opening, namespace, name, &own, temporary, out);
    if (name != NULL)
        fs_name_unlock(fs, name);
    if (rc < 0)
        handle_free(fs, opening->handle);
    else
        fs_inode_touch(fs, namespace);
    return rc;
}

int fs_create(struct fs *fs, struct fs_inode *namespace, const char *key, int flags, const struct kv_attr *attr,
              const struct fuse_ctx *who, struct fs_inode **inode, struct fs_handle **out)
{
    struct opening opening = {.fs = fs, .flags = flags};
    int rc = create(&opening, namespace, key, attr, who, false, inode);

    if (rc == 0)
        *out = opening.handle;
    return rc;
}

int fs_create_temporary(struct fs *fs, struct fs_inode *namespace, const char *name, const struct kv_attr *attr,
                        const struct fuse_ctx *who, struct fs_inode **inode, struct fs_handle **out)
{
    struct opening opening = {.fs = fs, .flags = O_RDWR | O_EXCL};
    int rc = create(&opening, namespace, name, attr, who, true, inode);

    if (rc == 0)
        *out = opening.handle;
    return rc;
}
