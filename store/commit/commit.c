#include "store/commit/commit.h"

#include "store/base/clock.h"
#include "store/commit/lines_internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define REST_MS 1000
#define GATHER_MAX 64  /* changes that wait for the end of a flush ... */
#define GATHER_US 1000 /* ... in its first time */

struct commit_queue {
    struct backend *backend;
    const struct kv_clock *clock;
    struct stats *stats;
    struct commit_options options;
    pthread_t committer, flusher;

    pthread_mutex_t lock;
    pthread_cond_t work;     /* for the committer */
    pthread_cond_t to_flush; /* for the flusher */
    pthread_cond_t progress; /* for those in commit_sync() */
    struct lines lines;
    bool committing;       /* some thread has a group that is not committed yet */
    uint64_t submitted;    /* number of the last change */
    _Atomic uint64_t done; /* how many are; changes without the lock */
    uint64_t oldest_taken; /* the lowest number in the group that is being committed; UINT64_MAX: none */
    int64_t taken_ns;      /* while committing: when its oldest change was submitted */
    int64_t flush_ns;      /* while flushing: since when */

    bool restless;           /* something was committed since the backend was last told to rest */
    struct timespec rest_at; /* while restless */

    struct group committed; /* they wait for the next flush */
    bool unflushed;         /* something was committed since the last flush began */
    bool flushing;
    struct timespec gather_until; /* while flushing */
    struct timespec flush_at;     /* while unflushed: when it is due at the latest */
    uint64_t flushed;             /* all changes up to this number are durable */
    int flush_rc;                 /* of the first flush that failed */
    unsigned syncs;               /* callers in commit_sync() */
    bool stopping, committed_all;
};

/* For how long a change may still wait; less than a millisecond is nothing. */
static int64_t commit_left_ns(struct commit_queue *queue, const struct kv_change *change)
{
    int64_t waited_ns = queue->clock->mono_ns(queue->clock->arg) - change->submitted_ns;
    int64_t left_ns = queue->options.timeout_ns - waited_ns;

    return left_ns < 1000000 ? 0 : left_ns;
}

/* ---------------------------------------------------------------------- transactions */

static int64_t commit_least_left_ns(struct commit_queue *queue, const struct kv_change *change, size_t count)
{
    int64_t least = INT64_MAX;

    for (size_t i = 0; i < count; i++, change = change->next) {
        int64_t left = commit_left_ns(queue, change);

        least = left < least ? left : least;
    }
    return least;
}

static void commit_count(struct commit_queue *queue, const struct kv_change *change, size_t count,
                         int64_t start_ns)
{
    size_t puts = 0;

    for (size_t i = 0; i < count; i++, change = change->next)
        puts += change->kind == KV_PUT && change->rc == 0;
    stats_commit(queue->stats, puts, queue->clock->mono_ns(queue->clock->arg) - start_ns);
}

static void commit_fail(struct commit_queue *queue, struct kv_change *change, size_t count, int rc)
{
    for (size_t i = 0; i < count; i++, change = change->next) {
        change->rc = change->verdict = rc;
        stats_commit_failure(queue->stats);
    }
}

static int commit_run(struct commit_queue *queue, struct kv_change *first, size_t count, bool whole);

/* A part of a group that failed, by itself. */
static void commit_run_part(struct commit_queue *queue, struct kv_change *first, size_t count)
{
    int rc = commit_run(queue, first, count, false);

    if (rc < 0)
        commit_fail(queue, first, count, rc);
}

/* Do some changes in one transaction; each gets its verdict, unless the answer is -ETIMEDOUT: the time of some is over,
 * nothing is done, and the others can be tried again. A transaction that fails is tried again by halves. */
static int commit_run(struct commit_queue *queue, struct kv_change *first, size_t count, bool whole)
{
    struct backend_submit submit = {.changes = first, .count = count, .whole = whole, .clock = queue->clock};
    int64_t start_ns = queue->clock->mono_ns(queue->clock->arg);
    struct kv_change *change = first;
    int rc = backend_ask(queue->backend, BACKEND_SUBMIT, commit_least_left_ns(queue, first, count), &submit.call);

    if (rc == -ETIMEDOUT && !submit.unsure && commit_least_left_ns(queue, first, count) == 0)
        return rc;
    if (rc == 0) {
        commit_count(queue, first, count, start_ns);
        for (size_t i = 0; i < count; i++, change = change->next)
            change->verdict = change->rc;
    } else if (rc == -EAGAIN && whole) {
        group_call_off(first, count);
    } else if (count > 1 && !whole && !submit.unsure) {
        for (size_t i = 0; i < count / 2; i++)
            change = change->next;
        commit_run_part(queue, first, count / 2);
        commit_run_part(queue, change, count - count / 2);
    } else {
        commit_fail(queue, first, count, rc);
    }
    return 0;
}

/* ------------------------------------------------------------------------ the verdicts */

static void commit_settle(struct commit_queue *queue, const struct group *group)
{
    for (const struct kv_change *change = group->head; change != NULL; change = change->next)
        queue->options.settled(queue->options.arg, change, change->verdict);
}

/* rc: of the flush; changes that were refused are so whatever became of it. */
static void commit_finish(struct commit_queue *queue, struct group *group, int rc)
{
    int64_t now_ns = queue->clock->mono_ns(queue->clock->arg);
    struct kv_change *next;

    for (struct kv_change *change = group->head; change != NULL; change = next) {
        next = change->next; /* done() may free the change, and those of its batch before it */
        if (change->batch == NULL)
            atomic_fetch_add(&queue->done, 1);
        if (change->kind == KV_PUT)
            stats_record(&queue->stats->put, now_ns - change->submitted_ns);
        if (change->done != NULL)
            change->done(change, change->verdict == 0 ? rc : change->verdict);
    }
}

/* The group waited in vain for the right to write: end those of its changes whose time is over. */
static void commit_give_up(struct commit_queue *queue, struct group *group)
{
    struct kv_change *change = group->head, *next;
    bool whole = group->whole;
    struct group over;

    group_clear(&over);
    group_clear(group);
    group->whole = whole;
    for (; change != NULL; change = next) {
        next = change->next;
        if (commit_left_ns(queue, change) > 0) {
            group_add(group, change);
        } else {
            commit_fail(queue, change, 1, -ETIMEDOUT);
            group_add(&over, change);
        }
    }
    commit_settle(queue, &over);
    commit_finish(queue, &over, 0);
}

/* ------------------------------------------------------------------------------- flush */

/* Up to which number is everything committed? The lock is held. */
static uint64_t commit_low_locked(const struct commit_queue *queue)
{
    uint64_t oldest = lines_oldest(&queue->lines);

    if (queue->oldest_taken < oldest)
        oldest = queue->oldest_taken;
    return oldest <= queue->submitted ? oldest - 1 : queue->submitted;
}

/* Is there something to commit, and is it the time? What comes while a flush has just begun would have to wait for its
 * end anyway: it gathers, so that all of it is one transaction. (To gather behind its end, too, where the last group
 * had more than one change, made 16 writers faster, 4,900 puts a second in place of 4,400 on 2 CPUs, and 4 slower,
 * 3,000 in place of 3,800.) The lock is held. */
static bool commit_is_due_locked(const struct commit_queue *queue)
{
    if (queue->lines.changes == 0 || queue->committing)
        return false;
    return queue->options.durability == KV_DURABILITY_FSYNC || !queue->flushing ||
           queue->lines.changes >= GATHER_MAX || clock_has_passed(&queue->gather_until);
}

/* Make durable what is committed now, and tell those who wait. The lock is held, but not all the time. */
static void commit_flush_locked(struct commit_queue *queue)
{
    struct group group;
    struct backend_call flush = {.kind = BACKEND_FLUSH};
    uint64_t through = commit_low_locked(queue);
    int rc;

    group_clear(&group);
    group_append(&group, &queue->committed);
    group_clear(&queue->committed);
    queue->unflushed = false;
    queue->flushing = true;
    queue->flush_ns = queue->clock->mono_ns(queue->clock->arg);
    queue->gather_until = clock_after_ns((int64_t)GATHER_US * 1000);
    pthread_mutex_unlock(&queue->lock);
    rc = backend_ask(queue->backend, BACKEND_FLUSH, queue->options.timeout_ns, &flush);
    commit_finish(queue, &group, rc);
    pthread_mutex_lock(&queue->lock);
    queue->flushing = false;
    queue->flushed = through;
    if (rc < 0 && queue->flush_rc == 0)
        queue->flush_rc = rc;
    if (commit_is_due_locked(queue))
        pthread_cond_signal(&queue->work);
    pthread_cond_broadcast(&queue->progress);
}

/* Somebody waits for a flush, or it is due by time. */
static bool commit_flush_is_due_locked(const struct commit_queue *queue)
{
    return queue->committed.head != NULL ||
           (queue->unflushed && (queue->syncs > 0 || queue->committed_all || clock_has_passed(&queue->flush_at)));
}

static void *commit_flusher(void *arg)
{
    struct commit_queue *queue = arg;

    pthread_mutex_lock(&queue->lock);
    for (;;) {
        if (!queue->flushing && commit_flush_is_due_locked(queue))
            commit_flush_locked(queue);
        else if (queue->committed_all && !queue->unflushed && !queue->flushing)
            break;
        else if (queue->unflushed && !queue->flushing)
            pthread_cond_clockwait(&queue->to_flush, &queue->lock, CLOCK_MONOTONIC, &queue->flush_at);
        else
            pthread_cond_wait(&queue->to_flush, &queue->lock);
    }
    pthread_mutex_unlock(&queue->lock);
    return NULL;
}

/* ----------------------------------------------------------------------------- committing */

/* Become the one who commits, and take the next group. The lock is held. */
static void commit_take_locked(struct commit_queue *queue, struct group *group)
{
    lines_take(&queue->lines, group);
    queue->committing = true;
    queue->taken_ns = INT64_MAX;
    for (const struct kv_change *change = group->head; change != NULL; change = change->next) {
        if (change->seq < queue->oldest_taken)
            queue->oldest_taken = change->seq;
        if (change->submitted_ns < queue->taken_ns)
            queue->taken_ns = change->submitted_ns;
    }
}

/* Something was committed: the backend rests in good time, and it is flushed, unless the caller does so now. The lock
 * is held. */
static void commit_note_locked(struct commit_queue *queue, bool flushes)
{
    queue->rest_at = clock_after_ns((int64_t)REST_MS * 1000000);
    if (!queue->restless)
        pthread_cond_signal(&queue->work); /* the committer waits for that time */
    queue->restless = true;
    if (queue->unflushed || flushes)
        return;
    queue->flush_at = clock_after_ns(queue->options.interval_ns);
    queue->unflushed = true;
    pthread_cond_signal(&queue->to_flush);
}

/* Commit a group, and let another thread be the one who commits. Its submitters hear of it, now or after a flush. */
static void commit_group(struct commit_queue *queue, struct group *group)
{
    bool waits = queue->options.durability == KV_DURABILITY_CLOSE, flushes;

    while (group->head != NULL && commit_run(queue, group->head, group->changes, group->whole) == -ETIMEDOUT)
        commit_give_up(queue, group);
    commit_settle(queue, group);
    if (!waits)
        commit_finish(queue, group, 0);
    pthread_mutex_lock(&queue->lock);
    queue->oldest_taken = UINT64_MAX;
    queue->committing = false;
    if (commit_is_due_locked(queue) || queue->stopping)
        pthread_cond_signal(&queue->work);
    /* With nothing else to do this thread is as good as the flusher, and spares the way to it. */
    flushes = waits && queue->lines.changes == 0 && !queue->flushing;
    commit_note_locked(queue, flushes);
    if (waits)
        group_append(&queue->committed, group);
    if (flushes)
        commit_flush_locked(queue);
    if (queue->committed.head != NULL)
        pthread_cond_signal(&queue->to_flush); /* what came meanwhile */
    if (queue->syncs > 0)
        pthread_cond_broadcast(&queue->progress);
    pthread_mutex_unlock(&queue->lock);
}

/* Nothing is to be committed now: let the backend rest when it is time. The lock is held, but not all the time. */
static void commit_idle_locked(struct commit_queue *queue)
{
    struct backend_call rest = {.kind = BACKEND_REST};
    int rc;

    if (queue->lines.changes > 0 && !queue->committing) {
        pthread_cond_clockwait(&queue->work, &queue->lock, CLOCK_MONOTONIC, &queue->gather_until);
    } else if (!queue->restless) {
        pthread_cond_wait(&queue->work, &queue->lock);
    } else if (!clock_has_passed(&queue->rest_at)) {
        pthread_cond_clockwait(&queue->work, &queue->lock, CLOCK_MONOTONIC, &queue->rest_at);
    } else {
        queue->restless = false;
        pthread_mutex_unlock(&queue->lock);
        rc = backend_ask(queue->backend, BACKEND_REST, 0, &rest);
        pthread_mutex_lock(&queue->lock);
        if (rc == -ETIMEDOUT && !queue->restless) {
            queue->restless = true;
            queue->rest_at = clock_after_ns((int64_t)REST_MS * 1000000);
        }
    }
}

static void *commit_committer(void *arg)
{
    struct commit_queue *queue = arg;
    struct group group;

    pthread_mutex_lock(&queue->lock);
    while (queue->lines.changes > 0 || queue->committing || !queue->stopping) {
        if (!commit_is_due_locked(queue)) {
            commit_idle_locked(queue);
            continue;
        }
        commit_take_locked(queue, &group);
        pthread_mutex_unlock(&queue->lock);
        commit_group(queue, &group);
        pthread_mutex_lock(&queue->lock);
    }
    queue->committed_all = true;
    pthread_cond_signal(&queue->to_flush);
    pthread_mutex_unlock(&queue->lock);
    return NULL;
}

/* ------------------------------------------------------------------------ the interface */

static void commit_destroy(struct commit_queue *queue)
{
    pthread_mutex_destroy(&queue->lock);
    pthread_cond_destroy(&queue->work);
    pthread_cond_destroy(&queue->to_flush);
    pthread_cond_destroy(&queue->progress);
    free(queue);
}

static void commit_stop(struct commit_queue *queue, bool flusher_runs)
{
    pthread_mutex_lock(&queue->lock);
    queue->stopping = true;
    pthread_cond_signal(&queue->work);
    pthread_mutex_unlock(&queue->lock);
    pthread_join(queue->committer, NULL);
    if (flusher_runs)
        pthread_join(queue->flusher, NULL);
}

int commit_queue_new(struct backend *backend, const struct kv_clock *clock, struct stats *stats,
                     const struct commit_options *options, struct commit_queue **out)
{
    struct commit_queue *queue = calloc(1, sizeof(*queue));
    int rc;

    if (queue == NULL)
        return -ENOMEM;
    queue->backend = backend;
    queue->clock = clock;
    queue->stats = stats;
    queue->options = *options;
    queue->oldest_taken = UINT64_MAX;
    group_clear(&queue->committed);
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->work, NULL);
    pthread_cond_init(&queue->to_flush, NULL);
    pthread_cond_init(&queue->progress, NULL);
    rc = pthread_create(&queue->committer, NULL, commit_committer, queue);
    if (rc == 0) {
        rc = pthread_create(&queue->flusher, NULL, commit_flusher, queue);
        if (rc != 0)
            commit_stop(queue, false);
    }
    if (rc != 0) {
        commit_destroy(queue);
        return -rc;
    }
    *out = queue;
    return 0;
}

void commit_queue_free(struct commit_queue *queue)
{
    commit_stop(queue, true);
    commit_destroy(queue);
}

void commit_submit(struct commit_queue *queue, struct kv_change *change, bool begin)
{
    int rc;

    pthread_mutex_lock(&queue->lock);
    rc = lines_put(&queue->lines, change);
    if (rc == 0) {
        queue->submitted++;
        for (struct kv_change *each = change; each != NULL; each = each->batch)
            each->seq = queue->submitted;
        if (!queue->committing && (begin || queue->flushing))
            pthread_cond_signal(&queue->work);
    }
    pthread_mutex_unlock(&queue->lock);
    while (rc < 0 && change->batch != NULL)
        change = change->batch;
    if (rc < 0)
        change->done(change, rc);
}

void commit_work(struct commit_queue *queue)
{
    struct group group;
    bool commit;

    pthread_mutex_lock(&queue->lock);
    commit = commit_is_due_locked(queue);
    if (commit)
        commit_take_locked(queue, &group);
    pthread_mutex_unlock(&queue->lock);
    if (commit)
        commit_group(queue, &group);
}

void commit_state(struct commit_queue *queue, uint64_t *changes, int64_t *age_ms)
{
    int64_t now_ns = queue->clock->mono_ns(queue->clock->arg), since_ns;

    pthread_mutex_lock(&queue->lock);
    since_ns = lines_oldest_ns(&queue->lines);
    if (queue->committing && queue->taken_ns < since_ns)
        since_ns = queue->taken_ns;
    if (queue->flushing && queue->flush_ns < since_ns)
        since_ns = queue->flush_ns;
    *changes = queue->submitted - atomic_load(&queue->done);
    pthread_mutex_unlock(&queue->lock);
    *age_ms = *changes > 0 && since_ns < now_ns ? (now_ns - since_ns) / 1000000 : 0;
}

int commit_sync(struct commit_queue *queue)
{
    uint64_t target;
    int rc;

    pthread_mutex_lock(&queue->lock);
    target = queue->submitted;
    queue->syncs++;
    while (queue->flushed < target && (commit_low_locked(queue) < target || queue->unflushed || queue->flushing)) {
        pthread_cond_signal(&queue->to_flush);
        pthread_cond_wait(&queue->progress, &queue->lock);
    }
    queue->syncs--;
    rc = queue->flush_rc;
    pthread_mutex_unlock(&queue->lock);
    return rc;
}
