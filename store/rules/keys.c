#include "store/rules/apply.h"

#include <errno.h>
#include <string.h>

/* A namespace with the nodes whose counts include it. */
struct place {
    struct tx_node *namespace, *account, *root;
};

static int place_of(struct tx *tx, uint64_t namespace_id, struct place *out)
{
    struct place place;
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

/* Change the counts of a place. An underflow means that they were wrong before. */
static int count(struct tx *tx, struct place place, int64_t keys, int64_t bytes)
{
    struct tx_node *slots[] = {place.namespace, place.account, place.root};

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

int apply_key_load(struct tx *tx, const struct kv_ref *ref, struct apply_key *out)
{
    struct slice bytes;
    int rc = kv_name_check(KV_NAME_KEY, ref->key, ref->size);

    if (rc == 0)
        rc = name_of_key(ref->node, ref->key, ref->size, &out->name);
    if (rc < 0)
        return rc;
    out->charge = 0;
    rc = tx_get(tx, ENGINE_KEYS, &out->name, &bytes);
    out->there = rc == 0;
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    if (bytes.size > sizeof(out->bytes.data))
        return -EIO;
    out->bytes.size = bytes.size;
    memcpy(out->bytes.data, bytes.data, bytes.size);
    rc = record_decode_key(slice_of(out->bytes.data, out->bytes.size), &out->record);
    if (rc == 0)
        out->charge = ref->size + out->record.meta.size;
    return rc;
}

int apply_key_write(struct tx *tx, const struct name *name, const struct record_key *record)
{
    struct record_bytes bytes;

    record_encode_key(record, &bytes);
    return tx_put(tx, ENGINE_KEYS, name, slice_of(bytes.data, bytes.size));
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

static int drop_chunks(struct tx *tx, const struct record_key *record)
{
    uint32_t chunks = record_chunks(record->meta.size, record->cut);

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
    if (!change->conditional)
        return 0;
    if (change->if_version == 0)
        return old->there && (change->attr.ino == 0 || old->record.meta.attr.ino != change->attr.ino) ? -EEXIST
                                                                                                      : 0;
    return old->there && old->record.meta.version == change->if_version ? 0 : -ECANCELED;
}

/* May the account grow by this many bytes? */
static int check_quota(const struct place *place, int64_t delta)
{
    const struct kv_node *account = &place->account->node;

    return apply_quota_allows(account->bytes, delta, account->limit_bytes) ? 0 : -EDQUOT;
}

static const struct kv_attr *key_attr(const struct apply_key *key)
{
    return key->there ? &key->record.meta.attr : NULL;
}

static bool may_put(const struct kv_change *change, const struct tx_node *namespace, const struct apply_key *old)
{
    if (change->replace)
        return apply_may_remove(change, namespace, key_attr(old), change->to_object);
    return !old->there || apply_may_put(change, &old->record.meta.attr);
}

int apply_put(struct tx *tx, struct kv_change *change)
{
    const struct kv_value *value = change->value;
    struct record_key record;
    struct apply_key old;
    struct place place;
    int64_t delta;
    uint8_t cut;
    int rc;

    if (value->size > KV_VALUE_MAX)
        return -EFBIG;
    rc = place_of(tx, change->ref.node, &place);
    if (rc == 0)
        rc = apply_key_load(tx, &change->ref, &old);
    if (rc == 0)
        rc = check_condition(change, &old);
    if (rc == 0 && !may_put(change, place.namespace, &old))
        rc = -ESTALE;
    if (rc < 0)
        return rc;
    delta = (int64_t)(change->ref.size + value->size) - (int64_t)old.charge;
    rc = check_quota(&place, delta);
    if (rc == 0)
        rc = choose_cut(tx, value->size, &cut);
    if (rc < 0)
        return rc;

    record = (struct record_key){.meta = {.attr = change->attr}};
    record.meta.attr.mode &= 07777;
    if (old.there && !change->replace) {
        record = old.record;
        kv_attr_set(&record.meta.attr, &change->attr, change->attr_mask | KV_MTIME | KV_CTIME);
    } else if (record.meta.attr.ino == 0) {
        record.meta.attr.ino = tx_new_id(tx);
    }
    if (change->xattrs != NULL)
        record.xattrs = slice_of(change->xattrs->data, change->xattrs->size);
    record.meta.has_xattrs = record.xattrs.size > 0;
    record.meta.version = tx_new_id(tx);
    record.meta.size = value->size;
    record.checksum = change->checksum;
    record.cut = cut;
    record.inlined = slice_of(value->data, value->size <= RECORD_INLINE_MAX ? value->size : 0);

    if (old.there)
        rc = drop_chunks(tx, &old.record);
    if (rc == 0)
        rc = write_chunks(tx, &record, value);
    if (rc == 0)
        rc = apply_key_write(tx, &old.name, &record);
    if (rc == 0)
        rc = count(tx, place, old.there ? 0 : 1, delta);
    if (rc < 0)
        return rc;
    if (!old.there)
        tx_node_touch(tx, place.namespace);
    change->meta = record.meta;
    return 0;
}

int apply_delete(struct tx *tx, struct kv_change *change)
{
    struct apply_key old;
    struct place place;
    int rc = place_of(tx, change->ref.node, &place);

    if (rc == 0)
        rc = apply_key_load(tx, &change->ref, &old);
    if (rc == 0)
        rc = check_condition(change, &old);
    if (rc < 0)
        return rc;
    if (!old.there)
        return -ENOENT;
    if (!apply_may_remove(change, place.namespace, key_attr(&old), change->object))
        return -ESTALE;

    rc = tx_del(tx, ENGINE_KEYS, &old.name);
    if (rc == 0)
        rc = drop_chunks(tx, &old.record);
    if (rc == 0)
        rc = count(tx, place, -1, -(int64_t)old.charge);
    if (rc < 0)
        return rc;
    tx_node_touch(tx, place.namespace);
    return 0;
}

static int exchange_keys(struct tx *tx, struct kv_change *change, struct apply_key *from, struct apply_key *to,
                         struct place from_place, struct place to_place)
{
    int64_t grown = (int64_t)to->record.meta.size - (int64_t)from->record.meta.size;
    int rc;

    from->record.meta.attr.ctime_ns = to->record.meta.attr.ctime_ns = tx->now_ns;
    rc = apply_key_write(tx, &from->name, &to->record);
    if (rc == 0)
        rc = apply_key_write(tx, &to->name, &from->record);
    if (rc == 0)
        rc = count(tx, from_place, 0, grown);
    if (rc == 0)
        rc = count(tx, to_place, 0, -grown);
    if (rc == 0)
        change->meta = from->record.meta;
    return rc;
}

static int move_key(struct tx *tx, struct kv_change *change, struct apply_key *from, struct apply_key *to,
                    struct place from_place, struct place to_place)
{
    uint64_t size = from->record.meta.size;
    int rc = check_quota(&from_place, (int64_t)(change->to.size + size) - (int64_t)(from->charge + to->charge));

    if (rc < 0)
        return rc;
    from->record.meta.attr.ctime_ns = tx->now_ns;
    rc = tx_del(tx, ENGINE_KEYS, &from->name);
    if (rc == 0 && to->there)
        rc = drop_chunks(tx, &to->record);
    if (rc == 0)
        rc = apply_key_write(tx, &to->name, &from->record);
    if (rc == 0)
        rc = count(tx, from_place, -1, -(int64_t)from->charge);
    if (rc == 0)
        rc = count(tx, to_place, to->there ? 0 : 1, (int64_t)(change->to.size + size) - (int64_t)to->charge);
    if (rc == 0)
        change->meta = from->record.meta;
    return rc;
}

int apply_rename(struct tx *tx, struct kv_change *change)
{
    struct place from_place, to_place;
    struct apply_key from, to;
    int rc = place_of(tx, change->ref.node, &from_place);

    if (rc == 0)
        rc = place_of(tx, change->to.node, &to_place);
    if (rc == 0 && from_place.account != to_place.account)
        rc = -EXDEV;
    if (rc == 0)
        rc = apply_key_load(tx, &change->ref, &from);
    if (rc == 0)
        rc = apply_key_load(tx, &change->to, &to);
    if (rc < 0)
        return rc;
    if (!from.there || (!to.there && change->flags & KV_EXCHANGE))
        return -ENOENT;
    if (to.there && change->flags & KV_NOREPLACE)
        return -EEXIST;
    if (!apply_may_remove(change, from_place.namespace, key_attr(&from), change->object) ||
        !apply_may_remove(change, to_place.namespace, key_attr(&to), change->to_object))
        return -ESTALE;
    change->meta = from.record.meta;
    if (kv_ref_same(&change->ref, &change->to))
        return 0;

    rc = change->flags & KV_EXCHANGE ? exchange_keys(tx, change, &from, &to, from_place, to_place)
                                     : move_key(tx, change, &from, &to, from_place, to_place);
    if (rc < 0)
        return rc;
    tx_node_touch(tx, from_place.namespace);
    tx_node_touch(tx, to_place.namespace);
    return 0;
}
