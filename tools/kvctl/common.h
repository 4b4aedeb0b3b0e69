/* kvctl: what its commands share.
 *
 * A command is a row of the table in main.c. Before its function runs, the
 * dispatcher has checked the options and the number of arguments, checked the
 * names of the path, opened the store and found the nodes that the command
 * needs. So a function does one thing, and names are never looked at twice.
 *
 *   exit status  one of enum ctl_status; functions that return "a status"
 *                have already printed the error line.
 *   output       through stdio; the dispatcher checks that all of it was
 *                written, after the command.
 */
#ifndef KVFS_TOOLS_KVCTL_COMMON_H
#define KVFS_TOOLS_KVCTL_COMMON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <time.h>

#include "store/kv.h"

enum ctl_status {
    CTL_OK = 0,
    CTL_NO = 1,        /* the key is not there, or its value is empty; check: something is wrong */
    CTL_ERROR = 2,     /* everything else; the message says where something may have been changed */
    CTL_EMPTY = 3,     /* get and take with --empty: the key is there, and its value is empty */
    CTL_CONDITION = 4, /* what --if-absent and the like demand is not so: nothing was changed */
    /* watch: changes were missed, because the log of the store was trimmed, or begun anew, since the place that was
     * asked for or come to. Another status than that of an error: trying again does not help, and reading all does. */
    CTL_TRIMMED = 5,

    /* run: as env(1) and shells have it, since all else is the command's own status */
    CTL_RUN_ERROR = 125, /* kvctl failed */
    CTL_RUN_NOT_EXECUTABLE = 126,
    CTL_RUN_NOT_FOUND = 127,
};

/* What the first argument of a command names. */
enum ctl_form {
    CTL_FORM_NONE,
    CTL_FORM_ACCOUNT,
    CTL_FORM_NAMESPACE,
    CTL_FORM_KEY,
    CTL_FORM_KEYS, /* all arguments: see keys.h. The dispatcher leaves them to the command */
    CTL_FORM_PROJECT,
    CTL_FORM_WATCH,
    CTL_FORM_TREE,  /* may be left out */
    CTL_FORM_STORE, /* any path below a mount; may be left out */
};

enum ctl_option {
    CTL_STORE,
    CTL_FOREIGN_STORE,
    CTL_HELP,
    CTL_VERSION,
    CTL_JSON,
    CTL_FILE,
    CTL_TYPE,
    CTL_META_SET,  /* put --meta NAME=VALUE */
    CTL_META_GET,  /* get --meta: nothing but the metadata */
    CTL_META_WITH, /* list --meta: with the metadata */
    CTL_VALUES,
    CTL_JSON_LINES,
    CTL_TTL,
    CTL_EXPIRES,
    CTL_EMPTY_PUT,   /* put --empty: an empty value may come from standard input */
    CTL_EMPTY_GET,   /* get --empty: an empty value has an exit status of its own */
    CTL_KEY_VERSION, /* get --version: of the key */
    CTL_VERSION_FILE,
    CTL_IF_ABSENT,
    CTL_IF_VERSION,
    CTL_IF_UNCHANGED,
    CTL_PREFIX,
    CTL_LIMIT,
    CTL_CURSOR,
    CTL_ALL,
    CTL_RECURSIVE,
    CTL_MOUNT,
    CTL_ENV_FORMAT,
    CTL_BULK_FORMAT,
    CTL_JSON_INPUT, /* txn --json-lines */
    CTL_ATOMIC,
    CTL_SKIP,
    CTL_BYTES,
    CTL_KEYS,
    CTL_NAMESPACES,
    CTL_BINDINGS,
    CTL_OWNER,
    CTL_MODE,
    CTL_FAST,
    CTL_REPAIR,
    CTL_SINCE,
    CTL_EXEC,
    CTL_TIMEOUT,
    CTL_INTERVAL,
    CTL_ONCE,
    CTL_OPTIONS
};
#define CTL_BIT(option) (UINT64_C(1) << (option))

/* How env writes variables. */
enum ctl_env_format { CTL_ENV_SHELL, CTL_ENV_SYSTEMD, CTL_ENV_DOCKER, CTL_ENV_JSON, CTL_ENV_FORMATS };

enum ctl_access {
    CTL_READ,
    CTL_WRITE,
    CTL_CREATE,       /* write, and make the store where there is none */
    CTL_CREATE_WHOLE, /* the same, where the command names nothing in the store */
    CTL_NO_STORE,     /* the command opens what it needs by itself */
    CTL_IN_TXN,       /* no command of its own: a line of txn */
};

struct ctl_request;
struct bulk_format;

struct ctl_command {
    const char *group; /* first word of two, or NULL */
    const char *verb;
    enum ctl_form form;        /* the first argument */
    const char *rest;          /* further arguments, for the help */
    size_t rest_min, rest_max; /* how many of them */
    uint64_t options;          /* CTL_BIT()s that it knows, besides those of all commands */
    enum ctl_access access;
    unsigned finds; /* how many names of the path have to be there: 0, 1 or 2 */
    int (*run)(struct ctl_request *request);
    const char *summary;
    const char *more;     /* lines for its own help, or NULL */
    bool takes_negatives; /* -5 is an argument */
};

/* A checked ACCOUNT[/NAMESPACE[/KEY]] or ACCOUNT/PROJECT. Names that the form lacks are "". */
struct ctl_path {
    const char *text; /* as given, for messages; borrowed */
    char account[KV_NAME_MAX + 1];
    char second[KV_NAME_MAX + 1]; /* namespace or project */
    char key[KV_KEY_MAX + 1];
};

struct ctl_request {
    const struct ctl_command *command;
    char **args; /* args[0] is the path, where the command has one */
    size_t arg_count;

    uint64_t given; /* CTL_BIT()s */
    const char *store_dir, *file, *prefix, *cursor, *mount, *exec, *version_file, *unchanged_file;
    bool json; /* --type json */
    size_t limit;
    uint64_t bytes, namespaces, keys, bindings; /* of the last two 0: no limit */
    const char *owner, *mode;                   /* as they are given */
    uint64_t if_version, skip;
    int64_t timeout_ms, interval_ms;
    int64_t expires_ns; /* --ttl, --expires; 0: never */
    struct kv_feed since;
    struct kv_xattrs meta;
    enum ctl_env_format env_format;
    const struct bulk_format *bulk_format;

    char *mount_path;  /* --mount made absolute, by ctl_use_mount(); freed at the end */
    bool only_files;   /* no store is named, but for that of a mount */
    char *mounted_dir; /* the store of the mount that a path named, or NULL; freed at the end */
    mode_t umask;
    bool looked; /* for damaged pages */
    struct ctl_path path;
    struct kv_store *store;
    struct kv_node account; /* where command->finds is 1 or more */
    struct kv_node second;  /* where it is 2: the namespace or project */
};

static inline bool ctl_given(const struct ctl_request *request, enum ctl_option option)
{
    return (request->given & CTL_BIT(option)) != 0;
}

/* Is --ttl or --expires given? */
static inline bool ctl_expires(const struct ctl_request *request)
{
    return (request->given & (CTL_BIT(CTL_TTL) | CTL_BIT(CTL_EXPIRES))) != 0;
}

/* The time of a clock, in nanoseconds. */
static inline int64_t ctl_now_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Time that never goes back, in milliseconds. */
static inline int64_t ctl_now_ms(void) { return ctl_now_ns(CLOCK_MONOTONIC) / 1000000; }

/* ---------------------------------------------------------------------- errors */

/* What kvctl is at, in a text of many lines: from now on each message begins with it.
 * name     of the text; borrowed. NULL: it is at no such place any more */
void ctl_set_place(const char *name, uint64_t line);

/* Print one line on standard error: "kvctl: ", the place that is set, and the message, control bytes made visible.
 * returns  CTL_ERROR */
int ctl_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same, for what is no failure. */
void ctl_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The command line is wrong: say why, and which line to type.
 * option   that the line is to have, besides those without which there is none; CTL_OPTIONS: none
 * returns  CTL_ERROR */
int ctl_fail_usage(const struct ctl_request *request, enum ctl_option option, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Say why the store failed: one line with what was wrong, the rule in numbers, and what to do.
 * subject  what the line is about, as the user named it
 * noun     what kind of thing that is: "key", "namespace"
 * rc       a negative errno of a store function
 * returns  CTL_ERROR */
int ctl_fail_store(struct ctl_request *request, const char *subject, const char *noun, int rc);
/* The same for a key, which need not be that of the path. */
int ctl_fail_key(struct ctl_request *request, const char *subject, const struct kv_ref *ref, int rc);

/* ----------------------------------------------------------------------- names */

/* Check a name, or a path, and say what is wrong with it. A path can be that of a file below a mount, too: then the
 * request's store becomes that of the mount, or is compared with it. Return a status. */
KV_CHECKED int ctl_check_name(const char *subject, enum kv_name_kind kind, const char *name);
KV_CHECKED int ctl_parse_path(struct ctl_request *request, enum ctl_form form, const char *text,
                              struct ctl_path *out);
/* Where a key is to be that is renamed: a KEY beside that of `path`, or a path. Returns a status. */
KV_CHECKED int ctl_parse_new(struct ctl_request *request, const struct ctl_path *path, const char *text,
                             struct ctl_path *out);
/* "ACCOUNT/NAMESPACE" and so on; "" for CTL_FORM_NONE. */
const char *ctl_form_text(enum ctl_form form);
/* May the argument be left out? */
bool ctl_form_is_optional(enum ctl_form form);

/* ---------------------------------------------------------------- store, nodes */

/* How kvctl opens a store, or a copy of one: without a cache, to read, and only one that is there. */
struct kv_options ctl_store_options(const struct ctl_request *request);
/* Open the store as the command needs it and find its nodes. Return a status. */
KV_CHECKED int ctl_open(struct ctl_request *request);
/* Has the command line as many arguments as the command takes, and the options that it needs? Returns a status. */
KV_CHECKED int ctl_check_arguments(const struct ctl_request *request);

/* Find the account of the path, and with 2 its namespace or project. Returns a status. */
KV_CHECKED int ctl_find(struct ctl_request *request, unsigned finds);
/* Before something is said to be absent, or a listing to be complete: look for damaged pages, once in a command.
 * Returns a status. */
KV_CHECKED int ctl_look(struct ctl_request *request);
/* Close the store; allowed when it is closed. */
void ctl_close(struct ctl_request *request);

/* The key of the path, in the namespace that was found. */
struct kv_ref ctl_key(const struct ctl_request *request);

/* Find the PROJECTS node of the account. Returns a status. */
KV_CHECKED int ctl_find_projects(struct ctl_request *request, struct kv_node *out);

/* Child nodes of one kind, in byte order of their names. items: free() them. */
struct ctl_nodes {
    struct kv_node *items;
    size_t count;
};
KV_CHECKED int ctl_children(struct ctl_request *request, uint64_t parent, enum kv_node_kind kind,
                            struct ctl_nodes *out);
/* Print the names of child nodes, one a line, or as a JSON array. Returns a status. */
KV_CHECKED int ctl_print_names(struct ctl_request *request, uint64_t parent, enum kv_node_kind kind);

/* A project's bindings, in byte order of their variables. items: free() them. */
struct ctl_binding {
    char variable[KV_NAME_MAX + 1];
    char namespace[KV_NAME_MAX + 1];
};
struct ctl_bindings {
    struct ctl_binding *items;
    size_t count;
};
/* Of a project, as request->second has it. Returns a status. */
KV_CHECKED int ctl_bindings(struct ctl_request *request, struct ctl_bindings *out);

/* A format by its name; CTL_ENV_FORMATS: there is none of this name. */
enum ctl_env_format ctl_parse_env_format(const char *name);

/* A place in the feed of changes, as watch prints it. returns false: it is none */
bool ctl_parse_token(const char *text, struct kv_feed *out);
extern const char ctl_watch_help[]; /* behind the summary */

/* Empty and delete, damaged keys, too, and say what failed. Stop at the first failure, with what is deleted till then
 * gone. Return a status. */
KV_CHECKED int ctl_remove_namespace(struct ctl_request *request, const struct kv_node *namespace);
KV_CHECKED int ctl_remove_project(struct ctl_request *request, const struct kv_node *project);
/* Remove a namespace without keys. Where more have expired in it than go with it, all are swept first. returns 0; an
 * error of the store */
KV_CHECKED int ctl_remove_empty(struct ctl_request *request, const struct kv_node *namespace);

/* ------------------------------------------------------------------------ JSON */

/* Check that a value is JSON; `subject` is its key. Returns a status. */
KV_CHECKED int ctl_check_json(const char *subject, const void *bytes, size_t size);

/* Print a JSON value and a newline; takes the reference. NULL: out of memory. Returns a status. */
KV_CHECKED int ctl_print_json(json_t *json, size_t flags);
/* A limit of which 0 means that there is none: null then. */
json_t *ctl_json_limit(uint64_t limit);
/* ISO 8601 in UTC with nanoseconds. */
json_t *ctl_json_time(int64_t ns);
/* A time of expiry; null: never. */
json_t *ctl_json_expiry(int64_t expires_ns);
/* Add id, owner, mode and times of a node to a JSON object. returns 0 or -1 */
KV_CHECKED int ctl_json_attr(json_t *object, const struct kv_node *node);
/* Add a value to a JSON object: "value" where it is text, and else "base64". returns 0 or -1 */
KV_CHECKED int ctl_json_value(json_t *object, const void *bytes, size_t size);
/* Add the user.* attributes to a JSON object: "metadata", and "metadata_base64" with those that are no text. Neither
 * is there where there are none of its kind. returns 0 or -1 */
KV_CHECKED int ctl_json_metadata(json_t *object, const struct kv_xattrs *set);

/* Where the names of attributes that users set begin. */
#define CTL_META_PREFIX "user."
enum { CTL_META_PREFIX_SIZE = sizeof(CTL_META_PREFIX) - 1 };

/* Run a command line, with argv[0] as main() has it. Returns the exit status; what it printed may still be in
 * stdout's buffer. */
KV_CHECKED int ctl_main(int argc, char **argv);

/* The commands. */
int ctl_put(struct ctl_request *request);
int ctl_get(struct ctl_request *request);
int ctl_delete(struct ctl_request *request);
int ctl_incr(struct ctl_request *request);
int ctl_append(struct ctl_request *request);
int ctl_take(struct ctl_request *request);
int ctl_rename(struct ctl_request *request);
int ctl_list(struct ctl_request *request);
int ctl_ls(struct ctl_request *request);
int ctl_dump(struct ctl_request *request);
int ctl_load(struct ctl_request *request);
int ctl_txn(struct ctl_request *request);
int ctl_account_create(struct ctl_request *request);
int ctl_account_delete(struct ctl_request *request);
int ctl_account_list(struct ctl_request *request);
int ctl_account_show(struct ctl_request *request);
int ctl_account_limit(struct ctl_request *request);
int ctl_namespace_create(struct ctl_request *request);
int ctl_namespace_delete(struct ctl_request *request);
int ctl_namespace_rename(struct ctl_request *request);
int ctl_namespace_list(struct ctl_request *request);
int ctl_namespace_show(struct ctl_request *request);
int ctl_project_create(struct ctl_request *request);
int ctl_project_delete(struct ctl_request *request);
int ctl_project_list(struct ctl_request *request);
int ctl_binding_create(struct ctl_request *request);
int ctl_binding_delete(struct ctl_request *request);
int ctl_binding_list(struct ctl_request *request);
int ctl_check(struct ctl_request *request);
int ctl_backup(struct ctl_request *request);
int ctl_restore(struct ctl_request *request);
int ctl_compact(struct ctl_request *request);
int ctl_sweep(struct ctl_request *request);
int ctl_env(struct ctl_request *request);
int ctl_run(struct ctl_request *request);
int ctl_watch(struct ctl_request *request);
int ctl_status(struct ctl_request *request);
int ctl_health(struct ctl_request *request);
int ctl_top(struct ctl_request *request);
int ctl_stats(struct ctl_request *request);

#endif
