/* Copying: the pages of one read transaction, renumbered so that none is free, as a stream of bytes.
 *
 * The stream is a data.mdb: both headers, which are the same but for their transactions, and then the pages (pages.c).
 * It is made by reading the file, not the map: so a damaged page, or one that the disk cannot read, is an answer and
 * never a signal. The first of two walks only looks and counts: damage is told before anything is written, and the
 * headers, which come first in the stream, know the last page.
 *
 * LMDB's own copy (mdb_env_copyfd2) does not fit: it reads the map without a guard on one thread and writes on
 * another, so a damaged page ends the process; and it begins the transaction itself, without the care of engine.c.
 *
 * The transaction pins pages that are freed meanwhile, until its end. No lock is held: writers go on. */
#include "store/lmdb/format_internal.h"
#include "store/lmdb/lmdb_internal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BEGINS_MAX 100           /* that commits of others overtake */
#define BUFFER ((size_t)1 << 20) /* bytes that are written at once */

/* A stream under way. */
struct copy {
    struct engine_copy *copy;
    uint8_t *buffer;
    size_t used;
    struct kv_error *error; /* "": nothing was said yet */
};

/* ---------------------------------------------------------------------------- writing */

/* Wait until a descriptor that does not block takes more. */
static int copy_wait(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};

    return poll(&poll_fd, 1, -1) >= 0 || errno == EINTR ? 0 : -errno;
}

static int copy_write(int fd, const uint8_t *bytes, size_t size)
{
    int rc = 0;

    for (size_t done = 0; rc == 0 && done < size;) {
        ssize_t written = write(fd, bytes + done, size - done);

        if (written >= 0)
            done += (size_t)written;
        else if (errno == EAGAIN)
            rc = copy_wait(fd);
        else if (errno != EINTR)
            rc = -errno;
    }
    return rc;
}

static int copy_flush(struct copy *copy)
{
    const struct kv_progress *progress = copy->copy->progress;
    int rc = copy_write(copy->copy->fd, copy->buffer, copy->used);

    if (rc < 0)
        snprintf(copy->error->text, sizeof(copy->error->text), "the copy could not be written: %s",
                 rc == -EPIPE ? "nobody reads it" : strerror(-rc));
    if (rc < 0)
        return lmdb_errno(-rc);
    copy->copy->bytes += copy->used;
    copy->used = 0;
    if (progress != NULL)
        progress->tell(progress->arg, copy->copy->bytes, copy->copy->total);
    return 0;
}

static int copy_put(void *arg, const uint8_t *bytes, size_t size)
{
    struct copy *copy = arg;
    int rc = 0;

    while (rc == 0 && size > 0) {
        size_t part = BUFFER - copy->used < size ? BUFFER - copy->used : size;

        memcpy(copy->buffer + copy->used, bytes, part);
        copy->used += part;
        bytes += part;
        size -= part;
        if (copy->used == BUFFER)
            rc = copy_flush(copy);
    }
    return rc;
}

/* ---------------------------------------------------------------------------- walking */

static void copy_found(void *arg, const char *what)
{
    struct copy *copy = arg;

    if (copy->error->text[0] == '\0')
        snprintf(copy->error->text, sizeof(copy->error->text),
                 "%.300s; go back to an older copy, or save with a read-only mount (-o ro) what can be read",
                 what);
}

/* Both headers of the file that a header leads to now, a page each. */
static int copy_put_headers(struct copy *copy, const uint8_t *header, uint64_t page_size)
{
    uint64_t txn = format_u64(header + META_TXN);
    uint8_t *page = calloc(1, page_size);
    int rc = page == NULL ? -ENOMEM : 0;

    for (uint64_t i = 0; rc == 0 && i < 2; i++) {
        uint64_t of = txn - (txn % 2 != i);

        memcpy(page, header, META_SIZE);
        memcpy(page, &i, sizeof(i)); /* the number of the page */
        memcpy(page + META_TXN, &of, sizeof(of));
        rc = copy_put(copy, page, page_size);
    }
    free(page);
    return rc;
}

static int copy_all(struct copy *copy, struct lmdb *lmdb, const uint8_t *header)
{
    struct lmdb_pages pages = {
        .page_size = lmdb->page_size, .found = copy_found, .arg = copy, .copies = true, .put_arg = copy};
    uint8_t counted[META_SIZE], walked[META_SIZE];
    int rc;

    memcpy(counted, header, META_SIZE);
    memcpy(walked, header, META_SIZE);
    mdb_env_get_fd(lmdb->env, &pages.fd);
    rc = lmdb_pages_walk(&pages, counted);
    if (rc == 0) {
        copy->copy->total = (format_u64(counted + META_LAST) + 1) * lmdb->page_size;
        rc = copy_put_headers(copy, counted, lmdb->page_size);
    }
    pages.put = copy_put;
    if (rc == 0)
        rc = lmdb_pages_walk(&pages, walked);
    if (rc == 0)
        rc = copy_flush(copy);
    /* What was read twice was not twice the same: the disk gave something else. */
    return rc == 0 && memcmp(counted, walked, META_SIZE) != 0 ? -EIO : rc;
}

/* A read transaction, and the first bytes of the page with its header. */
static int copy_begin(struct lmdb *lmdb, struct lmdb_txn **out, uint8_t *header)
{
    int rc = -EAGAIN;

    for (int begins = 0; rc == -EAGAIN && begins < BEGINS_MAX; begins++) {
        rc = lmdb_txn_begin(lmdb, false, out);
        if (rc < 0)
            return rc;
        rc = lmdb_pages_header(*out, header);
        if (rc < 0)
            lmdb_txn_abort(*out);
    }
    return rc == -EAGAIN ? -ETIMEDOUT : rc;
}

/* A pipe that nobody reads sends a signal to who writes: the answer is -EPIPE instead, and the signal is taken away
 * where it was not waiting before. */
static int copy_without_sigpipe(struct copy *copy, struct lmdb *lmdb, const uint8_t *header)
{
    const struct timespec now = {0};
    sigset_t pipe, before, pending;
    int rc;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    rc = copy_all(copy, lmdb, header);
    if (rc == -EPIPE && !sigismember(&pending, SIGPIPE))
        while (sigtimedwait(&pipe, NULL, &now) < 0 && errno == EINTR)
            ;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

int lmdb_copy(struct engine *engine, struct engine_copy *out, struct kv_error *error)
{
    struct lmdb *lmdb = (struct lmdb *)engine;
    struct copy copy = {.copy = out, .error = error, .buffer = malloc(BUFFER)};
    uint8_t header[META_SIZE];
    struct lmdb_txn *txn;
    int rc = copy.buffer == NULL ? -ENOMEM : 0;

    out->bytes = out->total = 0;
    error->text[0] = '\0';
    if (rc == 0)
        rc = copy_begin(lmdb, &txn, header);
    if (rc == 0) {
        rc = copy_without_sigpipe(&copy, lmdb, header);
        lmdb_txn_abort(txn);
    }
    free(copy.buffer);
    if (rc < 0 && error->text[0] == '\0')
        snprintf(error->text, sizeof(error->text), "the store cannot be copied: %s", strerror(-rc));
    return rc;
}
