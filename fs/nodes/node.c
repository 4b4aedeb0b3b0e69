/* What directories and bindings have besides, and paths. */
#include "fs/base/request.h"
#include "fs/nodes/nodes_internal.h"

#include <stdlib.h>
#include <string.h>

void fs_inode_touch(struct fs *fs, struct fs_inode *namespace)
{
    pthread_mutex_lock(&fs->nodes->lock);
    fs_node_of(namespace)->touched_ns = fs_now_ns();
    pthread_mutex_unlock(&fs->nodes->lock);
}

int64_t fs_inode_touched_ns(struct fs *fs, uint64_t node_id)
{
    int64_t touched_ns = 0;
    struct fs_name *name;

    pthread_mutex_lock(&fs->nodes->lock);
    name = nodes_name_find(fs->nodes, node_id, NULL, 0);
    if (name != NULL && name->current != NULL)
        touched_ns = fs_node_of(name->current)->touched_ns;
    pthread_mutex_unlock(&fs->nodes->lock);
    return touched_ns;
}

/* Without memory a message will show the old name. */
static void node_set_label(struct fs_node *node, const char *label)
{
    char *copy = node->label != NULL && strcmp(node->label, label) == 0 ? NULL : strdup(label);

    if (copy == NULL)
        return;
    free(node->label);
    node->label = copy;
}

static const char *node_label(struct fs_inode *inode)
{
    return inode->kind == FS_NODE ? fs_node_of(inode)->label : NULL;
}

void fs_inode_relabel(struct fs *fs, uint64_t node_id, struct fs_inode *parent, const char *label)
{
    struct fs_inode *inode, *old_parent;
    struct fs_name *name;

    pthread_mutex_lock(&fs->nodes->lock);
    name = nodes_name_find(fs->nodes, node_id, NULL, 0);
    inode = name != NULL ? name->current : NULL;
    if (inode != NULL && inode != fs->nodes->root) {
        const char *before = node_label(inode);

        if (before == NULL || strcmp(before, label) != 0 || inode->parent != parent)
            inode->told.since = fs_request_number(); /* of another name the kernel checked another node */
        node_set_label(fs_node_of(inode), label);
        old_parent = inode->parent;
        nodes_set_parent(inode, parent);
        old_parent->refs--;
        nodes_reap(fs, old_parent);
    }
    pthread_mutex_unlock(&fs->nodes->lock);
}

struct fs_inode *fs_inode_parent(struct fs *fs, struct fs_inode *inode, char label[KV_NAME_MAX + 1])
{
    struct fs_inode *parent;

    pthread_mutex_lock(&fs->nodes->lock);
    parent = inode->parent;
    if (parent != NULL)
        parent->refs++;
    label[0] = '\0';
    if (node_label(inode) != NULL)
        memcpy(label, node_label(inode), strlen(node_label(inode)) + 1);
    pthread_mutex_unlock(&fs->nodes->lock);
    return parent;
}

static size_t path_append(char *out, size_t size, size_t at, const char *text)
{
    size_t length = strnlen(text, size - at - 1);

    memcpy(out + at, text, length);
    out[at + length] = '\0';
    return at + length;
}

void fs_inode_path(struct fs *fs, struct fs_inode *inode, const char *child, char *out, size_t size)
{
    const char *parts[8];
    size_t count = 0, at = 0;

    out[0] = '\0';
    if (child != NULL)
        parts[count++] = child;
    pthread_mutex_lock(&fs->nodes->lock);
    for (; inode != NULL && inode->name != NULL && inode != fs->nodes->root && count < 8; inode = inode->parent)
        parts[count++] = inode->name->size > 0                                             ? inode->name->key
                         : node_label(inode) != NULL                                       ? node_label(inode)
                         : inode->kind == FS_CONTROL_DIR || inode->kind == FS_CONTROL_FILE ? FS_CONTROL_NAME
                                                                                           : "?";
    while (count-- > 0) {
        at = path_append(out, size, at, parts[count]);
        if (count > 0)
            at = path_append(out, size, at, "/");
    }
    pthread_mutex_unlock(&fs->nodes->lock);
}

uint64_t fs_inode_account(struct fs *fs, struct fs_inode *inode)
{
    uint64_t id;

    pthread_mutex_lock(&fs->nodes->lock);
    while (inode != NULL && !(inode->kind == FS_NODE && inode->node_kind == KV_ACCOUNT))
        inode = inode->parent;
    id = inode != NULL ? inode->name->node : 0;
    pthread_mutex_unlock(&fs->nodes->lock);
    return id;
}
