#include "tools/kvctl/value.h"

#include <errno.h>

int ctl_rename(struct ctl_request *request)
{
    struct kv_change change = {.kind = KV_RENAME, .ref = ctl_key(request)};
    struct ctl_request target = *request; /* shares the open store */
    int rc, status = ctl_parse_new(request, &request->path, request->args[1], &target.path);

    if (status == CTL_OK)
        status = ctl_find(&target, 2);
    if (status != CTL_OK)
        return status;
    change.to = ctl_key(&target);
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
    return rc < 0 ? ctl_fail_key(request, request->path.text, &change.to, rc)
                  : value_print_put(&target, &change.meta);
}
