/* Views: directories in a namespace that show some of its keys.
 *
 *   NAMESPACE/.prefix/P    the keys that begin with P
 *   NAMESPACE/.from/KEY    KEY, if there is such a key, and all behind it
 *
 * P and KEY can be any name that a key can have. Nothing is stored for a view. It is found by its name and never
 * listed, neither in the namespace nor in `.prefix` and `.from`: these are views that show no key.
 *
 * Identity. A view is an inode of kind FS_VIEW. Its name is that of the namespace's node with the path below it
 * (".prefix", ".prefix/P"), which no key and no temporary file can have, and its parent is the namespace. Its st_ino
 * is made from that name, so it is the same each time that the view is found. A key that is found in a view is the
 * inode that it is in the namespace: with the same pages, locks and handles.
 *
 * Time. The kernel is told of views, and of names in them, for no time: it asks each time, so a view shows at once
 * what anybody has changed. In the namespace the kernel remembers names, and does not know that a view leads to the
 * same ones. So names are changed there, and views refuse it.
 *
 * Memory. A view lives until the kernel forgets it. Until then it takes a struct fs_node and its name, and nothing
 * besides. The kernel is had forget the oldest of more than some thousand (viewlimit.c).
 *
 * Permissions. Owner, group, mode and times are the namespace's. What the kernel was told of them for a view is kept
 * with the view, and compared by each request in it, as is that of the directories above the namespace (told.h). */
#ifndef KVFS_FS_NODES_VIEW_H
#define KVFS_FS_NODES_VIEW_H

#include "fs/nodes/inode.h"

/* Is this the name, in a namespace, that views are found under? */
bool fs_is_view_name(const struct fs_inode *dir, const char *name);

/* Find a view: `.prefix` or `.from` in a namespace, or any other one in these.
 * returns  0 and a reference (fs_inode_put) in *out; -ENOENT; -ENAMETOOLONG; -ENOMEM */
KV_CHECKED int fs_inode_of_view(struct fs *fs, struct fs_inode *dir, const char *name, struct fs_inode **out);

/* The namespace whose keys a directory shows: a view's, or itself. */
struct fs_inode *fs_view_namespace(struct fs_inode *dir);

/* Where the keys that a view shows begin, in byte order; they follow each other. NULL: it shows none. */
const char *fs_view_first(const struct fs_inode *view);
/* Does a view show the key with this name, if it is there? */
bool fs_view_shows(const struct fs_inode *view, const char *name, size_t size);

/* Keep the number of views within bounds, by a thread, from here on until the end.
 * returns  0; -EAGAIN no thread can be had */
KV_CHECKED int fs_viewlimit_start(struct fs *fs);
void fs_viewlimit_stop(struct fs *fs);

/* st_ino of a view, and of the directory above it. */
uint64_t fs_view_ino(const struct fs_inode *view);
uint64_t fs_view_ino_above(const struct fs_inode *view);

#endif
