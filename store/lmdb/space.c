/* The space of an LMDB store: the reserve that deletes need when map or disk are full. The model is in
 * engine.c. All of this runs under LMDB's writer lock.
 */
#include "store/base/clock.h"
#include "store/lmdb/lmdb_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define FREE_LIST 0 /* LMDB's own table of free pages */

enum {
    SLACK_PAGES = 16,   /* what a change copies on its way */
    PAGE_OVERHEAD = 16, /* bytes: a page's header */
    LEAF_SHARE = 64,    /* bytes that a large record takes in a leaf that is half full */
    TURN_PAGES = 32,    /* freed by the last commit: worth an empty commit */
    FREE_ENTRIES = 1024 /* of the free list that are looked at: each is a commit's */
};

#define MIB ((uint64_t)1 << 20)
#define RESERVE_LEAST (1 * MIB)
#define RESERVE_MOST (16 * MIB)
#define NEAR_END (32 * MIB) /* beside the reserve: more than the largest value needs */
/* So much of a disk is not filled up, before it is asked again. */
#define PLENTY (4096 * MIB)
#define PLENTY_NS ((int64_t)100000000)

uint64_t lmdb_used(struct lmdb *lmdb)
{
    MDB_envinfo info;

    mdb_env_info(lmdb->env, &info);
    return (info.me_last_pgno + 1) * lmdb->page_size;
}

static uint64_t map_end(struct lmdb *lmdb)
{
    MDB_envinfo info;

    mdb_env_info(lmdb->env, &info);
    return info.me_mapsize;
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

/* The end of what the disk surely has. */
static uint64_t allocated_end(struct lmdb *lmdb)
{
    uint64_t used = lmdb_used(lmdb);

    return used > lmdb->allocated ? used : lmdb->allocated;
}

/* See to it that the file can be written up to `end`, where possible with some room beyond. */
static void allocate(struct lmdb *lmdb, uint64_t end)
{
    uint64_t from = allocated_end(lmdb), map = map_end(lmdb), ahead = end + lmdb->reserve / 4, available;

    if (end > map)
        end = map;
    if (ahead > map)
        ahead = map;
    if (end <= from)
        return;
    /* Asking first spares a full disk the attempt, which on some filesystems takes what is left. */
    available = disk_available(lmdb);
    if (ahead - from <= available && extend_file(lmdb, from, ahead) == 0)
        lmdb->allocated = ahead;
    else if (end - from <= available && extend_file(lmdb, from, end) == 0)
        lmdb->allocated = end;
}

/* What lies beyond the used pages may have been allocated by an earlier process, and then it needs nothing of
 * a full disk; where deletes took some of it since, only the rest. */
void lmdb_space_allocate(struct lmdb *lmdb)
{
    uint64_t used = lmdb_used(lmdb), map = map_end(lmdb);

    lmdb->allocated = used;
    for (uint64_t quarters = 4; quarters > 0 && lmdb->allocated == used; quarters--) {
        uint64_t end = used + lmdb->reserve / 4 * quarters;

        if (end <= map && extend_file(lmdb, used, end) == 0)
            lmdb->allocated = end;
    }
    lmdb->refused_in = 1; /* perhaps, by an earlier process */
}

/* Has the disk less than this? */
static bool disk_is_short(struct lmdb *lmdb, uint64_t wanted)
{
    int64_t now_ns = clock_ns(CLOCK_MONOTONIC);
    uint64_t available;

    if (now_ns < lmdb->plenty_ns)
        return false;
    available = disk_available(lmdb);
    if (available > PLENTY && available - PLENTY > wanted)
        lmdb->plenty_ns = now_ns + PLENTY_NS;
    return available < wanted;
}

/* Is there so little space that freed pages matter? */
bool lmdb_near_end(struct lmdb *lmdb)
{
    uint64_t wanted = lmdb_used(lmdb) + lmdb->reserve + NEAR_END, end = allocated_end(lmdb);

    return wanted > lmdb->limit || (wanted > end && disk_is_short(lmdb, wanted - end));
}

/* The free list maps the id of a transaction to the pages that it freed: their count, then their numbers.
 * All are machine words. returns 0 where the word is not there */
static uint64_t word(const MDB_val *val, uint64_t index)
{
    size_t out = 0;

    if (index < val->mv_size / sizeof(out))
        memcpy(&out, (const uint8_t *)val->mv_data + index * sizeof(out), sizeof(out));
    return out;
}

/* Set the bits of the pages in a set. returns 0; -EIO it is not what LMDB writes */
static int note_pages(const MDB_val *set, uint64_t pages, uint8_t *bitmap)
{
    uint64_t count = word(set, 0);

    for (uint64_t i = 1; i <= count; i++) {
        uint64_t page = word(set, i);

        if (page == 0 || page >= pages)
            return -EIO;
        bitmap[page / 8] |= (uint8_t)(1u << page % 8);
    }
    return 0;
}

static void note_run(struct lmdb_free *free, uint64_t pages)
{
    free->ripe += pages;
    for (int i = 0; i < LMDB_RUNS; i++) {
        uint64_t rest = pages % ((uint64_t)1 << i);

        free->runs[i].count += pages >> i;
        if (rest > free->runs[i].longest_rest)
            free->runs[i].longest_rest = rest;
    }
}

/* Count the set bits and their runs. */
static void count_runs(const uint8_t *bitmap, uint64_t pages, struct lmdb_free *free)
{
    uint64_t run = 0;

    *free = (struct lmdb_free){0};
    for (uint64_t i = 0; i <= pages; i++) {
        if (i < pages && (bitmap[i / 8] >> i % 8 & 1) != 0) {
            run++;
            continue;
        }
        note_run(free, run);
        run = 0;
        while (i % 8 == 7 && i + 8 < pages && bitmap[i / 8 + 1] == 0)
            i += 8;
    }
}

/* One hundredth of what the store can become, within bounds. */
void lmdb_space_choose(struct lmdb *lmdb)
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

/* Count the free pages that this write transaction can use. */
static int count_free(struct lmdb_txn *writer)
{
    struct lmdb *lmdb = writer->lmdb;
    uint64_t pages = lmdb_used(lmdb) / lmdb->page_size, id = mdb_txn_id(writer->mdb), unripe = 0;
    uint8_t *bitmap = calloc(1, pages / 8 + 1);
    struct lmdb_txn *reader = NULL;
    struct lmdb_watch watch;
    MDB_cursor *cursor = NULL;
    MDB_val key, set;
    int rc = bitmap == NULL ? -ENOMEM : lmdb_txn_begin(lmdb, false, &reader);

    if (rc == 0)
        rc = lmdb_errno(mdb_cursor_open(reader->mdb, FREE_LIST, &cursor));
    lmdb_watch_begin(&watch);
    for (MDB_cursor_op op = MDB_FIRST; rc == 0; op = MDB_NEXT) {
        rc = lmdb_errno(lmdb_guarded_step(cursor, &key, &set, op));
        if (rc == 0 && word(&key, 0) + 1 < id)
            rc = note_pages(&set, pages, bitmap);
        else if (rc == 0)
            unripe += word(&set, 0);
    }
    lmdb_watch_end(&watch);
    if (rc == -ENOENT) {
        count_runs(bitmap, pages, &lmdb->free);
        lmdb->free.unripe = unripe;
        lmdb->free.as_of = id;
        rc = 0;
    }
    if (cursor != NULL)
        mdb_cursor_close(cursor);
    if (reader != NULL)
        lmdb_txn_abort(reader);
    free(bitmap);
    return rc;
}

uint64_t lmdb_space_free(struct lmdb_txn *reader)
{
    MDB_val key, set;
    struct lmdb_watch watch;
    MDB_cursor *cursor;
    uint64_t pages = 0;
    MDB_cursor_op op = MDB_FIRST;

    if (mdb_cursor_open(reader->mdb, FREE_LIST, &cursor) != 0)
        return 0;
    lmdb_watch_begin(&watch);
    for (int i = 0; i < FREE_ENTRIES && lmdb_guarded_step(cursor, &key, &set, op) == 0; i++) {
        pages += word(&set, 0);
        op = MDB_NEXT;
    }
    lmdb_watch_end(&watch);
    mdb_cursor_close(cursor);
    return pages * reader->lmdb->page_size;
}

/* How many pages did the last commit free? 0 also where that cannot be seen. */
static uint64_t freed_by_last_commit(struct lmdb *lmdb)
{
    struct lmdb_txn *reader;
    struct lmdb_watch watch;
    MDB_cursor *cursor;
    MDB_val key, set;
    uint64_t count = 0;

    if (lmdb_txn_begin(lmdb, false, &reader) < 0)
        return 0;
    if (mdb_cursor_open(reader->mdb, FREE_LIST, &cursor) == 0) {
        lmdb_watch_begin(&watch);
        if (lmdb_guarded_step(cursor, &key, &set, MDB_LAST) == 0 && word(&key, 0) == mdb_txn_id(reader->mdb))
            count = word(&set, 0);
        lmdb_watch_end(&watch);
        mdb_cursor_close(cursor);
    }
    lmdb_txn_abort(reader);
    return count;
}

void lmdb_space_begin(struct lmdb *lmdb)
{
    if (lmdb->allocated == 0)
        lmdb_space_allocate(lmdb);
    allocate(lmdb, lmdb_used(lmdb) + lmdb->reserve);
}

bool lmdb_space_is_unripe(struct lmdb *lmdb) { return freed_by_last_commit(lmdb) >= TURN_PAGES; }

bool lmdb_disk_full(struct lmdb *lmdb) { return disk_available(lmdb) < SLACK_PAGES * lmdb->page_size; }

/* What a change of a record takes for its leaf: a copy. But chunks of a value lie side by side, and share theirs. */
static uint64_t leaf(struct lmdb_txn *txn, enum engine_table table, struct slice key)
{
    uint64_t value = 0;

    if (table != ENGINE_CHUNKS || key.size < sizeof(value))
        return txn->lmdb->page_size;
    memcpy(&value, key.data, sizeof(value));
    if (value == txn->value)
        return LEAF_SHARE;
    txn->value = value;
    return txn->lmdb->page_size;
}

/* Bytes of the pages that a large record has for itself. */
static uint64_t own_pages(const struct lmdb *lmdb, uint64_t size)
{
    return (size + PAGE_OVERHEAD + lmdb->page_size - 1) / lmdb->page_size * lmdb->page_size;
}

/* A small record takes up to twice its bytes in its leaf. */
void lmdb_space_put(struct lmdb_txn *txn, enum engine_table table, struct slice key, uint64_t size)
{
    txn->grown += leaf(txn, table, key);
    if (key.size + size < txn->lmdb->page_size / 2 - PAGE_OVERHEAD) {
        txn->grown += 2 * (key.size + size);
    } else {
        txn->grown += own_pages(txn->lmdb, size);
        txn->runs += own_pages(txn->lmdb, size);
    }
}

void lmdb_space_del(struct lmdb_txn *txn, enum engine_table table, struct slice key)
{
    txn->grown += leaf(txn, table, key);
}

/* Is enough free for this growth? `bytes` of it must be in runs, of at most `part` bytes each. LMDB does not always
 * find the runs that are there, and takes the tail then; so the less is left of that, the more of them are asked for.
 * Single pages it finds. */
static bool fits_free(const struct lmdb *lmdb, uint64_t growth, uint64_t bytes, size_t part, uint64_t tail,
                      uint64_t reserve)
{
    const struct lmdb_free *free = &lmdb->free;
    uint64_t page = lmdb->page_size, run, rest, runs, runs_in_tail;
    int kind = 0;

    while (kind < LMDB_RUNS - 1 && page << kind < part + PAGE_OVERHEAD)
        kind++;
    run = page << kind;
    rest = bytes % run / page;
    runs = bytes / run;
    runs_in_tail = tail > reserve ? (tail - reserve) / run : 0;
    if (rest > free->runs[kind].longest_rest)
        runs++;
    if (tail < reserve / 2 && kind > 0)
        runs *= 2;
    return free->runs[kind].count + runs_in_tail >= runs &&
           tail + (free->ripe + free->unripe) * page >= growth + reserve;
}

int lmdb_space_room(struct lmdb_txn *txn, uint64_t bytes, size_t part)
{
    struct lmdb *lmdb = txn->lmdb;
    uint64_t used = lmdb_used(lmdb), page = lmdb->page_size, id, growth, parts, records, end, tail, reserve;

    if (bytes > lmdb->limit)
        return -ENOSPC;
    /* Small records leave up to half of their pages empty, large ones next to nothing. */
    growth = txn->grown + bytes + (bytes < 4 * page ? bytes : 4 * page) + bytes / 64 + SLACK_PAGES * page;
    records = part > 0 ? bytes / part : 0;
    growth += records * LEAF_SHARE;
    parts = txn->runs + records * own_pages(lmdb, part);
    if (bytes > records * part)
        parts += own_pages(lmdb, bytes - records * part);
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
    if (fits_free(lmdb, growth, parts, part, tail, reserve))
        return 0;
    lmdb->refused_in = id;
    return -ENOSPC;
}
