#include "tests/fuzz/base.h"

#include "store/rules/apply.h"

#include "tests/fuzz/fuzz.h"

#include <string.h>

struct tx *fuzz_base_begin(struct engine **engine)
{
    uint32_t version;
    struct tx *tx;

    FUZZ_CHECK(engine_memory_open(engine) == 0);
    FUZZ_CHECK(tx_format(*engine, 0, true, 0, &version) == 0);
    FUZZ_CHECK(tx_begin(*engine, 0, &tx) == 0);
    return tx;
}

void fuzz_base_end(struct tx *tx) { FUZZ_CHECK(tx_commit(tx) == 0); }

uint64_t fuzz_base_node(struct tx *tx, enum kv_node_kind kind, uint64_t parent, const char *name, uint64_t target)
{
    struct kv_change change = {.kind = KV_NODE_CREATE, .node = {.kind = kind, .parent = parent, .target = target}};

    strcpy(change.node.name, name);
    change.node.attr.mode = 0755;
    FUZZ_CHECK(apply(tx, &change) == 0);
    return change.node.id;
}

uint64_t fuzz_base_key(struct tx *tx, uint64_t namespace_id, const char *key, const void *bytes, size_t size,
                       const struct kv_xattrs *xattrs)
{
    struct kv_change change = {.kind = KV_PUT, .xattrs = xattrs, .attr = {.mode = 0644}};

    change.ref = kv_ref_key(namespace_id, key, strlen(key));
    change.checksum = record_checksum(bytes, size);
    FUZZ_CHECK(kv_value_copy(bytes, size, &change.value) == 0);
    FUZZ_CHECK(apply(tx, &change) == 0);
    kv_value_unref(change.value);
    return change.checksum;
}
