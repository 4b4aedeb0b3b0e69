/* The seam: what kvfs asks of its central storage.
 *
 * Above it are the edge cache, the commit queue and the public interface, which know no other form of a store than
 * this one; below it a backend, which keeps one kind of storage. Accounts, names, limits, conditions and
 * counts are the same in each, because each has the rules (store/rules/) do the work in transactions of its own.
 *
 * A call is a struct that the caller fills in and hands over with start(). It is the backend's from then on, with all
 * that it points to, until done() is called, exactly once: from any thread, or before start() returns. So a backend
 * over a network keeps many calls under way, and one over a local file answers at once. done() must be quick; it may
 * start other calls.
 *
 * A call that the storage has not answered after timeout_ns ends in -ETIMEDOUT. Where nobody can know whether a
 * SUBMIT was done, it says so (`unsure`), and never guesses.
 *
 * Errors are negative errnos: -ENOENT the storage was asked and said no; -EIO damaged or unreadable; -ETIMEDOUT,
 * -ENOMEM. Results are untouched on failure.
 */
#ifndef KVFS_STORE_BACKEND_H
#define KVFS_STORE_BACKEND_H

#include "store/kv.h"

struct backend;

enum backend_kind {
    BACKEND_GET,        /* backend_get: a key */
    BACKEND_XATTRS,     /* backend_xattrs */
    BACKEND_NODE,       /* backend_node: by id */
    BACKEND_CHILD,      /* backend_node: by parent and name */
    BACKEND_SEEN,       /* backend_seen */
    BACKEND_QUOTA,      /* backend_quota */
    BACKEND_EXPIRY,     /* backend_expiry */
    BACKEND_LIST_KEYS,  /* backend_list */
    BACKEND_LIST_NODES, /* backend_list */
    BACKEND_SUBMIT,     /* backend_submit */
    BACKEND_FLUSH,      /* backend_call */
    BACKEND_REST,       /* backend_call */
    BACKEND_FOLLOW,     /* backend_follow */
    BACKEND_FORMAT,     /* backend_format */
    BACKEND_VERIFY,     /* backend_verify */
    BACKEND_CHECK,      /* backend_check */
    BACKEND_COPY,       /* backend_copy */
    BACKEND_COMPACT,    /* backend_compact */
    BACKEND_KINDS
};

/* What each call begins with. */
struct backend_call {
    enum backend_kind kind;
    int64_t timeout_ns; /* from start() on */
    void (*done)(struct backend_call *call, int rc);
    void *arg;                 /* the caller's */
    struct backend_call *next; /* the backend's */
};

/* ------------------------------------------------------------------------- reading
 * Each is as of one moment, which lies between start() and done(). A key that has expired is told like any other, until
 * it is swept: the caller compares (kv_expired()). */

/* A key's metadata, and its value, with the checksum verified, where it is wanted.
 * value    with want_value: NULL, or a value that the caller has already, of version meta.version. It stays where that
 *          is still the version; else, and on failure, the reference is given back, and it is NULL */
struct backend_get {
    struct backend_call call;
    const struct kv_ref *ref;
    bool want_value;
    struct kv_meta meta;
    struct kv_value *value;
};

struct backend_xattrs {
    struct backend_call call;
    const struct kv_ref *ref; /* a key or a node */
    struct kv_xattrs *xattrs; /* the result */
    struct kv_meta meta;      /* of a key; else zeros */
};

/* When the first of all keys expires, or has expired; 0: none does. */
struct backend_expiry {
    struct backend_call call;
    int64_t first_ns;
};

struct backend_node {
    struct backend_call call;
    uint64_t id; /* BACKEND_NODE: of the node; BACKEND_CHILD: of its parent */
    const char *name;
    size_t size;
    struct kv_node *node; /* the result */
};

/* As kv_check_seen(). */
struct backend_seen {
    struct backend_call call;
    const struct kv_seen *seen;
    size_t count;
    struct kv_usage usage;
};

/* As kv_quota_check(). rc  0 the value may fit; -EDQUOT it does not; -ENOENT no such namespace */
struct backend_quota {
    struct backend_call call;
    const struct kv_ref *ref;
    size_t size;
    uint64_t extra;
    int64_t now_ns; /* since the epoch */
};

/* As kv_scan() and kv_node_scan(): visit is called by whatever thread it is, one at a time, before done(). */
struct backend_list {
    struct backend_call call;
    uint64_t parent;
    const char *from;
    size_t size;
    bool after;
    kv_key_visit *visit_key;   /* BACKEND_LIST_KEYS */
    kv_node_visit *visit_node; /* BACKEND_LIST_NODES */
    void *arg;
};

/* ------------------------------------------------------------------------ changing */

/* Do a group of changes in one transaction: all readers see all of them, or none yet. Each has a verdict of its own in
 * change->rc, and one that is refused leaves nothing behind.
 *   rc 0   done, and visible to every node; on the disk after a FLUSH that begins later
 *   -EAGAIN with `whole`: a change was refused, so none is done. change->rc tells whose refusal it is
 *   -ETIMEDOUT the right to change was not to be had in time; nothing is done
 *   else   the transaction failed: nothing is done, unless `unsure`
 *
 * The same changes can be submitted again after a failure that is not unsure. */
struct backend_submit {
    struct backend_call call;
    struct kv_change *changes; /* linked by `next` */
    size_t count;
    bool whole;                   /* all or nothing */
    const struct kv_clock *clock; /* for the time of the changes */
    bool unsure;                  /* the result is not known */
};

/* BACKEND_FLUSH: make durable what was done by SUBMITs that had ended before.
 *   rc     0; -EIO it is not known what is durable, and no change is taken until all users of the store have closed it;
 *          -ETIMEDOUT
 *
 * BACKEND_REST: nothing was submitted for a while: give back what is kept for further changes.
 *   rc     0; -ETIMEDOUT somebody writes just now; -EIO */

/* ----------------------------------------------------------------------- following */

/* As kv_follow(). */
struct backend_follow {
    struct backend_call call;
    struct kv_feed *place;
    bool own;
    kv_changed_visit *visit;
    void *arg;
};

/* --------------------------------------------------------------- opening and checking */

/* Write what a new store begins with, or check what an old one has.
 *   rc     0; -EPROTONOSUPPORT a format that this program does not know; -EIO damaged, or nothing there and `create` is
 *          false */
struct backend_format {
    struct backend_call call;
    bool create;
    int64_t now_ns;     /* since the epoch */
    uint32_t version;   /* set also on failure, where it could be read */
    const char *advice; /* -EPROTONOSUPPORT: what that format is, and what to do, in words */
};

/* Look for damage of what the records lie in, and note in backend->damaged whether there is any.
 *   rc     0 whatever was found */
struct backend_verify {
    struct backend_call call;
    size_t most;     /* how much to read, in units of 4 KiB */
    char first[256]; /* what was found first, in words; "" nothing */
};

/* As kv_check(). */
struct backend_check {
    struct backend_call call;
    const struct kv_check_options *options;
    int64_t now_ns;
    struct kv_check_report *report;
};

/* --------------------------------------------------------------------------- copies
 * These take as long as they take: timeout_ns is for what they wait for. */

/* As kv_copy(). */
struct backend_copy {
    struct backend_call call;
    int fd;
    const struct kv_progress *progress;
    struct kv_error *error;
    uint64_t bytes; /* a result, also on failure */
};

/* As kv_compact(). */
struct backend_compact {
    struct backend_call call;
    const struct kv_progress *progress;
    struct kv_error *error;
    uint64_t before, after; /* the result */
};

/* ----------------------------------------------------------------------- a backend */

struct backend_ops {
    /* Free the backend; no call may be under way. */
    void (*close)(struct backend *backend);

    /* Begin a call. Any thread. */
    void (*start)(struct backend *backend, struct backend_call *call);

    /* A number that is another one after each change, of any node. Cheap. It can be that of a change which no reader
     * sees yet, so what was seen has place->epoch. A constant where nobody else changes anything. */
    uint64_t (*epoch)(struct backend *backend);
    /* Wait until readers see another state than that of place->epoch. returns  0; -ETIMEDOUT; -EIO, after a while */
    int (*wait)(struct backend *backend, uint64_t epoch, int64_t timeout_ns);
    /* End the waiting of wait(), of whoever waits. */
    void (*wake)(struct backend *backend);

    /* What is known of the storage; *out was zeroed. It waits for no change, and takes a bounded time. */
    void (*usage)(struct backend *backend, struct kv_storage *out);
    /* A descriptor of a directory in which the processes of this machine that use the store keep what they share beside
     * it, and what they have no memory for; it is the backend's. -1: there is none. */
    int (*directory)(struct backend *backend);
    /* The process that has the right to change now; 0: none, or not of this machine. */
    pid_t (*writer)(struct backend *backend);
};

/* Every backend's struct begins with this. */
struct backend {
    const struct backend_ops *ops;
    bool follows; /* FOLLOW, epoch, wait and wake can be called */
    bool damaged; /* what does not seem to be there may be there all the same; set by VERIFY */
};

/* Start a call and wait for its end. call->done and call->arg are not the caller's then. returns  its rc */
KV_CHECKED int backend_run(struct backend *backend, struct backend_call *call);

/* As above, with the kind and the time filled in: backend_ask(backend, BACKEND_GET, timeout_ns, &get.call). */
static inline int backend_ask(struct backend *backend, enum backend_kind kind, int64_t timeout_ns,
                              struct backend_call *call)
{
    call->kind = kind;
    call->timeout_ns = timeout_ns;
    return backend_run(backend, call);
}

#endif
