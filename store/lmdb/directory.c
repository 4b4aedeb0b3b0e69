/* The directory of an LMDB store: the rules for what is opened, creation, and what is said when it is refused.
 *
 * A new store is built as data.mdb.new, with its tables, and its log beside it, and renamed to data.mdb when both are on
 * the disk. So a data.mdb is a whole store or not ours, and a creation that was cut off is begun anew by the next one.
 * Creators exclude each other by flock() on the directory.
 *
 * Filesystems that hosts can share are refused. FUSE is any filesystem: those are let in that are known to be local.
 *
 * LMDB makes lock.mdb a sparse file and writes it through a map, where a full disk answers with SIGBUS. So its blocks
 * are allocated before LMDB opens it, and a disk without room for them is told at the open.
 */
#include "store/lmdb/lmdb_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#define NEW_FILE "data.mdb.new"
#define NEW_MAP (4u << 20)             /* bytes: plenty for empty tables */
#define RING_LEAST ((uint64_t)1 << 20) /* bytes of the log */
#define RING_MOST ((uint64_t)16 << 20)
#define LOCK_SIZE ((off_t)LMDB_READERS_MAX * 64 + 4096) /* bytes that LMDB makes it, at most: a cache line each */

const char *const lmdb_table_names[ENGINE_TABLES] = {
    [ENGINE_META] = "meta", [ENGINE_NAMES] = "names",   [ENGINE_NODES] = "nodes",
    [ENGINE_KEYS] = "keys", [ENGINE_CHUNKS] = "chunks",
};

int lmdb_refuse(struct kv_error *error, int rc, const char *dir, const char *format, ...)
{
    int used = snprintf(error->text, sizeof(error->text), "%.200s: ", dir);
    va_list args;

    va_start(args, format);
    vsnprintf(error->text + used, sizeof(error->text) - (size_t)used, format, args);
    va_end(args);
    return rc;
}

int lmdb_refuse_answer(struct kv_error *error, const char *dir, int lmdb_rc)
{
    int rc = lmdb_errno(lmdb_rc);

    switch (lmdb_rc) {
    case MDB_VERSION_MISMATCH:
        return lmdb_refuse(error, rc, dir,
                           DATA_FILE " was written by another version of LMDB: use the program that "
                                     "made it, or choose another directory");
    case MDB_INVALID:
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
        return lmdb_refuse(error, rc, dir,
                           DATA_FILE " is not an LMDB database, or is damaged: restore it from a copy, "
                                     "or choose another directory");
    case EACCES:
    case EPERM:
        return lmdb_refuse(error, rc, dir,
                           "permission denied: the directory, " DATA_FILE ", " LOCK_FILE
                           " and writer must be readable and writable for the user that opens the store");
    case EAGAIN:
        return lmdb_refuse(error, rc, dir,
                           "a process of another container, with the number of this one (%d), has the store open: "
                           "start this one with another number",
                           (int)getpid());
    case EROFS:
        return lmdb_refuse(error, rc, dir, "the filesystem is read-only: open the store read-only");
    case ENOMEM:
        return lmdb_refuse(error, rc, dir,
                           "the database does not fit the address space: raise the limit (ulimit -v), "
                           "or choose a smaller map");
    case ENOSPC:
        return lmdb_refuse(error, rc, dir, "no space left on the disk: make some room and try again");
    case MDB_READERS_FULL:
        return lmdb_refuse(error, rc, dir, "%d readers use the store already: try again later", LMDB_READERS_MAX);
    default:
        return lmdb_refuse(error, rc, dir, "cannot open the store: %s", mdb_strerror(lmdb_rc));
    }
}

static void close_fd(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
#define CLEANUP(how) __attribute__((cleanup(how)))

/* ---------------------------------------------------------------------- filesystems */

#define FUSE 0x65735546 /* also of virtiofs */

/* The name of a filesystem that is shared by hosts, whose locks and maps do not reach across; else NULL. */
static const char *network_filesystem(uint32_t type)
{
    static const struct {
        uint32_t type;
        const char *name;
    } known[] = {
        {0x6969, "NFS"},        {0x517b, "SMB"},        {0xfe534d42, "SMB"},      {0xff534d42, "CIFS"},
        {0x01021997, "9p"},     {0x00c36400, "Ceph"},   {0x5346414f, "AFS"},      {0x6b414653, "AFS"},
        {0x73757245, "Coda"},   {0x0bd00bd0, "Lustre"}, {0x7461636f, "OCFS2"},    {0x01161970, "GFS2"},
        {0x19830326, "BeeGFS"}, {0x47504653, "GPFS"},   {0x20030528, "OrangeFS"}, {0x786f4256, "vboxsf"},
        {0xbacbacbc, "vmhgfs"},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].type == type)
            return known[i].name;
    return NULL;
}

/* The type of what is mounted from a device. type: room for 64 bytes; "fuse" where the mounts do not say */
static void mounted_type(FILE *mounts, dev_t device, char *type)
{
    char *line = NULL;
    size_t room = 0;
    unsigned high, low;

    strcpy(type, "fuse");
    /* id, parent, device, root, mount point, options, any number of tags, "-", type, ... */
    while (mounts != NULL && getline(&line, &room, mounts) > 0) {
        const char *rest = strstr(line, " - ");

        if (rest != NULL && sscanf(line, "%*u %*u %u:%u", &high, &low) == 2 && makedev(high, low) == device &&
            sscanf(rest, " - %63s", type) == 1)
            break;
    }
    free(line);
}

int lmdb_check_fuse(FILE *mounts, dev_t device, const char *dir, struct kv_error *error)
{
    static const char *const local[] = {"fuseblk", "fuse.fuse-overlayfs"};
    char type[64];

    mounted_type(mounts, device, type);
    for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
        if (strcmp(type, local[i]) == 0)
            return 0;
    if (strcmp(type, "fuse.kvfs") == 0)
        return lmdb_refuse(error, -EOPNOTSUPP, dir,
                           "inside a mounted store, which holds keys only: give the store's own directory");
    return lmdb_refuse(error, -EOPNOTSUPP, dir,
                       "on a filesystem (%s) that several hosts may share, which would damage the store: choose a "
                       "local disk",
                       type);
}

/* May a store lie on the filesystem of this directory? returns 0; -EOPNOTSUPP */
static int check_filesystem(int fd, const char *dir, struct kv_error *error)
{
    const char *network;
    struct statfs fs;
    struct stat file;
    FILE *mounts;
    int rc;

    if (fstatfs(fd, &fs) != 0 || fstat(fd, &file) != 0)
        return lmdb_refuse_answer(error, dir, errno);
    network = network_filesystem((uint32_t)fs.f_type);
    if (network != NULL)
        return lmdb_refuse(
            error, -EOPNOTSUPP, dir,
            "on a network filesystem (%s), where several hosts would damage the store: choose a local disk",
            network);
    if ((uint32_t)fs.f_type != FUSE)
        return 0;
    mounts = fopen("/proc/self/mountinfo", "re");
    rc = lmdb_check_fuse(mounts, file.st_dev, dir, error);
    if (mounts != NULL)
        fclose(mounts);
    return rc;
}

/* ------------------------------------------------------------------------- lock.mdb */

int lmdb_allocate_lock(const char *dir, bool read_only, struct kv_error *error)
{
    CLEANUP(close_fd) int fd = -1;
    struct stat file;
    char *path;
    off_t size;
    int rc;

    if (asprintf(&path, "%s/" LOCK_FILE, dir) < 0)
        return lmdb_refuse_answer(error, dir, ENOMEM);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    free(path);
    if (fd < 0 && errno == EROFS && read_only)
        return 0; /* LMDB does without one */
    if (fd < 0 || fstat(fd, &file) != 0)
        return lmdb_refuse_answer(error, dir, errno);
    /* Others may be using it: neither its bytes nor its size change, which is LMDB's to choose. */
    size = file.st_size > LOCK_SIZE ? file.st_size : LOCK_SIZE;
    do
        rc = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, size) == 0 ? 0 : errno;
    while (rc == EINTR);
    /* Where nothing can be reserved the disk is trusted. */
    return rc == 0 || rc == EOPNOTSUPP || rc == ENOSYS ? 0 : lmdb_refuse_answer(error, dir, rc);
}

/* ------------------------------------------------------------------------- creation */

static int sync_directory(int fd) { return fsync(fd) == 0 || errno == EINVAL ? 0 : -errno; }

/* Does the directory hold nothing but what a creation may find? returns 0; -ENOTEMPTY */
static int check_empty(const char *dir, struct kv_error *error)
{
    static const char *const allowed[] = {".",      "..",     "lost+found", LOCK_FILE,
                                          NEW_FILE, "writer", "locks",      LOG_FILE};
    DIR *list = opendir(dir);
    struct dirent *entry;
    int rc = 0;

    if (list == NULL)
        return lmdb_refuse_answer(error, dir, errno);
    while (rc == 0 && (entry = readdir(list)) != NULL) {
        size_t i = 0;

        while (i < sizeof(allowed) / sizeof(allowed[0]) && strcmp(entry->d_name, allowed[i]) != 0)
            i++;
        if (i == sizeof(allowed) / sizeof(allowed[0]))
            rc = lmdb_refuse(error, -ENOTEMPTY, dir,
                             "holds other things (%.64s) and no store: choose an empty or a new directory",
                             entry->d_name);
    }
    closedir(list);
    return rc;
}

/* A 64th of what the store can become, within bounds. */
static uint64_t ring_for(int dir_fd, uint64_t limit)
{
    struct statvfs disk;
    uint64_t ring = limit / 64;

    if (fstatvfs(dir_fd, &disk) == 0 && (uint64_t)disk.f_blocks * disk.f_frsize / 64 < ring)
        ring = (uint64_t)disk.f_blocks * disk.f_frsize / 64;
    ring -= ring % RING_LEAST;
    return ring < RING_LEAST ? RING_LEAST : ring > RING_MOST ? RING_MOST : ring;
}

/* Make an empty database in `env`, which belongs to the log of `slot`. returns an answer of LMDB's kind */
static int build_tables(MDB_env *env, struct log_slot *slot)
{
    struct lmdb_mark mark = {.salt = slot->salt, .pos = slot->pos, .seq = slot->seq};
    MDB_dbi table;
    MDB_txn *txn;
    int rc = mdb_txn_begin(env, NULL, 0, &txn);

    if (rc != 0)
        return rc;
    for (int i = 0; rc == 0 && i < ENGINE_TABLES; i++)
        rc = mdb_dbi_open(txn, lmdb_table_names[i], MDB_CREATE, &table);
    if (rc == 0)
        rc = mdb_dbi_open(txn, LMDB_MARKS, MDB_CREATE, &table);
    if (rc == 0)
        rc = lmdb_mark_write(table, txn, &mark);
    slot->txn = mdb_txn_id(txn);
    if (rc == 0)
        rc = mdb_txn_commit(txn);
    else
        mdb_txn_abort(txn);
    return rc;
}

/* Build an empty database as data.mdb.new, durably, and say in the slot what it is. returns an answer of LMDB's kind */
static int build_data(const char *path, struct log_slot *slot)
{
    MDB_env *env;
    MDB_stat size;
    struct stat file;
    int rc = mdb_env_create(&env), fd;

    if (rc != 0)
        return rc;
    rc = mdb_env_set_maxdbs(env, ENGINE_TABLES + 1);
    if (rc == 0)
        rc = mdb_env_set_mapsize(env, NEW_MAP);
    if (rc == 0)
        rc = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK, 0600);
    if (rc == 0)
        rc = build_tables(env, slot);
    if (rc == 0)
        rc = mdb_env_stat(env, &size);
    if (rc == 0)
        rc = mdb_env_get_fd(env, &fd);
    if (rc == 0 && fstat(fd, &file) != 0)
        rc = errno;
    if (rc == 0) {
        slot->page_size = size.ms_psize;
        slot->data_ino = file.st_ino;
        rc = -lmdb_header_read(fd, slot->page_size, slot->txn, slot->header);
    }
    mdb_env_close(env);
    return rc;
}

/* The log of a database that is going to be there. */
static int build_log(int dir_fd, const struct log_slot *slot)
{
    int fd, rc = unlinkat(dir_fd, LOG_FILE, 0) == 0 || errno == ENOENT ? 0 : -errno;

    if (rc == 0)
        rc = log_create(dir_fd, LOG_FILE, slot, &fd);
    if (rc == 0)
        close(fd);
    return rc;
}

static int create_store(int dir_fd, const char *dir, uint64_t limit, struct kv_error *error)
{
    struct log_slot slot = {.number = 1, .ring = ring_for(dir_fd, limit), .seq = 1};
    char *path;
    int rc;

    if (asprintf(&path, "%s/" NEW_FILE, dir) < 0)
        return lmdb_refuse_answer(error, dir, ENOMEM);
    rc = unlinkat(dir_fd, NEW_FILE, 0) == 0 || errno == ENOENT ? 0 : errno;
    if (rc == 0 && getrandom(&slot.salt, sizeof(slot.salt), 0) != (ssize_t)sizeof(slot.salt))
        rc = EIO;
    if (rc == 0)
        rc = build_data(path, &slot);
    if (rc == 0)
        rc = -build_log(dir_fd, &slot);
    if (rc == 0) /* a data.mdb has a log, whatever the disk does first */
        rc = -sync_directory(dir_fd);
    if (rc == 0 && renameat(dir_fd, NEW_FILE, dir_fd, DATA_FILE) != 0)
        rc = errno;
    if (rc == 0)
        rc = -sync_directory(dir_fd);
    else
        unlinkat(dir_fd, NEW_FILE, 0);
    free(path);
    return rc == 0 ? 0 : lmdb_refuse_answer(error, dir, rc);
}

/* --------------------------------------------------------------------- the directory */

/* returns 1 data.mdb is there; 0 it is not; negative: it is nothing that could be opened */
static int find_data(int dir_fd, const char *dir, struct kv_error *error)
{
    struct stat data;

    if (fstatat(dir_fd, DATA_FILE, &data, 0) != 0)
        return errno == ENOENT ? 0 : lmdb_refuse_answer(error, dir, errno);
    if (!S_ISREG(data.st_mode))
        return lmdb_refuse(error, -EIO, dir, DATA_FILE " is not a file: choose another directory");
    /* LMDB would make an empty file a new database. */
    if (data.st_size == 0)
        return lmdb_refuse_answer(error, dir, MDB_INVALID);
    return 1;
}

bool lmdb_is_data(const char *dir, int fd)
{
    struct stat is, should;
    char *path;
    bool same;

    if (asprintf(&path, "%s/" DATA_FILE, dir) < 0)
        return false;
    same = stat(path, &is) == 0 && fstat(fd, &should) == 0 && is.st_dev == should.st_dev &&
           is.st_ino == should.st_ino;
    free(path);
    return same;
}

/* Open the directory, made where it is absent and `create` says so. returns a descriptor */
static int open_directory(const char *dir, bool create, struct kv_error *error)
{
    CLEANUP(close_fd) int parent = -1;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;

    if (fd < 0 && errno == ENOENT && create) {
        if (mkdir(dir, 0700) != 0 && errno != EEXIST)
            return errno == ENOENT
                       ? lmdb_refuse(error, -ENOENT, dir, "the directory above it does not exist: make it first")
                       : lmdb_refuse_answer(error, dir, errno);
        fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0) {
            parent = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            rc = parent < 0 ? -errno : sync_directory(parent);
        }
    }
    if (fd < 0 && errno == ENOENT)
        return lmdb_refuse(error, -ENOENT, dir, "no store there: check the path, or create the store first");
    if (fd < 0 && errno == ENOTDIR)
        return lmdb_refuse(error, -ENOTDIR, dir, "not a directory: a store is a directory of its own");
    if (fd < 0)
        return lmdb_refuse_answer(error, dir, errno);
    if (rc < 0) {
        close(fd);
        return lmdb_refuse_answer(error, dir, -rc);
    }
    return fd;
}

int lmdb_directory(const char *dir, bool create, uint64_t limit, struct kv_error *error)
{
    CLEANUP(close_fd) int fd = open_directory(dir, create, error);
    int rc;

    if (fd < 0)
        return fd;
    rc = check_filesystem(fd, dir, error);
    if (rc < 0)
        return rc;
    rc = find_data(fd, dir, error);
    if (rc == 0 && create) {
        while ((rc = flock(fd, LOCK_EX)) != 0 && errno == EINTR)
            ;
        if (rc != 0)
            return lmdb_refuse_answer(error, dir, errno);
        rc = find_data(fd, dir, error);
        if (rc != 0)
            return rc < 0 ? rc : 0;
        rc = check_empty(dir, error);
        return rc < 0 ? rc : create_store(fd, dir, limit, error);
    }
    if (rc == 0)
        return lmdb_refuse(error, -ENOENT, dir, "no store there: check the path, or create the store first");
    return rc < 0 ? rc : 0;
}
