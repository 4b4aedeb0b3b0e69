#include "store/check/check.h"
#include "store/rules/tx.h"

#include <errno.h>
#include <string.h>

struct repair {
    struct check *check;
    struct engine_txn *txn;
    int64_t now_ns;
    uint64_t next_id;
};

static int put(struct repair *repair, enum engine_table table, struct slice name, struct slice value)
{
    return repair->txn->ops->put(repair->txn, table, name, value);
}

/* What is gone already need not be removed. */
static int del(struct repair *repair, enum engine_table table, struct slice name)
{
    int rc = repair->txn->ops->del(repair->txn, table, name);

    return rc == -ENOENT ? 0 : rc;
}

static int drop_all(struct repair *repair, enum engine_table table, const struct check_records *records)
{
    struct slice name;
    size_t pos = 0;
    int rc = 0;

    while (rc == 0 && check_next_record(records, &pos, &name))
        rc = del(repair, table, name);
    return rc;
}

static int put_node(struct repair *repair, const struct record_node *record)
{
    struct record_bytes bytes;
    struct name name;

    name_of_node(record->node.id, &name);
    record_encode_node(name_slice(&name), record, &bytes);
    return put(repair, ENGINE_NODES, name_slice(&name), record_slice(&bytes));
}

static int link_node(struct repair *repair, const struct kv_node *node)
{
    struct record_bytes bytes;
    struct name entry;

    name_of_child(node->parent, node->name, strlen(node->name), &entry);
    record_encode_number(ENGINE_NAMES, name_slice(&entry), node->id, &bytes);
    return put(repair, ENGINE_NAMES, name_slice(&entry), record_slice(&bytes));
}

static int drop_node(struct repair *repair, const struct check_node *found)
{
    struct name name;
    int rc;

    name_of_node(found->node.id, &name);
    rc = del(repair, ENGINE_NODES, name_slice(&name));
    name_of_child(found->node.parent, found->node.name, strlen(found->node.name), &name);
    return rc == 0 && found->named ? del(repair, ENGINE_NAMES, name_slice(&name)) : rc;
}

static int add_projects(struct repair *repair, const struct kv_node *account)
{
    struct record_node record = {.node = {.kind = KV_PROJECTS,
                                          .id = repair->next_id++,
                                          .parent = account->id,
                                          .name = NAME_PROJECTS,
                                          .attr = account->attr}};
    int rc;

    record.node.attr.ino = record.node.id;
    rc = put_node(repair, &record);
    return rc == 0 ? link_node(repair, &record.node) : rc;
}

/* Set what is counted. What could not be counted stays. */
static int count_node(struct repair *repair, const struct check_node *found)
{
    const struct check *check = repair->check;
    struct kv_node node = found->node;
    struct record_node record;
    struct slice bytes;
    struct name name;
    int rc;

    if (!check->nameless)
        node.children = found->children - found->dropped_children;
    if (!check->nameless && !check->unbound)
        node.bindings = found->bindings - found->dropped_bindings;
    if (!check->astray || (node.kind != KV_ROOT && node.kind != KV_ACCOUNT)) {
        node.keys = found->all.keys;
        if (!found->all.damaged || node.bytes < found->all.bytes)
            node.bytes = found->all.bytes;
    }
    if (node.children == found->node.children && node.bindings == found->node.bindings &&
        node.keys == found->node.keys && node.bytes == found->node.bytes)
        return 0;
    name_of_node(node.id, &name);
    rc = repair->txn->ops->get(repair->txn, ENGINE_NODES, name_slice(&name), &bytes);
    if (rc == 0)
        rc = record_decode_node(name_slice(&name), bytes, &record);
    if (rc < 0)
        return rc;
    record.node = node;
    return put_node(repair, &record);
}

static int mend_node(struct repair *repair, const struct check_node *found)
{
    int rc = 0;

    if (found->damaged)
        return 0;
    if (found->drop)
        return drop_node(repair, found);
    if (found->link)
        rc = link_node(repair, &found->node);
    if (rc == 0 && found->add_projects)
        rc = add_projects(repair, &found->node);
    return rc == 0 ? count_node(repair, found) : rc;
}

/* Give a key an inode number of its own. */
static int renumber_key(struct repair *repair, struct slice name)
{
    struct record_bytes bytes;
    struct record_key record;
    struct slice old;
    int rc = repair->txn->ops->get(repair->txn, ENGINE_KEYS, name, &old);

    if (rc == 0)
        rc = record_decode_key(name, old, &record);
    if (rc < 0)
        return rc;
    record.meta.attr.ino = repair->next_id++;
    record.meta.attr.ctime_ns = repair->now_ns;
    record_encode_key(name, &record, &bytes);
    return put(repair, ENGINE_KEYS, name, record_slice(&bytes));
}

/* Let the index of expiry have a key. */
static int index_key(struct repair *repair, struct slice name)
{
    struct record_bytes bytes;
    struct record_key record;
    struct name entry;
    struct slice found;
    int rc = repair->txn->ops->get(repair->txn, ENGINE_KEYS, name, &found);

    if (rc == 0)
        rc = record_decode_key(name, found, &record);
    if (rc < 0 || record.meta.expires_ns == 0)
        return rc;
    name_of_expiry(record.meta.expires_ns, name, &entry);
    record_encode_empty(ENGINE_KEYS, name_slice(&entry), &bytes);
    return put(repair, ENGINE_KEYS, name_slice(&entry), record_slice(&bytes));
}

static int find_next_id(struct repair *repair)
{
    int rc = check_read_counter(repair->txn, &repair->next_id);

    if (rc < 0)
        return rc;
    if (repair->check->raise_next_id || rc == 1)
        repair->next_id = repair->check->highest < TX_FIRST_ID ? TX_FIRST_ID : repair->check->highest + 1;
    return 0;
}

static int put_next_id(struct repair *repair)
{
    struct record_bytes bytes;
    struct name name;

    name_of_setting(TX_NEXT_ID, &name);
    record_encode_number(ENGINE_META, name_slice(&name), repair->next_id, &bytes);
    return put(repair, ENGINE_META, name_slice(&name), record_slice(&bytes));
}

static int mend(struct repair *repair)
{
    struct check *check = repair->check;
    struct slice name;
    size_t pos = 0;
    int rc = find_next_id(repair);

    if (rc == 0)
        rc = drop_all(repair, ENGINE_CHUNKS, &check->drop_chunks);
    if (rc == 0)
        rc = drop_all(repair, ENGINE_META, &check->drop_settings);
    if (rc == 0)
        rc = drop_all(repair, ENGINE_NAMES, &check->drop_names); /* before others take their place */
    if (rc == 0)
        rc = drop_all(repair, ENGINE_KEYS, &check->drop_expiries);
    for (struct check_node *node = check->nodes; rc == 0 && node != NULL; node = node->hh.next)
        rc = mend_node(repair, node);
    while (rc == 0 && check_next_record(&check->renumber, &pos, &name))
        rc = renumber_key(repair, name);
    pos = 0;
    while (rc == 0 && check_next_record(&check->add_expiries, &pos, &name))
        rc = index_key(repair, name);
    return rc == 0 ? put_next_id(repair) : rc;
}

int check_repair(struct check *check, struct engine *engine, int64_t now_ns)
{
    struct repair repair = {.check = check, .now_ns = now_ns};
    int rc = engine->ops->begin(engine, true, &repair.txn);

    if (rc < 0)
        return rc;
    rc = mend(&repair);
    if (rc < 0) {
        repair.txn->ops->abort(repair.txn);
        return rc;
    }
    return repair.txn->ops->commit(repair.txn);
}
