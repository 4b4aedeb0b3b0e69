/* kvctl: the text of /.kvfs/stats, taken apart. What a daemon says is not trusted: lines that are no samples are left
 * out. */
#ifndef KVFS_TOOLS_KVCTL_FIGURES_H
#define KVFS_TOOLS_KVCTL_FIGURES_H

#include "tools/kvctl/common.h"

struct figure {
    const char *name;
    const char *labels; /* NAME="VALUE",...; with their escapes */
    double value;
};

/* The figures of a text. A zeroed one has none. */
struct figures {
    struct figure *items;
    size_t count, room;
    char *text; /* what they point into */
};

/* Take a text apart. returns  0; -ENOMEM */
KV_CHECKED int figures_parse(struct figures *figures, const char *text);
void figures_free(struct figures *figures);

/* The value of a figure with this label (NULL: any); 0 where there is none. */
double figures_value(const struct figures *figures, const char *name, const char *label, const char *value);
/* Is there one? */
bool figures_have(const struct figures *figures, const char *name);
/* Copy the value of a label, without escapes and as much as fits, with a NUL. returns  false: there is no such label */
bool figures_label(const char *labels, const char *label, char *out, size_t size);

/* How long the fastest `share` of what a histogram counted took at most, in seconds, as far as its buckets tell; of
 * what was counted since `before` (may be empty). 0: it counted nothing */
double figures_quantile(const struct figures *figures, const struct figures *before, const char *name,
                        double share);

/* Print a number of bytes, or a time, for people: "12.0 MiB", "8 us", "3 h 5 min". out: of 32 bytes. returns out */
enum { FIGURES_TEXT = 32 };
const char *figures_bytes(double bytes, char out[FIGURES_TEXT]);
const char *figures_time(double seconds, char out[FIGURES_TEXT]);

#endif
