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

/* returns  0; -ENFILE the user has too many; -ESTALE; -ENOTDIR; -ENOMEM */
KV_CHECKED int fs_dir_open(struct fs *fs, struct fs_inode *inode, uid_t uid, struct fs_dir **out);
void fs_dir_close(struct fs *fs, struct fs_dir *dir);
/* At the end of the session: close those whose RELEASEDIR the kernel did not send any more. */
void fs_dirs_end(struct fs *fs);

/* An answer to a READDIR. */
struct fs_dir_answer {
    fuse_req_t req;
    bool plus; /* attributes, and a reference of the kernel, come with each entry */
    char *bytes;
    size_t size, used;
    uint64_t *ids; /* plus: of the references, to be given back if the reply fails */
    size_t ids_count, ids_capacity;
    uint64_t before; /* of the page that is being given: fs_push_before() */
};

/* Fill an answer with entries from `offset` on; used 0 is the end.
 * returns  0; -ESTALE, -EIO, -ENOMEM */
KV_CHECKED int fs_dir_read(struct fs *fs, struct fs_dir *dir, off_t offset, struct fs_dir_answer *answer);

#endif
