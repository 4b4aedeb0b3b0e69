/* Directories that are closed, removed or made anew elsewhere while this node knows them, and what those who may not
 * read an account learn about it. */
#include "tests/support/users.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#define NODE(i) (&((struct mount_test *)*state)->nodes[i])
#define A(...) mount_path(NODE(0), __VA_ARGS__)
#define B(...) mount_path(NODE(1), __VA_ARGS__)

/* ---------------------------------------------------------------------------- closed */

static void expect_nothing_by(int fd)
{
    char text[16], path[64];

    USERS_REFUSED(AS(ONE, openat(fd, "later", O_RDONLY | O_CLOEXEC)));
    USERS_REFUSED(AS(ONE, openat(fd, "later", O_RDWR | O_CREAT | O_CLOEXEC, 0666)));
    USERS_REFUSED(AS(ONE, openat(fd, "fresh", O_RDWR | O_CREAT | O_CLOEXEC, 0666)));
    USERS_REFUSED(AS(ONE, faccessat(fd, "later", F_OK, 0)));
    USERS_REFUSED(AS(ONE, unlinkat(fd, "later", 0)));
    snprintf(path, sizeof(path), "/proc/self/fd/%d/later", fd);
    USERS_REFUSED(AS(ONE, getxattr(path, "user.x", text, sizeof(text))));
}

/* One user has looked around in a/n and has it open; then its owner closes `dir` on another node, and goes on with it.
 * What the user knew may be known for a while; nothing newer is. */
static void close_directory(void **state, const char *dir)
{
    char text[16];
    int fd;

    mount_start(*state, "allow_other,cache_ttl=0");
    MOUNT_OK(users_write(A("a/n/early"), "public", 0666));
    MOUNT_OK(chmod(A("a/n/early"), 0666));
    fd = (int)MOUNT_OK(AS(ONE, open(A("a/n"), O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
    MOUNT_OK(AS(ONE, users_read(A("a/n/early"), text, sizeof(text))));
    MOUNT_OK(chmod(B("%s", dir), 0700));
    MOUNT_OK(users_write(B("a/n/later"), "secret", 0666));
    MOUNT_OK(setxattr(B("a/n/later"), "user.x", "secret", 6, 0));
    MOUNT_OK(users_write(B("a/n/early"), "secret", 0666));

    if (strcmp(dir, "a/n") == 0) /* as anywhere, what is above an open directory does not matter to it */
        expect_nothing_by(fd);
    MOUNT_FAILS(EACCES, AS(ONE, open(A("a/n/later"), O_RDONLY | O_CLOEXEC)));
    MOUNT_FAILS(EACCES, AS(ONE, open(A("a/n/later"), O_RDWR | O_CREAT | O_CLOEXEC, 0666)));
    MOUNT_FAILS(EACCES, AS(ONE, access(A("a/n/later"), F_OK)));
    MOUNT_FAILS(EACCES, AS(ONE, getxattr(A("a/n/later"), "user.x", text, sizeof(text))));
    MOUNT_FAILS(EACCES, AS(ONE, users_write(A("a/n/fresh"), "mine", 0666)));
    MOUNT_FAILS(EACCES, AS(ONE, open(A("a/n"), O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
    if (AS(ONE, users_read(A("a/n/early"), text, sizeof(text))) >= 0)
        assert_string_equal(text, "public");
    USERS_REFUSED(AS(ONE, truncate(A("a/n/early"), 0)));
    mount_expect_text(B("a/n/later"), "secret");
    mount_expect_text(B("a/n/early"), "secret");
    assert_false(mount_is_there(B("a/n/fresh")));
}

static void a_namespace_that_was_closed_elsewhere_serves_nothing_new(void **state)
{
    close_directory(state, "a/n");
}

static void an_account_that_was_closed_elsewhere_serves_nothing_new(void **state) { close_directory(state, "a"); }

/* ------------------------------------------------------------------------ made anew */

/* Each of these is the first that this node hears of it. */
static void the_first_request_to_a_namespace_that_was_made_anew_succeeds(void **state)
{
    enum { CREATE, UNLINK, RENAME, REPLACE, TRUNCATE, SAVE, CHMOD, XATTR, DIR_CHMOD, DIR_XATTR, REQUESTS };

    mount_start(*state, "allow_other,cache_ttl=0");
    MOUNT_KVCTL(*state, "account", "limit", "a", "--namespaces", "20");
    for (int i = 0; i < REQUESTS; i++) {
        char *key = strdup(A("a/n%d/key", i)), *other = strdup(A("a/n%d/other", i)), *dir = strdup(A("a/n%d", i));
        char name[32];

        MOUNT_OK(mkdir(dir, 0755));
        mount_write_text(key, "older");
        mount_write_text(other, "older");
        free(mount_list(dir));
        snprintf(name, sizeof(name), "a/n%d", i);
        MOUNT_KVCTL(*state, "namespace", "delete", name, "--recursive");
        MOUNT_OK(mkdir(B("a/n%d", i), 0755));
        mount_write_text(B("a/n%d/key", i), "newer");
        if (i == CREATE) {
            mount_write_text(A("a/n%d/fresh", i), "1");
            mount_expect_text(B("a/n%d/fresh", i), "1");
        } else if (i == UNLINK) {
            MOUNT_OK(unlink(key));
            assert_false(mount_is_there(B("a/n%d/key", i)));
        } else if (i == RENAME || i == REPLACE) {
            MOUNT_OK(rename(key, i == RENAME ? A("a/n%d/fresh", i) : other));
            mount_expect_text(B("a/n%d/%s", i, i == RENAME ? "fresh" : "other"), "newer");
        } else if (i == TRUNCATE) {
            MOUNT_OK(truncate(key, 2));
            mount_expect_text(B("a/n%d/key", i), "ne");
        } else if (i == SAVE) {
            mount_write_text(key, "newest");
            mount_expect_text(B("a/n%d/key", i), "newest");
        } else if (i == CHMOD || i == DIR_CHMOD) {
            MOUNT_OK(chmod(i == CHMOD ? key : dir, 0700));
            assert_int_equal(mount_stat(B("a/n%d/%s", i, i == CHMOD ? "key" : ".")).st_mode & 0777, 0700);
        } else {
            char text[8];

            MOUNT_OK(setxattr(i == XATTR ? key : dir, "user.x", "1", 1, 0));
            MOUNT_OK(getxattr(B("a/n%d/%s", i, i == XATTR ? "key" : "."), "user.x", text, sizeof(text)));
        }
        free(key);
        free(other);
        free(dir);
    }
}

static void an_account_that_was_made_anew_elsewhere_is_used_as_if_known(void **state)
{
    mount_start(*state, "allow_other,cache_ttl=0");
    MOUNT_OK(mkdir(A("a/.projects/p"), 0755));
    free(mount_list(A("a")));
    MOUNT_KVCTL(*state, "account", "delete", "a", "--recursive");
    MOUNT_OK(mkdir(B("a"), 0755));
    MOUNT_OK(mkdir(B("a/n"), 0755));
    MOUNT_OK(mkdir(B("a/.projects/p"), 0755));
    MOUNT_OK(mkdir(A("a/m"), 0755));
    assert_true(mount_is_there(B("a/m")));
    MOUNT_OK(symlink("../../n", A("a/.projects/p/V")));
    assert_true(mount_is_there(B("a/.projects/p/V")));
    mount_write_text(A("a/n/key"), "1");
    mount_expect_text(B("a/n/key"), "1");
    MOUNT_OK(rmdir(A("a/m")));
}

/* A directory that is gone for good is not there, also for those who have it open. */
static void a_namespace_that_was_removed_elsewhere_is_gone(void **state)
{
    int fd;

    mount_start(*state, "allow_other,cache_ttl=0");
    mount_write_text(A("a/n/key"), "1");
    fd = (int)MOUNT_OK(open(A("a/n"), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    MOUNT_OK(unlink(B("a/n/key")));
    MOUNT_OK(rmdir(B("a/n")));
    MOUNT_FAILS(ENOENT, open(A("a/n/fresh"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    assert_int_equal(openat(fd, "fresh", O_WRONLY | O_CREAT | O_CLOEXEC, 0644), -1);
    assert_true(errno == ENOENT || errno == ESTALE);
    assert_int_equal(unlink(A("a/n/key")), -1);
    assert_int_equal(errno, ENOENT);
}

/* ----------------------------------------------------------------------------- sticky */

static void expect_sticky_key(void **state)
{
    mount_expect_text(B("a/n/key"), "theirs");
    assert_int_equal(mount_stat(B("a/n/key")).st_uid, OTHER);
}

static void a_sticky_namespace_protects_what_others_made_elsewhere(void **state)
{
    mount_start(*state, "allow_other,cache_ttl=0");
    MOUNT_OK(chmod(A("a/n"), 01777));
    MOUNT_OK(AS(ONE, users_write(A("a/n/mine"), "mine", 0666)));
    for (int i = 0; i < 5; i++) {
        MOUNT_OK(AS(ONE, users_write(A("a/n/key"), "mine", 0666)));
        MOUNT_OK(AS(ONE, access(A("a/n/key"), F_OK)));
        MOUNT_OK(unlink(B("a/n/key")));
        MOUNT_OK(AS(OTHER, users_write(B("a/n/key"), "theirs", 0666)));
        if (i == 0)
            MOUNT_FAILS(EPERM, AS(ONE, unlink(A("a/n/key"))));
        else if (i == 1)
            MOUNT_FAILS(EPERM, AS(ONE, rename(A("a/n/key"), A("a/n/elsewhere"))));
        else if (i == 2)
            MOUNT_FAILS(EPERM, AS(ONE, rename(A("a/n/mine"), A("a/n/key"))));
        else if (i == 3)
            MOUNT_FAILS(EPERM,
                        AS(ONE, renameat2(AT_FDCWD, A("a/n/key"), AT_FDCWD, A("a/n/mine"), RENAME_EXCHANGE)));
        else
            MOUNT_FAILS(EPERM,
                        AS(ONE, renameat2(AT_FDCWD, A("a/n/mine"), AT_FDCWD, A("a/n/key"), RENAME_EXCHANGE)));
        expect_sticky_key(state);
        MOUNT_OK(unlink(A("a/n/key")));
    }
}

/* The rename's target is believed absent, and has become another user's key. */
static void a_sticky_namespace_protects_what_was_believed_absent(void **state)
{
    mount_start(*state, "allow_other,cache_ttl=0");
    MOUNT_OK(chmod(A("a/n"), 01777));
    MOUNT_OK(AS(ONE, users_write(A("a/n/mine"), "mine", 0666)));
    MOUNT_FAILS(ENOENT, AS(ONE, access(A("a/n/key"), F_OK)));
    MOUNT_OK(AS(OTHER, users_write(B("a/n/key"), "theirs", 0666)));
    MOUNT_FAILS(EPERM, AS(ONE, rename(A("a/n/mine"), A("a/n/key"))));
    expect_sticky_key(state);
}

static void a_namespace_that_became_sticky_elsewhere_is_sticky_here(void **state)
{
    mount_start(*state, "allow_other,cache_ttl=0");
    MOUNT_OK(AS(OTHER, users_write(A("a/n/key"), "theirs", 0666)));
    MOUNT_OK(AS(ONE, access(A("a/n/key"), F_OK)));
    MOUNT_OK(chmod(B("a/n"), 01777));
    MOUNT_FAILS(EPERM, AS(ONE, unlink(A("a/n/key"))));
    expect_sticky_key(state);
}

/* ----------------------------------------------------------------- what others learn */

static struct statvfs space_as(uid_t uid, const char *path)
{
    struct statvfs space;

    MOUNT_OK(AS(uid, statvfs(path, &space)));
    return space;
}

static void a_closed_account_tells_nothing_about_its_content(void **state)
{
    struct stat before, after;
    char text[32];
    struct statvfs root, closed, own;

    MOUNT_KVCTL(*state, "account", "limit", "a", "--bytes", "1M");
    MOUNT_OK(chmod(A("a"), 0700));
    MOUNT_OK(chown(A("a"), OTHER, OTHER));
    before = mount_stat(A("a"));
    MOUNT_OK(mkdir(A("a/m"), 0755));
    mount_write_text(A("a/m/key"), "some bytes");
    after = mount_stat(A("a"));
    assert_int_equal(after.st_size, before.st_size);
    assert_int_equal(after.st_nlink, before.st_nlink);
    assert_int_equal(after.st_blocks, before.st_blocks);
    MOUNT_FAILS(EACCES, AS(ONE, getxattr(A("a"), "user.kvfs.bytes", text, sizeof(text))));
    MOUNT_OK(AS(OTHER, getxattr(A("a"), "user.kvfs.bytes", text, sizeof(text))));

    root = space_as(0, A("."));
    closed = space_as(ONE, A("a"));
    assert_int_equal(closed.f_blocks, root.f_blocks); /* the disk's; what is free of it moves */
    own = space_as(OTHER, A("a"));
    assert_int_equal(own.f_blocks * own.f_frsize, 1 << 20);
    assert_int_equal(space_as(0, A("a")).f_blocks, own.f_blocks);
    MOUNT_OK(chmod(A("a"), 0755));
    assert_int_equal(space_as(ONE, A("a")).f_blocks, own.f_blocks);
    MOUNT_OK(chown(A("a"), OTHER, ONE));
    MOUNT_OK(chmod(A("a"), 0707)); /* the group's bits say what its members may */
    assert_int_equal(space_as(ONE, A("a")).f_blocks, root.f_blocks);
}

static void a_directory_has_a_constant_size_and_link_count(void **state)
{
    const char *const dirs[] = {".", "a", "a/n", "a/.projects", "a/.projects/p"};

    MOUNT_OK(mkdir(A("a/.projects/p"), 0755));
    MOUNT_OK(symlink("../../n", A("a/.projects/p/V")));
    MOUNT_OK(mkdir(A("b"), 0755));
    mount_write_text(A("a/n/key"), "some bytes");
    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
        assert_int_equal(mount_stat(A("%s", dirs[i])).st_size, 0);
        assert_int_equal(mount_stat(A("%s", dirs[i])).st_nlink, 1);
        assert_int_equal(mount_stat(A("%s", dirs[i])).st_blocks, 0);
    }
}

static void the_longest_name_is_that_of_the_directory(void **state)
{
    MOUNT_OK(mkdir(A("a/.projects/p"), 0755));
    mount_write_text(A("a/n/key"), "1");
    assert_int_equal(space_as(0, A(".")).f_namemax, 64);
    assert_int_equal(space_as(0, A("a")).f_namemax, 64);
    assert_int_equal(space_as(0, A("a/.projects")).f_namemax, 64);
    assert_int_equal(space_as(0, A("a/.projects/p")).f_namemax, 64);
    assert_int_equal(space_as(0, A("a/n")).f_namemax, 512);
    assert_int_equal(pathconf(A("a/n"), _PC_NAME_MAX), 512);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        USERS_TEST("allow_other", a_namespace_that_was_closed_elsewhere_serves_nothing_new),
        USERS_TEST("allow_other,cache_size=0", a_namespace_that_was_closed_elsewhere_serves_nothing_new),
        USERS_TEST("allow_other,cache_ttl=0", a_namespace_that_was_closed_elsewhere_serves_nothing_new),
        USERS_TEST("allow_other", an_account_that_was_closed_elsewhere_serves_nothing_new),
        USERS_TEST("allow_other,cache_ttl=0", an_account_that_was_closed_elsewhere_serves_nothing_new),
        USERS_TEST("allow_other", the_first_request_to_a_namespace_that_was_made_anew_succeeds),
        USERS_TEST("allow_other,cache_size=0", the_first_request_to_a_namespace_that_was_made_anew_succeeds),
        USERS_TEST("allow_other,cache_ttl=0", the_first_request_to_a_namespace_that_was_made_anew_succeeds),
        USERS_TEST("allow_other", an_account_that_was_made_anew_elsewhere_is_used_as_if_known),
        USERS_TEST("allow_other", a_namespace_that_was_removed_elsewhere_is_gone),
        USERS_TEST("allow_other", a_sticky_namespace_protects_what_others_made_elsewhere),
        USERS_TEST("allow_other,cache_ttl=0", a_sticky_namespace_protects_what_others_made_elsewhere),
        USERS_TEST("allow_other", a_sticky_namespace_protects_what_was_believed_absent),
        USERS_TEST("allow_other", a_namespace_that_became_sticky_elsewhere_is_sticky_here),
        USERS_TEST("allow_other", a_closed_account_tells_nothing_about_its_content),
        USERS_TEST("allow_other", a_directory_has_a_constant_size_and_link_count),
        USERS_TEST("allow_other", the_longest_name_is_that_of_the_directory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return users_tests("closed", run); }
