/* The fault engine: another engine that can be told to fail, to be slow, or to
 * lose the answer of a commit.
 *
 * A call is of its own kind and of ENGINE_ANY; a commit is of ENGINE_COMMIT and
 * of ENGINE_COMMIT_LOST. Each kind counts its calls and its countdown by itself.
 * Where two kinds fire on one call, the call's own kind decides the answer
 * (ENGINE_COMMIT before ENGINE_ANY before ENGINE_COMMIT_LOST), and both are used
 * up. Their delays add up. abort, close, usage, rest, acquire and release are no calls: they cannot fail.
 * A flush is of ENGINE_FLUSH only: it comes from other threads than the calls that somebody counts.
 *
 * `lock` guards the kinds; nothing is called or slept while it is held, but who is held waits with it for `changed`.
 */
#include "tests/support/engines.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct kind {
    uint64_t calls;
    unsigned countdown, times;
    int rc;
    unsigned delay_ms;
    bool held;
};

struct fault {
    struct engine base;
    struct engine *inner;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a kind has one call more, or is no longer held */
    struct kind kinds[ENGINE_CALLS];
};

struct fault_txn {
    struct engine_txn base;
    struct fault *fault;
    struct engine_txn *inner;
    int failed; /* of a put or del; all that follows answers it */
};

static struct fault_txn *txn_of(struct engine_txn *txn) { return (struct fault_txn *)txn; }

/* Count a call of this kind. returns 0, or what it is to answer */
static int tick(struct kind *kind)
{
    kind->calls++;
    if (kind->times == 0)
        return 0;
    if (kind->countdown > 1) {
        kind->countdown--;
        return 0;
    }
    kind->times--;
    return kind->rc;
}

static void sleep_ms(unsigned delay_ms)
{
    struct timespec left = {delay_ms / 1000, (long)(delay_ms % 1000) * 1000000};

    while (delay_ms > 0 && nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

/* A call comes in: count it, sleep where that is wanted. returns 0, or what it is to answer
 * lost     NULL, or set to what a commit is to answer after it was done */
static int enter(struct fault *fault, enum engine_call call, int *lost)
{
    unsigned delay_ms;
    int own, any;

    pthread_mutex_lock(&fault->lock);
    own = tick(&fault->kinds[call]);
    any = call != ENGINE_FLUSH ? tick(&fault->kinds[ENGINE_ANY]) : 0;
    delay_ms = fault->kinds[call].delay_ms + (call != ENGINE_FLUSH ? fault->kinds[ENGINE_ANY].delay_ms : 0);
    if (lost != NULL) {
        *lost = tick(&fault->kinds[ENGINE_COMMIT_LOST]);
        delay_ms += fault->kinds[ENGINE_COMMIT_LOST].delay_ms;
    }
    pthread_cond_broadcast(&fault->changed);
    while (fault->kinds[call].held)
        pthread_cond_wait(&fault->changed, &fault->lock);
    pthread_mutex_unlock(&fault->lock);
    sleep_ms(delay_ms);
    return own != 0 ? own : any;
}

/* As enter(), for calls inside a transaction. */
static int enter_txn(struct fault_txn *txn, enum engine_call call)
{
    int rc = enter(txn->fault, call, NULL);

    return txn->failed < 0 ? txn->failed : rc;
}

static int fault_begin(struct engine *engine, bool write, struct engine_txn **out)
{
    struct fault *fault = (struct fault *)engine;
    struct fault_txn *txn;
    int rc = enter(fault, write ? ENGINE_BEGIN_WRITE : ENGINE_BEGIN_READ, NULL);

    if (rc != 0)
        return rc;
    txn = calloc(1, sizeof(*txn));
    if (txn == NULL)
        return -ENOMEM;
    rc = fault->inner->ops->begin(fault->inner, write, &txn->inner);
    if (rc < 0) {
        free(txn);
        return rc;
    }
    txn->base.ops = engine->ops;
    txn->fault = fault;
    *out = &txn->base;
    return 0;
}

static void fault_abort(struct engine_txn *base)
{
    struct fault_txn *txn = txn_of(base);

    txn->inner->ops->abort(txn->inner);
    free(txn);
}

static int fault_commit(struct engine_txn *base)
{
    struct fault_txn *txn = txn_of(base);
    int lost, rc = enter(txn->fault, ENGINE_COMMIT, &lost);

    if (txn->failed < 0)
        rc = txn->failed;
    if (rc != 0) {
        fault_abort(base);
        return rc;
    }
    rc = txn->inner->ops->commit(txn->inner);
    free(txn);
    return rc != 0 ? rc : lost;
}

static int fault_get(struct engine_txn *base, enum engine_table table, struct slice key, struct slice *out)
{
    struct fault_txn *txn = txn_of(base);
    int rc = enter_txn(txn, ENGINE_GET);

    return rc != 0 ? rc : txn->inner->ops->get(txn->inner, table, key, out);
}

static int fault_scan(struct engine_txn *base, enum engine_table table, struct slice from, engine_visit *visit,
                      void *arg)
{
    struct fault_txn *txn = txn_of(base);
    int rc = enter_txn(txn, ENGINE_SCAN);

    return rc != 0 ? rc : txn->inner->ops->scan(txn->inner, table, from, visit, arg);
}

static int fault_put(struct engine_txn *base, enum engine_table table, struct slice key, struct slice value)
{
    struct fault_txn *txn = txn_of(base);
    int rc = enter_txn(txn, ENGINE_PUT);

    if (rc == 0)
        return txn->inner->ops->put(txn->inner, table, key, value);
    txn->failed = rc;
    return rc;
}

static int fault_del(struct engine_txn *base, enum engine_table table, struct slice key)
{
    struct fault_txn *txn = txn_of(base);
    int rc = enter_txn(txn, ENGINE_DEL);

    if (rc == 0)
        return txn->inner->ops->del(txn->inner, table, key);
    txn->failed = rc;
    return rc;
}

static int fault_room(struct engine_txn *base, uint64_t bytes, size_t part)
{
    struct fault_txn *txn = txn_of(base);
    int rc = enter_txn(txn, ENGINE_ROOM);

    return rc != 0 ? rc : txn->inner->ops->room(txn->inner, bytes, part);
}

static int fault_flush(struct engine *engine, int64_t wait_ns)
{
    struct fault *fault = (struct fault *)engine;
    int rc = enter(fault, ENGINE_FLUSH, NULL);

    return rc != 0 ? rc : engine_flush(fault->inner, wait_ns);
}

static int fault_rest(struct engine *engine) { return engine_rest(((struct fault *)engine)->inner); }

static void fault_usage(struct engine *engine, struct kv_storage *out)
{
    struct fault *fault = (struct fault *)engine;

    fault->inner->ops->usage(fault->inner, out);
}

static int fault_acquire(struct engine *engine, int64_t wait_ns)
{
    return engine_acquire(((struct fault *)engine)->inner, wait_ns);
}

static void fault_release(struct engine *engine) { engine_release(((struct fault *)engine)->inner); }

static pid_t fault_writer(struct engine *engine) { return engine_writer(((struct fault *)engine)->inner); }

static int fault_claim(struct engine *engine)
{
    struct fault *fault = (struct fault *)engine;

    return fault->inner->ops->claim != NULL ? fault->inner->ops->claim(fault->inner) : 0;
}

static int fault_verify(struct engine_txn *base, uint64_t most, engine_found *found, void *arg)
{
    struct engine_txn *inner = txn_of(base)->inner;

    return inner->ops->verify != NULL ? inner->ops->verify(inner, most, found, arg) : 0;
}

static void fault_close(struct engine *engine)
{
    struct fault *fault = (struct fault *)engine;

    fault->inner->ops->close(fault->inner);
    pthread_mutex_destroy(&fault->lock);
    pthread_cond_destroy(&fault->changed);
    free(fault);
}

static const struct engine_ops fault_ops = {
    .name = "fault",
    .close = fault_close,
    .begin = fault_begin,
    .commit = fault_commit,
    .abort = fault_abort,
    .get = fault_get,
    .scan = fault_scan,
    .put = fault_put,
    .del = fault_del,
    .room = fault_room,
    .flush = fault_flush,
    .rest = fault_rest,
    .usage = fault_usage,
    .acquire = fault_acquire,
    .release = fault_release,
    .writer = fault_writer,
    .claim = fault_claim,
    .verify = fault_verify,
};

int engine_fault_open(struct engine *inner, struct engine **out)
{
    struct fault *fault = calloc(1, sizeof(*fault));

    if (fault == NULL)
        return -ENOMEM;
    fault->base.ops = &fault_ops;
    fault->inner = inner;
    pthread_mutex_init(&fault->lock, NULL);
    pthread_cond_init(&fault->changed, NULL);
    *out = &fault->base;
    return 0;
}

void engine_fault_arm(struct engine *engine, enum engine_call call, unsigned countdown, unsigned times, int rc)
{
    struct fault *fault = (struct fault *)engine;

    pthread_mutex_lock(&fault->lock);
    fault->kinds[call].countdown = countdown;
    fault->kinds[call].times = times;
    fault->kinds[call].rc = rc;
    pthread_mutex_unlock(&fault->lock);
}

void engine_fault_delay(struct engine *engine, enum engine_call call, unsigned delay_ms)
{
    struct fault *fault = (struct fault *)engine;

    pthread_mutex_lock(&fault->lock);
    fault->kinds[call].delay_ms = delay_ms;
    pthread_mutex_unlock(&fault->lock);
}

void engine_fault_hold(struct engine *engine, enum engine_call call, bool hold)
{
    struct fault *fault = (struct fault *)engine;

    pthread_mutex_lock(&fault->lock);
    fault->kinds[call].held = hold;
    pthread_cond_broadcast(&fault->changed);
    pthread_mutex_unlock(&fault->lock);
}

void engine_fault_await(struct engine *engine, enum engine_call call, uint64_t calls)
{
    struct fault *fault = (struct fault *)engine;

    pthread_mutex_lock(&fault->lock);
    while (fault->kinds[call].calls < calls)
        pthread_cond_wait(&fault->changed, &fault->lock);
    pthread_mutex_unlock(&fault->lock);
}

uint64_t engine_fault_calls(struct engine *engine, enum engine_call call)
{
    struct fault *fault = (struct fault *)engine;
    uint64_t calls;

    pthread_mutex_lock(&fault->lock);
    calls = fault->kinds[call].calls;
    pthread_mutex_unlock(&fault->lock);
    return calls;
}
