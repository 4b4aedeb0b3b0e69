#include "tests/support/reference.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

const struct ref_user ref_users[REF_USERS] = {{0, 0}, {5001, REF_GROUP}, {5002, REF_GROUP}, {5003, 0}};

static const struct ref_attr account = {.there = true, .mode = 01777};

struct ref_key *ref_key(struct reference *ref, struct ref_place at) { return &ref->dirs[at.dir].keys[at.key]; }

struct ref_key ref_view(struct reference *ref, struct ref_place at, const struct ref_handle *handle)
{
    struct ref_key key = *ref_key(ref, at);

    if (handle == NULL)
        return key;
    if (handle->is_new)
        key = (struct ref_key){.attr = handle->attr, .object = handle->object};
    key.size = handle->size;
    memcpy(key.data, handle->data, sizeof(key.data));
    return key;
}

bool ref_is_newest(struct reference *ref, const struct ref_handle *handle)
{
    const struct ref_key *key = ref_key(ref, handle->at);

    return key->attr.there && key->object == handle->object && key->version == handle->version;
}

/* ------------------------------------------------------------------------ permissions */

static bool ref_in_group(unsigned user, gid_t gid)
{
    return gid == ref_users[user].uid || (ref_users[user].group != 0 && gid == ref_users[user].group);
}

bool ref_may(unsigned user, const struct ref_attr *attr, unsigned bits)
{
    unsigned shift = attr->uid == ref_users[user].uid ? 6 : ref_in_group(user, attr->gid) ? 3 : 0;

    return user == 0 || (attr->mode >> shift & bits) == bits;
}

static bool ref_owns(unsigned user, const struct ref_attr *attr)
{
    return user == 0 || attr->uid == ref_users[user].uid;
}

/* To the last component, which need not be there. */
static int ref_walk(struct reference *ref, unsigned user, struct ref_place at)
{
    const struct ref_attr *dir = &ref->dirs[at.dir].attr;

    if (!dir->there)
        return ENOENT;
    return ref_may(user, dir, 1) ? 0 : EACCES;
}

/* To take an entry out of a directory. */
static int ref_may_delete(unsigned user, const struct ref_attr *dir, const struct ref_attr *entry)
{
    if (!ref_may(user, dir, 3))
        return EACCES;
    return (dir->mode & 01000) && !ref_owns(user, entry) && !ref_owns(user, dir) ? EPERM : 0;
}

int ref_access(struct reference *ref, unsigned user, struct ref_place at, const struct ref_key *key, unsigned bits)
{
    int rc = ref_walk(ref, user, at);

    if (rc == 0 && !key->attr.there)
        rc = ENOENT;
    if (rc == 0 && !ref_may(user, &key->attr, bits))
        rc = EACCES;
    return rc;
}

int ref_own(struct reference *ref, unsigned user, struct ref_place at, const struct ref_key *key)
{
    int rc = ref_access(ref, user, at, key, 0);

    return rc != 0 ? rc : ref_owns(user, &key->attr) ? 0 : EPERM;
}

int ref_chown(struct reference *ref, unsigned user, struct ref_place at, const struct ref_key *key, uid_t uid,
              gid_t gid)
{
    int rc = ref_own(ref, user, at, key);

    if (rc == 0 && user != 0 && (uid != key->attr.uid || (gid != key->attr.gid && !ref_in_group(user, gid))))
        rc = EPERM;
    return rc;
}

int ref_unlink(struct reference *ref, unsigned user, struct ref_place at, const struct ref_key *key)
{
    int rc = ref_access(ref, user, at, key, 0);

    return rc != 0 ? rc : ref_may_delete(user, &ref->dirs[at.dir].attr, &key->attr);
}

int ref_rename(struct reference *ref, unsigned user, struct ref_place from, const struct ref_key *from_key,
               struct ref_place to, const struct ref_key *to_key, unsigned flags)
{
    const struct ref_attr *to_dir = &ref->dirs[to.dir].attr;
    int rc = ref_walk(ref, user, from);

    if (rc == 0)
        rc = ref_walk(ref, user, to);
    if (rc == 0 && !from_key->attr.there)
        rc = ENOENT;
    if (rc == 0 && (flags & RENAME_NOREPLACE) && to_key->attr.there)
        rc = EEXIST;
    if (rc == 0 && (flags & RENAME_EXCHANGE) && !to_key->attr.there)
        rc = ENOENT;
    if (rc == 0)
        rc = ref_may_delete(user, &ref->dirs[from.dir].attr, &from_key->attr);
    if (rc == 0 && to_key->attr.there)
        rc = ref_may_delete(user, to_dir, &to_key->attr);
    else if (rc == 0 && !ref_may(user, to_dir, 3))
        rc = EACCES;
    return rc;
}

int ref_open(struct reference *ref, unsigned user, struct ref_place at, int flags)
{
    static const unsigned wanted[] = {[O_RDONLY] = 4, [O_WRONLY] = 2, [O_RDWR] = 6};
    const struct ref_key *key = ref_key(ref, at);
    int rc = ref_walk(ref, user, at);

    if (rc != 0)
        return rc;
    if (!key->attr.there && !(flags & O_CREAT))
        return ENOENT;
    if (!key->attr.there)
        return ref_may(user, &ref->dirs[at.dir].attr, 3) ? 0 : EACCES;
    if (flags & O_EXCL)
        return EEXIST;
    return ref_may(user, &key->attr, wanted[flags & O_ACCMODE] | (flags & O_TRUNC ? 2 : 0)) ? 0 : EACCES;
}

int ref_mkdir(struct reference *ref, unsigned dir) { return ref->dirs[dir].attr.there ? EEXIST : 0; }

int ref_rmdir(struct reference *ref, unsigned user, unsigned dir)
{
    const struct ref_dir *d = &ref->dirs[dir];
    int rc = d->attr.there ? ref_may_delete(user, &account, &d->attr) : ENOENT;

    for (int i = 0; i < REF_KEYS && rc == 0; i++)
        rc = d->keys[i].attr.there ? ENOTEMPTY : 0;
    return rc;
}

int ref_chmod_dir(struct reference *ref, unsigned user, unsigned dir)
{
    const struct ref_attr *attr = &ref->dirs[dir].attr;

    return !attr->there ? ENOENT : ref_owns(user, attr) ? 0 : EPERM;
}

void ref_make_dir(struct reference *ref, unsigned user, unsigned dir, mode_t mode)
{
    uid_t uid = ref_users[user].uid;

    ref->dirs[dir] = (struct ref_dir){.attr = {.there = true, .uid = uid, .gid = uid, .mode = mode}};
}

/* ---------------------------------------------------------------------------- handles */

struct ref_handle ref_handle_new(struct reference *ref, unsigned user, struct ref_place at, int flags, mode_t mode)
{
    const struct ref_key *key = ref_key(ref, at);
    struct ref_handle handle = {.flags = flags, .at = at, .is_new = !key->attr.there};
    uid_t uid = ref_users[user].uid;

    if (handle.is_new) {
        handle.attr = (struct ref_attr){.there = true, .uid = uid, .gid = uid, .mode = mode};
        handle.object = ++ref->last_object;
        return handle;
    }
    handle.attr = key->attr;
    handle.object = key->object;
    handle.version = key->version;
    handle.emptied = (flags & O_TRUNC) != 0;
    handle.size = handle.emptied ? 0 : key->size;
    memcpy(handle.data, key->data, handle.size);
    return handle;
}

void ref_resize(struct ref_handle *handle, size_t size)
{
    if (size > handle->size)
        memset(handle->data + handle->size, 0, size - handle->size);
    handle->size = size;
    handle->wrote = true;
}

void ref_write(struct ref_handle *handle, const void *bytes, size_t size)
{
    if (handle->flags & O_APPEND)
        handle->position = handle->size;
    if (handle->position + size > handle->size)
        ref_resize(handle, handle->position + size);
    memcpy(handle->data + handle->position, bytes, size);
    handle->position += size;
    handle->wrote = true;
}

int ref_publish(struct reference *ref, struct ref_handle *handle, bool *adopts)
{
    struct ref_key *key = ref_key(ref, handle->at);
    const struct ref_attr *a = &key->attr, *b = &handle->attr;
    bool exclusive = handle->is_new && (handle->flags & O_EXCL);

    *adopts = false;
    if (handle->displaced || !(handle->wrote || handle->is_new || handle->emptied))
        return 0;
    if (a->there && key->object != handle->object &&
        (exclusive || a->uid != b->uid || a->gid != b->gid || a->mode != b->mode)) {
        handle->displaced = true; /* the name shows the other one */
        return exclusive ? EEXIST : ESTALE;
    }
    *adopts = !handle->is_new && (!a->there || key->object != handle->object);
    if (!a->there)
        *key = (struct ref_key){.attr = *b, .object = handle->is_new ? handle->object : ++ref->last_object};
    key->size = handle->size;
    memcpy(key->data, handle->data, sizeof(key->data));
    key->version = handle->version = ++ref->last_version;
    handle->object = key->object;
    handle->is_new = handle->wrote = handle->emptied = false;
    return 0;
}

void ref_truncate(struct reference *ref, struct ref_place at, size_t size)
{
    struct ref_key *key = ref_key(ref, at);

    if (size > key->size)
        memset(key->data + key->size, 0, size - key->size);
    key->size = size;
    key->version = ++ref->last_version;
}
