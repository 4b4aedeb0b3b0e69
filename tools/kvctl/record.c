#include "tools/kvctl/record.h"

#include <errno.h>

/* So often is a key read again that was put meanwhile. */
enum { RECORD_TRIES = 100 };

int record_fetch(struct kv_store *store, const struct kv_ref *ref, struct kv_meta *meta, struct kv_value **value,
                 struct kv_xattrs *metadata)
{
    struct kv_meta again;
    int rc = 0;

    for (int i = 0; i < RECORD_TRIES; i++) {
        rc = value != NULL ? kv_get(store, ref, meta, value, NULL) : kv_stat(store, ref, meta, NULL);
        if (metadata != NULL)
            metadata->size = 0;
        if (rc < 0 || metadata == NULL || !meta->has_xattrs)
            return rc;
        rc = kv_xattrs_get(store, ref, metadata);
        if (rc == 0)
            rc = kv_stat(store, ref, &again, NULL);
        if (rc == 0 && again.version == meta->version)
            return 0;
        if (value != NULL)
            kv_value_unref(*value);
        if (rc < 0 && rc != -ENOENT)
            return rc;
    }
    return rc < 0 ? rc : -ECANCELED;
}

json_t *record_make(const struct ctl_path *path, unsigned parts, const struct kv_meta *meta,
                    const struct kv_value *value, const struct kv_xattrs *metadata)
{
    json_t *object = parts & RECORD_PATH ? json_pack("{s:s, s:s, s:s}", "account", path->account, "namespace",
                                                     path->second, "key", path->key)
                                         : json_pack("{s:s}", "key", path->key);
    int rc = object != NULL ? 0 : -1;

    if (rc == 0 && parts & RECORD_VERSION)
        rc = json_object_set_new(object, "version", json_integer((json_int_t)meta->version)) |
             json_object_set_new(object, "size", json_integer((json_int_t)meta->size));
    if (rc == 0 && parts & (RECORD_VERSION | RECORD_METADATA) && meta->expires_ns != 0)
        rc = json_object_set_new(object, "expires", ctl_json_expiry(meta->expires_ns));
    if (rc == 0 && value != NULL)
        rc = ctl_json_value(object, value->data, value->size);
    if (rc == 0 && metadata != NULL)
        rc = ctl_json_metadata(object, metadata);
    if (rc == 0)
        return object;
    json_decref(object);
    return NULL;
}

int record_read(struct ctl_request *request, unsigned parts, json_t **out, uint64_t *size)
{
    bool with_value = parts & RECORD_VALUE, with_metadata = parts & RECORD_METADATA;
    struct kv_ref ref = ctl_key(request);
    struct kv_meta meta = {.size = 0};
    struct kv_value *value = NULL;
    struct kv_xattrs metadata;
    json_t *object;
    int rc = 0;

    if (with_value || with_metadata || parts & RECORD_VERSION)
        rc = record_fetch(request->store, &ref, &meta, with_value ? &value : NULL,
                          with_metadata ? &metadata : NULL);
    if (rc < 0)
        return rc;
    object = record_make(&request->path, parts, &meta, value, with_metadata ? &metadata : NULL);
    kv_value_unref(value);
    if (object == NULL)
        return -ENOMEM;
    if (size != NULL)
        *size = meta.size;
    *out = object;
    return 0;
}
