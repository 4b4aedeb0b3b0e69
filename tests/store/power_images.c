#include "tests/store/power.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

enum { IMAGE_SECONDS = 30 };

static const char *const verdict_names[VERDICTS] = {"good", "unopenable", "unsound", "torn",
                                                    "lost", "stuck",      "fatal"};
static const char *const data_names[NAMES] = {"data.mdb", "data.mdb.new", NULL};

/* --------------------------------------------------------------------- looking into one */

struct look {
    const struct power_session *session;
    struct kv_store *store;
    bool go_on; /* then make changes too */
    const struct power_writer *writer;
    unsigned namespace;
    struct history_state made[POWER_WRITERS]; /* as it is in the image */
    enum power_verdict verdict;
    char why[256];
};

__attribute__((format(printf, 3, 4))) static int bad(struct look *look, enum power_verdict verdict,
                                                     const char *format, ...)
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
    look->made[look->writer->number].slots[look->namespace][number] = slot;
    return 0;
}

static int read_namespace(struct look *look, uint64_t account, unsigned namespace)
{
    char name[16];
    struct kv_node node;
    struct listed listed = {0};
    int rc;

    history_name_namespace(look->writer->number, namespace, name);
    rc = kv_node_find(look->store, account, name, strlen(name), &node);
    if (namespace == HISTORY_LAST)
        look->made[look->writer->number].last_is_there = rc == 0;
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

/* Is what the writer made the state after some of its steps that are allowed at the cut? */
static int compare_writer(struct look *look, size_t cut)
{
    const struct power_writer *writer = look->writer;
    const struct history_state *is = &look->made[writer->number];
    struct history_state made = writer->start;
    size_t durable = 0, submitted = 0;

    for (size_t i = 0; i < writer->count; i++) {
        if (writer->steps[i].durable <= cut)
            durable = i + 1;
        if (writer->steps[i].submitted <= cut)
            submitted = i + 1;
    }
    for (size_t i = 0; i < submitted; i++) {
        if (i >= durable && !writer->steps[i].joined && history_same(&made, is))
            return 0;
        history_apply(&made, &writer->steps[i].what);
    }
    if (history_same(&made, is))
        return 0;
    return bad(look, LOST, "writer %u has no state between its steps %zu and %zu", writer->number, durable,
               submitted);
}

static int read_all(struct look *look, size_t cut)
{
    struct kv_node account;
    int rc = kv_node_find(look->store, KV_ROOT_ID, "acme", 4, &account);

    if (rc < 0)
        return bad(look, LOST, "the account: %s", strerror(-rc));
    for (int i = 0; i < POWER_WRITERS; i++) {
        look->writer = &look->session->writers[i];
        for (unsigned j = 0; j < HISTORY_NAMESPACES; j++)
            if (read_namespace(look, account.id, j) < 0)
                return -1;
        if (compare_writer(look, cut) < 0)
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

/* A full map takes no new value, but still a delete. */
static int go_on(struct look *look)
{
    struct kv_ref ref = power_ref(&look->session->writers[0], (struct history_place){0, 0});
    struct kv_value *value;
    struct kv_meta meta;
    int rc = kv_put(look->store, &ref, "more", 4);

    if (rc == -ENOSPC && look->session->kind.full)
        return check(look);
    if (rc == 0)
        rc = kv_get(look->store, &ref, &meta, &value, NULL);
    if (rc == 0)
        kv_value_unref(value);
    if (rc == 0)
        rc = kv_delete(look->store, &ref);
    return rc == 0 ? check(look) : bad(look, UNSOUND, "it does not go on: %s", strerror(-rc));
}

static int open_image(struct look *look, const char *dir, bool create)
{
    struct kv_options options = kv_options_default();
    struct kv_error error;

    options.create = create;
    options.copied = true;
    options.cache_bytes = 0;
    options.map_bytes = look->session->kind.map_bytes;
    return kv_open(dir, &options, &look->store, &error) < 0 ? bad(look, UNOPENABLE, "%.200s", error.text) : 0;
}

static void look_into(struct look *look, const char *dir, size_t cut)
{
    if (open_image(look, dir, false) < 0)
        return;
    if (read_all(look, cut) == 0 && check(look) == 0 && look->go_on)
        (void)go_on(look); /* says what it finds in the look */
    kv_close(look->store);
}

/* The same for a store whose creation was cut off: it is created by now, with what was made in it then. */
static void look_into_new(struct look *look, const char *dir, size_t cut)
{
    struct kv_node node;
    int rc;

    if (open_image(look, dir, true) < 0)
        return;
    rc = kv_node_find(look->store, KV_ROOT_ID, "acme", 4, &node);
    if (rc < 0 && (rc != -ENOENT || cut >= look->session->base))
        bad(look, LOST, "the account: %s", strerror(-rc));
    rc = kv_node_make(look->store, KV_ACCOUNT, KV_ROOT_ID, "more", 0, &node);
    if (rc < 0)
        bad(look, UNSOUND, "it does not go on: %s", strerror(-rc));
    if (look->verdict == GOOD)
        (void)check(look); /* as above */
    kv_close(look->store);
}

/* ------------------------------------------------------------------------------- plans */

static int compare_plans(const void *a, const void *b)
{
    size_t left = ((const struct power_plan *)a)->cut, right = ((const struct power_plan *)b)->cut;

    return (left > right) - (left < right);
}

void power_add(struct power_images *images, struct power_plan plan)
{
    if (images->count == images->capacity) {
        images->capacity = images->capacity == 0 ? 1024 : 2 * images->capacity;
        images->plans = realloc(images->plans, images->capacity * sizeof(*images->plans));
        assert_non_null(images->plans);
    }
    images->plans[images->count++] = plan;
}

/* Around a flush: just before, with everything written; just after, with nothing more. */
static void add_at_flush(struct power_images *images, size_t position)
{
    power_add(images, (struct power_plan){.cut = position, .loss = {DISK_NOTHING, DISK_NOTHING}});
    power_add(images, (struct power_plan){.cut = position + 1, .loss = {DISK_ALL, DISK_ALL}});
}

/* Half of them at flushes: at each, if there are not too many. */
static void add_at_flushes(struct power_images *images, size_t count, struct test_random *random)
{
    const struct record_io_log *log = &images->session->log;
    size_t flushes = 0;

    for (size_t i = images->session->base; i < log->count; i++)
        flushes += log->events[i].kind == RECORD_IO_FLUSH;
    for (size_t i = images->session->base; i < log->count; i++)
        if (log->events[i].kind == RECORD_IO_FLUSH && test_random_below(random, 4 * flushes) < count)
            add_at_flush(images, i);
}

void power_plan(struct power_images *images, size_t count, struct test_random *random)
{
    const struct record_io_log *log = &images->session->log;
    size_t base = images->session->base;

    if (!images->ignores_flushes[RECORD_IO_DATA] && !images->ignores_flushes[RECORD_IO_LOG])
        add_at_flushes(images, count, random);
    while (images->count < count)
        power_add(images, (struct power_plan){
                              .cut = base + test_random_below(random, log->count + 1 - base),
                              .loss = {(enum disk_loss)test_random_below(random, DISK_LOSSES),
                                       (enum disk_loss)test_random_below(random, DISK_LOSSES)},
                              .seed = test_random(random),
                          });
    qsort(images->plans, images->count, sizeof(*images->plans), compare_plans);
}

/* ------------------------------------------------------------------------------ images */

static bool write_file(const char *dir, const char *name, const uint8_t *image, uint64_t size)
{
    char path[128];
    uint64_t used = size;
    ssize_t written;
    int fd, rc;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    while (used > 0 && image[used - 1] == 0)
        used--;
    written = pwrite(fd, image, used, 0);
    rc = ftruncate(fd, (off_t)size);
    close(fd);
    return written == (ssize_t)used && rc == 0;
}

static bool write_image(struct disk *disk, const struct power_plan *plan, const char *dir,
                        uint8_t *images[RECORD_IO_FILES])
{
    const char *names[RECORD_IO_FILES] = {data_names[plan->name], plan->no_log ? NULL : "log"};
    struct test_random random = {plan->seed};
    bool is_written = true;

    power_empty_directory(dir);
    disk_advance(disk, plan->cut);
    for (int i = 0; i < RECORD_IO_FILES; i++) {
        uint64_t size = disk_cut(disk, (enum record_io_file)i, plan->loss[i], &random, images[i]);

        if (names[i] != NULL)
            is_written = write_file(dir, names[i], images[i], size) && is_written;
    }
    return is_written;
}

static void take_memory(const struct disk *disk, uint8_t *images[RECORD_IO_FILES])
{
    for (int i = 0; i < RECORD_IO_FILES; i++) {
        images[i] = malloc(disk->files[i].capacity + 1);
        if (images[i] == NULL)
            abort();
    }
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

struct result {
    enum power_verdict verdict;
    char why[256];
};

/* Look at the images from `first` on. */
__attribute__((noreturn)) static void look_at(struct power_images *images, struct result *results, const char *dir,
                                              size_t first)
{
    bool is_honest = !images->ignores_flushes[RECORD_IO_DATA] && !images->ignores_flushes[RECORD_IO_LOG];
    uint8_t *memory[RECORD_IO_FILES];
    struct disk disk;

    if (!is_honest)
        die_quietly();
    disk_init(&disk, &images->session->log);
    take_memory(&disk, memory);
    if (!is_honest)
        disk_advance(&disk, images->session->base);
    for (int i = 0; i < RECORD_IO_FILES; i++)
        disk.files[i].ignores_flushes = images->ignores_flushes[i];
    for (size_t i = first; i < images->count; i++) {
        const struct power_plan *plan = &images->plans[i];
        struct look look = {.session = images->session, .go_on = i % 4 == 0};

        if (!write_image(&disk, plan, dir, memory))
            _exit(1);
        results[i].verdict = DIED; /* unless it comes back */
        alarm(is_honest ? IMAGE_SECONDS : 1);
        (images->of_creation ? look_into_new : look_into)(&look, dir, plan->cut);
        results[i].verdict = look.verdict;
        alarm(0);
        memcpy(results[i].why, look.why, sizeof(results[i].why));
    }
    _exit(0);
}

/* Look at all images, with a new child after each that died. */
static void look_at_all(struct power_images *images, struct result *results, const char *dir)
{
    size_t first = 0;

    while (first < images->count) {
        int status;
        pid_t child;

        fflush(NULL);
        child = fork();
        assert_true(child >= 0);
        if (child == 0)
            look_at(images, results, dir, first);
        assert_int_equal(waitpid(child, &status, 0), child);
        while (first < images->count && results[first].verdict != DIED)
            first++;
        if (first == images->count)
            break;
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
            results[first].verdict = STUCK;
        snprintf(results[first].why, sizeof(results[first].why), "the process ended with status %#x",
                 (unsigned)status);
        first++;
    }
}

/* Say how many images were how. returns how many were not good */
static size_t report(const struct power_images *images, const struct result *results, size_t verdicts[VERDICTS])
{
    size_t said = 0;

    memset(verdicts, 0, VERDICTS * sizeof(*verdicts));
    for (size_t i = 0; i < images->count; i++) {
        const struct power_plan *plan = &images->plans[i];

        verdicts[results[i].verdict]++;
        if (results[i].verdict != GOOD && said++ < 5)
            printf("  cut before event %zu, data: %s, log: %s: %s: %s\n", plan->cut,
                   disk_loss_names[plan->loss[RECORD_IO_DATA]], disk_loss_names[plan->loss[RECORD_IO_LOG]],
                   verdict_names[results[i].verdict], results[i].why);
    }
    printf("%zu images:", images->count);
    for (int i = 0; i < VERDICTS; i++)
        printf(" %zu %s%s", verdicts[i], verdict_names[i], i + 1 < VERDICTS ? "," : "\n");
    return images->count - verdicts[GOOD];
}

size_t power_cut(struct power_images *images, size_t verdicts[VERDICTS])
{
    struct result *results =
        mmap(NULL, images->count * sizeof(*results), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char dir[64];
    size_t wrong;

    power_make_directory(dir, sizeof(dir));
    assert_ptr_not_equal(results, MAP_FAILED);
    for (size_t i = 0; i < images->count; i++)
        results[i].verdict = DIED;
    look_at_all(images, results, dir);
    wrong = report(images, results, verdicts);
    munmap(results, images->count * sizeof(*results));
    free(images->plans);
    power_remove_directory(dir);
    return wrong;
}

void power_cut_once(const struct power_session *session, const struct power_plan *plan, const char *dir,
                    struct history_state states[POWER_WRITERS])
{
    struct look look = {.session = session};
    uint8_t *memory[RECORD_IO_FILES];
    struct disk disk;

    disk_init(&disk, &session->log);
    take_memory(&disk, memory);
    assert_true(write_image(&disk, plan, dir, memory));
    look_into(&look, dir, plan->cut);
    if (look.verdict != GOOD)
        fail_msg("cut before event %zu: %s: %s", plan->cut, verdict_names[look.verdict], look.why);
    memcpy(states, look.made, sizeof(look.made));
    assert_true(write_image(&disk, plan, dir, memory)); /* as it was */
    for (int i = 0; i < RECORD_IO_FILES; i++)
        free(memory[i]);
    disk_free(&disk);
}
