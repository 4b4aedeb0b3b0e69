/* A database file that somebody made by hand: LMDB, which trusts what it maps, is never led into a crash by it.
 *
 * Input: a list of changes to a sound file, by somebody who knows LMDB's pages (headers, bounds, places of nodes, their
 * sizes and flags, numbers of pages, the free list), then operations. What the open refuses it says in words. Of what a
 * verification finds damaged only reads are made: they answer, or fail. What it finds sound holds as many records as
 * its trees say, and still is sound after any changes. */
#include "store/lmdb/format_internal.h"
#include "store/lmdb/lmdb.h"
#include "tests/fuzz/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAP = 4 << 20, RECORDS = 120, LARGE = 9000 };

static char dir[128], path[160];
static char log_path[160];
static uint8_t checkpoints[12288]; /* the begin of the log */

/* Nobody else writes here, so what is read twice need not be waited for in between. */
int nanosleep(const struct timespec *time, struct timespec *left)
{
    (void)time;
    (void)left;
    return 0;
}

/* ------------------------------------------------------------------- before the damage */

static struct slice key_of(unsigned number)
{
    static char key[300];
    int size = snprintf(key, sizeof(key), "key%03u%0*u", number % 1000, (int)(number * 7 % 180), number);

    return slice_of(key, (size_t)size);
}

static struct slice value_of(unsigned number)
{
    static const uint16_t sizes[] = {0, 1, 17, 100, 300, 700, 1800, 2100, 5000, LARGE};
    static uint8_t bytes[LARGE];

    memset(bytes, (int)('a' + number % 26), sizeof(bytes));
    return slice_of(bytes, sizes[number % (sizeof(sizes) / sizeof(sizes[0]))]);
}

static enum engine_table table_of(unsigned number)
{
    return number % 3 == 0 ? ENGINE_KEYS : number % ENGINE_TABLES;
}

static struct engine *open_engine(bool create, bool read_only, int *rc)
{
    struct kv_error error = {""};
    struct engine *engine = NULL;

    *rc = engine_lmdb_open(dir, &(struct lmdb_options){.create = create, .read_only = read_only, .map_bytes = MAP},
                           &engine, &error);
    FUZZ_CHECK((*rc == 0) == (engine != NULL));
    if (*rc < 0) {
        FUZZ_CHECK(strncmp(error.text, dir, strlen(dir)) == 0);
        for (const char *c = error.text; *c != '\0'; c++)
            FUZZ_CHECK(*c >= ' ' && *c <= '~');
    }
    return engine;
}

static struct engine_txn *begin(struct engine *engine, bool write)
{
    struct engine_txn *txn;

    FUZZ_CHECK(engine->ops->begin(engine, write, &txn) == 0);
    return txn;
}

/* In many commits, so that the free list has pages of several transactions. */
static void fill(struct engine *engine)
{
    struct engine_txn *txn = begin(engine, true);

    for (unsigned number = 0; number < RECORDS; number++) {
        FUZZ_CHECK(txn->ops->put(txn, table_of(number), key_of(number), value_of(number)) == 0);
        if (number % 10 == 9) {
            FUZZ_CHECK(txn->ops->commit(txn) == 0);
            txn = begin(engine, true);
        }
    }
    for (unsigned number = 0; number < RECORDS; number += 4) {
        FUZZ_CHECK(txn->ops->del(txn, table_of(number), key_of(number)) == 0);
        FUZZ_CHECK(txn->ops->commit(txn) == 0);
        txn = begin(engine, true);
    }
    txn->ops->abort(txn);
}

static void make_base(void)
{
    struct kv_storage storage = {0};
    uint64_t used;
    struct engine *engine;
    int rc, fd;

    snprintf(dir, sizeof(dir), "%s/store", fuzz_dir());
    snprintf(path, sizeof(path), "%s/data.mdb", dir);
    engine = open_engine(true, false, &rc);
    FUZZ_CHECK(rc == 0);
    snprintf(log_path, sizeof(log_path), "%s/log", dir);
    fill(engine);
    engine->ops->usage(engine, &storage);
    used = storage.used_bytes;
    engine->ops->close(engine);
    pages_take(path, used);
    fd = open(log_path, O_RDONLY);
    FUZZ_CHECK(fd >= 0 && pread(fd, checkpoints, sizeof(checkpoints), 0) == (ssize_t)sizeof(checkpoints));
    close(fd);
}

static void write_pages(size_t first, size_t count)
{
    int fd = open(path, O_WRONLY);

    FUZZ_CHECK(fd >= 0 && pwrite(fd, pages.now + first * PAGE, count * PAGE, (off_t)(first * PAGE)) ==
                              (ssize_t)(count * PAGE));
    close(fd);
}

static void write_touched(void)
{
    for (unsigned i = 0; i < pages.touched_count; i++)
        write_pages(pages.touched[i], 1);
}

/* all: the store was changed, too */
static void restore(bool all)
{
    uint8_t now[sizeof(checkpoints)];
    int fd = open(log_path, O_RDWR);

    FUZZ_CHECK(fd >= 0 && pread(fd, now, sizeof(now), 0) == (ssize_t)sizeof(now));
    if (memcmp(now, checkpoints, sizeof(now)) != 0) { /* a damaged header was made good by the log */
        FUZZ_CHECK(pwrite(fd, checkpoints, sizeof(now), 0) == (ssize_t)sizeof(now));
        all = true;
    }
    close(fd);
    pages_undo();
    if (all)
        write_pages(0, pages.count);
    else
        write_touched();
    pages.touched_count = 0;
}

/* -------------------------------------------------------------------------- operations */

static void count_found(void *arg, const char *what)
{
    unsigned *count = arg;

    for (const char *c = what; *c != '\0'; c++)
        FUZZ_CHECK(*c >= ' ' && *c <= '~');
    (*count)++;
}

static bool is_sound(struct engine *engine)
{
    struct engine_txn *txn = begin(engine, false);
    unsigned found = 0;
    int rc = txn->ops->verify(txn, 0, count_found, &found);

    FUZZ_CHECK(rc == 0 || rc == -EIO || rc == -ENOMEM || rc == -EAGAIN);
    txn->ops->abort(txn);
    return rc == 0 && found == 0;
}

static volatile uint8_t seen;

/* A byte of each line of a cache, and the last one. */
static void read_bytes(struct slice bytes)
{
    for (size_t i = 0; i < bytes.size; i += 64)
        seen = ((const uint8_t *)bytes.data)[i];
    if (bytes.size > 0)
        seen = ((const uint8_t *)bytes.data)[bytes.size - 1];
}

static int read_record(void *arg, struct slice key, struct slice value)
{
    unsigned *left = arg;

    read_bytes(key);
    read_bytes(value);
    FUZZ_CHECK(--*left > 0); /* a tree of damaged pages can be a circle */
    return 0;
}

static void read_all(struct engine *engine, bool sound)
{
    struct engine_txn *txn = begin(engine, false);

    for (unsigned number = 0; number < RECORDS; number += 7) {
        struct slice value;
        int rc = txn->ops->get(txn, table_of(number), key_of(number), &value);

        FUZZ_CHECK(rc == 0 || rc == -ENOENT || (rc == -EIO && !sound));
    }
    for (int table = 0; table < ENGINE_TABLES; table++) {
        unsigned left = 20000;
        int rc = txn->ops->scan(txn, (enum engine_table)table, slice_of("", 0), read_record, &left);

        FUZZ_CHECK(rc == 0 || (!sound && rc == -EIO));
    }
    txn->ops->abort(txn);
}

static void change_records(struct engine *engine, struct fuzz_input *in)
{
    unsigned commits = 1 + fuzz_below(in, 3), changes = 1 + fuzz_below(in, 40), number = fuzz_u8(in);

    for (unsigned i = 0; i < commits; i++) {
        struct engine_txn *txn = begin(engine, true);
        int rc = 0;

        for (unsigned k = 0; rc == 0 && k < changes; k++) {
            unsigned what = fuzz_u8(in);

            number = number * 5 + what;
            if (what & 1)
                rc = txn->ops->put(txn, table_of(number), key_of(number % RECORDS), value_of(number / 8));
            else
                rc = txn->ops->del(txn, table_of(number), key_of(number % RECORDS));
            if (rc == -ENOENT)
                rc = 0;
        }
        FUZZ_CHECK(rc == 0 || rc == -ENOSPC);
        if (rc == 0)
            FUZZ_CHECK(txn->ops->commit(txn) == 0);
        else
            txn->ops->abort(txn);
    }
}

/* returns  whether the store was changed */
static bool use(struct fuzz_input *in, struct engine *engine, bool damaged, bool read_only)
{
    bool sound = is_sound(engine);

    FUZZ_CHECK(damaged || sound);
    read_all(engine, sound);
    if (!sound || read_only)
        return false;
    change_records(engine, in);
    FUZZ_CHECK(is_sound(engine));
    read_all(engine, true);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    bool damaged, read_only, changed = false;
    struct engine *engine;
    int rc;

    if (pages.now == NULL)
        make_base();
    read_only = fuzz_u8(&in) & 1;
    damaged = pages_damage(&in);
    write_touched();
    engine = open_engine(false, read_only, &rc);
    if (engine != NULL) {
        changed = use(&in, engine, damaged, read_only);
        engine->ops->close(engine);
    } else {
        FUZZ_CHECK(damaged && (rc == -EIO || rc == -ENOTEMPTY || rc == -ENOMEM));
    }
    restore(changed);
    return 0;
}
