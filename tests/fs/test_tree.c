/* The tree as a user sees it: accounts, namespaces and keys, their names, errors, renames, sizes and counts. */
#include "tests/support/mount.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#define VALUE_MAX 26214400

/* `size` letters; to be used before the next but three calls. */
static const char *letters(size_t size)
{
    static char texts[4][1024];
    static unsigned last;
    char *text = texts[++last % 4];

    memset(text, 'x', size);
    text[size] = '\0';
    return text;
}

static int create(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);

    return fd < 0 ? -1 : close(fd);
}

/* A test's node, and paths of it. */
#define NODE(state) (&((struct mount_test *)*(state))->nodes[0])
#define P(...) mount_path(NODE(state), __VA_ARGS__)

/* ------------------------------------------------------------------ making and removing */

static void accounts_and_namespaces_are_made_by_mkdir_and_listed(void **state)
{
    MOUNT_OK(mkdir(P("b"), 0755));
    MOUNT_OK(mkdir(P("b/second"), 0755));
    MOUNT_OK(mkdir(P("b/first"), 0755));
    mount_write_text(P("b/first/key"), "value");
    mount_expect_list(P("."), "a b");
    mount_expect_list(P("a"), "n");
    mount_expect_list(P("b"), "first second");
    mount_expect_list(P("b/first"), "key");
    mount_expect_list(P("b/second"), "");
    assert_true(S_ISDIR(mount_stat(P("b")).st_mode));
    assert_true(S_ISDIR(mount_stat(P("b/first")).st_mode));
    assert_true(S_ISREG(mount_stat(P("b/first/key")).st_mode));
}

static void rmdir_removes_empty_namespaces_and_accounts(void **state)
{
    MOUNT_OK(rmdir(P("a/n")));
    mount_expect_list(P("a"), "");
    MOUNT_FAILS(ENOENT, rmdir(P("a/n")));
    MOUNT_FAILS(ENOENT, create(P("a/n/key")));
    MOUNT_OK(rmdir(P("a")));
    mount_expect_list(P("."), "");
    MOUNT_FAILS(ENOENT, rmdir(P("a")));
    MOUNT_OK(mkdir(P("a"), 0755));
    mount_expect_list(P("a"), "");
}

static void rmdir_of_what_is_not_empty_says_enotempty(void **state)
{
    mount_write_text(P("a/n/key"), "value");
    MOUNT_FAILS(ENOTEMPTY, rmdir(P("a")));
    MOUNT_FAILS(ENOTEMPTY, rmdir(P("a/n")));
    mount_expect_text(P("a/n/key"), "value");
    MOUNT_OK(unlink(P("a/n/key")));
    MOUNT_FAILS(ENOTEMPTY, rmdir(P("a")));
    MOUNT_OK(rmdir(P("a/n")));
    MOUNT_OK(rmdir(P("a")));
}

/* What nobody has closed yet is nevertheless a file in the directory. */
static void rmdir_of_a_namespace_with_a_key_just_created_says_enotempty(void **state)
{
    int fd = (int)MOUNT_OK(open(P("a/n/key"), O_WRONLY | O_CREAT | O_CLOEXEC, 0666));

    MOUNT_OK(write(fd, "value", 5));
    MOUNT_FAILS(ENOTEMPTY, rmdir(P("a/n")));
    MOUNT_OK(close(fd));
    mount_expect_text(P("a/n/key"), "value");
}

static void unlink_and_rmdir_tell_files_from_directories(void **state)
{
    mount_write_text(P("a/n/key"), "value");
    MOUNT_FAILS(EISDIR, unlink(P("a")));
    MOUNT_FAILS(EISDIR, unlink(P("a/n")));
    MOUNT_FAILS(ENOTDIR, rmdir(P("a/n/key")));
    MOUNT_FAILS(ENOTDIR, create(P("a/n/key/below")));
    MOUNT_FAILS(EISDIR, open(P("a/n"), O_WRONLY | O_CLOEXEC));
    MOUNT_FAILS(ENOTDIR, open(P("a/n/key"), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    mount_expect_text(P("a/n/key"), "value");
}

static void what_is_there_already_says_eexist(void **state)
{
    mount_write_text(P("a/n/key"), "value");
    MOUNT_FAILS(EEXIST, mkdir(P("a"), 0755));
    MOUNT_FAILS(EEXIST, mkdir(P("a/n"), 0755));
    MOUNT_FAILS(EEXIST, mkdir(P("a/n/key"), 0755));
    MOUNT_FAILS(EEXIST, mknod(P("a/n/key"), S_IFREG | 0644, 0));
    MOUNT_FAILS(EEXIST, open(P("a/n/key"), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    MOUNT_FAILS(EEXIST, mkdir(P(".kvfs"), 0755));
    mount_expect_text(P("a/n/key"), "value");
}

static void modes_of_new_directories_are_what_mkdir_says(void **state)
{
    struct stat attr;

    MOUNT_OK(mkdir(P("b"), 0777));
    attr = mount_stat(P("b"));
    assert_int_equal(attr.st_mode, S_IFDIR | 0700); /* an account is private until it is opened */
    assert_int_equal(attr.st_uid, geteuid());
    MOUNT_OK(chmod(P("b"), 0751));
    assert_int_equal(mount_stat(P("b")).st_mode, S_IFDIR | 0751);
    MOUNT_OK(mkdir(P("b/n"), 0775));
    assert_int_equal(mount_stat(P("b/n")).st_mode, S_IFDIR | 0755); /* umask 022 */
}

static void a_set_group_id_directory_passes_its_group_on(void **state)
{
    struct stat attr;

    if (geteuid() != 0) {
        printf("skipped: only root may give a group away\n");
        skip();
    }
    MOUNT_OK(chown(P("a"), 0, 1234));
    MOUNT_OK(chmod(P("a"), 02755));
    MOUNT_OK(mkdir(P("a/m"), 0755));
    attr = mount_stat(P("a/m"));
    assert_int_equal(attr.st_mode, S_IFDIR | 02755);
    assert_int_equal(attr.st_gid, 1234);
    mount_write_text(P("a/m/key"), "value");
    assert_int_equal(mount_stat(P("a/m/key")).st_gid, 1234);
}

/* ------------------------------------------------------------------------------ names */

static void names_outside_the_rules_say_einval_when_they_are_made(void **state)
{
    static const char *const wrong_keys[] = {"a.b",      "a-b",      "a b",  ".key.swp",
                                             "key.json", "\xc3\xa4", "a\nb", "a%b"};
    static const char *const wrong_names[] = {"-a", "a.b", "a b", ".a", "\xc3\xa4", "a%b", "a:b"};

    mount_write_text(P("a/n/key"), "value");
    for (size_t i = 0; i < sizeof(wrong_keys) / sizeof(wrong_keys[0]); i++) {
        MOUNT_FAILS(EINVAL, create(P("a/n/%s", wrong_keys[i])));
        MOUNT_FAILS(EINVAL, mknod(P("a/n/%s", wrong_keys[i]), S_IFREG | 0644, 0));
        MOUNT_FAILS(EINVAL, rename(P("a/n/key"), P("a/n/%s", wrong_keys[i])));
    }
    for (size_t i = 0; i < sizeof(wrong_names) / sizeof(wrong_names[0]); i++) {
        MOUNT_FAILS(EINVAL, mkdir(P("%s", wrong_names[i]), 0755));
        MOUNT_FAILS(EINVAL, mkdir(P("a/%s", wrong_names[i]), 0755));
        MOUNT_FAILS(EINVAL, rename(P("a"), P("%s", wrong_names[i])));
        MOUNT_FAILS(EINVAL, rename(P("a/n"), P("a/%s", wrong_names[i])));
    }
    mount_expect_list(P("."), "a");
    mount_expect_list(P("a"), "n");
    mount_expect_list(P("a/n"), "key");
}

/* A program that only asks must not take the answer for a broken file system. */
static void names_outside_the_rules_are_not_there_when_they_are_looked_up(void **state)
{
    struct stat attr;

    MOUNT_FAILS(ENOENT, stat(P("a.b"), &attr));
    MOUNT_FAILS(ENOENT, stat(P("a/a.b"), &attr));
    MOUNT_FAILS(ENOENT, stat(P("a/n/a.b"), &attr));
    MOUNT_FAILS(ENOENT, open(P("a/n/.git"), O_RDONLY | O_CLOEXEC));
    MOUNT_FAILS(ENOENT, unlink(P("a/n/a.b")));
    MOUNT_FAILS(ENOENT, rmdir(P("a/-a")));
    MOUNT_FAILS(ENOENT, rename(P("a/n/a.b"), P("a/n/key")));
}

static void names_that_are_only_too_long_say_enametoolong(void **state)
{
    struct stat attr;

    mount_write_text(P("a/n/key"), "value");
    MOUNT_FAILS(ENAMETOOLONG, mkdir(P("%s", letters(65)), 0755));
    MOUNT_FAILS(ENAMETOOLONG, mkdir(P("a/%s", letters(65)), 0755));
    MOUNT_FAILS(ENAMETOOLONG, create(P("a/n/%s", letters(513))));
    MOUNT_FAILS(ENAMETOOLONG, rename(P("a/n/key"), P("a/n/%s", letters(513))));
    MOUNT_FAILS(ENAMETOOLONG, rename(P("a/n"), P("a/%s", letters(65))));
    MOUNT_FAILS(ENAMETOOLONG, rename(P("a"), P("%s", letters(65))));
    MOUNT_FAILS(ENAMETOOLONG, stat(P("%s", letters(65)), &attr));
    MOUNT_FAILS(ENAMETOOLONG, stat(P("a/%s", letters(65)), &attr));
    MOUNT_FAILS(ENAMETOOLONG, stat(P("a/n/%s", letters(513)), &attr));
    mount_expect_text(P("a/n/key"), "value");
}

static void the_longest_and_the_shortest_names_work(void **state)
{
    const char *account = letters(64), *key = letters(512);

    MOUNT_OK(mkdir(P("%s", account), 0755));
    MOUNT_OK(mkdir(P("%s/%s", account, account), 0755));
    mount_write_text(P("%s/%s/%s", account, account, key), "long");
    mount_expect_text(P("%s/%s/%s", account, account, key), "long");
    mount_expect_list(P("%s/%s", account, account), key);
    mount_write_text(P("a/n/_"), "short");
    mount_write_text(P("a/n/0"), "shorter");
    mount_expect_text(P("a/n/_"), "short");
    mount_expect_list(P("a/n"), "0 _");
    MOUNT_OK(mkdir(P("_"), 0755));
    MOUNT_OK(mkdir(P("_/a-b_C-9"), 0755));
    mount_expect_list(P("_"), "a-b_C-9");
}

static void names_differ_by_case(void **state)
{
    mount_write_text(P("a/n/key"), "lower");
    mount_write_text(P("a/n/KEY"), "upper");
    MOUNT_OK(mkdir(P("A"), 0755));
    mount_expect_text(P("a/n/key"), "lower");
    mount_expect_text(P("a/n/KEY"), "upper");
    mount_expect_list(P("a/n"), "KEY key");
    mount_expect_list(P("."), "A a");
}

/* ------------------------------------------------------------- what is where it may not be */

static void files_live_in_namespaces_only(void **state)
{
    MOUNT_FAILS(EPERM, create(P("key")));
    MOUNT_FAILS(EPERM, create(P("a/key")));
    MOUNT_FAILS(EPERM, mknod(P("key"), S_IFREG | 0644, 0));
    MOUNT_FAILS(EPERM, mknod(P("a/key"), S_IFREG | 0644, 0));
    MOUNT_FAILS(EPERM, create(P(".kvfs/key")));
    mount_expect_list(P("."), "a");
    mount_expect_list(P("a"), "n");
}

static void namespaces_hold_no_directories(void **state)
{
    MOUNT_FAILS(EPERM, mkdir(P("a/n/dir"), 0755));
    MOUNT_FAILS(EPERM, mkdir(P(".kvfs/dir"), 0755));
    mount_expect_list(P("a/n"), "");
}

static void there_are_no_hard_links(void **state)
{
    mount_write_text(P("a/n/key"), "value");
    MOUNT_FAILS(EPERM, link(P("a/n/key"), P("a/n/other")));
    MOUNT_FAILS(EPERM, link(P("a/n/key"), P("a/other")));
    mount_expect_list(P("a/n"), "key");
    assert_int_equal(mount_stat(P("a/n/key")).st_nlink, 1);
}

static int make_socket(const char *dir, const char *name)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), rc, saved;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char *cwd = get_current_dir_name();

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", name);
    assert_non_null(cwd);
    MOUNT_OK(chdir(dir)); /* a socket's path is short */
    rc = bind(fd, (struct sockaddr *)&address, sizeof(address));
    saved = errno;
    MOUNT_OK(chdir(cwd));
    free(cwd);
    close(fd);
    errno = saved;
    return rc;
}

static void there_are_no_devices_fifos_and_sockets(void **state)
{
    static const char *const dirs[] = {"", "a/", "a/n/"};

    for (size_t i = 0; i < 3; i++) {
        MOUNT_FAILS(EPERM, mkfifo(P("%sfifo", dirs[i]), 0666));
        if (geteuid() == 0)
            MOUNT_FAILS(EPERM, mknod(P("%snull", dirs[i]), S_IFCHR | 0666, 0x103));
    }
    MOUNT_FAILS(EPERM, make_socket(P("a/n"), "socket"));
    mount_expect_list(P("a/n"), "");
}

static void symbolic_links_are_made_in_projects_only(void **state)
{
    MOUNT_FAILS(EPERM, symlink("a", P("link")));
    MOUNT_FAILS(EPERM, symlink("n", P("a/link")));
    MOUNT_FAILS(EPERM, symlink("key", P("a/n/link")));
    MOUNT_OK(mkdir(P("a/.projects/site"), 0755));
    MOUNT_OK(symlink("../../n", P("a/.projects/site/MY_KV")));
    mount_expect_list(P("a/.projects/site"), "MY_KV");
    mount_write_text(P("a/.projects/site/MY_KV/key"), "value");
    mount_expect_text(P("a/n/key"), "value");
}

/* ----------------------------------------------------------------------- limits */

/* The longest value is as long as the limit; nothing can be longer, and what was there stays. */
static void a_value_over_the_limit_says_efbig_where_it_crosses_it(void **state)
{
    int fd;

    mount_write_text(P("a/n/key"), "old");
    fd = (int)MOUNT_OK(open(P("a/n/key"), O_RDWR | O_CLOEXEC));
    MOUNT_FAILS(EFBIG, ftruncate(fd, VALUE_MAX + 1));
    MOUNT_FAILS(EFBIG, truncate(P("a/n/key"), VALUE_MAX + 1));
    mount_expect_text(P("a/n/key"), "old");
    if (fallocate(fd, 0, 0, VALUE_MAX + 1) == 0 || (errno != EFBIG && errno != EOPNOTSUPP))
        fail_msg("fallocate over the limit: %s", strerror(errno));
    MOUNT_FAILS(EFBIG, pwrite(fd, "x", 1, VALUE_MAX));
    MOUNT_FAILS(EFBIG, close(fd));
    mount_expect_text(P("a/n/key"), "old");

    MOUNT_OK(truncate(P("a/n/key"), VALUE_MAX));
    assert_int_equal(mount_stat(P("a/n/key")).st_size, VALUE_MAX);
}

static void an_eleventh_namespace_says_edquot(void **state)
{
    for (int i = 2; i <= 10; i++)
        MOUNT_OK(mkdir(P("a/n%d", i), 0755));
    MOUNT_FAILS(EDQUOT, mkdir(P("a/n11"), 0755));
    mount_expect_list(P("a"), "n n10 n2 n3 n4 n5 n6 n7 n8 n9");
    assert_non_null(strstr(mount_text(P(".kvfs/errors")), "a/n11 create: "));
    MOUNT_OK(rmdir(P("a/n10")));
    MOUNT_OK(mkdir(P("a/n11"), 0755));

    MOUNT_KVCTL(*state, "account", "limit", "a", "--namespaces", "11");
    MOUNT_OK(mkdir(P("a/n12"), 0755));
    MOUNT_FAILS(EDQUOT, mkdir(P("a/n13"), 0755));
    MOUNT_OK(mkdir(P("b"), 0755)); /* another account has its own limit */
    MOUNT_OK(mkdir(P("b/n"), 0755));
}

static void a_key_more_than_the_limit_says_edquot(void **state)
{
    struct statvfs space;

    mount_write_text(P("a/n/one"), "1");
    MOUNT_KVCTL(*state, "account", "limit", "a", "--keys", "2");
    MOUNT_OK(statvfs(P("a"), &space));
    assert_int_equal(space.f_files, 2);
    assert_int_equal(space.f_ffree, 1);
    assert_int_equal(space.f_favail, 1);
    mount_write_text(P("a/n/two"), "2");
    MOUNT_FAILS(EDQUOT, create(P("a/n/three")));
    assert_non_null(strstr(mount_text(P(".kvfs/errors")), "a/n/three create: the account is full"));
    MOUNT_OK(statvfs(P("a/n"), &space));
    assert_int_equal(space.f_ffree, 0);
    mount_write_text(P("a/n/two"), "as before");
    MOUNT_OK(rename(P("a/n/two"), P("a/n/three")));
    MOUNT_OK(unlink(P("a/n/one")));
    mount_write_text(P("a/n/two"), "2");
}

static void a_binding_more_than_the_limit_says_edquot(void **state)
{
    MOUNT_KVCTL(*state, "account", "limit", "a", "--bindings", "2");
    MOUNT_OK(mkdir(P("a/.projects/web"), 0755));
    MOUNT_OK(symlink("../../n", P("a/.projects/web/ONE")));
    MOUNT_FAILS(EDQUOT, symlink("../../n", P("a/.projects/web/TWO")));
    MOUNT_FAILS(EDQUOT, mkdir(P("a/.projects/app"), 0755));
    assert_non_null(strstr(mount_text(P(".kvfs/errors")), "as many projects and bindings as it may"));
    MOUNT_OK(unlink(P("a/.projects/web/ONE")));
    MOUNT_OK(symlink("../../n", P("a/.projects/web/TWO")));
}

static void an_attribute_that_fills_the_account_says_edquot(void **state)
{
    mount_write_text(P("a/n/key"), "value");
    MOUNT_KVCTL(*state, "account", "limit", "a", "--bytes", "18");
    MOUNT_FAILS(EDQUOT, setxattr(P("a/n/key"), "user.b", "12345", 5, 0));
    assert_non_null(strstr(mount_text(P(".kvfs/errors")), "a/n/key setxattr: the account is full"));
    MOUNT_OK(setxattr(P("a/n/key"), "user.b", "1234", 4, 0));
    MOUNT_FAILS(EDQUOT, truncate(P("a/n/key"), 6));
    mount_expect_text(P("a/n/key"), "value");
}

static void a_write_that_fills_the_account_says_edquot(void **state)
{
    int fd;

    MOUNT_KVCTL(*state, "account", "limit", "a", "--bytes", "1000");
    mount_write_text(P("a/n/key"), "old");
    fd = (int)MOUNT_OK(open(P("a/n/key"), O_WRONLY | O_CLOEXEC));
    MOUNT_FAILS(EDQUOT, write(fd, letters(998), 998)); /* the name's 3 bytes count too */
    MOUNT_FAILS(EDQUOT, close(fd));
    mount_expect_text(P("a/n/key"), "old");
    MOUNT_FAILS(EDQUOT, truncate(P("a/n/key"), 998));
    mount_expect_text(P("a/n/key"), "old");
    assert_non_null(strstr(mount_text(P(".kvfs/errors")), "a/n/key write: the account is full"));

    mount_write(P("a/n/key"), letters(997), 997);
    mount_expect(P("a/n/key"), letters(997), 997);
    MOUNT_OK(mkdir(P("b"), 0755));
    MOUNT_OK(mkdir(P("b/n"), 0755));
    mount_write(P("b/n/key"), letters(998), 998);
}

/* Each would fit alone: only the put can know. */
static void a_close_that_fills_the_account_says_edquot(void **state)
{
    int first, second;

    MOUNT_KVCTL(*state, "account", "limit", "a", "--bytes", "1000");
    first = (int)MOUNT_OK(open(P("a/n/first"), O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
    second = (int)MOUNT_OK(open(P("a/n/second"), O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
    MOUNT_OK(write(first, letters(600), 600));
    MOUNT_FAILS(EDQUOT, write(second, letters(600), 600)); /* what is open counts */
    MOUNT_OK(close(first));
    MOUNT_FAILS(EDQUOT, close(second));
    mount_expect(P("a/n/first"), letters(600), 600);
    assert_false(mount_is_there(P("a/n/second")));
    mount_expect_list(P("a/n"), "first");
    assert_non_null(strstr(mount_text(P(".kvfs/errors")), "a/n/second write: the account is full"));
}

static void a_full_account_can_be_emptied_and_used_again(void **state)
{
    MOUNT_KVCTL(*state, "account", "limit", "a", "--bytes", "1000");
    mount_write(P("a/n/key"), letters(997), 997);
    MOUNT_FAILS(EDQUOT, create(P("a/n/other")));
    assert_false(mount_is_there(P("a/n/other")));
    MOUNT_OK(unlink(P("a/n/key")));
    mount_write(P("a/n/other"), letters(995), 995);
    mount_write(P("a/n/other"), letters(5), 5);
    mount_write(P("a/n/key"), letters(987), 987);
}

/* A full quota must not swallow what is appended. */
static void an_append_to_a_full_account_is_reported(void **state)
{
    int fd;

    MOUNT_KVCTL(*state, "account", "limit", "a", "--bytes", "1000");
    mount_write(P("a/n/key"), letters(990), 990);
    fd = (int)MOUNT_OK(open(P("a/n/key"), O_WRONLY | O_APPEND | O_CLOEXEC));
    MOUNT_OK(write(fd, letters(7), 7));
    MOUNT_FAILS(EDQUOT, write(fd, letters(1), 1));
    MOUNT_FAILS(EDQUOT, close(fd));
    mount_expect(P("a/n/key"), letters(990), 990);
}

/* ---------------------------------------------------------------------------- rename */

static int rename2(const char *from, const char *to, unsigned flags)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, flags);
}

static void rename_moves_a_key_and_replaces_another(void **state)
{
    ino_t ino;

    MOUNT_OK(mkdir(P("a/m"), 0755));
    mount_write_text(P("a/n/key"), "value");
    ino = mount_stat(P("a/n/key")).st_ino;
    MOUNT_OK(rename(P("a/n/key"), P("a/n/new")));
    mount_expect_list(P("a/n"), "new");
    assert_false(mount_is_there(P("a/n/key")));
    mount_expect_text(P("a/n/new"), "value");
    mount_write_text(P("a/m/other"), "to be replaced");
    MOUNT_OK(rename(P("a/n/new"), P("a/m/other")));
    mount_expect_list(P("a/n"), "");
    mount_expect_list(P("a/m"), "other");
    mount_expect_text(P("a/m/other"), "value");
    assert_int_equal(mount_stat(P("a/m/other")).st_ino, ino);
    MOUNT_OK(rename(P("a/m/other"), P("a/m/other")));
    mount_expect_text(P("a/m/other"), "value");
    MOUNT_FAILS(ENOENT, rename(P("a/n/key"), P("a/n/new")));
    MOUNT_FAILS(ENOENT, rename(P("a/m/other"), P("a/none/new")));
}

static void rename_flags_of_keys(void **state)
{
    mount_write_text(P("a/n/one"), "1");
    mount_write_text(P("a/n/two"), "22");
    MOUNT_FAILS(EEXIST, rename2(P("a/n/one"), P("a/n/two"), RENAME_NOREPLACE));
    mount_expect_text(P("a/n/one"), "1");
    mount_expect_text(P("a/n/two"), "22");
    MOUNT_OK(rename2(P("a/n/one"), P("a/n/two"), RENAME_EXCHANGE));
    mount_expect_text(P("a/n/one"), "22");
    mount_expect_text(P("a/n/two"), "1");
    MOUNT_FAILS(ENOENT, rename2(P("a/n/one"), P("a/n/three"), RENAME_EXCHANGE));
    MOUNT_OK(rename2(P("a/n/one"), P("a/n/three"), RENAME_NOREPLACE));
    mount_expect_list(P("a/n"), "three two");
    mount_expect_text(P("a/n/three"), "22");
    MOUNT_FAILS(EINVAL, rename2(P("a/n/two"), P("a/n/three"), RENAME_NOREPLACE | RENAME_EXCHANGE));
    MOUNT_FAILS(EINVAL, rename2(P("a/n/two"), P("a/n/three"), RENAME_WHITEOUT));
}

static void rename_flags_of_namespaces(void **state)
{
    mount_write_text(P("a/n/key"), "n");
    MOUNT_OK(mkdir(P("a/m"), 0755));
    mount_write_text(P("a/m/key"), "m");
    MOUNT_FAILS(EEXIST, rename2(P("a/n"), P("a/m"), RENAME_NOREPLACE));
    MOUNT_FAILS(ENOTEMPTY, rename(P("a/n"), P("a/m")));
    MOUNT_OK(rename2(P("a/n"), P("a/m"), RENAME_EXCHANGE));
    mount_expect_text(P("a/n/key"), "m");
    mount_expect_text(P("a/m/key"), "n");
    MOUNT_OK(rename(P("a/m"), P("a/new")));
    mount_expect_list(P("a"), "n new");
    mount_expect_text(P("a/new/key"), "n");
    assert_false(mount_is_there(P("a/m/key")));
    MOUNT_OK(mkdir(P("a/empty"), 0755));
    MOUNT_OK(rename(P("a/new"), P("a/empty"))); /* as for every empty directory */
    mount_expect_list(P("a"), "empty n");
    mount_expect_text(P("a/empty/key"), "n");
}

static void rename_flags_of_accounts(void **state)
{
    mount_write_text(P("a/n/key"), "a");
    MOUNT_OK(mkdir(P("b"), 0755));
    MOUNT_OK(mkdir(P("b/n"), 0755));
    mount_write_text(P("b/n/key"), "b");
    MOUNT_FAILS(EEXIST, rename2(P("a"), P("b"), RENAME_NOREPLACE));
    MOUNT_FAILS(ENOTEMPTY, rename(P("a"), P("b")));
    MOUNT_OK(rename2(P("a"), P("b"), RENAME_EXCHANGE));
    mount_expect_text(P("a/n/key"), "b");
    mount_expect_text(P("b/n/key"), "a");
    MOUNT_OK(rename(P("b"), P("c")));
    mount_expect_list(P("."), "a c");
    mount_expect_text(P("c/n/key"), "a");
    MOUNT_OK(mkdir(P("empty"), 0755));
    MOUNT_OK(rename(P("c"), P("empty")));
    mount_expect_list(P("."), "a empty");
    mount_expect_text(P("empty/n/key"), "a");
}

static void nothing_moves_to_another_account(void **state)
{
    MOUNT_OK(mkdir(P("b"), 0755));
    MOUNT_OK(mkdir(P("b/n"), 0755));
    mount_write_text(P("a/n/key"), "value");
    mount_write_text(P("b/n/other"), "other");
    MOUNT_FAILS(EXDEV, rename(P("a/n/key"), P("b/n/key")));
    MOUNT_FAILS(EXDEV, rename(P("a/n/key"), P("b/n/other")));
    MOUNT_FAILS(EXDEV, rename2(P("a/n/key"), P("b/n/other"), RENAME_EXCHANGE));
    MOUNT_FAILS(EXDEV, rename(P("a/n"), P("b/m")));
    mount_expect_text(P("a/n/key"), "value");
    mount_expect_text(P("b/n/other"), "other");
    assert_int_equal(MOUNT_RUN(*state, "mv", P("a/n/key"), P("b/n/key")), 0); /* mv copies instead */
    mount_expect_text(P("b/n/key"), "value");
    mount_expect_list(P("a/n"), "");
}

static void nothing_changes_its_kind_by_rename(void **state)
{
    mount_write_text(P("a/n/key"), "value");
    MOUNT_OK(mkdir(P("b"), 0755));
    MOUNT_FAILS(EPERM, rename(P("a/n/key"), P("a/key")));
    MOUNT_FAILS(EPERM, rename(P("a/n/key"), P("key")));
    MOUNT_FAILS(EPERM, rename(P("a/n"), P("n")));
    MOUNT_FAILS(EPERM, rename(P("b"), P("a/b")));
    MOUNT_FAILS(EPERM, rename(P("b"), P("a/n/b")));
    MOUNT_FAILS(EPERM, rename(P("a/n"), P(".kvfs")));
    MOUNT_FAILS(EPERM, rename(P(".kvfs"), P("c")));
    MOUNT_FAILS(EPERM, rename(P("a/n/key"), P(".kvfs/key")));
    mount_expect_list(P("."), "a b");
    mount_expect_list(P("a"), "n");
    mount_expect_text(P("a/n/key"), "value");
}

/* ------------------------------------------------------------------- counts and sizes */

/* They would tell who may not read a directory what is in it. */
static void sizes_and_links_of_directories_tell_nothing(void **state)
{
    const char *const paths[] = {P("."), P("a"), P("a/n"), P("a/.projects")};

    MOUNT_OK(mkdir(P("a/m"), 0755));
    mount_write_text(P("a/n/key"), "value");
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct stat attr = mount_stat(paths[i]);

        assert_int_equal(attr.st_size, 0);
        assert_int_equal(attr.st_nlink, 1);
    }
    assert_int_equal(mount_stat(P("a/n/key")).st_nlink, 1);
}

static void a_keys_size_and_blocks_are_those_of_its_value(void **state)
{
    static const size_t sizes[] = {0, 1, 511, 512, 513, 100000};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint8_t *bytes = mount_bytes(i, sizes[i]);
        struct stat attr;

        mount_write(P("a/n/key"), bytes, sizes[i]);
        attr = mount_stat(P("a/n/key"));
        assert_int_equal(attr.st_size, sizes[i]);
        assert_int_equal(attr.st_blocks, (sizes[i] + 511) / 512);
        free(bytes);
    }
}

static void expect_space(const char *path, uint64_t limit, uint64_t used)
{
    struct statvfs space;

    MOUNT_OK(statvfs(path, &space));
    assert_int_equal(space.f_blocks * space.f_frsize, limit);
    assert_int_equal(space.f_bavail, space.f_bfree);
    assert_in_range((space.f_blocks - space.f_bfree) * space.f_frsize, used, used + space.f_frsize - 1);
}

static void statfs_of_an_account_shows_its_limit_and_use(void **state)
{
    struct statvfs space;

    MOUNT_OK(mkdir(P("b"), 0755));
    expect_space(P("a"), 1 << 30, 0);
    mount_write(P("a/n/key"), letters(1000), 1000);
    expect_space(P("a"), 1 << 30, 1003);
    expect_space(P("a/n"), 1 << 30, 1003);
    expect_space(P("a/n/key"), 1 << 30, 1003);
    expect_space(P("b"), 1 << 30, 0);
    MOUNT_KVCTL(*state, "account", "limit", "a", "--bytes", "10K");
    expect_space(P("a/n"), 10240, 1003);
    MOUNT_KVCTL(*state, "account", "limit", "a", "--bytes", "512"); /* below what is used */
    MOUNT_OK(statvfs(P("a"), &space));
    assert_int_equal(space.f_bavail, 0);
    MOUNT_OK(statvfs(P("."), &space));
    assert_int_equal(space.f_namemax, 64);
    assert_int_equal(pathconf(P("a"), _PC_NAME_MAX), 64);
    assert_true(space.f_bavail > 0);
    assert_int_equal(pathconf(P("a/n"), _PC_NAME_MAX), 512);
}

static void inode_numbers_are_unique_and_stay(void **state)
{
    static const char *const paths[] = {".", "a", "a/n", "a/n/one", "a/n/two", "a/.projects", "a/.projects/p"};
    enum { PATHS = sizeof(paths) / sizeof(paths[0]) };
    ino_t inos[PATHS];

    MOUNT_OK(mkdir(P("a/.projects/p"), 0755));
    mount_write_text(P("a/n/one"), "1");
    mount_write_text(P("a/n/two"), "2");
    for (size_t i = 0; i < PATHS; i++) {
        inos[i] = mount_stat(P("%s", paths[i])).st_ino;
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(inos[i], inos[j]);
    }
    mount_write_text(P("a/n/one"), "another value, the same object");
    assert_int_equal(mount_stat(P("a/n/one")).st_ino, inos[3]);
    mount_stop(NODE(state));
    mount_again(NODE(state), NULL);
    for (size_t i = 0; i < PATHS; i++)
        assert_int_equal(mount_stat(P("%s", paths[i])).st_ino, inos[i]);
    MOUNT_OK(unlink(P("a/n/one")));
    mount_write_text(P("a/n/one"), "a new object");
    assert_int_not_equal(mount_stat(P("a/n/one")).st_ino, inos[3]);
}

/* ----------------------------------------------------------------------------- listing */

static void a_listing_shows_types_and_inode_numbers(void **state)
{
    DIR *dir;
    struct dirent *entry;
    unsigned dots = 0;

    mount_write_text(P("a/n/key"), "value");
    dir = opendir(P("a/n"));
    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.') {
            dots++;
            assert_int_equal(entry->d_type, DT_DIR);
            continue;
        }
        assert_string_equal(entry->d_name, "key");
        assert_int_equal(entry->d_type, DT_REG);
        assert_int_equal(entry->d_ino, mount_stat(P("a/n/key")).st_ino);
    }
    assert_int_equal(dots, 2);
    closedir(dir);

    dir = opendir(P("."));
    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        assert_int_equal(entry->d_type, DT_DIR);
        if (strcmp(entry->d_name, "a") == 0)
            assert_int_equal(entry->d_ino, mount_stat(P("a")).st_ino);
    }
    closedir(dir);
}

static void a_key_that_is_being_created_is_listed(void **state)
{
    int fd = (int)MOUNT_OK(open(P("a/n/new"), O_WRONLY | O_CREAT | O_CLOEXEC, 0666));

    mount_write_text(P("a/n/old"), "value");
    mount_expect_list(P("a/n"), "new old");
    MOUNT_OK(write(fd, "value", 5));
    mount_expect_list(P("a/n"), "new old");
    MOUNT_OK(close(fd));
    mount_expect_list(P("a/n"), "new old");
}

enum { MANY = 3000 }; /* more than one answer holds; not waiting for the disk makes them fast */

static void make_many(void **state)
{
    for (int i = 0; i < MANY; i++)
        mount_write_text(P("a/n/key_%04d", i), "value");
}

/* As rm -r does it. */
static void what_is_deleted_while_it_is_listed_is_listed_once(void **state)
{
    DIR *dir;
    struct dirent *entry;
    int count = 0;

    make_many(state);
    dir = opendir(P("a/n"));
    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        MOUNT_OK(unlinkat(dirfd(dir), entry->d_name, 0));
        count++;
    }
    closedir(dir);
    assert_int_equal(count, MANY);
    mount_expect_list(P("a/n"), "");
    MOUNT_OK(rmdir(P("a/n")));
}

static void what_stays_is_listed_once_while_others_come_and_go(void **state)
{
    bool seen[MANY] = {false};
    DIR *dir;
    struct dirent *entry;
    int count = 0, step = 0, number;

    make_many(state);
    dir = opendir(P("a/n"));
    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        if (sscanf(entry->d_name, "key_%d", &number) == 1) {
            assert_false(seen[number]);
            seen[number] = true;
            count++;
        }
        if (step++ % 50 == 0) {
            mount_write_text(P("a/n/A_%d", step), "comes before");
            mount_write_text(P("a/n/z_%d", step), "comes behind");
            if (step > 100)
                MOUNT_OK(unlink(P("a/n/A_%d", step - 100)));
        }
    }
    closedir(dir);
    assert_int_equal(count, MANY);
}

static void a_listing_can_go_back_to_a_remembered_place(void **state)
{
    char names[100][16];
    long places[100];
    DIR *dir;

    make_many(state);
    dir = opendir(P("a/n"));
    assert_non_null(dir);
    for (int i = 0; i < 100; i++) {
        places[i] = telldir(dir);
        snprintf(names[i], sizeof(names[i]), "%.15s", readdir(dir)->d_name);
    }
    for (int i = 99; i >= 0; i -= 7) {
        seekdir(dir, places[i]);
        assert_string_equal(readdir(dir)->d_name, names[i]);
        assert_string_equal(i < 99 ? readdir(dir)->d_name : "", i < 99 ? names[i + 1] : "");
    }
    rewinddir(dir);
    mount_write_text(P("a/n/0_new"), "value");
    rewinddir(dir);
    for (int i = 0; i < 2; i++)
        assert_string_equal(readdir(dir)->d_name, i == 0 ? "." : "..");
    assert_string_equal(readdir(dir)->d_name, "0_new");
    closedir(dir);
}

/* Places within what was listed last stay, whatever goes before them. */
static void a_listing_can_go_back_after_keys_were_removed(void **state)
{
    char bytes[2][4096] __attribute__((aligned(8))), wanted[300];
    struct dirent64 *entry, *last = NULL;
    int dir = (int)MOUNT_OK(open(P("a/n"), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    long size;

    make_many(state);
    for (int i = 0; i < 2; i++) {
        size = MOUNT_OK(syscall(SYS_getdents64, dir, bytes[i], sizeof(bytes[i])));
        for (long at = 0; at < size; at += entry->d_reclen) {
            entry = (struct dirent64 *)(void *)(bytes[i] + at);
            if (i == 0 && at < size / 2)
                last = entry;
            else if (i == 0 && at > 0 && (char *)last + last->d_reclen == (char *)entry)
                snprintf(wanted, sizeof(wanted), "%s", entry->d_name);
        }
    }
    for (int i = 0; i < 10; i++)
        MOUNT_OK(unlink(P("a/n/key_%04d", i)));
    MOUNT_OK(lseek(dir, last->d_off, SEEK_SET));
    assert_true(MOUNT_OK(syscall(SYS_getdents64, dir, bytes[1], sizeof(bytes[1]))) > 0);
    assert_string_equal(((struct dirent64 *)(void *)bytes[1])->d_name, wanted);
    MOUNT_OK(close(dir));
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        MOUNT_TEST(accounts_and_namespaces_are_made_by_mkdir_and_listed),
        MOUNT_TEST(rmdir_removes_empty_namespaces_and_accounts),
        MOUNT_TEST(rmdir_of_what_is_not_empty_says_enotempty),
        MOUNT_TEST(rmdir_of_a_namespace_with_a_key_just_created_says_enotempty),
        MOUNT_TEST(unlink_and_rmdir_tell_files_from_directories),
        MOUNT_TEST(what_is_there_already_says_eexist),
        MOUNT_TEST(modes_of_new_directories_are_what_mkdir_says),
        MOUNT_TEST(a_set_group_id_directory_passes_its_group_on),
        MOUNT_TEST(names_outside_the_rules_say_einval_when_they_are_made),
        MOUNT_TEST(names_outside_the_rules_are_not_there_when_they_are_looked_up),
        MOUNT_TEST(names_that_are_only_too_long_say_enametoolong),
        MOUNT_TEST(the_longest_and_the_shortest_names_work),
        MOUNT_TEST(names_differ_by_case),
        MOUNT_TEST(files_live_in_namespaces_only),
        MOUNT_TEST(namespaces_hold_no_directories),
        MOUNT_TEST(there_are_no_hard_links),
        MOUNT_TEST(there_are_no_devices_fifos_and_sockets),
        MOUNT_TEST(symbolic_links_are_made_in_projects_only),
        MOUNT_TEST(a_value_over_the_limit_says_efbig_where_it_crosses_it),
        MOUNT_TEST(an_eleventh_namespace_says_edquot),
        MOUNT_TEST(a_key_more_than_the_limit_says_edquot),
        MOUNT_TEST(a_binding_more_than_the_limit_says_edquot),
        MOUNT_TEST(an_attribute_that_fills_the_account_says_edquot),
        MOUNT_TEST(a_write_that_fills_the_account_says_edquot),
        MOUNT_TEST(a_close_that_fills_the_account_says_edquot),
        MOUNT_TEST(a_full_account_can_be_emptied_and_used_again),
        MOUNT_TEST(an_append_to_a_full_account_is_reported),
        MOUNT_TEST(rename_moves_a_key_and_replaces_another),
        MOUNT_TEST(rename_flags_of_keys),
        MOUNT_TEST(rename_flags_of_namespaces),
        MOUNT_TEST(rename_flags_of_accounts),
        MOUNT_TEST(nothing_moves_to_another_account),
        MOUNT_TEST(nothing_changes_its_kind_by_rename),
        MOUNT_TEST(sizes_and_links_of_directories_tell_nothing),
        MOUNT_TEST(a_keys_size_and_blocks_are_those_of_its_value),
        MOUNT_TEST(statfs_of_an_account_shows_its_limit_and_use),
        MOUNT_TEST(inode_numbers_are_unique_and_stay),
        MOUNT_TEST(a_listing_shows_types_and_inode_numbers),
        MOUNT_TEST(a_key_that_is_being_created_is_listed),
        MOUNT_TEST_WITH("durability=fsync", what_is_deleted_while_it_is_listed_is_listed_once),
        MOUNT_TEST_WITH("durability=fsync", what_stays_is_listed_once_while_others_come_and_go),
        MOUNT_TEST_WITH("durability=fsync", a_listing_can_go_back_to_a_remembered_place),
        MOUNT_TEST_WITH("durability=fsync", a_listing_can_go_back_after_keys_were_removed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return mount_tests("tree", run); }
