/* Copies of a store: they have what there was when they were begun, whoever writes meanwhile; and of a copy that was
 * damaged on its way no store is made that is wrong without anybody being told. */
#include "tests/support/setting.h"
#include "tests/support/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEYS = 3000, LARGE_KEYS = 12, LARGE = 400000, ROUNDS = 60 };

static char top[200];

static const char *below(const char *name)
{
    static char paths[4][300];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", top, name);
    return path;
}

static int make_top(void **state)
{
    const char *above = getenv("TMPDIR");

    (void)state;
    snprintf(top, sizeof(top), "%s/kvfs-test-copy-XXXXXX", above != NULL ? above : "/tmp");
    return mkdtemp(top) == NULL ? -1 : 0;
}

static int remove_top(void **state)
{
    (void)state;
    test_remove_tree(top);
    return 0;
}

static struct kv_store *open_store(const char *name, bool read_only)
{
    struct kv_options options = kv_options_default();
    struct kv_error error = {""};
    struct kv_store *kv = NULL;

    options.read_only = read_only;
    options.create = !read_only;
    options.durability = KV_DURABILITY_FSYNC;
    if (kv_open(below(name), &options, &kv, &error) < 0)
        print_message("%s\n", error.text);
    return kv;
}

static void put(struct kv_store *kv, uint64_t space, int number, size_t size)
{
    static uint8_t bytes[LARGE];
    static unsigned puts;
    char name[32];
    struct kv_ref ref;

    snprintf(name, sizeof(name), "key%d", number);
    ref = kv_ref_key(space, name, strlen(name));
    memset(bytes, (int)(++puts % 251), size); /* another value each time */
    assert_int_equal(kv_put(kv, &ref, bytes, size), 0);
}

/* A store of so many small and large values, with free pages. returns its namespace's id */
static uint64_t fill(struct kv_store *kv, int keys, int large)
{
    struct kv_node account, space;

    assert_int_equal(kv_node_make(kv, KV_ACCOUNT, KV_ROOT_ID, "acme", 0, &account), 0);
    assert_int_equal(kv_node_make(kv, KV_NAMESPACE, account.id, "main", 0, &space), 0);
    for (int i = 0; i < keys; i++)
        put(kv, space.id, i, (size_t)i % 700);
    for (int i = 0; i < large; i++)
        put(kv, space.id, keys + i, LARGE);
    for (int i = 0; i < keys; i += 3)
        put(kv, space.id, i, 3);
    return space.id;
}

/* All records of a store that nobody has open, which is sound. */
static struct test_dump records(const char *name)
{
    struct lmdb_options options = {.read_only = true};
    struct kv_error error = {""};
    struct engine *engine = NULL;
    struct test_dump dump;

    assert_int_equal(engine_lmdb_open(below(name), &options, &engine, &error), 0);
    dump = test_dump(engine);
    engine->ops->close(engine);
    return dump;
}

/* Give the bytes of a file. */
static int give_file(void *arg, int fd, struct kv_error *error)
{
    static uint8_t buffer[65536];
    int from = open(arg, O_RDONLY);
    ssize_t got;

    error->text[0] = '\0';
    assert_true(from >= 0);
    while ((got = read(from, buffer, sizeof(buffer))) > 0)
        assert_int_equal(write(fd, buffer, (size_t)got), got);
    close(from);
    return 0;
}

static int restore(const char *stream, const char *name)
{
    const struct kv_restore_options options = {.small_log = true, .fill = give_file, .arg = (void *)below(stream)};
    struct kv_error error = {""};
    int rc = kv_restore(below(name), &options, &error);

    if (rc < 0)
        assert_true(strstr(error.text, "is no copy of a store, or is damaged") != NULL);
    return rc;
}

static void copy(struct kv_store *kv, const char *stream, const struct kv_progress *progress)
{
    int fd = open(below(stream), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    struct kv_error error;
    struct stat file;
    uint64_t bytes;

    assert_true(fd >= 0);
    assert_int_equal(kv_copy(kv, fd, progress, &bytes, &error), 0);
    assert_int_equal(fstat(fd, &file), 0);
    assert_int_equal(file.st_size, bytes);
    close(fd);
}

/* --------------------------------------------------------------------- as of its begin */

struct writing {
    struct kv_store *kv;
    uint64_t space;
    int count;
};

/* A copy is under way; other threads and processes could write just so. */
static void write_meanwhile(void *arg, uint64_t done, uint64_t total)
{
    struct writing *writing = arg;

    assert_true(done <= total);
    put(writing->kv, writing->space, 100000 + writing->count, LARGE);
    put(writing->kv, writing->space, 1, 600);
    /* More than the store's own checkpoints keep from being written over (store/lmdb/README.md, rule 10). */
    for (int i = 0; writing->count == 0 && i < 10 * LARGE_KEYS; i++)
        put(writing->kv, writing->space, KEYS + i % LARGE_KEYS, LARGE);
    writing->count++;
}

static void test_who_writes_meanwhile_does_not_wait_and_is_not_in_it(void **state)
{
    struct kv_store *kv = open_store("written", false);
    struct writing writing = {.kv = kv, .space = fill(kv, KEYS, LARGE_KEYS)};
    const struct kv_progress progress = {write_meanwhile, &writing};
    struct test_dump before, after, now;

    (void)state;
    kv_close(kv);
    before = records("written");
    writing.kv = open_store("written", false);
    copy(writing.kv, "stream", &progress);
    kv_close(writing.kv);
    assert_true(writing.count > 3);
    assert_int_equal(restore("stream", "copied"), 0);
    after = records("copied");
    now = records("written");
    assert_true(test_same(&before, &after));
    assert_false(test_same(&before, &now));
    free(before.data);
    free(after.data);
    free(now.data);
}

/* ---------------------------------------------------------------------------- damage */

static void change_byte(const char *stream, off_t at, uint8_t mask)
{
    int fd = open(below(stream), O_RDWR);
    uint8_t byte;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= mask;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

/* What is found in a restored store. */
static uint64_t findings(const char *name)
{
    const struct kv_check_options options = {0};
    struct kv_check_report report;
    struct kv_store *kv = open_store(name, true);

    if (kv == NULL)
        return 1; /* not opened: a format that nobody knows, or damaged */
    assert_int_equal(kv_check(kv, &options, &report), 0);
    kv_close(kv);
    return report.findings;
}

static void test_a_flipped_bit_is_refused_or_found_or_means_nothing(void **state)
{
    struct test_random random = {test_seed()};
    struct kv_store *kv = open_store("small", false);
    unsigned refused = 0, found = 0;
    struct test_dump sound;
    struct stat file;

    (void)state;
    (void)fill(kv, 400, 1);
    copy(kv, "bits", NULL);
    kv_close(kv);
    sound = records("small");
    assert_int_equal(stat(below("bits"), &file), 0);
    for (uint64_t i = 0; i < test_setting("KVFS_TEST_ROUNDS", ROUNDS); i++) {
        off_t at = (off_t)test_random_below(&random, (size_t)file.st_size);
        uint8_t mask = (uint8_t)(1u << test_random_below(&random, 8));

        if (i % 2 == 0) /* at the head of a page */
            at = at / 4096 * 4096 + at % 64;
        change_byte("bits", at, mask);
        if (restore("bits", "restored") < 0) {
            refused++;
        } else if (findings("restored") > 0) {
            found++;
        } else {
            struct test_dump dump = records("restored");

            if (!test_same(&sound, &dump))
                fail_msg("byte %lld, mask %x: nobody is told", (long long)at, mask);
            free(dump.data);
        }
        assert_int_equal(kv_discard(below("restored")), 0);
        change_byte("bits", at, mask);
    }
    print_message("%u refused, %u found\n", refused, found);
    assert_true(refused + found > 0);
    free(sound.data);
}

/* ------------------------------------------------------------------------------ others */

static void test_what_cannot_be_copied_says_so(void **state)
{
    struct test_store *test = *state;
    struct kv_error error = {""};
    uint64_t before, after;

    assert_int_equal(kv_copy(test->kv, STDOUT_FILENO, NULL, &before, &error), -EOPNOTSUPP);
    assert_string_equal(error.text, "this kind of store cannot be copied");
    assert_int_equal(kv_compact(test->kv, NULL, &before, &after, &error), -EOPNOTSUPP);
    assert_string_equal(error.text, "this kind of store cannot be compacted");
}

static void test_only_a_store_that_nobody_has_open_is_discarded(void **state)
{
    struct kv_store *kv = open_store("open", false);
    int fd;

    (void)state;
    assert_int_equal(kv_discard(below("open")), -EBUSY);
    kv_close(kv);
    fd = open(below("open/mine"), O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(kv_discard(below("open")), -ENOTEMPTY);
    kv = open_store("open", false);
    assert_non_null(kv);
    kv_close(kv);
    unlink(below("open/mine"));
    assert_int_equal(kv_discard(below("open")), 0);
    assert_int_equal(rmdir(below("open")), 0);
    assert_int_equal(kv_discard(below("open")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_writes_meanwhile_does_not_wait_and_is_not_in_it),
        cmocka_unit_test(test_a_flipped_bit_is_refused_or_found_or_means_nothing),
        TEST_ON_MEMORY(test_what_cannot_be_copied_says_so),
        cmocka_unit_test(test_only_a_store_that_nobody_has_open_is_discarded),
    };

    return cmocka_run_group_tests(tests, make_top, remove_top);
}
