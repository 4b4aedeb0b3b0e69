/* What the daemon of a mount says of itself: /.kvfs/config, lines NAME=VALUE. */
#include "tools/cli/cli.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONFIG_NAME ".kvfs/config"
#define CONFIG_MOST 65536

char *cli_read_config(int dir_fd, dev_t device)
{
    int fd = openat(dir_fd, CONFIG_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    char *text = fd < 0 ? NULL : calloc(1, CONFIG_MOST);
    struct stat attr;
    size_t size = 0;
    ssize_t got = -1;

    if (text != NULL && fstat(fd, &attr) == 0 && S_ISREG(attr.st_mode) && attr.st_dev == device)
        while ((got = read(fd, text + size, CONFIG_MOST - 1 - size)) > 0)
            size += (size_t)got;
    if (fd >= 0)
        close(fd);
    if (got == 0)
        return text;
    free(text);
    return NULL;
}

const char *cli_setting(const char *config, const char *name, size_t size)
{
    while (config != NULL && (strncmp(config, name, size) != 0 || config[size] != '=')) {
        config = strchr(config, '\n');
        config = config != NULL ? config + 1 : NULL;
    }
    return config != NULL ? config + size + 1 : NULL;
}
