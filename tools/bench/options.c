#include "tools/bench/bench.h"
#include "tools/cli/cli.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#define VALUE_MAX 26214400u /* the largest that kvfs takes */
#define COUNT_MAX 1000000u
#define WRITERS_MAX 1024u
#define LARGE_FILES_MAX 32u /* an account has 1 GiB */

enum { OPTION_NUMBER = 256 }; /* getopt's numbers of the options below, beyond the letters */
enum { ROUNDS, FILES, WRITERS, SIZE, LARGE_FILES, LARGE_SIZE, NUMBERS };
enum { OPTION_ONLY = OPTION_NUMBER + NUMBERS, OPTION_DIR, OPTION_TMPFS, OPTION_KVFS, OPTION_JSON };

static const struct {
    const char *name;
    uint64_t least, most;
} numbers[NUMBERS] = {
    [ROUNDS] = {"rounds", 1, BENCH_ROUNDS_MAX},
    [FILES] = {"files", 1, COUNT_MAX},
    [WRITERS] = {"writers", 1, WRITERS_MAX},
    [SIZE] = {"size", 1, VALUE_MAX},
    [LARGE_FILES] = {"large-files", 1, LARGE_FILES_MAX},
    [LARGE_SIZE] = {"large-size", 1, VALUE_MAX},
};

static const struct option options_table[] = {
    {"rounds", required_argument, NULL, OPTION_NUMBER + ROUNDS},
    {"files", required_argument, NULL, OPTION_NUMBER + FILES},
    {"writers", required_argument, NULL, OPTION_NUMBER + WRITERS},
    {"size", required_argument, NULL, OPTION_NUMBER + SIZE},
    {"large-files", required_argument, NULL, OPTION_NUMBER + LARGE_FILES},
    {"large-size", required_argument, NULL, OPTION_NUMBER + LARGE_SIZE},
    {"only", required_argument, NULL, OPTION_ONLY},
    {"dir", required_argument, NULL, OPTION_DIR},
    {"tmpfs", required_argument, NULL, OPTION_TMPFS},
    {"kvfs", required_argument, NULL, OPTION_KVFS},
    {"json", required_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static void options_usage(void)
{
    printf(
        "usage: kvfs-bench [OPTION]...\n"
        "Measure kvfs beside the local file system, tmpfs, and an empty FUSE file system in memory (the floor),\n"
        "in turns, and print medians over the rounds, their spread, and ratios.\n"
        "\n"
        "  --rounds N         how often each is measured (5)\n"
        "  --files N          files of a workload (500)\n"
        "  --size SIZE        bytes of each (100)\n"
        "  --writers N        threads of workload `writers`, which write four times as many files (16)\n"
        "  --large-files N    files of large-put and large-get (3)\n"
        "  --large-size SIZE  bytes of each (25M)\n"
        "  --only WORKLOAD    measure this one; can be given several times\n"
        "  --dir DIR          make everything in a new directory in DIR, removed at the end (.)\n"
        "  --tmpfs DIR        where tmpfs is; left out where it is none (/dev/shm)\n"
        "  --kvfs PROGRAM     the kvfs to measure (that of this build)\n"
        "  --json FILE        write everything there, too\n"
        "  -h, --help         show this text\n"
        "\n"
        "workloads:\n"
        "  create, overwrite  open, write, close; `kvfs close` and `kvfs fsync` are mounts with durability=close\n"
        "                     and durability=fsync; `fsync` behind the local file system: fsync before close\n"
        "  cold-get           open, read, close, just mounted; tmpfs and the local file system have it in memory\n"
        "  hot-get, stat      again, several times\n"
        "  unlink             `fsync` behind the local file system: fsync of the directory behind each\n"
        "  writers            create by many threads, durable\n"
        "  large-put          as create, of large files; large-get: as cold-get\n"
        "\n"
        "A ratio is the median of the ratios in each round. /floor: to the floor; /ext4: to the local file\n"
        "system, with fsync where the row is durable, else without. Of times less is better, of rates more.\n"
        "\n"
        "exit status: 0 measured, whatever the figures are; 1 failed; 2 usage\n");
}

static bool options_refuse(const char *name, const char *text, const char *why)
{
    bench_say("--%s %s: %s; see kvfs-bench --help", name, text, why);
    return false;
}

static bool options_number(struct bench_options *options, unsigned number, const char *text)
{
    uint64_t *const fields[NUMBERS] = {&options->rounds, &options->files,       &options->writers,
                                       &options->size,   &options->large_files, &options->large_size};
    uint64_t value;

    if (!cli_parse_number(text, true, &value) || value < numbers[number].least || value > numbers[number].most)
        return options_refuse(numbers[number].name, text, "this is no number that can be used here");
    *fields[number] = value;
    return true;
}

static bool options_only(struct bench_options *options, const char *text)
{
    for (unsigned i = 0; i < BENCH_WORKLOADS; i++)
        if (strcmp(bench_workloads[i].name, text) == 0) {
            options->only |= 1u << i;
            return true;
        }
    return options_refuse("only", text, "there is no such workload");
}

static bool options_take(struct bench_options *options, int code)
{
    switch (code) {
    case OPTION_ONLY:
        return options_only(options, optarg);
    case OPTION_DIR:
        options->dir = optarg;
        return true;
    case OPTION_TMPFS:
        options->tmpfs = optarg;
        return true;
    case OPTION_KVFS:
        options->kvfs = optarg;
        return true;
    case OPTION_JSON:
        options->json = optarg;
        return true;
    default:
        return code >= OPTION_NUMBER && options_number(options, (unsigned)(code - OPTION_NUMBER), optarg);
    }
}

bool bench_options_parse(int argc, char **argv, struct bench_options *out, int *status)
{
    int code;

    *out = (struct bench_options){.rounds = 5,
                                  .files = 500,
                                  .writers = 16,
                                  .size = 100,
                                  .large_files = 3,
                                  .large_size = VALUE_MAX,
                                  .dir = ".",
                                  .tmpfs = "/dev/shm"};
    *status = 2;
    while ((code = getopt_long(argc, argv, "h", options_table, NULL)) != -1) {
        if (code == 'h') {
            options_usage();
            *status = 0;
            return false;
        }
        if (!options_take(out, code))
            return false;
    }
    if (out->only == 0)
        out->only = (1u << BENCH_WORKLOADS) - 1;
    if (optind < argc)
        bench_say("%s: this is no option; see kvfs-bench --help", argv[optind]);
    return optind == argc;
}
