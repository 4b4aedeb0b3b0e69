/* usage: old_binding STORE ACCOUNT PROJECT VARIABLE NEW
 *
 * Renames a binding to a name that the store does not allow any more, as an older version could have made it. Nobody
 * else may have the store open. */
#include "store/base/name.h"
#include "store/base/record.h"
#include "store/lmdb/lmdb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct engine_txn *txn;

static void must(int rc, const char *what)
{
    if (rc == 0)
        return;
    fprintf(stderr, "old_binding: %s: %s\n", what, strerror(-rc));
    exit(EXIT_FAILURE);
}

/* The id of a child. */
static uint64_t find(uint64_t parent, const char *child)
{
    struct slice found;
    struct name name;
    uint64_t id;

    name_of_child(parent, child, strlen(child), &name);
    must(txn->ops->get(txn, ENGINE_NAMES, name_slice(&name), &found), child);
    must(record_decode_number(ENGINE_NAMES, name_slice(&name), found, &id), child);
    return id;
}

static void rename_binding(uint64_t project, const char *from, const char *to)
{
    uint64_t id = find(project, from);
    struct record_bytes bytes;
    struct record_node record;
    struct slice found;
    struct name name;

    name_of_node(id, &name);
    must(txn->ops->get(txn, ENGINE_NODES, name_slice(&name), &found), from);
    must(record_decode_node(name_slice(&name), found, &record), from);
    snprintf(record.node.name, sizeof(record.node.name), "%s", to);
    record_encode_node(name_slice(&name), &record, &bytes);
    must(txn->ops->put(txn, ENGINE_NODES, name_slice(&name), record_slice(&bytes)), to);
    name_of_child(project, from, strlen(from), &name);
    must(txn->ops->del(txn, ENGINE_NAMES, name_slice(&name)), from);
    name_of_child(project, to, strlen(to), &name);
    record_encode_number(ENGINE_NAMES, name_slice(&name), id, &bytes);
    must(txn->ops->put(txn, ENGINE_NAMES, name_slice(&name), record_slice(&bytes)), to);
}

int main(int argc, char **argv)
{
    struct engine *engine;
    struct kv_error error;

    if (argc != 6)
        return EXIT_FAILURE;
    must(engine_lmdb_open(argv[1], &(struct lmdb_options){.create = false}, &engine, &error), argv[1]);
    must(engine->ops->begin(engine, true, &txn), "a transaction");
    rename_binding(find(find(find(KV_ROOT_ID, argv[2]), NAME_PROJECTS), argv[3]), argv[4], argv[5]);
    must(txn->ops->commit(txn), "a commit");
    must(engine->ops->flush == NULL ? 0 : engine->ops->flush(engine, 1000000000), "a flush");
    engine->ops->close(engine);
    return EXIT_SUCCESS;
}
