/* kvctl txn: several operations, done together or not at all.
 *
 * All are read, with their values, before the store is opened: so what is wrong in a line is found before anything is
 * done, and a path below a mount in the first line can choose the store. Then their names are looked up, and the store
 * does them in one transaction. */
#include "tools/kvctl/txn.h"
#include "tools/kvctl/grow.h"
#include "tools/kvctl/swap.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char txn_help[] =
    "An operation a line, on keys of one account, each of which sees what those before it did:\n"
    "  put KEY VALUE|--file FILE [--if-absent|--if-version V|--if-unchanged FILE] [--meta NAME=VALUE]...\n"
    "      [--ttl DURATION|--expires TIME]\n"
    "  delete KEY [--if-version V|--if-unchanged FILE]\n"
    "  rename KEY NEW [--if-absent]\n"
    "  check KEY --if-absent|--if-version V|--if-unchanged FILE      changes nothing\n"
    "KEY is an ACCOUNT/NAMESPACE/KEY, or the path of a file below a mount; NEW may be a KEY alone. Words are "
    "quoted\n"
    "as in a shell: 'as it is', \"with \\\" in it\", or \\ before a symbol; nothing is replaced in them. # begins "
    "a\n"
    "comment. With --json-lines a line is an object: a put is a key as dump prints it; others have \"op\",\n"
    "\"account\", \"namespace\", \"key\"; rename \"new\"; conditions are \"if_absent\": true and \"if_version\": "
    "V.\n"
    "At most 10000 operations. A condition is not met: exit 4. Another refusal: exit 2. Then nothing is "
    "changed.\n";

/* ------------------------------------------------------------------------ reading */

/* Room for one more. returns  it, zeroed; NULL: it was said why not */
static struct txn_op *txn_next(struct txn *txn)
{
    struct txn_op *ops = grow(txn->ops, txn->count, &txn->capacity, sizeof(*ops));

    if (ops == NULL) {
        (void)ctl_fail("out of memory");
        return NULL;
    }
    txn->ops = ops;
    memset(&txn->ops[txn->count], 0, sizeof(*txn->ops));
    return &txn->ops[txn->count];
}

static int txn_read(struct txn *txn)
{
    bool json = ctl_given(txn->request, CTL_JSON_INPUT), read = true;
    int status = CTL_OK;

    while (status == CTL_OK && read) {
        struct txn_op *op = txn_next(txn);

        if (op == NULL)
            return CTL_ERROR;
        status = json ? txn_read_json(txn, op, &read) : txn_read_words(txn, op, &read);
        txn->count += read;
        if (status == CTL_OK && txn->count > KV_BATCH_MAX)
            status = ctl_fail("there are more than %d operations", KV_BATCH_MAX);
    }
    ctl_set_place(NULL, 0);
    if (status == CTL_OK && txn->count == 0)
        return ctl_fail("%s: there is no operation in it; see kvctl txn --help", txn->input.name);
    return status;
}

/* ------------------------------------------------------------------------- finding */

/* Find the namespace of a path, unless it is that of the path before, and name the key. Returns a status. */
static int txn_find_key(struct txn *txn, const struct ctl_path *path, struct kv_ref *out)
{
    struct ctl_request *request = txn->request;
    bool same = request->second.id != 0 && strcmp(path->account, request->path.account) == 0 &&
                strcmp(path->second, request->path.second) == 0;
    int status;

    request->path = *path;
    status = same ? CTL_OK : ctl_find(request, 2);
    if (status == CTL_OK)
        *out = ctl_key(request);
    return status;
}

static int txn_check_account(const struct txn *txn, const struct txn_op *op, const char *account)
{
    const struct txn_op *first = &txn->ops[0];

    if (strcmp(account, first->path.account) == 0)
        return CTL_OK;
    return ctl_fail("%s: it is in account %s, but line %" PRIu64 " in account %s; all keys are of one account",
                    op->path.text, account, first->line, first->path.account);
}

static int txn_find(struct txn *txn)
{
    int status = CTL_OK;

    for (size_t i = 0; i < txn->count && status == CTL_OK; i++) {
        struct txn_op *op = &txn->ops[i];

        ctl_set_place(txn->input.name, op->line);
        status = txn_check_account(txn, op, op->path.account);
        if (status == CTL_OK)
            status = txn_find_key(txn, &op->path, &op->change.ref);
        if (status != CTL_OK || op->change.kind != KV_RENAME)
            continue;
        status = txn_check_account(txn, op, op->to.account);
        if (status == CTL_OK)
            status = txn_find_key(txn, &op->to, &op->change.to);
    }
    ctl_set_place(NULL, 0);
    return status;
}

/* --------------------------------------------------------------------------- doing */

/* Was the key changed by an operation before? Then what it is in the store is not what its condition was compared
 * with. */
static bool txn_is_changed_before(const struct kv_change *changes, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (changes[i].kind != KV_CHECK &&
            (kv_ref_same(&changes[i].ref, &changes[at].ref) ||
             (changes[i].kind == KV_RENAME && kv_ref_same(&changes[i].to, &changes[at].ref))))
            return true;
    return false;
}

/* Say what the operation was refused for. Returns a status. */
static int txn_fail(struct txn *txn, const struct kv_change *changes, size_t at, int rc)
{
    struct ctl_request *request = txn->request;
    const struct kv_change *change = &changes[at];
    const struct txn_op *op = &txn->ops[at];
    bool renames = change->kind == KV_RENAME;

    request->path = op->path;
    if (rc == -EEXIST && renames) {
        (void)ctl_fail("%s/%s/%s: this key exists already; nothing was changed", op->to.account, op->to.second,
                       op->to.key);
        return CTL_CONDITION;
    }
    if ((rc == -EEXIST || rc == -ECANCELED) && change->conditional && txn_is_changed_before(changes, at)) {
        (void)ctl_fail("%s: its condition is not met after the operations before; nothing was changed",
                       op->path.text);
        return CTL_CONDITION;
    }
    if (rc == -ENOENT)
        return ctl_fail("%s: there is no such key; nothing was changed", op->path.text);
    if (rc == -EDQUOT)
        return ctl_fail("%s: the limits of account %s have no room for all of it; nothing was changed; raise them "
                        "with: kvctl account limit %s",
                        op->path.text, op->path.account, op->path.account);
    return swap_fail(request, change, rc);
}

static json_t *txn_json(const struct txn_op *op, const struct kv_change *change)
{
    const struct ctl_path *path = change->kind == KV_RENAME ? &op->to : &op->path;
    json_t *object = json_pack("{s:s, s:s, s:s, s:s}", "op", op->command->verb, "account", path->account,
                               "namespace", path->second, "key", path->key);

    if (object != NULL && (change->kind == KV_PUT || change->kind == KV_RENAME) &&
        json_object_set_new(object, "version", json_integer((json_int_t)change->meta.version)) < 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}

/* With --json, print what was done. Returns a status. */
static int txn_print(const struct txn *txn, const struct kv_change *changes)
{
    json_t *all;

    if (!ctl_given(txn->request, CTL_JSON))
        return CTL_OK;
    all = json_array();
    for (size_t i = 0; i < txn->count && all != NULL; i++)
        if (json_array_append_new(all, txn_json(&txn->ops[i], &changes[i])) < 0) {
            json_decref(all);
            all = NULL;
        }
    return ctl_print_json(all, JSON_COMPACT);
}

static int txn_do(struct txn *txn)
{
    struct kv_change *changes = calloc(txn->count, sizeof(*changes));
    size_t culprit = 0;
    int rc, status;

    if (changes == NULL)
        return ctl_fail("out of memory");
    for (size_t i = 0; i < txn->count; i++)
        changes[i] = txn->ops[i].change;
    rc = kv_apply_all(txn->request->store, changes, txn->count);
    if (rc == 0) {
        status = txn_print(txn, changes);
    } else {
        while (culprit + 1 < txn->count && changes[culprit].rc != rc)
            culprit++;
        ctl_set_place(txn->input.name, txn->ops[culprit].line);
        status = txn_fail(txn, changes, culprit, rc);
        ctl_set_place(NULL, 0);
    }
    free(changes);
    return status;
}

/* ----------------------------------------------------------------------------- txn */

static void txn_free(struct txn *txn)
{
    for (size_t i = 0; i < txn->count; i++) {
        kv_value_unref(txn->ops[i].change.value);
        free(txn->ops[i].xattrs);
        free(txn->ops[i].text);
    }
    free(txn->ops);
}

int ctl_txn(struct ctl_request *request)
{
    struct txn txn = {.request = request};
    int status = bulk_open(&txn.input, request, "operations");

    if (status != CTL_OK)
        return status;
    status = txn_read(&txn);
    bulk_close(&txn.input);
    if (status == CTL_OK)
        status = ctl_open(request);
    if (status == CTL_OK)
        status = txn_find(&txn);
    if (status == CTL_OK)
        status = txn_do(&txn);
    txn_free(&txn);
    return status;
}
