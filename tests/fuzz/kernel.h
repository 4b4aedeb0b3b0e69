/* The kernel's side of a FUSE session, in memory: it sends requests to a session that is not mounted, takes the
 * replies, and remembers what it was given.
 *
 * As the kernel it names only nodes that a reply gave it and that it has not forgotten, reads and writes only
 * through handles that are open for it, and uses a handle no more once it is released. Every request but FORGET
 * and BATCH_FORGET gets exactly one reply; each reply and each notification is checked for its form. A request may
 * be interrupted: its reply is refused as the kernel does it, and nothing of it is remembered.
 *
 * All functions but the session's own writes are for one thread. */
#ifndef KVFS_TESTS_FUZZ_KERNEL_H
#define KVFS_TESTS_FUZZ_KERNEL_H

#include "fs/base/fs.h"

#define KERNEL_NODES 256
#define KERNEL_HANDLES 24
#define KERNEL_BODY_MAX (256u * 1024)

struct kernel_node {
    uint64_t id, lookups; /* not known where lookups is 0 */
    uint32_t type;        /* S_IFDIR ... */
    unsigned opens;
};

struct kernel_handle {
    struct kernel_node *node; /* NULL: free */
    uint64_t id;
    int flags; /* of open(2) */
    bool no_flush;
};

struct kernel_request {
    uint32_t opcode;
    const struct kernel_node *node;
    bool interrupted;
    bool left; /* not waited for: the reply comes when it comes */
    size_t size;
    uint8_t body[KERNEL_BODY_MAX];
};

/* A reply, until the next request. */
struct kernel_reply {
    int error; /* as a positive errno; 0: body is what was asked for */
    bool lost; /* the request was interrupted, or left */
    const uint8_t *body;
    size_t size;
};

/* Begin with a session that was set up: the root is known. */
void kernel_start(struct fs *fs);
/* Nothing may be open or waited for any more. */
void kernel_stop(void);

/* Add to the body of a request. */
void kernel_add(struct kernel_request *request, const void *bytes, size_t size);
void kernel_add_name(struct kernel_request *request, const char *name);

struct kernel_reply kernel_send(const struct kernel_request *request);
/* Wait until all that was left is answered. */
void kernel_wait(void);

struct kernel_node *kernel_root(void);
struct kernel_node *kernel_nodes(void);     /* KERNEL_NODES of them */
struct kernel_handle *kernel_handles(void); /* KERNEL_HANDLES of them */

/* Remember an entry of a reply. returns  its node, or NULL for a negative entry */
struct fuse_entry_out;
struct kernel_node *kernel_add_entry(const struct fuse_entry_out *entry);
/* Is there room for another node, or handle? */
bool kernel_has_room(size_t nodes);
struct kernel_handle *kernel_free_handle(void);
/* Forget lookups, at most as many as there are. */
void kernel_forget(struct kernel_node *node, uint64_t lookups);

#endif
