#include "store/apply.h"

#include <errno.h>

int apply(struct tx *tx, struct kv_change *change)
{
    switch (change->kind) {
    case KV_PUT:
        return apply_put(tx, change);
    case KV_DELETE:
        return apply_delete(tx, change);
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
    case KV_RESERVE_IDS:
        change->first_id = tx_reserve_ids(tx, change->ids);
        return 0;
    }
    return -EINVAL;
}
