/* Power cuts: sessions that are recorded, and images of what the disk may have after a cut.
 *
 * A session: some threads, of one process or of several, change namespaces of their own through the public API, some of
 * it in transactions of two steps and a check, and sweep what has expired, while every write to the store's files is
 * recorded (record_io.h), and every change notes the position of that log at which it was submitted and at which it was
 * known to be durable. Then the power is cut at flushes and at many random moments, and the files are rebuilt as the
 * disk could have them then (disk.h), each for itself.
 *
 * Each image is opened as a store by a child process, since LMDB would answer a wrong page with a signal. In it
 *   - everything must be readable, every value must be one that was put, and a check of the store finds nothing;
 *   - what each thread made must be the state after some first part of its changes, which are committed in their
 *     order: not less than what was known to be durable at the cut, nor more than what was submitted;
 *   - and the store must go on working. */
#ifndef KVFS_TESTS_STORE_POWER_H
#define KVFS_TESTS_STORE_POWER_H

#include "tests/store/disk.h"
#include "tests/support/history.h"

#include <semaphore.h>

#define POWER_MIB ((size_t)1 << 20)

enum {
    POWER_THREADS = 4,                 /* with a few changes under way each */
    POWER_ONE_SHOTS = POWER_THREADS,   /* this one opens and closes the store for each of its changes */
    POWER_WRITERS = POWER_THREADS + 1, /* that have namespaces */
    POWER_CHANGES = 300                /* of each writer */
};

struct power_step {
    struct history_step what;
    size_t submitted, durable; /* positions; SIZE_MAX: not known to be */
    int rc;

    struct power_writer *writer;
    bool joined; /* done together with the step before it: there is no state between the two */
    struct kv_change changes[3];
};

struct power_writer {
    struct power_session *session;
    unsigned number;
    uint64_t namespaces[HISTORY_NAMESPACES]; /* ids */
    struct test_random random;
    struct history_state start, made;
    struct power_step steps[POWER_CHANGES];
    size_t count;
    sem_t free; /* how many more changes may be under way */
};

/* What kind of session. */
struct power_kind {
    enum kv_durability durability;
    size_t map_bytes;
    bool full;     /* one change at a time, of values that fill the map */
    unsigned most; /* changes of each writer; 0: all */
};

/* In memory that children share. */
struct power_session {
    struct power_kind kind;
    char dir[64];
    uint64_t account;
    struct power_writer writers[POWER_WRITERS];
    size_t base;       /* position at which all that is in `start` was there */
    size_t no_space;   /* changes that were refused since the map was full */
    sem_t go[2], done; /* of two processes */
    struct record_io_log log;
};

/* One process, that opens the store twice. */
struct power_session *power_session(struct power_kind kind, uint64_t seed);
/* Two processes, first in turn, then both at once, with one-shots beside them; the second one dies then at one of these
 * calls. */
struct power_session *power_session_of_two(struct power_kind kind, uint64_t seed, struct record_io_calls death);
/* From what is in the directory, which the session takes over; it has what `before` made up to `states`. */
struct power_session *power_session_after(const struct power_session *before, const char *dir,
                                          const struct history_state states[POWER_WRITERS], uint64_t seed);
void power_session_free(struct power_session *session);

/* A directory for a store, in memory where that is possible. */
void power_make_directory(char *dir, size_t size);
void power_empty_directory(const char *dir);
void power_remove_directory(const char *dir);
struct kv_ref power_ref(const struct power_writer *writer, struct history_place place);

/* -------------------------------------------------------------------- changes (power_changes.c) */

extern struct kv_store *power_store; /* of this process */

/* Make one more step, or two together; some may be under way afterwards. */
void power_change(struct power_writer *writer);
/* How many may be. */
unsigned power_under_way(const struct power_writer *writer);
void power_wait_for_all(struct power_writer *writer);
/* All changes of a writer are durable. */
void power_note_durable(struct power_writer *writer);

/* --------------------------------------------------------------------- images (power_images.c) */

enum power_verdict { GOOD, UNOPENABLE, UNSOUND, TORN, LOST, STUCK, DIED, VERDICTS };

/* The name that the data have, and whether there is a log. */
enum power_name { DATA, DATA_NEW, NO_DATA, NAMES };

struct power_plan {
    size_t cut;
    enum disk_loss loss[RECORD_IO_FILES];
    enum power_name name;
    bool no_log;
    uint64_t seed;
};

struct power_images {
    const struct power_session *session;
    bool of_creation;                      /* the store may be there or not */
    bool ignores_flushes[RECORD_IO_FILES]; /* a bad disk */
    struct power_plan *plans;
    size_t count, capacity;
};

void power_add(struct power_images *images, struct power_plan plan);
/* Cuts at flushes and random ones, so many in all. */
void power_plan(struct power_images *images, size_t count, struct test_random *random);
/* Look into all images that were planned, and free the plans. returns how many were not good; says so */
size_t power_cut(struct power_images *images, size_t verdicts[VERDICTS]);
/* Make one image in a directory, and say what the writers have in it. It must be good. */
void power_cut_once(const struct power_session *session, const struct power_plan *plan, const char *dir,
                    struct history_state states[POWER_WRITERS]);

#endif
