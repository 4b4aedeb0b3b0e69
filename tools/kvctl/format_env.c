/* kvctl: keys as lines KEY=VALUE, as shells and programs that read such files take them. Nothing is expanded.
 *
 *   KEY=text          to the end of the line, without the blanks around it
 *   KEY='text'        as it is, over several lines, too
 *   KEY="text"        with \" \\ \$ \` for themselves and \n, \r, \t for control characters
 *   export KEY=...    the same; blank lines and those that begin with a # are skipped
 */
#include "tools/kvctl/bulk.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

/* ---------------------------------------------------------------------- reading */

/* Skip the rest of a line: white space, or a comment. */
static enum bulk_result env_end_line(struct bulk_input *input)
{
    bool comment = false;
    int c;

    while ((c = bulk_getc(input)) != '\n' && c != EOF) {
        comment = comment || c == '#';
        if (!comment && c != ' ' && c != '\t' && c != '\r')
            return bulk_fail(input, BULK_BROKEN, "there is something behind a closing quote");
    }
    return BULK_RECORD;
}

/* The byte that a backslash makes of the next one; -1: both stay. */
static int env_unescape(int c)
{
    static const char from[] = "nrt\"\\$`", to[] = "\n\r\t\"\\$`";
    const char *found = c != EOF && c != '\0' ? strchr(from, c) : NULL;

    return found != NULL ? (unsigned char)to[found - from] : -1;
}

static enum bulk_result env_read_quoted(struct bulk_input *input, int quote)
{
    enum bulk_result result = BULK_RECORD;
    int c;

    while (result == BULK_RECORD && (c = bulk_getc(input)) != quote) {
        if (c == EOF)
            return bulk_fail(input, BULK_BROKEN, "a quoted value does not end");
        if (c == '\\' && quote == '"' && env_unescape(bulk_peek(input)) >= 0)
            c = env_unescape(bulk_getc(input));
        result = bulk_text_add(input, (char)c);
    }
    return result == BULK_RECORD ? env_end_line(input) : result;
}

static enum bulk_result env_read_plain(struct bulk_input *input)
{
    enum bulk_result result = BULK_RECORD;
    int c;

    while (result == BULK_RECORD && (c = bulk_getc(input)) != '\n' && c != EOF)
        result = bulk_text_add(input, (char)c);
    while (input->size > 0 && isspace((unsigned char)input->text[input->size - 1]))
        input->size--;
    return result;
}

static void env_skip_blanks(struct bulk_input *input)
{
    while (bulk_peek(input) == ' ' || bulk_peek(input) == '\t')
        (void)bulk_getc(input);
}

/* Read the name before the '=', which is taken, too. returns BULK_RECORD, BULK_BAD or BULK_BROKEN */
static enum bulk_result env_read_name(struct bulk_input *input, struct bulk_record *record)
{
    static const char export[] = "export ";
    enum bulk_result result = BULK_RECORD;
    const char *name;
    size_t size;
    int c;

    bulk_text_begin(input);
    while (result == BULK_RECORD && (c = bulk_peek(input)) != '=' && c != '\n' && c != EOF)
        result = bulk_text_add(input, (char)bulk_getc(input));
    if (result != BULK_RECORD)
        return result;
    if (c != '=') {
        (void)bulk_getc(input); /* the line is at its end */
        return bulk_fail(input, BULK_BAD, "it is not of the form KEY=VALUE");
    }
    (void)bulk_getc(input);
    result = bulk_text_add(input, '\0');
    name = input->text;
    size = --input->size;
    if (size > sizeof(export) && strncmp(name, export, sizeof(export) - 1) == 0) {
        size_t skipped = sizeof(export) - 1 + strspn(name + sizeof(export) - 1, " \t");

        name += skipped;
        size -= skipped;
    }
    return result == BULK_RECORD ? bulk_set_name(input, KV_NAME_KEY, name, size, record->key) : result;
}

static enum bulk_result env_read_value(struct bulk_input *input)
{
    int c;

    bulk_text_begin(input);
    env_skip_blanks(input);
    c = bulk_peek(input);
    if (c != '"' && c != '\'')
        return env_read_plain(input);
    (void)bulk_getc(input);
    return env_read_quoted(input, c);
}

static enum bulk_result env_read(struct bulk_input *input, struct bulk_record *record)
{
    enum bulk_result name, value;
    int c;

    do {
        env_skip_blanks(input);
        c = bulk_peek(input);
        if (c == '#')
            while ((c = bulk_getc(input)) != '\n' && c != EOF)
                ;
        else if (c == '\n' || c == '\r')
            (void)bulk_getc(input);
    } while (c == '\n' || c == '\r');
    input->number = record->number = input->line + 1;
    record->kind = BULK_KEY;
    if (c == EOF)
        return ferror(input->file) ? bulk_fail(input, BULK_BROKEN, "cannot read it: %s", strerror(errno))
                                   : BULK_END;
    name = env_read_name(input, record);
    if (name != BULK_RECORD && (name != BULK_BAD || input->line >= input->number))
        return name;
    value = env_read_value(input); /* also behind a wrong name, so that the next record is found */
    if (value != BULK_RECORD || name != BULK_RECORD)
        return value != BULK_RECORD ? value : name;
    return bulk_set_value(input, record, input->size > 0 ? input->text : "", input->size);
}

/* ---------------------------------------------------------------------- writing */

static const char env_plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./:@%+,=-";

/* Can all of it stand in the file? Then say how it is quoted: by nothing, by ' or by ". */
static bool env_choose_quote(const struct kv_value *value, int *quote)
{
    bool single = false;

    *quote = 0;
    for (size_t i = 0; i < value->size; i++) {
        if (value->data[i] == '\0')
            return false;
        single = single || value->data[i] == '\'';
        if (strchr(env_plain, value->data[i]) == NULL)
            *quote = '\'';
    }
    if (single)
        *quote = '"';
    return true;
}

static enum bulk_result env_write(const struct bulk_record *record, bool first, char *why)
{
    const struct kv_value *value = record->value;
    int quote;

    (void)first;
    if (isdigit((unsigned char)record->key[0]) || !env_choose_quote(value, &quote)) {
        strcpy(why, isdigit((unsigned char)record->key[0]) ? "no variable begins with a digit; use another format"
                                                           : "no variable can have a NUL; use another format");
        return BULK_BAD;
    }
    printf("%s=", record->key);
    if (quote != 0)
        putchar(quote);
    for (size_t i = 0; i < value->size; i++) {
        if (quote == '"' && strchr("\"\\$`", value->data[i]) != NULL)
            putchar('\\');
        putchar(value->data[i]);
    }
    if (quote != 0)
        putchar(quote);
    putchar('\n');
    return BULK_RECORD;
}

const struct bulk_format bulk_env = {"env", "line", true, env_read, NULL, NULL, env_write};
