#include "fs/transport/channel.h"

#include "fs/transport/uring_abi.h"
#include "fs/transport/uring_internal.h"

#include <errno.h>
#include <linux/fuse.h>

#define INTERRUPTS 1u    /* in the number of an interrupt, which else is its request's */
#define PAGES_DEFAULT 32 /* of a request, where INIT does not say */

/* What the INIT request said, and its answer. It comes once, before all others. */
static struct {
    uint64_t unique;
    uint32_t offered, offered2;
    enum fs_channel_state state;
    size_t payload;
} channel_init;

static ssize_t channel_read(int fd, void *buffer, size_t size, void *userdata)
{
    const struct fuse_in_header *header = buffer;
    const struct fuse_init_in *init = (const void *)(header + 1);
    ssize_t got = read(fd, buffer, size);

    (void)userdata;
    if (got >= (ssize_t)sizeof(*header) && header->opcode == FUSE_INIT) {
        channel_init.unique = header->unique;
        channel_init.offered = init->flags;
        if (init->flags & FUSE_INIT_EXT && got >= (ssize_t)(sizeof(*header) + sizeof(*init)))
            channel_init.offered2 = init->flags2;
    }
    return got;
}

/* An answer without error to INIT, which the kernel will work with. A notification, of number 0, can come beside it. */
static bool channel_accepts(const struct fuse_out_header *header, int count)
{
    return header->unique != 0 && header->unique == channel_init.unique && header->error == 0 && count > 1;
}

static void channel_complete(const struct fs *fs, struct fuse_init_out *answer)
{
    size_t pages = answer->flags & FUSE_MAX_PAGES ? answer->max_pages : PAGES_DEFAULT;
    size_t bytes = pages * (size_t)sysconf(_SC_PAGESIZE);

    answer->flags |= channel_init.offered & FUSE_HANDLE_KILLPRIV_V2;
    if (!fs->options->io_uring || (channel_init.offered2 & URING_ABI_INIT_FLAG2) == 0)
        return;
    answer->flags |= FUSE_INIT_EXT;
    answer->flags2 |= URING_ABI_INIT_FLAG2;
    channel_init.payload = answer->max_write > bytes ? answer->max_write : bytes;
}

/* libfuse gives back an interrupt that came before its request. So it has to be kept, where the request is in a ring:
 * the kernel looks for it among those of /dev/fuse alone, and forgets the interrupt. */
static bool channel_keeps_interrupt(const struct fuse_out_header *header, const struct fs *fs)
{
    struct {
        struct fuse_in_header header;
        struct fuse_interrupt_in interrupt;
    } again = {.header = {.len = sizeof(again), .opcode = FUSE_INTERRUPT, .unique = header->unique},
               .interrupt = {header->unique & ~(uint64_t)INTERRUPTS}};

    if (header->error != -EAGAIN || (header->unique & INTERRUPTS) == 0 || !uring_has(again.interrupt.unique))
        return false;
    fuse_session_process_buf(fs->session, &(struct fuse_buf){.mem = &again, .size = sizeof(again)});
    return true;
}

static ssize_t channel_writev(int fd, struct iovec *parts, int count, void *userdata)
{
    ssize_t sent;

    if (uring_answer(parts, count) || channel_keeps_interrupt(parts[0].iov_base, userdata))
        return ((const struct fuse_out_header *)parts[0].iov_base)->len;
    if (!channel_accepts(parts[0].iov_base, count))
        return writev(fd, parts, count);
    channel_complete(userdata, parts[1].iov_base);
    channel_init.unique = 0;
    sent = writev(fd, parts, count);
    if (sent >= 0)
        channel_init.state = channel_init.payload > 0 ? FS_CHANNEL_URING : FS_CHANNEL_ACCEPTED;
    return sent;
}

int fs_channel_use(struct fuse_session *session)
{
    static const struct fuse_custom_io channel = {.read = channel_read, .writev = channel_writev};

    return fuse_session_custom_io(session, &channel, fuse_session_fd(session));
}

enum fs_channel_state fs_channel_state(void) { return channel_init.state; }

size_t fs_channel_payload(void) { return channel_init.payload; }

void fs_channel_refuse(struct fs *fs, uint64_t unique, int rc)
{
    struct fuse_out_header answer = {sizeof(answer), rc, unique};
    struct iovec part = {&answer, sizeof(answer)};

    (void)!channel_writev(fuse_session_fd(fs->session), &part, 1, fs);
}
