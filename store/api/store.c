#include "store/api/store.h"

#include "store/base/value.h"
#include "store/check/check.h"
#include "store/lmdb/lmdb.h"
#include "store/rules/tx.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERIFY_TEXT 256
#define BEGINS_MAX 100 /* of a verification that commits of others overtake */

static int64_t clock_ns(clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* A time to live goes on in suspend, so that what is served afterwards is no older than it may be. */
static int64_t system_mono_ns(void *arg)
{
    (void)arg;
    return clock_ns(CLOCK_BOOTTIME);
}

static int64_t system_real_ns(void *arg)
{
    (void)arg;
    return clock_ns(CLOCK_REALTIME);
}

struct kv_options kv_options_default(void)
{
    size_t memory_bytes = value_budget(0);

    return (struct kv_options){
        .create = true,
        .cache_ttl_ms = 60 * 1000,
        .cache_bytes = memory_bytes / 2,
        .memory_bytes = memory_bytes,
        .durability = KV_DURABILITY_CLOSE,
        .commit_interval_ms = 100,
        .commit_timeout_ms = 30 * 1000,
        .umask = 022,
    };
}

__attribute__((format(printf, 3, 4))) static int fail(struct kv_error *error, int rc, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    return rc;
}

static int open_engine(const char *dir, const struct kv_options *options, struct engine **out,
                       struct kv_error *error)
{
    if (options->engine != NULL) {
        *out = options->engine;
        return 0;
    }
    return engine_lmdb_open(dir,
                            &(struct lmdb_options){.create = options->create,
                                                   .read_only = options->read_only,
                                                   .foreign = options->foreign_store,
                                                   .copied = options->copied,
                                                   .map_bytes = options->map_bytes},
                            out, error);
}

static int check_format(struct kv_store *store, const char *dir, const struct kv_options *options,
                        struct kv_error *error)
{
    uint32_t version = 0;
    int rc = tx_format(store->engine, store->clock.real_ns(store->clock.arg),
                       options->create && !options->read_only, store->commit_timeout_ns, &version);

    if (rc == -EPROTONOSUPPORT)
        return fail(error, rc, "%s: the store has format %u, %s", dir, version, tx_format_advice(version));
    if (rc < 0)
        return fail(error, rc, "%s: this is not a kvfs store, or it is damaged (%s); give another directory", dir,
                    strerror(-rc));
    return 0;
}

static void keep_first(void *arg, const char *what)
{
    char *first = arg;

    if (first[0] == '\0')
        snprintf(first, VERIFY_TEXT, "%s", what);
}

/* A writer on damaged pages would damage more of them, and a reader be led past what is there. */
static int verify(struct kv_store *store, const char *dir, const struct kv_options *options,
                  struct kv_error *error)
{
    char first[VERIFY_TEXT] = "";
    struct engine_txn *txn;
    int rc = store->engine->ops->verify != NULL ? -EAGAIN : 0;

    for (int begins = 0; rc == -EAGAIN && begins < BEGINS_MAX; begins++) {
        rc = store->engine->ops->begin(store->engine, false, &txn);
        if (rc < 0)
            return fail(error, rc, "%s: cannot read the store: %s", dir, strerror(-rc));
        rc = txn->ops->verify(txn, options->verify_pages, keep_first, first);
        txn->ops->abort(txn);
    }
    if (rc == -EAGAIN)
        rc = -ETIMEDOUT;
    if (rc < 0 && rc != -E2BIG)
        return fail(error, rc, "%s: cannot verify the store: %s", dir, strerror(-rc));
    store->engine->damaged = first[0] != '\0';
    if (store->engine->damaged && !options->read_only)
        return fail(
            error, -EIO,
            "%s: %s; restore the store from a copy, or save with a read-only mount (-o ro) what can be read", dir,
            first);
    return 0;
}

/* What is only cached must not push what is being written out to files. */
static size_t cache_bytes(const struct kv_options *options)
{
    size_t most = value_budget(options->memory_bytes) / 2;

    return options->cache_bytes < most ? options->cache_bytes : most;
}

static int start(struct kv_store *store, const char *dir, const struct kv_options *options, struct kv_error *error)
{
    int rc = cache_new(cache_bytes(options), store->ttl_ns, &store->clock, &store->cache);

    const struct commit_options commit = {options->durability, options->commit_interval_ms * 1000000,
                                          store->commit_timeout_ns, store_settled, store};

    /* Before there are changes: what this process writes into the cache may be overwritten by others at once. */
    if (rc == 0)
        store_follow(store, options->invalidate == KV_INVALIDATE_PUSH && options->cache_ttl_ms > 0);
    if (rc == 0 && !options->read_only)
        rc = commit_queue_new(store->engine, &store->clock, &store->stats, &commit, &store->queue);
    return rc == 0 ? 0 : fail(error, rc, "%s: cannot open the store: %s", dir, strerror(-rc));
}

static int end_open(struct kv_store *store, const struct kv_options *options, int rc)
{
    if (options->engine != NULL)
        store->engine = NULL; /* still the caller's */
    kv_close(store);
    return rc;
}

int kv_open(const char *dir, const struct kv_options *options, struct kv_store **out, struct kv_error *error)
{
    struct kv_store *store = calloc(1, sizeof(*store));
    int rc;

    if (store == NULL)
        return fail(error, -ENOMEM, "%s: out of memory", dir);
    store->clock =
        options->clock != NULL ? *options->clock : (struct kv_clock){system_mono_ns, system_real_ns, NULL};
    store->ttl_ns = options->cache_ttl_ms * 1000000;
    store->commit_timeout_ns = options->commit_timeout_ms * 1000000;
    lease_init(&store->lease);
    pthread_mutex_init(&store->lines.lock, NULL);
    pthread_mutex_init(&store->follow.lock, NULL);
    store->umask = options->umask;
    rc = open_engine(dir, options, &store->engine, error);
    if (rc < 0) {
        free(store);
        return rc;
    }
    rc = locks_init(&store->locks, options->engine == NULL ? dir : NULL);
    if (rc < 0)
        return end_open(store, options, fail(error, rc, "%s: cannot open the directory: %s", dir, strerror(-rc)));
    value_configure(options->read_only || options->engine != NULL ? NULL : dir, options->memory_bytes);
    rc = check_format(store, dir, options, error);
    if (rc == 0 && options->verify_pages > 0)
        rc = verify(store, dir, options, error);
    if (rc == 0)
        rc = start(store, dir, options, error);
    if (rc < 0)
        return end_open(store, options, rc);
    *out = store;
    return 0;
}

void kv_close(struct kv_store *store)
{
    if (store->queue != NULL)
        commit_queue_free(store->queue);
    if (store->cache != NULL)
        cache_free(store->cache);
    if (store->engine != NULL)
        store->engine->ops->close(store->engine);
    lease_destroy(&store->lease);
    locks_destroy(&store->locks);
    store_forget_homes(store);
    pthread_mutex_destroy(&store->lines.lock);
    pthread_mutex_destroy(&store->follow.lock);
    free(store);
}

pid_t kv_writer_pid(struct kv_store *store) { return engine_writer(store->engine); }

void kv_stats(struct kv_store *store, struct kv_stats *out)
{
    struct cache_stats cache;

    *out = (struct kv_stats){0};
    stats_snapshot(&store->stats, out);
    cache_stats(store->cache, &cache);
    out->cache_hits = cache.hits;
    out->cache_misses = cache.misses;
    out->cache_expired = cache.expired;
    out->cache_evictions = cache.evictions;
    out->cache_bytes = cache.bytes;
    out->cache_entries = cache.entries;
    value_usage(&out->value_bytes, &out->spilled_bytes);
    store->engine->ops->usage(store->engine, &out->disk_bytes, &out->map_bytes);
}

int kv_check(struct kv_store *store, const struct kv_check_options *options, struct kv_check_report *report)
{
    struct check_means means = {&store->clock, store->commit_timeout_ns};

    return options->repair && store->queue == NULL ? -EROFS : check_engine(store->engine, &means, options, report);
}
