#include "store/api/store.h"

#include "store/lmdb/lmdb.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* What cannot be asked of this central at all. */
static int copy_answer(int rc, const char *what, struct kv_error *error)
{
    if (rc == -EOPNOTSUPP)
        snprintf(error->text, sizeof(error->text), "this kind of store cannot be %s", what);
    return rc;
}

int kv_copy(struct kv_store *store, int fd, const struct kv_progress *progress, uint64_t *bytes,
            struct kv_error *error)
{
    struct backend_copy copy = {.fd = fd, .progress = progress, .error = error};
    int rc = backend_ask(store->backend, BACKEND_COPY, store->timeout_ns, &copy.call);

    *bytes = copy.bytes;
    return copy_answer(rc, "copied", error);
}

int kv_compact(struct kv_store *store, const struct kv_progress *progress, uint64_t *before, uint64_t *after,
               struct kv_error *error)
{
    struct backend_compact compact = {.progress = progress, .error = error};
    int rc = backend_ask(store->backend, BACKEND_COMPACT, store->timeout_ns, &compact.call);

    if (rc == 0) {
        *before = compact.before;
        *after = compact.after;
    }
    return copy_answer(rc, "compacted", error);
}

int kv_restore(const char *dir, const struct kv_restore_options *options, struct kv_error *error)
{
    const struct lmdb_source source = {options->fill, options->arg, options->small_log};

    return engine_lmdb_restore(
        dir, &(struct lmdb_options){.create = true, .foreign = options->foreign_store, .source = &source}, error);
}

int kv_discard(const char *dir) { return engine_lmdb_discard(dir); }
