/* kvctl: many changes under way together, so that they share commits.
 *
 * The caller takes a slot, fills in its change and submits it. Verdicts are given on the caller's own thread, within
 * window_take() and window_finish(): so they may print, and ask the store. */
#ifndef KVFS_TOOLS_KVCTL_WINDOW_H
#define KVFS_TOOLS_KVCTL_WINDOW_H

#include "tools/kvctl/common.h"

#include <pthread.h>

struct window;

struct window_slot {
    struct kv_change change;
    uint64_t number;         /* the caller's: a line, say */
    struct kv_xattrs xattrs; /* the caller's: room for those of the change */
    /* private */
    int rc;
    struct window *window;
    struct window_slot *next; /* of those that are free, or done */
};

/* What became of a change. Its value is given back afterwards. */
typedef void window_verdict(void *arg, struct window_slot *slot, int rc);

struct window {
    struct kv_store *store;
    window_verdict *verdict;
    void *arg;
    /* private */
    pthread_mutex_t lock;
    pthread_cond_t told;
    size_t slots, under_way, bytes;
    struct window_slot *done, **done_tail, *free;
};

void window_init(struct window *window, struct kv_store *store, window_verdict *verdict, void *arg);

/* A slot with a zeroed change. Waits while as much is under way as may be.
 * returns  it; NULL: no memory */
struct window_slot *window_take(struct window *window);
/* Submit the slot's change, whose value becomes the window's. */
void window_submit(struct window *window, struct window_slot *slot);
/* Give a slot back that is not going to be submitted, and its value. */
void window_return(struct window *window, struct window_slot *slot);

/* Wait for all that is under way. */
void window_drain(struct window *window);
/* The same, and free everything. */
void window_finish(struct window *window);

#endif
