/* kvctl: the texts that are made from the tables of commands and options. */
#ifndef KVFS_TOOLS_KVCTL_HELP_H
#define KVFS_TOOLS_KVCTL_HELP_H

#include "tools/kvctl/common.h"

enum option_use { OPTIONAL, REQUIRED, REPEATABLE };

struct ctl_option_rule {
    const char *name;
    const char *argument; /* NULL: takes none */
    enum option_use use;
    const char *help;
};
extern const struct ctl_option_rule ctl_options[CTL_OPTIONS];

/* Options of all commands. */
#define CTL_ALWAYS                                                                             \
    (CTL_BIT(CTL_STORE) | CTL_BIT(CTL_FOREIGN_STORE) | CTL_BIT(CTL_JSON) | CTL_BIT(CTL_HELP) | \
     CTL_BIT(CTL_VERSION))

/* The options that a command knows, with those of all. */
uint64_t ctl_known_options(const struct ctl_command *command);

extern const struct ctl_command ctl_commands[];
extern const size_t ctl_command_count;

/* Words that people type out of habit. */
struct ctl_alias {
    const char *word, *verb;
    bool in_groups; /* behind account, namespace, project and binding, too */
};
extern const struct ctl_alias ctl_aliases[];
extern const size_t ctl_alias_count;

/* Write the shortest line of a command that is complete, with one option more unless it is CTL_OPTIONS; without a
 * newline. NULL: that of kvctl itself. */
void help_write_line(FILE *out, const struct ctl_command *command, enum ctl_option option);
/* Write the line of a group of commands, as "kvctl account create|delete|...". */
void help_write_group(FILE *out, const char *group);

/* What somebody wants to know who typed nothing else. */
void help_write_first(FILE *out);
/* Print the help of kvctl, of a group of commands, or of a command. */
void help_print(void);
void help_print_group(const char *group);
void help_print_command(const struct ctl_command *command);

/* The command or alias, or the option among `known`, that somebody who typed `word` may have meant; NULL: none.
 * group    of the command; NULL: none */
const char *help_nearest_command(const char *group, const char *word);
const char *help_nearest_option(uint64_t known, const char *word, size_t size);

#endif
