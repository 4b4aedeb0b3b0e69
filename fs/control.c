#include "fs/control.h"

#include "fs/attr.h"
#include "fs/errors.h"
#include "fs/options.h"
#include "fs/stats.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int control_text(struct fs *fs, char **out, size_t *size);

static int errors_text(struct fs *fs, char **out, size_t *size) { return fs_errors_text(fs->errors, out, size); }

static int config_text(struct fs *fs, char **out, size_t *size)
{
    const struct fs_options *options = fs->options;
    FILE *text = open_memstream(out, size);

    if (text == NULL)
        return -ENOMEM;
    fprintf(text, "version=%s\n", KVFS_VERSION);
    fprintf(text, "store=%s\n", options->store);
    fprintf(text, "mountpoint=%s\n", options->mountpoint);
    fprintf(text, "node=%s\n", options->node);
    fprintf(text, "ro=%s\n", options->read_only ? "yes" : "no");
    fprintf(text, "cache_ttl=%lld.%03lld\n", (long long)options->cache_ttl_ms / 1000,
            (long long)options->cache_ttl_ms % 1000);
    fprintf(text, "cache_size=%zu\n", options->cache_bytes);
    fprintf(text, "durability=%s\n", options->durability == KV_DURABILITY_CLOSE ? "close" : "fsync");
    fprintf(text, "commit_interval_ms=%lld\n", (long long)options->commit_interval_ms);
    return fclose(text) == 0 ? 0 : -ENOMEM;
}

/* Inode numbers below the store's first; the directory has FIRST_INO. */
enum { FIRST_INO = 2 };

static const struct control_file {
    const char *name;
    control_text *text;
} files[] = {{"config", config_text}, {"errors", errors_text}, {"stats", fs_stats_text}};

#define FILES (sizeof(files) / sizeof(files[0]))

const char *fs_control_name(size_t n, uint64_t *ino)
{
    if (n >= FILES)
        return NULL;
    *ino = FIRST_INO + 1 + n;
    return files[n].name;
}

int fs_control_lookup(struct fs *fs, struct fs_inode *parent, const char *name, struct fuse_entry_param *entry)
{
    enum fs_kind kind = parent->kind == FS_CONTROL_DIR ? FS_CONTROL_FILE : FS_CONTROL_DIR;
    struct fs_inode *inode;
    uint64_t ino = FIRST_INO;
    int rc;

    if (kind == FS_CONTROL_FILE) {
        const char *known;
        size_t n = 0;

        while ((known = fs_control_name(n, &ino)) != NULL && strcmp(known, name) != 0)
            n++;
        if (known == NULL)
            return -ENOENT;
    }
    rc = fs_inode_control(fs, kind, ino, &inode);
    if (rc < 0)
        return rc;
    fs_attr_of_control(fs, inode, &entry->attr);
    entry->ino = fs_inode_id(inode);
    entry->attr_timeout = 0;
    entry->entry_timeout = fs_timeout_full(fs);
    fs_inode_to_kernel(fs, inode);
    return 0;
}

int fs_control_text(struct fs *fs, const struct fs_inode *inode, char **out, size_t *size)
{
    return files[inode->id - FIRST_INO - 1].text(fs, out, size);
}
