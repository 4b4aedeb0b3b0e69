/* What power cuts leave of a store; power.h says how that is found out.
 *
 * Environment: KVFS_TEST_IMAGES (2000 in all), KVFS_TEST_SEED (chosen at random, and printed). */
#include "tests/store/power.h"
#include "tests/support/setting.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { IMAGES = 2000, LIVES = 4 };

/* A share of all images, in so many parts: at least one in each. */
static size_t images_of_100(size_t share, size_t parts)
{
    size_t count = test_setting("KVFS_TEST_IMAGES", IMAGES) * share / 100 / parts;

    return count > 0 ? count : 1;
}

static size_t cut(const struct power_session *session, size_t count, uint64_t seed)
{
    struct power_images images = {.session = session};
    size_t verdicts[VERDICTS];

    power_plan(&images, count, &(struct test_random){seed});
    return power_cut(&images, verdicts);
}

static void survive(struct power_kind kind, size_t share)
{
    uint64_t seed = test_seed();
    struct power_session *session = power_session(kind, seed);

    assert_true(!kind.full || session->no_space > 0);
    assert_int_equal(cut(session, images_of_100(share, 1), seed), 0);
    power_session_free(session);
}

static void nothing_acknowledged_is_lost_by_a_power_cut(void **state)
{
    (void)state;
    survive((struct power_kind){KV_DURABILITY_CLOSE, 64 * POWER_MIB, false, 0}, 25);
}

static void nothing_acknowledged_is_lost_where_the_map_is_full(void **state)
{
    (void)state;
    survive((struct power_kind){KV_DURABILITY_CLOSE, 4 * POWER_MIB, true, 0}, 15);
}

static void nothing_synced_is_lost_and_the_order_is_kept_with_durability_fsync(void **state)
{
    (void)state;
    survive((struct power_kind){KV_DURABILITY_FSYNC, 64 * POWER_MIB, false, 0}, 20);
}

/* Where the second of two processes dies: anywhere, or while it makes a checkpoint or a commit. */
static void survive_two(enum kv_durability durability, size_t share)
{
    static const struct record_io_calls deaths[] = {
        {RECORD_IO_WRITE, RECORD_IO_LOG, RECORD_IO_HEAD, 1},
        {RECORD_IO_WRITE, RECORD_IO_LOG, RECORD_IO_BODY, 41},
        {RECORD_IO_WRITE, RECORD_IO_DATA, RECORD_IO_HEAD, 30},
        {RECORD_IO_WRITE, RECORD_IO_DATA, RECORD_IO_BODY, 200},
    };
    uint64_t seed = test_seed();

    for (size_t i = 0; i < sizeof(deaths) / sizeof(deaths[0]); i++) {
        struct power_session *session =
            power_session_of_two((struct power_kind){durability, 64 * POWER_MIB, false, 150}, seed + i, deaths[i]);

        assert_int_equal(cut(session, images_of_100(share, sizeof(deaths) / sizeof(deaths[0])), seed), 0);
        power_session_free(session);
    }
}

static void nothing_is_lost_where_one_of_two_processes_dies_before(void **state)
{
    (void)state;
    survive_two(KV_DURABILITY_CLOSE, 12);
}

static void nothing_synced_is_lost_where_one_of_two_processes_dies_before(void **state)
{
    (void)state;
    survive_two(KV_DURABILITY_FSYNC, 12);
}

/* The recovery may be cut off, too, and what comes after it: what the disk has of the first life means nothing then. */
static void a_store_survives_one_cut_after_the_other(void **state)
{
    struct power_kind kind = {KV_DURABILITY_FSYNC, 64 * POWER_MIB, false, 80};
    struct history_state states[POWER_WRITERS];
    uint64_t seed = test_seed();
    struct test_random random = {seed};
    struct power_session *session = power_session(kind, seed);
    char dir[64];

    (void)state;
    for (int i = 0; i < LIVES; i++) {
        struct power_images images = {.session = session};
        struct power_session *next;

        power_plan(&images, 1, &random);
        power_make_directory(dir, sizeof(dir));
        power_cut_once(session, &images.plans[0], dir, states);
        free(images.plans);
        next = power_session_after(session, dir, states, seed + (uint64_t)i + 1);
        power_session_free(session);
        session = next;
        assert_int_equal(cut(session, images_of_100(16, LIVES), seed), 0);
    }
    power_session_free(session);
}

/* This one, or any one where it is a loss of a part. */
static enum disk_loss any_of(enum disk_loss loss, struct test_random *random)
{
    return loss < DISK_PAGES ? loss
                             : DISK_PAGES + (enum disk_loss)test_random_below(random, DISK_LOSSES - DISK_PAGES);
}

/* Every cut with every name that the files can have then; each with all lost, with nothing lost, and with a part. */
static void plan_creation(struct power_images *images, struct test_random *random)
{
    const struct record_io_log *log = &images->session->log;
    bool possible[NAMES] = {[DATA_NEW] = true, [NO_DATA] = true}, log_is_sure = false;

    for (size_t cut_at = 0; cut_at <= log->count; cut_at++) {
        const struct record_io_event *last = cut_at > 0 ? &log->events[cut_at - 1] : NULL;

        possible[DATA] |= last != NULL && last->kind == RECORD_IO_RENAME;
        if (last != NULL && last->kind == RECORD_IO_FLUSH_NAMES) {
            log_is_sure = true;
            possible[NO_DATA] = false;
            if (possible[DATA])
                possible[DATA_NEW] = false;
        }
        for (enum power_name name = 0; name < NAMES; name++)
            for (enum disk_loss loss = 0; possible[name] && loss <= DISK_PAGES; loss++)
                for (int no_log = 0; no_log < 2 - log_is_sure; no_log++)
                    power_add(images, (struct power_plan){.cut = cut_at,
                                                          .loss = {any_of(loss, random), any_of(loss, random)},
                                                          .name = name,
                                                          .no_log = no_log == 1,
                                                          .seed = test_random(random)});
    }
}

static void a_creation_that_is_cut_off_can_be_begun_again(void **state)
{
    struct power_session *session = calloc(1, sizeof(*session));
    struct power_images images = {.session = session, .of_creation = true};
    struct kv_options options = kv_options_default();
    uint64_t seed = test_seed();
    size_t verdicts[VERDICTS];
    struct kv_store *store;
    struct kv_error error;
    struct kv_node node;

    (void)state;
    assert_non_null(session);
    session->kind.map_bytes = options.map_bytes = 64 * POWER_MIB;
    options.create = true;
    power_make_directory(session->dir, sizeof(session->dir));
    record_io_start(session->dir);
    assert_int_equal(kv_open(session->dir, &options, &store, &error), 0);
    assert_int_equal(kv_node_make(store, KV_ACCOUNT, KV_ROOT_ID, "acme", 0, &node), 0);
    session->base = record_io_position();
    kv_close(store);
    session->log = record_io_stop();
    power_remove_directory(session->dir);

    plan_creation(&images, &(struct test_random){seed});
    assert_int_equal(power_cut(&images, verdicts), 0);
    record_io_free(&session->log);
    free(session);
}

/* returns  a store in a new directory, with keys and with pages that are free */
static struct kv_store *open_filled(char *dir, size_t size)
{
    struct kv_options options = kv_options_default();
    struct kv_node account, space;
    static uint8_t bytes[20000];
    struct kv_store *store;
    struct kv_error error;

    options.create = true;
    power_make_directory(dir, size);
    assert_int_equal(kv_open(dir, &options, &store, &error), 0);
    assert_int_equal(kv_node_make(store, KV_ACCOUNT, KV_ROOT_ID, "acme", 0, &account), 0);
    assert_int_equal(kv_node_make(store, KV_NAMESPACE, account.id, "main", 0, &space), 0);
    for (int i = 0; i < 100; i++) {
        char key[16];
        struct kv_ref ref = kv_ref_key(space.id, key, (size_t)snprintf(key, sizeof(key), "key%d", i / 2));

        assert_int_equal(kv_put(store, &ref, bytes, sizeof(bytes) / (size_t)(i + 1)), 0);
    }
    return store;
}

/* What is pending at a rename can be lost although the new name is there; and before the directory is flushed, each of
 * both files can have the name. So nothing may be pending, and nothing may be written in between. */
static void a_compacted_file_is_durable_before_it_has_the_name(void **state)
{
    bool pending[RECORD_IO_FILES] = {false}, renamed = false, sure = false;
    uint64_t written = 0;
    uint64_t before, after;
    struct record_io_log log;
    struct kv_store *store;
    struct kv_error error;
    char dir[64];

    (void)state;
    store = open_filled(dir, sizeof(dir));
    record_io_start(dir);
    assert_int_equal(kv_compact(store, NULL, &before, &after, &error), 0);
    log = record_io_stop();
    kv_close(store);
    assert_true(after < before);
    for (size_t i = 0; i < log.count; i++) {
        const struct record_io_event *event = &log.events[i];

        assert_true(!renamed || sure || event->kind == RECORD_IO_FLUSH_NAMES);
        switch (event->kind) {
        case RECORD_IO_FLUSH:
            pending[event->file] = false;
            break;
        case RECORD_IO_RENAME:
            assert_false(pending[RECORD_IO_DATA] || pending[RECORD_IO_LOG] || renamed);
            renamed = true;
            break;
        case RECORD_IO_FLUSH_NAMES:
            sure = renamed;
            break;
        default:
            pending[event->file] |= !event->durable;
            written += event->file == RECORD_IO_DATA ? event->size : 0;
        }
    }
    assert_true(sure && written > before + after); /* what was there, and what was made of it */
    record_io_free(&log);
    power_remove_directory(dir);
}

/* The tests of the test: each of these disks loses something, and it is found. */
static void expect_found(enum record_io_file ignored, size_t verdicts[VERDICTS])
{
    uint64_t seed = test_seed();
    struct power_session *session =
        power_session((struct power_kind){KV_DURABILITY_CLOSE, 64 * POWER_MIB, false, 0}, seed);
    struct power_images images = {.session = session};

    images.ignores_flushes[ignored] = true;
    power_plan(&images, 50, &(struct test_random){seed});
    assert_true(power_cut(&images, verdicts) > 0);
    power_session_free(session);
}

static void a_disk_that_ignores_flushes_of_the_log_is_found_to_lose(void **state)
{
    size_t verdicts[VERDICTS];

    (void)state;
    expect_found(RECORD_IO_LOG, verdicts);
    assert_true(verdicts[LOST] + verdicts[UNOPENABLE] > 0);
}

static void a_disk_that_ignores_flushes_of_the_data_is_found_to_damage(void **state)
{
    size_t verdicts[VERDICTS];

    (void)state;
    expect_found(RECORD_IO_DATA, verdicts);
    assert_true(verdicts[GOOD] + verdicts[LOST] < 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_acknowledged_is_lost_by_a_power_cut),
        cmocka_unit_test(nothing_acknowledged_is_lost_where_the_map_is_full),
        cmocka_unit_test(nothing_synced_is_lost_and_the_order_is_kept_with_durability_fsync),
        cmocka_unit_test(nothing_is_lost_where_one_of_two_processes_dies_before),
        cmocka_unit_test(nothing_synced_is_lost_where_one_of_two_processes_dies_before),
        cmocka_unit_test(a_store_survives_one_cut_after_the_other),
        cmocka_unit_test(a_creation_that_is_cut_off_can_be_begun_again),
        cmocka_unit_test(a_compacted_file_is_durable_before_it_has_the_name),
        cmocka_unit_test(a_disk_that_ignores_flushes_of_the_log_is_found_to_lose),
        cmocka_unit_test(a_disk_that_ignores_flushes_of_the_data_is_found_to_damage),
    };

    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
