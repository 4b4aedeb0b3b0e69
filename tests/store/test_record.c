/* Records: whatever the bytes are, decoding answers -EIO or something that holds together. */
#include "tests/support/store.h"

#include "store/base/name.h"
#include "store/base/record.h"

#include <errno.h>
#include <stdlib.h>

static struct kv_attr some_attr(struct test_random *random)
{
    return (struct kv_attr){.ino = test_random(random) | 1,
                            .mode = (uint32_t)test_random_below(random, 010000),
                            .uid = (uint32_t)test_random(random),
                            .gid = (uint32_t)test_random(random),
                            .atime_ns = (int64_t)test_random(random),
                            .mtime_ns = (int64_t)test_random(random),
                            .ctime_ns = (int64_t)test_random(random),
                            .btime_ns = (int64_t)test_random(random)};
}

static void some_xattrs(struct test_random *random, struct kv_xattrs *out)
{
    unsigned count = (unsigned)test_random_below(random, 5);

    out->size = 0;
    for (unsigned i = 0; i < count; i++) {
        char name[60], value[200];
        size_t size = test_random_key(random, sizeof(name) - 1, name);
        size_t value_size = test_random_below(random, sizeof(value));

        test_random_fill(random, value, value_size);
        assert_int_equal(kv_xattrs_set(out, name, size, value, value_size, 0), 0);
    }
}

/* What the last random key and node are kept under. */
static struct name key_name, node_name;

/* What a random key's record borrows. */
struct parts {
    struct kv_xattrs xattrs;
    uint8_t value[RECORD_INLINE_MAX];
};

static struct record_key some_key(struct test_random *random, struct parts *parts)
{
    static const uint64_t sizes[] = {
        0, 1, 100, RECORD_INLINE_MAX - 1, RECORD_INLINE_MAX, RECORD_INLINE_MAX + 1, 300000, KV_VALUE_MAX};
    struct record_key key = {.checksum = test_random(random)};
    char text[KV_KEY_MAX + 1];
    size_t size = test_random_key(random, test_random_below(random, 4) == 0 ? KV_KEY_MAX : 20, text);

    assert_int_equal(name_of_key(test_random(random), text, size, &key_name), 0);
    key.meta.attr = some_attr(random);
    key.meta.version = test_random(random) | 1;
    key.meta.size = sizes[test_random_below(random, sizeof(sizes) / sizeof(sizes[0]))];
    some_xattrs(random, &parts->xattrs);
    key.xattrs = slice_of(parts->xattrs.data, parts->xattrs.size);
    key.meta.has_xattrs = key.xattrs.size > 0;
    if (key.meta.size <= RECORD_INLINE_MAX) {
        test_random_fill(random, parts->value, key.meta.size);
        key.inlined = slice_of(parts->value, key.meta.size);
    } else {
        key.cut = (uint8_t)test_random_below(random, RECORD_CUTS);
    }
    return key;
}

static struct record_node some_node(struct test_random *random, struct parts *parts)
{
    struct record_node record = {0};
    struct kv_node *node = &record.node;

    node->kind = (enum kv_node_kind)(KV_ROOT + test_random_below(random, 6));
    node->attr = some_attr(random);
    node->id = node->attr.ino;
    node->parent = test_random(random);
    node->keys = test_random(random);
    node->bytes = test_random(random);
    node->children = test_random(random);
    node->limit_bytes = test_random(random);
    node->bindings = test_random(random);
    node->limit_namespaces = test_random(random);
    node->limit_keys = test_random(random);
    node->limit_bindings = test_random(random);
    node->target = test_random(random);
    name_of_node(node->id, &node_name);
    if (node->kind == KV_PROJECTS)
        strcpy(node->name, NAME_PROJECTS);
    else if (node->kind != KV_ROOT)
        test_random_key(random, KV_NAME_MAX, node->name);
    if (node->kind == KV_BINDING)
        node->name[0] = 'V';
    some_xattrs(random, &parts->xattrs);
    record.xattrs = slice_of(parts->xattrs.data, parts->xattrs.size);
    node->has_xattrs = record.xattrs.size > 0;
    return record;
}

static void expect_same_slice(struct slice a, struct slice b)
{
    assert_int_equal(a.size, b.size);
    if (a.size > 0)
        assert_memory_equal(a.data, b.data, a.size);
}

static void expect_same_attr(const struct kv_attr *a, const struct kv_attr *b)
{
    assert_true(a->ino == b->ino && a->mode == b->mode && a->uid == b->uid && a->gid == b->gid);
    assert_true(a->atime_ns == b->atime_ns && a->mtime_ns == b->mtime_ns);
    assert_true(a->ctime_ns == b->ctime_ns && a->btime_ns == b->btime_ns);
}

static void a_key_survives_its_record(void **state)
{
    struct test_random random = {1};
    static struct parts parts;

    (void)state;
    for (int i = 0; i < 5000; i++) {
        struct record_key key = some_key(&random, &parts), back;
        struct record_bytes bytes;

        record_encode_key(name_slice(&key_name), &key, &bytes);
        assert_int_equal(record_decode_key(name_slice(&key_name), slice_of(bytes.data, bytes.size), &back), 0);
        expect_same_attr(&back.meta.attr, &key.meta.attr);
        assert_true(back.meta.version == key.meta.version && back.meta.size == key.meta.size);
        assert_int_equal(back.meta.has_xattrs, key.meta.has_xattrs);
        assert_true(back.checksum == key.checksum && back.cut == key.cut);
        expect_same_slice(back.xattrs, key.xattrs);
        expect_same_slice(back.inlined, key.inlined);
    }
}

static void a_node_survives_its_record(void **state)
{
    struct test_random random = {2};
    static struct parts parts;

    (void)state;
    for (int i = 0; i < 5000; i++) {
        struct record_node node = some_node(&random, &parts), back;
        struct record_bytes bytes;

        record_encode_node(name_slice(&node_name), &node, &bytes);
        assert_int_equal(record_decode_node(name_slice(&node_name), slice_of(bytes.data, bytes.size), &back), 0);
        assert_int_equal(back.node.kind, node.node.kind);
        assert_true(back.node.id == node.node.id && back.node.parent == node.node.parent);
        assert_string_equal(back.node.name, node.node.name);
        expect_same_attr(&back.node.attr, &node.node.attr);
        assert_true(back.node.keys == node.node.keys && back.node.bytes == node.node.bytes);
        assert_true(back.node.children == node.node.children && back.node.target == node.node.target);
        assert_true(back.node.limit_bytes == node.node.limit_bytes);
        assert_true(back.node.limit_namespaces == node.node.limit_namespaces);
        assert_true(back.node.limit_keys == node.node.limit_keys && back.node.bindings == node.node.bindings);
        assert_true(back.node.limit_bindings == node.node.limit_bindings);
        assert_int_equal(back.node.has_xattrs, node.node.has_xattrs);
        expect_same_slice(back.xattrs, node.xattrs);
    }
}

static void the_largest_records_fit(void **state)
{
    static struct parts parts;
    struct record_key key = {.meta = {.attr = {.ino = 1}, .version = 1, .size = RECORD_INLINE_MAX}}, key_back;
    struct record_node node = {.node = {.kind = KV_ACCOUNT, .id = 1, .attr = {.ino = 1}}}, node_back;
    struct record_bytes bytes;
    char text[KV_KEY_MAX + 1];

    (void)state;
    memset(text, 'z', KV_KEY_MAX);
    assert_int_equal(name_of_key(UINT64_MAX, text, KV_KEY_MAX, &key_name), 0);
    name_of_node(1, &node_name);
    parts.xattrs.size = 0;
    for (int i = 0; i < KV_XATTR_MAX / 2; i++) { /* of 2 bytes each, which is most entries */
        uint8_t *entry = parts.xattrs.data + parts.xattrs.size;

        memcpy(entry, "\2\0\0aa", 5);
        parts.xattrs.size += 5;
    }
    assert_int_equal(parts.xattrs.size, sizeof(parts.xattrs.data));
    key.inlined = slice_of(parts.value, RECORD_INLINE_MAX);
    key.xattrs = node.xattrs = slice_of(parts.xattrs.data, parts.xattrs.size);
    record_encode_key(name_slice(&key_name), &key, &bytes);
    assert_true(bytes.size <= RECORD_MAX);
    assert_int_equal(record_decode_key(name_slice(&key_name), slice_of(bytes.data, bytes.size), &key_back), 0);
    assert_int_equal(key_back.inlined.size, RECORD_INLINE_MAX);

    memset(node.node.name, 'n', KV_NAME_MAX);
    record_encode_node(name_slice(&node_name), &node, &bytes);
    assert_int_equal(record_decode_node(name_slice(&node_name), slice_of(bytes.data, bytes.size), &node_back), 0);
    assert_int_equal(strlen(node_back.node.name), KV_NAME_MAX);
}

/* ------------------------------------------------------------------- damage */

static bool within(struct slice part, struct slice whole)
{
    const uint8_t *from = part.data, *start = whole.data;

    return part.size == 0 || (from >= start && from + part.size <= start + whole.size);
}

/* Decode a key from exactly these bytes. Whatever decodes satisfies the invariants. */
static bool decode_key(const uint8_t *bytes, size_t size)
{
    uint8_t *exact = malloc(size > 0 ? size : 1); /* so that the sanitizer sees a read past it */
    struct slice whole;
    struct record_key key;
    struct kv_xattrs xattrs;
    int rc;

    assert_non_null(exact);
    memcpy(exact, bytes, size);
    whole = slice_of(exact, size);
    rc = record_decode_key(name_slice(&key_name), whole, &key);
    if (rc == 0) {
        assert_true(key.meta.attr.ino != 0 && key.meta.version != 0);
        assert_true(key.meta.attr.mode <= 07777);
        assert_true(key.meta.size <= KV_VALUE_MAX);
        assert_int_equal(key.inlined.size, key.meta.size <= RECORD_INLINE_MAX ? key.meta.size : 0);
        assert_in_range(key.cut, 0, key.meta.size <= RECORD_INLINE_MAX ? 0 : RECORD_CUTS - 1);
        assert_true(within(key.inlined, whole) && within(key.xattrs, whole));
        assert_int_equal(key.meta.has_xattrs, key.xattrs.size > 0);
        rc = record_xattrs(key.xattrs, &xattrs);
    }
    free(exact);
    assert_true(rc == 0 || rc == -EIO);
    return rc == 0;
}

static bool decode_node(const uint8_t *bytes, size_t size)
{
    uint8_t *exact = malloc(size > 0 ? size : 1);
    struct slice whole;
    struct record_node record;
    struct kv_xattrs xattrs;
    int rc;

    assert_non_null(exact);
    memcpy(exact, bytes, size);
    whole = slice_of(exact, size);
    rc = record_decode_node(name_slice(&node_name), whole, &record);
    if (rc == 0) {
        assert_in_range(record.node.kind, KV_ROOT, KV_BINDING);
        assert_true(record.node.id != 0 && record.node.id == record.node.attr.ino);
        assert_true(record.node.attr.mode <= 07777);
        assert_true(strnlen(record.node.name, sizeof(record.node.name)) <= KV_NAME_MAX);
        assert_true(within(record.xattrs, whole));
        rc = record_xattrs(record.xattrs, &xattrs);
    }
    free(exact);
    assert_true(rc == 0 || rc == -EIO);
    return rc == 0;
}

static void a_record_cut_anywhere_does_not_decode(void **state)
{
    struct test_random random = {3};
    static struct parts parts;

    (void)state;
    for (int i = 0; i < 40; i++) {
        struct record_key key = some_key(&random, &parts);
        struct record_node node = some_node(&random, &parts);
        struct record_bytes bytes;

        record_encode_node(name_slice(&node_name), &node, &bytes);
        for (size_t size = 0; size < bytes.size; size++)
            assert_false(decode_node(bytes.data, size));
        assert_true(decode_node(bytes.data, bytes.size));

        key.xattrs = node.xattrs; /* some_node() made other ones in `parts` */
        key.meta.has_xattrs = key.xattrs.size > 0;
        record_encode_key(name_slice(&key_name), &key, &bytes);
        for (size_t size = 0; size < bytes.size; size++)
            assert_false(decode_key(bytes.data, size));
        assert_true(decode_key(bytes.data, bytes.size));
    }
}

static void a_record_with_bytes_behind_it_does_not_decode(void **state)
{
    struct test_random random = {4};
    static struct parts parts;

    (void)state;
    for (int i = 0; i < 200; i++) {
        struct record_key key = some_key(&random, &parts);
        struct record_bytes bytes;

        record_encode_key(name_slice(&key_name), &key, &bytes);
        if (bytes.size < sizeof(bytes.data)) {
            bytes.data[bytes.size] = 0;
            assert_false(decode_key(bytes.data, bytes.size + 1));
        }
    }
    for (int i = 0; i < 200; i++) {
        struct record_node node = some_node(&random, &parts);
        struct record_bytes bytes;

        record_encode_node(name_slice(&node_name), &node, &bytes);
        bytes.data[bytes.size] = 0;
        assert_false(decode_node(bytes.data, bytes.size + 1));
    }
}

static void flip_bit(uint8_t *bytes, size_t bit) { bytes[bit / 8] ^= (uint8_t)(1u << bit % 8); }

/* Each bit of the record, but for the value in it, which has a checksum of its own, and of the name. */
static void no_record_with_a_flipped_bit_decodes(void **state)
{
    struct test_random random = {5};
    static struct parts parts;
    struct record_bytes bytes;

    (void)state;
    for (int i = 0; i < 30; i++) {
        struct record_key key = some_key(&random, &parts);

        record_encode_key(name_slice(&key_name), &key, &bytes);
        for (size_t bit = 0; bit < (bytes.size - key.inlined.size) * 8; bit++) {
            flip_bit(bytes.data, bit);
            assert_false(decode_key(bytes.data, bytes.size));
            flip_bit(bytes.data, bit);
        }
        for (size_t bit = 0; bit < key_name.size * 8; bit++) {
            flip_bit(key_name.data, bit);
            assert_false(decode_key(bytes.data, bytes.size));
            flip_bit(key_name.data, bit);
        }
        assert_true(decode_key(bytes.data, bytes.size));
    }
    for (int i = 0; i < 30; i++) {
        struct record_node node = some_node(&random, &parts);

        record_encode_node(name_slice(&node_name), &node, &bytes);
        for (size_t bit = 0; bit < bytes.size * 8; bit++) {
            flip_bit(bytes.data, bit);
            assert_false(decode_node(bytes.data, bytes.size));
            flip_bit(bytes.data, bit);
        }
        for (size_t bit = 0; bit < node_name.size * 8; bit++) {
            flip_bit(node_name.data, bit);
            assert_false(decode_node(bytes.data, bytes.size));
            flip_bit(node_name.data, bit);
        }
        assert_true(decode_node(bytes.data, bytes.size));
    }
}

static void a_number_is_that_of_its_table_and_name(void **state)
{
    struct record_bytes bytes;
    uint64_t number = 0;
    uint8_t name[12];

    (void)state;
    memcpy(name, "eightbytes12", sizeof(name));
    record_encode_number(ENGINE_NAMES, slice_of(name, sizeof(name)), 77, &bytes);
    assert_int_equal(record_decode_number(ENGINE_NAMES, slice_of(name, 12), record_slice(&bytes), &number), 0);
    assert_int_equal(number, 77);
    assert_int_equal(record_decode_number(ENGINE_META, slice_of(name, 12), record_slice(&bytes), &number), -EIO);
    assert_int_equal(record_decode_number(ENGINE_NAMES, slice_of(name, 11), record_slice(&bytes), &number), -EIO);
    for (size_t bit = 0; bit < (bytes.size + sizeof(name)) * 8; bit++) {
        uint8_t *part = bit < bytes.size * 8 ? bytes.data : name;
        size_t at = bit < bytes.size * 8 ? bit : bit - bytes.size * 8;

        flip_bit(part, at);
        assert_int_equal(record_decode_number(ENGINE_NAMES, slice_of(name, 12), record_slice(&bytes), &number),
                         -EIO);
        flip_bit(part, at);
    }
    for (size_t size = 0; size < bytes.size; size++)
        assert_int_equal(
            record_decode_number(ENGINE_NAMES, slice_of(name, 12), slice_of(bytes.data, size), &number), -EIO);
    assert_int_equal(number, 77);
}

static void random_bytes_never_decode_to_something_inconsistent(void **state)
{
    struct test_random random = {6};
    static struct parts parts;
    struct record_bytes bytes;

    (void)state;
    for (int i = 0; i < 50000; i++) {
        size_t size = test_random_below(&random, 400);

        test_random_fill(&random, bytes.data, size);
        if (size > 0)
            bytes.data[0] = i % 2 == 0 ? 'k' : 'n'; /* the format bytes, so that it goes on */
        (void)decode_key(bytes.data, size);
        (void)decode_node(bytes.data, size);
    }
    for (int i = 0; i < 20000; i++) { /* several bytes of a good record */
        struct record_node node = some_node(&random, &parts);

        record_encode_node(name_slice(&node_name), &node, &bytes);
        for (int j = 0; j < 3; j++)
            bytes.data[test_random_below(&random, bytes.size)] = (uint8_t)test_random(&random);
        (void)decode_node(bytes.data, bytes.size);
    }
}

static void a_failed_decoding_leaves_its_output_untouched(void **state)
{
    struct test_random random = {7};
    static struct parts parts;
    struct record_node node = some_node(&random, &parts), node_out, node_before;
    struct record_key key = some_key(&random, &parts), key_out, key_before;
    struct record_bytes bytes;

    (void)state;
    memset(&key_out, 0x5a, sizeof(key_out));
    memcpy(&key_before, &key_out, sizeof(key_out));
    record_encode_key(name_slice(&key_name), &key, &bytes);
    assert_int_equal(record_decode_key(name_slice(&key_name), slice_of(bytes.data, bytes.size - 1), &key_out),
                     -EIO);
    assert_memory_equal(&key_out, &key_before, sizeof(key_out));

    memset(&node_out, 0x5a, sizeof(node_out));
    memcpy(&node_before, &node_out, sizeof(node_out));
    record_encode_node(name_slice(&node_name), &node, &bytes);
    assert_int_equal(record_decode_node(name_slice(&node_name), slice_of(bytes.data, bytes.size - 1), &node_out),
                     -EIO);
    assert_memory_equal(&node_out, &node_before, sizeof(node_out));
}

static void what_no_object_can_have_does_not_decode(void **state)
{
    struct test_random random = {10};
    static struct parts parts;
    struct record_bytes bytes;
    struct record_key key;
    struct kv_xattrs xattrs;

    (void)state;
    key = some_key(&random, &parts);
    key.meta.version = 0;
    record_encode_key(name_slice(&key_name), &key, &bytes);
    assert_false(decode_key(bytes.data, bytes.size));
    key = some_key(&random, &parts);
    key.meta.attr.ino = 0;
    record_encode_key(name_slice(&key_name), &key, &bytes);
    assert_false(decode_key(bytes.data, bytes.size));
    key = some_key(&random, &parts);
    key.meta.attr.mode = 010000;
    record_encode_key(name_slice(&key_name), &key, &bytes);
    assert_false(decode_key(bytes.data, bytes.size));
    key = some_key(&random, &parts);
    key.inlined = slice_of(NULL, 0);
    key.meta.size = KV_VALUE_MAX + 1;
    record_encode_key(name_slice(&key_name), &key, &bytes);
    assert_false(decode_key(bytes.data, bytes.size));

    /* An entry, and bytes that are none. */
    assert_int_equal(record_xattrs(slice_of("\1\1\0av", 5), &xattrs), 0);
    assert_int_equal(record_xattrs(slice_of("\1\1\0av\1", 6), &xattrs), -EIO);
    assert_int_equal(record_xattrs(slice_of("\1\2\0av", 5), &xattrs), -EIO);
    assert_int_equal(record_xattrs(slice_of(parts.value, sizeof(xattrs.data) + 1), &xattrs), -EIO);
}

/* The seal is right in all of them. */
static void names_that_break_their_rule_do_not_decode(void **state)
{
    static const struct {
        enum kv_node_kind kind;
        const char *name;
        bool legal;
    } nodes[] = {{KV_ROOT, "", true},
                 {KV_ROOT, "root", false},
                 {KV_ACCOUNT, "acme-1", true},
                 {KV_ACCOUNT, "-acme", false},
                 {KV_ACCOUNT, "", false},
                 {KV_ACCOUNT, NAME_PROJECTS, false},
                 {KV_NAMESPACE, "main_", true},
                 {KV_NAMESPACE, "ma in", false},
                 {KV_PROJECTS, NAME_PROJECTS, true},
                 {KV_PROJECTS, "projects", false},
                 {KV_PROJECT, "web", true},
                 {KV_PROJECT, "w/b", false},
                 {KV_BINDING, "KV", true},
                 {KV_BINDING, "1KV", false}};
    static struct parts parts;
    struct test_random random = {11};
    struct record_bytes bytes;
    struct record_key key;

    (void)state;
    for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
        struct record_node node = some_node(&random, &parts);

        node.node.kind = nodes[i].kind;
        memset(node.node.name, 0, sizeof(node.node.name));
        strcpy(node.node.name, nodes[i].name);
        record_encode_node(name_slice(&node_name), &node, &bytes);
        assert_true(decode_node(bytes.data, bytes.size) == nodes[i].legal);
        node_name.size++; /* and what is kept under something that is no id */
        record_encode_node(name_slice(&node_name), &node, &bytes);
        assert_false(decode_node(bytes.data, bytes.size));
    }
    key = some_key(&random, &parts);
    key_name.data[key_name.size++] = 0; /* padding that nobody makes */
    record_encode_key(name_slice(&key_name), &key, &bytes);
    assert_false(decode_key(bytes.data, bytes.size));
    key_name.size = 8;
    record_encode_key(name_slice(&key_name), &key, &bytes);
    assert_false(decode_key(bytes.data, bytes.size));
}

static void a_key_is_charged_with_its_name_value_and_attributes(void **state)
{
    struct record_key key = {.meta = {.attr = {.ino = 1}, .version = 1, .size = 100000}}, back;
    struct kv_xattrs xattrs = {0};
    struct record_bytes bytes;
    uint64_t charge;

    (void)state;
    assert_int_equal(record_charge(3, &key), 100003);
    assert_int_equal(kv_xattrs_set(&xattrs, "user.a", 6, "1234", 4, 0), 0);
    assert_int_equal(kv_xattrs_set(&xattrs, "user.b", 6, "", 0, 0), 0);
    key.xattrs = slice_of(xattrs.data, xattrs.size);
    assert_int_equal(record_charge(3, &key), 100019);

    assert_int_equal(name_of_key(7, "abc", 3, &key_name), 0);
    record_encode_key(name_slice(&key_name), &key, &bytes);
    assert_int_equal(record_count_key(name_slice(&key_name), record_slice(&bytes), &back, &charge), 0);
    assert_int_equal(charge, 100019);
    bytes.data[20] ^= 1;
    assert_int_equal(record_count_key(name_slice(&key_name), record_slice(&bytes), &back, &charge), -EIO);
    assert_int_equal(charge, 0);
}

static void a_record_of_the_other_kind_does_not_decode(void **state)
{
    struct test_random random = {8};
    static struct parts parts;
    struct record_node node = some_node(&random, &parts);
    struct record_key key = some_key(&random, &parts);
    struct record_bytes bytes;

    (void)state;
    record_encode_key(name_slice(&key_name), &key, &bytes);
    assert_false(decode_node(bytes.data, bytes.size));
    record_encode_node(name_slice(&node_name), &node, &bytes);
    assert_false(decode_key(bytes.data, bytes.size));
}

/* ------------------------------------------------------------------- values */

static void chunks_cover_a_value_exactly(void **state)
{
    static const uint64_t sizes[] = {0,
                                     1,
                                     RECORD_INLINE_MAX,
                                     RECORD_INLINE_MAX + 1,
                                     RECORD_CHUNK - 1,
                                     RECORD_CHUNK,
                                     RECORD_CHUNK + 1,
                                     2 * RECORD_CHUNK,
                                     KV_VALUE_MAX};

    (void)state;
    for (size_t i = 0; i < RECORD_CUTS * sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint64_t whole = sizes[i / RECORD_CUTS], sum = 0;
        uint8_t cut = i % RECORD_CUTS;
        uint32_t chunks = record_chunks(whole, cut);

        for (uint32_t j = 0; j < chunks; j++) {
            size_t size = record_chunk_size(whole, cut, j);

            assert_in_range(size, 1, record_chunk_most(cut));
            sum += size;
        }
        assert_int_equal(sum, whole > RECORD_INLINE_MAX ? whole : 0);
    }
    assert_int_equal(record_chunks(RECORD_INLINE_MAX, 0), 0);
    assert_int_equal(record_chunks(RECORD_INLINE_MAX + 1, 0), 1);
    assert_int_equal(record_chunks(RECORD_CHUNK, 0), 1);
    assert_int_equal(record_chunks(RECORD_CHUNK + 1, 0), 2);
    assert_int_equal(record_chunk_most(0), RECORD_CHUNK);
    assert_int_equal(record_chunk_most(RECORD_CUTS - 1), 4096 - 16);
}

static void the_checksum_sees_every_single_bit(void **state)
{
    struct test_random random = {9};
    uint8_t bytes[200];
    uint64_t whole;

    (void)state;
    test_random_fill(&random, bytes, sizeof(bytes));
    whole = record_checksum(bytes, sizeof(bytes));
    for (size_t bit = 0; bit < sizeof(bytes) * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_true(record_checksum(bytes, sizeof(bytes)) != whole);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(record_checksum(bytes, 0) == record_checksum(NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_survives_its_record),
        cmocka_unit_test(a_node_survives_its_record),
        cmocka_unit_test(the_largest_records_fit),
        cmocka_unit_test(a_record_cut_anywhere_does_not_decode),
        cmocka_unit_test(a_record_with_bytes_behind_it_does_not_decode),
        cmocka_unit_test(no_record_with_a_flipped_bit_decodes),
        cmocka_unit_test(a_number_is_that_of_its_table_and_name),
        cmocka_unit_test(names_that_break_their_rule_do_not_decode),
        cmocka_unit_test(a_key_is_charged_with_its_name_value_and_attributes),
        cmocka_unit_test(random_bytes_never_decode_to_something_inconsistent),
        cmocka_unit_test(a_failed_decoding_leaves_its_output_untouched),
        cmocka_unit_test(what_no_object_can_have_does_not_decode),
        cmocka_unit_test(a_record_of_the_other_kind_does_not_decode),
        cmocka_unit_test(chunks_cover_a_value_exactly),
        cmocka_unit_test(the_checksum_sees_every_single_bit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
