/* kvctl: looks into a kvfs store and changes it, mounted or not.
 *
 * This file has the tables of options and commands, the parsing of the command
 * line, and the help that is made from the tables. */
#include "tools/cli/cli.h"
#include "tools/kvctl/common.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* -------------------------------------------------------------------- tables */

enum option_use { OPTIONAL, REQUIRED, REPEATABLE };

static const struct {
    const char *name;
    const char *argument; /* NULL: takes none */
    enum option_use use;
    const char *help;
} options[CTL_OPTIONS] = {
    [CTL_STORE] = {"store", "DIR", OPTIONAL, "the store's directory (default: the environment's KVFS_STORE)"},
    [CTL_FOREIGN_STORE] = {"foreign-store", NULL, OPTIONAL,
                           "open a store that belongs to another user, or that others have rights on, too"},
    [CTL_HELP] = {"help", NULL, OPTIONAL, "print a help text; after a command, the command's (-h)"},
    [CTL_VERSION] = {"version", NULL, OPTIONAL, "print the version (-V)"},
    [CTL_FILE] = {"file", "FILE", OPTIONAL, "take the value from FILE; without it and VALUE, from standard input"},
    [CTL_TYPE] = {"type", "text|json", OPTIONAL, "json: print the value if it is JSON, and refuse it otherwise"},
    [CTL_META_SET] = {"meta", "NAME=VALUE", REPEATABLE,
                      "keep user.NAME with the value; all --meta together replace what there was"},
    [CTL_META_GET] = {"meta", NULL, OPTIONAL, "print the user.* attributes as a JSON object, not the value"},
    [CTL_PREFIX] = {"prefix", "P", OPTIONAL, "only keys that start with P"},
    [CTL_LIMIT] = {"limit", "N", OPTIONAL, "at most N keys, 1 to 256 (default 256)"},
    [CTL_CURSOR] = {"cursor", "KEY", OPTIONAL, "begin at KEY, or at the next one where KEY is gone"},
    [CTL_ALL] = {"all", NULL, OPTIONAL, "all keys, one a line"},
    [CTL_RECURSIVE] = {"recursive", NULL, OPTIONAL, "delete what is in it, too"},
    [CTL_MOUNT] = {"mount", "DIR", REQUIRED, "where kvfs mounted the store"},
    [CTL_ENV_FORMAT] = {"format", "FORMAT", OPTIONAL,
                        "shell (the default); systemd, for EnvironmentFile=; docker, for --env-file; json"},
    [CTL_BYTES] = {"bytes", "SIZE", OPTIONAL,
                   "the most bytes of keys, values and attributes: a number, or one with K, M, G or T"},
    [CTL_KEYS] = {"keys", "N|none", OPTIONAL, "the most keys; none: no limit"},
    [CTL_NAMESPACES] = {"namespaces", "N", OPTIONAL, "the most namespaces"},
    [CTL_BINDINGS] = {"bindings", "N|none", OPTIONAL, "the most projects and bindings together; none: no limit"},
    [CTL_OWNER] = {"owner", "USER[:GROUP]", OPTIONAL,
                   "whose it is, by name or number; a USER alone has his own group"},
    [CTL_MODE] = {"mode", "MODE", OPTIONAL, "its permissions, an octal number (default 0700)"},
    [CTL_FAST] = {"fast", NULL, OPTIONAL, "leave out the bytes of the values"},
    [CTL_REPAIR] = {"repair", NULL, OPTIONAL,
                    "repair what can be repaired without a loss; nobody else may have the store open"},
    [CTL_SINCE] = {"since", "TOKEN", OPTIONAL, "begin behind the change that was told with this token"},
    [CTL_EXEC] = {"exec", "COMMAND", OPTIONAL, "run sh -c COMMAND for each change, with the line as its input"},
};

#define ALWAYS (CTL_BIT(CTL_STORE) | CTL_BIT(CTL_FOREIGN_STORE) | CTL_BIT(CTL_HELP) | CTL_BIT(CTL_VERSION))

static const struct ctl_command commands[] = {
    {NULL, "put", CTL_FORM_KEY, "[VALUE]", 0, 1, CTL_BIT(CTL_FILE) | CTL_BIT(CTL_META_SET), CTL_WRITE, 2, ctl_put,
     "Put a value: replace it, or create the key."},
    {NULL, "get", CTL_FORM_KEY, "", 0, 0, CTL_BIT(CTL_TYPE) | CTL_BIT(CTL_META_GET), CTL_READ, 2, ctl_get,
     "Print a value, byte for byte. Absent or empty: print nothing, exit 1."},
    {NULL, "delete", CTL_FORM_KEY, "", 0, 0, 0, CTL_WRITE, 2, ctl_delete, "Delete a key. Absent: say so, exit 1."},
    {NULL, "list", CTL_FORM_NAMESPACE, "", 0, 0,
     CTL_BIT(CTL_PREFIX) | CTL_BIT(CTL_LIMIT) | CTL_BIT(CTL_CURSOR) | CTL_BIT(CTL_ALL), CTL_READ, 2, ctl_list,
     "Print a page of keys as JSON; its cursor is the next page's --cursor."},

    {"account", "create", CTL_FORM_ACCOUNT, "", 0, 0, CTL_BIT(CTL_OWNER) | CTL_BIT(CTL_MODE), CTL_CREATE, 0,
     ctl_account_create, "Create an account, and the store where there is none."},
    {"account", "delete", CTL_FORM_ACCOUNT, "", 0, 0, CTL_BIT(CTL_RECURSIVE), CTL_WRITE, 1, ctl_account_delete,
     "Delete an account; unless --recursive, it has to be empty."},
    {"account", "list", CTL_FORM_NONE, "", 0, 0, 0, CTL_READ, 0, ctl_account_list,
     "Print the accounts, one a line."},
    {"account", "show", CTL_FORM_ACCOUNT, "", 0, 0, 0, CTL_READ, 1, ctl_account_show,
     "Print an account's counts, limits and owner as JSON."},
    {"account", "limit", CTL_FORM_ACCOUNT, "", 0, 0,
     CTL_BIT(CTL_BYTES) | CTL_BIT(CTL_KEYS) | CTL_BIT(CTL_NAMESPACES) | CTL_BIT(CTL_BINDINGS), CTL_WRITE, 1,
     ctl_account_limit, "Change an account's limits."},

    {"namespace", "create", CTL_FORM_NAMESPACE, "", 0, 0, 0, CTL_WRITE, 1, ctl_namespace_create,
     "Create a namespace."},
    {"namespace", "delete", CTL_FORM_NAMESPACE, "", 0, 0, CTL_BIT(CTL_RECURSIVE), CTL_WRITE, 2,
     ctl_namespace_delete, "Delete a namespace and the bindings to it; unless --recursive, it has to be empty."},
    {"namespace", "rename", CTL_FORM_NAMESPACE, "NEW", 1, 1, 0, CTL_WRITE, 2, ctl_namespace_rename,
     "Rename a namespace; bindings follow it."},
    {"namespace", "list", CTL_FORM_ACCOUNT, "", 0, 0, 0, CTL_READ, 1, ctl_namespace_list,
     "Print an account's namespaces, one a line."},
    {"namespace", "show", CTL_FORM_NAMESPACE, "", 0, 0, 0, CTL_READ, 2, ctl_namespace_show,
     "Print a namespace's counts and owner as JSON."},

    {"project", "create", CTL_FORM_PROJECT, "", 0, 0, 0, CTL_WRITE, 1, ctl_project_create, "Create a project."},
    {"project", "delete", CTL_FORM_PROJECT, "", 0, 0, CTL_BIT(CTL_RECURSIVE), CTL_WRITE, 2, ctl_project_delete,
     "Delete a project; unless --recursive, it has to be empty."},
    {"project", "list", CTL_FORM_ACCOUNT, "", 0, 0, 0, CTL_READ, 1, ctl_project_list,
     "Print an account's projects, one a line."},

    {"binding", "create", CTL_FORM_PROJECT, "VARIABLE NAMESPACE", 2, 2, 0, CTL_WRITE, 2, ctl_binding_create,
     "Bind a variable of a project to a namespace."},
    {"binding", "delete", CTL_FORM_PROJECT, "VARIABLE", 1, 1, 0, CTL_WRITE, 2, ctl_binding_delete,
     "Delete a binding; its namespace stays."},
    {"binding", "list", CTL_FORM_PROJECT, "", 0, 0, 0, CTL_READ, 2, ctl_binding_list,
     "Print a project's bindings: VARIABLE, tab, NAMESPACE a line."},

    {NULL, "check", CTL_FORM_NONE, "", 0, 0, CTL_BIT(CTL_FAST) | CTL_BIT(CTL_REPAIR), CTL_READ, 0, ctl_check,
     "Verify the whole store and print a report as JSON. Something is wrong: exit 1."},

    {NULL, "backup", CTL_FORM_NONE, "DIR|-", 1, 1, 0, CTL_READ, 0, ctl_backup,
     "Copy the store, which may be in use, to a new directory, or to standard output. A damaged key: exit 1."},
    {NULL, "restore", CTL_FORM_NONE, "BACKUP|- DIR", 2, 2, 0, CTL_NO_STORE, 0, ctl_restore,
     "Make a store in a new or empty directory of a backup: a directory, a file, or standard input."},
    {NULL, "compact", CTL_FORM_NONE, "", 0, 0, 0, CTL_WRITE, 0, ctl_compact,
     "Give back the space that the store does not need; nobody else may have it open."},

    {NULL, "watch", CTL_FORM_WATCH, "", 0, 0, CTL_BIT(CTL_SINCE) | CTL_BIT(CTL_EXEC), CTL_READ, 0, ctl_watch,
     "Print each change as a line of JSON when it is committed, until a signal. Changes were missed: exit 5."},

    {NULL, "env", CTL_FORM_PROJECT, "", 0, 0, CTL_BIT(CTL_MOUNT) | CTL_BIT(CTL_ENV_FORMAT), CTL_READ, 2, ctl_env,
     "Print a project's variables: for eval \"$(kvctl env ...)\" in a shell, or as a file of variables."},
    {NULL, "run", CTL_FORM_PROJECT, "-- COMMAND...", 1, SIZE_MAX, CTL_BIT(CTL_MOUNT), CTL_READ, 2, ctl_run,
     "Run a command with a project's variables; exit as it does, 125 if kvctl failed."},
};
enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

/* ---------------------------------------------------------------------- help */

static void print_synopsis(const struct ctl_command *command)
{
    printf("kvctl%s%s %s", command->group != NULL ? " " : "", command->group != NULL ? command->group : "",
           command->verb);
    if (command->form != CTL_FORM_NONE)
        printf(" %s", ctl_form_text(command->form));
    for (size_t i = 0; i < CTL_OPTIONS; i++) {
        bool required = options[i].use == REQUIRED;

        if (!(command->options & CTL_BIT(i)))
            continue;
        printf(" %s--%s%s%s%s%s", required ? "" : "[", options[i].name, options[i].argument != NULL ? " " : "",
               options[i].argument != NULL ? options[i].argument : "", required ? "" : "]",
               options[i].use == REPEATABLE ? "..." : "");
    }
    printf("%s%s\n", *command->rest != '\0' ? " " : "", command->rest);
}

static void print_options(unsigned known)
{
    for (size_t i = 0; i < CTL_OPTIONS; i++) {
        char left[32];

        if (!(known & CTL_BIT(i)))
            continue;
        snprintf(left, sizeof(left), "--%s %s", options[i].name,
                 options[i].argument != NULL ? options[i].argument : "");
        printf("  %-18s %s\n", left, options[i].help);
    }
}

static void print_command_help(const struct ctl_command *command)
{
    print_synopsis(command);
    printf("%s\n%s\n", command->summary, command->run == ctl_watch ? ctl_watch_help : "");
    print_options(command->options | ALWAYS);
}

static void print_help(void)
{
    puts("kvctl [--store DIR] COMMAND ...\n"
         "Reads and changes a kvfs store, mounted or not.\n");
    for (size_t i = 0; i < COMMANDS; i++) {
        fputs("  ", stdout);
        print_synopsis(&commands[i]);
        printf("      %s\n", commands[i].summary);
    }
    puts("\nOptions of all commands; a command's own: kvctl COMMAND --help, or kvctl help COMMAND");
    print_options(ALWAYS);
    printf("\nWhat begins with '-' and is no option goes after '--': kvctl put a/n/k -- -5\n"
           "\nNames: %s;\n  %s;\n  %s.\n"
           "Limits: a value %u bytes (25 MiB); an account %llu bytes, %u namespaces,\n"
           "  and %u projects and bindings together, unless changed.\n"
           "Exit status: 0 done; 1 get or delete of an absent key, get of an empty value; check, backup or\n"
           "  restore found something wrong; 5 watch: changes were missed; 125 to 127 run: see its help;\n"
           "  2 error: one line on standard error says what was wrong, what the rule is, and where something\n"
           "  may have been changed all the same: after an I/O error of the store, or by a --recursive\n"
           "  delete that failed half way.\n",
           kv_name_rule(KV_NAME_KEY), kv_name_rule(KV_NAME_ACCOUNT), kv_name_rule(KV_NAME_VARIABLE), KV_VALUE_MAX,
           KV_ACCOUNT_BYTES, KV_ACCOUNT_NAMESPACES, KV_ACCOUNT_BINDINGS);
}

/* ------------------------------------------------------------- option values */

/* Add NAME=VALUE to the attributes of a put. Returns a status. */
static int add_meta(struct ctl_request *request, const char *text)
{
    const char *equals = strchr(text, '=');
    char name[256] = "user.";
    size_t prefix = strlen(name), size;
    json_t *shown;
    int rc;

    if (equals == NULL || equals == text)
        return ctl_fail("--meta %.64s: this is not of the form NAME=VALUE", text);
    size = prefix + (size_t)(equals - text);
    if (size >= sizeof(name))
        return ctl_fail("--meta: a NAME is too long; it is at most %zu bytes", sizeof(name) - 1 - prefix);
    memcpy(name + prefix, text, size - prefix);
    if (strncmp(name, "user.kvfs.", strlen("user.kvfs.")) == 0)
        return ctl_fail("--meta %.64s: names that begin with kvfs. are the store's own, and read-only", text);
    shown = json_string(text);
    if (shown == NULL)
        return ctl_fail("--meta: NAME and VALUE are UTF-8 text, so that get --meta can print them");
    json_decref(shown);
    rc = kv_xattrs_set(&request->meta, name, size, equals + 1, strlen(equals + 1), 0);
    if (rc < 0)
        return ctl_fail(
            "--meta: all together is too long; names (with user.) and values are at most %d bytes a key",
            KV_XATTR_MAX);
    return CTL_OK;
}

/* A number from 1 on, or "none", which is 0. Returns a status. */
static int set_limit(enum ctl_option option, const char *value, uint64_t *out)
{
    *out = 0;
    if (strcmp(value, "none") == 0 || (cli_parse_number(value, false, out) && *out > 0))
        return CTL_OK;
    return ctl_fail("--%s %s: this is a whole number from 1 on, or none for no limit", options[option].name,
                    value);
}

static int set_option(struct ctl_request *request, enum ctl_option option, const char *value)
{
    uint64_t number;

    request->given |= CTL_BIT(option);
    switch (option) {
    case CTL_STORE:
        request->store_dir = value;
        break;
    case CTL_FILE:
        request->file = value;
        break;
    case CTL_TYPE:
        request->json = strcmp(value, "json") == 0;
        if (!request->json && strcmp(value, "text") != 0)
            return ctl_fail("--type %s: a type is text or json", value);
        break;
    case CTL_META_SET:
        return add_meta(request, value);
    case CTL_PREFIX:
        request->prefix = value;
        break;
    case CTL_LIMIT:
        if (!cli_parse_number(value, false, &number) || number < 1 || number > KV_LIST_MAX)
            return ctl_fail("--limit %s: a page has a limit of 1 to %d keys; --all prints all of them", value,
                            KV_LIST_MAX);
        request->limit = (size_t)number;
        break;
    case CTL_CURSOR:
        request->cursor = value;
        break;
    case CTL_MOUNT:
        request->mount = value;
        break;
    case CTL_ENV_FORMAT:
        request->env_format = ctl_parse_env_format(value);
        if (request->env_format == CTL_ENV_FORMATS)
            return ctl_fail("--format %.64s: a format is shell, systemd, docker or json", value);
        break;
    case CTL_BYTES:
        if (!cli_parse_number(value, true, &request->bytes))
            return ctl_fail("--bytes %s: a size is a whole number of bytes, or one with K, M, G or T (1K is 1024)",
                            value);
        break;
    case CTL_KEYS:
        return set_limit(option, value, &request->keys);
    case CTL_BINDINGS:
        return set_limit(option, value, &request->bindings);
    case CTL_NAMESPACES:
        if (!cli_parse_number(value, false, &request->namespaces))
            return ctl_fail("--namespaces %s: this is a whole number", value);
        break;
    case CTL_OWNER:
        request->owner = value;
        break;
    case CTL_MODE:
        request->mode = value;
        break;
    case CTL_SINCE:
        if (!ctl_parse_token(value, &request->since))
            return ctl_fail("--since %.64s: this is no token; it is what the lines of watch have at \"at\"",
                            value);
        break;
    case CTL_EXEC:
        request->exec = value;
        break;
    case CTL_FOREIGN_STORE:
    case CTL_HELP:
    case CTL_VERSION:
    case CTL_META_GET:
    case CTL_ALL:
    case CTL_RECURSIVE:
    case CTL_FAST:
    case CTL_REPAIR:
    case CTL_OPTIONS:
        break;
    }
    return CTL_OK;
}

/* ------------------------------------------------------------- command line */

enum { OPTION_BASE = 256 }; /* getopt's numbers of our options, beyond the letters */

/* Say what is wrong with the option that getopt has just refused. */
static int fail_option(const char *argument)
{
    char letter[] = {'-', (char)optopt, '\0'};

    if (optopt >= OPTION_BASE)
        return ctl_fail("%s: this option takes no value", argument);
    return ctl_fail("%s: there is no such option here; see kvctl --help; an argument that begins with '-' goes "
                    "after '--'",
                    optopt != 0 ? letter : argument);
}

/* Parse the options in `known` out of argv[1...], and collect all else in request->args.
 * with_words  stop at the first argument that is no option, for the command's words
 * returns     a status; *next is the index of the first argument that was not looked at */
static int parse_options(struct ctl_request *request, unsigned known, bool with_words, int argc, char **argv,
                         int *next)
{
    struct option table[CTL_OPTIONS + 1];
    size_t count = 0;
    int code, status = CTL_OK;

    for (int i = 0; i < CTL_OPTIONS; i++)
        if (known & CTL_BIT(i))
            table[count++] =
                (struct option){.name = options[i].name,
                                .has_arg = options[i].argument != NULL ? required_argument : no_argument,
                                .val = OPTION_BASE + i};
    table[count] = (struct option){0};

    opterr = 0;
    optind = 0;
    while (status == CTL_OK && (code = getopt_long(argc, argv, with_words ? "+:hV" : "-:hV", table, NULL)) != -1) {
        switch (code) {
        case 1:
            request->args[request->arg_count++] = optarg;
            break;
        case 'h':
            status = set_option(request, CTL_HELP, NULL);
            break;
        case 'V':
            status = set_option(request, CTL_VERSION, NULL);
            break;
        case ':':
            status = ctl_fail("the option %s takes a value; see kvctl --help", argv[optind - 1]);
            break;
        case '?':
            status = fail_option(argv[optind - 1]);
            break;
        default:
            status = set_option(request, (enum ctl_option)(code - OPTION_BASE), optarg);
            break;
        }
    }
    *next = optind;
    return status;
}

/* Find the command whose words begin at words[0]. Returns a status, and how many words it has. */
static int find_command(char **words, int count, const struct ctl_command **out, int *used)
{
    bool is_group = false;

    if (count == 0)
        return ctl_fail("no command is given; kvctl --help lists them");
    for (size_t i = 0; i < COMMANDS; i++) {
        const struct ctl_command *command = &commands[i];

        if (command->group == NULL && strcmp(command->verb, words[0]) != 0)
            continue;
        if (command->group != NULL) {
            if (strcmp(command->group, words[0]) != 0)
                continue;
            is_group = true;
            if (count < 2 || strcmp(command->verb, words[1]) != 0)
                continue;
        }
        *out = command;
        *used = command->group != NULL ? 2 : 1;
        return CTL_OK;
    }
    if (is_group && count < 2)
        return ctl_fail("%s: one more word is needed; kvctl --help lists the commands", words[0]);
    return ctl_fail("%s%s%s: there is no such command; kvctl --help lists them", words[0], is_group ? " " : "",
                    is_group ? words[1] : "");
}

static int check_arguments(const struct ctl_request *request)
{
    const struct ctl_command *command = request->command;
    const char *form = ctl_form_text(command->form), *rest = command->rest;
    const char *space = *form != '\0' && *rest != '\0' ? " " : "";
    size_t paths = command->form != CTL_FORM_NONE;

    if (request->arg_count < paths + command->rest_min)
        return ctl_fail("an argument is missing; the arguments are: %s%s%s", form, space, rest);
    if (request->arg_count - paths > command->rest_max)
        return ctl_fail("%s: one argument too many; the arguments are: %s%s%s",
                        request->args[paths + command->rest_max], *form != '\0' ? form : "none", space, rest);
    for (size_t i = 0; i < CTL_OPTIONS; i++)
        if (options[i].use == REQUIRED && command->options & CTL_BIT(i) & ~request->given)
            return ctl_fail("--%s %s is missing: %s", options[i].name, options[i].argument, options[i].help);
    if (command->access != CTL_NO_STORE && (request->store_dir == NULL || *request->store_dir == '\0'))
        return ctl_fail("no store is named; use --store DIR, or set KVFS_STORE in the environment");
    return CTL_OK;
}

static int run_command(struct ctl_request *request)
{
    int status = check_arguments(request);

    if (status == CTL_OK && request->command->form != CTL_FORM_NONE)
        status = ctl_parse_path(request->command->form, request->args[0], &request->path);
    if (status == CTL_OK && request->command->access != CTL_NO_STORE)
        status = ctl_open(request);
    if (status == CTL_OK)
        status = request->command->run(request);
    ctl_close(request);
    return status;
}

/* Answer --help and --version. returns true where one of them was given */
static bool print_about(const struct ctl_request *request)
{
    if (ctl_given(request, CTL_HELP) && request->command != NULL)
        print_command_help(request->command);
    else if (ctl_given(request, CTL_HELP))
        print_help();
    else if (ctl_given(request, CTL_VERSION))
        puts("kvctl " KVFS_VERSION);
    return ctl_given(request, CTL_HELP) || ctl_given(request, CTL_VERSION);
}

/* "help" and the words of a command, or none: what --help prints. Returns a status. */
static int help(struct ctl_request *request, char **words, int count)
{
    int used = 0, status = count == 0 ? CTL_OK : find_command(words, count, &request->command, &used);

    if (status != CTL_OK)
        return status;
    if (used < count)
        return ctl_fail("%s: one argument too many; the arguments of help are a command's words", words[used]);
    request->given |= CTL_BIT(CTL_HELP);
    (void)print_about(request);
    return CTL_OK;
}

static int dispatch(struct ctl_request *request, int argc, char **argv)
{
    int next, used = 0, status = parse_options(request, ALWAYS, true, argc, argv, &next);

    if (status != CTL_OK)
        return status;
    if (print_about(request))
        return CTL_OK;
    if (next < argc && strcmp(argv[next], "help") == 0)
        return help(request, argv + next + 1, argc - next - 1);
    status = find_command(argv + next, argc - next, &request->command, &used);
    if (status != CTL_OK)
        return status;

    /* The last word stands where getopt expects the program's name. */
    argv += next + used - 1;
    argc -= next + used - 1;
    status = parse_options(request, request->command->options | ALWAYS, false, argc, argv, &next);
    for (; status == CTL_OK && next < argc; next++) /* what follows "--" */
        request->args[request->arg_count++] = argv[next];
    if (status == CTL_OK && !print_about(request))
        status = run_command(request);
    return status == CTL_ERROR && request->command->run == ctl_run ? CTL_RUN_ERROR : status;
}

int ctl_main(int argc, char **argv)
{
    struct ctl_request request = {.store_dir = getenv("KVFS_STORE")};
    int status;

    request.umask = umask(0);
    umask(request.umask);
    request.args = calloc((size_t)argc + 1, sizeof(*request.args));
    if (request.args == NULL)
        return ctl_fail("out of memory");
    status = dispatch(&request, argc, argv);
    free(request.args);
    free(request.mount_path);
    return status;
}
