/* kvctl: the table of commands. */
#include "tools/kvctl/bulk.h"
#include "tools/kvctl/help.h"
#include "tools/kvctl/keys.h"
#include "tools/kvctl/txn.h"

#define CONDITIONS (CTL_BIT(CTL_IF_ABSENT) | CTL_BIT(CTL_IF_VERSION) | CTL_BIT(CTL_IF_UNCHANGED))
#define OPTIONS_OF_LIST                                                                  \
    (CTL_BIT(CTL_PREFIX) | CTL_BIT(CTL_LIMIT) | CTL_BIT(CTL_CURSOR) | CTL_BIT(CTL_ALL) | \
     CTL_BIT(CTL_JSON_LINES) | CTL_BIT(CTL_VALUES) | CTL_BIT(CTL_META_WITH))

const struct ctl_command ctl_commands[] = {
    {NULL, "put", CTL_FORM_KEY, "[VALUE]", 0, 1,
     CTL_BIT(CTL_FILE) | CTL_BIT(CTL_META_SET) | CTL_BIT(CTL_TTL) | CTL_BIT(CTL_EXPIRES) | CTL_BIT(CTL_EMPTY_PUT) |
         CONDITIONS,
     CTL_WRITE, 2, ctl_put, "Put a value: replace it, or create the key.",
     "Without VALUE and --file the value is what standard input has. It must not be empty: an empty one is\n"
     "what a command that failed leaves in a pipe. With --meta, --ttl or --expires, standard input is not\n"
     "read, and only that is changed of a key that is there; --file - reads it. VALUE may be ''.\n"
     "A key that is put again keeps its expiry, unless --ttl or --expires gives it another one.\n",
     false},
    {NULL, "get", CTL_FORM_KEYS, "...", 0, SIZE_MAX,
     CTL_BIT(CTL_TYPE) | CTL_BIT(CTL_META_GET) | CTL_BIT(CTL_EMPTY_GET) | CTL_BIT(CTL_PREFIX) |
         CTL_BIT(CTL_JSON_LINES) | CTL_BIT(CTL_KEY_VERSION) | CTL_BIT(CTL_VERSION_FILE),
     CTL_READ, 0, ctl_get,
     "Print a value, byte for byte; several one behind the other. Absent or empty: print nothing, exit 1.",
     keys_help, false},
    {NULL, "delete", CTL_FORM_KEYS, "...", 0, SIZE_MAX,
     CTL_BIT(CTL_PREFIX) | CTL_BIT(CTL_IF_VERSION) | CTL_BIT(CTL_IF_UNCHANGED), CTL_WRITE, 0, ctl_delete,
     "Delete keys. One is absent: say so, delete the others, exit 1.", keys_help, false},
    {NULL, "rename", CTL_FORM_KEY, "NEW", 1, 1, CTL_BIT(CTL_IF_ABSENT), CTL_WRITE, 2, ctl_rename,
     "Rename a key, within its account; a key that is called NEW is replaced.",
     "NEW is a KEY of the same namespace, or ACCOUNT/NAMESPACE/KEY.\n", false},
    {NULL, "incr", CTL_FORM_KEY, "[N]", 0, 1, CTL_BIT(CTL_TTL), CTL_WRITE, 2, ctl_incr,
     "Add N, or 1, to a whole number, and print what it is then.",
     "One step, whoever else adds at the same time. An absent key and an empty value count as 0; an end of\n"
     "line behind the number stays. N may be negative. --ttl is for a key that is absent: one that is there\n"
     "keeps its expiry, so that what is counted is counted within that time.\n",
     true},
    {NULL, "append", CTL_FORM_KEY, "[VALUE]", 0, 1, CTL_BIT(CTL_FILE) | CTL_BIT(CTL_EMPTY_PUT), CTL_WRITE, 2,
     ctl_append, "Add to the end of a value, in one step; a key that is not there is created.",
     "VALUE, --file and standard input as for put.\n", false},
    {NULL, "take", CTL_FORM_KEY, "", 0, 0, CTL_BIT(CTL_EMPTY_GET), CTL_WRITE, 2, ctl_take,
     "Print a value and delete the key, in one step: nobody else gets it. Absent or empty: exit 1.", NULL, false},
    {NULL, "list", CTL_FORM_NAMESPACE, "", 0, 0, OPTIONS_OF_LIST, CTL_READ, 2, ctl_list,
     "Print a page of keys as JSON; its cursor is the next page's --cursor.", NULL, false},
    {NULL, "ls", CTL_FORM_TREE, "", 0, 0, CTL_BIT(CTL_PREFIX), CTL_READ, 0, ctl_ls,
     "Print the names of accounts, namespaces or keys, one a line.", NULL, false},

    {NULL, "dump", CTL_FORM_TREE, "", 0, 0, CTL_BIT(CTL_PREFIX) | CTL_BIT(CTL_BULK_FORMAT), CTL_READ, 0, ctl_dump,
     "Print a store, an account or a namespace, for load.", bulk_help, false},
    {NULL, "load", CTL_FORM_TREE, "", 0, 0,
     CTL_BIT(CTL_FILE) | CTL_BIT(CTL_BULK_FORMAT) | CTL_BIT(CTL_IF_ABSENT) | CTL_BIT(CTL_ATOMIC) |
         CTL_BIT(CTL_SKIP),
     CTL_CREATE_WHOLE, 0, ctl_load, "Put what a file or standard input has, as dump prints it.", bulk_help, false},

    {NULL, "txn", CTL_FORM_NONE, "", 0, 0, CTL_BIT(CTL_FILE) | CTL_BIT(CTL_JSON_INPUT), CTL_NO_STORE, 0, ctl_txn,
     "Do several operations together or not at all, as a file or standard input lists them.", txn_help, false},

    {"account", "create", CTL_FORM_ACCOUNT, "", 0, 0, CTL_BIT(CTL_OWNER) | CTL_BIT(CTL_MODE), CTL_CREATE, 0,
     ctl_account_create, "Create an account, and the store where there is none.", NULL, false},
    {"account", "delete", CTL_FORM_ACCOUNT, "", 0, 0, CTL_BIT(CTL_RECURSIVE), CTL_WRITE, 1, ctl_account_delete,
     "Delete an account; unless --recursive, it has to be empty.", NULL, false},
    {"account", "list", CTL_FORM_NONE, "", 0, 0, 0, CTL_READ, 0, ctl_account_list,
     "Print the accounts, one a line.", NULL, false},
    {"account", "show", CTL_FORM_ACCOUNT, "", 0, 0, 0, CTL_READ, 1, ctl_account_show,
     "Print an account's counts, limits and owner as JSON.", NULL, false},
    {"account", "limit", CTL_FORM_ACCOUNT, "", 0, 0,
     CTL_BIT(CTL_BYTES) | CTL_BIT(CTL_KEYS) | CTL_BIT(CTL_NAMESPACES) | CTL_BIT(CTL_BINDINGS), CTL_WRITE, 1,
     ctl_account_limit, "Change an account's limits.", NULL, false},

    {"namespace", "create", CTL_FORM_NAMESPACE, "", 0, 0, 0, CTL_WRITE, 1, ctl_namespace_create,
     "Create a namespace.", NULL, false},
    {"namespace", "delete", CTL_FORM_NAMESPACE, "", 0, 0, CTL_BIT(CTL_RECURSIVE), CTL_WRITE, 2,
     ctl_namespace_delete, "Delete a namespace and the bindings to it; unless --recursive, it has to be empty.",
     NULL, false},
    {"namespace", "rename", CTL_FORM_NAMESPACE, "NEW", 1, 1, 0, CTL_WRITE, 2, ctl_namespace_rename,
     "Rename a namespace; bindings follow it.", NULL, false},
    {"namespace", "list", CTL_FORM_ACCOUNT, "", 0, 0, 0, CTL_READ, 1, ctl_namespace_list,
     "Print an account's namespaces, one a line.", NULL, false},
    {"namespace", "show", CTL_FORM_NAMESPACE, "", 0, 0, 0, CTL_READ, 2, ctl_namespace_show,
     "Print a namespace's counts and owner as JSON.", NULL, false},

    {"project", "create", CTL_FORM_PROJECT, "", 0, 0, 0, CTL_WRITE, 1, ctl_project_create, "Create a project.",
     NULL, false},
    {"project", "delete", CTL_FORM_PROJECT, "", 0, 0, CTL_BIT(CTL_RECURSIVE), CTL_WRITE, 2, ctl_project_delete,
     "Delete a project; unless --recursive, it has to be empty.", NULL, false},
    {"project", "list", CTL_FORM_ACCOUNT, "", 0, 0, 0, CTL_READ, 1, ctl_project_list,
     "Print an account's projects, one a line.", NULL, false},

    {"binding", "create", CTL_FORM_PROJECT, "VARIABLE NAMESPACE", 2, 2, 0, CTL_WRITE, 2, ctl_binding_create,
     "Bind a variable of a project to a namespace.", NULL, false},
    {"binding", "delete", CTL_FORM_PROJECT, "VARIABLE", 1, 1, 0, CTL_WRITE, 2, ctl_binding_delete,
     "Delete a binding; its namespace stays.", NULL, false},
    {"binding", "list", CTL_FORM_PROJECT, "", 0, 0, 0, CTL_READ, 2, ctl_binding_list,
     "Print a project's bindings: VARIABLE, tab, NAMESPACE a line.", NULL, false},

    {NULL, "check", CTL_FORM_NONE, "", 0, 0, CTL_BIT(CTL_FAST) | CTL_BIT(CTL_REPAIR), CTL_READ, 0, ctl_check,
     "Verify the whole store and print a report as JSON. Something is wrong: exit 1.", NULL, false},

    {NULL, "backup", CTL_FORM_NONE, "DIR|-", 1, 1, 0, CTL_READ, 0, ctl_backup,
     "Copy the store, which may be in use, to a new directory, or to standard output. A damaged key: exit 1.",
     NULL, false},
    {NULL, "restore", CTL_FORM_NONE, "BACKUP|- DIR", 2, 2, 0, CTL_NO_STORE, 0, ctl_restore,
     "Make a store in a new or empty directory of a backup: a directory, a file, or standard input.", NULL, false},
    {NULL, "compact", CTL_FORM_NONE, "", 0, 0, 0, CTL_WRITE, 0, ctl_compact,
     "Give back the space that the store does not need; nobody else may have it open.", NULL, false},
    {NULL, "sweep", CTL_FORM_NONE, "", 0, 0, 0, CTL_WRITE, 0, ctl_sweep,
     "Remove the keys that have expired, as a mount does by itself, and print how many as JSON.", NULL, false},

    {NULL, "watch", CTL_FORM_WATCH, "", 0, 0, CTL_BIT(CTL_SINCE) | CTL_BIT(CTL_EXEC), CTL_READ, 0, ctl_watch,
     "Print each change as a line of JSON when it is committed, until a signal. Changes were missed: exit 5.",
     ctl_watch_help, false},

    {NULL, "status", CTL_FORM_STORE, "", 0, 0, 0, CTL_READ, 0, ctl_status,
     "Print what the store is and holds, and who has it mounted.",
     "A store that is mounted read-only from a read-only disk does not show its mounts. MOUNTPOINT is asked "
     "which\n"
     "store it serves; where its daemon is stopped, name the store by --store.\n",
     false},
    {NULL, "health", CTL_FORM_NONE, "MOUNTPOINT", 1, 1, CTL_BIT(CTL_TIMEOUT), CTL_NO_STORE, 0, ctl_health,
     "Does the mount answer, and does its store take changes? If not, say why, and exit 1.",
     "Nothing is written, and a daemon that is stopped is not waited for longer than --timeout.\n", false},
    {NULL, "top", CTL_FORM_NONE, "[MOUNTPOINT...]", 0, SIZE_MAX, CTL_BIT(CTL_INTERVAL) | CTL_BIT(CTL_ONCE),
     CTL_NO_STORE, 0, ctl_top, "Show what these mounts, or all, do, until q is typed.",
     "Without a terminal, and with --once: one screen as text. A mount does not answer: exit 1.\n", false},
    {NULL, "stats", CTL_FORM_NONE, "[MOUNTPOINT...]", 0, SIZE_MAX, CTL_BIT(CTL_TIMEOUT), CTL_NO_STORE, 0,
     ctl_stats, "Print the figures of these mounts, or of all, as one text for Prometheus.",
     "It is what each has in .kvfs/stats, merged so that one file holds all, and kvfs_up, which is 0 for a mount\n"
     "that does not answer; then exit 1.\n",
     false},

    {NULL, "env", CTL_FORM_PROJECT, "", 0, 0, CTL_BIT(CTL_MOUNT) | CTL_BIT(CTL_ENV_FORMAT), CTL_READ, 2, ctl_env,
     "Print a project's variables: for eval \"$(kvctl env ...)\" in a shell, or as a file of variables.", NULL,
     false},
    {NULL, "run", CTL_FORM_PROJECT, "-- COMMAND...", 1, SIZE_MAX, CTL_BIT(CTL_MOUNT), CTL_READ, 2, ctl_run,
     "Run a command with a project's variables; exit as it does, 125 if kvctl failed.", NULL, false},
};
const size_t ctl_command_count = sizeof(ctl_commands) / sizeof(ctl_commands[0]);

const struct ctl_alias ctl_aliases[] = {
    {"cat", "get", false},   {"set", "put", false},  {"rm", "delete", true},
    {"del", "delete", true}, {"mv", "rename", true},
};
const size_t ctl_alias_count = sizeof(ctl_aliases) / sizeof(ctl_aliases[0]);
