/* Does a process hold more descriptors of an open file than the one that it is closing?
 *
 * A shell's `> key` opens the key, duplicates the descriptor and closes the first one, all before
 * anything is written. Each close is a FLUSH, and FUSE does not say which one is the last. To put
 * at the first would show other nodes an empty value, and would cost a commit more. So where a handle has
 * only been emptied and not written yet, the closing process is looked at.
 *
 * It waits for the answer to this FLUSH, and may be in an exec that closes its descriptors. Whatever waits for an exec
 * to end (/proc/PID/fd, stat, cmdline; kcmp) must not be asked then. /proc/PID/fdinfo does not wait. It tells of each
 * descriptor the mount, the inode number, and how it was opened; where only one handle of the inode can write, a
 * descriptor that can is a duplicate of it. */
#ifndef KVFS_FS_HOLDER_H
#define KVFS_FS_HOLDER_H

#include "fs/fs.h"

#include <sys/types.h>

/* Remember which mount is this node's. Before that, and where it fails, nobody holds more. */
void fs_holder_know_mount(struct fs *fs);

/* returns  true: the process holds another descriptor that can write to the file with this inode number; false: it does
 *          not, or nobody can tell */
bool fs_holder_has_more(const struct fs *fs, uint64_t ino, pid_t pid);

#endif
