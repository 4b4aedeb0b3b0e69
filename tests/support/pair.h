/* A directory tree on a mount and one on a tmpfs, and random operations that are made on both.
 *
 * Each operation is made on both sides; then what it answered, the bytes that it read, and the attributes of the
 * files that it touched must be the same. An operation carries all that it needs, and its effect depends on
 * nothing but the operations before it: a sequence can be repeated with some of its operations left out.
 *
 * What is not compared
 *   times       A file's mtime is set to a time long ago now and then. Both sides must then show that time or,
 *               once the file was changed, both a time within this run. After a store through a shared mapping
 *               the moment of writing back decides, and the time is not looked at until it is set again.
 *               A directory's time is not looked at between the creation of a file and its first close.
 *   holes       A hole may be called data. What is called a hole must be zeros.
 *   ZERO_RANGE  tmpfs has none: there it is a hole punched.
 */
#ifndef KVFS_TESTS_SUPPORT_PAIR_H
#define KVFS_TESTS_SUPPORT_PAIR_H

#include "tests/support/store.h"

#include <stdio.h>
#include <sys/stat.h>

#define PAIR_DIRS 2
#define PAIR_HANDLES 16
#define PAIR_MAPS 4
#define PAIR_LOOSE 256

struct op {
    unsigned kind;
    unsigned name, name2;     /* directory and key */
    unsigned handle, handle2; /* slots; where an open handle is needed, this or the next open one */
    unsigned map;
    unsigned flags, mode;
    bool at_end; /* offset counts from the end of the file */
    int64_t offset, offset2;
    size_t size;
    uint64_t fill; /* seed of the bytes to be written */
};

struct mapping {
    uint8_t *bytes; /* NULL: none */
    size_t size;
    int file; /* on the tmpfs: tells how long the file is now */
};

struct side {
    bool is_mount;
    int dirs[PAIR_DIRS];
    int handles[PAIR_HANDLES]; /* -1: closed */
    struct mapping maps[PAIR_MAPS];
    const uint8_t *fill; /* the bytes to be written; shared by both sides */
    uint8_t *data;       /* what the operation read */
    size_t data_size;
};

struct pair {
    struct side tmpfs, mount;
    uint8_t *fill;
    ino_t loose[PAIR_LOOSE]; /* files whose mtime is not to be compared, by their inode number on the tmpfs */
    size_t loose_count;
    time_t started;
    bool xattrs; /* the tmpfs has user attributes */
    /* The mount moves a directory's mtime when a key is put for the first time, not when it is created. */
    bool was_there;             /* the operation's name, before */
    bool created[PAIR_HANDLES]; /* this handle's open created the file, and nothing says yet that it was put */
    bool created_late;          /* such a handle was closed: a file without bytes is put at some later moment */
    bool loose_dirs[PAIR_DIRS]; /* directories whose mtime is not to be compared until it is set again */
    char difference[512];
    const char *kind_of_difference; /* equal for differences of one kind */
};

/* No directory is open yet. */
void pair_init(struct pair *pair);
void pair_free(struct pair *pair);

/* The directories named `name`0, `name`1 below both roots, made where they are not there. */
void pair_open_dirs(struct pair *pair, const char *tmpfs_root, const char *mount_root, const char *name);
void pair_close_dirs(struct pair *pair);

struct op op_random(struct test_random *random);
/* One line in words. */
void op_print(const struct op *op, char *out, size_t size);

/* Make an operation on both sides. returns  false: they differ; pair->difference says how
 * made     what was made: the operation with slots and offsets decided; its kind is OP_NONE where there was
 *          nothing that it could be made on */
#define OP_NONE UINT32_MAX
bool pair_step(struct pair *pair, const struct op *op, struct op *made);

/* Unmap and close everything. returns false: a close differs */
bool pair_close_files(struct pair *pair);
/* Names, attributes and contents of all files. */
bool pair_compare(struct pair *pair);
/* The same after an unmount and a mount; and the directories' sizes on the mount are the bytes of what is in them. */
bool pair_compare_mounted(struct pair *pair);
/* Remove all files. returns false: something else is left */
bool pair_remove_files(struct pair *pair);

#endif
