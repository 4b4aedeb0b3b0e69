/* What fuzz targets share.
 *
 * A target is one file fuzz_WHAT.c with LLVMFuzzerTestOneInput(). It takes its input apart as a program: each
 * field is read from the front, and what is missing at the end is zeros, so that every input means something. It means
 * the same with every compiler: no two arguments of one call read from it.
 * Whatever must hold is a FUZZ_CHECK(), which aborts.
 */
#ifndef KVFS_TESTS_FUZZ_FUZZ_H
#define KVFS_TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What libFuzzer, or driver.c, calls. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Say what did not hold, and abort. */
#define FUZZ_CHECK(condition)                          \
    do {                                               \
        if (!(condition))                              \
            fuzz_fail(__FILE__, __LINE__, #condition); \
    } while (0)
_Noreturn void fuzz_fail(const char *file, int line, const char *condition);

struct fuzz_input {
    const uint8_t *at;
    size_t left;
};

uint8_t fuzz_u8(struct fuzz_input *in);
uint16_t fuzz_u16(struct fuzz_input *in);
uint64_t fuzz_u64(struct fuzz_input *in);
/* 0 .. below - 1 (below <= 256) */
unsigned fuzz_below(struct fuzz_input *in, unsigned below);
/* Up to `size` bytes, borrowed; *got says how many there were. */
const uint8_t *fuzz_bytes(struct fuzz_input *in, size_t size, size_t *got);

/* A heap copy without a byte to spare, so that a sanitizer sees a read behind its end; to be freed. */
void *fuzz_copy(const void *bytes, size_t size);

/* Symbols of keys, 63 of them in byte order. */
extern const char fuzz_symbols[];

/* What a call writes to standard error. The sanitizers' reports go to the real one. */
void fuzz_capture_begin(void);
/* returns  a text, borrowed until the next call; *size without its NUL */
const char *fuzz_capture_end(size_t *size);

/* The text is one line of words: "kvctl: ...\n". */
void fuzz_check_error_line(const char *text, size_t size);

/* The text is one or more of such lines. */
void fuzz_check_error_lines(const char *text, size_t size);

/* A directory of this process, in memory where there is such a place, removed at the exit. */
const char *fuzz_dir(void);
/* Remove what is below a directory. */
void fuzz_empty_dir(const char *dir);

#endif
