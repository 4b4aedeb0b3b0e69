#include "tests/support/central.h"

#include <stdatomic.h>
#include <stdlib.h>

struct test_central {
    struct engine *inner;
    atomic_uint refs;
};

struct share {
    struct engine base;
    struct test_central *central;
    test_moment_hook *hook;
    void *arg;
};

struct share_txn {
    struct engine_txn base;
    struct share *share;
    struct engine_txn *inner;
    bool write;
};

static struct share_txn *txn_of(struct engine_txn *txn) { return (struct share_txn *)txn; }

static void tell(const struct share *share, enum test_moment moment)
{
    if (share->hook != NULL)
        share->hook(share->arg, moment);
}

static int share_begin(struct engine *engine, bool write, struct engine_txn **out)
{
    struct share *share = (struct share *)engine;
    struct engine *inner = share->central->inner;
    struct share_txn *txn = malloc(sizeof(*txn));
    int rc;

    if (txn == NULL)
        abort();
    if (write)
        tell(share, TEST_WRITE_WANTED);
    rc = inner->ops->begin(inner, write, &txn->inner);
    if (rc < 0) {
        free(txn);
        return rc;
    }
    txn->base.ops = engine->ops;
    txn->share = share;
    txn->write = write;
    *out = &txn->base;
    if (!write)
        tell(share, TEST_READ_BEGUN);
    return 0;
}

static int share_commit(struct engine_txn *base)
{
    struct share_txn *txn = txn_of(base);
    struct share *share = txn->share;
    int rc = txn->inner->ops->commit(txn->inner);

    free(txn);
    if (rc == 0)
        tell(share, TEST_COMMITTED);
    return rc;
}

static void share_abort(struct engine_txn *base)
{
    struct share_txn *txn = txn_of(base);
    struct share *share = txn->share;
    bool write = txn->write;

    txn->inner->ops->abort(txn->inner);
    free(txn);
    if (!write)
        tell(share, TEST_READ_OVER);
}

static int share_get(struct engine_txn *base, enum engine_table table, struct slice key, struct slice *out)
{
    struct engine_txn *inner = txn_of(base)->inner;

    return inner->ops->get(inner, table, key, out);
}

static int share_scan(struct engine_txn *base, enum engine_table table, struct slice from, engine_visit *visit,
                      void *arg)
{
    struct engine_txn *inner = txn_of(base)->inner;

    return inner->ops->scan(inner, table, from, visit, arg);
}

static int share_put(struct engine_txn *base, enum engine_table table, struct slice key, struct slice value)
{
    struct engine_txn *inner = txn_of(base)->inner;

    return inner->ops->put(inner, table, key, value);
}

static int share_del(struct engine_txn *base, enum engine_table table, struct slice key)
{
    struct engine_txn *inner = txn_of(base)->inner;

    return inner->ops->del(inner, table, key);
}

static int share_room(struct engine_txn *base, uint64_t bytes, size_t part)
{
    struct engine_txn *inner = txn_of(base)->inner;

    return inner->ops->room(inner, bytes, part);
}

static int share_flush(struct engine *engine, int64_t wait_ns)
{
    struct share *share = (struct share *)engine;

    tell(share, TEST_FLUSH_WANTED);
    return engine_flush(share->central->inner, wait_ns);
}

static void share_usage(struct engine *engine, struct kv_storage *out)
{
    struct engine *inner = ((struct share *)engine)->central->inner;

    inner->ops->usage(inner, out);
}

static void share_close(struct engine *engine)
{
    test_central_unref(((struct share *)engine)->central);
    free(engine);
}

static const struct engine_ops share_ops = {
    .name = "share",
    .close = share_close,
    .begin = share_begin,
    .commit = share_commit,
    .abort = share_abort,
    .get = share_get,
    .scan = share_scan,
    .put = share_put,
    .del = share_del,
    .room = share_room,
    .flush = share_flush,
    .usage = share_usage,
};

struct test_central *test_central_new(struct engine *inner)
{
    struct test_central *central = malloc(sizeof(*central));

    if (central == NULL)
        abort();
    central->inner = inner;
    atomic_init(&central->refs, 1);
    return central;
}

void test_central_unref(struct test_central *central)
{
    if (atomic_fetch_sub(&central->refs, 1) > 1)
        return;
    central->inner->ops->close(central->inner);
    free(central);
}

struct engine *test_central_share(struct test_central *central, test_moment_hook *hook, void *arg)
{
    struct share *share = malloc(sizeof(*share));

    if (share == NULL)
        abort();
    *share = (struct share){.base = {.ops = &share_ops}, .central = central, .hook = hook, .arg = arg};
    atomic_fetch_add(&central->refs, 1);
    return &share->base;
}
