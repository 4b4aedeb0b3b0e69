/* A session in which every call of the engine fails once, in every way: each change happens or it does
 * not, and whoever asked hears why. */
#include "tests/support/store.h"

#include "store/base/record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const int errors[] = {-ENOSPC, -EIO, -ETIMEDOUT, -ENOMEM};
enum { ERRORS = sizeof(errors) / sizeof(errors[0]) };

/* ------------------------------------------------------------------ the session */

/* What a step borrows while it runs. */
enum { TOGETHER = 3 };

struct step {
    struct kv_change change;
    struct kv_change together[TOGETHER]; /* where the first is a check: these instead, in one transaction */
    struct kv_xattrs xattrs;
};

static struct kv_node node_at(struct test_store *test, uint64_t parent, const char *name)
{
    struct kv_node node;

    assert_int_equal(kv_node_find(test->kv, parent, name, strlen(name), &node), 0);
    return node;
}

static struct kv_ref key_in(struct test_store *test, const char *namespace, const char *key)
{
    return kv_ref_key(node_at(test, test->account.id, namespace).id, key, strlen(key));
}

static void put(struct step *step, struct kv_ref ref, size_t size, int byte)
{
    step->change.kind = KV_PUT;
    step->change.ref = ref;
    step->change.attr = (struct kv_attr){.mode = 0644, .mtime_ns = byte, .ctime_ns = byte};
    assert_int_equal(kv_value_new(size, &step->change.value), 0);
    if (size > 0)
        memset(step->change.value->data, byte, size);
}

static void create(struct step *step, enum kv_node_kind kind, uint64_t parent, const char *name, uint64_t target)
{
    step->change.kind = KV_NODE_CREATE;
    step->change.node = (struct kv_node){.kind = kind, .parent = parent, .target = target, .attr = {.mode = 0755}};
    strcpy(step->change.node.name, name);
}

static void rename_node(struct step *step, uint64_t from, const char *name, uint64_t to, const char *to_name,
                        unsigned flags)
{
    step->change.kind = KV_NODE_RENAME;
    step->change.node.parent = from;
    strcpy(step->change.node.name, name);
    step->change.to_parent = to;
    strcpy(step->change.to_name, to_name);
    step->change.flags = flags;
}

static void rename_key(struct step *step, struct kv_ref from, struct kv_ref to, unsigned flags)
{
    step->change.kind = KV_RENAME;
    step->change.ref = from;
    step->change.to = to;
    step->change.flags = flags;
}

static void set_xattr(struct step *step, struct kv_ref ref, const char *value)
{
    step->change.kind = KV_SETXATTR;
    step->change.ref = ref;
    step->change.xattr_name = "user.colour";
    step->change.xattr_name_size = strlen("user.colour");
    step->change.xattr_value = value;
    step->change.xattr_value_size = value != NULL ? strlen(value) : 0;
}

static void set_attr(struct step *step, struct kv_ref ref)
{
    step->change.kind = KV_SETATTR;
    step->change.ref = ref;
    step->change.attr = (struct kv_attr){.mode = 0600, .uid = 5, .mtime_ns = 9};
    step->change.attr_mask = KV_MODE | KV_UID | KV_MTIME;
}

/* Fill in the change of a step. Steps build on those before them. */
typedef void prepare_step(struct test_store *test, struct step *step);

static void create_account(struct test_store *test, struct step *step)
{
    (void)test;
    create(step, KV_ACCOUNT, KV_ROOT_ID, "other", 0);
}

static void create_namespace(struct test_store *test, struct step *step)
{
    create(step, KV_NAMESPACE, test->account.id, "second", 0);
}

static void put_small(struct test_store *test, struct step *step) { put(step, test_key(test, "small"), 100, 'a'); }

static void put_large(struct test_store *test, struct step *step)
{
    put(step, test_key(test, "large"), RECORD_CHUNK + 1, 'b');
}

static void put_with_attributes(struct test_store *test, struct step *step)
{
    assert_int_equal(kv_xattrs_set(&step->xattrs, "user.a", 6, "1", 1, 0), 0);
    put(step, test_key(test, "dressed"), 10, 'c');
    step->change.xattrs = &step->xattrs;
}

static void overwrite_small_by_large(struct test_store *test, struct step *step)
{
    put(step, test_key(test, "small"), RECORD_INLINE_MAX + 1, 'd');
}

static void overwrite_large_by_large(struct test_store *test, struct step *step)
{
    put(step, test_key(test, "large"), 2 * RECORD_CHUNK, 'e');
}

static void overwrite_large_by_small(struct test_store *test, struct step *step)
{
    put(step, test_key(test, "small"), 5, 'f');
}

static void replace_a_key(struct test_store *test, struct step *step)
{
    put(step, test_key(test, "dressed"), 11, 'g');
    step->change.replace = true;
}

static void set_attr_of_key(struct test_store *test, struct step *step)
{
    set_attr(step, test_key(test, "large"));
}

static void set_attr_of_node(struct test_store *test, struct step *step)
{
    set_attr(step, kv_ref_node(test->namespace.id));
}

static void set_xattr_of_key(struct test_store *test, struct step *step)
{
    set_xattr(step, test_key(test, "large"), "red");
}

static void set_xattr_of_node(struct test_store *test, struct step *step)
{
    set_xattr(step, kv_ref_node(test->account.id), "blue");
}

static void remove_xattr_of_key(struct test_store *test, struct step *step)
{
    set_xattr(step, test_key(test, "large"), NULL);
}

static void remove_xattr_of_node(struct test_store *test, struct step *step)
{
    set_xattr(step, kv_ref_node(test->account.id), NULL);
}

static void rename_to_a_new_name(struct test_store *test, struct step *step)
{
    rename_key(step, test_key(test, "small"), test_key(test, "renamed"), 0);
}

static void rename_to_another_namespace(struct test_store *test, struct step *step)
{
    rename_key(step, test_key(test, "renamed"), key_in(test, "second", "moved"), 0);
}

static void exchange_keys(struct test_store *test, struct step *step)
{
    rename_key(step, test_key(test, "large"), key_in(test, "second", "moved"), KV_EXCHANGE);
}

static void rename_over_a_large_key(struct test_store *test, struct step *step)
{
    rename_key(step, test_key(test, "large"), key_in(test, "second", "moved"), 0);
}

static void create_project(struct test_store *test, struct step *step)
{
    create(step, KV_PROJECT, test_projects(test, test->account.id).id, "web", 0);
}

static void create_binding(struct test_store *test, struct step *step)
{
    create(step, KV_BINDING, node_at(test, test_projects(test, test->account.id).id, "web").id, "KV",
           node_at(test, test->account.id, "third").id);
}

static void rename_binding(struct test_store *test, struct step *step)
{
    uint64_t project = node_at(test, test_projects(test, test->account.id).id, "web").id;

    rename_node(step, project, "KV", project, "KV_2", 0);
}

static void create_third(struct test_store *test, struct step *step)
{
    create(step, KV_NAMESPACE, test->account.id, "third", 0);
}

static void rename_account(struct test_store *test, struct step *step)
{
    (void)test;
    rename_node(step, KV_ROOT_ID, "other", KV_ROOT_ID, "another", 0);
}

static void exchange_namespaces(struct test_store *test, struct step *step)
{
    rename_node(step, test->account.id, "main", test->account.id, "second", KV_EXCHANGE);
}

static void exchange_namespaces_again(struct test_store *test, struct step *step)
{
    exchange_namespaces(test, step);
}

static void set_limits(struct test_store *test, struct step *step)
{
    step->change.kind = KV_NODE_LIMITS;
    step->change.node.id = test->account.id;
    step->change.node.limit_bytes = 5000000;
    step->change.node.limit_namespaces = 5;
}

static void rename_over_an_empty_namespace(struct test_store *test, struct step *step)
{
    rename_node(step, test->account.id, "second", test->account.id, "third", 0);
}

static void bind_again(struct test_store *test, struct step *step) { create_binding(test, step); }

static void put_ending(struct test_store *test, struct step *step)
{
    put(step, test_key(test, "ending"), 8193, 'e');
    step->change.expiry = KV_EXPIRY_SET;
    step->change.expires_ns = 2 * TEST_CLOCK_START_NS;
}

static void put_two_if_a_third_is_not_there(struct test_store *test, struct step *step)
{
    step->together[0] = (struct kv_change){.kind = KV_CHECK, .ref = test_key(test, "none"), .conditional = true};
    put(step, test_key(test, "first"), 8193, 'f');
    step->together[1] = step->change;
    put_ending(test, step);
    step->together[2] = step->change;
    step->together[2].ref = test_key(test, "last");
    step->change = (struct kv_change){.ref = step->together[2].ref};
}

static void set_expiry(struct step *step, struct kv_ref ref, int64_t expires_ns)
{
    step->change.kind = KV_SETATTR;
    step->change.ref = ref;
    step->change.expiry = KV_EXPIRY_SET;
    step->change.expires_ns = expires_ns;
}

static void end_later(struct test_store *test, struct step *step)
{
    set_expiry(step, test_key(test, "ending"), 3 * TEST_CLOCK_START_NS);
}

static void rename_ending(struct test_store *test, struct step *step)
{
    rename_key(step, test_key(test, "ending"), test_key(test, "ended"), 0);
}

static void end_now(struct test_store *test, struct step *step) { set_expiry(step, test_key(test, "ended"), 1); }

static void put_over_what_has_ended(struct test_store *test, struct step *step)
{
    put_ending(test, step);
    step->change.ref = test_key(test, "ended");
}

static void sweep(struct test_store *test, struct step *step)
{
    (void)test;
    step->change.kind = KV_SWEEP;
}

static void delete_small(struct test_store *test, struct step *step)
{
    step->change.kind = KV_DELETE;
    step->change.ref = test_key(test, "dressed");
}

static void delete_large(struct test_store *test, struct step *step)
{
    step->change.kind = KV_DELETE;
    step->change.ref = key_in(test, "third", "moved");
}

static void delete_namespace(struct test_store *test, struct step *step)
{
    step->change.kind = KV_NODE_DELETE;
    step->change.node.parent = test->account.id;
    strcpy(step->change.node.name, "third");
}

static void delete_account(struct test_store *test, struct step *step)
{
    (void)test;
    step->change.kind = KV_NODE_DELETE;
    step->change.node.parent = KV_ROOT_ID;
    strcpy(step->change.node.name, "another");
}

static prepare_step *const session[] = {
    create_account,
    create_namespace,
    put_small,
    put_large,
    put_with_attributes,
    overwrite_small_by_large,
    overwrite_large_by_large,
    overwrite_large_by_small,
    replace_a_key,
    set_attr_of_key,
    set_attr_of_node,
    set_xattr_of_key,
    set_xattr_of_node,
    remove_xattr_of_key,
    remove_xattr_of_node,
    rename_to_a_new_name,
    rename_to_another_namespace,
    exchange_keys,
    rename_over_a_large_key,
    create_third,
    create_project,
    create_binding,
    rename_binding,
    rename_account,
    exchange_namespaces,
    exchange_namespaces_again,
    set_limits,
    rename_over_an_empty_namespace,
    bind_again,
    put_two_if_a_third_is_not_there,
    put_ending,
    end_later,
    rename_ending,
    end_now,
    put_over_what_has_ended,
    end_now,
    sweep,
    delete_small,
    delete_large,
    delete_namespace,
    delete_account,
};
enum { STEPS = sizeof(session) / sizeof(session[0]) };

/* -------------------------------------------------------------- what users see */

struct view {
    struct test_store *test;
    char text[20000];
};

static void view_add(struct view *view, const char *format, ...)
{
    size_t used = strlen(view->text);
    va_list args;

    va_start(args, format);
    vsnprintf(view->text + used, sizeof(view->text) - used, format, args);
    va_end(args);
    assert_true(strlen(view->text) < sizeof(view->text) - 1);
}

static void view_key(struct view *view, const struct kv_ref *ref)
{
    struct kv_xattrs xattrs = {0};
    struct kv_value *value;
    struct kv_meta meta;
    int rc = kv_get(view->test->kv, ref, &meta, &value, NULL);

    if (rc < 0) {
        view_add(view, "%s: %d\n", ref->key, rc);
        return;
    }
    assert_int_equal(kv_xattrs_get(view->test->kv, ref, &xattrs), 0);
    view_add(view, "%s: %zu %c %o %u %zu\n", ref->key, value->size, value->size > 0 ? value->data[0] : '-',
             meta.attr.mode, meta.attr.uid, xattrs.size);
    kv_value_unref(value);
}

struct view_list {
    struct kv_node nodes[20];
    size_t count;
};

static int view_collect(void *arg, const struct kv_node *node)
{
    struct view_list *list = arg;

    assert_true(list->count < 20);
    list->nodes[list->count++] = *node;
    return 0;
}

static void view_node(struct view *view, const struct kv_node *node)
{
    static const char *const keys[] = {"small", "large", "dressed", "renamed", "moved"};
    struct view_list children = {.count = 0};
    struct kv_list list;

    view_add(view, "%s/ %d %o %llu %llu\n", node->name, node->kind, node->attr.mode,
             (unsigned long long)node->keys, (unsigned long long)node->target);
    assert_int_equal(kv_node_scan(view->test->kv, node->id, NULL, 0, false, view_collect, &children), 0);
    for (size_t i = 0; i < children.count; i++)
        view_node(view, &children.nodes[i]);
    if (node->kind != KV_NAMESPACE)
        return;
    for (size_t i = 0; i < 5; i++) { /* by name first: a listing corrects the edge cache */
        struct kv_ref ref = kv_ref_key(node->id, keys[i], strlen(keys[i]));

        view_key(view, &ref);
    }
    assert_int_equal(kv_list(view->test->kv, node->id, NULL, NULL, 256, &list), 0);
    for (size_t i = 0; i < list.count; i++)
        view_add(view, "%s,", list.keys[i]);
    view_add(view, "\n");
    kv_list_free(&list);
}

/* Everything that a user of the store can see, through the edge cache. */
static struct view *view_of(struct test_store *test)
{
    struct view *view = calloc(1, sizeof(*view));
    struct kv_node root = test_node(test, KV_ROOT_ID);

    assert_non_null(view);
    view->test = test;
    view_node(view, &root);
    return view;
}

static void expect_view(struct test_store *test, const struct view *view)
{
    struct view *now = view_of(test);

    assert_string_equal(now->text, view->text);
    free(now);
}

static void expect_state(struct test_store *test, const struct test_dump *dump, const struct view *view)
{
    struct test_dump now = test_dump(test->inner);

    assert_true(test_same(&now, dump));
    free(now.data);
    expect_view(test, view);
}

/* -------------------------------------------------------------------- the run */

/* The session without faults: the state after each step, and how many calls of each kind the step made. */
struct reference {
    struct test_dump dump[STEPS + 1]; /* before the first, after each */
    struct view *view[STEPS + 1];
    uint64_t calls[STEPS][ENGINE_CALLS];
};

/* The first change about a node finds its account with reads of its own, and no later one does: do it now. */
static void find_account(struct test_store *test, const struct kv_change *change)
{
    struct kv_ref nothing = kv_ref_key(change->ref.node != 0 ? change->ref.node : change->node.parent, "none", 4);

    assert_int_equal(kv_delete(test->kv, &nothing), -ENOENT);
}

/* Everything that the change does, it does while the fault is armed; preparing it and looking is left alone. */
static int run_step(struct test_store *test, size_t i, enum engine_call call, unsigned countdown, int error,
                    uint64_t *calls)
{
    struct step step = {0};
    int rc;

    session[i](test, &step);
    find_account(test, &step.change);
    for (int kind = 0; calls != NULL && kind < ENGINE_CALLS; kind++)
        calls[kind] = engine_fault_calls(test->fault, (enum engine_call)kind);
    if (countdown > 0) /* where there is no room it is asked for again in smaller pieces */
        engine_fault_arm(test->fault, call, countdown, call == ENGINE_ROOM ? RECORD_CUTS : 1, error);
    rc = step.together[0].kind == KV_CHECK ? kv_apply_all(test->kv, step.together, TOGETHER)
                                           : kv_apply(test->kv, &step.change);
    engine_fault_arm(test->fault, call, 0, 0, 0);
    for (int kind = 0; calls != NULL && kind < ENGINE_CALLS; kind++)
        calls[kind] = engine_fault_calls(test->fault, (enum engine_call)kind) - calls[kind];
    kv_value_unref(step.change.value);
    for (size_t n = 0; n < TOGETHER; n++)
        kv_value_unref(step.together[n].value);
    return rc;
}

static void reference_fill(struct reference *reference)
{
    struct test_store *test = test_store_open(TEST_MEMORY, NULL);

    for (size_t i = 0; i <= STEPS; i++) {
        reference->dump[i] = test_dump(test->inner);
        reference->view[i] = view_of(test);
        test_expect_sound(test->inner);
        if (i < STEPS)
            assert_int_equal(run_step(test, i, ENGINE_ANY, 0, 0, reference->calls[i]), 0);
    }
    test_store_close(test);
}

static int setup(void **state)
{
    static struct reference reference;

    reference_fill(&reference);
    *state = &reference;
    return 0;
}

static int teardown(void **state)
{
    struct reference *reference = *state;

    for (size_t i = 0; i <= STEPS; i++) {
        free(reference->dump[i].data);
        free(reference->view[i]);
    }
    return 0;
}

static void every_step_changes_something(void **state)
{
    const struct reference *reference = *state;

    for (size_t i = 0; i < STEPS; i++) {
        assert_false(test_same(&reference->dump[i], &reference->dump[i + 1]));
        assert_int_equal(reference->calls[i][ENGINE_COMMIT], 1);
        assert_true(reference->calls[i][ENGINE_PUT] > 0);
    }
}

static void after_any_failure_the_state_is_as_before(void **state)
{
    static const enum engine_call calls[] = {ENGINE_BEGIN_WRITE, ENGINE_GET, ENGINE_SCAN,  ENGINE_ROOM,
                                             ENGINE_PUT,         ENGINE_DEL, ENGINE_COMMIT};
    const struct reference *reference = *state;
    struct test_store *test = test_store_open(TEST_MEMORY, NULL);
    unsigned failures = 0;

    for (size_t i = 0; i < STEPS; i++) {
        for (size_t j = 0; j < sizeof(calls) / sizeof(calls[0]); j++)
            for (unsigned n = 1; n <= reference->calls[i][calls[j]]; n++)
                for (size_t k = 0; k < ERRORS; k++) {
                    int rc = run_step(test, i, calls[j], n, errors[k], NULL);

                    if (rc != errors[k])
                        fail_msg("step %zu, %u. call of kind %d: %d was told as %d", i, n, calls[j], errors[k],
                                 rc);
                    expect_state(test, &reference->dump[i], reference->view[i]);
                    failures++;
                }
        assert_int_equal(run_step(test, i, ENGINE_ANY, 0, 0, NULL), 0);
        expect_state(test, &reference->dump[i + 1], reference->view[i + 1]);
        test_expect_sound(test->inner);
    }
    assert_true(failures > 4 * STEPS * ERRORS);
    test_store_close(test);
}

static void after_a_lost_answer_the_state_is_as_after_and_no_old_one_is_shown(void **state)
{
    const struct reference *reference = *state;

    for (size_t k = 0; k < ERRORS; k++) {
        struct test_store *test = test_store_open(TEST_MEMORY, NULL);

        for (size_t i = 0; i < STEPS; i++) {
            expect_view(test, reference->view[i]); /* the edge cache knows everything */
            assert_int_equal(run_step(test, i, ENGINE_COMMIT_LOST, 1, errors[k], NULL), errors[k]);
            expect_state(test, &reference->dump[i + 1], reference->view[i + 1]);
            test_expect_sound(test->inner);
        }
        test_store_close(test);
    }
}

static void the_session_leaves_the_same_state_in_lmdb(void **state)
{
    const struct reference *reference = *state;
    struct test_store *test = test_store_open(TEST_LMDB, NULL);

    for (size_t i = 0; i < STEPS; i++) {
        if (i % 3 == 0)
            assert_int_equal(run_step(test, i, ENGINE_COMMIT, 1, -EIO, NULL), -EIO);
        if (i % 3 == 1)
            assert_int_equal(run_step(test, i, ENGINE_PUT, 1, -ENOSPC, NULL), -ENOSPC);
        expect_state(test, &reference->dump[i], reference->view[i]);
        assert_int_equal(run_step(test, i, ENGINE_ANY, 0, 0, NULL), 0);
    }
    expect_state(test, &reference->dump[STEPS], reference->view[STEPS]);
    test_store_close(test);
}

/* Users must be able to make room. */
static void a_full_disk_refuses_what_grows_and_lets_removals_through(void **state)
{
    struct test_store *test = test_store_open(TEST_MEMORY, NULL);
    struct kv_ref small = test_key(test, "small"), large = test_key(test, "large");
    struct kv_node empty = test_make(test, KV_NAMESPACE, test->account.id, "empty"), node;
    struct step colour = {0}, uncolour = {0}, chmod = {0}, rename = {0};

    (void)state;
    test_put(test, "small", "value");
    test_put_bytes(test, &large, 2 * RECORD_CHUNK, 1);
    set_xattr(&colour, small, "red");
    assert_int_equal(kv_apply(test->kv, &colour.change), 0);
    engine_fault_arm(test->fault, ENGINE_ROOM, 1, 1000, -ENOSPC);

    assert_int_equal(kv_put(test->kv, &small, "other", 5), -ENOSPC);
    assert_int_equal(kv_node_make(test->kv, KV_NAMESPACE, test->account.id, "new", 0, &node), -ENOSPC);
    assert_int_equal(kv_apply(test->kv, &colour.change), -ENOSPC);

    set_xattr(&uncolour, small, NULL);
    assert_int_equal(kv_apply(test->kv, &uncolour.change), 0);
    set_attr(&chmod, small);
    assert_int_equal(kv_apply(test->kv, &chmod.change), 0);
    rename_key(&rename, small, test_key(test, "renamed"), 0);
    assert_int_equal(kv_apply(test->kv, &rename.change), 0);
    test_expect_text(test, "renamed", "value");
    assert_int_equal(kv_delete(test->kv, &large), 0);
    assert_int_equal(kv_node_remove(test->kv, test->account.id, "empty"), 0);
    assert_int_equal(kv_node_get(test->kv, empty.id, &node), -ENOENT);
    test_expect_sound(test->inner);
    test_store_close(test);
}

/* ---------------------------------------------------------------- at random */

static int random_change(struct test_store *test, struct test_random *random, uint64_t other)
{
    static const size_t sizes[] = {0, 10, 8192, 8193, 600000};
    struct step step = {0};
    char from[2] = {(char)('a' + test_random_below(random, 4)), '\0'};
    char to[2] = {(char)('a' + test_random_below(random, 4)), '\0'};
    struct kv_ref refs[] = {test_key(test, from), kv_ref_key(other, to, 1)};
    int rc;

    switch (test_random_below(random, 4)) {
    case 0:
        step.change.kind = KV_DELETE;
        step.change.ref = refs[test_random_below(random, 2)];
        break;
    case 1:
        rename_key(&step, refs[0], refs[1], (unsigned)test_random_below(random, 3));
        break;
    default:
        put(&step, refs[test_random_below(random, 2)], sizes[test_random_below(random, 5)], 'r');
    }
    rc = kv_apply(test->kv, &step.change);
    kv_value_unref(step.change.value);
    return rc;
}

static void random_failures_never_leave_a_change_half_done(void **state)
{
    struct test_store *test = test_store_open(TEST_MEMORY, NULL);
    struct kv_node other = test_make(test, KV_NAMESPACE, test->account.id, "other");
    struct test_random random = {1};
    unsigned injected = 0, done = 0;

    (void)state;
    for (int i = 0; i < 600; i++) {
        struct test_dump before = test_dump(test->inner), after;
        int error = errors[test_random_below(&random, ERRORS)], rc;

        engine_fault_arm(test->fault, ENGINE_ANY, 1 + (unsigned)test_random_below(&random, 25), 1, error);
        rc = random_change(test, &random, other.id);
        engine_fault_arm(test->fault, ENGINE_ANY, 0, 0, 0);
        after = test_dump(test->inner);
        if (rc < 0)
            assert_true(test_same(&before, &after));
        injected += rc == error;
        done += rc == 0;
        test_expect_sound(test->inner);
        free(before.data);
        free(after.data);
    }
    assert_true(injected > 50 && done > 50);
    test_store_close(test);
}

/* ------------------------------------------------------------------- reading */

/* A read of the store. Outputs have a known filling, and must keep it on failure. */
typedef int read_call(struct test_store *test, bool *touched);

static int read_get(struct test_store *test, const char *name, bool *touched)
{
    struct kv_value *value = NULL;
    struct kv_meta meta = {.version = 77};
    struct kv_ref ref = test_key(test, name);
    int rc = kv_get(test->kv, &ref, &meta, &value, NULL);

    *touched = meta.version != 77 || value != NULL;
    kv_value_unref(value);
    return rc;
}

static int read_small(struct test_store *test, bool *touched) { return read_get(test, "small", touched); }
static int read_large(struct test_store *test, bool *touched) { return read_get(test, "large", touched); }

static int read_meta(struct test_store *test, bool *touched)
{
    struct kv_meta meta = {.version = 77};
    struct kv_ref ref = test_key(test, "large");
    int rc = kv_stat(test->kv, &ref, &meta, NULL);

    *touched = meta.version != 77;
    return rc;
}

static int read_page(struct test_store *test, bool *touched)
{
    struct kv_list list = {.count = 77};
    int rc = kv_list(test->kv, test->namespace.id, NULL, NULL, 10, &list);

    *touched = list.count != 77;
    if (*touched)
        kv_list_free(&list);
    return rc;
}

static int read_node_by_name(struct test_store *test, bool *touched)
{
    struct kv_node node = {.id = 77};
    int rc = kv_node_find(test->kv, test->account.id, "main", 4, &node);

    *touched = node.id != 77;
    return rc;
}

static int read_node_by_id(struct test_store *test, bool *touched)
{
    struct kv_node node = {.id = 77};
    int rc = kv_node_get(test->kv, test->account.id, &node);

    *touched = node.id != 77;
    return rc;
}

static int count_child(void *arg, const struct kv_node *node)
{
    (void)node;
    (*(unsigned *)arg)++;
    return 0;
}

static int read_children(struct test_store *test, bool *touched)
{
    unsigned count = 0;
    int rc = kv_node_scan(test->kv, test->account.id, NULL, 0, false, count_child, &count);

    *touched = rc == 0 && count > 0; /* what was visited before the failure was visited */
    return rc;
}

static int read_xattrs_of(struct test_store *test, const struct kv_ref *ref, bool *touched)
{
    struct kv_xattrs xattrs = {.size = 77};
    int rc = kv_xattrs_get(test->kv, ref, &xattrs);

    *touched = xattrs.size != 77;
    return rc;
}

static int read_xattrs_of_key(struct test_store *test, bool *touched)
{
    struct kv_ref ref = test_key(test, "small");

    return read_xattrs_of(test, &ref, touched);
}

static int read_xattrs_of_node(struct test_store *test, bool *touched)
{
    struct kv_ref ref = kv_ref_node(test->account.id);

    return read_xattrs_of(test, &ref, touched);
}

static int read_quota(struct test_store *test, bool *touched)
{
    struct kv_ref ref = test_key(test, "small");
    int rc = kv_quota_check(test->kv, &ref, 10, 0);

    *touched = rc == 0;
    return rc;
}

static void a_failed_read_says_why_and_never_enoent(void **state)
{
    static read_call *const calls[] = {read_small,          read_large,      read_meta,     read_page,
                                       read_node_by_name,   read_node_by_id, read_children, read_xattrs_of_key,
                                       read_xattrs_of_node, read_quota};
    struct test_store *test = test_store_open(TEST_MEMORY, NULL);
    struct kv_ref large = test_key(test, "large");

    (void)state;
    test_put(test, "small", "value");
    test_put_bytes(test, &large, 3 * RECORD_CHUNK, 1);
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        uint64_t made;
        bool touched;

        test_store_pass_ms(test, 61000);
        made = engine_fault_calls(test->fault, ENGINE_ANY);
        assert_int_equal(calls[i](test, &touched), 0);
        made = engine_fault_calls(test->fault, ENGINE_ANY) - made;
        assert_true(made >= 2);
        for (unsigned n = 1; n <= made; n++)
            for (size_t k = 0; k < ERRORS; k++) {
                test_store_pass_ms(test, 61000); /* what the edge cache knows is too old to be served */
                engine_fault_arm(test->fault, ENGINE_ANY, n, 1, errors[k]);
                assert_int_equal(calls[i](test, &touched), errors[k]);
                assert_false(touched);
                engine_fault_arm(test->fault, ENGINE_ANY, 0, 0, 0);
                assert_int_equal(calls[i](test, &touched), 0); /* a failure is not remembered */
                assert_true(touched);
            }
    }
    test_store_close(test);
}

/* -------------------------------------------------------------- opening, numbers */

static void a_store_that_could_not_be_opened_can_be_opened_later(void **state)
{
    struct kv_options options = kv_options_default();
    struct engine *inner, *fault;
    struct kv_store *store = NULL;
    unsigned failures = 0;
    int rc = -EIO;

    (void)state;
    assert_int_equal(engine_memory_open(&inner), 0);
    assert_int_equal(engine_fault_open(inner, &fault), 0);
    options.backend = test_backend(fault);
    for (unsigned n = 1; rc < 0; n++) {
        struct kv_error error = {""};
        uint64_t before = engine_fault_calls(fault, ENGINE_ANY);

        assert_true(n < 100);
        engine_fault_arm(fault, ENGINE_ANY, n, 1, -ETIMEDOUT);
        rc = kv_open("the_store", &options, &store, &error);
        engine_fault_arm(fault, ENGINE_ANY, 0, 0, 0);
        if (rc == 0)
            continue;
        failures++;
        assert_int_equal(rc, -ETIMEDOUT);
        assert_non_null(strstr(error.text, "the_store"));
        assert_int_equal(engine_fault_calls(fault, ENGINE_ANY) - before, n);
        assert_int_equal(test_records(inner, ENGINE_META), 0); /* nothing half made */
    }
    assert_true(failures > 4);
    test_expect_sound(inner);
    kv_close(store);
}

static void an_inode_number_that_could_not_be_drawn_is_an_error(void **state)
{
    struct test_store *test = test_store_open(TEST_MEMORY, NULL);
    uint64_t first = 77, second = 77;

    (void)state;
    for (size_t k = 0; k < ERRORS; k++) {
        engine_fault_arm(test->fault, ENGINE_COMMIT, 1, 1000, errors[k]);
        assert_int_equal(kv_new_ino(test->kv, &first), errors[k]);
        assert_int_equal(first, 77);
        assert_int_equal(kv_sync(test->kv), 0); /* whatever was asked for beforehand failed, too */
    }
    engine_fault_arm(test->fault, ENGINE_COMMIT, 0, 0, 0);
    engine_fault_arm(test->fault, ENGINE_COMMIT_LOST, 1, 1000, -EIO);
    assert_int_equal(kv_new_ino(test->kv, &first), -EIO);
    assert_int_equal(kv_sync(test->kv), 0);
    engine_fault_arm(test->fault, ENGINE_COMMIT_LOST, 0, 0, 0);
    assert_int_equal(kv_new_ino(test->kv, &first), 0);
    assert_int_equal(kv_new_ino(test->kv, &second), 0);
    assert_true(first != second && first > test->namespace.id);
    test_expect_sound(test->inner);
    test_store_close(test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_step_changes_something),
        cmocka_unit_test(after_any_failure_the_state_is_as_before),
        cmocka_unit_test(after_a_lost_answer_the_state_is_as_after_and_no_old_one_is_shown),
        cmocka_unit_test(the_session_leaves_the_same_state_in_lmdb),
        cmocka_unit_test(a_full_disk_refuses_what_grows_and_lets_removals_through),
        cmocka_unit_test(random_failures_never_leave_a_change_half_done),
        cmocka_unit_test(a_failed_read_says_why_and_never_enoent),
        cmocka_unit_test(a_store_that_could_not_be_opened_can_be_opened_later),
        cmocka_unit_test(an_inode_number_that_could_not_be_drawn_is_an_error),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
