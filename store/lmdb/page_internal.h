/* A branch or leaf page of an LMDB file, in memory. */
#ifndef KVFS_STORE_LMDB_PAGE_H
#define KVFS_STORE_LMDB_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct page_node {
    const uint8_t *key, *value;
    size_t key_size, value_size;
    unsigned flags;
    uint64_t child;  /* a branch's */
    size_t at, size; /* of all of it within the page */
};

/* A node of a page; pointers are borrowed from it.
 * returns  false where it does not lie within its page, or is larger than LMDB makes them */
bool page_node(const uint8_t *page, size_t page_size, unsigned index, bool leaf, struct page_node *out);

/* What is wrong with a page that should be page `number` of a tree; NULL: nothing. */
const char *page_wrong(const uint8_t *page, size_t page_size, uint64_t number, bool leaf);

#endif
