#include "tools/bench/bench.h"
#include "tools/cli/cli.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#define VALUE_MAX 26214400u /* the largest that kvfs takes */
#define SMALL_MAX 65536u    /* a value on a command line */
#define COUNT_MAX 1000000u
#define MANY_MAX 100000000u
#define WRITERS_MAX 1024u
#define LARGE_FILES_MAX 32u /* an account has 1 GiB */
#define IDLE_MAX 3600u

enum { OPTION_NUMBER = 256 }; /* getopt's numbers of the options below, beyond the letters */
enum { ROUNDS, FILES, WRITERS, SIZE, LARGE_FILES, LARGE_SIZE, MANY, SHELL, IDLE, NUMBERS };
enum {
    OPTION_ONLY = OPTION_NUMBER + NUMBERS,
    OPTION_OF,
    OPTION_DIR,
    OPTION_TMPFS,
    OPTION_KVFS,
    OPTION_PASSTHROUGH,
    OPTION_JSON,
    OPTION_PLOT,
    OPTION_COUNTS,
    OPTION_CI,
    OPTION_RECORD
};

static const struct {
    const char *name;
    uint64_t least, most;
} numbers[NUMBERS] = {
    [ROUNDS] = {"rounds", 1, BENCH_ROUNDS_MAX},
    [FILES] = {"files", 1, COUNT_MAX},
    [WRITERS] = {"writers", 1, WRITERS_MAX},
    [SIZE] = {"size", 1, SMALL_MAX},
    [LARGE_FILES] = {"large-files", 1, LARGE_FILES_MAX},
    [LARGE_SIZE] = {"large-size", 1, VALUE_MAX},
    [MANY] = {"many", 1, MANY_MAX},
    [SHELL] = {"shell", 1, COUNT_MAX},
    [IDLE] = {"idle", 1, IDLE_MAX},
};

static const struct option options_table[] = {
    {"rounds", required_argument, NULL, OPTION_NUMBER + ROUNDS},
    {"files", required_argument, NULL, OPTION_NUMBER + FILES},
    {"writers", required_argument, NULL, OPTION_NUMBER + WRITERS},
    {"size", required_argument, NULL, OPTION_NUMBER + SIZE},
    {"large-files", required_argument, NULL, OPTION_NUMBER + LARGE_FILES},
    {"large-size", required_argument, NULL, OPTION_NUMBER + LARGE_SIZE},
    {"many", required_argument, NULL, OPTION_NUMBER + MANY},
    {"shell", required_argument, NULL, OPTION_NUMBER + SHELL},
    {"idle", required_argument, NULL, OPTION_NUMBER + IDLE},
    {"only", required_argument, NULL, OPTION_ONLY},
    {"of", required_argument, NULL, OPTION_OF},
    {"dir", required_argument, NULL, OPTION_DIR},
    {"tmpfs", required_argument, NULL, OPTION_TMPFS},
    {"kvfs", required_argument, NULL, OPTION_KVFS},
    {"passthrough", required_argument, NULL, OPTION_PASSTHROUGH},
    {"json", required_argument, NULL, OPTION_JSON},
    {"plot", required_argument, NULL, OPTION_PLOT},
    {"counts", required_argument, NULL, OPTION_COUNTS},
    {"ci", required_argument, NULL, OPTION_CI},
    {"record", required_argument, NULL, OPTION_RECORD},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static const char options_text[] =
    "usage: kvfs-bench [OPTION]...\n"
    "Measure kvfs beside the local file system, tmpfs, an empty FUSE file system in memory (the floor), and\n"
    "what else is installed, in turns, and print medians over the rounds, their spread, and ratios.\n"
    "\n"
    "  --only WORKLOAD    measure this one; can be given several times\n"
    "  --of SUBJECT       measure it of this one; can be given several times\n"
    "  --rounds N         how often each is measured (5)\n"
    "  --files N          files of a workload (300)\n"
    "  --size SIZE        bytes of each (100)\n"
    "  --writers N        threads of `writers`, which write four times as many files (16)\n"
    "  --large-files N    files of large-put and large-get (3)\n"
    "  --large-size SIZE  bytes of each (25M)\n"
    "  --many N           keys of kvfs-many, which are listed (20000)\n"
    "  --shell N          keys of the shell's loop (100)\n"
    "  --idle SECONDS     how long `idle` looks on (1)\n"
    "  --json FILE        write everything there, too\n"
    "  --plot FILE        draw puts and gets there, as SVG\n"
    "  --dir DIR          make everything in a new directory in DIR, removed at the end (.)\n"
    "  --tmpfs DIR        where tmpfs is; left out where it is none (/dev/shm)\n"
    "  --kvfs PROGRAM     the kvfs to measure (that of this build)\n"
    "  --passthrough PROGRAM  libfuse's example (passthrough_ll)\n"
    "\n"
    "  --counts FILE      count requests and system calls, and compare with what FILE has recorded\n"
    "  --ci FILE          compare ratios to the floor, too; these three choose workloads, subjects, rounds, "
    "files\n"
    "  --record FILE      measure both, and record them\n"
    "  -h, --help         show this text\n"
    "\n";

static const char options_end[] =
    "A ratio is the median of the ratios in each round. /floor: to the floor; /peer: to the best of those that\n"
    "do the same job. Of times less is better, of rates more. README.md beside the source says what each is.\n"
    "\n"
    "exit status: 0 measured, whatever the figures are; 1 failed, or with --counts and --ci: dearer; 2 usage\n";

static void options_names(const char *title, const char *(*name)(unsigned i), unsigned count)
{
    int column = printf("%s", title);

    for (unsigned i = 0; i < count; i++) {
        if (column + (int)strlen(name(i)) > 100)
            column = printf("\n%*s", (int)strlen(title), "") - 1;
        column += printf(" %s", name(i));
    }
    printf("\n");
}

static const char *options_workload(unsigned i) { return bench_workloads[i].name; }
static const char *options_subject(unsigned i) { return bench_subjects[i]; }

static void options_usage(void)
{
    fputs(options_text, stdout);
    options_names("workloads:", options_workload, BENCH_WORKLOADS);
    options_names("subjects: ", options_subject, BENCH_SUBJECTS);
    printf("\n%s", options_end);
}

static bool options_refuse(const char *name, const char *text, const char *why)
{
    bench_say("--%s %s: %s; see kvfs-bench --help", name, text, why);
    return false;
}

static bool options_number(struct bench_options *options, unsigned number, const char *text)
{
    uint64_t *const fields[NUMBERS] = {&options->rounds, &options->files,       &options->writers,
                                       &options->size,   &options->large_files, &options->large_size,
                                       &options->many,   &options->shell,       &options->idle};
    uint64_t value;

    if (!cli_parse_number(text, true, &value) || value < numbers[number].least || value > numbers[number].most)
        return options_refuse(numbers[number].name, text, "this is no number that can be used here");
    *fields[number] = value;
    return true;
}

/* Set the bit of a name. */
static bool options_name(unsigned *bits, const char *option, const char *(*name)(unsigned i), unsigned count,
                         const char *text)
{
    for (unsigned i = 0; i < count; i++)
        if (strcmp(name(i), text) == 0) {
            *bits |= 1u << i;
            return true;
        }
    return options_refuse(option, text, "there is none of that name");
}

static bool options_mode(struct bench_options *options, enum bench_mode mode)
{
    options->mode = mode;
    options->recorded = optarg;
    return true;
}

static bool options_take(struct bench_options *options, int code)
{
    switch (code) {
    case OPTION_ONLY:
        return options_name(&options->only, "only", options_workload, BENCH_WORKLOADS, optarg);
    case OPTION_OF:
        return options_name(&options->of, "of", options_subject, BENCH_SUBJECTS, optarg);
    case OPTION_DIR:
        options->dir = optarg;
        return true;
    case OPTION_TMPFS:
        options->tmpfs = optarg;
        return true;
    case OPTION_KVFS:
        options->kvfs = optarg;
        return true;
    case OPTION_PASSTHROUGH:
        options->passthrough = optarg;
        return true;
    case OPTION_JSON:
        options->json = optarg;
        return true;
    case OPTION_PLOT:
        options->plot = optarg;
        return true;
    case OPTION_COUNTS:
        return options_mode(options, BENCH_COUNTS);
    case OPTION_CI:
        return options_mode(options, BENCH_CI);
    case OPTION_RECORD:
        return options_mode(options, BENCH_RECORD);
    default:
        return code >= OPTION_NUMBER && options_number(options, (unsigned)(code - OPTION_NUMBER), optarg);
    }
}

bool bench_options_parse(int argc, char **argv, struct bench_options *out, int *status)
{
    int code;

    *out = (struct bench_options){.rounds = 5,
                                  .files = 300,
                                  .writers = 16,
                                  .size = 100,
                                  .large_files = 3,
                                  .large_size = VALUE_MAX,
                                  .many = 20000,
                                  .shell = 100,
                                  .idle = 1,
                                  .dir = ".",
                                  .tmpfs = "/dev/shm",
                                  .passthrough = PASSTHROUGH_LL};
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
    if (out->of == 0)
        out->of = BENCH_ALL_SUBJECTS;
    if (optind < argc)
        bench_say("%s: this is no option; see kvfs-bench --help", argv[optind]);
    return optind == argc;
}
