/* kvctl: is a mount well? It answers, and as far as its daemon knows the store takes changes. Nothing is written. */
#include "tools/kvctl/ask.h"
#include "tools/kvctl/figures.h"

#include <stdlib.h>
#include <string.h>

struct health {
    const char *reason; /* NULL: it is well */
    char text[128];
    char mode[8];
};

/* A change that has waited for longer than the caller would is stuck. */
static void health_judge(struct health *health, const struct figures *figures, int64_t timeout_ms)
{
    double age_s = figures_value(figures, "kvfs_queue_age_seconds", NULL, NULL);
    char text[FIGURES_TEXT];

    for (size_t i = 0; i < figures->count; i++)
        if (strcmp(figures->items[i].name, "kvfs_node_info") == 0)
            (void)figures_label(figures->items[i].labels, "mode", health->mode, sizeof(health->mode));
    if (!figures_have(figures, "kvfs_store_failed")) {
        health->reason = "a kvfs of another version serves it";
    } else if (figures_value(figures, "kvfs_store_failed", NULL, NULL) > 0) {
        health->reason = "its disk has failed under a write, or its files were taken away, and the store takes no "
                         "change: unmount all its mounts, look after the disk, and mount again";
    } else if (age_s * 1000 > (double)timeout_ms) {
        snprintf(health->text, sizeof(health->text),
                 "changes have waited for the store for %s; kvctl status tells who writes",
                 figures_time(age_s, text));
        health->reason = health->text;
    }
}

static int health_print_json(const struct ctl_request *request, const struct health *health)
{
    json_t *json =
        json_pack("{s:s, s:b, s:s?, s:s?}", "mount", request->args[0], "healthy", health->reason == NULL, "mode",
                  *health->mode != '\0' ? health->mode : NULL, "reason", health->reason);

    return ctl_print_json(json, JSON_COMPACT);
}

static int health_print(const struct ctl_request *request, const struct health *health)
{
    if (ctl_given(request, CTL_JSON))
        return health_print_json(request, health);
    if (health->reason != NULL)
        printf("%s: not healthy: %s\n", request->args[0], health->reason);
    else
        printf("%s: healthy, %s\n", request->args[0],
               strcmp(health->mode, "ro") == 0 ? "read-only" : "read-write");
    return CTL_OK;
}

int ctl_health(struct ctl_request *request)
{
    struct health health = {.reason = NULL};
    struct figures figures = {.items = NULL};
    char text[FIGURES_TEXT];
    struct ask ask;
    int status;

    ask_start(&ask, request->args[0], false);
    ask_wait(&ask, request->timeout_ms);
    if (ask.state == ASK_WAITS) {
        snprintf(health.text, sizeof(health.text), "no answer within %s",
                 figures_time((double)request->timeout_ms / 1000, text));
        health.reason = health.text;
    } else if (ask.state != ASK_ANSWERED) {
        health.reason = ask.reason;
    } else if (figures_parse(&figures, ask.stats) < 0) {
        health.reason = "out of memory";
    } else {
        health_judge(&health, &figures, request->timeout_ms);
    }
    status = health_print(request, &health);
    if (status == CTL_OK && health.reason != NULL)
        status = CTL_NO;
    figures_free(&figures);
    ask_end(&ask);
    return status;
}
