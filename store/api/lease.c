#include "store/api/lease.h"

#include "store/api/store.h"

#define BLOCK 4096

void lease_init(struct lease *lease)
{
    *lease = (struct lease){0};
    pthread_mutex_init(&lease->lock, NULL);
}

void lease_destroy(struct lease *lease) { pthread_mutex_destroy(&lease->lock); }

/* What is left of the old block is as good as used. */
static void asked(struct kv_change *change, int rc)
{
    struct lease *lease = change->arg;

    pthread_mutex_lock(&lease->lock);
    if (rc == 0) {
        lease->next = change->first_id;
        lease->end = change->first_id + change->ids;
    }
    lease->asking = false;
    pthread_mutex_unlock(&lease->lock);
}

bool lease_take(struct kv_store *store, uint64_t *out)
{
    struct lease *lease = &store->lease;
    bool taken, ask;

    pthread_mutex_lock(&lease->lock);
    taken = lease->next < lease->end;
    if (taken)
        *out = lease->next++;
    ask = store->queue != NULL && !lease->asking && lease->end - lease->next < BLOCK / 4;
    lease->asking |= ask;
    pthread_mutex_unlock(&lease->lock);
    if (ask) {
        lease->change = (struct kv_change){.kind = KV_RESERVE_IDS, .ids = BLOCK, .done = asked, .arg = lease};
        kv_submit(store, &lease->change);
    }
    return taken;
}

int kv_new_ino(struct kv_store *store, uint64_t *out)
{
    struct kv_change change = {.kind = KV_RESERVE_IDS, .ids = 1};
    int rc;

    if (lease_take(store, out))
        return 0;
    rc = kv_apply(store, &change);
    if (rc == 0)
        *out = change.first_id;
    return rc;
}
