/* The bytes of a data.mdb, as LMDB 0.9 writes them: in the byte order of the machine, with its 64 bit words. */
#ifndef KVFS_STORE_LMDB_FORMAT_H
#define KVFS_STORE_LMDB_FORMAT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

_Static_assert(sizeof(size_t) == 8, "LMDB writes numbers of pages as size_t; other words are another format");

enum {
    PAGE_BRANCH = 0x01,
    PAGE_LEAF = 0x02,
    PAGE_OVERFLOW = 0x04,
    PAGE_META = 0x08,
    PAGE_HEADER = 16, /* u64 number, u16 pad, u16 flags; u16 lower, u16 upper or u32 pages */

    /* LMDB makes pages of the machine's size, of up to 32 KiB. Smaller ones than these have no room for two of our
     * longest keys, and LMDB writes beyond them. */
    PAGE_SIZE_LEAST = 4096,
    PAGE_SIZE_MOST = 32768,

    NODE_HEADER = 8, /* leaf: u32 size of the value, u16 flags; branch: u48 number; both: u16 size of the key */
    NODE_BIG = 0x01,
    NODE_TABLE = 0x02,

    META_MAGIC = PAGE_HEADER,
    META_VERSION = META_MAGIC + 4,
    META_TREES = META_VERSION + 4 + 8 + 8, /* behind address and map size */
    TREE_FLAGS = 4, /* u32 pad, u16 flags, u16 depth, u64 branch, leaf, overflow pages, u64 entries, u64 root */
    TREE_DEPTH = 6,
    TREE_BRANCHES = 8,
    TREE_LEAVES = 16,
    TREE_OVERFLOWS = 24,
    TREE_ENTRIES = 32,
    TREE_ROOT = 40,
    TREE_SIZE = 48,
    META_PAGE_SIZE = META_TREES, /* the pad of the free list */
    META_LAST = META_TREES + 2 * TREE_SIZE,
    META_TXN = META_LAST + 8,
    META_SIZE = META_TXN + 8,

    TREE_INTEGER_KEYS = 0x08, /* the free list has these, and the flags that it was made with */
    TREE_ORDER = 0x7f,        /* flags that choose the order or the kind of what is in a tree */

    DEPTH_MAX = 32, /* levels, as LMDB's cursors */
};

#define FORMAT_MAGIC 0xbeefc0deu
#define FORMAT_VERSION 1u
#define ROOT_NONE UINT64_MAX /* of an empty tree */

static inline uint16_t format_u16(const uint8_t *from)
{
    uint16_t value;

    memcpy(&value, from, sizeof(value));
    return value;
}

static inline uint32_t format_u32(const uint8_t *from)
{
    uint32_t value;

    memcpy(&value, from, sizeof(value));
    return value;
}

static inline uint64_t format_u64(const uint8_t *from)
{
    uint64_t value;

    memcpy(&value, from, sizeof(value));
    return value;
}

/* The number of a branch's child: its low half, as the machine writes 32 bits, then 16 bits more. */
static inline uint64_t format_child(const uint8_t *node)
{
    return format_u32(node) | (uint64_t)format_u16(node + 4) << 32;
}

#endif
