/* kvctl: what a store is and holds, and who has it mounted. */
#include "tools/cli/cli.h"
#include "tools/kvctl/figures.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct status {
    struct kv_stats stats;
    struct kv_node root;
    pid_t writer;
    json_t *mounts; /* objects: what each says of itself */
};

static json_t *status_time(int64_t seconds)
{
    time_t time = (time_t)seconds;
    char text[64];
    struct tm utc;

    if (gmtime_r(&time, &utc) == NULL || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        return json_null();
    return json_string(text);
}

/* What a mount says in lines NAME=VALUE. A line that is missing, or no text, is null. */
static int status_add_mount(void *arg, const char *text)
{
    static const char *const names[] = {"mountpoint", "node", "host", "version", "mode"};
    struct status *status = arg;
    json_t *mount = json_object();
    const char *value;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        json_t *member;

        value = cli_setting(text, names[i], strlen(names[i]));
        member = value != NULL ? json_stringn(value, strcspn(value, "\n")) : NULL;
        if (json_object_set_new(mount, names[i], member != NULL ? member : json_null()) < 0)
            return -ENOMEM;
    }
    value = cli_setting(text, "pid", strlen("pid"));
    if (json_object_set_new(mount, "pid", json_integer(value != NULL ? strtoll(value, NULL, 10) : 0)) < 0)
        return -ENOMEM;
    value = cli_setting(text, "since", strlen("since"));
    if (json_object_set_new(mount, "since", value != NULL ? status_time(strtoll(value, NULL, 10)) : json_null()) <
        0)
        return -ENOMEM;
    return json_array_append_new(status->mounts, mount) < 0 ? -ENOMEM : 0;
}

/* Nothing of it is only in the log: whoever reads the database alone has all. */
static bool status_is_clean(const struct status *status)
{
    return status->stats.storage.log_bytes == 0 && !status->stats.storage.failed;
}

static int status_print_json(const struct ctl_request *request, struct status *status)
{
    const struct kv_storage *storage = &status->stats.storage;
    json_t *json = json_pack(
        "{s:s, s:i, s:b, s:b, s:o, s:{s:I, s:I, s:I}, s:{s:I, s:I, s:I}, s:{s:I, s:I}, s:O}", "store",
        request->store_dir, "format", (int)status->stats.format, "clean", status_is_clean(status), "failed",
        storage->failed, "writer", status->writer != 0 ? json_integer(status->writer) : json_null(), "data",
        "accounts", (json_int_t)status->root.children, "keys", (json_int_t)status->root.keys, "bytes",
        (json_int_t)status->root.bytes, "database", "used_bytes", (json_int_t)storage->used_bytes, "free_bytes",
        (json_int_t)storage->free_bytes, "limit_bytes", (json_int_t)storage->limit_bytes, "log", "bytes",
        (json_int_t)storage->log_bytes, "limit_bytes", (json_int_t)storage->log_limit_bytes, "mounts",
        status->mounts);

    return ctl_print_json(json, JSON_INDENT(2));
}

/* What a mount says of itself. */
static void status_print_text(const json_t *mount, const char *name)
{
    const char *said = json_string_value(json_object_get(mount, name));
    char *text = said != NULL ? strdup(said) : NULL;

    if (text != NULL)
        cli_tame(text, strlen(text), false);
    fputs(text != NULL ? text : "?", stdout);
    free(text);
}

static void status_print_mount(const json_t *mount)
{
    fputs("  ", stdout);
    status_print_text(mount, "mountpoint");
    fputs("  ", stdout);
    status_print_text(mount, "mode");
    printf("  pid %" JSON_INTEGER_FORMAT " on ", json_integer_value(json_object_get(mount, "pid")));
    status_print_text(mount, "host");
    fputs("  node ", stdout);
    status_print_text(mount, "node");
    fputs("  kvfs ", stdout);
    status_print_text(mount, "version");
    fputs("  since ", stdout);
    status_print_text(mount, "since");
    putchar('\n');
}

static void status_print(const struct ctl_request *request, const struct status *status)
{
    const struct kv_storage *storage = &status->stats.storage;
    char a[FIGURES_TEXT], b[FIGURES_TEXT], c[FIGURES_TEXT];

    printf("store     %s, format %" PRIu32 "\n", request->store_dir, status->stats.format);
    printf("data      %" PRIu64 " accounts, %" PRIu64 " keys, %s\n", status->root.children, status->root.keys,
           figures_bytes((double)status->root.bytes, a));
    printf("database  %s used, %s of it free, at most %s\n", figures_bytes((double)storage->used_bytes, a),
           figures_bytes((double)storage->free_bytes, b), figures_bytes((double)storage->limit_bytes, c));
    printf("log       %s of %s\n", figures_bytes((double)storage->log_bytes, a),
           figures_bytes((double)storage->log_limit_bytes, b));
    if (storage->failed)
        puts("state     failed: its disk has failed under a write, or its files were taken away; unmount all "
             "mounts, look after the disk, and mount again");
    else
        printf("state     %s\n",
               status_is_clean(status) ? "clean" : "in use: the latest changes are in the log only");
    if (status->writer != 0)
        printf("writer    process %ld\n", (long)status->writer);
    printf("mounts    %zu\n", json_array_size(status->mounts));
    for (size_t i = 0; i < json_array_size(status->mounts); i++)
        status_print_mount(json_array_get(status->mounts, i));
}

int ctl_status(struct ctl_request *request)
{
    struct status status = {.mounts = json_array()};
    int rc, result = CTL_OK;

    if (status.mounts == NULL)
        return ctl_fail("out of memory");
    kv_stats(request->store, &status.stats);
    status.writer = kv_writer_pid(request->store);
    rc = kv_node_get(request->store, KV_ROOT_ID, &status.root);
    if (rc < 0)
        result = ctl_fail_store(request, request->store_dir, "store", rc);
    rc = result == CTL_OK ? kv_announced(request->store, status_add_mount, &status) : 0;
    if (rc < 0)
        result =
            ctl_fail("%s/mounts: it does not tell who has the store open: %s", request->store_dir, strerror(-rc));
    if (result == CTL_OK && ctl_given(request, CTL_JSON))
        result = status_print_json(request, &status);
    else if (result == CTL_OK)
        status_print(request, &status);
    json_decref(status.mounts);
    return result;
}
