/* The commit queue: two threads that turn waiting changes into transactions, and make them durable.
 *
 *   submit --> line of its account --committer--> applied and committed --flusher--> durable --> done
 *                                                        \--> done, with KV_DURABILITY_FSYNC
 *
 * Group commit: while a transaction runs, the changes that arrive wait; the next one takes many of them. Where
 * somebody waits for it, a flush follows each transaction, and the next one is applied meanwhile. (If nothing is queued
 * when the flush begins the committer flushes by itself, which spares the way to the other thread.) Else commits are
 * flushed when the first of them is `interval` old, or somebody waits in commit_sync(). That is all in which the two
 * durabilities differ.
 *
 * Fairness: each account has a line of its own, in the order of submission. A group takes one change of each line in
 * turn, and again, up to GROUP_CHANGES and GROUP_BYTES. A change of more than LARGE bytes is only taken where its
 * line is the first of a group, which then takes from no other. The next group begins with the next line. So nobody
 * waits for more than GROUP_BYTES, or one larger value, of each other account. Changes of different accounts may
 * overtake each other.
 *
 * A transaction that fails as a whole is aborted, and each half of its changes is tried by itself, until the
 * culprit stands alone. Nothing is retried after that: every change ends with one verdict. Where the engine's
 * commit itself failed, and not for want of space, it may have been kept all the same: then all changes of that
 * transaction end with its error. Where a flush fails, so do all who wait for it.
 *
 * The right to write (the engine's acquire()) is waited for until the oldest change of the group has waited for
 * timeout_ns since its submission. It and those that have, too, end with -ETIMEDOUT; the others go on waiting.
 *
 * When nothing was committed for REST_MS the engine is told (the engine's rest()).
 *
 * Lock order: the queue's mutex is a leaf; it is never held across a call of the engine, settled() or done().
 */
#ifndef KVFS_STORE_COMMIT_COMMIT_H
#define KVFS_STORE_COMMIT_COMMIT_H

#include "store/base/engine.h"
#include "store/base/stats.h"

struct commit_queue;

/* Called on the committer thread for each change in the order in which they were applied, after its verdict and before
 * its submitter hears it: here the edge cache learns what the central now has. */
typedef void commit_settled(void *arg, const struct kv_change *change, int rc);

struct commit_options {
    enum kv_durability durability;
    int64_t interval_ns, timeout_ns;
    commit_settled *settled;
    void *arg;
};

/* Start the threads. All pointers are borrowed and outlive the queue. */
KV_CHECKED int commit_queue_new(struct engine *engine, const struct kv_clock *clock, struct stats *stats,
                                const struct commit_options *options, struct commit_queue **out);
/* Commit everything that is queued, make it durable, stop the threads, free. */
void commit_queue_free(struct commit_queue *queue);

/* Queue a change in the line of change->account; it stays the caller's memory, and change->done is called when it has
 * its verdict, by one of the queue's threads or within this call (-ENOMEM). */
void commit_submit(struct commit_queue *queue, struct kv_change *change);
/* Wait until all that was submitted before this call is done and durable.
 * returns  0; -EIO, -ETIMEDOUT a flush has failed since the queue was made */
KV_CHECKED int commit_sync(struct commit_queue *queue);

#endif
