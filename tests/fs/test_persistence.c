/* What was stored is there again after an unmount and a mount. */
#include "tests/support/mount.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#define NODE(state) (&((struct mount_test *)*(state))->nodes[0])
#define P(...) mount_path(NODE(state), __VA_ARGS__)

static void remount(void **state)
{
    mount_stop(NODE(state));
    mount_again(NODE(state), NULL);
}

/* ------------------------------------------------------------------------ many keys */

enum { KEYS = 10000, LOOPS = 4, PAGE = 256 };

/* Write each LOOPS-th key. Never returns. */
static void run_shell_loop(const char *dir, int first)
{
    char *commands;

    if (asprintf(&commands, "cd '%s' && for ((i = %d; i <= %d; i += %d)); do echo value $i >k$i || exit 1; done",
                 dir, first, KEYS, LOOPS) > 0)
        execlp("bash", "bash", "-c", commands, NULL);
    _exit(1);
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* "k1" ... in the order of a listing. */
static char **sorted_keys(void)
{
    char **keys = calloc(KEYS, sizeof(*keys));

    assert_non_null(keys);
    for (int i = 0; i < KEYS; i++)
        assert_true(asprintf(&keys[i], "k%d", i + 1) > 0);
    qsort(keys, KEYS, sizeof(*keys), by_text);
    return keys;
}

static void free_keys(char **keys)
{
    for (int i = 0; i < KEYS; i++)
        free(keys[i]);
    free(keys);
}

static void expect_values(void **state)
{
    char text[32];

    for (int i = 1; i <= KEYS; i++) {
        snprintf(text, sizeof(text), "value %d\n", i);
        assert_string_equal(mount_text(P("a/n/k%d", i)), text);
    }
}

static void expect_ls(void **state, char **keys)
{
    FILE *list;
    char *command, line[64];

    assert_true(asprintf(&command, "LC_ALL=C ls '%s'", P("a/n")) > 0);
    list = popen(command, "r");
    assert_non_null(list);
    for (int i = 0; i < KEYS; i++) {
        assert_non_null(fgets(line, sizeof(line), list));
        line[strcspn(line, "\n")] = '\0';
        assert_string_equal(line, keys[i]);
    }
    assert_null(fgets(line, sizeof(line), list));
    assert_int_equal(pclose(list), 0);
    free(command);
}

/* The text that kvctl prints for a page, from `first` on. */
static char *page_text(char **keys, int first)
{
    int end = first + PAGE < KEYS ? first + PAGE : KEYS;
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    fprintf(out,
            end == KEYS ? "{\"complete\":true,\"cursor\":null,\"keys\":["
                        : "{\"complete\":false,\"cursor\":\"%s\",\"keys\":[",
            keys[end % KEYS]);
    for (int i = first; i < end; i++)
        fprintf(out, "%s{\"key\":\"%s\"}", i > first ? "," : "", keys[i]);
    fprintf(out, "]}\n");
    assert_int_equal(fclose(out), 0);
    return text;
}

static void expect_pages(struct mount_test *test, char **keys)
{
    for (int first = 0; first < KEYS; first += PAGE) {
        char *text = page_text(keys, first);

        if (first == 0)
            MOUNT_KVCTL(test, "list", "a/n");
        else
            MOUNT_KVCTL(test, "list", "a/n", "--cursor", keys[first]);
        assert_string_equal(test->output, text);
        free(text);
    }
}

static void ten_thousand_keys_of_shell_loops_are_listed_read_and_kept(void **state)
{
    char **keys = sorted_keys();
    pid_t loops[LOOPS];

    alarm(280);
    for (int i = 0; i < LOOPS; i++) {
        loops[i] = mount_fork(*state);
        if (loops[i] == 0)
            run_shell_loop(P("a/n"), 1 + i);
    }
    for (int i = 0; i < LOOPS; i++)
        assert_int_equal(mount_wait(*state, loops[i]), 0);
    expect_values(state);
    expect_ls(state, keys);
    expect_pages(*state, keys);
    remount(state);
    expect_ls(state, keys);
    expect_values(state);
    expect_pages(*state, keys);
    MOUNT_KVCTL(*state, "list", "a/n", "--all");
    assert_int_equal(strncmp(((struct mount_test *)*state)->output, "k1\nk10\nk100\n", 12), 0);
    free_keys(keys);
}

/* --------------------------------------------------------------------- other things */

static void values_of_all_sizes_are_kept(void **state)
{
    static const size_t sizes[] = {0, 1, 8191, 8192, 8193, 262143, 262144, 262145, 5000000, 26214400};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint8_t *bytes = mount_bytes(i, sizes[i]);

        mount_write(P("a/n/key_%zu", i), bytes, sizes[i]);
        free(bytes);
    }
    remount(state);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint8_t *bytes = mount_bytes(i, sizes[i]);

        mount_expect(P("a/n/key_%zu", i), bytes, sizes[i]);
        free(bytes);
    }
}

static void expect_same(const struct stat *a, const struct stat *b)
{
    assert_int_equal(a->st_ino, b->st_ino);
    assert_int_equal(a->st_mode, b->st_mode);
    assert_int_equal(a->st_nlink, b->st_nlink);
    assert_int_equal(a->st_uid, b->st_uid);
    assert_int_equal(a->st_gid, b->st_gid);
    assert_int_equal(a->st_size, b->st_size);
    assert_int_equal(a->st_blocks, b->st_blocks);
    assert_memory_equal(&a->st_atim, &b->st_atim, sizeof(a->st_atim));
    assert_memory_equal(&a->st_mtim, &b->st_mtim, sizeof(a->st_mtim));
    assert_memory_equal(&a->st_ctim, &b->st_ctim, sizeof(a->st_ctim));
}

static void modes_owners_and_times_are_kept(void **state)
{
    static const char *const paths[] = {".", "a", "a/n", "a/n/key", "a/n/plain", "a/m"};
    static const struct timespec times[2] = {{1234567890, 123456789}, {-5, 987654321}};
    enum { PATHS = sizeof(paths) / sizeof(paths[0]) };
    struct stat before[PATHS], after;

    MOUNT_OK(mkdir(P("a/m"), 0750));
    mount_write_text(P("a/n/plain"), "value");
    mount_write_text(P("a/n/key"), "value");
    MOUNT_OK(chmod(P("a/n/key"), 04751));
    MOUNT_OK(chmod(P("a"), 01755));
    if (geteuid() == 0) {
        MOUNT_OK(chown(P("a/n/key"), 1234, 4294967294u));
        MOUNT_OK(chown(P("a/m"), 5, 6));
    }
    MOUNT_OK(utimensat(AT_FDCWD, P("a/n/key"), times, 0));
    MOUNT_OK(utimensat(AT_FDCWD, P("a/m"), times, 0));
    for (size_t i = 0; i < PATHS; i++)
        before[i] = mount_stat(P("%s", paths[i]));
    remount(state);
    for (size_t i = 0; i < PATHS; i++) {
        after = mount_stat(P("%s", paths[i]));
        expect_same(&before[i], &after);
    }
}

static void bindings_are_kept_and_follow_their_namespace(void **state)
{
    char target[64] = "";

    MOUNT_OK(mkdir(P("a/.projects/site"), 0755));
    MOUNT_OK(symlink("../../n", P("a/.projects/site/KV")));
    remount(state);
    mount_expect_list(P("a/.projects/site"), "KV");
    MOUNT_OK(readlink(P("a/.projects/site/KV"), target, sizeof(target) - 1));
    assert_string_equal(target, "../../n");
    MOUNT_OK(rename(P("a/n"), P("a/renamed")));
    remount(state);
    memset(target, 0, sizeof(target));
    MOUNT_OK(readlink(P("a/.projects/site/KV"), target, sizeof(target) - 1));
    assert_string_equal(target, "../../renamed");
}

static void extended_attributes_are_kept(void **state)
{
    char value[16] = "";

    mount_write_text(P("a/n/key"), "value");
    MOUNT_OK(setxattr(P("a/n/key"), "user.type", "a\0b", 3, 0));
    MOUNT_OK(setxattr(P("a/n"), "user.of_namespace", "1", 1, 0));
    MOUNT_OK(setxattr(P("a"), "user.of_account", "2", 1, 0));
    remount(state);
    assert_int_equal(MOUNT_OK(getxattr(P("a/n/key"), "user.type", value, sizeof(value))), 3);
    assert_memory_equal(value, "a\0b", 3);
    assert_int_equal(MOUNT_OK(getxattr(P("a/n"), "user.of_namespace", value, sizeof(value))), 1);
    assert_int_equal(MOUNT_OK(getxattr(P("a"), "user.of_account", value, sizeof(value))), 1);
}

static void limits_and_use_are_kept(void **state)
{
    struct statvfs before, after;

    MOUNT_KVCTL(*state, "account", "limit", "a", "--bytes", "100K", "--namespaces", "2");
    mount_write(P("a/n/key"), "0123456789", 10);
    MOUNT_OK(statvfs(P("a"), &before));
    remount(state);
    MOUNT_OK(statvfs(P("a"), &after));
    assert_memory_equal(&before, &after, sizeof(before));
    MOUNT_OK(mkdir(P("a/second"), 0755));
    MOUNT_FAILS(EDQUOT, mkdir(P("a/third"), 0755));
    MOUNT_FAILS(EDQUOT, truncate(P("a/n/key"), 102400));
}

static void deletes_and_renames_are_kept(void **state)
{
    MOUNT_OK(mkdir(P("a/m"), 0755));
    MOUNT_OK(mkdir(P("b"), 0755));
    mount_write_text(P("a/n/gone"), "value");
    mount_write_text(P("a/n/old"), "moved");
    mount_write_text(P("a/n/one"), "1");
    mount_write_text(P("a/m/two"), "2");
    MOUNT_OK(unlink(P("a/n/gone")));
    MOUNT_OK(rename(P("a/n/old"), P("a/m/new")));
    MOUNT_OK(renameat2(AT_FDCWD, P("a/n/one"), AT_FDCWD, P("a/m/two"), RENAME_EXCHANGE));
    MOUNT_OK(rmdir(P("b")));
    remount(state);
    mount_expect_list(P("."), "a");
    mount_expect_list(P("a"), "m n");
    mount_expect_list(P("a/n"), "one");
    mount_expect_list(P("a/m"), "new two");
    mount_expect_text(P("a/n/one"), "2");
    mount_expect_text(P("a/m/two"), "1");
    mount_expect_text(P("a/m/new"), "moved");
}

static void a_store_is_mounted_again_and_again(void **state)
{
    static const char text[] = "0123456789";

    for (size_t i = 0; i < 10; i++) {
        int fd = (int)MOUNT_OK(open(P("a/n/key"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));

        MOUNT_OK(write(fd, text + i, 1));
        MOUNT_OK(close(fd));
        remount(state);
        mount_expect(P("a/n/key"), text, i + 1);
    }
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        MOUNT_TEST(ten_thousand_keys_of_shell_loops_are_listed_read_and_kept),
        MOUNT_TEST(values_of_all_sizes_are_kept),
        MOUNT_TEST(modes_owners_and_times_are_kept),
        MOUNT_TEST(bindings_are_kept_and_follow_their_namespace),
        MOUNT_TEST(extended_attributes_are_kept),
        MOUNT_TEST(limits_and_use_are_kept),
        MOUNT_TEST(deletes_and_renames_are_kept),
        MOUNT_TEST(a_store_is_mounted_again_and_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return mount_tests("persistence", run); }
