/* Keys that take part in a change of names: their names are locked, and those that are open stay so, until it is
 * over. */
#ifndef KVFS_FS_PARTY_H
#define KVFS_FS_PARTY_H

#include "fs/file.h"

struct fs_party {
    struct fs_inode *namespace;
    const char *name;       /* the caller's */
    struct fs_inode *inode; /* NULL: this node knows nothing of the name */
    struct fs_body *body;   /* NULL: it is not open, and an open that comes later waits */
};

/* Lock a name, or two different ones in the order of their addresses. */
struct fs_party fs_party_of(struct fs *fs, struct fs_inode *namespace, const char *name);
void fs_parties_of(struct fs *fs, struct fs_inode *namespace, const char *name, struct fs_inode *to_namespace,
                   const char *to_name, struct fs_party *from, struct fs_party *to);
void fs_party_end(struct fs *fs, struct fs_party *party);

#endif
