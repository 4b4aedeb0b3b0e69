/* Reference-counted buffers.
 *
 * Model: what kind of memory `data` is
 *
 *     capacity 0          none
 *     spilled             a shared mapping of an unlinked file whose blocks are allocated beforehand, so that
 *                         a full disk is an error here and not a SIGBUS at some later store into `data`
 *     below MAPPED        malloc, which hands out memory again that is mapped already: page faults are what
 *                         large buffers cost
 *     else                anonymous pages, huge ones where the kernel has them; they grow without a copy
 *
 * The bound of memory
 *   Values fill the budget. Beyond it the small ones, for which a file is dear, have SMALL_ROOM, and those that are
 *   read from the central OVERDRAFT, where they cannot spill. Everything else spills, to a file each: so to at most
 *   FILES_MAX values, since a process can have some 65,000 mappings. Then -ENOMEM is the answer.
 *
 * Invariants
 *   - the bytes from `size` up to `capacity` are zero, so growing in place needs no clearing
 *   - capacity <= KV_VALUE_MAX; in memory at most a quarter of `size` (and a huge page of what was grown that
 *     far) is unused, so whoever counts sizes knows the memory. A file may be twice the size, since it
 *     grows by a copy
 *   - only the holder of the only reference changes anything but `refs`
 */
#include "store/base/value.h"

#include "store/base/cgroup.h"
#include "store/base/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SMALL ((size_t)64 << 10)      /* bytes; smaller values are small */
#define SMALL_ROOM ((size_t)64 << 20) /* memory beyond the budget, for small values */
#define FILES_MAX 32768u
#define MAPPED ((size_t)8 << 20)
#define HUGE_PAGE ((size_t)2 << 20)
#define MEMORY_DEFAULT ((size_t)512 << 20)
#define LIMIT_PART \
    4 /* of the control group's memory: there are small values, what is read, and a commit as well */
#define OVERDRAFT ((size_t)5 * KV_VALUE_MAX) /* memory beyond the budget, for reading while nothing can spill */

static struct {
    pthread_mutex_t lock;
    char dir[PATH_MAX]; /* "": the default */
} spill = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t memory_budget = MEMORY_DEFAULT;
static uint64_t memory_used, spill_used;
static unsigned files;

size_t value_budget_within(uint64_t limit)
{
    uint64_t part = limit / LIMIT_PART;

    return part >= MEMORY_DEFAULT ? MEMORY_DEFAULT : part > 0 ? (size_t)part : 1;
}

size_t value_budget(size_t memory_bytes)
{
    return memory_bytes > 0 ? memory_bytes : value_budget_within(cgroup_own_limit());
}

void value_configure(const char *spill_dir, size_t memory_bytes)
{
    __atomic_store_n(&memory_budget, value_budget(memory_bytes), __ATOMIC_RELAXED);
    pthread_mutex_lock(&spill.lock);
    /* A longer path is none that the kernel takes: cut, it fails when it is used. */
    snprintf(spill.dir, sizeof(spill.dir), "%s", spill_dir != NULL ? spill_dir : "");
    pthread_mutex_unlock(&spill.lock);
}

void value_leave(const char *spill_dir)
{
    pthread_mutex_lock(&spill.lock);
    if (spill_dir != NULL && strcmp(spill.dir, spill_dir) == 0)
        spill.dir[0] = '\0';
    pthread_mutex_unlock(&spill.lock);
}

void value_usage(uint64_t *live_bytes, uint64_t *spilled_bytes)
{
    *spilled_bytes = __atomic_load_n(&spill_used, __ATOMIC_RELAXED);
    *live_bytes = __atomic_load_n(&memory_used, __ATOMIC_RELAXED) + *spilled_bytes;
}

static size_t round_up(size_t size, size_t unit) { return (size + unit - 1) / unit * unit; }

static size_t page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }

/* What to reserve for a value of `size` bytes that need not grow. */
static size_t capacity_for(size_t size) { return size < SMALL ? size : round_up(size, page_size()); }

/* The same when it does grow: enough for many small steps to be cheap. */
static size_t capacity_to_grow(const struct kv_value *value, size_t size)
{
    size_t more = value->spilled ? value->capacity * 2 : value->capacity / 4 * 5;

    if (size < more)
        size = more;
    if (size >= MAPPED)
        size = round_up(size, HUGE_PAGE);
    return capacity_for(size < KV_VALUE_MAX ? size : KV_VALUE_MAX);
}

static bool is_wasteful(const struct kv_value *value, size_t size)
{
    size_t slack = value->spilled ? size : size / 4;

    return value->capacity > size + slack + (value->capacity < SMALL && !value->spilled ? 64 : page_size());
}

/* Take memory for a capacity of which `had` bytes are taken already.
 * returns  false where the budget and the overdraft have no room for it */
static bool reserve_memory(size_t capacity, size_t had, size_t overdraft)
{
    uint64_t used = __atomic_add_fetch(&memory_used, capacity - had, __ATOMIC_RELAXED);
    uint64_t most = __atomic_load_n(&memory_budget, __ATOMIC_RELAXED) + overdraft;

    if (capacity < SMALL)
        most += SMALL_ROOM;
    if (capacity <= had || used <= most)
        return true;
    __atomic_sub_fetch(&memory_used, capacity - had, __ATOMIC_RELAXED);
    return false;
}

static int spill_error(int error)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: /* beyond the limit of file sizes */
        return -ENOSPC;
    case ENOMEM:
    case EMFILE:
    case ENFILE:
        return -ENOMEM;
    default:
        return -EIO;
    }
}

/* In a store of somebody else's the file counts for that one's quota of the disk, too. `dir` is its directory.
 * returns  fd; <0, and it is closed */
static int spill_give(int fd, const char *dir)
{
    int dir_fd = geteuid() == 0 ? open(dir, O_PATH | O_CLOEXEC) : -1;
    int rc = dir_fd >= 0 ? owner_give(dir_fd, fd) : 0;

    if (dir_fd >= 0)
        close(dir_fd);
    if (rc == 0)
        return fd;
    close(fd);
    return spill_error(-rc);
}

/* returns  the descriptor of a new file without a name; <0 */
static int spill_open(void)
{
    char path[PATH_MAX + sizeof("/kvfs-XXXXXX")], *end;
    const char *fallback = getenv("TMPDIR");
    int fd;

    if (fallback == NULL || fallback[0] == '\0')
        fallback = "/tmp";
    pthread_mutex_lock(&spill.lock);
    snprintf(path, PATH_MAX, "%s", spill.dir[0] != '\0' ? spill.dir : fallback);
    pthread_mutex_unlock(&spill.lock);

    fd = open(path, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return spill_give(fd, path);
    if (errno != EOPNOTSUPP && errno != EISDIR)
        return spill_error(errno);
    end = path + strlen(path);
    strcpy(end, "/kvfs-XXXXXX"); /* a file system that has no O_TMPFILE */
    fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return spill_error(errno);
    unlink(path);
    *end = '\0';
    return spill_give(fd, path);
}

static int write_all(int fd, const uint8_t *from, size_t size)
{
    for (size_t at = 0; at < size;) {
        ssize_t written = pwrite(fd, from + at, size - at, (off_t)at);

        if (written < 0 && errno != EINTR)
            return errno;
        at += written > 0 ? (size_t)written : 0;
    }
    return 0;
}

/* The three kinds of memory: `capacity` bytes that begin with the `keep` bytes of `from`, then zeros. */

static int file_alloc(size_t capacity, const uint8_t *from, size_t keep, uint8_t **out)
{
    int fd = spill_open();
    void *data;
    int error;

    if (fd < 0)
        return fd;
    do {
        error = posix_fallocate(fd, 0, (off_t)capacity);
    } while (error == EINTR);
    if (error == 0)
        error = write_all(fd, from, keep); /* much cheaper than through the mapping */
    if (error != 0)
        goto out;
    data = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED)
        error = errno;
    else
        *out = data;
out:
    close(fd);
    return error == 0 ? 0 : spill_error(error);
}

static int spill_alloc(size_t capacity, const uint8_t *from, size_t keep, uint8_t **out)
{
    int rc = -ENOMEM;

    if (__atomic_add_fetch(&files, 1, __ATOMIC_RELAXED) <= FILES_MAX)
        rc = file_alloc(capacity, from, keep, out);
    if (rc == 0)
        __atomic_add_fetch(&spill_used, capacity, __ATOMIC_RELAXED);
    else
        __atomic_sub_fetch(&files, 1, __ATOMIC_RELAXED);
    return rc;
}

static int heap_alloc(size_t capacity, const uint8_t *from, size_t keep, uint8_t **out)
{
    uint8_t *data = keep > 0 ? malloc(capacity) : calloc(1, capacity);

    if (data == NULL)
        return -ENOMEM;
    if (keep > 0) {
        memcpy(data, from, keep);
        memset(data + keep, 0, capacity - keep);
    }
    *out = data;
    return 0;
}

static int pages_alloc(size_t capacity, const uint8_t *from, size_t keep, uint8_t **out)
{
    void *data = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (data == MAP_FAILED)
        return -ENOMEM;
    madvise(data, capacity, MADV_HUGEPAGE); /* only advice: not every kernel has them */
    if (keep > 0)
        memcpy(data, from, keep);
    *out = data;
    return 0;
}

/* Memory that is reserved already; on failure it is given back. */
static int memory_alloc(size_t capacity, const uint8_t *from, size_t keep, uint8_t **out)
{
    int rc = 0;

    if (capacity >= MAPPED)
        rc = pages_alloc(capacity, from, keep, out);
    else if (capacity > 0)
        rc = heap_alloc(capacity, from, keep, out);
    if (rc < 0)
        __atomic_sub_fetch(&memory_used, capacity, __ATOMIC_RELAXED);
    return rc;
}

/* Fill in data, capacity and spilled of *value. overdraft: how far memory may go beyond the budget where no file can
 * be had */
static int alloc_data(struct kv_value *value, size_t capacity, const uint8_t *from, size_t keep, size_t overdraft)
{
    bool spilled = !reserve_memory(capacity, 0, 0);
    uint8_t *data = NULL;
    int rc = 0;

    if (spilled) {
        rc = spill_alloc(round_up(capacity, page_size()), from, keep, &data);
        if (rc < 0 && overdraft > 0)
            spilled = !reserve_memory(capacity, 0, overdraft);
    }
    if (!spilled)
        rc = memory_alloc(capacity, from, keep, &data);
    if (rc < 0)
        return rc;
    value->data = data;
    value->capacity = spilled ? round_up(capacity, page_size()) : capacity;
    value->spilled = spilled;
    return 0;
}

static void free_data(struct kv_value *value)
{
    if (value->spilled || value->capacity >= MAPPED)
        munmap(value->data, value->capacity);
    else
        free(value->data);
    __atomic_sub_fetch(value->spilled ? &spill_used : &memory_used, value->capacity, __ATOMIC_RELAXED);
    if (value->spilled)
        __atomic_sub_fetch(&files, 1, __ATOMIC_RELAXED);
}

/* Change the capacity of a value that is in memory, without a copy where that can be.
 * returns  false where the kind of memory has to change; nothing is changed then */
static bool stretch(struct kv_value *value, size_t capacity)
{
    size_t had = value->capacity;
    void *data;

    if (value->spilled || had == 0 || capacity == 0 || (had < MAPPED) != (capacity < MAPPED) ||
        !reserve_memory(capacity, had, 0))
        return false;
    data = had < MAPPED ? realloc(value->data, capacity) : mremap(value->data, had, capacity, MREMAP_MAYMOVE);
    if (data == NULL || data == MAP_FAILED) {
        __atomic_sub_fetch(&memory_used, capacity - had, __ATOMIC_RELAXED);
        return false;
    }
    value->data = data;
    value->capacity = capacity;
    if (had < MAPPED && capacity > had)
        memset(value->data + had, 0, capacity - had);
    return true;
}

/* Give a value that only the caller holds another capacity, keeping its first `keep` bytes. */
static int move_data(struct kv_value *value, size_t capacity, size_t keep)
{
    struct kv_value moved = *value;
    int rc;

    if (stretch(value, capacity))
        return 0;
    rc = alloc_data(&moved, capacity, value->data, keep, 0);
    if (rc < 0)
        return rc;
    free_data(value);
    *value = moved;
    return 0;
}

/* A new value that begins with the `keep` bytes of `from`. */
static int new_value(size_t size, const uint8_t *from, size_t keep, size_t overdraft, struct kv_value **out)
{
    struct kv_value *value;
    int rc;

    if (size > KV_VALUE_MAX)
        return -EFBIG;
    value = malloc(sizeof(*value));
    if (value == NULL)
        return -ENOMEM;
    rc = alloc_data(value, capacity_for(size), from, keep, overdraft);
    if (rc < 0) {
        free(value);
        return rc;
    }
    value->size = size;
    value->refs = 1;
    *out = value;
    return 0;
}

int kv_value_new(size_t size, struct kv_value **out) { return new_value(size, NULL, 0, 0, out); }

int kv_value_copy(const void *bytes, size_t size, struct kv_value **out)
{
    return new_value(size, bytes, size, 0, out);
}

int value_new_to_read(size_t size, struct kv_value **out) { return new_value(size, NULL, 0, OVERDRAFT, out); }

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
    size_t had = (*value)->size;
    struct kv_value *own;
    int rc = new_value(size, (*value)->data, size < had ? size : had, 0, &own);

    if (rc < 0)
        return rc;
    kv_value_unref(*value);
    *value = own;
    return 0;
}

int kv_value_resize(struct kv_value **value, size_t size)
{
    struct kv_value *own = *value;
    size_t had = own->size, dirty;
    int rc;

    if (size > KV_VALUE_MAX)
        return -EFBIG;
    if (__atomic_load_n(&own->refs, __ATOMIC_ACQUIRE) > 1)
        return resize_shared(value, size);

    if (size > own->capacity) {
        rc = move_data(own, capacity_to_grow(own, size), had);
        if (rc < 0)
            return rc;
    } else if (size < had) {
        if (is_wasteful(own, size))
            (void)move_data(own, capacity_for(size), size); /* no room to move to: it stays */
        dirty = had < own->capacity ? had : own->capacity;
        if (dirty > size)
            memset(own->data + size, 0, dirty - size);
    }
    own->size = size;
    return 0;
}
