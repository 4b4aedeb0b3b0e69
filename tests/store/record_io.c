/* The names with and without 64 are both defined here, so they must not be made the same by the headers. */
#undef _FILE_OFFSET_BITS

#include "tests/store/record_io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == 8, "both names take the same offsets");

static struct {
    pthread_mutex_t lock; /* held over a system call and the note of it */
    char dir[PATH_MAX];   /* "": nothing is recorded */
    struct record_io_log log;
    size_t capacity;
    struct record_io_fault fault;
} recorder = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ------------------------------------------------------------------------ the log */

void record_io_start(const char *dir)
{
    pthread_mutex_lock(&recorder.lock);
    snprintf(recorder.dir, sizeof(recorder.dir), "%s", dir);
    recorder.log = (struct record_io_log){0};
    recorder.capacity = 0;
    pthread_mutex_unlock(&recorder.lock);
}

unsigned record_io_fail(struct record_io_fault fault)
{
    unsigned left;

    pthread_mutex_lock(&recorder.lock);
    left = recorder.fault.times;
    recorder.fault = fault;
    pthread_mutex_unlock(&recorder.lock);
    return left;
}

size_t record_io_position(void)
{
    size_t position;

    pthread_mutex_lock(&recorder.lock);
    position = recorder.log.count;
    pthread_mutex_unlock(&recorder.lock);
    return position;
}

struct record_io_log record_io_stop(void)
{
    struct record_io_log log;

    pthread_mutex_lock(&recorder.lock);
    recorder.dir[0] = '\0';
    log = recorder.log;
    pthread_mutex_unlock(&recorder.lock);
    return log;
}

void record_io_free(struct record_io_log *log)
{
    for (size_t i = 0; i < log->count; i++)
        free(log->events[i].bytes);
    free(log->events);
    *log = (struct record_io_log){0};
}

static void *checked(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

/* The lock is held. */
static struct record_io_event *add(enum record_io_kind kind, uint64_t at)
{
    struct record_io_log *log = &recorder.log;

    if (log->count == recorder.capacity) {
        recorder.capacity = recorder.capacity == 0 ? 1024 : 2 * recorder.capacity;
        log->events = checked(realloc(log->events, recorder.capacity * sizeof(*log->events)));
    }
    log->events[log->count] = (struct record_io_event){.kind = kind, .at = at};
    return &log->events[log->count++];
}

static void add_write(int fd, const struct iovec *parts, int count, ssize_t written, off_t at)
{
    struct record_io_event *event = add(RECORD_IO_WRITE, (uint64_t)at);
    size_t left = (size_t)written;

    event->durable = (fcntl(fd, F_GETFL) & O_DSYNC) != 0;
    event->bytes = checked(malloc(left));
    for (int i = 0; i < count && left > 0; i++) {
        size_t part = parts[i].iov_len < left ? parts[i].iov_len : left;

        memcpy(event->bytes + event->size, parts[i].iov_base, part);
        event->size += part;
        left -= part;
    }
}

/* --------------------------------------------------------------- what is recorded */

enum what { NOTHING, THE_FILE, THE_DIRECTORY };

/* The lock is held. */
static enum what what_is(int fd)
{
    char link[64], path[PATH_MAX];
    size_t above = strlen(recorder.dir);
    ssize_t size;

    if (above == 0)
        return NOTHING;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    size = readlink(link, path, sizeof(path) - 1);
    if (size < 0)
        return NOTHING;
    path[size] = '\0';
    if (strncmp(path, recorder.dir, above) != 0)
        return NOTHING;
    if (path[above] == '\0')
        return THE_DIRECTORY;
    return strcmp(path + above, "/data.mdb") == 0 || strcmp(path + above, "/data.mdb.new") == 0 ? THE_FILE
                                                                                                : NOTHING;
}

enum { HEADERS = 2 * 4096 };

/* Shall this call fail? The lock is held. */
static bool fails(enum record_io_kind kind, int fd, off_t at)
{
    struct record_io_fault *fault = &recorder.fault;

    if (fault->times == 0 || fault->kind != kind || what_is(fd) != THE_FILE ||
        (kind == RECORD_IO_WRITE && fault->header != (at < HEADERS)))
        return false;
    fault->times--;
    return true;
}

/* The lock is held. */
static ssize_t write_badly(int fd, const struct iovec *parts, int count, off_t at)
{
    struct iovec half = {parts[0].iov_base, parts[0].iov_len / 2};

    if (recorder.fault.error == 0)
        return syscall(SYS_pwritev, fd, &half, 1, at, 0);
    if (recorder.fault.kept && syscall(SYS_pwritev, fd, parts, count, at, 0) < 0)
        abort();
    recorder.fault.kept = false;
    errno = recorder.fault.error;
    return -1;
}

static ssize_t write_at(int fd, const struct iovec *parts, int count, off_t at)
{
    ssize_t written;

    pthread_mutex_lock(&recorder.lock);
    if (fails(RECORD_IO_WRITE, fd, at))
        written = write_badly(fd, parts, count, at);
    else
        written = syscall(SYS_pwritev, fd, parts, count, at, 0);
    if (written > 0 && what_is(fd) == THE_FILE)
        add_write(fd, parts, count, written, at);
    pthread_mutex_unlock(&recorder.lock);
    return written;
}

static int set_size(int fd, off_t size)
{
    int rc;

    pthread_mutex_lock(&recorder.lock);
    rc = (int)syscall(SYS_ftruncate, fd, size);
    if (rc == 0 && what_is(fd) == THE_FILE)
        add(RECORD_IO_SIZE, (uint64_t)size);
    pthread_mutex_unlock(&recorder.lock);
    return rc;
}

static int grow(int fd, int mode, off_t at, off_t size)
{
    int rc;

    pthread_mutex_lock(&recorder.lock);
    rc = (int)syscall(SYS_fallocate, fd, mode, at, size);
    if (rc == 0 && what_is(fd) == THE_FILE) {
        if (mode != 0)
            abort(); /* not expected of a store, and not understood here */
        add(RECORD_IO_GROW, (uint64_t)(at + size));
    }
    pthread_mutex_unlock(&recorder.lock);
    return rc;
}

static int flush(int fd, long number)
{
    int rc;

    pthread_mutex_lock(&recorder.lock);
    if (fails(RECORD_IO_FLUSH, fd, 0)) {
        if (recorder.fault.then != NULL)
            recorder.fault.then();
        errno = recorder.fault.error;
        rc = -1;
    } else {
        rc = (int)syscall(number, fd);
    }
    if (rc == 0) {
        enum what what = what_is(fd);

        if (what != NOTHING)
            add(what == THE_FILE ? RECORD_IO_FLUSH : RECORD_IO_FLUSH_NAMES, 0);
    }
    pthread_mutex_unlock(&recorder.lock);
    return rc;
}

/* ------------------------------------------------------ the system's functions */

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at)
{
    return write_at(fd, &(struct iovec){(void *)bytes, size}, 1, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) { return pwrite(fd, bytes, size, at); }

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t written;

    if (at < 0)
        return syscall(SYS_writev, fd, parts, count);
    written = write_at(fd, parts, count, at);
    if (written > 0)
        lseek(fd, at + written, SEEK_SET);
    return written;
}

int ftruncate(int fd, off_t size) { return set_size(fd, size); }
int ftruncate64(int fd, off64_t size) { return set_size(fd, size); }

int fallocate(int fd, int mode, off_t at, off_t size) { return grow(fd, mode, at, size); }
int fallocate64(int fd, int mode, off64_t at, off64_t size) { return grow(fd, mode, at, size); }

int fdatasync(int fd) { return flush(fd, SYS_fdatasync); }
int fsync(int fd) { return flush(fd, SYS_fsync); }

int renameat(int old_dir, const char *old_name, int new_dir, const char *new_name)
{
    int rc;

    pthread_mutex_lock(&recorder.lock);
    rc = (int)syscall(SYS_renameat2, old_dir, old_name, new_dir, new_name, 0);
    if (rc == 0 && what_is(new_dir) == THE_DIRECTORY && strcmp(new_name, "data.mdb") == 0)
        add(RECORD_IO_RENAME, 0);
    pthread_mutex_unlock(&recorder.lock);
    return rc;
}
