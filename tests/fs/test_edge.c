/* Mounts of one store as edge nodes: how long they may disagree, and what they may then say.
 *
 * Values of a key are numbered: value i has 100 + i bytes, all the letter 'a' + i, and (by utimens) the mtime i.
 * So size, mtime and content each tell which value they belong to, and must agree about it. */
#include "tests/support/mount.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>

#define TTL "cache_ttl=2"
/* A node may serve what it knows for 2 s; what the machine needs to notice comes on top. */
enum { TTL_MS = 2000, GRACE_MS = 1000, ABSENT = -1 };

#define A(...) mount_path(&((struct mount_test *)*state)->nodes[0], __VA_ARGS__)
#define B(...) mount_path(&((struct mount_test *)*state)->nodes[1], __VA_ARGS__)

/* ------------------------------------------------------------------------ values */

static void put_value(const char *path, int value)
{
    const struct timespec times[2] = {{value, 0}, {value, 0}};
    char bytes[200];
    int fd = (int)MOUNT_OK(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));

    memset(bytes, 'a' + value, sizeof(bytes));
    assert_int_equal(MOUNT_OK(write(fd, bytes, (size_t)(100 + value))), 100 + value);
    MOUNT_OK(futimens(fd, times)); /* with the put: the value and its time are never seen apart */
    MOUNT_OK(close(fd));
}

static int value_of_stat(const struct stat *attr)
{
    int value = (int)attr->st_size - 100;

    assert_in_range(value, 0, 25);
    assert_int_equal(attr->st_mtim.tv_sec, value);
    return value;
}

/* Which value stat says is there; ABSENT where it says ENOENT. */
static int value_by_stat(const char *path)
{
    struct stat attr;

    if (stat(path, &attr) == 0)
        return value_of_stat(&attr);
    assert_int_equal(errno, ENOENT);
    return ABSENT;
}

static int value_of_bytes(const char *bytes, ssize_t size)
{
    int value = (int)size - 100;

    assert_in_range(value, 0, 25);
    for (ssize_t i = 0; i < size; i++)
        assert_int_equal(bytes[i], 'a' + value);
    return value;
}

static int value_by_fd(int fd)
{
    char bytes[200];

    return value_of_bytes(bytes, MOUNT_OK(pread(fd, bytes, sizeof(bytes), 0)));
}

/* Which value an open, its fstat and its reads show: one and the same. */
static int value_by_read(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), value;
    struct stat attr;

    if (fd < 0) {
        assert_int_equal(errno, ENOENT);
        return ABSENT;
    }
    value = value_by_fd(fd);
    MOUNT_OK(fstat(fd, &attr));
    assert_int_equal(value_of_stat(&attr), value);
    MOUNT_OK(close(fd));
    return value;
}

/* Which value a listing shows, as ls -l does. */
static int value_by_listing(const char *dir_path, const char *key)
{
    DIR *dir = opendir(dir_path);
    struct dirent *entry;
    struct stat attr;
    int value = ABSENT;

    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL)
        if (strcmp(entry->d_name, key) == 0 && fstatat(dirfd(dir), key, &attr, 0) == 0)
            value = value_of_stat(&attr);
    closedir(dir);
    return value;
}

/* ---------------------------------------------------------------- seen elsewhere in time */

/* Look at a/n/key on B in every way until all show `new`. Nothing but `old` and `new` may be seen, `old` never
 * again once `new` was, and `old` not by a look that begins TTL after `since`, the end of the change. (Listings
 * come from the central. What one does not show may still be known to the node: a delete shows there first.) */
static void expect_change(void **state, int old, int new, int64_t since_ms)
{
    bool turned = false;

    for (int looks = 0; looks < 3;) {
        int64_t began_ms = mount_now_ms();
        int seen[] = {value_by_stat(B("a/n/key")), value_by_read(B("a/n/key")), value_by_stat(B("a/n/key")),
                      value_by_listing(B("a/n"), "key"), value_by_read(B("a/n/key"))};

        if (new == ABSENT && seen[3] == ABSENT)
            seen[3] = seen[2];
        for (size_t i = 0; i < sizeof(seen) / sizeof(seen[0]); i++) {
            if (seen[i] != new && (seen[i] != old || turned))
                fail_msg("look %zu shows %d: neither the old value %d nor %d%s", i, seen[i], old, new,
                         turned ? ", which was seen before" : "");
            turned |= seen[i] == new;
            if (!turned && began_ms > since_ms + TTL_MS + GRACE_MS)
                fail_msg("look %zu, %lld ms after the change, shows the old value", i,
                         (long long)(began_ms - since_ms));
        }
        looks += turned;
        mount_pause_ms(turned ? 1 : 20);
    }
}

static struct mount_node *start_b(void **state) { return mount_start(*state, TTL); }

static void a_write_is_seen_at_once_here_and_in_time_elsewhere(void **state)
{
    start_b(state);
    put_value(A("a/n/key"), 1);
    assert_int_equal(value_by_read(B("a/n/key")), 1);
    for (int value = 2; value <= 3; value++) {
        put_value(A("a/n/key"), value);
        assert_int_equal(value_by_read(A("a/n/key")), value);
        assert_int_equal(value_by_stat(A("a/n/key")), value);
        expect_change(state, value - 1, value, mount_now_ms());
    }
}

static void a_smaller_value_is_seen_in_time_elsewhere(void **state)
{
    start_b(state);
    put_value(A("a/n/key"), 9);
    assert_int_equal(value_by_read(B("a/n/key")), 9);
    put_value(A("a/n/key"), 2);
    expect_change(state, 9, 2, mount_now_ms());
}

static void a_delete_is_seen_at_once_here_and_in_time_elsewhere(void **state)
{
    start_b(state);
    put_value(A("a/n/key"), 1);
    assert_int_equal(value_by_read(B("a/n/key")), 1);
    MOUNT_OK(unlink(A("a/n/key")));
    assert_int_equal(value_by_stat(A("a/n/key")), ABSENT);
    expect_change(state, 1, ABSENT, mount_now_ms());
}

static void a_creation_is_seen_in_time_where_the_absence_is_known(void **state)
{
    start_b(state);
    assert_int_equal(value_by_read(B("a/n/key")), ABSENT);
    assert_int_equal(value_by_read(A("a/n/key")), ABSENT);
    put_value(A("a/n/key"), 1);
    assert_int_equal(value_by_read(A("a/n/key")), 1);
    expect_change(state, ABSENT, 1, mount_now_ms());
}

static void a_rename_is_seen_in_time_elsewhere(void **state)
{
    int64_t since_ms;

    start_b(state);
    put_value(A("a/n/key"), 1);
    put_value(A("a/n/temporary"), 2);
    assert_int_equal(value_by_read(B("a/n/key")), 1);
    assert_int_equal(value_by_read(B("a/n/temporary")), 2);
    MOUNT_OK(rename(A("a/n/temporary"), A("a/n/key")));
    assert_int_equal(value_by_read(A("a/n/key")), 2);
    assert_int_equal(value_by_read(A("a/n/temporary")), ABSENT);
    since_ms = mount_now_ms();
    expect_change(state, 1, 2, since_ms);
    while (value_by_read(B("a/n/temporary")) != ABSENT) {
        assert_int_equal(value_by_stat(B("a/n/key")), 2);
        assert_true(mount_now_ms() <= since_ms + TTL_MS + GRACE_MS);
        mount_pause_ms(20);
    }
    assert_int_equal(value_by_stat(B("a/n/temporary")), ABSENT);
}

static void kvctl_is_a_node_like_any_other(void **state)
{
    char text[200];

    start_b(state);
    put_value(A("a/n/key"), 1);
    assert_int_equal(mount_stat(B("a/n/key")).st_size, 101);
    memset(text, 'x', 50);
    text[50] = '\0';
    MOUNT_KVCTL(*state, "put", "a/n/key", text);
    for (int64_t since_ms = mount_now_ms(); strcmp(mount_text(B("a/n/key")), text) != 0; mount_pause_ms(20)) {
        assert_true(mount_now_ms() <= since_ms + TTL_MS + GRACE_MS);
        assert_int_equal(strlen(mount_text(B("a/n/key"))) % 51, 50); /* 50 or 101: nothing between */
    }
    assert_int_equal(mount_stat(B("a/n/key")).st_size, 50);
    MOUNT_KVCTL(*state, "delete", "a/n/key");
    for (int64_t since_ms = mount_now_ms(); mount_is_there(B("a/n/key")); mount_pause_ms(20))
        assert_true(mount_now_ms() <= since_ms + TTL_MS + GRACE_MS);
}

static void attributes_are_seen_in_time_elsewhere(void **state)
{
    start_b(state);
    put_value(A("a/n/key"), 1);
    assert_int_equal(mount_stat(B("a/n/key")).st_mode & 0777, 0644);
    MOUNT_OK(chmod(A("a/n/key"), 0600));
    for (int64_t since_ms = mount_now_ms(); (mount_stat(B("a/n/key")).st_mode & 0777) != 0600;
         mount_pause_ms(20)) {
        assert_int_equal(mount_stat(B("a/n/key")).st_mode & 0777 & ~044u, 0600);
        assert_true(mount_now_ms() <= since_ms + TTL_MS + GRACE_MS);
    }
    assert_int_equal(value_by_read(B("a/n/key")), 1);
}

static void namespaces_and_accounts_are_seen_in_time_elsewhere(void **state)
{
    int64_t since_ms;

    start_b(state);
    assert_false(mount_is_there(B("b")));
    assert_false(mount_is_there(B("a/m")));
    MOUNT_OK(mkdir(A("b"), 0755));
    MOUNT_OK(mkdir(A("a/m"), 0755));
    MOUNT_OK(rmdir(A("a/n")));
    since_ms = mount_now_ms();
    while (!mount_is_there(B("b")) || !mount_is_there(B("a/m")) || mount_is_there(B("a/n"))) {
        assert_true(mount_now_ms() <= since_ms + TTL_MS + GRACE_MS);
        mount_pause_ms(20);
    }
    mount_expect_list(B("."), "a b");
    mount_expect_list(B("a"), "m");
}

/* With the default ttl of a minute: what a listing showed is not taken back by the caches. */
static void what_a_listing_showed_is_what_is_read_then(void **state)
{
    mount_start(*state, NULL);
    put_value(A("a/n/key"), 1);
    assert_int_equal(value_by_read(B("a/n/key")), 1);
    assert_int_equal(value_by_read(B("a/n/new")), ABSENT);
    put_value(A("a/n/key"), 2);
    put_value(A("a/n/new"), 3);
    if (value_by_listing(B("a/n"), "key") == 2)
        assert_int_equal(value_by_read(B("a/n/key")), 2);
    mount_expect_list(B("a/n"), "key new");
    assert_int_equal(value_by_stat(B("a/n/new")), 3);
    assert_int_equal(value_by_read(B("a/n/new")), 3);
}

/* A node that has a value may serve it for a minute, and asks nobody. */
static void a_value_is_served_from_the_cache(void **state)
{
    mount_start(*state, "invalidate=ttl");
    put_value(A("a/n/key"), 1);
    assert_int_equal(value_by_read(B("a/n/key")), 1);
    put_value(A("a/n/key"), 2);
    assert_int_equal(value_by_read(B("a/n/key")), 1);
    assert_int_equal(value_by_stat(B("a/n/key")), 1);
}

/* -------------------------------------------------------------------- open files */

static void an_open_file_shows_the_value_that_it_opened(void **state)
{
    struct stat attr;
    char *map;
    int fd;

    mount_start(*state, "cache_ttl=0");
    put_value(A("a/n/key"), 0);
    fd = (int)MOUNT_OK(open(B("a/n/key"), O_RDONLY | O_CLOEXEC));
    map = mmap(NULL, 100, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    for (int value = 1; value <= 20; value++) {
        put_value(A("a/n/key"), value);
        assert_int_equal(value_by_read(B("a/n/key")), value); /* a new open shows the new value */
        assert_int_equal(value_by_stat(B("a/n/key")), value);
        assert_int_equal(value_by_fd(fd), 0);
        assert_int_equal(value_of_bytes(map, 100), 0);
        MOUNT_OK(fstat(fd, &attr));
        assert_int_equal(value_of_stat(&attr), 0);
    }
    MOUNT_OK(unlink(A("a/n/key")));
    assert_int_equal(value_by_read(B("a/n/key")), ABSENT);
    assert_int_equal(value_by_fd(fd), 0);
    MOUNT_OK(munmap(map, 100));
    MOUNT_OK(close(fd));
}

/* The second half is asked for when the value has long been replaced. */
static void a_half_read_large_value_is_read_to_its_end(void **state)
{
    enum { SIZE = 20000000 };
    uint8_t *old = mount_bytes(1, SIZE), *new = mount_bytes(2, SIZE), *got = malloc(SIZE), *map;
    int fd, mapped;

    assert_non_null(got);
    mount_start(*state, "cache_ttl=0");
    mount_write(A("a/n/key"), old, SIZE);
    fd = (int)MOUNT_OK(open(B("a/n/key"), O_RDONLY | O_CLOEXEC));
    mapped = (int)MOUNT_OK(open(B("a/n/key"), O_RDONLY | O_CLOEXEC));
    map = mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, mapped, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    MOUNT_OK(close(mapped)); /* the mapping keeps the file open */
    assert_int_equal(MOUNT_OK(pread(fd, got, 1000, 0)), 1000);
    for (int i = 0; i < 3; i++) {
        mount_write(A("a/n/key"), new, SIZE);
        mount_expect(B("a/n/key"), new, SIZE);
    }
    for (size_t at = 1000; at < SIZE;)
        at += (size_t)MOUNT_OK(pread(fd, got + at, SIZE - at, (off_t)at));
    assert_memory_equal(got, old, SIZE);
    assert_memory_equal(map, old, SIZE);
    MOUNT_OK(munmap(map, SIZE));
    MOUNT_OK(close(fd));
    mount_expect(B("a/n/key"), new, SIZE);
    free(old);
    free(new);
    free(got);
}

/* The last put wins, as between any two nodes; each node sees its own at once. */
static void writers_on_two_nodes_replace_whole_values(void **state)
{
    mount_start(*state, "cache_ttl=0");
    for (int value = 1; value < 20; value += 2) {
        int fd = (int)MOUNT_OK(open(B("a/n/key"), O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
        const struct timespec times[2] = {{value + 1, 0}, {value + 1, 0}};
        char bytes[200];

        put_value(A("a/n/key"), value); /* meanwhile */
        MOUNT_OK(ftruncate(fd, 0));
        memset(bytes, 'a' + value + 1, sizeof(bytes));
        MOUNT_OK(write(fd, bytes, (size_t)(101 + value)));
        MOUNT_OK(futimens(fd, times));
        MOUNT_OK(close(fd));
        assert_int_equal(value_by_read(B("a/n/key")), value + 1);
        assert_int_equal(value_by_stat(B("a/n/key")), value + 1);
    }
}

/* ------------------------------------------------------------------------ strong mode */

static void without_a_ttl_every_change_is_seen_at_the_next_open(void **state)
{
    mount_start(*state, "cache_ttl=0");
    for (int round = 0; round < 4; round++) {
        assert_int_equal(value_by_read(B("a/n/key")), ABSENT);
        for (int value = 25; value >= 0; value--) {
            put_value(A("a/n/key"), value);
            if (value % 2 == 0)
                assert_int_equal(value_by_stat(B("a/n/key")), value);
            assert_int_equal(value_by_read(B("a/n/key")), value);
            assert_int_equal(value_by_listing(B("a/n"), "key"), value);
        }
        put_value(A("a/n/temporary"), 7);
        MOUNT_OK(rename(A("a/n/temporary"), A("a/n/key")));
        assert_int_equal(value_by_stat(B("a/n/key")), 7);
        assert_int_equal(value_by_read(B("a/n/key")), 7);
        assert_int_equal(value_by_read(B("a/n/temporary")), ABSENT);
        MOUNT_OK(unlink(A("a/n/key")));
    }
    MOUNT_KVCTL(*state, "put", "a/n/key", "from kvctl");
    mount_expect_text(B("a/n/key"), "from kvctl");
    MOUNT_KVCTL(*state, "put", "a/n/key", "again");
    mount_expect_text(B("a/n/key"), "again");
    MOUNT_OK(mkdir(A("a/m"), 0755));
    assert_true(mount_is_there(B("a/m")));
    MOUNT_OK(rmdir(A("a/m")));
    assert_false(mount_is_there(B("a/m")));
}

/* Neither size nor mtime tells such values apart. */
static void a_value_of_the_same_size_and_time_is_told_from_the_one_before(void **state)
{
    static const struct timespec times[2] = {{1, 0}, {1, 0}};

    mount_start(*state, "cache_ttl=0");
    for (int i = 0; i < 50; i++) {
        char bytes[5000];
        int fd = (int)MOUNT_OK(open(A("a/n/key"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));

        memset(bytes, 'A' + i % 26, sizeof(bytes));
        assert_int_equal(MOUNT_OK(write(fd, bytes, sizeof(bytes))), sizeof(bytes));
        MOUNT_OK(futimens(fd, times));
        MOUNT_OK(close(fd));
        mount_expect(B("a/n/key"), bytes, sizeof(bytes));
        mount_expect(A("a/n/key"), bytes, sizeof(bytes));
    }
}

/* Own changes need no ttl: each of the ways to make one shows in each of the ways to look, at once. */
static void a_node_sees_its_own_changes_at_once(void **state)
{
    for (int round = 0; round < 3; round++) {
        assert_int_equal(value_by_stat(A("a/n/key")), ABSENT);
        put_value(A("a/n/key"), 1);
        assert_int_equal(value_by_stat(A("a/n/key")), 1);
        assert_int_equal(value_by_read(A("a/n/key")), 1);
        put_value(A("a/n/other"), 2);
        MOUNT_OK(rename(A("a/n/other"), A("a/n/key")));
        assert_int_equal(value_by_read(A("a/n/key")), 2);
        assert_int_equal(value_by_stat(A("a/n/key")), 2);
        assert_int_equal(value_by_stat(A("a/n/other")), ABSENT);
        assert_int_equal(value_by_listing(A("a/n"), "other"), ABSENT);
        put_value(A("a/n/other"), 3);
        MOUNT_OK(renameat2(AT_FDCWD, A("a/n/key"), AT_FDCWD, A("a/n/other"), RENAME_EXCHANGE));
        assert_int_equal(value_by_read(A("a/n/key")), 3);
        assert_int_equal(value_by_read(A("a/n/other")), 2);
        MOUNT_OK(truncate(A("a/n/key"), 0));
        assert_int_equal(mount_stat(A("a/n/key")).st_size, 0);
        mount_expect_text(A("a/n/key"), "");
        MOUNT_OK(unlink(A("a/n/key")));
        MOUNT_OK(unlink(A("a/n/other")));
    }
}

/* ----------------------------------------------------------------- visible staleness */

static uint64_t number(const char *path, const char *name)
{
    char text[64] = "", *end;
    ssize_t size = MOUNT_OK(getxattr(path, name, text, sizeof(text) - 1));
    uint64_t value = strtoull(text, &end, 10);

    assert_int_equal(end - text, size); /* a number and nothing else */
    assert_true(size > 0);
    return value;
}

static void expect_source(const char *path, const char *source)
{
    char text[64] = "";

    MOUNT_OK(getxattr(path, "user.kvfs.source", text, sizeof(text) - 1));
    assert_string_equal(text, source);
}

static void the_version_changes_with_every_put_and_only_then(void **state)
{
    uint64_t first, second;

    mount_start(*state, "cache_ttl=0");
    put_value(A("a/n/key"), 1);
    first = number(A("a/n/key"), "user.kvfs.version");
    assert_int_equal(number(B("a/n/key"), "user.kvfs.version"), first);
    MOUNT_OK(chmod(A("a/n/key"), 0600));
    MOUNT_OK(rename(A("a/n/key"), A("a/n/moved")));
    assert_int_equal(number(A("a/n/moved"), "user.kvfs.version"), first);
    assert_int_equal(number(B("a/n/moved"), "user.kvfs.version"), first);
    put_value(A("a/n/moved"), 1);
    second = number(A("a/n/moved"), "user.kvfs.version");
    assert_true(second > first);
    assert_int_equal(number(B("a/n/moved"), "user.kvfs.version"), second);
}

static uint64_t stat_of(const char *stats_path, const char *name)
{
    const char *text = mount_text(stats_path), *line = strstr(text, name);
    unsigned long long value;

    while (line != NULL && line != text && line[-1] != '\n')
        line = strstr(line + 1, name);
    assert_non_null(line);
    assert_int_equal(sscanf(line + strlen(name), "{%*[^}]} %llu", &value), 1);
    return value;
}

static void the_age_is_that_of_what_is_served_and_looking_does_not_refresh_it(void **state)
{
    uint64_t age = 0, older, reads;
    int64_t fetched_ms, began_ms;

    mount_start(*state, "cache_ttl=60,invalidate=ttl");
    put_value(A("a/n/key"), 1);
    fetched_ms = mount_now_ms();
    assert_int_equal(value_by_read(B("a/n/key")), 1);
    put_value(A("a/n/key"), 2);
    reads = stat_of(B(".kvfs/stats"), "kvfs_cache_misses_total");
    for (int i = 0; i < 20; i++) {
        began_ms = mount_now_ms();
        older = number(B("a/n/key"), "user.kvfs.age_ms");
        assert_true(older >= age); /* a refresh would make it start again */
        assert_true(older <= (uint64_t)(mount_now_ms() - fetched_ms));
        age = older;
        expect_source(B("a/n/key"), "cache");
        mount_pause_ms(20);
    }
    assert_true(age + 1000 > (uint64_t)(began_ms - fetched_ms) || age >= 380);
    assert_int_equal(stat_of(B(".kvfs/stats"), "kvfs_cache_misses_total"), reads);
    assert_int_equal(value_by_read(B("a/n/key")), 1);
}

static void looking_does_not_prolong_the_ttl(void **state)
{
    int64_t since_ms;

    start_b(state);
    put_value(A("a/n/key"), 1);
    assert_int_equal(value_by_read(B("a/n/key")), 1);
    put_value(A("a/n/key"), 2);
    for (since_ms = mount_now_ms(); mount_now_ms() < since_ms + TTL_MS + GRACE_MS; mount_pause_ms(50))
        (void)number(B("a/n/key"), "user.kvfs.age_ms");
    assert_int_equal(value_by_read(B("a/n/key")), 2);
}

static void without_a_ttl_the_source_is_the_central(void **state)
{
    mount_start(*state, "cache_ttl=0");
    put_value(A("a/n/key"), 1);
    assert_int_equal(value_by_read(B("a/n/key")), 1);
    expect_source(B("a/n/key"), "central");
    assert_int_equal(value_by_read(A("a/n/key")), 1);
    expect_source(A("a/n/key"), "cache");
}

static void counts_of_namespaces_and_accounts_can_be_read(void **state)
{
    char text[32];

    MOUNT_OK(mkdir(A("a/m"), 0755));
    mount_write_text(A("a/n/key"), "12345");
    mount_write_text(A("a/n/other"), "");
    mount_write_text(A("a/m/key"), "1");
    assert_int_equal(number(A("a/n"), "user.kvfs.keys"), 2);
    assert_int_equal(number(A("a/n"), "user.kvfs.bytes"), 13);
    assert_int_equal(number(A("a/n"), "user.kvfs.quota_bytes"), 1 << 30);
    assert_int_equal(number(A("a"), "user.kvfs.keys"), 3);
    assert_int_equal(number(A("a"), "user.kvfs.bytes"), 17);
    MOUNT_KVCTL(*state, "account", "limit", "a", "--bytes", "1000");
    assert_int_equal(number(A("a"), "user.kvfs.quota_bytes"), 1000);
    assert_int_equal(number(A("a/n"), "user.kvfs.quota_bytes"), 1000);
    assert_int_equal(MOUNT_OK(getxattr(A("a"), "user.kvfs.quota_keys", text, sizeof(text))), 4);
    assert_memory_equal(text, "none", 4);
    MOUNT_KVCTL(*state, "account", "limit", "a", "--keys", "77");
    assert_int_equal(number(A("a/n"), "user.kvfs.quota_keys"), 77);
    MOUNT_OK(setxattr(A("a/n/key"), "user.b", "1234", 4, 0)); /* attributes count */
    assert_int_equal(number(A("a/n"), "user.kvfs.bytes"), 23);
}

static void computed_attributes_are_read_only_and_not_listed(void **state)
{
    static const char *const of_keys[] = {"user.kvfs.version", "user.kvfs.age_ms", "user.kvfs.source"};
    static const char *const of_nodes[] = {"user.kvfs.keys", "user.kvfs.bytes", "user.kvfs.quota_bytes"};
    char bytes[256];

    mount_write_text(A("a/n/key"), "value");
    for (size_t i = 0; i < 3; i++) {
        MOUNT_FAILS(EPERM, setxattr(A("a/n/key"), of_keys[i], "1", 1, 0));
        MOUNT_FAILS(EPERM, removexattr(A("a/n/key"), of_keys[i]));
        MOUNT_FAILS(EPERM, setxattr(A("a/n"), of_nodes[i], "1", 1, 0));
        MOUNT_FAILS(EPERM, setxattr(A("a"), of_nodes[i], "1", 1, 0));
        MOUNT_FAILS(ENODATA, getxattr(A("a/n/key"), of_nodes[i], bytes, sizeof(bytes)));
        MOUNT_FAILS(ENODATA, getxattr(A("a/n"), of_keys[i], bytes, sizeof(bytes)));
    }
    MOUNT_FAILS(ENODATA, getxattr(A("a/n/key"), "user.kvfs.other", bytes, sizeof(bytes)));
    assert_int_equal(MOUNT_OK(listxattr(A("a/n/key"), bytes, sizeof(bytes))), 0);
    assert_int_equal(MOUNT_OK(listxattr(A("a/n"), bytes, sizeof(bytes))), 0);
    assert_int_equal(MOUNT_OK(listxattr(A("a"), bytes, sizeof(bytes))), 0);
}

/* However sure this node is of the size. */
static void truncate_reaches_a_value_that_another_node_put(void **state)
{
    struct mount_node *other = mount_start(*state, "cache_ttl=60"), *third = mount_start(*state, "cache_ttl=0");

    mount_write_text(A("a/n/key"), "");
    assert_int_equal(mount_stat(A("a/n/key")).st_size, 0);
    mount_write_text(mount_path(other, "a/n/key"), "value");
    MOUNT_OK(truncate(A("a/n/key"), 0));
    mount_expect_text(mount_path(third, "a/n/key"), "");
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        MOUNT_TEST(truncate_reaches_a_value_that_another_node_put),
        MOUNT_TEST_WITH(TTL, a_write_is_seen_at_once_here_and_in_time_elsewhere),
        MOUNT_TEST_WITH(TTL, a_smaller_value_is_seen_in_time_elsewhere),
        MOUNT_TEST_WITH(TTL, a_delete_is_seen_at_once_here_and_in_time_elsewhere),
        MOUNT_TEST_WITH(TTL, a_creation_is_seen_in_time_where_the_absence_is_known),
        MOUNT_TEST_WITH(TTL, a_rename_is_seen_in_time_elsewhere),
        MOUNT_TEST_WITH(TTL, kvctl_is_a_node_like_any_other),
        MOUNT_TEST_WITH(TTL, attributes_are_seen_in_time_elsewhere),
        MOUNT_TEST_WITH(TTL, namespaces_and_accounts_are_seen_in_time_elsewhere),
        MOUNT_TEST(what_a_listing_showed_is_what_is_read_then),
        MOUNT_TEST(a_value_is_served_from_the_cache),
        MOUNT_TEST(an_open_file_shows_the_value_that_it_opened),
        MOUNT_TEST(a_half_read_large_value_is_read_to_its_end),
        MOUNT_TEST(writers_on_two_nodes_replace_whole_values),
        MOUNT_TEST(without_a_ttl_every_change_is_seen_at_the_next_open),
        MOUNT_TEST(a_value_of_the_same_size_and_time_is_told_from_the_one_before),
        MOUNT_TEST(a_node_sees_its_own_changes_at_once),
        MOUNT_TEST(the_version_changes_with_every_put_and_only_then),
        MOUNT_TEST(the_age_is_that_of_what_is_served_and_looking_does_not_refresh_it),
        MOUNT_TEST_WITH(TTL, looking_does_not_prolong_the_ttl),
        MOUNT_TEST(without_a_ttl_the_source_is_the_central),
        MOUNT_TEST(counts_of_namespaces_and_accounts_can_be_read),
        MOUNT_TEST(computed_attributes_are_read_only_and_not_listed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return mount_tests("edge", run); }
