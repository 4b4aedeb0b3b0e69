#include "fs/control/control.h"

#include "fs/base/errorlog.h"
#include "fs/base/ledger.h"
#include "fs/control/stats_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <utlist.h>

struct fs_control_handle {
    enum fs_handle_kind kind; /* first, see base/fs.h */
    uid_t uid;                /* who opened it */
    char *text;
    size_t size;
    struct fs_control_handle *prev, *next; /* in control_handles */
};

/* Of the node. A RELEASE may come while the answer to the last READ is being sent: both take the lock. */
static pthread_mutex_t control_lock = PTHREAD_MUTEX_INITIALIZER;
static struct fs_control_handle *control_handles;

static void control_write_seconds(FILE *text, const char *name, int64_t ms)
{
    fprintf(text, "%s=%lld.%03lld\n", name, (long long)ms / 1000, (long long)ms % 1000);
}

static void control_write_config(struct fs *fs, FILE *text)
{
    const struct fs_options *options = fs->options;
    struct kv_stats stats;

    kv_stats(fs->store, &stats);
    fprintf(text, "version=%s\n", KVFS_VERSION);
    fprintf(text, "store=%s\n", options->store);
    fprintf(text, "store_device=%u:%u\n", major(options->store_device), minor(options->store_device));
    fprintf(text, "store_inode=%ju\n", (uintmax_t)options->store_inode);
    fprintf(text, "mountpoint=%s\n", options->mountpoint);
    fprintf(text, "node=%s\n", options->node);
    fprintf(text, "ro=%s\n", options->read_only ? "yes" : "no");
    fprintf(text, "foreign_store=%s\n", options->foreign_store ? "yes" : "no");
    fprintf(text, "io_uring=%s\n", options->io_uring ? "yes" : "no");
    control_write_seconds(text, "cache_ttl", options->cache_ttl_ms);
    fprintf(text, "cache_size=%zu\n", options->cache_bytes);
    fprintf(text, "memory_size=%zu\n", options->memory_bytes);
    fprintf(text, "map_size=%" PRIu64 "\n", stats.storage.limit_bytes);
    fprintf(text, "invalidate=%s\n", options->invalidate == KV_INVALIDATE_PUSH ? "push" : "ttl");
    fprintf(text, "durability=%s\n", options->durability == KV_DURABILITY_CLOSE ? "close" : "fsync");
    fprintf(text, "commit_interval_ms=%lld\n", (long long)options->commit_interval_ms);
    control_write_seconds(text, "commit_timeout", options->commit_timeout_ms);
}

enum { CONTROL_CONFIG, CONTROL_ERRORS, CONTROL_STATS, CONTROL_FILES };

static const char *const control_names[CONTROL_FILES] = {"config", "errors", "stats"};

static int control_text(struct fs *fs, int index, const struct fuse_ctx *who, char **out, size_t *size)
{
    FILE *text;

    if (index == CONTROL_ERRORS)
        return fs_error_log_text(fs->error_log, who->uid, fs_is_operator(who->uid), out, size);
    text = open_memstream(out, size);
    if (text == NULL)
        return -ENOMEM;
    if (index == CONTROL_CONFIG)
        control_write_config(fs, text);
    else
        fs_stats_write(fs, who, text);
    return fclose(text) == 0 ? 0 : -ENOMEM;
}

int fs_control_find(const char *name)
{
    for (int i = 0; i < CONTROL_FILES; i++)
        if (strcmp(control_names[i], name) == 0)
            return i;
    return -1;
}

const char *fs_control_name(size_t n, uint64_t *ino)
{
    if (n >= CONTROL_FILES)
        return NULL;
    *ino = FS_CONTROL_FIRST_INO + 1 + n;
    return control_names[n];
}

void fs_control_stat(const struct fs *fs, int index, struct stat *out)
{
    (void)fs;
    *out = (struct stat){
        .st_ino = FS_CONTROL_FIRST_INO + (uint64_t)(index - FS_CONTROL_TOP),
        .st_mode = index == FS_CONTROL_TOP ? S_IFDIR | 0555 : S_IFREG | 0444,
        .st_nlink = 1,
        .st_uid = geteuid(),
        .st_gid = getegid(),
        .st_blksize = 4096,
    };
    clock_gettime(CLOCK_REALTIME, &out->st_mtim);
    out->st_atim = out->st_ctim = out->st_mtim;
}

int fs_control_open(struct fs *fs, int index, const struct fuse_ctx *who, struct fs_control_handle **out)
{
    struct fs_control_handle *handle = calloc(1, sizeof(*handle));
    int rc = -ENOMEM;

    if (handle == NULL)
        return rc;
    handle->kind = FS_HANDLE_CONTROL;
    handle->uid = who->uid;
    rc = fs_ledger_charge(fs->users, who->uid, FS_CONTROL_HANDLES, 1, FS_CONTROL_HANDLES_MAX);
    if (rc == 0) {
        rc = control_text(fs, index, who, &handle->text, &handle->size);
        if (rc < 0)
            fs_ledger_release(fs->users, who->uid, FS_CONTROL_HANDLES, 1);
    }
    if (rc < 0) {
        free(handle);
        return rc == -EDQUOT ? -EMFILE : rc;
    }
    pthread_mutex_lock(&control_lock);
    DL_APPEND(control_handles, handle);
    pthread_mutex_unlock(&control_lock);
    *out = handle;
    return 0;
}

void fs_control_close(struct fs *fs, struct fs_control_handle *handle)
{
    pthread_mutex_lock(&control_lock);
    DL_DELETE(control_handles, handle);
    pthread_mutex_unlock(&control_lock);
    fs_ledger_release(fs->users, handle->uid, FS_CONTROL_HANDLES, 1);
    free(handle->text);
    free(handle);
}

void fs_control_read(struct fs_control_handle *handle, fuse_req_t req, size_t size, off_t offset)
{
    size_t from, left;

    pthread_mutex_lock(&control_lock);
    from = (size_t)offset < handle->size ? (size_t)offset : handle->size;
    left = handle->size - from;
    fuse_reply_buf(req, handle->text + from, size < left ? size : left);
    pthread_mutex_unlock(&control_lock);
}

void fs_controls_end(struct fs *fs)
{
    while (control_handles != NULL)
        fs_control_close(fs, control_handles);
}
