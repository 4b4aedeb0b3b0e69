#include "fs/content/body.h"

#include "fs/base/ledger.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* Bytes of values that an account may have open on a node, in its limits. */
#define OPEN_LIMITS 4
#define TEMPORARY_COST 4096u /* of each temporary file, without its bytes */

int fs_body_new(struct fs_inode *inode, const struct kv_usage *usage, uid_t payer, struct fs_body **out)
{
    struct fs_body *body = calloc(1, sizeof(*body));
    pthread_rwlockattr_t writers_first;

    if (body == NULL)
        return -ENOMEM;
    body->inode = inode;
    body->account = usage->account;
    body->payer = payer;
    body->open_limit = usage->limit_bytes < UINT64_MAX / OPEN_LIMITS - KV_VALUE_MAX
                           ? OPEN_LIMITS * (usage->limit_bytes + KV_VALUE_MAX)
                           : UINT64_MAX;
    body->state = FS_BODY_STORED;
    /* The committer writes here: readers that follow one another must not keep it waiting. */
    pthread_rwlockattr_init(&writers_first);
    pthread_rwlockattr_setkind_np(&writers_first, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&body->io, &writers_first);
    pthread_rwlockattr_destroy(&writers_first);
    *out = body;
    return 0;
}

/* Charge `amount` in place of what is charged, whatever the limit: that was checked before. */
static void body_recharge(struct fs_ledger *ledger, uint64_t id, enum fs_resource what, uint64_t *charged,
                          uint64_t amount)
{
    if (amount > *charged && fs_ledger_charge(ledger, id, what, amount - *charged, UINT64_MAX) < 0)
        return; /* no memory to count in: what is charged stays what is given back */
    if (amount < *charged)
        fs_ledger_release(ledger, id, what, *charged - amount);
    *charged = amount;
}

static void body_charge_temporary_bytes(struct fs *fs, struct fs_body *body, uint64_t amount)
{
    uint64_t before = body->temp_bytes;

    body_recharge(fs->accounts, body->account, FS_TEMP_BYTES, &body->temp_bytes, amount);
    if (body->temp_bytes > before)
        (void)!fs_ledger_charge(fs->accounts, FS_LEDGER_NODE, FS_TEMP_BYTES, body->temp_bytes - before,
                                UINT64_MAX);
    else
        fs_ledger_release(fs->accounts, FS_LEDGER_NODE, FS_TEMP_BYTES, before - body->temp_bytes);
}

void fs_body_charge(struct fs *fs, struct fs_body *body)
{
    uint64_t size = body->value != NULL ? body->value->size : 0;
    bool grows =
        fs_body_is_dirty(body) && size > body->stored_size && fs_inode_state(fs, body->inode) != FS_REMOVED;

    body_recharge(fs->users, body->payer, FS_OPEN_BYTES, &body->open_bytes, size);
    body_recharge(fs->accounts, body->account, FS_DIRTY_BYTES, &body->dirty_bytes,
                  grows ? size - body->stored_size : 0);
    body_charge_temporary_bytes(fs, body, body->state == FS_BODY_TEMPORARY ? TEMPORARY_COST + size : 0);
}

void fs_body_free(struct fs *fs, struct fs_body *body)
{
    kv_value_unref(body->value);
    body->value = NULL;
    body->put = body->written;
    body->state = FS_BODY_STORED;
    fs_body_charge(fs, body);
    free(body->xattrs);
    fs_ways_free(&body->ways);
    pthread_rwlock_destroy(&body->io);
    free(body);
}

struct fs_body *fs_body_pin(struct fs *fs, struct fs_inode *inode)
{
    struct fs_body *body;

    fs_inode_lock(fs, inode);
    body = inode->body;
    if (body != NULL)
        inode->opens++;
    fs_inode_unlock(fs, inode);
    return body;
}

void fs_body_unpin(struct fs *fs, struct fs_inode *inode)
{
    struct fs_body *body = NULL;

    fs_inode_lock(fs, inode);
    assert(inode->opens > 0);
    if (--inode->opens == 0) {
        body = inode->body;
        fs_inode_set_body_locked(fs, inode, NULL);
        inode->version = body->meta.version;
        if (body->written > 0 && inode->pages == FS_PAGES_ALL)
            inode->pages = FS_PAGES_SOME;
        if (fs_body_is_local_locked(body)) { /* what the kernel holds of it will never be in the central storage */
            inode->version = 0;
            fs_inode_displace(fs, inode);
            fs_inode_set_local(fs, inode, false);
        }
    }
    fs_inode_unlock(fs, inode);
    if (body == NULL)
        return;
    fs_body_free(fs, body);
    fs_inode_put(fs, inode);
}

bool fs_body_is_stored(struct fs *fs, struct fs_inode *inode, struct fs_body *body)
{
    enum fs_inode_state state = fs_inode_state(fs, inode);
    bool stored = state != FS_REMOVED;

    if (body == NULL)
        return state == FS_CURRENT;
    pthread_rwlock_rdlock(&body->io);
    stored &= body->state == FS_BODY_SUBMITTED || body->state == FS_BODY_STORED;
    pthread_rwlock_unlock(&body->io);
    return stored;
}

bool fs_inode_shows(struct fs *fs, struct fs_inode *inode, const struct kv_meta *meta)
{
    if (inode->version == 0 && fs_told(fs, inode).ino == 0)
        inode->version = meta->version;
    return inode->version == meta->version && fs_told_is(fs, inode, &meta->attr);
}

bool fs_body_is_local(struct fs_body *body)
{
    bool local;

    pthread_rwlock_rdlock(&body->io);
    local = fs_body_is_local_locked(body);
    pthread_rwlock_unlock(&body->io);
    return local;
}

uint64_t fs_body_written(struct fs_body *body)
{
    uint64_t written;

    pthread_rwlock_rdlock(&body->io);
    written = body->written;
    pthread_rwlock_unlock(&body->io);
    return written;
}

/* -------------------------------------------------------------------------------- room */

static int body_check_temporary(struct fs *fs, const struct fs_body *body, uint64_t size)
{
    uint64_t more = TEMPORARY_COST + size > body->temp_bytes ? TEMPORARY_COST + size - body->temp_bytes : 0;

    if (fs_ledger_used(fs->accounts, body->account, FS_TEMP_BYTES) + more > FS_TEMP_BYTES_MAX)
        return fs_because(-EDQUOT,
                          "temporary files, whose names no key can have, may take 64 MiB of an account on a node: "
                          "remove some, or write them elsewhere");
    if (fs_ledger_used(fs->accounts, FS_LEDGER_NODE, FS_TEMP_BYTES) + more > FS_TEMP_BYTES_NODE_MAX)
        return fs_because(-ENOSPC,
                          "temporary files, whose names no key can have, may take 256 MiB on a node: remove some, "
                          "or write them elsewhere");
    return 0;
}

int fs_body_check_open(struct fs *fs, const struct fs_body *body, uint64_t size)
{
    uint64_t used = fs_ledger_used(fs->users, body->payer, FS_OPEN_BYTES) - body->open_bytes;

    if (used + size <= fs_limit_of(body->payer, body->open_limit))
        return 0;
    return fs_because(-ENFILE,
                      "the values that a user has open may be four times as large as their account's limit: "
                      "close some");
}

int fs_body_check_room(struct fs *fs, struct fs_body *body, uint64_t size)
{
    struct kv_ref ref;
    uint64_t others;

    if (size > KV_VALUE_MAX)
        return -EFBIG;
    if (size <= body->value->size)
        return 0;
    if (body->state == FS_BODY_TEMPORARY)
        return body_check_temporary(fs, body, size);
    if (fs_inode_state(fs, body->inode) == FS_REMOVED) /* no quota bounds it */
        return fs_body_check_open(fs, body, size);
    ref = fs_inode_ref(fs, body->inode);
    others = fs_ledger_used(fs->accounts, body->account, FS_DIRTY_BYTES) - body->dirty_bytes;
    return kv_quota_check(fs->store, &ref, (size_t)size, others) == -EDQUOT ? -EDQUOT : 0;
}

void fs_body_removed(struct fs *fs, struct fs_inode *inode)
{
    struct fs_body *body = inode != NULL ? fs_body_pin(fs, inode) : NULL;

    if (body == NULL)
        return;
    pthread_rwlock_wrlock(&body->io);
    fs_body_charge(fs, body);
    pthread_rwlock_unlock(&body->io);
    fs_body_unpin(fs, inode);
}

int fs_body_charge_temporary(struct fs *fs, struct fs_body *body)
{
    int rc = body_check_temporary(fs, body, 0);

    if (rc < 0)
        return rc;
    body->state = FS_BODY_TEMPORARY;
    fs_body_charge(fs, body);
    return 0;
}
