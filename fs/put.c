/* Puts of open keys: from a FLUSH or FSYNC (or what else has the central know the content) to its answer. */
#include "fs/base/options.h"
#include "fs/file.h"
#include "fs/loss.h"
#include "fs/notify.h"

#include <errno.h>
#include <stdlib.h>

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
    bool at_once;
    struct kv_xattrs xattrs; /* that change.xattrs refers to */
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

static void nothing(void *arg) { (void)arg; }

/* The put failed or displaced another incarnation: the kernel's entry of the name is wrong. A close is answered when
 * the kernel has forgotten it. That needs the directory's lock in the kernel. A request that holds that lock, or one of
 * the file's that the holder may wait for, is answered first: all but FLUSH. */
static void put_end_renamed(struct put *put)
{
    struct fs *fs = put->fs;

    if (put->at_once) {
        fs_notify_entry(fs, put->body->inode, put->change.ref.key, nothing, NULL);
        put_end(put);
    } else {
        fs_notify_entry(fs, put->body->inode, put->change.ref.key, put_end, put);
    }
}

/* On the committer thread. */
static void put_done(struct kv_change *change, int rc)
{
    struct put *put = change->arg;
    struct fs_body *body = put->body;
    bool renamed, resized = false;

    put->rc = rc;
    if (rc == 0) {
        pthread_rwlock_wrlock(&body->io);
        resized = !body->exists || body->put_size != change->meta.size;
        body->put_size = change->meta.size;
        if (put->generation > body->put)
            body->put = put->generation;
        body->exists = true;
        body->exclusive = false;
        body->meta.version = change->meta.version;
        body->meta.attr.ino = change->meta.attr.ino;
        body->meta.attr.btime_ns = change->meta.attr.btime_ns;
        body->meta.has_xattrs = change->meta.has_xattrs;
        atomic_fetch_add(&put->fs->nodes->changes, 1);
        pthread_rwlock_unlock(&body->io);
        fs_body_list(put->fs, body, false);
        renamed = fs_inode_attach(put->fs, body->inode);
        if (resized)
            fs_notify_sizes(put->fs, body->inode);
    } else {
        pthread_rwlock_wrlock(&body->io);
        body->changed |= change->attr_mask;
        if (put->generation > body->failed)
            body->failed = put->generation;
        pthread_rwlock_unlock(&body->io);
        renamed = fs_inode_is_current(put->fs, body->inode);
        fs_errors_add(put->fs, body->inode, NULL, put->operation, rc);
        fs_inode_detach(put->fs, body->inode);
    }
    if (renamed)
        put_end_renamed(put);
    else
        put_end(put);
}

/* Prepare the put of a body's content as it is now. The inode's `naming` and body->io are held.
 * returns  0 and *out; -EALREADY nothing is to be put; else why it cannot be put */
static int put_new(struct fs *fs, struct fs_body *body, uint64_t needed, const char *operation, struct put **out)
{
    struct put *put;

    if (body->scratch || needed <= body->put)
        return -EALREADY;
    put = calloc(1, sizeof(*put));
    if (put == NULL) {
        fs_errors_add(fs, body->inode, NULL, operation, -ENOMEM);
        return -ENOMEM;
    }
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
    if (!body->exists && body->xattrs != NULL) {
        put->xattrs = *body->xattrs;
        put->change.xattrs = &put->xattrs;
    }
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
static void put_refused(struct fs *fs, struct fs_body *body, bool at_once, fs_file_done *done, void *arg, int rc)
{
    struct failure *failure = at_once ? NULL : malloc(sizeof(*failure));
    bool current = fs_inode_is_current(fs, body->inode);
    struct kv_ref ref;

    current &= fs_inode_ref(fs, body->inode, &ref);
    fs_inode_detach(fs, body->inode);
    if (failure != NULL && current) {
        *failure = (struct failure){fs, body->inode, done, arg, rc};
        fs_notify_entry(fs, body->inode, ref.key, failure_end, failure);
        return;
    }
    free(failure);
    if (current)
        fs_notify_entry(fs, body->inode, ref.key, nothing, NULL);
    done(arg, rc);
    fs_body_unpin(fs, body->inode);
}

void fs_body_put(struct fs *fs, struct fs_body *body, uint64_t needed, const char *operation, bool name_is_held,
                 bool at_once, fs_file_done *done, void *arg)
{
    struct put *put = NULL;
    int rc;

    (void)fs_body_pin(fs, body->inode); /* given back behind done */
    if (!name_is_held)
        pthread_mutex_lock(&body->inode->naming);
    pthread_rwlock_wrlock(&body->io);
    rc = put_new(fs, body, needed, operation, &put);
    pthread_rwlock_unlock(&body->io);
    if (rc == 0) {
        put->done = done;
        put->arg = arg;
        put->at_once = at_once;
        kv_submit(fs->store, &put->change);
    }
    if (!name_is_held)
        pthread_mutex_unlock(&body->inode->naming);
    if (rc == -EALREADY) {
        done(arg, 0);
        fs_body_unpin(fs, body->inode);
    } else if (rc < 0) {
        put_refused(fs, body, at_once, done, arg, rc);
    }
}

bool fs_file_awaits_writes(struct fs_file *file, uint64_t *ino)
{
    struct fs_body *body = file->inode->body;
    bool awaits;

    pthread_rwlock_rdlock(&body->io);
    awaits = file->emptied != 0 && file->emptied == body->written && file->writes && body->writers == 1;
    *ino = body->meta.attr.ino;
    pthread_rwlock_unlock(&body->io);
    return awaits;
}

/* A FLUSH has come. returns  the newest generation that may be this handle's */
static uint64_t flushed_generation(struct fs_file *file)
{
    struct fs_body *body = file->inode->body;
    uint64_t generation;

    pthread_rwlock_wrlock(&body->io);
    file->flushed = file->written;
    generation = file->writes && body->mapped > file->written ? body->mapped : file->written;
    pthread_rwlock_unlock(&body->io);
    return generation;
}

void fs_file_put(struct fs *fs, struct fs_file *file, fs_file_done *done, void *arg)
{
    struct fs_inode *inode = file->inode;
    struct fs_body *body = fs_body_pin(fs, inode); /* once done replies, the file may be released */

    fs_body_put(fs, body, flushed_generation(file), "close", false, false, done, arg);
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

    fs_body_put(fs, body, needed, operation, name_is_held, true, wake, &waiter);
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

/* Nobody has it open: let the kernel forget what it was shown, and the next open know. */
static void lost_closed(struct fs *fs, struct fs_inode *inode, const struct kv_ref *ref, int rc)
{
    fs_loss_note(fs, ref, rc);
    if (inode == NULL)
        return;
    fs_inode_lock(fs, inode);
    if (inode->body == NULL)
        fs_inode_adopt(fs, inode, 0);
    fs_inode_unlock(fs, inode);
    fs_notify_entry(fs, inode, ref->key, nothing, NULL);
    fs_notify_sizes(fs, inode);
}

/* Somebody has it open, and may still make it durable. A new key is this node's only, again. */
static void lost_open(struct fs *fs, struct fs_body *body, const struct kv_ref *ref, int rc)
{
    struct kv_meta meta;
    bool exists = kv_stat(fs->store, ref, &meta, NULL) != -ENOENT;

    pthread_rwlock_wrlock(&body->io);
    body->lost = rc;
    body->put = 0; /* whatever was written is not there */
    body->exists = body->submitted = exists;
    pthread_rwlock_unlock(&body->io);
    fs_body_list(fs, body, !exists);
}

static uint64_t version_of(struct fs_body *body)
{
    uint64_t version;

    pthread_rwlock_rdlock(&body->io);
    version = body->meta.version;
    pthread_rwlock_unlock(&body->io);
    return version;
}

/* A lookup that came before this may have found the central's value, and given the name to another incarnation. */
static void lost_by_loose(struct fs *fs, const struct kv_ref *ref, uint64_t version, int rc)
{
    struct fs_inode *inode;

    for (unsigned i = 0; (inode = fs_inode_find_loose(fs, ref, i)) != NULL; i++) {
        struct fs_body *body = fs_body_pin(fs, inode);

        if (body != NULL && version_of(body) == version)
            lost_open(fs, body, ref, rc);
        if (body != NULL)
            fs_body_unpin(fs, inode);
        fs_inode_put(fs, inode);
    }
}

void fs_file_lost(void *arg, const struct kv_ref *ref, uint64_t version, int rc)
{
    struct fs *fs = arg;
    struct fs_inode *inode = fs_inode_find(fs, ref->node, ref->key, ref->size);
    struct fs_inode *namespace = fs_inode_find(fs, ref->node, NULL, 0);
    struct fs_body *body = inode != NULL ? fs_body_pin(fs, inode) : NULL;

    atomic_fetch_add(&fs->nodes->changes, 1);
    fs_errors_add(fs, namespace != NULL ? namespace : fs->nodes->root, ref->key, "commit", rc);
    if (body != NULL) {
        lost_open(fs, body, ref, rc);
        fs_body_unpin(fs, inode);
    } else {
        lost_closed(fs, inode, ref, rc);
    }
    lost_by_loose(fs, ref, version, rc);
    fs_inode_put(fs, inode);
    fs_inode_put(fs, namespace);
}

static uint64_t newest_generation(struct fs_body *body)
{
    uint64_t written;

    pthread_rwlock_rdlock(&body->io);
    written = body->written;
    pthread_rwlock_unlock(&body->io);
    return written;
}

int fs_body_settle(struct fs *fs, struct fs_body *body)
{
    return put_wait(fs, body, newest_generation(body), "rename", true);
}

/* With durability=fsync: what was lost before, or is lost now. */
static int sync_accepted(struct fs *fs, struct fs_body *body)
{
    int rc = put_wait(fs, body, newest_generation(body), "fsync", false);
    int lost;

    if (rc < 0)
        return rc;
    (void)!kv_sync(fs->store); /* it tells of any key's loss, body->lost of this one's */
    pthread_rwlock_wrlock(&body->io);
    lost = body->lost;
    body->lost = 0;
    pthread_rwlock_unlock(&body->io);
    return lost;
}

void fs_file_sync(struct fs *fs, struct fs_file *file, fs_file_done *done, void *arg)
{
    struct fs_inode *inode = file->inode;
    struct fs_body *body = fs_body_pin(fs, inode); /* once done replies, the file may be released */

    if (fs->options->durability == KV_DURABILITY_CLOSE)
        fs_body_put(fs, body, newest_generation(body), "fsync", false, true, done, arg);
    else
        done(arg, sync_accepted(fs, body));
    fs_body_unpin(fs, inode);
}
