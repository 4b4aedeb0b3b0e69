#include "fs/nodes/view.h"

#include "fs/nodes/nodes_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A view keeps its name for its life: nothing renames it. */
#define VIEW_PREFIX ".prefix"
#define VIEW_FROM ".from"

/* No object, and no version, has a number with this bit: they are counted. */
#define VIEW_INO (UINT64_C(1) << 63)

bool fs_is_view_name(const struct fs_inode *dir, const char *name)
{
    return fs_is_namespace(dir) && (strcmp(name, VIEW_PREFIX) == 0 || strcmp(name, VIEW_FROM) == 0);
}

struct fs_inode *fs_view_namespace(struct fs_inode *dir) { return dir->kind == FS_VIEW ? dir->parent : dir; }

int fs_inode_of_view(struct fs *fs, struct fs_inode *dir, const char *name, struct fs_inode **out)
{
    char path[NODES_NAME_MAX + 1];
    int rc = 0;

    if (fs_is_namespace(dir)) {
        snprintf(path, sizeof(path), "%s", name);
    } else {
        rc = kv_name_check(KV_NAME_KEY, name, strlen(name));
        if (rc == 0)
            snprintf(path, sizeof(path), "%s/%s", dir->name->key, name);
    }
    if (rc < 0)
        return rc == -EINVAL ? -ENOENT : rc;
    return nodes_inode_of_view(fs, fs_view_namespace(dir), path, out);
}

const char *fs_view_first(const struct fs_inode *view)
{
    const char *slash = strchr(view->name->key, '/');

    return slash != NULL ? slash + 1 : NULL;
}

bool fs_view_shows(const struct fs_inode *view, const char *name, size_t size)
{
    const char *first = fs_view_first(view);

    if (first == NULL || kv_name_check(KV_NAME_KEY, name, size) < 0)
        return false;
    return strncmp(view->name->key, VIEW_PREFIX "/", strlen(VIEW_PREFIX "/")) == 0
               ? strncmp(name, first, strlen(first)) == 0
               : strcmp(name, first) >= 0;
}

/* FNV-1a: two views with one number harm nobody. */
static uint64_t view_ino(uint64_t node, const char *name, size_t size)
{
    uint64_t hash = UINT64_C(14695981039346656037) ^ node;

    for (size_t i = 0; i < size; i++)
        hash = (hash * UINT64_C(1099511628211)) ^ (unsigned char)name[i];
    return hash * UINT64_C(1099511628211) | VIEW_INO;
}

uint64_t fs_view_ino(const struct fs_inode *view)
{
    return view_ino(view->name->node, view->name->key, view->name->size);
}

uint64_t fs_view_ino_above(const struct fs_inode *view)
{
    const char *first = fs_view_first(view), *name = view->name->key;

    return first != NULL ? view_ino(view->name->node, name, (size_t)(first - 1 - name)) : view->name->node;
}
