/* A recorder of what processes do to the files of one store, which can let it fail, or let a process die there.
 *
 * The program that links this defines the system's functions that write, size, flush and rename files, so that
 * calls of shared libraries (LMDB's) come here too. While a recording runs, what they do to data.mdb (also while it
 * is built as data.mdb.new) and to log is noted, in the order in which the calls returned. Everything else
 * passes through. What the files hold when a recording starts is noted first, as written and flushed.
 *
 * The notes are in memory that children share which are forked after record_io_start(): so those of several processes
 * have one order. They know nothing of writes through a mapping; LMDB makes none unless it is told to. Whoever uses
 * them should compare the replayed files with the real ones once.
 */
#ifndef KVFS_TESTS_STORE_RECORD_IO_H
#define KVFS_TESTS_STORE_RECORD_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum record_io_file { RECORD_IO_DATA, RECORD_IO_LOG, RECORD_IO_FILES };
extern const char *const record_io_names[RECORD_IO_FILES];

enum record_io_kind {
    RECORD_IO_WRITE,      /* `size` bytes at `at` */
    RECORD_IO_SIZE,       /* the size was set to `at` */
    RECORD_IO_GROW,       /* the size was made at least `at` (fallocate) */
    RECORD_IO_FLUSH,      /* all that the file has is durable */
    RECORD_IO_RENAME,     /* data.mdb.new became data.mdb */
    RECORD_IO_UNLINK,     /* of a log that was there */
    RECORD_IO_FLUSH_NAMES /* the directory is durable */
};

struct record_io_event {
    enum record_io_kind kind;
    enum record_io_file file;
    bool durable; /* RECORD_IO_WRITE: these bytes were durable when it returned (O_DSYNC) */
    uint64_t at, size;
    uint8_t *bytes;
};

struct record_io_log {
    struct record_io_event *events;
    size_t count;
    uint8_t *bytes; /* of all events */
};

/* Calls of one kind. */
enum record_io_part {
    RECORD_IO_ANYWHERE,
    RECORD_IO_HEAD, /* writes to the first two pages: LMDB's headers, the log's checkpoints */
    RECORD_IO_BODY  /* other writes: LMDB's pages, the log's records */
};
struct record_io_calls {
    enum record_io_kind kind; /* RECORD_IO_WRITE or RECORD_IO_FLUSH */
    enum record_io_file file;
    enum record_io_part part;
    unsigned skip; /* so many more of them are none */
};

/* Writes and flushes that fail as those of a broken disk. */
struct record_io_fault {
    struct record_io_calls calls;
    int error;          /* an errno; 0: a write that writes one half only */
    bool kept;          /* the bytes of the first write are there all the same */
    void (*then)(void); /* called before a flush fails, when it is set; it must not call what is replaced here */
    unsigned times;
};
/* Let the next ones of a recording fail; times 0: none. Returns how many of the fault before are left. */
unsigned record_io_fail(struct record_io_fault fault);
/* Let this process die by SIGKILL as soon as the next of these calls has returned. */
void record_io_die(struct record_io_calls calls);

/* Record from here on. dir: absolute, without links */
void record_io_start(const char *dir);
/* How many events there are by now. A change that is known to be done at position P was made by events before P. */
size_t record_io_position(void);
/* End the recording; the log is the caller's. */
struct record_io_log record_io_stop(void);
void record_io_free(struct record_io_log *log);

#endif
