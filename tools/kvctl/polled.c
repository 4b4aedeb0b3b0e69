#include "tools/kvctl/polled.h"

#include <stdlib.h>

int polled_begin(struct polled *polled, const struct ctl_request *request)
{
    *polled = (struct polled){.mounts = request->args, .count = request->arg_count};
    if (polled->count == 0) {
        polled->points = mount_all();
        polled->mounts = polled->points.items;
        polled->count = polled->points.count;
    }
    if (polled->count == 0)
        return ctl_fail("no kvfs is mounted here; mount a store with: kvfs STORE MOUNTPOINT");
    polled->asks = calloc(polled->count, sizeof(*polled->asks));
    return polled->asks != NULL ? CTL_OK : ctl_fail("out of memory");
}

void polled_start(struct polled *polled, bool errors)
{
    for (size_t i = 0; i < polled->count; i++)
        if (polled->asks[i].state == ASK_IDLE)
            ask_start(&polled->asks[i], polled->mounts[i], errors);
}

/* One after the other: all are under way. */
void polled_wait(struct polled *polled, int64_t timeout_ms)
{
    int64_t end_ms = ctl_now_ms() + timeout_ms, left_ms;

    for (size_t i = 0; i < polled->count; i++) {
        left_ms = end_ms - ctl_now_ms();
        ask_wait(&polled->asks[i], left_ms > 0 ? left_ms : 0);
    }
}

const char *polled_point(const struct polled *polled, size_t which)
{
    const char *point = ask_point(&polled->asks[which]);

    return point != NULL ? point : polled->mounts[which];
}

bool polled_counts(const struct polled *polled, size_t which)
{
    return polled->points.items == NULL || polled->asks[which].state != ASK_REFUSED;
}

void polled_end(struct polled *polled)
{
    for (size_t i = 0; i < polled->count && polled->asks != NULL; i++)
        ask_end(&polled->asks[i]);
    free(polled->asks);
    mount_points_free(&polled->points);
}
