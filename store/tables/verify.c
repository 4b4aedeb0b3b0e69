/* The format of a store, and a look for damage below the records. */
#include "store/tables/tables_internal.h"

#include "store/rules/tx.h"

#include <errno.h>
#include <stdio.h>

#define BEGINS_MAX 100 /* that commits of others overtake */

int tables_format(struct engine *engine, struct backend_format *format)
{
    int rc = tx_format(engine, format->now_ns, format->create, format->call.timeout_ns, &format->version);

    if (rc == -EPROTONOSUPPORT)
        format->advice = tx_format_advice(format->version);
    return rc;
}

static void verify_keep_first(void *arg, const char *what)
{
    struct backend_verify *verify = arg;

    if (verify->first[0] == '\0')
        snprintf(verify->first, sizeof(verify->first), "%s", what);
}

int tables_verify(struct engine *engine, struct backend_verify *verify)
{
    struct engine_txn *txn;
    int rc = engine->ops->verify != NULL ? -EAGAIN : 0;

    verify->first[0] = '\0';
    for (int begins = 0; rc == -EAGAIN && begins < BEGINS_MAX; begins++) {
        rc = engine->ops->begin(engine, false, &txn);
        if (rc < 0)
            return rc;
        rc = txn->ops->verify(txn, verify->most, verify_keep_first, verify);
        txn->ops->abort(txn);
    }
    if (rc < 0 && rc != -E2BIG)
        return rc == -EAGAIN ? -ETIMEDOUT : rc;
    engine->damaged |= verify->first[0] != '\0'; /* once it is, it stays so */
    return 0;
}
