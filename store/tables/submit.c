/* A group of changes in one transaction: the rules do each of them, or refuse it. */
#include "store/tables/tables_internal.h"

#include "store/rules/apply.h"

#include <errno.h>

/* returns  0; -EAGAIN one was refused, and the group is `whole`; <0 the transaction is broken */
static int submit_apply(struct tx *tx, struct backend_submit *submit)
{
    struct kv_change *change = submit->changes;

    for (size_t i = 0; i < submit->count; i++, change = change->next) {
        change->rc = apply(tx, change);
        if (tx->broken)
            return change->rc < 0 ? change->rc : -EIO;
        if (submit->whole && change->rc < 0)
            return -EAGAIN;
    }
    return tx_flush(tx);
}

static int submit_run(struct engine *engine, struct backend_submit *submit)
{
    struct tx *tx;
    int rc = tx_begin(engine, submit->clock->real_ns(submit->clock->arg), &tx);

    if (rc < 0)
        return rc;
    rc = submit_apply(tx, submit);
    if (rc < 0) {
        tx_abort(tx);
        return rc;
    }
    rc = tx_commit(tx);
    submit->unsure = rc < 0 && rc != -ENOSPC;
    return rc;
}

int tables_submit(struct engine *engine, struct backend_submit *submit)
{
    int rc = engine_acquire(engine, submit->call.timeout_ns);

    submit->unsure = false;
    if (rc < 0)
        return rc;
    rc = submit_run(engine, submit);
    engine_release(engine);
    return rc;
}
