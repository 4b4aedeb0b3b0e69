/* A write transaction over the engine: records by name, nodes kept decoded, ids.
 *
 * A group of changes shares one transaction, and each must succeed or fail
 * alone. So a change first reads and checks all that it needs, and only then
 * writes; a refusal leaves nothing to undo. When the engine itself fails (disk
 * full, I/O error), the transaction is `broken`: it can only be aborted, and the
 * committer runs each of its changes in a transaction of its own.
 *
 * Nodes that the group touches are decoded once and written once, at the
 * commit: their counts change with every put. Invariants that hold at a commit:
 *   - keys and bytes of a namespace are the number of its keys and the sum of what
 *     they are charged with (record_count_key()); an account's are the sums over its
 *     namespaces, the root's the sums over its accounts;
 *   - children is the number of the node's entries in ENGINE_NAMES (an account's
 *     ".projects" is not counted); bindings of an account is the number of its projects
 *     and bindings;
 *   - ids, inode numbers and versions come from one counter, so none is used twice.
 */
#ifndef KVFS_STORE_TX_H
#define KVFS_STORE_TX_H

#include "store/base/name.h"
#include "store/base/record.h"

#include <uthash.h>

/* In ENGINE_META: the counter (record_encode_number()), and the format. */
#define TX_NEXT_ID "next_id"
#define TX_FORMAT "format"
#define TX_FIRST_ID 1024u /* ids below are the root's and the mount's own files' */

struct tx {
    struct engine_txn *txn;
    int64_t now_ns; /* the time of the changes, since the epoch */
    uint64_t next_id;
    bool next_id_dirty;
    bool broken;
    struct tx_node *nodes;
};

/* A decoded node; owned by the transaction. Whoever changes it sets `dirty`. */
struct tx_node {
    struct kv_node node;
    struct kv_xattrs xattrs;
    bool dirty;
    UT_hash_handle hh; /* by node.id */
};

/* Begin without a look at the counter, which a store has only once it has a format. Errors as the engine's begin() */
KV_CHECKED int tx_begin_bare(struct engine *engine, int64_t now_ns, struct tx **out);
/* Begin. returns 0 and *out, to be ended by tx_commit() or tx_abort(); else as the engine's begin() */
KV_CHECKED int tx_begin(struct engine *engine, int64_t now_ns, struct tx **out);
/* Write what the commit would write first, the nodes and the counter, so that a failure is known to be none of the
 * commit's. On failure the transaction can only be aborted. */
KV_CHECKED int tx_flush(struct tx *tx);
/* End; both consume it. A commit that answers 0 is durable. */
KV_CHECKED int tx_commit(struct tx *tx);
void tx_abort(struct tx *tx);

/* Write what a new store begins with, or check what an old one has: the format and the root.
 * wait_ns  the longest wait for the right to write it
 * version  set also on failure, where it could be read
 * returns  0; -EPROTONOSUPPORT a format that this program does not know; -EIO damaged, or nothing there
 *          and `create` is false; -ETIMEDOUT */
KV_CHECKED int tx_format(struct engine *engine, int64_t now_ns, bool create, int64_t wait_ns, uint32_t *version);
/* The version in the record of the format. returns  0; -EPROTONOSUPPORT, with the version; -EIO damaged */
KV_CHECKED int tx_format_decode(struct slice record, uint32_t *version);
/* What a format that this program does not know is, and what to do, in words: "the store has format N, ..." */
const char *tx_format_advice(uint32_t version);

/* Records. As the engine's, but a failure other than -ENOENT breaks the transaction. */
KV_CHECKED int tx_get(struct tx *tx, enum engine_table table, const struct name *name, struct slice *out);
KV_CHECKED int tx_put(struct tx *tx, enum engine_table table, const struct name *name, struct slice value);
KV_CHECKED int tx_del(struct tx *tx, enum engine_table table, const struct name *name);
KV_CHECKED int tx_scan(struct tx *tx, enum engine_table table, const struct name *from, engine_visit *visit,
                       void *arg);
/* May the transaction grow by `bytes` more, in records of at most `part` bytes? returns 0; -ENOSPC */
KV_CHECKED int tx_room(struct tx *tx, uint64_t bytes, size_t part);

/* What was written so far does not hold together: the store is damaged. Breaks the transaction; answers -EIO. */
KV_CHECKED int tx_damaged(struct tx *tx);

/* A number that was never used. */
uint64_t tx_new_id(struct tx *tx);
/* `count` of them; answers the first. */
uint64_t tx_reserve_ids(struct tx *tx, uint64_t count);

/* The node with this id [of this kind], or with this name. returns 0; -ENOENT; -EIO */
KV_CHECKED int tx_node_get(struct tx *tx, uint64_t id, struct tx_node **out);
KV_CHECKED int tx_node_of_kind(struct tx *tx, uint64_t id, enum kv_node_kind kind, struct tx_node **out);
KV_CHECKED int tx_node_child(struct tx *tx, uint64_t parent, const char *name, struct tx_node **out);

/* The node that this one lies in. returns 0; -EIO */
KV_CHECKED int tx_node_parent(struct tx *tx, const struct tx_node *node, struct tx_node **out);

/* Ids of a node's children. *ids is to be freed by the caller. */
KV_CHECKED int tx_node_children(struct tx *tx, uint64_t parent, uint64_t **ids, size_t *count);

/* Add a node with its name under its parent; the parent is left to the caller. */
KV_CHECKED int tx_node_add(struct tx *tx, const struct kv_node *node);
/* Remove a node and its name; it is freed. */
KV_CHECKED int tx_node_drop(struct tx *tx, struct tx_node *node);
/* Take the node's name away, or give it the name that is in it now. */
KV_CHECKED int tx_node_unlink(struct tx *tx, const struct kv_node *node);
KV_CHECKED int tx_node_link(struct tx *tx, const struct kv_node *node);
/* What is in the node changed now. */
void tx_node_touch(struct tx *tx, struct tx_node *node);

#endif
