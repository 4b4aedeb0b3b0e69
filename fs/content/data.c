#include "fs/content/data.h"

#include "fs/base/notify.h"
#include "fs/base/request.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* How much of a range lies within a value. */
static size_t data_within(const struct kv_value *value, uint64_t offset, uint64_t size)
{
    uint64_t most = offset < value->size ? value->size - offset : 0;

    return (size_t)(size < most ? size : most);
}

/* The content changed through this handle. body->io is held for writing. */
static void data_changed(struct fs *fs, struct fs_handle *handle)
{
    struct fs_body *body = handle->inode->body;
    uint32_t mode = body->meta.attr.mode;
    struct kv_attr now = {.mtime_ns = fs_now_ns()};

    now.ctime_ns = now.mtime_ns;
    kv_attr_set(&body->meta.attr, &now, KV_MTIME | KV_CTIME | (fs_request_kills_setid() ? KV_NO_SETID : 0));
    if (body->meta.attr.mode != mode) {
        body->changed |= KV_MODE;
        fs_notify_attr(fs, handle->inode->id);
    }
    body->meta.size = body->value->size;
    handle->written = ++body->written;
    if (handle->state != FS_FAILED)
        handle->state = FS_WRITTEN;
    fs_body_charge(fs, body);
}

/* A change was refused: this handle lacks it from now on. */
static int data_refused(struct fs *fs, struct fs_handle *handle, const char *operation, int rc)
{
    handle->state = FS_FAILED;
    handle->error = rc;
    fs_note(fs, handle->uid, handle->inode, NULL, operation, rc);
    return rc;
}

/* A change of size that is refused spoils the save that it was part of; where nothing was being saved, nothing is. */
static int data_resize_refused(struct fs *fs, struct fs_handle *handle, const char *operation, int rc)
{
    if (handle->written > handle->inode->body->put)
        return data_refused(fs, handle, operation, rc);
    fs_note(fs, handle->uid, handle->inode, NULL, operation, rc);
    return rc;
}

/* Make the content at least `end` bytes long and its bytes ours to change. */
static int data_make_room(struct fs *fs, struct fs_handle *handle, uint64_t end)
{
    struct fs_body *body = handle->inode->body;
    int rc = fs_body_check_room(fs, body, end);

    if (rc == 0)
        rc = kv_value_resize(&body->value, end > body->value->size ? (size_t)end : body->value->size);
    return rc;
}

/* Take a page of a mapping that is written back. */
static void data_take_page(struct fs_body *body, const uint8_t *bytes, size_t size, uint64_t offset)
{
    uint64_t from, to = offset;

    while (fs_way_next(body, &from, &to, offset + size))
        memcpy(body->value->data + from, bytes + (from - offset), to - from);
}

static int data_write_locked(struct fs *fs, struct fs_handle *handle, const void *bytes, size_t size,
                             uint64_t offset, bool mapped, const char *operation)
{
    struct fs_body *body = handle->inode->body;
    int rc = data_make_room(fs, handle, offset + size);

    if (rc == 0 && !mapped)
        rc = fs_way_write(handle, offset, size);
    if (rc < 0)
        return data_refused(fs, handle, operation, rc);
    if (mapped)
        data_take_page(body, bytes, size, offset);
    else
        memcpy(body->value->data + offset, bytes, size);
    data_changed(fs, handle);
    return 0;
}

int fs_write(struct fs *fs, struct fs_handle *handle, const void *bytes, size_t size, uint64_t offset, bool mapped)
{
    struct fs_body *body = handle->inode->body;
    int rc;

    pthread_rwlock_wrlock(&body->io);
    if (handle->state == FS_FAILED && !mapped) /* the kernel writes pages back through any handle */
        rc = handle->error;
    else
        rc = data_write_locked(fs, handle, bytes, size, offset, mapped, "write");
    if (rc == 0 && mapped)
        body->mapped = body->written;
    pthread_rwlock_unlock(&body->io);
    return rc;
}

int fs_truncate_locked(struct fs *fs, struct fs_handle *handle, size_t size)
{
    int rc = kv_value_resize(&handle->inode->body->value, size);

    if (rc == 0)
        data_changed(fs, handle);
    return rc;
}

int fs_truncate(struct fs *fs, struct fs_handle *handle, uint64_t size)
{
    struct fs_body *body = handle->inode->body;
    int rc;

    pthread_rwlock_wrlock(&body->io);
    rc = handle->state == FS_FAILED ? handle->error : 0;
    if (rc == 0) {
        rc = fs_body_check_room(fs, body, size);
        if (rc == 0)
            rc = fs_truncate_locked(fs, handle, (size_t)size);
        if (rc < 0)
            rc = data_resize_refused(fs, handle, "truncate", rc);
    }
    pthread_rwlock_unlock(&body->io);
    return rc;
}

static int data_allocate_locked(struct fs *fs, struct fs_handle *handle, int mode, uint64_t offset, uint64_t size)
{
    struct fs_body *body = handle->inode->body;
    int what = mode & ~FALLOC_FL_KEEP_SIZE;
    size_t within;
    int rc = what != FALLOC_FL_PUNCH_HOLE && offset + size > KV_VALUE_MAX ? -EFBIG : 0;

    if (mode == FALLOC_FL_KEEP_SIZE) /* it only sets space aside: there is none to set aside */
        return rc;
    if (rc == 0)
        rc = data_make_room(fs, handle, mode & FALLOC_FL_KEEP_SIZE ? 0 : offset + size);
    if (rc < 0)
        return rc;
    within = what != 0 ? data_within(body->value, offset, size) : 0;
    if (within > 0)
        memset(body->value->data + offset, 0, within);
    data_changed(fs, handle);
    return 0;
}

int fs_allocate(struct fs *fs, struct fs_handle *handle, int mode, uint64_t offset, uint64_t size)
{
    struct fs_body *body = handle->inode->body;
    int what = mode & ~FALLOC_FL_KEEP_SIZE;
    int rc;

    if ((what != 0 && what != FALLOC_FL_PUNCH_HOLE && what != FALLOC_FL_ZERO_RANGE) ||
        mode == FALLOC_FL_PUNCH_HOLE)
        return -EOPNOTSUPP;
    pthread_rwlock_wrlock(&body->io);
    if (handle->state == FS_FAILED)
        rc = handle->error;
    else if ((rc = data_allocate_locked(fs, handle, mode, offset, size)) < 0)
        rc = data_resize_refused(fs, handle, "fallocate", rc);
    pthread_rwlock_unlock(&body->io);
    return rc;
}

/* A whole value into an empty key: both share it until one of them is written. */
static void data_share(struct fs *fs, struct fs_handle *handle, struct kv_value *value)
{
    struct fs_body *body = handle->inode->body;

    kv_value_unref(body->value);
    body->value = kv_value_ref(value);
    data_changed(fs, handle);
}

int fs_copy(struct fs *fs, struct fs_handle *from, uint64_t from_offset, struct fs_handle *to, uint64_t to_offset,
            size_t size, size_t *copied)
{
    struct fs_body *source = from->inode->body, *body = to->inode->body;
    struct kv_value *value;
    int rc = 0;

    pthread_rwlock_rdlock(&source->io);
    value = kv_value_ref(source->value); /* whoever writes the source from here on writes a copy */
    pthread_rwlock_unlock(&source->io);
    size = data_within(value, from_offset, size);

    pthread_rwlock_wrlock(&body->io);
    if (size == 0)
        ; /* at the end of the source: nothing changes */
    else if (to->state == FS_FAILED)
        rc = to->error;
    else if (size == value->size && to_offset == 0 && body->value->size == 0 &&
             fs_body_check_room(fs, body, size) == 0)
        data_share(fs, to, value);
    else
        rc = data_write_locked(fs, to, value->data + from_offset, size, to_offset, false, "copy");
    pthread_rwlock_unlock(&body->io);
    kv_value_unref(value);
    if (rc == 0)
        *copied = size;
    return rc;
}

void fs_read(struct fs *fs, struct fs_handle *handle, size_t size, uint64_t offset, bool cached,
             fs_read_reply *reply, void *arg)
{
    struct fs_inode *inode = handle->inode;
    struct fs_body *body = fs_body_pin(fs, inode); /* once the reply is out, a RELEASE may overtake us */
    const struct kv_value *value;

    pthread_rwlock_rdlock(&body->io);
    if (cached)
        fs_way_read(body, offset, size);
    value = body->value;
    size = data_within(value, offset, size);
    reply(arg, size > 0 ? value->data + offset : NULL, size);
    pthread_rwlock_unlock(&body->io);
    fs_body_unpin(fs, inode);
}
