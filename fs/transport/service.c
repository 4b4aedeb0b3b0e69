#include "fs/transport/service.h"

#include "fs/base/fs.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct sockaddr_un service_address;
static socklen_t service_size; /* 0: there is none */

void fs_service_begin(void)
{
    const char *name = getenv("NOTIFY_SOCKET");
    size_t size = name != NULL ? strlen(name) : 0;

    if (size > 1 && size < sizeof(service_address.sun_path) && (name[0] == '/' || name[0] == '@')) {
        service_address.sun_family = AF_UNIX;
        memcpy(service_address.sun_path, name, size);
        if (name[0] == '@') /* an abstract address */
            service_address.sun_path[0] = '\0';
        service_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
    }
    unsetenv("NOTIFY_SOCKET");
}

void fs_service_tell(const char *lines)
{
    int fd = service_size > 0 ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;

    if (fd < 0)
        return;
    /* Whoever does not read it will find the service late, or not at all, and says so. */
    (void)sendto(fd, lines, strlen(lines), MSG_NOSIGNAL, (const struct sockaddr *)&service_address, service_size);
    close(fd);
}

void fs_service_tell_reload(void)
{
    char lines[96];

    snprintf(lines, sizeof(lines), "RELOADING=1\nMONOTONIC_USEC=%" PRId64, fs_clock_ns(CLOCK_MONOTONIC) / 1000);
    fs_service_tell(lines);
}
