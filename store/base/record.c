#include "store/base/record.h"

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

static struct slice get_bytes(struct reader *in, size_t size)
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

static uint64_t get_uint(struct reader *in, int bytes)
{
    const uint8_t *from = get_bytes(in, (size_t)bytes).data;
    uint64_t value = 0;

    for (int i = bytes - 1; from != NULL && i >= 0; i--)
        value = value << 8 | from[i];
    return value;
}

static uint32_t get_u32(struct reader *in) { return (uint32_t)get_uint(in, 4); }
static uint64_t get_u64(struct reader *in) { return get_uint(in, 8); }

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

static void put_xattrs(struct record_bytes *out, struct slice xattrs)
{
    put_uint(out, xattrs.size, 2);
    put_bytes(out, xattrs.data, xattrs.size);
}

static struct slice get_xattrs(struct reader *in)
{
    struct slice xattrs = get_bytes(in, get_uint(in, 2));

    if (xattrs.size > sizeof(((struct kv_xattrs *)0)->data))
        in->bad = true;
    return xattrs;
}

void record_encode_key(const struct record_key *key, struct record_bytes *out)
{
    out->size = 0;
    put_uint(out, FORMAT_KEY, 1);
    put_attr(out, &key->meta.attr);
    put_uint(out, key->meta.version, 8);
    put_uint(out, key->meta.size, 8);
    put_uint(out, key->checksum, 8);
    put_uint(out, key->cut, 1);
    put_xattrs(out, key->xattrs);
    put_bytes(out, key->inlined.data, key->inlined.size);
}

int record_decode_key(struct slice bytes, struct record_key *out)
{
    struct reader in = {bytes.data, bytes.size, false};
    struct record_key key = {0};

    if (get_uint(&in, 1) != FORMAT_KEY)
        return -EIO;
    get_attr(&in, &key.meta.attr);
    key.meta.version = get_u64(&in);
    key.meta.size = get_u64(&in);
    key.checksum = get_u64(&in);
    key.cut = (uint8_t)get_uint(&in, 1);
    key.xattrs = get_xattrs(&in);
    key.meta.has_xattrs = key.xattrs.size > 0;
    key.inlined = slice_of(in.at, in.left);
    if (in.bad || key.meta.version == 0 || key.meta.size > KV_VALUE_MAX ||
        key.cut >= (key.meta.size <= RECORD_INLINE_MAX ? 1 : RECORD_CUTS) ||
        key.inlined.size != (key.meta.size <= RECORD_INLINE_MAX ? key.meta.size : 0))
        return -EIO;
    *out = key;
    return 0;
}

void record_encode_node(const struct record_node *record, struct record_bytes *out)
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
    put_uint(out, node->limit_bytes, 8);
    put_uint(out, node->limit_namespaces, 8);
    put_uint(out, node->target, 8);
    put_uint(out, name_size, 1);
    put_bytes(out, node->name, name_size);
    put_xattrs(out, record->xattrs);
}

int record_decode_node(struct slice bytes, struct record_node *out)
{
    struct reader in = {bytes.data, bytes.size, false};
    struct record_node record = {0};
    struct kv_node *node = &record.node;
    struct slice name;
    unsigned kind;

    if (get_uint(&in, 1) != FORMAT_NODE)
        return -EIO;
    kind = (unsigned)get_uint(&in, 1);
    node->kind = (enum kv_node_kind)kind;
    node->id = get_u64(&in);
    node->parent = get_u64(&in);
    get_attr(&in, &node->attr);
    node->keys = get_u64(&in);
    node->bytes = get_u64(&in);
    node->children = get_u64(&in);
    node->limit_bytes = get_u64(&in);
    node->limit_namespaces = get_u64(&in);
    node->target = get_u64(&in);
    name = get_bytes(&in, get_uint(&in, 1));
    record.xattrs = get_xattrs(&in);
    node->has_xattrs = record.xattrs.size > 0;
    if (in.bad || in.left > 0 || kind < KV_ROOT || kind > KV_BINDING || node->id == 0 ||
        node->id != node->attr.ino || name.size > KV_NAME_MAX ||
        (name.size > 0 && memchr(name.data, '\0', name.size) != NULL))
        return -EIO;
    if (name.size > 0)
        memcpy(node->name, name.data, name.size);
    *out = record;
    return 0;
}

int record_xattrs(struct slice encoded, struct kv_xattrs *out)
{
    struct kv_xattrs set;
    const char *name;
    const void *value;
    size_t pos = 0, name_size, value_size;

    if (encoded.size > sizeof(set.data))
        return -EIO;
    set.size = encoded.size;
    if (encoded.size > 0)
        memcpy(set.data, encoded.data, encoded.size);
    while (kv_xattrs_next(&set, &pos, &name, &name_size, &value, &value_size))
        ;
    if (pos != set.size)
        return -EIO;
    out->size = set.size;
    memcpy(out->data, set.data, set.size);
    return 0;
}

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
