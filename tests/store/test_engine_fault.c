/* The fault engine: what it does when it is told to fail, to wait, or to lose an answer. */
#include "tests/store/engine_test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static struct engine *engine;

static int open_engine(void **state)
{
    struct engine *inner;

    (void)state;
    assert_int_equal(engine_memory_open(&inner), 0);
    assert_int_equal(engine_fault_open(inner, &engine), 0);
    put_and_commit(engine, ENGINE_KEYS, "key", "old");
    return 0;
}

static int close_engine(void **state)
{
    (void)state;
    engine->ops->close(engine);
    return 0;
}

static int ignore_visit(void *arg, struct slice key, struct slice value)
{
    (void)key;
    (void)value;
    ++*(int *)arg;
    return 0;
}

/* One write transaction with one call of each kind: answers the first failure. */
static int run_all(void)
{
    struct engine_txn *txn;
    struct slice is;
    int visited = 0, rc = engine->ops->begin(engine, false, &txn);

    if (rc < 0)
        return rc;
    txn->ops->abort(txn);
    rc = engine->ops->begin(engine, true, &txn);
    if (rc < 0)
        return rc;
    rc = get(txn, ENGINE_KEYS, "key", &is);
    if (rc == 0)
        rc = txn->ops->scan(txn, ENGINE_KEYS, text(""), ignore_visit, &visited);
    if (rc == 0)
        rc = txn->ops->room(txn, 10, 10);
    if (rc == 0)
        rc = put(txn, ENGINE_NAMES, "name", "value");
    if (rc == 0)
        rc = del(txn, ENGINE_KEYS, "key");
    if (rc == 0)
        return txn->ops->commit(txn);
    txn->ops->abort(txn);
    return rc;
}

static void assert_unchanged(void)
{
    assert_committed(engine, ENGINE_KEYS, "key", "old");
    assert_committed(engine, ENGINE_NAMES, "name", NULL);
}

static void each_kind_fails_as_armed_and_leaves_the_old_state(void **state)
{
    static const enum engine_call calls[] = {ENGINE_BEGIN_READ, ENGINE_BEGIN_WRITE, ENGINE_GET, ENGINE_SCAN,
                                             ENGINE_ROOM,       ENGINE_PUT,         ENGINE_DEL, ENGINE_COMMIT};

    (void)state;
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        engine_fault_arm(engine, calls[i], 1, 1, -EIO);
        assert_int_equal(run_all(), -EIO);
        assert_unchanged();
    }
    assert_int_equal(run_all(), 0);
    assert_committed(engine, ENGINE_KEYS, "key", NULL);
    assert_committed(engine, ENGINE_NAMES, "name", "value");
}

static void the_answer_is_the_one_that_was_armed(void **state)
{
    static const int answers[] = {-ENOSPC, -ENOMEM, -ETIMEDOUT};

    (void)state;
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        engine_fault_arm(engine, ENGINE_PUT, 1, 1, answers[i]);
        assert_int_equal(run_all(), answers[i]);
        assert_unchanged();
    }
}

static void the_countdown_lets_calls_pass_and_times_repeats(void **state)
{
    static const int answers[] = {0, 0, -EIO, -EIO, 0, 0};
    struct engine_txn *txn = begin(engine, false);
    struct slice is;

    (void)state;
    engine_fault_arm(engine, ENGINE_GET, 3, 2, -EIO);
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
        assert_int_equal(get(txn, ENGINE_KEYS, "key", &is), answers[i]);
    txn->ops->abort(txn);
}

static void arming_with_times_0_disarms(void **state)
{
    (void)state;
    engine_fault_arm(engine, ENGINE_PUT, 1, 5, -EIO);
    engine_fault_arm(engine, ENGINE_PUT, 1, 0, 0);
    assert_int_equal(run_all(), 0);
}

static void any_counts_calls_of_every_kind(void **state)
{
    enum { CALLS_OF_RUN_ALL = 8 };

    (void)state;
    for (unsigned i = 1; i <= CALLS_OF_RUN_ALL; i++) {
        engine_fault_arm(engine, ENGINE_ANY, i, 1, -ETIMEDOUT);
        assert_int_equal(run_all(), -ETIMEDOUT);
        assert_unchanged();
    }
    engine_fault_arm(engine, ENGINE_ANY, CALLS_OF_RUN_ALL + 1, 1, -ETIMEDOUT);
    assert_int_equal(run_all(), 0);
}

static void kinds_count_by_themselves(void **state)
{
    (void)state;
    engine_fault_arm(engine, ENGINE_DEL, 1, 1, -EIO);
    engine_fault_arm(engine, ENGINE_PUT, 2, 1, -ENOSPC);
    assert_int_equal(run_all(), -EIO);
    assert_int_equal(run_all(), -ENOSPC);
    assert_int_equal(run_all(), 0);
}

static void a_lost_commit_is_kept(void **state)
{
    (void)state;
    engine_fault_arm(engine, ENGINE_COMMIT_LOST, 1, 1, -ETIMEDOUT);
    assert_int_equal(run_all(), -ETIMEDOUT);
    assert_committed(engine, ENGINE_KEYS, "key", NULL);
    assert_committed(engine, ENGINE_NAMES, "name", "value");
}

static void a_commit_that_fails_is_not_kept_even_where_its_answer_would_be_lost(void **state)
{
    (void)state;
    engine_fault_arm(engine, ENGINE_COMMIT, 1, 1, -EIO);
    engine_fault_arm(engine, ENGINE_COMMIT_LOST, 1, 1, -ETIMEDOUT);
    assert_int_equal(run_all(), -EIO);
    assert_unchanged();
}

static void after_a_failed_write_all_answers_are_that_failure(void **state)
{
    int visited = 0;

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct engine_txn *txn = begin(engine, true);
        struct slice is;

        engine_fault_arm(engine, i == 0 ? ENGINE_PUT : ENGINE_DEL, 1, 1, -ENOSPC);
        assert_int_equal(put(txn, ENGINE_NAMES, "name", "value"), i == 0 ? -ENOSPC : 0);
        assert_int_equal(del(txn, ENGINE_KEYS, "key"), -ENOSPC);
        assert_int_equal(put(txn, ENGINE_NAMES, "name", "value"), -ENOSPC);
        assert_int_equal(get(txn, ENGINE_KEYS, "key", &is), -ENOSPC);
        assert_int_equal(txn->ops->scan(txn, ENGINE_KEYS, text(""), ignore_visit, &visited), -ENOSPC);
        assert_int_equal(txn->ops->room(txn, 0, 0), -ENOSPC);
        assert_int_equal(txn->ops->commit(txn), -ENOSPC);
        assert_unchanged();
    }
    assert_int_equal(visited, 0);
}

static void a_failed_read_or_room_spoils_nothing(void **state)
{
    struct engine_txn *txn = begin(engine, true);
    struct slice is;

    (void)state;
    engine_fault_arm(engine, ENGINE_GET, 1, 1, -EIO);
    engine_fault_arm(engine, ENGINE_ROOM, 1, 1, -ENOSPC);
    assert_int_equal(get(txn, ENGINE_KEYS, "key", &is), -EIO);
    assert_int_equal(txn->ops->room(txn, 1, 1), -ENOSPC);
    assert_int_equal(put(txn, ENGINE_KEYS, "key", "new"), 0);
    commit(txn);
    assert_committed(engine, ENGINE_KEYS, "key", "new");
}

static void a_failed_begin_leaves_no_writer_behind(void **state)
{
    struct engine_txn *txn;

    (void)state;
    engine_fault_arm(engine, ENGINE_BEGIN_WRITE, 1, 3, -ETIMEDOUT);
    for (int i = 0; i < 3; i++)
        assert_int_equal(engine->ops->begin(engine, true, &txn), -ETIMEDOUT);
    put_and_commit(engine, ENGINE_KEYS, "key", "new");
    assert_committed(engine, ENGINE_KEYS, "key", "new");
}

static void calls_are_counted_by_kind(void **state)
{
    static const struct {
        enum engine_call call;
        uint64_t calls;
    } expected[] = {
        {ENGINE_BEGIN_READ, 1}, {ENGINE_BEGIN_WRITE, 1}, {ENGINE_GET, 1},    {ENGINE_SCAN, 1},
        {ENGINE_PUT, 1},        {ENGINE_DEL, 1},         {ENGINE_COMMIT, 1}, {ENGINE_COMMIT_LOST, 1},
        {ENGINE_ROOM, 1},       {ENGINE_ANY, 8},
    };
    uint64_t before[ENGINE_CALLS];

    (void)state;
    for (int i = 0; i < ENGINE_CALLS; i++)
        before[i] = engine_fault_calls(engine, (enum engine_call)i);
    assert_int_equal(run_all(), 0);
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
        assert_int_equal(engine_fault_calls(engine, expected[i].call) - before[expected[i].call],
                         expected[i].calls);
}

static void a_delay_is_waited_before_the_call(void **state)
{
    struct timespec start, end;

    (void)state;
    engine_fault_delay(engine, ENGINE_PUT, 20);
    engine_fault_delay(engine, ENGINE_COMMIT, 30);
    clock_gettime(CLOCK_MONOTONIC, &start);
    assert_int_equal(run_all(), 0);
    clock_gettime(CLOCK_MONOTONIC, &end);
    assert_true((end.tv_sec - start.tv_sec) * 1000000000 + end.tv_nsec - start.tv_nsec >= 50 * 1000000);
}

static int flush(void) { return engine_flush(engine, 0); }

static void a_flush_fails_as_armed_and_is_no_other_call(void **state)
{
    uint64_t any = engine_fault_calls(engine, ENGINE_ANY), flushes = engine_fault_calls(engine, ENGINE_FLUSH);

    (void)state;
    engine_fault_arm(engine, ENGINE_ANY, 1, 1, -ENOMEM);
    engine_fault_arm(engine, ENGINE_FLUSH, 2, 2, -EIO);
    assert_int_equal(flush(), 0);
    assert_int_equal(flush(), -EIO);
    assert_int_equal(flush(), -EIO);
    assert_int_equal(flush(), 0);
    assert_int_equal(engine_fault_calls(engine, ENGINE_FLUSH), flushes + 4);
    assert_int_equal(engine_fault_calls(engine, ENGINE_ANY), any);
    assert_int_equal(run_all(), -ENOMEM);
}

static void *flush_held(void *arg)
{
    *(atomic_int *)arg = flush();
    return NULL;
}

static void a_call_that_is_held_waits_and_others_pass(void **state)
{
    uint64_t flushes = engine_fault_calls(engine, ENGINE_FLUSH);
    atomic_int rc = 1;
    pthread_t thread;

    (void)state;
    engine_fault_hold(engine, ENGINE_FLUSH, true);
    assert_int_equal(pthread_create(&thread, NULL, flush_held, &rc), 0);
    engine_fault_await(engine, ENGINE_FLUSH, flushes + 1);
    assert_int_equal(run_all(), 0);
    assert_int_equal(atomic_load(&rc), 1);
    engine_fault_hold(engine, ENGINE_FLUSH, false);
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&rc), 0);
}

/* Threads arm, count and call at once; every failure that was armed is met exactly once. */
enum { THREADS = 4, CALLS = 2000 };

static void *count_failures(void *arg)
{
    int *failures = arg;

    for (int i = 0; i < CALLS; i++) {
        struct engine_txn *txn;
        struct slice is;

        if (engine->ops->begin(engine, false, &txn) != 0)
            return NULL;
        if (get(txn, ENGINE_KEYS, "key", &is) == -EIO)
            ++*failures;
        txn->ops->abort(txn);
        (void)engine_fault_calls(engine, ENGINE_ANY);
    }
    return NULL;
}

static void faults_are_met_once_by_many_threads(void **state)
{
    pthread_t threads[THREADS];
    int failures[THREADS] = {0}, sum = 0;
    uint64_t before = engine_fault_calls(engine, ENGINE_GET);

    (void)state;
    engine_fault_arm(engine, ENGINE_GET, CALLS, 100, -EIO);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_failures, &failures[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        sum += failures[i];
    }
    assert_int_equal(sum, 100);
    assert_int_equal(engine_fault_calls(engine, ENGINE_GET) - before, THREADS * CALLS);
}

#define FAULT_TEST(name) cmocka_unit_test_setup_teardown(name, open_engine, close_engine)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAULT_TEST(each_kind_fails_as_armed_and_leaves_the_old_state),
        FAULT_TEST(the_answer_is_the_one_that_was_armed),
        FAULT_TEST(the_countdown_lets_calls_pass_and_times_repeats),
        FAULT_TEST(arming_with_times_0_disarms),
        FAULT_TEST(any_counts_calls_of_every_kind),
        FAULT_TEST(kinds_count_by_themselves),
        FAULT_TEST(a_lost_commit_is_kept),
        FAULT_TEST(a_commit_that_fails_is_not_kept_even_where_its_answer_would_be_lost),
        FAULT_TEST(after_a_failed_write_all_answers_are_that_failure),
        FAULT_TEST(a_failed_read_or_room_spoils_nothing),
        FAULT_TEST(a_failed_begin_leaves_no_writer_behind),
        FAULT_TEST(calls_are_counted_by_kind),
        FAULT_TEST(a_delay_is_waited_before_the_call),
        FAULT_TEST(a_flush_fails_as_armed_and_is_no_other_call),
        FAULT_TEST(a_call_that_is_held_waits_and_others_pass),
        FAULT_TEST(faults_are_met_once_by_many_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
