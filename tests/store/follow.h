/* Another process at work on a store, and this one, which follows it.
 *
 * The other one is a child, forked before this one opens the store, which does what it is told over a pipe. */
#ifndef KVFS_TESTS_STORE_FOLLOW_H
#define KVFS_TESTS_STORE_FOLLOW_H

#include "tests/store/engine_test.h"

#include <stdatomic.h>
#include <sys/types.h>

#define FOLLOW_PATIENCE_MS 20000

enum other_what {
    OTHER_OPEN = 1,
    OTHER_MAKE, /* an account, or a namespace */
    OTHER_PUT,
    OTHER_DELETE,
    OTHER_RENAME,
    OTHER_EXCHANGE, /* nodes */
    OTHER_ABORT,    /* a write transaction, where it has no store open */
    OTHER_FILL,     /* more than the log of a small store holds */
    OTHER_COUNT,    /* put the numbers up to `text` */
    /* A put in which it is killed, or stops, where LMDB writes the header of the commit: the log has the record by
     * then, and nobody sees it. It writes a byte when it has stopped, and goes on when it gets one. */
    OTHER_DIE_IN_COMMIT,
    OTHER_PAUSE_IN_COMMIT
};

struct other {
    pid_t pid;
    int to, from;
};

/* Both have the store open, and the other one has made account a and namespace a/n. */
struct follow {
    struct other other;
    struct kv_store *kv;
    uint64_t account, space;
    struct kv_feed feed; /* from here on */
    char told[4096];     /* by follow_told(): each change in words */
};

extern char follow_directory[256];      /* of the store */
extern _Atomic uint64_t *follow_shared; /* with the other process: the number up to which it has counted */

struct other other_start(void);
/* Let it do something; and wait until it has, which must have succeeded. returns the id of what was made */
void other_tell(struct other *other, enum other_what what, uint64_t node, const char *name, const char *text);
uint64_t other_await(struct other *other);
uint64_t other_does(struct other *other, enum other_what what, uint64_t node, const char *name, const char *text);
void other_end(struct other *other);

/* A small map, so that the log is a ring of 1 MiB. */
struct kv_options follow_options(bool read_only);
void follow_open(struct follow *follow, const struct kv_options *options);
struct follow follow_begin(void);
struct follow follow_begin_with(const struct kv_options *options);
void follow_end(struct follow *follow);

struct kv_ref other_ref(uint64_t namespace_id, const char *key);
int follow_put(struct kv_store *kv, uint64_t node, const char *key, const char *value);

/* Follow up to now: keys, and names of nodes, as words in follow->told. returns as kv_follow() */
int follow_told(struct follow *follow, bool own);
void follow_expect(struct follow *follow, bool own, const char *told);

/* For main(), and for each test. */
bool follow_share(void);
int follow_setup(void **state);
int follow_teardown(void **state);
#define TEST_FOLLOW(f) cmocka_unit_test_setup_teardown(f, follow_setup, follow_teardown)

#endif
