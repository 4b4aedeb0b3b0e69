/* In place of libfuse's loop, whose threads can take a request along unanswered when they end, and which lets reads
 * wait behind changes that wait for a commit (changes_internal.h).
 *
 * A thread starts another one when it takes a request and nobody is left to take the next, so there are as many as
 * handlers that wait, up to THREADS_MAX; and one that comes back while IDLE_MAX wait for requests ends.
 *
 * The main thread waits for signals. Then it lets what was taken be served, and puts the session to its end, while
 * requests that still come are refused: whoever made one may hold pages locked, which a handler or the session's end
 * waits for. WAKE is ours: to the main thread it says that a thread has met the end of the session; to a thread that
 * waits for a request, that all is over: its read is interrupted. It may come just before the read, so it is sent
 * until all are gone. */
#include "fs/transport/loop.h"

#include "fs/base/errorlog.h"
#include "fs/base/request.h"
#include "fs/transport/changes_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <utlist.h>

#define THREADS_MAX (FS_CHANGES + 32) /* some are always left for reads */
#define IDLE_MAX 16
#define WAKE SIGUSR1
#define STARVED_US 10000 /* until memory is asked for again */
#define WAKE_NS 10000000
#define SECOND_NS 1000000000

struct thread {
    struct loop *loop;
    pthread_t id;
    struct thread *prev, *next;
};

enum loop_state { LOOP_SERVES, LOOP_REFUSES, LOOP_OVER };

struct loop {
    struct fs *fs;
    pthread_t main;

    pthread_mutex_t lock;
    pthread_cond_t less;    /* a thread serves no more, or has ended */
    struct thread *threads; /* all; the struct is the thread's, the list the loop's */
    unsigned count, idle, serving;
    struct changes changes;
    enum loop_state state;
    int rc;
};

static sigset_t loop_awaited; /* by the main thread; blocked everywhere */

static void loop_wake_up(int number) { (void)number; }

void fs_loop_block_signals(void)
{
    static const int ends[] = {SIGTERM, SIGINT, SIGHUP};
    const struct sigaction woken = {.sa_handler = loop_wake_up}, ignored = {.sa_handler = SIG_IGN};
    struct sigaction before;

    sigemptyset(&loop_awaited);
    sigaddset(&loop_awaited, WAKE);
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) /* what nohup has ignored stays so */
        if (sigaction(ends[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaddset(&loop_awaited, ends[i]);
    pthread_sigmask(SIG_BLOCK, &loop_awaited, NULL);
    sigaction(WAKE, &woken, NULL);
    sigaction(SIGPIPE, &ignored, NULL);
}

/* The end, for whatever reason. */
static void loop_end_locked(struct loop *loop, int rc)
{
    if (loop->state != LOOP_SERVES)
        return;
    loop->state = LOOP_REFUSES;
    loop->rc = rc;
    pthread_kill(loop->main, WAKE);
}

static void *loop_run(void *arg);

/* returns 0; -ENOMEM, -EAGAIN */
static int loop_add_thread_locked(struct loop *loop)
{
    struct thread *thread = malloc(sizeof(*thread));
    int rc;

    if (thread == NULL)
        return -ENOMEM;
    thread->loop = loop;
    rc = pthread_create(&thread->id, NULL, loop_run, thread);
    if (rc != 0) {
        free(thread);
        return -rc;
    }
    pthread_detach(thread->id);
    DL_APPEND(loop->threads, thread);
    loop->count++;
    return 0;
}

/* Wait for a request. The lock is let go meanwhile. returns as fuse_session_receive_buf() */
static int loop_take_locked(struct loop *loop, struct fuse_buf *request)
{
    int rc;

    loop->idle++;
    pthread_mutex_unlock(&loop->lock);
    rc = fuse_session_receive_buf(loop->fs->session, request);
    if (rc == -ENOMEM)
        usleep(STARVED_US);
    pthread_mutex_lock(&loop->lock);
    loop->idle--;
    return rc;
}

/* A change that was aside for longer than it may take is refused, as the store refuses one that cannot get its writer
 * in time. But closes are served, however late: they give back what they hold. */
static bool loop_is_late(struct loop *loop, const struct change *change)
{
    const struct fuse_in_header *header = (const void *)change->bytes;

    return changes_now_ns() - change->since_ns > loop->fs->options->commit_timeout_ms * 1000000 &&
           header->opcode != FUSE_FLUSH && header->opcode != FUSE_RELEASE;
}

static void loop_refuse(struct loop *loop, const struct fuse_in_header *header, int rc)
{
    const struct fuse_out_header answer = {sizeof(answer), rc, header->unique};

    if (header->opcode != FUSE_FORGET && header->opcode != FUSE_BATCH_FORGET && header->opcode != FUSE_INTERRUPT)
        (void)!write(fuse_session_fd(loop->fs->session), &answer,
                     sizeof(answer)); /* fails where it was withdrawn */
}

static void loop_refuse_late(struct loop *loop, const struct change *change)
{
    const struct fuse_in_header *header = (const void *)change->bytes;

    fs_error_log_add_rc(loop->fs, header->uid, "-", "a change", -ETIMEDOUT, NULL);
    loop_refuse(loop, header, -ETIMEDOUT);
}

static void loop_process(struct loop *loop, const struct fuse_buf *request)
{
    fs_request_begin(request->mem, request->size);
    fuse_session_process_buf(loop->fs->session, request);
}

/* Serve a request, unless it has to wait, and what may be served behind it. The lock is let go meanwhile. */
static void loop_serve_locked(struct loop *loop, const struct fuse_buf *request)
{
    struct changes_user *user;
    struct change *change;

    if (loop->state != LOOP_SERVES) {
        loop_refuse(loop, request->mem, -ENOTCONN);
        return;
    }
    if (!changes_enter_locked(&loop->changes, request, &user))
        return;
    loop->serving++;
    pthread_mutex_unlock(&loop->lock);
    loop_process(loop, request);
    pthread_mutex_lock(&loop->lock);
    while (user != NULL && (change = changes_next_locked(&loop->changes, &user)) != NULL) {
        pthread_mutex_unlock(&loop->lock);
        if (loop_is_late(loop, change))
            loop_refuse_late(loop, change);
        else
            loop_process(loop, &(struct fuse_buf){.mem = change->bytes, .size = change->size});
        free(change);
        pthread_mutex_lock(&loop->lock);
    }
    loop->serving--;
    pthread_cond_signal(&loop->less);
}

static void *loop_run(void *arg)
{
    struct thread *thread = arg;
    struct loop *loop = thread->loop;
    struct fuse_buf request = {.mem = NULL};
    bool gone = false;
    sigset_t wake;

    sigemptyset(&wake);
    sigaddset(&wake, WAKE);
    pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
    pthread_mutex_lock(&loop->lock);
    while (loop->state != LOOP_OVER && loop->idle < IDLE_MAX && !gone) {
        int rc = loop_take_locked(loop, &request);

        if (rc > 0) {
            if (loop->idle == 0 && loop->count < THREADS_MAX)
                (void)!loop_add_thread_locked(loop); /* without it requests wait a little longer */
            loop_serve_locked(loop, &request);
        } else if (rc != -EINTR && rc != -EAGAIN && rc != -ENOMEM) {
            loop_end_locked(loop, rc == -ECONNABORTED ? 0 : rc); /* some unmounts end in this, instead of in 0 */
            gone = true;
        }
    }
    DL_DELETE(loop->threads, thread);
    loop->count--;
    pthread_cond_signal(&loop->less);
    pthread_mutex_unlock(&loop->lock);
    free(request.mem);
    free(thread);
    return NULL;
}

/* End the session, while requests are refused, and then the threads. */
static void loop_finish(struct loop *loop, int (*end)(struct fs *fs, bool abandon))
{
    struct timespec until;
    struct thread *thread;

    pthread_mutex_lock(&loop->lock);
    while (loop->serving > 0)
        pthread_cond_wait(&loop->less, &loop->lock);
    assert(loop->changes.users == NULL);
    pthread_mutex_unlock(&loop->lock);
    if (end(loop->fs, loop->rc != 0) < 0)
        loop->rc = -EIO;
    pthread_mutex_lock(&loop->lock);
    loop->state = LOOP_OVER;
    while (loop->count > 0) {
        DL_FOREACH(loop->threads, thread)
            pthread_kill(thread->id, WAKE);
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += (until.tv_nsec += WAKE_NS) / SECOND_NS;
        until.tv_nsec %= SECOND_NS;
        pthread_cond_clockwait(&loop->less, &loop->lock, CLOCK_MONOTONIC, &until);
    }
    pthread_mutex_unlock(&loop->lock);
}

static void loop_start(struct loop *loop)
{
    int rc;

    pthread_mutex_lock(&loop->lock);
    rc = loop_add_thread_locked(loop);
    if (rc < 0)
        loop_end_locked(loop, rc);
    pthread_mutex_unlock(&loop->lock);
}

static bool loop_has_terminal(void)
{
    int fd = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

int fs_loop(struct fs *fs, void (*reload)(struct fs *fs), int (*end)(struct fs *fs, bool abandon))
{
    struct loop loop = {
        .fs = fs, .main = pthread_self(), .lock = PTHREAD_MUTEX_INITIALIZER, .less = PTHREAD_COND_INITIALIZER};
    bool serves = true;
    int number;

    loop_start(&loop);
    do {
        sigwait(&loop_awaited, &number);
        if (number == SIGHUP && !loop_has_terminal()) {
            reload(fs);
            continue;
        }
        pthread_mutex_lock(&loop.lock);
        if (number != WAKE) /* which anybody may send, too */
            loop_end_locked(&loop, number);
        serves = loop.state == LOOP_SERVES;
        pthread_mutex_unlock(&loop.lock);
    } while (serves);
    loop_finish(&loop, end);
    fuse_session_exit(fs->session); /* not before: libfuse drops what it receives from then on */
    return loop.rc;
}
