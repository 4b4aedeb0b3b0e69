/* What the kernel and a daemon say to each other over io_uring, as far as we use it. Linux has it since 6.14
 * (Documentation/filesystems/fuse-io-uring.rst); older headers, as Debian's, do not. */
#ifndef KVFS_FS_TRANSPORT_URING_ABI_H
#define KVFS_FS_TRANSPORT_URING_ABI_H

#include <stdint.h>

/* Of the flags2 of INIT: offered by the kernel, accepted by the daemon. */
#define URING_ABI_INIT_FLAG2 (1u << 9)

/* sqe->cmd_op of IORING_OP_URING_CMD, on the descriptor of /dev/fuse. */
enum uring_abi_command {
    URING_ABI_REGISTER = 1, /* here is an entry: sqe->addr and len are its two iovecs, headers and payload */
    URING_ABI_COMMIT_AND_FETCH = 2, /* its request is answered; wait for the next one */
};

/* The command area of a submission of 128 bytes. */
struct uring_abi_command_area {
    uint64_t flags;
    uint64_t commit_id; /* of the answered request */
    uint16_t queue;     /* a CPU */
    uint8_t padding[6];
};

/* What the headers of an entry hold. */
struct uring_abi_headers {
    char head[128];      /* struct fuse_in_header; of an answer, struct fuse_out_header */
    char operation[128]; /* the request's first argument, as struct fuse_write_in; nothing, of an answer */
    uint64_t flags;
    uint64_t commit_id;
    uint32_t payload_size; /* the other arguments and data; of an answer, all but the head */
    uint32_t padding;
    uint64_t reserved;
};

_Static_assert(sizeof(struct uring_abi_headers) == 288, "as the kernel has it");
_Static_assert(sizeof(struct uring_abi_command_area) == 24, "as the kernel has it");

#endif
