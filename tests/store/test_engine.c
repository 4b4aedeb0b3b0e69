/* The contract of store/engine.h, asked of every engine, and of the fault engine around each of them. */
#include "tests/store/engine_test.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define MIB ((size_t)1 << 20)

/* ------------------------------------------------------------------------ engines */

static enum { MEMORY, LMDB } kind; /* of the group that runs */
static bool with_fault;
static char directory[256];
static struct engine *engine;

static int open_engine(void **state)
{
    struct kv_error error;

    (void)state;
    if (kind == MEMORY) {
        assert_int_equal(engine_memory_open(&engine), 0);
    } else {
        make_directory(directory, sizeof(directory));
        assert_int_equal(engine_lmdb_open(directory, &(struct lmdb_options){.create = true}, &engine, &error), 0);
    }
    if (with_fault)
        assert_int_equal(engine_fault_open(engine, &engine), 0);
    return 0;
}

static int close_engine(void **state)
{
    (void)state;
    engine->ops->close(engine);
    if (kind == LMDB)
        remove_store(directory);
    return 0;
}

/* ---------------------------------------------------------------------- one record */

static void get_of_an_absent_key_says_enoent(void **state)
{
    struct engine_txn *txn = begin(engine, false);
    struct slice out = text("untouched");

    (void)state;
    assert_int_equal(get(txn, ENGINE_KEYS, "absent", &out), -ENOENT);
    assert_slice(out, text("untouched"));
    txn->ops->abort(txn);
}

static void what_was_put_is_got(void **state)
{
    (void)state;
    put_and_commit(engine, ENGINE_KEYS, "key", "value");
    assert_committed(engine, ENGINE_KEYS, "key", "value");
}

static void a_second_put_replaces_the_first(void **state)
{
    (void)state;
    put_and_commit(engine, ENGINE_KEYS, "key", "a long first value");
    put_and_commit(engine, ENGINE_KEYS, "key", "second");
    assert_committed(engine, ENGINE_KEYS, "key", "second");
}

static void a_deleted_key_is_gone_and_others_stay(void **state)
{
    struct engine_txn *txn;

    (void)state;
    put_and_commit(engine, ENGINE_KEYS, "a", "1");
    put_and_commit(engine, ENGINE_KEYS, "b", "2");
    txn = begin(engine, true);
    assert_int_equal(del(txn, ENGINE_KEYS, "a"), 0);
    commit(txn);
    assert_committed(engine, ENGINE_KEYS, "a", NULL);
    assert_committed(engine, ENGINE_KEYS, "b", "2");
}

static void deleting_what_is_not_there_says_enoent_and_spoils_nothing(void **state)
{
    struct engine_txn *txn = begin(engine, true);

    (void)state;
    assert_int_equal(del(txn, ENGINE_KEYS, "absent"), -ENOENT);
    assert_int_equal(put(txn, ENGINE_KEYS, "key", "value"), 0);
    assert_int_equal(del(txn, ENGINE_KEYS, "absent"), -ENOENT);
    commit(txn);
    assert_committed(engine, ENGINE_KEYS, "key", "value");
}

static void tables_are_independent(void **state)
{
    static const char *const values[ENGINE_TABLES] = {"0", "1", "2", "3", "4"};
    struct engine_txn *txn = begin(engine, true);

    (void)state;
    for (int i = 0; i < ENGINE_TABLES; i++)
        assert_int_equal(put(txn, (enum engine_table)i, "key", values[i]), 0);
    assert_int_equal(del(txn, ENGINE_NODES, "key"), 0);
    commit(txn);
    for (int i = 0; i < ENGINE_TABLES; i++)
        assert_committed(engine, (enum engine_table)i, "key", i == ENGINE_NODES ? NULL : values[i]);
}

static void values_may_be_empty(void **state)
{
    struct engine_txn *txn = begin(engine, true);

    (void)state;
    assert_int_equal(txn->ops->put(txn, ENGINE_KEYS, text("key"), slice_of(NULL, 0)), 0);
    assert_record(txn, ENGINE_KEYS, "key", "");
    commit(txn);
    assert_committed(engine, ENGINE_KEYS, "key", "");
}

static void values_may_hold_any_byte(void **state)
{
    struct engine_txn *txn = begin(engine, true);
    uint8_t bytes[256];
    struct slice is;

    (void)state;
    for (int i = 0; i < 256; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(
        txn->ops->put(txn, ENGINE_KEYS, slice_of(bytes, sizeof(bytes)), slice_of(bytes, sizeof(bytes))), 0);
    commit(txn);
    txn = begin(engine, false);
    assert_int_equal(txn->ops->get(txn, ENGINE_KEYS, slice_of(bytes, sizeof(bytes)), &is), 0);
    assert_slice(is, slice_of(bytes, sizeof(bytes)));
    assert_int_equal(txn->ops->get(txn, ENGINE_KEYS, slice_of(bytes, sizeof(bytes) - 1), &is), -ENOENT);
    txn->ops->abort(txn);
}

static void values_may_be_large(void **state)
{
    struct engine_txn *txn = begin(engine, true);
    uint8_t *bytes = malloc(MIB);
    struct slice is;

    (void)state;
    assert_non_null(bytes);
    for (size_t i = 0; i < MIB; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    assert_int_equal(txn->ops->put(txn, ENGINE_CHUNKS, text("large"), slice_of(bytes, MIB)), 0);
    assert_int_equal(put(txn, ENGINE_CHUNKS, "small", "neighbour"), 0);
    commit(txn);
    txn = begin(engine, false);
    assert_int_equal(get(txn, ENGINE_CHUNKS, "large", &is), 0);
    assert_slice(is, slice_of(bytes, MIB));
    assert_record(txn, ENGINE_CHUNKS, "small", "neighbour");
    txn->ops->abort(txn);
    free(bytes);
}

static void keys_have_1_to_511_bytes(void **state)
{
    char key[ENGINE_KEY_MAX + 1];
    struct engine_txn *txn = begin(engine, true);
    struct slice longest = slice_of(key, ENGINE_KEY_MAX), longer = slice_of(key, ENGINE_KEY_MAX + 1);
    struct slice empty = slice_of(key, 0), is;

    (void)state;
    memset(key, 'k', sizeof(key));
    assert_int_equal(txn->ops->put(txn, ENGINE_KEYS, longest, text("longest")), 0);
    assert_int_equal(txn->ops->put(txn, ENGINE_KEYS, longer, text("no")), -EINVAL);
    assert_int_equal(txn->ops->put(txn, ENGINE_KEYS, empty, text("no")), -EINVAL);
    assert_int_equal(txn->ops->del(txn, ENGINE_KEYS, longer), -EINVAL);
    assert_int_equal(txn->ops->del(txn, ENGINE_KEYS, empty), -EINVAL);
    commit(txn);

    txn = begin(engine, false);
    assert_int_equal(txn->ops->get(txn, ENGINE_KEYS, longest, &is), 0);
    assert_slice(is, text("longest"));
    assert_int_equal(txn->ops->get(txn, ENGINE_KEYS, longer, &is), -EINVAL);
    assert_int_equal(txn->ops->get(txn, ENGINE_KEYS, empty, &is), -EINVAL);
    txn->ops->abort(txn);
}

/* --------------------------------------------------------------------------- scans */

/* What a scan visited, as text: "key=value;" for each. */
struct visits {
    char seen[256];
    int stop_at; /* answer `answer` at this visit; 0: never */
    int answer;
    int count;
};

static int note_visit(void *arg, struct slice key, struct slice value)
{
    struct visits *visits = arg;
    size_t used = strlen(visits->seen);

    snprintf(visits->seen + used, sizeof(visits->seen) - used, "%.*s=%.*s;", (int)key.size, (const char *)key.data,
             (int)value.size, (const char *)value.data);
    return ++visits->count == visits->stop_at ? visits->answer : 0;
}

static void assert_scan(struct engine_txn *txn, enum engine_table table, const char *from, const char *seen)
{
    struct visits visits = {0};

    assert_int_equal(txn->ops->scan(txn, table, text(from), note_visit, &visits), 0);
    assert_string_equal(visits.seen, seen);
}

static void put_some(void)
{
    struct engine_txn *txn = begin(engine, true);

    assert_int_equal(put(txn, ENGINE_KEYS, "b", "2"), 0);
    assert_int_equal(put(txn, ENGINE_KEYS, "ab", "1"), 0);
    assert_int_equal(put(txn, ENGINE_KEYS, "\xff", "5"), 0);
    assert_int_equal(put(txn, ENGINE_KEYS, "a", "0"), 0);
    assert_int_equal(put(txn, ENGINE_KEYS, "b\x01", "3"), 0);
    assert_int_equal(put(txn, ENGINE_KEYS, "c", "4"), 0);
    commit(txn);
}

static void a_scan_visits_all_in_byte_order(void **state)
{
    struct engine_txn *txn;

    (void)state;
    put_some();
    txn = begin(engine, false);
    assert_scan(txn, ENGINE_KEYS, "", "a=0;ab=1;b=2;b\x01=3;c=4;\xff=5;");
    txn->ops->abort(txn);
}

static void a_scan_begins_at_the_first_key_not_below_from(void **state)
{
    struct engine_txn *txn;

    (void)state;
    put_some();
    txn = begin(engine, false);
    assert_scan(txn, ENGINE_KEYS, "b", "b=2;b\x01=3;c=4;\xff=5;");
    assert_scan(txn, ENGINE_KEYS, "ac", "b=2;b\x01=3;c=4;\xff=5;");
    assert_scan(txn, ENGINE_KEYS, "A", "a=0;ab=1;b=2;b\x01=3;c=4;\xff=5;");
    assert_scan(txn, ENGINE_KEYS, "cc", "\xff=5;");
    assert_scan(txn, ENGINE_KEYS, "\xff\x01", "");
    txn->ops->abort(txn);
}

static void a_scan_of_an_empty_table_visits_nothing(void **state)
{
    struct engine_txn *txn;

    (void)state;
    put_some();
    txn = begin(engine, false);
    assert_scan(txn, ENGINE_NAMES, "", "");
    assert_scan(txn, ENGINE_NAMES, "a", "");
    txn->ops->abort(txn);
}

static void a_visit_can_end_the_scan_with_its_answer(void **state)
{
    struct visits visits = {.stop_at = 2, .answer = 7};
    struct engine_txn *txn;

    (void)state;
    put_some();
    txn = begin(engine, false);
    assert_int_equal(txn->ops->scan(txn, ENGINE_KEYS, text("a"), note_visit, &visits), 7);
    assert_string_equal(visits.seen, "a=0;ab=1;");
    visits = (struct visits){.stop_at = 6, .answer = -ENOENT};
    assert_int_equal(txn->ops->scan(txn, ENGINE_KEYS, text("a"), note_visit, &visits), -ENOENT);
    assert_int_equal(visits.count, 6);
    txn->ops->abort(txn);
}

static void a_scan_from_a_key_that_none_can_have_is_refused(void **state)
{
    char from[ENGINE_KEY_MAX + 1] = {0};
    struct engine_txn *txn = begin(engine, false);
    struct visits visits = {0};

    (void)state;
    assert_int_equal(txn->ops->scan(txn, ENGINE_KEYS, slice_of(from, sizeof(from)), note_visit, &visits), -EINVAL);
    txn->ops->abort(txn);
}

/* -------------------------------------------------------------------- transactions */

static void a_writer_sees_its_own_changes(void **state)
{
    struct engine_txn *txn;

    (void)state;
    put_some();
    txn = begin(engine, true);
    assert_int_equal(put(txn, ENGINE_KEYS, "aa", "new"), 0);
    assert_int_equal(put(txn, ENGINE_KEYS, "b", "changed"), 0);
    assert_int_equal(del(txn, ENGINE_KEYS, "c"), 0);
    assert_record(txn, ENGINE_KEYS, "aa", "new");
    assert_record(txn, ENGINE_KEYS, "c", NULL);
    assert_scan(txn, ENGINE_KEYS, "", "a=0;aa=new;ab=1;b=changed;b\x01=3;\xff=5;");
    txn->ops->abort(txn);
}

static void an_abort_undoes_everything(void **state)
{
    struct engine_txn *txn;

    (void)state;
    put_some();
    txn = begin(engine, true);
    assert_int_equal(put(txn, ENGINE_KEYS, "aa", "new"), 0);
    assert_int_equal(put(txn, ENGINE_KEYS, "b", "changed"), 0);
    assert_int_equal(del(txn, ENGINE_KEYS, "c"), 0);
    assert_int_equal(put(txn, ENGINE_META, "m", "new"), 0);
    txn->ops->abort(txn);
    txn = begin(engine, false);
    assert_scan(txn, ENGINE_KEYS, "", "a=0;ab=1;b=2;b\x01=3;c=4;\xff=5;");
    assert_scan(txn, ENGINE_META, "", "");
    txn->ops->abort(txn);
}

static void a_reader_sees_the_state_as_of_its_begin(void **state)
{
    struct engine_txn *before, *during, *writer;

    (void)state;
    put_some();
    before = begin(engine, false);
    writer = begin(engine, true);
    assert_int_equal(put(writer, ENGINE_KEYS, "b", "changed"), 0);
    assert_int_equal(del(writer, ENGINE_KEYS, "c"), 0);
    assert_int_equal(put(writer, ENGINE_NAMES, "n", "new"), 0);
    during = begin(engine, false);
    commit(writer);
    for (int i = 0; i < 20; i++) /* what was freed is used again */
        put_and_commit(engine, ENGINE_KEYS, "b", "changed again");

    assert_scan(before, ENGINE_KEYS, "", "a=0;ab=1;b=2;b\x01=3;c=4;\xff=5;");
    assert_record(before, ENGINE_NAMES, "n", NULL);
    assert_scan(during, ENGINE_KEYS, "", "a=0;ab=1;b=2;b\x01=3;c=4;\xff=5;");
    assert_committed(engine, ENGINE_KEYS, "b", "changed again");
    assert_committed(engine, ENGINE_KEYS, "c", NULL);
    assert_committed(engine, ENGINE_NAMES, "n", "new");
    before->ops->abort(before);
    during->ops->abort(during);
}

static void a_reader_that_begins_again_sees_what_is_new(void **state)
{
    char value[16];

    (void)state;
    for (int i = 0; i < 10; i++) {
        snprintf(value, sizeof(value), "%d", i);
        put_and_commit(engine, ENGINE_KEYS, "key", value);
        assert_committed(engine, ENGINE_KEYS, "key", value);
    }
}

static void many_readers_may_be_open_at_once(void **state)
{
    enum { READERS = 100 };
    struct engine_txn *txns[READERS];
    char value[16];

    (void)state;
    for (int i = 0; i < READERS; i++) {
        if (i % 10 == 0) {
            snprintf(value, sizeof(value), "%d", i / 10);
            put_and_commit(engine, ENGINE_KEYS, "key", value);
        }
        txns[i] = begin(engine, false);
    }
    for (int i = READERS - 1; i >= 0; i--) {
        snprintf(value, sizeof(value), "%d", i / 10);
        assert_record(txns[i], ENGINE_KEYS, "key", value);
        txns[i]->ops->abort(txns[i]);
    }
}

static void a_read_transaction_cannot_change_anything(void **state)
{
    struct engine_txn *txn;

    (void)state;
    put_some();
    txn = begin(engine, false);
    assert_int_equal(put(txn, ENGINE_KEYS, "key", "value"), -EINVAL);
    assert_int_equal(del(txn, ENGINE_KEYS, "a"), -EINVAL);
    assert_int_equal(txn->ops->room(txn, 1, 1), -EINVAL);
    txn->ops->abort(txn);
    assert_committed(engine, ENGINE_KEYS, "key", NULL);
    assert_committed(engine, ENGINE_KEYS, "a", "0");
}

static void a_commit_of_nothing_succeeds(void **state)
{
    (void)state;
    put_some();
    commit(begin(engine, true));
    assert_committed(engine, ENGINE_KEYS, "a", "0");
}

static void there_is_room_in_a_new_store(void **state)
{
    struct engine_txn *txn = begin(engine, true);

    (void)state;
    assert_int_equal(txn->ops->room(txn, 0, 0), 0);
    assert_int_equal(txn->ops->room(txn, 25 * MIB, MIB), 0);
    txn->ops->abort(txn);
}

static void usage_stays_within_its_limit(void **state)
{
    struct kv_storage storage = {0};

    (void)state;
    put_some();
    engine->ops->usage(engine, &storage);
    assert_true(storage.used_bytes <= storage.limit_bytes);
    assert_true(storage.free_bytes <= storage.used_bytes);
    assert_true(storage.log_bytes <= storage.log_limit_bytes);
    assert_false(storage.failed);
}

/* --------------------------------------------------------------------------- many */

/* The model: what the table should hold, unsorted; removed where the value is 0. */
enum { MANY = 20000 };
struct pair {
    uint8_t key[24];
    uint32_t size;
    uint32_t value;
};

static int order_of(const void *left, const void *right)
{
    const struct pair *a = left, *b = right;
    int order = memcmp(a->key, b->key, a->size < b->size ? a->size : b->size);

    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

static uint32_t next_random(uint32_t *seed) { return (*seed = *seed * 1664525 + 1013904223) >> 8; }

/* Few symbols, so that many keys are prefixes of others. Unique keys, sorted. */
static size_t random_pairs(struct pair *pairs, size_t count)
{
    uint32_t seed = 12345;
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        pairs[i].size = 1 + next_random(&seed) % sizeof(pairs[i].key);
        for (size_t j = 0; j < pairs[i].size; j++)
            pairs[i].key[j] = (uint8_t)(next_random(&seed) % 3 * 127);
        pairs[i].value = 1 + next_random(&seed);
    }
    qsort(pairs, count, sizeof(*pairs), order_of);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || order_of(&pairs[kept - 1], &pairs[i]) != 0)
            pairs[kept++] = pairs[i];
    return kept;
}

struct compare {
    const struct pair *pairs;
    size_t at, count;
};

static int compare_visit(void *arg, struct slice key, struct slice value)
{
    struct compare *compare = arg;
    const struct pair *pair;

    while (compare->at < compare->count && compare->pairs[compare->at].value == 0)
        compare->at++;
    assert_true(compare->at < compare->count);
    pair = &compare->pairs[compare->at++];
    assert_slice(key, slice_of(pair->key, pair->size));
    assert_slice(value, slice_of(&pair->value, sizeof(pair->value)));
    return 0;
}

static void assert_same(const struct pair *pairs, size_t count)
{
    struct engine_txn *txn = begin(engine, false);
    struct slice is;

    for (size_t i = 0; i < count; i++)
        assert_int_equal(txn->ops->get(txn, ENGINE_KEYS, slice_of(pairs[i].key, pairs[i].size), &is),
                         pairs[i].value == 0 ? -ENOENT : 0);
    for (size_t from = 0; from < count; from += count / 7) {
        struct compare compare = {pairs, from, count};
        struct slice start = slice_of(pairs[from].key, pairs[from].size);

        assert_int_equal(txn->ops->scan(txn, ENGINE_KEYS, start, compare_visit, &compare), 0);
        while (compare.at < count && pairs[compare.at].value == 0)
            compare.at++;
        assert_int_equal(compare.at, count);
    }
    txn->ops->abort(txn);
}

static void many_random_keys_agree_with_a_sorted_array(void **state)
{
    struct pair *pairs = calloc(MANY, sizeof(*pairs));
    uint32_t seed = 99;
    size_t count;

    (void)state;
    assert_non_null(pairs);
    count = random_pairs(pairs, MANY);
    assert_true(count > MANY / 2);
    for (uint32_t round = 0; round < 4; round++) {
        struct engine_txn *txn = begin(engine, true);

        for (size_t i = 0; i < count; i++) {
            struct pair *pair = &pairs[(i * 7919 + round) % count]; /* in no order */
            struct slice key = slice_of(pair->key, pair->size);

            if (round > 0 && next_random(&seed) % 3 != 0)
                continue;
            if (round > 0 && next_random(&seed) % 2 == 0) {
                assert_int_equal(txn->ops->del(txn, ENGINE_KEYS, key), pair->value == 0 ? -ENOENT : 0);
                pair->value = 0;
            } else {
                pair->value += round;
                assert_int_equal(txn->ops->put(txn, ENGINE_KEYS, key, slice_of(&pair->value, sizeof(pair->value))),
                                 0);
            }
        }
        commit(txn);
        assert_same(pairs, count);
    }
    free(pairs);
}

/* ------------------------------------------------------------------------- threads */

enum { PAIRS = 200, READERS = 3 };

/* cmocka's assertions belong to the main thread: others count what they find wrong. */
static atomic_int wrong;
static atomic_bool writer_done;

static void *read_pairs(void *arg)
{
    uint32_t last = 0;

    (void)arg;
    for (bool again = true; again;) {
        struct slice left, right;
        struct engine_txn *txn;
        uint32_t a = 0, b = 0;

        again = !atomic_load(&writer_done); /* once more after the last commit */
        if (engine->ops->begin(engine, false, &txn) != 0) {
            atomic_fetch_add(&wrong, 1);
            break;
        }
        if (get(txn, ENGINE_KEYS, "left", &left) != 0 || get(txn, ENGINE_CHUNKS, "right", &right) != 0 ||
            left.size != sizeof(a) || right.size != sizeof(b)) {
            atomic_fetch_add(&wrong, 1);
        } else {
            memcpy(&a, left.data, sizeof(a));
            memcpy(&b, right.data, sizeof(b));
            if (a != b || a < last || (!again && a != PAIRS))
                atomic_fetch_add(&wrong, 1);
            last = a;
        }
        txn->ops->abort(txn);
    }
    return NULL;
}

static void readers_never_see_half_a_commit(void **state)
{
    pthread_t threads[READERS];

    (void)state;
    atomic_store(&wrong, 0);
    atomic_store(&writer_done, false);
    for (uint32_t i = 0; i <= PAIRS; i++) {
        struct engine_txn *txn = begin(engine, true);

        assert_int_equal(txn->ops->put(txn, ENGINE_KEYS, text("left"), slice_of(&i, sizeof(i))), 0);
        assert_int_equal(txn->ops->put(txn, ENGINE_CHUNKS, text("right"), slice_of(&i, sizeof(i))), 0);
        commit(txn);
        for (int j = 0; i == 0 && j < READERS; j++)
            assert_int_equal(pthread_create(&threads[j], NULL, read_pairs, NULL), 0);
    }
    atomic_store(&writer_done, true);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(atomic_load(&wrong), 0);
}

enum { WRITERS = 4, ROUNDS = 50 };

static void *count_up(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        struct engine_txn *txn;
        uint32_t count = 0;
        struct slice is;

        if (engine->ops->begin(engine, true, &txn) != 0) {
            atomic_fetch_add(&wrong, 1);
            break;
        }
        if (get(txn, ENGINE_META, "count", &is) == 0)
            memcpy(&count, is.data, sizeof(count));
        count++;
        sched_yield();
        if (txn->ops->put(txn, ENGINE_META, text("count"), slice_of(&count, sizeof(count))) != 0)
            atomic_fetch_add(&wrong, 1);
        if (i % 5 == 4)
            txn->ops->abort(txn);
        else if (txn->ops->commit(txn) != 0)
            atomic_fetch_add(&wrong, 1);
    }
    return NULL;
}

static void writers_wait_for_each_other(void **state)
{
    pthread_t threads[WRITERS];
    struct engine_txn *txn;
    uint32_t count;
    struct slice is;

    (void)state;
    atomic_store(&wrong, 0);
    for (int i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_up, NULL), 0);
    for (int i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(atomic_load(&wrong), 0);
    txn = begin(engine, false);
    assert_int_equal(get(txn, ENGINE_META, "count", &is), 0);
    memcpy(&count, is.data, sizeof(count));
    assert_int_equal(count, WRITERS * ROUNDS * 4 / 5);
    txn->ops->abort(txn);
}

#define ENGINE_TEST(name) cmocka_unit_test_setup_teardown(name, open_engine, close_engine)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ENGINE_TEST(get_of_an_absent_key_says_enoent),
        ENGINE_TEST(what_was_put_is_got),
        ENGINE_TEST(a_second_put_replaces_the_first),
        ENGINE_TEST(a_deleted_key_is_gone_and_others_stay),
        ENGINE_TEST(deleting_what_is_not_there_says_enoent_and_spoils_nothing),
        ENGINE_TEST(tables_are_independent),
        ENGINE_TEST(values_may_be_empty),
        ENGINE_TEST(values_may_hold_any_byte),
        ENGINE_TEST(values_may_be_large),
        ENGINE_TEST(keys_have_1_to_511_bytes),
        ENGINE_TEST(a_scan_visits_all_in_byte_order),
        ENGINE_TEST(a_scan_begins_at_the_first_key_not_below_from),
        ENGINE_TEST(a_scan_of_an_empty_table_visits_nothing),
        ENGINE_TEST(a_visit_can_end_the_scan_with_its_answer),
        ENGINE_TEST(a_scan_from_a_key_that_none_can_have_is_refused),
        ENGINE_TEST(a_writer_sees_its_own_changes),
        ENGINE_TEST(an_abort_undoes_everything),
        ENGINE_TEST(a_reader_sees_the_state_as_of_its_begin),
        ENGINE_TEST(a_reader_that_begins_again_sees_what_is_new),
        ENGINE_TEST(many_readers_may_be_open_at_once),
        ENGINE_TEST(a_read_transaction_cannot_change_anything),
        ENGINE_TEST(a_commit_of_nothing_succeeds),
        ENGINE_TEST(there_is_room_in_a_new_store),
        ENGINE_TEST(usage_stays_within_its_limit),
        ENGINE_TEST(many_random_keys_agree_with_a_sorted_array),
        ENGINE_TEST(readers_never_see_half_a_commit),
        ENGINE_TEST(writers_wait_for_each_other),
    };
    int failed = 0;

    kind = MEMORY;
    failed += cmocka_run_group_tests_name("memory", tests, NULL, NULL);
    with_fault = true;
    failed += cmocka_run_group_tests_name("fault around memory", tests, NULL, NULL);
    kind = LMDB;
    failed += cmocka_run_group_tests_name("fault around lmdb", tests, NULL, NULL);
    with_fault = false;
    failed += cmocka_run_group_tests_name("lmdb", tests, NULL, NULL);
    return failed;
}
