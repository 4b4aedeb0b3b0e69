#include "tests/support/backend_late.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <utlist.h>

struct late {
    struct backend base;
    struct backend *inner;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct backend_call *waiting; /* in order; timeout_ns is when their time is over */
    bool held[BACKEND_KINDS];
    bool closing;
};

static struct late *late_of(struct backend *backend) { return (struct late *)backend; }

static int64_t late_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void late_start(struct backend *backend, struct backend_call *call)
{
    struct late *late = late_of(backend);
    int64_t now_ns = late_now_ns();

    call->timeout_ns = call->timeout_ns < INT64_MAX - now_ns ? now_ns + call->timeout_ns : INT64_MAX;
    pthread_mutex_lock(&late->lock);
    LL_APPEND(late->waiting, call);
    pthread_cond_broadcast(&late->changed);
    pthread_mutex_unlock(&late->lock);
}

/* The next call that can be started or whose time is over; the time of another one ends at *wake_ns. */
static struct backend_call *late_next_locked(struct late *late, int64_t now_ns, int64_t *wake_ns)
{
    struct backend_call *call;

    *wake_ns = now_ns + 3600ll * 1000000000;
    LL_FOREACH(late->waiting, call) {
        if (!late->held[call->kind] || call->timeout_ns <= now_ns)
            return call;
        if (call->timeout_ns < *wake_ns)
            *wake_ns = call->timeout_ns;
    }
    return NULL;
}

static void late_wait_locked(struct late *late, int64_t wake_ns)
{
    struct timespec wake = {wake_ns / 1000000000, wake_ns % 1000000000};

    pthread_cond_timedwait(&late->changed, &late->lock, &wake);
}

static void *late_run(void *arg)
{
    struct late *late = arg;

    pthread_mutex_lock(&late->lock);
    while (!late->closing || late->waiting != NULL) {
        int64_t now_ns = late_now_ns(), wake_ns;
        struct backend_call *call = late_next_locked(late, now_ns, &wake_ns);
        bool over;

        if (call == NULL) {
            late_wait_locked(late, wake_ns);
            continue;
        }
        over = late->held[call->kind];
        LL_DELETE(late->waiting, call);
        pthread_mutex_unlock(&late->lock);
        if (over) {
            call->done(call, -ETIMEDOUT);
        } else {
            call->timeout_ns -= call->timeout_ns == INT64_MAX ? 0 : now_ns;
            late->inner->ops->start(late->inner, call);
        }
        pthread_mutex_lock(&late->lock);
    }
    pthread_mutex_unlock(&late->lock);
    return NULL;
}

static void late_close(struct backend *backend)
{
    struct late *late = late_of(backend);

    pthread_mutex_lock(&late->lock);
    late->closing = true;
    pthread_cond_broadcast(&late->changed);
    pthread_mutex_unlock(&late->lock);
    pthread_join(late->thread, NULL);
    late->inner->ops->close(late->inner);
    pthread_mutex_destroy(&late->lock);
    pthread_cond_destroy(&late->changed);
    free(late);
}

static uint64_t late_epoch(struct backend *backend)
{
    return late_of(backend)->inner->ops->epoch(late_of(backend)->inner);
}

static int late_wait(struct backend *backend, uint64_t epoch, int64_t timeout_ns)
{
    return late_of(backend)->inner->ops->wait(late_of(backend)->inner, epoch, timeout_ns);
}

static void late_wake(struct backend *backend) { late_of(backend)->inner->ops->wake(late_of(backend)->inner); }

static void late_usage(struct backend *backend, struct kv_storage *out)
{
    late_of(backend)->inner->ops->usage(late_of(backend)->inner, out);
}

static pid_t late_writer(struct backend *backend)
{
    return late_of(backend)->inner->ops->writer(late_of(backend)->inner);
}

static int late_directory(struct backend *backend)
{
    return late_of(backend)->inner->ops->directory(late_of(backend)->inner);
}

static const struct backend_ops late_ops = {.close = late_close,
                                            .start = late_start,
                                            .epoch = late_epoch,
                                            .wait = late_wait,
                                            .wake = late_wake,
                                            .usage = late_usage,
                                            .directory = late_directory,
                                            .writer = late_writer};

int backend_late_new(struct backend *inner, struct backend **out)
{
    struct late *late = calloc(1, sizeof(*late));
    pthread_condattr_t monotonic;

    if (late == NULL)
        return -ENOMEM;
    late->base = (struct backend){&late_ops, inner->follows, inner->damaged};
    late->inner = inner;
    pthread_mutex_init(&late->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&late->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&late->thread, NULL, late_run, late) != 0) {
        free(late);
        return -ENOMEM;
    }
    *out = &late->base;
    return 0;
}

void backend_late_hold(struct backend *backend, enum backend_kind kind, bool hold)
{
    struct late *late = late_of(backend);

    pthread_mutex_lock(&late->lock);
    late->held[kind] = hold;
    pthread_cond_broadcast(&late->changed);
    pthread_mutex_unlock(&late->lock);
}

void backend_late_await(struct backend *backend, enum backend_kind kind, unsigned calls)
{
    struct late *late = late_of(backend);
    struct backend_call *call;
    unsigned there = 0;

    pthread_mutex_lock(&late->lock);
    while (there < calls) {
        there = 0;
        LL_FOREACH(late->waiting, call)
            there += call->kind == kind;
        if (there < calls)
            pthread_cond_wait(&late->changed, &late->lock);
    }
    pthread_mutex_unlock(&late->lock);
}
