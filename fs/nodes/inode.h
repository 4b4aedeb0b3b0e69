/* Names and kernel inodes: the core of the model of identity.
 *
 * Five things must not be mixed up:
 *
 *   name          (namespace, key): struct fs_name. It lives while a kernel inode or a handle refers to it. It holds
 *                 the lock for changes of the name, the current inode, the displaced ones, and file locks (filelock.h).
 *   object        the inode number that the central storage gave it. Rename moves it to another name.
 *   version       the number of one value; immutable.
 *   kernel inode  a node id of the kernel: struct fs_inode. While it is open it stands for one object at one version.
 *                 Node ids are counted and never used again.
 *   handle        one open(2): struct fs_handle (content/handle.h).
 *
 * States of a key's inode
 *
 *   CURRENT    its name leads to it: lookups answer with it.
 *   DISPLACED  the name leads to another inode or to none: another node replaced or deleted the value while this inode
 *              was open, or its put failed. Its handles go on with the bytes that they have; a put makes it CURRENT
 *              again.
 *   REMOVED    its name was removed, or another object was renamed onto it, on this node: never put again.
 *
 *   CURRENT --displace--> DISPLACED --make_current--> CURRENT;  CURRENT, DISPLACED --remove--> REMOVED
 *
 * and independently CLOSED (no body) or OPEN (a body, content/body.h). A CLOSED inode has no content of its own:
 * it stands for what its name leads to, as long as that is what the kernel was told.
 *
 * Invariants
 *   - name->current is NULL or a CURRENT inode of that name, and each CURRENT inode is its name's current one.
 *   - A key's inode is one object at one version with one owner and mode, but for what is changed through it.
 *     Whatever else its name leads to gets an inode of its own, and this one is displaced: so the kernel's pages,
 *     size, owner and mode of an inode always belong together.
 *   - What is shown with a timeout is what this node may serve for that long.
 *   - The kernel checks permissions on what it was told (told.h). A request acts on that, or answers -ESTALE.
 *
 * Locks, in the order in which they are taken
 *   1. the name's (fs_name_lock): held over changes of the name and of attributes, also while they commit; over opens
 *      that begin with the newest central value; over the submission of puts. Reads, lookups and opens for reading
 *      never take it. Two names are locked in the order of their addresses.
 *   2. the inode's (fs_inode_lock, striped): opening, closing, adopting. Held while the store is read, never while a
 *      change is waited for. One at a time.
 *   3. body->io (content/body.h): content and attributes.
 *   4. nodes->lock: tables, references, states, what was told. A leaf.
 */
#ifndef KVFS_FS_NODES_INODE_H
#define KVFS_FS_NODES_INODE_H

#include "fs/base/fs.h"
#include "fs/nodes/table.h"

#include <pthread.h>

/* There is an inode and a name of each key that the kernel knows, maybe millions: so they are small. */
#define FS_SMALL __attribute__((packed)) /* an enum of one byte */

enum FS_SMALL fs_kind {
    FS_GONE,         /* what a node id stands for that the kernel was never given: every request answers -ESTALE */
    FS_NODE,         /* a directory or binding: a node of the store */
    FS_VIEW,         /* a directory that shows some keys of a namespace: view.h */
    FS_KEY,          /* a key, or a temporary file of this node */
    FS_CONTROL_DIR,  /* /.kvfs */
    FS_CONTROL_FILE, /* a file in it */
};

#define FS_CONTROL_NAME ".kvfs" /* in the root */

enum FS_SMALL fs_inode_state { FS_CURRENT, FS_DISPLACED, FS_REMOVED };

/* What the kernel holds of a key's content. FS_PAGES_SOME: some pages may lack, as they do once something was written:
 * past the cache, or less than a page. FS_PAGES_ALL: it was given them, or has read them where it wanted any. */
enum FS_SMALL fs_pages {
    FS_PAGES_NONE, /* nor another size */
    FS_PAGES_SOME,
    FS_PAGES_ALL,
};

/* A key's name, or a view's; or, without key bytes, the id of a node or the number of a control file. */
struct fs_name {
    struct fs_link link;       /* in nodes->names */
    struct fs_inode *current;  /* NULL: none */
    struct fs_inode *inodes;   /* all that have this name, or had it last */
    struct fs_filelock *locks; /* filelock.h */
    unsigned hash, refs;
    uint16_t size; /* of key */
    bool locked;   /* fs_name_lock() */
    bool moving;   /* a rename of it is under way: the central storage may have done it already */
    uint64_t node; /* with the key behind it: what is hashed */
    char key[];    /* NUL-terminated */
};

/* What the kernel was told of owner and mode: see told.h. */
struct fs_told {
    bool known;
    bool pushed; /* and then the kernel was had ask for it anew: push.h */
    uint32_t mode, uid, gid;
    uint64_t ino;
    uint64_t since; /* the request that was answered with it */
};

struct fs_inode {
    uint64_t id;         /* the node id; counted from FUSE_ROOT_ID */
    struct fs_link link; /* in nodes->by_id */
    enum fs_kind kind;
    enum fs_inode_state state;
    enum fs_pages pages;         /* Inode lock */
    uint8_t untold;              /* what fs_count_untold() has counted */
    enum kv_node_kind node_kind; /* FS_NODE */
    unsigned opens;              /* handles and pins: the body lives while > 0. Inode lock */
    unsigned refs;               /* of fs/ itself */
    uint64_t lookups;            /* references of the kernel */
    struct fs_name *name;        /* a reference */
    struct fs_inode *next;       /* in name->inodes */
    struct fs_inode *parent;     /* a reference; NULL: the root */
    struct fs_body *body;        /* OPEN. Inode lock */
    struct fs_told told;
    uint64_t version; /* FS_KEY, CLOSED: whose pages and size the kernel may have; 0: nobody's. Inode lock */
    uint64_t alias;   /* st_ino, where an older version of the object is open; 0: the object's number */
    struct fs_inode *local_prev, *local_next; /* in the parent's locals, where local_prev is not NULL */
};

/* What an inode of kind FS_NODE or FS_VIEW has besides: fs_node_of(). */
struct fs_node {
    struct fs_inode inode;
    bool told_dropped;        /* the kernel was had drop what it was told */
    uint64_t told_dropped_at; /* by this request */
    int64_t told_mtime_ns;
    _Atomic int64_t absent_until_ns; /* how long the kernel may remember that a name is not in it; push.h */
    int64_t touched_ns;              /* when this node last changed the names in it without the central storage */
    char *label;                     /* its last known name, for messages; owned; NULL: none */
    struct fs_inode *locals;         /* inodes of names in it that only this node knows */
    struct fs_node *view_prev, *view_next; /* FS_VIEW: in nodes->views */
};

KV_CHECKED int fs_nodes_new(struct fs *fs);
void fs_nodes_free(struct fs *fs);
struct fs_inode *fs_root(struct fs *fs);
/* What the kernel keeps with each node id: another number for each mount, so that file handles of an older one
 * open nothing. */
uint64_t fs_generation(struct fs *fs);

/* The inode of a node id from the kernel, which holds it while the request is under way. Never NULL: see FS_GONE. */
struct fs_inode *fs_inode_of(struct fs *fs, uint64_t id);

/* The inode of a node, or of a control file; or the current one of a key, made where there is none.
 * returns  0 and a reference (fs_inode_put) in *out; -ENOMEM */
KV_CHECKED int fs_inode_of_node(struct fs *fs, struct fs_inode *parent, const struct kv_node *node,
                                struct fs_inode **out);
KV_CHECKED int fs_inode_of_control(struct fs *fs, enum fs_kind kind, uint64_t number, struct fs_inode **out);
KV_CHECKED int fs_inode_of_key(struct fs *fs, struct fs_inode *namespace, const char *key, size_t size,
                               struct fs_inode **out);
/* The current inode of a name with a reference, or NULL. size 0: of a node. */
struct fs_inode *fs_inode_find(struct fs *fs, uint64_t node, const char *key, size_t size);
/* The number'th inode of a name, whatever its state, with a reference, or NULL. */
struct fs_inode *fs_inode_nth(struct fs *fs, struct fs_name *name, unsigned number);

/* Any inode that is OPEN, with a reference, or NULL: for the end of the session. */
struct fs_inode *fs_inode_open_one(struct fs *fs);

void fs_inode_get(struct fs *fs, struct fs_inode *inode);
void fs_inode_put(struct fs *fs, struct fs_inode *inode); /* NULL is allowed */
/* Turn a reference into one of the kernel; the kernel gives `lookups` of them back. */
void fs_inode_to_kernel(struct fs *fs, struct fs_inode *inode);
void fs_inode_forget(struct fs *fs, uint64_t id, uint64_t lookups);

enum fs_inode_state fs_inode_state(struct fs *fs, struct fs_inode *inode);
/* The store's name of an inode, or the last one that it had. */
struct kv_ref fs_inode_ref(struct fs *fs, struct fs_inode *inode);
/* CURRENT -> DISPLACED.
 * returns  whether it was CURRENT */
bool fs_inode_displace(struct fs *fs, struct fs_inode *inode);
/* DISPLACED -> CURRENT; whichever was is displaced.
 * returns  whether that changed anything */
bool fs_inode_make_current(struct fs *fs, struct fs_inode *inode);

/* The inode is OPEN with a body, or with NULL CLOSED. The inode's lock is held; who reads inode->body holds that
 * or nodes->lock. */
void fs_inode_set_body_locked(struct fs *fs, struct fs_inode *inode, struct fs_body *body);
void fs_inode_lock(struct fs *fs, struct fs_inode *inode);
void fs_inode_unlock(struct fs *fs, struct fs_inode *inode);

/* Lock a name, with a reference: a key's, that of an inode, or two keys'.
 * returns  NULL, or false: no memory */
struct fs_name *fs_name_lock(struct fs *fs, uint64_t namespace_id, const char *key);
struct fs_name *fs_name_lock_of(struct fs *fs, struct fs_inode *inode);
bool fs_name_lock_two(struct fs *fs, uint64_t namespace_id, const char *key, uint64_t to_namespace_id,
                      const char *to_key, struct fs_name *out[2]);
void fs_name_unlock(struct fs *fs, struct fs_name *name);
/* References alone. The name of an inode; or of a key, NULL where it is not known. */
struct fs_name *fs_name_of(struct fs *fs, struct fs_inode *inode);
struct fs_name *fs_name_find(struct fs *fs, const struct kv_ref *ref);
void fs_name_put(struct fs *fs, struct fs_name *name);
/* The current inode of a locked name with a reference, or NULL. */
struct fs_inode *fs_name_current(struct fs *fs, struct fs_name *name);
/* The name was removed: all its inodes are REMOVED. */
void fs_name_remove(struct fs *fs, struct fs_name *name);
/* A name was changed into another: what has the first one gets the other. What had that one is REMOVED, or with
 * `exchange` gets the first. */
void fs_name_move(struct fs *fs, struct fs_name *from, struct fs_inode *namespace, struct fs_name *to,
                  struct fs_inode *to_namespace, bool exchange);
/* The thread that this request is from is told to look an inode's name up again. Was it told so of this name
 * within the last second? forget: it has done so. */
void fs_name_contend(struct fs *fs, struct fs_inode *inode);
bool fs_name_was_contended(struct fs *fs, struct fs_inode *inode, bool forget);
/* A rename of a locked name begins, or has ended. */
void fs_name_set_moving(struct fs *fs, struct fs_name *name, bool moving);
/* The central storage was asked for an inode's name `ref`, and found an object, or (NULL) nothing. Is the inode
 * getting another name from a rename of this node, or has it got one meanwhile? Then wait for that, with
 * fs_name_settle(), and look again. */
bool fs_inode_is_moving(struct fs *fs, struct fs_inode *inode, const struct kv_ref *ref,
                        const struct kv_attr *found);
void fs_name_settle(struct fs *fs, struct fs_inode *inode);
/* Does only this node know the name of a key's inode? */
void fs_inode_set_local(struct fs *fs, struct fs_inode *inode, bool local);
bool fs_has_locals(struct fs *fs, uint64_t namespace_id);
/* Visit such names of a namespace that come behind `after`, in no order. nodes->lock is held meanwhile. */
typedef void fs_local_visit(void *arg, const char *name, size_t size);
void fs_locals_visit(struct fs *fs, struct fs_inode *namespace, const char *after, fs_local_visit *visit,
                     void *arg);
/* A name that only this node knows came into a namespace, or went. */
void fs_inode_touch(struct fs *fs, struct fs_inode *namespace);
int64_t fs_inode_touched_ns(struct fs *fs, uint64_t node_id);
/* A node's name or parent changed. */
void fs_inode_relabel(struct fs *fs, uint64_t node_id, struct fs_inode *parent, const char *label);
/* The directory of a node, with a reference, or NULL; and the node's name in it, "" where that is not known. */
struct fs_inode *fs_inode_parent(struct fs *fs, struct fs_inode *inode, char label[KV_NAME_MAX + 1]);

/* "account/namespace/key" of an inode, or of `child` (may be NULL) in it. */
#define FS_PATH_MAX (2 * KV_NAME_MAX + 256 + 8)
void fs_inode_path(struct fs *fs, struct fs_inode *inode, const char *child, char *out, size_t size);
/* The account that an inode lies in; 0: none. */
uint64_t fs_inode_account(struct fs *fs, struct fs_inode *inode);

/* NULL: of another kind. */
static inline struct fs_node *fs_node_of(struct fs_inode *inode)
{
    return inode->kind == FS_NODE || inode->kind == FS_VIEW ? (struct fs_node *)(void *)inode : NULL;
}

static inline bool fs_is_namespace(const struct fs_inode *inode)
{
    return inode->kind == FS_NODE && inode->node_kind == KV_NAMESPACE;
}

#endif
