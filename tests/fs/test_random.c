/* Random operations on a mount and on a tmpfs, which must not be told apart.
 *
 * An episode begins with two empty directories (on the mount: namespaces) and no open file. Each operation is
 * made on both sides; then what it answered, the bytes that it read, and the attributes of the files that it
 * touched must be the same. The end of an episode closes everything, compares all contents, and now and then
 * again after an unmount and a mount.
 *
 * An operation carries all that it needs, and its effect depends on nothing but the operations before it in the
 * episode. So a failing episode can be repeated with some of its operations left out; that is how the sequence
 * that is printed gets short.
 *
 * What cannot be compared
 *   times     A file's mtime is set to a time long ago now and then. Both sides must then show that time, or,
 *             once the file was changed, both a time within this run. After a store through a shared
 *             mapping the moment of writing back decides, and its time is not looked at until it is set again.
 *   holes     kvfs may say that a hole is data. What it says is a hole must be zeros.
 *   ZERO_RANGE  tmpfs has none: there it is zeros written.
 *
 * Environment: KVFS_TEST_STEPS (100000), KVFS_TEST_SEED (random).
 */
#include "tests/support/mount.h"
#include "tests/support/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include <linux/falloc.h>
#include <linux/magic.h>

#define DIRS 2
#define KEYS 12 /* in each directory */
#define NAMES (DIRS * KEYS)
#define HANDLES 16
#define MAPS 4
#define LOOSE 64
#define DATA_MAX (8u << 20)
#define MAP_MAX (1u << 20)
#define EPISODE 2000
#define STEPS 100000
#define REMOUNT_EVERY 5  /* episodes */
#define SHRINK_SECONDS 60
#define LONG_AGO 1000000000 /* seconds since the epoch: times before this were set, those after it are recent */

/* ------------------------------------------------------------------------------------ operations */

struct op {
    unsigned kind;
    unsigned name, name2;
    unsigned handle, handle2; /* slots; resolved to the next one that is open */
    unsigned map;
    unsigned flags, mode;
    bool at_end; /* offset counts from the end of the file */
    int64_t offset, offset2;
    size_t size;
    uint64_t fill; /* seed of the bytes to be written */
};

struct mapping {
    uint8_t *bytes; /* NULL: none */
    size_t size;
    int file; /* of the tmpfs side: tells how long the file is now */
};

struct side {
    bool is_mount;
    int dirs[DIRS];
    int handles[HANDLES]; /* -1: closed */
    struct mapping maps[MAPS];
    const uint8_t *fill; /* the bytes to be written; shared by both sides */
    uint8_t *data;       /* what the operation read */
    size_t data_size;
};

struct loose {
    dev_t dev;
    ino_t ino;
};

/* Both sides, and what was found to differ. */
struct pair {
    struct side tmpfs, mount;
    uint8_t *fill;
    struct loose loose[LOOSE]; /* files whose mtime is not to be compared, as tmpfs numbers them */
    size_t loose_count;
    time_t started;
    bool xattrs; /* tmpfs has user attributes */
    char difference[2048];
};

enum {
    USES_NAME = 1,
    USES_NAME2 = 2,
    USES_HANDLE = 4,   /* that is open */
    USES_HANDLE2 = 8,  /* that is open */
    USES_SLOT = 16,    /* `handle2` is a place for a new handle */
    USES_MAP = 32,     /* that is mapped */
    USES_MAP_SLOT = 64,
    USES_OFFSET = 128,
    USES_OFFSET2 = 256,
    USES_SIZE = 512,
    USES_FILL = 1024,
    USES_MODE = 2048,
    WITHIN_FILE = 4096, /* offset and size are cut to the file */
    ANY_VALUE = 8192,   /* results may differ; the check looks at them */
    USES_XATTRS = 16384,
};

struct flag_name {
    unsigned value;
    const char *name;
};

struct op_type {
    const char *name;
    unsigned weight;
    unsigned uses;
    long (*run)(struct side *side, const struct op *op);
    unsigned (*flags)(struct test_random *random);
    const struct flag_name *flag_names;
    bool (*check)(struct pair *pair, const struct op *op, long on_tmpfs, long on_mount);
};

static const char *key_of(unsigned name)
{
    static const char *keys[KEYS] = {"a", "b", "c", "count", "Zero", "0", "_", "key_07", "KEY", "index_html", "t",
                                     "a_name_that_is_rather_longer_than_what_fits_inline_in_a_dentry_of_the_kernel"};

    return keys[name % KEYS];
}

static int dir_of(const struct side *side, unsigned name) { return side->dirs[name / KEYS]; }

/* ------------------------------------------------------------------------------ results that differ */

__attribute__((format(printf, 2, 3))) static bool differ(struct pair *pair, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(pair->difference, sizeof(pair->difference), format, args);
    va_end(args);
    return false;
}

static bool same_data(struct pair *pair, const char *what)
{
    const struct side *tmpfs = &pair->tmpfs, *mount = &pair->mount;
    size_t at = 0;

    if (tmpfs->data_size != mount->data_size)
        return differ(pair, "%s: %zu bytes on tmpfs, %zu on the mount", what, tmpfs->data_size, mount->data_size);
    if (memcmp(tmpfs->data, mount->data, mount->data_size) == 0)
        return true;
    while (tmpfs->data[at] == mount->data[at])
        at++;
    return differ(pair, "%s: byte %zu of %zu is 0x%02x on tmpfs, 0x%02x on the mount", what, at, mount->data_size,
                  tmpfs->data[at], mount->data[at]);
}

static bool is_loose(const struct pair *pair, const struct stat *attr)
{
    for (size_t i = 0; i < pair->loose_count; i++)
        if (pair->loose[i].dev == attr->st_dev && pair->loose[i].ino == attr->st_ino)
            return true;
    return false;
}

static void set_loose(struct pair *pair, int file, bool loose)
{
    struct stat attr;

    if (fstat(file, &attr) < 0 || is_loose(pair, &attr) == loose)
        return;
    if (loose) {
        assert_true(pair->loose_count < LOOSE);
        pair->loose[pair->loose_count++] = (struct loose){attr.st_dev, attr.st_ino};
        return;
    }
    for (size_t i = 0; i < pair->loose_count; i++)
        if (pair->loose[i].dev == attr.st_dev && pair->loose[i].ino == attr.st_ino)
            pair->loose[i--] = pair->loose[--pair->loose_count];
}

static bool is_recent(const struct stat *attr) { return attr->st_mtim.tv_sec >= LONG_AGO; }

/* rc: of the stat. What two sides tell of one file. */
static bool same_attr(struct pair *pair, const char *what, int tmpfs_rc, const struct stat *tmpfs, int mount_rc,
                      const struct stat *mount)
{
    if (tmpfs_rc != mount_rc)
        return differ(pair, "%s: stat on tmpfs: %s, on the mount: %s", what, strerror(tmpfs_rc), strerror(mount_rc));
    if (tmpfs_rc != 0)
        return true;
    if (tmpfs->st_mode != mount->st_mode)
        return differ(pair, "%s: mode 0%o on tmpfs, 0%o on the mount", what, tmpfs->st_mode, mount->st_mode);
    if (S_ISREG(mount->st_mode) && tmpfs->st_size != mount->st_size)
        return differ(pair, "%s: size %jd on tmpfs, %jd on the mount", what, (intmax_t)tmpfs->st_size,
                      (intmax_t)mount->st_size);
    if (tmpfs->st_nlink != mount->st_nlink)
        return differ(pair, "%s: %ju links on tmpfs, %ju on the mount", what, (uintmax_t)tmpfs->st_nlink,
                      (uintmax_t)mount->st_nlink);
    if (tmpfs->st_uid != mount->st_uid || tmpfs->st_gid != mount->st_gid)
        return differ(pair, "%s: owners differ", what);
    if (is_loose(pair, tmpfs))
        return true;
    if (is_recent(tmpfs) != is_recent(mount) ||
        (!is_recent(tmpfs) && memcmp(&tmpfs->st_mtim, &mount->st_mtim, sizeof(mount->st_mtim)) != 0))
        return differ(pair, "%s: mtime %jd.%09ld on tmpfs, %jd.%09ld on the mount", what,
                      (intmax_t)tmpfs->st_mtim.tv_sec, tmpfs->st_mtim.tv_nsec, (intmax_t)mount->st_mtim.tv_sec,
                      mount->st_mtim.tv_nsec);
    if (is_recent(mount) && (mount->st_mtim.tv_sec < pair->started || mount->st_mtim.tv_sec > time(NULL)))
        return differ(pair, "%s: changed at %jd, which is not within this run", what,
                      (intmax_t)mount->st_mtim.tv_sec);
    return true;
}

static int stat_name(const struct side *side, unsigned name, struct stat *attr)
{
    return fstatat(dir_of(side, name), key_of(name), attr, AT_SYMLINK_NOFOLLOW) < 0 ? errno : 0;
}

static bool same_name(struct pair *pair, unsigned name)
{
    struct stat tmpfs, mount;
    int tmpfs_rc = stat_name(&pair->tmpfs, name, &tmpfs), mount_rc = stat_name(&pair->mount, name, &mount);
    char what[128];

    snprintf(what, sizeof(what), "%u/%s", name / KEYS, key_of(name));
    return same_attr(pair, what, tmpfs_rc, &tmpfs, mount_rc, &mount);
}

static bool same_handle(struct pair *pair, unsigned handle)
{
    struct stat tmpfs, mount;
    int tmpfs_rc, mount_rc;
    char what[16];

    if (pair->tmpfs.handles[handle] < 0)
        return true;
    tmpfs_rc = fstat(pair->tmpfs.handles[handle], &tmpfs) < 0 ? errno : 0;
    mount_rc = fstat(pair->mount.handles[handle], &mount) < 0 ? errno : 0;
    snprintf(what, sizeof(what), "h%u", handle);
    if (!same_attr(pair, what, tmpfs_rc, &tmpfs, mount_rc, &mount))
        return false;
    if (lseek(pair->tmpfs.handles[handle], 0, SEEK_CUR) != lseek(pair->mount.handles[handle], 0, SEEK_CUR))
        return differ(pair, "%s: file positions differ", what);
    return true;
}

/* ------------------------------------------------------------------------------- opening and closing */

static int close_slot(struct side *side, unsigned slot)
{
    int fd = side->handles[slot];

    side->handles[slot] = -1;
    return fd < 0 ? 0 : close(fd);
}

static long run_open(struct side *side, const struct op *op)
{
    /* The bytes of a direct read come from the daemon, not from the kernel's pages; nothing else differs. */
    int flags = (int)op->flags & (side->is_mount ? ~0 : ~O_DIRECT);

    if (close_slot(side, op->handle2) < 0)
        return -1;
    side->handles[op->handle2] = openat(dir_of(side, op->name), key_of(op->name), flags | O_CLOEXEC, op->mode);
    return side->handles[op->handle2] < 0 ? -1 : 0;
}

static unsigned open_flags(struct test_random *random)
{
    static const unsigned access[] = {O_RDONLY, O_WRONLY, O_RDWR, O_RDWR, O_RDWR};
    unsigned flags = access[test_random_below(random, 5)];
    uint64_t bits = test_random(random);

    flags |= bits & 3 ? O_CREAT : 0u;
    flags |= (bits >> 2 & 7) == 0 ? O_EXCL | O_CREAT : 0u;
    flags |= (bits >> 5 & 3) == 0 ? O_TRUNC : 0u;
    flags |= (bits >> 7 & 7) == 0 ? O_APPEND : 0u;
    flags |= (bits >> 10 & 7) == 0 ? O_DIRECT : 0u;
    flags |= (bits >> 13 & 31) == 0 ? O_DSYNC : 0u;
    return flags;
}

static const struct flag_name open_flag_names[] = {
    {O_WRONLY, "O_WRONLY"}, {O_RDWR, "O_RDWR"},     {O_CREAT, "O_CREAT"},   {O_EXCL, "O_EXCL"}, {O_TRUNC, "O_TRUNC"},
    {O_APPEND, "O_APPEND"}, {O_DIRECT, "O_DIRECT"}, {O_DSYNC, "O_DSYNC"}, {0, NULL},
};

static long run_close(struct side *side, const struct op *op) { return close_slot(side, op->handle); }

static long run_dup(struct side *side, const struct op *op)
{
    if (op->handle == op->handle2)
        return 0;
    if (close_slot(side, op->handle2) < 0)
        return -1;
    side->handles[op->handle2] = fcntl(side->handles[op->handle], F_DUPFD_CLOEXEC, 0);
    return side->handles[op->handle2] < 0 ? -1 : 0;
}

/* -------------------------------------------------------------------------------- reading and writing */

static long took(struct side *side, ssize_t size)
{
    side->data_size = size > 0 ? (size_t)size : 0;
    return size;
}

static long run_read(struct side *side, const struct op *op)
{
    return took(side, read(side->handles[op->handle], side->data, op->size));
}

static long run_pread(struct side *side, const struct op *op)
{
    return took(side, pread(side->handles[op->handle], side->data, op->size, op->offset));
}

static long run_write(struct side *side, const struct op *op)
{
    return write(side->handles[op->handle], side->fill, op->size);
}

static long run_pwrite(struct side *side, const struct op *op)
{
    return pwrite(side->handles[op->handle], side->fill, op->size, op->offset);
}

/* Open, work, close: what most programs do. */
static long write_name(struct side *side, const struct op *op, int flags)
{
    int fd = openat(dir_of(side, op->name), key_of(op->name), flags | O_WRONLY | O_CREAT | O_CLOEXEC, 0644), error;
    long size;

    if (fd < 0)
        return -1;
    size = write(fd, side->fill, op->size);
    error = errno;
    if (close(fd) < 0)
        return -1;
    errno = error;
    return size;
}

static long run_put(struct side *side, const struct op *op) { return write_name(side, op, O_TRUNC); }

static long run_append(struct side *side, const struct op *op) { return write_name(side, op, O_APPEND); }

static long read_all(struct side *side, int fd)
{
    ssize_t got = 1;
    size_t size = 0;

    while (got > 0 && size < DATA_MAX) {
        got = pread(fd, side->data + size, DATA_MAX - size, (off_t)size);
        size += got > 0 ? (size_t)got : 0;
    }
    return took(side, got < 0 ? -1 : (ssize_t)size);
}

static long read_name(struct side *side, unsigned name)
{
    int fd = openat(dir_of(side, name), key_of(name), O_RDONLY | O_CLOEXEC), error;
    long size;

    if (fd < 0)
        return -1;
    size = read_all(side, fd);
    error = errno;
    if (close(fd) < 0)
        return -1;
    errno = error;
    return size;
}

static long run_get(struct side *side, const struct op *op) { return read_name(side, op->name); }

static long run_lseek(struct side *side, const struct op *op)
{
    return lseek(side->handles[op->handle], op->offset, (int)op->flags);
}

static unsigned seek_whence(struct test_random *random) { return (unsigned)test_random_below(random, 3); }

static const struct flag_name seek_names[] = {{SEEK_CUR, "SEEK_CUR"},   {SEEK_END, "SEEK_END"}, {SEEK_DATA, "SEEK_DATA"},
                                              {SEEK_HOLE, "SEEK_HOLE"}, {0, NULL}};

static long run_fsync(struct side *side, const struct op *op)
{
    return op->flags ? fdatasync(side->handles[op->handle]) : fsync(side->handles[op->handle]);
}

static unsigned one_bit(struct test_random *random) { return (unsigned)test_random_below(random, 2); }

/* ------------------------------------------------------------------------------------ sizes and space */

static long run_truncate(struct side *side, const struct op *op)
{
    char path[64 + 256];

    /* There is no truncateat(2). */
    snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir_of(side, op->name), key_of(op->name));
    return truncate(path, op->offset);
}

static long run_ftruncate(struct side *side, const struct op *op)
{
    return ftruncate(side->handles[op->handle], op->offset);
}

/* tmpfs has no FALLOC_FL_ZERO_RANGE. */
static long zero_range(int fd, const struct op *op)
{
    int64_t end = op->offset + (int64_t)op->size;
    size_t size = op->size;
    struct stat attr;
    uint8_t *zeros;
    long rc = 0;

    if (fallocate(fd, FALLOC_FL_KEEP_SIZE, op->offset, (off_t)size) < 0) /* only for its errors */
        return -1;
    if (fstat(fd, &attr) < 0)
        return -1;
    if (end > attr.st_size && !(op->flags & FALLOC_FL_KEEP_SIZE) && ftruncate(fd, end) < 0)
        return -1;
    if (end > attr.st_size && op->flags & FALLOC_FL_KEEP_SIZE)
        size = op->offset < attr.st_size ? (size_t)(attr.st_size - op->offset) : 0;
    zeros = test_calloc(1, size + 1);
    if (size > 0)
        rc = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, op->offset, (off_t)size);
    test_free(zeros);
    return rc;
}

static long run_fallocate(struct side *side, const struct op *op)
{
    int fd = side->handles[op->handle];

    if (op->flags & FALLOC_FL_ZERO_RANGE && !side->is_mount)
        return zero_range(fd, op);
    return fallocate(fd, (int)op->flags, op->offset, (off_t)op->size);
}
