/* Command lines of kvctl, run in this process.
 *
 * Input: the arguments; each is a word from the table below, one behind "--option=", or bytes of the input. They
 * work on a store that is the same each time, in a directory that is theirs alone. Whatever they are, the exit
 * status is one of the documented, and an error is one line, or one for each of
 * several keys. */
#include "tools/kvctl/common.h"

#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 16, BYTES_MAX = 80 };

static const char *const words[] = {
    "put",
    "get",
    "delete",
    "list",
    "account",
    "namespace",
    "project",
    "binding",
    "env",
    "run",
    "check",
    "create",
    "show",
    "limit",
    "rename",
    "--store",
    "store",
    "--help",
    "-h",
    "--version",
    "-V",
    "--file",
    "file",
    "--type",
    "json",
    "text",
    "--meta",
    "name=value",
    "kvfs.a=b",
    "--prefix",
    "k",
    "--limit",
    "1",
    "256",
    "257",
    "--cursor",
    "k1",
    "--all",
    "--recursive",
    "--mount",
    "mnt",
    "./mnt",
    "--bytes",
    "1K",
    "9999999T",
    "0",
    "--namespaces",
    "--fast",
    "--repair",
    "--",
    "-",
    "",
    "a",
    "a/n",
    "a/n/k1",
    "a/n/k2",
    "a/n/new",
    "a/p",
    "b",
    "b/n",
    "V",
    "n",
    "new",
    "absent",
    "a/n/json",
    "a/absent",
    "a//k",
    "a/b/c/d",
    "-1",
    "--l",
    "--a",
    "18446744073709551616",
    /* Further ones come last: what is kept as inputs names words by their numbers. */
    "watch",
    "--since",
    "00000000000000010000000000000000000000000000000001",
    "000000000000000100000000000000000000000000000001",
    "--exec",
    "cat",
    "set",
    "rm",
    "mv",
    "ls",
    "incr",
    "append",
    "take",
    "dump",
    "load",
    "--json",
    "--json-lines",
    "--values",
    "--empty",
    "--format",
    "wrangler",
    "csv",
    "env",
    "--if-absent",
    "--if-version",
    "--if-unchanged",
    "--version-file",
    "--atomic",
    "--skip",
    "lines",
    "-5",
    ".",
    "txn",
    "operations",
};
enum { WORDS = sizeof(words) / sizeof(words[0]) };

static char arguments[ARGUMENTS_MAX][BYTES_MAX];
static uint8_t *image; /* the database file as it is before each run, up to its last used byte */
static size_t image_size, file_size;

/* "run" is not to replace this process. */
int execvp(const char *file, char *const argv[])
{
    (void)argv;
    errno = file[0] == 'a' ? EACCES : ENOENT;
    return -1;
}

/* -------------------------------------------------------------------------- directory
 *
 *   store/   the store       mnt/   an empty directory
 *   file     a value, which is also standard input
 *   lines    records for load   operations   for txn */

/* Write the front of a file. */
static void write_file(const char *name, const void *bytes, size_t size, size_t whole_size)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);

    FUZZ_CHECK(fd >= 0 && write(fd, bytes, size) == (ssize_t)size && ftruncate(fd, (off_t)whole_size) == 0);
    close(fd);
}

static uint8_t *read_file(const char *name, size_t *size)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    struct stat st;
    uint8_t *bytes;

    FUZZ_CHECK(fd >= 0 && fstat(fd, &st) == 0);
    *size = (size_t)st.st_size;
    bytes = malloc(*size);
    FUZZ_CHECK(bytes != NULL && read(fd, bytes, *size) == st.st_size);
    close(fd);
    return bytes;
}

static struct kv_node make(struct kv_store *store, enum kv_node_kind kind, uint64_t parent, const char *name,
                           uint64_t target)
{
    struct kv_node node;

    FUZZ_CHECK(kv_node_make(store, kind, parent, name, target, &node) == 0);
    return node;
}

static void put(struct kv_store *store, uint64_t namespace_id, const char *key, const char *value)
{
    struct kv_ref ref = kv_ref_key(namespace_id, key, strlen(key));

    FUZZ_CHECK(kv_put(store, &ref, value, strlen(value)) == 0);
}

static void make_store(void)
{
    struct kv_options options = kv_options_default();
    struct kv_node a, n, projects, p;
    struct kv_error error;
    struct kv_store *store;

    options.cache_bytes = 0;
    FUZZ_CHECK(kv_open("store", &options, &store, &error) == 0);
    a = make(store, KV_ACCOUNT, KV_ROOT_ID, "a", 0);
    (void)make(store, KV_ACCOUNT, KV_ROOT_ID, "b", 0);
    n = make(store, KV_NAMESPACE, a.id, "n", 0);
    (void)make(store, KV_NAMESPACE, a.id, "m", 0);
    FUZZ_CHECK(kv_node_find(store, a.id, ".projects", 9, &projects) == 0);
    p = make(store, KV_PROJECT, projects.id, "p", 0);
    (void)make(store, KV_BINDING, p.id, "V", n.id);
    put(store, n.id, "k1", "value");
    put(store, n.id, "k2", "");
    put(store, n.id, "json", "{\"a\": [1, 2]}");
    kv_close(store);
}

static void make_directory(void)
{
    static const char value[] = "[\"a value\"]\n";
    static const char lines[] =
        "{\"account\":\"a\",\"namespace\":\"n\",\"key\":\"k3\",\"value\":\"3\"}\n"
        "{\"account\":\"c\",\"limits\":{\"keys\":1}}\n{\"key\":\"k4\",\"base64\":\"AA==\"}\n";
    static const char operations[] =
        "check a/n/k3 --if-absent\nrename a/n/k1 'k4'\nput a/m/k \"v\" --meta x=1 # so\n";

    FUZZ_CHECK(chdir(fuzz_dir()) == 0 && mkdir("mnt", 0777) == 0);
    make_store();
    image = read_file("store/data.mdb", &file_size);
    for (image_size = file_size; image[image_size - 1] == 0;)
        image_size--;
    write_file("file", value, sizeof(value) - 1, sizeof(value) - 1);
    write_file("lines", lines, sizeof(lines) - 1, sizeof(lines) - 1);
    write_file("operations", operations, sizeof(operations) - 1, sizeof(operations) - 1);
    FUZZ_CHECK(dup2(open("file", O_RDONLY), STDIN_FILENO) == STDIN_FILENO);
}

static void remove_tree(const char *name)
{
    if (unlink(name) == 0)
        return;
    fuzz_empty_dir(name);
    FUZZ_CHECK(rmdir(name) == 0);
}

/* Back to how it was. */
static void restore_directory(void)
{
    DIR *dir = opendir(".");
    struct dirent *entry;

    FUZZ_CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        const char *name = entry->d_name;

        if (name[0] == '.' && (name[1] == '\0' || strcmp(name, "..") == 0))
            continue;
        if (strcmp(name, "store") != 0 && strcmp(name, "mnt") != 0 && strcmp(name, "file") != 0 &&
            strcmp(name, "lines") != 0 && strcmp(name, "operations") != 0)
            remove_tree(name);
    }
    closedir(dir);
    fuzz_empty_dir("mnt");
    write_file("store/data.mdb", image, image_size, file_size); /* what was put beyond is of no meaning any more */
    FUZZ_CHECK(lseek(STDIN_FILENO, 0, SEEK_SET) == 0);
    FUZZ_CHECK(fseek(stdin, 0, SEEK_SET) == 0); /* what was read ahead is forgotten, too */
}

/* --------------------------------------------------------------------------- arguments */

/* No path leads out of the directory. */
static void keep_inside(char *text)
{
    for (char *c = text; *c != '\0'; c++)
        if ((*c == '/' && (c == text || c[-1] == '=')) || (*c == '.' && c[1] == '.'))
            *c = '_';
}

static void choose_argument(struct fuzz_input *in, char *out)
{
    unsigned number = fuzz_u8(in);
    const uint8_t *bytes;
    size_t size;

    memset(out, 0, BYTES_MAX);
    if (number < 200) {
        strcpy(out, words[number % WORDS]);
    } else if (number < 220) {
        const char *option = words[fuzz_below(in, WORDS)], *value = words[fuzz_below(in, WORDS)];

        snprintf(out, BYTES_MAX, "%s=%s", option, value);
    } else {
        bytes = fuzz_bytes(in, fuzz_below(in, BYTES_MAX), &size);
        memcpy(out, bytes, size);
        keep_inside(out);
    }
}

/* -------------------------------------------------------------------------------- runs */

static bool is_allowed(int status, bool has_run, bool has_watch)
{
    switch (status) {
    case CTL_OK:
    case CTL_NO:
    case CTL_ERROR:
    case CTL_EMPTY:
    case CTL_CONDITION:
        return true;
    case CTL_RUN_ERROR:
    case CTL_RUN_NOT_EXECUTABLE:
    case CTL_RUN_NOT_FOUND:
        return has_run;
    case CTL_TRIMMED:
        return has_watch;
    }
    return false;
}

/* Run with standard output thrown away; or, for a watch, with nobody to read it: then it ends. */
static int run_quietly(int argc, char **argv, bool has_watch)
{
    static int null_fd = -1, stdout_fd = -1, pipe_fds[2];
    int status;

    if (null_fd < 0) {
        null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
        stdout_fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
        FUZZ_CHECK(pipe2(pipe_fds, O_CLOEXEC) == 0 && close(pipe_fds[0]) == 0);
        signal(SIGPIPE, SIG_IGN);
    }
    fflush(stdout);
    FUZZ_CHECK(dup2(has_watch ? pipe_fds[1] : null_fd, STDOUT_FILENO) == STDOUT_FILENO);
    status = ctl_main(argc, argv);
    fflush(stdout);
    clearerr(stdout);
    FUZZ_CHECK(dup2(stdout_fd, STDOUT_FILENO) == STDOUT_FILENO);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *argv[ARGUMENTS_MAX + 2] = {(char *)(uintptr_t) "kvctl"};
    struct fuzz_input in = {data, size};
    bool has_run = false, has_watch = false;
    const char *text;
    size_t text_size;
    int argc = 1, status;

    if (image == NULL)
        make_directory();
    for (; argc <= ARGUMENTS_MAX && in.left > 0; argc++) {
        argv[argc] = arguments[argc - 1];
        choose_argument(&in, argv[argc]);
        has_run |= strcmp(argv[argc], "run") == 0;
        has_watch |= strcmp(argv[argc], "watch") == 0;
    }
    restore_directory();
    setenv("KVFS_STORE", "store", 1);
    fuzz_capture_begin();
    status = run_quietly(argc, argv, has_watch);
    text = fuzz_capture_end(&text_size);

    FUZZ_CHECK(is_allowed(status, has_run, has_watch));
    if (status == CTL_OK)
        FUZZ_CHECK(text_size == 0);
    else if (status == CTL_ERROR && text_size > 12 && strncmp(text, "kvctl reads ", 12) == 0)
        return 0; /* there was no command */
    else if ((status != CTL_NO && status != CTL_EMPTY) || text_size > 0)
        fuzz_check_error_lines(text, text_size);
    return 0;
}
