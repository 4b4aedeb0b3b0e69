/* What a power cut leaves of a store.
 *
 * A session: some threads change namespaces of their own through the public API, with several changes under way
 * each, while every write to the database file is recorded (record_io.h) and every change notes the position
 * of that log at which it was submitted and at which it was known to be durable. Then the power is cut at
 * every flush and at many random moments, and the file is rebuilt as the disk could have it then (disk.h).
 *
 * Each image is opened as a store by a child process, since LMDB would answer a wrong page with a signal. In it
 *   - everything must be readable, every value must be one that was put, and a check of the store finds nothing;
 *   - what each thread made must be the state after some first part of its changes, which are committed in their
 *     order: not less than what was known to be durable at the cut, nor more than what was submitted;
 *   - and the store must go on working.
 *
 * The creation of a store is cut off in the same way; there the file's name is in doubt too.
 *
 * Environment: KVFS_TEST_IMAGES (700 of each kind of session), KVFS_TEST_SEED (chosen at random, and printed). */
#include "store/base/record.h"
#include "tests/store/disk.h"
#include "tests/store/record_io.h"
#include "tests/support/history.h"
#include "tests/support/setting.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#define IMAGES 700
#define CHANGES 150 /* of each thread, in each half of the session */
#define MIB ((size_t)1 << 20)

enum { THREADS = 4, HALVES = 2, UNDER_WAY = 3, IMAGE_SECONDS = 30 };

/* --------------------------------------------------------------------------- changes */

struct step {
    struct history_step what;
    size_t submitted, durable; /* positions; SIZE_MAX: not known to be */
    int rc;

    struct thread *thread;
    struct kv_change change;
};

struct thread {
    struct session *session;
    unsigned number;
    uint64_t namespaces[HISTORY_NAMESPACES]; /* ids */
    struct test_random random;
    struct history_state made;
    struct step steps[HALVES * CHANGES];
    size_t count;
    sem_t free; /* how many more changes may be under way */
};

struct session {
    enum kv_durability durability;
    size_t map_bytes;
    char dir[64];
    struct kv_store *store;
    uint64_t account;
    struct thread threads[THREADS];
    size_t base; /* position at which the accounts and namespaces were there */
    struct record_io_log log;
};

static struct kv_ref ref_at(const struct thread *thread, struct history_place place)
{
    char key[16];

    history_name_key(place.key, key);
    return kv_ref_key(thread->namespaces[place.namespace], key, strlen(key));
}

static size_t choose_size(struct test_random *random)
{
    switch (test_random_below(random, 32)) {
    case 0:
        return RECORD_CHUNK + 100;
    case 1:
    case 2:
        return 10000 + test_random_below(random, 30000);
    case 3:
    case 4:
        return RECORD_INLINE_MAX - 2 + test_random_below(random, 4);
    default:
        return 8 + test_random_below(random, 3000);
    }
}

/* ---------------------------------------------------------------------------- the session */

static void step_done(struct kv_change *change, int rc)
{
    struct step *step = change->arg;
    bool durable = step->thread->session->durability == KV_DURABILITY_CLOSE || step->what.kind != HISTORY_PUT;

    step->rc = rc;
    if (rc == 0 && durable)
        step->durable = record_io_position();
    kv_value_unref(change->value);
    change->value = NULL;
    sem_post(&step->thread->free);
}

static void submit(struct thread *thread, struct step *step)
{
    const struct history_step *what = &step->what;
    struct kv_change *change = &step->change;

    change->ref = ref_at(thread, what->at);
    change->to = ref_at(thread, what->to);
    change->attr.mode = what->number;
    change->done = step_done;
    change->arg = step;
    switch (what->kind) {
    case HISTORY_PUT:
        change->kind = KV_PUT;
        if (kv_value_new(what->size, &change->value) < 0)
            abort();
        history_fill(what->id, change->value->data, what->size);
        break;
    case HISTORY_DELETE:
        change->kind = KV_DELETE;
        break;
    case HISTORY_RENAME:
    case HISTORY_EXCHANGE:
        change->kind = KV_RENAME;
        change->flags = what->kind == HISTORY_EXCHANGE ? KV_EXCHANGE : 0;
        break;
    case HISTORY_CHMOD:
        change->kind = KV_SETATTR;
        change->attr_mask = KV_MODE;
        break;
    default:
        change->kind = KV_SETXATTR;
        change->xattr_name = "user.mark";
        change->xattr_name_size = strlen(change->xattr_name);
        change->xattr_value = &what->number;
        change->xattr_value_size = sizeof(what->number);
        break;
    }
    sem_wait(&thread->free);
    step->submitted = record_io_position();
    kv_submit(thread->session->store, change);
}

static void make_or_remove_last(struct thread *thread, struct step *step)
{
    const struct session *session = thread->session;
    struct kv_node node;
    char name[16];

    history_name_namespace(thread->number, HISTORY_LAST, name);
    step->submitted = record_io_position();
    if (step->what.kind == HISTORY_MAKE_LAST)
        step->rc = kv_node_make(session->store, KV_NAMESPACE, session->account, name, 0, &node);
    else
        step->rc = kv_node_remove(session->store, session->account, name);
    step->durable = record_io_position();
    if (step->rc == 0 && step->what.kind == HISTORY_MAKE_LAST)
        thread->namespaces[HISTORY_LAST] = node.id;
}

static void wait_for_all(struct thread *thread)
{
    for (int i = 0; i < UNDER_WAY; i++)
        sem_wait(&thread->free);
    for (int i = 0; i < UNDER_WAY; i++)
        sem_post(&thread->free);
}

static void sync_all(struct thread *thread)
{
    struct step *last = &thread->steps[thread->count - 1];

    if (kv_sync(thread->session->store) < 0)
        last->rc = -EIO;
    if (last->durable == SIZE_MAX)
        last->durable = record_io_position();
}

static void *change_things(void *arg)
{
    struct thread *thread = arg;

    for (int i = 0; i < CHANGES; i++) {
        struct step *step = &thread->steps[thread->count];

        step->thread = thread;
        step->durable = SIZE_MAX;
        step->what = history_choose(&thread->made, &thread->random, thread->number, (uint32_t)thread->count + 1);
        step->what.size = choose_size(&thread->random);
        if (step->what.kind == HISTORY_MAKE_LAST || step->what.kind == HISTORY_REMOVE_LAST)
            make_or_remove_last(thread, step);
        else
            submit(thread, step);
        history_apply(&thread->made, &step->what);
        thread->count++;
        if (test_random_below(&thread->random, 12) == 0) {
            wait_for_all(thread);
            sync_all(thread);
        }
    }
    wait_for_all(thread);
    return NULL;
}

static void open_session(struct session *session, bool create)
{
    struct kv_options options = kv_options_default();
    struct kv_error error;

    options.create = create;
    options.durability = session->durability;
    options.commit_interval_ms = 2;
    options.map_bytes = session->map_bytes;
    if (kv_open(session->dir, &options, &session->store, &error) < 0)
        fail_msg("%s", error.text);
}

/* The account, and the namespaces that stay. */
static void make_nodes(struct session *session)
{
    struct kv_change limits = {.kind = KV_NODE_LIMITS};
    struct kv_node node;
    char name[16];

    assert_int_equal(kv_node_make(session->store, KV_ACCOUNT, KV_ROOT_ID, "acme", 0, &node), 0);
    session->account = node.id;
    limits.node = node;
    limits.node.limit_namespaces = THREADS * HISTORY_NAMESPACES;
    assert_int_equal(kv_apply(session->store, &limits), 0);
    for (unsigned i = 0; i < THREADS; i++)
        for (unsigned j = 0; j < HISTORY_LAST; j++) {
            history_name_namespace(i, j, name);
            assert_int_equal(kv_node_make(session->store, KV_NAMESPACE, session->account, name, 0, &node), 0);
            session->threads[i].namespaces[j] = node.id;
        }
}

static void run_threads(struct session *session)
{
    pthread_t ids[THREADS];

    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&ids[i], NULL, change_things, &session->threads[i]), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(ids[i], NULL), 0);
}

/* The recorder has seen everything: its writes make the file that is there. */
static void expect_complete_log(const struct session *session)
{
    char path[sizeof(session->dir) + 16];
    struct test_random random = {0};
    struct stat attr;
    struct disk disk;
    uint8_t *image, *file;
    int fd;

    snprintf(path, sizeof(path), "%s/data.mdb", session->dir);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &attr), 0);
    file = mmap(NULL, (size_t)attr.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    assert_ptr_not_equal(file, MAP_FAILED);

    disk_init(&disk, &session->log);
    disk_advance(&disk, session->log.count);
    image = malloc(disk.capacity);
    assert_non_null(image);
    assert_int_equal(disk_cut(&disk, DISK_NOTHING, &random, image), attr.st_size);
    assert_true(memcmp(image, file, (size_t)attr.st_size) == 0);
    disk_free(&disk);
    free(image);
    munmap(file, (size_t)attr.st_size);
    close(fd);
}

/* Files in memory are quickest, and the disk is only modelled. */
static void make_directory(char *dir, size_t size)
{
    const char *parent = getenv("TMPDIR");
    char *real;

    snprintf(dir, size, "/dev/shm/kvfs-power.XXXXXX");
    if (mkdtemp(dir) == NULL) {
        snprintf(dir, size, "%s/kvfs-power.XXXXXX", parent != NULL ? parent : "/tmp");
        assert_non_null(mkdtemp(dir));
    }
    real = realpath(dir, NULL);
    assert_non_null(real);
    assert_true(snprintf(dir, size, "%s", real) < (int)size);
    free(real);
}

static void empty_directory(const char *dir)
{
    static const char *const files[] = {"data.mdb", "lock.mdb", "data.mdb.new", "writer"};
    char path[128];

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
        unlink(path);
    }
}

static void remove_directory(const char *dir)
{
    empty_directory(dir);
    assert_int_equal(rmdir(dir), 0);
}

static struct session *session_new(enum kv_durability durability, size_t map_bytes, uint64_t seed)
{
    struct session *session = calloc(1, sizeof(*session));

    assert_non_null(session);
    session->durability = durability;
    session->map_bytes = map_bytes;
    make_directory(session->dir, sizeof(session->dir));
    for (unsigned i = 0; i < THREADS; i++) {
        session->threads[i].session = session;
        session->threads[i].number = i;
        session->threads[i].random.state = seed + i;
        sem_init(&session->threads[i].free, 0, UNDER_WAY);
    }

    record_io_start(session->dir);
    open_session(session, true);
    make_nodes(session);
    session->base = record_io_position();
    for (int half = 0; half < HALVES; half++) {
        if (half > 0)
            open_session(session, false);
        run_threads(session);
        kv_close(session->store); /* commits what was accepted */
        for (int i = 0; i < THREADS; i++) {
            struct step *last = &session->threads[i].steps[session->threads[i].count - 1];

            if (last->durable == SIZE_MAX)
                last->durable = record_io_position();
        }
    }
    session->log = record_io_stop();

    for (int i = 0; i < THREADS; i++)
        for (size_t j = 0; j < session->threads[i].count; j++)
            if (session->threads[i].steps[j].rc != 0)
                fail_msg("step %zu of thread %d (kind %d): %s", j, i, session->threads[i].steps[j].what.kind,
                         strerror(-session->threads[i].steps[j].rc));
    expect_complete_log(session);
    remove_directory(session->dir);
    return session;
}

static void session_free(struct session *session)
{
    for (int i = 0; i < THREADS; i++)
        sem_destroy(&session->threads[i].free);
    record_io_free(&session->log);
    free(session);
}

/* ----------------------------------------------------------------- looking into an image */

enum verdict { GOOD, UNOPENABLE, UNSOUND, TORN, LOST, STUCK, DIED, VERDICTS };
static const char *const verdict_names[VERDICTS] = {"good", "unopenable", "unsound", "torn",
                                                    "lost", "stuck",      "fatal"};

struct look {
    const struct session *session;
    struct kv_store *store;
    bool go_on; /* then make changes too */
    const struct thread *thread;
    unsigned namespace;
    struct history_state made; /* of the thread, as it is in the image */
    enum verdict verdict;
    char why[256];
};

__attribute__((format(printf, 3, 4))) static int bad(struct look *look, enum verdict verdict, const char *format,
                                                     ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(look->why, sizeof(look->why), format, arguments);
    va_end(arguments);
    look->verdict = verdict;
    return -1;
}

/* Keys of a namespace, as a listing tells them. */
struct listed {
    struct kv_ref ref[HISTORY_KEYS];
    struct kv_meta meta[HISTORY_KEYS];
    uint64_t id;
    size_t count;
};

static int list_key(void *arg, const char *key, size_t size, const struct kv_meta *meta)
{
    struct listed *listed = arg;

    if (listed->count == HISTORY_KEYS)
        return -E2BIG;
    listed->ref[listed->count] = kv_ref_key(listed->id, key, size);
    listed->meta[listed->count++] = *meta;
    return 0;
}

/* The mark of a key; 0 where it has none. */
static int read_mark(struct look *look, const struct kv_ref *ref, uint32_t *mark)
{
    const char *name;
    const void *value;
    size_t pos = 0, name_size, value_size;
    struct kv_xattrs xattrs;
    int rc = kv_xattrs_get(look->store, ref, &xattrs);

    if (rc < 0)
        return bad(look, TORN, "attributes of %s: %s", ref->key, strerror(-rc));
    *mark = 0;
    if (kv_xattrs_next(&xattrs, &pos, &name, &name_size, &value, &value_size) && value_size == sizeof(*mark))
        memcpy(mark, value, sizeof(*mark));
    return 0;
}

static int read_key(struct look *look, const struct kv_ref *ref, const struct kv_meta *listed)
{
    struct history_slot slot = {.mode = listed->attr.mode};
    int number = history_key_of(ref->key);
    struct kv_value *value;
    struct kv_meta meta;
    int rc = kv_get(look->store, ref, &meta, &value, NULL);

    if (rc < 0)
        return bad(look, TORN, "%s: %s", ref->key, strerror(-rc));
    slot.id = history_id(value->data, value->size);
    if (slot.id == 0 || meta.size != value->size || listed->size != value->size)
        rc = bad(look, TORN, "%s has a value that was never put", ref->key);
    kv_value_unref(value);
    if (rc == 0)
        rc = read_mark(look, ref, &slot.mark);
    if (rc == 0 && number < 0)
        rc = bad(look, UNSOUND, "there is a key %s", ref->key);
    if (rc < 0)
        return rc;
    look->made.slots[look->namespace][number] = slot;
    return 0;
}

static int read_namespace(struct look *look, uint64_t account, unsigned namespace)
{
    char name[16];
    struct kv_node node;
    struct listed listed = {0};
    int rc;

    history_name_namespace(look->thread->number, namespace, name);
    rc = kv_node_find(look->store, account, name, strlen(name), &node);
    if (namespace == HISTORY_LAST)
        look->made.last_is_there = rc == 0;
    if (rc == -ENOENT && namespace == HISTORY_LAST)
        return 0;
    if (rc < 0)
        return bad(look, LOST, "namespace %s: %s", name, strerror(-rc));
    listed.id = node.id;
    rc = kv_scan(look->store, node.id, NULL, 0, false, list_key, &listed);
    if (rc < 0)
        return bad(look, UNSOUND, "listing %s: %s", name, strerror(-rc));
    look->namespace = namespace;
    for (size_t i = 0; i < listed.count; i++)
        if (read_key(look, &listed.ref[i], &listed.meta[i]) < 0)
            return -1;
    return 0;
}

/* Is what the thread made the state after some of its steps that are allowed at the cut? */
static int compare_thread(struct look *look, size_t cut)
{
    const struct thread *thread = look->thread;
    size_t durable = 0, submitted = 0;
    struct history_state made = {0};

    for (size_t i = 0; i < thread->count; i++) {
        if (thread->steps[i].durable <= cut)
            durable = i + 1;
        if (thread->steps[i].submitted <= cut)
            submitted = i + 1;
    }
    for (size_t i = 0; i < submitted; i++) {
        if (i >= durable && history_same(&made, &look->made))
            return 0;
        history_apply(&made, &thread->steps[i].what);
    }
    if (history_same(&made, &look->made))
        return 0;
    return bad(look, LOST, "thread %u has no state between its steps %zu and %zu", thread->number, durable,
               submitted);
}

static int read_all(struct look *look, size_t cut)
{
    struct kv_node account;
    int rc = kv_node_find(look->store, KV_ROOT_ID, "acme", 4, &account);

    if (rc < 0)
        return bad(look, LOST, "the account: %s", strerror(-rc));
    for (int i = 0; i < THREADS; i++) {
        look->thread = &look->session->threads[i];
        look->made = (struct history_state){0};
        for (unsigned j = 0; j < HISTORY_NAMESPACES; j++)
            if (read_namespace(look, account.id, j) < 0)
                return -1;
        if (compare_thread(look, cut) < 0)
            return -1;
    }
    return 0;
}

static void found(void *arg, const struct kv_finding *finding)
{
    bad(arg, UNSOUND, "%s: %.100s: %.100s", finding->kind, finding->where, finding->what);
}

/* Every page, record, count and sum. */
static int check(struct look *look)
{
    struct kv_check_options options = {.found = found, .arg = look};
    struct kv_check_report report;
    int rc = kv_check(look->store, &options, &report);

    if (rc < 0)
        return bad(look, UNSOUND, "check: %s", strerror(-rc));
    return report.findings == 0 ? 0 : -1;
}

static int go_on(struct look *look)
{
    struct kv_ref ref = ref_at(look->thread, (struct history_place){0, 0});
    struct kv_value *value;
    struct kv_meta meta;
    int rc = kv_put(look->store, &ref, "more", 4);

    if (rc == 0)
        rc = kv_get(look->store, &ref, &meta, &value, NULL);
    if (rc == 0)
        kv_value_unref(value);
    if (rc == 0)
        rc = kv_delete(look->store, &ref);
    return rc == 0 ? check(look) : bad(look, UNSOUND, "it does not go on: %s", strerror(-rc));
}

/* returns what is wrong, and says it in look->why */
static enum verdict look_into(struct look *look, const char *dir, size_t cut)
{
    struct kv_options options = kv_options_default();
    struct kv_error error;

    options.create = false;
    options.cache_bytes = 0;
    options.map_bytes = look->session->map_bytes;
    if (kv_open(dir, &options, &look->store, &error) < 0) {
        bad(look, UNOPENABLE, "%.200s", error.text);
        return look->verdict;
    }
    if (read_all(look, cut) == 0 && check(look) == 0 && look->go_on)
        (void)!go_on(look);
    kv_close(look->store);
    return look->verdict;
}

/* The same for a store whose creation was cut off: it is created by now, with what was made in it then. */
static enum verdict look_into_new(struct look *look, const char *dir, size_t cut)
{
    struct kv_options options = kv_options_default();
    struct kv_error error;
    struct kv_node node;
    int rc;

    options.map_bytes = look->session->map_bytes;
    if (kv_open(dir, &options, &look->store, &error) < 0) {
        bad(look, UNOPENABLE, "%.200s", error.text);
        return look->verdict;
    }
    rc = kv_node_find(look->store, KV_ROOT_ID, "acme", 4, &node);
    if (rc < 0 && (rc != -ENOENT || cut >= look->session->base))
        bad(look, LOST, "the account: %s", strerror(-rc));
    rc = kv_node_make(look->store, KV_ACCOUNT, KV_ROOT_ID, "more", 0, &node);
    if (rc < 0)
        bad(look, UNSOUND, "it does not go on: %s", strerror(-rc));
    if (look->verdict == GOOD)
        (void)!check(look);
    kv_close(look->store);
    return look->verdict;
}

/* ---------------------------------------------------------------------------- all images */

/* The name that the file has. */
enum name { DATA, DATA_NEW, NO_FILE, NAMES };
static const char *const names[NAMES] = {"data.mdb", "data.mdb.new", NULL};

struct plan {
    size_t cut;
    enum disk_loss loss;
    enum name name;
    uint64_t seed;
};

struct result {
    enum verdict verdict;
    char why[256];
};

struct images {
    const struct session *session;
    enum verdict (*look_into)(struct look *look, const char *dir, size_t cut);
    enum disk_kind kind;
    struct plan *plans;
    size_t count, capacity;
    struct result *results; /* shared with the children that look */
    char dir[64];
};

static int compare_plans(const void *a, const void *b)
{
    size_t left = ((const struct plan *)a)->cut, right = ((const struct plan *)b)->cut;

    return (left > right) - (left < right);
}

static void add_plan(struct images *images, struct plan plan)
{
    if (images->count == images->capacity) {
        images->capacity = images->capacity == 0 ? 1024 : 2 * images->capacity;
        images->plans = realloc(images->plans, images->capacity * sizeof(*images->plans));
        assert_non_null(images->plans);
    }
    images->plans[images->count++] = plan;
}

/* Every flush, just before (with everything written) and just after (with nothing more), then random cuts. */
static void plan_session(struct images *images, size_t count, struct test_random *random)
{
    const struct record_io_log *log = &images->session->log;
    size_t base = images->session->base;

    for (size_t i = base; images->kind == DISK_HONEST && i < log->count; i++)
        if (log->events[i].kind == RECORD_IO_FLUSH || log->events[i].durable) {
            add_plan(images, (struct plan){.cut = i, .loss = DISK_NOTHING});
            add_plan(images, (struct plan){.cut = i + 1, .loss = DISK_ALL});
        }
    while (images->count < count)
        add_plan(images,
                 (struct plan){
                     .cut = base + test_random_below(random, log->count + 1 - base),
                     .loss = DISK_PAGES + (enum disk_loss)test_random_below(random, DISK_LOSSES - DISK_PAGES),
                     .seed = test_random(random),
                 });
    qsort(images->plans, images->count, sizeof(*images->plans), compare_plans);
}

/* Every cut with every loss and every name that the file can have then. */
static void plan_creation(struct images *images, struct test_random *random)
{
    const struct record_io_log *log = &images->session->log;
    bool possible[NAMES] = {[DATA_NEW] = true, [NO_FILE] = true};

    for (size_t cut = 0; cut <= log->count; cut++) {
        enum record_io_kind last = cut > 0 ? log->events[cut - 1].kind : RECORD_IO_WRITE;

        possible[DATA] |= last == RECORD_IO_RENAME;
        if (last == RECORD_IO_FLUSH_NAMES)
            possible[DATA_NEW] = possible[NO_FILE] = false;
        for (enum name name = 0; name < NAMES; name++)
            for (enum disk_loss loss = 0; possible[name] && loss < DISK_LOSSES; loss++)
                add_plan(images, (struct plan){cut, loss, name, test_random(random)});
    }
}

static int write_image(const char *dir, enum name name, const uint8_t *image, uint64_t size)
{
    char path[128];
    uint64_t used = size;
    ssize_t written;
    int fd, rc;

    empty_directory(dir);
    if (name == NO_FILE)
        return 0;
    snprintf(path, sizeof(path), "%s/%s", dir, names[name]);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    while (used > 0 && image[used - 1] == 0)
        used--;
    written = pwrite(fd, image, used, 0);
    rc = ftruncate(fd, (off_t)size);
    close(fd);
    return written == (ssize_t)used && rc == 0 ? 0 : -1;
}

/* In a child. A wrong disk makes LMDB read wherever wrong pages point to; that is a verdict, not a report. */
static void die_quietly(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};

    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        signal(signals[i], SIG_DFL);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_set_report_path("/dev/null");
#endif
    if (freopen("/dev/null", "w", stderr) == NULL)
        _exit(1);
}

/* Look at the images from `first` on. */
__attribute__((noreturn)) static void look_at(struct images *images, size_t first)
{
    struct disk disk;
    uint8_t *image;

    if (images->kind != DISK_HONEST)
        die_quietly();
    disk_init(&disk, &images->session->log);
    if (images->kind != DISK_HONEST) {
        disk_advance(&disk, images->session->base);
        disk.kind = images->kind;
    }
    image = malloc(disk.capacity);
    if (image == NULL)
        _exit(1);
    for (size_t i = first; i < images->count; i++) {
        const struct plan *plan = &images->plans[i];
        struct test_random random = {plan->seed};
        struct result *result = &images->results[i];
        struct look look = {.session = images->session, .go_on = i % 4 == 0};
        uint64_t size;

        disk_advance(&disk, plan->cut);
        size = disk_cut(&disk, plan->loss, &random, image);
        if (write_image(images->dir, plan->name, image, size) < 0)
            _exit(1);
        result->verdict = DIED; /* unless it comes back */
        alarm(images->kind == DISK_HONEST ? IMAGE_SECONDS : 1);
        result->verdict = images->look_into(&look, images->dir, plan->cut);
        alarm(0);
        memcpy(result->why, look.why, sizeof(result->why));
    }
    _exit(0);
}

/* Look at all images, with a new child after each that died. */
static void look_at_all(struct images *images)
{
    size_t first = 0;

    while (first < images->count) {
        int status;
        pid_t child;

        fflush(NULL);
        child = fork();
        assert_true(child >= 0);
        if (child == 0)
            look_at(images, first);
        assert_int_equal(waitpid(child, &status, 0), child);
        while (first < images->count && images->results[first].verdict != DIED)
            first++;
        if (first == images->count)
            break;
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
            images->results[first].verdict = STUCK;
        snprintf(images->results[first].why, sizeof(images->results[first].why),
                 "the process ended with status %#x", (unsigned)status);
        first++;
    }
}

/* Say how many images were how. returns how many were not good */
static size_t report(const struct images *images, size_t verdicts[VERDICTS])
{
    size_t said = 0;

    memset(verdicts, 0, VERDICTS * sizeof(*verdicts));
    for (size_t i = 0; i < images->count; i++) {
        const struct plan *plan = &images->plans[i];
        const struct result *result = &images->results[i];

        verdicts[result->verdict]++;
        if (result->verdict != GOOD && said++ < 5)
            printf("  cut before event %zu, %s: %s: %s\n", plan->cut, disk_loss_names[plan->loss],
                   verdict_names[result->verdict], result->why);
    }
    printf("%zu images:", images->count);
    for (int i = 0; i < VERDICTS; i++)
        printf(" %zu %s%s", verdicts[i], verdict_names[i], i + 1 < VERDICTS ? "," : "\n");
    return images->count - verdicts[GOOD];
}

/* Look into all images that were planned. returns how many were not good */
static size_t cut_power(struct images *images, size_t verdicts[VERDICTS])
{
    size_t wrong;

    make_directory(images->dir, sizeof(images->dir));
    images->results = mmap(NULL, images->count * sizeof(*images->results), PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(images->results, MAP_FAILED);
    for (size_t i = 0; i < images->count; i++)
        images->results[i].verdict = DIED;
    look_at_all(images);
    wrong = report(images, verdicts);
    munmap(images->results, images->count * sizeof(*images->results));
    free(images->plans);
    remove_directory(images->dir);
    return wrong;
}

/* -------------------------------------------------------------------------------- tests */

static size_t cut_session(enum kv_durability durability, size_t map_bytes, enum disk_kind kind, size_t count,
                          size_t verdicts[VERDICTS])
{
    uint64_t seed = test_seed();
    struct session *session = session_new(durability, map_bytes, seed);
    struct images images = {.session = session, .kind = kind, .look_into = look_into};
    size_t wrong;

    plan_session(&images, count, &(struct test_random){seed});
    wrong = cut_power(&images, verdicts);
    session_free(session);
    return wrong;
}

static void survive(enum kv_durability durability, size_t map_bytes)
{
    size_t verdicts[VERDICTS];

    assert_int_equal(
        cut_session(durability, map_bytes, DISK_HONEST, test_setting("KVFS_TEST_IMAGES", IMAGES), verdicts), 0);
}

static void nothing_acknowledged_is_lost_by_a_power_cut(void **state)
{
    (void)state;
    survive(KV_DURABILITY_CLOSE, 64 * MIB);
}

static void nothing_acknowledged_is_lost_where_the_map_is_nearly_full(void **state)
{
    (void)state;
    survive(KV_DURABILITY_CLOSE, 12 * MIB);
}

static void nothing_synced_is_lost_and_the_order_is_kept_with_durability_fsync(void **state)
{
    (void)state;
    survive(KV_DURABILITY_FSYNC, 64 * MIB);
}

static void a_creation_that_is_cut_off_can_be_begun_again(void **state)
{
    uint64_t seed = test_seed();
    struct session *session = calloc(1, sizeof(*session));
    struct images images = {.session = session, .look_into = look_into_new};
    size_t verdicts[VERDICTS];
    struct kv_node node;

    (void)state;
    assert_non_null(session);
    session->map_bytes = 64 * MIB;
    make_directory(session->dir, sizeof(session->dir));
    record_io_start(session->dir);
    open_session(session, true);
    assert_int_equal(kv_node_make(session->store, KV_ACCOUNT, KV_ROOT_ID, "acme", 0, &node), 0);
    session->base = record_io_position();
    kv_close(session->store);
    session->log = record_io_stop();
    remove_directory(session->dir);

    plan_creation(&images, &(struct test_random){seed});
    assert_int_equal(cut_power(&images, verdicts), 0);
    record_io_free(&session->log);
    free(session);
}

/* The tests of the test: each of these disks loses something, and it is found. */

static void a_disk_that_delays_what_was_written_through_is_found_to_lose(void **state)
{
    size_t verdicts[VERDICTS];

    (void)state;
    cut_session(KV_DURABILITY_CLOSE, 64 * MIB, DISK_DELAYS_DSYNC, 100, verdicts);
    assert_true(verdicts[LOST] > 0);
}

static void a_disk_that_ignores_flushes_is_found_to_damage(void **state)
{
    size_t verdicts[VERDICTS];

    (void)state;
    assert_true(cut_session(KV_DURABILITY_CLOSE, 64 * MIB, DISK_IGNORES_FLUSHES, 50, verdicts) > verdicts[LOST]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_acknowledged_is_lost_by_a_power_cut),
        cmocka_unit_test(nothing_acknowledged_is_lost_where_the_map_is_nearly_full),
        cmocka_unit_test(nothing_synced_is_lost_and_the_order_is_kept_with_durability_fsync),
        cmocka_unit_test(a_creation_that_is_cut_off_can_be_begun_again),
        cmocka_unit_test(a_disk_that_delays_what_was_written_through_is_found_to_lose),
        cmocka_unit_test(a_disk_that_ignores_flushes_is_found_to_damage),
    };

    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
