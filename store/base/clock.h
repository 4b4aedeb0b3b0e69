/* Clocks, and points in time that threads wait for: until then on CLOCK_MONOTONIC. */
#ifndef KVFS_STORE_BASE_CLOCK_H
#define KVFS_STORE_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define CLOCK_SECOND_NS ((int64_t)1000000000)

static inline int64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * CLOCK_SECOND_NS + now.tv_nsec;
}

/* ns >= 0 */
static inline struct timespec clock_after_ns(int64_t ns)
{
    int64_t then = clock_ns(CLOCK_MONOTONIC) + ns;

    return (struct timespec){(time_t)(then / CLOCK_SECOND_NS), (long)(then % CLOCK_SECOND_NS)};
}

static inline bool clock_has_passed(const struct timespec *time)
{
    return clock_ns(CLOCK_MONOTONIC) >= (int64_t)time->tv_sec * CLOCK_SECOND_NS + time->tv_nsec;
}

#endif
