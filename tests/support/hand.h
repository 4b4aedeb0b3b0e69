/* What a history's steps are on a mount, and what is there of them, by the system calls that a program would make. In
 * processes of their own: what is wrong ends the process, with a line that says so. */
#ifndef KVFS_TESTS_SUPPORT_HAND_H
#define KVFS_TESTS_SUPPORT_HAND_H

#include "tests/support/history.h"
#include "tests/support/mount.h"

#define HAND_VALUE_MAX ((size_t)1 << 20)

/* One writer's: its namespaces are below account "a". */
struct hand {
    const struct mount_node *node;
    uint32_t writer;
    struct test_random *random;
    const volatile bool
        *excused;   /* once this is set everything may fail, and ends the process well; NULL: never */
    uint8_t *bytes; /* HAND_VALUE_MAX + 1 */
};

struct hand hand_of(const struct mount_node *node, uint32_t writer, struct test_random *random,
                    const volatile bool *excused);

/* End the process, unless excused badly. */
__attribute__((noreturn, format(printf, 2, 3))) void hand_stop(const struct hand *hand, const char *format, ...);
/* A system call must have succeeded. */
void hand_succeed(const struct hand *hand, long result, const char *what);

/* A size for a put: more often small than large. */
size_t hand_choose_size(struct test_random *random);
/* Do a step. returns  whether an fsync followed: with either durability, all that was done up to it is durable */
bool hand_do(const struct hand *hand, const struct history_step *step);

/* Does an open find a key? */
bool hand_is_there(const struct hand *hand, struct history_place place);
/* What is there of a key. */
struct history_slot hand_read(const struct hand *hand, struct history_place place);
/* And of all. */
void hand_read_all(const struct hand *hand, struct history_state *state);
void hand_say(const char *what, const struct history_state *state);

#endif
