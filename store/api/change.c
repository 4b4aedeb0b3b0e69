/* Submitting changes, and the simple forms over them. */
#include "store/api/store.h"
#include "store/base/record.h"
#include "store/rules/apply.h"
#include "store/rules/read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void store_settled(void *arg, const struct kv_change *change, int rc)
{
    struct cache_since since = {change->submitted_ns, change->submitted_news};
    struct kv_store *store = arg;

    if (change->ref.size == 0)
        return; /* not about a key */
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
        rc = read_node(store->engine, found.parent, &found);
        if (rc == 0 && found.kind == KV_ACCOUNT)
            store_note_home(store, node, *out = found.id);
    }
    return rc == -ENOENT ? 0 : rc;
}

void kv_submit(struct kv_store *store, struct kv_change *change)
{
    struct cache_since now = cache_now(store->cache);
    int rc;

    if (store->queue == NULL) {
        change->done(change, -EROFS);
        return;
    }
    change->submitted_ns = now.at_ns;
    change->submitted_news = now.news;
    if (change->kind == KV_PUT)
        change->checksum = record_checksum(change->value->data, change->value->size);
    rc = store_find_line(store, change, &change->account);
    if (rc < 0)
        change->done(change, rc);
    else
        commit_submit(store->queue, change);
}

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t told;
    bool done;
    int rc;
};

static void wake(struct kv_change *change, int rc)
{
    struct waiter *waiter = change->arg;

    pthread_mutex_lock(&waiter->lock);
    waiter->done = true;
    waiter->rc = rc;
    pthread_cond_signal(&waiter->told);
    pthread_mutex_unlock(&waiter->lock);
}

int kv_apply(struct kv_store *store, struct kv_change *change)
{
    struct waiter waiter = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0};

    change->done = wake;
    change->arg = &waiter;
    kv_submit(store, change);
    pthread_mutex_lock(&waiter.lock);
    while (!waiter.done)
        pthread_cond_wait(&waiter.told, &waiter.lock);
    pthread_mutex_unlock(&waiter.lock);
    return waiter.rc;
}

int kv_sync(struct kv_store *store) { return store->queue != NULL ? commit_sync(store->queue) : 0; }

/* Nothing waits here: the put itself gets the exact answer. */
int kv_quota_check(struct kv_store *store, const struct kv_ref *ref, size_t size, uint64_t extra)
{
    struct read_quota quota;
    int64_t growth;
    int rc = read_quota(store->engine, ref, &quota);

    if (rc < 0)
        return rc;
    growth = (int64_t)(ref->size + size) - (int64_t)quota.charge;
    if (growth <= 0)
        return 0;
    growth += (int64_t)(extra < KV_LIMIT_MAX / 2 ? extra : KV_LIMIT_MAX / 2);
    return apply_quota_allows(quota.bytes, growth, quota.limit) ? 0 : -EDQUOT;
}

/* --------------------------------------------------------------- simple forms */

static struct kv_attr own_attr(struct kv_store *store, uint32_t mode)
{
    int64_t now_ns = store->clock.real_ns(store->clock.arg);

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
