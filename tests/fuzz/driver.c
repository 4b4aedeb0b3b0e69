/* Runs a fuzz target without libFuzzer: replays a corpus, then runs mutations of it.
 *
 *   usage: fuzz_WHAT CORPUS_DIR RUNS
 *   KVFS_FUZZ_RUNS   how many mutations, instead of RUNS
 *   KVFS_FUZZ_SEED   the seed, instead of 1: the same corpus, seed and number of a run make the same input
 *   KVFS_FUZZ_FIRST  the number of the first run, instead of 0
 *
 *   usage: fuzz_WHAT FILE     runs this input only
 *
 * An input that ends the process is kept in the working directory. */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INPUT_MAX 4096

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

struct input {
    size_t size;
    uint8_t bytes[INPUT_MAX];
};

static struct input *corpus;
static size_t corpus_count;

/* What is running. */
static struct input current;
static char current_name[96];

static int start_dir; /* a target may change the working directory */

/* ---------------------------------------------------------------------------- deaths */

static void keep_input(void)
{
    char path[128];
    int fd;

    if (current_name[0] == '\0')
        return;
    snprintf(path, sizeof(path), "crash-%s", current_name);
    fd = openat(start_dir, path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd >= 0 && write(fd, current.bytes, current.size) == (ssize_t)current.size)
        dprintf(STDERR_FILENO, "the input is kept in %s\n", path);
    current_name[0] = '\0';
}

static void on_signal(int number)
{
    keep_input();
    signal(number, SIG_DFL);
    raise(number);
}

static void watch_deaths(void)
{
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    bool sanitized = __sanitizer_set_death_callback != NULL;

    if (sanitized)
        __sanitizer_set_death_callback(keep_input);
    for (size_t i = 0; i < (sanitized ? 1 : sizeof(signals) / sizeof(signals[0])); i++)
        signal(signals[i], on_signal);
}

/* ---------------------------------------------------------------------------- inputs */

static void run(const char *name)
{
    uint8_t *copy = fuzz_copy(current.bytes, current.size);

    snprintf(current_name, sizeof(current_name), "%s", name);
    LLVMFuzzerTestOneInput(copy, current.size);
    current_name[0] = '\0';
    free(copy);
}

static void load(const char *path, struct input *out)
{
    int fd = open(path, O_RDONLY);
    ssize_t got = fd >= 0 ? read(fd, out->bytes, sizeof(out->bytes)) : -1;

    if (got < 0) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    out->size = (size_t)got;
    close(fd);
}

static int is_visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static void replay_corpus(const char *dir)
{
    struct dirent **names;
    int count = scandir(dir, &names, is_visible, alphasort);

    if (count <= 0) {
        fprintf(stderr, "%s: no corpus there\n", dir);
        exit(EXIT_FAILURE);
    }
    corpus = calloc((size_t)count, sizeof(*corpus));
    FUZZ_CHECK(corpus != NULL);
    for (int i = 0; i < count; i++) {
        char path[4096];

        snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
        load(path, &corpus[i]);
    }
    for (; corpus_count < (size_t)count; corpus_count++) {
        current = corpus[corpus_count];
        run(names[corpus_count]->d_name);
        free(names[corpus_count]);
    }
    free(names);
    printf("%zu inputs of %s\n", corpus_count, dir);
}

/* ------------------------------------------------------------------------- mutations */

static uint64_t random_state;

/* splitmix64 (Steele, Lea, Flood, OOPSLA 2014) */
static uint64_t random_u64(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static size_t below(size_t n) { return n == 0 ? 0 : (size_t)(random_u64() % n); }

/* Put `size` bytes in at a place; what does not fit falls off the end. */
static void insert(struct input *input, size_t at, const uint8_t *bytes, size_t size)
{
    uint8_t old[INPUT_MAX];
    size_t room = INPUT_MAX - at, tail = input->size - at;

    if (size > room)
        size = room;
    if (tail > room - size)
        tail = room - size;
    memcpy(old, input->bytes + at, tail);
    memcpy(input->bytes + at, bytes, size);
    memcpy(input->bytes + at + size, old, tail);
    input->size = at + size + tail;
}

static void erase(struct input *input, size_t at, size_t size)
{
    memmove(input->bytes + at, input->bytes + at + size, input->size - at - size);
    input->size -= size;
}

static void mutate(struct input *input)
{
    static const uint8_t extremes[] = {0, 1, 0x7f, 0x80, 0xff, '/', '.', '-'};
    const struct input *other = &corpus[below(corpus_count)];
    size_t at = below(input->size + 1), from = below(other->size + 1), size = 1 + below(below(64) + 1);
    uint8_t bytes[64];

    switch (below(8)) {
    case 0:
        if (at < input->size)
            input->bytes[at] ^= (uint8_t)(1u << below(8));
        break;
    case 1:
        if (at < input->size)
            input->bytes[at] = (uint8_t)random_u64();
        break;
    case 2:
        if (at < input->size)
            input->bytes[at] = extremes[below(sizeof(extremes))];
        break;
    case 3:
        if (at < input->size)
            input->bytes[at] = (uint8_t)(input->bytes[at] + below(9) - 4);
        break;
    case 4:
        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)random_u64();
        insert(input, at, bytes, size);
        break;
    case 5:
        erase(input, at, size < input->size - at ? size : input->size - at);
        break;
    case 6: /* a part of another input, or of this one again */
        insert(input, at, other->bytes + from, below(other->size - from + 1));
        break;
    case 7: /* the end of another input */
        input->size = at;
        insert(input, at, other->bytes + from, other->size - from);
        break;
    }
}

static void run_mutation(uint64_t seed, uint64_t number)
{
    char name[64];
    size_t times;

    random_state = seed * 0x2545f4914f6cdd1d + number;
    current = corpus[below(corpus_count)];
    times = 1 + below(8);
    for (size_t i = 0; i < times; i++)
        mutate(&current);
    snprintf(name, sizeof(name), "seed-%llu-run-%llu", (unsigned long long)seed, (unsigned long long)number);
    run(name);
}

static uint64_t setting(const char *name, const char *other)
{
    const char *text = getenv(name);

    return strtoull(text != NULL && *text != '\0' ? text : other, NULL, 0);
}

int main(int argc, char **argv)
{
    uint64_t seed = setting("KVFS_FUZZ_SEED", "1"), first = setting("KVFS_FUZZ_FIRST", "0"), runs;
    struct stat st;

    if (argc < 2) {
        fprintf(stderr, "usage: %s CORPUS_DIR RUNS, or %s FILE\n", argv[0], argv[0]);
        return EXIT_FAILURE;
    }
    start_dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    watch_deaths();
    if (stat(argv[1], &st) == 0 && S_ISREG(st.st_mode)) {
        load(argv[1], &current);
        run(""); /* it is kept already */
        return EXIT_SUCCESS;
    }
    runs = setting("KVFS_FUZZ_RUNS", argc > 2 ? argv[2] : "0");
    replay_corpus(argv[1]);
    printf("%llu mutations from number %llu on; KVFS_FUZZ_SEED=%llu\n", (unsigned long long)runs,
           (unsigned long long)first, (unsigned long long)seed);
    fflush(stdout);
    for (uint64_t i = first; i < first + runs; i++)
        run_mutation(seed, i);
    free(corpus);
    return EXIT_SUCCESS;
}
