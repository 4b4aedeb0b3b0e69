#include "fs/content/handle.h"

#include "fs/base/ledger.h"
#include "fs/base/notify.h"
#include "fs/content/attr.h"
#include "fs/content/closing.h"
#include "fs/content/data.h"
#include "fs/content/writeback.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* A cold value up to this size is handed to the kernel together with the open. */
#define PUSH_MAX (128u * 1024)
/* Each time the name went to another inode meanwhile. */
#define OPEN_TRIES 64

static pthread_mutex_t handles_lock = PTHREAD_MUTEX_INITIALIZER;
static struct fs_handle *handles; /* of the process's only node */

static bool opens_to_write(int flags) { return (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC; }

static int handle_new(struct fs *fs, int flags, const struct fuse_ctx *who, struct fs_handle **out)
{
    struct fs_handle *handle = calloc(1, sizeof(*handle));

    if (handle == NULL)
        return -ENOMEM;
    if (fs_ledger_charge(fs->users, who->uid, FS_HANDLES, 1, fs_limit_of(who->uid, FS_HANDLES_MAX)) < 0) {
        free(handle);
        return fs_because(-ENFILE, "a user may have 16384 files open on a node: close some");
    }
    handle->kind = FS_HANDLE_FILE;
    handle->writes = (flags & O_ACCMODE) != O_RDONLY;
    handle->uid = who->uid;
    handle->opener = opens_to_write(flags) ? fs_process_of(who->pid) : 0;
    pthread_mutex_lock(&handles_lock);
    DL_APPEND(handles, handle);
    pthread_mutex_unlock(&handles_lock);
    *out = handle;
    return 0;
}

static void handle_free(struct fs *fs, struct fs_handle *handle)
{
    fs_filelocks_drop(fs, &handle->locks);
    fs_ledger_release(fs->users, handle->uid, FS_HANDLES, 1);
    pthread_mutex_lock(&handles_lock);
    DL_DELETE(handles, handle);
    pthread_mutex_unlock(&handles_lock);
    free(handle);
}

/* ------------------------------------------------------------------------------- opening */

struct opening {
    struct fs *fs;
    struct fs_inode *checked; /* whose owner and mode the kernel has checked */
    int flags;
    struct fs_handle *handle;
    struct kv_usage usage; /* of the account */
};

/* The inode does not have its name any more: open the one that has. Or it is about to get another one: wait for that. */
enum { OPEN_ELSEWHERE = 1, OPEN_LATER };

/* Fill a fresh body with the newest value, or with what this node may serve. */
static int open_load(const struct opening *opening, const struct kv_ref *ref, struct fs_body *body)
{
    bool empty = opening->flags & O_TRUNC;
    int rc;

    if (opens_to_write(opening->flags))
        rc = kv_get_newest(opening->fs->store, ref, &body->meta, empty ? NULL : &body->value);
    else
        rc = kv_get(opening->fs->store, ref, &body->meta, &body->value, NULL);
    if (rc == 0 && empty)
        rc = kv_value_new(0, &body->value);
    body->stored_size = body->meta.size;
    return rc;
}

/* Give the kernel a small value before the open is answered, so that no READ is needed. Only while nobody else has the file
 * open: then no page of it is locked. */
static void open_push(struct fs *fs, struct fs_inode *inode, const struct kv_value *value)
{
    struct fuse_bufvec bytes = FUSE_BUFVEC_INIT(value->size);

    if (value->size == 0 || value->size > PUSH_MAX)
        return;
    bytes.buf[0].mem = value->data;
    fuse_lowlevel_notify_store(fs->session, inode->id, 0, &bytes, 0);
}

/* One more handle on an open inode, whose lock is held. */
static int open_add_handle(const struct opening *opening, struct fs_inode *inode)
{
    struct fs_handle *handle = opening->handle;
    struct fs_body *body = inode->body;
    int rc = 0;

    pthread_rwlock_wrlock(&body->io);
    handle->inode = inode;
    if (opening->flags & O_TRUNC) { /* also with O_RDONLY: the kernel has asked for the permission to write */
        rc = fs_truncate_locked(opening->fs, handle, 0);
        handle->state = FS_EMPTIED;
    }
    if (rc == 0)
        body->writers += handle->writes;
    pthread_rwlock_unlock(&body->io);
    if (rc == 0)
        inode->opens++;
    return rc;
}

/* The inode stands for the value that was loaded from now on, if that is one of the same object. An append of another version
 * than the kernel knows would go where that ends: it is direct. */
static int open_adopt_locked(const struct opening *opening, struct fs_inode *inode, const struct fs_body *body)
{
    if (opening->flags & O_APPEND && !fs_inode_shows(opening->fs, inode, &body->meta))
        opening->handle->direct = true;
    if (!fs_inode_adopt_locked(opening->fs, inode, &body->meta, false)) {
        opening->handle->direct = false;
        fs_inode_displace(opening->fs, inode);
        return OPEN_ELSEWHERE;
    }
    return fs_told_same(opening->fs, opening->checked, &body->meta.attr) ? 0
                                                                         : fs_stale(opening->fs, opening->checked);
}

/* Open a closed inode, whose lock is held. */
static int open_closed_locked(const struct opening *opening, struct fs_inode *inode)
{
    struct fs *fs = opening->fs;
    struct kv_ref ref = fs_inode_ref(fs, inode);
    struct fs_body *body;
    int rc;

    if (fs_inode_state(fs, inode) != FS_CURRENT)
        return OPEN_ELSEWHERE;
    rc = fs_body_new(inode, &opening->usage, &body);
    if (rc < 0)
        return rc;
    rc = open_load(opening, &ref, body);
    if (rc == 0)
        rc = fs_body_check_open(fs, body, body->value->size, opening->handle->uid);
    if ((rc == 0 || rc == -ENOENT) && fs_inode_is_moving(fs, inode, &ref, rc == 0 ? &body->meta.attr : NULL)) {
        fs_body_free(fs, body);
        return OPEN_LATER;
    }
    if (rc == 0)
        rc = open_adopt_locked(opening, inode, body);
    if (rc == -ENOENT) {
        fs_inode_displace(fs, inode);
        rc = fs_stale(fs, opening->checked);
    }
    if (rc != 0) {
        fs_body_free(fs, body);
        return rc;
    }
    fs_body_charge(fs, body);
    fs_inode_set_body_locked(fs, inode, body);
    rc = open_add_handle(opening, inode);
    if (rc < 0) {
        fs_inode_set_body_locked(fs, inode, NULL);
        fs_body_free(fs, body);
        fs_inode_put(fs, inode);
        return rc;
    }
    if (!inode->has_pages && body->written == 0)
        open_push(fs, inode, body->value);
    inode->has_pages = true;
    return 0;
}

/* Is an open inode what an open for writing may begin with? Not where the central storage has another value. */
static int open_check_newest_locked(const struct opening *opening, struct fs_inode *inode)
{
    struct kv_ref ref = fs_inode_ref(opening->fs, inode);
    bool local, older;
    struct kv_meta meta;
    int rc;

    if (fs_inode_state(opening->fs, inode) == FS_DISPLACED)
        return OPEN_ELSEWHERE;
    pthread_rwlock_rdlock(&inode->body->io);
    local = fs_body_is_local(inode->body);
    pthread_rwlock_unlock(&inode->body->io);
    if (local || fs_inode_state(opening->fs, inode) == FS_REMOVED)
        return 0;
    rc = kv_get_newest(opening->fs->store, &ref, &meta, NULL);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    pthread_rwlock_rdlock(&inode->body->io);
    older = !fs_body_is_local(inode->body) && (rc == -ENOENT || meta.version != inode->body->meta.version);
    pthread_rwlock_unlock(&inode->body->io);
    if (!older)
        return 0;
    if (fs_inode_displace(opening->fs, inode))
        fs_notify_epoch(opening->fs);
    return OPEN_ELSEWHERE;
}

static int open_open_locked(const struct opening *opening, struct fs_inode *inode)
{
    struct fs_body *body = inode->body;
    struct kv_attr attr;
    int rc = opens_to_write(opening->flags) ? open_check_newest_locked(opening, inode) : 0;

    if (rc != 0)
        return rc;
    pthread_rwlock_rdlock(&body->io);
    attr = body->meta.attr;
    pthread_rwlock_unlock(&body->io);
    if (!fs_told_same(opening->fs, opening->checked, &attr))
        return fs_stale(opening->fs, opening->checked);
    return open_add_handle(opening, inode);
}

static int open_inode(const struct opening *opening, struct fs_inode *inode)
{
    int rc;

    fs_inode_lock(opening->fs, inode);
    rc = inode->body != NULL ? open_open_locked(opening, inode) : open_closed_locked(opening, inode);
    fs_inode_unlock(opening->fs, inode);
    return rc;
}

/* Open the inode. Where it has lost its name, the kernel looks that up again, once; where it just did so, open the one that
 * has it by now. */
static int open_checked(const struct opening *opening)
{
    struct fs_inode *inode = opening->checked, *current;
    struct fs *fs = opening->fs;
    int rc;

    fs_inode_get(fs, inode);
    for (int i = 0; (rc = open_inode(opening, inode)) > 0 && i < OPEN_TRIES; i++) {
        if (rc == OPEN_LATER) {
            fs_name_settle(fs, inode);
            continue;
        }
        if (inode == opening->checked && !fs_name_contend(fs, inode))
            break;
        rc = fs_inode_current(fs, opening->checked, &current);
        if (rc < 0)
            break;
        opening->handle->direct = opening->checked->redirects = true;
        fs_inode_put(fs, inode);
        inode = current;
    }
    fs_inode_put(fs, inode);
    return rc > 0 ? fs_stale(fs, opening->checked) : rc;
}

int fs_open(struct fs *fs, struct fs_inode *inode, int flags, const struct fuse_ctx *who, struct fs_handle **out)
{
    struct opening opening = {.fs = fs, .checked = inode, .flags = flags};
    struct fs_name *name;
    int rc = fs_check_seen(fs, inode, &opening.usage);

    if (rc == 0)
        rc = handle_new(fs, flags, who, &opening.handle);
    if (rc < 0)
        return rc;
    name = opens_to_write(flags) ? fs_name_lock_of(fs, inode) : NULL;
    rc = open_checked(&opening);
    if (name != NULL)
        fs_name_unlock(fs, name);
    if (rc < 0) {
        handle_free(fs, opening.handle);
        return rc;
    }
    *out = opening.handle;
    return 0;
}

/* ------------------------------------------------------------------------------- creating */

/* Does the account surely have no room for one more key? */
static int create_check_account(const struct opening *opening, size_t size)
{
    const struct kv_usage *usage = &opening->usage;
    uint64_t dirty = fs_ledger_used(opening->fs->accounts, usage->account, FS_DIRTY_BYTES);

    return usage->bytes + dirty + size > usage->limit_bytes ? -EDQUOT : 0;
}

/* Give a new inode a body that only this node knows. The inode's lock is held. */
static int create_body_locked(const struct opening *opening, struct fs_inode *inode, const struct kv_attr *attr,
                              bool temporary)
{
    struct fs *fs = opening->fs;
    struct fs_body *body;
    int rc = fs_body_new(inode, &opening->usage, &body);

    if (rc == 0) {
        body->meta.attr = *attr;
        body->exclusive = opening->flags & O_EXCL;
        body->state = FS_BODY_NEW;
        rc = kv_value_new(0, &body->value);
        if (rc == 0 && temporary)
            rc = fs_body_charge_temporary(fs, body);
        if (rc < 0)
            fs_body_free(fs, body);
    }
    if (rc < 0)
        return rc;
    body->written = opening->handle->written = 1;
    body->writers = opening->handle->writes;
    opening->handle->state = FS_EMPTIED;
    opening->handle->inode = inode;
    fs_inode_set_body_locked(fs, inode, body);
    inode->opens = temporary ? 2 : 1; /* a temporary file is pinned by its name */
    inode->has_pages = true;
    fs_inode_set_local(fs, inode, true);
    return 0;
}

/* Is the key there, against what the kernel believes? Its name is locked. returns 0 no; -EEXIST, -ESTALE */
static int create_check_absent(const struct opening *opening, struct fs_inode *namespace, struct fs_name *name,
                               bool temporary)
{
    struct kv_ref ref = kv_ref_key(name->node, name->key, name->size);
    struct fs_inode *inode = fs_name_current(opening->fs, name);
    bool there = false;
    struct kv_meta meta;
    int rc = -ENOENT;

    if (inode != NULL) {
        fs_inode_lock(opening->fs, inode);
        there = inode->body != NULL;
        if (!there) /* what it stood for is gone, or the store will say that it is there */
            fs_inode_displace(opening->fs, inode);
        fs_inode_unlock(opening->fs, inode);
        fs_inode_put(opening->fs, inode);
    }
    if (!there && !temporary)
        rc = kv_get_newest(opening->fs->store, &ref, &meta, NULL);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (!there && rc == -ENOENT)
        return 0;
    return opening->flags & O_EXCL ? -EEXIST : fs_stale(opening->fs, namespace);
}

/* Make the inode of a locked name that nothing has, with its body. A lookup can take the name's inode away meanwhile. */
static int create_inode(const struct opening *opening, struct fs_inode *namespace, struct fs_name *name,
                        const struct kv_attr *attr, bool temporary, struct fs_inode **out)
{
    bool current = false;
    int rc = 0;

    while (rc == 0 && !current) {
        rc = fs_inode_of_key(opening->fs, namespace, name->key, name->size, out);
        if (rc < 0)
            return rc;
        fs_inode_lock(opening->fs, *out);
        current = fs_inode_state(opening->fs, *out) == FS_CURRENT;
        if (current)
            rc = create_body_locked(opening, *out, attr, temporary);
        fs_inode_unlock(opening->fs, *out);
        if (!current || rc < 0)
            fs_inode_put(opening->fs, *out);
    }
    return rc;
}

static int create(struct opening *opening, struct fs_inode *namespace, const char *key, const struct kv_attr *attr,
                  const struct fuse_ctx *who, bool temporary, struct fs_inode **out)
{
    struct fs *fs = opening->fs;
    struct kv_attr own = *attr;
    struct fs_name *name;
    int rc = fs_check_seen(fs, namespace, &opening->usage);

    if (rc == 0 && !temporary)
        rc = create_check_account(opening, strlen(key));
    if (rc == 0)
        rc = kv_new_ino(fs->store, &own.ino);
    if (rc == 0)
        rc = handle_new(fs, opening->flags, who, &opening->handle);
    if (rc < 0)
        return rc;
    name = fs_name_lock(fs, namespace->name->node, key);
    rc = name == NULL ? -ENOMEM : create_check_absent(opening, namespace, name, temporary);
    if (rc == 0)
        rc = create_inode(opening, namespace, name, &own, temporary, out);
    if (name != NULL)
        fs_name_unlock(fs, name);
    if (rc < 0)
        handle_free(fs, opening->handle);
    else
        fs_inode_touch(fs, namespace);
    return rc;
}

int fs_create(struct fs *fs, struct fs_inode *namespace, const char *key, int flags, const struct kv_attr *attr,
              const struct fuse_ctx *who, struct fs_inode **inode, struct fs_handle **out)
{
    struct opening opening = {.fs = fs, .flags = flags};
    int rc = create(&opening, namespace, key, attr, who, false, inode);

    if (rc == 0)
        *out = opening.handle;
    return rc;
}

int fs_create_temporary(struct fs *fs, struct fs_inode *namespace, const char *name, const struct kv_attr *attr,
                        const struct fuse_ctx *who, struct fs_inode **inode, struct fs_handle **out)
{
    struct opening opening = {.fs = fs, .flags = O_RDWR | O_EXCL};
    int rc = create(&opening, namespace, name, attr, who, true, inode);

    if (rc == 0)
        *out = opening.handle;
    return rc;
}

/* ----------------------------------------------------------------------------- truncate(2) */

/* Is the content of this size, here and in the central storage? Then truncate(2) leaves the times as they are. */
static bool truncate_is_done(struct fs *fs, struct fs_inode *inode, uint64_t size)
{
    struct kv_ref ref = fs_inode_ref(fs, inode);
    struct fs_body *body = fs_body_pin(fs, inode);
    bool local = false, has = true;
    struct kv_meta meta;

    if (body != NULL) {
        pthread_rwlock_rdlock(&body->io);
        local = fs_body_is_local(body);
        has = body->value->size == size;
        pthread_rwlock_unlock(&body->io);
        fs_body_unpin(fs, inode);
    }
    return has && (local || (kv_get_newest(fs->store, &ref, &meta, NULL) == 0 && meta.size == size &&
                             fs_told_same(fs, inode, &meta.attr)));
}

int fs_truncate_path(struct fs *fs, struct fs_inode *inode, uint64_t size, const struct fuse_ctx *who,
                     struct stat *shown, double *timeout)
{
    struct fs_handle *handle;
    int rc;

    if (fs_inode_state(fs, inode) == FS_CURRENT && truncate_is_done(fs, inode, size))
        return fs_getattr(fs, inode, shown, timeout);
    rc = fs_open(fs, inode, O_WRONLY | (size == 0 ? O_TRUNC : 0), who, &handle);
    if (rc < 0)
        return rc;
    rc = fs_truncate(fs, handle, size);
    if (rc == 0)
        rc = fs_put_wait(fs, handle);
    if (rc == 0) /* before it is closed: then its name may lead elsewhere */
        rc = fs_getattr(fs, handle->inode, shown, timeout);
    fs_close(fs, handle);
    return rc;
}

/* --------------------------------------------------------------------------------- closing */

void fs_close(struct fs *fs, struct fs_handle *handle)
{
    struct fs_inode *inode = handle->inode;
    struct fs_body *body = inode->body;
    bool left;

    /* For writing: a thread whose READ was answered may still be about to let go of the lock. */
    pthread_rwlock_wrlock(&body->io);
    body->writers -= handle->writes;
    left = (handle->state == FS_EMPTIED || handle->state == FS_WRITTEN) && handle->written > body->put &&
           handle->written > handle->told;
    pthread_rwlock_unlock(&body->io);
    if (left)
        fs_put_left(fs, handle);
    handle_free(fs, handle);
    fs_body_unpin(fs, inode);
}

void fs_handles_end(struct fs *fs, bool abandon)
{
    while (handles != NULL) {
        struct fs_handle *handle = handles;
        struct fs_body *body = handle->inode->body;

        pthread_rwlock_wrlock(&body->io);
        if (abandon || (handle->written > handle->flushed && handle->written > body->mapped))
            handle->written = 0;
        pthread_rwlock_unlock(&body->io);
        fs_close(fs, handle);
    }
    (void)!kv_sync(fs->store); /* puts of the closes above end here */
}

void fs_bodies_end(struct fs *fs)
{
    struct fs_inode *inode;

    while ((inode = fs_inode_open_one(fs)) != NULL) {
        inode->opens = 1;
        fs_body_unpin(fs, inode);
        fs_inode_put(fs, inode);
    }
}
