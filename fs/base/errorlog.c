#include "fs/errors.h"

#include "fs/inode.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

struct fs_errors {
    pthread_mutex_t lock;
    size_t count;                /* of all times */
    char *lines[FS_ERRORS_KEPT]; /* line n is at n % FS_ERRORS_KEPT */
};

int fs_errors_new(struct fs_errors **out)
{
    struct fs_errors *errors = calloc(1, sizeof(*errors));

    if (errors == NULL)
        return -ENOMEM;
    pthread_mutex_init(&errors->lock, NULL);
    *out = errors;
    return 0;
}

void fs_errors_free(struct fs_errors *errors)
{
    for (size_t i = 0; i < FS_ERRORS_KEPT; i++)
        free(errors->lines[i]);
    pthread_mutex_destroy(&errors->lock);
    free(errors);
}

/* An errno of this filesystem in words: what was wrong, the rule, what to do. */
static const char *reason_of(int rc)
{
    switch (-rc) {
    case EFBIG:
        return "the value is over the limit of 26214400 bytes (25 MiB)";
    case EDQUOT:
        return "the account is full: delete keys, or raise its limit with kvctl account limit";
    case ENOSPC:
        return "the disk or the store's map is full: delete keys or make room on the disk";
    case EEXIST:
        return "another node created the key first";
    case EIO:
        return "the store could not be read or written, or is damaged: run kvctl check";
    default:
        return strerror(-rc);
    }
}

void fs_errors_add_reason(struct fs *fs, struct fs_inode *inode, const char *child, const char *operation,
                          const char *reason)
{
    struct fs_errors *errors = fs->errors;
    char path[2 * KV_NAME_MAX + KV_KEY_MAX + 8], when[32];
    struct timespec now;
    struct tm utc;
    char *line;

    fs_inode_path(fs, inode, child, path, sizeof(path));
    for (char *c = path; *c != '\0'; c++) /* a name that is refused can be anything */
        if ((unsigned char)*c < ' ' || *c == '\x7f')
            *c = '?';
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &utc);
    syslog(LOG_ERR, "%s %s: %s", path, operation, reason);
    if (asprintf(&line, "%s %s %s: %s\n", when, path, operation, reason) < 0)
        return; /* no memory: the log has it */

    pthread_mutex_lock(&errors->lock);
    free(errors->lines[errors->count % FS_ERRORS_KEPT]);
    errors->lines[errors->count++ % FS_ERRORS_KEPT] = line;
    pthread_mutex_unlock(&errors->lock);
}

void fs_errors_add(struct fs *fs, struct fs_inode *inode, const char *child, const char *operation, int rc)
{
    fs_errors_add_reason(fs, inode, child, operation, reason_of(rc));
}

void fs_errors_note(struct fs *fs, struct fs_inode *inode, const char *child, const char *operation, int rc)
{
    if (rc == -EIO || rc == -ETIMEDOUT || rc == -ENOMEM || rc == -ENOSPC || rc == -EDQUOT)
        fs_errors_add(fs, inode, child, operation, rc);
}

int fs_errors_text(struct fs_errors *errors, char **out, size_t *size)
{
    size_t first;
    FILE *text = open_memstream(out, size);

    if (text == NULL)
        return -ENOMEM;
    pthread_mutex_lock(&errors->lock);
    first = errors->count > FS_ERRORS_KEPT ? errors->count - FS_ERRORS_KEPT : 0;
    for (size_t i = first; i < errors->count; i++)
        fputs(errors->lines[i % FS_ERRORS_KEPT], text);
    pthread_mutex_unlock(&errors->lock);
    return fclose(text) == 0 ? 0 : -ENOMEM;
}
