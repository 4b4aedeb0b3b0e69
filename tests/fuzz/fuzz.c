#include "tests/fuzz/fuzz.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void __sanitizer_set_report_fd(void *fd) __attribute__((weak));

const char fuzz_symbols[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

static int captured_fd = -1, stderr_fd = -1;

_Noreturn void fuzz_fail(const char *file, int line, const char *condition)
{
    if (stderr_fd >= 0)
        dup2(stderr_fd, STDERR_FILENO);
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
    abort();
}

uint8_t fuzz_u8(struct fuzz_input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++;
}

uint16_t fuzz_u16(struct fuzz_input *in)
{
    uint16_t low = fuzz_u8(in);

    return (uint16_t)(low | fuzz_u8(in) << 8);
}

uint64_t fuzz_u64(struct fuzz_input *in)
{
    uint64_t value = 0;

    for (int i = 0; i < 8; i++)
        value |= (uint64_t)fuzz_u8(in) << (8 * i);
    return value;
}

unsigned fuzz_below(struct fuzz_input *in, unsigned below) { return fuzz_u8(in) % below; }

const uint8_t *fuzz_bytes(struct fuzz_input *in, size_t size, size_t *got)
{
    const uint8_t *bytes = in->at;

    *got = size < in->left ? size : in->left;
    in->at += *got;
    in->left -= *got;
    return bytes;
}

void *fuzz_copy(const void *bytes, size_t size)
{
    void *copy = malloc(size);

    FUZZ_CHECK(copy != NULL || size == 0);
    if (size > 0)
        memcpy(copy, bytes, size);
    return copy;
}

/* ----------------------------------------------------------------- standard error */

static void start_capturing(void)
{
    captured_fd = memfd_create("stderr", MFD_CLOEXEC);
    stderr_fd = dup(STDERR_FILENO);
    FUZZ_CHECK(captured_fd >= 0 && stderr_fd >= 0);
    if (__sanitizer_set_report_fd != NULL && getenv("KVFS_TEST_RUN") == NULL) /* tests have a log_path */
        __sanitizer_set_report_fd((void *)(intptr_t)stderr_fd);
}

void fuzz_capture_begin(void)
{
    if (captured_fd < 0)
        start_capturing();
    FUZZ_CHECK(ftruncate(captured_fd, 0) == 0 && lseek(captured_fd, 0, SEEK_SET) == 0);
    FUZZ_CHECK(dup2(captured_fd, STDERR_FILENO) == STDERR_FILENO);
}

const char *fuzz_capture_end(size_t *size)
{
    static char text[8192];
    ssize_t got;

    FUZZ_CHECK(dup2(stderr_fd, STDERR_FILENO) == STDERR_FILENO);
    got = pread(captured_fd, text, sizeof(text) - 1, 0);
    FUZZ_CHECK(got >= 0);
    text[got] = '\0';
    *size = (size_t)got;
    return text;
}

void fuzz_check_error_line(const char *text, size_t size)
{
    static const char prefix[] = "kvctl: ";

    FUZZ_CHECK(size > sizeof(prefix) && strncmp(text, prefix, sizeof(prefix) - 1) == 0);
    FUZZ_CHECK(text[size - 1] == '\n');
    for (size_t i = 0; i + 1 < size; i++)
        FUZZ_CHECK((unsigned char)text[i] >= ' ' && text[i] != 0x7f);
}

void fuzz_check_error_lines(const char *text, size_t size)
{
    const char *end = text + size;

    FUZZ_CHECK(size > 0);
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));

        FUZZ_CHECK(newline != NULL);
        fuzz_check_error_line(text, (size_t)(newline + 1 - text));
        text = newline + 1;
    }
}

/* ---------------------------------------------------------------------- directories */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    if (where->level > 0)
        FUZZ_CHECK(remove(path) == 0);
    return 0;
}

void fuzz_empty_dir(const char *dir) { FUZZ_CHECK(nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0); }

static char dir_name[64];

static void remove_dir(void)
{
    fuzz_empty_dir(dir_name);
    rmdir(dir_name);
}

const char *fuzz_dir(void)
{
    if (dir_name[0] == '\0') {
        snprintf(dir_name, sizeof(dir_name), "%s/kvfs-fuzz-XXXXXX",
                 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        FUZZ_CHECK(mkdtemp(dir_name) != NULL);
        atexit(remove_dir);
    }
    return dir_name;
}
