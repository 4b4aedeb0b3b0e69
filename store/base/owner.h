/* Working in a directory that belongs to another user, as root does with kv_options.foreign_store.
 *
 * All functions do nothing for a process that is not root, and in a directory of root's own. Errors are negative
 * errnos. */
#ifndef KVFS_STORE_OWNER_H
#define KVFS_STORE_OWNER_H

#include "store/kv.h"

/* Give a file that this process has just made, in the directory, to the directory's owner and group: else the owner
 * could not use the store any more.
 * dir_fd   any descriptor of the directory, also with O_PATH
 * returns  0; what fstat() and fchown() answer
 * threads  any */
KV_CHECKED int owner_give(int dir_fd, int fd);

struct owner_rights {
    bool changed;
    uid_t uid;
    gid_t gid;
    int count;
    gid_t *groups; /* owned */
};

/* From here to owner_end() this thread, and no other, accesses files with the rights of the directory's owner and
 * group: what is there cannot lead it to a file that the owner could not have opened, and what it makes is the owner's.
 * before   filled in, for owner_end(); on failure nothing has changed
 * returns  0; -EPERM the kernel does not let this process do so; -ENOMEM */
KV_CHECKED int owner_begin(int dir_fd, struct owner_rights *before);
void owner_end(struct owner_rights *before);

#endif
