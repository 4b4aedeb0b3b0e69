/* A store whose map is full, and what can be put once small keys were removed here and there. */
#include "tests/support/store.h"

#include "tests/store/engine_test.h"

#define MIB ((size_t)1 << 20)
#define MAP (24 * MIB)

enum { SMALL = 300, GROUP = 1000, LARGE = 1 << 20 };

struct full {
    char dir[256];
    struct kv_store *kv;
    uint64_t namespace;
};

static int setup(void **state)
{
    static struct full full;
    struct kv_options options = kv_options_default();
    struct kv_node account, namespace;
    struct kv_error error;

    make_directory(full.dir, sizeof(full.dir));
    options.create = true;
    options.map_bytes = MAP;
    options.cache_bytes = 0;
    if (kv_open(full.dir, &options, &full.kv, &error) < 0 ||
        kv_node_make(full.kv, KV_ACCOUNT, KV_ROOT_ID, "acme", 0, &account) < 0 ||
        kv_node_make(full.kv, KV_NAMESPACE, account.id, "things", 0, &namespace) < 0)
        return -1;
    full.namespace = namespace.id;
    *state = &full;
    return 0;
}

static int teardown(void **state)
{
    struct full *full = *state;

    kv_close(full->kv);
    remove_store(full->dir);
    return 0;
}

static void done(struct kv_change *change, int rc) { *(int *)change->arg = rc; }

/* The same for a range of keys, whose names are spread over the table, but for `keep` percent of them. returns how many
 * succeeded */
static unsigned change_all(struct full *full, enum kv_change_kind kind, unsigned from, unsigned to, unsigned keep)
{
    static struct kv_change changes[GROUP];
    static int answers[GROUP];
    unsigned submitted = 0, succeeded = 0;
    struct kv_value *value;
    char name[16];

    assert_int_equal(kv_value_new(SMALL, &value), 0);
    for (unsigned i = from; i < to; i++) {
        unsigned number = i * 2654435761u;

        if (number % 100 >= keep) {
            int size = snprintf(name, sizeof(name), "k%08x", number);

            changes[submitted] = (struct kv_change){.kind = kind,
                                                    .ref = kv_ref_key(full->namespace, name, (size_t)size),
                                                    .value = value,
                                                    .attr = {.mode = 0644},
                                                    .done = done,
                                                    .arg = &answers[submitted]};
            kv_submit(full->kv, &changes[submitted++]);
        }
        if (submitted == GROUP || i + 1 == to) {
            assert_int_equal(kv_sync(full->kv), 0);
            while (submitted > 0)
                succeeded += answers[--submitted] == 0;
        }
    }
    kv_value_unref(value);
    return succeeded;
}

static struct kv_ref large_key(const struct full *full, unsigned number)
{
    char name[16];
    int size = snprintf(name, sizeof(name), "large%u", number);

    return kv_ref_key(full->namespace, name, (size_t)size);
}

static void fill_value(uint8_t *bytes, unsigned number)
{
    for (size_t i = 0; i < LARGE; i++)
        bytes[i] = (uint8_t)(number + i / 4080 + i);
}

/* Large values until there is no room. returns how many */
static unsigned put_large(struct full *full)
{
    static uint8_t bytes[LARGE];
    unsigned count = 0;
    int rc = 0;

    while (rc == 0) {
        struct kv_ref ref = large_key(full, count);

        fill_value(bytes, count);
        rc = kv_put(full->kv, &ref, bytes, LARGE);
        count += rc == 0;
    }
    assert_int_equal(rc, -ENOSPC);
    return count;
}

static void expect_large(struct full *full, unsigned count)
{
    static uint8_t bytes[LARGE];

    for (unsigned i = 0; i < count; i++) {
        struct kv_ref ref = large_key(full, i);
        struct kv_value *value;
        struct kv_meta meta;

        fill_value(bytes, i);
        assert_int_equal(kv_get(full->kv, &ref, &meta, &value, NULL), 0);
        assert_int_equal(value->size, LARGE);
        assert_memory_equal(value->data, bytes, LARGE);
        kv_value_unref(value);
    }
}

static void expect_sound(struct full *full)
{
    struct kv_check_options options = {0};
    struct kv_check_report report;

    assert_int_equal(kv_check(full->kv, &options, &report), 0);
    assert_int_equal(report.findings, 0);
}

/* Random deletes leave pages here and there, and hardly any 64 side by side. `percent` of the small keys stay; `least`
 * large values must fit in the room of the others. */
static void fill_up(struct full *full, unsigned percent, unsigned least)
{
    unsigned count = 0, large;

    while (change_all(full, KV_PUT, count, count + GROUP, 0) == GROUP)
        count += GROUP;
    count += GROUP;
    assert_true(count > 20000);
    assert_true(change_all(full, KV_DELETE, 0, count, percent) > count / 100 * (95 - percent));
    large = put_large(full);
    assert_true(large >= least);
    expect_large(full, large);
    expect_sound(full);

    /* Full again: what is there can be replaced and removed. */
    for (unsigned i = 0; i < large; i++) {
        struct kv_ref ref = large_key(full, i);

        assert_int_equal(kv_delete(full->kv, &ref), 0);
        if (i == 0)
            assert_int_equal(kv_put(full->kv, &ref, "small", 5), 0);
    }
    change_all(full, KV_DELETE, 0, count, 0);
    expect_sound(full);
    assert_true(put_large(full) >= MAP / LARGE / 2);
}

static void all_room_of_removed_keys_can_be_had(void **state) { fill_up(*state, 0, 12); }
static void most_room_of_keys_removed_here_and_there_can_be_had(void **state) { fill_up(*state, 20, 7); }

#define FULL_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FULL_TEST(all_room_of_removed_keys_can_be_had),
        FULL_TEST(most_room_of_keys_removed_here_and_there_can_be_had),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
