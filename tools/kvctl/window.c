#include "tools/kvctl/window.h"

#include <stdlib.h>

/* Four full transactions of the store: one is written, one is made durable, and two wait. */
enum { WINDOW_SLOTS = 4096 };
#define WINDOW_BYTES ((size_t)64 << 20)

void window_init(struct window *window, struct kv_store *store, window_verdict *verdict, void *arg)
{
    *window = (struct window){.store = store,
                              .verdict = verdict,
                              .arg = arg,
                              .lock = PTHREAD_MUTEX_INITIALIZER,
                              .told = PTHREAD_COND_INITIALIZER};
    window->done_tail = &window->done;
}

static size_t window_weight(const struct window_slot *slot)
{
    return slot->change.value != NULL ? slot->change.value->size : 0;
}

static void window_done(struct kv_change *change, int rc)
{
    struct window_slot *slot = change->arg;
    struct window *window = slot->window;

    pthread_mutex_lock(&window->lock);
    slot->rc = rc;
    slot->next = NULL;
    *window->done_tail = slot;
    window->done_tail = &slot->next;
    pthread_cond_signal(&window->told);
    pthread_mutex_unlock(&window->lock);
}

void window_return(struct window *window, struct window_slot *slot)
{
    kv_value_unref(slot->change.value);
    slot->change.value = NULL;
    slot->next = window->free;
    window->free = slot;
}

/* Give the verdicts that are there. With `wait`, wait for one. */
static void window_collect(struct window *window, bool wait)
{
    struct window_slot *slot, *next;

    pthread_mutex_lock(&window->lock);
    while (wait && window->done == NULL)
        pthread_cond_wait(&window->told, &window->lock);
    slot = window->done;
    window->done = NULL;
    window->done_tail = &window->done;
    pthread_mutex_unlock(&window->lock);

    for (; slot != NULL; slot = next) {
        next = slot->next;
        window->under_way--;
        window->bytes -= window_weight(slot);
        window->verdict(window->arg, slot, slot->rc);
        window_return(window, slot);
    }
}

struct window_slot *window_take(struct window *window)
{
    struct window_slot *slot;

    window_collect(window, false);
    while (window->under_way >= WINDOW_SLOTS || (window->under_way > 0 && window->bytes >= WINDOW_BYTES))
        window_collect(window, true);
    slot = window->free;
    if (slot != NULL)
        window->free = slot->next;
    else
        slot = malloc(sizeof(*slot));
    if (slot != NULL) {
        slot->change = (struct kv_change){.flags = 0};
    }
    return slot;
}

void window_submit(struct window *window, struct window_slot *slot)
{
    slot->window = window;
    slot->change.done = window_done;
    slot->change.arg = slot;
    window->under_way++;
    window->bytes += window_weight(slot);
    kv_submit(window->store, &slot->change);
}

void window_drain(struct window *window)
{
    while (window->under_way > 0)
        window_collect(window, true);
}

void window_finish(struct window *window)
{
    struct window_slot *slot;

    window_drain(window);
    while ((slot = window->free) != NULL) {
        window->free = slot->next;
        free(slot);
    }
}
