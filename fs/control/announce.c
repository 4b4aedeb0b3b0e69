/* What other processes are told of this node, in lines NAME=VALUE: see kv_announce(). */
#include "fs/control/control.h"

#include "fs/base/errorlog.h"
#include "fs/base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static void announce_line(FILE *text, const char *name, const char *value)
{
    fprintf(text, "%s=", name);
    fs_text_write(text, value, "");
    putc('\n', text);
}

static char *announce_text(const struct fs *fs)
{
    const struct fs_options *options = fs->options;
    char host[HOST_NAME_MAX + 1] = "", *out;
    size_t size;
    FILE *text = open_memstream(&out, &size);

    if (text == NULL)
        return NULL;
    gethostname(host, sizeof(host) - 1);
    announce_line(text, "mountpoint", options->mountpoint);
    announce_line(text, "node", options->node);
    announce_line(text, "host", host);
    fprintf(text, "pid=%ld\n", (long)getpid());
    announce_line(text, "version", KVFS_VERSION);
    announce_line(text, "mode", options->read_only ? "ro" : "rw");
    fprintf(text, "since=%" PRId64 "\n", fs->started_ns / 1000000000);
    if (fclose(text) == 0)
        return out;
    free(out);
    return NULL;
}

void fs_control_announce(struct fs *fs)
{
    char *text = announce_text(fs);
    int rc = text != NULL ? kv_announce(fs->store, text) : -ENOMEM;

    /* Who may only read the store has no place to say so. */
    if (rc < 0 && !(fs->options->read_only && (rc == -EROFS || rc == -EACCES || rc == -EPERM)))
        fs_error_log_say(fs->error_log, FS_LOG_WARNING, "kvctl status will not show this node: %s", strerror(-rc));
    free(text);
}
