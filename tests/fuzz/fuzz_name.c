/* Names: their rules, and the packing of keys.
 *
 * Input: a mode, the size of the first name, then the bytes of two names. */
#include "store/base/name.h"

#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MODE_RAW, MODE_SYMBOLS, MODE_REPEATED, MODES };

/* Bytes of the input as a name: as they are, as symbols of keys, or so repeated that limits are passed. */
struct text {
    char bytes[2 * KV_KEY_MAX];
    size_t size;
};

static struct text text_of(unsigned mode, const uint8_t *bytes, size_t size)
{
    struct text text = {.size = 0};
    size_t wanted = mode == MODE_REPEATED && size > 0 ? size * (1 + bytes[0] % 64u) : size;

    for (; text.size < wanted && text.size < sizeof(text.bytes); text.size++) {
        uint8_t byte = bytes[text.size % size];

        text.bytes[text.size] = mode == MODE_RAW ? (char)byte : fuzz_symbols[byte % 63];
    }
    return text;
}

static bool is_made_of(const char *name, size_t size, const char *symbols, bool hyphen)
{
    for (size_t i = 0; i < size; i++)
        if (name[i] == '\0' || (strchr(symbols, name[i]) == NULL && !(hyphen && name[i] == '-' && i > 0)))
            return false;
    return size > 0;
}

/* The rules once more. */
static int rule(enum kv_name_kind kind, const char *name, size_t size)
{
    bool is_key = kind == KV_NAME_KEY, is_variable = kind == KV_NAME_VARIABLE;

    if (!is_made_of(name, size, fuzz_symbols, !is_key && !is_variable))
        return -EINVAL;
    if (is_variable && name[0] >= '0' && name[0] <= '9')
        return -EINVAL;
    return size > (is_key ? 512 : 64) ? -ENAMETOOLONG : 0;
}

static int order_of(const void *a, size_t a_size, const void *b, size_t b_size)
{
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);

    if (order == 0)
        return (a_size > b_size) - (a_size < b_size);
    return order < 0 ? -1 : 1;
}

/* Pack a key and unpack it again. returns  the size, or -EINVAL */
static int pack(const struct text *text, uint8_t *out)
{
    char *key = fuzz_copy(text->bytes, text->size), unpacked[KV_KEY_MAX + 1];
    int size = name_pack(key, text->size, out);

    FUZZ_CHECK((size < 0) == (rule(KV_NAME_KEY, key, text->size) != 0));
    if (size < 0) {
        FUZZ_CHECK(size == -EINVAL);
    } else {
        FUZZ_CHECK((size_t)size == (text->size * 6 + 7) / 8);
        FUZZ_CHECK(name_unpack(out, (size_t)size, unpacked) == (int)text->size);
        FUZZ_CHECK(memcmp(unpacked, key, text->size) == 0 && unpacked[text->size] == '\0');
    }
    free(key);
    return size;
}

/* Bytes are either what name_pack() makes of the key that they unpack to, or refused. */
static void unpack(const uint8_t *bytes, size_t size)
{
    uint8_t *packed = fuzz_copy(bytes, size), again[NAME_PACKED_MAX];
    char key[KV_KEY_MAX + 1];
    int rc = name_unpack(packed, size, key);

    if (rc < 0) {
        FUZZ_CHECK(rc == -EIO);
    } else {
        FUZZ_CHECK(rc >= 1 && rc <= KV_KEY_MAX && strlen(key) == (size_t)rc);
        FUZZ_CHECK(name_pack(key, (size_t)rc, again) == (int)size && memcmp(again, packed, size) == 0);
    }
    free(packed);
}

static void check_rules(const struct text *text)
{
    char *name = fuzz_copy(text->bytes, text->size);

    for (enum kv_name_kind kind = KV_NAME_KEY; kind <= KV_NAME_VARIABLE; kind++)
        FUZZ_CHECK(kv_name_check(kind, name, text->size) == rule(kind, name, text->size));
    free(name);
}

/* Records of one namespace lie in the order of their keys, and all of them behind those of a smaller id. */
static void check_order(const struct text *a, const struct text *b, uint64_t a_id, uint64_t b_id)
{
    int order = a_id != b_id ? (a_id < b_id ? -1 : 1) : order_of(a->bytes, a->size, b->bytes, b->size);
    struct name a_name, b_name;

    FUZZ_CHECK(name_of_key(a_id, a->bytes, a->size, &a_name) == 0);
    FUZZ_CHECK(name_of_key(b_id, b->bytes, b->size, &b_name) == 0);
    FUZZ_CHECK(a_name.size <= ENGINE_KEY_MAX && name_get_u64(a_name.data) == a_id);
    FUZZ_CHECK(order_of(a_name.data, a_name.size, b_name.data, b_name.size) == order);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    unsigned mode = fuzz_below(&in, MODES);
    uint64_t a_id = fuzz_u8(&in), b_id = fuzz_u8(&in);
    size_t a_size, b_size;
    const uint8_t *a_bytes = fuzz_bytes(&in, fuzz_u16(&in), &a_size);
    const uint8_t *b_bytes = fuzz_bytes(&in, in.left, &b_size);
    struct text a = text_of(mode, a_bytes, a_size), b = text_of(mode, b_bytes, b_size);
    uint8_t a_packed[NAME_PACKED_MAX], b_packed[NAME_PACKED_MAX];
    int a_rc = pack(&a, a_packed), b_rc = pack(&b, b_packed);

    check_rules(&a);
    check_rules(&b);
    unpack(a_bytes, a_size);
    unpack(b_bytes, b_size);
    if (a_rc >= 0 && b_rc >= 0) {
        check_order(&a, &b, a_id, b_id);
        check_order(&a, &b, a_id << 56, b_id);
        FUZZ_CHECK(order_of(a_packed, (size_t)a_rc, b_packed, (size_t)b_rc) ==
                   order_of(a.bytes, a.size, b.bytes, b.size));
    }
    return 0;
}
