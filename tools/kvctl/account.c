#include "tools/kvctl/common.h"

#include "tools/cli/cli.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The number of a user or group, by name or by number; *own: the user's own group. returns false: there is none */
static bool find_user(const char *name, uint32_t *uid, uint32_t *own)
{
    const struct passwd *user = getpwnam(name);
    uint64_t number;

    if (user == NULL) {
        if (!cli_parse_number(name, false, &number) || number >= UINT32_MAX)
            return false;
        user = getpwuid((uid_t)number);
        *uid = *own = (uint32_t)number;
    }
    if (user != NULL) {
        *uid = user->pw_uid;
        *own = user->pw_gid;
    }
    return true;
}

static bool find_group(const char *name, uint32_t *gid)
{
    const struct group *group = getgrnam(name);
    uint64_t number;

    if (group == NULL && (!cli_parse_number(name, false, &number) || number >= UINT32_MAX))
        return false;
    *gid = group != NULL ? group->gr_gid : (uint32_t)number;
    return true;
}

/* Take USER[:GROUP]. Returns a status. */
static int parse_owner(const char *text, struct kv_attr *attr)
{
    const char *colon = strchr(text, ':');
    char *user = strndup(text, colon != NULL ? (size_t)(colon - text) : strlen(text));
    bool found = user != NULL && find_user(user, &attr->uid, &attr->gid);

    free(user);
    if (!found)
        return ctl_fail("--owner %.64s: there is no such user", text);
    if (colon != NULL && !find_group(colon + 1, &attr->gid))
        return ctl_fail("--owner %.64s: there is no such group", text);
    return CTL_OK;
}

/* Take an octal number. Returns a status. */
static int parse_mode(const char *text, uint32_t *mode)
{
    size_t digits = strspn(text, "01234567");

    if (digits < 3 || digits > 4 || text[digits] != '\0')
        return ctl_fail("--mode %.64s: a mode is an octal number of three or four digits, as 0750", text);
    *mode = (uint32_t)strtoul(text, NULL, 8);
    return CTL_OK;
}

int ctl_account_create(struct ctl_request *request)
{
    struct kv_change change = {
        .kind = KV_NODE_CREATE,
        .node = {.kind = KV_ACCOUNT,
                 .parent = KV_ROOT_ID,
                 .attr = {.mode = 0700 & ~request->umask, .uid = geteuid(), .gid = getegid()}}};
    struct kv_attr *attr = &change.node.attr;
    int rc;

    if ((request->owner != NULL && parse_owner(request->owner, attr) != CTL_OK) ||
        (request->mode != NULL && parse_mode(request->mode, &attr->mode) != CTL_OK))
        return CTL_ERROR;
    attr->atime_ns = attr->mtime_ns = attr->ctime_ns = attr->btime_ns = ctl_now_ns(CLOCK_REALTIME);
    strcpy(change.node.name, request->path.account); /* fits: the rule of names bounds it */
    rc = kv_apply(request->store, &change);
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
