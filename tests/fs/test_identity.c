/* A request acts on the object whose owner and mode the kernel checked, or on none: keys that are removed, replaced,
 * made or made private while somebody has them open or known, on this node, on another one and by kvctl. */
#include "tests/support/setting.h"
#include "tests/support/users.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#define NODE(i) (&((struct mount_test *)*state)->nodes[i])
#define A(...) mount_path(NODE(0), __VA_ARGS__)
#define B(...) mount_path(NODE(1), __VA_ARGS__)

enum where { HERE, ELSEWHERE, BY_KVCTL };
#define KEY "a/n/key%d" /* one for each way, since a node may serve for a while what it knew */

/* The key is removed, and another one is made that only its owner may use. */
static void replace_by_private_key(void **state, enum where where)
{
    const char *key = where == HERE ? A(KEY, where) : B(KEY, where);
    char name[64];
    mode_t mask;

    if (where == BY_KVCTL) {
        snprintf(name, sizeof(name), KEY, where);
        MOUNT_KVCTL(*state, "delete", name);
        mask = umask(077);
        MOUNT_KVCTL(*state, "put", name, "secret");
        umask(mask);
        return;
    }
    MOUNT_OK(AS(OTHER, unlink(key)));
    MOUNT_OK(AS(OTHER, users_write(key, "secret", 0600)));
}

/* The private key is as it was made. It is looked at on the second node, which asks the store each time. */
static void expect_private_key(void **state, enum where where)
{
    const char *key = B(KEY, where);
    struct stat attr = mount_stat(key);
    char value[8];

    assert_int_equal(attr.st_mode & 07777, 0600);
    assert_int_equal(attr.st_uid, where == BY_KVCTL ? 0 : OTHER);
    assert_int_equal(attr.st_gid, where == BY_KVCTL ? 0 : OTHER);
    assert_int_not_equal(attr.st_mtime, 1);
    MOUNT_FAILS(ENODATA, getxattr(key, "user.x", value, sizeof(value)));
    mount_expect_text(key, "secret");
}

/* ------------------------------------------------------------------- by descriptor */

/* O_PATH: the kernel knows the inode, and no handle is open. */
static void descriptor_without_handle(void **state, enum where where)
{
    static const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    char path[64];
    int fd;

    MOUNT_OK(AS(ONE, users_write(A(KEY, where), "mine", 0644)));
    fd = (int)MOUNT_OK(AS(ONE, open(A(KEY, where), O_PATH | O_CLOEXEC)));
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    replace_by_private_key(state, where);
    if (where == HERE)
        MOUNT_FAILS(ESTALE, AS(ONE, chmod(path, 0666)));
    USERS_REFUSED(AS(ONE, chmod(path, 0666)));
    USERS_REFUSED(AS(ONE, chown(path, (uid_t)-1, ONE)));
    USERS_REFUSED(AS(ONE, utimensat(AT_FDCWD, path, times, 0)));
    (void)AS(ONE, setxattr(path, "user.x", "1", 1, 0));
    (void)AS(ONE, truncate(path, 1)); /* these two may be of what nobody sees any more */
    expect_private_key(state, where);
    MOUNT_OK(close(fd));
}

static void a_path_descriptor_of_a_removed_key_does_nothing_to_its_successor(void **state)
{
    mount_start(*state, "allow_other,cache_ttl=0");
    descriptor_without_handle(state, HERE);
    descriptor_without_handle(state, ELSEWHERE);
    descriptor_without_handle(state, BY_KVCTL);
}

/* An open handle goes on with the object that it opened. What it is told may fail or not; the successor is not touched.
 * Its bytes go nowhere: the name was taken from it here, or belongs to somebody else. */
static void descriptor_with_handle(void **state, enum where where)
{
    static const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    char text[16];
    int fd;

    MOUNT_OK(AS(ONE, users_write(A(KEY, where), "mine", 0644)));
    fd = (int)MOUNT_OK(AS(ONE, open(A(KEY, where), O_RDWR | O_CLOEXEC)));
    replace_by_private_key(state, where);
    MOUNT_OK(AS(ONE, users_read_fd(fd, text, sizeof(text))));
    assert_string_equal(text, "mine");
    (void)AS(ONE, fchmod(fd, 0666));
    (void)AS(ONE, futimens(fd, times));
    (void)AS(ONE, fsetxattr(fd, "user.x", "1", 1, 0));
    expect_private_key(state, where);
    MOUNT_OK(AS(ONE, pwrite(fd, "MINE", 4, 0)));
    if (where == HERE)
        MOUNT_OK(AS(ONE, close(fd)));
    else
        MOUNT_FAILS(ESTALE, AS(ONE, close(fd)));
    expect_private_key(state, where);
}

static void an_open_handle_of_a_removed_key_does_nothing_to_its_successor(void **state)
{
    mount_start(*state, "allow_other,cache_ttl=0");
    descriptor_with_handle(state, HERE);
    descriptor_with_handle(state, ELSEWHERE);
    descriptor_with_handle(state, BY_KVCTL);
}

/* By its path a user meets what is there now: no ESTALE, and what its owner and mode allow. */
static void what_was_replaced_elsewhere_is_checked_anew(void **state)
{
    mount_start(*state, "allow_other,cache_ttl=0");
    for (enum where where = ELSEWHERE; where <= BY_KVCTL; where++) {
        MOUNT_OK(AS(ONE, users_write(A(KEY, where), "mine", 0644)));
        (void)mount_stat(A(KEY, where));
        replace_by_private_key(state, where);
        MOUNT_FAILS(EPERM, AS(ONE, chmod(A(KEY, where), 0666)));
        MOUNT_FAILS(EACCES, AS(ONE, setxattr(A(KEY, where), "user.x", "1", 1, 0)));
        MOUNT_FAILS(EACCES, AS(ONE, truncate(A(KEY, where), 0)));
        MOUNT_FAILS(EACCES, AS(ONE, open(A(KEY, where), O_RDWR | O_CLOEXEC)));
        expect_private_key(state, where);
    }
}

/* -------------------------------------------------------------------- believed absent */

static void make_elsewhere(void **state, enum where where, const char *key, mode_t mode)
{
    mode_t mask = umask(0666 & ~mode);
    char name[64];

    snprintf(name, sizeof(name), "a/n/%s%d", key, where);
    if (where == ELSEWHERE)
        MOUNT_OK(users_write(B("%s", name), "secret", 0666));
    else
        MOUNT_KVCTL(*state, "put", name, "secret");
    umask(mask);
}

static void a_key_that_was_believed_absent_is_opened_as_its_mode_says(void **state)
{
    mount_start(*state, "allow_other,cache_ttl=0");
    for (enum where where = ELSEWHERE; where <= BY_KVCTL; where++) {
        char text[16];
        int fd;

        MOUNT_FAILS(ENOENT, AS(ONE, access(A("a/n/private%d", where), F_OK)));
        MOUNT_FAILS(ENOENT, AS(ONE, access(A("a/n/shared%d", where), F_OK)));
        MOUNT_FAILS(ENOENT, AS(ONE, access(A("a/n/there%d", where), F_OK)));
        make_elsewhere(state, where, "private", 0600);
        make_elsewhere(state, where, "shared", 0666);
        make_elsewhere(state, where, "there", 0666);
        MOUNT_FAILS(EACCES, AS(ONE, open(A("a/n/private%d", where), O_CREAT | O_RDONLY | O_CLOEXEC, 0644)));
        MOUNT_FAILS(EACCES,
                    AS(ONE, open(A("a/n/private%d", where), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644)));
        MOUNT_FAILS(EEXIST, AS(ONE, open(A("a/n/there%d", where), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0644)));
        fd = (int)MOUNT_OK(AS(ONE, open(A("a/n/shared%d", where), O_CREAT | O_RDWR | O_CLOEXEC, 0644)));
        MOUNT_OK(users_read_fd(fd, text, sizeof(text)));
        assert_string_equal(text, "secret");
        MOUNT_OK(close(fd));
        mount_expect_text(B("a/n/private%d", where), "secret");
        mount_expect_text(B("a/n/there%d", where), "secret");
    }
}

static void make_private_for_ever(const char *key)
{
    for (;;) {
        int fd = open(key, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        if (fd >= 0) {
            (void)!write(fd, "secret", 6);
            close(fd);
        }
        unlink(key);
    }
}

/* The key comes between the kernel's look and its create. */
static void a_key_that_comes_while_it_is_created_is_not_opened_unchecked(void **state)
{
    mount_start(*state, "allow_other,cache_ttl=0");
    unsigned opened = 0, refused = 0;
    pid_t child = mount_fork(*state);

    if (child == 0)
        make_private_for_ever(B("a/n/key"));
    for (int64_t end = mount_now_ms() + (int64_t)test_setting("KVFS_TEST_SECONDS", 3) * 1000;
         mount_now_ms() < end;) {
        int fd = (int)AS(ONE, open(A("a/n/key"), O_CREAT | O_RDONLY | O_CLOEXEC, 0644));
        char text[16] = "";

        if (fd < 0 && errno != EACCES && errno != ESTALE) /* ESTALE: it came and went twice within the call */
            fail_msg("open: %s", strerrorname_np(errno));
        refused += fd < 0;
        opened += fd >= 0;
        if (fd >= 0 && AS(ONE, users_read_fd(fd, text, sizeof(text))) >= 0)
            assert_string_equal(text, "");
        if (fd >= 0)
            close(fd);
    }
    printf("%u opened, %u refused\n", opened, refused);
    MOUNT_OK(kill(child, SIGKILL));
    (void)mount_wait(*state, child);
}

/* ---------------------------------------------------------------------- made private */

static void a_value_that_was_made_private_elsewhere_is_not_for_others(void **state)
{
    mount_start(*state, "allow_other,cache_ttl=0");
    for (enum where where = ELSEWHERE; where <= BY_KVCTL; where++) {
        char text[16];

        MOUNT_OK(users_write(A(KEY, where), "public", 0666));
        MOUNT_OK(chmod(A(KEY, where), 0666));
        MOUNT_OK(AS(ONE, users_read(A(KEY, where), text, sizeof(text))));
        assert_string_equal(text, "public");
        if (where == ELSEWHERE) {
            MOUNT_OK(chmod(B(KEY, where), 0600));
            MOUNT_OK(users_write(B(KEY, where), "secret", 0600));
        } else {
            MOUNT_KVCTL(*state, "delete", "a/n/key2");
            make_elsewhere(state, where, "key", 0600);
        }
        MOUNT_OK(setxattr(B(KEY, where), "user.x", "secret", 6, 0));
        /* What was public may be read as long as the node may serve it. */
        if (AS(ONE, users_read(A(KEY, where), text, sizeof(text))) >= 0)
            assert_string_equal(text, "public");
        else
            assert_int_equal(errno, EACCES);
        if (AS(ONE, getxattr(A(KEY, where), "user.x", text, sizeof(text))) >= 0)
            fail_msg("another user's attribute was read");
        MOUNT_FAILS(EACCES, AS(ONE, open(A(KEY, where), O_WRONLY | O_TRUNC | O_CLOEXEC)));
        MOUNT_FAILS(EACCES, AS(ONE, open(A(KEY, where), O_WRONLY | O_APPEND | O_CLOEXEC)));
        MOUNT_FAILS(EACCES, AS(ONE, open(A(KEY, where), O_RDWR | O_CLOEXEC)));
        MOUNT_FAILS(EACCES, AS(ONE, truncate(A(KEY, where), 0)));
        MOUNT_FAILS(EACCES, AS(ONE, setxattr(A(KEY, where), "user.x", "1", 1, 0)));
        MOUNT_FAILS(EACCES, AS(ONE, users_read(A(KEY, where), text, sizeof(text))));
        mount_expect_text(B(KEY, where), "secret");
    }
}

/* A node that keeps no values knows owner and mode all the same, and fetches the value later. */
static void a_value_that_is_fetched_later_comes_with_its_own_mode(void **state)
{
    char text[16];

    mount_start(*state, "allow_other,cache_ttl=0");
    for (enum where where = ELSEWHERE; where <= BY_KVCTL; where++) {
        MOUNT_OK(users_write(B(KEY, where), "public", 0644));
        assert_int_equal(mount_stat(A(KEY, where)).st_mode & 0777, 0644); /* the value is not read */
        replace_by_private_key(state, where);
        if (AS(ONE, users_read(A(KEY, where), text, sizeof(text))) >= 0)
            assert_string_equal(text, "public");
        else
            assert_int_equal(errno, EACCES);
        expect_private_key(state, where);
    }
}

/* ------------------------------------------------------------------------ file handles */

struct handle {
    struct file_handle head;
    unsigned char bytes[MAX_HANDLE_SZ];
};

static struct handle handle_of(const char *path)
{
    struct handle handle = {.head.handle_bytes = MAX_HANDLE_SZ};
    int mount_id;

    MOUNT_OK(name_to_handle_at(AT_FDCWD, path, &handle.head, &mount_id, 0));
    return handle;
}

/* A key's node id is given out once: who kept its handle never meets another key by it. */
static void a_file_handle_of_a_removed_key_opens_no_other_key(void **state)
{
    enum { OTHERS = 150, ROUNDS = 3 };
    int root = (int)MOUNT_OK(open(A("."), O_RDONLY | O_CLOEXEC));

    for (int round = 0; round < ROUNDS; round++) {
        struct handle handle;

        mount_write_text(A("a/n/key"), "value");
        handle = handle_of(A("a/n/key"));
        MOUNT_OK(unlink(A("a/n/key")));
        for (int i = 0; i < OTHERS; i++) {
            mount_write_text(A("a/n/other_%d", i), "other");
            MOUNT_FAILS(ESTALE, open_by_handle_at(root, &handle.head, O_RDONLY | O_CLOEXEC));
        }
        for (int i = 0; i < OTHERS; i++)
            MOUNT_OK(unlink(A("a/n/other_%d", i)));
    }
    MOUNT_OK(close(root));
}

static void a_file_handle_shows_no_address_of_the_daemon(void **state)
{
    struct handle handle;
    char line[256], path[64];
    unsigned halves[2];
    uint64_t id, first, last;
    FILE *maps;

    mount_write_text(A("a/n/key"), "value");
    handle = handle_of(A("a/n/key"));
    memcpy(halves, handle.head.f_handle, sizeof(halves)); /* the kernel's order: the high half comes first */
    id = (uint64_t)halves[0] << 32 | halves[1];
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)NODE(0)->daemon);
    maps = fopen(path, "r");
    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps) != NULL)
        if (sscanf(line, "%" SCNx64 "-%" SCNx64, &first, &last) == 2 && id >= first && id < last)
            fail_msg("node id %#" PRIx64 " is an address: %s", id, line);
    fclose(maps);
}

/* ------------------------------------------------------------- directories of others */

/* In a sticky directory only its owner moves or removes a namespace or a binding: also where this node still knows
 * another one, which was the user's own, by that name. */
static void a_sticky_directory_keeps_what_another_user_made_elsewhere(void **state)
{
    mount_start(*state, "allow_other,cache_ttl=0");
    MOUNT_OK(mkdir(A("s"), 0700));
    MOUNT_OK(chmod(A("s"), 01777));
    MOUNT_OK(AS(ONE, mkdir(A("s/own"), 0777)));
    for (int i = 0; i < 4; i++) {
        MOUNT_OK(AS(ONE, mkdir(A("s/n%d", i), 0700)));
        (void)mount_stat(A("s/n%d", i));
        MOUNT_OK(AS(ONE, rmdir(B("s/n%d", i))));
        MOUNT_OK(AS(OTHER, mkdir(B("s/n%d", i), 0700)));
    }
    MOUNT_OK(AS(OTHER, users_write(B("s/n0/key"), "secret", 0600)));
    USERS_REFUSED(AS(ONE, rename(A("s/n0"), A("s/taken"))));
    USERS_REFUSED(AS(ONE, rename(A("s/own"), A("s/n1"))));
    USERS_REFUSED(AS(ONE, rmdir(A("s/n2"))));
    USERS_REFUSED(AS(ONE, renameat2(AT_FDCWD, A("s/own"), AT_FDCWD, A("s/n3"), RENAME_EXCHANGE)));
    for (int i = 0; i < 4; i++)
        assert_int_equal(mount_stat(B("s/n%d", i)).st_uid, OTHER);
    mount_expect_text(B("s/n0/key"), "secret");
    MOUNT_OK(AS(OTHER, rmdir(A("s/n3")))); /* its owner may */
    MOUNT_OK(AS(OTHER, rename(A("s/n2"), A("s/moved"))));
}

static void a_sticky_project_keeps_the_bindings_of_others(void **state)
{
    char target[64] = "";

    mount_start(*state, "allow_other,cache_ttl=0");
    MOUNT_OK(mkdir(A("a/.projects/p"), 0777));
    MOUNT_OK(chmod(A("a/.projects/p"), 01777));
    MOUNT_OK(AS(ONE, mkdir(A("a/evil"), 0777)));
    MOUNT_OK(AS(ONE, symlink("../../evil", A("a/.projects/p/V"))));
    MOUNT_OK(readlink(A("a/.projects/p/V"), target, sizeof(target)));
    MOUNT_OK(AS(ONE, unlink(B("a/.projects/p/V"))));
    MOUNT_OK(AS(OTHER, symlink("../../n", B("a/.projects/p/V"))));
    USERS_REFUSED(AS(ONE, unlink(A("a/.projects/p/V"))));
    memset(target, 0, sizeof(target));
    MOUNT_OK(readlink(B("a/.projects/p/V"), target, sizeof(target) - 1));
    assert_string_equal(target, "../../n");
}

/* A value that another node gave another name is not put under that name's number. */
static void a_put_behind_a_rename_elsewhere_makes_an_object_of_its_own(void **state)
{
    int fd;

    mount_start(*state, "allow_other,cache_ttl=0");
    mount_write_text(A("a/n/key"), "old");
    fd = (int)MOUNT_OK(open(A("a/n/key"), O_WRONLY | O_CLOEXEC));
    MOUNT_OK(rename(B("a/n/key"), B("a/n/moved")));
    MOUNT_OK(pwrite(fd, "new", 3, 0));
    MOUNT_OK(close(fd));
    mount_expect_text(B("a/n/key"), "new");
    mount_expect_text(B("a/n/moved"), "old");
    assert_int_not_equal(mount_stat(B("a/n/key")).st_ino, mount_stat(B("a/n/moved")).st_ino);
}

/* The kernel looks a path up again only once. */
static void an_open_finds_what_was_made_anew_in_a_directory_that_was_closed(void **state)
{
    static const int flags[] = {O_RDWR, O_WRONLY | O_TRUNC, O_WRONLY | O_CREAT | O_APPEND};
    char text[8];

    mount_start(*state, "allow_other,cache_ttl=0");
    for (int i = 0; i < 3; i++) {
        MOUNT_OK(AS(ONE, mkdir(A("a/d%d", i), 0755)));
        MOUNT_OK(AS(ONE, users_write(A("a/d%d/key", i), "one", 0644)));
        MOUNT_OK(AS(ONE, users_read(A("a/d%d/key", i), text, sizeof(text))));
        MOUNT_OK(AS(ONE, unlink(B("a/d%d/key", i))));
        MOUNT_OK(AS(ONE, users_write(B("a/d%d/key", i), "two", 0644)));
        MOUNT_OK(AS(ONE, chmod(B("a/d%d", i), 0700)));
        MOUNT_OK(close((int)MOUNT_OK(AS(ONE, open(A("a/d%d/key", i), flags[i] | O_CLOEXEC, 0644)))));
    }
}

/* Who works in a namespace (cd) is not checked by the directories above it, whatever becomes of them. */
static void a_working_directory_works_on_whatever_becomes_of_those_above_it(void **state, const char *dir)
{
    int at;

    mount_start(*state, "allow_other");
    MOUNT_OK(mkdir(A("a/d"), 0777));
    mount_write_text(A("a/d/key"), "one");
    at = (int)MOUNT_OK(open(A("a/%s", dir), O_PATH | O_DIRECTORY | O_CLOEXEC));
    for (int i = 0; i < 3; i++) {
        MOUNT_OK(chmod(B("a"), i % 2 == 0 ? 0750 : 0700));
        MOUNT_OK(close((int)MOUNT_OK(openat(at, "key", O_RDONLY | O_CLOEXEC))));
        MOUNT_OK(close((int)MOUNT_OK(openat(at, "key", O_WRONLY | O_CLOEXEC))));
        if (strchr(dir, '/') == NULL) /* in a view nothing is made */
            MOUNT_OK(close((int)MOUNT_OK(openat(at,
                                                i == 0   ? "x"
                                                : i == 1 ? "y"
                                                         : "z",
                                                O_WRONLY | O_CREAT, 0600))));
    }
    MOUNT_OK(close(at));
    mount_expect_text(A("a/d/key"), "one");
    MOUNT_OK(chmod(B("a"), 0700));
    USERS_REFUSED(AS(OTHER, open(A("a/d/key"), O_RDONLY | O_CLOEXEC)));
}

static void a_namespace_to_work_in_works_on(void **state)
{
    a_working_directory_works_on_whatever_becomes_of_those_above_it(state, "d");
}

static void a_view_to_work_in_works_on(void **state)
{
    a_working_directory_works_on_whatever_becomes_of_those_above_it(state, "d/.prefix/k");
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        USERS_TEST("allow_other", a_path_descriptor_of_a_removed_key_does_nothing_to_its_successor),
        USERS_TEST("allow_other,cache_size=0", a_path_descriptor_of_a_removed_key_does_nothing_to_its_successor),
        USERS_TEST("allow_other,cache_ttl=0", a_path_descriptor_of_a_removed_key_does_nothing_to_its_successor),
        USERS_TEST("allow_other", an_open_handle_of_a_removed_key_does_nothing_to_its_successor),
        USERS_TEST("allow_other,cache_ttl=0", an_open_handle_of_a_removed_key_does_nothing_to_its_successor),
        USERS_TEST("allow_other", what_was_replaced_elsewhere_is_checked_anew),
        USERS_TEST("allow_other,cache_size=0", what_was_replaced_elsewhere_is_checked_anew),
        USERS_TEST("allow_other,cache_ttl=0", what_was_replaced_elsewhere_is_checked_anew),
        USERS_TEST("allow_other", a_key_that_was_believed_absent_is_opened_as_its_mode_says),
        USERS_TEST("allow_other,cache_size=0", a_key_that_was_believed_absent_is_opened_as_its_mode_says),
        USERS_TEST("allow_other,cache_ttl=0", a_key_that_was_believed_absent_is_opened_as_its_mode_says),
        USERS_TEST("allow_other,cache_ttl=0", a_key_that_comes_while_it_is_created_is_not_opened_unchecked),
        USERS_TEST("allow_other", a_value_that_was_made_private_elsewhere_is_not_for_others),
        USERS_TEST("allow_other,cache_size=0", a_value_that_was_made_private_elsewhere_is_not_for_others),
        USERS_TEST("allow_other,cache_ttl=0", a_value_that_was_made_private_elsewhere_is_not_for_others),
        USERS_TEST("allow_other", a_value_that_is_fetched_later_comes_with_its_own_mode),
        USERS_TEST("allow_other,cache_size=0", a_value_that_is_fetched_later_comes_with_its_own_mode),
        USERS_TEST("allow_other", a_file_handle_of_a_removed_key_opens_no_other_key),
        USERS_TEST("allow_other", a_file_handle_shows_no_address_of_the_daemon),
        USERS_TEST("allow_other", a_sticky_directory_keeps_what_another_user_made_elsewhere),
        USERS_TEST("allow_other", a_sticky_project_keeps_the_bindings_of_others),
        USERS_TEST("allow_other,cache_ttl=0", a_put_behind_a_rename_elsewhere_makes_an_object_of_its_own),
        USERS_TEST("allow_other", an_open_finds_what_was_made_anew_in_a_directory_that_was_closed),
        USERS_TEST("allow_other", a_namespace_to_work_in_works_on),
        USERS_TEST("allow_other,invalidate=ttl", a_namespace_to_work_in_works_on),
        USERS_TEST("allow_other", a_view_to_work_in_works_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return users_tests("identity", run); }
