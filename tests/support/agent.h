/* Processes of several users that make system calls for a test, one at a time, and keep their descriptors.
 *
 * The test hands a call to an agent and waits for the answer, or does something else while the agent's call waits.
 * An agent is a child made by mount_fork(): it ends with the test at the latest. What a call points to must lie in the
 * agent's memory, which both share: agent_text() and agent->bytes. A signal AGENT_SIGNAL interrupts a call.
 *
 * All functions fail the running test where they cannot do their job, also where a call takes AGENT_MS. */
#ifndef KVFS_TESTS_SUPPORT_AGENT_H
#define KVFS_TESTS_SUPPORT_AGENT_H

#include "tests/support/mount.h"

#include <signal.h>

enum { AGENT_MS = 20000, AGENT_TEXTS = 4, AGENT_BYTES = 1 << 17, AGENT_SIGNAL = SIGUSR1 };

/* What an agent is asked, and what it answers. */
struct agent_memory {
    long number, arguments[6]; /* of syscall(2) */
    long result;
    int error; /* errno after it */
    char texts[AGENT_TEXTS][MOUNT_PATH + 1024];
    _Alignas(16) uint8_t bytes[AGENT_BYTES];
};

struct agent {
    struct mount_test *test;
    pid_t pid;
    int fd;         /* a byte for each call, and one for each answer */
    uint8_t *bytes; /* AGENT_BYTES, aligned for any struct */
    struct agent_memory *memory;
};

/* A process of this user, of the group with the same number and, where it is not 0, of one more group. */
struct agent agent_start(struct mount_test *test, uid_t uid, gid_t group);
/* End the agent by a signal, and wait for its end. */
void agent_kill(struct agent *agent, int number);

/* A copy of a text at the agent's. The text lives until AGENT_TEXTS more were copied. */
const char *agent_text(struct agent *agent, const char *text);

/* Make a system call as syscall(2). returns its result, with errno */
#define AGENT(agent, ...) agent_call((agent), (const long[6]){__VA_ARGS__})
#define AGENT_BEGIN(agent, ...) agent_begin((agent), (const long[6]){__VA_ARGS__})
long agent_call(struct agent *agent, const long *numbers);
void agent_begin(struct agent *agent, const long *numbers);
bool agent_answers(const struct agent *agent, int within_ms);
long agent_end(struct agent *agent); /* the result of what was begun */

/* The usual calls; results as theirs, with errno. */
int agent_open(struct agent *agent, const char *path, int flags, mode_t mode);
long agent_close(struct agent *agent, int fd);

#endif
