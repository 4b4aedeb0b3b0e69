#include "fs/cli/options.h"

#include <stdio.h>

void fs_options_usage(const char *program)
{
    printf(
        "usage: %s STORE MOUNTPOINT [-f] [-o OPTION,...]\n"
        "Mount the key-value store in directory STORE, made if it is not there, at MOUNTPOINT.\n"
        "\n"
        "  -f                     stay in the foreground\n"
        "  -d, -o debug           stay in the foreground, and print every request\n"
        "  -h, --help             show this text\n"
        "  -V, --version          show the version\n"
        "\n"
        "options:\n"
        "  ro, rw                 refuse every change, or not (the default)\n"
        "  create, nocreate       make the store where there is none (the default), or refuse to; mount(8) and\n"
        "                         /etc/fstab have nocreate for a default\n"
        "  foreign_store          open a store that belongs to another user, or that others have rights on, too\n"
        "  cache_ttl=SECONDS      how long this node may serve what it knows (60; 0: always ask the store)\n"
        "  cache_size=SIZE        bytes of values kept in memory (256M, or half of memory_size)\n"
        "  node=NAME              this edge node's name (host name and process id)\n"
        "  durability=close       a close returns when the value is on disk (the default)\n"
        "  durability=fsync       a close returns when every node of this machine sees the value; fsync makes it\n"
        "                         durable, and so does the time\n"
        "  commit_interval_ms=N   with durability=fsync: the longest time until it is durable (100)\n"
        "  invalidate=push        what other nodes of this machine change is seen at once (the default)\n"
        "  invalidate=ttl         it is seen when cache_ttl has passed\n"
        "  commit_timeout=SECONDS the longest time that a change waits while another process holds the store "
        "(30)\n"
        "  map_size=SIZE          upper bound of the store's file, 4M or more (large, sparse)\n"
        "  memory_size=SIZE       open values beyond this are kept in unlinked files in STORE (512M, or a\n"
        "                         quarter of a container's memory, or twice the cache_size)\n"
        "  run_as=USER            started by root: mount, and then be this user, whose store it is\n"
        "  log_file=FILE          write the log there, and not to the system log or the journal; SIGHUP opens it\n"
        "                         anew\n"
        "  log_level=LEVEL        error, warning or info: what is of less importance is left out (info)\n"
        "  allow_other            let other users in; owners and modes decide what they may do\n"
        "  allow_root             let root in\n"
        "  auto_unmount           unmount when the daemon ends, however it ends\n"
        "  [no]suid, [no]dev, [no]exec, [no]atime, [a]sync, dirsync\n"
        "                         as for every mount; suid and dev for root only\n"
        "Options of /etc/fstab that are not for the file system (nofail, x-*, ...) are ignored.\n"
        "\n"
        "unmount with: fusermount3 -u MOUNTPOINT\n",
        program);
}
