/* What processes have the store open for, by files in STORE/mounts/.
 *
 * A process that announces itself makes a file of a random name, and holds an open file description lock on all of it
 * until it closes the store. So the kernel tells who reads the file whether its process is there: whatever ends that,
 * the lock is gone. A file without a lock is removed by whoever sees it, under a shared lock. It may be that of a
 * process which has just made it and not locked it yet: that one finds it locked, or without its name, and makes
 * another.
 *
 * Only the store's user can write there, and what is read is taken for a text and nothing else. */
#include "store/api/store.h"

#include "store/base/owner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRECTORY "mounts"

enum { FILE_NAME = 16 + 1, TRIES = 16 };

/* STORE/mounts, made where it is absent and `make` is set. returns a descriptor; negative errno */
static int mounts_open(struct kv_store *store, bool make)
{
    int store_fd = store->backend->ops->directory(store->backend);

    return store_fd < 0 ? -EOPNOTSUPP : owner_open_directory(store_fd, DIRECTORY, make);
}

/* --------------------------------------------------------------------------- reading */

/* Has the file a lock, by a process that is there? Else nobody gets one before the descriptor is closed. */
static bool mounts_is_held(int fd)
{
    struct flock all = {.l_type = F_RDLCK, .l_whence = SEEK_SET};

    return fcntl(fd, F_OFD_SETLK, &all) != 0;
}

static int mounts_visit(int dir_fd, const char *name, kv_announced_visit *visit, void *arg)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), rc = 0;
    char text[KV_ANNOUNCEMENT_MAX + 1];
    struct stat file;
    ssize_t size;

    if (fd < 0)
        return 0;
    if (fstat(fd, &file) == 0 && S_ISREG(file.st_mode) && !mounts_is_held(fd)) {
        unlinkat(dir_fd, name, 0); /* who may not do so leaves it to others */
    } else if (visit != NULL && S_ISREG(file.st_mode)) {
        size = pread(fd, text, sizeof(text) - 1, 0);
        text[size > 0 ? size : 0] = '\0';
        if (size > 0)
            rc = visit(arg, text);
    }
    close(fd);
    return rc;
}

/* visit NULL: only remove what killed processes left. */
static int mounts_look(struct kv_store *store, kv_announced_visit *visit, void *arg)
{
    int fd = mounts_open(store, false), rc = 0;
    struct dirent *entry;
    DIR *list;

    if (fd < 0)
        return fd == -ENOENT || fd == -EOPNOTSUPP ? 0 : fd;
    list = fdopendir(fd);
    if (list == NULL) {
        close(fd);
        return -ENOMEM;
    }
    while (rc == 0 && (entry = readdir(list)) != NULL)
        if (strlen(entry->d_name) == FILE_NAME - 1)
            rc = mounts_visit(dirfd(list), entry->d_name, visit, arg);
    closedir(list);
    return rc;
}

int kv_announced(struct kv_store *store, kv_announced_visit *visit, void *arg)
{
    return mounts_look(store, visit, arg);
}

/* ------------------------------------------------------------------------ announcing */

/* Make a file, lock it, and see that it is still there.
 * returns  a descriptor; -EAGAIN somebody removed it, or has one of this name; negative errno */
static int mounts_make(int dir_fd, char name[FILE_NAME])
{
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct stat file;
    uint64_t number;
    int fd, rc;

    if (getrandom(&number, sizeof(number), 0) != sizeof(number))
        return -EAGAIN;
    snprintf(name, FILE_NAME, "%016" PRIx64, number);
    fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == EEXIST ? -EAGAIN : -errno;
    rc = fcntl(fd, F_OFD_SETLK, &all) != 0 || fstat(fd, &file) != 0 ? -errno : owner_give(dir_fd, fd);
    if (rc == 0 && file.st_nlink == 0)
        rc = -EAGAIN;
    if (rc == 0)
        return fd;
    if (rc != -EAGAIN)
        unlinkat(dir_fd, name, 0);
    close(fd);
    return rc;
}

static int mounts_write(int dir_fd, const char *text)
{
    size_t size = strlen(text);
    char name[FILE_NAME];
    ssize_t written;
    int fd = -EAGAIN, rc;

    for (int i = 0; i < TRIES && fd == -EAGAIN; i++)
        fd = mounts_make(dir_fd, name);
    if (fd < 0)
        return fd;
    written = pwrite(fd, text, size, 0);
    if (written == (ssize_t)size)
        return fd;
    rc = written < 0 ? -errno : -ENOSPC;
    unlinkat(dir_fd, name, 0);
    close(fd);
    return rc;
}

int kv_announce(struct kv_store *store, const char *text)
{
    int dir_fd, rc;

    if (strlen(text) > KV_ANNOUNCEMENT_MAX)
        return -EFBIG;
    dir_fd = mounts_open(store, true);
    if (dir_fd < 0)
        return dir_fd;
    rc = mounts_write(dir_fd, text);
    close(dir_fd);
    if (rc < 0)
        return rc;
    store->announced = rc;
    (void)mounts_look(store, NULL, NULL); /* removes what killed processes left */
    return 0;
}

/* The name is not known any more, and need not be: without its lock the file is nobody's. */
void mounts_end(struct kv_store *store)
{
    if (store->announced < 0)
        return;
    close(store->announced);
    store->announced = -1;
    (void)mounts_look(store, NULL, NULL); /* removes it */
}
