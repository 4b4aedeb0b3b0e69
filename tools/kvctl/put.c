#include "tools/kvctl/swap.h"
#include "tools/kvctl/value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* So often is the metadata read again that somebody else has changed. */
enum { PUT_META_TRIES = 10 };

/* ------------------------------------------------------------------- metadata */

/* Is it among the names of a set? */
static bool put_has_name(const struct kv_xattrs *set, const char *name, size_t size)
{
    size_t pos = 0, found_size, value_size;
    const char *found;
    const void *value;

    while (kv_xattrs_next(set, &pos, &found, &found_size, &value, &value_size))
        if (found_size == size && memcmp(found, name, size) == 0)
            return true;
    return false;
}

/* Make changes of the attributes of a set: sets them, or removes those of users that are not in `others`.
 * returns  how many */
static size_t put_meta_changes(const struct kv_ref *ref, const struct kv_xattrs *set,
                               const struct kv_xattrs *others, struct kv_change *changes)
{
    size_t pos = 0, count = 0, name_size, value_size;
    const char *name;
    const void *value;

    while (kv_xattrs_next(set, &pos, &name, &name_size, &value, &value_size)) {
        if (others != NULL &&
            (put_has_name(others, name, name_size) || strncmp(name, CTL_META_PREFIX, CTL_META_PREFIX_SIZE) != 0))
            continue;
        changes[count++] = (struct kv_change){.kind = KV_SETXATTR,
                                              .ref = *ref,
                                              .xattr_name = name,
                                              .xattr_name_size = name_size,
                                              .xattr_value = others == NULL ? value : NULL,
                                              .xattr_value_size = others == NULL ? value_size : 0};
    }
    return count;
}

/* Replace the metadata, and set the expiry, as far as they are given, in one step, and leave the value and its version
 * alone. *meta is what the key is then.
 * returns  0; -ENOENT; another error of the store */
static int put_meta(struct ctl_request *request, const struct kv_ref *ref, struct kv_meta *meta)
{
    enum { MOST = 2 * KV_XATTR_MAX / (CTL_META_PREFIX_SIZE + 1) + 1 };
    struct kv_change *changes = calloc(MOST, sizeof(*changes));
    int rc = changes != NULL ? -ENODATA : -ENOMEM;

    /* -ENODATA: one of those to be removed is gone by now */
    for (int i = 0; i < PUT_META_TRIES && rc == -ENODATA; i++) {
        struct kv_xattrs old;
        size_t count = 0;

        rc = kv_xattrs_get(request->store, ref, &old);
        if (rc < 0)
            break;
        if (ctl_given(request, CTL_META_SET)) {
            count = put_meta_changes(ref, &old, &request->meta, changes);
            count += put_meta_changes(ref, &request->meta, NULL, changes + count);
        }
        if (ctl_expires(request))
            changes[count++] = (struct kv_change){
                .kind = KV_SETATTR, .ref = *ref, .expiry = KV_EXPIRY_SET, .expires_ns = request->expires_ns};
        rc = kv_apply_all(request->store, changes, count);
        if (rc == 0)
            *meta = changes[count - 1].meta;
    }
    free(changes);
    return rc == -ENODATA ? -ECANCELED : rc;
}

/* Where standard input may have a value, it is not left unread without a word. */
static int put_check_input(const struct ctl_request *request)
{
    struct stat attr;

    if (fstat(STDIN_FILENO, &attr) < 0 || S_ISCHR(attr.st_mode))
        return CTL_OK;
    return ctl_fail_usage(
        request, CTL_OPTIONS,
        "%s: without a value, --meta, --ttl and --expires change only that, but there is a standard input: add "
        "--file - to put the value from it, or </dev/null to keep the value",
        request->path.text);
}

static int put_only_meta(struct ctl_request *request)
{
    struct kv_ref ref = ctl_key(request);
    struct kv_meta meta;
    int rc, status = put_check_input(request);

    if (status == CTL_OK && swap_is_conditional(request))
        status = ctl_fail_usage(request, CTL_OPTIONS, "%s: a condition is for a value, and none is given",
                                request->path.text);
    if (status != CTL_OK)
        return status;
    rc = put_meta(request, &ref, &meta);
    if (rc == -ENOENT) {
        (void)ctl_fail("%s: there is no such key whose %s could be changed; with a value, it is created",
                       request->path.text, ctl_given(request, CTL_META_SET) ? "metadata" : "expiry");
        return CTL_NO;
    }
    return rc < 0 ? ctl_fail_store(request, request->path.text, "key", rc) : value_print_put(request, &meta);
}

/* ---------------------------------------------------------------------- value */

static int put_value(struct ctl_request *request, struct kv_value *value)
{
    struct kv_ref ref = ctl_key(request);
    struct kv_change change = value_put(request, &ref, value);
    int rc, status = swap_set_condition(request, &change);

    if (status != CTL_OK)
        return status;
    if (ctl_given(request, CTL_META_SET))
        change.xattrs = &request->meta;
    if (ctl_expires(request)) {
        change.expiry = KV_EXPIRY_SET;
        change.expires_ns = request->expires_ns;
    }
    rc = kv_apply(request->store, &change);
    return rc < 0 ? swap_fail(request, &change, rc) : value_print_put(request, &change.meta);
}

int ctl_put(struct ctl_request *request)
{
    const char *text = request->arg_count > 1 ? request->args[1] : NULL;
    struct kv_value *value;
    int status;

    if (text == NULL && !ctl_given(request, CTL_FILE) && !ctl_given(request, CTL_EMPTY_PUT) &&
        (ctl_given(request, CTL_META_SET) || ctl_expires(request)))
        return put_only_meta(request);
    status = value_read(request, text, &value);
    if (status != CTL_OK)
        return status;
    status = put_value(request, value);
    kv_value_unref(value);
    return status;
}
