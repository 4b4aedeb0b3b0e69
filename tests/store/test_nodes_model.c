/* Three nodes over one central, and a model of what each of them may say.
 *
 * The model
 *   The central is a history for each key: its states in the order of their commits, each with the time and the
 *   moment (commits are numbered) from which it was so. Contents are made from a serial number, carry a checksum,
 *   and no two puts have the same.
 *
 *   A read of a key on a node may answer with a state that is whole, and
 *     - is the central's at some moment during the call, or was so within the node's last ttl, and
 *     - is no older than the node's floor of the key: the newest state that an own acknowledged change
 *       made, that the central had when it refused an own change, or that a listing or a read on the
 *       node showed.
 *   kv_get_newest() may answer only with what was the central's at some moment during the call.
 *   From a key's expiry on its state is that it is absent. No node shows it then, and none says that it is absent
 *   for an expiry which the central has not had any more at that time.
 *   An age that is told with it is not too young. A listing is the central's truth of all keys at one moment
 *   during the call. A refusal is the one that the state at the commit demands. An error comes only where
 *   a failure was injected, and is that failure.
 *
 *   Some nodes have KV_DURABILITY_FSYNC. They follow the same rules; what differs is what is durable. A change of the
 *   others is done after a flush that began after its commit. Of theirs all are durable when a kv_sync() has answered,
 *   and not before somebody asks. A flush that fails takes nothing back that was committed: all see it, but
 *   who waited for it is told, and so is every later kv_sync() of the node.
 *
 * The order of events
 *   The test has one thread of its own, and each node's committer and flusher, of which one works while that thread
 *   waits for it: so a seed is a run that can be repeated. What really happens at the same time is played at the
 *   moments that the central tells of (support/central.h): while a fetch, a listing, a commit, a flush of one node
 *   is under way, other steps are made on any node, up to two levels deep. Frames on a stack say what is
 *   under way, because some steps would wait for it without end: a change on the node whose committer is
 *   just telling, a read of the key that this same thread is fetching for this node.
 *
 * Environment: KVFS_TEST_STEPS, KVFS_TEST_SEED.
 */
#include "tests/support/central.h"
#include "tests/support/nodes.h"
#include "tests/support/setting.h"
#include "tests/support/store.h"

#include <errno.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MS ((int64_t)1000000)
#define NODES 3

#ifdef __SANITIZE_THREAD__
#define STEPS_DEFAULT 200000 /* each takes five times as long */
#else
#define STEPS_DEFAULT 1000000
#endif

/* ------------------------------------------------------------------ the model */

enum { NAMESPACES = 2, NAMES = 6, KEYS = NAMESPACES * NAMES };

static const char *const names[NAMES] = {"a", "aa", "ab", "b", "ba", "c"}; /* in order */

struct state {
    int only; /* a state within a transaction, which only this node may have seen; -1: the central was so */
    bool absent;
    struct kv_meta meta;
    uint64_t serial;
    int64_t from_ns;
    uint64_t moment;
};

struct key {
    struct kv_ref ref;
    struct state *states;
    size_t count, room;
    size_t floor[NODES];
};

enum what { READING, LISTING, CHANGING };

/* An operation under way. */
struct frame {
    enum what what;
    int node, key;
    bool overtaken; /* READING: by a later own change, listing or kv_forget(); others no longer wait for it */
};

enum step {
    STAT,
    GET,
    NEWEST, /* kv_get_newest() */
    PEEK,
    FORGET,
    PUT,
    DELETE,
    RENAME,
    SETATTR,
    SETXATTR,
    GROUP, /* several changes at once */
    SCAN,
    LIST,
    SYNC,
    PASS, /* time passes */
    STEPS
};

static const char *const step_names[STEPS] = {"stat",  "get",    "newest", "peek",    "forget",
                                              "put",   "delete", "rename", "setattr", "setxattr",
                                              "group", "scan",   "list",   "sync",    "pass"};

#define DEPTH 3
#define GROUP_MAX 4

struct model;

struct job {
    struct kv_change change;
    struct model *model;
    int node, key, to; /* to: KV_RENAME, else the key */
    int fault;         /* that the commit, or its flush, meets; 0: none */
    bool flush_fails;  /* the flush */
    uint64_t serial;   /* KV_PUT */
    int verdict;       /* that the state at the commit demands */
    size_t made[2];    /* states of key and to, once committed: what is known when it is done */
    bool committed;
    bool failed;     /* and the node knows it */
    uint64_t moment; /* of the commit */
};

struct node {
    struct kv_store *kv;
    bool durability_fsync;
    struct engine *fault;
    struct model *model;
    int64_t ttl_ns;
    size_t cache_bytes;
    uint64_t reads; /* transactions begun */

    struct job jobs[GROUP_MAX]; /* of the change under way */
    size_t jobs_count, committed_count;
    sem_t arrived, go, done; /* the first change of a group waits until the others are queued */
    sem_t first_done;        /* and they wait until the first is done: one thread plays at a time */

    uint64_t commit_moment, durable_moment; /* of the last commit; up to which all commits are durable */
    int flush_rc;                           /* of the first flush that failed, which kv_sync() tells */
};

struct trace {
    int depth, node, key;
    enum step step;
    int64_t now_ns;
    uint64_t moment;
};

#define TRACE 64

struct model {
    uint64_t seed;
    size_t steps, steps_max;
    struct test_random random;
    struct kv_clock clock;
    _Atomic int64_t now_ns;
    struct node nodes[NODES];
    struct kv_store *truth; /* a node without a cache */
    uint64_t namespaces[NAMESPACES];
    struct key keys[KEYS];
    uint64_t moment, serial, version; /* the last of each */
    struct frame frames[DEPTH + 1];
    int depth;
    int focus; /* a key that is hot for a while */
    struct trace trace[TRACE];
    size_t traced;

    /* So that a test that tests nothing is noticed. */
    uint64_t cached, nested, listed, refused, failed, early, flush_failed, expired, swept;
};

/* What others do at this moment. */
static void meanwhile(struct model *model);

static int64_t mono_ns(void *arg) { return atomic_load(&((struct model *)arg)->now_ns); }
static int64_t real_ns(void *arg) { return TEST_CLOCK_START_NS + mono_ns(arg); }

static size_t below(struct model *model, size_t limit) { return test_random_below(&model->random, limit); }
static bool one_in(struct model *model, size_t n) { return below(model, n) == 0; }

static void print_state(const struct key *key, size_t i)
{
    const struct state *state = &key->states[i];

    fprintf(stderr, "    state %zu: from %lld ms, moment %llu: ", i, (long long)(state->from_ns / MS),
            (unsigned long long)state->moment);
    if (state->absent)
        fprintf(stderr, "absent\n");
    else
        fprintf(stderr, "version %llu, serial %llu, size %llu, mode %o, ctime %lld\n",
                (unsigned long long)state->meta.version, (unsigned long long)state->serial,
                (unsigned long long)state->meta.size, state->meta.attr.mode,
                (long long)(state->meta.attr.ctime_ns - TEST_CLOCK_START_NS));
}

/* May be called on any thread: the test ends here. */
__attribute__((noreturn)) static void broken(struct model *model, int node, int key, const char *what)
{
    size_t first = model->traced > TRACE ? model->traced - TRACE : 0;

    fprintf(stderr, "\n%s\n  node %d (ttl %lld ms, cache %zu bytes), key %s of namespace %d, at %lld ms\n", what,
            node, (long long)(model->nodes[node].ttl_ns / MS), model->nodes[node].cache_bytes,
            key < 0 ? "-" : names[key % NAMES], key < 0 ? -1 : key / NAMES, (long long)(mono_ns(model) / MS));
    for (size_t i = first; i < model->traced; i++) {
        const struct trace *trace = &model->trace[i % TRACE];

        fprintf(stderr, "  %*s%lld ms, moment %llu: node %d %s key %d\n", trace->depth * 4, "",
                (long long)(trace->now_ns / MS), (unsigned long long)trace->moment, trace->node,
                step_names[trace->step], trace->key);
    }
    if (key >= 0) {
        size_t count = model->keys[key].count;

        fprintf(stderr, "  floor of this node: %zu\n", model->keys[key].floor[node]);
        for (size_t i = count > 8 ? count - 8 : 0; i < count; i++)
            print_state(&model->keys[key], i);
    }
    fprintf(stderr, "  repeat with KVFS_TEST_SEED=%llu KVFS_TEST_STEPS=%zu\n", (unsigned long long)model->seed,
            model->steps_max);
    abort();
}

static void trace(struct model *model, int node, int key, enum step step)
{
    model->trace[model->traced++ % TRACE] =
        (struct trace){model->depth, node, key, step, mono_ns(model), model->moment};
}

static const struct state *last_state(const struct key *key) { return &key->states[key->count - 1]; }

static void add_state(struct model *model, int node, struct key *key, struct state state)
{
    if (key->count == key->room) {
        key->room = key->room > 0 ? key->room * 2 : 64;
        key->states = realloc(key->states, key->room * sizeof(*key->states));
        if (key->states == NULL)
            abort();
    }
    state.from_ns = mono_ns(model);
    state.moment = model->moment;
    state.only = -1;
    if (key->count > 0 && last_state(key)->moment == state.moment)
        key->states[key->count - 1].only = node;
    key->states[key->count++] = state;
}

static bool same_meta(const struct kv_meta *a, const struct kv_meta *b)
{
    return a->version == b->version && a->size == b->size && a->has_xattrs == b->has_xattrs &&
           a->expires_ns == b->expires_ns && a->attr.ino == b->attr.ino && a->attr.mode == b->attr.mode &&
           a->attr.uid == b->attr.uid && a->attr.gid == b->attr.gid && a->attr.atime_ns == b->attr.atime_ns &&
           a->attr.mtime_ns == b->attr.mtime_ns && a->attr.ctime_ns == b->attr.ctime_ns &&
           a->attr.btime_ns == b->attr.btime_ns;
}

static void raise_floor(struct key *key, int node, size_t floor)
{
    if (key->floor[node] < floor)
        key->floor[node] = floor;
}

/* Nobody on this node waits for this thread's fetch of the key any longer. */
static void overtake(struct model *model, int node, int key)
{
    for (int i = 0; i < model->depth; i++) {
        if (model->frames[i].what == READING && model->frames[i].node == node && model->frames[i].key == key)
            model->frames[i].overtaken = true;
    }
}

/* Would a change of the node wait for this thread? */
static bool is_changing(const struct model *model, int node)
{
    for (int i = 0; i < model->depth; i++) {
        if (model->frames[i].node == node && model->frames[i].what == CHANGING)
            return true;
    }
    return false;
}

/* Would a read of the key? */
static bool is_reading(const struct model *model, int node, int key)
{
    for (int i = 0; i < model->depth; i++) {
        const struct frame *frame = &model->frames[i];

        if (frame->node == node && frame->key == key && frame->what == READING && !frame->overtaken)
            return true;
    }
    return false;
}

static void push(struct model *model, enum what what, int node, int key)
{
    model->frames[model->depth++] = (struct frame){.what = what, .node = node, .key = key};
}

static void pop(struct model *model) { model->depth--; }

/* ------------------------------------------------------------ what a read may say */

struct reading {
    int node, key;
    int64_t began_ns;
    size_t floor, current; /* states of the key as the call began */
};

static struct reading reading_begin(struct model *model, int node, int key)
{
    const struct key *at = &model->keys[key];

    return (struct reading){
        .node = node,
        .key = key,
        .began_ns = mono_ns(model),
        .floor = at->floor[node],
        .current = at->count - 1,
    };
}

static bool says(const struct state *state, bool absent, const struct kv_meta *meta, const struct kv_value *value)
{
    if (state->absent || absent)
        return state->absent && absent;
    return same_meta(&state->meta, meta) && (value == NULL || test_content_serial(value) == state->serial);
}

/* Check an answer. meta NULL: absent. fresh NULL: not known */
static void check_answer(struct model *model, const struct reading *reading, const struct kv_meta *meta,
                         const struct kv_value *value, const struct kv_fresh *fresh)
{
    const struct node *node = &model->nodes[reading->node];
    struct key *key = &model->keys[reading->key];
    int64_t now_ns = mono_ns(model), asked_ns = INT64_MIN;
    size_t found;

    if (value != NULL && (test_content_serial(value) == 0 || value->size != meta->size))
        broken(model, reading->node, reading->key, "the value is not whole");
    if (fresh != NULL) {
        bool strong = node->ttl_ns == 0 || node->cache_bytes == 0;

        if (fresh->age_ms < 0 || fresh->age_ms * MS > node->ttl_ns + (now_ns - reading->began_ns) ||
            (strong && fresh->from_cache) || fresh->remaining_ms < 0 ||
            (fresh->age_ms * MS < node->ttl_ns && (fresh->age_ms + fresh->remaining_ms) * MS > node->ttl_ns))
            broken(model, reading->node, reading->key, "the freshness makes no sense");
        asked_ns = now_ns - (fresh->age_ms + 1) * MS; /* or later */
        model->cached += fresh->from_cache;
    }
    if (meta != NULL && meta->expires_ns != 0) {
        int64_t left_ns = meta->expires_ns - TEST_CLOCK_START_NS - reading->began_ns;

        if (left_ns <= 0 || (fresh != NULL && fresh->remaining_ms * MS > left_ns))
            broken(model, reading->node, reading->key, "a key outlives its expiry");
    }
    found = key->count;
    for (size_t i = key->count; i-- > reading->floor;) {
        int64_t until_ns = i + 1 < key->count ? key->states[i + 1].from_ns : INT64_MAX;

        if (i < reading->current && until_ns <= reading->began_ns - node->ttl_ns)
            break; /* this and all before it were replaced too long ago */
        if (key->states[i].only >= 0 && key->states[i].only != reading->node)
            continue;
        if (until_ns > asked_ns && says(&key->states[i], meta == NULL, meta, value))
            found = i;
    }
    if (found < key->count) {
        raise_floor(key, reading->node, found);
        return;
    }
    if (meta != NULL)
        fprintf(stderr, "answer: version %llu, serial %llu, size %llu, mode %o, ctime %lld", //
                (unsigned long long)meta->version,
                (unsigned long long)(value != NULL ? test_content_serial(value) : 0),
                (unsigned long long)meta->size, meta->attr.mode,
                (long long)(meta->attr.ctime_ns - TEST_CLOCK_START_NS));
    else
        fprintf(stderr, "answer: absent");
    if (fresh != NULL)
        fprintf(stderr, ", age %lld ms, remaining %lld ms, from %s", (long long)fresh->age_ms,
                (long long)fresh->remaining_ms, fresh->from_cache ? "the cache" : "the central");
    fprintf(stderr, "; may be one from state %zu on (%zu was current)", reading->floor, reading->current);
    broken(model, reading->node, reading->key, "an answer that the rules do not allow");
}

/* ------------------------------------------------------------------ failed reads */

static const int errors[] = {-EIO, -ETIMEDOUT, -ENOMEM};

/* Let the next transaction fail now and then. returns how it is to fail, or 0 */
static int arm_read(struct model *model, struct node *node)
{
    int rc = one_in(model, 50) ? errors[below(model, 3)] : 0;

    node->reads = engine_fault_calls(node->fault, ENGINE_BEGIN_READ);
    if (rc != 0)
        engine_fault_arm(node->fault, ENGINE_BEGIN_READ, 1, 1, rc);
    return rc;
}

/* Did it fail? */
static bool disarm_read(struct model *model, struct node *node, int injected)
{
    if (injected == 0)
        return false;
    engine_fault_arm(node->fault, ENGINE_BEGIN_READ, 0, 0, 0);
    if (engine_fault_calls(node->fault, ENGINE_BEGIN_READ) == node->reads)
        return false;
    model->failed++;
    return true;
}

/* ------------------------------------------------------------------------- reads */

/* A read has ended with rc: is that an answer, and a right one? Takes over the value. */
static void reading_end(struct model *model, const struct reading *reading, int number, int k, int injected,
                        int rc, bool want_value, const struct kv_meta *meta, struct kv_value *value,
                        const struct kv_fresh *fresh)
{
    pop(model);
    if (disarm_read(model, &model->nodes[number], injected)) {
        if (rc != injected)
            broken(model, number, k, "a failed read did not answer its error");
        return;
    }
    if (rc != 0 && rc != -ENOENT)
        broken(model, number, k, "a read failed");
    if (rc == 0 && want_value != (value != NULL))
        broken(model, number, k, "a read without its value");
    check_answer(model, reading, rc == 0 ? meta : NULL, value, fresh);
    kv_value_unref(value);
}

static void step_read(struct model *model, int number, int k, bool want_value)
{
    struct node *node = &model->nodes[number];
    struct reading reading = reading_begin(model, number, k);
    struct kv_value *value = NULL;
    struct kv_fresh fresh = {-1, -1, false};
    struct kv_meta meta;
    int injected, rc;

    push(model, READING, number, k);
    injected = arm_read(model, node);
    rc = want_value ? kv_get(node->kv, &model->keys[k].ref, &meta, &value, &fresh)
                    : kv_stat(node->kv, &model->keys[k].ref, &meta, &fresh);
    reading_end(model, &reading, number, k, injected, rc, want_value, &meta, value, &fresh);
}

/* The answer is the central's at some moment during the call. */
static void step_newest(struct model *model, int number, int k, bool want_value)
{
    struct node *node = &model->nodes[number];
    struct reading reading = reading_begin(model, number, k);
    struct kv_value *value = NULL;
    struct kv_meta meta;
    int injected, rc;

    reading.floor = reading.current;
    push(model, READING, number, k);
    injected = arm_read(model, node);
    rc = kv_get_newest(node->kv, &model->keys[k].ref, &meta, want_value ? &value : NULL);
    reading_end(model, &reading, number, k, injected, rc, want_value, &meta, value, NULL);
}

static void step_peek(struct model *model, int number, int k)
{
    struct node *node = &model->nodes[number];
    struct reading reading = reading_begin(model, number, k);
    uint64_t reads = engine_fault_calls(node->fault, ENGINE_BEGIN_READ);
    struct kv_fresh fresh;
    struct kv_meta meta;
    int rc = kv_peek(node->kv, &model->keys[k].ref, &meta, &fresh);

    if (engine_fault_calls(node->fault, ENGINE_BEGIN_READ) != reads)
        broken(model, number, k, "peeking asked the central");
    if (rc == 0)
        check_answer(model, &reading, &meta, NULL, &fresh);
    else if (rc != -ENOENT)
        broken(model, number, k, "peeking failed");
}

static void step_forget(struct model *model, int number, int k)
{
    struct key *key = &model->keys[k];

    kv_forget(model->nodes[number].kv, &key->ref);
    overtake(model, number, k);
    raise_floor(key, number, key->count - 1);
}

/* ---------------------------------------------------------------------- listings */

struct listing {
    size_t limit; /* stop after this many */
    const char *prefix;
    size_t count;
    struct {
        int name;
        struct kv_meta meta;
    } found[NAMES];
    bool odd;
};

static int number_of(const char *key, size_t size)
{
    for (int i = 0; i < NAMES; i++) {
        if (strlen(names[i]) == size && memcmp(names[i], key, size) == 0)
            return i;
    }
    return -1;
}

static int visit(void *arg, const char *key, size_t size, const struct kv_meta *meta)
{
    struct listing *listing = arg;

    if (listing->count == NAMES || number_of(key, size) < 0) {
        listing->odd = true;
        return 1;
    }
    listing->found[listing->count].name = number_of(key, size);
    listing->found[listing->count++].meta = *meta;
    return listing->count == listing->limit;
}

static size_t state_at(const struct key *key, uint64_t moment)
{
    size_t i = key->count - 1;

    while (key->states[i].moment > moment)
        i--;
    return i;
}

/* Is this the truth of a moment, from name `from` on? with_meta: as a scan shows it; else names alone */
static bool is_true_at(const struct model *model, int namespace, const struct listing *listing, int from,
                       bool with_meta, bool complete, uint64_t moment)
{
    size_t next = 0;

    for (int i = from; i < NAMES; i++) {
        const struct key *key = &model->keys[namespace * NAMES + i];
        const struct state *state = &key->states[state_at(key, moment)];

        if (state->absent || strncmp(names[i], listing->prefix, strlen(listing->prefix)) != 0)
            continue;
        if (next == listing->count)
            return !complete && next == listing->limit;
        if (listing->found[next].name != i || (with_meta && !same_meta(&listing->found[next].meta, &state->meta)))
            return false;
        next++;
    }
    return next == listing->count;
}

static void check_listing(struct model *model, int number, int namespace, const struct listing *listing, int from,
                          bool with_meta, bool complete, uint64_t began)
{
    uint64_t moment = began; /* the earliest, where names alone fit several */

    if (listing->odd)
        broken(model, number, namespace * NAMES, "a listing shows keys that nobody made");
    while (!is_true_at(model, namespace, listing, from, with_meta, complete, moment)) {
        if (moment == model->moment)
            broken(model, number, namespace * NAMES, "a listing was true at no moment during the call");
        moment++;
    }
    for (size_t i = 0; i < listing->count; i++) {
        struct key *key = &model->keys[namespace * NAMES + listing->found[i].name];

        overtake(model, number, namespace * NAMES + listing->found[i].name);
        raise_floor(key, number, state_at(key, moment));
        model->listed++;
    }
}

static void step_scan(struct model *model, int number, int namespace)
{
    struct node *node = &model->nodes[number];
    int from = one_in(model, 2) ? 0 : (int)below(model, NAMES);
    bool after = one_in(model, 4);
    struct listing listing = {.limit = one_in(model, 2) ? NAMES : 1 + below(model, NAMES), .prefix = ""};
    uint64_t began = model->moment;
    int injected, rc;

    push(model, LISTING, number, namespace * NAMES + from);
    injected = arm_read(model, node);
    rc = kv_scan(node->kv, model->namespaces[namespace], names[from], strlen(names[from]), after, visit, &listing);
    pop(model);
    if (disarm_read(model, node, injected)) {
        if (rc != injected)
            broken(model, number, namespace * NAMES, "a failed scan did not answer its error");
        return;
    }
    if (rc < 0 || rc > 1)
        broken(model, number, namespace * NAMES, "a scan failed");
    check_listing(model, number, namespace, &listing, from + after, true, rc == 0 && listing.count < listing.limit,
                  began);
}

static void step_list(struct model *model, int number, int namespace)
{
    static const char *const prefixes[] = {"", "a", "aa", "b", "c", "d"};
    struct node *node = &model->nodes[number];
    int from = one_in(model, 2) ? 0 : (int)below(model, NAMES);
    const char *prefix = prefixes[below(model, 6)];
    struct listing listing = {.limit = 1 + below(model, NAMES), .prefix = prefix};
    uint64_t began = model->moment;
    struct kv_list list;
    int injected, rc;

    push(model, LISTING, number, namespace * NAMES + from);
    injected = arm_read(model, node);
    rc = kv_list(node->kv, model->namespaces[namespace], listing.prefix, from == 0 ? NULL : names[from],
                 listing.limit, &list);
    pop(model);
    if (disarm_read(model, node, injected)) {
        if (rc != injected)
            broken(model, number, namespace * NAMES, "a failed list did not answer its error");
        return;
    }
    if (rc < 0)
        broken(model, number, namespace * NAMES, "a list failed");
    for (size_t i = 0; i < list.count; i++) {
        int name = number_of(list.keys[i], strlen(list.keys[i]));

        listing.odd |= name < 0 || i >= NAMES;
        if (!listing.odd)
            listing.found[listing.count++].name = name;
    }
    /* The cursor is the next key, so it is part of what was shown. */
    if (list.complete != (list.cursor[0] == '\0') || (!list.complete && list.count != listing.limit))
        listing.odd = true;
    if (!list.complete && !listing.odd) {
        int name = number_of(list.cursor, strlen(list.cursor));

        listing.odd = name < 0 || listing.count == NAMES;
        if (!listing.odd)
            listing.found[listing.count++].name = name;
        listing.limit++;
    }
    check_listing(model, number, namespace, &listing, from, false, list.complete, began);
    kv_list_free(&list);
}

/* ----------------------------------------------------------------------- changes */

/* What a change does to the last states of its keys: what can be known before it is done.
 * returns  its verdict; where it is 0, next[0] is the state of the key and next[1] that of `to` */
static int predict(const struct model *model, const struct job *job, struct state *next)
{
    const struct kv_change *change = &job->change;
    const struct state *from = last_state(&model->keys[job->key]), *to = last_state(&model->keys[job->to]);

    next[0] = *from;
    next[1] = *to;
    if (change->conditional && change->if_version == 0 && !from->absent)
        return -EEXIST;
    if (change->conditional && change->if_version != 0 &&
        (from->absent || from->meta.version != change->if_version))
        return -ECANCELED;
    switch (change->kind) {
    case KV_PUT:
        next[0].serial = job->serial;
        next[0].meta.size = test_content_size(job->serial);
        if (from->absent) {
            next[0].meta.attr.mode = change->attr.mode;
            next[0].meta.has_xattrs = false;
            next[0].meta.expires_ns = 0;
        }
        if (change->expiry == KV_EXPIRY_SET)
            next[0].meta.expires_ns = change->expires_ns;
        next[0].absent = false;
        return 0;
    case KV_DELETE:
        next[0].absent = true;
        return from->absent ? -ENOENT : 0;
    case KV_RENAME:
        if (from->absent || (to->absent && change->flags == KV_EXCHANGE))
            return -ENOENT;
        if (!to->absent && change->flags == KV_NOREPLACE)
            return -EEXIST;
        if (job->key == job->to)
            return 0;
        next[0] = *to;
        next[0].absent = change->flags != KV_EXCHANGE;
        next[1] = *from;
        return 0;
    case KV_SETATTR:
        next[0].meta.attr.mode = change->attr.mode;
        if (change->expiry == KV_EXPIRY_SET)
            next[0].meta.expires_ns = change->expires_ns;
        return from->absent ? -ENOENT : 0;
    default: /* KV_SETXATTR */
        next[0].meta.has_xattrs = change->xattr_value != NULL;
        if (from->absent)
            return -ENOENT;
        return change->xattr_value == NULL && !from->meta.has_xattrs ? -ENODATA : 0;
    }
}

/* Take what only the store knows of a predicted state from the change's result. */
static void complete_state(struct model *model, const struct job *job, struct state *state)
{
    const struct kv_meta *result = &job->change.meta;
    bool is_put = job->change.kind == KV_PUT;

    if (is_put ? result->version <= model->version : result->version != state->meta.version)
        broken(model, job->node, job->key, "a version that is not newer, or another one for the same value");
    if (result->size != test_content_size(state->serial) || result->attr.mode != state->meta.attr.mode ||
        result->has_xattrs != state->meta.has_xattrs || result->expires_ns != state->meta.expires_ns)
        broken(model, job->node, job->key, "a result that the change does not make");
    if (is_put)
        model->version = result->version;
    state->meta = *result;
}

/* A change was committed: write its history. */
static void note_commit(struct model *model, struct job *job)
{
    struct key *key = &model->keys[job->key], *to = &model->keys[job->to];
    struct state next[2];

    job->verdict = predict(model, job, next);
    job->committed = true;
    job->moment = model->moment;
    if (job->verdict == 0 && job->change.kind == KV_RENAME) {
        complete_state(model, job, &next[1]);
        next[0].meta.attr.ctime_ns = next[1].meta.attr.ctime_ns;
        if (key != to) {
            add_state(model, job->node, key, next[0]);
            add_state(model, job->node, to, next[1]);
        }
    } else if (job->verdict == 0) {
        if (!next[0].absent)
            complete_state(model, job, &next[0]);
        add_state(model, job->node, key, next[0]);
    }
    job->made[0] = key->count - 1;
    job->made[1] = to->count - 1;
}

/* The central has what the history says. */
static void check_truth(struct model *model, int number, int k)
{
    const struct state *state = last_state(&model->keys[k]);
    struct kv_value *value = NULL;
    struct kv_meta meta;
    int rc = kv_get(model->truth, &model->keys[k].ref, &meta, &value, NULL);

    if (rc != 0 && rc != -ENOENT)
        broken(model, number, k, "the central cannot be read");
    if (!says(state, rc == -ENOENT, &meta, value))
        broken(model, number, k, "a change did something else than it should");
    kv_value_unref(value);
}

/* A commit failed: nothing is known but what the central says next. */
static void note_failure(struct model *model, struct job *job)
{
    if (job->committed || job->failed)
        return;
    job->failed = true;
    job->made[0] = model->keys[job->key].count - 1;
    job->made[1] = model->keys[job->to].count - 1;
}

static void done(struct kv_change *change, int rc)
{
    struct job *job = change->arg;
    struct model *model = job->model;
    struct node *node = &model->nodes[job->node];
    int expected = job->fault != 0 && (!job->flush_fails || job->verdict == 0) ? job->fault : job->verdict;

    if (rc != expected) {
        fprintf(stderr, "verdict %d, not %d", rc, expected);
        broken(model, job->node, job->key, "a change with another verdict than it deserves");
    }
    if (rc == 0 && !node->durability_fsync && node->durable_moment < job->moment)
        broken(model, job->node, job->key, "a change is done before it is durable");
    model->early += rc == 0 && node->durable_moment < job->moment;
    note_failure(model, job);
    model->refused += rc < 0;
    raise_floor(&model->keys[job->key], job->node, job->made[0]);
    raise_floor(&model->keys[job->to], job->node, job->made[1]);
    overtake(model, job->node, job->key);
    overtake(model, job->node, job->to);
    meanwhile(model);
    if (node->jobs_count > 1 && job == &node->jobs[0])
        sem_post(&node->first_done);
    sem_post(&node->done);
}

/* Often never, else at a time that some nodes keep what they know for, or not. */
static void choose_expiry(struct model *model, struct kv_change *change)
{
    static const int64_t most_ms[] = {5, 60, 2000, 90000};

    change->expiry = KV_EXPIRY_SET;
    if (!one_in(model, 4))
        change->expires_ns = real_ns(model) + (1 + (int64_t)below(model, (size_t)most_ms[below(model, 4)])) * MS;
}

static void prepare(struct model *model, int number, int k, enum step step, struct job *job)
{
    static const char xattr[] = "user.note";
    struct kv_change *change = &job->change;
    struct key *key = &model->keys[k];

    *job = (struct job){.model = model, .node = number, .key = k, .to = k};
    change->ref = change->to = key->ref;
    change->done = done;
    change->arg = job;
    change->attr.mode = (uint32_t)below(model, 01000);
    change->attr.mtime_ns = change->attr.ctime_ns = real_ns(model);
    if (step == PUT || step == DELETE)
        change->conditional = one_in(model, 3);
    if (change->conditional && one_in(model, 2)) {
        const struct state *state = &key->states[key->count - 1 - below(model, key->count < 3 ? key->count : 3)];

        change->if_version = state->absent ? 0 : state->meta.version;
    }
    switch (step) {
    case PUT:
        change->kind = KV_PUT;
        job->serial = ++model->serial;
        change->value = test_content(job->serial);
        if (one_in(model, 4))
            choose_expiry(model, change);
        break;
    case DELETE:
        change->kind = KV_DELETE;
        break;
    case RENAME:
        change->kind = KV_RENAME;
        change->flags = (unsigned[]){0, 0, KV_NOREPLACE, KV_EXCHANGE}[below(model, 4)];
        job->to = (int)below(model, KEYS);
        change->to = model->keys[job->to].ref;
        break;
    case SETATTR:
        change->kind = KV_SETATTR;
        change->attr_mask = KV_MODE;
        if (one_in(model, 2))
            choose_expiry(model, change);
        break;
    default:
        change->kind = KV_SETXATTR;
        change->xattr_name = xattr;
        change->xattr_name_size = sizeof(xattr) - 1;
        change->xattr_value = one_in(model, 2) ? "x" : NULL;
        change->xattr_value_size = change->xattr_value != NULL;
        break;
    }
}

static void note_failed_flush(struct model *model, struct node *node, int rc)
{
    model->flush_failed++;
    if (node->flush_rc == 0)
        node->flush_rc = rc;
}

/* Let the commit of a change that is alone, or its flush, fail now and then. */
static void arm_write(struct model *model, struct node *node, struct job *job)
{
    static const enum engine_call calls[] = {ENGINE_COMMIT, ENGINE_COMMIT_LOST, ENGINE_BEGIN_WRITE, ENGINE_FLUSH};
    enum engine_call call = calls[below(model, node->durability_fsync ? 3 : 4)]; /* where a flush follows */

    if (!one_in(model, 30))
        return;
    job->fault = errors[below(model, 3)];
    job->flush_fails = call == ENGINE_FLUSH;
    if (job->flush_fails)
        note_failed_flush(model, node, job->fault);
    engine_fault_arm(node->fault, call, 1, 1, job->fault);
    model->failed++;
}

static enum step some_change(struct model *model)
{
    static const enum step kinds[] = {PUT, PUT, PUT, PUT, DELETE, DELETE, RENAME, RENAME, SETATTR, SETXATTR};

    return kinds[below(model, sizeof(kinds) / sizeof(kinds[0]))];
}

static void step_sync(struct model *model, int number)
{
    struct node *node = &model->nodes[number];
    uint64_t flushes = engine_fault_calls(node->fault, ENGINE_FLUSH);
    int rc, injected = one_in(model, 10) ? errors[below(model, 3)] : 0;

    push(model, CHANGING, number, 0);
    if (injected != 0)
        engine_fault_arm(node->fault, ENGINE_FLUSH, 1, 1000, injected); /* one or two, see hook() */
    rc = kv_sync(node->kv);
    engine_fault_arm(node->fault, ENGINE_FLUSH, 0, 0, 0);
    pop(model);
    if (injected != 0 && engine_fault_calls(node->fault, ENGINE_FLUSH) > flushes)
        note_failed_flush(model, node, injected);
    if (rc != node->flush_rc)
        broken(model, number, -1, "a sync did not tell whether a flush has failed");
    if (rc == 0 && node->durable_moment < node->commit_moment)
        broken(model, number, -1, "a sync did not do its work");
}

static void step_change(struct model *model, int number, int k, enum step step)
{
    struct node *node = &model->nodes[number];
    size_t count = step == GROUP ? 2 + below(model, GROUP_MAX - 1) : 1;

    push(model, CHANGING, number, k);
    node->jobs_count = count;
    node->committed_count = 0;
    for (size_t i = 0; i < count; i++) {
        int key = step == GROUP && one_in(model, 2) ? (int)below(model, KEYS) : k;

        prepare(model, number, key, step == GROUP ? some_change(model) : step, &node->jobs[i]);
    }
    if (count == 1)
        arm_write(model, node, &node->jobs[0]);
    kv_submit(node->kv, &node->jobs[0].change);
    if (count > 1)
        sem_wait(&node->arrived);
    for (size_t i = 1; i < count; i++)
        kv_submit(node->kv, &node->jobs[i].change);
    if (count > 1)
        sem_post(&node->go);
    for (size_t i = 0; i < count; i++)
        sem_wait(&node->done);
    for (size_t i = 0; i < count; i++)
        kv_value_unref(node->jobs[i].change.value);
    pop(model);
    node->jobs_count = node->committed_count = 0;
}

/* The changes of the transaction that was committed now: the first one of a group, then in the next one the others. */
static void on_commit(struct node *node)
{
    struct model *model = node->model;
    size_t first = node->committed_count, end = first == 0 ? 1 : node->jobs_count;

    node->commit_moment = ++model->moment;
    for (size_t i = first; i < end; i++)
        note_commit(model, &node->jobs[i]);
    node->committed_count = end;
    for (size_t i = first; i < end; i++) {
        check_truth(model, node->jobs[i].node, node->jobs[i].key);
        if (node->jobs[i].to != node->jobs[i].key)
            check_truth(model, node->jobs[i].node, node->jobs[i].to);
    }
}

/* What is committed now will be durable. Whoever waits for it is told after that, but the node knows of it already.
 * returns  whether anything is */
static bool on_flush(struct node *node)
{
    bool anything = node->durable_moment < node->commit_moment;

    node->durable_moment = node->commit_moment;
    if (node->jobs_count == 1)
        note_failure(node->model, &node->jobs[0]);
    return anything;
}

static void hook(void *arg, enum test_moment moment)
{
    struct node *node = arg;

    if (node->kv == NULL)
        return; /* it is being opened */
    if (moment == TEST_WRITE_WANTED && node->jobs_count > 1 && node->committed_count == 0) {
        sem_post(&node->arrived);
        sem_wait(&node->go);
    } else if (moment == TEST_WRITE_WANTED && node->jobs_count > 1) {
        sem_wait(&node->first_done);
    }
    if (moment == TEST_COMMITTED)
        on_commit(node);
    if (moment == TEST_FLUSH_WANTED && !on_flush(node) && node->durability_fsync)
        return; /* one more, because the committer had not come to its end: it is not always there */
    meanwhile(node->model);
}

/* ------------------------------------------------------------------------- steps */

/* Time passes, and what expires is gone. */
static void pass(struct model *model, int64_t ns)
{
    atomic_fetch_add(&model->now_ns, ns);
    model->moment++;
    for (int k = 0; k < KEYS; k++) {
        struct state state = *last_state(&model->keys[k]);

        if (state.absent || !kv_expired(&state.meta, real_ns(model)))
            continue;
        state.absent = true;
        add_state(model, -1, &model->keys[k], state);
        model->expired++;
    }
}

/* Does a key expire, or one that is being put, before this time? */
static bool expires_before(const struct model *model, int64_t until_ns)
{
    bool does = false;

    for (int k = 0; k < KEYS; k++) {
        const struct state *state = last_state(&model->keys[k]);

        does |= !state->absent && kv_expired(&state->meta, until_ns);
    }
    for (int number = 0; number < NODES; number++)
        for (size_t i = 0; i < model->nodes[number].jobs_count; i++) {
            const struct kv_change *change = &model->nodes[number].jobs[i].change;

            does |= change->expires_ns != 0 && change->expires_ns <= until_ns;
        }
    return does;
}

/* While something is under way nothing expires: whether it does before or after that, would be said differently. */
static void step_pass(struct model *model)
{
    static const size_t most_ms[] = {3, 3, 3, 3, 3, 3, 50, 50, 1200, 70000};
    int64_t ns = (int64_t)below(model, most_ms[below(model, 10)]) * MS;

    if (model->depth == 0 || !expires_before(model, real_ns(model) + ns))
        pass(model, ns);
}

/* By the central alone: no node is told, and none can tell. */
static void sweep(struct model *model)
{
    uint64_t swept;
    int64_t next_ns;

    if (kv_sweep(model->truth, &swept, &next_ns) < 0 || (next_ns != 0 && next_ns <= real_ns(model)))
        broken(model, 0, -1, "a sweep did not do its work");
    model->swept += swept;
}

static enum step some_step(struct model *model)
{
    static const struct {
        enum step step;
        size_t weight;
    } weights[] = {{STAT, 20}, {GET, 24},   {NEWEST, 4}, {PEEK, 4},    {FORGET, 1},
                   {PUT, 10},  {DELETE, 4}, {RENAME, 4}, {SETATTR, 2}, {SETXATTR, 1},
                   {GROUP, 2}, {SCAN, 5},   {LIST, 4},   {SYNC, 1},    {PASS, 14}};
    size_t at = below(model, 100);

    for (size_t i = 0;; i++) {
        if (at < weights[i].weight)
            return weights[i].step;
        at -= weights[i].weight;
    }
}

static void make_step(struct model *model)
{
    enum step step = some_step(model);
    int number = (int)below(model, NODES), k = model->focus;

    if (model->depth == 0 && one_in(model, 100))
        sweep(model);
    if (one_in(model, 100))
        model->focus = (int)below(model, KEYS);
    if (one_in(model, 2))
        k = model->depth > 0 ? model->frames[model->depth - 1].key : (int)below(model, KEYS);

    if (((step >= PUT && step <= GROUP) || step == SYNC) && is_changing(model, number))
        step = GET; /* it would wait for the committer, which is here */
    if ((step == STAT || step == GET) && is_reading(model, number, k))
        step = PEEK; /* it would wait for this thread */
    model->steps++;
    trace(model, number, k, step);
    switch (step) {
    case STAT:
    case GET:
        step_read(model, number, k, step == GET);
        break;
    case NEWEST:
        step_newest(model, number, k, one_in(model, 2));
        break;
    case PEEK:
        step_peek(model, number, k);
        break;
    case FORGET:
        step_forget(model, number, k);
        break;
    case SCAN:
        step_scan(model, number, k / NAMES);
        break;
    case LIST:
        step_list(model, number, k / NAMES);
        break;
    case SYNC:
        step_sync(model, number);
        break;
    case PASS:
        step_pass(model);
        break;
    default:
        step_change(model, number, k, step);
        break;
    }
}

static void meanwhile(struct model *model)
{
    if (model->depth >= DEPTH || !one_in(model, 3))
        return;
    for (size_t left = 1 + below(model, 3); left > 0; left--) {
        model->nested++;
        make_step(model);
    }
}

/* -------------------------------------------------------------------------- runs */

enum { RUN_STEPS = 5000 }; /* then all is opened anew */

static struct kv_store *open_store(struct engine *engine, const struct kv_clock *clock, int64_t ttl_ms,
                                   size_t cache_bytes, enum kv_durability durability)
{
    struct kv_options options = kv_options_default();
    struct kv_store *store;
    struct kv_error error;

    options.durability = durability;
    options.commit_interval_ms = 3600 * 1000; /* nothing is flushed that no step asks for */
    options.backend = test_backend(engine);
    options.clock = clock;
    options.cache_ttl_ms = ttl_ms;
    options.cache_bytes = cache_bytes;
    assert_int_equal(kv_open("node", &options, &store, &error), 0);
    return store;
}

static void open_node(struct model *model, struct test_central *central, int number)
{
    static const int64_t ttls_ms[] = {60000, 60000, 1000, 1000, 40, 40, 0};
    static const size_t sizes[] = {1 << 20, 1 << 20, 50000, 8000, 2000, 700, 0};
    struct node *node = &model->nodes[number];
    struct kv_store *store;
    int64_t ttl_ms = ttls_ms[number < 2 ? below(model, 6) : 6 - below(model, 2)];
    size_t cache_bytes = sizes[below(model, 7)];

    *node = (struct node){
        .model = model, .durability_fsync = one_in(model, 3), .ttl_ns = ttl_ms * MS, .cache_bytes = cache_bytes};
    sem_init(&node->arrived, 0, 0);
    sem_init(&node->go, 0, 0);
    sem_init(&node->first_done, 0, 0);
    sem_init(&node->done, 0, 0);
    assert_int_equal(engine_fault_open(test_central_share(central, hook, node), &node->fault), 0);
    store = open_store(node->fault, &model->clock, ttl_ms, node->cache_bytes,
                       node->durability_fsync ? KV_DURABILITY_FSYNC : KV_DURABILITY_CLOSE);
    for (int i = 0; i < NAMESPACES; i++) { /* so that no change of the run has to look for its account */
        struct kv_ref nothing = kv_ref_key(model->namespaces[i], "none", 4);

        assert_int_equal(kv_delete(store, &nothing), -ENOENT);
    }
    assert_int_equal(kv_sync(store), 0);
    node->kv = store; /* from here on the hook looks */
}

/* When all entries are too old, all nodes say what the central has. */
static void check_the_end(struct model *model)
{
    for (int number = 0; number < NODES; number++)
        step_sync(model, number);
    pass(model, 60001 * MS);
    for (int number = 0; number < NODES; number++) {
        for (int k = 0; k < KEYS; k++) {
            const struct state *state = last_state(&model->keys[k]);
            struct kv_value *value = NULL;
            struct kv_meta meta;
            int rc = kv_get(model->nodes[number].kv, &model->keys[k].ref, &meta, &value, NULL);

            if ((rc != 0 && rc != -ENOENT) || !says(state, rc == -ENOENT, &meta, value))
                broken(model, number, k, "a node does not agree in the end");
            kv_value_unref(value);
        }
    }
}

/* A run takes far less than a second; longer only where a step waits for itself. */
enum { RUN_LIMIT_S = 20 };

static struct model *running;

static void give_up(int signal)
{
    (void)signal;
    broken(running, running->frames[0].node, running->frames[0].key, "a step waits without end");
}

static void run(struct model *model, uint64_t seed, size_t steps)
{
    struct engine *inner;
    struct test_central *central;

    model->seed = seed;
    model->random.state = seed;
    model->steps = model->traced = 0;
    model->steps_max = steps;
    model->clock = (struct kv_clock){mono_ns, real_ns, model};
    atomic_store(&model->now_ns, 1000 * MS);
    assert_int_equal(engine_memory_open(&inner), 0);
    central = test_central_new(inner);
    model->truth = open_store(test_central_share(central, NULL, NULL), &model->clock, 0, 0, KV_DURABILITY_CLOSE);
    test_make_namespaces(model->truth, NAMESPACES, model->namespaces);
    for (int number = 0; number < NODES; number++)
        open_node(model, central, number);
    model->moment = model->serial = model->version = 0;
    model->depth = DEPTH; /* nothing meanwhile */
    for (int k = 0; k < KEYS; k++) {
        const char *name = names[k % NAMES];

        model->keys[k] = (struct key){.ref = kv_ref_key(model->namespaces[k / NAMES], name, strlen(name))};
        add_state(model, -1, &model->keys[k], (struct state){.absent = true});
    }
    model->depth = 0;
    running = model;
    signal(SIGALRM, give_up);
    alarm(RUN_LIMIT_S);
    while (model->steps < steps)
        make_step(model);
    alarm(0);
    model->depth = DEPTH;
    check_the_end(model);
    for (int number = 0; number < NODES; number++) {
        struct node *node = &model->nodes[number];

        kv_close(node->kv);
        sem_destroy(&node->arrived);
        sem_destroy(&node->go);
        sem_destroy(&node->first_done);
        sem_destroy(&node->done);
    }
    kv_close(model->truth);
    test_expect_sound(inner);
    test_central_unref(central);
    for (int k = 0; k < KEYS; k++)
        free(model->keys[k].states);
}

/* Only one of its threads runs at any time: on one processor, they hand over to each other faster. */
static void stay_on_one_processor(cpu_set_t *before)
{
    cpu_set_t one;

    assert_int_equal(sched_getaffinity(0, sizeof(*before), before), 0);
    CPU_ZERO(&one);
    CPU_SET((unsigned)sched_getcpu(), &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
}

static void no_node_says_what_the_rules_do_not_allow(void **state)
{
    uint64_t steps = test_setting("KVFS_TEST_STEPS", STEPS_DEFAULT), seed = test_seed();
    struct model *model = calloc(1, sizeof(*model));
    cpu_set_t processors;

    (void)state;
    assert_non_null(model);
    stay_on_one_processor(&processors);
    for (uint64_t left = steps, run_steps; left > 0; left -= run_steps) {
        run_steps = left < RUN_STEPS ? left : RUN_STEPS;
        run(model, seed++, run_steps);
    }
    sched_setaffinity(0, sizeof(processors), &processors);
    print_message(
        "%llu steps, of them %llu meanwhile; %llu answers from a cache, %llu keys listed, %llu changes refused, "
        "%llu failures, %llu changes done before they were durable, %llu failed flushes, %llu keys expired, %llu "
        "swept\n",
        (unsigned long long)steps, (unsigned long long)model->nested, (unsigned long long)model->cached,
        (unsigned long long)model->listed, (unsigned long long)model->refused, (unsigned long long)model->failed,
        (unsigned long long)model->early, (unsigned long long)model->flush_failed,
        (unsigned long long)model->expired, (unsigned long long)model->swept);
    if (steps >= 40 * RUN_STEPS) /* a few runs need not have everything */
        assert_true(model->nested > 0 && model->cached > 0 && model->listed > 0 && model->refused > 0 &&
                    model->failed > 0 && model->early > 0 && model->flush_failed > 0 && model->expired > 0 &&
                    model->swept > 0);
    free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_node_says_what_the_rules_do_not_allow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
