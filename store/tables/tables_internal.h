/* Private to the backend over tables.
 *
 *   tables.c   the backend: which call is which function
 *   read.c     reading
 *   submit.c   changing
 *   changed.c  following: what the changed records mean
 *   verify.c   the format, and looking for damage
 */
#ifndef KVFS_STORE_TABLES_INTERNAL_H
#define KVFS_STORE_TABLES_INTERNAL_H

#include "store/tables/tables.h"

struct tables {
    struct backend base;
    struct engine *engine;
};

/* Each is one call of the backend; they answer what done() is told. */
KV_CHECKED int tables_submit(struct engine *engine, struct backend_submit *submit);
KV_CHECKED int tables_follow(struct engine *engine, struct backend_follow *follow);
KV_CHECKED int tables_format(struct engine *engine, struct backend_format *format);
/* Notes in engine->damaged what it has found. */
KV_CHECKED int tables_verify(struct engine *engine, struct backend_verify *verify);

#endif
