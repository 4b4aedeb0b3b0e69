/* Removing keys that have expired.
 *
 * The sweeper is a thread that sleeps until the next expiry that the store knows of, until another process commits
 * something, which may be an earlier one, or until this process is told of an earlier one (store_sweep_hear()). It
 * looks at most once in PAUSE_MS, so that a store that is written all the time costs a small read a second, and one
 * that nobody writes, and where no key has an expiry, nothing. It begins with a pause: whoever has opened the store may
 * be about to start programs (fusermount3), and a thread at work beside a fork does not go with sanitizers. Several
 * processes may sweep one store: who comes second finds nothing to do. */
#include "store/api/store.h"

#include "store/base/clock.h"

#include <errno.h>
#include <stdlib.h>

enum {
    PAUSE_MS = 1000,
    SLEEP_MS = 60 * 1000, /* the clock may be set meanwhile */
    STOP_MS = 10          /* between two wake-ups of a thread that is to end */
};
#define FOREVER_MS ((int64_t)24 * 3600 * 1000)

struct store_sweeper {
    struct kv_store *store;
    pthread_t thread;
    pthread_mutex_t lock;
    _Atomic int64_t next_ns; /* what it sleeps for; INT64_MAX: for nothing, or it looks just now */
    pthread_cond_t changed;  /* the state */
    enum { SWEEP_NONE, SWEEP_RUNS, SWEEP_STOPS, SWEEP_ENDED } state; /* of the thread */
};

int kv_sweep(struct kv_store *store, uint64_t *swept, int64_t *next_ns)
{
    *swept = 0;
    for (;;) {
        struct kv_change change = {.kind = KV_SWEEP};
        struct backend_expiry expiry = {0};
        int rc = backend_ask(store->backend, BACKEND_EXPIRY, store->timeout_ns, &expiry.call);

        if (rc == 0 && (expiry.first_ns == 0 || expiry.first_ns > store_real_ns(store))) {
            *next_ns = expiry.first_ns;
            return 0;
        }
        if (rc == 0)
            rc = kv_apply(store, &change);
        if (rc < 0)
            return rc;
        *swept += change.dropped;
    }
}

static int sweep_skip(void *arg, const struct kv_changed *changed)
{
    (void)arg;
    (void)changed;
    return 0;
}

/* Sweep, and wait until there may be more to do. The epoch is that of what the look saw, or of a state before. */
static void sweep_once(struct store_sweeper *sweeper)
{
    struct kv_store *store = sweeper->store;
    int64_t next_ns, wait_ms = SLEEP_MS;
    struct kv_feed now = {0};
    uint64_t swept;

    atomic_store(&sweeper->next_ns, INT64_MAX);

    if (kv_follow(store, &now, true, sweep_skip, NULL) == 0 && kv_sweep(store, &swept, &next_ns) == 0) {
        int64_t left_ms = (next_ns - store_real_ns(store)) / 1000000 + 1;

        if (next_ns != 0)
            atomic_store(&sweeper->next_ns, next_ns);
        wait_ms = next_ns == 0 ? FOREVER_MS : left_ms < 1 ? 1 : left_ms < SLEEP_MS ? left_ms : SLEEP_MS;
    }
    if (kv_wait(store, now.epoch, wait_ms) < 0)
        return; /* whatever ended the waiting: there is another look */
}

static void *sweep_run(void *arg)
{
    struct store_sweeper *sweeper = arg;
    struct timespec until;

    pthread_mutex_lock(&sweeper->lock);
    while (sweeper->state == SWEEP_RUNS) {
        until = clock_after_ns((int64_t)PAUSE_MS * 1000000);
        while (sweeper->state == SWEEP_RUNS &&
               pthread_cond_clockwait(&sweeper->changed, &sweeper->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
            ;
        if (sweeper->state != SWEEP_RUNS)
            break;
        pthread_mutex_unlock(&sweeper->lock);
        sweep_once(sweeper);
        pthread_mutex_lock(&sweeper->lock);
    }
    sweeper->state = SWEEP_ENDED;
    pthread_cond_broadcast(&sweeper->changed);
    pthread_mutex_unlock(&sweeper->lock);
    return NULL;
}

int store_sweep_start(struct kv_store *store)
{
    struct store_sweeper *sweeper = store->backend->follows ? calloc(1, sizeof(*sweeper)) : NULL;
    int rc;

    if (!store->backend->follows)
        return 0; /* nothing would wake it */
    if (sweeper == NULL)
        return -ENOMEM;
    sweeper->store = store;
    pthread_mutex_init(&sweeper->lock, NULL);
    pthread_cond_init(&sweeper->changed, NULL);
    store->sweeper = sweeper;
    sweeper->state = SWEEP_RUNS;
    rc = pthread_create(&sweeper->thread, NULL, sweep_run, sweeper);
    if (rc != 0)
        sweeper->state = SWEEP_NONE;
    return -rc;
}

void store_sweep_hear(struct kv_store *store, int64_t expires_ns)
{
    if (store->sweeper != NULL && expires_ns != 0 && expires_ns < atomic_load(&store->sweeper->next_ns))
        kv_wake(store);
}

void store_sweep_stop(struct kv_store *store)
{
    struct store_sweeper *sweeper = store->sweeper;
    struct timespec until;

    if (sweeper == NULL || sweeper->state == SWEEP_NONE)
        return;
    pthread_mutex_lock(&sweeper->lock);
    sweeper->state = SWEEP_STOPS;
    pthread_cond_broadcast(&sweeper->changed);
    while (sweeper->state != SWEEP_ENDED) { /* it may be about to wait just now, and not hear the first wake-up */
        pthread_mutex_unlock(&sweeper->lock);
        kv_wake(store);
        until = clock_after_ns((int64_t)STOP_MS * 1000000);
        pthread_mutex_lock(&sweeper->lock);
        while (sweeper->state != SWEEP_ENDED &&
               pthread_cond_clockwait(&sweeper->changed, &sweeper->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
            ;
    }
    pthread_mutex_unlock(&sweeper->lock);
    pthread_join(sweeper->thread, NULL);
}

void store_sweep_free(struct kv_store *store)
{
    struct store_sweeper *sweeper = store->sweeper;

    if (sweeper == NULL)
        return;
    pthread_mutex_destroy(&sweeper->lock);
    pthread_cond_destroy(&sweeper->changed);
    free(sweeper);
}
