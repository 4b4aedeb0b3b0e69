/* Making a store, an empty one or that of a copy (restore.c).
 *
 * It is built as data.mdb.new, with its tables, and its log beside it, and renamed to data.mdb when both are on the
 * disk. So a data.mdb is a whole store or not ours, and a creation that was cut off is begun anew by the next one. */
#include "store/base/owner.h"
#include "store/lmdb/lmdb_internal.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define NEW_MAP (4u << 20)             /* bytes: plenty for empty tables */
#define RING_LEAST ((uint64_t)1 << 20) /* bytes of the log */
#define RING_MOST ((uint64_t)16 << 20)

/* A 64th of what the store can become, within bounds. */
static uint64_t create_ring_for(int dir_fd, const struct lmdb_options *options)
{
    struct statvfs disk;
    uint64_t ring = options->map_bytes > 0 ? options->map_bytes / 64 : RING_MOST;

    if (options->source != NULL && options->source->small_log)
        return RING_LEAST;
    if (fstatvfs(dir_fd, &disk) == 0 && (uint64_t)disk.f_blocks * disk.f_frsize / 64 < ring)
        ring = (uint64_t)disk.f_blocks * disk.f_frsize / 64;
    ring -= ring % RING_LEAST;
    return ring < RING_LEAST ? RING_LEAST : ring > RING_MOST ? RING_MOST : ring;
}

/* Make an empty database in `env`, which belongs to the log of `slot`. returns an answer of LMDB's kind */
static int create_tables(MDB_env *env, struct log_slot *slot)
{
    struct lmdb_mark mark = {.salt = slot->salt, .pos = slot->pos, .seq = slot->seq};
    MDB_dbi tables[ENGINE_TABLES], marks;
    MDB_txn *txn;
    int rc = mdb_txn_begin(env, NULL, 0, &txn);

    if (rc != 0)
        return rc;
    rc = lmdb_find_tables(txn, true, tables, &marks);
    if (rc == 0)
        rc = lmdb_mark_write(marks, txn, &mark);
    slot->txn = mdb_txn_id(txn);
    if (rc == 0)
        rc = mdb_txn_commit(txn);
    else
        mdb_txn_abort(txn);
    return rc;
}

/* Build an empty database, durably, and say in the slot what it is. returns an answer of LMDB's kind */
static int create_data(const char *path, struct log_slot *slot)
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
        rc = create_tables(env, slot);
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
static int create_log(int dir_fd, const struct log_slot *slot)
{
    int fd, rc = unlinkat(dir_fd, LOG_FILE, 0) == 0 || errno == ENOENT ? 0 : -errno;

    if (rc == 0)
        rc = log_create(dir_fd, LOG_FILE, slot, &fd);
    if (rc == 0) {
        rc = owner_give(dir_fd, fd);
        close(fd);
    }
    return rc;
}

/* Build data.mdb.new, and its log. A source fills in error; else it is left to the caller. */
static int create_files(int dir_fd, const char *dir, const struct lmdb_options *options, struct kv_error *error)
{
    struct log_slot slot = {.number = 1, .ring = create_ring_for(dir_fd, options), .seq = 1};
    char path[LMDB_PATH_SIZE];
    int fd, rc;

    if (getrandom(&slot.salt, sizeof(slot.salt), 0) != (ssize_t)sizeof(slot.salt))
        return -EIO;
    fd = lmdb_open_file(dir_fd, NEW_FILE);
    if (fd < 0)
        return fd;
    lmdb_path(dir_fd, "/" NEW_FILE, path);
    rc = options->source == NULL ? lmdb_errno(create_data(path, &slot))
                                 : lmdb_restore_data(fd, path, dir, options->source, &slot, error);
    close(fd);
    return rc == 0 ? create_log(dir_fd, &slot) : rc;
}

/* Only creators reach this, one at a time: what has the name is what a creation left that was cut off. */
int lmdb_create_store(int dir_fd, const char *dir, const struct lmdb_options *options, struct kv_error *error)
{
    int rc = unlinkat(dir_fd, NEW_FILE, 0) == 0 || errno == ENOENT ? 0 : -errno;

    error->text[0] = '\0';
    if (rc == 0)
        rc = create_files(dir_fd, dir, options, error);
    if (rc == 0) /* a data.mdb has a log, whatever the disk does first */
        rc = lmdb_sync_directory(dir_fd);
    if (rc == 0 && renameat(dir_fd, NEW_FILE, dir_fd, DATA_FILE) != 0)
        rc = -errno;
    if (rc == 0)
        rc = lmdb_sync_directory(dir_fd);
    else
        unlinkat(dir_fd, NEW_FILE, 0);
    return rc == 0 || error->text[0] != '\0' ? rc : lmdb_refuse_answer(error, dir, -rc);
}
