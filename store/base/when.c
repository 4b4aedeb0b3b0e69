/* Times of expiry as text. */
#include "store/kv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SECOND_NS 1000000000ll

static bool when_is_digit(char c) { return c >= '0' && c <= '9'; }

/* Digits at *at, as far as they go. returns  0; -EINVAL none; -ERANGE too many */
static int when_number(const char **at, int64_t *out)
{
    const char *from = *at;

    *out = 0;
    for (; when_is_digit(**at); ++*at)
        if (__builtin_mul_overflow(*out, 10, out) || __builtin_add_overflow(*out, **at - '0', out))
            return -ERANGE;
    return *at > from ? 0 : -EINVAL;
}

/* A fraction of a second, where there is one. */
static int when_fraction(const char **at, int64_t *out)
{
    int64_t unit = SECOND_NS / 10;

    *out = 0;
    if (**at != '.')
        return 0;
    if (!when_is_digit(*++*at))
        return -EINVAL;
    for (; when_is_digit(**at); ++*at, unit /= 10)
        *out += (**at - '0') * unit;
    return 0;
}

/* 0 stands for never, so what was over before the epoch was over just behind it. */
static int when_of(int64_t seconds, int64_t fraction_ns, int64_t *out)
{
    int64_t ns;

    if (__builtin_mul_overflow(seconds, SECOND_NS, &ns) || __builtin_add_overflow(ns, fraction_ns, &ns))
        return -ERANGE;
    *out = ns > 0 ? ns : 1;
    return 0;
}

int kv_duration_parse(const char *text, int64_t *out)
{
    static const struct {
        char unit;
        int64_t seconds;
    } units[] = {{'\0', 1}, {'s', 1}, {'m', 60}, {'h', 3600}, {'d', 24 * 3600}, {'w', 7 * 24 * 3600}};
    const char *at = text;
    int64_t count;
    int rc = when_number(&at, &count);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (*at != units[i].unit || (*at != '\0' && at[1] != '\0'))
            continue;
        return __builtin_mul_overflow(count, units[i].seconds * SECOND_NS, out) ? -ERANGE : 0;
    }
    return -EINVAL;
}

/* Does a text begin so? 'd' stands for a digit, 't' for what separates a date from a time. */
static bool when_has_form(const char *text, const char *form)
{
    for (; *form != '\0'; text++, form++) {
        bool fits = *form == 'd'   ? when_is_digit(*text)
                    : *form == 't' ? *text == 'T' || *text == 't' || *text == ' '
                                   : *text == *form;

        if (!fits)
            return false;
    }
    return true;
}

/* "Z", or "+02:00". *out: seconds east */
static int when_zone(const char *text, int64_t *out)
{
    int hours, minutes;

    *out = 0;
    if (strcmp(text, "Z") == 0 || strcmp(text, "z") == 0)
        return 0;
    if ((text[0] != '+' && text[0] != '-') || !when_has_form(text + 1, "dd:dd") || text[6] != '\0' ||
        sscanf(text + 1, "%2d:%2d", &hours, &minutes) != 2 || hours > 23 || minutes > 59)
        return -EINVAL;
    *out = (text[0] == '-' ? -60 : 60) * (hours * 60 + minutes);
    return 0;
}

/* RFC 3339. */
static int when_date(const char *text, int64_t *out)
{
    static const char form[] = "dddd-dd-ddtdd:dd:dd";
    const char *at = text + sizeof(form) - 1;
    struct tm tm = {0}, is;
    int64_t fraction, east;
    time_t seconds;
    int rc;

    if (!when_has_form(text, form) || sscanf(text, "%4d-%2d-%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday) != 3 ||
        sscanf(text + 11, "%2d:%2d:%2d", &tm.tm_hour, &tm.tm_min, &tm.tm_sec) != 3)
        return -EINVAL;
    rc = when_fraction(&at, &fraction);
    if (rc == 0)
        rc = when_zone(at, &east);
    if (rc < 0)
        return rc;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    is = tm;
    seconds = timegm(&is);
    if (is.tm_mon != tm.tm_mon || is.tm_mday != tm.tm_mday || is.tm_hour != tm.tm_hour || is.tm_min != tm.tm_min ||
        (is.tm_sec != tm.tm_sec && tm.tm_sec != 60)) /* what is no date or time came out as another one */
        return -EINVAL;
    return when_of(seconds - east, fraction, out);
}

int kv_expiry_parse(const char *text, int64_t now_ns, int64_t *out)
{
    const char *at = text;
    int64_t seconds, fraction;
    int rc;

    if (strcmp(text, "never") == 0) {
        *out = 0;
        return 0;
    }
    if (*text == '+') {
        rc = kv_duration_parse(text + 1, &seconds);
        if (rc == 0 && __builtin_add_overflow(now_ns, seconds, &seconds))
            rc = -ERANGE;
        return rc < 0 ? rc : when_of(0, seconds, out);
    }
    rc = when_number(&at, &seconds);
    if (rc == 0)
        rc = when_fraction(&at, &fraction);
    if (rc == 0 && *at == '\0')
        return when_of(seconds, fraction, out);
    return rc == -ERANGE ? rc : when_date(text, out);
}

void kv_expiry_text(int64_t expires_ns, char out[KV_EXPIRY_TEXT])
{
    time_t seconds = (time_t)(expires_ns / SECOND_NS);
    size_t used;
    struct tm tm;

    if (expires_ns == 0) {
        strcpy(out, "never");
        return;
    }
    gmtime_r(&seconds, &tm);
    used = strftime(out, KV_EXPIRY_TEXT, "%Y-%m-%dT%H:%M:%S", &tm);
    if (expires_ns % SECOND_NS != 0) {
        used += (size_t)snprintf(out + used, KV_EXPIRY_TEXT - used, ".%09d", (int)(expires_ns % SECOND_NS));
        while (out[used - 1] == '0')
            used--;
    }
    memcpy(out + used, "Z", 2);
}
