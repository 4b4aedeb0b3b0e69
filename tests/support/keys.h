/* Many keys at once. */
#ifndef KVFS_TESTS_SUPPORT_KEYS_H
#define KVFS_TESTS_SUPPORT_KEYS_H

#include "tests/support/mount.h"

/* Make account a, namespace n, and `count` keys k0000000... with the value "1" in the test's store, which nothing has
 * open: without a mount, many in one commit. */
void mount_make_keys(struct mount_test *test, size_t count);

#endif
