#include "fs/content/writeback.h"

#include "fs/base/notify.h"
#include "fs/content/closing.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REPLACED                                                                                               \
    "the key was replaced by one of another owner or mode, or its namespace is gone: what is there was kept; " \
    "open it anew"
#define DISK_FAILED                                                                                             \
    "the disk has failed while changes were written: what was saved since the last fsync may be lost; end all " \
    "programs that have the store open, look after the disk, and mount again"

/* A put under way. It pins its body. */
struct put {
    struct kv_change change;
    struct fs *fs;
    struct fs_body *body;
    uint64_t generation;
    const char *operation;
    uid_t uid;
    struct fs_handle *handle; /* of a close, which is told; else NULL */
    fs_put_done *done;
    void *arg;
    struct kv_attr object;   /* that change.object refers to */
    struct kv_xattrs xattrs; /* that change.xattrs refers to */
};

/* A put has failed: the name leads to what the central storage has. */
static void put_failed(struct fs *fs, const struct put *put, int rc)
{
    pthread_rwlock_wrlock(&put->body->io);
    if (put->handle != NULL)
        put->handle->told = put->generation;
    if (put->body->mapped <= put->generation)
        put->body->mapped = 0;
    pthread_rwlock_unlock(&put->body->io);
    if (rc == -ESTALE)
        fs_because(rc, REPLACED);
    else if (rc == -EEXIST)
        fs_because(rc, "another node created the key first");
    fs_note(fs, put->uid, put->body->inode, NULL, put->operation, rc);
    if (fs_inode_displace(fs, put->body->inode))
        fs_notify_epoch(fs);
}

static void put_succeeded(struct fs *fs, const struct put *put)
{
    const struct kv_meta *meta = &put->change.meta;
    struct fs_body *body = put->body;
    bool expires;

    pthread_rwlock_wrlock(&body->io);
    body->puts--;
    if (put->generation > body->put)
        body->put = put->generation;
    assert(body->put <= body->written);
    body->state = FS_BODY_STORED;
    body->stored_size = meta->size;
    body->exclusive = false;
    body->meta.version = meta->version;
    body->meta.attr.ino = meta->attr.ino;
    body->meta.attr.btime_ns = meta->attr.btime_ns;
    body->meta.has_xattrs = meta->has_xattrs;
    expires = body->expiry == KV_EXPIRY_KEEP && body->meta.expires_ns != meta->expires_ns;
    if (expires)
        body->meta.expires_ns = meta->expires_ns;
    if (put->change.xattrs != NULL && body->xattrs != NULL && body->xattrs->size == put->xattrs.size &&
        memcmp(body->xattrs->data, put->xattrs.data, put->xattrs.size) == 0) {
        free(body->xattrs); /* they are there, too, and none was set meanwhile */
        body->xattrs = NULL;
    }
    fs_body_charge(fs, body);
    pthread_rwlock_unlock(&body->io);
    fs_inode_set_local(fs, body->inode, false);
    if (expires) /* the key has one, as is known now; the kernel was told of none, or of another one */
        fs_notify_attr(fs, body->inode->id);
    if (fs_inode_make_current(fs, body->inode) || expires)
        fs_notify_epoch(fs);
}

/* On the thread that commits, which can be any that puts. */
static void put_done(struct kv_change *change, int rc)
{
    struct put *put = change->arg;
    struct fs_body *body = put->body;
    struct fs_inode *inode = body->inode;
    struct fs *fs = put->fs;

    if (rc == -ENOENT) /* of the namespace: a key need not be there */
        rc = -ESTALE;
    if (rc == 0) {
        put_succeeded(fs, put);
    } else {
        pthread_rwlock_wrlock(&body->io);
        body->puts--;
        body->changed |= change->attr_mask;
        if (change->expiry == KV_EXPIRY_SET)
            body->expiry = KV_EXPIRY_SET;
        if (body->state == FS_BODY_SUBMITTED)
            body->state = FS_BODY_NEW;
        pthread_rwlock_unlock(&body->io);
        put_failed(fs, put, rc);
    }
    put->done(put->arg, rc);
    kv_value_unref(change->value);
    free(put);
    fs_body_unpin(fs, inode);
}

/* Complete the put of a body's content as it is now. The name's lock and body->io are held. */
static void put_fill_locked(struct put *put)
{
    struct fs_body *body = put->body;
    struct kv_change *change = &put->change;

    put->object = body->meta.attr;
    put->generation = body->written;
    change->kind = KV_PUT;
    change->ref = fs_inode_ref(put->fs, body->inode);
    change->value = kv_value_ref(body->value);
    change->attr = body->meta.attr;
    if (body->state == FS_BODY_STORED) /* where it is gone it may go on under another name: this is a new object */
        change->attr.ino = 0;
    change->attr_mask = body->changed;
    change->object = &put->object;
    change->conditional = body->exclusive;
    change->done = put_done;
    change->arg = put;
    if (body->xattrs != NULL) { /* attributes set while only this node knew the value */
        put->xattrs = *body->xattrs;
        change->xattrs = &put->xattrs;
    }
    change->expiry = body->expiry;
    change->expires_ns = body->meta.expires_ns;
    body->changed = 0;
    body->expiry = KV_EXPIRY_KEEP;
    body->puts++;
    if (body->state == FS_BODY_NEW)
        body->state = FS_BODY_SUBMITTED;
}

/* What a put is asked for. `put` in it has all but the change and the generation. */
struct put_wish {
    struct put put;
    uint64_t needed; /* the generation that must be there */
    bool name_is_locked;
};

/* Put a pinned body, unless what is needed is there or nobody would ever see it. */
static void put_start(const struct put_wish *wish)
{
    struct fs_body *body = wish->put.body;
    struct fs *fs = wish->put.fs;
    struct put *put = malloc(sizeof(*put)), failed = wish->put;
    struct fs_name *name = wish->name_is_locked ? NULL : fs_name_lock_of(fs, body->inode);
    bool needed;

    (void)fs_body_pin(fs, body->inode);
    pthread_rwlock_wrlock(&body->io);
    needed = body->state != FS_BODY_TEMPORARY && wish->needed > body->put &&
             fs_inode_state(fs, body->inode) != FS_REMOVED;
    if (needed && put != NULL) {
        *put = wish->put;
        put_fill_locked(put);
    }
    pthread_rwlock_unlock(&body->io);
    if (needed && put != NULL)
        kv_queue(fs->store, &put->change);
    if (name != NULL)
        fs_name_unlock(fs, name);
    if (needed && put != NULL) {
        kv_work(fs->store);
        return;
    }
    free(put);
    failed.generation = wish->needed;
    if (needed)
        put_failed(fs, &failed, -ENOMEM);
    wish->put.done(wish->put.arg, needed ? -ENOMEM : 0);
    fs_body_unpin(fs, body->inode);
}

/* ------------------------------------------------------------------------------- waiting */

struct put_waiter {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool done;
    int rc;
};

static void put_wake(void *arg, int rc)
{
    struct put_waiter *waiter = arg;

    pthread_mutex_lock(&waiter->lock);
    waiter->done = true;
    waiter->rc = rc;
    pthread_cond_signal(&waiter->ended);
    pthread_mutex_unlock(&waiter->lock);
}

static int put_wait(struct put_wish *wish)
{
    struct put_waiter waiter = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0};

    wish->put.done = put_wake;
    wish->put.arg = &waiter;
    put_start(wish);
    pthread_mutex_lock(&waiter.lock);
    while (!waiter.done)
        pthread_cond_wait(&waiter.ended, &waiter.lock);
    pthread_mutex_unlock(&waiter.lock);
    return waiter.rc;
}

int fs_put_wait(struct fs *fs, struct fs_handle *handle)
{
    struct fs_body *body = handle->inode->body;
    struct put_wish wish = {.needed = handle->written};

    wish.put = (struct put){.fs = fs, .body = body, .operation = "truncate", .uid = handle->uid, .handle = handle};
    return put_wait(&wish);
}

int fs_body_settle(struct fs *fs, struct fs_body *body, uid_t uid)
{
    struct put_wish wish = {.needed = fs_body_written(body), .name_is_locked = true};

    wish.put = (struct put){.fs = fs, .body = body, .operation = "rename", .uid = uid};
    return put_wait(&wish);
}

/* ---------------------------------------------------------------------- closes and syncs */

/* Tell the error of a handle that FAILED, which then begins anew. returns the error, or 0 */
static int flush_tell_locked(struct fs *fs, struct fs_handle *handle)
{
    if (handle->state != FS_FAILED)
        return 0;
    handle->state = FS_CLEAN;
    handle->told = handle->written;
    return fs_inode_state(fs, handle->inode) == FS_REMOVED ? 0
                                                           : handle->error; /* nobody expects that to be saved */
}

/* The generation that a close by its opener has to put; 0: none. */
static uint64_t flush_needed_locked(const struct fs_handle *handle)
{
    uint64_t mapped = handle->writes ? handle->inode->body->mapped : 0;
    uint64_t needed = handle->state == FS_WRITTEN ? handle->written : 0;

    return mapped > needed ? mapped : needed;
}

void fs_flush(struct fs *fs, struct fs_handle *handle, pid_t closer, fs_put_done *done, void *arg)
{
    bool ends = fs_process_has(handle->opener, closer), dirty;
    struct fs_inode *inode = handle->inode;
    struct fs_body *body = fs_body_pin(fs, inode); /* once done replies, the handle may be released */
    struct put_wish wish = {.needed = 0};
    int rc = 0;

    wish.put = (struct put){.fs = fs,
                            .body = body,
                            .operation = "close",
                            .uid = handle->uid,
                            .handle = handle,
                            .done = done,
                            .arg = arg};
    pthread_rwlock_wrlock(&body->io);
    handle->flushed = handle->written;
    if (ends)
        rc = flush_tell_locked(fs, handle);
    if (ends && rc == 0)
        wish.needed = flush_needed_locked(handle);
    dirty = fs_body_is_dirty(body) && body->state != FS_BODY_TEMPORARY;
    pthread_rwlock_unlock(&body->io);
    if (rc < 0 && dirty && fs_inode_displace(fs, inode)) /* the refused save shows what was there before */
        fs_notify_epoch(fs);
    if (rc < 0 || wish.needed == 0)
        done(arg, rc);
    else
        put_start(&wish);
    fs_body_unpin(fs, inode);
}

static void put_left_done(void *arg, int rc)
{
    (void)arg;
    (void)rc; /* it is in the error log */
}

void fs_put_left(struct fs *fs, struct fs_handle *handle, uint64_t needed)
{
    struct put_wish wish = {.needed = needed};

    wish.put = (struct put){
        .fs = fs, .body = handle->inode->body, .operation = "release", .uid = handle->uid, .done = put_left_done};
    put_start(&wish);
}

/* With durability=fsync: what is committed, and what is committed now, is durable. */
static int sync_committed(struct fs *fs, struct put_wish *wish)
{
    uid_t uid = wish->put.uid;
    int rc = put_wait(wish), flushed = kv_sync(fs->store);

    if (rc == 0 && flushed < 0) {
        fs_because(flushed, DISK_FAILED);
        fs_note(fs, uid, wish->put.body->inode, NULL, "fsync", flushed);
    }
    return rc < 0 ? rc : flushed;
}

void fs_sync(struct fs *fs, struct fs_handle *handle, fs_put_done *done, void *arg)
{
    struct fs_inode *inode = handle->inode;
    struct fs_body *body = fs_body_pin(fs, inode); /* once done replies, the handle may be released */
    struct put_wish wish = {.needed = fs_body_written(body)};
    int rc;

    wish.put =
        (struct put){.fs = fs, .body = body, .operation = "fsync", .uid = handle->uid, .done = done, .arg = arg};
    pthread_rwlock_wrlock(&body->io);
    rc = flush_tell_locked(fs, handle);
    pthread_rwlock_unlock(&body->io);
    if (rc < 0)
        done(arg, rc);
    else if (fs->options->durability == KV_DURABILITY_CLOSE)
        put_start(&wish);
    else
        done(arg, sync_committed(fs, &wish));
    fs_body_unpin(fs, inode);
}
