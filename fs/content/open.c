#include "fs/base/notify.h"
#include "fs/base/request.h"
#include "fs/content/attr.h"
#include "fs/content/data.h"
#include "fs/content/open_internal.h"
#include "fs/content/writeback.h"

#include <errno.h>

/* A cold value up to this size is handed to the kernel together with the open. */
#define PUSH_MAX (128u * 1024)
/* The inode is about to get another name: wait for that. */
#define OPEN_LATER 1

/* Fill a fresh body with the newest value, or with what this node may serve. */
static int open_load(struct fs *fs, int flags, const struct kv_ref *ref, struct fs_body *body)
{
    bool empty = flags & O_TRUNC;
    int rc;

    if (opens_to_write(flags))
        rc = kv_get_newest(fs->store, ref, &body->meta, empty ? NULL : &body->value);
    else
        rc = kv_get(fs->store, ref, &body->meta, &body->value, NULL);
    if (rc == 0 && empty)
        rc = kv_value_new(0, &body->value);
    body->stored_size = body->meta.size;
    return rc;
}

/* Give the kernel a small value before the open is answered, so that no READ is needed. Only while nobody else has
 * the file open through the page cache: then no page is locked by who waits for this node. Who writes past the cache
 * does so before this, or behind it, and then drops the pages. */
static void open_push(struct fs *fs, struct fs_inode *inode)
{
    struct fs_body *body = inode->body;

    pthread_rwlock_rdlock(&body->io);
    if (body->value->size > 0 && body->value->size <= PUSH_MAX)
        fs_notify_store(fs, inode->id, body->value->data, body->value->size);
    pthread_rwlock_unlock(&body->io);
}

/* One more handle on an open inode, whose lock is held. */
static int open_add_handle_locked(const struct opening *opening, struct fs_inode *inode)
{
    struct fs_handle *handle = opening->handle;
    bool reads = (opening->flags & O_ACCMODE) != O_WRONLY;
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
    if (rc < 0)
        return rc;
    inode->opens++;
    if (fs_way_begin(handle) && reads && inode->pages != FS_PAGES_ALL) {
        inode->pages = FS_PAGES_ALL;
        open_push(opening->fs, inode);
    } else if (inode->pages == FS_PAGES_NONE) {
        inode->pages = FS_PAGES_SOME;
    }
    return 0;
}

/* The kernel is to look the name up again: it leads to something else. It does so once, and then opens what it
 * found: so that is opened ahead by the lookup. */
static int open_again(const struct opening *opening, struct fs_inode *inode)
{
    fs_name_contend(opening->fs, inode);
    return -ESTALE;
}

/* Load what a closed inode stands for. Its lock is held.
 * returns  0 and its body, not yet the inode's; OPEN_LATER; -ESTALE its name leads to something else, and it is
 *          displaced; -ENFILE; else as kv_get() */
static int open_load_body_locked(const struct opening *opening, struct fs_inode *inode, uid_t uid,
                                 struct fs_body **out)
{
    struct fs *fs = opening->fs;
    struct kv_ref ref = fs_inode_ref(fs, inode);
    struct fs_body *body;
    bool shown = true;
    int rc = fs_body_new(inode, &opening->usage, uid, &body);

    if (rc < 0)
        return rc;
    rc = open_load(fs, opening->flags, &ref, body);
    if (rc == 0)
        rc = fs_body_check_open(fs, body, body->value->size);
    if ((rc == 0 || rc == -ENOENT) && fs_inode_is_moving(fs, inode, &ref, rc == 0 ? &body->meta.attr : NULL))
        rc = OPEN_LATER;
    if (rc == 0 && opening->flags & O_TRUNC && fs_told_is(fs, inode, &body->meta.attr))
        inode->version = body->meta.version; /* what is emptied can be any version */
    if (rc == 0)
        shown = fs_inode_shows(fs, inode, &body->meta);
    if (rc == -ENOENT || !shown) {
        fs_inode_displace(fs, inode);
        rc = -ESTALE;
    }
    if (rc != 0) {
        fs_body_free(fs, body);
        return rc;
    }
    fs_body_charge(fs, body);
    *out = body;
    return 0;
}

static int open_closed_locked(const struct opening *opening, struct fs_inode *inode)
{
    struct fs *fs = opening->fs;
    struct fs_body *body;
    int rc = -ESTALE;

    if (fs_inode_state(fs, inode) == FS_CURRENT)
        rc = open_load_body_locked(opening, inode, opening->handle->uid, &body);
    if (rc != 0)
        return rc == -ESTALE ? open_again(opening, inode) : rc;
    fs_inode_set_body_locked(fs, inode, body);
    rc = open_add_handle_locked(opening, inode);
    if (rc < 0) {
        fs_inode_set_body_locked(fs, inode, NULL);
        fs_body_free(fs, body);
        fs_inode_put(fs, inode);
        return rc;
    }
    return 0;
}

/* Is an open inode what an open may begin with? One for writing not where the central storage has another value, one
 * for reading not where this node knows of another one: the kernel may have come here without a lookup. */
static int open_check_newest_locked(const struct opening *opening, struct fs_inode *inode)
{
    struct kv_ref ref = fs_inode_ref(opening->fs, inode);
    enum fs_inode_state state = fs_inode_state(opening->fs, inode);
    bool writes = opens_to_write(opening->flags), older;
    struct kv_meta meta;
    int rc;

    if (state == FS_DISPLACED) /* which a program can open anew by its descriptor */
        return writes ? open_again(opening, inode) : 0;
    if (state == FS_REMOVED || fs_body_is_local(inode->body))
        return 0;
    rc = writes ? kv_get_newest(opening->fs->store, &ref, &meta, NULL)
                : kv_stat(opening->fs->store, &ref, &meta, NULL);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    pthread_rwlock_rdlock(&inode->body->io);
    older = !fs_body_is_local_locked(inode->body) && (rc == -ENOENT || meta.version != inode->body->meta.version);
    pthread_rwlock_unlock(&inode->body->io);
    if (!older)
        return 0;
    if (fs_inode_displace(opening->fs, inode))
        fs_notify_epoch(opening->fs);
    return open_again(opening, inode);
}

/* ----------------------------------------------------------------------------- opening ahead */

#define AHEAD_KEPT 64
#define AHEAD_NS 1000000000

/* Inodes that were opened ahead, each with a reference and an open of its own, for one thread. */
static struct {
    pthread_mutex_t lock;
    struct ahead {
        struct fs_inode *inode; /* NULL: none */
        pid_t thread;
        int64_t at_ns;
    } kept[AHEAD_KEPT];
    atomic_uint count;
} aheads = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Put one in a place, maybe NULL.
 * returns  what was there */
static struct fs_inode *ahead_exchange_locked(struct ahead *place, struct fs_inode *inode)
{
    struct fs_inode *before = place->inode;

    *place = (struct ahead){inode, fs_request_thread(), fs_now_ns()};
    atomic_fetch_add(&aheads.count, (inode != NULL) - (before != NULL));
    return before;
}

/* A place that is free, or else the oldest. */
static struct ahead *ahead_place_locked(void)
{
    struct ahead *best = &aheads.kept[0];

    for (unsigned i = 1; i < AHEAD_KEPT && best->inode != NULL; i++)
        if (aheads.kept[i].inode == NULL || aheads.kept[i].at_ns < best->at_ns)
            best = &aheads.kept[i];
    return best;
}

/* Has this thread's lookup opened the inode ahead? Then its pin is the caller's. The inode's lock is held. */
static bool ahead_take(struct fs *fs, struct fs_inode *inode)
{
    bool taken = false;

    if (atomic_load(&aheads.count) == 0)
        return false;
    pthread_mutex_lock(&aheads.lock);
    for (unsigned i = 0; i < AHEAD_KEPT && !taken; i++) {
        taken = aheads.kept[i].inode == inode && aheads.kept[i].thread == fs_request_thread();
        if (taken)
            (void)ahead_exchange_locked(&aheads.kept[i], NULL);
    }
    pthread_mutex_unlock(&aheads.lock);
    if (taken)
        fs_inode_put(fs, inode); /* the kernel has it */
    return taken;
}

/* Close those of one thread, or with 0 of all, that were opened before. */
static void ahead_close(struct fs *fs, pid_t thread, int64_t before_ns)
{
    if (atomic_load(&aheads.count) == 0)
        return;
    for (unsigned i = 0; i < AHEAD_KEPT; i++) {
        struct ahead *place = &aheads.kept[i];
        struct fs_inode *inode = NULL;

        pthread_mutex_lock(&aheads.lock);
        if (place->at_ns < before_ns && (thread == 0 || place->thread == thread))
            inode = ahead_exchange_locked(place, NULL);
        pthread_mutex_unlock(&aheads.lock);
        if (inode == NULL)
            continue;
        fs_body_unpin(fs, inode);
        fs_inode_put(fs, inode);
    }
}

/* ------------------------------------------------------------------------------------ opening */

/* *ahead: a pin is the caller's to give back. */
static int open_open_locked(const struct opening *opening, struct fs_inode *inode, bool *ahead)
{
    struct fs_body *body = inode->body;
    struct kv_attr attr;
    int rc = 0;

    *ahead = ahead_take(opening->fs, inode);
    if (!*ahead)
        rc = open_check_newest_locked(opening, inode);
    pthread_rwlock_rdlock(&body->io);
    attr = body->meta.attr;
    pthread_rwlock_unlock(&body->io);
    if (rc == 0 && !fs_told_same(opening->fs, inode, &attr))
        rc = fs_stale(opening->fs, inode);
    if (rc == 0)
        rc = open_add_handle_locked(opening, inode);
    if (rc == 0 && *ahead)
        (void)fs_name_was_contended(opening->fs, inode, true);
    return rc;
}

int fs_open(struct fs *fs, struct fs_inode *inode, int flags, const struct fuse_ctx *who, struct fs_handle **out)
{
    struct opening opening = {.fs = fs, .flags = flags};
    struct fs_name *name;
    bool ahead = false;
    int rc = fs_check_seen(fs, inode, &opening.usage);

    if (rc == -ESTALE) /* the kernel looks the path up again only once: what it finds then has to be the newest */
        fs_name_contend(fs, inode);
    if (rc == 0)
        rc = handle_new(fs, flags, who, &opening.handle);
    if (rc < 0)
        return rc;
    name = opens_to_write(flags) ? fs_name_lock_of(fs, inode) : NULL;
    do {
        fs_inode_lock(fs, inode);
        rc = inode->body != NULL ? open_open_locked(&opening, inode, &ahead) : open_closed_locked(&opening, inode);
        fs_inode_unlock(fs, inode);
        if (rc == OPEN_LATER)
            fs_name_settle(fs, inode);
    } while (rc == OPEN_LATER);
    if (name != NULL)
        fs_name_unlock(fs, name);
    if (ahead) /* its open; the handle has one of its own */
        fs_body_unpin(fs, inode);
    if (rc < 0) {
        handle_free(fs, opening.handle);
        return rc;
    }
    *out = opening.handle;
    return 0;
}

void fs_opened_ahead_end(struct fs *fs, bool all) { ahead_close(fs, 0, all ? INT64_MAX : fs_now_ns() - AHEAD_NS); }

int fs_open_ahead(struct fs *fs, struct fs_inode *inode, const struct kv_usage *usage, uid_t uid)
{
    struct opening opening = {.fs = fs, .flags = O_RDWR, .usage = *usage};
    struct fs_inode *before = NULL;
    struct fs_body *body;
    int rc;

    ahead_close(fs, fs_request_thread(), INT64_MAX); /* it has not come to open that */
    fs_inode_lock(fs, inode);
    if (inode->body != NULL) {
        rc = open_check_newest_locked(&opening, inode);
    } else {
        rc =
            fs_inode_state(fs, inode) == FS_CURRENT ? open_load_body_locked(&opening, inode, uid, &body) : -ESTALE;
        if (rc == 0)
            fs_inode_set_body_locked(fs, inode, body);
        if (rc == 0)
            fs_tell_key(fs, inode, &body->meta, NULL);
    }
    if (rc == 0) {
        inode->opens++;
        fs_inode_get(fs, inode);
        pthread_mutex_lock(&aheads.lock);
        before = ahead_exchange_locked(ahead_place_locked(), inode);
        pthread_mutex_unlock(&aheads.lock);
    }
    fs_inode_unlock(fs, inode);
    if (before != NULL) { /* of another thread, which did not come to open it, either */
        fs_body_unpin(fs, before);
        fs_inode_put(fs, before);
    }
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
        local = fs_body_is_local_locked(body);
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
