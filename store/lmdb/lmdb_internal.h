/* Private to the LMDB engine: what its files share. Their model is in engine.c. */
#ifndef KVFS_STORE_ENGINE_LMDB_H
#define KVFS_STORE_ENGINE_LMDB_H

#include "store/lmdb/lmdb.h"

#include <lmdb.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/types.h>

#define LMDB_READERS_MAX 1024 /* in all processes together */
#define LMDB_RUNS 7 /* kinds of runs of free pages: of 1, 2, 4 .. 64, which is what the largest record needs */

/* The free list, as the last commit left it. */
struct lmdb_free {
    uint64_t as_of;  /* id of the write transaction that counted; 0: nobody did */
    uint64_t ripe;   /* pages usable by that transaction */
    uint64_t unripe; /* pages freed by the last commit: usable after the next one */
    struct {
        uint64_t count;        /* runs of 1 << i adjacent ripe pages; they do not overlap */
        uint64_t longest_rest; /* adjacent ripe pages beside these */
    } runs[LMDB_RUNS];
};

struct lmdb_writer;

struct lmdb {
    struct engine base;
    char *dir;   /* absolute */
    int dir_fd;  /* of the directory, from lmdb_directory() */
    int data_fd; /* of data.mdb, with the lock on it; it shares LMDB's own, and outlives the environment */
    struct lmdb_writer *writer; /* NULL: read-only; as writer_fd see writer.c */
    int writer_fd;
    bool read_only;
    uint64_t page_size;
    uint64_t limit;   /* bytes of the file that growth must not pass; the map may be larger */
    uint64_t reserve; /* bytes that growth must leave */

    /* Change only under `lock` while nothing is open in this process. */
    MDB_env *env; /* NULL: it could not be opened again */
    MDB_dbi tables[ENGINE_TABLES];

    pthread_mutex_t lock; /* guards what follows, up to the empty line */
    pthread_cond_t none_open;
    unsigned open_txns;
    struct lmdb_txn *idle; /* read transactions that were reset */
    unsigned idle_count;

    /* Guarded by LMDB's writer lock. */
    bool header_unsure; /* the last write of the header failed; set as `env` is */
    uint64_t allocated; /* bytes of the file that the disk surely has; 0: nobody looked yet */
    bool no_fallocate;  /* the filesystem cannot */
    struct lmdb_free free;
    uint64_t refused_in; /* id of the transaction in which room() last said no; 0: there is plenty */
    int64_t readers_checked_s;
};

struct lmdb_txn {
    struct engine_txn base;
    struct lmdb *lmdb;
    MDB_txn *mdb;
    bool write;
    int failed;     /* of a put or del; all that follows answers it */
    uint64_t grown; /* bytes of pages that its changes took, at most */
    uint64_t runs;  /* of these, in runs of adjacent pages */
    uint64_t value; /* id of the value that the last chunk belonged to */
    struct lmdb_txn *next_idle;
};

/* ------------------------------------------------------------------ engine.c */

/* The only place that turns LMDB's answers into negative errnos. */
int lmdb_errno(int rc);

/* Begin and end as LMDB does, without looking after space. */
KV_CHECKED int lmdb_txn_begin(struct lmdb *lmdb, bool write, struct lmdb_txn **out);
void lmdb_txn_abort(struct lmdb_txn *txn);
/* Begin again what has lost its txn->mdb. On failure the transaction can only be aborted. */
KV_CHECKED int lmdb_txn_again(struct lmdb_txn *txn);

/* Is there so much address space? */
bool lmdb_map_fits(uint64_t size);

/* ------------------------------------------------------------- space.c */

/* Bytes of the file up to the last page that the last commit knows. Call it inside a transaction. */
uint64_t lmdb_used(struct lmdb *lmdb);
/* Is the disk so full that an I/O error must come from it? */
bool lmdb_disk_full(struct lmdb *lmdb);

/* At open: choose the reserve (also of a read-only engine). */
void lmdb_space_choose(struct lmdb *lmdb);
/* Inside a write transaction, at open or before the first change: allocate the reserve. */
void lmdb_space_allocate(struct lmdb *lmdb);
/* At the begin of a write transaction: keep the reserve, ripen what was freed. A failure is lmdb_txn_again()'s. */
KV_CHECKED int lmdb_space_begin(struct lmdb_txn *txn);
/* A record with a value of so many bytes was put; one was deleted. */
void lmdb_space_put(struct lmdb_txn *txn, enum engine_table table, struct slice key, uint64_t size);
void lmdb_space_del(struct lmdb_txn *txn, enum engine_table table, struct slice key);
/* As the engine's room(). */
KV_CHECKED int lmdb_space_room(struct lmdb_txn *txn, uint64_t bytes, size_t part);

/* ------------------------------------------------------------ writer.c */

/* Open STORE/writer; data_fd is open. returns 0; -ETIMEDOUT another process is stopped while it makes the file; a
 * negative errno */
KV_CHECKED int lmdb_writer_open(struct lmdb *lmdb);
void lmdb_writer_close(struct lmdb *lmdb);
/* As the engine's acquire(), release() and writer(). */
KV_CHECKED int lmdb_writer_acquire(struct lmdb *lmdb, int64_t wait_ns);
void lmdb_writer_release(struct lmdb *lmdb);
pid_t lmdb_writer_pid(struct lmdb *lmdb);

/* ------------------------------------------------------------- guard.c */

/* Let the guarded calls of this environment end with MDB_CORRUPTED where LMDB, or a page that cannot be read, would end
 * the process. */
KV_CHECKED int lmdb_guard(MDB_env *env);
/* What a verification said of the pages: until it says that they are sound each guarded call is timed. Any thread. */
void lmdb_guard_trust(bool sound);
/* As mdb_dbi_open(), mdb_get() and mdb_cursor_get(), for reading. With MDB_NEXT *key is the key of the step before. */
KV_CHECKED int lmdb_guarded_open(MDB_txn *txn, const char *name, MDB_dbi *out);
KV_CHECKED int lmdb_guarded_get(MDB_txn *txn, MDB_dbi table, MDB_val *key, MDB_val *value);
KV_CHECKED int lmdb_guarded_step(MDB_cursor *cursor, MDB_val *key, MDB_val *value, MDB_cursor_op op);

/* ------------------------------------------------------------- pages.c */

/* As the engine's verify(). */
KV_CHECKED int lmdb_verify(struct engine_txn *txn, uint64_t most, engine_found *found, void *arg);

/* --------------------------------------------------------------- directory.c */

extern const char *const lmdb_table_names[ENGINE_TABLES];

/* Fill in why an open is refused: a line of its own, or what is to be said to an answer of LMDB's (or an errno). */
__attribute__((format(printf, 4, 5))) int lmdb_refuse(struct kv_error *error, int rc, const char *dir,
                                                      const char *format, ...);
int lmdb_refuse_answer(struct kv_error *error, const char *dir, int lmdb_rc);

/* Open the directory, and see to it that it holds data.mdb and that it may be opened. The process cannot open it a
 * second time until lmdb_directory_close(). returns a descriptor; as engine_lmdb_open_with() */
KV_CHECKED int lmdb_directory(const char *dir, const struct lmdb_options *options, struct kv_error *error);
void lmdb_directory_close(int dir_fd);

/* A path of the directory itself, or of what is `below` it, that no rename leads elsewhere. returns `out` */
#define LMDB_PATH_SIZE 64
const char *lmdb_path(int dir_fd, const char *below, char out[LMDB_PATH_SIZE]);

/* Is this descriptor's file the one that is data.mdb in the directory now? */
bool lmdb_is_data(int dir_fd, int fd);

/* See to it that lock.mdb has its blocks, and is no file from elsewhere. Call it only while this process does not have
 * the store open: the locks that the process has on the file end with this call. returns 0; as engine_lmdb_open_with() */
KV_CHECKED int lmdb_allocate_lock(int dir_fd, const char *dir, bool read_only, struct kv_error *error);

/* ------------------------------------------------------------- registry.c */

/* Note that this process has the directory's store open. returns 0; -EBUSY it has already; -ENOMEM */
KV_CHECKED int lmdb_registry_enter(int dir_fd);
void lmdb_registry_leave(int dir_fd);

/* ----------------------------------------------------------- filesystem.c */

/* May a store lie on the filesystem of this directory? returns 0; -EOPNOTSUPP */
KV_CHECKED int lmdb_check_filesystem(int fd, const char *dir, struct kv_error *error);

/* May a store lie on this device, which is mounted by FUSE?
 * mounts   the text of /proc/self/mountinfo, read from where it stands; NULL: there is none
 * returns  0; -EOPNOTSUPP */
KV_CHECKED int lmdb_check_fuse(FILE *mounts, dev_t device, const char *dir, struct kv_error *error);

/* --------------------------------------------------------------- header.c */

/* Can LMDB open the file without harm, as far as its headers tell? returns 0; -EIO */
KV_CHECKED int lmdb_check_header(int fd, const char *dir, struct kv_error *error);

#endif
