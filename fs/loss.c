#include "fs/loss.h"

#include <stddef.h>
#include <stdlib.h>
#include <uthash.h>

struct fs_loss {
    struct kv_ref ref;
    int rc;
    UT_hash_handle hh; /* in fs->nodes->losses, oldest first; fs->nodes->lock */
};

/* What of a reference tells keys apart. */
static unsigned identity_size(const struct kv_ref *ref)
{
    return (unsigned)(offsetof(struct kv_ref, key) + ref->size);
}

static void forget(struct fs *fs, struct fs_loss *loss)
{
    HASH_DEL(fs->nodes->losses, loss);
    free(loss);
}

/* fs->nodes->lock is held. */
static struct fs_loss *find(struct fs *fs, const struct kv_ref *ref)
{
    struct fs_loss *loss;

    HASH_FIND(hh, fs->nodes->losses, ref, identity_size(ref), loss);
    return loss;
}

void fs_loss_note(struct fs *fs, const struct kv_ref *ref, int rc)
{
    struct fs_loss *loss = malloc(sizeof(*loss)), *old;

    if (loss == NULL)
        return;
    loss->ref = *ref;
    loss->rc = rc;
    pthread_mutex_lock(&fs->nodes->lock);
    old = find(fs, ref);
    if (old == NULL && HASH_COUNT(fs->nodes->losses) == FS_LOSSES_KEPT)
        old = fs->nodes->losses;
    if (old != NULL)
        forget(fs, old);
    HASH_ADD_KEYPTR(hh, fs->nodes->losses, &loss->ref, identity_size(&loss->ref), loss);
    pthread_mutex_unlock(&fs->nodes->lock);
}

int fs_loss_take(struct fs *fs, const struct kv_ref *ref)
{
    struct fs_loss *loss;
    int rc = 0;

    pthread_mutex_lock(&fs->nodes->lock);
    loss = find(fs, ref);
    if (loss != NULL) {
        rc = loss->rc;
        forget(fs, loss);
    }
    pthread_mutex_unlock(&fs->nodes->lock);
    return rc;
}

void fs_losses_free(struct fs *fs)
{
    while (fs->nodes->losses != NULL)
        forget(fs, fs->nodes->losses);
}
