/* kvctl: what top shows, as lines of text. */
#ifndef KVFS_TOOLS_KVCTL_SCREEN_H
#define KVFS_TOOLS_KVCTL_SCREEN_H

#include "tools/kvctl/figures.h"

/* One mount, as it was asked last. */
struct screen_mount {
    const char *point;
    const char *trouble;    /* why the figures are old, or there are none; NULL: they are new */
    struct figures figures; /* the last ones */
    struct figures before;  /* those before; empty: rates are those since the node began */
    double seconds;         /* between both */
    const char *errors;     /* the last lines; may be NULL */
};

/* Write the screen: printable ASCII and line ends, whatever names and errors hold.
 * rows     the most lines; 0: as many as there are
 * columns  the most symbols in a line; 0: any
 * now_s    since 1970
 * returns  0; -ENOMEM */
KV_CHECKED int screen_write(FILE *out, const struct screen_mount *mounts, size_t count, unsigned rows,
                            unsigned columns, double now_s);

#endif
