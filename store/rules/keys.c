#include "store/rules/apply.h"

#include <errno.h>
#include <string.h>

int apply_place_of(struct tx *tx, uint64_t namespace_id, struct apply_place *out)
{
    struct apply_place place;
    int rc = tx_node_of_kind(tx, namespace_id, KV_NAMESPACE, &place.namespace);

    if (rc < 0)
        return rc;
    rc = tx_node_of_kind(tx, place.namespace->node.parent, KV_ACCOUNT, &place.account);
    if (rc == 0)
        rc = tx_node_of_kind(tx, KV_ROOT_ID, KV_ROOT, &place.root);
    if (rc < 0)
        return rc == -ENOENT ? -EIO : rc;
    *out = place;
    return 0;
}

int apply_count(struct tx *tx, const struct apply_place *place, int64_t keys, int64_t bytes)
{
    struct tx_node *slots[] = {place->namespace, place->account, place->root};

    for (size_t i = 0; i < sizeof(slots) / sizeof(slots[0]); i++) {
        struct kv_node *node = &slots[i]->node;

        if ((keys < 0 && node->keys < (uint64_t)-keys) || (bytes < 0 && node->bytes < (uint64_t)-bytes))
            return tx_damaged(tx);
    }
    for (size_t i = 0; i < sizeof(slots) / sizeof(slots[0]); i++) {
        slots[i]->node.keys += (uint64_t)keys;
        slots[i]->node.bytes += (uint64_t)bytes;
        slots[i]->dirty = true;
    }
    return 0;
}

int apply_check_quota(const struct apply_place *place, bool one_more, int64_t growth)
{
    const struct kv_node *account = &place->account->node;

    if (one_more && account->limit_keys != 0 && account->keys >= account->limit_keys)
        return -EDQUOT;
    return apply_quota_allows(account->bytes, growth, account->limit_bytes) ? 0 : -EDQUOT;
}

int apply_key_load(struct tx *tx, const struct kv_ref *ref, struct apply_key *out)
{
    struct slice bytes;
    int rc = kv_name_check(KV_NAME_KEY, ref->key, ref->size);

    if (rc == 0)
        rc = name_of_key(ref->node, ref->key, ref->size, &out->name);
    if (rc < 0)
        return rc;
    out->damaged = out->expired = false;
    out->keys = out->charge = out->indexed_ns = 0;
    rc = tx_get(tx, ENGINE_KEYS, &out->name, &bytes);
    out->there = rc == 0;
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    if (bytes.size > sizeof(out->bytes.data))
        return apply_key_damaged(tx, ref->node, out);
    out->bytes.size = bytes.size;
    memcpy(out->bytes.data, bytes.data, bytes.size);
    if (record_decode_key(name_slice(&out->name), record_slice(&out->bytes), &out->record) < 0)
        return apply_key_damaged(tx, ref->node, out);
    out->expired = kv_expired(&out->record.meta, tx->now_ns);
    out->there = !out->expired;
    out->keys = 1;
    out->charge = (int64_t)record_charge(ref->size, &out->record);
    out->indexed_ns = out->record.meta.expires_ns;
    return 0;
}

int apply_key_write(struct tx *tx, const struct apply_key *old, const struct record_key *record)
{
    struct record_bytes bytes;
    int rc;

    record_encode_key(name_slice(&old->name), record, &bytes);
    rc = tx_put(tx, ENGINE_KEYS, &old->name, record_slice(&bytes));
    return rc == 0 ? apply_index(tx, &old->name, old->indexed_ns, record->meta.expires_ns) : rc;
}

static int drop_record(struct tx *tx, const struct apply_key *old)
{
    int rc = tx_del(tx, ENGINE_KEYS, &old->name);

    return rc == 0 ? apply_index(tx, &old->name, old->indexed_ns, 0) : rc;
}

static int write_chunks(struct tx *tx, const struct record_key *record, const struct kv_value *value)
{
    uint32_t chunks = record_chunks(value->size, record->cut);
    const uint8_t *at = value->data;

    for (uint32_t i = 0; i < chunks; i++) {
        size_t size = record_chunk_size(value->size, record->cut, i);
        struct name name;
        int rc;

        name_of_chunk(record->meta.version, i, &name);
        rc = tx_put(tx, ENGINE_CHUNKS, &name, slice_of(at, size));
        if (rc < 0)
            return rc;
        at += size;
    }
    return 0;
}

/* Those of a damaged key cannot be found: a repair finds that nobody has them. */
static int drop_chunks(struct tx *tx, const struct apply_key *key)
{
    const struct record_key *record = &key->record;
    bool known = (key->there || key->expired) && !key->damaged;
    uint32_t chunks = known ? record_chunks(record->meta.size, record->cut) : 0;

    for (uint32_t i = 0; i < chunks; i++) {
        struct name name;
        int rc;

        name_of_chunk(record->meta.version, i, &name);
        rc = tx_del(tx, ENGINE_CHUNKS, &name);
        if (rc < 0 && rc != -ENOENT) /* a value that lost a chunk can still be replaced and deleted */
            return rc;
    }
    return 0;
}

/* Choose the longest chunks that there is room for. returns 0; -ENOSPC */
static int choose_cut(struct tx *tx, size_t size, uint8_t *out)
{
    int rc = -ENOSPC;

    for (uint8_t cut = 0; rc == -ENOSPC && cut < (size <= RECORD_INLINE_MAX ? 1 : RECORD_CUTS); cut++) {
        size_t most = record_chunk_most(cut);

        rc = tx_room(tx, size, size < most ? size : most);
        *out = cut;
    }
    return rc;
}

static int check_condition(const struct kv_change *change, const struct apply_key *old)
{
    bool readable = old->there && !old->damaged;

    if (!change->conditional)
        return 0;
    if (change->if_version != 0)
        return readable && old->record.meta.version == change->if_version ? 0 : -ECANCELED;
    if (!old->there || (readable && change->attr.ino != 0 && old->record.meta.attr.ino == change->attr.ino))
        return 0;
    return -EEXIST;
}

/* May the key be deleted, moved away or replaced? returns 0; -ESTALE; -EIO that depends on what cannot be read */
static int check_remove(const struct kv_change *change, const struct tx_node *namespace,
                        const struct apply_key *key, const struct kv_attr *object)
{
    static const struct kv_attr nobody;

    if (key->damaged) /* where anything may be removed, this may be, too */
        return apply_may_remove(change, namespace, &nobody, NULL) ? 0 : -EIO;
    return apply_may_remove(change, namespace, key->there ? &key->record.meta.attr : NULL, object) ? 0 : -ESTALE;
}

static int check_put(const struct kv_change *change, const struct tx_node *namespace, const struct apply_key *old)
{
    if (change->replace)
        return check_remove(change, namespace, old, change->to_object);
    if (old->damaged)
        return change->seen_count == 0 && change->object == NULL ? 0 : -EIO;
    return !old->there || apply_may_put(change, &old->record.meta.attr) ? 0 : -ESTALE;
}

/* What a put makes of the key; its inode number may be missing, and version and cut are. */
static struct record_key put_record(const struct kv_change *change, const struct apply_key *old)
{
    const struct kv_value *value = change->value;
    struct record_key record = {.meta = {.attr = change->attr}};

    record.meta.attr.mode &= 07777;
    if (old->there && !old->damaged && !change->replace) {
        record = old->record;
        kv_attr_set(&record.meta.attr, &change->attr, change->attr_mask | KV_MTIME | KV_CTIME);
    }
    if (change->xattrs != NULL)
        record.xattrs = slice_of(change->xattrs->data, change->xattrs->size);
    record.meta.has_xattrs = record.xattrs.size > 0;
    if (change->expiry == KV_EXPIRY_SET)
        record.meta.expires_ns = change->expires_ns;
    record.meta.size = value->size;
    record.checksum = change->checksum;
    record.inlined = slice_of(value->data, value->size <= RECORD_INLINE_MAX ? value->size : 0);
    return record;
}

static int write_put(struct tx *tx, const struct kv_change *change, const struct apply_key *old,
                     const struct record_key *record)
{
    int rc = drop_chunks(tx, old);

    if (rc == 0)
        rc = write_chunks(tx, record, change->value);
    return rc == 0 ? apply_key_write(tx, old, record) : rc;
}

int apply_put(struct tx *tx, struct kv_change *change)
{
    const struct kv_value *value = change->value;
    struct apply_place place;
    struct record_key record;
    struct apply_key old;
    int64_t delta;
    uint8_t cut = 0;
    int rc;

    if (value->size > KV_VALUE_MAX)
        return -EFBIG;
    if (change->expiry == KV_EXPIRY_SET && change->expires_ns < 0)
        return -EINVAL;
    rc = apply_place_of(tx, change->ref.node, &place);
    if (rc == 0)
        rc = apply_key_load(tx, &change->ref, &old);
    if (rc == 0)
        rc = check_condition(change, &old);
    if (rc == 0)
        rc = check_put(change, place.namespace, &old);
    if (rc < 0)
        return rc;
    record = put_record(change, &old);
    delta = (int64_t)record_charge(change->ref.size, &record) - old.charge;
    rc = apply_check_quota(&place, !old.there && !old.expired, delta);
    if (rc == 0)
        rc = choose_cut(tx, value->size, &cut);
    if (rc < 0)
        return rc;

    if (record.meta.attr.ino == 0)
        record.meta.attr.ino = tx_new_id(tx);
    record.meta.version = tx_new_id(tx);
    record.cut = cut;
    rc = write_put(tx, change, &old, &record);
    if (rc == 0)
        rc = apply_count(tx, &place, 1 - old.keys, delta);
    if (rc < 0)
        return rc;
    if (!old.there)
        tx_node_touch(tx, place.namespace);
    change->meta = record.meta;
    return 0;
}

int apply_key_remove(struct tx *tx, const struct apply_place *place, const struct apply_key *old)
{
    int rc = drop_record(tx, old);

    if (rc == 0)
        rc = drop_chunks(tx, old);
    if (rc == 0)
        rc = apply_count(tx, place, -old->keys, -old->charge);
    if (rc < 0)
        return rc;
    tx_node_touch(tx, place->namespace);
    return 0;
}

int apply_delete(struct tx *tx, struct kv_change *change)
{
    struct apply_place place;
    struct apply_key old;
    int rc = apply_place_of(tx, change->ref.node, &place);

    if (rc == 0)
        rc = apply_key_load(tx, &change->ref, &old);
    if (rc == 0)
        rc = check_condition(change, &old);
    if (rc < 0)
        return rc;
    if (!old.there)
        return -ENOENT;
    rc = check_remove(change, place.namespace, &old, change->object);
    return rc == 0 ? apply_key_remove(tx, &place, &old) : rc;
}

int apply_check(struct tx *tx, struct kv_change *change)
{
    struct apply_place place;
    struct apply_key old;
    int rc = apply_place_of(tx, change->ref.node, &place);

    if (rc == 0)
        rc = apply_key_load(tx, &change->ref, &old);
    return rc == 0 ? check_condition(change, &old) : rc;
}

static int exchange_keys(struct tx *tx, struct kv_change *change, struct apply_key *from, struct apply_key *to,
                         const struct apply_place *from_place, const struct apply_place *to_place)
{
    int64_t grown = (int64_t)record_charge(0, &to->record) - (int64_t)record_charge(0, &from->record);
    int rc;

    from->record.meta.attr.ctime_ns = to->record.meta.attr.ctime_ns = tx->now_ns;
    rc = apply_key_write(tx, from, &to->record);
    if (rc == 0)
        rc = apply_key_write(tx, to, &from->record);
    if (rc == 0)
        rc = apply_count(tx, from_place, 0, grown);
    if (rc == 0)
        rc = apply_count(tx, to_place, 0, -grown);
    if (rc == 0)
        change->meta = from->record.meta;
    return rc;
}

static int move_key(struct tx *tx, struct kv_change *change, struct apply_key *from, struct apply_key *to,
                    const struct apply_place *from_place, const struct apply_place *to_place)
{
    int64_t charge = (int64_t)record_charge(change->to.size, &from->record);
    int rc = apply_check_quota(from_place, false, charge - from->charge - to->charge);

    if (rc < 0)
        return rc;
    from->record.meta.attr.ctime_ns = tx->now_ns;
    rc = drop_record(tx, from);
    if (rc == 0)
        rc = drop_chunks(tx, to);
    if (rc == 0)
        rc = apply_key_write(tx, to, &from->record);
    if (rc == 0)
        rc = apply_count(tx, from_place, -from->keys, -from->charge);
    if (rc == 0)
        rc = apply_count(tx, to_place, 1 - to->keys, charge - to->charge);
    if (rc == 0)
        change->meta = from->record.meta;
    return rc;
}

static int check_rename(const struct kv_change *change, const struct apply_key *from, const struct apply_key *to,
                        const struct apply_place *from_place, const struct apply_place *to_place)
{
    int rc;

    if (!from->there || (!to->there && change->flags & KV_EXCHANGE))
        return -ENOENT;
    if (to->there && change->flags & KV_NOREPLACE)
        return -EEXIST;
    if (from->damaged || (to->damaged && change->flags & KV_EXCHANGE))
        return -EIO;
    rc = check_remove(change, from_place->namespace, from, change->object);
    return rc == 0 ? check_remove(change, to_place->namespace, to, change->to_object) : rc;
}

int apply_rename(struct tx *tx, struct kv_change *change)
{
    struct apply_place from_place, to_place;
    struct apply_key from, to;
    int rc = apply_place_of(tx, change->ref.node, &from_place);

    if (rc == 0)
        rc = apply_place_of(tx, change->to.node, &to_place);
    if (rc == 0 && from_place.account != to_place.account)
        rc = -EXDEV;
    if (rc == 0)
        rc = apply_key_load(tx, &change->ref, &from);
    if (rc == 0)
        rc = apply_key_load(tx, &change->to, &to);
    if (rc == 0)
        rc = check_rename(change, &from, &to, &from_place, &to_place);
    if (rc < 0)
        return rc;
    change->meta = from.record.meta;
    if (kv_ref_same(&change->ref, &change->to))
        return 0;

    rc = change->flags & KV_EXCHANGE ? exchange_keys(tx, change, &from, &to, &from_place, &to_place)
                                     : move_key(tx, change, &from, &to, &from_place, &to_place);
    if (rc < 0)
        return rc;
    tx_node_touch(tx, from_place.namespace);
    tx_node_touch(tx, to_place.namespace);
    return 0;
}
