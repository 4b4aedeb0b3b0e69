#include "tools/kvctl/words.h"

#include <errno.h>
#include <string.h>

enum { WORDS_GO_ON = -2 }; /* no byte: a backslash has joined two lines */

struct words {
    struct bulk_input *input;
    size_t count;
    int quote; /* that is open, or 0 */
    bool in_word;
};

/* What a backslash and the byte behind it stand for: that byte, WORDS_GO_ON or, where the backslash stays, EOF. */
static int words_escaped(const struct words *words, int next)
{
    if (next == '\n')
        return WORDS_GO_ON;
    return words->quote == 0 || strchr("\"\\$`", next) != NULL ? next : EOF;
}

static enum bulk_result words_add(struct words *words, int c)
{
    words->in_word = true;
    return bulk_text_add(words->input, (char)c);
}

static enum bulk_result words_add_escaped(struct words *words)
{
    enum bulk_result result = BULK_RECORD;
    int next = bulk_getc(words->input), c;

    if (next == EOF || next == '\0')
        return bulk_fail(words->input, BULK_BROKEN, "there is nothing behind the backslash at its end");
    c = words_escaped(words, next);
    if (c == WORDS_GO_ON)
        return BULK_RECORD;
    if (c == EOF)
        result = words_add(words, '\\');
    return result == BULK_RECORD ? words_add(words, next) : result;
}

static enum bulk_result words_end_word(struct words *words)
{
    if (!words->in_word)
        return BULK_RECORD;
    words->in_word = false;
    words->count++;
    return bulk_text_add(words->input, '\0');
}

static void words_skip_comment(struct bulk_input *input)
{
    while (bulk_peek(input) != EOF && bulk_peek(input) != '\n')
        (void)bulk_getc(input);
}

/* Take a byte that is not the line's end. */
static enum bulk_result words_take(struct words *words, int c)
{
    if (c == '\0')
        return bulk_fail(words->input, BULK_BROKEN, "there is a NUL in it, which no text has");
    if (c == '\\' && words->quote != '\'')
        return words_add_escaped(words);
    if (words->quote != 0 && c != words->quote)
        return words_add(words, c);
    if (c == '\'' || c == '"') {
        words->quote = words->quote == 0 ? c : 0;
        words->in_word = true; /* '' is one, too */
        return BULK_RECORD;
    }
    if (c == ' ' || c == '\t' || c == '\r')
        return words_end_word(words);
    if (c == '#' && !words->in_word) {
        words_skip_comment(words->input);
        return BULK_RECORD;
    }
    return words_add(words, c);
}

enum bulk_result words_read(struct bulk_input *input, size_t *count)
{
    struct words words = {.input = input};
    enum bulk_result result = BULK_RECORD;
    int c = '\n';

    bulk_text_begin(input);
    while (result == BULK_RECORD && (words.count == 0 || c != '\n' || words.quote != 0)) {
        if (words.count == 0 && !words.in_word)
            input->number = input->line + 1;
        c = bulk_getc(input);
        if (c == EOF)
            break;
        result = c == '\n' && words.quote == 0 ? words_end_word(&words) : words_take(&words, c);
    }
    if (result == BULK_RECORD && ferror(input->file))
        return bulk_fail(input, BULK_BROKEN, "cannot read it: %s", strerror(errno));
    if (result == BULK_RECORD && words.quote != 0)
        return bulk_fail(input, BULK_BROKEN, "a quote %c is not closed", words.quote);
    if (result == BULK_RECORD)
        result = words_end_word(&words); /* of a last line without an end */
    *count = words.count;
    return result == BULK_RECORD && words.count == 0 ? BULK_END : result;
}
