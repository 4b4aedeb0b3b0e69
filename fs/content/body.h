/* Bodies: the content of open inodes.
 *
 * All handles of an inode share its body. It is made at the first open and lives until the last handle or pin is
 * gone. `value` is shared with the edge cache and with puts under way until somebody writes; then it is copied.
 *
 * States
 *
 *   NEW --first put submitted--> SUBMITTED --done--> STORED      SUBMITTED --failed--> NEW
 *   TEMPORARY --renamed onto a key--> STORED                      opened from the central storage: STORED
 *
 * Generations say what is where. `written` counts changes of the content; `put` is the newest that the central
 * storage has. The body is clean where they are equal, else dirty. It is `local` where only this node knows it:
 * dirty, not STORED, or with a put under way, whose version nobody can tell yet. Stores through shared mappings
 * come through whichever handle the kernel takes: `mapped` is the newest of their generations, and counts as
 * written by every handle that can write.
 *
 * Charges: who opens a value first pays for its bytes while it is open, and an account for those that dirty bodies
 * have more than their puts will replace; these count against its quota.
 */
#ifndef KVFS_FS_CONTENT_BODY_H
#define KVFS_FS_CONTENT_BODY_H

#include "fs/content/way.h"
#include "fs/nodes/told.h"

enum fs_body_state { FS_BODY_NEW, FS_BODY_SUBMITTED, FS_BODY_STORED, FS_BODY_TEMPORARY };

struct fs_body {
    struct fs_inode *inode;
    pthread_rwlock_t io; /* guards what follows */
    enum fs_body_state state;
    struct kv_value *value;
    struct kv_meta meta;      /* version, attributes; size is the value's */
    unsigned changed;         /* KV_MODE ...: attributes changed here that the next put carries */
    struct kv_xattrs *xattrs; /* of a body that is not STORED, or whose inode is not CURRENT; NULL: none */
    enum kv_expiry expiry;    /* SET: that of meta was set here, and the next put carries it */
    bool exclusive;           /* NEW: created with O_EXCL: only where no other node has put the key */
    unsigned writers;         /* handles that can write */
    uint64_t written, put, mapped;
    unsigned puts;        /* under way */
    uint64_t stored_size; /* of the value that the central storage has; 0 where it has none */
    struct fs_ways ways;  /* way.h */
    uint64_t account, open_bytes, dirty_bytes, temp_bytes; /* what the account is charged */
    uint64_t open_limit;                                   /* of all open_bytes of the payer */
    uid_t payer;
};

/* A body for an inode; usage: of its account. It has no value yet.
 * returns  0; -ENOMEM */
KV_CHECKED int fs_body_new(struct fs_inode *inode, const struct kv_usage *usage, uid_t payer,
                           struct fs_body **out);
/* Of an inode that does not have it any more. */
void fs_body_free(struct fs *fs, struct fs_body *body);

/* Keep the body of an inode while this is used.
 * returns  NULL where the inode is closed */
struct fs_body *fs_body_pin(struct fs *fs, struct fs_inode *inode);
/* The last one closes the inode. */
void fs_body_unpin(struct fs *fs, struct fs_inode *inode);

/* body->io is held. */
static inline bool fs_body_is_dirty(const struct fs_body *body) { return body->written != body->put; }
static inline bool fs_body_is_local_locked(const struct fs_body *body)
{
    return fs_body_is_dirty(body) || body->puts > 0 || body->state != FS_BODY_STORED;
}
/* Does the central storage have the object of an inode, or is it on its way there? body: pinned, or NULL of a
 * closed one. */
bool fs_body_is_stored(struct fs *fs, struct fs_inode *inode, struct fs_body *body);
/* Is what a closed inode's name leads to the version that it stands for, with the same owner and mode? Of an inode
 * that the kernel was told nothing of it is, from now on. The inode's lock is held. */
bool fs_inode_shows(struct fs *fs, struct fs_inode *inode, const struct kv_meta *meta);
/* fs_body_is_local_locked(), as of now. */
bool fs_body_is_local(struct fs_body *body);
/* What all handles have written, as of now. */
uint64_t fs_body_written(struct fs_body *body);

/* May the content be opened with, or grow to, `size`? body->io is held for writing, or nobody else has it.
 * returns  0; -EFBIG, -EDQUOT, -ENOSPC; -ENFILE the values that the payer has open are too large together */
KV_CHECKED int fs_body_check_room(struct fs *fs, struct fs_body *body, uint64_t size);
KV_CHECKED int fs_body_check_open(struct fs *fs, const struct fs_body *body, uint64_t size);
/* Bring the charges up to date with the content. body->io is held for writing. */
void fs_body_charge(struct fs *fs, struct fs_body *body);
/* The same for an inode (may be NULL) that was just REMOVED: what is never put counts against no quota. */
void fs_body_removed(struct fs *fs, struct fs_inode *inode);
/* Take up a temporary file.
 * returns  0; -EDQUOT, -ENOSPC */
KV_CHECKED int fs_body_charge_temporary(struct fs *fs, struct fs_body *body);

#endif
