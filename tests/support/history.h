/* Histories: what a writer does to keys of its own, and what that makes of them.
 *
 * A writer has a few namespaces with a few keys each; the last of the namespaces comes and goes. Its steps are chosen
 * so that each must succeed. Whoever looks at the keys later can tell which steps have happened: every
 * value begins with an id that is used once, and all of its bytes follow from the id.
 */
#ifndef KVFS_TESTS_SUPPORT_HISTORY_H
#define KVFS_TESTS_SUPPORT_HISTORY_H

#include "tests/support/store.h"

enum { HISTORY_NAMESPACES = 3, HISTORY_LAST = HISTORY_NAMESPACES - 1, HISTORY_KEYS = 5 };
enum { HISTORY_VALUE_MIN = 8 }; /* bytes: room for the id */

/* A key, as far as histories go. */
struct history_slot {
    uint64_t id; /* of its value; 0: the key is absent */
    uint32_t mode;
    uint32_t mark; /* its attribute user.mark; 0: it has none */
};

/* What a writer has. */
struct history_state {
    struct history_slot slots[HISTORY_NAMESPACES][HISTORY_KEYS];
    bool last_is_there;
};

enum history_kind {
    HISTORY_PUT,
    HISTORY_DELETE,
    HISTORY_END,    /* its expiry is set to what is over: gone, though something of it is left until it is swept */
    HISTORY_RENAME, /* over what may be there */
    HISTORY_EXCHANGE,
    HISTORY_CHMOD,
    HISTORY_MARK,
    HISTORY_MAKE_LAST,
    HISTORY_REMOVE_LAST,
};

struct history_place {
    unsigned namespace, key;
};

struct history_step {
    enum history_kind kind;
    struct history_place at, to;
    uint32_t number; /* a mode (also of the key that a put makes), or a mark */
    uint64_t id;     /* HISTORY_PUT: of the value */
    size_t size;     /* for the caller to choose: at least HISTORY_VALUE_MIN */
};

/* Choose a step that succeeds in this state. writer, number: no two steps of a test have the same of both */
struct history_step history_choose(const struct history_state *state, struct test_random *random, uint32_t writer,
                                   uint32_t number);
void history_apply(struct history_state *state, const struct history_step *step);
bool history_same(const struct history_state *a, const struct history_state *b);

/* The bytes of a value. */
void history_fill(uint64_t id, void *bytes, size_t size);
/* The id of a value that is whole; 0: it is not. */
uint64_t history_id(const void *bytes, size_t size);

/* "w3_a" and "key_2": room for 16 bytes each. */
void history_name_namespace(uint32_t writer, unsigned namespace, char *name);
void history_name_key(unsigned key, char *name);
/* The number of a key by its name; -1: it is no writer's. */
int history_key_of(const char *name);

#endif
