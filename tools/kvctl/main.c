/* kvctl: looks into a kvfs store and changes it, mounted or not.
 *
 * This file leads from a command line to the command's function. */
#include "tools/kvctl/help.h"
#include "tools/kvctl/keys.h"
#include "tools/kvctl/line.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ------------------------------------------------------------------- commands */

static bool is_group(const char *word)
{
    for (size_t i = 0; i < ctl_command_count; i++)
        if (ctl_commands[i].group != NULL && strcmp(ctl_commands[i].group, word) == 0)
            return true;
    return false;
}

static const struct ctl_command *find_verb(const char *group, const char *verb)
{
    for (size_t i = 0; i < ctl_command_count; i++) {
        const struct ctl_command *command = &ctl_commands[i];

        if ((group == NULL) != (command->group == NULL) || strcmp(command->verb, verb) != 0)
            continue;
        if (group == NULL || strcmp(command->group, group) == 0)
            return command;
    }
    return NULL;
}

/* The command of a name, or of another name of it. */
static const struct ctl_command *find_word(const char *group, const char *word)
{
    const struct ctl_command *command = find_verb(group, word);

    for (size_t i = 0; i < ctl_alias_count && command == NULL; i++)
        if (strcmp(ctl_aliases[i].word, word) == 0 && (group == NULL || ctl_aliases[i].in_groups))
            command = find_verb(group, ctl_aliases[i].verb);
    return command;
}

static int fail_group(const char *group, const char *what, const char *word)
{
    char *line = NULL;
    size_t size;
    FILE *out = open_memstream(&line, &size);

    if (out != NULL) {
        help_write_group(out, group);
        fclose(out);
    }
    (void)ctl_fail("%s%s%.64s: %s; type: %s, or kvctl %s --help", group, word != NULL ? " " : "",
                   word != NULL ? word : "", what, line != NULL ? line : "", group);
    free(line);
    return CTL_ERROR;
}

static int fail_unknown(const struct ctl_request *request, const char *group, const char *word)
{
    const char *nearest = help_nearest_command(group, word);

    if (nearest != NULL)
        return ctl_fail(
            "%s%s%.64s: there is no such command; did you mean %s? type: kvctl %s%s%s --help, or kvctl "
            "--help for all",
            group != NULL ? group : "", group != NULL ? " " : "", word, nearest, group != NULL ? group : "",
            group != NULL ? " " : "", nearest);
    return group != NULL ? fail_group(group, "there is no such command", word)
                         : ctl_fail_usage(request, CTL_OPTIONS, "%.64s: there is no such command", word);
}

/* Find the command whose words begin at words[0]. Returns a status, and how many words it has. */
static int find_command(struct ctl_request *request, char **words, int count, int *used)
{
    const char *group;

    if (count <= 0) {
        help_write_first(stderr);
        return CTL_ERROR;
    }
    group = is_group(words[0]) ? words[0] : NULL;
    if (group != NULL && count < 2)
        return fail_group(group, "one more word is needed", NULL);
    *used = group != NULL ? 2 : 1;
    request->command = find_word(group, words[*used - 1]);
    return request->command != NULL ? CTL_OK : fail_unknown(request, group, words[*used - 1]);
}

/* ----------------------------------------------------------------------- help */

/* Answer --help and --version. returns true where one of them was given */
static bool print_about(const struct ctl_request *request)
{
    if (ctl_given(request, CTL_HELP) && request->command != NULL)
        help_print_command(request->command);
    else if (ctl_given(request, CTL_HELP))
        help_print();
    else if (ctl_given(request, CTL_VERSION))
        puts("kvctl " KVFS_VERSION);
    return ctl_given(request, CTL_HELP) || ctl_given(request, CTL_VERSION);
}

/* "help" and the words of a command, of a group, or none: what --help prints. Returns a status. */
static int help(struct ctl_request *request, char **words, int count)
{
    int used = 0, status;

    if (count == 1 && is_group(words[0])) {
        help_print_group(words[0]);
        return CTL_OK;
    }
    status = count == 0 ? CTL_OK : find_command(request, words, count, &used);
    if (status != CTL_OK)
        return status;
    if (used < count)
        return ctl_fail("%s: one argument too many; type: kvctl help COMMAND", words[used]);
    request->given |= CTL_BIT(CTL_HELP);
    (void)print_about(request);
    return CTL_OK;
}

static bool asks_for_help(const char *word) { return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0; }

/* ------------------------------------------------------------------- dispatch */

int ctl_check_arguments(const struct ctl_request *request)
{
    const struct ctl_command *command = request->command;
    size_t least = command->rest_min + !ctl_form_is_optional(command->form);
    size_t most = command->form == CTL_FORM_NONE || command->rest_max == SIZE_MAX ? command->rest_max
                                                                                  : command->rest_max + 1;

    if (request->arg_count < least)
        return ctl_fail_usage(request, CTL_OPTIONS, "an argument is missing");
    if (request->arg_count > most)
        return ctl_fail_usage(request, CTL_OPTIONS, "%.64s: one argument too many", request->args[most]);
    for (enum ctl_option i = 0; i < CTL_OPTIONS; i++)
        if (ctl_options[i].use == REQUIRED && command->options & CTL_BIT(i) & ~request->given)
            return ctl_fail_usage(request, CTL_OPTIONS, "--%s %s is missing: %s", ctl_options[i].name,
                                  ctl_options[i].argument, ctl_options[i].help);
    return CTL_OK;
}

/* Check the names in the first argument, which may choose the store, too. */
static int parse_first(struct ctl_request *request)
{
    enum ctl_form form = request->command->form;

    if (form == CTL_FORM_NONE || request->arg_count == 0)
        return CTL_OK;
    return form == CTL_FORM_KEYS ? keys_choose_store(request)
                                 : ctl_parse_path(request, form, request->args[0], &request->path);
}

static int run_command(struct ctl_request *request)
{
    int status = ctl_check_arguments(request);

    if (status == CTL_OK)
        status = parse_first(request);
    if (status == CTL_OK && request->command->access != CTL_NO_STORE)
        status = ctl_open(request);
    if (status == CTL_OK)
        status = request->command->run(request);
    ctl_close(request);
    return status;
}

static int dispatch(struct ctl_request *request, int argc, char **argv)
{
    int next, used = 0, status = line_parse(request, CTL_ALWAYS, LINE_AT_WORD, argv + 1, argc - 1, &next);

    argv += 1 + next;
    argc -= 1 + next;
    if (status != CTL_OK)
        return status;
    if (print_about(request))
        return CTL_OK;
    if (argc > 0 && strcmp(argv[0], "help") == 0)
        return help(request, argv + 1, argc - 1);
    if (argc == 2 && is_group(argv[0]) && asks_for_help(argv[1]))
        return help(request, argv, 1);
    status = find_command(request, argv, argc, &used);
    if (status != CTL_OK)
        return status;

    status =
        line_parse(request, ctl_known_options(request->command), LINE_AT_END, argv + used, argc - used, &next);
    if (status == CTL_OK && !print_about(request))
        status = run_command(request);
    return status == CTL_ERROR && request->command->run == ctl_run ? CTL_RUN_ERROR : status;
}

int ctl_main(int argc, char **argv)
{
    struct ctl_request request = {.store_dir = getenv("KVFS_STORE"), .timeout_ms = 5000, .interval_ms = 1000};
    int status;

    request.umask = umask(0);
    umask(request.umask);
    request.args = calloc((size_t)argc + 1, sizeof(*request.args));
    if (request.args == NULL)
        return ctl_fail("out of memory");
    status = dispatch(&request, argc, argv);
    free(request.args);
    free(request.mount_path);
    free(request.mounted_dir);
    return status;
}
