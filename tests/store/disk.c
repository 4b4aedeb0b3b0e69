#include "tests/store/disk.h"

#include <stdlib.h>

enum { SECTOR = 512, PAGE = 4096, SECTORS_OF_PAGE = PAGE / SECTOR };

const char *const disk_loss_names[DISK_LOSSES] = {
    "all is lost",           "nothing is lost",          "some pages are lost",
    "some sectors are lost", "pages of different times", "sectors of different times",
    "one page is lost",      "all but one page is lost",
};

static uint64_t end_of(const struct record_io_event *event)
{
    return event->kind == RECORD_IO_WRITE ? event->at + event->size : event->at;
}

/* The size of the file after an event. */
static uint64_t size_after(const struct record_io_event *event, uint64_t size)
{
    uint64_t end = end_of(event);

    if (event->kind == RECORD_IO_SIZE)
        return end;
    return (event->kind == RECORD_IO_WRITE || event->kind == RECORD_IO_GROW) && end > size ? end : size;
}

void disk_init(struct disk *disk, const struct record_io_log *log)
{
    *disk = (struct disk){.log = log};
    for (size_t i = 0; i < log->count; i++)
        if (end_of(&log->events[i]) > disk->capacity)
            disk->capacity = end_of(&log->events[i]);
    disk->sectors = (disk->capacity + PAGE - 1) / PAGE * SECTORS_OF_PAGE;
    disk->capacity = disk->sectors * SECTOR;
    disk->durable = calloc(1, disk->capacity);
    disk->since = calloc(disk->sectors, sizeof(*disk->since));
    disk->until = calloc(disk->sectors, sizeof(*disk->until));
    assert_true(disk->durable != NULL && disk->since != NULL && disk->until != NULL);
}

void disk_free(struct disk *disk)
{
    free(disk->durable);
    free(disk->since);
    free(disk->until);
}

/* Write the sectors of an event for which `until` is beyond it and that are not durable already. */
static void apply(const struct disk *disk, size_t number, const size_t *until, uint8_t *file)
{
    const struct record_io_event *event = &disk->log->events[number];
    uint64_t end = event->at + event->size;

    if (event->kind != RECORD_IO_WRITE)
        return;
    for (uint64_t sector = event->at / SECTOR; sector * SECTOR < end; sector++) {
        uint64_t from = sector * SECTOR, to = from + SECTOR;

        if (disk->since[sector] > number || (until != NULL && until[sector] <= number))
            continue;
        from = from < event->at ? event->at : from;
        to = to > end ? end : to;
        memcpy(file + from, event->bytes + (from - event->at), to - from);
    }
}

static void flush(struct disk *disk)
{
    for (size_t i = disk->flushed; i < disk->position; i++)
        apply(disk, i, NULL, disk->durable);
    disk->flushed = disk->position;
    disk->durable_size = disk->size;
}

/* A write with O_DSYNC takes along what its sectors had before. */
static void make_durable(struct disk *disk, const struct record_io_event *event)
{
    uint64_t first = event->at / SECTOR, end = (event->at + event->size + SECTOR - 1) / SECTOR;

    for (uint64_t sector = 0; sector < disk->sectors; sector++)
        disk->until[sector] = sector >= first && sector < end ? disk->position : 0;
    for (size_t i = disk->flushed; i < disk->position; i++)
        apply(disk, i, disk->until, disk->durable);
    for (uint64_t sector = first; sector < end; sector++)
        disk->since[sector] = disk->position;
    if (event->at + event->size > disk->durable_size)
        disk->durable_size = event->at + event->size;
}

void disk_advance(struct disk *disk, size_t position)
{
    while (disk->position < position) {
        const struct record_io_event *event = &disk->log->events[disk->position++];

        disk->size = size_after(event, disk->size);
        if (event->kind == RECORD_IO_FLUSH && disk->kind != DISK_IGNORES_FLUSHES)
            flush(disk);
        if (event->kind == RECORD_IO_WRITE && event->durable && disk->kind == DISK_HONEST)
            make_durable(disk, event);
    }
}

/* ----------------------------------------------------------------------------- the cut */

static void set_page(struct disk *disk, uint64_t page, size_t until)
{
    for (uint64_t i = 0; i < SECTORS_OF_PAGE; i++)
        disk->until[page * SECTORS_OF_PAGE + i] = until;
}

/* Any page that a pending event wrote; 0 where none did. */
static uint64_t choose_page(const struct disk *disk, size_t end, struct test_random *random)
{
    const struct record_io_event *event;

    if (end == disk->flushed)
        return 0;
    event = &disk->log->events[disk->flushed + test_random_below(random, end - disk->flushed)];
    if (event->kind != RECORD_IO_WRITE)
        return 0;
    return (event->at + test_random_below(random, event->size)) / PAGE;
}

/* Fill in `until`. */
static void choose(struct disk *disk, enum disk_loss loss, size_t end, struct test_random *random)
{
    bool sectors = loss == DISK_SECTORS || loss == DISK_SECTOR_VERSIONS;
    size_t kept_of_8 = 1 + test_random_below(random, 7), until = end;

    for (uint64_t i = 0; i < disk->sectors; i++) {
        if (sectors || i % SECTORS_OF_PAGE == 0) {
            if (loss == DISK_PAGES || loss == DISK_SECTORS)
                until = test_random_below(random, 8) < kept_of_8 ? end : disk->flushed;
            else if (loss == DISK_PAGE_VERSIONS || loss == DISK_SECTOR_VERSIONS)
                until = disk->flushed + test_random_below(random, end - disk->flushed + 1);
            else
                until = loss == DISK_ALL || loss == DISK_ALL_BUT_ONE_PAGE ? disk->flushed : end;
        }
        disk->until[i] = until;
    }
    if (loss == DISK_ONE_PAGE || loss == DISK_ALL_BUT_ONE_PAGE)
        set_page(disk, choose_page(disk, end, random), loss == DISK_ONE_PAGE ? disk->flushed : end);
}

/* The size after any of the pending events. */
static uint64_t choose_size(const struct disk *disk, enum disk_loss loss, size_t end, struct test_random *random)
{
    uint64_t size = disk->durable_size;
    size_t until = end;

    if (loss == DISK_ALL)
        return size;
    if (loss != DISK_NOTHING)
        until = disk->flushed + test_random_below(random, end - disk->flushed + 1);
    for (size_t i = disk->flushed; i < until; i++)
        size = size_after(&disk->log->events[i], size);
    return size;
}

uint64_t disk_cut(struct disk *disk, enum disk_loss loss, struct test_random *random, uint8_t *image)
{
    const struct record_io_log *log = disk->log;
    size_t end = disk->position;
    uint64_t size;

    /* The write at which the power went. */
    if (loss > DISK_NOTHING && end < log->count && log->events[end].kind == RECORD_IO_WRITE)
        end++;
    choose(disk, loss, end, random);
    size = choose_size(disk, loss, end, random);
    memcpy(image, disk->durable, disk->capacity);
    for (size_t i = disk->flushed; i < end; i++)
        apply(disk, i, disk->until, image);
    memset(image + size, 0, disk->capacity - size);
    return size;
}
