/* The contract of the seam, the same for every backend: LMDB, memory, either behind one that answers late. */
#include "tests/support/backend_late.h"
#include "tests/support/store.h"

#include "store/backend.h"
#include "store/base/record.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SECOND ((int64_t)1000000000)

static int64_t real_ns(void *arg)
{
    (void)arg;
    return TEST_CLOCK_START_NS;
}

static const struct kv_clock still = {real_ns, real_ns, NULL};

struct seam {
    struct backend *backend;
    bool late;
    char dir[256]; /* of LMDB */
    uint64_t account, namespace;
};

/* ------------------------------------------------------------------------- short forms */

static int ask(struct seam *seam, enum backend_kind kind, struct backend_call *call)
{
    return backend_ask(seam->backend, kind, 10 * SECOND, call);
}

/* The changes lie one after the other. */
static int submit(struct seam *seam, struct kv_change *changes, size_t count, bool whole)
{
    struct backend_submit submit = {.changes = changes, .count = count, .whole = whole, .clock = &still};

    for (size_t i = 0; i < count; i++)
        changes[i].next = i + 1 < count ? &changes[i + 1] : NULL;
    return ask(seam, BACKEND_SUBMIT, &submit.call);
}

static uint64_t make(struct seam *seam, enum kv_node_kind kind, uint64_t parent, const char *name)
{
    struct kv_change change = {.kind = KV_NODE_CREATE};

    change.node.kind = kind;
    change.node.parent = parent;
    change.node.attr.mode = 0700;
    snprintf(change.node.name, sizeof(change.node.name), "%s", name);
    assert_int_equal(submit(seam, &change, 1, false), 0);
    assert_int_equal(change.rc, 0);
    return change.node.id;
}

static struct kv_ref key_of(const struct seam *seam, const char *key)
{
    return kv_ref_key(seam->namespace, key, strlen(key));
}

/* The value is the caller's to give back. */
static struct kv_change put_of(const struct seam *seam, const char *key, const char *text)
{
    struct kv_change change = {.kind = KV_PUT, .ref = key_of(seam, key), .attr.mode = 0644};

    assert_int_equal(kv_value_copy(text, strlen(text), &change.value), 0);
    change.checksum = record_checksum(change.value->data, change.value->size);
    return change;
}

static void put(struct seam *seam, const char *key, const char *text)
{
    struct kv_change change = put_of(seam, key, text);

    assert_int_equal(submit(seam, &change, 1, false), 0);
    assert_int_equal(change.rc, 0);
    kv_value_unref(change.value);
}

static int get(struct seam *seam, const char *key, struct kv_meta *meta, struct kv_value **value)
{
    struct kv_ref ref = key_of(seam, key);
    struct backend_get get = {.ref = &ref, .want_value = value != NULL, .meta = *meta};
    int rc;

    if (value != NULL)
        get.value = *value;
    rc = ask(seam, BACKEND_GET, &get.call);
    *meta = get.meta;
    if (value != NULL)
        *value = get.value;
    return rc;
}

static void expect(struct seam *seam, const char *key, const char *text)
{
    struct kv_value *value = NULL;
    struct kv_meta meta = {.size = 0};
    int rc = get(seam, key, &meta, &value);

    assert_int_equal(rc, text != NULL ? 0 : -ENOENT);
    if (text == NULL)
        return;
    assert_int_equal(value->size, strlen(text));
    assert_memory_equal(value->data, text, value->size);
    assert_int_equal(meta.size, value->size);
    kv_value_unref(value);
}

/* ------------------------------------------------------------------------ opening */

static int begin(void **state, enum test_engine kind, bool late)
{
    struct seam *seam = calloc(1, sizeof(*seam));
    struct backend_format format = {.create = false, .now_ns = TEST_CLOCK_START_NS};
    struct kv_error error = {""};
    struct engine *engine;

    assert_non_null(seam);
    if (kind == TEST_LMDB) {
        const char *parent = getenv("TMPDIR");

        snprintf(seam->dir, sizeof(seam->dir), "%s/kvfs-test-XXXXXX", parent != NULL ? parent : "/tmp");
        assert_non_null(mkdtemp(seam->dir));
        assert_int_equal(engine_lmdb_open(seam->dir, &(struct lmdb_options){.create = true}, &engine, &error), 0);
    } else {
        assert_int_equal(engine_memory_open(&engine), 0);
    }
    seam->backend = test_backend(engine);
    seam->late = late;
    if (late)
        assert_int_equal(backend_late_new(seam->backend, &seam->backend), 0);
    *state = seam;

    assert_int_equal(ask(seam, BACKEND_FORMAT, &format.call), -EIO); /* nothing there */
    format.create = true;
    assert_int_equal(ask(seam, BACKEND_FORMAT, &format.call), 0);
    format.create = false;
    format.version = 0;
    assert_int_equal(ask(seam, BACKEND_FORMAT, &format.call), 0);
    assert_int_equal(format.version, 2);
    seam->account = make(seam, KV_ACCOUNT, KV_ROOT_ID, "a");
    seam->namespace = make(seam, KV_NAMESPACE, seam->account, "n");
    return 0;
}

static int begin_memory(void **state) { return begin(state, TEST_MEMORY, false); }
static int begin_lmdb(void **state) { return begin(state, TEST_LMDB, false); }
static int begin_late(void **state) { return begin(state, TEST_MEMORY, true); }
static int begin_late_lmdb(void **state) { return begin(state, TEST_LMDB, true); }

/* Whatever a test did, all holds together at its end. */
static int end(void **state)
{
    struct seam *seam = *state;
    struct kv_check_options options = {.fast = false};
    struct kv_check_report report;
    struct backend_check check = {.options = &options, .report = &report};

    assert_int_equal(ask(seam, BACKEND_CHECK, &check.call), 0);
    assert_int_equal(report.findings, 0);
    seam->backend->ops->close(seam->backend);
    if (seam->dir[0] != '\0')
        test_remove_tree(seam->dir);
    free(seam);
    return 0;
}

/* ------------------------------------------------------------------------ reading */

static void what_is_not_there_is_told_as_that(void **state)
{
    struct seam *seam = *state;
    struct kv_ref ref = kv_ref_node(123456);
    struct kv_xattrs xattrs;
    struct kv_node node;
    struct backend_node find = {.id = KV_ROOT_ID, .name = "b", .size = 1, .node = &node};
    struct backend_xattrs of = {.ref = &ref, .xattrs = &xattrs};
    struct backend_list list = {.parent = 123456, .from = ""};

    expect(seam, "no_such_key", NULL);
    assert_int_equal(ask(seam, BACKEND_CHILD, &find.call), -ENOENT);
    find.id = 123456;
    assert_int_equal(ask(seam, BACKEND_NODE, &find.call), -ENOENT);
    assert_int_equal(ask(seam, BACKEND_XATTRS, &of.call), -ENOENT);
    assert_int_equal(ask(seam, BACKEND_LIST_KEYS, &list.call), -ENOENT);
    assert_int_equal(ask(seam, BACKEND_LIST_NODES, &list.call), -ENOENT);
}

static void a_value_that_the_reader_has_stays_while_it_is_the_newest(void **state)
{
    struct seam *seam = *state;
    struct kv_meta meta = {.size = 0};
    struct kv_value *value = NULL, *first;

    put(seam, "k", "one");
    assert_int_equal(get(seam, "k", &meta, &value), 0);
    first = value;
    assert_int_equal(get(seam, "k", &meta, &value), 0);
    assert_ptr_equal(value, first);
    put(seam, "k", "two");
    assert_int_equal(get(seam, "k", &meta, &value), 0);
    assert_memory_equal(value->data, "two", 3);
    assert_int_equal(get(seam, "gone", &meta, &value), -ENOENT);
    assert_null(value); /* it was given back */
}

struct names {
    char text[256];
    int stop_after;
};

static int note_key(void *arg, const char *key, size_t size, const struct kv_meta *meta)
{
    struct names *names = arg;

    (void)meta;
    snprintf(names->text + strlen(names->text), sizeof(names->text) - strlen(names->text), "%.*s ", (int)size,
             key);
    return --names->stop_after == 0 ? 7 : 0;
}

static int note_node(void *arg, const struct kv_node *node)
{
    return note_key(arg, node->name, strlen(node->name), NULL);
}

static void keys_are_listed_in_order_from_where_the_reader_wants(void **state)
{
    struct seam *seam = *state;
    struct names names = {"", 0};
    struct backend_list list = {.parent = seam->namespace, .from = "", .visit_key = note_key, .arg = &names};

    put(seam, "c", "");
    put(seam, "a", "");
    put(seam, "b", "");
    assert_int_equal(ask(seam, BACKEND_LIST_KEYS, &list.call), 0);
    assert_string_equal(names.text, "a b c ");
    names = (struct names){"", 0};
    list.from = "b";
    list.size = 1;
    assert_int_equal(ask(seam, BACKEND_LIST_KEYS, &list.call), 0);
    assert_string_equal(names.text, "b c ");
    names = (struct names){"", 0};
    list.after = true;
    assert_int_equal(ask(seam, BACKEND_LIST_KEYS, &list.call), 0);
    assert_string_equal(names.text, "c ");
    names = (struct names){"", 1};
    list.size = 0;
    list.after = false;
    list.from = "";
    assert_int_equal(ask(seam, BACKEND_LIST_KEYS, &list.call), 7); /* the visitor's answer */
    assert_string_equal(names.text, "a ");
}

static void nodes_are_found_and_listed(void **state)
{
    struct seam *seam = *state;
    struct names names = {"", 0};
    struct kv_node node;
    struct backend_node find = {.id = seam->account, .name = "n", .size = 1, .node = &node};
    struct backend_list list = {.parent = seam->account, .from = "", .visit_node = note_node, .arg = &names};
    struct kv_seen seen = {seam->account, 0700, 0, 0};
    struct backend_seen check = {.seen = &seen, .count = 1};

    assert_int_equal(ask(seam, BACKEND_CHILD, &find.call), 0);
    assert_int_equal(node.id, seam->namespace);
    assert_int_equal(ask(seam, BACKEND_LIST_NODES, &list.call), 0);
    assert_string_equal(names.text, ".projects n ");
    assert_int_equal(ask(seam, BACKEND_SEEN, &check.call), 0);
    assert_int_equal(check.usage.account, seam->account);
    seen.mode = 0755;
    assert_int_equal(ask(seam, BACKEND_SEEN, &check.call), -ESTALE);
}

/* ----------------------------------------------------------------------- changing */

static void each_change_of_a_group_has_its_own_verdict(void **state)
{
    struct seam *seam = *state;
    struct kv_change changes[] = {put_of(seam, "one", "1"),
                                  {.kind = KV_DELETE, .ref = key_of(seam, "no_such_key")},
                                  put_of(seam, "two", "2"),
                                  {.kind = KV_DELETE, .ref = key_of(seam, "one")}};

    assert_int_equal(submit(seam, changes, 4, false), 0);
    assert_int_equal(changes[0].rc, 0);
    assert_int_equal(changes[1].rc, -ENOENT);
    assert_int_equal(changes[2].rc, 0);
    assert_int_equal(changes[3].rc, 0); /* it saw what the first did */
    assert_true(changes[2].meta.version != 0);
    expect(seam, "one", NULL);
    expect(seam, "two", "2");
    kv_value_unref(changes[0].value);
    kv_value_unref(changes[2].value);
}

static void of_a_whole_group_all_is_done_or_nothing(void **state)
{
    struct seam *seam = *state;
    struct kv_change changes[] = {put_of(seam, "one", "1"),
                                  {.kind = KV_DELETE, .ref = key_of(seam, "no_such_key")},
                                  put_of(seam, "two", "2")};

    assert_int_equal(submit(seam, changes, 3, true), -EAGAIN);
    assert_int_equal(changes[1].rc, -ENOENT);
    expect(seam, "one", NULL);
    expect(seam, "two", NULL);
    put(seam, "no_such_key", "");
    assert_int_equal(submit(seam, changes, 3, true), 0); /* the same ones again */
    expect(seam, "one", "1");
    expect(seam, "no_such_key", NULL);
    expect(seam, "two", "2");
    kv_value_unref(changes[0].value);
    kv_value_unref(changes[2].value);
}

static void conditions_and_limits_are_exact(void **state)
{
    struct seam *seam = *state;
    struct kv_change limits = {.kind = KV_NODE_LIMITS};
    struct kv_change change = put_of(seam, "k", "12345678");
    struct kv_ref ref = key_of(seam, "l");
    struct backend_quota quota = {.ref = &ref, .size = 7};

    limits.node = (struct kv_node){.id = seam->account, .limit_bytes = 17, .limit_namespaces = 1};
    assert_int_equal(submit(seam, &limits, 1, false), 0);
    change.conditional = true;
    assert_int_equal(submit(seam, &change, 1, false), 0);
    assert_int_equal(change.rc, 0); /* 9 of 17 bytes */
    assert_int_equal(submit(seam, &change, 1, false), 0);
    assert_int_equal(change.rc, -EEXIST);
    assert_int_equal(ask(seam, BACKEND_QUOTA, &quota.call), 0); /* 17 */
    quota.size = 8;
    assert_int_equal(ask(seam, BACKEND_QUOTA, &quota.call), -EDQUOT);
    change.ref = ref;
    assert_int_equal(submit(seam, &change, 1, false), 0);
    assert_int_equal(change.rc, -EDQUOT);
    expect(seam, "l", NULL);
    kv_value_unref(change.value);
}

static void large_values_are_put_and_read_whole(void **state)
{
    struct seam *seam = *state;
    struct kv_change change = {.kind = KV_PUT, .ref = key_of(seam, "large"), .attr.mode = 0644};
    struct kv_meta meta = {.size = 0};
    struct kv_value *value = NULL;

    assert_int_equal(kv_value_new(3000001, &change.value), 0);
    for (size_t i = 0; i < change.value->size; i++)
        change.value->data[i] = (uint8_t)(i * 7 + (i >> 9));
    change.checksum = record_checksum(change.value->data, change.value->size);
    assert_int_equal(submit(seam, &change, 1, false), 0);
    assert_int_equal(change.rc, 0);
    assert_int_equal(get(seam, "large", &meta, &value), 0);
    assert_int_equal(value->size, change.value->size);
    assert_memory_equal(value->data, change.value->data, value->size);
    kv_value_unref(value);
    kv_value_unref(change.value);
}

static void a_flush_and_a_rest_are_answered(void **state)
{
    struct backend_call call = {.arg = NULL};

    put(*state, "k", "1");
    assert_int_equal(ask(*state, BACKEND_FLUSH, &call), 0);
    assert_int_equal(ask(*state, BACKEND_REST, &call), 0);
    expect(*state, "k", "1");
    put(*state, "k", "2"); /* after a rest, too */
    expect(*state, "k", "2");
}

/* ---------------------------------------------------------------------- following */

static int note_changed(void *arg, const struct kv_changed *changed)
{
    struct names *names = arg;

    if (changed->kind == KV_CHANGED_KEY)
        snprintf(names->text + strlen(names->text), sizeof(names->text) - strlen(names->text), "%s%s ",
                 changed->removed ? "-" : "+", changed->ref.key);
    return 0;
}

static void changes_are_followed_in_their_order(void **state)
{
    struct seam *seam = *state;
    struct kv_change gone = {.kind = KV_DELETE, .ref = key_of(seam, "a")};
    struct names names = {"", 0};
    struct kv_feed place = {.seq = 0};
    struct backend_follow follow = {.place = &place, .own = true, .visit = note_changed, .arg = &names};
    uint64_t epoch = seam->backend->ops->epoch(seam->backend);

    if (!seam->backend->follows) { /* nobody else changes anything */
        put(seam, "a", "1");
        assert_int_equal(seam->backend->ops->epoch(seam->backend), epoch);
        return;
    }
    assert_int_equal(ask(seam, BACKEND_FOLLOW, &follow.call), 0);
    assert_string_equal(names.text, "");
    assert_int_equal(seam->backend->ops->wait(seam->backend, place.epoch, 1000000), -ETIMEDOUT);
    put(seam, "a", "1");
    put(seam, "b", "2");
    assert_int_equal(submit(seam, &gone, 1, false), 0);
    assert_int_not_equal(seam->backend->ops->epoch(seam->backend), epoch);
    assert_int_equal(seam->backend->ops->wait(seam->backend, place.epoch, 10 * SECOND), 0);
    assert_int_equal(ask(seam, BACKEND_FOLLOW, &follow.call), 0);
    assert_string_equal(names.text, "+a +b -a ");
    assert_int_equal(ask(seam, BACKEND_FOLLOW, &follow.call), 0);
    assert_string_equal(names.text, "+a +b -a ");
}

/* ----------------------------------------------------- late answers, and none in time */

static struct kv_store *open_late(struct seam *seam, int64_t timeout_ms)
{
    struct kv_options options = kv_options_default();
    struct kv_error error = {""};
    struct kv_store *kv;

    options.backend = seam->backend;
    options.commit_timeout_ms = timeout_ms;
    options.cache_ttl_ms = 0;
    assert_int_equal(kv_open("late", &options, &kv, &error), 0);
    return kv;
}

static void a_call_without_an_answer_in_time_ends_and_nothing_is_done(void **state)
{
    struct seam *seam = *state;
    struct kv_ref ref = key_of(seam, "k");
    struct kv_store *kv = open_late(seam, 200);
    struct kv_value *value;
    struct kv_meta meta;

    assert_int_equal(kv_put(kv, &ref, "1", 1), 0);
    backend_late_hold(seam->backend, BACKEND_GET, true);
    assert_int_equal(kv_get(kv, &ref, &meta, &value, NULL), -ETIMEDOUT);
    assert_int_equal(kv_stat(kv, &ref, &meta, NULL), -ETIMEDOUT); /* never "not there" */
    backend_late_hold(seam->backend, BACKEND_GET, false);
    backend_late_hold(seam->backend, BACKEND_SUBMIT, true);
    assert_int_equal(kv_put(kv, &ref, "2", 1), -ETIMEDOUT);
    backend_late_hold(seam->backend, BACKEND_SUBMIT, false);
    assert_int_equal(kv_get(kv, &ref, &meta, &value, NULL), 0);
    assert_memory_equal(value->data, "1", 1);
    kv_value_unref(value);
    backend_late_hold(seam->backend, BACKEND_FLUSH, true);
    assert_int_equal(kv_put(kv, &ref, "3", 1),
                     -ETIMEDOUT); /* visible, but nobody knows whether it is on the disk */
    backend_late_hold(seam->backend, BACKEND_FLUSH, false);
    kv_close(kv);
    assert_int_equal(begin_late(state), 0);
    free(seam);
}

static void *read_held(void *arg)
{
    struct seam *seam = arg;

    expect(seam, "k", "1");
    return NULL;
}

static void other_calls_go_on_while_one_waits(void **state)
{
    struct seam *seam = *state;
    pthread_t reader;
    struct kv_node node;
    struct backend_node find = {.id = seam->account, .node = &node};

    put(seam, "k", "1");
    backend_late_hold(seam->backend, BACKEND_GET, true);
    assert_int_equal(pthread_create(&reader, NULL, read_held, seam), 0);
    backend_late_await(seam->backend, BACKEND_GET, 1);
    put(seam, "l", "2");
    assert_int_equal(ask(seam, BACKEND_NODE, &find.call), 0);
    backend_late_hold(seam->backend, BACKEND_GET, false);
    pthread_join(reader, NULL);
}

#define ON_EACH(f)                                                                          \
    {#f " (memory)", f, begin_memory, end, NULL}, {#f " (lmdb)", f, begin_lmdb, end, NULL}, \
        {#f " (late)", f, begin_late, end, NULL},                                           \
    {                                                                                       \
#f " (late, lmdb)", f, begin_late_lmdb, end, NULL                                   \
    }
#define ON_LATE(f)                   \
    {                                \
#f, f, begin_late, end, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_EACH(what_is_not_there_is_told_as_that),
        ON_EACH(a_value_that_the_reader_has_stays_while_it_is_the_newest),
        ON_EACH(keys_are_listed_in_order_from_where_the_reader_wants),
        ON_EACH(nodes_are_found_and_listed),
        ON_EACH(each_change_of_a_group_has_its_own_verdict),
        ON_EACH(of_a_whole_group_all_is_done_or_nothing),
        ON_EACH(conditions_and_limits_are_exact),
        ON_EACH(large_values_are_put_and_read_whole),
        ON_EACH(a_flush_and_a_rest_are_answered),
        ON_EACH(changes_are_followed_in_their_order),
        ON_LATE(a_call_without_an_answer_in_time_ends_and_nothing_is_done),
        ON_LATE(other_calls_go_on_while_one_waits),
    };

    return cmocka_run_group_tests_name("the seam", tests, NULL, NULL);
}
