/* Opening a store of LMDB: who may, what is in the place of its files, and how it is made. */
#include "tests/store/engine_test.h"

#include "store/base/owner.h"
#include "store/lmdb/lmdb_internal.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

enum { SOMEBODY = 4711 };

static char above[256], directory[300];

static const char *in_directory(const char *name)
{
    static char path[512];

    assert_true(snprintf(path, sizeof(path), "%s/%s", directory, name) < (int)sizeof(path));
    return path;
}

static const char *beside(const char *name)
{
    static char path[512];

    assert_true(snprintf(path, sizeof(path), "%s/%s", above, name) < (int)sizeof(path));
    return path;
}

static int setup(void **state)
{
    (void)state;
    make_directory(above, sizeof(above));
    assert_true(snprintf(directory, sizeof(directory), "%s/store", above) < (int)sizeof(directory));
    return mkdir(directory, 0700);
}

static int teardown(void **state)
{
    static const char *const names[] = {"victim", "link", "other"};

    (void)state;
    chmod(directory, 0700);
    rmdir(in_directory("data.mdb"));
    remove_store(directory);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (unlink(beside(names[i])) != 0 && errno == EISDIR)
            remove_store(beside(names[i]));
    return rmdir(above);
}

static int open_at(const char *dir, const struct lmdb_options *options, struct engine **engine,
                   const char *because)
{
    struct kv_error error = {""};
    int rc;

    *engine = NULL;
    rc = engine_lmdb_open(dir, options, engine, &error);
    if (rc < 0) {
        assert_null(*engine);
        assert_ptr_equal(strstr(error.text, dir), error.text);
        assert_null(strchr(error.text, '\n'));
        if (because == NULL || strstr(error.text, because) == NULL)
            fail_msg("%s", error.text);
    }
    return rc;
}

static const struct lmdb_options make = {.create = true}, use = {0}, look = {.read_only = true},
                                 foreign = {.create = true, .foreign = true};

static struct engine *opened(const struct lmdb_options *options)
{
    struct engine *engine;

    assert_int_equal(open_at(directory, options, &engine, NULL), 0);
    return engine;
}

static void assert_refused(const struct lmdb_options *options, int rc, const char *because)
{
    struct engine *engine;

    assert_int_equal(open_at(directory, options, &engine, because), rc);
}

static void make_store(void)
{
    struct engine *engine = opened(&make);

    put_and_commit(engine, ENGINE_KEYS, "key", "value");
    engine->ops->close(engine);
}

static void assert_usable(const struct lmdb_options *options)
{
    struct engine *engine = opened(options);

    assert_committed(engine, ENGINE_KEYS, "key", "value");
    engine->ops->close(engine);
}

static unsigned mode_of(const char *path)
{
    struct stat file;

    assert_int_equal(lstat(path, &file), 0);
    return file.st_mode & 07777;
}

static void need_root(void)
{
    if (geteuid() != 0) {
        print_message("skipped: needs root\n");
        skip();
    }
}

/* ------------------------------------------------------------------ twice in a process */

static void a_process_opens_a_store_once(void **state)
{
    struct engine *engine = opened(&make), *second;

    (void)state;
    assert_refused(&use, -EBUSY, "already");
    assert_refused(&look, -EBUSY, "already");
    put_and_commit(engine, ENGINE_KEYS, "key", "value");
    assert_int_equal(symlink("store", beside("link")), 0);
    assert_int_equal(open_at(beside("link"), &use, &second, "already"), -EBUSY);
    assert_int_equal(open_at(in_directory("../store/."), &use, &second, "already"), -EBUSY);
    assert_committed(engine, ENGINE_KEYS, "key", "value");
    engine->ops->close(engine);
    assert_usable(&use);
    assert_usable(&look);
}

static void other_stores_can_be_open_in_the_same_process(void **state)
{
    struct engine *engine = opened(&make), *other;
    struct kv_error error;

    (void)state;
    assert_int_equal(engine_lmdb_open(beside("other"), &(struct lmdb_options){.create = true}, &other, &error), 0);
    put_and_commit(engine, ENGINE_KEYS, "key", "value");
    put_and_commit(other, ENGINE_KEYS, "key", "another");
    engine->ops->close(engine);
    assert_usable(&use);
    assert_committed(other, ENGINE_KEYS, "key", "another");
    other->ops->close(other);
}

static void an_open_that_failed_is_forgotten(void **state)
{
    (void)state;
    assert_refused(&use, -ENOENT, "no store there");
    make_store();
    assert_int_equal(chmod(directory, 0750), 0);
    assert_refused(&use, -EPERM, "0750");
    assert_int_equal(chmod(directory, 0700), 0);
    assert_usable(&use);
}

/* The locks of the first environment stand: another process that looks for dead readers does not take this one for
 * dead. */
static void a_refused_open_leaves_the_locks_of_the_first(void **state)
{
    struct engine *engine = opened(&make);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int status;
    pid_t pid;

    (void)state;
    assert_refused(&use, -EBUSY, "already");
    pid = fork();
    if (pid == 0)
        _exit(fcntl(open(in_directory("lock.mdb"), O_RDWR), F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    engine->ops->close(engine);
}

/* ----------------------------------------------------------------- links and other things */

static const char precious[] = "what somebody else wrote";

static void make_victim(void)
{
    int fd = open(beside("victim"), O_WRONLY | O_CREAT, 0600);

    assert_int_equal(write(fd, precious, sizeof(precious)), sizeof(precious));
    close(fd);
}

static void assert_victim_unharmed(void)
{
    char bytes[2 * sizeof(precious)];
    int fd = open(beside("victim"), O_RDONLY);

    assert_int_equal(read(fd, bytes, sizeof(bytes)), sizeof(precious));
    assert_memory_equal(bytes, precious, sizeof(precious));
    close(fd);
}

static void a_link_in_the_place_of_a_file_is_refused(void **state)
{
    static const struct lmdb_options *const all[] = {&make, &use, &look, &foreign};
    static const char *const names[] = {"data.mdb", "lock.mdb"};

    (void)state;
    make_victim();
    make_store();
    for (size_t i = 0; i < 2 * 4; i++) {
        const char *name = names[i / 4];

        assert_int_equal(rename(in_directory(name), beside("other")), 0);
        assert_int_equal(symlink("../victim", in_directory(name)), 0);
        assert_refused(all[i % 4], -ELOOP, "symbolic link");
        assert_victim_unharmed();
        assert_int_equal(unlink(in_directory(name)), 0);
        assert_int_equal(symlink("../other", in_directory(name)), 0); /* a sound file, elsewhere */
        assert_refused(all[i % 4], -ELOOP, "symbolic link");
        assert_int_equal(rename(beside("other"), in_directory(name)), 0);
        assert_usable(&use);
    }
}

static void links_do_not_lead_a_creation_away(void **state)
{
    (void)state;
    make_victim();
    assert_int_equal(symlink("../victim", in_directory("lock.mdb")), 0);
    assert_refused(&make, -ELOOP, "symbolic link");
    assert_int_equal(unlink(in_directory("lock.mdb")), 0);
    assert_int_equal(symlink("../victim", in_directory("data.mdb.new")), 0);
    make_store();
    assert_int_equal(symlink("../victim", in_directory("data.mdb.new")), 0);
    assert_usable(&use);
    assert_victim_unharmed();
}

static void what_is_no_file_is_refused_at_once(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(in_directory("data.mdb"), 0600), 0);
    assert_refused(&make, -EIO, "data.mdb is not a file");
    assert_refused(&look, -EIO, "data.mdb is not a file");
    assert_int_equal(unlink(in_directory("data.mdb")), 0);
    assert_int_equal(mkdir(in_directory("data.mdb"), 0700), 0);
    assert_refused(&make, -EIO, "data.mdb is not a file");
    assert_int_equal(rmdir(in_directory("data.mdb")), 0);
    make_store();
    assert_int_equal(unlink(in_directory("lock.mdb")), 0);
    assert_int_equal(mkfifo(in_directory("lock.mdb"), 0600), 0);
    assert_refused(&use, -EIO, "lock.mdb is not a file");
}

static void the_store_is_the_directory_that_was_opened(void **state)
{
    char path[LMDB_PATH_SIZE];
    struct engine *engine;

    (void)state;
    make_store();
    engine = opened(&use);
    assert_int_equal(rename(directory, beside("other")), 0);
    put_and_commit(engine, ENGINE_KEYS, "key", "new");
    assert_string_equal(lmdb_path(7, "/data.mdb", path), "/proc/self/fd/7/data.mdb");
    engine->ops->close(engine);
    assert_int_equal(rename(beside("other"), directory), 0);
}

/* ----------------------------------------------------------------------------- whose it is */

static void a_store_that_others_have_rights_on_is_refused(void **state)
{
    static const unsigned modes[] = {0001, 0010, 0040, 0020, 0004, 0002, 0077};

    (void)state;
    make_store();
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        assert_int_equal(chmod(directory, 0700 | modes[i]), 0);
        assert_refused(&use, -EPERM, "the directory");
        assert_refused(&look, -EPERM, "foreign_store");
        assert_refused(&make, -EPERM, "chmod go=");
        assert_usable(&foreign);
        assert_int_equal(mode_of(directory), 0700 | modes[i]); /* not ours to change */
        assert_int_equal(chmod(directory, 0700), 0);
        assert_int_equal(chmod(in_directory("data.mdb"), 0600 | modes[i]), 0);
        assert_refused(&use, -EPERM, "data.mdb");
        assert_usable(&foreign);
        assert_int_equal(chmod(in_directory("data.mdb"), 0600), 0);
    }
    assert_usable(&use);
}

static void a_store_is_made_for_its_owner_whatever_the_umask_is(void **state)
{
    static const mode_t masks[] = {0, 022, 077, 0777};

    (void)state;
    for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
        mode_t before;

        assert_int_equal(rmdir(directory), 0);
        before = umask(masks[i]);
        make_store();
        umask(before);
        assert_int_equal(mode_of(directory), 0700);
        assert_int_equal(mode_of(in_directory("data.mdb")), 0600);
        assert_int_equal(mode_of(in_directory("lock.mdb")), 0600);
        assert_usable(&use);
        remove_store(directory);
        assert_int_equal(mkdir(directory, 0700), 0);
    }
}

/* Root can open a directory without any rights on it; others cannot. */
static void a_user_makes_a_store_whatever_the_umask_is(void **state)
{
    struct kv_error error = {""};
    struct engine *engine;
    int status;
    pid_t pid;

    (void)state;
    need_root();
    assert_int_equal(chmod(above, 0777), 0);
    pid = fork();
    if (pid == 0) {
        umask(0777);
        _exit(setgid(SOMEBODY) != 0 || setuid(SOMEBODY) != 0 ||
              engine_lmdb_open(beside("other"), &make, &engine, &error) != 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(mode_of(beside("other")), 0700);
}

static void an_empty_directory_is_closed_to_others_when_a_store_is_made_in_it(void **state)
{
    (void)state;
    assert_int_equal(chmod(directory, 01777), 0);
    make_store();
    assert_int_equal(mode_of(directory), 0700);
    assert_usable(&use);
}

static void a_directory_that_is_not_empty_keeps_its_mode(void **state)
{
    (void)state;
    close(open(in_directory("data.mdb.old"), O_WRONLY | O_CREAT, 0600));
    assert_int_equal(chmod(directory, 0755), 0);
    assert_refused(&make, -ENOTEMPTY, "data.mdb.old");
    assert_int_equal(mode_of(directory), 0755);
    assert_int_equal(unlink(in_directory("data.mdb.old")), 0);
}

static void give(const char *path, uid_t uid) { assert_int_equal(lchown(path, uid, uid), 0); }

static void give_store(uid_t uid)
{
    give(directory, uid);
    give(in_directory("data.mdb"), uid);
    give(in_directory("lock.mdb"), uid);
    give(in_directory("writer"), uid);
}

static uid_t owner_of(const char *path)
{
    struct stat file;

    assert_int_equal(lstat(path, &file), 0);
    return file.st_uid;
}

static void root_opens_a_store_of_somebody_only_when_told_to(void **state)
{
    (void)state;
    need_root();
    make_store();
    give_store(SOMEBODY);
    assert_refused(&use, -EPERM, "belongs to user 4711, and you are user 0");
    assert_refused(&look, -EPERM, "foreign_store");
    assert_usable(&foreign);
}

static void files_of_two_users_are_refused(void **state)
{
    (void)state;
    need_root();
    make_store();
    give(in_directory("data.mdb"), SOMEBODY);
    assert_refused(&use, -EPERM, "data.mdb belongs to user 4711");
    give(in_directory("data.mdb"), 0);
    give(in_directory("lock.mdb"), SOMEBODY);
    assert_refused(&use, -EPERM, "lock.mdb belongs to user 4711");
    assert_refused(&foreign, -EPERM, "lock.mdb belongs to user 4711");
}

static void what_root_makes_in_a_store_of_somebody_is_that_ones(void **state)
{
    struct engine *engine;
    int fd, dir_fd;

    (void)state;
    need_root();
    give(directory, SOMEBODY);
    assert_refused(&make, -EPERM, "belongs to user 4711");
    engine = opened(&foreign);
    assert_int_equal(owner_of(in_directory("data.mdb")), SOMEBODY);
    assert_int_equal(owner_of(in_directory("lock.mdb")), SOMEBODY);
    put_and_commit(engine, ENGINE_KEYS, "key", "value");
    engine->ops->close(engine);
    assert_int_equal(unlink(in_directory("lock.mdb")), 0);
    assert_usable(&foreign);
    assert_int_equal(owner_of(in_directory("lock.mdb")), SOMEBODY);

    dir_fd = open(directory, O_PATH | O_CLOEXEC);
    fd = open(in_directory("data.mdb.new"), O_WRONLY | O_CREAT, 0600);
    assert_int_equal(owner_of(in_directory("data.mdb.new")), 0);
    assert_int_equal(owner_give(dir_fd, fd), 0);
    assert_int_equal(owner_of(in_directory("data.mdb.new")), SOMEBODY);
    close(fd);
    close(dir_fd);
}

/* Root that works in somebody's directory can be led to nothing that this one could not open. */
static void root_has_the_rights_of_the_owner_there_and_its_own_afterwards(void **state)
{
    int dir_fd = open(directory, O_PATH | O_CLOEXEC);
    struct owner_rights rights;

    (void)state;
    need_root();
    make_victim();
    assert_int_equal(chmod(above, 0755), 0);
    give(directory, SOMEBODY);
    assert_int_equal(owner_begin(dir_fd, &rights), 0);
    assert_int_equal(open(beside("victim"), O_RDWR), -1);
    assert_int_equal(errno, EACCES);
    close(open(in_directory("data.mdb.new"), O_WRONLY | O_CREAT, 0600));
    owner_end(&rights);
    assert_int_equal(owner_of(in_directory("data.mdb.new")), SOMEBODY);
    close(open(beside("other"), O_WRONLY | O_CREAT, 0600));
    assert_int_equal(owner_of(beside("other")), 0);
    assert_victim_unharmed();
    close(dir_fd);
}

/* ------------------------------------------------------------------------ who makes it */

/* A process that holds flock() on a path. returns its id, once it has it */
static pid_t hold(const char *path)
{
    int ends[2], fd;
    char byte;
    pid_t pid;

    assert_int_equal(pipe(ends), 0);
    pid = fork();
    if (pid == 0) {
        fd = open(path, O_RDONLY);
        _exit(flock(fd, LOCK_EX) != 0 || write(ends[1], "", 1) != 1 || pause());
    }
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    close(ends[1]);
    return pid;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void a_lock_on_the_directory_holds_up_nobody(void **state)
{
    pid_t pid = hold(directory);

    (void)state;
    alarm(60);
    make_store();
    assert_usable(&use);
    alarm(0);
    end(pid);
}

static void a_creator_that_is_stopped_is_waited_for_a_while(void **state)
{
    time_t begin = time(NULL);
    pid_t pid;

    (void)state;
    close(open(in_directory("lock.mdb"), O_WRONLY | O_CREAT, 0600));
    pid = hold(in_directory("lock.mdb"));
    alarm(60);
    assert_refused(&make, -ETIMEDOUT, "lock of lock.mdb");
    alarm(0);
    assert_true(time(NULL) - begin >= 4);
    end(pid);
    make_store();
}

/* ------------------------------------------------------------------------------ headers */

/* Where the newest header is none, or of another transaction than the checkpoint, the checkpoint has a copy. */
static bool is_made_good(void)
{
    struct engine *engine;
    struct kv_error error;
    int rc = engine_lmdb_open(directory, &use, &engine, &error);

    if (rc == 0)
        engine->ops->close(engine);
    else
        assert_int_equal(rc, -EIO);
    return rc == 0;
}

/* Of both pages, behind the page's own 16 bytes: magic 0, version 4, size of the map 16, free list 24 and main tree 72
 * (page size or pad 0, flags 4, depth 6, entries 32, root 40), last page 120, transaction 128. */
static void damaged_headers_are_refused_or_made_good_before_lmdb_believes_them(void **state)
{
    static const struct {
        off_t at;
        size_t size;
        uint64_t value;
    } damages[] = {
        {24, 4, 0},           {24, 4, 1},           {24, 4, 512},
        {24, 4, 2048},        {24, 4, 4097},        {24, 4, 8192}, /* the other one has 4096 */
        {24, 4, 65536},       {24, 4, 0x80001000},  {24, 4, 1u << 31},
        {120, 8, 0},          {120, 8, 1u << 30},   {120, 8, UINT64_MAX},
        {120, 8, 1ull << 52}, {24 + 40, 8, 0},      {24 + 40, 8, 1u << 30},
        {72 + 40, 8, 1},      {72 + 40, 8, 100000}, {72 + 40, 8, UINT64_MAX},
        {72 + 6, 2, 0},       {72 + 6, 2, 33},      {72 + 4, 2, 4},
        {24 + 4, 2, 0},       {128, 8, UINT64_MAX}, {-6, 2, 2},
        {0, 4, 0xdeadbeef},
    };
    uint8_t headers[2][160];
    int fd;

    (void)state;
    make_store();
    fd = open(in_directory("data.mdb"), O_RDWR);
    assert_int_equal(pread(fd, headers[0], 160, 0), 160);
    assert_int_equal(pread(fd, headers[1], 160, sysconf(_SC_PAGESIZE)), 160);
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        for (int place = 0; place < 2; place++) {
            off_t at = place * sysconf(_SC_PAGESIZE);

            assert_int_equal(pwrite(fd, &damages[i].value, damages[i].size, at + 16 + damages[i].at),
                             damages[i].size);
            if (!is_made_good()) {
                assert_refused(&use, -EIO, "data.mdb");
                assert_refused(&look, -EIO, "restore it from a copy");
                assert_int_equal(pwrite(fd, headers[place], 160, at), 160);
            }
            assert_usable(&use);
            assert_int_equal(pread(fd, headers[0], 160, 0), 160);
            assert_int_equal(pread(fd, headers[1], 160, sysconf(_SC_PAGESIZE)), 160);
        }
    }
    close(fd);
    assert_usable(&use);
}

#define OPENING(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OPENING(a_process_opens_a_store_once),
        OPENING(other_stores_can_be_open_in_the_same_process),
        OPENING(an_open_that_failed_is_forgotten),
        OPENING(a_refused_open_leaves_the_locks_of_the_first),
        OPENING(a_link_in_the_place_of_a_file_is_refused),
        OPENING(links_do_not_lead_a_creation_away),
        OPENING(what_is_no_file_is_refused_at_once),
        OPENING(the_store_is_the_directory_that_was_opened),
        OPENING(a_store_that_others_have_rights_on_is_refused),
        OPENING(a_store_is_made_for_its_owner_whatever_the_umask_is),
        OPENING(a_user_makes_a_store_whatever_the_umask_is),
        OPENING(an_empty_directory_is_closed_to_others_when_a_store_is_made_in_it),
        OPENING(a_directory_that_is_not_empty_keeps_its_mode),
        OPENING(root_opens_a_store_of_somebody_only_when_told_to),
        OPENING(files_of_two_users_are_refused),
        OPENING(what_root_makes_in_a_store_of_somebody_is_that_ones),
        OPENING(root_has_the_rights_of_the_owner_there_and_its_own_afterwards),
        OPENING(a_lock_on_the_directory_holds_up_nobody),
        OPENING(a_creator_that_is_stopped_is_waited_for_a_while),
        OPENING(damaged_headers_are_refused_or_made_good_before_lmdb_believes_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
