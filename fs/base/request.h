/* What a raw request says that libfuse does not pass on. */
#ifndef KVFS_FS_BASE_REQUEST_H
#define KVFS_FS_BASE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Count a request, and keep what it says for this thread. Called by transport/ before the request is served.
 * raw      struct fuse_in_header and what follows it; size >= sizeof(struct fuse_in_header) */
void fs_request_begin(const void *raw, size_t size);

/* Does the kernel want the set-id bits to be cleared (FUSE_HANDLE_KILLPRIV_V2)? Only WRITE, OPEN with O_TRUNC, CREATE
 * and SETATTR of the size can say so: by a user without CAP_FSETID. Of FALLOCATE and COPY_FILE_RANGE it is so for all
 * users but root.
 * threads  the one that serves the request, before the handler returns */
bool fs_request_kills_setid(void);

/* The number of the request that this thread serves: the kernel counts them as they are made.
 * threads  as above */
uint64_t fs_request_number(void);

/* The thread that made it; 0: one of another pid namespace. */
pid_t fs_request_thread(void);

/* Requests of one kind (enum fuse_opcode) so far. */
uint64_t fs_request_count(uint32_t opcode);

#endif
