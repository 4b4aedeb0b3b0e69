/* Clocks, and points in time that threads wait for, which are on CLOCK_MONOTONIC. Any thread may call these; they
 * never fail and never wait. (The times of changes, of expiries and of the cache are those of the store's kv_clock.) */
#ifndef KVFS_STORE_BASE_CLOCK_H
#define KVFS_STORE_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define CLOCK_SECOND_NS ((int64_t)1000000000)

/* What a clock shows, in ns. */
static inline int64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * CLOCK_SECOND_NS + now.tv_nsec;
}

/* So many ns from now, 0 or more: as pthread_cond_clockwait() and the like take it. */
static inline struct timespec clock_after_ns(int64_t ns)
{
    int64_t then = clock_ns(CLOCK_MONOTONIC) + ns;

    return (struct timespec){(time_t)(then / CLOCK_SECOND_NS), (long)(then % CLOCK_SECOND_NS)};
}

/* Is it that time by now, or later? */
static inline bool clock_has_passed(const struct timespec *time)
{
    return clock_ns(CLOCK_MONOTONIC) >= (int64_t)time->tv_sec * CLOCK_SECOND_NS + time->tv_nsec;
}

#endif
