#include "tools/kvctl/common.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ projects */

int ctl_project_create(struct ctl_request *request)
{
    struct kv_node projects, node;
    int rc, status = ctl_find_projects(request, &projects);

    if (status != CTL_OK)
        return status;
    rc = kv_node_make(request->store, KV_PROJECT, projects.id, request->path.second, 0, &node);
    return rc < 0 ? ctl_fail_store(request, request->path.text, "project", rc) : CTL_OK;
}

int ctl_project_delete(struct ctl_request *request)
{
    int rc;

    if (ctl_given(request, CTL_RECURSIVE))
        return ctl_remove_project(request, &request->second);
    rc = kv_node_remove(request->store, request->second.parent, request->path.second);
    return rc < 0 ? ctl_fail_store(request, request->path.text, "project", rc) : CTL_OK;
}

int ctl_project_list(struct ctl_request *request)
{
    struct kv_node projects;
    int status = ctl_find_projects(request, &projects);

    return status != CTL_OK ? status : ctl_print_names(request, projects.id, KV_PROJECT);
}

/* ------------------------------------------------------------------ bindings */

int ctl_binding_create(struct ctl_request *request)
{
    const char *variable = request->args[1], *name = request->args[2];
    struct kv_node namespace, node;
    int rc, status = ctl_check_name(request->path.text, KV_NAME_VARIABLE, variable);

    if (status == CTL_OK && !kv_variable_is_safe(variable, strlen(variable)))
        status = ctl_fail("%s: no variable can be called %s, because programs would obey it; %s",
                          request->path.text, variable, kv_name_rule(KV_NAME_VARIABLE));
    if (status == CTL_OK)
        status = ctl_check_name(request->path.text, KV_NAME_NAMESPACE, name);
    if (status != CTL_OK)
        return status;
    rc = kv_node_find(request->store, request->account.id, name, strlen(name), &namespace);
    if (rc == -ENOENT)
        return ctl_fail("%s: there is no namespace %s in account %s; create it with: kvctl namespace create %s/%s",
                        request->path.text, name, request->path.account, request->path.account, name);
    if (rc < 0)
        return ctl_fail_store(request, name, "namespace", rc);
    rc = kv_node_make(request->store, KV_BINDING, request->second.id, variable, namespace.id, &node);
    return rc < 0 ? ctl_fail_store(request, variable, "binding", rc) : CTL_OK;
}

int ctl_binding_delete(struct ctl_request *request)
{
    const char *variable = request->args[1];
    int rc, status = ctl_check_name(request->path.text, KV_NAME_VARIABLE, variable);

    if (status != CTL_OK)
        return status;
    rc = kv_node_remove(request->store, request->second.id, variable);
    return rc < 0 ? ctl_fail_store(request, variable, "binding", rc) : CTL_OK;
}

int ctl_bindings(struct ctl_request *request, struct ctl_bindings *out)
{
    struct ctl_bindings bindings = {NULL, 0};
    struct ctl_nodes nodes;
    int status = ctl_children(request, request->second.id, KV_BINDING, &nodes);

    if (status != CTL_OK)
        return status;
    bindings.items = calloc(nodes.count + 1, sizeof(*bindings.items));
    if (bindings.items == NULL)
        status = ctl_fail("out of memory");
    for (size_t i = 0; i < nodes.count && status == CTL_OK; i++) {
        struct kv_node namespace;
        int rc = kv_node_get(request->store, nodes.items[i].target, &namespace);

        if (rc == 0) {
            struct ctl_binding *binding = &bindings.items[bindings.count++];

            strcpy(binding->variable, nodes.items[i].name);
            strcpy(binding->namespace, namespace.name);
        } else if (rc != -ENOENT) /* -ENOENT: deleted since the scan, and the binding with it */
            status = ctl_fail_store(request, nodes.items[i].name, "namespace", rc);
    }
    free(nodes.items);
    if (status != CTL_OK)
        free(bindings.items);
    else
        *out = bindings;
    return status;
}

int ctl_binding_list(struct ctl_request *request)
{
    json_t *object = ctl_given(request, CTL_JSON) ? json_object() : NULL;
    struct ctl_bindings bindings;
    int status = ctl_bindings(request, &bindings);

    if (status != CTL_OK) {
        json_decref(object);
        return status;
    }
    for (size_t i = 0; status == CTL_OK && i < bindings.count; i++) {
        const struct ctl_binding *binding = &bindings.items[i];

        if (object == NULL)
            printf("%s\t%s\n", binding->variable, binding->namespace);
        else if (json_object_set_new(object, binding->variable, json_string(binding->namespace)) < 0)
            status = ctl_fail("out of memory");
    }
    free(bindings.items);
    if (object != NULL && status == CTL_OK)
        return ctl_print_json(object, JSON_COMPACT);
    json_decref(object);
    return status;
}
