#include "tools/kvctl/swap.h"

#include "tools/cli/cli.h"
#include "tools/kvctl/value.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Whoever loses a race has seen somebody else win it. So many in a row are no bad luck any more. */
enum { SWAP_TRIES = 2000, SWAP_EAGER = 3, SWAP_WAIT_NS = 5000000 };

#define SWAP_CONDITIONS (CTL_BIT(CTL_IF_ABSENT) | CTL_BIT(CTL_IF_VERSION) | CTL_BIT(CTL_IF_UNCHANGED))

/* ------------------------------------------------------------------- conditions */

bool swap_is_conditional(const struct ctl_request *request) { return (request->given & SWAP_CONDITIONS) != 0; }

/* Read what get --version-file has written. Returns a status. */
static int swap_read_version(struct ctl_request *request, uint64_t *out)
{
    const char *name = request->unchanged_file;
    FILE *file = fopen(name, "re");
    char text[32] = "";
    size_t size;

    if (file == NULL)
        return ctl_fail("--if-unchanged %s: %s; nothing was changed", name, strerror(errno));
    size = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    if (size == 0 || text[size - 1] != '\n')
        text[0] = '\0';
    else
        text[size - 1] = '\0';
    if (!cli_parse_number(text, false, out))
        return ctl_fail_usage(
            request, CTL_IF_UNCHANGED,
            "--if-unchanged %s: it has no version; it is what get --version-file writes; nothing was "
            "changed",
            name);
    return CTL_OK;
}

int swap_set_condition(struct ctl_request *request, struct kv_change *change)
{
    uint64_t chosen = request->given & SWAP_CONDITIONS;

    if (chosen & (chosen - 1))
        return ctl_fail_usage(request, CTL_OPTIONS,
                              "--if-absent, --if-version and --if-unchanged do not go together: give one");
    change->conditional = chosen != 0;
    change->if_version = request->if_version; /* 0: with --if-absent */
    return ctl_given(request, CTL_IF_UNCHANGED) ? swap_read_version(request, &change->if_version) : CTL_OK;
}

int swap_fail(struct ctl_request *request, const struct kv_change *change, int rc)
{
    const char *text = request->path.text;
    struct kv_meta meta;

    if (!change->conditional || (rc != -EEXIST && rc != -ECANCELED))
        return ctl_fail_store(request, text, "key", rc);
    if (rc == -EEXIST)
        (void)ctl_fail("%s: this key exists already; nothing was changed", text);
    else if (kv_stat(request->store, &change->ref, &meta, NULL) == 0)
        (void)ctl_fail("%s: its version is %" PRIu64 " now, and not %" PRIu64 "; nothing was changed", text,
                       meta.version, change->if_version);
    else
        (void)ctl_fail("%s: it is not there any more with version %" PRIu64 "; nothing was changed", text,
                       change->if_version);
    return CTL_CONDITION;
}

/* ------------------------------------------------------------------------ editing */

bool swap_try_again(unsigned tries)
{
    const struct timespec wait = {.tv_nsec = (ctl_now_ns(CLOCK_MONOTONIC) ^ (long)getpid() * 7919) % SWAP_WAIT_NS};

    if (tries >= SWAP_TRIES)
        return false;
    if (tries >= SWAP_EAGER)
        nanosleep(&wait, NULL);
    return true;
}

/* Edit what is there, and put it unless it was changed meanwhile. *rc becomes 0, -EEXIST or -ECANCELED. */
static int swap_once(struct ctl_request *request, swap_edit *edit, void *arg, struct kv_change *done, int *rc)
{
    struct kv_value *old = NULL, *new = NULL;
    struct kv_ref ref = ctl_key(request);
    struct kv_meta meta = {.version = 0};
    int status;

    *rc = kv_get_newest(request->store, &ref, &meta, &old);
    if (*rc < 0 && *rc != -ENOENT)
        return ctl_fail_store(request, request->path.text, "key", *rc);
    status = edit(request, *rc == 0 ? old : NULL, &new, arg);
    if (*rc == 0)
        kv_value_unref(old);
    if (status != CTL_OK)
        return status;
    *done = value_put(request, &ref, new);
    done->conditional = true;
    done->if_version = *rc == 0 ? meta.version : 0;
    if (*rc < 0 && ctl_expires(request)) {
        done->expiry = KV_EXPIRY_SET;
        done->expires_ns = request->expires_ns;
    }
    *rc = kv_apply(request->store, done);
    kv_value_unref(new);
    return *rc == 0 || *rc == -EEXIST || *rc == -ECANCELED
               ? CTL_OK
               : ctl_fail_store(request, request->path.text, "key", *rc);
}

int swap_update(struct ctl_request *request, swap_edit *edit, void *arg, struct kv_meta *meta)
{
    struct kv_change change;
    unsigned tries = 0;
    int rc, status;

    do
        status = swap_once(request, edit, arg, &change, &rc);
    while (status == CTL_OK && rc < 0 && swap_try_again(++tries));
    if (status != CTL_OK)
        return status;
    if (rc < 0)
        return ctl_fail_store(request, request->path.text, "key", -ECANCELED);
    *meta = change.meta;
    return CTL_OK;
}
