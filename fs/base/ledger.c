#include "fs/base/ledger.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

struct ledger_entry {
    uint64_t id;
    uint64_t used[FS_RESOURCES]; /* not all are 0 */
    UT_hash_handle hh;
};

struct fs_ledger {
    pthread_mutex_t lock;
    struct ledger_entry *entries;
};

int fs_ledger_new(struct fs_ledger **out)
{
    struct fs_ledger *ledger = calloc(1, sizeof(*ledger));

    if (ledger == NULL)
        return -ENOMEM;
    pthread_mutex_init(&ledger->lock, NULL);
    *out = ledger;
    return 0;
}

void fs_ledger_free(struct fs_ledger *ledger)
{
    struct ledger_entry *entry, *next;

    if (ledger == NULL)
        return;
    HASH_ITER(hh, ledger->entries, entry, next) {
        HASH_DEL(ledger->entries, entry);
        free(entry);
    }
    pthread_mutex_destroy(&ledger->lock);
    free(ledger);
}

static struct ledger_entry *ledger_find_locked(struct fs_ledger *ledger, uint64_t id)
{
    struct ledger_entry *entry;

    HASH_FIND(hh, ledger->entries, &id, sizeof(id), entry);
    return entry;
}

static int ledger_charge_locked(struct fs_ledger *ledger, uint64_t id, enum fs_resource what, uint64_t amount,
                                uint64_t limit)
{
    struct ledger_entry *entry = ledger_find_locked(ledger, id);
    uint64_t used = entry == NULL ? 0 : entry->used[what];

    if (amount == 0)
        return 0;
    if (amount > limit || used > limit - amount)
        return -EDQUOT;
    if (entry == NULL) {
        entry = calloc(1, sizeof(*entry));
        if (entry == NULL)
            return -ENOMEM;
        entry->id = id;
        HASH_ADD(hh, ledger->entries, id, sizeof(id), entry);
    }
    entry->used[what] += amount;
    return 0;
}

int fs_ledger_charge(struct fs_ledger *ledger, uint64_t id, enum fs_resource what, uint64_t amount, uint64_t limit)
{
    int rc;

    pthread_mutex_lock(&ledger->lock);
    rc = ledger_charge_locked(ledger, id, what, amount, limit);
    pthread_mutex_unlock(&ledger->lock);
    return rc;
}

void fs_ledger_release(struct fs_ledger *ledger, uint64_t id, enum fs_resource what, uint64_t amount)
{
    static const uint64_t nothing[FS_RESOURCES];
    struct ledger_entry *entry;

    if (amount == 0)
        return;
    pthread_mutex_lock(&ledger->lock);
    entry = ledger_find_locked(ledger, id);
    assert(entry != NULL && entry->used[what] >= amount);
    entry->used[what] -= amount;
    if (memcmp(entry->used, nothing, sizeof(nothing)) == 0) {
        HASH_DEL(ledger->entries, entry);
        free(entry);
    }
    pthread_mutex_unlock(&ledger->lock);
}

uint64_t fs_ledger_used(struct fs_ledger *ledger, uint64_t id, enum fs_resource what)
{
    struct ledger_entry *entry;
    uint64_t used;

    pthread_mutex_lock(&ledger->lock);
    entry = ledger_find_locked(ledger, id);
    used = entry == NULL ? 0 : entry->used[what];
    pthread_mutex_unlock(&ledger->lock);
    return used;
}

uint64_t fs_ledger_total(struct fs_ledger *ledger, enum fs_resource what)
{
    const struct ledger_entry *entry;
    uint64_t total = 0;

    pthread_mutex_lock(&ledger->lock);
    for (entry = ledger->entries; entry != NULL; entry = entry->hh.next)
        total += entry->used[what];
    pthread_mutex_unlock(&ledger->lock);
    return total;
}
