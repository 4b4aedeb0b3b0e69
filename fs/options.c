#include "fs/options.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Options that take a value, as text. */
struct texts {
    char *cache_ttl, *cache_size, *node, *durability, *commit_interval_ms, *map_size, *memory_size;
};

struct parsing {
    struct texts texts; /* first: fuse_opt writes through the offsets below */
    struct fs_options *options;
};

enum { KEY_FOREGROUND, KEY_HELP, KEY_VERSION, KEY_READ_ONLY, KEY_DEBUG };

#define TEXT(name, field)                            \
    {                                                \
        name "=%s", offsetof(struct texts, field), 0 \
    }
#define FLAG(text, key)     \
    {                       \
        text, UINT_MAX, key \
    } /* FUSE_OPT_KEY(), without clang's warning */

static const struct fuse_opt templates[] = {
    TEXT("cache_ttl", cache_ttl),
    TEXT("cache_size", cache_size),
    TEXT("node", node),
    TEXT("durability", durability),
    TEXT("commit_interval_ms", commit_interval_ms),
    TEXT("map_size", map_size),
    TEXT("memory_size", memory_size),
    FLAG("-f", KEY_FOREGROUND),
    FLAG("-d", KEY_DEBUG),
    FLAG("-h", KEY_HELP),
    FLAG("--help", KEY_HELP),
    FLAG("-V", KEY_VERSION),
    FLAG("--version", KEY_VERSION),
    FLAG("ro", KEY_READ_ONLY),
    FUSE_OPT_END,
};

__attribute__((format(printf, 1, 2))) static int refuse(const char *format, ...)
{
    va_list args;

    fputs("kvfs: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return -EINVAL;
}

/* An absolute path without links, of something that may not be there yet. */
static char *absolute(const char *path)
{
    char cwd[PATH_MAX], *real = realpath(path, NULL), *joined;

    if (real != NULL)
        return real;
    if (path[0] == '/' || getcwd(cwd, sizeof(cwd)) == NULL)
        return strdup(path);
    return asprintf(&joined, "%s/%s", cwd, path) < 0 ? NULL : joined;
}

/* Called for each argument that is not a TEXT. returns 1 keep it for libfuse; 0 used; -1 refused */
static int argument(void *data, const char *text, int key, struct fuse_args *rest)
{
    struct fs_options *options = ((struct parsing *)data)->options;

    (void)rest;
    switch (key) {
    case KEY_DEBUG:
        options->foreground = true;
        return 1;
    case KEY_READ_ONLY:
        options->read_only = true;
        return 1;
    case KEY_FOREGROUND:
        options->foreground = true;
        return 0;
    case KEY_HELP:
        options->help = true;
        return 0;
    case KEY_VERSION:
        options->version = true;
        return 0;
    case FUSE_OPT_KEY_NONOPT:
        if (options->store == NULL)
            options->store = absolute(text);
        else if (options->mountpoint == NULL)
            options->mountpoint = absolute(text);
        else
            return refuse("%s: one argument too many; usage: kvfs STORE MOUNTPOINT [-f] [-o OPTION,...]", text) < 0
                       ? -1
                       : 0;
        return 0;
    default:
        return 1;
    }
}

/* "64K", "256M", "1G", or bytes. */
static int parse_size(const char *name, const char *text, size_t *out)
{
    static const char units[] = "kmgt";
    unsigned long long value;
    const char *unit;
    unsigned shift = 0;
    char *end;

    if (text == NULL)
        return 0;
    errno = 0;
    value = strtoull(text, &end, 10);
    if (*end != '\0' && (unit = strchr(units, *end | 0x20)) != NULL) {
        shift = 10 * ((unsigned)(unit - units) + 1);
        end++;
    }
    if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || value > SIZE_MAX >> shift)
        return refuse("%s=%s: a size is a number of bytes, or one with K, M, G or T behind it", name, text);
    *out = (size_t)value << shift;
    return 0;
}

/* A number with fractions, times `scale`. */
static int parse_number(const char *name, const char *text, double scale, double max, int64_t *out)
{
    double value;
    char *end;

    if (text == NULL)
        return 0;
    value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 0 && value <= max))
        return refuse("%s=%s: it takes a number from 0 to %g", name, text, max);
    *out = (int64_t)(value * scale + 0.5);
    return 0;
}

static int parse_durability(const char *text, enum kv_durability *out)
{
    if (text == NULL)
        return 0;
    if (strcmp(text, "close") != 0 && strcmp(text, "fsync") != 0)
        return refuse("durability=%s: it is close (a close makes durable) or fsync (fsync does)", text);
    *out = text[0] == 'c' ? KV_DURABILITY_CLOSE : KV_DURABILITY_FSYNC;
    return 0;
}

static int parse_texts(const struct texts *texts, struct fs_options *out)
{
    int rc = parse_number("cache_ttl", texts->cache_ttl, 1000, 1e6, &out->cache_ttl_ms);

    if (rc == 0)
        rc = parse_number("commit_interval_ms", texts->commit_interval_ms, 1, 1e6, &out->commit_interval_ms);
    if (rc == 0)
        rc = parse_size("cache_size", texts->cache_size, &out->cache_bytes);
    if (rc == 0)
        rc = parse_size("map_size", texts->map_size, &out->map_bytes);
    if (rc == 0)
        rc = parse_size("memory_size", texts->memory_size, &out->memory_bytes);
    if (rc == 0)
        rc = parse_durability(texts->durability, &out->durability);
    if (rc == 0 && texts->node != NULL && (texts->node[0] == '\0' || strpbrk(texts->node, "\"\\\n") != NULL))
        rc = refuse("node=%s: a node's name is not empty and has no quote, backslash or line end", texts->node);
    return rc;
}

static void texts_free(struct texts *texts)
{
    free(texts->cache_ttl);
    free(texts->cache_size);
    free(texts->node);
    free(texts->durability);
    free(texts->commit_interval_ms);
    free(texts->map_size);
    free(texts->memory_size);
}

/* Options of libfuse that every mount has. */
static int add_fuse_options(struct fs_options *options)
{
    char *text;
    int rc;

    if (asprintf(&text, "-odefault_permissions,subtype=kvfs,fsname=%s", options->store) < 0)
        return -ENOMEM;
    rc = fuse_opt_add_arg(&options->fuse, text);
    free(text);
    return rc < 0 ? -ENOMEM : 0;
}

int fs_options_parse(int argc, char **argv, struct fs_options *out)
{
    struct kv_options defaults = kv_options_default();
    struct fs_options options = {
        .cache_ttl_ms = defaults.cache_ttl_ms,
        .cache_bytes = defaults.cache_bytes,
        .durability = defaults.durability,
        .commit_interval_ms = defaults.commit_interval_ms,
        .fuse = FUSE_ARGS_INIT(argc, argv),
    };
    struct parsing parsing = {.options = &options};
    int rc = fuse_opt_parse(&options.fuse, &parsing, templates, argument) < 0 ? -EINVAL : 0;

    if (rc == 0)
        rc = parse_texts(&parsing.texts, &options);
    if (rc == 0 && !options.help && !options.version && options.mountpoint == NULL)
        rc = refuse("a store and a mount point are needed; usage: kvfs STORE MOUNTPOINT [-f] [-o OPTION,...]");
    if (rc == 0) {
        options.node = parsing.texts.node != NULL ? strdup(parsing.texts.node) : NULL;
        if (options.store != NULL)
            rc = add_fuse_options(&options);
    }
    texts_free(&parsing.texts);
    if (rc < 0) {
        fs_options_free(&options);
        return rc;
    }
    *out = options;
    return 0;
}

int fs_options_name_node(struct fs_options *options)
{
    char host[HOST_NAME_MAX + 1] = "";

    if (options->node != NULL)
        return 0;
    gethostname(host, sizeof(host) - 1);
    return asprintf(&options->node, "%s-%ld", host, (long)getpid()) < 0 ? -ENOMEM : 0;
}

void fs_options_free(struct fs_options *options)
{
    free(options->store);
    free(options->mountpoint);
    free(options->node);
    fuse_opt_free_args(&options->fuse);
}

void fs_options_usage(const char *program)
{
    printf("usage: %s STORE MOUNTPOINT [-f] [-o OPTION,...]\n"
           "Mount the key-value store in directory STORE, made if it is not there, at MOUNTPOINT.\n"
           "\n"
           "  -f                     stay in the foreground\n"
           "  -h, --help             show this text\n"
           "  -V, --version          show the version\n"
           "\n"
           "options:\n"
           "  ro                     refuse every change\n"
           "  cache_ttl=SECONDS      how long this node may serve what it knows (60; 0: always ask the store)\n"
           "  cache_size=SIZE        bytes of values kept in memory (256M)\n"
           "  node=NAME              this edge node's name (host name and process id)\n"
           "  durability=close       a close returns when the value is on disk (the default)\n"
           "  durability=fsync       a close returns when the value is queued; fsync makes it durable\n"
           "  commit_interval_ms=N   with durability=fsync: the longest wait in the queue (100)\n"
           "  map_size=SIZE          upper bound of the store's file\n"
           "  memory_size=SIZE       open values beyond this are kept in unlinked files in STORE (512M)\n"
           "  allow_other            let other users in; owners and modes decide what they may do\n"
           "  auto_unmount           unmount when the daemon ends, however it ends\n"
           "\n"
           "unmount with: fusermount3 -u MOUNTPOINT\n",
           program);
}
