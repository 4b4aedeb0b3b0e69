/* kvctl: where a value is no JSON. The library tells how far it had read; people look for the token that is wrong. */
#include "tools/kvctl/common.h"

#include <ctype.h>
#include <string.h>

/* How many of `size` bytes are the first token's, or something like one. */
static size_t token_size(const uint8_t *text, size_t size)
{
    static const char number[] = "0123456789+-.eE";
    size_t n = 1;

    if (text[0] == '"') {
        while (n < size && text[n] != '"')
            n += text[n] == '\\' ? 2 : 1;
        return n + 1;
    }
    if (isalpha(text[0]))
        while (n < size && isalpha(text[n]))
            n++;
    else if (text[0] == '-' || isdigit(text[0]))
        while (n < size && memchr(number, text[n], sizeof(number) - 1) != NULL)
            n++;
    else
        while (n < size && (text[n] & 0xc0) == 0x80) /* the rest of a character in UTF-8 */
            n++;
    return n;
}

/* Where the token begins that has text[at] in it. */
static size_t token_start(const uint8_t *text, size_t size, size_t at)
{
    size_t start = 0, end = 0;

    while (end <= at && end < size) {
        start = end;
        end += token_size(text + start, size - start);
    }
    return end > at ? start : size;
}

/* Where the bad part begins. The library tells how far it had read. */
static size_t bad_start(const json_error_t *error, const uint8_t *text, size_t size)
{
    size_t got = (size_t)error->position;

    switch (json_error_code(error)) {
    case json_error_invalid_utf8:
        return got; /* the byte that it did not take */
    case json_error_premature_end_of_input:
        return token_start(text, size, size); /* of a string without an end, or the end */
    default:
        return token_start(text, size, got > 0 ? got - 1 : 0);
    }
}

/* A value is not JSON for what begins at text[at]. Columns count characters. Returns a status. */
static int fail_json(const char *subject, const uint8_t *text, size_t at, const char *why)
{
    size_t line = 1, column = 1;

    for (size_t i = 0; i < at; i++) {
        if (text[i] == '\n') {
            line++;
            column = 1;
        } else if ((text[i] & 0xc0) != 0x80) {
            column++;
        }
    }
    return ctl_fail("%s: the value is not JSON: line %zu, column %zu, byte %zu: %s; get it with --type text",
                    subject, line, column, at + 1, why);
}

int ctl_check_json(const char *subject, const void *bytes, size_t size)
{
    /* As lenient as the library can be: numbers too large for an integer and strings with \u0000 are JSON. */
    const size_t flags = JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL;
    const uint8_t *text = bytes, *nul = memchr(bytes, '\0', size);
    json_error_t error;
    json_t *json;

    if (nul != NULL) /* the library overlooks one that ends a number */
        return fail_json(subject, text, (size_t)(nul - text), "a NUL byte");
    json = json_loadb(bytes, size, flags, &error);
    if (json == NULL)
        return fail_json(subject, text, bad_start(&error, text, size), error.text);
    json_decref(json);
    return CTL_OK;
}
