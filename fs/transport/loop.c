/* A thread starts another one when it takes a request and nobody is left to take the next, so there are as many as
 * handlers that wait (for a commit, or for each other), up to THREADS_MAX; and one that comes back while IDLE_MAX wait
 * for requests ends.
 *
 * The main thread waits for signals. WAKE is ours: to the main thread it says that a thread has met the end of the
 * session; to a thread that waits for a request, that the end has come: its read is interrupted. It may come just
 * before the read, so it is sent until all are gone.
 */
#include "fs/loop.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#define THREADS_MAX 64
#define IDLE_MAX 16
#define WAKE SIGUSR1
#define STARVED_US 10000 /* until memory is asked for again */
#define WAKE_NS 10000000

struct thread {
    struct loop *loop;
    pthread_t id;
    struct thread *prev, *next;
};

struct loop {
    struct fuse_session *session;
    pthread_t main;

    pthread_mutex_t lock;
    pthread_cond_t gone;    /* a thread has ended */
    struct thread *threads; /* all; the struct is the thread's, the list the loop's */
    unsigned count, idle;
    bool over;
    int rc;
};

static sigset_t awaited; /* by the main thread; blocked everywhere */

static void wake_up(int number) { (void)number; }

void fs_loop_block_signals(void)
{
    static const int ends[] = {SIGTERM, SIGINT, SIGHUP};
    const struct sigaction woken = {.sa_handler = wake_up}, ignored = {.sa_handler = SIG_IGN};
    struct sigaction before;

    sigemptyset(&awaited);
    sigaddset(&awaited, WAKE);
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) /* what nohup has ignored stays so */
        if (sigaction(ends[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaddset(&awaited, ends[i]);
    pthread_sigmask(SIG_BLOCK, &awaited, NULL);
    sigaction(WAKE, &woken, NULL);
    sigaction(SIGPIPE, &ignored, NULL);
}

/* The end, for whatever reason. The lock is held. */
static void end(struct loop *loop, int rc)
{
    if (loop->over)
        return;
    loop->over = true;
    loop->rc = rc;
    pthread_kill(loop->main, WAKE);
}

static void *serve(void *arg);

/* The lock is held. returns 0; -ENOMEM, -EAGAIN */
static int add_thread(struct loop *loop)
{
    struct thread *thread = malloc(sizeof(*thread));
    int rc;

    if (thread == NULL)
        return -ENOMEM;
    thread->loop = loop;
    rc = pthread_create(&thread->id, NULL, serve, thread);
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
static int take(struct loop *loop, struct fuse_buf *request)
{
    int rc;

    loop->idle++;
    pthread_mutex_unlock(&loop->lock);
    rc = fuse_session_receive_buf(loop->session, request);
    if (rc == -ENOMEM)
        usleep(STARVED_US);
    pthread_mutex_lock(&loop->lock);
    loop->idle--;
    return rc;
}

static void *serve(void *arg)
{
    struct thread *thread = arg;
    struct loop *loop = thread->loop;
    struct fuse_buf request = {.mem = NULL};
    sigset_t wake;

    sigemptyset(&wake);
    sigaddset(&wake, WAKE);
    pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
    pthread_mutex_lock(&loop->lock);
    while (!loop->over && loop->idle < IDLE_MAX) {
        int rc = take(loop, &request);

        if (rc > 0) {
            if (loop->idle == 0 && loop->count < THREADS_MAX)
                (void)!add_thread(loop); /* without it requests wait a little longer */
            pthread_mutex_unlock(&loop->lock);
            fuse_session_process_buf(loop->session, &request);
            pthread_mutex_lock(&loop->lock);
        } else if (rc != -EINTR && rc != -EAGAIN && rc != -ENOMEM) {
            end(loop, rc == -ECONNABORTED ? 0 : rc); /* some unmounts end in this, instead of in 0 */
        }
    }
    DL_DELETE(loop->threads, thread);
    loop->count--;
    pthread_cond_signal(&loop->gone);
    pthread_mutex_unlock(&loop->lock);
    free(request.mem);
    free(thread);
    return NULL;
}

static void wait_for_all(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    while (loop->count > 0) {
        struct timespec until;
        struct thread *thread;

        DL_FOREACH(loop->threads, thread)
            pthread_kill(thread->id, WAKE);
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += WAKE_NS;
        if (until.tv_nsec >= 1000000000) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000;
        }
        pthread_cond_clockwait(&loop->gone, &loop->lock, CLOCK_MONOTONIC, &until);
    }
    pthread_mutex_unlock(&loop->lock);
}

int fs_loop(struct fuse_session *session)
{
    struct loop loop = {.session = session,
                        .main = pthread_self(),
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .gone = PTHREAD_COND_INITIALIZER};
    int number, rc;
    bool over;

    pthread_mutex_lock(&loop.lock);
    rc = add_thread(&loop);
    pthread_mutex_unlock(&loop.lock);
    if (rc < 0)
        return rc;
    do {
        sigwait(&awaited, &number);
        pthread_mutex_lock(&loop.lock);
        if (number != WAKE) /* which anybody may send, too */
            end(&loop, number);
        over = loop.over;
        pthread_mutex_unlock(&loop.lock);
    } while (!over);
    wait_for_all(&loop);
    fuse_session_exit(session); /* not before: libfuse drops what it receives from then on */
    return loop.rc;
}
