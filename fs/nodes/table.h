/* Hash tables that take 8 bytes of an item, and as much or less for their own. There are two for each
 * key that the kernel knows. nodes->lock guards them. */
#ifndef KVFS_FS_NODES_TABLE_H
#define KVFS_FS_NODES_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In each item of a table. */
struct fs_link {
    struct fs_link *next; /* with the same bucket */
};

struct fs_table {
    size_t count, size; /* items; buckets: a power of 2, or 0 */
    struct fs_link **buckets;
    struct fs_link *first; /* the bucket where there is no memory for any */
    uint64_t (*hash)(const struct fs_link *item);
};

/* An empty table, of items with this hash. */
void fs_table_init(struct fs_table *table, uint64_t (*hash)(const struct fs_link *item));
/* Of an empty table, too. */
void fs_table_free(struct fs_table *table);
/* The items that can have a hash, one behind the other. */
struct fs_link *fs_table_find(const struct fs_table *table, uint64_t hash);
/* Never fails: without memory the chains get longer. */
void fs_table_add(struct fs_table *table, struct fs_link *item);
void fs_table_remove(struct fs_table *table, struct fs_link *item);
/* Items in no order: *bucket starts at 0; those that were added meanwhile may be left out.
 * returns  all items of the next bucket that has any; NULL: there are no more */
struct fs_link *fs_table_next(const struct fs_table *table, size_t *bucket);

/* The item that a link is a member of. */
#define FS_TABLE_ITEM(link, type, member) \
    ((link) == NULL ? NULL : (type *)(void *)((char *)(link)-offsetof(type, member)))

#endif
