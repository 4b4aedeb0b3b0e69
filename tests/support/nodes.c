#include "tests/support/nodes.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define CONTENT_MAX 10000u

struct content {
    uint64_t serial, checksum; /* of what follows */
};

size_t test_content_size(uint64_t serial)
{
    uint64_t mixed = serial * 0x9e3779b97f4a7c15u >> 32;

    return sizeof(struct content) +
           (mixed % 61 == 0 ? mixed % (CONTENT_MAX - sizeof(struct content)) : mixed % 400);
}

struct kv_value *test_content(uint64_t serial)
{
    size_t size = test_content_size(serial);
    struct content *content;
    struct kv_value *value;

    if (kv_value_new(size, &value) < 0)
        abort();
    content = (struct content *)value->data;
    content->serial = serial;
    memset(content + 1, (int)(serial % 251), size - sizeof(*content));
    content->checksum = XXH3_64bits_withSeed(content + 1, size - sizeof(*content), serial);
    return value;
}

uint64_t test_content_serial(const struct kv_value *value)
{
    struct content head;

    if (value->size < sizeof(head))
        return 0;
    memcpy(&head, value->data, sizeof(head));
    if (value->size != test_content_size(head.serial) ||
        head.checksum != XXH3_64bits_withSeed(value->data + sizeof(head), value->size - sizeof(head), head.serial))
        return 0;
    return head.serial;
}

void test_make_namespaces(struct kv_store *store, size_t count, uint64_t *ids)
{
    struct kv_node account, namespace;

    assert_int_equal(kv_node_make(store, KV_ACCOUNT, KV_ROOT_ID, "acme", 0, &account), 0);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(
            kv_node_make(store, KV_NAMESPACE, account.id, (char[]){(char)('m' + i), '\0'}, 0, &namespace), 0);
        ids[i] = namespace.id;
    }
}
