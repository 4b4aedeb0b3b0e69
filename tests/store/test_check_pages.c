/* Damaged pages of a database file: a check finds them, or they change nothing that can be read; and none of them
 * crashes a process that opens the store and checks it. */
#include "store/record.h"
#include "tests/support/store.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[256];

static int make_directory(void **state)
{
    const char *above = getenv("TMPDIR");

    (void)state;
    snprintf(directory, sizeof(directory), "%s/kvfs-test-check-XXXXXX", above != NULL ? above : "/tmp");
    return mkdtemp(directory) == NULL ? -1 : 0;
}

static const char *in_directory(const char *name)
{
    static char path[300];

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    return path;
}

static int remove_directory(void **state)
{
    (void)state;
    unlink(in_directory("data.mdb"));
    unlink(in_directory("lock.mdb"));
    return rmdir(directory);
}

enum { PAGE = 4096, PATTERNS = 4, PAGE_MAP = 8 << 20 };

static uint8_t *read_file(size_t *size)
{
    int fd = open(in_directory("data.mdb"), O_RDONLY);
    off_t end = lseek(fd, 0, SEEK_END);
    uint8_t *bytes = malloc((size_t)end);

    assert_true(fd >= 0 && end > 0);
    assert_non_null(bytes);
    assert_int_equal(pread(fd, bytes, (size_t)end, 0), end);
    close(fd);
    *size = (size_t)end;
    return bytes;
}

static void write_page(size_t page, const uint8_t *bytes)
{
    int fd = open(in_directory("data.mdb"), O_WRONLY);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, PAGE, (off_t)(page * PAGE)), PAGE);
    close(fd);
}

static void spoil(uint8_t *page, int pattern, struct test_random *random)
{
    switch (pattern) {
    case 0:
        memset(page, 0, PAGE);
        break;
    case 1:
        test_random_fill(random, page, PAGE);
        break;
    case 2: /* the header, and where the nodes are */
        page[8 + test_random_below(random, 40)] ^= (uint8_t)(1u << test_random_below(random, 8));
        break;
    default:
        page[test_random_below(random, PAGE)] ^= (uint8_t)(1u << test_random_below(random, 8));
        break;
    }
}

enum verdict { CLEAN = 10, FOUND, REFUSED };

/* In a process of its own, since a database library could answer a damaged page with a signal. */
static int judge(uint64_t dump)
{
    struct kv_options options = kv_options_default();
    struct kv_check_options check = {0};
    struct kv_check_report report;
    struct kv_error error = {""};
    struct test_dump found;
    struct engine *engine;
    struct kv_store *kv;
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(60);
        options.read_only = true;
        if (engine_lmdb_open(directory, false, true, PAGE_MAP, &engine, &error) < 0)
            _exit(REFUSED);
        options.engine = engine;
        if (kv_open(directory, &options, &kv, &error) < 0)
            _exit(REFUSED);
        if (kv_check(kv, &check, &report) != 0)
            _exit(1);
        if (report.findings > 0)
            _exit(FOUND);
        found = test_dump(engine);
        _exit(record_checksum(found.data, found.size) == dump ? CLEAN : 2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* Enough of everything that each tree has branches. returns  the checksum of a dump */
static uint64_t make_large_store(size_t *used_pages)
{
    struct engine *engine;
    struct kv_options options = kv_options_default();
    struct kv_error error = {""};
    struct kv_node account, space;
    struct test_dump dump;
    struct kv_store *kv;
    uint64_t checksum, used, limit;
    char bytes[9000];

    assert_int_equal(engine_lmdb_open(directory, true, false, PAGE_MAP, &engine, &error), 0);
    options.engine = engine;
    assert_int_equal(kv_open(directory, &options, &kv, &error), 0);
    assert_int_equal(kv_node_make(kv, KV_ACCOUNT, KV_ROOT_ID, "acme", 0, &account), 0);
    assert_int_equal(kv_node_make(kv, KV_NAMESPACE, account.id, "main", 0, &space), 0);
    memset(bytes, 'x', sizeof(bytes));
    for (int i = 0; i < 60; i++) {
        char name[32];
        int size = snprintf(name, sizeof(name), "key%d", i);
        struct kv_ref ref = kv_ref_key(space.id, name, (size_t)size);

        assert_int_equal(kv_put(kv, &ref, bytes, i % 10 == 0 ? sizeof(bytes) : 300), 0);
        snprintf(name, sizeof(name), "account%d", i);
        if (i < 20)
            assert_int_equal(kv_node_make(kv, KV_ACCOUNT, KV_ROOT_ID, name, 0, &account), 0);
    }
    dump = test_dump(engine);
    checksum = record_checksum(dump.data, dump.size);
    free(dump.data);
    engine->ops->usage(engine, &used, &limit);
    *used_pages = used / PAGE;
    kv_close(kv);
    return checksum;
}

static void a_damaged_page_is_found_and_never_a_crash(void **state)
{
    struct test_random random = {44};
    unsigned verdicts[16] = {0};
    uint8_t page[PAGE], *bytes;
    size_t size, used;
    uint64_t dump = make_large_store(&used);

    (void)state;
    bytes = read_file(&size);
    assert_int_equal(judge(dump), CLEAN);
    for (size_t i = 0; i < used; i++) {
        for (int pattern = 0; pattern < PATTERNS; pattern++) {
            int verdict;

            memcpy(page, bytes + i * PAGE, PAGE);
            spoil(page, pattern, &random);
            write_page(i, page);
            verdict = judge(dump);
            if (verdict < CLEAN)
                fail_msg("page %zu, pattern %d: %d", i, pattern, verdict);
            verdicts[verdict]++;
        }
        write_page(i, bytes + i * PAGE);
    }
    print_message("%u clean, %u found, %u refused\n", verdicts[CLEAN], verdicts[FOUND], verdicts[REFUSED]);
    assert_true(verdicts[FOUND] > 50 && verdicts[REFUSED] > 0);
    assert_int_equal(judge(dump), CLEAN);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_damaged_page_is_found_and_never_a_crash, make_directory,
                                        remove_directory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
