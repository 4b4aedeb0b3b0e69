/* Views of a namespace, .prefix/P and .from/KEY: what they show, to whom, and that they show it at once. */
#include "tests/support/keys.h"
#include "tests/support/users.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SHARED "allow_other"
#define NODE(i) (&((struct mount_test *)*state)->nodes[i])
#define A(...) mount_path(NODE(0), __VA_ARGS__)
#define B(...) mount_path(NODE(1), __VA_ARGS__)

static void make_keys(void **state)
{
    static const char *const keys[] = {"Zed", "user", "user_1", "user_20", "user_7", "usher", "zed"};

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        mount_write_text(A("a/n/%s", keys[i]), keys[i]);
}

/* ------------------------------------------------------------------------- what they show */

static void a_view_shows_the_keys_with_a_prefix_or_from_a_key_on(void **state)
{
    make_keys(state);
    mount_expect_list(A("a/n/.prefix/user_"), "user_1 user_20 user_7");
    mount_expect_list(A("a/n/.prefix/user_7"), "user_7");
    mount_expect_list(A("a/n/.prefix/user_77"), "");
    mount_expect_list(A("a/n/.prefix/zz"), "");
    mount_expect_list(A("a/n/.from/user_20"), "user_20 user_7 usher zed");
    mount_expect_list(A("a/n/.from/user_2"), "user_20 user_7 usher zed");
    mount_expect_list(A("a/n/.from/0"), "Zed user user_1 user_20 user_7 usher zed");
    mount_expect_list(A("a/n/.from/zzz"), "");
    mount_expect_text(A("a/n/.prefix/user_/user_7"), "user_7");
    mount_expect_text(A("a/n/.from/user_20/zed"), "zed");
    MOUNT_FAILS(ENOENT, open(A("a/n/.prefix/user_/zed"), O_RDONLY));
    MOUNT_FAILS(ENOENT, open(A("a/n/.prefix/user_/user_8"), O_RDONLY));
    MOUNT_FAILS(ENOENT, open(A("a/n/.from/user_20/user_1"), O_RDONLY));
}

static void views_are_found_by_name_and_never_listed(void **state)
{
    make_keys(state);
    mount_expect_list(A("a/n"), "Zed user user_1 user_20 user_7 usher zed");
    mount_expect_list(A("a/n/.prefix"), "");
    mount_expect_list(A("a/n/.from"), "");
    assert_false(mount_is_there(A("a/.prefix")));
    assert_false(mount_is_there(A("a/n/.prefix/user_/.prefix")));
    assert_false(mount_is_there(A("a/n/.prefix/.from")));
}

static void a_view_is_called_as_a_key_can_be(void **state)
{
    char name[KV_KEY_MAX + 2];

    memset(name, 'k', sizeof(name));
    name[KV_KEY_MAX + 1] = '\0';
    MOUNT_FAILS(ENAMETOOLONG, access(A("a/n/.prefix/%s", name), F_OK));
    name[KV_KEY_MAX] = '\0';
    mount_write_text(A("a/n/%s", name), "long");
    mount_expect_text(A("a/n/.from/%s/%s", name, name), "long");
    mount_expect_list(A("a/n/.prefix/%s", name), name);
    MOUNT_FAILS(ENOENT, access(A("a/n/.prefix/a-b"), F_OK));
    MOUNT_FAILS(ENOENT, access(A("a/n/.from/.k"), F_OK));
    MOUNT_FAILS(EINVAL, open(A("a/n/.prefix/a-b"), O_CREAT | O_WRONLY, 0644));
    MOUNT_FAILS(EPERM, mkdir(A("a/n/.prefix/a-b"), 0755));
    MOUNT_FAILS(EEXIST, mkdir(A("a/n/.prefix/ab"), 0755));
}

/* What this node alone knows: a key that is not put yet, and a temporary file, which is none. */
static void a_view_shows_keys_that_are_being_made_and_no_temporary_files(void **state)
{
    int key = (int)MOUNT_OK(open(A("a/n/user_new"), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644));
    int temporary = (int)MOUNT_OK(open(A("a/n/user_new.tmp"), O_CREAT | O_RDWR | O_CLOEXEC, 0600));

    mount_expect_list(A("a/n/.prefix/user_"), "user_new");
    mount_expect_list(A("a/n/.from/user_"), "user_new");
    MOUNT_FAILS(ENOENT, access(A("a/n/.prefix/user_/user_new.tmp"), F_OK));
    MOUNT_FAILS(EINVAL, open(A("a/n/.prefix/user_/user_a.tmp"), O_CREAT | O_EXCL | O_RDWR, 0600));
    MOUNT_FAILS(EEXIST, open(A("a/n/.prefix"), O_CREAT | O_EXCL | O_RDWR, 0600));
    MOUNT_FAILS(EISDIR, rename(A("a/n/user_new.tmp"), A("a/n/.from")));
    MOUNT_OK(close(key));
    MOUNT_OK(close(temporary));
}

static void places_in_a_view_are_found_again(void **state)
{
    enum { KEYS = 3000, AT = 1234 };
    struct dirent *entry = NULL;
    char name[NAME_MAX + 1] = "";
    long place = 0;
    DIR *dir;

    mount_make_keys(*state, KEYS);
    mount_start(*state, NULL);
    for (int i = 0; i < 3; i++)
        mount_write_text(A("a/n/%c", "jlm"[i]), "v");
    dir = opendir(A("a/n/.prefix/k"));
    assert_non_null(dir);
    for (int i = 0; i < KEYS + 2; i++) {
        if (i == AT)
            place = telldir(dir);
        entry = readdir(dir);
        assert_non_null(entry);
        if (i == AT)
            memcpy(name, entry->d_name, strlen(entry->d_name) + 1);
    }
    assert_null(readdir(dir));
    seekdir(dir, place);
    entry = readdir(dir);
    assert_non_null(entry);
    assert_string_equal(entry->d_name, name);
    rewinddir(dir);
    for (int i = 0; i < 3; i++)
        entry = readdir(dir);
    assert_non_null(entry);
    assert_string_equal(entry->d_name, "k0000000");
    closedir(dir);
}

/* ------------------------------------------------------------------------------ one file */

static void a_key_is_the_same_file_in_a_view(void **state)
{
    int fd, other;
    char text[16];

    make_keys(state);
    assert_int_equal(mount_stat(A("a/n/.prefix/u/user_1")).st_ino, mount_stat(A("a/n/user_1")).st_ino);
    fd = (int)MOUNT_OK(open(A("a/n/user_1"), O_RDWR | O_CLOEXEC));
    other = (int)MOUNT_OK(open(A("a/n/.from/u/user_1"), O_RDWR | O_CLOEXEC));
    MOUNT_OK(flock(fd, LOCK_EX));
    MOUNT_FAILS(EWOULDBLOCK, flock(other, LOCK_EX | LOCK_NB));
    MOUNT_OK(pwrite(other, "USER", 4, 0));
    assert_int_equal(MOUNT_OK(pread(fd, text, sizeof(text), 0)), 6);
    assert_memory_equal(text, "USER_1", 6);
    MOUNT_OK(close(other));
    MOUNT_OK(close(fd));
    mount_write_text(A("a/n/.prefix/user_/user_7"), "through");
    mount_expect_text(A("a/n/user_7"), "through");
    MOUNT_OK(truncate(A("a/n/.prefix/user_/user_7"), 4));
    MOUNT_OK(chmod(A("a/n/.prefix/user_/user_7"), 0600));
    MOUNT_OK(setxattr(A("a/n/.prefix/user_/user_7"), "user.x", "1", 1, 0));
    mount_expect_text(A("a/n/user_7"), "thro");
    assert_int_equal(mount_stat(A("a/n/user_7")).st_mode & 07777, 0600);
    assert_int_equal(MOUNT_OK(getxattr(A("a/n/user_7"), "user.x", text, sizeof(text))), 1);
}

static void names_are_not_changed_in_a_view(void **state)
{
    char text[16];

    make_keys(state);
    MOUNT_FAILS(EPERM, open(A("a/n/.prefix/user_/user_8"), O_CREAT | O_WRONLY, 0644));
    MOUNT_FAILS(EPERM, unlink(A("a/n/.prefix/user_/user_7")));
    MOUNT_FAILS(EPERM, rename(A("a/n/.prefix/user_/user_7"), A("a/n/.prefix/user_/user_8")));
    MOUNT_FAILS(EPERM, rename(A("a/n/.prefix/user_/user_7"), A("a/n/user_8")));
    MOUNT_FAILS(EPERM, rename(A("a/n/user_7"), A("a/n/.prefix/user_/user_8")));
    MOUNT_FAILS(EPERM, rename(A("a/n/.prefix"), A("a/m")));
    MOUNT_FAILS(EPERM, rename(A("a/n/.prefix/user_"), A("a/n/.prefix/zed")));
    MOUNT_FAILS(EPERM, mkdir(A("a/n/.prefix/user_/x-y"), 0755));
    MOUNT_FAILS(EPERM, symlink("x", A("a/n/.from/x/y")));
    MOUNT_FAILS(EPERM, rmdir(A("a/n/.from/x")));
    MOUNT_FAILS(EPERM, rmdir(A("a/n/.from")));
    MOUNT_FAILS(EPERM, chmod(A("a/n/.from/x"), 0700));
    MOUNT_FAILS(EPERM, chown(A("a/n/.prefix"), ONE, ONE));
    MOUNT_FAILS(ENOTSUP, setxattr(A("a/n/.prefix/u"), "user.x", "1", 1, 0));
    MOUNT_FAILS(ENOTSUP, getxattr(A("a/n/.prefix/u"), "user.kvfs.keys", text, sizeof(text)));
    assert_int_equal(MOUNT_OK(listxattr(A("a/n/.prefix/u"), text, sizeof(text))), 0);
    assert_non_null(
        strstr(mount_text(A(".kvfs/errors")), "a/n/.prefix/user_/user_7 delete: views only show keys"));
    mount_expect_list(A("a/n"), "Zed user user_1 user_20 user_7 usher zed");
}

/* The same number however often it is forgotten, and none of a key. */
static void a_view_has_a_number_of_its_own(void **state)
{
    struct statvfs of_view, of_namespace;
    struct stat attr;

    MOUNT_OK(mkdir(A("a/m"), 0755));
    attr = mount_stat(A("a/n/.prefix/user_"));
    mount_write_text("/proc/sys/vm/drop_caches", "2");
    assert_int_equal(mount_stat(A("a/n/.prefix/user_")).st_ino, attr.st_ino);
    assert_int_not_equal(mount_stat(A("a/n/.from/user_")).st_ino, attr.st_ino);
    assert_int_not_equal(mount_stat(A("a/n/.prefix/user")).st_ino, attr.st_ino);
    assert_int_not_equal(mount_stat(A("a/m/.prefix/user_")).st_ino, attr.st_ino);
    MOUNT_OK(statvfs(A("a/n"), &of_namespace));
    MOUNT_OK(statvfs(A("a/n/.prefix/user_"), &of_view));
    assert_int_equal(of_view.f_namemax, KV_KEY_MAX);
    assert_int_equal(of_view.f_blocks, of_namespace.f_blocks);
}

/* -------------------------------------------------------------------------------- at once */

static void what_is_changed_in_the_namespace_is_seen_in_a_view(void **state)
{
    mount_start(*state, SHARED);
    make_keys(state);
    MOUNT_FAILS(ENOENT, access(A("a/n/.prefix/user_/user_8"), F_OK));
    mount_expect_text(A("a/n/.prefix/user_/user_7"), "user_7");
    mount_expect_list(A("a/n/.prefix/user_"), "user_1 user_20 user_7");
    MOUNT_OK(rename(A("a/n/user_7"), A("a/n/user_8")));
    MOUNT_FAILS(ENOENT, access(A("a/n/.prefix/user_/user_7"), F_OK));
    mount_expect_text(A("a/n/.prefix/user_/user_8"), "user_7");
    MOUNT_OK(unlink(A("a/n/user_8")));
    MOUNT_FAILS(ENOENT, open(A("a/n/.prefix/user_/user_8"), O_RDONLY));
    mount_write_text(A("a/n/user_8"), "again");
    mount_expect_text(A("a/n/.prefix/user_/user_8"), "again");
    mount_expect_list(A("a/n/.prefix/user_"), "user_1 user_20 user_8");
}

static void what_another_node_or_kvctl_changes_is_seen_in_a_view(void **state)
{
    const char *path = A("a/n/.prefix/user_/user_1");

    mount_start(*state, SHARED);
    make_keys(state);
    mount_expect_text(path, "user_1");
    mount_write_text(B("a/n/.from/user/user_1"), "of B");
    mount_await_text(path, "of B");
    MOUNT_OK(unlink(B("a/n/user_1")));
    mount_await_absence(path);
    MOUNT_KVCTL(*state, "put", "a/n/user_1", "of kvctl");
    mount_await_text(path, "of kvctl");
    MOUNT_KVCTL(*state, "delete", "a/n/user_1");
    mount_await_absence(path);
    mount_expect_list(A("a/n/.prefix/user_"), "user_20 user_7");
    MOUNT_KVCTL(*state, "put", "a/n/user_3", "new");
    mount_expect_list(A("a/n/.prefix/user_"), "user_20 user_3 user_7");
}

static void a_view_of_a_namespace_that_is_gone_shows_nothing(void **state)
{
    int dir = (int)MOUNT_OK(open(A("a/n/.prefix/user_"), O_PATH | O_DIRECTORY | O_CLOEXEC));

    mount_start(*state, SHARED);
    MOUNT_OK(rmdir(B("a/n")));
    MOUNT_OK(mkdir(B("a/n"), 0755));
    mount_write_text(B("a/n/user_1"), "of another one");
    MOUNT_FAILS(ESTALE, openat(dir, "user_1", O_RDONLY));
    mount_await_text(A("a/n/.prefix/user_/user_1"), "of another one");
    MOUNT_OK(close(dir));
}

/* -------------------------------------------------------------------------------- to whom */

static int list_as(uid_t uid, const char *path)
{
    return (int)AS(uid, open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static void who_may_not_read_a_namespace_does_not_read_its_views(void **state)
{
    char text[16];
    int dir;

    mount_start(*state, SHARED);
    make_keys(state);
    MOUNT_OK(close((int)MOUNT_OK(list_as(ONE, A("a/n/.prefix/user_")))));
    dir = (int)MOUNT_OK(AS(ONE, open(A("a/n/.prefix/user_"), O_PATH | O_DIRECTORY | O_CLOEXEC)));
    MOUNT_OK(AS(ONE, users_read(A("a/n/.prefix/user_/user_1"), text, sizeof(text))));
    MOUNT_OK(chmod(A("a/n"), 0711));
    assert_int_equal(mount_stat(A("a/n/.prefix/user_")).st_mode & 07777, 0711);
    MOUNT_FAILS(EACCES, list_as(ONE, A("a/n/.prefix/user_")));
    MOUNT_FAILS(EACCES, list_as(ONE, A("a/n/.from")));
    MOUNT_OK(AS(ONE, users_read(A("a/n/.prefix/user_/user_1"), text, sizeof(text))));
    MOUNT_OK(chmod(A("a/n"), 0700));
    MOUNT_FAILS(EACCES, AS(ONE, users_read(A("a/n/.prefix/user_/user_1"), text, sizeof(text))));
    MOUNT_FAILS(EACCES, AS(ONE, openat(dir, "user_1", O_RDONLY))); /* who is in the view already */
    MOUNT_OK(chmod(B("a/n"), 0755));
    MOUNT_OK(chmod(B("a/n"), 0700));
    MOUNT_FAILS(EACCES, AS(ONE, openat(dir, "user_1", O_RDONLY)));
    MOUNT_OK(chown(A("a/n"), ONE, ONE));
    assert_int_equal(mount_stat(A("a/n/.from/user_")).st_uid, ONE);
    MOUNT_OK(AS(ONE, users_read(A("a/n/.prefix/user_/user_1"), text, sizeof(text))));
    MOUNT_FAILS(EACCES, AS(OTHER, users_read(A("a/n/.prefix/user_/user_1"), text, sizeof(text))));
    MOUNT_OK(close(dir));
}

/* The kernel's checks are with what it knew: the request is refused, and then it knows. */
static void a_namespace_that_another_node_closes_is_closed_in_views(void **state)
{
    char text[16];
    int dir;

    mount_start(*state, SHARED ",invalidate=ttl");
    mount_stop(NODE(0));
    mount_again(NODE(0), SHARED ",invalidate=ttl");
    make_keys(state);
    dir = (int)MOUNT_OK(AS(ONE, open(A("a/n/.prefix/user_"), O_PATH | O_DIRECTORY | O_CLOEXEC)));
    MOUNT_OK(AS(ONE, users_read(A("a/n/.prefix/user_/user_1"), text, sizeof(text))));
    MOUNT_OK(chmod(B("a/n"), 0700));
    MOUNT_FAILS(EACCES, AS(ONE, users_read(A("a/n/.prefix/user_/user_1"), text, sizeof(text))));
    MOUNT_FAILS(EACCES, list_as(ONE, A("a/n/.prefix/user_")));
    MOUNT_FAILS(EACCES, AS(ONE, openat(dir, "user_1", O_RDONLY)));
    MOUNT_OK(chmod(B("a/n"), 0755));
    MOUNT_OK(AS(ONE, users_read(A("a/n/.prefix/user_/user_1"), text, sizeof(text))));
    MOUNT_OK(close(dir));
}

/* --------------------------------------------------------------------------------- memory */

static long inodes(void **state)
{
    const char *line = strstr(mount_text(A(".kvfs/stats")), "\nkvfs_inodes{");

    assert_non_null(line);
    return strtol(strstr(line, "} ") + 2, NULL, 10);
}

static void views_are_forgotten_with_the_kernel(void **state)
{
    enum { VIEWS = 10000, PATIENCE_MS = 20000 };
    int64_t end_ms;

    make_keys(state);
    for (int i = 0; i < VIEWS; i++)
        MOUNT_FAILS(ENOENT, AS(ONE, access(A("a/n/.prefix/user_%d/user_x", i), F_OK)));
    for (int i = 0; i < VIEWS; i++)
        MOUNT_OK(AS(ONE, access(A("a/n/.from/u_%d/usher", i), F_OK)));
    print_message("%ld inodes\n", inodes(state));
    end_ms = mount_now_ms() + PATIENCE_MS;
    do {
        assert_true(mount_now_ms() < end_ms);
        mount_write_text("/proc/sys/vm/drop_caches", "2");
        mount_pause_ms(10);
    } while (inodes(state) > 20);
    mount_expect_list(A("a/n/.prefix/user_"), "user_1 user_20 user_7");
}

/* Of many the kernel is had forget the oldest; one that somebody works in stays, and works. */
static void of_many_views_few_are_remembered(void **state)
{
    enum { LOOKED_UP = 12000, KEPT = 4096 + 100 };
    int64_t end_ms = mount_now_ms() + 60000;
    struct stat attr;
    int at;

    make_keys(state);
    at = (int)MOUNT_OK(open(A("a/n/.prefix/user_"), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (int i = 0; i < LOOKED_UP; i++)
        MOUNT_OK(lstat(A("a/n/.prefix/user_%d", i), &attr));
    while (inodes(state) > KEPT) {
        assert_true(mount_now_ms() < end_ms);
        mount_pause_ms(10);
    }
    MOUNT_OK(fstatat(at, "user_20", &attr, 0));
    MOUNT_OK(close(at));
    mount_expect_list(A("a/n/.prefix/user_"), "user_1 user_20 user_7");
    mount_expect_list(A("a/n/.prefix/user_7"), "user_7");
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        USERS_TEST(SHARED, a_view_shows_the_keys_with_a_prefix_or_from_a_key_on),
        USERS_TEST(SHARED, views_are_found_by_name_and_never_listed),
        USERS_TEST(SHARED, a_view_is_called_as_a_key_can_be),
        USERS_TEST(SHARED, a_view_shows_keys_that_are_being_made_and_no_temporary_files),
        MOUNT_TEST_EMPTY(places_in_a_view_are_found_again),
        USERS_TEST(SHARED, a_key_is_the_same_file_in_a_view),
        USERS_TEST(SHARED, names_are_not_changed_in_a_view),
        USERS_TEST(SHARED, a_view_has_a_number_of_its_own),
        USERS_TEST(SHARED, what_is_changed_in_the_namespace_is_seen_in_a_view),
        USERS_TEST(SHARED, what_another_node_or_kvctl_changes_is_seen_in_a_view),
        USERS_TEST(SHARED, a_view_of_a_namespace_that_is_gone_shows_nothing),
        USERS_TEST(SHARED, who_may_not_read_a_namespace_does_not_read_its_views),
        USERS_TEST(SHARED, a_namespace_that_another_node_closes_is_closed_in_views),
        USERS_TEST(SHARED, views_are_forgotten_with_the_kernel),
        USERS_TEST(SHARED, of_many_views_few_are_remembered),
        USERS_TEST(SHARED ",invalidate=ttl", of_many_views_few_are_remembered),
    };

    return cmocka_run_group_tests_name("views", tests, NULL, NULL);
}

int main(void) { return users_tests("views", run); }
