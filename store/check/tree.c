/* The tree above the keys: nodes, their names, parents, bindings and counts. */
#include "store/check/check.h"

#include "store/rules/tx.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int add_node(struct check *check, uint64_t id, struct check_node **out)
{
    struct check_node *added = calloc(1, sizeof(*added));

    if (added == NULL)
        return -ENOMEM;
    added->node.id = id;
    HASH_ADD(hh, check->nodes, node.id, sizeof(added->node.id), added);
    *out = added;
    return 0;
}

static int visit_node(void *arg, struct slice key, struct slice value)
{
    struct check *check = arg;
    struct record_node record;
    struct check_node *added;
    uint64_t id;
    int rc;

    check->report.nodes++;
    if (key.size != 8) {
        check_found(check, "node", false, "(no id)", "a node's record is kept under no id");
        return 0;
    }
    id = name_get_u64(key.data);
    rc = add_node(check, id, &added);
    if (rc < 0)
        return rc;
    added->damaged = record_decode_node(key, value, &record) < 0;
    if (!added->damaged)
        added->node = record.node;
    return check_note_ino(check, id);
}

int check_nodes(struct check *check)
{
    struct check_node *root;
    int rc = check_scan(check, ENGINE_NODES, slice_of(NULL, 0), visit_node);

    if (rc == 0 && !check->unreadable && check_find(check, KV_ROOT_ID) == NULL) {
        rc = add_node(check, KV_ROOT_ID, &root);
        if (rc == 0)
            root->damaged = root->lost = true;
    }
    return rc;
}

/* --------------------------------------------------------------------------- names */

static bool is_name_of(struct slice entry, const struct check_node *found)
{
    size_t size = strlen(found->node.name);

    return found->node.parent == name_get_u64(entry.data) && entry.size == 8 + size &&
           memcmp((const uint8_t *)entry.data + 8, found->node.name, size) == 0;
}

/* All that is known of a damaged node is the entry that leads to it. */
static void give_name(struct check_node *damaged, struct slice entry)
{
    size_t size = entry.size - 8;

    damaged->node.parent = name_get_u64(entry.data);
    memcpy(damaged->node.name, (const uint8_t *)entry.data + 8, size);
    damaged->node.name[size] = '\0';
    damaged->named = true;
}

static int note_entry(struct check *check, struct slice entry, bool malformed, uint64_t id)
{
    struct check_entry *added;
    int rc = check_grow((void **)&check->entries, check->entries_count, &check->entries_capacity,
                        sizeof(*check->entries));

    if (rc < 0)
        return rc;
    added = &check->entries[check->entries_count++];
    added->malformed = malformed;
    added->id = id;
    added->name.size = entry.size;
    memcpy(added->name.data, entry.data, entry.size);
    return 0;
}

static int visit_entry(void *arg, struct slice key, struct slice value)
{
    struct check *check = arg;
    struct check_node *found;
    uint64_t id;

    if (key.size <= 8 || key.size > 8 + KV_NAME_MAX || record_decode_number(ENGINE_NAMES, key, value, &id) < 0)
        return note_entry(check, key, true, 0);
    found = check_find(check, id);
    if (found != NULL && found->damaged && !found->named && id != KV_ROOT_ID)
        give_name(found, key);
    else if (found != NULL && !found->damaged && is_name_of(key, found))
        found->named = true;
    else
        return note_entry(check, key, false, id);
    return 0;
}

struct prefix {
    uint64_t id;
    bool found;
};

static int visit_first(void *arg, struct slice key, struct slice value)
{
    struct prefix *prefix = arg;

    (void)value;
    prefix->found = key.size >= 8 && name_get_u64(key.data) == prefix->id;
    return 1;
}

/* Is anything kept under this id? returns 1, 0, or a negative errno */
static int is_used(struct check *check, uint64_t id)
{
    static const enum engine_table tables[] = {ENGINE_NAMES, ENGINE_KEYS};
    struct prefix prefix = {.id = id};
    struct name from;

    name_of_node(id, &from);
    for (size_t i = 0; i < 2 && !prefix.found; i++) {
        int rc = check->txn->ops->scan(check->txn, tables[i], name_slice(&from), visit_first, &prefix);

        if (rc < 0)
            return rc;
    }
    return prefix.found;
}

/* A node whose record is lost, although an entry leads to it and there are things in it. */
static int find_lost_nodes(struct check *check)
{
    size_t kept = 0;

    for (size_t i = 0; i < check->entries_count; i++) {
        struct check_entry *entry = &check->entries[i];
        struct check_node *lost;
        int rc = entry->malformed || check_find(check, entry->id) != NULL ? 0 : is_used(check, entry->id);

        if (rc == 1) {
            rc = add_node(check, entry->id, &lost);
            if (rc == 0) {
                lost->damaged = lost->lost = true;
                give_name(lost, name_slice(&entry->name));
            }
        } else if (rc == 0) {
            check->entries[kept++] = *entry;
        }
        if (rc < 0)
            return rc;
    }
    check->entries_count = kept;
    return 0;
}

int check_names(struct check *check)
{
    int rc = check_scan(check, ENGINE_NAMES, slice_of(NULL, 0), visit_entry);

    return rc == 0 && !check->unreadable ? find_lost_nodes(check) : rc;
}

/* ---------------------------------------------------------------------------- tree */

struct kind {
    const char *text;
    enum kv_node_kind parent;
};

static const struct kind kinds[] = {
    [KV_ROOT] = {"the root", 0},
    [KV_ACCOUNT] = {"an account", KV_ROOT},
    [KV_NAMESPACE] = {"a namespace", KV_ACCOUNT},
    [KV_PROJECTS] = {"a list of projects", KV_ACCOUNT},
    [KV_PROJECT] = {"a project", KV_PROJECTS},
    [KV_BINDING] = {"a binding", KV_PROJECT},
};

/* Can a node that no entry leads to have its name back? returns 1, 0, or a negative errno */
static int can_link(struct check *check, const struct check_node *found)
{
    const struct kv_node *node = &found->node;
    struct check_node *parent = check_find(check, node->parent), *other;
    struct slice bytes;
    struct name entry;
    uint64_t id;
    int rc;

    if (parent == NULL || parent->damaged || node->kind == KV_ROOT ||
        parent->node.kind != kinds[node->kind].parent)
        return 0;
    name_of_child(node->parent, node->name, strlen(node->name), &entry);
    rc = check->txn->ops->get(check->txn, ENGINE_NAMES, name_slice(&entry), &bytes);
    if (rc < 0)
        return rc == -ENOENT ? 1 : rc;
    if (record_decode_number(ENGINE_NAMES, name_slice(&entry), bytes, &id) < 0)
        return 1;
    other = check_find(check, id);
    return other == NULL || (!other->damaged && !is_name_of(name_slice(&entry), other));
}

/* An entry that leads nowhere, or to a node that has another name. */
static int check_entry(struct check *check, const struct check_entry *entry)
{
    struct slice key = name_slice(&entry->name);
    struct check_node *found = entry->malformed ? NULL : check_find(check, entry->id);
    struct check_place place, to;
    char name[KV_NAME_MAX + 1] = "";
    int rc = 1;

    for (size_t i = 0; i + 8 < key.size && i < KV_NAME_MAX; i++) { /* a damaged one can have a NUL */
        char symbol = ((const char *)key.data)[8 + i];

        name[i] = symbol != '\0' ? symbol : '?';
    }
    place = check_place_key(check, key.size >= 8 ? name_get_u64(key.data) : 0, name);
    if (entry->malformed) {
        rc = !check->nameless; /* one of those may have been meant */
        check_found(check, "name", rc, place.text, "an entry whose record or name is damaged");
    } else if (found == NULL) {
        rc = !check->nameless;
        check_found(check, "name", rc, place.text, "an entry that leads to id %" PRIu64 ", which does not exist",
                    entry->id);
    } else {
        rc = found->damaged ? 0 : found->named ? 1 : can_link(check, found);
        if (rc < 0)
            return rc;
        to = check_place_node(check, entry->id);
        check_found(check, "name", rc, place.text, "an entry that leads to %s, which has another name", to.text);
    }
    return rc == 1 ? check_note_record(&check->drop_names, key) : 0;
}

static int check_own_name(struct check *check, struct check_node *found, const char *where)
{
    int rc;

    if (found->named)
        return 0;
    rc = can_link(check, found);
    if (rc < 0)
        return rc;
    found->link = rc;
    check_found(check, "name", rc, where, "no entry leads to it");
    return 0;
}

static void check_parent(struct check *check, struct check_node *found, const char *where)
{
    const struct kv_node *node = &found->node;
    struct check_node *parent = check_find(check, node->parent);

    if (parent == NULL)
        check_found(check, "node", false, where, "it is in id %" PRIu64 ", which does not exist", node->parent);
    else if (!parent->damaged && parent->node.kind != kinds[node->kind].parent)
        check_found(check, "node", false, where, "%s cannot be in %s", kinds[node->kind].text,
                    kinds[parent->node.kind].text);
}

/* The account that a node lies in; NULL where that is not known. */
static struct check_node *account_of(struct check *check, struct check_node *found)
{
    for (int depth = 0; found != NULL && !found->damaged && depth < CHECK_DEPTH_MAX; depth++) {
        if (found->node.kind == KV_ACCOUNT)
            return found;
        found = check_find(check, found->node.parent);
    }
    return NULL;
}

/* Of a damaged one its name is all that is known. */
static bool is_projects(const struct check_node *found)
{
    return found->damaged ? strcmp(found->node.name, NAME_PROJECTS) == 0 : found->node.kind == KV_PROJECTS;
}

/* The account that counts this node among its projects and bindings; NULL: it is neither. */
static struct check_node *account_of_binding(struct check *check, const struct check_node *found)
{
    for (int depth = 0; found != NULL && found->node.id != KV_ROOT_ID && depth < CHECK_DEPTH_MAX; depth++) {
        found = found->damaged && !found->named ? NULL : check_find(check, found->node.parent);
        if (found != NULL && is_projects(found))
            return found->damaged && !found->named ? NULL : check_find(check, found->node.parent);
    }
    return NULL;
}

static void check_binding(struct check *check, struct check_node *found, const char *where)
{
    struct check_node *target = check_find(check, found->node.target);
    struct check_node *account = account_of(check, found), *target_account;
    struct check_node *project = check_find(check, found->node.parent);

    if (target != NULL && target->damaged)
        return;
    if (target == NULL || target->node.kind != KV_NAMESPACE) {
        check_found(check, "binding", true, where, "it is bound to id %" PRIu64 ", which is no namespace",
                    found->node.target);
    } else {
        target_account = account_of(check, target);
        if (account == NULL || target_account == NULL || account == target_account)
            return;
        check_found(check, "binding", true, where, "it is bound to a namespace of another account");
    }
    found->drop = true;
    if (project != NULL)
        project->dropped_children++;
    account = account_of_binding(check, found);
    if (account != NULL)
        account->dropped_bindings++;
}

static void check_account(struct check *check, struct check_node *found, const char *where)
{
    const struct kv_node *node = &found->node;

    if (node->limit_bytes > KV_LIMIT_MAX || node->limit_namespaces > KV_LIMIT_MAX ||
        node->limit_keys > KV_LIMIT_MAX || node->limit_bindings > KV_LIMIT_MAX)
        check_found(check, "limit", false, where,
                    "its limits are %" PRIu64 " bytes, %" PRIu64 " keys, %" PRIu64 " namespaces and %" PRIu64
                    " projects and bindings, which is beyond what can be set; set them with: kvctl account limit",
                    node->limit_bytes, node->limit_keys, node->limit_namespaces, node->limit_bindings);
    if (!found->has_projects) {
        found->add_projects = !check->nameless; /* one of those may be it */
        check_found(check, "node", found->add_projects, where, "the account has no " NAME_PROJECTS);
    }
}

static int check_node(struct check *check, struct check_node *found)
{
    const struct kv_node *node = &found->node;
    struct check_place place = check_place_node(check, node->id);
    int rc = 0;

    if (found->damaged) {
        check_found(check, "node", false, place.text, "its record is %s", found->lost ? "missing" : "damaged");
        return 0;
    }
    if (node->id != KV_ROOT_ID && (node->id < TX_FIRST_ID || node->id > CHECK_ID_MAX))
        check_found(check, "number", false, place.text, "its id is %" PRIu64 ", which is never given out",
                    node->id);
    if ((node->kind == KV_ROOT) != (node->id == KV_ROOT_ID))
        check_found(check, "node", false, place.text, "%s cannot have the id %" PRIu64, kinds[node->kind].text,
                    node->id);
    if (node->kind != KV_ROOT) {
        check_parent(check, found, place.text);
        rc = check_own_name(check, found, place.text);
    }
    if (node->kind == KV_BINDING)
        check_binding(check, found, place.text);
    if (node->kind == KV_ACCOUNT)
        check_account(check, found, place.text);
    return rc;
}

/* Tell each node's parent of it. */
static void count_child(struct check *check, struct check_node *found)
{
    struct check_node *parent = found->node.id == KV_ROOT_ID ? NULL : check_find(check, found->node.parent);
    struct check_node *account = account_of_binding(check, found);

    if (found->damaged && !found->named && found->node.id != KV_ROOT_ID)
        check->nameless = true;
    else if (parent != NULL && is_projects(found))
        parent->has_projects = true;
    else if (parent != NULL)
        parent->children++;
    if (account != NULL)
        account->bindings++;
    else if (!found->damaged && (found->node.kind == KV_PROJECT || found->node.kind == KV_BINDING))
        check->unbound = true;
}

int check_tree(struct check *check)
{
    int rc = 0;

    for (struct check_node *node = check->nodes; node != NULL; node = node->hh.next)
        count_child(check, node);
    for (size_t i = 0; rc == 0 && i < check->entries_count; i++)
        rc = check_entry(check, &check->entries[i]);
    for (struct check_node *node = check->nodes; rc == 0 && node != NULL; node = node->hh.next)
        rc = check_node(check, node);
    return rc;
}

/* -------------------------------------------------------------------------- counts */

static void add_sums(struct check_sums *to, const struct check_sums *more)
{
    to->keys += more->keys;
    to->bytes += more->bytes;
    to->damaged |= more->damaged;
}

/* Add the keys in a node to all above it. */
static void add_up(struct check *check, struct check_node *found)
{
    struct check_node *at = found;

    for (int depth = 0; at != NULL && depth < CHECK_DEPTH_MAX; depth++) {
        add_sums(&at->all, &found->own);
        if (at->node.id == KV_ROOT_ID)
            return;
        at = at->damaged && !at->named ? NULL : check_find(check, at->node.parent);
    }
    check->astray |= found->own.keys > 0;
}

static void check_count(struct check *check, const struct check_node *found, const char *what, uint64_t recorded,
                        uint64_t counted)
{
    struct check_place place;

    if (recorded == counted)
        return;
    place = check_place_node(check, found->node.id);
    check_found(check, "count", true, place.text, "it records %" PRIu64 " %s, and there are %" PRIu64, recorded,
                what, counted);
}

int check_counts(struct check *check)
{
    for (struct check_node *node = check->nodes; node != NULL; node = node->hh.next)
        add_up(check, node);
    for (struct check_node *found = check->nodes; found != NULL; found = found->hh.next) {
        const struct kv_node *node = &found->node;

        if (found->damaged)
            continue;
        if (!check->nameless)
            check_count(check, found, node->kind == KV_ACCOUNT ? "namespaces" : "children", node->children,
                        found->children);
        if (!check->nameless && !check->unbound)
            check_count(check, found, "projects and bindings", node->bindings, found->bindings);
        if (check->astray && (node->kind == KV_ROOT || node->kind == KV_ACCOUNT))
            continue;
        check_count(check, found, "keys", node->keys, found->all.keys);
        if (!found->all.damaged || node->bytes < found->all.bytes)
            check_count(check, found, "bytes of keys, values and attributes", node->bytes, found->all.bytes);
    }
    return 0;
}
