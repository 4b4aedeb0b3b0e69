/* The log: a file of records that say what each commit did, and of the newest checkpoint.
 *
 *   0         slot 0  \  the newest checkpoint is the one with the higher number; while one is written, the other
 *   4096      slot 1  /  one holds
 *   8192      mark: the disk has failed (log_fail)
 *   12288     a ring of `ring` bytes: the record at position P begins at P modulo `ring`, and may wrap
 *
 * Positions count up for ever. A record is valid where its checksum is right, which covers the salt of the log and the
 * record's number; so what an earlier lap left there, and what somebody made a value look like, is none. Each names the
 * checkpoint that it follows: a recovery takes no others.
 *
 * The file has its blocks from the start, and the bytes of its first lap are written LOG_STEP ahead: appending changes
 * nothing but bytes, neither the file's size nor its map of blocks, and needs nothing of a full disk.
 *
 * Nothing here locks. Whoever appends or writes a slot has the right to write (writer.c); reading is free for all: a
 * record that is overwritten meanwhile is found to be none. */
#ifndef KVFS_STORE_LMDB_LOG_H
#define KVFS_STORE_LMDB_LOG_H

#include "store/base/engine.h"

#define LOG_FILE "log"
#define LOG_HEADER 256u /* bytes kept of a page with LMDB's header: it has 152 */

/* A checkpoint: the state of transaction `txn` is on the disk, and what came after it is in the log from `pos` on. */
struct log_slot {
    uint64_t number;    /* of the checkpoint */
    uint64_t salt;      /* of the store's records; its database knows it, too */
    uint64_t ring;      /* bytes */
    uint64_t data_ino;  /* inode number of data.mdb */
    uint64_t page_size; /* of LMDB */
    uint64_t txn;
    uint64_t pos, seq;          /* where the next record begins, and its number */
    uint8_t header[LOG_HEADER]; /* the begin of the page that holds LMDB's header of txn */
};

enum {
    LOG_INCOMPLETE = 1
}; /* flags of a record: it does not hold all that was done: only a checkpoint keeps it */

/* The longest payload that a log takes, and what one record may have of it. */
#define LOG_RECORD_MAX(ring) ((ring) / 4 < (1u << 20) ? (size_t)((ring) / 4) : (size_t)1 << 20)

/* Make a log with this first checkpoint as a file in a directory, durably but for its name. The file must not exist.
 * returns 0 and a descriptor in *out; -ENOSPC; another negative errno */
KV_CHECKED int log_create(int dir_fd, const char *name, const struct log_slot *first, int *out);

/* The newest checkpoint. returns 0; -EIO there is none, or it cannot be read */
KV_CHECKED int log_slot_read(int fd, struct log_slot *out);
/* Write a checkpoint of a higher number than the newest. It holds once the file was flushed. returns 0; -EIO */
KV_CHECKED int log_slot_write(int fd, const struct log_slot *slot);

/* Note that a flush has failed, for whoever opens the file before the next recovery; and undo that. */
void log_fail(int fd);
KV_CHECKED int log_unfail(int fd);
bool log_has_failed(int fd);

/* Bytes that a record with so much payload takes. */
uint64_t log_record_size(size_t payload);
/* Write record `seq` at `pos`. On failure there may be anything, but a valid record only where log_erase() fails, too.
 * slot     the newest checkpoint
 * origin   who writes it: told to who reads it
 * returns  0; -EIO, -ENOSPC */
KV_CHECKED int log_append(int fd, const struct log_slot *slot, uint64_t pos, uint64_t seq, uint64_t origin,
                          uint32_t flags, struct slice payload);
/* Make the record at `pos` invalid. returns 0; -EIO */
KV_CHECKED int log_erase(int fd, const struct log_slot *slot, uint64_t pos);

/* A record that was read; one buffer serves for many. */
struct log_record {
    uint32_t flags;
    uint64_t origin, seq;
    uint64_t checkpoint; /* number of the one that was the newest when it was written */
    size_t size;
    uint64_t next; /* where the next record begins */
    uint8_t *payload;
    size_t room;
};
/* Read record `seq` (0: any) at `pos`. record: zeroed before its first use; free record->payload at the end
 * returns  0; -ENOENT no such record is there; -EIO the file cannot be read; -ENOMEM */
KV_CHECKED int log_read(int fd, const struct log_slot *slot, uint64_t pos, uint64_t seq,
                        struct log_record *record);

/* ------------------------------------------------------------------- what a payload holds
 *
 * The changes of records in the order in which they were made. */
struct log_change {
    enum engine_table table;
    bool removed;
    bool partial; /* in a LOG_INCOMPLETE record: the value is not here */
    struct slice key, value;
};

/* The changes of one transaction, as they are collected. A zeroed one is empty. */
struct log_changes {
    uint8_t *bytes;
    size_t size, room;
    size_t most;     /* bytes that the payload may have */
    bool incomplete; /* values were left out */
    bool trimmed;    /* and keys, too: `bytes` is empty */
    bool failed;     /* there was no memory */
};
void log_changes_clear(struct log_changes *changes, size_t most);
void log_changes_add(struct log_changes *changes, const struct log_change *change);
/* Step through a payload. *at starts at 0. Slices are borrowed from the payload.
 * returns  1 and *out; 0 at the end; -EIO it is none */
KV_CHECKED int log_changes_next(struct slice payload, size_t *at, struct log_change *out);

#endif
