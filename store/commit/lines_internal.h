/* The lines of changes that wait, one for each account, and the groups that are taken from them.
 *
 * Not safe from threads: the queue's lock is held for every call. */
#ifndef KVFS_STORE_COMMIT_LINES_INTERNAL_H
#define KVFS_STORE_COMMIT_LINES_INTERNAL_H

#include "store/kv.h"

struct line;

struct lines {
    struct line *first;      /* of those that are not empty: the next group begins with it */
    struct line *by_account; /* the same */
    size_t changes;          /* that wait; a batch is one */
};

struct group {
    struct kv_change *head, **tail;
    size_t changes, bytes;
    bool whole; /* one batch */
};

void group_clear(struct group *group);
void group_add(struct group *group, struct kv_change *change);
/* Put what is in `more` behind it. */
void group_append(struct group *group, const struct group *more);
/* A batch ends with the answer of the one of its changes that was refused; the others keep 0 as their own. */
void group_call_off(struct kv_change *change, size_t count);

/* Put a change, or with its `batch` several, at the end of change->account's line. returns 0; -ENOMEM */
KV_CHECKED int lines_put(struct lines *lines, struct kv_change *change);
/* Take the next group; an empty one where nothing waits. */
void lines_take(struct lines *lines, struct group *out);
/* The lowest number (seq) of those that wait; UINT64_MAX where none does. */
uint64_t lines_oldest(const struct lines *lines);
/* When the oldest of them was submitted; INT64_MAX where none waits. */
int64_t lines_oldest_ns(const struct lines *lines);

#endif
