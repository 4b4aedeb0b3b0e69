/* /.kvfs/stats: this node in the Prometheus text format.
 *
 * Each series has the label mount, which is the mount point: it stays when the node is started anew, as its name need
 * not. Nothing in it is a mean or a rate; who reads the text makes those. Reading it waits for no commit and no
 * client, and takes a bounded time. */
#ifndef KVFS_FS_CONTROL_STATS_INTERNAL_H
#define KVFS_FS_CONTROL_STATS_INTERNAL_H

#include "fs/base/fs.h"

#include <stdio.h>

/* Of at most so many accounts is told how full they are; so many are looked at for who may not see all. */
#define FS_STATS_ACCOUNTS 1000u
#define FS_STATS_LOOKED_AT 10000u

/* who      reads it: of accounts it has those that he may read, and all for operators */
void fs_stats_write(struct fs *fs, const struct fuse_ctx *who, FILE *text);

/* What stats.c and accounts.c share. A family of series begins, which have the same name; help: a sentence. */
void fs_stats_family(FILE *text, const char *name, const char *type, const char *help);
/* Begin a sample "kvfs_NAME{mount="...": more labels, a '}', a space and the value are the caller's to write. */
void fs_stats_begin(const struct fs *fs, FILE *text, const char *name);
/* A family of one sample. */
void fs_stats_number(const struct fs *fs, FILE *text, const char *name, const char *type, const char *help,
                     uint64_t value);

/* How full the store and its accounts are. */
void fs_stats_accounts(struct fs *fs, const struct fuse_ctx *who, FILE *text);

#endif
