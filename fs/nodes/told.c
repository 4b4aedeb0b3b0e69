#include "fs/nodes/told.h"

#include "fs/base/errorlog.h"
#include "fs/base/notify.h"
#include "fs/base/request.h"
#include "fs/nodes/nodes_internal.h"
#include "fs/nodes/view.h"

#include <errno.h>
#include <string.h>
#include <utlist.h>

#define TOLD_DEPTH 5 /* a project's ancestors: .projects, account, root; of two directories one more */

static bool told_same_locked(const struct fs_told *told, const struct kv_attr *attr)
{
    return told->known && told->mode == attr->mode && told->uid == attr->uid && told->gid == attr->gid;
}

/* returns  whether they count as told */
static bool told_set(struct fs *fs, struct fs_inode *inode, const struct kv_attr *attr)
{
    struct fs_node *node = fs_node_of(inode);
    struct fs_told *told = &inode->told;
    bool other, counts;

    pthread_mutex_lock(&fs->nodes->lock);
    other = !told_same_locked(told, attr);
    if (other && (node == NULL || !told->known || node->told_dropped)) {
        *told = (struct fs_told){
            .known = true, .mode = attr->mode, .uid = attr->uid, .gid = attr->gid, .since = fs_request_number()};
        if (node != NULL)
            node->told_dropped = false;
    } else if (node != NULL && !other && fs_request_number() > node->told_dropped_at) {
        node->told_dropped = false; /* it knows the same again */
    }
    told->pushed = false;
    told->ino = attr->ino;
    if (node != NULL)
        node->told_mtime_ns = attr->mtime_ns;
    counts = told_same_locked(told, attr);
    pthread_mutex_unlock(&fs->nodes->lock);
    return counts;
}

static void told_drop_locked(struct fs_inode *inode)
{
    struct fs_node *node = fs_node_of(inode);

    if (node == NULL)
        return;
    node->told_dropped = true;
    node->told_dropped_at = fs_request_number();
}

void fs_told_changed(struct fs *fs, struct fs_inode *inode, const struct kv_attr *attr)
{
    struct fs_node *node = fs_node_of(inode);

    pthread_mutex_lock(&fs->nodes->lock);
    if (node != NULL)
        node->told_dropped = true; /* the kernel takes the reply to its own change for the newest */
    pthread_mutex_unlock(&fs->nodes->lock);
    (void)told_set(fs, inode, attr);
}

void fs_tell_node(struct fs *fs, struct fs_inode *inode, const struct kv_node *node, struct stat *out)
{
    fs_stat_of_node(fs, node, out);
    if (inode->kind == FS_VIEW)
        out->st_ino = fs_view_ino(inode);
    if (told_set(fs, inode, &node->attr))
        return;
    /* So they count the next time. Only a request through the directory would find out otherwise, and of two that have
     * changed, as a rename can name, the kernel would look again for the first one only. */
    pthread_mutex_lock(&fs->nodes->lock);
    told_drop_locked(inode);
    pthread_mutex_unlock(&fs->nodes->lock);
    fs_notify_attr(fs, inode->id);
}

/* Is an older version of the same object open? */
static bool told_has_open_twin_locked(const struct fs_inode *inode)
{
    const struct fs_inode *other;

    LL_FOREACH(inode->name->inodes, other)
        if (other != inode && other->state == FS_DISPLACED && other->body != NULL &&
            other->told.ino == inode->told.ino)
            return true;
    return false;
}

void fs_tell_key(struct fs *fs, struct fs_inode *inode, const struct kv_meta *meta, struct stat *out)
{
    (void)told_set(fs, inode, &meta->attr);
    if (out == NULL)
        return;
    fs_stat_of_key(meta, out);
    pthread_mutex_lock(&fs->nodes->lock);
    inode->untold = 0;
    if (inode->alias == 0 && inode->state == FS_CURRENT && told_has_open_twin_locked(inode))
        inode->alias = meta->version; /* a number that no object has */
    if (inode->alias != 0)
        out->st_ino = inode->alias;
    pthread_mutex_unlock(&fs->nodes->lock);
}

unsigned fs_count_untold(struct fs *fs, struct fs_inode *inode)
{
    unsigned count;

    pthread_mutex_lock(&fs->nodes->lock);
    if (inode->untold < UINT8_MAX)
        inode->untold++;
    count = inode->untold;
    pthread_mutex_unlock(&fs->nodes->lock);
    return count;
}

static struct kv_attr told_attr_locked(const struct fs_told *told)
{
    return (struct kv_attr){.ino = told->ino, .mode = told->mode, .uid = told->uid, .gid = told->gid};
}

struct kv_attr fs_told(struct fs *fs, struct fs_inode *inode)
{
    struct kv_attr attr;

    pthread_mutex_lock(&fs->nodes->lock);
    attr = told_attr_locked(&inode->told);
    pthread_mutex_unlock(&fs->nodes->lock);
    return attr;
}

bool fs_told_before(struct fs *fs, struct fs_inode *inode, struct kv_attr *out)
{
    bool before;

    if (inode == NULL)
        return false;
    pthread_mutex_lock(&fs->nodes->lock);
    *out = told_attr_locked(&inode->told);
    before = inode->told.known && inode->told.since <= fs_request_number();
    pthread_mutex_unlock(&fs->nodes->lock);
    return before;
}

bool fs_told_before_of_node(struct fs *fs, struct fs_inode *parent, const struct kv_node *node,
                            struct kv_attr *out)
{
    struct fs_inode *inode = fs_inode_find(fs, node->id, NULL, 0);
    char label[KV_NAME_MAX + 1] = "";
    struct fs_inode *known_in = inode != NULL ? fs_inode_parent(fs, inode, label) : NULL;
    bool before = known_in == parent && strcmp(label, node->name) == 0 && fs_told_before(fs, inode, out);

    fs_inode_put(fs, known_in);
    fs_inode_put(fs, inode);
    return before;
}

bool fs_told_is(struct fs *fs, struct fs_inode *inode, const struct kv_attr *attr)
{
    bool is;

    pthread_mutex_lock(&fs->nodes->lock);
    is = !inode->told.known || (inode->told.ino == attr->ino && told_same_locked(&inode->told, attr));
    pthread_mutex_unlock(&fs->nodes->lock);
    return is;
}

bool fs_told_same(struct fs *fs, struct fs_inode *inode, const struct kv_attr *attr)
{
    bool same;

    pthread_mutex_lock(&fs->nodes->lock);
    same = told_same_locked(&inode->told, attr);
    pthread_mutex_unlock(&fs->nodes->lock);
    return same;
}

/* A request that was made before its directory was told anew may have been checked with what was known before. What a
 * view was told stands for its namespace, which has the same number: the kernel may know both, and comes to the
 * namespace only on its way to the view.
 *
 * Of what it knows nothing the kernel has checked nothing. So a directory above is left out where it was had drop what
 * it was told, until it asks anew: whoever works in a directory (cd) never comes by those above it again. */
static void told_add_locked(struct fs_inode *dir, struct fs_seen *out, bool *stale)
{
    for (bool above = false; dir != NULL && out->count < TOLD_DEPTH; dir = dir->parent) {
        const struct fs_node *node = fs_node_of(dir);
        const struct fs_told *told = &dir->told;
        bool there = !told->known ||
                     (above && node != NULL && node->told_dropped && fs_request_number() > node->told_dropped_at);

        for (size_t i = 0; i < out->count; i++)
            there |= out->dirs[i].node == dir->name->node;
        if (!there && node != NULL)
            out->dirs[out->count++] = (struct kv_seen){dir->name->node, told->mode, told->uid, told->gid};
        *stale |= told->since > fs_request_number();
        above = node != NULL;
    }
}

static int told_seen(struct fs *fs, struct fs_inode *dir, struct fs_inode *other, struct fs_seen *out)
{
    bool stale = false;

    out->count = 0;
    pthread_mutex_lock(&fs->nodes->lock);
    told_add_locked(dir, out, &stale);
    told_add_locked(other, out, &stale);
    pthread_mutex_unlock(&fs->nodes->lock);
    return stale ? -ESTALE : 0;
}

int fs_see(struct fs *fs, struct fs_inode *dir, struct fs_inode *other, struct fs_seen *out,
           struct kv_change *change)
{
    int rc = told_seen(fs, dir, other, out);

    change->seen = out->dirs;
    change->seen_count = out->count;
    return rc;
}

/* The use of the account that something is in. */
static int told_usage(struct fs *fs, const struct fs_inode *inode, struct kv_usage *out)
{
    struct kv_node node;
    int rc = kv_node_get(fs->store, inode->name->node, &node);

    while (rc == 0 && node.kind != KV_ACCOUNT && node.kind != KV_ROOT)
        rc = kv_node_get(fs->store, node.parent, &node);
    if (rc == 0 && node.kind == KV_ACCOUNT)
        *out = (struct kv_usage){node.id, node.bytes, node.limit_bytes, node.keys, node.limit_keys};
    return rc == -ENOENT ? -ESTALE : rc;
}

int fs_check_seen(struct fs *fs, struct fs_inode *dir, struct kv_usage *usage)
{
    struct fs_seen seen;
    int rc = told_seen(fs, dir, NULL, &seen);

    if (rc < 0)
        return rc;
    rc = kv_check_seen(fs->store, seen.dirs, seen.count, usage);
    if (rc == 0 && usage != NULL && usage->account == 0 && dir != fs_root(fs)) /* nothing was seen of it */
        rc = told_usage(fs, dir, usage);
    return fs_stale_if(fs, dir, rc);
}

int fs_stale(struct fs *fs, struct fs_inode *inode)
{
    uint64_t ids[TOLD_DEPTH];
    size_t count = 0;

    pthread_mutex_lock(&fs->nodes->lock);
    for (; inode != NULL && count < TOLD_DEPTH; inode = inode->parent) {
        told_drop_locked(inode);
        ids[count++] = inode->id;
    }
    pthread_mutex_unlock(&fs->nodes->lock);
    while (count-- > 0)
        fs_notify_attr(fs, ids[count]);
    return -ESTALE;
}

int fs_stale_if(struct fs *fs, struct fs_inode *inode, int rc) { return rc == -ESTALE ? fs_stale(fs, inode) : rc; }

/* ------------------------------------------------------------------------------ failures */

static _Thread_local struct {
    int rc;
    const char *reason;
} told_because;

int fs_because(int rc, const char *reason)
{
    told_because.rc = rc;
    told_because.reason = reason;
    return rc;
}

bool fs_is_failure(int rc)
{
    switch (-rc) {
    case 0:
    case ENOENT:
    case EEXIST:
    case ENODATA:
    case ENOTSUP:
    case ERANGE:
    case ENOTDIR:
    case EISDIR:
    case EAGAIN:
    case EINTR:
    case ESTALE: /* the kernel looks again */
        return false;
    default:
        return true;
    }
}

void fs_note(struct fs *fs, uid_t uid, struct fs_inode *inode, const char *child, const char *operation, int rc)
{
    const char *reason = told_because.rc == rc ? told_because.reason : NULL;
    char path[FS_PATH_MAX + KV_KEY_MAX];

    told_because.reason = NULL;
    if (reason == NULL && !fs_is_failure(rc))
        return;
    fs_inode_path(fs, inode, child, path, sizeof(path));
    fs_error_log_add_rc(fs, uid, path, operation, rc, reason);
}
