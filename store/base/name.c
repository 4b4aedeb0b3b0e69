#include "store/base/name.h"

#include <errno.h>
#include <string.h>

enum { EXPIRY_HEAD = 16 }; /* of an entry of the index: before the key's own name */

enum alphabet { ALPHABET_KEY, ALPHABET_NAME, ALPHABET_VARIABLE };

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_letter(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }

static bool is_allowed(enum alphabet alphabet, char c, bool first)
{
    if (is_letter(c) || c == '_')
        return true;
    if (is_digit(c))
        return alphabet != ALPHABET_VARIABLE || !first;
    return c == '-' && alphabet == ALPHABET_NAME && !first;
}

int kv_name_check(enum kv_name_kind kind, const char *name, size_t size)
{
    enum alphabet alphabet = kind == KV_NAME_KEY        ? ALPHABET_KEY
                             : kind == KV_NAME_VARIABLE ? ALPHABET_VARIABLE
                                                        : ALPHABET_NAME;

    if (size == 0)
        return -EINVAL;
    for (size_t i = 0; i < size; i++)
        if (!is_allowed(alphabet, name[i], i == 0))
            return -EINVAL;
    return size <= (kind == KV_NAME_KEY ? KV_KEY_MAX : KV_NAME_MAX) ? 0 : -ENAMETOOLONG;
}

const char *kv_name_rule(enum kv_name_kind kind)
{
    switch (kind) {
    case KV_NAME_KEY:
        return "a key is 1 to 512 letters, digits or underscores";
    case KV_NAME_ACCOUNT:
        return "an account's name is 1 to 64 letters, digits, '_' or '-', and does not start with '-'";
    case KV_NAME_NAMESPACE:
        return "a namespace's name is 1 to 64 letters, digits, '_' or '-', and does not start with '-'";
    case KV_NAME_PROJECT:
        return "a project's name is 1 to 64 letters, digits, '_' or '-', and does not start with '-'";
    case KV_NAME_VARIABLE:
        return "a variable is 1 to 64 letters, digits or underscores, not starting with a digit, and none that "
               "programs obey (PATH)";
    }
    return "";
}

bool name_is_of(enum kv_node_kind kind, const char *name, size_t size)
{
    switch (kind) {
    case KV_ROOT:
        return size == 0;
    case KV_ACCOUNT:
        return kv_name_check(KV_NAME_ACCOUNT, name, size) == 0;
    case KV_NAMESPACE:
        return kv_name_check(KV_NAME_NAMESPACE, name, size) == 0;
    case KV_PROJECTS:
        return size == strlen(NAME_PROJECTS) && memcmp(name, NAME_PROJECTS, size) == 0;
    case KV_PROJECT:
        return kv_name_check(KV_NAME_PROJECT, name, size) == 0;
    case KV_BINDING:
        return kv_name_check(KV_NAME_VARIABLE, name, size) == 0;
    }
    return false;
}

/* 1 to 63 in ASCII order of the symbols; 0 for what is no symbol. */
static unsigned code_of(char c)
{
    if (is_digit(c))
        return (unsigned)(c - '0') + 1;
    if (c >= 'A' && c <= 'Z')
        return (unsigned)(c - 'A') + 11;
    if (c == '_')
        return 37;
    if (c >= 'a' && c <= 'z')
        return (unsigned)(c - 'a') + 38;
    return 0;
}

int name_pack(const char *key, size_t size, uint8_t *out)
{
    unsigned bits = 0, held = 0; /* the low `held` bits of `bits` are not written yet */
    size_t at = 0;

    if (size == 0 || size > KV_KEY_MAX)
        return -EINVAL;
    for (size_t i = 0; i < size; i++) {
        unsigned code = code_of(key[i]);

        if (code == 0)
            return -EINVAL;
        bits = bits << 6 | code;
        held += 6;
        if (held >= 8) {
            held -= 8;
            out[at++] = (uint8_t)(bits >> held);
        }
    }
    if (held > 0)
        out[at++] = (uint8_t)(bits << (8 - held));
    return (int)at;
}

int name_unpack(const uint8_t *packed, size_t size, char *key)
{
    static const char symbols[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
    unsigned bits = 0, held = 0;
    size_t count = 0, at = 0;

    for (;;) {
        unsigned code;

        if (held < 6) {
            if (at == size)
                break;
            bits = bits << 8 | packed[at++];
            held += 8;
        }
        held -= 6;
        code = bits >> held & 63;
        if (code == 0 || count == KV_KEY_MAX)
            break;
        key[count++] = symbols[code - 1];
    }
    /* Whatever is left must be the padding that name_pack() makes. */
    if (count == 0 || at != size || size != (count * 6 + 7) / 8 || (bits & ((1u << held) - 1)) != 0)
        return -EIO;
    key[count] = '\0';
    return (int)count;
}

void name_put_u64(uint8_t *to, uint64_t value)
{
    for (int i = 7; i >= 0; i--, value >>= 8)
        to[i] = (uint8_t)value;
}

uint64_t name_get_u64(const uint8_t *from)
{
    uint64_t value = 0;

    for (int i = 0; i < 8; i++)
        value = value << 8 | from[i];
    return value;
}

int name_of_key(uint64_t namespace_id, const char *key, size_t size, struct name *out)
{
    int packed = 0;

    name_put_u64(out->data, namespace_id);
    if (size > 0) {
        packed = name_pack(key, size, out->data + 8);
        if (packed < 0)
            return packed;
    }
    out->size = 8 + (size_t)packed;
    return 0;
}

int name_split_key(struct slice name, char *key)
{
    return name.size > 8 ? name_unpack((const uint8_t *)name.data + 8, name.size - 8, key) : -EIO;
}

void name_of_expiry(int64_t expires_ns, struct slice key, struct name *out)
{
    name_put_u64(out->data, 0);
    name_put_u64(out->data + 8, (uint64_t)expires_ns);
    memcpy(out->data + EXPIRY_HEAD, key.data, key.size);
    out->size = EXPIRY_HEAD + key.size;
}

bool name_is_expiry(struct slice name) { return name.size >= 8 && name_get_u64(name.data) == 0; }

int name_split_expiry(struct slice name, int64_t *expires_ns, struct slice *key)
{
    const uint8_t *at = name.data;
    char symbols[KV_KEY_MAX + 1];

    if (name.size <= EXPIRY_HEAD + 8 || !name_is_expiry(name) || (int64_t)name_get_u64(at + 8) <= 0 ||
        name_unpack(at + EXPIRY_HEAD + 8, name.size - EXPIRY_HEAD - 8, symbols) < 0)
        return -EIO;
    *expires_ns = (int64_t)name_get_u64(at + 8);
    *key = slice_of(at + EXPIRY_HEAD, name.size - EXPIRY_HEAD);
    return 0;
}

void name_of_child(uint64_t parent, const char *child, size_t size, struct name *out)
{
    name_put_u64(out->data, parent);
    if (size > 0)
        memcpy(out->data + 8, child, size);
    out->size = 8 + size;
}

bool name_leads_to(struct slice name, const struct kv_node *node)
{
    struct name own;

    name_of_child(node->parent, node->name, strlen(node->name), &own);
    return name.size == own.size && memcmp(name.data, own.data, own.size) == 0;
}

void name_of_setting(const char *text, struct name *out)
{
    out->size = strlen(text);
    memcpy(out->data, text, out->size);
}

void name_of_node(uint64_t id, struct name *out)
{
    name_put_u64(out->data, id);
    out->size = 8;
}

void name_of_chunk(uint64_t version, uint32_t number, struct name *out)
{
    name_put_u64(out->data, version);
    for (int i = 3; i >= 0; i--, number >>= 8)
        out->data[8 + i] = (uint8_t)number;
    out->size = 12;
}

static struct kv_ref ref_of(uint64_t node, const char *key, size_t size)
{
    struct kv_ref ref;

    ref.node = node;
    ref.size = size <= KV_KEY_MAX ? size : KV_KEY_MAX;
    if (ref.size > 0)
        memcpy(ref.key, key, ref.size);
    ref.key[ref.size] = '\0';
    return ref;
}

struct kv_ref kv_ref_key(uint64_t namespace_id, const char *key, size_t size)
{
    return ref_of(namespace_id, key, size);
}

struct kv_ref kv_ref_node(uint64_t node_id) { return ref_of(node_id, NULL, 0); }

bool kv_ref_same(const struct kv_ref *a, const struct kv_ref *b)
{
    return a->node == b->node && a->size == b->size && memcmp(a->key, b->key, a->size) == 0;
}
