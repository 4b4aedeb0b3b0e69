/* kvctl watch: what is changed in an account, one line a change.
 *
 * The lines of a commit are collected, and given when all of it was read: so a token, which stands for the place behind
 * a commit, is never given before what it stands for. */
#include "tools/kvctl/common.h"
#include "tools/kvctl/watch_give.h"
#include "tools/kvctl/watch_tree.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { WAIT_MS = 1000, TOKEN_SIZE = 48 };

const char ctl_watch_help[] =
    "\nThe first line is {\"at\": TOKEN}; each further one a change:\n"
    "  {\"at\": TOKEN, \"op\": OP, \"account\": ..., ...}\n"
    "OP and what comes with it:\n"
    "  put            namespace, key, version, size. A key was put, or its attributes were changed (then the\n"
    "                 version is the same), or it was renamed to this name. Version and size are left out where\n"
    "                 one commit changed too much\n"
    "  delete         namespace, key. It was deleted, or renamed to another name\n"
    "  account-WHAT, namespace-WHAT (namespace), project-WHAT (project), binding-WHAT (project, variable, and\n"
    "                 with create the namespace that it leads to). WHAT is create, delete, rename (with \"to\", "
    "the\n"
    "                 new name; a binding's is PROJECT/VARIABLE) or change: of owner, mode, times, attributes or\n"
    "                 an account's limits, with mode, uid, gid, limit_bytes and limit_namespaces\n"
    "Of an account, all of it is watched; of a namespace, its keys and itself; of a key, the key, and what else\n"
    "takes its name away: renames of its namespace. Names are those at the time of the change.\n"
    "TOKEN stands for the place behind the commit that made the change, and --since begins there. Changes of one\n"
    "commit have the same token; all but the last have \"more\": true. Whoever keeps the token of a line without\n"
    "it misses nothing and gets nothing twice.\n"
    "--exec runs sh -c COMMAND for each change before its line is printed, one after the other, with the line on\n"
    "its standard input, and KVFS_OP, KVFS_ACCOUNT, KVFS_NAMESPACE and KVFS_KEY in its environment (\"\" where "
    "the\n"
    "change has none). One that fails is told on standard error, and the watch goes on.\n"
    "Ends with 0 on SIGINT or SIGTERM, and when nobody reads its output any more; with 5 when changes were "
    "missed:\n"
    "the store keeps the last 1 to 16 MiB of its log of changes, and a new one after a recovery.\n";

struct watch {
    struct ctl_request *request;
    struct watch_tree tree;
    struct kv_feed at; /* behind the commit whose changes are collected; seq 0: none yet */
    json_t *lines;     /* an array */
    size_t loose;      /* nodes that have lost their names in this commit */
};

/* -------------------------------------------------------------------------------- tokens */

static void print_token(const struct kv_feed *feed, char out[TOKEN_SIZE + 1])
{
    snprintf(out, TOKEN_SIZE + 1, "%016" PRIx64 "%016" PRIx64 "%016" PRIx64, feed->salt, feed->pos, feed->seq);
}

bool ctl_parse_token(const char *text, struct kv_feed *out)
{
    uint64_t numbers[3] = {0};

    if (strlen(text) != TOKEN_SIZE || strspn(text, "0123456789abcdef") != TOKEN_SIZE)
        return false;
    for (size_t i = 0; i < TOKEN_SIZE; i++)
        numbers[i / 16] = numbers[i / 16] << 4 | (uint64_t)(text[i] <= '9' ? text[i] - '0' : text[i] - 'a' + 10);
    *out = (struct kv_feed){.salt = numbers[0], .pos = numbers[1], .seq = numbers[2]};
    return out->salt != 0 && out->seq != 0;
}

/* --------------------------------------------------------------------------------- lines */

/* Where something lies, by names; "" where it has none of that kind. */
struct where {
    enum kv_node_kind kind; /* 0: not known */
    const char *account, *namespace, *project, *variable;
};

static struct where find_where(const struct watch *watch, const struct watch_place *place)
{
    struct where where = {watch_tree_kind(&watch->tree, place), "", "", "", ""};
    const struct watch_node *above;

    for (; place != NULL; place = above != NULL ? &above->place : NULL) {
        above = watch_tree_above(&watch->tree, place);
        switch (watch_tree_kind(&watch->tree, place)) {
        case KV_ACCOUNT:
            where.account = place->name;
            break;
        case KV_NAMESPACE:
            where.namespace = place->name;
            break;
        case KV_PROJECT:
            where.project = place->name;
            break;
        case KV_BINDING:
            where.variable = place->name;
            break;
        default:
            break;
        }
    }
    return where;
}

/* Is it watched what happens there to a node, or to a key (else NULL) of that namespace? */
static bool is_watched(const struct watch *watch, const struct where *where, const char *key, bool renamed)
{
    const struct ctl_path *path = &watch->request->path;

    if (where->kind == 0 || where->kind == KV_PROJECTS || strcmp(where->account, path->account) != 0)
        return false;
    if (path->second[0] == '\0' || (where->kind == KV_ACCOUNT && renamed))
        return true;
    if (where->kind != KV_NAMESPACE || strcmp(where->namespace, path->second) != 0)
        return false;
    return path->key[0] == '\0' || (key != NULL ? strcmp(key, path->key) == 0 : renamed);
}

/* "" sets nothing. returns 0; -ENOMEM */
static int set_text(json_t *line, const char *name, const char *text)
{
    return text[0] == '\0' || json_object_set_new(line, name, json_string(text)) == 0 ? 0 : -ENOMEM;
}

static int set_number(json_t *line, const char *name, uint64_t number)
{
    return json_object_set_new(line, name, json_integer((json_int_t)number)) == 0 ? 0 : -ENOMEM;
}

/* Add a line with names. returns it, which is the array's; NULL: no memory */
static json_t *add_line(struct watch *watch, const char *op, const struct where *where)
{
    char token[TOKEN_SIZE + 1];
    json_t *line;

    print_token(&watch->at, token);
    line = json_pack("{s:s, s:s, s:s}", "at", token, "op", op, "account", where->account);
    if (json_array_append_new(watch->lines, line) < 0 || set_text(line, "namespace", where->namespace) < 0 ||
        set_text(line, "project", where->project) < 0 || set_text(line, "variable", where->variable) < 0)
        return NULL;
    return line;
}

/* Add the line of what became of a node, if it is watched there, or at `to` (else NULL).
 * returns  0 and the line, or NULL; -ENOMEM */
static int add_node_line(struct watch *watch, const struct watch_node *node, const char *what,
                         const struct where *to, json_t **out)
{
    static const char *const kinds[] = {[KV_ACCOUNT] = "account",
                                        [KV_NAMESPACE] = "namespace",
                                        [KV_PROJECT] = "project",
                                        [KV_BINDING] = "binding"};
    struct where where = find_where(watch, &node->place);
    char op[32];

    *out = NULL;
    if (where.kind == 0 || where.kind == KV_PROJECTS)
        return 0;
    if (!is_watched(watch, &where, NULL, to != NULL) && (to == NULL || !is_watched(watch, to, NULL, true)))
        return 0;
    snprintf(op, sizeof(op), "%s-%s", kinds[where.kind], what);
    *out = add_line(watch, op, &where);
    return *out != NULL ? 0 : -ENOMEM;
}

static void forget_loose(struct watch *watch, const struct watch_node *node)
{
    if (!node->named && watch->loose > 0)
        watch->loose--;
}

static int tell_delete(struct watch *watch, struct watch_node *node)
{
    json_t *line;
    int rc = add_node_line(watch, node, "delete", NULL, &line);

    forget_loose(watch, node);
    watch_tree_remove(&watch->tree, node);
    return rc;
}

/* To a node that is there, or not yet. */
static int tell_name(struct watch *watch, uint64_t id, struct watch_node *node, const struct watch_place *place)
{
    char name[2 * KV_NAME_MAX + 2];
    struct where to;
    json_t *line;
    int rc;

    if (node == NULL) {
        node = watch_tree_name(&watch->tree, id, place);
        return node == NULL ? -ENOMEM : add_node_line(watch, node, "create", NULL, &node->line);
    }
    to = find_where(watch, place);
    rc = add_node_line(watch, node, "rename", &to, &line);
    snprintf(name, sizeof(name), "%s%s%s", to.project, to.kind == KV_BINDING ? "/" : "",
             to.kind == KV_PROJECT ? "" : place->name);
    if (rc == 0 && line != NULL)
        rc = set_text(line, "to", name);
    forget_loose(watch, node);
    return rc == 0 && watch_tree_name(&watch->tree, id, place) == NULL ? -ENOMEM : rc;
}

/* Something else than its name and what is in it. */
static int tell_change(struct watch *watch, const struct watch_node *node, bool known)
{
    json_t *line;
    int rc = add_node_line(watch, node, "change", NULL, &line);
    bool is_account = node->place.parent == KV_ROOT_ID;

    if (rc < 0 || line == NULL || !known)
        return rc;
    rc = json_object_set_new(line, "mode", json_sprintf("%04" PRIo32, node->mode)) == 0 ? 0 : -ENOMEM;
    if (rc == 0)
        rc = set_number(line, "uid", node->uid);
    if (rc == 0)
        rc = set_number(line, "gid", node->gid);
    if (rc == 0 && is_account)
        rc = set_number(line, "limit_bytes", node->limit_bytes);
    if (rc == 0 && is_account)
        rc = set_number(line, "limit_namespaces", node->limit_namespaces);
    return rc;
}

/* ------------------------------------------------------------------------------- changes */

/* This commit has changed the counts of a node: its record says so, too. */
static void note_cause(struct watch *watch, struct watch_node *node)
{
    if (node != NULL && node->cause != watch->at.seq)
        node->line = NULL;
    if (node != NULL)
        node->cause = watch->at.seq;
}

static int see_key(struct watch *watch, const struct kv_changed *changed)
{
    struct watch_node *space = watch_tree_find(&watch->tree, changed->ref.node);
    struct where where;
    json_t *line;
    int rc;

    if (space == NULL)
        return 0;
    note_cause(watch, space);
    note_cause(watch, watch_tree_above(&watch->tree, &space->place));
    where = find_where(watch, &space->place);
    if (!is_watched(watch, &where, changed->ref.key, false))
        return 0;
    line = add_line(watch, changed->removed ? "delete" : "put", &where);
    rc = line == NULL ? -ENOMEM : set_text(line, "key", changed->ref.key);
    if (rc == 0 && changed->known)
        rc = set_number(line, "version", changed->meta.version);
    if (rc == 0 && changed->known)
        rc = set_number(line, "size", changed->meta.size);
    return rc;
}

static int see_name(struct watch *watch, const struct kv_changed *changed)
{
    struct watch_place place = watch_place(changed->ref.node, changed->node.name);
    struct watch_node *node =
        changed->removed ? watch_tree_at(&watch->tree, &place) : watch_tree_find(&watch->tree, changed->node.id);
    int rc = 0;

    for (struct watch_node *above = watch_tree_above(&watch->tree, &place); above != NULL;
         above = watch_tree_above(&watch->tree, &above->place))
        note_cause(watch, above); /* an account counts its bindings, too */
    note_cause(watch, node);
    if (!changed->removed) {
        rc = tell_name(watch, changed->node.id, node, &place);
        if (node == NULL && rc == 0)
            watch_tree_find(&watch->tree, changed->node.id)->cause = watch->at.seq;
    } else if (node != NULL) {
        watch_tree_unname(&watch->tree, node);
        watch->loose++;
    }
    return rc;
}

static int see_node(struct watch *watch, const struct kv_changed *changed)
{
    struct watch_node *node = watch_tree_find(&watch->tree, changed->ref.node), *target;
    bool other = false, made;

    if (node == NULL) /* the root; or it came and went in this commit */
        return 0;
    if (changed->removed)
        return tell_delete(watch, node);
    made = node->cause == watch->at.seq && node->line != NULL;
    if (changed->known)
        other = watch_tree_note(node, &changed->node);
    target = watch_tree_find(&watch->tree, node->target);
    if (made && target != NULL) /* of a binding */
        return set_text(node->line, "namespace", target->place.name);
    return other || node->cause != watch->at.seq ? tell_change(watch, node, changed->known) : 0;
}

/* All of the commit was read: give its lines. */
static int end_commit(struct watch *watch)
{
    const char *command = ctl_given(watch->request, CTL_EXEC) ? watch->request->exec : NULL;
    struct watch_node *node, *next;
    size_t count;
    int rc = 0;

    HASH_ITER(by_id, watch->tree.by_id, node, next) {
        if (watch->loose == 0 || rc < 0)
            break;
        if (!node->named) /* it was made by this commit, too */
            rc = tell_delete(watch, node);
    }
    count = json_array_size(watch->lines);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        json_t *line = json_array_get(watch->lines, i);

        if (i + 1 < count && json_object_set_new(line, "more", json_true()) < 0)
            rc = -ENOMEM;
        if (rc == 0)
            rc = watch_give(command, line);
    }
    json_array_clear(watch->lines);
    return rc;
}

static int see(void *arg, const struct kv_changed *changed)
{
    struct watch *watch = arg;
    int rc = changed->at->seq != watch->at.seq ? end_commit(watch) : 0;

    if (rc != 0)
        return rc;
    watch->at = *changed->at;
    switch (changed->kind) {
    case KV_CHANGED_KEY:
        return see_key(watch, changed);
    case KV_CHANGED_NAME:
        return see_name(watch, changed);
    case KV_CHANGED_NODE:
        return see_node(watch, changed);
    }
    return 0;
}

/* ------------------------------------------------------------------------------ the watch */

static int ignore(void *arg, const struct kv_changed *changed)
{
    (void)arg;
    (void)changed;
    return 0;
}

/* Begin where it is wanted, or now, with the names that were there, and a line that says where that is. */
static int begin(struct watch *watch, struct kv_feed *feed)
{
    struct kv_store *store = watch->request->store;
    char token[TOKEN_SIZE + 1];
    json_t *line;
    int rc = ctl_given(watch->request, CTL_SINCE) ? 0 : kv_follow(store, feed, true, ignore, NULL);

    if (rc == 0)
        rc = watch_tree_read(&watch->tree, store, feed);
    if (rc < 0)
        return rc;
    print_token(feed, token);
    line = json_pack("{s:s}", "at", token);
    rc = line != NULL ? watch_give(NULL, line) : -ENOMEM;
    json_decref(line);
    return rc;
}

/* Follow until something ends that. */
static int follow(struct watch *watch, struct kv_feed *feed)
{
    struct kv_store *store = watch->request->store;
    int rc = 0, given;

    while (rc == 0) {
        rc = kv_follow(store, feed, true, see, watch);
        given = rc == 0 || rc == -ESTALE ? end_commit(watch) : rc;
        if (rc == 0)
            rc = given;
        if (rc == 0) {
            rc = kv_wait(store, feed->epoch, WAIT_MS);
            rc = rc == -ETIMEDOUT ? 0 : rc;
        }
        if (rc == 0)
            rc = watch_look();
    }
    return rc;
}

static int fail_trimmed(const struct ctl_request *request)
{
    (void)ctl_fail("%s: changes were missed: the store's log does not reach back to %s any more, or it is another "
                   "store; read what is there now, and watch it without --since",
                   request->path.text, ctl_given(request, CTL_SINCE) ? "this token" : "the last change told");
    return CTL_TRIMMED;
}

int ctl_watch(struct ctl_request *request)
{
    struct watch watch = {.request = request, .lines = json_array()};
    struct kv_feed feed = request->since;
    unsigned finds = request->path.second[0] != '\0' ? 2 : 1;
    int rc = CTL_OK;

    if (!ctl_given(request, CTL_SINCE)) /* a name that was there then may be gone now */
        rc = ctl_find(request, finds);
    if (rc == CTL_OK)
        rc = ctl_look(request);
    if (rc != CTL_OK) {
        json_decref(watch.lines);
        return rc;
    }
    watch_catch_signals();
    rc = watch.lines != NULL ? begin(&watch, &feed) : -ENOMEM;
    if (rc == 0)
        rc = follow(&watch, &feed);
    watch_tree_free(&watch.tree);
    json_decref(watch.lines);
    if (rc == -ESTALE)
        return fail_trimmed(request);
    if (rc < 0)
        return ctl_fail_store(request, request->path.text, "account", rc);
    return rc == WATCH_FAILED ? CTL_ERROR : CTL_OK;
}
