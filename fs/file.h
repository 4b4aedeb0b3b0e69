/* Open keys: handles, and the body that all handles of one incarnation share.
 *
 * The body holds the content as this node sees it. It is made at the first open
 * and lives until the last handle is released. `value` is shared with the edge
 * cache and with puts under way until somebody writes; then it is copied.
 *
 * Generations say what is where. `written` counts changes of the content; `put`
 * is the newest of them that the central has. The body is CLEAN where they are
 * equal, else DIRTY. A handle remembers the generation of its own last write: it
 * is dirty while that is newer than `put`, and a FLUSH of a dirty handle puts the
 * whole value as it is then. Writes may go on while a put is under way. Pages of shared
 * mappings are written back through whichever handle the kernel takes: they count as
 * written by every handle that can write (`mapped`). An FSYNC puts whatever anybody has written.
 *
 * A body that was created here and never put (`exists` is false) is known to this
 * node only. Its attributes go along with its first put; if it was created with
 * O_EXCL, that put is made on condition that no other node has put the key.
 *
 * Failures
 *   - A failed write (over a limit, no memory) leaves the content incomplete:
 *     `error` is set, and every put of the body fails with it, until the content
 *     is truncated to nothing, which makes it whole again.
 *   - A failed put is answered to its FLUSH or FSYNC, noted in the errors file, and
 *     detaches the incarnation: from then on opens of the name see the central's
 *     value again. The handles that are open can still try again.
 *   - Dirty content that nobody is left to flush (a writer was killed, or wrote
 *     through a mapping after its last close) is put at the RELEASE.
 */
#ifndef KVFS_FS_FILE_H
#define KVFS_FS_FILE_H

#include "fs/inode.h"

struct fs_body {
    struct fs_inode *inode;
    pthread_rwlock_t io; /* guards everything below */
    struct kv_value *value;
    struct kv_meta meta;      /* version, attributes; size is the value's */
    unsigned changed;         /* KV_MODE ...: attributes changed here that the next put carries */
    struct kv_xattrs *xattrs; /* of a body that is not in the central, or not any more; NULL: none */
    bool exists;              /* the central had the key when it was opened, or has it by a put of this body */
    bool submitted;           /* a put of it was queued */
    bool exclusive;
    bool scratch;           /* not a key at all: never put, see scratch.h */
    size_t scratch_charged; /* its share of fs->nodes->scratch_bytes */
    unsigned writers;       /* handles that can write */
    uint64_t written, put;
    uint64_t mapped;   /* generation of the last page that came from a mapping */
    uint64_t put_size; /* of the value that the central has; 0 where it has none */
    uint64_t failed;   /* the newest generation whose put failed and was told */
    int error;
    int lost; /* an accepted put of it was lost with this error, and no fsync was told yet: loss.h */
    struct fs_body *prev, *next; /* in fs->nodes->locals, while `listed`; fs->nodes->lock */
    bool listed;
};

struct fs_file {
    struct fs_inode *inode;
    struct fs_file *prev, *next; /* in fs->nodes->files; fs->nodes->lock */
    uint64_t written;            /* generation of this handle's last write; body->io */
    uint64_t flushed;            /* the same, as of its last FLUSH; body->io */
    uint64_t emptied;            /* generation at which its open created or truncated the key; 0: it did not */
    bool writes;                 /* it was opened for writing */
};

/* A put, or the failure to make one, has ended. Called on any thread; it may reply to the kernel. */
typedef void fs_file_done(void *arg, int rc);

/* Open an existing key.
 * flags    of open(2): O_TRUNC empties the content, O_ACCMODE says what is allowed
 * returns  0 and a handle, to be closed with fs_file_close(); -ESTALE the incarnation cannot be opened
 *          any more, look the name up again; -EIO, -ENOMEM, -ENOSPC */
KV_CHECKED int fs_file_open(struct fs *fs, struct fs_inode *inode, int flags, struct fs_file **out);

/* Open a key or create it.
 * attr     of the new key; ino is chosen by this function
 * returns  0, a handle, and a reference to the inode in *inode_out; -EEXIST with O_EXCL; else as fs_file_open() */
KV_CHECKED int fs_file_create(struct fs *fs, struct fs_inode *namespace, const char *key, size_t size, int flags,
                              const struct kv_attr *attr, struct fs_inode **inode_out, struct fs_file **out);

/* Create a scratch file: a body that lives while it has a name or a handle. Otherwise as fs_file_create(), always
 * with O_EXCL. */
KV_CHECKED int fs_file_create_scratch(struct fs *fs, struct fs_inode *namespace, const char *name, size_t size,
                                      const struct kv_attr *attr, struct fs_inode **inode_out,
                                      struct fs_file **out);

/* Close a handle. What is dirty and can still be put is put in the background. */
void fs_file_close(struct fs *fs, struct fs_file *file);
/* At the end of the session: close the handles whose RELEASE the kernel did not send any more. What was written and not
 * closed is dropped: an unmount comes after the last close, so the connection was cut. Only what came from mappings
 * needs no close, unless the session was ended under its users (`abandon`). */
void fs_files_end(struct fs *fs, bool abandon);
/* Then, when nothing is under way any more: free the bodies that are left, of scratch files, pinned by their names. */
void fs_bodies_end(struct fs *fs);

/* Write at an offset; `mapped`: the bytes are a page of a mapping. returns 0; -EFBIG; -EDQUOT; -ENOSPC; -ENOMEM */
KV_CHECKED int fs_file_write(struct fs *fs, struct fs_file *file, const void *bytes, size_t size, uint64_t offset,
                             bool mapped);
KV_CHECKED int fs_file_truncate(struct fs *fs, struct fs_file *file, uint64_t size);

/* fallocate(2) with mode 0, KEEP_SIZE, PUNCH_HOLE or ZERO_RANGE. returns as fs_file_write(); -EOPNOTSUPP */
KV_CHECKED int fs_file_allocate(struct fs *fs, struct fs_file *file, int mode, uint64_t offset, uint64_t size);
/* Copy bytes between open keys without showing them to the caller.
 * returns  0 and how many in *copied, less at the end of the source; as fs_file_write() */
KV_CHECKED int fs_file_copy(struct fs *fs, struct fs_file *from, uint64_t from_offset, struct fs_file *to,
                            uint64_t to_offset, size_t size, size_t *copied);

/* Hand what the content holds at an offset to `reply`, which must not keep the pointer. */
typedef void fs_file_read_reply(void *arg, const void *bytes, size_t size);
void fs_file_read(struct fs *fs, struct fs_file *file, size_t size, uint64_t offset, fs_file_read_reply *reply,
                  void *arg);

/* Has nothing been written since the open of this handle created or truncated the key, and can nobody else write?
 * *ino is the file's inode number. */
bool fs_file_awaits_writes(struct fs_file *file, uint64_t *ino);

/* A close: put the content if this handle is dirty. done is always called, maybe before this returns. */
void fs_file_put(struct fs *fs, struct fs_file *file, fs_file_done *done, void *arg);
/* The same for a truncate(2), and wait. */
KV_CHECKED int fs_file_put_wait(struct fs *fs, struct fs_file *file);

/* An fsync: make durable what any handle has written, or tell that an accepted put of it was lost. done as above. */
void fs_file_sync(struct fs *fs, struct fs_file *file, fs_file_done *done, void *arg);
/* kv_options.lost: an accepted put could not be committed. What is still open of it becomes dirty again. */
void fs_file_lost(void *fs, const struct kv_ref *ref, uint64_t version, int rc);

/* Pin the body of an open inode, so that it outlives its handles. returns NULL where it is closed */
struct fs_body *fs_body_pin(struct fs *fs, struct fs_inode *inode);
void fs_body_unpin(struct fs *fs, struct fs_inode *inode);
/* Does this node alone know the content, or newer content than the central? body->io is held. */
bool fs_body_is_local(const struct fs_body *body);

/* Is the content whole, and of this size, here and in the central? */
bool fs_file_has_size(struct fs *fs, struct fs_inode *inode, uint64_t size);

/* Put a body, up to a generation at least. The caller keeps it pinned while this runs.
 * operation     for messages; not copied
 * name_is_held  the caller holds the inode's `naming`
 * at_once       false: done, which answers a FLUSH, may wait until the kernel has forgotten a name */
void fs_body_put(struct fs *fs, struct fs_body *body, uint64_t needed, const char *operation, bool name_is_held,
                 bool at_once, fs_file_done *done, void *arg);
/* Make the central have what a pinned body holds. The inode's `naming` is held. returns 0 or why not */
KV_CHECKED int fs_body_settle(struct fs *fs, struct fs_body *body);

/* Change the size of the content through a handle. body->io is held for writing. */
KV_CHECKED int fs_body_truncate(struct fs *fs, struct fs_body *body, struct fs_file *file, size_t size);
/* Show a body that the central does not have in listings, or do not. */
void fs_body_list(struct fs *fs, struct fs_body *body, bool listed);

#endif
