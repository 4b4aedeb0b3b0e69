#include "store/api/stage.h"

#include "store/rules/apply.h"
#include "store/rules/read.h"

#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

/* Accepted values that wait for the committer; beyond this a put waits for its commit. */
#define STAGED_BYTES (256u << 20)
#define STAGED_SEEN 4

/* An accepted put, and what it reserves. */
struct staged {
    struct kv_change change;
    struct kv_store *store;
    struct stage_account *account;
    int64_t growth;                   /* of the account, by this put */
    struct kv_seen seen[STAGED_SEEN]; /* the change's own; what it was submitted with is the caller's again */
    struct kv_attr object;
    struct staged *prev, *next; /* in stage.staged */
};

/* Somebody who waits for the accepted puts of a key. */
struct stage_watch {
    const struct kv_ref *ref;
    int rc; /* why one of them was lost; 0: none was */
    struct stage_watch *next;
};

/* What the accepted puts of one account reserve. Kept for as long as the store is open: there are few. */
struct stage_account {
    uint64_t id;
    int64_t reserved; /* sum of the puts that make it grow; stage.lock */
    int64_t freed;    /* sum of the others, 0 or less: not there before they are committed */
    UT_hash_handle hh;
};

static struct stage_account *account_of(struct kv_store *store, uint64_t id)
{
    struct stage_account *account;

    HASH_FIND(hh, store->stage.accounts, &id, sizeof(id), account);
    if (account != NULL)
        return account;
    account = calloc(1, sizeof(*account));
    if (account == NULL)
        return NULL;
    account->id = id;
    HASH_ADD(hh, store->stage.accounts, id, sizeof(id), account);
    return account;
}

static void count_growth(struct stage_account *account, int64_t growth, int sign)
{
    *(growth > 0 ? &account->reserved : &account->freed) += sign * growth;
}

static void list(struct kv_store *store, struct staged *staged)
{
    pthread_mutex_lock(&store->stage.list_lock);
    DL_APPEND(store->stage.staged, staged);
    pthread_mutex_unlock(&store->stage.list_lock);
}

/* It is settled. Tell a loss to those who wait. */
static void unlist(struct kv_store *store, struct staged *staged, int rc)
{
    pthread_mutex_lock(&store->stage.list_lock);
    DL_DELETE(store->stage.staged, staged);
    for (struct stage_watch *watch = store->stage.watches; rc < 0 && watch != NULL; watch = watch->next)
        if (kv_ref_same(watch->ref, &staged->change.ref))
            watch->rc = rc;
    pthread_mutex_unlock(&store->stage.list_lock);
}

/* Wait for a key, where there is anything to wait for. */
static bool watch_key(struct kv_store *store, struct stage_watch *watch)
{
    struct staged *staged;

    pthread_mutex_lock(&store->stage.list_lock);
    DL_FOREACH(store->stage.staged, staged)
        if (kv_ref_same(&staged->change.ref, watch->ref))
            break;
    if (staged != NULL)
        LL_PREPEND(store->stage.watches, watch);
    pthread_mutex_unlock(&store->stage.list_lock);
    return staged != NULL;
}

static void unwatch_key(struct kv_store *store, struct stage_watch *watch)
{
    pthread_mutex_lock(&store->stage.list_lock);
    LL_DELETE(store->stage.watches, watch);
    pthread_mutex_unlock(&store->stage.list_lock);
}

/* On the committer thread. The cache was told by store_settled(). */
static void staged_done(struct kv_change *change, int rc)
{
    struct staged *staged = (struct staged *)change;
    struct kv_store *store = staged->store;

    pthread_mutex_lock(&store->stage.lock);
    count_growth(staged->account, staged->growth, -1);
    store->stage.bytes -= change->value->size;
    store->stage.count--;
    if (rc < 0 && store->stage.lost_rc == 0)
        store->stage.lost_rc = rc;
    pthread_mutex_unlock(&store->stage.lock);
    unlist(store, staged, rc);
    if (rc < 0 && store->lost != NULL)
        store->lost(store->lost_arg, &change->ref, change->version, rc);
    kv_value_unref(change->value);
    free(staged);
}

/* What the put makes of the key, as far as this node knows. */
static int predict(struct kv_store *store, const struct kv_change *change, uint64_t version, uint64_t ino,
                   struct kv_meta *meta, uint64_t *old_charge)
{
    int rc = kv_get_newest(store, &change->ref, meta, NULL);

    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (rc == 0 && !apply_may_put(change, &meta->attr))
        return -ESTALE;
    if (rc == 0) {
        *old_charge = change->ref.size + meta->size;
        kv_attr_set(&meta->attr, &change->attr, change->attr_mask | KV_MTIME | KV_CTIME);
    } else {
        *old_charge = 0;
        *meta = (struct kv_meta){.attr = change->attr};
        meta->attr.ino = ino;
    }
    meta->size = change->value->size;
    meta->version = version;
    return 0;
}

/* Is there certainly room? stage.lock is held, so what is settled meanwhile is counted twice, not left out. */
static bool has_room(struct kv_store *store, uint64_t account_id, int64_t growth, struct stage_account **out)
{
    struct stage_account *account = account_of(store, account_id);
    struct kv_node node;

    if (account == NULL || store->stage.bytes > STAGED_BYTES || read_node(store->engine, account_id, &node) < 0)
        return false;
    *out = account;
    return growth <= 0 || apply_quota_allows(node.bytes, account->reserved + growth, node.limit_bytes);
}

static struct staged *staged_new(struct kv_store *store, const struct kv_change *change, uint64_t version,
                                 uint64_t ino)
{
    struct staged *staged = malloc(sizeof(*staged));

    if (staged == NULL)
        return NULL;
    *staged = (struct staged){.change = *change, .store = store};
    staged->change.value = kv_value_ref(change->value);
    staged->change.attr.ino = ino;
    staged->change.version = version;
    staged->change.accepted = true;
    staged->change.done = staged_done;
    staged->change.seen = staged->seen;
    for (size_t i = 0; i < change->seen_count; i++)
        staged->seen[i] = change->seen[i];
    if (change->object != NULL) {
        staged->object = *change->object;
        staged->change.object = &staged->object;
    }
    return staged;
}

/* A put that is going to be queued becomes visible. */
static bool show(void *arg)
{
    const struct staged *staged = arg;
    const struct kv_change *change = &staged->change;

    return cache_write_pending(staged->store->cache, &change->ref, &change->meta, change->value) == 0;
}

/* Show the put and queue it, or do neither. stage.lock is held. */
static bool show_and_queue(struct kv_store *store, struct staged *staged, uint64_t calm_since)
{
    /* What predict() asked for is older than this put. */
    staged->change.submitted_news = cache_now(store->cache).news;
    if (!commit_submit_calm(store->queue, &staged->change, calm_since, show, staged))
        return false;
    count_growth(staged->account, staged->growth, 1);
    store->stage.bytes += staged->change.value->size;
    store->stage.count++;
    list(store, staged);
    return true;
}

static bool accept(struct kv_store *store, struct kv_change *change, uint64_t version, uint64_t ino,
                   uint64_t account_id)
{
    struct staged *staged;
    struct kv_meta meta;
    uint64_t old_charge, calm_since;

    if (!commit_is_calm(store->queue, &calm_since) || predict(store, change, version, ino, &meta, &old_charge) < 0)
        return false;
    staged = staged_new(store, change, version, ino);
    if (staged == NULL)
        return false;
    staged->change.meta = meta;
    staged->growth = (int64_t)(change->ref.size + meta.size) - (int64_t)old_charge;
    if (!has_room(store, account_id, staged->growth, &staged->account) ||
        !show_and_queue(store, staged, calm_since)) {
        kv_value_unref(staged->change.value);
        free(staged);
        return false;
    }
    change->meta = meta;
    return true;
}

bool stage_put(struct kv_store *store, struct kv_change *change)
{
    uint64_t version, ino = change->attr.ino;
    struct kv_node namespace;
    bool accepted;

    /* Attributes are the caller's memory; a condition or a refusal needs the central's word. */
    if (change->conditional || change->replace || change->xattrs != NULL || change->value->size > KV_VALUE_MAX ||
        kv_name_check(KV_NAME_KEY, change->ref.key, change->ref.size) < 0 || change->seen_count > STAGED_SEEN ||
        kv_check_seen(store, change->seen, change->seen_count, NULL) < 0 ||
        read_node(store->engine, change->ref.node, &namespace) < 0 || namespace.kind != KV_NAMESPACE)
        return false;
    if (!lease_take(store, &version) || (ino == 0 && !lease_take(store, &ino)))
        return false;
    pthread_mutex_lock(&store->stage.lock);
    accepted = accept(store, change, version, ino, namespace.parent);
    pthread_mutex_unlock(&store->stage.lock);
    return accepted;
}

int64_t stage_freed(struct kv_store *store, uint64_t account_id)
{
    struct stage_account *account;
    int64_t freed;

    pthread_mutex_lock(&store->stage.lock);
    HASH_FIND(hh, store->stage.accounts, &account_id, sizeof(account_id), account);
    freed = account != NULL ? account->freed : 0;
    pthread_mutex_unlock(&store->stage.lock);
    return freed;
}

bool stage_settle(struct kv_store *store)
{
    bool staged;

    pthread_mutex_lock(&store->stage.lock);
    staged = store->stage.count > 0;
    pthread_mutex_unlock(&store->stage.lock);
    if (staged)
        commit_drain(store->queue);
    return staged;
}

int stage_settle_key(struct kv_store *store, const struct kv_ref *ref)
{
    struct stage_watch watch = {.ref = ref};

    if (!watch_key(store, &watch))
        return 0;
    commit_drain(store->queue);
    unwatch_key(store, &watch);
    return watch.rc;
}

int stage_sync(struct kv_store *store)
{
    int rc;

    commit_drain(store->queue);
    pthread_mutex_lock(&store->stage.lock);
    rc = store->stage.lost_rc;
    store->stage.lost_rc = 0;
    pthread_mutex_unlock(&store->stage.lock);
    return rc;
}

void stage_free(struct kv_store *store)
{
    struct stage_account *account, *next;

    HASH_ITER(hh, store->stage.accounts, account, next) {
        HASH_DEL(store->stage.accounts, account);
        free(account);
    }
}
