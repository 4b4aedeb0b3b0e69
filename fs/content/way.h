/* Ways: does the kernel write what is written through a handle through its page cache, or past it?
 *
 * Before a write(2) through the cache the kernel asks for the attribute security.capability, unless it has asked since
 * it was told attributes of the inode. Before one past the cache (FOPEN_DIRECT_IO) it does not. So a handle that can
 * only write goes past the cache, unless there is one that could store through a mapping.
 *
 * Behind a synchronous write the kernel sends an FSYNC, but not behind one past the cache: there the WRITE is
 * answered when it is synced. It may be a part of one of more than a request. So what is opened with O_SYNC or
 * O_DSYNC goes through the cache, and this is left for a single write that is synchronous (RWF_DSYNC), and for a
 * mount with the option `sync`.
 *
 * An open with O_TRUNC of a key that is there makes the kernel ask, too, whichever way the handle goes, and only a
 * write through the cache lets it remember the answer. So of such opens the second one without news of the attributes
 * in between goes through the cache: behind it nothing is asked any more.
 *
 * The kernel drops the pages that are written past the cache, before and behind the WRITE. But in between a page can be
 * read, with the bytes from before the WRITE, be stored to through a mapping that was opened since, and be written
 * back, when the kernel drops it at the latest: behind the WRITE. So of a page that is written back only what was not
 * written past the cache since the page was read is taken: a store to the other bytes of it was made while they were
 * being written, and counts as made before. The kernel lets one write(2) a time at an inode. So what the last one has
 * written is all that has to be remembered of such writes: `past`. */
#ifndef KVFS_FS_CONTENT_WAY_H
#define KVFS_FS_CONTENT_WAY_H

#include "fs/base/fs.h"

struct fs_body;
struct fs_handle;

#define FS_PAGE 4096u

enum fs_way {
    FS_WAY_CACHE,
    FS_WAY_MAPPING, /* the same, and it can map for writing */
    FS_WAY_PAST,    /* past the cache */
};

/* Of a body. */
struct fs_ways {
    unsigned cached;  /* handles that are not FS_WAY_PAST */
    unsigned mapping; /* of these, FS_WAY_MAPPING */
    /* What the last write(2) past the cache has written while anybody could map: bytes from .. to of the content, in
     * requests of a handle and a thread. body->io guards it. */
    struct {
        uint64_t from, to;
        const struct fs_handle *handle;
        pid_t thread;
        uint64_t *read; /* a bit for each page of it that was read since; owned */
    } past;
};

void fs_ways_free(struct fs_ways *ways);

/* A handle is opened: through the cache, as far as is known. The inode's lock is held.
 * returns  whether it is the only one through the cache */
bool fs_way_begin(struct fs_handle *handle);
/* The kernel is going to get it. flags: of open(2), with O_CREAT where it has made the key.
 * returns  whether it is to go past the page cache with it */
bool fs_way_choose(struct fs *fs, struct fs_handle *handle, int flags);
/* It is released. */
void fs_way_end(struct fs_handle *handle);

/* Bytes are written through a handle, not from a page of a mapping. body->io is held for writing.
 * returns  0; -ENOMEM they must not be written */
KV_CHECKED int fs_way_write(struct fs_handle *handle, uint64_t offset, uint64_t size);
/* Bytes are read into the page cache. body->io is held. */
void fs_way_read(struct fs_body *body, uint64_t offset, uint64_t size);
/* A page of a mapping is written back: the next bytes of it that are to be taken, in *from .. *to. At the beginning *to
 * is where the page begins. body->io is held for writing.
 * returns  false: there are none before `end` */
bool fs_way_next(struct fs_body *body, uint64_t *from, uint64_t *to, uint64_t end);

#endif
