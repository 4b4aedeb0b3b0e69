#include "fs/nodes/attr.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* The kernel counts a timeout from when it gets the answer, in ticks that it rounds up. */
#define UNDER_WAY_MS 10

static double timeout_of(int64_t remaining_ms)
{
    return remaining_ms > UNDER_WAY_MS ? (double)(remaining_ms - UNDER_WAY_MS) / 1000 : 0;
}

double fs_timeout_of(const struct kv_fresh *fresh) { return timeout_of(fresh->remaining_ms); }

double fs_timeout_full(const struct fs *fs) { return timeout_of(fs->options->cache_ttl_ms); }

double fs_timeout_of_key(const struct fs *fs, const struct kv_meta *meta)
{
    int64_t left_ms = (meta->expires_ns - fs_now_ns()) / 1000000, ttl_ms = fs->options->cache_ttl_ms;

    return timeout_of(meta->expires_ns != 0 && left_ms < ttl_ms ? left_ms : ttl_ms);
}

static struct timespec attr_time(int64_t ns)
{
    struct timespec time = {ns / 1000000000, ns % 1000000000};

    if (time.tv_nsec < 0) { /* before 1970 */
        time.tv_sec--;
        time.tv_nsec += 1000000000;
    }
    return time;
}

static void attr_fill(const struct kv_attr *attr, mode_t type, uint64_t size, struct stat *out)
{
    *out = (struct stat){
        .st_ino = attr->ino,
        .st_mode = type | attr->mode,
        .st_nlink = 1,
        .st_uid = attr->uid,
        .st_gid = attr->gid,
        .st_size = (off_t)size,
        .st_blksize = 4096,
        .st_blocks = (blkcnt_t)((size + 511) / 512),
        .st_atim = attr_time(attr->atime_ns),
        .st_mtim = attr_time(attr->mtime_ns),
        .st_ctim = attr_time(attr->ctime_ns),
    };
}

int fs_binding_target(struct fs *fs, const struct kv_node *binding, char out[FS_TARGET_MAX])
{
    struct kv_node namespace;
    int rc = kv_node_get(fs->store, binding->target, &namespace);

    if (rc == 0)
        snprintf(out, FS_TARGET_MAX, "../../%s", namespace.name);
    return rc;
}

void fs_stat_of_node(struct fs *fs, const struct kv_node *node, struct stat *out)
{
    char target[FS_TARGET_MAX];
    int64_t touched_ns;

    if (node->kind == KV_BINDING) {
        bool known = fs_binding_target(fs, node, target) == 0;

        attr_fill(&node->attr, S_IFLNK | 0777, known ? strlen(target) : 0, out);
        return;
    }
    attr_fill(&node->attr, S_IFDIR, 0, out);
    touched_ns = fs_inode_touched_ns(fs, node->id);
    if (touched_ns > node->attr.ctime_ns)
        out->st_mtim = out->st_ctim = attr_time(touched_ns);
}

void fs_stat_of_key(const struct kv_meta *meta, struct stat *out)
{
    attr_fill(&meta->attr, S_IFREG, meta->size, out);
}
