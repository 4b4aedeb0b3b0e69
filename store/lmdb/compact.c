/* Compacting: data.mdb is exchanged for a copy of itself that has no free pages.
 *
 * The copy has the same transaction and the same mark, so it belongs to the log as data.mdb did: where the store is
 * clean (see README.md), and nobody else has it open, the one can take the other's place. It does by one rename:
 * whatever cuts this off leaves the old file or the new one under the name, and both are whole. The newest checkpoint
 * still names the old file and its header; whoever opens the store next is an heir (rule 8), and makes a new one
 * before it writes.
 *
 * The new file is locked before it gets the name, until this process closes the store. Whoever waits for the old one
 * finds that it has lost its name. What was cut off leaves data.mdb.new, which the next process that opens the store
 * alone removes. */
#include "store/lmdb/format_internal.h"
#include "store/lmdb/lmdb_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define WAIT_NS ((int64_t)5 * 1000000000) /* for the right to write: nobody else is there */

/* --------------------------------------------------------------------- who is in the way */

/* The processes that hold data.mdb, as the kernel tells: those of other containers have no number here. Writes nothing
 * where it does not tell. */
static void compact_list_users(const struct lmdb *lmdb, char *out, size_t size)
{
    FILE *locks = fopen("/proc/locks", "re");
    size_t used = 0;
    struct stat data;
    char line[256];

    out[0] = '\0';
    if (locks != NULL && fstat(lmdb->data_fd, &data) == 0)
        while (fgets(line, sizeof(line), locks) != NULL && used < size) {
            unsigned major_id, minor_id;
            uint64_t inode;
            int pid;

            if (sscanf(line, "%*d: FLOCK %*s %*s %d %x:%x:%" SCNu64, &pid, &major_id, &minor_id, &inode) == 4 &&
                inode == data.st_ino && major_id == major(data.st_dev) && minor_id == minor(data.st_dev) &&
                pid > 0 && pid != getpid())
                used += (size_t)snprintf(out + used, size - used, "%s%d", used > 0 ? ", " : "", pid);
        }
    if (locks != NULL)
        fclose(locks);
}

static int compact_refuse_busy(const struct lmdb *lmdb, struct kv_error *error)
{
    char users[128];

    compact_list_users(lmdb, users, sizeof(users));
    snprintf(error->text, sizeof(error->text),
             "others have the store open%s%s: it is compacted while nobody else has; unmount it, or end them",
             users[0] != '\0' ? ", process " : "", users);
    return -EBUSY;
}

/* --------------------------------------------------------------------------- the new file */

static void compact_found(void *arg, const char *what)
{
    struct kv_error *error = arg;

    if (error->text[0] == '\0')
        snprintf(error->text, sizeof(error->text), "the new file is not what was written: %.300s", what);
}

/* Read what was written. */
static int compact_verify(const struct lmdb *lmdb, int fd, struct kv_error *error)
{
    struct lmdb_pages pages = {.fd = fd, .page_size = lmdb->page_size, .found = compact_found, .arg = error};
    uint8_t header[LOG_HEADER];
    int rc = lmdb_header_read(fd, lmdb->page_size, lmdb->slot.txn, header);

    return rc == 0 ? lmdb_pages_walk(&pages, header) : rc;
}

/* The same owner and rights as the old one has. */
static int compact_adorn(int fd, const struct stat *old)
{
    struct stat made;

    if (fstat(fd, &made) != 0)
        return -errno;
    if ((made.st_uid != old->st_uid || made.st_gid != old->st_gid) && fchown(fd, old->st_uid, old->st_gid) != 0)
        return -errno;
    return fchmod(fd, old->st_mode & 0777) == 0 ? 0 : -errno;
}

static int compact_write(struct lmdb *lmdb, int fd, struct engine_compact *compact, struct kv_error *error)
{
    struct engine_copy copy = {.fd = fd, .progress = compact->progress};
    struct stat old;
    int rc = fstat(lmdb->data_fd, &old) == 0 ? compact_adorn(fd, &old) : -errno;

    if (rc == 0)
        rc = lmdb_copy(&lmdb->base, &copy, error);
    if (rc == 0 && fsync(fd) != 0)
        rc = errno == ENOSPC || errno == EDQUOT ? -ENOSPC : -EIO;
    if (rc == 0)
        rc = compact_verify(lmdb, fd, error);
    compact->before = lmdb_used(lmdb);
    compact->after = copy.bytes;
    return rc;
}

/* From here on the new file is data.mdb, also of this process. */
static int compact_exchange(struct lmdb *lmdb, int *fd)
{
    struct stat made;
    int before = lmdb->data_fd;

    if (fstat(*fd, &made) != 0 || flock(*fd, LOCK_EX | LOCK_NB) != 0 ||
        renameat(lmdb->dir_fd, NEW_FILE, lmdb->dir_fd, DATA_FILE) != 0)
        return -errno;
    lmdb->data_fd = *fd;
    lmdb->data_ino = made.st_ino;
    *fd = before;
    return lmdb_sync_directory(lmdb->dir_fd);
}

/* ------------------------------------------------------------------------------- all of it */

/* Alone, with the right to write. */
static int compact_alone(struct lmdb *lmdb, struct engine_compact *compact, struct kv_error *error)
{
    int fd, rc = lmdb_protect(lmdb); /* the last commit is the newest checkpoint then */

    if (rc == 0 && lmdb_newest(lmdb) != lmdb->slot.txn)
        rc = lmdb_checkpoint(lmdb);
    if (rc == 0 && unlinkat(lmdb->dir_fd, NEW_FILE, 0) != 0 && errno != ENOENT)
        rc = -errno;
    if (rc < 0)
        return rc;
    fd = lmdb_open_file(lmdb->dir_fd, NEW_FILE);
    if (fd < 0)
        return fd;
    rc = compact_write(lmdb, fd, compact, error);
    if (rc == 0)
        rc = compact_exchange(lmdb, &fd);
    else
        unlinkat(lmdb->dir_fd, NEW_FILE, 0);
    close(fd);
    return rc;
}

/* The pin is one of the old file. */
static void compact_unpin(struct lmdb *lmdb)
{
    pthread_mutex_lock(&lmdb->lock);
    lmdb_forget_pin_locked(lmdb);
    pthread_mutex_unlock(&lmdb->lock);
}

int lmdb_compact(struct engine *engine, struct engine_compact *compact, struct kv_error *error)
{
    struct lmdb *lmdb = (struct lmdb *)engine;
    int rc = lmdb->read_only ? -EROFS : lmdb_claim(engine);

    error->text[0] = '\0';
    if (rc == -EBUSY)
        return compact_refuse_busy(lmdb, error);
    if (rc == 0)
        rc = lmdb_writer_acquire(lmdb, WAIT_NS);
    if (rc == 0) {
        rc = compact_alone(lmdb, compact, error);
        compact_unpin(lmdb);
        lmdb_writer_release(lmdb);
    }
    if (rc < 0 && error->text[0] == '\0')
        snprintf(error->text, sizeof(error->text), "the store cannot be compacted: %s", strerror(-rc));
    return rc;
}
