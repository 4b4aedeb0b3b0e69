/* What users and accounts have taken of a node's bounded resources. */
#ifndef KVFS_FS_BASE_LEDGER_H
#define KVFS_FS_BASE_LEDGER_H

#include "fs/base/fs.h"

enum fs_resource {
    FS_HANDLES,         /* open files and directories */
    FS_CONTROL_HANDLES, /* open control files */
    FS_LOCKS,           /* flock and fcntl locks */
    FS_LOCK_WAITERS,    /* processes that wait for one */
    FS_TEMP_BYTES,      /* in temporary files */
    FS_OPEN_BYTES,      /* of values that are open */
    FS_DIRTY_BYTES,     /* written and not put yet */
    FS_RESOURCES
};

/* Of a user; operators (fs_is_operator()) have no limit, except for control files. */
#define FS_HANDLES_MAX 16384u
#define FS_CONTROL_HANDLES_MAX 64u
#define FS_LOCKS_MAX 1024u
#define FS_LOCK_WAITERS_MAX 256u
/* Of an account, and of the node. */
#define FS_TEMP_BYTES_MAX ((uint64_t)64 << 20)
#define FS_TEMP_BYTES_NODE_MAX ((uint64_t)256 << 20)

#define FS_LEDGER_NODE 0u /* the id of the node itself: no account has it */

/* returns  0; -ENOMEM */
KV_CHECKED int fs_ledger_new(struct fs_ledger **out);
void fs_ledger_free(struct fs_ledger *ledger); /* may be NULL */

/* Take `amount`, unless that would pass `limit` (UINT64_MAX: none).
 * returns  0; -EDQUOT nothing was taken: the caller turns it into its own errno; -ENOMEM
 * threads  any; the lock inside is a leaf */
KV_CHECKED int fs_ledger_charge(struct fs_ledger *ledger, uint64_t id, enum fs_resource what, uint64_t amount,
                                uint64_t limit);
/* Give back; not more than was taken. */
void fs_ledger_release(struct fs_ledger *ledger, uint64_t id, enum fs_resource what, uint64_t amount);
/* Of all ids together. */
uint64_t fs_ledger_total(struct fs_ledger *ledger, enum fs_resource what);
uint64_t fs_ledger_used(struct fs_ledger *ledger, uint64_t id, enum fs_resource what);

/* `limit`, or none for an operator. */
static inline uint64_t fs_limit_of(uid_t uid, uint64_t limit) { return fs_is_operator(uid) ? UINT64_MAX : limit; }

#endif
