/* The directory of an LMDB store: the rules for what is opened, and what is said when it is refused.
 *
 * Who can get at a store
 *   A store is its owner's: directory and data.mdb belong to the effective user, and nobody else has a right on them.
 *   Then nobody else can put anything in the place of a file, or hold a lock that this process waits for. With
 *   `foreign` neither is asked for; root then works with the rights of the owner (store/base/owner.h).
 *
 *   The directory is opened once. All below it is reached from that descriptor, also by LMDB, which gets
 *   /proc/self/fd/N for a path: whatever becomes of the names above, it is this directory. LMDB follows links, though:
 *   so its files are looked at before it opens them (regular, no link, the directory's owner's) and data.mdb is
 *   compared with what LMDB has open afterwards. In between only who may write to the directory could exchange them:
 *   the owner, who would be acting against himself, or with `foreign` somebody who gets root to open what the owner
 *   may open.
 *
 * How a store is made stands in create.c. Creators exclude each other by flock() on lock.mdb, which strangers cannot
 * open, and wait for CREATE_TRIES.
 *
 * LMDB makes lock.mdb a sparse file and writes it through a map, where a full disk answers with SIGBUS. So its blocks
 * are allocated before LMDB opens it, and a disk without room for them is told at the open.
 */
#include "store/lmdb/lmdb_internal.h"

#include "store/base/owner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NO_STORE "no store there: check the path, or make one by kvctl --store DIR account create NAME"
#define CREATE_TRIES 500                                /* 10 ms each, for who makes the store */
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
    case EBUSY:
        return lmdb_refuse(
            error, rc, dir,
            "another version of kvfs has it open, or a process that was stopped while it opened it: "
            "unmount it there, and end what else uses it (fuser finds it)");
    case EAGAIN:
        return lmdb_refuse(error, rc, dir,
                           "a process of another container, with the number of this one (%d), has the store open: "
                           "start this one with another number",
                           (int)getpid());
    case ELOOP:
        return lmdb_refuse(
            error, rc, dir,
            "one of its files is a symbolic link: those of a store are files themselves; put the file "
            "there, or remove the link");
    case EROFS:
        return lmdb_refuse(error, rc, dir, "the filesystem is read-only: open the store read-only");
    case ENOMEM:
        return lmdb_refuse(error, rc, dir,
                           "the database does not fit the address space: raise the limit (ulimit -v), "
                           "or choose a smaller map");
    case EFBIG:
        return lmdb_refuse(
            error, rc, dir,
            "the limit of file sizes is too small for the store: raise it (ulimit -f) and try again");
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

/* ------------------------------------------------------------------------ whose it is */

/* May this user open what belongs to `file`? what: the directory, or the name of a file in it */
static int directory_check_owner(const struct stat *file, const char *what, const char *dir,
                                 struct kv_error *error)
{
    if (file->st_uid != geteuid())
        return lmdb_refuse(
            error, -EPERM, dir,
            "%s belongs to user %u, and you are user %u: a store is opened by its owner only; become "
            "that user, or say foreign_store (kvfs -o foreign_store, kvctl --foreign-store)",
            what, (unsigned)file->st_uid, (unsigned)geteuid());
    if ((file->st_mode & 077) != 0)
        return lmdb_refuse(
            error, -EPERM, dir,
            "other users have rights on %s (mode %04o): a store is its owner's only; take them away "
            "(chmod go= on it), or say foreign_store (kvfs -o foreign_store, kvctl --foreign-store)",
            what, (unsigned)file->st_mode & 07777);
    return 0;
}

/* A regular file of the directory's owner: so none from elsewhere, which the store would overwrite. */
static int directory_check_file(int dir_fd, const struct stat *file, const char *name, const char *dir,
                                struct kv_error *error)
{
    struct stat above;

    if (S_ISLNK(file->st_mode))
        return lmdb_refuse_answer(error, dir, ELOOP);
    if (!S_ISREG(file->st_mode))
        return lmdb_refuse(error, -EIO, dir, "%s is not a file: choose another directory", name);
    if (fstat(dir_fd, &above) != 0)
        return lmdb_refuse_answer(error, dir, errno);
    if (file->st_uid != above.st_uid)
        return lmdb_refuse(
            error, -EPERM, dir,
            "%s belongs to user %u and the directory to user %u: the files of a store belong to one "
            "user; give it to that one (chown), once you know where it comes from",
            name, (unsigned)file->st_uid, (unsigned)above.st_uid);
    return 0;
}

int lmdb_sync_directory(int fd) { return fsync(fd) == 0 || errno == EINVAL ? 0 : -errno; }

/* ------------------------------------------------------------------------- lock.mdb */

int lmdb_open_file(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600), rc = 0;

    if (fd >= 0) {
        if (fchmod(fd, 0600) != 0) /* whatever the umask is */
            rc = -errno;
        if (rc == 0)
            rc = owner_give(dir_fd, fd);
        if (rc == 0)
            return fd;
        close(fd);
        return rc;
    }
    if (errno == EEXIST) /* not to wait for the other end of a fifo */
        fd = openat(dir_fd, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

/* returns  a descriptor of lock.mdb, made where it is absent; -EROFS and the like without words */
static int directory_open_lock(int dir_fd, const char *dir, struct kv_error *error)
{
    CLEANUP(close_fd) int fd = lmdb_open_file(dir_fd, LOCK_FILE);
    struct stat file;
    int rc;

    if (fd < 0) {
        rc = fd;
        return lmdb_refuse_answer(error, dir, -rc);
    }
    if (fstat(fd, &file) != 0)
        return lmdb_refuse_answer(error, dir, errno);
    rc = directory_check_file(dir_fd, &file, LOCK_FILE, dir, error);
    if (rc == 0) {
        rc = fd;
        fd = -1;
    }
    return rc;
}

int lmdb_allocate_lock(int dir_fd, const char *dir, bool read_only, struct kv_error *error)
{
    CLEANUP(close_fd) int fd = directory_open_lock(dir_fd, dir, error);
    struct stat file;
    off_t size;
    int rc;

    if (fd == -EROFS && read_only)
        return 0; /* LMDB does without one */
    if (fd < 0)
        return fd;
    if (fstat(fd, &file) != 0)
        return lmdb_refuse_answer(error, dir, errno);
    /* Others may be using it: neither its bytes nor its size change, which is LMDB's to choose. */
    size = file.st_size > LOCK_SIZE ? file.st_size : LOCK_SIZE;
    do
        rc = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, size) == 0 ? 0 : errno;
    while (rc == EINTR);
    /* Where nothing can be reserved the disk is trusted. */
    return rc == 0 || rc == EOPNOTSUPP || rc == ENOSYS ? 0 : lmdb_refuse_answer(error, dir, rc);
}

/* Does the directory hold nothing but what a creation may find? returns 0; -ENOTEMPTY */
static int check_empty(int dir_fd, const char *dir, struct kv_error *error)
{
    static const char *const allowed[] = {".",         "..",    "lost+found", LOCK_FILE, NEW_FILE,
                                          WRITER_FILE, "locks", "mounts",     LOG_FILE};
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    if (list == NULL) {
        rc = lmdb_refuse_answer(error, dir, errno);
        close_fd(&fd);
        return rc;
    }
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

/* --------------------------------------------------------------------- the directory */

const char *lmdb_path(int dir_fd, const char *below, char out[LMDB_PATH_SIZE])
{
    snprintf(out, LMDB_PATH_SIZE, "/proc/self/fd/%d%s", dir_fd, below);
    return out;
}

/* Look at data.mdb before LMDB does. returns 0; as engine_lmdb_open(), -ENOENT it is not there, without words */
static int directory_check_data(int dir_fd, const char *dir, bool foreign, struct kv_error *error)
{
    CLEANUP(close_fd) int fd = openat(dir_fd, DATA_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat data;
    int rc;

    if (fd < 0)
        return errno == ENOENT ? -ENOENT : lmdb_refuse_answer(error, dir, errno);
    if (fstat(fd, &data) != 0)
        return lmdb_refuse_answer(error, dir, errno);
    rc = directory_check_file(dir_fd, &data, DATA_FILE, dir, error);
    if (rc == 0 && !foreign)
        rc = directory_check_owner(&data, DATA_FILE, dir, error);
    return rc;
}

bool lmdb_is_data(int dir_fd, int fd)
{
    struct stat is, should;

    return fstatat(dir_fd, DATA_FILE, &is, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &should) == 0 &&
           is.st_dev == should.st_dev && is.st_ino == should.st_ino;
}

/* Make the directory, for its owner only whatever the umask is. returns 0 (also where it is there by now); an errno */
static int directory_make(const char *dir)
{
    CLEANUP(close_fd) int fd = -1;
    char path[LMDB_PATH_SIZE];
    struct stat made;

    if (mkdir(dir, 0700) != 0)
        return errno == EEXIST ? 0 : errno;
    fd = open(dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); /* which needs no right on it */
    if (fd < 0 || fstat(fd, &made) != 0)
        return errno;
    if (made.st_uid != geteuid() || (made.st_mode & 0777) == 0700)
        return 0;
    return chmod(lmdb_path(fd, "", path), 0700) == 0 ? 0 : errno;
}

/* Open the directory, made where it is absent and `create` says so. returns a descriptor */
static int open_directory(const char *dir, bool create, struct kv_error *error)
{
    CLEANUP(close_fd) int parent = -1;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;

    if (fd < 0 && errno == ENOENT && create) {
        rc = -directory_make(dir);
        if (rc < 0)
            return rc == -ENOENT
                       ? lmdb_refuse(error, -ENOENT, dir, "the directory above it does not exist: make it first")
                       : lmdb_refuse_answer(error, dir, -rc);
        fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0) {
            parent = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            rc = parent < 0 ? -errno : lmdb_sync_directory(parent);
        }
    }
    if (fd < 0 && errno == ENOENT)
        return lmdb_refuse(error, -ENOENT, dir, NO_STORE);
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

/* Only an empty directory of this user's gets its rights changed: in it nothing is taken away from anybody. */
static int directory_close_to_others(int dir_fd, const char *dir, struct kv_error *error)
{
    struct stat file;
    int rc = check_empty(dir_fd, dir, error);

    if (rc < 0)
        return rc;
    if (fstat(dir_fd, &file) != 0)
        return lmdb_refuse_answer(error, dir, errno);
    if (file.st_uid == geteuid() && (file.st_mode & 07777) != 0700 &&
        (fchmod(dir_fd, 0700) != 0 || fstat(dir_fd, &file) != 0))
        return lmdb_refuse_answer(error, dir, errno);
    return directory_check_owner(&file, "the directory", dir, error);
}

/* Become the only creator, as long as *lock is open. */
static int directory_lock_creation(int dir_fd, const char *dir, int *lock, struct kv_error *error)
{
    const struct timespec nap = {.tv_nsec = 10000000};

    *lock = directory_open_lock(dir_fd, dir, error);
    if (*lock < 0)
        return *lock;
    for (int tries = 0; tries < CREATE_TRIES; tries++) {
        if (flock(*lock, LOCK_EX | LOCK_NB) == 0)
            return 0;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return lmdb_refuse_answer(error, dir, errno);
        nanosleep(&nap, NULL);
    }
    return lmdb_refuse(error, -ETIMEDOUT, dir,
                       "another process has held the lock of " LOCK_FILE
                       " for 5 s, which who makes a store needs: "
                       "end that process (fuser finds it), or try again");
}

static int directory_refuse_second(const char *dir, struct kv_error *error)
{
    return lmdb_refuse(error, -EEXIST, dir, "there is a store already: choose an empty or a new directory");
}

static int directory_create(int dir_fd, const char *dir, const struct lmdb_options *options,
                            struct kv_error *error)
{
    bool foreign = options->foreign;
    CLEANUP(close_fd) int lock = -1;
    int rc = foreign ? check_empty(dir_fd, dir, error) : directory_close_to_others(dir_fd, dir, error);

    if (rc == 0)
        rc = directory_lock_creation(dir_fd, dir, &lock, error);
    if (rc < 0)
        return rc;
    rc = directory_check_data(dir_fd, dir, foreign, error);
    if (rc == 0 && options->source != NULL)
        return directory_refuse_second(dir, error);
    return rc == -ENOENT ? lmdb_create_store(dir_fd, dir, options, error) : rc;
}

/* As lmdb_directory(), of a directory that is open and of which this process has no store open. */
static int directory_prepare(int dir_fd, const char *dir, const struct lmdb_options *options,
                             struct kv_error *error)
{
    char path[LMDB_PATH_SIZE];
    struct stat file;
    int rc = lmdb_check_filesystem(dir_fd, dir, error);

    if (rc < 0)
        return rc;
    if (access(lmdb_path(dir_fd, "", path), F_OK) != 0)
        return lmdb_refuse(error, -errno, dir, "/proc is not there, which the store is reached through: mount it");
    rc = directory_check_data(dir_fd, dir, options->foreign, error);
    if (rc == -ENOENT && options->create && !options->read_only)
        rc = directory_create(dir_fd, dir, options, error);
    else if (rc == -ENOENT)
        rc = lmdb_refuse(error, -ENOENT, dir, NO_STORE);
    else if (rc == 0 && options->source != NULL)
        rc = directory_refuse_second(dir, error);
    if (rc < 0 || options->foreign)
        return rc;
    if (fstat(dir_fd, &file) != 0)
        return lmdb_refuse_answer(error, dir, errno);
    return directory_check_owner(&file, "the directory", dir, error);
}

int lmdb_directory(const char *dir, const struct lmdb_options *options, struct kv_error *error)
{
    int fd = open_directory(dir, options->create && !options->read_only, error), rc;
    struct owner_rights rights;

    if (fd < 0)
        return fd;
    rc = lmdb_registry_enter(fd);
    if (rc == -EBUSY)
        rc = lmdb_refuse(error, rc, dir,
                         "this process has the store open already: a process opens a store once; use that one, or "
                         "close it first");
    else if (rc < 0)
        rc = lmdb_refuse_answer(error, dir, -rc);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    rc = owner_begin(fd, &rights);
    if (rc == 0) {
        rc = directory_prepare(fd, dir, options, error);
        owner_end(&rights);
    } else {
        (void)lmdb_refuse_answer(error, dir, -rc);
    }
    if (rc == 0)
        return fd;
    lmdb_directory_close(fd);
    return rc;
}

void lmdb_directory_close(int dir_fd)
{
    lmdb_registry_leave(dir_fd);
    close(dir_fd);
}
