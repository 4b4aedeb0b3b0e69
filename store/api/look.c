#include "store/api/store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int kv_look(struct kv_store *store, size_t pages, struct kv_error *error)
{
    struct backend_verify verify = {.most = pages};
    int rc = backend_ask(store->backend, BACKEND_VERIFY, store->timeout_ns, &verify.call);

    if (rc < 0)
        snprintf(error->text, sizeof(error->text), "the store cannot be looked through: %s", strerror(-rc));
    if (rc < 0 || !store->backend->damaged)
        return rc;
    snprintf(error->text, sizeof(error->text),
             "%s; restore the store from a copy, or save with a read-only mount (-o ro) what can be read",
             verify.first[0] != '\0' ? verify.first : "the database is damaged");
    return -EIO;
}
