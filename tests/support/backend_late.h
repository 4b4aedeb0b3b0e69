/* A backend around another one that answers later, from a thread of its own, or not in time: as one over a network
 * does. */
#ifndef KVFS_TESTS_SUPPORT_BACKEND_LATE_H
#define KVFS_TESTS_SUPPORT_BACKEND_LATE_H

#include "store/backend.h"

/* `inner` is its own from here on. returns 0 and *out; -ENOMEM */
KV_CHECKED int backend_late_new(struct backend *inner, struct backend **out);
/* Let calls of this kind wait until hold is false, or their time is over. */
void backend_late_hold(struct backend *backend, enum backend_kind kind, bool hold);
/* Wait until that many calls of this kind wait. */
void backend_late_await(struct backend *backend, enum backend_kind kind, unsigned calls);

#endif
