/* Keys whose records are damaged: they can be removed and replaced, although nothing is known of them.
 *
 * What such a key was charged with is not known any more. So its namespace is counted anew, as record_count_key() says,
 * and what its counts lose is the difference to what they were. The account's and the root's lose the same. */
#include "store/rules/apply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct recount {
    uint64_t namespace_id;
    uint64_t keys, bytes;
    bool drop; /* note the damaged ones */
    struct name *names;
    size_t names_count, names_room;
};

static int damaged_note(struct recount *recount, struct slice name)
{
    struct name *to;

    if (recount->names_count == recount->names_room) {
        size_t room = recount->names_room == 0 ? 16 : 2 * recount->names_room;
        struct name *grown = reallocarray(recount->names, room, sizeof(*grown));

        if (grown == NULL)
            return -ENOMEM;
        recount->names = grown;
        recount->names_room = room;
    }
    to = &recount->names[recount->names_count++];
    to->size = name.size;
    memcpy(to->data, name.data, name.size);
    return 0;
}

static int damaged_visit(void *arg, struct slice name, struct slice value)
{
    struct recount *recount = arg;
    struct record_key record;
    uint64_t charge;
    int rc;

    if (name.size < 8 || name_get_u64(name.data) != recount->namespace_id)
        return 1;
    rc = record_count_key(name, value, &record, &charge);
    recount->keys += name.size > 8; /* what has no name at all is no key */
    recount->bytes += charge;
    return rc < 0 && recount->drop ? damaged_note(recount, name) : 0;
}

static int damaged_recount(struct tx *tx, const struct tx_node *namespace, struct recount *recount)
{
    const uint64_t most = KV_LIMIT_MAX / 4; /* so that what is added and subtracted behind it does not overflow */
    struct name from;
    int rc;

    if (namespace->node.keys > most || namespace->node.bytes > most)
        return -EIO;
    name_of_node(recount->namespace_id, &from);
    rc = tx_scan(tx, ENGINE_KEYS, &from, damaged_visit, recount);
    return rc > 0 ? 0 : rc;
}

int apply_key_damaged(struct tx *tx, uint64_t namespace_id, struct apply_key *out)
{
    struct recount recount = {.namespace_id = namespace_id};
    struct tx_node *namespace;
    int rc = tx_node_of_kind(tx, namespace_id, KV_NAMESPACE, &namespace);

    if (rc == 0)
        rc = damaged_recount(tx, namespace, &recount);
    if (rc < 0)
        return rc;
    out->damaged = true;
    out->keys = (int64_t)(namespace->node.keys - (recount.keys - 1));
    out->charge = (int64_t)(namespace->node.bytes - recount.bytes);
    return 0;
}

static int damaged_drop(struct tx *tx, const struct recount *recount)
{
    for (size_t i = 0; i < recount->names_count; i++) {
        int rc = tx_del(tx, ENGINE_KEYS, &recount->names[i]);

        if (rc < 0)
            return rc;
    }
    return 0;
}

int apply_drop_damaged(struct tx *tx, struct kv_change *change)
{
    struct recount recount = {.namespace_id = change->node.id, .drop = true};
    struct apply_place place;
    int rc = apply_place_of(tx, change->node.id, &place);

    if (rc == 0)
        rc = damaged_recount(tx, place.namespace, &recount);
    if (rc == 0)
        rc = damaged_drop(tx, &recount);
    for (size_t i = 0; i < recount.names_count; i++)
        recount.keys -= recount.names[i].size > 8;
    if (rc == 0)
        rc = apply_count(tx, &place, (int64_t)(recount.keys - place.namespace->node.keys),
                         (int64_t)(recount.bytes - place.namespace->node.bytes));
    free(recount.names);
    if (rc < 0)
        return rc;
    if (recount.names_count > 0)
        tx_node_touch(tx, place.namespace);
    change->dropped = recount.names_count;
    change->node = place.namespace->node;
    return 0;
}
