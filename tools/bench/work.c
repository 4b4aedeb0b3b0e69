#include "tools/bench/work.h"

#include "tools/bench/bench.h"
#include "tools/bench/process.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* How long it may take: far more than any disk needs. */
#define WORK_SECONDS 120.0
#define WORK_SECONDS_A_STEP 0.1

struct work_thread {
    const struct work *work;
    pthread_barrier_t *ready; /* NULL: the only one, and in no thread of its own */
    pthread_t id;
    char *buffer; /* of the size of a value and a byte */
    uint64_t first;
    int rc;
};

void work_name(const struct work *work, uint64_t n, char name[WORK_NAME_MAX])
{
    snprintf(name, WORK_NAME_MAX, "%s%lu", work->prefix,
             (unsigned long)(n * (work->stride > 1 ? work->stride : 1)));
}

static int work_open(const char *name, int flags)
{
    int fd = open(name, flags | O_CLOEXEC, 0644);

    return fd < 0 ? -errno : fd;
}

static int work_write(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t put = write(fd, bytes, size);

        if (put < 0)
            return -errno;
        bytes += put;
        size -= (size_t)put;
    }
    return 0;
}

static int work_put(const struct work_thread *thread, const char *name)
{
    int fd = work_open(name, O_WRONLY | O_CREAT | O_TRUNC), rc;

    if (fd < 0)
        return fd;
    rc = work_write(fd, thread->buffer, thread->work->size);
    if (rc == 0 && thread->work->fsync && fsync(fd) < 0)
        rc = -errno;
    if (close(fd) < 0 && rc == 0)
        rc = -errno;
    return rc;
}

/* A value that is not as it was put is as bad as none. */
static int work_get(const struct work_thread *thread, const char *name)
{
    size_t size = thread->work->size, have = 0;
    int fd = work_open(name, O_RDONLY), rc = 0;
    ssize_t got = 1;

    if (fd < 0)
        return fd;
    while (have < size && got > 0) { /* one byte more would show that it is too long */
        got = read(fd, thread->buffer + have, size + 1 - have);
        rc = got < 0 ? -errno : 0;
        have += got < 0 ? 0 : (size_t)got;
    }
    close(fd);
    if (rc == 0 && (have != size || thread->buffer[size - 1] != WORK_BYTE))
        rc = -EBADMSG;
    return rc;
}

static int work_stat(const struct work_thread *thread, const char *name)
{
    struct stat st;

    if (stat(name, &st) < 0)
        return -errno;
    return (uint64_t)st.st_size == thread->work->size ? 0 : -EBADMSG;
}

static int work_unlink(const struct work_thread *thread, const char *name)
{
    (void)thread;
    return unlink(name) < 0 ? -errno : 0;
}

static int work_step(const struct work_thread *thread, const char *name)
{
    switch (thread->work->action) {
    case WORK_PUT:
        return work_put(thread, name);
    case WORK_GET:
        return work_get(thread, name);
    case WORK_STAT:
        return work_stat(thread, name);
    case WORK_UNLINK:
        return work_unlink(thread, name);
    case WORK_MAKE_DIR:
    case WORK_PAGE:
        break;
    }
    return -EINVAL;
}

static int work_pass(const struct work_thread *thread)
{
    char name[WORK_NAME_MAX];
    int rc = 0;

    for (uint64_t i = 0; i < thread->work->count && rc == 0; i++) {
        work_name(thread->work, thread->first + i, name);
        rc = work_step(thread, name);
        if (rc < 0 && !thread->work->quiet)
            bench_say("%s: %s: %s", thread->work->subject, name, strerror(-rc));
    }
    return rc;
}

static void *work_thread(void *arg)
{
    struct work_thread *thread = arg;

    if (thread->ready != NULL)
        pthread_barrier_wait(thread->ready);
    for (uint64_t i = 0; i < thread->work->passes && thread->rc == 0; i++)
        thread->rc = work_pass(thread);
    return NULL;
}

/* All of them run until their ends. returns the seconds from when all were there */
static double work_time_threads(struct work_thread *threads, uint64_t count)
{
    pthread_barrier_t ready;
    double since;

    pthread_barrier_init(&ready, NULL, (unsigned)count + 1);
    for (uint64_t i = 0; i < count; i++) {
        threads[i].ready = &ready;
        if (pthread_create(&threads[i].id, NULL, work_thread, &threads[i]) != 0) {
            bench_say("%lu threads cannot be started", (unsigned long)count);
            _exit(EXIT_FAILURE); /* the others wait for this one */
        }
    }
    pthread_barrier_wait(&ready);
    since = process_now();
    for (uint64_t i = 0; i < count; i++)
        pthread_join(threads[i].id, NULL);
    since = process_now() - since;
    pthread_barrier_destroy(&ready);
    return since;
}

static double work_time_one(struct work_thread *thread)
{
    double since = process_now();

    (void)work_thread(thread);
    return process_now() - since;
}

static int work_ready(const struct work *work, struct work_thread *threads)
{
    int rc = 0;

    for (uint64_t i = 0; i < work->threads && rc == 0; i++) {
        threads[i] = (struct work_thread){.work = work, .first = i * work->count};
        threads[i].buffer = malloc(work->size + 1);
        if (threads[i].buffer == NULL)
            return -ENOMEM;
        memset(threads[i].buffer, WORK_BYTE, work->size + 1); /* no page of it is to fault later */
        if (work->warmed)
            rc = work_pass(&threads[i]);
    }
    return rc;
}

static int work_do(const struct work *work, double *seconds)
{
    struct work_thread *threads = calloc(work->threads, sizeof(*threads));
    int rc = threads == NULL ? -ENOMEM : work_ready(work, threads);

    if (rc == 0)
        *seconds = work->threads == 1 ? work_time_one(threads) : work_time_threads(threads, work->threads);
    for (uint64_t i = 0; threads != NULL && i < work->threads; i++) {
        rc = rc == 0 ? threads[i].rc : rc;
        free(threads[i].buffer);
    }
    free(threads);
    return rc;
}

static int work_make_dir(const char *dir)
{
    char above[PATH_MAX];

    snprintf(above, sizeof(above), "%s", dir);
    if (mkdir(dirname(above), 0700) < 0 && errno != EEXIST)
        return -errno;
    return mkdir(dir, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

/* What is queued or dirty would be written during what is measured next. */
static int work_settle(const struct work *work, int dir)
{
    int local, rc = 0;

    if (work->action != WORK_PUT && work->action != WORK_UNLINK)
        return 0;
    local = work_open(work->local, O_RDONLY | O_DIRECTORY);
    if (local < 0)
        return local;
    /* Not every file system has an fsync of directories. */
    if ((fsync(dir) < 0 && errno != EINVAL && errno != ENOSYS && errno != ENOTSUP) || syncfs(local) < 0)
        rc = -errno;
    close(local);
    return rc;
}

static int work_on(const struct work *work, double *seconds)
{
    switch (work->on) {
    case WORK_ON_FILES:
        return work_do(work, seconds);
    case WORK_ON_LMDB:
        return work_lmdb(work, seconds);
    case WORK_ON_STORE:
        return work_store(work, seconds);
    }
    return -EINVAL;
}

/* The whole life of the process that works. */
static int work_here(const struct work *work, double *seconds)
{
    int rc = work->action == WORK_MAKE_DIR ? work_make_dir(work->dir) : 0, dir;

    if (rc < 0 || work->action == WORK_MAKE_DIR)
        return rc;
    dir = work_open(work->dir, O_RDONLY | O_DIRECTORY);
    if (dir < 0)
        return dir;
    rc = fchdir(dir) < 0 ? -errno : work_on(work, seconds);
    if (rc == 0)
        rc = work_settle(work, dir);
    close(dir);
    return rc;
}

static int work_child(const void *arg, void *out)
{
    const struct work *work = arg;
    int rc = work_here(work, out);

    if (rc < 0 && !work->quiet)
        bench_say("%s: %s: %s", work->subject, work->dir, strerror(-rc));
    return rc;
}

int work_run(const struct work *work, double *seconds)
{
    double steps = (double)(work->count * work->threads * (work->passes + work->warmed));
    int rc;

    *seconds = 0;
    rc = process_ask(work_child, work, seconds, sizeof(*seconds), WORK_SECONDS + steps * WORK_SECONDS_A_STEP);
    if (rc == -ETIMEDOUT && !work->quiet)
        bench_say("%s: %s: no answer", work->subject, work->dir);
    return rc;
}
