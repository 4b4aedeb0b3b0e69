#include "tests/store/power.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HALVES = 2 };

/* ------------------------------------------------------------------------ the processes */

static bool try_open(const struct power_session *session, bool create, bool copied)
{
    struct kv_options options = kv_options_default();
    struct kv_error error;

    options.create = create;
    options.copied = copied;
    options.durability = session->kind.durability;
    options.commit_interval_ms = 2;
    options.map_bytes = session->kind.map_bytes;
    if (kv_open(session->dir, &options, &power_store, &error) == 0)
        return true;
    printf("%s\n", error.text);
    return false;
}

static void open_store(const struct power_session *session, bool create, bool copied)
{
    assert_true(try_open(session, create, copied));
}

/* Whatever has expired, of every writer: nobody can see a difference. */
static int sweep(void)
{
    uint64_t swept;
    int64_t next_ns;

    return kv_sweep(power_store, &swept, &next_ns);
}

static void *change_things(void *arg)
{
    struct power_writer *writer = arg;
    unsigned most = writer->session->kind.most > 0 ? writer->session->kind.most : POWER_CHANGES;

    for (unsigned i = 0; i < most / HALVES && writer->count < POWER_CHANGES; i++) {
        power_change(writer);
        if (test_random_below(&writer->random, 12) == 0 && sweep() < 0 && writer->count > 0)
            writer->steps[writer->count - 1].rc = -EIO;
        if (test_random_below(&writer->random, 12) == 0) {
            power_wait_for_all(writer);
            if (kv_sync(power_store) == 0)
                power_note_durable(writer);
            else
                writer->steps[writer->count - 1].rc = -EIO;
        }
    }
    power_wait_for_all(writer);
    return NULL;
}

static void run_threads(struct power_session *session, unsigned from, unsigned to)
{
    pthread_t ids[POWER_THREADS];

    for (unsigned i = from; i < to; i++)
        if (pthread_create(&ids[i], NULL, change_things, &session->writers[i]) != 0)
            abort();
    for (unsigned i = from; i < to; i++)
        pthread_join(ids[i], NULL);
}

static void close_store(struct power_session *session, unsigned from, unsigned to)
{
    kv_close(power_store); /* makes everything durable */
    for (unsigned i = from; i < to; i++)
        power_note_durable(&session->writers[i]);
}

/* A process that has the store open for two turns. */
__attribute__((noreturn)) static void be_process(struct power_session *session, unsigned number,
                                                 struct record_io_calls death)
{
    unsigned from = number * POWER_THREADS / 2, to = from + POWER_THREADS / 2;

    if (!try_open(session, false, false))
        _exit(1);
    sem_post(&session->done);
    for (int turn = 0; turn < HALVES; turn++) {
        sem_wait(&session->go[number]);
        if (turn > 0 && number == 1)
            record_io_die(death);
        run_threads(session, from, to);
        if (kv_sync(power_store) < 0)
            _exit(1);
        sem_post(&session->done);
    }
    close_store(session, from, to);
    _exit(0);
}

static void take_shots(struct power_session *session)
{
    struct power_writer *writer = &session->writers[POWER_ONE_SHOTS];

    for (unsigned i = 0; i < 12 && writer->count < POWER_CHANGES; i++) {
        open_store(session, false, false);
        power_change(writer);
        close_store(session, POWER_ONE_SHOTS, POWER_ONE_SHOTS + 1);
    }
}

static void run_two(struct power_session *session, struct record_io_calls death)
{
    pid_t children[2];
    int status;

    fflush(NULL);
    for (unsigned i = 0; i < 2; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0)
            be_process(session, i, death);
        sem_wait(&session->done);
    }
    for (int i = 0; i < 2; i++) { /* both have the store open, one after the other changes it */
        sem_post(&session->go[i]);
        sem_wait(&session->done);
        take_shots(session);
    }
    sem_post(&session->go[0]);
    sem_post(&session->go[1]);
    take_shots(session);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(status == 0 || (i == 1 && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
    }
    take_shots(session);
}

/* --------------------------------------------------------------------------- directories */

void power_make_directory(char *dir, size_t size)
{
    const char *parent = getenv("TMPDIR");
    char *real;

    snprintf(dir, size, "/dev/shm/kvfs-power.XXXXXX");
    if (mkdtemp(dir) == NULL) {
        snprintf(dir, size, "%s/kvfs-power.XXXXXX", parent != NULL ? parent : "/tmp");
        assert_non_null(mkdtemp(dir));
    }
    real = realpath(dir, NULL);
    assert_non_null(real);
    assert_true(snprintf(dir, size, "%s", real) < (int)size);
    free(real);
}

void power_empty_directory(const char *dir)
{
    static const char *const files[] = {"data.mdb", "lock.mdb", "data.mdb.new", "writer", "log"};
    char path[128];

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
        unlink(path);
    }
}

void power_remove_directory(const char *dir)
{
    power_empty_directory(dir);
    assert_int_equal(rmdir(dir), 0);
}

/* -------------------------------------------------------------------------- the session */

/* The account, and the namespaces that stay. */
static void make_nodes(struct power_session *session)
{
    struct kv_change limits = {.kind = KV_NODE_LIMITS};
    struct kv_node node;
    char name[16];

    assert_int_equal(kv_node_make(power_store, KV_ACCOUNT, KV_ROOT_ID, "acme", 0, &node), 0);
    session->account = node.id;
    limits.node = node;
    limits.node.limit_namespaces = POWER_WRITERS * HISTORY_NAMESPACES;
    assert_int_equal(kv_apply(power_store, &limits), 0);
    for (unsigned i = 0; i < POWER_WRITERS; i++)
        for (unsigned j = 0; j < HISTORY_LAST; j++) {
            history_name_namespace(i, j, name);
            assert_int_equal(kv_node_make(power_store, KV_NAMESPACE, session->account, name, 0, &node), 0);
            session->writers[i].namespaces[j] = node.id;
        }
}

/* The recorder has seen everything: its writes make the file that is there. */
static void expect_complete_log(const struct power_session *session, struct disk *disk, enum record_io_file which)
{
    uint8_t *image = malloc(disk->files[which].capacity), *file;
    char path[sizeof(session->dir) + 16];
    struct test_random random = {0};
    struct stat attr;
    int fd;

    snprintf(path, sizeof(path), "%s/%s", session->dir, record_io_names[which]);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &attr), 0);
    file = mmap(NULL, (size_t)attr.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    assert_ptr_not_equal(file, MAP_FAILED);
    assert_non_null(image);
    assert_int_equal(disk_cut(disk, which, DISK_NOTHING, &random, image), attr.st_size);
    assert_true(memcmp(image, file, (size_t)attr.st_size) == 0);
    free(image);
    munmap(file, (size_t)attr.st_size);
    close(fd);
}

static struct power_session *session_new(struct power_kind kind, uint64_t seed)
{
    struct power_session *session =
        mmap(NULL, sizeof(*session), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(session, MAP_FAILED);
    session->kind = kind;
    sem_init(&session->done, 1, 0);
    for (int i = 0; i < 2; i++)
        sem_init(&session->go[i], 1, 0);
    for (unsigned i = 0; i < POWER_WRITERS; i++) {
        session->writers[i].session = session;
        session->writers[i].number = i;
        session->writers[i].random.state = seed + i;
        sem_init(&session->writers[i].free, 1, power_under_way(&session->writers[i]));
    }
    return session;
}

static void session_begin(struct power_session *session)
{
    power_make_directory(session->dir, sizeof(session->dir));
    record_io_start(session->dir);
    open_store(session, true, false);
    make_nodes(session);
    if (session->kind.durability == KV_DURABILITY_FSYNC)
        assert_int_equal(kv_sync(power_store), 0);
    session->base = record_io_position();
}

static void session_end(struct power_session *session)
{
    struct disk disk;

    session->log = record_io_stop();
    for (int i = 0; i < POWER_WRITERS; i++)
        for (size_t j = 0; j < session->writers[i].count; j++)
            if (session->writers[i].steps[j].rc != 0)
                fail_msg("step %zu of writer %d (kind %d): %s", j, i, session->writers[i].steps[j].what.kind,
                         strerror(-session->writers[i].steps[j].rc));
    disk_init(&disk, &session->log);
    disk_advance(&disk, session->log.count);
    for (int i = 0; i < RECORD_IO_FILES; i++)
        expect_complete_log(session, &disk, (enum record_io_file)i);
    disk_free(&disk);
    power_remove_directory(session->dir);
}

struct power_session *power_session(struct power_kind kind, uint64_t seed)
{
    struct power_session *session = session_new(kind, seed);

    session_begin(session);
    for (int half = 0; half < HALVES; half++) {
        if (half > 0)
            open_store(session, false, false);
        run_threads(session, 0, POWER_THREADS);
        close_store(session, 0, POWER_THREADS);
    }
    session_end(session);
    return session;
}

struct power_session *power_session_of_two(struct power_kind kind, uint64_t seed, struct record_io_calls death)
{
    struct power_session *session = session_new(kind, seed);

    session_begin(session);
    kv_close(power_store);
    run_two(session, death);
    session_end(session);
    return session;
}

struct power_session *power_session_after(const struct power_session *before, const char *dir,
                                          const struct history_state states[POWER_WRITERS], uint64_t seed)
{
    struct power_session *session = session_new(before->kind, seed);
    struct kv_node node;
    char name[16];

    session->account = before->account;
    snprintf(session->dir, sizeof(session->dir), "%s", dir);
    record_io_start(dir);
    session->base = record_io_position();
    open_store(session, false, true);
    for (unsigned i = 0; i < POWER_WRITERS; i++) {
        struct power_writer *writer = &session->writers[i];

        writer->start = writer->made = states[i];
        for (unsigned j = 0; j < HISTORY_NAMESPACES; j++) {
            history_name_namespace(i, j, name);
            if (j < HISTORY_LAST || writer->made.last_is_there) {
                assert_int_equal(kv_node_find(power_store, session->account, name, strlen(name), &node), 0);
                writer->namespaces[j] = node.id;
            }
        }
    }
    run_threads(session, 0, POWER_THREADS);
    close_store(session, 0, POWER_THREADS);
    session_end(session);
    return session;
}

void power_session_free(struct power_session *session)
{
    record_io_free(&session->log);
    munmap(session, sizeof(*session));
}
