#include "fs/transport/uring.h"

#include "fs/transport/uring_abi.h"
#include "fs/transport/uring_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define KEPT ((size_t)128 << 10) /* bytes of a payload that are not given back while the ring waits */
#define FAIL(error, rc, ...) (snprintf((error)->text, sizeof((error)->text), __VA_ARGS__), (rc))

enum uring_state { URING_NEW, URING_ARMED, URING_TAKEN, URING_ANSWERED };

/* The entry's memory is a page and the payload. The page begins with the headers. It ends with the request's head, which
 * is copied there, so that all of a request lies together, as libfuse wants it. */
struct uring {
    struct io_uring io;
    int device;
    unsigned queue;
    enum uring_state state; /* the thread's own */
    struct uring_abi_headers *headers;
    char *payload;
    size_t payload_size;
    size_t touched;              /* bytes of the payload that the last request and its answer took */
    struct iovec parts[2];       /* headers and payload, for the kernel */
    atomic_uint_fast64_t number; /* of the request that is to be answered; 0: none */
    sem_t answered, turn;
};

/* Slots are filled one after the other, and emptied by uring_free_all(). */
static _Atomic(struct uring *) urings[URING_MAX];
static atomic_uint uring_count;
static _Thread_local struct uring *uring_own;

/* ------------------------------------------------------------------------- making */

static int uring_open(struct io_uring *io)
{
    struct io_uring_params params = {.flags = IORING_SETUP_SQE128 | IORING_SETUP_R_DISABLED |
                                              IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};

    return io_uring_queue_init_params(1, io, &params);
}

/* Is the parameter of the module switched on? returns -ENOENT where there is none */
static int uring_is_enabled(void)
{
    int fd = open("/sys/module/fuse/parameters/enable_uring", O_RDONLY | O_CLOEXEC);
    char value = 'N';

    if (fd < 0)
        return -errno;
    if (read(fd, &value, 1) != 1)
        value = 'N';
    close(fd);
    return value == 'Y';
}

int fs_uring_check(struct kv_error *error)
{
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC); /* loads the module */
    int rc = uring_is_enabled();
    struct io_uring io;

    if (fd >= 0)
        close(fd);
    if (rc < 0)
        return FAIL(
            error, -EOPNOTSUPP,
            "io_uring: this kernel has no FUSE over io_uring, which came with Linux 6.14; leave the option "
            "out");
    if (rc == 0)
        return FAIL(error, -EOPNOTSUPP,
                    "io_uring: FUSE over io_uring is switched off; switch it on, as root, with: "
                    "echo Y > /sys/module/fuse/parameters/enable_uring");
    rc = uring_open(&io);
    if (rc < 0)
        return FAIL(
            error, rc,
            "io_uring: this process may not use it: %s; sysctl kernel.io_uring_disabled, or what a container "
            "forbids, decides that",
            strerror(-rc));
    io_uring_queue_exit(&io);
    return 0;
}

/* "0-3,8-11" */
unsigned uring_queues(void)
{
    int fd = open("/sys/devices/system/cpu/possible", O_RDONLY | O_CLOEXEC);
    char text[1024], *rest = text;
    unsigned count = 0;
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    if (fd >= 0)
        close(fd);
    text[got > 0 ? got : 0] = '\0';
    while (*rest >= '0' && *rest <= '9') {
        unsigned long first = strtoul(rest, &rest, 10);
        unsigned long last = *rest == '-' ? strtoul(rest + 1, &rest, 10) : first;

        count += (unsigned)(last - first + 1);
        rest += *rest == ',';
    }
    return count;
}

static size_t uring_page(void) { return (size_t)sysconf(_SC_PAGESIZE); }

static int uring_map(struct uring *ring, size_t payload)
{
    char *memory = mmap(NULL, uring_page() + payload, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED)
        return -errno;
    (void)madvise(memory, uring_page() + payload,
                  MADV_NOHUGEPAGE); /* most payloads are small; fails where there are none */
    ring->headers = (void *)memory;
    ring->payload = memory + uring_page();
    ring->payload_size = payload;
    ring->parts[0] = (struct iovec){memory, sizeof(*ring->headers)};
    ring->parts[1] = (struct iovec){ring->payload, payload};
    return 0;
}

int uring_new(unsigned queue, int device, size_t payload, struct uring **out)
{
    unsigned slot = atomic_load_explicit(&uring_count, memory_order_relaxed);
    struct uring *ring = slot < URING_MAX ? calloc(1, sizeof(*ring)) : NULL;
    int rc = ring == NULL ? (slot < URING_MAX ? -ENOMEM : -EMFILE) : uring_map(ring, payload);

    if (rc == 0 && (rc = uring_open(&ring->io)) < 0)
        munmap(ring->headers, uring_page() + payload);
    if (rc < 0) {
        free(ring);
        return rc;
    }
    ring->queue = queue;
    ring->device = device;
    sem_init(&ring->answered, 0, 0);
    sem_init(&ring->turn, 0, 0);
    atomic_store_explicit(&urings[slot], ring, memory_order_relaxed);
    atomic_store_explicit(&uring_count, slot + 1, memory_order_release);
    *out = ring;
    return 0;
}

void uring_free_all(void)
{
    unsigned count = atomic_exchange(&uring_count, 0);

    for (unsigned i = 0; i < count; i++) {
        struct uring *ring = atomic_exchange(&urings[i], NULL);

        io_uring_queue_exit(&ring->io);
        munmap(ring->headers, uring_page() + ring->payload_size);
        sem_destroy(&ring->answered);
        sem_destroy(&ring->turn);
        free(ring);
    }
}

sem_t *uring_turn(struct uring *ring) { return &ring->turn; }

static void uring_wait(sem_t *what)
{
    while (sem_wait(what) < 0) /* interrupted */
        ;
}

void uring_await_turn(struct uring *ring) { uring_wait(&ring->turn); }

/* ------------------------------------------------------------------------- asking */

static void uring_prepare(struct uring *ring, enum uring_abi_command command)
{
    struct uring_abi_command_area area = {.commit_id = ring->headers->commit_id, .queue = (uint16_t)ring->queue};
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->io); /* there is one: a ring has one entry */

    memset(sqe, 0, 128);
    sqe->opcode = IORING_OP_URING_CMD;
    sqe->fd = ring->device;
    sqe->cmd_op = command;
    if (command == URING_ABI_REGISTER) {
        area.commit_id = 0;
        sqe->addr = (uintptr_t)ring->parts;
        sqe->len = 2;
    }
    memcpy(sqe->cmd, &area, sizeof(area));
    ring->state = URING_ARMED;
}

/* On the CPU of its queue a thread is woken, and wakes whoever it answers, without a word to another CPU. */
static void uring_settle(const struct uring *ring)
{
    cpu_set_t *set = CPU_ALLOC(ring->queue + 1);

    if (set == NULL)
        return;
    CPU_ZERO_S(CPU_ALLOC_SIZE(ring->queue + 1), set);
    CPU_SET_S(ring->queue, CPU_ALLOC_SIZE(ring->queue + 1), set);
    /* fails where this process may not use it: then it serves from another one */
    (void)!pthread_setaffinity_np(pthread_self(), CPU_ALLOC_SIZE(ring->queue + 1), set);
    CPU_FREE(set);
}

static int uring_begin(struct uring *ring)
{
    int rc = io_uring_register((unsigned)ring->io.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL,
                               0); /* liburing 2.3 exports no function for it */

    if (rc < 0)
        return rc;
    uring_own = ring;
    uring_settle(ring);
    (void)!io_uring_register_ring_fd(&ring->io); /* each call is a little faster where it works */
    uring_prepare(ring, URING_ABI_REGISTER);
    return 0;
}

/* Give back what a large request or answer has touched, now that the answer is given. The kernel fills the entry only
 * while this thread submits or waits. */
static int uring_trim(struct uring *ring)
{
    int rc = io_uring_submit(&ring->io);

    if (rc >= 0 && io_uring_cq_ready(&ring->io) == 0)
        (void)madvise(ring->payload + KEPT, ring->payload_size - KEPT, MADV_DONTNEED);
    return rc < 0 ? rc : 0;
}

void uring_await(struct uring *ring)
{
    if (ring->state != URING_TAKEN)
        return;
    uring_wait(&ring->answered);
    ring->state = URING_ANSWERED;
}

/* A request has come: put it together. returns its size; -EPROTO it cannot be */
static int uring_gather(struct uring *ring, struct fuse_buf *request)
{
    const struct fuse_in_header *header = (const void *)ring->headers->head;
    size_t payload = ring->headers->payload_size, operation = header->len - sizeof(*header) - payload;
    char *start = ring->payload - operation - sizeof(*header);

    if (payload > ring->payload_size || operation > sizeof(ring->headers->operation))
        return -EPROTO;
    memcpy(start, header, sizeof(*header));
    memcpy(start + sizeof(*header), ring->headers->operation, operation);
    *request = (struct fuse_buf){.mem = start, .size = header->len};
    ring->touched = payload;
    ring->state = URING_TAKEN;
    atomic_store_explicit(&ring->number, header->unique, memory_order_release);
    return (int)header->len;
}

int uring_take(struct uring *ring, bool trims, struct fuse_buf *request)
{
    struct io_uring_cqe *cqe;
    int rc = 0;

    uring_await(ring);
    if (ring->state == URING_NEW)
        rc = uring_begin(ring);
    else if (ring->state == URING_ANSWERED) {
        uring_prepare(ring, URING_ABI_COMMIT_AND_FETCH);
        if (trims && ring->touched > KEPT)
            rc = uring_trim(ring);
    }
    if (rc == 0)
        rc = io_uring_submit_and_wait(&ring->io, 1);
    if (io_uring_peek_cqe(&ring->io, &cqe) < 0)
        return rc < 0 ? rc : -EINTR;
    rc = cqe->res;
    io_uring_cqe_seen(&ring->io, cqe);
    return rc == 0 ? uring_gather(ring, request) : rc == -ENOTCONN || rc == -ECONNABORTED ? 0 : rc;
}

void uring_leave(struct uring *ring)
{
    uring_await(ring);
    if (ring->state != URING_ANSWERED)
        return;
    uring_prepare(ring, URING_ABI_COMMIT_AND_FETCH);
    (void)!io_uring_submit(&ring->io); /* the session ends: who waits for the answer hears of that else */
}

/* ---------------------------------------------------------------------- answering */

/* The ring that has this request: whoever gets it answers it. */
static struct uring *uring_claim(uint64_t number)
{
    unsigned count = atomic_load_explicit(&uring_count, memory_order_acquire);
    uint64_t wanted = number;

    if (uring_own != NULL && atomic_compare_exchange_strong(&uring_own->number, &wanted, 0))
        return uring_own;
    for (unsigned i = 0; i < count; i++) {
        struct uring *ring = atomic_load_explicit(&urings[i], memory_order_relaxed);

        wanted = number;
        if (atomic_compare_exchange_strong(&ring->number, &wanted, 0))
            return ring;
    }
    return NULL;
}

bool uring_answer(const struct iovec *parts, int count)
{
    struct fuse_out_header header = *(const struct fuse_out_header *)parts[0].iov_base;
    struct uring *ring = header.unique == 0 ? NULL : uring_claim(header.unique);
    size_t size = 0;

    if (ring == NULL)
        return false;
    for (int i = 1; i < count; i++) {
        if (parts[i].iov_len > ring->payload_size - size) {
            header.error = -EIO;
            size = 0;
            break;
        }
        memcpy(ring->payload + size, parts[i].iov_base, parts[i].iov_len);
        size += parts[i].iov_len;
    }
    memcpy(ring->headers->head, &header, sizeof(header));
    ring->headers->payload_size = (uint32_t)size;
    if (size > ring->touched)
        ring->touched = size;
    sem_post(&ring->answered);
    return true;
}
