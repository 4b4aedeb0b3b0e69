/* Rings: requests that come over io_uring in place of /dev/fuse.
 *
 * The kernel has a queue of requests for each CPU, and gives them to the queue's *entries*: buffers of ours, which some
 * io_uring has submitted. Who submitted an entry last fetches its next request, too. A ring here is an io_uring with a
 * thread, and mostly with one entry:
 *
 *   ARMED     the entry is the kernel's, and the thread waits in io_uring_enter(2)
 *   TAKEN     a request is in the entry, and the thread serves it, or waits for who answers it
 *   ANSWERED  the answer is in the entry; the thread's next wait gives it back and arms it, in one system call
 *
 * So the kernel gives a request only to a thread that waits, and to the one that armed its entry last: none stands
 * behind another one, as it would where a thread has more entries. Others who answer a request fill its entry and wake
 * its thread. The price is that a request that is not answered keeps a thread; loop.c says how many there can be.
 *
 * A request that finds no entry waits in the kernel until one is answered in its queue: a new one does not fetch it. So
 * each queue has a *keeper*, a ring with URING_STOCK entries that were armed first, and so come last. Its thread serves
 * nothing: it passes each request, in its entry, on to a new ring, and registers others when half are gone.
 *
 * An entry once armed cannot be taken back, but by the end of its thread, which fails a request that comes just then.
 * So rings stay until the session ends. What large requests have touched is given back while it waits.
 *
 * FORGET, INTERRUPT and notifications go through /dev/fuse. */
#ifndef KVFS_FS_TRANSPORT_URING_INTERNAL_H
#define KVFS_FS_TRANSPORT_URING_INTERNAL_H

#include "fs/base/fs.h"

#include <semaphore.h>
#include <sys/uio.h>

#define URING_MAX 2048  /* rings */
#define URING_STOCK 256 /* entries of a keeper: requests that can come to a CPU at once */

struct uring;

/* The number of queues: CPUs that there can ever be. returns 0 where nobody knows */
unsigned uring_queues(void);

/* Make the keeper of a queue. payload: bytes that the kernel asks for.
 * returns  0; -EMFILE there are URING_MAX, or few descriptors are left; another negative errno
 * threads  one at a time, of all that make or spare a ring */
KV_CHECKED int uring_new_keeper(unsigned queue, int device, size_t payload, struct uring **out);
/* Make a ring that takes first what the keeper has taken. returns as above */
KV_CHECKED int uring_new_for(const struct uring *keeper, struct uring **out);
/* It has a thread, so the keeper has it no more. The keeper's thread. */
void uring_passed(struct uring *keeper);
/* It gets none: keep the ring for the next time. */
void uring_spare_it(struct uring *ring);
/* Free all rings. Their threads have ended, and nothing is answered any more. */
void uring_free_all(void);

/* Give the answer back, and wait for the next request. It lies in the entry until it is answered.
 * trims    give back the memory that a large one took, too: for a ring that will hardly be needed soon
 * returns  as fuse_session_receive_buf(): its size; 0 the session has ended; -EINTR a signal came, and nothing else;
 *          -EAGAIN; -ENOMEM; another negative errno: the ring is of no use any more
 * threads  the ring's, always the same one */
int uring_take(struct uring *ring, bool trims, struct fuse_buf *request);

/* Wait until the request that was taken is answered, by whomever. The ring's thread. */
void uring_await(struct uring *ring);

/* Give the last answer back, and wait for nothing more. The ring's thread, before it ends. */
void uring_leave(struct uring *ring);

/* What others post when it is the request's turn (changes_internal.h), and waiting for it. */
sem_t *uring_turn(struct uring *ring);
void uring_await_turn(struct uring *ring);

/* Answer a request, as by writev(2) on /dev/fuse: the first part is a struct fuse_out_header.
 * returns  false: it did not come through a ring
 * threads  any */
bool uring_answer(const struct iovec *parts, int count);

/* Is there a request of this number in a ring, and not answered? threads: any */
bool uring_has(uint64_t number);

#endif
