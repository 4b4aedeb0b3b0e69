/* Waiting for one answer that another thread may give, or that was given already. */
#ifndef KVFS_STORE_WAITER_H
#define KVFS_STORE_WAITER_H

#include <semaphore.h>

struct waiter {
    sem_t told;
    int rc;
};

/* Before anybody may tell. */
static inline void waiter_begin(struct waiter *waiter) { sem_init(&waiter->told, 0, 0); }

/* Give the answer, once. The waiter may be gone when this returns. */
static inline void waiter_tell(struct waiter *waiter, int rc)
{
    waiter->rc = rc;
    sem_post(&waiter->told);
}

/* Wait for it; signals' handlers do not end that. returns  the answer */
static inline int waiter_end(struct waiter *waiter)
{
    while (sem_wait(&waiter->told) != 0)
        ;
    sem_destroy(&waiter->told);
    return waiter->rc;
}

#endif
