/* What the store asks of the system: its clocks, and not the file mode mask, which is the whole process's. */
#include "tests/support/store.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Atomic int64_t asleep_s; /* the machine has been, which CLOCK_MONOTONIC does not count */

int clock_gettime(clockid_t id, struct timespec *out)
{
    int rc = (int)syscall(SYS_clock_gettime, id, out);

    if (rc == 0 && id == CLOCK_BOOTTIME)
        out->tv_sec += asleep_s;
    return rc;
}

static _Atomic unsigned masks_asked;

mode_t umask(mode_t mask)
{
    masks_asked++;
    return (mode_t)syscall(SYS_umask, mask);
}

static struct kv_store *open_store(mode_t mask)
{
    struct kv_options options = kv_options_default();
    struct kv_error error = {""};
    struct engine *engine;
    struct kv_store *kv;

    options.umask = mask;
    assert_int_equal(engine_memory_open(&engine), 0);
    options.backend = test_backend(engine);
    assert_int_equal(kv_open("memory", &options, &kv, &error), 0);
    return kv;
}

static void a_time_to_live_ends_while_the_machine_sleeps(void **state)
{
    struct kv_store *kv = open_store(022);
    struct kv_node account, space;
    struct kv_fresh fresh;
    struct kv_meta meta;
    struct kv_ref ref;

    (void)state;
    assert_int_equal(kv_node_make(kv, KV_ACCOUNT, KV_ROOT_ID, "a", 0, &account), 0);
    assert_int_equal(kv_node_make(kv, KV_NAMESPACE, account.id, "n", 0, &space), 0);
    ref = kv_ref_key(space.id, "key", 3);
    assert_int_equal(kv_put(kv, &ref, "value", 5), 0);
    assert_int_equal(kv_peek(kv, &ref, &meta, &fresh), 0);
    asleep_s += 59;
    assert_int_equal(kv_peek(kv, &ref, &meta, &fresh), 0);
    assert_in_range(fresh.age_ms, 59000, 59900);
    asleep_s += 2;
    assert_int_equal(kv_peek(kv, &ref, &meta, &fresh), -ENOENT);
    kv_close(kv);
}

static void the_mask_is_an_option_and_never_asked_for(void **state)
{
    struct kv_store *kv = open_store(027);
    struct kv_node account, space;
    struct kv_meta meta;
    struct kv_ref ref;

    (void)state;
    assert_int_equal(kv_node_make(kv, KV_ACCOUNT, KV_ROOT_ID, "a", 0, &account), 0);
    assert_int_equal(kv_node_make(kv, KV_NAMESPACE, account.id, "n", 0, &space), 0);
    assert_int_equal(space.attr.mode, 0750);
    ref = kv_ref_key(space.id, "key", 3);
    assert_int_equal(kv_put(kv, &ref, "value", 5), 0);
    assert_int_equal(kv_stat(kv, &ref, &meta, NULL), 0);
    assert_int_equal(meta.attr.mode, 0640);
    assert_int_equal(masks_asked, 0);
    kv_close(kv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_time_to_live_ends_while_the_machine_sleeps),
        cmocka_unit_test(the_mask_is_an_option_and_never_asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
