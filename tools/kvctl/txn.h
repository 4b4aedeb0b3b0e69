/* kvctl txn: what its parts share. */
#ifndef KVFS_TOOLS_KVCTL_TXN_H
#define KVFS_TOOLS_KVCTL_TXN_H

#include "tools/kvctl/bulk.h"

/* An operation, as it was read. Nothing was looked up in the store yet. */
struct txn_op {
    const struct ctl_command *command; /* of txn_commands */
    uint64_t line;
    char *text;           /* the words, of which `path` and `to` are some; free() it */
    struct ctl_path path; /* the key */
    struct ctl_path to;   /* of a rename */
    struct kv_xattrs *xattrs;
    struct kv_change change; /* without its references; the value and xattrs are this operation's */
};

struct txn {
    struct ctl_request *request;
    struct bulk_input input;
    struct txn_op *ops;
    size_t count, capacity;
};

extern const char txn_help[];

/* The operations, in the form of commands: what their options and arguments are. */
extern const struct ctl_command txn_commands[];
/* One of them, by its name or an alias. NULL: there is none, and it was said. */
const struct ctl_command *txn_find_command(const char *word);

/* The kind of change that it makes. */
enum kv_change_kind txn_kind(const struct ctl_command *command);

/* Read the next operation into *op, which is zeroed. Return a status, and with CTL_OK whether there was one; what is
 * wrong was said. */
KV_CHECKED int txn_read_words(struct txn *txn, struct txn_op *op, bool *read);
KV_CHECKED int txn_read_json(struct txn *txn, struct txn_op *op, bool *read);

#endif
