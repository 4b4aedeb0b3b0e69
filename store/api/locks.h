/* Locks of names: where their files are. kv.h declares what is done with them. */
#ifndef KVFS_STORE_LOCKS_H
#define KVFS_STORE_LOCKS_H

#include "store/kv.h"

#include <pthread.h>

struct locks {
    int store_fd;                /* the store's directory, borrowed; -1: there is none */
    pthread_mutex_t lock;        /* a leaf; guards what follows */
    int dir_fd;                  /* STORE/locks; -1: not opened yet, or it cannot be */
    struct locks_memory *memory; /* of names that cannot have a file, by their file's name */
};

/* store_fd: of the store's directory, borrowed; -1: there is none */
void locks_init(struct locks *locks, int store_fd);
/* No lock may be open. */
void locks_destroy(struct locks *locks);

#endif
