/* kvctl: deleting what is not empty. */
#include "tools/kvctl/window.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void note_failure(void *arg, struct window_slot *slot, int rc)
{
    int *failure = arg;

    (void)slot;
    if (rc < 0 && rc != -ENOENT && *failure == 0) /* -ENOENT: somebody else deleted it */
        *failure = rc;
}

/* A page of keys. Damaged ones, which cannot be listed, are deleted first. */
static int list_whole(struct ctl_request *request, uint64_t namespace_id, struct kv_list *page)
{
    int rc = kv_list(request->store, namespace_id, NULL, NULL, KV_LIST_MAX, page);
    struct kv_change change = {.kind = KV_DROP_BROKEN, .node = {.id = namespace_id}};

    if (rc != -EIO)
        return rc;
    rc = kv_apply(request->store, &change);
    return rc == 0 ? kv_list(request->store, namespace_id, NULL, NULL, KV_LIST_MAX, page) : rc;
}

static int delete_keys(struct ctl_request *request, uint64_t namespace_id)
{
    bool complete = false;
    int rc = 0, failure = 0;

    while (!complete && rc == 0) {
        struct window window;
        struct kv_list page;

        rc = list_whole(request, namespace_id, &page);
        if (rc < 0)
            break;
        complete = page.complete;
        window_init(&window, request->store, note_failure, &failure);
        for (size_t i = 0; i < page.count && rc == 0; i++) {
            struct window_slot *slot = window_take(&window);

            if (slot == NULL) {
                rc = -ENOMEM;
                break;
            }
            slot->change.kind = KV_DELETE;
            slot->change.ref = kv_ref_key(namespace_id, page.keys[i], strlen(page.keys[i]));
            window_submit(&window, slot);
        }
        window_finish(&window);
        kv_list_free(&page);
        rc = rc == 0 ? failure : rc;
    }
    return rc;
}

int ctl_remove_empty(struct ctl_request *request, const struct kv_node *namespace)
{
    int rc = kv_node_remove(request->store, namespace->parent, namespace->name);
    uint64_t swept;
    int64_t next_ns;

    if (rc == -ENOTEMPTY && kv_sweep(request->store, &swept, &next_ns) == 0 && swept > 0)
        rc = kv_node_remove(request->store, namespace->parent, namespace->name);
    return rc;
}

int ctl_remove_namespace(struct ctl_request *request, const struct kv_node *namespace)
{
    int rc = delete_keys(request, namespace->id);

    if (rc == 0)
        rc = ctl_remove_empty(request, namespace);
    if (rc == -ENOTEMPTY)
        return ctl_fail("%s: keys were put into namespace %s while it was being deleted; try again",
                        request->path.text, namespace->name);
    return rc < 0 ? ctl_fail_store(request, request->path.text, "namespace", rc) : CTL_OK;
}

int ctl_remove_project(struct ctl_request *request, const struct kv_node *project)
{
    struct ctl_nodes bindings;
    int status = ctl_children(request, project->id, KV_BINDING, &bindings);
    int rc = 0;

    if (status != CTL_OK)
        return status;
    for (size_t i = 0; i < bindings.count && rc == 0; i++) {
        rc = kv_node_remove(request->store, project->id, bindings.items[i].name);
        if (rc == -ENOENT)
            rc = 0;
    }
    free(bindings.items);
    if (rc == 0)
        rc = kv_node_remove(request->store, project->parent, project->name);
    return rc < 0 ? ctl_fail_store(request, request->path.text, "project", rc) : CTL_OK;
}
