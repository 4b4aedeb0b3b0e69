#include "fs/transport/channel.h"

#include <linux/fuse.h>
#include <sys/uio.h>

/* What the INIT request said. It comes once, before all others. */
static struct {
    uint64_t unique;
    uint32_t offered;
} channel_init;

static ssize_t channel_read(int fd, void *buffer, size_t size, void *userdata)
{
    const struct fuse_in_header *header = buffer;
    ssize_t got = read(fd, buffer, size);

    (void)userdata;
    if (got >= (ssize_t)sizeof(*header) && header->opcode == FUSE_INIT) {
        channel_init.unique = header->unique;
        channel_init.offered = ((const struct fuse_init_in *)(header + 1))->flags;
    }
    return got;
}

/* An answer without error to INIT, which the kernel will work with. A notification, of number 0, can come beside it. */
static bool channel_accepts(const struct fuse_out_header *header, int count)
{
    return header->unique != 0 && header->unique == channel_init.unique && header->error == 0 && count > 1;
}

static ssize_t channel_writev(int fd, struct iovec *parts, int count, void *userdata)
{
    struct fuse_init_out *answer;
    struct fs *fs = userdata;
    ssize_t sent;

    if (!channel_accepts(parts[0].iov_base, count))
        return writev(fd, parts, count);
    answer = parts[1].iov_base;
    answer->flags |= channel_init.offered & FUSE_HANDLE_KILLPRIV_V2;
    channel_init.unique = 0;
    sent = writev(fd, parts, count);
    if (sent >= 0)
        fs->mounted(fs->mounted_arg);
    return sent;
}

int fs_channel_use(struct fuse_session *session)
{
    static const struct fuse_custom_io channel = {.read = channel_read, .writev = channel_writev};

    return fuse_session_custom_io(session, &channel, fuse_session_fd(session));
}
