#include "fs/file.h"

#include "fs/loss.h"
#include "fs/offer.h"
#include "fs/scratch.h"

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
    pthread_rwlockattr_t writers_first;

    if (body == NULL)
        return -ENOMEM;
    body->inode = inode;
    /* The committer writes here: readers that follow one another must not keep it waiting. */
    pthread_rwlockattr_init(&writers_first);
    pthread_rwlockattr_setkind_np(&writers_first, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&body->io, &writers_first);
    pthread_rwlockattr_destroy(&writers_first);
    *out = body;
    return 0;
}

/* Bodies that only this node knows are listed for readdir. */
void fs_body_list(struct fs *fs, struct fs_body *body, bool listed)
{
    pthread_mutex_lock(&fs->nodes->lock);
    if (listed && !body->listed)
        DL_APPEND(fs->nodes->locals, body);
    else if (!listed && body->listed)
        DL_DELETE(fs->nodes->locals, body);
    body->listed = listed;
    pthread_mutex_unlock(&fs->nodes->lock);
}

static void body_free(struct fs *fs, struct fs_body *body)
{
    struct kv_ref ref;

    if (body->lost < 0 && fs_inode_ref(fs, body->inode, &ref))
        fs_loss_note(fs, &ref, body->lost);
    fs_body_list(fs, body, false);
    fs_scratch_discharge(fs, body);
    kv_value_unref(body->value);
    free(body->xattrs);
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
            fs_inode_detach(fs, inode);
        } else {
            inode->version = body->meta.version;
        }
    }
    fs_inode_unlock(fs, inode);
    if (body != NULL) {
        body_free(fs, body);
        fs_inode_put(fs, inode);
    }
}

/* Is the content of this size? returns  whether this node alone knows it */
static bool has_local_size(struct fs_body *body, uint64_t size, bool *has)
{
    bool local;

    pthread_rwlock_rdlock(&body->io);
    local = fs_body_is_local(body);
    *has = body->error == 0 && body->value->size == size;
    pthread_rwlock_unlock(&body->io);
    return local;
}

bool fs_file_has_size(struct fs *fs, struct fs_inode *inode, uint64_t size)
{
    struct fs_body *body = fs_body_pin(fs, inode);
    bool local = false, has = true;
    struct kv_meta meta;
    struct kv_ref ref;

    if (body != NULL) {
        local = has_local_size(body, size, &has);
        fs_body_unpin(fs, inode);
    }
    if (local || !has)
        return has;
    (void)fs_inode_ref(fs, inode, &ref);
    kv_forget(fs->store, &ref); /* another node may have given it a size meanwhile */
    return kv_stat(fs->store, &ref, &meta, NULL) == 0 && meta.size == size;
}

/* ---------------------------------------------------------------- open and close */

/* Fill a fresh body with what the central has. The inode's lock is held. */
static int load(struct fs *fs, struct fs_inode *inode, int flags, struct fs_body *body)
{
    bool truncate = flags & O_TRUNC;
    struct kv_ref ref;
    int rc;

    if ((truncate || (flags & O_ACCMODE) != O_RDONLY) && !fs_inode_is_current(fs, inode))
        return -ESTALE;
    (void)fs_inode_ref(fs, inode, &ref);
    if (truncate)
        rc = kv_stat(fs->store, &ref, &body->meta, NULL);
    else if (flags & O_APPEND && fs_offer_take(inode, &body->meta, &body->value))
        rc = 0;
    else
        rc = kv_get(fs->store, &ref, &body->meta, &body->value, NULL);
    if (rc == 0 && truncate)
        rc = kv_value_new(0, &body->value);
    body->exists = true;
    body->put_size = body->meta.size;
    if (rc == 0)
        body->lost = fs_loss_take(fs, &ref);
    return rc;
}

/* Make a fresh body one that only this node knows. */
static int start_local(struct fs_body *body, const struct kv_attr *attr, struct fs_file *file)
{
    body->exists = false;
    body->meta = (struct kv_meta){.attr = *attr};
    body->written = file->written = file->emptied = 1;
    return kv_value_new(0, &body->value);
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

/* One more handle on an open inode. The inode's lock is held. */
static int add_handle(struct fs *fs, struct fs_inode *inode, int flags, struct fs_file *file)
{
    int rc = 0;

    file->inode = inode;
    file->writes = (flags & O_ACCMODE) != O_RDONLY;
    pthread_rwlock_wrlock(&inode->body->io);
    if (flags & O_TRUNC) { /* also with O_RDONLY: the kernel has asked for the permission to write */
        rc = fs_body_truncate(fs, inode->body, file, 0);
        file->emptied = file->written;
    }
    if (rc == 0)
        inode->body->writers += file->writes;
    pthread_rwlock_unlock(&inode->body->io);
    return rc;
}

/* What is loaded must not be what a change of the name or the attributes is about to make old. */
static void lock_to_open(struct fs *fs, struct fs_inode *inode)
{
    pthread_mutex_lock(&inode->naming);
    fs_inode_lock(fs, inode);
}

static void unlock_opened(struct fs *fs, struct fs_inode *inode)
{
    fs_inode_unlock(fs, inode);
    pthread_mutex_unlock(&inode->naming);
}

/* Open with the inode's lock held; `attr` of a key that may be created, or NULL. */
static int open_locked(struct fs *fs, struct fs_inode *inode, int flags, const struct kv_attr *attr,
                       struct fs_file *file)
{
    struct fs_body *body;
    int rc;

    if (inode->body != NULL) {
        if (attr != NULL && flags & O_EXCL)
            return -EEXIST;
        rc = add_handle(fs, inode, flags, file);
        if (rc == 0)
            inode->opens++;
        return rc;
    }
    rc = body_new(inode, &body);
    if (rc < 0)
        return rc;
    rc = load(fs, inode, flags, body);
    if (rc == 0 && attr != NULL && flags & O_EXCL) {
        rc = -EEXIST;
    } else if (rc == -ENOENT && attr != NULL) {
        body->exclusive = flags & O_EXCL;
        rc = start_local(body, attr, file);
        fs_inode_touch(fs, inode->parent);
    } else if (rc == -ENOENT) {
        fs_inode_detach(fs, inode);
        rc = -ESTALE;
    }
    if (rc < 0) {
        body_free(fs, body);
        return rc;
    }
    if (flags & O_APPEND && body->exists && inode->version != 0 && inode->version != body->meta.version) {
        /* The kernel would append at the end that it knows. Let it look the name up again, and learn the size. */
        fs_offer_want(inode);
        body_free(fs, body);
        return -ESTALE;
    }
    fs_inode_adopt(fs, inode, body->meta.version);
    fs_body_list(fs, body, !body->exists);
    inode->body = body;
    rc = add_handle(fs, inode, body->exists ? flags : flags & ~O_TRUNC, file);
    if (rc < 0) {
        inode->body = NULL;
        body_free(fs, body);
        return rc;
    }
    if (!inode->has_pages && body->written == 0)
        push(fs, inode);
    inode->has_pages = true;
    inode->opens = 1;
    fs_inode_get(fs, inode);
    return 0;
}

static struct fs_file *file_new(struct fs *fs)
{
    struct fs_file *file = calloc(1, sizeof(*file));

    if (file == NULL)
        return NULL;
    pthread_mutex_lock(&fs->nodes->lock);
    DL_APPEND(fs->nodes->files, file);
    pthread_mutex_unlock(&fs->nodes->lock);
    return file;
}

static void file_free(struct fs *fs, struct fs_file *file)
{
    if (file == NULL)
        return;
    pthread_mutex_lock(&fs->nodes->lock);
    DL_DELETE(fs->nodes->files, file);
    pthread_mutex_unlock(&fs->nodes->lock);
    free(file);
}

/* Find and lock the current incarnation of a key. returns 0 and a reference; -ENOMEM */
static int lock_current(struct fs *fs, struct fs_inode *namespace, const char *key, size_t size,
                        struct fs_inode **out)
{
    for (;;) {
        int rc = fs_inode_of_key(fs, namespace, key, size, out);

        if (rc < 0)
            return rc;
        lock_to_open(fs, *out);
        if (fs_inode_is_current(fs, *out))
            return 0;
        unlock_opened(fs, *out); /* it was detached just now */
        fs_inode_put(fs, *out);
        *out = NULL;
    }
}

int fs_file_open(struct fs *fs, struct fs_inode *inode, int flags, struct fs_file **out)
{
    struct fs_file *file = file_new(fs);
    int rc;

    if (file == NULL)
        return -ENOMEM;
    lock_to_open(fs, inode);
    rc = open_locked(fs, inode, flags, NULL, file);
    unlock_opened(fs, inode);
    if (rc < 0) {
        file_free(fs, file);
        return rc;
    }
    *out = file;
    return 0;
}

int fs_file_create(struct fs *fs, struct fs_inode *namespace, const char *key, size_t size, int flags,
                   const struct kv_attr *attr, struct fs_inode **inode_out, struct fs_file **out)
{
    struct kv_ref ref = kv_ref_key(namespace->id, key, size);
    struct fs_file *file = file_new(fs);
    struct kv_attr new_attr = *attr;
    struct fs_inode *inode = NULL;
    int rc = file == NULL ? -ENOMEM : kv_new_ino(fs->store, &new_attr.ino);

    if (rc == 0)
        rc = lock_current(fs, namespace, key, size, &inode);
    if (rc == 0) {
        if (flags & O_EXCL)
            kv_forget(fs->store, &ref);
        rc = open_locked(fs, inode, flags, &new_attr, file);
        unlock_opened(fs, inode);
    }
    if (rc < 0) {
        fs_inode_put(fs, inode);
        file_free(fs, file);
        return rc;
    }
    *inode_out = inode;
    *out = file;
    return 0;
}

/* The inode of a new scratch file gets its body, with a handle and a pin for its name. */
static int start_scratch(struct fs *fs, struct fs_inode *inode, const struct kv_attr *attr, struct fs_file *file)
{
    struct fs_body *body;
    int rc;

    if (inode->body != NULL)
        return -EEXIST;
    rc = fs_scratch_room(fs, FS_SCRATCH_COST);
    if (rc < 0)
        return rc;
    rc = body_new(inode, &body);
    if (rc < 0)
        return rc;
    rc = start_local(body, attr, file);
    if (rc < 0) {
        body_free(fs, body);
        return rc;
    }
    body->scratch = true;
    body->writers = 1;
    file->writes = true;
    fs_scratch_charge(fs, body, 0);
    inode->body = body;
    inode->opens = 2;
    fs_inode_get(fs, inode);
    inode->has_pages = true;
    file->inode = inode;
    fs_body_list(fs, body, true);
    return 0;
}

int fs_file_create_scratch(struct fs *fs, struct fs_inode *namespace, const char *name, size_t size,
                           const struct kv_attr *attr, struct fs_inode **inode_out, struct fs_file **out)
{
    struct fs_file *file = file_new(fs);
    struct kv_attr new_attr = *attr;
    struct fs_inode *inode = NULL;
    int rc = file == NULL ? -ENOMEM : kv_new_ino(fs->store, &new_attr.ino);

    if (rc == 0)
        rc = fs_inode_of_key(fs, namespace, name, size, &inode);
    if (rc == 0) {
        fs_inode_lock(fs, inode);
        rc = start_scratch(fs, inode, &new_attr, file);
        fs_inode_unlock(fs, inode);
    }
    if (rc < 0) {
        fs_inode_put(fs, inode);
        file_free(fs, file);
        return rc;
    }
    *inode_out = inode;
    *out = file;
    return 0;
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

    /* For writing: a thread whose READ was answered may still be about to let go of the lock. A handle whose
     * failure was told already has nothing more to say. */
    pthread_rwlock_wrlock(&body->io);
    body->writers -= file->writes;
    lost = body->error == 0 && file->written > body->put && file->written > body->failed;
    pthread_rwlock_unlock(&body->io);
    if (lost)
        fs_body_put(fs, body, file->written, "release", false, false, ignore, NULL);
    file_free(fs, file);
    fs_body_unpin(fs, inode);
}

void fs_files_end(struct fs *fs, bool abandon)
{
    while (fs->nodes->files != NULL) {
        struct fs_file *file = fs->nodes->files;
        struct fs_body *body = file->inode->body;

        pthread_rwlock_wrlock(&body->io);
        if (abandon || (file->written > file->flushed && file->written > body->mapped))
            file->written = 0;
        pthread_rwlock_unlock(&body->io);
        fs_file_close(fs, file);
    }
    (void)!kv_sync(fs->store); /* puts of the closes above end here */
}

void fs_bodies_end(struct fs *fs)
{
    struct fs_inode *inode;

    DL_FOREACH(fs->nodes->inodes, inode) {
        if (inode->body != NULL)
            body_free(fs, inode->body);
        inode->body = NULL;
    }
}
