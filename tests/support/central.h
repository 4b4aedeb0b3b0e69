/* One engine under several stores: the central of several nodes in one process.
 *
 * A store owns its engine, so each node gets a share: an engine of its own that passes every call on to
 * the one that all have in common, which is closed after its last share.
 *
 * A share tells its test about the moments at which other nodes, or other threads of the same node, can come in
 * between; what the test does within the call happens exactly there. No lock of the store or of the engine is
 * held then, except by those who called it: the reader of a key (others wait for its fetch) and the
 * node's committer thread.
 */
#ifndef KVFS_TESTS_SUPPORT_CENTRAL_H
#define KVFS_TESTS_SUPPORT_CENTRAL_H

#include "store/base/engine.h"

enum test_moment {
    TEST_READ_BEGUN,   /* the state that a read transaction sees is fixed; it has not read anything yet */
    TEST_READ_OVER,    /* the transaction has ended, and its reader is going to use what it read */
    TEST_WRITE_WANTED, /* the node's committer is going to begin a write transaction */
    TEST_COMMITTED,    /* the central has the changes, and their node has not been told yet */
    TEST_FLUSH_WANTED, /* the node is going to make durable what it has committed */
};

/* Called on the thread that makes the call: the reader's, the node's committer, or its flusher. */
typedef void test_moment_hook(void *arg, enum test_moment moment);

struct test_central;

/* `inner` is owned by the central. The caller has the first reference. */
struct test_central *test_central_new(struct engine *inner);
void test_central_unref(struct test_central *central);

/* An engine for one store. hook may be NULL. */
struct engine *test_central_share(struct test_central *central, test_moment_hook *hook, void *arg);

#endif
