/* kvctl: a key with its value and metadata, and as JSON. */
#ifndef KVFS_TOOLS_KVCTL_RECORD_H
#define KVFS_TOOLS_KVCTL_RECORD_H

#include "tools/kvctl/common.h"

enum record_part {
    RECORD_PATH = 1,     /* account, namespace */
    RECORD_VALUE = 2,    /* value, or base64 */
    RECORD_METADATA = 4, /* metadata, metadata_base64; expires, where it does */
    RECORD_VERSION = 8,  /* version, size; the same */
};

/* Make an object of a key. What a part needs may be NULL where the part is not wanted; value and metadata are parts if
 * they are there.
 * returns  it; NULL: no memory */
json_t *record_make(const struct ctl_path *path, unsigned parts, const struct kv_meta *meta,
                    const struct kv_value *value, const struct kv_xattrs *metadata);

/* Read the path's key, and make an object of it.
 * size     of its value; may be NULL
 * returns  0 and *out, the caller's; -ENOENT; another error of the store; -ENOMEM */
KV_CHECKED int record_read(struct ctl_request *request, unsigned parts, json_t **out, uint64_t *size);

/* Read a key: its metadata belongs to the value.
 * value    NULL: not wanted; else the caller's
 * metadata NULL: not wanted
 * returns  0; -ENOENT; another error of the store; -ECANCELED somebody puts it all the time */
KV_CHECKED int record_fetch(struct kv_store *store, const struct kv_ref *ref, struct kv_meta *meta,
                            struct kv_value **value, struct kv_xattrs *metadata);

#endif
