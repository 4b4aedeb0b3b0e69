/* No page of the kernel's cache holds bytes of two versions, or older ones than those that a write has left,
 * whatever kind of write it is, and whoever reads or has mapped the key meanwhile.
 *
 * Environment: KVFS_TEST_ROUNDS (of each kind of write), KVFS_TEST_SEED. */
#include "tests/support/mount.h"
#include "tests/support/setting.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/aio_abi.h>

#define P(...) mount_path(&((struct mount_test *)*state)->nodes[0], __VA_ARGS__)

enum { PAGE = 4096, PAGES = 16, VALUE = PAGE * PAGES, READERS = 2, ROUNDS = 300 };

/* A key that is written in rounds. Of each page the round is known whose bytes it has; 0: zeros. */
struct pages {
    int buffered, direct, source; /* descriptors; the last is of another key, with the round's bytes */
    int reading;                  /* buffered, where that can only be written */
    uint8_t *map;                 /* of the key, shared */
    aio_context_t aio;
    uint8_t *bytes; /* VALUE of them, aligned: the round's */
    unsigned round, rounds_of[PAGES];
    struct test_random random;
    const char *path;
    pthread_t readers[READERS];
    atomic_bool over;
};

static void pages_fill(uint8_t *page, unsigned number, unsigned round)
{
    memset(page, round == 0 ? 0 : (int)(1 + (round * 31 + number) % 255), PAGE);
}

/* -------------------------------------------------------------------- kinds of writes */

/* Each writes the pages `first` .. `first` + count - 1 of the round. */
typedef void write_kind(struct pages *p, size_t first, size_t count);

static void write_asynchronously(struct pages *p, size_t first, size_t count)
{
    struct io_event events[PAGES];
    struct iocb blocks[PAGES], *list[PAGES];

    for (size_t i = 0; i < count; i++) {
        blocks[i] = (struct iocb){.aio_fildes = (uint32_t)p->direct,
                                  .aio_lio_opcode = IOCB_CMD_PWRITE,
                                  .aio_buf = (uintptr_t)(p->bytes + (first + i) * PAGE),
                                  .aio_nbytes = PAGE,
                                  .aio_offset = (int64_t)((first + i) * PAGE)};
        list[i] = &blocks[i];
    }
    assert_int_equal(MOUNT_OK(syscall(SYS_io_submit, p->aio, count, list)), count);
    assert_int_equal(MOUNT_OK(syscall(SYS_io_getevents, p->aio, count, count, events, NULL)), count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(events[i].res, PAGE);
}

static void write_directly(struct pages *p, size_t first, size_t count)
{
    size_t size = count * PAGE;

    assert_int_equal(MOUNT_OK(pwrite(p->direct, p->bytes + first * PAGE, size, (off_t)(first * PAGE))), size);
}

static void write_buffered(struct pages *p, size_t first, size_t count)
{
    size_t size = count * PAGE;

    assert_int_equal(MOUNT_OK(pwrite(p->buffered, p->bytes + first * PAGE, size, (off_t)(first * PAGE))), size);
}

static void write_mapped(struct pages *p, size_t first, size_t count)
{
    memcpy(p->map + first * PAGE, p->bytes + first * PAGE, count * PAGE);
}

static void write_mapped_and_sync(struct pages *p, size_t first, size_t count)
{
    write_mapped(p, first, count);
    MOUNT_OK(msync(p->map, VALUE, MS_SYNC));
}

static void write_copied(struct pages *p, size_t first, size_t count)
{
    loff_t from = (loff_t)(first * PAGE), to = from;
    size_t size = count * PAGE;

    assert_int_equal(MOUNT_OK(pwrite(p->source, p->bytes + first * PAGE, size, from)), size);
    assert_int_equal(MOUNT_OK(copy_file_range(p->source, &from, p->buffered, &to, size, 0)), size);
}

static void write_zeros(struct pages *p, size_t first, size_t count)
{
    int mode = p->round % 2 == 0 ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;

    MOUNT_OK(fallocate(p->buffered, mode | FALLOC_FL_KEEP_SIZE, (off_t)(first * PAGE), (off_t)(count * PAGE)));
    memset(p->bytes + first * PAGE, 0, count * PAGE);
    for (size_t i = first; i < first + count; i++)
        p->rounds_of[i] = 0;
}

/* Pages up to the end. */
static void cut_and_lengthen(struct pages *p, size_t first, size_t count)
{
    (void)count;
    MOUNT_OK(ftruncate(p->buffered, (off_t)(first * PAGE)));
    MOUNT_OK(ftruncate(p->buffered, VALUE));
    for (size_t i = first; i < PAGES; i++)
        p->rounds_of[i] = 0;
}

static write_kind *const kinds[] = {
    write_asynchronously, write_directly, write_buffered, write_mapped_and_sync,
    write_mapped,         write_copied,   write_zeros,    cut_and_lengthen,
};

/* ------------------------------------------------------------------------- the reading */

/* Reads the whole key again and again, also through a mapping, so that its pages are read while they are written.
 */
static void *read_all_the_time(void *arg)
{
    struct pages *p = arg;
    int fd = open(p->path, O_RDONLY | O_CLOEXEC);
    static _Thread_local uint8_t bytes[VALUE];
    const volatile uint8_t *map = mmap(NULL, VALUE, PROT_READ, MAP_SHARED, fd, 0);

    if (fd < 0 || map == MAP_FAILED)
        abort();
    while (!atomic_load(&p->over)) {
        if (pread(fd, bytes, VALUE, 0) < 0)
            abort();
        for (size_t i = 0; i < 2; i++)
            (void)map[i * PAGE]; /* those that are never cut */
    }
    munmap((void *)map, VALUE);
    close(fd);
    return NULL;
}

/* flags: how `buffered` is open; O_WRONLY: then nobody stores through a mapping */
static void pages_begin(struct pages *p, struct mount_test *test, int flags)
{
    int prot = flags == O_RDWR ? PROT_READ | PROT_WRITE : PROT_READ;
    void *bytes = NULL;
    const struct mount_node *node = &test->nodes[0];

    *p = (struct pages){.path = strdup(mount_path(node, "a/n/key")), .random = {test_seed()}};
    assert_int_equal(posix_memalign(&bytes, PAGE, VALUE), 0);
    p->bytes = memset(bytes, 0, VALUE);
    mount_write(p->path, bytes, VALUE);
    mount_write(mount_path(node, "a/n/source"), bytes, VALUE);
    p->buffered = (int)MOUNT_OK(open(p->path, flags | O_CLOEXEC));
    p->reading = (int)MOUNT_OK(open(p->path, O_RDONLY | O_CLOEXEC));
    p->direct = (int)MOUNT_OK(open(p->path, (flags == O_RDWR ? O_RDWR : O_RDONLY) | O_DIRECT | O_CLOEXEC));
    p->source = (int)MOUNT_OK(open(mount_path(node, "a/n/source"), O_RDWR | O_CLOEXEC));
    p->map = mmap(NULL, VALUE, prot, MAP_SHARED, flags == O_RDWR ? p->buffered : p->reading, 0);
    assert_ptr_not_equal(p->map, MAP_FAILED);
    MOUNT_OK(syscall(SYS_io_setup, PAGES, &p->aio));
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&p->readers[i], NULL, read_all_the_time, p), 0);
}

/* ------------------------------------------------------------------------- the looking */

/* returns whether all pages are those of the model */
static bool pages_are_right(const struct pages *p, const uint8_t *got, const char *how)
{
    uint8_t wanted[PAGE];

    for (unsigned i = 0; i < PAGES; i++) {
        pages_fill(wanted, i, p->rounds_of[i]);
        if (memcmp(got + i * PAGE, wanted, PAGE) == 0)
            continue;
        printf("round %u: %s has page %u with %#x .. %#x, not %#x\n", p->round, how, i, got[i * PAGE],
               got[i * PAGE + PAGE - 1], wanted[0]);
        return false;
    }
    return true;
}

/* As it is read by each way that there is. */
static bool pages_look(struct pages *p)
{
    static _Alignas(PAGE) uint8_t got[VALUE];
    bool right;

    assert_int_equal(MOUNT_OK(pread(p->reading, got, VALUE, 0)), VALUE);
    right = pages_are_right(p, got, "a buffered read");
    assert_int_equal(MOUNT_OK(pread(p->direct, got, VALUE, 0)), VALUE);
    right = pages_are_right(p, got, "a direct read") && right;
    memcpy(got, p->map, VALUE);
    return pages_are_right(p, got, "a mapping") && right;
}

static void pages_write(struct pages *p, write_kind *kind)
{
    size_t first = test_random_below(&p->random, PAGES - 2) + 2;
    size_t count = test_random_below(&p->random, PAGES - first) + 1;

    if (test_random_below(&p->random, 2) == 0 && kind != cut_and_lengthen) {
        first = 0;
        count = PAGES;
    }
    p->round++;
    for (size_t i = first; i < first + count; i++) {
        p->rounds_of[i] = p->round;
        pages_fill(p->bytes + i * PAGE, (unsigned)i, p->round);
    }
    kind(p, first, count);
}

/* Where stores can be made, a byte is stored into each page at the end: what was stale in the cache would now come over
 * what was written.
 * returns  whether all is there then, here and elsewhere */
static bool pages_end(struct pages *p, struct mount_node *other, bool stores)
{
    static _Alignas(PAGE) uint8_t wanted[VALUE], got[VALUE];
    bool right;

    atomic_store(&p->over, true);
    for (int i = 0; i < READERS; i++)
        pthread_join(p->readers[i], NULL);
    for (unsigned i = 0; i < PAGES; i++) {
        pages_fill(wanted + i * PAGE, i, p->rounds_of[i]);
        if (stores)
            wanted[i * PAGE + i] = p->map[i * PAGE + i] = 0xff;
    }
    MOUNT_OK(msync(p->map, VALUE, MS_SYNC));
    MOUNT_OK(munmap(p->map, VALUE));
    right = pread(p->direct, got, VALUE, 0) == VALUE && memcmp(got, wanted, VALUE) == 0;
    MOUNT_OK(syscall(SYS_io_destroy, p->aio));
    MOUNT_OK(close(p->direct));
    MOUNT_OK(close(p->buffered));
    MOUNT_OK(close(p->reading));
    MOUNT_OK(close(p->source));
    right =
        mount_read(mount_path(other, "a/n/key"), got, VALUE) == VALUE && memcmp(got, wanted, VALUE) == 0 && right;
    free(p->bytes);
    free((char *)p->path);
    return right;
}

static void write_by(void **state, int flags, write_kind *const *choice, size_t count)
{
    struct mount_node *other = mount_start(*state, "cache_ttl=0");
    uint64_t rounds = test_setting("KVFS_TEST_ROUNDS", ROUNDS);
    static struct pages p;
    bool right = true;

    pages_begin(&p, *state, flags);
    for (uint64_t i = 0; i < rounds && right; i++) {
        pages_write(&p, choice[test_random_below(&p.random, count)]);
        right = pages_look(&p);
    }
    if (!pages_end(&p, other, flags == O_RDWR))
        fail_msg("a store through the mapping brought bytes back that had been replaced");
    assert_true(right);
}

#define BY(name, flags, kind)                \
    static void name(void **state)           \
    {                                        \
        write_kind *const choice[] = {kind}; \
        write_by(state, flags, choice, 1);   \
    }

BY(asynchronous_direct_writes_leave_no_stale_page, O_RDWR, write_asynchronously)
BY(direct_writes_leave_no_stale_page, O_RDWR, write_directly)
BY(buffered_writes_are_read_by_every_way, O_RDWR, write_buffered)
BY(stores_to_a_mapping_are_read_by_every_way, O_RDWR, write_mapped)
BY(synced_stores_to_a_mapping_are_read_by_every_way, O_RDWR, write_mapped_and_sync)
BY(copies_leave_no_stale_page, O_RDWR, write_copied)
BY(holes_leave_no_stale_page, O_RDWR, write_zeros)
BY(truncations_leave_no_stale_page, O_RDWR, cut_and_lengthen)
BY(writes_of_who_can_only_write_are_read_by_every_way, O_WRONLY, write_buffered)
BY(copies_of_who_can_only_write_are_read_by_every_way, O_WRONLY, write_copied)
BY(holes_of_who_can_only_write_are_read_by_every_way, O_WRONLY, write_zeros)
BY(truncations_of_who_can_only_write_are_read_by_every_way, O_WRONLY, cut_and_lengthen)

static void all_kinds_of_writes_together_leave_no_stale_page(void **state)
{
    write_by(state, O_RDWR, kinds, sizeof(kinds) / sizeof(*kinds));
}

enum { STORES = 3000, WRITTEN_AT = 8, STORED_AT = 2000 };

/* Stores numbers through a mapping until it is over. */
static void *store_numbers(void *arg)
{
    struct pages *p = arg;
    volatile unsigned *number = (volatile unsigned *)(p->map + STORED_AT);

    while (!atomic_load(&p->over)) {
        ++*number;
        if (*number % 64 == 0 && msync(p->map, PAGE, MS_SYNC) < 0)
            abort();
    }
    return NULL;
}

/* A descriptor that can only write, opened before the key is mapped or behind, writes numbers beside those that are
 * stored. */
static void write_beside_stores(void **state, bool writer_first)
{
    struct mount_node *other = mount_start(*state, "cache_ttl=0");
    static struct pages p;
    static uint8_t got[PAGE];
    int fds[2], writer, fd;
    unsigned last, lost = 0;
    pthread_t thread;

    mount_write(P("a/n/key"), got, PAGE);
    for (int i = 0; i < 2; i++)
        fds[i] = (int)MOUNT_OK(open(P("a/n/key"), (writer_first == (i == 0) ? O_WRONLY : O_RDWR) | O_CLOEXEC));
    writer = fds[!writer_first];
    fd = fds[writer_first];
    p.map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(p.map, MAP_FAILED);
    atomic_store(&p.over, false);
    assert_int_equal(pthread_create(&thread, NULL, store_numbers, &p), 0);
    for (unsigned i = 1; i <= STORES; i++) {
        MOUNT_OK(pwrite(writer, &i, sizeof(i), WRITTEN_AT));
        memcpy(&last, p.map + WRITTEN_AT, sizeof(last));
        lost += last != i;
    }
    atomic_store(&p.over, true);
    pthread_join(thread, NULL);
    memcpy(&last, p.map + STORED_AT, sizeof(last));
    MOUNT_OK(munmap(p.map, PAGE));
    MOUNT_OK(close(writer));
    MOUNT_OK(close(fd));
    assert_int_equal(lost, 0);
    assert_int_equal(mount_read(mount_path(other, "a/n/key"), got, PAGE), PAGE);
    assert_int_equal(*(unsigned *)(got + WRITTEN_AT), STORES);
    assert_int_equal(*(unsigned *)(got + STORED_AT), last);
}

static void writes_and_later_stores_to_one_page_both_stay(void **state) { write_beside_stores(state, true); }

static void stores_and_later_writes_to_one_page_both_stay(void **state) { write_beside_stores(state, false); }

/* Of the same bytes the last change counts, whichever way it is made. flags: of the descriptor that is mapped */
static void write_and_store(void **state, int flags)
{
    enum { SIZE = 3 * PAGE, AT = PAGE - 2, CHANGED = PAGE + 4 };
    int writer = (int)MOUNT_OK(open(P("a/n/key"), O_WRONLY | O_CREAT | O_CLOEXEC, 0666)), fd;
    struct mount_node *other = mount_start(*state, "cache_ttl=0");
    uint8_t bytes[CHANGED], got[SIZE], *map;

    MOUNT_OK(ftruncate(writer, SIZE));
    fd = (int)MOUNT_OK(open(P("a/n/key"), O_RDWR | O_CLOEXEC | flags));
    map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    for (int round = 1; round < 100; round++) {
        memset(map, round, SIZE);
        if (round % 2 == 0)
            MOUNT_OK(msync(map, SIZE, MS_SYNC));
        memset(bytes, 100 + round, CHANGED);
        assert_int_equal(MOUNT_OK(pwrite(writer, bytes, CHANGED, AT)), CHANGED);
        map[AT + 1] = map[AT + PAGE] = (uint8_t)round;
        MOUNT_OK(msync(map, SIZE, MS_SYNC));
        bytes[1] = bytes[PAGE] = (uint8_t)round;
        assert_int_equal(mount_read(mount_path(other, "a/n/key"), got, SIZE), SIZE);
        assert_memory_equal(got + AT, bytes, CHANGED);
        assert_int_equal(got[AT - 1], round);
        assert_int_equal(got[AT + CHANGED], round);
    }
    MOUNT_OK(munmap(map, SIZE));
    MOUNT_OK(close(fd));
    MOUNT_OK(close(writer));
}

static void writes_and_stores_to_the_same_bytes_come_one_after_the_other(void **state)
{
    write_and_store(state, 0);
}

static void direct_descriptors_are_mapped_as_others_are(void **state) { write_and_store(state, O_DIRECT); }

static int run(void)
{
    const struct CMUnitTest tests[] = {
        MOUNT_TEST(asynchronous_direct_writes_leave_no_stale_page),
        MOUNT_TEST(direct_writes_leave_no_stale_page),
        MOUNT_TEST(buffered_writes_are_read_by_every_way),
        MOUNT_TEST(stores_to_a_mapping_are_read_by_every_way),
        MOUNT_TEST(synced_stores_to_a_mapping_are_read_by_every_way),
        MOUNT_TEST(copies_leave_no_stale_page),
        MOUNT_TEST(holes_leave_no_stale_page),
        MOUNT_TEST(truncations_leave_no_stale_page),
        MOUNT_TEST(all_kinds_of_writes_together_leave_no_stale_page),
        MOUNT_TEST(writes_of_who_can_only_write_are_read_by_every_way),
        MOUNT_TEST(copies_of_who_can_only_write_are_read_by_every_way),
        MOUNT_TEST(holes_of_who_can_only_write_are_read_by_every_way),
        MOUNT_TEST(truncations_of_who_can_only_write_are_read_by_every_way),
        MOUNT_TEST(writes_and_later_stores_to_one_page_both_stay),
        MOUNT_TEST(stores_and_later_writes_to_one_page_both_stay),
        MOUNT_TEST(writes_and_stores_to_the_same_bytes_come_one_after_the_other),
        MOUNT_TEST(direct_descriptors_are_mapped_as_others_are),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return mount_tests("pages", run); }
