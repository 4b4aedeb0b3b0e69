/* The commit queue: turns waiting changes into transactions of the backend, and makes them durable.
 *
 *   submit --> line of its account --> committed (visible) --flush--> durable --> done
 *                                                \--> done, with KV_DURABILITY_FSYNC
 *
 * One thread at a time commits. One that submits a change and has nothing else to do until that is done works for
 * the queue (commit_work()), where nobody else does: this spares a put the way to another thread and back. It commits
 * one group, with whatever waits by then, and leaves the rest to the committer.
 *
 * Group commit: while a transaction runs, the changes that arrive wait; the next one takes many of them. Where
 * somebody waits for it, a flush follows each transaction: by the thread that committed, if nothing is queued when the
 * flush begins, else by the flusher. What arrives when a flush has just begun waits for its end, as it would have to
 * anyway, and is one transaction then (16 writers: 5,000 puts a second, 3,000 where each was a transaction); from
 * GATHER_MAX changes or GATHER_US on they are applied meanwhile. Where nobody waits, commits are flushed when the
 * first of them is `interval` old, or somebody waits in commit_sync(). That is all in which the two durabilities
 * differ.
 *
 * Fairness: each account has a line of its own, in the order of submission. A group takes one change of each line in
 * turn, and again, up to GROUP_CHANGES and GROUP_BYTES (lines.c). A change of more than LARGE bytes is only taken where
 * its line is the first of a group, which then takes from no other; a batch is a group of its own. The next group
 * begins with the next line. So nobody waits for more than GROUP_BYTES, or one larger value or batch, of each other
 * account. Changes of different accounts may overtake each other.
 *
 * A transaction that fails as a whole is tried again by halves, until the culprit stands alone. Nothing is
 * retried after that: every change ends with one verdict. Where it is not known whether a transaction was kept, all its
 * changes end with its error. Where a flush fails, so do all who wait for it. A batch is never divided: where one of
 * its changes is refused, none is done.
 *
 * The right to write is waited for until the oldest change of the group has waited for timeout_ns since its submission.
 * It and those that have, too, end with -ETIMEDOUT; the others go on waiting.
 *
 * When nothing was committed for REST_MS the backend is told (BACKEND_REST).
 *
 * Lock order: the queue's mutex is a leaf; it is never held across a call of the backend, settled() or done().
 */
#ifndef KVFS_STORE_COMMIT_COMMIT_H
#define KVFS_STORE_COMMIT_COMMIT_H

#include "store/backend.h"
#include "store/base/stats.h"

struct commit_queue;

/* Called for each change in the order in which they were applied, after its verdict and before
 * its submitter hears it: here the edge cache learns what the central now has. */
typedef void commit_settled(void *arg, const struct kv_change *change, int rc);

struct commit_options {
    enum kv_durability durability;
    int64_t interval_ns, timeout_ns;
    commit_settled *settled;
    void *arg;
};

/* Start the threads. The options are copied; all other pointers, and theirs, are borrowed and outlive the queue.
 * returns  0; -ENOMEM, -EAGAIN */
KV_CHECKED int commit_queue_new(struct backend *backend, const struct kv_clock *clock, struct stats *stats,
                                const struct commit_options *options, struct commit_queue **out);
/* Commit everything that is queued, make it durable, stop the threads, free. */
void commit_queue_free(struct commit_queue *queue);

/* Queue a change, or with its `batch` several, in the line of change->account. They stay the caller's memory, and
 * done of the last of them is called when there is a verdict, by one of the queue's threads, by another that works
 * for it, or within this call.
 * begin    let the committer begin; else the caller is about to call commit_work() */
void commit_submit(struct commit_queue *queue, struct kv_change *change, bool begin);
/* Commit one group of what waits on this thread, if nobody else commits just now. */
void commit_work(struct commit_queue *queue);
/* How many changes, batches counting as one, were submitted and are not done; and the age of the oldest of them, 0
 * where there is none. Does not wait. */
void commit_state(struct commit_queue *queue, uint64_t *changes, int64_t *age_ms);
/* Wait until all that was submitted before this call is done and durable.
 * returns  0; -EIO, -ETIMEDOUT a flush has failed since the queue was made */
KV_CHECKED int commit_sync(struct commit_queue *queue);

#endif
