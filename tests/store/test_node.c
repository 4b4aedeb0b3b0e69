/* The tree above the keys: accounts, namespaces, projects, bindings. */
#include "tests/support/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* An account with everything in it. */
struct tree {
    struct kv_node account, projects, first, second, project, other_project, binding;
};

static int make_binding(struct test_store *test, uint64_t project, const char *name, uint64_t target,
                        struct kv_node *out)
{
    return kv_node_make(test->kv, KV_BINDING, project, name, target, out);
}

static struct tree make_tree(struct test_store *test)
{
    struct tree tree = {.account = test->account, .first = test->namespace};

    tree.projects = test_projects(test, tree.account.id);
    tree.second = test_make(test, KV_NAMESPACE, tree.account.id, "second");
    tree.project = test_make(test, KV_PROJECT, tree.projects.id, "web");
    tree.other_project = test_make(test, KV_PROJECT, tree.projects.id, "shop");
    assert_int_equal(make_binding(test, tree.project.id, "KV", tree.first.id, &tree.binding), 0);
    return tree;
}

static int make(struct test_store *test, enum kv_node_kind kind, uint64_t parent, const char *name)
{
    struct kv_node node;

    return kv_node_make(test->kv, kind, parent, name, kind == KV_BINDING ? test->namespace.id : 0, &node);
}

static int rename_node(struct test_store *test, uint64_t parent, const char *name, uint64_t to_parent,
                       const char *to_name, unsigned flags)
{
    struct kv_change change = {.kind = KV_NODE_RENAME, .flags = flags, .to_parent = to_parent};

    change.node.parent = parent;
    strcpy(change.node.name, name);
    strcpy(change.to_name, to_name);
    return kv_apply(test->kv, &change);
}

static int find(struct test_store *test, uint64_t parent, const char *name, struct kv_node *out)
{
    return kv_node_find(test->kv, parent, name, strlen(name), out);
}

static void expect_node(struct test_store *test, uint64_t parent, const char *name, uint64_t id)
{
    struct kv_node by_name, by_id = test_node(test, id);

    assert_int_equal(find(test, parent, name, &by_name), 0);
    assert_int_equal(by_name.id, id);
    assert_int_equal(by_id.parent, parent);
    assert_string_equal(by_id.name, name);
}

static void expect_none(struct test_store *test, uint64_t parent, const char *name)
{
    struct kv_node node;

    assert_int_equal(find(test, parent, name, &node), -ENOENT);
}

static void expect_gone(struct test_store *test, uint64_t id)
{
    struct kv_node node;

    assert_int_equal(kv_node_get(test->kv, id, &node), -ENOENT);
}

static int collect(void *arg, const struct kv_node *node)
{
    char *text = arg;

    strcat(text, node->name);
    strcat(text, " ");
    return 0;
}

static void expect_children(struct test_store *test, uint64_t parent, const char *names)
{
    char text[1000] = "";

    assert_int_equal(kv_node_scan(test->kv, parent, NULL, 0, false, collect, text), 0);
    assert_string_equal(text, names);
}

/* ------------------------------------------------------------------- creating */

static void every_kind_of_node_is_found_by_name_and_by_id(void **state)
{
    struct test_store *test = *state;
    struct tree tree = make_tree(test);

    expect_node(test, KV_ROOT_ID, "acme", tree.account.id);
    expect_node(test, tree.account.id, "main", tree.first.id);
    expect_node(test, tree.account.id, ".projects", tree.projects.id);
    expect_node(test, tree.projects.id, "web", tree.project.id);
    expect_node(test, tree.project.id, "KV", tree.binding.id);
    assert_int_equal(test_node(test, KV_ROOT_ID).kind, KV_ROOT);
    assert_int_equal(test_node(test, tree.account.id).kind, KV_ACCOUNT);
    assert_int_equal(test_node(test, tree.first.id).kind, KV_NAMESPACE);
    assert_int_equal(test_node(test, tree.projects.id).kind, KV_PROJECTS);
    assert_int_equal(test_node(test, tree.project.id).kind, KV_PROJECT);
    assert_int_equal(test_node(test, tree.binding.id).kind, KV_BINDING);
    assert_int_equal(test_node(test, tree.binding.id).target, tree.first.id);
    assert_int_equal(test_node(test, tree.account.id).attr.ino, tree.account.id);
}

static void nodes_have_the_attributes_that_they_were_made_with(void **state)
{
    struct test_store *test = *state;
    struct kv_change change = {.kind = KV_NODE_CREATE};
    struct kv_node node;

    change.node = (struct kv_node){.kind = KV_NAMESPACE, .parent = test->account.id, .name = "other"};
    change.node.attr = (struct kv_attr){
        .mode = 040751, .uid = 5, .gid = 6, .atime_ns = 1, .mtime_ns = 2, .ctime_ns = 3, .btime_ns = 4};
    change.node.keys = change.node.bytes = change.node.children = 77; /* not for the caller to say */
    change.node.target = change.node.limit_bytes = 77;
    assert_int_equal(kv_apply(test->kv, &change), 0);
    node = test_node(test, change.node.id);
    assert_int_equal(node.attr.mode, 0751);
    assert_int_equal(node.attr.uid, 5);
    assert_int_equal(node.attr.gid, 6);
    assert_int_equal(node.attr.atime_ns, 1);
    assert_int_equal(node.attr.mtime_ns, 2);
    assert_int_equal(node.attr.ctime_ns, 3);
    assert_int_equal(node.attr.btime_ns, 4);
    assert_int_equal(node.keys + node.bytes + node.children + node.target + node.limit_bytes, 0);
}

static void a_name_that_is_there_says_eexist(void **state)
{
    struct test_store *test = *state;
    struct tree tree = make_tree(test);

    assert_int_equal(make(test, KV_ACCOUNT, KV_ROOT_ID, "acme"), -EEXIST);
    assert_int_equal(make(test, KV_NAMESPACE, tree.account.id, "main"), -EEXIST);
    assert_int_equal(make(test, KV_PROJECT, tree.projects.id, "web"), -EEXIST);
    assert_int_equal(make(test, KV_BINDING, tree.project.id, "KV"), -EEXIST);
    assert_int_equal(make(test, KV_PROJECT, tree.projects.id, "main"), 0); /* another parent */
    assert_int_equal(make(test, KV_BINDING, tree.other_project.id, "KV"), 0);
    assert_int_equal(make(test, KV_NAMESPACE, tree.account.id, "acme"), 0);
}

static void names_outside_the_rules_are_refused(void **state)
{
    struct test_store *test = *state;
    struct tree tree = make_tree(test);
    char name[KV_NAME_MAX + 2];

    assert_int_equal(make(test, KV_ACCOUNT, KV_ROOT_ID, "a.b"), -EINVAL);
    assert_int_equal(make(test, KV_ACCOUNT, KV_ROOT_ID, "-a"), -EINVAL);
    assert_int_equal(make(test, KV_ACCOUNT, KV_ROOT_ID, ""), -EINVAL);
    assert_int_equal(make(test, KV_ACCOUNT, KV_ROOT_ID, ".kvfs"), -EINVAL);
    assert_int_equal(make(test, KV_NAMESPACE, tree.account.id, ".projects"), -EINVAL);
    assert_int_equal(make(test, KV_NAMESPACE, tree.account.id, "a/b"), -EINVAL);
    assert_int_equal(make(test, KV_PROJECT, tree.projects.id, "."), -EINVAL);
    assert_int_equal(make(test, KV_BINDING, tree.project.id, "1A"), -EINVAL);
    assert_int_equal(make(test, KV_BINDING, tree.project.id, "A-B"), -EINVAL);

    memset(name, 'n', sizeof(name));
    name[KV_NAME_MAX + 1] = '\0';
    assert_int_equal(make(test, KV_ACCOUNT, KV_ROOT_ID, name), -ENAMETOOLONG);
    assert_int_equal(kv_node_remove(test->kv, KV_ROOT_ID, name), -ENAMETOOLONG);
    name[KV_NAME_MAX] = '\0';
    assert_int_equal(make(test, KV_ACCOUNT, KV_ROOT_ID, name), 0);
    assert_int_equal(make(test, KV_BINDING, tree.project.id, name), 0);
    assert_int_equal(kv_node_remove(test->kv, KV_ROOT_ID, name), 0);
}

static void a_node_goes_only_under_a_parent_of_its_kind(void **state)
{
    struct test_store *test = *state;
    struct tree tree = make_tree(test);
    const uint64_t parents[] = {KV_ROOT_ID,      tree.account.id, tree.projects.id, tree.first.id,
                                tree.project.id, tree.binding.id, 999999,           0};
    static const enum kv_node_kind kinds[] = {KV_ACCOUNT, KV_NAMESPACE, KV_PROJECT, KV_BINDING};
    static const size_t right[] = {0, 1, 2, 4}; /* the parent of each kind */

    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < sizeof(parents) / sizeof(parents[0]); j++)
            assert_int_equal(make(test, kinds[i], parents[j], "node"), j == right[i] ? 0 : -ENOENT);
}

static void root_and_projects_are_not_for_users_to_make(void **state)
{
    struct test_store *test = *state;

    assert_int_equal(make(test, KV_ROOT, KV_ROOT_ID, "root"), -EPERM);
    assert_int_equal(make(test, KV_PROJECTS, test->account.id, "projects"), -EPERM);
    assert_int_equal(make(test, (enum kv_node_kind)0, KV_ROOT_ID, "zero"), -EPERM);
    assert_int_equal(make(test, (enum kv_node_kind)7, KV_ROOT_ID, "seven"), -EPERM);
}

static void a_binding_names_a_namespace_of_its_own_account(void **state)
{
    struct test_store *test = *state;
    struct tree tree = make_tree(test);
    struct kv_node other = test_make(test, KV_ACCOUNT, KV_ROOT_ID, "other"), binding;
    struct kv_node theirs = test_make(test, KV_NAMESPACE, other.id, "main");

    assert_int_equal(make_binding(test, tree.project.id, "A", theirs.id, &binding), -EXDEV);
    assert_int_equal(make_binding(test, tree.project.id, "A", 999999, &binding), -ENOENT);
    assert_int_equal(make_binding(test, tree.project.id, "A", tree.account.id, &binding), -ENOENT);
    assert_int_equal(make_binding(test, tree.project.id, "A", tree.project.id, &binding), -ENOENT);
    expect_none(test, tree.project.id, "A");
    assert_int_equal(make_binding(test, tree.project.id, "A", tree.first.id, &binding), 0);
    assert_int_equal(make_binding(test, tree.project.id, "B", tree.first.id, &binding), 0); /* two of one */
}

static void a_new_child_moves_the_times_and_count_of_its_parent(void **state)
{
    struct test_store *test = *state;
    uint64_t projects = test_projects(test, test->account.id).id;
    uint64_t parents[] = {KV_ROOT_ID, test->account.id, projects};
    static const enum kv_node_kind kinds[] = {KV_ACCOUNT, KV_NAMESPACE, KV_PROJECT};

    for (size_t i = 0; i < 3; i++) {
        struct kv_node before = test_node(test, parents[i]), after;

        test_store_pass_ms(test, 1000);
        assert_int_equal(make(test, kinds[i], parents[i], "child"), 0);
        after = test_node(test, parents[i]);
        assert_int_equal(after.children, before.children + 1);
        assert_int_equal(after.attr.mtime_ns, TEST_CLOCK_START_NS + atomic_load(&test->now_ns));
        assert_int_equal(after.attr.ctime_ns, after.attr.mtime_ns);

        test_store_pass_ms(test, 1000);
        assert_int_equal(make(test, kinds[i], parents[i], "child"), -EEXIST);
        assert_int_equal(test_node(test, parents[i]).attr.mtime_ns, after.attr.mtime_ns);

        assert_int_equal(kv_node_remove(test->kv, parents[i], "child"), 0);
        after = test_node(test, parents[i]);
        assert_int_equal(after.children, before.children);
        assert_int_equal(after.attr.mtime_ns, TEST_CLOCK_START_NS + atomic_load(&test->now_ns));
    }
}

/* -------------------------------------------------------------------- listing */

static void children_are_listed_in_byte_order(void **state)
{
    struct test_store *test = *state;
    static const char *const names[] = {"b", "a-b", "a", "Z", "_", "0", "ab", "a_b"};

    expect_children(test, KV_ROOT_ID, "acme ");
    for (size_t i = 0; i < 8; i++)
        test_make(test, KV_ACCOUNT, KV_ROOT_ID, names[i]);
    expect_children(test, KV_ROOT_ID, "0 Z _ a a-b a_b ab acme b ");
    expect_children(test, test->account.id, ".projects main ");
    expect_children(test, test->namespace.id, "");
}

static int count_until(void *arg, const struct kv_node *node)
{
    int *left = arg;

    (void)node;
    return --*left == 0 ? 77 : 0;
}

static void a_listing_of_nodes_starts_at_or_after_a_name(void **state)
{
    struct test_store *test = *state;
    char text[100] = "";
    char name[8];
    int left = 2;

    for (char c = 'a'; c < 'e'; c++) {
        snprintf(name, sizeof(name), "n%c", c);
        test_make(test, KV_ACCOUNT, KV_ROOT_ID, name);
    }
    assert_int_equal(kv_node_scan(test->kv, KV_ROOT_ID, "nb", 2, false, collect, text), 0);
    assert_string_equal(text, "nb nc nd ");
    text[0] = '\0';
    assert_int_equal(kv_node_scan(test->kv, KV_ROOT_ID, "nb", 2, true, collect, text), 0);
    assert_string_equal(text, "nc nd ");
    text[0] = '\0';
    assert_int_equal(kv_node_scan(test->kv, KV_ROOT_ID, "nbb", 3, true, collect, text), 0);
    assert_string_equal(text, "nc nd ");
    assert_int_equal(kv_node_scan(test->kv, KV_ROOT_ID, NULL, 0, false, count_until, &left), 77);
    assert_int_equal(left, 0);
    assert_int_equal(kv_node_scan(test->kv, 999999, NULL, 0, false, collect, text), -ENOENT);
}

/* ------------------------------------------------------------------- removing */

static void a_node_that_is_not_there_says_enoent(void **state)
{
    struct test_store *test = *state;
    struct kv_node node;
    char longest[600];

    assert_int_equal(kv_node_remove(test->kv, KV_ROOT_ID, "nobody"), -ENOENT);
    assert_int_equal(kv_node_remove(test->kv, 999999, "nobody"), -ENOENT);
    assert_int_equal(kv_node_remove(test->kv, KV_ROOT_ID, ""), -ENOENT);
    assert_int_equal(kv_node_get(test->kv, 999999, &node), -ENOENT);
    assert_int_equal(kv_node_get(test->kv, 0, &node), -ENOENT);
    memset(longest, 'x', sizeof(longest));
    assert_int_equal(kv_node_find(test->kv, KV_ROOT_ID, longest, sizeof(longest), &node), -ENOENT);
    assert_int_equal(kv_node_find(test->kv, KV_ROOT_ID, "", 0, &node), -ENOENT);
    assert_int_equal(kv_node_find(test->kv, 999999, "a", 1, &node), -ENOENT);
}

static void what_is_not_empty_stays(void **state)
{
    struct test_store *test = *state;
    struct tree tree = make_tree(test);
    struct test_dump before, after;

    test_put(test, "key", "value");
    before = test_dump(test->inner);
    assert_int_equal(kv_node_remove(test->kv, KV_ROOT_ID, "acme"), -ENOTEMPTY);
    assert_int_equal(kv_node_remove(test->kv, tree.account.id, "main"), -ENOTEMPTY);
    assert_int_equal(kv_node_remove(test->kv, tree.projects.id, "web"), -ENOTEMPTY);
    assert_int_equal(kv_node_remove(test->kv, tree.account.id, ".projects"), -EPERM);
    after = test_dump(test->inner);
    assert_true(test_same(&before, &after));
    free(before.data);
    free(after.data);
}

static void a_tree_is_removed_from_its_leaves_up(void **state)
{
    struct test_store *test = *state;
    struct tree tree = make_tree(test);
    struct kv_ref key = test_key(test, "key");

    test_put(test, "key", "value");
    assert_int_equal(kv_node_remove(test->kv, tree.project.id, "KV"), 0);
    assert_int_equal(kv_node_remove(test->kv, tree.projects.id, "web"), 0);
    assert_int_equal(kv_node_remove(test->kv, tree.projects.id, "shop"), 0);
    assert_int_equal(kv_delete(test->kv, &key), 0);
    assert_int_equal(kv_node_remove(test->kv, tree.account.id, "main"), 0);
    assert_int_equal(kv_node_remove(test->kv, KV_ROOT_ID, "acme"), -ENOTEMPTY);
    assert_int_equal(kv_node_remove(test->kv, tree.account.id, "second"), 0);
    assert_int_equal(kv_node_remove(test->kv, KV_ROOT_ID, "acme"), 0);
    expect_gone(test, tree.binding.id);
    expect_gone(test, tree.project.id);
    expect_gone(test, tree.first.id);
    expect_gone(test, tree.account.id);
    expect_gone(test, tree.projects.id); /* went with the account */
    expect_children(test, KV_ROOT_ID, "");
    assert_int_equal(test_records(test->inner, ENGINE_NODES), 1);
    assert_int_equal(test_records(test->inner, ENGINE_NAMES), 0);
}

static void an_account_with_projects_is_not_empty(void **state)
{
    struct test_store *test = *state;
    struct kv_node account = test_make(test, KV_ACCOUNT, KV_ROOT_ID, "other");
    uint64_t projects = test_projects(test, account.id).id;

    test_make(test, KV_PROJECT, projects, "web");
    assert_int_equal(kv_node_remove(test->kv, KV_ROOT_ID, "other"), -ENOTEMPTY);
    assert_int_equal(kv_node_remove(test->kv, projects, "web"), 0);
    assert_int_equal(kv_node_remove(test->kv, KV_ROOT_ID, "other"), 0);
}

static void a_removed_namespace_takes_the_bindings_to_it_along(void **state)
{
    struct test_store *test = *state;
    struct tree tree = make_tree(test);
    struct kv_node again, elsewhere, kept;

    assert_int_equal(make_binding(test, tree.project.id, "AGAIN", tree.first.id, &again), 0);
    assert_int_equal(make_binding(test, tree.other_project.id, "KV", tree.first.id, &elsewhere), 0);
    assert_int_equal(make_binding(test, tree.project.id, "KEPT", tree.second.id, &kept), 0);
    test_store_pass_ms(test, 1000);
    assert_int_equal(kv_node_remove(test->kv, tree.account.id, "main"), 0);
    expect_gone(test, tree.binding.id);
    expect_gone(test, again.id);
    expect_gone(test, elsewhere.id);
    expect_node(test, tree.project.id, "KEPT", kept.id);
    expect_children(test, tree.project.id, "KEPT ");
    expect_children(test, tree.other_project.id, "");
    assert_int_equal(test_node(test, tree.project.id).children, 1);
    assert_int_equal(test_node(test, tree.other_project.id).children, 0);
    assert_int_equal(test_node(test, tree.project.id).attr.mtime_ns,
                     TEST_CLOCK_START_NS + atomic_load(&test->now_ns));
}

static void a_name_used_again_gets_a_new_id(void **state)
{
    struct test_store *test = *state;
    struct tree tree = make_tree(test);
    struct kv_ref key = kv_ref_key(tree.second.id, "key", 3);
    struct kv_node again;

    assert_int_equal(kv_put(test->kv, &key, "value", 5), 0);
    assert_int_equal(kv_delete(test->kv, &key), 0);
    assert_int_equal(kv_node_remove(test->kv, tree.account.id, "second"), 0);
    again = test_make(test, KV_NAMESPACE, tree.account.id, "second");
    assert_true(again.id > tree.binding.id);
    assert_int_equal(kv_put(test->kv, &key, "late", 4), -ENOENT); /* to the one that was */
    expect_node(test, tree.account.id, "second", again.id);
}

/* ------------------------------------------------------------------- renaming */

static void every_kind_of_node_can_be_renamed_and_keeps_its_id(void **state)
{
    struct test_store *test = *state;
    struct tree tree = make_tree(test);

    test_put(test, "key", "value");
    assert_int_equal(rename_node(test, KV_ROOT_ID, "acme", KV_ROOT_ID, "acme-2", 0), 0);
    assert_int_equal(rename_node(test, tree.account.id, "main", tree.account.id, "main-2", 0), 0);
    assert_int_equal(rename_node(test, tree.projects.id, "web", tree.projects.id, "web-2", 0), 0);
    assert_int_equal(rename_node(test, tree.project.id, "KV", tree.project.id, "KV_2", 0), 0);
    expect_node(test, KV_ROOT_ID, "acme-2", tree.account.id);
    expect_node(test, tree.account.id, "main-2", tree.first.id);
    expect_node(test, tree.projects.id, "web-2", tree.project.id);
    expect_node(test, tree.project.id, "KV_2", tree.binding.id);
    expect_none(test, KV_ROOT_ID, "acme");
    expect_none(test, tree.account.id, "main");
    expect_none(test, tree.projects.id, "web");
    expect_none(test, tree.project.id, "KV");
    test_expect_text(test, "key", "value");
    expect_children(test, tree.account.id, ".projects main-2 second ");
    assert_int_equal(test_node(test, tree.account.id).children, 2);
}

static void a_shorter_name_leaves_nothing_of_the_longer_one(void **state)
{
    struct test_store *test = *state;

    test_make(test, KV_ACCOUNT, KV_ROOT_ID, "a-long-name");
    assert_int_equal(rename_node(test, KV_ROOT_ID, "a-long-name", KV_ROOT_ID, "b", 0), 0);
    expect_children(test, KV_ROOT_ID, "acme b ");
}

static void a_rename_moves_the_times_of_both_parents_and_ctime(void **state)
{
    struct test_store *test = *state;
    struct tree tree = make_tree(test);
    int64_t now, mtime = test_node(test, tree.binding.id).attr.mtime_ns;

    test_store_pass_ms(test, 1000);
    now = TEST_CLOCK_START_NS + atomic_load(&test->now_ns);
    assert_int_equal(rename_node(test, tree.project.id, "KV", tree.other_project.id, "KV", 0), 0);
    expect_node(test, tree.other_project.id, "KV", tree.binding.id);
    expect_none(test, tree.project.id, "KV");
    assert_int_equal(test_node(test, tree.project.id).attr.mtime_ns, now);
    assert_int_equal(test_node(test, tree.other_project.id).attr.mtime_ns, now);
    assert_int_equal(test_node(test, tree.binding.id).attr.ctime_ns, now);
    assert_int_equal(test_node(test, tree.binding.id).attr.mtime_ns, mtime);
    assert_int_equal(test_node(test, tree.project.id).children, 0);
    assert_int_equal(test_node(test, tree.other_project.id).children, 1);
}

static void a_rename_over_an_empty_namespace_replaces_it_and_its_bindings(void **state)
{
    struct test_store *test = *state;
    struct tree tree = make_tree(test);
    struct kv_node to_second;

    test_put(test, "key", "value");
    assert_int_equal(make_binding(test, tree.project.id, "SECOND", tree.second.id, &to_second), 0);
    assert_int_equal(rename_node(test, tree.account.id, "main", tree.account.id, "second", 0), 0);
    expect_node(test, tree.account.id, "second", tree.first.id);
    expect_none(test, tree.account.id, "main");
    expect_gone(test, tree.second.id);
    expect_gone(test, to_second.id);
    expect_children(test, tree.project.id, "KV ");
    test_expect_text(test, "key", "value");
    assert_int_equal(test_node(test, tree.account.id).children, 1);
}

static void a_rename_over_what_is_not_empty_says_enotempty(void **state)
{
    struct test_store *test = *state;
    struct tree tree = make_tree(test);
    struct kv_node other = test_make(test, KV_ACCOUNT, KV_ROOT_ID, "other");
    struct test_dump before, after;

    (void)other;
    test_put(test, "key", "value");
    before = test_dump(test->inner);
    assert_int_equal(rename_node(test, tree.account.id, "second", tree.account.id, "main", 0), -ENOTEMPTY);
    assert_int_equal(rename_node(test, KV_ROOT_ID, "other", KV_ROOT_ID, "acme", 0), -ENOTEMPTY);
    assert_int_equal(rename_node(test, tree.projects.id, "shop", tree.projects.id, "web", 0), -ENOTEMPTY);
    after = test_dump(test->inner);
    assert_true(test_same(&before, &after));
    free(before.data);
    free(after.data);
}

static void an_empty_account_project_or_binding_can_be_replaced(void **state)
{
    struct test_store *test = *state;
    struct tree tree = make_tree(test);
    struct kv_node other = test_make(test, KV_ACCOUNT, KV_ROOT_ID, "other"), binding;

    assert_int_equal(rename_node(test, KV_ROOT_ID, "acme", KV_ROOT_ID, "other", 0), 0);
    expect_node(test, KV_ROOT_ID, "other", tree.account.id);
    expect_gone(test, other.id);
    assert_int_equal(rename_node(test, tree.projects.id, "web", tree.projects.id, "shop", 0), 0);
    expect_node(test, tree.projects.id, "shop", tree.project.id);
    expect_gone(test, tree.other_project.id);
    assert_int_equal(make_binding(test, tree.project.id, "NEW", tree.second.id, &binding), 0);
    assert_int_equal(rename_node(test, tree.project.id, "NEW", tree.project.id, "KV", 0), 0);
    assert_int_equal(test_node(test, binding.id).target, tree.second.id);
    expect_gone(test, tree.binding.id);
    expect_children(test, tree.project.id, "KV ");
}

static void noreplace_leaves_a_node_alone(void **state)
{
    struct test_store *test = *state;
    struct tree tree = make_tree(test);

    assert_int_equal(rename_node(test, tree.account.id, "main", tree.account.id, "second", KV_NOREPLACE), -EEXIST);
    expect_node(test, tree.account.id, "second", tree.second.id);
    assert_int_equal(rename_node(test, tree.account.id, "main", tree.account.id, "third", KV_NOREPLACE), 0);
    expect_node(test, tree.account.id, "third", tree.first.id);
}

static void exchange_swaps_two_nodes_however_full(void **state)
{
    struct test_store *test = *state;
    struct tree tree = make_tree(test);
    struct kv_ref key = kv_ref_key(tree.second.id, "key", 3);
    struct kv_node binding;

    test_put(test, "key", "first");
    assert_int_equal(kv_put(test->kv, &key, "second", 6), 0);
    assert_int_equal(rename_node(test, tree.account.id, "main", tree.account.id, "second", KV_EXCHANGE), 0);
    expect_node(test, tree.account.id, "second", tree.first.id);
    expect_node(test, tree.account.id, "main", tree.second.id);
    test_expect_text(test, "key", "first");
    assert_int_equal(test_node(test, tree.binding.id).target, tree.first.id);

    assert_int_equal(make_binding(test, tree.other_project.id, "OTHER", tree.second.id, &binding), 0);
    assert_int_equal(rename_node(test, tree.project.id, "KV", tree.other_project.id, "OTHER", KV_EXCHANGE), 0);
    expect_node(test, tree.other_project.id, "OTHER", tree.binding.id);
    expect_node(test, tree.project.id, "KV", binding.id);
    assert_int_equal(rename_node(test, tree.account.id, "main", tree.account.id, "absent", KV_EXCHANGE), -ENOENT);
    assert_int_equal(rename_node(test, tree.account.id, "absent", tree.account.id, "main", KV_EXCHANGE), -ENOENT);
}

static void a_node_renamed_onto_itself_stays_as_it_is(void **state)
{
    struct test_store *test = *state;
    struct tree tree = make_tree(test);
    struct test_dump before = test_dump(test->inner), after;

    assert_int_equal(rename_node(test, tree.account.id, "main", tree.account.id, "main", 0), 0);
    assert_int_equal(rename_node(test, tree.account.id, "main", tree.account.id, "main", KV_EXCHANGE), 0);
    assert_int_equal(rename_node(test, KV_ROOT_ID, "acme", KV_ROOT_ID, "acme", 0), 0);
    after = test_dump(test->inner);
    assert_true(test_same(&before, &after));
    free(before.data);
    free(after.data);
}

static void nodes_do_not_move_to_another_account(void **state)
{
    struct test_store *test = *state;
    struct tree tree = make_tree(test);
    struct kv_node other = test_make(test, KV_ACCOUNT, KV_ROOT_ID, "other");
    uint64_t their_projects = test_projects(test, other.id).id;
    struct kv_node theirs = test_make(test, KV_PROJECT, their_projects, "web");

    assert_int_equal(rename_node(test, tree.account.id, "main", other.id, "main", 0), -EXDEV);
    assert_int_equal(rename_node(test, tree.projects.id, "web", their_projects, "web", 0), -EXDEV);
    assert_int_equal(rename_node(test, tree.project.id, "KV", theirs.id, "KV", 0), -EXDEV);
    assert_int_equal(rename_node(test, tree.project.id, "KV", theirs.id, "KV", KV_EXCHANGE), -EXDEV);
    expect_node(test, tree.account.id, "main", tree.first.id);
}

static void nodes_do_not_move_under_a_parent_of_another_kind(void **state)
{
    struct test_store *test = *state;
    struct tree tree = make_tree(test);

    assert_int_equal(rename_node(test, KV_ROOT_ID, "acme", tree.account.id, "acme", 0), -EPERM);
    assert_int_equal(rename_node(test, tree.account.id, "main", KV_ROOT_ID, "main", 0), -EPERM);
    assert_int_equal(rename_node(test, tree.account.id, "main", tree.second.id, "main", 0), -EPERM);
    assert_int_equal(rename_node(test, tree.account.id, "main", tree.projects.id, "main", 0), -EPERM);
    assert_int_equal(rename_node(test, tree.projects.id, "web", tree.account.id, "web", 0), -EPERM);
    assert_int_equal(rename_node(test, tree.project.id, "KV", tree.projects.id, "KV", 0), -EPERM);
    assert_int_equal(rename_node(test, tree.account.id, ".projects", tree.account.id, "projects", 0), -EPERM);
    assert_int_equal(rename_node(test, tree.account.id, "main", 999999, "main", 0), -ENOENT);
    assert_int_equal(rename_node(test, 999999, "main", tree.account.id, "main", 0), -ENOENT);
}

static void nodes_do_not_get_names_outside_the_rules(void **state)
{
    struct test_store *test = *state;
    struct tree tree = make_tree(test);

    assert_int_equal(rename_node(test, KV_ROOT_ID, "acme", KV_ROOT_ID, "a.b", 0), -EINVAL);
    assert_int_equal(rename_node(test, KV_ROOT_ID, "acme", KV_ROOT_ID, "", 0), -EINVAL);
    assert_int_equal(rename_node(test, tree.account.id, "main", tree.account.id, ".projects", 0), -EINVAL);
    assert_int_equal(rename_node(test, tree.account.id, "main", tree.account.id, ".projects", KV_EXCHANGE),
                     -EINVAL);
    assert_int_equal(rename_node(test, tree.project.id, "KV", tree.project.id, "1KV", 0), -EINVAL);
    assert_int_equal(rename_node(test, tree.project.id, "KV", tree.project.id, "K-V", 0), -EINVAL);
}

static void renaming_a_node_that_is_not_there_says_enoent(void **state)
{
    struct test_store *test = *state;

    assert_int_equal(rename_node(test, KV_ROOT_ID, "nobody", KV_ROOT_ID, "somebody", 0), -ENOENT);
    assert_int_equal(rename_node(test, KV_ROOT_ID, "nobody", KV_ROOT_ID, "acme", 0), -ENOENT);
    expect_node(test, KV_ROOT_ID, "acme", test->account.id);
}

/* ---------------------------------------------------------------------- at random */

static const char *random_name(struct test_random *random)
{
    static const char *const names[] = {"a", "b", "c", "d"};

    return names[test_random_below(random, 4)];
}

/* Nodes that were made; some of them are gone again. */
struct forest {
    struct test_random random;
    uint64_t ids[40];
    size_t count;
};

static void plant(struct forest *forest, uint64_t id)
{
    forest->ids[forest->count < 40 ? forest->count++ : 1 + test_random_below(&forest->random, 39)] = id;
}

static struct kv_node random_node(struct test_store *test, struct forest *forest)
{
    for (;;) { /* the root is always there */
        uint64_t *id = &forest->ids[test_random_below(&forest->random, forest->count)];
        struct kv_node node;

        if (kv_node_get(test->kv, *id, &node) == 0)
            return node;
        *id = forest->ids[--forest->count];
    }
}

static int make_at_random(struct test_store *test, struct forest *forest)
{
    static const enum kv_node_kind fitting[] = {
        [KV_ROOT] = KV_ACCOUNT,     [KV_ACCOUNT] = KV_NAMESPACE, [KV_NAMESPACE] = KV_PROJECT,
        [KV_PROJECTS] = KV_PROJECT, [KV_PROJECT] = KV_BINDING,   [KV_BINDING] = KV_ACCOUNT};
    struct kv_node parent = random_node(test, forest), node;
    int rc = kv_node_make(test->kv, fitting[parent.kind], parent.id, random_name(&forest->random),
                          random_node(test, forest).id, &node);

    if (rc == 0)
        plant(forest, node.id);
    if (rc == 0 && node.kind == KV_ACCOUNT)
        plant(forest, test_projects(test, node.id).id);
    return rc;
}

static int rename_at_random(struct test_store *test, struct forest *forest)
{
    struct kv_node node = random_node(test, forest), to = random_node(test, forest);
    bool within = test_random_below(&forest->random, 2) == 0;

    return rename_node(test, node.parent, node.name, within ? node.parent : to.id, random_name(&forest->random),
                       (unsigned)test_random_below(&forest->random, 3));
}

static int put_or_delete_at_random(struct test_store *test, struct forest *forest)
{
    struct kv_ref key = kv_ref_key(random_node(test, forest).id, random_name(&forest->random), 1);

    return test_random_below(&forest->random, 3) == 0 ? kv_put(test->kv, &key, "value", 5)
                                                      : kv_delete(test->kv, &key);
}

static void random_changes_of_the_tree_keep_it_sound(void **state)
{
    struct test_store *test = *state;
    struct forest forest = {.random = {1}, .ids = {KV_ROOT_ID}, .count = 1};
    unsigned done[4] = {0}, refused[4] = {0};

    plant(&forest, test->account.id);
    plant(&forest, test->namespace.id);
    plant(&forest, test_projects(test, test->account.id).id);
    for (int i = 0; i < 4000; i++) {
        struct kv_node node = random_node(test, &forest);
        size_t what = test_random_below(&forest.random, 4);
        int rc;

        switch (what) {
        case 0:
            rc = make_at_random(test, &forest);
            break;
        case 1:
            rc = kv_node_remove(test->kv, node.parent, node.name);
            break;
        case 2:
            rc = rename_at_random(test, &forest);
            break;
        default:
            rc = put_or_delete_at_random(test, &forest);
        }
        done[what] += rc == 0;
        refused[what] += rc < 0;
        if (rc == -EIO)
            fail_msg("step %d: damaged", i);
        if (i % 50 == 0)
            test_expect_sound(test->inner);
    }
    for (size_t i = 0; i < 4; i++) /* it was no idle run */
        assert_true(done[i] > 100 && refused[i] > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_ON_MEMORY(every_kind_of_node_is_found_by_name_and_by_id),
        TEST_ON_LMDB(every_kind_of_node_is_found_by_name_and_by_id),
        TEST_ON_MEMORY(nodes_have_the_attributes_that_they_were_made_with),
        TEST_ON_MEMORY(a_name_that_is_there_says_eexist),
        TEST_ON_MEMORY(names_outside_the_rules_are_refused),
        TEST_ON_MEMORY(a_node_goes_only_under_a_parent_of_its_kind),
        TEST_ON_MEMORY(root_and_projects_are_not_for_users_to_make),
        TEST_ON_MEMORY(a_binding_names_a_namespace_of_its_own_account),
        TEST_ON_MEMORY(a_new_child_moves_the_times_and_count_of_its_parent),
        TEST_ON_MEMORY(children_are_listed_in_byte_order),
        TEST_ON_LMDB(children_are_listed_in_byte_order),
        TEST_ON_MEMORY(a_listing_of_nodes_starts_at_or_after_a_name),
        TEST_ON_MEMORY(a_node_that_is_not_there_says_enoent),
        TEST_ON_MEMORY(what_is_not_empty_stays),
        TEST_ON_MEMORY(a_tree_is_removed_from_its_leaves_up),
        TEST_ON_LMDB(a_tree_is_removed_from_its_leaves_up),
        TEST_ON_MEMORY(an_account_with_projects_is_not_empty),
        TEST_ON_MEMORY(a_removed_namespace_takes_the_bindings_to_it_along),
        TEST_ON_LMDB(a_removed_namespace_takes_the_bindings_to_it_along),
        TEST_ON_MEMORY(a_name_used_again_gets_a_new_id),
        TEST_ON_MEMORY(every_kind_of_node_can_be_renamed_and_keeps_its_id),
        TEST_ON_MEMORY(a_shorter_name_leaves_nothing_of_the_longer_one),
        TEST_ON_MEMORY(a_rename_moves_the_times_of_both_parents_and_ctime),
        TEST_ON_MEMORY(a_rename_over_an_empty_namespace_replaces_it_and_its_bindings),
        TEST_ON_LMDB(a_rename_over_an_empty_namespace_replaces_it_and_its_bindings),
        TEST_ON_MEMORY(a_rename_over_what_is_not_empty_says_enotempty),
        TEST_ON_MEMORY(an_empty_account_project_or_binding_can_be_replaced),
        TEST_ON_MEMORY(noreplace_leaves_a_node_alone),
        TEST_ON_MEMORY(exchange_swaps_two_nodes_however_full),
        TEST_ON_MEMORY(a_node_renamed_onto_itself_stays_as_it_is),
        TEST_ON_MEMORY(nodes_do_not_move_to_another_account),
        TEST_ON_MEMORY(nodes_do_not_move_under_a_parent_of_another_kind),
        TEST_ON_MEMORY(nodes_do_not_get_names_outside_the_rules),
        TEST_ON_MEMORY(renaming_a_node_that_is_not_there_says_enoent),
        TEST_ON_MEMORY(random_changes_of_the_tree_keep_it_sound),
        TEST_ON_LMDB(random_changes_of_the_tree_keep_it_sound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
