#include "store/api/store.h"

#include "store/base/clock.h"
#include "store/base/value.h"
#include "store/lmdb/lmdb.h"
#include "store/tables/tables.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIRECTORY_PATH 64

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

/* The one place that knows which kinds of central storage there are. */
static int open_backend(const char *dir, const struct kv_options *options, struct backend **out,
                        struct kv_error *error)
{
    struct engine *engine;
    int rc;

    if (options->backend != NULL) {
        *out = options->backend;
        return 0;
    }
    rc = engine_lmdb_open(dir,
                          &(struct lmdb_options){.create = options->create,
                                                 .read_only = options->read_only,
                                                 .foreign = options->foreign_store,
                                                 .copied = options->copied,
                                                 .map_bytes = options->map_bytes},
                          &engine, error);
    if (rc < 0)
        return rc;
    rc = backend_tables_new(engine, out);
    if (rc < 0)
        engine->ops->close(engine);
    return rc < 0 ? fail(error, rc, "%s: out of memory", dir) : 0;
}

static int check_format(struct kv_store *store, const char *dir, const struct kv_options *options,
                        struct kv_error *error)
{
    struct backend_format format = {.create = options->create && !options->read_only,
                                    .now_ns = store_real_ns(store)};
    int rc = backend_ask(store->backend, BACKEND_FORMAT, store->timeout_ns, &format.call);

    store->format = format.version;
    if (rc == -EPROTONOSUPPORT)
        return fail(error, rc, "%s: the store has format %u, %s", dir, format.version, format.advice);
    if (rc < 0)
        return fail(error, rc, "%s: this is not a kvfs store, or it is damaged (%s); give another directory", dir,
                    strerror(-rc));
    return 0;
}

/* A writer on damaged pages would damage more of them, and a reader be led past what is there. */
static int verify(struct kv_store *store, const char *dir, const struct kv_options *options,
                  struct kv_error *error)
{
    struct kv_error found;
    int rc = kv_look(store, options->verify_pages, &found);

    if (rc == 0 || (store->backend->damaged && options->read_only))
        return 0;
    return fail(error, rc, "%s: %.400s", dir, found.text);
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
                                          store->timeout_ns, store_settled, store};

    /* Before there are changes: what this process writes into the cache may be overwritten by others at once. */
    if (rc == 0)
        store_follow(store, options->invalidate == KV_INVALIDATE_PUSH && options->cache_ttl_ms > 0);
    if (rc == 0 && !options->read_only)
        rc = commit_queue_new(store->backend, &store->clock, &store->stats, &commit, &store->queue);
    if (rc == 0 && options->sweep && !options->read_only)
        rc = store_sweep_start(store);
    return rc == 0 ? 0 : fail(error, rc, "%s: cannot open the store: %s", dir, strerror(-rc));
}

/* The store's directory, by the backend's descriptor: a path may lead elsewhere by now. */
static const char *directory_path(struct kv_store *store, char out[DIRECTORY_PATH])
{
    int fd = store->backend->ops->directory(store->backend);

    snprintf(out, DIRECTORY_PATH, "/proc/self/fd/%d", fd);
    return fd >= 0 ? out : NULL;
}

/* What is kept there beside the store: locks, and values that memory has no room for. */
static void use_directory(struct kv_store *store, const struct kv_options *options)
{
    char path[DIRECTORY_PATH];

    locks_init(&store->locks, store->backend->ops->directory(store->backend));
    value_configure(options->read_only ? NULL : directory_path(store, path), options->memory_bytes);
}

static int end_open(struct kv_store *store, const struct kv_options *options, int rc)
{
    if (options->backend != NULL)
        store->backend = NULL; /* still the caller's */
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
    store->timeout_ns = options->commit_timeout_ms * 1000000;
    lease_init(&store->lease);
    store->announced = -1;
    pthread_mutex_init(&store->lines.lock, NULL);
    pthread_mutex_init(&store->follow.lock, NULL);
    store->umask = options->umask;
    rc = open_backend(dir, options, &store->backend, error);
    if (rc < 0) {
        free(store);
        return rc;
    }
    use_directory(store, options);
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
    store_sweep_stop(store);
    if (store->queue != NULL)
        commit_queue_free(store->queue);
    store_sweep_free(store);
    if (store->cache != NULL)
        cache_free(store->cache);
    lease_destroy(&store->lease);
    mounts_end(store);
    locks_destroy(&store->locks);
    if (store->backend != NULL) {
        char path[DIRECTORY_PATH];

        value_leave(directory_path(store, path));
        store->backend->ops->close(store->backend);
    }
    store_forget_homes(store);
    pthread_mutex_destroy(&store->lines.lock);
    pthread_mutex_destroy(&store->follow.lock);
    free(store);
}

pid_t kv_writer_pid(struct kv_store *store) { return store->backend->ops->writer(store->backend); }

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
    out->format = store->format;
    if (store->queue != NULL)
        commit_state(store->queue, &out->queue_changes, &out->queue_age_ms);
    store->backend->ops->usage(store->backend, &out->storage);
}

int kv_check(struct kv_store *store, const struct kv_check_options *options, struct kv_check_report *report)
{
    struct backend_check check = {.options = options, .now_ns = store_real_ns(store), .report = report};

    if (options->repair && store->queue == NULL)
        return -EROFS;
    return backend_ask(store->backend, BACKEND_CHECK, store->timeout_ns, &check.call);
}
