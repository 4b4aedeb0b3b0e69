/* Damaged pages: LMDB checks little of what it reads, and where it does it is by assertions, which end the process.
 * A call that only reads leaves nothing half done when it is left in the middle: it holds no lock, and its cursor
 * is its caller's or on its own stack. So an assertion in such a call ends that call, with MDB_CORRUPTED.
 */
#include "store/engine_lmdb.h"

#include <setjmp.h>

static _Thread_local jmp_buf *guard; /* of the call under way; NULL: it cannot be left */

static void on_assertion(MDB_env *env, const char *message)
{
    (void)env;
    (void)message;
    if (guard != NULL)
        longjmp(*guard, 1);
}

int lmdb_guard(MDB_env *env) { return mdb_env_set_assert(env, on_assertion); }

/* `call` sets rc. What it leaves behind must not be in a register. */
#define GUARDED(rc, call)         \
    do {                          \
        jmp_buf here;             \
                                  \
        guard = &here;            \
        if (setjmp(here) == 0)    \
            (rc) = (call);        \
        else                      \
            (rc) = MDB_CORRUPTED; \
        guard = NULL;             \
    } while (0)

int lmdb_guarded_open(MDB_txn *txn, const char *name, MDB_dbi *out)
{
    int rc;

    GUARDED(rc, mdb_dbi_open(txn, name, 0, out));
    return rc;
}

int lmdb_guarded_get(MDB_txn *txn, MDB_dbi table, MDB_val *key, MDB_val *value)
{
    int rc;

    GUARDED(rc, mdb_get(txn, table, key, value));
    return rc;
}

int lmdb_guarded_step(MDB_cursor *cursor, MDB_val *key, MDB_val *value, MDB_cursor_op op)
{
    int rc;

    GUARDED(rc, mdb_cursor_get(cursor, key, value, op));
    /* No key is longer; a damaged page can say so. */
    return rc == 0 && key->mv_size > ENGINE_KEY_MAX ? MDB_CORRUPTED : rc;
}
