/* In place of libfuse's loop, whose threads can take a request along unanswered when they end, and which lets reads
 * wait behind changes that wait for a commit (changes_internal.h).
 *
 * A thread starts another one when it takes a request and nobody is left to take the next, so there are as many as
 * handlers that wait, up to THREADS_MAX; and one that comes back while IDLE_MAX wait for requests ends. (With 2 in
 * place of 16 a create took 432 us in place of 296. A thread that looks for 40 us whether there is another request,
 * before it sleeps, takes the CPU that the client needs: 324 us in place of 277 on 2 CPUs, and no less for a hot get.)
 *
 * With the option io_uring most requests come through rings (uring_internal.h). A queue's keeper starts a thread for
 * each that it takes, which stays with its ring. A request there keeps its thread until it is answered. So a change is
 * counted as served until then, waits for its turn in its thread, and is refused where too many wait; and so is a lock,
 * which can be waited for without end. What is left of the URING_MAX rings is for reads. When none is left, the keeper
 * serves.
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
#include "fs/transport/channel.h"
#include "fs/transport/uring_internal.h"

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
#define RINGS_KEPT 2 /* that wait in a queue with the memory of a large request */
#define WAKE SIGUSR1
#define STARVED_US 10000 /* until memory is asked for again */
#define WAKE_NS 10000000

/* Where requests come from: the device, or a CPU's queue. */
struct source {
    unsigned count, idle; /* threads; idle: of them, those that wait for a request */
};

struct thread {
    struct loop *loop;
    struct source *source;
    struct uring *ring; /* NULL: of the device */
    bool keeps;
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
    struct source device, *queues;
    unsigned queue_count;
    unsigned serving;
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

/* ring: the thread's, or NULL. returns 0; -ENOMEM, -EAGAIN */
static int loop_add_thread_locked(struct loop *loop, struct source *source, struct uring *ring, bool keeps)
{
    struct thread *thread = malloc(sizeof(*thread));
    int rc;

    if (thread == NULL)
        return -ENOMEM;
    *thread = (struct thread){.loop = loop, .source = source, .ring = ring, .keeps = keeps};
    rc = pthread_create(&thread->id, NULL, loop_run, thread);
    if (rc != 0) {
        free(thread);
        return -rc;
    }
    pthread_detach(thread->id);
    DL_APPEND(loop->threads, thread);
    source->count++;
    return 0;
}

/* Wait for a request. The lock is let go meanwhile. returns as fuse_session_receive_buf() */
static int loop_take_locked(struct thread *thread, struct fuse_buf *request)
{
    struct source *source = thread->source;
    struct loop *loop = thread->loop;
    bool trims = ++source->idle > RINGS_KEPT;
    int rc;

    pthread_mutex_unlock(&loop->lock);
    rc = thread->ring != NULL ? uring_take(thread->ring, trims, request)
                              : fuse_session_receive_buf(loop->fs->session, request);
    if (rc == -ENOMEM)
        usleep(STARVED_US);
    pthread_mutex_lock(&loop->lock);
    source->idle--;
    return rc;
}

/* A change that was aside for longer than it may take is refused, as the store refuses one that cannot get its writer
 * in time. But closes are served, however late: they give back what they hold. */
static bool loop_is_late(struct loop *loop, const struct fuse_in_header *header, int64_t since_ns)
{
    return fs_clock_ns(CLOCK_MONOTONIC) - since_ns > loop->fs->options->commit_timeout_ms * 1000000 &&
           header->opcode != FUSE_FLUSH && header->opcode != FUSE_RELEASE;
}

static void loop_refuse(struct loop *loop, const struct fuse_in_header *header, int rc)
{
    if (header->opcode != FUSE_FORGET && header->opcode != FUSE_BATCH_FORGET && header->opcode != FUSE_INTERRUPT)
        fs_channel_refuse(loop->fs, header->unique, rc);
}

/* The same, with a line for the user. */
static void loop_refuse_noted(struct loop *loop, const struct fuse_in_header *header, int rc)
{
    fs_error_log_add_rc(loop->fs, header->uid, "-", header->opcode == FUSE_SETLKW ? "a lock" : "a change", rc,
                        NULL);
    loop_refuse(loop, header, rc);
}

/* since_ns: when it came, where it was aside */
static void loop_process(struct loop *loop, const struct fuse_buf *request, int64_t since_ns)
{
    if (since_ns != 0 && loop_is_late(loop, request->mem, since_ns)) {
        loop_refuse_noted(loop, request->mem, -ETIMEDOUT);
        return;
    }
    fs_request_begin(request->mem, request->size);
    fuse_session_process_buf(loop->fs->session, request);
}

/* Serve what waits for a lock, perhaps, and keeps its thread until it has it: how many may is for who waits
 * (FS_LOCK_WAITS_URING). But not a keeper's: others would wait behind it, also who is to let the lock go. */
static void loop_serve_locker_locked(struct loop *loop, struct uring *ring, bool keeps,
                                     const struct fuse_buf *request)
{
    pthread_mutex_unlock(&loop->lock);
    if (keeps)
        loop_refuse_noted(loop, request->mem, -ENOLCK);
    else
        loop_process(loop, request, 0);
    pthread_mutex_lock(&loop->lock);
    loop->serving--;
    pthread_cond_signal(&loop->less);
    pthread_mutex_unlock(&loop->lock);
    uring_await(ring);
    pthread_mutex_lock(&loop->lock);
}

/* A change of *user was served: let others go on, or serve them. The lock is let go meanwhile. */
static void loop_go_on_locked(struct loop *loop, struct changes_user *user)
{
    struct change *change;
    bool passed = false;

    while (!passed && (change = changes_next_locked(&loop->changes, &user)) != NULL) {
        passed = change->turn != NULL;
        if (passed)
            sem_post(change->turn);
        pthread_mutex_unlock(&loop->lock);
        if (!passed)
            loop_process(loop, &(struct fuse_buf){.mem = change->bytes, .size = change->size}, change->since_ns);
        free(change);
        pthread_mutex_lock(&loop->lock);
    }
}

/* Serve a request, unless it has to wait, and what may be served behind it. The lock is let go meanwhile. */
static void loop_serve_locked(struct loop *loop, struct uring *ring, bool keeps, const struct fuse_buf *request)
{
    const struct fuse_in_header *header = request->mem;
    enum changes_verdict verdict;
    struct changes_user *user;
    int64_t since_ns = 0;

    if (loop->state != LOOP_SERVES) {
        loop_refuse(loop, header, -ENOTCONN);
        return;
    }
    loop->serving++;
    if (ring != NULL && header->opcode == FUSE_SETLKW) {
        loop_serve_locker_locked(loop, ring, keeps, request);
        return;
    }
    verdict = changes_enter_locked(&loop->changes, request, ring != NULL ? uring_turn(ring) : NULL, &user);
    if (verdict == CHANGES_REFUSE)
        loop_refuse_noted(loop, header, -EAGAIN);
    if (verdict == CHANGES_SERVE || (verdict == CHANGES_ASIDE && ring != NULL)) {
        pthread_mutex_unlock(&loop->lock);
        if (verdict == CHANGES_ASIDE) {
            since_ns = fs_clock_ns(CLOCK_MONOTONIC);
            uring_await_turn(ring);
        }
        loop_process(loop, request, since_ns);
        if (ring != NULL && user != NULL)
            uring_await(ring);
        pthread_mutex_lock(&loop->lock);
        if (user != NULL)
            loop_go_on_locked(loop, user);
    }
    loop->serving--;
    pthread_cond_signal(&loop->less);
}

/* returns 0; as loop_add_thread_locked() and uring_new_keeper() */
static int loop_add_keeper_locked(struct loop *loop, unsigned queue)
{
    struct uring *ring;
    int rc = uring_new_keeper(queue, fuse_session_fd(loop->fs->session), fs_channel_payload(), &ring);

    return rc == 0 ? loop_add_thread_locked(loop, &loop->queues[queue], ring, true) : rc;
}

/* INIT was served: is the kernel content? The lock is let go meanwhile. */
static void loop_begin_locked(struct loop *loop)
{
    enum fs_channel_state state = fs_channel_state();
    int rc = 0;

    if (state == FS_CHANNEL_WAITS)
        return;
    if (loop->fs->options->io_uring && state != FS_CHANNEL_URING)
        rc = -EOPNOTSUPP;
    for (unsigned i = 0; rc == 0 && i < loop->queue_count; i++)
        rc = loop_add_keeper_locked(loop, i);
    if (rc < 0) {
        loop_end_locked(loop, rc);
        return;
    }
    pthread_mutex_unlock(&loop->lock);
    loop->fs->mounted(loop->fs->mounted_arg);
    pthread_mutex_lock(&loop->lock);
}

/* Pass on what a keeper has taken to a thread of its own. returns false: there can be none more */
static bool loop_pass_locked(struct thread *keeper)
{
    struct uring *ring;

    if (uring_new_for(keeper->ring, &ring) < 0)
        return false;
    if (loop_add_thread_locked(keeper->loop, keeper->source, ring, false) < 0) {
        uring_spare_it(ring);
        return false;
    }
    uring_passed(keeper->ring);
    return true;
}

/* A request was taken: see to it that there is somebody to take the next, and serve it. */
static void loop_taken_locked(struct thread *thread, const struct fuse_buf *request)
{
    uint32_t opcode = ((const struct fuse_in_header *)request->mem)->opcode;
    struct loop *loop = thread->loop;

    if (thread->keeps && loop_pass_locked(thread))
        return;
    if (thread->ring == NULL && loop->device.idle == 0 && loop->device.count < THREADS_MAX)
        (void)!loop_add_thread_locked(loop, &loop->device, NULL, false); /* else requests wait a little longer */
    loop_serve_locked(loop, thread->ring, thread->keeps, request);
    if (opcode == FUSE_INIT)
        loop_begin_locked(loop);
}

/* What the device is told of the end ends the session. A ring hears of it, too; what else becomes of it must not be. */
static void loop_lose_locked(const struct thread *thread, int rc)
{
    if (thread->ring == NULL || rc < 0)
        loop_end_locked(thread->loop,
                        rc == -ECONNABORTED ? 0 : rc); /* some unmounts end in this, instead of in 0 */
}

static void *loop_run(void *arg)
{
    struct thread *thread = arg;
    struct source *source = thread->source;
    struct loop *loop = thread->loop;
    struct fuse_buf request = {.mem = NULL};
    bool gone = false;
    sigset_t wake;

    sigemptyset(&wake);
    sigaddset(&wake, WAKE);
    pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
    pthread_mutex_lock(&loop->lock);
    while (loop->state != LOOP_OVER && (thread->ring != NULL || source->idle < IDLE_MAX) && !gone) {
        int rc = loop_take_locked(thread, &request);

        if (rc > 0) {
            loop_taken_locked(thread, &request);
        } else if (rc != -EINTR && rc != -EAGAIN && rc != -ENOMEM) {
            loop_lose_locked(thread, rc);
            gone = true;
        }
    }
    if (thread->ring != NULL) {
        pthread_mutex_unlock(&loop->lock);
        uring_leave(thread->ring);
        pthread_mutex_lock(&loop->lock);
    } else {
        free(request.mem);
    }
    DL_DELETE(loop->threads, thread);
    source->count--;
    pthread_cond_signal(&loop->less);
    pthread_mutex_unlock(&loop->lock);
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
    while (loop->threads != NULL) {
        DL_FOREACH(loop->threads, thread)
            pthread_kill(thread->id, WAKE);
        until = fs_after_ns(WAKE_NS);
        pthread_cond_clockwait(&loop->less, &loop->lock, CLOCK_MONOTONIC, &until);
    }
    pthread_mutex_unlock(&loop->lock);
    uring_free_all();
    free(loop->queues);
}

static int loop_make_queues(struct loop *loop)
{
    loop->queue_count = loop->fs->options->io_uring ? uring_queues() : 0;
    loop->queues = calloc(loop->queue_count + 1, sizeof(*loop->queues));
    return loop->queues == NULL ? -ENOMEM : 0;
}

static void loop_start(struct loop *loop)
{
    int rc = loop_make_queues(loop);

    pthread_mutex_lock(&loop->lock);
    if (rc == 0)
        rc = loop_add_thread_locked(loop, &loop->device, NULL, false);
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
