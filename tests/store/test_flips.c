/* Every single bit of a small store flipped, in the records and in the names that they are kept under: a check finds
 * each, and no read answers with anything but what was there, or with an error. */
#include "store/base/name.h"
#include "store/base/record.h"
#include "tests/support/store.h"

#include <errno.h>
#include <stdlib.h>

struct entry {
    enum engine_table table;
    uint8_t *name, *value;
    size_t name_size, value_size;
};

struct entries {
    struct entry *items;
    size_t count;
    enum engine_table table;
};

static void *copy(struct slice bytes)
{
    void *to = malloc(bytes.size + 1);

    assert_non_null(to);
    memcpy(to, bytes.data, bytes.size);
    return to;
}

static int visit_entry(void *arg, struct slice name, struct slice value)
{
    struct entries *entries = arg;
    struct entry *items = realloc(entries->items, (entries->count + 1) * sizeof(*items));

    assert_non_null(items);
    entries->items = items;
    items[entries->count++] = (struct entry){entries->table, copy(name), copy(value), name.size, value.size};
    return 0;
}

static struct entries all_records(struct engine *engine)
{
    struct entries entries = {0};
    struct engine_txn *txn;

    assert_int_equal(engine->ops->begin(engine, false, &txn), 0);
    for (; entries.table < ENGINE_TABLES; entries.table++)
        assert_int_equal(txn->ops->scan(txn, entries.table, slice_of("", 0), visit_entry, &entries), 0);
    txn->ops->abort(txn);
    return entries;
}

/* One object, and what can be asked of it. */
struct object {
    struct kv_ref ref; /* a key; or a node */
    struct kv_node node;
    struct kv_meta meta;
    struct kv_xattrs xattrs;
    struct kv_value *value; /* of a key */
};

enum { OBJECTS_MAX = 16 };
static struct object objects[OBJECTS_MAX];
static size_t objects_count;

static int note_key(void *arg, const char *key, size_t size, const struct kv_meta *meta)
{
    struct object *object = &objects[objects_count++];

    (void)meta;
    assert_true(objects_count <= OBJECTS_MAX);
    object->ref = kv_ref_key(*(uint64_t *)arg, key, size);
    return 0;
}

static int note_node(void *arg, const struct kv_node *node)
{
    struct object *object = &objects[objects_count++];

    (void)arg;
    assert_true(objects_count <= OBJECTS_MAX);
    object->ref = kv_ref_node(node->id);
    object->node = *node;
    return 0;
}

static void note_objects(struct kv_store *kv)
{
    struct kv_node root;

    objects_count = 0;
    memset(objects, 0, sizeof(objects));
    assert_int_equal(kv_node_get(kv, KV_ROOT_ID, &root), 0);
    (void)note_node(NULL, &root);
    for (size_t i = 0; i < objects_count; i++) {
        uint64_t id = objects[i].ref.node;

        if (objects[i].ref.size == 0)
            assert_int_equal(kv_node_scan(kv, id, NULL, 0, false, note_node, NULL), 0);
        if (objects[i].ref.size == 0 && objects[i].node.kind == KV_NAMESPACE)
            assert_int_equal(kv_scan(kv, id, NULL, 0, false, note_key, &id), 0);
    }
    for (size_t i = 0; i < objects_count; i++) {
        struct object *object = &objects[i];

        assert_int_equal(kv_xattrs_get(kv, &object->ref, &object->xattrs), 0);
        if (object->ref.size > 0)
            assert_int_equal(kv_get(kv, &object->ref, &object->meta, &object->value, NULL), 0);
    }
}

static bool same_attr(const struct kv_attr *a, const struct kv_attr *b)
{
    return a->ino == b->ino && a->mode == b->mode && a->uid == b->uid && a->gid == b->gid &&
           a->atime_ns == b->atime_ns && a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns &&
           a->btime_ns == b->btime_ns;
}

static void expect_node(const struct kv_node *is, const struct kv_node *was)
{
    assert_true(is->kind == was->kind && is->id == was->id && is->parent == was->parent);
    assert_string_equal(is->name, was->name);
    assert_true(same_attr(&is->attr, &was->attr));
    assert_true(is->keys == was->keys && is->bytes == was->bytes && is->children == was->children);
    assert_true(is->bindings == was->bindings && is->target == was->target);
    assert_true(is->limit_bytes == was->limit_bytes && is->limit_namespaces == was->limit_namespaces);
    assert_true(is->limit_keys == was->limit_keys && is->limit_bindings == was->limit_bindings);
}

static void expect_meta(const struct kv_meta *is, const struct kv_meta *was)
{
    assert_true(same_attr(&is->attr, &was->attr));
    assert_true(is->version == was->version && is->size == was->size && is->has_xattrs == was->has_xattrs);
}

/* Right, or damaged; absent only where `absent` allows it: a point query cannot know of what has another name now. */
static bool is_answer(int rc, bool absent)
{
    assert_true(rc == 0 || rc == -EIO || (absent && rc == -ENOENT));
    return rc == 0;
}

static int compare_key(void *arg, const char *key, size_t size, const struct kv_meta *meta)
{
    for (size_t i = 0; i < objects_count; i++)
        if (objects[i].ref.node == *(uint64_t *)arg && objects[i].ref.size == size &&
            memcmp(objects[i].ref.key, key, size) == 0) {
            expect_meta(meta, &objects[i].meta);
            return 0;
        }
    fail_msg("a key %s that was never put", key);
    return 0;
}

static int compare_node(void *arg, const struct kv_node *node)
{
    (void)arg;
    for (size_t i = 0; i < objects_count; i++)
        if (objects[i].ref.size == 0 && objects[i].ref.node == node->id) {
            expect_node(node, &objects[i].node);
            return 0;
        }
    fail_msg("a node %s that was never made", node->name);
    return 0;
}

static void ask_key(struct kv_store *kv, const struct object *object, bool absent)
{
    struct kv_value *value;
    struct kv_meta meta;

    if (is_answer(kv_stat(kv, &object->ref, &meta, NULL), absent))
        expect_meta(&meta, &object->meta);
    if (is_answer(kv_get(kv, &object->ref, &meta, &value, NULL), absent)) {
        expect_meta(&meta, &object->meta);
        assert_int_equal(value->size, object->value->size);
        if (value->size > 0)
            assert_memory_equal(value->data, object->value->data, value->size);
        kv_value_unref(value);
    }
}

static void ask_node(struct kv_store *kv, const struct object *object, bool absent)
{
    struct kv_node node;
    uint64_t id = object->ref.node;

    if (is_answer(kv_node_get(kv, id, &node), absent))
        expect_node(&node, &object->node);
    if (id != KV_ROOT_ID &&
        is_answer(kv_node_find(kv, object->node.parent, object->node.name, strlen(object->node.name), &node),
                  absent))
        expect_node(&node, &object->node);
    (void)is_answer(kv_node_scan(kv, id, NULL, 0, false, compare_node, NULL), absent);
    if (object->node.kind == KV_NAMESPACE)
        (void)is_answer(kv_scan(kv, id, NULL, 0, false, compare_key, &id), absent);
}

/* Whatever is answered is as it was before. */
static void ask_all(struct kv_store *kv, bool absent)
{
    for (size_t i = 0; i < objects_count; i++) {
        struct kv_xattrs xattrs;

        if (objects[i].ref.size > 0)
            ask_key(kv, &objects[i], absent);
        else
            ask_node(kv, &objects[i], absent);
        if (is_answer(kv_xattrs_get(kv, &objects[i].ref, &xattrs), absent)) {
            assert_int_equal(xattrs.size, objects[i].xattrs.size);
            assert_memory_equal(xattrs.data, objects[i].xattrs.data, xattrs.size);
        }
    }
}

static void count_finding(void *arg, const struct kv_finding *finding)
{
    (void)finding;
    (*(unsigned *)arg)++;
}

static void expect_found(struct kv_store *kv, const struct entry *entry, const char *where, size_t bit)
{
    unsigned found = 0;
    struct kv_check_options options = {.found = count_finding, .arg = &found};
    struct kv_check_report report;

    assert_int_equal(kv_check(kv, &options, &report), 0);
    if (found == 0)
        fail_msg("bit %zu of the %s of a record in table %d was flipped, and not found", bit, where,
                 (int)entry->table);
}

/* Put a record in the place of another one, which may be itself. */
static void replace(struct engine *engine, const struct entry *old, const struct entry *new)
{
    struct engine_txn *txn;

    assert_int_equal(engine->ops->begin(engine, true, &txn), 0);
    assert_int_equal(txn->ops->del(txn, old->table, slice_of(old->name, old->name_size)), 0);
    assert_int_equal(
        txn->ops->put(txn, new->table, slice_of(new->name, new->name_size), slice_of(new->value, new->value_size)),
        0);
    assert_int_equal(txn->ops->commit(txn), 0);
}

static bool is_there(struct engine *engine, const struct entry *entry)
{
    struct engine_txn *txn;
    struct slice value;
    int rc;

    assert_int_equal(engine->ops->begin(engine, false, &txn), 0);
    rc = txn->ops->get(txn, entry->table, slice_of(entry->name, entry->name_size), &value);
    txn->ops->abort(txn);
    return rc == 0;
}

/* `step`: of a long value not every bit is tried */
static void flip_each_bit_of_value(struct test_store *test, struct kv_store *kv, const struct entry *entry)
{
    size_t step = entry->value_size > 1000 ? 1009 : 1;

    for (size_t bit = 0; bit < entry->value_size * 8; bit += step) {
        entry->value[bit / 8] ^= (uint8_t)(1u << bit % 8);
        replace(test->inner, entry, entry);
        ask_all(kv, false);
        expect_found(kv, entry, "bytes", bit);
        entry->value[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    replace(test->inner, entry, entry);
}

static void flip_each_bit_of_name(struct test_store *test, struct kv_store *kv, const struct entry *entry)
{
    struct entry other = *entry;

    other.name = copy(slice_of(entry->name, entry->name_size));
    for (size_t bit = 0; bit < entry->name_size * 8; bit++) {
        other.name[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (!is_there(test->inner, &other)) {
            replace(test->inner, entry, &other);
            ask_all(kv, true);
            expect_found(kv, entry, "name", bit);
            replace(test->inner, &other, entry);
        }
        other.name[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(other.name);
}

static void make_small_store(struct test_store *test)
{
    struct kv_ref ref = test_key(test, "long");
    struct kv_node project, binding;

    test_put(test, "a", "0123456789");
    test_put(test, "marked", "value");
    test_set_mark(test, "marked", 4);
    test_put_bytes(test, &ref, 9000, 1);
    project = test_make(test, KV_PROJECT, test_projects(test, test->account.id).id, "web");
    assert_int_equal(kv_node_make(test->kv, KV_BINDING, project.id, "DATA", test->namespace.id, &binding), 0);
}

static void every_flipped_bit_is_found_and_no_answer_is_wrong(void **state)
{
    struct test_store *test = *state;
    struct entries entries;

    make_small_store(test);
    note_objects(test->kv);
    entries = all_records(test->inner);
    for (size_t i = 0; i < entries.count; i++) {
        flip_each_bit_of_value(test, test->kv, &entries.items[i]);
        flip_each_bit_of_name(test, test->kv, &entries.items[i]);
    }
    test_expect_sound(test->inner); /* all were put back */
    for (size_t i = 0; i < entries.count; i++) {
        free(entries.items[i].name);
        free(entries.items[i].value);
    }
    free(entries.items);
    for (size_t i = 0; i < objects_count; i++)
        kv_value_unref(objects[i].value);
}

/* Every read asks the store. */
static int setup_uncached(void **state)
{
    struct kv_options options = kv_options_default();

    options.cache_ttl_ms = 0;
    options.cache_bytes = 0;
    *state = test_store_open(TEST_MEMORY, &options);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_flipped_bit_is_found_and_no_answer_is_wrong, setup_uncached,
                                        test_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
