/* The names with and without 64 are both defined here, so they must not be made the same by the headers. */
#undef _FILE_OFFSET_BITS

#include "tests/store/follow.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define SMALL_MAP ((size_t)4 << 20)

_Static_assert(sizeof(off_t) == 8, "both names take the same offsets");

char follow_directory[256];
_Atomic uint64_t *follow_shared;

/* -------------------------------------------------------------------- the other process */

struct order {
    enum other_what what;
    uint64_t node;
    char name[32], text[32];
};

struct answer {
    int rc;
    uint64_t id;
};

/* What this process does where LMDB writes the header of a commit: the log has the record by then, and nobody sees
 * it. */
static atomic_int header_hook; /* OTHER_DIE_IN_COMMIT: before it; OTHER_PAUSE_IN_COMMIT: behind it; 0: go on */
static int hook_to, hook_from;

static bool other_is_header(int fd, off_t at)
{
    char link[64], path[512];
    ssize_t size;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    size = readlink(link, path, sizeof(path));
    return at < 8192 && size > 8 && memcmp(path + size - 8, "data.mdb", 8) == 0;
}

static ssize_t other_write(int fd, const void *bytes, size_t size, off_t at)
{
    int hook = atomic_load(&header_hook);
    ssize_t written;
    char byte;

    if (hook == 0 || !other_is_header(fd, at))
        return syscall(SYS_pwrite64, fd, bytes, size, at);
    if (hook == OTHER_DIE_IN_COMMIT)
        kill(getpid(), SIGKILL);
    written = syscall(SYS_pwrite64, fd, bytes, size, at);
    atomic_store(&header_hook, 0);
    if (write(hook_to, "", 1) != 1 || read(hook_from, &byte, 1) != 1)
        _exit(1);
    return written;
}

/* LMDB is built to call the one, this program the other. */
ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) { return other_write(fd, bytes, size, at); }
ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) { return other_write(fd, bytes, size, at); }

struct kv_ref other_ref(uint64_t namespace_id, const char *key)
{
    return kv_ref_key(namespace_id, key, strlen(key));
}

struct kv_options follow_options(bool read_only)
{
    struct kv_options options = kv_options_default();

    options.map_bytes = SMALL_MAP;
    options.read_only = read_only;
    return options;
}

int follow_put(struct kv_store *kv, uint64_t node, const char *key, const char *value)
{
    struct kv_ref ref = other_ref(node, key);

    return kv_put(kv, &ref, value, strlen(value));
}

static int other_rename(struct kv_store *kv, const struct order *order)
{
    struct kv_change change = {
        .kind = KV_RENAME, .ref = other_ref(order->node, order->name), .to = other_ref(order->node, order->text)};

    return kv_apply(kv, &change);
}

static int other_exchange(struct kv_store *kv, const struct order *order)
{
    struct kv_change change = {.kind = KV_NODE_RENAME, .to_parent = order->node, .flags = KV_EXCHANGE};

    change.node.parent = order->node;
    strcpy(change.node.name, order->name);
    strcpy(change.to_name, order->text);
    return kv_apply(kv, &change);
}

/* A write transaction of the engine, with another engine of this store: this process has no other one open. */
static int other_abort(void)
{
    struct kv_error error;
    struct engine *engine;
    struct engine_txn *txn;
    int rc = engine_lmdb_open(follow_directory, &(struct lmdb_options){.map_bytes = SMALL_MAP}, &engine, &error);

    if (rc < 0)
        return rc;
    rc = engine->ops->begin(engine, true, &txn);
    if (rc == 0) {
        rc = put(txn, ENGINE_KEYS, "12345678key", "nothing");
        txn->ops->abort(txn);
    }
    engine->ops->close(engine);
    return rc;
}

/* More than the ring holds. */
static int other_fill(struct kv_store *kv, uint64_t node)
{
    char value[8000];
    struct kv_ref ref = other_ref(node, "filler");
    int rc = 0;

    for (int i = 0; rc == 0 && i < 200; i++) {
        memset(value, 'a' + i % 26, sizeof(value));
        rc = kv_put(kv, &ref, value, sizeof(value));
    }
    return rc;
}

static int other_count(struct kv_store *kv, const struct order *order, _Atomic uint64_t *done)
{
    struct kv_ref ref = other_ref(order->node, order->name);
    uint64_t most = strtoull(order->text, NULL, 10);
    int rc = 0;

    for (uint64_t number = 1; rc == 0 && number <= most; number++) {
        rc = kv_put(kv, &ref, &number, sizeof(number));
        atomic_store(done, number);
    }
    return rc;
}

static int other_obey(struct kv_store **kv, const struct order *order, uint64_t *id)
{
    struct kv_options options = follow_options(false);
    struct kv_ref ref = other_ref(order->node, order->name);
    struct kv_error error;
    struct kv_node made = {0};
    int rc;

    switch (order->what) {
    case OTHER_OPEN:
        return kv_open(follow_directory, &options, kv, &error);
    case OTHER_MAKE:
        rc = kv_node_make(*kv, order->node == KV_ROOT_ID ? KV_ACCOUNT : KV_NAMESPACE, order->node, order->name, 0,
                          &made);
        *id = made.id;
        return rc;
    case OTHER_DIE_IN_COMMIT:
    case OTHER_PAUSE_IN_COMMIT:
        atomic_store(&header_hook, (int)order->what);
        return follow_put(*kv, order->node, order->name, order->text);
    case OTHER_PUT:
        return follow_put(*kv, order->node, order->name, order->text);
    case OTHER_DELETE:
        return kv_delete(*kv, &ref);
    case OTHER_RENAME:
        return other_rename(*kv, order);
    case OTHER_EXCHANGE:
        return other_exchange(*kv, order);
    case OTHER_ABORT:
        return other_abort();
    case OTHER_FILL:
        return other_fill(*kv, order->node);
    case OTHER_COUNT:
        return other_count(*kv, order, follow_shared);
    }
    return -EINVAL;
}

__attribute__((noreturn)) static void other_serve(int from, int to)
{
    struct kv_store *kv = NULL;
    struct answer answer;
    struct order order;

    hook_to = to;
    hook_from = from;
    while (read(from, &order, sizeof(order)) == (ssize_t)sizeof(order)) {
        answer = (struct answer){0};
        answer.rc = other_obey(&kv, &order, &answer.id);
        if (write(to, &answer, sizeof(answer)) != (ssize_t)sizeof(answer))
            _exit(1);
    }
    if (kv != NULL)
        kv_close(kv);
    _exit(0);
}

struct other other_start(void)
{
    int there[2], back[2];
    struct other other;

    assert_int_equal(pipe2(there, O_CLOEXEC), 0);
    assert_int_equal(pipe2(back, O_CLOEXEC), 0);
    other.pid = fork();
    assert_true(other.pid >= 0);
    if (other.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(there[1]);
        close(back[0]);
        other_serve(there[0], back[1]);
    }
    close(there[0]);
    close(back[1]);
    other.to = there[1];
    other.from = back[0];
    return other;
}

void other_tell(struct other *other, enum other_what what, uint64_t node, const char *name, const char *text)
{
    struct order order = {.what = what, .node = node};

    snprintf(order.name, sizeof(order.name), "%s", name);
    snprintf(order.text, sizeof(order.text), "%s", text);
    assert_int_equal(write(other->to, &order, sizeof(order)), sizeof(order));
}

uint64_t other_await(struct other *other)
{
    struct answer answer;

    assert_int_equal(read(other->from, &answer, sizeof(answer)), sizeof(answer));
    assert_int_equal(answer.rc, 0);
    return answer.id;
}

uint64_t other_does(struct other *other, enum other_what what, uint64_t node, const char *name, const char *text)
{
    other_tell(other, what, node, name, text);
    return other_await(other);
}

void other_end(struct other *other)
{
    int status;

    close(other->to);
    close(other->from);
    assert_int_equal(waitpid(other->pid, &status, 0), other->pid);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
}

/* ----------------------------------------------------------------------------- following */

/* Keys, and names of nodes; counts change with each put. */
static int follow_note(void *arg, const struct kv_changed *changed)
{
    struct follow *follow = arg;
    char *end = follow->told + strlen(follow->told);
    size_t left = (size_t)(follow->told + sizeof(follow->told) - end);
    const char *comma = end > follow->told ? ", " : "";

    assert_true(changed->at->seq > 1);
    if (changed->kind == KV_CHANGED_KEY && changed->removed)
        snprintf(end, left, "%sno %s", comma, changed->ref.key);
    else if (changed->kind == KV_CHANGED_KEY)
        snprintf(end, left, "%s%s of %d", comma, changed->ref.key, (int)changed->meta.size);
    else if (changed->kind == KV_CHANGED_NAME && changed->removed)
        snprintf(end, left, "%sno name %s", comma, changed->node.name);
    else if (changed->kind == KV_CHANGED_NAME)
        snprintf(end, left, "%sname %s", comma, changed->node.name);
    if (changed->kind == KV_CHANGED_NAME)
        assert_true(changed->removed ? changed->node.id == 0 : changed->node.id > KV_ROOT_ID);
    return 0;
}

int follow_told(struct follow *follow, bool own)
{
    follow->told[0] = '\0';
    return kv_follow(follow->kv, &follow->feed, own, follow_note, follow);
}

void follow_expect(struct follow *follow, bool own, const char *told)
{
    assert_int_equal(follow_told(follow, own), 0);
    assert_string_equal(follow->told, told);
}

void follow_open(struct follow *follow, const struct kv_options *options)
{
    struct kv_error error = {""};

    if (kv_open(follow_directory, options, &follow->kv, &error) < 0)
        fail_msg("cannot open: %s", error.text);
}

struct follow follow_begin_with(const struct kv_options *options)
{
    struct follow follow = {.other = other_start()};

    other_does(&follow.other, OTHER_OPEN, 0, "", "");
    follow.account = other_does(&follow.other, OTHER_MAKE, KV_ROOT_ID, "a", "");
    follow.space = other_does(&follow.other, OTHER_MAKE, follow.account, "n", "");
    follow_open(&follow, options);
    follow_expect(&follow, true, ""); /* from now on */
    return follow;
}

struct follow follow_begin(void)
{
    struct kv_options options = follow_options(false);

    return follow_begin_with(&options);
}

void follow_end(struct follow *follow)
{
    kv_close(follow->kv);
    other_end(&follow->other);
}

/* --------------------------------------------------------------------------------- setup */

bool follow_share(void)
{
    follow_shared = mmap(NULL, sizeof(*follow_shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return follow_shared != MAP_FAILED;
}

int follow_setup(void **state)
{
    (void)state;
    make_directory(follow_directory, sizeof(follow_directory));
    return 0;
}

int follow_teardown(void **state)
{
    (void)state;
    remove_store(follow_directory);
    return access(follow_directory, F_OK) == 0 ? -1 : 0;
}
