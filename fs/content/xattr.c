#include "fs/content/attr.h"

#include "fs/base/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#define USER "user."
#define COMPUTED "user.kvfs."
#define EXPIRES COMPUTED "expires" /* the only one of them that can be set */

static bool xattr_starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Answer a request with a value, as getxattr(2) does. */
static int xattr_give(const void *value, size_t size, char *out, size_t capacity)
{
    if (capacity == 0)
        return (int)size;
    if (size > capacity)
        return -ERANGE;
    memcpy(out, value, size);
    return (int)size;
}

/* ------------------------------------------------------------------------------- computed */

/* What this node would serve of a key. Looking must not refresh it. */
static int xattr_computed_of_key(struct fs *fs, struct fs_inode *inode, const char *what, char *text, size_t size)
{
    struct kv_ref ref = fs_inode_ref(fs, inode);
    struct fs_body *body = fs_body_pin(fs, inode);
    struct kv_fresh fresh = {0};
    struct kv_meta meta;
    int rc = kv_peek(fs->store, &ref, &meta, &fresh);

    if (body != NULL) {
        pthread_rwlock_rdlock(&body->io);
        meta = body->meta;
        pthread_rwlock_unlock(&body->io);
        fs_body_unpin(fs, inode);
    } else if (rc == -ENOENT) {
        rc = kv_stat(fs->store, &ref, &meta, &fresh);
    }
    if (body == NULL && rc < 0)
        return rc == -ENOENT ? -ESTALE : rc;
    if (strcmp(what, "version") == 0)
        return snprintf(text, size, "%" PRIu64, meta.version);
    if (strcmp(what, "age_ms") == 0)
        return snprintf(text, size, "%" PRId64, fresh.age_ms);
    if (strcmp(what, "source") == 0)
        return snprintf(text, size, "%s", fresh.from_cache ? "cache" : "central");
    return -ENODATA;
}

/* The expiry of a key that is there, or of what only this node knows. returns  0; -ESTALE; as kv_stat() */
static int xattr_expiry(struct fs *fs, struct fs_inode *inode, int64_t *out)
{
    struct kv_ref ref = fs_inode_ref(fs, inode);
    struct fs_body *body = fs_body_pin(fs, inode);
    bool stored = fs_body_is_stored(fs, inode, body);
    struct kv_meta meta;
    int rc = stored ? kv_stat(fs->store, &ref, &meta, NULL) : -ENOENT;

    if (rc == -ENOENT && body != NULL) {
        pthread_rwlock_rdlock(&body->io);
        meta = body->meta;
        pthread_rwlock_unlock(&body->io);
        rc = 0;
    }
    if (body != NULL)
        fs_body_unpin(fs, inode);
    if (rc == 0)
        *out = meta.expires_ns;
    return rc == -ENOENT ? -ESTALE : rc;
}

static int xattr_expiry_text(struct fs *fs, struct fs_inode *inode, char text[KV_EXPIRY_TEXT])
{
    int64_t expires_ns;
    int rc = xattr_expiry(fs, inode, &expires_ns);

    if (rc < 0 || expires_ns == 0)
        return rc < 0 ? rc : -ENODATA;
    kv_expiry_text(expires_ns, text);
    return (int)strlen(text);
}

static int xattr_computed_of_node(struct fs *fs, struct fs_inode *inode, const char *what, char *text, size_t size)
{
    struct kv_node node, account;
    int rc = kv_node_get(fs->store, inode->name->node, &node);

    if (rc < 0)
        return rc == -ENOENT ? -ESTALE : rc;
    if (node.kind != KV_NAMESPACE && node.kind != KV_ACCOUNT)
        return -ENODATA;
    if (strcmp(what, "keys") == 0)
        return snprintf(text, size, "%" PRIu64, node.keys);
    if (strcmp(what, "bytes") == 0)
        return snprintf(text, size, "%" PRIu64, node.bytes);
    if (strcmp(what, "quota_bytes") != 0 && strcmp(what, "quota_keys") != 0)
        return -ENODATA;
    account = node;
    if (node.kind == KV_NAMESPACE)
        rc = kv_node_get(fs->store, node.parent, &account);
    if (rc < 0)
        return rc == -ENOENT ? -ESTALE : rc;
    if (strcmp(what, "quota_bytes") == 0)
        return snprintf(text, size, "%" PRIu64, account.limit_bytes);
    return account.limit_keys != 0 ? snprintf(text, size, "%" PRIu64, account.limit_keys)
                                   : snprintf(text, size, "none");
}

/* ---------------------------------------------------------------------------------- kept */

/* Attributes that are kept with a body: they are those of a value that only this node knows. returns whether */
static bool xattr_load_body(struct fs *fs, struct fs_inode *inode, struct kv_xattrs *out)
{
    struct fs_body *body = fs_body_pin(fs, inode);
    bool removed, kept;

    if (body == NULL)
        return false;
    removed = fs_inode_state(fs, inode) == FS_REMOVED;
    pthread_rwlock_rdlock(&body->io);
    kept = body->xattrs != NULL || removed || !body->meta.has_xattrs || body->state == FS_BODY_NEW ||
           body->state == FS_BODY_TEMPORARY;
    out->size = 0;
    if (body->xattrs != NULL)
        *out = *body->xattrs;
    pthread_rwlock_unlock(&body->io);
    fs_body_unpin(fs, inode);
    return kept;
}

/* The kernel has checked what it was told: the key must be that still, as must be the directories above it. */
static int xattr_check_told(struct fs *fs, struct fs_inode *inode, const struct kv_ref *ref)
{
    struct kv_meta meta;
    int rc = fs_check_seen(fs, inode, NULL);

    if (rc == 0 && inode->kind == FS_KEY)
        rc = kv_get_newest(fs->store, ref, &meta, NULL);
    if (rc == -ENOENT || (rc == 0 && inode->kind == FS_KEY && !fs_told_same(fs, inode, &meta.attr)))
        return fs_stale(fs, inode);
    return rc;
}

static int xattr_load(struct fs *fs, struct fs_inode *inode, struct kv_xattrs *out)
{
    struct kv_ref ref = fs_inode_ref(fs, inode);
    int rc;

    if (inode->kind == FS_KEY && xattr_load_body(fs, inode, out))
        return 0;
    rc = xattr_check_told(fs, inode, &ref);
    if (rc == 0)
        rc = kv_xattrs_get(fs->store, &ref, out);
    return rc == -ENOENT ? -ESTALE : rc;
}

int fs_getxattr(struct fs *fs, struct fs_inode *inode, const char *name, char *out, size_t capacity)
{
    const char *what = name + strlen(COMPUTED), *other;
    size_t pos = 0, other_size, value_size;
    struct kv_xattrs set;
    const void *value;
    char text[KV_EXPIRY_TEXT];
    int rc;

    if (!xattr_starts_with(name, USER))
        return -ENOTSUP;
    if (xattr_starts_with(name, COMPUTED)) {
        rc = fs_check_seen(fs, inode, NULL);
        if (rc < 0)
            return rc;
        if (inode->kind != FS_KEY)
            rc = xattr_computed_of_node(fs, inode, what, text, sizeof(text));
        else if (strcmp(name, EXPIRES) == 0)
            rc = xattr_expiry_text(fs, inode, text);
        else
            rc = xattr_computed_of_key(fs, inode, what, text, sizeof(text));
        return rc < 0 ? rc : xattr_give(text, (size_t)rc, out, capacity);
    }
    rc = xattr_load(fs, inode, &set);
    if (rc < 0)
        return rc;
    while (kv_xattrs_next(&set, &pos, &other, &other_size, &value, &value_size))
        if (other_size == strlen(name) && memcmp(other, name, other_size) == 0)
            return xattr_give(value, value_size, out, capacity);
    return -ENODATA;
}

int fs_listxattr(struct fs *fs, struct fs_inode *inode, char *out, size_t capacity)
{
    char names[KV_XATTR_MAX + KV_XATTR_MAX / 2]; /* each of at least 2 bytes, with a NUL */
    size_t pos = 0, name_size, value_size, size = 0;
    struct kv_xattrs set;
    const void *value;
    const char *name;
    int rc = xattr_load(fs, inode, &set);

    if (rc < 0)
        return rc;
    while (kv_xattrs_next(&set, &pos, &name, &name_size, &value, &value_size)) {
        if (size + name_size + 1 > sizeof(names))
            return -EIO;
        memcpy(names + size, name, name_size);
        size += name_size;
        names[size++] = '\0';
    }
    return xattr_give(names, size, out, capacity);
}

bool fs_xattr_keep(struct fs *fs, struct fs_inode *inode)
{
    struct fs_body *body = inode != NULL ? fs_body_pin(fs, inode) : NULL;
    struct kv_xattrs *kept = NULL;
    struct kv_ref ref;
    bool wanted;

    if (body == NULL)
        return false;
    ref = fs_inode_ref(fs, inode);
    pthread_rwlock_rdlock(&body->io);
    wanted = body->state == FS_BODY_STORED && body->meta.has_xattrs && body->xattrs == NULL;
    pthread_rwlock_unlock(&body->io);
    if (wanted)
        kept = malloc(sizeof(*kept));
    if (kept != NULL && kv_xattrs_get(fs->store, &ref, kept) < 0) {
        free(kept);
        kept = NULL;
    }
    pthread_rwlock_wrlock(&body->io);
    if (kept != NULL)
        body->xattrs = kept;
    pthread_rwlock_unlock(&body->io);
    fs_body_unpin(fs, inode);
    return kept != NULL;
}

void fs_xattr_drop(struct fs *fs, struct fs_inode *inode)
{
    struct fs_body *body = fs_body_pin(fs, inode);

    if (body == NULL)
        return;
    pthread_rwlock_wrlock(&body->io);
    free(body->xattrs);
    body->xattrs = NULL;
    pthread_rwlock_unlock(&body->io);
    fs_body_unpin(fs, inode);
}

/* ------------------------------------------------------------------------------- changing */

static int xattr_flags(int flags)
{
    return (flags & XATTR_CREATE ? KV_XATTR_CREATE : 0) | (flags & XATTR_REPLACE ? KV_XATTR_REPLACE : 0);
}

/* Set an attribute that is kept with a body. */
static int xattr_set_body(struct fs_body *body, const struct kv_change *change)
{
    int rc = -ENOMEM;

    pthread_rwlock_wrlock(&body->io);
    if (body->xattrs == NULL)
        body->xattrs = calloc(1, sizeof(*body->xattrs));
    if (body->xattrs != NULL)
        rc = kv_xattrs_set(body->xattrs, change->xattr_name, change->xattr_name_size, change->xattr_value,
                           change->xattr_value_size, change->xattr_flags);
    pthread_rwlock_unlock(&body->io);
    return rc;
}

/* Change the node, or the object that the kernel was told of. */
static int xattr_set_stored(struct fs *fs, struct fs_inode *inode, struct kv_change *change)
{
    struct kv_attr told = fs_told(fs, inode);
    struct fs_body *body;
    struct fs_seen seen;
    int rc = fs_see(fs, inode, NULL, &seen, change);

    if (rc < 0)
        return rc;
    change->ref = fs_inode_ref(fs, inode);
    change->object = inode->kind == FS_KEY ? &told : NULL;
    change->strict = true;
    rc = kv_apply(fs->store, change);
    body = rc == 0 && inode->kind == FS_KEY ? fs_body_pin(fs, inode) : NULL;
    if (body != NULL) {
        pthread_rwlock_wrlock(&body->io);
        body->meta.has_xattrs = change->meta.has_xattrs;
        body->meta.expires_ns = change->meta.expires_ns;
        body->meta.attr.ctime_ns = fs_now_ns();
        pthread_rwlock_unlock(&body->io);
        fs_body_unpin(fs, inode);
    }
    return rc == -ENOENT ? -ESTALE : rc;
}

/* Keep the change with a body, whose put brings it along. */
static int xattr_keep_change(struct fs_body *body, const struct kv_change *change)
{
    if (change->kind == KV_SETXATTR)
        return xattr_set_body(body, change);
    pthread_rwlock_wrlock(&body->io);
    body->meta.expires_ns = change->expires_ns;
    body->expiry = KV_EXPIRY_SET;
    pthread_rwlock_unlock(&body->io);
    return 0;
}

static int xattr_set_key(struct fs *fs, struct fs_inode *inode, struct kv_change *change)
{
    struct fs_name *locked = fs_name_lock_of(fs, inode);
    struct fs_body *body = fs_body_pin(fs, inode);
    bool stored = fs_body_is_stored(fs, inode, body);
    int rc = stored ? xattr_set_stored(fs, inode, change) : -ESTALE;

    if (rc == -ESTALE && body != NULL && (!stored || fs_inode_state(fs, inode) != FS_CURRENT))
        rc = xattr_keep_change(body, change);
    if (body != NULL)
        fs_body_unpin(fs, inode);
    fs_name_unlock(fs, locked);
    return rc;
}

static int xattr_set(struct fs *fs, struct fs_inode *inode, struct kv_change *change)
{
    return inode->kind == FS_NODE ? xattr_set_stored(fs, inode, change) : xattr_set_key(fs, inode, change);
}

/* Would this be more than an object may have? */
static bool xattr_is_over_limit(struct fs *fs, struct fs_inode *inode, const char *name, const void *value,
                                size_t size, int flags)
{
    struct kv_xattrs set;

    return xattr_load(fs, inode, &set) == 0 &&
           kv_xattrs_set(&set, name, strlen(name), value, size, xattr_flags(flags)) == -ENOSPC;
}

/* The kernel may believe for longer than to the new expiry what it was told of the key. Of an open one it is told the
 * attributes beyond that, too, and only the name leads nowhere. */
static void xattr_tell_expiry(struct fs *fs, struct fs_inode *inode)
{
    struct fs_body *body = fs_body_pin(fs, inode);

    fs_notify_attr(fs, inode->id);
    if (body == NULL)
        return;
    fs_body_unpin(fs, inode);
    fs_notify_epoch(fs);
}

/* value NULL: never. An expiry removes the key, so it is for the owner, as the times are. The kernel has asked for
 * no more than to write to the key. */
static int xattr_set_expiry(struct fs *fs, struct fs_inode *inode, const void *value, size_t size, int flags,
                            uid_t uid)
{
    struct kv_change change = {.kind = KV_SETATTR, .expiry = KV_EXPIRY_SET};
    char text[2 * KV_EXPIRY_TEXT] = "never";
    int64_t was_ns = 0;
    int rc = size < sizeof(text) ? 0 : -EINVAL;

    if (inode->kind == FS_NODE)
        return fs_because(-EPERM, "an account, a namespace or a project has no expiry: only keys have");
    if (uid != fs_told(fs, inode).uid && !fs_is_operator(uid))
        return fs_because(-EPERM, "only the owner of a key can say when it ends, as with its times");
    if (rc == 0 && value != NULL) {
        memcpy(text, value, size);
        text[size] = '\0';
    }
    if (rc == 0)
        rc = kv_expiry_parse(text, fs_now_ns(), &change.expires_ns);
    if (rc < 0)
        return fs_because(-EINVAL, "an expiry is a time as 2026-12-01T12:00:00Z, seconds since 1970, +90s, +5m, "
                                   "+1h, +2d, +1w, or never");
    if (value == NULL || flags != 0)
        rc = xattr_expiry(fs, inode, &was_ns);
    if (rc == 0 && (value == NULL || flags & XATTR_REPLACE) && was_ns == 0)
        return -ENODATA;
    if (rc == 0 && flags & XATTR_CREATE && was_ns != 0)
        return -EEXIST;
    if (rc == 0)
        rc = xattr_set(fs, inode, &change);
    if (rc == 0)
        xattr_tell_expiry(fs, inode);
    return fs_stale_if(fs, inode, rc);
}

int fs_setxattr(struct fs *fs, struct fs_inode *inode, const char *name, const void *value, size_t size, int flags,
                uid_t uid)
{
    struct kv_change change = {.kind = KV_SETXATTR,
                               .xattr_name = name,
                               .xattr_name_size = strlen(name),
                               .xattr_value = value,
                               .xattr_value_size = size,
                               .xattr_flags = xattr_flags(flags)};
    int rc;

    if (!xattr_starts_with(name, USER))
        return -ENOTSUP;
    if (name[strlen(USER)] == '\0')
        return -EINVAL;
    if (strcmp(name, EXPIRES) == 0)
        return xattr_set_expiry(fs, inode, value, size, flags, uid);
    if (xattr_starts_with(name, COMPUTED))
        return fs_because(-EPERM,
                          "attributes user.kvfs.* are computed, and only user.kvfs.expires of a key can be set");
    rc = xattr_set(fs, inode, &change);
    if (rc == -ENOSPC && xattr_is_over_limit(fs, inode, name, value, size, flags))
        return fs_because(
            rc, "the names and values of an object's attributes are limited to 1024 bytes together: remove "
                "some, or keep the data in a key");
    return fs_stale_if(fs, inode, rc);
}
