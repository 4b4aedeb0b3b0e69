#include "store/rules/apply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct kind_rule {
    enum kv_node_kind parent;
    enum kv_name_kind name;
};

static const struct kind_rule *rule_of(enum kv_node_kind kind)
{
    static const struct kind_rule rules[] = {
        [KV_ACCOUNT] = {KV_ROOT, KV_NAME_ACCOUNT},
        [KV_NAMESPACE] = {KV_ACCOUNT, KV_NAME_NAMESPACE},
        [KV_PROJECT] = {KV_PROJECTS, KV_NAME_PROJECT},
        [KV_BINDING] = {KV_PROJECT, KV_NAME_VARIABLE},
    };

    return kind < sizeof(rules) / sizeof(rules[0]) && rules[kind].parent != 0 ? &rules[kind] : NULL;
}

/* May a node of this kind be called so from now on? */
static int check_name(enum kv_node_kind kind, const char *name)
{
    size_t size = strlen(name);
    int rc = kv_name_check(rule_of(kind)->name, name, size);

    return rc == 0 && kind == KV_BINDING && !kv_variable_is_safe(name, size) ? -EINVAL : rc;
}

/* The account that a node other than the root lies in. */
static int account_of(struct tx *tx, struct tx_node *slot, struct tx_node **out)
{
    while (slot->node.kind != KV_ACCOUNT) {
        int rc = tx_node_parent(tx, slot, &slot);

        if (rc < 0)
            return rc;
    }
    *out = slot;
    return 0;
}

static int check_binding(struct tx *tx, struct tx_node *project, uint64_t target)
{
    struct tx_node *namespace, *account, *target_account;
    int rc = tx_node_of_kind(tx, target, KV_NAMESPACE, &namespace);

    if (rc == 0)
        rc = account_of(tx, project, &account);
    if (rc == 0)
        rc = account_of(tx, namespace, &target_account);
    if (rc == 0 && account != target_account)
        rc = -EXDEV;
    return rc;
}

static bool is_counted(enum kv_node_kind kind) { return kind == KV_PROJECT || kind == KV_BINDING; }

/* One project or binding more, or less, in an account. */
static int count_binding(struct tx *tx, struct tx_node *account, bool more)
{
    if (!more && account->node.bindings == 0)
        return tx_damaged(tx);
    account->node.bindings = more ? account->node.bindings + 1 : account->node.bindings - 1;
    account->dirty = true;
    return 0;
}

/* Are there as many nodes of this kind in the account as there may be? *account is set where they are counted there. */
static int check_limit(struct tx *tx, enum kv_node_kind kind, struct tx_node *parent, struct tx_node **account)
{
    int rc;

    *account = NULL;
    if (kind == KV_NAMESPACE)
        return parent->node.children >= parent->node.limit_namespaces ? -EDQUOT : 0;
    if (!is_counted(kind))
        return 0;
    rc = account_of(tx, parent, account);
    if (rc < 0)
        return rc;
    return (*account)->node.limit_bindings != 0 && (*account)->node.bindings >= (*account)->node.limit_bindings
               ? -EDQUOT
               : 0;
}

/* What a new node has, beside what the change says. */
static void fill_node(struct tx *tx, struct kv_node *node)
{
    bool account = node->kind == KV_ACCOUNT;

    node->id = node->attr.ino = tx_new_id(tx);
    node->attr.mode &= 07777;
    node->keys = node->bytes = node->children = node->bindings = 0;
    node->limit_bytes = account ? KV_ACCOUNT_BYTES : 0;
    node->limit_namespaces = account ? KV_ACCOUNT_NAMESPACES : 0;
    node->limit_keys = 0;
    node->limit_bindings = account ? KV_ACCOUNT_BINDINGS : 0;
    node->target = node->kind == KV_BINDING ? node->target : 0;
    node->has_xattrs = false;
}

int apply_node_create(struct tx *tx, struct kv_change *change)
{
    struct kv_node *node = &change->node;
    const struct kind_rule *rule = rule_of(node->kind);
    struct tx_node *parent, *existing, *account;
    int rc;

    if (rule == NULL)
        return -EPERM;
    rc = check_name(node->kind, node->name);
    if (rc == 0)
        rc = tx_node_of_kind(tx, node->parent, rule->parent, &parent);
    if (rc < 0)
        return rc;
    rc = tx_node_child(tx, node->parent, node->name, &existing);
    if (rc != -ENOENT)
        return rc == 0 ? -EEXIST : rc;
    rc = check_limit(tx, node->kind, parent, &account);
    if (rc == 0 && node->kind == KV_BINDING)
        rc = check_binding(tx, parent, node->target);
    if (rc == 0)
        rc = tx_room(tx, 0, 0);
    if (rc < 0)
        return rc;

    fill_node(tx, node);
    rc = tx_node_add(tx, node);
    if (rc == 0 && node->kind == KV_ACCOUNT) {
        struct kv_node projects = {
            .kind = KV_PROJECTS, .parent = node->id, .name = NAME_PROJECTS, .attr = node->attr};

        projects.id = projects.attr.ino = tx_new_id(tx);
        rc = tx_node_add(tx, &projects);
    }
    if (rc == 0 && account != NULL)
        rc = count_binding(tx, account, true);
    if (rc < 0)
        return rc;
    parent->node.children++;
    tx_node_touch(tx, parent);
    return 0;
}

/* The PROJECTS node that every account has. */
static int projects_of(struct tx *tx, uint64_t account, struct tx_node **out)
{
    int rc = tx_node_child(tx, account, NAME_PROJECTS, out);

    return rc == -ENOENT || (rc == 0 && (*out)->node.kind != KV_PROJECTS) ? -EIO : rc;
}

/* Find the bindings of a namespace among the children of one project. */
static int bindings_in(struct tx *tx, uint64_t project, uint64_t target, bool remove)
{
    struct tx_node *parent, *account;
    uint64_t *ids = NULL;
    size_t ids_count = 0;
    int rc = tx_node_of_kind(tx, project, KV_PROJECT, &parent);

    if (rc == 0)
        rc = account_of(tx, parent, &account);
    if (rc == 0)
        rc = tx_node_children(tx, project, &ids, &ids_count);
    for (size_t i = 0; rc == 0 && i < ids_count; i++) {
        struct tx_node *binding;

        rc = tx_node_of_kind(tx, ids[i], KV_BINDING, &binding);
        if (rc == 0 && remove && binding->node.target == target) {
            rc = tx_node_drop(tx, binding);
            if (rc == 0)
                rc = count_binding(tx, account, false);
            parent->node.children--;
            tx_node_touch(tx, parent);
        }
    }
    free(ids);
    return rc == -ENOENT ? -EIO : rc;
}

/* Visit all bindings of the account that point to a namespace: without `remove` this only makes sure
 * that they can be read, so that the removal cannot be refused half way. */
static int namespace_bindings(struct tx *tx, const struct kv_node *namespace, bool remove)
{
    struct tx_node *projects;
    uint64_t *ids = NULL;
    size_t ids_count = 0;
    int rc = projects_of(tx, namespace->parent, &projects);

    if (rc == 0)
        rc = tx_node_children(tx, projects->node.id, &ids, &ids_count);
    for (size_t i = 0; rc == 0 && i < ids_count; i++)
        rc = bindings_in(tx, ids[i], namespace->id, remove);
    free(ids);
    return rc == -ENOENT ? -EIO : rc;
}

/* Can this node be removed? An account's PROJECTS node, which goes with it, is left in *projects. */
static int check_empty(struct tx *tx, struct tx_node *slot, struct tx_node **projects)
{
    const struct kv_node *node = &slot->node;
    int rc = 0;

    *projects = NULL;
    if (rule_of(node->kind) == NULL)
        return -EPERM;
    if (node->children > 0)
        return -ENOTEMPTY;
    if (node->keys > 0)
        rc = node->kind == KV_NAMESPACE ? apply_check_all_expired(tx, slot) : -ENOTEMPTY;
    if (rc < 0)
        return rc;
    if (node->kind == KV_ACCOUNT) {
        rc = projects_of(tx, node->id, projects);
        if (rc == 0 && (*projects)->node.children > 0)
            rc = -ENOTEMPTY;
    } else if (node->kind == KV_NAMESPACE) {
        rc = namespace_bindings(tx, node, false);
    }
    return rc == -ENOENT ? -EIO : rc;
}

/* Remove a node that check_empty() allowed. */
static int remove_node(struct tx *tx, struct tx_node *slot, struct tx_node *projects)
{
    struct tx_node *parent, *account;
    int rc = tx_node_get(tx, slot->node.parent, &parent);

    if (rc == 0 && is_counted(slot->node.kind))
        rc = account_of(tx, slot, &account);
    if (rc == 0 && is_counted(slot->node.kind))
        rc = count_binding(tx, account, false);
    if (rc == 0 && slot->node.kind == KV_NAMESPACE && slot->node.keys > 0)
        rc = apply_drop_all_expired(tx, slot);
    if (rc == 0 && slot->node.kind == KV_NAMESPACE)
        rc = namespace_bindings(tx, &slot->node, true);
    if (rc == 0 && projects != NULL)
        rc = tx_node_drop(tx, projects);
    if (rc == 0)
        rc = tx_node_drop(tx, slot);
    if (rc < 0) { /* maybe half way */
        tx->broken = true;
        return rc;
    }
    parent->node.children--;
    tx_node_touch(tx, parent);
    return 0;
}

int apply_node_delete(struct tx *tx, struct kv_change *change)
{
    struct tx_node *parent, *slot, *projects;
    int rc = tx_node_get(tx, change->node.parent, &parent);

    if (rc == 0)
        rc = tx_node_child(tx, change->node.parent, change->node.name, &slot);
    if (rc == 0 && !apply_may_remove(change, parent, &slot->node.attr, change->object))
        rc = -ESTALE;
    if (rc == 0)
        rc = check_empty(tx, slot, &projects);
    if (rc < 0)
        return rc;
    return remove_node(tx, slot, projects);
}

/* Give a node another name and parent. */
static int move_node(struct tx *tx, struct tx_node *slot, uint64_t parent, const char *name)
{
    slot->node.parent = parent;
    memset(slot->node.name, 0, sizeof(slot->node.name));
    memcpy(slot->node.name, name, strlen(name));
    slot->node.attr.ctime_ns = tx->now_ns;
    slot->dirty = true;
    return tx_node_link(tx, &slot->node);
}

static int check_move(struct tx *tx, struct tx_node *slot, struct tx_node *to_parent)
{
    struct tx_node *account, *to_account;
    const struct kind_rule *rule = rule_of(slot->node.kind);
    int rc;

    if (rule == NULL)
        return -EPERM;
    if (to_parent->node.kind != rule->parent)
        return -EPERM;
    if (slot->node.parent == to_parent->node.id)
        return 0;
    rc = account_of(tx, slot, &account);
    if (rc == 0)
        rc = account_of(tx, to_parent, &to_account);
    if (rc == 0 && account != to_account)
        rc = -EXDEV;
    return rc;
}

static int exchange_nodes(struct tx *tx, struct tx_node *a, struct tx_node *b)
{
    struct kv_node old_a = a->node, old_b = b->node;
    int rc = tx_node_unlink(tx, &old_a);

    if (rc == 0) /* who follows is told that both are gone from where they were */
        rc = tx_node_unlink(tx, &old_b);
    if (rc == 0)
        rc = move_node(tx, a, old_b.parent, old_b.name);
    return rc < 0 ? rc : move_node(tx, b, old_a.parent, old_a.name);
}

static int replace_node(struct tx *tx, struct tx_node *slot, struct tx_node *from, struct tx_node *to,
                        struct tx_node *target, const char *name)
{
    struct tx_node *projects;
    int rc = 0;

    if (target != NULL) {
        rc = check_empty(tx, target, &projects);
        if (rc == 0)
            rc = remove_node(tx, target, projects);
    }
    if (rc == 0)
        rc = tx_node_unlink(tx, &slot->node);
    if (rc == 0)
        rc = move_node(tx, slot, to->node.id, name);
    if (rc < 0)
        return rc;
    from->node.children--;
    to->node.children++;
    return 0;
}

int apply_node_rename(struct tx *tx, struct kv_change *change)
{
    struct tx_node *from, *to, *slot, *target = NULL;
    int rc = tx_node_get(tx, change->node.parent, &from);

    if (rc == 0)
        rc = tx_node_get(tx, change->to_parent, &to);
    if (rc == 0)
        rc = tx_node_child(tx, change->node.parent, change->node.name, &slot);
    if (rc == 0)
        rc = check_move(tx, slot, to);
    if (rc == 0)
        rc = check_name(slot->node.kind, change->to_name);
    if (rc < 0)
        return rc;
    rc = tx_node_child(tx, change->to_parent, change->to_name, &target);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (rc == 0 && change->flags & KV_NOREPLACE)
        return -EEXIST;
    if (rc == -ENOENT && change->flags & KV_EXCHANGE)
        return -ENOENT;
    if (!apply_may_remove(change, from, &slot->node.attr, change->object) ||
        !apply_may_remove(change, to, rc == 0 ? &target->node.attr : NULL, change->to_object))
        return -ESTALE;
    if (target != slot) {
        rc = change->flags & KV_EXCHANGE ? exchange_nodes(tx, slot, target)
                                         : replace_node(tx, slot, from, to, target, change->to_name);
        if (rc < 0)
            return rc;
        tx_node_touch(tx, from);
        tx_node_touch(tx, to);
    }
    return 0;
}

int apply_node_limits(struct tx *tx, struct kv_change *change)
{
    struct tx_node *slot;
    int rc = tx_node_of_kind(tx, change->node.id, KV_ACCOUNT, &slot);

    if (rc < 0)
        return rc;
    if (change->node.limit_bytes > KV_LIMIT_MAX || change->node.limit_namespaces > KV_LIMIT_MAX ||
        change->node.limit_keys > KV_LIMIT_MAX || change->node.limit_bindings > KV_LIMIT_MAX)
        return -EFBIG;
    slot->node.limit_bytes = change->node.limit_bytes;
    slot->node.limit_namespaces = change->node.limit_namespaces;
    slot->node.limit_keys = change->node.limit_keys;
    slot->node.limit_bindings = change->node.limit_bindings;
    slot->node.attr.ctime_ns = tx->now_ns;
    slot->dirty = true;
    change->node = slot->node;
    return 0;
}
