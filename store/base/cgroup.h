/* How much memory the control groups let this process have: a container is ended when it takes more. */
#ifndef KVFS_STORE_CGROUP_H
#define KVFS_STORE_CGROUP_H

#include <stdint.h>

#define CGROUP_NO_LIMIT UINT64_MAX

/* The least of the limits of the process's groups and of those above them, in bytes; CGROUP_NO_LIMIT. What cannot be
 * read limits nothing.
 * groups   the text of /proc/self/cgroup
 * root     where the groups are mounted: /sys/fs/cgroup
 * threads  any */
uint64_t cgroup_limit(const char *groups, const char *root);

/* The text of memory.max, memory.high or memory.limit_in_bytes as a number of bytes. */
uint64_t cgroup_parse(const char *text);

/* The same of this process, now. */
uint64_t cgroup_own_limit(void);

#endif
