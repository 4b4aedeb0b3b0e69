/* Records: whatever bytes the central has, they are refused, or they are a record.
 *
 * Input: what the rest is (enum below), then its bytes. No fuzzer finds a seal: but for the kinds "as it is", a record
 * gets the right one, so that what is behind it is reached. */
#include "store/base/name.h"
#include "store/base/record.h"

#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_RECORD, NODE_RECORD, XATTRS, XATTRS_PROGRAM, KEY_AS_IT_IS, NODE_AS_IT_IS, KINDS };

static void check_attr(const struct kv_attr *attr) { FUZZ_CHECK(attr->ino != 0 && attr->mode <= 07777); }

static void check_slice(struct slice part, const uint8_t *bytes, size_t size)
{
    const uint8_t *at = part.data;

    FUZZ_CHECK(part.size == 0 || (at >= bytes && part.size <= size - (size_t)(at - bytes)));
}

/* Where the seal of a key's record is: behind its attributes, whose size stands before them, and may stand behind an
 * expiry. */
static size_t key_seal_at(const uint8_t *bytes, size_t size)
{
    enum { CUT_AT = 1 + 52 + 8 + 8 + 8 };
    size_t size_at = CUT_AT + (size > CUT_AT && bytes[CUT_AT] & RECORD_EXPIRES ? 9 : 1);
    size_t at = size < size_at + 2 ? size : size_at + 2 + (size_t)(bytes[size_at] | bytes[size_at + 1] << 8);

    return at < size ? at : size;
}

/* Decode the bytes with a seal behind `at` of them. */
static void with_seal(enum engine_table table, struct slice name, const uint8_t *bytes, size_t size, size_t at,
                      void (*decode)(struct slice name, const uint8_t *bytes, size_t size))
{
    static struct record_bytes sealed;
    uint8_t *exact;

    if (size + RECORD_SEAL > sizeof(sealed.data))
        return;
    sealed.size = at;
    memcpy(sealed.data, bytes, at);
    record_seal(table, name, &sealed);
    memcpy(sealed.data + sealed.size, bytes + at, size - at);
    exact = fuzz_copy(sealed.data, size + RECORD_SEAL);
    decode(name, exact, size + RECORD_SEAL);
    free(exact);
}

static void decode_key(struct slice name, const uint8_t *bytes, size_t size)
{
    struct record_key record;
    struct record_bytes again;
    uint64_t charge;
    int rc = record_decode_key(name, slice_of(bytes, size), &record);

    if (rc != 0) {
        FUZZ_CHECK(rc == -EIO);
        return;
    }
    check_attr(&record.meta.attr);
    check_slice(record.xattrs, bytes, size);
    check_slice(record.inlined, bytes, size);
    FUZZ_CHECK(record.meta.version != 0 && record.meta.size <= KV_VALUE_MAX);
    FUZZ_CHECK(record.meta.has_xattrs == (record.xattrs.size > 0));
    FUZZ_CHECK(record.inlined.size == (record.meta.size <= RECORD_INLINE_MAX ? record.meta.size : 0));
    FUZZ_CHECK(record_count_key(name, slice_of(bytes, size), &record, &charge) == 0);
    FUZZ_CHECK(charge >= 1 + record.meta.size && charge <= 1 + record.meta.size + record.xattrs.size);
    record_encode_key(name, &record, &again);
    FUZZ_CHECK(again.size == size && memcmp(again.data, bytes, size) == 0);
}

static void decode_node(struct slice name, const uint8_t *bytes, size_t size)
{
    struct record_node record;
    struct record_bytes again;
    int rc = record_decode_node(name, slice_of(bytes, size), &record);

    if (rc != 0) {
        FUZZ_CHECK(rc == -EIO);
        return;
    }
    check_attr(&record.node.attr);
    check_slice(record.xattrs, bytes, size);
    FUZZ_CHECK(record.node.kind >= KV_ROOT && record.node.kind <= KV_BINDING);
    FUZZ_CHECK(record.node.id != 0 && record.node.id == record.node.attr.ino);
    FUZZ_CHECK(strnlen(record.node.name, sizeof(record.node.name)) <= KV_NAME_MAX);
    FUZZ_CHECK(record.node.has_xattrs == (record.xattrs.size > 0));
    record_encode_node(name, &record, &again);
    FUZZ_CHECK(again.size == size && memcmp(again.data, bytes, size) == 0);
}

static void decode_xattrs(const uint8_t *bytes, size_t size)
{
    size_t pos = 0, end = 0, name_size, value_size;
    struct kv_xattrs set;
    const char *name;
    const void *value;
    int rc = record_xattrs(slice_of(bytes, size), &set);

    if (rc != 0) {
        FUZZ_CHECK(rc == -EIO);
        return;
    }
    FUZZ_CHECK(set.size == size && (size == 0 || memcmp(set.data, bytes, size) == 0));
    while (kv_xattrs_next(&set, &pos, &name, &name_size, &value, &value_size)) {
        end += 3 + name_size + value_size;
        FUZZ_CHECK((const uint8_t *)name + name_size == value);
        FUZZ_CHECK((const uint8_t *)value + value_size == set.data + end);
    }
    FUZZ_CHECK(pos == size && end == size);
}

/* ------------------------------------------------------------- sets that are changed
 *
 * The set as it should be, in the order of its last changes. */
struct entry {
    uint8_t name_size;
    char name[255];
    size_t value_size;
    uint8_t value[KV_XATTR_MAX];
};

struct model {
    size_t count;
    struct entry entries[KV_XATTR_MAX];
};

static struct model model;

static size_t model_find(const char *name, size_t name_size)
{
    size_t i = 0;

    while (i < model.count &&
           (model.entries[i].name_size != name_size || memcmp(model.entries[i].name, name, name_size) != 0))
        i++;
    return i;
}

static int model_set(const char *name, size_t name_size, const void *value, size_t value_size, int flags)
{
    size_t at = model_find(name, name_size), sum = name_size + value_size;
    struct entry *entry;

    if (name_size < 1 || name_size > 255)
        return -ERANGE;
    if (at == model.count && (value == NULL || flags == KV_XATTR_REPLACE))
        return -ENODATA;
    if (at < model.count && flags == KV_XATTR_CREATE)
        return -EEXIST;
    for (size_t i = 0; i < model.count; i++)
        sum += i == at ? 0 : (size_t)model.entries[i].name_size + model.entries[i].value_size;
    if (value != NULL && sum > KV_XATTR_MAX)
        return -ENOSPC;
    if (at < model.count)
        memmove(&model.entries[at], &model.entries[at + 1], (--model.count - at) * sizeof(model.entries[0]));
    if (value == NULL)
        return 0;
    entry = &model.entries[model.count++];
    entry->name_size = (uint8_t)name_size;
    memcpy(entry->name, name, name_size);
    entry->value_size = value_size;
    memcpy(entry->value, value, value_size);
    return 0;
}

static void check_model(const struct kv_xattrs *set)
{
    size_t pos = 0, name_size, value_size, i = 0;
    const char *name;
    const void *value;

    for (; kv_xattrs_next(set, &pos, &name, &name_size, &value, &value_size); i++) {
        FUZZ_CHECK(i < model.count);
        FUZZ_CHECK(name_size == model.entries[i].name_size && value_size == model.entries[i].value_size);
        FUZZ_CHECK(memcmp(name, model.entries[i].name, name_size) == 0);
        FUZZ_CHECK(memcmp(value, model.entries[i].value, value_size) == 0);
    }
    FUZZ_CHECK(i == model.count && pos == set->size);
}

static void change_xattrs(struct fuzz_input *in)
{
    static uint8_t fill[2 * KV_XATTR_MAX];
    struct kv_xattrs set = {.size = 0};
    char name[300];

    model.count = 0;
    while (in->left > 0) {
        unsigned what = fuzz_u8(in), letter = fuzz_below(in, 16);
        size_t name_size = what & 8 ? fuzz_u16(in) % sizeof(name) : 1 + letter % 3;
        size_t value_size = what & 16 ? fuzz_u16(in) % sizeof(fill) : fuzz_u8(in);
        const void *value = what & 4 ? NULL : fill;
        int flags = (int)(what & 3), rc;

        flags = flags == 3 ? 0 : flags; /* both at once is nobody's */
        memset(name, (int)('a' + letter), sizeof(name));
        memset(fill, (int)what, sizeof(fill));
        if (value == NULL)
            value_size = 0;
        rc = kv_xattrs_set(&set, name, name_size, value, value_size, flags);
        FUZZ_CHECK(rc == model_set(name, name_size, value, value_size, flags));
        check_model(&set);
    }
}

/* What a node's record is kept under: the id that it has. */
static struct slice node_name(const uint8_t *bytes, size_t size)
{
    static struct name name;
    uint64_t id = 0;

    for (size_t i = 0; i < 8 && 2 + i < size; i++)
        id |= (uint64_t)bytes[2 + i] << 8 * i;
    name_of_node(id, &name);
    return name_slice(&name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    unsigned kind = fuzz_below(&in, KINDS);
    uint8_t *bytes = fuzz_copy(in.at, in.left);
    struct slice key = slice_of("\0\0\0\0\0\0\4\1\x98", 9), node = node_name(bytes, in.left);

    switch (kind) {
    case KEY_RECORD:
        with_seal(ENGINE_KEYS, key, bytes, in.left, key_seal_at(bytes, in.left), decode_key);
        break;
    case NODE_RECORD:
        with_seal(ENGINE_NODES, node, bytes, in.left, in.left, decode_node);
        break;
    case KEY_AS_IT_IS:
        decode_key(key, bytes, in.left);
        break;
    case NODE_AS_IT_IS:
        decode_node(node, bytes, in.left);
        break;
    case XATTRS:
        decode_xattrs(bytes, in.left);
        break;
    case XATTRS_PROGRAM:
        change_xattrs(&in);
        break;
    }
    free(bytes);
    return 0;
}
