#include "fs/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

enum log_place { LOG_SYSTEM, LOG_STDERR_TOO, LOG_JOURNAL, LOG_FILE };

static struct {
    enum log_place place;
    enum fs_log_level level;
    const char *file;     /* of LOG_FILE: borrowed from the options */
    pthread_mutex_t lock; /* for the descriptor */
    int fd;
} log_state = {.place = LOG_SYSTEM, .level = FS_LOG_INFO, .lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

static const struct {
    const char *name;
    int priority;
} log_levels[] = {[FS_LOG_ERROR] = {"error", LOG_ERR},
                  [FS_LOG_WARNING] = {"warning", LOG_WARNING},
                  [FS_LOG_INFO] = {"info", LOG_INFO}};

const char *fs_log_level_name(enum fs_log_level level) { return log_levels[level].name; }

bool fs_log_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    uintmax_t device, inode;
    struct stat attr;

    return stream != NULL && sscanf(stream, "%ju:%ju", &device, &inode) == 2 && fstat(STDERR_FILENO, &attr) == 0 &&
           attr.st_dev == device && attr.st_ino == inode;
}

int fs_log_reopen(void)
{
    int old, fd;

    if (log_state.place != LOG_FILE)
        return 0;
    fd = open(log_state.file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd < 0)
        return -errno;
    pthread_mutex_lock(&log_state.lock);
    old = log_state.fd;
    log_state.fd = fd;
    pthread_mutex_unlock(&log_state.lock);
    if (old >= 0)
        close(old);
    return 0;
}

int fs_log_open(const struct fs_options *options)
{
    log_state.level = options->log_level;
    log_state.file = options->log_file;
    log_state.place = options->log_file != NULL                    ? LOG_FILE
                      : options->foreground && fs_log_is_journal() ? LOG_JOURNAL
                      : options->foreground                        ? LOG_STDERR_TOO
                                                                   : LOG_SYSTEM;
    if (log_state.place == LOG_FILE)
        return fs_log_reopen();
    if (log_state.place != LOG_JOURNAL)
        openlog("kvfs", LOG_PID | (log_state.place == LOG_STDERR_TOO ? LOG_PERROR : 0), LOG_DAEMON);
    return 0;
}

static void log_write_file(enum fs_log_level level, const char *text)
{
    char when[32];
    time_t now = time(NULL);
    struct tm utc;

    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    pthread_mutex_lock(&log_state.lock);
    (void)dprintf(log_state.fd, "%s kvfs[%ld] %s: %s\n", when, (long)getpid(), log_levels[level].name, text);
    pthread_mutex_unlock(&log_state.lock);
}

void fs_log_write(enum fs_log_level level, const char *text)
{
    if (level > log_state.level)
        return;
    switch (log_state.place) {
    case LOG_FILE:
        log_write_file(level, text);
        break;
    case LOG_JOURNAL:
        (void)dprintf(STDERR_FILENO, "<%d>%s\n", log_levels[level].priority, text);
        break;
    case LOG_SYSTEM:
    case LOG_STDERR_TOO:
        syslog(log_levels[level].priority, "%s", text);
        break;
    }
}
