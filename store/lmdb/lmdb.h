/* The central storage in a local directory: an engine of LMDB. */
#ifndef KVFS_STORE_LMDB_LMDB_H
#define KVFS_STORE_LMDB_LMDB_H

#include "store/base/engine.h"

struct lmdb_options {
    bool create; /* make directory and database where absent; refuse a directory that holds other things */
    bool read_only;
    /* Open a store of another user, or that others have rights on, too. Root then opens it with the rights of its
     * owner, and what it makes there belongs to the owner. */
    bool foreign;
    bool copied;      /* recover, too, what was copied while nobody had it open */
    size_t map_bytes; /* upper bound of the file, at least 4 MiB; 0: 1 TiB, or what fits the address space */
};

/* LMDB in directory `dir`: files data.mdb and lock.mdb. What is made is for its owner only, whatever the umask is.
 * error    filled on failure: one line for the user
 * returns  0; -ENOENT no store there; -ENOTDIR, -ENOTEMPTY not a store; -EACCES; -EIO damaged;
 *          -EPERM another user's, or others have rights on it, and not `foreign`; a file from elsewhere in its place;
 *          -ELOOP a symbolic link in the place of a file;
 *          -EOPNOTSUPP on a network filesystem; -ENOMEM the map does not fit the address space;
 *          -EBUSY this process has the store open, or another one has claimed it;
 *          -ENOSPC no room for the table of readers, or for a new store;
 *          -ETIMEDOUT another process has been making the store for 5 s;
 *          -EAGAIN a process of another pid namespace, with the number of this one, has it open
 * threads  any */
KV_CHECKED int engine_lmdb_open(const char *dir, const struct lmdb_options *options, struct engine **out,
                                struct kv_error *error);

#endif
