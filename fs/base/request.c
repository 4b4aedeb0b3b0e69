#include "fs/base/request.h"

#include <linux/fuse.h>
#include <stdatomic.h>

enum { OPCODES = 64 };

static atomic_uint_fast64_t request_counts[OPCODES];
static _Thread_local bool request_kills_setid;
static _Thread_local uint64_t request_number;
static _Thread_local pid_t request_thread;

static bool request_has_kill_flag(const struct fuse_in_header *header, size_t size)
{
    const void *body = header + 1;

    size -= sizeof(*header);
    switch (header->opcode) {
    case FUSE_WRITE:
        return size >= sizeof(struct fuse_write_in) &&
               ((const struct fuse_write_in *)body)->write_flags & FUSE_WRITE_KILL_SUIDGID;
    case FUSE_OPEN:
        return size >= sizeof(struct fuse_open_in) &&
               ((const struct fuse_open_in *)body)->open_flags & FUSE_OPEN_KILL_SUIDGID;
    case FUSE_CREATE:
        return size >= sizeof(struct fuse_create_in) &&
               ((const struct fuse_create_in *)body)->open_flags & FUSE_OPEN_KILL_SUIDGID;
    case FUSE_SETATTR:
        return size >= sizeof(struct fuse_setattr_in) &&
               ((const struct fuse_setattr_in *)body)->valid & FATTR_KILL_SUIDGID;
    case FUSE_FALLOCATE: /* these have no place to say so */
    case FUSE_COPY_FILE_RANGE:
        return header->uid != 0;
    default:
        return false;
    }
}

void fs_request_begin(const void *raw, size_t size)
{
    const struct fuse_in_header *header = raw;

    if (header->opcode < OPCODES)
        atomic_fetch_add_explicit(&request_counts[header->opcode], 1, memory_order_relaxed);
    request_kills_setid = request_has_kill_flag(header, size);
    request_number = header->unique;
    request_thread = (pid_t)header->pid;
}

bool fs_request_kills_setid(void) { return request_kills_setid; }

uint64_t fs_request_number(void) { return request_number; }

pid_t fs_request_thread(void) { return request_thread; }

uint64_t fs_request_count(uint32_t opcode)
{
    return opcode < OPCODES ? atomic_load_explicit(&request_counts[opcode], memory_order_relaxed) : 0;
}
