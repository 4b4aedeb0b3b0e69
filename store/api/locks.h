/* Locks of names: where their files are. kv.h declares what is done with them. */
#ifndef KVFS_STORE_LOCKS_H
#define KVFS_STORE_LOCKS_H

#include "store/kv.h"

#include <pthread.h>

struct locks {
    int store_fd;                /* the store's directory; -1: there is none */
    pthread_mutex_t lock;        /* a leaf; guards what follows */
    int dir_fd;                  /* STORE/locks; -1: not opened yet, or it cannot be */
    struct locks_memory *memory; /* of names that cannot have a file, by their file's name */
};

/* dir: the store's directory; NULL: there is none. returns 0; negative errno: what open(2) says of it */
KV_CHECKED int locks_init(struct locks *locks, const char *dir);
/* No lock may be open. */
void locks_destroy(struct locks *locks);

#endif
