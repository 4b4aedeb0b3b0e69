#include "store/lmdb/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define LOG_MAGIC 0x3330676f6c66766bull /* "kvflog03" */
#define LOG_RECORD_MAGIC 0x72656331u
#define LOG_SLOT_AT(number) ((off_t)((number)&1) * 4096)
#define LOG_FAILED_AT 8192
#define LOG_RING_AT ((off_t)12288)
#define LOG_STEP ((uint64_t)1 << 20)
#define LOG_ALIGN 8u
#define LOG_VALUE_KEPT 1024u /* bytes: the longest value that an incomplete record still has */
#define LOG_AT_ONCE 4096u    /* bytes: a record up to this is one call's */

/* All fields are 64 bits, so there is no padding; little or big endian, as LMDB's own file is. */
struct log_slot_bytes {
    uint64_t magic;
    struct log_slot slot;
    uint64_t checksum; /* of all before it */
};

struct log_header {
    uint32_t magic, flags;
    uint64_t seq, origin, size;
    uint64_t checkpoint;
    uint64_t checksum; /* of the fields before it and of the payload */
};

struct log_change_header {
    uint8_t table, removed, partial, spare;
    uint32_t key_size, value_size;
};

/* --------------------------------------------------------------------------- bytes */

static int log_write(int fd, const void *bytes, size_t size, off_t at)
{
    const uint8_t *from = bytes;

    while (size > 0) {
        ssize_t written = pwrite(fd, from, size, at);

        if (written < 0 && errno != EINTR)
            return errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? -ENOSPC : -EIO;
        if (written == 0)
            return -ENOSPC;
        if (written > 0) {
            from += written;
            at += written;
            size -= (size_t)written;
        }
    }
    return 0;
}

/* returns 0; -EIO, also where the file ends before */
static int log_load(int fd, void *bytes, size_t size, off_t at)
{
    uint8_t *to = bytes;

    while (size > 0) {
        ssize_t got = pread(fd, to, size, at);

        if (got == 0 || (got < 0 && errno != EINTR))
            return -EIO;
        if (got > 0) {
            to += got;
            at += got;
            size -= (size_t)got;
        }
    }
    return 0;
}

/* The part of `size` bytes at a position that lies before the ring's end. */
static size_t log_before_end(const struct log_slot *slot, uint64_t pos, size_t size)
{
    uint64_t left = slot->ring - pos % slot->ring;

    return left < size ? (size_t)left : size;
}

static off_t log_place(const struct log_slot *slot, uint64_t pos)
{
    return LOG_RING_AT + (off_t)(pos % slot->ring);
}

static int log_ring_write(int fd, const struct log_slot *slot, uint64_t pos, const void *bytes, size_t size)
{
    size_t first = log_before_end(slot, pos, size);
    int rc = log_write(fd, bytes, first, log_place(slot, pos));

    return rc == 0 && first < size ? log_write(fd, (const uint8_t *)bytes + first, size - first, LOG_RING_AT) : rc;
}

static int log_ring_load(int fd, const struct log_slot *slot, uint64_t pos, void *bytes, size_t size)
{
    size_t first = log_before_end(slot, pos, size);
    int rc = log_load(fd, bytes, first, log_place(slot, pos));

    return rc == 0 && first < size ? log_load(fd, (uint8_t *)bytes + first, size - first, LOG_RING_AT) : rc;
}

/* ------------------------------------------------------------------------ checkpoints */

static uint64_t log_slot_checksum(const struct log_slot_bytes *bytes)
{
    return XXH3_64bits(bytes, offsetof(struct log_slot_bytes, checksum));
}

static bool log_slot_is_valid(const struct log_slot_bytes *bytes)
{
    const struct log_slot *slot = &bytes->slot;

    return bytes->magic == LOG_MAGIC && bytes->checksum == log_slot_checksum(bytes) && slot->ring >= LOG_STEP &&
           slot->ring % LOG_STEP == 0;
}

int log_slot_read(int fd, struct log_slot *out)
{
    struct log_slot_bytes slots[2];
    int newest = -1;

    for (int i = 0; i < 2; i++) {
        int rc = log_load(fd, &slots[i], sizeof(slots[i]), LOG_SLOT_AT(i));

        if (rc < 0)
            return rc;
        if (log_slot_is_valid(&slots[i]) && (newest < 0 || slots[i].slot.number > slots[newest].slot.number))
            newest = i;
    }
    if (newest < 0)
        return -EIO;
    *out = slots[newest].slot;
    return 0;
}

int log_slot_write(int fd, const struct log_slot *slot)
{
    struct log_slot_bytes bytes = {.magic = LOG_MAGIC, .slot = *slot};

    bytes.checksum = log_slot_checksum(&bytes);
    return log_write(fd, &bytes, sizeof(bytes), LOG_SLOT_AT(slot->number));
}

static int log_write_mark(int fd, uint64_t mark) { return log_write(fd, &mark, sizeof(mark), LOG_FAILED_AT); }

/* Where it cannot be written, the flush that failed has still ended this process's changes. */
void log_fail(int fd) { (void)!log_write_mark(fd, 1); }

int log_unfail(int fd) { return log_write_mark(fd, 0); }

bool log_has_failed(int fd)
{
    uint64_t mark = 0;

    return log_load(fd, &mark, sizeof(mark), LOG_FAILED_AT) < 0 || mark != 0;
}

/* Write zeros from one position of the first lap up to another. */
static int log_clear(int fd, uint64_t from, uint64_t to)
{
    static const uint8_t zeros[65536];
    int rc = 0;

    for (; rc == 0 && from < to; from += sizeof(zeros))
        rc = log_write(fd, zeros, to - from < sizeof(zeros) ? (size_t)(to - from) : sizeof(zeros),
                       LOG_RING_AT + (off_t)from);
    return rc;
}

int log_create(int dir_fd, const char *name, const struct log_slot *first, int *out)
{
    uint64_t size = (uint64_t)LOG_RING_AT + first->ring;
    int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600), rc;

    if (fd < 0)
        return -errno;
    (void)fchmod(fd, 0600); /* whatever the umask is */
    do
        rc = fallocate(fd, 0, 0, (off_t)size) == 0 ? 0 : -errno;
    while (rc == -EINTR);
    if (rc == -EOPNOTSUPP || rc == -ENOSYS) /* then its blocks are those that are written */
        rc = log_clear(fd, 0, first->ring);
    if (rc == 0)
        rc = log_clear(fd, 0, LOG_STEP);
    if (rc == 0)
        rc = log_unfail(fd);
    if (rc == 0)
        rc = log_slot_write(fd, first);
    if (rc == 0 && fsync(fd) != 0)
        rc = -EIO;
    if (rc < 0) {
        close(fd);
        unlinkat(dir_fd, name, 0);
        return rc;
    }
    *out = fd;
    return 0;
}

/* --------------------------------------------------------------------------- records */

uint64_t log_record_size(size_t payload)
{
    uint64_t size = sizeof(struct log_header) + payload;

    return (size + LOG_ALIGN - 1) / LOG_ALIGN * LOG_ALIGN;
}

static uint64_t log_checksum(const struct log_slot *slot, const struct log_header *header, const void *payload)
{
    uint64_t of_payload = XXH3_64bits_withSeed(header->size > 0 ? payload : "", header->size, slot->salt);

    return XXH3_64bits_withSeed(header, offsetof(struct log_header, checksum), of_payload);
}

/* In the first lap, see to it that the bytes up to a position were written before they are flushed as a record. */
static int log_clear_ahead(int fd, const struct log_slot *slot, uint64_t pos, uint64_t end)
{
    uint64_t from = (pos / LOG_STEP + 1) * LOG_STEP, to = (end / LOG_STEP + 1) * LOG_STEP;

    if (to > slot->ring)
        to = slot->ring;
    return from < to ? log_clear(fd, from, to) : 0;
}

int log_append(int fd, const struct log_slot *slot, uint64_t pos, uint64_t seq, uint64_t origin, uint32_t flags,
               struct slice payload)
{
    struct log_header header = {.magic = LOG_RECORD_MAGIC,
                                .flags = flags,
                                .seq = seq,
                                .origin = origin,
                                .size = payload.size,
                                .checkpoint = slot->number};
    uint8_t both[LOG_AT_ONCE];
    int rc = log_clear_ahead(fd, slot, pos, pos + log_record_size(payload.size));

    header.checksum = log_checksum(slot, &header, payload.data);
    if (rc == 0 && sizeof(header) + payload.size <= sizeof(both)) {
        memcpy(both, &header, sizeof(header));
        if (payload.size > 0)
            memcpy(both + sizeof(header), payload.data, payload.size);
        return log_ring_write(fd, slot, pos, both, sizeof(header) + payload.size);
    }
    if (rc == 0)
        rc = log_ring_write(fd, slot, pos + sizeof(header), payload.data, payload.size);
    return rc == 0 ? log_ring_write(fd, slot, pos, &header, sizeof(header)) : rc;
}

int log_erase(int fd, const struct log_slot *slot, uint64_t pos)
{
    static const struct log_header none;

    return log_ring_write(fd, slot, pos, &none, sizeof(none)) == 0 ? 0 : -EIO;
}

int log_read(int fd, const struct log_slot *slot, uint64_t pos, uint64_t seq, struct log_record *record)
{
    uint8_t first[LOG_AT_ONCE];
    const size_t most = sizeof(first) - sizeof(struct log_header);
    struct log_header header;
    int rc = log_ring_load(fd, slot, pos, first, sizeof(first));
    size_t got;

    if (rc < 0)
        return rc;
    memcpy(&header, first, sizeof(header));
    if (header.magic != LOG_RECORD_MAGIC || (seq != 0 && header.seq != seq) ||
        header.size > LOG_RECORD_MAX(slot->ring))
        return -ENOENT;
    if (header.size > record->room) {
        uint8_t *payload = realloc(record->payload, header.size);

        if (payload == NULL)
            return -ENOMEM;
        record->payload = payload;
        record->room = header.size;
    }
    got = header.size < most ? header.size : most;
    if (got > 0)
        memcpy(record->payload, first + sizeof(header), got);
    if (got < header.size)
        rc = log_ring_load(fd, slot, pos + sizeof(first), record->payload + got, header.size - got);
    if (rc < 0)
        return rc;
    if (header.checksum != log_checksum(slot, &header, record->payload))
        return -ENOENT;
    record->flags = header.flags;
    record->origin = header.origin;
    record->seq = header.seq;
    record->checkpoint = header.checkpoint;
    record->size = header.size;
    record->next = pos + log_record_size(header.size);
    return 0;
}

/* -------------------------------------------------------------------------- payloads */

void log_changes_clear(struct log_changes *changes, size_t most)
{
    *changes = (struct log_changes){.bytes = changes->bytes, .room = changes->room, .most = most};
}

static bool log_changes_fit(struct log_changes *changes, size_t size)
{
    size_t room = changes->room > 0 ? changes->room : 4096;
    uint8_t *bytes;

    if (changes->size + size > changes->most)
        return false;
    while (room < changes->size + size)
        room *= 2;
    if (room == changes->room)
        return true;
    bytes = realloc(changes->bytes, room);
    if (bytes == NULL) {
        changes->failed = true;
        return false;
    }
    changes->bytes = bytes;
    changes->room = room;
    return true;
}

static bool log_changes_write(struct log_changes *changes, const struct log_change *change)
{
    struct log_change_header header = {
        (uint8_t)change->table,      change->removed, change->partial, 0, (uint32_t)change->key.size,
        (uint32_t)change->value.size};

    if (!log_changes_fit(changes, sizeof(header) + change->key.size + change->value.size))
        return false;
    memcpy(changes->bytes + changes->size, &header, sizeof(header));
    changes->size += sizeof(header);
    memcpy(changes->bytes + changes->size, change->key.data, change->key.size);
    changes->size += change->key.size;
    if (change->value.size > 0)
        memcpy(changes->bytes + changes->size, change->value.data, change->value.size);
    changes->size += change->value.size;
    return true;
}

/* Add what an incomplete record has of a change. */
static bool log_changes_add_partly(struct log_changes *changes, struct log_change change)
{
    if (change.table == ENGINE_CHUNKS)
        return true;
    if (change.value.size > LOG_VALUE_KEPT) {
        change.value = slice_of(NULL, 0);
        change.partial = true;
    }
    return log_changes_write(changes, &change);
}

/* Leave out of what was collected what an incomplete record does not have. */
static bool log_changes_shorten(struct log_changes *changes)
{
    struct log_changes all = *changes;
    struct log_change change;
    bool fits = true;
    size_t at = 0;

    *changes = (struct log_changes){.most = all.most, .incomplete = true};
    while (fits && log_changes_next(slice_of(all.bytes, all.size), &at, &change) > 0)
        fits = log_changes_add_partly(changes, change);
    free(all.bytes);
    return fits;
}

void log_changes_add(struct log_changes *changes, const struct log_change *change)
{
    bool fits;

    if (changes->trimmed || changes->failed)
        return;
    if (!changes->incomplete && log_changes_write(changes, change))
        return;
    fits = changes->incomplete || (!changes->failed && log_changes_shorten(changes));
    if (fits)
        fits = log_changes_add_partly(changes, *change);
    if (!fits) {
        changes->incomplete = changes->trimmed = true;
        changes->size = 0;
    }
}

int log_changes_next(struct slice payload, size_t *at, struct log_change *out)
{
    const uint8_t *bytes = payload.data;
    struct log_change_header header;
    size_t left = payload.size - *at;

    if (left == 0)
        return 0;
    if (left < sizeof(header))
        return -EIO;
    memcpy(&header, bytes + *at, sizeof(header));
    left -= sizeof(header);
    if (header.table >= ENGINE_TABLES || header.key_size == 0 || header.key_size > ENGINE_KEY_MAX ||
        header.key_size > left || header.value_size > left - header.key_size)
        return -EIO;
    *at += sizeof(header);
    *out = (struct log_change){(enum engine_table)header.table, header.removed != 0, header.partial != 0,
                               slice_of(bytes + *at, header.key_size),
                               slice_of(bytes + *at + header.key_size, header.value_size)};
    *at += header.key_size + header.value_size;
    return 1;
}
