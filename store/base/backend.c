#include "store/backend.h"

#include <semaphore.h>

struct backend_waiter {
    sem_t done;
    int rc;
};

static void backend_wake_waiter(struct backend_call *call, int rc)
{
    struct backend_waiter *waiter = call->arg;

    waiter->rc = rc;
    sem_post(&waiter->done);
}

int backend_run(struct backend *backend, struct backend_call *call)
{
    struct backend_waiter waiter = {.rc = 0};

    sem_init(&waiter.done, 0, 0);
    call->done = backend_wake_waiter;
    call->arg = &waiter;
    backend->ops->start(backend, call);
    while (sem_wait(&waiter.done) != 0) /* EINTR */
        ;
    sem_destroy(&waiter.done);
    return waiter.rc;
}
