/* The right to write: waited for a bounded time, and left behind by the dead. */
#include "tests/store/engine_test.h"
#include "tests/support/engines.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TIMEOUT_MS = 600, PATIENCE_MS = 20000 };

static char directory[256];

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void sleep_ms(int64_t ms)
{
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};

    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

/* ------------------------------------------------------------- the other process */

/* Takes the right to write, and begins a transaction, at the first byte; tells so by a byte, and gives both back
 * at the next one. */
struct holder {
    pid_t pid;
    int to, from;
};

static void hold(int from, int to)
{
    struct kv_error error;
    struct engine *engine;
    struct engine_txn *txn;
    char byte;

    if (read(from, &byte, 1) != 1 ||
        engine_lmdb_open(directory, &(struct lmdb_options){.create = false}, &engine, &error) < 0)
        _exit(1);
    if (engine->ops->acquire(engine, 0) < 0 || engine->ops->begin(engine, true, &txn) < 0 ||
        write(to, "", 1) != 1 || read(from, &byte, 1) != 1)
        _exit(1);
    txn->ops->abort(txn);
    engine->ops->release(engine);
    engine->ops->close(engine);
    _exit(write(to, "", 1) == 1 ? 0 : 1);
}

static struct holder holder_start(void)
{
    int there[2], back[2];
    struct holder holder;

    assert_int_equal(pipe2(there, O_CLOEXEC), 0);
    assert_int_equal(pipe2(back, O_CLOEXEC), 0);
    holder.pid = fork();
    assert_true(holder.pid >= 0);
    if (holder.pid == 0) {
        close(there[1]);
        close(back[0]);
        hold(there[0], back[1]);
    }
    close(there[0]);
    close(back[1]);
    holder.to = there[1];
    holder.from = back[0];
    return holder;
}

/* Let it take its next step, and wait until that is done. */
static void holder_step(struct holder *holder)
{
    struct pollfd fd = {.fd = holder->from, .events = POLLIN};
    char byte;

    assert_int_equal(write(holder->to, "", 1), 1);
    assert_int_equal(poll(&fd, 1, PATIENCE_MS), 1);
    assert_int_equal(read(holder->from, &byte, 1), 1);
}

static void holder_stop(struct holder *holder)
{
    int status;

    assert_int_equal(kill(holder->pid, SIGSTOP), 0);
    assert_int_equal(waitpid(holder->pid, &status, WUNTRACED), holder->pid);
    assert_true(WIFSTOPPED(status));
}

static void holder_end(struct holder *holder)
{
    close(holder->to);
    close(holder->from);
    assert_int_equal(waitpid(holder->pid, NULL, 0), holder->pid);
}

/* --------------------------------------------------------------------- the setting */

static struct kv_ref ref_of(uint64_t namespace_id, const char *key)
{
    return kv_ref_key(namespace_id, key, strlen(key));
}

static struct kv_store *open_store(void)
{
    struct kv_options options = kv_options_default();
    struct kv_error error = {""};
    struct kv_store *kv;

    options.commit_timeout_ms = TIMEOUT_MS;
    options.cache_ttl_ms = 0;
    if (kv_open(directory, &options, &kv, &error) < 0)
        fail_msg("cannot open: %s", error.text);
    return kv;
}

struct setting {
    struct holder holder;
    struct kv_store *kv;
    uint64_t space;
};

/* A store with a key, and a process that is going to hold the right to write. */
static struct setting begin_setting(void)
{
    struct setting setting = {.holder = holder_start()};
    struct kv_node account, space;
    struct kv_ref ref;

    setting.kv = open_store();
    assert_int_equal(kv_node_make(setting.kv, KV_ACCOUNT, KV_ROOT_ID, "a", 0, &account), 0);
    assert_int_equal(kv_node_make(setting.kv, KV_NAMESPACE, account.id, "n", 0, &space), 0);
    setting.space = space.id;
    ref = ref_of(space.id, "key");
    assert_int_equal(kv_put(setting.kv, &ref, "value", 5), 0);
    assert_int_equal(kv_writer_pid(setting.kv), 0);
    return setting;
}

static void end_setting(struct setting *setting)
{
    kv_close(setting->kv);
    holder_end(&setting->holder);
}

static int put_text(struct setting *setting, const char *key, const char *text)
{
    struct kv_ref ref = ref_of(setting->space, key);

    return kv_put(setting->kv, &ref, text, strlen(text));
}

static void expect_text(struct setting *setting, const char *key, const char *text)
{
    struct kv_ref ref = ref_of(setting->space, key);
    struct kv_value *value;
    struct kv_meta meta;

    assert_int_equal(kv_get(setting->kv, &ref, &meta, &value, NULL), 0);
    assert_int_equal(value->size, strlen(text));
    assert_memory_equal(value->data, text, value->size);
    kv_value_unref(value);
}

static int setup(void **state)
{
    (void)state;
    make_directory(directory, sizeof(directory));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    remove_store(directory);
    return access(directory, F_OK) == 0 ? -1 : 0;
}

/* --------------------------------------------------------------------------- tests */

static void a_stopped_writer_fails_changes_and_not_reads(void **state)
{
    struct setting setting = begin_setting();
    int64_t began_ms;

    (void)state;
    holder_step(&setting.holder);
    holder_stop(&setting.holder);
    began_ms = now_ms();
    assert_int_equal(put_text(&setting, "key", "another"), -ETIMEDOUT);
    assert_true(now_ms() - began_ms >= TIMEOUT_MS);
    assert_true(now_ms() - began_ms < PATIENCE_MS);
    assert_int_equal(kv_writer_pid(setting.kv), setting.holder.pid);
    expect_text(&setting, "key", "value");

    kill(setting.holder.pid, SIGCONT);
    holder_step(&setting.holder);
    assert_int_equal(kv_writer_pid(setting.kv), 0);
    expect_text(&setting, "key", "value"); /* it was not done later, either */
    assert_int_equal(put_text(&setting, "key", "another"), 0);
    expect_text(&setting, "key", "another");
    end_setting(&setting);
}

static void a_store_opens_while_its_writer_is_stopped(void **state)
{
    struct setting setting = begin_setting();

    (void)state;
    holder_step(&setting.holder);
    holder_stop(&setting.holder);
    kv_close(setting.kv);
    setting.kv = open_store();
    expect_text(&setting, "key", "value");
    assert_int_equal(put_text(&setting, "key", "another"), -ETIMEDOUT);
    kill(setting.holder.pid, SIGCONT);
    holder_step(&setting.holder);
    assert_int_equal(put_text(&setting, "key", "another"), 0);
    end_setting(&setting);
}

/* What another version has in the file means something else: who meets it is refused, and changes nothing in it. */
static void a_store_that_another_version_has_open_is_refused(void **state)
{
    struct setting setting = begin_setting();
    struct kv_options options = kv_options_default();
    struct flock all = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    uint8_t other[512], is[sizeof(other)];
    struct kv_error error = {""};
    char path[sizeof(directory) + 8];
    int fd;

    (void)state;
    end_setting(&setting);
    snprintf(path, sizeof(path), "%s/writer", directory);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &all), 0);
    memset(other, 0, sizeof(other));
    assert_true(pread(fd, other, sizeof(other), 0) > 4);
    other[0]++;
    assert_int_equal(pwrite(fd, other, sizeof(other), 0), sizeof(other));

    assert_int_equal(kv_open(directory, &options, &setting.kv, &error), -EBUSY);
    assert_non_null(strstr(error.text, "another version of kvfs has it open"));
    options.read_only = true;
    assert_int_equal(kv_open(directory, &options, &setting.kv, &error), 0);
    expect_text(&setting, "key", "value");
    assert_int_equal(kv_writer_pid(setting.kv), 0);
    assert_int_equal(kv_wait(setting.kv, kv_epoch(setting.kv), 1), -ETIMEDOUT);
    kv_close(setting.kv);
    assert_int_equal(pread(fd, is, sizeof(is), 0), sizeof(is));
    assert_memory_equal(is, other, sizeof(is));

    close(fd);
    setting.kv = open_store(); /* it has ended */
    assert_int_equal(put_text(&setting, "key", "another"), 0);
    kv_close(setting.kv);
}

/* A change that notes when it ended. */
struct timed {
    struct kv_change change;
    int64_t began_ms, ended_ms; /* ended: told.lock */
    int rc;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t one_more;
    size_t count;
} told = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};

static void note_end(struct kv_change *change, int rc)
{
    struct timed *timed = change->arg;

    pthread_mutex_lock(&told.lock);
    timed->ended_ms = now_ms();
    timed->rc = rc;
    told.count++;
    pthread_cond_signal(&told.one_more);
    pthread_mutex_unlock(&told.lock);
}

static void submit(struct setting *setting, struct timed *timed, const char *key)
{
    *timed = (struct timed){.change = {.kind = KV_PUT, .ref = ref_of(setting->space, key), .done = note_end}};
    timed->change.arg = timed;
    assert_int_equal(kv_value_copy(key, strlen(key), &timed->change.value), 0);
    timed->began_ms = now_ms();
    kv_submit(setting->kv, &timed->change);
}

static void wait_for_ends(size_t count)
{
    pthread_mutex_lock(&told.lock);
    while (told.count < count)
        pthread_cond_wait(&told.one_more, &told.lock);
    pthread_mutex_unlock(&told.lock);
}

static void each_change_has_a_time_of_its_own(void **state)
{
    struct setting setting = begin_setting();
    enum { CHANGES = 4, APART_MS = TIMEOUT_MS / 6, SLOW_MS = TIMEOUT_MS * 3 / 2 };
    struct timed timed[CHANGES];
    char key[] = "k0";

    (void)state;
    told.count = 0;
    holder_step(&setting.holder);
    holder_stop(&setting.holder);
    for (int i = 0; i < CHANGES; i++, key[1]++) {
        submit(&setting, &timed[i], key);
        sleep_ms(APART_MS);
    }
    wait_for_ends(CHANGES);
    kill(setting.holder.pid, SIGCONT);
    holder_step(&setting.holder);
    for (int i = 0; i < CHANGES; i++) {
        int64_t took_ms = timed[i].ended_ms - timed[i].began_ms;

        assert_int_equal(timed[i].rc, -ETIMEDOUT);
        assert_true(took_ms >= TIMEOUT_MS);
        assert_true(took_ms < TIMEOUT_MS + SLOW_MS); /* one after the other the last one would take four times */
        kv_value_unref(timed[i].change.value);
    }
    end_setting(&setting);
}

static void a_change_goes_on_when_the_lock_comes_in_time(void **state)
{
    struct setting setting = begin_setting();
    struct timed timed;

    (void)state;
    told.count = 0;
    holder_step(&setting.holder);
    submit(&setting, &timed, "key");
    holder_step(&setting.holder);
    wait_for_ends(1);
    assert_int_equal(timed.rc, 0);
    expect_text(&setting, "key", "key");
    kv_value_unref(timed.change.value);
    end_setting(&setting);
}

static void a_killed_writer_leaves_the_lock_to_others(void **state)
{
    struct setting setting = begin_setting();
    siginfo_t info;

    (void)state;
    holder_step(&setting.holder);
    kill(setting.holder.pid, SIGKILL);
    assert_int_equal(waitid(P_PID, (id_t)setting.holder.pid, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(put_text(&setting, "key", "another"), 0);
    assert_int_equal(put_text(&setting, "key", "a third one"), 0);
    end_setting(&setting);
}

static void a_writer_that_was_killed_is_named_no_more(void **state)
{
    struct setting setting = begin_setting();
    siginfo_t info;

    (void)state;
    holder_step(&setting.holder);
    assert_int_equal(kv_writer_pid(setting.kv), setting.holder.pid);
    kill(setting.holder.pid, SIGKILL);
    assert_int_equal(waitid(P_PID, (id_t)setting.holder.pid, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(kv_writer_pid(setting.kv), 0);
    assert_int_equal(put_text(&setting, "key", "another"), 0);
    end_setting(&setting);
}

/* It never waits for one, but can tell who it is. */
static void a_read_only_store_names_the_writer(void **state)
{
    struct kv_options options = kv_options_default();
    struct kv_error error = {""};
    struct setting setting = begin_setting();

    (void)state;
    holder_step(&setting.holder);
    kv_close(setting.kv);
    options.read_only = true;
    assert_int_equal(kv_open(directory, &options, &setting.kv, &error), 0);
    expect_text(&setting, "key", "value");
    assert_int_equal(kv_writer_pid(setting.kv), setting.holder.pid);
    holder_step(&setting.holder);
    assert_int_equal(kv_writer_pid(setting.kv), 0);
    end_setting(&setting);
}

/* As a power cut leaves it. */
static void what_an_unused_file_holds_is_not_believed(void **state)
{
    struct setting setting = begin_setting();
    uint8_t taken[4096];
    char path[512];
    int fd;

    (void)state;
    kv_close(setting.kv);
    snprintf(path, sizeof(path), "%s/writer", directory);
    fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    memset(taken, 1, sizeof(taken));
    assert_int_equal(pwrite(fd, taken, sizeof(taken), 0), sizeof(taken));
    close(fd);
    setting.kv = open_store();
    assert_int_equal(kv_writer_pid(setting.kv), 0);
    assert_int_equal(put_text(&setting, "key", "another"), 0);
    end_setting(&setting);
}

static void a_link_in_the_place_of_the_file_is_refused(void **state)
{
    struct kv_options options = kv_options_default();
    struct kv_error error = {""};
    struct setting setting = begin_setting();
    char path[512];

    (void)state;
    end_setting(&setting);
    snprintf(path, sizeof(path), "%s/writer", directory);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("data.mdb", path), 0);
    assert_int_equal(kv_open(directory, &options, &setting.kv, &error), -ELOOP);
}

#define TEST_WRITER(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_WRITER(a_stopped_writer_fails_changes_and_not_reads),
        TEST_WRITER(a_store_opens_while_its_writer_is_stopped),
        TEST_WRITER(a_store_that_another_version_has_open_is_refused),
        TEST_WRITER(each_change_has_a_time_of_its_own),
        TEST_WRITER(a_change_goes_on_when_the_lock_comes_in_time),
        TEST_WRITER(a_killed_writer_leaves_the_lock_to_others),
        TEST_WRITER(a_writer_that_was_killed_is_named_no_more),
        TEST_WRITER(a_read_only_store_names_the_writer),
        TEST_WRITER(what_an_unused_file_holds_is_not_believed),
        TEST_WRITER(a_link_in_the_place_of_the_file_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
