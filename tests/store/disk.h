/* A disk whose power can be cut: what a log of writes (record_io.h) may have left in a file.
 *
 * Model
 *   - `durable` is what the disk surely has: everything before the last flush, and what was written with
 *     O_DSYNC since.
 *   - Everything else since the last flush is *pending*, with the write that is being made at the moment of the cut.
 *     Each page (4 KiB, what the system writes back at once) or each sector (512 bytes, what a disk writes at
 *     once) of the file has any one of the contents that it has had since it was last durable, whatever the
 *     others have: so writes are lost, reordered and torn.
 *   - The size is any one of those that the file has had since the last flush.
 *
 * A disk can be told to lie, to see that a test would find it out.
 */
#ifndef KVFS_TESTS_STORE_DISK_H
#define KVFS_TESTS_STORE_DISK_H

#include "tests/store/record_io.h"
#include "tests/support/store.h"

enum disk_kind {
    DISK_HONEST,
    DISK_DELAYS_DSYNC,   /* what was written with O_DSYNC is only durable after the next flush */
    DISK_IGNORES_FLUSHES /* nothing is ever durable */
};

struct disk {
    const struct record_io_log *log;
    enum disk_kind kind; /* may change with time */
    size_t position;     /* the events before it have happened */
    size_t flushed;      /* those before it are durable */
    uint64_t capacity, sectors;
    uint8_t *durable;
    uint64_t durable_size, size;
    size_t *since; /* of each sector: events before it are durable there */
    size_t *until; /* scratch: of each sector: events from there on are lost */
};

/* What becomes of what is pending. */
enum disk_loss {
    DISK_ALL,     /* it is lost */
    DISK_NOTHING, /* it is there */
    DISK_PAGES,   /* each page is as before or as after */
    DISK_SECTORS,
    DISK_PAGE_VERSIONS, /* each page is as it was at some time */
    DISK_SECTOR_VERSIONS,
    DISK_ONE_PAGE,         /* one page is lost */
    DISK_ALL_BUT_ONE_PAGE, /* one page is there */
    DISK_LOSSES
};
extern const char *const disk_loss_names[DISK_LOSSES];

/* An honest disk, at position 0. */
void disk_init(struct disk *disk, const struct record_io_log *log);
void disk_free(struct disk *disk);
/* Let events happen up to a position, which never goes back. */
void disk_advance(struct disk *disk, size_t position);
/* Cut the power. image: capacity bytes; returns the file's size */
uint64_t disk_cut(struct disk *disk, enum disk_loss loss, struct test_random *random, uint8_t *image);

#endif
