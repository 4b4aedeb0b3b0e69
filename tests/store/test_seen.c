/* Changes that carry what was seen: they act on exactly that, or end in -ESTALE with nothing done. */
#include "tests/support/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define A_DAY_MS (24 * 60 * 60 * 1000)

enum { MINE = 5001, THEIRS = 5002 };

static struct kv_seen seen_of(struct test_store *test, uint64_t id)
{
    struct kv_node node = test_node(test, id);

    return (struct kv_seen){id, node.attr.mode, node.attr.uid, node.attr.gid};
}

/* What the kernel has been told of the directories above a key. */
struct path {
    struct kv_seen seen[3];
};

static struct path path_of(struct test_store *test)
{
    return (struct path){
        {seen_of(test, KV_ROOT_ID), seen_of(test, test->account.id), seen_of(test, test->namespace.id)}};
}

static struct kv_change change_of(enum kv_change_kind kind, struct kv_ref ref, const struct path *path,
                                  const struct kv_attr *object)
{
    return (struct kv_change){.kind = kind, .ref = ref, .seen = path->seen, .seen_count = 3, .object = object};
}

static void set_attr(struct test_store *test, struct kv_ref ref, unsigned mask, struct kv_attr attr)
{
    struct kv_change change = {.kind = KV_SETATTR, .ref = ref, .attr = attr, .attr_mask = mask};

    assert_int_equal(kv_apply(test->kv, &change), 0);
}

static void chmod_node(struct test_store *test, uint64_t id, uint32_t mode)
{
    set_attr(test, kv_ref_node(id), KV_MODE, (struct kv_attr){.mode = mode});
}

/* A key of this owner. */
static struct kv_attr make_key(struct test_store *test, const char *key, uint32_t uid, uint32_t mode)
{
    struct kv_ref ref = test_key(test, key);

    test_put(test, key, key);
    set_attr(test, ref, KV_UID | KV_GID | KV_MODE, (struct kv_attr){.uid = uid, .gid = uid, .mode = mode});
    return test_stat(test, &ref).attr;
}

/* Another object in the place of a key. */
static struct kv_attr remake_key(struct test_store *test, const char *key, uint32_t uid, uint32_t mode)
{
    struct kv_ref ref = test_key(test, key);

    assert_int_equal(kv_delete(test->kv, &ref), 0);
    return make_key(test, key, uid, mode);
}

static int put_change(struct test_store *test, struct kv_change *change, const char *text)
{
    int rc;

    assert_int_equal(kv_value_copy(text, strlen(text), &change->value), 0);
    rc = kv_apply(test->kv, change);
    kv_value_unref(change->value);
    return rc;
}

/* Apply a change that must not do anything. */
static void expect_stale(struct test_store *test, struct kv_change *change)
{
    struct test_dump before = test_dump(test->inner), after;

    assert_int_equal(change->kind == KV_PUT ? put_change(test, change, "stale") : kv_apply(test->kv, change),
                     -ESTALE);
    after = test_dump(test->inner);
    assert_true(test_same(&before, &after));
    free(before.data);
    free(after.data);
}

/* -------------------------------------------------------------------- the nodes */

static struct kv_change node_create(const struct path *path, uint64_t parent)
{
    struct kv_change change = change_of(KV_NODE_CREATE, (struct kv_ref){0}, path, NULL);

    change.node = (struct kv_node){.kind = KV_NAMESPACE, .parent = parent, .name = "new"};
    return change;
}

static void every_kind_of_change_wants_the_nodes_as_they_were_seen(void **state)
{
    struct test_store *test = *state;
    struct kv_attr object = make_key(test, "key", MINE, 0644), other = make_key(test, "other", MINE, 0644);
    struct path path = path_of(test);
    struct kv_ref ref = test_key(test, "key");
    struct kv_change changes[] = {
        change_of(KV_PUT, ref, &path, &object),      change_of(KV_DELETE, ref, &path, &object),
        change_of(KV_RENAME, ref, &path, &object),   change_of(KV_SETATTR, ref, &path, &object),
        change_of(KV_SETXATTR, ref, &path, &object), node_create(&path, test->account.id),
    };

    changes[2].to = test_key(test, "other");
    changes[2].to_object = &other;
    changes[4].xattr_name = "user.a";
    changes[4].xattr_name_size = 6;
    changes[4].xattr_value = "1";
    changes[4].xattr_value_size = 1;
    for (unsigned field = 0; field < 4; field++) {
        struct path bent = path;

        bent.seen[1].mode ^= field == 0 ? 0070 : 0;
        bent.seen[1].uid += field == 1;
        bent.seen[1].gid += field == 2;
        bent.seen[2].node += field == 3 ? 100000 : 0;
        for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
            struct kv_change change = changes[i];

            change.seen = bent.seen;
            expect_stale(test, &change);
        }
    }
    for (size_t i = 3; i < sizeof(changes) / sizeof(changes[0]); i++)
        assert_int_equal(kv_apply(test->kv, &changes[i]), 0);
    assert_int_equal(put_change(test, &changes[0], "value"), 0);
    assert_int_equal(kv_apply(test->kv, &changes[2]), 0);
    changes[1].ref = changes[2].to;
    assert_int_equal(kv_apply(test->kv, &changes[1]), 0);
}

static void a_directory_that_was_closed_or_replaced_is_not_changed_any_more(void **state)
{
    struct test_store *test = *state;
    struct path path = path_of(test);
    struct kv_change change = change_of(KV_PUT, test_key(test, "key"), &path, NULL);

    change.attr.mode = 0600;
    chmod_node(test, test->account.id, 0750);
    expect_stale(test, &change);
    chmod_node(test, test->account.id, path.seen[1].mode);
    assert_int_equal(kv_node_remove(test->kv, test->account.id, "main"), 0);
    (void)test_make(test, KV_NAMESPACE, test->account.id, "main");
    expect_stale(test, &change);
}

/* ---------------------------------------------------------------- a key's object */

static void attributes_are_set_on_the_object_that_was_seen(void **state)
{
    struct test_store *test = *state;
    struct kv_attr seen = make_key(test, "key", MINE, 0644);
    struct path path = path_of(test);
    struct kv_change chmod_it = change_of(KV_SETATTR, test_key(test, "key"), &path, &seen);
    struct kv_change set_xattr = change_of(KV_SETXATTR, test_key(test, "key"), &path, &seen);

    chmod_it.attr.mode = 0666;
    chmod_it.attr_mask = KV_MODE;
    set_xattr.xattr_name = "user.a";
    set_xattr.xattr_name_size = 6;
    set_xattr.xattr_value = "1";
    set_xattr.xattr_value_size = 1;

    assert_int_equal(kv_apply(test->kv, &chmod_it), 0);
    assert_int_equal(kv_apply(test->kv, &set_xattr), 0); /* its mode is another one now: it is the same object */
    chmod_it.strict = set_xattr.strict = true;
    expect_stale(test, &chmod_it);
    expect_stale(test, &set_xattr);
    chmod_it.strict = set_xattr.strict = false;

    set_attr(test, chmod_it.ref, KV_UID, (struct kv_attr){.uid = THEIRS});
    expect_stale(test, &chmod_it);
    expect_stale(test, &set_xattr);
    remake_key(test, "key", MINE, 0644);
    expect_stale(test, &chmod_it);
    expect_stale(test, &set_xattr);
    assert_int_equal(kv_delete(test->kv, &chmod_it.ref), 0);
    expect_stale(test, &chmod_it);
    expect_stale(test, &set_xattr);
}

static void a_strict_change_wants_mode_and_group_as_they_were_seen(void **state)
{
    struct test_store *test = *state;
    struct kv_attr seen = make_key(test, "key", MINE, 0644);
    struct path path = path_of(test);
    struct kv_change change = change_of(KV_SETATTR, test_key(test, "key"), &path, &seen);

    change.strict = true;
    change.attr_mask = KV_MTIME;
    assert_int_equal(kv_apply(test->kv, &change), 0);
    set_attr(test, change.ref, KV_GID, (struct kv_attr){.gid = THEIRS});
    expect_stale(test, &change);
}

static void a_put_goes_into_the_object_that_was_seen_or_one_of_the_same_rights(void **state)
{
    struct test_store *test = *state;
    struct kv_attr seen = make_key(test, "key", MINE, 0640), there;
    struct path path = path_of(test);
    struct kv_change put = change_of(KV_PUT, test_key(test, "key"), &path, &seen);

    put.attr = seen;
    assert_int_equal(put_change(test, &put, "first"), 0);
    set_attr(test, put.ref, KV_MODE, (struct kv_attr){.mode = 0600}); /* the same object, closed meanwhile */
    assert_int_equal(put_change(test, &put, "second"), 0);
    test_expect_text(test, "key", "second");

    there = remake_key(test, "key", MINE, 0640);
    assert_int_equal(put_change(test, &put, "third"), 0);
    assert_int_equal(put.meta.attr.ino, there.ino);
    assert_int_not_equal(put.meta.attr.ino, seen.ino);

    remake_key(test, "key", MINE, 0600);
    expect_stale(test, &put);
    remake_key(test, "key", THEIRS, 0640);
    expect_stale(test, &put);
    test_expect_text(test, "key", "key");

    assert_int_equal(kv_delete(test->kv, &put.ref), 0);
    put.attr = seen;
    assert_int_equal(put_change(test, &put, "fourth"), 0);
    assert_int_equal(put.meta.attr.ino, seen.ino);
}

static void a_put_of_a_key_that_was_absent_does_not_go_into_one_that_came_meanwhile(void **state)
{
    struct test_store *test = *state;
    struct path path = path_of(test);
    struct kv_change put = change_of(KV_PUT, test_key(test, "key"), &path, NULL);

    assert_int_equal(kv_new_ino(test->kv, &put.attr.ino), 0);
    put.attr.mode = 0644;
    make_key(test, "key", THEIRS, 0600);
    expect_stale(test, &put);
    put.conditional = true; /* who wants a new one is told that there is one */
    assert_int_equal(put_change(test, &put, "value"), -EEXIST);
    put.conditional = false;
    assert_int_equal(kv_delete(test->kv, &put.ref), 0);
    assert_int_equal(put_change(test, &put, "value"), 0);
    assert_int_equal(put_change(test, &put, "again"), 0); /* what it made itself */
    test_expect_text(test, "key", "again");
}

/* --------------------------------------------------------------- sticky namespaces */

static void a_sticky_namespace_gives_away_only_keys_of_the_owner_that_was_seen(void **state)
{
    struct test_store *test = *state;
    struct kv_attr mine = make_key(test, "key", MINE, 0644), target = make_key(test, "to", MINE, 0644);
    struct path path;
    struct kv_change delete_it, rename_it, replace_it;

    chmod_node(test, test->namespace.id, 01777);
    path = path_of(test);
    delete_it = change_of(KV_DELETE, test_key(test, "key"), &path, &mine);
    rename_it = change_of(KV_RENAME, test_key(test, "key"), &path, &mine);
    rename_it.to = test_key(test, "to");
    rename_it.to_object = &target;
    replace_it = change_of(KV_PUT, test_key(test, "to"), &path, NULL);
    replace_it.to_object = &target;
    replace_it.replace = true;
    replace_it.attr = (struct kv_attr){.mode = 0600, .uid = MINE};

    remake_key(test, "key", THEIRS, 0644);
    expect_stale(test, &delete_it);
    expect_stale(test, &rename_it);
    rename_it.flags = KV_EXCHANGE;
    expect_stale(test, &rename_it);
    rename_it.flags = 0;
    remake_key(test, "key", MINE, 0600);
    remake_key(test, "to", THEIRS, 0644);
    expect_stale(test, &rename_it);
    expect_stale(test, &replace_it);
    rename_it.flags = KV_EXCHANGE;
    expect_stale(test, &rename_it);
    rename_it.flags = 0;
    rename_it.to_object = replace_it.to_object = NULL; /* there was nothing to replace */
    expect_stale(test, &rename_it);
    expect_stale(test, &replace_it);
    delete_it.object = NULL;
    expect_stale(test, &delete_it);

    remake_key(test, "to", MINE, 0600);
    rename_it.to_object = replace_it.to_object = &target;
    delete_it.object = &mine;
    assert_int_equal(put_change(test, &replace_it, "replaced"), 0);
    assert_int_equal(kv_apply(test->kv, &rename_it), 0);
    delete_it.ref = rename_it.to;
    assert_int_equal(kv_apply(test->kv, &delete_it), 0);
}

static void elsewhere_anything_may_be_taken_away(void **state)
{
    struct test_store *test = *state;
    struct kv_attr mine = make_key(test, "key", MINE, 0644);
    struct path path = path_of(test);
    struct kv_change rename_it = change_of(KV_RENAME, test_key(test, "key"), &path, &mine);
    struct kv_change delete_it = change_of(KV_DELETE, test_key(test, "to"), &path, NULL);

    make_key(test, "to", THEIRS, 0600);
    remake_key(test, "key", THEIRS, 0600);
    rename_it.to = test_key(test, "to");
    assert_int_equal(kv_apply(test->kv, &rename_it), 0);
    assert_int_equal(kv_apply(test->kv, &delete_it), 0);
}

static void without_what_was_seen_only_a_puts_object_is_checked(void **state)
{
    struct test_store *test = *state;
    struct kv_attr seen = make_key(test, "key", MINE, 0644);
    struct kv_change change = {.kind = KV_SETATTR, .ref = test_key(test, "key"), .object = &seen, .strict = true};

    remake_key(test, "key", THEIRS, 0600);
    assert_int_equal(kv_apply(test->kv, &change), 0);
    change.kind = KV_PUT;
    assert_int_equal(put_change(test, &change, "value"), -ESTALE); /* but the object of a put */
    change.object = NULL;
    assert_int_equal(put_change(test, &change, "value"), 0);
}

/* ----------------------------------------------------------------- kv_check_seen */

static void a_check_tells_whether_nodes_are_as_they_were_seen(void **state)
{
    struct test_store *test = *state;
    struct path path = path_of(test);
    struct kv_usage usage = {.account = 1, .bytes = 2, .limit_bytes = 3, .keys = 4, .limit_keys = 5};
    struct kv_node account;

    test_put(test, "key", "value");
    assert_int_equal(kv_check_seen(test->kv, path.seen, 3, &usage), 0);
    account = test_node(test, test->account.id);
    assert_int_equal(usage.account, account.id);
    assert_int_equal(usage.bytes, 8);
    assert_int_equal(usage.keys, 1);
    assert_int_equal(usage.limit_bytes, account.limit_bytes);
    assert_int_equal(kv_check_seen(test->kv, path.seen, 1, &usage), 0);
    assert_int_equal(usage.account, 0);
    assert_int_equal(usage.bytes, 0);
    assert_int_equal(usage.limit_bytes, 0);
    assert_int_equal(usage.keys + usage.limit_keys, 0);
    assert_int_equal(kv_check_seen(test->kv, NULL, 0, NULL), 0);

    chmod_node(test, test->namespace.id, 0700);
    assert_int_equal(kv_check_seen(test->kv, path.seen, 3, &usage), -ESTALE);
    assert_int_equal(kv_check_seen(test->kv, path.seen, 2, NULL), 0);
    path.seen[1].node = 1 << 30;
    assert_int_equal(kv_check_seen(test->kv, path.seen, 2, NULL), -ESTALE);
    engine_fault_arm(test->fault, ENGINE_GET, 2, 1, -EIO);
    assert_int_equal(kv_check_seen(test->kv, path.seen, 2, NULL), -EIO);
}

/* ------------------------------------------------------------------ accepted puts */

static int setup_staged(void **state)
{
    struct kv_options options = kv_options_default();
    struct test_store *test;
    uint64_t ino;

    options.durability = KV_DURABILITY_FSYNC;
    options.commit_interval_ms = A_DAY_MS;
    test = *state = test_store_open(TEST_MEMORY, &options);
    return kv_new_ino(test->kv, &ino) == 0 ? kv_sync(test->kv) : -1; /* the first ids are on their way */
}

static void a_put_is_accepted_with_what_was_seen_and_checked_again_when_it_is_committed(void **state)
{
    struct test_store *test = *state;
    struct kv_attr seen = make_key(test, "key", MINE, 0644);
    struct path *path = malloc(sizeof(*path));
    struct kv_attr *object = malloc(sizeof(*object));
    struct kv_change put;

    assert_true(path != NULL && object != NULL);
    *path = path_of(test);
    *object = seen;
    assert_int_equal(kv_sync(test->kv), 0);
    put = change_of(KV_PUT, test_key(test, "key"), path, object);
    put.attr = seen;
    assert_int_equal(put_change(test, &put, "accepted"), 0);
    free(path); /* it is done */
    free(object);
    test_expect_text(test, "key", "accepted");
    assert_int_equal(kv_sync(test->kv), 0);
    test_expect_text(test, "key", "accepted");
}

static void a_put_that_does_not_go_with_what_is_there_is_not_accepted(void **state)
{
    struct test_store *test = *state;
    struct kv_attr seen = make_key(test, "key", MINE, 0644);
    struct path path = path_of(test);
    struct kv_change put = change_of(KV_PUT, test_key(test, "key"), &path, &seen);

    put.attr = seen;
    remake_key(test, "key", THEIRS, 0600);
    assert_int_equal(kv_sync(test->kv), 0);
    assert_int_equal(put_change(test, &put, "stale"), -ESTALE);
    chmod_node(test, test->account.id, 0750);
    remake_key(test, "key", MINE, 0644);
    assert_int_equal(kv_sync(test->kv), 0);
    assert_int_equal(put_change(test, &put, "stale"), -ESTALE);
    assert_int_equal(kv_sync(test->kv), 0);
    test_expect_text(test, "key", "key");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_ON_MEMORY(every_kind_of_change_wants_the_nodes_as_they_were_seen),
        TEST_ON_LMDB(every_kind_of_change_wants_the_nodes_as_they_were_seen),
        TEST_ON_MEMORY(a_directory_that_was_closed_or_replaced_is_not_changed_any_more),
        TEST_ON_MEMORY(attributes_are_set_on_the_object_that_was_seen),
        TEST_ON_MEMORY(a_strict_change_wants_mode_and_group_as_they_were_seen),
        TEST_ON_MEMORY(a_put_goes_into_the_object_that_was_seen_or_one_of_the_same_rights),
        TEST_ON_MEMORY(a_put_of_a_key_that_was_absent_does_not_go_into_one_that_came_meanwhile),
        TEST_ON_MEMORY(a_sticky_namespace_gives_away_only_keys_of_the_owner_that_was_seen),
        TEST_ON_MEMORY(elsewhere_anything_may_be_taken_away),
        TEST_ON_MEMORY(without_what_was_seen_only_a_puts_object_is_checked),
        TEST_ON_MEMORY(a_check_tells_whether_nodes_are_as_they_were_seen),
        TEST_ON_LMDB(a_check_tells_whether_nodes_are_as_they_were_seen),
        cmocka_unit_test_setup_teardown(
            a_put_is_accepted_with_what_was_seen_and_checked_again_when_it_is_committed, setup_staged,
            test_teardown),
        cmocka_unit_test_setup_teardown(a_put_that_does_not_go_with_what_is_there_is_not_accepted, setup_staged,
                                        test_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
