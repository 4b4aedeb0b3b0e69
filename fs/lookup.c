#include "fs/lookup.h"

#include "fs/attr.h"
#include "fs/control/control.h"
#include "fs/file.h"
#include "fs/offer.h"
#include "fs/scratch.h"

#include <errno.h>
#include <string.h>

static void fill_entry(struct fs *fs, struct fs_inode *inode, double timeout, struct fuse_entry_param *entry)
{
    entry->ino = fs_inode_id(inode);
    entry->generation = 0;
    entry->entry_timeout = entry->attr_timeout = timeout;
    fs_inode_to_kernel(fs, inode);
}

int fs_lookup_node(struct fs *fs, struct fs_inode *parent, const struct kv_node *node,
                   struct fuse_entry_param *entry)
{
    struct fs_inode *inode;
    int rc = fs_inode_of_node(fs, parent, node, &inode);

    if (rc < 0)
        return rc;
    fs_attr_of_node(fs, node, &entry->attr);
    fill_entry(fs, inode, fs_timeout_full(fs), entry);
    entry->attr_timeout = 0; /* asked for when wanted, and then followed by notifications */
    return 0;
}

/* What there is to say about a key. */
struct finding {
    struct kv_meta meta;
    double timeout;
    bool detached; /* the incarnation shows another value: look again */
};

/* Ask the store, or take what a listing found. The inode's lock is held. */
static int ask(struct fs *fs, struct fs_inode *inode, const struct kv_ref *ref, const struct kv_meta *listed,
               struct finding *out)
{
    struct kv_fresh fresh = {0};
    int rc;

    if (listed != NULL) {
        out->meta = *listed;
        out->timeout = fs_timeout_full(fs);
        return 0;
    }
    rc = fs_offer_stat(fs, inode, ref, &out->meta, &fresh);
    out->timeout = fs_timeout_of(&fresh);
    return rc;
}

/* Of a key that is open: what this node wrote is newer than the central; what it only reads may be
 * older, and then the name goes to a new incarnation. What a listing found may be older than either. */
static int find_open(struct fs *fs, struct fs_inode *inode, const struct kv_ref *ref, struct finding *out)
{
    struct fs_body *body = inode->body;
    int rc = 0;

    pthread_rwlock_wrlock(&body->io);
    if (!fs_body_is_local(body)) {
        rc = ask(fs, inode, ref, NULL, out);
        if (rc == -ENOENT || (rc == 0 && out->meta.version != body->meta.version)) {
            fs_inode_detach(fs, inode);
            out->detached = rc == 0;
        } else if (rc == 0) {
            body->meta = out->meta;
        }
    } else {
        out->meta = body->meta;
        out->timeout = fs_timeout_full(fs);
    }
    pthread_rwlock_unlock(&body->io);
    return rc;
}

static int find_closed(struct fs *fs, struct fs_inode *inode, const struct kv_ref *ref,
                       const struct kv_meta *listed, struct finding *out)
{
    int rc = ask(fs, inode, ref, listed, out);

    if (rc == 0)
        fs_inode_adopt(fs, inode, out->meta.version);
    else if (rc == -ENOENT)
        fs_inode_detach(fs, inode);
    return rc;
}

static int find_key(struct fs *fs, struct fs_inode *namespace, const char *key, size_t size,
                    const struct kv_meta *listed, struct fuse_entry_param *entry)
{
    struct kv_ref ref = kv_ref_key(namespace->id, key, size);
    struct finding finding;
    struct fs_inode *inode;
    int rc;

    for (;;) {
        finding = (struct finding){0};
        rc = fs_inode_of_key(fs, namespace, key, size, &inode);
        if (rc < 0)
            return rc;
        fs_inode_lock(fs, inode);
        if (!fs_inode_is_current(fs, inode))
            finding.detached = true; /* by somebody else, just now */
        else if (inode->body != NULL)
            rc = find_open(fs, inode, &ref, &finding);
        else
            rc = find_closed(fs, inode, &ref, listed, &finding);
        fs_inode_unlock(fs, inode);
        if (!finding.detached)
            break;
        fs_inode_put(fs, inode);
    }
    entry->entry_timeout = finding.timeout;
    if (rc < 0) {
        fs_inode_put(fs, inode);
        return rc;
    }
    fs_attr_of_key(&finding.meta, &entry->attr);
    fill_entry(fs, inode, finding.timeout, entry);
    return 0;
}

int fs_lookup_listed_key(struct fs *fs, struct fs_inode *namespace, const char *key, size_t size,
                         const struct kv_meta *meta, struct fuse_entry_param *entry)
{
    return find_key(fs, namespace, key, size, meta, entry);
}

static int find_node(struct fs *fs, struct fs_inode *parent, const char *name, struct fuse_entry_param *entry)
{
    struct kv_node node;
    int rc;

    if (strlen(name) > KV_NAME_MAX)
        return -ENAMETOOLONG;
    rc = kv_node_find(fs->store, parent->id, name, strlen(name), &node);
    if (rc == 0)
        return fs_lookup_node(fs, parent, &node, entry);
    entry->entry_timeout = fs_timeout_full(fs);
    return rc;
}

static int find_control(struct fs *fs, struct fs_inode *parent, const char *name, struct fuse_entry_param *entry)
{
    enum fs_kind kind = parent->kind == FS_CONTROL_DIR ? FS_CONTROL_FILE : FS_CONTROL_DIR;
    int index = kind == FS_CONTROL_FILE ? fs_control_find(name) : FS_CONTROL_TOP, rc;
    struct fs_inode *inode;

    if (kind == FS_CONTROL_FILE && index < 0)
        return -ENOENT;
    rc = fs_inode_control(fs, kind, (uint64_t)(index + 3), &inode);
    if (rc < 0)
        return rc;
    fs_attr_of_control(inode, &entry->attr);
    entry->ino = fs_inode_id(inode);
    entry->attr_timeout = 0;
    entry->entry_timeout = fs_timeout_full(fs);
    fs_inode_to_kernel(fs, inode);
    return 0;
}

int fs_lookup(struct fs *fs, struct fs_inode *parent, const char *name, struct fuse_entry_param *entry)
{
    int rc;

    if (parent->kind == FS_CONTROL_DIR || (parent == fs->nodes->root && strcmp(name, FS_CONTROL_NAME) == 0))
        return find_control(fs, parent, name, entry);
    if (parent->kind != FS_NODE)
        return -ENOTDIR;
    if (parent->node_kind != KV_NAMESPACE)
        return find_node(fs, parent, name, entry);
    rc = kv_name_check(KV_NAME_KEY, name, strlen(name));
    if (rc == -ENAMETOOLONG)
        return rc;
    if (name[0] == '.')
        return fs_scratch_lookup(fs, parent, name, entry);
    if (rc < 0) { /* no key can have this name: true for ever */
        entry->entry_timeout = fs_timeout_full(fs);
        return -ENOENT;
    }
    return find_key(fs, parent, name, strlen(name), NULL, entry);
}
