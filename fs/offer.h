/* Offers: how an append meets another node's put.
 *
 * The kernel appends at the end that its last LOOKUP was told, so an OPEN with O_APPEND must give it just that value.
 * Where another node put a newer one in between, the OPEN fails with ESTALE. The kernel then looks the name up
 * again, and opens it once more, and no third time. So that LOOKUP keeps the value that it tells of for the OPEN that
 * follows: the key is appended to as of the LOOKUP, and the put in between might as well have come first.
 *
 * An offer belongs to a CLOSED incarnation (inode.h), is of its `version`, and is guarded by the inode's lock. One that is
 * not taken soon is not taken at all, so that nothing older is appended to. */
#ifndef KVFS_FS_OFFER_H
#define KVFS_FS_OFFER_H

#include "fs/inode.h"

/* An append has met another version than the kernel knows: make an offer at the next lookup. */
void fs_offer_want(struct fs_inode *inode);
bool fs_offer_is_wanted(const struct fs_inode *inode);

/* As kv_stat(), and keep the value for the append. */
KV_CHECKED int fs_offer_make(struct fs *fs, struct fs_inode *inode, const struct kv_ref *ref, struct kv_meta *meta,
                             struct kv_fresh *fresh);

/* returns  whether there was an offer of what the kernel knows, and then what it was of, with a reference to the
 *          value; none is left */
bool fs_offer_take(struct fs_inode *inode, struct kv_meta *meta, struct kv_value **value);

/* The incarnation shows this version now: an offer of another one is void. */
void fs_offer_adopted(struct fs_inode *inode, uint64_t version);
void fs_offer_drop(struct fs_inode *inode);

#endif
