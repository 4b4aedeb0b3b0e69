/* A disk whose power can be cut: what recorded writes (record_io.h) may have left in the files of a store.
 *
 * Model, of each file for itself
 *   - `durable` is what the disk surely has: everything before the last flush of the file, and what was written with
 *     O_DSYNC since.
 *   - Everything else since that flush is *pending*, with the write that is being made at the moment of the cut.
 *     Each page (4 KiB, what the system writes back at once) or each sector (512 bytes, what a disk writes at
 *     once) of the file has any one of the contents that it has had since it was last durable, whatever the
 *     others have: so writes are lost, reordered and torn.
 *   - The size is any one of those that the file has had since its last flush.
 *
 * A disk can be told to ignore flushes, to see that a test would find it out.
 */
#ifndef KVFS_TESTS_STORE_DISK_H
#define KVFS_TESTS_STORE_DISK_H

#include "tests/store/record_io.h"
#include "tests/support/store.h"

struct disk_file {
    enum record_io_file file;
    bool ignores_flushes; /* nothing is ever durable; may change with time */
    size_t flushed;       /* events before it are durable */
    uint64_t capacity, sectors;
    uint8_t *durable;
    uint64_t durable_size, size;
    size_t *since; /* of each sector: events before it are durable there */
    size_t *until; /* scratch: of each sector: events from there on are lost */
};

struct disk {
    const struct record_io_log *log;
    size_t position; /* the events before it have happened */
    struct disk_file files[RECORD_IO_FILES];
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

/* A disk at position 0. */
void disk_init(struct disk *disk, const struct record_io_log *log);
void disk_free(struct disk *disk);
/* Let events happen up to a position, which never goes back. */
void disk_advance(struct disk *disk, size_t position);
/* Cut the power: what a file has then. image: its capacity bytes; returns the file's size */
uint64_t disk_cut(struct disk *disk, enum record_io_file file, enum disk_loss loss, struct test_random *random,
                  uint8_t *image);

#endif
