#include "tools/kvctl/copies.h"

int ctl_compact(struct ctl_request *request)
{
    struct ctl_progress progress;
    struct kv_error error;
    uint64_t before, after;
    int rc = kv_compact(request->store, ctl_progress_begin(&progress, "compact"), &before, &after, &error);

    ctl_progress_end(&progress);
    if (rc < 0)
        return ctl_fail("%s: %s", request->store_dir, error.text);
    return ctl_print_json(json_pack("{s:I, s:I, s:I}", "before", (json_int_t)before, "after", (json_int_t)after,
                                    "given_back", (json_int_t)(before > after ? before - after : 0)),
                          JSON_INDENT(2));
}
