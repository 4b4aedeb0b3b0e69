/* Applying changes: what each kv_change does to the records.
 *
 * Every function answers 0, or a negative errno where the change was refused
 * and nothing of it was done; where tx->broken is set afterwards, the
 * transaction failed and must be aborted as a whole. Arguments of the change
 * are left as they are, so that it can be applied again.
 */
#ifndef KVFS_STORE_APPLY_H
#define KVFS_STORE_APPLY_H

#include "store/rules/tx.h"

/* Any change: hands on to one of those below. */
KV_CHECKED int apply(struct tx *tx, struct kv_change *change);

/* keys.c: values */
KV_CHECKED int apply_put(struct tx *tx, struct kv_change *change);
KV_CHECKED int apply_delete(struct tx *tx, struct kv_change *change);
KV_CHECKED int apply_check(struct tx *tx, struct kv_change *change);
KV_CHECKED int apply_rename(struct tx *tx, struct kv_change *change);

/* expiry.c: keys that have expired */
KV_CHECKED int apply_sweep(struct tx *tx, struct kv_change *change);
/* Is every key of a namespace one that has expired, and are they few enough to be removed with it?
 * returns  0; -ENOTEMPTY; -EIO, -ENOMEM */
KV_CHECKED int apply_check_all_expired(struct tx *tx, const struct tx_node *namespace);
/* Remove them. A failure breaks the transaction. */
KV_CHECKED int apply_drop_all_expired(struct tx *tx, struct tx_node *namespace);
/* What is kept under this name expires at `to_ns`, and no more at `from_ns`; 0: never. */
KV_CHECKED int apply_index(struct tx *tx, const struct name *name, int64_t from_ns, int64_t to_ns);

/* damaged.c */
KV_CHECKED int apply_drop_damaged(struct tx *tx, struct kv_change *change);

/* attr.c: attributes of keys and nodes */
KV_CHECKED int apply_setattr(struct tx *tx, struct kv_change *change);
KV_CHECKED int apply_setxattr(struct tx *tx, struct kv_change *change);

/* nodes.c: the tree above the keys */
KV_CHECKED int apply_node_create(struct tx *tx, struct kv_change *change);
KV_CHECKED int apply_node_delete(struct tx *tx, struct kv_change *change);
KV_CHECKED int apply_node_rename(struct tx *tx, struct kv_change *change);
KV_CHECKED int apply_node_limits(struct tx *tx, struct kv_change *change);

/* A namespace with the nodes whose counts include it. */
struct apply_place {
    struct tx_node *namespace, *account, *root;
};
/* returns  0; -ENOENT no such namespace; -EIO */
KV_CHECKED int apply_place_of(struct tx *tx, uint64_t namespace_id, struct apply_place *out);
/* Change the counts of a place. An underflow means that they were wrong before: -EIO, and the transaction is broken. */
KV_CHECKED int apply_count(struct tx *tx, const struct apply_place *place, int64_t keys, int64_t bytes);
/* May the account have a key more, and grow by this many bytes? returns 0; -EDQUOT */
KV_CHECKED int apply_check_quota(const struct apply_place *place, bool one_more, int64_t growth);

/* A key's record, copied out of the engine so that writes do not move it. */
struct apply_key {
    bool there;
    bool damaged; /* there, but it cannot be read: `record` is not set */
    bool expired; /* not there any more, but its record still is */
    struct name name;
    struct record_key record; /* its slices point into `bytes` */
    struct record_bytes bytes;
    /* What the counts of its namespace lose with its record; 0 where there is none. Of a damaged one they lose what a
     * recount does not find: that can be anything. */
    int64_t keys, charge;
    int64_t indexed_ns; /* the index has it under this expiry; 0: not at all, or it is damaged, and nobody knows */
};
/* returns  0, whether it is there or not; -EINVAL, -ENAMETOOLONG; -ENOENT a damaged one in no namespace; -EIO */
KV_CHECKED int apply_key_load(struct tx *tx, const struct kv_ref *ref, struct apply_key *out);
/* Private to apply_key_load(): fill in what is known of a damaged key. */
KV_CHECKED int apply_key_damaged(struct tx *tx, uint64_t namespace_id, struct apply_key *out);
/* Put a record in the place of what was loaded, or take that away, with its entry of the index. Chunks and counts are
 * left to the caller. */
KV_CHECKED int apply_key_write(struct tx *tx, const struct apply_key *old, const struct record_key *record);
/* Remove what was loaded altogether, and count it out. */
KV_CHECKED int apply_key_remove(struct tx *tx, const struct apply_place *place, const struct apply_key *old);

/* Does what is there go with what was seen (kv_change.object)? Where a change has no `seen`, always.
 * A put that does not `replace` would go into a key with these attributes; it needs no `seen`. */
bool apply_may_put(const struct kv_change *change, const struct kv_attr *there);
/* The attributes of a key would be changed. */
bool apply_may_edit(const struct kv_change *change, const struct apply_key *there);
/* A key or node in this directory would be deleted, moved away or replaced: `there` are its attributes, NULL where
 * there is none; `object` was seen in its place. */
bool apply_may_remove(const struct kv_change *change, const struct tx_node *dir, const struct kv_attr *there,
                      const struct kv_attr *object);

/* May an account with so many bytes grow by this much? Counts that are damaged do not wrap around. */
static inline bool apply_quota_allows(uint64_t bytes, int64_t growth, uint64_t limit)
{
    return growth <= 0 || (bytes <= limit && (uint64_t)growth <= limit - bytes);
}

#endif
