#include "tools/kvctl/common.h"

#include "tools/cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* That are looked through before a change, or before something is said to be absent: 40 MiB of records, in some 10 ms.
 * A write on damaged pages would damage more of them, or end in the middle. */
#define VERIFY_PAGES 10000u

/* -------------------------------------------------------------------- errors */

int ctl_fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    cli_say("kvctl", format, args);
    va_end(args);
    return CTL_ERROR;
}

/* What the errors of kv.h mean to a person. Those that need figures are in ctl_fail_store(). */
static const struct {
    int error;
    bool sure; /* nothing was changed */
    const char *text;
} error_words[] = {
    {EINVAL, true, "the store refused it as invalid; names and limits are in kvctl --help"},
    {ENOSPC, true,
     "the disk is full, or the store has reached its largest size, or a limit of file sizes (ulimit -f); free "
     "some space"},
    {EROFS, true, "the store is read-only"},
    {EACCES, true, "no permission on the store's files; run kvctl as the user that owns the store"},
    {ECANCELED, true, "it was changed by somebody else meanwhile; try again"},
    {EXDEV, true, "that is another account; names change within an account only"},
    {EIO, false,
     "the store could not be read or written, or is damaged, which does not mean that the object is absent; look "
     "at the disk and the system's log, and run kvctl check"},
    {ETIMEDOUT, true, "the store did not answer in time"},
    {ENOMEM, false, "out of memory"},
};

/* What a failure means for what was asked. */
static const char *outcome(const struct ctl_request *request, bool sure)
{
    if (request->command->access == CTL_READ)
        return "";
    if (ctl_given(request, CTL_RECURSIVE))
        return "; some of it may be deleted already";
    return sure ? "; nothing was changed" : "; it may have been done all the same: look before you try again";
}

/* Is it the number of keys that a put would pass? */
static bool is_key_too_many(struct ctl_request *request, const struct kv_node *account)
{
    const char *key = request->path.key;
    struct kv_ref ref = kv_ref_key(request->second.id, key, strlen(key));
    struct kv_meta meta;

    return account->limit_keys != 0 && account->keys >= account->limit_keys &&
           kv_stat(request->store, &ref, &meta, NULL) == -ENOENT;
}

static int fail_quota(struct ctl_request *request, const char *subject, const char *noun)
{
    struct kv_node account = request->account;
    int rc = kv_node_get(request->store, account.id, &account);

    (void)rc; /* what was read at the start is good enough for the message */
    if (strcmp(noun, "namespace") == 0)
        return ctl_fail("%s: account %s has %" PRIu64 " namespaces, and its limit is %" PRIu64
                        "; delete one, or raise the limit with: kvctl account limit %s --namespaces N",
                        subject, account.name, account.children, account.limit_namespaces, account.name);
    if (strcmp(noun, "project") == 0 || strcmp(noun, "binding") == 0)
        return ctl_fail("%s: account %s has %" PRIu64 " projects and bindings, and its limit is %" PRIu64
                        "; delete one, or raise the limit with: kvctl account limit %s --bindings N",
                        subject, account.name, account.bindings, account.limit_bindings, account.name);
    if (is_key_too_many(request, &account))
        return ctl_fail("%s: account %s has %" PRIu64 " keys, and its limit is %" PRIu64
                        "; delete one, or raise the limit with: kvctl account limit %s --keys N",
                        subject, account.name, account.keys, account.limit_keys, account.name);
    return ctl_fail("%s: account %s is full: it holds %" PRIu64
                    " bytes of keys, values and attributes, and this would pass its "
                    "limit of %" PRIu64 " bytes; delete keys, or raise the limit with: "
                    "kvctl account limit %s --bytes SIZE",
                    subject, account.name, account.bytes, account.limit_bytes, account.name);
}

int ctl_fail_store(struct ctl_request *request, const char *subject, const char *noun, int rc)
{
    pid_t writer = rc == -ETIMEDOUT ? kv_writer_pid(request->store) : 0;

    if (rc == -ENOENT && ctl_look(request) != CTL_OK)
        return CTL_ERROR;
    if (writer > 0)
        return ctl_fail(
            "%s: process %d has been writing to the store all the time, or is stopped; let it go on or "
            "end it, and try again%s",
            subject, (int)writer, outcome(request, true));
    switch (rc) {
    case -ENOENT:
        return ctl_fail("%s: there is no such %s, or what it belongs to is gone%s", subject, noun,
                        outcome(request, true));
    case -EEXIST:
        return ctl_fail("%s: this %s exists already; choose another name, or delete it first", subject, noun);
    case -ENOTEMPTY:
        return ctl_fail("%s: the %s is not empty, and only an empty one can be deleted; --recursive deletes "
                        "what is in it, too",
                        subject, noun);
    case -EFBIG:
        return ctl_fail("%s: a value is at most %u bytes (25 MiB); nothing was changed", subject, KV_VALUE_MAX);
    case -EDQUOT:
        return fail_quota(request, subject, noun);
    default:
        for (size_t i = 0; i < sizeof(error_words) / sizeof(error_words[0]); i++)
            if (error_words[i].error == -rc)
                return ctl_fail("%s: %s%s", subject, error_words[i].text, outcome(request, error_words[i].sure));
        return ctl_fail("%s: the store failed: %s%s", subject, strerror(-rc), outcome(request, false));
    }
}

/* --------------------------------------------------------------------- names */

enum { FORM_PARTS = 3 };

static const struct {
    const char *text;
    size_t least, most; /* parts */
    enum kv_name_kind kind[FORM_PARTS];
} forms[] = {
    [CTL_FORM_NONE] = {"", 0, 0, {0}},
    [CTL_FORM_ACCOUNT] = {"ACCOUNT", 1, 1, {KV_NAME_ACCOUNT}},
    [CTL_FORM_NAMESPACE] = {"ACCOUNT/NAMESPACE", 2, 2, {KV_NAME_ACCOUNT, KV_NAME_NAMESPACE}},
    [CTL_FORM_KEY] = {"ACCOUNT/NAMESPACE/KEY", 3, 3, {KV_NAME_ACCOUNT, KV_NAME_NAMESPACE, KV_NAME_KEY}},
    [CTL_FORM_PROJECT] = {"ACCOUNT/PROJECT", 2, 2, {KV_NAME_ACCOUNT, KV_NAME_PROJECT}},
    [CTL_FORM_WATCH] = {"ACCOUNT[/NAMESPACE[/KEY]]", 1, 3, {KV_NAME_ACCOUNT, KV_NAME_NAMESPACE, KV_NAME_KEY}},
};

const char *ctl_form_text(enum ctl_form form) { return forms[form].text; }

/* A message shows no more of an argument than this; every valid path is shorter. */
enum { SHOWN_MAX = 700 };

static int check_name(const char *subject, enum kv_name_kind kind, const char *name, size_t size)
{
    int rc = kv_name_check(kind, name, size);

    if (rc == -ENAMETOOLONG)
        return ctl_fail("%.*s: '%.16s...' is too long with %zu bytes; %s", SHOWN_MAX, subject, name, size,
                        kv_name_rule(kind));
    if (rc < 0)
        return ctl_fail("%.*s: '%.*s' is no valid name; %s", SHOWN_MAX, subject,
                        (int)(size < SHOWN_MAX ? size : SHOWN_MAX), name, kv_name_rule(kind));
    return CTL_OK;
}

int ctl_check_name(const char *subject, enum kv_name_kind kind, const char *name)
{
    return check_name(subject, kind, name, strlen(name));
}

int ctl_parse_path(enum ctl_form form, const char *text, struct ctl_path *out)
{
    struct ctl_path path = {.text = text};
    char *names[FORM_PARTS] = {path.account, path.second, path.key};
    size_t parts = 1;

    for (const char *c = text; *c != '\0'; c++)
        parts += *c == '/';
    if (parts < forms[form].least || parts > forms[form].most)
        return ctl_fail("%.*s: this is not of the form %s", SHOWN_MAX, text, forms[form].text);

    for (size_t i = 0; i < parts; i++) {
        size_t size = strcspn(text, "/");
        int status = check_name(path.text, forms[form].kind[i], text, size);

        if (status != CTL_OK)
            return status;
        memcpy(names[i], text, size); /* fits: the rule bounds it */
        text += size + 1;
    }
    *out = path;
    return CTL_OK;
}

/* --------------------------------------------------------------- store, nodes */

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

int ctl_open(struct ctl_request *request)
{
    struct kv_options options = kv_options_default();
    struct kv_error error = {""};

    options.cache_bytes = 0;
    options.cache_ttl_ms = 0;
    options.read_only = request->command->access == CTL_READ && !ctl_given(request, CTL_REPAIR);
    options.create = request->command->access == CTL_CREATE;
    options.foreign_store = ctl_given(request, CTL_FOREIGN_STORE);
    options.umask = request->umask;
    options.verify_pages = request->command->access == CTL_READ ? 0 : VERIFY_PAGES;
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
    size_t capacity;
};

static int collect_node(void *arg, const struct kv_node *node)
{
    struct collect *collect = arg;
    struct ctl_nodes *nodes = &collect->nodes;

    if (node->kind != collect->kind)
        return 0;
    if (nodes->count == collect->capacity) {
        size_t capacity = collect->capacity == 0 ? 16 : collect->capacity * 2;
        struct kv_node *items = reallocarray(nodes->items, capacity, sizeof(*items));

        if (items == NULL)
            return -ENOMEM;
        nodes->items = items;
        collect->capacity = capacity;
    }
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
    struct ctl_nodes nodes;
    int status = ctl_children(request, parent, kind, &nodes);

    if (status != CTL_OK)
        return status;
    for (size_t i = 0; i < nodes.count; i++)
        puts(nodes.items[i].name);
    free(nodes.items);
    return CTL_OK;
}

/* -------------------------------------------------------------------- output */

int ctl_print_json(json_t *json, size_t flags)
{
    if (json == NULL)
        return ctl_fail("out of memory");
    if (json_dumpf(json, stdout, flags) < 0 && !ferror(stdout)) {
        json_decref(json);
        return ctl_fail("out of memory");
    }
    json_decref(json);
    putchar('\n');
    return CTL_OK;
}

json_t *ctl_json_limit(uint64_t limit) { return limit != 0 ? json_integer((json_int_t)limit) : json_null(); }

/* ISO 8601 in UTC with nanoseconds. */
static json_t *json_time(int64_t ns)
{
    int64_t part = ns % 1000000000;
    time_t seconds = (time_t)(ns / 1000000000);
    struct tm tm;
    char date[64];

    if (part < 0) {
        part += 1000000000;
        seconds--;
    }
    if (gmtime_r(&seconds, &tm) == NULL || strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        return json_null();
    return json_sprintf("%s.%09" PRId64 "Z", date, part);
}

int ctl_json_attr(json_t *object, const struct kv_node *node)
{
    const struct kv_attr *attr = &node->attr;
    json_t *more = json_pack("{s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "id", (json_int_t)node->id, "uid",
                             (json_int_t)attr->uid, "gid", (json_int_t)attr->gid, "mode",
                             json_sprintf("%04" PRIo32, attr->mode), "created", json_time(attr->btime_ns),
                             "accessed", json_time(attr->atime_ns), "modified", json_time(attr->mtime_ns),
                             "changed", json_time(attr->ctime_ns));
    int rc = more == NULL ? -1 : json_object_update(object, more);

    json_decref(more);
    return rc;
}

/* ------------------------------------------------------------ deleting in bulk */

/* A page of deletes under way together, so that they share commits. */
struct batch {
    pthread_mutex_t lock;
    pthread_cond_t idle;
    size_t pending;
    int rc; /* the first failure */
};

static void batch_done(struct kv_change *change, int rc)
{
    struct batch *batch = change->arg;

    pthread_mutex_lock(&batch->lock);
    if (rc < 0 && rc != -ENOENT && batch->rc == 0) /* -ENOENT: somebody else deleted it */
        batch->rc = rc;
    if (--batch->pending == 0)
        pthread_cond_signal(&batch->idle);
    pthread_mutex_unlock(&batch->lock);
}

static int delete_page(struct ctl_request *request, uint64_t namespace_id, const struct kv_list *page)
{
    struct batch batch = {
        .lock = PTHREAD_MUTEX_INITIALIZER, .idle = PTHREAD_COND_INITIALIZER, .pending = page->count};
    struct kv_change *changes = calloc(page->count, sizeof(*changes));

    if (changes == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < page->count; i++) {
        changes[i].kind = KV_DELETE;
        changes[i].ref = kv_ref_key(namespace_id, page->keys[i], strlen(page->keys[i]));
        changes[i].done = batch_done;
        changes[i].arg = &batch;
        kv_submit(request->store, &changes[i]);
    }
    pthread_mutex_lock(&batch.lock);
    while (batch.pending > 0)
        pthread_cond_wait(&batch.idle, &batch.lock);
    pthread_mutex_unlock(&batch.lock);
    free(changes);
    return batch.rc;
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

    while (!complete) {
        struct kv_list page;
        int rc = list_whole(request, namespace_id, &page);

        if (rc < 0)
            return rc;
        complete = page.complete;
        if (page.count > 0)
            rc = delete_page(request, namespace_id, &page);
        kv_list_free(&page);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int ctl_remove_namespace(struct ctl_request *request, const struct kv_node *namespace)
{
    int rc = delete_keys(request, namespace->id);

    if (rc == 0)
        rc = kv_node_remove(request->store, namespace->parent, namespace->name);
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
