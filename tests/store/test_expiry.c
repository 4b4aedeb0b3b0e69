/* Keys that expire: absent from that moment on for everybody who reads or changes them, and counted until they are
 * swept. */
#include "store/base/name.h"
#include "store/base/record.h"
#include "tests/support/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int64_t real_ns(struct test_store *test) { return TEST_CLOCK_START_NS + atomic_load(&test->now_ns); }

static int put_until(struct test_store *test, const struct kv_ref *ref, const char *text, int64_t expires_ns)
{
    struct kv_change change = {
        .kind = KV_PUT, .ref = *ref, .attr = {.mode = 0644}, .expiry = KV_EXPIRY_SET, .expires_ns = expires_ns};
    int rc;

    assert_int_equal(kv_value_copy(text, strlen(text), &change.value), 0);
    rc = kv_apply(test->kv, &change);
    kv_value_unref(change.value);
    return rc;
}

/* Put a key that expires so many milliseconds from now on. */
static struct kv_ref put_for_ms(struct test_store *test, const char *key, const char *text, int64_t ms)
{
    struct kv_ref ref = test_key(test, key);

    assert_int_equal(put_until(test, &ref, text, real_ns(test) + ms * 1000000), 0);
    return ref;
}

static int set_expiry(struct test_store *test, const struct kv_ref *ref, int64_t expires_ns, struct kv_meta *meta)
{
    struct kv_change change = {.kind = KV_SETATTR, .ref = *ref, .expiry = KV_EXPIRY_SET, .expires_ns = expires_ns};
    int rc = kv_apply(test->kv, &change);

    if (rc == 0 && meta != NULL)
        *meta = change.meta;
    return rc;
}

static int apply_kind(struct test_store *test, struct kv_change change, struct kv_meta *meta)
{
    int rc;

    if (change.kind == KV_PUT)
        assert_int_equal(kv_value_copy("new", 3, &change.value), 0);
    rc = kv_apply(test->kv, &change);
    kv_value_unref(change.value);
    if (rc == 0 && meta != NULL)
        *meta = change.meta;
    return rc;
}

/* No reader has it: by the cache, by the central, by peeking, by its attributes. */
static void expect_gone(struct test_store *test, const struct kv_ref *ref)
{
    struct kv_xattrs xattrs;
    struct kv_value *value;
    struct kv_fresh fresh;
    struct kv_meta meta;

    assert_int_equal(kv_stat(test->kv, ref, &meta, &fresh), -ENOENT);
    assert_int_equal(kv_get(test->kv, ref, &meta, &value, &fresh), -ENOENT);
    assert_int_equal(kv_peek(test->kv, ref, &meta, &fresh), -ENOENT);
    assert_int_equal(kv_xattrs_get(test->kv, ref, &xattrs), -ENOENT);
    assert_int_equal(kv_get_newest(test->kv, ref, &meta, &value), -ENOENT);
    assert_int_equal(kv_get_newest(test->kv, ref, &meta, NULL), -ENOENT);
}

static uint64_t sweep(struct test_store *test, int64_t *next_ns)
{
    uint64_t swept;

    assert_int_equal(kv_sweep(test->kv, &swept, next_ns), 0);
    test_expect_sound(test->inner);
    return swept;
}

/* ---------------------------------------------------------------------------- readers */

static void a_key_is_there_until_it_expires_and_for_no_reader_from_then_on(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = put_for_ms(test, "key", "value", 1000);

    test_store_pass_ms(test, 999);
    test_expect_text(test, "key", "value"); /* now the cache has it */
    test_store_pass_ms(test, 1);
    expect_gone(test, &key);
    test_expect_absent(test, &key);
    expect_gone(test, &key);
}

static void what_the_cache_may_serve_ends_with_the_expiry(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = put_for_ms(test, "key", "value", 1000);
    struct kv_fresh fresh;
    struct kv_meta meta;

    test_store_pass_ms(test, 300);
    assert_int_equal(kv_stat(test->kv, &key, &meta, &fresh), 0);
    assert_true(fresh.from_cache);
    assert_int_equal(fresh.remaining_ms, 700);
    assert_int_equal(kv_peek(test->kv, &key, &meta, &fresh), 0);
    assert_int_equal(fresh.remaining_ms, 700);
    assert_int_equal(set_expiry(test, &key, 0, NULL), 0);
    assert_int_equal(kv_stat(test->kv, &key, &meta, &fresh), 0);
    assert_in_range(fresh.remaining_ms, 59000, 60000);
    assert_int_equal(set_expiry(test, &key, real_ns(test) + 90000ll * 1000000, NULL), 0); /* beyond the ttl */
    assert_int_equal(kv_stat(test->kv, &key, &meta, &fresh), 0);
    assert_in_range(fresh.remaining_ms, 59000, 60000);
}

static int count_key(void *arg, const char *key, size_t size, const struct kv_meta *meta)
{
    (void)key, (void)size, (void)meta;
    ++*(unsigned *)arg;
    return 0;
}

static void a_listing_leaves_expired_keys_out_before_it_counts(void **state)
{
    struct test_store *test = *state;
    struct kv_list list;
    unsigned count = 0;

    put_for_ms(test, "a", "1", 10);
    test_put(test, "b", "2");
    put_for_ms(test, "c", "3", 10);
    put_for_ms(test, "d", "4", 1000);
    put_for_ms(test, "e", "5", 10);
    test_store_pass_ms(test, 10);
    assert_int_equal(kv_scan(test->kv, test->namespace.id, "", 0, false, count_key, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(kv_list(test->kv, test->namespace.id, "", "", 2, &list), 0);
    assert_int_equal(list.count, 2);
    assert_true(list.complete);
    assert_string_equal(list.keys[0], "b");
    assert_string_equal(list.keys[1], "d");
    kv_list_free(&list);
    assert_int_equal(kv_list(test->kv, test->namespace.id, "", "", 1, &list), 0);
    assert_string_equal(list.cursor, "d");
    kv_list_free(&list);
}

/* ----------------------------------------------------------------------------- changes */

static void an_expired_key_is_absent_for_every_change(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = put_for_ms(test, "key", "value", 10), other = test_key(test, "other");
    struct kv_meta before = test_stat(test, &key);

    test_put(test, "other", "other");
    test_store_pass_ms(test, 10);
    assert_int_equal(apply_kind(test, (struct kv_change){.kind = KV_DELETE, .ref = key}, NULL), -ENOENT);
    assert_int_equal(apply_kind(test, (struct kv_change){.kind = KV_RENAME, .ref = key, .to = other}, NULL),
                     -ENOENT);
    assert_int_equal(
        apply_kind(test, (struct kv_change){.kind = KV_RENAME, .ref = other, .to = key, .flags = KV_EXCHANGE},
                   NULL),
        -ENOENT);
    assert_int_equal(
        apply_kind(test,
                   (struct kv_change){.kind = KV_SETATTR, .ref = key, .attr_mask = KV_MODE, .attr.mode = 0600},
                   NULL),
        -ENOENT);
    assert_int_equal(set_expiry(test, &key, 0, NULL), -ENOENT);
    assert_int_equal(apply_kind(test,
                                (struct kv_change){.kind = KV_SETXATTR,
                                                   .ref = key,
                                                   .xattr_name = "user.x",
                                                   .xattr_name_size = 6,
                                                   .xattr_value = "v",
                                                   .xattr_value_size = 1},
                                NULL),
                     -ENOENT);
    assert_int_equal(apply_kind(test,
                                (struct kv_change){
                                    .kind = KV_PUT, .ref = key, .conditional = true, .if_version = before.version},
                                NULL),
                     -ECANCELED);
    expect_gone(test, &key);
    test_expect_sound(test->inner);
}

static void a_put_on_an_expired_key_makes_a_new_one(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = put_for_ms(test, "key", "a long value", 10);
    struct kv_meta before = test_stat(test, &key), meta;

    test_set_mark(test, "key", 20);
    test_store_pass_ms(test, 10);
    assert_int_equal(
        apply_kind(test, (struct kv_change){.kind = KV_PUT, .ref = key, .attr.mode = 0600, .conditional = true},
                   &meta),
        0);
    assert_int_not_equal(meta.attr.ino, before.attr.ino);
    assert_int_equal(meta.attr.mode, 0600);
    assert_int_equal(meta.expires_ns, 0);
    assert_false(meta.has_xattrs);
    test_expect_text(test, "key", "new");
    test_expect_use(test, 1, 6);
    test_expect_sound(test->inner);
    assert_int_equal(sweep(test, &(int64_t){0}), 0);
}

static void a_put_keeps_the_expiry_and_one_that_says_so_sets_it(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = put_for_ms(test, "key", "value", 1000);
    int64_t expires_ns = test_stat(test, &key).expires_ns;
    struct kv_meta meta;

    assert_int_equal(expires_ns, real_ns(test) + 1000 * 1000000);
    test_put(test, "key", "other");
    assert_int_equal(test_stat(test, &key).expires_ns, expires_ns);
    assert_int_equal(put_until(test, &key, "third", expires_ns + 1), 0);
    assert_int_equal(test_stat(test, &key).expires_ns, expires_ns + 1);
    assert_int_equal(apply_kind(test, (struct kv_change){.kind = KV_PUT, .ref = key, .replace = true}, &meta), 0);
    assert_int_equal(meta.expires_ns, 0); /* another object */
    assert_int_equal(put_until(test, &key, "fourth", -1), -EINVAL);
    test_expect_sound(test->inner);
}

static void the_expiry_alone_changes_ctime_and_not_the_version(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = put_for_ms(test, "key", "value", 1000), node = kv_ref_node(test->namespace.id);
    struct kv_meta before = test_stat(test, &key), meta;

    test_store_pass_ms(test, 5);
    assert_int_equal(set_expiry(test, &key, real_ns(test) + 5000ll * 1000000, &meta), 0);
    assert_int_equal(meta.version, before.version);
    assert_int_equal(meta.attr.mtime_ns, before.attr.mtime_ns);
    assert_int_equal(meta.attr.ctime_ns, real_ns(test));
    test_store_pass_ms(test, 2000);
    test_expect_text(test, "key", "value");
    assert_int_equal(set_expiry(test, &key, 0, NULL), 0);
    test_store_pass_ms(test, 100000);
    test_expect_text(test, "key", "value");
    test_expect_sound(test->inner);
    assert_int_equal(set_expiry(test, &key, -1, NULL), -EINVAL);
    assert_int_equal(set_expiry(test, &node, 5, NULL), -EINVAL);
}

static void an_expiry_in_the_past_ends_the_key_at_once(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key"), put = test_key(test, "put");
    int64_t next_ns;

    test_put(test, "key", "value");
    assert_int_equal(set_expiry(test, &key, 1, NULL), 0);
    expect_gone(test, &key);
    assert_int_equal(put_until(test, &put, "value", real_ns(test)), 0);
    expect_gone(test, &put);
    assert_int_equal(sweep(test, &next_ns), 2);
}

static void a_rename_takes_the_expiry_along(void **state)
{
    struct test_store *test = *state;
    struct kv_ref a = put_for_ms(test, "a", "soon", 1000), b = put_for_ms(test, "b", "late", 2000);
    struct kv_ref c = test_key(test, "c");

    assert_int_equal(
        apply_kind(test, (struct kv_change){.kind = KV_RENAME, .ref = a, .to = b, .flags = KV_EXCHANGE}, NULL), 0);
    test_expect_sound(test->inner);
    assert_int_equal(apply_kind(test, (struct kv_change){.kind = KV_RENAME, .ref = b, .to = c}, NULL), 0);
    test_expect_sound(test->inner);
    test_store_pass_ms(test, 1000);
    expect_gone(test, &c);
    test_expect_text(test, "a", "late");
    /* Onto what has expired: as if nothing were there. */
    assert_int_equal(
        apply_kind(test, (struct kv_change){.kind = KV_RENAME, .ref = a, .to = c, .flags = KV_NOREPLACE}, NULL),
        0);
    test_expect_text(test, "c", "late");
    test_expect_use(test, 1, 5);
    test_expect_sound(test->inner);
    test_store_pass_ms(test, 1000);
    expect_gone(test, &c);
}

/* ---------------------------------------------------------------------------- sweeping */

static void sweeping_gives_back_what_was_counted_and_tells_what_is_next(void **state)
{
    struct test_store *test = *state;
    char *large = calloc(1, RECORD_CHUNK + 2);
    int64_t next_ns, start_ns = real_ns(test);

    memset(large, 'x', RECORD_CHUNK + 1);
    put_for_ms(test, "small", "value", 10);
    put_for_ms(test, "large", large, 10);
    put_for_ms(test, "later", "value", 500);
    test_put(test, "stays", "value");
    free(large);
    assert_int_equal(sweep(test, &next_ns), 0);
    assert_int_equal(next_ns, start_ns + 10 * 1000000);
    test_store_pass_ms(test, 10);
    test_expect_use(test, 4, 5 + 5 + 5 + 5 + 15 + RECORD_CHUNK + 1); /* counted until then */
    assert_int_equal(sweep(test, &next_ns), 2);
    assert_int_equal(next_ns, start_ns + 500 * 1000000);
    test_expect_use(test, 2, 20);
    assert_int_equal(test_records(test->inner, ENGINE_CHUNKS), 0);
    test_store_pass_ms(test, 490);
    assert_int_equal(sweep(test, &next_ns), 1);
    assert_int_equal(next_ns, 0);
    test_expect_text(test, "stays", "value");
    test_expect_use(test, 1, 10);
    assert_int_equal(test_records(test->inner, ENGINE_KEYS), 1); /* and nothing of an index */
}

static void many_are_swept_in_several_changes(void **state)
{
    struct test_store *test = *state;
    int64_t next_ns;

    for (int i = 0; i < 600; i++) {
        char key[16];

        snprintf(key, sizeof(key), "k%d", i);
        put_for_ms(test, key, "v", 10 + i % 3);
    }
    test_store_pass_ms(test, 12);
    assert_int_equal(sweep(test, &next_ns), 600);
    assert_int_equal(next_ns, 0);
    test_expect_use(test, 0, 0);
}

static void a_namespace_with_nothing_but_expired_keys_is_empty(void **state)
{
    struct test_store *test = *state;
    struct kv_node space = test_make(test, KV_NAMESPACE, test->account.id, "space");
    int64_t next_ns;

    for (int i = 0; i < 300; i++) {
        char key[16];
        struct kv_ref ref = kv_ref_key(space.id, key, (size_t)snprintf(key, sizeof(key), "k%d", i));

        ref = kv_ref_key(space.id, key, strlen(key));
        assert_int_equal(put_until(test, &ref, "v", real_ns(test) + (i == 7 ? 2000000 : 1000000)), 0);
    }
    test_store_pass_ms(test, 1);
    assert_int_equal(kv_node_remove(test->kv, test->account.id, "space"), -ENOTEMPTY);
    test_expect_sound(test->inner);
    test_store_pass_ms(test, 1);
    assert_int_equal(kv_node_remove(test->kv, test->account.id, "space"), 0);
    test_expect_use(test, 0, 0);
    assert_int_equal(sweep(test, &next_ns), 0);
    assert_int_equal(next_ns, 0);
}

static void an_expired_key_counts_against_the_limit_until_it_is_swept(void **state)
{
    struct test_store *test = *state;
    struct kv_change limits = {.kind = KV_NODE_LIMITS, .node = test->account};
    struct kv_ref expired = put_for_ms(test, "expired", "v", 10), other = test_key(test, "other");
    int64_t next_ns;

    limits.node.limit_keys = 1;
    assert_int_equal(kv_apply(test->kv, &limits), 0);
    test_store_pass_ms(test, 10);
    assert_int_equal(kv_put(test->kv, &other, "v", 1), -EDQUOT);
    assert_int_equal(kv_put(test->kv, &expired, "v", 1), 0); /* in its place */
    assert_int_equal(kv_delete(test->kv, &expired), 0);
    expired = put_for_ms(test, "expired", "v", 10);
    test_store_pass_ms(test, 10);
    assert_int_equal(sweep(test, &next_ns), 1);
    assert_int_equal(kv_put(test->kv, &other, "v", 1), 0);
}

static void a_quota_check_counts_what_an_expired_key_gives_back(void **state)
{
    struct test_store *test = *state;
    struct kv_change limits = {.kind = KV_NODE_LIMITS, .node = test->account};
    struct kv_ref key = put_for_ms(test, "key", "value", 10);

    test_set_mark(test, "key", 500);
    limits.node.limit_bytes = test_node(test, test->account.id).bytes;
    assert_int_equal(kv_apply(test->kv, &limits), 0);
    assert_int_equal(kv_quota_check(test->kv, &key, 400, 0), -EDQUOT);
    test_store_pass_ms(test, 10);
    assert_int_equal(kv_quota_check(test->kv, &key, 400, 0), 0);
    test_put_bytes(test, &key, 400, 1);
    test_expect_bytes(test, &key, 400, 1);
}

/* By the system's clock: within the patience of whoever waits. */
static void the_sweeper_removes_a_key_soon_after_it_has_expired(void **state)
{
    const struct timespec nap = {0, 20 * 1000000};
    char dir[] = "/tmp/kvfs-expiry-XXXXXX";
    struct kv_options options = kv_options_default();
    struct kv_change change = {.kind = KV_PUT, .attr.mode = 0644, .expiry = KV_EXPIRY_SET};
    struct kv_node account, space, now;
    struct kv_error error;
    struct timespec time;
    struct kv_store *kv;

    (void)state;
    assert_non_null(mkdtemp(dir));
    options.sweep = true;
    assert_int_equal(kv_open(dir, &options, &kv, &error), 0);
    assert_int_equal(kv_node_make(kv, KV_ACCOUNT, KV_ROOT_ID, "a", 0, &account), 0);
    assert_int_equal(kv_node_make(kv, KV_NAMESPACE, account.id, "n", 0, &space), 0);
    assert_int_equal(kv_value_copy("v", 1, &change.value), 0);
    clock_gettime(CLOCK_REALTIME, &time);
    change.ref = kv_ref_key(space.id, "key", 3);
    change.expires_ns = (int64_t)time.tv_sec * 1000000000 + time.tv_nsec + 200 * 1000000;
    assert_int_equal(kv_apply(kv, &change), 0);
    kv_value_unref(change.value);
    assert_int_equal(kv_node_get(kv, space.id, &now), 0);
    assert_int_equal(now.keys, 1);
    for (int i = 0; now.keys > 0 && i < 1500; i++) {
        nanosleep(&nap, NULL);
        assert_int_equal(kv_node_get(kv, space.id, &now), 0);
    }
    assert_int_equal(now.keys, 0);
    assert_int_equal(now.bytes, 0);
    kv_close(kv); /* ends a thread that sleeps */
    test_remove_tree(dir);
}

static void a_read_only_store_does_not_sweep(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = put_for_ms(test, "key", "v", 10);
    uint64_t swept = 7;
    int64_t next_ns = 7;

    test_store_pass_ms(test, 10);
    test->options.read_only = true;
    test->options.create = false;
    test->options.sweep = true;
    test_store_reopen(test);
    expect_gone(test, &key);
    assert_int_equal(kv_sweep(test->kv, &swept, &next_ns), -EROFS);
    assert_int_equal(swept, 0);
    assert_int_equal(next_ns, 7);
}

/* -------------------------------------------------------------------- as it is written */

static void records_without_an_expiry_are_as_they_were(void **state)
{
    struct record_key with = {.meta = {.attr = {.ino = 5000, .mode = 0644}, .version = 5001}}, decoded;
    struct record_bytes before, after;
    struct name name;

    (void)state;
    with.checksum = record_checksum("", 0);
    assert_int_equal(name_of_key(2000, "key", 3, &name), 0);
    record_encode_key(name_slice(&name), &with, &before);
    with.meta.expires_ns = 0x123456789;
    record_encode_key(name_slice(&name), &with, &after);
    assert_int_equal(after.size, before.size + 8);
    assert_int_equal(record_decode_key(name_slice(&name), record_slice(&after), &decoded), 0);
    assert_int_equal(decoded.meta.expires_ns, 0x123456789);
    assert_int_equal(decoded.cut, 0);
    with.meta.expires_ns = -5; /* which nobody writes */
    record_encode_key(name_slice(&name), &with, &after);
    assert_int_equal(record_decode_key(name_slice(&name), record_slice(&after), &decoded), -EIO);
}

static void entries_of_the_index_come_apart_and_nothing_else_does(void **state)
{
    struct name key, entry, late;
    struct slice found;
    int64_t expires_ns;

    (void)state;
    assert_int_equal(name_of_key(2000, "key", 3, &key), 0);
    name_of_expiry(77, name_slice(&key), &entry);
    name_of_expiry(INT64_MAX, name_slice(&key), &late);
    assert_true(memcmp(entry.data, late.data, 16) < 0);
    assert_true(name_is_expiry(name_slice(&entry)));
    assert_false(name_is_expiry(name_slice(&key)));
    assert_int_equal(name_split_expiry(name_slice(&entry), &expires_ns, &found), 0);
    assert_int_equal(expires_ns, 77);
    assert_int_equal(found.size, key.size);
    assert_memory_equal(found.data, key.data, key.size);
    assert_int_equal(name_split_expiry(name_slice(&key), &expires_ns, &found), -EIO);
    for (size_t size = 0; size < entry.size; size++)
        assert_int_equal(name_split_expiry(slice_of(entry.data, size), &expires_ns, &found), -EIO);
    name_of_expiry(0, name_slice(&key), &entry);
    assert_int_equal(name_split_expiry(name_slice(&entry), &expires_ns, &found), -EIO);
}

static void expect_time(const char *text, int rc, int64_t ns)
{
    int64_t is = ns - 1;

    assert_int_equal(kv_expiry_parse(text, 1000 * 1000000000ll, &is), rc);
    if (rc == 0)
        assert_int_equal(is, ns);
}

static void times_are_read_and_written_as_people_do(void **state)
{
    static const char *const wrong[] = {"",
                                        "+",
                                        "1h",
                                        "+1y",
                                        "+h",
                                        "+1hh",
                                        "1.",
                                        "1.x",
                                        "12x",
                                        "2026-12-01",
                                        "tomorrow",
                                        "+-1h",
                                        "-1",
                                        " 1",
                                        "1 ",
                                        "2026-12-01T12:00:00",
                                        "2026-13-01T12:00:00Z",
                                        "2026-02-30T12:00:00Z",
                                        "2026-12-01T24:00:00Z",
                                        "2026-12-01T12:00:00ZZ",
                                        "2026-12-01T12:00:00+2",
                                        "2026-12-01T12:00:00+02:60",
                                        "2026-12-01T12:00:00+99:00"};
    char text[KV_EXPIRY_TEXT];

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        expect_time(wrong[i], -EINVAL, 0);
    expect_time("never", 0, 0);
    expect_time("0", 0, 1);
    expect_time("1796126400", 0, 1796126400000000000);
    expect_time("1796126400.25", 0, 1796126400250000000);
    expect_time("2026-12-01T12:00:00Z", 0, 1796126400000000000);
    expect_time("2026-12-01 12:00:00z", 0, 1796126400000000000);
    expect_time("2026-12-01T14:30:00+02:30", 0, 1796126400000000000);
    expect_time("2026-12-01T11:00:00.000000001-01:00", 0, 1796126400000000001);
    expect_time("1960-01-01T00:00:00Z", 0, 1);
    expect_time("+90", 0, 1090 * 1000000000ll);
    expect_time("+5m", 0, 1300 * 1000000000ll);
    expect_time("+1h", 0, 4600 * 1000000000ll);
    expect_time("+2d", 0, 173800 * 1000000000ll);
    expect_time("+1w", 0, 605800 * 1000000000ll);
    expect_time("99999999999", -ERANGE, 0);
    expect_time("+99999999w", -ERANGE, 0);
    expect_time("3000-01-01T00:00:00Z", -ERANGE, 0);
    expect_time("99999999999999999999", -ERANGE, 0);
    kv_expiry_text(0, text);
    assert_string_equal(text, "never");
    kv_expiry_text(1796126400000000000, text);
    assert_string_equal(text, "2026-12-01T12:00:00Z");
    kv_expiry_text(1796126400250000000, text);
    assert_string_equal(text, "2026-12-01T12:00:00.25Z");
    kv_expiry_text(INT64_MAX, text);
    expect_time(text, 0, INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_ON_MEMORY(a_key_is_there_until_it_expires_and_for_no_reader_from_then_on),
        TEST_ON_LMDB(a_key_is_there_until_it_expires_and_for_no_reader_from_then_on),
        TEST_ON_MEMORY(what_the_cache_may_serve_ends_with_the_expiry),
        TEST_ON_MEMORY(a_listing_leaves_expired_keys_out_before_it_counts),
        TEST_ON_MEMORY(an_expired_key_is_absent_for_every_change),
        TEST_ON_MEMORY(a_put_on_an_expired_key_makes_a_new_one),
        TEST_ON_MEMORY(a_put_keeps_the_expiry_and_one_that_says_so_sets_it),
        TEST_ON_MEMORY(the_expiry_alone_changes_ctime_and_not_the_version),
        TEST_ON_MEMORY(an_expiry_in_the_past_ends_the_key_at_once),
        TEST_ON_MEMORY(a_rename_takes_the_expiry_along),
        TEST_ON_MEMORY(sweeping_gives_back_what_was_counted_and_tells_what_is_next),
        TEST_ON_LMDB(sweeping_gives_back_what_was_counted_and_tells_what_is_next),
        TEST_ON_LMDB(many_are_swept_in_several_changes),
        TEST_ON_MEMORY(a_namespace_with_nothing_but_expired_keys_is_empty),
        TEST_ON_LMDB(a_namespace_with_nothing_but_expired_keys_is_empty),
        TEST_ON_MEMORY(an_expired_key_counts_against_the_limit_until_it_is_swept),
        TEST_ON_MEMORY(a_quota_check_counts_what_an_expired_key_gives_back),
        cmocka_unit_test(the_sweeper_removes_a_key_soon_after_it_has_expired),
        TEST_ON_LMDB(a_read_only_store_does_not_sweep),
        cmocka_unit_test(records_without_an_expiry_are_as_they_were),
        cmocka_unit_test(entries_of_the_index_come_apart_and_nothing_else_does),
        cmocka_unit_test(times_are_read_and_written_as_people_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
