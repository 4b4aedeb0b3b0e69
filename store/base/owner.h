/* Working in a directory that belongs to another user, as root does with kv_options.foreign_store.
 *
 * For a process that is not root, and in a directory of root's own, nothing is given and no rights are changed. Errors
 * are negative errnos. */
#ifndef KVFS_STORE_OWNER_H
#define KVFS_STORE_OWNER_H

#include "store/kv.h"

/* Give a file that this process has just made, in the directory, to the directory's owner and group: else the owner
 * could not use the store any more.
 * dir_fd   any descriptor of the directory, also with O_PATH
 * returns  0; what fstat() and fchown() answer
 * threads  any */
KV_CHECKED int owner_give(int dir_fd, int fd);

/* Open a directory in the directory, without following a link; `make`: where there is none, one is made with mode 0700,
 * and given as above.
 * returns  a descriptor, to be closed; what mkdir(), open(), fstat() and fchown() answer
 * threads  any */
KV_CHECKED int owner_open_directory(int dir_fd, const char *name, bool make);

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
