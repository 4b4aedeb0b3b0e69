/* The LMDB engine: a directory with data.mdb and lock.mdb.
 *
 * Creation
 *   A new store is built as data.mdb.new, with its tables, and renamed to data.mdb when it is on the
 *   disk. So a data.mdb is a whole store or not ours, and a creation that was cut off is started anew.
 *   Creators exclude each other by flock() on the directory.
 *
 * Transactions
 *   Each commit flushes data, then the header: LMDB's default durability. With MDB_NOTLS a read
 *   transaction belongs to no thread; ended ones are reset and kept in `idle`, where they keep their
 *   slot in lock.mdb, so that the next begin only renews one. Slots of dead processes are freed at
 *   open, every READER_CHECK_S seconds by whoever begins a write, and when the table (READERS_MAX,
 *   for all processes together) is full; if that frees none, begin answers -EBUSY.
 *
 *   `open_txns` counts what may look at the map. Where another process has a larger map and uses it,
 *   begin meets MDB_MAP_RESIZED, waits until nothing is open in this process, and maps anew.
 *
 * Space
 *   LMDB never writes a page that the last commit uses: whoever changes a page, also by deleting from
 *   it, needs another one first. It takes that from the free list, whose pages are usable from the
 *   second commit after the one that freed them, or else from the end:
 *
 *     0 ......... used pages and free list ......... last |....... tail .......| end
 *                                                         |-- growth --|-reserve-|
 *
 *   `end` is where the map or the disk ends. The file is extended ahead (fallocate), so that everything
 *   before `allocated` can be written when the disk is full; where more cannot be had, the tail ends
 *   there. The last `reserve` bytes of the tail are for changes that do not grow the store. So:
 *   - room() accepts growth that fits the tail above the reserve, without asking the free list;
 *   - else it counts the free list (once per transaction). Parts of a value need runs of adjacent pages,
 *     so growth must fit in what the tail has above the reserve plus long enough runs, and all that is
 *     free must leave as much as the reserve;
 *   - when the end is near and the last commit freed pages, begin(write) makes an empty commit first:
 *     so what `rm` gave back can be used by the very next put.
 *   The file always covers the pages that its header counts; one that is shorter was cut off.
 *   This does not hold on filesystems that copy on write (btrfs): there a full disk can refuse deletes.
 *
 * Locks: LMDB's writer lock, then `lock`. `lock` guards idle, idle_count and open_txns. What is marked
 * (writer) is guarded by the writer lock.
 *
 * A process opens a directory once, after its last fork: closing a second environment would drop the
 * locks of the first.
 */
#include "store/engine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define FREE_LIST 0 /* LMDB's own table of free pages: id of the transaction that freed them -> page numbers */

#define DATA_FILE "data.mdb"
#define LOCK_FILE "lock.mdb"
#define NEW_FILE "data.mdb.new"

enum {
    READERS_MAX = 1024, /* in all processes together */
    IDLE_MAX = 32,      /* read transactions kept for the next begin */
    READER_CHECK_S = 30,
    RESIZE_WAIT_S = 10, /* for the transactions of this process to end */
    RUN_PAGES = 64,     /* the longest run that a part of a value needs */
    SLACK_PAGES = 16,   /* what a change copies on its way */
    PAGE_OVERHEAD = 16, /* bytes: a page's header */
    TURN_PAGES = 32     /* freed by the last commit: worth an empty commit */
};

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
/* The map is address space, neither memory nor disk. 1 TiB fits everywhere but under the thread
 * sanitizer (512 GiB) and valgrind (32 GiB); where it does not fit it is halved down to MAP_LEAST. */
#define MAP_DEFAULT (1024 * GIB)
#define MAP_LEAST (1 * GIB)
#define MAP_SMALLEST (4 * MIB) /* that a caller can ask for */
#define MAP_STEP 65536         /* a multiple of every page size */
#define RESERVE_LEAST (1 * MIB)
#define RESERVE_MOST (16 * MIB)
#define NEAR_END (32 * MIB) /* above the reserve: less than the largest value needs */

/* Pages of the free list, as the last commit left it. */
struct free_pages {
    uint64_t as_of;        /* id of the write transaction that counted; 0: nobody did */
    uint64_t ripe;         /* usable by that transaction */
    uint64_t unripe;       /* freed by the last commit: usable after the next one */
    uint64_t runs;         /* of RUN_PAGES adjacent ripe pages, that do not overlap */
    uint64_t longest_rest; /* adjacent ripe pages beside these */
};

struct lmdb_txn {
    struct engine_txn base;
    struct lmdb *lmdb;
    MDB_txn *mdb;
    bool write;
    int failed;     /* of a put or del; all that follows answers it */
    uint64_t grown; /* bytes of pages that its changes took, at most */
    uint64_t parts; /* of these, in runs for values larger than a page */
    struct lmdb_txn *next_idle;
};

struct lmdb {
    struct engine base;
    MDB_env *env;
    bool read_only;
    MDB_dbi tables[ENGINE_TABLES];
    uint64_t page_size;
    uint64_t limit; /* bytes of the file that growth must not pass; the map may be larger */
    uint64_t reserve;

    pthread_mutex_t lock;
    pthread_cond_t none_open;
    struct lmdb_txn *idle;
    unsigned idle_count;
    unsigned open_txns;

    uint64_t allocated;      /* (writer) bytes of the file that the disk surely has */
    bool no_fallocate;       /* (writer) the filesystem cannot */
    int64_t readers_checked; /* (writer) monotonic seconds */
    struct free_pages free;  /* (writer) */
    uint64_t refused_in;     /* (writer) id of the transaction in which room() last said no; 0: there is plenty */
};

static struct lmdb *lmdb_of(struct engine *engine) { return (struct lmdb *)engine; }
static struct lmdb_txn *txn_of(struct engine_txn *txn) { return (struct lmdb_txn *)txn; }

static const char *const table_names[ENGINE_TABLES] = {
    [ENGINE_META] = "meta", [ENGINE_NAMES] = "names",   [ENGINE_NODES] = "nodes",
    [ENGINE_KEYS] = "keys", [ENGINE_CHUNKS] = "chunks",
};

/* ------------------------------------------------------------------------- errors */

/* The only place that turns LMDB's answers into errnos. */
static int to_errno(int rc)
{
    switch (rc) {
    case MDB_SUCCESS:
        return 0;
    case MDB_NOTFOUND:
        return -ENOENT;
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
    case EDQUOT: /* of the disk: an account's limits are not known here */
    case EFBIG:
        return -ENOSPC;
    case MDB_READERS_FULL:
        return -EBUSY;
    case MDB_BAD_VALSIZE:
        return -EINVAL;
    default:
        return rc > 0 ? -rc : -EIO;
    }
}

/* Say why an open is refused; answers rc. */
__attribute__((format(printf, 4, 5))) static int refuse(struct kv_error *error, int rc, const char *dir,
                                                        const char *format, ...)
{
    int used = snprintf(error->text, sizeof(error->text), "%.200s: ", dir);
    va_list args;

    va_start(args, format);
    vsnprintf(error->text + used, sizeof(error->text) - (size_t)used, format, args);
    va_end(args);
    return rc;
}

/* As refuse(), for what LMDB answered. */
static int refuse_lmdb(struct kv_error *error, const char *dir, int lmdb_rc)
{
    int rc = to_errno(lmdb_rc);

    switch (lmdb_rc) {
    case MDB_VERSION_MISMATCH:
        return refuse(error, rc, dir,
                      DATA_FILE " was written by another version of LMDB: use the program that "
                                "made it, or choose another directory");
    case MDB_INVALID:
        return refuse(error, rc, dir,
                      DATA_FILE " is not an LMDB database, or is damaged: restore it from a copy, "
                                "or choose another directory");
    case EACCES:
    case EPERM:
        return refuse(error, rc, dir,
                      "permission denied: the directory, " DATA_FILE " and " LOCK_FILE
                      " must be readable and writable for the user that opens the store");
    case EROFS:
        return refuse(error, rc, dir, "the filesystem is read-only: open the store read-only");
    case ENOMEM:
        return refuse(error, rc, dir,
                      "the database does not fit the address space: raise the limit (ulimit -v), "
                      "or choose a smaller map");
    case ENOSPC:
        return refuse(error, rc, dir, "no space left on the disk: make some room and try again");
    case MDB_READERS_FULL:
        return refuse(error, rc, dir, "%d readers use the store already: try again later", READERS_MAX);
    default:
        return refuse(error, rc, dir, "cannot open the store: %s", mdb_strerror(lmdb_rc));
    }
}

/* -------------------------------------------------------------------------- space */

static uint64_t used_bytes(struct lmdb *lmdb)
{
    MDB_envinfo info;

    mdb_env_info(lmdb->env, &info);
    return (info.me_last_pgno + 1) * lmdb->page_size;
}

static int file_of(struct lmdb *lmdb)
{
    int fd;

    mdb_env_get_fd(lmdb->env, &fd);
    return fd;
}

/* Bytes that the disk can still give to this user; 0 where it does not say. */
static uint64_t disk_available(struct lmdb *lmdb)
{
    struct statvfs disk;

    if (fstatvfs(file_of(lmdb), &disk) != 0)
        return 0;
    return (uint64_t)disk.f_bavail * disk.f_frsize;
}

/* Make the file reach `size`, with blocks of its own from `from` on. */
static int extend_file(struct lmdb *lmdb, uint64_t from, uint64_t size)
{
    int fd = file_of(lmdb), rc;
    struct stat file;

    if (!lmdb->no_fallocate) {
        do
            rc = fallocate(fd, 0, (off_t)from, (off_t)(size - from)) == 0 ? 0 : -errno;
        while (rc == -EINTR);
        if (rc != -EOPNOTSUPP && rc != -ENOSYS)
            return rc;
        lmdb->no_fallocate = true;
    }
    /* Nothing can be reserved here: keep the size right and trust what the disk says to have. */
    if (fstat(fd, &file) != 0)
        return -errno;
    return (uint64_t)file.st_size >= size || ftruncate(fd, (off_t)size) == 0 ? 0 : -errno;
}

/* (writer) See to it that the file can be written up to `end`, where possible with some room beyond. */
static void allocate(struct lmdb *lmdb, uint64_t end)
{
    uint64_t ahead = end + lmdb->reserve, available;

    if (end <= lmdb->allocated)
        return;
    /* Asking first spares a full disk the attempt, which on some filesystems takes what is left. */
    available = disk_available(lmdb);
    if (ahead - lmdb->allocated <= available && extend_file(lmdb, lmdb->allocated, ahead) == 0)
        lmdb->allocated = ahead;
    else if (end - lmdb->allocated <= available && extend_file(lmdb, lmdb->allocated, end) == 0)
        lmdb->allocated = end;
}

/* (writer) At open: what lies beyond the used pages may have been allocated by an earlier process, and then
 * it needs nothing of a full disk. */
static void allocate_first(struct lmdb *lmdb)
{
    uint64_t used = used_bytes(lmdb);

    lmdb->allocated = used;
    if (extend_file(lmdb, used, used + lmdb->reserve) == 0)
        lmdb->allocated += lmdb->reserve;
}

/* (writer) Is there so little space that freed pages matter? */
static bool near_end(struct lmdb *lmdb)
{
    uint64_t wanted = used_bytes(lmdb) + lmdb->reserve + NEAR_END;

    return wanted > lmdb->limit || (wanted > lmdb->allocated && wanted - lmdb->allocated > disk_available(lmdb));
}

/* The free list maps the id of a transaction to the pages that it freed: their count, then their numbers.
 * All are machine words. */
static uint64_t number_in(const MDB_val *val)
{
    size_t number = 0;

    if (val->mv_size >= sizeof(number))
        memcpy(&number, val->mv_data, sizeof(number));
    return number;
}

/* Set the bits of the pages in a set. returns 0; -EIO it is not what LMDB writes */
static int note_pages(const MDB_val *set, uint64_t pages, uint8_t *bitmap)
{
    const size_t *numbers = set->mv_data;
    uint64_t count = number_in(set);

    if (count >= set->mv_size / sizeof(*numbers))
        return -EIO;
    for (uint64_t i = 1; i <= count; i++) {
        if (numbers[i] >= pages)
            return -EIO;
        bitmap[numbers[i] / 8] |= (uint8_t)(1u << numbers[i] % 8);
    }
    return 0;
}

/* Count the set bits and their runs. */
static void count_runs(const uint8_t *bitmap, uint64_t pages, struct free_pages *free)
{
    uint64_t run = 0;

    free->ripe = free->runs = free->longest_rest = 0;
    for (uint64_t i = 0; i <= pages; i++) {
        if (i < pages && (bitmap[i / 8] >> i % 8 & 1) != 0) {
            run++;
            continue;
        }
        free->ripe += run;
        free->runs += run / RUN_PAGES;
        if (run % RUN_PAGES > free->longest_rest)
            free->longest_rest = run % RUN_PAGES;
        run = 0;
        while (i % 8 == 7 && i + 8 < pages && bitmap[i / 8 + 1] == 0)
            i += 8;
    }
}

/* -------------------------------------------------------------------- transactions */

/* A transaction of this process ended, or did not begin. */
static void leave(struct lmdb *lmdb)
{
    pthread_mutex_lock(&lmdb->lock);
    if (--lmdb->open_txns == 0)
        pthread_cond_broadcast(&lmdb->none_open);
    pthread_mutex_unlock(&lmdb->lock);
}

static void enter(struct lmdb *lmdb)
{
    pthread_mutex_lock(&lmdb->lock);
    lmdb->open_txns++;
    pthread_mutex_unlock(&lmdb->lock);
}

static bool map_fits(uint64_t size)
{
    void *probe = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (probe == MAP_FAILED)
        return false;
    munmap(probe, size);
    return true;
}

/* Make the map hold what is used and what deletes need. No transaction may be open. LMDB cannot go on
 * after a mapping that failed, so it is tried beside the old one first. */
static int widen_map(struct lmdb *lmdb)
{
    MDB_envinfo info;
    uint64_t used, size;

    mdb_env_info(lmdb->env, &info);
    used = used_bytes(lmdb);
    if (info.me_mapsize >= used + 2 * lmdb->reserve)
        return 0;
    size = used + used / 4 + 4 * lmdb->reserve;
    size -= size % lmdb->page_size;
    if (!map_fits(size))
        return -ENOMEM;
    return to_errno(mdb_env_set_mapsize(lmdb->env, size));
}

/* Another process has made the file larger than this one's map. */
static int follow_growth(struct lmdb *lmdb)
{
    struct timespec deadline;
    int rc = 0;

    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += RESIZE_WAIT_S;
    pthread_mutex_lock(&lmdb->lock);
    while (rc == 0 && lmdb->open_txns > 0)
        rc = -pthread_cond_timedwait(&lmdb->none_open, &lmdb->lock, &deadline);
    if (rc == 0)
        rc = widen_map(lmdb);
    pthread_mutex_unlock(&lmdb->lock);
    return rc;
}

/* Begin or, where txn->mdb is set, renew. */
static int begin_mdb(struct lmdb *lmdb, struct lmdb_txn *txn)
{
    bool readers_checked = false;

    for (;;) {
        int rc;

        enter(lmdb);
        if (txn->mdb != NULL)
            rc = mdb_txn_renew(txn->mdb);
        else
            rc = mdb_txn_begin(lmdb->env, NULL, txn->write ? 0 : MDB_RDONLY, &txn->mdb);
        if (rc == 0)
            return 0;
        leave(lmdb);
        if (rc == MDB_MAP_RESIZED) {
            rc = follow_growth(lmdb);
            if (rc < 0)
                return rc;
        } else if (rc == MDB_READERS_FULL && !readers_checked) {
            readers_checked = true;
            rc = mdb_reader_check(lmdb->env, NULL);
            if (rc != 0)
                return to_errno(rc);
        } else {
            return to_errno(rc);
        }
    }
}

static struct lmdb_txn *take_idle(struct lmdb *lmdb)
{
    struct lmdb_txn *txn;

    pthread_mutex_lock(&lmdb->lock);
    txn = lmdb->idle;
    if (txn != NULL) {
        lmdb->idle = txn->next_idle;
        lmdb->idle_count--;
    }
    pthread_mutex_unlock(&lmdb->lock);
    return txn;
}

static bool keep_idle(struct lmdb *lmdb, struct lmdb_txn *txn)
{
    bool kept;

    pthread_mutex_lock(&lmdb->lock);
    kept = lmdb->idle_count < IDLE_MAX;
    if (kept) {
        txn->next_idle = lmdb->idle;
        lmdb->idle = txn;
        lmdb->idle_count++;
    }
    pthread_mutex_unlock(&lmdb->lock);
    return kept;
}

static void free_txn(struct lmdb_txn *txn)
{
    if (txn->mdb != NULL)
        mdb_txn_abort(txn->mdb);
    free(txn);
}

static int begin_txn(struct lmdb *lmdb, bool write, struct lmdb_txn **out)
{
    struct lmdb_txn *txn = write ? NULL : take_idle(lmdb);
    int rc;

    if (txn == NULL) {
        txn = calloc(1, sizeof(*txn));
        if (txn == NULL)
            return -ENOMEM;
        txn->base.ops = lmdb->base.ops;
        txn->lmdb = lmdb;
        txn->write = write;
    }
    rc = begin_mdb(lmdb, txn);
    if (rc < 0) {
        free_txn(txn);
        return rc;
    }
    *out = txn;
    return 0;
}

static void end_read(struct lmdb_txn *txn)
{
    struct lmdb *lmdb = txn->lmdb;

    mdb_txn_reset(txn->mdb);
    leave(lmdb);
    if (!keep_idle(lmdb, txn))
        free_txn(txn);
}

/* (writer) Count the free pages that this write transaction can use. */
static int count_free(struct lmdb_txn *writer)
{
    struct lmdb *lmdb = writer->lmdb;
    uint64_t pages = used_bytes(lmdb) / lmdb->page_size, id = mdb_txn_id(writer->mdb), unripe = 0;
    uint8_t *bitmap = calloc(1, pages / 8 + 1);
    struct lmdb_txn *reader = NULL;
    MDB_cursor *cursor = NULL;
    MDB_val key, set;
    int rc = bitmap == NULL ? -ENOMEM : begin_txn(lmdb, false, &reader);

    if (rc == 0)
        rc = to_errno(mdb_cursor_open(reader->mdb, FREE_LIST, &cursor));
    for (MDB_cursor_op op = MDB_FIRST; rc == 0; op = MDB_NEXT) {
        rc = to_errno(mdb_cursor_get(cursor, &key, &set, op));
        if (rc == 0 && number_in(&key) + 1 < id)
            rc = note_pages(&set, pages, bitmap);
        else if (rc == 0)
            unripe += number_in(&set);
    }
    if (rc == -ENOENT) {
        count_runs(bitmap, pages, &lmdb->free);
        lmdb->free.unripe = unripe;
        lmdb->free.as_of = id;
        rc = 0;
    }
    if (cursor != NULL)
        mdb_cursor_close(cursor);
    if (reader != NULL)
        end_read(reader);
    free(bitmap);
    return rc;
}

/* (writer) How many pages did the last commit free? 0 also where that cannot be seen. */
static uint64_t freed_by_last_commit(struct lmdb *lmdb)
{
    struct lmdb_txn *reader;
    MDB_cursor *cursor;
    MDB_val key, set;
    uint64_t count = 0;

    if (begin_txn(lmdb, false, &reader) < 0)
        return 0;
    if (mdb_cursor_open(reader->mdb, FREE_LIST, &cursor) == 0) {
        if (mdb_cursor_get(cursor, &key, &set, MDB_LAST) == 0 && number_in(&key) == mdb_txn_id(reader->mdb))
            count = number_in(&set);
        mdb_cursor_close(cursor);
    }
    end_read(reader);
    return count;
}

/* (writer) Make a commit that changes nothing, and begin again. Where it fails nothing is lost. */
static int turn(struct lmdb_txn *txn)
{
    static char name[] = "turn";
    MDB_val key = {sizeof(name), name}, value = {0, NULL};
    MDB_dbi table = txn->lmdb->tables[ENGINE_META];

    if (mdb_put(txn->mdb, table, &key, &value, 0) == 0 && mdb_del(txn->mdb, table, &key, NULL) == 0)
        mdb_txn_commit(txn->mdb);
    else
        mdb_txn_abort(txn->mdb);
    txn->mdb = NULL;
    leave(txn->lmdb);
    return begin_mdb(txn->lmdb, txn);
}

/* (writer) */
static void check_readers(struct lmdb *lmdb)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec - lmdb->readers_checked < READER_CHECK_S)
        return;
    lmdb->readers_checked = now.tv_sec;
    mdb_reader_check(lmdb->env, NULL);
}

static int lmdb_begin(struct engine *engine, bool write, struct engine_txn **out)
{
    struct lmdb *lmdb = lmdb_of(engine);
    struct lmdb_txn *txn;
    int rc = write && lmdb->read_only ? -EROFS : begin_txn(lmdb, write, &txn);

    if (rc < 0)
        return rc;
    if (write) {
        check_readers(lmdb);
        allocate(lmdb, used_bytes(lmdb) + lmdb->reserve);
        if (near_end(lmdb) && freed_by_last_commit(lmdb) >= TURN_PAGES)
            rc = turn(txn);
    }
    if (rc < 0) {
        free_txn(txn);
        return rc;
    }
    *out = &txn->base;
    return 0;
}

static void lmdb_abort(struct engine_txn *base)
{
    struct lmdb_txn *txn = txn_of(base);
    struct lmdb *lmdb = txn->lmdb;

    if (!txn->write) {
        end_read(txn);
        return;
    }
    free_txn(txn);
    leave(lmdb);
}

static int lmdb_commit(struct engine_txn *base)
{
    struct lmdb_txn *txn = txn_of(base);
    struct lmdb *lmdb = txn->lmdb;
    int rc = !txn->write ? -EINVAL : txn->failed;

    if (rc < 0) {
        lmdb_abort(base);
        return rc;
    }
    rc = to_errno(mdb_txn_commit(txn->mdb));
    txn->mdb = NULL;
    free_txn(txn);
    leave(lmdb);
    return rc;
}

/* ------------------------------------------------------------------------- records */

static MDB_val val_of(struct slice slice) { return (MDB_val){slice.size, (void *)slice.data}; }

/* May a call with this key be made? */
static int check(const struct lmdb_txn *txn, bool write, struct slice key)
{
    if (txn->failed < 0)
        return txn->failed;
    if ((write && !txn->write) || key.size == 0 || key.size > ENGINE_KEY_MAX)
        return -EINVAL;
    return 0;
}

static int lmdb_get(struct engine_txn *base, enum engine_table table, struct slice key, struct slice *out)
{
    struct lmdb_txn *txn = txn_of(base);
    MDB_val name = val_of(key), value;
    int rc = check(txn, false, key);

    if (rc == 0)
        rc = to_errno(mdb_get(txn->mdb, txn->lmdb->tables[table], &name, &value));
    if (rc == 0)
        *out = slice_of(value.mv_data, value.mv_size);
    return rc;
}

static int lmdb_scan(struct engine_txn *base, enum engine_table table, struct slice from, engine_visit *visit,
                     void *arg)
{
    struct lmdb_txn *txn = txn_of(base);
    MDB_val key = val_of(from), value;
    MDB_cursor *cursor;
    int rc, answer = 0;

    if (txn->failed < 0)
        return txn->failed;
    if (from.size > ENGINE_KEY_MAX)
        return -EINVAL;
    rc = to_errno(mdb_cursor_open(txn->mdb, txn->lmdb->tables[table], &cursor));
    if (rc < 0)
        return rc;
    rc = to_errno(mdb_cursor_get(cursor, &key, &value, from.size > 0 ? MDB_SET_RANGE : MDB_FIRST));
    while (rc == 0) {
        answer = visit(arg, slice_of(key.mv_data, key.mv_size), slice_of(value.mv_data, value.mv_size));
        if (answer != 0)
            break;
        rc = to_errno(mdb_cursor_get(cursor, &key, &value, MDB_NEXT));
    }
    mdb_cursor_close(cursor);
    return rc < 0 && rc != -ENOENT ? rc : answer;
}

/* A record takes the copy of a leaf and up to twice its bytes there; a large one has pages of its own. */
static void note_growth(struct lmdb_txn *txn, uint64_t size)
{
    uint64_t page = txn->lmdb->page_size;

    if (size < page / 2 - PAGE_OVERHEAD) {
        txn->grown += page + 2 * size;
    } else {
        uint64_t pages = (size + PAGE_OVERHEAD + page - 1) / page;

        txn->grown += (pages + 1) * page;
        txn->parts += pages * page;
    }
}

static int lmdb_put(struct engine_txn *base, enum engine_table table, struct slice key, struct slice value)
{
    struct lmdb_txn *txn = txn_of(base);
    MDB_val name = val_of(key), bytes = val_of(value);
    int rc = check(txn, true, key);

    if (rc < 0)
        return rc;
    rc = to_errno(mdb_put(txn->mdb, txn->lmdb->tables[table], &name, &bytes, 0));
    txn->failed = rc;
    note_growth(txn, key.size + value.size);
    return rc;
}

static int lmdb_del(struct engine_txn *base, enum engine_table table, struct slice key)
{
    struct lmdb_txn *txn = txn_of(base);
    MDB_val name = val_of(key);
    int rc = check(txn, true, key);

    if (rc < 0)
        return rc;
    rc = to_errno(mdb_del(txn->mdb, txn->lmdb->tables[table], &name, NULL));
    if (rc != -ENOENT)
        txn->failed = rc;
    txn->grown += txn->lmdb->page_size;
    return rc;
}

/* Is enough free for this growth? `parts` of it must be in runs. LMDB does not always find the runs that are
 * there, and takes the tail then; so the less is left of that, the more of them are asked for. */
static bool fits_free(const struct lmdb *lmdb, uint64_t growth, uint64_t parts, uint64_t tail, uint64_t reserve)
{
    const struct free_pages *free = &lmdb->free;
    uint64_t run = RUN_PAGES * lmdb->page_size, rest = parts % run / lmdb->page_size, runs = parts / run;
    uint64_t runs_in_tail = tail > reserve ? (tail - reserve) / run : 0;

    if (rest > free->longest_rest)
        runs++;
    if (tail < reserve / 2)
        runs *= 2;
    return free->runs + runs_in_tail >= runs &&
           tail + (free->ripe + free->unripe) * lmdb->page_size >= growth + reserve;
}

static int lmdb_room(struct engine_txn *base, uint64_t bytes)
{
    struct lmdb_txn *txn = txn_of(base);
    struct lmdb *lmdb = txn->lmdb;
    uint64_t used = used_bytes(lmdb), page = lmdb->page_size, id, growth, parts, end, tail, reserve;

    if (txn->failed < 0 || !txn->write)
        return txn->failed < 0 ? txn->failed : -EINVAL;
    if (bytes > lmdb->limit)
        return -ENOSPC;
    /* Small records leave up to half of their pages empty, large ones next to nothing. */
    growth = txn->grown + bytes + (bytes < 4 * page ? bytes : 4 * page) + bytes / 64 + SLACK_PAGES * page;
    parts = txn->parts + (bytes + page - 1) / page * page;
    if (used + growth + lmdb->reserve <= lmdb->limit)
        allocate(lmdb, used + growth + lmdb->reserve);
    end = lmdb->allocated < lmdb->limit ? lmdb->allocated : lmdb->limit;
    tail = end > used ? end - used : 0;
    if (tail >= growth + lmdb->reserve) {
        lmdb->refused_in = 0;
        return 0;
    }

    id = mdb_txn_id(txn->mdb);
    if (lmdb->free.as_of != id) {
        int rc = count_free(txn);

        if (rc < 0)
            return rc;
    }
    reserve = lmdb->refused_in != 0 && lmdb->refused_in < id ? lmdb->reserve / 4 * 3 : lmdb->reserve;
    if (fits_free(lmdb, growth, parts, tail, reserve))
        return 0;
    lmdb->refused_in = id;
    return -ENOSPC;
}

static void lmdb_usage(struct engine *engine, uint64_t *used, uint64_t *limit)
{
    struct lmdb *lmdb = lmdb_of(engine);

    enter(lmdb); /* the map must stay where it is */
    *used = used_bytes(lmdb);
    *limit = lmdb->limit;
    leave(lmdb);
}

static void lmdb_close(struct engine *engine)
{
    struct lmdb *lmdb = lmdb_of(engine);
    struct lmdb_txn *txn;

    while ((txn = take_idle(lmdb)) != NULL)
        free_txn(txn);
    if (lmdb->env != NULL)
        mdb_env_close(lmdb->env);
    pthread_cond_destroy(&lmdb->none_open);
    pthread_mutex_destroy(&lmdb->lock);
    free(lmdb);
}

static const struct engine_ops lmdb_ops = {
    .name = "lmdb",
    .close = lmdb_close,
    .begin = lmdb_begin,
    .commit = lmdb_commit,
    .abort = lmdb_abort,
    .get = lmdb_get,
    .scan = lmdb_scan,
    .put = lmdb_put,
    .del = lmdb_del,
    .room = lmdb_room,
    .usage = lmdb_usage,
};

/* ------------------------------------------------------------------------ directory */

static void close_fd(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
#define CLEANUP(how) __attribute__((cleanup(how)))

/* The name of a filesystem that is shared by hosts, whose locks and maps do not reach across; else NULL. */
static const char *network_filesystem(uint32_t type)
{
    static const struct {
        uint32_t type;
        const char *name;
    } known[] = {
        {0x6969, "NFS"},      {0x517b, "SMB"},        {0xfe534d42, "SMB"},   {0xff534d42, "CIFS"},
        {0x01021997, "9p"},   {0x00c36400, "Ceph"},   {0x5346414f, "AFS"},   {0x6b414653, "AFS"},
        {0x73757245, "Coda"}, {0x0bd00bd0, "Lustre"}, {0x7461636f, "OCFS2"}, {0x01161970, "GFS2"},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].type == type)
            return known[i].name;
    return NULL;
}

static int sync_directory(int fd) { return fsync(fd) == 0 || errno == EINVAL ? 0 : -errno; }

/* Does the directory hold nothing but what a creation may find? returns 0; -ENOTEMPTY */
static int check_empty(const char *dir, struct kv_error *error)
{
    static const char *const allowed[] = {".", "..", "lost+found", LOCK_FILE, NEW_FILE};
    DIR *list = opendir(dir);
    struct dirent *entry;
    int rc = 0;

    if (list == NULL)
        return refuse_lmdb(error, dir, errno);
    while (rc == 0 && (entry = readdir(list)) != NULL) {
        size_t i = 0;

        while (i < sizeof(allowed) / sizeof(allowed[0]) && strcmp(entry->d_name, allowed[i]) != 0)
            i++;
        if (i == sizeof(allowed) / sizeof(allowed[0]))
            rc = refuse(error, -ENOTEMPTY, dir,
                        "holds other things (%.64s) and no store: choose an empty or a new directory",
                        entry->d_name);
    }
    closedir(list);
    return rc;
}

/* Build an empty store as data.mdb.new, durably. returns an answer of LMDB's kind */
static int build_store(const char *path)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi table;
    int rc = mdb_env_create(&env);

    if (rc != 0)
        return rc;
    rc = mdb_env_set_maxdbs(env, ENGINE_TABLES);
    if (rc == 0)
        rc = mdb_env_set_mapsize(env, MAP_SMALLEST);
    if (rc == 0)
        rc = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK, 0600);
    if (rc == 0)
        rc = mdb_txn_begin(env, NULL, 0, &txn);
    if (rc == 0) {
        for (int i = 0; rc == 0 && i < ENGINE_TABLES; i++)
            rc = mdb_dbi_open(txn, table_names[i], MDB_CREATE, &table);
        if (rc == 0)
            rc = mdb_txn_commit(txn);
        else
            mdb_txn_abort(txn);
    }
    mdb_env_close(env);
    return rc;
}

static int create_store(int dir_fd, const char *dir, struct kv_error *error)
{
    char *path;
    int rc;

    if (asprintf(&path, "%s/" NEW_FILE, dir) < 0)
        return refuse_lmdb(error, dir, ENOMEM);
    rc = unlinkat(dir_fd, NEW_FILE, 0) == 0 || errno == ENOENT ? 0 : errno;
    if (rc == 0)
        rc = build_store(path);
    if (rc == 0 && renameat(dir_fd, NEW_FILE, dir_fd, DATA_FILE) != 0)
        rc = errno;
    if (rc == 0)
        rc = -sync_directory(dir_fd);
    else
        unlinkat(dir_fd, NEW_FILE, 0);
    free(path);
    return rc == 0 ? 0 : refuse_lmdb(error, dir, rc);
}

/* returns 1 data.mdb is there; 0 it is not; negative: it is nothing that could be opened */
static int find_data(int dir_fd, const char *dir, struct kv_error *error)
{
    struct stat data;

    if (fstatat(dir_fd, DATA_FILE, &data, 0) != 0)
        return errno == ENOENT ? 0 : refuse_lmdb(error, dir, errno);
    if (!S_ISREG(data.st_mode))
        return refuse(error, -EIO, dir, DATA_FILE " is not a file: choose another directory");
    /* LMDB would make an empty file a new database. */
    if (data.st_size == 0)
        return refuse_lmdb(error, dir, MDB_INVALID);
    return 1;
}

/* Open the directory, made where it is absent and `create` says so. returns a descriptor */
static int open_directory(const char *dir, bool create, struct kv_error *error)
{
    CLEANUP(close_fd) int parent = -1;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;

    if (fd < 0 && errno == ENOENT && create) {
        if (mkdir(dir, 0700) != 0 && errno != EEXIST)
            return errno == ENOENT
                       ? refuse(error, -ENOENT, dir, "the directory above it does not exist: make it first")
                       : refuse_lmdb(error, dir, errno);
        fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0) {
            parent = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            rc = parent < 0 ? -errno : sync_directory(parent);
        }
    }
    if (fd < 0 && errno == ENOENT)
        return refuse(error, -ENOENT, dir, "no store there: check the path, or create the store first");
    if (fd < 0 && errno == ENOTDIR)
        return refuse(error, -ENOTDIR, dir, "not a directory: a store is a directory of its own");
    if (fd < 0)
        return refuse_lmdb(error, dir, errno);
    if (rc < 0) {
        close(fd);
        return refuse_lmdb(error, dir, -rc);
    }
    return fd;
}

/* See to it that the directory holds a store, or say why it does not. */
static int prepare_directory(const char *dir, bool create, struct kv_error *error)
{
    CLEANUP(close_fd) int fd = open_directory(dir, create, error);
    const char *network;
    struct statfs fs;
    int rc;

    if (fd < 0)
        return fd;
    if (fstatfs(fd, &fs) != 0)
        return refuse_lmdb(error, dir, errno);
    network = network_filesystem((uint32_t)fs.f_type);
    if (network != NULL)
        return refuse(
            error, -EOPNOTSUPP, dir,
            "on a network filesystem (%s), where several hosts would damage the store: choose a local disk",
            network);
    rc = find_data(fd, dir, error);
    if (rc == 0 && create) {
        while ((rc = flock(fd, LOCK_EX)) != 0 && errno == EINTR)
            ;
        if (rc != 0)
            return refuse_lmdb(error, dir, errno);
        rc = find_data(fd, dir, error);
        if (rc != 0)
            return rc < 0 ? rc : 0;
        rc = check_empty(dir, error);
        return rc < 0 ? rc : create_store(fd, dir, error);
    }
    if (rc == 0)
        return refuse(error, -ENOENT, dir, "no store there: check the path, or create the store first");
    return rc < 0 ? rc : 0;
}

/* --------------------------------------------------------------------------- opening */

/* The map's size for a caller that leaves it to us. */
static uint64_t default_map(void)
{
    uint64_t size = MAP_DEFAULT;

    while (size > MAP_LEAST && !map_fits(size))
        size /= 2;
    return size;
}

/* Open tables that are there. returns 0; -ENOTEMPTY the database is somebody else's */
static int open_tables(struct lmdb *lmdb, const char *dir, struct kv_error *error)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, &txn);

    if (rc != 0)
        return refuse_lmdb(error, dir, rc);
    for (int i = 0; rc == 0 && i < ENGINE_TABLES; i++)
        rc = mdb_dbi_open(txn, table_names[i], 0, &lmdb->tables[i]);
    if (rc == 0)
        rc = mdb_txn_commit(txn);
    else
        mdb_txn_abort(txn);
    if (rc == MDB_NOTFOUND || rc == MDB_INCOMPATIBLE)
        return refuse(error, -ENOTEMPTY, dir, "holds the database of another program: choose another directory");
    return rc == 0 ? 0 : refuse_lmdb(error, dir, rc);
}

/* LMDB would answer a page behind the end of the file with a signal. */
static int check_size(struct lmdb *lmdb, const char *dir, struct kv_error *error)
{
    uint64_t used = used_bytes(lmdb);
    struct stat file;

    if (fstat(file_of(lmdb), &file) != 0)
        return refuse_lmdb(error, dir, errno);
    if ((uint64_t)file.st_size < used)
        return refuse(error, -EIO, dir,
                      DATA_FILE " was cut off (%llu of %llu bytes are there): restore it from a copy",
                      (unsigned long long)file.st_size, (unsigned long long)used);
    return 0;
}

/* One hundredth of what the store can become, within bounds. */
static void choose_reserve(struct lmdb *lmdb)
{
    uint64_t most = lmdb->limit;
    struct statvfs disk;

    if (fstatvfs(file_of(lmdb), &disk) == 0 && (uint64_t)disk.f_blocks * disk.f_frsize < most)
        most = (uint64_t)disk.f_blocks * disk.f_frsize;
    lmdb->reserve = most / 100;
    if (lmdb->reserve < RESERVE_LEAST)
        lmdb->reserve = RESERVE_LEAST;
    if (lmdb->reserve > RESERVE_MOST)
        lmdb->reserve = RESERVE_MOST;
    lmdb->reserve -= lmdb->reserve % lmdb->page_size;
}

static int open_environment(struct lmdb *lmdb, const char *dir, struct kv_error *error)
{
    MDB_stat stat;
    int rc = mdb_env_create(&lmdb->env);

    if (rc == 0)
        rc = mdb_env_set_maxdbs(lmdb->env, ENGINE_TABLES);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(lmdb->env, READERS_MAX);
    if (rc == 0)
        rc = mdb_env_set_mapsize(lmdb->env, lmdb->limit);
    if (rc == 0)
        rc = mdb_env_open(lmdb->env, dir, MDB_NOTLS | (lmdb->read_only ? MDB_RDONLY : 0), 0600);
    if (rc == 0)
        rc = mdb_reader_check(lmdb->env, NULL);
    if (rc == 0)
        rc = mdb_env_stat(lmdb->env, &stat);
    if (rc != 0)
        return refuse_lmdb(error, dir, rc);
    if (mdb_env_get_maxkeysize(lmdb->env) < ENGINE_KEY_MAX)
        return refuse(error, -EIO, dir, "this LMDB library is built for keys of %d bytes, %d are needed",
                      mdb_env_get_maxkeysize(lmdb->env), ENGINE_KEY_MAX);
    lmdb->page_size = stat.ms_psize;
    return 0;
}

int engine_lmdb_open(const char *dir, bool create, bool read_only, size_t map_bytes, struct engine **out,
                     struct kv_error *error)
{
    pthread_condattr_t attr;
    struct lmdb_txn *txn;
    struct lmdb *lmdb;
    int rc = prepare_directory(dir, create && !read_only, error);

    if (rc < 0)
        return rc;
    lmdb = calloc(1, sizeof(*lmdb));
    if (lmdb == NULL)
        return refuse_lmdb(error, dir, ENOMEM);
    lmdb->base.ops = &lmdb_ops;
    lmdb->read_only = read_only;
    lmdb->limit = map_bytes == 0 ? default_map() : map_bytes < MAP_SMALLEST ? MAP_SMALLEST : map_bytes;
    lmdb->limit -= lmdb->limit % MAP_STEP;
    pthread_mutex_init(&lmdb->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&lmdb->none_open, &attr);
    pthread_condattr_destroy(&attr);

    rc = open_environment(lmdb, dir, error);
    if (rc == 0)
        rc = check_size(lmdb, dir, error);
    if (rc == 0)
        rc = open_tables(lmdb, dir, error);
    if (rc == 0) {
        choose_reserve(lmdb);
        rc = widen_map(lmdb);
        if (rc == 0 && !read_only)
            rc = begin_txn(lmdb, true, &txn);
        if (rc < 0)
            refuse_lmdb(error, dir, -rc);
    }
    if (rc < 0) {
        lmdb_close(&lmdb->base);
        return rc;
    }
    if (!read_only) {
        allocate_first(lmdb);
        lmdb_abort(&txn->base);
    }
    *out = &lmdb->base;
    return 0;
}
