#include "fs/scratch.h"

#include "fs/attr.h"
#include "fs/notify.h"
#include "fs/party.h"
#include "fs/tree.h"
#include "fs/xattr.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

bool fs_scratch_is_wanted(const char *name, int flags, mode_t mode)
{
    return name[0] == '.' && strlen(name) <= KV_KEY_MAX && (flags & O_EXCL) && (flags & O_ACCMODE) == O_RDWR &&
           (mode & 0677) == 0600; /* rsync takes 0700 for what will be executable */
}

int fs_scratch_room(struct fs *fs, size_t more)
{
    return atomic_load(&fs->nodes->scratch_bytes) + more > FS_SCRATCH_MAX ? -ENOSPC : 0;
}

static void charge(struct fs *fs, struct fs_body *body, size_t bytes)
{
    atomic_fetch_add(&fs->nodes->scratch_bytes, bytes - body->scratch_charged);
    body->scratch_charged = bytes;
}

void fs_scratch_charge(struct fs *fs, struct fs_body *body, size_t size)
{
    charge(fs, body, FS_SCRATCH_COST + size);
}

void fs_scratch_discharge(struct fs *fs, struct fs_body *body) { charge(fs, body, 0); }

int fs_scratch_lookup(struct fs *fs, struct fs_inode *namespace, const char *name, struct fuse_entry_param *entry)
{
    struct fs_inode *inode = fs_inode_find(fs, namespace->id, name, strlen(name));
    int rc;

    entry->entry_timeout = fs_timeout_full(fs);
    if (inode == NULL)
        return -ENOENT;
    rc = fs_attr_get(fs, inode, &entry->attr, &entry->attr_timeout);
    if (rc < 0) {
        fs_inode_put(fs, inode);
        return rc == -ESTALE ? -ENOENT : rc;
    }
    entry->ino = fs_inode_id(inode);
    fs_inode_to_kernel(fs, inode);
    return 0;
}

/* The name is gone, and with it its pin. */
static void lose_name(struct fs *fs, const struct fs_inode *namespace, const char *name, struct fs_inode *inode)
{
    struct kv_ref ref = kv_ref_key(namespace->id, name, strlen(name));

    fs_inode_unlink(fs, &ref);
    fs_body_unpin(fs, inode);
}

int fs_scratch_unlink(struct fs *fs, struct fs_inode *namespace, const char *name)
{
    struct fs_inode *inode = fs_inode_find(fs, namespace->id, name, strlen(name));

    if (inode == NULL)
        return -ENOENT;
    lose_name(fs, namespace, name, inode);
    fs_inode_put(fs, inode);
    return 0;
}

/* Put the content as a new object at the key's name; *generation is which content that was. */
static int put_as_key(struct fs *fs, struct fs_body *body, struct kv_change *change, uint64_t *generation)
{
    struct kv_xattrs none = {.size = 0};
    int rc;

    pthread_rwlock_rdlock(&body->io);
    change->value = kv_value_ref(body->value);
    change->attr = body->meta.attr;
    change->xattrs = body->xattrs != NULL ? body->xattrs : &none;
    *generation = body->written;
    rc = body->error;
    pthread_rwlock_unlock(&body->io);
    change->attr.ctime_ns = fs_now_ns();
    if (rc == 0)
        rc = kv_apply(fs->store, change);
    kv_value_unref(change->value);
    atomic_fetch_add(&fs->nodes->changes, 1);
    return rc;
}

/* The body is a key's from now on. */
static void become_key(struct fs *fs, struct fs_body *body, const struct kv_change *change, uint64_t generation)
{
    pthread_rwlock_wrlock(&body->io);
    fs_scratch_discharge(fs, body);
    body->scratch = false;
    body->exists = true;
    body->put = generation;
    body->meta.version = change->meta.version;
    body->meta.attr.ctime_ns = change->meta.attr.ctime_ns;
    body->meta.has_xattrs = change->meta.has_xattrs;
    pthread_rwlock_unlock(&body->io);
    fs_body_list(fs, body, false);
}

static int rename_to_key(struct fs *fs, const struct fs_party *from, const struct fs_party *to, unsigned flags)
{
    struct kv_change change = {.kind = KV_PUT, .replace = true, .conditional = flags & RENAME_NOREPLACE};
    uint64_t generation;
    int rc = fs_tree_check_key(fs, to->namespace, to->name, "rename");

    if (rc < 0)
        return rc;
    change.ref = kv_ref_key(to->namespace->id, to->name, strlen(to->name));
    fs_xattr_keep(fs, to->body, &change.ref);
    rc = put_as_key(fs, from->body, &change, &generation);
    if (rc < 0) {
        if (rc != -EEXIST)
            fs_errors_add(fs, to->namespace, to->name, "rename", rc);
        return rc;
    }
    become_key(fs, from->body, &change, generation);
    fs_inode_rename(fs, from->namespace, from->name, to->namespace, to->name, false);
    fs_body_unpin(fs, from->inode); /* that the scratch name had */
    fs_notify_sizes(fs, to->namespace);
    return 0;
}

static int rename_to_scratch(struct fs *fs, const struct fs_party *from, const struct fs_party *to, unsigned flags)
{
    if (strlen(to->name) > KV_KEY_MAX)
        return -ENAMETOOLONG;
    if (to->inode != NULL && flags & RENAME_NOREPLACE)
        return -EEXIST;
    if (to->inode != NULL)
        lose_name(fs, to->namespace, to->name, to->inode);
    fs_inode_rename(fs, from->namespace, from->name, to->namespace, to->name, false);
    return 0;
}

int fs_scratch_rename(struct fs *fs, struct fs_inode *namespace, const char *name, struct fs_inode *to_namespace,
                      const char *to_name, unsigned flags)
{
    struct fs_party from, to;
    int rc;

    if (flags & RENAME_EXCHANGE)
        return -EINVAL;
    if (namespace->parent != to_namespace->parent)
        return -EXDEV;
    fs_parties_of(fs, namespace, name, to_namespace, to_name, &from, &to);
    if (from.body == NULL)
        rc = -ENOENT;
    else
        rc = to_name[0] == '.' ? rename_to_scratch(fs, &from, &to, flags) : rename_to_key(fs, &from, &to, flags);
    fs_party_end(fs, &from);
    fs_party_end(fs, &to);
    return rc;
}
