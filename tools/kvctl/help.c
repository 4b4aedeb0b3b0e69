#include "tools/kvctl/help.h"

#include <string.h>

/* ---------------------------------------------------------------------- lines */

static void help_write_words(FILE *out, const struct ctl_command *command)
{
    fprintf(out, "%s%s%s%s", command->access == CTL_IN_TXN ? "" : "kvctl ",
            command->group != NULL ? command->group : "", command->group != NULL ? " " : "", command->verb);
    if (command->form != CTL_FORM_NONE)
        fprintf(out, " %s", ctl_form_text(command->form));
}

static void help_write_option(FILE *out, enum ctl_option option)
{
    const struct ctl_option_rule *rule = &ctl_options[option];

    fprintf(out, "--%s%s%s", rule->name, rule->argument != NULL ? " " : "",
            rule->argument != NULL ? rule->argument : "");
}

static void help_write_rest(FILE *out, const struct ctl_command *command)
{
    if (*command->rest != '\0')
        fprintf(out, " %s", command->rest);
}

void help_write_line(FILE *out, const struct ctl_command *command, enum ctl_option option)
{
    if (command == NULL) {
        fputs("kvctl --store DIR COMMAND ..., and kvctl --help for the commands", out);
        return;
    }
    help_write_words(out, command);
    for (enum ctl_option i = 0; i < CTL_OPTIONS; i++) {
        bool required = command->options & CTL_BIT(i) && ctl_options[i].use == REQUIRED;

        if (required || (i == option && ctl_known_options(command) & CTL_BIT(i))) {
            putc(' ', out);
            help_write_option(out, i);
        }
    }
    help_write_rest(out, command);
}

/* With all options; or, in short, with those without which there is no line. */
static void help_write_synopsis(FILE *out, const struct ctl_command *command, bool in_short)
{
    bool more = false;

    help_write_words(out, command);
    for (enum ctl_option i = 0; i < CTL_OPTIONS; i++) {
        bool required = ctl_options[i].use == REQUIRED;

        if (!(command->options & CTL_BIT(i)))
            continue;
        if (in_short && !required) {
            more = true;
            continue;
        }
        fputs(required ? " " : " [", out);
        help_write_option(out, i);
        fputs(required ? "" : "]", out);
        if (ctl_options[i].use == REPEATABLE)
            fputs("...", out);
    }
    if (more)
        fputs(" [OPTION...]", out);
    help_write_rest(out, command);
    putc('\n', out);
}

static bool help_is_of(const struct ctl_command *command, const char *group)
{
    return command->group != NULL && strcmp(command->group, group) == 0;
}

void help_write_group(FILE *out, const char *group)
{
    char before = ' ';

    fprintf(out, "kvctl %s", group);
    for (size_t i = 0; i < ctl_command_count; i++)
        if (help_is_of(&ctl_commands[i], group)) {
            fprintf(out, "%c%s", before, ctl_commands[i].verb);
            before = '|';
        }
    fputs(" ...", out);
}

/* ----------------------------------------------------------------------- help */

static void help_print_options(uint64_t known)
{
    for (enum ctl_option i = 0; i < CTL_OPTIONS; i++) {
        char left[32];

        if (!(known & CTL_BIT(i)))
            continue;
        snprintf(left, sizeof(left), "--%s %s", ctl_options[i].name,
                 ctl_options[i].argument != NULL ? ctl_options[i].argument : "");
        printf("  %-21s %s\n", left, ctl_options[i].help);
    }
}

void help_print_command(const struct ctl_command *command)
{
    bool first = true;

    help_write_synopsis(stdout, command, false);
    printf("%s\n%s%s", command->summary, command->more != NULL ? "\n" : "",
           command->more != NULL ? command->more : "");
    for (size_t i = 0; i < ctl_alias_count; i++) {
        const struct ctl_alias *alias = &ctl_aliases[i];

        if (strcmp(alias->verb, command->verb) != 0 || (command->group != NULL && !alias->in_groups))
            continue;
        printf("%s%s", first ? "\nOther names: " : ", ", alias->word);
        first = false;
    }
    puts(first ? "" : "\n");
    help_print_options(command->options);
    if (command->options != 0)
        puts("Options of all commands:");
    help_print_options(ctl_known_options(command) & ~command->options);
}

static void help_print_summaries(const char *group)
{
    for (size_t i = 0; i < ctl_command_count; i++)
        if (group == NULL || help_is_of(&ctl_commands[i], group)) {
            fputs("  ", stdout);
            help_write_synopsis(stdout, &ctl_commands[i], true);
            printf("      %s\n", ctl_commands[i].summary);
        }
}

void help_print_group(const char *group)
{
    help_write_group(stdout, group);
    puts("\n");
    help_print_summaries(group);
    printf("\nOptions of all commands; a command's own: kvctl %s COMMAND --help\n", group);
    help_print_options(CTL_ALWAYS);
}

void help_write_first(FILE *out)
{
    size_t size; /* of the line */

    fputs("kvctl reads and changes a kvfs store, mounted or not. Type one of these:\n"
          "  kvctl --store DIR account create shop        make an account, and the store\n"
          "  kvctl --store DIR namespace create shop/carts\n"
          "  kvctl --store DIR put shop/carts/alice 'her cart'\n"
          "  kvctl --store DIR get shop/carts/alice\n"
          "  kvctl --store DIR ls shop/carts\n"
          "  kvctl get MOUNTPOINT/shop/carts/alice        the same of a store that is mounted\n"
          "  kvctl help                                   all commands; kvctl help COMMAND: one of them\n"
          "Commands:",
          out);
    size = strlen("Commands:");
    for (size_t i = 0; i < ctl_command_count; i++) {
        const struct ctl_command *command = &ctl_commands[i];
        const char *group = command->group;

        if (i > 0 && group != NULL && ctl_commands[i - 1].group != NULL &&
            strcmp(group, ctl_commands[i - 1].group) == 0)
            continue;
        if (size > 80) {
            fputs("\n ", out);
            size = 1;
        }
        size += (size_t)fprintf(out, " %s", group != NULL ? group : command->verb);
    }
    putc('\n', out);
}

void help_print(void)
{
    puts("kvctl [--store DIR] COMMAND ...\n"
         "Reads and changes a kvfs store, mounted or not.\n");
    help_print_summaries(NULL);
    fputs("\nOther names:", stdout);
    for (size_t i = 0; i < ctl_alias_count; i++)
        printf("%s %s for %s", i > 0 ? "," : "", ctl_aliases[i].word, ctl_aliases[i].verb);
    puts(".\n\nOptions of all commands; a command's own: kvctl COMMAND --help, or kvctl help COMMAND");
    help_print_options(CTL_ALWAYS);
    printf(
        "\nIn place of --store and names: the path of a file below a mount, which begins with /, ./ or ../\n"
        "  (or any path, where no store is named): kvctl get ~/kv/shop/carts/alice\n"
        "What begins with '-' and is no option goes after '--': kvctl put a/n/k -- -5\n"
        "\nNames: %s;\n  %s;\n  %s.\n"
        "Limits: a value %u bytes (25 MiB); an account %llu bytes, %u namespaces,\n"
        "  and %u projects and bindings together, unless changed.\n"
        "Exit status:\n"
        "  0 done\n"
        "  1 the key is absent or its value is empty, or a check, backup or restore found something, or a mount\n"
        "    does not answer or is not healthy\n"
        "  2 an error: a line on standard error says what was wrong, what the rule is, and where something may\n"
        "    have been changed all the same: after an I/O error of the store, or by a command on many objects\n"
        "    that failed half way\n"
        "  3 with --empty: the value is empty\n"
        "  4 a condition (--if-...) is not met\n"
        "  5 watch: changes were missed\n"
        "  125 to 127 run: it failed, and see its help\n",
        kv_name_rule(KV_NAME_KEY), kv_name_rule(KV_NAME_ACCOUNT), kv_name_rule(KV_NAME_VARIABLE), KV_VALUE_MAX,
        KV_ACCOUNT_BYTES, KV_ACCOUNT_NAMESPACES, KV_ACCOUNT_BINDINGS);
}

/* --------------------------------------------------------------- did you mean */

enum { WORD_MAX = 24 };

static unsigned help_least(unsigned a, unsigned b) { return a < b ? a : b; }

/* How many letters must be changed, added, left out or swapped with the next one to make one word of the other. */
static unsigned help_distance(const char *a, size_t a_size, const char *b, size_t b_size)
{
    unsigned rows[3][WORD_MAX + 1] = {{0}};

    if (a_size > WORD_MAX || b_size > WORD_MAX)
        return WORD_MAX;
    for (unsigned i = 0; i <= a_size; i++) {
        unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];

        for (unsigned j = 0; j <= b_size; j++) {
            if (i == 0 || j == 0) {
                row[j] = i + j;
                continue;
            }
            row[j] = help_least(help_least(above[j], row[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = help_least(row[j], two_above[j - 2] + 1);
        }
    }
    return rows[a_size % 3][b_size];
}

/* Is `candidate` nearer than what was found till now? */
static void help_look(const char *word, size_t size, const char *candidate, unsigned *least, const char **found)
{
    size_t candidate_size = strlen(candidate);
    unsigned distance = help_distance(word, size, candidate, candidate_size);

    if (size > 2 && size < candidate_size && strncmp(word, candidate, size) == 0)
        distance = 1; /* an abbreviation */
    if (distance < *least) {
        *least = distance;
        *found = candidate;
    }
}

/* So far off is another word. */
static unsigned help_bound(size_t size) { return size < 5 ? 2 : 3; }

/* What other programs call it. */
static const char *help_synonym(const char *word)
{
    static const char *const synonyms[][2] = {{"keys", "list"},     {"scan", "list"},   {"remove", "delete"},
                                              {"unlink", "delete"}, {"import", "load"}, {"export", "dump"},
                                              {"getdel", "take"},   {"incrby", "incr"}, {"setnx", "put"},
                                              {"multi", "txn"},     {"batch", "txn"},   {"transaction", "txn"}};

    for (size_t i = 0; i < sizeof(synonyms) / sizeof(synonyms[0]); i++)
        if (strcmp(synonyms[i][0], word) == 0)
            return synonyms[i][1];
    return NULL;
}

const char *help_nearest_command(const char *group, const char *word)
{
    size_t size = strlen(word);
    unsigned least = help_bound(size);
    const char *found = group == NULL ? help_synonym(word) : NULL;

    if (found != NULL)
        return found;
    for (size_t i = 0; i < ctl_command_count; i++) {
        const struct ctl_command *command = &ctl_commands[i];

        if (group != NULL && help_is_of(command, group))
            help_look(word, size, command->verb, &least, &found);
        else if (group == NULL)
            help_look(word, size, command->group != NULL ? command->group : command->verb, &least, &found);
    }
    for (size_t i = 0; i < ctl_alias_count; i++)
        if (group == NULL || ctl_aliases[i].in_groups)
            help_look(word, size, ctl_aliases[i].word, &least, &found);
    return found;
}

const char *help_nearest_option(uint64_t known, const char *word, size_t size)
{
    unsigned least = help_bound(size);
    const char *found = NULL;

    for (enum ctl_option i = 0; i < CTL_OPTIONS; i++)
        if (known & CTL_BIT(i))
            help_look(word, size, ctl_options[i].name, &least, &found);
    return found;
}
