#include "fs/cli/options.h"

#include <stdio.h>

/* A screen of an old terminal has 25 lines; the manual page has the rest. */
void fs_options_usage(const char *program)
{
    printf(
        "usage: %s STORE MOUNTPOINT [-f] [-o OPTION,...]\n"
        "Mount the key-value store in directory STORE at MOUNTPOINT. More: man kvfs. Unmount: fusermount3 -u "
        "MOUNTPOINT\n"
        "  -f  stay in the foreground  -d  and print every request  -h, --help  this text  -V, --version  the "
        "version\n"
        "options:\n"
        "  ro, rw                 refuse every change, or not (the default)\n"
        "  create, nocreate       make a store where there is none (the default, but not of mount(8)), or refuse "
        "to\n"
        "  foreign_store          open a store that belongs to another user, or that others have rights on, too\n"
        "  cache_ttl=SECONDS      how long this node may serve what it knows (60; 0: always ask the store)\n"
        "  cache_size=SIZE        bytes of values kept in memory (256M, or half of memory_size)\n"
        "  node=NAME              this edge node's name (host name and process id)\n"
        "  durability=close, durability=fsync  a close returns when the value is on disk (the default), or is "
        "seen\n"
        "  commit_interval_ms=N   with durability=fsync: the longest time until it is on disk (100)\n"
        "  invalidate=push, invalidate=ttl  others' changes are seen at once (the default), or after cache_ttl\n"
        "  commit_timeout=SECONDS the longest time that a change waits while another process writes (30)\n"
        "  map_size=SIZE          upper bound of the store's file, 4M or more (large, sparse)\n"
        "  memory_size=SIZE       open values beyond this lie in files (512M, or a quarter of a container's "
        "memory)\n"
        "  io_uring               take requests over io_uring, which is faster (Linux 6.14 or newer)\n"
        "  run_as=USER            started by root: mount, and then be this user, whose store it is\n"
        "  log_file=FILE          write the log there, and not to the system's; SIGHUP opens it anew\n"
        "  log_level=LEVEL        error, warning or info: what is of less importance is left out (info)\n"
        "  allow_other, allow_root  let other users in, as owners and modes say, or only root\n"
        "  auto_unmount           unmount when the daemon ends, however it ends\n"
        "  [no]suid, [no]dev, [no]exec, [no]atime, [a]sync, dirsync  as for every mount; suid and dev for root "
        "only\n"
        "Those of /etc/fstab that are not for the file system (nofail, x-*, ...) are ignored.\n",
        program);
}
