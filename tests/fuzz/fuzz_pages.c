/* A database file that somebody made by hand: LMDB, which trusts what it maps, is never led into a crash by it.
 *
 * Input: a list of changes to a sound file, by somebody who knows LMDB's pages (headers, bounds, places of nodes, their
 * sizes and flags, numbers of pages, the free list), then operations. What the open refuses it says in words. Of what a
 * verification finds damaged only reads are made: they answer, or fail. What it finds sound holds as many records as
 * its trees say, and still is sound after any changes. */
#include "store/lmdb/format_internal.h"
#include "store/lmdb/lmdb.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, MAP = 4 << 20, RECORDS = 120, LARGE = 9000 };

static char dir[128], path[160];
static uint8_t *base, *file;
static size_t pages;

/* Pages that the input changes. All else is as it was, in memory and in the file, from one input to the next. */
static size_t touched[32];
static unsigned touched_count;
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

    FUZZ_CHECK(sysconf(_SC_PAGESIZE) == PAGE);
    snprintf(dir, sizeof(dir), "%s/store", fuzz_dir());
    snprintf(path, sizeof(path), "%s/data.mdb", dir);
    engine = open_engine(true, false, &rc);
    FUZZ_CHECK(rc == 0);
    snprintf(log_path, sizeof(log_path), "%s/log", dir);
    fill(engine);
    engine->ops->usage(engine, &storage);
    used = storage.used_bytes;
    engine->ops->close(engine);
    pages = used / PAGE;
    base = malloc(used);
    file = malloc(used);
    fd = open(path, O_RDONLY);
    FUZZ_CHECK(base != NULL && file != NULL && fd >= 0 && pread(fd, base, used, 0) == (ssize_t)used);
    memcpy(file, base, used);
    close(fd);
    fd = open(log_path, O_RDONLY);
    FUZZ_CHECK(fd >= 0 && pread(fd, checkpoints, sizeof(checkpoints), 0) == (ssize_t)sizeof(checkpoints));
    close(fd);
}

/* --------------------------------------------------------------------------- the damage */

static void set_u16(uint8_t *at, uint64_t value)
{
    uint16_t number = (uint16_t)value;

    memcpy(at, &number, sizeof(number));
}

static void set_u32(uint8_t *at, uint64_t value)
{
    uint32_t number = (uint32_t)value;

    memcpy(at, &number, sizeof(number));
}

static void set_u64(uint8_t *at, uint64_t value) { memcpy(at, &value, sizeof(value)); }

/* Near what was there, a number of a page, or one that programs get wrong. */
static uint64_t choose_number(struct fuzz_input *in, uint64_t was)
{
    static const uint64_t numbers[] = {0,        1,          2,          8,         16,         PAGE,
                                       PAGE - 1, 0x7fff,     0x8000,     0xffff,    0x10000,    INT32_MAX,
                                       1u << 31, UINT32_MAX, 1ull << 32, INT64_MAX, 1ull << 63, UINT64_MAX,
                                       511,      512,        2038,       2040,      4080,       4088};
    unsigned how = fuzz_u8(in);

    if (how < 100)
        return was + (uint64_t)(int64_t)(int8_t)fuzz_u8(in);
    if (how < 170)
        return fuzz_u8(in) % (pages + 2);
    if (how < 250)
        return numbers[how % (sizeof(numbers) / sizeof(numbers[0]))];
    return fuzz_u64(in);
}

static uint8_t *touch(size_t page)
{
    FUZZ_CHECK(touched_count < sizeof(touched) / sizeof(touched[0]));
    touched[touched_count++] = page;
    return file + page * PAGE;
}

static uint8_t *choose_page(struct fuzz_input *in) { return touch(fuzz_u16(in) % pages); }

/* A node of a page, at a place that it need not have; NULL: none fits. */
static uint8_t *choose_node(struct fuzz_input *in, uint8_t *page)
{
    unsigned lower = format_u16(page + 12), number = fuzz_u8(in), count;
    size_t at;

    if (lower < PAGE_HEADER + 2 || lower > PAGE)
        return NULL;
    count = (lower - PAGE_HEADER) / 2;
    at = PAGE_HEADER + 2 * (size_t)(number % count);
    at = at + 2 <= PAGE ? format_u16(page + at) : PAGE;
    return at + NODE_HEADER + 32 <= PAGE ? page + at : NULL;
}

static void change_byte(struct fuzz_input *in)
{
    uint8_t *page = choose_page(in);

    page[fuzz_u16(in) % PAGE] ^= (uint8_t)(1u << fuzz_below(in, 8));
}

static void change_flags(struct fuzz_input *in)
{
    uint8_t *page = choose_page(in);

    set_u16(page + 10, fuzz_u8(in) & 1 ? format_u16(page + 10) ^ 1u << fuzz_below(in, 16) : fuzz_u8(in));
}

static void change_bounds(struct fuzz_input *in)
{
    uint8_t *page = choose_page(in), *bound = page + 12 + 2 * fuzz_below(in, 2);

    set_u16(bound, choose_number(in, format_u16(bound)));
}

static void change_place(struct fuzz_input *in)
{
    uint8_t *page = choose_page(in), *place = page + PAGE_HEADER + 2 * fuzz_below(in, 40);
    const uint8_t *other = page + PAGE_HEADER + 2 * fuzz_below(in, 40);

    set_u16(place, fuzz_u8(in) & 1 ? format_u16(other) : choose_number(in, format_u16(place)));
}

static void swap_places(struct fuzz_input *in)
{
    uint8_t *page = choose_page(in), *one = page + PAGE_HEADER + 2 * fuzz_below(in, 40);
    uint8_t *other = page + PAGE_HEADER + 2 * fuzz_below(in, 40);
    uint16_t was = format_u16(one);

    set_u16(one, format_u16(other));
    set_u16(other, was);
}

static void change_node(struct fuzz_input *in)
{
    static const uint8_t places[] = {0, 2, 4,
                                     6}; /* of the size of the value two, its flags, the size of the key */
    uint8_t *node = choose_node(in, choose_page(in)), *field;

    if (node == NULL)
        return;
    field = node + places[fuzz_below(in, sizeof(places))];
    set_u16(field, choose_number(in, format_u16(field)));
}

/* One node gets what another one loses, so that their sum stays. */
static void shift_sizes(struct fuzz_input *in)
{
    uint8_t *page = choose_page(in), *one = choose_node(in, page), *other = choose_node(in, page);
    unsigned by = 2 * (1u + fuzz_below(in, 16));
    bool keys = fuzz_u8(in) & 1;

    if (one == NULL || other == NULL)
        return;
    if (keys) {
        set_u16(one + 6, format_u16(one + 6) + by);
        set_u16(other + 6, format_u16(other + 6) - by);
    } else {
        set_u32(one, format_u32(one) + by);
        set_u32(other, format_u32(other) - by);
    }
}

/* The value of a node: of a table its tree, of a large record its first page, of the free list its numbers. */
static void change_value(struct fuzz_input *in)
{
    uint8_t *page = choose_page(in), *node = choose_node(in, page), *word;
    size_t at;

    if (node == NULL)
        return;
    at = (size_t)(node - page) + NODE_HEADER + format_u16(node + 6) + 8u * fuzz_below(in, 8);
    if (at + 8 > PAGE)
        return;
    word = page + at;
    set_u64(word, choose_number(in, format_u64(word)));
}

static void change_number(struct fuzz_input *in)
{
    uint8_t *page = choose_page(in);

    set_u64(page, choose_number(in, format_u64(page)));
}

static void change_count(struct fuzz_input *in)
{
    uint8_t *page = choose_page(in);

    set_u32(page + 12, choose_number(in, format_u32(page + 12)));
}

static void copy_page(struct fuzz_input *in)
{
    uint8_t *to = choose_page(in);
    uint64_t number = format_u64(to);

    memmove(to, choose_page(in), PAGE);
    if (fuzz_u8(in) & 1)
        set_u64(to, number);
}

static void change_header(struct fuzz_input *in)
{
    static const uint8_t places[] = {META_MAGIC,
                                     META_VERSION,
                                     META_PAGE_SIZE,
                                     META_TREES + TREE_FLAGS,
                                     META_TREES + TREE_DEPTH,
                                     META_TREES + TREE_ENTRIES,
                                     META_TREES + TREE_ROOT,
                                     META_TREES + TREE_SIZE,
                                     META_TREES + TREE_SIZE + TREE_FLAGS,
                                     META_TREES + TREE_SIZE + TREE_DEPTH,
                                     META_TREES + TREE_SIZE + TREE_ENTRIES,
                                     META_TREES + TREE_SIZE + TREE_ROOT,
                                     META_LAST,
                                     META_TXN,
                                     META_VERSION + 4,
                                     META_VERSION + 12};
    uint8_t *at = touch(fuzz_below(in, 2)) + places[fuzz_below(in, sizeof(places))];

    if (fuzz_u8(in) & 1)
        set_u16(at, choose_number(in, format_u16(at)));
    else
        set_u64(at, choose_number(in, format_u64(at)));
}

/* returns  whether anything is not as it was */
static bool damage(struct fuzz_input *in)
{
    static void (*const kinds[])(struct fuzz_input *) = {
        change_byte, change_flags, change_bounds, change_place,  swap_places,  change_node, change_node,
        shift_sizes, change_value, change_value,  change_number, change_count, copy_page,   change_header,
    };
    unsigned times = 1 + fuzz_below(in, 6);
    bool changed = false;

    for (unsigned i = 0; i < times && in->left > 0; i++)
        kinds[fuzz_below(in, sizeof(kinds) / sizeof(kinds[0]))](in);
    for (unsigned i = 0; i < touched_count; i++)
        changed |= memcmp(file + touched[i] * PAGE, base + touched[i] * PAGE, PAGE) != 0;
    return changed;
}

static void write_pages(size_t first, size_t count)
{
    int fd = open(path, O_WRONLY);

    FUZZ_CHECK(fd >= 0 &&
               pwrite(fd, file + first * PAGE, count * PAGE, (off_t)(first * PAGE)) == (ssize_t)(count * PAGE));
    close(fd);
}

static void write_touched(void)
{
    for (unsigned i = 0; i < touched_count; i++)
        write_pages(touched[i], 1);
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
    for (unsigned i = 0; i < touched_count; i++)
        memcpy(file + touched[i] * PAGE, base + touched[i] * PAGE, PAGE);
    if (all)
        write_pages(0, pages);
    else
        write_touched();
    touched_count = 0;
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

    if (base == NULL)
        make_base();
    read_only = fuzz_u8(&in) & 1;
    damaged = damage(&in);
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
