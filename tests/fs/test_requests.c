/* How many requests of the kernel each operation takes, and how many notifications. Each is a round trip to the daemon,
 * which is what an operation costs: so nobody adds one unseen. */
#include "tests/support/keys.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#define P(...) mount_path(&((struct mount_test *)*state)->nodes[0], __VA_ARGS__)
#define LONG "cache_ttl=600" /* nothing ends with its timeout */

/* SLACK: what is looked up once, and releases, which the kernel sends in the background. */
enum { KEYS = 40, LISTED = 1000, KNOWN = 500, MANY = 11024, KINDS = 64, NAME = 32, SLACK = 6 };

static int listed; /* keys that there are */

struct counts {
    size_t size;
    struct {
        char name[NAME];
        long count;
    } kinds[KINDS];
};

static long *count_of(struct counts *counts, const char *name)
{
    for (size_t i = 0; i < counts->size; i++)
        if (strcmp(counts->kinds[i].name, name) == 0)
            return &counts->kinds[i].count;
    assert_true(counts->size < KINDS);
    snprintf(counts->kinds[counts->size].name, NAME, "%s", name);
    counts->kinds[counts->size].count = 0;
    return &counts->kinds[counts->size++].count;
}

/* "fuse_requests_total{kind="lookup"} 1" is counted as lookup, a notification as notify:attr. */
static struct counts count_now(void **state)
{
    struct counts counts = {.size = 0};
    const char *line = mount_text(P(".kvfs/stats"));
    char name[NAME - 8], full[NAME];
    long count;

    for (; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (sscanf(line, "kvfs_fuse_requests_total{mount=\"%*[^\"]\",kind=\"%23[a-z_0-9]\"} %ld", name, &count) ==
            2)
            *count_of(&counts, name) = count;
        if (sscanf(line, "kvfs_fuse_notifications_total{mount=\"%*[^\"]\",kind=\"%23[a-z_0-9]\"} %ld", name,
                   &count) == 2) {
            snprintf(full, sizeof(full), "notify:%s", name);
            *count_of(&counts, full) = count;
        }
    }
    return counts;
}

/* What looking at the counts takes comes off. */
static void count_since(struct counts *now, struct counts *since, struct counts *look)
{
    for (size_t i = 0; i < now->size; i++) {
        const char *name = now->kinds[i].name;

        now->kinds[i].count -= *count_of(since, name) + *count_of(look, name);
    }
}

/* Are pages dropped behind a write past the cache, so that it is done? */
static bool kernel_drops_pages(void)
{
    struct utsname name;
    int major = 0, minor = 0;

    assert_int_equal(uname(&name), 0);
    assert_int_equal(sscanf(name.release, "%d.%d", &major, &minor), 2);
    return major > 6 || (major == 6 && minor >= 18);
}

/* How many of a kind `wanted` allows: "lookup 1, create 1". */
static long allowed(const char *wanted, const char *kind)
{
    const char *found = wanted;
    long count;

    if (strstr(wanted, "write") != NULL && strcmp(kind, "getxattr") == 0 && !kernel_drops_pages())
        return 2; /* security.capability, before a write and an open that empties */
    while ((found = strstr(found, kind)) != NULL) {
        if ((found == wanted || found[-1] == ' ') && sscanf(found + strlen(kind), " %ld", &count) == 1)
            return count;
        found++;
    }
    return 0;
}

static bool is_forget(const char *kind)
{
    return strcmp(kind, "forget") == 0 || strcmp(kind, "batch_forget") == 0;
}

static bool may_come_late(const char *kind)
{
    return strcmp(kind, "release") == 0 || strcmp(kind, "releasedir") == 0 || is_forget(kind);
}

/* How often the kernel has looked for caches to drop, since memory was short somewhere on the machine. */
static long reclaims(void)
{
    const char *found = strstr(mount_text("/proc/vmstat"), "\nslabs_scanned ");

    return found != NULL ? strtol(found + strlen("\nslabs_scanned "), NULL, 10) : 0;
}

static long reclaims_before; /* these tests */

/* `times` operations took at most what is wanted of each. */
static void expect(struct counts *took, const char *operation, const char *wanted, long times)
{
    bool over = false, reclaimed = reclaims() != reclaims_before;

    for (size_t i = 0; i < took->size; i++) {
        const char *kind = took->kinds[i].name;
        long most = times * allowed(wanted, kind) + (may_come_late(kind) ? times + SLACK : times > 1 ? SLACK : 0);

        if (reclaimed && is_forget(kind))
            continue; /* of what the kernel dropped to have memory; nobody waits for it */
        if (took->kinds[i].count > most) {
            printf("%s: %ld operations took %ld of %s, not %ld\n", operation, times, took->kinds[i].count, kind,
                   times * allowed(wanted, kind));
            over = true;
        }
    }
    assert_false(over);
}

/* ------------------------------------------------------------------------------ of one key */

typedef void operation(void **state, int number);

static void put(void **state, int number)
{
    static const char bytes[100];
    int fd = (int)MOUNT_OK(open(P("a/n/key_%d", number), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));

    assert_int_equal(MOUNT_OK(write(fd, bytes, sizeof(bytes))), sizeof(bytes));
    MOUNT_OK(close(fd));
}

static void get(void **state, int number)
{
    char bytes[200];

    assert_in_range(mount_read(P("a/n/key_%d", number), bytes, sizeof(bytes)), 100, 101);
}

static void append(void **state, int number)
{
    int fd = (int)MOUNT_OK(open(P("a/n/key_%d", number), O_WRONLY | O_APPEND | O_CLOEXEC));

    MOUNT_OK(write(fd, "x", 1));
    MOUNT_OK(close(fd));
}

static void look(void **state, int number) { (void)mount_stat(P("a/n/key_%d", number)); }

static void change_mode(void **state, int number) { MOUNT_OK(chmod(P("a/n/key_%d", number), 0600)); }

static void exchange(void **state, int number)
{
    MOUNT_OK(rename(P("a/n/key_%d", number), P("a/n/other_%d", number)));
    MOUNT_OK(rename(P("a/n/other_%d", number), P("a/n/key_%d", number)));
}

static void take_away(void **state, int number) { MOUNT_OK(unlink(P("a/n/key_%d", number))); }

static const struct {
    const char *name;
    operation *operation;
    const char *wanted;
    bool cold; /* mounted just before */
} operations[] = {
    /* The kernel asks for the mode of a directory after each change of a name in it. */
    {"create", put, "getattr 1, lookup 1, create 1, write 1, flush 1, release 1", false},
    {"get of what was just put", get, "open 1, getattr 1, release 1, notify:store 1", false},
    {"hot get", get, "open 1, release 1", false},
    {"hot stat", look, "", false},
    /* Any file system that has extended attributes is asked for one by an open with O_TRUNC. */
    {"overwrite", put, "open 1, getxattr 1, write 1, flush 1, release 1", false},
    {"overwrite again", put, "open 1, getxattr 2, write 1, flush 1, release 1", false},
    {"overwrite once more", put, "open 1, write 1, flush 1, release 1", false},
    {"append", append, "open 1, write 1, flush 1, release 1", false},
    {"stat of what was just put", look, "getattr 1", false},
    {"get after that", get, "open 1, release 1, notify:store 1", false},
    {"cold get", get, "lookup 1, open 1, release 1, notify:store 1", true},
    {"append to what is known", append, "open 1, write 1, flush 1, release 1", false},
    {"chmod", change_mode, "setattr 1", false},
    {"rename, there and back", exchange, "getattr 2, lookup 2, rename 2, rename2 2", false},
    {"cold stat", look, "lookup 1", true},
    {"unlink", take_away, "getattr 1, unlink 1", false},
};

static void each_operation_takes_no_more_than_it_needs(void **state)
{
    struct mount_node *node = &((struct mount_test *)*state)->nodes[0];

    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
        struct counts look_at, since, took;

        if (operations[i].cold) {
            mount_stop(node);
            mount_again(node, LONG);
        }
        look_at = count_now(state);
        since = count_now(state);
        took = since;
        count_since(&took, &look_at, &(struct counts){.size = 0});
        look_at = took;
        for (int number = 0; number < KEYS; number++)
            operations[i].operation(state, number);
        took = count_now(state);
        count_since(&took, &since, &look_at);
        expect(&took, operations[i].name, operations[i].wanted, KEYS);
    }
}

/* -------------------------------------------------------------------------------- of others */

/* Make a change, or look, by `work`, and compare. */
static void expect_of(void **state, const char *name, const char *wanted, long times, void (*work)(void **state))
{
    struct counts none = {.size = 0}, since = count_now(state), look_at = count_now(state), took;

    count_since(&look_at, &since, &none);
    since = count_now(state);
    work(state);
    took = count_now(state);
    count_since(&took, &since, &look_at);
    expect(&took, name, wanted, times);
}

/* returns how many keys there were */
static int list(void **state, bool attributes)
{
    DIR *dir = opendir(P("a/n"));
    struct dirent *entry;
    struct stat attr;
    int count = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        count += entry->d_name[0] != '.';
        assert_int_equal(entry->d_type, entry->d_name[0] == '.' ? DT_DIR : DT_REG);
        if (attributes)
            MOUNT_OK(fstatat(dirfd(dir), entry->d_name, &attr, AT_SYMLINK_NOFOLLOW));
    }
    closedir(dir);
    return count;
}

static void list_names(void **state) { assert_int_equal(list(state, false), listed); }

static void list_with_attributes(void **state) { assert_int_equal(list(state, true), listed); }

static void a_listing_with_attributes_takes_no_request_a_key(void **state)
{
    listed = LISTED;
    mount_make_keys(*state, LISTED);
    mount_start(*state, LONG);
    expect_of(state, "ls -l", "opendir 1, getattr 3, lookup 4, readdirplus 20, releasedir 1", 1,
              list_with_attributes);
    expect_of(state, "ls -l again", "opendir 1, getattr 2, readdirplus 20, releasedir 1", 1, list_with_attributes);
}

/* Behind the first answer names come alone, unless somebody looks at them while they come. */
static void a_listing_of_many_makes_few_known_unless_they_are_looked_at(void **state)
{
    long inodes;

    listed = MANY;
    mount_make_keys(*state, MANY);
    mount_start(*state, LONG);
    expect_of(state, "ls -f", "opendir 1, getattr 3, lookup 4, readdirplus 1, readdir 10000, releasedir 1", 1,
              list_names);
    inodes = strtol(strstr(strstr(mount_text(P(".kvfs/stats")), "\nkvfs_inodes{"), "} ") + 2, NULL, 10);
    assert_in_range(inodes, 1, KNOWN);
    expect_of(state, "ls -l", "opendir 1, getattr 3, lookup 500, readdir 10, readdirplus 10000, releasedir 1", 1,
              list_with_attributes);
    expect_of(state, "stat of all", "opendir 1, getattr 3, readdirplus 10000, releasedir 1", 1,
              list_with_attributes);
}

static void shell(void **state, const char *script)
{
    char line[512];

    snprintf(line, sizeof(line), "cd '%s' && for i in {1..%d}; do %s; done", P("a/n"), KEYS, script);
    if (MOUNT_RUN(*state, "bash", "-c", line) != 0)
        fail_msg("%s: %s", script, ((struct mount_test *)*state)->output);
}

static void echo_to_keys(void **state) { shell(state, "echo v > key_$i"); }

static void read_keys(void **state) { shell(state, "x=$(<key_$i)"); }

static void a_shell_takes_no_more_than_it_needs(void **state)
{
    /* It closes two descriptors: one when it has made the file its standard output, and that. */
    expect_of(state, "echo v > key", "getattr 1, lookup 1, create 1, write 1, flush 2, release 1", KEYS,
              echo_to_keys);
    expect_of(state, "$(<key)", "open 1, getattr 1, release 1, notify:store 1", KEYS, read_keys);
    expect_of(state, "$(<key) again", "open 1, release 1", KEYS, read_keys);
    expect_of(state, "echo v > key, over a value", "getxattr 1, open 1, write 1, flush 2, release 1", KEYS,
              echo_to_keys);
}

/* What the kernel has not asked for since it was had to forget it, it is not had to forget again. */
static void changes_elsewhere_are_told_once(void **state)
{
    struct mount_node *other = mount_start(*state, LONG);
    struct counts since, took;
    int64_t end;

    mount_write_text(P("a/n/key"), "value");
    mount_write_text(P("a/n/last"), "value");
    assert_int_equal(mount_stat(P("a/n/key")).st_size, 5);
    assert_int_equal(mount_stat(P("a/n/last")).st_size, 5);
    since = count_now(state);
    for (int i = 0; i < KEYS; i++)
        mount_write_text(mount_path(other, "a/n/key"), "another value");
    mount_write_text(mount_path(other, "a/n/last"), "the last value");
    end = mount_now_ms() + 20000;
    do { /* what was told for no time, beside the writes above, is asked for anew before it is notified */
        mount_pause_ms(1);
        assert_true(mount_now_ms() < end);
        took = count_now(state);
        count_since(&took, &since, &(struct counts){.size = 0});
    } while (*count_of(&took, "notify:attr") < 2);
    assert_int_equal(mount_stat(P("a/n/last")).st_size, 14);
    assert_int_equal(*count_of(&took, "notify:attr"), 2);
    assert_int_equal(mount_stat(P("a/n/key")).st_size, 13);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        MOUNT_TEST_WITH(LONG, each_operation_takes_no_more_than_it_needs),
        MOUNT_TEST_EMPTY(a_listing_with_attributes_takes_no_request_a_key),
        MOUNT_TEST_EMPTY(a_listing_of_many_makes_few_known_unless_they_are_looked_at),
        MOUNT_TEST_WITH(LONG, a_shell_takes_no_more_than_it_needs),
        MOUNT_TEST_WITH(LONG, changes_elsewhere_are_told_once),
    };

    reclaims_before = reclaims();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return mount_tests("requests", run); }
