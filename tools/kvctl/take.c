#include "tools/kvctl/record.h"
#include "tools/kvctl/swap.h"
#include "tools/kvctl/value.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

/* A key that was taken, and is nowhere else any more. */
struct taken {
    struct kv_ref ref;
    struct kv_meta meta;
    struct kv_value *value;
    struct kv_xattrs metadata;
};

/* Read the key and delete just that. returns 0; -ENOENT; another error of the store */
static int take_key(struct ctl_request *request, struct taken *taken)
{
    struct kv_change change = {.kind = KV_DELETE, .ref = taken->ref, .conditional = true};
    unsigned tries = 0;
    int rc;

    do {
        rc = record_fetch(request->store, &taken->ref, &taken->meta, &taken->value, &taken->metadata);
        if (rc < 0)
            return rc;
        change.if_version = taken->meta.version;
        rc = kv_apply(request->store, &change);
        if (rc < 0)
            kv_value_unref(taken->value);
    } while (rc == -ECANCELED && swap_try_again(++tries));
    return rc;
}

/* Nobody got what was taken: put it back, unless there is another one by now. */
static int take_back(struct ctl_request *request, struct taken *taken)
{
    struct kv_change change = value_put(request, &taken->ref, taken->value);
    int rc;

    change.attr = taken->meta.attr;
    change.attr.ino = 0;
    change.xattrs = &taken->metadata;
    change.expiry = KV_EXPIRY_SET;
    change.expires_ns = taken->meta.expires_ns;
    change.conditional = true;
    rc = kv_apply(request->store, &change);
    return ctl_fail("%s: standard output could not be written, and %s", request->path.text,
                    rc == 0 ? "the key was put back" : "the key could not be put back: its value is lost");
}

static int take_print(struct ctl_request *request, struct taken *taken)
{
    json_t *object;

    if (!ctl_given(request, CTL_JSON)) {
        if (taken->value->size > 0)
            fwrite(taken->value->data, 1, taken->value->size, stdout);
    } else {
        object = record_make(&request->path, RECORD_PATH | RECORD_VERSION, &taken->meta, taken->value,
                             &taken->metadata);
        if (object == NULL || json_dumpf(object, stdout, JSON_COMPACT) < 0)
            return take_back(request, taken);
        json_decref(object);
        putchar('\n');
    }
    return fflush(stdout) == 0 && !ferror(stdout) ? CTL_OK : take_back(request, taken);
}

int ctl_take(struct ctl_request *request)
{
    struct taken taken = {.ref = ctl_key(request)};
    int status, rc;

    signal(SIGPIPE, SIG_IGN); /* a reader that is gone is told by the write */
    rc = take_key(request, &taken);
    if (rc == -ENOENT) {
        if (ctl_given(request, CTL_JSON))
            puts("null");
        return CTL_NO;
    }
    if (rc < 0)
        return ctl_fail_store(request, request->path.text, "key", rc);
    status = take_print(request, &taken);
    if (status == CTL_OK && taken.value->size == 0)
        status = ctl_given(request, CTL_EMPTY_GET) ? CTL_EMPTY : CTL_NO;
    kv_value_unref(taken.value);
    return status;
}
