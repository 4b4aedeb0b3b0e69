#include "fs/base/fs.h"

#include <time.h>

static int64_t fs_clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t fs_mono_ns(void) { return fs_clock_ns(CLOCK_BOOTTIME); }

int64_t fs_now_ns(void) { return fs_clock_ns(CLOCK_REALTIME); }
