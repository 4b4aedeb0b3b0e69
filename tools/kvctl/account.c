#include "tools/kvctl/common.h"

#include <errno.h>
#include <stdlib.h>

int ctl_account_create(struct ctl_request *request)
{
    struct kv_node node;
    int rc = kv_node_make(request->store, KV_ACCOUNT, KV_ROOT_ID, request->path.account, 0, &node);

    return rc < 0 ? ctl_fail_store(request, request->path.text, "account", rc) : CTL_OK;
}

/* Delete the account's namespaces and projects, with what is in them. */
static int empty_account(struct ctl_request *request)
{
    struct ctl_nodes nodes;
    struct kv_node projects;
    int status = ctl_children(request, request->account.id, KV_NAMESPACE, &nodes);

    if (status != CTL_OK)
        return status;
    for (size_t i = 0; i < nodes.count && status == CTL_OK; i++)
        status = ctl_remove_namespace(request, &nodes.items[i]);
    free(nodes.items);

    if (status == CTL_OK)
        status = ctl_find_projects(request, &projects);
    if (status == CTL_OK)
        status = ctl_children(request, projects.id, KV_PROJECT, &nodes);
    if (status != CTL_OK)
        return status;
    for (size_t i = 0; i < nodes.count && status == CTL_OK; i++)
        status = ctl_remove_project(request, &nodes.items[i]);
    free(nodes.items);
    return status;
}

int ctl_account_delete(struct ctl_request *request)
{
    int rc;

    if (ctl_given(request, CTL_RECURSIVE)) {
        int status = empty_account(request);

        if (status != CTL_OK)
            return status;
    }
    rc = kv_node_remove(request->store, KV_ROOT_ID, request->path.account);
    return rc < 0 ? ctl_fail_store(request, request->path.text, "account", rc) : CTL_OK;
}

int ctl_account_list(struct ctl_request *request) { return ctl_print_names(request, KV_ROOT_ID, KV_ACCOUNT); }

int ctl_account_show(struct ctl_request *request)
{
    const struct kv_node *account = &request->account;
    json_t *json = json_pack("{s:s, s:I, s:I, s:I, s:o, s:I, s:I, s:I, s:o}", "account", account->name, "keys",
                             (json_int_t)account->keys, "bytes", (json_int_t)account->bytes, "limit_bytes",
                             (json_int_t)account->limit_bytes, "limit_keys", ctl_json_limit(account->limit_keys),
                             "namespaces", (json_int_t)account->children, "limit_namespaces",
                             (json_int_t)account->limit_namespaces, "bindings", (json_int_t)account->bindings,
                             "limit_bindings", ctl_json_limit(account->limit_bindings));

    if (json != NULL && ctl_json_attr(json, account) < 0) {
        json_decref(json);
        json = NULL;
    }
    return ctl_print_json(json, JSON_INDENT(2));
}

int ctl_account_limit(struct ctl_request *request)
{
    struct kv_change change = {.kind = KV_NODE_LIMITS, .node = request->account};
    int rc;

    if (!ctl_given(request, CTL_BYTES) && !ctl_given(request, CTL_KEYS) && !ctl_given(request, CTL_NAMESPACES) &&
        !ctl_given(request, CTL_BINDINGS))
        return ctl_fail_usage(
            request, CTL_BYTES,
            "%s: no limit is given; use --bytes SIZE, --keys N, --namespaces N, --bindings N, or "
            "several",
            request->path.text);
    if (ctl_given(request, CTL_BYTES))
        change.node.limit_bytes = request->bytes;
    if (ctl_given(request, CTL_NAMESPACES))
        change.node.limit_namespaces = request->namespaces;
    if (ctl_given(request, CTL_KEYS))
        change.node.limit_keys = request->keys;
    if (ctl_given(request, CTL_BINDINGS))
        change.node.limit_bindings = request->bindings;
    rc = kv_apply(request->store, &change);
    return rc < 0 ? ctl_fail_store(request, request->path.text, "account", rc) : CTL_OK;
}
