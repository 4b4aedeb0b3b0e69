/* Points in time that the queue's threads wait for. */
#ifndef KVFS_STORE_COMMIT_TIME_INTERNAL_H
#define KVFS_STORE_COMMIT_TIME_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

static inline struct timespec commit_after_ns(int64_t ns)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_sec += (time_t)(ns / 1000000000);
    time.tv_nsec += ns % 1000000000;
    if (time.tv_nsec >= 1000000000) {
        time.tv_sec++;
        time.tv_nsec -= 1000000000;
    }
    return time;
}

static inline bool commit_has_passed(const struct timespec *time)
{
    struct timespec now = commit_after_ns(0);

    return now.tv_sec > time->tv_sec || (now.tv_sec == time->tv_sec && now.tv_nsec >= time->tv_nsec);
}

#endif
