/* A damaged store: every operation gives an answer or an allowed error, and no bytes that were never put.
 *
 * Input: options of the store, a list of damages, then operations. The store before is always the same:
 *
 *   account a: namespaces n and m, project p with the bindings V (to n) and W (to m)
 *   account b: namespace n, key k1
 *   keys of a/n: k0 to k5, of all the forms that values have; of a/m: k1
 *
 * Numbers in the input choose from what is there, so that most damages hit. What a fuzzer can do and a broken disk
 * cannot is to forge a checksum: then the bytes that go with it are right. */
#include "tests/fuzz/base.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { RECORDS_MAX = 64, CHECKSUMS_MAX = 256, FIRST_ID = 1024, IDS = 24, VALUE_MAX = RECORD_CHUNK + 100 };

struct original {
    enum engine_table table;
    struct slice key, value; /* in `base` */
};

static struct engine *base;
static struct engine_txn *base_txn;
static struct original originals[RECORDS_MAX];
static size_t originals_count;

/* Of values that were put, and of records after the damage. */
static uint64_t checksums[CHECKSUMS_MAX];
static size_t checksums_count, base_checksums_count;

static struct engine *engine;
static struct kv_store *store;
static bool damaged, changed; /* changed: since the store was opened */

static void know_checksum(uint64_t checksum)
{
    FUZZ_CHECK(checksums_count < CHECKSUMS_MAX);
    checksums[checksums_count++] = checksum;
}

static bool is_known(uint64_t checksum)
{
    for (size_t i = 0; i < checksums_count; i++)
        if (checksums[i] == checksum)
            return true;
    return false;
}

/* ------------------------------------------------------------------- before the damage */

/* The bytes of values: another part of the same for each seed. */
static const uint8_t *bytes_of(unsigned seed)
{
    static uint8_t bytes[VALUE_MAX + 256];

    for (size_t i = 0; bytes[1] == 0 && i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(1 + i + i / 251);
    return bytes + seed % 256;
}

static void base_key(struct tx *tx, uint64_t namespace_id, const char *key, size_t size,
                     const struct kv_xattrs *xattrs)
{
    know_checksum(fuzz_base_key(tx, namespace_id, key, bytes_of((unsigned)namespace_id), size, xattrs));
}

static void base_fill(struct tx *tx)
{
    struct kv_xattrs xattrs = {.size = 0};
    uint64_t a, b, a_n, a_m, b_n, project;

    FUZZ_CHECK(kv_xattrs_set(&xattrs, "user.a", 6, "value", 5, 0) == 0);
    a = fuzz_base_node(tx, KV_ACCOUNT, KV_ROOT_ID, "a", 0);
    b = fuzz_base_node(tx, KV_ACCOUNT, KV_ROOT_ID, "b", 0);
    a_n = fuzz_base_node(tx, KV_NAMESPACE, a, "n", 0);
    a_m = fuzz_base_node(tx, KV_NAMESPACE, a, "m", 0);
    b_n = fuzz_base_node(tx, KV_NAMESPACE, b, "n", 0);
    project = fuzz_base_node(tx, KV_PROJECT, a + 1, "p", 0);
    (void)fuzz_base_node(tx, KV_BINDING, project, "V", a_n);
    (void)fuzz_base_node(tx, KV_BINDING, project, "W", a_m);
    base_key(tx, a_n, "k0", 0, NULL);
    base_key(tx, a_n, "k1", 5, &xattrs);
    base_key(tx, a_n, "k2", RECORD_INLINE_MAX, NULL);
    base_key(tx, a_n, "k3", RECORD_INLINE_MAX + 1, &xattrs);
    base_key(tx, a_n, "k4", RECORD_CHUNK + 100, NULL);
    base_key(tx, a_n, "k5", 100, NULL);
    base_key(tx, a_m, "k1", 6, NULL);
    base_key(tx, b_n, "k1", 7, NULL);
}

static int note_original(void *arg, struct slice key, struct slice value)
{
    FUZZ_CHECK(originals_count < RECORDS_MAX);
    originals[originals_count++] = (struct original){*(enum engine_table *)arg, key, value};
    return 0;
}

static void make_base(void)
{
    struct tx *tx = fuzz_base_begin(&base);

    base_fill(tx);
    fuzz_base_end(tx);
    base_checksums_count = checksums_count;
    FUZZ_CHECK(base->ops->begin(base, false, &base_txn) == 0); /* stays open: the slices are borrowed from it */
    for (enum engine_table table = 0; table < ENGINE_TABLES; table++)
        FUZZ_CHECK(base_txn->ops->scan(base_txn, table, slice_of("", 0), note_original, &table) == 0);
}

/* ----------------------------------------------------------------------------- damage */

static const char *const names[] = {"a", "b", "n", "m", "p", "V", "W", ".projects", "new", "k1", "k9", ""};
#define NAMES (sizeof(names) / sizeof(names[0]))

static const char *choose_name(struct fuzz_input *in) { return names[fuzz_below(in, NAMES)]; }

static uint64_t choose_id(struct fuzz_input *in)
{
    unsigned number = fuzz_below(in, IDS);

    return number == 0 ? KV_ROOT_ID : FIRST_ID + number - 1;
}

static uint64_t choose_number(struct fuzz_input *in)
{
    static const uint64_t numbers[] = {
        0, 1, 2, 255, 4096, INT32_MAX, UINT32_MAX, INT64_MAX, INT64_MAX + 1ull, UINT64_MAX};
    unsigned number = fuzz_u8(in);

    if (number == 255)
        return fuzz_u64(in);
    return number < 64 ? choose_id(in) : numbers[number % (sizeof(numbers) / sizeof(numbers[0]))];
}

static const struct original *choose_original(struct fuzz_input *in)
{
    return &originals[fuzz_u8(in) % originals_count];
}

/* One of the originals in a table, or any. */
static const struct original *choose_in(struct fuzz_input *in, enum engine_table table)
{
    const struct original *original = choose_original(in);

    for (size_t i = 0; i < originals_count && original->table != table; i++)
        original = original == &originals[originals_count - 1] ? originals : original + 1;
    return original;
}

static void put_record(struct engine_txn *txn, enum engine_table table, struct slice key, struct slice value)
{
    int rc = txn->ops->put(txn, table, key, value);

    FUZZ_CHECK(rc == (key.size == 0 || key.size > ENGINE_KEY_MAX ? -EINVAL : 0));
}

/* Other bytes in the middle, a cut end, or more bytes behind it. */
static void damage_bytes(struct engine_txn *txn, struct fuzz_input *in)
{
    const struct original *original = choose_original(in);
    uint8_t *value = malloc(original->value.size + 256);
    size_t at = fuzz_u16(in), count, size = original->value.size;
    const uint8_t *bytes = fuzz_bytes(in, 1 + fuzz_below(in, 16), &count);

    FUZZ_CHECK(value != NULL);
    memcpy(value, original->value.data, size);
    if (at & 0x8000) {
        size = size > 0 ? (at & 0x7fff) % size : 0;
    } else {
        at = size > 0 ? at % (size + 1) : 0;
        if (count > 0)
            memcpy(value + at, bytes, count);
        size = at + count > size ? at + count : size;
    }
    put_record(txn, original->table, original->key, slice_of(value, size));
    free(value);
}

static void damage_delete(struct engine_txn *txn, struct fuzz_input *in)
{
    const struct original *original = choose_original(in);
    int rc = txn->ops->del(txn, original->table, original->key);

    FUZZ_CHECK(rc == 0 || rc == -ENOENT);
}

static void damage_swap(struct engine_txn *txn, struct fuzz_input *in)
{
    const struct original *from = choose_original(in), *to = choose_in(in, from->table);

    put_record(txn, from->table, to->key, from->value);
}

static void damage_raw(struct engine_txn *txn, struct fuzz_input *in)
{
    enum engine_table table = fuzz_below(in, ENGINE_TABLES);
    struct name name;
    size_t key_size, value_size;
    const uint8_t *key, *value;

    name_put_u64(name.data, choose_id(in));
    key = fuzz_bytes(in, fuzz_u8(in), &key_size);
    memcpy(name.data + 8, key, key_size);
    name.size = 8 + key_size;
    value = fuzz_bytes(in, fuzz_u8(in), &value_size);
    put_record(txn, table, name_slice(&name), slice_of(value, value_size));
}

/* A record that decodes, with one field that does not fit the others. */
static void damage_node(struct engine_txn *txn, struct fuzz_input *in)
{
    const struct original *original = choose_in(in, ENGINE_NODES);
    static struct record_bytes bytes;
    struct record_node record;
    struct kv_node *node = &record.node;
    unsigned field = fuzz_below(in, 13);
    uint64_t number = choose_number(in);

    FUZZ_CHECK(record_decode_node(original->key, original->value, &record) == 0);
    switch (field) {
    case 0:
        node->kind = (enum kv_node_kind)(1 + number % 6);
        break;
    case 1:
        node->id = node->attr.ino = number;
        break;
    case 2:
        node->parent = number;
        break;
    case 3:
        strcpy(node->name, choose_name(in));
        break;
    case 4:
        node->keys = number;
        break;
    case 5:
        node->bytes = number;
        break;
    case 6:
        node->children = number;
        break;
    case 7:
        node->limit_bytes = number;
        break;
    case 8:
        node->limit_namespaces = number;
        break;
    case 9:
        node->target = number;
        break;
    case 10:
        node->bindings = number;
        break;
    case 11:
        node->limit_keys = number;
        break;
    case 12:
        node->limit_bindings = number;
        break;
    }
    record_encode_node(original->key, &record, &bytes);
    put_record(txn, ENGINE_NODES, original->key, slice_of(bytes.data, bytes.size));
}

static void damage_key(struct engine_txn *txn, struct fuzz_input *in)
{
    const struct original *original = choose_in(in, ENGINE_KEYS);
    static struct record_bytes bytes;
    struct record_key record;
    unsigned field = fuzz_below(in, 5);
    uint64_t number = choose_number(in);

    FUZZ_CHECK(record_decode_key(original->key, original->value, &record) == 0);
    switch (field) {
    case 0:
        record.meta.version = number;
        break;
    case 1:
        record.meta.size = number % (4 * RECORD_CHUNK);
        break;
    case 2:
        record.meta.attr.ino = number;
        break;
    case 3:
        record.meta.attr.mtime_ns = (int64_t)number;
        break;
    case 4:
        record.xattrs = slice_of("\x05\xff\xffuser", fuzz_below(in, 8));
        break;
    }
    record_encode_key(original->key, &record, &bytes);
    put_record(txn, ENGINE_KEYS, original->key, slice_of(bytes.data, bytes.size));
}

static void damage_entry(struct engine_txn *txn, struct fuzz_input *in)
{
    const char *text = choose_name(in);
    struct record_bytes bytes;
    struct name name;

    name_of_child(choose_id(in), text, strlen(text), &name);
    record_encode_number(ENGINE_NAMES, name_slice(&name), choose_number(in), &bytes);
    put_record(txn, ENGINE_NAMES, name_slice(&name), record_slice(&bytes));
}

static void damage_counter(struct engine_txn *txn, struct fuzz_input *in)
{
    struct slice name = slice_of("next_id", 7);
    struct record_bytes bytes;

    record_encode_number(ENGINE_META, name, choose_number(in), &bytes);
    put_record(txn, ENGINE_META, name, record_slice(&bytes));
}

static void damage(struct engine_txn *txn, struct fuzz_input *in)
{
    static void (*const kinds[])(struct engine_txn *, struct fuzz_input *) = {
        damage_bytes, damage_delete, damage_swap,  damage_raw,
        damage_node,  damage_key,    damage_entry, damage_counter};
    unsigned times = fuzz_below(in, 12);

    damaged = times > 0 && in->left > 0;
    for (unsigned i = 0; i < times && in->left > 0; i++)
        kinds[fuzz_below(in, sizeof(kinds) / sizeof(kinds[0]))](txn, in);
}

static int note_checksum(void *arg, struct slice key, struct slice value)
{
    struct record_key record;

    (void)arg;
    if (record_decode_key(key, value, &record) == 0)
        know_checksum(record.checksum);
    return 0;
}

/* A copy of the base, damaged. */
static void make_engine(struct fuzz_input *in)
{
    struct engine_txn *txn;

    checksums_count = base_checksums_count;
    FUZZ_CHECK(engine_memory_copy(base, &engine) == 0);
    FUZZ_CHECK(engine->ops->begin(engine, true, &txn) == 0);
    damage(txn, in);
    FUZZ_CHECK(txn->ops->scan(txn, ENGINE_KEYS, slice_of("", 0), note_checksum, NULL) == 0);
    FUZZ_CHECK(txn->ops->commit(txn) == 0);
}

/* ------------------------------------------------------------------------- operations */

static struct kv_ref choose_key(struct fuzz_input *in)
{
    char key[] = "k0";
    uint64_t node = choose_id(in);

    key[1] = (char)('0' + fuzz_below(in, 10));
    return kv_ref_key(node, key, 2);
}

static struct kv_ref choose_ref(struct fuzz_input *in)
{
    return fuzz_u8(in) & 1 ? choose_key(in) : kv_ref_node(choose_id(in));
}

static void check_read(int rc) { FUZZ_CHECK(rc == 0 || rc == -ENOENT || rc == -EIO); }

static void check_change(int rc)
{
    static const int allowed[] = {0,     ENOENT, EIO,   EEXIST,    EINVAL, ENAMETOOLONG, EDQUOT,
                                  EFBIG, ENOSPC, EXDEV, ENOTEMPTY, EPERM,  ECANCELED,    ENODATA};

    bool is_allowed = false;

    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
        is_allowed |= rc == -allowed[i];
    FUZZ_CHECK(is_allowed);
    changed |= rc == 0;
}

/* Was there a key before the damage? */
static bool is_in_base(const struct kv_ref *ref)
{
    struct slice bytes;
    struct name name;

    return name_of_key(ref->node, ref->key, ref->size, &name) == 0 &&
           base_txn->ops->get(base_txn, ENGINE_KEYS, name_slice(&name), &bytes) == 0;
}

static void op_get(struct fuzz_input *in)
{
    struct kv_ref ref = choose_key(in);
    struct kv_value *value;
    struct kv_meta meta;
    int rc = kv_get(store, &ref, &meta, &value, NULL);

    check_read(rc);
    FUZZ_CHECK(damaged || changed || (rc == 0) == is_in_base(&ref));
    if (rc == 0) {
        FUZZ_CHECK(value->size == meta.size && is_known(record_checksum(value->data, value->size)));
        kv_value_unref(value);
    }
}

static void op_stat(struct fuzz_input *in)
{
    struct kv_ref ref = choose_key(in);
    struct kv_fresh fresh;
    struct kv_meta meta;

    check_read(kv_stat(store, &ref, &meta, &fresh));
    if (fuzz_u8(in) & 1)
        kv_forget(store, &ref);
    else
        check_read(kv_peek(store, &ref, &meta, &fresh));
}

static void op_quota(struct fuzz_input *in)
{
    struct kv_ref ref = choose_key(in);
    int rc = kv_quota_check(store, &ref, fuzz_u16(in), 0);

    FUZZ_CHECK(rc == 0 || rc == -ENOENT || rc == -EIO || rc == -EDQUOT);
}

static void op_list(struct fuzz_input *in)
{
    struct kv_list page;
    uint64_t id = choose_id(in);
    size_t limit = 1 + fuzz_below(in, 20);
    int rc = kv_list(store, id, fuzz_u8(in) & 1 ? "k" : "", "", limit, &page);

    check_read(rc);
    if (rc == 0)
        kv_list_free(&page);
}

static int visit_key(void *arg, const char *key, size_t size, const struct kv_meta *meta)
{
    (void)arg;
    FUZZ_CHECK(kv_name_check(KV_NAME_KEY, key, size) == 0 && key[size] == '\0' && meta->version != 0);
    return 0;
}

static int visit_node(void *arg, const struct kv_node *node)
{
    FUZZ_CHECK(node->id != 0 && node->parent == *(uint64_t *)arg);
    return 0;
}

static void op_scan(struct fuzz_input *in)
{
    uint64_t id = choose_id(in);
    const char *from = choose_name(in);
    bool after = *from != '\0' && fuzz_u8(in) & 1;

    check_read(kv_node_scan(store, id, from, strlen(from), after, visit_node, &id));
    if (*from != '.')
        check_read(kv_scan(store, id, from, strlen(from), after, visit_key, NULL));
}

static void op_find(struct fuzz_input *in)
{
    uint64_t parent = choose_id(in);
    const char *name = choose_name(in);
    struct kv_node node;
    int rc = kv_node_find(store, parent, name, strlen(name), &node);

    check_read(rc);
    if (rc == 0)
        FUZZ_CHECK(node.parent == parent && strcmp(node.name, name) == 0);
    rc = kv_node_get(store, parent, &node);
    check_read(rc);
    if (rc == 0)
        FUZZ_CHECK(node.id == parent);
}

static void op_xattrs(struct fuzz_input *in)
{
    struct kv_ref ref = choose_ref(in);
    struct kv_xattrs set;

    check_read(kv_xattrs_get(store, &ref, &set));
}

static void op_put(struct fuzz_input *in)
{
    static const size_t sizes[] = {0, 1, 7, 100, 1000, RECORD_INLINE_MAX, RECORD_INLINE_MAX + 1, RECORD_CHUNK + 1};
    unsigned what = fuzz_u8(in);
    const uint8_t *bytes = bytes_of(what);
    size_t size = sizes[what % (sizeof(sizes) / sizeof(sizes[0]))];
    struct kv_change change = {.kind = KV_PUT, .ref = choose_key(in), .attr = {.mode = 0644}};

    know_checksum(record_checksum(bytes, size));
    FUZZ_CHECK(kv_value_copy(bytes, size, &change.value) == 0);
    change.conditional = what & 64;
    change.if_version = change.conditional ? choose_id(in) : 0;
    change.replace = what & 128;
    check_change(kv_apply(store, &change));
    kv_value_unref(change.value);
}

static void op_delete(struct fuzz_input *in)
{
    struct kv_ref ref = choose_key(in);

    check_change(kv_delete(store, &ref));
}

static void op_rename(struct fuzz_input *in)
{
    struct kv_change change = {.kind = KV_RENAME};

    change.ref = choose_key(in);
    change.to = choose_key(in);
    change.flags = fuzz_below(in, 3);
    check_change(kv_apply(store, &change));
}

static void op_setattr(struct fuzz_input *in)
{
    struct kv_change change = {.kind = KV_SETATTR, .ref = choose_ref(in)};

    change.attr_mask = fuzz_below(in, 64);
    change.attr.mode = fuzz_u16(in);
    change.attr.mtime_ns = (int64_t)choose_number(in);
    check_change(kv_apply(store, &change));
}

static void op_setxattr(struct fuzz_input *in)
{
    struct kv_change change = {
        .kind = KV_SETXATTR, .ref = choose_ref(in), .xattr_name = "user.a", .xattr_name_size = 6};
    unsigned what = fuzz_u8(in);
    char value[KV_XATTR_MAX] = "";

    change.xattr_value = what & 1 ? value : NULL;
    change.xattr_value_size = what & 1 ? what * 4u : 0;
    change.xattr_flags = (int)(what >> 1) % 3;
    check_change(kv_apply(store, &change));
}

static void op_create(struct fuzz_input *in)
{
    enum kv_node_kind kind = (enum kv_node_kind)fuzz_below(in, 8);
    uint64_t parent = choose_id(in), target = choose_id(in);
    struct kv_node node;

    check_change(kv_node_make(store, kind, parent, choose_name(in), target, &node));
}

static void op_remove(struct fuzz_input *in)
{
    uint64_t parent = choose_id(in);

    check_change(kv_node_remove(store, parent, choose_name(in)));
}

static void op_move(struct fuzz_input *in)
{
    struct kv_change change = {.kind = KV_NODE_RENAME};

    change.node.parent = choose_id(in);
    change.to_parent = choose_id(in);
    strcpy(change.node.name, choose_name(in));
    strcpy(change.to_name, choose_name(in));
    change.flags = fuzz_below(in, 3);
    check_change(kv_apply(store, &change));
}

static void op_limits(struct fuzz_input *in)
{
    struct kv_change change = {.kind = KV_NODE_LIMITS, .node = {.id = choose_id(in)}};

    change.node.limit_bytes = choose_number(in);
    change.node.limit_namespaces = choose_number(in);
    change.node.limit_keys = choose_number(in);
    change.node.limit_bindings = choose_number(in);
    check_change(kv_apply(store, &change));
}

/* What it leaves can be read, if the namespace can. */
static void op_drop(struct fuzz_input *in)
{
    struct kv_change change = {.kind = KV_DROP_BROKEN, .node = {.id = choose_id(in)}};
    int rc = kv_apply(store, &change);

    check_change(rc);
    FUZZ_CHECK(damaged || rc < 0 || change.dropped == 0);
    if (rc == 0)
        FUZZ_CHECK(kv_scan(store, change.node.id, "", 0, false, visit_key, NULL) == 0);
}

static void op_sync(struct fuzz_input *in)
{
    uint64_t ino;
    int rc = kv_sync(store);

    (void)in;
    check_change(rc);
    rc = kv_new_ino(store, &ino);
    FUZZ_CHECK(rc == 0 || rc == -EIO);
}

/* A message is for a terminal. */
static void check_text(const char *text)
{
    FUZZ_CHECK(text[0] != '\0');
    for (const char *c = text; *c != '\0'; c++)
        FUZZ_CHECK(*c >= ' ' && *c <= '~');
}

static void count_repairable(void *arg, const struct kv_finding *finding)
{
    size_t *repairable = arg;

    check_text(finding->kind);
    check_text(finding->where);
    check_text(finding->what);
    *repairable += finding->repairable;
}

/* returns  how many findings there are that a repair would mend, and with `repair`, how many it mended */
static size_t check(bool repair)
{
    size_t repairable = 0;
    struct kv_check_options options = {.repair = repair, .found = count_repairable, .arg = &repairable};
    struct kv_check_report report;

    FUZZ_CHECK(kv_check(store, &options, &report) == 0);
    FUZZ_CHECK(damaged || report.findings == 0);
    return repair ? report.repaired : repairable;
}

static void op_check(struct fuzz_input *in)
{
    (void)in;
    (void)check(false);
}

static void operate(struct fuzz_input *in)
{
    static void (*const operations[])(struct fuzz_input *) = {
        op_get,    op_get,    op_stat, op_quota,  op_list,   op_scan,    op_find,
        op_xattrs, op_put,    op_put,  op_delete, op_rename, op_setattr, op_setxattr,
        op_create, op_remove, op_move, op_limits, op_sync,   op_check,   op_drop,
    };

    for (int i = 0; i < 24 && in->left > 0; i++)
        operations[fuzz_below(in, sizeof(operations) / sizeof(operations[0]))](in);
}

/* ------------------------------------------------------------------------------ start */

/* Time stands still, so that inputs mean the same each time. */
static int64_t no_time(void *arg)
{
    (void)arg;
    return 1000000000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct kv_clock clock = {no_time, no_time, NULL};
    struct kv_options options = kv_options_default();
    struct fuzz_input in = {data, size};
    unsigned mode = fuzz_u8(&in);
    struct kv_error error;
    int rc;

    if (base == NULL)
        make_base();
    make_engine(&in);
    changed = false;
    options.backend = test_backend(engine);
    options.clock = &clock;
    options.cache_bytes = mode & 1 ? 65536 : 0;
    options.cache_ttl_ms = mode & 2 ? 0 : 60000;
    options.durability = mode & 4 ? KV_DURABILITY_FSYNC : KV_DURABILITY_CLOSE;
    options.commit_interval_ms = 1;
    rc = kv_open("memory", &options, &store, &error);
    if (rc < 0) {
        FUZZ_CHECK(rc == -EIO || rc == -EPROTONOSUPPORT);
        options.backend->ops->close(options.backend);
        return 0;
    }
    if (mode & 8 && check(true) > 0)
        FUZZ_CHECK(check(false) == 0);
    operate(&in);
    if (!damaged)
        (void)check(false);
    kv_close(store);
    return 0;
}
