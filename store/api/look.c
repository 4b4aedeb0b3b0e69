#include "store/api/store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LOOK_TEXT 256
#define LOOK_BEGINS 100 /* of a look that commits of others overtake */

static void look_keep_first(void *arg, const char *what)
{
    char *first = arg;

    if (first[0] == '\0')
        snprintf(first, LOOK_TEXT, "%s", what);
}

int kv_look(struct kv_store *store, size_t pages, struct kv_error *error)
{
    struct engine *engine = store->engine;
    char first[LOOK_TEXT] = "";
    struct engine_txn *txn;
    int rc = engine->ops->verify != NULL ? -EAGAIN : 0;

    for (int begins = 0; rc == -EAGAIN && begins < LOOK_BEGINS; begins++) {
        rc = engine->ops->begin(engine, false, &txn);
        if (rc < 0)
            break;
        rc = txn->ops->verify(txn, pages, look_keep_first, first);
        txn->ops->abort(txn);
    }
    if (rc == -EAGAIN)
        rc = -ETIMEDOUT;
    if (rc < 0 && rc != -E2BIG) {
        snprintf(error->text, sizeof(error->text), "the store cannot be looked through: %s", strerror(-rc));
        return rc;
    }
    if (first[0] == '\0')
        return 0;
    engine->damaged = true;
    snprintf(error->text, sizeof(error->text),
             "%s; restore the store from a copy, or save with a read-only mount (-o ro) what can be read", first);
    return -EIO;
}
