#include "fs/content/handle.h"

#include "fs/base/ledger.h"
#include "fs/content/closing.h"
#include "fs/content/open_internal.h"
#include "fs/content/writeback.h"

#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

static pthread_mutex_t handles_lock = PTHREAD_MUTEX_INITIALIZER;
static struct fs_handle *handles; /* of the process's only node */

int handle_new(struct fs *fs, int flags, const struct fuse_ctx *who, struct fs_handle **out)
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

void handle_free(struct fs *fs, struct fs_handle *handle)
{
    fs_filelocks_drop(fs, &handle->locks);
    fs_ledger_release(fs->users, handle->uid, FS_HANDLES, 1);
    pthread_mutex_lock(&handles_lock);
    DL_DELETE(handles, handle);
    pthread_mutex_unlock(&handles_lock);
    free(handle);
}

void fs_close(struct fs *fs, struct fs_handle *handle)
{
    struct fs_inode *inode = handle->inode;
    struct fs_body *body = inode->body;
    uint64_t left = 0;

    fs_way_end(handle);
    /* For writing: a thread whose READ was answered may still be about to let go of the lock. */
    pthread_rwlock_wrlock(&body->io);
    body->writers -= handle->writes;
    if ((handle->state == FS_EMPTIED || handle->state == FS_WRITTEN) && handle->written > handle->told)
        left = handle->written;
    if (body->writers == 0 && body->mapped > left) /* the kernel can have stored it through one that had FAILED */
        left = body->mapped;
    if (left <= body->put)
        left = 0;
    pthread_rwlock_unlock(&body->io);
    if (left > 0)
        fs_put_left(fs, handle, left);
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
        if (abandon)
            body->mapped = 0;
        pthread_rwlock_unlock(&body->io);
        fs_close(fs, handle);
    }
    (void)!kv_sync(fs->store); /* puts of the closes above end here; the caller asks once more how */
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
