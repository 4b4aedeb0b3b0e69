#include "tools/kvctl/swap.h"
#include "tools/kvctl/value.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { INCR_TEXT_SIZE = 24 }; /* of a number, its sign, an end of line and a NUL */

/* A whole number in decimal digits, within 64 bits. returns 0; -EINVAL; -ERANGE */
static int incr_parse(const char *text, int64_t *out)
{
    const char *digits = text + (*text == '-' || *text == '+');
    char *end;

    if (*digits < '0' || *digits > '9')
        return -EINVAL;
    errno = 0;
    *out = strtoll(text, &end, 10);
    if (*end != '\0')
        return -EINVAL;
    return errno == 0 ? 0 : -ERANGE;
}

/* What the command adds, and what it has come to. */
struct incr {
    int64_t by, number;
};

static int incr_fail(const struct ctl_request *request, const struct kv_value *old)
{
    return ctl_fail("%s: its value, '%.*s%s', is no whole number from -2^63 to 2^63 - 1; nothing was changed",
                    request->path.text, (int)(old->size < 40 ? old->size : 40), (const char *)old->data,
                    old->size > 40 ? "..." : "");
}

/* Absent and empty count as 0. An end of line stays, as echo and editors write it. */
static int incr_edit(struct ctl_request *request, const struct kv_value *old, struct kv_value **out, void *arg)
{
    struct incr *incr = arg;
    char text[INCR_TEXT_SIZE] = "";
    size_t size = old != NULL ? old->size : 0;
    bool line = size > 0 && old->data[size - 1] == '\n';
    int64_t number = 0;
    int rc = 0;

    if (size >= sizeof(text) || (size > 0 && memchr(old->data, '\0', size) != NULL))
        return incr_fail(request, old);
    if (size > 0) {
        memcpy(text, old->data, size);
        text[size - line] = '\0';
        rc = incr_parse(text, &number);
    }
    if (rc < 0)
        return incr_fail(request, old);
    if (__builtin_add_overflow(number, incr->by, &incr->number))
        return ctl_fail("%s: %" PRId64 " and %" PRId64 " are beyond -2^63 to 2^63 - 1; nothing was changed",
                        request->path.text, number, incr->by);
    snprintf(text, sizeof(text), "%" PRId64 "%s", incr->number, line ? "\n" : "");
    rc = kv_value_copy(text, strlen(text), out);
    return rc < 0 ? ctl_fail_store(request, request->path.text, "key", rc) : CTL_OK;
}

int ctl_incr(struct ctl_request *request)
{
    const char *text = request->arg_count > 1 ? request->args[1] : "1";
    const struct ctl_path *path = &request->path;
    struct incr incr;
    struct kv_meta meta;
    int status;

    if (incr_parse(text, &incr.by) < 0)
        return ctl_fail_usage(request, CTL_OPTIONS, "%.64s: this is no whole number from -2^63 to 2^63 - 1", text);
    status = swap_update(request, incr_edit, &incr, &meta);
    if (status != CTL_OK)
        return status;
    if (ctl_given(request, CTL_JSON))
        return ctl_print_json(json_pack("{s:s, s:s, s:s, s:I, s:I}", "account", path->account, "namespace",
                                        path->second, "key", path->key, "version", (json_int_t)meta.version,
                                        "number", (json_int_t)incr.number),
                              JSON_COMPACT);
    printf("%" PRId64 "\n", incr.number);
    return CTL_OK;
}
