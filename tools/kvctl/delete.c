#include "tools/kvctl/keys.h"
#include "tools/kvctl/swap.h"
#include "tools/kvctl/window.h"

#include <errno.h>
#include <string.h>

/* What becomes of the keys of one command. */
struct delete
{
    struct ctl_request *request;
    struct window window;
    uint64_t deleted;
    int status;
};

/* The path of a key, for a message. */
static void delete_say(struct ctl_request *request, const struct kv_ref *ref, int rc)
{
    struct kv_node namespace, account;
    char subject[2 * (KV_NAME_MAX + 1) + KV_KEY_MAX + 1];
    bool known = kv_node_get(request->store, ref->node, &namespace) == 0 &&
                 kv_node_get(request->store, namespace.parent, &account) == 0;

    snprintf(subject, sizeof(subject), "%s%s%s%s%s", known ? account.name : "", known ? "/" : "",
             known ? namespace.name : "", known ? "/" : "", ref->key);
    if (rc == -ENOENT)
        ctl_say("%s: there is no such key; nothing was changed", subject);
    else
        (void)ctl_fail_key(request, subject, ref, rc);
}

static void delete_verdict(void *arg, struct window_slot *slot, int rc)
{
    struct delete *delete = arg;

    if (rc == 0) {
        delete->deleted++;
        return;
    }
    /* A key that only its prefix has named may be gone by now. */
    if (rc == -ENOENT && ctl_given(delete->request, CTL_PREFIX))
        return;
    delete_say(delete->request, &slot->change.ref, rc);
    if (rc != -ENOENT)
        delete->status = CTL_ERROR;
    else if (delete->status == CTL_OK)
        delete->status = CTL_NO;
}

static int delete_one(struct ctl_request *request, void *arg)
{
    struct delete *delete = arg;
    struct window_slot *slot = window_take(&delete->window);

    if (slot == NULL)
        return ctl_fail("out of memory");
    slot->change.kind = KV_DELETE;
    slot->change.ref = ctl_key(request);
    window_submit(&delete->window, slot);
    return CTL_OK;
}

/* Delete one key if it is as it is said to be. */
static int delete_if(struct ctl_request *request, void *arg)
{
    struct kv_change change = {.kind = KV_DELETE, .ref = ctl_key(request)};
    struct delete *delete = arg;
    int rc, status = swap_set_condition(request, &change);

    if (status != CTL_OK)
        return status;
    rc = kv_apply(request->store, &change);
    if (rc < 0)
        return swap_fail(request, &change, rc);
    delete->deleted++;
    return CTL_OK;
}

int ctl_delete(struct ctl_request *request)
{
    struct delete delete = {.request = request, .status = CTL_OK};
    int status;

    if (request->prefix != NULL && *request->prefix == '\0')
        return ctl_fail_usage(
            request, CTL_PREFIX,
            "--prefix '': this would delete all keys; kvctl namespace delete --recursive does that");
    if (swap_is_conditional(request) && keys_are_many(request))
        return ctl_fail_usage(request, CTL_IF_VERSION, "a condition is for one key");
    window_init(&delete.window, request->store, delete_verdict, &delete);
    status = keys_each(request, swap_is_conditional(request) ? delete_if : delete_one, &delete);
    window_finish(&delete.window);
    if (ctl_given(request, CTL_JSON) && status == CTL_OK)
        status = ctl_print_json(json_pack("{s:I}", "deleted", (json_int_t) delete.deleted), JSON_COMPACT);
    return status == CTL_OK ? delete.status : status;
}
