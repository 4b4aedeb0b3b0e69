/* Private to the check: what its parts share.
 *
 *   check.c   the course of a check, findings, the counter
 *   tree.c    nodes, names, the tree above the keys, counts
 *   keys.c    keys, values, chunks, numbers
 *   repair.c  mending what was noted
 *
 * A check goes through the tables once each, within one read transaction, and builds what it needs to judge:
 * every node, and the inode numbers, versions and chunks of all keys. What can be mended is noted on the
 * way, and is done afterwards, in one write transaction. Then it begins anew, until there is nothing more to mend.
 *
 * Kinds of findings, and what a repair does with them
 *   database  the engine's own structures, or a table that cannot be read to its end: the check ends there
 *   format    the record of the format is damaged; a setting that no store has: removed
 *   counter   next_id is missing, or not above all numbers in use: raised
 *   node      its record is damaged or missing; its parent cannot have it; an account without .projects: made anew
 *   name      an entry that is damaged, or leads nowhere or to a node of another name: removed, unless it may be the
 *             one of a damaged node. A node that no entry leads to gets its name back, where that is free
 *   count     keys, bytes, children or bindings of a node are not those of a recount (record_count_key()): set to
 *             it. Where there are damaged keys, more bytes than the recount's can be right
 *   limit     of an account: beyond what anything can reach
 *   binding   its namespace does not exist, or is another account's: removed
 *   key       its record is damaged, or its namespace does not exist
 *   expiry    the index of keys by expiry lacks a key that has one: added; or has an entry that no key has: removed
 *   value     it is not what was put: it reads as EIO, and can be put anew or deleted
 *   chunk     a part of a value that no key has: removed, unless the key may be one of those that cannot be read
 *   number    an inode number or version that two have, or that no counter gave out: a key gets another inode
 *             number
 *
 * A record is damaged where its seal is broken: a bit of it, or of the name that it is kept under, is not what it was.
 * Nothing that holds something of the user's is removed: damaged keys, values and nodes stay for the user to
 * decide. Where they make a sum unknowable, that stays, too.
 */
#ifndef KVFS_STORE_CHECK_H
#define KVFS_STORE_CHECK_H

#include "store/base/name.h"
#include "store/base/record.h"

#include <uthash.h>

#define CHECK_DEPTH_MAX 5                      /* of a binding, and one more */
#define CHECK_ID_MAX ((uint64_t)INT64_MAX)     /* beyond is damage, not a number that was counted up to */
#define CHECK_ID_REPAIRABLE (CHECK_ID_MAX / 2) /* up to here there are ids for all that a repair makes anew */

struct check_sums {
    uint64_t keys, bytes;
    bool damaged; /* there are keys that do not tell their size, and count as 0 bytes */
};

struct check_node {
    struct kv_node node; /* of a damaged one: id and, where an entry leads to it, parent and name */
    bool damaged;
    bool lost;         /* damaged: there is no record at all */
    bool named;        /* the entry of its name leads to it */
    bool has_projects; /* an account */

    struct check_sums own; /* of the keys in it */
    struct check_sums all; /* of the keys below it */
    uint64_t children, bindings;

    /* For the repair. */
    bool drop, link, add_projects;
    uint64_t dropped_children, dropped_bindings;
    UT_hash_handle hh; /* by node.id */
};

struct check_value {
    uint64_t version;
    uint32_t chunks;
};

/* Names of records, one after the other. */
struct check_records {
    uint8_t *bytes;
    size_t size, capacity;
};

/* An entry of ENGINE_NAMES that does not lead to the node of this name. */
struct check_entry {
    struct name name;
    bool malformed;
    uint64_t id; /* that it leads to, unless malformed */
};

struct check {
    struct engine_txn *txn;
    const struct kv_check_options *options;
    struct kv_check_report report;
    bool again;      /* a repair came before: what cannot be repaired was told */
    bool unreadable; /* there was a finding of the kind `database` */
    bool no_ids;     /* numbers are in use from which a repair cannot count on */
    uint64_t repairable;

    struct check_node *nodes;
    struct check_entry *entries; /* the bad ones */
    size_t entries_count, entries_capacity;
    bool nameless; /* there are damaged nodes that no entry leads to */
    bool unbound;  /* there are projects or bindings of which it is unknown whose they are */
    bool astray;   /* there are keys of which it is unknown whose they are */

    uint64_t *inos; /* of nodes and keys */
    size_t inos_count, inos_capacity;
    struct check_value *values; /* of all keys; sorted by version once all are known */
    size_t values_count, values_capacity;
    uint64_t highest; /* of all numbers */
    bool lost_values; /* there are keys that do not tell their version */
    uint8_t *value;   /* the one that is being looked at */
    size_t value_room;
    uint64_t no_namespace, no_namespace_keys; /* an id that keys are kept under, and how many so far */
    struct {
        uint64_t version, count, bytes;
    } orphans; /* chunks of one value, which nobody has */

    struct check_records drop_chunks, drop_names, drop_settings, drop_expiries; /* for the repair */
    struct check_records renumber, add_expiries;                                /* keys */
    bool raise_next_id;
};

/* Where something is, for messages. */
struct check_place {
    char text[2 * KV_KEY_MAX];
};

/* ------------------------------------------------------------------------ check.c */

/* Tell a finding. Bytes that are no ASCII text are shown as '?'. */
__attribute__((format(printf, 5, 6))) void check_found(struct check *check, const char *kind, bool repairable,
                                                       const char *where, const char *format, ...);
struct check_place check_place_node(struct check *check, uint64_t id);
struct check_place check_place_key(struct check *check, uint64_t namespace_id, const char *key);

struct check_node *check_find(struct check *check, uint64_t id);

/* Visit the records of a table from `from` on. Answers 0 also where the table cannot be read to its end, which
 * is told as a finding. */
KV_CHECKED int check_scan(struct check *check, enum engine_table table, struct slice from, engine_visit *visit);

/* Make room for one more item. returns 0; -ENOMEM */
KV_CHECKED int check_grow(void **items, size_t count, size_t *capacity, size_t size);
KV_CHECKED int check_note_record(struct check_records *records, struct slice name);
/* Step through the names. *pos starts at 0. returns  true and the next one; false at the end */
bool check_next_record(const struct check_records *records, size_t *pos, struct slice *name);
/* A number that is in use. returns 0; -ENOMEM */
KV_CHECKED int check_note_ino(struct check *check, uint64_t ino);
void check_note_number(struct check *check, uint64_t number);

/* The counter of ids. returns 0; 1 it is missing or damaged; else as the engine's get() */
KV_CHECKED int check_read_counter(struct engine_txn *txn, uint64_t *next_id);

/* ------------------------------------------------------------------- tree.c */

KV_CHECKED int check_nodes(struct check *check);
KV_CHECKED int check_names(struct check *check);
KV_CHECKED int check_tree(struct check *check);
KV_CHECKED int check_counts(struct check *check);

/* ------------------------------------------------------------------- keys.c */

KV_CHECKED int check_keys(struct check *check);
KV_CHECKED int check_chunks(struct check *check);
KV_CHECKED int check_numbers(struct check *check);

/* ----------------------------------------------------------------- repair.c */

/* Mend what was noted. The check's own transaction has ended. returns 0; what the engine answered: nothing was
 * changed */
KV_CHECKED int check_repair(struct check *check, struct engine *engine, int64_t now_ns);

/* What a repair needs beside the engine. */
struct check_means {
    int64_t now_ns;  /* since the epoch */
    int64_t wait_ns; /* the longest wait for the right to write */
};
/* As kv_check(). */
KV_CHECKED int check_engine(struct engine *engine, const struct check_means *means,
                            const struct kv_check_options *options, struct kv_check_report *report);

#endif
