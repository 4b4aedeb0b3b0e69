#include "tools/kvctl/common.h"

#include <errno.h>

/* Find where the key is to be. Returns a status. */
static int rename_find_new(struct ctl_request *request, const char *text, struct kv_ref *out)
{
    struct ctl_request target = *request; /* shares the open store */
    int status = ctl_parse_new(request, &request->path, text, &target.path);

    if (status == CTL_OK)
        status = ctl_find(&target, 2);
    if (status == CTL_OK)
        *out = ctl_key(&target);
    return status;
}

int ctl_rename(struct ctl_request *request)
{
    struct kv_change change = {.kind = KV_RENAME, .ref = ctl_key(request)};
    int rc, status = rename_find_new(request, request->args[1], &change.to);

    if (status != CTL_OK)
        return status;
    change.flags = ctl_given(request, CTL_IF_ABSENT) ? KV_NOREPLACE : 0;
    rc = kv_apply(request->store, &change);
    if (rc == -ENOENT) {
        (void)ctl_fail("%s: there is no such key; nothing was changed", request->path.text);
        return CTL_NO;
    }
    if (rc == -EEXIST) {
        (void)ctl_fail("%s: this key exists already; nothing was changed", request->args[1]);
        return CTL_CONDITION;
    }
    return rc < 0 ? ctl_fail_key(request, request->path.text, &change.to, rc) : CTL_OK;
}
