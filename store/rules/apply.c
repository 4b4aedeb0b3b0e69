#include "store/rules/apply.h"

#include <errno.h>
#include <sys/stat.h>

static int check_seen(struct tx *tx, const struct kv_change *change)
{
    for (size_t i = 0; i < change->seen_count; i++) {
        struct tx_node *slot;
        int rc = tx_node_get(tx, change->seen[i].node, &slot);

        if (rc < 0 && rc != -ENOENT)
            return rc;
        if (rc < 0 || !record_is_as_seen(&slot->node, &change->seen[i]))
            return -ESTALE;
    }
    return 0;
}

static bool same_rights(const struct kv_attr *a, const struct kv_attr *b)
{
    return ((a->mode ^ b->mode) & 07777) == 0 && a->uid == b->uid && a->gid == b->gid;
}

/* A put needs no directories that were seen: whoever opened the key may write it, whatever became of them. */
bool apply_may_put(const struct kv_change *change, const struct kv_attr *there)
{
    const struct kv_attr *object = change->object;

    if (object == NULL)
        return change->seen_count == 0 || there->ino == change->attr.ino;
    return there->ino == object->ino || same_rights(there, object);
}

bool apply_may_edit(const struct kv_change *change, const struct apply_key *there)
{
    const struct kv_attr *object = change->object, *attr = &there->record.meta.attr;

    if (change->seen_count == 0)
        return true;
    return there->there && object != NULL && attr->ino == object->ino && attr->uid == object->uid &&
           (!change->strict || same_rights(attr, object));
}

bool apply_may_remove(const struct kv_change *change, const struct tx_node *dir, const struct kv_attr *there,
                      const struct kv_attr *object)
{
    if (change->seen_count == 0 || there == NULL || !(dir->node.attr.mode & S_ISVTX))
        return true;
    return object != NULL && object->uid == there->uid;
}

int apply(struct tx *tx, struct kv_change *change)
{
    int rc = check_seen(tx, change);

    if (rc < 0)
        return rc;
    switch (change->kind) {
    case KV_PUT:
        return apply_put(tx, change);
    case KV_DELETE:
        return apply_delete(tx, change);
    case KV_CHECK:
        return apply_check(tx, change);
    case KV_RENAME:
        return apply_rename(tx, change);
    case KV_SETATTR:
        return apply_setattr(tx, change);
    case KV_SETXATTR:
        return apply_setxattr(tx, change);
    case KV_NODE_CREATE:
        return apply_node_create(tx, change);
    case KV_NODE_DELETE:
        return apply_node_delete(tx, change);
    case KV_NODE_RENAME:
        return apply_node_rename(tx, change);
    case KV_NODE_LIMITS:
        return apply_node_limits(tx, change);
    case KV_DROP_BROKEN:
        return apply_drop_damaged(tx, change);
    case KV_SWEEP:
        return apply_sweep(tx, change);
    case KV_RESERVE_IDS:
        change->first_id = tx_reserve_ids(tx, change->ids);
        return 0;
    }
    return -EINVAL;
}
