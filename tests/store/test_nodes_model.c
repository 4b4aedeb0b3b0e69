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
 *       made, that the central had when it refused an own change, or that a listing on the node showed.
 *   An age that is told with it is not too young. A listing is the central's truth of all keys at one moment
 *   during the call. A refusal is the one that the state at the commit demands. An error comes only where
 *   a failure was injected, and is that failure.
 *
 * The order of events
 *   The first test has one thread of its own, and each node's committer, which works only while that thread waits
 *   for it: so a seed is a run that can be repeated. What really happens at the same time is played at the
 *   moments that the central tells of (support/central.h): while a fetch, a listing, a commit of one node
 *   is under way, other steps are made on any node, up to two levels deep. Frames on a stack say what is
 *   under way, because some steps would wait for it without end: a change on the node whose committer is
 *   just telling, a read of the key that this same thread is fetching for this node.
 *
 *   The second test has two threads on each node and the real clock, and checks what can be known then: own
 *   acknowledged changes are not un-seen, values are whole, nothing is served that was replaced a ttl ago.
 *
 * Environment: KVFS_TEST_STEPS (of the first test; the second makes a tenth), KVFS_TEST_SEED.
 */
#include "tests/support/central.h"
#include "tests/support/store.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

#define MS ((int64_t)1000000)
#define NODES 3

/* ------------------------------------------------------------------- contents */

#define CONTENT_MAX 10000u

struct content {
    uint64_t serial, checksum; /* of what follows */
};

/* Mostly small; now and then larger than what is kept in the record of the key. */
static size_t content_size(uint64_t serial)
{
    uint64_t mixed = serial * 0x9e3779b97f4a7c15u >> 32;

    return sizeof(struct content) + (mixed % 61 == 0 ? mixed % (CONTENT_MAX - sizeof(struct content)) : mixed % 400);
}

static struct kv_value *content_new(uint64_t serial)
{
    size_t size = content_size(serial);
    struct content *content;
    struct kv_value *value;

    if (kv_value_new(size, &value) < 0)
        abort();
    content = (struct content *)value->data;
    content->serial = serial;
    memset(content + 1, (int)(serial % 251), size - sizeof(*content));
    content->checksum = XXH3_64bits_withSeed(content + 1, size - sizeof(*content), serial);
    return value;
}

/* returns  the serial number that a whole content was made from; 0: it is not whole */
static uint64_t content_serial(const struct kv_value *value)
{
    struct content head;

    if (value->size < sizeof(head))
        return 0;
    memcpy(&head, value->data, sizeof(head));
    if (value->size != content_size(head.serial) ||
        head.checksum != XXH3_64bits_withSeed(value->data + sizeof(head), value->size - sizeof(head), head.serial))
        return 0;
    return head.serial;
}

/* ------------------------------------------------------------------ the model */

enum { NAMESPACES = 2, NAMES = 6, KEYS = NAMESPACES * NAMES };

static const char *const names[NAMES] = {"a", "aa", "ab", "b", "ba", "c"}; /* in order */

struct state {
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
    PASS, /* time passes */
    STEPS
};

static const char *const step_names[STEPS] = {"stat",    "get",      "peek",  "forget", "put",  "delete", "rename",
                                              "setattr", "setxattr", "group", "scan",   "list", "pass"};

#define DEPTH 3
#define GROUP_MAX 4

struct model;

struct job {
    struct kv_change change;
    struct model *model;
    int node, key, to; /* to: KV_RENAME, else the key */
    int fault;         /* that the commit is to meet; 0: none */
    bool lost;         /* the commit happens nevertheless */
    int verdict;       /* that the state at the commit demands */
    size_t made[2];    /* states of key and to, once committed: what is known when it is done */
    bool committed;
};

struct node {
    struct kv_store *kv;
    struct engine *fault;
    struct model *model;
    int64_t ttl_ns;
    size_t cache_bytes;
    uint64_t reads; /* transactions begun */

    struct job jobs[GROUP_MAX]; /* of the change under way */
    size_t jobs_count, committed_count, done_count;
    sem_t arrived, go, done; /* the first change of a group waits until the others are queued */
};

struct trace {
    int depth, node, key;
    enum step step;
    int64_t now_ns;
    uint64_t moment;
    long long detail;
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
    uint64_t moment, serial;
    struct frame frames[DEPTH];
    int depth;
    struct trace trace[TRACE];
    size_t traced;

    uint64_t cached, nested, listed, refused, failed; /* so that a test that tests nothing is noticed */
};

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

    fprintf(stderr, "\n%s\n  node %d (ttl %lld ms, cache %zu bytes), key %s of namespace %d, at %lld ms\n", what, node,
            (long long)(model->nodes[node].ttl_ns / MS), model->nodes[node].cache_bytes,
            key < 0 ? "-" : names[key % NAMES], key < 0 ? -1 : key / NAMES, (long long)(mono_ns(model) / MS));
    for (size_t i = first; i < model->traced; i++) {
        const struct trace *trace = &model->trace[i % TRACE];

        fprintf(stderr, "  %*s%lld ms, moment %llu: node %d %s key %d (%lld)\n", trace->depth * 4, "",
                (long long)(trace->now_ns / MS), (unsigned long long)trace->moment, trace->node,
                step_names[trace->step], trace->key, trace->detail);
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

static void trace(struct model *model, int node, int key, enum step step, long long detail)
{
    model->trace[model->traced++ % TRACE] =
        (struct trace){model->depth, node, key, step, mono_ns(model), model->moment, detail};
}

static const struct state *last_state(const struct key *key) { return &key->states[key->count - 1]; }

static void add_state(struct model *model, struct key *key, struct state state)
{
    if (key->count == key->room) {
        key->room = key->room > 0 ? key->room * 2 : 64;
        key->states = realloc(key->states, key->room * sizeof(*key->states));
        if (key->states == NULL)
            abort();
    }
    state.from_ns = mono_ns(model);
    state.moment = model->moment;
    key->states[key->count++] = state;
}

static bool same_meta(const struct kv_meta *a, const struct kv_meta *b)
{
    return a->version == b->version && a->size == b->size && a->has_xattrs == b->has_xattrs &&
           a->attr.ino == b->attr.ino && a->attr.mode == b->attr.mode && a->attr.uid == b->attr.uid &&
           a->attr.gid == b->attr.gid && a->attr.atime_ns == b->attr.atime_ns &&
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

static bool is_under_way(const struct model *model, enum what what, int node, int key)
{
    for (int i = 0; i < model->depth; i++) {
        const struct frame *frame = &model->frames[i];

        if (frame->what == what && frame->node == node && !frame->overtaken && (what == CHANGING || frame->key == key))
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

    return (struct reading){node, key, mono_ns(model), at->floor[node], at->count - 1};
}

static bool says(const struct state *state, bool absent, const struct kv_meta *meta, const struct kv_value *value)
{
    if (state->absent || absent)
        return state->absent && absent;
    return same_meta(&state->meta, meta) && (value == NULL || content_serial(value) == state->serial);
}

/* Check an answer. meta NULL: absent. fresh NULL: not known */
static void check_answer(struct model *model, const struct reading *reading, const struct kv_meta *meta,
                         const struct kv_value *value, const struct kv_fresh *fresh)
{
    const struct node *node = &model->nodes[reading->node];
    const struct key *key = &model->keys[reading->key];
    int64_t now_ns = mono_ns(model), asked_ns = INT64_MIN;

    if (value != NULL && (content_serial(value) == 0 || value->size != meta->size))
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
    for (size_t i = key->count; i-- > reading->floor;) {
        int64_t until_ns = i + 1 < key->count ? key->states[i + 1].from_ns : INT64_MAX;

        if (i < reading->current && until_ns <= reading->began_ns - node->ttl_ns)
            break; /* this and all before it were replaced too long ago */
        if (until_ns > asked_ns && says(&key->states[i], meta == NULL, meta, value))
            return;
    }
    if (meta != NULL)
        fprintf(stderr, "answer: version %llu, serial %llu, size %llu, mode %o, ctime %lld", //
                (unsigned long long)meta->version,
                (unsigned long long)(value != NULL ? content_serial(value) : 0), (unsigned long long)meta->size,
                meta->attr.mode, (long long)(meta->attr.ctime_ns - TEST_CLOCK_START_NS));
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
    pop(model);
    if (disarm_read(model, node, injected)) {
        if (rc != injected)
            broken(model, number, k, "a failed read did not answer its error");
        return;
    }
    if (rc != 0 && rc != -ENOENT)
        broken(model, number, k, "a read failed");
    if (rc == 0 && want_value != (value != NULL))
        broken(model, number, k, "a read without its value");
    check_answer(model, &reading, rc == 0 ? &meta : NULL, value, &fresh);
    kv_value_unref(value);
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
    const struct key *key = &model->keys[k];

    kv_forget(model->nodes[number].kv, &key->ref);
    overtake(model, number, k);
    raise_floor(&model->keys[k], number, key->count - 1);
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
static bool is_true_at(const struct model *model, int namespace, const struct listing *listing, int from, bool with_meta,
                       bool complete, uint64_t moment)
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
    uint64_t moment = model->moment;

    if (listing->odd)
        broken(model, number, namespace * NAMES, "a listing shows keys that nobody made");
    while (!is_true_at(model, namespace, listing, from, with_meta, complete, moment)) {
        if (moment == began)
            broken(model, number, namespace * NAMES, "a listing was true at no moment during the call");
        moment--;
    }
    for (size_t i = 0; i < listing->count; i++) {
        struct key *key = &model->keys[namespace * NAMES + listing->found[i].name];

        overtake(model, number, namespace * NAMES + listing->found[i].name);
        raise_floor(key, number, state_at(key, moment));
        model->listed++;
    }
}

static void step_scan(struct model *model, int number)
{
    struct node *node = &model->nodes[number];
    int namespace = (int)below(model, NAMESPACES), from = one_in(model, 2) ? 0 : (int)below(model, NAMES);
    bool after = one_in(model, 4);
    struct listing listing = {.limit = one_in(model, 2) ? NAMES : 1 + below(model, NAMES), .prefix = ""};
    uint64_t began = model->moment;
    int injected, rc;

    push(model, LISTING, number, 0);
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

static void step_list(struct model *model, int number)
{
    static const char *const prefixes[] = {"", "a", "aa", "b", "c", "d"};
    struct node *node = &model->nodes[number];
    int namespace = (int)below(model, NAMESPACES), from = one_in(model, 2) ? 0 : (int)below(model, NAMES);
    struct listing listing = {.limit = 1 + below(model, NAMES), .prefix = prefixes[below(model, 6)]};
    uint64_t began = model->moment;
    struct kv_list list;
    int injected, rc;

    push(model, LISTING, number, 0);
    injected = arm_read(model, node);
    rc = kv_list(node->kv, model->namespaces[namespace], listing.prefix, from == 0 ? NULL : names[from], listing.limit,
                 &list);
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

/* What a change does to the last states of its keys.
 * returns  its verdict; where it is 0, next[0] is the state of the key and next[1] that of `to` */
static int predict(const struct model *model, const struct job *job, struct state *next)
{
    const struct kv_change *change = &job->change;
    const struct state *from = last_state(&model->keys[job->key]), *to = last_state(&model->keys[job->to]);

    next[0] = *from;
    next[1] = *to;
    if (change->conditional && change->if_version == 0 && !from->absent)
        return -EEXIST;
    if (change->conditional && change->if_version != 0 && (from->absent || from->meta.version != change->if_version))
        return -ECANCELED;
    switch (change->kind) {
    case KV_PUT:
        next[0].serial = content_serial(change->value);
        next[0].meta.size = change->value->size;
        if (from->absent)
            next[0].meta.attr.mode = change->attr.mode;
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
        return from->absent ? -ENOENT : 0;
    default: /* KV_SETXATTR */
        next[0].meta.has_xattrs = change->xattr_value != NULL;
        if (from->absent)
            return -ENOENT;
        return change->xattr_value == NULL && !from->meta.has_xattrs ? -ENODATA : 0;
    }
}

/* Ask the central for a key's state, which is to be as predicted where the model can know it. */
static struct state observe(struct model *model, const struct job *job, int k, const struct state *predicted)
{
    const struct state *old = last_state(&model->keys[k]);
    struct state state = {0};
    struct kv_value *value;
    int rc = kv_get(model->truth, &model->keys[k].ref, &state.meta, &value, NULL);

    if (rc != 0 && rc != -ENOENT)
        broken(model, job->node, k, "the central cannot be read");
    state.absent = rc == -ENOENT;
    if (rc == 0) {
        state.serial = content_serial(value);
        kv_value_unref(value);
    }
    if (state.absent != predicted->absent ||
        (!state.absent && (state.serial != predicted->serial || state.meta.size != content_size(state.serial) ||
                           state.meta.attr.mode != predicted->meta.attr.mode ||
                           state.meta.has_xattrs != predicted->meta.has_xattrs)))
        broken(model, job->node, k, "a change did something else than it should");
    if (!state.absent && job->change.kind == KV_PUT && !old->absent && state.meta.version <= old->meta.version)
        broken(model, job->node, k, "a put without a newer version");
    if (!state.absent && job->change.kind != KV_PUT && state.meta.version != predicted->meta.version)
        broken(model, job->node, k, "another version of the same value");
    return state;
}

/* A change was committed: write its history. */
static void note_commit(struct model *model, struct job *job)
{
    struct state next[2];

    job->verdict = predict(model, job, next);
    job->committed = true;
    if (job->verdict == 0) {
        /* Changes of one group are seen together: later ones tell what the earlier ones leave. */
        next[0] = job->change.kind == KV_RENAME && job->key != job->to ? next[0] : next[job->key == job->to ? 0 : 0];
    }
    for (int i = 0; i < (job->key == job->to ? 1 : 2); i++) {
        struct key *key = &model->keys[i == 0 ? job->key : job->to];

        if (job->verdict == 0)
            add_state(model, key, next[i]);
        job->made[i] = key->count - 1;
    }
}

