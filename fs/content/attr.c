#include "fs/content/attr.h"

#include <errno.h>
#include <string.h>

/* -------------------------------------------------------------------------------- reading */

static int getattr_node(struct fs *fs, struct fs_inode *inode, struct stat *out, double *timeout)
{
    struct kv_node node;
    int rc = kv_node_get(fs->store, inode->name->node, &node);

    if (rc < 0)
        return rc == -ENOENT ? fs_stale(fs, inode) : rc;
    fs_tell_node(fs, inode, &node, out);
    *timeout = inode->kind == FS_VIEW ? 0 : fs_timeout_full(fs);
    return 0;
}

/* For how much longer this node may serve what it knows of a key. */
static double getattr_remaining(struct fs *fs, const struct kv_ref *ref)
{
    struct kv_fresh fresh;
    struct kv_meta meta;

    return kv_peek(fs->store, ref, &meta, &fresh) == 0 ? fs_timeout_of(&fresh) : 0;
}

/* Of an open key. The inode's lock is held. */
static void getattr_open_locked(struct fs *fs, struct fs_inode *inode, struct stat *out, double *timeout)
{
    bool removed = fs_inode_state(fs, inode) == FS_REMOVED, local;
    struct kv_ref ref = fs_inode_ref(fs, inode);
    struct kv_meta meta;

    pthread_rwlock_rdlock(&inode->body->io);
    meta = inode->body->meta;
    local = fs_body_is_local_locked(inode->body);
    pthread_rwlock_unlock(&inode->body->io);
    fs_tell_key(fs, inode, &meta, out);
    if (removed)
        out->st_nlink = 0;
    *timeout = local || removed ? fs_timeout_of_key(fs, &meta) : getattr_remaining(fs, &ref);
}

/* May the kernel be told this of a closed inode? Where it has no pages of it another version of the object is as good,
 * but only to look at: the kernel can take the size from an answer that was given before, and so the inode is opened no
 * more. (It was, and an append landed within the value, about once in 2,000 on a busy machine.) */
static bool getattr_tells_locked(struct fs *fs, struct fs_inode *inode, const struct kv_meta *meta)
{
    if (fs_inode_shows(fs, inode, meta))
        return true;
    if (inode->pages != FS_PAGES_NONE || !fs_told_is(fs, inode, &meta->attr))
        return false;
    inode->version = 0;
    return true;
}

/* The inode is about to get another name. */
enum { GETATTR_LATER = 1 };

/* Of a key that nobody has open. The inode's lock is held. */
static int getattr_closed_locked(struct fs *fs, struct fs_inode *inode, struct stat *out, double *timeout)
{
    struct kv_ref ref = fs_inode_ref(fs, inode);
    struct kv_fresh fresh;
    struct kv_meta meta;
    int rc = -ESTALE;

    if (fs_inode_state(fs, inode) != FS_CURRENT)
        return rc;
    rc = kv_stat(fs->store, &ref, &meta, &fresh);
    if ((rc == 0 || rc == -ENOENT) && fs_inode_is_moving(fs, inode, &ref, rc == 0 ? &meta.attr : NULL))
        return GETATTR_LATER;
    if (rc == -ENOENT || (rc == 0 && !getattr_tells_locked(fs, inode, &meta))) {
        fs_inode_displace(fs, inode);
        return -ESTALE;
    }
    if (rc < 0)
        return rc;
    fs_tell_key(fs, inode, &meta, out);
    *timeout = fs_timeout_of(&fresh);
    return 0;
}

static int getattr_key(struct fs *fs, struct fs_inode *inode, struct stat *out, double *timeout)
{
    int rc;

    do {
        rc = 0;
        fs_inode_lock(fs, inode);
        if (inode->body != NULL)
            getattr_open_locked(fs, inode, out, timeout);
        else
            rc = getattr_closed_locked(fs, inode, out, timeout);
        fs_inode_unlock(fs, inode);
        if (rc == GETATTR_LATER)
            fs_name_settle(fs, inode);
    } while (rc == GETATTR_LATER);
    if (rc == -ESTALE) /* an open may be behind this, for the permission that it needs */
        fs_name_contend(fs, inode);
    return rc;
}

int fs_getattr(struct fs *fs, struct fs_inode *inode, struct stat *out, double *timeout)
{
    return inode->kind == FS_KEY ? getattr_key(fs, inode, out, timeout) : getattr_node(fs, inode, out, timeout);
}

/* ------------------------------------------------------------------------------- changing */

static int setattr_node(struct fs *fs, struct fs_inode *inode, const struct kv_attr *attr, unsigned mask)
{
    struct kv_change change = {.kind = KV_SETATTR, .attr = *attr, .attr_mask = mask};
    struct fs_seen seen;
    int rc = fs_see(fs, inode, NULL, &seen, &change);

    if (rc < 0)
        return rc;
    change.ref = kv_ref_node(inode->name->node);
    rc = kv_apply(fs->store, &change);
    if (rc == 0)
        fs_told_changed(fs, inode, &change.node.attr);
    return fs_stale_if(fs, inode, rc);
}

/* Change the object that the kernel was told of. returns 0; -ESTALE it is another one, or gone */
static int setattr_stored(struct fs *fs, struct fs_inode *inode, const struct kv_attr *attr, unsigned mask,
                          bool strict)
{
    struct kv_change change = {.kind = KV_SETATTR, .attr = *attr, .attr_mask = mask, .strict = strict};
    struct kv_attr told = fs_told(fs, inode);
    struct fs_seen seen;
    int rc = fs_see(fs, inode, NULL, &seen, &change);

    if (rc < 0)
        return rc;
    change.ref = fs_inode_ref(fs, inode);
    change.object = &told;
    rc = kv_apply(fs->store, &change);
    if (rc == 0)
        fs_told_changed(fs, inode, &change.meta.attr);
    return rc == -ENOENT ? -ESTALE : rc;
}

/* Keep a change with the body, whose put brings it along if the central storage does not have it. */
static void setattr_body(struct fs_body *body, const struct kv_attr *attr, unsigned mask, bool stored)
{
    pthread_rwlock_wrlock(&body->io);
    kv_attr_set(&body->meta.attr, attr, mask);
    body->meta.attr.ctime_ns = fs_now_ns();
    if (!stored)
        body->changed |= mask & KV_NO_SETID ? mask | KV_MODE : mask;
    pthread_rwlock_unlock(&body->io);
}

int fs_setattr(struct fs *fs, struct fs_inode *inode, const struct kv_attr *attr, unsigned mask, bool strict)
{
    struct fs_name *name;
    struct fs_body *body;
    bool stored;
    int rc = 0;

    if (inode->kind == FS_NODE)
        return setattr_node(fs, inode, attr, mask);
    if (mask & (KV_UID | KV_GID) && !(mask & KV_MODE))
        mask |= KV_NO_SETID;
    name = fs_name_lock_of(fs, inode);
    body = fs_body_pin(fs, inode);
    stored = fs_body_is_stored(fs, inode, body);
    if (stored)
        rc = setattr_stored(fs, inode, attr, mask, strict);
    else if (body == NULL)
        rc = -ESTALE;
    if (rc == -ESTALE && body != NULL && fs_inode_state(fs, inode) != FS_CURRENT) {
        stored = false; /* another object has the name: this one lives on in its handles */
        rc = 0;
    }
    if (rc == 0 && body == NULL)
        body = fs_body_pin(fs, inode); /* an open that was under way may have begun with the old ones */
    if (rc == 0 && body != NULL)
        setattr_body(body, attr, mask, stored);
    if (body != NULL)
        fs_body_unpin(fs, inode);
    fs_name_unlock(fs, name);
    return fs_stale_if(fs, inode, rc);
}
