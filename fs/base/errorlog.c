/* Two stores of lines under one lock: those that /.kvfs/errors shows, and those on their way to the log.
 *
 * The thread that writes may be stuck at the end. Then it is left behind, and its log with it: who comes last frees
 * it. */
#include "fs/base/errorlog.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uthash.h>
#include <utlist.h>

#define LINE_BYTES 1024 /* what is longer is cut */
#define PATH_BYTES 700  /* any path of a key fits, where it needs no escapes */
#define QUEUE_LINES 256
#define USER_LINES_SECOND 10
#define USER_LINES_AT_ONCE 50
#define SECOND_NS 1000000000

struct error_line {
    struct error_line *prev, *next; /* in log->lines */
    struct error_user *user;
    char text[]; /* ends with a line end */
};

/* Users are forgotten with their last line. */
struct error_user {
    uid_t uid;
    unsigned count;
    int64_t credit_ns; /* of the log: a line costs SECOND_NS / USER_LINES_SECOND */
    int64_t credited_ns;
    UT_hash_handle hh;
};

struct log_queued {
    enum fs_log_level level;
    char *text; /* owned */
};

enum log_state { LOG_RUNNING, LOG_STOPPING, LOG_LEFT, LOG_GONE };

struct fs_error_log {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum log_state state;
    struct error_line *lines; /* oldest first */
    unsigned count;
    struct error_user *users;
    struct log_queued queue[QUEUE_LINES]; /* a ring */
    unsigned queue_first, queue_count;
    unsigned long dropped; /* since `told_ns` */
    int64_t told_ns;
    atomic_uint_fast64_t counts[FS_ERROR_KINDS];
};

/* ----------------------------------------------------------------- the log */

static void log_queue_locked(struct fs_error_log *log, enum fs_log_level level, const char *text)
{
    char *line = log->queue_count < QUEUE_LINES ? strdup(text) : NULL;

    if (line == NULL) {
        log->dropped++;
        return;
    }
    log->queue[(log->queue_first + log->queue_count++) % QUEUE_LINES] = (struct log_queued){level, line};
    pthread_cond_broadcast(&log->changed);
}

static bool log_tells_dropped_locked(const struct fs_error_log *log)
{
    return log->dropped > 0 &&
           (log->state != LOG_RUNNING || fs_clock_ns(CLOCK_MONOTONIC) - log->told_ns >= SECOND_NS);
}

/* Wait for something to say: *line (its text to be freed), or a number of dropped lines, at most once a second.
 * returns  false: the end */
static bool log_next_locked(struct fs_error_log *log, struct log_queued *line, unsigned long *dropped)
{
    line->text = NULL;
    *dropped = 0;
    while (log->queue_count == 0 && !log_tells_dropped_locked(log)) {
        int64_t until_ns = log->told_ns + SECOND_NS;
        struct timespec until = {until_ns / SECOND_NS, until_ns % SECOND_NS};

        if (log->state != LOG_RUNNING)
            return false;
        if (log->dropped > 0)
            pthread_cond_clockwait(&log->changed, &log->lock, CLOCK_MONOTONIC, &until);
        else
            pthread_cond_wait(&log->changed, &log->lock);
    }
    if (log_tells_dropped_locked(log)) {
        *dropped = log->dropped;
        log->dropped = 0;
        log->told_ns = fs_clock_ns(CLOCK_MONOTONIC);
    } else {
        *line = log->queue[log->queue_first];
        log->queue_first = (log->queue_first + 1) % QUEUE_LINES;
        log->queue_count--;
    }
    return true;
}

static void log_free(struct fs_error_log *log);

static void *log_write(void *arg)
{
    struct fs_error_log *log = arg;
    unsigned long dropped;
    struct log_queued line;
    char told[80];
    bool left;

    pthread_mutex_lock(&log->lock);
    while (log_next_locked(log, &line, &dropped)) {
        pthread_mutex_unlock(&log->lock);
        if (line.text == NULL) {
            snprintf(told, sizeof(told), "%lu lines were dropped: see errors in the control directory", dropped);
            fs_log_write(FS_LOG_WARNING, told);
        } else {
            fs_log_write(line.level, line.text);
            free(line.text);
        }
        pthread_mutex_lock(&log->lock);
    }
    left = log->state == LOG_LEFT;
    log->state = LOG_GONE;
    pthread_cond_broadcast(&log->changed);
    pthread_mutex_unlock(&log->lock);
    if (left)
        log_free(log);
    return NULL;
}

void fs_error_log_say(struct fs_error_log *log, enum fs_log_level level, const char *format, ...)
{
    char text[LINE_BYTES];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    pthread_mutex_lock(&log->lock);
    log_queue_locked(log, level, text);
    pthread_mutex_unlock(&log->lock);
}

/* ------------------------------------------------------------------- kept lines */

static void log_drop_line_locked(struct fs_error_log *log, struct error_line *line)
{
    struct error_user *user = line->user;

    DL_DELETE(log->lines, line);
    log->count--;
    if (--user->count == 0) {
        HASH_DEL(log->users, user);
        free(user);
    }
    free(line);
}

static struct error_user *log_user_locked(struct fs_error_log *log, uid_t uid)
{
    struct error_user *user;

    HASH_FIND(hh, log->users, &uid, sizeof(uid), user);
    if (user != NULL || (user = calloc(1, sizeof(*user))) == NULL)
        return user;
    user->uid = uid;
    user->credit_ns = (int64_t)USER_LINES_AT_ONCE * (SECOND_NS / USER_LINES_SECOND);
    user->credited_ns = fs_clock_ns(CLOCK_MONOTONIC);
    HASH_ADD(hh, log->users, uid, sizeof(uid), user);
    return user;
}

/* May a line of this user go to the log, too? */
static bool log_take_credit_locked(struct error_user *user)
{
    const int64_t price_ns = SECOND_NS / USER_LINES_SECOND, most_ns = USER_LINES_AT_ONCE * price_ns;
    int64_t now_ns = fs_clock_ns(CLOCK_MONOTONIC);

    user->credit_ns += now_ns - user->credited_ns;
    user->credited_ns = now_ns;
    if (user->credit_ns > most_ns)
        user->credit_ns = most_ns;
    if (user->credit_ns < price_ns)
        return false;
    user->credit_ns -= price_ns;
    return true;
}

static void log_keep_locked(struct fs_error_log *log, struct error_user *user, struct error_line *line)
{
    line->user = user;
    DL_APPEND(log->lines, line);
    log->count++;
    user->count++;
    line = log->lines;
    if (user->count > FS_ERROR_LINES_USER)
        while (line->user != user)
            line = line->next;
    else if (log->count <= FS_ERROR_LINES)
        return;
    log_drop_line_locked(log, line);
}

/* As much as fits into `size` bytes with a NUL. returns the length */
static size_t log_escape(char *out, size_t size, const char *bytes)
{
    size_t at = 0;

    for (; *bytes != '\0' && at + sizeof("\\xNN") <= size; bytes++)
        if (*bytes == '\\')
            at += (size_t)sprintf(out + at, "\\\\");
        else if (*bytes >= ' ' && *bytes <= '~')
            out[at++] = *bytes;
        else
            at += (size_t)sprintf(out + at, "\\x%02x", (unsigned char)*bytes);
    out[at] = '\0';
    return at;
}

/* "PATH OPERATION: REASON" */
static void log_compose(char text[LINE_BYTES], const char *path, const char *operation, const char *reason)
{
    size_t at = log_escape(text, PATH_BYTES, path);

    at += (size_t)sprintf(text + at, " %.32s: ", operation);
    log_escape(text + at, LINE_BYTES - at, reason);
}

void fs_error_log_add(struct fs_error_log *log, uid_t uid, const char *path, const char *operation,
                      const char *reason)
{
    char text[LINE_BYTES], when[32];
    struct error_line *line;
    struct error_user *user;
    time_t now = time(NULL);
    struct tm utc;

    log_compose(text, path, operation, reason);
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    line = malloc(sizeof(*line) + strlen(when) + strlen(text) + 3);
    if (line == NULL)
        return;
    sprintf(line->text, "%s %s\n", when, text);

    pthread_mutex_lock(&log->lock);
    user = log_user_locked(log, uid);
    if (user == NULL) {
        free(line);
    } else {
        if (log_take_credit_locked(user)) {
            log_queue_locked(log, FS_LOG_ERROR, text);
        } else {
            log->dropped++;
            pthread_cond_broadcast(&log->changed);
        }
        log_keep_locked(log, user, line);
    }
    pthread_mutex_unlock(&log->lock);
}

int fs_error_log_text(struct fs_error_log *log, uid_t uid, bool all, char **out, size_t *size)
{
    FILE *text = open_memstream(out, size);
    const struct error_line *line;

    if (text == NULL)
        return -ENOMEM;
    pthread_mutex_lock(&log->lock);
    DL_FOREACH(log->lines, line)
        if (all || line->user->uid == uid)
            fputs(line->text, text);
    pthread_mutex_unlock(&log->lock);
    return fclose(text) == 0 ? 0 : -ENOMEM;
}

static const struct {
    int rc;
    const char *text;
} log_reasons[FS_ERROR_KINDS - 1] = {
    {-EFBIG, "the value is over the limit of 26214400 bytes (25 MiB)"},
    {-EDQUOT, "the account is full, in bytes or keys: delete keys, or raise its limit with kvctl account limit"},
    {-ENOSPC, "the disk or the store's map is full, or a limit of file sizes (ulimit -f) is reached: delete "
              "keys, make room on the disk or raise the limit"},
    {-EEXIST, "another node created the key first"},
    {-EIO, "the store could not be read or written, or is damaged: run kvctl check; after a failure of the "
           "disk end all "
           "programs that have the store open, and mount again"},
    {-EPERM, "only its owner may change it, and nobody what is in .kvfs"},
    {-EINVAL, "the name or the argument is outside the rules: see the tree in kvfs(8)"},
    {-ENAMETOOLONG, "the name is too long: keys have at most 512 letters, other names 64"},
    {-ENOTEMPTY, "the directory is not empty: delete what is in it first"},
    {-EXDEV, "a rename stays within its account: copy, then delete"},
    {-EROFS, "this node is mounted read-only: mount it without ro"},
    {-ESTALE, "another node or user replaced or changed it: look again"},
    {-ETIMEDOUT, "the store could not be reached in time: see which process holds it"},
    {-ENOMEM, "this node has no memory left: try again, or mount with a smaller memory_size"},
    {-ENFILE, "you have too many files open on this node: close some"},
    {-EMFILE, "you have too many control files open on this node, or it has no descriptor left: close some"},
    {-ENOLCK, "you have too many locks on this node: give some back"},
};

/* returns  FS_ERROR_KINDS - 1 for what has no words of its own */
static size_t log_kind(int rc)
{
    size_t kind = 0;

    while (kind < FS_ERROR_KINDS - 1 && log_reasons[kind].rc != rc)
        kind++;
    return kind;
}

const char *fs_reason_of(int rc)
{
    size_t kind = log_kind(rc);

    return kind < FS_ERROR_KINDS - 1 ? log_reasons[kind].text : strerror(-rc);
}

const char *fs_error_kind(size_t kind)
{
    return kind < FS_ERROR_KINDS - 1 ? strerrorname_np(-log_reasons[kind].rc) : "other";
}

uint64_t fs_error_count(const struct fs_error_log *log, size_t kind) { return atomic_load(&log->counts[kind]); }

void fs_error_log_add_rc(struct fs *fs, uid_t uid, const char *path, const char *operation, int rc,
                         const char *reason)
{
    pid_t holder = rc == -ETIMEDOUT && reason == NULL ? kv_writer_pid(fs->store) : 0;
    char text[160];

    atomic_fetch_add(&fs->error_log->counts[log_kind(rc)], 1);
    if (holder != 0) {
        snprintf(text, sizeof(text),
                 "the store is held by process %ld; nothing was changed: let it go on, or end it", (long)holder);
        reason = text;
    }
    fs_error_log_add(fs->error_log, uid, path, operation, reason != NULL ? reason : fs_reason_of(rc));
}

/* ----------------------------------------------------------------- begin and end */

int fs_error_log_new(struct fs_error_log **out)
{
    struct fs_error_log *log = calloc(1, sizeof(*log));
    pthread_t thread;
    int rc;

    if (log == NULL)
        return -ENOMEM;
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->changed, NULL);
    rc = pthread_create(&thread, NULL, log_write, log);
    if (rc != 0) {
        log->state = LOG_GONE;
        log_free(log);
        return -rc;
    }
    pthread_detach(thread);
    *out = log;
    return 0;
}

static void log_free(struct fs_error_log *log)
{
    for (; log->queue_count > 0; log->queue_count--)
        free(log->queue[(log->queue_first + log->queue_count - 1) % QUEUE_LINES].text);
    while (log->lines != NULL)
        log_drop_line_locked(log, log->lines);
    pthread_mutex_destroy(&log->lock);
    pthread_cond_destroy(&log->changed);
    free(log);
}

void fs_error_log_free(struct fs_error_log *log)
{
    struct timespec until = fs_after_ns(SECOND_NS);
    int rc = 0;

    if (log == NULL)
        return;
    pthread_mutex_lock(&log->lock);
    log->state = LOG_STOPPING;
    pthread_cond_broadcast(&log->changed);
    while (log->state != LOG_GONE && rc == 0)
        rc = pthread_cond_clockwait(&log->changed, &log->lock, CLOCK_MONOTONIC, &until);
    if (log->state == LOG_GONE) {
        pthread_mutex_unlock(&log->lock);
        log_free(log);
        return;
    }
    log->state = LOG_LEFT;
    pthread_mutex_unlock(&log->lock);
}
