#include "store/commit/lines_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

#define GROUP_CHANGES 1024
#define GROUP_BYTES ((size_t)8 << 20)
#define LARGE ((size_t)1 << 20)

struct line {
    uint64_t account;
    struct kv_change *head, **tail;
    struct line *prev, *next; /* in turn */
    UT_hash_handle hh;        /* by account */
};

/* ---------------------------------------------------------------------------- groups */

static size_t change_weight(const struct kv_change *change)
{
    return change->kind == KV_PUT ? change->value->size : 0;
}

void group_clear(struct group *group)
{
    *group = (struct group){.head = NULL};
    group->tail = &group->head;
}

void group_add(struct group *group, struct kv_change *change)
{
    change->next = NULL;
    *group->tail = change;
    group->tail = &change->next;
    group->changes++;
    group->bytes += change_weight(change);
}

void group_append(struct group *group, const struct group *more)
{
    if (more->head == NULL)
        return;
    *group->tail = more->head;
    group->tail = more->tail;
    group->changes += more->changes;
    group->bytes += more->bytes;
}

void group_call_off(struct kv_change *change, size_t count)
{
    struct kv_change *first = change;
    int rc = 0;

    for (size_t i = 0; i < count; i++, change = change->next) {
        if (rc == 0)
            rc = change->rc;
        else
            change->rc = 0;
    }
    for (size_t i = 0; i < count; i++, first = first->next)
        first->verdict = rc;
}

/* ----------------------------------------------------------------------------- lines */

int lines_put(struct lines *lines, struct kv_change *change)
{
    struct line *line;

    HASH_FIND(hh, lines->by_account, &change->account, sizeof(change->account), line);
    if (line == NULL) {
        line = calloc(1, sizeof(*line));
        if (line == NULL)
            return -ENOMEM;
        line->account = change->account;
        line->tail = &line->head;
        HASH_ADD(hh, lines->by_account, account, sizeof(line->account), line);
        DL_APPEND(lines->first, line);
    }
    change->next = NULL;
    *line->tail = change;
    line->tail = &change->next;
    lines->changes++;
    return 0;
}

/* Take the first change off a line. Where it was the last one the line goes, else it is the last in turn. */
static struct kv_change *lines_take_first(struct lines *lines, struct line *line)
{
    struct kv_change *change = line->head;

    line->head = change->next;
    lines->changes--;
    DL_DELETE(lines->first, line);
    if (line->head == NULL) {
        HASH_DEL(lines->by_account, line);
        free(line);
    } else {
        DL_APPEND(lines->first, line);
    }
    return change;
}

/* Its first change takes no others of other lines along: it is large, or a batch. */
static bool line_stands_alone(const struct line *line)
{
    return line->head->batch != NULL || change_weight(line->head) > LARGE;
}

static void lines_take_batch(struct lines *lines, struct group *out)
{
    struct kv_change *change = lines_take_first(lines, lines->first);

    out->whole = true;
    for (; change != NULL; change = change->batch)
        group_add(out, change);
}

/* Take from one line only, which begins with a large change. */
static void lines_take_large(struct lines *lines, struct group *out)
{
    struct line *line = lines->first;
    bool last;

    do {
        last = line->head->next == NULL;
        group_add(out, lines_take_first(lines, line));
    } while (!last && line->head->batch == NULL && out->changes < GROUP_CHANGES &&
             out->bytes + change_weight(line->head) <= GROUP_BYTES);
}

/* Take a change of each line in turn; lines whose first one stands alone stay the first. */
static void lines_take_small(struct lines *lines, struct group *out)
{
    struct line *skipped = NULL, *line;

    while ((line = lines->first) != NULL && out->changes < GROUP_CHANGES && out->bytes < GROUP_BYTES) {
        if (line_stands_alone(line)) {
            DL_DELETE(lines->first, line);
            DL_APPEND(skipped, line);
        } else {
            group_add(out, lines_take_first(lines, line));
        }
    }
    DL_CONCAT(skipped, lines->first);
    lines->first = skipped;
}

void lines_take(struct lines *lines, struct group *out)
{
    const struct line *line = lines->first;

    group_clear(out);
    if (line == NULL)
        return;
    if (line->head->batch != NULL)
        lines_take_batch(lines, out);
    else if (line_stands_alone(line))
        lines_take_large(lines, out);
    else
        lines_take_small(lines, out);
}

uint64_t lines_oldest(const struct lines *lines)
{
    uint64_t oldest = UINT64_MAX;
    const struct line *line;

    DL_FOREACH(lines->first, line)
        oldest = line->head->seq < oldest ? line->head->seq : oldest;
    return oldest;
}

int64_t lines_oldest_ns(const struct lines *lines)
{
    int64_t oldest = INT64_MAX;
    const struct line *line;

    DL_FOREACH(lines->first, line)
        oldest = line->head->submitted_ns < oldest ? line->head->submitted_ns : oldest;
    return oldest;
}
