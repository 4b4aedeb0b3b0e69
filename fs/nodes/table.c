#include "fs/nodes/table.h"

#include <assert.h>
#include <stdlib.h>

#define TABLE_LEAST 256
#define TABLE_CHAIN 2 /* items for each bucket, before there are more buckets */

void fs_table_init(struct fs_table *table, uint64_t (*hash)(const struct fs_link *item))
{
    *table = (struct fs_table){.hash = hash};
}

void fs_table_free(struct fs_table *table) { free(table->buckets); }

static struct fs_link **table_bucket(struct fs_table *table, uint64_t hash)
{
    return table->size == 0 ? &table->first : &table->buckets[hash & (table->size - 1)];
}

struct fs_link *fs_table_find(const struct fs_table *table, uint64_t hash)
{
    return table->size == 0 ? table->first : table->buckets[hash & (table->size - 1)];
}

static void table_put(struct fs_table *table, struct fs_link *item)
{
    struct fs_link **bucket = table_bucket(table, table->hash(item));

    item->next = *bucket;
    *bucket = item;
}

static void table_grow(struct fs_table *table)
{
    size_t size = table->size > 0 ? 2 * table->size : TABLE_LEAST;
    struct fs_table old = *table;
    struct fs_link *item, *next;

    table->buckets = calloc(size, sizeof(*table->buckets));
    if (table->buckets == NULL) {
        *table = old;
        return;
    }
    table->size = size;
    table->first = NULL;
    for (size_t i = 0; i < (old.size > 0 ? old.size : 1); i++)
        for (item = old.size > 0 ? old.buckets[i] : old.first; item != NULL; item = next) {
            next = item->next;
            table_put(table, item);
        }
    free(old.buckets);
}

void fs_table_add(struct fs_table *table, struct fs_link *item)
{
    if (table->count >= TABLE_CHAIN * table->size)
        table_grow(table);
    table_put(table, item);
    table->count++;
}

void fs_table_remove(struct fs_table *table, struct fs_link *item)
{
    struct fs_link **at = table_bucket(table, table->hash(item));

    while (*at != item) {
        assert(*at != NULL);
        at = &(*at)->next;
    }
    *at = item->next;
    table->count--;
}

struct fs_link *fs_table_next(const struct fs_table *table, size_t *bucket)
{
    struct fs_link *items = NULL;

    if (table->size == 0)
        return (*bucket)++ == 0 ? table->first : NULL;
    while (items == NULL && *bucket < table->size)
        items = table->buckets[(*bucket)++];
    return items;
}
