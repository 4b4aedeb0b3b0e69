/* Inodes: what the kernel's node ids stand for.
 *
 * A node id is the address of an fs_inode; the kernel holds `lookups` references
 * to it. Three identities must not be mixed up:
 *
 *   name         namespace and key: what the store knows
 *   inode number st_ino: belongs to the object in the central and moves with it
 *   node id      one *incarnation* of a name on this node: the kernel's page cache
 *                hangs on it, so an incarnation must never show two values at once
 *
 * States of a key's incarnation
 *
 *   CURRENT   the table leads from its name to it. Lookups answer with it.
 *   DETACHED  it lost its name to another incarnation: another node replaced or
 *             deleted the value while this one was held open, or a put of this
 *             node failed. Open handles go on with the bytes they have. A
 *             successful put of it makes it CURRENT again.
 *   UNLINKED  detached by unlink or by a rename over it: while it is open, it is never put again.
 *
 *   and independently: CLOSED (no body) or OPEN (a body, see file.h).
 *
 * A CLOSED incarnation has no content of its own. Where the kernel comes with one that is not CURRENT, it looked the
 * name up just before that was replaced: then it stands for what the name leads to now, to be read; who wants to write
 * must look the name up again.
 *
 * Invariants
 *   - At most one incarnation of a name is CURRENT.
 *   - The kernel's pages of an incarnation belong to one value: that of its body
 *     while it is OPEN, `version` while it is CLOSED. So pages can be kept at every
 *     open. A CLOSED incarnation adopts another version only after its pages
 *     were dropped; an OPEN one is detached instead.
 *   - What was told to the kernel with a timeout is what this node may serve for
 *     that long (fs_timeout).
 *
 * Locks, in the order in which they are taken
 *   1. the inode's `naming`: held over changes of its name and attributes, also while they commit; over opens; and over
 *      the submission of puts. So what is opened or put is so either before such a change, or as the change left it
 *   2. the inode's lock (fs_inode_lock, striped): opening, closing, adopting. It is
 *      held while the store is read, never while a change is waited for. One at a time.
 *   3. body->io (file.h): content and attributes
 *   4. fs->nodes->lock: table, references, names, states. A leaf.
 */
#ifndef KVFS_FS_INODE_H
#define KVFS_FS_INODE_H

#include "fs/fs.h"

#include <uthash.h>

enum fs_kind {
    FS_NODE,         /* directory or binding: a node of the store */
    FS_KEY,          /* a key, or a scratch file of this node (scratch.h) */
    FS_CONTROL_DIR,  /* /.kvfs */
    FS_CONTROL_FILE, /* a file in it */
};

/* What the table finds inodes by: a key by its namespace's id and its name; a node by its own id and no name. */
struct fs_name {
    uint64_t node;
    char key[]; /* NUL-terminated */
};

struct fs_inode {
    enum fs_kind kind;
    enum kv_node_kind node_kind;   /* FS_NODE */
    pthread_mutex_t naming;        /* see above */
    bool current, unlinked, loose; /* loose: in fs->nodes->loose */
    bool has_pages;                /* the kernel may hold pages of it */
    bool has_attr;                 /* FS_NODE: the kernel may hold attributes of it. fs->nodes->lock */
    unsigned opens;                /* handles and pins; the body lives while > 0. Inode lock. */
    int64_t
        touched_ns; /* FS_NODE: when this node last changed the names in it without the central. fs->nodes->lock */
    uint64_t lookups;        /* references of the kernel */
    unsigned refs;           /* references of fs/ itself */
    uint64_t id;             /* FS_NODE: node id; FS_CONTROL_FILE: which */
    uint64_t version;        /* FS_KEY, CLOSED: whose pages and attributes the kernel may hold; 0: unknown */
    struct fs_inode *parent; /* a reference; NULL: the root */
    struct fs_body *body;
    struct fs_offer *offer;                   /* FS_KEY, CLOSED: see offer.h */
    size_t name_size;                         /* of name->key */
    struct fs_name *name;                     /* owned */
    char *label;                              /* FS_NODE: its last known name, for messages; owned */
    struct fs_inode *prev, *next;             /* in fs->nodes->inodes */
    struct fs_inode *loose_prev, *loose_next; /* in fs->nodes->loose, while neither current nor unlinked */
    UT_hash_handle hh;                        /* in fs->nodes->table, while current */
};

static inline fuse_ino_t fs_inode_id(const struct fs_inode *inode) { return (fuse_ino_t)(uintptr_t)inode; }

/* The inode of a node id from the kernel (FUSE_ROOT_ID: the root). */
struct fs_inode *fs_inode_of(struct fs *fs, fuse_ino_t id);

/* Set up and tear down the table. */
KV_CHECKED int fs_inodes_new(struct fs *fs);
void fs_inodes_free(struct fs *fs);

/* The inode of a node, or the current incarnation of a key, made if there is none.
 * returns  0 and a reference (fs_inode_put) in *out; -ENOMEM */
KV_CHECKED int fs_inode_of_node(struct fs *fs, struct fs_inode *parent, const struct kv_node *node,
                                struct fs_inode **out);
KV_CHECKED int fs_inode_of_key(struct fs *fs, struct fs_inode *namespace, const char *key, size_t size,
                               struct fs_inode **out);
/* The current incarnation of a key with a reference, or NULL. */
struct fs_inode *fs_inode_find(struct fs *fs, uint64_t namespace_id, const char *key, size_t size);
/* One of those that were detached from a key's name, by its number, with a reference, or NULL. */
struct fs_inode *fs_inode_find_loose(struct fs *fs, const struct kv_ref *ref, unsigned number);
/* One of the control files, with a reference. `which` is the caller's. */
KV_CHECKED int fs_inode_control(struct fs *fs, enum fs_kind kind, uint64_t which, struct fs_inode **out);

/* Take one more reference, which an open body has; give one back. */
void fs_inode_get(struct fs *fs, struct fs_inode *inode);
void fs_inode_put(struct fs *fs, struct fs_inode *inode);
/* Turn a reference of fs/ into one of the kernel, to be forgotten by it. */
void fs_inode_to_kernel(struct fs *fs, struct fs_inode *inode);
void fs_inode_forget(struct fs *fs, struct fs_inode *inode, uint64_t lookups);

/* The store's name of an incarnation, or the last one that it had. returns false where it has none any more (UNLINKED) */
bool fs_inode_ref(struct fs *fs, struct fs_inode *inode, struct kv_ref *out);
bool fs_inode_is_current(struct fs *fs, struct fs_inode *inode);
/* The node id of its directory. */
fuse_ino_t fs_inode_parent_id(struct fs *fs, struct fs_inode *inode);

/* Take its name away, which leads to another incarnation or to nothing now. */
void fs_inode_detach(struct fs *fs, struct fs_inode *inode);
/* A name was removed: take it away for good, also from those that were detached from it before. */
void fs_inode_unlink(struct fs *fs, const struct kv_ref *ref);
/* Make an incarnation current again; whichever was is detached. returns true where that changed anything */
bool fs_inode_attach(struct fs *fs, struct fs_inode *inode);
/* A name was changed: whatever has it, or had it before it was detached, gets the other one. What had that one is
 * unlinked, or with `exchange` gets the first. */
void fs_inode_rename(struct fs *fs, struct fs_inode *namespace, const char *key, struct fs_inode *to_namespace,
                     const char *to_key, bool exchange);
/* The kernel is about to be told the attributes of a node. */
void fs_inode_told(struct fs *fs, struct fs_inode *inode);
/* A key came to be or went that only this node knows: its namespace was changed here and now. */
void fs_inode_touch(struct fs *fs, struct fs_inode *namespace);
int64_t fs_inode_touched_ns(struct fs *fs, uint64_t node_id);
/* A node's name changed. */
void fs_inode_relabel(struct fs *fs, struct fs_inode *inode, struct fs_inode *parent, const char *label);

/* The striped lock: see above. */
void fs_inode_lock(struct fs *fs, struct fs_inode *inode);
void fs_inode_unlock(struct fs *fs, struct fs_inode *inode);

/* From now on a CLOSED incarnation shows this version. The inode's lock is held. */
void fs_inode_adopt(struct fs *fs, struct fs_inode *inode, uint64_t version);

/* "account/namespace/key" of an inode, or of a name in a directory (child may be NULL), for messages. */
void fs_inode_path(struct fs *fs, struct fs_inode *inode, const char *child, char *out, size_t size);

#endif
