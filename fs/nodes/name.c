/* Names: finding, locking and changing them. */
#include "fs/base/request.h"
#include "fs/nodes/nodes_internal.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

#define CONTENDED_NS 1000000000

/* What is hashed of a name: its node and its key, one behind the other. */
#define HASHED(size) (offsetof(struct fs_name, key) - offsetof(struct fs_name, node) + (size))

static unsigned name_hash(const void *bytes, size_t size)
{
    unsigned hash;

    HASH_JEN(bytes, size, hash);
    return hash;
}

uint64_t nodes_hash_of_name(const struct fs_link *link)
{
    return FS_TABLE_ITEM(link, const struct fs_name, link)->hash;
}

static struct fs_name *name_find(struct fs_nodes *nodes, uint64_t node, const char *key, size_t size,
                                 unsigned hash)
{
    struct fs_link *link = fs_table_find(&nodes->names, hash);

    for (; link != NULL; link = link->next) {
        struct fs_name *name = FS_TABLE_ITEM(link, struct fs_name, link);

        if (name->hash == hash && name->node == node && name->size == size &&
            (size == 0 || memcmp(name->key, key, size) == 0))
            return name;
    }
    return NULL;
}

/* The hash of a name that it could have. */
static unsigned name_hash_of(uint64_t node, const char *key, size_t size)
{
    unsigned char wanted[sizeof(node) + NODES_NAME_MAX];

    memcpy(wanted, &node, sizeof(node));
    if (size > 0)
        memcpy(wanted + sizeof(node), key, size);
    return name_hash(wanted, HASHED(size));
}

struct fs_name *nodes_name_find(struct fs_nodes *nodes, uint64_t node, const char *key, size_t size)
{
    if (size > NODES_NAME_MAX)
        return NULL; /* nothing has such a name */
    return name_find(nodes, node, key, size, name_hash_of(node, key, size));
}

struct fs_name *nodes_name_get(struct fs_nodes *nodes, uint64_t node, const char *key, size_t size)
{
    struct fs_name *name;
    unsigned hash;

    if (size > NODES_NAME_MAX)
        return NULL;
    hash = name_hash_of(node, key, size);
    name = name_find(nodes, node, key, size, hash);
    if (name != NULL) {
        name->refs++;
        return name;
    }
    name = calloc(1, sizeof(*name) + size + 1);
    if (name == NULL)
        return NULL;
    name->hash = hash;
    name->refs = 1;
    name->node = node;
    name->size = (uint16_t)size;
    if (size > 0)
        memcpy(name->key, key, size);
    fs_table_add(&nodes->names, &name->link);
    return name;
}

void nodes_name_put(struct fs_nodes *nodes, struct fs_name *name)
{
    assert(name->refs > 0);
    if (--name->refs > 0)
        return;
    assert(name->current == NULL && name->inodes == NULL && name->locks == NULL && !name->locked);
    fs_table_remove(&nodes->names, &name->link);
    free(name);
}

/* ---------------------------------------------------------------------------- references */

static struct fs_name *name_get(struct fs *fs, uint64_t node, const char *key)
{
    struct fs_name *name;

    pthread_mutex_lock(&fs->nodes->lock);
    name = nodes_name_get(fs->nodes, node, key, strlen(key));
    pthread_mutex_unlock(&fs->nodes->lock);
    return name;
}

struct fs_name *fs_name_of(struct fs *fs, struct fs_inode *inode)
{
    struct fs_name *name;

    pthread_mutex_lock(&fs->nodes->lock);
    name = inode->name;
    name->refs++;
    pthread_mutex_unlock(&fs->nodes->lock);
    return name;
}

struct fs_name *fs_name_find(struct fs *fs, const struct kv_ref *ref)
{
    struct fs_name *name;

    pthread_mutex_lock(&fs->nodes->lock);
    name = nodes_name_find(fs->nodes, ref->node, ref->key, ref->size);
    if (name != NULL)
        name->refs++;
    pthread_mutex_unlock(&fs->nodes->lock);
    return name;
}

void fs_name_put(struct fs *fs, struct fs_name *name)
{
    pthread_mutex_lock(&fs->nodes->lock);
    nodes_name_put(fs->nodes, name);
    pthread_mutex_unlock(&fs->nodes->lock);
}

struct fs_inode *fs_name_current(struct fs *fs, struct fs_name *name)
{
    struct fs_inode *inode;

    pthread_mutex_lock(&fs->nodes->lock);
    inode = name->current;
    if (inode != NULL)
        inode->refs++;
    pthread_mutex_unlock(&fs->nodes->lock);
    return inode;
}

/* -------------------------------------------------------------------------------- locking */

/* A lock is a mark at the name. Who waits for one waits for it together with those who wait for some others. */
#define NAME_STRIPES 64
static struct name_stripe {
    pthread_mutex_t lock;
    pthread_cond_t freed;
} name_stripes[NAME_STRIPES] = {
    [0 ... NAME_STRIPES - 1] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER},
};

static void name_set_locked(struct fs_name *name, bool locked)
{
    struct name_stripe *stripe = &name_stripes[name->hash % NAME_STRIPES];

    pthread_mutex_lock(&stripe->lock);
    while (locked && name->locked)
        pthread_cond_wait(&stripe->freed, &stripe->lock);
    name->locked = locked;
    if (!locked)
        pthread_cond_broadcast(&stripe->freed);
    pthread_mutex_unlock(&stripe->lock);
}

struct fs_name *fs_name_lock(struct fs *fs, uint64_t namespace_id, const char *key)
{
    struct fs_name *name = name_get(fs, namespace_id, key);

    if (name != NULL)
        name_set_locked(name, true);
    return name;
}

static bool name_is_of(struct fs *fs, struct fs_name *name, struct fs_inode *inode)
{
    bool is;

    pthread_mutex_lock(&fs->nodes->lock);
    is = inode->name == name;
    pthread_mutex_unlock(&fs->nodes->lock);
    return is;
}

struct fs_name *fs_name_lock_of(struct fs *fs, struct fs_inode *inode)
{
    for (;;) {
        struct fs_name *name = fs_name_of(fs, inode);

        name_set_locked(name, true);
        if (name_is_of(fs, name, inode))
            return name;
        fs_name_unlock(fs, name); /* a rename came in between */
    }
}

bool fs_name_lock_two(struct fs *fs, uint64_t namespace_id, const char *key, uint64_t to_namespace_id,
                      const char *to_key, struct fs_name *out[2])
{
    out[0] = name_get(fs, namespace_id, key);
    out[1] = name_get(fs, to_namespace_id, to_key);
    if (out[0] == NULL || out[1] == NULL) {
        for (int i = 0; i < 2; i++)
            if (out[i] != NULL)
                fs_name_put(fs, out[i]);
        return false;
    }
    assert(out[0] != out[1]);
    name_set_locked(out[out[0] > out[1]], true);
    name_set_locked(out[out[0] < out[1]], true);
    return true;
}

void fs_name_unlock(struct fs *fs, struct fs_name *name)
{
    name_set_locked(name, false);
    fs_name_put(fs, name);
}

/* ------------------------------------------------------------------------------- changing */

static void name_remove_locked(struct fs_name *name)
{
    struct fs_inode *inode;

    LL_FOREACH(name->inodes, inode)
        nodes_set_state(inode, FS_REMOVED);
}

void fs_name_remove(struct fs *fs, struct fs_name *name)
{
    pthread_mutex_lock(&fs->nodes->lock);
    name_remove_locked(name);
    pthread_mutex_unlock(&fs->nodes->lock);
}

/* Move what still has a name to another one. What was removed stays where it was: its handles' opens look there. */
static void name_move_inodes(struct fs *fs, struct fs_inode *inodes, struct fs_name *to,
                             struct fs_inode *namespace)
{
    while (inodes != NULL) {
        struct fs_inode *inode = inodes, *next = inode->next;
        enum fs_inode_state state = inode->state;

        if (state != FS_REMOVED) {
            nodes_set_state(inode, FS_DISPLACED);
            nodes_set_name(fs, inode, to, namespace);
            nodes_set_state(inode, state);
        }
        inodes = next;
    }
}

void fs_name_move(struct fs *fs, struct fs_name *from, struct fs_inode *namespace, struct fs_name *to,
                  struct fs_inode *to_namespace, bool exchange)
{
    struct fs_name *aside;

    pthread_mutex_lock(&fs->nodes->lock);
    if (!exchange) {
        name_remove_locked(to);
        name_move_inodes(fs, from->inodes, to, to_namespace);
    } else if ((aside = nodes_name_get(fs->nodes, 0, NULL, 0)) != NULL) { /* no node has this number */
        name_move_inodes(fs, to->inodes, aside, to_namespace);
        name_move_inodes(fs, from->inodes, to, to_namespace);
        name_move_inodes(fs, aside->inodes, from, namespace);
        nodes_name_put(fs->nodes, aside);
    } else { /* whoever has them open keeps the bytes; the names are looked up anew */
        name_remove_locked(from);
        name_remove_locked(to);
    }
    pthread_mutex_unlock(&fs->nodes->lock);
}

void fs_name_contend(struct fs *fs, struct fs_inode *inode)
{
    struct contended *place = &fs->nodes->contended[0];

    pthread_mutex_lock(&fs->nodes->lock);
    for (unsigned i = 1; i < CONTENDED && place->thread != fs_request_thread(); i++) /* a thread waits for one */
        if (fs->nodes->contended[i].thread == fs_request_thread() || fs->nodes->contended[i].at_ns < place->at_ns)
            place = &fs->nodes->contended[i];
    *place = (struct contended){inode->name->node, inode->name->hash, fs_request_thread(), fs_now_ns()};
    pthread_mutex_unlock(&fs->nodes->lock);
}

bool fs_name_was_contended(struct fs *fs, struct fs_inode *inode, bool forget)
{
    int64_t since_ns = fs_now_ns() - CONTENDED_NS;
    bool was = false;

    pthread_mutex_lock(&fs->nodes->lock);
    for (unsigned i = 0; i < CONTENDED; i++) {
        struct contended *contended = &fs->nodes->contended[i];

        if (contended->node != inode->name->node || contended->hash != inode->name->hash ||
            contended->thread != fs_request_thread())
            continue;
        was |= contended->at_ns > since_ns;
        if (forget)
            contended->thread = 0;
    }
    pthread_mutex_unlock(&fs->nodes->lock);
    return was;
}

void fs_name_set_moving(struct fs *fs, struct fs_name *name, bool moving)
{
    pthread_mutex_lock(&fs->nodes->lock);
    name->moving = moving;
    pthread_mutex_unlock(&fs->nodes->lock);
}

bool fs_inode_is_moving(struct fs *fs, struct fs_inode *inode, const struct kv_ref *ref,
                        const struct kv_attr *found)
{
    bool other, moving;

    pthread_mutex_lock(&fs->nodes->lock);
    other = inode->told.known && (found == NULL || found->ino != inode->told.ino);
    moving = (other && inode->name->moving) ||
             nodes_name_find(fs->nodes, ref->node, ref->key, ref->size) != inode->name;
    pthread_mutex_unlock(&fs->nodes->lock);
    return moving;
}

void fs_name_settle(struct fs *fs, struct fs_inode *inode) { fs_name_unlock(fs, fs_name_lock_of(fs, inode)); }
