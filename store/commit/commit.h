/* The commit queue: one thread that turns waiting changes into transactions.
 *
 * Group commit: while a transaction is being made durable, the changes that
 * arrive wait; the next transaction takes all of them (bounded by GROUP_CHANGES
 * and GROUP_BYTES). Order of submission is order of application, so the changes
 * of one key never overtake each other.
 *
 * Accepted puts (stage.h) are in no hurry: the committer lets them gather until one of them has waited for
 * the interval, or there are GROUP_CHANGES or GROUP_BYTES of them, or anything else is queued or waits in
 * commit_drain().
 *
 * A transaction that fails as a whole is aborted, and each of its changes then
 * runs in a transaction of its own, in order: the culprit gets its error, the
 * others succeed. Nothing is retried after that: every change ends with one
 * verdict, told through `settled` and then change->done. Where the engine's commit itself
 * failed, and not for want of space, it may have been kept all the same: run
 * again, a change could then be refused because of what it did. So all changes of
 * that group end with its error.
 *
 * The right to write (the engine's acquire()) is waited for until the oldest change of the group has waited for
 * timeout_ns since its submission. It and those that have, too, end with -ETIMEDOUT; the others go on waiting.
 *
 * Lock order: the queue's mutex is a leaf, but for show(), which is called under it;
 * it is never held across a transaction, settled() or done().
 */
#ifndef KVFS_STORE_COMMIT_H
#define KVFS_STORE_COMMIT_H

#include "store/base/engine.h"
#include "store/base/stats.h"

struct commit_queue;

/* Called on the committer thread for each change in order, after its verdict is final and before its
 * submitter hears it: here the edge cache learns what the central now has. */
typedef void commit_settled(void *arg, const struct kv_change *change, int rc);

/* Start the committer. All pointers are borrowed and outlive the queue. */
KV_CHECKED int commit_queue_new(struct engine *engine, const struct kv_clock *clock, struct stats *stats,
                                int64_t interval_ns, int64_t timeout_ns, commit_settled *settled, void *arg,
                                struct commit_queue **out);
/* Settle everything that is queued, stop the thread, free. */
void commit_queue_free(struct commit_queue *queue);

/* Queue a change; it stays the caller's memory, and change->done is called when it has its verdict. */
void commit_submit(struct commit_queue *queue, struct kv_change *change);
/* Is no change but accepted puts queued or under way? *since is set where it is so. */
bool commit_is_calm(struct commit_queue *queue, uint64_t *since);
/* Queue an accepted put if it was calm all the time since then, and `show` answers true: it is called when nothing
 * else stands in the way, with the queue's lock held. returns  whether it was queued */
typedef bool commit_show(void *arg);
bool commit_submit_calm(struct commit_queue *queue, struct kv_change *change, uint64_t since, commit_show *show,
                        void *arg);
/* Wait until all that was submitted before this call is settled. */
void commit_drain(struct commit_queue *queue);

#endif
