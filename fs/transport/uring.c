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
#include <sys/resource.h>

#define FILES_LEFT 1024u         /* descriptors for all but rings */
#define SUBMISSION 128           /* bytes */
#define KEPT ((size_t)128 << 10) /* bytes of a payload that are not given back while the ring waits */
#define FAIL(error, rc, ...) (snprintf((error)->text, sizeof((error)->text), __VA_ARGS__), (rc))

enum uring_state { URING_NEW, URING_ARMED, URING_PASSED, URING_TAKEN, URING_ANSWERED };

/* An entry's memory is a page and the payload. The page begins with the headers. It ends with the request's head, which
 * is copied there, so that all of a request lies together, as libfuse wants it. */
struct uring {
    struct io_uring io;
    int device;
    unsigned queue, lacks;             /* lacks: entries that a keeper has passed on */
    enum uring_state state;            /* the thread's own */
    struct uring_abi_headers *headers; /* of the entry that has come last */
    size_t payload_size;
    size_t touched;              /* bytes of the payload that the last request and its answer took */
    atomic_uint_fast64_t number; /* of the request that is to be answered; 0: none */
    sem_t answered, turn;
};

/* Slots are filled one after the other, and emptied by uring_free_all(). */
static _Atomic(struct uring *) urings[URING_MAX];
static atomic_uint uring_count;
static unsigned uring_most = URING_MAX; /* fewer where descriptors are few */
static struct uring *uring_spare;       /* one of them, without a thread */
static _Thread_local struct uring *uring_own;

/* ------------------------------------------------------------------------- making */

static int uring_open(struct io_uring *io, unsigned entries)
{
    struct io_uring_params params = {.flags = IORING_SETUP_SQE128 | IORING_SETUP_R_DISABLED |
                                              IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};

    return io_uring_queue_init_params(entries, io, &params);
}

/* A ring has a descriptor. What the store and its values need is left. */
static void uring_make_room(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return;
    if (files.rlim_cur < files.rlim_max && files.rlim_cur < URING_MAX + FILES_LEFT) {
        files.rlim_cur = files.rlim_max < URING_MAX + FILES_LEFT ? files.rlim_max : URING_MAX + FILES_LEFT;
        (void)setrlimit(RLIMIT_NOFILE, &files); /* up to what is allowed */
    }
    if (files.rlim_cur < URING_MAX + FILES_LEFT)
        uring_most = (unsigned)files.rlim_cur / 2;
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
    rc = uring_open(&io, 1);
    if (rc == -ENOMEM)
        return FAIL(error, rc,
                    "io_uring: there is no memory for it; all processes of this user share what ulimit -l allows, "
                    "other mounts, too: raise it, or leave the option out");
    if (rc < 0)
        return FAIL(
            error, rc,
            "io_uring: this process may not use it: %s; sysctl kernel.io_uring_disabled, or what a container "
            "forbids, decides that",
            strerror(-rc));
    io_uring_queue_exit(&io);
    uring_make_room();
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

static char *uring_payload(const struct uring *ring) { return (char *)ring->headers + uring_page(); }

/* Memory for an entry. Nothing of it is there before it is used. returns NULL: there is none */
static struct uring_abi_headers *uring_map(size_t payload)
{
    size_t size = uring_page() + payload;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED)
        return NULL;
    (void)madvise(memory, size, MADV_NOHUGEPAGE); /* most payloads are small; fails where no page is huge */
    return memory;
}

static int uring_new(unsigned queue, int device, size_t payload, unsigned entries, struct uring **out)
{
    unsigned slot = atomic_load_explicit(&uring_count, memory_order_relaxed);
    struct uring *ring = slot < uring_most ? calloc(1, sizeof(*ring)) : NULL;
    int rc = ring != NULL ? uring_open(&ring->io, entries) : slot < uring_most ? -ENOMEM : -EMFILE;

    if (rc < 0) {
        free(ring);
        return rc;
    }
    ring->queue = queue;
    ring->device = device;
    ring->payload_size = payload;
    sem_init(&ring->answered, 0, 0);
    sem_init(&ring->turn, 0, 0);
    atomic_store_explicit(&urings[slot], ring, memory_order_relaxed);
    atomic_store_explicit(&uring_count, slot + 1, memory_order_release);
    *out = ring;
    return 0;
}

int uring_new_keeper(unsigned queue, int device, size_t payload, struct uring **out)
{
    int rc = uring_new(queue, device, payload, URING_STOCK, out);

    if (rc == 0)
        (*out)->lacks = URING_STOCK;
    return rc;
}

int uring_new_for(const struct uring *keeper, struct uring **out)
{
    struct uring *ring = uring_spare;
    int rc = ring != NULL ? 0 : uring_new(keeper->queue, keeper->device, keeper->payload_size, 1, &ring);

    if (rc < 0)
        return rc;
    uring_spare = NULL;
    ring->queue = keeper->queue;
    ring->headers = keeper->headers;
    ring->state = URING_PASSED;
    ring->number = keeper->number;
    *out = ring;
    return 0;
}

void uring_spare_it(struct uring *ring) { uring_spare = ring; }

void uring_passed(struct uring *keeper)
{
    atomic_store_explicit(&keeper->number, 0, memory_order_relaxed);
    keeper->state = URING_ARMED;
    keeper->lacks++;
}

/* The kernel lets go of the entries with the descriptor, and the process of their memory with its end. */
void uring_free_all(void)
{
    unsigned count = atomic_exchange(&uring_count, 0);

    for (unsigned i = 0; i < count; i++) {
        struct uring *ring = atomic_exchange(&urings[i], NULL);

        io_uring_queue_exit(&ring->io);
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

static void uring_prepare(struct uring *ring, enum uring_abi_command command, struct uring_abi_headers *headers,
                          const struct iovec *parts)
{
    struct uring_abi_command_area area = {.queue = (uint16_t)ring->queue};
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->io); /* there is one: a ring is as large as its stock */

    memset(sqe, 0, SUBMISSION);
    sqe->opcode = IORING_OP_URING_CMD;
    sqe->fd = ring->device;
    sqe->cmd_op = command;
    sqe->user_data = (uintptr_t)headers;
    if (command == URING_ABI_REGISTER) {
        sqe->addr = (uintptr_t)parts;
        sqe->len = 2;
    } else {
        area.commit_id = headers->commit_id;
    }
    memcpy(sqe->cmd, &area, sizeof(area));
}

static void uring_commit(struct uring *ring)
{
    uring_prepare(ring, URING_ABI_COMMIT_AND_FETCH, ring->headers, NULL);
    ring->state = URING_ARMED;
}

/* Register what a keeper lacks: seldom, since new entries come before those that were armed earlier, and each one that
 * is used costs a thread. Without memory it has less: it tries again when the next request comes. */
static int uring_register(struct uring *ring)
{
    struct uring_abi_headers *headers;
    int rc = 0;

    if (ring->lacks < URING_STOCK / 2)
        return 0;
    while (rc >= 0 && ring->lacks > 0 && (headers = uring_map(ring->payload_size)) != NULL) {
        const struct iovec parts[2] = {{headers, sizeof(*headers)},
                                       {(char *)headers + uring_page(), ring->payload_size}};

        uring_prepare(ring, URING_ABI_REGISTER, headers, parts);
        rc = io_uring_submit(&ring->io); /* one by one: `parts` is read now */
        ring->lacks--;
    }
    return rc < 0 ? rc : 0;
}

/* On the CPU of its queue a thread is woken, and wakes whoever it answers, without a word to another CPU. (A hot get
 * takes 22 us so, and 56 to 76 where threads run anywhere. IORING_SETUP_COOP_TASKRUN in place of DEFER_TASKRUN, and a
 * registered descriptor of the ring, changed nothing that could be measured.) */
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

/* For a thread that begins with its ring. */
static int uring_begin(struct uring *ring)
{
    if (uring_own == ring)
        return 0;
    uring_own = ring;
    uring_settle(ring);
    /* liburing 2.3 exports no function for it */
    return io_uring_register((unsigned)ring->io.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

/* Give back what a large request or answer has touched, now that the answer is given. The kernel fills the entry only
 * while this thread submits or waits. */
static int uring_trim(struct uring *ring)
{
    int rc = io_uring_submit(&ring->io);

    if (rc >= 0 && io_uring_cq_ready(&ring->io) == 0)
        (void)madvise(uring_payload(ring) + KEPT, ring->payload_size - KEPT, MADV_DONTNEED);
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
    char *start = uring_payload(ring) - operation - sizeof(*header);

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
    int rc = uring_begin(ring);

    if (rc == 0 && ring->state == URING_PASSED)
        return uring_gather(ring, request);
    uring_await(ring);
    if (ring->state == URING_ANSWERED) {
        uring_commit(ring);
        if (trims && ring->touched > KEPT)
            rc = uring_trim(ring);
    }
    if (rc == 0)
        rc = uring_register(ring);
    if (rc == 0)
        rc = io_uring_submit_and_wait(&ring->io, 1);
    if (io_uring_peek_cqe(&ring->io, &cqe) < 0)
        return rc < 0 ? rc : -EINTR;
    rc = cqe->res;
    ring->headers = (void *)(uintptr_t)cqe->user_data;
    io_uring_cqe_seen(&ring->io, cqe);
    return rc == 0 ? uring_gather(ring, request) : rc == -ENOTCONN || rc == -ECONNABORTED ? 0 : rc;
}

void uring_leave(struct uring *ring)
{
    uring_await(ring);
    if (ring->state != URING_ANSWERED)
        return;
    uring_commit(ring);
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

bool uring_has(uint64_t number)
{
    unsigned count = atomic_load_explicit(&uring_count, memory_order_acquire);

    for (unsigned i = 0; i < count; i++)
        if (atomic_load_explicit(&urings[i]->number, memory_order_relaxed) == number)
            return true;
    return false;
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
        memcpy(uring_payload(ring) + size, parts[i].iov_base, parts[i].iov_len);
        size += parts[i].iov_len;
    }
    memcpy(ring->headers->head, &header, sizeof(header));
    ring->headers->payload_size = (uint32_t)size;
    if (size > ring->touched)
        ring->touched = size;
    sem_post(&ring->answered);
    return true;
}
