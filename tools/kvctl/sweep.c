#include "tools/kvctl/common.h"

int ctl_sweep(struct ctl_request *request)
{
    uint64_t swept;
    int64_t next_ns;
    int rc = kv_sweep(request->store, &swept, &next_ns);

    if (rc < 0)
        return ctl_fail_store(request, request->store_dir, "store", rc);
    return ctl_print_json(json_pack("{s:I, s:o}", "swept", (json_int_t)swept, "next", ctl_json_expiry(next_ns)),
                          JSON_INDENT(2));
}
