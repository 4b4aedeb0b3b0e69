#include "store/tables/read.h"

#include "store/base/name.h"
#include "store/base/record.h"
#include "store/base/value.h"
#include "store/rules/apply.h"

#include <errno.h>
#include <string.h>

/* A read transaction that ends with the scope. */
struct reading {
    struct engine *engine;
    struct engine_txn *txn;
};

static void reading_end(struct reading *reading)
{
    if (reading->txn != NULL)
        reading->txn->ops->abort(reading->txn);
}

#define READING __attribute__((cleanup(reading_end))) struct reading

static int reading_begin(struct engine *engine, struct reading *reading)
{
    reading->engine = engine;
    return engine->ops->begin(engine, false, &reading->txn);
}

static int get(struct reading *reading, enum engine_table table, const struct name *name, struct slice *out)
{
    int rc = reading->txn->ops->get(reading->txn, table, name_slice(name), out);

    return rc == -ENOENT && reading->engine->damaged ? -EIO : rc;
}

/* ---------------------------------------------------------------------- keys */

static int get_key(struct reading *reading, const struct kv_ref *ref, struct record_key *out)
{
    struct slice bytes;
    struct name name;
    int rc = name_of_key(ref->node, ref->key, ref->size, &name);

    if (rc == 0)
        rc = get(reading, ENGINE_KEYS, &name, &bytes);
    return rc == 0 ? record_decode_key(name_slice(&name), bytes, out) : rc;
}

/* Put a value together from its chunks. A missing or short chunk is damage. */
static int get_chunks(struct reading *reading, const struct record_key *record, struct kv_value *value)
{
    const struct kv_meta *meta = &record->meta;
    uint32_t chunks = record_chunks(meta->size, record->cut);
    uint8_t *at = value->data;

    for (uint32_t i = 0; i < chunks; i++) {
        size_t size = record_chunk_size(meta->size, record->cut, i);
        struct slice bytes;
        struct name name;
        int rc;

        name_of_chunk(meta->version, i, &name);
        rc = get(reading, ENGINE_CHUNKS, &name, &bytes);
        if (rc == -ENOENT || (rc == 0 && bytes.size != size))
            return -EIO;
        if (rc < 0)
            return rc;
        memcpy(at, bytes.data, size);
        at += size;
    }
    return 0;
}

static int get_value(struct reading *reading, const struct record_key *record, struct kv_value **out)
{
    struct kv_value *value;
    int rc = value_new_to_read((size_t)record->meta.size, &value);

    if (rc < 0)
        return rc;
    if (record->inlined.size > 0)
        memcpy(value->data, record->inlined.data, record->inlined.size);
    rc = get_chunks(reading, record, value);
    if (rc == 0 && record_checksum(value->data, value->size) != record->checksum)
        rc = -EIO;
    if (rc < 0) {
        kv_value_unref(value);
        return rc;
    }
    *out = value;
    return 0;
}

int read_key(struct engine *engine, const struct kv_ref *ref, struct kv_meta *meta, struct kv_value **value)
{
    READING reading = {0};
    struct record_key record;
    int rc = reading_begin(engine, &reading);

    if (rc == 0)
        rc = get_key(&reading, ref, &record);
    if (value != NULL && *value != NULL && (rc < 0 || record.meta.version != meta->version)) {
        kv_value_unref(*value);
        *value = NULL;
    }
    if (rc == 0 && value != NULL && *value == NULL)
        rc = get_value(&reading, &record, value);
    if (rc == 0)
        *meta = record.meta;
    return rc;
}

/* --------------------------------------------------------------------- nodes */

static int get_node(struct reading *reading, uint64_t id, struct record_node *out)
{
    struct slice bytes;
    struct name name;
    int rc;

    name_of_node(id, &name);
    rc = get(reading, ENGINE_NODES, &name, &bytes);
    return rc == 0 ? record_decode_node(name_slice(&name), bytes, out) : rc;
}

/* Nothing waits here: the put itself gets the exact answer. */
int read_quota(struct engine *engine, const struct backend_quota *quota)
{
    READING reading = {0};
    struct record_node namespace, account;
    struct record_key key;
    int64_t growth;
    int rc = reading_begin(engine, &reading);

    if (rc == 0)
        rc = get_node(&reading, quota->ref->node, &namespace);
    if (rc == 0)
        rc = get_node(&reading, namespace.node.parent, &account);
    if (rc < 0)
        return rc;
    rc = get_key(&reading, quota->ref, &key);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (rc < 0 && account.node.limit_keys != 0 && account.node.keys >= account.node.limit_keys)
        return -EDQUOT;
    growth = (int64_t)(quota->ref->size + quota->size);
    if (rc == 0 && kv_expired(&key.meta, quota->now_ns)) /* its attributes go with it */
        growth -= (int64_t)record_charge(quota->ref->size, &key);
    else if (rc == 0)
        growth -= (int64_t)(quota->ref->size + key.meta.size);
    if (growth <= 0)
        return 0;
    growth += (int64_t)(quota->extra < KV_LIMIT_MAX / 2 ? quota->extra : KV_LIMIT_MAX / 2);
    return apply_quota_allows(account.node.bytes, growth, account.node.limit_bytes) ? 0 : -EDQUOT;
}

int read_seen(struct engine *engine, const struct kv_seen *seen, size_t count, struct kv_usage *usage)
{
    READING reading = {0};
    struct kv_usage found = {0};
    int rc = reading_begin(engine, &reading);

    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct record_node record;

        rc = get_node(&reading, seen[i].node, &record);
        if (rc == -ENOENT || (rc == 0 && !record_is_as_seen(&record.node, &seen[i])))
            rc = -ESTALE;
        else if (rc == 0 && record.node.kind == KV_ACCOUNT && found.account == 0)
            found = (struct kv_usage){record.node.id, record.node.bytes, record.node.limit_bytes, record.node.keys,
                                      record.node.limit_keys};
    }
    if (rc == 0 && usage != NULL)
        *usage = found;
    return rc;
}

int read_node(struct engine *engine, uint64_t id, struct kv_node *out)
{
    READING reading = {0};
    struct record_node record;
    int rc = reading_begin(engine, &reading);

    if (rc == 0)
        rc = get_node(&reading, id, &record);
    if (rc == 0)
        *out = record.node;
    return rc;
}

/* The node that an entry of ENGINE_NAMES leads to must be there, and have that name. */
static int get_entry(struct reading *reading, struct slice name, struct slice entry, struct record_node *out)
{
    uint64_t id;
    int rc = record_decode_number(ENGINE_NAMES, name, entry, &id);

    if (rc == 0)
        rc = get_node(reading, id, out);
    if (rc == -ENOENT || (rc == 0 && !name_leads_to(name, &out->node)))
        return -EIO;
    return rc;
}

int read_child(struct engine *engine, uint64_t parent, const char *name, size_t size, struct kv_node *out)
{
    READING reading = {0};
    struct record_node record;
    struct slice bytes;
    struct name entry;
    int rc;

    if (size == 0 || size > KV_NAME_MAX)
        return -ENOENT;
    rc = reading_begin(engine, &reading);
    name_of_child(parent, name, size, &entry);
    if (rc == 0)
        rc = get(&reading, ENGINE_NAMES, &entry, &bytes);
    if (rc == 0)
        rc = get_entry(&reading, name_slice(&entry), bytes, &record);
    if (rc == 0)
        *out = record.node;
    return rc;
}

int read_xattrs(struct engine *engine, const struct kv_ref *ref, struct kv_xattrs *out, struct kv_meta *meta)
{
    READING reading = {0};
    struct record_node node;
    struct record_key key;
    int rc = reading_begin(engine, &reading);

    if (rc < 0)
        return rc;
    *meta = (struct kv_meta){0};
    if (ref->size == 0) {
        rc = get_node(&reading, ref->node, &node);
        return rc == 0 ? record_xattrs(node.xattrs, out) : rc;
    }
    rc = get_key(&reading, ref, &key);
    if (rc == 0)
        *meta = key.meta;
    return rc == 0 ? record_xattrs(key.xattrs, out) : rc;
}

/* --------------------------------------------------------------------- scans
 *
 * Engines know only records. A scan here ends where the records of the parent
 * end (STOP_END), where the visitor says so, or at damage. */
enum { STOP_END = 1, STOP_VISITOR };

struct scan {
    struct reading *reading;
    uint64_t parent;
    struct slice after; /* a record name to leave out */
    kv_key_visit *visit_key;
    kv_node_visit *visit_node;
    void *arg;
    int answer; /* the visitor's, with STOP_VISITOR */
};

enum belongs { BELONGS, LEAVE_OUT, PAST_END };

static enum belongs belongs(const struct scan *scan, struct slice name)
{
    if (name.size < 8 || name_get_u64(name.data) != scan->parent)
        return PAST_END;
    if (name.size == scan->after.size && memcmp(name.data, scan->after.data, name.size) == 0)
        return LEAVE_OUT;
    return BELONGS;
}

static int told(struct scan *scan, int answer)
{
    scan->answer = answer;
    return answer == 0 ? 0 : STOP_VISITOR;
}

static int scan_key(void *arg, struct slice name, struct slice value)
{
    struct scan *scan = arg;
    enum belongs where = belongs(scan, name);
    char key[KV_KEY_MAX + 1];
    struct record_key record;
    int size;

    if (where != BELONGS)
        return where == PAST_END ? STOP_END : 0;
    size = record_decode_named_key(name, value, key, &record);
    return size < 0 ? size : told(scan, scan->visit_key(scan->arg, key, (size_t)size, &record.meta));
}

static int scan_child(void *arg, struct slice name, struct slice value)
{
    struct scan *scan = arg;
    enum belongs where = belongs(scan, name);
    struct record_node record;
    int rc;

    if (where != BELONGS)
        return where == PAST_END ? STOP_END : 0;
    rc = get_entry(scan->reading, name, value, &record);
    return rc < 0 ? rc : told(scan, scan->visit_node(scan->arg, &record.node));
}

static int run_scan(struct scan *scan, enum engine_table table, const struct name *from, bool after,
                    engine_visit *visit)
{
    struct engine_txn *txn = scan->reading->txn;
    int rc;

    if (after)
        scan->after = name_slice(from);
    rc = txn->ops->scan(txn, table, name_slice(from), visit, scan);
    if (rc == STOP_VISITOR)
        return scan->answer;
    if (rc == STOP_END)
        rc = 0;
    return rc == 0 && scan->reading->engine->damaged ? -EIO : rc; /* there may have been more */
}

int read_keys(struct engine *engine, uint64_t namespace_id, const char *from, size_t size, bool after,
              kv_key_visit *visit, void *arg)
{
    READING reading = {0};
    struct scan scan = {.reading = &reading, .parent = namespace_id, .visit_key = visit, .arg = arg};
    struct record_node namespace;
    struct name name;
    int rc = name_of_key(namespace_id, from, size, &name);

    if (rc == 0)
        rc = reading_begin(engine, &reading);
    if (rc == 0)
        rc = get_node(&reading, namespace_id, &namespace);
    if (rc == 0 && namespace.node.kind != KV_NAMESPACE)
        rc = -ENOENT;
    if (rc < 0)
        return rc;
    return run_scan(&scan, ENGINE_KEYS, &name, after, scan_key);
}

int read_children(struct engine *engine, uint64_t parent, const char *from, size_t size, bool after,
                  kv_node_visit *visit, void *arg)
{
    READING reading = {0};
    struct scan scan = {.reading = &reading, .parent = parent, .visit_node = visit, .arg = arg};
    struct record_node node;
    struct name name;
    int rc;

    if (size > KV_NAME_MAX)
        return -EINVAL;
    name_of_child(parent, from, size, &name);
    rc = reading_begin(engine, &reading);
    if (rc == 0)
        rc = get_node(&reading, parent, &node);
    if (rc < 0)
        return rc;
    return run_scan(&scan, ENGINE_NAMES, &name, after, scan_child);
}

/* An entry that cannot be taken apart is one that is due. */
static int first_expiry(void *arg, struct slice name, struct slice value)
{
    int64_t *first_ns = arg;
    struct slice key;

    (void)value;
    if (!name_is_expiry(name))
        return STOP_END;
    if (name_split_expiry(name, first_ns, &key) < 0)
        *first_ns = 1;
    return STOP_VISITOR;
}

int read_expiry(struct engine *engine, int64_t *out)
{
    READING reading = {0};
    int64_t first_ns = 0;
    struct name from;
    int rc = reading_begin(engine, &reading);

    name_of_node(0, &from);
    if (rc == 0)
        rc = reading.txn->ops->scan(reading.txn, ENGINE_KEYS, name_slice(&from), first_expiry, &first_ns);
    if (rc < 0)
        return rc;
    *out = first_ns;
    return 0;
}
