/* What the command line says, checked: filled in by cli/. Plain data, constant while the node serves. */
#ifndef KVFS_FS_BASE_OPTIONS_H
#define KVFS_FS_BASE_OPTIONS_H

#include "store/kv.h"

#include <fuse_opt.h>

/* By importance. */
enum fs_log_level { FS_LOG_ERROR, FS_LOG_WARNING, FS_LOG_INFO };

struct fs_options {
    char *store;        /* absolute */
    dev_t store_device; /* the directory itself, from the opening of the store on */
    ino_t store_inode;
    char *mountpoint; /* absolute */
    char *node;       /* this edge node's name; NULL until fs_options_name_node() */
    char *run_as;     /* a user's name; NULL: who starts it */
    char *log_file;   /* absolute; NULL: the system log, or the journal */
    enum fs_log_level log_level;
    bool foreground;
    bool debug; /* libfuse prints every request */
    bool read_only;
    bool io_uring;              /* requests come over it, and not through /dev/fuse */
    bool foreign_store, create; /* as kv_options has them */
    bool help, version;
    int64_t cache_ttl_ms;
    size_t cache_bytes;
    size_t map_bytes; /* 0: the store's default */
    size_t memory_bytes;
    enum kv_durability durability;
    enum kv_invalidate invalidate;
    int64_t commit_interval_ms;
    int64_t commit_timeout_ms; /* that a change waits for the store's writer */
    struct fuse_args fuse;     /* what libfuse gets: argv[0] and mount options */
};

#endif
