/* Private to names/: one page of a listing, found before any of it is given. */
#ifndef KVFS_FS_NAMES_LISTING_INTERNAL_H
#define KVFS_FS_NAMES_LISTING_INTERNAL_H

#include "fs/nodes/inode.h"

enum listing_kind {
    LISTING_KEY,   /* the central storage has it */
    LISTING_NODE,  /* a directory or binding */
    LISTING_LOCAL, /* only this node knows it, or knows a newer one: to be looked up */
};

struct listing_entry {
    enum listing_kind kind;
    union {
        struct kv_meta meta;
        struct kv_node node;
    };
    size_t size;
    char name[KV_KEY_MAX + 1];
};

/* Bounded, whatever a directory holds. */
#define LISTING_ENTRIES 1024
#define LISTING_LOCALS 256

struct listing_page {
    size_t room;  /* bytes that an answer has for it */
    size_t count; /* of entries, in the order in which they are given */
    struct listing_entry *entries;
    struct listing_locals *locals;
};

KV_CHECKED int listing_page_new(struct listing_page *page);
void listing_page_free(struct listing_page *page);

/* Find what comes behind the name `last` ("": all). Nothing is found: that was all.
 * plus     the size of entries is that of READDIRPLUS
 * returns  0; <0 where page->count entries were found before the failure */
KV_CHECKED int listing_page_load(struct fs *fs, struct fs_inode *dir, const char *last, bool plus,
                                 struct listing_page *page);

#endif
