#include "fs/nodes/nodes_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* ---------------------------------------------------------------- tables (nodes->lock) */

void nodes_set_state(struct fs_inode *inode, enum fs_inode_state state)
{
    struct fs_name *name = inode->name;

    assert((inode->state == FS_CURRENT) == (name->current == inode));
    if (inode->state == FS_CURRENT)
        name->current = NULL;
    if (state == FS_CURRENT && name->current != NULL)
        name->current->state = FS_DISPLACED;
    if (state == FS_CURRENT)
        name->current = inode;
    inode->state = state;
}

void nodes_set_parent(struct fs_inode *inode, struct fs_inode *parent)
{
    inode->parent = parent;
    if (parent != NULL)
        parent->refs++;
}

static struct fs_inode *inode_new(struct fs *fs, enum fs_kind kind, enum kv_node_kind node_kind,
                                  struct fs_name *name, struct fs_inode *parent)
{
    bool is_node = kind == FS_NODE || kind == FS_VIEW;
    struct fs_inode *inode = calloc(1, is_node ? sizeof(struct fs_node) : sizeof(*inode));

    if (inode == NULL)
        return NULL;
    inode->id = fs->nodes->next_id++;
    inode->kind = kind;
    inode->node_kind = node_kind;
    inode->refs = 1;
    inode->name = name;
    name->refs++;
    inode->state = FS_DISPLACED;
    nodes_set_parent(inode, parent);
    LL_APPEND(name->inodes, inode);
    nodes_set_state(inode, FS_CURRENT);
    fs_table_add(&fs->nodes->by_id, &inode->link);
    atomic_fetch_add(&fs->inodes, 1);
    if (kind == FS_VIEW)
        nodes_view_add(fs->nodes, inode);
    return inode;
}

/* A list's first item leads back to its last one: so none of an item in it is NULL. */
static bool inode_is_local(const struct fs_inode *inode) { return inode->local_prev != NULL; }

static void inode_set_local_locked(struct fs_inode *inode, bool local)
{
    struct fs_node *namespace;

    if (local == inode_is_local(inode))
        return;
    namespace = fs_node_of(inode->parent);
    if (local) {
        DL_APPEND2(namespace->locals, inode, local_prev, local_next);
    } else {
        DL_DELETE2(namespace->locals, inode, local_prev, local_next);
        inode->local_prev = inode->local_next = NULL;
    }
}

static void inode_free(struct fs *fs, struct fs_inode *inode)
{
    inode_set_local_locked(inode, false);
    nodes_set_state(inode, FS_REMOVED);
    LL_DELETE(inode->name->inodes, inode);
    nodes_name_put(fs->nodes, inode->name);
    fs_table_remove(&fs->nodes->by_id, &inode->link);
    atomic_fetch_sub(&fs->inodes, 1);
    if (inode->kind == FS_NODE)
        free(fs_node_of(inode)->label);
    if (inode->kind == FS_VIEW)
        nodes_view_remove(fs->nodes, inode);
    free(inode);
}

void nodes_reap(struct fs *fs, struct fs_inode *inode)
{
    while (inode != NULL && inode->refs == 0 && inode->lookups == 0) {
        struct fs_inode *parent = inode->parent;

        assert(inode->body == NULL);
        inode_free(fs, inode);
        if (parent != NULL)
            parent->refs--;
        inode = parent;
    }
}

void nodes_set_name(struct fs *fs, struct fs_inode *inode, struct fs_name *name, struct fs_inode *parent)
{
    struct fs_inode *old_parent = inode->parent;
    bool local = inode_is_local(inode);

    inode_set_local_locked(inode, false);
    LL_DELETE(inode->name->inodes, inode);
    nodes_name_put(fs->nodes, inode->name);
    inode->name = name;
    name->refs++;
    LL_APPEND(name->inodes, inode);
    nodes_set_parent(inode, parent);
    inode_set_local_locked(inode, local);
    old_parent->refs--;
    nodes_reap(fs, old_parent);
}

/* ------------------------------------------------------------------------- life cycle */

/* They are counted. */
static uint64_t inode_hash(const struct fs_link *link)
{
    return FS_TABLE_ITEM(link, const struct fs_inode, link)->id;
}

static struct fs_inode *inode_find_locked(const struct fs_nodes *nodes, uint64_t id)
{
    struct fs_link *link = fs_table_find(&nodes->by_id, id);

    while (link != NULL && FS_TABLE_ITEM(link, struct fs_inode, link)->id != id)
        link = link->next;
    return FS_TABLE_ITEM(link, struct fs_inode, link);
}

int fs_nodes_new(struct fs *fs)
{
    struct fs_nodes *nodes = calloc(1, sizeof(*nodes));
    struct fs_name *name;

    if (nodes == NULL)
        return -ENOMEM;
    pthread_mutex_init(&nodes->lock, NULL);
    pthread_cond_init(&nodes->views_change, NULL);
    for (size_t i = 0; i < FS_INODE_LOCKS; i++)
        pthread_mutex_init(&nodes->inode_locks[i], NULL);
    fs_table_init(&nodes->by_id, inode_hash);
    fs_table_init(&nodes->names, nodes_hash_of_name);
    nodes->gone.kind = FS_GONE;
    nodes->next_id = FUSE_ROOT_ID;
    nodes->generation =
        (uint64_t)fs_now_ns() >> 20 & UINT32_MAX; /* the kernel keeps 32 bits: 52 days in steps of 1 ms */
    fs->nodes = nodes;
    name = nodes_name_get(nodes, KV_ROOT_ID, NULL, 0);
    nodes->root = name != NULL ? inode_new(fs, FS_NODE, KV_ROOT, name, NULL) : NULL;
    if (nodes->root == NULL)
        return -ENOMEM;
    nodes_name_put(nodes, name);
    return 0;
}

/* The kernel does not forget what it knew when it is unmounted. */
void fs_nodes_free(struct fs *fs)
{
    struct fs_nodes *nodes = fs->nodes;
    struct fs_link *link, *next;

    for (size_t bucket = 0; (link = fs_table_next(&nodes->by_id, &bucket)) != NULL;)
        for (; link != NULL; link = next) { /* parents do not go with the last of their children here */
            next = link->next;
            inode_free(fs, FS_TABLE_ITEM(link, struct fs_inode, link));
        }
    fs_table_free(&nodes->by_id);
    fs_table_free(&nodes->names);
    for (size_t i = 0; i < FS_INODE_LOCKS; i++)
        pthread_mutex_destroy(&nodes->inode_locks[i]);
    pthread_cond_destroy(&nodes->views_change);
    pthread_mutex_destroy(&nodes->lock);
    free(nodes);
}

struct fs_inode *fs_root(struct fs *fs) { return fs->nodes->root; }

uint64_t fs_generation(struct fs *fs) { return fs->nodes->generation; }

struct fs_inode *fs_inode_of(struct fs *fs, uint64_t id)
{
    struct fs_inode *inode;

    pthread_mutex_lock(&fs->nodes->lock);
    inode = inode_find_locked(fs->nodes, id);
    pthread_mutex_unlock(&fs->nodes->lock);
    return inode != NULL ? inode : &fs->nodes->gone;
}

/* The current inode of a name, made where there is none. */
static int inode_of(struct fs *fs, enum fs_kind kind, enum kv_node_kind node_kind, struct fs_inode *parent,
                    uint64_t node, const char *key, size_t size, struct fs_inode **out)
{
    struct fs_inode *inode = NULL;
    struct fs_name *name;

    pthread_mutex_lock(&fs->nodes->lock);
    name = nodes_name_get(fs->nodes, node, key, size);
    if (name != NULL) {
        inode = name->current;
        if (inode != NULL)
            inode->refs++;
        else
            inode = inode_new(fs, kind, node_kind, name, parent);
        nodes_name_put(fs->nodes, name);
    }
    pthread_mutex_unlock(&fs->nodes->lock);
    *out = inode;
    return inode != NULL ? 0 : -ENOMEM;
}

int fs_inode_of_node(struct fs *fs, struct fs_inode *parent, const struct kv_node *node, struct fs_inode **out)
{
    int rc = inode_of(fs, FS_NODE, node->kind, parent, node->id, NULL, 0, out);

    if (rc < 0)
        return rc;
    fs_inode_relabel(fs, node->id, parent, node->name);
    return 0;
}

int fs_inode_of_control(struct fs *fs, enum fs_kind kind, uint64_t number, struct fs_inode **out)
{
    return inode_of(fs, kind, KV_ROOT, fs->nodes->root, number, NULL, 0, out);
}

int nodes_inode_of_view(struct fs *fs, struct fs_inode *namespace, const char *path, struct fs_inode **out)
{
    return inode_of(fs, FS_VIEW, KV_ROOT, namespace, namespace->name->node, path, strlen(path), out);
}

int fs_inode_of_key(struct fs *fs, struct fs_inode *namespace, const char *key, size_t size, struct fs_inode **out)
{
    return inode_of(fs, FS_KEY, KV_ROOT, namespace, namespace->name->node, key, size, out);
}

struct fs_inode *fs_inode_find(struct fs *fs, uint64_t node, const char *key, size_t size)
{
    struct fs_inode *inode = NULL;
    struct fs_name *name;

    pthread_mutex_lock(&fs->nodes->lock);
    name = nodes_name_find(fs->nodes, node, key, size);
    if (name != NULL && name->current != NULL) {
        inode = name->current;
        inode->refs++;
    }
    pthread_mutex_unlock(&fs->nodes->lock);
    return inode;
}

struct fs_inode *fs_inode_nth(struct fs *fs, struct fs_name *name, unsigned number)
{
    struct fs_inode *inode;

    pthread_mutex_lock(&fs->nodes->lock);
    LL_FOREACH(name->inodes, inode)
        if (number-- == 0)
            break;
    if (inode != NULL)
        inode->refs++;
    pthread_mutex_unlock(&fs->nodes->lock);
    return inode;
}

struct fs_inode *fs_inode_open_one(struct fs *fs)
{
    struct fs_inode *inode = NULL;
    struct fs_link *link;

    pthread_mutex_lock(&fs->nodes->lock);
    for (size_t bucket = 0; inode == NULL && (link = fs_table_next(&fs->nodes->by_id, &bucket)) != NULL;)
        for (; link != NULL && inode == NULL; link = link->next)
            if (FS_TABLE_ITEM(link, struct fs_inode, link)->body != NULL)
                inode = FS_TABLE_ITEM(link, struct fs_inode, link);
    if (inode != NULL)
        inode->refs++;
    pthread_mutex_unlock(&fs->nodes->lock);
    return inode;
}

void fs_inode_get(struct fs *fs, struct fs_inode *inode)
{
    pthread_mutex_lock(&fs->nodes->lock);
    inode->refs++;
    pthread_mutex_unlock(&fs->nodes->lock);
}

void fs_inode_put(struct fs *fs, struct fs_inode *inode)
{
    if (inode == NULL)
        return;
    pthread_mutex_lock(&fs->nodes->lock);
    assert(inode->refs > 0);
    inode->refs--;
    nodes_reap(fs, inode);
    pthread_mutex_unlock(&fs->nodes->lock);
}

void fs_inode_to_kernel(struct fs *fs, struct fs_inode *inode)
{
    pthread_mutex_lock(&fs->nodes->lock);
    inode->lookups++;
    inode->refs--;
    pthread_mutex_unlock(&fs->nodes->lock);
}

void fs_inode_forget(struct fs *fs, uint64_t id, uint64_t lookups)
{
    struct fs_inode *inode;

    pthread_mutex_lock(&fs->nodes->lock);
    inode = inode_find_locked(fs->nodes, id);
    if (inode != NULL && inode != fs->nodes->root) { /* the root is never looked up */
        inode->lookups -= lookups < inode->lookups ? lookups : inode->lookups;
        nodes_reap(fs, inode);
    }
    pthread_mutex_unlock(&fs->nodes->lock);
}

/* ----------------------------------------------------------------------------- states */

enum fs_inode_state fs_inode_state(struct fs *fs, struct fs_inode *inode)
{
    enum fs_inode_state state;

    pthread_mutex_lock(&fs->nodes->lock);
    state = inode->state;
    pthread_mutex_unlock(&fs->nodes->lock);
    return state;
}

struct kv_ref fs_inode_ref(struct fs *fs, struct fs_inode *inode)
{
    struct kv_ref ref;

    pthread_mutex_lock(&fs->nodes->lock);
    ref = kv_ref_key(inode->name->node, inode->name->key, inode->name->size);
    pthread_mutex_unlock(&fs->nodes->lock);
    return ref;
}

static bool inode_change_state(struct fs *fs, struct fs_inode *inode, enum fs_inode_state from,
                               enum fs_inode_state to)
{
    bool changed;

    pthread_mutex_lock(&fs->nodes->lock);
    changed = inode->state == from;
    if (changed)
        nodes_set_state(inode, to);
    pthread_mutex_unlock(&fs->nodes->lock);
    return changed;
}

bool fs_inode_displace(struct fs *fs, struct fs_inode *inode)
{
    return inode_change_state(fs, inode, FS_CURRENT, FS_DISPLACED);
}

bool fs_inode_make_current(struct fs *fs, struct fs_inode *inode)
{
    return inode_change_state(fs, inode, FS_DISPLACED, FS_CURRENT);
}

/* -------------------------------------------------------------------- the inode's lock */

static pthread_mutex_t *inode_lock_of(struct fs *fs, const struct fs_inode *inode)
{
    return &fs->nodes->inode_locks[inode->id % FS_INODE_LOCKS];
}

void fs_inode_lock(struct fs *fs, struct fs_inode *inode) { pthread_mutex_lock(inode_lock_of(fs, inode)); }

void fs_inode_unlock(struct fs *fs, struct fs_inode *inode) { pthread_mutex_unlock(inode_lock_of(fs, inode)); }

void fs_inode_set_body_locked(struct fs *fs, struct fs_inode *inode, struct fs_body *body)
{
    pthread_mutex_lock(&fs->nodes->lock);
    inode->body = body;
    if (body != NULL)
        inode->refs++; /* which fs_body_unpin() gives back */
    pthread_mutex_unlock(&fs->nodes->lock);
}

/* ----------------------------------------------------- names that only this node knows */

void fs_inode_set_local(struct fs *fs, struct fs_inode *inode, bool local)
{
    pthread_mutex_lock(&fs->nodes->lock);
    inode_set_local_locked(inode, local);
    pthread_mutex_unlock(&fs->nodes->lock);
}

void fs_locals_visit(struct fs *fs, struct fs_inode *namespace, const char *after, fs_local_visit *visit,
                     void *arg)
{
    struct fs_inode *inode;

    pthread_mutex_lock(&fs->nodes->lock);
    DL_FOREACH2(fs_node_of(namespace)->locals, inode, local_next)
        if (inode->state == FS_CURRENT && strcmp(inode->name->key, after) > 0)
            visit(arg, inode->name->key, inode->name->size);
    pthread_mutex_unlock(&fs->nodes->lock);
}

static void inode_count_local(void *arg, const char *name, size_t size)
{
    (void)name;
    (void)size;
    ++*(size_t *)arg;
}

bool fs_has_locals(struct fs *fs, uint64_t namespace_id)
{
    struct fs_inode *namespace = fs_inode_find(fs, namespace_id, NULL, 0);
    size_t count = 0;

    if (namespace == NULL)
        return false;
    fs_locals_visit(fs, namespace, "", inode_count_local, &count);
    fs_inode_put(fs, namespace);
    return count > 0;
}
