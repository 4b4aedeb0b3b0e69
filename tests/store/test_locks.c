/* Locks of names: between owners, stores and processes. */
#include "tests/support/store.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000, PEERS = 4, ROUNDS = 1000, CONTENTIONS = 5000 };

static char directory[128];

/* --------------------------------------------------------------- other processes */

/* What a peer is told to do with its one store, or with its lock. */
struct order {
    enum { OPEN_STORE, OPEN, SET, TEST, CLOSE } what;
    char key[32];
    struct kv_lock_range range;
    bool wait;
};

struct reply {
    int rc;
    struct kv_lock_range range;
};

struct peer {
    pid_t pid;
    int to, from;
};

static void note_signal(int number) { (void)number; }

static struct kv_store *open_store(void)
{
    struct kv_options options = kv_options_default();
    struct kv_error error;
    struct kv_store *kv;

    options.cache_bytes = 1 << 20;
    return kv_open(directory, &options, &kv, &error) == 0 ? kv : NULL;
}

static void obey(int from, int to)
{
    const struct sigaction woken = {.sa_handler = note_signal}; /* waits are interrupted, not begun again */
    struct kv_store *kv = NULL;
    struct kv_lock *lock = NULL;
    struct order order;

    sigaction(SIGUSR1, &woken, NULL);
    while (read(from, &order, sizeof(order)) == sizeof(order)) {
        struct kv_ref ref = kv_ref_key(7, order.key, strlen(order.key));
        struct reply reply = {.range = order.range};

        switch (order.what) {
        case OPEN_STORE:
            kv = open_store();
            reply.rc = kv != NULL ? 0 : -EIO;
            break;
        case OPEN:
            reply.rc = kv_lock_open(kv, &ref, &lock);
            break;
        case SET:
            reply.rc = kv_lock_set(lock, &order.range, order.wait);
            break;
        case TEST:
            reply.rc = kv_lock_test(lock, &reply.range);
            break;
        case CLOSE:
            kv_lock_close(lock);
            break;
        }
        if (write(to, &reply, sizeof(reply)) != sizeof(reply))
            break;
    }
    if (kv != NULL)
        kv_close(kv);
    _exit(0);
}

static struct peer peer_start(void)
{
    int there[2], back[2];
    struct peer peer;

    assert_int_equal(pipe2(there, O_CLOEXEC), 0);
    assert_int_equal(pipe2(back, O_CLOEXEC), 0);
    peer.pid = fork();
    assert_true(peer.pid >= 0);
    if (peer.pid == 0) {
        close(there[1]);
        close(back[0]);
        obey(there[0], back[1]);
    }
    close(there[0]);
    close(back[1]);
    peer.to = there[1];
    peer.from = back[0];
    return peer;
}

static void peer_end(struct peer *peer)
{
    close(peer->to);
    close(peer->from);
    assert_int_equal(waitpid(peer->pid, NULL, 0), peer->pid);
}

static void tell(struct peer *peer, struct order order)
{
    assert_int_equal(write(peer->to, &order, sizeof(order)), sizeof(order));
}

static bool has_answered(const struct peer *peer, int wait_ms)
{
    struct pollfd fd = {.fd = peer->from, .events = POLLIN};

    return poll(&fd, 1, wait_ms) == 1;
}

static struct reply hear(struct peer *peer)
{
    struct reply reply;

    if (!has_answered(peer, PATIENCE_MS))
        fail_msg("no answer");
    assert_int_equal(read(peer->from, &reply, sizeof(reply)), sizeof(reply));
    return reply;
}

static int ask(struct peer *peer, struct order order)
{
    tell(peer, order);
    return hear(peer).rc;
}

static struct order open_order(const char *key)
{
    struct order order = {.what = OPEN};

    snprintf(order.key, sizeof(order.key), "%s", key);
    return order;
}

static struct kv_lock_range whole(int type) { return (struct kv_lock_range){.kind = KV_LOCK_FLOCK, .type = type}; }

static struct kv_lock_range range(int type, uint64_t start, uint64_t end)
{
    return (struct kv_lock_range){KV_LOCK_RANGE, type, start, end};
}

static struct order set_order(struct kv_lock_range range) { return (struct order){.what = SET, .range = range}; }

/* --------------------------------------------------------------------- the setting */

struct setting {
    struct peer peer; /* has the store open, and a lock of "key" */
    struct peer late; /* has nothing yet */
    struct kv_store *kv;
    struct kv_lock *lock; /* of "key" */
};

static struct kv_lock *open_lock(struct kv_store *kv, const char *key, size_t size)
{
    struct kv_ref ref = kv_ref_key(7, key, size);
    struct kv_lock *lock = NULL;

    assert_int_equal(kv_lock_open(kv, &ref, &lock), 0);
    return lock;
}

static int set(struct kv_lock *lock, struct kv_lock_range range) { return kv_lock_set(lock, &range, false); }

static int setup_directory(void **state)
{
    const char *above = getenv("TMPDIR");

    (void)state;
    snprintf(directory, sizeof(directory), "%s/kvfs-test-locks-XXXXXX", above != NULL ? above : "/tmp");
    return mkdtemp(directory) != NULL ? 0 : -1;
}

static int setup(void **state)
{
    struct setting *setting = calloc(1, sizeof(*setting));

    if (setting == NULL || setup_directory(state) < 0)
        return -1;
    setting->peer = peer_start();
    setting->late = peer_start();
    setting->kv = open_store();
    assert_non_null(setting->kv);
    assert_int_equal(ask(&setting->peer, (struct order){.what = OPEN_STORE}), 0);
    setting->lock = open_lock(setting->kv, "key", 3);
    assert_int_equal(ask(&setting->peer, open_order("key")), 0);
    *state = setting;
    return 0;
}

static int remove_path(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static int teardown_directory(void **state)
{
    (void)state;
    return nftw(directory, remove_path, 8, FTW_DEPTH | FTW_PHYS);
}

static int teardown(void **state)
{
    struct setting *setting = *state;

    if (setting->lock != NULL)
        kv_lock_close(setting->lock);
    kv_close(setting->kv);
    peer_end(&setting->late); /* it holds the ends of the first one's pipes, too */
    peer_end(&setting->peer);
    free(setting);
    return teardown_directory(state);
}

static const char *locks_path(void)
{
    static char path[160];

    snprintf(path, sizeof(path), "%s/locks", directory);
    return path;
}

static unsigned files_found;

static int count_file(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)path;
    (void)at;
    if (type != FTW_F)
        return 0;
    files_found++;
    return (st->st_mode & 07777) == 0600 ? 0 : -1;
}

/* Files in STORE/locks; all of them are the owner's only. */
static unsigned lock_files(void)
{
    files_found = 0;
    assert_int_equal(nftw(locks_path(), count_file, 8, FTW_PHYS), 0);
    return files_found;
}

/* --------------------------------------------------------------------------- tests */

static void a_flock_excludes_those_of_another_process(void **state)
{
    struct setting *setting = *state;

    assert_int_equal(set(setting->lock, whole(F_RDLCK)), 0);
    assert_int_equal(ask(&setting->peer, set_order(whole(F_RDLCK))), 0);
    assert_int_equal(ask(&setting->peer, set_order(whole(F_WRLCK))), -EAGAIN);
    assert_int_equal(ask(&setting->peer, set_order(whole(F_UNLCK))), 0);
    assert_int_equal(set(setting->lock, whole(F_WRLCK)), 0);
    assert_int_equal(ask(&setting->peer, set_order(whole(F_RDLCK))), -EAGAIN);
    assert_int_equal(set(setting->lock, whole(F_UNLCK)), 0);
    assert_int_equal(ask(&setting->peer, set_order(whole(F_WRLCK))), 0);
    assert_int_equal(set(setting->lock, whole(F_RDLCK)), -EAGAIN);
}

static void owners_in_one_process_exclude_each_other(void **state)
{
    struct setting *setting = *state;
    struct kv_lock *second = open_lock(setting->kv, "key", 3);

    assert_int_equal(set(setting->lock, whole(F_WRLCK)), 0);
    assert_int_equal(set(second, whole(F_RDLCK)), -EAGAIN);
    assert_int_equal(set(setting->lock, range(F_WRLCK, 0, 9)), 0);
    assert_int_equal(set(second, range(F_RDLCK, 9, 9)), -EAGAIN);
    assert_int_equal(set(second, range(F_RDLCK, 10, 19)), 0);
    kv_lock_close(second);
    assert_int_equal(set(setting->lock, range(F_WRLCK, 0, INT64_MAX)), 0);
}

static void names_do_not_exclude_each_other(void **state)
{
    static const char odd[] = "\xff\n.tmp~ /..";
    struct setting *setting = *state;
    struct kv_ref elsewhere = kv_ref_key(8, "key", 3);
    struct kv_lock *other = open_lock(setting->kv, odd, sizeof(odd) - 1), *third;

    assert_int_equal(kv_lock_open(setting->kv, &elsewhere, &third), 0);
    assert_int_equal(set(setting->lock, whole(F_WRLCK)), 0);
    assert_int_equal(set(other, whole(F_WRLCK)), 0);
    assert_int_equal(set(third, whole(F_WRLCK)), 0);
    assert_int_equal(lock_files(), 3);
    kv_lock_close(other);
    kv_lock_close(third);
    assert_int_equal(lock_files(), 1);
}

static void a_range_is_split_by_what_its_owner_unlocks_or_changes(void **state)
{
    struct setting *setting = *state;

    assert_int_equal(set(setting->lock, range(F_WRLCK, 0, 99)), 0);
    assert_int_equal(set(setting->lock, range(F_UNLCK, 40, 59)), 0);
    assert_int_equal(set(setting->lock, range(F_RDLCK, 60, 69)), 0);
    assert_int_equal(ask(&setting->peer, set_order(range(F_WRLCK, 39, 40))), -EAGAIN);
    assert_int_equal(ask(&setting->peer, set_order(range(F_WRLCK, 40, 59))), 0);
    assert_int_equal(ask(&setting->peer, set_order(range(F_WRLCK, 60, 60))), -EAGAIN);
    assert_int_equal(ask(&setting->peer, set_order(range(F_RDLCK, 60, 69))), 0);
    assert_int_equal(ask(&setting->peer, set_order(range(F_RDLCK, 70, 70))), -EAGAIN);
    assert_int_equal(set(setting->lock, range(F_UNLCK, 0, INT64_MAX)), 0);
    assert_int_equal(ask(&setting->peer, set_order(range(F_WRLCK, 0, INT64_MAX))), 0);
}

static void a_read_lock_becomes_a_write_lock_once_nobody_else_reads(void **state)
{
    struct setting *setting = *state;

    assert_int_equal(set(setting->lock, range(F_RDLCK, 0, 9)), 0);
    assert_int_equal(ask(&setting->peer, set_order(range(F_RDLCK, 5, 14))), 0);
    assert_int_equal(set(setting->lock, range(F_WRLCK, 0, 9)), -EAGAIN);
    assert_int_equal(ask(&setting->peer, set_order(range(F_WRLCK, 0, 4))), -EAGAIN); /* it was kept */
    assert_int_equal(ask(&setting->peer, set_order(range(F_UNLCK, 0, 14))), 0);
    assert_int_equal(set(setting->lock, range(F_WRLCK, 0, 9)), 0);
    assert_int_equal(ask(&setting->peer, set_order(range(F_RDLCK, 0, 0))), -EAGAIN);
}

static void a_test_tells_what_is_in_the_way(void **state)
{
    struct setting *setting = *state;
    struct order order = {.what = TEST, .range = range(F_WRLCK, 15, 100)};
    struct reply reply;

    assert_int_equal(set(setting->lock, range(F_RDLCK, 10, 19)), 0);
    assert_int_equal(set(setting->lock, range(F_WRLCK, 50, INT64_MAX)), 0);
    tell(&setting->peer, order);
    reply = hear(&setting->peer);
    assert_int_equal(reply.rc, 0);
    assert_int_equal(reply.range.type, F_RDLCK);
    assert_int_equal(reply.range.start, 10);
    assert_int_equal(reply.range.end, 19);
    order.range = range(F_RDLCK, 15, INT64_MAX);
    tell(&setting->peer, order);
    reply = hear(&setting->peer);
    assert_int_equal(reply.range.type, F_WRLCK);
    assert_int_equal(reply.range.start, 50);
    assert_true(reply.range.end == INT64_MAX);
    order.range = range(F_WRLCK, 20, 49);
    tell(&setting->peer, order);
    assert_int_equal(hear(&setting->peer).range.type, F_UNLCK);
}

static void a_shared_lock_to_the_end_is_told_so(void **state)
{
    struct setting *setting = *state;
    struct order order = {.what = TEST, .range = range(F_WRLCK, 0, INT64_MAX)};
    struct reply reply;

    assert_int_equal(set(setting->lock, range(F_RDLCK, 3, INT64_MAX)), 0);
    tell(&setting->peer, order);
    reply = hear(&setting->peer);
    assert_int_equal(reply.range.start, 3);
    assert_true(reply.range.end == INT64_MAX);
}

static void who_waits_gets_the_lock_when_it_is_given_back(void **state)
{
    struct kv_lock_range exclusive[] = {whole(F_WRLCK), range(F_WRLCK, 3, 8)};
    struct setting *setting = *state;

    for (size_t i = 0; i < 2; i++) {
        struct order order = set_order(exclusive[i]);
        struct kv_lock_range back = exclusive[i];

        order.wait = true;
        back.type = F_UNLCK;
        assert_int_equal(set(setting->lock, exclusive[i]), 0);
        tell(&setting->peer, order);
        assert_false(has_answered(&setting->peer, 50));
        assert_int_equal(set(setting->lock, back), 0);
        assert_int_equal(hear(&setting->peer).rc, 0);
        assert_int_equal(set(setting->lock, exclusive[i]), -EAGAIN);
    }
}

static void a_signal_ends_a_wait(void **state)
{
    struct kv_lock_range exclusive[] = {whole(F_WRLCK), range(F_WRLCK, 3, 8)};
    struct setting *setting = *state;

    for (size_t i = 0; i < 2; i++) {
        struct order order = set_order(exclusive[i]);

        order.wait = true;
        assert_int_equal(set(setting->lock, exclusive[i]), 0);
        tell(&setting->peer, order);
        assert_false(has_answered(&setting->peer, 50));
        assert_int_equal(kill(setting->peer.pid, SIGUSR1), 0);
        assert_int_equal(hear(&setting->peer).rc, -EINTR);
    }
}

static void locks_end_with_their_owner_and_with_its_process(void **state)
{
    struct setting *setting = *state;

    assert_int_equal(ask(&setting->peer, set_order(whole(F_WRLCK))), 0);
    assert_int_equal(ask(&setting->peer, set_order(range(F_WRLCK, 0, 9))), 0);
    assert_int_equal(ask(&setting->peer, (struct order){.what = CLOSE}), 0);
    assert_int_equal(set(setting->lock, whole(F_WRLCK)), 0);
    assert_int_equal(set(setting->lock, whole(F_UNLCK)), 0);

    assert_int_equal(ask(&setting->peer, open_order("key")), 0);
    assert_int_equal(ask(&setting->peer, set_order(whole(F_WRLCK))), 0);
    kill(setting->peer.pid, SIGKILL);
    assert_int_equal(kv_lock_set(setting->lock, &(struct kv_lock_range){.type = F_WRLCK}, true), 0);
    assert_int_equal(set(setting->lock, range(F_WRLCK, 0, 9)), 0);
}

static void the_file_goes_with_its_last_owner(void **state)
{
    struct setting *setting = *state;
    struct stat st;

    assert_int_equal(stat(locks_path(), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(lock_files(), 1);
    kv_lock_close(setting->lock);
    setting->lock = NULL;
    assert_int_equal(lock_files(), 1);
    assert_int_equal(ask(&setting->peer, (struct order){.what = CLOSE}), 0);
    assert_int_equal(lock_files(), 0);
}

static void what_a_killed_process_left_is_removed_by_the_next_one(void **state)
{
    struct setting *setting = *state;
    siginfo_t info;

    assert_int_equal(ask(&setting->peer, open_order("left")), 0);
    kill(setting->peer.pid, SIGKILL);
    assert_int_equal(waitid(P_PID, (id_t)setting->peer.pid, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(lock_files(), 2);
    assert_int_equal(ask(&setting->late, (struct order){.what = OPEN_STORE}), 0);
    assert_int_equal(ask(&setting->late, open_order("mine")), 0);
    assert_int_equal(lock_files(), 2); /* "key", which is in use, and "mine" */
}

static void a_link_in_the_place_of_the_directory_is_refused(void **state)
{
    struct setting *setting = *state;
    struct kv_ref ref = kv_ref_key(7, "key", 3);
    struct kv_lock *lock;
    struct kv_store *kv;

    assert_int_equal(ask(&setting->peer, (struct order){.what = CLOSE}), 0);
    kv_lock_close(setting->lock);
    setting->lock = NULL;
    kv_close(setting->kv);
    assert_int_equal(rmdir(locks_path()), 0);
    assert_int_equal(symlink("/tmp", locks_path()), 0);
    kv = setting->kv = open_store();
    assert_non_null(kv);
    assert_int_equal(kv_lock_open(kv, &ref, &lock), -EIO);
}

static void without_a_directory_locks_hold_in_one_store(void **state)
{
    struct test_store *test = test_store_open(TEST_MEMORY, NULL);
    struct kv_lock *a = open_lock(test->kv, "key", 3), *b = open_lock(test->kv, "key", 3);
    struct kv_lock *other = open_lock(test->kv, "other", 5);

    (void)state;
    assert_int_equal(set(a, whole(F_WRLCK)), 0);
    assert_int_equal(set(b, whole(F_RDLCK)), -EAGAIN);
    assert_int_equal(set(other, whole(F_WRLCK)), 0);
    assert_int_equal(set(a, range(F_WRLCK, 0, 9)), 0);
    assert_int_equal(set(b, range(F_WRLCK, 9, 10)), -EAGAIN);
    kv_lock_close(a);
    assert_int_equal(set(b, whole(F_WRLCK)), 0);
    assert_int_equal(set(b, range(F_WRLCK, 0, 9)), 0);
    kv_lock_close(b);
    kv_lock_close(other);
    test_store_close(test);
}

/* What all contenders see. */
struct arena {
    _Atomic int inside, together;
    _Atomic int failures;
};

static void contend(struct arena *arena, const struct kv_lock_range *exclusive)
{
    struct kv_store *kv = open_store();

    for (unsigned round = 0; kv != NULL && round < CONTENTIONS; round++) {
        struct kv_ref ref = kv_ref_key(7, "contended", 9);
        struct kv_lock *lock;

        if (kv_lock_open(kv, &ref, &lock) < 0 || kv_lock_set(lock, exclusive, true) < 0) {
            atomic_fetch_add(&arena->failures, 1);
            break;
        }
        if (atomic_fetch_add(&arena->inside, 1) != 0)
            atomic_fetch_add(&arena->together, 1);
        sched_yield();
        atomic_fetch_sub(&arena->inside, 1);
        kv_lock_close(lock);
    }
    if (kv == NULL)
        atomic_fetch_add(&arena->failures, 1);
    else
        kv_close(kv);
    _exit(0);
}

static void let_them_contend(void **state, struct kv_lock_range exclusive)
{
    struct arena *arena = mmap(NULL, sizeof(*arena), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[PEERS];
    int status;

    (void)state;

    assert_true(arena != MAP_FAILED);
    for (unsigned i = 0; i < PEERS; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            contend(arena, &exclusive);
    }
    for (unsigned i = 0; i < PEERS; i++) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(arena->failures, 0);
    assert_int_equal(arena->together, 0);
    assert_int_equal(lock_files(), 0);
    munmap(arena, sizeof(*arena));
}

static void files_that_come_and_go_let_one_flock_in(void **state) { let_them_contend(state, whole(F_WRLCK)); }

static void files_that_come_and_go_let_one_range_in(void **state)
{
    let_them_contend(state, range(F_WRLCK, 0, INT64_MAX));
}

struct leaver {
    pthread_barrier_t *together;
    struct kv_lock *lock;
};

static void *leave(void *arg)
{
    struct leaver *leaver = arg;

    pthread_barrier_wait(leaver->together);
    kv_lock_close(leaver->lock);
    return NULL;
}

static void of_two_who_leave_at_once_one_removes_the_file(void **state)
{
    struct setting *setting = *state;
    pthread_barrier_t together;

    pthread_barrier_init(&together, NULL, 2);
    for (int round = 0; round < ROUNDS; round++) {
        struct leaver leavers[2];
        pthread_t thread;

        for (int i = 0; i < 2; i++)
            leavers[i] = (struct leaver){&together, open_lock(setting->kv, "left", 4)};
        assert_int_equal(pthread_create(&thread, NULL, leave, &leavers[0]), 0);
        leave(&leavers[1]);
        pthread_join(thread, NULL);
        if (lock_files() != 1)
            fail_msg("round %d: a file is left", round);
    }
    pthread_barrier_destroy(&together);
}

#define TEST_LOCKS(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_LOCKS(a_flock_excludes_those_of_another_process),
        TEST_LOCKS(owners_in_one_process_exclude_each_other),
        TEST_LOCKS(names_do_not_exclude_each_other),
        TEST_LOCKS(a_range_is_split_by_what_its_owner_unlocks_or_changes),
        TEST_LOCKS(a_read_lock_becomes_a_write_lock_once_nobody_else_reads),
        TEST_LOCKS(a_test_tells_what_is_in_the_way),
        TEST_LOCKS(a_shared_lock_to_the_end_is_told_so),
        TEST_LOCKS(who_waits_gets_the_lock_when_it_is_given_back),
        TEST_LOCKS(a_signal_ends_a_wait),
        TEST_LOCKS(locks_end_with_their_owner_and_with_its_process),
        TEST_LOCKS(the_file_goes_with_its_last_owner),
        TEST_LOCKS(what_a_killed_process_left_is_removed_by_the_next_one),
        TEST_LOCKS(a_link_in_the_place_of_the_directory_is_refused),
        cmocka_unit_test(without_a_directory_locks_hold_in_one_store),
        TEST_LOCKS(of_two_who_leave_at_once_one_removes_the_file),
        cmocka_unit_test_setup_teardown(files_that_come_and_go_let_one_flock_in, setup_directory,
                                        teardown_directory),
        cmocka_unit_test_setup_teardown(files_that_come_and_go_let_one_range_in, setup_directory,
                                        teardown_directory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
