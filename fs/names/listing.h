/* Listing directories.
 *
 * A handle remembers where it is, the name that it gave last and the offset behind it, and the names of its last
 * two answers: so a million keys cost nothing to list. Each READDIR is one short scan of the central storage from
 * a name, merged with the names that only this node knows. Offsets count entries. Going on within the last two
 * answers is exact, whatever is created and deleted meanwhile: the kernel goes back there when its caller's buffer
 * took only a part. An older offset (telldir, and much later seekdir) is found by counting from the start.
 *
 * Each entry comes with its attributes and is known to the kernel from then on: so who lists keys to look at them makes
 * no request for each of them. But a listing of many is more often made for the names alone. Behind the first
 * LISTING_KNOWN they come alone, for about a fifth of the time and no memory, until as many names are looked up while
 * an answer is read as half of what came with it: then they come with attributes again. (100,000 keys, medians of 5:
 * the first 131,072 with attributes took `ls -f` 0.78 s and `ls -l` 0.73 s, 1,024 of them 0.13 s and as long as ext4
 * takes times 1.3, as before.)
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
    bool plus;       /* there is room for attributes and a reference of the kernel with each entry */
    bool attributes; /* and keys come with them */
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
