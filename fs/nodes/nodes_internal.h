/* Private to nodes/: the tables of kernel inodes and names. */
#ifndef KVFS_FS_NODES_NODES_INTERNAL_H
#define KVFS_FS_NODES_NODES_INTERNAL_H

#include "fs/nodes/inode.h"

#define FS_INODE_LOCKS 1024
/* Bytes of a name: a key's, or a view's */
#define NODES_NAME_MAX (sizeof(".prefix/") - 1 + KV_KEY_MAX)

/* A thread was told to look a name up again, which may not be in the table any more by then. */
#define CONTENDED 64
struct contended {
    uint64_t node;
    unsigned hash;
    pid_t thread; /* 0: none */
    int64_t at_ns;
};

struct fs_nodes {
    pthread_mutex_t lock;
    struct fs_table by_id, names;
    struct fs_inode *root;
    struct fs_inode gone; /* kind FS_GONE; no node */
    uint64_t next_id, generation;
    _Atomic uint64_t pushed; /* up to which state of the store the kernel was told of others' changes: push.h */
    struct contended contended[CONTENDED];
    struct fs_node *views; /* viewlimit.c: those that the kernel was told of first come first */
    unsigned view_count;
    bool views_stop;
    pthread_cond_t views_change; /* there are too many, or the thread is to end */
    pthread_t views_thread;
    pthread_mutex_t inode_locks[FS_INODE_LOCKS];
};

/* As fs_inode_of_key(), of a view with this path in a namespace. */
KV_CHECKED int nodes_inode_of_view(struct fs *fs, struct fs_inode *namespace, const char *path,
                                   struct fs_inode **out);

/* nodes->lock is held in all of these. */
struct fs_name *nodes_name_find(struct fs_nodes *nodes, uint64_t node, const char *key, size_t size);
uint64_t nodes_hash_of_name(const struct fs_link *link);
/* Found or made, with a reference; NULL: no memory. */
struct fs_name *nodes_name_get(struct fs_nodes *nodes, uint64_t node, const char *key, size_t size);
void nodes_name_put(struct fs_nodes *nodes, struct fs_name *name);
/* Change an inode's state, and its place in its name's. */
void nodes_set_state(struct fs_inode *inode, enum fs_inode_state state);
/* A reference of an inode to its parent. */
void nodes_set_parent(struct fs_inode *inode, struct fs_inode *parent);
/* Free what nobody refers to any more, and then maybe its parent. NULL is allowed. */
void nodes_reap(struct fs *fs, struct fs_inode *inode);
/* A view was made, or goes. */
void nodes_view_add(struct fs_nodes *nodes, struct fs_inode *view);
void nodes_view_remove(struct fs_nodes *nodes, struct fs_inode *view);
/* Give an inode another name and parent. */
void nodes_set_name(struct fs *fs, struct fs_inode *inode, struct fs_name *name, struct fs_inode *parent);

#endif
