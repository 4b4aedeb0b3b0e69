#include "tests/support/store.h"

#include "store/rules/tx.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ------------------------------------------------------------- open and close */

static int64_t mono_ns(void *arg)
{
    struct test_store *test = arg;

    return atomic_load(&test->now_ns);
}

static int64_t real_ns(void *arg) { return TEST_CLOCK_START_NS + mono_ns(arg); }

static void open_store(struct test_store *test)
{
    struct kv_options options = test->options;
    struct kv_error error = {""};

    if (test->kind == TEST_LMDB)
        assert_int_equal(engine_lmdb_open(test->dir, &(struct lmdb_options){.create = true}, &test->inner, &error),
                         0);
    else
        assert_int_equal(engine_memory_open(&test->inner), 0);
    assert_int_equal(engine_fault_open(test->inner, &test->fault), 0);
    options.clock = &test->clock;
    options.backend = test_backend(test->fault);
    if (kv_open(test->dir, &options, &test->kv, &error) < 0)
        fail_msg("cannot open: %s", error.text);
}

struct test_store *test_store_open(enum test_engine kind, const struct kv_options *options)
{
    struct test_store *test = calloc(1, sizeof(*test));

    assert_non_null(test);
    test->kind = kind;
    test->options = options != NULL ? *options : kv_options_default();
    test->clock = (struct kv_clock){mono_ns, real_ns, test};
    atomic_store(&test->now_ns, 1000000000);
    if (kind == TEST_LMDB) {
        const char *parent = getenv("TMPDIR");

        snprintf(test->dir, sizeof(test->dir), "%s/kvfs-test-XXXXXX", parent != NULL ? parent : "/tmp");
        assert_non_null(mkdtemp(test->dir));
    }
    open_store(test);
    test->account = test_make(test, KV_ACCOUNT, KV_ROOT_ID, "acme");
    test->namespace = test_make(test, KV_NAMESPACE, test->account.id, "main");
    return test;
}

void test_store_reopen(struct test_store *test)
{
    assert_int_equal(test->kind, TEST_LMDB);
    kv_close(test->kv);
    test->kv = NULL;
    open_store(test);
}

static int remove_path(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

void test_remove_tree(const char *dir) { assert_int_equal(nftw(dir, remove_path, 8, FTW_DEPTH | FTW_PHYS), 0); }

void test_store_close(struct test_store *test)
{
    if (test == NULL)
        return;
    if (test->kv != NULL)
        kv_close(test->kv);
    if (test->dir[0] != '\0')
        test_remove_tree(test->dir);
    free(test);
}

void test_store_pass_ms(struct test_store *test, int64_t ms) { atomic_fetch_add(&test->now_ns, ms * 1000000); }

int test_setup_memory(void **state)
{
    *state = test_store_open(TEST_MEMORY, NULL);
    return 0;
}

int test_setup_lmdb(void **state)
{
    *state = test_store_open(TEST_LMDB, NULL);
    return 0;
}

int test_teardown(void **state)
{
    struct test_store *test = *state;

    test_expect_sound(test->inner);
    test_store_close(test);
    return 0;
}

/* ----------------------------------------------------------------- short forms */

struct kv_ref test_key(const struct test_store *test, const char *key)
{
    return kv_ref_key(test->namespace.id, key, strlen(key));
}

struct kv_node test_make(struct test_store *test, enum kv_node_kind kind, uint64_t parent, const char *name)
{
    struct kv_node node = {0};

    assert_int_equal(kv_node_make(test->kv, kind, parent, name, 0, &node), 0);
    return node;
}

struct kv_node test_projects(struct test_store *test, uint64_t account)
{
    struct kv_node node;

    assert_int_equal(kv_node_find(test->kv, account, NAME_PROJECTS, strlen(NAME_PROJECTS), &node), 0);
    return node;
}

void test_put(struct test_store *test, const char *key, const char *text)
{
    struct kv_ref ref = test_key(test, key);

    assert_int_equal(kv_put(test->kv, &ref, text, strlen(text)), 0);
}

void test_expect_value(struct test_store *test, const struct kv_ref *ref, const void *bytes, size_t size)
{
    struct kv_value *value;
    struct kv_meta meta;

    assert_int_equal(kv_get(test->kv, ref, &meta, &value, NULL), 0);
    assert_int_equal(meta.size, size);
    assert_int_equal(value->size, size);
    if (size > 0 && memcmp(value->data, bytes, size) != 0)
        fail_msg("%s has another value", ref->key);
    kv_value_unref(value);
}

void test_expect_text(struct test_store *test, const char *key, const char *text)
{
    struct kv_ref ref = test_key(test, key);

    test_expect_value(test, &ref, text, strlen(text));
}

static uint8_t *make_bytes(size_t size, uint64_t seed)
{
    struct test_random random = {seed};
    uint8_t *bytes = malloc(size > 0 ? size : 1);

    assert_non_null(bytes);
    test_random_fill(&random, bytes, size);
    return bytes;
}

void test_put_bytes(struct test_store *test, const struct kv_ref *ref, size_t size, uint64_t seed)
{
    uint8_t *bytes = make_bytes(size, seed);

    assert_int_equal(kv_put(test->kv, ref, bytes, size), 0);
    free(bytes);
}

void test_expect_bytes(struct test_store *test, const struct kv_ref *ref, size_t size, uint64_t seed)
{
    uint8_t *bytes = make_bytes(size, seed);

    test_expect_value(test, ref, bytes, size);
    test_store_pass_ms(test, test->options.cache_ttl_ms + 1);
    test_expect_value(test, ref, bytes, size);
    free(bytes);
}

struct kv_meta test_stat(struct test_store *test, const struct kv_ref *ref)
{
    struct kv_meta meta;

    assert_int_equal(kv_stat(test->kv, ref, &meta, NULL), 0);
    return meta;
}

void test_expect_absent(struct test_store *test, const struct kv_ref *ref)
{
    struct kv_value *value;
    struct kv_meta meta;

    assert_int_equal(kv_get(test->kv, ref, &meta, &value, NULL), -ENOENT);
    assert_int_equal(kv_stat(test->kv, ref, &meta, NULL), -ENOENT);
}

struct kv_node test_node(struct test_store *test, uint64_t id)
{
    struct kv_node node;

    assert_int_equal(kv_node_get(test->kv, id, &node), 0);
    return node;
}

void test_expect_same_meta(const struct kv_meta *a, const struct kv_meta *b)
{
    assert_int_equal(a->attr.ino, b->attr.ino);
    assert_int_equal(a->attr.mode, b->attr.mode);
    assert_int_equal(a->attr.uid, b->attr.uid);
    assert_int_equal(a->attr.gid, b->attr.gid);
    assert_int_equal(a->attr.atime_ns, b->attr.atime_ns);
    assert_int_equal(a->attr.mtime_ns, b->attr.mtime_ns);
    assert_int_equal(a->attr.ctime_ns, b->attr.ctime_ns);
    assert_int_equal(a->attr.btime_ns, b->attr.btime_ns);
    assert_int_equal(a->version, b->version);
    assert_int_equal(a->size, b->size);
    assert_int_equal(a->expires_ns, b->expires_ns);
    assert_int_equal(a->has_xattrs, b->has_xattrs);
}

/* ----------------------------------------------------------------- soundness */

struct sums {
    uint64_t keys, bytes, children, bindings;
};

struct sound_node {
    struct kv_node node;
    struct sums sums;
    uint64_t names; /* entries that lead here */
};

struct sound {
    struct engine_txn *txn;
    struct sound_node *nodes;
    size_t nodes_count;
    uint64_t *versions;
    size_t versions_count;
    uint64_t highest_id; /* in use */
    uint64_t chunks;     /* that the keys' values have */
};

static void *one_more(void *array, size_t count, size_t size)
{
    void *grown = realloc(array, (count + 1) * size);

    assert_non_null(grown);
    return grown;
}

static void note_id(struct sound *sound, uint64_t id)
{
    if (id > sound->highest_id)
        sound->highest_id = id;
}

static struct sound_node *sound_node(struct sound *sound, uint64_t id)
{
    for (size_t i = 0; i < sound->nodes_count; i++)
        if (sound->nodes[i].node.id == id)
            return &sound->nodes[i];
    fail_msg("there is no node %llu", (unsigned long long)id);
    return NULL;
}

static int sound_visit_node(void *arg, struct slice key, struct slice value)
{
    struct sound *sound = arg;
    struct record_node record;
    struct kv_xattrs xattrs;

    assert_int_equal(key.size, 8);
    assert_int_equal(record_decode_node(key, value, &record), 0);
    assert_int_equal(record_xattrs(record.xattrs, &xattrs), 0);
    assert_int_equal(record.node.id, name_get_u64(key.data));
    assert_int_equal(record.node.has_xattrs, xattrs.size > 0);
    sound->nodes = one_more(sound->nodes, sound->nodes_count, sizeof(*sound->nodes));
    sound->nodes[sound->nodes_count++] = (struct sound_node){.node = record.node};
    note_id(sound, record.node.id);
    return 0;
}

static int sound_visit_name(void *arg, struct slice key, struct slice value)
{
    struct sound *sound = arg;
    struct sound_node *child, *parent;
    uint64_t id;

    assert_true(key.size > 8);
    assert_int_equal(record_decode_number(ENGINE_NAMES, key, value, &id), 0);
    child = sound_node(sound, id);
    parent = sound_node(sound, name_get_u64(key.data));
    assert_int_equal(child->node.parent, parent->node.id);
    assert_int_equal(key.size - 8, strlen(child->node.name));
    assert_memory_equal((const char *)key.data + 8, child->node.name, key.size - 8);
    child->names++;
    if (child->node.kind == KV_PROJECTS)
        assert_string_equal(child->node.name, NAME_PROJECTS);
    else
        parent->sums.children++;
    if (child->node.kind == KV_PROJECT || child->node.kind == KV_BINDING) {
        while (parent->node.kind != KV_ACCOUNT)
            parent = sound_node(sound, parent->node.parent);
        parent->sums.bindings++;
    }
    return 0;
}

/* Of the names and values. */
static uint64_t xattrs_bytes(const struct kv_xattrs *set)
{
    size_t pos = 0, name_size, value_size;
    const char *name;
    const void *value;
    uint64_t sum = 0;

    while (kv_xattrs_next(set, &pos, &name, &name_size, &value, &value_size))
        sum += name_size + value_size;
    return sum;
}

static void sound_chunks(struct sound *sound, const struct record_key *record)
{
    uint32_t chunks = record_chunks(record->meta.size, record->cut);

    for (uint32_t i = 0; i < chunks; i++) {
        struct slice bytes;
        struct name name;

        name_of_chunk(record->meta.version, i, &name);
        assert_int_equal(sound->txn->ops->get(sound->txn, ENGINE_CHUNKS, name_slice(&name), &bytes), 0);
        assert_int_equal(bytes.size, record_chunk_size(record->meta.size, record->cut, i));
    }
    sound->chunks += chunks;
}

/* The index of expiry has the key if it has an expiry. */
static void sound_is_indexed(struct sound *sound, struct slice key, const struct record_key *record)
{
    struct slice bytes;
    struct name entry;

    if (record->meta.expires_ns == 0)
        return;
    name_of_expiry(record->meta.expires_ns, key, &entry);
    assert_int_equal(sound->txn->ops->get(sound->txn, ENGINE_KEYS, name_slice(&entry), &bytes), 0);
    assert_int_equal(record_decode_empty(ENGINE_KEYS, name_slice(&entry), bytes), 0);
}

/* An entry is that of a key. */
static void sound_entry(struct sound *sound, struct slice entry)
{
    struct record_key record;
    struct slice key, bytes;
    int64_t expires_ns;

    assert_int_equal(name_split_expiry(entry, &expires_ns, &key), 0);
    assert_int_equal(sound->txn->ops->get(sound->txn, ENGINE_KEYS, key, &bytes), 0);
    assert_int_equal(record_decode_key(key, bytes, &record), 0);
    assert_int_equal(record.meta.expires_ns, expires_ns);
}

static int sound_visit_key(void *arg, struct slice key, struct slice value)
{
    struct sound *sound = arg;
    struct sound_node *node;
    char text[KV_KEY_MAX + 1];
    struct kv_xattrs xattrs;
    struct record_key record;
    int size;

    if (name_is_expiry(key)) {
        sound_entry(sound, key);
        return 0;
    }
    size = name_split_key(key, text);
    assert_true(size > 0);
    assert_int_equal(record_decode_key(key, value, &record), 0);
    assert_int_equal(record_xattrs(record.xattrs, &xattrs), 0);
    node = sound_node(sound, name_get_u64(key.data));
    assert_int_equal(node->node.kind, KV_NAMESPACE);
    for (int depth = 0; depth < 3; depth++) { /* namespace, account, root */
        node->sums.keys++;
        node->sums.bytes += (uint64_t)size + record.meta.size + xattrs_bytes(&xattrs);
        if (depth < 2)
            node = sound_node(sound, node->node.parent);
    }
    assert_int_equal(node->node.id, KV_ROOT_ID);
    sound_is_indexed(sound, key, &record);
    sound_chunks(sound, &record);
    note_id(sound, record.meta.version);
    note_id(sound, record.meta.attr.ino);
    sound->versions = one_more(sound->versions, sound->versions_count, sizeof(*sound->versions));
    sound->versions[sound->versions_count++] = record.meta.version;
    return 0;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

static uint64_t count_records(struct engine_txn *txn, enum engine_table table);

static void sound_node_kind(struct sound *sound, const struct sound_node *found)
{
    static const enum kv_node_kind parents[] = {[KV_ACCOUNT] = KV_ROOT,
                                                [KV_NAMESPACE] = KV_ACCOUNT,
                                                [KV_PROJECTS] = KV_ACCOUNT,
                                                [KV_PROJECT] = KV_PROJECTS,
                                                [KV_BINDING] = KV_PROJECT};
    const struct kv_node *node = &found->node;

    assert_int_equal(node->keys, found->sums.keys);
    assert_int_equal(node->bytes, found->sums.bytes);
    assert_int_equal(node->children, found->sums.children);
    assert_int_equal(node->bindings, found->sums.bindings);
    assert_int_equal(found->names, node->kind == KV_ROOT ? 0 : 1);
    if (node->kind != KV_ROOT)
        assert_int_equal(sound_node(sound, node->parent)->node.kind, parents[node->kind]);
    if (node->kind == KV_BINDING) {
        struct sound_node *project = sound_node(sound, node->parent);
        struct sound_node *target = sound_node(sound, node->target);

        assert_int_equal(target->node.kind, KV_NAMESPACE);
        assert_int_equal(target->node.parent, sound_node(sound, project->node.parent)->node.parent);
    }
}

void test_expect_sound(struct engine *engine)
{
    struct sound sound = {0};
    struct slice start = slice_of("", 0), next_id, name = slice_of("next_id", 7);
    uint64_t number;

    assert_int_equal(engine->ops->begin(engine, false, &sound.txn), 0);
    assert_int_equal(sound.txn->ops->scan(sound.txn, ENGINE_NODES, start, sound_visit_node, &sound), 0);
    assert_int_equal(sound.txn->ops->scan(sound.txn, ENGINE_NAMES, start, sound_visit_name, &sound), 0);
    assert_int_equal(sound.txn->ops->scan(sound.txn, ENGINE_KEYS, start, sound_visit_key, &sound), 0);
    for (size_t i = 0; i < sound.nodes_count; i++)
        sound_node_kind(&sound, &sound.nodes[i]);

    if (sound.versions_count > 0)
        qsort(sound.versions, sound.versions_count, sizeof(*sound.versions), compare_u64);
    for (size_t i = 1; i < sound.versions_count; i++)
        assert_true(sound.versions[i - 1] < sound.versions[i]);

    assert_int_equal(sound.txn->ops->get(sound.txn, ENGINE_META, name, &next_id), 0);
    assert_int_equal(record_decode_number(ENGINE_META, name, next_id, &number), 0);
    assert_true(number > sound.highest_id);
    assert_int_equal(count_records(sound.txn, ENGINE_CHUNKS), sound.chunks);
    sound.txn->ops->abort(sound.txn);
    free(sound.nodes);
    free(sound.versions);
}

/* -------------------------------------------------------------- what is stored */

static int visit_count(void *arg, struct slice key, struct slice value)
{
    uint64_t *count = arg;

    (void)key;
    (void)value;
    (*count)++;
    return 0;
}

static uint64_t count_records(struct engine_txn *txn, enum engine_table table)
{
    uint64_t count = 0;

    assert_int_equal(txn->ops->scan(txn, table, slice_of("", 0), visit_count, &count), 0);
    return count;
}

uint64_t test_records(struct engine *engine, enum engine_table table)
{
    struct engine_txn *txn;
    uint64_t count;

    assert_int_equal(engine->ops->begin(engine, false, &txn), 0);
    count = count_records(txn, table);
    txn->ops->abort(txn);
    return count;
}

static void add_bytes(struct test_dump *dump, const void *bytes, size_t size)
{
    dump->data = realloc(dump->data, dump->size + size);
    assert_non_null(dump->data);
    memcpy(dump->data + dump->size, bytes, size);
    dump->size += size;
}

/* A long one by its checksum only. */
static void add_slice(struct test_dump *dump, struct slice bytes)
{
    uint64_t checksum = record_checksum(bytes.data, bytes.size);

    add_bytes(dump, &bytes.size, sizeof(bytes.size));
    if (bytes.size > 1024)
        add_bytes(dump, &checksum, sizeof(checksum));
    else if (bytes.size > 0)
        add_bytes(dump, bytes.data, bytes.size);
}

static int visit_dump(void *arg, struct slice key, struct slice value)
{
    add_slice(arg, key);
    add_slice(arg, value);
    return 0;
}

struct test_dump test_dump(struct engine *engine)
{
    struct test_dump dump = {0};
    struct engine_txn *txn;

    assert_int_equal(engine->ops->begin(engine, false, &txn), 0);
    for (int table = 0; table < ENGINE_TABLES; table++) {
        add_slice(&dump, slice_of(&table, sizeof(table)));
        assert_int_equal(txn->ops->scan(txn, (enum engine_table)table, slice_of("", 0), visit_dump, &dump), 0);
    }
    txn->ops->abort(txn);
    return dump;
}

bool test_same(const struct test_dump *a, const struct test_dump *b)
{
    return a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

/* -------------------------------------------------------------- random numbers */

uint64_t test_random(struct test_random *random) /* splitmix64 */
{
    uint64_t mixed = random->state += 0x9e3779b97f4a7c15u;

    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
    return mixed ^ mixed >> 31;
}

size_t test_random_below(struct test_random *random, size_t below)
{
    return (size_t)(test_random(random) % below);
}

size_t test_random_key(struct test_random *random, size_t max, char *out)
{
    static const char symbols[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
    size_t size = 1 + test_random_below(random, max);

    for (size_t i = 0; i < size; i++)
        out[i] = symbols[test_random_below(random, sizeof(symbols) - 1)];
    out[size] = '\0';
    return size;
}

void test_random_fill(struct test_random *random, void *bytes, size_t size)
{
    uint8_t *at = bytes;

    while (size > 0) {
        uint64_t word = test_random(random);
        size_t part = size < sizeof(word) ? size : sizeof(word);

        memcpy(at, &word, part);
        at += part;
        size -= part;
    }
}

void test_set_mark(struct test_store *test, const char *key, size_t size)
{
    static const char value[KV_XATTR_MAX];
    struct kv_change change = {.kind = KV_SETXATTR,
                               .ref = test_key(test, key),
                               .xattr_name = "user.mark",
                               .xattr_name_size = 9,
                               .xattr_value = value,
                               .xattr_value_size = size};

    assert_int_equal(kv_apply(test->kv, &change), 0);
}

void test_expect_use(struct test_store *test, uint64_t keys, uint64_t bytes)
{
    const uint64_t ids[] = {test->namespace.id, test->account.id, KV_ROOT_ID};

    for (size_t i = 0; i < 3; i++) {
        struct kv_node node = test_node(test, ids[i]);

        assert_int_equal(node.keys, keys);
        assert_int_equal(node.bytes, bytes);
    }
}
