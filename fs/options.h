/* The command line of the daemon. */
#ifndef KVFS_FS_OPTIONS_H
#define KVFS_FS_OPTIONS_H

#include "store/kv.h"

#include <fuse_opt.h>

struct fs_options {
    char *store;      /* absolute */
    char *mountpoint; /* absolute */
    char *node;       /* this edge node's name; NULL until fs_options_name_node() */
    bool foreground;
    bool debug; /* libfuse prints every request */
    bool read_only;
    bool help, version;
    int64_t cache_ttl_ms;
    size_t cache_bytes;
    size_t map_bytes; /* 0: the store's default */
    size_t memory_bytes;
    enum kv_durability durability;
    int64_t commit_interval_ms;
    struct fuse_args fuse; /* what libfuse gets: argv[0] and mount options */
};

/* Parse argv, and check all of it: what comes after may rely on every value. Strings in *out are owned by it.
 * returns  0; -EINVAL after one line on standard error; -ENOMEM */
KV_CHECKED int fs_options_parse(int argc, char **argv, struct fs_options *out);
/* Give the node its name, if no option did: the host's and this process's id. For after the fork. */
KV_CHECKED int fs_options_name_node(struct fs_options *options);
void fs_options_free(struct fs_options *options);
void fs_options_usage(const char *program);

#endif
