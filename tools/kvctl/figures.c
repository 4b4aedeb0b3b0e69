#include "tools/kvctl/figures.h"

#include "tools/kvctl/grow.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --------------------------------------------------------------------------- parsing */

static bool figures_add(struct figures *figures, const struct figure *figure)
{
    struct figure *items = grow(figures->items, figures->count, &figures->room, sizeof(*items));

    if (items == NULL)
        return false;
    figures->items = items;
    figures->items[figures->count++] = *figure;
    return true;
}

/* The quote that ends a label's value. */
static char *figures_end_of_value(char *at)
{
    while (*at != '\0' && *at != '"')
        at += *at == '\\' && at[1] != '\0' ? 2 : 1;
    return *at == '"' ? at : NULL;
}

/* NAME{LABELS} VALUE, with NULs in it afterwards. returns false: it is not of this form */
static bool figures_split(char *line, struct figure *out)
{
    size_t size = strspn(line, "abcdefghijklmnopqrstuvwxyz_0123456789");
    char *at = line + size, *end;

    if (size == 0 || *at != '{')
        return false;
    *at++ = '\0';
    out->name = line;
    out->labels = at;
    for (; *at != '}'; at += *at == ',') {
        at = strchr(at, '"');
        at = at != NULL ? figures_end_of_value(at + 1) : NULL;
        if (at == NULL || (at[1] != ',' && at[1] != '}'))
            return false;
        at++;
    }
    *at++ = '\0';
    if (*at++ != ' ')
        return false;
    out->value = strtod(at, &end);
    return end != at && *end == '\0' && !isnan(out->value);
}

int figures_parse(struct figures *figures, const char *text)
{
    char *line, *rest;

    *figures = (struct figures){.text = strdup(text)};
    if (figures->text == NULL)
        return -ENOMEM;
    for (line = strtok_r(figures->text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        struct figure figure;

        if (*line == '#' || !figures_split(line, &figure))
            continue;
        if (!figures_add(figures, &figure)) {
            figures_free(figures);
            return -ENOMEM;
        }
    }
    return 0;
}

void figures_free(struct figures *figures)
{
    free(figures->items);
    free(figures->text);
    *figures = (struct figures){.items = NULL};
}

/* --------------------------------------------------------------------------- looking */

bool figures_label(const char *labels, const char *label, char *out, size_t size)
{
    size_t name = strlen(label), at = 0;
    const char *quote = strchr(labels, '"');

    while (quote != NULL && (quote - labels != (ptrdiff_t)name + 1 || memcmp(labels, label, name) != 0)) {
        for (quote++; *quote != '\0' && *quote != '"'; quote += *quote == '\\' && quote[1] != '\0' ? 2 : 1)
            ;
        labels = *quote == '"' && quote[1] == ',' ? quote + 2 : "";
        quote = strchr(labels, '"');
    }
    if (quote == NULL)
        return false;
    for (quote++; *quote != '\0' && *quote != '"' && at + 1 < size; quote++) {
        quote += *quote == '\\' && quote[1] != '\0';
        out[at++] = *quote;
    }
    out[at] = '\0';
    return true;
}

/* With this label, if one is asked for. */
static bool figures_is(const struct figure *figure, const char *name, const char *label, const char *value)
{
    char has[256];

    if (strcmp(figure->name, name) != 0)
        return false;
    return label == NULL || (figures_label(figure->labels, label, has, sizeof(has)) && strcmp(has, value) == 0);
}

double figures_value(const struct figures *figures, const char *name, const char *label, const char *value)
{
    for (size_t i = 0; i < figures->count; i++)
        if (figures_is(&figures->items[i], name, label, value))
            return figures->items[i].value;
    return 0;
}

bool figures_have(const struct figures *figures, const char *name)
{
    for (size_t i = 0; i < figures->count; i++)
        if (strcmp(figures->items[i].name, name) == 0)
            return true;
    return false;
}

/* Durations within a bucket are taken to be spread evenly. */
double figures_quantile(const struct figures *figures, const struct figures *before, const char *name,
                        double share)
{
    double below = 0, bound_below = 0, all, count, bound;
    char part[64], le[32];

    snprintf(part, sizeof(part), "%s_count", name);
    all = figures_value(figures, part, NULL, NULL) - figures_value(before, part, NULL, NULL);
    snprintf(part, sizeof(part), "%s_bucket", name);
    for (size_t i = 0; i < figures->count && all > 0; i++) {
        const struct figure *figure = &figures->items[i];

        if (strcmp(figure->name, part) != 0 || !figures_label(figure->labels, "le", le, sizeof(le)))
            continue;
        count = figure->value - figures_value(before, part, "le", le);
        bound = strtod(le, NULL);
        if (count >= share * all && count > below)
            return isinf(bound) ? bound_below
                                : bound_below + (bound - bound_below) * (share * all - below) / (count - below);
        below = count;
        bound_below = bound;
    }
    return 0;
}

/* ------------------------------------------------------------------------ for people */

const char *figures_bytes(double bytes, char out[FIGURES_TEXT])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;

    for (; bytes >= 1024 && unit < 4; unit++)
        bytes /= 1024;
    snprintf(out, FIGURES_TEXT, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
    return out;
}

const char *figures_time(double seconds, char out[FIGURES_TEXT])
{
    if (seconds < 0)
        seconds = 0;
    if (seconds > 1e15)
        seconds = 1e15;
    if (seconds < 0.001)
        snprintf(out, FIGURES_TEXT, "%.0f us", seconds * 1e6);
    else if (seconds < 1)
        snprintf(out, FIGURES_TEXT, "%.1f ms", seconds * 1e3);
    else if (seconds < 60)
        snprintf(out, FIGURES_TEXT, "%.1f s", seconds);
    else if (seconds < 3600)
        snprintf(out, FIGURES_TEXT, "%.0f min", floor(seconds / 60));
    else if (seconds < 86400)
        snprintf(out, FIGURES_TEXT, "%.0f h %.0f min", floor(seconds / 3600), floor(fmod(seconds, 3600) / 60));
    else
        snprintf(out, FIGURES_TEXT, "%.0f d %.0f h", floor(seconds / 86400), floor(fmod(seconds, 86400) / 3600));
    return out;
}
