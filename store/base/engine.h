/* The engine table: what kvfs asks of its central.
 *
 * An engine keeps ordered tables of byte strings and changes them in
 * transactions. The tree, limits, counts and checksums are the store's affair,
 * written once above this table (store/rules/), so engines stay
 * small and stack: the fault engine is an engine around another one.
 *
 * Transactions
 *   - Any number of read transactions may be open, one write transaction at a
 *     time: begin(write) waits for the other writer, in this process or another;
 *     acquire() before it does so for a bounded time.
 *   - A read transaction sees the state as of its begin. It must be short: it
 *     pins the pages that were freed since.
 *   - A write transaction sees its own changes; a commit is atomic, and everybody sees it when it returns 0.
 *     It is durable after a flush(). After a failure of put or del inside a write
 *     transaction the only thing allowed is abort().
 *   - A transaction belongs to the thread that began it.
 *
 * Errors are negative errnos: -ENOENT (get, del: no such record), -ENOSPC (disk
 * or map full), -EIO (unreadable or damaged), -ENOMEM, -ETIMEDOUT, -EROFS; -EINVAL for what
 * the contract forbids; -EBUSY (begin: all slots for readers are taken).
 */
#ifndef KVFS_STORE_ENGINE_H
#define KVFS_STORE_ENGINE_H

#include "store/kv.h"

enum engine_table {
    ENGINE_META,   /* text -> settings: format, id counter */
    ENGINE_NAMES,  /* parent id, name -> child id */
    ENGINE_NODES,  /* id -> node record */
    ENGINE_KEYS,   /* namespace id, packed key -> key record */
    ENGINE_CHUNKS, /* value id, chunk number -> part of a value */
    ENGINE_TABLES
};

#define ENGINE_KEY_MAX 511 /* bytes; LMDB's limit, which the packed keys respect */

struct slice {
    const void *data;
    size_t size;
};

struct engine;
struct engine_txn;

/* Called for each record of a scan; slices are borrowed until it returns. It may get() through the
 * transaction, but must not change anything. Answers 0 to go on; anything else ends the scan. */
typedef int engine_visit(void *arg, struct slice key, struct slice value);

/* Called for each record that a commit has changed; slices are borrowed until it returns.
 * value  NULL: it was removed; of size 0: it is not known (no record is empty)
 * at     the place behind the commit. Answers 0 to go on */
typedef int engine_changed(void *arg, const struct kv_feed *at, enum engine_table table, struct slice key,
                           const struct slice *value);

/* Called for each damage that verify() finds; the text is borrowed. */
typedef void engine_found(void *arg, const char *what);

/* A copy of all tables as bytes. */
struct engine_copy {
    int fd;                             /* where they go: a file or a pipe */
    const struct kv_progress *progress; /* NULL: nobody wants to know */
    uint64_t bytes;                     /* written; also set on failure */
    uint64_t total;                     /* to be written; 0: not known yet */
};

struct engine_compact {
    const struct kv_progress *progress; /* as above */
    uint64_t before, after;             /* bytes that the tables need */
};

struct engine_ops {
    const char *name;

    /* Free the engine; no transaction may be open. */
    void (*close)(struct engine *engine);

    /* Begin a transaction. returns 0 and *out; -EROFS for a write on a read-only engine */
    int (*begin)(struct engine *engine, bool write, struct engine_txn **out);
    /* End a transaction; both consume it, whatever they answer. Read transactions end with abort.
     * commit returns  0; -ENOSPC nothing of it is kept; any other failure: it may be kept all the same */
    int (*commit)(struct engine_txn *txn);
    void (*abort)(struct engine_txn *txn);

    /* Read one record. *out is borrowed until the transaction's next change or its end.
     * returns  0; -ENOENT; -EINVAL key longer than ENGINE_KEY_MAX or empty */
    int (*get)(struct engine_txn *txn, enum engine_table table, struct slice key, struct slice *out);

    /* Visit records in memcmp order from the first key >= from.
     * returns  0 at the end of the table; visit's answer where that ended it */
    int (*scan)(struct engine_txn *txn, enum engine_table table, struct slice from, engine_visit *visit,
                void *arg);

    /* Insert or replace one record. The value must not point into the engine's own memory. */
    int (*put)(struct engine_txn *txn, enum engine_table table, struct slice key, struct slice value);

    /* Remove one record. returns 0; -ENOENT */
    int (*del)(struct engine_txn *txn, enum engine_table table, struct slice key);

    /* Can the transaction grow by `bytes` more, beyond what it has put so far, keeping the reserve that
     * deletes need? Called inside a write transaction.
     * part     the size of the largest record that they come in; where space is scattered less may do
     * returns  0; -ENOSPC */
    int (*room)(struct engine_txn *txn, uint64_t bytes, size_t part);

    /* Make durable what was committed through this engine before the call. Any thread, without the right to write;
     * nobody who writes meanwhile waits for it, but where a commit was too large for the engine's log. May be NULL: a
     * commit is durable when it returns.
     * wait_ns  for the right to write, where that is needed
     * returns  0; -EIO it is not known what is durable, and no change is taken until all users of the store have closed
     *          it; -ETIMEDOUT */
    int (*flush)(struct engine *engine, int64_t wait_ns);

    /* Nothing was committed for a while: give back what is kept for further commits. May be NULL.
     * returns  0; -ETIMEDOUT somebody writes just now; -EIO */
    int (*rest)(struct engine *engine);

    /* A number that is another one after each commit, of any process. Cheap. It can be that of a commit which no
     * transaction sees yet, so what was seen has place->epoch. May be NULL: nobody else commits. */
    uint64_t (*epoch)(struct engine *engine);
    /* Wait until transactions see another state than that of place->epoch. NULL together with epoch.
     * returns  0; -ETIMEDOUT; -EIO, after a while */
    int (*wait)(struct engine *engine, uint64_t epoch, int64_t timeout_ns);
    /* End the waiting of wait(), of whoever waits. NULL together with epoch. */
    void (*wake)(struct engine *engine);
    /* Visit what was changed by the commits after *place, in their order, and move *place behind the last one. A zeroed
     * place stands for now. `own` false: but not by those of this engine. NULL together with epoch.
     * returns  0; -ESTALE not all of them are known any more: *place stands for now, and anything may have changed;
     *          visit's answer, if that is not 0: *place is behind the commit before; -EIO, -ENOMEM */
    int (*follow)(struct engine *engine, struct kv_feed *place, bool own, engine_changed *visit, void *arg);

    /* What it knows of its storage; *out was zeroed. It waits for no transaction, and takes a bounded time. */
    void (*usage)(struct engine *engine, struct kv_storage *out);

    /* Wait for the right to write, before begin(write), and give it back after the end of the transactions that it was
     * taken for. Both are the same thread's. May be NULL: begin(write) never waits for other processes.
     * wait_ns  0: not at all
     * returns  0; -ETIMEDOUT another process has it; -EROFS; -EIO */
    int (*acquire)(struct engine *engine, int64_t wait_ns);
    void (*release)(struct engine *engine);
    /* The process that has it, 0: none. NULL together with acquire. */
    pid_t (*writer)(struct engine *engine);

    /* A descriptor of the directory that the engine lies in; it stays the engine's. May be NULL: in none. */
    int (*directory)(struct engine *engine);

    /* Make this process the engine's only user until close(): whoever opens the same store meanwhile is refused.
     * May be NULL: nobody else can have it.
     * returns  0; -EBUSY others have it open, and then this one is to be closed */
    int (*claim)(struct engine *engine);

    /* Check the structures below the records that a read transaction sees. What is found in words may make any
     * other call of the transaction answer wrongly or crash. May be NULL: there are none.
     * most     how much to read, in pages; 0: all
     * returns  0 whatever was found; -E2BIG there was more to read; -ENOMEM; -EIO; -EAGAIN too many commits came
     *          in between: begin anew */
    int (*verify)(struct engine_txn *txn, uint64_t most, engine_found *found, void *arg);

    /* Write all tables as of one moment after the begin of the call. It is a read transaction for so long, and nobody
     * who writes waits for it. May be NULL: the engine has no such form.
     * error    filled on failure: a line for the user, without the store's name
     * returns  0; -EIO damaged (then nothing is written, or less than copy->total); -ENOSPC, -EPIPE and other errnos of
     *          write(); -ETIMEDOUT, -ENOMEM */
    int (*copy)(struct engine *engine, struct engine_copy *copy, struct kv_error *error);

    /* As claim(), and then keep the tables in as little space as they need. What was kept before stays whole until
     * all is durable. The engine is to be closed afterwards. May be NULL: the engine cannot.
     * error    as above
     * returns  0; -EBUSY others have it open; -EROFS; -EIO, -ENOSPC, -ETIMEDOUT, -ENOMEM nothing has changed */
    int (*compact)(struct engine *engine, struct engine_compact *compact, struct kv_error *error);
};

/* Every engine's struct begins with this, and every transaction's with the engine's. */
struct engine {
    const struct engine_ops *ops;
    bool damaged; /* what does not seem to be there may be there all the same; set before others use it */
};
struct engine_txn {
    const struct engine_ops *ops;
};

/* Short forms for the store. */
static inline int engine_acquire(struct engine *engine, int64_t wait_ns)
{
    return engine->ops->acquire != NULL ? engine->ops->acquire(engine, wait_ns) : 0;
}
static inline void engine_release(struct engine *engine)
{
    if (engine->ops->release != NULL)
        engine->ops->release(engine);
}
static inline int engine_flush(struct engine *engine, int64_t wait_ns)
{
    return engine->ops->flush != NULL ? engine->ops->flush(engine, wait_ns) : 0;
}
static inline int engine_rest(struct engine *engine)
{
    return engine->ops->rest != NULL ? engine->ops->rest(engine) : 0;
}
static inline uint64_t engine_epoch(struct engine *engine)
{
    return engine->ops->epoch != NULL ? engine->ops->epoch(engine) : 0;
}
static inline pid_t engine_writer(struct engine *engine)
{
    return engine->ops->writer != NULL ? engine->ops->writer(engine) : 0;
}
static inline struct slice slice_of(const void *data, size_t size) { return (struct slice){data, size}; }

#endif
