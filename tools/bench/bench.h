/* What the parts of the benchmark share: its options, what it measures, of what, and what came out. */
#ifndef KVFS_TOOLS_BENCH_BENCH_H
#define KVFS_TOOLS_BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>

/* In the order of the table. README.md says what each one is. */
enum bench_workload {
    BENCH_CREATE,
    BENCH_OVERWRITE,
    BENCH_COLD_GET,
    BENCH_HOT_GET,
    BENCH_STAT,
    BENCH_UNLINK,
    BENCH_DURABLE_PUT,
    BENCH_CREATE_FSYNC,
    BENCH_WRITERS,
    BENCH_LARGE_PUT,
    BENCH_LARGE_GET,
    BENCH_LARGE_HOT_GET,
    BENCH_LIST,
    BENCH_LIST_LONG,
    BENCH_PAGE,
    BENCH_SCALE_GET,
    BENCH_SCALE_PUT,
    BENCH_MOUNT,
    BENCH_MEMORY,
    BENCH_IDLE,
    BENCH_SHELL_PUT,
    BENCH_SHELL_GET,
    BENCH_WORKLOADS
};

/* In the order of the table. Local is the file system of --dir, as a rule ext4. */
enum bench_subject {
    BENCH_KVFS_CLOSE, /* durability=close */
    BENCH_KVFS_FSYNC, /* durability=fsync */
    BENCH_KVFS_RING,  /* the same, -o io_uring */
    BENCH_KVFS_RO,
    BENCH_KVFS_FEW,  /* durability=close, with BENCH_FEW_KEYS keys */
    BENCH_KVFS_MANY, /* and with --many */
    BENCH_FLOOR,
    BENCH_FLOOR_RING,
    BENCH_PASSTHROUGH,
    BENCH_BINDFS,
    BENCH_RCLONE,
    BENCH_LOCAL,
    BENCH_TMPFS,
    BENCH_LMDB,
    BENCH_REDIS,
    BENCH_SQLITE,
    BENCH_SUBJECTS
};

#define BENCH_FEW_KEYS 10000u

/* Subjects, a bit for each. */
#define BENCH_BIT(subject) (1u << (subject))
#define BENCH_ALL_SUBJECTS (BENCH_BIT(BENCH_SUBJECTS) - 1)
/* Where others are installed or not, or the kernel offers it or not: left out then, and when they fail. */
#define BENCH_OPTIONAL                                                                                     \
    (BENCH_BIT(BENCH_KVFS_RING) | BENCH_BIT(BENCH_FLOOR_RING) | BENCH_BIT(BENCH_PASSTHROUGH) |             \
     BENCH_BIT(BENCH_BINDFS) | BENCH_BIT(BENCH_RCLONE) | BENCH_BIT(BENCH_TMPFS) | BENCH_BIT(BENCH_REDIS) | \
     BENCH_BIT(BENCH_SQLITE))
/* What kvfs is to be compared with: neither itself, nor what only shows a limit, as memory, an empty file system, and a
 * library without one. */
#define BENCH_PEERS                                                                                              \
    (BENCH_BIT(BENCH_PASSTHROUGH) | BENCH_BIT(BENCH_BINDFS) | BENCH_BIT(BENCH_RCLONE) | BENCH_BIT(BENCH_LOCAL) | \
     BENCH_BIT(BENCH_REDIS) | BENCH_BIT(BENCH_SQLITE))

static inline bool bench_has(unsigned subjects, enum bench_subject subject) { return subjects >> subject & 1; }

enum bench_unit {
    BENCH_MICROSECONDS,
    BENCH_MILLISECONDS,
    BENCH_PER_SECOND,
    BENCH_MIB_PER_SECOND,
    BENCH_BYTES_A_KEY,
    BENCH_WAKE_UPS,
    BENCH_UNITS
};

enum bench_mode {
    BENCH_TABLE,  /* measure, and report */
    BENCH_COUNTS, /* count requests, and compare with what is recorded */
    BENCH_CI,     /* and ratios to the floor, too */
    BENCH_RECORD  /* and record them */
};

struct bench_options {
    uint64_t rounds, files, writers, size, large_files, large_size, many, shell, idle;
    const char *dir, *tmpfs, *kvfs, *passthrough; /* kvfs: NULL where not given */
    const char *json, *plot;                      /* NULL: not wanted */
    enum bench_mode mode;
    const char *recorded; /* the file of all modes but the table */
    unsigned only;        /* a bit for each workload */
    unsigned of;          /* a bit for each subject */
};

#define BENCH_ROUNDS_MAX 100

/* Where it was measured. */
struct bench_facts {
    char type[32];    /* of the file system of --dir */
    char journal[32]; /* "journal", "no journal", or "" where that is not known */
    char kernel[96], cpu[96];
    long cpus;
    double load; /* of the last minute, when it began */
};

struct bench_results {
    const struct bench_options *options;
    struct bench_facts facts;
    unsigned measured[BENCH_WORKLOADS]; /* a bit for each subject */
    double samples[BENCH_WORKLOADS][BENCH_SUBJECTS][BENCH_ROUNDS_MAX];
    char left_out[BENCH_SUBJECTS][160]; /* why; "": it is not */
};

/* Name and unit of a workload, and a bit for each subject that it is measured of. */
struct bench_workload_info {
    const char *name;
    enum bench_unit unit;
    unsigned subjects;
};

extern const struct bench_workload_info bench_workloads[BENCH_WORKLOADS];
extern const char *const bench_units[BENCH_UNITS];
extern const char *const bench_subjects[BENCH_SUBJECTS];

/* returns  the subject's name in the table */
const char *bench_name(const struct bench_results *results, enum bench_subject subject);

/* A line on standard error: "kvfs-bench: " and the message. */
void bench_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Says what is wrong. returns true and the options; false and the exit status */
bool bench_options_parse(int argc, char **argv, struct bench_options *out, int *status);

/* Find out where this is, and what file system the directory is of. */
void bench_facts(const char *dir, struct bench_facts *out);

#endif
