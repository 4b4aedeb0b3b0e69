/* The central storage in a local directory: an engine of LMDB. */
#ifndef KVFS_STORE_LMDB_LMDB_H
#define KVFS_STORE_LMDB_LMDB_H

#include "store/base/engine.h"

/* LMDB in directory `dir`: files data.mdb and lock.mdb.
 * create   make directory and database where absent; refuse a directory that holds other things
 * error    filled on failure: one line for the user
 * map_bytes  upper bound of the file, at least 4 MiB; 0: 1 TiB, or what fits the address space
 * returns  0; -ENOENT no store there; -ENOTDIR, -ENOTEMPTY not a store; -EACCES; -EIO damaged;
 *          -EOPNOTSUPP on a network filesystem; -ENOMEM the map does not fit the address space;
 *          -EBUSY another process has claimed it; -ENOSPC no room for the table of readers, or for a new store;
 *          -EAGAIN a process of another pid namespace, with the number of this one, has it open */
struct lmdb_options {
    bool create, read_only;
    bool copied; /* recover, too, what was copied while nobody had it open */
    size_t map_bytes;
};
KV_CHECKED int engine_lmdb_open(const char *dir, const struct lmdb_options *options, struct engine **out,
                                struct kv_error *error);

#endif
