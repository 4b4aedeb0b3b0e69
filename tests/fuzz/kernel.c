#include "tests/fuzz/kernel.h"

#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define PENDING_MAX 8
#define PATIENCE_S 30

/* A request on its way, and then its reply. */
struct pending {
    uint64_t unique; /* 0: free */
    uint32_t opcode;
    bool interrupted, answered;
    int error;
    uint8_t *body; /* owned */
    size_t size;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the session writes from several threads */
static pthread_cond_t progress = PTHREAD_COND_INITIALIZER;
static struct pending pending[PENDING_MAX];
static struct kernel_node nodes[KERNEL_NODES];
static struct kernel_handle handles[KERNEL_HANDLES];
static uint64_t last_unique;
static struct pending last; /* what the last reply points into */
static struct fs *fs;

/* --------------------------------------------------------------------------- replies */

static struct kernel_node *find_node(uint64_t id)
{
    for (size_t i = 0; i < KERNEL_NODES; i++)
        if (nodes[i].lookups > 0 && nodes[i].id == id)
            return &nodes[i];
    return NULL;
}

/* returns 0, or an errno as the kernel gives it for a node that it does not know */
static int take_notification(int code, const uint8_t *body, size_t size)
{
    const struct fuse_notify_inval_inode_out *inode = (const void *)body;
    const struct fuse_notify_inval_entry_out *entry = (const void *)body;
    const struct fuse_notify_store_out *stored = (const void *)body;

    switch (code) {
    case FUSE_NOTIFY_INVAL_INODE:
        FUZZ_CHECK(size == sizeof(*inode));
        return find_node(inode->ino) != NULL ? 0 : ENOENT;
    case FUSE_NOTIFY_INVAL_ENTRY:
        FUZZ_CHECK(size == sizeof(*entry) + entry->namelen + 1 && body[size - 1] == '\0');
        FUZZ_CHECK(strlen((const char *)(entry + 1)) == entry->namelen);
        return find_node(entry->parent) != NULL ? 0 : ENOENT;
    case FUSE_NOTIFY_STORE:
        FUZZ_CHECK(size == sizeof(*stored) + stored->size);
        return find_node(stored->nodeid) != NULL ? 0 : ENOENT;
    }
    FUZZ_CHECK(code == FUSE_NOTIFY_STORE);
    return EINVAL;
}

static int take_reply(const struct fuse_out_header *header, uint8_t *body)
{
    size_t i = 0;

    while (i < PENDING_MAX && pending[i].unique != header->unique)
        i++;
    FUZZ_CHECK(i < PENDING_MAX && !pending[i].answered); /* a second reply, or one to nobody */
    FUZZ_CHECK(header->error <= 0 && header->error > -512);
    pending[i].answered = true;
    pending[i].error = -header->error;
    pending[i].body = body;
    pending[i].size = header->len - sizeof(*header);
    FUZZ_CHECK(pending[i].error == 0 || pending[i].size == 0);
    pthread_cond_broadcast(&progress);
    return pending[i].interrupted ? ENOENT : 0;
}

/* The session writes a message. */
static ssize_t take(int fd, struct iovec *parts, int count, void *userdata)
{
    struct fuse_out_header header;
    size_t size = 0, at = 0;
    uint8_t *message, *body;
    int error;

    (void)fd;
    (void)userdata;
    for (int i = 0; i < count; i++)
        size += parts[i].iov_len;
    FUZZ_CHECK(size >= sizeof(header));
    message = malloc(size);
    FUZZ_CHECK(message != NULL);
    for (int i = 0; i < count; at += parts[i++].iov_len)
        if (parts[i].iov_len > 0)
            memcpy(message + at, parts[i].iov_base, parts[i].iov_len);
    memcpy(&header, message, sizeof(header));
    FUZZ_CHECK(header.len == size);
    body = fuzz_copy(message + sizeof(header), size - sizeof(header));
    free(message);

    pthread_mutex_lock(&lock);
    if (header.unique == 0) {
        error = take_notification(header.error, body, size - sizeof(header));
        free(body);
    } else {
        error = take_reply(&header, body);
    }
    pthread_mutex_unlock(&lock);
    if (error == 0)
        return (ssize_t)size;
    errno = error;
    return -1;
}

static ssize_t never_read(int fd, void *buffer, size_t size, void *userdata)
{
    (void)fd;
    (void)buffer;
    (void)size;
    (void)userdata;
    FUZZ_CHECK(fd < 0);
    return -1;
}

/* -------------------------------------------------------------------------- requests */

void kernel_add(struct kernel_request *request, const void *bytes, size_t size)
{
    FUZZ_CHECK(size <= sizeof(request->body) - request->size);
    if (size > 0)
        memcpy(request->body + request->size, bytes, size);
    request->size += size;
}

void kernel_add_name(struct kernel_request *request, const char *name)
{
    kernel_add(request, name, strlen(name) + 1);
}

/* Wait for a reply and free its slot. */
static void wait_for(struct pending *slot)
{
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    while (!slot->answered && rc == 0)
        rc = pthread_cond_timedwait(&progress, &lock, &until);
    FUZZ_CHECK(slot->answered); /* a request without a reply */
    free(last.body);
    last = *slot;
    *slot = (struct pending){.unique = 0};
}

static struct pending *expect_reply(const struct kernel_request *request)
{
    struct pending *slot = pending;

    while (slot < pending + PENDING_MAX && slot->unique != 0)
        slot++;
    if (slot == pending + PENDING_MAX) { /* many were left: their replies may be there by now */
        slot = pending;
        wait_for(slot);
    }
    *slot =
        (struct pending){.unique = last_unique, .opcode = request->opcode, .interrupted = request->interrupted};
    return slot;
}

void kernel_wait(void)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < PENDING_MAX; i++)
        if (pending[i].unique != 0)
            wait_for(&pending[i]);
    pthread_mutex_unlock(&lock);
}

struct kernel_reply kernel_send(const struct kernel_request *request)
{
    bool has_reply = request->opcode != FUSE_FORGET && request->opcode != FUSE_BATCH_FORGET;
    struct fuse_in_header header = {.opcode = request->opcode, .uid = 1000, .gid = 1000};
    struct kernel_reply reply = {.lost = true};
    struct pending *slot = NULL;
    uint8_t *message = malloc(sizeof(header) + request->size);
    struct fuse_buf buf = {.size = sizeof(header) + request->size, .mem = message};

    FUZZ_CHECK(message != NULL);
    header.len = (uint32_t)buf.size;
    header.unique = last_unique += 2;
    header.nodeid = request->node != NULL ? request->node->id : 0;
    memcpy(message, &header, sizeof(header));
    if (request->size > 0)
        memcpy(message + sizeof(header), request->body, request->size);
    pthread_mutex_lock(&lock);
    if (has_reply)
        slot = expect_reply(request);
    pthread_mutex_unlock(&lock);
    fuse_session_process_buf(fs->session, &buf);
    free(message);
    if (!has_reply || request->left)
        return reply;
    pthread_mutex_lock(&lock);
    wait_for(slot);
    pthread_mutex_unlock(&lock);
    return (struct kernel_reply){last.error, last.interrupted, last.body, last.size};
}

/* ------------------------------------------------------------------ nodes and handles */

struct kernel_node *kernel_root(void) { return &nodes[0]; }

struct kernel_node *kernel_nodes(void) { return nodes; }

struct kernel_handle *kernel_handles(void) { return handles; }

struct kernel_node *kernel_add_entry(const struct fuse_entry_out *entry)
{
    struct kernel_node *node;

    if (entry->nodeid == 0)
        return NULL;
    FUZZ_CHECK(entry->nodeid != FUSE_ROOT_ID && entry->attr.ino != 0 && entry->attr_valid_nsec < 1000000000);
    FUZZ_CHECK(entry->entry_valid_nsec < 1000000000);
    pthread_mutex_lock(&lock);
    node = find_node(entry->nodeid);
    if (node == NULL) {
        for (node = nodes; node < nodes + KERNEL_NODES && node->lookups > 0;)
            node++;
        FUZZ_CHECK(node < nodes + KERNEL_NODES);
        *node = (struct kernel_node){.id = entry->nodeid, .type = entry->attr.mode & S_IFMT};
    }
    FUZZ_CHECK(node->type == (entry->attr.mode & S_IFMT)); /* else the kernel calls the inode bad */
    node->lookups++;
    pthread_mutex_unlock(&lock);
    return node;
}

bool kernel_has_room(size_t wanted)
{
    size_t room = 0;

    for (size_t i = 0; i < KERNEL_NODES; i++)
        room += nodes[i].lookups == 0;
    return room >= wanted;
}

struct kernel_handle *kernel_free_handle(void)
{
    for (size_t i = 0; i < KERNEL_HANDLES; i++)
        if (handles[i].node == NULL)
            return &handles[i];
    return NULL;
}

void kernel_forget(struct kernel_node *node, uint64_t lookups)
{
    pthread_mutex_lock(&lock);
    FUZZ_CHECK(node != &nodes[0] && lookups <= node->lookups && (lookups < node->lookups || node->opens == 0));
    node->lookups -= lookups;
    pthread_mutex_unlock(&lock);
}

/* ---------------------------------------------------------------------- start and end */

void kernel_start(struct fs *with)
{
    static const struct fuse_custom_io io = {.read = never_read, .writev = take};
    static struct kernel_request request;
    struct fuse_init_in init = {.major = FUSE_KERNEL_VERSION, .minor = 36, .max_readahead = 1u << 20};
    struct kernel_reply reply;

    fs = with;
    last_unique = 0;
    memset(nodes, 0, sizeof(nodes));
    nodes[0] = (struct kernel_node){.id = FUSE_ROOT_ID, .lookups = 1, .type = S_IFDIR};
    FUZZ_CHECK(fuse_session_custom_io(fs->session, &io, open("/dev/null", O_RDWR | O_CLOEXEC)) == 0);
    init.flags = FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_DO_READDIRPLUS |
                 FUSE_READDIRPLUS_AUTO | FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV | FUSE_ASYNC_DIO |
                 FUSE_MAX_PAGES | FUSE_INIT_EXT;
    request = (struct kernel_request){.opcode = FUSE_INIT};
    kernel_add(&request, &init, sizeof(init));
    reply = kernel_send(&request);
    FUZZ_CHECK(reply.error == 0 && reply.size >= FUSE_COMPAT_22_INIT_OUT_SIZE);
}

void kernel_stop(void)
{
    free(last.body);
    last.body = NULL;
    for (size_t i = 0; i < KERNEL_HANDLES; i++)
        FUZZ_CHECK(handles[i].node == NULL);
    for (size_t i = 0; i < PENDING_MAX; i++)
        FUZZ_CHECK(pending[i].unique == 0);
}
