#include "fs/cli/options.h"

#include "fs/base/log.h"
#include "fs/base/text.h"
#include "fs/cli/say.h"
#include "tools/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define USAGE "usage: kvfs STORE MOUNTPOINT [-f] [-o OPTION,...]"
#define MAP_LEAST ((size_t)4 << 20)

/* Options that take a value, as text. */
struct texts {
    char *cache_ttl, *cache_size, *node, *durability, *invalidate, *commit_interval_ms, *commit_timeout, *map_size,
        *memory_size, *log_file, *log_level, *run_as;
};

struct parsing {
    struct texts texts; /* first: fuse_opt writes through the offsets below */
    struct fs_options *options;
};

enum {
    KEY_FOREGROUND,
    KEY_HELP,
    KEY_VERSION,
    KEY_READ_ONLY,
    KEY_WRITABLE,
    KEY_FOREIGN_STORE,
    KEY_CREATE,
    KEY_NO_CREATE,
    KEY_IO_URING,
    KEY_DEBUG
};

#define TEXT(name, field)                            \
    {                                                \
        name "=%s", offsetof(struct texts, field), 0 \
    }
#define FLAG(text, key)     \
    {                       \
        text, UINT_MAX, key \
    } /* FUSE_OPT_KEY(), without clang's warning */

/* What has a meaning here. libfuse refuses no option: options_argument() refuses, keeps or ignores all others. */
static const struct fuse_opt templates[] = {
    TEXT("cache_ttl", cache_ttl),
    TEXT("cache_size", cache_size),
    TEXT("node", node),
    TEXT("durability", durability),
    TEXT("invalidate", invalidate),
    TEXT("commit_interval_ms", commit_interval_ms),
    TEXT("commit_timeout", commit_timeout),
    TEXT("map_size", map_size),
    TEXT("memory_size", memory_size),
    TEXT("log_file", log_file),
    TEXT("--log-file", log_file),
    TEXT("log_level", log_level),
    TEXT("run_as", run_as),
    FLAG("-f", KEY_FOREGROUND),
    FLAG("-d", KEY_DEBUG),
    FLAG("--debug", KEY_DEBUG),
    FLAG("debug", KEY_DEBUG),
    FLAG("-h", KEY_HELP),
    FLAG("--help", KEY_HELP),
    FLAG("-V", KEY_VERSION),
    FLAG("--version", KEY_VERSION),
    FLAG("ro", KEY_READ_ONLY),
    FLAG("rw", KEY_WRITABLE),
    FLAG("foreign_store", KEY_FOREIGN_STORE),
    FLAG("create", KEY_CREATE),
    FLAG("nocreate", KEY_NO_CREATE),
    FLAG("io_uring", KEY_IO_URING),
    FUSE_OPT_END,
};

/* Known to libfuse or to every mount. */
static const char *const options_kept[] = {"allow_other", "allow_root", "auto_unmount", "suid",   "nosuid",
                                           "dev",         "nodev",      "exec",         "noexec", "sync",
                                           "async",       "dirsync",    "atime",        "noatime"};

/* Change nothing: times that reads leave alone, what is so anyway, and what /etc/fstab tells others. What ends in a
 * sign goes on. */
static const char *const options_ignored[] = {
    "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime", "default_permissions",
    "nonempty", "defaults",   "auto",     "noauto",     "nofail",      "_netdev",       "user",
    "user=",    "users",      "nouser",   "owner",      "group",       "comment=",      "x-"};

static bool options_has(const char *const *list, size_t count, const char *text)
{
    for (size_t i = 0; i < count; i++) {
        size_t size = strlen(list[i]);

        if (strncmp(list[i], text, size) == 0 && (text[size] == '\0' || strchr("=-", list[i][size - 1]) != NULL))
            return true;
    }
    return false;
}

#define LISTED(list, text) options_has((list), sizeof(list) / sizeof((list)[0]), (text))

/* fs_say(), and the error that goes with it. */
#define REFUSE(...) (fs_say(__VA_ARGS__), -EINVAL)

/* The absolute path, without links, of what is there, also of a dead mount, which realpath(3) cannot tell; or NULL. */
static char *options_resolve(const char *path)
{
    int fd = open(path, O_PATH | O_CLOEXEC);
    char link[64], *real = fd < 0 ? NULL : malloc(PATH_MAX);
    ssize_t size;

    if (real != NULL) {
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        size = readlink(link, real, PATH_MAX - 1);
        real[size < 0 ? 0 : size] = '\0';
    }
    if (fd >= 0)
        close(fd);
    return real;
}

/* The same of something that may not be there yet. */
static char *options_absolute(const char *path)
{
    char *real = options_resolve(path), *parent, *joined = NULL;
    const char *name;
    size_t size = strlen(path);

    if (real != NULL)
        return real;
    while (size > 1 && path[size - 1] == '/')
        size--;
    name = memrchr(path, '/', size);
    name = name == NULL ? path : name + 1;
    parent = name == path ? strdup(".") : strndup(path, (size_t)(name - path));
    real = parent == NULL ? NULL : options_resolve(parent);
    if (real != NULL && asprintf(&joined, "%s/%.*s", real, (int)(path + size - name), name) < 0)
        joined = NULL;
    free(parent);
    free(real);
    return joined != NULL ? joined : strdup(path);
}

static bool options_takes_value(const char *name)
{
    size_t size = strlen(name);

    for (const struct fuse_opt *option = templates; option->templ != NULL; option++)
        if (option->offset != UINT_MAX && strncmp(option->templ, name, size) == 0 && option->templ[size] == '=')
            return true;
    return false;
}

static void options_refuse_option(const char *text)
{
    const char *dash = text[0] == '-' ? "" : "-o ";

    if (options_takes_value(text))
        fs_say("%s%s: this option takes a value: %s=...; kvfs -h says which", dash, text, text);
    else
        fs_say("%s%s: unknown option; kvfs -h lists them", dash, text);
}

/* Called for each argument that is not a TEXT.
 * returns 1 keep it for libfuse; 0 used; -1 refused */
static int options_argument(void *data, const char *text, int key, struct fuse_args *rest)
{
    struct fs_options *options = ((struct parsing *)data)->options;

    (void)rest;
    switch (key) {
    case KEY_DEBUG:
        options->foreground = options->debug = true;
        return 1;
    case KEY_READ_ONLY:
    case KEY_WRITABLE:
        options->read_only = key == KEY_READ_ONLY;
        return 0;
    case KEY_FOREIGN_STORE:
        options->foreign_store = true;
        return 0;
    case KEY_CREATE:
    case KEY_NO_CREATE:
        options->create = key == KEY_CREATE;
        return 0;
    case KEY_IO_URING:
        options->io_uring = true;
        return 0;
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
        if (text[0] == '\0' || options->mountpoint != NULL) {
            fs_say("%s: %s; " USAGE, text,
                   text[0] == '\0' ? "this is no directory's name" : "one argument too many");
            return -1;
        }
        *(options->store == NULL ? &options->store : &options->mountpoint) = options_absolute(text);
        return 0;
    default:
        if (LISTED(options_kept, text))
            return 1;
        if (text[0] == '\0' || LISTED(options_ignored, text))
            return 0;
        options_refuse_option(text);
        return -1;
    }
}

/* "64K", "256M", "1G", or bytes; `least` of them. */
static int options_parse_size(const char *name, const char *text, size_t least, size_t *out)
{
    uint64_t size;

    if (text == NULL)
        return 0;
    if (!cli_parse_number(text, true, &size))
        return REFUSE("%s=%s: a size is a number of bytes, or one with K, M, G or T behind it", name, text);
    if (size < least)
        return REFUSE("%s=%s: it is at least %zuK; leave it out for the default", name, text, least >> 10);
    *out = size;
    return 0;
}

/* A number with fractions, times `scale`. */
static int options_parse_number(const char *name, const char *text, double scale, double max, int64_t *out)
{
    double value;
    char *end;

    if (text == NULL)
        return 0;
    value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 0 && value <= max))
        return REFUSE("%s=%s: it takes a number from 0 to %.0f", name, text, max);
    *out = (int64_t)(value * scale + 0.5);
    return 0;
}

static int options_parse_durability(const char *text, enum kv_durability *out)
{
    if (text == NULL)
        return 0;
    if (strcmp(text, "close") != 0 && strcmp(text, "fsync") != 0)
        return REFUSE("durability=%s: it is close (a close makes durable) or fsync (fsync does)", text);
    *out = text[0] == 'c' ? KV_DURABILITY_CLOSE : KV_DURABILITY_FSYNC;
    return 0;
}

static int options_parse_invalidate(const char *text, enum kv_invalidate *out)
{
    if (text == NULL)
        return 0;
    if (strcmp(text, "push") != 0 && strcmp(text, "ttl") != 0)
        return REFUSE(
            "invalidate=%s: it is push (what other nodes change is seen at once) or ttl (within cache_ttl)", text);
    *out = text[0] == 'p' ? KV_INVALIDATE_PUSH : KV_INVALIDATE_TTL;
    return 0;
}

/* A name stands in lines of text, and in quotes. */
static int options_parse_node(const char *text, char **out)
{
    const char *rest = text;
    size_t size;

    if (text == NULL)
        return 0;
    while ((size = fs_text_printable(rest)) > 0 && *rest != '"' && *rest != '\\')
        rest += size;
    if (rest == text || *rest != '\0')
        return REFUSE(
            "node=%s: a node's name is printable UTF-8 text without quotes and backslashes, and not empty", text);
    *out = strdup(text);
    return *out == NULL ? -ENOMEM : 0;
}

static int options_parse_log_level(const char *text, enum fs_log_level *out)
{
    if (text == NULL)
        return 0;
    for (*out = FS_LOG_ERROR; *out <= FS_LOG_INFO; (*out)++)
        if (strcmp(text, fs_log_level_name(*out)) == 0)
            return 0;
    return REFUSE("log_level=%s: it is error, warning or info", text);
}

/* The cache is a part of the memory, at most half of it: what was not asked for follows what was. */
static int options_fit_cache(const struct texts *texts, struct fs_options *out)
{
    if (out->cache_bytes <= out->memory_bytes / 2)
        return 0;
    if (texts->memory_size == NULL)
        out->memory_bytes = out->cache_bytes * 2;
    else if (texts->cache_size == NULL)
        out->cache_bytes = out->memory_bytes / 2;
    else
        return REFUSE("cache_size=%s,memory_size=%s: the cache is at most half of memory_size; "
                      "leave one of them out, or give a memory_size of at least %zu",
                      texts->cache_size, texts->memory_size, out->cache_bytes * 2);
    return 0;
}

static int options_parse_texts(const struct texts *texts, struct fs_options *out)
{
    int rc = options_parse_number("cache_ttl", texts->cache_ttl, 1000, 1e6, &out->cache_ttl_ms);

    if (rc == 0)
        rc = options_parse_number("commit_interval_ms", texts->commit_interval_ms, 1, 1e6,
                                  &out->commit_interval_ms);
    if (rc == 0)
        rc = options_parse_number("commit_timeout", texts->commit_timeout, 1000, 1e6, &out->commit_timeout_ms);
    if (rc == 0 && out->commit_timeout_ms < 1)
        rc =
            REFUSE("commit_timeout=%s: it is at least 0.001; leave it out for the default", texts->commit_timeout);
    if (rc == 0)
        rc = options_parse_size("cache_size", texts->cache_size, 0, &out->cache_bytes);
    if (rc == 0)
        rc = options_parse_size("map_size", texts->map_size, MAP_LEAST, &out->map_bytes);
    if (rc == 0)
        rc = options_parse_size("memory_size", texts->memory_size, 1024, &out->memory_bytes);
    if (rc == 0)
        rc = options_fit_cache(texts, out);
    if (rc == 0)
        rc = options_parse_durability(texts->durability, &out->durability);
    if (rc == 0)
        rc = options_parse_invalidate(texts->invalidate, &out->invalidate);
    if (rc == 0)
        rc = options_parse_node(texts->node, &out->node);
    if (rc == 0)
        rc = options_parse_log_level(texts->log_level, &out->log_level);
    if (rc == 0 && texts->run_as != NULL)
        rc = (out->run_as = strdup(texts->run_as)) == NULL ? -ENOMEM : 0;
    if (rc == 0 && texts->log_file != NULL)
        rc = (out->log_file = options_absolute(texts->log_file)) == NULL ? -ENOMEM : 0;
    return rc;
}

static void options_texts_free(struct texts *texts)
{
    free(texts->cache_ttl);
    free(texts->cache_size);
    free(texts->node);
    free(texts->durability);
    free(texts->invalidate);
    free(texts->commit_interval_ms);
    free(texts->commit_timeout);
    free(texts->map_size);
    free(texts->memory_size);
    free(texts->log_file);
    free(texts->log_level);
    free(texts->run_as);
}

/* Options of libfuse that every mount has. The store's name can be any bytes. */
static int options_add_fuse_options(struct fs_options *options)
{
    char *name = NULL, *list = NULL;
    int rc = -1;

    if (asprintf(&name, "fsname=%s", options->store) < 0)
        return -ENOMEM;
    if (fuse_opt_add_opt(&list, options->read_only ? "default_permissions,subtype=kvfs,ro"
                                                   : "default_permissions,subtype=kvfs") == 0 &&
        fuse_opt_add_opt_escaped(&list, name) == 0 && fuse_opt_add_arg(&options->fuse, "-o") == 0)
        rc = fuse_opt_add_arg(&options->fuse, list);
    free(name);
    free(list);
    return rc < 0 ? -ENOMEM : 0;
}

/* The log would wait for the daemon, and the daemon write of it. */
static int options_check_log_file(const struct fs_options *options)
{
    size_t size = options->mountpoint != NULL ? strlen(options->mountpoint) : 0;

    if (options->log_file != NULL && size > 0 && strncmp(options->log_file, options->mountpoint, size) == 0 &&
        options->log_file[size] == '/')
        return REFUSE("log_file=%s: it lies below the mount point; choose another directory", options->log_file);
    return 0;
}

/* An -o at the end has nothing behind it. */
static int options_lacks_options(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[argc - 1], "-o") == 0)
        return REFUSE("-o: options are missing behind it, as in -o ro,cache_ttl=5; kvfs -h lists them");
    return 0;
}

int fs_options_parse(int argc, char **argv, struct fs_options *out)
{
    struct kv_options defaults = kv_options_default();
    struct fs_options options = {
        .create = true,
        .log_level = FS_LOG_INFO,
        .cache_ttl_ms = defaults.cache_ttl_ms,
        .cache_bytes = defaults.cache_bytes,
        .memory_bytes = defaults.memory_bytes,
        .durability = defaults.durability,
        .invalidate = defaults.invalidate,
        .commit_interval_ms = defaults.commit_interval_ms,
        .commit_timeout_ms = defaults.commit_timeout_ms,
        .fuse = FUSE_ARGS_INIT(argc, argv),
    };
    struct parsing parsing = {.options = &options};
    int rc = options_lacks_options(argc, argv);

    if (rc == 0)
        rc = fuse_opt_parse(&options.fuse, &parsing, templates, options_argument) < 0 ? -EINVAL : 0;
    if (rc == 0)
        rc = options_parse_texts(&parsing.texts, &options);
    if (rc == 0 && !options.help && !options.version && options.mountpoint == NULL)
        rc = REFUSE("a store and a mount point are needed; " USAGE);
    if (rc == 0)
        rc = options_check_log_file(&options);
    if (rc == 0 && options.store != NULL)
        rc = options_add_fuse_options(&options);
    options_texts_free(&parsing.texts);
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
    free(options->log_file);
    free(options->run_as);
    fuse_opt_free_args(&options->fuse);
}
