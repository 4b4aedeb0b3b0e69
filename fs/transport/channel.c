#include "fs/channel.h"

#include "fs/stats.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define REFUSED_MAX ((1u << 20) + 65536) /* bytes of the largest request */
#define LOOK_MS 20                       /* between looks at whether it is over */

/* What the INIT request said. It comes once, before all others. */
static struct {
    uint64_t unique;
    uint32_t offered;
} init;

static bool wants_answer(uint32_t opcode)
{
    return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT;
}

static void refuse(int fd, const struct fuse_in_header *header)
{
    struct fuse_out_header answer = {sizeof(answer), -ENOTCONN, header->unique};

    if (wants_answer(header->opcode))
        (void)!write(fd, &answer, sizeof(answer)); /* it may have been interrupted meanwhile */
}

static ssize_t channel_read(int fd, void *buffer, size_t size, void *userdata)
{
    const struct fuse_in_header *header = buffer;
    ssize_t got = read(fd, buffer, size);

    (void)userdata;
    if (got < (ssize_t)sizeof(*header))
        return got;
    fs_stats_request(header->opcode);
    if (header->opcode == FUSE_INIT) {
        init.unique = header->unique;
        init.offered = ((const struct fuse_init_in *)(header + 1))->flags;
    }
    return got;
}

/* An answer without error to INIT, which the kernel will work with. */
static bool accepts(const struct fuse_out_header *header, int count)
{
    return init.unique != 0 && header->unique == init.unique && header->error == 0 && count > 1;
}

static ssize_t channel_writev(int fd, struct iovec *parts, int count, void *userdata)
{
    struct fuse_init_out *answer;
    struct fs *fs = userdata;
    ssize_t sent;

    if (!accepts(parts[0].iov_base, count))
        return writev(fd, parts, count);
    answer = parts[1].iov_base;
    answer->flags |= init.offered & FUSE_HANDLE_KILLPRIV_V2;
    init.unique = 0;
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

struct fs_channel_refuser {
    int fd;
    pthread_t thread;
    atomic_bool stopping;
    char request[REFUSED_MAX];
};

static void *refuse_all(void *arg)
{
    struct fs_channel_refuser *refuser = arg;
    struct fuse_in_header header;

    while (!atomic_load(&refuser->stopping)) {
        struct pollfd wait = {.fd = refuser->fd, .events = POLLIN};
        ssize_t got = poll(&wait, 1, LOOK_MS) == 1 ? read(refuser->fd, refuser->request, REFUSED_MAX) : 0;

        if (got < 0 && errno == ENODEV)
            break; /* unmounted */
        if (got < (ssize_t)sizeof(header))
            continue;
        memcpy(&header, refuser->request, sizeof(header));
        refuse(refuser->fd, &header);
    }
    return NULL;
}

int fs_channel_refuse(struct fuse_session *session, struct fs_channel_refuser **out)
{
    struct fs_channel_refuser *refuser = calloc(1, sizeof(*refuser));
    int rc;

    if (refuser == NULL)
        return -ENOMEM;
    refuser->fd = fuse_session_fd(session);
    (void)fcntl(refuser->fd, F_SETFL, O_NONBLOCK); /* a request can be withdrawn between poll and read */
    rc = pthread_create(&refuser->thread, NULL, refuse_all, refuser);
    if (rc != 0) {
        free(refuser);
        return -rc;
    }
    *out = refuser;
    return 0;
}

void fs_channel_refuse_stop(struct fs_channel_refuser *refuser)
{
    atomic_store(&refuser->stopping, true);
    pthread_join(refuser->thread, NULL);
    free(refuser);
}
