/* Damaged pages of a database file: a check finds them, or they change nothing that can be read; and none of them
 * crashes a process that opens the store and checks it. */
#include "store/base/record.h"
#include "tests/support/store.h"

#include <errno.h>
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
    unlink(in_directory("writer"));
    unlink(in_directory("log"));
    return rmdir(directory);
}

enum { PAGE = 4096, PATTERNS = 4, PAGE_MAP = 8 << 20, KEYS = 60, LARGE = 9000, SMALL = 300 };

static uint64_t space_id;   /* of the namespace with the keys */
static uint64_t sound_dump; /* checksum of all records */
static uint8_t *file;       /* the sound one */
static size_t file_size, used_pages;
static uint8_t checkpoints[12288]; /* the begin of the log of the sound one */

static void write_page(size_t number, const uint8_t *bytes)
{
    int fd = open(in_directory("data.mdb"), O_WRONLY);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, PAGE, (off_t)(number * PAGE)), PAGE);
    close(fd);
}

/* Let the store be as it was: a damaged header is made good by a recovery, which writes other pages, too. */
static void restore_file(void)
{
    int fd = open(in_directory("data.mdb"), O_WRONLY), log = open(in_directory("log"), O_WRONLY);

    assert_true(fd >= 0 && log >= 0);
    assert_int_equal(pwrite(fd, file, file_size, 0), file_size);
    assert_int_equal(pwrite(log, checkpoints, sizeof(checkpoints), 0), sizeof(checkpoints));
    close(fd);
    close(log);
}

static void read_file(void)
{
    int fd = open(in_directory("data.mdb"), O_RDONLY), log = open(in_directory("log"), O_RDONLY);
    off_t end = lseek(fd, 0, SEEK_END);

    assert_int_equal(pread(log, checkpoints, sizeof(checkpoints), 0), sizeof(checkpoints));
    close(log);

    assert_true(fd >= 0 && end > 0);
    file_size = (size_t)end;
    file = malloc(file_size);
    assert_non_null(file);
    assert_int_equal(pread(fd, file, file_size, 0), end);
    close(fd);
}

static struct kv_ref key(int number)
{
    char name[32];
    int size = snprintf(name, sizeof(name), "key%d", number);

    return kv_ref_key(space_id, name, (size_t)size);
}

static size_t size_of(int number) { return number % 10 == 0 ? LARGE : SMALL; }

static uint64_t checksum_of(struct engine *engine)
{
    struct test_dump dump = test_dump(engine);
    uint64_t checksum = record_checksum(dump.data, dump.size);

    free(dump.data);
    return checksum;
}

/* Enough of everything that the trees have branches. */
static int make_store(void **state)
{
    static uint8_t bytes[LARGE];
    struct kv_options options = kv_options_default();
    struct kv_error error = {""};
    struct kv_node account, space;
    struct engine *engine;
    struct kv_storage storage = {0};
    struct kv_store *kv;

    assert_int_equal(make_directory(state), 0);
    assert_int_equal(engine_lmdb_open(directory, &(struct lmdb_options){.create = true, .map_bytes = PAGE_MAP},
                                      &engine, &error),
                     0);
    options.backend = test_backend(engine);
    assert_int_equal(kv_open(directory, &options, &kv, &error), 0);
    assert_int_equal(kv_node_make(kv, KV_ACCOUNT, KV_ROOT_ID, "acme", 0, &account), 0);
    assert_int_equal(kv_node_make(kv, KV_NAMESPACE, account.id, "main", 0, &space), 0);
    space_id = space.id;
    memset(bytes, 'x', sizeof(bytes));
    for (int i = 0; i < KEYS; i++) {
        struct kv_ref ref = key(i);
        char name[32];

        assert_int_equal(kv_put(kv, &ref, bytes, size_of(i)), 0);
        snprintf(name, sizeof(name), "account%d", i);
        if (i < KEYS / 3)
            assert_int_equal(kv_node_make(kv, KV_ACCOUNT, KV_ROOT_ID, name, 0, &account), 0);
    }
    sound_dump = checksum_of(engine);
    engine->ops->usage(engine, &storage);
    used_pages = storage.used_bytes / PAGE;
    kv_close(kv);
    read_file();
    return 0;
}

static int remove_store(void **state)
{
    free(file);
    return remove_directory(state);
}

/* ------------------------------------------------------------------------- children */

enum verdict { REFUSED = 10, CLEAN, FOUND, USED };

enum how { READ_ONLY, VERIFIED };
enum { ALL_PAGES = 100000, ACCOUNTS = KEYS / 3 + 1 };

static struct kv_store *open_or_exit(enum how how, struct engine **engine)
{
    struct kv_options options = kv_options_default();
    struct kv_error error = {""};
    struct kv_store *kv;

    options.read_only = how == READ_ONLY;
    options.verify_pages = ALL_PAGES;
    options.create = false;
    options.cache_bytes = 0;
    if (engine_lmdb_open(directory, &(struct lmdb_options){.read_only = options.read_only, .map_bytes = PAGE_MAP},
                         engine, &error) < 0 ||
        (options.backend = test_backend(*engine)) == NULL || kv_open(directory, &options, &kv, &error) < 0)
        _exit(strncmp(error.text, directory, strlen(directory)) == 0 && strchr(error.text, '\n') == NULL ? REFUSED
                                                                                                         : 1);
    return kv;
}

/* Of the pages, which is what an open verifies. */
static void count_database(void *arg, const struct kv_finding *finding)
{
    unsigned *count = arg;

    *count += strcmp(finding->kind, "database") == 0;
}

static int check_opened(enum how how)
{
    unsigned in_database = 0;
    struct kv_check_options options = {.found = count_database, .arg = &in_database};
    struct kv_check_report report;
    struct engine *engine;
    struct kv_store *kv = open_or_exit(how, &engine);

    if (kv_check(kv, &options, &report) != 0)
        return 2;
    if (in_database > 0 || (how == READ_ONLY && report.findings > 0))
        return FOUND;
    return report.findings > 0 || checksum_of(engine) == sound_dump ? CLEAN : 3;
}

static int check_it(void) { return check_opened(READ_ONLY); }
static int open_and_check_it(void) { return check_opened(VERIFIED); }

/* How often a key's number was listed; and how many accounts. */
struct listed {
    unsigned keys[KEYS], accounts;
};

static int note_key(void *arg, const char *name, size_t size, const struct kv_meta *meta)
{
    struct listed *listed = arg;
    struct kv_ref ref = key(atoi(name + 3));

    (void)meta;
    if (ref.size != size || memcmp(ref.key, name, size) != 0 || atoi(name + 3) >= KEYS)
        return 1;
    listed->keys[atoi(name + 3)]++;
    return 0;
}

static int note_account(void *arg, const struct kv_node *node)
{
    struct listed *listed = arg;

    (void)node;
    listed->accounts++;
    return 0;
}

/* A listing without an error has everything. */
static int list_opened(struct kv_store *kv)
{
    struct listed listed = {0};
    int rc = kv_scan(kv, space_id, "", 0, false, note_key, &listed);

    if (rc > 0)
        return 3;
    for (int i = 0; rc == 0 && i < KEYS; i++)
        if (listed.keys[i] != 1)
            return 4;
    rc = kv_node_scan(kv, KV_ROOT_ID, "", 0, false, note_account, &listed);
    return rc == 0 && listed.accounts != ACCOUNTS ? 5 : USED;
}

/* Read everything. Of a value is said what it is, or that it cannot be read; not that it is not there. */
static int read_opened(struct kv_store *kv)
{
    for (int i = 0; i < KEYS; i++) {
        struct kv_ref ref = key(i);
        struct kv_value *value;
        struct kv_meta meta;
        struct kv_xattrs xattrs;
        int rc = kv_get(kv, &ref, &meta, &value, NULL);

        if (rc == -ENOENT || kv_xattrs_get(kv, &ref, &xattrs) == -ENOENT)
            return 6;
        if (rc < 0)
            continue;
        if (value->size != size_of(i))
            return 7;
        for (size_t at = 0; at < value->size; at++)
            if (value->data[at] != 'x')
                return 8;
        kv_value_unref(value);
    }
    return list_opened(kv);
}

static int read_it(void)
{
    struct engine *engine;

    return read_opened(open_or_exit(READ_ONLY, &engine));
}

/* As a disk that cannot read some pages any more: the map gives a signal for them. */
static int read_what_is_cut_off(void)
{
    struct engine *engine;
    struct kv_store *kv = open_or_exit(READ_ONLY, &engine);
    struct kv_node node;

    if (truncate(in_directory("data.mdb"), 2 * PAGE) < 0)
        return 1;
    if (kv_node_find(kv, KV_ROOT_ID, "acme", 4, &node) != -EIO)
        return 2;
    return read_opened(kv);
}

/* Do it in a process of its own, which a signal could end. returns  its verdict, or the signal as a negative number */
static int in_child(int (*what)(void))
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}; /* which cmocka would catch */

        for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
            signal(signals[i], SIG_DFL);
        alarm(20);
        _exit(what());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* --------------------------------------------------------------------------- damage */

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

/* Damage each page in the first so many ways, and see what becomes of it. */
static void with_each_page(int patterns, int (*what)(void), unsigned *verdicts)
{
    struct test_random random = {44};
    uint8_t page[PAGE];

    for (size_t i = 0; i < used_pages; i++) {
        for (int pattern = 0; pattern < patterns; pattern++) {
            int verdict;

            memcpy(page, file + i * PAGE, PAGE);
            spoil(page, pattern, &random);
            write_page(i, page);
            verdict = in_child(what);
            if (verdict < REFUSED)
                fail_msg("page %zu, pattern %d: %d", i, pattern, verdict);
            verdicts[verdict]++;
            restore_file();
        }
    }
}

static void a_check_finds_damaged_pages_and_survives_them(void **state)
{
    unsigned verdicts[16] = {0};

    (void)state;
    assert_int_equal(in_child(check_it), CLEAN);
    with_each_page(PATTERNS, check_it, verdicts);
    print_message("%u clean, %u found, %u refused\n", verdicts[CLEAN], verdicts[FOUND], verdicts[REFUSED]);
    assert_true(verdicts[FOUND] > 50 && verdicts[REFUSED] > 0);
    assert_int_equal(in_child(check_it), CLEAN);
}

static void a_verified_open_refuses_what_a_check_would_find(void **state)
{
    unsigned verdicts[16] = {0};

    (void)state;
    with_each_page(PATTERNS, open_and_check_it, verdicts);
    assert_int_equal(verdicts[FOUND], 0);
    assert_true(verdicts[REFUSED] > 50 && verdicts[CLEAN] > 0);
}

static void reading_damaged_pages_gives_the_value_or_an_error(void **state)
{
    unsigned verdicts[16] = {0};

    (void)state;
    assert_int_equal(in_child(read_it), USED);
    with_each_page(PATTERNS, read_it, verdicts);
    assert_true(verdicts[USED] > 50 && verdicts[REFUSED] > 0);
}

static void reading_pages_that_are_gone_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(in_child(read_what_is_cut_off), USED);
}

/* --------------------------------------------------------------- pages that were crafted */

static unsigned u16_of(const uint8_t *page, size_t at) { return (unsigned)(page[at] | page[at + 1] << 8); }

static void set_u16(uint8_t *page, size_t at, unsigned value)
{
    page[at] = (uint8_t)value;
    page[at + 1] = (uint8_t)(value >> 8);
}

enum { FLAGS = 10, LOWER = 12, UPPER = 14, NODES = 16, IS_LEAF = 2 };

static unsigned nodes_of(const uint8_t *page) { return (u16_of(page, LOWER) - NODES) / 2; }

/* The size of a node's value, at the node. Of a table or a value elsewhere this is no good. */
static size_t an_inline_node(const uint8_t *page)
{
    for (unsigned i = 0; i < nodes_of(page); i++) {
        size_t at = u16_of(page, NODES + 2 * i);

        if (u16_of(page, at + 4) == 0 && u16_of(page, at) > 16 && at + 400 < PAGE)
            return at;
    }
    return 0;
}

static bool let_a_node_reach_into_the_next(uint8_t *page)
{
    size_t at = an_inline_node(page);

    if (at > 0)
        set_u16(page, at, u16_of(page, at) + 8);
    return at > 0;
}

static bool let_a_node_be_shorter(uint8_t *page)
{
    size_t at = an_inline_node(page);

    if (at > 0)
        set_u16(page, at, u16_of(page, at) - 8);
    return at > 0;
}

static bool let_upper_be_lower(uint8_t *page)
{
    if (u16_of(page, UPPER) < u16_of(page, LOWER) + 2)
        return false;
    set_u16(page, UPPER, u16_of(page, UPPER) - 2);
    return true;
}

static bool let_it_be_dirty(uint8_t *page)
{
    set_u16(page, FLAGS, IS_LEAF | 0x10);
    return true;
}

static bool let_it_be_loose(uint8_t *page)
{
    set_u16(page, FLAGS, IS_LEAF | 0x4000);
    return true;
}

/* Of the first table, at its node's value. */
static uint8_t *a_table(uint8_t *page)
{
    size_t at = u16_of(page, NODES);

    return nodes_of(page) == 6 && u16_of(page, at + 4) == 2 ? page + at + 8 + u16_of(page, at + 6) : NULL;
}

static bool let_a_table_have_many_values_a_key(uint8_t *page)
{
    uint8_t *table = a_table(page);

    if (table != NULL)
        set_u16(table, 4, 4);
    return table != NULL;
}

static bool let_a_table_be_deep(uint8_t *page)
{
    uint8_t *table = a_table(page);

    if (table != NULL)
        set_u16(table, 6, 40);
    return table != NULL;
}

/* Key: a transaction; value: a count and so many numbers. */
static uint8_t *free_pages(uint8_t *page)
{
    size_t at = u16_of(page, NODES);
    uint64_t count;

    if (u16_of(page, at + 6) != 8 || u16_of(page, at + 4) != 0)
        return NULL;
    memcpy(&count, page + at + 16, sizeof(count));
    return count >= 2 && u16_of(page, at) == 8 * (count + 1) ? page + at + 16 : NULL;
}

static bool let_free_pages_be_out_of_order(uint8_t *page)
{
    uint8_t *set = free_pages(page), first[8];

    if (set == NULL)
        return false;
    memcpy(first, set + 8, 8);
    memcpy(set + 8, set + 16, 8);
    memcpy(set + 16, first, 8);
    return true;
}

static bool let_free_pages_be_of_the_future(uint8_t *page)
{
    uint8_t *set = free_pages(page);

    if (set != NULL)
        set[-2] = 1; /* of the key before it */
    return set != NULL;
}

/* Each of these was sound as far as single nodes, their keys and their pages go. */
static void what_no_lmdb_writes_is_found(void **state)
{
    static bool (*const crafts[])(uint8_t *) = {
        let_a_node_reach_into_the_next,
        let_a_node_be_shorter,
        let_upper_be_lower,
        let_it_be_dirty,
        let_it_be_loose,
        let_a_table_have_many_values_a_key,
        let_a_table_be_deep,
        let_free_pages_be_out_of_order,
        let_free_pages_be_of_the_future,
    };

    (void)state;
    for (size_t craft = 0; craft < sizeof(crafts) / sizeof(crafts[0]); craft++) {
        unsigned found = 0;

        for (size_t i = 2; i < used_pages; i++) {
            uint8_t page[PAGE];
            int verdict;

            memcpy(page, file + i * PAGE, PAGE);
            if (u16_of(page, FLAGS) != IS_LEAF || nodes_of(page) == 0 || !crafts[craft](page))
                continue;
            write_page(i, page);
            verdict = in_child(open_and_check_it);
            if (verdict < REFUSED)
                fail_msg("page %zu, craft %zu: %d", i, craft, verdict);
            found += verdict == REFUSED;
            write_page(i, file + i * PAGE);
        }
        if (found == 0)
            fail_msg("craft %zu was not found", craft);
    }
}

#define IN_STORE(f) cmocka_unit_test_setup_teardown(f, make_store, remove_store)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_STORE(a_check_finds_damaged_pages_and_survives_them),
        IN_STORE(a_verified_open_refuses_what_a_check_would_find),
        IN_STORE(what_no_lmdb_writes_is_found),
        IN_STORE(reading_damaged_pages_gives_the_value_or_an_error),
        IN_STORE(reading_pages_that_are_gone_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
