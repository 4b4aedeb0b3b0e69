/* Ids leased from the central in blocks: inode numbers and versions that are promised before their commit.
 *
 * The next block is asked for while the last one still has a quarter, so that hardly anybody waits for it.
 * Ids of a block that is left over when the store closes are never used. */
#ifndef KVFS_STORE_LEASE_H
#define KVFS_STORE_LEASE_H

#include "store/kv.h"

#include <pthread.h>

struct lease {
    pthread_mutex_t lock; /* never held across a wait */
    uint64_t next, end;   /* ids that are left */
    bool asking;          /* `change` is under way */
    struct kv_change change;
};

void lease_init(struct lease *lease);
void lease_destroy(struct lease *lease);

/* Take an id without waiting. returns false where none is left just now */
bool lease_take(struct kv_store *store, uint64_t *out);

#endif
