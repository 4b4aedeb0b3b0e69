/* The names with and without 64 are both defined here, so they must not be made the same by the headers. */
#undef _FILE_OFFSET_BITS

#include "tests/store/record_io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == 8, "both names take the same offsets");

/* Address space; memory is taken as it is used. */
enum { EVENTS_MOST = 1 << 21, HEAD = 2 * 4096 };
#define BYTES_MOST ((size_t)8 << 30)

const char *const record_io_names[RECORD_IO_FILES] = {"data.mdb", "log"};

/* Shared with children. */
static struct recorder {
    pthread_mutex_t lock; /* held over a system call and the note of it */
    char dir[PATH_MAX];   /* "": nothing is recorded */
    size_t count, used;
    struct record_io_fault fault;
} * recorder;
static struct record_io_event *events;
static uint8_t *bytes_kept;

static struct record_io_calls dying;
static bool is_to_die;

/* ------------------------------------------------------------------------ the log */

static void *take_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED)
        abort();
    return memory;
}

static void lock(void)
{
    if (pthread_mutex_lock(&recorder->lock) == EOWNERDEAD)
        pthread_mutex_consistent(&recorder->lock);
}

static void unlock(void) { pthread_mutex_unlock(&recorder->lock); }

static bool is_recording(void) { return recorder != NULL && recorder->dir[0] != '\0'; }

static struct record_io_event *add_locked(enum record_io_kind kind, enum record_io_file file, uint64_t at)
{
    if (recorder->count == EVENTS_MOST)
        abort();
    events[recorder->count] = (struct record_io_event){.kind = kind, .file = file, .at = at};
    return &events[recorder->count++];
}

static uint8_t *keep_locked(struct record_io_event *event, size_t size)
{
    if (recorder->used + size > BYTES_MOST)
        abort();
    event->bytes = bytes_kept + recorder->used;
    event->size = size;
    recorder->used += size;
    return event->bytes;
}

static void add_write_locked(int fd, enum record_io_file file, const struct iovec *parts, int count, size_t left,
                             off_t at)
{
    struct record_io_event *event = add_locked(RECORD_IO_WRITE, file, (uint64_t)at);
    uint8_t *to = keep_locked(event, left);

    event->durable = (fcntl(fd, F_GETFL) & O_DSYNC) != 0;
    for (int i = 0; i < count && left > 0; i++) {
        size_t part = parts[i].iov_len < left ? parts[i].iov_len : left;

        memcpy(to, parts[i].iov_base, part);
        to += part;
        left -= part;
    }
}

/* What a file holds already. */
static void add_file_locked(const char *dir, enum record_io_file file)
{
    struct record_io_event *event;
    char path[PATH_MAX + 16];
    struct stat attr;
    int fd;

    snprintf(path, sizeof(path), "%s/%s", dir, record_io_names[file]);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fstat(fd, &attr) != 0)
        abort();
    event = add_locked(RECORD_IO_WRITE, file, 0);
    if (pread(fd, keep_locked(event, (size_t)attr.st_size), (size_t)attr.st_size, 0) != attr.st_size)
        abort();
    add_locked(RECORD_IO_FLUSH, file, 0);
    close(fd);
}

void record_io_start(const char *dir)
{
    pthread_mutexattr_t attr;

    if (recorder == NULL) {
        recorder = take_memory(sizeof(*recorder));
        pthread_mutexattr_init(&attr);
        pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
        pthread_mutex_init(&recorder->lock, &attr);
        pthread_mutexattr_destroy(&attr);
    }
    events = take_memory(EVENTS_MOST * sizeof(*events));
    bytes_kept = take_memory(BYTES_MOST);
    lock();
    recorder->count = recorder->used = 0;
    for (enum record_io_file file = 0; file < RECORD_IO_FILES; file++)
        add_file_locked(dir, file);
    snprintf(recorder->dir, sizeof(recorder->dir), "%s", dir);
    unlock();
}

size_t record_io_position(void)
{
    size_t position;

    lock();
    position = recorder->count;
    unlock();
    return position;
}

struct record_io_log record_io_stop(void)
{
    struct record_io_log log;

    lock();
    recorder->dir[0] = '\0';
    recorder->fault.times = 0;
    log = (struct record_io_log){events, recorder->count, bytes_kept};
    unlock();
    return log;
}

void record_io_free(struct record_io_log *log)
{
    munmap(log->events, EVENTS_MOST * sizeof(*log->events));
    munmap(log->bytes, BYTES_MOST);
    *log = (struct record_io_log){0};
}

/* --------------------------------------------------------------- what is recorded */

enum what { NOTHING = -2, THE_DIRECTORY = -1, THE_DATA = RECORD_IO_DATA, THE_LOG = RECORD_IO_LOG };

static enum what what_is_locked(int fd)
{
    char link[64], path[PATH_MAX];
    size_t above = strlen(recorder->dir);
    ssize_t size;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    size = readlink(link, path, sizeof(path) - 1);
    if (size < 0)
        return NOTHING;
    path[size] = '\0';
    if (above == 0 || strncmp(path, recorder->dir, above) != 0)
        return NOTHING;
    if (path[above] == '\0')
        return THE_DIRECTORY;
    if (strcmp(path + above, "/data.mdb") == 0 || strcmp(path + above, "/data.mdb.new") == 0)
        return THE_DATA;
    return strcmp(path + above, "/log") == 0 ? THE_LOG : NOTHING;
}

static bool is_one_of(struct record_io_calls *calls, enum record_io_kind kind, enum what what, off_t at)
{
    if (calls->kind != kind || calls->file != (enum record_io_file)what ||
        (calls->part != RECORD_IO_ANYWHERE && (calls->part == RECORD_IO_HEAD) != (at < HEAD)))
        return false;
    return calls->skip == 0 || calls->skip-- == 0;
}

static bool fails_locked(enum record_io_kind kind, enum what what, off_t at)
{
    if (recorder->fault.times == 0 || what < 0 || !is_one_of(&recorder->fault.calls, kind, what, at))
        return false;
    recorder->fault.times--;
    return true;
}

static void die_locked(enum record_io_kind kind, enum what what, off_t at)
{
    if (is_to_die && what >= 0 && is_one_of(&dying, kind, what, at))
        kill(getpid(), SIGKILL);
}

unsigned record_io_fail(struct record_io_fault fault)
{
    unsigned left;

    lock();
    left = recorder->fault.times;
    recorder->fault = fault;
    unlock();
    return left;
}

void record_io_die(struct record_io_calls calls)
{
    dying = calls;
    is_to_die = true;
}

static ssize_t write_badly_locked(int fd, const struct iovec *parts, int count, off_t at)
{
    struct iovec half = {parts[0].iov_base, parts[0].iov_len / 2};

    if (recorder->fault.error == 0)
        return syscall(SYS_pwritev, fd, &half, 1, at, 0);
    if (recorder->fault.kept && syscall(SYS_pwritev, fd, parts, count, at, 0) < 0)
        abort();
    recorder->fault.kept = false;
    errno = recorder->fault.error;
    return -1;
}

static ssize_t write_at(int fd, const struct iovec *parts, int count, off_t at)
{
    ssize_t written;
    enum what what;

    if (!is_recording())
        return syscall(SYS_pwritev, fd, parts, count, at, 0);
    lock();
    what = what_is_locked(fd);
    if (fails_locked(RECORD_IO_WRITE, what, at))
        written = write_badly_locked(fd, parts, count, at);
    else
        written = syscall(SYS_pwritev, fd, parts, count, at, 0);
    if (written > 0 && what >= 0) {
        add_write_locked(fd, (enum record_io_file)what, parts, count, (size_t)written, at);
        die_locked(RECORD_IO_WRITE, what, at);
    }
    unlock();
    return written;
}

static int set_size(int fd, off_t size)
{
    enum what what;
    int rc;

    if (!is_recording())
        return (int)syscall(SYS_ftruncate, fd, size);
    lock();
    what = what_is_locked(fd);
    rc = (int)syscall(SYS_ftruncate, fd, size);
    if (rc == 0 && what >= 0)
        add_locked(RECORD_IO_SIZE, (enum record_io_file)what, (uint64_t)size);
    unlock();
    return rc;
}

static int grow(int fd, int mode, off_t at, off_t size)
{
    enum what what;
    int rc;

    if (!is_recording())
        return (int)syscall(SYS_fallocate, fd, mode, at, size);
    lock();
    what = what_is_locked(fd);
    rc = (int)syscall(SYS_fallocate, fd, mode, at, size);
    if (rc == 0 && what >= 0) {
        if (mode != 0)
            abort(); /* not expected of a store, and not understood here */
        add_locked(RECORD_IO_GROW, (enum record_io_file)what, (uint64_t)(at + size));
    }
    unlock();
    return rc;
}

static int flush(int fd, long number)
{
    enum what what;
    int rc;

    if (!is_recording())
        return (int)syscall(number, fd);
    lock();
    what = what_is_locked(fd);
    if (fails_locked(RECORD_IO_FLUSH, what, 0)) {
        if (recorder->fault.then != NULL)
            recorder->fault.then();
        errno = recorder->fault.error;
        rc = -1;
    } else {
        rc = (int)syscall(number, fd);
    }
    if (rc == 0 && what == THE_DIRECTORY)
        add_locked(RECORD_IO_FLUSH_NAMES, RECORD_IO_DATA, 0);
    else if (rc == 0 && what >= 0)
        add_locked(RECORD_IO_FLUSH, (enum record_io_file)what, 0);
    if (rc == 0)
        die_locked(RECORD_IO_FLUSH, what, 0);
    unlock();
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

ssize_t write(int fd, const void *bytes, size_t size)
{
    return is_recording() ? writev(fd, &(struct iovec){(void *)bytes, size}, 1)
                          : syscall(SYS_write, fd, bytes, size);
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

    if (!is_recording())
        return (int)syscall(SYS_renameat2, old_dir, old_name, new_dir, new_name, 0);
    lock();
    rc = (int)syscall(SYS_renameat2, old_dir, old_name, new_dir, new_name, 0);
    if (rc == 0 && what_is_locked(new_dir) == THE_DIRECTORY && strcmp(new_name, "data.mdb") == 0)
        add_locked(RECORD_IO_RENAME, RECORD_IO_DATA, 0);
    unlock();
    return rc;
}

int unlinkat(int dir, const char *name, int flags)
{
    int rc;

    if (!is_recording())
        return (int)syscall(SYS_unlinkat, dir, name, flags);
    lock();
    rc = (int)syscall(SYS_unlinkat, dir, name, flags);
    if (rc == 0 && what_is_locked(dir) == THE_DIRECTORY && strcmp(name, "log") == 0)
        add_locked(RECORD_IO_UNLINK, RECORD_IO_LOG, 0);
    unlock();
    return rc;
}
