/* What the tests of recoveries share: a store, and images of it.
 *
 * An image is a copy of a store's files, as a power cut or the death of all processes leaves them; each file may be of
 * a moment of its own, where the disk may have that. */
#ifndef KVFS_TESTS_STORE_RECOVER_TEST_H
#define KVFS_TESTS_STORE_RECOVER_TEST_H

#include "store/lmdb/log.h"
#include "tests/store/engine_test.h"
#include "tests/store/record_io.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

enum { MAP = 64 << 20, RING = 1 << 20 };
#define WAIT_NS ((int64_t)10 * 1000000000)

static char home[PATH_MAX], image[PATH_MAX];
static size_t map_bytes = MAP;

static inline int setup(void **state)
{
    char dir[256];

    (void)state;
    make_directory(dir, sizeof(dir));
    if (realpath(dir, home) == NULL)
        return -1;
    make_directory(dir, sizeof(dir));
    return realpath(dir, image) == NULL ? -1 : 0;
}

static inline int teardown(void **state)
{
    (void)state;
    remove_store(home);
    remove_store(image);
    return 0;
}

static inline int try_open(const char *dir, struct lmdb_options options, struct engine **out,
                           struct kv_error *error)
{
    *error = (struct kv_error){""};
    options.map_bytes = map_bytes;
    return engine_lmdb_open(dir, &options, out, error);
}

static inline struct engine *open_store(const char *dir, struct lmdb_options options)
{
    struct engine *engine = NULL;
    struct kv_error error;

    if (try_open(dir, options, &engine, &error) < 0)
        fail_msg("%s", error.text);
    return engine;
}

static inline struct engine *create(void) { return open_store(home, (struct lmdb_options){.create = true}); }
static inline struct engine *open_image(void) { return open_store(image, (struct lmdb_options){.copied = true}); }
static inline void close_store(struct engine *engine) { engine->ops->close(engine); }

static inline void expect_refused(const char *dir, struct lmdb_options options, int rc, const char *words)
{
    struct engine *engine = NULL;
    struct kv_error error;

    assert_int_equal(try_open(dir, options, &engine, &error), rc);
    if (strstr(error.text, words) == NULL)
        fail_msg("%s", error.text);
}

static inline void flush(struct engine *engine) { assert_int_equal(engine_flush(engine, WAIT_NS), 0); }

static inline void put_one(struct engine *engine, const char *key, const char *value)
{
    put_and_commit(engine, ENGINE_META, key, value);
}

static inline void expect_one(struct engine *engine, const char *key, const char *value)
{
    assert_committed(engine, ENGINE_META, key, value);
}

static inline int commit_bytes(struct engine *engine, const char *key, size_t size)
{
    void *bytes = calloc(1, size);
    struct engine_txn *txn = begin(engine, true);
    int rc;

    assert_non_null(bytes);
    assert_int_equal(txn->ops->put(txn, ENGINE_CHUNKS, text(key), slice_of(bytes, size)), 0);
    rc = txn->ops->commit(txn);
    free(bytes);
    return rc;
}

static inline bool has_bytes(struct engine *engine, const char *key, size_t size)
{
    struct engine_txn *txn = begin(engine, false);
    struct slice value;
    bool has = get(txn, ENGINE_CHUNKS, key, &value) == 0 && value.size == size;

    txn->ops->abort(txn);
    return has;
}

/* Copy a file of the store as it is now. */
static inline void take(const char *name)
{
    char from[PATH_MAX + 16], to[PATH_MAX + 16];
    int in, out;
    ssize_t copied;

    snprintf(from, sizeof(from), "%s/%s", home, name);
    snprintf(to, sizeof(to), "%s/%s", image, name);
    in = open(from, O_RDONLY | O_CLOEXEC);
    out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(in >= 0 && out >= 0);
    while ((copied = copy_file_range(in, NULL, out, NULL, 1 << 24, 0)) > 0)
        ;
    assert_int_equal(copied, 0);
    close(in);
    close(out);
}

static inline void take_both(void)
{
    take("data.mdb");
    take("log");
}

/* The image becomes the store, as a restored copy. */
static inline void swap(void)
{
    char between[PATH_MAX];

    strcpy(between, home);
    strcpy(home, image);
    strcpy(image, between);
}

static inline int open_log(const char *dir)
{
    char path[PATH_MAX + 16];
    int fd;

    snprintf(path, sizeof(path), "%s/log", dir);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* A child that does something with the store and is killed then, or by itself. */
static inline void die_after(void (*what)(struct engine *engine))
{
    pid_t child;
    int status;

    fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct engine *engine;
        struct kv_error error;

        if (try_open(home, (struct lmdb_options){.create = false}, &engine, &error) == 0)
            what(engine);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static inline void put_some(struct engine *engine)
{
    for (int i = 0; i < 50; i++) {
        char key[16];

        snprintf(key, sizeof(key), "key_%d", i);
        put_one(engine, key, "value");
    }
    put_one(engine, "key_7", "other");
    flush(engine);
}

#define RECOVER_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
