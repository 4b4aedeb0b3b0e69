/* /.kvfs/stats: the counters of this node in the Prometheus text format. */
#ifndef KVFS_FS_CONTROL_STATS_INTERNAL_H
#define KVFS_FS_CONTROL_STATS_INTERNAL_H

#include "fs/base/fs.h"

#include <stdio.h>

void fs_stats_write(struct fs *fs, FILE *text);

#endif
