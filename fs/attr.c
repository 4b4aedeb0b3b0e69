#include "fs/attr.h"

#include "fs/base/options.h"
#include "fs/control/control.h"
#include "fs/file.h"
#include "fs/offer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 512

/* The kernel counts a timeout from when it gets the answer, in ticks that it rounds up. */
#define UNDER_WAY_MS 10

static double timeout_of(int64_t remaining_ms)
{
    return remaining_ms > UNDER_WAY_MS ? (double)(remaining_ms - UNDER_WAY_MS) / 1000 : 0;
}

double fs_timeout_of(const struct kv_fresh *fresh) { return timeout_of(fresh->remaining_ms); }

double fs_timeout_full(const struct fs *fs) { return timeout_of(fs->options->cache_ttl_ms); }

static struct timespec time_of(int64_t ns)
{
    struct timespec time = {ns / 1000000000, ns % 1000000000};

    if (time.tv_nsec < 0) { /* before 1970 */
        time.tv_sec--;
        time.tv_nsec += 1000000000;
    }
    return time;
}

static void fill(const struct kv_attr *attr, mode_t type, uint64_t size, struct stat *out)
{
    *out = (struct stat){
        .st_ino = attr->ino,
        .st_mode = type | attr->mode,
        .st_nlink = 1,
        .st_uid = attr->uid,
        .st_gid = attr->gid,
        .st_size = (off_t)size,
        .st_blksize = 4096,
        .st_blocks = (blkcnt_t)((size + BLOCK - 1) / BLOCK),
        .st_atim = time_of(attr->atime_ns),
        .st_mtim = time_of(attr->mtime_ns),
        .st_ctim = time_of(attr->ctime_ns),
    };
}

int fs_attr_target(struct fs *fs, const struct kv_node *binding, char out[FS_TARGET_MAX])
{
    struct kv_node namespace;
    int rc = kv_node_get(fs->store, binding->target, &namespace);

    if (rc == 0)
        snprintf(out, FS_TARGET_MAX, "../../%s", namespace.name);
    return rc;
}

void fs_attr_of_node(struct fs *fs, const struct kv_node *node, struct stat *out)
{
    struct kv_node projects;
    int64_t touched_ns;

    if (node->kind == KV_BINDING) {
        char target[FS_TARGET_MAX];
        bool known = fs_attr_target(fs, node, target) == 0;

        fill(&node->attr, S_IFLNK | 0777, known ? strlen(target) : 0, out);
        return;
    }
    fill(&node->attr, S_IFDIR, node->bytes, out);
    touched_ns = fs_inode_touched_ns(fs, node->id);
    if (touched_ns > node->attr.ctime_ns)
        out->st_mtim = out->st_ctim = time_of(touched_ns);
    out->st_blocks = 0;
    out->st_nlink = 2 + (node->kind == KV_PROJECT ? 0 : node->children); /* bindings are no directories */
    if (node->kind == KV_ACCOUNT &&
        kv_node_find(fs->store, node->id, ".projects", strlen(".projects"), &projects) == 0)
        out->st_nlink += projects.children > 0; /* else it is not shown */
}

void fs_attr_of_key(const struct kv_meta *meta, struct stat *out) { fill(&meta->attr, S_IFREG, meta->size, out); }

void fs_attr_of_control(const struct fs_inode *inode, struct stat *out)
{
    fs_control_stat(NULL, (int)inode->id - 3, out);
}

static int get_node(struct fs *fs, struct fs_inode *inode, struct stat *out, double *timeout)
{
    struct kv_node node;
    int rc;

    fs_inode_told(fs, inode); /* before it is read: a change from here on is notified */
    rc = kv_node_get(fs->store, inode->id, &node);
    if (rc < 0)
        return rc == -ENOENT ? -ESTALE : rc;
    fs_attr_of_node(fs, &node, out);
    *timeout = fs_timeout_full(fs);
    /* What is accepted is not counted yet, and nothing tells when it is. */
    if (fs->options->durability == KV_DURABILITY_FSYNC &&
        *timeout > (double)fs->options->commit_interval_ms / 1000)
        *timeout = (double)fs->options->commit_interval_ms / 1000;
    return 0;
}

/* Of a key that nobody has open. The inode's lock is held. */
static int get_closed(struct fs *fs, struct fs_inode *inode, struct stat *out, double *timeout)
{
    struct kv_fresh fresh;
    struct kv_meta meta;
    struct kv_ref ref;
    int rc;

    (void)fs_inode_ref(fs, inode, &ref);
    rc = fs_offer_stat(fs, inode, &ref, &meta, &fresh);
    if (rc < 0)
        return rc == -ENOENT ? -ESTALE : rc;
    fs_inode_adopt(fs, inode, meta.version);
    fs_attr_of_key(&meta, out);
    *timeout = fs_timeout_of(&fresh);
    return 0;
}

/* For how much longer this node may serve what it knows of a key. */
static double remaining(struct fs *fs, const struct kv_ref *ref)
{
    struct kv_fresh fresh;
    struct kv_meta meta;

    return kv_peek(fs->store, ref, &meta, &fresh) == 0 ? fs_timeout_of(&fresh) : 0;
}

static int get_key(struct fs *fs, struct fs_inode *inode, struct stat *out, double *timeout)
{
    bool local, named;
    struct kv_ref ref;
    int rc = 0;

    fs_inode_lock(fs, inode);
    if (inode->body != NULL) {
        pthread_rwlock_rdlock(&inode->body->io);
        fs_attr_of_key(&inode->body->meta, out);
        local = fs_body_is_local(inode->body);
        pthread_rwlock_unlock(&inode->body->io);
        named = fs_inode_ref(fs, inode, &ref);
        if (!named)
            out->st_nlink = 0;
        *timeout = local || !named ? fs_timeout_full(fs) : remaining(fs, &ref);
    } else {
        rc = get_closed(fs, inode, out, timeout);
    }
    fs_inode_unlock(fs, inode);
    return rc;
}

int fs_attr_get(struct fs *fs, struct fs_inode *inode, struct stat *out, double *timeout)
{
    switch (inode->kind) {
    case FS_NODE:
        return get_node(fs, inode, out, timeout);
    case FS_KEY:
        return get_key(fs, inode, out, timeout);
    case FS_CONTROL_DIR:
    case FS_CONTROL_FILE:
        fs_attr_of_control(inode, out);
        *timeout = 0;
        return 0;
    }
    return -EIO;
}

/* -------------------------------------------------------------------------- space */

static int store_space(struct fs *fs, struct statvfs *out)
{
    struct statvfs disk;

    if (statvfs(fs->options->store, &disk) < 0)
        return -EIO; /* whatever it says of the store's path is not about this file system */
    out->f_blocks = disk.f_blocks * disk.f_frsize / out->f_frsize;
    out->f_bfree = disk.f_bfree * disk.f_frsize / out->f_frsize;
    out->f_bavail = disk.f_bavail * disk.f_frsize / out->f_frsize;
    return 0;
}

/* The node, and then its parents, up to an account or the root. */
static int account_of(struct fs *fs, uint64_t id, struct kv_node *out)
{
    int rc = kv_node_get(fs->store, id, out);

    while (rc == 0 && out->kind != KV_ACCOUNT && out->kind != KV_ROOT)
        rc = kv_node_get(fs->store, out->parent, out);
    return rc == -ENOENT ? -ESTALE : rc;
}

int fs_attr_statfs(struct fs *fs, struct fs_inode *inode, struct statvfs *out)
{
    struct kv_ref ref = {.node = inode->id};
    struct kv_node account;
    uint64_t free;
    int rc;

    if (inode->kind == FS_KEY)
        (void)fs_inode_ref(fs, inode, &ref);
    rc = inode->kind == FS_KEY || inode->kind == FS_NODE ? account_of(fs, ref.node, &account)
                                                         : kv_node_get(fs->store, KV_ROOT_ID, &account);
    if (rc < 0)
        return rc;
    *out = (struct statvfs){.f_bsize = BLOCK, .f_frsize = BLOCK, .f_namemax = KV_KEY_MAX};
    if (account.kind == KV_ROOT) {
        rc = store_space(fs, out);
    } else {
        free = account.limit_bytes > account.bytes ? account.limit_bytes - account.bytes : 0;
        out->f_blocks = (account.bytes + free) / BLOCK;
        out->f_bfree = out->f_bavail = free / BLOCK;
    }
    /* Keys are limited by their bytes only. */
    out->f_ffree = out->f_favail = out->f_bavail;
    out->f_files = account.keys + out->f_ffree;
    return rc;
}

/* ---------------------------------------------------------------------- changing */

static int set_central(struct fs *fs, struct fs_inode *inode, const struct kv_ref *ref, const struct kv_attr *attr,
                       unsigned mask)
{
    struct kv_change change = {.kind = KV_SETATTR, .ref = *ref, .attr = *attr, .attr_mask = mask};
    int rc = kv_apply(fs->store, &change);

    atomic_fetch_add(&fs->nodes->changes, 1);
    fs_errors_note(fs, inode, NULL, "setattr", rc);
    return rc;
}

static int set_key(struct fs *fs, struct fs_inode *inode, const struct kv_attr *attr, unsigned mask)
{
    bool named = true, in_central = true;
    struct fs_body *body;
    struct kv_ref ref;
    int rc = 0;

    if (mask & (KV_UID | KV_GID) && !(mask & KV_MODE))
        mask |= KV_NO_SETID;
    pthread_mutex_lock(&inode->naming);
    body = fs_body_pin(fs, inode);
    if (body != NULL) {
        pthread_rwlock_rdlock(&body->io);
        in_central = body->exists || body->submitted;
        pthread_rwlock_unlock(&body->io);
    }
    if (!fs_inode_ref(fs, inode, &ref) || !fs_inode_is_current(fs, inode))
        named = body == NULL;
    if (in_central && named)
        rc = set_central(fs, inode, &ref, attr, mask);
    if (rc == -ENOENT && body == NULL)
        rc = -ESTALE;
    if (body != NULL) {
        if (rc == -ENOENT) /* its first put failed, or another node deleted it */
            rc = 0;
        if (rc == 0) {
            pthread_rwlock_wrlock(&body->io);
            kv_attr_set(&body->meta.attr, attr, mask);
            body->meta.attr.ctime_ns = fs_now_ns();
            if (!in_central || !named) /* a later put of it brings it along */
                body->changed |= mask & KV_NO_SETID ? mask | KV_MODE : mask;
            pthread_rwlock_unlock(&body->io);
        }
    }
    pthread_mutex_unlock(&inode->naming);
    if (body != NULL)
        fs_body_unpin(fs, inode);
    return rc;
}

int fs_attr_set(struct fs *fs, struct fs_inode *inode, const struct kv_attr *attr, unsigned mask)
{
    struct kv_ref ref;

    switch (inode->kind) {
    case FS_NODE:
        ref = kv_ref_node(inode->id);
        return set_central(fs, inode, &ref, attr, mask);
    case FS_KEY:
        return set_key(fs, inode, attr, mask);
    case FS_CONTROL_DIR:
    case FS_CONTROL_FILE:
        break;
    }
    return -EPERM;
}
