/* usage: kvfs-bench-floor [-o io_uring] MOUNTPOINT [PREFIX COUNT SIZE]...
 *
 * The floor of the benchmark: a file system of one flat directory whose files live in memory, over libfuse's low-level
 * API and threads. It answers and does nothing else, so what it takes is what FUSE itself takes. The kernel is told to
 * keep all that it was told, as kvfs tells it: names and attributes for an hour, pages over opens, a cold small
 * value along with its open, and no flush for who only reads.
 *
 * It begins with COUNT files of SIZE bytes, PREFIX0, PREFIX1 ..., as work.c puts them: mounted anew it is cold, and has
 * its files. With io_uring requests come as those of kvfs do with that option, by the transport of kvfs.
 * It stays in the foreground, cannot list its directory, and forgets all when it ends. */
#define FUSE_USE_VERSION 312

#include "fs/transport/channel.h"
#include "fs/transport/loop.h"
#include "fs/transport/uring.h"
#include "tools/bench/work.h"
#include "tools/cli/cli.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uthash.h>

#define FLOOR_TIMEOUT 3600.0
#define FLOOR_PUSH_MAX ((size_t)128 * 1024) /* as large as kvfs pushes */
#define FLOOR_ROOM ((size_t)128)
#define FLOOR_IO (1u << 20)
#define FLOOR_BACKGROUND 64
#define FLOOR_WAIT_MS 30000

struct floor_file {
    char *name;
    char *data;
    size_t size, room;
    uint64_t lookups; /* that the kernel has not forgotten; it forgets no open file */
    bool linked;      /* in the table */
    bool has_pages;   /* the kernel has them, or was asked to */
    UT_hash_handle hh;
};

static pthread_mutex_t floor_lock = PTHREAD_MUTEX_INITIALIZER; /* of all there is */
static struct floor_file *floor_files;
static struct fuse_session *floor_session;

static struct floor_file *floor_file(fuse_ino_t ino)
{
    return ino == FUSE_ROOT_ID ? NULL : (struct floor_file *)(uintptr_t)ino;
}

static struct stat floor_stat_locked(const struct floor_file *file)
{
    struct stat st = {.st_uid = getuid(), .st_gid = getgid(), .st_ino = FUSE_ROOT_ID, .st_nlink = 1};

    st.st_mode = file == NULL ? S_IFDIR | 0755 : S_IFREG | 0644;
    if (file != NULL) {
        st.st_ino = (uintptr_t)file;
        st.st_size = (off_t)file->size;
    }
    return st;
}

static struct fuse_entry_param floor_entry_locked(struct floor_file *file)
{
    struct fuse_entry_param entry = {.entry_timeout = FLOOR_TIMEOUT, .attr_timeout = FLOOR_TIMEOUT};

    if (file != NULL) { /* else the kernel keeps that there is none */
        file->lookups++;
        entry.ino = (uintptr_t)file;
        entry.attr = floor_stat_locked(file);
    }
    return entry;
}

/* Make room; what is beyond the file's size is not set. */
static int floor_reserve_locked(struct floor_file *file, size_t size)
{
    size_t room = file->room > 0 ? file->room : FLOOR_ROOM;
    char *data;

    while (room < size)
        room *= 2;
    if (room == file->room)
        return 0;
    data = realloc(file->data, room);
    if (data == NULL)
        return -ENOMEM;
    file->data = data;
    file->room = room;
    return 0;
}

static int floor_resize_locked(struct floor_file *file, size_t size, char with)
{
    int rc = floor_reserve_locked(file, size);

    if (rc < 0)
        return rc;
    if (size > file->size)
        memset(file->data + file->size, with, size - file->size);
    file->size = size;
    return 0;
}

static int floor_write_locked(struct floor_file *file, const char *bytes, size_t size, size_t from)
{
    int rc = from > file->size ? floor_resize_locked(file, from, '\0') : 0;

    if (rc == 0)
        rc = floor_reserve_locked(file, from + size);
    if (rc < 0)
        return rc;
    memcpy(file->data + from, bytes, size);
    if (from + size > file->size)
        file->size = from + size;
    return 0;
}

static struct floor_file *floor_new_locked(const char *name)
{
    struct floor_file *file = calloc(1, sizeof(*file));

    if (file == NULL || (file->name = strdup(name)) == NULL) {
        free(file);
        return NULL;
    }
    file->linked = true;
    HASH_ADD_KEYPTR(hh, floor_files, file->name, strlen(file->name), file);
    return file;
}

static void floor_free_unused_locked(struct floor_file *file)
{
    if (file->linked || file->lookups > 0)
        return;
    free(file->name);
    free(file->data);
    free(file);
}

static void floor_unlink_locked(struct floor_file *file)
{
    HASH_DEL(floor_files, file);
    file->linked = false;
    floor_free_unused_locked(file);
}

static void floor_init(void *userdata, struct fuse_conn_info *conn)
{
    (void)userdata;
    conn->want = FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_PARALLEL_DIROPS;
    conn->want &= conn->capable;
    conn->max_write = FLOOR_IO;
    conn->max_readahead = FLOOR_IO;
    conn->max_background = FLOOR_BACKGROUND;
}

static void floor_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
    struct floor_file *file = floor_file(ino);

    pthread_mutex_lock(&floor_lock);
    if (file != NULL) {
        file->lookups -= count;
        floor_free_unused_locked(file);
    }
    pthread_mutex_unlock(&floor_lock);
    fuse_reply_none(req);
}

static void floor_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param entry;
    struct floor_file *file;

    (void)parent;
    pthread_mutex_lock(&floor_lock);
    HASH_FIND_STR(floor_files, name, file);
    entry = floor_entry_locked(file);
    pthread_mutex_unlock(&floor_lock);
    fuse_reply_entry(req, &entry);
}

static void floor_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stat st;

    (void)fi;
    pthread_mutex_lock(&floor_lock);
    st = floor_stat_locked(floor_file(ino));
    pthread_mutex_unlock(&floor_lock);
    fuse_reply_attr(req, &st, FLOOR_TIMEOUT);
}

static void floor_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
    struct floor_file *file = floor_file(ino);
    struct stat st;
    int rc = 0;

    (void)fi;
    pthread_mutex_lock(&floor_lock);
    if (file != NULL && to_set & FUSE_SET_ATTR_SIZE)
        rc = floor_resize_locked(file, (size_t)attr->st_size, '\0');
    st = floor_stat_locked(file);
    pthread_mutex_unlock(&floor_lock);
    if (rc < 0)
        fuse_reply_err(req, -rc);
    else
        fuse_reply_attr(req, &st, FLOOR_TIMEOUT);
}

/* What an open does to the file, and is answered. */
static void floor_open_locked(struct floor_file *file, struct fuse_file_info *fi)
{
    struct fuse_bufvec bytes = FUSE_BUFVEC_INIT(file->size);

    fi->keep_cache = 1;
    fi->noflush = (fi->flags & O_ACCMODE) == O_RDONLY;
    if (fi->flags & O_TRUNC)
        file->size = 0;
    if (!file->has_pages && file->size > 0 && file->size <= FLOOR_PUSH_MAX) {
        bytes.buf[0].mem = file->data;
        fuse_lowlevel_notify_store(floor_session, (uintptr_t)file, 0, &bytes, 0);
    }
    file->has_pages = true;
}

static void floor_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    pthread_mutex_lock(&floor_lock);
    floor_open_locked(floor_file(ino), fi);
    pthread_mutex_unlock(&floor_lock);
    fuse_reply_open(req, fi);
}

static void floor_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                         struct fuse_file_info *fi)
{
    struct fuse_entry_param entry;
    struct floor_file *file;

    (void)parent, (void)mode;
    pthread_mutex_lock(&floor_lock);
    HASH_FIND_STR(floor_files, name, file);
    if (file == NULL)
        file = floor_new_locked(name);
    if (file != NULL) {
        entry = floor_entry_locked(file);
        floor_open_locked(file, fi);
    }
    pthread_mutex_unlock(&floor_lock);
    if (file == NULL)
        fuse_reply_err(req, ENOMEM);
    else
        fuse_reply_create(req, &entry, fi);
}

/* Large reads are answered out of the file: without the lock it could move meanwhile. */
static void floor_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    struct floor_file *file = floor_file(ino);
    size_t from = (size_t)offset, left;

    (void)fi;
    pthread_mutex_lock(&floor_lock);
    left = from < file->size ? file->size - from : 0;
    if (left == 0)
        fuse_reply_buf(req, NULL, 0);
    else
        fuse_reply_buf(req, file->data + from, left < size ? left : size);
    pthread_mutex_unlock(&floor_lock);
}

static void floor_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t offset,
                        struct fuse_file_info *fi)
{
    int rc;

    (void)fi;
    pthread_mutex_lock(&floor_lock);
    rc = floor_write_locked(floor_file(ino), bytes, size, (size_t)offset);
    pthread_mutex_unlock(&floor_lock);
    if (rc < 0)
        fuse_reply_err(req, -rc);
    else
        fuse_reply_write(req, size);
}

static void floor_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino, (void)fi;
    fuse_reply_err(req, 0);
}

static void floor_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct floor_file *file;

    (void)parent;
    pthread_mutex_lock(&floor_lock);
    HASH_FIND_STR(floor_files, name, file);
    if (file != NULL)
        floor_unlink_locked(file);
    pthread_mutex_unlock(&floor_lock);
    fuse_reply_err(req, file != NULL ? 0 : ENOENT);
}

static const struct fuse_lowlevel_ops floor_ops = {
    .init = floor_init,
    .lookup = floor_lookup,
    .forget = floor_forget,
    .getattr = floor_getattr,
    .setattr = floor_setattr,
    .unlink = floor_unlink,
    .open = floor_open,
    .create = floor_create,
    .read = floor_read,
    .write = floor_write,
    .flush = floor_flush,
    .release = floor_flush,
};

static int floor_fill(const char *prefix, uint64_t count, size_t size)
{
    struct floor_file *file;
    char name[64];
    int rc = 0;

    pthread_mutex_lock(&floor_lock);
    for (uint64_t i = 0; i < count && rc == 0; i++) {
        snprintf(name, sizeof(name), "%s%lu", prefix, (unsigned long)i);
        file = floor_new_locked(name);
        rc = file == NULL ? -ENOMEM : floor_resize_locked(file, size, WORK_BYTE);
    }
    pthread_mutex_unlock(&floor_lock);
    return rc;
}

static int floor_serve(const char *mountpoint)
{
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    int rc;

    if (config == NULL)
        return -ENOMEM;
    rc = fuse_set_signal_handlers(floor_session);
    if (rc == 0) {
        rc = fuse_session_mount(floor_session, mountpoint);
        if (rc == 0) {
            rc = fuse_session_loop_mt(floor_session, config);
            fuse_session_unmount(floor_session);
        }
        fuse_remove_signal_handlers(floor_session);
    }
    fuse_loop_cfg_destroy(config);
    return rc;
}

static void floor_do_nothing(void *arg) { (void)arg; }

static void floor_reload(struct fs *fs) { (void)fs; }

static int floor_has_ended(struct fs *fs, bool abandon)
{
    (void)fs, (void)abandon;
    return 0;
}

static int floor_serve_rings(const char *mountpoint, struct fs *fs)
{
    struct kv_error error;
    int rc = fs_uring_check(&error);

    if (rc < 0) {
        fprintf(stderr, "kvfs-bench-floor: %s\n", error.text);
        return rc;
    }
    fs_loop_block_signals();
    rc = fuse_session_mount(floor_session, mountpoint);
    if (rc != 0)
        return rc;
    rc = fs_channel_use(floor_session);
    if (rc == 0)
        rc = fs_loop(fs, floor_reload, floor_has_ended);
    fuse_session_unmount(floor_session);
    return rc;
}

static void floor_end(void)
{
    struct floor_file *file, *next;

    HASH_ITER(hh, floor_files, file, next) {
        file->lookups = 0;
        floor_unlink_locked(file);
    }
}

static int floor_run(const char *mountpoint, bool rings)
{
    struct fs_options options = {.io_uring = true, .commit_timeout_ms = FLOOR_WAIT_MS};
    struct fs fs = {.options = &options, .mounted = floor_do_nothing};
    char *words[] = {"kvfs-bench-floor", "-o", "subtype=kvfs-bench-floor"};
    struct fuse_args args = FUSE_ARGS_INIT(3, words);
    int rc;

    floor_session = fs.session = fuse_session_new(&args, &floor_ops, sizeof(floor_ops), &fs);
    fuse_opt_free_args(&args);
    if (floor_session == NULL)
        return -EINVAL;
    rc = rings ? floor_serve_rings(mountpoint, &fs) : floor_serve(mountpoint);
    fuse_session_destroy(floor_session);
    return rc < 0 ? rc : 0; /* a signal ended it */
}

int main(int argc, char **argv)
{
    bool rings = argc > 2 && strcmp(argv[1], "-o") == 0 && strcmp(argv[2], "io_uring") == 0;
    const char *program = argv[0];
    uint64_t count, size;
    int rc = 0;

    argv += rings ? 2 : 0;
    argc -= rings ? 2 : 0;
    if (argc < 2 || argc % 3 != 2) {
        fprintf(stderr, "usage: %s [-o io_uring] MOUNTPOINT [PREFIX COUNT SIZE]...\n", program);
        return 2;
    }
    for (int i = 2; i < argc && rc == 0; i += 3)
        rc = !cli_parse_number(argv[i + 1], false, &count) || !cli_parse_number(argv[i + 2], true, &size)
                 ? -EINVAL
                 : floor_fill(argv[i], count, size);
    if (rc == 0)
        rc = floor_run(argv[1], rings);
    if (rc < 0)
        fprintf(stderr, "kvfs-bench-floor: %s: %s\n", argv[1], strerror(-rc));
    floor_end();
    return rc < 0 ? 1 : 0;
}
