/* /.kvfs/stats: the counters of this node in the Prometheus text format. */
#ifndef KVFS_FS_STATS_H
#define KVFS_FS_STATS_H

#include "fs/fs.h"

/* Count a request by the kernel's opcode (enum fuse_opcode). Safe from any thread. */
void fs_stats_request(uint32_t opcode);

/* The text of the file. *out is to be freed by the caller. returns 0; -ENOMEM */
KV_CHECKED int fs_stats_text(struct fs *fs, char **out, size_t *size);

#endif
