#include "store/commit/commit.h"

#include "store/rules/apply.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define GROUP_CHANGES 1024
#define GROUP_BYTES (64u << 20)

struct commit_queue {
    struct engine *engine;
    const struct kv_clock *clock;
    struct stats *stats;
    commit_settled *settled;
    void *arg;
    pthread_t thread;

    pthread_mutex_t lock;
    pthread_cond_t work;     /* something to do, or stopping */
    pthread_cond_t progress; /* settled_count grew */
    struct kv_change *head, **tail;
    uint64_t submitted_count, settled_count;
    size_t urgent;           /* changes in the queue that somebody waits for */
    size_t urgent_unsettled; /* the same, until they are settled */
    uint64_t urgent_count;   /* the same, ever */
    size_t drains;           /* callers in commit_drain() */
    size_t queued, queued_bytes;
    int64_t interval_ns, timeout_ns;
    struct timespec gather_until; /* CLOCK_MONOTONIC; set when an accepted put comes into an empty queue */
    bool stopping;
};

static size_t weight(const struct kv_change *change) { return change->kind == KV_PUT ? change->value->size : 0; }

/* Is there no reason to let what is queued gather any longer? The lock is held. */
static bool is_due(const struct commit_queue *queue)
{
    return queue->stopping || queue->urgent > 0 || queue->drains > 0 || queue->queued >= GROUP_CHANGES ||
           queue->queued_bytes >= GROUP_BYTES;
}

/* Wait until there is something to commit now; or until the end, with an empty queue. The lock is held. */
static void wait_for_work(struct commit_queue *queue)
{
    for (;;) {
        if (queue->head != NULL) {
            if (is_due(queue) ||
                pthread_cond_timedwait(&queue->work, &queue->lock, &queue->gather_until) == ETIMEDOUT)
                return;
        } else {
            if (queue->stopping)
                return;
            pthread_cond_wait(&queue->work, &queue->lock);
        }
    }
}

/* Take the next group off the queue; waits for one. NULL: stopped, and nothing is left. */
static struct kv_change *take_group(struct commit_queue *queue)
{
    struct kv_change *first, **end;
    size_t changes = 0, bytes = 0;

    pthread_mutex_lock(&queue->lock);
    wait_for_work(queue);
    first = queue->head;
    for (end = &queue->head; *end != NULL && changes < GROUP_CHANGES && bytes < GROUP_BYTES; end = &(*end)->next) {
        bytes += weight(*end);
        queue->urgent -= !(*end)->accepted;
        changes++;
    }
    queue->queued -= changes;
    queue->queued_bytes -= bytes;
    queue->head = *end;
    if (queue->head == NULL)
        queue->tail = &queue->head;
    if (first != NULL)
        *end = NULL;
    pthread_mutex_unlock(&queue->lock);
    return first;
}

/* Apply a list of changes in one transaction; each gets its own verdict in ->rc.
 * unsure   set where the answer of the commit is missing: it may have been kept all the same
 * returns  0; <0 the transaction failed, and, unless unsure, none of the changes is done */
static int run(struct commit_queue *queue, struct kv_change *first, const struct kv_change *end, bool *unsure)
{
    int64_t start_ns = queue->clock->mono_ns(queue->clock->arg);
    size_t puts = 0;
    struct tx *tx;
    int rc = tx_begin(queue->engine, queue->clock->real_ns(queue->clock->arg), &tx);

    *unsure = false;
    if (rc < 0)
        return rc;
    for (struct kv_change *change = first; change != end; change = change->next) {
        change->rc = apply(tx, change);
        if (tx->broken) {
            rc = change->rc < 0 ? change->rc : -EIO;
            tx_abort(tx);
            return rc;
        }
        puts += change->kind == KV_PUT && change->rc == 0;
    }
    rc = tx_flush(tx);
    if (rc < 0) {
        tx_abort(tx);
        return rc;
    }
    rc = tx_commit(tx);
    if (rc < 0) {
        *unsure = rc != -ENOSPC;
        return rc;
    }
    stats_commit(queue->stats, puts, queue->clock->mono_ns(queue->clock->arg) - start_ns);
    return 0;
}

static void run_group(struct commit_queue *queue, struct kv_change *group)
{
    bool unsure, alone;
    int rc = run(queue, group, NULL, &unsure);

    if (rc == 0)
        return;
    alone = group->next != NULL && !unsure;
    for (struct kv_change *change = group; change != NULL; change = change->next) {
        if (alone)
            rc = run(queue, change, change->next, &unsure);
        if (rc < 0) {
            change->rc = rc;
            stats_commit_failure(queue->stats);
        }
    }
}

static void settle_group(struct commit_queue *queue, struct kv_change *group)
{
    uint64_t count = 0, urgent = 0;

    while (group != NULL) {
        struct kv_change *change = group;
        int rc = change->rc;

        urgent += !change->accepted;
        group = change->next; /* done() may free the change */
        queue->settled(queue->arg, change, rc);
        change->done(change, rc);
        count++;
    }
    pthread_mutex_lock(&queue->lock);
    queue->settled_count += count;
    queue->urgent_unsettled -= urgent;
    pthread_cond_broadcast(&queue->progress);
    pthread_mutex_unlock(&queue->lock);
}

static int64_t left_ns(struct commit_queue *queue, const struct kv_change *change)
{
    return queue->timeout_ns - (queue->clock->mono_ns(queue->clock->arg) - change->submitted_ns);
}

/* End the first change, and with it those whose time is over, too. returns the others */
static struct kv_change *give_up(struct commit_queue *queue, struct kv_change *group, int rc)
{
    struct kv_change **end = &group, *rest;

    do {
        (*end)->rc = rc;
        stats_commit_failure(queue->stats);
        end = &(*end)->next;
    } while (*end != NULL && (rc != -ETIMEDOUT || left_ns(queue, *end) <= 0));
    rest = *end;
    *end = NULL;
    settle_group(queue, group);
    return rest;
}

/* Get the right to write. returns those of the group whose time is not over by then; NULL: none, and no right */
static struct kv_change *wait_to_write(struct commit_queue *queue, struct kv_change *group)
{
    while (group != NULL) {
        int rc = engine_acquire(queue->engine, left_ns(queue, group));

        if (rc == 0)
            break;
        group = give_up(queue, group, rc);
    }
    return group;
}

static void *committer(void *arg)
{
    struct commit_queue *queue = arg;
    struct kv_change *group;

    while ((group = take_group(queue)) != NULL) {
        group = wait_to_write(queue, group);
        if (group == NULL)
            continue;
        run_group(queue, group);
        engine_release(queue->engine);
        settle_group(queue, group);
    }
    return NULL;
}

int commit_queue_new(struct engine *engine, const struct kv_clock *clock, struct stats *stats, int64_t interval_ns,
                     int64_t timeout_ns, commit_settled *settled, void *arg, struct commit_queue **out)
{
    struct commit_queue *queue = calloc(1, sizeof(*queue));
    pthread_condattr_t monotonic;
    int rc;

    if (queue == NULL)
        return -ENOMEM;
    queue->engine = engine;
    queue->clock = clock;
    queue->stats = stats;
    queue->settled = settled;
    queue->arg = arg;
    queue->tail = &queue->head;
    pthread_mutex_init(&queue->lock, NULL);
    queue->interval_ns = interval_ns;
    queue->timeout_ns = timeout_ns;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&queue->work, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&queue->progress, NULL);
    rc = pthread_create(&queue->thread, NULL, committer, queue);
    if (rc != 0) {
        free(queue);
        return -rc;
    }
    *out = queue;
    return 0;
}

void commit_queue_free(struct commit_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->stopping = true;
    pthread_cond_signal(&queue->work);
    pthread_mutex_unlock(&queue->lock);
    pthread_join(queue->thread, NULL);
    pthread_mutex_destroy(&queue->lock);
    pthread_cond_destroy(&queue->work);
    pthread_cond_destroy(&queue->progress);
    free(queue);
}

static struct timespec after_ns(int64_t ns)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_sec += (time_t)(ns / 1000000000);
    time.tv_nsec += ns % 1000000000;
    if (time.tv_nsec >= 1000000000) {
        time.tv_sec++;
        time.tv_nsec -= 1000000000;
    }
    return time;
}

/* The lock is held. */
static void push(struct commit_queue *queue, struct kv_change *change)
{
    change->next = NULL;
    if (queue->head == NULL && change->accepted)
        queue->gather_until = after_ns(queue->interval_ns);
    *queue->tail = change;
    queue->tail = &change->next;
    queue->submitted_count++;
    queue->urgent += !change->accepted;
    queue->urgent_unsettled += !change->accepted;
    queue->urgent_count += !change->accepted;
    queue->queued++;
    queue->queued_bytes += weight(change);
    pthread_cond_signal(&queue->work);
}

void commit_submit(struct commit_queue *queue, struct kv_change *change)
{
    pthread_mutex_lock(&queue->lock);
    push(queue, change);
    pthread_mutex_unlock(&queue->lock);
}

bool commit_is_calm(struct commit_queue *queue, uint64_t *since)
{
    bool calm;

    pthread_mutex_lock(&queue->lock);
    calm = queue->urgent_unsettled == 0;
    if (calm)
        *since = queue->urgent_count;
    pthread_mutex_unlock(&queue->lock);
    return calm;
}

bool commit_submit_calm(struct commit_queue *queue, struct kv_change *change, uint64_t since, commit_show *show,
                        void *arg)
{
    bool calm;

    pthread_mutex_lock(&queue->lock);
    calm = queue->urgent_count == since && show(arg);
    if (calm)
        push(queue, change);
    pthread_mutex_unlock(&queue->lock);
    return calm;
}

void commit_drain(struct commit_queue *queue)
{
    uint64_t until;

    pthread_mutex_lock(&queue->lock);
    until = queue->submitted_count;
    queue->drains++;
    pthread_cond_signal(&queue->work);
    while (queue->settled_count < until)
        pthread_cond_wait(&queue->progress, &queue->lock);
    queue->drains--;
    pthread_mutex_unlock(&queue->lock);
}
