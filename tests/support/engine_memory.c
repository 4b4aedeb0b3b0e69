/* The memory engine: a persistent treap for each table.
 *
 * A treap is a search tree by key that is a heap by priority. The priority is a
 * hash of the key, so a set of keys has one shape only, and it is balanced
 * whatever the order of insertion.
 *
 * Nodes are reference counted and are never changed while more than one
 * reference exists: a snapshot is a reference to each table's root, and an abort
 * drops the references of the transaction. A writer that comes to a node held
 * by somebody else replaces it by a copy of its own (own()), on the whole path
 * from the root; so a node with one reference, reached through nodes with one
 * reference, is seen by the writer alone, and is changed in place.
 *
 * Every slot (a root, or left and right of a node) holds a whole tree at any time,
 * also where memory ran out half way: the order of priorities may be broken then,
 * but such a transaction can only be aborted.
 *
 * Locks: `writer` is held from begin(write) to its end; `lock` guards the
 * committed roots, inside it and never for long.
 */
#include "tests/support/engines.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* One key and its value; shared by all copies of its node. */
struct record {
    atomic_uint refs;
    size_t key_size, value_size;
    uint8_t bytes[]; /* key, value */
};

struct node {
    atomic_uint refs;
    uint64_t priority;
    struct record *record;
    struct node *left, *right;
};

struct memory {
    struct engine base;
    pthread_mutex_t writer;
    pthread_mutex_t lock;
    struct node *roots[ENGINE_TABLES]; /* as last committed */
};

struct memory_txn {
    struct engine_txn base;
    struct memory *memory;
    bool write;
    int failed; /* of a put or del; all that follows answers it */
    struct node *roots[ENGINE_TABLES];
};

static struct slice key_of(const struct record *record) { return slice_of(record->bytes, record->key_size); }

static struct slice value_of(const struct record *record)
{
    return slice_of(record->bytes + record->key_size, record->value_size);
}

static int compare(struct slice a, struct slice b)
{
    int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);

    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

/* -------------------------------------------------------------------- references */

static struct record *record_new(struct slice key, struct slice value)
{
    struct record *record = malloc(sizeof(*record) + key.size + value.size);

    if (record == NULL)
        return NULL;
    atomic_init(&record->refs, 1);
    record->key_size = key.size;
    record->value_size = value.size;
    memcpy(record->bytes, key.data, key.size);
    if (value.size > 0)
        memcpy(record->bytes + key.size, value.data, value.size);
    return record;
}

static void record_unref(struct record *record)
{
    if (atomic_fetch_sub(&record->refs, 1) == 1)
        free(record);
}

static struct node *node_ref(struct node *node)
{
    if (node != NULL)
        atomic_fetch_add(&node->refs, 1);
    return node;
}

static void node_unref(struct node *node)
{
    if (node == NULL || atomic_fetch_sub(&node->refs, 1) != 1)
        return;
    node_unref(node->left);
    node_unref(node->right);
    record_unref(node->record);
    free(node);
}

/* Make the node in a slot the writer's own. returns 0; -ENOMEM */
static int own(struct node **slot)
{
    struct node *old = *slot, *copy;

    if (atomic_load(&old->refs) == 1)
        return 0;
    copy = malloc(sizeof(*copy));
    if (copy == NULL)
        return -ENOMEM;
    atomic_init(&copy->refs, 1);
    copy->priority = old->priority;
    copy->record = old->record;
    atomic_fetch_add(&copy->record->refs, 1);
    copy->left = node_ref(old->left);
    copy->right = node_ref(old->right);
    *slot = copy;
    node_unref(old);
    return 0;
}

/* ----------------------------------------------------------------------- the treap */

/* Lift the left or right child of an own node into the node's slot. The child is own, too. */
static void lift_left(struct node **slot)
{
    struct node *node = *slot, *child = node->left;

    node->left = child->right;
    child->right = node;
    *slot = child;
}

static void lift_right(struct node **slot)
{
    struct node *node = *slot, *child = node->right;

    node->right = child->left;
    child->left = node;
    *slot = child;
}

static const struct record *find(const struct node *node, struct slice key)
{
    while (node != NULL) {
        int order = compare(key, key_of(node->record));

        if (order == 0)
            return node->record;
        node = order < 0 ? node->left : node->right;
    }
    return NULL;
}

/* Consumes the record where it answers 0. returns 0; -ENOMEM */
static int insert(struct node **slot, struct record *record)
{
    struct slice key = key_of(record);
    struct node *node = *slot;
    int order, rc;

    if (node == NULL) {
        node = malloc(sizeof(*node));
        if (node == NULL)
            return -ENOMEM;
        atomic_init(&node->refs, 1);
        node->priority = XXH3_64bits(key.data, key.size);
        node->record = record;
        node->left = node->right = NULL;
        *slot = node;
        return 0;
    }
    rc = own(slot);
    if (rc < 0)
        return rc;
    node = *slot;
    order = compare(key, key_of(node->record));
    if (order == 0) {
        record_unref(node->record);
        node->record = record;
        return 0;
    }
    rc = insert(order < 0 ? &node->left : &node->right, record);
    if (rc < 0)
        return rc;
    if (order < 0 && node->left->priority > node->priority)
        lift_left(slot);
    else if (order > 0 && node->right->priority > node->priority)
        lift_right(slot);
    return 0;
}

/* Remove the key, which is there. returns 0; -ENOMEM */
static int erase(struct node **slot, struct slice key)
{
    struct node *node;
    int order, rc;

    for (;;) {
        rc = own(slot);
        if (rc < 0)
            return rc;
        node = *slot;
        order = compare(key, key_of(node->record));
        if (order == 0)
            break;
        slot = order < 0 ? &node->left : &node->right;
    }
    while (node->left != NULL && node->right != NULL) {
        bool left = node->left->priority > node->right->priority;

        rc = own(left ? &node->left : &node->right);
        if (rc < 0)
            return rc;
        if (left) {
            lift_left(slot);
            slot = &(*slot)->right;
        } else {
            lift_right(slot);
            slot = &(*slot)->left;
        }
    }
    *slot = node->left != NULL ? node->left : node->right;
    node->left = node->right = NULL;
    node_unref(node);
    return 0;
}

static int walk(const struct node *node, struct slice from, engine_visit *visit, void *arg)
{
    int rc = 0;

    if (node == NULL)
        return 0;
    if (from.size == 0 || compare(key_of(node->record), from) >= 0) {
        rc = walk(node->left, from, visit, arg);
        if (rc == 0)
            rc = visit(arg, key_of(node->record), value_of(node->record));
    }
    return rc != 0 ? rc : walk(node->right, from, visit, arg);
}

/* --------------------------------------------------------------------- transactions */

static struct memory_txn *txn_of(struct engine_txn *txn) { return (struct memory_txn *)txn; }

static int memory_begin(struct engine *engine, bool write, struct engine_txn **out)
{
    struct memory *memory = (struct memory *)engine;
    struct memory_txn *txn = malloc(sizeof(*txn));

    if (txn == NULL)
        return -ENOMEM;
    if (write)
        pthread_mutex_lock(&memory->writer);
    txn->base.ops = engine->ops;
    txn->memory = memory;
    txn->write = write;
    txn->failed = 0;
    pthread_mutex_lock(&memory->lock);
    for (int i = 0; i < ENGINE_TABLES; i++)
        txn->roots[i] = node_ref(memory->roots[i]);
    pthread_mutex_unlock(&memory->lock);
    *out = &txn->base;
    return 0;
}

static void memory_abort(struct engine_txn *base)
{
    struct memory_txn *txn = txn_of(base);

    for (int i = 0; i < ENGINE_TABLES; i++)
        node_unref(txn->roots[i]);
    if (txn->write)
        pthread_mutex_unlock(&txn->memory->writer);
    free(txn);
}

static int memory_commit(struct engine_txn *base)
{
    struct memory_txn *txn = txn_of(base);
    int rc = !txn->write ? -EINVAL : txn->failed;

    if (rc == 0) {
        pthread_mutex_lock(&txn->memory->lock);
        for (int i = 0; i < ENGINE_TABLES; i++) {
            struct node *old = txn->memory->roots[i];

            txn->memory->roots[i] = txn->roots[i];
            txn->roots[i] = old;
        }
        pthread_mutex_unlock(&txn->memory->lock);
    }
    memory_abort(base);
    return rc;
}

/* May a call with this key be made? */
static int check(const struct memory_txn *txn, bool write, struct slice key)
{
    if (txn->failed < 0)
        return txn->failed;
    if ((write && !txn->write) || key.size == 0 || key.size > ENGINE_KEY_MAX)
        return -EINVAL;
    return 0;
}

static int memory_get(struct engine_txn *base, enum engine_table table, struct slice key, struct slice *out)
{
    struct memory_txn *txn = txn_of(base);
    const struct record *record;
    int rc = check(txn, false, key);

    if (rc < 0)
        return rc;
    record = find(txn->roots[table], key);
    if (record == NULL)
        return -ENOENT;
    *out = value_of(record);
    return 0;
}

static int memory_scan(struct engine_txn *base, enum engine_table table, struct slice from, engine_visit *visit,
                       void *arg)
{
    struct memory_txn *txn = txn_of(base);

    if (txn->failed < 0)
        return txn->failed;
    if (from.size > ENGINE_KEY_MAX)
        return -EINVAL;
    return walk(txn->roots[table], from, visit, arg);
}

static int memory_put(struct engine_txn *base, enum engine_table table, struct slice key, struct slice value)
{
    struct memory_txn *txn = txn_of(base);
    struct record *record;
    int rc = check(txn, true, key);

    if (rc < 0)
        return rc;
    record = record_new(key, value);
    rc = record == NULL ? -ENOMEM : insert(&txn->roots[table], record);
    if (rc < 0) {
        free(record);
        txn->failed = rc;
    }
    return rc;
}

static int memory_del(struct engine_txn *base, enum engine_table table, struct slice key)
{
    struct memory_txn *txn = txn_of(base);
    int rc = check(txn, true, key);

    if (rc < 0)
        return rc;
    if (find(txn->roots[table], key) == NULL)
        return -ENOENT;
    rc = erase(&txn->roots[table], key);
    txn->failed = rc;
    return rc;
}

static int memory_room(struct engine_txn *base, uint64_t bytes, size_t part)
{
    const struct memory_txn *txn = txn_of(base);

    (void)bytes;
    (void)part;
    return txn->write ? txn->failed : -EINVAL;
}

static void memory_usage(struct engine *engine, struct kv_storage *out)
{
    (void)engine;
    (void)out;
}

static void memory_close(struct engine *engine)
{
    struct memory *memory = (struct memory *)engine;

    for (int i = 0; i < ENGINE_TABLES; i++)
        node_unref(memory->roots[i]);
    pthread_mutex_destroy(&memory->lock);
    pthread_mutex_destroy(&memory->writer);
    free(memory);
}

static const struct engine_ops memory_ops = {
    .name = "memory",
    .close = memory_close,
    .begin = memory_begin,
    .commit = memory_commit,
    .abort = memory_abort,
    .get = memory_get,
    .scan = memory_scan,
    .put = memory_put,
    .del = memory_del,
    .room = memory_room,
    .usage = memory_usage,
};

int engine_memory_open(struct engine **out)
{
    struct memory *memory = calloc(1, sizeof(*memory));

    if (memory == NULL)
        return -ENOMEM;
    memory->base.ops = &memory_ops;
    pthread_mutex_init(&memory->writer, NULL);
    pthread_mutex_init(&memory->lock, NULL);
    *out = &memory->base;
    return 0;
}

int engine_memory_copy(struct engine *from, struct engine **out)
{
    struct memory *memory = (struct memory *)from, *copy;
    int rc = engine_memory_open(out);

    if (rc < 0)
        return rc;
    copy = (struct memory *)*out;
    pthread_mutex_lock(&memory->lock);
    for (int i = 0; i < ENGINE_TABLES; i++)
        copy->roots[i] = node_ref(memory->roots[i]);
    pthread_mutex_unlock(&memory->lock);
    return 0;
}

/* ------------------------------------------------------------------------- a backend */

struct backend *test_backend(struct engine *engine)
{
    struct backend *backend;

    if (backend_tables_new(engine, &backend) < 0)
        abort();
    return backend;
}
