/* Other users at work on a mount that they may use. Only root can play them.
 *
 * They act in this very process, so that one user's descriptors can be at hand while another one
 * acts: MOUNT_FAILS(EACCES, AS(ONE, open(path, O_RDONLY))). */
#ifndef KVFS_TESTS_SUPPORT_USERS_H
#define KVFS_TESTS_SUPPORT_USERS_H

#include "tests/support/mount.h"

enum { ONE = 5001, OTHER = 5002 }; /* users, each with a group of the same number and no other groups */

/* As mount_tests(); returns 77 where this is not root. */
int users_tests(const char *name, int (*run)(void));

/* Setup of a test: a node with the options that the test asked for (allow_other among them), whose account a and
 * namespace a/n are open to everybody. */
int users_setup(void **state);
#define USERS_TEST(options, f)                                       \
    {                                                                \
#f " (" options ")", f, users_setup, mount_teardown, options \
    }

/* What `call` returns, and its errno, when another user makes it. It must not fail the test. */
#define AS(uid, call) (users_become(uid), users_return((call)))
void users_become(uid_t uid);
long users_return(long result);

/* The call was refused because of what the user may do, or because what it meant is not there any more. */
#define USERS_REFUSED(call) users_refused((call), #call, __FILE__, __LINE__)
void users_refused(long result, const char *call, const char *file, int line);

/* Open with O_CREAT | O_TRUNC, write a text and close. returns 0; -1 and errno at the first call that fails */
long users_write(const char *path, const char *text, mode_t mode);
/* The first bytes of a file, NUL-terminated. returns how many; -1 and errno where it cannot be opened or read */
long users_read(const char *path, char *text, size_t capacity);
/* The same of what a descriptor has open, from the start. */
long users_read_fd(int fd, char *text, size_t capacity);

/* A process that must end well, and within the time that others may take at most. */
enum { USERS_PATIENCE_MS = 20000 };
void users_expect_end(void **state, pid_t child, const char *what);
/* In such a process: end it badly, with words and errno, unless the condition holds. */
void users_must(bool condition, const char *what);

#endif
