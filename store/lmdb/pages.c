/* Verifying the pages of an LMDB file, as far as they serve a read transaction. LMDB itself trusts what it maps:
 * a damaged page can give wrong answers, a signal or an abort. So this reads the file, not the map.
 *
 * Pages
 *   0 and 1 are headers in turn; that of a transaction is at its id modulo 2. A header has two trees: the free list
 *   and the main one, whose values are the headers of the tables' trees. Branch and leaf pages have
 *
 *     header | offsets of nodes, in the order of their keys ... lower |  free  | upper ... nodes | end
 *
 *   and a leaf's node holds its value, or the number of the first of a run of overflow pages, which begins with a page
 *   header, too. A page belongs to one tree, to one run, to the free list, or to nobody.
 *
 *   The nodes of a page do not overlap, and leave nothing over between `upper` and the end: LMDB counts on that when it
 *   moves them, and writes beyond the page otherwise. It counts as well on what is said of a tree (its depth, its kind)
 *   and on the order of the numbers in the free list.
 *
 * While the transaction is open, writers leave its pages alone, but for its header: the one after the next
 * writes there.
 *
 * A copy is the same walk. It hands each page over when those that the page refers to are behind it: so each has its
 * new number before it is written into another one. What lies between the nodes of a page, or behind a value, is what
 * was deleted once: it is not handed over.
 */
#include "store/lmdb/format_internal.h"
#include "store/lmdb/lmdb_internal.h"
#include "store/lmdb/page_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct tree {
    const char *name;
    bool is_free_list, is_main;
    unsigned depth;
    uint64_t entries, root;               /* as its header says */
    uint64_t branches, leaves, overflows; /* pages that were met */

    uint64_t counted;
    bool damaged;
    /* The last key in the order of the tree; what comes next must be greater, or `equal` where that was the key
     * of a branch. */
    size_t last_size;
    bool equal;
    uint8_t last[ENGINE_KEY_MAX];
};

struct walk {
    int fd;
    size_t page_size;
    uint64_t pages;       /* that the header knows */
    uint8_t *seen;        /* a bit for each */
    uint64_t most, reads; /* pages that may be, and were read */
    engine_found *found;
    void *arg;
    uint8_t *stack; /* a page for each level */
    bool damaged;
    uint64_t txn;       /* id of the transaction */
    bool copies;        /* what it reads is its own to change, and each page gets a new number */
    lmdb_page_put *put; /* of a copy; NULL: only count */
    void *put_arg;
    uint64_t placed; /* the next new number; what was handed over last ends before it */
};

__attribute__((format(printf, 4, 5))) static int damaged(struct walk *walk, struct tree *tree, uint64_t page,
                                                         const char *format, ...)
{
    char text[256];
    int used = snprintf(text, sizeof(text), "page %llu of data.mdb (%s) is damaged: ", (unsigned long long)page,
                        tree->name);
    va_list args;

    va_start(args, format);
    vsnprintf(text + used, sizeof(text) - (size_t)used, format, args);
    va_end(args);
    tree->damaged = walk->damaged = true;
    lmdb_guard_trust(false);
    walk->found(walk->arg, text);
    return 0;
}

/* returns true where all of it was read */
static bool read_at(const struct walk *walk, uint64_t offset, void *to, size_t size)
{
    size_t done = 0;

    while (done < size) {
        ssize_t got = pread(walk->fd, (uint8_t *)to + done, size - done, (off_t)(offset + done));

        if (got == 0 || (got < 0 && errno != EINTR))
            return false;
        done += got > 0 ? (size_t)got : 0;
    }
    return true;
}

/* Count a page that is going to be read. returns 0; -E2BIG */
static int count_read(struct walk *walk) { return walk->most != 0 && ++walk->reads > walk->most ? -E2BIG : 0; }

/* Note that pages are in use. returns false where they cannot be: they are already, or there are none such */
static bool claim_pages(struct walk *walk, uint64_t first, uint64_t count)
{
    if (first < 2 || first >= walk->pages || count > walk->pages - first)
        return false;
    for (uint64_t page = first; page < first + count; page++)
        if ((walk->seen[page / 8] >> page % 8 & 1) != 0)
            return false;
    for (uint64_t page = first; page < first + count; page++)
        walk->seen[page / 8] |= (uint8_t)(1u << page % 8);
    return true;
}

/* ----------------------------------------------------------------------------- copies */

/* Hand a run of pages over, under its new number. returns 0 and *number; put's answer; -EIO there is damage */
static int walk_put(struct walk *walk, uint8_t *pages, uint64_t count, uint64_t *number)
{
    *number = walk->placed;
    walk->placed += count;
    if (walk->damaged)
        return walk->put != NULL ? -EIO : 0;
    memcpy(pages, number, sizeof(*number));
    return walk->put != NULL ? walk->put(walk->put_arg, pages, count * walk->page_size) : 0;
}

/* Write into a page what it refers to. */
static void walk_refer(struct walk *walk, const uint8_t *at, uint64_t number)
{
    if (walk->copies)
        memcpy((uint8_t *)at, &number, sizeof(number)); /* of the walk's own buffer */
}

/* A branch's node has 48 bits of it. */
static void walk_refer_child(struct walk *walk, const uint8_t *node, uint64_t number)
{
    uint32_t low = (uint32_t)number;
    uint16_t high = (uint16_t)(number >> 32);

    if (!walk->copies)
        return;
    memcpy((uint8_t *)node, &low, sizeof(low));
    memcpy((uint8_t *)node + 4, &high, sizeof(high));
}

/* Hand over a page of a tree. The walk goes on to its parent, which refers to walk->placed - 1. */
static int walk_put_page(struct walk *walk, uint8_t *page)
{
    unsigned lower = format_u16(page + 12), upper = format_u16(page + 14);
    uint64_t number;

    memset(page + lower, 0, upper - lower);
    return walk_put(walk, page, 1, &number);
}

/* Hand over a large value: as many pages as it needs. */
static int walk_put_value(struct walk *walk, uint64_t first, uint64_t count, size_t size, uint64_t *number)
{
    uint32_t pages = (uint32_t)count;
    size_t bytes = count * walk->page_size;
    uint8_t *run = NULL;
    int rc;

    if (walk->put == NULL)
        return walk_put(walk, (uint8_t[8]){0}, count, number);
    run = malloc(bytes);
    if (run == NULL)
        return -ENOMEM;
    rc = read_at(walk, first * walk->page_size, run, bytes) ? 0 : -EIO;
    if (rc == 0) {
        memcpy(run + 12, &pages, sizeof(pages));
        memset(run + PAGE_HEADER + size, 0, bytes - PAGE_HEADER - size);
        rc = walk_put(walk, run, count, number);
    }
    free(run);
    return rc;
}

/* ------------------------------------------------------------------------------- keys */

/* Memory order, or for the free list that of the machine's integers. */
static int compare(const struct tree *tree, const uint8_t *key, size_t size)
{
    size_t common = size < tree->last_size ? size : tree->last_size;
    int order = 0;

    if (tree->is_free_list && size == 8 && tree->last_size == 8)
        return (format_u64(key) > format_u64(tree->last)) - (format_u64(key) < format_u64(tree->last));
    if (common > 0)
        order = memcmp(key, tree->last, common);
    return order != 0 ? order : (size > tree->last_size) - (size < tree->last_size);
}

/* Step on to a key. returns false where it does not come after the last one */
static bool step(struct tree *tree, const struct page_node *node, bool leaf)
{
    int order = compare(tree, node->key, node->key_size);

    if (order < 0 || (order == 0 && !tree->equal))
        return false;
    memcpy(tree->last, node->key, node->key_size);
    tree->last_size = node->key_size;
    tree->equal = !leaf;
    return true;
}

/* ----------------------------------------------------------------------------- values */

static int walk_overflow(struct walk *walk, struct tree *tree, uint64_t page, const struct page_node *node)
{
    uint64_t first = format_u64(node->value), count;
    uint64_t needed = (PAGE_HEADER + node->value_size + walk->page_size - 1) / walk->page_size;
    uint8_t header[PAGE_HEADER];
    int rc = count_read(walk);

    if (rc < 0)
        return rc;
    if (first >= walk->pages)
        return damaged(walk, tree, page, "it refers to pages that are not there");
    if (!read_at(walk, first * walk->page_size, header, sizeof(header)))
        return damaged(walk, tree, first, "it cannot be read");
    count = format_u32(header + 12); /* more than needed, where a value was replaced by a shorter one */
    if (format_u64(header) != first || format_u16(header + 10) != PAGE_OVERFLOW || count < needed)
        return damaged(walk, tree, first, "it is not the begin of %llu pages", (unsigned long long)needed);
    if (!claim_pages(walk, first, count))
        return damaged(walk, tree, page, "it refers to pages that are in use elsewhere, or are not there");
    if (walk->copies) {
        tree->overflows += needed;
        rc = walk_put_value(walk, first, needed, node->value_size, &first);
        walk_refer(walk, node->value, first);
    }
    return rc;
}

/* Of `words` numbers the count, then the pages, the highest first. */
static int walk_free_set(struct walk *walk, struct tree *tree, uint64_t page, const uint8_t *set, uint64_t words)
{
    uint64_t count = format_u64(set);

    if (count > words - 1)
        return damaged(walk, tree, page, "it counts more free pages than it has");
    for (uint64_t i = 1; i <= count; i++) {
        uint64_t number = format_u64(set + 8 * i);

        if (i > 1 && number >= format_u64(set + 8 * (i - 1)))
            return damaged(walk, tree, page, "its free pages are not in order");
        if (!claim_pages(walk, number, 1))
            return damaged(walk, tree, page, "it has page %llu for free, which is in use or not there",
                           (unsigned long long)number);
    }
    return 0;
}

/* Pages that were freed by one transaction, whose id is the key. */
static int walk_free_pages(struct walk *walk, struct tree *tree, uint64_t page, const struct page_node *node)
{
    uint8_t *big = NULL;
    const uint8_t *set = node->value;
    int rc = 0;

    if (node->key_size != 8 || format_u64(node->key) > walk->txn || node->value_size < 8)
        return damaged(walk, tree, page, "it has something else than what a transaction freed");

    if (node->flags & NODE_BIG) {
        big = malloc(node->value_size);
        if (big == NULL)
            return -ENOMEM;
        if (!read_at(walk, format_u64(node->value) * walk->page_size + PAGE_HEADER, big, node->value_size))
            rc = damaged(walk, tree, format_u64(node->value), "it cannot be read");
        set = big;
    }
    if (rc == 0 && !tree->damaged)
        rc = walk_free_set(walk, tree, page, set, node->value_size / 8);
    free(big);
    return rc;
}

static int walk_tree(struct walk *walk, struct tree *tree, uint8_t *header);

static int walk_table(struct walk *walk, struct tree *tree, uint64_t page, const struct page_node *node)
{
    struct tree table = {0};
    char name[48];
    size_t size = node->key_size < 32 ? node->key_size : 32;

    if (node->flags != NODE_TABLE || node->value_size != TREE_SIZE)
        return damaged(walk, tree, page, "it has something else than a table");
    snprintf(name, sizeof(name), "table %.*s", (int)size, (const char *)node->key);
    for (char *symbol = name; *symbol != '\0'; symbol++)
        if (*symbol < ' ' || *symbol > '~')
            *symbol = '?'; /* what is said is one line of text */
    table.name = name;
    return walk_tree(walk, &table, (uint8_t *)node->value); /* which is changed by a copy only */
}

static int walk_leaf(struct walk *walk, struct tree *tree, uint64_t page, const struct page_node *node)
{
    int rc = 0;

    if (node->key_size == 0 || (!tree->is_main && (node->flags & ~(unsigned)NODE_BIG) != 0))
        return damaged(walk, tree, page, "it has a node of an unknown kind");
    tree->counted++;
    if (node->flags & NODE_BIG)
        rc = walk_overflow(walk, tree, page, node);
    if (rc == 0 && !tree->damaged && tree->is_free_list)
        rc = walk_free_pages(walk, tree, page, node);
    return rc == 0 && tree->is_main ? walk_table(walk, tree, page, node) : rc;
}

/* ------------------------------------------------------------------------------ trees */

static int walk_page(struct walk *walk, struct tree *tree, uint64_t number, unsigned level)
{
    uint8_t *page = walk->stack + (tree->is_main ? DEPTH_MAX + level : level) * walk->page_size;
    bool leaf = level + 1 == tree->depth;
    const char *wrong;
    unsigned count;
    int rc = count_read(walk);

    if (rc < 0)
        return rc;
    if (!read_at(walk, number * walk->page_size, page, walk->page_size))
        return damaged(walk, tree, number, "it cannot be read");
    wrong = page_wrong(page, walk->page_size, number, leaf);
    if (wrong != NULL)
        return damaged(walk, tree, number, "%s", wrong);
    count = (format_u16(page + 12) - PAGE_HEADER) / 2u;
    for (unsigned i = 0; rc == 0 && i < count; i++) {
        struct page_node node;

        (void)page_node(page, walk->page_size, i, leaf, &node); /* it was looked at already */
        if ((leaf || i > 0) && !step(tree, &node, leaf))        /* a branch's first key is not used */
            return damaged(walk, tree, number, "its keys are not in order");
        if (leaf)
            rc = walk_leaf(walk, tree, number, &node);
        else if (!claim_pages(walk, node.child, 1))
            return damaged(walk, tree, number, "it refers to a page that is in use elsewhere, or is not there");
        else if ((rc = walk_page(walk, tree, node.child, level + 1)) == 0)
            walk_refer_child(walk, page + node.at, walk->placed - 1);
    }
    *(leaf ? &tree->leaves : &tree->branches) += 1;
    return rc == 0 && walk->copies ? walk_put_page(walk, page) : rc;
}

/* The header of a tree whose pages were handed over. */
static void walk_refer_tree(struct walk *walk, const struct tree *tree, uint8_t *header)
{
    walk_refer(walk, header + TREE_BRANCHES, tree->branches);
    walk_refer(walk, header + TREE_LEAVES, tree->leaves);
    walk_refer(walk, header + TREE_OVERFLOWS, tree->overflows);
    walk_refer(walk, header + TREE_ROOT, walk->placed - 1);
}

static int walk_tree(struct walk *walk, struct tree *tree, uint8_t *header)
{
    int rc;

    tree->depth = format_u16(header + TREE_DEPTH);
    tree->entries = format_u64(header + TREE_ENTRIES);
    tree->root = format_u64(header + TREE_ROOT);
    tree->equal = true; /* with the empty key that nobody has */
    if ((format_u16(header + TREE_FLAGS) & TREE_ORDER) != (tree->is_free_list ? TREE_INTEGER_KEYS : 0))
        return damaged(walk, tree, tree->root, "it is of a kind that is not used here");
    if (tree->root == ROOT_NONE && tree->entries == 0 && tree->depth == 0)
        return 0;
    if (tree->depth < 1 || tree->depth > DEPTH_MAX || !claim_pages(walk, tree->root, 1))
        return damaged(walk, tree, tree->root, "it is no root, or is in use elsewhere");
    rc = walk_page(walk, tree, tree->root, 0);
    if (rc == 0 && !tree->damaged && tree->counted != tree->entries)
        return damaged(walk, tree, tree->root, "%llu records are recorded, and there are %llu",
                       (unsigned long long)tree->entries, (unsigned long long)tree->counted);
    if (rc == 0)
        walk_refer_tree(walk, tree, header);
    return rc;
}

/* ----------------------------------------------------------------------------- header */

/* Copy the transaction's header. returns 0; -EAGAIN it was overwritten meanwhile */
static int get_header(struct walk *walk, uint8_t *header)
{
    uint64_t offset = walk->txn % 2 * walk->page_size;
    uint8_t again[META_SIZE];

    if (!read_at(walk, offset, header, META_SIZE) || !read_at(walk, offset, again, META_SIZE))
        return -EIO;
    return memcmp(header, again, META_SIZE) == 0 && format_u64(header + META_TXN) == walk->txn ? 0 : -EAGAIN;
}

static int walk_all(struct walk *walk, uint8_t *header)
{
    struct tree free_list = {.name = "free list", .is_free_list = true};
    struct tree tables = {.name = "list of tables", .is_main = true};
    struct stat file;
    int rc;

    walk->pages = format_u64(header + META_LAST) + 1;
    if (fstat(walk->fd, &file) != 0)
        return -EIO;
    if (walk->pages < 2 || walk->pages > (uint64_t)file.st_size / walk->page_size)
        return damaged(walk, &tables, walk->pages - 1, "it is the last one, and not in the file");
    walk->seen = calloc(1, walk->pages / 8 + 1);
    walk->stack = calloc(2 * DEPTH_MAX, walk->page_size);
    if (walk->seen == NULL || walk->stack == NULL)
        return -ENOMEM;
    rc = walk->copies ? 0 : walk_tree(walk, &free_list, header + META_TREES);
    return rc == 0 ? walk_tree(walk, &tables, header + META_TREES + TREE_SIZE) : rc;
}

/* The header of a copy: no page is free, and the last one is the last that was handed over. */
static void walk_refer_header(struct walk *walk, uint8_t *header)
{
    uint8_t *free_list = header + META_TREES;

    memset(free_list + TREE_DEPTH, 0, TREE_ROOT - TREE_DEPTH);
    walk_refer(walk, free_list + TREE_ROOT, ROOT_NONE);
    walk_refer(walk, header + META_LAST, walk->placed - 1);
}

int lmdb_pages_header(struct lmdb_txn *txn, uint8_t *header)
{
    struct walk walk = {.page_size = txn->lmdb->page_size, .txn = mdb_txn_id(txn->mdb)};

    mdb_env_get_fd(txn->lmdb->env, &walk.fd);
    return get_header(&walk, header);
}

int lmdb_pages_walk(const struct lmdb_pages *pages, uint8_t *header)
{
    struct walk walk = {.fd = pages->fd,
                        .page_size = pages->page_size,
                        .txn = format_u64(header + META_TXN),
                        .found = pages->found,
                        .arg = pages->arg,
                        .copies = pages->copies,
                        .put = pages->put,
                        .put_arg = pages->put_arg,
                        .placed = 2};
    int rc = walk_all(&walk, header);

    free(walk.seen);
    free(walk.stack);
    if (rc == 0 && walk.copies)
        walk_refer_header(&walk, header);
    return rc == 0 && walk.damaged ? -EIO : rc;
}

int lmdb_verify(struct engine_txn *base, uint64_t most, engine_found *found, void *arg)
{
    struct lmdb_txn *txn = (struct lmdb_txn *)base;
    struct walk walk = {
        .page_size = txn->lmdb->page_size, .most = most, .found = found, .arg = arg, .txn = mdb_txn_id(txn->mdb)};
    uint8_t header[META_SIZE];
    int rc;

    if (most != 0 && most <= lmdb_writer_sound(txn->lmdb)) {
        lmdb_guard_trust(true);
        return 0;
    }
    mdb_env_get_fd(txn->lmdb->env, &walk.fd);
    rc = get_header(&walk, header);
    if (rc == 0)
        rc = walk_all(&walk, header);
    free(walk.seen);
    free(walk.stack);
    if (rc == 0 || rc == -E2BIG)
        lmdb_guard_trust(!walk.damaged);
    if (!walk.damaged && (rc == 0 || rc == -E2BIG))
        lmdb_writer_set_sound(txn->lmdb, rc == 0 ? UINT64_MAX : most);
    return rc;
}
