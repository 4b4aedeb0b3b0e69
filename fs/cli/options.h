/* The command line of the daemon. */
#ifndef KVFS_FS_CLI_OPTIONS_H
#define KVFS_FS_CLI_OPTIONS_H

#include "fs/base/options.h"

/* Parse argv, and check all of it: what comes after may rely on every value. Strings in *out are owned by it.
 * returns  0; -EINVAL after one line on standard error; -ENOMEM */
KV_CHECKED int fs_options_parse(int argc, char **argv, struct fs_options *out);
/* Give the node its name, if no option did: the host's and this process's id. For after the fork. */
KV_CHECKED int fs_options_name_node(struct fs_options *options);
void fs_options_free(struct fs_options *options);
/* Print the help text. */
void fs_options_usage(const char *program);

#endif
