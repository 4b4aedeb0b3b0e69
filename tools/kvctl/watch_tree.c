#include "tools/kvctl/watch_tree.h"

#include "tools/kvctl/grow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct watch_place watch_place(uint64_t parent, const char *name)
{
    struct watch_place place;

    memset(&place, 0, sizeof(place));
    place.parent = parent;
    memcpy(place.name, name, strnlen(name, KV_NAME_MAX));
    return place;
}

struct watch_node *watch_tree_find(const struct watch_tree *tree, uint64_t id)
{
    struct watch_node *node;

    HASH_FIND(by_id, tree->by_id, &id, sizeof(id), node);
    return node;
}

struct watch_node *watch_tree_at(const struct watch_tree *tree, const struct watch_place *place)
{
    struct watch_node *node;

    HASH_FIND(by_place, tree->by_place, place, sizeof(*place), node);
    return node;
}

void watch_tree_unname(struct watch_tree *tree, struct watch_node *node)
{
    if (node->named)
        HASH_DELETE(by_place, tree->by_place, node);
    node->named = false;
}

struct watch_node *watch_tree_name(struct watch_tree *tree, uint64_t id, const struct watch_place *place)
{
    struct watch_node *node = watch_tree_find(tree, id), *other = watch_tree_at(tree, place);

    if (node == NULL) {
        node = calloc(1, sizeof(*node));
        if (node == NULL)
            return NULL;
        node->id = id;
        HASH_ADD(by_id, tree->by_id, id, sizeof(node->id), node);
    }
    if (other != NULL)
        watch_tree_unname(tree, other);
    watch_tree_unname(tree, node);
    node->place = watch_place(place->parent, place->name);
    node->named = true;
    HASH_ADD(by_place, tree->by_place, place, sizeof(node->place), node);
    return node;
}

void watch_tree_remove(struct watch_tree *tree, struct watch_node *node)
{
    watch_tree_unname(tree, node);
    HASH_DELETE(by_id, tree->by_id, node);
    free(node);
}

void watch_tree_free(struct watch_tree *tree)
{
    struct watch_node *node, *next;

    HASH_ITER(by_id, tree->by_id, node, next)
        watch_tree_remove(tree, node);
}

bool watch_tree_note(struct watch_node *node, const struct kv_node *record)
{
    const struct kv_attr *attr = &record->attr;
    bool other = node->known &&
                 (node->mode != attr->mode || node->uid != attr->uid || node->gid != attr->gid ||
                  node->limit_bytes != record->limit_bytes || node->limit_namespaces != record->limit_namespaces);

    node->known = true;
    node->mode = attr->mode;
    node->uid = attr->uid;
    node->gid = attr->gid;
    node->limit_bytes = record->limit_bytes;
    node->limit_namespaces = record->limit_namespaces;
    node->target = record->target;
    return other;
}

struct watch_node *watch_tree_above(const struct watch_tree *tree, const struct watch_place *place)
{
    return watch_tree_find(tree, place->parent);
}

enum kv_node_kind watch_tree_kind(const struct watch_tree *tree, const struct watch_place *place)
{
    const struct watch_node *above;

    if (place->parent == KV_ROOT_ID)
        return KV_ACCOUNT;
    above = watch_tree_above(tree, place);
    switch (above != NULL ? watch_tree_kind(tree, &above->place) : 0) {
    case KV_ACCOUNT:
        return strcmp(place->name, ".projects") == 0 ? KV_PROJECTS : KV_NAMESPACE;
    case KV_PROJECTS:
        return KV_PROJECT;
    case KV_PROJECT:
        return KV_BINDING;
    default:
        return 0;
    }
}

/* ------------------------------------------------------------------------------ as it is */

static int read_node(void *arg, const struct kv_node *record)
{
    struct watch_place place = watch_place(record->parent, record->name);
    struct watch_node *node = watch_tree_name(arg, record->id, &place);

    if (node == NULL)
        return -ENOMEM;
    (void)watch_tree_note(node, record);
    return 0;
}

/* A node's children are added behind it in the list of all: so each is come to. What is gone meanwhile is told by the
 * feed. */
static int read_all(struct watch_tree *tree, struct kv_store *store)
{
    int rc = kv_node_scan(store, KV_ROOT_ID, "", 0, false, read_node, tree);

    for (struct watch_node *node = tree->by_id; rc == 0 && node != NULL; node = node->by_id.next) {
        enum kv_node_kind kind = watch_tree_kind(tree, &node->place);

        if (kind == KV_ACCOUNT || kind == KV_PROJECTS || kind == KV_PROJECT)
            rc = kv_node_scan(store, node->id, "", 0, false, read_node, tree);
        if (rc == -ENOENT)
            rc = 0;
    }
    return rc;
}

/* ------------------------------------------------------------------------------ as it was */

struct rewind {
    struct watch_tree *tree;
    struct watch_tree told; /* nodes that the feed has told of, and their names since */
    struct watch_place *gone;
    size_t gone_count, capacity; /* names that were removed, of nodes not told of yet, in their order */
};

static int rewind_add_gone(struct rewind *rewind, const struct watch_place *place)
{
    struct watch_place *gone = grow(rewind->gone, rewind->gone_count, &rewind->capacity, sizeof(*gone));

    if (gone == NULL)
        return -ENOMEM;
    rewind->gone = gone;
    rewind->gone[rewind->gone_count++] = *place;
    return 0;
}

/* The feed tells of a node for the first time, after its name, maybe, was removed.
 * returns  1: it had one at the begin, which it is given in the tree; 0: it was made since; -ENOMEM */
static int rewind_first(struct rewind *rewind, uint64_t id)
{
    struct watch_node *node = watch_tree_find(rewind->tree, id);

    if (rewind->gone_count == 0) {
        if (node != NULL)
            watch_tree_remove(rewind->tree, node);
        return 0;
    }
    if (watch_tree_name(rewind->tree, id, &rewind->gone[0]) == NULL)
        return -ENOMEM;
    memmove(rewind->gone, rewind->gone + 1, --rewind->gone_count * sizeof(*rewind->gone));
    return 1;
}

static int rewind_name(struct rewind *rewind, const struct kv_changed *changed)
{
    struct watch_place place = watch_place(changed->ref.node, changed->node.name);
    struct watch_node *node =
        changed->removed ? watch_tree_at(&rewind->told, &place) : watch_tree_find(&rewind->told, changed->node.id);
    int rc;

    if (changed->removed && node == NULL)
        return rewind_add_gone(rewind, &place);
    if (changed->removed) {
        watch_tree_unname(&rewind->told, node);
        return 0;
    }
    rc = node == NULL ? rewind_first(rewind, changed->node.id) : 0;
    if (rc < 0)
        return rc;
    return watch_tree_name(&rewind->told, changed->node.id, &place) != NULL ? 0 : -ENOMEM;
}

static int rewind_node(struct rewind *rewind, const struct kv_changed *changed)
{
    uint64_t id = changed->ref.node;
    struct watch_node *told = watch_tree_find(&rewind->told, id), *node;
    struct watch_place place;

    if (id == KV_ROOT_ID || (changed->removed && told != NULL))
        return 0;
    if (changed->removed)
        return rewind_first(rewind, id) < 0 ? -ENOMEM : 0;
    if (!changed->known)
        return 0;
    place = watch_place(changed->node.parent, changed->node.name);
    if (told == NULL) { /* it has been there, and under this name */
        node = watch_tree_name(rewind->tree, id, &place);
        told = watch_tree_name(&rewind->told, id, &place);
        if (node == NULL || told == NULL)
            return -ENOMEM;
    }
    node = watch_tree_find(rewind->tree, id);
    if (node != NULL) {
        node->known = false; /* it may have been otherwise */
        node->target = changed->node.target;
    }
    return 0;
}

static int rewind_visit(void *arg, const struct kv_changed *changed)
{
    if (changed->kind == KV_CHANGED_NAME)
        return rewind_name(arg, changed);
    return changed->kind == KV_CHANGED_NODE ? rewind_node(arg, changed) : 0;
}

int watch_tree_read(struct watch_tree *tree, struct kv_store *store, const struct kv_feed *feed)
{
    struct rewind rewind = {.tree = tree};
    struct kv_feed until_now = *feed;
    int rc = read_all(tree, store);

    if (rc == 0)
        rc = kv_follow(store, &until_now, true, rewind_visit, &rewind);
    watch_tree_free(&rewind.told);
    free(rewind.gone);
    return rc;
}
