/* The content of open keys: reading and changing it. */
#include "fs/file.h"
#include "fs/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* The kernel leaves it to us to take set-id bits away, and must not go on with the mode that it knows. */
static void changed_now(struct fs *fs, struct fs_body *body)
{
    uint32_t mode = body->meta.attr.mode;
    struct kv_attr now = {.mtime_ns = fs_now_ns()};

    now.ctime_ns = now.mtime_ns;
    kv_attr_set(&body->meta.attr, &now, KV_MTIME | KV_CTIME | KV_NO_SETID);
    if (body->meta.attr.mode != mode) {
        body->changed |= KV_MODE;
        fuse_lowlevel_notify_inval_inode(fs->session, fs_inode_id(body->inode), -1, 0);
    }
}

/* The content changed through this handle. body->io is held for writing. */
static void written(struct fs *fs, struct fs_body *body, struct fs_file *file)
{
    changed_now(fs, body);
    if (body->scratch)
        fs_scratch_charge(fs, body, body->value->size);
    body->meta.size = body->value->size;
    file->written = ++body->written;
}

int fs_body_truncate(struct fs *fs, struct fs_body *body, struct fs_file *file, size_t size)
{
    int rc = kv_value_resize(&body->value, size);

    if (rc < 0)
        return rc;
    if (size == 0)
        body->error = 0;
    written(fs, body, file);
    return 0;
}

static void note_failure(struct fs *fs, struct fs_body *body, const char *operation, int rc)
{
    if (body->scratch && rc == -ENOSPC)
        fs_errors_add_reason(fs, body->inode, NULL, operation, FS_SCRATCH_FULL);
    else
        fs_errors_add(fs, body->inode, NULL, operation, rc);
}

/* A write that fails leaves the content incomplete. body->io is held. */
static int write_failed(struct fs *fs, struct fs_body *body, struct fs_file *file, const char *operation, int rc)
{
    body->error = rc;
    file->written = ++body->written;
    note_failure(fs, body, operation, rc);
    return rc;
}

/* A change of size that fails spoils the save that it was part of; where nothing was being saved, nothing is. */
static void resize_failed(struct fs *fs, struct fs_body *body, struct fs_file *file, const char *operation, int rc)
{
    if (file->written > body->put)
        (void)write_failed(fs, body, file, operation, rc);
    else
        note_failure(fs, body, operation, rc);
}

static int check_room(struct fs *fs, struct fs_body *body, uint64_t size)
{
    struct kv_ref ref;

    if (size > KV_VALUE_MAX)
        return -EFBIG;
    if (size <= body->value->size)
        return 0;
    if (body->scratch)
        return fs_scratch_room(fs, size - body->value->size);
    if (!fs_inode_ref(fs, body->inode, &ref))
        return 0;
    return kv_quota_check(fs->store, &ref, (size_t)size, 0) == -EDQUOT ? -EDQUOT : 0;
}

/* Make the content at least `end` bytes long and its bytes ours to change. body->io is held for writing. */
static int make_room(struct fs *fs, struct fs_body *body, uint64_t end)
{
    int rc = check_room(fs, body, end);

    if (rc == 0)
        rc = kv_value_resize(&body->value, end > body->value->size ? (size_t)end : body->value->size);
    return rc;
}

static int write_locked(struct fs *fs, struct fs_file *file, const void *bytes, size_t size, uint64_t offset,
                        const char *operation)
{
    struct fs_body *body = file->inode->body;
    int rc = make_room(fs, body, offset + size);

    if (rc < 0)
        return write_failed(fs, body, file, operation, rc);
    memcpy(body->value->data + offset, bytes, size);
    written(fs, body, file);
    return 0;
}

int fs_file_write(struct fs *fs, struct fs_file *file, const void *bytes, size_t size, uint64_t offset,
                  bool mapped)
{
    struct fs_body *body = file->inode->body;
    int rc;

    pthread_rwlock_wrlock(&body->io);
    rc = write_locked(fs, file, bytes, size, offset, "write");
    if (mapped)
        body->mapped = body->written;
    pthread_rwlock_unlock(&body->io);
    return rc;
}

/* A whole value into an empty key: both share it until one of them is written. */
static void share(struct fs *fs, struct fs_body *body, struct fs_file *file, struct kv_value *value)
{
    kv_value_unref(body->value);
    body->value = kv_value_ref(value);
    written(fs, body, file);
}

int fs_file_copy(struct fs *fs, struct fs_file *from, uint64_t from_offset, struct fs_file *to, uint64_t to_offset,
                 size_t size, size_t *copied)
{
    struct fs_body *source = from->inode->body, *body = to->inode->body;
    struct kv_value *value;
    int rc = 0;

    pthread_rwlock_rdlock(&source->io);
    value = kv_value_ref(source->value); /* whoever writes the source from here on writes a copy */
    pthread_rwlock_unlock(&source->io);
    if (from_offset >= value->size)
        size = 0;
    else if (size > value->size - from_offset)
        size = (size_t)(value->size - from_offset);

    pthread_rwlock_wrlock(&body->io);
    if (size == 0)
        ; /* at the end of the source: nothing changes */
    else if (size == value->size && to_offset == 0 && body->value->size == 0 && check_room(fs, body, size) == 0)
        share(fs, body, to, value);
    else
        rc = write_locked(fs, to, value->data + from_offset, size, to_offset, "copy");
    pthread_rwlock_unlock(&body->io);
    kv_value_unref(value);
    if (rc == 0)
        *copied = size;
    return rc;
}

/* Zero the part of a range that lies within the content. */
static void zero(struct kv_value *value, uint64_t offset, uint64_t size)
{
    if (offset >= value->size)
        return;
    memset(value->data + offset, 0, size < value->size - offset ? (size_t)size : value->size - (size_t)offset);
}

int fs_file_allocate(struct fs *fs, struct fs_file *file, int mode, uint64_t offset, uint64_t size)
{
    struct fs_body *body = file->inode->body;
    int what = mode & ~FALLOC_FL_KEEP_SIZE;
    uint64_t end = offset + size;
    int rc;

    if ((what != 0 && what != FALLOC_FL_PUNCH_HOLE && what != FALLOC_FL_ZERO_RANGE) ||
        mode == FALLOC_FL_PUNCH_HOLE)
        return -EOPNOTSUPP;
    pthread_rwlock_wrlock(&body->io);
    rc = what != FALLOC_FL_PUNCH_HOLE && end > KV_VALUE_MAX ? -EFBIG : 0;
    if (rc == 0 && mode != FALLOC_FL_KEEP_SIZE) /* which only sets space aside: there is none to set aside */
        rc = make_room(fs, body, mode & FALLOC_FL_KEEP_SIZE ? 0 : end);
    if (rc == 0 && mode != FALLOC_FL_KEEP_SIZE) {
        if (what != 0)
            zero(body->value, offset, size);
        written(fs, body, file);
    }
    if (rc < 0)
        resize_failed(fs, body, file, "fallocate", rc);
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
        rc = fs_body_truncate(fs, body, file, (size_t)size);
    if (rc < 0)
        resize_failed(fs, body, file, "truncate", rc);
    pthread_rwlock_unlock(&body->io);
    return rc;
}

void fs_file_read(struct fs *fs, struct fs_file *file, size_t size, uint64_t offset, fs_file_read_reply *reply,
                  void *arg)
{
    struct fs_inode *inode = file->inode;
    struct fs_body *body = fs_body_pin(fs, inode); /* once the reply is out, a RELEASE may overtake us */
    const struct kv_value *value;

    pthread_rwlock_rdlock(&body->io);
    value = body->value;
    if (offset >= value->size)
        size = 0;
    else if (size > value->size - offset)
        size = (size_t)(value->size - offset);
    reply(arg, size > 0 ? value->data + offset : NULL, size);
    pthread_rwlock_unlock(&body->io);
    fs_body_unpin(fs, inode);
}
