#include "store/tables/tables_internal.h"

#include "store/check/check.h"
#include "store/tables/read.h"

#include <errno.h>
#include <stdlib.h>

static struct engine *tables_engine(struct backend *backend) { return ((struct tables *)backend)->engine; }

static void tables_close(struct backend *backend)
{
    struct engine *engine = tables_engine(backend);

    engine->ops->close(engine);
    free(backend);
}

static int tables_node(struct engine *engine, struct backend_node *node)
{
    return node->call.kind == BACKEND_NODE ? read_node(engine, node->id, node->node)
                                           : read_child(engine, node->id, node->name, node->size, node->node);
}

static int tables_list(struct engine *engine, const struct backend_list *list)
{
    return list->call.kind == BACKEND_LIST_KEYS
               ? read_keys(engine, list->parent, list->from, list->size, list->after, list->visit_key, list->arg)
               : read_children(engine, list->parent, list->from, list->size, list->after, list->visit_node,
                               list->arg);
}

static int tables_check(struct engine *engine, struct backend_check *check)
{
    struct check_means means = {check->now_ns, check->call.timeout_ns};

    return check_engine(engine, &means, check->options, check->report);
}

static int tables_get(struct engine *engine, struct backend_get *get)
{
    return read_key(engine, get->ref, &get->meta, get->want_value ? &get->value : NULL);
}

static int tables_xattrs(struct engine *engine, struct backend_xattrs *xattrs)
{
    return read_xattrs(engine, xattrs->ref, xattrs->xattrs, &xattrs->meta);
}

static int tables_seen(struct engine *engine, struct backend_seen *seen)
{
    return read_seen(engine, seen->seen, seen->count, &seen->usage);
}

static int tables_copy(struct engine *engine, struct backend_copy *copy)
{
    struct engine_copy copied = {.fd = copy->fd, .progress = copy->progress};
    int rc = engine->ops->copy != NULL ? engine->ops->copy(engine, &copied, copy->error) : -EOPNOTSUPP;

    copy->bytes = copied.bytes;
    return rc;
}

static int tables_compact(struct engine *engine, struct backend_compact *compact)
{
    struct engine_compact compacted = {.progress = compact->progress};
    int rc = engine->ops->compact != NULL ? engine->ops->compact(engine, &compacted, compact->error) : -EOPNOTSUPP;

    compact->before = compacted.before;
    compact->after = compacted.after;
    return rc;
}

static int tables_do(struct backend *backend, struct backend_call *call)
{
    struct engine *engine = tables_engine(backend);
    int rc;

    switch (call->kind) {
    case BACKEND_GET:
        return tables_get(engine, (struct backend_get *)call);
    case BACKEND_XATTRS:
        return tables_xattrs(engine, (struct backend_xattrs *)call);
    case BACKEND_NODE:
    case BACKEND_CHILD:
        return tables_node(engine, (struct backend_node *)call);
    case BACKEND_SEEN:
        return tables_seen(engine, (struct backend_seen *)call);
    case BACKEND_QUOTA:
        return read_quota(engine, (const struct backend_quota *)call);
    case BACKEND_EXPIRY:
        return read_expiry(engine, &((struct backend_expiry *)call)->first_ns);
    case BACKEND_LIST_KEYS:
    case BACKEND_LIST_NODES:
        return tables_list(engine, (struct backend_list *)call);
    case BACKEND_SUBMIT:
        return tables_submit(engine, (struct backend_submit *)call);
    case BACKEND_FLUSH:
        return engine_flush(engine, call->timeout_ns);
    case BACKEND_REST:
        return engine_rest(engine);
    case BACKEND_FOLLOW:
        return tables_follow(engine, (struct backend_follow *)call);
    case BACKEND_FORMAT:
        return tables_format(engine, (struct backend_format *)call);
    case BACKEND_VERIFY:
        rc = tables_verify(engine, (struct backend_verify *)call);
        backend->damaged = engine->damaged;
        return rc;
    case BACKEND_CHECK:
        return tables_check(engine, (struct backend_check *)call);
    case BACKEND_COPY:
        return tables_copy(engine, (struct backend_copy *)call);
    case BACKEND_COMPACT:
        return tables_compact(engine, (struct backend_compact *)call);
    case BACKEND_KINDS:
        break;
    }
    return -EINVAL;
}

static void tables_start(struct backend *backend, struct backend_call *call)
{
    call->done(call, tables_do(backend, call));
}

static uint64_t tables_epoch(struct backend *backend) { return engine_epoch(tables_engine(backend)); }

static int tables_wait(struct backend *backend, uint64_t epoch, int64_t timeout_ns)
{
    struct engine *engine = tables_engine(backend);

    return engine->ops->wait(engine, epoch, timeout_ns);
}

static void tables_wake(struct backend *backend)
{
    struct engine *engine = tables_engine(backend);

    engine->ops->wake(engine);
}

static void tables_usage(struct backend *backend, struct kv_storage *out)
{
    struct engine *engine = tables_engine(backend);

    engine->ops->usage(engine, out);
}

static int tables_directory(struct backend *backend)
{
    struct engine *engine = tables_engine(backend);

    return engine->ops->directory != NULL ? engine->ops->directory(engine) : -1;
}

static pid_t tables_writer(struct backend *backend) { return engine_writer(tables_engine(backend)); }

static const struct backend_ops tables_ops = {
    .close = tables_close,
    .start = tables_start,
    .epoch = tables_epoch,
    .wait = tables_wait,
    .wake = tables_wake,
    .usage = tables_usage,
    .directory = tables_directory,
    .writer = tables_writer,
};

int backend_tables_new(struct engine *engine, struct backend **out)
{
    struct tables *tables = calloc(1, sizeof(*tables));

    if (tables == NULL)
        return -ENOMEM;
    tables->base.ops = &tables_ops;
    tables->base.follows = engine->ops->follow != NULL;
    tables->base.damaged = engine->damaged;
    tables->engine = engine;
    *out = &tables->base;
    return 0;
}
