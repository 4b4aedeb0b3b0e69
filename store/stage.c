#include "store/stage.h"

#include "store/apply.h"
#include "store/read.h"

#include <errno.h>
#include <stdlib.h>

/* Accepted values that wait for the committer; beyond this a put waits for its commit. */
#define STAGED_BYTES (256u << 20)

/* An accepted put, and what it reserves. */
struct staged {
    struct kv_change change;
    struct kv_store *store;
    struct stage_account *account;
    int64_t reserved;
};

/* What the accepted puts of one account reserve. Kept for as long as the store is open: there are few. */
struct stage_account {
    uint64_t id;
    int64_t reserved; /* bytes that the account will have grown by; stage.lock */
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

/* On the committer thread. The cache was told by store_settled(). */
static void staged_done(struct kv_change *change, int rc)
{
    struct staged *staged = (struct staged *)change;
    struct kv_store *store = staged->store;

    pthread_mutex_lock(&store->stage.lock);
    staged->account->reserved -= staged->reserved;
    store->stage.bytes -= change->value->size;
    if (rc < 0 && store->stage.lost_rc == 0)
        store->stage.lost_rc = rc;
    pthread_mutex_unlock(&store->stage.lock);
    if (rc < 0 && store->lost != NULL)
        store->lost(store->lost_arg, &change->ref, rc);
    kv_value_unref(change->value);
    free(staged);
}

/* What the put makes of the key, as far as this node knows. */
static int predict(struct kv_store *store, const struct kv_change *change, uint64_t version, uint64_t ino,
                   struct kv_meta *meta, uint64_t *old_charge)
{
    int rc = kv_stat(store, &change->ref, meta, NULL);

    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (rc == 0) {
        *old_charge = change->ref.size + meta->size;
        apply_attr_fields(&meta->attr, &change->attr, change->attr_mask | KV_MTIME | KV_CTIME);
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
static bool has_room(struct kv_store *store, uint64_t account_id, int64_t delta, struct stage_account **out)
{
    struct stage_account *account = account_of(store, account_id);
    struct kv_node node;

    if (account == NULL || store->stage.bytes > STAGED_BYTES || read_node(store->engine, account_id, &node) < 0)
        return false;
    *out = account;
    return (int64_t)node.bytes + account->reserved + delta <= (int64_t)node.limit_bytes;
}

static struct staged *staged_new(struct kv_store *store, const struct kv_change *change, const struct kv_meta *meta)
{
    struct staged *staged = malloc(sizeof(*staged));

    if (staged == NULL)
        return NULL;
    *staged = (struct staged){.change = *change, .store = store};
    staged->change.value = kv_value_ref(change->value);
    staged->change.attr.ino = meta->attr.ino;
    staged->change.version = meta->version;
    staged->change.accepted = true;
    staged->change.done = staged_done;
    return staged;
}

bool stage_put(struct kv_store *store, struct kv_change *change)
{
    struct kv_node namespace;
    struct staged *staged;
    struct kv_meta meta;
    uint64_t version, ino = change->attr.ino, old_charge;
    bool accepted;

    /* Attributes are the caller's memory, and a condition needs the central's word. */
    if (change->conditional || change->replace || change->xattrs != NULL ||
        read_node(store->engine, change->ref.node, &namespace) < 0 || namespace.kind != KV_NAMESPACE)
        return false;
    /* A lease of ids may wait for the committer, which takes the lock: so before it. */
    if (kv_new_ino(store, &version) < 0 || (ino == 0 && kv_new_ino(store, &ino) < 0))
        return false;
    pthread_mutex_lock(&store->stage.lock);
    if (predict(store, change, version, ino, &meta, &old_charge) < 0 || (staged = staged_new(store, change, &meta)) == NULL) {
        pthread_mutex_unlock(&store->stage.lock);
        return false;
    }
    staged->reserved = (int64_t)(change->ref.size + meta.size) - (int64_t)old_charge;
    accepted = has_room(store, namespace.parent, staged->reserved, &staged->account) &&
               cache_write_pending(store->cache, &change->ref, &meta, change->value) == 0;
    if (accepted) {
        staged->account->reserved += staged->reserved;
        store->stage.bytes += meta.size;
        commit_submit(store->queue, &staged->change);
    }
    pthread_mutex_unlock(&store->stage.lock);
    if (!accepted) {
        kv_value_unref(staged->change.value);
        free(staged);
        return false;
    }
    change->meta = meta;
    return true;
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

    HASH_ITER(hh, store->stage.accounts, account, next)
    {
        HASH_DEL(store->stage.accounts, account);
        free(account);
    }
}
