/* A backend over an engine of ordered tables: each call is one short transaction of the engine, on the thread that
 * starts it, and has ended when start() returns. */
#ifndef KVFS_STORE_TABLES_H
#define KVFS_STORE_TABLES_H

#include "store/backend.h"
#include "store/base/engine.h"

/* The engine is the backend's from here on, and is closed with it; on failure it is still the caller's.
 * returns  0 and *out; -ENOMEM */
KV_CHECKED int backend_tables_new(struct engine *engine, struct backend **out);

#endif
