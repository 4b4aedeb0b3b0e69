/* The feed of what another process commits, and waiting for it. */
#include "tests/store/follow.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void changes_are_told_in_their_order(void **state)
{
    struct follow setting = follow_begin();

    (void)state;
    other_does(&setting.other, OTHER_PUT, setting.space, "k", "1");
    other_does(&setting.other, OTHER_PUT, setting.space, "k", "second");
    other_does(&setting.other, OTHER_RENAME, setting.space, "k", "l");
    other_does(&setting.other, OTHER_DELETE, setting.space, "l", "");
    follow_expect(&setting, true, "k of 1, k of 6, no k, l of 6, no l");
    follow_expect(&setting, true, "");
    other_does(&setting.other, OTHER_MAKE, setting.account, "m", "");
    follow_expect(&setting, false, "name m");
    other_does(&setting.other, OTHER_EXCHANGE, setting.account, "m", "n");
    follow_expect(&setting, false, "no name m, no name n, name n, name m");
    follow_end(&setting);
}

static void own_changes_are_left_out_where_that_is_wanted(void **state)
{
    struct follow setting = follow_begin();
    struct kv_feed begin = setting.feed;

    (void)state;
    for (char key[] = "k0"; key[1] < '3'; key[1]++) {
        assert_int_equal(follow_put(setting.kv, setting.space, key, "mine"), 0);
        other_does(&setting.other, OTHER_PUT, setting.space, key, "theirs");
    }
    follow_expect(&setting, false, "k0 of 6, k1 of 6, k2 of 6");
    setting.feed = begin;
    follow_expect(&setting, true, "k0 of 4, k0 of 6, k1 of 4, k1 of 6, k2 of 4, k2 of 6");
    follow_end(&setting);
}

static int stop_at_second(void *arg, const struct kv_changed *changed)
{
    int *keys = arg;

    return changed->kind == KV_CHANGED_KEY && ++*keys == 2 ? 7 : 0;
}

static void who_stops_goes_on_with_that_commit(void **state)
{
    struct follow setting = follow_begin();
    int keys = 0;

    (void)state;
    other_does(&setting.other, OTHER_PUT, setting.space, "k", "1");
    other_does(&setting.other, OTHER_RENAME, setting.space, "k", "l");
    assert_int_equal(kv_follow(setting.kv, &setting.feed, true, stop_at_second, &keys), 7);
    follow_expect(&setting, true, "no k, l of 1");
    follow_end(&setting);
}

/* A read-only store waits for others, too. */
static void a_wait_ends_with_a_commit_and_not_before(void **state)
{
    for (int read_only = 0; read_only < 2; read_only++) {
        struct kv_options options = follow_options(read_only);
        struct follow setting = follow_begin_with(&options);

        (void)state;
        assert_int_equal(kv_wait(setting.kv, setting.feed.epoch, 50), -ETIMEDOUT);
        other_tell(&setting.other, OTHER_PUT, setting.space, "k", "1");
        assert_int_equal(kv_wait(setting.kv, setting.feed.epoch, FOLLOW_PATIENCE_MS), 0);
        follow_expect(&setting, true, "k of 1");
        other_await(&setting.other);
        other_does(&setting.other, OTHER_PUT, setting.space, "k", "2");
        assert_int_equal(kv_wait(setting.kv, setting.feed.epoch, FOLLOW_PATIENCE_MS), 0);
        follow_expect(&setting, true, "k of 1");
        follow_end(&setting);
        remove_store(follow_directory);
        assert_int_equal(mkdir(follow_directory, 0700), 0);
    }
}

static void who_falls_behind_by_more_than_the_log_is_told_so(void **state)
{
    struct follow setting = follow_begin();
    struct kv_feed before = setting.feed;

    (void)state;
    other_does(&setting.other, OTHER_FILL, setting.space, "", "");
    assert_int_equal(follow_told(&setting, true), -ESTALE);
    assert_string_equal(setting.told, "");
    follow_expect(&setting, true, ""); /* it stands for now */
    other_does(&setting.other, OTHER_PUT, setting.space, "k", "1");
    follow_expect(&setting, true, "k of 1");
    before.pos += 8; /* no record begins there */
    setting.feed = before;
    assert_int_equal(follow_told(&setting, true), -ESTALE);
    setting.feed.pos += 1 << 20; /* not yet */
    assert_int_equal(follow_told(&setting, true), -ESTALE);
    follow_end(&setting);
}

static void a_place_outlives_a_close_and_a_recovery(void **state)
{
    struct kv_options options = follow_options(false);
    struct follow setting = follow_begin();
    struct kv_feed kept = setting.feed;

    (void)state;
    other_does(&setting.other, OTHER_PUT, setting.space, "k", "1");
    kv_close(setting.kv);
    other_end(&setting.other);
    setting.other = other_start();
    follow_open(&setting, &options);
    follow_expect(&setting, true, "k of 1");

    other_does(&setting.other, OTHER_OPEN, 0, "", "");
    other_does(&setting.other, OTHER_PUT, setting.space, "k", "2");
    kv_close(setting.kv);
    kill(setting.other.pid, SIGKILL);
    other_end(&setting.other);
    setting.other = other_start();
    follow_open(&setting, &options);
    follow_expect(&setting, true, "k of 1");
    setting.feed = kept;
    follow_expect(&setting, true, "k of 1, k of 1");
    follow_end(&setting);
}

static void what_is_aborted_is_not_told(void **state)
{
    struct follow setting = {.other = other_start()};
    struct kv_options options = follow_options(false);
    struct kv_node account, space;

    (void)state;
    follow_open(&setting, &options);
    assert_int_equal(kv_node_make(setting.kv, KV_ACCOUNT, KV_ROOT_ID, "a", 0, &account), 0);
    assert_int_equal(kv_node_make(setting.kv, KV_NAMESPACE, account.id, "n", 0, &space), 0);
    follow_expect(&setting, true, "");
    other_does(&setting.other, OTHER_ABORT, 0, "", "");
    follow_expect(&setting, true, "");
    assert_int_equal(follow_put(setting.kv, space.id, "k", "1"), 0);
    follow_expect(&setting, true, "k of 1");
    follow_end(&setting);
}

static void what_was_appended_and_not_committed_is_not_told(void **state)
{
    struct follow setting = follow_begin();
    struct kv_ref ref = other_ref(setting.space, "lost");
    struct kv_feed begin;
    struct kv_meta meta;
    siginfo_t info;

    (void)state;
    other_does(&setting.other, OTHER_PUT, setting.space, "k", "1");
    follow_expect(&setting, true, "k of 1");
    begin = setting.feed;
    other_tell(&setting.other, OTHER_DIE_IN_COMMIT, setting.space, "lost", "never");
    assert_int_equal(waitid(P_PID, (id_t)setting.other.pid, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(info.si_status, SIGKILL);
    assert_int_equal(kv_wait(setting.kv, setting.feed.epoch, 50), -ETIMEDOUT);
    follow_expect(&setting, true, "");
    assert_int_equal(kv_stat(setting.kv, &ref, &meta, NULL), -ENOENT);
    assert_int_equal(follow_put(setting.kv, setting.space, "k", "four"), 0);
    follow_expect(&setting, true, "k of 4");
    setting.feed = begin;
    follow_expect(&setting, true, "k of 4");
    follow_end(&setting);
}

/* Between LMDB's header and what transactions see there is a moment, and a process can be held up in it. */
static void a_commit_that_nobody_sees_yet_is_not_missed(void **state)
{
    struct follow setting = follow_begin();
    struct kv_ref ref = other_ref(setting.space, "k");
    struct kv_meta meta;
    char byte;

    (void)state;
    other_does(&setting.other, OTHER_PUT, setting.space, "k", "1");
    assert_int_equal(kv_stat(setting.kv, &ref, &meta, NULL), 0);
    follow_expect(&setting, true, "k of 1");
    other_tell(&setting.other, OTHER_PAUSE_IN_COMMIT, setting.space, "k", "second");
    assert_int_equal(read(setting.other.from, &byte, 1), 1);
    assert_int_equal(kv_stat(setting.kv, &ref, &meta, NULL), 0);
    assert_int_equal(meta.size, 1);
    follow_expect(&setting, true, "");
    assert_int_equal(kv_wait(setting.kv, setting.feed.epoch, 50),
                     -ETIMEDOUT); /* no reason to look again and again */
    assert_int_equal(write(setting.other.to, "", 1), 1);
    other_await(&setting.other);
    assert_int_equal(kv_wait(setting.kv, setting.feed.epoch, FOLLOW_PATIENCE_MS), 0);
    follow_expect(&setting, true, "k of 6");
    assert_int_equal(kv_stat(setting.kv, &ref, &meta, NULL), 0);
    assert_int_equal(meta.size, 6);
    follow_end(&setting);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_FOLLOW(changes_are_told_in_their_order),
        TEST_FOLLOW(own_changes_are_left_out_where_that_is_wanted),
        TEST_FOLLOW(who_stops_goes_on_with_that_commit),
        TEST_FOLLOW(a_wait_ends_with_a_commit_and_not_before),
        TEST_FOLLOW(who_falls_behind_by_more_than_the_log_is_told_so),
        TEST_FOLLOW(a_place_outlives_a_close_and_a_recovery),
        TEST_FOLLOW(what_is_aborted_is_not_told),
        TEST_FOLLOW(what_was_appended_and_not_committed_is_not_told),
        TEST_FOLLOW(a_commit_that_nobody_sees_yet_is_not_missed),
    };

    return follow_share() ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
