/* Reading the central: each call is one short read transaction of the engine.
 * Nothing here knows the edge cache. Errors: -ENOENT the central says no; -EIO damaged or unreadable;
 * -ENOMEM; outputs are untouched on failure. */
#ifndef KVFS_STORE_TABLES_READ_H
#define KVFS_STORE_TABLES_READ_H

#include "store/backend.h"
#include "store/base/engine.h"

/* A key's metadata and, where value is not NULL, its value with the checksum verified. The caller may know a value
 * already: *value, of version meta->version, or NULL. It stays where the version is still that one; else, and on
 * failure, it is given back, and *value is NULL. */
KV_CHECKED int read_key(struct engine *engine, const struct kv_ref *ref, struct kv_meta *meta,
                        struct kv_value **value);
/* As kv_check_seen(). */
KV_CHECKED int read_seen(struct engine *engine, const struct kv_seen *seen, size_t count, struct kv_usage *usage);
/* As kv_quota_check(). */
KV_CHECKED int read_quota(struct engine *engine, const struct backend_quota *quota);
KV_CHECKED int read_node(struct engine *engine, uint64_t id, struct kv_node *out);
KV_CHECKED int read_child(struct engine *engine, uint64_t parent, const char *name, size_t size,
                          struct kv_node *out);
/* meta  of a key; zeros of a node */
KV_CHECKED int read_xattrs(struct engine *engine, const struct kv_ref *ref, struct kv_xattrs *out,
                           struct kv_meta *meta);
/* When the first key expires, or has expired; 0: none does. */
KV_CHECKED int read_expiry(struct engine *engine, int64_t *out);
/* As kv_scan() and kv_node_scan(). */
KV_CHECKED int read_keys(struct engine *engine, uint64_t namespace_id, const char *from, size_t size, bool after,
                         kv_key_visit *visit, void *arg);
KV_CHECKED int read_children(struct engine *engine, uint64_t parent, const char *from, size_t size, bool after,
                             kv_node_visit *visit, void *arg);

#endif
