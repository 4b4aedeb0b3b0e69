/* Pages of a database file, changed by somebody who knows LMDB's: headers, bounds, places of nodes, their sizes and
 * flags, numbers of pages, the free list. */
#ifndef KVFS_TESTS_FUZZ_PAGES_H
#define KVFS_TESTS_FUZZ_PAGES_H

#include "tests/fuzz/fuzz.h"

enum { PAGE = 4096 };

struct pages {
    uint8_t *now; /* NULL before pages_take() */
    size_t count;
    /* Those that the input has changed. All others are as they were. */
    size_t touched[32];
    unsigned touched_count;
};
extern struct pages pages;

/* Read the file once, up to `size`. */
void pages_take(const char *path, size_t size);
/* Change some, as the input says. returns  whether anything is not as it was */
bool pages_damage(struct fuzz_input *in);
/* Make those that were touched what they were. They stay in the list. */
void pages_undo(void);

#endif
