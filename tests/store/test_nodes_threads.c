/* Three nodes over one central with two threads on each, the real clock and short ttls: what test_nodes_model.c checks
 * for every order of events that one thread can play, as far as it can be known when they really run at once. Values
 * are whole; nothing goes back behind what this node has acknowledged or shown; nothing is served that was
 * replaced a ttl ago.
 *
 * Keys of two kinds
 *   common  are put by everybody and never deleted. Their versions tell the order of the puts (none of these
 *           nodes accepts a put before its commit), so a node that was told of one, or showed it, must not
 *           show a smaller one.
 *   own     are changed by the two threads of one node only, one at a time; so the order of their states is
 *           known, and also when a state was surely over.
 *
 * Environment: KVFS_TEST_STEPS (a tenth of it is made), KVFS_TEST_SEED. */
#include "tests/support/central.h"
#include "tests/support/nodes.h"
#include "tests/support/setting.h"
#include "tests/support/store.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MS ((int64_t)1000000)
#define NODES 3

enum { COMMON = 3, OWN = 2, THREADS = 2 };

struct own_state {
    uint64_t serial; /* 0: absent */
    _Atomic int64_t over_ns;
};

struct own_key {
    struct kv_ref ref;
    pthread_mutex_t order;
    struct own_state *states;
    _Atomic size_t issued, known; /* the newest that may be there, and that was acknowledged */
};

struct common_key {
    struct kv_ref ref;
    _Atomic uint64_t floor[NODES]; /* versions */
};

struct crowd {
    struct kv_store *kv[NODES];
    int64_t ttl_ns[NODES];
    struct common_key common[COMMON];
    struct own_key own[NODES][OWN];
    size_t steps, states_max;
    uint64_t namespace_id, seed;
    _Atomic uint64_t serial, cached;
};

struct person {
    struct crowd *crowd;
    int node;
    struct test_random random;
};

static int64_t real_mono_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

__attribute__((noreturn)) static void crowd_broken(const struct person *person, const struct kv_ref *ref,
                                                   const char *what, uint64_t got, uint64_t bound)
{
    fprintf(stderr, "node %d, key %s: %s: %llu, bound %llu (seed %llu)\n", person->node, ref->key, what,
            (unsigned long long)got, (unsigned long long)bound, (unsigned long long)person->crowd->seed);
    abort();
}

static void raise_to(_Atomic uint64_t *floor, uint64_t version)
{
    uint64_t old = atomic_load(floor);

    while (old < version && !atomic_compare_exchange_weak(floor, &old, version))
        ;
}

/* Read a key, or only its metadata. returns its serial (1 where only metadata was asked for); 0: absent */
static uint64_t read_key(struct person *person, const struct kv_ref *ref, bool want_value, struct kv_meta *meta)
{
    struct kv_store *kv = person->crowd->kv[person->node];
    struct kv_value *value;
    struct kv_fresh fresh;
    uint64_t serial = 1;
    int rc = want_value ? kv_get(kv, ref, meta, &value, &fresh) : kv_stat(kv, ref, meta, &fresh);

    if (rc == -ENOENT)
        return 0;
    if (rc < 0)
        crowd_broken(person, ref, "a read failed", (uint64_t)-rc, 0);
    if (want_value) {
        serial = test_content_serial(value);
        if (serial == 0 || value->size != meta->size)
            crowd_broken(person, ref, "a value that is not whole", value->size, meta->size);
        kv_value_unref(value);
    }
    atomic_fetch_add(&person->crowd->cached, fresh.from_cache);
    return serial;
}

static void read_common(struct person *person, struct common_key *key)
{
    uint64_t floor = atomic_load(&key->floor[person->node]), serial;
    struct kv_meta meta;

    serial = read_key(person, &key->ref, test_random_below(&person->random, 2), &meta);
    if (serial == 0)
        crowd_broken(person, &key->ref, "a key is gone", 0, floor);
    if (meta.version < floor)
        crowd_broken(person, &key->ref, "an older version than was known here", meta.version, floor);
    raise_to(&key->floor[person->node], meta.version);
}

static int crowd_visit(void *arg, const char *name, size_t size, const struct kv_meta *meta)
{
    uint64_t *versions = arg;

    if (size == 7 && memcmp(name, "common", 6) == 0)
        versions[name[6] - '0'] = meta->version;
    return 0;
}

static void list_common(struct person *person)
{
    struct crowd *crowd = person->crowd;
    uint64_t versions[COMMON] = {0}, floors[COMMON];
    int rc;

    for (int i = 0; i < COMMON; i++)
        floors[i] = atomic_load(&crowd->common[i].floor[person->node]);
    rc = kv_scan(crowd->kv[person->node], crowd->namespace_id, "", 0, false, crowd_visit, versions);
    for (int i = 0; i < COMMON; i++) {
        if (rc < 0 || versions[i] < floors[i])
            crowd_broken(person, &crowd->common[i].ref, "a listing is wrong or failed", versions[i], floors[i]);
        raise_to(&crowd->common[i].floor[person->node], versions[i]);
    }
}

static void change_common(struct person *person, struct common_key *key)
{
    struct crowd *crowd = person->crowd;
    struct kv_change change = {.kind = KV_PUT, .ref = key->ref, .attr.mode = 0644};
    int rc;

    if (test_random_below(&person->random, 4) == 0) {
        change.kind = KV_SETATTR;
        change.attr_mask = KV_MODE;
    } else {
        change.value = test_content(atomic_fetch_add(&crowd->serial, 1) + 1);
        change.if_version = atomic_load(&key->floor[person->node]);
        change.conditional = change.if_version != 0 && test_random_below(&person->random, 3) == 0;
    }
    rc = kv_apply(crowd->kv[person->node], &change);
    kv_value_unref(change.value);
    if (rc < 0 && (rc != -ECANCELED || !change.conditional))
        crowd_broken(person, &key->ref, "a change failed", (uint64_t)-rc, 0);
    if (rc == 0)
        raise_to(&key->floor[person->node], change.meta.version);
}

static void read_own(struct person *person, int owner, struct own_key *key)
{
    struct crowd *crowd = person->crowd;
    int64_t oldest_ns = real_mono_ns() - crowd->ttl_ns[person->node];
    bool want_value = test_random_below(&person->random, 2);
    size_t floor = person->node == owner ? atomic_load(&key->known) : 0, i;
    struct kv_meta meta;
    uint64_t serial = read_key(person, &key->ref, want_value, &meta);

    for (i = atomic_load(&key->issued);; i--) {
        const struct own_state *state = &key->states[i];

        if (atomic_load(&state->over_ns) <= oldest_ns || i < floor)
            crowd_broken(person, &key->ref, "a state that is older than may be served", serial, i);
        if (serial == state->serial ||
            (serial == 1 && state->serial != 0 && test_content_size(state->serial) == meta.size))
            return;
        if (i == 0)
            crowd_broken(person, &key->ref, "a state that never was", serial, 0);
    }
}

/* The next state of a key whose order is held. returns  whether there is room for it */
static bool issue(const struct crowd *crowd, struct own_key *key, uint64_t serial)
{
    size_t next = atomic_load(&key->issued) + 1;

    if (next == crowd->states_max)
        return false;
    key->states[next].serial = serial;
    atomic_store(&key->states[next].over_ns, INT64_MAX);
    atomic_store(&key->issued, next);
    return true;
}

static void acknowledge(struct own_key *key)
{
    size_t known = atomic_load(&key->issued);

    if (known > atomic_load(&key->known))
        atomic_store(&key->states[known - 1].over_ns, real_mono_ns());
    atomic_store(&key->known, known);
}

static uint64_t own_serial(const struct own_key *key) { return key->states[atomic_load(&key->issued)].serial; }

static void change_own(struct person *person, struct own_key *key)
{
    struct crowd *crowd = person->crowd;
    struct kv_change change = {.kind = KV_PUT, .ref = key->ref, .attr.mode = 0644};
    uint64_t serial = 0;
    int rc, expected = 0;

    pthread_mutex_lock(&key->order);
    if (test_random_below(&person->random, 3) == 0) {
        change.kind = KV_DELETE;
        expected = own_serial(key) == 0 ? -ENOENT : 0;
    } else {
        serial = atomic_fetch_add(&crowd->serial, 1) + 1;
        change.value = test_content(serial);
    }
    if (expected < 0 || issue(crowd, key, serial)) {
        rc = kv_apply(crowd->kv[person->node], &change);
        if (rc != expected)
            crowd_broken(person, &key->ref, "a verdict", (uint64_t)-rc, (uint64_t)-expected);
        acknowledge(key);
    }
    pthread_mutex_unlock(&key->order);
    kv_value_unref(change.value);
}

static void rename_own(struct person *person, struct own_key *from, struct own_key *to)
{
    struct crowd *crowd = person->crowd;
    struct kv_change change = {.kind = KV_RENAME, .ref = from->ref, .to = to->ref};
    struct own_key *first = from < to ? from : to, *second = from < to ? to : from;
    uint64_t serial;
    int rc;

    if (from == to)
        return;
    pthread_mutex_lock(&first->order);
    pthread_mutex_lock(&second->order);
    serial = own_serial(from);
    if (serial == 0 || (issue(crowd, from, 0) && issue(crowd, to, serial))) {
        rc = kv_apply(crowd->kv[person->node], &change);
        if (rc != (serial == 0 ? -ENOENT : 0))
            crowd_broken(person, &from->ref, "a verdict of a rename", (uint64_t)-rc, serial);
        acknowledge(from);
        acknowledge(to);
    }
    pthread_mutex_unlock(&second->order);
    pthread_mutex_unlock(&first->order);
}

static void *live(void *arg)
{
    struct person *person = arg;
    struct crowd *crowd = person->crowd;

    for (size_t step = 0; step < crowd->steps; step++) {
        struct common_key *common = &crowd->common[test_random_below(&person->random, COMMON)];
        int owner =
            test_random_below(&person->random, 2) ? person->node : (int)test_random_below(&person->random, NODES);
        struct own_key *mine = crowd->own[person->node], *own = crowd->own[owner];
        size_t i = test_random_below(&person->random, OWN), j = test_random_below(&person->random, OWN);
        size_t die = test_random_below(&person->random, 100);

        if (die < 32)
            read_common(person, common);
        else if (die < 64)
            read_own(person, owner, &own[i]);
        else if (die < 70)
            list_common(person);
        else if (die < 72)
            kv_forget(crowd->kv[person->node], &common->ref);
        else if (die < 84)
            change_common(person, common);
        else if (die < 96)
            change_own(person, &mine[i]);
        else
            rename_own(person, &mine[i], &mine[j]);
    }
    return NULL;
}

/* Every now and then a thread is held up where much can come in between. */
static void hold_up(void *arg, enum test_moment moment)
{
    static atomic_uint moments;
    const struct timespec a_while = {.tv_nsec = 200000};

    (void)arg;
    (void)moment;
    if (atomic_fetch_add(&moments, 1) % 32 == 0)
        nanosleep(&a_while, NULL);
}

static void open_crowd(struct crowd *crowd)
{
    static const int64_t ttls_ms[NODES] = {25, 3, 0};
    static const size_t sizes[NODES] = {50000, 3000, 50000};
    struct kv_options options = kv_options_default();
    struct test_central *central;
    struct kv_error error;
    struct engine *inner;

    assert_int_equal(engine_memory_open(&inner), 0);
    central = test_central_new(inner);
    for (int node = 0; node < NODES; node++) {
        crowd->ttl_ns[node] = ttls_ms[node] * MS;
        options.backend = test_backend(test_central_share(central, hold_up, NULL));
        options.cache_ttl_ms = ttls_ms[node];
        options.cache_bytes = sizes[node];
        assert_int_equal(kv_open("node", &options, &crowd->kv[node], &error), 0);
    }
    test_central_unref(central);
    test_make_namespaces(crowd->kv[0], 1, &crowd->namespace_id);
    for (int i = 0; i < COMMON; i++) {
        char name[] = {'c', 'o', 'm', 'm', 'o', 'n', (char)('0' + i), '\0'};
        struct kv_value *value = test_content(++crowd->serial);

        crowd->common[i].ref = kv_ref_key(crowd->namespace_id, name, sizeof(name) - 1);
        assert_int_equal(kv_put(crowd->kv[0], &crowd->common[i].ref, value->data, value->size), 0);
        kv_value_unref(value);
    }
    for (int i = 0; i < NODES * OWN; i++) {
        char name[] = {'n', (char)('0' + i / OWN), 'k', (char)('0' + i % OWN), '\0'};
        struct own_key *key = &crowd->own[i / OWN][i % OWN];

        key->ref = kv_ref_key(crowd->namespace_id, name, sizeof(name) - 1);
        key->states = calloc(crowd->states_max, sizeof(*key->states));
        assert_non_null(key->states);
        atomic_store(&key->states[0].over_ns, INT64_MAX);
        pthread_mutex_init(&key->order, NULL);
    }
}

static void close_crowd(struct crowd *crowd)
{
    for (int node = 0; node < NODES; node++)
        kv_close(crowd->kv[node]);
    for (int i = 0; i < NODES * OWN; i++) {
        pthread_mutex_destroy(&crowd->own[i / OWN][i % OWN].order);
        free(crowd->own[i / OWN][i % OWN].states);
    }
}

static void threads_of_three_nodes_see_whole_values_and_their_own_changes(void **state)
{
    uint64_t steps = test_setting("KVFS_TEST_STEPS", 1000000) / 10;
    struct crowd *crowd = calloc(1, sizeof(*crowd));
    struct person people[NODES * THREADS];
    pthread_t threads[NODES * THREADS];

    (void)state;
    assert_non_null(crowd);
    crowd->seed = test_seed();
    crowd->steps = steps / (NODES * THREADS) + 1;
    crowd->states_max = steps / 8 + 100;
    open_crowd(crowd);
    for (int i = 0; i < NODES * THREADS; i++) {
        people[i] = (struct person){crowd, i % NODES, {crowd->seed + (uint64_t)i}};
        assert_int_equal(pthread_create(&threads[i], NULL, live, &people[i]), 0);
    }
    for (int i = 0; i < NODES * THREADS; i++)
        pthread_join(threads[i], NULL);
    print_message("%llu steps, %llu answers from a cache\n", (unsigned long long)steps,
                  (unsigned long long)crowd->cached);
    if (steps >= 1000)
        assert_true(crowd->cached > 0);
    close_crowd(crowd);
    free(crowd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_of_three_nodes_see_whole_values_and_their_own_changes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
