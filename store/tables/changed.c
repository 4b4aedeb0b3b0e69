/* Following: what the records that a commit has changed mean. */
#include "store/tables/tables_internal.h"

#include "store/base/name.h"
#include "store/base/record.h"

#include <errno.h>
#include <string.h>

/* Which key is it that a record is kept under? returns 0; -EIO none */
static int changed_ref(struct slice key, struct kv_ref *out)
{
    char name[KV_KEY_MAX + 1];
    int size = name_split_key(key, name);

    if (size < 0)
        return size;
    *out = kv_ref_key(name_get_u64(key.data), name, (size_t)size);
    return 0;
}

static int changed_key(struct kv_changed *changed, struct slice key, const struct slice *value)
{
    struct record_key record;
    int rc = changed_ref(key, &changed->ref);

    if (rc < 0)
        return rc;
    changed->kind = KV_CHANGED_KEY;
    changed->known = value != NULL && value->size > 0 && record_decode_key(key, *value, &record) == 0;
    if (changed->known)
        changed->meta = record.meta;
    return 0;
}

static int changed_node(struct kv_changed *changed, struct slice key, const struct slice *value)
{
    struct record_node record;

    if (key.size != 8)
        return -EIO;
    changed->kind = KV_CHANGED_NODE;
    changed->ref = kv_ref_node(name_get_u64(key.data));
    changed->known = value != NULL && value->size > 0 && record_decode_node(key, *value, &record) == 0;
    if (changed->known)
        changed->node = record.node;
    return 0;
}

static int changed_name(struct kv_changed *changed, struct slice key, const struct slice *value)
{
    size_t size = key.size - 8;
    uint64_t id = 0;

    if (key.size < 8 || size > KV_NAME_MAX ||
        (value != NULL && record_decode_number(ENGINE_NAMES, key, *value, &id) < 0))
        return -EIO;
    changed->known = value != NULL;
    changed->node.id = id;
    changed->kind = KV_CHANGED_NAME;
    changed->ref = kv_ref_node(name_get_u64(key.data));
    memcpy(changed->node.name, (const char *)key.data + 8, size);
    changed->node.name[size] = '\0';
    return 0;
}

static int changed_tell(void *arg, const struct kv_feed *at, enum engine_table table, struct slice key,
                        const struct slice *value)
{
    const struct backend_follow *follow = arg;
    struct kv_changed changed = {.removed = value == NULL, .at = at};
    int rc;

    switch (table) {
    case ENGINE_KEYS:
        if (name_is_expiry(key))
            return 0;
        rc = changed_key(&changed, key, value);
        break;
    case ENGINE_NODES:
        rc = changed_node(&changed, key, value);
        break;
    case ENGINE_NAMES:
        rc = changed_name(&changed, key, value);
        break;
    default:
        return 0;
    }
    /* What is damaged has no name that anybody could know. */
    return rc < 0 ? 0 : follow->visit(follow->arg, &changed);
}

int tables_follow(struct engine *engine, struct backend_follow *follow)
{
    return engine->ops->follow(engine, follow->place, follow->own, changed_tell, follow);
}
