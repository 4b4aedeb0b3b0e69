/* Accepted puts: with KV_DURABILITY_FSYNC a put is done as soon as it is queued and visible on this node.
 *
 * An accepted put must not fail later for a reason that could have been known. So it is accepted only
 * where its namespace and the account's room are certain now: the account's bytes in the central, plus those by
 * which what this node has accepted and not settled yet makes it grow (`reserved`), plus this put stay within the
 * limit. The commit then does not ask for the quota again (another node may have used the room meanwhile; the
 * limit is passed by that much, the sums stay exact). Whatever is not certain goes the way of KV_DURABILITY_CLOSE
 * and gets its verdict from the commit.
 *
 * Only puts are accepted, and only while no other change is queued or under way, from before the key is looked up
 * until the put is queued: so what an accepted put is going to make of its key is known, and whatever settles on
 * that key before its commit was accepted, too.
 *
 * What was accepted and cannot be committed after all (the disk is full or broken) is told through
 * options.lost and the next kv_sync(); the key shows the central's value again. A change that builds on it (a
 * rename, of attributes) waits until it is settled, and fails as it did: it must not be made of what was there
 * before.
 *
 * Order: `lock` is held from the moment at which a put becomes visible in the edge cache until it is queued,
 * so both see the puts of a key in one order.
 */
#ifndef KVFS_STORE_STAGE_H
#define KVFS_STORE_STAGE_H

#include "store/api/store.h"

/* Try to accept a put.
 * returns  true: it is done, and change->meta says what it makes of the key; false: submit it
 * as any other change */
bool stage_put(struct kv_store *store, struct kv_change *change);

/* Bytes that accepted puts are going to give back to an account: 0 or less. */
int64_t stage_freed(struct kv_store *store, uint64_t account_id);

/* Where accepted puts are not settled yet, wait until they are: for what the edge cache cannot answer, so that
 * they are visible there, too.
 * returns  whether it waited */
bool stage_settle(struct kv_store *store);

/* The same for the accepted puts of one key.
 * returns  0; why one of them was lost meanwhile */
KV_CHECKED int stage_settle_key(struct kv_store *store, const struct kv_ref *ref);

/* Wait until all accepted puts are settled; the first failure since the last call, or 0. */
KV_CHECKED int stage_sync(struct kv_store *store);

/* Free what is kept here; nothing is accepted or unsettled any more. */
void stage_free(struct kv_store *store);

#endif
