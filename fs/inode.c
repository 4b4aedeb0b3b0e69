#include "fs/inode.h"

#include "fs/offer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct fs_inode *fs_inode_of(struct fs *fs, fuse_ino_t id)
{
    return id == FUSE_ROOT_ID ? fs->nodes->root : (struct fs_inode *)(uintptr_t)id;
}

/* ---------------------------------------------------------- table (fs->nodes->lock) */

static struct fs_inode *table_find(struct fs *fs, uint64_t node, const char *key, size_t size)
{
    unsigned char name[sizeof(struct fs_name) + KV_KEY_MAX]; /* as an fs_name without its NUL */
    struct fs_inode *inode;

    if (size > KV_KEY_MAX)
        return NULL; /* nothing has such a name */
    memcpy(name, &node, sizeof(node));
    if (size > 0)
        memcpy(name + sizeof(node), key, size);
    HASH_FIND(hh, fs->nodes->table, name, sizeof(node) + size, inode);
    return inode;
}

static bool has_name(const struct fs_inode *inode, const struct kv_ref *ref)
{
    return inode->name->node == ref->node && inode->name_size == ref->size &&
           memcmp(inode->name->key, ref->key, ref->size) == 0;
}

/* After a change of `current` or `unlinked`. */
static void list_loose(struct fs *fs, struct fs_inode *inode)
{
    bool loose = inode->kind == FS_KEY && !inode->current && !inode->unlinked;

    if (loose && !inode->loose)
        DL_APPEND2(fs->nodes->loose, inode, loose_prev, loose_next);
    else if (!loose && inode->loose)
        DL_DELETE2(fs->nodes->loose, inode, loose_prev, loose_next);
    inode->loose = loose;
}

static void set_unlinked(struct fs *fs, struct fs_inode *inode)
{
    inode->unlinked = true;
    list_loose(fs, inode);
}

static void table_add(struct fs *fs, struct fs_inode *inode)
{
    inode->current = true;
    list_loose(fs, inode);
    HASH_ADD_KEYPTR(hh, fs->nodes->table, inode->name, sizeof(inode->name->node) + inode->name_size, inode);
}

static void table_remove(struct fs *fs, struct fs_inode *inode)
{
    if (!inode->current)
        return;
    inode->current = false;
    HASH_DEL(fs->nodes->table, inode);
    list_loose(fs, inode);
}

static struct fs_name *name_new(uint64_t node, const char *key, size_t size)
{
    struct fs_name *name = malloc(sizeof(*name) + size + 1);

    if (name == NULL)
        return NULL;
    name->node = node;
    if (size > 0)
        memcpy(name->key, key, size);
    name->key[size] = '\0';
    return name;
}

static struct fs_inode *inode_new(struct fs *fs, enum fs_kind kind, uint64_t node, const char *key, size_t size)
{
    struct fs_inode *inode = calloc(1, sizeof(*inode));

    if (inode == NULL)
        return NULL;
    inode->name = name_new(node, key, size);
    if (inode->name == NULL) {
        free(inode);
        return NULL;
    }
    pthread_mutex_init(&inode->naming, NULL);
    inode->kind = kind;
    inode->name_size = size;
    inode->refs = 1;
    DL_APPEND(fs->nodes->inodes, inode);
    fs->inodes++;
    return inode;
}

static void inode_free(struct fs *fs, struct fs_inode *inode)
{
    set_unlinked(fs, inode); /* off the list */
    DL_DELETE(fs->nodes->inodes, inode);
    fs->inodes--;
    fs_offer_drop(inode);
    pthread_mutex_destroy(&inode->naming);
    free(inode->name);
    free(inode->label);
    free(inode);
}

static void set_parent(struct fs_inode *inode, struct fs_inode *parent)
{
    inode->parent = parent;
    if (parent != NULL)
        parent->refs++;
}

/* Free what nobody refers to any more, and then maybe its parent. */
static void reap(struct fs *fs, struct fs_inode *inode)
{
    while (inode != NULL && inode->refs == 0 && inode->lookups == 0) {
        struct fs_inode *parent = inode->parent;

        table_remove(fs, inode);
        inode_free(fs, inode);
        if (parent != NULL)
            parent->refs--;
        inode = parent;
    }
}

/* ----------------------------------------------------------------- life cycle */

int fs_inodes_new(struct fs *fs)
{
    pthread_mutex_init(&fs->nodes->lock, NULL);
    for (size_t i = 0; i < FS_LOCKS_STRIPES; i++)
        pthread_mutex_init(&fs->nodes->inode_locks[i], NULL);
    fs->nodes->root = inode_new(fs, FS_NODE, KV_ROOT_ID, NULL, 0);
    if (fs->nodes->root == NULL)
        return -ENOMEM;
    fs->nodes->root->node_kind = KV_ROOT;
    fs->nodes->root->id = KV_ROOT_ID;
    table_add(fs, fs->nodes->root);
    return 0;
}

void fs_inodes_free(struct fs *fs)
{
    struct fs_inode *inode, *next;

    HASH_CLEAR(hh, fs->nodes->table);
    DL_FOREACH_SAFE(fs->nodes->inodes, inode,
                    next) /* the kernel does not forget what it knew when it is unmounted */
        inode_free(fs, inode);
    for (size_t i = 0; i < FS_LOCKS_STRIPES; i++)
        pthread_mutex_destroy(&fs->nodes->inode_locks[i]);
    pthread_mutex_destroy(&fs->nodes->lock);
}

static int find_or_add(struct fs *fs, enum fs_kind kind, struct fs_inode *parent, uint64_t node, const char *key,
                       size_t size, struct fs_inode **out)
{
    struct fs_inode *inode = table_find(fs, node, key, size);

    if (inode != NULL) {
        inode->refs++;
        *out = inode;
        return 0;
    }
    inode = inode_new(fs, kind, node, key, size);
    if (inode == NULL)
        return -ENOMEM;
    set_parent(inode, parent);
    table_add(fs, inode);
    *out = inode;
    return 0;
}

static void relabel(struct fs_inode *inode, const char *label)
{
    char *copy;

    if (inode->label != NULL && strcmp(inode->label, label) == 0)
        return;
    copy = strdup(label);
    if (copy == NULL)
        return; /* a message will show the old name */
    free(inode->label);
    inode->label = copy;
}

int fs_inode_of_node(struct fs *fs, struct fs_inode *parent, const struct kv_node *node, struct fs_inode **out)
{
    int rc;

    pthread_mutex_lock(&fs->nodes->lock);
    rc = find_or_add(fs, FS_NODE, parent, node->id, NULL, 0, out);
    if (rc == 0) {
        (*out)->node_kind = node->kind;
        (*out)->id = node->id;
        relabel(*out, node->name);
    }
    pthread_mutex_unlock(&fs->nodes->lock);
    return rc;
}

int fs_inode_of_key(struct fs *fs, struct fs_inode *namespace, const char *key, size_t size, struct fs_inode **out)
{
    int rc;

    pthread_mutex_lock(&fs->nodes->lock);
    rc = find_or_add(fs, FS_KEY, namespace, namespace->id, key, size, out);
    pthread_mutex_unlock(&fs->nodes->lock);
    return rc;
}

int fs_inode_control(struct fs *fs, enum fs_kind kind, uint64_t which, struct fs_inode **out)
{
    int rc;

    pthread_mutex_lock(&fs->nodes->lock);
    rc = find_or_add(fs, kind, fs->nodes->root, which, NULL, 0, out);
    if (rc == 0)
        (*out)->id = which;
    pthread_mutex_unlock(&fs->nodes->lock);
    return rc;
}

struct fs_inode *fs_inode_find(struct fs *fs, uint64_t namespace_id, const char *key, size_t size)
{
    struct fs_inode *inode;

    pthread_mutex_lock(&fs->nodes->lock);
    inode = table_find(fs, namespace_id, key, size);
    if (inode != NULL)
        inode->refs++;
    pthread_mutex_unlock(&fs->nodes->lock);
    return inode;
}

struct fs_inode *fs_inode_find_loose(struct fs *fs, const struct kv_ref *ref, unsigned number)
{
    struct fs_inode *inode;

    pthread_mutex_lock(&fs->nodes->lock);
    DL_FOREACH2(fs->nodes->loose, inode, loose_next)
        if (has_name(inode, ref) && number-- == 0)
            break;
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
    inode->refs--;
    reap(fs, inode);
    pthread_mutex_unlock(&fs->nodes->lock);
}

void fs_inode_to_kernel(struct fs *fs, struct fs_inode *inode)
{
    pthread_mutex_lock(&fs->nodes->lock);
    inode->lookups++;
    inode->refs--;
    pthread_mutex_unlock(&fs->nodes->lock);
}

void fs_inode_forget(struct fs *fs, struct fs_inode *inode, uint64_t lookups)
{
    pthread_mutex_lock(&fs->nodes->lock);
    if (inode != fs->nodes->root) { /* the root is never looked up */
        inode->lookups -= lookups;
        reap(fs, inode);
    }
    pthread_mutex_unlock(&fs->nodes->lock);
}

/* ---------------------------------------------------------------------- names */

bool fs_inode_ref(struct fs *fs, struct fs_inode *inode, struct kv_ref *out)
{
    bool named;

    pthread_mutex_lock(&fs->nodes->lock);
    named = !inode->unlinked;
    *out = kv_ref_key(inode->name->node, inode->name->key, inode->name_size);
    pthread_mutex_unlock(&fs->nodes->lock);
    return named;
}

bool fs_inode_is_current(struct fs *fs, struct fs_inode *inode)
{
    bool current;

    pthread_mutex_lock(&fs->nodes->lock);
    current = inode->current;
    pthread_mutex_unlock(&fs->nodes->lock);
    return current;
}

fuse_ino_t fs_inode_parent_id(struct fs *fs, struct fs_inode *inode)
{
    fuse_ino_t id;

    pthread_mutex_lock(&fs->nodes->lock);
    id = inode->parent == NULL || inode->parent == fs->nodes->root ? FUSE_ROOT_ID : fs_inode_id(inode->parent);
    pthread_mutex_unlock(&fs->nodes->lock);
    return id;
}

/* Take a name off its current incarnation. returns  it, detached now as others of the name may be; or NULL */
static struct fs_inode *take_off(struct fs *fs, const struct kv_ref *ref)
{
    struct fs_inode *inode = table_find(fs, ref->node, ref->key, ref->size);

    if (inode != NULL)
        table_remove(fs, inode);
    return inode;
}

void fs_inode_detach(struct fs *fs, struct fs_inode *inode)
{
    pthread_mutex_lock(&fs->nodes->lock);
    table_remove(fs, inode);
    pthread_mutex_unlock(&fs->nodes->lock);
}

void fs_inode_unlink(struct fs *fs, const struct kv_ref *ref)
{
    struct fs_inode *inode, *next;

    pthread_mutex_lock(&fs->nodes->lock);
    (void)take_off(fs, ref);
    DL_FOREACH_SAFE2(fs->nodes->loose, inode, next, loose_next)
        if (has_name(inode, ref))
            set_unlinked(fs, inode);
    pthread_mutex_unlock(&fs->nodes->lock);
}

bool fs_inode_attach(struct fs *fs, struct fs_inode *inode)
{
    struct fs_inode *other;
    bool changed;

    pthread_mutex_lock(&fs->nodes->lock);
    changed = !inode->current && !inode->unlinked;
    if (changed) {
        other = table_find(fs, inode->name->node, inode->name->key, inode->name_size);
        if (other != NULL)
            table_remove(fs, other);
        table_add(fs, inode);
    }
    pthread_mutex_unlock(&fs->nodes->lock);
    return changed;
}

/* Give a detached inode another name. Without memory for it, it keeps the one that it has. */
static void give_name(struct fs *fs, struct fs_inode *inode, struct fs_inode *namespace, const struct kv_ref *ref)
{
    struct fs_name *name = name_new(ref->node, ref->key, ref->size);
    struct fs_inode *old_parent = inode->parent;

    if (name == NULL)
        return;
    free(inode->name);
    inode->name = name;
    inode->name_size = ref->size;
    set_parent(inode, namespace);
    old_parent->refs--;
    reap(fs, old_parent);
}

void fs_inode_rename(struct fs *fs, struct fs_inode *namespace, const char *key, struct fs_inode *to_namespace,
                     const char *to_key, bool exchange)
{
    struct kv_ref from = kv_ref_key(namespace->id, key, strlen(key));
    struct kv_ref to = kv_ref_key(to_namespace->id, to_key, strlen(to_key));
    struct fs_inode *moved, *displaced, *inode, *next;

    pthread_mutex_lock(&fs->nodes->lock);
    moved = take_off(fs, &from);
    displaced = take_off(fs, &to);
    DL_FOREACH_SAFE2(fs->nodes->loose, inode, next, loose_next) {
        if (has_name(inode, &from))
            give_name(fs, inode, to_namespace, &to);
        else if (has_name(inode, &to) && exchange)
            give_name(fs, inode, namespace, &from);
        else if (has_name(inode, &to))
            set_unlinked(fs, inode);
    }
    if (moved != NULL && has_name(moved, &to))
        table_add(fs, moved);
    if (displaced != NULL && has_name(displaced, &from))
        table_add(fs, displaced);
    pthread_mutex_unlock(&fs->nodes->lock);
}

void fs_inode_told(struct fs *fs, struct fs_inode *inode)
{
    pthread_mutex_lock(&fs->nodes->lock);
    inode->has_attr = true;
    pthread_mutex_unlock(&fs->nodes->lock);
}

void fs_inode_touch(struct fs *fs, struct fs_inode *namespace)
{
    pthread_mutex_lock(&fs->nodes->lock);
    namespace->touched_ns = fs_now_ns();
    pthread_mutex_unlock(&fs->nodes->lock);
}

int64_t fs_inode_touched_ns(struct fs *fs, uint64_t node_id)
{
    struct fs_inode *inode;
    int64_t touched_ns;

    pthread_mutex_lock(&fs->nodes->lock);
    inode = table_find(fs, node_id, NULL, 0);
    touched_ns = inode != NULL ? inode->touched_ns : 0;
    pthread_mutex_unlock(&fs->nodes->lock);
    return touched_ns;
}

void fs_inode_relabel(struct fs *fs, struct fs_inode *inode, struct fs_inode *parent, const char *label)
{
    struct fs_inode *old_parent;

    pthread_mutex_lock(&fs->nodes->lock);
    relabel(inode, label);
    old_parent = inode->parent;
    if (old_parent != parent) {
        set_parent(inode, parent);
        old_parent->refs--;
        reap(fs, old_parent);
    }
    pthread_mutex_unlock(&fs->nodes->lock);
}

static size_t append(char *out, size_t size, size_t at, const char *text)
{
    size_t length = strlen(text);

    if (at + length >= size)
        length = size - at - 1;
    memcpy(out + at, text, length);
    out[at + length] = '\0';
    return at + length;
}

void fs_inode_path(struct fs *fs, struct fs_inode *inode, const char *child, char *out, size_t size)
{
    const char *parts[8];
    size_t count = 0, at = 0;

    out[0] = '\0';
    if (child != NULL)
        parts[count++] = child;
    pthread_mutex_lock(&fs->nodes->lock);
    for (; inode != NULL && inode != fs->nodes->root && count < 8; inode = inode->parent)
        parts[count++] = inode->name_size > 0 ? inode->name->key : inode->label != NULL ? inode->label : "?";
    while (count-- > 0) {
        at = append(out, size, at, parts[count]);
        if (count > 0)
            at = append(out, size, at, "/");
    }
    pthread_mutex_unlock(&fs->nodes->lock);
}

/* ------------------------------------------------------------ the inode's lock */

static pthread_mutex_t *lock_of(struct fs *fs, const struct fs_inode *inode)
{
    return &fs->nodes->inode_locks[((uintptr_t)inode >> 5) % FS_LOCKS_STRIPES];
}

void fs_inode_lock(struct fs *fs, struct fs_inode *inode) { pthread_mutex_lock(lock_of(fs, inode)); }

void fs_inode_unlock(struct fs *fs, struct fs_inode *inode) { pthread_mutex_unlock(lock_of(fs, inode)); }

void fs_inode_adopt(struct fs *fs, struct fs_inode *inode, uint64_t version)
{
    if (inode->version == version)
        return;
    if (inode->version != 0 || inode->has_pages) {
        /* Drop its attributes, and its pages if it can have any. Nothing of a closed file is locked in
         * the kernel, so this does not wait for requests; that the kernel knows nothing of it is as good. */
        fuse_lowlevel_notify_inval_inode(fs->session, fs_inode_id(inode), inode->has_pages ? 0 : -1, 0);
        inode->has_pages = false;
    }
    fs_offer_adopted(inode, version);
    inode->version = version;
}
