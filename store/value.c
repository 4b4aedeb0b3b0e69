/* Reference-counted buffers.
 *
 * Model: `capacity` decides what kind of memory `data` is.
 *
 *     0             none
 *     < SMALL       malloc
 *     >= SMALL      whole pages: anonymous memory while the budget lasts, else (`spilled`) a shared mapping
 *                   of an unlinked file whose blocks are allocated beforehand, so that a full disk is an
 *                   error here and not a SIGBUS at some later store into `data`
 *
 * Invariants
 *   - the bytes from `size` up to `capacity` are zero, so growing in place needs no clearing
 *   - capacity <= KV_VALUE_MAX, and at most a quarter of `size` (and a little) is unused, so whoever
 *     counts sizes knows the memory
 *   - only the holder of the only reference changes anything but `refs`
 */
#include "store/value.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SMALL ((size_t)64 << 10)
#define MEMORY_DEFAULT ((size_t)512 << 20)

static struct {
    pthread_mutex_t lock;
    char dir[PATH_MAX]; /* "": the default */
} spill = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t memory_budget = MEMORY_DEFAULT;
static uint64_t memory_used, spill_used;

void value_configure(const char *spill_dir, size_t memory_bytes)
{
    __atomic_store_n(&memory_budget, memory_bytes > 0 ? memory_bytes : MEMORY_DEFAULT, __ATOMIC_RELAXED);
    pthread_mutex_lock(&spill.lock);
    /* A longer path is none that the kernel takes: cut, it fails when it is used. */
    snprintf(spill.dir, sizeof(spill.dir), "%s", spill_dir != NULL ? spill_dir : "");
    pthread_mutex_unlock(&spill.lock);
}

void value_usage(uint64_t *live_bytes, uint64_t *spilled_bytes)
{
    *spilled_bytes = __atomic_load_n(&spill_used, __ATOMIC_RELAXED);
    *live_bytes = __atomic_load_n(&memory_used, __ATOMIC_RELAXED) + *spilled_bytes;
}

static size_t whole_pages(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return (size + page - 1) / page * page;
}

/* What to reserve for a value that is to have room for `want` bytes. */
static size_t capacity_for(size_t want)
{
    if (want > KV_VALUE_MAX)
        want = KV_VALUE_MAX;
    return want < SMALL ? want : whole_pages(want);
}

static bool is_wasteful(size_t capacity, size_t size)
{
    return capacity - size > size / 4 + (capacity < SMALL ? 64 : whole_pages(1));
}

/* Take `bytes` of the memory budget. returns false where it has no room for them */
static bool reserve_memory(size_t bytes)
{
    uint64_t used = __atomic_add_fetch(&memory_used, bytes, __ATOMIC_RELAXED);

    if (used <= __atomic_load_n(&memory_budget, __ATOMIC_RELAXED))
        return true;
    __atomic_sub_fetch(&memory_used, bytes, __ATOMIC_RELAXED);
    return false;
}

static int spill_error(int error)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
        return -ENOSPC;
    case ENOMEM:
    case EMFILE:
    case ENFILE:
        return -ENOMEM;
    default:
        return -EIO;
    }
}

/* returns  the descriptor of a new file without a name; <0 */
static int spill_open(void)
{
    char path[PATH_MAX + sizeof("/kvfs-XXXXXX")];
    const char *fallback = getenv("TMPDIR");
    int fd;

    if (fallback == NULL || fallback[0] == '\0')
        fallback = "/tmp";
    pthread_mutex_lock(&spill.lock);
    snprintf(path, PATH_MAX, "%s", spill.dir[0] != '\0' ? spill.dir : fallback);
    pthread_mutex_unlock(&spill.lock);

    fd = open(path, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
        return fd >= 0 ? fd : spill_error(errno);
    strcat(path, "/kvfs-XXXXXX"); /* a file system that has no O_TMPFILE */
    fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return spill_error(errno);
    unlink(path);
    return fd;
}

static int spill_map(size_t capacity, uint8_t **out)
{
    int fd = spill_open();
    void *data;
    int rc;

    if (fd < 0)
        return fd;
    do {
        rc = posix_fallocate(fd, 0, (off_t)capacity);
    } while (rc == EINTR);
    if (rc != 0) {
        rc = spill_error(rc);
        goto out;
    }
    data = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) {
        rc = spill_error(errno);
        goto out;
    }
    *out = data;
out:
    close(fd);
    return rc;
}

static int memory_map(size_t capacity, uint8_t **out)
{
    void *data = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (data == MAP_FAILED)
        return -ENOMEM;
    *out = data;
    return 0;
}

/* Fill in data, capacity and spilled of *value: `capacity` zero bytes. */
static int alloc_data(struct kv_value *value, size_t capacity)
{
    uint8_t *data = NULL;
    bool spilled = false;
    int rc = 0;

    if (capacity > 0 && capacity < SMALL) {
        data = calloc(1, capacity);
        if (data == NULL)
            return -ENOMEM;
        __atomic_add_fetch(&memory_used, capacity, __ATOMIC_RELAXED);
    } else if (capacity > 0) {
        spilled = !reserve_memory(capacity);
        rc = spilled ? spill_map(capacity, &data) : memory_map(capacity, &data);
        if (rc < 0) {
            if (!spilled)
                __atomic_sub_fetch(&memory_used, capacity, __ATOMIC_RELAXED);
            return rc;
        }
        if (spilled)
            __atomic_add_fetch(&spill_used, capacity, __ATOMIC_RELAXED);
    }
    value->data = data;
    value->capacity = capacity;
    value->spilled = spilled;
    return 0;
}

static void free_data(struct kv_value *value)
{
    if (value->capacity < SMALL)
        free(value->data);
    else
        munmap(value->data, value->capacity);
    __atomic_sub_fetch(value->spilled ? &spill_used : &memory_used, value->capacity, __ATOMIC_RELAXED);
}

/* Change the length of a mapping of anonymous memory without copying.
 * returns  false where that cannot be; nothing is changed then */
static bool remap(struct kv_value *value, size_t capacity)
{
    void *data;

    if (value->spilled || value->capacity < SMALL || capacity < SMALL)
        return false;
    if (capacity > value->capacity && !reserve_memory(capacity - value->capacity))
        return false;
    data = mremap(value->data, value->capacity, capacity, MREMAP_MAYMOVE);
    if (data == MAP_FAILED) {
        if (capacity > value->capacity)
            __atomic_sub_fetch(&memory_used, capacity - value->capacity, __ATOMIC_RELAXED);
        return false;
    }
    if (capacity < value->capacity)
        __atomic_sub_fetch(&memory_used, value->capacity - capacity, __ATOMIC_RELAXED);
    value->data = data;
    value->capacity = capacity;
    return true;
}

/* Give a value that only the caller holds another capacity, keeping its first `keep` bytes. */
static int move_data(struct kv_value *value, size_t capacity, size_t keep)
{
    struct kv_value moved = *value;
    int rc;

    if (remap(value, capacity))
        return 0;
    rc = alloc_data(&moved, capacity);
    if (rc < 0)
        return rc;
    if (keep > 0)
        memcpy(moved.data, value->data, keep);
    free_data(value);
    *value = moved;
    return 0;
}

int kv_value_new(size_t size, struct kv_value **out)
{
    struct kv_value *value;
    int rc;

    if (size > KV_VALUE_MAX)
        return -EFBIG;
    value = malloc(sizeof(*value));
    if (value == NULL)
        return -ENOMEM;
    rc = alloc_data(value, capacity_for(size));
    if (rc < 0) {
        free(value);
        return rc;
    }
    value->size = size;
    value->refs = 1;
    *out = value;
    return 0;
}

int kv_value_copy(const void *bytes, size_t size, struct kv_value **out)
{
    int rc = kv_value_new(size, out);

    if (rc == 0 && size > 0)
        memcpy((*out)->data, bytes, size);
    return rc;
}

struct kv_value *kv_value_ref(struct kv_value *value)
{
    __atomic_add_fetch(&value->refs, 1, __ATOMIC_RELAXED);
    return value;
}

void kv_value_unref(struct kv_value *value)
{
    if (value == NULL || __atomic_sub_fetch(&value->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    free_data(value);
    free(value);
}

static int resize_shared(struct kv_value **value, size_t size)
{
    struct kv_value *own;
    int rc = kv_value_new(size, &own);

    if (rc < 0)
        return rc;
    if (size > (*value)->size)
        size = (*value)->size;
    if (size > 0)
        memcpy(own->data, (*value)->data, size);
    kv_value_unref(*value);
    *value = own;
    return 0;
}

int kv_value_resize(struct kv_value **value, size_t size)
{
    struct kv_value *own = *value;
    size_t had = own->size, dirty, quarter_more = own->capacity / 4 * 5; /* so that many small steps stay cheap */
    int rc;

    if (size > KV_VALUE_MAX)
        return -EFBIG;
    if (__atomic_load_n(&own->refs, __ATOMIC_ACQUIRE) > 1)
        return resize_shared(value, size);

    if (size > own->capacity) {
        rc = move_data(own, capacity_for(size > quarter_more ? size : quarter_more), had);
        if (rc < 0)
            return rc;
    } else if (size < had) {
        if (is_wasteful(own->capacity, size))
            (void)move_data(own, capacity_for(size), size); /* no room to move to: it stays */
        dirty = had < own->capacity ? had : own->capacity;
        if (dirty > size)
            memset(own->data + size, 0, dirty - size);
    }
    own->size = size;
    return 0;
}
