#include "tools/cli/cli.h"
#include "tools/kvctl/common.h"
#include "tools/kvctl/grow.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* That are looked through before a change, or before something is said to be absent: 40 MiB of records, in some
 * 10 ms. A write on damaged pages would damage more of them, or end in the middle; a listing would not be complete. */
#define VERIFY_PAGES 10000u

static int find_account(struct ctl_request *request)
{
    const struct ctl_path *path = &request->path;
    int rc = kv_node_find(request->store, KV_ROOT_ID, path->account, strlen(path->account), &request->account);

    if (rc == -ENOENT && ctl_look(request) != CTL_OK)
        return CTL_ERROR;
    if (rc == -ENOENT)
        return ctl_fail("%s: there is no account %s; create it with: kvctl account create %s", path->text,
                        path->account, path->account);
    return rc < 0 ? ctl_fail_store(request, path->text, "account", rc) : CTL_OK;
}

static int find_second(struct ctl_request *request)
{
    const struct ctl_path *path = &request->path;
    const char *noun = request->command->form == CTL_FORM_PROJECT ? "project" : "namespace";
    struct kv_node parent = request->account;
    int rc;

    if (request->command->form == CTL_FORM_PROJECT) {
        int status = ctl_find_projects(request, &parent);

        if (status != CTL_OK)
            return status;
    }
    rc = kv_node_find(request->store, parent.id, path->second, strlen(path->second), &request->second);
    if (rc == -ENOENT && ctl_look(request) != CTL_OK)
        return CTL_ERROR;
    if (rc == -ENOENT)
        return ctl_fail("%s: there is no %s %s in account %s; create it with: kvctl %s create %s/%s", path->text,
                        noun, path->second, path->account, noun, path->account, path->second);
    return rc < 0 ? ctl_fail_store(request, path->text, noun, rc) : CTL_OK;
}

int ctl_find(struct ctl_request *request, unsigned finds)
{
    int status = finds >= 1 ? find_account(request) : CTL_OK;

    return status == CTL_OK && finds >= 2 ? find_second(request) : status;
}

struct kv_options ctl_store_options(const struct ctl_request *request)
{
    struct kv_options options = kv_options_default();

    options.cache_bytes = 0;
    options.cache_ttl_ms = 0;
    options.read_only = true;
    options.create = false;
    options.foreign_store = ctl_given(request, CTL_FOREIGN_STORE);
    return options;
}

int ctl_open(struct ctl_request *request)
{
    enum ctl_access access = request->command->access;
    struct kv_options options = ctl_store_options(request);
    struct kv_error error = {""};

    if (request->store_dir == NULL || *request->store_dir == '\0')
        return ctl_fail_usage(request, CTL_STORE,
                              "no store is named; use --store DIR, or set KVFS_STORE in the environment");
    options.read_only = access == CTL_READ && !ctl_given(request, CTL_REPAIR);
    options.create = access == CTL_CREATE || (access == CTL_CREATE_WHOLE && request->path.account[0] == '\0');
    options.umask = request->umask;
    options.verify_pages = access == CTL_READ ? 0 : VERIFY_PAGES;
    request->looked = options.verify_pages > 0;
    if (cli_open_store(request->store_dir, &options, &request->store, &error) < 0)
        return ctl_fail("%s", error.text);
    return ctl_find(request, request->command->finds);
}

int ctl_look(struct ctl_request *request)
{
    struct kv_error error;
    int rc = request->looked ? 0 : kv_look(request->store, VERIFY_PAGES, &error);

    request->looked = true;
    return rc < 0 ? ctl_fail("%s: %s", request->store_dir, error.text) : CTL_OK;
}

void ctl_close(struct ctl_request *request)
{
    if (request->store != NULL)
        kv_close(request->store);
    request->store = NULL;
}

struct kv_ref ctl_key(const struct ctl_request *request)
{
    return kv_ref_key(request->second.id, request->path.key, strlen(request->path.key));
}

int ctl_find_projects(struct ctl_request *request, struct kv_node *out)
{
    static const char name[] = ".projects";
    int rc = kv_node_find(request->store, request->account.id, name, strlen(name), out);

    /* Every account has one: its absence is the account's, deleted since we found it. */
    return rc < 0 ? ctl_fail_store(request, request->path.text, "account", rc) : CTL_OK;
}

struct collect {
    enum kv_node_kind kind;
    struct ctl_nodes nodes;
    size_t room;
};

static int collect_node(void *arg, const struct kv_node *node)
{
    struct collect *collect = arg;
    struct ctl_nodes *nodes = &collect->nodes;
    struct kv_node *items;

    if (node->kind != collect->kind)
        return 0;
    items = grow(nodes->items, nodes->count, &collect->room, sizeof(*items));
    if (items == NULL)
        return -ENOMEM;
    nodes->items = items;
    nodes->items[nodes->count++] = *node;
    return 0;
}

int ctl_children(struct ctl_request *request, uint64_t parent, enum kv_node_kind kind, struct ctl_nodes *out)
{
    struct collect collect = {.kind = kind};
    int rc = kv_node_scan(request->store, parent, "", 0, false, collect_node, &collect);

    if (rc < 0) {
        free(collect.nodes.items);
        (void)ctl_fail_store(request, request->path.text != NULL ? request->path.text : request->store_dir,
                             "object", rc);
        return CTL_ERROR;
    }
    if (ctl_look(request) != CTL_OK) {
        free(collect.nodes.items);
        return CTL_ERROR;
    }
    *out = collect.nodes;
    return CTL_OK;
}

int ctl_print_names(struct ctl_request *request, uint64_t parent, enum kv_node_kind kind)
{
    json_t *names = ctl_given(request, CTL_JSON) ? json_array() : NULL;
    struct ctl_nodes nodes;
    int status = ctl_children(request, parent, kind, &nodes);

    if (status != CTL_OK) {
        json_decref(names);
        return status;
    }
    for (size_t i = 0; i < nodes.count; i++)
        if (names == NULL)
            puts(nodes.items[i].name);
        else if (json_array_append_new(names, json_string(nodes.items[i].name)) < 0)
            status = ctl_fail("out of memory");
    free(nodes.items);
    if (names != NULL && status == CTL_OK)
        return ctl_print_json(names, JSON_COMPACT);
    json_decref(names);
    return status;
}
