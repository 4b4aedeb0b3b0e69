/* Pages of names by prefix, which a directory has no call for: by store/kv.h, as `kvctl list` and programs ask. */
#include "tools/bench/work.h"

#include "store/kv.h"
#include "tools/bench/bench.h"
#include "tools/bench/process.h"

#include <errno.h>
#include <string.h>

static int pages_find(struct kv_store *store, struct kv_node *node)
{
    int rc = kv_node_find(store, KV_ROOT_ID, "bench", strlen("bench"), node);

    return rc < 0 ? rc : kv_node_find(store, node->id, "bench", strlen("bench"), node);
}

static int pages_pass(const struct work *work, struct kv_store *store, uint64_t namespace_id)
{
    char name[WORK_NAME_MAX];
    int rc = 0;

    for (uint64_t n = 0; n < work->count && rc == 0; n++) {
        struct kv_list list;

        work_name(work, n, name);
        rc = kv_list(store, namespace_id, work->prefix, name, WORK_PAGE_KEYS, &list);
        if (rc < 0)
            break;
        rc = list.count > 0 && strcmp(list.keys[0], name) == 0 ? 0 : -EBADMSG;
        kv_list_free(&list);
    }
    return rc;
}

int work_store(const struct work *work, double *seconds)
{
    struct kv_options options = kv_options_default();
    struct kv_store *store;
    struct kv_error error;
    struct kv_node node;
    int rc;

    options.read_only = true;
    rc = kv_open(".", &options, &store, &error);
    if (rc < 0) {
        bench_say("%s: %s", work->subject, error.text);
        return rc;
    }
    rc = pages_find(store, &node);
    if (rc == 0 && work->warmed)
        rc = pages_pass(work, store, node.id);
    *seconds = -process_now();
    for (uint64_t i = 0; i < work->passes && rc == 0; i++)
        rc = pages_pass(work, store, node.id);
    *seconds += process_now();
    kv_close(store);
    return rc;
}
