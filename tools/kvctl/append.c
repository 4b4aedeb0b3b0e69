#include "tools/kvctl/swap.h"
#include "tools/kvctl/value.h"

#include <errno.h>
#include <string.h>

static int append_edit(struct ctl_request *request, const struct kv_value *old, struct kv_value **out, void *arg)
{
    const struct kv_value *more = arg;
    size_t size = old != NULL ? old->size : 0;
    struct kv_value *value;
    int rc = kv_value_new(size + more->size, &value);

    if (rc < 0)
        return ctl_fail_store(request, request->path.text, "key", rc);
    if (size > 0)
        memcpy(value->data, old->data, size);
    if (more->size > 0)
        memcpy(value->data + size, more->data, more->size);
    *out = value;
    return CTL_OK;
}

int ctl_append(struct ctl_request *request)
{
    struct kv_value *more;
    struct kv_meta meta;
    int status = value_read(request, request->arg_count > 1 ? request->args[1] : NULL, &more);

    if (status != CTL_OK)
        return status;
    status = swap_update(request, append_edit, more, &meta);
    kv_value_unref(more);
    return status == CTL_OK ? value_print_put(request, &meta) : status;
}
