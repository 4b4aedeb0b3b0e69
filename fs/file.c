#include "fs/file.h"

#include "fs/errors.h"
#include "fs/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <utlist.h>

/* A cold value up to this size is handed to the kernel together with the open. */
#define PUSH_MAX (128u * 1024)

/* ---------------------------------------------------------------------- bodies */

static int body_new(struct fs_inode *inode, struct fs_body **out)
{
    struct fs_body *body = calloc(1, sizeof(*body));

    if (body == NULL)
        return -ENOMEM;
    body->inode = inode;
    pthread_mutex_init(&body->name, NULL);
    pthread_rwlock_init(&body->io, NULL);
    *out = body;
    return 0;
}

/* Bodies that only this node knows are listed for readdir. */
static void set_listed(struct fs *fs, struct fs_body *body, bool listed)
{
    pthread_mutex_lock(&fs->lock);
    if (listed && !body->listed)
        DL_APPEND(fs->locals, body);
    else if (!listed && body->listed)
        DL_DELETE(fs->locals, body);
    body->listed = listed;
    pthread_mutex_unlock(&fs->lock);
}

static void body_free(struct fs *fs, struct fs_body *body)
{
    set_listed(fs, body, false);
    kv_value_unref(body->value);
    free(body->xattrs);
    pthread_mutex_destroy(&body->name);
    pthread_rwlock_destroy(&body->io);
    free(body);
}

bool fs_body_is_local(const struct fs_body *body) { return !body->exists || body->written != body->put; }

struct fs_body *fs_body_pin(struct fs *fs, struct fs_inode *inode)
{
    struct fs_body *body;

    fs_inode_lock(fs, inode);
    body = inode->body;
    if (body != NULL)
        inode->opens++;
    fs_inode_unlock(fs, inode);
    return body;
}

void fs_body_unpin(struct fs *fs, struct fs_inode *inode)
{
    struct fs_body *body = NULL;

    fs_inode_lock(fs, inode);
    if (--inode->opens == 0) {
        body = inode->body;
        inode->body = NULL;
        if (fs_body_is_local(body)) { /* what the kernel holds of it will never be in the central */
            inode->version = 0;
            fs_inode_detach(fs, inode, false);
        } else {
            inode->version = body->meta.version;
        }
    }
    fs_inode_unlock(fs, inode);
    if (body != NULL)
        body_free(fs, body);
}

/* ---------------------------------------------------------------- open and close */

/* Fill a fresh body with what the central has. The inode's lock is held. */
static int load(struct fs *fs, struct fs_inode *inode, bool truncate, struct fs_body *body)
{
    struct kv_ref ref;
    int rc;

    if (!fs_inode_ref(fs, inode, &ref) || !fs_inode_is_current(fs, inode))
        return -ESTALE;
    rc = truncate ? kv_stat(fs->store, &ref, &body->meta, NULL)
                  : kv_get(fs->store, &ref, &body->meta, &body->value, NULL);
    if (rc == 0 && truncate)
        rc = kv_value_new(0, &body->value);
    body->exists = true;
    return rc;
}

/* Give the kernel a small value before the open is answered, so that no READ is needed. Only while
 * nobody else has the file open: then no page of it is locked. */
static void push(struct fs *fs, struct fs_inode *inode)
{
    struct kv_value *value = inode->body->value;
    struct fuse_bufvec bytes = FUSE_BUFVEC_INIT(value->size);

    if (value->size == 0 || value->size > PUSH_MAX)
        return;
    bytes.buf[0].mem = value->data;
    fuse_lowlevel_notify_store(fs->session, fs_inode_id(inode), 0, &bytes, 0);
}

static void changed_now(struct fs_body *body)
{
    body->meta.attr.mtime_ns = body->meta.attr.ctime_ns = fs_now_ns();
    if (body->meta.attr.mode & (S_ISUID | S_ISGID)) {
        body->meta.attr.mode &= ~(uint32_t)S_ISUID;
        if (body->meta.attr.mode & S_IXGRP)
            body->meta.attr.mode &= ~(uint32_t)S_ISGID;
        body->changed |= KV_MODE;
    }
}

/* The content changed through this handle. body->io is held for writing. */
static void written(struct fs_body *body, struct fs_file *file)
{
    changed_now(body);
    body->meta.size = body->value->size;
    file->written = ++body->written;
}

static int truncate_locked(struct fs_body *body, struct fs_file *file, size_t size)
{
    int rc = kv_value_resize(&body->value, size);

    if (rc < 0)
        return rc;
    if (size == 0)
        body->error = 0;
    written(body, file);
    return 0;
}

/* One more handle on an open inode. The inode's lock is held. */
static int add_handle(struct fs_inode *inode, int flags, struct fs_file *file)
{
    int rc = 0;

    file->inode = inode;
    if (flags & O_TRUNC && (flags & O_ACCMODE) != O_RDONLY) {
        pthread_rwlock_wrlock(&inode->body->io);
        rc = truncate_locked(inode->body, file, 0);
        file->emptied = file->written;
        pthread_rwlock_unlock(&inode->body->io);
    }
    return rc;
}

/* Open with the inode's lock held; `attr` of a key that may be created, or NULL. */
static int open_locked(struct fs *fs, struct fs_inode *inode, int flags, const struct kv_attr *attr,
                       struct fs_file *file)
{
    struct fs_body *body;
    int rc;

    if (inode->body != NULL) {
        if (attr != NULL && !fs_inode_is_current(fs, inode))
            return -ESTALE;
        if (attr != NULL && flags & O_EXCL)
            return -EEXIST;
        rc = add_handle(inode, flags, file);
        if (rc == 0)
            inode->opens++;
        return rc;
    }
    rc = body_new(inode, &body);
    if (rc < 0)
        return rc;
    rc = load(fs, inode, flags & O_TRUNC, body);
    if (rc == 0 && attr != NULL && flags & O_EXCL) {
        rc = -EEXIST;
    } else if (rc == -ENOENT && attr != NULL) {
        body->exists = false;
        body->exclusive = flags & O_EXCL;
        body->meta = (struct kv_meta){.attr = *attr};
        body->written = file->written = file->emptied = 1;
        rc = kv_value_new(0, &body->value);
    } else if (rc == -ENOENT) {
        fs_inode_detach(fs, inode, false);
        rc = -ESTALE;
    }
    if (rc < 0) {
        body_free(fs, body);
        return rc;
    }
    fs_inode_adopt(fs, inode, body->meta.version);
    set_listed(fs, body, !body->exists);
    inode->body = body;
    rc = add_handle(inode, body->exists ? flags : flags & ~O_TRUNC, file);
    if (rc < 0) {
        inode->body = NULL;
        body_free(fs, body);
        return rc;
    }
    if (!inode->has_pages && body->written == 0)
        push(fs, inode);
    inode->has_pages = true;
    inode->opens = 1;
    return 0;
}

int fs_file_open(struct fs *fs, struct fs_inode *inode, int flags, struct fs_file **out)
{
    struct fs_file *file = calloc(1, sizeof(*file));
    int rc;

    if (file == NULL)
        return -ENOMEM;
    fs_inode_lock(fs, inode);
    rc = open_locked(fs, inode, flags, NULL, file);
    fs_inode_unlock(fs, inode);
    if (rc < 0) {
        free(file);
        return rc;
    }
    *out = file;
    return 0;
}

int fs_file_create(struct fs *fs, struct fs_inode *namespace, const char *key, size_t size, int flags,
                   const struct kv_attr *attr, struct fs_inode **inode_out, struct fs_file **out)
{
    struct kv_ref ref = kv_ref_key(namespace->id, key, size);
    struct fs_file *file = calloc(1, sizeof(*file));
    struct kv_attr new_attr = *attr;
    struct fs_inode *inode = NULL;
    int rc = file == NULL ? -ENOMEM : kv_new_ino(fs->store, &new_attr.ino);

    if (rc == 0)
        rc = fs_inode_of_key(fs, namespace, key, size, &inode);
    if (rc == 0) {
        fs_inode_lock(fs, inode);
        if (flags & O_EXCL)
            kv_forget(fs->store, &ref);
        rc = open_locked(fs, inode, flags, &new_attr, file);
        fs_inode_unlock(fs, inode);
    }
    if (rc < 0) {
        fs_inode_put(fs, inode);
        free(file);
        return rc;
    }
    *inode_out = inode;
    *out = file;
    return 0;
}

/* ------------------------------------------------------------------------- I/O */

/* A write that fails leaves the content incomplete. body->io is held. */
static int write_failed(struct fs *fs, struct fs_body *body, struct fs_file *file, const char *operation, int rc)
{
    body->error = rc;
    file->written = ++body->written;
    fs_errors_add(fs, body->inode, NULL, operation, rc);
    return rc;
}

static int check_room(struct fs *fs, struct fs_body *body, uint64_t size)
{
    struct kv_ref ref;

    if (size > KV_VALUE_MAX)
        return -EFBIG;
    if (size <= body->value->size || !fs_inode_ref(fs, body->inode, &ref))
        return 0;
    return kv_quota_check(fs->store, &ref, (size_t)size) == -EDQUOT ? -EDQUOT : 0;
}

int fs_file_write(struct fs *fs, struct fs_file *file, const void *bytes, size_t size, uint64_t offset)
{
    struct fs_body *body = file->inode->body;
    uint64_t end = offset + size;
    int rc;

    pthread_rwlock_wrlock(&body->io);
    rc = check_room(fs, body, end);
    if (rc == 0)
        rc = kv_value_resize(&body->value, end > body->value->size ? (size_t)end : body->value->size);
    if (rc == 0) {
        memcpy(body->value->data + offset, bytes, size);
        written(body, file);
    } else {
        rc = write_failed(fs, body, file, "write", rc);
    }
    pthread_rwlock_unlock(&body->io);
    return rc;
}

int fs_file_truncate(struct fs *fs, struct fs_file *file, uint64_t size)
{
    struct fs_body *body = file->inode->body;
    int rc;

    pthread_rwlock_wrlock(&body->io);
    rc = check_room(fs, body, size);
    if (rc == 0)
        rc = truncate_locked(body, file, (size_t)size);
    if (rc < 0)
        fs_errors_add(fs, body->inode, NULL, "truncate", rc);
    pthread_rwlock_unlock(&body->io);
    return rc;
}

void fs_file_read(struct fs_file *file, size_t size, uint64_t offset, fs_file_read_reply *reply, void *arg)
{
    struct fs_body *body = file->inode->body;
    const struct kv_value *value;

    pthread_rwlock_rdlock(&body->io);
    value = body->value;
    if (offset >= value->size)
        size = 0;
    else if (size > value->size - offset)
        size = (size_t)(value->size - offset);
    reply(arg, size > 0 ? value->data + offset : NULL, size);
    pthread_rwlock_unlock(&body->io);
}

/* ------------------------------------------------------------------------- puts */

/* A put under way. It pins its body. */
struct put {
    struct kv_change change;
    struct fs *fs;
    struct fs_body *body;
    uint64_t generation;
    const char *operation;
    fs_file_done *done;
    void *arg;
    int rc;
};

/* The last step, maybe after the kernel was told to look the name up again. */
static void put_end(void *arg)
{
    struct put *put = arg;
    struct fs *fs = put->fs;
    struct fs_inode *inode = put->body->inode;
    fs_file_done *done = put->done;
    void *done_arg = put->arg;
    int rc = put->rc;

    kv_value_unref(put->change.value);
    free(put);
    done(done_arg, rc);
    fs_body_unpin(fs, inode);
}

/* The put failed or displaced another incarnation: the kernel's entry of the name is wrong. */
static void put_end_renamed(struct put *put)
{
    fs_notify_entry(put->fs, put->body->inode, put->change.ref.key, put_end, put);
}

/* On the committer thread. */
static void put_done(struct kv_change *change, int rc)
{
    struct put *put = change->arg;
    struct fs_body *body = put->body;
    bool renamed;

    put->rc = rc;
    if (rc == 0) {
        pthread_rwlock_wrlock(&body->io);
        if (put->generation > body->put)
            body->put = put->generation;
        body->exists = true;
        body->exclusive = false;
        body->meta.version = change->meta.version;
        body->meta.attr.ino = change->meta.attr.ino;
        body->meta.attr.btime_ns = change->meta.attr.btime_ns;
        body->meta.has_xattrs = change->meta.has_xattrs;
        pthread_rwlock_unlock(&body->io);
        set_listed(put->fs, body, false);
        renamed = fs_inode_attach(put->fs, body->inode);
        atomic_fetch_add(&put->fs->changes, 1);
    } else {
        pthread_rwlock_wrlock(&body->io);
        body->changed |= change->attr_mask;
        pthread_rwlock_unlock(&body->io);
        renamed = fs_inode_is_current(put->fs, body->inode);
        fs_errors_add(put->fs, body->inode, NULL, put->operation, rc);
        fs_inode_detach(put->fs, body->inode, false);
    }
    if (renamed)
        put_end_renamed(put);
    else
        put_end(put);
}

/* Prepare the put of a body's content as it is now. body->name and body->io are held; the body is pinned by the
 * caller, for this put.
 * returns  0 and *out; -EALREADY nothing is to be put; else why it cannot be put */
static int put_new(struct fs *fs, struct fs_body *body, uint64_t needed, const char *operation, struct put **out)
{
    struct put *put;

    if (needed <= body->put && body->exists)
        return -EALREADY;
    put = calloc(1, sizeof(*put));
    if (put == NULL)
        return -ENOMEM;
    if (!fs_inode_ref(fs, body->inode, &put->change.ref)) {
        free(put);
        return -EALREADY; /* unlinked: nobody will ever see it again */
    }
    if (body->error != 0) {
        free(put);
        return body->error;
    }
    put->change.kind = KV_PUT;
    put->change.value = kv_value_ref(body->value);
    put->change.attr = body->meta.attr;
    put->change.attr_mask = body->changed;
    put->change.xattrs = body->exists ? NULL : body->xattrs;
    put->change.conditional = body->exclusive;
    put->change.done = put_done;
    put->change.arg = put;
    put->fs = fs;
    put->body = body;
    put->generation = body->written;
    put->operation = operation;
    body->changed = 0;
    body->submitted = true;
    *out = put;
    return 0;
}

struct failure {
    struct fs *fs;
    struct fs_inode *inode;
    fs_file_done *done;
    void *arg;
    int rc;
};

static void failure_end(void *arg)
{
    struct failure failure = *(struct failure *)arg;

    free(arg);
    failure.done(failure.arg, failure.rc);
    fs_body_unpin(failure.fs, failure.inode);
}

/* A put that could not even be queued: as a put that failed. */
static void put_refused(struct fs *fs, struct fs_body *body, fs_file_done *done, void *arg, int rc)
{
    struct failure *failure = malloc(sizeof(*failure));
    bool current = fs_inode_is_current(fs, body->inode);
    struct kv_ref ref;

    fs_inode_detach(fs, body->inode, false);
    if (failure == NULL || !current || !fs_inode_ref(fs, body->inode, &ref)) {
        free(failure);
        done(arg, rc);
        fs_body_unpin(fs, body->inode);
        return;
    }
    *failure = (struct failure){fs, body->inode, done, arg, rc};
    fs_notify_entry(fs, body->inode, ref.key, failure_end, failure);
}

/* Put a pinned body up to a generation; the pin is given back. */
static void put_body(struct fs *fs, struct fs_body *body, uint64_t needed, const char *operation, bool name_is_held,
                     fs_file_done *done, void *arg)
{
    struct put *put = NULL;
    int rc;

    if (!name_is_held)
        pthread_mutex_lock(&body->name);
    pthread_rwlock_wrlock(&body->io);
    rc = put_new(fs, body, needed, operation, &put);
    pthread_rwlock_unlock(&body->io);
    if (rc == 0) {
        put->done = done;
        put->arg = arg;
        kv_submit(fs->store, &put->change);
    }
    if (!name_is_held)
        pthread_mutex_unlock(&body->name);
    if (rc == -EALREADY) {
        done(arg, 0);
        fs_body_unpin(fs, body->inode);
    } else if (rc < 0) {
        put_refused(fs, body, done, arg, rc);
    }
}

bool fs_file_is_only_emptied(struct fs_file *file)
{
    struct fs_body *body = file->inode->body;
    bool emptied;

    pthread_rwlock_rdlock(&body->io);
    emptied = file->emptied != 0 && file->emptied == body->written;
    pthread_rwlock_unlock(&body->io);
    return emptied;
}

void fs_file_put(struct fs *fs, struct fs_file *file, fs_file_done *done, void *arg)
{
    put_body(fs, fs_body_pin(fs, file->inode), file->written, "close", false, done, arg);
}

static void ignore(void *arg, int rc)
{
    (void)arg;
    (void)rc; /* it is in the errors file */
}

void fs_file_close(struct fs *fs, struct fs_file *file)
{
    struct fs_inode *inode = file->inode;
    struct fs_body *body = inode->body;
    bool lost;

    /* A handle whose failure was told already has nothing more to say. */
    pthread_rwlock_rdlock(&body->io);
    lost = body->error == 0 && file->written > body->put && fs_inode_is_current(fs, inode);
    pthread_rwlock_unlock(&body->io);
    if (lost)
        put_body(fs, fs_body_pin(fs, inode), file->written, "release", false, ignore, NULL);
    free(file);
    fs_body_unpin(fs, inode);
}

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t told;
    bool done;
    int rc;
};

static void wake(void *arg, int rc)
{
    struct waiter *waiter = arg;

    pthread_mutex_lock(&waiter->lock);
    waiter->done = true;
    waiter->rc = rc;
    pthread_cond_signal(&waiter->told);
    pthread_mutex_unlock(&waiter->lock);
}

static int put_wait(struct fs *fs, struct fs_body *body, uint64_t needed, const char *operation, bool name_is_held)
{
    struct waiter waiter = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0};

    put_body(fs, fs_body_pin(fs, body->inode), needed, operation, name_is_held, wake, &waiter);
    pthread_mutex_lock(&waiter.lock);
    while (!waiter.done)
        pthread_cond_wait(&waiter.told, &waiter.lock);
    pthread_mutex_unlock(&waiter.lock);
    return waiter.rc;
}

int fs_file_put_wait(struct fs *fs, struct fs_file *file)
{
    return put_wait(fs, file->inode->body, file->written, "truncate", false);
}

int fs_body_settle(struct fs *fs, struct fs_body *body)
{
    uint64_t needed;

    pthread_rwlock_rdlock(&body->io);
    needed = body->written;
    pthread_rwlock_unlock(&body->io);
    return put_wait(fs, body, needed, "rename", true);
}
