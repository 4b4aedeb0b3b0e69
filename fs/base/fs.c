#include "fs/base/fs.h"

#define SECOND_NS ((int64_t)1000000000)

bool fs_may_look(const struct kv_attr *attr, const struct fuse_ctx *who)
{
    unsigned shift = who->uid == attr->uid ? 6 : who->gid == attr->gid ? 3 : 0;

    return who->uid == 0 || (attr->mode >> shift & 05) == 05;
}

int64_t fs_clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * SECOND_NS + now.tv_nsec;
}

int64_t fs_mono_ns(void) { return fs_clock_ns(CLOCK_BOOTTIME); }

int64_t fs_now_ns(void) { return fs_clock_ns(CLOCK_REALTIME); }

struct timespec fs_after_ns(int64_t ns)
{
    int64_t then = fs_clock_ns(CLOCK_MONOTONIC) + ns;

    return (struct timespec){(time_t)(then / SECOND_NS), (long)(then % SECOND_NS)};
}
