/* Pages of kv_list() against a sorted array.
 *
 * Input: how many numbered keys there are, a list of other keys, then queries: limit, prefix, cursor. After
 * each query all pages from its prefix on are walked. */
#include "tests/fuzz/base.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEYS_MAX = 700 };

struct text {
    char bytes[2 * KV_KEY_MAX];
};

static char keys[KEYS_MAX][KV_KEY_MAX + 1];
static size_t keys_count;

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

/* A text from the input: u8 shape, then bytes. The shape says how many, whether they become symbols of keys, and
 * whether the last one is repeated up to and beyond the limit. */
static struct text text_of(struct fuzz_input *in)
{
    unsigned shape = fuzz_u8(in);
    size_t size, wanted = shape & 15;
    const uint8_t *bytes = fuzz_bytes(in, wanted, &size);
    struct text text = {""};

    for (size_t i = 0; i < size; i++)
        text.bytes[i] = shape & 16 ? (char)bytes[i] : fuzz_symbols[bytes[i] % 63];
    if (size > 0 && (shape & 0xe0) == 0xe0) {
        size_t full = KV_KEY_MAX - 2 + fuzz_below(in, 5);

        memset(text.bytes + size, text.bytes[size - 1], full - size);
    }
    return text;
}

/* ------------------------------------------------------------------------ the store */

static void add(const char *key)
{
    if (keys_count < KEYS_MAX && kv_name_check(KV_NAME_KEY, key, strlen(key)) == 0)
        strcpy(keys[keys_count++], key);
}

static void choose_keys(struct fuzz_input *in)
{
    size_t many = fuzz_u8(in),
           numbered = many < 250 ? many % 32 : 100 * (many - 249) + 50; /* seldom: they take time */
    size_t others = fuzz_below(in, 40), kept = 0;
    char key[16];

    keys_count = 0;
    for (size_t i = 0; i < numbered; i++) {
        snprintf(key, sizeof(key), "k%zu", i);
        add(key);
    }
    for (size_t i = 0; i < others && in->left > 0; i++) {
        struct text text = text_of(in);

        add(text.bytes);
    }
    qsort(keys, keys_count, sizeof(keys[0]), by_name);
    for (size_t i = 0; i < keys_count; i++)
        if (kept == 0 || strcmp(keys[kept - 1], keys[i]) != 0)
            memmove(keys[kept++], keys[i], sizeof(keys[0]));
    keys_count = kept;
}

static void put_key(struct engine_txn *txn, uint64_t namespace_id, const char *key)
{
    static const struct record_key record = {.meta = {.attr = {.ino = 1}, .version = 1}};
    static struct record_bytes bytes;
    struct name name;

    FUZZ_CHECK(name_of_key(namespace_id, key, strlen(key), &name) == 0);
    record_encode_key(name_slice(&name), &record, &bytes);
    FUZZ_CHECK(txn->ops->put(txn, ENGINE_KEYS, name_slice(&name), slice_of(bytes.data, bytes.size)) == 0);
}

/* A store that has the keys: written without a committer's thread, and opened read-only. */
static struct kv_store *make_store(uint64_t *namespace_id)
{
    struct kv_options options = kv_options_default();
    struct kv_error error;
    struct kv_store *store;
    struct engine *engine;
    struct tx *tx = fuzz_base_begin(&engine);
    uint64_t account_id = fuzz_base_node(tx, KV_ACCOUNT, KV_ROOT_ID, "account", 0);

    *namespace_id = fuzz_base_node(tx, KV_NAMESPACE, account_id, "namespace", 0);
    for (size_t i = 0; i < keys_count; i++)
        put_key(tx->txn, *namespace_id, keys[i]);
    fuzz_base_end(tx);
    options.backend = test_backend(engine);
    options.read_only = true;
    options.cache_bytes = 0;
    FUZZ_CHECK(kv_open("memory", &options, &store, &error) == 0);
    return store;
}

/* ------------------------------------------------------------------------- the model */

static bool is_key_or_empty(const char *text)
{
    return *text == '\0' || kv_name_check(KV_NAME_KEY, text, strlen(text)) == 0;
}

static bool starts_with(const char *key, const char *prefix) { return strncmp(key, prefix, strlen(prefix)) == 0; }

/* The first key at or behind `from` that starts with the prefix, or keys_count. */
static size_t next_key(size_t from, const char *prefix, const char *cursor)
{
    while (from < keys_count && (strcmp(keys[from], cursor) < 0 || !starts_with(keys[from], prefix)))
        from++;
    return from;
}

static void check_page(const struct kv_list *page, const char *prefix, const char *cursor, size_t limit)
{
    size_t at = next_key(0, prefix, cursor), count = 0;

    for (; at < keys_count && count < limit; at = next_key(at + 1, prefix, cursor), count++)
        FUZZ_CHECK(count < page->count && strcmp(page->keys[count], keys[at]) == 0);
    FUZZ_CHECK(page->count == count);
    FUZZ_CHECK(page->complete == (at == keys_count));
    FUZZ_CHECK(strcmp(page->cursor, page->complete ? "" : keys[at]) == 0);
}

static void walk(struct kv_store *store, uint64_t namespace_id, const char *prefix, size_t limit)
{
    char cursor[KV_KEY_MAX + 1] = "";
    size_t at = next_key(0, prefix, "");
    bool complete = false;

    while (!complete) {
        struct kv_list page;

        FUZZ_CHECK(kv_list(store, namespace_id, prefix, cursor, limit, &page) == 0);
        for (size_t i = 0; i < page.count; i++, at = next_key(at + 1, prefix, ""))
            FUZZ_CHECK(at < keys_count && strcmp(page.keys[i], keys[at]) == 0);
        FUZZ_CHECK(page.complete || page.count == limit);
        complete = page.complete;
        memcpy(cursor, page.cursor, sizeof(cursor));
        kv_list_free(&page);
    }
    FUZZ_CHECK(at == keys_count);
}

static void query(struct kv_store *store, uint64_t namespace_id, struct fuzz_input *in)
{
    uint16_t number = fuzz_u16(in);
    size_t limit = number == UINT16_MAX ? SIZE_MAX : number % (KV_LIST_MAX + 4u);
    bool walks = number & 0x8000;
    struct text prefix = text_of(in), cursor = text_of(in);
    bool valid =
        is_key_or_empty(prefix.bytes) && is_key_or_empty(cursor.bytes) && limit >= 1 && limit <= KV_LIST_MAX;
    struct kv_list page;
    int rc = kv_list(store, namespace_id, prefix.bytes, cursor.bytes, limit, &page);

    FUZZ_CHECK(rc == (valid ? 0 : -EINVAL));
    if (!valid)
        return;
    check_page(&page, prefix.bytes, cursor.bytes, limit);
    kv_list_free(&page);
    if (walks && limit >= 16)
        walk(store, namespace_id, prefix.bytes, limit);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct kv_store *store;
    uint64_t namespace_id;

    choose_keys(&in);
    store = make_store(&namespace_id);
    for (int i = 0; i < 16 && in.left > 0; i++)
        query(store, namespace_id, &in);
    kv_close(store);
    return 0;
}
