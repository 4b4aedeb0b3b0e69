/* Private to the LMDB engine: what its files share. Their model is in engine.c. */
#ifndef KVFS_STORE_ENGINE_LMDB_H
#define KVFS_STORE_ENGINE_LMDB_H

#include "store/lmdb/lmdb.h"
#include "store/lmdb/log.h"

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

#define DATA_FILE "data.mdb"
#define LOCK_FILE "lock.mdb"
#define WRITER_FILE "writer"
#define NEW_FILE "data.mdb.new" /* a store that is being made, or whose making was cut off */

/* Kept in a table of its own, and changed by each commit: so it goes with the state that LMDB has, whatever is in the
 * log. */
#define LMDB_MARKS "marks"
struct lmdb_mark {
    uint64_t salt;       /* of the log that belongs to this database */
    uint64_t pos, seq;   /* of the next record */
    uint64_t incomplete; /* number of the last incomplete record; 0: there was none since the recovery */
    uint64_t volume;     /* bytes of pages that commits have taken, at most, since the store was made */
};

struct lmdb_writer;

/* What processes tell each other of the newest checkpoint. */
struct lmdb_checkpoint {
    uint64_t number; /* 0: not known, look into the log */
    uint64_t seq;    /* of the first record after it */
    uint64_t txn;
    uint64_t volume; /* as of its mark; 0: not known */
};

/* Bytes of pages that commits may replace before the next checkpoint lets go of them. */
#define LMDB_PINNED_MOST ((uint64_t)16 << 20)

struct lmdb {
    struct engine base;
    char *dir;   /* absolute */
    int dir_fd;  /* of the directory, from lmdb_directory() */
    int data_fd; /* of data.mdb, with the lock on it; it outlives the environment */
    int log_fd;
    uint64_t data_ino, log_ino, lock_ino, writer_ino; /* of these files, as they were opened */
    struct lmdb_writer *writer;                       /* NULL: read-only; as writer_fd see writer.c */
    int writer_fd;
    bool writer_counts;       /* it can be written, for who waits to be counted */
    _Atomic uint32_t waiting; /* threads of this process that wait for commits */
    pid_t process;            /* this one; 0: it does not write */
    bool read_only;
    uint64_t ring;   /* bytes of the log's */
    uint64_t origin; /* of this engine's records in the log; random */
    uint64_t page_size;
    uint64_t limit;   /* bytes of the file that growth must not pass; the map may be larger */
    uint64_t reserve; /* bytes that growth must leave */

    /* Change only under `lock` while nothing is open in this process. */
    MDB_env *env; /* NULL: it could not be opened again */
    MDB_dbi tables[ENGINE_TABLES], marks;

    pthread_mutex_t lock; /* guards what follows, up to the empty line */
    pthread_cond_t none_open;
    unsigned open_txns;
    struct lmdb_txn *idle; /* read transactions that were reset */
    unsigned idle_count;
    struct lmdb_txn *pin; /* NULL: this process has committed nothing since the newest checkpoint */
    struct {
        uint64_t from, to, seq; /* places in the log, and the number of the record at `to` */
    } own;                      /* its last commits that no other process's came between */

    /* Guarded by the right to write. */
    struct log_slot slot;        /* the newest checkpoint, as of the last look */
    struct timespec names_as_of; /* when the directory was changed last, as of the last look; 0: look */
    uint64_t pin_txn;
    struct log_changes changes;
    bool has_keeper;
    pthread_t keeper;        /* pin.c */
    pthread_mutex_t writing; /* who has the right holds it; guards what follows, and that the pin stays */
    uint64_t pin_volume;
    uint64_t last_txn; /* this process's last commit */

    /* Guarded by LMDB's writer lock. */
    uint64_t allocated; /* bytes of the file that the disk surely has; 0: nobody looked yet */
    bool no_fallocate;  /* the filesystem cannot */
    int64_t plenty_ns;  /* until then the disk need not be asked again whether its end is near */
    struct lmdb_free free;
    uint64_t refused_in;       /* id of the transaction in which room() last said no; 0: there is plenty */
    int64_t readers_checked_s; /* 0: never */

    pthread_mutex_t flush_lock; /* held over a flush of the log; a leaf */

    /* Atomic. */
    uint64_t incomplete; /* as of this process's last commit */
    bool failed;         /* a flush of this process */
    bool closing;
};

struct lmdb_txn {
    struct engine_txn base;
    struct lmdb *lmdb;
    MDB_txn *mdb;
    bool write;
    bool borrowed;         /* it took the right to write, and gives it back */
    int failed;            /* of a put or del; all that follows answers it */
    uint64_t grown;        /* bytes of pages that its changes took, at most */
    uint64_t runs;         /* of these, in runs of adjacent pages */
    uint64_t value;        /* id of the value that the last chunk belonged to */
    struct lmdb_mark mark; /* of a write transaction: as it began */
    struct lmdb_txn *next_idle;
};

/* ------------------------------------------------------------------ engine.c */

extern const struct engine_ops lmdb_ops;

/* The only place that turns LMDB's answers into negative errnos. */
int lmdb_errno(int rc);

/* Begin and end as LMDB does, without looking after space, pins and the log. */
KV_CHECKED int lmdb_txn_begin(struct lmdb *lmdb, bool write, struct lmdb_txn **out);
void lmdb_txn_abort(struct lmdb_txn *txn);
/* Free one that is not counted as open. */
void lmdb_free_txn(struct lmdb_txn *txn);

/* The id of the transaction that the newest header is of. The environment is open, and stays so. */
uint64_t lmdb_newest(const struct lmdb *lmdb);

/* As the engine's claim(). */
KV_CHECKED int lmdb_claim(struct engine *engine);

/* Free the slots of dead readers, now and then: they would pin what was freed since. */
void lmdb_check_readers(struct lmdb *lmdb);

/* ------------------------------------------------------------------ commit.c */

/* Begin to write, after a checkpoint where one is due. The right to write is the caller's.
 * returns 0; -EIO, -ENOSPC, -ENOMEM, -ETIMEDOUT */
KV_CHECKED int lmdb_begin_write(struct lmdb *lmdb, struct lmdb_txn **out);
/* With the right to write, outside of transactions: begin and end one, by which LMDB mends what a process left that
 * died between writing its header and the number that readers go by. Where the last commit freed many pages it is
 * committed, with a change of nothing: they can be used after a checkpoint of it. returns 0; as lmdb_begin_write() */
KV_CHECKED int lmdb_turn(struct lmdb *lmdb);
/* Append what the transaction changed to the log, and commit it; it is still to be ended. As the engine's commit(). */
KV_CHECKED int lmdb_commit_changes(struct lmdb_txn *txn);

/* --------------------------------------------------------------------- open.c */

/* As the engine's close(). */
void lmdb_close(struct engine *engine);
/* Lock data.mdb, or lock it otherwise. returns 0; -EWOULDBLOCK another process has it locked */
KV_CHECKED int lmdb_lock_data(struct lmdb *lmdb, int how);

/* ------------------------------------------------------------- environment.c */

/* Is there so much address space? */
bool lmdb_map_fits(uint64_t size);
/* Make the map hold what is used and what deletes need. No transaction may be open in this process, but pins. */
KV_CHECKED int lmdb_widen_map(struct lmdb *lmdb);
/* Another process has made the file larger than this one's map. */
KV_CHECKED int lmdb_follow_growth(struct lmdb *lmdb);

/* Count a transaction in. returns a reset one where there is one and the caller wants it, else NULL */
struct lmdb_txn *lmdb_enter(struct lmdb *lmdb, bool want_idle);
/* Count a transaction out. returns true where it keeps the one that was reset (which may be NULL) */
bool lmdb_leave(struct lmdb *lmdb, struct lmdb_txn *reset);

KV_CHECKED int lmdb_open_environment(struct lmdb *lmdb, const char *dir, struct kv_error *error);
/* Open the tables, which are there. returns 0; -ENOTEMPTY the database is somebody else's */
KV_CHECKED int lmdb_open_tables(struct lmdb *lmdb, const char *dir, struct kv_error *error);
/* In a transaction: open all tables, or make them. returns an answer of LMDB's kind */
KV_CHECKED int lmdb_find_tables(MDB_txn *txn, bool create, MDB_dbi tables[ENGINE_TABLES], MDB_dbi *marks);
void lmdb_close_environment(struct lmdb *lmdb);
/* Begin met this environment, of which LMDB says that it can only be closed. Where the new one cannot be opened the
 * next begin tries again. returns 0; -EIO; -ETIMEDOUT */
KV_CHECKED int lmdb_reopen(struct lmdb *lmdb, const MDB_env *broken);

/* -------------------------------------------------------------- checkpoint.c */

/* The mark as a transaction sees it; write it in one. returns 0; -EIO; as mdb_put() */
KV_CHECKED int lmdb_mark_read(MDB_dbi table, MDB_txn *txn, struct lmdb_mark *out);
KV_CHECKED int lmdb_mark_write(MDB_dbi table, MDB_txn *txn, const struct lmdb_mark *mark);
/* The first LOG_HEADER bytes of the page with the header of a transaction. returns 0; -EIO it is not there */
KV_CHECKED int lmdb_header_read(int data_fd, uint64_t page_size, uint64_t txn, uint8_t *out);

/* With the right to write, outside of transactions: see to it that a commit may follow.
 * returns  0; -EIO the disk has failed, or the files are no longer those of the store; -ETIMEDOUT */
KV_CHECKED int lmdb_protect(struct lmdb *lmdb);
/* In write transaction `txn`, which began with this mark: should it be ended, and a checkpoint be made before it?
 * near_end  of lmdb_near_end() */
bool lmdb_is_due(const struct lmdb *lmdb, const struct lmdb_mark *mark, bool near_end, uint64_t txn);
/* With the right to write, outside of transactions: make the last commit the newest checkpoint, and pin it. */
KV_CHECKED int lmdb_checkpoint(struct lmdb *lmdb);
/* Flush the log. returns 0; -EIO this flush failed, or any other before it */
KV_CHECKED int lmdb_flush_log(struct lmdb *lmdb);
/* As the engine's flush() and rest(). */
KV_CHECKED int lmdb_flush(struct engine *engine, int64_t wait_ns);
KV_CHECKED int lmdb_rest(struct engine *engine);
/* Fill in what is known of checkpoints, and what a read transaction tells of the log. Any thread, without any right. */
void lmdb_checkpoint_usage(struct lmdb *lmdb, struct kv_storage *out);
void lmdb_log_usage(struct lmdb_txn *txn, struct kv_storage *out);
/* A flush or the header failed: no more changes until the store was recovered. returns -EIO */
int lmdb_fail(struct lmdb *lmdb);

/* -------------------------------------------------------------------- pin.c */

/* With the right to write: pin the state of a read transaction, which is counted out, instead of what was pinned; or
 * nothing any more. volume: of its mark */
void lmdb_pin(struct lmdb *lmdb, struct lmdb_txn *txn, uint64_t volume);
void lmdb_unpin(struct lmdb *lmdb);
/* Outside of transactions the environment may be closed right after the answer, and the pin with it. */
bool lmdb_is_pinned(struct lmdb *lmdb);
/* The environment is going to be closed; `lock` is held, or nobody else is there. */
void lmdb_forget_pin_locked(struct lmdb *lmdb);
/* Before the engine is closed. */
void lmdb_pin_end(struct lmdb *lmdb);

/* ------------------------------------------------------------------ follow.c */

/* As the engine's epoch(), wait(), wake() and follow(). */
uint64_t lmdb_epoch(struct engine *engine);
KV_CHECKED int lmdb_wait(struct engine *engine, uint64_t epoch, int64_t timeout_ns);
void lmdb_wake(struct engine *engine);
KV_CHECKED int lmdb_follow(struct engine *engine, struct kv_feed *place, bool own, engine_changed *visit,
                           void *arg);

/* ----------------------------------------------------------------- recover.c */

/* Open a store that perhaps was not closed, as its only user and before LMDB does; dir_fd, data_fd and log_fd are open.
 * copied   do so, too, where the files are a copy: of files that were not in use, as the caller knows
 * returns  0, and the store is clean; -EIO, -EROFS, -ENOSPC, -ENOMEM it stays as it was, and error says why */
KV_CHECKED int lmdb_recover(struct lmdb *lmdb, bool copied, struct kv_error *error);

/* ------------------------------------------------------------- space.c */

/* Bytes of the file up to the last page that the last commit knows. Call it inside a transaction. */
uint64_t lmdb_used(struct lmdb *lmdb);
/* Bytes in pages of the file that nothing is in, as a read transaction sees them: at least, and without a long scan. */
uint64_t lmdb_space_free(struct lmdb_txn *reader);
/* Is the disk so full that an I/O error must come from it? */
bool lmdb_disk_full(struct lmdb *lmdb);

/* At open: choose the reserve (also of a read-only engine). */
void lmdb_space_choose(struct lmdb *lmdb);
/* Inside a write transaction, at open or before the first change: allocate the reserve. */
void lmdb_space_allocate(struct lmdb *lmdb);
/* At the begin of a write transaction: keep the reserve. */
void lmdb_space_begin(struct lmdb *lmdb);
/* Is there so little space that freed pages matter? */
bool lmdb_near_end(struct lmdb *lmdb);
/* Inside a write transaction: did the last commit free so many pages that they are worth an empty one? */
bool lmdb_space_is_unripe(struct lmdb *lmdb);
/* A record with a value of so many bytes was put; one was deleted. */
void lmdb_space_put(struct lmdb_txn *txn, enum engine_table table, struct slice key, uint64_t size);
void lmdb_space_del(struct lmdb_txn *txn, enum engine_table table, struct slice key);
/* As the engine's room(). */
KV_CHECKED int lmdb_space_room(struct lmdb_txn *txn, uint64_t bytes, size_t part);

/* ------------------------------------------------------------ writer.c */

/* Open STORE/writer; dir_fd and data_fd are open.
 * returns  0; -EBUSY another version has it open, or another process is stopped while it makes the file; a negative
 *          errno */
KV_CHECKED int lmdb_writer_open(struct lmdb *lmdb);
void lmdb_writer_close(struct lmdb *lmdb);
/* Did the right come from a process that died with it, or is it the first one's, and has nobody made a checkpoint
 * since? Note that it was made. */
bool lmdb_writer_is_heir(const struct lmdb *lmdb);
void lmdb_writer_settle(struct lmdb *lmdb);
/* A flush failed: all who have the file open shall know; and has one? Any thread. */
void lmdb_writer_fail(struct lmdb *lmdb);
bool lmdb_writer_has_failed(const struct lmdb *lmdb);
/* With the right to write: note which checkpoint is the newest. It is on the disk. */
void lmdb_writer_set_checkpoint(struct lmdb *lmdb, const struct lmdb_checkpoint *checkpoint);
/* What was noted. Who has the right to write gets what is true; else each figure is that of this checkpoint or of one
 * before it. */
struct lmdb_checkpoint lmdb_writer_checkpoint(const struct lmdb *lmdb);
/* Time since the newest checkpoint, or since the first process opened the store; 0: not known. Any thread. */
int64_t lmdb_writer_checkpoint_age_ms(const struct lmdb *lmdb);
/* A checkpoint was made: note when, and wake who waits for one, in all processes. Wait until there were more, or for a
 * moment. told: the last answer; 0 at first */
void lmdb_writer_tell_checkpoint(struct lmdb *lmdb);
uint32_t lmdb_writer_wait_checkpoint(struct lmdb *lmdb, uint32_t told);
/* Pages that were looked through and are sound, by whoever has had the store open since it was opened for writing
 * first. Any thread. */
void lmdb_writer_set_sound(struct lmdb *lmdb, uint64_t pages);
uint64_t lmdb_writer_sound(const struct lmdb *lmdb);
/* See STORE/writer for lmdb_writer_wait(), where this process does not write. It may not be there. */
void lmdb_writer_look(struct lmdb *lmdb);
/* Something was committed: wake who waits, in this process only where `own`. */
void lmdb_writer_tell(struct lmdb *lmdb, bool own);
/* How often that was done, modulo 2^32; wait until it is another number than `told`, or somewhat shorter. */
uint32_t lmdb_writer_told(const struct lmdb *lmdb);
void lmdb_writer_wait(struct lmdb *lmdb, uint32_t told, int64_t timeout_ns);
/* Does this thread have the right to write? */
bool lmdb_writer_is_mine(const struct lmdb *lmdb);
/* As the engine's acquire(), release() and writer(). */
KV_CHECKED int lmdb_writer_acquire(struct lmdb *lmdb, int64_t wait_ns);
void lmdb_writer_release(struct lmdb *lmdb);
pid_t lmdb_writer_pid(struct lmdb *lmdb);

/* ------------------------------------------------------------- guard.c */

/* Let the guarded calls of this environment end with MDB_CORRUPTED where LMDB, or a page that cannot be read, would end
 * the process. */
KV_CHECKED int lmdb_guard(MDB_env *env);
/* What a verification said of the pages: until it says that they are sound guarded calls are timed. Any thread. */
void lmdb_guard_trust(bool sound);
/* Time the steps of a scan, of this thread, until it ends. */
struct lmdb_watch {
    bool on;
    timer_t timer;
};
void lmdb_watch_begin(struct lmdb_watch *watch);
void lmdb_watch_end(struct lmdb_watch *watch);
/* As mdb_dbi_open(), mdb_get() and mdb_cursor_get(), for reading. Whoever steps has begun to time it. With MDB_NEXT
 * *key is the key of the step before. */
KV_CHECKED int lmdb_guarded_open(MDB_txn *txn, const char *name, MDB_dbi *out);
KV_CHECKED int lmdb_guarded_get(MDB_txn *txn, MDB_dbi table, MDB_val *key, MDB_val *value);
KV_CHECKED int lmdb_guarded_step(MDB_cursor *cursor, MDB_val *key, MDB_val *value, MDB_cursor_op op);

/* ------------------------------------------------------------- pages.c */

/* As the engine's verify(). */
KV_CHECKED int lmdb_verify(struct engine_txn *txn, uint64_t most, engine_found *found, void *arg);

/* Called for a run of pages of a copy, in the order of their new numbers; they are borrowed. returns 0; any other
 * answer ends the walk */
typedef int lmdb_page_put(void *arg, const uint8_t *pages, size_t size);

/* A walk over all pages that a header leads to. */
struct lmdb_pages {
    int fd;
    uint64_t page_size;
    engine_found *found; /* called for each damage */
    void *arg;
    /* Give each page the number that it has in a file which has no other pages, and leave the free list out. */
    bool copies;
    lmdb_page_put *put; /* NULL: only count */
    void *put_arg;
};
/* The first bytes of the page with the header of a read transaction. returns 0; -EAGAIN it is overwritten already:
 * begin anew; -EIO */
KV_CHECKED int lmdb_pages_header(struct lmdb_txn *txn, uint8_t *header);
/* Walk, while nobody writes over the pages of this header. Where the walk copies, the header becomes that of the copy.
 * returns  0; -EIO there is damage, and `found` was told; -ENOMEM; what put answered */
KV_CHECKED int lmdb_pages_walk(const struct lmdb_pages *pages, uint8_t *header);

/* -------------------------------------------------------------- copy.c, compact.c */

/* As the engine's copy() and compact(). */
KV_CHECKED int lmdb_copy(struct engine *engine, struct engine_copy *copy, struct kv_error *error);
KV_CHECKED int lmdb_compact(struct engine *engine, struct engine_compact *compact, struct kv_error *error);

/* --------------------------------------------------------------- directory.c */

extern const char *const lmdb_table_names[ENGINE_TABLES];

/* Fill in why an open is refused: a line of its own, or what is to be said to an answer of LMDB's (or an errno). */
__attribute__((format(printf, 4, 5))) int lmdb_refuse(struct kv_error *error, int rc, const char *dir,
                                                      const char *format, ...);
int lmdb_refuse_answer(struct kv_error *error, const char *dir, int lmdb_rc);

/* Open the directory, and see to it that it holds data.mdb and that it may be opened. The process cannot open it a
 * second time until lmdb_directory_close(). returns a descriptor; as engine_lmdb_open() */
KV_CHECKED int lmdb_directory(const char *dir, const struct lmdb_options *options, struct kv_error *error);
void lmdb_directory_close(int dir_fd);

/* A path of the directory itself, or of what is `below` it, that no rename leads elsewhere. returns `out` */
#define LMDB_PATH_SIZE 64
const char *lmdb_path(int dir_fd, const char *below, char out[LMDB_PATH_SIZE]);

/* Is this descriptor's file the one that is data.mdb in the directory now? */
bool lmdb_is_data(int dir_fd, int fd);

/* See to it that lock.mdb has its blocks, and is no file from elsewhere. Call it only while this process does not have
 * the store open: the locks that the process has on the file end with this call. returns 0; as engine_lmdb_open() */
KV_CHECKED int lmdb_allocate_lock(int dir_fd, const char *dir, bool read_only, struct kv_error *error);

/* Open a file of the store, made for its owner only where it is absent. returns a descriptor; -errno */
KV_CHECKED int lmdb_open_file(int dir_fd, const char *name);
/* Make the names in a directory durable, where its filesystem can. returns 0; -errno */
KV_CHECKED int lmdb_sync_directory(int fd);

/* --------------------------------------------------------------- create.c */

/* Make a store in a directory that holds none, as the only process that does: an empty one, or that of options->source.
 * returns 0; as engine_lmdb_open(); what the source's fill() answered */
KV_CHECKED int lmdb_create_store(int dir_fd, const char *dir, const struct lmdb_options *options,
                                 struct kv_error *error);

/* -------------------------------------------------------------- restore.c */

/* Let an empty file become the database of a copy, which belongs to the log of `slot`, and say in the slot what it is.
 * path     of the file
 * returns  0, and it is on the disk; -EIO it is no copy, or damaged; what fill() answered; -ENOSPC, -ENOMEM */
KV_CHECKED int lmdb_restore_data(int fd, const char *path, const char *dir, const struct lmdb_source *source,
                                 struct log_slot *slot, struct kv_error *error);

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
