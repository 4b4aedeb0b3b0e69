/* Does a process hold more descriptors of a file than the one that it is closing?
 *
 * A shell's `> key` opens the key, duplicates the descriptor and closes the first one, all before
 * anything is written. Each close is a FLUSH, and FUSE does not say which one is the last. To put
 * at the first would show other nodes an empty value, and would cost a commit more. So where a handle has
 * only been emptied and not written yet, the closing process is looked at. */
#ifndef KVFS_FS_HOLDER_H
#define KVFS_FS_HOLDER_H

#include "fs/inode.h"

#include <sys/types.h>

/* returns  true: it holds another descriptor of this inode's path; false: it does not, or nobody can tell */
bool fs_holder_has_more(struct fs *fs, struct fs_inode *inode, pid_t pid);

#endif
