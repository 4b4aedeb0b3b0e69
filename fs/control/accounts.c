/* How full accounts are. Who may not read an account learns nothing of it, and not its name; what all of them hold
 * together is for operators, since of two accounts one tells its owner of the other. */
#include "fs/control/stats_internal.h"

#include <inttypes.h>
#include <stdlib.h>

struct accounts {
    const struct fuse_ctx *who;
    size_t looked_at, count;
    struct kv_node *items; /* of FS_STATS_ACCOUNTS */
};

static int accounts_visit(void *arg, const struct kv_node *node)
{
    struct accounts *accounts = arg;

    if (node->kind == KV_ACCOUNT &&
        (fs_is_operator(accounts->who->uid) || fs_may_look(&node->attr, accounts->who)))
        accounts->items[accounts->count++] = *node;
    return ++accounts->looked_at == FS_STATS_LOOKED_AT || accounts->count == FS_STATS_ACCOUNTS;
}

static uint64_t accounts_bytes(const struct kv_node *node) { return node->bytes; }
static uint64_t accounts_limit_bytes(const struct kv_node *node) { return node->limit_bytes; }
static uint64_t accounts_keys(const struct kv_node *node) { return node->keys; }
static uint64_t accounts_limit_keys(const struct kv_node *node) { return node->limit_keys; }

static const struct {
    const char *name, *help;
    uint64_t (*value)(const struct kv_node *node);
    bool optional; /* 0 stands for none */
} accounts_families[] = {
    {"account_used_bytes", "Bytes of keys, values and attributes in an account.", accounts_bytes, false},
    {"account_limit_bytes", "The most that the account may have of them.", accounts_limit_bytes, false},
    {"account_keys", "Keys in an account.", accounts_keys, false},
    {"account_limit_keys", "The most keys that it may have, where that is limited.", accounts_limit_keys, true},
};

static void accounts_write(const struct fs *fs, const struct accounts *accounts, FILE *text)
{
    for (size_t i = 0; i < sizeof(accounts_families) / sizeof(accounts_families[0]); i++) {
        fs_stats_family(text, accounts_families[i].name, "gauge", accounts_families[i].help);
        for (size_t n = 0; n < accounts->count; n++) {
            uint64_t value = accounts_families[i].value(&accounts->items[n]);

            if (value == 0 && accounts_families[i].optional)
                continue;
            fs_stats_begin(fs, text, accounts_families[i].name);
            fprintf(text, ",account=\"%s\"} %" PRIu64 "\n", accounts->items[n].name, value);
        }
    }
}

static void accounts_write_sums(struct fs *fs, FILE *text)
{
    struct kv_node root;

    if (kv_node_get(fs->store, KV_ROOT_ID, &root) < 0)
        return;
    fs_stats_number(fs, text, "accounts", "gauge", "Accounts in the store.", root.children);
    fs_stats_number(fs, text, "keys", "gauge", "Keys in the store.", root.keys);
    fs_stats_number(fs, text, "data_bytes", "gauge", "Bytes of keys, values and attributes in the store.",
                    root.bytes);
}

void fs_stats_accounts(struct fs *fs, const struct fuse_ctx *who, FILE *text)
{
    struct accounts accounts = {.who = who, .items = calloc(FS_STATS_ACCOUNTS, sizeof(struct kv_node))};

    if (fs_is_operator(who->uid))
        accounts_write_sums(fs, text);
    if (accounts.items != NULL &&
        kv_node_scan(fs->store, KV_ROOT_ID, "", 0, false, accounts_visit, &accounts) >= 0)
        accounts_write(fs, &accounts, text);
    free(accounts.items);
}
