/* What tests of several nodes have in common. */
#ifndef KVFS_TESTS_SUPPORT_NODES_H
#define KVFS_TESTS_SUPPORT_NODES_H

#include "store/kv.h"

/* A content is made from a number that no other content has, and carries a checksum. Most are small; some are larger
 * than what is kept in the record of a key. These two may be called on any thread: no memory ends the test. */
size_t test_content_size(uint64_t serial);
struct kv_value *test_content(uint64_t serial);
/* returns  the number that a whole content was made from; 0: it is not whole */
uint64_t test_content_serial(const struct kv_value *value);

/* New namespaces in a new account. */
void test_make_namespaces(struct kv_store *store, size_t count, uint64_t *ids);

#endif
