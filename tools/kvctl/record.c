#include "tools/kvctl/record.h"

#include <errno.h>

/* Read the key as the parts need it. *value may become NULL. */
static int record_load(struct ctl_request *request, unsigned parts, struct kv_meta *meta, struct kv_value **value,
                       struct kv_xattrs *metadata)
{
    struct kv_ref ref = ctl_key(request);
    int rc = 0;

    *value = NULL;
    *meta = (struct kv_meta){.has_xattrs = false};
    metadata->size = 0;
    if (parts & RECORD_VALUE)
        rc = kv_get(request->store, &ref, meta, value, NULL);
    else if (parts & (RECORD_VERSION | RECORD_METADATA))
        rc = kv_stat(request->store, &ref, meta, NULL);
    if (rc == 0 && parts & RECORD_METADATA && meta->has_xattrs)
        rc = kv_xattrs_get(request->store, &ref, metadata);
    if (rc < 0) {
        kv_value_unref(*value);
        *value = NULL;
    }
    return rc;
}

int record_read(struct ctl_request *request, unsigned parts, json_t **out, uint64_t *size)
{
    const struct ctl_path *path = &request->path;
    struct kv_xattrs metadata;
    struct kv_value *value;
    struct kv_meta meta;
    json_t *object;
    int rc = record_load(request, parts, &meta, &value, &metadata);

    if (rc < 0)
        return rc;
    object = parts & RECORD_PATH ? json_pack("{s:s, s:s, s:s}", "account", path->account, "namespace",
                                             path->second, "key", path->key)
                                 : json_pack("{s:s}", "key", path->key);
    rc = object != NULL ? 0 : -1;
    if (rc == 0 && parts & RECORD_VERSION)
        rc = json_object_set_new(object, "version", json_integer((json_int_t)meta.version)) |
             json_object_set_new(object, "size", json_integer((json_int_t)meta.size));
    if (rc == 0 && value != NULL)
        rc = ctl_json_value(object, value->data, value->size);
    if (rc == 0)
        rc = ctl_json_metadata(object, &metadata);
    kv_value_unref(value);
    if (rc < 0) {
        json_decref(object);
        return -ENOMEM;
    }
    if (size != NULL)
        *size = meta.size;
    *out = object;
    return 0;
}
