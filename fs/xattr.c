#include "fs/xattr.h"

#include "fs/file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#define USER "user."
#define COMPUTED "user.kvfs."

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Answer a request with a value, as getxattr(2) does. */
static int give(const void *value, size_t size, char *out, size_t capacity)
{
    if (capacity == 0)
        return (int)size;
    if (size > capacity)
        return -ERANGE;
    memcpy(out, value, size);
    return (int)size;
}

/* ------------------------------------------------------------------------ computed */

/* What this node would serve of a key. Looking must not refresh it. */
static int computed_of_key(struct fs *fs, struct fs_inode *inode, const char *what, char *text, size_t size)
{
    struct kv_fresh fresh = {0};
    struct fs_body *body = fs_body_pin(fs, inode);
    struct kv_meta meta;
    struct kv_ref ref;
    int rc;

    (void)fs_inode_ref(fs, inode, &ref);
    rc = kv_peek(fs->store, &ref, &meta, &fresh);

    if (body != NULL) {
        pthread_rwlock_rdlock(&body->io);
        meta = body->meta;
        pthread_rwlock_unlock(&body->io);
        fs_body_unpin(fs, inode);
    } else if (rc == -ENOENT) {
        rc = kv_stat(fs->store, &ref, &meta, &fresh);
        if (rc == -ENOENT)
            rc = -ESTALE;
    }
    if (body == NULL && rc < 0)
        return rc;
    if (strcmp(what, "version") == 0)
        return snprintf(text, size, "%" PRIu64, meta.version);
    if (strcmp(what, "age_ms") == 0)
        return snprintf(text, size, "%" PRId64, fresh.age_ms);
    if (strcmp(what, "source") == 0)
        return snprintf(text, size, "%s", fresh.from_cache ? "cache" : "central");
    return -ENODATA;
}

static int computed_of_node(struct fs *fs, struct fs_inode *inode, const char *what, char *text, size_t size)
{
    struct kv_node node, account;
    int rc = kv_node_get(fs->store, inode->id, &node);

    if (rc < 0)
        return rc == -ENOENT ? -ESTALE : rc;
    if (node.kind != KV_NAMESPACE && node.kind != KV_ACCOUNT)
        return -ENODATA;
    if (strcmp(what, "keys") == 0)
        return snprintf(text, size, "%" PRIu64, node.keys);
    if (strcmp(what, "bytes") == 0)
        return snprintf(text, size, "%" PRIu64, node.bytes);
    if (strcmp(what, "quota_bytes") != 0)
        return -ENODATA;
    if (node.kind == KV_ACCOUNT)
        return snprintf(text, size, "%" PRIu64, node.limit_bytes);
    rc = kv_node_get(fs->store, node.parent, &account);
    if (rc < 0)
        return rc == -ENOENT ? -ESTALE : rc;
    return snprintf(text, size, "%" PRIu64, account.limit_bytes);
}

/* -------------------------------------------------------------------------- kept */

/* The attributes that are kept for an inode: in the central, or in the body of a key that is not there yet, or
 * not any more. */
static int load(struct fs *fs, struct fs_inode *inode, struct kv_xattrs *out)
{
    struct kv_ref ref = kv_ref_node(inode->id);
    struct fs_body *body;
    bool named, local = false;
    int rc;

    if (inode->kind == FS_NODE) {
        rc = kv_xattrs_get(fs->store, &ref, out);
        return rc == -ENOENT ? -ESTALE : rc;
    }
    body = fs_body_pin(fs, inode);
    named = fs_inode_ref(fs, inode, &ref) && fs_inode_is_current(fs, inode);
    if (body != NULL) {
        pthread_rwlock_rdlock(&body->io);
        local = !body->exists || !named;
        if (local && body->xattrs != NULL)
            *out = *body->xattrs;
        else if (local || !body->meta.has_xattrs)
            out->size = 0;
        local |= !body->meta.has_xattrs;
        pthread_rwlock_unlock(&body->io);
        fs_body_unpin(fs, inode);
    }
    if (local)
        return 0;
    rc = kv_xattrs_get(fs->store, &ref, out);
    return rc == -ENOENT ? -ESTALE : rc;
}

static bool has_attributes(const struct fs_inode *inode)
{
    return inode->kind == FS_NODE || inode->kind == FS_KEY;
}

int fs_xattr_get(struct fs *fs, struct fs_inode *inode, const char *name, char *out, size_t capacity)
{
    const char *other;
    const void *value;
    size_t pos = 0, other_size, value_size;
    struct kv_xattrs set;
    char text[32];
    int rc;

    if (!has_attributes(inode) || !starts_with(name, USER))
        return -ENOTSUP;
    if (starts_with(name, COMPUTED)) {
        rc = inode->kind == FS_KEY ? computed_of_key(fs, inode, name + strlen(COMPUTED), text, sizeof(text))
                                   : computed_of_node(fs, inode, name + strlen(COMPUTED), text, sizeof(text));
        return rc < 0 ? rc : give(text, (size_t)rc, out, capacity);
    }
    rc = load(fs, inode, &set);
    if (rc < 0)
        return rc;
    while (kv_xattrs_next(&set, &pos, &other, &other_size, &value, &value_size))
        if (other_size == strlen(name) && memcmp(other, name, other_size) == 0)
            return give(value, value_size, out, capacity);
    return -ENODATA;
}

int fs_xattr_list(struct fs *fs, struct fs_inode *inode, char *out, size_t capacity)
{
    char names[KV_XATTR_MAX + KV_XATTR_MAX / 2]; /* each of at least 2 bytes, with a NUL */
    const char *name;
    const void *value;
    size_t pos = 0, name_size, value_size, size = 0;
    struct kv_xattrs set;
    int rc;

    if (!has_attributes(inode))
        return 0;
    rc = load(fs, inode, &set);
    if (rc < 0)
        return rc;
    while (kv_xattrs_next(&set, &pos, &name, &name_size, &value, &value_size)) {
        if (size + name_size + 1 > sizeof(names))
            return -EIO;
        memcpy(names + size, name, name_size);
        size += name_size;
        names[size++] = '\0';
    }
    return give(names, size, out, capacity);
}

static int flags_of(int flags)
{
    return (flags & XATTR_CREATE ? KV_XATTR_CREATE : 0) | (flags & XATTR_REPLACE ? KV_XATTR_REPLACE : 0);
}

void fs_xattr_keep(struct fs *fs, struct fs_body *body, const struct kv_ref *ref)
{
    struct kv_xattrs *kept = NULL;
    bool there;

    if (body == NULL)
        return;
    pthread_rwlock_rdlock(&body->io);
    there = body->exists;
    if (there && body->meta.has_xattrs)
        kept = calloc(1, sizeof(*kept));
    pthread_rwlock_unlock(&body->io);
    if (!there)
        return;
    if (kept != NULL && kv_xattrs_get(fs->store, ref, kept) < 0) {
        free(kept);
        kept = NULL;
    }
    pthread_rwlock_wrlock(&body->io);
    free(body->xattrs);
    body->xattrs = kept;
    pthread_rwlock_unlock(&body->io);
}

/* Set an attribute of a key that is open. returns 1 where the central must be asked instead */
static int set_local(struct fs_body *body, bool named, const char *name, const void *value, size_t size, int flags)
{
    int rc = 1;

    pthread_rwlock_wrlock(&body->io);
    if ((!body->exists && !body->submitted) || !named) {
        if (body->xattrs == NULL)
            body->xattrs = calloc(1, sizeof(*body->xattrs));
        rc = body->xattrs == NULL ? -ENOMEM
                                  : kv_xattrs_set(body->xattrs, name, strlen(name), value, size, flags_of(flags));
    }
    pthread_rwlock_unlock(&body->io);
    return rc;
}

static int set_central(struct fs *fs, const struct kv_ref *ref, const char *name, const void *value, size_t size,
                       int flags, struct kv_meta *meta)
{
    struct kv_change change = {.kind = KV_SETXATTR,
                               .ref = *ref,
                               .xattr_name = name,
                               .xattr_name_size = strlen(name),
                               .xattr_value = value,
                               .xattr_value_size = size,
                               .xattr_flags = flags_of(flags)};
    int rc = kv_apply(fs->store, &change);

    atomic_fetch_add(&fs->nodes->changes, 1);
    if (rc == 0)
        *meta = change.meta;
    return rc;
}

static int set_key(struct fs *fs, struct fs_inode *inode, const char *name, const void *value, size_t size,
                   int flags)
{
    struct fs_body *body;
    struct kv_meta meta;
    struct kv_ref ref;
    bool named;
    int rc = 1;

    pthread_mutex_lock(&inode->naming);
    body = fs_body_pin(fs, inode);
    named = fs_inode_ref(fs, inode, &ref) && fs_inode_is_current(fs, inode);
    meta.has_xattrs = true;
    if (body != NULL)
        rc = set_local(body, named, name, value, size, flags);
    if (rc == 1)
        rc = set_central(fs, &ref, name, value, size, flags, &meta);
    if (rc == -ENOENT && body != NULL) /* its first put failed, or another node deleted it */
        rc = set_local(body, false, name, value, size, flags);
    if (body != NULL && rc == 0) {
        pthread_rwlock_wrlock(&body->io);
        body->meta.has_xattrs = meta.has_xattrs;
        body->meta.attr.ctime_ns = fs_now_ns();
        pthread_rwlock_unlock(&body->io);
    }
    pthread_mutex_unlock(&inode->naming);
    if (body != NULL)
        fs_body_unpin(fs, inode);
    return rc;
}

/* Would this be more than an object may have? */
static bool is_over_limit(struct fs *fs, struct fs_inode *inode, const char *name, const void *value, size_t size,
                          int flags)
{
    struct kv_xattrs set;

    return load(fs, inode, &set) == 0 &&
           kv_xattrs_set(&set, name, strlen(name), value, size, flags_of(flags)) == -ENOSPC;
}

int fs_xattr_set(struct fs *fs, struct fs_inode *inode, const char *name, const void *value, size_t size,
                 int flags)
{
    struct kv_ref ref = kv_ref_node(inode->id);
    struct kv_meta meta;
    int rc;

    if (!has_attributes(inode) || !starts_with(name, USER))
        return -ENOTSUP;
    if (name[strlen(USER)] == '\0')
        return -EINVAL;
    if (starts_with(name, COMPUTED))
        return -EPERM;
    rc = inode->kind == FS_NODE ? set_central(fs, &ref, name, value, size, flags, &meta)
                                : set_key(fs, inode, name, value, size, flags);
    if (rc == -ENOSPC && is_over_limit(fs, inode, name, value, size, flags))
        fs_errors_add_reason(fs, inode, NULL, "setxattr",
                             "the names and values of an object's attributes are limited to 1024 bytes together: "
                             "remove some, or keep the data in a key");
    else
        fs_errors_note(fs, inode, NULL, "setxattr", rc);
    return rc;
}
