#include "tests/support/keys.h"

#include <semaphore.h>
#include <stdlib.h>

enum { UNDER_WAY = 2048 }; /* puts */

static void keys_put_done(struct kv_change *change, int rc)
{
    kv_value_unref(change->value);
    if (rc < 0)
        abort();
    sem_post(change->arg);
    free(change);
}

void mount_make_keys(struct mount_test *test, size_t count)
{
    struct kv_options options = kv_options_default();
    struct kv_node account, namespace;
    struct kv_store *store;
    struct kv_error error;
    sem_t free_slots;

    if (kv_open(test->store, &options, &store, &error) < 0)
        fail_msg("%s", error.text);
    assert_int_equal(kv_node_make(store, KV_ACCOUNT, KV_ROOT_ID, "a", 0, &account), 0);
    assert_int_equal(kv_node_make(store, KV_NAMESPACE, account.id, "n", 0, &namespace), 0);
    sem_init(&free_slots, 0, UNDER_WAY);
    for (size_t i = 0; i < count; i++) {
        struct kv_change *change = calloc(1, sizeof(*change));
        char key[32];

        assert_non_null(change);
        snprintf(key, sizeof(key), "k%07zu", i);
        change->kind = KV_PUT;
        change->ref = kv_ref_key(namespace.id, key, strlen(key));
        change->attr.mode = 0644;
        change->done = keys_put_done;
        change->arg = &free_slots;
        assert_int_equal(kv_value_copy("1", 1, &change->value), 0);
        sem_wait(&free_slots);
        kv_submit(store, change);
    }
    kv_close(store);
    sem_destroy(&free_slots);
}
