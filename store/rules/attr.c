#include "store/rules/apply.h"

#include <errno.h>
#include <sys/stat.h>

void kv_attr_set(struct kv_attr *attr, const struct kv_attr *from, unsigned mask)
{
    if (mask & KV_MODE)
        attr->mode = from->mode & 07777;
    if (mask & KV_UID)
        attr->uid = from->uid;
    if (mask & KV_GID)
        attr->gid = from->gid;
    if (mask & KV_NO_SETID)
        attr->mode &= ~(uint32_t)(attr->mode & S_IXGRP ? S_ISUID | S_ISGID : S_ISUID);
    if (mask & KV_ATIME)
        attr->atime_ns = from->atime_ns;
    if (mask & KV_MTIME)
        attr->mtime_ns = from->mtime_ns;
    if (mask & KV_CTIME)
        attr->ctime_ns = from->ctime_ns;
}

/* Run `edit` on the attributes of a node or key and write the record back. */
typedef int attr_edit(struct tx *tx, struct kv_change *change, struct kv_attr *attr, struct kv_xattrs *xattrs);

/* Nobody sees an account's .projects while it is empty: until then it is whose the account is. */
static int follow_account(struct tx *tx, const struct kv_change *change)
{
    unsigned mask = change->attr_mask & (KV_MODE | KV_UID | KV_GID);
    struct tx_node *projects;
    int rc;

    if (change->kind != KV_SETATTR || mask == 0)
        return 0;
    rc = tx_node_child(tx, change->ref.node, NAME_PROJECTS, &projects);
    if (rc == -ENOENT || (rc == 0 && projects->node.children > 0))
        return 0;
    if (rc < 0)
        return rc;
    kv_attr_set(&projects->node.attr, &change->attr, mask);
    projects->dirty = true;
    return 0;
}

static int edit_node(struct tx *tx, struct kv_change *change, attr_edit *edit)
{
    struct tx_node *slot;
    int rc = tx_node_get(tx, change->ref.node, &slot);

    if (rc == 0 && slot->node.kind == KV_ACCOUNT)
        rc = follow_account(tx, change);
    if (rc == 0)
        rc = edit(tx, change, &slot->node.attr, &slot->xattrs);
    if (rc < 0)
        return rc;
    slot->node.has_xattrs = slot->xattrs.size > 0;
    slot->dirty = true;
    change->node = slot->node;
    return 0;
}

static bool sets_expiry(const struct kv_change *change)
{
    return change->kind == KV_SETATTR && change->expiry == KV_EXPIRY_SET;
}

/* Write a key with other attributes back, which can be charged otherwise. */
static int write_edited(struct tx *tx, const struct kv_change *change, const struct apply_key *key)
{
    int64_t growth = (int64_t)record_charge(change->ref.size, &key->record) - key->charge;
    struct apply_place place;
    int rc;

    if (growth == 0)
        return apply_key_write(tx, key, &key->record);
    rc = apply_place_of(tx, change->ref.node, &place);
    if (rc == 0)
        rc = apply_check_quota(&place, false, growth);
    if (rc == 0)
        rc = apply_key_write(tx, key, &key->record);
    return rc == 0 ? apply_count(tx, &place, 0, growth) : rc;
}

static int edit_key(struct tx *tx, struct kv_change *change, attr_edit *edit)
{
    struct kv_xattrs xattrs;
    struct apply_key old;
    int rc = apply_key_load(tx, &change->ref, &old);

    if (rc == 0 && old.damaged)
        rc = -EIO;
    if (rc < 0)
        return rc;
    if (!apply_may_edit(change, &old))
        return -ESTALE;
    if (!old.there)
        return -ENOENT;
    rc = record_xattrs(old.record.xattrs, &xattrs);
    if (rc == 0)
        rc = edit(tx, change, &old.record.meta.attr, &xattrs);
    if (rc < 0)
        return rc;
    old.record.xattrs = slice_of(xattrs.data, xattrs.size);
    old.record.meta.has_xattrs = xattrs.size > 0;
    if (sets_expiry(change))
        old.record.meta.expires_ns = change->expires_ns;
    rc = write_edited(tx, change, &old);
    if (rc == 0)
        change->meta = old.record.meta;
    return rc;
}

static int edit_attr(struct tx *tx, struct kv_change *change, struct kv_attr *attr, struct kv_xattrs *xattrs)
{
    int rc = sets_expiry(change) && change->expires_ns != 0 ? tx_room(tx, ENGINE_KEY_MAX, ENGINE_KEY_MAX) : 0;

    (void)xattrs;
    if (rc < 0)
        return rc;
    attr->ctime_ns = tx->now_ns;
    kv_attr_set(attr, &change->attr, change->attr_mask);
    return 0;
}

static int edit_xattr(struct tx *tx, struct kv_change *change, struct kv_attr *attr, struct kv_xattrs *xattrs)
{
    int rc = change->xattr_value == NULL
                 ? 0
                 : tx_room(tx, KV_XATTR_MAX, KV_XATTR_MAX); /* removing works on a full disk, too */

    if (rc == 0)
        rc = kv_xattrs_set(xattrs, change->xattr_name, change->xattr_name_size, change->xattr_value,
                           change->xattr_value_size, change->xattr_flags);
    if (rc == 0)
        attr->ctime_ns = tx->now_ns;
    return rc;
}

static int edit(struct tx *tx, struct kv_change *change, attr_edit *edit_object)
{
    return change->ref.size == 0 ? edit_node(tx, change, edit_object) : edit_key(tx, change, edit_object);
}

int apply_setattr(struct tx *tx, struct kv_change *change)
{
    if (sets_expiry(change) && (change->ref.size == 0 || change->expires_ns < 0))
        return -EINVAL;
    return edit(tx, change, edit_attr);
}

int apply_setxattr(struct tx *tx, struct kv_change *change) { return edit(tx, change, edit_xattr); }
