/* The stores that this process has open, by the identity of their directories.
 *
 * LMDB keeps its readers and its writer apart by fcntl locks on lock.mdb, and the kernel drops all of a process's locks
 * on a file as soon as the process closes any descriptor of it. So a second environment of one directory in one
 * process damages the first when it is closed: others take the store for unused, and make its table of readers anew.
 * The same store by another path, or a link, is the same directory.
 *
 * A child that was forked has none of its parent's locks, so entries of another process do not count.
 */
#include "store/lmdb/lmdb_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct registry_entry {
    dev_t device;
    ino_t inode;
    pid_t process;
    struct registry_entry *next;
};

static struct {
    pthread_mutex_t lock;
    struct registry_entry *first;
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The link that points to the entry, or the one at the end. */
static struct registry_entry **registry_find_locked(const struct stat *dir)
{
    struct registry_entry **link = &registry.first;

    while (*link != NULL &&
           ((*link)->device != dir->st_dev || (*link)->inode != dir->st_ino || (*link)->process != getpid()))
        link = &(*link)->next;
    return link;
}

int lmdb_registry_enter(int dir_fd)
{
    struct registry_entry *entry, **link;
    struct stat dir;
    int rc = 0;

    if (fstat(dir_fd, &dir) != 0)
        return -errno;
    entry = malloc(sizeof(*entry));
    if (entry == NULL)
        return -ENOMEM;
    pthread_mutex_lock(&registry.lock);
    link = registry_find_locked(&dir);
    if (*link != NULL) {
        rc = -EBUSY;
    } else {
        *entry = (struct registry_entry){dir.st_dev, dir.st_ino, getpid(), NULL};
        *link = entry;
    }
    pthread_mutex_unlock(&registry.lock);
    if (rc < 0)
        free(entry);
    return rc;
}

void lmdb_registry_leave(int dir_fd)
{
    struct registry_entry *entry = NULL, **link;
    struct stat dir;

    if (fstat(dir_fd, &dir) != 0)
        return; /* of an open directory only a disk that is gone: nobody opens that again */
    pthread_mutex_lock(&registry.lock);
    link = registry_find_locked(&dir);
    if (*link != NULL) {
        entry = *link;
        *link = entry->next;
    }
    pthread_mutex_unlock(&registry.lock);
    free(entry);
}
