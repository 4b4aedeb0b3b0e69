#include "tools/cli/cli.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void cli_tame(char *text, size_t size, bool lines)
{
    unsigned char *byte = (unsigned char *)text;

    for (size_t i = 0; i < size; i++) {
        bool two = byte[i] == 0xc2 && i + 1 < size && byte[i + 1] >= 0x80 && byte[i + 1] < 0xa0;

        if (two)
            byte[i++] = '?';
        if (two || (byte[i] < ' ' && byte[i] != '\0' && !(lines && byte[i] == '\n')) || byte[i] == 0x7f)
            byte[i] = '?';
    }
}

void cli_say(const char *program, const char *format, va_list args)
{
    char *text;

    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    if (text != NULL)
        cli_tame(text, strlen(text), false);
    (void)dprintf(STDERR_FILENO, "%s: %s\n", program, text != NULL ? text : "out of memory");
    free(text);
}

bool cli_parse_number(const char *text, bool units, uint64_t *out)
{
    static const char letters[] = "KMGT";
    unsigned long long number;
    unsigned shift = 0;
    const char *letter;
    char *end;

    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    number = strtoull(text, &end, 10);
    if (units && *end != '\0' && (letter = strchr(letters, toupper((unsigned char)*end))) != NULL) {
        shift = 10 * (unsigned)(letter - letters + 1);
        end += strcmp(end + 1, "iB") == 0 ? 3 : 1;
    }
    if (errno != 0 || *end != '\0' || number > (uint64_t)INT64_MAX >> shift)
        return false;
    *out = number << shift;
    return true;
}

bool cli_parse_time(const char *text, int64_t *ms)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    size_t digits = strspn(text, "0123456789"), unit = 0, count = sizeof(units) / sizeof(units[0]);

    while (unit < count && strcmp(text + digits, units[unit].name) != 0)
        unit++;
    if (digits == 0 || digits > 9 || unit == count)
        return false;
    *ms = (int64_t)(strtoull(text, NULL, 10) * units[unit].ms);
    return true;
}
