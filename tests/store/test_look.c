/* A look for damaged pages, which counts for all who open the store as long as somebody keeps it open for writing. */
#include "tests/store/engine_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RECORDS = 500, PAGES = 10000 };

static char directory[256];

static int setup(void **state)
{
    (void)state;
    make_directory(directory, sizeof(directory));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    remove_store(directory);
    return 0;
}

static struct engine *open_store(struct lmdb_options options)
{
    struct engine *engine = NULL;
    struct kv_error error;

    return engine_lmdb_open(directory, &options, &engine, &error) == 0 ? engine : NULL;
}

/* Calls that have read something so far. */
static long reads(void)
{
    FILE *file = fopen("/proc/self/io", "r");
    long count = -1;
    char line[64];

    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        if (strncmp(line, "syscr: ", 7) == 0)
            count = strtol(line + 7, NULL, 10);
    if (file != NULL)
        fclose(file);
    return count;
}

static void found(void *arg, const char *what)
{
    (void)what;
    *(bool *)arg = true;
}

/* Look through the store. returns the reads that it takes */
static long look(struct engine *engine)
{
    struct engine_txn *txn;
    bool damaged = false;
    long before;
    int rc = engine->ops->begin(engine, false, &txn);

    if (rc < 0)
        return -1;
    before = reads();
    rc = txn->ops->verify(txn, PAGES, found, &damaged);
    txn->ops->abort(txn);
    return rc == 0 && !damaged ? reads() - before : -1;
}

/* The same in another process. */
static long look_elsewhere(bool read_only)
{
    int pipes[2], status;
    long count = -1;
    pid_t child;

    assert_int_equal(pipe(pipes), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct engine *engine = open_store((struct lmdb_options){.read_only = read_only});

        count = engine != NULL ? look(engine) : -1;
        _exit(write(pipes[1], &count, sizeof(count)) != sizeof(count));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(read(pipes[0], &count, sizeof(count)), sizeof(count));
    close(pipes[0]);
    close(pipes[1]);
    return count;
}

static void what_was_looked_through_is_not_read_again_while_it_is_in_use(void **state)
{
    struct engine *engine = open_store((struct lmdb_options){.create = true});
    struct engine_txn *txn;
    long all, some;

    (void)state;
    if (reads() < 0)
        skip();
    assert_non_null(engine);
    txn = begin(engine, true);
    for (int i = 0; i < RECORDS; i++) {
        char key[16], value[200];

        snprintf(key, sizeof(key), "key_%d", i);
        snprintf(value, sizeof(value), "%0199d", i);
        assert_int_equal(put(txn, ENGINE_KEYS, key, value), 0);
    }
    commit(txn);
    engine->ops->close(engine);
    engine = open_store((struct lmdb_options){.create = false});
    assert_non_null(engine);

    some = look_elsewhere(true); /* nobody has looked yet who still has it open for writing */
    all = look(engine);
    assert_true(all > RECORDS / 20);
    assert_true(some >= all);
    assert_true(look_elsewhere(true) < all / 4);
    assert_true(look_elsewhere(false) < all / 4);
    engine->ops->close(engine);
    assert_true(look_elsewhere(true) >= all);
    assert_true(look_elsewhere(false) >= all);
    assert_true(look_elsewhere(true) >= all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_looked_through_is_not_read_again_while_it_is_in_use, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
