#include "store/rules/tx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------- records */

static int watch(struct tx *tx, int rc)
{
    if (rc < 0 && rc != -ENOENT)
        tx->broken = true;
    return rc;
}

int tx_get(struct tx *tx, enum engine_table table, const struct name *name, struct slice *out)
{
    return watch(tx, tx->txn->ops->get(tx->txn, table, name_slice(name), out));
}

int tx_put(struct tx *tx, enum engine_table table, const struct name *name, struct slice value)
{
    return watch(tx, tx->txn->ops->put(tx->txn, table, name_slice(name), value));
}

int tx_del(struct tx *tx, enum engine_table table, const struct name *name)
{
    return watch(tx, tx->txn->ops->del(tx->txn, table, name_slice(name)));
}

int tx_scan(struct tx *tx, enum engine_table table, const struct name *from, engine_visit *visit, void *arg)
{
    return watch(tx, tx->txn->ops->scan(tx->txn, table, name_slice(from), visit, arg));
}

int tx_room(struct tx *tx, uint64_t bytes, size_t part)
{
    int rc = tx->txn->ops->room(tx->txn, bytes, part);

    return rc == -ENOSPC ? rc : watch(tx, rc);
}

int tx_damaged(struct tx *tx)
{
    tx->broken = true;
    return -EIO;
}

uint64_t tx_reserve_ids(struct tx *tx, uint64_t count)
{
    uint64_t first = tx->next_id;

    tx->next_id += count;
    tx->next_id_dirty = true;
    return first;
}

uint64_t tx_new_id(struct tx *tx) { return tx_reserve_ids(tx, 1); }

/* --------------------------------------------------------------------- nodes */

static int node_new(struct tx *tx, struct tx_node **out)
{
    struct tx_node *slot = calloc(1, sizeof(*slot));

    if (slot == NULL) {
        tx->broken = true;
        return -ENOMEM;
    }
    *out = slot;
    return 0;
}

static int node_decode(const struct name *name, struct slice bytes, struct tx_node *slot)
{
    struct record_node record;
    int rc = record_decode_node(name_slice(name), bytes, &record);

    if (rc == 0)
        rc = record_xattrs(record.xattrs, &slot->xattrs);
    if (rc == 0)
        slot->node = record.node;
    return rc;
}

int tx_node_get(struct tx *tx, uint64_t id, struct tx_node **out)
{
    struct tx_node *slot;
    struct slice bytes;
    struct name name;
    int rc;

    HASH_FIND(hh, tx->nodes, &id, sizeof(id), slot);
    if (slot != NULL) {
        *out = slot;
        return 0;
    }
    name_of_node(id, &name);
    rc = tx_get(tx, ENGINE_NODES, &name, &bytes);
    if (rc == 0)
        rc = node_new(tx, &slot);
    if (rc < 0)
        return rc;
    rc = node_decode(&name, bytes, slot);
    if (rc < 0) {
        free(slot);
        return rc;
    }
    HASH_ADD(hh, tx->nodes, node.id, sizeof(id), slot);
    *out = slot;
    return 0;
}

int tx_node_of_kind(struct tx *tx, uint64_t id, enum kv_node_kind kind, struct tx_node **out)
{
    struct tx_node *slot;
    int rc = tx_node_get(tx, id, &slot);

    if (rc < 0)
        return rc;
    if (slot->node.kind != kind)
        return -ENOENT;
    *out = slot;
    return 0;
}

int tx_node_parent(struct tx *tx, const struct tx_node *node, struct tx_node **out)
{
    static const enum kv_node_kind kinds[] = {[KV_ACCOUNT] = KV_ROOT,
                                              [KV_NAMESPACE] = KV_ACCOUNT,
                                              [KV_PROJECTS] = KV_ACCOUNT,
                                              [KV_PROJECT] = KV_PROJECTS,
                                              [KV_BINDING] = KV_PROJECT};
    int rc = tx_node_of_kind(tx, node->node.parent, kinds[node->node.kind], out);

    return rc == -ENOENT ? -EIO : rc;
}

int tx_node_child(struct tx *tx, uint64_t parent, const char *name, struct tx_node **out)
{
    struct tx_node *child, *above;
    struct slice bytes;
    struct name entry;
    uint64_t id;
    int rc;

    name_of_child(parent, name, strlen(name), &entry);
    rc = tx_get(tx, ENGINE_NAMES, &entry, &bytes);
    if (rc == 0)
        rc = record_decode_number(ENGINE_NAMES, name_slice(&entry), bytes, &id);
    if (rc < 0)
        return rc;
    rc = tx_node_get(tx, id, &child);
    if (rc == -ENOENT || (rc == 0 && !name_leads_to(name_slice(&entry), &child->node)))
        return -EIO;
    if (rc == 0)
        rc = tx_node_parent(tx, child, &above);
    if (rc == 0)
        *out = child;
    return rc;
}

struct children {
    uint64_t parent;
    uint64_t *ids;
    size_t count;
};

static int collect_child(void *arg, struct slice key, struct slice value)
{
    struct children *found = arg;
    uint64_t *grown, id;

    if (key.size < 8 || name_get_u64(key.data) != found->parent)
        return 1;
    if (record_decode_number(ENGINE_NAMES, key, value, &id) < 0)
        return -EIO;
    grown = realloc(found->ids, (found->count + 1) * sizeof(*grown));
    if (grown == NULL)
        return -ENOMEM;
    found->ids = grown;
    found->ids[found->count++] = id;
    return 0;
}

int tx_node_children(struct tx *tx, uint64_t parent, uint64_t **ids, size_t *count)
{
    struct children found = {.parent = parent};
    struct name from;
    int rc;

    name_of_child(parent, "", 0, &from);
    rc = tx_scan(tx, ENGINE_NAMES, &from, collect_child, &found);
    if (rc < 0) {
        free(found.ids);
        return rc;
    }
    *ids = found.ids;
    *count = found.count;
    return 0;
}

int tx_node_link(struct tx *tx, const struct kv_node *node)
{
    struct record_bytes bytes;
    struct name entry;

    name_of_child(node->parent, node->name, strlen(node->name), &entry);
    record_encode_number(ENGINE_NAMES, name_slice(&entry), node->id, &bytes);
    return tx_put(tx, ENGINE_NAMES, &entry, record_slice(&bytes));
}

int tx_node_unlink(struct tx *tx, const struct kv_node *node)
{
    struct name entry;
    int rc;

    name_of_child(node->parent, node->name, strlen(node->name), &entry);
    rc = tx_del(tx, ENGINE_NAMES, &entry);
    return rc == -ENOENT ? tx_damaged(tx) : rc;
}

int tx_node_add(struct tx *tx, const struct kv_node *node)
{
    struct tx_node *slot;
    int rc = node_new(tx, &slot);

    if (rc < 0)
        return rc;
    slot->node = *node;
    slot->dirty = true;
    HASH_ADD(hh, tx->nodes, node.id, sizeof(node->id), slot);
    return node->id == KV_ROOT_ID ? 0 : tx_node_link(tx, node);
}

int tx_node_drop(struct tx *tx, struct tx_node *node)
{
    struct slice bytes;
    struct name name;
    int rc = tx_node_unlink(tx, &node->node);

    name_of_node(node->node.id, &name);
    if (rc == 0) /* a node that this transaction made is not written yet */
        rc = tx_get(tx, ENGINE_NODES, &name, &bytes);
    if (rc == 0)
        rc = tx_del(tx, ENGINE_NODES, &name);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    HASH_DEL(tx->nodes, node);
    free(node);
    return 0;
}

void tx_node_touch(struct tx *tx, struct tx_node *node)
{
    node->node.attr.mtime_ns = node->node.attr.ctime_ns = tx->now_ns;
    node->dirty = true;
}

/* -------------------------------------------------------------- begin and end */

static int read_next_id(struct tx *tx)
{
    struct slice bytes;
    struct name name;
    int rc;

    name_of_setting(TX_NEXT_ID, &name);
    rc = tx_get(tx, ENGINE_META, &name, &bytes);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (rc == -ENOENT || record_decode_number(ENGINE_META, name_slice(&name), bytes, &tx->next_id) < 0)
        return tx_damaged(tx);
    return 0;
}

static int write_next_id(struct tx *tx)
{
    struct record_bytes bytes;
    struct name name;

    name_of_setting(TX_NEXT_ID, &name);
    record_encode_number(ENGINE_META, name_slice(&name), tx->next_id, &bytes);
    tx->next_id_dirty = false;
    return tx_put(tx, ENGINE_META, &name, record_slice(&bytes));
}

static int write_nodes(struct tx *tx)
{
    struct record_bytes bytes;
    struct name name;
    int rc = 0;

    for (struct tx_node *slot = tx->nodes; slot != NULL && rc == 0; slot = slot->hh.next) {
        struct record_node record = {slot->node, slice_of(slot->xattrs.data, slot->xattrs.size)};

        if (!slot->dirty)
            continue;
        name_of_node(slot->node.id, &name);
        record_encode_node(name_slice(&name), &record, &bytes);
        rc = tx_put(tx, ENGINE_NODES, &name, record_slice(&bytes));
        slot->dirty = rc < 0;
    }
    return rc;
}

static void tx_free(struct tx *tx)
{
    struct tx_node *slot, *next;

    HASH_ITER(hh, tx->nodes, slot, next) {
        HASH_DEL(tx->nodes, slot);
        free(slot);
    }
    free(tx);
}

int tx_begin_bare(struct engine *engine, int64_t now_ns, struct tx **out)
{
    struct tx *tx = calloc(1, sizeof(*tx));
    int rc;

    if (tx == NULL)
        return -ENOMEM;
    tx->now_ns = now_ns;
    rc = engine->ops->begin(engine, true, &tx->txn);
    if (rc < 0) {
        free(tx);
        return rc;
    }
    *out = tx;
    return 0;
}

int tx_begin(struct engine *engine, int64_t now_ns, struct tx **out)
{
    struct tx *tx;
    int rc = tx_begin_bare(engine, now_ns, &tx);

    if (rc < 0)
        return rc;
    rc = read_next_id(tx);
    if (rc < 0) {
        tx_abort(tx);
        return rc;
    }
    *out = tx;
    return 0;
}

int tx_flush(struct tx *tx)
{
    int rc = write_nodes(tx);

    return rc == 0 && tx->next_id_dirty ? write_next_id(tx) : rc;
}

int tx_commit(struct tx *tx)
{
    struct engine_txn *txn = tx->txn;
    int rc = tx_flush(tx);

    tx_free(tx);
    if (rc < 0) {
        txn->ops->abort(txn);
        return rc;
    }
    return txn->ops->commit(txn);
}

void tx_abort(struct tx *tx)
{
    tx->txn->ops->abort(tx->txn);
    tx_free(tx);
}
