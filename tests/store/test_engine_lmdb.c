/* The LMDB engine beyond the contract: what stays on the disk, what is refused, and how it lives with a full map,
 * a full disk and other processes.
 *
 * Processes that share a store open it after the fork, as the daemon does: children are forked first and wait
 * at a pipe. */
#include "tests/store/engine_test.h"

#include "store/lmdb/lmdb_internal.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define WAIT_MS 60000 /* for another process; only a hang takes that long */

static char directory[256];

static int make_empty_directory(void **state)
{
    (void)state;
    make_directory(directory, sizeof(directory));
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    chmod(directory, 0700);
    remove_store(directory);
    return access(directory, F_OK) == 0 ? -1 : 0;
}

static void use_of(struct engine *engine, uint64_t *used, uint64_t *limit)
{
    struct kv_storage storage = {0};

    engine->ops->usage(engine, &storage);
    *used = storage.used_bytes;
    *limit = storage.limit_bytes;
}

static struct engine *open_store(bool create, bool read_only, size_t map_bytes)
{
    struct engine *engine;
    struct kv_error error;

    assert_int_equal(
        engine_lmdb_open(directory,
                         &(struct lmdb_options){.create = create, .read_only = read_only, .map_bytes = map_bytes},
                         &engine, &error),
        0);
    return engine;
}

static struct engine *create_store(void) { return open_store(true, false, 0); }

static const char *in_directory(const char *name)
{
    static char path[512];

    assert_true(snprintf(path, sizeof(path), "%s/%s", directory, name) < (int)sizeof(path));
    return path;
}

static void write_file(const char *name, const void *bytes, size_t size, off_t at)
{
    int fd = open(in_directory(name), O_WRONLY | O_CREAT, 0600);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, size, at), size);
    close(fd);
}

/* The open is refused with this answer and one line that names the directory, and leaves *out alone. */
static void assert_refused(bool create, bool read_only, int rc, const char *because)
{
    struct engine *engine = NULL;
    struct kv_error error = {""};

    assert_int_equal(engine_lmdb_open(directory, &(struct lmdb_options){.create = create, .read_only = read_only},
                                      &engine, &error),
                     rc);
    assert_null(engine);
    assert_ptr_equal(strstr(error.text, directory), error.text);
    assert_non_null(strstr(error.text, because));
    assert_null(strchr(error.text, '\n'));
    assert_true(strlen(error.text) > strlen(directory) + 20);
}

/* -------------------------------------------------------------------- what is kept */

static void what_was_committed_is_there_after_close_and_open(void **state)
{
    struct engine *engine = create_store();
    struct engine_txn *txn = begin(engine, true);

    (void)state;
    for (int i = 0; i < ENGINE_TABLES; i++)
        assert_int_equal(put(txn, (enum engine_table)i, "key", "kept"), 0);
    commit(txn);
    engine->ops->close(engine);

    engine = open_store(false, false, 0);
    for (int i = 0; i < ENGINE_TABLES; i++)
        assert_committed(engine, (enum engine_table)i, "key", "kept");
    engine->ops->close(engine);

    engine = create_store(); /* that finds the old one */
    assert_committed(engine, ENGINE_KEYS, "key", "kept");
    engine->ops->close(engine);
}

static void what_was_aborted_is_not_there_after_close_and_open(void **state)
{
    struct engine *engine = create_store();
    struct engine_txn *txn;

    (void)state;
    put_and_commit(engine, ENGINE_KEYS, "key", "old");
    txn = begin(engine, true);
    assert_int_equal(put(txn, ENGINE_KEYS, "key", "new"), 0);
    txn->ops->abort(txn);
    engine->ops->close(engine);
    engine = open_store(false, false, 0);
    assert_committed(engine, ENGINE_KEYS, "key", "old");
    engine->ops->close(engine);
}

static void a_new_store_is_small_and_may_become_large(void **state)
{
    struct engine *engine = create_store();
    uint64_t used, limit;
    struct stat data;

    (void)state;
    use_of(engine, &used, &limit);
    assert_true(used < MIB);
    assert_true(limit >= 1024 * MIB);
    assert_int_equal(stat(in_directory("data.mdb"), &data), 0);
    assert_true(data.st_size < (off_t)(40 * MIB));
    assert_true(data.st_blocks < (blkcnt_t)(40 * MIB / 512));
    assert_int_equal(data.st_mode & 07777, 0600);
    engine->ops->close(engine);
}

/* ------------------------------------------------------------------- the directory */

static void an_absent_directory_is_made_for_its_owner_only(void **state)
{
    struct engine *engine;
    struct stat made;

    (void)state;
    assert_int_equal(rmdir(directory), 0);
    engine = create_store();
    assert_int_equal(stat(directory, &made), 0);
    assert_true(S_ISDIR(made.st_mode));
    assert_int_equal(made.st_mode & 07777, 0700);
    engine->ops->close(engine);
}

static void a_directory_under_an_absent_one_is_refused(void **state)
{
    size_t length = strlen(directory);

    (void)state;
    assert_int_equal(rmdir(directory), 0);
    strcat(directory, "/below");
    assert_refused(true, false, -ENOENT, "above");
    directory[length] = '\0';
    assert_int_equal(access(directory, F_OK), -1);
}

static void without_create_nothing_is_made(void **state)
{
    (void)state;
    assert_refused(false, false, -ENOENT, "no store there");
    assert_refused(false, true, -ENOENT, "no store there");
    assert_int_equal(rmdir(directory), 0); /* it is still empty */
    assert_refused(false, false, -ENOENT, "no store there");
    assert_int_equal(access(directory, F_OK), -1);
}

static void a_read_only_open_makes_nothing(void **state)
{
    (void)state;
    assert_refused(true, true, -ENOENT, "no store there");
    assert_int_equal(rmdir(directory), 0);
}

static void a_file_is_no_store(void **state)
{
    (void)state;
    assert_int_equal(rmdir(directory), 0);
    close(open(directory, O_WRONLY | O_CREAT, 0600));
    assert_refused(true, false, -ENOTDIR, "not a directory");
    assert_int_equal(unlink(directory), 0);
}

static void a_directory_with_other_things_is_refused_and_left_alone(void **state)
{
    (void)state;
    write_file("letter.txt", "dear", 4, 0);
    assert_refused(true, false, -ENOTEMPTY, "letter.txt");
    assert_int_equal(access(in_directory("data.mdb"), F_OK), -1);
    assert_int_equal(access(in_directory("lock.mdb"), F_OK), -1);
    assert_int_equal(unlink(in_directory("letter.txt")), 0);
}

static void the_root_of_a_fresh_disk_counts_as_empty(void **state)
{
    struct engine *engine;

    (void)state;
    assert_int_equal(mkdir(in_directory("lost+found"), 0700), 0);
    engine = create_store();
    engine->ops->close(engine);
    assert_int_equal(rmdir(in_directory("lost+found")), 0);
}

static void a_creation_that_was_cut_off_is_begun_anew(void **state)
{
    static const char rubbish[10000] = "half a database";
    struct engine *engine;

    (void)state;
    write_file("data.mdb.new", rubbish, sizeof(rubbish), 0);
    write_file("lock.mdb", rubbish, 100, 0);
    assert_refused(false, false, -ENOENT, "no store there");
    engine = create_store();
    put_and_commit(engine, ENGINE_KEYS, "key", "value");
    assert_committed(engine, ENGINE_KEYS, "key", "value");
    engine->ops->close(engine);
    assert_int_equal(access(in_directory("data.mdb.new"), F_OK), -1);
}

static void creators_at_the_same_time_get_the_same_store(void **state)
{
    enum { CREATORS = 6 };
    struct engine *engine;
    pid_t pids[CREATORS];

    (void)state;
    assert_int_equal(rmdir(directory), 0);
    for (int i = 0; i < CREATORS; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) {
            char key[] = {(char)('a' + i), '\0'};
            struct engine_txn *txn;
            struct kv_error error;

            _exit(engine_lmdb_open(directory, &(struct lmdb_options){.create = true}, &engine, &error) != 0 ||
                  engine->ops->begin(engine, true, &txn) != 0 || put(txn, ENGINE_KEYS, key, "mine") != 0 ||
                  txn->ops->commit(txn) != 0);
        }
    }
    for (int i = 0; i < CREATORS; i++) {
        int status;

        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    engine = open_store(false, false, 0);
    for (int i = 0; i < CREATORS; i++)
        assert_committed(engine, ENGINE_KEYS, (char[]){(char)('a' + i), '\0'}, "mine");
    engine->ops->close(engine);
}

/* ------------------------------------------------------------------------ refusals */

static void a_data_file_that_is_not_lmdbs_is_refused_and_left_alone(void **state)
{
    static const size_t sizes[] = {0, 1, 100, 5000, 8192, 100000};
    char *bytes = malloc(100000), *after = malloc(100000);
    int fd;

    (void)state;
    assert_non_null(bytes);
    assert_non_null(after);
    for (size_t i = 0; i < 100000; i++)
        bytes[i] = (char)(i * 31 + i / 97);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        write_file("data.mdb", bytes, sizes[i], 0);
        assert_refused(true, false, -EIO, "data.mdb");
        assert_refused(false, true, -EIO, "data.mdb");
        fd = open(in_directory("data.mdb"), O_RDONLY);
        assert_int_equal(read(fd, after, 100000), sizes[i]);
        assert_memory_equal(after, bytes, sizes[i]);
        close(fd);
        assert_int_equal(unlink(in_directory("data.mdb")), 0);
    }
    free(after);
    free(bytes);
}

static void a_data_file_that_is_a_directory_is_refused(void **state)
{
    (void)state;
    assert_int_equal(mkdir(in_directory("data.mdb"), 0700), 0);
    assert_refused(true, false, -EIO, "data.mdb");
    assert_int_equal(rmdir(in_directory("data.mdb")), 0);
}

/* In LMDB's header, after the page's 16 bytes: u32 magic, u32 version. One in each of the first two pages. */
static void a_file_of_another_lmdb_is_refused(void **state)
{
    uint32_t version = 999;
    struct engine *engine = create_store();

    (void)state;
    engine->ops->close(engine);
    write_file("data.mdb", &version, sizeof(version), 20);
    write_file("data.mdb", &version, sizeof(version), sysconf(_SC_PAGESIZE) + 20);
    assert_refused(true, false, -EIO, "version");
}

static void a_file_that_was_cut_off_is_refused(void **state)
{
    struct engine *engine = create_store();
    uint64_t used, limit;

    (void)state;
    for (int i = 0; i < 10; i++)
        put_and_commit(engine, ENGINE_KEYS, "key", "value");
    use_of(engine, &used, &limit);
    engine->ops->close(engine);
    assert_int_equal(truncate(in_directory("data.mdb"), (off_t)used - 1), 0);
    assert_refused(true, false, -EIO, "cut off");
    assert_refused(false, true, -EIO, "cut off");
    assert_int_equal(truncate(in_directory("data.mdb"), sysconf(_SC_PAGESIZE) + 1), 0);
    assert_refused(true, false, -EIO, "data.mdb");
}

/* As another program leaves it: LMDB's header, but none of our tables. mdb.c writes the names of tables as keys
 * of the first table, so one letter is changed there. */
static void the_database_of_another_program_is_refused(void **state)
{
    char *bytes = malloc(MIB);
    struct engine *engine = create_store();
    ssize_t size;
    int fd, changed = 0;

    (void)state;
    assert_non_null(bytes);
    engine->ops->close(engine);
    fd = open(in_directory("data.mdb"), O_RDWR);
    size = pread(fd, bytes, MIB, 0);
    for (ssize_t i = 0; i + 6 <= size; i++)
        if (memcmp(bytes + i, "chunks", 6) == 0) {
            assert_int_equal(pwrite(fd, "choirs", 6, i), 6);
            changed++;
        }
    close(fd);
    free(bytes);
    assert_true(changed > 0);
    assert_refused(true, false, -ENOTEMPTY, "another program");
    assert_refused(false, true, -ENOTEMPTY, "another program");
}

/* What the next fstatfs() of a directory says; 0: the truth. */
static long pretended_type;

int fstatfs(int fd, struct statfs *out)
{
    long rc = syscall(SYS_fstatfs, fd, out);

    if (rc == 0 && pretended_type != 0)
        out->f_type = pretended_type;
    return (int)rc;
}

static void a_network_filesystem_is_refused(void **state)
{
    static const struct {
        long type;
        const char *name;
    } known[] = {{0x6969, "NFS"},
                 {0x517b, "SMB"},
                 {0xff534d42, "CIFS"},
                 {(int32_t)0xfe534d42, "SMB"},
                 {0x01021997, "9p"},
                 {0x19830326, "BeeGFS"},
                 {0x47504653, "GPFS"},
                 {0x20030528, "OrangeFS"},
                 {0x786f4256, "vboxsf"},
                 {(int32_t)0xbacbacbc, "vmhgfs"},
                 {0x65735546, "several hosts"}}; /* FUSE, and not known to be local */

    (void)state;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        pretended_type = known[i].type;
        assert_refused(true, false, -EOPNOTSUPP, known[i].name);
        assert_refused(false, true, -EOPNOTSUPP, known[i].name);
    }
    pretended_type = 0;
    assert_int_equal(rmdir(directory), 0); /* nothing was made in it */
}

static void of_fuse_only_local_filesystems_are_let_in(void **state)
{
    static char mounts[] =
        "21 27 0:40 / /a rw,relatime - fuse.sshfs me@host:/ rw,user_id=0\n"
        "22 27 0:41 / /mnt/a\\040-\\040b rw shared:5 master:1 - fuseblk /dev/sdb1 rw,blksize=4096\n"
        "23 27 0:42 /sub /c rw - fuse.kvfs /srv/store rw\n"
        "24 27 8:1 / /d rw - ext4 /dev/sda1 rw\n"
        "25 27 0:43 / /e rw shared:7 - virtiofs share rw\n"
        "26 27 0:44 / /f rw - fuse something rw\n"
        "27 27 0:45 / /g rw - fuse.fuse-overlayfs fuse-overlayfs rw\n"
        "no line of this kind\n";
    static const struct {
        unsigned high, low;
        const char *because; /* NULL: it is let in */
    } devices[] = {{0, 40, "(fuse.sshfs)"}, {0, 41, NULL},     {0, 42, "inside a mounted store"},
                   {0, 43, "(virtiofs)"},   {0, 44, "(fuse)"}, {0, 45, NULL},
                   {40, 0, "(fuse)"}};

    (void)state;
    for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
        FILE *text = fmemopen(mounts, sizeof(mounts) - 1, "r");
        struct kv_error error = {""};
        int rc = lmdb_check_fuse(text, makedev(devices[i].high, devices[i].low), "dir", &error);

        fclose(text);
        assert_int_equal(rc, devices[i].because == NULL ? 0 : -EOPNOTSUPP);
        if (devices[i].because != NULL)
            assert_non_null(strstr(error.text, devices[i].because));
    }
}

/* Run as a user without rights; answers its exit status. */
static int as_nobody(int (*what)(void))
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
            _exit(99);
        _exit(what());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Also with `foreign`: whose the store is does not matter then, but what the kernel lets this user do. */
static int open_is_denied(void)
{
    const struct lmdb_options options = {.create = true, .foreign = true};
    struct engine *engine;
    struct kv_error error = {""};

    return engine_lmdb_open(directory, &options, &engine, &error) == -EACCES &&
                   strstr(error.text, "permission denied") != NULL
               ? 0
               : 1;
}

static void missing_permission_is_refused(void **state)
{
    struct engine *engine = create_store();

    (void)state;
    engine->ops->close(engine);
    assert_int_equal(chmod(directory, 0), 0);
    assert_int_equal(as_nobody(open_is_denied), 0); /* the directory cannot be read */
    assert_int_equal(chmod(directory, 0755), 0);
    assert_int_equal(chmod(in_directory("data.mdb"), geteuid() == 0 ? 0600 : 0), 0);
    assert_int_equal(as_nobody(open_is_denied), 0); /* the file cannot */
}

static void a_map_that_no_address_space_has_is_refused(void **state)
{
    struct engine *engine = NULL;
    struct kv_error error = {""};

    (void)state;
    assert_int_equal(engine_lmdb_open(directory,
                                      &(struct lmdb_options){.create = true, .map_bytes = (size_t)1 << 60},
                                      &engine, &error),
                     -ENOMEM);
    assert_non_null(strstr(error.text, "address space"));
    assert_null(engine);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static int opens_in_little_address_space(void)
{
    struct rlimit limit = {(rlim_t)10240 * MIB, (rlim_t)10240 * MIB};
    struct engine *engine;
    struct kv_error error;
    uint64_t used, most;

    if (setrlimit(RLIMIT_AS, &limit) != 0 ||
        engine_lmdb_open(directory, &(struct lmdb_options){.create = true}, &engine, &error) != 0)
        return 1;
    use_of(engine, &used, &most);
    engine->ops->close(engine);
    return most >= 1024 * MIB && most < 10240 * MIB ? 0 : 2;
}

static void a_small_address_space_gets_a_smaller_map(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    if (SANITIZED) {
        print_message("skipped: sanitizers need the whole address space\n");
        skip();
    }
    pid = fork();
    if (pid == 0)
        _exit(opens_in_little_address_space());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* ----------------------------------------------------------------------- read-only */

static void a_read_only_engine_reads_and_refuses_to_write(void **state)
{
    struct engine *engine = create_store();
    struct engine_txn *txn = NULL;

    (void)state;
    put_and_commit(engine, ENGINE_KEYS, "key", "value");
    engine->ops->close(engine);
    engine = open_store(false, true, 0);
    assert_committed(engine, ENGINE_KEYS, "key", "value");
    assert_int_equal(engine->ops->begin(engine, true, &txn), -EROFS);
    assert_null(txn);
    assert_committed(engine, ENGINE_KEYS, "key", "value");
    engine->ops->close(engine);
}

/* ------------------------------------------------------------------------- space */

/* Values of the size that the store cuts large ones into, numbered from 0. */
enum { PART = 256 * 1024 - 16 };

/* Put a value of `parts` parts, asking for room first, as the store does. */
static int put_parts(struct engine *engine, unsigned number, unsigned parts)
{
    static const uint8_t bytes[PART];
    struct engine_txn *txn = begin(engine, true);
    int rc = txn->ops->room(txn, (uint64_t)parts * PART, PART);

    for (unsigned i = 0; rc == 0 && i < parts; i++) {
        unsigned key[2] = {number, i};

        rc = txn->ops->put(txn, ENGINE_CHUNKS, slice_of(key, sizeof(key)), slice_of(bytes, sizeof(bytes)));
    }
    if (rc == 0)
        return txn->ops->commit(txn);
    txn->ops->abort(txn);
    return rc;
}

static int del_parts(struct engine *engine, unsigned number, unsigned parts)
{
    struct engine_txn *txn = begin(engine, true);
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < parts; i++) {
        unsigned key[2] = {number, i};

        rc = txn->ops->del(txn, ENGINE_CHUNKS, slice_of(key, sizeof(key)));
    }
    if (rc == 0)
        return txn->ops->commit(txn);
    txn->ops->abort(txn);
    return rc;
}

static unsigned fill(struct engine *engine, unsigned parts)
{
    unsigned count = 0;
    int rc;

    while ((rc = put_parts(engine, count, parts)) == 0)
        count++;
    assert_int_equal(rc, -ENOSPC);
    return count;
}

/* Full: reads and deletes work, what a delete gives back takes the next put, and in the end all of it. */
static void live_with_full_space(struct engine *engine, unsigned parts)
{
    unsigned count = fill(engine, parts);

    assert_true(count > 2);
    for (unsigned i = 0; i < 3 * count; i++) {
        unsigned number = i % count, key[2] = {number, 0};
        struct engine_txn *txn = begin(engine, false);
        struct slice is;

        assert_int_equal(txn->ops->get(txn, ENGINE_CHUNKS, slice_of(key, sizeof(key)), &is), 0);
        assert_int_equal(is.size, PART);
        txn->ops->abort(txn);
        assert_int_equal(del_parts(engine, number, parts), 0);
        assert_int_equal(put_parts(engine, number, parts), 0);
    }
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(del_parts(engine, i, parts), 0);
    assert_true(fill(engine, parts) >= count / 2);
}

static void a_full_map_is_survived(void **state)
{
    struct engine *engine = open_store(true, false, 32 * MIB);
    uint64_t used, limit;

    (void)state;
    live_with_full_space(engine, 4);
    use_of(engine, &used, &limit);
    assert_int_equal(limit, 32 * MIB);
    assert_true(used <= limit);
    engine->ops->close(engine);
}

/* Small records under numbers that are spread over the table. */
enum { SMALL = 300 };

static int put_small(struct engine *engine, unsigned from, unsigned count)
{
    static const uint8_t bytes[SMALL];
    struct engine_txn *txn = begin(engine, true);
    int rc = 0;

    for (unsigned i = from; rc == 0 && i < from + count; i++) {
        unsigned key = i * 2654435761u;

        rc = txn->ops->room(txn, SMALL, SMALL);
        if (rc == 0)
            rc = txn->ops->put(txn, ENGINE_KEYS, slice_of(&key, sizeof(key)), slice_of(bytes, sizeof(bytes)));
    }
    if (rc == 0)
        return txn->ops->commit(txn);
    txn->ops->abort(txn);
    return rc;
}

static int del_small(struct engine_txn *txn, unsigned number)
{
    unsigned key = number * 2654435761u;

    return txn->ops->del(txn, ENGINE_KEYS, slice_of(&key, sizeof(key)));
}

static void a_full_map_is_survived_by_small_records(void **state)
{
    enum { ROUNDS = 50, TOGETHER = 150 };
    struct engine *engine = open_store(true, false, 8 * MIB);
    struct engine_txn *txn;
    unsigned count = 0;
    int rc;

    (void)state;
    for (unsigned together = TOGETHER; together > 0; together /= 2) {
        while ((rc = put_small(engine, count, together)) == 0)
            count += together;
        assert_int_equal(rc, -ENOSPC);
    }
    assert_true(count > 5000);
    for (unsigned i = 0; i < ROUNDS; i++) { /* one away, one in */
        txn = begin(engine, true);
        assert_int_equal(del_small(txn, i), 0);
        commit(txn);
        assert_int_equal(put_small(engine, i, 1), 0);
    }
    for (unsigned i = 0; i < count; i += TOGETHER) {
        txn = begin(engine, true);
        for (unsigned j = i; j < count && j < i + TOGETHER; j++)
            assert_int_equal(del_small(txn, j), 0);
        commit(txn);
    }
    assert_int_equal(put_parts(engine, 0, 4), 0);
    engine->ops->close(engine);
}

static void a_refused_growth_is_enospc_and_the_old_state_stays(void **state)
{
    static const uint8_t bytes[MIB];
    struct engine *engine = open_store(true, false, 8 * MIB);
    struct engine_txn *txn;
    int rc = 0;

    (void)state;
    put_and_commit(engine, ENGINE_KEYS, "key", "old");
    txn = begin(engine, true);
    assert_int_equal(txn->ops->room(txn, 100 * MIB, MIB), -ENOSPC);
    assert_int_equal(put(txn, ENGINE_KEYS, "key", "new"), 0); /* room() is a question only */
    for (char name[2] = "a"; rc == 0; name[0]++)
        rc = txn->ops->put(txn, ENGINE_CHUNKS, text(name), slice_of(bytes, sizeof(bytes)));
    assert_int_equal(rc, -ENOSPC);
    assert_int_equal(put(txn, ENGINE_KEYS, "key", "newer"), -ENOSPC); /* nothing but abort */
    assert_int_equal(txn->ops->commit(txn), -ENOSPC);
    assert_committed(engine, ENGINE_KEYS, "key", "old");
    assert_committed(engine, ENGINE_CHUNKS, "a", NULL);
    put_and_commit(engine, ENGINE_KEYS, "key", "new");
    engine->ops->close(engine);
}

static void a_store_larger_than_its_map_should_be_can_be_emptied(void **state)
{
    struct engine *engine = create_store();

    (void)state;
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(put_parts(engine, i, 4), 0);
    engine->ops->close(engine);
    engine = open_store(false, false, 8 * MIB);
    assert_int_equal(put_parts(engine, 16, 4), -ENOSPC);
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(del_parts(engine, i, 4), 0);
    assert_int_equal(put_parts(engine, 16, 4), 0); /* in what the deletes gave back */
    engine->ops->close(engine);
}

/* Mounts are made in a namespace of this process, so that none outlives it. returns false and says why where
 * that is not permitted */
static bool own_mounts(void)
{
    static bool done;

    if (!done)
        done = unshare(CLONE_NEWNS) == 0 && mount("none", "/", "none", MS_REC | MS_PRIVATE, "") == 0;
    if (!done)
        print_message("skipped: mounting is not permitted: %s\n", strerror(errno));
    return done;
}

static void fill_disk(const char *name)
{
    static const uint8_t bytes[64 * KIB];
    int fd = open(in_directory(name), O_WRONLY | O_CREAT | O_APPEND, 0600);

    assert_true(fd >= 0);
    for (size_t size = sizeof(bytes); size > 0; size /= 2)
        while (write(fd, bytes, size) > 0)
            ;
    close(fd);
}

/* In a directory that stands on a small filesystem of its own. */
static void live_on_a_small_disk(void)
{
    static char disk[sizeof(directory)];
    struct engine *engine;

    strcpy(disk, directory);
    strcat(directory, "/store");
    engine = create_store();
    live_with_full_space(engine, 3);
    engine->ops->close(engine);
    engine = open_store(false, false, 0); /* on a full disk */
    assert_int_equal(del_parts(engine, 0, 3), 0);
    assert_int_equal(put_parts(engine, 0, 3), 0);
    engine->ops->close(engine);
    remove_store(directory);

    /* Somebody else takes all that is left. */
    engine = create_store();
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(put_parts(engine, i, 3), 0);
    strcpy(directory, disk);
    fill_disk("hog");
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(del_parts(engine, i, 3), 0);
    assert_int_equal(put_parts(engine, 0, 3), 0);
    assert_int_equal(unlink(in_directory("hog")), 0);
    for (unsigned i = 1; i < 12; i++)
        assert_int_equal(put_parts(engine, i, 3), 0);
    engine->ops->close(engine);
    strcat(directory, "/store");
    remove_store(directory);
    strcpy(directory, disk);
}

static void a_full_tmpfs_is_survived(void **state)
{
    (void)state;
    if (!own_mounts())
        skip();
    assert_int_equal(mount("none", directory, "tmpfs", 0, "size=24m"), 0);
    live_on_a_small_disk();
    assert_int_equal(umount2(directory, MNT_DETACH), 0);
}

static void a_full_ext4_is_survived(void **state)
{
    char image[sizeof(directory) + 8], command[1024];
    int fd;

    (void)state;
    if (!own_mounts())
        skip();
    snprintf(image, sizeof(image), "%s.ext4", directory);
    fd = open(image, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, 40 * MIB), 0);
    close(fd);
    snprintf(command, sizeof(command), "PATH=$PATH:/sbin:/usr/sbin; mkfs.ext4 -q '%s' && mount -o loop '%s' '%s'",
             image, image, directory);
    if (system(command) != 0) {
        unlink(image);
        print_message("skipped: no ext4 on a loop device here\n");
        skip();
    }
    assert_int_equal(unlink(image), 0); /* the mount keeps it */
    live_on_a_small_disk();
    assert_int_equal(umount2(directory, MNT_DETACH), 0);
}

/* Those who do not ask for room: the disk refuses at the commit. */
static void a_commit_that_the_disk_refuses_says_enospc(void **state)
{
    static const uint8_t bytes[MIB];
    struct engine *engine;
    int rc = 0;

    (void)state;
    if (!own_mounts())
        skip();
    assert_int_equal(mount("none", directory, "tmpfs", 0, "size=8m"), 0);
    engine = create_store();
    put_and_commit(engine, ENGINE_KEYS, "key", "old");
    for (int i = 0; rc == 0 && i < 20; i++) {
        struct engine_txn *txn = begin(engine, true);

        assert_int_equal(
            txn->ops->put(txn, ENGINE_CHUNKS, slice_of(&i, sizeof(i)), slice_of(bytes, sizeof(bytes))), 0);
        assert_int_equal(put(txn, ENGINE_NAMES, "last", (char[]){(char)('a' + i), '\0'}), 0);
        rc = txn->ops->commit(txn);
        assert_committed(engine, ENGINE_NAMES, "last", (char[]){(char)('a' + i - (rc == 0 ? 0 : 1)), '\0'});
    }
    assert_int_equal(rc, -ENOSPC);
    assert_committed(engine, ENGINE_KEYS, "key", "old");
    assert_int_equal(umount2(directory, MNT_DETACH), 0);
    engine->ops->close(engine);
}

/* LMDB writes its table of readers through a map, where a full disk answers with a signal: so children do this. */

enum { MANY_READERS = 300 }; /* of several pages of lock.mdb */

static int open_on_a_full_disk(void)
{
    struct engine *engine;
    struct kv_error error = {""};
    int rc = engine_lmdb_open(directory, &(struct lmdb_options){.create = false}, &engine, &error);

    return rc == -ENOSPC && strstr(error.text, "no space left on the disk") != NULL ? 0 : 1;
}

static int read_with_many(void)
{
    struct engine_txn *readers[MANY_READERS];
    struct engine *engine;
    struct kv_error error;
    int rc = engine_lmdb_open(directory, &(struct lmdb_options){.create = false}, &engine, &error);

    fill_disk("hog");
    for (int i = 0; rc == 0 && i < MANY_READERS; i++)
        rc = engine->ops->begin(engine, false, &readers[i]);
    return rc == 0 ? 0 : 1;
}

static void assert_child_does(int (*what)(void))
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(what());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_full_disk_takes_as_many_readers_or_refuses_the_open(void **state)
{
    struct engine *engine;

    (void)state;
    if (!own_mounts())
        skip();
    assert_int_equal(mount("none", directory, "tmpfs", 0, "size=8m"), 0);
    engine = create_store();
    put_and_commit(engine, ENGINE_KEYS, "key", "value");
    engine->ops->close(engine);

    assert_child_does(read_with_many); /* with the lock file that is there */
    unlink(in_directory("lock.mdb"));
    fill_disk("hog");
    assert_child_does(open_on_a_full_disk); /* with none */
    unlink(in_directory("hog"));
    write_file("lock.mdb", "", 0, 0);
    assert_int_equal(truncate(in_directory("lock.mdb"), 8192), 0); /* of a program that wants fewer readers */
    assert_child_does(read_with_many);
    assert_int_equal(truncate(in_directory("lock.mdb"), 0), 0);
    fill_disk("hog");
    assert_child_does(open_on_a_full_disk);

    unlink(in_directory("hog"));
    engine = open_store(false, false, 0);
    assert_committed(engine, ENGINE_KEYS, "key", "value");
    engine->ops->close(engine);
    assert_int_equal(umount2(directory, MNT_DETACH), 0);
}

/* ---------------------------------------------------------------- other processes */

/* A child that takes one step for each byte from a pipe, and answers with one. */
struct child {
    pid_t pid;
    int go, done;
};

/* What a child does with the store; answers 0 where it went well. */
typedef int child_step(void);

static struct child start_child(child_step *const *steps)
{
    struct child child;
    int go[2], done[2];

    assert_int_equal(pipe2(go, O_CLOEXEC), 0);
    assert_int_equal(pipe2(done, O_CLOEXEC), 0);
    child.pid = fork();
    assert_true(child.pid >= 0);
    if (child.pid == 0) {
        char byte;

        close(go[1]);
        close(done[0]);
        while (read(go[0], &byte, 1) == 1) {
            byte = (char)(*steps++)();
            if (write(done[1], &byte, 1) != 1)
                break;
        }
        _exit(0);
    }
    close(go[0]);
    close(done[1]);
    child.go = go[1];
    child.done = done[0];
    return child;
}

static void step_child(struct child child)
{
    struct pollfd done = {.fd = child.done, .events = POLLIN};
    char byte = 1;

    assert_int_equal(write(child.go, "", 1), 1);
    assert_int_equal(poll(&done, 1, WAIT_MS), 1);
    assert_int_equal(read(child.done, &byte, 1), 1);
    assert_int_equal(byte, 0);
}

/* It dies without closing anything. */
static void kill_child(struct child child)
{
    int status;

    assert_int_equal(kill(child.pid, SIGKILL), 0);
    assert_int_equal(waitpid(child.pid, &status, 0), child.pid);
    assert_true(WIFSIGNALED(status));
    close(child.go);
    close(child.done);
}

static struct engine *childs_engine;
static struct engine_txn *childs_txn;

static int child_opens(void)
{
    struct kv_error error;

    return engine_lmdb_open(directory, &(struct lmdb_options){.create = true}, &childs_engine, &error);
}

static int child_begins_to_read(void) { return childs_engine->ops->begin(childs_engine, false, &childs_txn); }
static int child_begins_to_write(void) { return childs_engine->ops->begin(childs_engine, true, &childs_txn); }

static int child_puts_key(void) { return put(childs_txn, ENGINE_KEYS, "key", "of the child"); }
static int child_commits(void) { return childs_txn->ops->commit(childs_txn); }

static int child_puts_20_mib(void)
{
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < 20; i++)
        rc = put_parts(childs_engine, i, 4);
    return rc;
}

static void a_commit_of_another_process_is_seen_at_the_next_begin(void **state)
{
    child_step *const steps[] = {child_opens, child_begins_to_write, child_puts_key, child_commits, NULL};
    struct child child = start_child(steps);
    struct engine_txn *before;
    struct engine *engine;

    (void)state;
    step_child(child);
    engine = open_store(false, true, 0);
    step_child(child);
    step_child(child);
    before = begin(engine, false);
    assert_committed(engine, ENGINE_KEYS, "key", NULL);
    step_child(child);
    assert_record(before, ENGINE_KEYS, "key", NULL);
    before->ops->abort(before);
    assert_committed(engine, ENGINE_KEYS, "key", "of the child");
    engine->ops->close(engine);
    kill_child(child);
}

static void a_writer_that_died_leaves_nothing_behind(void **state)
{
    child_step *const steps[] = {child_opens, child_begins_to_write, child_puts_key, NULL};
    struct child child = start_child(steps);
    struct engine *engine;

    (void)state;
    step_child(child);
    engine = open_store(false, false, 0);
    put_and_commit(engine, ENGINE_KEYS, "key", "old");
    step_child(child);
    step_child(child);
    kill_child(child);
    put_and_commit(engine, ENGINE_NAMES, "name", "after it"); /* its lock is free */
    assert_committed(engine, ENGINE_KEYS, "key", "old");
    engine->ops->close(engine);
}

static void growth_beyond_the_own_map_is_followed(void **state)
{
    child_step *const steps[] = {child_opens, child_puts_20_mib, NULL};
    struct child child = start_child(steps);
    struct engine *engine = open_store(true, false, 4 * MIB);
    unsigned last[2] = {19, 3};
    struct engine_txn *txn;
    uint64_t used, limit;
    struct slice is;

    (void)state;
    put_and_commit(engine, ENGINE_KEYS, "key", "value");
    step_child(child);
    step_child(child);
    txn = begin(engine, false);
    assert_int_equal(txn->ops->get(txn, ENGINE_CHUNKS, slice_of(last, sizeof(last)), &is), 0);
    assert_int_equal(is.size, PART);
    assert_record(txn, ENGINE_KEYS, "key", "value");
    txn->ops->abort(txn);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(del_parts(engine, i, 4), 0);
    use_of(engine, &used, &limit);
    assert_true(used > 20 * MIB);
    assert_int_equal(limit, 4 * MIB);
    engine->ops->close(engine);
    kill_child(child);
}

/* Overwrite one value often. returns the bytes that the file grew by */
static uint64_t growth_by_overwriting(struct engine *engine)
{
    uint64_t before, after, limit;

    for (int i = 0; i < 5; i++)
        assert_int_equal(put_parts(engine, 0, 4), 0);
    use_of(engine, &before, &limit);
    for (int i = 0; i < 20; i++)
        assert_int_equal(put_parts(engine, 0, 4), 0);
    use_of(engine, &after, &limit);
    return after - before;
}

static void readers_that_died_do_not_pin_the_past(void **state)
{
    child_step *const reads[] = {child_opens, child_begins_to_read, NULL};
    child_step *const stays[] = {child_opens, NULL}; /* else the next open finds the store unused */
    struct child reader = start_child(reads), other = start_child(stays);
    struct engine *engine;

    (void)state;
    step_child(reader);
    step_child(other);
    engine = open_store(false, false, 0);
    put_and_commit(engine, ENGINE_KEYS, "key", "value");
    step_child(reader);
    assert_true(growth_by_overwriting(engine) > 10 * MIB); /* while it lives it does */
    engine->ops->close(engine);
    kill_child(reader);
    engine = open_store(false, false, 0);
    assert_true(growth_by_overwriting(engine) < 4 * MIB);
    engine->ops->close(engine);
    kill_child(other);
}

static void too_many_readers_are_told_so_and_may_come_again(void **state)
{
    enum { SLOTS = 1024 - 1 }; /* the writer has one */
    static struct engine_txn *txns[SLOTS];
    struct engine *engine = create_store();
    struct engine_txn *one_more = NULL;

    (void)state;
    put_and_commit(engine, ENGINE_KEYS, "key", "value");
    for (int i = 0; i < SLOTS; i++)
        txns[i] = begin(engine, false);
    assert_int_equal(engine->ops->begin(engine, false, &one_more), -ETIMEDOUT);
    assert_null(one_more);
    put_and_commit(engine, ENGINE_KEYS, "key", "new"); /* a writer has its slot already */
    for (int i = 0; i < SLOTS; i++) {
        assert_record(txns[i], ENGINE_KEYS, "key", "value");
        txns[i]->ops->abort(txns[i]);
    }
    for (int i = 0; i < SLOTS; i++)
        txns[i] = begin(engine, false);
    for (int i = 0; i < SLOTS; i++)
        txns[i]->ops->abort(txns[i]);
    engine->ops->close(engine);
}

#define LMDB_TEST(name) cmocka_unit_test_setup_teardown(name, make_empty_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LMDB_TEST(what_was_committed_is_there_after_close_and_open),
        LMDB_TEST(what_was_aborted_is_not_there_after_close_and_open),
        LMDB_TEST(a_new_store_is_small_and_may_become_large),
        LMDB_TEST(an_absent_directory_is_made_for_its_owner_only),
        LMDB_TEST(a_directory_under_an_absent_one_is_refused),
        LMDB_TEST(without_create_nothing_is_made),
        LMDB_TEST(a_read_only_open_makes_nothing),
        LMDB_TEST(a_file_is_no_store),
        LMDB_TEST(a_directory_with_other_things_is_refused_and_left_alone),
        LMDB_TEST(the_root_of_a_fresh_disk_counts_as_empty),
        LMDB_TEST(a_creation_that_was_cut_off_is_begun_anew),
        LMDB_TEST(creators_at_the_same_time_get_the_same_store),
        LMDB_TEST(a_data_file_that_is_not_lmdbs_is_refused_and_left_alone),
        LMDB_TEST(a_data_file_that_is_a_directory_is_refused),
        LMDB_TEST(a_file_of_another_lmdb_is_refused),
        LMDB_TEST(a_file_that_was_cut_off_is_refused),
        LMDB_TEST(the_database_of_another_program_is_refused),
        LMDB_TEST(a_network_filesystem_is_refused),
        LMDB_TEST(of_fuse_only_local_filesystems_are_let_in),
        LMDB_TEST(missing_permission_is_refused),
        LMDB_TEST(a_map_that_no_address_space_has_is_refused),
        LMDB_TEST(a_small_address_space_gets_a_smaller_map),
        LMDB_TEST(a_read_only_engine_reads_and_refuses_to_write),
        LMDB_TEST(a_full_map_is_survived),
        LMDB_TEST(a_full_map_is_survived_by_small_records),
        LMDB_TEST(a_refused_growth_is_enospc_and_the_old_state_stays),
        LMDB_TEST(a_store_larger_than_its_map_should_be_can_be_emptied),
        LMDB_TEST(a_full_tmpfs_is_survived),
        LMDB_TEST(a_full_ext4_is_survived),
        LMDB_TEST(a_commit_that_the_disk_refuses_says_enospc),
        LMDB_TEST(a_full_disk_takes_as_many_readers_or_refuses_the_open),
        LMDB_TEST(a_commit_of_another_process_is_seen_at_the_next_begin),
        LMDB_TEST(a_writer_that_died_leaves_nothing_behind),
        LMDB_TEST(growth_beyond_the_own_map_is_followed),
        LMDB_TEST(readers_that_died_do_not_pin_the_past),
        LMDB_TEST(too_many_readers_are_told_so_and_may_come_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
