/* The names of nodes, as they were at a place in the feed of changes: a key's change tells only the id of its
 * namespace, and that may have another name by now, or be gone.
 *
 * The tree is read as it is, and then put back to the place by what the feed says of names from there on: a rename
 * removes the old name right before it makes the new one, a delete right before it removes the node. From then on
 * whoever follows the feed keeps it. */
#ifndef KVFS_TOOLS_KVCTL_WATCH_TREE_H
#define KVFS_TOOLS_KVCTL_WATCH_TREE_H

#include "store/kv.h"

#include <jansson.h>
#include <uthash.h>

/* Hashed with its padding: make it with watch_place(). */
struct watch_place {
    uint64_t parent;
    char name[KV_NAME_MAX + 1];
};
struct watch_place watch_place(uint64_t parent, const char *name);

struct watch_node {
    uint64_t id;
    struct watch_place place; /* where it is, or was last */
    bool named;               /* it is there */
    bool known;               /* what is below, but for the target */
    uint32_t mode, uid, gid;
    uint64_t limit_bytes, limit_namespaces;
    uint64_t target; /* of a binding; 0: not known */
    uint64_t cause;  /* number of the last commit that changed what is in it, or its name */
    json_t *line;    /* where `cause` is this commit: the line that says that it was made; else of no meaning */
    UT_hash_handle by_id, by_place;
};

/* A zeroed one is empty. */
struct watch_tree {
    struct watch_node *by_id, *by_place;
};

/* Read the whole tree as it was at `feed`. Free it also on failure.
 * returns  0; -ESTALE the feed does not reach back to there; -EIO, -ENOMEM */
KV_CHECKED int watch_tree_read(struct watch_tree *tree, struct kv_store *store, const struct kv_feed *feed);
void watch_tree_free(struct watch_tree *tree);

/* NULL: there is none. */
struct watch_node *watch_tree_find(const struct watch_tree *tree, uint64_t id);
struct watch_node *watch_tree_at(const struct watch_tree *tree, const struct watch_place *place);
/* Give a node a name; it is made where there is none. returns it; NULL: no memory */
struct watch_node *watch_tree_name(struct watch_tree *tree, uint64_t id, const struct watch_place *place);
void watch_tree_unname(struct watch_tree *tree, struct watch_node *node);
void watch_tree_remove(struct watch_tree *tree, struct watch_node *node);
/* Note what a record says of a node. returns whether that was known to be otherwise */
bool watch_tree_note(struct watch_node *node, const struct kv_node *record);

/* What a place is by what is above it; 0: that is not known. */
enum kv_node_kind watch_tree_kind(const struct watch_tree *tree, const struct watch_place *place);
/* The node above it of this kind, or the parent; NULL: not known. */
struct watch_node *watch_tree_above(const struct watch_tree *tree, const struct watch_place *place);

#endif
