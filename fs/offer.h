/* Offers: how an append meets another node's put.
 *
 * The kernel appends at the end that it was last told (by a LOOKUP or GETATTR), so an OPEN with O_APPEND must give it
 * just that value. Where another node put a newer one in between, the OPEN fails with ESTALE. The kernel then looks the
 * name up again, and opens it once more, and no third time. So what tells it the size keeps the value for the OPEN
 * that follows: the key is appended to as it was then, and the put in between might as well have come first.
 *
 * An offer belongs to a CLOSED incarnation (inode.h), is of its `version`, and is guarded by the inode's lock. It is made,
 * and can be taken, in the second after that OPEN only, so that nothing old is appended to. */
#ifndef KVFS_FS_OFFER_H
#define KVFS_FS_OFFER_H

#include "fs/inode.h"

/* An append has met another version than the kernel knows: make offers, for a second. */
void fs_offer_want(struct fs_inode *inode);

/* As kv_stat(), for what the kernel is told of a CLOSED incarnation; where an offer is wanted, it is made. */
KV_CHECKED int fs_offer_stat(struct fs *fs, struct fs_inode *inode, const struct kv_ref *ref, struct kv_meta *meta,
                             struct kv_fresh *fresh);

/* returns  whether there was an offer of what the kernel knows, and then what it was of, with a reference to the
 *          value; none is wanted any more */
bool fs_offer_take(struct fs_inode *inode, struct kv_meta *meta, struct kv_value **value);

/* The incarnation shows this version now: an offer of another one is void. */
void fs_offer_adopted(struct fs_inode *inode, uint64_t version);
void fs_offer_drop(struct fs_inode *inode);

#endif
