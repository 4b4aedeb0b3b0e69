/* Which close ends the writing?
 *
 * Each close(2) of each duplicate of a descriptor is a FLUSH, and FUSE does not say which one is the last. A
 * shell's `> key` opens the key, duplicates the descriptor and closes the first one before anything is written; the
 * commands of `{ a; b; } > key` inherit it, and close it when they exit. So a value is put at a close by the process
 * that opened the file, once something was written. A close by any other process ends nothing. What no such close has
 * put is put when the last descriptor is gone.
 *
 * The closer waits for the answer. So nothing is asked that a client can keep from being answered: nothing in
 * /proc, whose directories can be locked by who lists them, or which waits for an exec. */
#ifndef KVFS_FS_CONTENT_CLOSING_H
#define KVFS_FS_CONTENT_CLOSING_H

#include <stdbool.h>
#include <sys/types.h>

/* The process of a thread. 0: of 0, which stands for one in another pid namespace. Where the kernel does not tell
 * (before Linux 6.13, of a thread that is not its process's first): the thread, negative. */
pid_t fs_process_of(pid_t thread);

/* Is a thread one of this process, as told by fs_process_of()? true where that cannot be known: then rather put. */
bool fs_process_has(pid_t process, pid_t thread);

#endif
