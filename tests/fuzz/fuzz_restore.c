/* A backup that somebody made by hand: of no bytes does kv_restore() make a store that harms who uses it.
 *
 * Input: changes to the pages of a sound copy (pages.h), or bytes by themselves; how much of it there is; then names.
 * What is refused is refused in words, and leaves no store. What is taken is opened, or refused in words; then it can
 * be checked, repaired, read and changed: each answers, or fails. */
#include "store/kv.h"
#include "tests/fuzz/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEYS = 60, SIZE_MOST = 20000, VISITS_MOST = 20000 };

static char dir[128];

/* ------------------------------------------------------------------- before the damage */

static struct kv_store *open_store(const char *at, bool create, int *rc)
{
    struct kv_options options = kv_options_default();
    struct kv_error error = {""};
    struct kv_store *store = NULL;

    options.create = create;
    options.map_bytes = 8u << 20;
    options.cache_bytes = 0;
    options.verify_pages = 1000;
    *rc = kv_open(at, &options, &store, &error);
    FUZZ_CHECK(*rc == 0 || error.text[0] != '\0');
    return store;
}

static void fill(struct kv_store *store)
{
    static const size_t sizes[] = {0, 1, 100, 700, 3000, 9000, SIZE_MOST};
    static uint8_t bytes[SIZE_MOST];
    struct kv_node account, space[2], projects, project, binding;

    FUZZ_CHECK(kv_node_make(store, KV_ACCOUNT, KV_ROOT_ID, "acme", 0, &account) == 0);
    FUZZ_CHECK(kv_node_make(store, KV_NAMESPACE, account.id, "main", 0, &space[0]) == 0);
    FUZZ_CHECK(kv_node_make(store, KV_NAMESPACE, account.id, "other", 0, &space[1]) == 0);
    FUZZ_CHECK(kv_node_find(store, account.id, ".projects", 9, &projects) == 0);
    FUZZ_CHECK(kv_node_make(store, KV_PROJECT, projects.id, "web", 0, &project) == 0);
    FUZZ_CHECK(kv_node_make(store, KV_BINDING, project.id, "MAIN", space[0].id, &binding) == 0);
    for (unsigned i = 0; i < KEYS; i++) {
        char name[64];
        int size = snprintf(name, sizeof(name), "key%u_%0*u", i, (int)(i % 40), i);
        struct kv_ref ref = kv_ref_key(space[i % 2].id, name, (size_t)size);

        memset(bytes, (int)i, sizeof(bytes));
        FUZZ_CHECK(kv_put(store, &ref, bytes, sizes[i % (sizeof(sizes) / sizeof(sizes[0]))]) == 0);
    }
}

static void make_base(void)
{
    char from[128], copy[128];
    struct kv_store *store;
    struct kv_error error;
    uint64_t size;
    int rc, fd;

    snprintf(dir, sizeof(dir), "%s/restored", fuzz_dir());
    snprintf(from, sizeof(from), "%s/store", fuzz_dir());
    snprintf(copy, sizeof(copy), "%s/copy", fuzz_dir());
    store = open_store(from, true, &rc);
    FUZZ_CHECK(rc == 0);
    fill(store);
    fd = open(copy, O_RDWR | O_CREAT | O_TRUNC, 0600);
    FUZZ_CHECK(fd >= 0 && kv_copy(store, fd, NULL, &size, &error) == 0);
    close(fd);
    kv_close(store);
    pages_take(copy, size);
}

/* ------------------------------------------------------------------------------ restore */

struct bytes {
    const uint8_t *at;
    size_t size;
};

static int give(void *arg, int fd, struct kv_error *error)
{
    const struct bytes *bytes = arg;

    (void)error;
    FUZZ_CHECK(write(fd, bytes->at, bytes->size) == (ssize_t)bytes->size);
    return 0;
}

static bool restore(struct bytes bytes)
{
    const struct kv_restore_options options = {.small_log = true, .fill = give, .arg = &bytes};
    struct kv_error error = {""};
    int rc = kv_restore(dir, &options, &error);

    if (rc == 0)
        return true;
    FUZZ_CHECK(rc == -EIO || rc == -ENOMEM || rc == -EPROTONOSUPPORT);
    FUZZ_CHECK(strncmp(error.text, dir, strlen(dir)) == 0);
    for (const char *c = error.text; *c != '\0'; c++)
        FUZZ_CHECK(*c >= ' ' && *c <= '~');
    (void)open_store(dir, false, &rc);
    FUZZ_CHECK(rc < 0);
    return false;
}

/* ---------------------------------------------------------------------------------- use */

struct found {
    uint64_t nodes[32];
    size_t count;
    unsigned left; /* what is damaged could be without an end */
};

static int note_node(void *arg, const struct kv_node *node)
{
    struct found *found = arg;

    FUZZ_CHECK(found->left-- > 0);
    if (found->count < sizeof(found->nodes) / sizeof(found->nodes[0]))
        found->nodes[found->count++] = node->id;
    return 0;
}

static int note_key(void *arg, const char *key, size_t size, const struct kv_meta *meta)
{
    struct found *found = arg;

    (void)meta;
    FUZZ_CHECK(found->left-- > 0);
    FUZZ_CHECK(kv_name_check(KV_NAME_KEY, key, size) == 0);
    return 0;
}

static void read_key(struct kv_store *store, const struct kv_ref *ref)
{
    struct kv_value *value;
    struct kv_meta meta;
    int rc = kv_get(store, ref, &meta, &value, NULL);

    FUZZ_CHECK(rc == 0 || rc == -ENOENT || rc == -EIO);
    if (rc == 0)
        kv_value_unref(value);
}

/* What a change of a store may answer that has anything in it. */
static void expect(int rc)
{
    FUZZ_CHECK(rc == 0 || rc == -ENOENT || rc == -EIO || rc == -EDQUOT || rc == -ENOSPC);
}

/* Read a namespace by pages, and change it. */
static void use_space(struct kv_store *store, uint64_t id, struct fuzz_input *in)
{
    struct kv_list page;
    struct kv_ref ref;

    if (kv_list(store, id, NULL, NULL, KV_LIST_MAX, &page) == 0) {
        for (size_t i = 0; i < page.count; i++) {
            ref = kv_ref_key(id, page.keys[i], strlen(page.keys[i]));
            read_key(store, &ref);
            if (fuzz_u8(in) & 1)
                expect(kv_delete(store, &ref));
        }
        kv_list_free(&page);
    }
    ref = kv_ref_key(id, "new", 3);
    expect(kv_put(store, &ref, "value", 5));
    read_key(store, &ref);
}

static void use(struct kv_store *store, struct fuzz_input *in, bool damaged)
{
    struct found found = {.nodes = {KV_ROOT_ID}, .count = 1, .left = VISITS_MOST};
    struct kv_check_options options = {.repair = fuzz_u8(in) & 1};
    struct kv_check_report report;
    int rc = kv_check(store, &options, &report);

    FUZZ_CHECK(rc == 0 || damaged);
    FUZZ_CHECK(damaged || report.findings == 0);
    for (size_t i = 0; i < found.count; i++) {
        rc = kv_node_scan(store, found.nodes[i], "", 0, false, note_node, &found);
        FUZZ_CHECK(rc == 0 || rc == -ENOENT || rc == -EIO);
        rc = kv_scan(store, found.nodes[i], "", 0, false, note_key, &found);
        FUZZ_CHECK(rc == 0 || rc == -ENOENT || rc == -EIO);
    }
    for (size_t i = 0; i < found.count; i++)
        use_space(store, found.nodes[i], in);
    expect(kv_sync(store));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct bytes bytes;
    bool damaged;
    unsigned how;
    int rc;

    if (pages.now == NULL)
        make_base();
    how = fuzz_u8(&in);
    if (how == 255) {
        bytes = (struct bytes){in.at, in.left};
        damaged = true;
    } else {
        damaged = pages_damage(&in);
        bytes = (struct bytes){pages.now, pages.count * PAGE};
        if (how >= 240)
            bytes.size -= (size_t)(how - 239) * 1000;
    }
    if (restore(bytes)) {
        struct kv_store *store = open_store(dir, false, &rc);

        FUZZ_CHECK((rc == 0) == (store != NULL) && (rc == 0 || damaged));
        if (store != NULL) {
            use(store, &in, damaged);
            kv_close(store);
        }
    } else {
        FUZZ_CHECK(damaged || how >= 240);
    }
    rc = kv_discard(dir);
    FUZZ_CHECK(rc == 0);
    pages_undo();
    pages.touched_count = 0;
    return 0;
}
