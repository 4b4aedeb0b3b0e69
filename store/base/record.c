#include "store/base/record.h"

#include "store/base/name.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <xxhash.h>

enum { FORMAT_KEY = 0x6b, FORMAT_NODE = 0x6e };

static void put_bytes(struct record_bytes *out, const void *bytes, size_t size)
{
    if (size > 0)
        memcpy(out->data + out->size, bytes, size);
    out->size += size;
}

static void put_uint(struct record_bytes *out, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++, value >>= 8)
        out->data[out->size++] = (uint8_t)value;
}

/* Bytes still to decode. Reading past the end sets `bad` and gives zeros. */
struct reader {
    const uint8_t *at;
    size_t left;
    bool bad;
};

static inline struct slice get_bytes(struct reader *in, size_t size)
{
    struct slice bytes = slice_of(in->at, size);

    if (in->left < size) {
        in->bad = true;
        return slice_of(NULL, 0);
    }
    in->at += size;
    in->left -= size;
    return bytes;
}

static inline void get_uint(struct reader *in, void *out, size_t bytes)
{
    const void *from = get_bytes(in, bytes).data;

    if (from != NULL)
        memcpy(out, from, bytes);
}

static uint8_t get_u8(struct reader *in)
{
    uint8_t value = 0;

    get_uint(in, &value, sizeof(value));
    return value;
}

static uint16_t get_u16(struct reader *in)
{
    uint16_t value = 0;

    get_uint(in, &value, sizeof(value));
    return le16toh(value);
}

static inline uint32_t get_u32(struct reader *in)
{
    uint32_t value = 0;

    get_uint(in, &value, sizeof(value));
    return le32toh(value);
}

static inline uint64_t get_u64(struct reader *in)
{
    uint64_t value = 0;

    get_uint(in, &value, sizeof(value));
    return le64toh(value);
}

static void put_attr(struct record_bytes *out, const struct kv_attr *attr)
{
    put_uint(out, attr->ino, 8);
    put_uint(out, attr->mode, 4);
    put_uint(out, attr->uid, 4);
    put_uint(out, attr->gid, 4);
    put_uint(out, (uint64_t)attr->atime_ns, 8);
    put_uint(out, (uint64_t)attr->mtime_ns, 8);
    put_uint(out, (uint64_t)attr->ctime_ns, 8);
    put_uint(out, (uint64_t)attr->btime_ns, 8);
}

static void get_attr(struct reader *in, struct kv_attr *attr)
{
    attr->ino = get_u64(in);
    attr->mode = get_u32(in);
    attr->uid = get_u32(in);
    attr->gid = get_u32(in);
    attr->atime_ns = (int64_t)get_u64(in);
    attr->mtime_ns = (int64_t)get_u64(in);
    attr->ctime_ns = (int64_t)get_u64(in);
    attr->btime_ns = (int64_t)get_u64(in);
    if (attr->ino == 0 || attr->mode > 07777)
        in->bad = true;
}

/* --------------------------------------------------------------------- seals */

/* The table seeds the hash of the name, and that the hash of the bytes. */
static uint64_t seal_of(enum engine_table table, struct slice name, struct slice bytes)
{
    uint64_t seed = XXH3_64bits_withSeed(name.size > 0 ? name.data : "", name.size, (uint64_t)table);

    return XXH3_64bits_withSeed(bytes.size > 0 ? bytes.data : "", bytes.size, seed);
}

void record_seal(enum engine_table table, struct slice name, struct record_bytes *record)
{
    put_uint(record, seal_of(table, name, record_slice(record)), RECORD_SEAL);
}

/* The bytes from `start` up to where `in` is now are followed by their seal. */
static void check_seal(struct reader *in, enum engine_table table, struct slice name, const void *start)
{
    struct slice sealed = slice_of(start, (size_t)(in->at - (const uint8_t *)start));
    uint64_t seal = get_u64(in);

    if (in->bad || seal != seal_of(table, name, sealed))
        in->bad = true;
}

int record_unseal(enum engine_table table, struct slice name, struct slice record, struct slice *out)
{
    struct reader in = {record.data, record.size, false};
    struct slice bytes;

    if (record.size < RECORD_SEAL)
        return -EIO;
    bytes = get_bytes(&in, record.size - RECORD_SEAL);
    check_seal(&in, table, name, record.data);
    if (in.bad)
        return -EIO;
    *out = bytes;
    return 0;
}

/* ---------------------------------------------------------------- attributes */

static void put_xattrs(struct record_bytes *out, struct slice xattrs)
{
    put_uint(out, xattrs.size, 2);
    put_bytes(out, xattrs.data, xattrs.size);
}

/* Steps through an encoded set. returns 0 and the bytes of all names and values; -EIO bytes that are no entry */
static int sum_xattrs(struct slice encoded, uint64_t *sum)
{
    struct reader in = {encoded.data, encoded.size, false};

    *sum = 0;
    while (in.left > 0 && !in.bad) {
        size_t name_size = get_u8(&in), value_size = get_u16(&in);

        (void)get_bytes(&in, name_size + value_size);
        *sum += name_size + value_size;
    }
    return in.bad || encoded.size > sizeof(((struct kv_xattrs *)0)->data) ? -EIO : 0;
}

static struct slice get_xattrs(struct reader *in)
{
    struct slice xattrs = get_bytes(in, get_u16(in));
    uint64_t sum;

    if (sum_xattrs(xattrs, &sum) < 0)
        in->bad = true;
    return xattrs;
}

int record_xattrs(struct slice encoded, struct kv_xattrs *out)
{
    uint64_t sum;

    if (sum_xattrs(encoded, &sum) < 0)
        return -EIO;
    out->size = encoded.size;
    if (encoded.size > 0)
        memcpy(out->data, encoded.data, encoded.size);
    return 0;
}

/* ---------------------------------------------------------------------- keys */

void record_encode_key(struct slice name, const struct record_key *key, struct record_bytes *out)
{
    out->size = 0;
    put_uint(out, FORMAT_KEY, 1);
    put_attr(out, &key->meta.attr);
    put_uint(out, key->meta.version, 8);
    put_uint(out, key->meta.size, 8);
    put_uint(out, key->checksum, 8);
    put_uint(out, key->meta.expires_ns != 0 ? key->cut | RECORD_EXPIRES : key->cut, 1);
    if (key->meta.expires_ns != 0)
        put_uint(out, (uint64_t)key->meta.expires_ns, 8);
    put_xattrs(out, key->xattrs);
    record_seal(ENGINE_KEYS, name, out);
    put_bytes(out, key->inlined.data, key->inlined.size);
}

static void get_expiry(struct reader *in, struct record_key *key)
{
    key->cut &= (uint8_t)~RECORD_EXPIRES;
    key->meta.expires_ns = (int64_t)get_u64(in);
    if (key->meta.expires_ns <= 0)
        in->bad = true;
}

int record_decode_named_key(struct slice name, struct slice bytes, char *text, struct record_key *out)
{
    struct reader in = {bytes.data, bytes.size, false};
    int text_size = name_split_key(name, text);
    struct record_key key = {0};
    bool is_inline;

    if (get_u8(&in) != FORMAT_KEY)
        return -EIO;
    get_attr(&in, &key.meta.attr);
    key.meta.version = get_u64(&in);
    key.meta.size = get_u64(&in);
    key.checksum = get_u64(&in);
    key.cut = get_u8(&in);
    if (key.cut & RECORD_EXPIRES)
        get_expiry(&in, &key);
    key.xattrs = get_xattrs(&in);
    key.meta.has_xattrs = key.xattrs.size > 0;
    check_seal(&in, ENGINE_KEYS, name, bytes.data);
    key.inlined = slice_of(in.at, in.left);
    is_inline = key.meta.size <= RECORD_INLINE_MAX;
    if (in.bad || text_size < 0 || key.meta.version == 0 || key.meta.size > KV_VALUE_MAX ||
        key.cut >= (is_inline ? 1 : RECORD_CUTS) || key.inlined.size != (is_inline ? key.meta.size : 0))
        return -EIO;
    *out = key;
    return text_size;
}

int record_decode_key(struct slice name, struct slice bytes, struct record_key *out)
{
    char text[KV_KEY_MAX + 1];
    int size = record_decode_named_key(name, bytes, text, out);

    return size < 0 ? size : 0;
}

uint64_t record_charge(size_t key_size, const struct record_key *key)
{
    uint64_t sum;

    return sum_xattrs(key->xattrs, &sum) == 0 ? key_size + key->meta.size + sum : key_size + key->meta.size;
}

int record_count_key(struct slice name, struct slice bytes, struct record_key *out, uint64_t *charge)
{
    char key[KV_KEY_MAX + 1];
    int size = record_decode_named_key(name, bytes, key, out);

    *charge = size > 0 ? record_charge((size_t)size, out) : 0;
    return size < 0 ? size : 0;
}

/* --------------------------------------------------------------------- nodes */

void record_encode_node(struct slice name, const struct record_node *record, struct record_bytes *out)
{
    const struct kv_node *node = &record->node;
    size_t name_size = strlen(node->name);

    out->size = 0;
    put_uint(out, FORMAT_NODE, 1);
    put_uint(out, node->kind, 1);
    put_uint(out, node->id, 8);
    put_uint(out, node->parent, 8);
    put_attr(out, &node->attr);
    put_uint(out, node->keys, 8);
    put_uint(out, node->bytes, 8);
    put_uint(out, node->children, 8);
    put_uint(out, node->bindings, 8);
    put_uint(out, node->limit_bytes, 8);
    put_uint(out, node->limit_namespaces, 8);
    put_uint(out, node->limit_keys, 8);
    put_uint(out, node->limit_bindings, 8);
    put_uint(out, node->target, 8);
    put_uint(out, name_size, 1);
    put_bytes(out, node->name, name_size);
    put_xattrs(out, record->xattrs);
    record_seal(ENGINE_NODES, name, out);
}

static void get_counts(struct reader *in, struct kv_node *node)
{
    node->keys = get_u64(in);
    node->bytes = get_u64(in);
    node->children = get_u64(in);
    node->bindings = get_u64(in);
    node->limit_bytes = get_u64(in);
    node->limit_namespaces = get_u64(in);
    node->limit_keys = get_u64(in);
    node->limit_bindings = get_u64(in);
}

int record_decode_node(struct slice name, struct slice bytes, struct record_node *out)
{
    struct reader in = {bytes.data, bytes.size, false};
    struct record_node record = {0};
    struct kv_node *node = &record.node;
    struct slice text;
    unsigned kind;

    if (get_u8(&in) != FORMAT_NODE)
        return -EIO;
    kind = get_u8(&in);
    node->kind = (enum kv_node_kind)kind;
    node->id = get_u64(&in);
    node->parent = get_u64(&in);
    get_attr(&in, &node->attr);
    get_counts(&in, node);
    node->target = get_u64(&in);
    text = get_bytes(&in, get_u8(&in));
    record.xattrs = get_xattrs(&in);
    node->has_xattrs = record.xattrs.size > 0;
    check_seal(&in, ENGINE_NODES, name, bytes.data);
    if (in.bad || in.left > 0 || kind < KV_ROOT || kind > KV_BINDING || node->id == 0 ||
        node->id != node->attr.ino || name.size != 8 || name_get_u64(name.data) != node->id ||
        !name_is_of(node->kind, text.data, text.size))
        return -EIO;
    if (text.size > 0)
        memcpy(node->name, text.data, text.size);
    *out = record;
    return 0;
}

/* ------------------------------------------------------------------- numbers */

/* Big endian, as the numbers in names are. */
void record_encode_number(enum engine_table table, struct slice name, uint64_t number, struct record_bytes *out)
{
    name_put_u64(out->data, number);
    out->size = 8;
    record_seal(table, name, out);
}

int record_decode_number(enum engine_table table, struct slice name, struct slice bytes, uint64_t *out)
{
    struct slice number;

    if (record_unseal(table, name, bytes, &number) < 0 || number.size != 8)
        return -EIO;
    *out = name_get_u64(number.data);
    return 0;
}

void record_encode_empty(enum engine_table table, struct slice name, struct record_bytes *out)
{
    out->size = 0;
    record_seal(table, name, out);
}

int record_decode_empty(enum engine_table table, struct slice name, struct slice bytes)
{
    struct slice rest;

    return record_unseal(table, name, bytes, &rest) < 0 || rest.size != 0 ? -EIO : 0;
}

/* -------------------------------------------------------------------- values */

size_t record_chunk_most(uint8_t cut) { return ((RECORD_CHUNK + 16) >> 2 * cut) - 16; }

uint32_t record_chunks(uint64_t size, uint8_t cut)
{
    size_t most = record_chunk_most(cut);

    return size <= RECORD_INLINE_MAX ? 0 : (uint32_t)((size + most - 1) / most);
}

size_t record_chunk_size(uint64_t size, uint8_t cut, uint32_t number)
{
    size_t most = record_chunk_most(cut);
    uint64_t left = size - (uint64_t)number * most;

    return left < most ? (size_t)left : most;
}

uint64_t record_checksum(const void *bytes, size_t size) { return XXH3_64bits(size > 0 ? bytes : "", size); }
