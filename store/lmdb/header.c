/* The two headers of data.mdb, looked at before LMDB is. LMDB believes them: a page size of 0 is a division by it, one
 * with a high bit set an access far away, and so is a page behind the end of the file.
 *
 * Each commit writes the header that is not the newest: the one at its id modulo 2. So one of them can be half
 * written while it is read here; then it is read again. */
#include "store/lmdb/format_internal.h"
#include "store/lmdb/lmdb_internal.h"

#include <errno.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { HEADER_TRIES = 100 }; /* a millisecond each */

struct header {
    uint32_t magic, version, page_size;
    uint16_t page_flags;
    uint64_t last, txn;
    const uint8_t *trees;
    uint8_t bytes[META_SIZE];
};

/* returns  0; MDB_INVALID the file ends before it, or cannot be read */
static int header_read(int fd, uint64_t offset, struct header *out)
{
    if (pread(fd, out->bytes, META_SIZE, (off_t)offset) != META_SIZE)
        return MDB_INVALID;
    out->page_flags = format_u16(out->bytes + 10);
    out->magic = format_u32(out->bytes + META_MAGIC);
    out->version = format_u32(out->bytes + META_VERSION);
    out->page_size = format_u32(out->bytes + META_PAGE_SIZE);
    out->trees = out->bytes + META_TREES;
    out->last = format_u64(out->bytes + META_LAST);
    out->txn = format_u64(out->bytes + META_TXN);
    return 0;
}

/* What is wrong with one of a header's trees; NULL: nothing. */
static const char *header_tree_wrong(const struct header *header, unsigned number)
{
    const uint8_t *tree = header->trees + number * TREE_SIZE;
    uint16_t flags = format_u16(tree + TREE_FLAGS), depth = format_u16(tree + TREE_DEPTH);
    uint64_t entries = format_u64(tree + TREE_ENTRIES), root = format_u64(tree + TREE_ROOT);

    if ((flags & TREE_ORDER) != (number == 0 ? TREE_INTEGER_KEYS : 0))
        return "a tree of a kind that is not used here";
    if (root == ROOT_NONE)
        return entries == 0 && depth == 0 ? NULL : "a tree with records and no pages";
    if (root < 2 || root > header->last || depth < 1 || depth > DEPTH_MAX)
        return "a tree whose first page is not there";
    return NULL;
}

/* What is wrong with the header at place 0 or 1; NULL: nothing. */
static const char *header_wrong(const struct header *header, unsigned place)
{
    const char *wrong;

    if (header->page_size < PAGE_SIZE_LEAST || header->page_size > PAGE_SIZE_MOST ||
        (header->page_size & (header->page_size - 1)) != 0)
        return "a page size that is no power of two from 4096 to 32768";
    if (header->last < 1 || header->last > INT64_MAX / PAGE_SIZE_MOST)
        return "a last page that no file can have";
    if (header->txn >= INT64_MAX || header->txn % 2 != place)
        return "the number of another transaction";
    wrong = header_tree_wrong(header, 0);
    if (wrong == NULL)
        wrong = header_tree_wrong(header, 1);
    return wrong;
}

/* Read one header, and see whether it is LMDB's and can be true. */
static int header_get(int fd, const char *dir, unsigned place, uint64_t offset, struct header *out,
                      struct kv_error *error)
{
    const char *wrong;
    int rc = header_read(fd, offset, out);

    if (rc == 0 && ((out->page_flags & PAGE_META) == 0 || out->magic != FORMAT_MAGIC))
        rc = MDB_INVALID;
    if (rc == 0 && out->version != FORMAT_VERSION)
        rc = MDB_VERSION_MISMATCH;
    if (rc != 0)
        return lmdb_refuse_answer(error, dir, rc);
    wrong = header_wrong(out, place);
    if (wrong == NULL && offset > 0 && out->page_size != offset)
        wrong = "another page size than the first";
    if (wrong == NULL)
        return 0;
    return lmdb_refuse(error, -EIO, dir, "header %u of data.mdb is damaged (it has %s): restore it from a copy",
                       place, wrong);
}

/* Look once. */
static int header_check(int fd, const char *dir, struct header headers[2], struct kv_error *error)
{
    struct stat file;
    uint64_t used;
    int rc = header_get(fd, dir, 0, 0, &headers[0], error);

    if (rc == 0)
        rc = header_get(fd, dir, 1, headers[0].page_size, &headers[1], error);
    if (rc < 0)
        return rc;
    /* A file is made longer before the header says so: so its size is asked for last. */
    if (fstat(fd, &file) != 0)
        return lmdb_refuse_answer(error, dir, errno);
    used = (headers[0].last > headers[1].last ? headers[0].last : headers[1].last) + 1;
    used *= headers[0].page_size;
    if ((uint64_t)file.st_size < used)
        return lmdb_refuse(error, -EIO, dir,
                           "data.mdb was cut off (%llu of %llu bytes are there): restore it from a copy",
                           (unsigned long long)file.st_size, (unsigned long long)used);
    return 0;
}

int lmdb_check_header(int fd, const char *dir, struct kv_error *error)
{
    const struct timespec nap = {.tv_nsec = 1000000};
    struct header headers[2] = {0}, before[2];
    int rc = header_check(fd, dir, headers, error);

    /* What does not change is not being written. */
    for (int tries = 1; rc < 0 && tries < HEADER_TRIES; tries++) {
        memcpy(before, headers, sizeof(before));
        nanosleep(&nap, NULL);
        rc = header_check(fd, dir, headers, error);
        if (memcmp(before[0].bytes, headers[0].bytes, META_SIZE) == 0 &&
            memcmp(before[1].bytes, headers[1].bytes, META_SIZE) == 0)
            break;
    }
    return rc;
}
