/* Making a store of a copy, and removing what is left of one.
 *
 * What copy.c wrote is a data.mdb by itself: both headers lead to the same pages, none of them is free, and the file
 * ends behind the last one. Nothing else is of this form, so the data.mdb of a store that was in use, which lacks
 * what its log has, is told from it. All pages are looked through before LMDB opens the file. Then the store gets a
 * log of its own: its salt, and the place where it begins, are written into the database (rule 3 of README.md). So a
 * place in the log of the store that was copied (kv_feed) is none in the new one's. */
#include "store/lmdb/format_internal.h"
#include "store/lmdb/lmdb_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAP_MORE ((uint64_t)4 << 20) /* bytes: plenty for what is changed here */

/* ---------------------------------------------------------------------- is it a copy? */

static bool restore_read_header(int fd, uint64_t offset, uint8_t *header)
{
    return pread(fd, header, META_SIZE, (off_t)offset) == META_SIZE;
}

/* What is wrong with the form of a file whose headers make sense; NULL: nothing. */
static const char *restore_form_wrong(int fd, uint64_t *page_size, uint8_t header[META_SIZE])
{
    uint8_t first[META_SIZE], second[META_SIZE], same[META_SIZE];
    struct stat file;

    if (!restore_read_header(fd, 0, first))
        return "it cannot be read";
    *page_size = format_u32(first + META_PAGE_SIZE);
    if (!restore_read_header(fd, *page_size, second) || fstat(fd, &file) != 0)
        return "it cannot be read";
    memcpy(same, second, META_SIZE);
    memcpy(same, first, sizeof(uint64_t));
    memcpy(same + META_TXN, first + META_TXN, sizeof(uint64_t));
    if (memcmp(first, same, META_SIZE) != 0 || format_u64(first + META_TREES + TREE_ROOT) != ROOT_NONE)
        return "it is a data.mdb that was in use, which lacks what its log has: name the directory of the store";
    if ((uint64_t)file.st_size != (format_u64(first + META_LAST) + 1) * *page_size)
        return "it was cut off, or something follows it";
    memcpy(header, format_u64(first + META_TXN) > format_u64(second + META_TXN) ? first : second, META_SIZE);
    return NULL;
}

static void restore_found(void *arg, const char *what)
{
    struct kv_error *first = arg;

    if (first->text[0] == '\0')
        snprintf(first->text, sizeof(first->text), "%.300s", what);
}

static int restore_check(int fd, const char *dir, struct kv_error *error)
{
    static const char prefix[] = "what was to be restored is no copy of a store, or is damaged";
    struct lmdb_pages pages = {.fd = fd, .found = restore_found};
    struct kv_error found = {""};
    uint8_t header[META_SIZE];
    const char *wrong;
    struct stat file;
    int rc;

    if (fstat(fd, &file) == 0 && file.st_size == 0)
        return lmdb_refuse(error, -EIO, dir, "%s: it is empty", prefix);
    if (lmdb_check_header(fd, dir, &found) < 0)
        return lmdb_refuse(error, -EIO, dir, "%s: its headers are wrong, or it was cut off", prefix);
    wrong = restore_form_wrong(fd, &pages.page_size, header);
    if (wrong != NULL)
        return lmdb_refuse(error, -EIO, dir, "%s: %s", prefix, wrong);
    found.text[0] = '\0';
    pages.arg = &found;
    rc = lmdb_pages_walk(&pages, header);
    if (rc == -EIO)
        return lmdb_refuse(error, rc, dir, "%s: %s", prefix, found.text);
    return rc < 0 ? lmdb_refuse_answer(error, dir, -rc) : 0;
}

/* ------------------------------------------------------------------- a log of its own */

/* In a transaction. returns an answer of LMDB's kind */
static int restore_mark_in(MDB_txn *txn, const struct log_slot *slot)
{
    MDB_dbi tables[ENGINE_TABLES], marks;
    struct lmdb_mark mark;
    int rc = lmdb_find_tables(txn, false, tables, &marks);

    if (rc == 0)
        rc = -lmdb_mark_read(marks, txn, &mark);
    mark.salt = slot->salt;
    mark.pos = slot->pos;
    mark.seq = slot->seq;
    mark.incomplete = 0;
    return rc == 0 ? lmdb_mark_write(marks, txn, &mark) : rc;
}

static int restore_mark(MDB_env *env, struct log_slot *slot)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(env, NULL, 0, &txn);

    if (rc != 0)
        return rc;
    slot->txn = mdb_txn_id(txn);
    rc = restore_mark_in(txn, slot);
    if (rc == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return rc;
}

/* Durably. returns an answer of LMDB's kind */
static int restore_own(int fd, const char *path, struct log_slot *slot)
{
    struct stat file;
    MDB_env *env;
    MDB_stat size;
    int rc = fstat(fd, &file) == 0 ? mdb_env_create(&env) : errno;

    if (rc != 0)
        return rc;
    rc = mdb_env_set_maxdbs(env, ENGINE_TABLES + 1);
    if (rc == 0)
        rc = mdb_env_set_mapsize(env, (size_t)file.st_size + MAP_MORE);
    if (rc == 0)
        rc = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK, 0600);
    if (rc == 0)
        rc = lmdb_guard(env);
    if (rc == 0)
        rc = mdb_env_stat(env, &size);
    if (rc == 0)
        rc = restore_mark(env, slot);
    mdb_env_close(env);
    if (rc == 0 && fsync(fd) != 0)
        rc = errno;
    if (rc != 0)
        return rc;
    slot->page_size = size.ms_psize;
    slot->data_ino = file.st_ino;
    return -lmdb_header_read(fd, slot->page_size, slot->txn, slot->header);
}

int lmdb_restore_data(int fd, const char *path, const char *dir, const struct lmdb_source *source,
                      struct log_slot *slot, struct kv_error *error)
{
    int rc = source->fill(source->arg, fd, error);

    if (rc == 0)
        rc = restore_check(fd, dir, error);
    if (rc < 0)
        return rc;
    rc = restore_own(fd, path, slot);
    return rc == 0 ? 0 : lmdb_refuse_answer(error, dir, rc);
}

int engine_lmdb_restore(const char *dir, const struct lmdb_options *options, struct kv_error *error)
{
    int fd = lmdb_directory(dir, options, error);

    if (fd < 0)
        return fd;
    lmdb_directory_close(fd);
    return 0;
}

/* --------------------------------------------------------------------------- removing */

static bool discard_knows(const char *name)
{
    static const char *const names[] = {".",       "..",        DATA_FILE, NEW_FILE, LOG_FILE,
                                        LOCK_FILE, WRITER_FILE, "locks",   "mounts"};
    size_t i = 0;

    while (i < sizeof(names) / sizeof(names[0]) && strcmp(name, names[i]) != 0)
        i++;
    return i < sizeof(names) / sizeof(names[0]);
}

/* Does the directory hold nothing but what a store has? returns 0; -ENOTEMPTY */
static int discard_look(int dir_fd)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    if (list == NULL)
        return -errno;
    while (rc == 0 && (entry = readdir(list)) != NULL)
        rc = discard_knows(entry->d_name) ? 0 : -ENOTEMPTY;
    closedir(list);
    return rc;
}

/* Remove a directory of files that processes may have left which were killed. */
static int discard_directory(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    if (list == NULL)
        return fd < 0 && errno == ENOENT ? 0 : -errno;
    while ((entry = readdir(list)) != NULL)
        (void)unlinkat(fd, entry->d_name, 0); /* "." and ".." are none; what else stays, the next line tells */
    closedir(list);
    return unlinkat(dir_fd, name, AT_REMOVEDIR) == 0 ? 0 : -errno;
}

static int discard_files(int dir_fd)
{
    static const char *const files[] = {DATA_FILE, NEW_FILE, LOG_FILE, LOCK_FILE, WRITER_FILE};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < sizeof(files) / sizeof(files[0]); i++)
        if (unlinkat(dir_fd, files[i], 0) != 0 && errno != ENOENT)
            rc = -errno;
    if (rc == 0)
        rc = discard_directory(dir_fd, "locks");
    return rc == 0 ? discard_directory(dir_fd, "mounts") : rc;
}

/* Lock data.mdb, or while a store is being made lock.mdb. returns a descriptor; -ENOENT; -EBUSY */
static int discard_lock(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), rc;

    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    rc = errno == EWOULDBLOCK ? -EBUSY : -errno;
    close(fd);
    return rc;
}

int engine_lmdb_discard(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), data, lock, rc;
    struct stat file;

    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    rc = fstat(fd, &file) != 0 ? -errno : file.st_uid != geteuid() ? -EPERM : discard_look(fd);
    data = rc == 0 ? discard_lock(fd, DATA_FILE) : rc;
    lock = data >= 0 || data == -ENOENT ? discard_lock(fd, LOCK_FILE) : data;
    rc = lock >= 0 || lock == -ENOENT ? discard_files(fd) : lock;
    if (data >= 0)
        close(data);
    if (lock >= 0)
        close(lock);
    close(fd);
    return rc;
}
