/* Pages that are damaged or that the disk cannot read. LMDB reads through a memory map and trusts what it finds: of a
 * damaged page it makes an assertion, which ends the process, or a wild address; a page that cannot be read is a
 * SIGBUS. A call that only reads leaves nothing half done when it is left in the middle: it holds no lock, and its
 * cursor is its caller's or on its own stack. So within such a call all three end the call, with MDB_CORRUPTED.
 * Everywhere else signals go to whoever had them before.
 *
 * A damaged page can make LMDB's search turn in a circle, too. So a call ends as well where a timer finds it twice: the
 * timer ticks each CALL_MS of its thread's processor time, which no sound call takes; a slow disk takes none. It costs
 * some system calls, so a scan has one for all its steps, and there is none once a verification has found the pages
 * sound. A scan that comes back to a page has keys that do not ascend.
 *
 * The caller goes on to read the record through the map, so all its pages are touched here first.
 *
 * Changes are not guarded: they write as they go, and their cursors, which the transaction's end still visits, are on
 * the stack that would be left. What a change reads on its way to a record the store has mostly read before it, by
 * guarded calls; the pages beside that way (a neighbour to merge with, the free list, the pages of a large record that
 * goes) it has not. But a damaged store is refused when it is opened for writing, as far as that looks
 * (kv_options.verify_pages).
 */
#include "store/lmdb/format_internal.h"
#include "store/lmdb/lmdb_internal.h"

#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    FREE_LIST = 0, /* LMDB's number for it */
    /* Bytes: beyond any record. LMDB looks where a page begins, not where a value ends. The map reaches further behind
     * the last page than this and the largest node (widen_map(), RESERVE_LEAST), so that no value can end in other
     * memory of the process. */
    VALUE_MOST = 1 << 20,
    TOUCHED = 4096, /* not more than a page of any machine */
    CALL_MS = 100   /* of processor time that a call may take */
};

static _Thread_local jmp_buf *guard; /* of the call under way; NULL: it cannot be left */
static _Thread_local volatile unsigned guard_call,
    guard_tick; /* its number, and that of the one at the last tick */
static pthread_mutex_t installing = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction others[2]; /* who had SIGSEGV and SIGBUS before */
static _Atomic bool trusted;       /* a verification found nothing, since an environment was opened last */

void lmdb_guard_trust(bool sound) { trusted = sound; }

static void on_assertion(MDB_env *env, const char *message)
{
    (void)env;
    (void)message;
    if (guard != NULL)
        longjmp(*guard, 1);
}

static void leave(int signal)
{
    sigset_t set;

    sigemptyset(&set); /* a sanitizer's handler around this one may have it blocked */
    sigaddset(&set, signal);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    longjmp(*guard, 1);
}

static void on_time(int signal)
{
    if (guard == NULL)
        return;
    if (guard_tick == guard_call)
        leave(signal);
    guard_tick = guard_call;
}

static void on_fault(int signal)
{
    if (guard != NULL)
        leave(signal);
    /* The access is made again, and then it is theirs. */
    sigaction(signal, &others[signal == SIGBUS], NULL);
}

static void install(int signal)
{
    struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER | SA_ONSTACK}, other;

    sigemptyset(&action.sa_mask);
    sigaction(signal, NULL, &other);
    if (other.sa_handler == on_fault)
        return;
    others[signal == SIGBUS] = other;
    sigaction(signal, &action, NULL);
}

int lmdb_guard(MDB_env *env)
{
    struct sigaction time = {.sa_handler = on_time, .sa_flags = SA_NODEFER | SA_ONSTACK | SA_RESTART};

    sigemptyset(&time.sa_mask);
    lmdb_guard_trust(false); /* it is another file */
    pthread_mutex_lock(&installing);
    install(SIGSEGV);
    install(SIGBUS);
    sigaction(SIGVTALRM, &time, NULL);
    pthread_mutex_unlock(&installing);
    return mdb_env_set_assert(env, on_assertion);
}

void lmdb_watch_begin(struct lmdb_watch *watch)
{
    const struct timespec call = {.tv_nsec = CALL_MS * 1000000};
    const struct itimerspec time = {call, call};
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGVTALRM};

    watch->on = !trusted;
    if (!watch->on)
        return;
    event._sigev_un._tid = gettid(); /* sigev_notify_thread_id, which glibc has no name for */
    watch->on = timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &watch->timer) == 0;
    if (watch->on)
        (void)timer_settime(watch->timer, 0, &time, NULL); /* there is one, so it can be set */
}

void lmdb_watch_end(struct lmdb_watch *watch)
{
    if (watch->on)
        timer_delete(watch->timer);
}

/* `call` sets rc, which is volatile: what changes between setjmp() and longjmp() must not be in a register. */
#define GUARDED(rc, call)         \
    do {                          \
        jmp_buf here;             \
                                  \
        guard_call++;             \
        guard = &here;            \
        if (setjmp(here) == 0)    \
            (rc) = (call);        \
        else                      \
            (rc) = MDB_CORRUPTED; \
        guard = NULL;             \
    } while (0)

#define WATCHED(rc, call)         \
    do {                          \
        struct lmdb_watch watch;  \
                                  \
        lmdb_watch_begin(&watch); \
        GUARDED(rc, call);        \
        lmdb_watch_end(&watch);   \
    } while (0)

static void touch(const MDB_val *bytes)
{
    const volatile uint8_t *at = bytes->mv_data;

    for (size_t i = 0; i < bytes->mv_size; i += TOUCHED)
        (void)at[i];
    if (bytes->mv_size > 0)
        (void)at[bytes->mv_size - 1];
}

static int get(MDB_txn *txn, MDB_dbi table, MDB_val *key, MDB_val *value)
{
    int rc;

    *value = (MDB_val){0};
    rc = mdb_get(txn, table, key, value);
    /* Of a page that has keys only, which no table here uses, LMDB fills in no value. */
    if (rc == 0 && (value->mv_data == NULL || value->mv_size > VALUE_MOST))
        return MDB_CORRUPTED;
    if (rc == 0)
        touch(value);
    return rc;
}

/* Does `next` come after `last` in the order of keys? The free list's are the machine's integers. */
static bool ascends(MDB_dbi table, const MDB_val *last, const MDB_val *next)
{
    size_t common = last->mv_size < next->mv_size ? last->mv_size : next->mv_size;
    int order;

    if (table == FREE_LIST && common == sizeof(uint64_t))
        return format_u64(last->mv_data) < format_u64(next->mv_data);
    order = memcmp(last->mv_data, next->mv_data, common);
    return order < 0 || (order == 0 && last->mv_size < next->mv_size);
}

static int step(MDB_cursor *cursor, MDB_val *key, MDB_val *value, MDB_cursor_op op)
{
    MDB_dbi table = mdb_cursor_dbi(cursor);
    MDB_val last = *key;
    int rc;

    *value = (MDB_val){0};
    rc = mdb_cursor_get(cursor, key, value, op);
    if (rc != 0)
        return rc;
    /* No key is longer; a damaged page can say so. */
    if (key->mv_size > ENGINE_KEY_MAX || value->mv_data == NULL ||
        (value->mv_size > VALUE_MOST && table != FREE_LIST))
        return MDB_CORRUPTED;
    if (op == MDB_NEXT && !ascends(table, &last, key))
        return MDB_CORRUPTED;
    touch(key);
    touch(value);
    return 0;
}

/* A table of another kind, with several values a key or another order, is none of this program's. */
static int open_table(MDB_txn *txn, const char *name, MDB_dbi *out)
{
    unsigned flags = 0;
    int rc = mdb_dbi_open(txn, name, 0, out);

    if (rc == 0)
        rc = mdb_dbi_flags(txn, *out, &flags);
    return rc == 0 && (flags & TREE_ORDER) != 0 ? MDB_CORRUPTED : rc;
}

int lmdb_guarded_open(MDB_txn *txn, const char *name, MDB_dbi *out)
{
    volatile int rc;

    WATCHED(rc, open_table(txn, name, out));
    return rc;
}

int lmdb_guarded_get(MDB_txn *txn, MDB_dbi table, MDB_val *key, MDB_val *value)
{
    volatile int rc;

    WATCHED(rc, get(txn, table, key, value));
    return rc;
}

int lmdb_guarded_step(MDB_cursor *cursor, MDB_val *key, MDB_val *value, MDB_cursor_op op)
{
    volatile int rc;

    GUARDED(rc, step(cursor, key, value, op));
    return rc;
}
