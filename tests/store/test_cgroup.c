/* Limits of memory, as control groups of both versions say them. */
#include "store/base/cgroup.h"

#include "store/base/value.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MIB ((uint64_t)1 << 20)

static char root[256];

static int setup(void **state)
{
    const char *above = getenv("TMPDIR");

    (void)state;
    snprintf(root, sizeof(root), "%s/kvfs-test-cgroup-XXXXXX", above != NULL ? above : "/tmp");
    return mkdtemp(root) == NULL ? -1 : 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    (void)where;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Write root/path, with the directories above it. */
static void say(const char *path, const char *text)
{
    char name[512];
    FILE *file;

    assert_true(snprintf(name, sizeof(name), "%s/%s", root, path) < (int)sizeof(name));
    for (char *slash = name + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        (void)mkdir(name, 0700); /* it may be there */
        *slash = '/';
    }
    file = fopen(name, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void a_number_of_bytes_is_a_limit_and_all_else_is_none(void **state)
{
    static const struct {
        const char *text;
        uint64_t limit;
    } texts[] = {
        {"268435456\n", 256 * MIB},
        {"268435456", 256 * MIB},
        {"0\n", 0},
        {"max\n", CGROUP_NO_LIMIT},
        {"", CGROUP_NO_LIMIT},
        {"\n", CGROUP_NO_LIMIT},
        {"-1\n", CGROUP_NO_LIMIT},
        {"12K\n", CGROUP_NO_LIMIT},
        {"99999999999999999999\n", CGROUP_NO_LIMIT},
        {"9223372036854771712\n", 9223372036854771712u},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_true(cgroup_parse(texts[i].text) == texts[i].limit);
}

static void the_least_limit_on_the_way_up_counts(void **state)
{
    (void)state;
    assert_true(cgroup_limit("0::/a/b/c\n", root) == CGROUP_NO_LIMIT);
    say("a/b/c/memory.max", "max\n");
    say("a/b/memory.max", "400000000\n");
    assert_true(cgroup_limit("0::/a/b/c\n", root) == 400000000);
    say("a/memory.max", "300000000\n");
    assert_true(cgroup_limit("0::/a/b/c\n", root) == 300000000);
    say("a/b/c/memory.max", "200000000\n");
    assert_true(cgroup_limit("0::/a/b/c\n", root) == 200000000);
    assert_true(cgroup_limit("0::/a/b\n", root) == 300000000);
    assert_true(cgroup_limit("0::/\n", root) == CGROUP_NO_LIMIT);
    say("a/b/memory.high", "100000000\n");
    assert_true(cgroup_limit("0::/a/b/c\n", root) == 100000000);
}

static void a_container_that_sees_only_its_own_group_finds_it_at_the_root(void **state)
{
    (void)state;
    say("memory.max", "268435456\n");
    assert_true(cgroup_limit("0::/\n", root) == 256 * MIB);
    assert_true(cgroup_limit("0::/../../kubepods/pod1\n", root) == 256 * MIB);
    assert_true(cgroup_limit("0::/docker/0123\n", root) == 256 * MIB);
}

static void version_1_has_a_tree_of_its_own_for_memory(void **state)
{
    static const char groups[] = "12:cpu,cpuacct:/docker/1\n11:blkio,memory:/docker/1\n10:memory_x:/y\n0::/z\n";

    (void)state;
    assert_true(cgroup_limit(groups, root) == CGROUP_NO_LIMIT);
    say("memory/memory.limit_in_bytes", "9223372036854771712\n");
    assert_true(cgroup_limit(groups, root) == 9223372036854771712u);
    say("memory/docker/1/memory.limit_in_bytes", "268435456\n");
    assert_true(cgroup_limit(groups, root) == 256 * MIB);
    say("memory/docker/memory.limit_in_bytes", "1000\n");
    assert_true(cgroup_limit(groups, root) == 1000);
    say("z/memory.max", "999\n"); /* where both versions are mounted */
    assert_true(cgroup_limit(groups, root) == 999);
    say("memory/y/memory.limit_in_bytes", "1\n");
    assert_true(cgroup_limit(groups, root) == 999);
}

static void what_is_no_line_of_groups_limits_nothing(void **state)
{
    static const char *const texts[] = {
        "", "\n", ":", "::", "0:", "0::", "memory", "0::/a", "\n\n0::/a\n\n", ":memory:"};
    char longest[5000];

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_true(cgroup_limit(texts[i], root) == CGROUP_NO_LIMIT);
    memset(longest, 'a', sizeof(longest));
    memcpy(longest, "0::/", 4);
    longest[sizeof(longest) - 1] = '\0';
    assert_true(cgroup_limit(longest, root) == CGROUP_NO_LIMIT);
}

static void the_defaults_leave_room_within_the_limit(void **state)
{
    struct kv_options options = kv_options_default();

    (void)state;
    assert_true(value_budget_within(CGROUP_NO_LIMIT) == 512 * MIB);
    assert_true(value_budget_within(100 * 1024 * MIB) == 512 * MIB);
    assert_true(value_budget_within(256 * MIB) == 64 * MIB);
    assert_true(value_budget_within(0) > 0);
    assert_true(options.memory_bytes == value_budget_within(cgroup_own_limit()));
    assert_true(options.cache_bytes == options.memory_bytes / 2);
}

#define IN_GROUPS(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_GROUPS(a_number_of_bytes_is_a_limit_and_all_else_is_none),
        IN_GROUPS(the_least_limit_on_the_way_up_counts),
        IN_GROUPS(a_container_that_sees_only_its_own_group_finds_it_at_the_root),
        IN_GROUPS(version_1_has_a_tree_of_its_own_for_memory),
        IN_GROUPS(what_is_no_line_of_groups_limits_nothing),
        IN_GROUPS(the_defaults_leave_room_within_the_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
