#include "fs/offer.h"

#include <stdlib.h>

/* How long one is wanted: the kernel tries again at once. */
#define WANTED_NS 1000000000

struct fs_offer {
    int64_t until_ns;
    struct kv_value *value; /* NULL: not made yet */
    struct kv_meta meta;
};

void fs_offer_want(struct fs_inode *inode)
{
    if (inode->offer == NULL)
        inode->offer = calloc(1, sizeof(*inode->offer));
    if (inode->offer != NULL) /* without memory for it, the open may fail once more */
        inode->offer->until_ns = fs_now_ns() + WANTED_NS;
}

/* returns  the offer that is wanted or made, or NULL */
static struct fs_offer *offer_of(struct fs_inode *inode)
{
    if (inode->offer != NULL && fs_now_ns() > inode->offer->until_ns)
        fs_offer_drop(inode);
    return inode->offer;
}

static void keep(struct fs_offer *offer, struct kv_value *value)
{
    kv_value_unref(offer->value);
    offer->value = value;
}

int fs_offer_stat(struct fs *fs, struct fs_inode *inode, const struct kv_ref *ref, struct kv_meta *meta,
                  struct kv_fresh *fresh)
{
    struct fs_offer *offer = offer_of(inode);
    struct kv_value *value;
    int rc;

    if (offer == NULL)
        return kv_stat(fs->store, ref, meta, fresh);
    rc = kv_get(fs->store, ref, meta, &value, fresh);
    if (rc < 0)
        return rc;
    keep(offer, value);
    offer->meta = *meta;
    return 0;
}

bool fs_offer_take(struct fs_inode *inode, struct kv_meta *meta, struct kv_value **value)
{
    const struct fs_offer *offer = offer_of(inode);
    bool taken = offer != NULL && offer->value != NULL && offer->meta.version == inode->version;

    if (taken) {
        *meta = offer->meta;
        *value = kv_value_ref(offer->value);
    }
    fs_offer_drop(inode);
    return taken;
}

void fs_offer_adopted(struct fs_inode *inode, uint64_t version)
{
    if (inode->offer != NULL && inode->offer->meta.version != version)
        keep(inode->offer, NULL);
}

void fs_offer_drop(struct fs_inode *inode)
{
    if (inode->offer == NULL)
        return;
    keep(inode->offer, NULL);
    free(inode->offer);
    inode->offer = NULL;
}
