/* Processes of several users on two nodes, the reference beside them, and what both do together: a step on the
 * mount is compared with the reference and made there too. What differs ends the test with the last steps, and the
 * last ones of the key. */
#ifndef KVFS_TESTS_SUPPORT_MODEL_H
#define KVFS_TESTS_SUPPORT_MODEL_H

#include "tests/support/agent.h"
#include "tests/support/reference.h"

enum { MODEL_HANDLES = 3, MODEL_LOCKS = 2, MODEL_TEXTS = 4096 };

/* A user's process on a node, and its open handles. */
struct model_actor {
    struct agent agent;
    unsigned user, node;
    struct ref_handle handles[MODEL_HANDLES];
    int lock_fds[MODEL_LOCKS], locks[MODEL_LOCKS]; /* LOCK_SH, LOCK_EX or LOCK_UN */
};

struct model {
    struct mount_test *test;
    struct reference reference;
    struct model_actor actors[REF_NODES * REF_USERS]; /* the first of each node is root's */
    unsigned acting;                                  /* the first so many make steps */
    struct test_random random;
    uint64_t steps;
    char texts[MODEL_TEXTS][120]; /* of the last steps */
    bool quiet;                   /* what is made now is no step */
};

/* Say what is going to be done. */
__attribute__((format(printf, 3, 4))) void model_note(struct model *m, const struct model_actor *who,
                                                      const char *format, ...);
__attribute__((noreturn, format(printf, 2, 3))) void model_differ(struct model *m, const char *format, ...);
/* A system call's result, with errno. wanted: an errno, or 0 for success */
void model_expect(struct model *m, long result, int wanted);

unsigned model_below(struct model *m, unsigned n);
struct ref_place model_place(struct model *m);
/* The way from a place's directory to its key: through a view of it, or "". The way of names that are changed is "". */
enum { MODEL_STRAIGHT, MODEL_WAYS = 3 };
const char *model_way(struct ref_place at);
mode_t model_mode(struct model *m); /* for a key */
mode_t model_dir_mode(struct model *m);

/* At the actor's agent. */
const char *model_path(struct model_actor *who, struct ref_place at);
const char *model_dir_path(struct model_actor *who, unsigned dir);
struct model_actor *model_root(struct model *m, unsigned node);

/* The handle that a node, or the other one, has open to a name, or NULL. */
struct ref_handle *model_held(struct model *m, unsigned node, struct ref_place at);
struct ref_handle *model_held_elsewhere(struct model *m, unsigned node, struct ref_place at);
/* Nothing that another node did since the open makes the node's answer about the name an open question. */
bool model_steady(struct model *m, unsigned node, struct ref_place at);
/* And nobody writes to it, so that every node knows the same attributes. */
bool model_unwritten(struct model *m, unsigned node, struct ref_place at);
/* The key as it is on the node. */
struct ref_key model_view(struct model *m, unsigned node, struct ref_place at);

/* returns  the handle, or NULL where the open must fail; *skipped: it was not made */
struct ref_handle *model_open(struct model *m, struct model_actor *who, struct ref_place at, int flags,
                              bool *skipped);
/* These return false where they were not made. */
bool model_write(struct model *m, struct model_actor *who, struct ref_handle *h);
bool model_get(struct model *m, struct model_actor *who, struct ref_place at); /* open, read and close */
bool model_look(struct model *m, struct model_actor *who, struct ref_place at);
void model_sync(struct model *m, struct model_actor *who, struct ref_handle *h);
void model_close(struct model *m, struct model_actor *who, struct ref_handle *h);
/* At everything, on both nodes. */
void model_look_at_all(struct model *m);

#endif
