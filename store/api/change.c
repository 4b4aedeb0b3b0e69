/* Submitting changes, and the simple forms over them. */
#include "store/api/store.h"
#include "store/base/record.h"
#include "store/base/waiter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

void store_settled(void *arg, const struct kv_change *change, int rc)
{
    struct cache_since since = {change->submitted_ns, change->submitted_news};
    struct kv_store *store = arg;

    if (change->ref.size == 0 || change->kind == KV_CHECK)
        return; /* not about a key, or not changed */
    if (rc == 0 && (change->kind == KV_PUT || change->kind == KV_SETATTR))
        store_sweep_hear(store, change->meta.expires_ns);
    if (rc == 0 && change->kind == KV_PUT) {
        cache_write(store->cache, &change->ref, &change->meta, change->value, since);
    } else if (rc == 0 && (change->kind == KV_SETATTR || change->kind == KV_SETXATTR)) {
        cache_write(store->cache, &change->ref, &change->meta, NULL, since);
    } else if (rc == 0 && change->kind == KV_DELETE) {
        cache_write_absent(store->cache, &change->ref, since);
    } else { /* a rename, or a failure after which the central must be asked */
        cache_drop(store->cache, &change->ref);
        if (change->kind == KV_RENAME)
            cache_drop(store->cache, &change->to);
    }
}

/* ------------------------------------------------------------------------------ lines
 *
 * Each account has a line of its own in the commit queue. A namespace stays in its account, and ids are never used
 * again, so what was found once holds. */
#define HOMES_MAX 10000u /* then they are looked up anew */

struct store_home {
    uint64_t namespace, account;
    UT_hash_handle hh;
};

void store_forget_homes(struct kv_store *store)
{
    struct store_home *home, *next;

    HASH_ITER(hh, store->lines.homes, home, next) {
        HASH_DEL(store->lines.homes, home);
        free(home);
    }
}

static void store_note_home(struct kv_store *store, uint64_t namespace, uint64_t account)
{
    struct store_home *home = malloc(sizeof(*home)), *before;

    if (home == NULL)
        return;
    *home = (struct store_home){.namespace = namespace, .account = account};
    pthread_mutex_lock(&store->lines.lock);
    if (HASH_COUNT(store->lines.homes) >= HOMES_MAX)
        store_forget_homes(store);
    HASH_REPLACE(hh, store->lines.homes, namespace, sizeof(namespace), home, before);
    pthread_mutex_unlock(&store->lines.lock);
    free(before);
}

/* Find the account that a change is about. *out: 0 it is about another thing, or it is not there. returns 0; -EIO */
static int store_find_line(struct kv_store *store, const struct kv_change *change, uint64_t *out)
{
    uint64_t node = change->ref.node != 0 ? change->ref.node : change->node.parent;
    struct kv_node found = {.parent = node};
    struct store_home *home;
    int rc = 0;

    *out = 0;
    pthread_mutex_lock(&store->lines.lock);
    HASH_FIND(hh, store->lines.homes, &node, sizeof(node), home);
    if (home != NULL)
        *out = home->account;
    pthread_mutex_unlock(&store->lines.lock);
    while (*out == 0 && rc == 0 && found.parent > KV_ROOT_ID) {
        rc = kv_node_get(store, found.parent, &found);
        if (rc == 0 && found.kind == KV_ACCOUNT)
            store_note_home(store, node, *out = found.id);
    }
    return rc == -ENOENT ? 0 : rc;
}

/* Fill in what the store notes of a change. returns  0; -EIO, -ETIMEDOUT, -ENOMEM */
static int store_prepare(struct kv_store *store, struct kv_change *change)
{
    struct cache_since now = cache_now(store->cache);

    change->batch = NULL;
    change->submitted_ns = now.at_ns;
    change->submitted_news = now.news;
    if (change->kind == KV_PUT)
        change->checksum = record_checksum(change->value->data, change->value->size);
    return store_find_line(store, change, &change->account);
}

static void store_submit(struct kv_store *store, struct kv_change *change, bool begin)
{
    int rc = store->queue != NULL ? store_prepare(store, change) : -EROFS;

    if (rc < 0)
        change->done(change, rc);
    else
        commit_submit(store->queue, change, begin);
}

void kv_submit(struct kv_store *store, struct kv_change *change) { store_submit(store, change, true); }

void kv_queue(struct kv_store *store, struct kv_change *change) { store_submit(store, change, false); }

void kv_work(struct kv_store *store)
{
    if (store->queue != NULL)
        commit_work(store->queue);
}

static void store_submit_all(struct kv_store *store, struct kv_change *changes, size_t count, bool begin)
{
    struct kv_change *last = &changes[count - 1];
    int rc = store->queue == NULL ? -EROFS : count > KV_BATCH_MAX ? -EINVAL : 0;

    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = store_prepare(store, &changes[i]);
        if (rc == 0 && changes[i].account != changes[0].account)
            rc = -EXDEV;
        changes[i].submitted_ns = changes[0].submitted_ns; /* their time ends together */
        if (i > 0)
            changes[i - 1].batch = &changes[i];
        if (i < count - 1)
            changes[i].done = NULL;
    }
    if (rc < 0)
        last->done(last, rc);
    else
        commit_submit(store->queue, changes, begin);
}

void kv_submit_all(struct kv_store *store, struct kv_change *changes, size_t count)
{
    store_submit_all(store, changes, count, true);
}

static void wake(struct kv_change *change, int rc) { waiter_tell(change->arg, rc); }

int kv_apply(struct kv_store *store, struct kv_change *change)
{
    struct waiter waiter;

    waiter_begin(&waiter);
    change->done = wake;
    change->arg = &waiter;
    kv_queue(store, change);
    kv_work(store);
    return waiter_end(&waiter);
}

int kv_apply_all(struct kv_store *store, struct kv_change *changes, size_t count)
{
    struct waiter waiter;

    if (count == 0)
        return 0;
    waiter_begin(&waiter);
    changes[count - 1].done = wake;
    changes[count - 1].arg = &waiter;
    store_submit_all(store, changes, count, false);
    kv_work(store);
    return waiter_end(&waiter);
}

int kv_sync(struct kv_store *store) { return store->queue != NULL ? commit_sync(store->queue) : 0; }

int kv_quota_check(struct kv_store *store, const struct kv_ref *ref, size_t size, uint64_t extra)
{
    struct backend_quota quota = {.ref = ref, .size = size, .extra = extra, .now_ns = store_real_ns(store)};

    return backend_ask(store->backend, BACKEND_QUOTA, store->timeout_ns, &quota.call);
}

/* --------------------------------------------------------------- simple forms */

static struct kv_attr own_attr(struct kv_store *store, uint32_t mode)
{
    int64_t now_ns = store_real_ns(store);

    return (struct kv_attr){.mode = mode & ~store->umask & 07777,
                            .uid = geteuid(),
                            .gid = getegid(),
                            .atime_ns = now_ns,
                            .mtime_ns = now_ns,
                            .ctime_ns = now_ns,
                            .btime_ns = now_ns};
}

int kv_put(struct kv_store *store, const struct kv_ref *ref, const void *bytes, size_t size)
{
    struct kv_change change = {.kind = KV_PUT, .ref = *ref, .attr = own_attr(store, 0666)};
    int rc = kv_value_copy(bytes, size, &change.value);

    if (rc < 0)
        return rc;
    rc = kv_apply(store, &change);
    kv_value_unref(change.value);
    return rc;
}

int kv_delete(struct kv_store *store, const struct kv_ref *ref)
{
    struct kv_change change = {.kind = KV_DELETE, .ref = *ref};

    return kv_apply(store, &change);
}

/* Copy a name into a node. */
static int set_name(struct kv_node *node, const char *name)
{
    if (strlen(name) > KV_NAME_MAX)
        return -ENAMETOOLONG;
    memcpy(node->name, name, strlen(name));
    return 0;
}

int kv_node_make(struct kv_store *store, enum kv_node_kind kind, uint64_t parent, const char *name,
                 uint64_t target, struct kv_node *out)
{
    struct kv_change change = {.kind = KV_NODE_CREATE};
    int rc = set_name(&change.node, name);

    change.node.kind = kind;
    change.node.parent = parent;
    change.node.target = target;
    change.node.attr = own_attr(store, kind == KV_ACCOUNT ? 0700 : 0777);
    if (rc == 0)
        rc = kv_apply(store, &change);
    if (rc == 0)
        *out = change.node;
    return rc;
}

int kv_node_remove(struct kv_store *store, uint64_t parent, const char *name)
{
    struct kv_change change = {.kind = KV_NODE_DELETE};
    int rc = set_name(&change.node, name);

    change.node.parent = parent;
    return rc == 0 ? kv_apply(store, &change) : rc;
}
