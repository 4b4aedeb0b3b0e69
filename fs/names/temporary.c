#include "fs/names/temporary.h"

#include "fs/content/attr.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* ---------------------------------------------------------------------------------- names */

static bool is_key(const char *name, size_t size) { return kv_name_check(KV_NAME_KEY, name, size) == 0; }

/* "." and five digits or more; or "." and six letters and digits as mkstemp(3) chooses them. Of six lower case letters
 * alone it is rather a word, as in `key.backup`. */
static bool is_random_suffix(const char *suffix)
{
    size_t size = strlen(suffix), digits = 0, lower = 0, others = 0;

    if (suffix[0] != '.')
        return false;
    for (const char *c = suffix + 1; *c != '\0'; c++) {
        digits += isdigit((unsigned char)*c) != 0;
        lower += islower((unsigned char)*c) != 0;
        others += !isalnum((unsigned char)*c);
    }
    return others == 0 && ((digits == size - 1 && digits >= 5) || (size == 7 && lower < 6));
}

/* With a dot before it, too. */
static bool has_temporary_suffix(const char *name)
{
    static const char *const suffixes[] = {".tmp", ".temp", ".new", ".part", ".lock", "~"};
    size_t key;
    bool found;

    name += name[0] == '.';
    key = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
    found = is_random_suffix(name + key);
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
        found |= strcmp(name + key, suffixes[i]) == 0;
    return found && is_key(name, key);
}

bool fs_is_temporary(const char *name, int flags, mode_t mode)
{
    bool as_mkstemp = flags & O_EXCL && (flags & O_ACCMODE) == O_RDWR &&
                      (mode & 0677) == 0600; /* rsync takes 0700 for what will be executable */

    if (strlen(name) > KV_KEY_MAX || is_key(name, strlen(name)))
        return false;
    return as_mkstemp || has_temporary_suffix(name);
}

/* ------------------------------------------------------------------------------- changing */

/* The locked name is gone, and with it its pin on the body. */
static void temporary_remove(struct fs *fs, struct fs_name *name, struct fs_inode *inode)
{
    fs_name_remove(fs, name);
    fs_inode_set_local(fs, inode, false);
    fs_body_unpin(fs, inode);
}

int fs_unlink_temporary(struct fs *fs, struct fs_inode *namespace, const char *name)
{
    struct fs_name *locked;
    struct fs_inode *inode;
    int rc;

    if (strlen(name) > KV_KEY_MAX)
        return -ENAMETOOLONG;
    locked = fs_name_lock(fs, namespace->name->node, name);
    if (locked == NULL)
        return -ENOMEM;
    inode = fs_name_current(fs, locked);
    rc = inode == NULL ? -ENOENT : fs_check_seen(fs, namespace, NULL);
    if (rc == 0)
        temporary_remove(fs, locked, inode);
    fs_inode_put(fs, inode);
    fs_name_unlock(fs, locked);
    return rc;
}

/* Put the content as a new object at the key's name; *generation is which content that was. */
static int temporary_put(struct fs *fs, struct fs_body *body, struct kv_change *change, uint64_t *generation)
{
    struct kv_xattrs none = {.size = 0};
    int rc;

    pthread_rwlock_rdlock(&body->io);
    change->value = kv_value_ref(body->value);
    change->attr = body->meta.attr;
    change->xattrs = body->xattrs != NULL ? body->xattrs : &none; /* the name's lock keeps them as they are */
    change->expiry = KV_EXPIRY_SET;
    change->expires_ns = body->meta.expires_ns;
    *generation = body->written;
    pthread_rwlock_unlock(&body->io);
    change->attr.ctime_ns = fs_now_ns();
    rc = kv_apply(fs->store, change);
    kv_value_unref(change->value);
    return rc;
}

/* The body is a key's from now on. */
static void temporary_become_key(struct fs *fs, struct fs_body *body, const struct kv_change *change,
                                 uint64_t generation)
{
    pthread_rwlock_wrlock(&body->io);
    body->state = FS_BODY_STORED;
    body->exclusive = false;
    body->put = generation;
    body->stored_size = change->meta.size;
    body->meta.version = change->meta.version;
    body->meta.attr.ctime_ns = change->meta.attr.ctime_ns;
    body->meta.has_xattrs = change->meta.has_xattrs;
    body->expiry = KV_EXPIRY_KEEP;
    fs_body_charge(fs, body);
    pthread_rwlock_unlock(&body->io);
    fs_inode_set_local(fs, body->inode, false);
}

/* What takes part in a rename. */
struct temporary_rename {
    struct fs_name *names[2];
    struct fs_inode *namespace, *to_namespace;
    struct fs_inode *inode; /* of the temporary file */
    struct fs_inode *over;  /* current of the other name, or NULL */
    unsigned flags;
};

static int temporary_to_key(struct fs *fs, const struct temporary_rename *rename, const char *key)
{
    struct kv_change change = {.kind = KV_PUT, .replace = true, .conditional = rename->flags & RENAME_NOREPLACE};
    struct fs_body *body = fs_body_pin(fs, rename->inode);
    struct kv_attr told;
    struct fs_seen seen;
    uint64_t generation;
    bool kept;
    int rc = fs_see(fs, rename->namespace, rename->to_namespace, &seen, &change);

    if (rc < 0 || body == NULL) {
        if (body != NULL)
            fs_body_unpin(fs, rename->inode);
        return rc < 0 ? rc : -ENOENT;
    }
    change.ref = kv_ref_key(rename->to_namespace->name->node, key, strlen(key));
    if (fs_told_before(fs, rename->over, &told))
        change.to_object = &told;
    kept = fs_xattr_keep(fs, rename->over);
    rc = temporary_put(fs, body, &change, &generation);
    if (rc == 0) {
        temporary_become_key(fs, body, &change, generation);
        fs_name_move(fs, rename->names[0], rename->namespace, rename->names[1], rename->to_namespace, false);
        fs_body_removed(fs, rename->over);
        fs_body_unpin(fs, rename->inode); /* which the temporary name had */
    } else if (kept) {
        fs_xattr_drop(fs, rename->over);
    }
    fs_body_unpin(fs, rename->inode);
    return fs_stale_if(fs, rename->to_namespace, rc);
}

static int temporary_to_temporary(struct fs *fs, const struct temporary_rename *rename)
{
    if (rename->over != NULL && rename->flags & RENAME_NOREPLACE)
        return -EEXIST;
    if (rename->over != NULL)
        temporary_remove(fs, rename->names[1], rename->over);
    fs_name_move(fs, rename->names[0], rename->namespace, rename->names[1], rename->to_namespace, false);
    return 0;
}

int fs_rename_temporary(struct fs *fs, struct fs_inode *namespace, const char *name, struct fs_inode *to_namespace,
                        const char *to_name, unsigned flags)
{
    struct temporary_rename rename = {.namespace = namespace, .to_namespace = to_namespace, .flags = flags};
    bool to_key = is_key(to_name, strlen(to_name));
    int rc;

    if (flags & RENAME_EXCHANGE)
        return -EINVAL;
    if (fs_inode_account(fs, namespace) != fs_inode_account(fs, to_namespace))
        return -EXDEV;
    if (strlen(name) > KV_KEY_MAX || strlen(to_name) > KV_KEY_MAX)
        return -ENAMETOOLONG;
    if (!to_key && !fs_is_temporary(to_name, O_RDWR | O_EXCL, 0600))
        return fs_because(-EINVAL, kv_name_rule(KV_NAME_KEY));
    if (!fs_name_lock_two(fs, namespace->name->node, name, to_namespace->name->node, to_name, rename.names))
        return -ENOMEM;
    rename.inode = fs_name_current(fs, rename.names[0]);
    rename.over = fs_name_current(fs, rename.names[1]);
    rc = rename.inode == NULL ? -ENOENT : fs_check_seen(fs, namespace, NULL);
    if (rc == 0)
        rc = fs_check_seen(fs, to_namespace, NULL);
    if (rc == 0)
        rc = to_key ? temporary_to_key(fs, &rename, to_name) : temporary_to_temporary(fs, &rename);
    fs_inode_put(fs, rename.inode);
    fs_inode_put(fs, rename.over);
    fs_name_unlock(fs, rename.names[0]);
    fs_name_unlock(fs, rename.names[1]);
    return rc;
}
