/* kvctl load --atomic: all keys or none. The store does what is one batch in one transaction. */
#include "tools/kvctl/load.h"

#include <errno.h>
#include <stdlib.h>

int load_keep(struct load *load, struct window_slot *slot)
{
    if (load->batch_count == KV_BATCH_MAX) {
        window_return(&load->window, slot);
        load->stop = true;
        return load_refuse(load, slot->number, "--atomic is for at most %d keys", KV_BATCH_MAX);
    }
    if (load->batch == NULL) {
        load->batch = calloc(KV_BATCH_MAX, sizeof(struct window_slot *));
        if (load->batch == NULL) {
            load->stop = true;
            (void)load_refuse(load, slot->number, "%s: out of memory", slot->change.ref.key);
            window_return(&load->window, slot);
            return CTL_ERROR;
        }
    }
    load->batch[load->batch_count++] = slot;
    return CTL_OK;
}

void load_forget(struct load *load)
{
    for (size_t i = 0; i < load->batch_count; i++)
        window_return(&load->window, load->batch[i]);
    load->batch_count = 0;
    free(load->batch);
    load->batch = NULL;
}

/* The change that was refused, for which all others were called off. */
static size_t load_culprit(const struct kv_change *changes, size_t count, int rc)
{
    size_t i = 0;

    while (i + 1 < count && changes[i].rc != rc)
        i++;
    return i;
}

static int load_fail_all(struct load *load, const struct kv_change *changes, int rc)
{
    struct window_slot *slot = load->batch[load_culprit(changes, load->batch_count, rc)];

    if (rc == -EXDEV) {
        (void)load_refuse(load, slot->number, "the keys are not all of one account; --atomic is for one account");
        return CTL_ERROR;
    }
    if (rc == -EEXIST) {
        (void)load_refuse(load, slot->number, "%s: this key exists already; nothing was changed",
                          slot->change.ref.key);
        return CTL_CONDITION;
    }
    if (rc == -EDQUOT) {
        (void)load_refuse(
            load, slot->number,
            "%s: the account's limits have no room for all of them; raise them with: kvctl account limit",
            slot->change.ref.key);
        return CTL_ERROR;
    }
    load->window.verdict(load->window.arg, slot, rc);
    return CTL_ERROR;
}

int load_all(struct load *load)
{
    struct kv_change *changes;
    int rc, status = CTL_OK;

    if (load->batch_count == 0)
        return CTL_OK;
    changes = calloc(load->batch_count, sizeof(*changes));
    if (changes == NULL)
        return ctl_fail("out of memory");
    for (size_t i = 0; i < load->batch_count; i++)
        changes[i] = load->batch[i]->change;
    rc = kv_apply_all(load->request->store, changes, load->batch_count);
    if (rc < 0)
        status = load_fail_all(load, changes, rc);
    else
        load->loaded += load->batch_count;
    free(changes);
    return status;
}
