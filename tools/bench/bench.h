/* What the parts of the benchmark share: its options, what it measures, and of what. */
#ifndef KVFS_TOOLS_BENCH_BENCH_H
#define KVFS_TOOLS_BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>

enum bench_workload {
    BENCH_CREATE,
    BENCH_OVERWRITE,
    BENCH_COLD_GET,
    BENCH_HOT_GET,
    BENCH_STAT,
    BENCH_UNLINK,
    BENCH_WRITERS,
    BENCH_LARGE_PUT,
    BENCH_LARGE_GET,
    BENCH_WORKLOADS
};

/* In the order of the table. Local is the file system of --dir, as a rule ext4. */
enum bench_subject {
    BENCH_KVFS_CLOSE,
    BENCH_KVFS_FSYNC,
    BENCH_LOCAL_FSYNC, /* each write ends in an fsync */
    BENCH_LOCAL,
    BENCH_TMPFS,
    BENCH_FLOOR,
    BENCH_SUBJECTS
};

enum bench_unit { BENCH_MICROSECONDS, BENCH_PER_SECOND, BENCH_MIB_PER_SECOND };

struct bench_options {
    uint64_t rounds, files, writers, size, large_files, large_size;
    const char *dir, *tmpfs, *kvfs, *json; /* kvfs, json: NULL where not given */
    unsigned only;                         /* a bit for each workload */
};

#define BENCH_ROUNDS_MAX 100

struct bench_results {
    const struct bench_options *options;
    const char *local;                  /* the name of its type */
    unsigned measured[BENCH_WORKLOADS]; /* a bit for each subject */
    double samples[BENCH_WORKLOADS][BENCH_SUBJECTS][BENCH_ROUNDS_MAX];
};

static inline bool bench_has(unsigned subjects, enum bench_subject subject) { return subjects >> subject & 1; }

/* Name and unit of a workload, and a bit for each subject that it is measured of. */
struct bench_workload_info {
    const char *name;
    enum bench_unit unit;
    unsigned subjects;
};

extern const struct bench_workload_info bench_workloads[BENCH_WORKLOADS];

#define BENCH_NAME_MAX 32

/* returns  the subject's name in the table, maybe in `name` */
const char *bench_subject_name(const char *local, enum bench_subject subject, char name[BENCH_NAME_MAX]);

/* A line on standard error: "kvfs-bench: " and the message. */
void bench_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Says what is wrong. returns true and the options; false and the exit status */
bool bench_options_parse(int argc, char **argv, struct bench_options *out, int *status);

#endif
