/* kvctl load: what is above the keys. These are few, and done one by one. */
#include "tools/kvctl/load.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int load_child(struct load *load, uint64_t parent, const char *name, struct kv_node *out)
{
    return kv_node_find(load->request->store, parent, name, strlen(name), out);
}

/* ------------------------------------------------------------------- attributes */

static bool load_differs(const struct kv_attr *is, const struct bulk_record *record)
{
    const struct kv_attr *wanted = &record->attr;
    unsigned mask = record->attr_mask;

    return (mask & KV_MODE && is->mode != wanted->mode) || (mask & KV_UID && is->uid != wanted->uid) ||
           (mask & KV_GID && is->gid != wanted->gid);
}

/* Give a node the attributes of the record. returns 0; an error of the store */
static int load_attributes(struct load *load, const struct bulk_record *record, const struct kv_node *node)
{
    struct kv_change change = {.kind = KV_SETATTR, .ref = kv_ref_node(node->id), .attr = record->attr};
    size_t pos = 0;
    const void *value;
    int rc = 0;

    change.attr_mask = record->attr_mask & (KV_MODE | KV_UID | KV_GID);
    if (load_differs(&node->attr, record))
        rc = kv_apply(load->request->store, &change);
    change = (struct kv_change){.kind = KV_SETXATTR, .ref = kv_ref_node(node->id)};
    while (rc == 0 && kv_xattrs_next(&record->metadata, &pos, &change.xattr_name, &change.xattr_name_size, &value,
                                     &change.xattr_value_size)) {
        change.xattr_value = value;
        rc = kv_apply(load->request->store, &change);
    }
    return rc;
}

static int load_limits(struct load *load, const struct bulk_record *record, const struct kv_node *account)
{
    struct kv_change change = {.kind = KV_NODE_LIMITS, .node = *account};

    if (record->limit_mask & BULK_BYTES)
        change.node.limit_bytes = record->limit_bytes;
    if (record->limit_mask & BULK_KEYS)
        change.node.limit_keys = record->limit_keys;
    if (record->limit_mask & BULK_NAMESPACES)
        change.node.limit_namespaces = record->limit_namespaces;
    if (record->limit_mask & BULK_BINDINGS)
        change.node.limit_bindings = record->limit_bindings;
    return record->limit_mask != 0 ? kv_apply(load->request->store, &change) : 0;
}

/* ------------------------------------------------------------------------ nodes */

/* Find a node, or make it.
 * made     it was not there
 * returns  0; an error of the store */
static int load_make(struct load *load, enum kv_node_kind kind, uint64_t parent, const char *name, uint64_t target,
                     struct kv_node *out, bool *made)
{
    int rc = load_child(load, parent, name, out);

    *made = rc == -ENOENT;
    return *made ? kv_node_make(load->request->store, kind, parent, name, target, out) : rc;
}

/* Make a node as the record says; with --if-absent, leave one that is there as it is. Returns a status. */
static int load_one(struct load *load, const struct bulk_record *record, enum kv_node_kind kind, uint64_t parent,
                    const char *name, const char *noun)
{
    struct kv_node node;
    bool made;
    int rc = load_make(load, kind, parent, name, 0, &node, &made);

    if (rc == 0 && !made && ctl_given(load->request, CTL_IF_ABSENT)) {
        load->there++;
        return CTL_OK;
    }
    if (rc == 0)
        rc = load_attributes(load, record, &node);
    if (rc == 0 && kind == KV_ACCOUNT)
        rc = load_limits(load, record, &node);
    if (rc < 0)
        return load_refuse_store(load, record, name, noun, rc);
    load->loaded++;
    return CTL_OK;
}

/* The account of a record, which is made where it is not there. Returns a status. */
static int load_account(struct load *load, const struct bulk_record *record, struct kv_node *out)
{
    bool made;
    int rc = load_make(load, KV_ACCOUNT, KV_ROOT_ID, record->account, 0, out, &made);

    if (rc == 0)
        load->request->account = *out; /* for messages */
    return rc < 0 ? load_refuse_store(load, record, record->account, "account", rc) : CTL_OK;
}

static int load_binding(struct load *load, const struct bulk_record *record, uint64_t account, uint64_t projects)
{
    struct kv_node project, namespace, binding;
    bool made = true;
    int rc = load_child(load, account, record->namespace, &namespace);

    if (rc < 0)
        return load_refuse_store(load, record, record->namespace, "namespace", rc);
    rc = load_make(load, KV_PROJECT, projects, record->project, 0, &project, &made);
    if (rc < 0)
        return load_refuse_store(load, record, record->project, "project", rc);
    rc = load_make(load, KV_BINDING, project.id, record->variable, namespace.id, &binding, &made);
    if (rc == 0 && !made && ctl_given(load->request, CTL_IF_ABSENT)) {
        load->there++;
        return CTL_OK;
    }
    if (rc == 0 && !made && binding.target != namespace.id) { /* it leads elsewhere */
        rc = kv_node_remove(load->request->store, project.id, record->variable);
        if (rc == 0)
            rc = kv_node_make(load->request->store, KV_BINDING, project.id, record->variable, namespace.id,
                              &binding);
    }
    if (rc < 0)
        return load_refuse_store(load, record, record->variable, "binding", rc);
    load->loaded++;
    return CTL_OK;
}

int load_node(struct load *load, const struct bulk_record *record)
{
    struct kv_node account, projects;
    int rc, status;

    window_drain(&load->window); /* an account's limits hold for what comes behind them */
    if (record->account[0] == '\0')
        return load_refuse(load, record->number, "it names no account, and neither does the command line");
    if (record->kind == BULK_ACCOUNT)
        return load_one(load, record, KV_ACCOUNT, KV_ROOT_ID, record->account, "account");
    status = load_account(load, record, &account);
    if (status != CTL_OK)
        return status;
    if (record->kind == BULK_NAMESPACE)
        return load_one(load, record, KV_NAMESPACE, account.id, record->namespace, "namespace");
    rc = load_child(load, account.id, ".projects", &projects);
    if (rc < 0)
        return load_refuse_store(load, record, record->account, "account", rc);
    return record->kind == BULK_PROJECT
               ? load_one(load, record, KV_PROJECT, projects.id, record->project, "project")
               : load_binding(load, record, account.id, projects.id);
}

/* ------------------------------------------------------------------------- keys */

int load_find_namespace(struct load *load, const struct bulk_record *record, uint64_t *out)
{
    struct kv_node account, namespace;
    int rc = 0;

    if (record->account[0] == '\0' || record->namespace[0] == '\0')
        return load_refuse(load, record->number, "%s: it names no %s, and neither does the command line",
                           record->key, record->account[0] == '\0' ? "account" : "namespace");
    if (load->namespace_id == 0 || strcmp(load->account_name, record->account) != 0 ||
        strcmp(load->namespace_name, record->namespace) != 0) {
        rc = load_child(load, KV_ROOT_ID, record->account, &account);
        if (rc == 0)
            rc = load_child(load, account.id, record->namespace, &namespace);
        if (rc == -ENOENT)
            return load_refuse(load, record->number,
                               "%s: there is no namespace %s/%s; create it with: kvctl namespace create %s/%s",
                               record->key, record->account, record->namespace, record->account,
                               record->namespace);
        if (rc < 0)
            return load_refuse_store(load, record, record->namespace, "namespace", rc);
        strcpy(load->account_name, record->account);
        strcpy(load->namespace_name, record->namespace);
        load->account_id = account.id;
        load->namespace_id = namespace.id;
    }
    *out = load->namespace_id;
    return CTL_OK;
}
