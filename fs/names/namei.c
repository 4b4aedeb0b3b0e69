#include "fs/names/namei.h"

#include "fs/content/writeback.h"
#include "fs/names/temporary.h"
#include "fs/nodes/view.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int fs_check_key(const char *name)
{
    int rc = kv_name_check(KV_NAME_KEY, name, strlen(name));

    return rc < 0 ? fs_because(rc, kv_name_rule(KV_NAME_KEY)) : 0;
}

static int namei_set_name(char to[KV_NAME_MAX + 1], const char *name)
{
    size_t size = strlen(name);

    if (size > KV_NAME_MAX)
        return -ENAMETOOLONG;
    memcpy(to, name, size + 1);
    return 0;
}

static bool namei_is_node_kind(const struct fs_inode *inode, enum kv_node_kind kind)
{
    return inode->kind == FS_NODE && inode->node_kind == kind;
}

/* Make a change in `dir`, and maybe in `other`, which acts on what the kernel checked. */
static int namei_apply(struct fs *fs, struct fs_inode *dir, struct fs_inode *other, struct kv_change *change)
{
    struct fs_seen seen;
    int rc = fs_see(fs, dir, other, &seen, change);

    return rc < 0 ? rc : fs_stale_if(fs, dir, kv_apply(fs->store, change));
}

/* Does a name lie in a view, or is it that of views? Then it is not changed there.
 * returns  0; -EPERM */
static int namei_check_view(const struct fs_inode *dir, const char *name)
{
    if (dir->kind != FS_VIEW && !fs_is_view_name(dir, name))
        return 0;
    return fs_because(-EPERM, "views only show keys: make, remove and rename them in the namespace itself");
}

/* --------------------------------------------------------------------------------- making */

int fs_new_attr(struct fs *fs, struct fs_inode *parent, const struct fuse_ctx *who, mode_t mode,
                struct kv_attr *out)
{
    struct kv_attr told = fs_told(fs, parent);

    if (parent->kind == FS_VIEW)
        return namei_check_view(parent, "");
    if (parent->kind != FS_NODE)
        return parent->kind == FS_GONE ? -ESTALE : -EPERM;
    *out = (struct kv_attr){.mode = mode & 07777, .uid = who->uid, .gid = who->gid};
    out->atime_ns = out->mtime_ns = out->ctime_ns = out->btime_ns = fs_now_ns();
    if (told.mode & S_ISGID) { /* the change that makes it carries the directory as it was told */
        out->gid = told.gid;
        if (S_ISDIR(mode))
            out->mode |= S_ISGID;
    }
    return 0;
}

static int namei_create_node(struct fs *fs, struct fs_inode *parent, enum kv_node_kind kind, const char *name,
                             uint64_t target, const struct kv_attr *attr, struct fuse_entry_param *entry)
{
    static const enum kv_name_kind kinds[] = {[KV_ACCOUNT] = KV_NAME_ACCOUNT,
                                              [KV_NAMESPACE] = KV_NAME_NAMESPACE,
                                              [KV_PROJECT] = KV_NAME_PROJECT,
                                              [KV_BINDING] = KV_NAME_VARIABLE};
    struct kv_change change = {.kind = KV_NODE_CREATE};
    int rc = namei_set_name(change.node.name, name);

    if (rc == 0) {
        change.node.kind = kind;
        change.node.parent = parent->name->node;
        change.node.target = target;
        change.node.attr = *attr;
        rc = namei_apply(fs, parent, NULL, &change);
    }
    if (rc == -EINVAL || rc == -ENAMETOOLONG)
        return fs_because(rc, kv_name_rule(kinds[kind]));
    if (rc == -EDQUOT && kind == KV_NAMESPACE)
        return fs_because(
            rc, "the account has as many namespaces as it may: delete one, or raise its limit with kvctl "
                "account limit --namespaces");
    if (rc == -EDQUOT)
        return fs_because(rc, "the account has as many projects and bindings as it may: delete one, or raise its "
                              "limit with kvctl account limit --bindings");
    return rc < 0 ? rc : fs_lookup_node(fs, parent, &change.node, entry);
}

int fs_mkdir(struct fs *fs, struct fs_inode *parent, const char *name, const struct kv_attr *attr,
             struct fuse_entry_param *entry)
{
    struct kv_attr own = *attr;

    if (fs_is_control_name(fs, parent, name))
        return parent->kind == FS_CONTROL_DIR ? -EPERM : -EEXIST;
    switch (parent->node_kind) {
    case KV_ROOT:
        own.mode &= 0700; /* an account is its creator's until it is opened with chmod */
        return namei_create_node(fs, parent, KV_ACCOUNT, name, 0, &own, entry);
    case KV_ACCOUNT:
        if (strcmp(name, ".projects") == 0)
            return -EEXIST;
        return namei_create_node(fs, parent, KV_NAMESPACE, name, 0, attr, entry);
    case KV_PROJECTS:
        return namei_create_node(fs, parent, KV_PROJECT, name, 0, attr, entry);
    case KV_NAMESPACE:
    case KV_PROJECT:
    case KV_BINDING:
        break;
    }
    return fs_because(-EPERM,
                      "namespaces hold keys, and projects hold bindings: there are no directories in them");
}

/* The namespace name that a binding's target means, or NULL: "../../NAMESPACE", or an absolute path into the same
 * account of this mount. */
static const char *binding_namespace(struct fs *fs, const struct kv_node *account, const char *target)
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

/* The namespace that a target means.
 * returns  0; -EINVAL where it means none; -ENOENT */
static int binding_find(struct fs *fs, const struct kv_node *account, const char *target, struct kv_node *out)
{
    const char *found = binding_namespace(fs, account, target);
    size_t size = found == NULL ? 0 : strlen(found);

    while (size > 0 && found[size - 1] == '/')
        size--;
    if (size == 0 || kv_name_check(KV_NAME_NAMESPACE, found, size) < 0)
        return fs_because(-EINVAL,
                          "a binding must lead to a namespace: ../../NAMESPACE, or its path on this mount");
    return kv_node_find(fs->store, account->id, found, size, out);
}

int fs_symlink(struct fs *fs, struct fs_inode *parent, const char *name, const char *target,
               const struct kv_attr *attr, struct fuse_entry_param *entry)
{
    struct kv_node account, namespace;
    int rc;

    if (!namei_is_node_kind(parent, KV_PROJECT))
        return fs_because(-EPERM, "only projects hold links: ACCOUNT/.projects/PROJECT/VARIABLE");
    rc = kv_node_get(fs->store, fs_inode_account(fs, parent), &account);
    if (rc == 0)
        rc = binding_find(fs, &account, target, &namespace);
    return rc < 0 ? rc : namei_create_node(fs, parent, KV_BINDING, name, namespace.id, attr, entry);
}

int fs_readlink(struct fs *fs, struct fs_inode *inode, char out[FS_TARGET_MAX])
{
    char label[KV_NAME_MAX + 1];
    struct fs_inode *project;
    struct kv_node binding;
    int rc;

    if (!namei_is_node_kind(inode, KV_BINDING))
        return -EINVAL;
    project = fs_inode_parent(fs, inode, label);
    rc = fs_check_seen(fs, project, NULL);
    fs_inode_put(fs, project);
    if (rc == 0)
        rc = kv_node_get(fs->store, inode->name->node, &binding);
    if (rc == 0)
        rc = fs_binding_target(fs, &binding, out);
    return rc == -ENOENT ? -ESTALE : rc;
}

int fs_make_file(struct fs *fs, struct fs_inode *parent, const char *name, mode_t mode, int flags,
                 const struct fuse_ctx *who, struct fs_inode **inode, struct fs_handle **out)
{
    struct kv_attr attr;
    int rc = parent->kind == FS_VIEW ? fs_check_key(name) : 0;

    if (rc == 0)
        rc = fs_new_attr(fs, parent, who, mode, &attr);
    if (rc == 0)
        rc = namei_check_view(parent, name);
    if (rc < 0)
        return rc;
    if (!fs_is_namespace(parent))
        return fs_because(-EPERM, "only namespaces hold files: ACCOUNT/NAMESPACE/KEY");
    if (fs_is_temporary(name, flags, mode))
        return fs_create_temporary(fs, parent, name, &attr, who, inode, out);
    rc = fs_check_key(name);
    return rc < 0 ? rc : fs_create(fs, parent, name, flags, &attr, who, inode, out);
}

/* ------------------------------------------------------------------------------- removing */

static int namei_delete_node(struct fs *fs, struct fs_inode *parent, const struct kv_node *node)
{
    struct kv_change change = {.kind = KV_NODE_DELETE, .node = *node};
    struct kv_attr told;

    if (fs_told_before_of_node(fs, parent, node, &told))
        change.object = &told;
    return namei_apply(fs, parent, NULL, &change);
}

/* A child of a directory that the kernel checked. */
static int namei_find_node(struct fs *fs, struct fs_inode *parent, const char *name, struct kv_node *out)
{
    int rc = fs_check_seen(fs, parent, NULL);

    return rc < 0 ? rc : kv_node_find(fs->store, parent->name->node, name, strlen(name), out);
}

int fs_rmdir(struct fs *fs, struct fs_inode *parent, const char *name)
{
    struct kv_node node;
    int rc;

    if (fs_is_control_name(fs, parent, name))
        return -EPERM;
    rc = namei_check_view(parent, name);
    if (rc < 0)
        return rc;
    if (parent->kind != FS_NODE || fs_is_namespace(parent))
        return parent->kind == FS_GONE ? -ESTALE : -ENOTDIR;
    rc = namei_find_node(fs, parent, name, &node);
    if (rc < 0)
        return rc;
    if (node.kind == KV_BINDING)
        return -ENOTDIR;
    if (node.kind == KV_PROJECTS) /* belongs to its account; what an `rm -r` asks for is that it is empty */
        return node.children > 0 ? -ENOTEMPTY : 0;
    if (node.kind == KV_NAMESPACE && fs_has_locals(fs, node.id))
        return -ENOTEMPTY;
    return namei_delete_node(fs, parent, &node);
}

/* Does the central storage not have what the current inode of a locked name shows? */
static bool namei_is_new(struct fs *fs, struct fs_inode *inode)
{
    struct fs_body *body = inode != NULL ? fs_body_pin(fs, inode) : NULL;
    bool new;

    if (body == NULL)
        return false;
    new = fs_body_is_local(body);
    fs_body_unpin(fs, inode);
    return new;
}

static int namei_unlink_key(struct fs *fs, struct fs_inode *namespace, const char *key)
{
    struct kv_change change = {.kind = KV_DELETE, .ref = kv_ref_key(namespace->name->node, key, strlen(key))};
    struct fs_name *name = fs_name_lock(fs, namespace->name->node, key);
    struct fs_inode *inode;
    struct kv_attr told;
    bool new, kept;
    int rc;

    if (name == NULL)
        return -ENOMEM;
    inode = fs_name_current(fs, name);
    if (fs_told_before(fs, inode, &told))
        change.object = &told;
    new = namei_is_new(fs, inode);
    kept = fs_xattr_keep(fs, inode);
    rc = namei_apply(fs, namespace, NULL, &change);
    if (rc == 0 || rc == -ENOENT)
        fs_name_remove(fs, name);
    else if (kept)
        fs_xattr_drop(fs, inode);
    if (rc == -ENOENT && new) { /* it was created here and is not in the central storage yet */
        fs_inode_touch(fs, namespace);
        rc = 0;
    }
    fs_body_removed(fs, inode);
    fs_inode_put(fs, inode);
    fs_name_unlock(fs, name);
    return rc;
}

int fs_unlink(struct fs *fs, struct fs_inode *parent, const char *name)
{
    struct kv_node node;
    int rc;

    if (fs_is_control_name(fs, parent, name))
        return -EPERM;
    rc = namei_check_view(parent, name);
    if (rc < 0)
        return rc;
    if (parent->kind != FS_NODE)
        return -ESTALE;
    if (fs_is_namespace(parent))
        return kv_name_check(KV_NAME_KEY, name, strlen(name)) == 0 ? namei_unlink_key(fs, parent, name)
                                                                   : fs_unlink_temporary(fs, parent, name);
    rc = namei_find_node(fs, parent, name, &node);
    if (rc < 0)
        return rc;
    return node.kind == KV_BINDING ? namei_delete_node(fs, parent, &node) : -EISDIR;
}

/* ------------------------------------------------------------------------------- renaming */

/* A name that takes part in a rename, locked. */
struct rename_side {
    struct fs_inode *namespace;
    struct fs_name *name;
    struct fs_inode *inode; /* NULL: this node knows nothing of the name */
    struct fs_body *body;   /* NULL: it is not open */
    struct kv_attr told;
    const struct kv_attr *object; /* told, where it was before the request */
};

static void rename_side_begin(struct fs *fs, struct fs_inode *namespace, struct fs_name *name,
                              struct rename_side *side)
{
    *side = (struct rename_side){.namespace = namespace, .name = name, .inode = fs_name_current(fs, name)};
    if (side->inode == NULL)
        return;
    side->body = fs_body_pin(fs, side->inode);
    if (fs_told_before(fs, side->inode, &side->told))
        side->object = &side->told;
}

static void rename_side_end(struct fs *fs, struct rename_side *side)
{
    if (side->body != NULL)
        fs_body_unpin(fs, side->inode);
    fs_inode_put(fs, side->inode);
    fs_name_unlock(fs, side->name);
}

/* The central storage moves what it has, so it must have what this node shows first. */
static int rename_sides(struct fs *fs, struct rename_side *from, struct rename_side *to, struct kv_change *change,
                        uid_t uid)
{
    bool exchange = change->flags & KV_EXCHANGE, kept = false;
    int rc = from->body != NULL ? fs_body_settle(fs, from->body, uid) : 0;

    change->object = from->object;
    change->to_object = to->object;
    if (rc == 0 && to->body != NULL && exchange)
        rc = fs_body_settle(fs, to->body, uid);
    else if (rc == 0)
        kept = fs_xattr_keep(fs, to->inode);
    if (rc < 0)
        return rc;
    fs_name_set_moving(fs, from->name, true);
    fs_name_set_moving(fs, to->name, true);
    rc = namei_apply(fs, from->namespace, to->namespace, change);
    if (rc == 0)
        fs_name_move(fs, from->name, from->namespace, to->name, to->namespace, exchange);
    fs_name_set_moving(fs, from->name, false);
    fs_name_set_moving(fs, to->name, false);
    if (rc < 0 && kept)
        fs_xattr_drop(fs, to->inode);
    if (rc < 0)
        return rc;
    if (!exchange)
        fs_body_removed(fs, to->inode);
    if (from->body != NULL) {
        pthread_rwlock_wrlock(&from->body->io);
        from->body->meta.attr.ctime_ns = change->meta.attr.ctime_ns;
        pthread_rwlock_unlock(&from->body->io);
    }
    return 0;
}

static unsigned rename_flags(unsigned flags)
{
    return (flags & RENAME_NOREPLACE ? KV_NOREPLACE : 0u) | (flags & RENAME_EXCHANGE ? KV_EXCHANGE : 0u);
}

static int rename_key(struct fs *fs, struct fs_inode *namespace, const char *key, struct fs_inode *to_namespace,
                      const char *to_key, unsigned flags, uid_t uid)
{
    struct kv_change change = {.kind = KV_RENAME, .flags = rename_flags(flags)};
    uint64_t node = namespace->name->node, to_node = to_namespace->name->node;
    struct rename_side from, to;
    struct fs_name *names[2];
    int rc = fs_check_key(to_key);

    if (rc < 0)
        return rc;
    if (!fs_name_lock_two(fs, node, key, to_node, to_key, names))
        return -ENOMEM;
    change.ref = kv_ref_key(node, key, strlen(key));
    change.to = kv_ref_key(to_node, to_key, strlen(to_key));
    rename_side_begin(fs, namespace, names[0], &from);
    rename_side_begin(fs, to_namespace, names[1], &to);
    rc = rename_sides(fs, &from, &to, &change, uid);
    rename_side_end(fs, &from);
    rename_side_end(fs, &to);
    return rc;
}

static int rename_node(struct fs *fs, struct fs_inode *parent, const char *name, struct fs_inode *to_parent,
                       const char *to_name, unsigned flags)
{
    struct kv_change change = {
        .kind = KV_NODE_RENAME, .flags = rename_flags(flags), .to_parent = to_parent->name->node};
    struct kv_node node, target = {0};
    struct kv_attr told, to_told;
    int rc = namei_set_name(change.node.name, name);

    if (rc == 0)
        rc = namei_set_name(change.to_name, to_name);
    change.node.parent = parent->name->node;
    if (rc == 0)
        rc = namei_find_node(fs, parent, name, &node);
    if (rc < 0)
        return rc;
    rc = namei_find_node(fs, to_parent, to_name, &target);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (target.kind == KV_NAMESPACE && !(flags & RENAME_EXCHANGE) && fs_has_locals(fs, target.id))
        return -ENOTEMPTY;
    if (fs_told_before_of_node(fs, parent, &node, &told))
        change.object = &told;
    if (target.id != 0 && fs_told_before_of_node(fs, to_parent, &target, &to_told))
        change.to_object = &to_told;
    rc = namei_apply(fs, parent, to_parent, &change);
    if (rc < 0)
        return rc;
    fs_inode_relabel(fs, node.id, to_parent, to_name);
    if (flags & RENAME_EXCHANGE)
        fs_inode_relabel(fs, target.id, parent, name);
    return 0;
}

int fs_rename(struct fs *fs, struct fs_inode *parent, const char *name, struct fs_inode *to_parent,
              const char *to_name, unsigned flags, uid_t uid)
{
    int rc;

    if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE))
        return -EINVAL;
    rc = namei_check_view(parent, name);
    if (rc == 0)
        rc = namei_check_view(to_parent, to_name);
    if (rc < 0)
        return rc;
    if (fs_is_control_name(fs, parent, name) || fs_is_control_name(fs, to_parent, to_name))
        return -EPERM;
    if (parent->kind != FS_NODE || to_parent->kind != FS_NODE)
        return -ESTALE;
    if (parent == to_parent &&
        strcmp(name, to_name) == 0) /* which the kernel knows to be there, and answers itself */
        return flags & RENAME_NOREPLACE ? -EEXIST : 0;
    if (!fs_is_namespace(parent) && !fs_is_namespace(to_parent))
        return rename_node(fs, parent, name, to_parent, to_name, flags);
    if (!fs_is_namespace(parent) || !fs_is_namespace(to_parent))
        return fs_because(-EPERM, "only keys live in namespaces");
    if (kv_name_check(KV_NAME_KEY, name, strlen(name)) < 0)
        return fs_rename_temporary(fs, parent, name, to_parent, to_name, flags);
    return rename_key(fs, parent, name, to_parent, to_name, flags, uid);
}
