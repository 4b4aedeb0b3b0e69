#include "store/rules/tx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static int node_decode(struct slice bytes, struct tx_node *slot)
{
    struct record_node record;
    int rc = record_decode_node(bytes, &record);

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
    rc = node_decode(bytes, slot);
    if (rc == 0 && slot->node.id != id)
        rc = -EIO;
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
    int rc;

    name_of_child(parent, name, strlen(name), &entry);
    rc = tx_get(tx, ENGINE_NAMES, &entry, &bytes);
    if (rc < 0)
        return rc;
    if (bytes.size != 8)
        return -EIO;
    rc = tx_node_get(tx, name_get_u64(bytes.data), &child);
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
    uint64_t *grown;

    if (key.size < 8 || name_get_u64(key.data) != found->parent)
        return 1;
    if (value.size != 8)
        return -EIO;
    grown = realloc(found->ids, (found->count + 1) * sizeof(*grown));
    if (grown == NULL)
        return -ENOMEM;
    found->ids = grown;
    found->ids[found->count++] = name_get_u64(value.data);
    return 0;
}

int tx_node_children(struct tx *tx, uint64_t parent, uint64_t **ids, size_t *count)
{
    struct children found = {.parent = parent};
    struct name from;
    int rc;

    name_of_child(parent, "", 0, &from);
    rc = tx->txn->ops->scan(tx->txn, ENGINE_NAMES, name_slice(&from), collect_child, &found);
    if (rc < 0) {
        free(found.ids);
        return watch(tx, rc);
    }
    *ids = found.ids;
    *count = found.count;
    return 0;
}

int tx_node_link(struct tx *tx, const struct kv_node *node)
{
    struct name entry;
    uint8_t id[8];

    name_of_child(node->parent, node->name, strlen(node->name), &entry);
    name_put_u64(id, node->id);
    return tx_put(tx, ENGINE_NAMES, &entry, slice_of(id, sizeof(id)));
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

static struct name meta_name(const char *text)
{
    struct name name;

    name.size = strlen(text);
    memcpy(name.data, text, name.size);
    return name;
}

static int read_next_id(struct tx *tx)
{
    struct name name = meta_name(TX_NEXT_ID);
    struct slice bytes;
    int rc = tx_get(tx, ENGINE_META, &name, &bytes);

    if (rc == -ENOENT || (rc == 0 && bytes.size != 8))
        return tx_damaged(tx);
    if (rc == 0)
        tx->next_id = name_get_u64(bytes.data);
    return rc;
}

static int write_next_id(struct tx *tx)
{
    struct name name = meta_name(TX_NEXT_ID);
    uint8_t bytes[8];

    name_put_u64(bytes, tx->next_id);
    tx->next_id_dirty = false;
    return tx_put(tx, ENGINE_META, &name, slice_of(bytes, sizeof(bytes)));
}

static int write_nodes(struct tx *tx)
{
    for (struct tx_node *slot = tx->nodes; slot != NULL; slot = slot->hh.next) {
        struct record_node record = {slot->node, slice_of(slot->xattrs.data, slot->xattrs.size)};
        struct record_bytes bytes;
        struct name name;
        int rc;

        if (!slot->dirty)
            continue;
        record_encode_node(&record, &bytes);
        name_of_node(slot->node.id, &name);
        rc = tx_put(tx, ENGINE_NODES, &name, slice_of(bytes.data, bytes.size));
        if (rc < 0)
            return rc;
        slot->dirty = false;
    }
    return 0;
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

/* Begin without knowing yet whether the store has a format. */
static int begin_bare(struct engine *engine, int64_t now_ns, struct tx **out)
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
    int rc = begin_bare(engine, now_ns, &tx);

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

/* -------------------------------------------------------------------- format */

#define FORMAT "format" /* in ENGINE_META: the magic, then the version as 4 bytes, little endian */
#define FORMAT_MAGIC "kvfs store"
#define FORMAT_VERSION 1u

enum { MAGIC_SIZE = sizeof(FORMAT_MAGIC) - 1, FORMAT_SIZE = MAGIC_SIZE + 4 };

static int check_format(struct slice bytes, uint32_t *version)
{
    const uint8_t *at = bytes.data;

    if (bytes.size != FORMAT_SIZE || memcmp(at, FORMAT_MAGIC, MAGIC_SIZE) != 0)
        return -EIO;
    at += MAGIC_SIZE;
    *version = (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
    return *version == FORMAT_VERSION ? 0 : -EPROTONOSUPPORT;
}

static int read_format(struct engine_txn *txn, uint32_t *version)
{
    struct name name = meta_name(FORMAT);
    struct slice bytes;
    int rc = txn->ops->get(txn, ENGINE_META, name_slice(&name), &bytes);

    return rc == 0 ? check_format(bytes, version) : rc;
}

static int write_format(struct tx *tx)
{
    struct kv_node root = {.kind = KV_ROOT, .id = KV_ROOT_ID, .attr = {.ino = KV_ROOT_ID, .mode = 0755}};
    struct name name = meta_name(FORMAT);
    uint8_t bytes[FORMAT_SIZE] = FORMAT_MAGIC;
    int rc;

    bytes[MAGIC_SIZE] = FORMAT_VERSION;
    rc = tx_put(tx, ENGINE_META, &name, slice_of(bytes, sizeof(bytes)));
    if (rc < 0)
        return rc;
    tx->next_id = TX_FIRST_ID;
    tx->next_id_dirty = true;
    root.attr.uid = geteuid();
    root.attr.gid = getegid();
    root.attr.atime_ns = root.attr.mtime_ns = root.attr.ctime_ns = root.attr.btime_ns = tx->now_ns;
    return tx_node_add(tx, &root);
}

static int create_format(struct engine *engine, int64_t now_ns, uint32_t *version)
{
    struct tx *tx;
    int rc = begin_bare(engine, now_ns, &tx);

    if (rc < 0)
        return rc;
    rc = read_format(tx->txn, version);
    if (rc != -ENOENT) { /* another process was first */
        tx_abort(tx);
        return rc;
    }
    rc = write_format(tx);
    if (rc < 0) {
        tx_abort(tx);
        return rc;
    }
    *version = FORMAT_VERSION;
    return tx_commit(tx);
}

int tx_format(struct engine *engine, int64_t now_ns, bool create, int64_t wait_ns, uint32_t *version)
{
    struct engine_txn *txn;
    int rc = engine->ops->begin(engine, false, &txn);

    if (rc < 0)
        return rc;
    rc = read_format(txn, version);
    txn->ops->abort(txn);
    if (rc != -ENOENT)
        return rc;
    rc = create ? engine_acquire(engine, wait_ns) : -EIO;
    if (rc < 0)
        return rc;
    rc = create_format(engine, now_ns, version);
    engine_release(engine);
    return rc;
}
