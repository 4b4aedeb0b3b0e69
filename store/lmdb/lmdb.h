/* The central storage in a local directory: an engine of LMDB. */
#ifndef KVFS_STORE_LMDB_LMDB_H
#define KVFS_STORE_LMDB_LMDB_H

#include "store/base/engine.h"

/* What a store is made of: the bytes of a copy. */
struct lmdb_source {
    kv_fill *fill;
    void *arg;
    bool small_log;
};

struct lmdb_options {
    bool create; /* make directory and database where absent; refuse a directory that holds other things */
    bool read_only;
    /* Open a store of another user, or that others have rights on, too. Root then opens it with the rights of its
     * owner, and what it makes there belongs to the owner. */
    bool foreign;
    bool copied;      /* recover, too, what was copied while nobody had it open */
    size_t map_bytes; /* upper bound of the file, at least 4 MiB; 0: 1 TiB, or what fits the address space */
    /* With create: make the store of this, and refuse where there is one; may be NULL. */
    const struct lmdb_source *source;
};

/* LMDB in directory `dir`: files data.mdb and lock.mdb. What is made is for its owner only, whatever the umask is.
 * error    filled on failure: one line for the user
 * returns  0; -ENOENT no store there; -ENOTDIR, -ENOTEMPTY not a store; -EACCES; -EIO damaged;
 *          -EPERM another user's, or others have rights on it, and not `foreign`; a file from elsewhere in its place;
 *          -ELOOP a symbolic link in the place of a file;
 *          -EOPNOTSUPP on a network filesystem; -ENOMEM the map does not fit the address space;
 *          -EBUSY this process has the store open, another one has claimed it, or one of another version has it open;
 *          -ENOSPC no room for the table of readers, or for a new store;
 *          -ETIMEDOUT another process has been making the store for 5 s;
 *          -EAGAIN a process of another pid namespace, with the number of this one, has it open
 * threads  any */
KV_CHECKED int engine_lmdb_open(const char *dir, const struct lmdb_options *options, struct engine **out,
                                struct kv_error *error);

/* Make a store of a copy: options->source, which is given. Nothing is open afterwards.
 * returns  0, and it is on the disk; -EEXIST there is one; what fill() answered; -EIO it is no copy, or damaged; else
 *          as engine_lmdb_open(), and no store is there
 * threads  any */
KV_CHECKED int engine_lmdb_restore(const char *dir, const struct lmdb_options *options, struct kv_error *error);

/* Remove the files of a store that nobody has open, or what is left of one that was being made.
 * returns  0, also where there are none; -EBUSY somebody has it open; -ENOTEMPTY the directory holds other things, too,
 *          and nothing was removed; -EPERM it is another user's; another negative errno
 * threads  any */
KV_CHECKED int engine_lmdb_discard(const char *dir);

#endif
