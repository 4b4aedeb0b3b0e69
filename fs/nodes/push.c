#include "fs/nodes/push.h"

#include "fs/base/notify.h"
#include "fs/nodes/nodes_internal.h"

#include <errno.h>
#include <stdlib.h>

/* Where a wake-up is missed, because who has committed was killed just then, the kernel's timeouts end all the same. */
#define PUSH_WAIT_MS 60000
#define PUSH_NAP_S 1           /* before it tries again to follow in a damaged store */
#define PUSH_STOP_NS 10000000L /* between two wake-ups for the end */

struct fs_push {
    struct fs *fs;
    pthread_t thread;
    atomic_bool stop;
    struct kv_feed feed;
    bool names; /* of what is being followed: names have to be looked up anew */
};

static bool push_is_on(const struct fs *fs)
{
    return fs->options->invalidate == KV_INVALIDATE_PUSH && fs->options->cache_ttl_ms > 0;
}

/* The id of an inode whose attributes the kernel may know; 0: none. attr: of a node, which may be as the kernel was
 * told. An open inode shows what was opened until its name is looked up again. */
static uint64_t push_inode(struct fs_push *push, const struct kv_ref *ref, const struct kv_attr *attr)
{
    struct fs *fs = push->fs;
    struct fs_inode *inode = fs_inode_find(fs, ref->node, ref->size > 0 ? ref->key : NULL, ref->size);
    struct fs_node *node;
    struct fs_told *told;
    uint64_t id = 0;

    if (inode == NULL)
        return 0;
    pthread_mutex_lock(&fs->nodes->lock);
    told = &inode->told;
    node = fs_node_of(inode);
    if (!told->pushed && (attr == NULL || (node != NULL && node->told_mtime_ns != attr->mtime_ns) ||
                          told->mode != attr->mode || told->uid != attr->uid || told->gid != attr->gid)) {
        id = inode->id;
        told->pushed = true;
    }
    push->names |= inode->body != NULL;
    pthread_mutex_unlock(&fs->nodes->lock);
    fs_inode_put(fs, inode);
    return id;
}

/* The kernel did not know the inode yet: it has to be notified of the next change, too. */
static void push_not_taken(struct fs *fs, const struct kv_ref *ref)
{
    struct fs_inode *inode = fs_inode_find(fs, ref->node, ref->size > 0 ? ref->key : NULL, ref->size);

    if (inode == NULL)
        return;
    pthread_mutex_lock(&fs->nodes->lock);
    inode->told.pushed = false;
    pthread_mutex_unlock(&fs->nodes->lock);
    fs_inode_put(fs, inode);
}

/* Was the kernel told lately that some name is not in this directory? */
static bool push_has_absent(struct fs *fs, uint64_t node)
{
    struct fs_inode *dir = fs_inode_find(fs, node, NULL, 0);
    bool has = dir != NULL && atomic_load(&fs_node_of(dir)->absent_until_ns) > fs_mono_ns();

    fs_inode_put(fs, dir);
    return has;
}

static int push_changed(void *arg, const struct kv_changed *changed)
{
    struct fs_push *push = arg;
    struct fs *fs = push->fs;
    uint64_t id = 0;

    switch (changed->kind) {
    case KV_CHANGED_KEY:
        id = push_inode(push, &changed->ref, NULL);
        if (id == 0 && !changed->removed)
            push->names |= push_has_absent(fs, changed->ref.node);
        break;
    case KV_CHANGED_NODE:
        id = push_inode(push, &changed->ref, changed->known ? &changed->node.attr : NULL);
        break;
    case KV_CHANGED_NAME:
        push->names = true;
        break;
    }
    /* Where the kernel is about to learn of the inode, by an answer with what was so before: names that are being
     * looked up count as known before the notification, too. */
    if (id != 0 && fs_notify_attr(fs, id) == -ENOENT) {
        push->names = true;
        push_not_taken(fs, &changed->ref);
    }
    return 0;
}

/* Not all that was changed is known. */
static void push_all(struct fs *fs)
{
    size_t count = 0, room;
    struct fs_link *link;
    uint64_t *ids;

    pthread_mutex_lock(&fs->nodes->lock);
    room = fs->nodes->by_id.count;
    ids = malloc((room + 1) * sizeof(*ids));
    for (size_t bucket = 0; ids != NULL && (link = fs_table_next(&fs->nodes->by_id, &bucket)) != NULL;)
        for (; link != NULL; link = link->next)
            ids[count++] = FS_TABLE_ITEM(link, struct fs_inode, link)->id;
    pthread_mutex_unlock(&fs->nodes->lock);
    for (size_t i = 0; i < count; i++)
        (void)fs_notify_attr(fs, ids[i]); /* names are told next */
    free(ids);
}

static void *push_run(void *arg)
{
    struct fs_push *push = arg;
    const struct timespec nap = {PUSH_NAP_S, 0};
    struct fs *fs = push->fs;

    while (!atomic_load(&push->stop)) {
        bool begins = push->feed.salt == 0;
        int rc;

        if (kv_wait(fs->store, push->feed.epoch, PUSH_WAIT_MS) < 0)
            continue;
        push->names = false;
        rc = kv_follow(fs->store, &push->feed, false, push_changed, push);
        if (rc < 0 || begins)
            push_all(fs);
        if (rc < 0 || begins || push->names)
            (void)fs_notify_epoch(fs); /* where it cannot be told, names end with their timeouts */
        atomic_store(&fs->nodes->pushed, push->feed.epoch);
        if (rc < 0 && rc != -ESTALE) /* it is damaged */
            nanosleep(&nap, NULL);
    }
    return NULL;
}

int fs_push_start(struct fs *fs, struct fs_push **out)
{
    struct fs_push *push;
    int rc;

    *out = NULL;
    if (!push_is_on(fs))
        return 0;
    push = calloc(1, sizeof(*push));
    if (push == NULL)
        return -ENOMEM;
    push->fs = fs;
    /* Nothing: from now on. Where that fails the thread tries again; a damaged store can be mounted for reading. */
    (void)!kv_follow(fs->store, &push->feed, false, push_changed, push);
    atomic_store(&fs->nodes->pushed, push->feed.epoch);
    rc = -pthread_create(&push->thread, NULL, push_run, push);
    if (rc < 0) {
        free(push);
        return rc;
    }
    *out = push;
    return 0;
}

void fs_push_stop(struct fs_push *push)
{
    struct timespec until;

    if (push == NULL)
        return;
    atomic_store(&push->stop, true);
    do { /* it may be about to wait just now, and not hear the first wake-up */
        kv_wake(push->fs->store);
        until = fs_after_ns(PUSH_STOP_NS);
    } while (pthread_clockjoin_np(push->thread, NULL, CLOCK_MONOTONIC, &until) == ETIMEDOUT);
    free(push);
}

uint64_t fs_push_before(struct fs *fs) { return atomic_load(&fs->nodes->pushed); }

void fs_push_present(struct fs *fs, uint64_t before, struct fuse_entry_param *entry)
{
    if (push_is_on(fs) && kv_epoch(fs->store) != before)
        entry->entry_timeout = entry->attr_timeout = 0;
}

double fs_push_absent(struct fs *fs, struct fs_inode *dir, uint64_t before, double timeout)
{
    int64_t until_ns = fs_mono_ns() + (int64_t)(timeout * 1e9), known_ns;
    struct fs_node *node = fs_node_of(dir);

    if (!push_is_on(fs))
        return timeout;
    known_ns = atomic_load(&node->absent_until_ns);
    while (known_ns < until_ns && !atomic_compare_exchange_weak(&node->absent_until_ns, &known_ns, until_ns))
        ;
    return kv_epoch(fs->store) == before ? timeout : 0;
}
