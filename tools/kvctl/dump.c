#include "tools/kvctl/bulk.h"
#include "tools/kvctl/copies.h"
#include "tools/kvctl/keys.h"
#include "tools/kvctl/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct dump {
    const struct bulk_format *format;
    struct bulk_record record;
    bool begun;
    int status; /* CTL_ERROR: a key was left out */
    struct ctl_progress progress;
    uint64_t done, total; /* bytes of keys; total 0: it is not known */
};

/* Print the record that was made. What the format has no words for is left out, and told. */
static void dump_write(struct ctl_request *request, struct dump *dump)
{
    char why[BULK_WHY_SIZE];

    if (dump->format->write(&dump->record, !dump->begun, why) == BULK_RECORD)
        dump->begun = true;
    else {
        ctl_progress_end(&dump->progress);
        dump->status = ctl_fail("%s: it is left out: %s", request->path.text, why);
    }
}

/* Show how far it is, where the dump itself is not shown there. */
static void dump_begin_progress(const struct ctl_request *request, struct dump *dump)
{
    struct kv_node root;

    (void)ctl_progress_begin(&dump->progress, "dump");
    if (isatty(STDOUT_FILENO))
        dump->progress.terminal = false;
    if (request->path.second[0] != '\0')
        dump->total = request->prefix == NULL ? request->second.bytes : 0;
    else if (request->path.account[0] != '\0')
        dump->total = request->account.bytes;
    else if (kv_node_get(request->store, KV_ROOT_ID, &root) == 0)
        dump->total = root.bytes;
}

static void dump_count(struct ctl_request *request, struct dump *dump, const struct kv_meta *meta)
{
    const struct kv_progress *progress = &dump->progress.tell;

    dump->done += strlen(request->path.key) + meta->size;
    progress->tell(progress->arg, dump->done, dump->total);
}

/* ------------------------------------------------------------------------ nodes */

static void dump_attributes(struct bulk_record *record, const struct kv_attr *attr, unsigned mask)
{
    record->attr = *attr;
    record->attr_mask = KV_MODE | KV_UID | KV_GID | mask;
}

/* Metadata of a node. returns 0; an error of the store */
static int dump_metadata(struct ctl_request *request, struct dump *dump, const struct kv_node *node)
{
    struct kv_ref ref = kv_ref_node(node->id);

    return node->has_xattrs ? kv_xattrs_get(request->store, &ref, &dump->record.metadata) : 0;
}

/* Print a node, whose names are in the record. Returns a status. */
static int dump_node(struct ctl_request *request, struct dump *dump, const struct kv_node *node,
                     enum bulk_kind kind)
{
    int rc;

    if (dump->format->only_keys)
        return CTL_OK;
    dump->record.kind = kind;
    dump_attributes(&dump->record, &node->attr, 0);
    rc = dump_metadata(request, dump, node);
    if (rc < 0)
        return ctl_fail_store(request, node->name, "node", rc);
    dump_write(request, dump);
    return CTL_OK;
}

static void dump_name(char *out, const char *name) { memcpy(out, name, strlen(name) + 1); }

/* ------------------------------------------------------------------------- keys */

static int dump_key(struct ctl_request *request, void *arg)
{
    struct dump *dump = arg;
    struct bulk_record *record = &dump->record;
    struct kv_ref ref = ctl_key(request);
    struct kv_meta meta;
    int rc;

    bulk_clear(record, 0);
    rc = record_fetch(request->store, &ref, &meta, &record->value, &record->metadata);
    if (rc == -ENOENT) /* it is gone by now */
        return CTL_OK;
    if (rc < 0)
        ctl_progress_end(&dump->progress);
    if (rc == -EIO) { /* save what there is */
        dump->status = ctl_fail_store(request, request->path.text, "key", rc);
        return CTL_OK;
    }
    if (rc < 0)
        return ctl_fail_store(request, request->path.text, "key", rc);
    record->kind = BULK_KEY;
    dump_name(record->account, request->path.account);
    dump_name(record->namespace, request->path.second);
    dump_name(record->key, request->path.key);
    dump_attributes(record, &meta.attr, KV_MTIME);
    record->expires_ns = meta.expires_ns;
    dump_write(request, dump);
    dump_count(request, dump, &meta);
    return CTL_OK;
}

/* The namespace that was found. */
static int dump_namespace(struct ctl_request *request, struct dump *dump)
{
    int status;

    bulk_clear(&dump->record, 0);
    dump_name(dump->record.account, request->path.account);
    dump_name(dump->record.namespace, request->path.second);
    status = dump_node(request, dump, &request->second, BULK_NAMESPACE);
    return status == CTL_OK ? keys_with_prefix(request, request->prefix, dump_key, dump) : status;
}

/* --------------------------------------------------------------------- projects */

/* The project that was found, as request->second. */
static int dump_project(struct ctl_request *request, struct dump *dump)
{
    struct bulk_record *record = &dump->record;
    struct ctl_bindings bindings;
    int status;

    bulk_clear(record, 0);
    dump_name(record->account, request->path.account);
    dump_name(record->project, request->second.name);
    status = dump_node(request, dump, &request->second, BULK_PROJECT);
    if (status == CTL_OK)
        status = ctl_bindings(request, &bindings);
    if (status != CTL_OK)
        return status;
    for (size_t i = 0; i < bindings.count; i++) {
        bulk_clear(record, 0);
        record->kind = BULK_BINDING;
        dump_name(record->account, request->path.account);
        dump_name(record->project, request->second.name);
        dump_name(record->variable, bindings.items[i].variable);
        dump_name(record->namespace, bindings.items[i].namespace);
        dump_write(request, dump);
    }
    free(bindings.items);
    return CTL_OK;
}

/* --------------------------------------------------------------------- accounts */

static uint64_t dump_most(uint64_t limit, uint64_t used, bool may_be_none)
{
    return (limit == 0 && may_be_none) || limit > used ? limit : used;
}

/* Print the account that was found.
 * roomy    with limits that have room for all that is in it, also where they are lower by now */
static int dump_limits(struct ctl_request *request, struct dump *dump, bool roomy)
{
    const struct kv_node *account = &request->account;
    struct bulk_record *record = &dump->record;

    bulk_clear(record, 0);
    dump_name(record->account, account->name);
    record->limit_mask = BULK_BYTES | BULK_KEYS | BULK_NAMESPACES | BULK_BINDINGS;
    record->limit_bytes = dump_most(account->limit_bytes, roomy ? account->bytes : 0, false);
    record->limit_keys = dump_most(account->limit_keys, roomy ? account->keys : 0, true);
    record->limit_namespaces = dump_most(account->limit_namespaces, roomy ? account->children : 0, false);
    record->limit_bindings = dump_most(account->limit_bindings, roomy ? account->bindings : 0, true);
    return dump_node(request, dump, account, BULK_ACCOUNT);
}

static bool dump_is_over(const struct kv_node *account)
{
    return account->bytes > account->limit_bytes || account->children > account->limit_namespaces ||
           (account->limit_keys != 0 && account->keys > account->limit_keys) ||
           (account->limit_bindings != 0 && account->bindings > account->limit_bindings);
}

/* All children of one kind, each as request->second. */
static int dump_children(struct ctl_request *request, struct dump *dump, uint64_t parent, enum kv_node_kind kind)
{
    struct ctl_nodes nodes;
    int status = ctl_children(request, parent, kind, &nodes);

    if (status != CTL_OK)
        return status;
    for (size_t i = 0; i < nodes.count && status == CTL_OK; i++) {
        request->second = nodes.items[i];
        dump_name(request->path.second, request->second.name);
        status = kind == KV_NAMESPACE ? dump_namespace(request, dump) : dump_project(request, dump);
    }
    request->path.second[0] = '\0';
    free(nodes.items);
    return status;
}

/* The account that was found. */
static int dump_account(struct ctl_request *request, struct dump *dump)
{
    struct kv_node projects;
    int status = dump_limits(request, dump, true);

    if (status == CTL_OK)
        status = dump_children(request, dump, request->account.id, KV_NAMESPACE);
    if (status == CTL_OK)
        status = ctl_find_projects(request, &projects);
    if (status == CTL_OK)
        status = dump_children(request, dump, projects.id, KV_PROJECT);
    if (status == CTL_OK && dump_is_over(&request->account))
        status = dump_limits(request, dump, false);
    return status;
}

static int dump_store(struct ctl_request *request, struct dump *dump)
{
    struct ctl_nodes accounts;
    int status = ctl_children(request, KV_ROOT_ID, KV_ACCOUNT, &accounts);

    if (status != CTL_OK)
        return status;
    for (size_t i = 0; i < accounts.count && status == CTL_OK; i++) {
        request->account = accounts.items[i];
        request->path.text = accounts.items[i].name;
        dump_name(request->path.account, accounts.items[i].name);
        status = dump_account(request, dump);
    }
    free(accounts.items);
    return status;
}

int ctl_dump(struct ctl_request *request)
{
    struct dump dump = {.format = ctl_given(request, CTL_BULK_FORMAT) ? request->bulk_format : &bulk_json,
                        .status = CTL_OK};
    bool account = request->path.account[0] != '\0', namespace = request->path.second[0] != '\0';
    int status = CTL_OK;

    if (!namespace && (dump.format->only_keys || ctl_given(request, CTL_PREFIX)))
        return ctl_fail_usage(request, ctl_given(request, CTL_PREFIX) ? CTL_PREFIX : CTL_BULK_FORMAT,
                              "%s: this is for the keys of one ACCOUNT/NAMESPACE",
                              ctl_given(request, CTL_PREFIX) ? "--prefix" : "--format");
    if (request->prefix != NULL && *request->prefix != '\0')
        status = ctl_check_name("--prefix", KV_NAME_KEY, request->prefix);
    if (status == CTL_OK)
        status = ctl_find(request, (unsigned)account + namespace);
    if (status != CTL_OK)
        return status;
    dump_begin_progress(request, &dump);
    if (dump.format->begin != NULL)
        dump.format->begin();
    status = namespace ? dump_namespace(request, &dump)
             : account ? dump_account(request, &dump)
                       : dump_store(request, &dump);
    if (status == CTL_OK && dump.format->end != NULL)
        dump.format->end();
    ctl_progress_end(&dump.progress);
    bulk_clear(&dump.record, 0);
    return status == CTL_OK ? dump.status : status;
}
