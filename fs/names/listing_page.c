#include "fs/names/listing_internal.h"

#include "fs/nodes/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PROJECTS ".projects"

/* The first few, in byte order, of the names that only this node knows. */
struct listing_locals {
    const struct fs_inode *dir;
    size_t count;
    bool more; /* there are others behind them */
    uint16_t order[LISTING_LOCALS];
    char names[LISTING_LOCALS][KV_KEY_MAX + 1];
};

struct listing_load {
    struct listing_page *page;
    const struct fs_inode *dir;
    struct listing_entry *found; /* the next one */
    size_t left;                 /* bytes of room */
    bool plus, full;
    bool past; /* a view ends before what came */
};

int listing_page_new(struct listing_page *page)
{
    page->entries = malloc((LISTING_ENTRIES + LISTING_LOCALS) * sizeof(*page->entries));
    page->locals = malloc(sizeof(*page->locals));
    return page->entries == NULL || page->locals == NULL ? -ENOMEM : 0;
}

void listing_page_free(struct listing_page *page)
{
    free(page->entries);
    free(page->locals);
}

/* Keep a name if it is one of the first. nodes->lock is held. */
static void listing_add_local(void *arg, const char *name, size_t size)
{
    struct listing_locals *locals = arg;
    size_t at = locals->count;
    uint16_t slot = (uint16_t)at;

    if (locals->dir->kind == FS_VIEW && !fs_view_shows(locals->dir, name, size))
        return;
    if (at == LISTING_LOCALS) {
        locals->more = true;
        slot = locals->order[--at];
        if (strcmp(name, locals->names[slot]) > 0)
            return;
    } else {
        locals->count++;
    }
    memcpy(locals->names[slot], name, size + 1);
    for (; at > 0 && strcmp(name, locals->names[locals->order[at - 1]]) < 0; at--)
        locals->order[at] = locals->order[at - 1];
    locals->order[at] = slot;
}

/* An upper bound of what an entry takes in an answer: that of a header, the name, and padding. */
static size_t listing_entry_size(bool plus, size_t name_size)
{
    return (plus ? 152u : 24u) + (name_size + 7) / 8 * 8;
}

/* returns 0 to go on; 1: the page is full */
static int listing_add(struct listing_load *load, const char *name, size_t size, const struct kv_meta *meta,
                       const struct kv_node *node)
{
    struct listing_page *page = load->page;
    struct listing_entry *found = &page->entries[page->count];
    size_t needed = listing_entry_size(load->plus, size);

    if (page->count == LISTING_ENTRIES || (needed > load->left && page->count > 0)) {
        load->full = true;
        return 1;
    }
    load->left -= needed < load->left ? needed : load->left;
    found->kind = meta != NULL ? LISTING_KEY : LISTING_NODE;
    if (meta != NULL)
        found->meta = *meta;
    if (node != NULL)
        found->node = *node;
    found->size = size;
    memcpy(found->name, name, size + 1);
    page->count++;
    return 0;
}

static int listing_visit_key(void *arg, const char *key, size_t size, const struct kv_meta *meta)
{
    struct listing_load *load = arg;

    load->past = load->dir->kind == FS_VIEW && !fs_view_shows(load->dir, key, size);
    return load->past ? 1 : listing_add(load, key, size, meta, NULL);
}

static int listing_visit_node(void *arg, const struct kv_node *node)
{
    return node->kind == KV_PROJECTS ? 0 : listing_add(arg, node->name, strlen(node->name), NULL, node);
}

/* The first key that can come behind the name `last`, in byte order: that of a temporary file is none that a key
 * can have. *after: the key itself has been given.
 * returns  whether any can come */
static bool listing_first_key(const char *last, char key[KV_KEY_MAX + 1], bool *after)
{
    static const char symbols[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
    size_t size = strspn(last, symbols);
    unsigned char other = (unsigned char)last[size];

    memcpy(key, last, size + 1);
    *after = size > 0;
    while (other != '\0') {
        const char *next = symbols;

        while (*next != '\0' && (unsigned char)*next <= other)
            next++;
        if (*next != '\0') {
            key[size] = *next;
            key[size + 1] = '\0';
            *after = false;
            return true;
        }
        if (size == 0)
            return false;
        other = (unsigned char)key[--size];
    }
    return true;
}

/* Put the local names between those of the central storage. What is behind the end of either is left to the next
 * page. */
static void listing_merge(struct listing_page *page, bool full)
{
    struct listing_entry *entries = page->entries;
    struct listing_locals *locals = page->locals;
    size_t kept = locals->count, total, from, to;

    while (full && kept > 0 && strcmp(locals->names[locals->order[kept - 1]], entries[page->count - 1].name) > 0)
        kept--;
    while (locals->more && kept == locals->count && page->count > 0 &&
           strcmp(entries[page->count - 1].name, locals->names[locals->order[kept - 1]]) > 0)
        page->count--;
    from = page->count;
    to = total = page->count + kept;
    while (kept > 0) { /* from behind, where there is room */
        const char *name = locals->names[locals->order[kept - 1]];
        int order = from > 0 ? strcmp(entries[from - 1].name, name) : -1;

        if (order > 0) {
            entries[--to] = entries[--from];
            continue;
        }
        from -= order == 0; /* both have it: it is looked up, since this node's is newer */
        entries[--to].kind = LISTING_LOCAL;
        entries[to].size = strlen(name);
        memcpy(entries[to].name, name, entries[to].size + 1);
        kept--;
    }
    memmove(&entries[from], &entries[to], (total - to) * sizeof(*entries));
    page->count = from + total - to;
}

/* Behind all namespaces of an account come its projects, where it has any. */
static int listing_add_projects(struct fs *fs, uint64_t account, struct listing_load *load)
{
    struct kv_node projects;
    int rc = kv_node_find(fs->store, account, PROJECTS, strlen(PROJECTS), &projects);

    if (rc == 0 && projects.children > 0)
        (void)listing_add(load, PROJECTS, strlen(PROJECTS), NULL, &projects);
    return rc;
}

/* Where a view ends before the namespace, what is damaged there may have been a key of it. The store says so. */
static int listing_check_end(struct fs *fs, const struct fs_inode *view, const char *last)
{
    struct kv_list list;
    int rc = kv_list(fs->store, view->name->node, fs_view_first(view), last, 1, &list);

    if (rc == 0)
        kv_list_free(&list);
    return rc;
}

/* Find the keys behind the name `last`.
 * returns  as kv_scan() */
static int listing_scan(struct fs *fs, const char *last, struct listing_load *load)
{
    const char *first = load->dir->kind == FS_VIEW ? fs_view_first(load->dir) : "";
    char key[KV_KEY_MAX + 1];
    bool after = false;
    int rc;

    if (strcmp(last, first) < 0)
        memcpy(key, first, strlen(first) + 1);
    else if (!listing_first_key(last, key, &after))
        return 0;
    rc = kv_scan(fs->store, load->dir->name->node, key, strlen(key), after, listing_visit_key, load);
    return load->past && load->page->count == 0 ? listing_check_end(fs, load->dir, key) : rc;
}

int listing_page_load(struct fs *fs, struct fs_inode *dir, const char *last, bool plus, struct listing_page *page)
{
    struct listing_load load = {.page = page, .dir = dir, .left = page->room, .plus = plus};
    bool in_account = dir->node_kind == KV_ACCOUNT, in_view = dir->kind == FS_VIEW;
    uint64_t id = dir->name->node;
    int rc;

    page->count = 0;
    if ((in_account && strcmp(last, PROJECTS) == 0) || (in_view && fs_view_first(dir) == NULL))
        return 0;
    if (!in_view && !fs_is_namespace(dir)) {
        rc = kv_node_scan(fs->store, id, last, strlen(last), last[0] != '\0', listing_visit_node, &load);
        return rc == 0 && in_account ? listing_add_projects(fs, id, &load) : rc < 0 ? rc : 0;
    }
    /* Before those of the central storage: what is put meanwhile is found twice, and not never. */
    page->locals->dir = dir;
    page->locals->count = 0;
    page->locals->more = false;
    fs_locals_visit(fs, fs_view_namespace(dir), last, listing_add_local, page->locals);
    rc = listing_scan(fs, last, &load);
    if (rc < 0 && page->count == 0)
        return rc;
    listing_merge(page, load.full || rc < 0);
    return rc < 0 ? rc : 0;
}
