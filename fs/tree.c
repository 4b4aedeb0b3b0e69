#include "fs/tree.h"

#include "fs/base/options.h"
#include "fs/control/control.h"
#include "fs/file.h"
#include "fs/lookup.h"
#include "fs/notify.h"
#include "fs/party.h"
#include "fs/scratch.h"
#include "fs/xattr.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

static bool is_namespace(const struct fs_inode *inode)
{
    return inode->kind == FS_NODE && inode->node_kind == KV_NAMESPACE;
}

static bool is_control_name(const struct fs *fs, const struct fs_inode *parent, const char *name)
{
    return parent->kind == FS_CONTROL_DIR || (parent == fs->nodes->root && strcmp(name, FS_CONTROL_NAME) == 0);
}

static int set_name(char to[KV_NAME_MAX + 1], const char *name)
{
    size_t size = strlen(name);

    if (size > KV_NAME_MAX)
        return -ENAMETOOLONG;
    memcpy(to, name, size + 1);
    return 0;
}

static enum kv_name_kind name_kind(enum kv_node_kind kind)
{
    switch (kind) {
    case KV_ACCOUNT:
        return KV_NAME_ACCOUNT;
    case KV_PROJECT:
        return KV_NAME_PROJECT;
    case KV_BINDING:
        return KV_NAME_VARIABLE;
    default:
        return KV_NAME_NAMESPACE;
    }
}

int fs_tree_check_key(struct fs *fs, struct fs_inode *namespace, const char *name, const char *operation)
{
    int rc = kv_name_check(KV_NAME_KEY, name, strlen(name));

    if (rc < 0)
        fs_errors_add_reason(fs, namespace, name, operation, kv_name_rule(KV_NAME_KEY));
    return rc;
}

/* Run a change and note what fails. */
static int run(struct fs *fs, struct kv_change *change, struct fs_inode *inode, const char *name,
               const char *operation)
{
    int rc = kv_apply(fs->store, change);

    atomic_fetch_add(&fs->nodes->changes, 1);
    if (change->kind == KV_NODE_CREATE && (rc == -EINVAL || rc == -ENAMETOOLONG))
        fs_errors_add_reason(fs, inode, name, operation, kv_name_rule(name_kind(change->node.kind)));
    else if (rc == -EDQUOT && change->kind == KV_NODE_CREATE)
        fs_errors_add_reason(
            fs, inode, name, operation,
            "the account has as many namespaces as it may: delete one, or raise its limit with kvctl "
            "account limit --namespaces");
    else
        fs_errors_note(fs, inode, name, operation, rc);
    return rc;
}

/* ------------------------------------------------------------------------------ making */

static int create_node(struct fs *fs, struct fs_inode *parent, enum kv_node_kind kind, const char *name,
                       uint64_t target, const struct kv_attr *attr, struct fuse_entry_param *entry)
{
    struct kv_change change = {.kind = KV_NODE_CREATE};
    int rc = set_name(change.node.name, name);

    if (rc < 0)
        return rc;
    change.node.kind = kind;
    change.node.parent = parent->id;
    change.node.target = target;
    change.node.attr = *attr;
    change.node.attr.atime_ns = change.node.attr.mtime_ns = fs_now_ns();
    change.node.attr.ctime_ns = change.node.attr.btime_ns = change.node.attr.mtime_ns;
    rc = run(fs, &change, parent, name, "create");
    return rc < 0 ? rc : fs_lookup_node(fs, parent, &change.node, entry);
}

int fs_tree_mkdir(struct fs *fs, struct fs_inode *parent, const char *name, const struct kv_attr *attr,
                  struct fuse_entry_param *entry)
{
    struct kv_attr own = *attr;

    if (is_control_name(fs, parent, name))
        return parent->kind == FS_CONTROL_DIR ? -EPERM : -EEXIST;
    switch (parent->node_kind) {
    case KV_ROOT:
        own.mode &= 0700; /* an account is its creator's until it is opened with chmod */
        return create_node(fs, parent, KV_ACCOUNT, name, 0, &own, entry);
    case KV_ACCOUNT:
        if (strcmp(name, ".projects") == 0)
            return -EEXIST;
        return create_node(fs, parent, KV_NAMESPACE, name, 0, attr, entry);
    case KV_PROJECTS:
        return create_node(fs, parent, KV_PROJECT, name, 0, attr, entry);
    case KV_NAMESPACE:
    case KV_PROJECT:
    case KV_BINDING:
        break;
    }
    return -EPERM; /* namespaces hold keys, projects hold bindings */
}

/* The namespace name that a binding's target means, or NULL: "../../NAMESPACE", or an absolute path into
 * the same account of this mount. */
static const char *target_namespace(struct fs *fs, const struct kv_node *account, const char *target)
{
    static const char relative[] = "../../";
    size_t mount_size = strlen(fs->options->mountpoint), account_size = strlen(account->name);

    if (strncmp(target, relative, sizeof(relative) - 1) == 0)
        return target + sizeof(relative) - 1;
    if (strncmp(target, fs->options->mountpoint, mount_size) != 0)
        return NULL;
    target += mount_size;
    if (*target++ != '/' || strncmp(target, account->name, account_size) != 0 || target[account_size] != '/')
        return NULL;
    return target + account_size + 1;
}

static int refuse_target(struct fs *fs, struct fs_inode *project, const char *name)
{
    fs_errors_add_reason(fs, project, name, "create",
                         "a binding must lead to a namespace: ../../NAMESPACE, or its path on this mount");
    return -EINVAL;
}

int fs_tree_symlink(struct fs *fs, struct fs_inode *parent, const char *name, const char *target,
                    const struct kv_attr *attr, struct fuse_entry_param *entry)
{
    struct kv_node project, projects, account, namespace;
    char namespace_name[KV_NAME_MAX + 1];
    const char *found;
    size_t size;
    int rc;

    if (parent->kind != FS_NODE || parent->node_kind != KV_PROJECT)
        return -EPERM;
    rc = kv_node_get(fs->store, parent->id, &project);
    if (rc == 0)
        rc = kv_node_get(fs->store, project.parent, &projects);
    if (rc == 0)
        rc = kv_node_get(fs->store, projects.parent, &account);
    if (rc < 0)
        return rc;
    found = target_namespace(fs, &account, target);
    size = found == NULL ? 0 : strlen(found);
    while (size > 0 && found[size - 1] == '/')
        size--;
    if (size == 0 || size > KV_NAME_MAX)
        return refuse_target(fs, parent, name);
    memcpy(namespace_name, found, size);
    namespace_name[size] = '\0';
    if (kv_name_check(KV_NAME_NAMESPACE, namespace_name, size) < 0)
        return refuse_target(fs, parent, name);
    rc = kv_node_find(fs->store, account.id, namespace_name, size, &namespace);
    return rc < 0 ? rc : create_node(fs, parent, KV_BINDING, name, namespace.id, attr, entry);
}

int fs_tree_readlink(struct fs *fs, struct fs_inode *inode, char out[FS_TARGET_MAX])
{
    struct kv_node binding;
    int rc;

    if (inode->kind != FS_NODE || inode->node_kind != KV_BINDING)
        return -EINVAL;
    rc = kv_node_get(fs->store, inode->id, &binding);
    if (rc == 0)
        rc = fs_attr_target(fs, &binding, out);
    return rc == -ENOENT ? -ESTALE : rc;
}

/* ---------------------------------------------------------------------------- removing */

/* Keys that were created here and are not in the central yet keep their namespace, too. */
static bool has_locals(struct fs *fs, uint64_t namespace_id)
{
    struct fs_body *body;
    bool found = false;

    pthread_mutex_lock(&fs->nodes->lock);
    DL_FOREACH(fs->nodes->locals, body)
        found |= body->inode->current && body->inode->name->node == namespace_id;
    pthread_mutex_unlock(&fs->nodes->lock);
    return found;
}

static int delete_node(struct fs *fs, struct fs_inode *parent, const char *name)
{
    struct kv_change change = {.kind = KV_NODE_DELETE};
    int rc = set_name(change.node.name, name);

    change.node.parent = parent->id;
    return rc < 0 ? rc : run(fs, &change, parent, name, "delete");
}

int fs_tree_rmdir(struct fs *fs, struct fs_inode *parent, const char *name)
{
    struct kv_node node;
    int rc;

    if (is_control_name(fs, parent, name))
        return -EPERM;
    if (is_namespace(parent))
        return -ENOTDIR;
    rc = kv_node_find(fs->store, parent->id, name, strlen(name), &node);
    if (rc < 0)
        return rc;
    if (node.kind == KV_BINDING)
        return -ENOTDIR;
    if (node.kind == KV_PROJECTS) /* belongs to its account; what an `rm -r` asks for is that it is empty */
        return node.children > 0 ? -ENOTEMPTY : 0;
    if (node.kind == KV_NAMESPACE && has_locals(fs, node.id))
        return -ENOTEMPTY;
    return delete_node(fs, parent, name);
}

static int unlink_key(struct fs *fs, struct fs_inode *namespace, const char *name)
{
    struct kv_change change = {.kind = KV_DELETE, .ref = kv_ref_key(namespace->id, name, strlen(name))};
    struct fs_party key = fs_party_of(fs, namespace, name);
    bool local = false;
    int rc;

    if (key.body != NULL) {
        pthread_rwlock_rdlock(&key.body->io);
        local = fs_body_is_local(key.body);
        pthread_rwlock_unlock(&key.body->io);
    }
    fs_xattr_keep(fs, key.body, &change.ref);
    rc = run(fs, &change, namespace, name, "delete");
    if (rc == 0 || rc == -ENOENT)
        fs_inode_unlink(fs, &change.ref);
    if (rc == 0)
        fs_notify_sizes(fs, namespace);
    if (rc == -ENOENT && local) { /* it was created here and is not in the central yet */
        fs_inode_touch(fs, namespace);
        rc = 0;
    }
    fs_party_end(fs, &key);
    return rc;
}

int fs_tree_unlink(struct fs *fs, struct fs_inode *parent, const char *name)
{
    struct kv_node node;
    int rc;

    if (is_control_name(fs, parent, name))
        return -EPERM;
    if (is_namespace(parent))
        return name[0] == '.' ? fs_scratch_unlink(fs, parent, name) : unlink_key(fs, parent, name);
    rc = kv_node_find(fs->store, parent->id, name, strlen(name), &node);
    if (rc < 0)
        return rc;
    return node.kind == KV_BINDING ? delete_node(fs, parent, name) : -EISDIR;
}

/* ---------------------------------------------------------------------------- renaming */

static unsigned store_flags(unsigned flags)
{
    return (flags & RENAME_NOREPLACE ? KV_NOREPLACE : 0u) | (flags & RENAME_EXCHANGE ? KV_EXCHANGE : 0u);
}

static void renamed_now(struct fs_body *body, const struct kv_meta *meta)
{
    pthread_rwlock_wrlock(&body->io);
    body->meta.attr.ctime_ns = meta->attr.ctime_ns;
    pthread_rwlock_unlock(&body->io);
}

/* The central moves what it has, so it must have what this node shows first. */
static int rename_parties(struct fs *fs, const struct fs_party *from, const struct fs_party *to,
                          struct kv_change *change)
{
    int rc = from->body != NULL ? fs_body_settle(fs, from->body) : 0;

    if (rc == 0 && to->body != NULL && change->flags & KV_EXCHANGE)
        rc = fs_body_settle(fs, to->body);
    else if (rc == 0)
        fs_xattr_keep(fs, to->body, &change->to);
    if (rc == 0)
        rc = run(fs, change, to->namespace, to->name, "rename");
    if (rc < 0)
        return rc;
    fs_inode_rename(fs, from->namespace, from->name, to->namespace, to->name, change->flags & KV_EXCHANGE);
    if (from->body != NULL)
        renamed_now(from->body, &change->meta);
    fs_notify_sizes(fs, to->namespace);
    return 0;
}

static int rename_key(struct fs *fs, struct fs_inode *namespace, const char *name, struct fs_inode *to_namespace,
                      const char *to_name, unsigned flags)
{
    struct kv_change change = {.kind = KV_RENAME, .flags = store_flags(flags)};
    struct fs_party from, to;
    int rc = fs_tree_check_key(fs, to_namespace, to_name, "rename");

    if (rc < 0)
        return rc;
    change.ref = kv_ref_key(namespace->id, name, strlen(name));
    change.to = kv_ref_key(to_namespace->id, to_name, strlen(to_name));
    fs_parties_of(fs, namespace, name, to_namespace, to_name, &from, &to);
    rc = rename_parties(fs, &from, &to, &change);
    fs_party_end(fs, &from);
    fs_party_end(fs, &to);
    return rc;
}

static void relabel(struct fs *fs, uint64_t node_id, struct fs_inode *parent, const char *name)
{
    struct fs_inode *inode = fs_inode_find(fs, node_id, NULL, 0);

    if (inode != NULL)
        fs_inode_relabel(fs, inode, parent, name);
    fs_inode_put(fs, inode);
}

static int rename_node(struct fs *fs, struct fs_inode *parent, const char *name, struct fs_inode *to_parent,
                       const char *to_name, unsigned flags)
{
    struct kv_change change = {.kind = KV_NODE_RENAME, .flags = store_flags(flags), .to_parent = to_parent->id};
    struct kv_node node, target = {0};
    int rc = set_name(change.node.name, name);

    if (rc == 0)
        rc = set_name(change.to_name, to_name);
    change.node.parent = parent->id;
    if (rc == 0)
        rc = kv_node_find(fs->store, parent->id, name, strlen(name), &node);
    if (rc < 0)
        return rc;
    rc = kv_node_find(fs->store, to_parent->id, to_name, strlen(to_name), &target);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (target.kind == KV_NAMESPACE && !(flags & RENAME_EXCHANGE) && has_locals(fs, target.id))
        return -ENOTEMPTY;
    rc = run(fs, &change, to_parent, to_name, "rename");
    if (rc < 0)
        return rc;
    relabel(fs, node.id, to_parent, to_name);
    if (flags & RENAME_EXCHANGE)
        relabel(fs, target.id, parent, name);
    return 0;
}

int fs_tree_rename(struct fs *fs, struct fs_inode *parent, const char *name, struct fs_inode *to_parent,
                   const char *to_name, unsigned flags)
{
    if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE))
        return -EINVAL;
    if (is_control_name(fs, parent, name) || is_control_name(fs, to_parent, to_name))
        return -EPERM;
    if (parent == to_parent &&
        strcmp(name, to_name) == 0) /* which the kernel knows to be there, and answers itself */
        return flags & RENAME_NOREPLACE ? -EEXIST : 0;
    if (is_namespace(parent) && is_namespace(to_parent) && name[0] == '.')
        return fs_scratch_rename(fs, parent, name, to_parent, to_name, flags);
    if (is_namespace(parent) && is_namespace(to_parent))
        return rename_key(fs, parent, name, to_parent, to_name, flags);
    if (is_namespace(parent) || is_namespace(to_parent))
        return -EPERM; /* only keys live in namespaces */
    return rename_node(fs, parent, name, to_parent, to_name, flags);
}
