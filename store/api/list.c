#include "store/api/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_FULL = 1, PAST_PREFIX };

struct page {
    const char *prefix;
    size_t prefix_size;
    size_t limit;
    struct kv_list list;
};

static int add_key(void *arg, const char *key, size_t size, const struct kv_meta *meta)
{
    struct page *page = arg;

    (void)meta;
    if (strncmp(key, page->prefix, page->prefix_size) != 0)
        return PAST_PREFIX;
    if (page->list.count == page->limit) {
        memcpy(page->list.cursor, key, size + 1);
        return PAGE_FULL;
    }
    memcpy(page->list.keys[page->list.count++], key, size + 1);
    return 0;
}

static int check(const char *text)
{
    return *text == '\0' || kv_name_check(KV_NAME_KEY, text, strlen(text)) == 0 ? 0 : -EINVAL;
}

int kv_list(struct kv_store *store, uint64_t namespace_id, const char *prefix, const char *cursor, size_t limit,
            struct kv_list *out)
{
    struct page page = {.prefix = prefix != NULL ? prefix : "", .limit = limit};
    const char *from = cursor != NULL ? cursor : "";
    int rc;

    if (limit < 1 || limit > KV_LIST_MAX || check(page.prefix) < 0 || check(from) < 0)
        return -EINVAL;
    page.prefix_size = strlen(page.prefix);
    if (strcmp(from, page.prefix) < 0)
        from = page.prefix;
    page.list.keys = malloc(limit * sizeof(*page.list.keys));
    if (page.list.keys == NULL)
        return -ENOMEM;
    rc = kv_scan(store, namespace_id, from, strlen(from), false, add_key, &page);
    if (rc == PAST_PREFIX && store->backend->damaged)
        rc = -EIO; /* as at the end of a namespace */
    if (rc < 0) {
        kv_list_free(&page.list);
        return rc;
    }
    page.list.complete = rc != PAGE_FULL;
    *out = page.list;
    return 0;
}

void kv_list_free(struct kv_list *list)
{
    free(list->keys);
    list->keys = NULL;
}
