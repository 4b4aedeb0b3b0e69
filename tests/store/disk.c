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

static bool is_of(const struct record_io_event *event, const struct disk_file *file)
{
    return event->file == file->file;
}

/* The size of the file after an event of it. */
static uint64_t size_after(const struct record_io_event *event, uint64_t size)
{
    uint64_t end = end_of(event);

    if (event->kind == RECORD_IO_SIZE)
        return end;
    return (event->kind == RECORD_IO_WRITE || event->kind == RECORD_IO_GROW) && end > size ? end : size;
}

static void init_file(struct disk_file *file, const struct record_io_log *log)
{
    for (size_t i = 0; i < log->count; i++)
        if (is_of(&log->events[i], file) && end_of(&log->events[i]) > file->capacity)
            file->capacity = end_of(&log->events[i]);
    file->sectors = (file->capacity + PAGE - 1) / PAGE * SECTORS_OF_PAGE;
    file->capacity = file->sectors * SECTOR;
    file->durable = calloc(1, file->capacity);
    file->since = calloc(file->sectors, sizeof(*file->since));
    file->until = calloc(file->sectors, sizeof(*file->until));
    assert_true(file->durable != NULL && file->since != NULL && file->until != NULL);
}

void disk_init(struct disk *disk, const struct record_io_log *log)
{
    *disk = (struct disk){.log = log};
    for (int i = 0; i < RECORD_IO_FILES; i++) {
        disk->files[i].file = (enum record_io_file)i;
        init_file(&disk->files[i], log);
    }
}

void disk_free(struct disk *disk)
{
    for (int i = 0; i < RECORD_IO_FILES; i++) {
        free(disk->files[i].durable);
        free(disk->files[i].since);
        free(disk->files[i].until);
    }
}

/* Write the sectors of an event for which `until` is beyond it and that are not durable already. */
static void apply(const struct disk *disk, const struct disk_file *file, size_t number, const size_t *until,
                  uint8_t *bytes)
{
    const struct record_io_event *event = &disk->log->events[number];
    uint64_t end = event->at + event->size;

    if (event->kind != RECORD_IO_WRITE || !is_of(event, file))
        return;
    for (uint64_t sector = event->at / SECTOR; sector * SECTOR < end; sector++) {
        uint64_t from = sector * SECTOR, to = from + SECTOR;

        if (file->since[sector] > number || (until != NULL && until[sector] <= number))
            continue;
        from = from < event->at ? event->at : from;
        to = to > end ? end : to;
        memcpy(bytes + from, event->bytes + (from - event->at), to - from);
    }
}

static void flush(const struct disk *disk, struct disk_file *file)
{
    for (size_t i = file->flushed; i < disk->position; i++)
        apply(disk, file, i, NULL, file->durable);
    file->flushed = disk->position;
    file->durable_size = file->size;
}

/* A write with O_DSYNC takes along what its sectors had before. */
static void make_durable(const struct disk *disk, struct disk_file *file, const struct record_io_event *event)
{
    uint64_t first = event->at / SECTOR, end = (event->at + event->size + SECTOR - 1) / SECTOR;

    for (uint64_t sector = 0; sector < file->sectors; sector++)
        file->until[sector] = sector >= first && sector < end ? disk->position : 0;
    for (size_t i = file->flushed; i < disk->position; i++)
        apply(disk, file, i, file->until, file->durable);
    for (uint64_t sector = first; sector < end; sector++)
        file->since[sector] = disk->position;
    if (event->at + event->size > file->durable_size)
        file->durable_size = event->at + event->size;
}

void disk_advance(struct disk *disk, size_t position)
{
    while (disk->position < position) {
        const struct record_io_event *event = &disk->log->events[disk->position++];
        struct disk_file *file = &disk->files[event->file];

        file->size = size_after(event, file->size);
        if (event->kind == RECORD_IO_FLUSH && !file->ignores_flushes)
            flush(disk, file);
        if (event->kind == RECORD_IO_WRITE && event->durable && !file->ignores_flushes)
            make_durable(disk, file, event);
    }
}

/* ----------------------------------------------------------------------------- the cut */

static void set_page(struct disk_file *file, uint64_t page, size_t until)
{
    for (uint64_t i = 0; i < SECTORS_OF_PAGE; i++)
        file->until[page * SECTORS_OF_PAGE + i] = until;
}

/* Any page that a pending event wrote; 0 where none did. */
static uint64_t choose_page(const struct disk *disk, const struct disk_file *file, size_t end,
                            struct test_random *random)
{
    const struct record_io_event *event;

    if (end == file->flushed)
        return 0;
    event = &disk->log->events[file->flushed + test_random_below(random, end - file->flushed)];
    if (event->kind != RECORD_IO_WRITE || !is_of(event, file))
        return 0;
    return (event->at + test_random_below(random, event->size)) / PAGE;
}

/* Fill in `until`. */
static void choose(const struct disk *disk, struct disk_file *file, enum disk_loss loss, size_t end,
                   struct test_random *random)
{
    bool sectors = loss == DISK_SECTORS || loss == DISK_SECTOR_VERSIONS;
    size_t kept_of_8 = 1 + test_random_below(random, 7), until = end;

    for (uint64_t i = 0; i < file->sectors; i++) {
        if (sectors || i % SECTORS_OF_PAGE == 0) {
            if (loss == DISK_PAGES || loss == DISK_SECTORS)
                until = test_random_below(random, 8) < kept_of_8 ? end : file->flushed;
            else if (loss == DISK_PAGE_VERSIONS || loss == DISK_SECTOR_VERSIONS)
                until = file->flushed + test_random_below(random, end - file->flushed + 1);
            else
                until = loss == DISK_ALL || loss == DISK_ALL_BUT_ONE_PAGE ? file->flushed : end;
        }
        file->until[i] = until;
    }
    if ((loss == DISK_ONE_PAGE || loss == DISK_ALL_BUT_ONE_PAGE) && file->sectors > 0)
        set_page(file, choose_page(disk, file, end, random), loss == DISK_ONE_PAGE ? file->flushed : end);
}

/* The size after any of the pending events. */
static uint64_t choose_size(const struct disk *disk, const struct disk_file *file, enum disk_loss loss, size_t end,
                            struct test_random *random)
{
    uint64_t size = file->durable_size;
    size_t until = end;

    if (loss == DISK_ALL)
        return size;
    if (loss != DISK_NOTHING)
        until = file->flushed + test_random_below(random, end - file->flushed + 1);
    for (size_t i = file->flushed; i < until; i++)
        if (is_of(&disk->log->events[i], file))
            size = size_after(&disk->log->events[i], size);
    return size;
}

uint64_t disk_cut(struct disk *disk, enum record_io_file number, enum disk_loss loss, struct test_random *random,
                  uint8_t *image)
{
    struct disk_file *file = &disk->files[number];
    const struct record_io_log *log = disk->log;
    size_t end = disk->position;
    uint64_t size;

    /* The write at which the power went. */
    if (loss > DISK_NOTHING && end < log->count && log->events[end].kind == RECORD_IO_WRITE)
        end++;
    choose(disk, file, loss, end, random);
    size = choose_size(disk, file, loss, end, random);
    memcpy(image, file->durable, file->capacity);
    for (size_t i = file->flushed; i < end; i++)
        apply(disk, file, i, file->until, image);
    memset(image + size, 0, file->capacity - size);
    return size;
}
