#include "fs/content/way.h"

#include "fs/base/request.h"
#include "fs/content/handle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* Of a value, and one more where `past` does not begin with a page. */
#define WAY_WORDS ((KV_VALUE_MAX / FS_PAGE + 1) / 64 + 1)
/* A write(2) of more bytes than fit into a request goes on with another one behind it. */
#define WAY_REQUEST_LEAST ((1u << 20) - FS_PAGE)

/* Of all bodies' ways. A leaf. */
static pthread_mutex_t ways_lock = PTHREAD_MUTEX_INITIALIZER;

void fs_ways_free(struct fs_ways *ways) { free(ways->past.read); }

/* ----------------------------------------------------------------------------- choosing */

bool fs_way_begin(struct fs_handle *handle)
{
    struct fs_ways *ways = &handle->inode->body->ways;
    bool alone;

    pthread_mutex_lock(&ways_lock);
    alone = ++ways->cached == 1;
    pthread_mutex_unlock(&ways_lock);
    return alone;
}

static enum fs_way way_choose_locked(struct fs *fs, const struct fs_handle *handle, int flags)
{
    bool empties = (flags & (O_TRUNC | O_CREAT)) == O_TRUNC;

    if (!handle->writes)
        return FS_WAY_CACHE;
    if ((flags & O_ACCMODE) == O_RDWR)
        return FS_WAY_MAPPING;
    if (!fs->drops_pages || handle->inode->body->ways.mapping > 0 || flags & O_DSYNC)
        return FS_WAY_CACHE;
    return empties && fs_count_untold(fs, handle->inode) > 1 ? FS_WAY_CACHE : FS_WAY_PAST;
}

bool fs_way_choose(struct fs *fs, struct fs_handle *handle, int flags)
{
    struct fs_ways *ways = &handle->inode->body->ways;
    bool past;

    pthread_mutex_lock(&ways_lock);
    handle->way = way_choose_locked(fs, handle, flags);
    past = handle->way == FS_WAY_PAST;
    ways->mapping += handle->way == FS_WAY_MAPPING;
    ways->cached -= past;
    pthread_mutex_unlock(&ways_lock);
    return past;
}

void fs_way_end(struct fs_handle *handle)
{
    struct fs_ways *ways = &handle->inode->body->ways;

    pthread_mutex_lock(&ways_lock);
    ways->mapping -= handle->way == FS_WAY_MAPPING;
    ways->cached -= handle->way != FS_WAY_PAST;
    pthread_mutex_unlock(&ways_lock);
}

/* ------------------------------------------------------------ what was written past the cache */

/* The bit of the page that an offset of `past` is in. */
static uint64_t way_bit(const struct fs_ways *ways, uint64_t offset)
{
    return offset / FS_PAGE - ways->past.from / FS_PAGE;
}

static void way_set_read_locked(struct fs_ways *ways, uint64_t bit, bool read)
{
    uint64_t *word = &ways->past.read[bit / 64], mask = (uint64_t)1 << bit % 64;

    *word = read ? *word | mask : *word & ~mask;
}

static bool way_goes_on_locked(const struct fs_ways *ways, const struct fs_handle *handle, uint64_t offset)
{
    return ways->past.to == offset && ways->past.handle == handle && ways->past.thread == fs_request_thread() &&
           ways->past.to - ways->past.from >= WAY_REQUEST_LEAST;
}

static int way_write_locked(struct fs_ways *ways, const struct fs_handle *handle, uint64_t offset, uint64_t size)
{
    bool goes_on = way_goes_on_locked(ways, handle, offset);

    if (handle->way != FS_WAY_PAST || ways->mapping == 0) {
        ways->past.from = ways->past.to = 0;
        return 0;
    }
    if (ways->past.read == NULL && (ways->past.read = calloc(WAY_WORDS, sizeof(*ways->past.read))) == NULL)
        return -ENOMEM;
    if (!goes_on) {
        ways->past.from = offset;
        ways->past.handle = handle;
        ways->past.thread = fs_request_thread();
    }
    ways->past.to = offset + size;
    for (uint64_t bit = way_bit(ways, offset); bit <= way_bit(ways, offset + size - 1); bit++)
        way_set_read_locked(ways, bit, false);
    return 0;
}

int fs_way_write(struct fs_handle *handle, uint64_t offset, uint64_t size)
{
    int rc;

    pthread_mutex_lock(&ways_lock);
    rc = size > 0 ? way_write_locked(&handle->inode->body->ways, handle, offset, size) : 0;
    pthread_mutex_unlock(&ways_lock);
    return rc;
}

void fs_way_read(struct fs_body *body, uint64_t offset, uint64_t size)
{
    struct fs_ways *ways = &body->ways;
    uint64_t end;

    if (ways->past.to == 0)
        return;
    pthread_mutex_lock(&ways_lock);
    end = offset + size < ways->past.to ? offset + size : ways->past.to;
    if (offset < ways->past.from)
        offset = ways->past.from;
    for (uint64_t at = offset; at < end; at += FS_PAGE - at % FS_PAGE)
        way_set_read_locked(ways, way_bit(ways, at), true);
    pthread_mutex_unlock(&ways_lock);
}

/* Is the byte at an offset taken from a page that is written back? *to: up to where that is so of the bytes behind. */
static bool way_takes_locked(const struct fs_ways *ways, uint64_t offset, uint64_t *to)
{
    uint64_t bit, page_end = offset + FS_PAGE - offset % FS_PAGE;

    *to = page_end;
    if (offset >= ways->past.to)
        return true;
    if (offset < ways->past.from) {
        *to = ways->past.from < page_end ? ways->past.from : page_end;
        return true;
    }
    *to = ways->past.to < page_end ? ways->past.to : page_end;
    bit = way_bit(ways, offset);
    return ways->past.read[bit / 64] >> bit % 64 & 1;
}

bool fs_way_next(struct fs_body *body, uint64_t *from, uint64_t *to, uint64_t end)
{
    bool takes = false;

    pthread_mutex_lock(&ways_lock);
    do {
        *from = *to;
        if (*from < end)
            takes = way_takes_locked(&body->ways, *from, to);
    } while (*from < end && !takes);
    if (*to > end)
        *to = end;
    pthread_mutex_unlock(&ways_lock);
    return *from < end;
}
