/* Putting, getting and deleting the values of keys. */
#include "tests/support/store.h"

#include "store/base/record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* A put of a text with everything else zero; the test changes it as it likes. */
static struct kv_change put_change(const struct kv_ref *ref, const char *text)
{
    struct kv_change change = {.kind = KV_PUT, .ref = *ref, .attr = {.mode = 0644}};

    assert_int_equal(kv_value_copy(text, strlen(text), &change.value), 0);
    return change;
}

/* ------------------------------------------------------------ put, get, delete */

static void a_value_that_was_put_is_got(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");

    test_put(test, "key", "value");
    test_expect_text(test, "key", "value");
    test_store_pass_ms(test, 61000);
    test_expect_text(test, "key", "value");
    assert_int_equal(test_stat(test, &key).size, 5);
}

static void get_of_an_absent_key_says_enoent(void **state)
{
    struct test_store *test = *state;
    struct kv_value *value = (struct kv_value *)&test;
    struct kv_ref key = test_key(test, "key"), before = key;
    struct kv_meta meta = {.version = 77};

    assert_int_equal(kv_get(test->kv, &key, &meta, &value, NULL), -ENOENT);
    assert_int_equal(kv_stat(test->kv, &key, &meta, NULL), -ENOENT);
    assert_int_equal(meta.version, 77); /* outputs are untouched */
    assert_ptr_equal(value, &test);
    assert_memory_equal(&key.node, &before.node, sizeof(key.node));
}

static void a_name_that_no_key_can_have_is_not_there(void **state)
{
    struct test_store *test = *state;
    static const char *const names[] = {"a.b", "a-b", ".swp", ""};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct kv_ref key = test_key(test, names[i]);

        test_expect_absent(test, &key);
        assert_int_equal(kv_put(test->kv, &key, "v", 1), -EINVAL);
        assert_int_equal(kv_delete(test->kv, &key), -EINVAL);
    }
}

static void keys_of_1_and_512_symbols_hold_values(void **state)
{
    struct test_store *test = *state;
    char name[KV_KEY_MAX + 1];

    memset(name, 'z', KV_KEY_MAX);
    name[KV_KEY_MAX] = '\0';
    test_put(test, "z", "short");
    test_put(test, name, "long");
    test_expect_text(test, "z", "short");
    test_expect_text(test, name, "long");
    name[KV_KEY_MAX - 1] = '\0';
    struct kv_ref shorter = test_key(test, name);
    test_expect_absent(test, &shorter);
}

static void an_overwrite_replaces_the_whole_value(void **state)
{
    struct test_store *test = *state;

    test_put(test, "key", "a long value");
    test_put(test, "key", "short");
    test_expect_text(test, "key", "short");
    test_put(test, "key", "and a longer one again");
    test_store_pass_ms(test, 61000);
    test_expect_text(test, "key", "and a longer one again");
}

static void a_deleted_key_is_gone(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");

    test_put(test, "key", "value");
    test_put(test, "key2", "other");
    assert_int_equal(kv_delete(test->kv, &key), 0);
    test_expect_absent(test, &key);
    test_store_pass_ms(test, 61000);
    test_expect_absent(test, &key);
    test_expect_text(test, "key2", "other");
    assert_int_equal(kv_delete(test->kv, &key), -ENOENT);
    test_put(test, "key", "again");
    test_expect_text(test, "key", "again");
}

static void bytes_of_any_kind_come_back_as_they_were(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    static const char text[] = "%s%n\0NUL\r\n\xff\xfe\x80 end\0";
    char all[256];

    assert_int_equal(kv_put(test->kv, &key, text, sizeof(text)), 0);
    test_expect_value(test, &key, text, sizeof(text));
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    assert_int_equal(kv_put(test->kv, &key, all, sizeof(all)), 0);
    test_store_pass_ms(test, 61000);
    test_expect_value(test, &key, all, sizeof(all));
}

static void a_namespace_that_is_not_there_says_enoent(void **state)
{
    struct test_store *test = *state;
    const uint64_t ids[] = {0, 999999, test->account.id, KV_ROOT_ID, UINT64_MAX};

    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        struct kv_ref key = kv_ref_key(ids[i], "key", 3);

        assert_int_equal(kv_put(test->kv, &key, "v", 1), -ENOENT);
        assert_int_equal(kv_delete(test->kv, &key), -ENOENT);
        test_expect_absent(test, &key);
    }
}

static void values_of_the_same_key_in_two_namespaces_are_two(void **state)
{
    struct test_store *test = *state;
    struct kv_node other = test_make(test, KV_NAMESPACE, test->account.id, "other");
    struct kv_ref here = test_key(test, "key"), there = kv_ref_key(other.id, "key", 3);

    assert_int_equal(kv_put(test->kv, &here, "here", 4), 0);
    test_expect_absent(test, &there);
    assert_int_equal(kv_put(test->kv, &there, "there", 5), 0);
    test_expect_value(test, &here, "here", 4);
    assert_int_equal(kv_delete(test->kv, &here), 0);
    test_expect_value(test, &there, "there", 5);
}

/* ---------------------------------------------------------------------- sizes */

static void values_of_every_edge_size_survive(void **state)
{
    static const size_t sizes[] = {0,
                                   1,
                                   RECORD_INLINE_MAX - 1,
                                   RECORD_INLINE_MAX,
                                   RECORD_INLINE_MAX + 1,
                                   RECORD_CHUNK - 1,
                                   RECORD_CHUNK,
                                   RECORD_CHUNK + 1,
                                   2 * RECORD_CHUNK,
                                   2 * RECORD_CHUNK + 1};
    struct test_store *test = *state;
    size_t count = sizeof(sizes) / sizeof(sizes[0]);

    for (size_t i = 0; i < count; i++) {
        struct kv_ref key = kv_ref_key(test->namespace.id, &"0123456789"[i], 1);

        test_put_bytes(test, &key, sizes[i], i);
        test_expect_bytes(test, &key, sizes[i], i);
        assert_int_equal(test_stat(test, &key).size, sizes[i]);
    }
    for (size_t i = 0; i < count; i++) { /* none disturbed another */
        struct kv_ref key = kv_ref_key(test->namespace.id, &"0123456789"[i], 1);

        test_expect_bytes(test, &key, sizes[i], i);
    }
}

/* From each size to each other: the old chunks go, all of the new ones come. */
static void overwriting_any_size_by_any_other_leaves_no_orphan_chunks(void **state)
{
    static const size_t sizes[] = {
        0, 100, RECORD_INLINE_MAX, RECORD_INLINE_MAX + 1, RECORD_CHUNK + 1, 3 * RECORD_CHUNK};
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    size_t count = sizeof(sizes) / sizeof(sizes[0]);

    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < count; j++) {
            test_put_bytes(test, &key, sizes[i], i);
            test_put_bytes(test, &key, sizes[j], j + 100);
            test_expect_bytes(test, &key, sizes[j], j + 100);
            assert_int_equal(test_records(test->inner, ENGINE_CHUNKS), record_chunks(sizes[j], 0));
            test_expect_sound(test->inner);
        }
    assert_int_equal(kv_delete(test->kv, &key), 0);
    assert_int_equal(test_records(test->inner, ENGINE_CHUNKS), 0);
}

static void a_value_of_25_mib_survives(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");

    test_put_bytes(test, &key, KV_VALUE_MAX, 1);
    test_expect_bytes(test, &key, KV_VALUE_MAX, 1);
    assert_int_equal(test_records(test->inner, ENGINE_CHUNKS), record_chunks(KV_VALUE_MAX, 0));
    test_put_bytes(test, &key, KV_VALUE_MAX, 2);
    test_expect_bytes(test, &key, KV_VALUE_MAX, 2);
    assert_int_equal(kv_delete(test->kv, &key), 0);
    assert_int_equal(test_records(test->inner, ENGINE_CHUNKS), 0);
}

static void one_byte_more_than_25_mib_says_efbig_and_leaves_the_old_value(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    struct kv_change change = put_change(&key, "");
    uint8_t *bytes = calloc(1, (size_t)KV_VALUE_MAX + 1);
    struct kv_value too_big = {.data = bytes, .size = (size_t)KV_VALUE_MAX + 1, .refs = 1}, *value = NULL;

    assert_non_null(bytes);
    test_put(test, "key", "old");
    assert_int_equal(kv_value_new((size_t)KV_VALUE_MAX + 1, &value), -EFBIG);
    assert_int_equal(kv_value_copy(bytes, (size_t)KV_VALUE_MAX + 1, &value), -EFBIG);
    assert_null(value);
    assert_int_equal(kv_put(test->kv, &key, bytes, (size_t)KV_VALUE_MAX + 1), -EFBIG);
    kv_value_unref(change.value);
    change.value = &too_big;
    assert_int_equal(kv_apply(test->kv, &change), -EFBIG);
    test_expect_text(test, "key", "old");
    free(bytes);
}

/* ------------------------------------------------------------------- metadata */

static void a_new_key_has_the_attributes_that_it_was_put_with(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    struct kv_change change = put_change(&key, "value");
    struct kv_meta meta;

    change.attr = (struct kv_attr){
        .mode = 04755, .uid = 12, .gid = 34, .atime_ns = 1, .mtime_ns = 2, .ctime_ns = 3, .btime_ns = 4};
    assert_int_equal(kv_apply(test->kv, &change), 0);
    kv_value_unref(change.value);
    test_store_pass_ms(test, 61000);
    meta = test_stat(test, &key);
    assert_int_equal(meta.attr.mode, 04755);
    assert_int_equal(meta.attr.uid, 12);
    assert_int_equal(meta.attr.gid, 34);
    assert_int_equal(meta.attr.atime_ns, 1);
    assert_int_equal(meta.attr.mtime_ns, 2);
    assert_int_equal(meta.attr.ctime_ns, 3);
    assert_int_equal(meta.attr.btime_ns, 4);
    assert_int_equal(meta.size, 5);
    assert_true(meta.attr.ino != 0);
    test_expect_same_meta(&change.meta, &meta); /* what the put answered */
}

/* A caller may well hand on all of a stat's st_mode. */
static void bits_beyond_the_permissions_do_not_get_into_the_store(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    struct kv_change change = put_change(&key, "value");

    change.attr.mode = 0100644;
    assert_int_equal(kv_apply(test->kv, &change), 0);
    kv_value_unref(change.value);
    test_store_pass_ms(test, 61000);
    assert_int_equal(test_stat(test, &key).attr.mode, 0644);
    test_expect_text(test, "key", "value");
}

static void an_overwrite_keeps_inode_mode_owner_and_birth_and_moves_the_times(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    struct kv_change change = put_change(&key, "value");
    struct kv_meta first, second;

    change.attr = (struct kv_attr){
        .mode = 0600, .uid = 1, .gid = 2, .atime_ns = 3, .mtime_ns = 4, .ctime_ns = 5, .btime_ns = 6};
    assert_int_equal(kv_apply(test->kv, &change), 0);
    first = change.meta;
    change.attr = (struct kv_attr){
        .mode = 0777, .uid = 11, .gid = 12, .atime_ns = 13, .mtime_ns = 14, .ctime_ns = 15, .btime_ns = 16};
    assert_int_equal(kv_apply(test->kv, &change), 0);
    second = change.meta;
    assert_int_equal(second.attr.ino, first.attr.ino);
    assert_int_equal(second.attr.mode, 0600);
    assert_int_equal(second.attr.uid, 1);
    assert_int_equal(second.attr.gid, 2);
    assert_int_equal(second.attr.atime_ns, 3);
    assert_int_equal(second.attr.mtime_ns, 14);
    assert_int_equal(second.attr.ctime_ns, 15);
    assert_int_equal(second.attr.btime_ns, 6);

    change.attr_mask = KV_MODE | KV_UID | KV_GID | KV_ATIME;
    assert_int_equal(kv_apply(test->kv, &change), 0);
    assert_int_equal(change.meta.attr.mode, 0777);
    assert_int_equal(change.meta.attr.uid, 11);
    assert_int_equal(change.meta.attr.gid, 12);
    assert_int_equal(change.meta.attr.atime_ns, 13);
    assert_int_equal(change.meta.attr.btime_ns, 6);
    assert_int_equal(change.meta.attr.ino, first.attr.ino);
    kv_value_unref(change.value);
}

/* As with a file that is renamed over another one. */
static void a_replacing_put_makes_a_new_object(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    struct kv_change xattr = {.kind = KV_SETXATTR,
                              .ref = key,
                              .xattr_name = "user.a",
                              .xattr_name_size = 6,
                              .xattr_value = "1",
                              .xattr_value_size = 1};
    struct kv_change change = put_change(&key, "new");
    struct kv_meta first, second;

    test_put_bytes(test, &key, 2 * RECORD_CHUNK, 1);
    assert_int_equal(kv_apply(test->kv, &xattr), 0);
    first = test_stat(test, &key);
    change.replace = true;
    change.attr = (struct kv_attr){
        .mode = 0600, .uid = 5, .gid = 6, .atime_ns = 1, .mtime_ns = 2, .ctime_ns = 3, .btime_ns = 4};
    assert_int_equal(kv_apply(test->kv, &change), 0);
    kv_value_unref(change.value);
    second = test_stat(test, &key);
    test_expect_same_meta(&second, &change.meta);
    assert_int_not_equal(second.attr.ino, first.attr.ino);
    assert_true(second.version > first.version);
    assert_int_equal(second.attr.mode, 0600);
    assert_int_equal(second.attr.uid, 5);
    assert_int_equal(second.attr.gid, 6);
    assert_int_equal(second.attr.atime_ns, 1);
    assert_int_equal(second.attr.btime_ns, 4);
    assert_false(second.has_xattrs);
    test_expect_text(test, "key", "new");
    assert_int_equal(test_node(test, test->namespace.id).keys, 1);
    assert_int_equal(test_records(test->inner, ENGINE_CHUNKS), 0);
}

static void versions_grow_with_every_put_and_only_then(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key"), other = test_key(test, "other");
    struct kv_change chmod = {.kind = KV_SETATTR, .ref = key, .attr = {.mode = 0600}, .attr_mask = KV_MODE};
    uint64_t last = 0;

    for (int i = 0; i < 20; i++) {
        struct kv_meta meta;

        test_put_bytes(test, i % 2 == 0 ? &key : &other, (size_t)i, 0);
        meta = test_stat(test, i % 2 == 0 ? &key : &other);
        assert_true(meta.version > last);
        last = meta.version;
    }
    last = test_stat(test, &key).version;
    assert_int_equal(kv_apply(test->kv, &chmod), 0);
    assert_int_equal(test_stat(test, &key).version, last);
    assert_int_equal(kv_delete(test->kv, &key), 0);
    test_put(test, "key", "again");
    assert_true(test_stat(test, &key).version > last);
}

static void a_key_put_again_after_its_deletion_is_a_new_inode(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    uint64_t ino;

    test_put(test, "key", "value");
    ino = test_stat(test, &key).attr.ino;
    assert_int_equal(kv_delete(test->kv, &key), 0);
    test_put(test, "key", "value");
    assert_int_not_equal(test_stat(test, &key).attr.ino, ino);
}

static void a_new_key_takes_the_inode_number_that_was_drawn_for_it(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    struct kv_change change = put_change(&key, "value");
    uint64_t ino;

    assert_int_equal(kv_new_ino(test->kv, &ino), 0);
    change.attr.ino = ino;
    assert_int_equal(kv_apply(test->kv, &change), 0);
    assert_int_equal(test_stat(test, &key).attr.ino, ino);

    assert_int_equal(kv_new_ino(test->kv, &change.attr.ino), 0);
    assert_int_equal(kv_apply(test->kv, &change), 0);
    assert_int_equal(test_stat(test, &key).attr.ino, ino); /* it has one */
    kv_value_unref(change.value);
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

/* Numbers of several leases, of keys that got theirs at the put, and of nodes. */
static void inode_numbers_are_never_given_out_twice(void **state)
{
    enum { DRAWN = 9000, PUT = 50, TOTAL = DRAWN + 2 * PUT };
    struct test_store *test = *state;
    static uint64_t numbers[TOTAL];
    size_t count = 0;

    for (int i = 0; i < DRAWN; i++) {
        assert_int_equal(kv_new_ino(test->kv, &numbers[count++]), 0);
        if (i % (DRAWN / PUT) == 0) {
            char name[16];
            struct kv_ref key;

            snprintf(name, sizeof(name), "k%d", i);
            key = test_key(test, name);
            test_put(test, name, "");
            numbers[count++] = test_stat(test, &key).attr.ino;
            snprintf(name, sizeof(name), "a%d", i);
            numbers[count++] = test_make(test, KV_ACCOUNT, KV_ROOT_ID, name).id;
        }
    }
    assert_int_equal(count, TOTAL);
    qsort(numbers, count, sizeof(*numbers), compare_u64);
    assert_true(numbers[0] > KV_ROOT_ID);
    for (size_t i = 1; i < count; i++)
        assert_true(numbers[i - 1] < numbers[i]);
}

static void a_new_key_and_a_deletion_move_the_times_of_the_namespace(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    int64_t before = test_node(test, test->namespace.id).attr.mtime_ns, mtime;

    test_store_pass_ms(test, 1000);
    test_put(test, "key", "value");
    mtime = test_node(test, test->namespace.id).attr.mtime_ns;
    assert_int_equal(mtime - before, 1000000000);
    test_store_pass_ms(test, 1000);
    test_put(test, "key", "overwrite");
    assert_int_equal(test_node(test, test->namespace.id).attr.mtime_ns, mtime);
    assert_int_equal(kv_delete(test->kv, &key), 0);
    assert_int_equal(test_node(test, test->namespace.id).attr.mtime_ns - mtime, 1000000000);
    assert_int_equal(test_node(test, test->namespace.id).attr.ctime_ns - mtime, 1000000000);
}

static void setattr_changes_what_its_mask_names_and_ctime(void **state)
{
    static const unsigned masks[] = {0, KV_MODE, KV_UID, KV_GID, KV_ATIME, KV_MTIME, KV_MODE | KV_MTIME, 31};
    struct test_store *test = *state;
    struct kv_ref refs[] = {test_key(test, "key"), kv_ref_node(test->namespace.id)};

    test_put(test, "key", "value");
    for (size_t i = 0; i < 2 * sizeof(masks) / sizeof(masks[0]); i++) {
        const struct kv_ref *ref = &refs[i % 2];
        unsigned mask = masks[i / 2];
        struct kv_change change = {.kind = KV_SETATTR, .ref = *ref, .attr_mask = mask};
        struct kv_attr old = i % 2 == 0 ? test_stat(test, ref).attr : test_node(test, ref->node).attr, now;

        test_store_pass_ms(test, 10);
        change.attr = (struct kv_attr){.ino = 5,
                                       .mode = 0700 + (uint32_t)i,
                                       .uid = 100 + (uint32_t)i,
                                       .gid = 200 + (uint32_t)i,
                                       .atime_ns = 300 + (int64_t)i,
                                       .mtime_ns = 400 + (int64_t)i,
                                       .ctime_ns = 500,
                                       .btime_ns = 600};
        assert_int_equal(kv_apply(test->kv, &change), 0);
        now = i % 2 == 0 ? test_stat(test, ref).attr : test_node(test, ref->node).attr;
        assert_int_equal(now.mode, mask & KV_MODE ? change.attr.mode : old.mode);
        assert_int_equal(now.uid, mask & KV_UID ? change.attr.uid : old.uid);
        assert_int_equal(now.gid, mask & KV_GID ? change.attr.gid : old.gid);
        assert_int_equal(now.atime_ns, mask & KV_ATIME ? change.attr.atime_ns : old.atime_ns);
        assert_int_equal(now.mtime_ns, mask & KV_MTIME ? change.attr.mtime_ns : old.mtime_ns);
        assert_int_equal(now.ctime_ns, TEST_CLOCK_START_NS + atomic_load(&test->now_ns));
        assert_int_equal(now.btime_ns, old.btime_ns);
        assert_int_equal(now.ino, old.ino);
    }
    test_expect_text(test, "key", "value");
}

static void setattr_of_what_is_not_there_says_enoent(void **state)
{
    struct test_store *test = *state;
    struct kv_change key = {.kind = KV_SETATTR, .ref = test_key(test, "nothing"), .attr_mask = KV_MODE};
    struct kv_change node = {.kind = KV_SETATTR, .ref = kv_ref_node(999999), .attr_mask = KV_MODE};

    assert_int_equal(kv_apply(test->kv, &key), -ENOENT);
    assert_int_equal(kv_apply(test->kv, &node), -ENOENT);
}

static void setattr_of_a_large_value_keeps_its_chunks(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    struct kv_change change = {.kind = KV_SETATTR, .ref = key, .attr = {.mode = 0600}, .attr_mask = KV_MODE};

    test_put_bytes(test, &key, 2 * RECORD_CHUNK, 7);
    assert_int_equal(kv_apply(test->kv, &change), 0);
    test_expect_bytes(test, &key, 2 * RECORD_CHUNK, 7);
    assert_int_equal(test_stat(test, &key).attr.mode, 0600);
}

/* ----------------------------------------------------------------- conditions */

static int put_if(struct test_store *test, const struct kv_ref *ref, uint64_t version, const char *text,
                  uint64_t *now)
{
    struct kv_change change = put_change(ref, text);
    int rc;

    change.conditional = true;
    change.if_version = version;
    rc = kv_apply(test->kv, &change);
    kv_value_unref(change.value);
    if (rc == 0)
        *now = change.meta.version;
    return rc;
}

static int delete_if(struct test_store *test, const struct kv_ref *ref, uint64_t version)
{
    struct kv_change change = {.kind = KV_DELETE, .ref = *ref, .conditional = true, .if_version = version};

    return kv_apply(test->kv, &change);
}

static void a_put_on_condition_of_a_version_happens_only_then(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    uint64_t first = 0, second = 0;

    assert_int_equal(put_if(test, &key, 5, "none", &first), -ECANCELED);
    test_expect_absent(test, &key);
    assert_int_equal(put_if(test, &key, 0, "one", &first), 0);
    assert_int_equal(put_if(test, &key, 0, "two", &second), -EEXIST);
    test_expect_text(test, "key", "one");
    assert_int_equal(put_if(test, &key, first + 1, "two", &second), -ECANCELED);
    test_expect_text(test, "key", "one");
    assert_int_equal(put_if(test, &key, first, "two", &second), 0);
    test_expect_text(test, "key", "two");
    assert_int_equal(put_if(test, &key, first, "three", &second), -ECANCELED);
    test_expect_text(test, "key", "two");
}

static void a_deletion_on_condition_of_a_version_happens_only_then(void **state)
{
    struct test_store *test = *state;
    struct kv_ref key = test_key(test, "key");
    uint64_t version = 0;

    assert_int_equal(delete_if(test, &key, 1), -ECANCELED);
    assert_int_equal(put_if(test, &key, 0, "one", &version), 0);
    assert_int_equal(delete_if(test, &key, version - 1), -ECANCELED);
    test_expect_text(test, "key", "one");
    assert_int_equal(delete_if(test, &key, version), 0);
    test_expect_absent(test, &key);
    assert_int_equal(delete_if(test, &key, version), -ECANCELED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_ON_MEMORY(a_value_that_was_put_is_got),
        TEST_ON_LMDB(a_value_that_was_put_is_got),
        TEST_ON_MEMORY(get_of_an_absent_key_says_enoent),
        TEST_ON_MEMORY(a_name_that_no_key_can_have_is_not_there),
        TEST_ON_MEMORY(keys_of_1_and_512_symbols_hold_values),
        TEST_ON_LMDB(keys_of_1_and_512_symbols_hold_values),
        TEST_ON_MEMORY(an_overwrite_replaces_the_whole_value),
        TEST_ON_MEMORY(a_deleted_key_is_gone),
        TEST_ON_LMDB(a_deleted_key_is_gone),
        TEST_ON_MEMORY(bytes_of_any_kind_come_back_as_they_were),
        TEST_ON_MEMORY(a_namespace_that_is_not_there_says_enoent),
        TEST_ON_MEMORY(values_of_the_same_key_in_two_namespaces_are_two),
        TEST_ON_MEMORY(values_of_every_edge_size_survive),
        TEST_ON_LMDB(values_of_every_edge_size_survive),
        TEST_ON_MEMORY(overwriting_any_size_by_any_other_leaves_no_orphan_chunks),
        TEST_ON_LMDB(overwriting_any_size_by_any_other_leaves_no_orphan_chunks),
        TEST_ON_MEMORY(a_value_of_25_mib_survives),
        TEST_ON_LMDB(a_value_of_25_mib_survives),
        TEST_ON_MEMORY(one_byte_more_than_25_mib_says_efbig_and_leaves_the_old_value),
        TEST_ON_MEMORY(a_new_key_has_the_attributes_that_it_was_put_with),
        TEST_ON_MEMORY(bits_beyond_the_permissions_do_not_get_into_the_store),
        TEST_ON_MEMORY(an_overwrite_keeps_inode_mode_owner_and_birth_and_moves_the_times),
        TEST_ON_MEMORY(a_replacing_put_makes_a_new_object),
        TEST_ON_MEMORY(versions_grow_with_every_put_and_only_then),
        TEST_ON_MEMORY(a_key_put_again_after_its_deletion_is_a_new_inode),
        TEST_ON_MEMORY(a_new_key_takes_the_inode_number_that_was_drawn_for_it),
        TEST_ON_MEMORY(inode_numbers_are_never_given_out_twice),
        TEST_ON_MEMORY(a_new_key_and_a_deletion_move_the_times_of_the_namespace),
        TEST_ON_MEMORY(setattr_changes_what_its_mask_names_and_ctime),
        TEST_ON_MEMORY(setattr_of_what_is_not_there_says_enoent),
        TEST_ON_MEMORY(setattr_of_a_large_value_keeps_its_chunks),
        TEST_ON_MEMORY(a_put_on_condition_of_a_version_happens_only_then),
        TEST_ON_MEMORY(a_deletion_on_condition_of_a_version_happens_only_then),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
