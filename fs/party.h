/* Keys that take part in a rename: held open, with their names locked, until it is over. */
#ifndef KVFS_FS_PARTY_H
#define KVFS_FS_PARTY_H

#include "fs/file.h"

struct fs_party {
    struct fs_inode *inode; /* NULL: this node knows nothing of the name */
    struct fs_body *body;   /* NULL: it is not open */
};

struct fs_party fs_party_of(struct fs *fs, struct fs_inode *namespace, const char *name);
void fs_party_end(struct fs *fs, struct fs_party *party);

/* Lock both names, in the order of their addresses. */
void fs_party_lock(struct fs_party *a, struct fs_party *b);
void fs_party_unlock(struct fs_party *a, struct fs_party *b);

#endif
