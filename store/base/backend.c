#include "store/backend.h"

#include "store/base/waiter.h"

static void backend_tell(struct backend_call *call, int rc) { waiter_tell(call->arg, rc); }

int backend_run(struct backend *backend, struct backend_call *call)
{
    struct waiter waiter;

    waiter_begin(&waiter);
    call->done = backend_tell;
    call->arg = &waiter;
    backend->ops->start(backend, call);
    return waiter_end(&waiter);
}
