#include "tests/support/pair.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include <linux/falloc.h>

#define KEYS 12 /* in each directory */
#define NAMES (PAIR_DIRS * KEYS)
#define DATA_MAX (8u << 20)
#define LARGE (6 << 20) /* files beyond this do not grow any more */
#define MAP_MAX (1u << 20)
#define LONG_AGO 1000000000 /* seconds: times before this were set, those after it are of a change */

enum {
    USES_NAME = 1,
    USES_NAME2 = 2,
    USES_HANDLE = 4,  /* an open one */
    USES_HANDLE2 = 8, /* an open one */
    USES_SLOT = 16,   /* handle2 is the place of a new handle */
    USES_MAP = 32,    /* one that is there */
    USES_MAP_SLOT = 64,
    USES_OFFSET = 128,
    USES_OFFSET2 = 256,
    USES_SIZE = 512,
    USES_FILL = 1024,
    USES_MODE = 2048,
    WITHIN_FILE = 4096, /* offset and size are cut to the file */
    ANY_RESULT = 8192,  /* the check says whether the results agree */
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
    static const char *const keys[KEYS] = {
        "a",    "b",          "c", "count",
        "Zero", "0",          "_", "key_07",
        "KEY",  "index_html", "t", "a_name_that_is_longer_than_what_the_kernel_keeps_inside_of_a_directory_entry"};

    return keys[name % KEYS];
}

static int dir_of(const struct side *side, unsigned name) { return side->dirs[name / KEYS]; }

/* For the system calls that take no directory. */
struct path {
    char text[256];
};

static struct path path_of(const struct side *side, unsigned name)
{
    struct path path;

    snprintf(path.text, sizeof(path.text), "/proc/self/fd/%d/%s", dir_of(side, name), key_of(name));
    return path;
}

/* ------------------------------------------------------------------------------------- what differs */

__attribute__((format(printf, 2, 3))) static bool differ(struct pair *pair, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(pair->difference, sizeof(pair->difference), format, args);
    va_end(args);
    pair->kind_of_difference = format;
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

static bool is_loose(const struct pair *pair, ino_t ino)
{
    for (size_t i = 0; i < pair->loose_count; i++)
        if (pair->loose[i] == ino)
            return true;
    return false;
}

static void set_loose(struct pair *pair, int file)
{
    struct stat attr;

    if (fstat(file, &attr) < 0 || is_loose(pair, attr.st_ino))
        return;
    assert_true(pair->loose_count < PAIR_LOOSE);
    pair->loose[pair->loose_count++] = attr.st_ino;
}

static bool was_set(const struct stat *attr) { return attr->st_mtim.tv_sec < LONG_AGO; }

static bool same_mtime(struct pair *pair, const char *what, const struct stat *tmpfs, const struct stat *mount)
{
    const struct timespec *a = &tmpfs->st_mtim, *b = &mount->st_mtim;

    if (was_set(tmpfs) != was_set(mount) ||
        (was_set(tmpfs) && (a->tv_sec != b->tv_sec || a->tv_nsec != b->tv_nsec)))
        return differ(pair, "%s: mtime %jd.%09ld on tmpfs, %jd.%09ld on the mount", what, (intmax_t)a->tv_sec,
                      a->tv_nsec, (intmax_t)b->tv_sec, b->tv_nsec);
    if (!was_set(mount) && (b->tv_sec < pair->started || b->tv_sec > time(NULL) + 1))
        return differ(pair, "%s: mtime %jd is not of this run", what, (intmax_t)b->tv_sec);
    return true;
}

/* What the sides tell of one object. rc: 0, or the errno of stat. */
static bool same_attr(struct pair *pair, const char *what, int tmpfs_rc, const struct stat *tmpfs, int mount_rc,
                      const struct stat *mount)
{
    if (tmpfs_rc != mount_rc)
        return differ(pair, "%s: stat: %s on tmpfs, %s on the mount", what, strerror(tmpfs_rc),
                      strerror(mount_rc));
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
        return differ(pair, "%s: owner %u:%u on tmpfs, %u:%u on the mount", what, tmpfs->st_uid, tmpfs->st_gid,
                      mount->st_uid, mount->st_gid);
    return is_loose(pair, tmpfs->st_ino) || same_mtime(pair, what, tmpfs, mount);
}

static int stat_name(const struct side *side, unsigned name, struct stat *attr)
{
    return fstatat(dir_of(side, name), key_of(name), attr, AT_SYMLINK_NOFOLLOW) < 0 ? errno : 0;
}

/* A file's numbers on both sides; 0: it is not there. */
struct inos {
    ino_t tmpfs, mount;
};

static bool same_name(struct pair *pair, unsigned name, struct inos *inos)
{
    struct stat tmpfs = {0}, mount = {0};
    int tmpfs_rc = stat_name(&pair->tmpfs, name, &tmpfs), mount_rc = stat_name(&pair->mount, name, &mount);
    char what[128];

    snprintf(what, sizeof(what), "%u/%s", name / KEYS, key_of(name));
    *inos = (struct inos){tmpfs.st_ino, mount.st_ino};
    return same_attr(pair, what, tmpfs_rc, &tmpfs, mount_rc, &mount);
}

static bool same_handle(struct pair *pair, unsigned handle, struct inos *inos)
{
    int on_tmpfs = pair->tmpfs.handles[handle], on_mount = pair->mount.handles[handle];
    struct stat tmpfs, mount;
    int tmpfs_rc, mount_rc;
    char what[16];

    *inos = (struct inos){0, 0};
    if (on_tmpfs < 0)
        return true;
    tmpfs_rc = fstat(on_tmpfs, &tmpfs) < 0 ? errno : 0;
    mount_rc = fstat(on_mount, &mount) < 0 ? errno : 0;
    *inos = (struct inos){tmpfs.st_ino, mount.st_ino};
    snprintf(what, sizeof(what), "h%u", handle);
    if (!same_attr(pair, what, tmpfs_rc, &tmpfs, mount_rc, &mount))
        return false;
    return lseek(on_tmpfs, 0, SEEK_CUR) == lseek(on_mount, 0, SEEK_CUR) || differ(pair, "%s: file position", what);
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
    /* The bytes of a direct read come from the daemon, not from the kernel's pages; else nothing differs. */
    int flags = (int)op->flags & (side->is_mount ? ~0 : ~O_DIRECT);

    if (close_slot(side, op->handle2) < 0)
        return -1;
    side->handles[op->handle2] = openat(dir_of(side, op->name), key_of(op->name), flags | O_CLOEXEC, op->mode);
    return side->handles[op->handle2] < 0 ? -1 : 0;
}

static bool check_open(struct pair *pair, const struct op *op, long on_tmpfs, long on_mount)
{
    (void)on_mount;
    pair->created_late |= pair->created[op->handle2];
    pair->created[op->handle2] = on_tmpfs == 0 && !pair->was_there;
    pair->loose_dirs[op->name / KEYS] |= pair->created[op->handle2];
    return true;
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

static const struct flag_name open_names[] = {
    {O_WRONLY, "O_WRONLY"}, {O_RDWR, "O_RDWR"},     {O_CREAT, "O_CREAT"}, {O_EXCL, "O_EXCL"}, {O_TRUNC, "O_TRUNC"},
    {O_APPEND, "O_APPEND"}, {O_DIRECT, "O_DIRECT"}, {O_DSYNC, "O_DSYNC"}, {0, NULL},
};

static long run_close(struct side *side, const struct op *op) { return close_slot(side, op->handle); }

static bool check_close(struct pair *pair, const struct op *op, long on_tmpfs, long on_mount)
{
    (void)on_tmpfs;
    (void)on_mount;
    pair->created_late |= pair->created[op->handle];
    pair->created[op->handle] = false;
    return true;
}

static bool check_put(struct pair *pair, const struct op *op, long on_tmpfs, long on_mount)
{
    (void)on_tmpfs;
    (void)on_mount;
    pair->created[op->handle] = false;
    return true;
}

static long run_dup(struct side *side, const struct op *op)
{
    if (op->handle == op->handle2)
        return 0;
    if (close_slot(side, op->handle2) < 0)
        return -1;
    side->handles[op->handle2] = fcntl(side->handles[op->handle], F_DUPFD_CLOEXEC, 0);
    return side->handles[op->handle2] < 0 ? -1 : 0;
}

static bool check_dup(struct pair *pair, const struct op *op, long on_tmpfs, long on_mount)
{
    (void)on_tmpfs;
    (void)on_mount;
    if (op->handle == op->handle2)
        return true;
    pair->created_late |= pair->created[op->handle2];
    pair->created[op->handle2] = pair->created[op->handle]; /* it is put when the last of them is closed */
    return true;
}

/* A temporary file as mkstemp makes it, under a name that no key can have. */
#define SCRATCH ".temporary.Ab12Cd"

static long run_scratch(struct side *side, const struct op *op)
{
    if (close_slot(side, op->handle2) < 0)
        return -1;
    side->handles[op->handle2] =
        openat(dir_of(side, op->name), SCRATCH, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return side->handles[op->handle2] < 0 ? -1 : 0;
}

static long run_scratch_unlink(struct side *side, const struct op *op)
{
    return unlinkat(dir_of(side, op->name), SCRATCH, 0);
}

static long run_scratch_rename(struct side *side, const struct op *op)
{
    return renameat(dir_of(side, op->name2), SCRATCH, dir_of(side, op->name), key_of(op->name));
}

/* What happens to scratch files does not touch the directory on the mount. */
static bool check_scratch(struct pair *pair, const struct op *op, long on_tmpfs, long on_mount)
{
    (void)on_tmpfs;
    (void)on_mount;
    pair->loose_dirs[op->name / KEYS] = pair->loose_dirs[op->name2 / KEYS] = true;
    return true;
}

static bool check_scratch_open(struct pair *pair, const struct op *op, long on_tmpfs, long on_mount)
{
    pair->created_late |= pair->created[op->handle2];
    pair->created[op->handle2] = false;
    return check_scratch(pair, op, on_tmpfs, on_mount);
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

/* The end of an open, work, close. */
static long close_with(int fd, long result)
{
    int error = errno;

    if (close(fd) < 0)
        return -1;
    errno = error;
    return result;
}

static long write_name(struct side *side, const struct op *op, int flags)
{
    int fd = openat(dir_of(side, op->name), key_of(op->name), flags | O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    return fd < 0 ? -1 : close_with(fd, write(fd, side->fill, op->size));
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

static long run_get(struct side *side, const struct op *op)
{
    int fd = openat(dir_of(side, op->name), key_of(op->name), O_RDONLY | O_CLOEXEC);

    return fd < 0 ? -1 : close_with(fd, read_all(side, fd));
}

static long run_lseek(struct side *side, const struct op *op)
{
    return lseek(side->handles[op->handle], op->offset, (int)op->flags);
}

static unsigned whence_flags(struct test_random *random) { return (unsigned)test_random_below(random, 3); }

static const struct flag_name whence_names[] = {
    {SEEK_CUR, "SEEK_CUR"}, {SEEK_END, "SEEK_END"}, {SEEK_DATA, "SEEK_DATA"}, {SEEK_HOLE, "SEEK_HOLE"}, {0, NULL}};

static unsigned one_bit(struct test_random *random) { return (unsigned)test_random_below(random, 2); }

static const struct flag_name sync_names[] = {{1, "data"}, {0, NULL}};

static long run_fsync(struct side *side, const struct op *op)
{
    return op->flags ? fdatasync(side->handles[op->handle]) : fsync(side->handles[op->handle]);
}

/* ------------------------------------------------------------------------------------ sizes and space */

/* To the size that the file has: whether that changes mtime depends, on tmpfs, on what was written before. */
static bool keeps_size(const char *path, const struct op *op)
{
    struct stat file;

    return stat(path, &file) == 0 && S_ISREG(file.st_mode) && file.st_size == (off_t)op->offset;
}

static long run_truncate(struct side *side, const struct op *op)
{
    struct path path = path_of(side, op->name);

    return keeps_size(path.text, op) ? 0 : truncate(path.text, op->offset);
}

static long run_ftruncate(struct side *side, const struct op *op)
{
    return ftruncate(side->handles[op->handle], op->offset);
}

/* FALLOC_FL_ZERO_RANGE where there is none. */
static long zero_range(int fd, const struct op *op)
{
    int64_t end = op->offset + (int64_t)op->size;
    struct stat attr;

    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, op->offset, (off_t)op->size) < 0)
        return -1;
    if (op->flags & FALLOC_FL_KEEP_SIZE || fstat(fd, &attr) < 0 || end <= attr.st_size)
        return 0;
    return ftruncate(fd, end);
}

static long run_fallocate(struct side *side, const struct op *op)
{
    int fd = side->handles[op->handle];

    if (!side->is_mount && op->flags & FALLOC_FL_ZERO_RANGE)
        return zero_range(fd, op);
    return fallocate(fd, (int)op->flags, op->offset, (off_t)op->size);
}

/* Setting space aside changes nothing that can be seen: it need not move the mtime. */
static bool check_fallocate(struct pair *pair, const struct op *op, long on_tmpfs, long on_mount)
{
    (void)on_mount;
    if (on_tmpfs == 0 && op->flags == FALLOC_FL_KEEP_SIZE)
        set_loose(pair, pair->tmpfs.handles[op->handle]);
    return true;
}

static unsigned fallocate_flags(struct test_random *random)
{
    static const unsigned flags[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                     FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};

    return flags[test_random_below(random, 5)];
}

static const struct flag_name fallocate_names[] = {{FALLOC_FL_KEEP_SIZE, "KEEP_SIZE"},
                                                   {FALLOC_FL_PUNCH_HOLE, "PUNCH_HOLE"},
                                                   {FALLOC_FL_ZERO_RANGE, "ZERO_RANGE"},
                                                   {0, NULL}};

static long run_copy(struct side *side, const struct op *op)
{
    off_t from = op->offset, to = op->offset2;

    return copy_file_range(side->handles[op->handle], &from, side->handles[op->handle2], &to, op->size, 0);
}

static long run_seek(struct side *side, const struct op *op)
{
    int fd = side->handles[op->handle], error;
    off_t before = lseek(fd, 0, SEEK_CUR), found = lseek(fd, op->offset, (int)op->flags);

    error = errno;
    lseek(fd, before, SEEK_SET);
    errno = error;
    return found < 0 ? -errno : found;
}

static unsigned seek_flags(struct test_random *random) { return one_bit(random) ? SEEK_DATA : SEEK_HOLE; }

static bool all_zero(const uint8_t *bytes, int64_t from, int64_t to)
{
    while (from < to && bytes[from] == 0)
        from++;
    return from >= to;
}

static bool check_seek(struct pair *pair, const struct op *op, long on_tmpfs, long on_mount)
{
    char path[64];
    int64_t size;
    bool right;
    int fd;

    if (on_tmpfs == on_mount)
        return true;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", pair->tmpfs.handles[op->handle]);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    size = fd < 0 ? -1 : close_with(fd, read_all(&pair->tmpfs, fd));
    if (op->flags == SEEK_HOLE)
        right = on_mount == size || (on_mount >= op->offset && on_mount < size && pair->tmpfs.data[on_mount] == 0);
    else if (on_mount == -ENXIO)
        right = all_zero(pair->tmpfs.data, op->offset, size);
    else
        right = on_mount >= op->offset && on_mount < size && all_zero(pair->tmpfs.data, op->offset, on_mount);
    return right ||
           differ(pair, "of %jd bytes: %ld on tmpfs, %ld on the mount", (intmax_t)size, on_tmpfs, on_mount);
}

/* ------------------------------------------------------------------------------------------- mappings */

static sigjmp_buf bus_error;

static void on_bus_error(int sig)
{
    (void)sig;
    siglongjmp(bus_error, 1);
}

/* Copy from or to mapped memory. */
static long touch(void *to, const void *from, size_t size)
{
    if (sigsetjmp(bus_error, 1) != 0) {
        errno = EFAULT;
        return -1;
    }
    memcpy(to, from, size);
    return (long)size;
}

static long with_map(struct side *side, const struct op *op, int flags, bool sync)
{
    size_t within = (size_t)op->offset % 4096, size = within + op->size;
    uint8_t *bytes =
        mmap(NULL, size, PROT_READ | PROT_WRITE, flags, side->handles[op->handle], op->offset - (off_t)within);
    long result;
    int error;

    if (bytes == MAP_FAILED)
        return -1;
    result = touch(bytes + within, side->fill, op->size);
    if (result >= 0)
        result = touch(side->data, bytes, size);
    took(side, result < 0 ? 0 : (ssize_t)size);
    if (sync && msync(bytes, size, MS_SYNC) < 0)
        result = -1;
    error = errno;
    if (munmap(bytes, size) < 0)
        return -1;
    errno = error;
    return result;
}

static long run_mmap_write(struct side *side, const struct op *op)
{
    return with_map(side, op, MAP_SHARED, op->flags != 0);
}

static long run_mmap_private(struct side *side, const struct op *op)
{
    return with_map(side, op, MAP_PRIVATE, false);
}

static const struct flag_name mmap_names[] = {{1, "msync"}, {0, NULL}};

static int unmap(struct mapping *map)
{
    uint8_t *bytes = map->bytes;

    if (bytes == NULL)
        return 0;
    map->bytes = NULL;
    close(map->file);
    return munmap(bytes, map->size);
}

static long run_map(struct side *side, const struct op *op)
{
    struct mapping *map = &side->maps[op->map];
    void *bytes;

    if (unmap(map) < 0)
        return -1;
    bytes = mmap(NULL, op->size, PROT_READ | PROT_WRITE, MAP_SHARED, side->handles[op->handle], 0);
    if (bytes == MAP_FAILED)
        return -1;
    *map = (struct mapping){bytes, op->size, side->is_mount ? -1 : dup(side->handles[op->handle])};
    return 0;
}

static long run_map_store(struct side *side, const struct op *op)
{
    return touch(side->maps[op->map].bytes + op->offset, side->fill, op->size);
}

static bool check_map_store(struct pair *pair, const struct op *op, long on_tmpfs, long on_mount)
{
    (void)on_tmpfs;
    (void)on_mount;
    set_loose(pair, pair->tmpfs.maps[op->map].file);
    return true;
}

static long run_map_load(struct side *side, const struct op *op)
{
    return took(side, touch(side->data, side->maps[op->map].bytes + op->offset, op->size));
}

static long run_msync(struct side *side, const struct op *op)
{
    return msync(side->maps[op->map].bytes, side->maps[op->map].size, MS_SYNC);
}

static long run_unmap(struct side *side, const struct op *op) { return unmap(&side->maps[op->map]); }

static bool is_mapped(const struct pair *pair, ino_t ino)
{
    struct stat attr;

    for (unsigned i = 0; i < PAIR_MAPS; i++)
        if (pair->tmpfs.maps[i].bytes != NULL && fstat(pair->tmpfs.maps[i].file, &attr) == 0 && attr.st_ino == ino)
            return true;
    return false;
}

/* --------------------------------------------------------------------------------------------- names */

static long run_rename(struct side *side, const struct op *op)
{
    return renameat2(dir_of(side, op->name), key_of(op->name), dir_of(side, op->name2), key_of(op->name2),
                     op->flags);
}

static unsigned rename_flags(struct test_random *random)
{
    static const unsigned flags[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};

    return flags[test_random_below(random, 5)];
}

static const struct flag_name rename_names[] = {
    {RENAME_NOREPLACE, "NOREPLACE"}, {RENAME_EXCHANGE, "EXCHANGE"}, {0, NULL}};

static long run_unlink(struct side *side, const struct op *op)
{
    return unlinkat(dir_of(side, op->name), key_of(op->name), 0);
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The entries of a directory as sorted lines. */
static long list(struct side *side, int dir)
{
    char *names[NAMES * 2];
    size_t count = 0, size = 0;
    struct dirent *entry;
    DIR *stream;
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    stream = fd < 0 ? NULL : fdopendir(fd);
    if (stream == NULL)
        return -1;
    errno = 0;
    while ((entry = readdir(stream)) != NULL && count < NAMES * 2)
        if (asprintf(&names[count], "%s %u", entry->d_name, entry->d_type) > 0)
            count++;
    qsort(names, count, sizeof(*names), by_text);
    for (size_t i = 0; i < count; i++) {
        size += (size_t)sprintf((char *)side->data + size, "%s\n", names[i]);
        free(names[i]);
    }
    took(side, (ssize_t)size);
    count = errno != 0 ? 0 : count;
    closedir(stream);
    return (long)count;
}

static long run_list(struct side *side, const struct op *op) { return list(side, dir_of(side, op->name)); }

/* ------------------------------------------------------------------------------------------ attributes */

static long run_chmod(struct side *side, const struct op *op)
{
    return fchmodat(dir_of(side, op->name), key_of(op->name), op->mode, 0);
}

static long run_fchmod(struct side *side, const struct op *op)
{
    return fchmod(side->handles[op->handle], op->mode);
}

enum { TIMES_LONG_AGO, TIMES_NOW, TIMES_ACCESS };

static unsigned times_flags(struct test_random *random)
{
    static const unsigned flags[] = {TIMES_LONG_AGO, TIMES_LONG_AGO, TIMES_LONG_AGO, TIMES_NOW, TIMES_ACCESS};

    return flags[test_random_below(random, 5)];
}

static const struct flag_name times_names[] = {{TIMES_NOW, "now"}, {TIMES_ACCESS, "atime"}, {0, NULL}};

struct times {
    struct timespec of[2];
};

static struct times times_of(const struct op *op)
{
    struct timespec time = {(time_t)(op->fill % LONG_AGO), (long)(op->fill >> 32 & 0x1fffffff)};
    struct timespec now = {0, UTIME_NOW}, none = {0, UTIME_OMIT};

    if (op->flags == TIMES_NOW)
        return (struct times){{now, now}};
    return (struct times){{time, op->flags == TIMES_ACCESS ? none : time}};
}

static long run_times(struct side *side, const struct op *op)
{
    struct times times = times_of(op);

    return utimensat(dir_of(side, op->name), key_of(op->name), times.of, 0);
}

static long run_ftimes(struct side *side, const struct op *op)
{
    struct times times = times_of(op);

    return futimens(side->handles[op->handle], times.of);
}

static long run_dir_times(struct side *side, const struct op *op)
{
    struct times times = times_of(op);

    return futimens(dir_of(side, op->name), times.of);
}

static bool check_dir_times(struct pair *pair, const struct op *op, long on_tmpfs, long on_mount)
{
    (void)on_tmpfs;
    (void)on_mount;
    if (op->flags == TIMES_ACCESS)
        return true;
    pair->loose_dirs[op->name / KEYS] = pair->created_late;
    for (unsigned i = 0; i < PAIR_HANDLES; i++)
        pair->loose_dirs[op->name / KEYS] |= pair->created[i];
    return true;
}

/* The file's mtime can be compared again. */
static void not_loose(struct pair *pair, const struct op *op, const struct stat *attr)
{
    if (op->flags == TIMES_ACCESS || is_mapped(pair, attr->st_ino))
        return;
    for (size_t i = 0; i < pair->loose_count; i++)
        if (pair->loose[i] == attr->st_ino)
            pair->loose[i--] = pair->loose[--pair->loose_count];
}

static bool check_times(struct pair *pair, const struct op *op, long on_tmpfs, long on_mount)
{
    struct stat attr;

    (void)on_mount;
    if (on_tmpfs == 0 && stat_name(&pair->tmpfs, op->name, &attr) == 0)
        not_loose(pair, op, &attr);
    return true;
}

static bool check_ftimes(struct pair *pair, const struct op *op, long on_tmpfs, long on_mount)
{
    struct stat attr;

    (void)on_mount;
    if (on_tmpfs == 0 && fstat(pair->tmpfs.handles[op->handle], &attr) == 0)
        not_loose(pair, op, &attr);
    return true;
}

static long run_access(struct side *side, const struct op *op)
{
    return faccessat(dir_of(side, op->name), key_of(op->name), (int)op->flags, 0);
}

static unsigned access_flags(struct test_random *random) { return (unsigned)test_random_below(random, 8); }

static const struct flag_name access_names[] = {{R_OK, "R_OK"}, {W_OK, "W_OK"}, {X_OK, "X_OK"}, {0, NULL}};

static long run_nothing(struct side *side, const struct op *op)
{
    (void)side;
    (void)op;
    return 0;
}

static const char *xattr_of(const struct op *op)
{
    static const char *const names[] = {"user.a", "user.colour", "user.b"};

    return names[op->mode % 3];
}

static long run_setxattr(struct side *side, const struct op *op)
{
    struct path path = path_of(side, op->name);

    return lsetxattr(path.text, xattr_of(op), side->fill, op->size % 200, (int)op->flags);
}

static unsigned xattr_flags(struct test_random *random)
{
    static const unsigned flags[] = {0, 0, 0, XATTR_CREATE, XATTR_REPLACE};

    return flags[test_random_below(random, 5)];
}

static const struct flag_name xattr_names[] = {{XATTR_CREATE, "CREATE"}, {XATTR_REPLACE, "REPLACE"}, {0, NULL}};

static long run_getxattr(struct side *side, const struct op *op)
{
    struct path path = path_of(side, op->name);

    return took(side, lgetxattr(path.text, xattr_of(op), side->data, op->size % 300));
}

static long run_fgetxattr(struct side *side, const struct op *op)
{
    return took(side, fgetxattr(side->handles[op->handle], xattr_of(op), side->data, op->size % 300));
}

static long run_removexattr(struct side *side, const struct op *op)
{
    struct path path = path_of(side, op->name);

    return lremovexattr(path.text, xattr_of(op));
}

/* User attributes only, sorted. */
static long run_listxattr(struct side *side, const struct op *op)
{
    struct path path = path_of(side, op->name);
    char text[4096], *names[16];
    ssize_t size = llistxattr(path.text, text, sizeof(text));
    size_t count = 0, used = 0;

    if (size < 0)
        return -1;
    for (char *at = text; at < text + size && count < 16; at += strlen(at) + 1)
        if (strncmp(at, "user.", 5) == 0)
            names[count++] = at;
    qsort(names, count, sizeof(*names), by_text);
    for (size_t i = 0; i < count; i++)
        used += (size_t)sprintf((char *)side->data + used, "%s\n", names[i]);
    return took(side, (ssize_t)used);
}

/* ------------------------------------------------------------------------------- looking at everything */

static bool same_dir(struct pair *pair, unsigned dir)
{
    struct stat tmpfs, mount;
    char what[64];

    snprintf(what, sizeof(what), "directory %u", dir);
    if (list(&pair->tmpfs, pair->tmpfs.dirs[dir]) != list(&pair->mount, pair->mount.dirs[dir]))
        return differ(pair, "%s: listed: '%.*s' on tmpfs, '%.*s' on the mount", what, (int)pair->tmpfs.data_size,
                      (char *)pair->tmpfs.data, (int)pair->mount.data_size, (char *)pair->mount.data);
    if (!same_data(pair, what))
        return false;
    if (fstat(pair->tmpfs.dirs[dir], &tmpfs) < 0 || fstat(pair->mount.dirs[dir], &mount) < 0)
        return differ(pair, "%s: fstat: %s", what, strerror(errno));
    return pair->loose_dirs[dir] || same_mtime(pair, what, &tmpfs, &mount);
}

/* Is the file of a name the one that a handle has open, on both sides or on none? */
static bool same_identity(struct pair *pair, unsigned name, const struct inos *named, unsigned handle,
                          const struct inos *opened)
{
    bool tmpfs = named->tmpfs == opened->tmpfs, mount = named->mount == opened->mount;

    if (named->tmpfs == 0 || opened->tmpfs == 0 || tmpfs == mount)
        return true;
    return differ(pair, "%u/%s and h%u are %s file on tmpfs, %s file on the mount", name / KEYS, key_of(name),
                  handle, tmpfs ? "one" : "not one", mount ? "one" : "not one");
}

static bool check_survey(struct pair *pair, const struct op *op, long on_tmpfs, long on_mount)
{
    struct inos opened[PAIR_HANDLES], named;

    (void)op;
    (void)on_tmpfs;
    (void)on_mount;
    for (unsigned dir = 0; dir < PAIR_DIRS; dir++)
        if (!same_dir(pair, dir))
            return false;
    for (unsigned handle = 0; handle < PAIR_HANDLES; handle++)
        if (!same_handle(pair, handle, &opened[handle]))
            return false;
    for (unsigned name = 0; name < NAMES; name++) {
        if (!same_name(pair, name, &named))
            return false;
        for (unsigned handle = 0; handle < PAIR_HANDLES; handle++)
            if (!same_identity(pair, name, &named, handle, &opened[handle]))
                return false;
    }
    return true;
}

static bool same_content(struct pair *pair, unsigned name)
{
    struct op op = {.name = name};
    long tmpfs, mount;
    int tmpfs_errno;
    char what[128];

    snprintf(what, sizeof(what), "content of %u/%s", name / KEYS, key_of(name));
    took(&pair->tmpfs, 0);
    took(&pair->mount, 0);
    errno = 0;
    tmpfs = run_get(&pair->tmpfs, &op);
    tmpfs_errno = errno;
    errno = 0;
    mount = run_get(&pair->mount, &op);
    if (tmpfs != mount && (tmpfs < 0 || mount < 0))
        return differ(pair, "%s: %s on tmpfs, %s on the mount", what, strerror(tmpfs_errno), strerror(errno));
    return same_data(pair, what);
}

static bool check_contents(struct pair *pair, const struct op *op, long on_tmpfs, long on_mount)
{
    char what[16];

    if (!check_survey(pair, op, on_tmpfs, on_mount))
        return false;
    for (unsigned name = 0; name < NAMES; name++)
        if (!same_content(pair, name))
            return false;
    for (unsigned handle = 0; handle < PAIR_HANDLES; handle++) {
        if (pair->tmpfs.handles[handle] < 0)
            continue;
        snprintf(what, sizeof(what), "h%u", handle);
        took(&pair->tmpfs, 0);
        took(&pair->mount, 0);
        if (read_all(&pair->tmpfs, pair->tmpfs.handles[handle]) !=
            read_all(&pair->mount, pair->mount.handles[handle]))
            return differ(pair, "%s: reading all of it: %zu bytes on tmpfs, %zu on the mount", what,
                          pair->tmpfs.data_size, pair->mount.data_size);
        if (!same_data(pair, what))
            return false;
    }
    return true;
}

/* ------------------------------------------------------------------------------------ all operations */

#define NAME_TO_SLOT (USES_NAME | USES_SLOT | USES_MODE)
#define RANGE (USES_OFFSET | USES_SIZE)
#define MAPPED (RANGE | WITHIN_FILE)

static const struct op_type types[] = {
    {"open", 100, NAME_TO_SLOT, run_open, open_flags, open_names, check_open},
    {"close", 80, USES_HANDLE, run_close, NULL, NULL, check_close},
    {"dup", 15, USES_HANDLE | USES_SLOT, run_dup, NULL, NULL, check_dup},
    {"scratch", 15, USES_NAME | USES_SLOT, run_scratch, NULL, NULL, check_scratch_open},
    {"scratch_rename", 12, USES_NAME | USES_NAME2, run_scratch_rename, NULL, NULL, check_scratch},
    {"scratch_unlink", 5, USES_NAME, run_scratch_unlink, NULL, NULL, check_scratch},
    {"read", 40, USES_HANDLE | USES_SIZE, run_read, NULL, NULL, NULL},
    {"pread", 60, USES_HANDLE | RANGE, run_pread, NULL, NULL, NULL},
    {"write", 60, USES_HANDLE | USES_SIZE | USES_FILL, run_write, NULL, NULL, NULL},
    {"pwrite", 80, USES_HANDLE | RANGE | USES_FILL, run_pwrite, NULL, NULL, NULL},
    {"put", 40, USES_NAME | USES_SIZE | USES_FILL, run_put, NULL, NULL, NULL},
    {"append", 20, USES_NAME | USES_SIZE | USES_FILL, run_append, NULL, NULL, NULL},
    {"get", 40, USES_NAME, run_get, NULL, NULL, NULL},
    {"lseek", 25, USES_HANDLE | USES_OFFSET, run_lseek, whence_flags, whence_names, NULL},
    {"fsync", 20, USES_HANDLE, run_fsync, one_bit, sync_names, check_put},
    {"truncate", 15, USES_NAME | USES_OFFSET, run_truncate, NULL, NULL, NULL},
    {"ftruncate", 25, USES_HANDLE | USES_OFFSET, run_ftruncate, NULL, NULL, NULL},
    {"fallocate", 35, USES_HANDLE | RANGE, run_fallocate, fallocate_flags, fallocate_names, check_fallocate},
    {"copy_file_range", 30, USES_HANDLE | USES_HANDLE2 | RANGE | USES_OFFSET2, run_copy, NULL, NULL, NULL},
    {"seek", 25, USES_HANDLE | USES_OFFSET | ANY_RESULT, run_seek, seek_flags, whence_names, check_seek},
    {"mmap_write", 25, USES_HANDLE | MAPPED | USES_FILL, run_mmap_write, one_bit, mmap_names, NULL},
    {"mmap_private", 10, USES_HANDLE | MAPPED | USES_FILL, run_mmap_private, NULL, NULL, NULL},
    {"map", 15, USES_HANDLE | USES_MAP_SLOT, run_map, NULL, NULL, NULL},
    {"map_store", 40, USES_MAP | MAPPED | USES_FILL, run_map_store, NULL, NULL, check_map_store},
    {"map_load", 30, USES_MAP | MAPPED, run_map_load, NULL, NULL, NULL},
    {"msync", 5, USES_MAP, run_msync, NULL, NULL, NULL},
    {"unmap", 8, USES_MAP, run_unmap, NULL, NULL, NULL},
    {"rename", 60, USES_NAME | USES_NAME2, run_rename, rename_flags, rename_names, NULL},
    {"unlink", 30, USES_NAME, run_unlink, NULL, NULL, NULL},
    {"list", 12, USES_NAME, run_list, NULL, NULL, NULL},
    {"chmod", 15, USES_NAME | USES_MODE, run_chmod, NULL, NULL, NULL},
    {"fchmod", 15, USES_HANDLE | USES_MODE, run_fchmod, NULL, NULL, NULL},
    {"utimensat", 25, USES_NAME | USES_FILL, run_times, times_flags, times_names, check_times},
    {"futimens", 25, USES_HANDLE | USES_FILL, run_ftimes, times_flags, times_names, check_ftimes},
    {"directory_times", 10, USES_NAME | USES_FILL, run_dir_times, times_flags, times_names, check_dir_times},
    {"access", 10, USES_NAME, run_access, access_flags, access_names, NULL},
    {"stat", 20, USES_NAME, run_nothing, NULL, NULL, NULL},
    {"fstat", 20, USES_HANDLE, run_nothing, NULL, NULL, NULL},
    {"setxattr", 15, USES_NAME | USES_MODE | USES_SIZE | USES_FILL | USES_XATTRS, run_setxattr, xattr_flags,
     xattr_names, NULL},
    {"getxattr", 10, USES_NAME | USES_MODE | USES_SIZE | USES_XATTRS, run_getxattr, NULL, NULL, NULL},
    {"fgetxattr", 10, USES_HANDLE | USES_MODE | USES_SIZE | USES_XATTRS, run_fgetxattr, NULL, NULL, NULL},
    {"removexattr", 5, USES_NAME | USES_MODE | USES_XATTRS, run_removexattr, NULL, NULL, NULL},
    {"listxattr", 10, USES_NAME | USES_XATTRS, run_listxattr, NULL, NULL, NULL},
    {"survey", 15, 0, run_nothing, NULL, NULL, check_survey},
    {"read_everything", 5, 0, run_nothing, NULL, NULL, check_contents},
};

#define TYPES (sizeof(types) / sizeof(types[0]))

static unsigned random_kind(struct test_random *random)
{
    size_t total = 0, at;
    unsigned kind = 0;

    for (size_t i = 0; i < TYPES; i++)
        total += types[i].weight;
    at = test_random_below(random, total);
    while (at >= types[kind].weight)
        at -= types[kind++].weight;
    return kind;
}

/* Mostly small, some large, a few very large. */
static size_t random_size(struct test_random *random, size_t max)
{
    size_t kind = test_random_below(random, 1000);

    if (kind < 2)
        return test_random_below(random, max);
    if (kind < 20)
        return test_random_below(random, 300u << 10);
    return test_random_below(random, kind < 250 ? 16u << 10 : 600);
}

struct op op_random(struct test_random *random)
{
    static const unsigned modes[] = {0600, 0644, 0640, 0664, 0755, 0700, 0777, 0444, 0200, 0000};
    const struct op_type *type;
    struct op op = {.kind = random_kind(random)};

    type = &types[op.kind];
    op.name = (unsigned)test_random_below(random, NAMES);
    op.name2 = (unsigned)test_random_below(random, NAMES);
    op.handle = (unsigned)test_random_below(random, PAIR_HANDLES);
    op.handle2 = (unsigned)test_random_below(random, PAIR_HANDLES);
    op.map = (unsigned)test_random_below(random, PAIR_MAPS);
    op.flags = type->flags != NULL ? type->flags(random) : 0;
    op.mode = modes[test_random_below(random, sizeof(modes) / sizeof(modes[0]))];
    op.offset = (int64_t)random_size(random, 3u << 20);
    op.offset2 = (int64_t)random_size(random, 3u << 20);
    op.size = random_size(random, 3u << 19);
    op.at_end = test_random_below(random, 3) == 0;
    if (op.at_end)
        op.offset = (int64_t)test_random_below(random, 6000) - 1000;
    op.fill = test_random(random);
    return op;
}

static int print_flags(const struct op_type *type, unsigned flags, char *out, size_t size)
{
    int used = 0;

    if (type->flag_names == NULL || flags == 0)
        return 0;
    for (const struct flag_name *flag = type->flag_names; flag->name != NULL; flag++)
        if (flags == flag->value)
            return snprintf(out, size, " %s", flag->name);
    for (const struct flag_name *flag = type->flag_names; flag->name != NULL; flag++)
        if ((flags & flag->value) == flag->value)
            used += snprintf(out + used, size - (size_t)used, "%s%s", used == 0 ? " " : "|", flag->name);
    return used;
}

void op_print(const struct op *op, char *out, size_t size)
{
    const struct op_type *type = &types[op->kind];
    char text[512];
    int used = sprintf(text, "%s", type->name);

    if (type->uses & USES_MAP_SLOT)
        used += sprintf(text + used, " m%u =", op->map);
    if (type->uses & USES_SLOT)
        used += sprintf(text + used, " h%u =", op->handle2);
    if (type->uses & USES_MAP)
        used += sprintf(text + used, " m%u", op->map);
    if (type->uses & USES_HANDLE)
        used += sprintf(text + used, " h%u", op->handle);
    if (type->uses & USES_HANDLE2)
        used += sprintf(text + used, " to h%u", op->handle2);
    if (type->uses & USES_NAME)
        used += sprintf(text + used, " %u/%s", op->name / KEYS, key_of(op->name));
    if (type->uses & USES_NAME2)
        used += sprintf(text + used, " to %u/%s", op->name2 / KEYS, key_of(op->name2));
    used += print_flags(type, op->flags, text + used, 100);
    if (type->uses & USES_XATTRS && type->uses & USES_MODE)
        used += sprintf(text + used, " %s", xattr_of(op));
    else if (type->uses & USES_MODE)
        used += sprintf(text + used, " mode=0%o", op->mode);
    if (type->uses & USES_OFFSET)
        used += sprintf(text + used, " offset=%" PRId64, op->offset);
    if (type->uses & USES_OFFSET2)
        used += sprintf(text + used, " to offset=%" PRId64, op->offset2);
    if (type->uses & (USES_SIZE | USES_MAP_SLOT))
        sprintf(text + used, " size=%zu", op->size);
    snprintf(out, size, "%s", text);
}

/* ------------------------------------------------------------------------------------------- one step */

/* This slot or the next one that has an open handle. */
static bool find_handle(const struct pair *pair, unsigned *slot)
{
    for (unsigned i = 0; i < PAIR_HANDLES; i++, *slot = (*slot + 1) % PAIR_HANDLES)
        if (pair->tmpfs.handles[*slot] >= 0)
            return true;
    return false;
}

static bool find_map(const struct pair *pair, unsigned *slot)
{
    for (unsigned i = 0; i < PAIR_MAPS; i++, *slot = (*slot + 1) % PAIR_MAPS)
        if (pair->tmpfs.maps[*slot].bytes != NULL)
            return true;
    return false;
}

/* The size of the file that an operation is about, 0 where there is none. */
static int64_t size_of(const struct pair *pair, const struct op *op, unsigned uses)
{
    struct stat attr = {0};

    if (uses & USES_MAP)
        (void)fstat(pair->tmpfs.maps[op->map].file, &attr);
    else if (uses & USES_HANDLE)
        (void)fstat(pair->tmpfs.handles[op->handle], &attr);
    else if (uses & USES_NAME)
        (void)stat_name(&pair->tmpfs, op->name, &attr);
    return attr.st_size;
}

static void cut_range(struct op *op, int64_t size)
{
    op->offset = op->offset >= 0 && op->offset < size ? op->offset : 0;
    if ((int64_t)op->size > size - op->offset)
        op->size = (size_t)(size - op->offset);
}

/* Decide on what an operation is made. returns false: there is nothing */
static bool resolve(const struct pair *pair, struct op *op)
{
    unsigned uses = types[op->kind].uses;
    int64_t size;

    if ((uses & USES_XATTRS && !pair->xattrs) || (uses & USES_HANDLE && !find_handle(pair, &op->handle)) ||
        (uses & USES_HANDLE2 && !find_handle(pair, &op->handle2)) ||
        (uses & USES_MAP && !find_map(pair, &op->map)))
        return false;
    size = size_of(pair, op, uses);
    if (op->at_end && uses & USES_OFFSET)
        op->offset += size;
    op->at_end = false;
    if (op->offset > LARGE)
        op->offset = LARGE;
    if (uses & USES_MAP_SLOT)
        op->size = size < MAP_MAX ? (size_t)size : MAP_MAX;
    if (uses & USES_MAP && size > (int64_t)pair->tmpfs.maps[op->map].size)
        size = (int64_t)pair->tmpfs.maps[op->map].size;
    if (uses & WITHIN_FILE) {
        cut_range(op, size);
        return op->size > 0;
    }
    if (uses & USES_HANDLE && lseek(pair->tmpfs.handles[op->handle], 0, SEEK_CUR) > LARGE)
        return uses & USES_OFFSET;
    return size <= LARGE || !(uses & USES_FILL);
}

static bool same_result(struct pair *pair, long tmpfs, int tmpfs_errno, long mount, int mount_errno)
{
    if (tmpfs >= 0 && mount >= 0 && tmpfs != mount)
        return differ(pair, "%ld on tmpfs, %ld on the mount", tmpfs, mount);
    if (tmpfs < 0 ? mount >= 0 || tmpfs_errno != mount_errno : mount < 0)
        return differ(pair, "%s on tmpfs, %s on the mount", tmpfs < 0 ? strerror(tmpfs_errno) : "success",
                      mount < 0 ? strerror(mount_errno) : "success");
    return same_data(pair, "data");
}

static bool same_touched(struct pair *pair, const struct op *op, unsigned uses)
{
    struct inos inos;

    return (!(uses & USES_NAME) || same_name(pair, op->name, &inos)) &&
           (!(uses & USES_NAME2) || same_name(pair, op->name2, &inos)) &&
           (!(uses & USES_HANDLE) || same_handle(pair, op->handle, &inos)) &&
           (!(uses & (USES_HANDLE2 | USES_SLOT)) || same_handle(pair, op->handle2, &inos));
}

bool pair_step(struct pair *pair, const struct op *op, struct op *made)
{
    const struct op_type *type = &types[op->kind];
    struct test_random bytes = {op->fill};
    int tmpfs_errno, mount_errno;
    struct stat before;
    long tmpfs, mount;

    *made = *op;
    if (!resolve(pair, made)) {
        made->kind = OP_NONE;
        return true;
    }
    if (type->uses & USES_FILL && type->uses & USES_SIZE)
        test_random_fill(&bytes, pair->fill, made->size);
    took(&pair->tmpfs, 0);
    took(&pair->mount, 0);
    pair->was_there = type->uses & USES_NAME && stat_name(&pair->tmpfs, made->name, &before) == 0;
    tmpfs = type->run(&pair->tmpfs, made);
    tmpfs_errno = errno;
    mount = type->run(&pair->mount, made);
    mount_errno = errno;
    return (type->uses & ANY_RESULT || same_result(pair, tmpfs, tmpfs_errno, mount, mount_errno)) &&
           (type->check == NULL || type->check(pair, made, tmpfs, mount)) && same_touched(pair, made, type->uses);
}

/* ------------------------------------------------------------------------------------------ beginning, end */

static void side_init(struct side *side, bool is_mount, const uint8_t *fill)
{
    *side = (struct side){.is_mount = is_mount, .fill = fill, .data = malloc(DATA_MAX)};
    assert_non_null(side->data);
    for (unsigned i = 0; i < PAIR_HANDLES; i++)
        side->handles[i] = -1;
    for (unsigned i = 0; i < PAIR_DIRS; i++)
        side->dirs[i] = -1;
}

void pair_init(struct pair *pair)
{
    struct sigaction action = {.sa_handler = on_bus_error};

    *pair = (struct pair){.fill = malloc(DATA_MAX), .started = time(NULL)};
    assert_non_null(pair->fill);
    side_init(&pair->tmpfs, false, pair->fill);
    side_init(&pair->mount, true, pair->fill);
    sigaction(SIGBUS, &action, NULL);
}

void pair_free(struct pair *pair)
{
    (void)pair_close_files(pair);
    pair_close_dirs(pair);
    free(pair->fill);
    free(pair->tmpfs.data);
    free(pair->mount.data);
}

static void open_dir(struct side *side, unsigned dir, const char *root, const char *name)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s%u", root, name, dir);
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        fail_msg("mkdir %s: %s", path, strerror(errno));
    side->dirs[dir] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (side->dirs[dir] < 0)
        fail_msg("open %s: %s", path, strerror(errno));
}

void pair_open_dirs(struct pair *pair, const char *tmpfs_root, const char *mount_root, const char *name)
{
    for (unsigned dir = 0; dir < PAIR_DIRS; dir++) {
        open_dir(&pair->tmpfs, dir, tmpfs_root, name);
        open_dir(&pair->mount, dir, mount_root, name);
    }
    pair->xattrs = fsetxattr(pair->tmpfs.dirs[0], "user.probe", "", 0, 0) == 0;
}

void pair_close_dirs(struct pair *pair)
{
    for (unsigned dir = 0; dir < PAIR_DIRS; dir++) {
        close(pair->tmpfs.dirs[dir]);
        close(pair->mount.dirs[dir]);
        pair->tmpfs.dirs[dir] = pair->mount.dirs[dir] = -1;
    }
}

bool pair_close_files(struct pair *pair)
{
    bool same = true;
    int tmpfs, mount;

    for (unsigned i = 0; i < PAIR_MAPS; i++) {
        tmpfs = unmap(&pair->tmpfs.maps[i]);
        mount = unmap(&pair->mount.maps[i]);
        same = same && (tmpfs == mount || differ(pair, "unmap m%u: %s", i, strerror(errno)));
    }
    for (unsigned i = 0; i < PAIR_HANDLES; i++) {
        tmpfs = close_slot(&pair->tmpfs, i);
        mount = close_slot(&pair->mount, i);
        same = same && (tmpfs == mount || differ(pair, "close h%u: %s", i, strerror(errno)));
        pair->created[i] = false;
    }
    return same;
}

bool pair_compare(struct pair *pair) { return check_contents(pair, NULL, 0, 0); }

/* Bytes of the names and values of a file's user attributes. */
static int64_t xattr_bytes(const struct side *side, unsigned name)
{
    struct path path = path_of(side, name);
    char text[4096];
    ssize_t size = llistxattr(path.text, text, sizeof(text));
    int64_t sum = 0;

    for (char *at = text; size > 0 && at < text + size; at += strlen(at) + 1)
        if (strncmp(at, "user.", 5) == 0)
            sum += (int64_t)strlen(at) + lgetxattr(path.text, at, NULL, 0);
    return sum;
}

static bool compare_usage(struct pair *pair)
{
    int64_t bytes[PAIR_DIRS] = {0};
    struct stat attr;

    for (unsigned name = 0; name < NAMES; name++)
        if (stat_name(&pair->tmpfs, name, &attr) == 0)
            bytes[name / KEYS] += attr.st_size + (int64_t)strlen(key_of(name)) +
                                  (pair->xattrs ? xattr_bytes(&pair->tmpfs, name) : 0);
    for (unsigned dir = 0; dir < PAIR_DIRS; dir++) {
        char text[32] = "";

        if (fgetxattr(pair->mount.dirs[dir], "user.kvfs.bytes", text, sizeof(text) - 1) < 0)
            return differ(pair, "directory %u: user.kvfs.bytes: %s", dir, strerror(errno));
        if (strtoll(text, NULL, 10) != bytes[dir])
            return differ(pair, "directory %u: it has %s bytes, its files have %jd", dir, text,
                          (intmax_t)bytes[dir]);
    }
    return true;
}

static void remove_scratch(struct side *side)
{
    for (unsigned dir = 0; dir < PAIR_DIRS; dir++)
        (void)unlinkat(side->dirs[dir], SCRATCH, 0);
}

bool pair_compare_mounted(struct pair *pair)
{
    for (unsigned dir = 0; dir < PAIR_DIRS; dir++) /* scratch files do not outlive a mount */
        pair->loose_dirs[dir] |= unlinkat(pair->tmpfs.dirs[dir], SCRATCH, 0) == 0;
    return pair_compare(pair) && compare_usage(pair);
}

bool pair_remove_files(struct pair *pair)
{
    pair->loose_count = 0;
    memset(pair->loose_dirs, 0, sizeof(pair->loose_dirs));
    pair->created_late = false;
    remove_scratch(&pair->tmpfs);
    remove_scratch(&pair->mount);
    for (unsigned name = 0; name < NAMES; name++) {
        (void)unlinkat(dir_of(&pair->tmpfs, name), key_of(name), 0);
        (void)unlinkat(dir_of(&pair->mount, name), key_of(name), 0);
    }
    for (unsigned dir = 0; dir < PAIR_DIRS; dir++)
        if (list(&pair->mount, pair->mount.dirs[dir]) != 2)
            return differ(pair, "left behind: %.*s", (int)pair->mount.data_size, (char *)pair->mount.data);
    return true;
}
