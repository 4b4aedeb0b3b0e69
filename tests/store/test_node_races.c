/* What may come between two steps of one operation, each case by itself: the other node, or another thread of the
 * same node, acts exactly while a fetch, a listing or a commit of node `a` is under way.
 *
 * The rules: on a node nothing is served that is older than its own last acknowledged change of the key, or
 * than what a listing or a read has shown there, or that the central replaced a ttl ago. */
#include "tests/support/central.h"
#include "tests/support/store.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>

#define TTL_MS 60000

enum { TEXT = 16 };

struct race;
typedef void act(struct race *race);

struct node {
    struct kv_store *kv;
    struct engine *fault;
    struct race *race;
    enum test_moment moment;
    act *act; /* at the next `moment`; NULL: nothing */
};

struct race {
    struct test_central *central;
    struct engine *inner;
    struct kv_clock clock;
    _Atomic int64_t now_ns;
    struct node a, b;
    uint64_t namespace_id;
    int rc;           /* of what the act did */
    char shown[TEXT]; /* what the act read */

    struct kv_change late; /* a put that the act submitted */
    sem_t late_done;
};

static int64_t mono_ns(void *arg) { return atomic_load(&((struct race *)arg)->now_ns); }
static int64_t real_ns(void *arg) { return TEST_CLOCK_START_NS + mono_ns(arg); }

static void pass_ms(struct race *race, int64_t ms) { atomic_fetch_add(&race->now_ns, ms * 1000000); }

static void hook(void *arg, enum test_moment moment)
{
    struct node *node = arg;
    act *now = node->act;

    if (now == NULL || moment != node->moment)
        return;
    node->act = NULL;
    now(node->race);
}

/* Let this be done at the node's next such moment. */
static void arm(struct node *node, enum test_moment moment, act *what)
{
    node->moment = moment;
    node->act = what;
}

static void open_node(struct race *race, struct node *node, enum kv_durability durability)
{
    struct kv_options options = kv_options_default();
    struct kv_error error;

    node->race = race;
    assert_int_equal(engine_fault_open(test_central_share(race->central, hook, node), &node->fault), 0);
    options.clock = &race->clock;
    options.backend = test_backend(node->fault);
    options.durability = durability;
    options.commit_interval_ms = 3600 * 1000; /* until the test wants it */
    assert_int_equal(kv_open("node", &options, &node->kv, &error), 0);
}

static int open_race(void **state, enum kv_durability durability)
{
    struct race *race = calloc(1, sizeof(*race));
    struct kv_node account, namespace;

    assert_non_null(race);
    race->clock = (struct kv_clock){mono_ns, real_ns, race};
    atomic_store(&race->now_ns, 1000000000);
    assert_int_equal(engine_memory_open(&race->inner), 0);
    race->central = test_central_new(race->inner);
    open_node(race, &race->a, durability);
    open_node(race, &race->b, KV_DURABILITY_CLOSE);
    assert_int_equal(kv_node_make(race->a.kv, KV_ACCOUNT, KV_ROOT_ID, "acme", 0, &account), 0);
    assert_int_equal(kv_node_make(race->a.kv, KV_NAMESPACE, account.id, "main", 0, &namespace), 0);
    race->namespace_id = namespace.id;
    *state = race;
    return 0;
}

static int setup(void **state) { return open_race(state, KV_DURABILITY_CLOSE); }
static int setup_fsync(void **state) { return open_race(state, KV_DURABILITY_FSYNC); }

static int teardown(void **state)
{
    struct race *race = *state;

    kv_close(race->a.kv);
    kv_close(race->b.kv);
    test_expect_sound(race->inner);
    test_central_unref(race->central);
    free(race);
    return 0;
}

/* ------------------------------------------------------ what both threads do */

static struct kv_ref key(const struct race *race, const char *name)
{
    return kv_ref_key(race->namespace_id, name, strlen(name));
}

static int put(struct node *node, const char *name, const char *text)
{
    struct kv_ref ref = key(node->race, name);

    return kv_put(node->kv, &ref, text, strlen(text));
}

static int delete (struct node *node, const char *name)
{
    struct kv_ref ref = key(node->race, name);

    return kv_delete(node->kv, &ref);
}

static int rename_key(struct node *node, const char *from, const char *to, unsigned flags)
{
    struct kv_change change = {
        .kind = KV_RENAME, .ref = key(node->race, from), .to = key(node->race, to), .flags = flags};

    return kv_apply(node->kv, &change);
}

static int chmod_key(struct node *node, const char *name, uint32_t mode)
{
    struct kv_change change = {
        .kind = KV_SETATTR, .ref = key(node->race, name), .attr = {.mode = mode}, .attr_mask = KV_MODE};

    return kv_apply(node->kv, &change);
}

static int get(struct node *node, const char *name, char *text)
{
    struct kv_ref ref = key(node->race, name);
    struct kv_value *value;
    struct kv_meta meta;
    int rc = kv_get(node->kv, &ref, &meta, &value, NULL);

    if (rc < 0)
        return rc;
    memcpy(text, value->data, value->size);
    text[value->size] = '\0';
    kv_value_unref(value);
    return 0;
}

static int visit_nothing(void *arg, const char *name, size_t size, const struct kv_meta *meta)
{
    (void)arg;
    (void)name;
    (void)size;
    (void)meta;
    return 0;
}

static int list(struct node *node)
{
    return kv_scan(node->kv, node->race->namespace_id, "", 0, false, visit_nothing, NULL);
}

/* ------------------------------------------------------------- the test's own */

static void expect(struct node *node, const char *name, const char *text)
{
    char found[TEXT];

    assert_int_equal(get(node, name, found), 0);
    assert_string_equal(found, text);
}

static void expect_absent(struct node *node, const char *name)
{
    char found[TEXT];

    assert_int_equal(get(node, name, found), -ENOENT);
}

static void expect_mode(struct node *node, const char *name, uint32_t mode)
{
    struct kv_ref ref = key(node->race, name);
    struct kv_meta meta;

    assert_int_equal(kv_stat(node->kv, &ref, &meta, NULL), 0);
    assert_int_equal(meta.attr.mode, mode);
}

static void must(int rc) { assert_int_equal(rc, 0); }

static void must_have_acted(struct race *race, struct node *node)
{
    assert_null(node->act);
    assert_int_equal(race->rc, 0);
}

/* --------------------------------------------- a fetch while an own change lands */

static void a_puts_new(struct race *race) { race->rc = put(&race->a, "key", "new"); }
static void a_deletes(struct race *race) { race->rc = delete (&race->a, "key"); }
static void a_renames_other_to_key(struct race *race) { race->rc = rename_key(&race->a, "other", "key", 0); }
static void a_exchanges(struct race *race) { race->rc = rename_key(&race->a, "other", "key", KV_EXCHANGE); }
static void a_changes_mode(struct race *race) { race->rc = chmod_key(&race->a, "key", 0751); }

static void a_puts_in_vain(struct race *race)
{
    race->rc = put(&race->b, "key", "new");
    engine_fault_arm(race->a.fault, ENGINE_COMMIT, 1, 1, -EIO);
    if (put(&race->a, "key", "lost") != -EIO)
        race->rc = -EPROTO;
}

static void a_fetch_never_takes_back_an_own_change_that_landed_meanwhile(void **state)
{
    static act *const changes[] = {a_puts_new, a_deletes, a_renames_other_to_key, a_exchanges, a_puts_in_vain};
    static const char *const after[] = {"new", NULL, "other", "other", "new"};
    static const enum test_moment moments[] = {TEST_READ_BEGUN, TEST_READ_OVER};
    struct race *race = *state;

    for (size_t i = 0; i < 10; i++) {
        struct kv_ref ref = key(race, "key");
        char found[TEXT];

        must(put(&race->b, "key", "old"));
        must(put(&race->b, "other", "other"));
        kv_forget(race->a.kv, &ref);
        arm(&race->a, moments[i / 5], changes[i % 5]);
        must(get(&race->a, "key", found));
        must_have_acted(race, &race->a);
        if (after[i % 5] != NULL)
            expect(&race->a, "key", after[i % 5]);
        else
            expect_absent(&race->a, "key");
    }
}

static void a_fetch_of_metadata_never_takes_back_own_attributes(void **state)
{
    struct race *race = *state;
    struct kv_ref ref = key(race, "key");
    struct kv_meta meta;

    must(put(&race->b, "key", "old"));
    arm(&race->a, TEST_READ_OVER, a_changes_mode);
    must(kv_stat(race->a.kv, &ref, &meta, NULL));
    must_have_acted(race, &race->a);
    expect_mode(&race->a, "key", 0751);
    expect(&race->a, "key", "old");
}

/* ------------------------------------------- a listing while an own change lands */

static void a_listing_never_takes_back_an_own_change_that_landed_meanwhile(void **state)
{
    static act *const changes[] = {a_puts_new, a_deletes, a_renames_other_to_key, a_exchanges};
    static const char *const after[] = {"new", NULL, "other", "other"};
    struct race *race = *state;
    char found[TEXT];

    for (size_t i = 0; i < 8; i++) {
        must(put(&race->b, "key", "old"));
        must(put(&race->b, "other", "other"));
        pass_ms(race, TTL_MS);
        must(get(&race->a, "key", found));
        pass_ms(race, i < 4 ? 1 : 0); /* also where nothing tells the moments apart */
        arm(&race->a, TEST_READ_BEGUN, changes[i % 4]);
        must(list(&race->a));
        must_have_acted(race, &race->a);
        if (after[i % 4] != NULL)
            expect(&race->a, "key", after[i % 4]);
        else
            expect_absent(&race->a, "key");
    }
}

/* -------------------------------- what another node does before a commit is settled */

static void b_puts_and_a_lists(struct race *race)
{
    race->rc = put(&race->b, "key", "newer");
    if (race->rc == 0)
        race->rc = list(&race->a);
}

static void b_puts_and_a_reads(struct race *race)
{
    struct kv_ref ref = key(race, "key");

    race->rc = put(&race->b, "key", "newer");
    kv_forget(race->a.kv, &ref);
    if (race->rc == 0)
        race->rc = get(&race->a, "key", race->shown);
}

static void b_puts_and_a_forgets(struct race *race)
{
    struct kv_ref ref = key(race, "key");

    race->rc = put(&race->b, "key", "newer");
    kv_forget(race->a.kv, &ref);
}

static void what_was_shown_before_an_own_change_was_settled_is_not_taken_back(void **state)
{
    static act *const between[] = {b_puts_and_a_lists, b_puts_and_a_reads, b_puts_and_a_forgets};
    struct race *race = *state;

    for (size_t i = 0; i < 3; i++) {
        must(put(&race->a, "key", "old"));
        arm(&race->a, TEST_COMMITTED, between[i]);
        must(put(&race->a, "key", "own"));
        must_have_acted(race, &race->a);
        expect(&race->a, "key", "newer");

        arm(&race->a, TEST_COMMITTED, between[i]);
        must(delete (&race->a, "key"));
        must_have_acted(race, &race->a);
        expect(&race->a, "key", "newer");

        arm(&race->a, TEST_COMMITTED, between[i]);
        must(chmod_key(&race->a, "key", 0700));
        must_have_acted(race, &race->a);
        expect(&race->a, "key", "newer");
    }
}

static void b_puts_and_half_a_ttl_passes(struct race *race)
{
    race->rc = put(&race->b, "key", "newer");
    pass_ms(race, TTL_MS / 2);
}

static void an_own_change_is_served_for_a_ttl_from_its_commit_and_not_from_its_acknowledgement(void **state)
{
    struct race *race = *state;

    must(put(&race->a, "key", "old"));
    arm(&race->a, TEST_COMMITTED, b_puts_and_half_a_ttl_passes);
    must(put(&race->a, "key", "own"));
    must_have_acted(race, &race->a);
    pass_ms(race, TTL_MS / 2);
    expect(&race->a, "key", "newer");

    arm(&race->a, TEST_COMMITTED, b_puts_and_half_a_ttl_passes);
    must(delete (&race->a, "key"));
    must_have_acted(race, &race->a);
    pass_ms(race, TTL_MS / 2);
    expect(&race->a, "key", "newer");
}

static void a_reads_other(struct race *race) { race->rc = get(&race->a, "other", race->shown); }

static void a_rename_shows_whole_values_before_it_is_settled(void **state)
{
    struct race *race = *state;

    must(put(&race->a, "key", "one"));
    must(put(&race->a, "other", "two"));
    arm(&race->a, TEST_COMMITTED, a_reads_other);
    must(rename_key(&race->a, "key", "other", KV_EXCHANGE));
    must_have_acted(race, &race->a);
    assert_true(strcmp(race->shown, "one") == 0 || strcmp(race->shown, "two") == 0);
    expect(&race->a, "key", "two");
    expect(&race->a, "other", "one");
}

/* ------------------------------------------------------- puts with either durability */

static void tell_the_test(struct kv_change *change, int rc)
{
    (void)rc;
    sem_post(change->arg);
}

/* It waits behind what the committer is at. */
static void a_submits_new(struct race *race)
{
    race->late = (struct kv_change){.kind = KV_PUT, .attr = {.mode = 0644}, .done = tell_the_test};
    race->late.ref = key(race, "key");
    race->late.arg = &race->late_done;
    sem_init(&race->late_done, 0, 0);
    race->rc = kv_value_copy("new", 3, &race->late.value);
    if (race->rc == 0)
        kv_submit(race->a.kv, &race->late);
}

static void wait_for_late(struct race *race)
{
    sem_wait(&race->late_done);
    sem_destroy(&race->late_done);
    kv_value_unref(race->late.value);
}

static void a_put_after_a_rename_makes_an_object_of_its_own(void **state)
{
    struct race *race = *state;
    struct kv_ref from = key(race, "key"), to = key(race, "moved");
    struct kv_meta first, second;

    must(put(&race->a, "key", "old"));
    must(kv_sync(race->a.kv));
    arm(&race->a, TEST_WRITE_WANTED, a_submits_new);
    must(rename_key(&race->a, "key", "moved", 0));
    must_have_acted(race, &race->a);
    wait_for_late(race);
    expect(&race->a, "key", "new");
    must(kv_sync(race->a.kv));
    expect(&race->a, "key", "new");
    must(kv_stat(race->b.kv, &from, &first, NULL));
    must(kv_stat(race->b.kv, &to, &second, NULL));
    assert_int_not_equal(first.attr.ino, second.attr.ino);
}

static void attributes_changed_before_a_put_stay_changed(void **state)
{
    struct race *race = *state;

    must(put(&race->a, "key", "old"));
    must(kv_sync(race->a.kv));
    arm(&race->a, TEST_WRITE_WANTED, a_submits_new);
    must(chmod_key(&race->a, "key", 0751));
    must_have_acted(race, &race->a);
    expect_mode(&race->a, "key", 0751);
    wait_for_late(race);
    expect(&race->a, "key", "new");
    expect_mode(&race->a, "key", 0751);
    must(kv_sync(race->a.kv));
    expect_mode(&race->a, "key", 0751);
}

/* Where a flush is far away, too. */
static void a_put_is_shown_by_every_node_when_it_is_done(void **state)
{
    struct race *race = *state;
    uint64_t flushes = engine_fault_calls(race->a.fault, ENGINE_FLUSH);

    must(put(&race->a, "key", "new"));
    expect(&race->a, "key", "new");
    expect(&race->b, "key", "new");
    assert_int_equal(engine_fault_calls(race->a.fault, ENGINE_FLUSH), flushes);
    must(kv_sync(race->a.kv));
    assert_true(engine_fault_calls(race->a.fault, ENGINE_FLUSH) > flushes);
}

static void b_puts_newer(struct race *race) { race->rc = put(&race->b, "key", "newer"); }

/* Its own put is done, but the disk does not have it yet: another node's goes on top of it. */
static void a_put_of_another_node_before_the_flush_is_not_taken_back(void **state)
{
    struct race *race = *state;

    must(put(&race->a, "key", "own"));
    arm(&race->a, TEST_FLUSH_WANTED, b_puts_newer);
    must(kv_sync(race->a.kv));
    must_have_acted(race, &race->a);
    expect(&race->b, "key", "newer");
    pass_ms(race, TTL_MS);
    expect(&race->a, "key", "newer");
}

static void a_and_b_read_key(struct race *race)
{
    char other[TEXT];

    race->rc = get(&race->a, "key", race->shown);
    if (race->rc == 0)
        race->rc = get(&race->b, "key", other);
    if (race->rc == 0 && (strcmp(race->shown, "new") != 0 || strcmp(other, "new") != 0))
        race->rc = -EPROTO;
}

/* KV_DURABILITY_CLOSE: who put it is told after the flush; who reads sees it before. */
static void a_committed_put_is_shown_while_its_flush_goes_on(void **state)
{
    struct race *race = *state;

    must(put(&race->a, "key", "old"));
    arm(&race->a, TEST_FLUSH_WANTED, a_and_b_read_key);
    must(put(&race->a, "key", "new"));
    must_have_acted(race, &race->a);
}

/* The fetch of a key, under way since before: what it found was replaced by the time that it is told. */
static void attributes_changed_while_a_put_is_fetched_for_stay_changed(void **state)
{
    struct race *race = *state;
    struct kv_ref ref = key(race, "key");
    struct kv_meta meta;

    must(put(&race->a, "key", "old"));
    kv_forget(race->a.kv, &ref);
    arm(&race->a, TEST_READ_OVER, a_changes_mode);
    must(kv_stat(race->a.kv, &ref, &meta, NULL));
    must_have_acted(race, &race->a);
    must(put(&race->a, "key", "new"));
    expect(&race->a, "key", "new");
    expect_mode(&race->a, "key", 0751);
    expect_mode(&race->b, "key", 0751);
}

static void a_reads_first(struct race *race)
{
    race->rc = get(&race->a, "key", race->shown);
    if (race->rc == 0 && strcmp(race->shown, "first") != 0)
        race->rc = -EPROTO;
}

/* Another change is under way, so the put of the same key waits for its turn. */
static void a_submits_new_and_reads(struct race *race)
{
    a_submits_new(race);
    a_reads_first(race);
    arm(&race->a, TEST_WRITE_WANTED, a_reads_first); /* the first is settled, the second is next */
}

static void a_put_that_has_to_wait_is_not_shown_before_its_commit(void **state)
{
    struct race *race = *state;

    must(put(&race->a, "other", "other"));
    must(put(&race->a, "key", "first"));
    arm(&race->a, TEST_WRITE_WANTED, a_submits_new_and_reads);
    must(chmod_key(&race->a, "other", 0751));
    wait_for_late(race);
    must_have_acted(race, &race->a);
    expect(&race->a, "key", "new");
    expect(&race->b, "key", "new");
}

static void a_put_is_in_the_cache_when_it_is_done_and_stays_there(void **state)
{
    struct race *race = *state;
    uint64_t reads;

    must(put(&race->a, "key", "value"));
    reads = engine_fault_calls(race->a.fault, ENGINE_BEGIN_READ);
    expect(&race->a, "key", "value");
    must(kv_sync(race->a.kv));
    expect(&race->a, "key", "value");
    assert_int_equal(engine_fault_calls(race->a.fault, ENGINE_BEGIN_READ), reads);
}

struct chain {
    struct kv_change first, second;
    struct node *node;
    sem_t done;
};

static void submit_second(struct kv_change *change, int rc)
{
    struct chain *chain = change->arg;

    (void)rc;
    kv_submit(chain->node->kv, &chain->second);
}

static void a_done_change_may_submit_a_put(void **state)
{
    struct race *race = *state;
    struct timespec limit;
    struct chain chain = {.first = {.kind = KV_DELETE, .done = submit_second},
                          .second = {.kind = KV_PUT, .done = tell_the_test},
                          .node = &race->a};

    chain.first.ref = key(race, "other");
    chain.first.arg = &chain;
    chain.second.ref = key(race, "key");
    chain.second.arg = &chain.done;
    sem_init(&chain.done, 0, 0);
    must(kv_value_copy("value", 5, &chain.second.value));
    kv_submit(race->a.kv, &chain.first);
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 60;
    if (sem_timedwait(&chain.done, &limit) < 0)
        abort(); /* the committer waits for itself: the store cannot be closed any more */
    expect(&race->a, "key", "value");
    kv_value_unref(chain.second.value);
    sem_destroy(&chain.done);
}

/* ------------------------------------------------------------ what is newest */

static int get_newest(struct node *node, const char *name, char *text)
{
    struct kv_ref ref = key(node->race, name);
    struct kv_value *value;
    struct kv_meta meta;
    int rc = kv_get_newest(node->kv, &ref, &meta, &value);

    if (rc < 0)
        return rc;
    assert_int_equal(meta.size, value->size);
    memcpy(text, value->data, value->size);
    text[value->size] = '\0';
    kv_value_unref(value);
    return 0;
}

static void expect_newest(struct node *node, const char *name, const char *text)
{
    char found[TEXT];

    assert_int_equal(get_newest(node, name, found), 0);
    assert_string_equal(found, text);
}

static void the_newest_is_what_the_central_has_and_is_known_from_then_on(void **state)
{
    struct race *race = *state;
    struct kv_ref ref = key(race, "key");
    struct kv_meta meta;
    char found[TEXT];

    must(put(&race->a, "key", "old"));
    must(put(&race->b, "key", "new"));
    expect(&race->a, "key", "old");
    expect_newest(&race->a, "key", "new");
    expect(&race->a, "key", "new");
    must(chmod_key(&race->b, "key", 0751));
    must(kv_get_newest(race->a.kv, &ref, &meta, NULL));
    assert_int_equal(meta.attr.mode, 0751);
    expect_mode(&race->a, "key", 0751);
    must(delete (&race->b, "key"));
    assert_int_equal(get_newest(&race->a, "key", found), -ENOENT);
    expect_absent(&race->a, "key");
    must(put(&race->b, "key", "back"));
    expect_newest(&race->a, "key", "back");
}

static void the_newest_value_is_not_read_again_where_it_is_known(void **state)
{
    struct race *race = *state;
    struct kv_ref ref = key(race, "large");
    struct kv_value *first, *value;
    struct kv_meta meta;
    uint64_t gets;

    must(kv_value_new(1 << 20, &value));
    must(kv_put(race->b.kv, &ref, value->data, value->size));
    kv_value_unref(value);
    must(kv_get(race->a.kv, &ref, &meta, &first, NULL));
    pass_ms(race, 2 * TTL_MS); /* however old it is */
    gets = engine_fault_calls(race->a.fault, ENGINE_GET);
    must(kv_get_newest(race->a.kv, &ref, &meta, &value));
    assert_int_equal(engine_fault_calls(race->a.fault, ENGINE_GET), gets + 1);
    assert_ptr_equal(value, first);
    kv_value_unref(value);
    kv_value_unref(first);
}

static void b_puts_and_a_asks_for_the_newest(struct race *race)
{
    race->rc = put(&race->b, "key", "new");
    if (race->rc == 0)
        race->rc = get_newest(&race->a, "key", race->shown);
}

static void the_newest_is_not_what_a_read_under_way_has_found(void **state)
{
    struct race *race = *state;
    struct kv_ref ref = key(race, "key");
    char found[TEXT];

    must(put(&race->b, "key", "old"));
    arm(&race->a, TEST_READ_OVER, b_puts_and_a_asks_for_the_newest);
    must(get(&race->a, "key", found));
    must_have_acted(race, &race->a);
    assert_string_equal(race->shown, "new");
    expect(&race->a, "key", "new");
    kv_forget(race->a.kv, &ref);
}

static void the_newest_never_takes_back_an_own_change_that_landed_meanwhile(void **state)
{
    static act *const changes[] = {a_puts_new, a_deletes, a_renames_other_to_key, a_exchanges, a_puts_in_vain};
    static const char *const after[] = {"new", NULL, "other", "other", "new"};
    static const enum test_moment moments[] = {TEST_READ_BEGUN, TEST_READ_OVER};
    struct race *race = *state;
    char found[TEXT];

    for (size_t i = 0; i < 10; i++) {
        must(put(&race->b, "key", "old"));
        must(put(&race->b, "other", "other"));
        arm(&race->a, moments[i / 5], changes[i % 5]);
        must(get_newest(&race->a, "key", found));
        must_have_acted(race, &race->a);
        if (after[i % 5] != NULL)
            expect(&race->a, "key", after[i % 5]);
        else
            expect_absent(&race->a, "key");
    }
}

/* The disk need not have it. */
static void a_put_is_the_newest_when_it_is_done(void **state)
{
    struct race *race = *state;

    must(put(&race->b, "key", "old"));
    expect(&race->a, "key", "old");
    must(put(&race->a, "key", "new"));
    expect_newest(&race->a, "key", "new");
    expect_newest(&race->b, "key", "new");
}

#define ON_CLOSE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define ON_FSYNC(f)                                   \
    {                                                 \
#f " (fsync)", f, setup_fsync, teardown, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_CLOSE(a_fetch_never_takes_back_an_own_change_that_landed_meanwhile),
        ON_CLOSE(a_fetch_of_metadata_never_takes_back_own_attributes),
        ON_CLOSE(a_listing_never_takes_back_an_own_change_that_landed_meanwhile),
        ON_CLOSE(what_was_shown_before_an_own_change_was_settled_is_not_taken_back),
        ON_CLOSE(an_own_change_is_served_for_a_ttl_from_its_commit_and_not_from_its_acknowledgement),
        ON_CLOSE(a_rename_shows_whole_values_before_it_is_settled),
        ON_CLOSE(the_newest_is_what_the_central_has_and_is_known_from_then_on),
        ON_CLOSE(the_newest_value_is_not_read_again_where_it_is_known),
        ON_CLOSE(the_newest_is_not_what_a_read_under_way_has_found),
        ON_CLOSE(the_newest_never_takes_back_an_own_change_that_landed_meanwhile),
        ON_CLOSE(a_committed_put_is_shown_while_its_flush_goes_on),
        ON_CLOSE(a_put_after_a_rename_makes_an_object_of_its_own),
        ON_FSYNC(a_put_after_a_rename_makes_an_object_of_its_own),
        ON_FSYNC(a_fetch_never_takes_back_an_own_change_that_landed_meanwhile),
        ON_FSYNC(a_listing_never_takes_back_an_own_change_that_landed_meanwhile),
        ON_FSYNC(what_was_shown_before_an_own_change_was_settled_is_not_taken_back),
        ON_FSYNC(an_own_change_is_served_for_a_ttl_from_its_commit_and_not_from_its_acknowledgement),
        ON_FSYNC(a_put_is_shown_by_every_node_when_it_is_done),
        ON_FSYNC(a_put_of_another_node_before_the_flush_is_not_taken_back),
        ON_FSYNC(a_put_is_the_newest_when_it_is_done),
        ON_CLOSE(attributes_changed_before_a_put_stay_changed),
        ON_FSYNC(attributes_changed_before_a_put_stay_changed),
        ON_FSYNC(attributes_changed_while_a_put_is_fetched_for_stay_changed),
        ON_CLOSE(a_put_that_has_to_wait_is_not_shown_before_its_commit),
        ON_FSYNC(a_put_that_has_to_wait_is_not_shown_before_its_commit),
        ON_CLOSE(a_put_is_in_the_cache_when_it_is_done_and_stays_there),
        ON_FSYNC(a_put_is_in_the_cache_when_it_is_done_and_stays_there),
        ON_CLOSE(a_done_change_may_submit_a_put),
        ON_FSYNC(a_done_change_may_submit_a_put),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
