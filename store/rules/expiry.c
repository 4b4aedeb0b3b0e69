/* Keys that have expired: the index of them, and taking them away.
 *
 * ENGINE_KEYS holds, under the id 0, an entry for each key that has an expiry (name_of_expiry()), in the order of time.
 * Whoever writes or removes the key's record changes the entry in the same transaction. An entry that no key has, or
 * not any more, comes from damage only: sweeping drops it when its time is over, and a check finds it. */
#include "store/rules/apply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    SWEEP_KEYS = 256, /* in one change, so that nobody waits for long */
    SWEEP_BYTES = 64 << 20
};

int apply_index(struct tx *tx, const struct name *name, int64_t from_ns, int64_t to_ns)
{
    struct record_bytes bytes;
    struct name entry;
    int rc = 0;

    if (from_ns == to_ns)
        return 0;
    if (from_ns != 0) {
        name_of_expiry(from_ns, name_slice(name), &entry);
        rc = tx_del(tx, ENGINE_KEYS, &entry);
    }
    if ((rc < 0 && rc != -ENOENT) || to_ns == 0)
        return rc == -ENOENT ? 0 : rc;
    name_of_expiry(to_ns, name_slice(name), &entry);
    record_encode_empty(ENGINE_KEYS, name_slice(&entry), &bytes);
    return tx_put(tx, ENGINE_KEYS, &entry, record_slice(&bytes));
}

/* Names of records that follow each other. */
struct expired {
    uint64_t id;    /* that they begin with */
    int64_t now_ns; /* with the id 0: only what is due then */
    size_t count;
    struct name names[SWEEP_KEYS];
};

static int expired_visit(void *arg, struct slice name, struct slice value)
{
    struct expired *expired = arg;
    struct slice key;
    struct name *to;
    int64_t at_ns;

    (void)value;
    if (expired->count == SWEEP_KEYS || name.size < 8 || name_get_u64(name.data) != expired->id)
        return 1;
    if (expired->id == 0 && name_split_expiry(name, &at_ns, &key) == 0 && at_ns > expired->now_ns)
        return 1;
    to = &expired->names[expired->count++];
    to->size = name.size;
    memcpy(to->data, name.data, name.size);
    return 0;
}

static int expired_find(struct tx *tx, uint64_t id, struct expired **out)
{
    struct expired *expired = malloc(sizeof(*expired));
    struct name from;
    int rc;

    if (expired == NULL)
        return -ENOMEM;
    expired->id = id;
    expired->now_ns = tx->now_ns;
    expired->count = 0;
    name_of_node(id, &from);
    rc = tx_scan(tx, ENGINE_KEYS, &from, expired_visit, expired);
    if (rc < 0) {
        free(expired);
        return rc;
    }
    *out = expired;
    return 0;
}

/* Remove the key that a record is kept under, if it has expired. *bytes: of its value
 * returns  1 it was; 0 it is not there, or not over, or damaged; negative: the transaction is broken */
static int expired_remove(struct tx *tx, struct slice name, uint64_t *bytes)
{
    struct apply_place place;
    char text[KV_KEY_MAX + 1];
    struct apply_key key;
    struct kv_ref ref;
    int rc, size = name_split_key(name, text);

    if (size < 0)
        return 0;
    ref = kv_ref_key(name_get_u64(name.data), text, (size_t)size);
    rc = apply_place_of(tx, ref.node, &place);
    if (rc == 0)
        rc = apply_key_load(tx, &ref, &key);
    if (rc < 0 || !key.expired)
        return tx->broken ? rc : 0;
    *bytes = key.record.meta.size;
    rc = apply_key_remove(tx, &place, &key);
    return rc < 0 ? rc : 1;
}

/* An entry of the index that is due: its key, and in any case the entry itself. */
static int expired_sweep(struct tx *tx, const struct name *entry, uint64_t *bytes)
{
    struct slice key;
    int64_t at_ns;
    int rc = name_split_expiry(name_slice(entry), &at_ns, &key) == 0 ? expired_remove(tx, key, bytes) : 0, gone;

    if (rc < 0)
        return rc;
    gone = tx_del(tx, ENGINE_KEYS, entry);
    return gone < 0 && gone != -ENOENT ? gone : rc;
}

int apply_sweep(struct tx *tx, struct kv_change *change)
{
    struct expired *expired;
    uint64_t swept = 0, bytes = 0;
    int rc = expired_find(tx, 0, &expired);

    if (rc < 0)
        return rc;
    for (size_t i = 0; rc >= 0 && i < expired->count && bytes < SWEEP_BYTES; i++) {
        uint64_t size = 0;

        rc = expired_sweep(tx, &expired->names[i], &size);
        swept += rc > 0;
        bytes += size;
    }
    free(expired);
    if (rc < 0)
        return rc;
    change->dropped = swept;
    return 0;
}

/* ---------------------------------------------------------------- a whole namespace */

enum { ALL_EXPIRED = 1, NOT_ALL };

struct all_expired {
    uint64_t id;
    int64_t now_ns;
    size_t count;
};

static int all_expired_visit(void *arg, struct slice name, struct slice value)
{
    struct all_expired *all = arg;
    struct record_key record;

    if (name.size < 8 || name_get_u64(name.data) != all->id)
        return ALL_EXPIRED;
    if (all->count++ == KV_BATCH_MAX || record_decode_key(name, value, &record) < 0 ||
        !kv_expired(&record.meta, all->now_ns))
        return NOT_ALL;
    return 0;
}

int apply_check_all_expired(struct tx *tx, const struct tx_node *namespace)
{
    struct all_expired all = {.id = namespace->node.id, .now_ns = tx->now_ns};
    struct name from;
    int rc;

    name_of_node(all.id, &from);
    rc = tx_scan(tx, ENGINE_KEYS, &from, all_expired_visit, &all);
    return rc == NOT_ALL ? -ENOTEMPTY : rc < 0 ? rc : 0;
}

int apply_drop_all_expired(struct tx *tx, struct tx_node *namespace)
{
    uint64_t bytes;
    int rc = 0;

    while (rc >= 0 && namespace->node.keys > 0) {
        struct expired *expired;

        rc = expired_find(tx, namespace->node.id, &expired);
        if (rc < 0)
            return rc;
        if (expired->count == 0)
            rc = tx_damaged(tx);
        for (size_t i = 0; rc >= 0 && i < expired->count; i++) {
            rc = expired_remove(tx, name_slice(&expired->names[i]), &bytes);
            if (rc == 0)
                rc = tx_damaged(tx);
        }
        free(expired);
    }
    return rc < 0 ? rc : 0;
}
