#include "fs/names/lookup.h"

#include "fs/content/handle.h"
#include "fs/control/control.h"
#include "fs/nodes/view.h"

#include <errno.h>
#include <string.h>

/* To open what a contended name leads to, before it leads elsewhere. */
#define AHEAD_TRIES 16

/* An entry leads to an inode: the kernel gets the reference. */
static void lookup_fill(struct fs *fs, struct fs_inode *inode, double timeout, struct fuse_entry_param *entry)
{
    entry->ino = inode->id;
    entry->generation = fs_generation(fs);
    entry->entry_timeout = entry->attr_timeout = timeout;
    fs_inode_to_kernel(fs, inode);
}

int fs_lookup_made(struct fs *fs, struct fs_inode *inode, struct fuse_entry_param *entry)
{
    double timeout;
    int rc = fs_getattr(fs, inode, &entry->attr, &timeout);

    if (rc < 0)
        fs_inode_put(fs, inode);
    else
        lookup_fill(fs, inode, timeout, entry);
    return rc;
}

int fs_lookup_node(struct fs *fs, struct fs_inode *parent, const struct kv_node *node,
                   struct fuse_entry_param *entry)
{
    struct fs_inode *inode;
    int rc = fs_inode_of_node(fs, parent, node, &inode);

    if (rc < 0)
        return rc;
    fs_tell_node(fs, inode, node, &entry->attr);
    lookup_fill(fs, inode, fs_timeout_full(fs), entry);
    return 0;
}

/* ----------------------------------------------------------------------------------- keys */

/* What there is to say about a key. */
struct lookup_finding {
    struct kv_meta meta;
    double timeout;
    bool again;  /* the inode has lost the name */
    bool other;  /* its name leads to another object or version, or to one of another owner or mode */
    bool moving; /* it is about to get another one */
};

static int lookup_ask(struct fs *fs, struct fs_inode *inode, const struct kv_ref *ref, struct lookup_finding *out)
{
    struct kv_fresh fresh = {0};
    int rc = kv_stat(fs->store, ref, &out->meta, &fresh);

    out->timeout = fs_timeout_of(&fresh);
    out->moving =
        (rc == 0 || rc == -ENOENT) && fs_inode_is_moving(fs, inode, ref, rc == 0 ? &out->meta.attr : NULL);
    return rc;
}

/* Of a key that is open: what this node wrote is newer than the central storage; what it only reads may be older.
 */
static int lookup_open_locked(struct fs *fs, struct fs_inode *inode, const struct kv_ref *ref,
                              struct lookup_finding *out)
{
    struct fs_body *body = inode->body;
    int rc = 0;

    pthread_rwlock_wrlock(&body->io);
    if (fs_body_is_local_locked(body)) {
        out->meta = body->meta;
        out->timeout = fs_timeout_of_key(fs, &body->meta);
    } else {
        rc = lookup_ask(fs, inode, ref, out);
        out->other =
            rc == 0 && (out->meta.version != body->meta.version || !fs_told_is(fs, inode, &out->meta.attr));
        if (rc == 0 && !out->moving && !out->other)
            body->meta = out->meta;
    }
    pthread_rwlock_unlock(&body->io);
    return rc;
}

static int lookup_closed_locked(struct fs *fs, struct fs_inode *inode, const struct kv_ref *ref,
                                struct lookup_finding *out)
{
    int rc = lookup_ask(fs, inode, ref, out);

    out->other = rc == 0 && !fs_inode_shows(fs, inode, &out->meta);
    return rc;
}

/* Find what the current inode of a key shows.
 * returns  0 and a reference to it; -ENOENT ... */
static int lookup_current(struct fs *fs, struct fs_inode *namespace, const char *key, size_t size,
                          struct lookup_finding *finding, struct fs_inode **out)
{
    struct kv_ref ref = kv_ref_key(namespace->name->node, key, size);
    int rc;

    do {
        *finding = (struct lookup_finding){.again = false};
        rc = fs_inode_of_key(fs, namespace, key, size, out);
        if (rc < 0)
            return rc;
        fs_inode_lock(fs, *out);
        if (fs_inode_state(fs, *out) != FS_CURRENT)
            finding->again = true; /* somebody else took the name just now */
        else if ((*out)->body != NULL)
            rc = lookup_open_locked(fs, *out, &ref, finding);
        else
            rc = lookup_closed_locked(fs, *out, &ref, finding);
        if (!finding->moving && (finding->other || rc == -ENOENT)) {
            fs_inode_displace(fs, *out);
            finding->again |= rc == 0;
        }
        fs_inode_unlock(fs, *out);
        if (finding->moving)
            fs_name_settle(fs, *out);
        if (finding->again || finding->moving || rc < 0)
            fs_inode_put(fs, *out);
    } while (finding->again || finding->moving);
    return rc;
}

static int lookup_key(struct fs *fs, struct fs_inode *namespace, const char *key, size_t size,
                      const struct kv_usage *usage, uid_t uid, struct fuse_entry_param *entry)
{
    struct lookup_finding finding;
    struct fs_inode *inode = NULL;
    bool contended = false;
    int rc = 0;

    fs_opened_ahead_end(fs, false);
    for (int i = 0; i < AHEAD_TRIES; i++) {
        rc = lookup_current(fs, namespace, key, size, &finding, &inode);
        entry->entry_timeout = finding.timeout;
        if (rc < 0)
            return rc;
        contended |= usage != NULL && fs_name_was_contended(fs, inode, false);
        if (!contended)
            break;
        if (fs_open_ahead(fs, inode, usage, uid) == 0)
            return fs_lookup_made(fs, inode, entry);
        (void)fs_because(0, NULL); /* why not, nobody asked */
        if (i < AHEAD_TRIES - 1)   /* what the cache knew is not the newest */
            fs_inode_put(fs, inode);
    }
    fs_tell_key(fs, inode, &finding.meta, &entry->attr);
    lookup_fill(fs, inode, finding.timeout, entry);
    return 0;
}

/* A temporary file: this node's tables have it, or it is not there. */
static int lookup_temporary(struct fs *fs, struct fs_inode *namespace, const char *name,
                            struct fuse_entry_param *entry)
{
    struct fs_inode *inode = fs_inode_find(fs, namespace->name->node, name, strlen(name));
    int rc;

    entry->entry_timeout = fs_timeout_full(fs);
    if (inode == NULL)
        return -ENOENT;
    rc = fs_lookup_made(fs, inode, entry);
    return rc == -ESTALE ? -ENOENT : rc;
}

int fs_lookup_listed_key(struct fs *fs, struct fs_inode *namespace, const char *key, size_t size,
                         const struct kv_meta *meta, struct fuse_entry_param *entry)
{
    struct fs_inode *inode = fs_inode_find(fs, namespace->name->node, key, size);
    bool fresh = inode == NULL && meta != NULL;
    int rc;

    fs_inode_put(fs, inode);
    if (kv_name_check(KV_NAME_KEY, key, size) < 0)
        return lookup_temporary(fs, namespace, key, entry);
    if (!fresh) /* this node has told of it, or has changed it since the listing was read */
        return lookup_key(fs, namespace, key, size, NULL, 0, entry);
    rc = fs_inode_of_key(fs, namespace, key, size, &inode);
    if (rc < 0)
        return rc;
    fs_inode_lock(fs, inode);
    fresh = inode->body == NULL && fs_inode_shows(fs, inode, meta);
    fs_inode_unlock(fs, inode);
    if (!fresh) {
        fs_inode_put(fs, inode);
        return lookup_key(fs, namespace, key, size, NULL, 0, entry);
    }
    fs_tell_key(fs, inode, meta, &entry->attr);
    lookup_fill(fs, inode, fs_timeout_of_key(fs, meta), entry);
    return 0;
}

/* ---------------------------------------------------------------------------------- nodes */

static int lookup_child(struct fs *fs, struct fs_inode *parent, const char *name, struct fuse_entry_param *entry)
{
    struct kv_node node;
    int rc;

    if (strlen(name) > KV_NAME_MAX)
        return -ENAMETOOLONG;
    rc = kv_node_find(fs->store, parent->name->node, name, strlen(name), &node);
    if (rc == 0)
        return fs_lookup_node(fs, parent, &node, entry);
    entry->entry_timeout = fs_timeout_full(fs);
    return rc;
}

bool fs_is_control_name(struct fs *fs, const struct fs_inode *parent, const char *name)
{
    return parent->kind == FS_CONTROL_DIR || (parent == fs_root(fs) && strcmp(name, FS_CONTROL_NAME) == 0);
}

/* Control files are numbered from 0, their directory is -1. */
static int lookup_control(struct fs *fs, struct fs_inode *parent, const char *name, struct fuse_entry_param *entry)
{
    int index = parent->kind == FS_CONTROL_DIR ? fs_control_find(name) : -1;
    struct fs_inode *inode;
    int rc;

    if (parent->kind == FS_CONTROL_DIR && index < 0)
        return -ENOENT;
    fs_control_stat(fs, index, &entry->attr);
    rc = fs_inode_of_control(fs, index < 0 ? FS_CONTROL_DIR : FS_CONTROL_FILE, entry->attr.st_ino, &inode);
    if (rc < 0)
        return rc;
    lookup_fill(fs, inode, fs_timeout_full(fs), entry);
    entry->attr_timeout = 0;
    return 0;
}

/* In a directory that is gone. One that was made anew in its place, with the same owner and mode (or to root), can
 * tell that the name is not there: mkdir(2) and its like then go on to the change, which has the kernel look the
 * path up again; a lookup does not. */
static int lookup_in_gone(struct fs *fs, struct fs_inode *gone, const char *name, uid_t uid)
{
    struct kv_attr told = fs_told(fs, gone);
    char label[KV_NAME_MAX + 1];
    struct fs_inode *parent = fs_inode_parent(fs, gone, label);
    struct kv_node anew, child;
    struct kv_meta meta;
    struct kv_ref ref;
    int rc = -ESTALE;

    if (parent != NULL && label[0] != '\0' && fs_check_seen(fs, parent, NULL) == 0)
        rc = kv_node_find(fs->store, parent->name->node, label, strlen(label), &anew);
    fs_inode_put(fs, parent);
    if (rc < 0 || anew.id == gone->name->node ||
        (uid != 0 && (anew.attr.mode != told.mode || anew.attr.uid != told.uid || anew.attr.gid != told.gid)))
        return -ESTALE;
    ref = kv_ref_key(anew.id, name, strlen(name));
    rc = anew.kind == KV_NAMESPACE ? kv_get_newest(fs->store, &ref, &meta, NULL)
                                   : kv_node_find(fs->store, anew.id, name, strlen(name), &child);
    return rc == -ENOENT ? rc : -ESTALE;
}

/* ---------------------------------------------------------------------------------- views */

static int lookup_view(struct fs *fs, struct fs_inode *dir, const char *name, struct fuse_entry_param *entry)
{
    struct fs_inode *inode;
    struct kv_node node;
    int rc = kv_node_get(fs->store, dir->name->node, &node);

    if (rc < 0)
        return rc == -ENOENT ? fs_stale(fs, dir) : rc;
    rc = fs_inode_of_view(fs, dir, name, &inode);
    if (rc < 0)
        return rc;
    fs_tell_node(fs, inode, &node, &entry->attr);
    lookup_fill(fs, inode, 0, entry);
    return 0;
}

static int lookup_in_view(struct fs *fs, struct fs_inode *view, const char *name, const struct kv_usage *usage,
                          uid_t uid, struct fuse_entry_param *entry)
{
    size_t size = strlen(name);
    int rc;

    if (fs_view_first(view) == NULL)
        return lookup_view(fs, view, name, entry);
    if (!fs_view_shows(view, name, size))
        return kv_name_check(KV_NAME_KEY, name, size) == -ENAMETOOLONG ? -ENAMETOOLONG : -ENOENT;
    rc = lookup_key(fs, fs_view_namespace(view), name, size, usage, uid, entry);
    entry->entry_timeout = 0;
    return rc;
}

int fs_lookup(struct fs *fs, struct fs_inode *parent, const char *name, uid_t uid, struct fuse_entry_param *entry)
{
    struct kv_usage usage;
    int rc;

    if (fs_is_control_name(fs, parent, name))
        return lookup_control(fs, parent, name, entry);
    if (parent->kind != FS_NODE && parent->kind != FS_VIEW)
        return parent->kind == FS_GONE ? -ESTALE : -ENOTDIR;
    rc = fs_check_seen(fs, parent, &usage);
    if (rc == -ESTALE)
        return lookup_in_gone(fs, parent, name, uid);
    if (rc < 0)
        return rc;
    if (parent->kind == FS_VIEW)
        return lookup_in_view(fs, parent, name, &usage, uid, entry);
    if (!fs_is_namespace(parent))
        return lookup_child(fs, parent, name, entry);
    if (fs_is_view_name(parent, name))
        return lookup_view(fs, parent, name, entry);
    rc = kv_name_check(KV_NAME_KEY, name, strlen(name));
    if (rc == -ENAMETOOLONG)
        return rc;
    if (rc < 0)
        return lookup_temporary(fs, parent, name, entry);
    return lookup_key(fs, parent, name, strlen(name), &usage, uid, entry);
}
