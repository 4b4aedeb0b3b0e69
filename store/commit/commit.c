#include "store/commit/commit.h"

#include "store/rules/apply.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <utlist.h>

#define GROUP_CHANGES 1024
#define GROUP_BYTES ((size_t)8 << 20)
#define LARGE ((size_t)1 << 20)
#define REST_MS 1000

struct commit_line {
    uint64_t account;
    struct kv_change *head, **tail;
    struct commit_line *prev, *next; /* in turn */
    UT_hash_handle hh;               /* by account */
};

struct commit_group {
    struct kv_change *head, **tail;
    size_t changes, bytes;
};

struct commit_queue {
    struct engine *engine;
    const struct kv_clock *clock;
    struct stats *stats;
    struct commit_options options;
    pthread_t committer, flusher;

    pthread_mutex_t lock;
    pthread_cond_t work;                    /* for the committer: something is queued, or stopping */
    pthread_cond_t to_flush;                /* for the flusher */
    pthread_cond_t progress;                /* for those in commit_sync() */
    struct commit_line *lines, *by_account; /* that are not empty, the next group's first line first */
    size_t queued;
    uint64_t submitted;    /* number of the last change */
    uint64_t group_oldest; /* number of the oldest change that the committer has taken; UINT64_MAX: none */

    struct commit_group committed; /* they wait for the next flush */
    bool unflushed;                /* something was committed since the last flush began */
    bool flushing;
    struct timespec flush_at; /* while unflushed: when it is due at the latest */
    uint64_t flushed;         /* all changes up to this number are durable */
    int flush_rc;             /* of the first flush that failed */
    unsigned syncs;           /* callers in commit_sync() */
    bool stopping, committed_all;
};

static size_t commit_weight(const struct kv_change *change)
{
    return change->kind == KV_PUT ? change->value->size : 0;
}

static void commit_group_clear(struct commit_group *group)
{
    *group = (struct commit_group){.head = NULL};
    group->tail = &group->head;
}

static void commit_group_add(struct commit_group *group, struct kv_change *change)
{
    change->next = NULL;
    *group->tail = change;
    group->tail = &change->next;
    group->changes++;
    group->bytes += commit_weight(change);
}

static struct timespec commit_after_ns(int64_t ns)
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

/* ----------------------------------------------------------------------------- lines */

/* Take the first change off a line, which goes when it is empty. The lock is held. */
static void commit_take_locked(struct commit_queue *queue, struct commit_line *line, struct commit_group *group)
{
    struct kv_change *change = line->head;

    line->head = change->next;
    queue->queued--;
    if (change->seq < queue->group_oldest)
        queue->group_oldest = change->seq;
    commit_group_add(group, change);
    if (line->head == NULL) {
        DL_DELETE(queue->lines, line);
        HASH_DEL(queue->by_account, line);
        free(line);
    }
}

static void commit_move_to_end_locked(struct commit_queue *queue, struct commit_line *line)
{
    DL_DELETE(queue->lines, line);
    DL_APPEND(queue->lines, line);
}

/* Take from one line only, which begins with a large change. The lock is held. */
static void commit_take_large_locked(struct commit_queue *queue, struct commit_group *group)
{
    struct commit_line *line = queue->lines;
    bool last;

    do {
        last = line->head->next == NULL;
        commit_take_locked(queue, line, group);
    } while (!last && group->changes < GROUP_CHANGES && group->bytes + commit_weight(line->head) <= GROUP_BYTES);
    if (!last)
        commit_move_to_end_locked(queue, line);
}

/* Take a change of each line in turn, but no large ones: lines that begin with one stay the first. The lock is held. */
static void commit_take_small_locked(struct commit_queue *queue, struct commit_group *group)
{
    struct commit_line *skipped = NULL, *line;

    while ((line = queue->lines) != NULL && group->changes < GROUP_CHANGES && group->bytes < GROUP_BYTES) {
        bool last = line->head->next == NULL;

        if (commit_weight(line->head) > LARGE) {
            DL_DELETE(queue->lines, line);
            DL_APPEND(skipped, line);
        } else {
            commit_take_locked(queue, line, group);
            if (!last)
                commit_move_to_end_locked(queue, line);
        }
    }
    DL_CONCAT(skipped, queue->lines);
    queue->lines = skipped;
}

/* Take the next group; waits for one. returns false: stopped, and nothing is left */
static bool commit_take_group(struct commit_queue *queue, struct commit_group *group, bool *restless)
{
    commit_group_clear(group);
    pthread_mutex_lock(&queue->lock);
    while (queue->queued == 0 && !queue->stopping) {
        struct timespec rest_at = commit_after_ns((int64_t)REST_MS * 1000000);

        if (!*restless) {
            pthread_cond_wait(&queue->work, &queue->lock);
        } else if (pthread_cond_timedwait(&queue->work, &queue->lock, &rest_at) == ETIMEDOUT &&
                   queue->queued == 0) {
            pthread_mutex_unlock(&queue->lock);
            *restless = engine_rest(queue->engine) == -ETIMEDOUT;
            pthread_mutex_lock(&queue->lock);
        }
    }
    if (queue->queued > 0 && commit_weight(queue->lines->head) > LARGE)
        commit_take_large_locked(queue, group);
    else if (queue->queued > 0)
        commit_take_small_locked(queue, group);
    pthread_mutex_unlock(&queue->lock);
    return group->head != NULL;
}

/* ---------------------------------------------------------------------- transactions */

/* Apply some changes in one transaction; each gets its own verdict in ->rc.
 * unsure   set where the answer of the commit is missing: it may have been kept all the same
 * returns  0; <0 the transaction failed, and, unless unsure, none of the changes is done */
static int commit_run(struct commit_queue *queue, struct kv_change *first, size_t count, bool *unsure)
{
    int64_t start_ns = queue->clock->mono_ns(queue->clock->arg);
    struct kv_change *change = first;
    size_t puts = 0;
    struct tx *tx;
    int rc = tx_begin(queue->engine, queue->clock->real_ns(queue->clock->arg), &tx);

    *unsure = false;
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < count; i++, change = change->next) {
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

static void commit_run_all(struct commit_queue *queue, struct kv_change *first, size_t count)
{
    struct kv_change *change = first;
    bool unsure;
    int rc = commit_run(queue, first, count, &unsure);

    if (rc < 0 && count > 1 && !unsure) {
        for (size_t i = 0; i < count / 2; i++)
            change = change->next;
        commit_run_all(queue, first, count / 2);
        commit_run_all(queue, change, count - count / 2);
    } else if (rc < 0) {
        for (size_t i = 0; i < count; i++, change = change->next) {
            change->rc = rc;
            stats_commit_failure(queue->stats);
        }
    }
}

/* ------------------------------------------------------------------------ the verdicts */

static void commit_settle(struct commit_queue *queue, const struct commit_group *group)
{
    for (const struct kv_change *change = group->head; change != NULL; change = change->next)
        queue->options.settled(queue->options.arg, change, change->rc);
}

/* rc: of the flush; changes that were refused are so whatever became of it. */
static void commit_finish(struct commit_queue *queue, struct commit_group *group, int rc)
{
    int64_t now_ns = queue->clock->mono_ns(queue->clock->arg);
    struct kv_change *next;

    for (struct kv_change *change = group->head; change != NULL; change = next) {
        next = change->next; /* done() may free the change */
        if (change->kind == KV_PUT)
            stats_record(&queue->stats->put, now_ns - change->submitted_ns);
        change->done(change, change->rc == 0 ? rc : change->rc);
    }
}

static int64_t commit_left_ns(struct commit_queue *queue, const struct kv_change *change)
{
    return queue->options.timeout_ns - (queue->clock->mono_ns(queue->clock->arg) - change->submitted_ns);
}

/* The group waited in vain for the right to write: end its changes whose time is over, or all. */
static void commit_give_up(struct commit_queue *queue, struct commit_group *group, int rc)
{
    struct kv_change *change = group->head, *next;
    struct commit_group over;

    commit_group_clear(&over);
    commit_group_clear(group);
    for (; change != NULL; change = next) {
        next = change->next;
        if (rc == -ETIMEDOUT && commit_left_ns(queue, change) > 0) {
            commit_group_add(group, change);
        } else {
            change->rc = rc;
            stats_commit_failure(queue->stats);
            commit_group_add(&over, change);
        }
    }
    commit_settle(queue, &over);
    commit_finish(queue, &over, 0);
}

/* Get the right to write for those of the group whose time is not over by then. */
static bool commit_acquire(struct commit_queue *queue, struct commit_group *group)
{
    while (group->head != NULL) {
        int64_t least = INT64_MAX;
        int rc;

        for (const struct kv_change *change = group->head; change != NULL; change = change->next) {
            int64_t left = commit_left_ns(queue, change);

            least = left < least ? left : least;
        }
        rc = engine_acquire(queue->engine, least > 0 ? least : 0);
        if (rc == 0)
            return true;
        commit_give_up(queue, group, rc);
    }
    return false;
}

/* ------------------------------------------------------------------------------- flush */

/* Up to which number is everything committed? The lock is held. */
static uint64_t commit_low_locked(const struct commit_queue *queue)
{
    uint64_t oldest = queue->group_oldest < queue->submitted + 1 ? queue->group_oldest : queue->submitted + 1;
    const struct commit_line *line;

    DL_FOREACH(queue->lines, line)
        oldest = line->head->seq < oldest ? line->head->seq : oldest;
    return oldest - 1;
}

/* Make durable what is committed now, and tell those who wait. The lock is held, but not all the time. */
static void commit_flush_locked(struct commit_queue *queue)
{
    struct commit_group group = queue->committed;
    uint64_t through = commit_low_locked(queue);
    int rc;

    commit_group_clear(&queue->committed);
    queue->unflushed = false;
    queue->flushing = true;
    pthread_mutex_unlock(&queue->lock);
    rc = engine_flush(queue->engine, queue->options.timeout_ns);
    commit_finish(queue, &group, rc);
    pthread_mutex_lock(&queue->lock);
    queue->flushing = false;
    queue->flushed = through;
    if (rc < 0 && queue->flush_rc == 0)
        queue->flush_rc = rc;
    pthread_cond_broadcast(&queue->progress);
}

static bool commit_has_passed(const struct timespec *time)
{
    struct timespec now = commit_after_ns(0);

    return now.tv_sec > time->tv_sec || (now.tv_sec == time->tv_sec && now.tv_nsec >= time->tv_nsec);
}

static void *commit_flusher(void *arg)
{
    struct commit_queue *queue = arg;

    pthread_mutex_lock(&queue->lock);
    for (;;) {
        bool due = queue->committed.head != NULL ||
                   (queue->unflushed &&
                    (queue->syncs > 0 || queue->committed_all || commit_has_passed(&queue->flush_at)));

        if (due && !queue->flushing)
            commit_flush_locked(queue);
        else if (queue->committed_all && !queue->unflushed && !queue->flushing)
            break;
        else if (queue->unflushed && !queue->flushing)
            pthread_cond_timedwait(&queue->to_flush, &queue->lock, &queue->flush_at);
        else
            pthread_cond_wait(&queue->to_flush, &queue->lock);
    }
    pthread_mutex_unlock(&queue->lock);
    return NULL;
}

/* The group was committed: its submitters hear of it now or after a flush. */
static void commit_pass_on(struct commit_queue *queue, struct commit_group *group)
{
    bool waits = queue->options.durability == KV_DURABILITY_CLOSE;

    if (!waits)
        commit_finish(queue, group, 0);
    pthread_mutex_lock(&queue->lock);
    queue->group_oldest = UINT64_MAX;
    if (!queue->unflushed)
        queue->flush_at = commit_after_ns(queue->options.interval_ns);
    queue->unflushed = true;
    if (waits && group->head != NULL) {
        *queue->committed.tail = group->head;
        queue->committed.tail = group->tail;
    }
    /* With nothing else to do this thread is as good as the other, and spares the way to it. */
    if (waits && queue->queued == 0 && !queue->flushing)
        commit_flush_locked(queue);
    pthread_cond_signal(&queue->to_flush);
    pthread_cond_broadcast(&queue->progress);
    pthread_mutex_unlock(&queue->lock);
}

static void *commit_committer(void *arg)
{
    struct commit_queue *queue = arg;
    struct commit_group group;
    bool restless = false;

    while (commit_take_group(queue, &group, &restless)) {
        if (commit_acquire(queue, &group)) {
            commit_run_all(queue, group.head, group.changes);
            engine_release(queue->engine);
            commit_settle(queue, &group);
            restless = true;
        }
        commit_pass_on(queue, &group);
    }
    pthread_mutex_lock(&queue->lock);
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

int commit_queue_new(struct engine *engine, const struct kv_clock *clock, struct stats *stats,
                     const struct commit_options *options, struct commit_queue **out)
{
    struct commit_queue *queue = calloc(1, sizeof(*queue));
    pthread_condattr_t monotonic;
    int rc;

    if (queue == NULL)
        return -ENOMEM;
    queue->engine = engine;
    queue->clock = clock;
    queue->stats = stats;
    queue->options = *options;
    queue->group_oldest = UINT64_MAX;
    commit_group_clear(&queue->committed);
    pthread_mutex_init(&queue->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&queue->work, &monotonic);
    pthread_cond_init(&queue->to_flush, &monotonic);
    pthread_cond_init(&queue->progress, &monotonic);
    pthread_condattr_destroy(&monotonic);
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

/* The line of an account. NULL: no memory. The lock is held. */
static struct commit_line *commit_line_locked(struct commit_queue *queue, uint64_t account)
{
    struct commit_line *line;

    HASH_FIND(hh, queue->by_account, &account, sizeof(account), line);
    if (line != NULL)
        return line;
    line = calloc(1, sizeof(*line));
    if (line == NULL)
        return NULL;
    line->account = account;
    line->tail = &line->head;
    HASH_ADD(hh, queue->by_account, account, sizeof(account), line);
    DL_APPEND(queue->lines, line);
    return line;
}

void commit_submit(struct commit_queue *queue, struct kv_change *change)
{
    struct commit_line *line;

    pthread_mutex_lock(&queue->lock);
    line = commit_line_locked(queue, change->account);
    if (line != NULL) {
        change->next = NULL;
        change->seq = ++queue->submitted;
        *line->tail = change;
        line->tail = &change->next;
        queue->queued++;
        pthread_cond_signal(&queue->work);
    }
    pthread_mutex_unlock(&queue->lock);
    if (line == NULL)
        change->done(change, -ENOMEM);
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
