/* The set-user-id and set-group-id bits of a key go when a user without privileges changes it, whatever kind of change
 * that is, and everybody sees that at once, who has just looked at it, too. */
#include "tests/support/users.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define P(...) mount_path(&((struct mount_test *)*state)->nodes[0], __VA_ARGS__)

enum { MODE = 06777, PLAIN = 0777, SIZE = 10000 };

/* Each changes the key at `path`, which has SIZE bytes. returns -1 and errno where a call failed */
typedef long change_kind(const char *path);

/* Open, do, close. */
#define WITH_OPEN(flags, call)                \
    int fd = open(path, (flags) | O_CLOEXEC); \
    long rc = fd < 0 ? -1 : (long)(call);     \
                                              \
    return fd >= 0 && close(fd) < 0 ? -1 : rc < 0 ? -1 : 0

static long write_only(const char *path) { WITH_OPEN(O_WRONLY, write(fd, "x", 1)); }
static long read_and_write(const char *path) { WITH_OPEN(O_RDWR, write(fd, "x", 1)); }
static long append(const char *path) { WITH_OPEN(O_WRONLY | O_APPEND, write(fd, "x", 1)); }
static long write_directly(const char *path) { WITH_OPEN(O_WRONLY | O_DIRECT, write(fd, "x", 1)); }
static long open_empty(const char *path) { WITH_OPEN(O_WRONLY | O_TRUNC, 0); }
static long cut_open(const char *path) { WITH_OPEN(O_RDWR, ftruncate(fd, 1)); }
static long cut(const char *path) { return truncate(path, 1); }
static long allocate(const char *path) { WITH_OPEN(O_WRONLY, fallocate(fd, 0, 0, SIZE + 1)); }
static long copy(const char *path) { WITH_OPEN(O_RDWR, copy_file_range(fd, NULL, fd, &(loff_t){SIZE}, 10, 0)); }

static const struct {
    const char *name;
    change_kind *change;
} kinds[] = {
    {"write, write-only", write_only},
    {"write, read and write", read_and_write},
    {"append", append},
    {"direct write", write_directly},
    {"open with O_TRUNC", open_empty},
    {"ftruncate", cut_open},
    {"truncate", cut},
    {"fallocate", allocate},
    {"copy_file_range", copy},
};

static void make_key(const char *path)
{
    uint8_t *bytes = mount_bytes(1, SIZE);

    mount_write(path, bytes, SIZE);
    free(bytes);
    MOUNT_OK(chmod(path, MODE));
    assert_int_equal(mount_stat(path).st_mode & 07777, MODE); /* from here on the kernel knows it */
}

static void the_bits_go_with_every_kind_of_change_by_a_user(void **state)
{
    const char *path = P("a/n/key");

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        make_key(path);
        if (AS(ONE, kinds[i].change(path)) < 0)
            fail_msg("%s: %s", kinds[i].name, strerror(errno));
        if ((mount_stat(path).st_mode & 07777) != PLAIN)
            fail_msg("%s: mode %o", kinds[i].name, mount_stat(path).st_mode & 07777);
    }
}

static void another_node_sees_that_they_went(void **state)
{
    struct mount_node *other = mount_start(*state, "allow_other,cache_ttl=0");

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        make_key(P("a/n/key_%zu", i));
        if (AS(ONE, kinds[i].change(P("a/n/key_%zu", i))) < 0)
            fail_msg("%s: %s", kinds[i].name, strerror(errno));
        for (int64_t end = mount_now_ms() + 10000;
             (mount_stat(mount_path(other, "a/n/key_%zu", i)).st_mode & 07777) != PLAIN; mount_pause_ms(5))
            if (mount_now_ms() > end)
                fail_msg("%s: still there", kinds[i].name);
    }
}

static void they_are_seen_to_go_before_the_close(void **state)
{
    const char *path = P("a/n/key");
    int flags[] = {O_WRONLY, O_RDWR};

    for (size_t i = 0; i < 2; i++) {
        int fd, looker;

        make_key(path);
        looker = (int)MOUNT_OK(open(path, O_RDONLY | O_CLOEXEC));
        fd = (int)MOUNT_OK(AS(ONE, open(path, flags[i] | O_CLOEXEC)));
        assert_int_equal(mount_stat(path).st_mode & 07777, MODE);
        MOUNT_OK(AS(ONE, write(fd, "x", 1)));
        assert_int_equal(mount_stat(path).st_mode & 07777, PLAIN);
        MOUNT_OK(close(fd));
        MOUNT_OK(close(looker));
        assert_int_equal(mount_stat(path).st_mode & 07777, PLAIN);
    }
}

static void a_group_bit_without_a_group_that_may_execute_is_no_such_bit(void **state)
{
    const char *path = P("a/n/key");

    make_key(path);
    MOUNT_OK(chmod(path, 02766));
    MOUNT_OK(AS(ONE, write_only(path)));
    assert_int_equal(mount_stat(path).st_mode & 07777, 02766);
}

static void they_stay_when_root_writes(void **state)
{
    const char *path = P("a/n/key");

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        make_key(path);
        MOUNT_OK(kinds[i].change(path));
        if ((mount_stat(path).st_mode & 07777) != MODE)
            fail_msg("%s: mode %o", kinds[i].name, mount_stat(path).st_mode & 07777);
    }
}

static void they_go_with_a_new_owner(void **state)
{
    make_key(P("a/n/key"));
    MOUNT_OK(chown(P("a/n/key"), ONE, ONE));
    assert_int_equal(mount_stat(P("a/n/key")).st_mode & 07777, PLAIN);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        USERS_TEST("allow_other", the_bits_go_with_every_kind_of_change_by_a_user),
        USERS_TEST("allow_other", another_node_sees_that_they_went),
        USERS_TEST("allow_other", they_are_seen_to_go_before_the_close),
        USERS_TEST("allow_other", a_group_bit_without_a_group_that_may_execute_is_no_such_bit),
        USERS_TEST("allow_other", they_stay_when_root_writes),
        USERS_TEST("allow_other", they_go_with_a_new_owner),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return users_tests("setid", run); }
