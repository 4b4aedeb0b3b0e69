/* What processes tell each other that have a store open. */
#include "tests/support/store.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 100 };

static char directory[128];

static int make_directory(void **state)
{
    const char *top = getenv("TMPDIR");

    (void)state;
    snprintf(directory, sizeof(directory), "%s/kvfs-mounts.XXXXXX", top != NULL ? top : "/tmp");
    return mkdtemp(directory) != NULL ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    test_remove_tree(directory);
    return 0;
}

static struct kv_store *open_store(bool read_only)
{
    struct kv_options options = kv_options_default();
    struct kv_error error;
    struct kv_store *kv = NULL;

    options.read_only = read_only;
    assert_int_equal(kv_open(directory, &options, &kv, &error), 0);
    return kv;
}

/* Another process that has the store open, and says so. */
static pid_t announce_elsewhere(const char *text)
{
    int ends[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe(ends), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct kv_options options = kv_options_default();
        struct kv_error error;
        struct kv_store *kv;

        if (kv_open(directory, &options, &kv, &error) < 0 || kv_announce(kv, text) < 0 ||
            write(ends[1], "", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    return pid;
}

static void kill_it(pid_t pid)
{
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

struct heard {
    unsigned count;
    char last[64];
};

static int hear(void *arg, const char *text)
{
    struct heard *heard = arg;

    heard->count++;
    snprintf(heard->last, sizeof(heard->last), "%s", text);
    return 0;
}

static struct heard heard_by(struct kv_store *kv)
{
    struct heard heard = {0};

    assert_int_equal(kv_announced(kv, hear, &heard), 0);
    return heard;
}

static void what_a_process_says_is_heard_until_it_ends(void **state)
{
    pid_t first = announce_elsewhere("first"), second;
    struct kv_store *kv = open_store(true);
    struct heard heard = heard_by(kv);

    (void)state;
    assert_int_equal(heard.count, 1);
    assert_string_equal(heard.last, "first");
    second = announce_elsewhere("second");
    assert_int_equal(heard_by(kv).count, 2);
    kill_it(first);
    heard = heard_by(kv);
    assert_int_equal(heard.count, 1);
    assert_string_equal(heard.last, "second");
    kill_it(second);
    assert_int_equal(heard_by(kv).count, 0);
    kv_close(kv);
}

static void a_store_that_is_closed_is_not_heard(void **state)
{
    struct kv_store *kv = open_store(false);
    char path[256];

    (void)state;
    assert_int_equal(heard_by(kv).count, 0);
    assert_int_equal(kv_announce(kv, "mine"), 0);
    assert_string_equal(heard_by(kv).last, "mine");
    kv_close(kv);
    snprintf(path, sizeof(path), "%s/mounts", directory);
    assert_int_equal(rmdir(path), 0); /* it is empty */
    kv = open_store(false);
    assert_int_equal(heard_by(kv).count, 0);
    kv_close(kv);
}

/* Whoever looks removes what no process has locked. */
static void who_announces_itself_while_others_look_is_heard(void **state)
{
    struct kv_store *kv;
    pid_t pid = fork();
    int status;

    (void)state;
    assert_true(pid >= 0);
    for (int i = 0; pid == 0 && i < ROUNDS; i++) {
        kv = open_store(false);
        if (kv_announce(kv, "here") < 0 || heard_by(kv).count != 1)
            _exit(1);
        kv_close(kv);
    }
    if (pid == 0)
        _exit(0);
    kv = open_store(false);
    while (waitpid(pid, &status, WNOHANG) == 0)
        assert_in_range(heard_by(kv).count, 0, 1);
    assert_int_equal(status, 0);
    kv_close(kv);
}

static void a_text_that_is_too_long_and_a_link_are_refused(void **state)
{
    struct kv_store *kv = open_store(false);
    char *text = malloc(KV_ANNOUNCEMENT_MAX + 2), path[256];

    (void)state;
    assert_non_null(text);
    memset(text, 'x', KV_ANNOUNCEMENT_MAX + 1);
    text[KV_ANNOUNCEMENT_MAX + 1] = '\0';
    assert_int_equal(kv_announce(kv, text), -EFBIG);
    free(text);
    snprintf(path, sizeof(path), "%s/mounts", directory);
    assert_int_equal(symlink("/tmp", path), 0);
    assert_true(kv_announce(kv, "mine") < 0);
    kv_close(kv);
}

static void what_a_killed_process_left_is_no_reason_to_keep_a_store(void **state)
{
    struct kv_store *kv;

    (void)state;
    kill_it(announce_elsewhere("gone"));
    kv = open_store(false); /* recovers it */
    kv_close(kv);
    assert_int_equal(kv_discard(directory), 0);
    assert_int_equal(rmdir(directory), 0);
    assert_int_equal(mkdir(directory, 0700), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_a_process_says_is_heard_until_it_ends, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(a_store_that_is_closed_is_not_heard, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(who_announces_itself_while_others_look_is_heard, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(a_text_that_is_too_long_and_a_link_are_refused, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(what_a_killed_process_left_is_no_reason_to_keep_a_store, make_directory,
                                        remove_directory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
