/* One page of a tree: its nodes, and what can be wrong with it by itself. pages.c has what a page looks like. */
#include "store/lmdb/page_internal.h"

#include "store/base/engine.h"
#include "store/lmdb/format_internal.h"

bool page_node(const uint8_t *page, size_t page_size, unsigned index, bool leaf, struct page_node *out)
{
    size_t upper = format_u16(page + 14), at = format_u16(page + PAGE_HEADER + 2 * (size_t)index), left, held;
    const uint8_t *head = page + at;

    if (at < upper || at % 2 != 0 || at + NODE_HEADER > page_size)
        return false;
    left = page_size - at - NODE_HEADER;
    out->key = head + NODE_HEADER;
    out->key_size = format_u16(head + 6);
    if (out->key_size > ENGINE_KEY_MAX || out->key_size > left)
        return false;
    left -= out->key_size;
    out->child = format_child(head);
    out->flags = leaf ? format_u16(head + 4) : 0;
    out->value = out->key + out->key_size;
    out->value_size = (size_t)format_u32(head);
    held = !leaf ? 0 : out->flags & NODE_BIG ? sizeof(uint64_t) : out->value_size;
    if (left < held)
        return false;
    out->at = at;
    out->size = NODE_HEADER + out->key_size + held;
    if (out->size > (page_size - PAGE_HEADER) / 2 / 2 * 2 - 2) /* a page has room for two */
        return false;
    out->size += out->size % 2;
    return true;
}

/* What is wrong with a page's nodes together; NULL: nothing. */
static const char *page_nodes_wrong(const uint8_t *page, size_t page_size, bool leaf)
{
    unsigned count = (format_u16(page + 12) - PAGE_HEADER) / 2u, met = 0;
    size_t at = format_u16(page + 14);
    uint16_t sizes[PAGE_SIZE_MOST / 2]; /* of the nodes, by their place / 2 */

    memset(sizes, 0, page_size / 2 * sizeof(sizes[0]));
    for (unsigned i = 0; i < count; i++) {
        struct page_node node;

        if (!page_node(page, page_size, i, leaf, &node))
            return "a node is outside of it, or too large";
        sizes[node.at / 2] = (uint16_t)node.size;
    }
    /* One behind the other they lead from `upper` to the end. */
    for (; at < page_size && sizes[at / 2] > 0; met++)
        at += sizes[at / 2];
    return at == page_size && met == count ? NULL : "its nodes overlap, or leave bytes over";
}

const char *page_wrong(const uint8_t *page, size_t page_size, uint64_t number, bool leaf)
{
    unsigned lower = format_u16(page + 12), upper = format_u16(page + 14);

    if (format_u64(page) != number)
        return "it is another page";
    if (format_u16(page + 10) !=
        (leaf ? PAGE_LEAF : PAGE_BRANCH)) /* no other flag either: LMDB has its own in memory */
        return "it is no page of this tree";
    if (lower < PAGE_HEADER || lower > upper || upper > page_size || lower % 2 != 0 || upper % 2 != 0 ||
        lower < PAGE_HEADER + (leaf ? 2 : 4))
        return "its bounds are wrong";
    return page_nodes_wrong(page, page_size, leaf);
}
