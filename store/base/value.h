/* Values: set-up and figures of the process's buffers. */
#ifndef KVFS_STORE_VALUE_H
#define KVFS_STORE_VALUE_H

#include "store/kv.h"

/* Where buffers go that memory has no room for, and how much room that is. For the whole process: the last
 * call wins, and counts for buffers made from then on.
 *
 * spill_dir     copied; make it absolute where the process changes directory. NULL: $TMPDIR, else /tmp
 * memory_bytes  0: 512 MiB, or a quarter of what the control groups let the process have; small values can take 64 MiB
 *               more, and reading 125 MiB, see value.c */
void value_configure(const char *spill_dir, size_t memory_bytes);
/* The directory is no place for buffers any more: from here on they go where they go without one, unless another one
 * was set since. */
void value_leave(const char *spill_dir);
/* The budget that this means. */
size_t value_budget(size_t memory_bytes);
/* The default one of a process that may take `limit` bytes of memory; at least 1. */
size_t value_budget_within(uint64_t limit);

/* kv_value_new() for what the central has: where memory is used up and nothing can spill (the disk is full), it takes
 * some more memory all the same. Reading must go on then, or nobody could make room. */
KV_CHECKED int value_new_to_read(size_t size, struct kv_value **out);

/* Bytes reserved by all live values, and the part of them that is in files. */
void value_usage(uint64_t *live_bytes, uint64_t *spilled_bytes);

#endif
