/* The commit queue: groups, order, verdicts. */
#include "tests/support/store.h"

#include "store/commit/commit.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* ------------------------------------------------------------------- waiting
 *
 * A tracker counts the changes that are done. While it is closed, the change
 * that has `gate` as its done() keeps the committer waiting: what is submitted
 * meanwhile is one group for certain. */
struct tracker {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned done;
    bool closed, waiting;
};

/* A change with what the test has to know of it. */
struct item {
    struct kv_change change; /* the first, so that done() finds the item */
    struct tracker *tracker;
    unsigned done; /* how often, and as which one */
    unsigned order;
    int rc;
    char name[32];
};

static void tracker_init(struct tracker *tracker)
{
    *tracker = (struct tracker){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
}

static void item_done(struct kv_change *change, int rc)
{
    struct item *item = (struct item *)change;
    struct tracker *tracker = item->tracker;

    pthread_mutex_lock(&tracker->lock);
    item->done++;
    item->rc = rc;
    item->order = tracker->done++;
    pthread_cond_broadcast(&tracker->changed);
    pthread_mutex_unlock(&tracker->lock);
}

static void gate(struct kv_change *change, int rc)
{
    struct tracker *tracker = change->arg;

    (void)rc;
    pthread_mutex_lock(&tracker->lock);
    tracker->waiting = true;
    pthread_cond_broadcast(&tracker->changed);
    while (tracker->closed)
        pthread_cond_wait(&tracker->changed, &tracker->lock);
    pthread_mutex_unlock(&tracker->lock);
}

/* Let the committer wait until open_gate(). The change is the caller's memory until then. */
static void close_gate(struct test_store *test, struct tracker *tracker, struct kv_change *change)
{
    *change =
        (struct kv_change){.kind = KV_DELETE, .ref = test_key(test, "no_such_key"), .done = gate, .arg = tracker};
    tracker->closed = true;
    tracker->waiting = false;
    kv_submit(test->kv, change);
    pthread_mutex_lock(&tracker->lock);
    while (!tracker->waiting)
        pthread_cond_wait(&tracker->changed, &tracker->lock);
    pthread_mutex_unlock(&tracker->lock);
}

static void open_gate(struct tracker *tracker)
{
    pthread_mutex_lock(&tracker->lock);
    tracker->closed = false;
    pthread_cond_broadcast(&tracker->changed);
    pthread_mutex_unlock(&tracker->lock);
}

static void wait_for(struct tracker *tracker, unsigned done)
{
    pthread_mutex_lock(&tracker->lock);
    while (tracker->done < done)
        pthread_cond_wait(&tracker->changed, &tracker->lock);
    pthread_mutex_unlock(&tracker->lock);
}

static void item_init(struct item *item, struct tracker *tracker, enum kv_change_kind kind)
{
    *item = (struct item){.tracker = tracker, .change = {.kind = kind, .attr = {.mode = 0644}, .done = item_done}};
}

/* A put of `size` bytes that all are `byte`. The caller gives the value back. */
static int put_item(struct test_store *test, struct item *item, struct tracker *tracker, const char *key, int byte,
                    size_t size)
{
    int rc;

    item_init(item, tracker, KV_PUT);
    item->change.ref = test_key(test, key);
    rc = kv_value_new(size, &item->change.value);
    if (rc == 0 && size > 0)
        memset(item->change.value->data, byte, size);
    return rc;
}

static void expect_filled(struct test_store *test, const char *key, int byte, size_t size)
{
    struct kv_ref ref = test_key(test, key);
    uint8_t *bytes = malloc(size + 1);

    assert_non_null(bytes);
    memset(bytes, byte, size);
    test_expect_value(test, &ref, bytes, size);
    free(bytes);
}

static uint64_t commits(struct test_store *test) { return engine_fault_calls(test->fault, ENGINE_COMMIT); }

/* -------------------------------------------------------------------- threads */

enum { THREADS = 8, PUTS = 150 };

struct writer {
    struct test_store *test;
    struct tracker *tracker;
    struct item items[PUTS];
    int number, rc;
};

static void *write_many(void *arg)
{
    struct writer *writer = arg;

    for (int i = 0; i < PUTS && writer->rc == 0; i++) {
        char key[32];

        snprintf(key, sizeof(key), "t%d_%d", writer->number, i % 50); /* each key three times */
        writer->rc = put_item(writer->test, &writer->items[i], writer->tracker, key, 'a' + i / 50,
                              (size_t)(writer->number * 1000 + i));
        if (writer->rc == 0)
            kv_submit(writer->test->kv, &writer->items[i].change);
    }
    return NULL;
}

static void every_put_of_many_threads_is_done_exactly_once(void **state)
{
    struct test_store *test = *state;
    struct writer *writers = calloc(THREADS, sizeof(*writers));
    pthread_t threads[THREADS];
    struct tracker tracker;

    assert_non_null(writers);
    tracker_init(&tracker);
    for (int i = 0; i < THREADS; i++) {
        writers[i].test = test;
        writers[i].tracker = &tracker;
        writers[i].number = i;
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, &writers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(writers[i].rc, 0);
    }
    wait_for(&tracker, THREADS * PUTS);
    assert_int_equal(kv_sync(test->kv), 0);
    assert_int_equal(tracker.done, THREADS * PUTS);
    for (int i = 0; i < THREADS; i++)
        for (int j = 0; j < PUTS; j++) {
            struct item *item = &writers[i].items[j];

            assert_int_equal(item->done, 1);
            assert_int_equal(item->rc, 0);
            if (j > 0) /* in the order in which this thread submitted them */
                assert_true(item->order > item[-1].order &&
                            item->change.meta.version > item[-1].change.meta.version);
            kv_value_unref(item->change.value);
        }
    for (int i = 0; i < THREADS; i++) /* the last submitted wins */
        for (int j = PUTS - 50; j < PUTS; j++) {
            char key[32];

            snprintf(key, sizeof(key), "t%d_%d", i, j % 50);
            expect_filled(test, key, 'a' + j / 50, (size_t)(i * 1000 + j));
        }
    assert_int_equal(test_node(test, test->namespace.id).keys, THREADS * 50);
    free(writers);
}

struct applier {
    struct test_store *test;
    int number, rc;
};

static void *apply_many(void *arg)
{
    struct applier *applier = arg;
    char key[32];

    for (int i = 0; i < 50 && applier->rc == 0; i++) {
        struct kv_ref ref;
        struct kv_value *value;
        struct kv_meta meta;

        snprintf(key, sizeof(key), "k%d_%d", applier->number, i);
        ref = test_key(applier->test, key);
        applier->rc = kv_put(applier->test->kv, &ref, key, strlen(key));
        if (applier->rc == 0)
            applier->rc = kv_get(applier->test->kv, &ref, &meta, &value, NULL);
        if (applier->rc < 0)
            break;
        if (value->size != strlen(key) || memcmp(value->data, key, value->size) != 0)
            applier->rc = -EBADMSG;
        kv_value_unref(value);
        if (applier->rc == 0 && i % 2 == 0)
            applier->rc = kv_delete(applier->test->kv, &ref);
    }
    return NULL;
}

static void blocking_calls_of_many_threads_see_their_own_writes(void **state)
{
    struct test_store *test = *state;
    struct applier appliers[THREADS];
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++) {
        appliers[i] = (struct applier){test, i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, apply_many, &appliers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(appliers[i].rc, 0);
    }
    assert_int_equal(test_node(test, test->namespace.id).keys, THREADS * 25);
}

struct reader {
    struct test_store *test;
    atomic_bool *stop;
    unsigned reads, torn;
    int rc;
};

static bool is_uniform(const struct kv_value *value)
{
    return value->size < 2 || memcmp(value->data, value->data + 1, value->size - 1) == 0;
}

static void *read_until_told(void *arg)
{
    struct reader *reader = arg;
    struct kv_ref ref = test_key(reader->test, "key");
    uint64_t version = 0;

    while (!atomic_load(reader->stop) || reader->reads == 0) {
        struct kv_value *value;
        struct kv_meta meta;

        reader->rc = kv_get(reader->test->kv, &ref, &meta, &value, NULL);
        if (reader->rc < 0)
            break;
        reader->reads++;
        reader->torn += !is_uniform(value) || value->size != meta.size || meta.version < version;
        version = meta.version;
        kv_value_unref(value);
    }
    return NULL;
}

static void readers_see_whole_values_and_never_an_older_one(void **state)
{
    struct test_store *test = *state;
    struct reader readers[4];
    pthread_t threads[4];
    struct tracker tracker;
    atomic_bool stop = false;
    struct item *items = calloc(300, sizeof(*items));

    assert_non_null(items);
    tracker_init(&tracker);
    test_put(test, "key", "xxxx");
    for (int i = 0; i < 4; i++) {
        readers[i] = (struct reader){.test = test, .stop = &stop};
        assert_int_equal(pthread_create(&threads[i], NULL, read_until_told, &readers[i]), 0);
    }
    for (int i = 0; i < 300; i++) {
        assert_int_equal(put_item(test, &items[i], &tracker, "key", i % 256, (size_t)(i % 5) * 7000), 0);
        kv_submit(test->kv, &items[i].change);
        if (i % 10 == 0)
            wait_for(&tracker, (unsigned)i);
        if (i % 25 == 0)
            test_store_pass_ms(test, 61000); /* the central is asked, too */
    }
    wait_for(&tracker, 300);
    atomic_store(&stop, true);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(readers[i].rc, 0);
        assert_int_equal(readers[i].torn, 0);
    }
    for (int i = 0; i < 300; i++)
        kv_value_unref(items[i].change.value);
    free(items);
}

/* --------------------------------------------------------------------- groups */

static void what_waits_shares_one_commit(void **state)
{
    struct test_store *test = *state;
    struct item *items = calloc(200, sizeof(*items));
    struct kv_stats before, after;
    struct kv_change held;
    struct tracker tracker;
    uint64_t commits_before;
    char key[32];

    assert_non_null(items);
    tracker_init(&tracker);
    close_gate(test, &tracker, &held);
    commits_before = commits(test);
    kv_stats(test->kv, &before);
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(put_item(test, &items[i], &tracker, key, 'v', 10), 0);
        kv_submit(test->kv, &items[i].change);
    }
    open_gate(&tracker);
    wait_for(&tracker, 200);
    kv_stats(test->kv, &after);
    assert_int_equal(commits(test) - commits_before, 1);
    assert_int_equal(after.commits - before.commits, 1);
    assert_int_equal(after.central_writes - before.central_writes, 200);
    assert_int_equal(after.put.count - before.put.count, 200);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(items[i].rc, 0);
        kv_value_unref(items[i].change.value);
    }
    free(items);
}

static void while_a_slow_commit_goes_on_the_next_group_gathers(void **state)
{
    struct test_store *test = *state;
    struct writer *writers = calloc(THREADS, sizeof(*writers));
    pthread_t threads[THREADS];
    struct tracker tracker;
    uint64_t before = commits(test);

    assert_non_null(writers);
    tracker_init(&tracker);
    engine_fault_delay(test->fault, ENGINE_COMMIT, 20);
    for (int i = 0; i < THREADS; i++) {
        writers[i].test = test;
        writers[i].tracker = &tracker;
        writers[i].number = i;
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, &writers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    wait_for(&tracker, THREADS * PUTS);
    engine_fault_delay(test->fault, ENGINE_COMMIT, 0);
    assert_in_range(commits(test) - before, 1, THREADS * PUTS / 2);
    for (int i = 0; i < THREADS; i++)
        for (int j = 0; j < PUTS; j++) {
            assert_int_equal(writers[i].items[j].rc, 0);
            kv_value_unref(writers[i].items[j].change.value);
        }
    free(writers);
}

static void a_long_queue_is_cut_into_several_commits_in_order(void **state)
{
    enum { CHANGES = 2500 };
    struct test_store *test = *state;
    struct item *items = calloc(CHANGES, sizeof(*items));
    struct kv_change held;
    struct tracker tracker;
    uint64_t before;

    assert_non_null(items);
    tracker_init(&tracker);
    close_gate(test, &tracker, &held);
    before = commits(test);
    for (int i = 0; i < CHANGES; i++) {
        assert_int_equal(put_item(test, &items[i], &tracker, "key", 'v', (size_t)i), 0);
        kv_submit(test->kv, &items[i].change);
    }
    open_gate(&tracker);
    wait_for(&tracker, CHANGES);
    assert_in_range(commits(test) - before, 2, 10);
    for (unsigned i = 0; i < CHANGES; i++) {
        assert_int_equal(items[i].order, i);
        assert_int_equal(items[i].rc, 0);
        kv_value_unref(items[i].change.value);
    }
    expect_filled(test, "key", 'v', CHANGES - 1);
    free(items);
}

static void changes_of_one_group_see_each_other_in_order(void **state)
{
    struct test_store *test = *state;
    struct item items[6];
    struct kv_change held;
    struct tracker tracker;
    struct kv_ref a = test_key(test, "a");

    tracker_init(&tracker);
    close_gate(test, &tracker, &held);
    assert_int_equal(put_item(test, &items[0], &tracker, "a", '1', 100), 0);
    assert_int_equal(put_item(test, &items[1], &tracker, "a", '2', 20000), 0);
    item_init(&items[2], &tracker, KV_RENAME);
    items[2].change.ref = a;
    items[2].change.to = test_key(test, "b");
    item_init(&items[3], &tracker, KV_DELETE); /* it is not there any more */
    items[3].change.ref = a;
    assert_int_equal(put_item(test, &items[4], &tracker, "a", '3', 9000), 0);
    items[4].change.conditional = true;
    items[4].change.if_version = 0;
    item_init(&items[5], &tracker, KV_DELETE);
    items[5].change.ref = a;
    for (size_t i = 0; i < 6; i++)
        kv_submit(test->kv, &items[i].change);
    open_gate(&tracker);
    wait_for(&tracker, 6);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(items[i].rc, i == 3 ? -ENOENT : 0);
    test_expect_absent(test, &a);
    expect_filled(test, "b", '2', 20000);
    kv_value_unref(items[0].change.value);
    kv_value_unref(items[1].change.value);
    kv_value_unref(items[4].change.value);
}

static void set_limit(struct test_store *test, uint64_t bytes)
{
    struct kv_change change = {.kind = KV_NODE_LIMITS};

    change.node.id = test->account.id;
    change.node.limit_bytes = bytes;
    change.node.limit_namespaces = 10;
    assert_int_equal(kv_apply(test->kv, &change), 0);
}

static void a_refused_change_does_not_disturb_its_neighbours(void **state)
{
    struct test_store *test = *state;
    struct item items[7];
    struct kv_change held;
    struct tracker tracker;
    struct kv_ref big = test_key(test, "b");
    uint64_t before;

    tracker_init(&tracker);
    set_limit(test, 1000);
    close_gate(test, &tracker, &held);
    before = commits(test);
    assert_int_equal(put_item(test, &items[0], &tracker, "a", '1', 499), 0);
    assert_int_equal(put_item(test, &items[1], &tracker, "b", '2', 500), 0); /* one byte too much */
    assert_int_equal(put_item(test, &items[2], &tracker, "c", '3', 99), 0);
    assert_int_equal(put_item(test, &items[3], &tracker, "d.e", '4', 1), 0);
    item_init(&items[4], &tracker, KV_DELETE);
    items[4].change.ref = test_key(test, "nothing");
    item_init(&items[5], &tracker, KV_NODE_CREATE);
    items[5].change.node = (struct kv_node){.kind = KV_NAMESPACE, .parent = test->account.id, .name = "main"};
    assert_int_equal(put_item(test, &items[6], &tracker, "f", '5', 399), 0);
    for (size_t i = 0; i < 7; i++)
        kv_submit(test->kv, &items[i].change);
    open_gate(&tracker);
    wait_for(&tracker, 7);
    assert_int_equal(items[0].rc, 0);
    assert_int_equal(items[1].rc, -EDQUOT);
    assert_int_equal(items[2].rc, 0);
    assert_int_equal(items[3].rc, -EINVAL);
    assert_int_equal(items[4].rc, -ENOENT);
    assert_int_equal(items[5].rc, -EEXIST);
    assert_int_equal(items[6].rc, 0);
    assert_int_equal(commits(test) - before, 1);
    expect_filled(test, "a", '1', 499);
    test_expect_absent(test, &big);
    expect_filled(test, "c", '3', 99);
    expect_filled(test, "f", '5', 399);
    assert_int_equal(test_node(test, test->account.id).bytes, 1000);
    for (size_t i = 0; i < 7; i++)
        if (items[i].change.kind == KV_PUT)
            kv_value_unref(items[i].change.value);
}

/* ------------------------------------------------------- an engine that fails */

static const struct engine_ops *sound_ops;

/* Has no room for chunks that begin with a '!'. */
static int picky_put(struct engine_txn *txn, enum engine_table table, struct slice key, struct slice value)
{
    if (table == ENGINE_CHUNKS && *(const char *)value.data == '!')
        return -ENOSPC;
    return sound_ops->put(txn, table, key, value);
}

static void the_culprit_gets_its_error_and_the_others_succeed(void **state)
{
    struct test_store *test = *state;
    struct engine_ops picky = *test->inner->ops;
    struct item items[9];
    struct kv_change held;
    struct tracker tracker;
    char key[32];

    tracker_init(&tracker);
    sound_ops = test->inner->ops;
    picky.put = picky_put;
    for (size_t i = 0; i < 9; i++) {
        snprintf(key, sizeof(key), "k%zu", i);
        test_put(test, key, "old");
    }
    close_gate(test, &tracker, &held);
    test->inner->ops = &picky;
    for (size_t i = 0; i < 9; i++) {
        snprintf(key, sizeof(key), "k%zu", i);
        assert_int_equal(put_item(test, &items[i], &tracker, key, i % 4 == 3 ? '!' : 'v', 10000 + i), 0);
        kv_submit(test->kv, &items[i].change);
    }
    open_gate(&tracker);
    wait_for(&tracker, 9);
    assert_int_equal(kv_sync(test->kv), 0);
    test->inner->ops = sound_ops;
    for (size_t i = 0; i < 9; i++) {
        snprintf(key, sizeof(key), "k%zu", i);
        assert_int_equal(items[i].done, 1);
        assert_int_equal(items[i].rc, i % 4 == 3 ? -ENOSPC : 0);
        if (i % 4 == 3)
            test_expect_text(test, key, "old");
        else
            expect_filled(test, key, 'v', 10000 + i);
        kv_value_unref(items[i].change.value);
    }
}

enum { SCRIPT = 7 };

/* What the scripted group finds. */
static void prepare(struct test_store *test)
{
    struct kv_ref large = test_key(test, "large");

    test_put(test, "small", "old");
    test_put_bytes(test, &large, 20000, 1);
    test_put(test, "doomed", "old");
    test_put(test, "wanderer", "old");
}

/* Changes that do not depend on each other. */
static void script(struct test_store *test, struct item *items, struct tracker *tracker)
{
    assert_int_equal(put_item(test, &items[0], tracker, "small", 's', 100), 0);
    assert_int_equal(put_item(test, &items[1], tracker, "large", 'l', 600000), 0);
    item_init(&items[2], tracker, KV_DELETE);
    items[2].change.ref = test_key(test, "doomed");
    item_init(&items[3], tracker, KV_RENAME);
    items[3].change.ref = test_key(test, "wanderer");
    items[3].change.to = test_key(test, "wanderer2");
    item_init(&items[4], tracker, KV_NODE_CREATE);
    items[4].change.node = (struct kv_node){.kind = KV_NAMESPACE, .parent = test->account.id, .name = "fresh"};
    assert_int_equal(put_item(test, &items[5], tracker, "once", 'o', 1), 0);
    items[5].change.conditional = true; /* only if it is not there */
    items[5].change.if_version = 0;
    assert_int_equal(put_item(test, &items[6], tracker, "other", 'x', 9000), 0);
}

/* Is the key the n-th change is about as the change wants it? */
static bool is_there(struct test_store *test, const char *key, size_t size)
{
    struct kv_ref ref = test_key(test, key);
    struct kv_value *value;
    struct kv_meta meta;
    bool same;
    int rc = kv_get(test->kv, &ref, &meta, &value, NULL);

    if (rc == -ENOENT)
        return false;
    assert_int_equal(rc, 0);
    same = value->size == size;
    kv_value_unref(value);
    return same;
}

static bool took_effect(struct test_store *test, size_t n)
{
    struct kv_node node;
    bool moved;

    switch (n) {
    case 0:
        return is_there(test, "small", 100);
    case 1:
        assert_true(is_there(test, "large", 600000) || is_there(test, "large", 20000));
        return is_there(test, "large", 600000);
    case 2:
        return !is_there(test, "doomed", 3);
    case 3:
        moved = is_there(test, "wanderer2", 3);
        assert_int_equal(is_there(test, "wanderer", 3), !moved);
        return moved;
    case 4:
        return kv_node_find(test->kv, test->account.id, "fresh", 5, &node) == 0;
    case 5:
        return is_there(test, "once", 1);
    default:
        return is_there(test, "other", 9000);
    }
}

/* Run the script as one group in a store of its own, with the fault armed. Answers how many changes failed;
 * `fired` whether any engine call did. */
static unsigned run_script(enum engine_call call, unsigned countdown, unsigned times, int rc, unsigned *effects,
                           bool *fired)
{
    struct test_store *test = test_store_open(TEST_MEMORY, NULL);
    struct item items[SCRIPT];
    struct kv_change held;
    struct tracker tracker;
    uint64_t before, made;
    unsigned failed = 0;

    tracker_init(&tracker);
    prepare(test);
    close_gate(test, &tracker, &held);
    script(test, items, &tracker);
    before = engine_fault_calls(test->fault, call);
    engine_fault_arm(test->fault, call, countdown, times, rc);
    for (size_t i = 0; i < SCRIPT; i++)
        kv_submit(test->kv, &items[i].change);
    open_gate(&tracker);
    wait_for(&tracker, SCRIPT);
    assert_int_equal(kv_sync(test->kv), 0);
    made = engine_fault_calls(test->fault, call) - before;
    engine_fault_arm(test->fault, call, 0, 0, 0);
    *fired = made >= countdown;
    *effects = 0;
    for (size_t i = 0; i < SCRIPT; i++) {
        assert_int_equal(items[i].done, 1);
        if (items[i].rc != 0)
            assert_int_equal(items[i].rc, rc); /* the engine's error, and never a refusal */
        failed += items[i].rc != 0;
        if (call != ENGINE_COMMIT_LOST)
            assert_int_equal(took_effect(test, i), items[i].rc == 0); /* whole or undone */
        *effects += took_effect(test, i);
        if (items[i].change.kind == KV_PUT)
            kv_value_unref(items[i].change.value);
    }
    test_expect_sound(test->inner);
    test_store_close(test);
    return failed;
}

static void a_failure_at_any_call_leaves_each_change_whole_or_undone(void **state)
{
    static const enum engine_call calls[] = {ENGINE_PUT, ENGINE_DEL, ENGINE_GET, ENGINE_BEGIN_WRITE};
    static const unsigned times[] = {1, 2, 1000};
    static const int errors[] = {-ENOSPC,
                                 -EIO}; /* also where the commit is being prepared, it is known not to be made */
    bool fired = true;

    (void)state;
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < 6; j++)
            for (unsigned n = 1; fired || n == 1; n++) {
                unsigned effects, failed = run_script(calls[i], n, times[j / 2], errors[j % 2], &effects, &fired);

                assert_int_equal(effects + failed, SCRIPT);
                if (times[j / 2] == 1) /* it is gone when each change is run alone */
                    assert_int_equal(failed, 0);
                else if (times[j / 2] == 1000 && calls[i] == ENGINE_PUT && fired)
                    assert_true(failed > 0);
                assert_true(n < 1000);
            }
}

static void a_disk_that_stays_full_lets_deletions_through(void **state)
{
    unsigned effects, failed;
    bool fired;

    (void)state;
    failed = run_script(ENGINE_ROOM, 1, 1000, -ENOSPC, &effects, &fired);
    assert_true(fired);
    assert_int_equal(failed, 5); /* four puts and the namespace, but neither deletion nor rename */
    assert_int_equal(effects, SCRIPT - 5);
}

static void a_commit_without_space_is_tried_again_by_halves(void **state)
{
    unsigned effects, failed;
    bool fired;

    (void)state;
    failed = run_script(ENGINE_COMMIT, 1, 1, -ENOSPC, &effects, &fired);
    assert_int_equal(failed, 0);
    failed = run_script(ENGINE_COMMIT, 1, 3, -ENOSPC, &effects, &fired); /* of 7, of 3, of 1 */
    assert_int_equal(failed, 1);
    assert_int_equal(effects, SCRIPT - 1);
    failed = run_script(ENGINE_COMMIT, 1, 1000, -ENOSPC, &effects, &fired);
    assert_int_equal(failed, SCRIPT);
    assert_int_equal(effects, 0);
}

static void a_commit_that_failed_or_was_lost_is_told_to_all_and_not_run_again(void **state)
{
    static const int errors[] = {-EIO, -ETIMEDOUT, -ENOMEM};
    unsigned effects;
    bool fired;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(run_script(ENGINE_COMMIT, 1, 1, errors[i], &effects, &fired), SCRIPT);
        assert_int_equal(effects, 0);
        assert_int_equal(run_script(ENGINE_COMMIT_LOST, 1, 1, errors[i], &effects, &fired), SCRIPT);
        assert_int_equal(effects, SCRIPT); /* it happened, and nobody is told that it could not */
    }
}

static void after_a_failure_the_queue_goes_on(void **state)
{
    struct test_store *test = *state;
    struct kv_stats before, after;
    struct kv_ref key = test_key(test, "key");

    kv_stats(test->kv, &before);
    engine_fault_arm(test->fault, ENGINE_COMMIT, 1, 1, -EIO);
    assert_int_equal(kv_put(test->kv, &key, "one", 3), -EIO);
    assert_int_equal(kv_put(test->kv, &key, "two", 3), 0);
    test_expect_text(test, "key", "two");
    kv_stats(test->kv, &after);
    assert_int_equal(after.commit_failures - before.commit_failures, 1);
    assert_int_equal(after.commits - before.commits, 1);
}

/* ---------------------------------------------------------------- close and sync */

static void closing_settles_what_is_queued(void **state)
{
    struct test_store *test = *state;
    struct item items[100];
    struct tracker tracker;
    char key[32];

    tracker_init(&tracker);
    engine_fault_delay(test->fault, ENGINE_BEGIN_WRITE, 10); /* so that something is queued */
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(put_item(test, &items[i], &tracker, key, 'v', (size_t)i * 200), 0);
        kv_submit(test->kv, &items[i].change);
    }
    test_store_reopen(test);
    assert_int_equal(tracker.done, 100);
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(items[i].rc, 0);
        expect_filled(test, key, 'v', (size_t)i * 200);
        kv_value_unref(items[i].change.value);
    }
}

static void sync_waits_for_everything_submitted_before(void **state)
{
    struct test_store *test = *state;
    struct item items[50];
    struct tracker tracker;
    char key[32];

    tracker_init(&tracker);
    engine_fault_delay(test->fault, ENGINE_COMMIT, 10);
    for (unsigned i = 0; i < 50; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        assert_int_equal(put_item(test, &items[i], &tracker, key, 'v', 10), 0);
        kv_submit(test->kv, &items[i].change);
        if (i % 10 == 9) {
            assert_int_equal(kv_sync(test->kv), 0);
            pthread_mutex_lock(&tracker.lock);
            assert_int_equal(tracker.done, i + 1);
            pthread_mutex_unlock(&tracker.lock);
        }
    }
    assert_int_equal(kv_sync(test->kv), 0); /* with nothing to wait for */
    for (int i = 0; i < 50; i++)
        kv_value_unref(items[i].change.value);
}

struct chain {
    struct item item; /* the first, so that done() finds the chain */
    struct test_store *test;
    unsigned left;
};

static void next_of_chain(struct kv_change *change, int rc)
{
    struct chain *chain = (struct chain *)change;

    if (rc < 0 || --chain->left == 0)
        item_done(change, rc);
    else
        kv_submit(chain->test->kv, change);
}

static void a_done_change_may_submit_the_next_one(void **state)
{
    struct test_store *test = *state;
    struct chain chain = {.test = test, .left = 100};
    struct tracker tracker;
    uint64_t before = commits(test);

    tracker_init(&tracker);
    assert_int_equal(put_item(test, &chain.item, &tracker, "key", 'c', 10), 0);
    chain.item.change.done = next_of_chain;
    kv_submit(test->kv, &chain.item.change);
    wait_for(&tracker, 1);
    assert_int_equal(chain.item.rc, 0);
    assert_int_equal(commits(test) - before, 100);
    expect_filled(test, "key", 'c', 10);
    kv_value_unref(chain.item.change.value);
}

/* -------------------------------------------------------------------- batches, and who works */

static void a_batch_is_done_whole_or_not_at_all(void **state)
{
    struct test_store *test = *state;
    struct kv_change changes[3] = {{.kind = KV_PUT, .ref = test_key(test, "a"), .attr.mode = 0644},
                                   {.kind = KV_DELETE, .ref = test_key(test, "b")},
                                   {.kind = KV_PUT, .ref = test_key(test, "c"), .attr.mode = 0644}};
    struct kv_ref b = test_key(test, "b");
    struct kv_meta meta;

    for (int i = 0; i < 3; i += 2)
        assert_int_equal(kv_value_copy("1", 1, &changes[i].value), 0);
    assert_int_equal(kv_apply_all(test->kv, changes, 3), -ENOENT);
    assert_int_equal(changes[0].rc, 0);
    assert_int_equal(changes[1].rc, -ENOENT);
    assert_int_equal(changes[2].rc, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(kv_stat(test->kv, &changes[i].ref, &meta, NULL), -ENOENT);
    assert_int_equal(test_node(test, test->namespace.id).keys, 0);

    assert_int_equal(kv_put(test->kv, &b, "2", 1), 0);
    assert_int_equal(kv_apply_all(test->kv, changes, 3), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(changes[i].rc, 0);
    expect_filled(test, "a", '1', 1);
    expect_filled(test, "c", '1', 1);
    assert_int_equal(kv_stat(test->kv, &b, &meta, NULL), -ENOENT);
    for (int i = 0; i < 3; i += 2)
        kv_value_unref(changes[i].value);
}

static void a_batch_is_done_only_where_what_it_checks_is_so(void **state)
{
    struct test_store *test = *state;
    struct kv_change changes[4] = {{.kind = KV_CHECK, .ref = test_key(test, "a"), .conditional = true},
                                   {.kind = KV_PUT, .ref = test_key(test, "b"), .attr.mode = 0644},
                                   {.kind = KV_CHECK, .ref = test_key(test, "b"), .conditional = true},
                                   {.kind = KV_CHECK, .ref = test_key(test, "a"), .conditional = true}};
    struct kv_meta meta;

    assert_int_equal(kv_value_copy("1", 1, &changes[1].value), 0);
    assert_int_equal(kv_apply_all(test->kv, changes, 3), -EEXIST); /* by what the batch itself has put */
    assert_int_equal(changes[2].rc, -EEXIST);
    assert_int_equal(kv_stat(test->kv, &changes[1].ref, &meta, NULL), -ENOENT);
    assert_int_equal(kv_apply_all(test->kv, changes, 2), 0);
    expect_filled(test, "b", '1', 1);

    assert_int_equal(kv_put(test->kv, &changes[0].ref, "2", 1), 0);
    assert_int_equal(kv_stat(test->kv, &changes[0].ref, &meta, NULL), 0);
    changes[0].if_version = meta.version;
    changes[3].if_version = meta.version + 1;
    assert_int_equal(kv_apply_all(test->kv, changes, 2), 0);
    changes[2].if_version = changes[1].meta.version; /* which the batch replaces first */
    assert_int_equal(kv_apply_all(test->kv, changes, 4), -ECANCELED);
    for (int i = 0; i < 4; i++)
        assert_int_equal(changes[i].rc, i == 2 ? -ECANCELED : 0);
    assert_int_equal(kv_apply(test->kv, &changes[0]), 0);
    assert_int_equal(kv_apply(test->kv, &changes[3]), -ECANCELED);
    expect_filled(test, "a", '2', 1);
    kv_value_unref(changes[1].value);
}

static void a_batch_belongs_to_one_account(void **state)
{
    struct test_store *test = *state;
    struct kv_node other = test_make(test, KV_ACCOUNT, KV_ROOT_ID, "other");
    struct kv_node there = test_make(test, KV_NAMESPACE, other.id, "there");
    struct kv_change changes[2] = {{.kind = KV_DELETE, .ref = test_key(test, "a")},
                                   {.kind = KV_DELETE, .ref = kv_ref_key(there.id, "a", 1)}};

    assert_int_equal(kv_put(test->kv, &changes[0].ref, "1", 1), 0);
    assert_int_equal(kv_put(test->kv, &changes[1].ref, "1", 1), 0);
    assert_int_equal(kv_apply_all(test->kv, changes, 2), -EXDEV);
    expect_filled(test, "a", '1', 1);
    assert_int_equal(kv_apply_all(test->kv, changes, 0), 0);
}

struct who {
    struct kv_change change; /* the first */
    pthread_t thread;
    bool done;
};

static void note_who(struct kv_change *change, int rc)
{
    struct who *who = (struct who *)change;

    assert_int_equal(rc, 0);
    who->thread = pthread_self();
    who->done = true;
}

static void who_works_commits_what_was_queued_on_its_own_thread(void **state)
{
    struct test_store *test = *state;
    struct who who[2] = {{.change = {.kind = KV_PUT, .ref = test_key(test, "a"), .done = note_who}},
                         {.change = {.kind = KV_PUT, .ref = test_key(test, "b"), .done = note_who}}};
    uint64_t before = commits(test);

    for (int i = 0; i < 2; i++) {
        assert_int_equal(kv_value_copy("v", 1, &who[i].change.value), 0);
        kv_queue(test->kv, &who[i].change);
        assert_false(who[i].done); /* nobody has begun with it */
    }
    kv_work(test->kv);
    for (int i = 0; i < 2; i++) {
        assert_true(who[i].done);
        assert_true(pthread_equal(who[i].thread, pthread_self()));
        kv_value_unref(who[i].change.value);
    }
    assert_int_equal(commits(test) - before, 1);
    kv_work(test->kv); /* nothing to do */
    assert_int_equal(commits(test) - before, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_ON_MEMORY(every_put_of_many_threads_is_done_exactly_once),
        TEST_ON_LMDB(every_put_of_many_threads_is_done_exactly_once),
        TEST_ON_MEMORY(blocking_calls_of_many_threads_see_their_own_writes),
        TEST_ON_LMDB(blocking_calls_of_many_threads_see_their_own_writes),
        TEST_ON_MEMORY(readers_see_whole_values_and_never_an_older_one),
        TEST_ON_LMDB(readers_see_whole_values_and_never_an_older_one),
        TEST_ON_MEMORY(what_waits_shares_one_commit),
        TEST_ON_MEMORY(while_a_slow_commit_goes_on_the_next_group_gathers),
        TEST_ON_MEMORY(a_long_queue_is_cut_into_several_commits_in_order),
        TEST_ON_MEMORY(changes_of_one_group_see_each_other_in_order),
        TEST_ON_LMDB(changes_of_one_group_see_each_other_in_order),
        TEST_ON_MEMORY(a_refused_change_does_not_disturb_its_neighbours),
        TEST_ON_LMDB(a_refused_change_does_not_disturb_its_neighbours),
        TEST_ON_MEMORY(the_culprit_gets_its_error_and_the_others_succeed),
        cmocka_unit_test(a_failure_at_any_call_leaves_each_change_whole_or_undone),
        cmocka_unit_test(a_disk_that_stays_full_lets_deletions_through),
        cmocka_unit_test(a_commit_without_space_is_tried_again_by_halves),
        cmocka_unit_test(a_commit_that_failed_or_was_lost_is_told_to_all_and_not_run_again),
        TEST_ON_MEMORY(after_a_failure_the_queue_goes_on),
        TEST_ON_LMDB(closing_settles_what_is_queued),
        TEST_ON_MEMORY(sync_waits_for_everything_submitted_before),
        TEST_ON_MEMORY(a_done_change_may_submit_the_next_one),
        TEST_ON_MEMORY(a_batch_is_done_whole_or_not_at_all),
        TEST_ON_LMDB(a_batch_is_done_whole_or_not_at_all),
        TEST_ON_MEMORY(a_batch_is_done_only_where_what_it_checks_is_so),
        TEST_ON_MEMORY(a_batch_belongs_to_one_account),
        TEST_ON_MEMORY(who_works_commits_what_was_queued_on_its_own_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
