/* What is visible, refused and durable when a change is done, with either durability. */
#include "tests/support/store.h"

#include "store/base/record.h"
#include "store/tables/read.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define A_DAY_MS ((int64_t)24 * 60 * 60 * 1000)
#define MIB ((size_t)1 << 20)

enum { SECONDS = 120 }; /* a test that takes longer waits without end */

/* ------------------------------------------------------------------------ the disk
 *
 * All that flushes in this process comes by here. */
static atomic_bool disk_fails;
static atomic_uint disk_flushes;

int fdatasync(int fd)
{
    atomic_fetch_add(&disk_flushes, 1);
    if (atomic_load(&disk_fails)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

/* ---------------------------------------------------------------------- the stores */

/* Nothing is flushed that nobody asks for. */
static struct test_store *open_with(enum test_engine kind, enum kv_durability durability, int64_t interval_ms)
{
    struct kv_options options = kv_options_default();

    options.durability = durability;
    options.commit_interval_ms = interval_ms;
    return test_store_open(kind, &options);
}

static int open_into(void **state, enum test_engine kind, enum kv_durability durability)
{
    alarm(SECONDS);
    *state = open_with(kind, durability, A_DAY_MS);
    return 0;
}

static int setup_close(void **state) { return open_into(state, TEST_MEMORY, KV_DURABILITY_CLOSE); }
static int setup_fsync(void **state) { return open_into(state, TEST_MEMORY, KV_DURABILITY_FSYNC); }
static int setup_close_lmdb(void **state) { return open_into(state, TEST_LMDB, KV_DURABILITY_CLOSE); }
static int setup_fsync_lmdb(void **state) { return open_into(state, TEST_LMDB, KV_DURABILITY_FSYNC); }

#define ON_CLOSE(f)                                        \
    {                                                      \
#f " (close)", f, setup_close, test_teardown, NULL \
    }
#define ON_FSYNC(f)                                        \
    {                                                      \
#f " (fsync)", f, setup_fsync, test_teardown, NULL \
    }
#define ON_CLOSE_LMDB(f)                                              \
    {                                                                 \
#f " (close, lmdb)", f, setup_close_lmdb, test_teardown, NULL \
    }
#define ON_FSYNC_LMDB(f)                                              \
    {                                                                 \
#f " (fsync, lmdb)", f, setup_fsync_lmdb, test_teardown, NULL \
    }
#define ON_BOTH(f) ON_CLOSE(f), ON_FSYNC(f)
#define ON_ALL(f) ON_BOTH(f), ON_CLOSE_LMDB(f), ON_FSYNC_LMDB(f)

static bool is_fsync(const struct test_store *test) { return test->options.durability == KV_DURABILITY_FSYNC; }

static uint64_t calls(const struct test_store *test, enum engine_call call)
{
    return engine_fault_calls(test->fault, call);
}

static uint64_t flushes(const struct test_store *test) { return calls(test, ENGINE_FLUSH); }

static void set_limit(struct test_store *test, uint64_t bytes)
{
    struct kv_change change = {.kind = KV_NODE_LIMITS};

    change.node.id = test->account.id;
    change.node.limit_bytes = bytes;
    change.node.limit_namespaces = 10;
    assert_int_equal(kv_apply(test->kv, &change), 0);
}

/* ----------------------------------------------------- who else reads the central */

/* What any other reader of the central finds, without a cache. returns whether the key is there with this text */
static bool others_see(const struct test_store *test, const struct kv_ref *ref, const char *text)
{
    struct kv_value *value = NULL;
    struct kv_meta meta;
    int rc = read_key(test->inner, ref, &meta, &value);
    bool same;

    if (rc == -ENOENT)
        return text == NULL;
    assert_int_equal(rc, 0);
    same = text != NULL && value->size == strlen(text) && memcmp(value->data, text, value->size) == 0;
    kv_value_unref(value);
    return same;
}

/* What another process finds that opens the store. */
static bool another_process_sees(const struct test_store *test, const struct kv_ref *ref, const char *text)
{
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        struct kv_options options = kv_options_default();
        struct kv_store *store;
        struct kv_value *value;
        struct kv_error error;
        struct kv_meta meta;

        options.read_only = true; /* such a store starts no thread, which a child of threads may not everywhere */
        if (kv_open(test->dir, &options, &store, &error) < 0 || kv_get(store, ref, &meta, &value, NULL) < 0)
            _exit(2);
        _exit(value->size != strlen(text) || memcmp(value->data, text, value->size) != 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ------------------------------------------------------------------------- waiting */

struct tracker {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned done;
};

/* A change that is not waited for at once. */
struct item {
    struct kv_change change; /* the first, so that done() finds the item */
    struct tracker *tracker;
    bool done;
    unsigned order; /* as which one it was done */
    int rc;
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
    item->done = true;
    item->rc = rc;
    item->order = tracker->done++;
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

static unsigned done_by_now(struct tracker *tracker)
{
    unsigned done;

    pthread_mutex_lock(&tracker->lock);
    done = tracker->done;
    pthread_mutex_unlock(&tracker->lock);
    return done;
}

/* A put of `size` bytes that all are `byte`; give its value back. */
static void item_put(struct item *item, struct tracker *tracker, const struct kv_ref *ref, int byte, size_t size)
{
    *item = (struct item){.tracker = tracker,
                          .change = {.kind = KV_PUT, .ref = *ref, .attr = {.mode = 0644}, .done = item_done}};
    assert_int_equal(kv_value_new(size, &item->change.value), 0);
    if (size > 0)
        memset(item->change.value->data, byte, size);
}

/* A deletion of what is not there: it is refused, and changes nothing. */
static void item_nothing(struct item *item, struct tracker *tracker, const struct kv_ref *ref)
{
    *item = (struct item){.tracker = tracker, .change = {.kind = KV_DELETE, .ref = *ref, .done = item_done}};
}

/* What is submitted from here to gate_open() waits in the queue together. */
static void gate_close(struct test_store *test, struct item *held, struct tracker *tracker)
{
    struct kv_ref ref = test_key(test, "none");
    uint64_t begun = calls(test, ENGINE_BEGIN_WRITE);

    item_nothing(held, tracker, &ref);
    engine_fault_hold(test->fault, ENGINE_BEGIN_WRITE, true);
    kv_submit(test->kv, &held->change);
    engine_fault_await(test->fault, ENGINE_BEGIN_WRITE, begun + 1);
}

static void gate_open(struct test_store *test) { engine_fault_hold(test->fault, ENGINE_BEGIN_WRITE, false); }

/* -------------------------------------------------------------------- visible when done */

static void what_is_done_is_seen_by_every_reader(void **state)
{
    struct test_store *test = *state;
    struct kv_ref a = test_key(test, "a"), b = test_key(test, "b");
    struct kv_change rename = {.kind = KV_RENAME, .ref = a, .to = b};
    struct kv_node node;

    test_put(test, "a", "one");
    assert_true(others_see(test, &a, "one"));
    test_put(test, "a", "two");
    assert_true(others_see(test, &a, "two"));
    test_expect_text(test, "a", "two");
    assert_int_equal(kv_apply(test->kv, &rename), 0);
    assert_true(others_see(test, &a, NULL));
    assert_true(others_see(test, &b, "two"));
    assert_int_equal(kv_delete(test->kv, &b), 0);
    assert_true(others_see(test, &b, NULL));
    test_expect_absent(test, &b);
    assert_int_equal(kv_node_make(test->kv, KV_NAMESPACE, test->account.id, "fresh", 0, &node), 0);
    assert_int_equal(read_child(test->inner, test->account.id, "fresh", 5, &node), 0);
}

static void what_is_done_is_seen_by_another_process(void **state)
{
    struct test_store *test = *state;
    struct kv_ref small = test_key(test, "small");
    char text[32];

    for (int i = 0; i < 3; i++) {
        snprintf(text, sizeof(text), "value %d", i);
        test_put(test, "small", text);
        assert_true(another_process_sees(test, &small, text));
    }
}

static void a_result_says_what_is_stored(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    struct kv_change change = {.kind = KV_PUT, .ref = key};
    struct kv_meta shown, stored;

    change.attr = (struct kv_attr){
        .mode = 0640, .uid = 1, .gid = 2, .atime_ns = 3, .mtime_ns = 4, .ctime_ns = 5, .btime_ns = 6};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kv_value_new((size_t)i * 10000, &change.value), 0);
        assert_int_equal(kv_apply(test->kv, &change), 0);
        kv_value_unref(change.value);
        shown = test_stat(test, &key);
        test_expect_same_meta(&change.meta, &shown);
        assert_int_equal(read_key(test->inner, &key, &stored, NULL), 0);
        test_expect_same_meta(&change.meta, &stored);
        change.attr.mode = 0600;
        change.attr.mtime_ns = 14;
    }
}

static void without_fsync_nothing_is_flushed_and_nothing_waits_for_a_flush(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    uint64_t before = flushes(test);
    char text[16];

    engine_fault_hold(test->fault, ENGINE_FLUSH, true);
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof(text), "%d", i);
        test_put(test, "key", text);
        assert_true(others_see(test, &key, text));
    }
    assert_int_equal(flushes(test), before);
    engine_fault_hold(test->fault, ENGINE_FLUSH, false);
}

static void a_close_is_answered_after_the_flush_and_readers_do_not_wait_for_it(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    uint64_t before = flushes(test);
    struct tracker tracker;
    struct item item;

    tracker_init(&tracker);
    item_put(&item, &tracker, &key, 'v', 5);
    engine_fault_hold(test->fault, ENGINE_FLUSH, true);
    kv_submit(test->kv, &item.change);
    engine_fault_await(test->fault, ENGINE_FLUSH, before + 1);
    assert_true(others_see(test, &key, "vvvvv"));
    test_expect_value(test, &key, "vvvvv", 5);
    assert_int_equal(done_by_now(&tracker), 0);
    engine_fault_hold(test->fault, ENGINE_FLUSH, false);
    wait_for(&tracker, 1);
    assert_int_equal(item.rc, 0);
    kv_value_unref(item.change.value);
}

/* --------------------------------------------------------------------- refused when done */

static int put_if(struct test_store *test, const char *key, uint64_t version, uint64_t *made)
{
    struct kv_change change = {.kind = KV_PUT, .ref = test_key(test, key), .conditional = true};
    int rc;

    change.if_version = version;
    assert_int_equal(kv_value_copy(key, strlen(key), &change.value), 0);
    rc = kv_apply(test->kv, &change);
    kv_value_unref(change.value);
    if (rc == 0)
        *made = change.meta.version;
    return rc;
}

/* Whoever closes is told, and not a later fsync. */
static void what_is_refused_is_refused_at_once(void **state)
{
    struct test_store *test = *state;
    struct kv_ref nowhere = kv_ref_key(999999, "key", 3), bad = test_key(test, "a.b"), key = test_key(test, "key");
    struct kv_change change = {.kind = KV_PUT, .ref = key};
    struct kv_value too_big = {
        .data = calloc(1, (size_t)KV_VALUE_MAX + 1), .size = (size_t)KV_VALUE_MAX + 1, .refs = 1};
    uint64_t before = flushes(test), version, other;

    assert_non_null(too_big.data);
    change.value = &too_big;
    assert_int_equal(kv_apply(test->kv, &change), -EFBIG);
    free(too_big.data);
    assert_int_equal(kv_put(test->kv, &nowhere, "value", 5), -ENOENT);
    assert_int_equal(kv_put(test->kv, &bad, "value", 5), -EINVAL);
    assert_true(others_see(test, &key, NULL));
    assert_int_equal(put_if(test, "key", 7, &version), -ECANCELED);
    assert_int_equal(put_if(test, "key", 0, &version), 0);
    assert_int_equal(put_if(test, "key", 0, &other), -EEXIST);
    assert_int_equal(put_if(test, "key", version, &other), 0);
    assert_int_equal(put_if(test, "key", version, &version), -ECANCELED);
    assert_true(others_see(test, &key, "key"));
    if (is_fsync(test))
        assert_int_equal(flushes(test), before);
    assert_int_equal(kv_sync(test->kv), 0);
}

static void the_limit_of_an_account_is_exact(void **state)
{
    struct test_store *test = *state;
    struct kv_ref a = test_key(test, "a"), b = test_key(test, "b"), c = test_key(test, "c");
    static const char bytes[1000];

    set_limit(test, 1000);
    assert_int_equal(kv_put(test->kv, &a, bytes, 499), 0);
    assert_int_equal(kv_put(test->kv, &b, bytes, 500), -EDQUOT);
    assert_int_equal(kv_quota_check(test->kv, &b, 499, 0), 0);
    assert_int_equal(kv_put(test->kv, &b, bytes, 499), 0);
    assert_int_equal(kv_put(test->kv, &c, bytes, 0), -EDQUOT);
    assert_int_equal(kv_put(test->kv, &a, bytes, 399), 0);
    assert_int_equal(kv_quota_check(test->kv, &c, 99, 0), 0);
    assert_int_equal(kv_quota_check(test->kv, &c, 100, 0), -EDQUOT);
    assert_int_equal(kv_put(test->kv, &c, bytes, 100), -EDQUOT);
    assert_int_equal(kv_put(test->kv, &c, bytes, 99), 0);
    assert_int_equal(test_node(test, test->account.id).bytes, 1000);
}

/* Those that fit fit, in their order, and the others do not, though they share a transaction. */
static void puts_that_wait_together_are_told_the_exact_limit(void **state)
{
    enum { PUTS = 10, FIT = 5 };
    struct test_store *test = *state;
    struct item held, items[PUTS];
    struct tracker tracker;
    char key[16];

    set_limit(test, FIT * 102);
    tracker_init(&tracker);
    gate_close(test, &held, &tracker);
    for (int i = 0; i < PUTS; i++) {
        struct kv_ref ref;

        snprintf(key, sizeof(key), "k%d", i);
        ref = test_key(test, key);
        item_put(&items[i], &tracker, &ref, 'v', 100);
        kv_submit(test->kv, &items[i].change);
    }
    gate_open(test);
    wait_for(&tracker, PUTS + 1);
    for (int i = 0; i < PUTS; i++) {
        assert_int_equal(items[i].rc, i < FIT ? 0 : -EDQUOT);
        kv_value_unref(items[i].change.value);
    }
    assert_int_equal(test_node(test, test->account.id).bytes, FIT * 102);
}

static void a_put_whose_account_cannot_be_found_says_why(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");

    engine_fault_arm(test->fault, ENGINE_BEGIN_READ, 1, 1, -EIO);
    assert_int_equal(kv_put(test->kv, &key, "value", 5), -EIO);
    assert_true(others_see(test, &key, NULL));
    assert_int_equal(kv_put(test->kv, &key, "value", 5), 0);
}

/* ------------------------------------------------------------------------ what a change finds */

static void later_changes_find_what_is_done(void **state)
{
    struct test_store *test = *state;
    struct kv_ref a = test_key(test, "a"), b = test_key(test, "b");
    struct kv_change rename = {.kind = KV_RENAME, .ref = a, .to = b};
    struct kv_change chmod = {.kind = KV_SETATTR, .ref = b, .attr = {.mode = 0400}, .attr_mask = KV_MODE};
    struct kv_list list;

    test_put(test, "a", "one");
    assert_int_equal(kv_list(test->kv, test->namespace.id, NULL, NULL, 10, &list), 0);
    assert_int_equal(list.count, 1);
    kv_list_free(&list);
    assert_int_equal(kv_apply(test->kv, &rename), 0);
    test_expect_absent(test, &a);
    test_expect_text(test, "b", "one");
    test_put(test, "b", "two");
    assert_int_equal(kv_apply(test->kv, &chmod), 0);
    assert_int_equal(test_stat(test, &b).attr.mode, 0400);
    test_expect_text(test, "b", "two");
    test_put(test, "b", "three");
    assert_int_equal(kv_node_remove(test->kv, test->account.id, "main"), -ENOTEMPTY);
    assert_int_equal(kv_delete(test->kv, &b), 0);
    test_store_pass_ms(test, 61000);
    test_expect_absent(test, &b);
}

static void every_put_has_a_version_of_its_own(void **state)
{
    enum { PUTS = 12 };
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    uint64_t versions[PUTS];

    for (int i = 0; i < PUTS; i++) {
        struct kv_change change = {.kind = KV_PUT, .ref = key, .conditional = i % 3 == 1};
        struct kv_change chmod = {.kind = KV_SETATTR, .ref = key, .attr = {.mode = 0600}, .attr_mask = KV_MODE};

        change.if_version = i > 0 ? versions[i - 1] : 0;
        assert_int_equal(kv_value_new((size_t)i, &change.value), 0);
        assert_int_equal(kv_apply(test->kv, &change), 0);
        kv_value_unref(change.value);
        versions[i] = change.meta.version;
        for (int j = 0; j < i; j++)
            assert_true(versions[j] != versions[i]);
        if (i % 4 == 3)
            assert_int_equal(kv_apply(test->kv, &chmod), 0);
        assert_int_equal(test_stat(test, &key).version, versions[i]);
    }
    test_store_pass_ms(test, 61000);
    assert_int_equal(test_stat(test, &key).version, versions[PUTS - 1]);
}

/* ------------------------------------------------------------------------------ flushes */

static void a_sync_flushes_all_that_is_done(void **state)
{
    struct test_store *test = *state;
    uint64_t before = flushes(test);
    char key[16];

    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        test_put(test, key, key);
    }
    assert_int_equal(flushes(test), before);
    assert_int_equal(kv_sync(test->kv), 0);
    /* The second one where the committer had told of its last group, but not put it down. */
    assert_true(flushes(test) == before + 1 || flushes(test) == before + 2);
    before = flushes(test);
    assert_int_equal(kv_sync(test->kv), 0); /* there is nothing new */
    assert_int_equal(flushes(test), before);
}

static void *sync_store(void *arg)
{
    struct test_store *test = arg;

    return (void *)(intptr_t)kv_sync(test->kv);
}

static void a_sync_is_answered_after_the_flush_and_no_put_waits_for_it(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    uint64_t before = flushes(test);
    pthread_t thread;
    void *rc;

    test_put(test, "key", "one");
    engine_fault_hold(test->fault, ENGINE_FLUSH, true);
    assert_int_equal(pthread_create(&thread, NULL, sync_store, test), 0);
    engine_fault_await(test->fault, ENGINE_FLUSH, before + 1);
    test_put(test, "key", "two");
    assert_true(others_see(test, &key, "two"));
    assert_int_equal(pthread_tryjoin_np(thread, &rc), EBUSY);
    engine_fault_hold(test->fault, ENGINE_FLUSH, false);
    assert_int_equal(pthread_join(thread, &rc), 0);
    assert_int_equal((intptr_t)rc, 0);
    assert_int_equal(kv_sync(test->kv), 0);
    assert_true(flushes(test) >= before + 2); /* the second put came after the first flush had begun */
}

/* Changes of which the first waits for a flush that is held, while the others were committed after that began. */
struct crowd {
    struct item first, refused, items[100], probe;
    size_t count;
    struct tracker tracker;
    struct kv_ref last;
    uint64_t flushes; /* before */
};

/* returns  with the others committed and handed on; free it */
static struct crowd *crowd_begin(struct test_store *test, size_t count)
{
    struct crowd *crowd = calloc(1, sizeof(*crowd));
    uint64_t commits = calls(test, ENGINE_COMMIT), begun = calls(test, ENGINE_BEGIN_WRITE);
    struct kv_ref first = test_key(test, "first"), none = test_key(test, "none");

    assert_non_null(crowd);
    crowd->count = count;
    crowd->flushes = flushes(test);
    tracker_init(&crowd->tracker);
    engine_fault_hold(test->fault, ENGINE_COMMIT, true);
    engine_fault_hold(test->fault, ENGINE_FLUSH, true);
    item_put(&crowd->first, &crowd->tracker, &first, '1', 1);
    kv_submit(test->kv, &crowd->first.change);
    engine_fault_await(test->fault, ENGINE_COMMIT, commits + 1);
    item_nothing(&crowd->refused, &crowd->tracker, &none);
    kv_submit(test->kv, &crowd->refused.change);
    for (size_t i = 0; i < count; i++) {
        char key[32];

        snprintf(key, sizeof(key), "k%zu", i);
        crowd->last = test_key(test, key);
        item_put(&crowd->items[i], &crowd->tracker, &crowd->last, 'v', 1);
        kv_submit(test->kv, &crowd->items[i].change);
    }
    engine_fault_hold(test->fault, ENGINE_BEGIN_WRITE, true);
    engine_fault_hold(test->fault, ENGINE_COMMIT, false);
    engine_fault_await(test->fault, ENGINE_FLUSH, crowd->flushes + 1);
    engine_fault_await(test->fault, ENGINE_BEGIN_WRITE, begun + 2);
    assert_false(others_see(test, &crowd->last, "v"));
    engine_fault_hold(test->fault, ENGINE_BEGIN_WRITE, false);
    while (!others_see(test, &crowd->last, "v"))
        sched_yield();
    gate_close(test, &crowd->probe, &crowd->tracker); /* the committer has handed on all groups before this one */
    assert_int_equal(done_by_now(&crowd->tracker), 0);
    assert_int_equal(flushes(test), crowd->flushes + 1);
    return crowd;
}

/* Let the flush go on, and all be done. rc: of those that were committed after it had begun */
static void crowd_end(struct test_store *test, struct crowd *crowd, int rc)
{
    engine_fault_hold(test->fault, ENGINE_FLUSH, false);
    wait_for(&crowd->tracker, (unsigned)crowd->count + 2);
    assert_int_equal(flushes(test), crowd->flushes + 2);
    gate_open(test);
    wait_for(&crowd->tracker, (unsigned)crowd->count + 3);
    assert_int_equal(crowd->first.rc, 0);
    assert_int_equal(crowd->refused.rc, -ENOENT); /* whatever became of the flush */
    kv_value_unref(crowd->first.change.value);
    for (size_t i = 0; i < crowd->count; i++) {
        assert_int_equal(crowd->items[i].rc, rc);
        kv_value_unref(crowd->items[i].change.value);
    }
    free(crowd);
}

/* While a flush goes on, the next group is applied and seen; then one flush serves it all. */
static void closes_that_come_during_a_flush_share_the_next_one(void **state)
{
    struct crowd *crowd = crowd_begin(*state, 100);

    crowd_end(*state, crowd, 0);
    assert_int_equal(kv_sync(((struct test_store *)*state)->kv), 0);
}

static void a_put_is_flushed_by_itself_after_the_interval(void **state)
{
    struct test_store *test;
    uint64_t before;

    (void)state;
    alarm(SECONDS);
    test = open_with(TEST_MEMORY, KV_DURABILITY_FSYNC, 1);
    before = flushes(test);
    test_put(test, "key", "value");
    engine_fault_await(test->fault, ENGINE_FLUSH, before + 1);
    test_store_close(test);
}

static void *close_store(void *arg)
{
    kv_close(arg);
    return NULL;
}

static void closing_the_store_flushes_what_is_done(void **state)
{
    struct test_store *test;
    uint64_t before;
    pthread_t thread;

    (void)state;
    alarm(SECONDS);
    test = open_with(TEST_MEMORY, KV_DURABILITY_FSYNC, A_DAY_MS);
    before = flushes(test);
    test_put(test, "key", "value");
    assert_int_equal(flushes(test), before);
    engine_fault_hold(test->fault, ENGINE_FLUSH, true);
    assert_int_equal(pthread_create(&thread, NULL, close_store, test->kv), 0);
    engine_fault_await(test->fault, ENGINE_FLUSH, before + 1);
    engine_fault_hold(test->fault, ENGINE_FLUSH, false);
    pthread_join(thread, NULL);
    test->kv = NULL;
    test_store_close(test);
}

static void closing_the_store_keeps_everything_and_tells_everybody(void **state)
{
    enum { PUTS = 50 };
    struct test_store *test = *state;
    struct kv_ref large = test_key(test, "large");
    struct item items[PUTS];
    struct tracker tracker;
    unsigned before;
    char key[16];

    tracker_init(&tracker);
    test_put(test, "key", "value");
    test_put_bytes(test, &large, 3 * RECORD_CHUNK, 1);
    for (int i = 0; i < PUTS; i++) {
        struct kv_ref ref;

        snprintf(key, sizeof(key), "k%d", i);
        ref = test_key(test, key);
        item_put(&items[i], &tracker, &ref, 'v', 3);
        kv_submit(test->kv, &items[i].change);
    }
    before = atomic_load(&disk_flushes);
    test_store_reopen(test);
    assert_true(atomic_load(&disk_flushes) > before);
    assert_int_equal(tracker.done, PUTS);
    for (int i = 0; i < PUTS; i++) {
        assert_int_equal(items[i].rc, 0);
        kv_value_unref(items[i].change.value);
        snprintf(key, sizeof(key), "k%d", i);
        test_expect_text(test, key, "vvv");
    }
    test_expect_text(test, "key", "value");
    test_expect_bytes(test, &large, 3 * RECORD_CHUNK, 1);
}

/* ------------------------------------------------------------------------ flushes that fail */

/* Of all that wait for one flush: nobody is told success, and whoever was refused hears why. */
static void nobody_who_waited_for_a_failed_flush_is_told_success(void **state)
{
    struct test_store *test = *state;
    struct crowd *crowd = crowd_begin(test, 20);
    struct kv_ref key = test_key(test, "later");

    engine_fault_arm(test->fault, ENGINE_FLUSH, 1, 1, -EIO); /* the second one: the first has begun */
    crowd_end(test, crowd, -EIO);
    test_expect_text(test, "k0", "v");                       /* it is there for all to see */
    assert_int_equal(kv_put(test->kv, &key, "later", 5), 0); /* kept by a flush of its own */
    assert_int_equal(kv_sync(test->kv), -EIO);
}

static void a_sync_tells_that_a_flush_has_failed(void **state)
{
    static const int errors[] = {-EIO, -ETIMEDOUT};

    (void)state;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        struct test_store *test = open_with(TEST_MEMORY, KV_DURABILITY_FSYNC, A_DAY_MS);

        test_put(test, "key", "old");
        assert_int_equal(kv_sync(test->kv), 0);
        test_put(test, "key", "new");
        engine_fault_arm(test->fault, ENGINE_FLUSH, 1, 1000, errors[i]);
        assert_int_equal(kv_sync(test->kv), errors[i]);
        test_expect_text(test, "key", "new");
        engine_fault_arm(test->fault, ENGINE_FLUSH, 0, 0, 0);
        test_put(test, "key", "newer");
        assert_int_equal(kv_sync(test->kv), errors[i]); /* what was lost stays lost */
        test_store_close(test);
    }
}

/* Also where nobody asked for the flush that failed. */
static void a_sync_tells_of_a_flush_that_failed_before(void **state)
{
    struct test_store *test;
    uint64_t before;

    (void)state;
    alarm(SECONDS);
    test = open_with(TEST_MEMORY, KV_DURABILITY_FSYNC, 1);
    assert_int_equal(kv_sync(test->kv), 0);
    before = flushes(test);
    engine_fault_arm(test->fault, ENGINE_FLUSH, 1, 1, -EIO);
    test_put(test, "key", "value");
    engine_fault_await(test->fault, ENGINE_FLUSH, before + 1);
    test_put(test, "key", "other");
    assert_int_equal(kv_sync(test->kv), -EIO);
    test_store_close(test);
}

/* returns what a process that has not noticed anything is told when it begins to change something */
static int change_in_another_process(const struct test_store *test)
{
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        struct lmdb_options options = {.create = false};
        struct engine_txn *txn;
        struct engine *engine;
        struct kv_error error;

        if (engine_lmdb_open(test->dir, &options, &engine, &error) < 0)
            _exit(200);
        _exit(-engine->ops->begin(engine, true, &txn));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return -WEXITSTATUS(status);
}

static void a_failed_disk_ends_all_changes_until_everybody_has_closed(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key"), kept = test_key(test, "kept");
    int rc;

    test_put(test, "kept", "kept");
    assert_int_equal(kv_sync(test->kv), 0);
    atomic_store(&disk_fails, true);
    rc = kv_put(test->kv, &key, "value", 5);
    assert_int_equal(rc, is_fsync(test) ? 0 : -EIO);
    assert_int_equal(kv_sync(test->kv), -EIO);
    atomic_store(&disk_fails, false); /* which tells nothing of what was written before */
    assert_int_equal(kv_put(test->kv, &key, "other", 5), -EIO);
    assert_int_equal(kv_sync(test->kv), -EIO);
    assert_int_equal(change_in_another_process(test), -EIO);
    test_expect_text(test, "kept", "kept");
    assert_true(others_see(test, &kept, "kept"));
    test_store_reopen(test);
    test_expect_text(test, "kept", "kept");
    assert_false(others_see(test, &key, "other"));
    test_put(test, "key", "again");
    assert_int_equal(kv_sync(test->kv), 0);
    test_expect_text(test, "key", "again");
}

/* ------------------------------------------------------------------------------ fairness */

static struct kv_node another_account(struct test_store *test, const char *name)
{
    struct kv_node account = test_make(test, KV_ACCOUNT, KV_ROOT_ID, name);

    return test_make(test, KV_NAMESPACE, account.id, "main");
}

static struct kv_ref numbered(const struct kv_node *namespace, int number)
{
    char key[16];
    int size = snprintf(key, sizeof(key), "k%d", number);

    return kv_ref_key(namespace->id, key, (size_t)size);
}

/* Submit LARGE puts of a size in each of some accounts, then one small one of another; all wait together.
 * returns  how many bytes of large values were committed before the small one */
static size_t bytes_before_a_small_put(struct test_store *test, unsigned accounts, size_t size)
{
    enum { LARGE = 6, ACCOUNTS = 3 };
    struct kv_node small_namespace = another_account(test, "small");
    struct item held, small, *large = calloc(LARGE * ACCOUNTS, sizeof(*large));
    struct kv_ref ref = numbered(&small_namespace, 0);
    struct tracker tracker;
    size_t before = 0;

    assert_non_null(large);
    tracker_init(&tracker);
    for (unsigned i = 0; i < accounts; i++) {
        struct kv_node namespace = another_account(test, (char[]){'l', (char)('0' + i), '\0'});

        for (int j = 0; j < LARGE; j++) {
            struct kv_ref at = numbered(&namespace, j);

            item_put(&large[i * LARGE + (unsigned)j], &tracker, &at, 'l', size);
        }
    }
    item_put(&small, &tracker, &ref, 's', 10);
    gate_close(test, &held, &tracker);
    for (unsigned i = 0; i < accounts * LARGE; i++)
        kv_submit(test->kv, &large[i].change);
    kv_submit(test->kv, &small.change);
    gate_open(test);
    wait_for(&tracker, accounts * LARGE + 2);
    assert_int_equal(small.rc, 0);
    kv_value_unref(small.change.value);
    for (unsigned i = 0; i < accounts * LARGE; i++) {
        assert_int_equal(large[i].rc, 0);
        if (i % LARGE > 0)
            assert_true(large[i].order > large[i - 1].order); /* each account's in its order */
        before += large[i].order < small.order ? size : 0;
        kv_value_unref(large[i].change.value);
    }
    free(large);
    return before;
}

static void many_large_puts_of_one_account_hold_up_no_small_one_of_another(void **state)
{
    assert_true(bytes_before_a_small_put(*state, 1, 5 * MIB) <= 5 * MIB);
}

static void large_puts_of_many_accounts_are_waited_for_once_each(void **state)
{
    assert_true(bytes_before_a_small_put(*state, 3, 5 * MIB) <= 3 * 5 * MIB);
}

/* Several that are not so large may come together. */
static void rather_large_puts_of_one_account_hold_up_others_for_8_mib(void **state)
{
    assert_true(bytes_before_a_small_put(*state, 1, 2 * MIB) <= 8 * MIB);
}

static void many_small_puts_of_one_account_hold_up_no_other(void **state)
{
    enum { PUTS = 3000, GROUP = 1024 };
    struct test_store *test = *state;
    struct kv_node flood = another_account(test, "flood"), other = another_account(test, "other");
    struct item held, small, large, *items = calloc(PUTS, sizeof(*items));
    struct kv_ref at_small = numbered(&other, 0), at_large = numbered(&test->namespace, 0);
    struct tracker tracker;

    assert_non_null(items);
    tracker_init(&tracker);
    gate_close(test, &held, &tracker);
    for (int i = 0; i < PUTS; i++) {
        struct kv_ref ref = numbered(&flood, i);

        item_put(&items[i], &tracker, &ref, 'f', 10);
        kv_submit(test->kv, &items[i].change);
    }
    item_put(&large, &tracker, &at_large, 'l', 5 * MIB);
    kv_submit(test->kv, &large.change);
    item_put(&small, &tracker, &at_small, 's', 10);
    kv_submit(test->kv, &small.change);
    gate_open(test);
    wait_for(&tracker, PUTS + 3);
    assert_int_equal(small.rc, 0);
    assert_int_equal(large.rc, 0);
    assert_true(small.order <= GROUP + 1); /* in the first group */
    assert_true(large.order <= GROUP + 1); /* right after it */
    for (int i = 0; i < PUTS; i++) {
        assert_int_equal(items[i].rc, 0);
        if (i > 0)
            assert_true(items[i].order > items[i - 1].order);
        kv_value_unref(items[i].change.value);
    }
    kv_value_unref(small.change.value);
    kv_value_unref(large.change.value);
    free(items);
}

static void large_and_small_puts_of_one_account_keep_their_order(void **state)
{
    enum { PUTS = 12 };
    struct test_store *test = *state;
    struct item held, items[PUTS];
    struct kv_ref ref = test_key(test, "key");
    struct tracker tracker;

    tracker_init(&tracker);
    gate_close(test, &held, &tracker);
    for (int i = 0; i < PUTS; i++) {
        item_put(&items[i], &tracker, &ref, 'a' + i, i % 2 == 0 ? 3 * MIB : 10);
        kv_submit(test->kv, &items[i].change);
    }
    gate_open(test);
    wait_for(&tracker, PUTS + 1);
    for (int i = 0; i < PUTS; i++) {
        assert_int_equal(items[i].rc, 0);
        assert_int_equal(items[i].order, i + 1);
        if (i > 0)
            assert_true(items[i].change.meta.version > items[i - 1].change.meta.version);
        kv_value_unref(items[i].change.value);
    }
    test_expect_text(test, "key", "llllllllll");
}

/* ------------------------------------------------------------------------------- threads */

enum { THREADS = 6, ROUNDS = 200 };

struct worker {
    struct test_store *test;
    int number, rc;
};

static int work_once(struct worker *worker, int round)
{
    char name[16], text[32];
    struct kv_value *value;
    struct kv_ref key;
    struct kv_meta meta;
    int rc;

    snprintf(name, sizeof(name), "t%d_%d", worker->number, round % 7);
    snprintf(text, sizeof(text), "%s: %d", name, round);
    key = test_key(worker->test, name);
    rc = kv_put(worker->test->kv, &key, text, strlen(text));
    if (rc == 0 && !others_see(worker->test, &key, text))
        return -EPROTO;
    if (rc == 0)
        rc = kv_get(worker->test->kv, &key, &meta, &value, NULL);
    if (rc < 0)
        return rc;
    if (value->size != strlen(text) || memcmp(value->data, text, value->size) != 0)
        rc = -EBADMSG;
    kv_value_unref(value);
    if (rc == 0 && round % 11 == 0)
        rc = kv_delete(worker->test->kv, &key);
    return rc == 0 && round % 37 == 0 ? kv_sync(worker->test->kv) : rc;
}

static void *work(void *arg)
{
    struct worker *worker = arg;

    for (int i = 0; i < ROUNDS && worker->rc == 0; i++)
        worker->rc = work_once(worker, i);
    return NULL;
}

static void threads_and_others_see_puts_when_they_are_done(void **state)
{
    struct worker workers[THREADS];
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){*state, i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].rc, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(what_is_done_is_seen_by_every_reader),
        ON_CLOSE_LMDB(what_is_done_is_seen_by_another_process),
        ON_FSYNC_LMDB(what_is_done_is_seen_by_another_process),
        ON_BOTH(a_result_says_what_is_stored),
        ON_FSYNC(without_fsync_nothing_is_flushed_and_nothing_waits_for_a_flush),
        ON_FSYNC_LMDB(without_fsync_nothing_is_flushed_and_nothing_waits_for_a_flush),
        ON_CLOSE(a_close_is_answered_after_the_flush_and_readers_do_not_wait_for_it),
        ON_CLOSE_LMDB(a_close_is_answered_after_the_flush_and_readers_do_not_wait_for_it),
        ON_ALL(what_is_refused_is_refused_at_once),
        ON_ALL(the_limit_of_an_account_is_exact),
        ON_BOTH(puts_that_wait_together_are_told_the_exact_limit),
        ON_BOTH(a_put_whose_account_cannot_be_found_says_why),
        ON_ALL(later_changes_find_what_is_done),
        ON_BOTH(every_put_has_a_version_of_its_own),
        ON_FSYNC(a_sync_flushes_all_that_is_done),
        ON_FSYNC_LMDB(a_sync_flushes_all_that_is_done),
        ON_FSYNC(a_sync_is_answered_after_the_flush_and_no_put_waits_for_it),
        ON_FSYNC_LMDB(a_sync_is_answered_after_the_flush_and_no_put_waits_for_it),
        ON_CLOSE(closes_that_come_during_a_flush_share_the_next_one),
        ON_CLOSE_LMDB(closes_that_come_during_a_flush_share_the_next_one),
        cmocka_unit_test(a_put_is_flushed_by_itself_after_the_interval),
        cmocka_unit_test(closing_the_store_flushes_what_is_done),
        ON_CLOSE_LMDB(closing_the_store_keeps_everything_and_tells_everybody),
        ON_FSYNC_LMDB(closing_the_store_keeps_everything_and_tells_everybody),
        ON_CLOSE(nobody_who_waited_for_a_failed_flush_is_told_success),
        cmocka_unit_test(a_sync_tells_that_a_flush_has_failed),
        cmocka_unit_test(a_sync_tells_of_a_flush_that_failed_before),
        ON_CLOSE_LMDB(a_failed_disk_ends_all_changes_until_everybody_has_closed),
        ON_FSYNC_LMDB(a_failed_disk_ends_all_changes_until_everybody_has_closed),
        ON_BOTH(many_large_puts_of_one_account_hold_up_no_small_one_of_another),
        ON_BOTH(large_puts_of_many_accounts_are_waited_for_once_each),
        ON_BOTH(rather_large_puts_of_one_account_hold_up_others_for_8_mib),
        ON_BOTH(many_small_puts_of_one_account_hold_up_no_other),
        ON_BOTH(large_and_small_puts_of_one_account_keep_their_order),
        ON_ALL(threads_and_others_see_puts_when_they_are_done),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
