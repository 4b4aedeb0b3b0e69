/* Engines that only tests use: tables in memory, and one that fails on demand around any other. */
#ifndef KVFS_TESTS_SUPPORT_ENGINES_H
#define KVFS_TESTS_SUPPORT_ENGINES_H

#include "store/base/engine.h"
#include "store/lmdb/lmdb.h"
#include "store/tables/tables.h"

/* Ordered tables in memory, for tests. Commits are instant; nothing is kept. */
KV_CHECKED int engine_memory_open(struct engine **out);
/* Another memory engine that begins with what this one has committed. Costs nothing: they share what is the same. */
KV_CHECKED int engine_memory_copy(struct engine *from, struct engine **out);

/* A backend over an engine, which is its own from here on: for kv_options. No memory ends the test. */
struct backend *test_backend(struct engine *engine);

/* Fault engine: passes every call on to `inner`, which it owns, and fails or delays on demand. */
enum engine_call {
    ENGINE_BEGIN_READ,
    ENGINE_BEGIN_WRITE,
    ENGINE_GET,
    ENGINE_SCAN,
    ENGINE_PUT,
    ENGINE_DEL,
    ENGINE_COMMIT,      /* fails before the commit: nothing is kept */
    ENGINE_COMMIT_LOST, /* the commit happens, its answer is lost */
    ENGINE_ROOM,
    ENGINE_FLUSH, /* fails before the flush */
    ENGINE_ANY,   /* but a flush */
    ENGINE_CALLS
};
KV_CHECKED int engine_fault_open(struct engine *inner, struct engine **out);
/* Let the `countdown`-th next call of this kind (1: the very next), and `times` - 1 further ones,
 * answer rc. times 0 disarms. A failed write call leaves inner's transaction abortable only. */
void engine_fault_arm(struct engine *engine, enum engine_call call, unsigned countdown, unsigned times, int rc);
/* Sleep before each call of this kind. */
void engine_fault_delay(struct engine *engine, enum engine_call call, unsigned delay_ms);
/* Let calls of this kind (not ENGINE_ANY) wait before they are made, until hold is false. */
void engine_fault_hold(struct engine *engine, enum engine_call call, bool hold);
/* Wait until that many calls of this kind have begun since the engine was opened; those that are held count. */
void engine_fault_await(struct engine *engine, enum engine_call call, uint64_t calls);
/* Calls of this kind since the engine was opened (ENGINE_ANY: all but flushes). */
uint64_t engine_fault_calls(struct engine *engine, enum engine_call call);

#endif
