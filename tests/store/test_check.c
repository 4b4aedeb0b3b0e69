/* The check of a store: a sound one has no findings, whatever was done to it; every kind of damage is found, named
 * and, where that loses nothing, repaired.
 *
 * Damage is done through the engine, record by record, to a store in which there is one of everything:
 *
 *   acme/main      keys: small, empty, long (three parts), marked (with an attribute), ending (with an expiry)
 *   acme/spare     nothing
 *   acme/.projects/web/DATA   bound to acme/main
 *   zeta/n         one key
 */
#include "store/base/name.h"
#include "store/base/record.h"
#include "store/rules/tx.h"
#include "tests/support/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define FINDINGS_MAX 64
#define LONG_SIZE (2 * (size_t)RECORD_CHUNK + 1000)
#define SAMPLE_EXPIRY_NS (2 * TEST_CLOCK_START_NS)
#define NOT_THERE 77777u /* an id that nobody has */

struct finding {
    char kind[32], where[1024], what[512];
    bool repairable;
};

static struct finding findings[FINDINGS_MAX];
static size_t findings_count;
static struct kv_check_report report;

static void note(void *arg, const struct kv_finding *finding)
{
    struct finding *to = &findings[findings_count];

    (void)arg;
    if (findings_count++ >= FINDINGS_MAX)
        return;
    snprintf(to->kind, sizeof(to->kind), "%s", finding->kind);
    snprintf(to->where, sizeof(to->where), "%s", finding->where);
    snprintf(to->what, sizeof(to->what), "%s", finding->what);
    to->repairable = finding->repairable;
}

static void print_findings(void)
{
    for (size_t i = 0; i < findings_count && i < FINDINGS_MAX; i++)
        print_message("  %s: %s: %s%s\n", findings[i].kind, findings[i].where, findings[i].what,
                      findings[i].repairable ? " (repairable)" : "");
}

static int look(struct kv_store *kv, bool fast, bool repair)
{
    struct kv_check_options options = {.fast = fast, .repair = repair, .found = note};

    findings_count = 0;
    return kv_check(kv, &options, &report);
}

static void check_store(struct test_store *test, bool fast, bool repair)
{
    assert_int_equal(look(test->kv, fast, repair), 0);
    assert_int_equal(report.findings, findings_count);
    assert_in_range(findings_count, 0, FINDINGS_MAX);
}

static void expect_clean(struct test_store *test)
{
    check_store(test, false, false);
    print_findings();
    assert_int_equal(findings_count, 0);
    assert_int_equal(report.nodes, test_records(test->inner, ENGINE_NODES));
    assert_int_equal(report.chunks, test_records(test->inner, ENGINE_CHUNKS));
    assert_int_equal(report.keys, test_node(test, KV_ROOT_ID).keys);
    assert_int_equal(report.bytes, test_node(test, KV_ROOT_ID).bytes);
}

/* -------------------------------------------------------------------------- records */

static struct engine_txn *begin(struct test_store *test)
{
    struct engine_txn *txn;

    assert_int_equal(test->inner->ops->begin(test->inner, true, &txn), 0);
    return txn;
}

static void commit(struct engine_txn *txn) { assert_int_equal(txn->ops->commit(txn), 0); }

static void put_record(struct test_store *test, enum engine_table table, const struct name *name,
                       const void *bytes, size_t size)
{
    struct engine_txn *txn = begin(test);

    assert_int_equal(txn->ops->put(txn, table, name_slice(name), slice_of(bytes, size)), 0);
    commit(txn);
}

static void del_record(struct test_store *test, enum engine_table table, const struct name *name)
{
    struct engine_txn *txn = begin(test);

    assert_int_equal(txn->ops->del(txn, table, name_slice(name)), 0);
    commit(txn);
}

/* A copy, which stays until the next call. */
static struct slice get_record(struct test_store *test, enum engine_table table, const struct name *name)
{
    static uint8_t bytes[RECORD_CHUNK];
    struct engine_txn *txn = begin(test);
    struct slice found;

    assert_int_equal(txn->ops->get(txn, table, name_slice(name), &found), 0);
    assert_in_range(found.size, 0, sizeof(bytes));
    memcpy(bytes, found.data, found.size);
    txn->ops->abort(txn);
    return slice_of(bytes, found.size);
}

/* Flip a bit of a record, or cut it. */
static void flip(struct test_store *test, enum engine_table table, const struct name *name, size_t at)
{
    struct slice old = get_record(test, table, name);

    assert_true(at < old.size);
    ((uint8_t *)(uintptr_t)old.data)[at] ^= 1;
    put_record(test, table, name, old.data, old.size);
}

static void cut(struct test_store *test, enum engine_table table, const struct name *name)
{
    struct slice old = get_record(test, table, name);

    put_record(test, table, name, old.data, old.size - 1);
}

static struct name node_name(uint64_t id)
{
    struct name name;

    name_of_node(id, &name);
    return name;
}

static struct name child_name(uint64_t parent, const char *child)
{
    struct name name;

    name_of_child(parent, child, strlen(child), &name);
    return name;
}

static struct name key_name(uint64_t namespace_id, const char *key)
{
    struct name name;

    assert_int_equal(name_of_key(namespace_id, key, strlen(key), &name), 0);
    return name;
}

static struct name chunk_name(uint64_t version, uint32_t number)
{
    struct name name;

    name_of_chunk(version, number, &name);
    return name;
}

static struct name text_name(const char *text)
{
    struct name name = {.size = strlen(text)};

    memcpy(name.data, text, name.size);
    return name;
}

static void write_node(struct test_store *test, const struct kv_node *node)
{
    struct record_node record = {.node = *node};
    struct name name = node_name(node->id);
    struct record_bytes bytes;

    record_encode_node(name_slice(&name), &record, &bytes);
    put_record(test, ENGINE_NODES, &name, bytes.data, bytes.size);
}

static void write_entry(struct test_store *test, uint64_t parent, const char *child, uint64_t id)
{
    struct name name = child_name(parent, child);
    struct record_bytes bytes;

    record_encode_number(ENGINE_NAMES, name_slice(&name), id, &bytes);
    put_record(test, ENGINE_NAMES, &name, bytes.data, bytes.size);
}

static void write_counter(struct test_store *test, uint64_t next_id)
{
    struct name name = text_name(TX_NEXT_ID);
    struct record_bytes bytes;

    record_encode_number(ENGINE_META, name_slice(&name), next_id, &bytes);
    put_record(test, ENGINE_META, &name, bytes.data, bytes.size);
}

typedef void edit_key(struct record_key *record);

static void change_key(struct test_store *test, const char *key, edit_key *edit)
{
    struct name name = key_name(test->namespace.id, key);
    struct slice old = get_record(test, ENGINE_KEYS, &name);
    struct record_bytes bytes;
    struct record_key record;

    assert_int_equal(record_decode_key(name_slice(&name), old, &record), 0);
    edit(&record);
    record_encode_key(name_slice(&name), &record, &bytes);
    put_record(test, ENGINE_KEYS, &name, bytes.data, bytes.size);
}

static uint64_t version_of(struct test_store *test, const char *key)
{
    struct kv_ref ref = test_key(test, key);

    return test_stat(test, &ref).version;
}

/* --------------------------------------------------------------------------- sample */

static struct kv_node spare, web, binding, zeta, n; /* ids are the same in every sample */

static void make_sample(struct test_store *test)
{
    struct kv_change expiry = {.kind = KV_SETATTR,
                               .ref = test_key(test, "ending"),
                               .expiry = KV_EXPIRY_SET,
                               .expires_ns = SAMPLE_EXPIRY_NS};
    struct kv_ref ref = test_key(test, "marked");
    struct kv_change mark = {.kind = KV_SETXATTR,
                             .xattr_name = "user.mark",
                             .xattr_name_size = 9,
                             .xattr_value = "1",
                             .xattr_value_size = 1};

    test_put(test, "small", "value");
    test_put(test, "empty", "");
    test_put(test, "marked", "value");
    mark.ref = ref;
    assert_int_equal(kv_apply(test->kv, &mark), 0);
    ref = test_key(test, "long");
    test_put_bytes(test, &ref, LONG_SIZE, 7);
    test_put(test, "ending", "value");
    assert_int_equal(kv_apply(test->kv, &expiry), 0);
    spare = test_make(test, KV_NAMESPACE, test->account.id, "spare");
    web = test_make(test, KV_PROJECT, test_projects(test, test->account.id).id, "web");
    assert_int_equal(kv_node_make(test->kv, KV_BINDING, web.id, "DATA", test->namespace.id, &binding), 0);
    zeta = test_make(test, KV_ACCOUNT, KV_ROOT_ID, "zeta");
    n = test_make(test, KV_NAMESPACE, zeta.id, "n");
    ref = kv_ref_key(n.id, "key", 3);
    test_put_bytes(test, &ref, 100, 8);
}

/* What a repair must never touch, unless it is what was damaged. */
static void expect_sample_values(struct test_store *test, const char *except)
{
    struct kv_ref ref = test_key(test, "long");

    test_store_pass_ms(test, test->options.cache_ttl_ms + 1);
    if (strcmp(except, "small") != 0)
        test_expect_text(test, "small", "value");
    if (strcmp(except, "long") != 0)
        test_expect_bytes(test, &ref, LONG_SIZE, 7);
    ref = kv_ref_key(n.id, "key", 3);
    test_expect_bytes(test, &ref, 100, 8);
}

static int open_sample(void **state, enum test_engine kind)
{
    struct test_store *test = test_store_open(kind, NULL);

    make_sample(test);
    *state = test;
    return 0;
}

static int sample_on_memory(void **state) { return open_sample(state, TEST_MEMORY); }
static int sample_on_lmdb(void **state) { return open_sample(state, TEST_LMDB); }

static int close_damaged(void **state)
{
    test_store_close(*state);
    return 0;
}

/* --------------------------------------------------------------------------- damage */

struct damage {
    const char *name; /* a sentence */
    void (*make)(struct test_store *test);
    const char *kind, *where;
    size_t findings;  /* in all */
    bool repairable;  /* all of them */
    const char *lost; /* the key whose value is lost; NULL: none */
};

static void namespace_counts_a_key_more(struct test_store *test)
{
    struct kv_node node = test_node(test, test->namespace.id);

    node.keys++;
    write_node(test, &node);
}

static void namespace_counts_a_byte_less(struct test_store *test)
{
    struct kv_node node = test_node(test, test->namespace.id);

    node.bytes--;
    write_node(test, &node);
}

static void account_counts_nothing(struct test_store *test)
{
    struct kv_node node = test_node(test, test->account.id);

    node.keys = node.bytes = node.children = 0;
    write_node(test, &node);
}

static void root_counts_too_much(struct test_store *test)
{
    struct kv_node node = test_node(test, KV_ROOT_ID);

    node.bytes = UINT64_MAX;
    write_node(test, &node);
}

static void project_counts_too_many_bindings(struct test_store *test)
{
    struct kv_node node = test_node(test, web.id);

    node.children = 9;
    write_node(test, &node);
}

static void account_counts_a_binding_less(struct test_store *test)
{
    struct kv_node node = test_node(test, test->account.id);

    node.bindings--;
    write_node(test, &node);
}

static void setting_is_unknown(struct test_store *test)
{
    struct name name = text_name("next_ie");

    put_record(test, ENGINE_META, &name, "x", 1);
}

static void format_is_damaged(struct test_store *test)
{
    struct name name = text_name(TX_FORMAT);

    flip(test, ENGINE_META, &name, 10);
}

static void binding_counts_keys(struct test_store *test)
{
    struct kv_node node = test_node(test, binding.id);

    node.keys = 1;
    write_node(test, &node);
}

static void counter_is_too_low(struct test_store *test) { write_counter(test, TX_FIRST_ID + 3); }
static void counter_is_absurd(struct test_store *test) { write_counter(test, UINT64_MAX - 5); }

static void counter_is_missing(struct test_store *test)
{
    struct name name = text_name(TX_NEXT_ID);

    del_record(test, ENGINE_META, &name);
}

static void counter_is_short(struct test_store *test)
{
    struct name name = text_name(TX_NEXT_ID);

    cut(test, ENGINE_META, &name);
}

static void entry_leads_nowhere(struct test_store *test)
{
    write_entry(test, test->account.id, "ghost", NOT_THERE);
}

static void entry_is_cut(struct test_store *test)
{
    struct name name = child_name(test->account.id, "main");

    cut(test, ENGINE_NAMES, &name);
}

static void entry_has_no_name(struct test_store *test) { write_entry(test, test->account.id, "", spare.id); }

static void entry_is_a_second_name(struct test_store *test)
{
    write_entry(test, test->account.id, "alias", test->namespace.id);
}

static void entry_is_missing(struct test_store *test)
{
    struct name name = child_name(test->account.id, "main");

    del_record(test, ENGINE_NAMES, &name);
}

static void entries_are_exchanged(struct test_store *test)
{
    write_entry(test, test->account.id, "main", spare.id);
    write_entry(test, test->account.id, "spare", test->namespace.id);
}

static void entry_leads_to_another_node(struct test_store *test)
{
    write_entry(test, test->account.id, "main", spare.id);
}

static void nodes_have_the_same_name(struct test_store *test)
{
    struct kv_node node = test_node(test, spare.id);
    struct name name = child_name(test->account.id, "spare");

    strcpy(node.name, "main");
    write_node(test, &node);
    del_record(test, ENGINE_NAMES, &name);
}

static void name_is_illegal(struct test_store *test)
{
    struct kv_node node = test_node(test, spare.id);
    struct name name = child_name(test->account.id, "spare");

    strcpy(node.name, "s\n\xff");
    write_node(test, &node);
    del_record(test, ENGINE_NAMES, &name);
    write_entry(test, test->account.id, node.name, spare.id);
}

static void node_is_damaged(struct test_store *test)
{
    struct name name = node_name(test->namespace.id);

    flip(test, ENGINE_NODES, &name, 0);
}

static void node_is_cut(struct test_store *test)
{
    struct name name = node_name(web.id);

    cut(test, ENGINE_NODES, &name);
}

static void node_is_another(struct test_store *test)
{
    struct name name = node_name(spare.id);
    struct slice bytes;
    uint8_t copy[RECORD_MAX];
    struct name from = node_name(n.id);

    bytes = get_record(test, ENGINE_NODES, &from);
    memcpy(copy, bytes.data, bytes.size);
    put_record(test, ENGINE_NODES, &name, copy, bytes.size);
}

static void node_is_lost_with_keys_in_it(struct test_store *test)
{
    struct name name = node_name(test->namespace.id);

    del_record(test, ENGINE_NODES, &name);
}

static void node_is_lost_and_was_empty(struct test_store *test)
{
    struct name name = node_name(spare.id);

    del_record(test, ENGINE_NODES, &name);
}

static void root_is_lost(struct test_store *test)
{
    struct name name = node_name(KV_ROOT_ID);

    del_record(test, ENGINE_NODES, &name);
}

static void root_is_damaged(struct test_store *test)
{
    struct name name = node_name(KV_ROOT_ID);

    flip(test, ENGINE_NODES, &name, 0);
}

static void node_has_a_lost_parent(struct test_store *test)
{
    struct kv_node node = test_node(test, binding.id);
    struct name name = child_name(web.id, "DATA");

    node.parent = NOT_THERE;
    write_node(test, &node);
    del_record(test, ENGINE_NAMES, &name);
    node = test_node(test, web.id);
    node.children = 0;
    write_node(test, &node);
}

static void node_has_a_parent_of_another_kind(struct test_store *test)
{
    struct kv_node node = test_node(test, spare.id);

    node.kind = KV_PROJECT;
    write_node(test, &node);
}

static void node_says_that_it_is_the_root(struct test_store *test)
{
    struct kv_node node = test_node(test, spare.id);

    node.kind = KV_ROOT;
    write_node(test, &node);
}

static void node_is_under_no_id(struct test_store *test)
{
    struct name name = text_name("nobody");

    put_record(test, ENGINE_NODES, &name, "x", 1);
}

static void node_has_damaged_attributes(struct test_store *test)
{
    struct record_node record = {.node = test_node(test, spare.id), .xattrs = slice_of("\1\1\0av\1", 6)};
    struct name name = node_name(spare.id);
    struct record_bytes bytes;

    record_encode_node(name_slice(&name), &record, &bytes);
    put_record(test, ENGINE_NODES, &name, bytes.data, bytes.size);
}

static void account_has_no_projects(struct test_store *test)
{
    struct kv_node projects = test_projects(test, zeta.id);
    struct name name = node_name(projects.id), entry = child_name(zeta.id, NAME_PROJECTS);

    del_record(test, ENGINE_NODES, &name);
    del_record(test, ENGINE_NAMES, &entry);
}

static void limit_is_absurd(struct test_store *test)
{
    struct kv_node node = test_node(test, test->account.id);

    node.limit_bytes = UINT64_MAX;
    write_node(test, &node);
}

static void limit_of_keys_is_absurd(struct test_store *test)
{
    struct kv_node node = test_node(test, test->account.id);

    node.limit_keys = UINT64_MAX;
    write_node(test, &node);
}

static void bind(struct test_store *test, uint64_t target)
{
    struct kv_node node = test_node(test, binding.id);

    node.target = target;
    write_node(test, &node);
}

static void binding_leads_nowhere(struct test_store *test) { bind(test, NOT_THERE); }
static void binding_leads_to_an_account(struct test_store *test) { bind(test, test->account.id); }
static void binding_leads_to_another_account(struct test_store *test) { bind(test, n.id); }

static void key_is_damaged(struct test_store *test)
{
    struct name name = key_name(test->namespace.id, "small");

    flip(test, ENGINE_KEYS, &name, 0);
}

static void long_key_is_damaged(struct test_store *test)
{
    struct name name = key_name(test->namespace.id, "long");

    flip(test, ENGINE_KEYS, &name, 0);
}

static void key_has_a_damaged_name(struct test_store *test)
{
    struct name name = key_name(test->namespace.id, "small");
    struct slice old = get_record(test, ENGINE_KEYS, &name);
    uint8_t copy[RECORD_MAX];

    memcpy(copy, old.data, old.size);
    del_record(test, ENGINE_KEYS, &name);
    name.data[name.size++] = 0; /* padding that nobody makes */
    put_record(test, ENGINE_KEYS, &name, copy, old.size);
}

static void key_has_no_namespace(struct test_store *test)
{
    struct name name = key_name(NOT_THERE, "lost");
    struct kv_meta meta = {.attr.ino = 9999, .version = 9998, .size = 1};
    struct record_key record = {.meta = meta, .checksum = record_checksum("x", 1), .inlined = slice_of("x", 1)};
    struct record_bytes bytes;

    write_counter(test, 10000);
    record_encode_key(name_slice(&name), &record, &bytes);
    put_record(test, ENGINE_KEYS, &name, bytes.data, bytes.size);
    name = key_name(NOT_THERE, "lost2");
    record.meta.attr.ino = 9997;
    record.meta.version = 9996;
    record_encode_key(name_slice(&name), &record, &bytes);
    put_record(test, ENGINE_KEYS, &name, bytes.data, bytes.size);
}

static void spoil_xattrs(struct record_key *record) { record->xattrs = slice_of("\1\1\0av\1", 6); }
static void key_has_damaged_attributes(struct test_store *test) { change_key(test, "small", spoil_xattrs); }

static void take_root_ino(struct record_key *record) { record->meta.attr.ino = KV_ROOT_ID; }
static void key_has_the_roots_number(struct test_store *test) { change_key(test, "small", take_root_ino); }

static void take_huge_ino(struct record_key *record) { record->meta.attr.ino = UINT64_MAX; }
static void key_has_an_absurd_number(struct test_store *test) { change_key(test, "small", take_huge_ino); }

static void take_huge_version(struct record_key *record) { record->meta.version = UINT64_MAX; }
static void key_has_an_absurd_version(struct test_store *test) { change_key(test, "small", take_huge_version); }

static uint64_t taken;

static void take_ino(struct record_key *record) { record->meta.attr.ino = taken; }
static void take_version(struct record_key *record) { record->meta.version = taken; }

static void keys_have_the_same_number(struct test_store *test)
{
    struct kv_ref ref = test_key(test, "long");

    taken = test_stat(test, &ref).attr.ino;
    change_key(test, "small", take_ino);
}

static void key_has_a_nodes_number(struct test_store *test)
{
    taken = spare.id;
    change_key(test, "small", take_ino);
}

static void keys_have_the_same_version(struct test_store *test)
{
    taken = version_of(test, "long");
    change_key(test, "small", take_version);
}

static struct name expiry_name(struct test_store *test, const char *key, int64_t expires_ns)
{
    struct name name = key_name(test->namespace.id, key), entry;

    name_of_expiry(expires_ns, name_slice(&name), &entry);
    return entry;
}

static void index_lacks_a_key(struct test_store *test)
{
    struct name entry = expiry_name(test, "ending", SAMPLE_EXPIRY_NS);

    del_record(test, ENGINE_KEYS, &entry);
}

static void index_has_a_damaged_entry(struct test_store *test)
{
    struct name entry = expiry_name(test, "ending", SAMPLE_EXPIRY_NS);

    flip(test, ENGINE_KEYS, &entry, 3);
}

static void write_expiry(struct test_store *test, const char *key, int64_t expires_ns)
{
    struct name entry = expiry_name(test, key, expires_ns);
    struct record_bytes bytes;

    record_encode_empty(ENGINE_KEYS, name_slice(&entry), &bytes);
    put_record(test, ENGINE_KEYS, &entry, bytes.data, bytes.size);
}

static void index_has_a_key_that_is_not_there(struct test_store *test)
{
    write_expiry(test, "ghost", SAMPLE_EXPIRY_NS);
}

static void index_has_a_key_without_an_expiry(struct test_store *test)
{
    write_expiry(test, "small", SAMPLE_EXPIRY_NS);
}

static void index_has_a_key_at_another_time(struct test_store *test)
{
    write_expiry(test, "ending", SAMPLE_EXPIRY_NS + 1);
}

static void index_has_what_is_no_entry(struct test_store *test)
{
    struct name entry = {.size = 12};

    put_record(test, ENGINE_KEYS, &entry, "nothing", 7);
}

static void value_is_damaged(struct test_store *test)
{
    struct name name = key_name(test->namespace.id, "small");
    struct slice old = get_record(test, ENGINE_KEYS, &name);

    flip(test, ENGINE_KEYS, &name, old.size - 1);
}

static void chunk_is_damaged(struct test_store *test)
{
    struct name name = chunk_name(version_of(test, "long"), 1);

    flip(test, ENGINE_CHUNKS, &name, 100000);
}

static void chunk_is_missing(struct test_store *test)
{
    struct name name = chunk_name(version_of(test, "long"), 2);

    del_record(test, ENGINE_CHUNKS, &name);
}

static void chunk_is_short(struct test_store *test)
{
    struct name name = chunk_name(version_of(test, "long"), 0);

    cut(test, ENGINE_CHUNKS, &name);
}

static void chunks_have_no_key(struct test_store *test)
{
    for (uint32_t i = 0; i < 3; i++) {
        struct name name = chunk_name(1025, i);

        put_record(test, ENGINE_CHUNKS, &name, "part", 4);
    }
}

static void value_has_a_part_too_many(struct test_store *test)
{
    struct name name = chunk_name(version_of(test, "long"), 3);

    put_record(test, ENGINE_CHUNKS, &name, "part", 4);
}

static void chunk_is_under_no_number(struct test_store *test)
{
    struct name name = text_name("nobody");

    put_record(test, ENGINE_CHUNKS, &name, "part", 4);
}

/* Repairable, and each independent of the others. */
static void much_is_wrong(struct test_store *test)
{
    account_counts_nothing(test);
    root_counts_too_much(test);
    project_counts_too_many_bindings(test);
    counter_is_missing(test);
    entry_leads_nowhere(test);
    entry_is_a_second_name(test);
    entries_are_exchanged(test);
    account_has_no_projects(test);
    binding_leads_to_another_account(test);
    keys_have_the_same_number(test);
    chunks_have_no_key(test);
    value_has_a_part_too_many(test);
}

static const struct damage damages[] = {
    {"a key too many in a namespace's count", namespace_counts_a_key_more, "count", "acme/main", 1, true, NULL},
    {"a byte missing in a namespace's sum", namespace_counts_a_byte_less, "count", "acme/main", 1, true, NULL},
    {"an account that counts nothing", account_counts_nothing, "count", "acme", 3, true, NULL},
    {"an absurd sum in the root", root_counts_too_much, "count", "/", 1, true, NULL},
    {"bindings too many in a project's count", project_counts_too_many_bindings, "count", "acme/.projects/web", 1,
     true, NULL},
    {"a binding missing in an account's count", account_counts_a_binding_less, "count", "acme", 1, true, NULL},
    {"an unknown setting", setting_is_unknown, "format", "(unknown)", 1, true, NULL},
    {"a damaged format", format_is_damaged, "format", "format", 1, false, NULL},
    {"keys counted in a binding", binding_counts_keys, "count", "acme/.projects/web/DATA", 1, true, NULL},
    {"a counter that is too low", counter_is_too_low, "counter", "next_id", 1, true, NULL},
    {"an absurd counter", counter_is_absurd, "counter", "next_id", 1, true, NULL},
    {"a missing counter", counter_is_missing, "counter", "next_id", 1, true, NULL},
    {"a counter that was cut", counter_is_short, "counter", "next_id", 1, true, NULL},
    {"an entry that leads nowhere", entry_leads_nowhere, "name", "acme/ghost", 1, true, NULL},
    {"an entry that was cut", entry_is_cut, "name", "acme/main", 2, true, NULL},
    {"an entry without a name", entry_has_no_name, "name", "acme/", 1, true, NULL},
    {"a second name", entry_is_a_second_name, "name", "acme/alias", 1, true, NULL},
    {"a missing name", entry_is_missing, "name", "acme/main", 1, true, NULL},
    {"exchanged names", entries_are_exchanged, "name", "acme/main", 4, true, NULL},
    {"a name that leads to another node", entry_leads_to_another_node, "name", "acme/main", 2, true, NULL},
    {"two nodes of one name", nodes_have_the_same_name, "name", "acme/main", 1, false, NULL},
    {"an illegal name", name_is_illegal, "node", "acme/s??", 1, false, NULL},
    {"a damaged node", node_is_damaged, "node", "acme/main", 1, false, NULL},
    {"a node that was cut", node_is_cut, "node", "acme/.projects/web", 1, false, NULL},
    {"a node in another's place", node_is_another, "node", "acme/spare", 1, false, NULL},
    {"a lost node with keys in it", node_is_lost_with_keys_in_it, "node", "acme/main", 1, false, NULL},
    {"a lost node with nothing in it", node_is_lost_and_was_empty, "name", "acme/spare", 2, true, NULL},
    {"a lost root", root_is_lost, "node", "/", 1, false, NULL},
    {"a damaged root", root_is_damaged, "node", "/", 1, false, NULL},
    {"a node in a lost one", node_has_a_lost_parent, "node", "(id 77777)/DATA", 2, false, NULL},
    {"a node of a kind that cannot be there", node_has_a_parent_of_another_kind, "node", "acme/spare", 1, false,
     NULL},
    {"a second root", node_says_that_it_is_the_root, "node", "acme/spare", 1, false, NULL},
    {"a node without an id", node_is_under_no_id, "node", "(no id)", 1, false, NULL},
    {"damaged attributes of a node", node_has_damaged_attributes, "node", "acme/spare", 1, false, NULL},
    {"an account without .projects", account_has_no_projects, "node", "zeta", 1, true, NULL},
    {"an absurd limit of keys", limit_of_keys_is_absurd, "limit", "acme", 1, false, NULL},
    {"an absurd limit", limit_is_absurd, "limit", "acme", 1, false, NULL},
    {"a binding to nothing", binding_leads_nowhere, "binding", "acme/.projects/web/DATA", 1, true, NULL},
    {"a binding to an account", binding_leads_to_an_account, "binding", "acme/.projects/web/DATA", 1, true, NULL},
    {"a binding to another account", binding_leads_to_another_account, "binding", "acme/.projects/web/DATA", 1,
     true, NULL},
    {"a damaged key", key_is_damaged, "key", "acme/main/small", 1, false, "small"},
    {"a damaged key with parts", long_key_is_damaged, "key", "acme/main/long", 2, false, "long"},
    {"a key with a damaged name", key_has_a_damaged_name, "key", "acme/main/(unreadable)", 1, false, "small"},
    {"keys in no namespace", key_has_no_namespace, "key", "(id 77777)", 1, false, NULL},
    {"damaged attributes of a key", key_has_damaged_attributes, "key", "acme/main/small", 1, false, "small"},
    {"a key with the root's inode number", key_has_the_roots_number, "number", "acme/main/small", 1, true, NULL},
    {"an absurd inode number", key_has_an_absurd_number, "number", "acme/main/small", 1, true, NULL},
    {"an absurd version", key_has_an_absurd_version, "number", "acme/main/small", 1, false, NULL},
    {"keys of one inode number", keys_have_the_same_number, "number", "acme/main/small", 2, true, NULL},
    {"a key with a node's inode number", key_has_a_nodes_number, "number", "acme/main/small", 1, true, NULL},
    {"keys of one version", keys_have_the_same_version, "number", "acme/main/small", 2, false, NULL},
    {"a key that is not in the index of expiry", index_lacks_a_key, "expiry", "acme/main/ending", 1, true, NULL},
    {"a damaged entry of the index", index_has_a_damaged_entry, "expiry", "acme/main/ending", 1, true, NULL},
    {"an entry of a key that is not there", index_has_a_key_that_is_not_there, "expiry", "acme/main/ghost", 1,
     true, NULL},
    {"an entry of a key without an expiry", index_has_a_key_without_an_expiry, "expiry", "acme/main/small", 1,
     true, NULL},
    {"an entry at another time", index_has_a_key_at_another_time, "expiry", "acme/main/ending", 1, true, NULL},
    {"an entry that says nothing", index_has_what_is_no_entry, "expiry", "(unreadable)", 1, true, NULL},
    {"a damaged value", value_is_damaged, "value", "acme/main/small", 1, false, "small"},
    {"a damaged part", chunk_is_damaged, "value", "acme/main/long", 1, false, "long"},
    {"a missing part", chunk_is_missing, "value", "acme/main/long", 1, false, "long"},
    {"a part that is too short", chunk_is_short, "value", "acme/main/long", 1, false, "long"},
    {"parts of no value", chunks_have_no_key, "chunk", "(version 1025)", 1, true, NULL},
    {"a part too many", value_has_a_part_too_many, "chunk", NULL, 1, true, NULL},
    {"a part without a number", chunk_is_under_no_number, "chunk", "(no version)", 1, true, NULL},
    {"much at once", much_is_wrong, "name", "acme/ghost", 18, true, NULL},
};

static struct test_store *opened;

static const struct finding *find_finding(const struct damage *damage)
{
    for (size_t i = 0; i < findings_count; i++)
        if (strcmp(findings[i].kind, damage->kind) == 0 &&
            (damage->where == NULL || strcmp(findings[i].where, damage->where) == 0))
            return &findings[i];
    return NULL;
}

static void expect_findings(const struct damage *damage)
{
    bool all = true;

    for (size_t i = 0; i < findings_count; i++)
        all &= findings[i].repairable == damage->repairable && findings[i].what[0] != '\0';
    if (findings_count != damage->findings || !all || find_finding(damage) == NULL) {
        print_findings();
        fail_msg("wanted %zu findings, %s one %s at %s", damage->findings,
                 damage->repairable ? "repairable" : "not repairable", damage->kind,
                 damage->where != NULL ? damage->where : "any place");
    }
}

static void damage_is_found_and_repaired(const struct damage *damage)
{
    struct test_dump before, after;
    struct kv_ref ref = test_key(opened, "small");

    damage->make(opened);
    check_store(opened, false, false);
    expect_findings(damage);
    before = test_dump(opened->inner);
    check_store(opened, false, true);
    expect_findings(damage);
    assert_int_equal(report.repaired, damage->repairable ? damage->findings : 0);
    after = test_dump(opened->inner);
    assert_true(test_same(&before, &after) == !damage->repairable);
    free(before.data);
    free(after.data);
    if (damage->repairable) {
        expect_clean(opened);
        test_expect_sound(opened->inner);
        test_put_bytes(opened, &ref, 20000, 9); /* and it goes on */
        test_expect_bytes(opened, &ref, 20000, 9);
        test_put(opened, "small", "value");
        expect_clean(opened);
    }
    if (strcmp(damage->kind, "node") != 0 || damage->repairable)
        expect_sample_values(opened, damage->lost != NULL ? damage->lost : "");
}

static void on_memory(void **state)
{
    const struct damage *damage = *state;
    void *store;

    (void)sample_on_memory(&store);
    opened = store;
    damage_is_found_and_repaired(damage);
    (void)close_damaged(&store);
}

static void on_lmdb(void **state)
{
    const struct damage *damage = *state;
    void *store;

    (void)sample_on_lmdb(&store);
    opened = store;
    damage_is_found_and_repaired(damage);
    (void)close_damaged(&store);
}

/* -------------------------------------------------------------------------- sessions */

enum { SESSION_STEPS = 600, SESSION_KEYS = 40, SESSION_SPACES = 4 };

struct session {
    struct test_store *test;
    struct test_random random;
    uint64_t spaces[SESSION_SPACES]; /* namespaces; 0: not there */
};

static struct kv_ref random_ref(struct session *session)
{
    char key[16];
    size_t space = test_random_below(&session->random, SESSION_SPACES);
    int size = snprintf(key, sizeof(key), "k%zu", test_random_below(&session->random, SESSION_KEYS));

    return kv_ref_key(session->spaces[space], key, (size_t)size);
}

/* Refusals belong to the session; that the store failed does not. */
static void may_be_refused(int rc) { assert_true(rc == 0 || (rc != -EIO && rc != -ENOMEM && rc != -ETIMEDOUT)); }

static void session_put(struct session *session)
{
    static const size_t sizes[] = {
        0, 1, 100, RECORD_INLINE_MAX, RECORD_INLINE_MAX + 1, RECORD_CHUNK, RECORD_CHUNK + 1};
    struct kv_ref ref = random_ref(session);
    size_t size = sizes[test_random_below(&session->random, sizeof(sizes) / sizeof(sizes[0]))];
    uint8_t *bytes = malloc(size + 1);

    assert_non_null(bytes);
    test_random_fill(&session->random, bytes, size);
    may_be_refused(kv_put(session->test->kv, &ref, bytes, size));
    free(bytes);
}

static void session_rename(struct session *session)
{
    struct kv_change change = {.kind = KV_RENAME, .ref = random_ref(session), .to = random_ref(session)};

    change.flags = (unsigned)test_random_below(&session->random, 3);
    may_be_refused(kv_apply(session->test->kv, &change));
}

static void session_mark(struct session *session)
{
    struct kv_change change = {.kind = KV_SETXATTR,
                               .ref = random_ref(session),
                               .xattr_name = "user.mark",
                               .xattr_name_size = 9,
                               .xattr_value = "0123456789",
                               .xattr_value_size = test_random_below(&session->random, 11)};

    if (test_random_below(&session->random, 3) == 0)
        change.ref = kv_ref_node(change.ref.node);
    if (change.ref.node != 0)
        may_be_refused(kv_apply(session->test->kv, &change));
}

/* A key gets an expiry, or time goes by, or what has expired is swept. */
static void session_expire(struct session *session)
{
    struct test_store *test = session->test;
    struct kv_change change = {.kind = KV_SETATTR, .ref = random_ref(session), .expiry = KV_EXPIRY_SET};
    uint64_t swept;
    int64_t next_ns;

    change.expires_ns = TEST_CLOCK_START_NS + atomic_load(&test->now_ns) +
                        (int64_t)test_random_below(&session->random, 3000) * 1000000;
    may_be_refused(kv_apply(test->kv, &change));
    if (test_random_below(&session->random, 2) == 0)
        test_store_pass_ms(test, 500);
    if (test_random_below(&session->random, 10) == 0)
        assert_int_equal(kv_sweep(test->kv, &swept, &next_ns), 0);
}

/* A namespace comes or, with all that is in it and is bound to it, goes. */
static void session_space(struct session *session)
{
    struct kv_store *kv = session->test->kv;
    size_t i = test_random_below(&session->random, SESSION_SPACES);
    uint64_t projects = test_projects(session->test, session->test->account.id).id;
    struct kv_node node;
    char name[16];

    snprintf(name, sizeof(name), "space%zu", i);
    if (session->spaces[i] == 0) {
        assert_int_equal(kv_node_make(kv, KV_NAMESPACE, session->test->account.id, name, 0, &node), 0);
        session->spaces[i] = node.id;
        may_be_refused(kv_node_make(kv, KV_PROJECT, projects, name, 0, &node));
        if (kv_node_find(kv, projects, name, strlen(name), &node) == 0)
            may_be_refused(kv_node_make(kv, KV_BINDING, node.id, "SPACE", session->spaces[i], &node));
        return;
    }
    for (size_t key = 0; key < SESSION_KEYS; key++) {
        char text[16];
        int size = snprintf(text, sizeof(text), "k%zu", key);
        struct kv_ref ref = kv_ref_key(session->spaces[i], text, (size_t)size);

        may_be_refused(kv_delete(kv, &ref));
    }
    assert_int_equal(kv_node_remove(kv, session->test->account.id, name), 0);
    session->spaces[i] = 0;
}

static void session_step(struct session *session)
{
    struct kv_ref ref = random_ref(session);

    switch (test_random_below(&session->random, 14)) {
    case 0:
        session_space(session);
        break;
    case 1:
    case 2:
        session_rename(session);
        break;
    case 3:
        session_mark(session);
        break;
    case 4:
    case 5:
        may_be_refused(kv_delete(session->test->kv, &ref));
        break;
    case 6:
    case 7:
        session_expire(session);
        break;
    default:
        session_put(session);
        break;
    }
}

static void a_store_has_no_findings_whatever_was_done_to_it(void **state)
{
    struct session session = {.test = *state, .random = {42}};

    for (int i = 0; i < SESSION_STEPS; i++) {
        session_step(&session);
        if (i % 100 == 99)
            expect_clean(session.test);
    }
    test_expect_sound(session.test->inner);
    check_store(session.test, true, true);
    assert_int_equal(findings_count, 0);
    expect_clean(session.test);
}

static atomic_bool writing;

static void *write_on(void *arg)
{
    struct session *session = arg;

    while (atomic_load(&writing))
        session_step(session);
    return NULL;
}

static void a_store_has_no_findings_while_it_is_being_written(void **state)
{
    struct session session = {.test = *state, .random = {43}};
    uint64_t least = UINT64_MAX, most = 0;
    pthread_t thread;

    for (int i = 0; i < 100; i++)
        session_step(&session);
    atomic_store(&writing, true);
    assert_int_equal(pthread_create(&thread, NULL, write_on, &session), 0);
    for (int i = 0; i < 30 || (least == most && i < 3000); i++) {
        int rc = look(session.test->kv, i % 2 == 0, false);

        if (rc != 0 || findings_count > 0) {
            atomic_store(&writing, false);
            pthread_join(thread, NULL);
            print_findings();
            fail_msg("check %d: %d", i, rc);
        }
        least = report.bytes < least ? report.bytes : least;
        most = report.bytes > most ? report.bytes : most;
    }
    atomic_store(&writing, false);
    pthread_join(thread, NULL);
    assert_true(least < most); /* there was something to be confused by */
}

/* ----------------------------------------------------------------- options, failures */

static void a_fast_check_looks_for_parts_but_not_at_bytes(void **state)
{
    struct test_store *test = *state;

    chunk_is_damaged(test);
    value_is_damaged(test);
    check_store(test, true, false);
    assert_int_equal(findings_count, 0);
    check_store(test, false, false);
    assert_int_equal(findings_count, 2);
    chunk_is_missing(test);
    check_store(test, true, false);
    assert_int_equal(findings_count, 1);
}

static void a_check_without_a_listener_counts_the_findings(void **state)
{
    struct test_store *test = *state;
    struct kv_check_options options = {0};

    much_is_wrong(test);
    assert_int_equal(kv_check(test->kv, &options, &report), 0);
    assert_int_equal(report.findings, 18);
    assert_int_equal(report.repaired, 0);
}

static void a_failing_engine_is_told_and_never_taken_for_a_sound_store(void **state)
{
    static const int errors[] = {-ENOMEM, -ETIMEDOUT};
    struct test_store *test = *state;
    enum engine_call calls[] = {ENGINE_GET, ENGINE_SCAN};
    uint64_t counts[2];

    for (int i = 0; i < 2; i++)
        counts[i] = engine_fault_calls(test->fault, calls[i]);
    check_store(test, false, false);
    for (int i = 0; i < 2; i++)
        counts[i] = engine_fault_calls(test->fault, calls[i]) - counts[i];
    for (int i = 0; i < 2; i++) {
        assert_true(counts[i] > 0);
        for (unsigned at = 1; at <= counts[i]; at++) {
            for (size_t error = 0; error < 2; error++) {
                engine_fault_arm(test->fault, calls[i], at, 1, errors[error]);
                assert_int_equal(look(test->kv, false, false), errors[error]);
            }
            engine_fault_arm(test->fault, calls[i], at, 1, -EIO);
            check_store(test, false, true);
            assert_int_equal(findings_count, 1);
            assert_string_equal(findings[0].kind, "database");
            assert_false(findings[0].repairable);
        }
    }
    engine_fault_arm(test->fault, ENGINE_BEGIN_READ, 1, 1, -EBUSY);
    assert_int_equal(look(test->kv, false, false), -EBUSY);
    expect_clean(test);
}

static void a_repair_that_fails_changes_nothing(void **state)
{
    static const enum engine_call calls[] = {ENGINE_BEGIN_WRITE, ENGINE_PUT, ENGINE_DEL, ENGINE_COMMIT};
    struct test_store *test = *state;
    struct test_dump before, after;

    much_is_wrong(test);
    before = test_dump(test->inner);
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        for (unsigned at = 1; at <= (i == 1 || i == 2 ? 4 : 1); at++) {
            report.findings = 12345;
            engine_fault_arm(test->fault, calls[i], at, 1, -ENOSPC);
            assert_int_equal(look(test->kv, false, true), -ENOSPC);
            assert_int_equal(report.findings, 12345);
            after = test_dump(test->inner);
            assert_true(test_same(&before, &after));
            free(after.data);
        }
    }
    free(before.data);
    check_store(test, false, true);
    assert_int_equal(report.repaired, 18);
    expect_clean(test);
}

/* While an entry below it leads elsewhere, a node that is missing may have been something. */
static void damage_upon_damage_is_repaired_at_once(void **state)
{
    struct test_store *test = *state;

    write_entry(test, NOT_THERE + 1, "n", NOT_THERE);
    write_entry(test, NOT_THERE, "m", NOT_THERE + 2);
    check_store(test, false, true);
    assert_int_equal(report.repaired, 2);
    expect_clean(test);
}

static void a_damaged_database_is_not_repaired(void **state)
{
    struct test_store *test = *state;
    struct test_dump before, after;

    much_is_wrong(test);
    before = test_dump(test->inner);
    engine_fault_arm(test->fault, ENGINE_SCAN, 6, 1, -EIO); /* of the keys: nodes and names were read */
    check_store(test, false, true);
    assert_true(findings_count > 1);
    assert_string_equal(findings[findings_count - 1].kind, "database");
    assert_int_equal(report.repaired, 0);
    after = test_dump(test->inner);
    assert_true(test_same(&before, &after));
    free(before.data);
    free(after.data);
}

/* -------------------------------------------------------------------- other processes */

static char directory[256];

static int make_directory(void **state)
{
    const char *above = getenv("TMPDIR");

    (void)state;
    snprintf(directory, sizeof(directory), "%s/kvfs-test-check-XXXXXX", above != NULL ? above : "/tmp");
    return mkdtemp(directory) == NULL ? -1 : 0;
}

static const char *in_directory(const char *name)
{
    static char path[300];

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    return path;
}

static int remove_directory(void **state)
{
    (void)state;
    unlink(in_directory("data.mdb"));
    unlink(in_directory("lock.mdb"));
    unlink(in_directory("writer"));
    unlink(in_directory("log"));
    return rmdir(directory);
}

static struct kv_store *open_directory(void)
{
    struct kv_options options = kv_options_default();
    struct kv_error error = {""};
    struct kv_store *kv;

    if (kv_open(directory, &options, &kv, &error) < 0)
        fail_msg("cannot open: %s", error.text);
    return kv;
}

/* Another process, made before this one opens the store. Told by a byte, it opens the store, answers with a byte,
 * and at the next byte closes it. */
struct other {
    pid_t pid;
    int tell, hear;
};

static void be_other(bool read_only, int hear, int tell)
{
    struct kv_options options = kv_options_default();
    struct kv_error error = {""};
    struct kv_store *kv;
    char byte;
    int rc;

    alarm(60);
    options.read_only = read_only;
    if (read(hear, &byte, 1) != 1)
        _exit(99);
    rc = kv_open(directory, &options, &kv, &error);
    if (rc < 0 && (strstr(error.text, directory) != error.text || strchr(error.text, '\n') != NULL))
        _exit(98);
    if (write(tell, "", 1) != 1)
        _exit(97);
    if (rc == 0) {
        if (read(hear, &byte, 1) != 1)
            _exit(96);
        kv_close(kv);
    }
    _exit(-rc);
}

static struct other start_other(bool read_only)
{
    int there[2], back[2];
    struct other other;

    assert_int_equal(pipe(there), 0);
    assert_int_equal(pipe(back), 0);
    other = (struct other){fork(), there[1], back[0]};
    assert_true(other.pid >= 0);
    if (other.pid == 0)
        be_other(read_only, there[0], back[1]);
    close(there[0]);
    close(back[1]);
    return other;
}

static void other_opens(struct other other)
{
    char byte;

    assert_int_equal(write(other.tell, "", 1), 1);
    assert_int_equal(read(other.hear, &byte, 1), 1);
}

/* returns  what its open said, as a positive number */
static int other_ends(struct other other)
{
    int status;

    (void)!write(other.tell, "", 1); /* nobody reads it where the open failed */
    assert_int_equal(waitpid(other.pid, &status, 0), other.pid);
    assert_true(WIFEXITED(status));
    close(other.tell);
    close(other.hear);
    return WEXITSTATUS(status);
}

static void a_repair_needs_the_store_for_itself(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    for (int read_only = 0; read_only < 2; read_only++) {
        struct other first = start_other(read_only), second = start_other(read_only);
        struct kv_store *kv = open_directory();

        other_opens(first);
        assert_int_equal(look(kv, false, false), 0);
        assert_int_equal(look(kv, false, true), -EBUSY);
        assert_int_equal(other_ends(first), 0);
        kv_close(kv);
        kv = open_directory();
        assert_int_equal(look(kv, false, true), 0);
        assert_int_equal(look(kv, false, true), 0);
        other_opens(second);
        assert_int_equal(other_ends(second), EBUSY);
        kv_close(kv);
    }
}

static void a_read_only_store_is_checked_and_not_repaired(void **state)
{
    struct kv_options options = kv_options_default();
    struct kv_store *kv = open_directory();
    struct kv_error error = {""};

    (void)state;
    kv_close(kv);
    options.read_only = true;
    assert_int_equal(kv_open(directory, &options, &kv, &error), 0);
    assert_int_equal(look(kv, false, false), 0);
    assert_int_equal(findings_count, 0);
    assert_int_equal(report.nodes, 1);
    assert_int_equal(look(kv, false, true), -EROFS);
    kv_close(kv);
}

#define ON(f, setup, label)                     \
    {                                           \
#f label, f, setup, close_damaged, NULL \
    }
#define ON_BOTH(f) ON(f, sample_on_memory, ""), ON(f, sample_on_lmdb, " (lmdb)")
#define IN_DIRECTORY(f) cmocka_unit_test_setup_teardown(f, make_directory, remove_directory)

/* Each damage is a test of its own. */
static int run_damages(void)
{
    enum { COUNT = sizeof(damages) / sizeof(damages[0]) };
    static struct CMUnitTest tests[2 * COUNT];
    static char names[2 * COUNT][128];

    for (size_t i = 0; i < 2 * COUNT; i++) {
        const struct damage *damage = &damages[i / 2];

        snprintf(names[i], sizeof(names[i]), "%s is found%s%s", damage->name,
                 damage->repairable ? " and repaired" : " and left alone", i % 2 == 0 ? "" : " (lmdb)");
        tests[i] = (struct CMUnitTest){.name = names[i],
                                       .test_func = i % 2 == 0 ? on_memory : on_lmdb,
                                       .initial_state = (void *)(uintptr_t)damage};
    }
    return cmocka_run_group_tests_name("damages", tests, NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(a_store_has_no_findings_whatever_was_done_to_it),
        ON_BOTH(a_store_has_no_findings_while_it_is_being_written),
        ON_BOTH(a_fast_check_looks_for_parts_but_not_at_bytes),
        ON_BOTH(a_check_without_a_listener_counts_the_findings),
        ON_BOTH(a_failing_engine_is_told_and_never_taken_for_a_sound_store),
        ON_BOTH(a_repair_that_fails_changes_nothing),
        ON_BOTH(damage_upon_damage_is_repaired_at_once),
        ON_BOTH(a_damaged_database_is_not_repaired),
        IN_DIRECTORY(a_repair_needs_the_store_for_itself),
        IN_DIRECTORY(a_read_only_store_is_checked_and_not_repaired),
    };

    return run_damages() + cmocka_run_group_tests(tests, NULL, NULL);
}
