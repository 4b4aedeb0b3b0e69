/* What the kernel was told, and that requests act on just that.
 *
 * The kernel checks permissions on the owner and the mode that it was told last, of a key and of each directory
 * above it. So whoever tells attributes notes them here, and whoever acts compares them with what the central
 * storage says. A difference is -ESTALE, after what the kernel knew was dropped: it then looks the path up anew,
 * and checks again.
 *
 * A key's inode keeps owner and mode, but for what is changed through it: another owner or mode gets another
 * inode. A directory's can change, and the kernel may go on with what it knew while it takes the new attributes
 * in. So they count as told only where what it knew was dropped before, and for requests made later than the one
 * that is answered with them. So does what a name leads to, where only its owner may remove it (a sticky directory). */
#ifndef KVFS_FS_NODES_TOLD_H
#define KVFS_FS_NODES_TOLD_H

#include "fs/nodes/attr.h"

/* Attributes of a node, or of a key, are going to be told to the kernel. A key's st_ino is another one than that
 * of an older version of the same object that is open: so programs notice that the value was replaced. out may be
 * NULL. */
void fs_tell_node(struct fs *fs, struct fs_inode *inode, const struct kv_node *node, struct stat *out);
void fs_tell_key(struct fs *fs, struct fs_inode *inode, const struct kv_meta *meta, struct stat *out);
/* Count once more since the kernel was told attributes of a key's inode last. returns how often it was, up to 255 */
unsigned fs_count_untold(struct fs *fs, struct fs_inode *inode);
/* This node has changed owner or mode of an inode for a request that is answered with them. */
void fs_told_changed(struct fs *fs, struct fs_inode *inode, const struct kv_attr *attr);
/* What it was told last: ino, mode, uid, gid. */
struct kv_attr fs_told(struct fs *fs, struct fs_inode *inode);
/* The same of what a name led to when a request was made: the inode that has it now, or a node of `parent`.
 * returns  false: the kernel was told only later, or not at all */
bool fs_told_before(struct fs *fs, struct fs_inode *inode, struct kv_attr *out);
bool fs_told_before_of_node(struct fs *fs, struct fs_inode *parent, const struct kv_node *node,
                            struct kv_attr *out);
/* Is this the object that it was told of, with the same owner, group and mode? An inode that it was told nothing
 * of is any. */
bool fs_told_is(struct fs *fs, struct fs_inode *inode, const struct kv_attr *attr);
/* Are owner, group and mode those that it was told? */
bool fs_told_same(struct fs *fs, struct fs_inode *inode, const struct kv_attr *attr);

/* A directory and those above it, as they were told. */
struct fs_seen {
    struct kv_seen dirs[5];
    size_t count;
};
/* Have a change carry them, of one directory or, for a rename, of two (other may be NULL). *out is the change's.
 * returns  0; -ESTALE what the kernel was told of one of them is newer than the request: it looks again */
KV_CHECKED int fs_see(struct fs *fs, struct fs_inode *dir, struct fs_inode *other, struct fs_seen *out,
                      struct kv_change *change);

/* Are a directory and those above it as they were told? usage may be NULL.
 * returns  0; -ESTALE, and the kernel looks again; -EIO */
KV_CHECKED int fs_check_seen(struct fs *fs, struct fs_inode *dir, struct kv_usage *usage);
/* The kernel asks anew for the attributes of an inode and of those above it.
 * returns  -ESTALE */
int fs_stale(struct fs *fs, struct fs_inode *inode);
/* The same for an answer of the store to a change: of -ESTALE.
 * returns  rc */
int fs_stale_if(struct fs *fs, struct fs_inode *inode, int rc);

/* Is `rc` worth a line in the error log? (Not what programs ask for to learn whether something is there.) */
bool fs_is_failure(int rc);
/* Note the failure of an operation of user `uid` on an inode, or on the name `child` (may be NULL) in it. */
void fs_note(struct fs *fs, uid_t uid, struct fs_inode *inode, const char *child, const char *operation, int rc);
/* Give this thread's next fs_note() of `rc` words of its own. `reason` is not copied.
 * returns  rc */
int fs_because(int rc, const char *reason);

#endif
