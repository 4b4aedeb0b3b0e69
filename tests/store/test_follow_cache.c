/* The edge cache follows what another process commits. */
#include "tests/store/follow.h"
#include "tests/support/setting.h"

#include <pthread.h>

/* returns the size of the value; -ENOENT */
static int size_of(struct follow *setting, const char *key, bool *from_cache)
{
    struct kv_ref ref = other_ref(setting->space, key);
    struct kv_fresh fresh;
    struct kv_meta meta;
    int rc = kv_stat(setting->kv, &ref, &meta, &fresh);

    *from_cache = fresh.from_cache;
    return rc == 0 ? (int)meta.size : rc;
}

static void expect_size(struct follow *setting, const char *key, int size, bool from_cache)
{
    bool cached;

    assert_int_equal(size_of(setting, key, &cached), size);
    assert_int_equal(cached, from_cache);
}

static void what_is_cached_is_dropped_with_the_next_commit_of_it(void **state)
{
    struct follow setting = follow_begin();

    (void)state;
    other_does(&setting.other, OTHER_PUT, setting.space, "k", "1");
    other_does(&setting.other, OTHER_PUT, setting.space, "l", "1");
    expect_size(&setting, "k", 1, false);
    expect_size(&setting, "l", 1, false);
    expect_size(&setting, "absent", -ENOENT, false);
    other_does(&setting.other, OTHER_PUT, setting.space, "k", "second");
    expect_size(&setting, "l", 1, true); /* what was not changed stays */
    expect_size(&setting, "absent", -ENOENT, true);
    expect_size(&setting, "k", 6, false);
    other_does(&setting.other, OTHER_PUT, setting.space, "absent", "there");
    expect_size(&setting, "absent", 5, false);
    other_does(&setting.other, OTHER_RENAME, setting.space, "k", "l");
    expect_size(&setting, "k", -ENOENT, false);
    expect_size(&setting, "l", 6, false);
    other_does(&setting.other, OTHER_DELETE, setting.space, "l", "");
    expect_size(&setting, "l", -ENOENT, false);
    expect_size(&setting, "absent", 5, true);
    other_does(&setting.other, OTHER_FILL, setting.space, "", ""); /* more than can be followed */
    expect_size(&setting, "absent", 5, false);
    expect_size(&setting, "absent", 5, true);
    follow_end(&setting);
}

/* Also where this process has read nothing before. */
static void an_own_put_does_not_hide_a_later_one_of_others(void **state)
{
    struct follow setting = follow_begin();

    (void)state;
    assert_int_equal(follow_put(setting.kv, setting.space, "k", "mine"), 0);
    other_does(&setting.other, OTHER_PUT, setting.space, "k", "theirs");
    expect_size(&setting, "k", 6, false);
    assert_int_equal(follow_put(setting.kv, setting.space, "k", "mine"), 0);
    expect_size(&setting, "k", 4, true); /* its own it knows */
    follow_end(&setting);
}

static int64_t false_ns;

static int64_t false_clock(void *arg)
{
    (void)arg;
    return false_ns;
}

static void with_ttl_alone_a_value_is_served_until_then(void **state)
{
    const struct kv_clock clock = {false_clock, false_clock, NULL};
    struct kv_options options = follow_options(false);
    struct follow setting;

    (void)state;
    options.invalidate = KV_INVALIDATE_TTL;
    options.clock = &clock;
    setting = follow_begin_with(&options);
    other_does(&setting.other, OTHER_PUT, setting.space, "k", "1");
    expect_size(&setting, "k", 1, false);
    other_does(&setting.other, OTHER_PUT, setting.space, "k", "second");
    expect_size(&setting, "k", 1, true);
    false_ns += options.cache_ttl_ms * 1000000 - 1;
    expect_size(&setting, "k", 1, true);
    false_ns++;
    expect_size(&setting, "k", 6, false);
    follow_end(&setting);
}

static void *read_for_ever(void *arg)
{
    struct follow *setting = arg;
    struct kv_ref ref = other_ref(setting->space, "count");
    uint64_t most = test_setting("KVFS_TEST_ROUNDS", 1000), number = 0;

    while (number < most) {
        uint64_t least = atomic_load(follow_shared);
        struct kv_value *value;
        struct kv_meta meta;
        int rc = kv_get(setting->kv, &ref, &meta, &value, NULL);

        if (rc == -ENOENT && least == 0)
            continue;
        if (rc < 0)
            return "it cannot be read";
        memcpy(&number, value->data, sizeof(number));
        kv_value_unref(value);
        if (number < least)
            return "an older value than one that was put before the read";
    }
    return NULL;
}

static void no_read_is_older_than_a_put_that_was_done_before(void **state)
{
    struct follow setting = follow_begin();
    uint64_t rounds = test_setting("KVFS_TEST_ROUNDS", 1000);
    pthread_t threads[2];
    char most[32];

    (void)state;
    atomic_store(follow_shared, 0);
    snprintf(most, sizeof(most), "%llu", (unsigned long long)rounds);
    other_tell(&setting.other, OTHER_COUNT, setting.space, "count", most);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_for_ever, &setting), 0);
    for (int i = 0; i < 2; i++) {
        void *wrong;

        pthread_join(threads[i], &wrong);
        if (wrong != NULL)
            fail_msg("%s", (char *)wrong);
    }
    other_await(&setting.other);
    follow_end(&setting);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_FOLLOW(what_is_cached_is_dropped_with_the_next_commit_of_it),
        TEST_FOLLOW(an_own_put_does_not_hide_a_later_one_of_others),
        TEST_FOLLOW(with_ttl_alone_a_value_is_served_until_then),
        TEST_FOLLOW(no_read_is_older_than_a_put_that_was_done_before),
    };

    return follow_share() ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
