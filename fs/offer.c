#include "fs/offer.h"

#include <stdlib.h>

#define KEPT_NS 1000000000

struct fs_offer {
    struct kv_value *value; /* NULL: wanted */
    struct kv_meta meta;
    int64_t made_ns;
};

void fs_offer_want(struct fs_inode *inode)
{
    if (inode->offer == NULL)
        inode->offer = calloc(1, sizeof(*inode->offer)); /* without memory for it, the open may fail once more */
}

bool fs_offer_is_wanted(const struct fs_inode *inode) { return inode->offer != NULL; }

int fs_offer_make(struct fs *fs, struct fs_inode *inode, const struct kv_ref *ref, struct kv_meta *meta,
                  struct kv_fresh *fresh)
{
    struct fs_offer *offer = inode->offer;
    struct kv_value *value;
    int rc = kv_get(fs->store, ref, meta, &value, fresh);

    if (rc < 0)
        return rc;
    kv_value_unref(offer->value);
    offer->value = value;
    offer->meta = *meta;
    offer->made_ns = fs_now_ns();
    return 0;
}

bool fs_offer_take(struct fs_inode *inode, struct kv_meta *meta, struct kv_value **value)
{
    struct fs_offer *offer = inode->offer;
    bool taken = offer != NULL && offer->value != NULL && offer->meta.version == inode->version &&
                 fs_now_ns() - offer->made_ns < KEPT_NS;

    if (taken) {
        *meta = offer->meta;
        *value = kv_value_ref(offer->value);
    }
    fs_offer_drop(inode);
    return taken;
}

void fs_offer_adopted(struct fs_inode *inode, uint64_t version)
{
    const struct fs_offer *offer = inode->offer;

    if (offer != NULL && offer->value != NULL && offer->meta.version != version)
        fs_offer_drop(inode);
}

void fs_offer_drop(struct fs_inode *inode)
{
    if (inode->offer == NULL)
        return;
    kv_value_unref(inode->offer->value);
    free(inode->offer);
    inode->offer = NULL;
}
