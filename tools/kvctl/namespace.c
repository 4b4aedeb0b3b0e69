#include "tools/kvctl/common.h"

#include <errno.h>
#include <string.h>

int ctl_namespace_create(struct ctl_request *request)
{
    struct kv_node node;
    int rc = kv_node_make(request->store, KV_NAMESPACE, request->account.id, request->path.second, 0, &node);

    return rc < 0 ? ctl_fail_store(request, request->path.text, "namespace", rc) : CTL_OK;
}

int ctl_namespace_delete(struct ctl_request *request)
{
    int rc;

    if (ctl_given(request, CTL_RECURSIVE))
        return ctl_remove_namespace(request, &request->second);
    rc = ctl_remove_empty(request, &request->second);
    return rc < 0 ? ctl_fail_store(request, request->path.text, "namespace", rc) : CTL_OK;
}

int ctl_namespace_rename(struct ctl_request *request)
{
    const char *to = request->args[1];
    struct kv_change change = {
        .kind = KV_NODE_RENAME, .node = request->second, .to_parent = request->account.id, .flags = KV_NOREPLACE};
    int rc, status = ctl_check_name(to, KV_NAME_NAMESPACE, to);

    if (status != CTL_OK)
        return status;
    memcpy(change.to_name, to, strlen(to) + 1);
    rc = kv_apply(request->store, &change);
    return rc < 0 ? ctl_fail_store(request, rc == -EEXIST ? to : request->path.text, "namespace", rc) : CTL_OK;
}

int ctl_namespace_list(struct ctl_request *request)
{
    return ctl_print_names(request, request->account.id, KV_NAMESPACE);
}

int ctl_namespace_show(struct ctl_request *request)
{
    const struct kv_node *account = &request->account, *namespace = &request->second;
    json_t *json =
        json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o}", "account", account->name, "namespace",
                  namespace->name, "keys", (json_int_t) namespace->keys, "bytes", (json_int_t) namespace->bytes,
                  "account_bytes", (json_int_t)account->bytes, "limit_bytes", (json_int_t)account->limit_bytes,
                  "account_keys", (json_int_t)account->keys, "limit_keys", ctl_json_limit(account->limit_keys));

    if (json != NULL && ctl_json_attr(json, namespace) < 0) {
        json_decref(json);
        json = NULL;
    }
    return ctl_print_json(json, JSON_INDENT(2));
}
