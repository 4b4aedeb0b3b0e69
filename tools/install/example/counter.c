/* usage: counter STORE
 *
 * An example of a program over the store's library: count its own runs in key counters/runs/example. It is compiled
 * with
 *
 *     cc counter.c $(pkg-config --cflags --libs --static kvfs) -o counter */
#include <kvfs/kv.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Find a node, or make it. returns 0; a negative errno */
static int have(struct kv_store *store, enum kv_node_kind kind, uint64_t parent, const char *name,
                struct kv_node *out)
{
    int rc = kv_node_find(store, parent, name, strlen(name), out);

    return rc == -ENOENT ? kv_node_make(store, kind, parent, name, 0, out) : rc;
}

static int count(struct kv_store *store, uint64_t namespace_id, unsigned long *runs)
{
    struct kv_ref ref = kv_ref_key(namespace_id, "example", strlen("example"));
    struct kv_value *value;
    struct kv_meta meta;
    char text[32] = "";
    int rc = kv_get(store, &ref, &meta, &value, NULL);

    if (rc == 0) {
        memcpy(text, value->data, value->size < sizeof(text) ? value->size : sizeof(text) - 1);
        kv_value_unref(value);
    } else if (rc != -ENOENT) {
        return rc;
    }
    *runs = strtoul(text, NULL, 10) + 1;
    return kv_put(store, &ref, text, (size_t)snprintf(text, sizeof(text), "%lu", *runs));
}

int main(int argc, char **argv)
{
    struct kv_options options = kv_options_default();
    struct kv_node account, namespace;
    struct kv_store *store;
    struct kv_error error;
    unsigned long runs = 0;
    int rc;

    if (argc != 2 || kv_open(argv[1], &options, &store, &error) < 0) {
        fprintf(stderr, "counter: %s\n", argc != 2 ? "usage: counter STORE" : error.text);
        return EXIT_FAILURE;
    }
    rc = have(store, KV_ACCOUNT, KV_ROOT_ID, "counters", &account);
    if (rc == 0)
        rc = have(store, KV_NAMESPACE, account.id, "runs", &namespace);
    if (rc == 0)
        rc = count(store, namespace.id, &runs);
    kv_close(store);
    if (rc < 0) {
        fprintf(stderr, "counter: %s\n", strerror(-rc));
        return EXIT_FAILURE;
    }
    printf("%lu\n", runs);
    return EXIT_SUCCESS;
}
