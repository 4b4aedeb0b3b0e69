/* What the tests of the engines share: records as text, transactions that must succeed, a directory. */
#ifndef KVFS_TESTS_STORE_ENGINE_TEST_H
#define KVFS_TESTS_STORE_ENGINE_TEST_H

#include "tests/support/engines.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static inline struct slice text(const char *string) { return slice_of(string, strlen(string)); }

static inline struct engine_txn *begin(struct engine *engine, bool write)
{
    struct engine_txn *txn;

    assert_int_equal(engine->ops->begin(engine, write, &txn), 0);
    return txn;
}

static inline void commit(struct engine_txn *txn) { assert_int_equal(txn->ops->commit(txn), 0); }

static inline int put(struct engine_txn *txn, enum engine_table table, const char *key, const char *value)
{
    return txn->ops->put(txn, table, text(key), text(value));
}

static inline int del(struct engine_txn *txn, enum engine_table table, const char *key)
{
    return txn->ops->del(txn, table, text(key));
}

static inline int get(struct engine_txn *txn, enum engine_table table, const char *key, struct slice *out)
{
    return txn->ops->get(txn, table, text(key), out);
}

static inline void assert_slice(struct slice is, struct slice should)
{
    assert_int_equal(is.size, should.size);
    if (is.size > 0)
        assert_memory_equal(is.data, should.data, is.size);
}

/* value NULL: the key must not be there. */
static inline void assert_record(struct engine_txn *txn, enum engine_table table, const char *key,
                                 const char *value)
{
    struct slice is;

    assert_int_equal(get(txn, table, key, &is), value == NULL ? -ENOENT : 0);
    if (value != NULL)
        assert_slice(is, text(value));
}

/* In a transaction of its own. */
static inline void put_and_commit(struct engine *engine, enum engine_table table, const char *key,
                                  const char *value)
{
    struct engine_txn *txn = begin(engine, true);

    assert_int_equal(put(txn, table, key, value), 0);
    commit(txn);
}

static inline void assert_committed(struct engine *engine, enum engine_table table, const char *key,
                                    const char *value)
{
    struct engine_txn *txn = begin(engine, false);

    assert_record(txn, table, key, value);
    txn->ops->abort(txn);
}

/* A fresh directory below $TMPDIR. */
static inline void make_directory(char *path, size_t size)
{
    const char *above = getenv("TMPDIR");

    assert_true(snprintf(path, size, "%s/kvfs-test-engine-XXXXXX", above != NULL ? above : "/tmp") < (int)size);
    assert_non_null(mkdtemp(path));
}

/* Remove a store's directory with its files; what is not there is no error. */
static inline void remove_store(const char *path)
{
    static const char *const names[] = {"data.mdb", "lock.mdb", "data.mdb.new", "writer", "log"};
    char file[512];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_true(snprintf(file, sizeof(file), "%s/%s", path, names[i]) < (int)sizeof(file));
        unlink(file);
    }
    rmdir(path);
}

#endif
