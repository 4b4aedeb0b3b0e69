/* Listing directories.
 *
 * A handle remembers where it is, the name that it gave last and the offset behind it, and the names of its last
 * two answers: so a million keys cost nothing to list. Each READDIR is one short scan of the central storage from
 * a name, merged with the names that only this node knows. Offsets count entries. Going on within the last two
 * answers is exact, whatever is created and deleted meanwhile: the kernel goes back there when its caller's buffer
 * took only a part. An older offset (telldir, and much later seekdir) is found by counting from the start.
 *
 * The kernel chooses (FUSE_READDIRPLUS_AUTO) whether entries come with their attributes, and are known to it from then
 * on: those of the first answer do, and those behind an answer of which something was looked at or looked up. So who
 * lists keys to look at them makes no request for each of them, and a listing for the names alone has four times as
 * many in an answer. (1,000,000 keys: `ls -f` 0.65 s, `ls -l` 7.0 s; where all asked for room for attributes, and this
 * end chose to leave it empty, 0.95 s and 10 s; ext4 0.57 s and 5.2 s. Who reads all names first, and looks at them
 * then, as `du` does, looks up all but the first 200: 1,000 keys take 45 ms, and not 11.)
 *
 * Order: ".", "..", then names in byte order, and an account's .projects last, so that what restores an account
 * makes the namespaces before the bindings that lead to them.
 */
#ifndef KVFS_FS_NAMES_LISTING_H
#define KVFS_FS_NAMES_LISTING_H

#include "fs/names/lookup.h"

struct fs_dir; /* begins with FS_HANDLE_DIR (base/fs.h) */

/* Open a directory, of the store or of control/. Nothing is read yet.
 * inode    not referenced: the kernel keeps it as long as it has the handle
 * uid      who is charged for the handle
 * returns  0 and a handle, for fs_dir_close(); -ENFILE the user has too many; -ESTALE the kernel is to look the path up
 *          again; -ENOTDIR; -EIO, -ENOMEM */
KV_CHECKED int fs_dir_open(struct fs *fs, struct fs_inode *inode, uid_t uid, struct fs_dir **out);
/* No read of it may be under way. */
void fs_dir_close(struct fs *fs, struct fs_dir *dir);
/* At the end of the session: close those whose RELEASEDIR the kernel did not send any more. */
void fs_dirs_end(struct fs *fs);

/* An answer to a READDIR. The caller fills in what is above the empty line, and the rest is zeroed; all memory is the
 * caller's in the end. */
struct fs_dir_answer {
    fuse_req_t req;
    bool plus; /* attributes, and a reference of the kernel, come with each entry */
    char *bytes;
    size_t size;

    size_t used;
    uint64_t *ids; /* plus: of the references, to be given back if the reply fails; free() it */
    size_t ids_count, ids_capacity;
    uint64_t before; /* of the page that is being given: fs_push_before() */
};

/* Fill an answer with entries from `offset` on: 0, or the offset of an entry that this handle gave. used 0 is the end.
 * returns  0; -ESTALE the directory is gone; -EIO, -ENOMEM: there is no entry and no reference in it. A failure
 *          behind the first entry is left to the next read
 * threads  any: reads of one handle take turns. The inode's lock and what comes after it (inode.h) may not be held */
KV_CHECKED int fs_dir_read(struct fs *fs, struct fs_dir *dir, off_t offset, struct fs_dir_answer *answer);

#endif
