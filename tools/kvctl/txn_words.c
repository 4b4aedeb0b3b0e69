/* kvctl txn: operations as lines of words. */
#include "tools/kvctl/help.h"
#include "tools/kvctl/line.h"
#include "tools/kvctl/swap.h"
#include "tools/kvctl/txn.h"
#include "tools/kvctl/value.h"
#include "tools/kvctl/words.h"

#include <stdlib.h>
#include <string.h>

#define VERSIONS (CTL_BIT(CTL_IF_VERSION) | CTL_BIT(CTL_IF_UNCHANGED))

const struct ctl_command txn_commands[] = {
    {NULL, "put", CTL_FORM_KEY, "[VALUE]", 0, 1,
     CTL_BIT(CTL_FILE) | CTL_BIT(CTL_META_SET) | CTL_BIT(CTL_TTL) | CTL_BIT(CTL_EXPIRES) | CTL_BIT(CTL_IF_ABSENT) |
         VERSIONS,
     CTL_IN_TXN, 0, NULL, NULL, NULL, false},
    {NULL, "delete", CTL_FORM_KEY, "", 0, 0, VERSIONS, CTL_IN_TXN, 0, NULL, NULL, NULL, false},
    {NULL, "rename", CTL_FORM_KEY, "NEW", 1, 1, CTL_BIT(CTL_IF_ABSENT), CTL_IN_TXN, 0, NULL, NULL, NULL, false},
    {NULL, "check", CTL_FORM_KEY, "", 0, 0, CTL_BIT(CTL_IF_ABSENT) | VERSIONS, CTL_IN_TXN, 0, NULL, NULL, NULL,
     false},
};
enum { TXN_COMMANDS = sizeof(txn_commands) / sizeof(txn_commands[0]) };

const struct ctl_command *txn_find_command(const char *word)
{
    const char *verb = word;

    for (size_t i = 0; i < ctl_alias_count; i++)
        if (strcmp(ctl_aliases[i].word, word) == 0)
            verb = ctl_aliases[i].verb;
    for (size_t i = 0; i < TXN_COMMANDS; i++)
        if (strcmp(txn_commands[i].verb, verb) == 0)
            return &txn_commands[i];
    (void)ctl_fail("%.64s: this is no operation; they are put, delete, rename and check", word);
    return NULL;
}

enum kv_change_kind txn_kind(const struct ctl_command *command)
{
    static const enum kv_change_kind kinds[TXN_COMMANDS] = {KV_PUT, KV_DELETE, KV_RENAME, KV_CHECK};

    return kinds[command - txn_commands];
}

static int txn_fill_put(struct ctl_request *line, struct txn_op *op)
{
    const char *text = line->arg_count > 1 ? line->args[1] : NULL;
    struct kv_ref later = {.size = 0};
    struct kv_value *value;
    int status;

    if (text == NULL && line->file == NULL)
        return ctl_fail_usage(line, CTL_FILE, "%s: there is no VALUE and no --file", line->path.text);
    if (line->file != NULL && strcmp(line->file, "-") == 0)
        return ctl_fail_usage(line, CTL_FILE, "%s: --file - is not for an operation: name a file",
                              line->path.text);
    status = value_read(line, text, &value);
    if (status != CTL_OK)
        return status;
    op->change = value_put(line, &later, value);
    if (ctl_expires(line)) {
        op->change.expiry = KV_EXPIRY_SET;
        op->change.expires_ns = line->expires_ns;
    }
    if (ctl_given(line, CTL_META_SET)) {
        op->change.xattrs = op->xattrs = malloc(sizeof(*op->xattrs));
        if (op->xattrs == NULL)
            return ctl_fail("out of memory");
        *op->xattrs = line->meta;
    }
    return CTL_OK;
}

/* Fill in the change of a line whose options and arguments were taken. Returns a status. */
static int txn_fill(struct ctl_request *line, struct txn_op *op)
{
    int status;

    op->change.kind = txn_kind(line->command);
    switch (op->change.kind) {
    case KV_RENAME:
        op->change.flags = ctl_given(line, CTL_IF_ABSENT) ? KV_NOREPLACE : 0;
        return ctl_parse_new(line, &line->path, line->args[1], &op->to);
    case KV_PUT:
        status = txn_fill_put(line, op);
        return status == CTL_OK ? swap_set_condition(line, &op->change) : status;
    case KV_CHECK:
        if (!swap_is_conditional(line))
            return ctl_fail_usage(line, CTL_IF_VERSION, "%s: check needs a condition", line->path.text);
        break;
    default:
        break;
    }
    return swap_set_condition(line, &op->change);
}

/* Take the operation out of its words. A path of the first one may choose the store. Returns a status. */
static int txn_parse_words(struct ctl_request *request, char **words, size_t count, struct txn_op *op)
{
    struct ctl_request line = *request;
    int used, status;

    op->command = line.command = txn_find_command(words[0]);
    if (line.command == NULL)
        return CTL_ERROR;
    line.given &= CTL_BIT(CTL_STORE);
    line.file = NULL;
    line.arg_count = 0;
    line.args = calloc(count, sizeof(*line.args));
    if (line.args == NULL)
        return ctl_fail("out of memory");
    status = line_parse(&line, ctl_known_options(line.command), LINE_AT_END, words + 1, (int)count - 1, &used);
    if (status == CTL_OK)
        status = ctl_check_arguments(&line);
    if (status == CTL_OK)
        status = ctl_parse_path(&line, CTL_FORM_KEY, line.args[0], &line.path);
    op->path = line.path;
    if (status == CTL_OK)
        status = txn_fill(&line, op);
    request->store_dir = line.store_dir;
    request->mounted_dir = line.mounted_dir;
    request->only_files = line.only_files;
    free(line.args);
    return status;
}

int txn_read_words(struct txn *txn, struct txn_op *op, bool *read)
{
    struct bulk_input *input = &txn->input;
    size_t count;
    enum bulk_result result = words_read(input, &count);
    char **words, *word;
    int status;

    ctl_set_place(txn->input.name, input->number);
    *read = result == BULK_RECORD;
    op->line = input->number;
    if (result == BULK_END)
        return CTL_OK;
    if (result != BULK_RECORD)
        return ctl_fail("%s", input->why);
    words = calloc(count, sizeof(*words));
    op->text = malloc(input->size);
    if (words == NULL || op->text == NULL) {
        free(words);
        return ctl_fail("out of memory");
    }
    word = memcpy(op->text, input->text, input->size);
    for (size_t i = 0; i < count; i++, word += strlen(word) + 1)
        words[i] = word;
    status = txn_parse_words(txn->request, words, count, op);
    free(words);
    return status;
}
