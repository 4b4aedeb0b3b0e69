/* What targets fill a store with before they begin: changes that are applied without a committer's thread. */
#ifndef KVFS_TESTS_FUZZ_BASE_H
#define KVFS_TESTS_FUZZ_BASE_H

#include "store/rules/tx.h"

#include "tests/support/engines.h"

/* A new memory engine with the format, and a transaction to fill it with, to be ended by fuzz_base_end(). */
struct tx *fuzz_base_begin(struct engine **engine);
void fuzz_base_end(struct tx *tx);

/* Make a node. returns its id; an account's PROJECTS node has the next one */
uint64_t fuzz_base_node(struct tx *tx, enum kv_node_kind kind, uint64_t parent, const char *name, uint64_t target);
/* Put a key. xattrs may be NULL. returns the checksum of the value */
uint64_t fuzz_base_key(struct tx *tx, uint64_t namespace_id, const char *key, const void *bytes, size_t size,
                       const struct kv_xattrs *xattrs);

#endif
