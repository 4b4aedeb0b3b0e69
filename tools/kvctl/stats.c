/* kvctl: the figures of several mounts as one text for Prometheus. In such a text all series of one name stand
 * together, behind one HELP and one TYPE; so the texts of the mounts are not put one behind the other, but merged by
 * name. */
#include "tools/kvctl/figures.h"
#include "tools/kvctl/polled.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define HELP "# HELP "

/* The name in the HELP line that begins here. */
static size_t stats_name(const char *help, const char **name)
{
    *name = help + strlen(HELP);
    return strcspn(*name, " \n");
}

/* The HELP line of a name; NULL: there is none. */
static const char *stats_find(const char *text, const char *name, size_t size)
{
    const char *found;

    for (text = strstr(text, HELP); text != NULL; text = strstr(text + 1, HELP))
        if (stats_name(text, &found) == size && memcmp(found, name, size) == 0)
            return text;
    return NULL;
}

/* Print lines up to the next HELP. with_comments: those that describe the name, too */
static void stats_print_lines(const char *text, bool with_comments)
{
    do {
        size_t size = strcspn(text, "\n");

        if (with_comments || *text != '#')
            printf("%.*s\n", (int)size, text);
        text += size + (text[size] == '\n');
    } while (*text != '\0' && strncmp(text, HELP, strlen(HELP)) != 0);
}

/* Does this mount answer, and not at another place, too? */
static bool stats_counts(const struct polled *polled, size_t which)
{
    const struct ask *ask = &polled->asks[which];

    if (ask->state != ASK_ANSWERED || strncmp(ask->stats, HELP, strlen(HELP)) != 0)
        return false;
    for (size_t i = 0; i < which; i++)
        if (polled->asks[i].state == ASK_ANSWERED &&
            strcmp(polled_point(polled, i), polled_point(polled, which)) == 0)
            return false;
    return true;
}

static void stats_print(const struct polled *polled, size_t which)
{
    const char *name, *help = polled->asks[which].stats;

    for (; help != NULL; help = strstr(help + 1, HELP)) {
        size_t size = stats_name(help, &name);
        bool printed = false;

        for (size_t i = 0; i < which && !printed; i++)
            printed = stats_counts(polled, i) && stats_find(polled->asks[i].stats, name, size) != NULL;
        for (size_t i = which; i < polled->count && !printed; i++) {
            const char *there = stats_counts(polled, i) ? stats_find(polled->asks[i].stats, name, size) : NULL;

            if (there != NULL)
                stats_print_lines(there, i == which);
        }
    }
}

/* As the mounts' own labels have it. */
static void stats_print_quoted(const char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            printf("\\\\x%02x", (unsigned char)*text);
        else
            printf(*text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
}

static void stats_print_up(const struct polled *polled)
{
    puts("# HELP kvfs_up Does the mount answer? 0: no.\n# TYPE kvfs_up gauge");
    for (size_t i = 0; i < polled->count; i++) {
        bool again = !polled_counts(polled, i);

        for (size_t other = 0; other < i; other++)
            again |= strcmp(polled_point(polled, i), polled_point(polled, other)) == 0;
        if (again)
            continue;
        fputs("kvfs_up{mount=\"", stdout);
        stats_print_quoted(polled_point(polled, i));
        printf("\"} %d\n", polled->asks[i].state == ASK_ANSWERED);
    }
}

/* An object of mounts, with the series and their values. */
static int stats_print_json(const struct polled *polled)
{
    json_t *all = json_object(), *one;
    struct figures figures;

    for (size_t i = 0; i < polled->count; i++) {
        one = polled->asks[i].state == ASK_ANSWERED ? json_object() : json_null();
        if (json_object_set_new(all, polled_point(polled, i), one) < 0 || !json_is_object(one))
            continue;
        if (figures_parse(&figures, polled->asks[i].stats) < 0)
            return ctl_fail("out of memory");
        for (size_t n = 0; n < figures.count; n++) {
            char series[1024];

            snprintf(series, sizeof(series), "%s{%s}", figures.items[n].name, figures.items[n].labels);
            (void)json_object_set_new(one, series,
                                      json_real(figures.items[n].value)); /* what is no text is left out */
        }
        figures_free(&figures);
    }
    return ctl_print_json(all, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
}

int ctl_stats(struct ctl_request *request)
{
    struct polled polled;
    int status = polled_begin(&polled, request);

    if (status == CTL_OK) {
        polled_start(&polled, false);
        polled_wait(&polled, request->timeout_ms);
        if (ctl_given(request, CTL_JSON)) {
            status = stats_print_json(&polled);
        } else {
            stats_print_up(&polled);
            for (size_t i = 0; i < polled.count; i++)
                if (stats_counts(&polled, i))
                    stats_print(&polled, i);
        }
    }
    for (size_t i = 0; i < polled.count && polled.asks != NULL && status != CTL_ERROR; i++)
        if (polled.asks[i].state != ASK_ANSWERED && polled_counts(&polled, i)) {
            ctl_say("%s: %s", polled.mounts[i],
                    polled.asks[i].state != ASK_WAITS ? polled.asks[i].reason : "no answer in time");
            status = CTL_NO;
        }
    polled_end(&polled);
    return status;
}
