#include "fs/control.h"

#include "fs/attr.h"
#include "fs/errors.h"
#include "fs/options.h"
#include "fs/stats.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

typedef int control_text(struct fs *fs, char **out, size_t *size);

static int errors_text(struct fs *fs, char **out, size_t *size) { return fs_errors_text(fs->errors, out, size); }

static int config_text(struct fs *fs, char **out, size_t *size)
{
    const struct fs_options *options = fs->options;
    FILE *text = open_memstream(out, size);
    struct kv_stats stats;

    if (text == NULL)
        return -ENOMEM;
    kv_stats(fs->store, &stats);
    fprintf(text, "version=%s\n", KVFS_VERSION);
    fprintf(text, "store=%s\n", options->store);
    fprintf(text, "mountpoint=%s\n", options->mountpoint);
    fprintf(text, "node=%s\n", options->node);
    fprintf(text, "ro=%s\n", options->read_only ? "yes" : "no");
    fprintf(text, "cache_ttl=%lld.%03lld\n", (long long)options->cache_ttl_ms / 1000,
            (long long)options->cache_ttl_ms % 1000);
    fprintf(text, "cache_size=%zu\n", options->cache_bytes);
    fprintf(text, "memory_size=%zu\n", options->memory_bytes);
    fprintf(text, "map_size=%" PRIu64 "\n", stats.map_bytes);
    fprintf(text, "durability=%s\n", options->durability == KV_DURABILITY_CLOSE ? "close" : "fsync");
    fprintf(text, "commit_interval_ms=%lld\n", (long long)options->commit_interval_ms);
    return fclose(text) == 0 ? 0 : -ENOMEM;
}

/* Inode numbers below the store's first; the directory has FIRST_INO. */
enum { FIRST_INO = 2 };

/* Errors tell the names of keys, also those of accounts that are closed to others. */
static const struct control_file {
    const char *name;
    control_text *text;
    mode_t mode;
} files[] = {{"config", config_text, 0444}, {"errors", errors_text, 0400}, {"stats", fs_stats_text, 0444}};

#define FILES (sizeof(files) / sizeof(files[0]))

const char *fs_control_name(size_t n, uint64_t *ino)
{
    if (n >= FILES)
        return NULL;
    *ino = FIRST_INO + 1 + n;
    return files[n].name;
}

mode_t fs_control_mode(uint64_t ino) { return files[ino - FIRST_INO - 1].mode; }

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
    fs_attr_of_control(inode, &entry->attr);
    entry->ino = fs_inode_id(inode);
    entry->attr_timeout = 0;
    entry->entry_timeout = fs_timeout_full(fs);
    fs_inode_to_kernel(fs, inode);
    return 0;
}

struct fs_text {
    struct fs_text *prev, *next; /* in fs->texts; fs->lock */
    pthread_mutex_t lock;        /* a RELEASE may come while the answer to the last READ is being sent */
    char *bytes;
    size_t size;
};

int fs_text_open(struct fs *fs, const struct fs_inode *inode, struct fs_text **out)
{
    struct fs_text *text = calloc(1, sizeof(*text));
    int rc;

    if (text == NULL)
        return -ENOMEM;
    rc = files[inode->id - FIRST_INO - 1].text(fs, &text->bytes, &text->size);
    if (rc < 0) {
        free(text);
        return rc;
    }
    pthread_mutex_init(&text->lock, NULL);
    pthread_mutex_lock(&fs->lock);
    DL_APPEND(fs->texts, text);
    pthread_mutex_unlock(&fs->lock);
    *out = text;
    return 0;
}

void fs_text_close(struct fs *fs, struct fs_text *text)
{
    pthread_mutex_lock(&fs->lock);
    DL_DELETE(fs->texts, text);
    pthread_mutex_unlock(&fs->lock);
    pthread_mutex_lock(&text->lock);
    pthread_mutex_unlock(&text->lock);
    pthread_mutex_destroy(&text->lock);
    free(text->bytes);
    free(text);
}

void fs_text_read(struct fs_text *text, fuse_req_t req, size_t size, off_t offset)
{
    size_t from = (size_t)offset < text->size ? (size_t)offset : text->size;

    pthread_mutex_lock(&text->lock);
    fuse_reply_buf(req, text->bytes + from, size < text->size - from ? size : text->size - from);
    pthread_mutex_unlock(&text->lock);
}

void fs_texts_end(struct fs *fs)
{
    while (fs->texts != NULL)
        fs_text_close(fs, fs->texts);
}
