/* Real mounts for tests.
 *
 * mount_tests() runs a program's test groups in a child process and stays behind as its supervisor. However
 * the child ends (by itself, by a crash, by the alarm that bounds every test, by a signal to the supervisor),
 * the supervisor ends the processes and mounts that are left and removes the run's directory. The daemons
 * answer requests of this very process, so nothing inside it could be relied upon when one of them hangs;
 * a deadly signal ends even a system call that waits for a daemon.
 *
 * A test has a directory of its own with one store and any number of nodes: mounts of that store. Its
 * setup mounts one (unless the test says otherwise); its teardown unmounts all and fails where a daemon does
 * not end, or ends badly, as it does when a sanitizer finds something.
 *
 * The environment's KVFS_TEST_OPTIONS, as io_uring, are options of every mount.
 *
 * All functions fail the running test where they cannot do their job, so they are not for children
 * made by mount_fork().
 */
#ifndef KVFS_TESTS_SUPPORT_MOUNT_H
#define KVFS_TESTS_SUPPORT_MOUNT_H

#include "tests/support/store.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>

enum {
    MOUNT_NODES = 8,
    MOUNT_CHILDREN = 64,
    MOUNT_SECONDS = 120, /* the time that a test has, unless it calls alarm() itself */
    MOUNT_PATH = 256,
};

struct mount_node {
    struct mount_test *test;
    char path[MOUNT_PATH]; /* the mount point */
    pid_t daemon;          /* 0: not mounted */
};

struct mount_test {
    char dir[MOUNT_PATH - 16], store[MOUNT_PATH];
    struct mount_node nodes[MOUNT_NODES]; /* a test's first node is nodes[0] */
    size_t node_count;
    pid_t children[MOUNT_CHILDREN];
    size_t child_count;
    int first_fd;       /* descriptors from here on are the test's */
    char output[65536]; /* of the last program that ran, NUL-terminated */
};

/* main() of a test program; `name` is for messages. The environment's KVFS_TEST_ONLY, a name with * and ?, chooses
 * tests. returns the exit status: 77 where nothing can be mounted */
int mount_tests(const char *name, int (*run)(void));

/* ------------------------------------------------------------------------ setup */

int mount_setup(void **state);       /* a node with the options that the test asked for, and namespace a/n */
int mount_setup_empty(void **state); /* no node */
int mount_teardown(void **state);
#define MOUNT_TEST(f)                            \
    {                                            \
#f, f, mount_setup, mount_teardown, NULL \
    }
#define MOUNT_TEST_WITH(options, f)                 \
    {                                               \
#f, f, mount_setup, mount_teardown, options \
    }
#define MOUNT_TEST_EMPTY(f)                            \
    {                                                  \
#f, f, mount_setup_empty, mount_teardown, NULL \
    }

/* ------------------------------------------------------------------------ nodes */

/* Mount the test's store once more. options: of -o, or NULL */
struct mount_node *mount_start(struct mount_test *test, const char *options);
/* Unmount, and wait for the daemon's good end. */
void mount_stop(struct mount_node *node);
/* Unmount, and wait for the daemon's end with this exit status. */
void mount_stop_with(struct mount_node *node, int status);
/* End the daemon by a signal, and wait for its good end. */
void mount_signal(struct mount_node *node, int number);
/* Wait for the good end of a daemon whose mount is gone. */
void mount_ended(struct mount_node *node);
/* Mount again at the same place. */
void mount_again(struct mount_node *node, const char *options);

/* MOUNTPOINT/..., formatted as by printf(3). The text lives until sixteen more were made. */
__attribute__((format(printf, 2, 3))) const char *mount_path(const struct mount_node *node, const char *format,
                                                             ...);

/* ---------------------------------------------------------------------- processes */

/* Run a program to its end; its standard output and error are in test->output. returns its exit status */
int mount_run(struct mount_test *test, const char *const *argv);
#define MOUNT_RUN(test, ...) mount_run((test), (const char *const[]){__VA_ARGS__, NULL})
/* kvctl on the test's store, which must succeed. */
void mount_kvctl(struct mount_test *test, const char *const *arguments);
#define MOUNT_KVCTL(test, ...) mount_kvctl((test), (const char *const[]){__VA_ARGS__, NULL})

/* fork(2) of a child that ends with the test at the latest. */
pid_t mount_fork(struct mount_test *test);
/* Wait for a child. returns its wait status */
int mount_wait(struct mount_test *test, pid_t child);

/* ------------------------------------------------------------------------- files */

/* The result of a system call: it failed with this errno. */
#define MOUNT_FAILS(wanted_errno, call) mount_fails((call), (wanted_errno), #call, __FILE__, __LINE__)
void mount_fails(long result, int wanted_errno, const char *call, const char *file, int line);
/* It succeeded. returns it */
#define MOUNT_OK(call) mount_ok((call), #call, __FILE__, __LINE__)
long mount_ok(long result, const char *call, const char *file, int line);

/* Open, make empty, write and close. */
void mount_write(const char *path, const void *bytes, size_t size);
void mount_write_text(const char *path, const char *text);
/* The file's content, its size in stat, and what read finds. */
void mount_expect(const char *path, const void *bytes, size_t size);
void mount_expect_text(const char *path, const char *text);
/* Read up to `capacity` bytes of a file. returns how many */
size_t mount_read(const char *path, void *bytes, size_t capacity);
/* The whole file as text, in a buffer that the next call overwrites. */
const char *mount_text(const char *path);
/* The same text, now or soon: what a close only created or emptied may be seen elsewhere right after it. */
void mount_await_text(const char *path, const char *text);
/* Nothing is there, now or soon. */
void mount_await_absence(const char *path);
struct stat mount_stat(const char *path);
bool mount_is_there(const char *path);

/* `size` bytes that are the same for the same seed; to be freed by the caller. */
uint8_t *mount_bytes(uint64_t seed, size_t size);

/* Names in a directory, sorted, without . and .., joined by one space each; to be freed by the caller. */
char *mount_list(const char *path);
void mount_expect_list(const char *path, const char *names);

int64_t mount_now_ms(void);  /* monotonic */
void mount_pause_ms(int ms); /* between the looks of a bounded wait */

#endif
