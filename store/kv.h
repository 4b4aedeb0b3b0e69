/* kvfs store: accounts, namespaces and keys over a storage engine.
 *
 * This is the only header of the store that other rooms include. Conventions
 * that hold for every function:
 *
 *   returns   0 (or a count) on success, a negative errno on failure; outputs
 *             are untouched on failure. -ENOENT always means that the central
 *             was asked and said no. -EIO, -ETIMEDOUT and -ENOMEM mean that
 *             nothing is known.
 *   threads   every function is safe from any thread, unless it says otherwise.
 *   units     sizes are bytes; times carry their unit in the name.
 *   names     bytes with a length; they need no terminating NUL.
 */
#ifndef KVFS_STORE_KV_H
#define KVFS_STORE_KV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define KV_CHECKED __attribute__((warn_unused_result))

/* Limits of the EdgeOne Pages KV model. */
#define KV_KEY_MAX 512                     /* symbols in a key */
#define KV_NAME_MAX 64                     /* bytes in every other name */
#define KV_VALUE_MAX 26214400u             /* 25 MiB */
#define KV_ACCOUNT_BYTES (1ull << 30)      /* default; sum of key, value and attribute bytes */
#define KV_ACCOUNT_NAMESPACES 10           /* default */
#define KV_ACCOUNT_BINDINGS 1024           /* default; projects and bindings together */
#define KV_LIMIT_MAX ((uint64_t)INT64_MAX) /* that an account's limits can be set to */
#define KV_LIST_MAX 256                    /* keys in a page of kv_list() */
#define KV_BATCH_MAX 10000                 /* changes in one kv_submit_all() */
#define KV_XATTR_MAX 1024                  /* bytes of names and values per object */

#define KV_ROOT_ID 1ull /* node id and inode number of the root */

/* ------------------------------------------------------------------ names */

enum kv_name_kind { KV_NAME_KEY, KV_NAME_ACCOUNT, KV_NAME_NAMESPACE, KV_NAME_PROJECT, KV_NAME_VARIABLE };

/* Check a name against the rules of its kind.
 * returns  0; -ENAMETOOLONG where only the length is wrong; -EINVAL otherwise */
KV_CHECKED int kv_name_check(enum kv_name_kind kind, const char *name, size_t size);

/* May programs be given a variable of this name? Not where a shell, a loader or an interpreter obeys it (PATH,
 * LD_PRELOAD, PYTHONPATH ...). Then no binding of this name can be made. One that an older version has made is there
 * all the same: it can be listed, renamed and deleted, and whoever gives variables to programs asks this first. */
bool kv_variable_is_safe(const char *name, size_t size);

/* The rule of a kind in words, for messages ("1 to 512 letters, digits or underscores"). */
const char *kv_name_rule(enum kv_name_kind kind);

/* ---------------------------------------------------------------- objects
 *
 * The tree above the keys is made of nodes. A node has a name under its parent
 * and an id, which never changes, is never used again, and is its inode number.
 *
 *   ROOT -> ACCOUNT -> NAMESPACE -> (keys)
 *                   -> PROJECTS (".projects") -> PROJECT -> BINDING
 *
 * Every account is created together with its PROJECTS node. A BINDING is a
 * variable; `target` is the namespace that it names. Keys are not nodes: they
 * live in a table of their own, under the id of their namespace.
 */
enum kv_node_kind { KV_ROOT = 1, KV_ACCOUNT, KV_NAMESPACE, KV_PROJECTS, KV_PROJECT, KV_BINDING };

struct kv_attr {
    uint64_t ino;
    uint32_t mode; /* permission bits, 07777 */
    uint32_t uid, gid;
    int64_t atime_ns, mtime_ns, ctime_ns, btime_ns; /* since the epoch */
};

struct kv_node {
    enum kv_node_kind kind;
    uint64_t id, parent;
    char name[KV_NAME_MAX + 1];
    struct kv_attr attr;
    /* ROOT, ACCOUNT, NAMESPACE: of all keys below. bytes: of their names, values and attributes (names and values) */
    uint64_t keys, bytes;
    uint64_t children; /* child nodes; of an ACCOUNT its namespaces (PROJECTS not counted) */
    uint64_t bindings; /* ACCOUNT: projects and bindings in it, together */
    /* ACCOUNT: the most that it may have of each. Of keys and bindings 0 means that there is no limit. */
    uint64_t limit_bytes, limit_namespaces, limit_keys, limit_bindings;
    uint64_t target; /* BINDING: id of the namespace */
    bool has_xattrs;
};

/* What is known of a key without its value. `version` changes with each put of
 * the value and only then, and is unique in the store; 0 is no version. Which of
 * two versions is greater says nothing: a put may have been promised its own before others. */
struct kv_meta {
    struct kv_attr attr;
    uint64_t version;
    uint64_t size;
    int64_t expires_ns; /* since the epoch; 0: never */
    bool has_xattrs;
};

/* Is the key over at this time? From then on it is absent for everybody who reads or changes it, by the clock of the
 * machine, although its record stays, and is counted, until it is swept. */
static inline bool kv_expired(const struct kv_meta *meta, int64_t now_ns)
{
    return meta->expires_ns != 0 && meta->expires_ns <= now_ns;
}

/* Names an object: the key in namespace `node`, or, where `size` is 0, the node itself. */
struct kv_ref {
    uint64_t node;
    size_t size;
    char key[KV_KEY_MAX + 1]; /* also NUL-terminated, for messages */
};

/* Fill in a reference. `size` beyond KV_KEY_MAX is cut: check names first. */
struct kv_ref kv_ref_key(uint64_t namespace_id, const char *key, size_t size);
struct kv_ref kv_ref_node(uint64_t node_id);
/* Do both name the same object? */
bool kv_ref_same(const struct kv_ref *a, const struct kv_ref *b);

/* --------------------------------------------------------- extended attributes
 *
 * All attributes of one object as one flat set: entries of
 * u8 name size, u16 value size (little endian), name, value. */
struct kv_xattrs {
    size_t size;
    uint8_t data[KV_XATTR_MAX + 3 * (KV_XATTR_MAX / 2)];
};

/* Step through a set. *pos starts at 0. Pointers are borrowed from the set.
 * returns  true and the next entry; false at the end (or at bytes that are no entry) */
bool kv_xattrs_next(const struct kv_xattrs *set, size_t *pos, const char **name, size_t *name_size,
                    const void **value, size_t *value_size);

/* Set, or with value == NULL remove, one attribute.
 * flags    0, KV_XATTR_CREATE (-EEXIST when there) or KV_XATTR_REPLACE (-ENODATA when not)
 * returns  0; -ENOSPC where the sum of names and values would pass KV_XATTR_MAX;
 *          -ENODATA removing what is not there; -ERANGE a name longer than 255 bytes or empty */
enum { KV_XATTR_CREATE = 1, KV_XATTR_REPLACE = 2 };
KV_CHECKED int kv_xattrs_set(struct kv_xattrs *set, const char *name, size_t name_size, const void *value,
                             size_t value_size, int flags);

/* ------------------------------------------------------------------- times of expiry
 *
 * As people write them, in nanoseconds. */

/* "90", "90s", "5m", "1h", "2d", "1w". returns  0; -EINVAL; -ERANGE it is more than 292 years */
KV_CHECKED int kv_duration_parse(const char *text, int64_t *out);
/* A time as in RFC 3339, seconds since the epoch (with or without a fraction), or "+" and a duration from now on; since
 * the epoch. "never" is 0. What was before the epoch is 1.
 * now_ns   since the epoch
 * returns  0; -EINVAL; -ERANGE it is after the year 2261 */
KV_CHECKED int kv_expiry_parse(const char *text, int64_t now_ns, int64_t *out);
/* The other way: RFC 3339, in UTC, with a fraction where it has one. 0 is "never". */
#define KV_EXPIRY_TEXT 32
void kv_expiry_text(int64_t expires_ns, char out[KV_EXPIRY_TEXT]);

/* -------------------------------------------------------------------- values
 *
 * A value is a reference-counted buffer. Whoever holds the only reference may
 * change it; a shared one is immutable. Buffers stay in memory while the
 * process's budget lasts (those below 64 KiB have 64 MiB beyond it) and are
 * then backed by unlinked files in the spill directory, so that the kernel can
 * page them out; `data` is addressable either way. 32,768 values can have such
 * files at a time.
 */
struct kv_value {
    uint8_t *data; /* NULL only where capacity is 0 */
    size_t size;
    /* private to store/base/value.c */
    size_t capacity;
    unsigned refs;
    bool spilled;
};

/* A new value of `size` zero bytes, owned by the caller.
 * returns  0; -ENOMEM no memory, or as many files as can be; -ENOSPC the spill directory is full;
 *          -EFBIG size > KV_VALUE_MAX */
KV_CHECKED int kv_value_new(size_t size, struct kv_value **out);
/* A new value that is a copy of bytes. Errors as kv_value_new(). */
KV_CHECKED int kv_value_copy(const void *bytes, size_t size, struct kv_value **out);
/* Another reference to the same bytes; never fails. */
struct kv_value *kv_value_ref(struct kv_value *value);
/* Give a reference back; NULL is allowed. */
void kv_value_unref(struct kv_value *value);
/* Make *value the caller's own, with room for `size` bytes and its size set to
 * `size`: copied if shared, grown with zeros or cut. On failure *value is as it was.
 * Errors as kv_value_new(). */
KV_CHECKED int kv_value_resize(struct kv_value **value, size_t size);

/* ------------------------------------------------------------- open and close */

struct kv_store;
struct backend; /* store/backend.h; only tests pass one */

/* Where time comes from. Both functions are called from any thread. */
struct kv_clock {
    int64_t (*mono_ns)(void *arg); /* for ages: never goes back, and goes on while the machine sleeps */
    int64_t (*real_ns)(void *arg); /* for timestamps: since the epoch */
    void *arg;
};

enum kv_durability { KV_DURABILITY_CLOSE, KV_DURABILITY_FSYNC };

/* Does the edge cache hear of other processes' changes? */
enum kv_invalidate {
    KV_INVALIDATE_PUSH, /* before each answer: it gives none that is older than a change that was finished before */
    KV_INVALIDATE_TTL   /* no: it may answer with what it has for cache_ttl_ms */
};

struct kv_options {
    bool read_only;
    bool create; /* make the store where the directory is absent or empty */
    bool copied; /* recover a store, too, of which the caller knows that it was copied while nobody had it open */
    /* Open a store that belongs to another user, or that others have rights on, too; else -EPERM. Root then works in it
     * with its owner's rights, and what root makes there is the owner's. */
    bool foreign_store;
    /* Pages of 4 KiB that the open looks through for damage; 0: none. A damaged database is refused, or with read_only
     * answers -EIO where it would answer that something is not there. */
    size_t verify_pages;
    int64_t cache_ttl_ms; /* 0: every read asks the central */
    size_t cache_bytes;   /* 0: no cache; at most half of memory_bytes is used */
    size_t map_bytes;     /* upper bound of the database file; 0: default */
    size_t memory_bytes;  /* values beyond this spill to unlinked files; 0: default, see kv_options_default() */
    enum kv_durability durability;
    enum kv_invalidate invalidate;
    int64_t commit_interval_ms; /* KV_DURABILITY_FSYNC: the longest time until what was committed is durable */
    int64_t
        commit_timeout_ms; /* the longest time that a change waits for the writer's lock, or anything for the central;
                                   * at least 1 */
    bool sweep;            /* remove expired keys soon after they expired, by a thread that sleeps until then */
    mode_t umask;          /* permission bits that kv_put() and kv_node_make() leave out */
    const struct kv_clock *clock; /* borrowed, outlives the store; NULL: the system's */
    struct backend *backend;      /* the store's on success; NULL: that of `dir` */
};

/* Defaults: ttl 60 s, memory 512 MiB or a quarter of what the control groups let the process have, cache 256 MiB or
 * half of that memory, durability close, interval 100 ms, commit timeout 30 s, umask 022. */
struct kv_options kv_options_default(void);

struct kv_error {
    char text[512]; /* one line: what was wrong, the rule, what to do */
};

/* Open the store in directory `dir` (ignored where options->backend is given).
 * A process opens one directory once (a second time is -EBUSY). Fork before, never after. What is made is for its owner
 * only, mode 0700 and 0600 whatever the umask is; so is an empty directory of the user's in which a store is made.
 * error    filled on failure
 * returns  0; -EAGAIN a process of another pid namespace, which has the same number as this one, has the store open:
 *          go on in a child process with another number; -EBUSY this process has the store open already, or another one
 *          repairs it; -EPERM the store is another user's, or others have rights on it: see foreign_store; else a
 *          negative errno
 * threads  not for concurrent use with itself on the same dir */
KV_CHECKED int kv_open(const char *dir, const struct kv_options *options, struct kv_store **out,
                       struct kv_error *error);

/* Look through so many pages of 4 KiB for damage, as the open does with verify_pages, for a caller that opened without:
 * before something is said to be absent, or a listing to be complete. From the first damage on the store answers -EIO
 * where it would answer so.
 * error    filled on failure
 * returns  0; -EIO damaged; -ETIMEDOUT commits of others overtook each look; another negative errno
 * threads  no other call may be under way */
KV_CHECKED int kv_look(struct kv_store *store, size_t pages, struct kv_error *error);

/* Commit what is queued, answer every waiter, free everything. No other call may be under way. */
void kv_close(struct kv_store *store);

/* -------------------------------------------------------------------- reading */

/* How fresh an answer is. */
struct kv_fresh {
    int64_t age_ms;       /* since it was fetched from the central */
    int64_t remaining_ms; /* how much longer this node may serve it: not beyond its expiry; 0 when the ttl is 0 */
    bool from_cache;
};

/* Read a key's metadata, or its whole value with it, through the edge cache.
 * fresh    may be NULL; also filled when the answer is -ENOENT
 * value    on success owned by the caller: give back with kv_value_unref()
 * returns  0; -ENOENT no such key (or namespace), or it has expired; -EIO damaged or unreadable; -ENOMEM */
KV_CHECKED int kv_stat(struct kv_store *store, const struct kv_ref *ref, struct kv_meta *meta,
                       struct kv_fresh *fresh);
KV_CHECKED int kv_get(struct kv_store *store, const struct kv_ref *ref, struct kv_meta *meta,
                      struct kv_value **value, struct kv_fresh *fresh);

/* What the cache knows of a key, without asking the central and without
 * counting as a use. returns 0 and both outputs; -ENOENT where the cache holds
 * nothing valid of it, or holds its absence. */
KV_CHECKED int kv_peek(struct kv_store *store, const struct kv_ref *ref, struct kv_meta *meta,
                       struct kv_fresh *fresh);

/* As kv_get(), but the answer is what the central has now, whatever the cache knows: for who is going to change it. A
 * cached value of the version that the central has is used, and not read again.
 * value    may be NULL: metadata only
 * returns  as kv_get() */
KV_CHECKED int kv_get_newest(struct kv_store *store, const struct kv_ref *ref, struct kv_meta *meta,
                             struct kv_value **value);

/* Let the next read of a key ask the central, whatever the cache knows. */
void kv_forget(struct kv_store *store, const struct kv_ref *ref);

/* Nodes are read from the central each time.
 * returns  0; -ENOENT; -EIO; -ENOMEM */
KV_CHECKED int kv_node_find(struct kv_store *store, uint64_t parent, const char *name, size_t size,
                            struct kv_node *out);
KV_CHECKED int kv_node_get(struct kv_store *store, uint64_t id, struct kv_node *out);

/* A node as whoever checked permissions was told of it. */
struct kv_seen {
    uint64_t node;
    uint32_t mode, uid, gid;
};

/* How full an account is. limit_keys 0: no limit. */
struct kv_usage {
    uint64_t account, bytes, limit_bytes, keys, limit_keys;
};

/* Is every one of these nodes there, as it was seen? One look at the central, in one read transaction.
 * usage    of the first of them that is an account; all 0 where none is. May be NULL
 * returns  0; -ESTALE one of them is gone or differs; -EIO; -ENOMEM */
KV_CHECKED int kv_check_seen(struct kv_store *store, const struct kv_seen *seen, size_t count,
                             struct kv_usage *usage);

/* Attributes of a key or node, from the central. returns 0; -ENOENT the object is gone; -EIO */
KV_CHECKED int kv_xattrs_get(struct kv_store *store, const struct kv_ref *ref, struct kv_xattrs *out);

/* Visit a namespace's keys, but not those that have expired, or a node's child nodes, in byte order of their names.
 *
 * from     the visit starts at the first name >= from (or > from, where `after`); size 0: at the start
 * visit    called inside a read transaction: it must be quick and must not call the store;
 *          it returns 0 to go on and anything else to stop. Its arguments are borrowed.
 * returns  0 when every name was visited; visit's answer when that stopped the visit;
 *          -ENOENT the namespace or node is gone; -EIO; -ENOMEM
 *
 * What a visit finds newer than the cache's knowledge replaces it, so that a
 * later kv_get() never answers with something older than a listing showed. */
typedef int kv_key_visit(void *arg, const char *key, size_t size, const struct kv_meta *meta);
typedef int kv_node_visit(void *arg, const struct kv_node *node);
KV_CHECKED int kv_scan(struct kv_store *store, uint64_t namespace_id, const char *from, size_t size, bool after,
                       kv_key_visit *visit, void *arg);
KV_CHECKED int kv_node_scan(struct kv_store *store, uint64_t parent, const char *from, size_t size, bool after,
                            kv_node_visit *visit, void *arg);

/* One page of a listing. */
struct kv_list {
    size_t count;
    bool complete;                /* nothing follows this page */
    char cursor[KV_KEY_MAX + 1];  /* the first key of the next page; "" when complete */
    char (*keys)[KV_KEY_MAX + 1]; /* `count` keys in byte order */
};

/* List keys that start with `prefix`, from `cursor` on (inclusive; where that key is gone, the next
 * one). prefix and cursor may be "" or NULL. Give back with kv_list_free().
 * returns  0; -EINVAL limit outside 1..KV_LIST_MAX, or a prefix or cursor that no key can have;
 *          else as kv_scan() */
KV_CHECKED int kv_list(struct kv_store *store, uint64_t namespace_id, const char *prefix, const char *cursor,
                       size_t limit, struct kv_list *out);
void kv_list_free(struct kv_list *list);

/* ------------------------------------------------------------------ following
 *
 * The changes of all processes that have the store open, in the order in which they were committed. */
enum kv_changed_kind {
    KV_CHANGED_KEY,  /* ref: put, or its attributes changed, or removed. A rename is both, of two names */
    KV_CHANGED_NODE, /* ref.node: a node's attributes, counts or limits; or it was removed */
    /* A name in node ref.node: it leads to a node now, or (removed) to none. A rename is a removal and then this, an
     * exchange two removals and then this for the same nodes in the same order. */
    KV_CHANGED_NAME
};
struct kv_changed {
    enum kv_changed_kind kind;
    bool removed;
    bool known; /* of what is not removed: `meta` or `node` is filled in. It may be too large to be told */
    struct kv_ref ref;
    struct kv_meta meta; /* KV_CHANGED_KEY */
    struct kv_node node; /* KV_CHANGED_NODE; of a KV_CHANGED_NAME `name` is, and the `id` that it leads to now */
    const struct kv_feed *at; /* behind this change and those of the same commit */
};

/* A place in the feed of changes. A zeroed one stands for now. */
struct kv_feed {
    uint64_t salt, pos, seq;
    uint64_t epoch; /* no part of the place: what kv_follow() leaves for kv_wait() */
};

/* Visit what was changed since *feed, and move *feed behind that.
 * own      with the changes of this kv_store; else only those of others
 * visit    answers 0 to go on; it may call the store. `changed` is borrowed
 * returns  0; -ESTALE not all is known any more: *feed stands for now, and anything may have changed; visit's answer
 *          where that is not 0: *feed is behind the commit before that one; -EIO; -ENOMEM
 * threads  any, but one at a time for a feed */
typedef int kv_changed_visit(void *arg, const struct kv_changed *changed);
KV_CHECKED int kv_follow(struct kv_store *store, struct kv_feed *feed, bool own, kv_changed_visit *visit,
                         void *arg);

/* A number that is another one after each commit of any process. It may be that of a commit which nobody sees yet: who
 * has followed has feed->epoch. */
uint64_t kv_epoch(struct kv_store *store);
/* Wait until there is, or may be, something behind a feed whose `epoch` this is; or until a signal's handler has run.
 * returns  0; -ETIMEDOUT; -EIO, after a while */
KV_CHECKED int kv_wait(struct kv_store *store, uint64_t epoch, int64_t timeout_ms);
/* Let whoever waits look whether there is something else to do. */
void kv_wake(struct kv_store *store);

/* ------------------------------------------------------------------- changing
 *
 * Every mutation is a kv_change. Changes of one account are committed in the order of their submission; many that
 * wait share one transaction, and each succeeds or fails alone and whole. A change is done when it is committed: every
 * node of this machine sees it then, and the edge cache holds it. KV_DURABILITY_CLOSE: it is on the disk, too.
 * KV_DURABILITY_FSYNC: it is at most commit_interval_ms later, or when kv_sync() answers.
 */
enum kv_change_kind {
    KV_PUT,         /* ref, value [, attr, xattrs, condition] -> meta */
    KV_DELETE,      /* ref [, condition] */
    KV_CHECK,       /* ref, condition: changes nothing. For what is done together: kv_submit_all() */
    KV_RENAME,      /* ref, to, flags; both in namespaces of one account -> meta of what is at `to` */
    KV_SETATTR,     /* ref (key or node), attr, attr_mask [, expiry] -> meta or node */
    KV_SETXATTR,    /* ref (key or node), xattr_*  */
    KV_NODE_CREATE, /* node.{kind,parent,name,attr,target} -> node. Bindings: target is a namespace id */
    KV_NODE_DELETE, /* node.{parent,name}; must be empty. An account goes with its empty PROJECTS,
                       a namespace with the bindings to it */
    KV_NODE_RENAME, /* node.{parent,name} to to_parent, to_name; flags */
    KV_NODE_LIMITS, /* node.{id,limit_bytes,limit_namespaces,limit_keys,limit_bindings}, of at most KV_LIMIT_MAX:
                       all four are set -> node */
    KV_DROP_BROKEN, /* node.id: a namespace. Its keys whose records or names are damaged are removed; what else is
                        there is counted anew -> node, dropped. What remains of their values is for kv_check(). The
                       edge cache is not told */
    KV_SWEEP,       /* private to the store: some keys that have expired are removed -> dropped */
    KV_RESERVE_IDS, /* private to the store */
};

/* When a key ends that is put or changed. */
enum kv_expiry {
    KV_EXPIRY_KEEP, /* when the one that is there does. What a put makes, or replaces (kv_change.replace), never ends */
    KV_EXPIRY_SET /* at kv_change.expires_ns */
};

enum { KV_NOREPLACE = 1, KV_EXCHANGE = 2 }; /* flags */
/* attr_mask; KV_NO_SETID takes the set-user-id bit away, and the set-group-id bit where the group may execute, as a
 * write or a change of owner does. */
enum { KV_MODE = 1, KV_UID = 2, KV_GID = 4, KV_ATIME = 8, KV_MTIME = 16, KV_CTIME = 32, KV_NO_SETID = 64 };

/* Take the fields that a mask names. */
void kv_attr_set(struct kv_attr *attr, const struct kv_attr *from, unsigned mask);

struct kv_change {
    enum kv_change_kind kind;
    struct kv_ref ref, to;
    unsigned flags;

    /* KV_PUT: the bytes; borrowed until done, and immutable meanwhile. */
    struct kv_value *value;
    /* KV_PUT, a key that is not there: all of attr (ino 0: choose one; see kv_new_ino).
     * KV_PUT, a key that is there: only mtime_ns and ctime_ns, and what attr_mask names. */
    struct kv_attr attr;
    unsigned attr_mask;
    /* KV_PUT: attr describes a new object, which takes the place of what is there. */
    bool replace;
    /* KV_PUT: replace the attributes by these; NULL: a key that is there keeps its own. Borrowed. */
    const struct kv_xattrs *xattrs;
    /* KV_PUT, KV_SETATTR of a key (which leaves its version as it is). A rename takes the key's own along. */
    enum kv_expiry expiry;
    int64_t
        expires_ns; /* since the epoch; 0: never; in the past: the key is absent from now on; below 0: -EINVAL */

    /* KV_PUT, KV_DELETE, KV_CHECK: only if the key's version is this; 0: only if it is not there, or is the very object
     * that attr.ino names: a first put may be followed by others before it is known to be done.
     * Otherwise -EEXIST where it should not be there, -ECANCELED where the version differs. */
    bool conditional;
    uint64_t if_version;

    /* What the permission for this change was given on. Each of these nodes must be there as it was seen, or the change
     * ends in -ESTALE before anything else is looked at. Borrowed until done. seen_count 0: nothing is checked,
     * but the object of a put: whoever opened a key may write it, whatever became of the directories above. */
    const struct kv_seen *seen;
    size_t seen_count;
    /* The keys at `ref` and `to`, or the nodes, as they were seen: ino, mode, uid and gid count. NULL: there was none.
     * Borrowed until done. What is there must go with what was seen, or the change ends in -ESTALE:
     *
     *   KV_SETATTR, KV_SETXATTR of a key   the same ino and uid; where `strict`, the same mode and gid, too
     *   KV_PUT                  nothing, the same ino, or a key of the same mode, uid and gid: the value then goes into
     *                           that key, whose ino is in change->meta
     *   KV_PUT with `replace`   as the target of KV_RENAME, by to_object
     *   KV_DELETE, KV_RENAME    in a sticky namespace (S_ISVTX): nothing, or a key of the same uid as object (as
     *                           to_object for the target); elsewhere anything
     *   KV_NODE_DELETE, KV_NODE_RENAME   the same of nodes in a sticky directory */
    const struct kv_attr *object, *to_object;
    bool strict;

    /* KV_SETXATTR: as kv_xattrs_set(). Borrowed until done. */
    const char *xattr_name;
    size_t xattr_name_size;
    const void *xattr_value;
    size_t xattr_value_size;
    int xattr_flags;

    uint64_t to_parent;            /* KV_NODE_RENAME */
    char to_name[KV_NAME_MAX + 1]; /* KV_NODE_RENAME */

    struct kv_meta meta; /* results */
    struct kv_node node; /* argument of node changes; a result where the kind says so */
    uint64_t dropped;    /* KV_DROP_BROKEN, KV_SWEEP: keys that were removed */

    /* Called once, from a thread of the store, from one that submits another change, or within kv_submit(): it must be
     * quick and must not wait for another change. The change is the submitter's again from here on. */
    void (*done)(struct kv_change *change, int rc);
    void *arg;
    int rc; /* a result: what became of this one of kv_submit_all() */

    /* private to the store */
    struct kv_change *next, *batch;
    uint64_t account, seq;  /* in whose line it waits, and its number */
    uint64_t checksum;      /* of value */
    uint64_t ids, first_id; /* KV_RESERVE_IDS: how many; the first of them */
    int64_t submitted_ns;
    uint64_t submitted_news; /* of the edge cache */
    int verdict;             /* that done() is told */
};

/* A key whose record is damaged reads as -EIO. KV_DELETE removes it, and KV_PUT and KV_RENAME replace it as if it had
 * not been there; its namespace is counted anew in the same transaction. Nothing is known of what it was: a condition
 * is not met, and -EIO is the answer where it would have to go with what was seen. */

/* A key that has expired when a change is committed is not there for it: a put makes a new key, and a delete, a rename
 * and a change of attributes are -ENOENT. A namespace that has only expired keys is empty, but where there are more
 * than KV_BATCH_MAX of them, which have to be swept first. */

/* Errors of changes (through done or kv_apply):
 *   -ENOENT the key, node or namespace is not there     -EEXIST it is there already
 *   -EINVAL, -ENAMETOOLONG the name breaks its rule      -EFBIG  the value is over KV_VALUE_MAX, a limit over
 *                                                                KV_LIMIT_MAX
 *   -EDQUOT over the account's bytes, keys, namespaces   -ENOSPC disk or map full; attributes full
 *           or bindings
 *   -ENOTEMPTY a node with children or keys              -EXDEV  rename between accounts
 *   -EROFS opened read-only                              -ECANCELED condition not met
 *   -ESTALE what is there is not what was seen
 *   -ETIMEDOUT another process kept the writer's lock for commit_timeout_ms (see kv_writer_pid()), or the central
 *           did not answer: nothing was changed
 *   -EIO, -ENOMEM the central failed: nothing was changed */

/* Queue a change. The store owns it until done is called, which always happens. */
void kv_submit(struct kv_store *store, struct kv_change *change);
/* The same in two steps, for who has nothing else to do until the change is done, and may hold locks while it queues
 * it: nobody begins with the change before kv_work(). That does it on this thread, if nobody else works just now, and
 * with it others that wait (one group of them); so it can take as long as a change takes, and calls their done(). */
void kv_queue(struct kv_store *store, struct kv_change *change);
void kv_work(struct kv_store *store);
/* Queue several changes of one account, which are done together or not at all: in this order, in one transaction, so
 * that each sees what those before it did. They lie one after the other; done of the last one is called, and of no
 * other.
 * done     rc 0; what the one was refused with that was refused, whose `rc` it is, and that of the others is 0; -EXDEV
 *          they are not all of one account; -EINVAL there are more than KV_BATCH_MAX; or as for a single change */
void kv_submit_all(struct kv_store *store, struct kv_change *changes, size_t count);

/* Submit and wait: for tools, and for rare requests. done is not used. */
KV_CHECKED int kv_apply(struct kv_store *store, struct kv_change *change);
KV_CHECKED int kv_apply_all(struct kv_store *store, struct kv_change *changes, size_t count);

/* Wait until everything submitted before is durable.
 * returns  0; -EIO, -ETIMEDOUT the disk has failed: what was done since the last kv_sync() that answered 0 may be lost,
 *          and after -EIO the store takes no more changes until all its users have closed it */
KV_CHECKED int kv_sync(struct kv_store *store);

/* Remove all keys that have expired by now; each is a change of its own for who follows.
 * swept     how many; set on failure, too
 * next_ns   when the next key expires, since the epoch; 0: none will. Set on success only
 * returns   0; -EROFS opened read-only; else as a change */
KV_CHECKED int kv_sweep(struct kv_store *store, uint64_t *swept, int64_t *next_ns);

/* An inode number for a key that will be put later. Numbers are leased from the central in blocks. */
KV_CHECKED int kv_new_ino(struct kv_store *store, uint64_t *out);

/* Would a value of `size` bytes at `ref` certainly pass the account's limits now? The key is taken to keep the
 * attributes that it has. Does not wait for the committer.
 * extra    bytes that others are going to add to the account: counted as growth, too
 * returns  0 no; -EDQUOT yes; other errors as kv_stat() */
KV_CHECKED int kv_quota_check(struct kv_store *store, const struct kv_ref *ref, size_t size, uint64_t extra);

/* The process that holds the writer's lock of the store now, as numbered in its own pid namespace; 0: none. Where the
 * store was opened read-only it may be one that has died since. */
pid_t kv_writer_pid(struct kv_store *store);

/* ---------------------------------------------------------------------- locks
 *
 * Advisory locks of names, as flock(2) and fcntl(2) know them. They belong to the name, whatever becomes of the
 * key, and hold between all processes that have the store open. They live in files in STORE/locks/, one for each
 * name that is in use, under open file description locks of the kernel: so they are gone with their process. Where
 * a file cannot be made (a read-only filesystem, no permission) they hold within this kv_store only.
 */
struct kv_lock; /* one owner's hold on one name */

enum kv_lock_kind { KV_LOCK_FLOCK, KV_LOCK_RANGE };

struct kv_lock_range {
    enum kv_lock_kind kind;
    int type;            /* F_RDLCK, F_WRLCK, F_UNLCK */
    uint64_t start, end; /* KV_LOCK_RANGE: the first and the last byte; INT64_MAX: to the end */
};

/* An owner of locks on a name, who has none yet. The name may be any 1 to KV_KEY_MAX bytes. The two kinds of locks do
 * not know each other.
 * returns  0 and *out, to be given back with kv_lock_close(); -EMFILE, -ENFILE, -ENOSPC, -ENOMEM, -ENOLCK, -EIO */
KV_CHECKED int kv_lock_open(struct kv_store *store, const struct kv_ref *ref, struct kv_lock **out);

/* Take, change or give back (F_UNLCK) a lock. What the owner had in the range is replaced. A KV_LOCK_FLOCK that is
 * changed is given back first, as flock(2) does it: where the other type is refused, the owner has none.
 * wait     until it is free, which a signal's handler ends
 * returns  0; -EAGAIN another owner has it; -EINTR; -ENOLCK; -EINVAL; -EIO
 * threads  any; one of an owner may wait while others call */
KV_CHECKED int kv_lock_set(struct kv_lock *lock, const struct kv_lock_range *range, bool wait);

/* Would this range be free? KV_LOCK_RANGE only. *range becomes a lock that is in the way, or F_UNLCK.
 * returns  0; -EINVAL; -EIO */
KV_CHECKED int kv_lock_test(struct kv_lock *lock, struct kv_lock_range *range);

/* Give everything back, and free. No other call of this owner may be under way. The file goes with its last owner. */
void kv_lock_close(struct kv_lock *lock);

/* --------------------------------------------------------------------- copies
 *
 * A copy is the whole store as bytes, as of one moment, without what is free or was deleted. kv_restore() makes a store
 * of it, which has all that there was: ids, versions, owners, modes, times, limits and attributes.
 */

/* Called now and then with the bytes that are done, and how many there will be, from the thread of the call. It must be
 * quick. */
struct kv_progress {
    void (*tell)(void *arg, uint64_t done, uint64_t total);
    void *arg;
};

/* Write a copy, which has every change that was done (kv_change.done) before the call began, by whatever process. It is
 * one read transaction: nobody who writes waits for it; what is freed meanwhile is not used again until it ends, so the
 * file may grow by what is overwritten in this time. All pages are looked through before the first byte is written.
 * fd        a file or a pipe, which may be one that does not block. It is not flushed. A pipe that nobody reads is
 *           -EPIPE, and no signal
 * progress  may be NULL
 * bytes     how many were written; set on failure, too
 * error     filled on failure, without the name of the store
 * returns   0; -EOPNOTSUPP this central cannot be copied; -EIO it is damaged; -ENOSPC, -EPIPE and other errnos of
 *           write(): what was written is no copy; -ETIMEDOUT, -ENOMEM */
KV_CHECKED int kv_copy(struct kv_store *store, int fd, const struct kv_progress *progress, uint64_t *bytes,
                       struct kv_error *error);

/* Writes the bytes of a copy to an empty file. error  to be filled on failure. returns 0; a negative errno */
typedef int kv_fill(void *arg, int fd, struct kv_error *error);

struct kv_restore_options {
    bool foreign_store; /* as in kv_options */
    bool small_log;     /* it is to be kept, not worked in: the log is 1 MiB, and not up to 16 */
    kv_fill *fill;
    void *arg;
};

/* Make a store of a copy, in a directory that is new or empty. What fill() gives is looked through to its last page.
 * The store is the user's, mode 0700 and 0600 whatever the umask is, and on the disk when this returns. Until then
 * there is none: also what is killed leaves none, but perhaps files of which the next kv_restore() or kv_open() makes
 * its own. The records in the pages are not looked at: see kv_check(). A place of kv_follow() in the store that was
 * copied is none in this one.
 * error     filled on failure
 * returns   0; -EEXIST there is a store; -ENOTEMPTY there are other things; -EIO it is no copy, or damaged, or cut off;
 *           -ENOSPC; what fill() answered; else as kv_open()
 * threads   any */
KV_CHECKED int kv_restore(const char *dir, const struct kv_restore_options *options, struct kv_error *error);

/* Remove the files of a store that nobody has open, or what a kv_restore() left that was killed; the directory stays.
 * returns  0, also where there are none; -EBUSY it is open; -ENOTEMPTY the directory holds other things, too, and
 *          -EPERM it is another user's: nothing was removed; another negative errno */
KV_CHECKED int kv_discard(const char *dir);

/* Give back the space that the store does not need. This process becomes its only user, until kv_close(), which is all
 * that may be called afterwards. What is killed leaves the store as it was or compacted, and whole.
 * before, after  bytes that the database needs; beyond them the store reserves some
 * error          filled on failure, without the name of the store
 * returns        0, and it is on the disk; -EBUSY others have the store open: the error tells who; -EROFS; -EOPNOTSUPP
 *                this central cannot; -ENOSPC, -EIO, -ETIMEDOUT, -ENOMEM the store is as it was */
KV_CHECKED int kv_compact(struct kv_store *store, const struct kv_progress *progress, uint64_t *before,
                          uint64_t *after, struct kv_error *error);

/* ----------------------------------------------------------------- simple forms
 * For tools: one blocking call each. Attributes of new objects are mode 0666 or 0777 less the umask
 * (0700 for accounts), owned by the effective user. */
KV_CHECKED int kv_put(struct kv_store *store, const struct kv_ref *ref, const void *bytes, size_t size);
KV_CHECKED int kv_delete(struct kv_store *store, const struct kv_ref *ref);
KV_CHECKED int kv_node_make(struct kv_store *store, enum kv_node_kind kind, uint64_t parent, const char *name,
                            uint64_t target, struct kv_node *out);
KV_CHECKED int kv_node_remove(struct kv_store *store, uint64_t parent, const char *name);

/* ------------------------------------------------------------------ statistics */

/* Latency histogram: bucket i counts durations below (1 << i) microseconds, the last one all others. */
#define KV_HISTOGRAM_BUCKETS 25
struct kv_histogram {
    uint64_t count, sum_us;
    uint64_t bucket[KV_HISTOGRAM_BUCKETS];
};

/* What the storage says of itself. What it does not know is 0. */
struct kv_storage {
    uint64_t used_bytes, limit_bytes; /* of the database: up to its last page in use, and the most that can be */
    uint64_t free_bytes;              /* of used_bytes, at least: pages that nothing is in */
    uint64_t log_bytes,
        log_limit_bytes;       /* of the log: what came after the newest checkpoint, and all that it takes */
    int64_t checkpoint_age_ms; /* since the newest checkpoint, or since the first process opened the store */
    bool failed;               /* a flush has failed, or the files were taken away: no change is taken any more */
};

struct kv_stats {
    uint32_t format; /* version of the store's */
    uint64_t cache_hits, cache_misses, cache_expired, cache_evictions, cache_bytes, cache_entries;
    uint64_t central_reads, central_writes, commits, commit_failures;
    struct kv_histogram get, put, commit;
    uint64_t value_bytes, spilled_bytes; /* of all live kv_values of the process */
    uint64_t queue_changes;              /* of this kv_store: submitted and not done */
    int64_t queue_age_ms;                /* of the oldest of them; 0: there is none */
    struct kv_storage storage;
};

/* A snapshot; counters only grow while the store is open. It waits for no commit, and takes a bounded time. */
void kv_stats(struct kv_store *store, struct kv_stats *out);

/* -------------------------------------------------------------------- presence
 *
 * Processes tell each other what they have the store open for. What one of them says is in a file of STORE/mounts/,
 * under a lock of the kernel, and so it is gone with its process. */
#define KV_ANNOUNCEMENT_MAX 16384 /* bytes */

/* Tell the others, until kv_close(). At most once for a kv_store.
 * text     copied; for kv_announced()
 * returns  0; -EROFS, -EACCES no file can be made there; -EOPNOTSUPP the store lies in no directory; -EFBIG the text is
 *          too long; -ENOSPC; another negative errno */
KV_CHECKED int kv_announce(struct kv_store *store, const char *text);

/* Visit what processes say that have the store open now, in no order.
 * visit    its text is borrowed; it answers 0 to go on
 * returns  0; visit's answer where that is not 0; -EACCES; -ENOMEM; another negative errno */
typedef int kv_announced_visit(void *arg, const char *text);
KV_CHECKED int kv_announced(struct kv_store *store, kv_announced_visit *visit, void *arg);

/* -------------------------------------------------------------------- checking
 *
 * A check reads everything that the central keeps, as of one moment, and tells what is not as it must be. It
 * may run while the store is in use, and then never takes a change under way for damage. Its one
 * read transaction pins what is freed meanwhile: the file may grow by what is overwritten in this time. It takes
 * 24 bytes of memory for a key and about 400 for a node.
 */
struct kv_finding {
    /* database, format, counter, node, name, count, limit, binding, key, expiry, value, chunk, number: see check.h */
    const char *kind;
    const char *where; /* ACCOUNT/NAMESPACE/KEY, or what comes nearest */
    const char *what;  /* in words */
    bool repairable;   /* by a repair, without a loss */
};

struct kv_check_options {
    bool fast;   /* leave out the values' bytes, so that what takes long is not read */
    bool repair; /* mend what is repairable, and what becomes so thereby; what one look finds in one transaction */
    /* Called for each finding within the read transaction: it must be quick and must not call the store. The
     * finding is borrowed. May be NULL. */
    void (*found)(void *arg, const struct kv_finding *finding);
    void *arg;
};

struct kv_check_report {
    uint64_t keys, bytes, nodes, chunks; /* that are there; bytes: of keys, values and attributes */
    uint64_t findings, repaired;
};

/* Check the whole store. A database that cannot be read to its end is a finding, too; then, and where ids are in
 * use that no store ever counts up to, nothing is repaired.
 * A repair makes this process the store's only user until kv_close(); the caches of the store are not told of it.
 * returns  0 whatever was found; -EBUSY a repair, and others have the store open; -EROFS a repair, and it was
 *          opened read-only; -ENOSPC, -EIO what one look found could not be repaired: nothing of it was changed;
 *          -ENOMEM, -ETIMEDOUT */
KV_CHECKED int kv_check(struct kv_store *store, const struct kv_check_options *options,
                        struct kv_check_report *report);

#endif
